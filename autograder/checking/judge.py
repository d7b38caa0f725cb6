"""The judge: compares outcomes with the answer key and gives the verdict. It never runs learner
code."""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from autograder.checking.key import AnswerKey, CaseKey, ExerciseKey, ProbeRule, hash_answer, nearby
from autograder.checking.outcome import NOT_ATTEMPTED, SCALARS, Failure, Outcome, Value
from autograder.checking.verdict import SPECIAL, CaseVerdict, Fit, Hint, State, Verdict

ARTICLE = {
    "tensor": "a tensor",
    "array": "a numpy array",
    "nothing (None)": "nothing (None; is a `return` missing?)",
}


def judge(
    exercise: ExerciseKey,
    outcomes: Sequence[Outcome],
    shortcuts: Sequence[tuple[str, str]] = (),
) -> Verdict:
    """Judge one outcome a case, in the key's order. `shortcuts`: forbidden (name, line) found in
    the source."""
    found = [
        judge_case(exercise, case, outcome)
        for case, outcome in zip(exercise.cases, outcomes, strict=True)
    ]
    forbidden = _forbidden(outcomes, shortcuts)
    earned = earned_shares(exercise, found)
    rows = [
        replace(verdict, points=0.0 if forbidden else share * exercise.points)
        for verdict, share in zip(found, earned, strict=True)
    ]
    state = State.WRONG if forbidden and not _all(rows, State.NOT_ATTEMPTED) else _overall(rows)
    misconception, fit = (
        (None, None) if forbidden or state is State.RIGHT else diagnose(exercise, outcomes, found)
    )
    return Verdict(
        exercise.name,
        state,
        _points(rows, exercise.points, state),
        exercise.points,
        tuple(rows),
        misconception,
        fit,
        forbidden,
        exercise.hints,
    )


def judge_answers(exercise: ExerciseKey, answers: Mapping[str, object]) -> Verdict:
    """Judge numeric answers by their salted hashes. Missing ones and None are not attempted."""
    rows, slips = [], []
    share = exercise.points / len(exercise.answers)
    for name, key in exercise.answers.items():
        state, message, slip = judge_answer(key, answers.get(name))
        slips += [] if slip is None else [slip]
        rows.append(CaseVerdict(state, name, message, share if state is State.RIGHT else 0.0))
    state = _overall(rows)
    slip = exercise.misconceptions[slips[0]] if slips else None
    return Verdict(
        exercise.name,
        state,
        _points(rows, exercise.points, state),
        exercise.points,
        tuple(rows),
        slip,
        Fit.EXACT if slip else None,
        hints=exercise.hints,
    )


def judge_answer(key: AnswerKey, answer: object) -> tuple[State, str, int | None]:
    """(state, message, misconception) of one answer."""
    if answer is None or answer is Ellipsis:
        return State.NOT_ATTEMPTED, "no answer yet", None
    value = _number(answer, key.kind)
    if value is None:
        kind = getattr(answer, "type_name", type(answer).__name__)
        return State.WRONG, f"{_a(key.kind)} is expected, not {kind}", None
    digests = {
        hash_answer(candidate, key.salt, key.digits) for candidate in nearby(value, key.digits)
    }
    if key.digest in digests:
        return State.RIGHT, "", None
    slip = next((index for index, digest in key.wrong.items() if digest in digests), None)
    return State.WRONG, f"{value!r} is not the answer", slip


def judge_case(exercise: ExerciseKey, case: CaseKey, outcome: Outcome) -> CaseVerdict:
    """State and message of one case; points are given afterwards."""
    title = "hidden case" if case.hidden else (outcome.call or case.expected.call or case.probe)
    printed = "" if case.hidden else outcome.printed  # which may be the inputs
    failure = outcome.failure
    if failure is not None and (special := special_state(failure)):
        return CaseVerdict(special, title, SPECIAL[special], 0.0, case.hidden)
    if failure is not None and failure.kind == NOT_ATTEMPTED:
        return CaseVerdict(State.NOT_ATTEMPTED, title, "not written yet", 0.0, case.hidden)
    if failure is not None:
        return CaseVerdict(
            State.ERROR, title, _failed(failure, case.hidden), 0.0, case.hidden, printed
        )
    message = first_difference(exercise, case, case.expected, outcome)
    if outcome.changed and not case.expected.changed:
        found = f"{message}; and" if message else "right, but"
        message = f"{found} it changes {_joined(outcome.changed)} in place: work on a copy"
    state = State.RIGHT if message is None else State.WRONG
    return CaseVerdict(state, title, message or "", 0.0, case.hidden, printed if message else "")


def special_state(failure: Failure) -> State | None:
    """The state that a failure stands for, when it is more than an error."""
    if failure.kind == "MemoryError" or "can't allocate memory" in failure.message:
        return State.OUT_OF_MEMORY
    return next((state for state in SPECIAL if state == failure.kind), None)


def first_difference(
    exercise: ExerciseKey, case: CaseKey, expected: Outcome, outcome: Outcome
) -> str | None:
    """What differs first between two outcomes that ran, in words; None when they agree."""
    rule = exercise.probes[case.probe]
    for name, value in expected.values.items():
        if name not in outcome.values:
            return f"{name} is missing"
        difference = compare(value, outcome.values[name], *tolerance(rule, case, value))
        if difference is not None:
            return f"{name}: {difference}"
    return None


def tolerance(rule: ProbeRule, case: CaseKey, expected: Value) -> tuple[float, float]:
    """(rtol, atol) of a case's value: those of the inputs' dtype, or of the value's own if that is
    the coarser one."""
    dtype = "float32" if expected.numbers.dtype == torch.float32 else case.dtype
    return rule.rtol[dtype], rule.atol[dtype]


def compare(expected: Value, got: Value, rtol: float, atol: float) -> str | None:
    """In words, how `got` differs from `expected`; None when it does not.

    rtol counts against the largest finite expected magnitude, so that another order of summation is
    no mistake.
    """
    return _kind_difference(expected, got) or _number_difference(
        expected.numbers, got.numbers, rtol, atol
    )


def diagnose(
    exercise: ExerciseKey, outcomes: Sequence[Outcome], verdicts: Sequence[CaseVerdict]
) -> tuple[Hint | None, Fit | None]:
    """The misconception that gives these outcomes, and how well it does."""
    for fit in Fit:
        for index, misconception in enumerate(exercise.misconceptions):
            if _explains(exercise, index, outcomes, verdicts, fit):
                return misconception, fit
    return None, None


def case_shares(exercise: ExerciseKey) -> list[float]:
    """Share of the exercise's points of each case: probes by weight, cases within a probe alike."""
    counts: dict[str, int] = {}
    for case in exercise.cases:
        counts[case.probe] = counts.get(case.probe, 0) + 1
    total = sum(exercise.probes[name].weight for name in counts)
    return [
        exercise.probes[case.probe].weight / total / counts[case.probe] for case in exercise.cases
    ]


def earned_shares(exercise: ExerciseKey, found: Sequence[CaseVerdict]) -> list[float]:
    """Share of the exercise's points that each case earns.

    A case whose right outcome can be known beforehand is worth as much as the share of the other
    cases that is right: a function that returns nothing of use fulfils many a law, and a table of
    the released cases is no answer.
    """
    shares = case_shares(exercise)
    known = known_beforehand(exercise)
    right = [verdict.state is State.RIGHT for verdict in found]
    fresh = sum(share for share, is_known in zip(shares, known, strict=True) if not is_known)
    solved = sum(
        share
        for share, is_known, ok in zip(shares, known, right, strict=True)
        if ok and not is_known
    )
    worth = solved / fresh if fresh else 0.0
    return [
        share * (worth if is_known else 1.0) if ok else 0.0
        for share, is_known, ok in zip(shares, known, right, strict=True)
    ]


def known_beforehand(exercise: ExerciseKey) -> list[bool]:
    """For each case, whether its right outcome can be known without an answer.

    So it is with laws, and, where hidden cases count, with released cases that draw no numbers.
    """
    has_hidden = any(case.hidden for case in exercise.cases)
    return [
        exercise.probes[case.probe].law or (has_hidden and not case.hidden and not case.inputs)
        for case in exercise.cases
    ]


def _explains(
    exercise: ExerciseKey,
    index: int,
    outcomes: Sequence[Outcome],
    verdicts: Sequence[CaseVerdict],
    fit: Fit,
) -> bool:
    """Whether misconception `index` gives these outcomes, as closely as `fit` asks."""
    explained_a_mistake = False
    for case, outcome, verdict in zip(exercise.cases, outcomes, verdicts, strict=True):
        if fit is Fit.WHERE_IT_RUNS and verdict.state is State.ERROR:
            continue
        if fit is Fit.BUT_FOR_DTYPE:
            outcome = with_dtypes_of(case.expected, outcome)
        if not _same(exercise, case, case.wrong.get(index, case.expected), outcome):
            return False
        explained_a_mistake |= verdict.state is not State.RIGHT and index in case.wrong
    return explained_a_mistake


def with_dtypes_of(expected: Outcome, outcome: Outcome) -> Outcome:
    """The outcome with its floating-point tensors in the dtypes that are expected."""
    values = {
        name: (
            Value(value.numbers.to(expected.values[name].numbers.dtype), value.kind, value.device)
            if name in expected.values
            and {_family(value.numbers), _family(expected.values[name].numbers)} == {"float"}
            else value
        )
        for name, value in outcome.values.items()
    }
    return replace(outcome, values=values)


def _same(exercise: ExerciseKey, case: CaseKey, one: Outcome, other: Outcome) -> bool:
    if one.failure or other.failure:
        return bool(one.failure and other.failure) and _said(one.failure) == _said(other.failure)
    return (
        bool(one.changed) == bool(other.changed)
        and first_difference(exercise, case, one, other) is None
    )


def _said(failure: Failure) -> tuple[str, ...]:
    """What tells one exception from another: its type and its words, in any order, since `a + b`
    may be `b + a`.

    Numbers are left out, for `reshape(-1, 3)` may be `reshape(n, 3)`, and what stands behind a
    colon, where a message lists what there is.
    """
    return failure.kind, *sorted(re.findall(r"[^\W\d]+", failure.message.split(": ")[0]))


def _failed(failure: Failure, hidden: bool) -> str:
    """The exception and the learner's line. A hidden case keeps the exception's words back: they
    may be its inputs.

    So may the name of an exception that the learner made; only Python's own names are shown there.
    """
    where = f" (line {failure.number}: `{failure.line}`)" if failure.line else ""
    if not hidden:
        return f"{failure.kind}: {failure.message}{where}"
    return f"{failure.kind if hasattr(builtins, failure.kind) else 'an exception'}{where}"


def _kind_difference(expected: Value, got: Value) -> str | None:
    if expected.kind != got.kind and not (
        _is_single(expected) and _is_single(got) and got.is_comparable
    ):
        return f"{_a(got.kind)} where {_a(expected.kind)} is expected"
    if got.device != expected.device:
        return f"on {got.device}, but the input is on {expected.device}"
    if {expected.kind, got.kind} <= {"tensor", "array"}:
        if got.numbers.shape != expected.numbers.shape:
            return (
                f"shape {tuple(got.numbers.shape)} where {tuple(expected.numbers.shape)} is"
                " expected"
            )
        if got.numbers.dtype != expected.numbers.dtype:
            return f"dtype {_dtype(got.numbers)} where {_dtype(expected.numbers)} is expected"
    elif _family(expected.numbers) != _family(got.numbers):
        return f"{_single(got)} where {_single(expected)} is expected"
    elif got.numbers.numel() != expected.numbers.numel():
        return f"{got.numbers.numel()} numbers where {expected.numbers.numel()} are expected"
    return None


def _is_single(value: Value) -> bool:
    return value.kind in SCALARS.values() or (
        value.kind in {"tensor", "array"} and value.numbers.dim() == 0
    )


def _single(value: Value) -> str:
    """A single number in words: `a whole number`, `a float32 number`."""
    return _a(value.kind if value.kind in SCALARS.values() else f"{_dtype(value.numbers)} number")


def _family(tensor: Tensor) -> str:
    return (
        "float" if tensor.is_floating_point() else "bool" if tensor.dtype == torch.bool else "int"
    )


def _number_difference(expected: Tensor, got: Tensor, rtol: float, atol: float) -> str | None:
    wanted = expected.double().numpy()
    given = got.double().numpy().reshape(wanted.shape)
    if wanted.size == 0:
        return None
    unexpected = np.isnan(given) & ~np.isnan(wanted)
    if unexpected.any() and given.size == 1:
        return f"NaN where {_number_as_text(wanted)} is expected"
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
    if wanted.size == 1:
        return "{} where {} is expected".format(*_numbers_apart(given, wanted))
    wrong = int((gap > tolerance).sum())
    return (
        f"largest difference {gap.max():.3g} at {_place(gap)}; {wrong} of {gap.size} values differ"
    )


def _unlike(wanted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Where one value is infinite or no number and the other is not the same."""
    return ~np.isfinite(wanted) & (wanted != given) & ~(np.isnan(wanted) & np.isnan(given))


def _place(values: np.ndarray) -> list[int]:
    return [int(index) for index in np.unravel_index(int(values.argmax()), values.shape)]


def _number_as_text(value: np.ndarray) -> str:
    number = value.item()
    return str(int(number)) if math.isfinite(number) and number == int(number) else f"{number:.6g}"


def _numbers_apart(first: np.ndarray, second: np.ndarray) -> list[str]:
    """Both numbers, with more digits where they would look alike."""
    texts = [_number_as_text(number) for number in (first, second)]
    return texts if texts[0] != texts[1] else [repr(number.item()) for number in (first, second)]


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _a(kind: str) -> str:
    return ARTICLE.get(kind) or (kind if kind.startswith(("a ", "an ")) else f"a {kind}")


def _joined(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" if " " not in name else name for name in names)


def _number(answer: object, kind: str) -> bool | int | float | None:
    """The answer as plain Python of the kind that the key holds; None when it is something else."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    if (
        hasattr(answer, "item")
        and type(answer).__module__ == "numpy"
        and getattr(answer, "size", 0) == 1
    ):
        answer = answer.item()
    if kind == "truth value":
        return answer if type(answer) is bool else None
    if type(answer) not in (int, float) or not math.isfinite(answer):
        return None
    if kind == "whole number":
        return int(answer) if answer == int(answer) else float(answer)
    return float(answer)


def _forbidden(
    outcomes: Sequence[Outcome], shortcuts: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Forbidden names with their line; what ran without showing in the source has no line."""
    named = {name for name, _ in shortcuts}
    ran = sorted({name for outcome in outcomes for name in outcome.shortcuts} - named)
    return (*shortcuts, *((name, "") for name in ran)) if not named else tuple(shortcuts)


def _all(rows: Sequence[CaseVerdict], state: State) -> bool:
    return bool(rows) and all(row.state is state for row in rows)


def _overall(rows: Sequence[CaseVerdict]) -> State:
    present = {row.state for row in rows}
    for state in SPECIAL:
        if state in present:
            return state
    for state in (State.RIGHT, State.NOT_ATTEMPTED, State.ERROR):
        if _all(rows, state):
            return state
    return State.WRONG


def _points(rows: Sequence[CaseVerdict], max_points: float, state: State) -> float:
    """Points earned, in hundredths, never full for less than everything right."""
    if state is State.RIGHT:
        return float(max_points)
    earned = math.floor(100 * sum(row.points for row in rows) + 1e-6) / 100
    return max(0.0, min(earned, max_points - 0.01))
