"""The gates on the checks: on the released notebook, does each accept what is right and name what
is wrong?

Validity: no right answer (the solution, the wheats) is refused. Thoroughness: every misconception
is caught and earns its own hint and nobody else's. Mutation score: the share of small automatic
edits of the solution that it refuses.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import nbformat
from nbformat import NotebookNode

from autograder.authoring.lesson import Exercise, Lesson, read_lesson, run_cell
from autograder.authoring.mutate import Mutant, is_equivalent, mutants, unused_equivalents
from autograder.authoring.wheat import Alternative, load_wheats
from autograder.cells import NAMESPACE_TAGS, grader_id, tags
from autograder.checking.checker import Checker
from autograder.checking.judge import judge
from autograder.checking.libraries import ONLY_IN_SOURCE
from autograder.checking.limits import TooSlow, deadline
from autograder.checking.observe import no_logs
from autograder.checking.outcome import Outcome
from autograder.checking.shortcuts import forbidden_in_source
from autograder.checking.verdict import State, Verdict
from autograder.errors import CheckFailed, CourseError
from autograder.units import COURSE, ROOT, SOLUTIONS, chosen_units

MUTATION_FLOOR = 0.9
SECONDS_PER_ANSWER = 5.0  # a mutant that runs longer than this is taken for an endless loop
MEMORY = 6 * 2**30
FEWEST_MISCONCEPTIONS, FEWEST_WHEATS, FEWEST_HINTS = 3, 1, 2
T = TypeVar("T")


@dataclass
class ExerciseQuality:
    """What the gates saw of one exercise."""

    unit: str
    exercise: str
    points: float
    stub_fails: bool = False
    solution_passes: bool = False
    wheats: int = 0
    wheats_passed: int = 0
    misconceptions: int = 0
    misconceptions_caught: int = 0
    misconceptions_diagnosed: int = 0
    mutants: int = 0
    mutants_killed: int = 0
    equivalents: int = 0
    check_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)


@dataclass
class UnitQuality:
    """The figures of one unit."""

    unit: str
    exercises: list[ExerciseQuality]

    @property
    def validity(self) -> float:
        """Share of right answers that are accepted."""
        right = sum(1 + row.wheats for row in self.exercises)
        return sum(row.solution_passes + row.wheats_passed for row in self.exercises) / right

    @property
    def thoroughness(self) -> float:
        """Share of misconceptions that are caught with their own hint."""
        wrong = sum(row.misconceptions for row in self.exercises)
        return sum(row.misconceptions_diagnosed for row in self.exercises) / wrong if wrong else 0.0

    @property
    def mutation_score(self) -> float:
        """Share of mutants, equivalent ones left out, that are refused."""
        made = sum(row.mutants for row in self.exercises)
        return sum(row.mutants_killed for row in self.exercises) / made if made else 0.0

    @property
    def check_seconds(self) -> float:
        """Median time of one check of a right answer."""
        return statistics.median(row.check_seconds for row in self.exercises)

    @property
    def passes(self) -> bool:
        """Whether every gate holds."""
        return (
            not any(row.problems for row in self.exercises)
            and self.mutation_score >= MUTATION_FLOOR
        )


def run_quality(names: Iterable[str] = (), root: Path = ROOT, workers: int = 2) -> QualityReport:
    """Run the gates on the named units, or on all. Raises CourseError for a unit that is not
    built."""
    chosen = chosen_units(names, root)
    if len(chosen) == 1 or workers == 1:
        return QualityReport([unit_quality(unit, root) for unit in chosen])
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(
        min(workers, len(chosen)), mp_context=context, initializer=_limit_memory
    ) as pool:
        return QualityReport(list(pool.map(unit_quality, chosen, [root] * len(chosen))))


def unit_quality(unit: str, root: Path = ROOT) -> UnitQuality:
    """The gates on one unit's released notebook."""
    import torch

    torch.set_num_threads(1)
    lesson = read_lesson(root / SOLUTIONS / unit)
    with contextlib.chdir(_built_folder(unit, root)):
        release = Release(lesson, nbformat.read(f"{unit}.ipynb", as_version=4))
        alternatives = load_wheats(lesson.folder / "wheats.py")
        unknown = {item.exercise for item in alternatives} - set(lesson.exercises)
        if unknown:
            raise CourseError(
                f"{unit}/wheats.py answers {', '.join(sorted(unknown))}, which the lesson does not"
                " have."
            )
        with no_logs():  # once for all cases, of which each would take as long as a small one runs
            rows = [
                exercise_quality(
                    release,
                    exercise,
                    [item for item in alternatives if item.exercise == exercise.name],
                )
                for exercise in lesson.exercises.values()
            ]
    return UnitQuality(unit, rows)


class Release:
    """The released notebook, with the solutions put in, as a namespace in which answers can be
    tried."""

    def __init__(self, lesson: Lesson, notebook: NotebookNode):
        self.lesson = lesson
        self.instructor = Checker(lesson.unit, lesson.folder)  # the hidden cases lie there
        self.cells = {
            grader_id(cell, flag): cell for cell in notebook.cells for flag in ("solution", "grade")
        }
        by_name = {name: self._cell(name) for name in lesson.exercises}
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        for index, cell in enumerate(notebook.cells):
            name = next((name for name, own in by_name.items() if own is cell), None)
            if name is not None:
                run_cell(self.namespace, lesson.exercises[name].solution, f"<{lesson.unit} {name}>")
            elif cell.cell_type == "code" and NAMESPACE_TAGS & tags(cell):
                run_cell(self.namespace, cell.source, f"<{lesson.unit} cell {index}>")

    def stub(self, name: str) -> str:
        """What the learner finds in the exercise's cell."""
        return self._cell(name).source

    def try_source(self, name: str, source: str, label: str) -> Verdict:
        """Put `source` into the exercise's cell, run it and its check cell."""
        return self.run_check(name, self._names_with(name, source, label))

    def try_with_hidden(self, name: str, source: str, label: str) -> Verdict:
        """The same, judged by the hidden cases as well, as an instructor's notebook is."""
        names = self._names_with(name, source, label)
        names["check"] = self.instructor
        return self.run_check(name, names)

    def accepts(self, name: str, source: str, label: str) -> bool:
        """Whether the check cell finds all right where `source` is in the exercise's cell.

        As `try_source(...).is_right`, but the cases after the first wrong one are not run.
        """
        names = self._names_with(name, source, label)
        return self.run_check(name, names, UntilWrong).is_right

    def try_answer(self, name: str, answer: Any) -> Verdict:
        """Bind the exercise's name to `answer` (a mapping for numbers) and run its check cell."""
        exercise = self.lesson.exercises[name]
        bound = answer() if exercise.answers else {name: answer}
        return self.run_check(name, {**self.namespace, **bound})

    def run_check(
        self, name: str, names: dict[str, Any], recorder: type[Recording] | None = None
    ) -> Verdict:
        """Run the released check cell of an exercise in `names`."""
        checker = names["check"] = (recorder or Recording)(names["check"])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(CheckFailed):
            run_cell(names, self._cell(f"check_{name}").source, f"<check of {name}>")
        if checker.last is None:
            raise CourseError(f"{self.lesson.unit}: the cell check_{name} checks nothing.")
        return checker.last

    def _names_with(self, name: str, source: str, label: str) -> dict[str, Any]:
        """The notebook's names, with `source` run in the exercise's place."""
        names = dict(self.namespace)
        with contextlib.suppress(NotImplementedError):  # the stub of a cell that asks for numbers
            run_cell(names, source, f"<{self.lesson.unit} {name} {label}>")
        return names

    def _cell(self, name: str) -> NotebookNode:
        if name not in self.cells:
            unit = self.lesson.unit
            raise CourseError(
                f"{COURSE}/{unit}/{unit}.ipynb has no cell {name}: run `cvcourse build {unit}`."
            )
        return self.cells[name]


class Recording(Checker):
    """The notebook's own checker, remembering its last verdict."""

    def __init__(self, checker: Checker):
        self.__dict__.update(checker.__dict__)
        self.original = checker
        self.last: Verdict | None = None
        checker.key(), checker.probes()  # read once, for every copy
        self.__dict__.update(_key=checker._key, _probes=checker._probes)

    def verdict(
        self, exercise: str, answer: Any, answers: Mapping[str, Any] | None = None
    ) -> Verdict:
        """As the checker's."""
        self.last = super().verdict(exercise, answer, answers)
        return self.last


class UntilWrong(Recording):
    """A checker that looks no further than the first wrong case: enough to know whether all is
    right."""

    def verdict(
        self, exercise: str, answer: Any, answers: Mapping[str, Any] | None = None
    ) -> Verdict:
        """The checker's verdict where that is right; otherwise one on the wrong case alone."""
        entry = self.key().exercises[exercise]
        if entry.answers:
            return super().verdict(exercise, answer, answers)
        outcomes: list[Outcome] = []
        for case in entry.cases:
            alone = replace(entry, cases=(case,))
            outcomes += self.observe(alone, answer)
            self.last = judge(alone, outcomes[-1:])
            if not self.last.is_right:
                return self.last
        self.last = judge(entry, outcomes, forbidden_in_source(answer, entry.forbid))
        return self.last


def exercise_quality(
    release: Release,
    exercise: Exercise,
    alternatives: Sequence[Alternative],
) -> ExerciseQuality:
    """Every gate on one exercise."""
    row = ExerciseQuality(release.lesson.unit, exercise.name, exercise.points)
    _gate_stub(release, exercise, row)
    _gate_solution(release, exercise, row)
    _gate_wheats(release, exercise, [item for item in alternatives if not item.is_shortcut], row)
    _gate_shortcuts(release, exercise, [item for item in alternatives if item.is_shortcut], row)
    _gate_misconceptions(release, exercise, row)
    _gate_hidden(release, exercise, row)
    if row.solution_passes:
        _gate_mutants(release, exercise, row)
    if len(exercise.hints) < FEWEST_HINTS:
        row.problems.append(
            f"has {len(exercise.hints)} hints; at least {FEWEST_HINTS} are asked for"
        )
    return row


def _gate_stub(release: Release, exercise: Exercise, row: ExerciseQuality) -> None:
    verdict = release.try_source(exercise.name, release.stub(exercise.name), "stub")
    row.stub_fails = verdict.state is State.NOT_ATTEMPTED and verdict.points == 0
    if not row.stub_fails:
        row.problems.append(f"the untouched stub is {verdict.state} with {verdict.points:g} points")


def _gate_solution(release: Release, exercise: Exercise, row: ExerciseQuality) -> None:
    start = time.perf_counter()
    verdict = release.try_source(exercise.name, exercise.solution, "solution")
    row.check_seconds = round(time.perf_counter() - start, 4)
    row.solution_passes = verdict.is_right and verdict.points == exercise.points
    if not row.solution_passes:
        row.problems.append(f"the solution is refused: {_why(verdict)}")


def _gate_wheats(
    release: Release, exercise: Exercise, wheats: Sequence[Alternative], row: ExerciseQuality
) -> None:
    row.wheats = len(wheats)
    if row.wheats < FEWEST_WHEATS:
        row.problems.append("has no other right solution in wheats.py")
    refused = wheats_that_are_refused(release, exercise, wheats)
    row.wheats_passed = len(wheats) - len(refused)
    row.problems += refused


def wheats_that_are_refused(
    release: Release, exercise: Exercise, alternatives: Sequence[Alternative]
) -> list[str]:
    """The other right solutions of an exercise that its check refuses, with the reason."""
    problems = []
    for item in alternatives:
        if item.is_shortcut:
            continue
        verdict = release.try_answer(exercise.name, item.answer)
        if not verdict.is_right:
            problems.append(f"the right solution {item.name} is refused: {_why(verdict)}")
    return problems


def _gate_shortcuts(
    release: Release, exercise: Exercise, shortcuts: Sequence[Alternative], row: ExerciseQuality
) -> None:
    """Forbidden shortcuts are found in the source, and at least one by what ran where there is no
    source to read."""
    if bool(exercise.forbid) != bool(shortcuts):
        row.problems.append(
            "`forbid` in exercises.toml and @shortcut in wheats.py go together: one of them is"
            " missing"
        )
    seen_running = False
    for item in shortcuts:
        if not release.try_answer(exercise.name, item.answer).shortcuts:
            row.problems.append(f"the shortcut {item.name} is not refused")
        seen_running |= bool(
            release.try_answer(exercise.name, functools.partial(item.answer)).shortcuts
        )
    if set(exercise.forbid) - ONLY_IN_SOURCE and not seen_running:
        row.problems.append("no shortcut is noticed among the operators that ran")


def _gate_misconceptions(release: Release, exercise: Exercise, row: ExerciseQuality) -> None:
    row.misconceptions = len(exercise.misconceptions)
    mistakes = sum(item.is_first for item in exercise.misconceptions)
    if mistakes < FEWEST_MISCONCEPTIONS:
        row.problems.append(
            f"has {mistakes} misconceptions; at least {FEWEST_MISCONCEPTIONS} are asked for"
        )
    for number, item in enumerate(exercise.misconceptions):
        source = item.apply(exercise.solution, f"{release.lesson.unit}/exercises.toml")
        work = functools.partial(release.try_source, exercise.name, source, f"wrong {number}")
        verdict = _timed(work)
        if verdict is not None and verdict.is_right:  # what only hidden cases show
            verdict = release.try_with_hidden(exercise.name, source, f"wrong {number}")
        caught = verdict is None or not verdict.is_right
        named = verdict.diagnosis.name if verdict is not None and verdict.diagnosis else "nothing"
        row.misconceptions_caught += caught
        row.misconceptions_diagnosed += named == item.name
        if not caught:
            row.problems.append(f"accepts {item.name!r}")
        elif named != item.name:
            row.problems.append(f"takes {item.name!r} for {named!r}")


def _gate_hidden(release: Release, exercise: Exercise, row: ExerciseQuality) -> None:
    """Hidden cases try properties of their own, and so catch a mistake that no other case does."""
    if exercise.answers:  # numbers have no cases
        return
    if not exercise.properties:
        row.problems.append("`properties` does not say what its hidden cases add")
    cases = release.instructor.key().exercises[exercise.name].cases
    released = {index for case in cases if not case.hidden for index in case.wrong}
    hidden = {index for case in cases if case.hidden for index in case.wrong}
    if not hidden - released:
        row.problems.append("no misconception is caught by its hidden cases alone")


def _gate_mutants(release: Release, exercise: Exercise, row: ExerciseQuality) -> None:
    made = mutants(exercise.solution)
    stale = unused_equivalents(made, exercise.equivalents)
    row.problems += [
        f"no mutant is {entry['line']!r} -> {entry['becomes']!r}: remove the mark"
        for entry in stale
    ]
    for mutant in made:
        if is_equivalent(mutant, exercise.equivalents):
            row.equivalents += 1
            continue
        row.mutants += 1
        if survives(release, exercise, mutant):
            row.survivors.append(f"{mutant.operator}\n{mutant.diff}")
        else:
            row.mutants_killed += 1


def survives(release: Release, exercise: Exercise, mutant: Mutant) -> bool:
    """Whether the check accepts a mutant."""
    try:
        work = functools.partial(release.accepts, exercise.name, mutant.source, "mutant")
        return bool(_timed(work))
    except Exception:  # it does not even define the exercise
        return False


def _timed(work: Callable[[], T]) -> T | None:
    """What `work` gives, or None where it takes too long."""
    try:
        with deadline(SECONDS_PER_ANSWER):
            return work()
    except TooSlow:
        return None


def _why(verdict: Verdict) -> str:
    if verdict.shortcuts:
        return f"uses {', '.join(name for name, _ in verdict.shortcuts)}"
    first = next((case for case in verdict.cases if case.state is not State.RIGHT), None)
    return f"{first.title}: {first.message}" if first else str(verdict.state)


def _built_folder(unit: str, root: Path) -> Path:
    folder = root / COURSE / unit
    if not (folder / f"{unit}.ipynb").exists():
        raise CourseError(f"{COURSE}/{unit} is not built: run `cvcourse build {unit}`.")
    return folder


def _limit_memory() -> None:
    """A mutant may ask for any amount of memory; it gets an exception instead."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


@dataclass
class QualityReport:
    """The figures of several units: rows for machines, a table for people."""

    units: list[UnitQuality]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Plain data, one mapping an exercise."""
        return [asdict(row) for unit in self.units for row in unit.exercises]

    @property
    def passed(self) -> bool:
        """Whether every gate of every unit holds."""
        return all(unit.passes for unit in self.units)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Print tables, then what to mend, then the survivors with their diffs."""
        for unit in self.units:
            yield _table(unit)
            yield (
                f"validity {unit.validity:.0%}, thoroughness {unit.thoroughness:.0%}, "
                f"mutation score {unit.mutation_score:.1%} (floor {MUTATION_FLOOR:.0%}), "
                f"median check {1000 * unit.check_seconds:.0f} ms: "
                + ("all gates hold" if unit.passes else "to mend")
            )
            yield from (
                f"  {row.exercise} {problem}" for row in unit.exercises for problem in row.problems
            )
            for row in unit.exercises:
                yield from (_survivor(row.exercise, survivor) for survivor in row.survivors)
            yield ""


def _table(unit: UnitQuality) -> Any:
    from rich.table import Table

    table = Table(title=unit.unit, title_justify="left", box=None, pad_edge=False)
    headings = (
        "exercise",
        "points",
        "stub",
        "solution",
        "wheats",
        "misconceptions",
        "mutants",
        "equivalent",
        "check",
    )
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading == "exercise" else "right", no_wrap=True
        )
    for row in unit.exercises:
        table.add_row(
            row.exercise,
            f"{row.points:g}",
            "fails" if row.stub_fails else "PASSES",
            "passes" if row.solution_passes else "FAILS",
            f"{row.wheats_passed}/{row.wheats}",
            f"{row.misconceptions_diagnosed}/{row.misconceptions}",
            f"{row.mutants_killed}/{row.mutants}",
            f"{row.equivalents}",
            f"{1000 * row.check_seconds:.0f} ms",
        )
    return table


def _survivor(exercise: str, survivor: str) -> Any:
    from rich.text import Text

    return Text(f"  survivor of {exercise}: {survivor}".replace("\n", "\n    "))
