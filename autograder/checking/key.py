"""Answer keys: inputs, expected outcomes, and what each misconception gives.

Data only: no code, and no plain answer to a question that asks for a number. How a key lies on the
disk is told in `key_files`.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from autograder.checking.outcome import Outcome
from autograder.checking.verdict import Hint
from autograder.errors import CourseError

# The two keys of a unit by the files of their numbers. The text of each lies beside it.
VISIBLE, HIDDEN = "key.safetensors", "hidden.safetensors"
# scrypt's n: about 10 ms a guess, so that nobody reads small whole numbers off the key.
HASH_COST = 2**12


class KeyProblem(CourseError):
    """The answer key is missing, damaged, or from another version of the course."""


@dataclass(frozen=True)
class CaseKey:
    """One case: its inputs, what is right, and what each misconception gives.

    A misconception that gives what is right has no entry in `wrong`.
    """

    probe: str
    values: Any
    dtype: str
    seed: int
    hidden: bool
    inputs: tuple[Tensor, ...]
    expected: Outcome
    wrong: Mapping[int, Outcome]


@dataclass(frozen=True)
class ProbeRule:
    """How a probe's cases are judged, and their worth beside the exercise's other probes."""

    rtol: Mapping[str, float]
    atol: Mapping[str, float]
    law: bool
    weight: float


@dataclass(frozen=True)
class AnswerKey:
    """A numeric answer as a salted hash, with the hashes of known wrong ones by misconception."""

    kind: str  # "whole number", "number" or "truth value"
    digits: int
    salt: str
    digest: str
    wrong: Mapping[int, str]


@dataclass(frozen=True)
class ExerciseKey:
    """Everything that a check of one exercise needs."""

    name: str
    points: float
    hints: tuple[str, ...]
    forbid: tuple[str, ...]
    misconceptions: tuple[Hint, ...]
    probes: Mapping[str, ProbeRule] = field(default_factory=dict)
    cases: tuple[CaseKey, ...] = ()
    answers: Mapping[str, AnswerKey] = field(default_factory=dict)


@dataclass(frozen=True)
class Key:
    """A unit's answer key."""

    unit: str
    course: str  # version of the course that wrote it
    source: str  # digest of the four source files
    release: str  # digest of the released notebook's cells
    probes: str  # digest of probes.py
    exercises: Mapping[str, ExerciseKey]


@functools.lru_cache(maxsize=10_000, typed=True)
def hash_answer(value: bool | int | float, salt: str, digits: int) -> str:
    """Salted digest of an answer; floats count to `digits` significant digits."""
    text = f"{value:.{digits - 1}e}" if isinstance(value, float) else repr(value)
    return hashlib.scrypt(text.encode(), salt=salt.encode(), n=HASH_COST, r=8, p=1, dklen=16).hex()


def nearby(value: bool | int | float, digits: int) -> list[bool | int | float]:
    """The answer and, for floats, its neighbours in the last significant digit.

    So rounding decides nothing.
    """
    if not isinstance(value, float) or value == 0 or not math.isfinite(value):
        return [value]
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return [value, value - step, value + step]


def merge(visible: Key, hidden: Key) -> Key:
    """One key with the cases of both. Raises KeyProblem when they were not built together."""
    if (visible.source, set(visible.exercises)) != (hidden.source, set(hidden.exercises)):
        raise KeyProblem(
            f"{HIDDEN} and {VISIBLE} of {visible.unit} were not built together: run `cvcourse build"
            f" {visible.unit}`."
        )
    exercises = {
        name: replace(exercise, cases=exercise.cases + hidden.exercises[name].cases)
        for name, exercise in visible.exercises.items()
    }
    return replace(visible, exercises=exercises)


def pack_values(value: Any) -> Any:
    """Case values as JSON that remembers which sequences were tuples."""
    if isinstance(value, tuple):
        return {"tuple": [pack_values(item) for item in value]}
    if isinstance(value, Mapping):
        return {"mapping": {name: pack_values(item) for name, item in value.items()}}
    return [pack_values(item) for item in value] if isinstance(value, list) else value


def unpack_values(value: Any) -> Any:
    """Case values from the JSON that pack_values makes."""
    if isinstance(value, list):
        return [unpack_values(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(unpack_values(item) for item in value["tuple"])
    return {name: unpack_values(item) for name, item in value["mapping"].items()}
