"""Inputs drawn afresh: whatever is drawn, what is right is right, and each misconception is named.

The released keys are one draw, which the gates prove; a grading run has another. Three secrets,
every unit, in this
process: what runs here is the course's own code. Misconceptions run once for each secret, when its
key is made, and for the first secret once more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autograder.authoring.lesson import Exercise, Lesson
from autograder.authoring.record import variant
from autograder.authoring.wheat import load_wheats
from autograder.checking.judge import judge, judge_answers
from autograder.checking.key import ExerciseKey, Key
from autograder.checking.observe import observe
from autograder.checking.outcome import Outcome
from autograder.checking.probe import Draw, ProbeFile, load_probes
from autograder.checking.verdict import State, Verdict
from autograder.grading import materials
from autograder.grading.materials import Unit, fresh_key, make_materials
from autograder.sandbox.wire import LENGTHS
from autograder.units import ROOT, units

MINI = "90_mini"
SECRETS = [f"{number:032x}" for number in range(1, 4)]
pytestmark = pytest.mark.usefixtures("one_thread")


def unit_of(name: str, built_mini: Path) -> Unit:
    return Unit(built_mini if name == MINI else ROOT, name)


def judged(key: ExerciseKey, probes: ProbeFile, names: dict[str, Any]) -> Verdict:
    """The verdict on what the names hold for an exercise."""
    if key.answers:
        return judge_answers(key, {name: names[name] for name in key.answers})
    answer = names[key.name]
    return judge(key, [tried(key, probes, case, answer) for case in key.cases])


def tried(key: ExerciseKey, probes: ProbeFile, case: Any, answer: Callable[..., Any]) -> Outcome:
    draw = Draw(case.seed, case.dtype, case.inputs)
    return observe(probes.find(key.name, case.probe), case.values, draw, answer, key.forbid)


def recorded(key: ExerciseKey, misconception: int) -> list[Outcome]:
    """What a misconception gave on a key's inputs when the key was made; to run it again would take
    as long again."""
    return [case.wrong.get(misconception, case.expected) for case in key.cases]


def misconceptions(
    lesson: Lesson, exercise: Exercise, names: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """By name, the lesson's names with that misconception in the exercise's place."""
    where = f"{lesson.unit}/exercises.toml"
    return {
        item.name: variant(lesson, exercise, names, item.apply(exercise.solution, where), item.name)
        for item in exercise.misconceptions
    }


@pytest.mark.parametrize("name", [MINI, *units()])
def test_right_is_right_and_every_misconception_is_named(name, built_mini):
    unit = unit_of(name, built_mini)
    lesson, probes = unit.lesson, load_probes(unit.folder / "probes.py")
    names = lesson.namespace()
    wrong = {item.name: misconceptions(lesson, item, names) for item in lesson.exercises.values()}
    wheats = [item for item in load_wheats(unit.folder / "wheats.py") if not item.is_shortcut]
    problems = []
    for secret in SECRETS:
        key = fresh_key(unit, secret)
        for exercise in lesson.exercises:
            verdict = judged(key.exercises[exercise], probes, names)
            if (verdict.state, verdict.points) != (State.RIGHT, verdict.max_points):
                problems.append(
                    f"{secret}: the solution of {exercise} is {verdict.state}: {verdict.cases}"
                )
            for number, (label, changed) in enumerate(wrong[exercise].items()):
                once_more = secret == SECRETS[0] or key.exercises[exercise].answers
                verdict = (
                    judged(key.exercises[exercise], probes, changed)
                    if once_more
                    else judge(key.exercises[exercise], recorded(key.exercises[exercise], number))
                )
                found = verdict.diagnosis.name if verdict.diagnosis else None
                if verdict.is_right or found != label or verdict.points >= verdict.max_points:
                    problems.append(
                        f"{secret}: {exercise} with {label!r} is {verdict.state}, taken for"
                        f" {found!r}"
                    )
        for item in wheats:
            bound = (
                item.answer()
                if lesson.exercises[item.exercise].answers
                else {item.exercise: item.answer}
            )
            verdict = judged(key.exercises[item.exercise], probes, {**names, **bound})
            if not verdict.is_right:
                problems.append(
                    f"{secret}: the right answer {item.name} of {item.exercise} is {verdict.state}"
                )
    assert problems == []


@pytest.fixture
def unit(built_mini: Path) -> Unit:
    return Unit(built_mini, MINI)


def inputs(key: Key) -> list[list[float]]:
    return [
        tensor.flatten().tolist()
        for item in key.exercises.values()
        for case in item.cases
        for tensor in case.inputs
    ]


def test_a_secret_decides_the_inputs_and_another_gives_others(unit):
    one, same, other = (inputs(fresh_key(unit, secret)) for secret in ("a", "a", "b"))
    released = inputs(unit.stored_key)
    assert one == same
    assert len(one) == len(other) == len(released)
    for drawn, again, known in zip(one, other, released, strict=True):
        assert drawn != again and drawn != known and again != known


def test_what_is_no_draw_stays_as_it_was_released(unit):
    fresh, stored = fresh_key(unit, "a"), unit.stored_key
    assert list(fresh.exercises) == list(stored.exercises) == unit.exercises
    for name, item in fresh.exercises.items():
        before = stored.exercises[name]
        assert item.answers == before.answers
        assert (item.points, item.hints, item.misconceptions) == (
            before.points,
            before.hints,
            before.misconceptions,
        )
        told = [(case.probe, case.values, case.dtype, case.hidden) for case in before.cases]
        assert sorted(map(repr, told)) == sorted(
            repr((case.probe, case.values, case.dtype, case.hidden)) for case in item.cases
        )


def test_the_kit_holds_inputs_and_no_answers(unit):
    key = fresh_key(unit, "a")
    packed = make_materials(unit, key, "a")
    (scaled,) = (item for item in packed.asks.values() if item.exercise == "Scale")
    text = (
        repr(packed).encode() + packed.start + b"".join(request for request, _ in scaled.requests)
    )
    assert b"digest" not in text and b"expected" not in text and b"misconception" not in text
    for item in key.exercises.values():
        for answer in item.answers.values():
            assert answer.digest.encode() not in text and answer.salt.encode() not in text
        for case in item.cases:
            for value in case.expected.values.values():
                numbers = value.numbers.numpy().tobytes()
                requests = [request for request, _ in packed.asks[item.name].requests]
                assert len(numbers) < 16 or not any(numbers in request for request in requests)


def test_released_cases_are_asked_before_hidden_ones(unit):
    key = fresh_key(unit, "a")
    for name, item in key.exercises.items():
        order = [
            index
            for _, cases in make_materials(unit, key, "a").asks[name].requests
            for index in cases
        ]
        hidden = [item.cases[index].hidden for index in order]
        assert sorted(order) == list(range(len(item.cases)))
        assert hidden == sorted(hidden)


def test_a_request_holds_the_inputs_of_its_cases_alone(unit):
    key = fresh_key(unit, "a")
    for request, cases in make_materials(unit, key, "a").asks["moving_sum"].requests:
        _, arrays = LENGTHS.unpack_from(request)
        sizes = [
            tensor.numel() * tensor.element_size()
            for index in cases
            for tensor in key.exercises["moving_sum"].cases[index].inputs
        ]
        assert arrays == sum(sizes) > 0


def test_secrets_differ_and_cannot_be_guessed():
    drawn = {materials.new_secret() for _ in range(100)}
    assert len(drawn) == 100
    assert {len(secret) for secret in drawn} == {32}


def test_the_graders_digest_follows_its_code_and_not_its_line_ends(tmp_path):
    one, other = tmp_path / "a.py", tmp_path / "b.py"
    one.write_bytes(b"x = 1\n")
    other.write_bytes(b"x = 1\r\n")
    assert materials.digest_of([one]) == materials.digest_of([other])
    other.write_bytes(b"x = 2\n")
    assert materials.digest_of([one]) != materials.digest_of([other])


def test_a_unit_that_was_edited_and_not_built_is_refused(built_mini, tmp_path):
    root = Path(shutil.copytree(built_mini, tmp_path / "mini"))
    lesson = root / "solutions" / MINI / f"{MINI}.py"
    lesson.write_text(lesson.read_text().replace("A miniature unit", "A tiny unit"))
    with pytest.raises(
        materials.CourseError, match=r"was edited since it was built: run `cvcourse build 90_mini`"
    ):
        fresh_key(Unit(root, MINI), "a")
