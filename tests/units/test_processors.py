"""Every unit's keys and gates hold on other processors than the one that they were made on.

Torch, oneDNN and MKL have kernels for each generation of processors, which add numbers up in
another order. No case may hang on that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
from autograder.authoring.build import check_unit
from autograder.authoring.quality import unit_quality

torch.set_num_threads(1)
quality = unit_quality(sys.argv[1], mutate=False)
found = {
    "capability": torch.backends.cpu.get_cpu_capability().lower(),
    "keys": check_unit(sys.argv[1]),
    "gates": [f"{row.exercise} {problem}" for row in quality.exercises for problem in row.problems],
    "validity": quality.validity,
    "thoroughness": quality.thoroughness,
}
print(json.dumps(found))
"""


def lesser_capabilities() -> list[str]:
    """What this processor can be told to make do with; all other tests run with its best."""
    names, best = list(CAPABILITIES), torch.backends.cpu.get_cpu_capability().lower()
    return names[: names.index(best)] if best in names else ["default"]


@pytest.mark.parametrize("capability", lesser_capabilities())
@pytest.mark.parametrize("unit", units())
def test_keys_and_gates_hold_with_other_kernels(unit, capability):
    """The keys hold what the solution and each misconception give, and each has its own verdict."""
    environment = os.environ | CAPABILITIES[capability] | {"ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, unit],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "capability": capability,
        "keys": [],
        "gates": [],
        "validity": 1.0,
        "thoroughness": 1.0,
    }
