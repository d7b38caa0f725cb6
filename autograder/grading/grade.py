"""Grading a unit: from the folder `submitted/` to the gradebook, whatever is in it.

Workers only run submissions; this process judges and is the one that writes. Each submission is
kept as soon as it is through, so a run that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import CourseError
from autograder.grading.align import Aligned, align
from autograder.grading.errors import SubmissionError, fault_in_words, to_report
from autograder.grading.intake import Refused, Submitted, cells_of, is_safe
from autograder.grading.materials import (
    Unit,
    digest_of_text,
    fresh_key,
    grader_digest,
    make_materials,
    new_secret,
)
from autograder.grading.result import BUBBLEWRAP, UNSAFE, Result, ResultStore, now
from autograder.grading.work import SUBMITTED, WorkFinder
from autograder.grading.workers import Cluster, Ended, Workers, WorkerSettings
from autograder.sandbox.bubblewrap import Limits

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from traitlets.config import Config

    from autograder.checking.key import Key
    from autograder.grading.gradebook import GradebookWriter
    from autograder.grading.materials import Materials


@dataclass(frozen=True)
class Options:
    """What `cvcourse grade` was asked for."""

    students: tuple[str, ...] = ()
    only_failed: bool = False
    again: bool = False  # run even what is unchanged
    limits: Limits = field(default_factory=Limits)
    workers: int = 0  # one a core
    cluster: str = ""
    unsafe: bool = False
    db_url: str | None = None
    add_students: bool = False


@dataclass
class Graded:
    """What a run did. problems: by student, why nothing could be written."""

    results: list[Result] = field(default_factory=list)
    run: int = 0  # submissions, as the next two
    unchanged: int = 0  # their results were in the gradebook already
    rewritten: int = 0  # and these were put there again
    problems: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    seconds_to_first: float = 0.0
    interrupted: int = 0  # submissions that were left when somebody stopped the run

    def count(self, seconds: float) -> None:
        """One more submission is through, so many seconds after the run began."""
        self.run += 1
        self.seconds_to_first = self.seconds_to_first or seconds

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody must look at something."""
        return bool(self.problems) or any(result.waiting for result in self.results)


Listener = Callable[[int, int, str], None]  # how many are through, of how many, the last one's name


def grade_unit(
    root: Path, unit: str, options: Options | None = None, listener: Listener | None = None
) -> Graded:
    """Grade the submissions of a unit.

    listener: called when a submission is through. Raises CourseError where none can be graded; one
    bad submission never does.
    """
    return GradingRun(Path(root).resolve(), unit, options or Options(), listener).grade()


@dataclass(frozen=True)
class Drawn:
    """A unit's inputs, drawn from one secret: what is right for them, and what the sandbox gets."""

    secret: str
    key: Key
    materials: Materials


@dataclass
class Bench:
    """What submissions of one unit are graded with: a place to run, and drawn inputs."""

    workers: Workers | Cluster
    drawn: Drawn | None = None

    def ready(self, unit: Unit) -> Drawn:
        """The inputs: drawn, and the sandbox proven, at the first use. Raises CourseError."""
        if self.drawn is None:
            secret = new_secret()
            key = fresh_key(unit, secret)
            self.drawn = Drawn(secret, key, make_materials(unit, key, secret))
            self.workers.wait_until_ready()
        return self.drawn


class Warm:
    """Benches that outlive a run, for a process that grades one submission after the other.

    Close it.
    """

    def __init__(self) -> None:
        self._benches: dict[str, Bench] = {}

    def get(self, name: str, make: Callable[[], Bench]) -> Bench:
        """The bench of this name, made at the first use; those of other names are closed."""
        if name not in self._benches:
            self.close()
            self._benches[name] = make()
        return self._benches[name]

    def close(self) -> None:
        """End every sandbox."""
        while self._benches:
            self._benches.popitem()[1].workers.close()


class GradingRun:
    """One run over a class.

    config: nbgrader's, where a command of its own asks. warm: keeps the sandbox afterwards.
    """

    _writer: GradebookWriter

    def __init__(
        self,
        root: Path,
        unit: str,
        options: Options,
        listener: Listener | None = None,
        config: Config | None = None,
        warm: Warm | None = None,
    ):
        self.begun = time.monotonic()
        self.root, self.options, self.config = root, options, config
        self._own = warm is None
        self._warm = warm or Warm()
        self._opened = contextlib.ExitStack()
        self.unit = Unit(root, unit)
        self.results = ResultStore(root)
        self.listener = listener or no_listener
        self.graded = Graded()
        self.grader = digest_of_text(
            grader_digest(), self.unit.digest, repr(options.limits), str(options.unsafe)
        )
        self.make = ResultMaker(unit, self.grader, UNSAFE if options.unsafe else BUBBLEWRAP)

    def grade(self) -> Graded:
        """All of it. Raises CourseError where no submission can be graded."""
        try:
            return self._grade()
        except CourseError:
            self._warm.close()
            raise
        finally:
            if self._own:
                self._warm.close()
            self._opened.close()

    def _grade(self) -> Graded:
        finder = WorkFinder(self.root, self.unit.name, self.options, self.results, self.grader)
        work = finder.find()
        bench = self.bench() if work.to_run else None  # first of all: it takes the longest to start
        self.open_gradebook()
        for item, kept in work.to_keep:
            self.keep(kept, item)
        self.refuse(work.refused)
        if bench is not None:
            self.run(bench, work.to_run)
        self.graded.results.sort(key=lambda result: result.student)
        self.graded.seconds = time.monotonic() - self.begun
        return self.graded

    # Without running anything

    def open_gradebook(self) -> None:
        """Open the gradebook. Raises GradebookError where the unit was never released."""
        from autograder.grading.gradebook import GradebookWriter

        options = self.options
        self._writer = self._opened.enter_context(
            GradebookWriter(
                self.root, self.unit.name, options.db_url, options.add_students, config=self.config
            )
        )
        self._writer.released()

    def keep(self, result: Result, item: Submitted) -> None:
        """A result that is still good: write it again only where the gradebook does not hold it."""
        if self._writer.holds(result):
            self.graded.unchanged += 1
            self.graded.results.append(result)
        elif self.write(result, self.aligned(item)):
            self.graded.rewritten += 1

    def refuse(self, items: Iterable[Submitted]) -> None:
        """Write down who was refused, and why."""
        for item in items:
            result = self.make.result(item, refused=item.refused)
            self.graded.problems[item.student] = item.refused
            self.graded.results.append(result)
            if is_safe(item.student):  # no other may name a file
                self.results.write(result)

    # Running

    def bench(self) -> Bench:
        """What submissions are graded with; a warm one where there is one."""
        return self._warm.get(self.grader, lambda: Bench(self.workers()))

    def workers(self) -> Workers | Cluster:
        """Where submissions run."""
        options = self.options
        names = ("solutions", "gradebook.db", SUBMITTED, "autograded", ".grading")
        hidden = tuple(self.root / name for name in names)
        settings = WorkerSettings(options.limits, options.unsafe, tuple(self.unit.imports), hidden)
        if options.cluster:
            return Cluster(settings, options.cluster)
        return Workers(settings, options.workers)

    def run(self, bench: Bench, items: Sequence[Submitted]) -> None:
        """Run, judge and write, one submission after the other as they come."""
        jobs = self.jobs(items)
        by_student = {item.student: item for item in items}
        drawn = bench.ready(self.unit)
        left = set(jobs)
        cells = {student: aligned.cells for student, aligned in jobs.items()}
        try:
            for ended in bench.workers.run(drawn.materials, cells):
                item, aligned = by_student[ended.student], jobs[ended.student]
                result = self.make.judged(drawn.key, item, aligned, ended)
                self.write(replace(result, seed=drawn.secret), aligned)
                left.discard(ended.student)
                self.graded.count(time.monotonic() - self.begun)
                self.listener(len(jobs) - len(left), len(jobs), ended.student)
        except KeyboardInterrupt:
            self.graded.interrupted = len(left)

    def jobs(self, items: Iterable[Submitted]) -> dict[str, Aligned]:
        """The aligned submissions by student; those that cannot be read are refused."""
        jobs = {}
        for item in items:
            try:
                jobs[item.student] = self.aligned(item)
            except Refused as refusal:
                self.refuse([replace(item, refused=str(refusal))])
            except CourseError:  # the unit's, not the submission's
                raise
            except Exception as error:
                why = to_report("the grader could not read it", error)
                self.refuse([replace(item, refused=why)])
        return jobs

    def aligned(self, item: Submitted) -> Aligned:
        """A submission's cells in line with the release. Raises Refused."""
        aligned = align(cells_of(item.data, f"{self.unit.name}.ipynb"), self.unit.release)
        return replace(aligned, notes=(*item.notes, *aligned.notes))

    # Writing

    def write(self, result: Result, aligned: Aligned) -> bool:
        """Keep a result and write it to the gradebook; returns whether that could be done."""
        self.results.write(result)
        self.graded.results.append(result)
        try:
            notes = self._writer.write(result, notebook_of(result, aligned))
        except SubmissionError as error:
            self.graded.problems[result.student] = str(error)
            return False
        if notes:
            self.graded.notes[result.student] = list(notes)
        return True


def no_listener(done: int, total: int, student: str) -> None:
    """For a run that nobody listens to."""


def notebook_of(result: Result, aligned: Aligned) -> NotebookNode:
    """The graded notebook. Raises SubmissionError where the grader fails to make one."""
    from autograder.grading.graded_notebook import graded_notebook

    try:
        return graded_notebook(aligned.cells, result)
    except Exception as error:
        what = to_report("The grader could make no graded notebook", error)
        raise SubmissionError(f"{what}.") from error


@dataclass(frozen=True)
class ResultMaker:
    """Makes the results of a run. grader: digest of what could change a verdict."""

    unit: str
    grader: str
    sandbox: str

    def result(self, item: Submitted, **found: Any) -> Result:
        """A result with what is the same for all of this run."""
        return Result(
            item.student,
            self.unit,
            item.digest,
            self.grader,
            sandbox=self.sandbox,
            graded_at=now(),
            **found,
        )

    def judged(self, key: Key, item: Submitted, aligned: Aligned, ended: Ended) -> Result:
        """The result of a submission that came back from a worker."""
        from autograder.grading.verdicts import verdicts_of

        transcript = ended.transcript
        if transcript is None:
            return self.faulty(key, item, aligned, ended.fault)
        try:
            verdicts = verdicts_of(key, aligned.cells, transcript)
        except Exception as error:  # the judge's; the next submission is not to suffer for it
            return self.faulty(key, item, aligned, fault_in_words(error))
        return self.result(
            item,
            verdicts=verdicts,
            cells=transcript.cells,
            notes=aligned.notes,
            evidence=(*same_file(item), *transcript.evidence),
            seconds=round(transcript.seconds, 3),
            peak_memory=transcript.peak_memory,
        )

    def faulty(self, key: Key, item: Submitted, aligned: Aligned, fault: str) -> Result:
        """The result of a submission that the grader itself failed on."""
        from autograder.grading.verdicts import all_faulty

        notes = (*aligned.notes, f"Grader fault: {fault}")
        return self.result(item, verdicts=all_faulty(key), notes=notes)


def same_file(item: Submitted) -> list[str]:
    """Who handed in the same file: for the instructor, not for one student about another."""
    return [f"the same file to the byte as that of {item.same_as}"] if item.same_as else []
