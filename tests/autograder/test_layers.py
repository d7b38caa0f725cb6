"""Dependencies point one way, and what learners import is light."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import time

import pytest

from autograder.lesson import ROOT

LEARNER_SIDE = [
    *("check", "errors", "files", "judge", "key", "libraries", "observe", "outcome", "probe", "report", "shortcuts"),
    "verdict",
]


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_library_does_not_know_the_grader():
    files = list((ROOT / "cvcourse").rglob("*.py"))
    assert files
    assert not [path for path in files for name in imports_of(path) if name.split(".")[0] in ("autograder", "nbgrader")]


@pytest.mark.parametrize("module", LEARNER_SIDE)
def test_the_learners_side_does_not_know_the_workshop(module):
    allowed = {f"autograder.{name}" for name in LEARNER_SIDE} | {"autograder"}
    names = [name for name in imports_of(ROOT / "autograder" / f"{module}.py") if name.startswith("autograder")]
    assert {".".join(name.split(".")[:2]) for name in names} - {"autograder.report"} <= allowed


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.parametrize("module", ["cvcourse", "cvcourse.data", "cvcourse.widgets", "cvcourse.training"])
def test_importing_the_library_loads_nothing_heavy(module):
    heavy = ["torch", "numpy", "matplotlib", "sklearn", "skimage", "pooch", "anywidget"]
    assert run(f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])").strip() == "[]"


def test_importing_the_library_is_quick():
    def seconds():
        code = "import time; start = time.perf_counter(); import cvcourse; print(time.perf_counter() - start)"
        return float(run(code))

    assert statistics.median(seconds() for _ in range(5)) < 0.2


def test_a_first_check_in_a_fresh_kernel_is_quick(built_mini):
    """The first check must not pay for a lazy import of torch's compiler."""
    code = f"""
import time, torch
from autograder.check import Checker
check = Checker("90_mini", {str(built_mini / "course" / "90_mini")!r})
def moving_sum(signal, width=2):
    return torch.stack([signal[i : i + width].sum() for i in range(len(signal) - width + 1)])
start = time.perf_counter()
verdict = check.verdict("moving_sum", moving_sum)
print(verdict.is_right, time.perf_counter() - start)
"""
    start = time.perf_counter()
    right, seconds = run(code).split()
    assert (right, float(seconds) < 0.5) == ("True", True), (seconds, time.perf_counter() - start)
