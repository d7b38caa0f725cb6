"""Each kind of control moves the picture, by mouse and by keyboard; failures are seen; nothing jumps."""

import pytest

from . import harness
from .labs import Lab, LessonPage, on_lesson
from .test_widgets import take_pictures

pytestmark = on_lesson(harness.DEMO)


@pytest.fixture
def lab(lesson_page: LessonPage) -> Lab:
    """The demo's first lab, which has every kind of control but marks and a field."""
    return lesson_page.of_cells[0][0]


def test_choice(lab: Lab):
    lab.control("kernel").locator("select").select_option("blur")
    lab.wait_for("kernel", "blur")
    lab.control("kernel").locator("select").select_option("my own")
    lab.wait_for("kernel", "my own")


def test_toggle(lab: Lab):
    for on in (False, True):
        lab.control("flip").locator("input").set_checked(on)
        lab.wait_for("flip", on)


def test_jupyterlab_is_not_bothered_with_every_move(lab: Lab):
    lab.page.evaluate("""() => {
      window.told = [];
      const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
      kernel.statusChanged.connect((_, status) => window.told.push(status));
    }""")
    for value in ("blur", "my own", "blur", "my own"):
        lab.control("kernel").locator("select").select_option(value)
        lab.wait_for("kernel", value)
    assert lab.page.evaluate("() => window.told") == []


def test_grid_takes_typed_numbers_and_arrow_keys(lab: Lab):
    cell = lab.control("own").locator("input").first
    cell.fill("-1.5")
    lab.wait_for("own", [[-1.5, 0, 0], [0, 1, 0], [0, 0, 0]])
    cell.press("ArrowUp")
    lab.wait_for("own", [[-1.25, 0, 0], [0, 1, 0], [0, 0, 0]])
    cell.fill("")  # no number yet: nothing is sent, nothing breaks
    cell.fill("2")
    lab.wait_for("own", [[2, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_pointer_follows_the_mouse_and_the_arrow_keys(lab: Lab):
    canvas, mouse = lab.canvas(), lab.page.mouse
    canvas.focus()  # scrolls it into view
    box = canvas.bounding_box()
    pixel = box["width"] / 14
    mouse.move(box["x"] + 5.5 * pixel, box["y"] + 7.5 * pixel)
    lab.wait_for("at", [7, 5])
    lab.page.keyboard.press("ArrowLeft")
    lab.wait_for("at", [7, 4])
    mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5)
    lab.wait_for("at", [13, 13])


def test_moving_fast_ends_at_the_newest_value(lab: Lab):
    lab.canvas().scroll_into_view_if_needed()
    box = lab.canvas().bounding_box()
    for k in range(40):
        lab.page.mouse.move(box["x"] + box["width"] * (k + 0.5) / 40, box["y"] + 5)
    lab.wait_for("at", [0, 13])


def test_nothing_on_the_page_moves_while_a_slider_does(lab: Lab):
    def places():
        return [lab.canvas(panel).bounding_box() for panel in range(2)]

    slider = lab.control("stride").locator("input")
    slider.fill("1")
    lab.wait_for("stride", 1)
    before = places()
    for key, value in (("Right", 2), ("Right", 3), ("Right", 4), ("Left", 3)):
        slider.press(f"Arrow{key}")
        lab.wait_for("stride", value)
        assert places() == before


def test_controls_can_be_reached_by_tab_and_have_names(lab: Lab):
    lab.control("kernel").locator("select").focus()
    names = []
    for _ in range(13):
        names.append(lab.page.evaluate("() => document.activeElement.getAttribute('aria-label')"))
        lab.page.keyboard.press("Tab")
    assert names[0] == "kernel" and names[1] == "my own kernel, row 0, column 0"
    assert names[10:] == ["flip the kernel", "stride", "dilation"]
    assert lab.canvas().get_attribute("role") == "img"
    assert "bright disc" in lab.canvas().get_attribute("aria-label")


def test_a_failure_is_seen_as_text_and_moves_on(lesson_page: LessonPage):
    [broken] = lesson_page.of_cells[-2]
    assert broken.has_failed
    slider = broken.root.locator("input[type=range]")
    slider.fill("1")
    slider.press("ArrowRight")
    broken.wait_for("size", 2)
    words = broken.root.inner_text()
    take_pictures(broken, "broken")
    assert "Your halve raised AttributeError" in words
    assert "return x.half_of_it()" in words
    assert "printed: I was given 2" in words
    assert "<b>No fallback</b>" in words  # words stay words
    page = lesson_page.page
    assert page.locator(".jp-OutputArea-output[data-mime-type*=stderr]").count() == 0
    assert lesson_page.watched.complaints == []
