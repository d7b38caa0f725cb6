"""Answer keys: inputs, expected outcomes, and what each misconception gives.

Data only: no code, and no plain answer to a question that asks for a number.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autograder.checking.outcome import Failure, Outcome, Value
from autograder.checking.verdict import Hint
from autograder.errors import CourseError
from autograder.files import write_safely

FORMAT = 2
VISIBLE, HIDDEN = "key.safetensors", "hidden.safetensors"
# scrypt's n: about 10 ms a guess, so that small whole numbers are not read off the key at a
# glance.
HASH_COST = 2**12


class KeyProblem(CourseError):
    """The answer key is missing, damaged, or from another version of the course."""


@dataclass(frozen=True)
class CaseKey:
    """One case: its inputs, what is right, and what each misconception gives (absent where that is
    right too)."""

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
    """How a probe's cases are judged and what they are worth against the exercise's other
    probes."""

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
    """The answer and, for floats, its neighbours in the last significant digit, so that rounding
    decides nothing."""
    if not isinstance(value, float) or value == 0 or not math.isfinite(value):
        return [value]
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    return [value, value - step, value + step]


def write_key(key: Key, path: Path) -> None:
    """Write a key; the same key gives the same bytes. An interrupted or failed write leaves the old
    file."""
    tensors: dict[str, Tensor] = {}
    document = {"format": FORMAT, **_document(key, tensors)}
    data = save(tensors, metadata={"cvcourse": json.dumps(document)})
    write_safely(path, data)


def read_key(path: Path) -> Key:
    """Read a key. Raises KeyProblem where it is missing, damaged, or of another version."""
    if not path.exists():
        raise KeyProblem(
            f"{path.name} is not beside the notebook in {path.parent.name}/: open the notebook in"
            " its own folder, or copy that folder again from the course."
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            document = json.loads((file.metadata() or {})["cvcourse"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        if any(tensor_digest(tensor) != name for name, tensor in tensors.items()):
            raise ValueError("some numbers are not those that were written")
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise KeyProblem(
            f"{path.name} is damaged: copy the unit's folder again from the course."
        ) from error
    if document.get("format") != FORMAT:
        raise KeyProblem(
            f"{path.name} was written by another version of the course "
            f"(format {document.get('format')}, this one reads {FORMAT}): "
            "update the course, or copy the unit's folder that belongs to it."
        )
    try:
        return _key(document, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise KeyProblem(
            f"{path.name} is damaged: copy the unit's folder again from the course."
        ) from error


def merge(visible: Key, hidden: Key) -> Key:
    """One key with the cases of both. Raises KeyProblem when they were not built together."""
    if visible.source != hidden.source:
        raise KeyProblem(
            f"{HIDDEN} and {VISIBLE} of {visible.unit} were not built together: run `cvcourse build"
            f" {visible.unit}`."
        )
    exercises = {
        name: replace(exercise, cases=exercise.cases + hidden.exercises[name].cases)
        for name, exercise in visible.exercises.items()
    }
    return replace(visible, exercises=exercises)


def tensor_digest(tensor: Tensor) -> str:
    """The name of a tensor in a key: the same numbers have the same name."""
    kind = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.sha256(kind + tensor.numpy().tobytes()).hexdigest()[:16]


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


def _document(key: Key, tensors: dict[str, Tensor]) -> dict[str, Any]:
    def store(tensor: Tensor) -> str:
        data = tensor.contiguous()
        digest = tensor_digest(data)
        tensors[digest] = data
        return digest

    def outcome(value: Outcome) -> dict[str, Any]:
        return {
            "values": {
                name: [store(item.numbers), item.kind] for name, item in value.values.items()
            },
            "failure": value.failure and [value.failure.kind, value.failure.message],
            "changed": bool(value.changed),
            "call": value.call,
        }

    def case(value: CaseKey) -> dict[str, Any]:
        return {
            **{name: getattr(value, name) for name in ("probe", "dtype", "seed", "hidden")},
            "values": pack_values(value.values),
            "inputs": [store(tensor) for tensor in value.inputs],
            "expected": outcome(value.expected),
            "wrong": {str(index): outcome(item) for index, item in value.wrong.items()},
        }

    def exercise(value: ExerciseKey) -> dict[str, Any]:
        return {
            **{name: getattr(value, name) for name in ("name", "points", "hints", "forbid")},
            "misconceptions": [asdict(item) for item in value.misconceptions],
            "probes": {name: asdict(rule) for name, rule in value.probes.items()},
            "cases": [case(item) for item in value.cases],
            "answers": {name: asdict(item) for name, item in value.answers.items()},
        }

    heads = {name: getattr(key, name) for name in ("unit", "course", "source", "release", "probes")}
    return {**heads, "exercises": [exercise(item) for item in key.exercises.values()]}


def _key(document: dict[str, Any], tensors: dict[str, Tensor]) -> Key:
    def outcome(value: dict[str, Any]) -> Outcome:
        return Outcome(
            {
                name: Value(tensors[digest], kind)
                for name, (digest, kind) in value["values"].items()
            },
            Failure(*value["failure"]) if value["failure"] else None,
            ("an input",) if value["changed"] else (),
            value["call"],
        )

    def case(value: dict[str, Any]) -> CaseKey:
        return CaseKey(
            value["probe"],
            unpack_values(value["values"]),
            value["dtype"],
            value["seed"],
            value["hidden"],
            tuple(tensors[digest] for digest in value["inputs"]),
            outcome(value["expected"]),
            {int(index): outcome(item) for index, item in value["wrong"].items()},
        )

    def answer(value: dict[str, Any]) -> AnswerKey:
        return AnswerKey(
            **{**value, "wrong": {int(index): digest for index, digest in value["wrong"].items()}}
        )

    def exercise(value: dict[str, Any]) -> ExerciseKey:
        return ExerciseKey(
            value["name"],
            value["points"],
            tuple(value["hints"]),
            tuple(value["forbid"]),
            tuple(Hint(**item) for item in value["misconceptions"]),
            {name: ProbeRule(**rule) for name, rule in value["probes"].items()},
            tuple(case(item) for item in value["cases"]),
            {name: answer(item) for name, item in value["answers"].items()},
        )

    heads = {name: document[name] for name in ("unit", "course", "source", "release", "probes")}
    return Key(**heads, exercises={item["name"]: exercise(item) for item in document["exercises"]})
