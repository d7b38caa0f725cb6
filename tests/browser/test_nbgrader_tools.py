"""nbgrader's own tools in JupyterLab work on our notebooks: Validate on a release, Create
Assignment on a source."""

import shutil
from pathlib import Path

import pytest

from autograder.authoring.lesson import read_lesson
from autograder.units import units

from .harness import ROOT
from .test_widgets import stop_kernels

UNIT = units()[-1]


@pytest.fixture
def opened(watched, lab_address: str, lab_folder: Path):
    """Opens a notebook of a unit's folder, copied into the server's; gives the page."""

    def open_notebook(folder: str):
        copy = lab_folder / "work" / f"{folder}-{UNIT}"
        shutil.copytree(ROOT / folder / UNIT, copy, dirs_exist_ok=True)
        page = watched.page
        page.set_default_timeout(120_000)
        page.goto(f"{lab_address}/lab/tree/{copy.name}/{UNIT}.ipynb?reset", wait_until="load")
        page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
        return page

    yield open_notebook
    stop_kernels(lab_address)


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
    graded = [
        cell.metadata["nbgrader"] for cell in lesson.notebook.cells if "nbgrader" in cell.metadata
    ]
    assert float(total.input_value()) == sum(
        cell.get("points", 0) for cell in graded if cell["grade"]
    )
    shown = page.locator(".nbgrader-CellId input")
    ids = [shown.nth(k).input_value() for k in range(shown.count())]
    assert [cell["grade_id"] for cell in graded] == [name for name in ids if name]
