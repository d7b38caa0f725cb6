"""Inputs drawn afresh: whatever is drawn, what is right is right, and each misconception is named.

The released keys are one draw, which the gates prove; a grading run has another. Three secrets,
every unit, in this process: what runs here is the course's own code. A misconception runs once for
each secret, when its key is made, and is judged by what it gave then.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from autograder.authoring import record
from autograder.authoring.lesson import Exercise
from autograder.authoring.record import variant
from autograder.authoring.wheat import load_wheats
from autograder.checking.judge import judge, judge_answers
from autograder.checking.key import CaseKey, ExerciseKey, Key
from autograder.checking.observe import no_logs, observe
from autograder.checking.outcome import Outcome
from autograder.checking.probe import CaseValues, Draw, Probe, load_probes
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


class Trial:
    """A unit's answers, put to the test with the inputs that secrets draw."""

    def __init__(self, unit: Unit, monkeypatch: pytest.MonkeyPatch):
        self.unit, self.lesson = unit, unit.lesson
        self.probes = load_probes(unit.folder / "probes.py")
        self.names = self.lesson.namespace()
        self.watched = False  # whether to look for forbidden operators
        self.problems: list[str] = []
        # Every key is recorded from the names that are there already, and by `observed`.
        monkeypatch.setattr(self.lesson, "namespace", lambda: self.names)
        monkeypatch.setattr(record, "observe", self.observed)

    def observed(
        self, probe: Probe, values: CaseValues, draw: Draw, answer: Callable[..., Any]
    ) -> Outcome:
        """One case's outcome, with the forbidden operators that ran where those are looked for."""
        forbidden = self.lesson.exercises[probe.exercise].forbid if self.watched else ()
        outcome = observe(probe, values, draw, answer, forbidden)
        if outcome.shortcuts:
            self.problems.append(f"{outcome.call} of {probe.exercise} ran {outcome.shortcuts}")
        return outcome

    def tried(self, key: ExerciseKey, case: CaseKey, names: Mapping[str, Any]) -> Outcome:
        """What the names hold for an exercise, run on a case of its key."""
        draw = Draw(case.seed, case.dtype, case.inputs)
        return self.observed(
            self.probes.find(key.name, case.probe), case.values, draw, names[key.name]
        )

    def verdict(self, key: ExerciseKey, names: Mapping[str, Any]) -> Verdict:
        """The verdict on what the names hold for an exercise, run on all of its key's cases."""
        if key.answers:
            return judge_answers(key, {name: names[name] for name in key.answers})
        return judge(key, [self.tried(key, case, names) for case in key.cases])

    def verdict_as_recorded(
        self, key: ExerciseKey, number: int, names: Mapping[str, Any], once_more: bool
    ) -> Verdict:
        """The verdict on a misconception by what it gave when the key was made; `once_more`: its
        first wrong case runs again."""
        if key.answers:
            return self.verdict(key, names)
        outcomes = [case.wrong.get(number, case.expected) for case in key.cases]
        wrong = [index for index, case in enumerate(key.cases) if number in case.wrong]
        if once_more and wrong:
            outcomes[wrong[0]] = self.tried(key, key.cases[wrong[0]], names)
        return judge(key, outcomes)

    def misconceptions(self, exercise: Exercise) -> list[tuple[str, dict[str, Any]]]:
        """With its name, the lesson's names with each misconception in the exercise's place."""
        where = f"{self.lesson.unit}/exercises.toml"
        found = []
        for number, item in enumerate(exercise.misconceptions):
            source = item.apply(exercise.solution, where)
            names = variant(self.lesson, exercise, self.names, source, f"wrong {number}")
            found.append((item.name, names))
        return found

    def right_answers(self, exercise: Exercise) -> dict[str, dict[str, Any]]:
        """By name, the lesson's names with a right answer in the exercise's place."""
        found = {"the solution": self.names}
        for item in load_wheats(self.unit.folder / "wheats.py"):
            if item.exercise == exercise.name and not item.is_shortcut:
                bound = item.answer() if exercise.answers else {exercise.name: item.answer}
                found[item.name] = {**self.names, **bound}
        return found


@pytest.mark.parametrize("name", [MINI, *units()])
def test_right_is_right_and_every_misconception_is_named(name, built_mini, monkeypatch):
    trial = Trial(unit_of(name, built_mini), monkeypatch)
    problems = trial.problems
    right = {item.name: trial.right_answers(item) for item in trial.lesson.exercises.values()}
    wrong = {item.name: trial.misconceptions(item) for item in trial.lesson.exercises.values()}
    for secret in SECRETS:
        # Which operators run hangs on the code and on a case's settings, hardly on the numbers.
        trial.watched = first = secret == SECRETS[0]
        with no_logs():  # once for all cases
            for exercise, key in fresh_key(trial.unit, secret).exercises.items():
                for label, names in right[exercise].items():
                    verdict = trial.verdict(key, names)
                    if (verdict.state, verdict.points) != (State.RIGHT, verdict.max_points):
                        problems.append(
                            f"{secret}: {label} of {exercise} is {verdict.state}: {verdict.cases}"
                        )
                for number, (label, names) in enumerate(wrong[exercise]):
                    verdict = trial.verdict_as_recorded(key, number, names, once_more=first)
                    found = verdict.diagnosis.name if verdict.diagnosis else None
                    if verdict.is_right or found != label or verdict.points >= verdict.max_points:
                        problems.append(
                            f"{secret}: {exercise} with {label!r} is {verdict.state}, taken for"
                            f" {found!r}"
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
