"""Grades for the grade books of Canvas and Moodle, as nbgrader export plugins.

    nbgrader export --exporter=autograder.grading.exports.CanvasExport --to canvas.csv
    nbgrader export --exporter=autograder.grading.exports.MoodleExport --to moodle.csv --assignment
    01_convolution

Late penalties count as they do in nbgrader. A submission that waits for a person has an empty cell
and is named in a warning. Both files are UTF-8 with commas and points, which both systems read in
any language.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbgrader.api import Assignment, Gradebook, Student, SubmittedAssignment
from nbgrader.plugins import ExportPlugin
from traitlets import Bool, Dict, Unicode

from autograder.errors import CourseError
from autograder.files import write_safely

KINDS = {"unit": "assignment", "student": "student"}  # in nbgrader's words
CANVAS_COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
CANVAS_POSSIBLE = "    Points Possible"  # with the four spaces that Canvas itself writes
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


@dataclass(frozen=True)
class Score:
    """What the gradebook holds for one submission, the late penalty taken off."""

    points: float
    waits: bool


class GradeBookExport(ExportPlugin):
    """What both exports share: which grades go out, and how text is made safe for a spreadsheet."""

    titles = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="The name of each unit in the grade book, where it has another one there.",
    ).tag(config=True)
    include_waiting = Bool(
        False, help="Export the points so far of submissions that wait for a person."
    ).tag(config=True)
    missing_as_zero = Bool(
        False, help="Export 0 where nothing was handed in; otherwise the cell is empty."
    ).tag(config=True)

    system, default_file = "", ""

    def export(self, gradebook: Gradebook) -> None:
        """Write the file. Ends the command with one sentence where that cannot be done."""
        try:
            rows = self.rows(gradebook)
            path = Path(self.to or self.default_file)
            write_safely(path, as_csv(rows))
        except CourseError as error:
            self.log.error("%s", error)
            raise SystemExit(1) from error
        self.log.info("Wrote %s for %s", path, self.system)

    def rows(self, gradebook: Gradebook) -> list[list[str]]:
        """The file's rows, the header first."""
        raise NotImplementedError

    def units(self, gradebook: Gradebook) -> list[Assignment]:
        """The units to export. Raises CourseError for one that the gradebook does not know."""
        known = {unit.name: unit for unit in gradebook.assignments}
        chosen = chosen_ones("unit", map(str, self.assignment), known)
        return sorted(chosen, key=lambda unit: unit.name)

    def students(self, gradebook: Gradebook) -> list[Student]:
        """The students to export. Raises CourseError for one that the gradebook does not know."""
        known = {student.id: student for student in gradebook.students}
        return chosen_ones("student", map(str, self.student), known)

    def title(self, unit: Assignment) -> str:
        """The unit's name in the grade book."""
        return self.text(self.titles.get(unit.name, unit.name))

    def grades(
        self, gradebook: Gradebook, unit: Assignment, students: Sequence[Student]
    ) -> dict[str, str]:
        """One cell a student; what is left empty is named in a warning."""
        scores = scores_of(gradebook, unit)
        cells = {student.id: self.cell(scores.get(student.id)) for student in students}
        waiting = [one.id for one in students if one.id in scores and scores[one.id].waits]
        missing = [one.id for one in students if one.id not in scores]
        if waiting and self.include_waiting:
            self.log.warning("%s: points so far, not final, of %s", unit.name, ", ".join(waiting))
        elif waiting:
            self.log.warning(
                "%s: left empty, because a person must still grade it: %s. (An empty cell may clear"
                " a grade that %s already holds. --%s.include_waiting=True exports the points so"
                " far.)",
                unit.name,
                ", ".join(waiting),
                self.system,
                type(self).__name__,
            )
        if missing:
            said = "0 points" if self.missing_as_zero else "left empty"
            names = ", ".join(missing)
            self.log.warning(
                "%s: %s, because nothing was handed in or graded: %s", unit.name, said, names
            )
        return cells

    def cell(self, score: Score | None) -> str:
        """A grade as both systems read it: a decimal point, at most two places."""
        if score is None:
            return "0" if self.missing_as_zero else ""
        return "" if score.waits and not self.include_waiting else number(score.points)

    def text(self, value: str | None) -> str:
        """A text on one line that no spreadsheet takes for a formula.

        One that had to be changed is named in a warning.
        """
        line = " ".join((value or "").split())
        if line.startswith(FORMULA) or (value or "").startswith(FORMULA):
            self.log.warning(
                "%r could run as a formula, so it is written with an apostrophe: match it by hand",
                line,
            )
            return f"'{line}"
        return line


class CanvasExport(GradeBookExport):
    """A CSV file for Canvas: Grades, Import.

    Canvas finds a student by its own number (ID, from nbgrader's lms_user_id), then by SIS User ID,
    SIS Login ID (nbgrader's student id) and name. It finds an assignment by the number in brackets
    behind its title, then by title, and makes a new one where it finds none. The row `Points
    Possible` sets the assignment's points.
    """

    assignment_ids = Dict(
        key_trait=Unicode(),
        help="Canvas's number of each unit's assignment: {'01_convolution': 4711}.",
    ).tag(config=True)
    sis_user_ids = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="SIS User ID of each student by nbgrader's id, where the login is not enough.",
    ).tag(config=True)

    system, default_file = "Canvas", "canvas.csv"

    def rows(self, gradebook: Gradebook) -> list[list[str]]:
        """Header, points possible, and a row a student, by name."""
        students = sorted(
            self.students(gradebook), key=lambda one: (self.name(one).casefold(), one.id)
        )
        units = self.units(gradebook)
        grades = [self.grades(gradebook, unit, students) for unit in units]
        header = [*CANVAS_COLUMNS, *map(self.title, units)]
        possible = [CANVAS_POSSIBLE] + [""] * (len(CANVAS_COLUMNS) - 1)
        possible += [number(unit.max_score) for unit in units]
        rows = [
            [*self.identity(student), *(cells[student.id] for cells in grades)]
            for student in students
        ]
        return [header, possible, *rows]

    def title(self, unit: Assignment) -> str:
        """Title and number, `01_convolution (4711)`, as Canvas writes it itself."""
        canvas = str(self.assignment_ids.get(unit.name, ""))
        if canvas and not (canvas.isascii() and canvas.isdigit()):
            raise CourseError(
                f"{canvas} is no number of a Canvas assignment: give the one at the end of the"
                f" assignment's address, --CanvasExport.assignment_ids={unit.name}=4711."
            )
        return super().title(unit) + (f" ({canvas})" if canvas else "")

    def identity(self, student: Student) -> list[str]:
        """The five columns that Canvas finds a student by; the section may be empty."""
        # Canvas reads the number at the start of this cell, whatever follows, so nothing else may
        # stand here.
        canvas = (student.lms_user_id or "").strip()
        canvas = canvas if canvas.isascii() and canvas.isdigit() else ""
        return [
            self.name(student),
            canvas,
            self.text(self.sis_user_ids.get(student.id)),
            self.text(student.id),
            "",
        ]

    def name(self, student: Student) -> str:
        """Canvas's sortable name: `Lovelace, Ada`."""
        parts = [" ".join((part or "").split()) for part in (student.last_name, student.first_name)]
        return self.text(", ".join(part for part in parts if part) or student.id)


class MoodleExport(GradeBookExport):
    """A CSV file for Moodle: Grades, Import, CSV file; encoding UTF-8, separator comma.

    `Identify user by`: map `Username` (nbgrader's student id), `ID number` (lms_user_id) or `Email
    address`. Moodle gives up at a user whom it does not know, and a row without one may go to the
    student above it; so a column that is not filled for everybody, or not with different values, is
    left out with a warning.
    """

    system, default_file = "Moodle", "moodle.csv"

    def rows(self, gradebook: Gradebook) -> list[list[str]]:
        """Header, and a row a student, by id."""
        students = sorted(self.students(gradebook), key=lambda one: one.id)
        units = self.units(gradebook)
        grades = [self.grades(gradebook, unit, students) for unit in units]
        columns = self.identity(students)
        names = [[self.text(one.first_name), self.text(one.last_name)] for one in students]
        header = ["First name", "Last name", *columns, *map(self.title, units)]
        for unit in units:
            self.log.info(
                "%s: Moodle's grade item needs the maximum %s", unit.name, number(unit.max_score)
            )
        rows = [
            [
                *names[index],
                *(column[index] for column in columns.values()),
                *(cells[one.id] for cells in grades),
            ]
            for index, one in enumerate(students)
        ]
        return [header, *rows]

    def identity(self, students: Sequence[Student]) -> dict[str, list[str]]:
        """The columns by which Moodle can tell every student."""
        columns = {
            "Username": [self.text(one.id) for one in students],
            "ID number": [self.text(one.lms_user_id) for one in students],
            "Email address": [self.text(one.email) for one in students],
        }
        for heading in ("ID number", "Email address"):
            counts = Counter(columns[heading])
            pairs = zip(students, columns[heading], strict=True)
            doubtful = [one.id for one, value in pairs if not value or counts[value] > 1]
            if doubtful:
                del columns[heading]
                if len(doubtful) < len(students):
                    self.log.warning(
                        "The column %s is left out: it does not tell %s",
                        heading,
                        ", ".join(doubtful),
                    )
        return columns


def scores_of(gradebook: Gradebook, unit: Assignment) -> dict[str, Score]:
    """Every submission's score by student, in one query: nbgrader's own takes one a student."""
    wanted = (
        SubmittedAssignment.student_id,
        SubmittedAssignment.score,
        SubmittedAssignment.late_submission_penalty,
        SubmittedAssignment.needs_manual_grade,
    )
    rows = gradebook.db.query(*wanted).filter(SubmittedAssignment.assignment_id == unit.id).all()
    return {
        student: Score(max(0.0, (score or 0) - (late or 0)), bool(waits))
        for student, score, late, waits in rows
    }


def chosen_ones(noun: str, names: Iterable[str], known: Mapping[str, Any]) -> list[Any]:
    """Those named, or all. Raises CourseError for names that the gradebook does not know."""
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in known]
    if unknown:
        look = f"`nbgrader db {KINDS[noun]} list` shows all"
        raise CourseError(f"The gradebook knows no {noun} {', '.join(unknown)}: {look}.")
    if not known:
        raise CourseError(f"The gradebook holds no {noun} yet: grade something first.")
    return [known[name] for name in names or known]


def number(points: float | None) -> str:
    """Points with at most two places."""
    return f"{round(points or 0, 2):g}" if abs(points or 0) < 1e5 else f"{points:.2f}"


def as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV in UTF-8, quoted where needed."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", errors="replace")
