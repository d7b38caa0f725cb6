"""Every unit's keys and gates hold on other processors than the one that they were made on.

Torch, oneDNN and MKL have kernels for each generation of processors, which add numbers up in
another order. No case may hang on that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autograder.units import ROOT, units

# What a processor can do, the least first, as torch names it; and what its other libraries call it.
CAPABILITIES = {
    "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {},
}

PROGRAM = """
import json, sys
import torch
from autograder.authoring.processor import problems_here

print(torch.backends.cpu.get_cpu_capability().lower(), flush=True)
for line in sys.stdin:
    print(json.dumps(problems_here(line.strip())), flush=True)
"""


def lesser_capabilities() -> list[str]:
    """What this processor can be told to make do with; all other tests run with its best."""
    names, best = list(CAPABILITIES), torch.backends.cpu.get_cpu_capability().lower()
    return names[: names.index(best)] if best in names else ["default"]


class Lesser:
    """A process that makes do with less of this processor, and tries one unit after the other."""

    def __init__(self, capability: str, errors: Path):
        self.errors = errors
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=os.environ | CAPABILITIES[capability] | {"ATEN_CPU_CAPABILITY": capability},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors.open("w"),
            text=True,
        )
        self.capability = self.answer()

    def answer(self) -> str:
        """The next line that the process says; an error where it ended instead."""
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        return line.strip()

    def problems(self, unit: str) -> list[str]:
        """What of a unit does not hold there."""
        self.process.stdin.write(f"{unit}\n")
        self.process.stdin.flush()
        return json.loads(self.answer())

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def processes(tmp_path_factory) -> Iterator[dict[str, Lesser]]:
    """Capability -> a process, started when it is first used."""
    started: dict[str, Lesser] = {}
    yield started
    for process in started.values():
        process.close()


@pytest.mark.parametrize("capability", lesser_capabilities())
@pytest.mark.parametrize("unit", units())
def test_keys_and_gates_hold_with_other_kernels(unit, capability, processes, tmp_path_factory):
    """The keys hold what the solution and each misconception give, and each has its own verdict."""
    if capability not in processes or processes[capability].process.poll() is not None:
        errors = tmp_path_factory.mktemp("processor") / "stderr"
        processes[capability] = Lesser(capability, errors)
    process = processes[capability]
    assert process.capability == capability
    assert process.problems(unit) == []
