"""Points by unit and what comes next, over all notebooks of a learner's folder, for `cvcourse
progress`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.authoring.release import release_digest
from autograder.checking.checker import Checker, key_folder
from autograder.checking.verdict import State
from autograder.errors import CourseError
from autograder.notebook import BY_HAND, check_notebook, read_notebook, unit_of

SKIPPED = (".ipynb_checkpoints", ".venv", "node_modules", "solutions", "runs")
KEPT_ASIDE = "*.mine-*.ipynb"  # copies that a build made: their unit would count twice


@dataclass(frozen=True)
class UnitProgress:
    """How far one notebook is. problem: why it could not be checked; empty where it could."""

    unit: str
    notebook: str
    points: float = 0.0
    max_points: float = 0.0
    right: int = 0
    exercises: int = 0
    next: str = ""  # the first exercise that is not right
    problem: str = ""


@dataclass(frozen=True)
class CourseProgress:
    """All units, in order."""

    units: tuple[UnitProgress, ...]

    @property
    def what_comes_next(self) -> str:
        """One sentence."""
        for unit in self.units:
            if unit.problem:
                return f"Next: {unit.notebook} cannot be checked: {unit.problem}"
            if unit.next:
                return f"Next: {unit.next} in {unit.notebook}."
        return "Every check is right."

    def __rich__(self) -> Any:
        """The table that a terminal shows."""
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        points = sum(unit.points for unit in self.units)
        most = sum(unit.max_points for unit in self.units)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
        table.add_column("unit", footer="total")
        table.add_column("exercises", justify="right")
        table.add_column("points", footer=f"{points:g} of {most:g}", justify="right")
        table.add_column("next")
        for unit in self.units:
            earned = "" if unit.problem else f"{unit.points:g} of {unit.max_points:g}"
            right = "" if unit.problem else f"{unit.right} of {unit.exercises}"
            table.add_row(Text(unit.unit), right, earned, Text(unit.problem or unit.next))
        return Group(table, Text(self.what_comes_next))


def progress_of(folder: Path, say: Callable[[str], None] = lambda words: None) -> CourseProgress:
    """Check every notebook of the course in a folder and below. say: hears which one is run.

    Raises CourseError where there is no such folder, or no notebook of this course in it.
    """
    if not folder.is_dir():
        raise CourseError(f"There is no folder {folder}.")
    found = [
        unit_progress(unit, path, folder, say) for unit, path in sorted(course_notebooks(folder))
    ]
    if not found:
        raise CourseError(f"No notebook of this course is in {folder.resolve().name}/ or below.")
    return CourseProgress(tuple(found))


def course_notebooks(folder: Path) -> Iterator[tuple[str, Path]]:
    """(unit, path) of every notebook that belongs to this course; others are passed over."""
    for path in sorted(folder.rglob("*.ipynb")):
        is_copy = path.match(KEPT_ASIDE)
        if is_copy or any(part in SKIPPED for part in path.relative_to(folder).parts):
            continue
        try:
            yield unit_of(read_notebook(path), path), path
        except CourseError:
            continue


def unit_progress(
    unit: str, path: Path, folder: Path, say: Callable[[str], None] = lambda words: None
) -> UnitProgress:
    """How far one notebook is. One that nobody has touched need not run."""
    name = str(path.relative_to(folder))
    try:
        key = Checker(unit, key_folder(unit, path.resolve().parent)).key()
        exercises = list(key.exercises.values())
        most = sum(exercise.points for exercise in exercises)
        if release_digest(read_notebook(path)) == key.release:
            first = exercises[0].name
            return UnitProgress(unit, name, 0.0, most, 0, len(exercises), first)
        say(f"Checking {name} …")
        report = check_notebook(path)
    except CourseError as error:
        return UnitProgress(unit, name, problem=str(error))
    rows = [row for row in report.rows if row.state != BY_HAND]
    waiting = [row.exercise for row in rows if row.state != State.RIGHT]
    right = len(rows) - len(waiting)
    following = waiting[0] if waiting else ""
    return UnitProgress(unit, name, report.total, report.max_total, right, len(rows), following)
