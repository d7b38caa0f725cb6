"""The gates of the whole repository: style, types, the unit table, no machine's path.

That notebooks, keys and course/ are in step with solutions/ is tested unit by unit, in tests/units.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autograder.authoring.build import with_unit_table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["ruff check .", "ruff format --check .", "mypy"])
def test_gate(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def test_the_unit_table_is_in_step() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == with_unit_table(readme, ROOT), "run `cvcourse build`"


def test_no_machine_path_is_committed() -> None:
    """Nothing that is committed names the folder it was written in."""
    found = subprocess.run(
        ["git", "grep", "-lIF", "-e", f"{ROOT}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert not found
