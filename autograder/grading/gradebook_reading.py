"""Reading the gradebook: the unit as it was released, the class list, and the grades."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.grading.errors import GradebookError
from autograder.grading.lateness import due_date_of, seconds_late
from autograder.words import listed

if TYPE_CHECKING:
    from sqlalchemy import Connection

Roles = Mapping[str, tuple[str, float]]  # nbgrader's kind of a row: its id and points


@dataclass(frozen=True)
class ReleasedCell:
    """A cell of the released notebook as the gradebook knows it.

    checksum: nbgrader's, of the released text. max_score: in points.
    """

    name: str
    cell_type: str  # code or markdown
    source: str
    checksum: str | None
    locked: bool
    max_score: float = 0.0
    is_grade: bool = False
    is_solution: bool = False
    is_task: bool = False
    graded_id: str | None = None  # the gradebook's id of the cell for grades
    comment_id: str | None = None  # and for comments

    @property
    def is_check(self) -> bool:
        """Whether the judge grades it; a written question has its answer in the graded cell."""
        return self.is_grade and not self.is_solution

    @property
    def flags(self) -> dict[str, Any]:
        """The cell's nbgrader metadata."""
        return {
            "schema_version": 3,
            "grade_id": self.name,
            "grade": self.is_grade,
            "solution": self.is_solution,
            "task": self.is_task,
            "locked": self.locked,
            "points": self.max_score,
            "cell_type": self.cell_type,
            "checksum": self.checksum,
        }

    def is_untouched(self, source: str) -> bool:
        """Whether a submitted source is the released text."""
        from nbformat import NotebookNode
        from nbgrader.utils import compute_checksum

        metadata = NotebookNode(nbgrader=self.flags)
        cell = NotebookNode(cell_type=self.cell_type, source=source, metadata=metadata)
        return self.checksum == compute_checksum(cell)


@dataclass(frozen=True)
class ReleasedUnit:
    """A unit as the gradebook knows it: its ids there, and its cells by name.

    files: what goes beside a graded notebook, by its place in the graded folder.
    """

    name: str
    assignment_id: str
    notebook_id: str
    cells: Mapping[str, ReleasedCell]
    files: Mapping[Path, Path]


@dataclass(frozen=True)
class StoredGrades:
    """What the gradebook holds of one submission.

    auto_scores: automatic scores in points, by graded cell; None where there is none yet.
    """

    auto_scores: Mapping[str, float | None]
    seconds_late: float


def read_students(connection: Connection) -> set[str]:
    """The class list."""
    from nbgrader.api import Student
    from sqlalchemy import select

    return set(connection.execute(select(Student.id)).scalars())


# The release


def read_unit(connection: Connection, name: str, files: Mapping[Path, Path]) -> ReleasedUnit:
    """The unit as it was released. Raises GradebookError where it was not."""
    from nbgrader.api import Assignment, Notebook
    from sqlalchemy import select

    query = select(Assignment.id, Notebook.id, Notebook.name).join(
        Notebook, Notebook.assignment_id == Assignment.id
    )
    notebooks = connection.execute(query.where(Assignment.name == name)).all()
    if not notebooks:
        raise never_released(name)
    names = sorted(notebook for _, _, notebook in notebooks)
    if names != [name]:
        raise GradebookError(
            f"{name} has notebooks in the gradebook besides {name}.ipynb ({listed(names)}): keep"
            f" one notebook in its folder and run `nbgrader generate_assignment {name}`."
        )
    assignment_id, notebook_id, _ = notebooks[0]
    cells = read_cells(connection, notebook_id)
    if not any(cell.graded_id for cell in cells.values()):
        raise never_released(name)
    return ReleasedUnit(name, assignment_id, notebook_id, cells, files)


def never_released(unit: str) -> GradebookError:
    """The error of a unit that the gradebook does not know."""
    return GradebookError(
        f"{unit} was never released: run `nbgrader generate_assignment {unit}` first."
    )


def read_cells(connection: Connection, notebook_id: str) -> dict[str, ReleasedCell]:
    """The cells of a released notebook by name."""
    from nbgrader.api import SourceCell
    from sqlalchemy import select

    roles = read_roles(connection, notebook_id)
    sources = SourceCell.__table__
    columns = (sources.c.name, sources.c.cell_type, sources.c.source, sources.c.checksum)
    query = select(*columns, sources.c.locked).where(sources.c.notebook_id == notebook_id)
    rows = connection.execute(query)
    return {row.name: released_cell(row, roles.get(row.name, {})) for row in rows}


def read_roles(connection: Connection, notebook_id: str) -> dict[str, Roles]:
    """(id, points) by cell and role. nbgrader keeps one row a role; a written question has two."""
    from nbgrader.api import BaseCell, GradeCell, TaskCell
    from sqlalchemy import func, select

    base, grades, tasks = BaseCell.__table__, GradeCell.__table__, TaskCell.__table__
    points = func.coalesce(grades.c.max_score, tasks.c.max_score, 0.0)
    query = (
        select(base.c.name, base.c.type, base.c.id, points)
        .outerjoin(grades, grades.c.id == base.c.id)
        .outerjoin(tasks, tasks.c.id == base.c.id)
        .where(base.c.notebook_id == notebook_id)
    )
    roles: dict[str, dict[str, tuple[str, float]]] = {}
    for name, role, cell_id, max_score in connection.execute(query):
        roles.setdefault(name, {})[role] = cell_id, max_score
    return dict(roles)


def released_cell(row: Any, roles: Roles) -> ReleasedCell:
    """A cell from its row of sources and its roles."""
    task = roles.get("TaskCell", (None, 0.0))
    graded_id, max_score = roles.get("GradeCell", task)
    comment_id, _ = roles.get("SolutionCell", task)
    return ReleasedCell(
        name=row.name,
        cell_type=row.cell_type,
        source=row.source or "",
        checksum=row.checksum,
        locked=bool(row.locked),
        max_score=max_score,
        is_grade="GradeCell" in roles,
        is_solution="SolutionCell" in roles,
        is_task="TaskCell" in roles,
        graded_id=graded_id,
        comment_id=comment_id,
    )


def difference_from_release(unit: ReleasedUnit, notebook: Path) -> str:
    """How the released notebook differs from the gradebook, in one sentence; empty if it does not.

    notebook: the released file. Where it cannot be read, whoever needs it says what is wrong.
    """
    try:
        released = points_by_cell(json.loads(notebook.read_bytes())["cells"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    known = {name: cell.max_score for name, cell in unit.cells.items()}
    names = sorted(released.keys() | known.keys())
    different = [name for name in names if released.get(name) != known.get(name)]
    if not different:
        return ""
    return (
        f"The gradebook and the released notebook of {unit.name} differ in {listed(different)}: run"
        f" `nbgrader generate_assignment {unit.name} --force`; where there are grades already,"
        " nbgrader refuses new and missing cells, and then either the lesson gets its old cells"
        f" back or `nbgrader db assignment remove {unit.name}` takes those grades away."
    )


def points_by_cell(cells: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The points of a notebook's cells by name. Raises KeyError, TypeError or ValueError."""
    flags = [cell["metadata"]["nbgrader"] for cell in cells if "nbgrader" in cell["metadata"]]
    return {
        given["grade_id"]: float(given.get("points", 0)) for given in flags if given.get("grade_id")
    }


# Grades


def read_stored_grades(connection: Connection, unit: ReleasedUnit) -> dict[str, StoredGrades]:
    """What the gradebook holds for the whole class, by student."""
    from nbgrader.api import Assignment, BaseCell, Grade, SubmittedAssignment, SubmittedNotebook
    from sqlalchemy import select

    base, grade, book = BaseCell.__table__, Grade.__table__, SubmittedNotebook.__table__
    submitted, assignment = SubmittedAssignment.__table__, Assignment.__table__
    times = (submitted.c.timestamp, submitted.c.extension, assignment.c.duedate)
    query = (
        select(submitted.c.student_id, *times, base.c.name, grade.c.auto_score)
        .join(assignment, assignment.c.id == submitted.c.assignment_id)
        .join(book, book.c.assignment_id == submitted.c.id)
        .join(grade, grade.c.notebook_id == book.c.id)
        .join(base, base.c.id == grade.c.cell_id)
        .where(submitted.c.assignment_id == unit.assignment_id)
    )
    auto_scores: dict[str, dict[str, float | None]] = {}
    late: dict[str, float] = {}
    for student, timestamp, extension, due_date, cell, auto_score in connection.execute(query):
        auto_scores.setdefault(student, {})[cell] = auto_score
        if student not in late:
            late[student] = seconds_late(timestamp, due_date_of(due_date, extension))
    return {student: StoredGrades(scores, late[student]) for student, scores in auto_scores.items()}
