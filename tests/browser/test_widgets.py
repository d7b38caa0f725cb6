"""Every widget of every unit, in a real browser: it redraws soon and asks nobody outside.

CVCOURSE_SCREENSHOTS=folder keeps a picture of each widget in the light and the dark theme;
CVCOURSE_FIGURES=file appends one JSON line with the medians of each control.
"""

import os
import statistics
from pathlib import Path

from . import harness
from .labs import Lab, LessonPage, on_lesson
from .timing import CLICK, REDRAW, Timing, time_redraws

BARE_LABEL = "level"


@on_lesson(*harness.lessons())
def test_widgets_redraw_soon(lesson_page: LessonPage):
    timings: list[Timing] = []
    for widget, labs in lesson_page.widgets():
        for k, lab in enumerate(labs):
            assert not lab.has_failed, lab.root.inner_text()
            assert lab.labels(), f"{widget} has nothing to move"
            timings += time_lab(str(widget), lab, lesson_page.bare)
            take_pictures(lab, f"{widget}-{k}")
    assert lesson_page.are_stretched() == []
    assert [str(timing) for timing in timings if timing.is_slow] == []
    assert lesson_page.watched.complaints == []
    assert lesson_page.watched.outside == []


def time_lab(widget: str, lab: Lab, bare: Lab) -> list[Timing]:
    """Every control of a lab, beside the bare widget on the same page."""

    def bare_clock() -> list[float]:
        return bare.key_times(BARE_LABEL)

    most = CLICK if lab.is_marked else REDRAW
    bare_ms = statistics.median(bare_clock())
    timings = []
    for label in lab.labels():

        def lab_clock(label: str = label) -> list[float]:
            return lab.key_times(label)

        timings.append(time_redraws(widget, label, lab_clock, bare_clock, most, bare_ms))
    return timings


def take_pictures(lab: Lab, name: str) -> None:
    """Screenshots of a lab in both themes."""
    if not os.environ.get("CVCOURSE_SCREENSHOTS"):
        return
    folder = Path(os.environ["CVCOURSE_SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    for theme in ("Dark", "Light"):
        harness.set_theme(lab.page, f"JupyterLab {theme}")
        lab.root.screenshot(path=folder / f"{name}-{theme.lower()}.png")
