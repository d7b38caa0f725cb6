"""Record an answer key: run every probe on the solution and on each misconception."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cvcourse
from autograder.authoring.lesson import Exercise, Lesson, Misconception, run_cell
from autograder.checking.checker import digest
from autograder.checking.difference import first_difference, same_outcome
from autograder.checking.key import AnswerKey, CaseKey, ExerciseKey, Key, ProbeRule, hash_answer
from autograder.checking.limits import TooSlow, deadline
from autograder.checking.observe import observe
from autograder.checking.outcome import Failure, Outcome, plain
from autograder.checking.probe import DTYPES, Case, Draw, Probe, ProbeFile, load_probes
from autograder.checking.verdict import Hint
from autograder.errors import CourseError

SECONDS_PER_CASE = 10.0
LIKELY, MOST_PAIRS = 4, 3  # of the first so many misconceptions, so many pairs are recorded


def record_key(lesson: Lesson, release: str, old: Key | None = None, secret: bytes = b"") -> Key:
    """The key of a unit with all its cases.

    old: lends its salts, so that an unchanged answer keeps its hash. secret: draws the inputs of
    every case from it instead of from the stored seeds, as each grading run does; numeric answers
    have no inputs and stay as they are in `old`. Raises CourseError.
    """
    probes = load_probes(lesson.folder / "probes.py")
    if secret:
        probes = with_fresh_seeds(probes, secret)
    unknown = set(probes.by_exercise) - set(lesson.exercises)
    if unknown:
        raise CourseError(
            f"{lesson.unit}/probes.py probes {', '.join(sorted(unknown))}, which the lesson does"
            " not have."
        )
    namespace = lesson.namespace()
    exercises = {}
    for exercise in lesson.exercises.values():
        before = old.exercises.get(exercise.name) if old else None
        if not exercise.answers:
            exercises[exercise.name] = _record_cases(lesson, exercise, namespace, probes)
        elif secret and before:
            exercises[exercise.name] = before  # a hash is made slow on purpose
        else:
            exercises[exercise.name] = _record_answers(lesson, exercise, namespace, before)
    probes_digest = digest((lesson.folder / "probes.py").read_bytes())
    return Key(
        lesson.unit, cvcourse.__version__, lesson.source_digest, release, probes_digest, exercises
    )


def with_fresh_seeds(probes: ProbeFile, secret: bytes) -> ProbeFile:
    """The probes with seeds that follow from a secret."""

    def seed(probe: Probe, index: int) -> int:
        name = f"{probe.exercise}/{probe.name}/{index}".encode()
        return int.from_bytes(hashlib.blake2b(name, key=secret, digest_size=7).digest(), "big")

    def reseeded(probe: Probe) -> Probe:
        cases = tuple(
            replace(case, seed=seed(probe, index)) for index, case in enumerate(probe.cases)
        )
        return replace(probe, cases=cases)

    return ProbeFile(
        probes.path,
        {name: [reseeded(probe) for probe in own] for name, own in probes.by_exercise.items()},
    )


def only(key: Key, hidden: bool) -> Key:
    """The key with its visible or its hidden cases alone."""
    exercises = {
        name: replace(
            exercise, cases=tuple(case for case in exercise.cases if case.hidden is hidden)
        )
        for name, exercise in key.exercises.items()
    }
    return replace(key, exercises=exercises)


def variant(
    lesson: Lesson, exercise: Exercise, namespace: Mapping[str, Any], source: str, label: str
) -> dict[str, Any]:
    """The lesson's names with another source for one exercise, and solutions for the others."""
    changed = dict(namespace)
    try:
        run_cell(changed, source, f"<{lesson.unit} {exercise.name} {label}>")
    except Exception as error:
        raise CourseError(
            f"{lesson.unit}/exercises.toml: the {label} of {exercise.name} does not run after its"
            f" change: {type(error).__name__}: {error}."
        ) from error
    return changed


def _with_misconceptions(
    lesson: Lesson, exercise: Exercise, namespace: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The lesson's names once for each misconception of an exercise."""
    where = f"{lesson.unit}/exercises.toml"
    return [
        variant(
            lesson,
            exercise,
            namespace,
            item.apply(exercise.solution, where),
            f"misconception {index}",
        )
        for index, item in enumerate(exercise.misconceptions)
    ]


def _without_cases(exercise: Exercise) -> ExerciseKey:
    hints = tuple(Hint(item.name, item.hint) for item in exercise.misconceptions)
    return ExerciseKey(exercise.name, exercise.points, exercise.hints, exercise.forbid, hints)


def _record_cases(
    lesson: Lesson, exercise: Exercise, namespace: Mapping[str, Any], probes: ProbeFile
) -> ExerciseKey:
    own = probes.by_exercise.get(exercise.name, [])
    for hidden, kind in ((False, "visible"), (True, "hidden")):
        if not any(case.hidden is hidden for probe in own for case in probe.cases):
            raise CourseError(f"{lesson.unit}/probes.py has no {kind} case for {exercise.name}.")
    entry = replace(_without_cases(exercise), probes={probe.name: _rule(probe) for probe in own})
    answers = [names[exercise.name] for names in _with_misconceptions(lesson, exercise, namespace)]
    pairs = []
    for index, (said, source) in enumerate(pairs_of(exercise).items()):
        with contextlib.suppress(CourseError):  # together, two patches need not run
            names = variant(lesson, exercise, namespace, source, f"pair {index}")
            answers.append(names[exercise.name])
            pairs.append(said)
    cases = [
        _record_case(entry, probe, case, namespace[exercise.name], answers)
        for probe in own
        for case in probe.cases
    ]
    return without_useless_pairs(replace(entry, cases=tuple(cases)), pairs)


def pairs_of(exercise: Exercise) -> dict[Hint, str]:
    """The likeliest pairs of mistakes made at once: what is said of a pair -> the wrong solution.

    Misconceptions stand in their table with the likeliest first. Their patches must touch different
    lines.
    """
    likely = [item for item in exercise.misconceptions if item.is_first][:LIKELY]
    found: dict[Hint, str] = {}
    for second in range(1, len(likely)):
        for first in range(second):
            source = patched_twice(exercise.solution, likely[first], likely[second])
            if source and len(found) < MOST_PAIRS:
                one, other = likely[first], likely[second]
                name = f"two mistakes at once: {one.name}; and {other.name}"
                found[Hint(name, f"{one.hint} {other.hint}")] = source
    return found


def patched_twice(solution: str, one: Misconception, other: Misconception) -> str:
    """A solution with two misconceptions; empty where their patches meet."""
    if lines_touched(solution, one) & lines_touched(solution, other):
        return ""
    try:
        return other.apply(one.apply(solution, ""), "")
    except CourseError:  # the one's patch is in the way of the other's
        return ""


def lines_touched(solution: str, item: Misconception) -> set[str]:
    """The lines of a solution that a misconception's patch changes."""
    after = set(item.apply(solution, "").splitlines())
    return {line for line in solution.splitlines() if line not in after}


def without_useless_pairs(entry: ExerciseKey, pairs: Sequence[Hint]) -> ExerciseKey:
    """The key with those pairs that give what nothing else gives, after its misconceptions."""
    single = len(entry.misconceptions)
    kept: list[int] = []
    for index in range(single, single + len(pairs)):
        runs = any(
            index in case.wrong and case.wrong[index].failure is None for case in entry.cases
        )
        if runs and not any(_alike(entry, index, other) for other in [*range(single), *kept]):
            kept.append(index)
    renamed = {index: single + place for place, index in enumerate(kept)}
    cases = [
        replace(
            case,
            wrong={
                renamed.get(index, index): outcome
                for index, outcome in case.wrong.items()
                if index < single or index in renamed
            },
        )
        for case in entry.cases
    ]
    hints = [*entry.misconceptions, *(pairs[index - single] for index in kept)]
    return replace(entry, misconceptions=tuple(hints), cases=tuple(cases))


def _alike(entry: ExerciseKey, one: int, other: int) -> bool:
    """Whether two wrong solutions give the same in every case."""
    return all(
        same_outcome(
            entry, case, case.wrong.get(one, case.expected), case.wrong.get(other, case.expected)
        )
        for case in entry.cases
    )


def _record_case(
    entry: ExerciseKey, probe: Probe, case: Case, solution: Any, misconceptions: list[Any]
) -> CaseKey:
    fresh = Draw(case.seed, case.dtype)
    expected = _run(probe, case, fresh, solution)
    if expected.failure is not None:
        raise CourseError(
            f"The solution of {entry.name} fails in its own probe {probe.name}({case.values}): "
            f"{expected.failure.kind}: {expected.failure.message} {expected.failure.line}"
        )
    odd = [
        f"{name} is {value.kind}"
        for name, value in expected.values.items()
        if not value.is_comparable
    ]
    if odd or not expected.values:
        raise CourseError(
            f"The probe {probe.name} of {entry.name} returns what cannot be compared:"
            f" {', '.join(odd) or 'nothing'}."
        )
    inputs = tuple(fresh.drawn)
    key = CaseKey(probe.name, case.values, case.dtype, case.seed, case.hidden, inputs, expected, {})
    wrong = {
        index: outcome
        for index, answer in enumerate(misconceptions)
        if differs_from(
            entry, key, outcome := _run(probe, case, Draw(case.seed, case.dtype, inputs), answer)
        )
    }
    return replace(key, wrong=wrong)


def differs_from(entry: ExerciseKey, case: CaseKey, outcome: Outcome) -> bool:
    """Whether an outcome is not the expected one."""
    if outcome.failure or bool(outcome.changed) != bool(case.expected.changed):
        return True
    return first_difference(entry, case, case.expected, outcome) is not None


def _run(probe: Probe, case: Case, draw: Draw, answer: Any) -> Outcome:
    try:
        with deadline(SECONDS_PER_CASE):
            return observe(probe, case.values, draw, answer)
    except TooSlow:
        return Outcome(failure=Failure("TooSlow", f"more than {SECONDS_PER_CASE:g} s"))


def _rule(probe: Probe) -> ProbeRule:
    tolerances = {dtype: probe.tolerance(dtype) for dtype in DTYPES}
    return ProbeRule(
        {dtype: rtol for dtype, (rtol, _) in tolerances.items()},
        {dtype: atol for dtype, (_, atol) in tolerances.items()},
        probe.law,
        probe.weight,
    )


def _record_answers(
    lesson: Lesson, exercise: Exercise, namespace: Mapping[str, Any], before: ExerciseKey | None
) -> ExerciseKey:
    wrong = _with_misconceptions(lesson, exercise, namespace)
    keys = {}
    for name in exercise.answers:
        if name not in namespace:
            raise CourseError(f"The solution of {exercise.name} does not assign {name}.")
        value = plain(namespace[name])
        kind, number = value.kind, value.numbers.item()
        salt = (
            before.answers[name].salt if before and name in before.answers else secrets.token_hex(8)
        )
        hashed = {
            index: hash_answer(type(number)(names[name]), salt, exercise.digits)
            for index, names in enumerate(wrong)
            if names[name] != namespace[name]
        }
        keys[name] = AnswerKey(
            kind, exercise.digits, salt, hash_answer(number, salt, exercise.digits), hashed
        )
    return replace(_without_cases(exercise), answers=keys)
