"""Limits in tests follow the machine's pace, and never fall below those of a quiet one."""

from __future__ import annotations

import pace
import pytest


@pytest.mark.parametrize(("times_as_long", "allowed"), [(0.5, 2.0), (1.0, 2.0), (3.0, 6.0)])
def test_a_limit_grows_with_the_reference_loop(monkeypatch, patience, times_as_long, allowed):
    monkeypatch.setattr(pace, "reference_seconds", lambda: times_as_long * pace.QUIET_SECONDS)
    assert patience(2.0) == pytest.approx(allowed)


def test_the_slowest_round_counts(monkeypatch):
    rounds = iter([1.0, 1.0, 4.0, 1.0, 1.0])
    monkeypatch.setattr(pace, "reference_seconds", lambda: next(rounds) * pace.QUIET_SECONDS)
    assert pace.slowness() == pytest.approx(4.0)


def test_the_loop_takes_its_time():
    assert pace.reference_seconds() > 0.1 * pace.QUIET_SECONDS
