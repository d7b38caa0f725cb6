"""The units' sources, read once in each process."""

from __future__ import annotations

from functools import cache

from autograder.authoring.lesson import Lesson, read_lesson
from autograder.units import ROOT


@cache
def lesson_of(unit: str) -> Lesson:
    """A unit's lesson. Do not change it."""
    return read_lesson(ROOT / "solutions" / unit)
