"""Results: what grading one submission gave, and the folder that keeps them.

A result is plain data. It is written once a submission is through, it is what a re-grade compares
with, and it is all that the class report reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autograder.checking.verdict import CaseVerdict, Fit, Hint, State, Verdict
from autograder.errors import CourseError
from autograder.files import write_safely

FORMAT = 1
FOLDER = ".grading"
BUBBLEWRAP, UNSAFE = "bubblewrap", "unsafe"
SAFE_NAME = re.compile(r"\w[\w .,@+-]{0,99}\Z")  # a folder that is a student
NEEDS_A_PERSON = frozenset({State.TAMPERING, State.GRADER_FAULT})
CUT_SHORT = frozenset({State.TIMEOUT, State.OUT_OF_MEMORY, State.KERNEL_DEATH, State.GRADER_FAULT})


@dataclass(frozen=True)
class CellRun:
    """What running one cell of the notebook gave.

    outputs: nbformat outputs, cut to size, not yet sanitised. state: empty when it ran through,
    else timeout, out of memory, kernel death or tampering suspected.
    """

    outputs: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    state: str = ""


@dataclass(frozen=True)
class Result:
    """What grading one submission gave.

    refused: why it was not graded at all, in one sentence; then there are no verdicts. digest: of
    the submitted bytes. grader: of everything that could change the verdict (unit, grader, limits).
    notes: what was repaired. evidence: signs that somebody tried to reach the grader. sandbox:
    "bubblewrap" or "unsafe".
    """

    student: str
    unit: str
    digest: str = ""
    grader: str = ""
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    cells: Mapping[str, CellRun] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    refused: str = ""
    sandbox: str = BUBBLEWRAP
    seconds: float = 0.0
    peak_memory: int = 0  # bytes
    graded_at: str = ""  # ISO 8601, UTC
    seed: str = ""  # what this run's inputs were drawn from; never leaves the instructor's machine

    @property
    def points(self) -> float:
        """Points earned in all checks; a grader fault counts nothing."""
        return round(sum(verdict.points for verdict in self.verdicts.values()), 2)

    @property
    def max_points(self) -> float:
        """Points that all checks could give."""
        return sum(verdict.max_points for verdict in self.verdicts.values())

    @property
    def waiting(self) -> dict[str, State]:
        """The exercises that a person must look at, and why."""
        return {
            name: verdict.state
            for name, verdict in self.verdicts.items()
            if verdict.state in NEEDS_A_PERSON
        }

    @property
    def is_failed(self) -> bool:
        """Whether grading did not come to its end: refused, or cut short somewhere.

        `--only-failed` takes these.
        """
        return bool(self.refused) or any(
            verdict.state in CUT_SHORT for verdict in self.verdicts.values()
        )


def now() -> str:
    """The time as results hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class ResultStore:
    """The results of a course, one file a submission: `.grading/UNIT/STUDENT.json`."""

    def __init__(self, root: Path):
        self.folder = Path(root) / FOLDER

    def path(self, unit: str, student: str) -> Path:
        """Where a result lies."""
        return self.folder / unit / f"{student}.json"

    def read(self, unit: str, student: str) -> Result | None:
        """The last result of a submission; None where there is none that can be read."""
        try:
            return from_json(json.loads(self.path(unit, student).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, result: Result) -> None:
        """Keep a result, in one step. Raises CourseError when it cannot be written."""
        path = self.path(result.unit, result.student)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise CourseError(
                f"The folder {path.parent} for results could not be made ({error.strerror})."
            ) from error
        write_safely(path, json.dumps(as_json(result), allow_nan=False).encode())

    def all(self, unit: str) -> Iterator[Result]:
        """Every result of a unit that can be read, by student."""
        for path in sorted((self.folder / unit).glob("*.json")):
            result = self.read(unit, path.stem)
            if result is not None:
                yield result


def as_json(result: Result) -> dict[str, Any]:
    """A result as JSON."""
    return {"format": FORMAT, **asdict(result)}


def from_json(data: Mapping[str, Any]) -> Result:
    """A result from JSON.

    Raises KeyError, TypeError, ValueError or AttributeError for what is none.
    """
    data = dict(data)
    if data.pop("format") != FORMAT:
        raise ValueError("a result of another version")
    verdicts = {name: verdict_from_json(item) for name, item in data.pop("verdicts").items()}
    cells = {
        name: CellRun(**{**item, "outputs": tuple(item["outputs"])})
        for name, item in data.pop("cells").items()
    }
    notes, evidence = tuple(data.pop("notes")), tuple(data.pop("evidence"))
    return Result(verdicts=verdicts, cells=cells, notes=notes, evidence=evidence, **data)


def verdict_from_json(data: Mapping[str, Any]) -> Verdict:
    """A verdict from what `asdict` makes of it."""
    verdict = Verdict(**data)
    return replace(
        verdict,
        state=State(verdict.state),
        cases=tuple(
            CaseVerdict(**{**case, "state": State(case["state"])}) for case in data["cases"]
        ),
        diagnosis=Hint(**data["diagnosis"]) if data["diagnosis"] else None,
        fit=Fit(data["fit"]) if data["fit"] else None,
        shortcuts=tuple((name, line) for name, line in data["shortcuts"]),
        hints=tuple(data["hints"]),
    )
