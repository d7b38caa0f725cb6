"""Whether a redraw is fast enough: beside the bare widget on the same page, not by the clock.

Where the bare widget (demo/00_bare.py) takes BARE_MS, a key may take REDRAW_MS to its picture and a
click CLICK_MS. A slower or busier machine slows both, so tests assert the ratio. The times
themselves are lines of a benchmark: CVCOURSE_FIGURES=file appends them, for docs/measure/figures.py.
"""

import json
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass

BARE_MS, REDRAW_MS, CLICK_MS = 26, 60, 100
REDRAW, CLICK = REDRAW_MS / BARE_MS, CLICK_MS / BARE_MS
"""How many times as long as the bare widget a redraw may take, after a key and after a click."""

ROUNDS = 5
"""Whatever else is at work may spoil a round; a widget that is slow by itself is slow in all."""

Clock = Callable[[], list[float]]
"""Measures a few redraws, in milliseconds each."""


@dataclass(frozen=True)
class Round:
    """Medians of one round, in milliseconds: of the lab, and of the bare widget next to it."""

    lab: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.lab / self.bare


@dataclass(frozen=True)
class Timing:
    """What was measured of one control. most: the ratio that is allowed."""

    widget: str
    control: str
    most: float
    rounds: tuple[Round, ...]

    @property
    def best(self) -> Round:
        return min(self.rounds, key=lambda one: one.ratio)

    @property
    def is_slow(self) -> bool:
        """Whether the lab took too long in every round."""
        return self.best.ratio > self.most

    def __str__(self) -> str:
        lab, bare = self.best.lab, self.best.bare
        ratio = f"{self.best.ratio:.1f} times the bare widget's {bare:.0f} ms"
        return f"{self.widget}, {self.control}: {lab:.0f} ms, {ratio}; allowed are {self.most:.1f}"


def time_redraws(
    widget: str, control: str, lab: Clock, bare: Clock, most: float, bare_ms: float | None = None
) -> Timing:
    """Measures a control until it is fast enough, at most ROUNDS times; writes the figures down.

    bare_ms: the bare widget's median, where it has just been measured; later rounds measure it anew.
    """
    rounds: list[Round] = []
    while len(rounds) < ROUNDS and (not rounds or rounds[-1].ratio > most):
        if bare_ms is None or rounds:
            bare_ms = statistics.median(bare())
        rounds.append(Round(statistics.median(lab()), bare_ms))
    timing = Timing(widget, control, most, tuple(rounds))
    write_down(timing)
    return timing


def write_down(timing: Timing) -> None:
    """Append the medians to the file that CVCOURSE_FIGURES names, if it names one."""
    path = os.environ.get("CVCOURSE_FIGURES")
    if not path:
        return
    line = {
        "figure": "control to redraw",
        "unit": "ms",
        "widget": timing.widget,
        "control": timing.control,
        "wanted": round(timing.most * BARE_MS),
        "medians": [round(one.lab, 1) for one in timing.rounds],
        "bare": [round(one.bare, 1) for one in timing.rounds],
    }
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")
