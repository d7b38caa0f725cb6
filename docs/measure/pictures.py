"""Take the README's pictures of a real notebook and a real failed check.

`python docs/measure/pictures.py`.

Opens what a learner receives in JupyterLab and a headless Chromium, with the cells filled in that
the picture shows.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from autograder.authoring.lesson import read_lesson  # noqa: E402
from tests.browser import harness  # noqa: E402

UNIT, EXERCISE, MISTAKE = "01_convolution", "conv1d", "a flipped kernel"
PICTURES = ROOT / "docs" / "pictures"
VIEW = {"width": 1180, "height": 860}


def main() -> None:
    """Write both pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    lesson = read_lesson(ROOT / "solutions" / UNIT)
    exercise = lesson.exercises[EXERCISE]
    mistake = next(item for item in exercise.misconceptions if item.name == MISTAKE)
    with (
        tempfile.TemporaryDirectory() as temporary,
        harness.jupyter_lab(Path(temporary)) as address,
    ):
        work = Path(temporary) / "work"
        shutil.copytree(ROOT / "course" / UNIT, work / UNIT)
        write_part(work / UNIT / "right.ipynb", exercise.solution)
        write_part(work / UNIT / "wrong.ipynb", mistake.apply(exercise.solution, UNIT))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=harness.find_chromium(), args=harness.CHROMIUM_ARGUMENTS
            )
            page = browser.new_page(viewport=VIEW, device_scale_factor=2)
            photograph_notebook(page, address)
            photograph_check(page, address)
            browser.close()


def write_part(path: Path, source: str) -> None:
    """The released notebook up to the first widget, with `source` in the exercise's cell."""
    notebook = nbformat.read(ROOT / "course" / UNIT / f"{UNIT}.ipynb", as_version=4)
    last = next(
        k for k, cell in enumerate(notebook.cells) if "widget" in cell.metadata.get("tags", [])
    )
    notebook.cells = notebook.cells[: last + 1]
    for cell in notebook.cells:
        if cell.id == EXERCISE:
            cell.source = source
    nbformat.write(notebook, path)


def open_notebook(page: Any, address: str, name: str) -> None:
    """Open a notebook, hide the side bar, run every cell."""
    page.goto(f"{address}/lab/tree/{UNIT}/{name}?reset", wait_until="load")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.set_default_timeout(180_000)
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.evaluate(harness.RUN_ALL)


def photograph_notebook(page: Any, address: str) -> None:
    """The exercise's widget in its surroundings."""
    open_notebook(page, address, "right.ipynb")
    lab = harness.labs(page).first
    slider = lab.locator("input[type=range]").first
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(150)
    lab.scroll_into_view_if_needed()
    page.evaluate("() => document.querySelector('.cvlab').scrollIntoView({block: 'end'})")
    page.wait_for_timeout(800)
    page.screenshot(path=PICTURES / "notebook.png")


def photograph_check(page: Any, address: str) -> None:
    """The table under a check of a known mistake."""
    open_notebook(page, address, "wrong.ipynb")
    table = page.locator(".cv-check.wrong").first
    table.wait_for()
    table.locator("summary").first.click()
    page.wait_for_timeout(400)
    cell = page.locator(".jp-Cell", has=table).first
    cell.screenshot(path=PICTURES / "failed_check.png")


if __name__ == "__main__":
    main()
