"""The walls of the house: who may import whom, and what learners import is light.
docs/architecture.md explains both."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from autograder.units import ROOT

# What every room may use. None of it imports a folder.
GROUND = {"cells", "errors", "files", "words", "units", "nbgrader_config"}
# What grading needs of authoring: to read a lesson, to record a key with fresh inputs, to make a
# release anew.
READING = {"authoring.lesson", "authoring.record", "authoring.release"}
MAY_IMPORT = {
    "checking": {"checking", "cells", "errors", "files", "words"},
    "sandbox": {"sandbox", "checking", "check", *GROUND},
    "authoring": {"authoring", "checking", *GROUND},
    "grading": {"grading", "sandbox", "checking", *READING, *GROUND},
    "reports": {"reports", "grading", "checking", *GROUND},
}
DOORS = {"check": "checking.checker", "probe": "checking.probe", "wheat": "authoring.wheat"}
COMMANDS = {"cli", "demo", "doctor", "lab", "notebook", "preprocessors", "progress", "__init__"}


def imports_of(path):
    """Every module that a file names in an import, wherever the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports_of(path):
    """The modules of this package that a file imports, without the package's name:
    `checking.key`."""
    for name in imports_of(path):
        package, *parts = name.split(".")
        if package == "autograder":
            yield ".".join(parts[: depth(parts)])


def depth(parts):
    """How many of the parts name a module; the rest is a name in it."""
    place = Path(ROOT, "autograder", *parts)
    return len(parts) if place.is_dir() or place.with_suffix(".py").exists() else len(parts) - 1


def modules(folder):
    files = sorted((ROOT / "autograder" / folder).glob("*.py"))
    assert files
    return files


def is_allowed(name, allowed):
    return name in allowed or name.split(".")[0] in allowed


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_what_the_table_allows(folder):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder)
        for name in own_imports_of(path)
        if not is_allowed(name, MAY_IMPORT[folder])
    ]
    assert not wrong


def test_every_module_has_its_place_in_the_table():
    found = {path.stem for path in modules("")}
    assert found == GROUND | set(DOORS) | COMMANDS
    folders = {path.parent.name for path in (ROOT / "autograder").glob("*/*.py")}
    assert folders == set(MAY_IMPORT)


@pytest.mark.parametrize("module", sorted(GROUND))
def test_the_ground_imports_only_itself(module):
    assert set(own_imports_of(ROOT / "autograder" / f"{module}.py")) <= GROUND


@pytest.mark.parametrize("door", DOORS)
def test_a_door_only_leads_to_its_room(door):
    path = ROOT / "autograder" / f"{door}.py"
    assert set(own_imports_of(path)) == {DOORS[door]}
    statements = [type(node) for node in ast.parse(path.read_text()).body]
    assert set(statements) <= {ast.Expr, ast.Import, ast.ImportFrom, ast.Assign}


def test_the_name_of_a_class_means_one_thing():
    files = [path for name in ("autograder", "cvcourse") for path in (ROOT / name).rglob("*.py")]
    places = defaultdict(list)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_library_does_not_know_the_grader():
    files = list((ROOT / "cvcourse").rglob("*.py"))
    assert files
    assert not [
        path
        for path in files
        for name in imports_of(path)
        if name.split(".")[0] in ("autograder", "nbgrader")
    ]


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


@pytest.mark.parametrize(
    "module",
    ["cvcourse", "cvcourse.data", "cvcourse.schematics", "cvcourse.widgets", "cvcourse.training"],
)
def test_importing_the_library_loads_nothing_heavy(module):
    heavy = ["torch", "numpy", "matplotlib", "sklearn", "skimage", "pooch", "anywidget"]
    assert (
        run(
            f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
        ).strip()
        == "[]"
    )


def test_importing_the_library_is_quick(patience):
    def seconds():
        code = (
            "import time; start = time.perf_counter(); import cvcourse; print(time.perf_counter() -"
            " start)"
        )
        return float(run(code))

    assert statistics.median(seconds() for _ in range(5)) < patience(0.2)


def test_a_first_check_in_a_fresh_kernel_is_quick(built_mini, patience):
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
    right, seconds = run(code).split()
    assert right == "True"
    assert float(seconds) < patience(0.5)
