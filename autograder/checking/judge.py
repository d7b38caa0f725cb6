"""The judge: compares outcomes with the answer key and gives the verdict.

It never runs learner code.
"""

from __future__ import annotations

import builtins
import math
import re
from collections import Counter
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
    """Judge one outcome a case, in the key's order.

    shortcuts: forbidden (name, line) found in the source.
    """
    found = [
        judge_case(exercise, case, outcome)
        for case, outcome in zip(exercise.cases, outcomes, strict=True)
    ]
    forbidden = _forbidden(outcomes, shortcuts)
    rows = []
    for verdict, share in zip(found, earned_shares(exercise, found), strict=True):
        rows.append(replace(verdict, points=0.0 if forbidden else share * exercise.points))
    state = _overall(rows)
    if forbidden and not _all(rows, State.NOT_ATTEMPTED):
        state = State.WRONG
    misconception, fit = None, None
    if not forbidden and state is not State.RIGHT:
        misconception, fit = diagnose(exercise, outcomes, found)
    return Verdict(
        exercise=exercise.name,
        state=state,
        points=_points(rows, exercise.points, state),
        max_points=exercise.points,
        cases=tuple(rows),
        diagnosis=misconception,
        fit=fit,
        shortcuts=forbidden,
        hints=exercise.hints,
    )


def judge_answers(exercise: ExerciseKey, answers: Mapping[str, object]) -> Verdict:
    """Judge numeric answers by their salted hashes. Missing ones and None are not attempted."""
    rows: list[CaseVerdict] = []
    slips: list[int] = []
    share = exercise.points / len(exercise.answers)
    for name, key in exercise.answers.items():
        state, message, slip = judge_answer(key, answers.get(name))
        if slip is not None:
            slips.append(slip)
        rows.append(CaseVerdict(state, name, message, share if state is State.RIGHT else 0.0))
    overall = _overall(rows)
    diagnosis = exercise.misconceptions[slips[0]] if slips else None
    return Verdict(
        exercise=exercise.name,
        state=overall,
        points=_points(rows, exercise.points, overall),
        max_points=exercise.points,
        cases=tuple(rows),
        diagnosis=diagnosis,
        fit=Fit.EXACT if diagnosis else None,
        hints=exercise.hints,
    )


def judge_answer(key: AnswerKey, answer: object) -> tuple[State, str, int | None]:
    """(state, message, number of the misconception) of one answer."""
    if answer is None or answer is Ellipsis:
        return State.NOT_ATTEMPTED, "no answer yet", None
    value = _number(answer, key.kind)
    if value is None:
        kind = getattr(answer, "type_name", type(answer).__name__)
        return State.WRONG, f"{_a(key.kind)} is expected, not {kind}", None
    candidates = nearby(value, key.digits)
    digests = {hash_answer(candidate, key.salt, key.digits) for candidate in candidates}
    if key.digest in digests:
        return State.RIGHT, "", None
    slips = [index for index, digest in key.wrong.items() if digest in digests]
    return State.WRONG, f"{value!r} is not the answer", slips[0] if slips else None


def judge_case(exercise: ExerciseKey, case: CaseKey, outcome: Outcome) -> CaseVerdict:
    """State and message of one case; points are given afterwards."""
    title = outcome.call or case.expected.call or case.probe
    printed = outcome.printed
    if case.hidden:  # both may show the inputs
        title, printed = "hidden case", ""
    if outcome.failure is not None:
        return _judge_failure(outcome.failure, title, case.hidden, printed)
    message = first_difference(exercise, case, case.expected, outcome)
    if outcome.changed and not case.expected.changed:
        found = f"{message}; and" if message else "right, but"
        message = f"{found} it changes {_with_and(outcome.changed)} in place: work on a copy"
    if message is None:
        return CaseVerdict(State.RIGHT, title, "", 0.0, case.hidden)
    return CaseVerdict(State.WRONG, title, message, 0.0, case.hidden, printed)


def _judge_failure(failure: Failure, title: str, hidden: bool, printed: str) -> CaseVerdict:
    """State and message of a case in which something was raised, or that was ended."""
    special = special_state(failure)
    if special is not None:
        return CaseVerdict(special, title, SPECIAL[special], 0.0, hidden)
    if failure.kind == NOT_ATTEMPTED:
        return CaseVerdict(State.NOT_ATTEMPTED, title, "not written yet", 0.0, hidden)
    return CaseVerdict(State.ERROR, title, _failed(failure, hidden), 0.0, hidden, printed)


def special_state(failure: Failure) -> State | None:
    """The state that a failure stands for, when it is more than an error."""
    if failure.kind == "MemoryError" or "can't allocate memory" in failure.message:
        return State.OUT_OF_MEMORY
    for state in SPECIAL:
        if state == failure.kind:
            return state
    return None


def first_difference(
    exercise: ExerciseKey, case: CaseKey, expected: Outcome, outcome: Outcome
) -> str | None:
    """What differs first between two outcomes that ran, in words; None when they agree."""
    rule = exercise.probes[case.probe]
    for name, value in expected.values.items():
        if name not in outcome.values:
            return f"{name} is missing"
        rtol, atol = tolerance(rule, case, value)
        difference = compare(value, outcome.values[name], rtol, atol)
        if difference is not None:
            return f"{name}: {difference}"
    return None


def tolerance(rule: ProbeRule, case: CaseKey, expected: Value) -> tuple[float, float]:
    """(rtol, atol) of a case's value.

    They are those of the inputs' dtype, or of the value's own if that is the coarser one.
    """
    dtype = "float32" if expected.numbers.dtype == torch.float32 else case.dtype
    return rule.rtol[dtype], rule.atol[dtype]


def compare(expected: Value, got: Value, rtol: float, atol: float) -> str | None:
    """In words, how `got` differs from `expected`; None when it does not.

    rtol counts against the largest finite expected magnitude, so that another order of summation is
    no mistake.
    """
    difference = _kind_difference(expected, got)
    if difference is not None:
        return difference
    return _number_difference(expected.numbers, got.numbers, rtol, atol)


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
    counts = Counter(case.probe for case in exercise.cases)
    total = sum(exercise.probes[name].weight for name in counts)
    shares = []
    for case in exercise.cases:
        weight = exercise.probes[case.probe].weight
        shares.append(weight / total / counts[case.probe])
    return shares


def earned_shares(exercise: ExerciseKey, found: Sequence[CaseVerdict]) -> list[float]:
    """Share of the exercise's points that each case earns.

    A case whose right outcome can be known beforehand is worth as much as the share of the other
    cases that is right: a function that returns nothing of use fulfils many a law, and a table of
    the released cases is no answer.
    """
    cases = list(zip(case_shares(exercise), known_beforehand(exercise), found, strict=True))
    unknown = [(share, verdict.state) for share, is_known, verdict in cases if not is_known]
    total = sum(share for share, _ in unknown)
    solved = sum(share for share, state in unknown if state is State.RIGHT)
    worth_of_known = solved / total if total else 0.0
    earned = []
    for share, is_known, verdict in cases:
        if verdict.state is not State.RIGHT:
            earned.append(0.0)
        else:
            earned.append(share * worth_of_known if is_known else share)
    return earned


def known_beforehand(exercise: ExerciseKey) -> list[bool]:
    """For each case, whether its right outcome can be known without an answer.

    So it is with laws, and, where hidden cases count, with released cases that draw no numbers.
    """
    has_hidden = any(case.hidden for case in exercise.cases)
    known = []
    for case in exercise.cases:
        is_table = has_hidden and not case.hidden and not case.inputs
        known.append(exercise.probes[case.probe].law or is_table)
    return known


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
    values = {}
    for name, value in outcome.values.items():
        wanted = expected.values.get(name)
        values[name] = value if wanted is None else _with_dtype_of(wanted, value)
    return replace(outcome, values=values)


def _with_dtype_of(expected: Value, value: Value) -> Value:
    if not (value.numbers.is_floating_point() and expected.numbers.is_floating_point()):
        return value
    return Value(value.numbers.to(expected.numbers.dtype), value.kind, value.device)


def _same(exercise: ExerciseKey, case: CaseKey, one: Outcome, other: Outcome) -> bool:
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


def _failed(failure: Failure, hidden: bool) -> str:
    """The exception and the learner's line.

    A hidden case keeps the exception's words back: they may be its inputs. So may the name of an
    exception that the learner made; only Python's own names are shown there.
    """
    said = f"{failure.kind}: {failure.message}"
    if hidden:
        said = failure.kind if hasattr(builtins, failure.kind) else "an exception"
    return f"{said} (line {failure.number}: `{failure.line}`)" if failure.line else said


def _kind_difference(expected: Value, got: Value) -> str | None:
    """How the kinds, devices, shapes or dtypes of two values differ, in words; None if they do not.

    A single number may come as a number or as a tensor or array without dimensions.
    """
    both_single = _is_single(expected) and _is_single(got) and got.is_comparable
    if expected.kind != got.kind and not both_single:
        return f"{_a(got.kind)} where {_a(expected.kind)} is expected"
    if got.device != expected.device:
        return f"on {got.device}, but the input is on {expected.device}"
    if {expected.kind, got.kind} <= {"tensor", "array"}:
        return _form_difference(expected.numbers, got.numbers)
    if _family(expected.numbers) != _family(got.numbers):
        return f"{_single(got)} where {_single(expected)} is expected"
    if got.numbers.numel() != expected.numbers.numel():
        return f"{got.numbers.numel()} numbers where {expected.numbers.numel()} are expected"
    return None


def _form_difference(expected: Tensor, got: Tensor) -> str | None:
    if got.shape != expected.shape:
        return f"shape {tuple(got.shape)} where {tuple(expected.shape)} is expected"
    if got.dtype != expected.dtype:
        return f"dtype {_dtype(got)} where {_dtype(expected)} is expected"
    return None


def _is_single(value: Value) -> bool:
    if value.kind in SCALARS.values():
        return True
    return value.kind in {"tensor", "array"} and value.numbers.dim() == 0


def _single(value: Value) -> str:
    """A single number in words: `a whole number`, `a float32 number`."""
    if value.kind in SCALARS.values():
        return _a(value.kind)
    return _a(f"{_dtype(value.numbers)} number")


def _family(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return "float"
    return "bool" if tensor.dtype == torch.bool else "int"


def _number_difference(expected: Tensor, got: Tensor, rtol: float, atol: float) -> str | None:
    """How the numbers of two values of one shape differ, in words; None if they do not."""
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
        number, right_number = _shown_apart(given, wanted)
        return f"{number} where {right_number} is expected"
    wrong = int((gap > tolerance).sum())
    return (
        f"largest difference {gap.max():.3g} at {_place(gap)}; {wrong} of {gap.size} values differ"
    )


def _unlike(wanted: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Where one value is infinite or no number and the other is not the same."""
    return ~np.isfinite(wanted) & (wanted != given) & ~(np.isnan(wanted) & np.isnan(given))


def _place(values: np.ndarray) -> list[int]:
    """Where the largest value stands."""
    return [int(index) for index in np.unravel_index(int(values.argmax()), values.shape)]


def _number_as_text(value: np.ndarray) -> str:
    number = value.item()
    if math.isfinite(number) and number == int(number):
        return str(int(number))
    return f"{number:.6g}"


def _shown_apart(first: np.ndarray, second: np.ndarray) -> tuple[str, str]:
    """Both numbers, with more digits where they would look alike."""
    if _number_as_text(first) != _number_as_text(second):
        return _number_as_text(first), _number_as_text(second)
    return repr(first.item()), repr(second.item())


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _a(kind: str) -> str:
    if kind in ARTICLE:
        return ARTICLE[kind]
    return kind if kind.startswith(("a ", "an ")) else f"a {kind}"


def _with_and(names: Sequence[str]) -> str:
    """`a` and `b`; what is no name but words (an input) stays as it is."""
    return " and ".join(name if " " in name else f"`{name}`" for name in names)


def _number(answer: object, kind: str) -> bool | int | float | None:
    """The answer as plain Python of the kind that the key holds; None when it is something else."""
    plain = _plain(answer)
    if kind == "truth value":
        return plain if isinstance(plain, bool) else None
    # Exactly these types: a truth value is an int to Python, and a learner's own class may lie.
    if type(plain) is int:
        number: int | float = plain
    elif type(plain) is float:
        number = plain
    else:
        return None
    if not math.isfinite(number):
        return None
    if kind == "whole number" and number == int(number):
        return int(number)
    return float(number)


def _plain(answer: object) -> object:
    """The one number in a tensor or in something of numpy's, as plain Python; else the answer."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    is_numpy = type(answer).__module__ == "numpy" and getattr(answer, "size", 0) == 1
    return answer.item() if is_numpy and hasattr(answer, "item") else answer


def _forbidden(
    outcomes: Sequence[Outcome], shortcuts: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Forbidden names with their line; what ran without showing in the source has no line."""
    if shortcuts:
        return tuple(shortcuts)
    ran = {name for outcome in outcomes for name in outcome.shortcuts}
    return tuple((name, "") for name in sorted(ran))


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
