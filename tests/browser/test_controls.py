"""Each kind of control moves the picture, by mouse and by keyboard; failures are seen; nothing
jumps."""

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from . import harness
from .harness import place, stop_kernels
from .test_widgets import take_pictures

BROKEN = """
def halve(x):
    print("I was given", len(x))
    return x.half_of_it()

def draw(halve, size):
    return image(halve(torch.zeros(size, size)))

Lab(draw, function=halve, title="<b>No fallback</b>", size=Slider(1, 9))
"""


@pytest.fixture(scope="module")
def sliding(browser, lab_address: str, lab_folder: Path) -> Iterator:
    """A page with the demo's first lab, which has every kind of control."""
    widget = harness.widget_cells(harness.DEMO)[0]
    page = browser.new_context(viewport={"width": 1400, "height": 1200}).new_page()
    harness.run_notebook(
        page, lab_address, place(harness.notebook_for(widget), widget, lab_folder / "work")
    )
    harness.labs(page)
    yield page
    stop_kernels(lab_address)
    page.close()


def drawn_for(page, name: str, value) -> None:
    """Waits until the picture is the one for this value."""
    wanted = (
        "([name, value]) =>"
        " JSON.stringify(JSON.parse(document.querySelector('.cvlab').dataset.values)[name]) ==="
        " value"
    )
    page.wait_for_function(
        wanted, arg=[name, json.dumps(value, separators=(",", ":"))], timeout=10_000
    )


def control(page, name: str):
    return page.locator(f".cvlab [data-control={name}]")


def test_choice(sliding):
    control(sliding, "kernel").locator("select").select_option("blur")
    drawn_for(sliding, "kernel", "blur")
    control(sliding, "kernel").locator("select").select_option("my own")
    drawn_for(sliding, "kernel", "my own")


def test_toggle(sliding):
    control(sliding, "flip").locator("input").check()
    drawn_for(sliding, "flip", True)


def test_jupyterlab_is_not_bothered_with_every_move(sliding):
    sliding.evaluate("""() => {
      window.told = [];
      const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
      kernel.statusChanged.connect((_, status) => window.told.push(status));
    }""")
    for value in ("blur", "my own", "blur", "my own"):
        control(sliding, "kernel").locator("select").select_option(value)
        drawn_for(sliding, "kernel", value)
    assert sliding.evaluate("() => window.told") == []


def test_grid_takes_typed_numbers_and_arrow_keys(sliding):
    cell = control(sliding, "own").locator("input").first
    cell.fill("-1.5")
    drawn_for(sliding, "own", [[-1.5, 0, 0], [0, 1, 0], [0, 0, 0]])
    cell.press("ArrowUp")
    drawn_for(sliding, "own", [[-1.25, 0, 0], [0, 1, 0], [0, 0, 0]])
    cell.fill("")  # no number yet: nothing is sent, nothing breaks
    cell.fill("2")
    drawn_for(sliding, "own", [[2, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_pointer_follows_the_mouse_and_the_arrow_keys(sliding):
    canvas = sliding.locator(".cvlab canvas").first
    canvas.focus()  # scrolls it into view
    box = canvas.bounding_box()
    pixel = box["width"] / 14
    sliding.mouse.move(box["x"] + 5.5 * pixel, box["y"] + 7.5 * pixel)
    drawn_for(sliding, "at", [7, 5])
    sliding.keyboard.press("ArrowLeft")
    drawn_for(sliding, "at", [7, 4])
    sliding.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5)
    drawn_for(sliding, "at", [13, 13])


def test_moving_fast_ends_at_the_newest_value(sliding):
    canvas = sliding.locator(".cvlab canvas").first
    box = canvas.bounding_box()
    for k in range(40):
        sliding.mouse.move(box["x"] + box["width"] * (k + 0.5) / 40, box["y"] + 5)
    drawn_for(sliding, "at", [0, 13])


def test_nothing_on_the_page_moves_while_a_slider_does(sliding):
    def places():
        return [sliding.locator(".cvlab canvas").nth(k).bounding_box() for k in range(2)]

    before = places()
    slider = control(sliding, "stride").locator("input")
    for value in (2, 3, 4, 3):
        slider.press("ArrowRight" if value != 3 or slider.input_value() != "4" else "ArrowLeft")
        drawn_for(sliding, "stride", value)
        assert places() == before


def test_controls_can_be_reached_by_tab_and_have_names(sliding):
    control(sliding, "kernel").locator("select").focus()
    names = []
    for _ in range(13):
        names.append(sliding.evaluate("() => document.activeElement.getAttribute('aria-label')"))
        sliding.keyboard.press("Tab")
    assert names[0] == "kernel" and names[1] == "my own kernel, row 0, column 0"
    assert names[10:] == ["flip the kernel", "stride", "dilation"]
    canvas = sliding.locator(".cvlab canvas").first
    assert canvas.get_attribute("role") == "img"
    assert "bright disc" in canvas.get_attribute("aria-label")


def test_a_failure_is_seen_as_text_and_moves_on(watched, lab_address: str, lab_folder: Path):
    widget = harness.widget_cells(harness.DEMO)[0]
    notebook = harness.notebook_for(widget)
    notebook.cells[-1] = nbformat.v4.new_code_cell(BROKEN)
    folder = lab_folder / "work" / "broken"
    folder.mkdir()
    nbformat.write(notebook, folder / "widget.ipynb")
    try:
        harness.run_notebook(watched.page, lab_address, "broken/widget.ipynb")
        lab = harness.labs(watched.page)
        assert lab.get_attribute("data-failed") == "true"
        lab.locator("input[type=range]").press("ArrowRight")
        drawn_for(watched.page, "size", 2)
        words = lab.inner_text()
        take_pictures(watched.page, 0, "broken")
    finally:
        stop_kernels(lab_address)
    assert "Your halve raised AttributeError" in words
    assert "return x.half_of_it()" in words
    assert "printed: I was given 2" in words
    assert "<b>No fallback</b>" in words  # words stay words
    assert watched.page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count() == 0
    assert watched.complaints == []
