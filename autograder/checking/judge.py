"""The judge: compares outcomes with the answer key and gives the verdict.

It never runs learner code.
"""

from __future__ import annotations

import builtins
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from autograder.checking.diagnosis import diagnose, is_changed
from autograder.checking.difference import (
    first_difference,
    is_right_but_for_dtype,
    with_article,
)
from autograder.checking.key import AnswerKey, CaseKey, ExerciseKey, hash_answer, nearby
from autograder.checking.outcome import NOT_ATTEMPTED, Failure, Outcome
from autograder.checking.verdict import SPECIAL, CaseVerdict, Fit, State, Verdict

FOR_THE_VALUES = 0.75
"""Share of a case's points for right values of another dtype."""

COST_OF_A_CHANGE = 0.25
"""Share of the points that a change in place of what was handed in costs."""

UNCHANGED = "what it is given stays as it was"


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
        state, message, own_slips = judge_answer(key, answers.get(name))
        slips += own_slips
        rows.append(CaseVerdict(state, name, message, share if state is State.RIGHT else 0.0))
    overall = _overall(rows)
    likeliest = Counter(slips).most_common(1)  # the slip that explains most of the numbers
    diagnosis = exercise.misconceptions[likeliest[0][0]] if likeliest else None
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


def judge_answer(key: AnswerKey, answer: object) -> tuple[State, str, list[int]]:
    """(state, message, numbers of the misconceptions that give it) of one answer."""
    if answer is None or answer is Ellipsis:
        return State.NOT_ATTEMPTED, "no answer yet", []
    value = _number(answer, key.kind)
    if value is None:
        kind = getattr(answer, "type_name", type(answer).__name__)
        return State.WRONG, f"{with_article(key.kind)} is expected, not {kind}", []
    candidates = nearby(value, key.digits)
    digests = {hash_answer(candidate, key.salt, key.digits) for candidate in candidates}
    if key.digest in digests:
        return State.RIGHT, "", []
    slips = [index for index, digest in key.wrong.items() if digest in digests]
    return State.WRONG, f"{value!r} is not the answer", slips


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


def _failed(failure: Failure, hidden: bool) -> str:
    """The exception and the learner's line.

    A hidden case keeps the exception's words back: they may be its inputs. So may the name of an
    exception that the learner made; only Python's own names are shown there.
    """
    said = f"{failure.kind}: {failure.message}"
    if hidden:
        said = failure.kind if hasattr(builtins, failure.kind) else "an exception"
    return f"{said} (line {failure.number}: `{failure.line}`)" if failure.line else said


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
