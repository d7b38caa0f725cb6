"""From a transcript to verdicts.

This runs outside the sandbox, and runs nothing of what the learner wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from autograder.checking.judge import judge, judge_answers
from autograder.checking.key import CaseKey, ExerciseKey, Key
from autograder.checking.outcome import NOT_ATTEMPTED, SCALARS, Failure, Outcome, Value
from autograder.checking.verdict import SPECIAL, CaseVerdict, State, Verdict
from autograder.grading import learner_source as source
from autograder.grading.align import RUN, Cell, Role
from autograder.grading.result import CellRun
from autograder.grading.session import Transcript
from autograder.words import first_line

KINDS = {
    "tensor",
    "array",
    "nothing (None)",
    *SCALARS.values(),
    *(f"tuple of {kind}s" for kind in SCALARS.values()),
}
MOST_SAID = 200  # characters of an error's own words
DEVICES = {"cpu", "cuda", "mps", "meta"}


def verdicts_of(key: Key, cells: Sequence[Cell], transcript: Transcript) -> dict[str, Verdict]:
    """The verdict on every exercise of a submission.

    Adds to the transcript's evidence what the source says.
    """
    written = source.read(cell.source for cell in cells if cell.role in RUN | {Role.CHECK})
    reaching = source.reaching_for_grader(written)
    transcript.evidence += [f"reaches for the process around it: {line}" for line in reaching]
    found = {}
    for name, exercise in key.exercises.items():
        forbidden = source.forbidden(written, name, exercise.forbid)
        verdict = verdict_of(exercise, cells, transcript, forbidden)
        hides = bool(exercise.forbid and verdict.points) and source.could_hide(written, name)
        found[name] = suspected(verdict) if hides or name in transcript.tampered else verdict
    return found


def verdict_of(
    exercise: ExerciseKey,
    cells: Sequence[Cell],
    transcript: Transcript,
    forbidden: Sequence[tuple[str, str]],
) -> Verdict:
    """The verdict on one exercise."""
    if exercise.answers:
        answers = transcript.answers.get(exercise.name)
        if answers is None:
            return special(
                exercise, State(transcript.states.get(exercise.name, State.GRADER_FAULT))
            )
        return judge_answers(exercise, answers)
    taken = transcript.outcomes.get(exercise.name, [])
    outcomes = [outcome for outcome in taken if outcome is not None]
    if len(taken) != len(exercise.cases) or len(outcomes) < len(taken):
        return special(exercise, State.GRADER_FAULT)
    lines = {
        line.strip() for cell in cells if cell.role in RUN for line in cell.source.splitlines()
    }
    outcomes = [
        believed(outcome, exercise, case, lines)
        for outcome, case in zip(outcomes, exercise.cases, strict=True)
    ]
    return judge(exercise, with_reason(exercise.name, cells, transcript.cells, outcomes), forbidden)


def believed(outcome: Outcome, exercise: ExerciseKey, case: CaseKey, lines: Set[str]) -> Outcome:
    """An outcome without what its process cannot have seen.

    Of a hidden case, words that may be its inputs go, too: the names of types, parameters and
    source lines are the learner's to choose, even while the code runs.
    """
    shortcuts = tuple(name for name in outcome.shortcuts if name in exercise.forbid)
    outcome = replace(outcome, shortcuts=shortcuts)
    if not case.hidden:
        return outcome
    failure = outcome.failure
    if failure is not None and failure.line not in lines:
        failure = replace(failure, line="", number=0)
    values = {name: plain(value) for name, value in outcome.values.items()}
    changed = ("an input",) if outcome.changed else ()
    return replace(outcome, values=values, failure=failure, changed=changed)


def plain(value: Value) -> Value:
    """A value whose kind and device are among those that the runner itself can give."""
    if value.kind in KINDS and value.device in DEVICES:
        return value
    return replace(value, kind="an object of another kind", device="cpu")


def with_reason(
    exercise: str, cells: Sequence[Cell], runs: Mapping[str, CellRun], outcomes: Sequence[Outcome]
) -> Sequence[Outcome]:
    """The outcomes, with a reason where the exercise is missing because its own cell failed."""
    if any(
        outcome.failure is None or outcome.failure.kind != NOT_ATTEMPTED for outcome in outcomes
    ):
        return outcomes
    own = [
        runs.get(cell.id, CellRun())
        for cell in cells
        if cell.role is Role.EXERCISE and cell.name == exercise
    ]
    failure = next((failure for run in own if (failure := failure_of(run))), None)
    return [Outcome(failure=failure) for _ in outcomes] if failure else outcomes


def failure_of(run: CellRun) -> Failure | None:
    """Why a cell did not run through; None where it did."""
    if run.state:
        return Failure(run.state)
    for output in run.outputs:
        if output["output_type"] == "error":
            said = first_line(output["evalue"])[:MOST_SAID]
            return Failure(output["ename"], f"in the exercise's cell: {said}")
    return None


def special(exercise: ExerciseKey, state: State) -> Verdict:
    """A verdict that is a state and nothing else."""
    row = CaseVerdict(state, exercise.name, SPECIAL[state], 0.0)
    return Verdict(exercise.name, state, 0.0, exercise.points, (row,), hints=exercise.hints)


def suspected(verdict: Verdict) -> Verdict:
    """A verdict that a person must confirm: it earns nothing until then."""
    row = CaseVerdict(State.TAMPERING, verdict.exercise, SPECIAL[State.TAMPERING], 0.0)
    rows = (row, *(replace(case, points=0.0) for case in verdict.cases))
    return replace(verdict, state=State.TAMPERING, points=0.0, cases=rows, diagnosis=None, fit=None)


def all_faulty(key: Key) -> dict[str, Verdict]:
    """Verdicts for a submission that the grader failed on."""
    return {name: special(exercise, State.GRADER_FAULT) for name, exercise in key.exercises.items()}
