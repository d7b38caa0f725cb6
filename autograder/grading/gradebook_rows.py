"""One submission's rows in the gradebook: what they must be, and writing what has changed.

A grade is written from top to bottom of `Submission.write`. What a person gave is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from autograder.cells import CHECK
from autograder.checking.report import explanation
from autograder.checking.verdict import State, Verdict
from autograder.grading.gradebook_reading import (
    ReleasedCell,
    ReleasedUnit,
    StoredGrades,
    never_released,
)
from autograder.grading.graded_folder import GradedFolder, storable
from autograder.grading.lateness import LateRule, TimeOfSubmission, due_date_of, seconds_late
from autograder.grading.result import NEEDS_A_PERSON, Result
from autograder.words import listed

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from sqlalchemy import Connection, Table

MAX_COMMENT = 2000  # characters
NO_RESPONSE = "No response."  # nbgrader's words
STATE_IN_WORDS = {
    State.TIMEOUT: "This check was stopped because it ran longer than is allowed.",
    State.OUT_OF_MEMORY: "This check was stopped because it used more memory than is allowed.",
    State.KERNEL_DEATH: "The process that ran the notebook ended during this check.",
    State.TAMPERING: (
        "No points yet: something here reached for the grader itself. A person will look at it."
    ),
    State.GRADER_FAULT: (
        "Not graded yet: the grader failed here, which is no fault of yours. A person will look"
        " at it."
    ),
}
Rows = Mapping[str, Mapping[str, Any]]  # values by column, by the gradebook's id of the cell


@dataclass(frozen=True)
class GradeRow:
    """One grade in the gradebook; the defaults are those of a grade that nobody has given yet."""

    auto_score: float | None = None
    manual_score: float | None = None
    extra_credit: float | None = None
    needs_manual_grade: bool = True

    @property
    def score(self) -> float:
        """What counts, in points, by nbgrader's rule."""
        given = self.auto_score if self.manual_score is None else self.manual_score
        if given is None:
            return 0.0
        return given + (self.extra_credit or 0.0)


@dataclass
class Submission:
    """The rows of one submission: what is there and what must change, in one transaction."""

    unit: ReleasedUnit
    result: Result
    notebook: NotebookNode
    time_of_submission: TimeOfSubmission
    folder: GradedFolder
    late_rule: LateRule

    @cached_property
    def answers(self) -> Answers:
        """What was submitted, with what it is worth."""
        return Answers(self.result, sources_of(self.notebook), self.folder)

    def write(self, connection: Connection) -> tuple[StoredGrades, tuple[str, ...]]:
        """Bring the rows up to date and put the graded folder in its place.

        Returns what the gradebook holds now, and notes for the instructor. May be called again
        after a lost commit.
        """
        self._enrol(connection)
        submission_id, late, notes = self._write_submission(connection)
        notebook_id, penalty = self._write_notebook(connection, submission_id)
        grades = self._write_grades(connection, notebook_id)
        self._write_comments(connection, notebook_id)
        self._write_penalty(connection, notebook_id, penalty, grades, late)
        self.folder.put_in_place()
        auto_scores = {name: grade.auto_score for name, grade in grades.items()}
        return StoredGrades(auto_scores, late), notes

    def _enrol(self, connection: Connection) -> None:
        from nbgrader.api import Student
        from sqlalchemy import insert, select

        student = self.result.student
        if connection.execute(select(Student.id).where(Student.id == student)).first() is None:
            connection.execute(insert(Student.__table__).values(id=student))

    def _write_submission(self, connection: Connection) -> tuple[str, float, tuple[str, ...]]:
        """(id, seconds late, notes)."""
        from nbgrader.api import Assignment, SubmittedAssignment
        from sqlalchemy import and_, insert, select, update

        table = SubmittedAssignment.__table__
        ids = {"assignment_id": self.unit.assignment_id, "student_id": self.result.student}
        mine = and_(
            table.c.assignment_id == Assignment.id, table.c.student_id == self.result.student
        )
        columns = (Assignment.duedate, table.c.id, table.c.timestamp, table.c.extension)
        query = select(*columns).outerjoin(table, mine)
        row = connection.execute(query.where(Assignment.id == self.unit.assignment_id)).first()
        if row is None:
            raise never_released(self.unit.name)
        due_date, submission_id, stored, extension = row
        believed = self.time_of_submission.time
        if submission_id is None:
            submission_id = new_id()
            connection.execute(insert(table).values(id=submission_id, **ids, timestamp=believed))
        elif believed is not None and believed != stored:
            this_one = table.c.id == submission_id
            connection.execute(update(table).where(this_one).values(timestamp=believed))
        due = due_date_of(due_date, extension)
        late = seconds_late(believed or stored, due)
        return submission_id, late, self.time_of_submission.notes(due)

    def _write_notebook(
        self, connection: Connection, submission_id: str
    ) -> tuple[str, float | None]:
        """(id, late penalty so far in points)."""
        from nbgrader.api import SubmittedNotebook
        from sqlalchemy import insert, select

        table = SubmittedNotebook.__table__
        ids = {"assignment_id": submission_id, "notebook_id": self.unit.notebook_id}
        query = select(table.c.id, table.c.late_submission_penalty).filter_by(**ids)
        row = connection.execute(query).first()
        if row is not None:
            return row.id, row.late_submission_penalty
        notebook_id = new_id()
        connection.execute(insert(table).values(id=notebook_id, **ids, flagged=False))
        return notebook_id, None

    def _write_grades(self, connection: Connection, notebook_id: str) -> dict[str, GradeRow]:
        """The grades by cell, as they are afterwards."""
        from nbgrader.api import Grade

        found = read_grades(connection, notebook_id)
        grades: dict[str, GradeRow] = {}
        new: dict[str, dict[str, Any]] = {}
        changed: dict[str, dict[str, Any]] = {}
        for cell in self.unit.cells.values():
            if cell.graded_id is None:
                continue
            before = found.get(cell.graded_id)
            grade = self.answers.grade(cell, before or GradeRow())
            grades[cell.name] = grade
            values = {
                "auto_score": grade.auto_score,
                "needs_manual_grade": grade.needs_manual_grade,
            }
            if before is None:
                new[cell.graded_id] = values
            elif grade != before:
                changed[cell.graded_id] = values
        write_rows(connection, Grade.__table__, notebook_id, new, changed)
        return grades

    def _write_comments(self, connection: Connection, notebook_id: str) -> None:
        from nbgrader.api import Comment

        found = read_comments(connection, notebook_id)
        new: dict[str, dict[str, Any]] = {}
        changed: dict[str, dict[str, Any]] = {}
        for cell in self.unit.cells.values():
            if cell.comment_id is None:
                continue
            values = {"auto_comment": self.answers.comment(cell)}
            if cell.comment_id not in found:
                new[cell.comment_id] = values
            elif found[cell.comment_id] != values["auto_comment"]:
                changed[cell.comment_id] = values
        write_rows(connection, Comment.__table__, notebook_id, new, changed)

    def _write_penalty(
        self,
        connection: Connection,
        notebook_id: str,
        before: float | None,
        grades: Mapping[str, GradeRow],
        late: float,
    ) -> None:
        from nbgrader.api import SubmittedNotebook
        from sqlalchemy import update

        score = sum(grade.score for grade in grades.values())
        penalty = self.late_rule.penalty(self.result.student, score, late)
        if penalty != before:
            table = SubmittedNotebook.__table__
            mine = table.c.id == notebook_id
            connection.execute(update(table).where(mine).values(late_submission_penalty=penalty))


# What the rows must be


@dataclass(frozen=True)
class Answers:
    """A submission's answers, and what they are worth.

    sources: what was submitted, by cell. folder: it holds what was graded before.
    """

    result: Result
    sources: Mapping[str, str]
    folder: GradedFolder

    def grade(self, cell: ReleasedCell, before: GradeRow) -> GradeRow:
        """The grade of a cell. What a person gave stays, and they look again if its reason changed.

        before: the grade that the gradebook holds.
        """
        if cell.is_task:  # nbgrader's autograde passes over these, too
            return before
        auto_score, waits = self._auto_score(cell, before)
        if before.manual_score is not None:
            changed = auto_score != before.auto_score or self._has_changed(cell)
            waits = before.needs_manual_grade or changed
        return GradeRow(auto_score, before.manual_score, before.extra_credit, waits)

    def comment(self, cell: ReleasedCell) -> str | None:
        """The verdict's words under an exercise; elsewhere nbgrader's word for no answer."""
        verdict = self.result.verdicts.get(cell.name)
        if verdict is not None:
            return comment_on(verdict)
        if not cell.is_task and cell.is_untouched(self.sources[cell.name]):
            return NO_RESPONSE
        return None

    def _auto_score(self, cell: ReleasedCell, before: GradeRow) -> tuple[float | None, bool]:
        """(automatic score, whether a person must look at it)."""
        if not cell.is_check:
            untouched = cell.is_untouched(self.sources[cell.name])
            return (0.0, False) if untouched else (None, True)
        verdict = self.result.verdicts[cell.name.removeprefix(CHECK)]
        waits = verdict.state in NEEDS_A_PERSON
        if verdict.state is State.GRADER_FAULT:
            return before.auto_score, waits
        return points_of(verdict), waits

    def _has_changed(self, cell: ReleasedCell) -> bool:
        """Whether the learner's answer differs from the one that was graded before."""
        name = cell.name.removeprefix(CHECK) if cell.is_check else cell.name
        if name not in self.sources:
            return True
        return self.sources[name] != self.folder.sources_before.get(name)


def points_of(verdict: Verdict) -> float:
    """The points that a verdict gives."""
    return 0.0 if verdict.state is State.TAMPERING else verdict.points


def comment_on(verdict: Verdict) -> str | None:
    """A verdict's sentences as a comment; None where there is nothing to say."""
    special = STATE_IN_WORDS.get(verdict.state)
    text = special or " ".join(explanation(verdict))
    return storable(text)[:MAX_COMMENT] or None


def sources_of(notebook: NotebookNode) -> dict[str, str]:
    """The sources of a notebook's named cells, as files and databases take them."""
    named = [(grade_id(cell), cell.source) for cell in notebook.cells]
    return {name: storable(source) for name, source in named if name}


def grade_id(cell: NotebookNode) -> str | None:
    """The cell's nbgrader name."""
    flags = cell.metadata.get("nbgrader")
    return flags.get("grade_id") if isinstance(flags, dict) else None


# Whether they can be written


def mismatch(unit: ReleasedUnit, result: Result, notebook: NotebookNode) -> str:
    """Why a result cannot belong to the released unit, in one sentence; empty when it does."""
    return (
        difference_from_key(unit, result)
        or impossible_points(result)
        or difference_from_notebook(unit, result, notebook)
    )


def difference_from_key(unit: ReleasedUnit, result: Result) -> str:
    """How the checks of gradebook and answer key differ, in one sentence; empty if they do not."""
    released = {name: cell.max_score for name, cell in unit.cells.items() if cell.is_check}
    judged = {CHECK + name: verdict.max_points for name, verdict in result.verdicts.items()}
    again = (
        f"run `cvcourse build {unit.name}` and `nbgrader generate_assignment {unit.name}`, then"
        " grade again."
    )
    if released.keys() != judged.keys():
        names = listed(sorted(released.keys() ^ judged.keys()))
        return (
            f"Gradebook and answer key of {unit.name} do not have the same checks ({names}):"
            f" {again}"
        )
    for name, points in judged.items():
        if released[name] != points:
            return (
                f"{name} gives {released[name]:g} points in the gradebook and {points:g} in the"
                f" answer key: {again}"
            )
    return ""


def impossible_points(result: Result) -> str:
    """The first verdict with points that it cannot give, in one sentence; empty without one."""
    for name, verdict in result.verdicts.items():
        if not 0 <= verdict.points <= verdict.max_points:  # NaN is not, either
            return (
                f"{verdict.points} are no points for {CHECK}{name}: grade {result.student}'s"
                " submission again."
            )
    return ""


def difference_from_notebook(unit: ReleasedUnit, result: Result, notebook: NotebookNode) -> str:
    """How a graded notebook is not one of the unit's, in one sentence; empty when it is."""
    names = [grade_id(cell) for cell in notebook.cells]
    ours = [name for name, cell in unit.cells.items() if cell.graded_id or cell.comment_id]
    wrong = sorted(name for name in ours if names.count(name) != 1)
    if not wrong and result.unit == unit.name:
        return ""
    return (
        f"The graded notebook of {result.student} is not one of {unit.name} ({listed(wrong)}):"
        " grade it again."
    )


# Rows of a notebook's cells


def read_grades(connection: Connection, notebook_id: str) -> dict[str, GradeRow]:
    """A submission's grades by the gradebook's id of the cell; they stay locked until the end."""
    from nbgrader.api import Grade
    from sqlalchemy import select

    table = Grade.__table__
    columns = (
        table.c.auto_score,
        table.c.manual_score,
        table.c.extra_credit,
        table.c.needs_manual_grade,
    )
    query = select(table.c.cell_id, *columns).where(table.c.notebook_id == notebook_id)
    rows = connection.execute(query.with_for_update())
    return {cell_id: GradeRow(*rest) for cell_id, *rest in rows}


def read_comments(connection: Connection, notebook_id: str) -> dict[str, str | None]:
    """A submission's automatic comments by the gradebook's id of the cell."""
    from nbgrader.api import Comment
    from sqlalchemy import select

    table = Comment.__table__
    query = select(table.c.cell_id, table.c.auto_comment).where(table.c.notebook_id == notebook_id)
    return {cell_id: comment for cell_id, comment in connection.execute(query)}


def write_rows(
    connection: Connection, table: Table, notebook_id: str, new: Rows, changed: Rows
) -> None:
    """Insert rows of a notebook's cells, and change others; both in one statement each."""
    from sqlalchemy import bindparam, insert, update

    if new:
        rows = [
            {"id": new_id(), "cell_id": cell_id, "notebook_id": notebook_id, **values}
            for cell_id, values in new.items()
        ]
        connection.execute(insert(table), rows)
    if changed:
        columns = next(iter(changed.values()))
        mine = (table.c.notebook_id == notebook_id, table.c.cell_id == bindparam("of_cell"))
        statement = update(table).where(*mine).values({name: bindparam(name) for name in columns})
        rows = [{"of_cell": cell_id, **values} for cell_id, values in changed.items()]
        connection.execute(statement, rows)


def new_id() -> str:
    """An id as nbgrader makes them."""
    return uuid4().hex
