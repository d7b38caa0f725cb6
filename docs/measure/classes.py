"""Classes made up for measuring: notebooks that learners would hand in, and their right marks.

The expected marks come from the answer key's own record of every misconception, so they hold for
fresh inputs as well. An exercise that calls a wrong one is left out, for its mark could not be
known beforehand.
"""

from __future__ import annotations

import copy
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.authoring.lesson import Exercise
from autograder.authoring.release import write_notebook
from autograder.authoring.wheat import load_wheats
from autograder.cells import CHECK
from autograder.checking.judge import judge
from autograder.checking.key import HIDDEN, VISIBLE, ExerciseKey, merge
from autograder.checking.key_files import read_key
from autograder.checking.verdict import State
from autograder.demo import (
    Cast,
    Classroom,
    answered,
    inserted,
    noisy,
    set_up,
    source_of_alternative,
)
from autograder.grading.result import NEEDS_A_PERSON

RIGHT, MISCONCEPTION = "right, in several styles", "one misconception"
MIXTURE, STUB = "partly done", "untouched"
BROKEN, SHORTCUT, DAMAGED = "does not run", "forbidden shortcut", "damaged, nothing lost"
REFUSED, HOSTILE = "refused", "hostile"
SCRATCH = (
    "numbers = torch.arange({0} + 3.0)\nnumbers.sum(), numbers.mean()",
    "def mine(x):\n    return x * {0} + 1\n\n[mine(value) for value in range(5)]",
    "import math\n\nfor step in range({0} % 7 + 1):\n    print(step, math.sqrt(step))",
    "torch.manual_seed({0})\ntorch.rand(3, 4)",
)


@dataclass(frozen=True)
class Mark:
    """What one exercise must be graded. None: not known beforehand."""

    points: float | None
    state: State | None = None
    diagnosis: str | None = None


@dataclass(frozen=True)
class MadeSubmission:
    """What somebody hands in.

    write: puts the files into a folder. marks: by exercise, none where it is refused.
    """

    student: str
    kind: str
    did: str
    write: Callable[[Path, str], None]
    marks: Mapping[str, Mark]

    @property
    def is_refused(self) -> bool:
        """Whether grading must refuse it."""
        return self.kind == REFUSED

    @property
    def waits(self) -> bool:
        """Whether a person must look at it after grading."""
        return any(mark.state in NEEDS_A_PERSON for mark in self.marks.values())


class Makers:
    """Makes submissions of one unit, each kind without end where that makes sense."""

    def __init__(self, cast: Cast, keys: Mapping[str, ExerciseKey], seed: int = 0):
        self.cast, self.keys, self.chance = cast, keys, random.Random(seed)
        self.exercises = cast.exercises
        self.styles: dict[str, list[str]] = {}
        self.shortcuts: dict[str, list[str]] = {}
        self.leaning: dict[str, list[str]] = {item.name: [] for item in self.exercises}
        for item in self.exercises:
            self.styles[item.name] = [item.solution, *self._alternatives(item, False)]
            shortcuts = self._alternatives(item, True)
            if shortcuts:
                self.shortcuts[item.name] = shortcuts
            for name in cast.leans_on(item.name):
                self.leaning[name].append(item.name)

    # Honest work

    def right(self) -> Iterator[MadeSubmission]:
        """Everything right, in ever other styles, with cells of their own."""
        for number in itertools.count():
            sources = {name: styles[number % len(styles)] for name, styles in self.styles.items()}
            if number % 3 == 2:
                loud = [name for name in self.cast.functions if number % len(name) == 0]
                sources |= {name: noisy(sources[name]) for name in loud}
            notebook = answered(self.cast.release, {**sources, **self.words(number)})
            notebook = self.with_scratch(notebook, number)
            yield self.submission(RIGHT, f"right, style {number}", notebook, self.full())

    def misconceptions(self) -> Iterator[MadeSubmission]:
        """One misconception each, in the first of its spellings; the rest right.

        What leans on the mistaken exercise is left out.
        """
        most = max(len(item.misconceptions) for item in self.exercises)
        for index, item in itertools.product(range(most), self.exercises):
            if index < len(item.misconceptions) and item.misconceptions[index].is_first:
                sources = self.cast.solutions | {item.name: self.cast.patched(item, index)}
                marks = self.full() | {item.name: self.mark_of(item.name, index)}
                did = f"{item.name} with {item.misconceptions[index].name}"
                yield self.without(MISCONCEPTION, did, sources, marks, self.leaning[item.name])

    def mixtures(self) -> Iterator[MadeSubmission]:
        """By chance: some right, some mistaken, some left out."""
        for number in itertools.count():
            sources: dict[str, str] = {}
            marks: dict[str, Mark] = {}
            for item in self.exercises:
                leaned_on = self.cast.leans_on(item.name)
                leans_on_wrong = any(marks[name].state is not State.RIGHT for name in leaned_on)
                turn = self.chance.choice(("right", "right", "wrong", "left out"))
                if turn == "left out" or leans_on_wrong:
                    marks[item.name] = Mark(0.0, State.NOT_ATTEMPTED)
                elif turn == "right":
                    sources[item.name] = self.chance.choice(self.styles[item.name])
                    marks[item.name] = self.full()[item.name]
                else:
                    index = self.chance.randrange(len(item.misconceptions))
                    sources[item.name] = self.cast.patched(item, index)
                    marks[item.name] = self.mark_of(item.name, index)
            notebook = self.with_scratch(answered(self.cast.release, sources), number)
            did = "right, mistaken and left out by chance"
            yield self.submission(MIXTURE, did, notebook, marks)

    def stubs(self) -> Iterator[MadeSubmission]:
        """No exercise touched; some wrote an answer or a cell of their own."""
        for number in itertools.count():
            notebook = answered(self.cast.release, {})
            if number > 0:
                notebook = answered(self.cast.release, self.words(number))
                notebook = self.with_scratch(notebook, number)
            yield self.submission(STUB, "no exercise written", notebook, self.none())

    def broken(self) -> Iterator[MadeSubmission]:
        """One exercise that does not parse or that raises, the rest right."""
        for name in itertools.cycle(self.cast.functions):
            solution = self.cast.solutions[name]
            ways = {
                f"a syntax error in {name}": solution + "\nprint(",
                f"an exception in {name}": inserted(solution, ["undefined_name"]),
            }
            for did, source in ways.items():
                sources = self.cast.solutions | {name: source}
                marks = self.full() | {name: Mark(0.0, State.ERROR)}
                yield self.without(BROKEN, did, sources, marks, self.leaning[name])

    def with_shortcuts(self) -> Iterator[MadeSubmission]:
        """Right by a library call that the exercise forbids."""
        for name, sources in self.shortcuts.items():
            answers = self.cast.solutions | {name: sources[0]}
            marks = self.full() | {name: Mark(0.0, State.WRONG)}
            # What leans on a shortcut reaches it too, so it is left out.
            did = f"{name} by a library"
            yield self.without(SHORTCUT, did, answers, marks, self.leaning[name])

    def damaged(self) -> Iterator[MadeSubmission]:
        """Right, in a notebook that lost or doubled something."""
        for number in itertools.count():
            damage = DAMAGES[number % len(DAMAGES)]
            notebook = answered(self.cast.release, self.cast.solutions | self.words(number))
            notebook = self.with_scratch(notebook, number)
            damage(notebook)
            yield self.submission(DAMAGED, said(damage), notebook, self.full())

    # What cannot be graded

    def refused(self) -> Iterator[MadeSubmission]:
        """What is no notebook, or cannot be read."""
        notebook = answered(self.cast.release, self.cast.solutions)
        for write in REFUSALS:
            yield MadeSubmission("", REFUSED, said(write), partial(write, notebook=notebook), {})

    def hostile(self) -> Iterator[MadeSubmission]:
        """What would end, stop or cheat a grader that runs its tests beside the learner's code.

        All of it is bounded.
        """
        function = self.cast.functions[0]
        for did, source in ATTACKS:
            notebook = answered(self.cast.release, self.cast.solutions)
            notebook.cells.insert(1 + self.first_code(notebook), scratch(source))
            yield self.submission(HOSTILE, did, notebook, self.full())
        for did, lines, state in ATTACKS_IN_EXERCISE:
            attacked = inserted(self.cast.solutions[function], lines)
            sources = self.cast.solutions | {function: attacked}
            marks = self.full() | {function: Mark(0.0, state)}
            what = f"{did} in {function}"
            yield self.without(HOSTILE, what, sources, marks, self.leaning[function])
        for did, source in ATTACKS_THAT_REACH:
            yield self.suspected(did, source)
        yield self.forged()

    def suspected(self, did: str, source: str) -> MadeSubmission:
        """Reaches for what no answer needs.

        Beside forbidden shortcuts that is for a person to judge.
        """
        notebook = answered(self.cast.release, self.cast.solutions)
        notebook.cells.insert(1 + self.first_code(notebook), scratch(source))
        marks = self.full()
        for item in self.exercises:
            if item.forbid:
                marks[item.name] = Mark(0.0, State.TAMPERING)
        return self.submission(HOSTILE, did, notebook, marks)

    def forged(self) -> MadeSubmission:
        """Nothing written; the check cells show full marks all the same."""
        notebook = answered(self.cast.release, {})
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code":
                cell.source = "100.0"
                points = {"text/plain": "100.0"}
                shown = nbformat.v4.new_output("execute_result", data=points, execution_count=1)
                cell.outputs = [shown]
        return self.submission(HOSTILE, "forged check cells", notebook, self.none())

    # What they share

    def submission(
        self, kind: str, did: str, notebook: NotebookNode, marks: Mapping[str, Mark]
    ) -> MadeSubmission:
        """A submission of a notebook."""

        def write(folder: Path, unit: str) -> None:
            write_notebook(notebook, folder / f"{unit}.ipynb")

        return MadeSubmission("", kind, did, write, dict(marks))

    def without(
        self,
        kind: str,
        did: str,
        sources: Mapping[str, str],
        marks: Mapping[str, Mark],
        left_out: list[str],
    ) -> MadeSubmission:
        """A submission with some exercises left out."""
        kept = {name: source for name, source in sources.items() if name not in left_out}
        marks = {**marks, **dict.fromkeys(left_out, Mark(0.0, State.NOT_ATTEMPTED))}
        return self.submission(kind, did, answered(self.cast.release, kept), marks)

    def full(self) -> dict[str, Mark]:
        """All points."""
        return {item.name: Mark(item.points, State.RIGHT) for item in self.exercises}

    def none(self) -> dict[str, Mark]:
        """Nothing attempted."""
        return {item.name: Mark(0.0, State.NOT_ATTEMPTED) for item in self.exercises}

    def mark_of(self, name: str, index: int) -> Mark:
        """The mark of a misconception, from what the key says that it gives."""
        key = self.keys[name]
        diagnosis = key.misconceptions[index].name
        if key.answers:
            share = key.points / len(key.answers)
            right = sum(index not in answer.wrong for answer in key.answers.values())
            return Mark(round(share * right, 2), State.WRONG, diagnosis)
        verdict = judge(key, [case.wrong.get(index, case.expected) for case in key.cases])
        return Mark(verdict.points, verdict.state, diagnosis)

    def words(self, number: int) -> dict[str, str]:
        """Written answers."""
        return {name: f"*My {number}th thought on this.*" for name in self.cast.questions()}

    def with_scratch(self, notebook: NotebookNode, number: int) -> NotebookNode:
        """The notebook with a few cells of the learner's own after the set-up."""
        start = 1 + self.first_code(notebook)
        for extra in range(number % 4):
            source = SCRATCH[(number + extra) % len(SCRATCH)].format(number)
            notebook.cells.insert(start + 7 * extra, scratch(source))
        return notebook

    def first_code(self, notebook: NotebookNode) -> int:
        """Where the set-up stands."""
        return next(index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code")

    def _alternatives(self, exercise: Exercise, is_shortcut: bool) -> list[str]:
        path = self.cast.lesson.folder / "wheats.py"
        return [
            source_of_alternative(path, item, exercise.answers)
            for item in self.cast.alternatives
            if item.exercise == exercise.name and item.is_shortcut is is_shortcut
        ]


def scratch(source: str) -> NotebookNode:
    """A code cell of the learner's own."""
    return nbformat.v4.new_code_cell(source)


def said(function: Callable) -> str:
    """What a function does to a notebook, from its name."""
    return function.__name__.replace("_", " ")


# Damage that costs nothing


def checks_of(notebook: NotebookNode) -> list[NotebookNode]:
    """The check cells."""
    found = []
    for cell in notebook.cells:
        flags = cell.metadata.get("nbgrader", {})
        if flags.get("grade") and flags["grade_id"].startswith(CHECK):
            found.append(cell)
    return found


def a_check_deleted(notebook: NotebookNode) -> None:
    notebook.cells.remove(checks_of(notebook)[0])


def a_check_copied(notebook: NotebookNode) -> None:
    check = copy.deepcopy(checks_of(notebook)[1])
    notebook.cells.append(NotebookNode({**check, "id": "a-copied-check"}))


def a_check_edited(notebook: NotebookNode) -> None:
    checks_of(notebook)[-1].source = "print('all is well')"


def points_and_flags_changed(notebook: NotebookNode) -> None:
    checks_of(notebook)[0].metadata["nbgrader"] |= {"points": 99, "locked": False}


def outputs_left_in(notebook: NotebookNode) -> None:
    for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [
            nbformat.v4.new_output("stream", name="stdout", text=f"line {number}\n" * 200)
        ]
        cell.execution_count = number + 1


def written_text_deleted(notebook: NotebookNode) -> None:
    notebook.cells = [
        cell for cell in notebook.cells if cell.cell_type == "code" or "nbgrader" in cell.metadata
    ]


def another_kernel_named(notebook: NotebookNode) -> None:
    notebook.metadata["kernelspec"] = {
        "name": "my-env",
        "display_name": "My environment",
        "language": "python",
    }


DAMAGES = (
    a_check_deleted,
    a_check_copied,
    a_check_edited,
    points_and_flags_changed,
    outputs_left_in,
    written_text_deleted,
    another_kernel_named,
)


# What is refused


def a_symbolic_link(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / f"{unit}.ipynb").symlink_to("/etc/hostname")


def a_folder_in_its_place(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / f"{unit}.ipynb").mkdir()


def a_named_pipe(folder: Path, unit: str, notebook: NotebookNode) -> None:
    os.mkfifo(folder / f"{unit}.ipynb")


def no_notebook_at_all(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / "notes.txt").write_text("I could not make it.", encoding="utf-8")


def an_empty_file(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / f"{unit}.ipynb").touch()


def half_a_notebook(folder: Path, unit: str, notebook: NotebookNode) -> None:
    text = nbformat.writes(notebook)
    (folder / f"{unit}.ipynb").write_text(text[: len(text) // 2], encoding="utf-8")


def no_text(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / f"{unit}.ipynb").write_bytes(b"\xff\xfe\x00" * 1000)


def nested_without_end(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / f"{unit}.ipynb").write_text("[" * 200_000, encoding="utf-8")


def another_kind_of_json(folder: Path, unit: str, notebook: NotebookNode) -> None:
    (folder / f"{unit}.ipynb").write_text('["not", "a", "notebook"]', encoding="utf-8")


def a_notebook_too_large(folder: Path, unit: str, notebook: NotebookNode) -> None:
    with open(folder / f"{unit}.ipynb", "wb") as file:
        file.truncate(30 * 2**20)


REFUSALS = (
    a_symbolic_link,
    a_folder_in_its_place,
    a_named_pipe,
    no_notebook_at_all,
    an_empty_file,
    half_a_notebook,
    no_text,
    nested_without_end,
    another_kind_of_json,
    a_notebook_too_large,
)


# Attacks: what the cell or the exercise does, and, in an exercise, what its check must say.
# tests/redteam has the rest.

CRASH = ("import faulthandler", "faulthandler._sigabrt()")
STUBBORN = """\
while True:
    try:
        while True:
            pass
    except BaseException:
        pass"""
FILLING = """\
with open('big', 'wb') as file:
    for _ in range(500):
        file.write(bytes(2**20))"""
SCRIPT = "<script>alert(4711)</script>"
ATTACKS = (
    ("a loop without end", "while True:\n    pass"),
    ("a sleep without end", "import time\n\ntime.sleep(10**6)"),
    ("a loop that swallows every exception", STUBBORN),
    ("its process crashed", "\n".join(CRASH)),
    ("more memory than allowed", "hoard = [bytearray(2**28) for _ in range(64)]"),
    ("a flood of output", "for _ in range(300):\n    print('all work and no play ' * 5000)"),
    ("a disk filled", FILLING),
    ("an exit", "raise SystemExit(1)"),
    ("endless recursion", "def deeper():\n    return deeper()\n\ndeeper()"),
    ("another meaning of check", "def check(*answers, **named):\n    return 100.0"),
    ("a socket", "import socket\n\nsocket.create_connection(('192.0.2.1', 80), 1)"),
    ("a script in its output", f"from IPython.display import HTML\n\nHTML({SCRIPT!r})"),
)
ATTACKS_THAT_REACH = (
    ("os._exit in a cell", "import os\n\nos._exit(0)"),
    ("its process killed", "import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGKILL)"),
)
EQUALS_ALL = (
    "class Everything:",
    "    def __eq__(self, other):",
    "        return True",
    "    __hash__ = None",
    "return Everything()",
)
ATTACKS_IN_EXERCISE = (
    ("a loop without end", ["while True:", "    pass"], State.TIMEOUT),
    (
        "more memory than allowed",
        ["hoard = [bytearray(2**28) for _ in range(64)]"],
        State.OUT_OF_MEMORY,
    ),
    ("its process crashed", list(CRASH), State.KERNEL_DEATH),
    ("an answer that equals everything", list(EQUALS_ALL), State.WRONG),
    ("NaN for an answer", ["return float('nan')"], State.WRONG),
)


# Classes


def makers_of(folder: Path, unit: str) -> Makers:
    """A course of one unit in an empty folder, and what makes submissions for it.

    nbgrader has released the unit there.
    """
    lesson = set_up(unit, folder)
    release = Classroom(folder).release(unit)
    key = merge(read_key(lesson.folder / VISIBLE), read_key(lesson.folder / HIDDEN))
    return Makers(Cast(lesson, release, load_wheats(lesson.folder / "wheats.py")), key.exercises)


def honest_class(makers: Makers, count: int) -> list[MadeSubmission]:
    """`count` submissions that nobody meant ill with, by turns of every kind."""
    right, mistaken, mixed = makers.right(), makers.misconceptions(), makers.mixtures()
    turns = (
        right,
        mistaken,
        mixed,
        makers.damaged(),
        mistaken,
        right,
        makers.broken(),
        mixed,
        mistaken,
        makers.stubs(),
    )
    return named([next(turn) for turn in itertools.islice(itertools.cycle(turns), count)])


def rehearsal_class(makers: Makers, count: int) -> list[MadeSubmission]:
    """`count` submissions of every kind.

    They hold all misconceptions, refusals and attacks that there are, if these fit in.
    """
    kinds = [
        list(makers.refused()),
        list(makers.hostile()),
        list(makers.misconceptions()),
        list(makers.with_shortcuts()),
        list(itertools.islice(makers.right(), 20)),
        list(itertools.islice(makers.damaged(), 14)),
        list(itertools.islice(makers.broken(), 16)),
        list(itertools.islice(makers.stubs(), 8)),
        list(itertools.islice(makers.mixtures(), 10)),
    ]
    chosen = [item for turn in itertools.zip_longest(*kinds) for item in turn if item is not None]
    chosen += itertools.islice(makers.mixtures(), max(count - len(chosen), 0))
    return named(chosen[:count])


def named(submissions: Sequence[MadeSubmission]) -> list[MadeSubmission]:
    """The submissions with a student each."""
    return [replace(item, student=f"student{number:03}") for number, item in enumerate(submissions)]


def hand_in(folder: Path, unit: str, submissions: Iterable[MadeSubmission]) -> None:
    """Put submissions into the course's folder `submitted/`."""
    for item in submissions:
        place = folder / "submitted" / item.student / unit
        place.mkdir(parents=True)
        item.write(place, unit)
