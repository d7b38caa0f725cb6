"""A released course for tests of the gradebook: results, graded notebooks, and what the gradebook
holds afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from sqlalchemy import create_engine, text

from autograder.authoring.lesson import read_lesson
from autograder.checking.verdict import CaseVerdict, Fit, Hint, State, Verdict
from autograder.demo import CONFIG, Classroom, answered
from autograder.grading.result import Result

UNIT = "90_mini"
POINTS = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}
RIGHT = dict.fromkeys(POINTS, State.RIGHT)
WORDS = "*Because the window adds what cancels.*"

QUERIES = {
    "student": "SELECT id, first_name, last_name FROM student",
    "submitted_assignment": (
        """
        SELECT student_id, assignment.name, timestamp, extension FROM submitted_assignment
        JOIN assignment ON assignment.id = submitted_assignment.assignment_id"""
    ),
    "submitted_notebook": (
        """
        SELECT student_id, notebook.name, flagged, late_submission_penalty FROM submitted_notebook
        JOIN notebook ON notebook.id = submitted_notebook.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id"""
    ),
    "grade": (
        """
        SELECT student_id, base_cell.name, type, auto_score, manual_score, extra_credit,
        needs_manual_grade FROM grade
        JOIN base_cell ON base_cell.id = grade.cell_id
        JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id"""
    ),
    "comment": (
        """
        SELECT student_id, base_cell.name, type, auto_comment, manual_comment FROM comment
        JOIN base_cell ON base_cell.id = comment.cell_id
        JOIN submitted_notebook ON submitted_notebook.id = comment.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id"""
    ),
}


def release(built: Path, folder: Path) -> Path:
    """A copy of the built miniature course, released by nbgrader."""
    root = Path(shutil.copytree(built, folder / "mini"))
    (root / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    Classroom(root).release(UNIT)
    return root


def db_url(root: Path) -> str:
    """The course's own gradebook."""
    return f"sqlite:///{root / 'gradebook.db'}"


def gradebook(root: Path, url: str | None = None) -> Gradebook:
    """nbgrader's own view of it."""
    return Gradebook(url or db_url(root), "")


def tables(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """What the gradebook holds of the students' work, without its random ids, in order."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            name: [tuple(map(plain, row)) for row in connection.execute(text(sql))]
            for name, sql in QUERIES.items()
        }
    engine.dispose()
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def plain(value: Any) -> Any:
    """A value as SQLite gives it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return int(value) if isinstance(value, bool) else value


def grades(url: str, student: str) -> dict[str, tuple[float | None, bool]]:
    """(automatic score, whether a person must look) by graded cell."""
    return {row[1]: (row[3], bool(row[6])) for row in tables(url)["grade"] if row[0] == student}


def comments(url: str, student: str) -> dict[str, str | None]:
    """The automatic comments by cell."""
    return {row[1]: row[3] for row in tables(url)["comment"] if row[0] == student}


def notebook_of(root: Path, sources: Mapping[str, str] | None = None) -> NotebookNode:
    """The released notebook with other sources in the named cells; graded, as far as the gradebook
    looks at it."""
    released = nbformat.read(root / "course" / UNIT / f"{UNIT}.ipynb", as_version=4)
    return answered(released, sources or {})


def solved(root: Path, **sources: str) -> NotebookNode:
    """A notebook with all exercises solved, except for the given cells."""
    exercises = read_lesson(root / "solutions" / UNIT).exercises.items()
    return notebook_of(root, {name: exercise.solution for name, exercise in exercises} | sources)


def submit(root: Path, student: str, timestamp: str | bytes | None = None) -> Path:
    """Hand something in; returns the submission's folder."""
    folder = root / "submitted" / student / UNIT
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / "course" / UNIT / f"{UNIT}.ipynb", folder / f"{UNIT}.ipynb")
    if timestamp is not None:
        content = timestamp if isinstance(timestamp, bytes) else timestamp.encode()
        (folder / "timestamp.txt").write_bytes(content)
    return folder


def verdict(
    exercise: str, state: State = State.RIGHT, points: float | None = None, **more: Any
) -> Verdict:
    """A verdict; right ones earn all, others nothing, unless `points` says otherwise."""
    most = POINTS[exercise]
    earned = (most if state is State.RIGHT else 0.0) if points is None else points
    case = CaseVerdict(state, f"{exercise}(...)", "", earned)
    return Verdict(exercise, state, earned, most, (case,), **more)


def mistaken(exercise: str, points: float = 0.0) -> Verdict:
    """A wrong answer whose mistake is known."""
    hint = Hint("a mean in place of the sum", "Try a signal of ones.")
    return verdict(exercise, State.WRONG, points, diagnosis=hint, fit=Fit.EXACT)


def result(student: str, *verdicts: Verdict, **more: Any) -> Result:
    """A result with everything right but for the given verdicts."""
    given = {name: verdict(name) for name in POINTS} | {item.exercise: item for item in verdicts}
    return Result(
        student, UNIT, **{"digest": "d1", "grader": "g1", "seed": "s1", "verdicts": given, **more}
    )
