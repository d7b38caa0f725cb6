"""Marking a picture in a real browser: clicks of both signs, boxes, undo, reset, keys, candidates,
another picture."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import harness
from .harness import place, stop_kernels
from .test_controls import control, drawn_for
from .test_widgets import ROUNDS

SIDE = 40  # pixels of the demo's picture


@pytest.fixture(scope="module")
def page(browser, lab_address: str, lab_folder: Path) -> Iterator:
    """A page with the demo's lab that is marked."""
    widget = harness.widget_cells(harness.DEMO)[3]
    page = browser.new_context(viewport={"width": 1400, "height": 1200}).new_page()
    harness.run_notebook(
        page, lab_address, place(harness.notebook_for(widget), widget, lab_folder / "work")
    )
    harness.labs(page)
    yield page
    stop_kernels(lab_address)
    page.close()


@pytest.fixture(autouse=True)
def unmarked(page):
    """Each test begins with no mark and the first candidate."""
    control(page, "mask").locator("select").select_option("first")
    if json.loads(page.locator(".cvlab").get_attribute("data-values"))["prompt"]:
        control(page, "prompt").get_by_text("reset").click()
    drawn_for(page, "prompt", [])


def at(page, row: int, column: int, panel: int = 0) -> tuple[float, float]:
    """Where a pixel of the picture lies on the screen."""
    canvas = page.locator(".cvlab canvas").nth(panel)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    pixel = box["width"] / SIDE
    return box["x"] + (column + 0.5) * pixel, box["y"] + (row + 0.5) * pixel


def drag(page, start: tuple[int, int], end: tuple[int, int]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=5)
    page.mouse.up()


def test_a_click_is_positive_and_with_shift_negative(page):
    page.mouse.click(*at(page, 5, 30))
    drawn_for(page, "prompt", [["point", 5, 30, 1]])
    page.keyboard.down("Shift")
    page.mouse.click(*at(page, 30, 5))
    page.keyboard.up("Shift")
    drawn_for(page, "prompt", [["point", 5, 30, 1], ["point", 30, 5, 0]])
    page.mouse.click(*at(page, 31, 32), button="right")
    drawn_for(page, "prompt", [["point", 5, 30, 1], ["point", 30, 5, 0], ["point", 31, 32, 0]])
    assert control(page, "prompt").locator("output").inner_text() == "1 +, 2 −"
    assert not page.locator(".lm-Menu").count()  # the page's own menu stays away


def test_without_a_shift_key_a_switch_turns_the_sign(page):
    switch = control(page, "prompt").get_by_label("not part of it")
    switch.check()
    page.mouse.click(*at(page, 5, 30))
    drawn_for(page, "prompt", [["point", 5, 30, 0]])
    switch.uncheck()


def test_dragging_draws_a_box_from_any_corner(page):
    drag(page, (8, 10), (20, 31))
    drawn_for(page, "prompt", [["box", 8, 10, 13, 22]])
    drag(page, (30, 35), (25, 3))  # a second box takes the place of the first
    drawn_for(page, "prompt", [["box", 8, 10, 13, 22], ["box", 25, 3, 6, 33]])
    assert "192 pixels" not in page.locator(".cvlab-caption").inner_text()
    assert f"{6 * 33} pixels" in page.locator(".cvlab-caption").inner_text()


def test_a_box_that_leaves_the_picture_ends_at_its_edge(page):
    page.mouse.move(*at(page, 30, 30))
    page.mouse.down()
    page.mouse.move(*at(page, 60, 33), steps=5)
    page.mouse.up()
    drawn_for(page, "prompt", [["box", 30, 30, 10, 4]])


def test_undo_takes_one_mark_back_and_reset_all(page):
    undo, reset = (control(page, "prompt").get_by_text(name) for name in ("undo", "reset"))
    assert undo.is_disabled() and reset.is_disabled()
    page.mouse.click(*at(page, 5, 30))
    drag(page, (8, 10), (20, 31))
    drawn_for(page, "prompt", [["point", 5, 30, 1], ["box", 8, 10, 13, 22]])
    undo.click()
    drawn_for(page, "prompt", [["point", 5, 30, 1]])
    page.mouse.click(*at(page, 6, 31))
    drawn_for(page, "prompt", [["point", 5, 30, 1], ["point", 6, 31, 1]])
    reset.click()
    drawn_for(page, "prompt", [])
    assert undo.is_disabled()


def test_everything_can_be_done_from_the_keyboard(page):
    page.locator(".cvlab canvas").first.focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight", "Space"):
        page.keyboard.press(key)
    drawn_for(page, "prompt", [["point", 18, 21, 1]])
    for key in ("ArrowLeft", "Shift+Space"):
        page.keyboard.press(key)
    drawn_for(page, "prompt", [["point", 18, 21, 1], ["point", 18, 20, 0]])
    for key in ("b", "ArrowDown", "ArrowRight", "ArrowRight", "b"):
        page.keyboard.press(key)
    drawn_for(page, "prompt", [["point", 18, 21, 1], ["point", 18, 20, 0], ["box", 18, 20, 2, 3]])
    page.keyboard.press("Backspace")
    drawn_for(page, "prompt", [["point", 18, 21, 1], ["point", 18, 20, 0]])
    page.keyboard.press("Escape")
    drawn_for(page, "prompt", [])


def test_a_press_on_a_candidate_chooses_it_and_another_lets_go(page):
    page.mouse.click(*at(page, 5, 30))
    drawn_for(page, "prompt", [["point", 5, 30, 1]])
    canvas = page.locator(".cvlab canvas").nth(1)
    box = canvas.bounding_box()
    for wanted in ("3", "first"):
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 0.9 * box["height"])
        drawn_for(page, "mask", wanted)
    assert control(page, "mask").locator("select").input_value() == "first"


def test_another_picture_has_no_marks(page):
    page.mouse.click(*at(page, 5, 30))
    drawn_for(page, "prompt", [["point", 5, 30, 1]])
    control(page, "scene").locator("select").select_option("turned")
    drawn_for(page, "prompt", [])
    assert control(page, "prompt").locator("output").inner_text() == ""
    page.mouse.click(*at(page, 5, 30))
    drawn_for(page, "prompt", [["point", 5, 30, 1]])


def test_a_field_is_read_when_it_is_finished(page):
    field = control(page, "note").locator("input")
    field.fill("half <b>a</b>")
    field.press("Enter")
    drawn_for(page, "note", "half <b>a</b>")
    assert "half <b>a</b>" in page.locator(".cvlab-caption").inner_text()


def test_a_mark_is_drawn_soon(page, pace: float):
    medians = []
    while len(medians) < ROUNDS and (not medians or medians[-1] > harness.CLICK_LIMIT_MS * pace):
        places = [(0.1 + 0.02 * k, 0.9 - 0.03 * k - 0.01 * len(medians)) for k in range(16)]
        medians.append(statistics.median(harness.measure_clicks(page, 0, "prompt", places)))
    assert min(medians) <= harness.CLICK_LIMIT_MS * pace
