"""What there is to do in a grading run: who handed in, and whose earlier result still holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.checking.verdict import State
from autograder.errors import CourseError
from autograder.grading.intake import Submitted, take_in
from autograder.grading.result import Result, ResultStore
from autograder.units import COURSE
from autograder.words import listed

if TYPE_CHECKING:
    from autograder.grading.grade import Options

SUBMITTED = "submitted"


@dataclass
class Work:
    """The submissions of a run: those to run, those whose kept result holds, and those refused."""

    to_run: list[Submitted] = field(default_factory=list)
    to_keep: list[tuple[Submitted, Result]] = field(default_factory=list)
    refused: list[Submitted] = field(default_factory=list)


@dataclass(frozen=True)
class WorkFinder:
    """Finds what there is to do for a unit. grader: digest of what could change a verdict."""

    root: Path
    unit: str
    options: Options
    results: ResultStore
    grader: str

    def find(self) -> Work:
        """What there is to do. Raises CourseError where nobody handed in."""
        work = Work()
        for submitted in self.submissions():
            kept = self.results.read(self.unit, submitted.student)
            item = self.still_refused(submitted, kept)
            if item.refused:
                work.refused.append(item)
            elif kept is None or self.is_to_run(item, kept):
                work.to_run.append(item)
            else:
                work.to_keep.append((item, kept))
        return work

    def submissions(self) -> list[Submitted]:
        """The submissions that were asked for, with notes on files that are the same.

        Raises CourseError where nobody handed in.
        """
        folder = self.root / SUBMITTED
        taken = list(take_in(folder, self.unit, self.options.students))
        if not taken:
            raise CourseError(
                f"Nobody handed in {self.unit}: {SUBMITTED}/STUDENT/{self.unit}/ is where it"
                " belongs."
            )
        if self.options.only_failed:
            taken = [item for item in taken if self.has_failed(item.student)]
        released = self.root / COURSE / self.unit / f"{self.unit}.ipynb"
        return with_duplicates_noted(taken, released.read_bytes() if released.is_file() else b"")

    def has_failed(self, student: str) -> bool:
        """Whether the last grading of a submission was cut short, or there was none."""
        result = self.results.read(self.unit, student)
        return result is None or result.is_failed

    def still_refused(self, item: Submitted, kept: Result | None) -> Submitted:
        """The submission, refused as the last time where neither it nor the grader has changed."""
        if item.refused or kept is None or self.options.again or not self.is_same(item, kept):
            return item
        return replace(item, refused=kept.refused)

    def is_to_run(self, item: Submitted, kept: Result) -> bool:
        """Whether a submission must be run although there is a result of it."""
        if self.options.again or self.options.only_failed:
            return True
        return not self.is_same(item, kept) or State.GRADER_FAULT in kept.waiting.values()

    def is_same(self, item: Submitted, kept: Result) -> bool:
        """Whether a kept result is of this very submission and grader."""
        return (kept.digest, kept.grader) == (item.digest, self.grader)


def with_duplicates_noted(taken: Sequence[Submitted], untouched: bytes) -> list[Submitted]:
    """The submissions; those that are the same file to the byte say so.

    untouched: the released notebook, which any number of learners may hand in.
    """
    by_digest: dict[str, list[str]] = {}
    for item in taken:
        by_digest.setdefault(item.digest, []).append(item.student)

    def noted(item: Submitted) -> Submitted:
        others = [name for name in by_digest[item.digest] if name != item.student]
        if not others or item.data in (b"", untouched):
            return item
        return replace(item, same_as=listed(others, most=3))

    return [noted(item) for item in taken]
