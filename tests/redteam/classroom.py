"""A course that is attacked: attacks and honest submissions in turn, graded in one run, and what is
seen around it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from autograder.authoring.lesson import read_lesson
from autograder.checking.verdict import CaseVerdict
from autograder.demo import CONFIG, Classroom, answered
from autograder.grading import grade
from autograder.grading.grade import Graded, Options, grade_unit
from autograder.grading.result import Result, ResultStore, as_json
from autograder.grading.workers import Workers
from autograder.sandbox.bubblewrap import Limits

from .attack import ALL, SECRET, Attack, Target

UNIT = "90_mini"
BYSTANDER = "bystander"
LIMITS = Limits(cell_seconds=1, check_seconds=1, notebook_seconds=25, memory=2**30)
GONE_SECONDS = 5.0
OWN = {"autograded", ".grading", "feedback"}  # folders that grading writes


@dataclass
class Seen:
    """What a run over attacks gave."""

    root: Path
    target: Target
    names: dict[str, str] = field(default_factory=dict)  # student by attack
    followers: dict[str, str] = field(default_factory=dict)  # the honest one behind
    graded: Graded | None = None
    left: dict[str, tuple[int, float]] = field(
        default_factory=dict
    )  # processes left over, and seconds, by student
    standing: list[int] = field(
        default_factory=list
    )  # sandboxes that earlier tests of this process keep warm
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    rows_before: list[tuple[object, ...]] = field(default_factory=list)
    rows_after: list[tuple[object, ...]] = field(default_factory=list)

    def student(self, attack: Attack) -> str:
        """Who hands the attack in."""
        return self.names[attack.name]

    def result(self, attack: Attack) -> Result | None:
        """The result of an attack."""
        return next(
            (item for item in self.graded.results if item.student == self.student(attack)), None
        )

    def next_result(self, attack: Attack) -> Result | None:
        """The result of the honest submission that follows it."""
        return ResultStore(self.root).read(UNIT, self.followers[attack.name])

    def points(self, student: str) -> float:
        """What the gradebook gives a student for all checks."""
        with closing(sqlite3.connect(self.root / "gradebook.db")) as base:
            return sum(
                row[2] or 0.0
                for row in grades(base)
                if row[0] == student and row[1].startswith("check_")
            )

    def graded_text(self, student: str) -> str:
        """The graded notebook as it lies there; empty where there is none."""
        path = self.root / "autograded" / student / UNIT / f"{UNIT}.ipynb"
        return path.read_text(encoding="utf-8") if path.exists() else ""


class Attacked:
    """A copy of the miniature course, released, with a bystander who was graded before."""

    def __init__(self, root: Path, outside: Path, in_kernel: bool = False):
        self.root, self.target = root, Target(root, outside)
        outside.mkdir(exist_ok=True)
        outside.chmod(0o777)  # what keeps a submission out is the sandbox, not the permissions
        (outside / "canary.txt").write_text(SECRET)
        (outside / "canary.txt").chmod(0o666)
        (root / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
        self.room = Classroom(root, in_kernel)
        self.release = self.room.release(UNIT)
        exercises = read_lesson(root / "solutions" / UNIT).exercises
        self.solutions = {name: exercise.solution for name, exercise in exercises.items()}

    def honest(self) -> NotebookNode:
        """Everything solved."""
        return answered(self.release, self.solutions)

    def hand_in(self, student: str, attack: Attack) -> Path:
        """Hand an attack in."""
        folder = self.room.submit(student, UNIT, self.honest())
        written = notebook_of(attack, self.release, self.solutions, self.target)
        content = written if isinstance(written, bytes) else text_of(written)
        (folder / f"{UNIT}.ipynb").write_bytes(content)
        if attack.plant is not None:
            attack.plant(folder, self.target)
        if attack.folder:
            os.rename(
                os.fsencode(folder.parent), os.fsencode(folder.parent.parent) + b"/" + attack.folder
            )
        return folder

    def grade(self, attacks: Sequence[Attack], workers: int = 1) -> Seen:
        """Hand in the attacks, an honest submission behind each, and grade them in one run."""
        seen = Seen(self.root, self.target, standing=processes_of_sandboxes())
        bystander = self.honest()
        bystander.cells.append(new_code_cell(f"# {SECRET}"))
        self.room.submit(BYSTANDER, UNIT, bystander)
        options = Options(limits=LIMITS, workers=workers, add_students=True)
        grade_unit(self.root, UNIT, options)
        for number, attack in enumerate(attacks):
            student = f"a{number:03d}"
            self.hand_in(student, attack)
            self.room.submit(follower(student), UNIT, self.honest())
            seen.names[attack.name] = os.fsdecode(attack.folder) or student
            seen.followers[attack.name] = follower(student)
        seen.before, seen.rows_before = snapshot(self.root, self.target), rows_of(self.root)
        with counted(seen), mock.patch.dict(os.environ, {"CVCOURSE_TEST_SECRET": SECRET}):
            seen.graded = grade_unit(self.root, UNIT, options)
        seen.after, seen.rows_after = snapshot(self.root, self.target), rows_of(self.root)
        return seen


def follower(student: str) -> str:
    """The honest student whose turn comes next."""
    return f"{student}.next"


def notebook_of(
    attack: Attack, release: NotebookNode, solutions: dict[str, str], target: Target
) -> NotebookNode | bytes:
    """The notebook that is handed in."""
    stubs = {name for name, source in attack.cells.items() if source is None}
    sources = {
        name: source for name, source in {**solutions, **attack.cells}.items() if name not in stubs
    }
    notebook = answered(release, {name: target.named(source) for name, source in sources.items()})
    setup = next(
        index
        for index, cell in enumerate(notebook.cells)
        if "setup" in cell.metadata.get("tags", [])
    )
    notebook.cells[setup + 1 : setup + 1] = [
        new_code_cell(target.named(source)) for source in attack.first
    ]
    notebook.cells += [new_code_cell(target.named(source)) for source in attack.last]
    return attack.edit(notebook) if attack.edit is not None else notebook


def text_of(notebook: NotebookNode) -> bytes:
    """A notebook as a file, whatever it holds: what is valid is not for the attacker to say."""
    return json.dumps(notebook, ensure_ascii=True).encode()


# What is looked at around a run


def snapshot(root: Path, target: Target) -> dict[str, str]:
    """Digests of all files of the course but those that grading writes, and of what lies beside
    it."""
    found = {}
    for base in (root, target.outside):
        for place, folders, files in os.walk(os.fsencode(base)):
            if os.fsdecode(place) == str(root):
                folders[:] = [name for name in folders if os.fsdecode(name) not in OWN]
                files = [name for name in files if not name.startswith(b"gradebook.db")]
            for name in files:
                path = os.path.join(place, name)
                regular = os.path.isfile(path) and not os.path.islink(path)
                found[repr(path)] = digest(path) if regular else "special"
    return found


def digest(path: bytes) -> str:
    """A file's size and the digest of its first megabytes."""
    with open(path, "rb") as file:
        return f"{os.path.getsize(path)} {hashlib.sha256(file.read(4 * 2**20)).hexdigest()}"


def rows_of(root: Path) -> list[tuple[object, ...]]:
    """The bystander's grades."""
    with closing(sqlite3.connect(root / "gradebook.db")) as base:
        return sorted(row for row in grades(base) if row[0] == BYSTANDER)


def grades(base: sqlite3.Connection) -> list[tuple[object, ...]]:
    """(student, cell, automatic score, score by hand, whether it waits) of every grade."""
    return base.execute(
        """SELECT student_id, base_cell.name, auto_score, manual_score, needs_manual_grade
        FROM grade
        JOIN base_cell ON base_cell.id = grade.cell_id
        JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id"""
    ).fetchall()


@contextmanager
def counted(seen: Seen) -> Iterator[None]:
    """Count, after each submission, the processes in the sandbox until they are as many as before
    the first."""

    class CountingWorkers(Workers):
        idle = 0

        def one(self, materials, student, cells):
            self.idle = self.idle or idle(self._sandbox.process.pid)
            ended = super().one(materials, student, cells)
            begun = time.monotonic()
            while (left := len(below(self._sandbox.process.pid)) - self.idle) > 0:
                if time.monotonic() - begun > GONE_SECONDS:
                    break
                time.sleep(0.02)
            seen.left[student] = left, time.monotonic() - begun
            return ended

    with mock.patch.object(grade, "Workers", CountingWorkers):
        yield


def idle(process: int) -> int:
    """How many processes descend from one when nothing happens: the fewest in half a second."""
    found = []
    for _ in range(10):
        found.append(len(below(process)))
        time.sleep(0.05)
    return min(found)


def below(process: int) -> set[int]:
    """Every process that descends from one. What a sandbox orphans falls to a process inside it, so
    none is missed."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found, size = {process}, 0
    while size != len(found):
        size = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {process}


# What is found wrong


def broken(attack: Attack, seen: Seen) -> list[str]:
    """What an attack gained or broke, in words; nothing where it was withstood."""
    student, result, following = seen.student(attack), seen.result(attack), seen.next_result(attack)
    if result is None:
        return ["it has no result"]
    points = seen.points(student)
    left, seconds = seen.left.get(student, (0, 0.0))
    text = json.dumps(as_json(result)) + seen.graded_text(student)
    return [
        problem
        for holds, problem in (
            (points <= attack.honest, f"{points:g} points where {attack.honest:g} are honest"),
            (
                points == round(result.points, 2),
                f"the gradebook holds {points:g} points, the result {result.points:g}",
            ),
            (attack.earns in (None, points), f"{points:g} points where {attack.earns} are due"),
            (bool(result.refused) == bool(attack.refused), f"refused: {result.refused or 'no'}"),
            (attack.refused in result.refused, f"refused for another reason: {result.refused}"),
            (SECRET not in text, "it read what it must not see"),
            (left <= 0, f"{left} processes are left after {seconds:.0f} s"),
            (
                following is not None and following.points == ALL,
                "the next submission is not graded right",
            ),
            (
                result.peak_memory < 1.5 * LIMITS.memory,
                f"it held {result.peak_memory / 2**20:.0f} MB",
            ),
            (
                not any("Grader fault" in note for note in result.notes),
                f"the grader failed: {result.notes}",
            ),
            *(
                (
                    result.verdicts[name].state == state,
                    f"{name} is {result.verdicts[name].state}, not {state}",
                )
                for name, state in attack.states.items()
            ),
            (
                not attack.ends
                or {run.state for run in result.cells.values()} & set(attack.ends.split(" or ")),
                f"no cell ended with {attack.ends}",
            ),
            (
                not attack.evidence or any(attack.evidence in line for line in result.evidence),
                f"no sign of {attack.evidence} in {result.evidence}",
            ),
            (
                not any(
                    told(case)
                    for verdict in result.verdicts.values()
                    for case in verdict.cases
                    if case.hidden
                ),
                "a hidden case tells its inputs",
            ),
        )
        if not holds
    ]


def told(case: CaseVerdict) -> bool:
    """Whether a row shows inputs that the attacks on hidden ones put into words."""
    return any(word in f"{case.title}{case.message}{case.printed}" for word in ("inputs-", "told"))


def processes_of_sandboxes() -> list[int]:
    """Processes of sandboxes that this process started and that still run."""
    found = []
    for number in below(os.getpid()):
        with contextlib.suppress(OSError), open(f"/proc/{number}/cmdline", "rb") as file:
            if b"autograder.sandbox.server" in file.read():
                found.append(number)
    return found
