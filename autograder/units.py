"""Units by name and number: the one place that finds them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autograder.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent
SOLUTIONS, COURSE = "solutions", "course"
PATTERN = "[0-9][0-9]_*"


def units(root: Path = ROOT) -> list[str]:
    """The units that have a lesson, in order."""
    folders = sorted((root / SOLUTIONS).glob(PATTERN)) if (root / SOLUTIONS).is_dir() else []
    return [folder.name for folder in folders if (folder / f"{folder.name}.py").exists()]


def chosen_units(names: Iterable[str], root: Path = ROOT) -> list[str]:
    """`names`, or every unit; a number (`01`) stands for its unit. Raises CourseError for one that
    does not exist."""
    existing = units(root)
    if not existing:
        raise CourseError(f"There is no unit in {SOLUTIONS}/: run this from a clone of the course.")
    chosen = [
        next((unit for unit in existing if name.strip("/") in (unit, unit[:2])), name)
        for name in names
    ]
    unknown = [name for name in chosen if name not in existing]
    if unknown:
        raise CourseError(
            f"There is no unit {', '.join(unknown)}: the units are {', '.join(existing)}."
        )
    return chosen or existing
