"""The one writer of the gradebook.

For a finished submission it leaves what `nbgrader autograde` would leave, so that formgrader,
feedback and export go on working: the folder autograded/STUDENT/UNIT and the gradebook's rows. Both
change together: the rows in one transaction, the folder by renaming just before the commit. What
fails is undone; what a kill leaves in between is undone by the next run. A small record in
.grading/ says what was written. It comes last, so `holds` never believes half a submission.

The learner's other files are not copied to autograded/: nothing that is graded needs them, and
feedback would hand them on.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autograder.cells import CHECK
from autograder.checking.report import explanation
from autograder.checking.verdict import State
from autograder.errors import CourseError
from autograder.files import write_safely
from autograder.grading.course_folders import UnitFolders, course_directory, settings
from autograder.grading.database import PATIENCE, Database
from autograder.grading.errors import GradebookError, SubmissionError, explained
from autograder.grading.gradebook_reading import (
    ReleasedCell,
    ReleasedUnit,
    StoredGrades,
    difference_from_release,
    read_stored_grades,
    read_students,
    read_unit,
)
from autograder.grading.gradebook_rows import Submission, mismatch, points_of
from autograder.grading.graded_folder import notebook_bytes
from autograder.grading.lateness import LateRule, TimeOfSubmission
from autograder.grading.result import FOLDER, SAFE_NAME, Result

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from sqlalchemy import Connection
    from traitlets.config import Config


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
        self.folders = UnitFolders(course_directory(self.config), self.root, unit)
        self._records = WrittenRecords(self.root, unit)
        with contextlib.ExitStack() as opened:
            opened.enter_context(only_writer(self.root / FOLDER, unit, patience))
            self.database = opened.enter_context(Database(self.folders.course.db_url, patience))
            self._students = self._read_students()
            self._takes_everybody = add_students or not self._students
            for folder in self.folders.left_behind():
                # An error is raised again when that submission is written.
                with contextlib.suppress(SubmissionError):
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
        """The unit's cells by name. Raises GradebookError where its release is another one."""
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
        """Whether gradebook and graded folder hold this very result already."""
        stored = self._stored_grades.get(result.student)
        if stored is None or result.refused:
            return False
        for name, score in certain_scores(result).items():
            if stored.auto_scores.get(name) != score:
                return False
        return self._record(result, stored) == self._records.read(result.student)

    def write(self, result: Result, notebook: NotebookNode) -> tuple[str, ...]:
        """Write a result; returns notes for the instructor, as on a time that is not believed.

        notebook: the graded notebook with nbgrader's metadata, as feedback will show it. A refused
        result is not written. Raises SubmissionError when this one cannot be written and
        GradebookError when none can; the rows and the graded folder are then as they were.
        """
        if result.refused:
            return ()
        problem = self.problem_with(result.student) or mismatch(self._released, result, notebook)
        if problem:
            raise SubmissionError(problem)
        folder = self.folders.graded(result.student)
        time = TimeOfSubmission.read(self.folders.submitted(result.student))
        submission = Submission(self._released, result, notebook, time, folder, self._late_rule)
        folder.prepare(notebook_bytes(notebook), self._released.files, time.believed)
        try:
            stored, notes = self.database.transaction(submission.write, writes=True)
        except BaseException:
            folder.undo()
            raise
        unnoted = self._note_as_written(result, stored)
        folder.finish()
        return (*notes, *unnoted)

    def _note_as_written(self, result: Result, stored: StoredGrades) -> tuple[str, ...]:
        """Keep the record. Without one the grade stands, and is only written once more."""
        self._students.add(result.student)
        self._stored_grades[result.student] = stored
        try:
            self._records.write(result.student, self._record(result, stored))
        except CourseError as error:
            note = "The grade is written, but not that it is, so the next run writes it again"
            return (f"{note}: {error}",)
        return ()

    def _record(self, result: Result, stored: StoredGrades) -> dict[str, Any]:
        """What must be as it was for a result to count as written."""
        return {
            "result": identity(result),
            "notebook": self.folders.graded(result.student).stamp,
            "timestamp": TimeOfSubmission.read(self.folders.submitted(result.student)).text,
            "seconds_late": stored.seconds_late,
            "late_rule": self._late_rule.name,
        }

    # What it knows, read once

    @cached_property
    def _released(self) -> ReleasedUnit:
        files = self.folders.files_beside

        def read(connection: Connection) -> ReleasedUnit:
            return read_unit(connection, self.unit, files)

        unit = self.database.transaction(read)
        difference = difference_from_release(unit, self.folders.release_notebook)
        if difference:
            raise GradebookError(difference)
        return unit

    @cached_property
    def _stored_grades(self) -> dict[str, StoredGrades]:
        unit = self._released

        def read(connection: Connection) -> dict[str, StoredGrades]:
            return read_stored_grades(connection, unit)

        return self.database.transaction(read)

    @cached_property
    def _late_rule(self) -> LateRule:
        return LateRule(self.config)

    def _read_students(self) -> set[str]:
        return self.database.transaction(read_students)


def certain_scores(result: Result) -> dict[str, float]:
    """The automatic scores in points that a result sets, by graded cell."""
    return {
        CHECK + name: points_of(verdict)
        for name, verdict in result.verdicts.items()
        if verdict.state is not State.GRADER_FAULT
    }


# The record of what was written


@dataclass(frozen=True)
class WrittenRecords:
    """The records of what was written for a unit, `.grading/UNIT/STUDENT.written`."""

    root: Path
    unit: str

    def path(self, student: str) -> Path:
        """Where a submission's record lies."""
        return self.root / FOLDER / self.unit / f"{student}.written"

    def read(self, student: str) -> Any:
        """A submission's record; None where none can be read."""
        try:
            return json.loads(self.path(student).read_bytes())
        except (OSError, ValueError):
            return None

    def write(self, student: str, record: Mapping[str, Any]) -> None:
        """Keep a record, in one step. Raises CourseError where it cannot be written."""
        path = self.path(student)
        with explained(path, self.root):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_safely(path, json.dumps(record).encode())


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


@contextlib.contextmanager
def only_writer(folder: Path, unit: str, patience: float) -> Iterator[None]:
    """Be the one process that writes a unit's grades.

    patience: seconds to wait for another one to end. Raises GradebookError where it does not.
    """
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
