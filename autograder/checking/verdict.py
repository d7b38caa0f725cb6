"""Verdicts: what the judge says of an exercise, as plain data. Light: nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Hint:
    """A misconception's name and what it should make the learner look at."""

    name: str
    hint: str


class State(StrEnum):
    """What became of a case or of a whole exercise."""

    RIGHT = "right"
    WRONG = "wrong"
    NOT_ATTEMPTED = "not attempted"
    ERROR = "error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out of memory"
    KERNEL_DEATH = "kernel death"
    TAMPERING = "tampering suspected"
    GRADER_FAULT = "grader fault"


class Fit(StrEnum):
    """How a diagnosis explains what came out, the closest first."""

    EXACT = "exact"
    WHERE_IT_RUNS = "where it runs"
    BUT_FOR_DTYPE = "but for the dtype"
    AMONG_OTHERS = "among others"  # other mistakes would give the same


# States that the runner's limits or the grader itself cause, the gravest first, and what they say.
SPECIAL = {
    State.GRADER_FAULT: (
        "the grader failed here, which is no fault of the answer; a person looks at it"
    ),
    State.TAMPERING: "the process that ran this was tampered with; a person looks at it",
    State.KERNEL_DEATH: "the code ended the process that ran it",
    State.OUT_OF_MEMORY: "more memory than is allowed",
    State.TIMEOUT: "longer than is allowed; does a loop never end?",
}


@dataclass(frozen=True)
class CaseVerdict:
    """One row of the report."""

    state: State
    title: str  # the call, or the answer's name
    message: str
    points: float
    hidden: bool = False
    printed: str = ""
    nearly: bool = False  # the values are right, and their dtype is not


@dataclass(frozen=True)
class Verdict:
    """What a check found: rows, points, and the mistake where it is known."""

    exercise: str
    state: State
    points: float
    max_points: float
    cases: tuple[CaseVerdict, ...]
    diagnosis: Hint | None = None
    fit: Fit | None = None  # how well the diagnosis explains the outcomes
    shortcuts: tuple[tuple[str, str], ...] = ()  # forbidden (name, line)
    hints: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether every case is right."""
        return self.state is State.RIGHT
