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
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autograder.checking.key import AnswerKey, CaseKey, ExerciseKey, ProbeRule, hash_answer, nearby
from autograder.checking.outcome import NOT_ATTEMPTED, SCALARS, Failure, Outcome, Value
from autograder.checking.verdict import SPECIAL, CaseVerdict, Fit, Hint, State, Verdict

# How a key names a kind of value, and what a learner reads.
IN_WORDS = {
    "array": "numpy array",
    "truth value": "boolean",
    "a whole number beyond": "an integer beyond",
    "whole number": "integer",
    "nothing (None)": "nothing (None; is a `return` missing?)",
}
FITS = (Fit.EXACT, Fit.WHERE_IT_RUNS, Fit.BUT_FOR_DTYPE)
"""How closely a misconception may explain what came out, the closest first."""

FOR_THE_VALUES = 0.75
"""Share of a case's points for right values of another dtype."""

COST_OF_A_CHANGE = 0.25
"""Share of the points that a change in place of what was handed in costs."""

FEW = 6
"""So many integers or booleans may be alike by chance, after another mistake."""

LONGEST_INTEGER = 1e12
"""Numbers without a fraction are written in full up to here."""

UNCHANGED = "what it is given stays as it was"
NO_GRADIENT = Hint(
    "a gradient that is cut",
    "No gradient reaches what it is given. Something between input and output is not a torch"
    " operation that can be differentiated: was a tensor turned into numpy, a list or a number"
    " (`.item()`), detached, or computed under `torch.no_grad()`?",
)
CHANGE_IN_PLACE = Hint(
    "a change in place of what it is given",
    "The results are right, and something that was handed in is not as it was before. Which line"
    " writes into an argument, or calls a method of one that changes it? Work on a copy.",
)
OTHER_DTYPE = Hint(
    "another dtype than is asked for",
    "The values are right. Where does the result's dtype come from: from the inputs, or from a"
    " constant, a comparison or a function with a default of its own?",
)
# What torch says where a gradient is asked for and there is none, or numpy where there is one.
NO_GRADIENT_SAID = ("requires grad", "does not require grad", "not have a grad_fn")


class Difference(NamedTuple):
    """How a result differs from what is expected."""

    kind: str  # what may be said of a hidden case: nothing that was drawn for it
    words: str


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
    change = judge_changes(exercise, outcomes)
    worth = 0.0 if forbidden else exercise.points * (1 - COST_OF_A_CHANGE * (change is not None))
    rows = []
    for verdict, share in zip(found, earned_shares(exercise, found), strict=True):
        rows.append(replace(verdict, points=share * worth))
    if change is not None:
        rows.append(change)
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
        fit=Fit.AMONG_OTHERS if diagnosis else None,
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
    difference = first_difference(exercise, case, case.expected, outcome)
    if difference is None:
        return CaseVerdict(State.RIGHT, title, "", 0.0, case.hidden)
    message = difference.kind if case.hidden else difference.words
    nearly = is_right_but_for_dtype(exercise, case, outcome)
    if nearly:
        message = f"the values are right, but {message}"
    odd = "" if case.hidden else odd_part(case.expected.parts, outcome.parts)
    if odd:
        message = f"{message}; {odd}"
    return CaseVerdict(State.WRONG, title, message, 0.0, case.hidden, printed, nearly)


def odd_part(expected: Sequence[str], got: Sequence[str]) -> str:
    """In words, a parameter or buffer that is missing, too many or of another shape; empty where
    there is none."""
    wanted = dict(part.partition(" ")[::2] for part in expected)
    given = dict(part.partition(" ")[::2] for part in got)
    if not wanted or not given:
        return ""
    for name in [*wanted, *given]:
        if name not in given:
            return f"it has no parameter or buffer `{name}`"
        if name not in wanted:
            return f"its parameter or buffer `{name}` is one too many"
        if given[name] != wanted[name]:
            return f"its `{name}` has shape {given[name]} where {wanted[name]} is expected"
    return ""


def judge_changes(exercise: ExerciseKey, outcomes: Sequence[Outcome]) -> CaseVerdict | None:
    """A row of its own for what was handed in and is changed in place; None where nothing is.

    A hidden row where only hidden cases show it.
    """
    names: list[str] = []
    cases: list[CaseKey] = []
    for case, outcome in zip(exercise.cases, outcomes, strict=True):
        if is_changed(case, outcome):
            names += outcome.changed
            cases.append(case)
    if not cases:
        return None
    message = f"it changes {_with_and(list(dict.fromkeys(names)))} in place: work on a copy"
    is_hidden = all(case.hidden for case in cases)
    return CaseVerdict(State.WRONG, UNCHANGED, message, 0.0, is_hidden)


def is_changed(case: CaseKey, outcome: Outcome) -> bool:
    """Whether something that was handed in was changed, and the solution leaves it alone."""
    return bool(outcome.changed) and not case.expected.changed and outcome.failure is None


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


def diagnose(
    exercise: ExerciseKey, outcomes: Sequence[Outcome], verdicts: Sequence[CaseVerdict]
) -> tuple[Hint | None, Fit | None]:
    """The misconception that gives these outcomes, and how well it does."""
    for fit in FITS:
        for index, misconception in enumerate(exercise.misconceptions):
            if _explains(exercise, index, outcomes, verdicts, fit):
                return misconception, fit if is_telling(exercise, index) else Fit.AMONG_OTHERS
    return what_any_exercise_may_lack(exercise, outcomes, verdicts)


def what_any_exercise_may_lack(
    exercise: ExerciseKey, outcomes: Sequence[Outcome], verdicts: Sequence[CaseVerdict]
) -> tuple[Hint | None, Fit | None]:
    """Mistakes that can be made in every exercise, and need no misconception of its own."""
    if only_gradients_are_cut(exercise, outcomes, verdicts):
        return NO_GRADIENT, Fit.EXACT
    wrong = [verdict for verdict in verdicts if verdict.state is not State.RIGHT]
    if not wrong:
        return CHANGE_IN_PLACE, Fit.EXACT
    if all(verdict.nearly for verdict in wrong):
        return OTHER_DTYPE, Fit.EXACT
    return None, None


def is_telling(exercise: ExerciseKey, index: int) -> bool:
    """Whether what a misconception gives could hardly be the work of another mistake.

    Yes and no, small integers, nothing at all and exceptions can: many mistakes give the same.
    """
    wrong = [case.wrong[index] for case in exercise.cases if index in case.wrong]
    values = [value.numbers for outcome in wrong for value in outcome.values.values()]
    return any(numbers.is_floating_point() and numbers.any() for numbers in values) or any(
        numbers.numel() >= FEW and numbers.any() for numbers in values
    )


def only_gradients_are_cut(
    exercise: ExerciseKey, outcomes: Sequence[Outcome], verdicts: Sequence[CaseVerdict]
) -> bool:
    """Whether all that is wrong is that gradients do not arrive."""
    found = False
    for case, outcome, verdict in zip(exercise.cases, outcomes, verdicts, strict=True):
        if verdict.state is State.RIGHT:
            continue
        if not _is_without_gradient(exercise, case, outcome):
            return False
        found = True
    return found


def _is_without_gradient(exercise: ExerciseKey, case: CaseKey, outcome: Outcome) -> bool:
    """Whether a case is right but for its gradients, or fails since there are none."""
    gradients = [name for name in case.expected.values if "gradient" in name]
    if not gradients:
        return False
    if outcome.failure is not None:
        return any(words in outcome.failure.message for words in NO_GRADIENT_SAID)
    others = {name: value for name, value in case.expected.values.items() if name not in gradients}
    if first_difference(exercise, case, replace(case.expected, values=others), outcome) is not None:
        return False
    return all(
        name in outcome.values and is_cut(name, case.expected.values[name], outcome.values[name])
        for name in gradients
        if case.expected.values[name].numbers.any()
    )


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
    unknown = [(share, verdict) for share, is_known, verdict in cases if not is_known]
    total = sum(share for share, _ in unknown)
    solved = sum(share * _credit(verdict) for share, verdict in unknown)
    worth_of_known = solved / total if total else 0.0
    earned = []
    for share, is_known, verdict in cases:
        worth = worth_of_known if is_known else 1.0
        earned.append(share * worth * _credit(verdict))
    return earned


def _credit(verdict: CaseVerdict) -> float:
    """What a case earns of its share."""
    if verdict.state is State.RIGHT:
        return 1.0
    return FOR_THE_VALUES if verdict.nearly else 0.0


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
        if not same_outcome(exercise, case, case.wrong.get(index, case.expected), outcome):
            return False
        is_wrong = verdict.state is not State.RIGHT or is_changed(case, outcome)
        explained_a_mistake |= is_wrong and index in case.wrong
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


def _failed(failure: Failure, hidden: bool) -> str:
    """The exception and the learner's line.

    A hidden case keeps the exception's words back: they may be its inputs. So may the name of an
    exception that the learner made; only Python's own names are shown there.
    """
    said = f"{failure.kind}: {failure.message}"
    if hidden:
        said = failure.kind if hasattr(builtins, failure.kind) else "an exception"
    return f"{said} (line {failure.number}: `{failure.line}`)" if failure.line else said


def _kind_difference(expected: Value, got: Value) -> Difference | None:
    """How the kinds, devices, shapes or dtypes of two values differ; None if they do not.

    A single number may come as a number or as a tensor or array without dimensions.
    """
    both_single = _is_single(expected) and _is_single(got) and got.is_comparable
    if expected.kind != got.kind and not both_single:
        words = f"{_a(got.kind)} where {_a(expected.kind)} is expected"
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
        return _a(value.kind)
    return _a(f"{_dtype(value.numbers)} number")


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
    number, right_number = _shown_apart(given[worst], wanted[worst], is_yes_or_no)
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


def _a(kind: str) -> str:
    """A kind with its article: `an integer`, `a tuple of integers`."""
    for stored, word in IN_WORDS.items():
        kind = kind.replace(stored, word)
    if kind.startswith(("a ", "an ", "nothing")):
        return kind
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


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
