"""Units by name and number: the one place that finds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autograder.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent
SOLUTIONS, COURSE = "solutions", "course"
PATTERN = "[0-9][0-9]_*"


def units(root: Path = ROOT) -> list[str]:
    """The units that have a lesson, in order."""
    names = units_in(root, [SOLUTIONS])
    return [name for name in names if (root / SOLUTIONS / name / f"{name}.py").exists()]


def units_in(root: Path, places: Iterable[str]) -> list[str]:
    """The units that have a folder in one of these places below `root`, in order.

    places: folders, or patterns of folders such as `submitted/*`.
    """
    found = [path for place in places for path in root.glob(f"{place}/{PATTERN}")]
    return sorted({path.name for path in found if path.is_dir()})


def named(name: str, existing: Iterable[str]) -> str | None:
    """The unit of this name, or the only one of this number (`01`); None where there is none."""
    wanted = name.strip("/")
    found = [unit for unit in existing if wanted in (unit, unit[:2])]
    return found[0] if len(found) == 1 else None


def chosen_units(names: Iterable[str], root: Path = ROOT) -> list[str]:
    """The lessons of these names or numbers, or all lessons where no name is given.

    Raises CourseError for one that does not exist, and where there is no lesson at all.
    """
    existing = units(root)
    if not existing:
        raise CourseError(f"There is no unit in {SOLUTIONS}/: run this from a clone of the course.")
    return _all_named(list(names), existing) or existing


def unit_to_grade(course: Path, name: str) -> str:
    """The unit in a course's solutions/ by name or number, or `name` itself where there is none."""
    return named(name, units_in(course, [SOLUTIONS])) or name


def unit_of_course(course: Path, name: str, places: Iterable[str]) -> str:
    """A course's unit by name or number, wherever in these places something of it lies.

    places: as for `units_in`. Raises CourseError for a unit that is nowhere, and where `course` is
    no folder, or holds no unit.
    """
    if not course.is_dir():
        raise CourseError(f"There is no folder {course}: name the course's folder with --course.")
    existing = units_in(course, places)
    if not existing:
        raise CourseError(
            f"{course} holds no unit: run this in the course's folder, or name it with --course."
        )
    (unit,) = _all_named([name], existing)
    return unit


def _all_named(names: Sequence[str], existing: Sequence[str]) -> list[str]:
    """The unit of each name or number. Raises CourseError, which lists what there is."""
    found = {name: named(name, existing) for name in names}
    unknown = [name for name, unit in found.items() if unit is None]
    if unknown:
        raise CourseError(
            f"There is no unit {', '.join(unknown)}: the units are {', '.join(existing)}."
        )
    return [unit for name in names if (unit := found[name]) is not None]
