"""Every unit: in step with its source, checks that are checked, runs from top to bottom, in time,
and reads well.

Every unit runs in the smoke budget, and a few in full: see autograder/authoring/draw.py.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import statistics
from pathlib import Path

import nbformat
import pytest
from lessons import lesson_of

from autograder.authoring.build import check_unit
from autograder.authoring.draw import units_in_full, why_in_full
from autograder.authoring.quality import MUTATION_FLOOR, unit_quality
from autograder.authoring.run import (
    Executed,
    execute,
    not_as_recorded,
    notebook_of,
    read_record,
    run_bounds,
)
from autograder.cells import tags
from autograder.checking.checker import Checker
from autograder.units import ROOT, units

UNITS = units()
IN_FULL = units_in_full()
CHECK_SECONDS = 0.5
HANGS = 4  # times its limit, and a cell is taken for one that never ends
SMOKE_SECONDS, FULL_SECONDS = 40, 180
LONGER = {
    "08_simclr": 360,
    "09_dino": 420,
    "11_mae": 480,
    "15_sam": 600,
}  # where training on a processor may take more than FULL_SECONDS


def cells_of(unit: str, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in lesson_of(unit).notebook.cells if cell.cell_type == kind]


def lines_of(cell: nbformat.NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def run_notebook(unit: str, budget: str, limit: float) -> Executed:
    """Execute the unit with its solutions. A cell that fails or never ends fails the test."""
    done = execute(unit, notebook_of(unit), budget, cell_seconds=HANGS * limit)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    record(unit=unit, budget=budget, seconds=done.seconds, workers=workers)
    return done


def record(**figures: object) -> None:
    """Append figures to the file that CVCOURSE_FIGURES names, for docs/figures.md."""
    if path := os.environ.get("CVCOURSE_FIGURES"):
        with open(path, "a") as file:
            print(json.dumps(figures), file=file)


def test_there_are_units():
    names = (
        "00_seeing 01_convolution 02_building_blocks 04_resnet 07_vit 08_simclr 09_dino 11_mae"
        " 15_sam"
    )
    assert set(names.split()) <= set(UNITS)


@pytest.mark.parametrize("unit", UNITS)
def test_in_step_with_its_source(unit):
    assert check_unit(unit) == []


@pytest.mark.parametrize("unit", UNITS)
def test_the_gates_hold(unit, patience):
    quality = unit_quality(unit)
    refused = [f"{row.exercise} {problem}" for row in quality.exercises for problem in row.problems]
    assert refused == []
    assert (quality.validity, quality.thoroughness) == (1.0, 1.0)
    survivors = [survivor for row in quality.exercises for survivor in row.survivors]
    assert quality.mutation_score >= MUTATION_FLOOR, "\n".join(survivors)
    seconds = statistics.median(row.check_seconds for row in quality.exercises)
    assert seconds < patience(CHECK_SECONDS)
    record(
        unit=unit,
        mutation_score=quality.mutation_score,
        median_check_ms=round(1000 * quality.check_seconds, 1),
    )


@pytest.mark.seconds(SMOKE_SECONDS)
@pytest.mark.parametrize("unit", UNITS)
def test_runs_in_the_smoke_budget(unit, limit, patience):
    assert run_notebook(unit, "smoke", limit).seconds < patience(limit)


@pytest.mark.parametrize("unit", UNITS)
def test_its_run_is_recorded(unit):
    assert read_record(unit).printed
    assert run_bounds(unit)


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param(unit, marks=pytest.mark.seconds(LONGER.get(unit, FULL_SECONDS)))
        for unit in IN_FULL
    ],
)
def test_runs_in_full_on_a_processor(unit, limit, patience):
    """What is chosen by autograder/authoring/draw.py; where nothing changed since the record, the
    figures come out as recorded."""
    done = run_notebook(unit, "cpu", limit)
    assert done.seconds < patience(limit)
    if not why_in_full(unit):
        assert not_as_recorded(unit, done.notebook) == []


@pytest.mark.parametrize("unit", UNITS)
def test_checks_stand_alone(unit, tmp_path, monkeypatch):
    """A check needs nothing but its own unit's folder."""
    folder = Path(shutil.copytree(ROOT / "course" / unit, tmp_path / unit))
    monkeypatch.chdir(tmp_path)
    checker = Checker(unit, folder)
    namespace = lesson_of(unit).namespace()
    for name, exercise in checker.key().exercises.items():
        answers = {answer: namespace[answer] for answer in exercise.answers}
        assert checker.verdict(name, None if answers else namespace[name], answers).is_right


@pytest.mark.parametrize("unit", UNITS)
def test_the_rhythm(unit):
    """DESIGN: code cells of 10 lines in the middle, nine in ten under 30; 8 to 12 words of prose a
    line of code."""
    code = cells_of(unit, "code")
    lengths = sorted(
        lines_of(cell) for cell in code if not cell.metadata.get("nbgrader", {}).get("grade")
    )
    assert statistics.median(lengths) <= 10
    assert lengths[int(0.9 * (len(lengths) - 1))] <= 30
    [setup] = [cell for cell in code if "setup" in tags(cell)]
    assert lines_of(setup) <= 8
    words = sum(len(cell.source.split()) for cell in cells_of(unit, "markdown"))
    assert 6 <= words / sum(map(lines_of, code)) <= 16


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_whole(unit):
    """5 to 11 exercises, 20 to 30 points, a widget, a training cell, 2 or 3 written questions, 45
    to 180 minutes."""
    lesson = lesson_of(unit)
    every = lesson.notebook.cells
    graded = [cell for cell in every if cell.metadata.get("nbgrader", {}).get("grade")]
    written = [cell for cell in graded if cell.cell_type == "markdown"]
    assert 5 <= len(lesson.exercises) <= 11
    assert 20 <= sum(cell.metadata["nbgrader"]["points"] for cell in graded) <= 30
    assert 45 <= lesson.table["unit"]["minutes"] <= 180
    assert (
        sum(exercise.minutes for exercise in lesson.exercises.values())
        <= lesson.table["unit"]["minutes"]
    )
    assert 2 <= len(written) <= 3
    assert any("widget" in tags(cell) for cell in every)
    assert any("training" in tags(cell) for cell in every)
    assert all(5 <= exercise.minutes <= 25 for exercise in lesson.exercises.values())


@pytest.mark.parametrize("unit", UNITS)
def test_every_picture_has_alternative_text(unit):
    for cell in cells_of(unit, "code"):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"Lab", "show"}:
                alt = next(
                    (keyword.value for keyword in node.keywords if keyword.arg == "alt"), None
                )
                assert alt is not None, cell.source
                assert not isinstance(alt, ast.Constant) or len(alt.value.split()) >= 5


@pytest.mark.parametrize("unit", UNITS)
def test_exercises_have_shapes_and_types(unit):
    """Each function says what it takes and gives."""
    lesson = lesson_of(unit)
    for exercise in lesson.exercises.values():
        if not exercise.answers:
            node = next(item for item in ast.parse(exercise.solution).body if hasattr(item, "name"))
            doc = ast.get_docstring(node) or ""
            assert len(doc.split()) >= 10, exercise.name
            assert re.search(r"Returns?\b", doc), exercise.name
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)] or [node]
            for function in methods:
                taken = [argument for argument in function.args.args if argument.arg != "self"]
                assert all(argument.annotation for argument in taken), (
                    exercise.name,
                    function.name,
                )
                assert function.returns is not None or function.name == "__init__", (
                    exercise.name,
                    function.name,
                )


@pytest.mark.parametrize("unit", UNITS)
def test_no_line_of_prose_stands_twice(unit):
    """What an edit leaves behind: a long line, or the end of one, that is there again."""
    for cell in cells_of(unit, "markdown"):
        lines = [line.strip() for line in cell.source.splitlines() if len(line) > 40]
        repeated = [line for line in lines if line[:1].isalpha() and lines.count(line) > 1]
        ends = [
            line
            for line, before in zip(lines[1:], lines, strict=False)
            if not line.startswith("|") and before.endswith(line)
        ]
        assert repeated + ends == [], cell.source
