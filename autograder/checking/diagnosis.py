"""Which known mistake gives what came out, and how well it explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autograder.checking.difference import first_difference, is_cut, same_outcome
from autograder.checking.key import CaseKey, ExerciseKey
from autograder.checking.outcome import Outcome, Value
from autograder.checking.verdict import CaseVerdict, Fit, Hint, State

FITS = (Fit.EXACT, Fit.WHERE_IT_RUNS, Fit.BUT_FOR_DTYPE)
"""How closely a misconception may explain what came out, the closest first."""

FEW = 6
"""So many integers or booleans may be alike by chance, after another mistake."""

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
NO_GRADIENT_SAID = (
    "on Tensor that requires grad",
    "does not require grad",
    "not have a grad_fn",
)


def is_changed(case: CaseKey, outcome: Outcome) -> bool:
    """Whether something that was handed in was changed, and the solution leaves it alone."""
    return bool(outcome.changed) and not case.expected.changed and outcome.failure is None


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
    if not any(case.expected.values[name].numbers.any() for name in gradients):
        return False  # an answer about a gradient, or one that must be zero
    others = {name: value for name, value in case.expected.values.items() if name not in gradients}
    if first_difference(exercise, case, replace(case.expected, values=others), outcome) is not None:
        return False
    return all(
        name in outcome.values and is_cut(name, case.expected.values[name], outcome.values[name])
        for name in gradients
        if case.expected.values[name].numbers.any()
    )


def _explains(
    exercise: ExerciseKey,
    index: int,
    outcomes: Sequence[Outcome],
    verdicts: Sequence[CaseVerdict],
    fit: Fit,
) -> bool:
    """Whether misconception `index` gives these outcomes, as closely as `fit` asks."""
    explained, passed_over = 0, 0
    for case, outcome, verdict in zip(exercise.cases, outcomes, verdicts, strict=True):
        if fit is Fit.WHERE_IT_RUNS and verdict.state is State.ERROR:
            passed_over += 1
            continue
        if fit is Fit.BUT_FOR_DTYPE:
            outcome = with_dtypes_of(case.expected, outcome)
        if not same_outcome(exercise, case, case.wrong.get(index, case.expected), outcome):
            return False
        is_wrong = verdict.state is not State.RIGHT or is_changed(case, outcome)
        explained += is_wrong and index in case.wrong
    return explained > 0 and explained >= passed_over


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
