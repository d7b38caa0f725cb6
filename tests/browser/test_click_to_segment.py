"""Unit 15's click-to-segment lab in a real browser: answers, whose weights, boxes, files, everything."""

from pathlib import Path

import pytest

from . import harness
from .labs import Lab, LessonPage, on_lesson
from .test_prompts import drag, unmark
from .test_widgets import BARE_LABEL, take_pictures
from .timing import CLICK, time_redraws

pytestmark = on_lesson(harness.lesson_named("15_sam"))


@pytest.fixture
def lab(lesson_page: LessonPage) -> Lab:
    """The lab that is clicked into."""
    labs = [labs for widget, labs in lesson_page.widgets() if "Prompts(" in widget.source]
    return labs[0][0]


def choose(lab: Lab, weights: str) -> None:
    lab.control("weights").locator("select").select_option(weights)
    lab.wait_for("weights", weights)


def test_a_click_is_answered_soon(lesson_page: LessonPage, lab: Lab):
    choose(lab, "provided")
    rounds = 0

    def clicks() -> list[float]:
        """One click at a time, as somebody who tries a picture."""
        nonlocal rounds
        times = []
        unmark(lab)
        for k in range(16):
            down, across = 0.1 + 0.05 * k, 0.15 + 0.04 * k + 0.01 * rounds
            times += lab.click_times("prompt", [(down, across), (across, down)])
            unmark(lab)
        rounds += 1
        return times

    def bare() -> list[float]:
        return lesson_page.bare.key_times(BARE_LABEL)

    timing = time_redraws("15_sam", "a click, provided weights", clicks, bare, CLICK)
    assert not timing.is_slow, str(timing)


def test_it_says_whose_weights_answer(lab: Lab):
    choose(lab, "provided")
    assert "Weights: provided with the course" in lab.caption
    choose(lab, "yours")
    assert "Yours are not trained yet" in lab.caption


def test_boxes_everything_and_files(lab: Lab, tmp_path: Path):
    choose(lab, "yours")
    unmark(lab)
    drag(lab, (4, 4), (30, 32))
    lab.wait_for_caption("Predicted IoU")
    lab.control("everything").locator("input").check()
    lab.wait_for("everything", True)
    assert "masks from a grid of clicks" in lab.caption
    lab.control("everything").locator("input").uncheck()
    lab.wait_for("everything", False)
    open_file(lab, "nowhere.png")
    assert "There is no file 'nowhere.png'" in lab.caption
    from PIL import Image

    Image.new("RGB", (300, 120), "orange").save(tmp_path / "mine.png")
    open_file(lab, str(tmp_path / "mine.png"))
    assert "There is no file" not in lab.caption
    open_file(lab, "")
    take_pictures(lab, "click_to_segment")


def open_file(lab: Lab, path: str) -> None:
    field = lab.control("file").locator("input")
    field.fill(path)
    field.press("Enter")
    lab.wait_for("file", path)
