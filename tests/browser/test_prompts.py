"""Marking a picture in a real browser: clicks of both signs, boxes, undo, reset, keys, candidates."""

import pytest

from . import harness
from .labs import Lab, LessonPage, on_lesson
from .test_widgets import BARE_LABEL
from .timing import CLICK, time_redraws

pytestmark = on_lesson(harness.DEMO)
expect = pytest.importorskip(
    "playwright.sync_api"
).expect  # waits, where controls follow the picture

SIDE = 40  # pixels of the demo's picture


@pytest.fixture
def lab(lesson_page: LessonPage) -> Lab:
    """The demo's lab that is marked; without a mark, and with the first of its choices."""
    [lab] = lesson_page.of_cells[3]
    lab.control("scene").locator("select").select_option("plain")
    lab.control("mask").locator("select").select_option("first")
    lab.wait_for("scene", "plain")
    lab.wait_for("mask", "first")
    unmark(lab)
    return lab


def unmark(lab: Lab) -> None:
    """Takes all marks away."""
    if lab.values["prompt"]:
        lab.control("prompt").get_by_text("reset").click()
    lab.wait_for("prompt", [])


def at(lab: Lab, row: int, column: int) -> tuple[float, float]:
    """Where a pixel of the picture lies on the screen."""
    canvas = lab.canvas()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    pixel = box["width"] / SIDE
    return box["x"] + (column + 0.5) * pixel, box["y"] + (row + 0.5) * pixel


def drag(lab: Lab, start: tuple[int, int], end: tuple[int, int]) -> None:
    mouse = lab.page.mouse
    mouse.move(*at(lab, *start))
    mouse.down()
    mouse.move(*at(lab, *end), steps=5)
    mouse.up()


def test_a_click_is_positive_and_with_shift_negative(lab: Lab):
    lab.page.mouse.click(*at(lab, 5, 30))
    lab.wait_for("prompt", [["point", 5, 30, 1]])
    lab.page.keyboard.down("Shift")
    lab.page.mouse.click(*at(lab, 30, 5))
    lab.page.keyboard.up("Shift")
    lab.wait_for("prompt", [["point", 5, 30, 1], ["point", 30, 5, 0]])
    lab.page.mouse.click(*at(lab, 31, 32), button="right")
    lab.wait_for("prompt", [["point", 5, 30, 1], ["point", 30, 5, 0], ["point", 31, 32, 0]])
    expect(lab.control("prompt").locator("output")).to_have_text("1 +, 2 −")
    assert not lab.page.locator(".lm-Menu").count()  # the page's own menu stays away


def test_without_a_shift_key_a_switch_turns_the_sign(lab: Lab):
    switch = lab.control("prompt").get_by_label("not part of it")
    switch.check()
    lab.page.mouse.click(*at(lab, 5, 30))
    lab.wait_for("prompt", [["point", 5, 30, 0]])
    switch.uncheck()


def test_dragging_draws_a_box_from_any_corner(lab: Lab):
    drag(lab, (8, 10), (20, 31))
    lab.wait_for("prompt", [["box", 8, 10, 13, 22]])
    drag(lab, (30, 35), (25, 3))  # a second box takes the place of the first
    lab.wait_for("prompt", [["box", 8, 10, 13, 22], ["box", 25, 3, 6, 33]])
    assert "192 pixels" not in lab.caption
    assert f"{6 * 33} pixels" in lab.caption


def test_a_box_that_leaves_the_picture_ends_at_its_edge(lab: Lab):
    lab.page.mouse.move(*at(lab, 30, 30))
    lab.page.mouse.down()
    lab.page.mouse.move(*at(lab, 60, 33), steps=5)
    lab.page.mouse.up()
    lab.wait_for("prompt", [["box", 30, 30, 10, 4]])


def test_undo_takes_one_mark_back_and_reset_all(lab: Lab):
    undo, reset = (lab.control("prompt").get_by_text(name) for name in ("undo", "reset"))
    expect(undo).to_be_disabled()
    expect(reset).to_be_disabled()
    lab.page.mouse.click(*at(lab, 5, 30))
    drag(lab, (8, 10), (20, 31))
    lab.wait_for("prompt", [["point", 5, 30, 1], ["box", 8, 10, 13, 22]])
    undo.click()
    lab.wait_for("prompt", [["point", 5, 30, 1]])
    lab.page.mouse.click(*at(lab, 6, 31))
    lab.wait_for("prompt", [["point", 5, 30, 1], ["point", 6, 31, 1]])
    reset.click()
    lab.wait_for("prompt", [])
    expect(undo).to_be_disabled()


def test_everything_can_be_done_from_the_keyboard(lab: Lab):
    lab.canvas().focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight", "Space"):
        lab.page.keyboard.press(key)
    lab.wait_for("prompt", [["point", 18, 21, 1]])
    for key in ("ArrowLeft", "Shift+Space"):
        lab.page.keyboard.press(key)
    lab.wait_for("prompt", [["point", 18, 21, 1], ["point", 18, 20, 0]])
    for key in ("b", "ArrowDown", "ArrowRight", "ArrowRight", "b"):
        lab.page.keyboard.press(key)
    lab.wait_for("prompt", [["point", 18, 21, 1], ["point", 18, 20, 0], ["box", 18, 20, 2, 3]])
    lab.page.keyboard.press("Backspace")
    lab.wait_for("prompt", [["point", 18, 21, 1], ["point", 18, 20, 0]])
    lab.page.keyboard.press("Escape")
    lab.wait_for("prompt", [])


def test_a_press_on_a_candidate_chooses_it_and_another_lets_go(lab: Lab):
    lab.page.mouse.click(*at(lab, 5, 30))
    lab.wait_for("prompt", [["point", 5, 30, 1]])
    canvas = lab.canvas(1)
    box = canvas.bounding_box()
    for wanted in ("3", "first"):
        lab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 0.9 * box["height"])
        lab.wait_for("mask", wanted)
    expect(lab.control("mask").locator("select")).to_have_value("first")


def test_another_picture_has_no_marks(lab: Lab):
    lab.page.mouse.click(*at(lab, 5, 30))
    lab.wait_for("prompt", [["point", 5, 30, 1]])
    lab.control("scene").locator("select").select_option("turned")
    lab.wait_for("prompt", [])
    expect(lab.control("prompt").locator("output")).to_have_text("")
    lab.page.mouse.click(*at(lab, 5, 30))
    lab.wait_for("prompt", [["point", 5, 30, 1]])


def test_a_field_is_read_when_it_is_finished(lab: Lab):
    field = lab.control("note").locator("input")
    field.fill("half <b>a</b>")
    field.press("Enter")
    lab.wait_for("note", "half <b>a</b>")
    assert "half <b>a</b>" in lab.caption


def test_a_mark_is_drawn_soon(lesson_page: LessonPage, lab: Lab):
    used = 0

    def clicks() -> list[float]:
        nonlocal used
        shift = 0.01 * used  # no two clicks on the same place
        used += 1
        places = [(0.1 + 0.02 * k, 0.9 - 0.03 * k - shift) for k in range(16)]
        return lab.click_times("prompt", places)

    def bare() -> list[float]:
        return lesson_page.bare.key_times(BARE_LABEL)

    timing = time_redraws("00_demo", "a click", clicks, bare, CLICK)
    assert not timing.is_slow, str(timing)
