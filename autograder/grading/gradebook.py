"""The one writer of the gradebook.

For a finished submission it leaves what `nbgrader autograde` would leave, so that formgrader,
feedback and export go on
working: the folder autograded/STUDENT/UNIT and the gradebook's rows. Both change together: the rows
in one transaction, the folder by renaming just before the commit. What fails is undone; what a kill
leaves in between is undone by the next run. A small record in .grading/ says what was written. It
comes last, so `holds` never believes half a submission.

The learner's other files are not copied to autograded/: nothing that is graded needs them, and
feedback would hand them on.
"""

from __future__ import annotations

import contextlib
import copy
import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from autograder.cells import CHECK
from autograder.checking.report import explanation
from autograder.checking.verdict import State, Verdict
from autograder.errors import CourseError
from autograder.files import write_safely
from autograder.grading.database import PATIENCE, Database
from autograder.grading.errors import GradebookError, SubmissionError, explained, first_line
from autograder.grading.graded_folder import (
    NEXT,
    PREVIOUS,
    GradedFolder,
    files_beside,
    notebook_bytes,
    permissions,
    storable,
)
from autograder.grading.lateness import LateRule, TimeOfSubmission, due_date_of, seconds_late
from autograder.grading.result import FOLDER, NEEDS_A_PERSON, SAFE_NAME, Result
from autograder.nbgrader_config import configure

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from nbgrader.coursedir import CourseDirectory
    from sqlalchemy import Connection
    from traitlets.config import Config

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


# What the gradebook holds


@dataclass(frozen=True)
class ReleasedCell:
    """A cell of the released notebook as the gradebook knows it. checksum: nbgrader's, of the
    released text."""

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
        """Whether the judge grades it: a written question has its answer in the graded cell
        itself."""
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

        cell = NotebookNode(
            cell_type=self.cell_type, source=source, metadata=NotebookNode(nbgrader=self.flags)
        )
        return self.checksum == compute_checksum(cell)


@dataclass(frozen=True)
class Unit:
    """A released unit: its ids in the gradebook, its cells by name, and the files that go beside a
    graded notebook."""

    name: str
    assignment_id: str
    notebook_id: str
    cells: Mapping[str, ReleasedCell]
    files: Mapping[Path, Path]  # place in the graded folder, source


@dataclass(frozen=True)
class GradeRow:
    """One grade in the gradebook; the defaults are those of a grade that nobody has given yet."""

    auto_score: float | None = None
    manual_score: float | None = None
    extra_credit: float | None = None
    needs_manual_grade: bool = True

    @property
    def score(self) -> float:
        """What counts, by nbgrader's rule."""
        given = self.auto_score if self.manual_score is None else self.manual_score
        return 0.0 if given is None else given + (self.extra_credit or 0.0)


@dataclass(frozen=True)
class Standing:
    """What the gradebook holds of one submission: automatic scores by graded cell, and its lateness
    in seconds."""

    auto_scores: Mapping[str, float | None]
    seconds_late: float


# The writer


class GradebookWriter:
    """Writes one unit's results to the gradebook of the course at `root`.

    db_url: the gradebook, by default sqlite:///ROOT/gradebook.db. add_students: take students who
    are not in the class list. config: nbgrader's settings, by default those of the course's
    nbgrader_config.py. patience: seconds to wait for a locked or lost database. Open it in the
    process that writes, and close it. Raises GradebookError when the gradebook cannot be used.
    """

    def __init__(
        self,
        root: Path,
        unit: str,
        db_url: str | None = None,
        add_students: bool = False,
        config: Config | None = None,
        patience: float = PATIENCE,
    ):
        self.root, self.unit = Path(root).resolve(), unit
        if not SAFE_NAME.match(unit):
            raise GradebookError(f"{unit!r} cannot be a unit's name.")
        self.config = settings(self.root, db_url, config)
        self.course = course_directory(self.config)
        with contextlib.ExitStack() as opened:
            opened.enter_context(only_writer(self.root / FOLDER, unit, patience))
            self.database = opened.enter_context(Database(self.course.db_url, patience))
            self._students = self._read_students()
            self._takes_everybody = add_students or not self._students
            for folder in self._left_behind():
                with contextlib.suppress(
                    SubmissionError
                ):  # raised again when that submission is written
                    folder.recover()
            self._opened = opened.pop_all()

    def __enter__(self) -> GradebookWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database, and let another process write."""
        self._opened.close()

    def released(self) -> dict[str, ReleasedCell]:
        """The unit's cells by name. Raises GradebookError where it was never released, or released
        differently."""
        return dict(self._released.cells)

    def problem_with(self, student: str) -> str:
        """Why a student's submission cannot be written, in one sentence; empty when it can."""
        if not SAFE_NAME.match(student):
            return f"{student!r} cannot be a student's name: rename the folder to the student's id."
        if self._takes_everybody or student in self._students:
            return ""
        self._students = self._read_students()  # somebody may have added them meanwhile
        if student in self._students:
            return ""
        return (
            f"{student} is not in the class list: add them with `nbgrader db student add"
            f" {student}`, or grade with --add-students."
        )

    def holds(self, result: Result) -> bool:
        """Whether gradebook and graded folder hold this very result, so that nothing need be
        written."""
        standing = self._standings.get(result.student)
        if standing is None or result.refused:
            return False
        if any(
            standing.auto_scores.get(name) != score
            for name, score in certain_scores(result).items()
        ):
            return False
        return self._record(result, standing) == read_record(self._record_path(result.student))

    def write(self, result: Result, notebook: NotebookNode) -> tuple[str, ...]:
        """Write a result; returns notes for the instructor, such as a time of submission that is
        not believed.

        notebook: the graded notebook with nbgrader's metadata, as feedback will show it. A refused
        result is not written. Raises SubmissionError when this one cannot be written and
        GradebookError when none can; the rows and the graded folder are then as they were.
        """
        if result.refused:
            return ()
        problem = self.problem_with(result.student) or mismatch(self._released, result, notebook)
        if problem:
            raise SubmissionError(problem)
        folder = self._graded_folder(result.student)
        time_of_submission = TimeOfSubmission.read(self._submitted(result.student))
        submission = Submission(
            self._released, result, notebook, time_of_submission, folder, self._late_rule
        )
        folder.prepare(notebook_bytes(notebook), self._released.files, time_of_submission.believed)
        try:
            standing, notes = self.database.transaction(submission.write, writes=True)
        except BaseException:
            folder.undo()
            raise
        problem = self._note_as_written(result, standing)
        folder.finish()
        return (*notes, *problem)

    # What it knows, read once

    @cached_property
    def _released(self) -> Unit:
        files = files_beside(self.course, self.unit)
        unit = self.database.transaction(lambda connection: read_unit(connection, self.unit, files))
        difference = difference_from_release(unit, self._release_notebook)
        if difference:
            raise GradebookError(difference)
        return unit

    @cached_property
    def _standings(self) -> dict[str, Standing]:
        return self.database.transaction(
            lambda connection: read_standings(connection, self._released)
        )

    @cached_property
    def _late_rule(self) -> LateRule:
        return LateRule(self.config)

    def _read_students(self) -> set[str]:
        return self.database.transaction(read_students)

    # Folders

    def _step(self, step: str, student: str) -> Path:
        return Path(self.course.format_path(step, student, self.unit))

    @property
    def _release_notebook(self) -> Path:
        return self._step(self.course.release_directory, ".") / f"{self.unit}.ipynb"

    def _submitted(self, student: str) -> Path:
        return self._step(self.course.submitted_directory, student)

    def _graded_folder(self, student: str) -> GradedFolder:
        return GradedFolder(
            self._step(self.course.autograded_directory, student),
            self.root,
            permissions(self.course),
        )

    def _left_behind(self) -> list[GradedFolder]:
        """The graded folders that a killed run left half-way."""
        found = set()
        for name in (f".{self.unit}{ending}" for ending in (NEXT, PREVIOUS)):
            pattern = self.course.directory_structure.format(
                nbgrader_step=self.course.autograded_directory, student_id="*", assignment_id=name
            )
            found |= {
                (self.root / path).with_name(self.unit)
                for path in glob.glob(pattern, root_dir=self.root)
            }
        return [GradedFolder(path, self.root, permissions(self.course)) for path in sorted(found)]

    # The record of what was written

    def _record_path(self, student: str) -> Path:
        return self.root / FOLDER / self.unit / f"{student}.written"

    def _record(self, result: Result, standing: Standing) -> dict[str, Any]:
        """What must be as it was for a result to count as written."""
        return {
            "result": identity(result),
            "notebook": self._graded_folder(result.student).stamp,
            "timestamp": TimeOfSubmission.read(self._submitted(result.student)).text,
            "seconds_late": standing.seconds_late,
            "late_rule": self._late_rule.name,
        }

    def _note_as_written(self, result: Result, standing: Standing) -> tuple[str, ...]:
        """Keep the record; without one, the grade stands all the same and is only written once
        more."""
        self._students.add(result.student)
        self._standings[result.student] = standing
        path = self._record_path(result.student)
        try:
            with explained(path, self.root):
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_safely(path, json.dumps(self._record(result, standing)).encode())
        except CourseError as error:
            return (
                (
                    "The grade is written, but not that it is, so the next run writes it again:"
                    f" {error}"
                ),
            )
        return ()


def read_record(path: Path) -> Any:
    """The record of what was written for a submission; None where there is none that can be
    read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def identity(result: Result) -> str:
    """A digest that differs between any two grading runs whose results differ."""
    verdicts = {
        name: (verdict.state, verdict.points, explanation(verdict))
        for name, verdict in result.verdicts.items()
    }
    run = (
        result.digest,
        result.grader,
        result.graded_at,
        result.seed,
        result.sandbox,
        sorted(verdicts.items()),
    )
    return sha256(repr(run).encode(errors="replace")).hexdigest()


def certain_scores(result: Result) -> dict[str, float]:
    """The automatic scores that a result sets, by graded cell."""
    states = result.verdicts.items()
    return {
        CHECK + name: points_of(verdict)
        for name, verdict in states
        if verdict.state is not State.GRADER_FAULT
    }


def points_of(verdict: Verdict) -> float:
    """The points that a verdict gives."""
    return 0.0 if verdict.state is State.TAMPERING else verdict.points


def mismatch(unit: Unit, result: Result, notebook: NotebookNode) -> str:
    """Why a result cannot belong to the released unit, in one sentence; empty when it does."""
    checks = {name: cell for name, cell in unit.cells.items() if cell.is_check}
    judged = {CHECK + name: verdict for name, verdict in result.verdicts.items()}
    again = (
        f"run `cvcourse build {unit.name}` and `nbgrader generate_assignment {unit.name}`, then"
        " grade again."
    )
    if set(checks) != set(judged):
        names = listed(set(checks) ^ set(judged))
        return (
            f"Gradebook and answer key of {unit.name} do not have the same checks ({names}):"
            f" {again}"
        )
    for name, verdict in judged.items():
        if checks[name].max_score != verdict.max_points:
            return (
                f"{name} gives {checks[name].max_score:g} points in the gradebook and"
                f" {verdict.max_points:g} in the answer key: {again}"
            )
        if not 0 <= verdict.points <= verdict.max_points:  # NaN is not, either
            return (
                f"{verdict.points} are no points for {name}: grade {result.student}'s submission"
                " again."
            )
    names = [name for name in map(grade_id, notebook.cells) if name]
    ours = [name for name, cell in unit.cells.items() if cell.graded_id or cell.comment_id]
    wrong = [name for name in ours if names.count(name) != 1]
    if wrong or result.unit != unit.name:
        return (
            f"The graded notebook of {result.student} is not one of {unit.name} ({listed(wrong)}):"
            " grade it again."
        )
    return ""


def grade_id(cell: NotebookNode) -> str | None:
    """The cell's nbgrader name."""
    flags = cell.metadata.get("nbgrader")
    return flags.get("grade_id") if isinstance(flags, dict) else None


def listed(names: Sequence[str] | set[str]) -> str:
    """Names, in order and not too many."""
    first = sorted(names)[:5]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# One submission's rows


class Submission:
    """The rows of one submission: what is there and what must change, in one transaction."""

    def __init__(
        self,
        unit: Unit,
        result: Result,
        notebook: NotebookNode,
        time_of_submission: TimeOfSubmission,
        folder: GradedFolder,
        late_rule: LateRule,
    ):
        self.unit, self.result, self.folder, self.late_rule = unit, result, folder, late_rule
        self.time_of_submission = time_of_submission
        self.sources = {
            name: storable(cell.source) for cell in notebook.cells if (name := grade_id(cell))
        }

    def write(self, connection: Connection) -> tuple[Standing, tuple[str, ...]]:
        """Bring the rows up to date and put the graded folder in its place. May be called again
        after a lost commit."""
        self._enrol(connection)
        submission_id, seconds_late, notes = self._write_submission(connection)
        notebook_id, penalty = self._write_notebook(connection, submission_id)
        grades = self._write_grades(connection, notebook_id)
        self._write_comments(connection, notebook_id)
        self._write_penalty(connection, notebook_id, penalty, grades, seconds_late)
        self.folder.put_in_place()
        return (
            Standing({name: grade.auto_score for name, grade in grades.items()}, seconds_late),
            notes,
        )

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

        mine = and_(
            SubmittedAssignment.assignment_id == Assignment.id,
            SubmittedAssignment.student_id == self.result.student,
        )
        columns = (
            SubmittedAssignment.id,
            SubmittedAssignment.timestamp,
            SubmittedAssignment.extension,
        )
        query = select(Assignment.duedate, *columns).outerjoin(SubmittedAssignment, mine)
        row = connection.execute(query.where(Assignment.id == self.unit.assignment_id)).first()
        if row is None:
            raise never_released(self.unit.name)
        due_date, submission_id, stored, extension = row
        believed = self.time_of_submission.time
        table = SubmittedAssignment.__table__
        if submission_id is None:
            submission_id = new_id()
            ids = {
                "id": submission_id,
                "assignment_id": self.unit.assignment_id,
                "student_id": self.result.student,
            }
            connection.execute(insert(table).values(**ids, timestamp=believed))
        elif believed is not None and believed != stored:
            connection.execute(
                update(table).where(table.c.id == submission_id).values(timestamp=believed)
            )
        due = due_date_of(due_date, extension)
        return (
            submission_id,
            seconds_late(believed or stored, due),
            self.time_of_submission.notes(due),
        )

    def _write_notebook(
        self, connection: Connection, submission_id: str
    ) -> tuple[str, float | None]:
        """(id, late penalty so far)."""
        from nbgrader.api import SubmittedNotebook
        from sqlalchemy import insert, select

        table = SubmittedNotebook.__table__
        ids = {"assignment_id": submission_id, "notebook_id": self.unit.notebook_id}
        query = select(table.c.id, table.c.late_submission_penalty).filter_by(**ids)
        row = connection.execute(query).first()
        if row is not None:
            return row
        notebook_id = new_id()
        connection.execute(insert(table).values(id=notebook_id, **ids, flagged=False))
        return notebook_id, None

    def _write_grades(self, connection: Connection, notebook_id: str) -> dict[str, GradeRow]:
        """The grades by cell, as they are afterwards."""
        from nbgrader.api import Grade
        from sqlalchemy import bindparam, insert, select, update

        table = Grade.__table__
        columns = (
            table.c.auto_score,
            table.c.manual_score,
            table.c.extra_credit,
            table.c.needs_manual_grade,
        )
        query = (
            select(table.c.cell_id, *columns)
            .where(table.c.notebook_id == notebook_id)
            .with_for_update()
        )
        found = {cell_id: GradeRow(*rest) for cell_id, *rest in connection.execute(query)}
        grades, new, changed = {}, [], []
        for cell in self.unit.cells.values():
            if cell.graded_id is None:
                continue
            before = found.get(cell.graded_id)
            grade = grades[cell.name] = self._grade(cell, before or GradeRow())
            values = {
                "auto_score": grade.auto_score,
                "needs_manual_grade": grade.needs_manual_grade,
            }
            if before is None:
                new.append(
                    {
                        "id": new_id(),
                        "cell_id": cell.graded_id,
                        "notebook_id": notebook_id,
                        **values,
                    }
                )
            elif grade != before:
                changed.append({"of_cell": cell.graded_id, **values})
        if new:
            connection.execute(insert(table), new)
        if changed:
            mine = (table.c.notebook_id == notebook_id, table.c.cell_id == bindparam("of_cell"))
            values = {name: bindparam(name) for name in ("auto_score", "needs_manual_grade")}
            connection.execute(update(table).where(*mine).values(values), changed)
        return grades

    def _grade(self, cell: ReleasedCell, before: GradeRow) -> GradeRow:
        """The grade of a cell. What a person gave stays; they look again where what it was given
        for has changed."""
        if cell.is_task:  # nbgrader's autograde passes over these, too
            return before
        auto_score, waits = self._auto_score(cell, before)
        if before.manual_score is not None:
            changed = auto_score != before.auto_score or self._answer_changed(cell)
            waits = before.needs_manual_grade or changed
        return GradeRow(auto_score, before.manual_score, before.extra_credit, waits)

    def _auto_score(self, cell: ReleasedCell, before: GradeRow) -> tuple[float | None, bool]:
        """(automatic score, whether a person must look at it)."""
        if not cell.is_check:
            untouched = cell.is_untouched(self.sources[cell.name])
            return (0.0, False) if untouched else (None, True)
        verdict = self.result.verdicts[cell.name.removeprefix(CHECK)]
        score = before.auto_score if verdict.state is State.GRADER_FAULT else points_of(verdict)
        return score, verdict.state in NEEDS_A_PERSON

    def _answer_changed(self, cell: ReleasedCell) -> bool:
        """Whether the learner's answer differs from the one that was graded before."""
        name = cell.name.removeprefix(CHECK) if cell.is_check else cell.name
        return name not in self.sources or self.sources[name] != self.folder.sources_before.get(
            name
        )

    def _write_comments(self, connection: Connection, notebook_id: str) -> None:
        from nbgrader.api import Comment
        from sqlalchemy import bindparam, insert, select, update

        table = Comment.__table__
        query = select(table.c.cell_id, table.c.auto_comment).where(
            table.c.notebook_id == notebook_id
        )
        found = {cell_id: comment for cell_id, comment in connection.execute(query)}
        new, changed = [], []
        for cell in self.unit.cells.values():
            if cell.comment_id is None:
                continue
            comment = self._comment(cell)
            if cell.comment_id not in found:
                ids = {"id": new_id(), "cell_id": cell.comment_id, "notebook_id": notebook_id}
                new.append({**ids, "auto_comment": comment})
            elif found[cell.comment_id] != comment:
                changed.append({"of_cell": cell.comment_id, "auto_comment": comment})
        if new:
            connection.execute(insert(table), new)
        if changed:
            mine = (table.c.notebook_id == notebook_id, table.c.cell_id == bindparam("of_cell"))
            connection.execute(
                update(table).where(*mine).values(auto_comment=bindparam("auto_comment")), changed
            )

    def _comment(self, cell: ReleasedCell) -> str | None:
        """What the verdict says, under the exercise; elsewhere nbgrader's word for an answer that
        is not there."""
        verdict = self.result.verdicts.get(cell.name)
        if verdict is not None:
            return comment_on(verdict)
        untouched = not cell.is_task and cell.is_untouched(self.sources[cell.name])
        return NO_RESPONSE if untouched else None

    def _write_penalty(
        self,
        connection: Connection,
        notebook_id: str,
        before: float | None,
        grades: Mapping[str, GradeRow],
        seconds_late: float,
    ) -> None:
        from nbgrader.api import SubmittedNotebook
        from sqlalchemy import update

        score = sum(grade.score for grade in grades.values())
        penalty = self.late_rule.penalty(self.result.student, score, seconds_late)
        if penalty != before:
            table = SubmittedNotebook.__table__
            mine = table.c.id == notebook_id
            connection.execute(update(table).where(mine).values(late_submission_penalty=penalty))


def comment_on(verdict: Verdict) -> str | None:
    """A verdict's sentences as a comment; None where there is nothing to say."""
    special = STATE_IN_WORDS.get(verdict.state)
    text = special or " ".join(explanation(verdict))
    return storable(text)[:MAX_COMMENT] or None


def new_id() -> str:
    """An id as nbgrader makes them."""
    return uuid4().hex


# Reading the gradebook


def never_released(unit: str) -> GradebookError:
    """The error of a unit that the gradebook does not know."""
    return GradebookError(
        f"{unit} was never released: run `nbgrader generate_assignment {unit}` first."
    )


def read_students(connection: Connection) -> set[str]:
    """The class list."""
    from nbgrader.api import Student
    from sqlalchemy import select

    return set(connection.execute(select(Student.id)).scalars())


def read_unit(connection: Connection, name: str, files: Mapping[Path, Path]) -> Unit:
    """The unit as it was released. Raises GradebookError where it was not."""
    from nbgrader.api import Assignment, Notebook
    from sqlalchemy import select

    query = select(Assignment.id, Notebook.id, Notebook.name).join(
        Notebook, Notebook.assignment_id == Assignment.id
    )
    notebooks = connection.execute(query.where(Assignment.name == name)).all()
    if not notebooks:
        raise never_released(name)
    if [notebook for _, _, notebook in notebooks] != [name]:
        raise GradebookError(
            f"{name} has notebooks in the gradebook besides {name}.ipynb"
            f" ({listed([row[2] for row in notebooks])}): keep one notebook in its folder and run"
            f" `nbgrader generate_assignment {name}`."
        )
    assignment_id, notebook_id, _ = notebooks[0]
    cells = read_cells(connection, notebook_id)
    if not any(cell.graded_id for cell in cells.values()):
        raise never_released(name)
    return Unit(name, assignment_id, notebook_id, cells, files)


def read_cells(connection: Connection, notebook_id: str) -> dict[str, ReleasedCell]:
    """The cells of a released notebook by name. nbgrader keeps one row a role; a written question
    has two."""
    from nbgrader.api import BaseCell, GradeCell, SourceCell, TaskCell
    from sqlalchemy import func, select

    base, grades, tasks, sources = (
        kind.__table__ for kind in (BaseCell, GradeCell, TaskCell, SourceCell)
    )
    query = (
        select(
            base.c.name,
            base.c.type,
            base.c.id,
            func.coalesce(grades.c.max_score, tasks.c.max_score, 0.0),
        )
        .outerjoin(grades, grades.c.id == base.c.id)
        .outerjoin(tasks, tasks.c.id == base.c.id)
        .where(base.c.notebook_id == notebook_id)
    )
    roles: dict[str, dict[str, tuple[str, float]]] = {}
    for name, role, cell_id, max_score in connection.execute(query):
        roles.setdefault(name, {})[role] = cell_id, max_score
    columns = (
        sources.c.name,
        sources.c.cell_type,
        sources.c.source,
        sources.c.checksum,
        sources.c.locked,
    )
    cells = {}
    for row in connection.execute(select(*columns).where(sources.c.notebook_id == notebook_id)):
        mine = roles.get(row.name, {})
        graded = mine.get("GradeCell") or mine.get("TaskCell") or (None, 0.0)
        commented = mine.get("SolutionCell") or mine.get("TaskCell") or (None, 0.0)
        cells[row.name] = ReleasedCell(
            name=row.name,
            cell_type=row.cell_type,
            source=row.source or "",
            checksum=row.checksum,
            locked=bool(row.locked),
            max_score=graded[1],
            is_grade="GradeCell" in mine,
            is_solution="SolutionCell" in mine,
            is_task="TaskCell" in mine,
            graded_id=graded[0],
            comment_id=commented[0],
        )
    return cells


def difference_from_release(unit: Unit, notebook: Path) -> str:
    """How the released notebook differs from what the gradebook knows, in one sentence; empty where
    it does not."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        flags = [cell["metadata"]["nbgrader"] for cell in cells if "nbgrader" in cell["metadata"]]
        released = {
            data["grade_id"]: float(data.get("points", 0)) for data in flags if data.get("grade_id")
        }
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # whoever needs the released notebook says what is wrong with it
    known = {name: cell.max_score for name, cell in unit.cells.items()}
    different = {
        name for name in released.keys() | known.keys() if released.get(name) != known.get(name)
    }
    if not different:
        return ""
    return (
        f"The gradebook and the released notebook of {unit.name} differ in {listed(different)}: run"
        f" `nbgrader generate_assignment {unit.name} --force`; where there are grades already,"
        " nbgrader refuses new and missing cells, and then either the lesson gets its old cells"
        f" back or `nbgrader db assignment remove {unit.name}` takes those grades away."
    )


def read_standings(connection: Connection, unit: Unit) -> dict[str, Standing]:
    """What the gradebook holds for the whole class."""
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
    standings: dict[str, Standing] = {}
    for student, timestamp, extension, due_date, cell, auto_score in connection.execute(query):
        if student not in standings:
            standings[student] = Standing(
                {}, seconds_late(timestamp, due_date_of(due_date, extension))
            )
        standings[student].auto_scores[cell] = auto_score
    return standings


# nbgrader's settings


def settings(root: Path, db_url: str | None, config: Config | None) -> Config:
    """nbgrader's settings for the course at `root`: those given, else its nbgrader_config.py's,
    else this course's."""
    from traitlets.config import Config

    chosen = copy.deepcopy(config) or from_file(root / "nbgrader_config.py") or configure(Config())
    chosen.CourseDirectory.root = str(root)
    if db_url is not None:
        chosen.CourseDirectory.db_url = db_url
    return chosen


def from_file(path: Path) -> Config | None:
    """The settings in a file; None where there is none. Raises GradebookError where it cannot be
    run."""
    from traitlets.config.loader import PyFileConfigLoader

    if not path.exists():
        return None
    try:
        return PyFileConfigLoader(path.name, path=str(path.parent)).load_config()
    except Exception as error:  # the file is the instructor's own code
        raise GradebookError(
            f"{path.name} cannot be used ({first_line(error)}): mend it and grade again."
        ) from error


def course_directory(config: Config) -> CourseDirectory:
    """nbgrader's own view of the course's folders."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets import TraitError

    try:
        return CourseDirectory(config=config)
    except TraitError as error:
        raise GradebookError(f"nbgrader's settings cannot be used: {first_line(error)}") from error


@contextlib.contextmanager
def only_writer(folder: Path, unit: str, patience: float) -> Iterator[None]:
    """Be the one process that writes a unit's grades. Raises GradebookError where another one goes
    on being it."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / f"{unit}.lock", timeout=patience)
    with explained(folder / unit, folder.parent):
        folder.mkdir(exist_ok=True, mode=0o700)
        try:
            lock.acquire()
        except Timeout:
            raise GradebookError(
                f"Another grading run of {unit} is still at work (waited {patience:g} seconds): let"
                " it end, or stop it, then grade again."
            ) from None
    try:
        yield
    finally:
        lock.release()
