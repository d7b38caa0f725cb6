"""nbgrader's tools in JupyterLab work on our notebooks: Validate on a release, Create Assignment."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autograder.authoring.lesson import read_lesson
from autograder.units import units

from .harness import ROOT, open_notebook, stop_kernels

UNIT = units()[-1]


@pytest.fixture
def opened(lab_window, lab_address: str, lab_folder: Path) -> Iterator[Callable[[str], Any]]:
    """Opens a notebook of a unit's folder, copied into the server's; gives the page."""
    page, copies = lab_window.new_page(), []

    def open_copy(folder: str) -> Any:
        copy = lab_folder / "work" / f"{folder}-{UNIT}"
        copies.append(copy.name)
        shutil.copytree(ROOT / folder / UNIT, copy, dirs_exist_ok=True)
        open_notebook(page, lab_address, f"{copy.name}/{UNIT}.ipynb")
        return page

    yield open_copy
    page.close()
    for copy in copies:
        stop_kernels(lab_address, copy)


def test_validate_names_what_a_learner_has_not_written(opened) -> None:
    page = opened("course")
    page.locator("jp-button, button").filter(has_text="Validate").first.click()
    dialog = page.locator(".jp-Dialog")
    dialog.wait_for()
    said = dialog.inner_text()
    first, *_ = read_lesson(ROOT / "solutions" / UNIT).exercises
    assert "fail" in said.lower()
    assert f"check({first})" in said


def test_create_assignment_shows_every_cell_with_its_points(opened) -> None:
    page = opened("solutions")
    lesson = read_lesson(ROOT / "solutions" / UNIT)
    page.locator(".lm-TabBar-tab").filter(has_text="Create Assignment").first.click()
    total = page.locator(".nbgrader-TotalPointsInput")
    total.wait_for()
    cells = [cell.metadata.get("nbgrader") for cell in lesson.notebook.cells]
    graded = [cell for cell in cells if cell]
    points = sum(cell.get("points", 0) for cell in graded if cell["grade"])
    assert float(total.input_value()) == points
    shown = page.locator(".nbgrader-CellId input")
    ids = [shown.nth(k).input_value() for k in range(shown.count())]
    assert [cell["grade_id"] for cell in graded] == [name for name in ids if name]
