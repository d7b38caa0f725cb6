"""Play a class through one unit: release, submissions, sandboxed grading, feedback, grades.

`python -m autograder.demo [UNIT] [--keep FOLDER] [--unsafe]`, or `make demo`. Exit codes: 0 the
grades are as they must be, 1 some are not, 2 the demonstration could not be played.
"""

from __future__ import annotations

import argparse
import ast
import collections
import copy
import itertools
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat import NotebookNode

from autograder.authoring.build import build_unit
from autograder.authoring.lesson import Exercise, Lesson, read_lesson
from autograder.authoring.release import write_notebook
from autograder.authoring.wheat import Alternative, load_wheats
from autograder.checking.key_files import HIDDEN_FILES, VISIBLE_FILES
from autograder.checking.report import MIME
from autograder.errors import CourseError
from autograder.units import ROOT, SOLUTIONS, chosen_units, units

if TYPE_CHECKING:
    from rich.console import Console

FAVOURITE = "01_convolution"
SECONDS = 3.0  # what a cell or a check may take: one student's loop never ends
FORGERY = """\
import sys
class Agrees:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
check = lambda *given, **named: 100
sys.displayhook = lambda value: None
"""
CONFIG = "from autograder.nbgrader_config import configure\n\nconfigure(get_config())\n"


# A course that nbgrader runs


@dataclass(frozen=True)
class Grade:
    """What the gradebook holds for one graded cell."""

    points: float | None  # None: waits for a person
    max_points: float
    is_manual: bool


class Classroom:
    """A course folder, driven through nbgrader's own API. in_kernel: see `configure`."""

    def __init__(self, folder: Path, in_kernel: bool = False):
        from nbgrader.apps import NbGraderAPI
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config import Config

        from autograder.nbgrader_config import configure

        # nbgrader's queries, of no concern here.
        warnings.filterwarnings("ignore", message="Object of type <Submitted")
        self.folder = folder
        config = configure(Config(), in_kernel)
        config.CourseDirectory.root = str(folder)
        self.api = NbGraderAPI(CourseDirectory(config=config), config=config)

    def release(self, unit: str) -> NotebookNode:
        """Generate the assignment; returns the notebook that learners receive."""
        self._must("generate_assignment", self.api.generate_assignment(unit))
        return nbformat.read(self.folder / "course" / unit / f"{unit}.ipynb", as_version=4)

    def submit(self, student: str, unit: str, notebook: NotebookNode) -> Path:
        """Hand a notebook in; returns the submission's folder."""
        folder = self.folder / "submitted" / student / unit
        folder.mkdir(parents=True, exist_ok=True)
        write_notebook(notebook, folder / f"{unit}.ipynb")
        return folder

    def autograde(self, unit: str, student: str) -> str:
        """Autograde one submission; returns nbgrader's log."""
        return self._must(f"autograde of {student}", self.api.autograde(unit, student))

    def give_feedback(self, unit: str, student: str) -> Path:
        """Generate one submission's feedback; returns the page."""
        self._must(f"generate_feedback for {student}", self.api.generate_feedback(unit, student))
        return self.folder / "feedback" / student / unit / f"{unit}.html"

    def grades(self, unit: str, student: str) -> dict[str, Grade]:
        """The grades of one submission by graded cell, as the gradebook holds them."""
        with self.api.gradebook as gradebook:
            found = [
                grade
                for book in gradebook.find_submission(unit, student).notebooks
                for grade in book.grades
            ]
            return {
                item.name: Grade(item.auto_score, item.max_score, bool(item.needs_manual_grade))
                for item in found
            }

    def verdicts(self, unit: str, student: str) -> dict[str, dict[str, Any]]:
        """The verdicts in a graded notebook, by exercise."""
        path = self.folder / "autograded" / student / unit / f"{unit}.ipynb"
        cells = nbformat.read(path, as_version=4).cells
        found = [
            out.data[MIME]
            for cell in cells
            for out in cell.get("outputs", [])
            if MIME in out.get("data", {})
        ]
        return {verdict["exercise"]: verdict for verdict in found}

    def _must(self, what: str, result: Mapping[str, Any]) -> str:
        log = result.get("log") or ""
        if not result["success"]:
            raise CourseError(f"nbgrader's {what} failed: {last_line(result.get('error') or log)}")
        return log


def last_line(text: str) -> str:
    """The last line that says something."""
    return next(
        (line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given"
    )


def answered(release: NotebookNode, sources: Mapping[str, str]) -> NotebookNode:
    """A copy of the released notebook with other sources in the named solution cells."""
    notebook = copy.deepcopy(release)
    for cell in notebook.cells:
        cell.source = sources.get(
            cell.metadata.get("nbgrader", {}).get("grade_id", ""), cell.source
        )
    return notebook


# The class


@dataclass(frozen=True)
class Student:
    """Somebody who hands a notebook in."""

    name: str
    did: str
    notebook: NotebookNode
    # Points by exercise, where they are known beforehand.
    expected: Mapping[str, float] = field(default_factory=dict)
    # The mistake that must be named, by exercise.
    diagnoses: Mapping[str, str] = field(default_factory=dict)


class Cast:
    """The students of a unit, made from its solutions, misconceptions, wheats and shortcuts."""

    def __init__(self, lesson: Lesson, release: NotebookNode, alternatives: Sequence[Alternative]):
        self.lesson = lesson
        self.release = release
        self.alternatives = alternatives
        self.exercises = list(lesson.exercises.values())
        self.full = {item.name: item.points for item in self.exercises}
        self.solutions = {item.name: item.solution for item in self.exercises}
        self.functions = [item.name for item in self.exercises if not item.answers]

    def students(self) -> list[Student]:
        """The class, in the order of the alphabet."""
        half = [item.name for item in self.exercises[: (len(self.exercises) + 1) // 2]]
        first, broken = self.exercises[0].name, self.functions[-1]
        wheats, shortcuts = self.others(is_shortcut=False), self.others(is_shortcut=True)
        unclosed = self.solutions | {first: self.solutions[first] + "\nprint("}
        noisy_all = {name: noisy(self.solutions[name]) for name in self.functions}
        endless = {broken: inserted(self.solutions[broken], ["while True:", "    pass"])}
        raising = {broken: inserted(self.solutions[broken], ["undefined_name"])}
        return [
            self.student("ada", "all right", self.solutions, answers="My own words."),
            self.student("bo", "handed in untouched", {}),
            self.mistaken("cy", "a misconception in each", 0),
            self.student("dee", "right in another style", self.solutions | wheats),
            self.student(
                "ed", "right, but only half of it", {name: self.solutions[name] for name in half}
            ),
            self.student("fay", f"a syntax error in {first}", unclosed, wrong=[first]),
            self.student(
                "gil",
                "forbidden shortcuts" if shortcuts else "right: no shortcut to take",
                self.solutions | shortcuts,
                wrong=list(shortcuts),
            ),
            self.student("hal", "right, prints and warns a lot", self.solutions | noisy_all),
            self.mistaken("ida", "another misconception in each", -1),
            self.careless("jon", first),
            self.student(
                "kim", f"an exception in {broken}", self.solutions | raising, wrong=[broken]
            ),
            self.mixed("lou"),
            self.forger("mia"),
            self.student(
                "ned", f"a loop without end in {broken}", self.solutions | endless, wrong=[broken]
            ),
        ]

    def student(
        self,
        name: str,
        did: str,
        sources: Mapping[str, str],
        wrong: Sequence[str] = (),
        answers: str = "",
    ) -> Student:
        """One whose exercises earn all or nothing: nothing where untouched or `wrong`."""
        right = {
            item: self.full[item] if item in sources and item not in wrong else 0.0
            for item in self.full
        }
        expected = self.known(right, sources)
        questions = dict.fromkeys(self.questions(), answers) if answers else {}
        return Student(name, did, answered(self.release, {**sources, **questions}), expected)

    def mistaken(self, name: str, did: str, which: int) -> Student:
        """One who holds a misconception wherever there is one; each must be named."""
        patched = {
            item.name: self.patched(item, which) for item in self.exercises if item.misconceptions
        }
        sources = self.solutions | patched
        points = {item: self.full[item] for item in self.full if item not in patched}
        mistakes = {
            item.name: item.misconceptions[which].name
            for item in self.exercises
            if item.misconceptions
        }
        sure = self.known({**dict.fromkeys(mistakes, 0.0), **points}, sources)
        diagnoses = {item: mistakes[item] for item in sure if item in mistakes}
        expected = {item: points[item] for item in sure if item in points}
        return Student(name, did, answered(self.release, sources), expected, diagnoses)

    def careless(self, name: str, exercise: str) -> Student:
        """One who deleted a check and copied another cell: nothing is lost by it."""
        notebook = answered(self.release, self.solutions)
        notebook.cells = [cell for cell in notebook.cells if cell.id != f"check_{exercise}"]
        check = next(
            cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")
        )
        notebook.cells.append(NotebookNode({**copy.deepcopy(check), "id": "a-copied-cell"}))
        return Student(name, "right, with a deleted and a copied check", notebook, self.full)

    def mixed(self, name: str) -> Student:
        """One who got some right, some wrong, and left some out."""
        turns = dict(zip(self.full, itertools.cycle(("right", "wrong", "left out")), strict=False))
        sources = {
            item.name: item.solution if turns[item.name] == "right" else self.patched(item, -1)
            for item in self.exercises
            if turns[item.name] == "right" or (turns[item.name] == "wrong" and item.misconceptions)
        }
        points = {item: self.full[item] for item, turn in turns.items() if turn == "right"}
        points |= {item: 0.0 for item in turns if item not in sources}
        notebook = answered(self.release, sources)
        return Student(
            name, "a mixture: right, wrong, left out", notebook, self.known(points, sources)
        )

    def forger(self, name: str) -> Student:
        """One whose answers equal everything, and who redefines `check` and the display."""
        agreeing = {
            item: f"def {item}(*given, **named):\n    return Agrees()" for item in self.functions
        }
        notebook = answered(self.release, agreeing)
        notebook.cells.insert(2, nbformat.v4.new_code_cell(FORGERY, id="forgery"))
        return Student(
            name, "answers that equal everything", notebook, dict.fromkeys(self.full, 0.0)
        )

    def known(self, points: Mapping[str, float], sources: Mapping[str, str]) -> dict[str, float]:
        """The entries of `points` that are certain.

        An exercise that calls another is only as good as that one.
        """
        right = {item for item in points if points[item] == self.full[item]}
        return {
            item: value
            for item, value in points.items()
            if item not in sources or self.leans_on(item) <= right
        }

    def leans_on(self, exercise: str) -> set[str]:
        """The other exercises that an exercise's solution calls, and those that they call."""
        found: set[str] = set()
        waiting = [exercise]
        while waiting:
            tree = ast.parse(self.solutions[waiting.pop()])
            names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            called = (names & set(self.full)) - {exercise}
            waiting += called - found
            found |= called
        return found

    def patched(self, exercise: Exercise, which: int) -> str:
        """The source of one misconception."""
        return exercise.misconceptions[which].apply(
            exercise.solution, f"{self.lesson.unit}/exercises.toml"
        )

    def others(self, is_shortcut: bool) -> dict[str, str]:
        """The first wheat (or shortcut) of each exercise as the source of its cell."""
        found: dict[str, str] = {}
        for item in self.alternatives:
            if item.is_shortcut is is_shortcut and item.exercise not in found:
                answers = self.lesson.exercises[item.exercise].answers
                found[item.exercise] = source_of_alternative(
                    self.lesson.folder / "wheats.py", item, answers
                )
        return found

    def questions(self) -> list[str]:
        """The written questions' cells."""
        flags = [cell.metadata.get("nbgrader", {}) for cell in self.release.cells]
        return [data["grade_id"] for data in flags if data.get("grade") and data.get("solution")]


def source_of_alternative(path: Path, alternative: Alternative, answers: Sequence[str]) -> str:
    """A wheat or shortcut as a learner would have typed it, under the exercise's name.

    What it needs of wheats.py comes with it.
    """
    text = path.read_text(encoding="utf-8")
    parts: list[str] = []
    for node in ast.parse(text).body:
        decorated = bool(getattr(node, "decorator_list", []))
        own = getattr(node, "name", "") == alternative.name
        imported = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autograder")
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if own or not (decorated or imported or docstring):
            parts.append(ast.get_source_segment(text, node) or "")
    source = "\n\n".join(parts)
    if answers:
        lines = [f'{name} = {alternative.name}()["{name}"]' for name in answers]
        return f"{source}\n\n" + "\n".join(lines)
    return re.sub(rf"\b{alternative.name}\b", alternative.exercise, source)


def noisy(source: str) -> str:
    """A solution that prints and warns whenever it is called."""
    return inserted(
        source,
        ["import warnings", 'print("here I am")', 'warnings.warn("take care", stacklevel=1)'],
    )


def inserted(source: str, lines: Sequence[str]) -> str:
    """A cell's source with lines put first in the body of its last function or method."""
    nodes = ast.walk(ast.parse(source))
    function = [node for node in nodes if isinstance(node, ast.FunctionDef)][-1]
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    place = function.body[1 if documented else 0]
    indented = [" " * place.col_offset + line for line in lines]
    before, after = source.splitlines()[: place.lineno - 1], source.splitlines()[place.lineno - 1 :]
    return "\n".join([*before, *indented, *after])


# The play


def play(unit: str, folder: Path, console: Console, unsafe: bool = False) -> bool:
    """Play the class through `unit` in `folder`; returns whether the grades are as they must be."""
    from autograder.grading.grade import Options, grade_unit
    from autograder.grading.terminal import summary
    from autograder.sandbox.bubblewrap import Limits

    started = time.perf_counter()
    lesson = set_up(unit, folder)
    console.print(f"Playing a class through {unit} in {folder}", soft_wrap=True)
    room = Classroom(folder)
    release = room.release(unit)
    console.print(f"Released {unit}: {len(lesson.exercises)} exercises")
    students = Cast(lesson, release, load_wheats(lesson.folder / "wheats.py")).students()
    for student in students:
        room.submit(student.name, unit, student.notebook)
    limits = Limits.of(SECONDS)
    graded = grade_unit(folder, unit, Options(limits=limits, unsafe=unsafe, add_students=True))
    console.print(summary(graded, unsafe))
    for student in students:
        room.give_feedback(unit, student.name)
    console.print(table_of_grades(room, unit, lesson, students))
    problems = [problem for student in students for problem in problems_of(room, unit, student)]
    for problem in problems:
        console.print(f"[red]not as it must be:[/red] {problem}")
    page = folder / "feedback" / students[2].name / unit / f"{unit}.html"
    console.print(f"What {students[2].name} reads: {page}", soft_wrap=True)
    console.print(
        f"{len(students)} submissions, graded in {graded.seconds:.1f} s;"
        f" {time.perf_counter() - started:.0f} s in all, feedback included. "
        + ("" if problems else "Every grade is as it must be.")
    )
    return not problems


def set_up(unit: str, folder: Path) -> Lesson:
    """A course of one unit in an empty folder."""
    source = folder / SOLUTIONS / unit
    shutil.copytree(
        ROOT / SOLUTIONS / unit,
        source,
        ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
    )
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    built = (f"{unit}.ipynb", *VISIBLE_FILES, *HIDDEN_FILES)
    if not all((source / name).exists() for name in built):
        build_unit(unit, folder)
    return read_lesson(source)


def problems_of(room: Classroom, unit: str, student: Student) -> list[str]:
    """Where a student's grades are not what they must be."""
    grades, verdicts = room.grades(unit, student.name), room.verdicts(unit, student.name)
    problems = [
        f"{student.name} has {grades[f'check_{name}'].points} points for {name} in place of"
        f" {points:g}"
        for name, points in student.expected.items()
        if grades[f"check_{name}"].points != points
    ]
    for name, diagnosis in student.diagnoses.items():
        found = verdicts.get(name, {}).get("diagnosis")
        if found != diagnosis:
            problems.append(
                f"{student.name} reads {found!r} about {name} in place of {diagnosis!r}"
            )
    return problems


def table_of_grades(room: Classroom, unit: str, lesson: Lesson, students: Sequence[Student]) -> Any:
    """What everybody earned, from the gradebook, and the mistake that was named most often."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    table = Table(title=f"Grades of {unit}", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("student", no_wrap=True)
    table.add_column("what they did")
    table.add_column("exercises", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("mistake named")
    for student in students:
        grades = room.grades(unit, student.name)
        checks = [grades[f"check_{name}"] for name in lesson.exercises]
        named = [
            verdict["diagnosis"]
            for verdict in room.verdicts(unit, student.name).values()
            if verdict["diagnosis"]
        ]
        total = sum(check.points or 0.0 for check in checks)
        most = sum(check.max_points for check in checks)
        marks = "".join(mark_of(check) for check in checks)
        table.add_row(student.name, student.did, marks, f"{total:g} of {most:g}", most_named(named))
    return Group(
        table,
        "exercises in order: ✓ all points, ◐ some, · none; written questions wait for a person\n",
    )


def mark_of(grade: Grade) -> str:
    """One sign for what an exercise earned."""
    if grade.points == grade.max_points:
        return "✓"
    return "◐" if grade.points else "·"


def most_named(diagnoses: Sequence[str]) -> str:
    """The commonest diagnosis, and how many more there are."""
    if not diagnoses:
        return ""
    name, count = collections.Counter(diagnoses).most_common(1)[0]
    others = len(diagnoses) - count
    return name + (f" (and {others} more)" if others else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    from rich.console import Console

    parser = argparse.ArgumentParser(
        prog="python -m autograder.demo", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "unit", nargs="?", help=f"name or number; {FAVOURITE} by default, or the first unit"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="play in this new folder instead of a temporary one",
    )
    parser.add_argument(
        "--unsafe", action="store_true", help="run the class's code without a sandbox"
    )
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        existing = chosen_units([], ROOT)
        favourite = FAVOURITE if FAVOURITE in units(ROOT) else existing[0]
        unit = chosen_units([options.unit], ROOT)[0] if options.unit else favourite
        return 0 if play(unit, new_folder(options.keep), console, options.unsafe) else 1
    except CourseError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2


def new_folder(wanted: Path | None) -> Path:
    """An empty folder. Raises CourseError when the wanted one holds something."""
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="cvcourse-demo-"))
    if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
        raise CourseError(f"{wanted} is not empty: name a new folder.")
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted.resolve()


if __name__ == "__main__":
    sys.exit(main())
