"""How what came out differs from what is expected, in words that a learner has.

Of a hidden case only the kind of a difference may be said: neither a number nor a size.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autograder.checking.key import CaseKey, ExerciseKey, ProbeRule
from autograder.checking.outcome import SCALARS, Failure, Outcome, Value

# How a key names a kind of value, and what a learner reads.
IN_WORDS = {
    "array": "numpy array",
    "truth value": "boolean",
    "a whole number beyond": "an integer beyond",
    "whole number": "integer",
    "nothing (None)": "nothing (None; is a `return` missing?)",
}

LONGEST_INTEGER = 1e12
"""Numbers without a fraction are written in full up to here."""


class Difference(NamedTuple):
    """How a result differs from what is expected."""

    kind: str  # what may be said of a hidden case: nothing that was drawn for it
    words: str


def first_difference(
    exercise: ExerciseKey, case: CaseKey, expected: Outcome, outcome: Outcome
) -> Difference | None:
    """What differs first between two outcomes that ran; None when they agree."""
    rule = exercise.probes[case.probe]
    for name, value in expected.values.items():
        if name not in outcome.values:
            return Difference("a result is missing", f"{name} is missing")
        got = outcome.values[name]
        if is_cut(name, value, got):
            return Difference("no gradient", f"{name}: no gradient arrives")
        difference = compare(value, got, *tolerance(rule, case, value))
        if difference is not None:
            return Difference(difference.kind, f"{name}: {difference.words}")
    return None


def is_cut(name: str, expected: Value, got: Value) -> bool:
    """Whether a gradient is zero everywhere, and should not be."""
    if "gradient" not in name or expected.numbers.shape != got.numbers.shape:
        return False
    return bool(expected.numbers.any()) and not bool(got.numbers.any())


def is_right_but_for_dtype(exercise: ExerciseKey, case: CaseKey, outcome: Outcome) -> bool:
    """Whether all values are right once booleans and integers count as numbers, or numbers as
    those."""
    return first_difference(exercise, case, case.expected, in_kinds_of(case.expected, outcome)) is (
        None
    )


def in_kinds_of(expected: Outcome, outcome: Outcome) -> Outcome:
    """The outcome with its tensors in the dtypes that are expected, booleans and integers too."""
    values = dict(outcome.values)
    for name, wanted in expected.values.items():
        got = values.get(name)
        if got is None or {got.kind, wanted.kind} - {"tensor", "array"}:
            continue
        if got.numbers.shape == wanted.numbers.shape and got.kind == wanted.kind:
            numbers = got.numbers.to(wanted.numbers.dtype)
            if torch.equal(numbers.double(), got.numbers.double()):
                values[name] = Value(numbers, got.kind, got.device)
    return replace(outcome, values=values)


def tolerance(rule: ProbeRule, case: CaseKey, expected: Value) -> tuple[float, float]:
    """(rtol, atol) of a case's value.

    They are those of the inputs' dtype, or of the value's own if that is the coarser one.
    """
    dtype = "float32" if expected.numbers.dtype == torch.float32 else case.dtype
    return rule.rtol[dtype], rule.atol[dtype]


def compare(expected: Value, got: Value, rtol: float, atol: float) -> Difference | None:
    """How `got` differs from `expected`; None when it does not.

    rtol counts against the largest finite expected magnitude, so that another order of summation is
    no mistake.
    """
    difference = _kind_difference(expected, got)
    if difference is not None:
        return difference
    words = _number_difference(expected, got, rtol, atol)
    return None if words is None else Difference("the values differ", words)


def same_outcome(exercise: ExerciseKey, case: CaseKey, one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are alike: the same exception, or values within the tolerance."""
    if one.failure and other.failure:
        return _said(one.failure) == _said(other.failure)
    if one.failure or other.failure or bool(one.changed) != bool(other.changed):
        return False
    return first_difference(exercise, case, one, other) is None


def _said(failure: Failure) -> tuple[str, ...]:
    """What tells one exception from another: its type and its words.

    The words are in any order, since `a + b` may be `b + a`. Numbers are left out, for
    `reshape(-1, 3)` may be `reshape(n, 3)`, and what stands behind a colon, where a message lists
    what there is.
    """
    return failure.kind, *sorted(re.findall(r"[^\W\d]+", failure.message.split(": ")[0]))


def _kind_difference(expected: Value, got: Value) -> Difference | None:
    """How the kinds, devices, shapes or dtypes of two values differ; None if they do not.

    A single number may come as a number or as a tensor or array without dimensions.
    """
    both_single = _is_single(expected) and _is_single(got) and got.is_comparable
    if expected.kind != got.kind and not both_single:
        words = f"{with_article(got.kind)} where {with_article(expected.kind)} is expected"
        return Difference("another kind of result", words)
    if got.device != expected.device:
        words = f"on {got.device}, but the input is on {expected.device}"
        return Difference("another device", words)
    if {expected.kind, got.kind} <= {"tensor", "array"}:
        return _form_difference(expected.numbers, got.numbers)
    if _family(expected.numbers) != _family(got.numbers):
        words = f"{_single(got)} where {_single(expected)} is expected"
        return Difference("another kind of number", words)
    if got.numbers.numel() != expected.numbers.numel():
        words = f"{got.numbers.numel()} numbers where {expected.numbers.numel()} are expected"
        return Difference("another number of results", words)
    return None


def _form_difference(expected: Tensor, got: Tensor) -> Difference | None:
    if got.shape != expected.shape:
        words = f"shape {tuple(got.shape)} where {tuple(expected.shape)} is expected"
        return Difference("another shape", words)
    if got.dtype != expected.dtype:
        words = f"dtype {_dtype(got)} where {_dtype(expected)} is expected"
        return Difference("another dtype", words)
    return None


def _is_single(value: Value) -> bool:
    if value.kind in SCALARS.values():
        return True
    return value.kind in {"tensor", "array"} and value.numbers.dim() == 0


def _single(value: Value) -> str:
    """A single number in words: `an integer`, `a float32 number`."""
    if value.kind in SCALARS.values():
        return with_article(value.kind)
    return with_article(f"{_dtype(value.numbers)} number")


def _family(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return "float"
    return "bool" if tensor.dtype == torch.bool else "int"


def _number_difference(expected: Value, got: Value, rtol: float, atol: float) -> str | None:
    """How the numbers of two values of one shape differ, in words; None if they do not."""
    wanted = expected.numbers.double().numpy()
    given = got.numbers.double().numpy().reshape(wanted.shape)
    if wanted.size == 0:
        return None
    is_yes_or_no = expected.numbers.dtype == torch.bool or "truth value" in expected.kind
    unexpected = np.isnan(given) & ~np.isnan(wanted)
    if unexpected.any() and given.size == 1:
        return f"NaN where {_number_as_text(wanted, is_yes_or_no)} is expected"
    if unexpected.any():
        return (
            f"NaN in {int(unexpected.sum())} of {given.size} places, first at {_place(unexpected)}"
        )
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], given[~finite], equal_nan=True):
        return f"infinite or NaN values differ, first at {_place(_unlike(wanted, given))}"
    gap = np.zeros_like(wanted)
    with np.errstate(over="ignore"):  # a warning on stderr would be a failed cell to nbgrader
        np.abs(np.subtract(wanted, given, out=gap, where=finite), out=gap)
    tolerance = atol + rtol * np.abs(wanted[finite]).max(initial=0.0)
    if gap.max() <= tolerance:
        return None
    worst = np.unravel_index(int(gap.argmax()), gap.shape)
    right = wanted[worst] if abs(wanted[worst]) > tolerance else np.zeros(())  # not its rounding
    number, right_number = _shown_apart(given[worst], right, is_yes_or_no)
    if wanted.size == 1:
        return f"{number} where {right_number} is expected"
    wrong = int((gap > tolerance).sum())
    return (
        f"yours is {number} and {right_number} is expected at {_place(gap)}, where they differ"
        f" most; {wrong} of {gap.size} values differ"
    )


def _unlike(wanted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Where one value is infinite or no number and the other is not the same."""
    return ~np.isfinite(wanted) & (wanted != given) & ~(np.isnan(wanted) & np.isnan(given))


def _place(values: np.ndarray) -> list[int]:
    """Where the largest value stands."""
    return [int(index) for index in np.unravel_index(int(values.argmax()), values.shape)]


def _number_as_text(value: np.ndarray, is_yes_or_no: bool) -> str:
    """A number as a learner reads it: yes or no for a boolean."""
    number = value.item()
    if is_yes_or_no:
        return "yes" if number else "no"
    if abs(number) < LONGEST_INTEGER and number == int(number):
        return str(int(number))
    return f"{number:.6g}"


def _shown_apart(first: np.ndarray, second: np.ndarray, is_yes_or_no: bool) -> tuple[str, str]:
    """Both numbers, with more digits where they would look alike."""
    shown = _number_as_text(first, is_yes_or_no), _number_as_text(second, is_yes_or_no)
    return shown if shown[0] != shown[1] else (repr(first.item()), repr(second.item()))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def with_article(kind: str) -> str:
    """A kind with its article: `an integer`, `a tuple of integers`."""
    for stored, word in IN_WORDS.items():
        kind = kind.replace(stored, word)
    if kind.startswith(("a ", "an ", "nothing")):
        return kind
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
