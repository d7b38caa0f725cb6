"""Grading a unit: from the folder `submitted/` to the gradebook, whatever is in it.

Workers only run submissions; this process judges and is the one that writes. Each submission is
kept as soon as it is through, so a run that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import CourseError
from autograder.grading.align import Aligned, align
from autograder.grading.errors import SubmissionError
from autograder.grading.intake import Refused, Submitted, cells_of, is_safe, take_in
from autograder.grading.materials import (
    Unit,
    digest_of_text,
    fresh_key,
    grader_digest,
    make_kit,
    new_secret,
)
from autograder.grading.result import BUBBLEWRAP, UNSAFE, Result, Results, now
from autograder.grading.workers import Cluster, Ended, Lanes, Settings
from autograder.sandbox.bubblewrap import Limits
from autograder.units import COURSE

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from traitlets.config import Config

    from autograder.checking.key import Key
    from autograder.grading.gradebook import GradebookWriter
    from autograder.grading.materials import Kit

SUBMITTED = "submitted"


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

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody must look at something."""
        return bool(self.problems) or any(result.waiting for result in self.results)


Listener = Callable[[int, int, str], None]  # how many are through, of how many, the last one's name


def grade_unit(
    root: Path, unit: str, options: Options | None = None, listener: Listener | None = None
) -> Graded:
    """Grade the submissions of a unit. Raises CourseError where none can be graded; one bad
    submission never does."""
    return Run(Path(root).resolve(), unit, options or Options(), listener).grade()


@dataclass
class Bench:
    """What submissions of one unit are graded with: a place to run, and inputs drawn from one
    secret."""

    lanes: Lanes | Cluster
    secret: str = ""
    key: Key | None = None
    kit: Kit | None = None


class Warm:
    """Benches that outlive a run, for a process that grades one submission after the other. Close
    it."""

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
            self._benches.popitem()[1].lanes.close()


class Run:
    """One run over a class. config: nbgrader's, where a command of its own asks. warm: keeps the
    sandbox afterwards."""

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
        self.unit = Unit(root, unit)
        self.results = Results(root)
        self.listener = listener or (lambda done, total, student: None)
        self.graded = Graded()
        self._writer: GradebookWriter | None = None
        self.grader = digest_of_text(
            grader_digest(), self.unit.digest, repr(options.limits), str(options.unsafe)
        )

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
            if self._writer is not None:
                self._writer.close()

    def _grade(self) -> Graded:
        taken = self.taken()
        kept = {item.student: self.results.read(self.unit.name, item.student) for item in taken}
        taken = [self.still_refused(item, kept[item.student]) for item in taken]
        changed = [item for item in taken if self.is_to_run(item, kept[item.student])]
        # First of all, for it takes the longest to start.
        bench = self._warm.get(self.grader, lambda: Bench(self.lanes())) if changed else None
        self.open_gradebook()
        for item in taken:
            if item not in changed and not item.refused:
                self.keep(kept[item.student], item)
        self.refuse([item for item in taken if item.refused])
        if bench is not None:
            self.run(bench, changed)
        self.graded.results.sort(key=lambda result: result.student)
        self.graded.seconds = time.monotonic() - self.begun
        return self.graded

    # What there is to do

    def taken(self) -> list[Submitted]:
        """The submissions that were asked for, with notes on files that are the same."""
        folder = self.root / SUBMITTED
        taken = list(take_in(folder, self.unit.name, self.options.students))
        if not taken:
            raise CourseError(
                f"Nobody handed in {self.unit.name}: {SUBMITTED}/STUDENT/{self.unit.name}/ is where"
                " it belongs."
            )
        if self.options.only_failed:
            taken = [item for item in taken if self.has_failed(item.student)]
        released = self.root / COURSE / self.unit.name / f"{self.unit.name}.ipynb"
        return with_duplicates_noted(taken, released.read_bytes() if released.is_file() else b"")

    def has_failed(self, student: str) -> bool:
        """Whether the last grading of a submission did not come to its end, or there was none."""
        result = self.results.read(self.unit.name, student)
        return result is None or result.is_failed

    def still_refused(self, item: Submitted, kept: Result | None) -> Submitted:
        """The submission; refused for the reason of the last time where neither it nor the grader
        has changed."""
        if item.refused or kept is None or self.options.again or not self.is_same(item, kept):
            return item
        return replace(item, refused=kept.refused)

    def is_same(self, item: Submitted, kept: Result) -> bool:
        """Whether a kept result is of this very submission and grader."""
        return (kept.digest, kept.grader) == (item.digest, self.grader)

    def is_to_run(self, item: Submitted, kept: Result | None) -> bool:
        """Whether a submission must be run: it is new, or it or the grader has changed."""
        if item.refused:
            return False
        same = kept is not None and self.is_same(item, kept)
        has_fault = kept is not None and any(
            state == "grader fault" for state in kept.waiting.values()
        )
        return not same or has_fault or self.options.again or self.options.only_failed

    # Without running anything

    def open_gradebook(self) -> None:
        """Open the gradebook. Raises GradebookError where the unit was never released, or it cannot
        be used."""
        from autograder.grading.gradebook import GradebookWriter

        options = self.options
        self._writer = GradebookWriter(
            self.root, self.unit.name, options.db_url, options.add_students, config=self.config
        )
        self._writer.released()

    def keep(self, result: Result, item: Submitted) -> None:
        """A result that is still good: write it again only where the gradebook does not hold it."""
        if self._writer.holds(result):
            self.graded.unchanged += 1
            self.graded.results.append(result)
            return
        aligned = self.aligned(item)
        if self.write(result, aligned):
            self.graded.rewritten += 1

    def refuse(self, items: Iterable[Submitted]) -> None:
        """Write down who was refused, and why."""
        for item in items:
            result = self.result_for(item, refused=item.refused)
            self.graded.problems[item.student] = item.refused
            self.graded.results.append(result)
            if is_safe(item.student):  # no other may name a file
                self.results.write(result)

    # Running

    def lanes(self) -> Lanes | Cluster:
        """Where submissions run."""
        hidden = tuple(
            self.root / name
            for name in ("solutions", "gradebook.db", SUBMITTED, "autograded", ".grading")
        )
        settings = Settings(
            self.options.limits, self.options.unsafe, tuple(self.unit.imports), hidden
        )
        return (
            Cluster(settings, self.options.cluster)
            if self.options.cluster
            else Lanes(settings, self.options.workers)
        )

    def ready(self, bench: Bench) -> Bench:
        """The bench with inputs drawn and its sandbox proven, at the first use. Raises
        CourseError."""
        if bench.key is None:
            bench.secret = new_secret()
            bench.key = fresh_key(self.unit, bench.secret)
            bench.kit = make_kit(self.unit, bench.key, bench.secret)
            bench.lanes.wait_until_ready()
        return bench

    def run(self, bench: Bench, items: list[Submitted]) -> None:
        """Run, judge and write, one submission after the other as they come."""
        jobs = {
            item.student: aligned for item in items if (aligned := self.aligned_or_refused(item))
        }
        by_student = {item.student: item for item in items}
        self.ready(bench)
        left = set(jobs)
        try:
            for ended in bench.lanes.run(
                bench.kit, {student: aligned.cells for student, aligned in jobs.items()}
            ):
                item, aligned = by_student[ended.student], jobs[ended.student]
                result = replace(self.judged(bench.key, item, aligned, ended), seed=bench.secret)
                self.write(result, aligned)
                left.discard(ended.student)
                self.graded.run += 1
                self.graded.seconds_to_first = (
                    self.graded.seconds_to_first or time.monotonic() - self.begun
                )
                self.listener(len(jobs) - len(left), len(jobs), ended.student)
        except KeyboardInterrupt:
            self.graded.interrupted = len(left)

    def aligned_or_refused(self, item: Submitted) -> Aligned | None:
        """A submission's cells in line with the release; None where there are none, which is
        written down."""
        try:
            return self.aligned(item)
        except Refused as refusal:
            why = str(refusal)
        except CourseError:  # the unit's, not the submission's
            raise
        except Exception as error:  # a fault of ours; the next submission is not to suffer for it
            why = (
                f"the grader could not read it ({type(error).__name__}: {error}): please report"
                " that"
            )
        self.refuse([replace(item, refused=why)])
        return None

    def aligned(self, item: Submitted) -> Aligned:
        """A submission's cells in line with the release. Raises Refused."""
        aligned = align(cells_of(item.data, f"{self.unit.name}.ipynb"), self.unit.release)
        return replace(aligned, notes=(*item.notes, *aligned.notes))

    def judged(self, key: Key, item: Submitted, aligned: Aligned, ended: Ended) -> Result:
        """The result of a submission that left its lane."""
        from autograder.grading.verdicts import all_faulty, verdicts_of

        if ended.transcript is None:
            return self.result_for(
                item,
                verdicts=all_faulty(key),
                notes=(*aligned.notes, f"Grader fault: {ended.fault}"),
            )
        transcript = ended.transcript
        try:
            verdicts = verdicts_of(key, aligned.cells, transcript)
        except (
            Exception
        ) as error:  # a fault of the judge's; the next submission is not to suffer for it
            fault = f"Grader fault: {type(error).__name__}: {error}"
            return self.result_for(item, verdicts=all_faulty(key), notes=(*aligned.notes, fault))
        return self.result_for(
            item,
            verdicts=verdicts,
            cells=transcript.cells,
            notes=aligned.notes,
            evidence=(*same_file(item), *transcript.evidence),
            seconds=round(transcript.seconds, 3),
            peak_memory=transcript.peak_memory,
        )

    def result_for(self, item: Submitted, **found: Any) -> Result:
        """A result with what is the same for all of this run."""
        sandbox = UNSAFE if self.options.unsafe else BUBBLEWRAP
        return Result(
            item.student,
            self.unit.name,
            item.digest,
            self.grader,
            sandbox=sandbox,
            graded_at=now(),
            **found,
        )

    def write(self, result: Result, aligned: Aligned) -> bool:
        """Keep a result and write it to the gradebook; returns whether that could be done."""
        self.results.write(result)
        self.graded.results.append(result)
        try:
            notes = self._writer.write(result, self.dressed(result, aligned))
        except SubmissionError as error:
            self.graded.problems[result.student] = str(error)
            return False
        if notes:
            self.graded.notes[result.student] = list(notes)
        return True

    def dressed(self, result: Result, aligned: Aligned) -> NotebookNode:
        """The graded notebook. Raises SubmissionError where none can be made: the others are not to
        suffer for it."""
        from autograder.grading.graded_notebook import dressed

        try:
            return dressed(aligned.cells, result)
        except Exception as error:
            raise SubmissionError(
                f"The grader could make no graded notebook ({type(error).__name__}: {error}):"
                " please report that."
            ) from error


def same_file(item: Submitted) -> list[str]:
    """For the instructor, who is not to tell one student of another: who handed in the same
    file."""
    return [f"the same file to the byte as that of {item.same_as}"] if item.same_as else []


def with_duplicates_noted(taken: list[Submitted], untouched: bytes) -> list[Submitted]:
    """The submissions; where several are the same file to the byte, and not the untouched one, each
    says so."""
    by_digest: dict[str, list[str]] = {}
    for item in taken:
        by_digest.setdefault(item.digest, []).append(item.student)

    def noted(item: Submitted) -> Submitted:
        others = [name for name in by_digest[item.digest] if name != item.student]
        if not others or item.data in (b"", untouched):
            return item
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        return replace(item, same_as=named)

    return [noted(item) for item in taken]
