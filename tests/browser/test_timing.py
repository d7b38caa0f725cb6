"""What counts as too slow, without a browser: a slow widget fails, a slow machine does not."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .timing import BARE_MS, CLICK, REDRAW, REDRAW_MS, ROUNDS, Timing, time_redraws


@pytest.fixture(autouse=True)
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invented times are no lines of the benchmark."""
    monkeypatch.delenv("CVCOURSE_FIGURES", raising=False)


def timed(lab: Iterator[float], bare: Iterator[float], most: float = REDRAW) -> Timing:
    """Redraws that take these milliseconds, one number for each round."""
    return time_redraws("demo", "stride", lambda: [next(lab)], lambda: [next(bare)], most)


def steady(ms: float) -> Iterator[float]:
    return itertools.repeat(ms)


@pytest.mark.parametrize("most", [REDRAW, CLICK])
@pytest.mark.parametrize("pace", [0.5, 1, 3, 10])
def test_a_widget_three_times_slower_than_allowed_fails_on_every_machine(pace, most):
    slow = timed(steady(3 * most * pace * BARE_MS), steady(pace * BARE_MS), most)
    assert slow.is_slow
    assert len(slow.rounds) == ROUNDS
    assert f"allowed are {most:.1f}" in str(slow)


@pytest.mark.parametrize("pace", [0.5, 1, 3, 10])
def test_the_limit_is_60_ms_where_the_bare_widget_takes_26(pace):
    assert not timed(steady(0.99 * pace * REDRAW_MS), steady(pace * BARE_MS)).is_slow
    assert timed(steady(1.01 * pace * REDRAW_MS), steady(pace * BARE_MS)).is_slow
    assert (BARE_MS, REDRAW_MS) == (26, 60)


def test_one_spoilt_round_is_measured_again_and_both_widgets_with_it():
    timing = timed(iter([300.0, 40.0]), iter([26.0, 30.0]))
    assert not timing.is_slow
    assert [(one.lab, one.bare) for one in timing.rounds] == [(300, 26), (40, 30)]


def test_a_fast_widget_is_measured_once_and_the_bare_one_not_again():
    def never() -> list[float]:
        raise AssertionError("has just been measured")

    timing = time_redraws("demo", "stride", lambda: [40.0], never, REDRAW, bare_ms=26.0)
    assert [(one.lab, one.bare) for one in timing.rounds] == [(40, 26)]


def test_the_times_are_lines_of_a_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CVCOURSE_FIGURES", str(tmp_path / "figures.jsonl"))
    timed(steady(40.0), steady(26.0))
    timed(steady(400.0), steady(26.0), CLICK)
    key, click = map(json.loads, (tmp_path / "figures.jsonl").read_text().splitlines())
    assert (key["medians"], key["bare"], key["wanted"]) == ([40.0], [26.0], 60)
    assert (click["medians"], click["wanted"]) == ([400.0] * ROUNDS, 100)


def test_without_a_file_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    timed(steady(40.0), steady(26.0))
    assert list(tmp_path.iterdir()) == []
