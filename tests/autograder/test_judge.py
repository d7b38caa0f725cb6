"""The judge names each kind of difference, gives partial credit, and diagnoses only what matches
exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from autograder.checking.diagnosis import CHANGE_IN_PLACE, NO_GRADIENT, OTHER_DTYPE
from autograder.checking.difference import compare
from autograder.checking.judge import (
    UNCHANGED,
    earned_shares,
    judge,
    judge_answers,
    known_beforehand,
)
from autograder.checking.key import AnswerKey, CaseKey, ExerciseKey, ProbeRule, hash_answer
from autograder.checking.outcome import NOT_ATTEMPTED, Failure, Outcome, plain
from autograder.checking.verdict import SPECIAL, CaseVerdict, Fit, Hint, State

RULE = ProbeRule(
    {"float32": 1e-4, "float64": 1e-8}, {"float32": 1e-6, "float64": 1e-10}, law=False, weight=1.0
)
LAW = ProbeRule(RULE.rtol, RULE.atol, law=True, weight=1.0)


def outcome(value, **others):
    return Outcome({"output": plain(value)}, **others)


def case(expected, wrong=None, probe="output", hidden=False):
    outcomes = {index: outcome(value) for index, value in (wrong or {}).items()}
    return CaseKey(probe, (), "float32", 0, hidden, (), outcome(expected), outcomes)


def exercise(*cases, points=3.0, misconceptions=("first", "second"), probes=None):
    hints = tuple(Hint(name, f"hint of {name}") for name in misconceptions)
    return ExerciseKey(
        "f", points, ("one", "two"), (), hints, probes or {"output": RULE}, tuple(cases)
    )


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), "shape (3, 2) where (2, 3) is expected"),
        (
            torch.zeros(2),
            torch.zeros(2, dtype=torch.float64),
            "dtype float64 where float32 is expected",
        ),
        (torch.zeros(2), torch.tensor([0.0, math.nan]), "NaN in 1 of 2 places, first at [1]"),
        (
            torch.zeros(2),
            torch.tensor([0.0, math.inf]),
            "yours is inf and 0 is expected at [1], where they differ most",
        ),
        (
            torch.tensor([math.inf, 1.0]),
            torch.tensor([2.0, 1.0]),
            "infinite or NaN values differ, first at [0]",
        ),
        (
            torch.tensor([math.nan, math.inf]),
            torch.tensor([math.nan, 1.0]),
            "values differ, first at [1]",
        ),
        (
            torch.tensor([math.nan, 1.0]),
            torch.tensor([7.0, 1.0]),
            "infinite or NaN values differ, first at [0]",
        ),
        (
            torch.full((2,), 1e308, dtype=torch.float64),
            torch.full((2,), -1e308, dtype=torch.float64),
            "yours is -1e+308 and 1e+308 is expected at [0]",
        ),
        (
            torch.tensor([[1.0], [3.0]]),
            torch.tensor([[1.0], [3.5]]),
            "yours is 3.5 and 3 is expected at [1, 0], where they differ most; 1 of 2",
        ),
        (torch.zeros(2), None, "nothing (None; is a `return` missing?) where a tensor is expected"),
        (torch.zeros(2), "text", "a str where a tensor is expected"),
        (5, 5.0, "a number where an integer is expected"),
        (torch.tensor(0.5), 1, "an integer where a float32 number is expected"),
        (torch.tensor(0.5), math.nan, "NaN where 0.5 is expected"),
        (5, 6, "6 where 5 is expected"),
        (5, 10**30, "an integer beyond 64 bits where an integer is expected"),
        (True, False, "no where yes is expected"),
        ((True, False), (True, True), "yours is yes and no is expected at [1]"),
        (True, 1, "an integer where a boolean is expected"),
        ((1, 2), (1, 3), "yours is 3 and 2 is expected at [1]"),
        ((1, 2), (1, 2, 3), "3 numbers where 2 are expected"),
        (torch.zeros(2), torch.zeros(2, device="meta"), "on meta, but the input is on cpu"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_difference_is_named(expected, got, words):
    if isinstance(got, torch.Tensor) and got.device.type == "meta":
        got_value = plain(torch.zeros(2))
        got_value = type(got_value)(got_value.numbers, "tensor", "meta")
    else:
        got_value = plain(got)
    difference = compare(plain(expected), got_value, 1e-4, 1e-6)
    assert difference is not None and words in difference.words


def test_numbers_that_look_alike_are_shown_in_full():
    difference = compare(plain(1.5), plain(1.50000004), 1e-9, 0)
    assert difference.words == "1.50000004 where 1.5 is expected"


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("a (2) must match b (3)", True),
        ("b (3) must match a (-1)", True),
        ("a (3) must match b (2): it has c", True),
        ("there is no a", False),
    ],
)
def test_an_exception_is_known_by_its_type_and_its_words(words, known):
    wrong = Outcome(failure=Failure("RuntimeError", "a (2) must match b (3): it has d, e"))
    entry = exercise(replace(case(torch.zeros(2)), wrong={0: wrong}))
    verdict = judge(entry, [Outcome(failure=Failure("RuntimeError", words))])
    assert (verdict.diagnosis is not None) == known
    assert (
        judge(entry, [Outcome(failure=Failure("TypeError", "a (2) must match b (3)"))]).diagnosis
        is None
    )


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (
            torch.tensor([1000.0, 0.0]),
            torch.tensor([1000.0, 0.01]),
        ),  # 1e-4 of the largest magnitude
        (torch.tensor([math.nan, math.inf]), torch.tensor([math.nan, math.inf])),
        (0.5, torch.tensor(0.5)),
        ((1, 2), [1, 2]),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
    ],
)
def test_what_is_right_is_accepted(expected, got):
    assert compare(plain(expected), plain(got), 1e-4, 1e-6) is None


def test_tolerance_is_no_wider_than_said():
    assert (
        compare(plain(torch.tensor([1000.0, 0.0])), plain(torch.tensor([1000.0, 0.2])), 1e-4, 1e-6)
        is not None
    )


def test_a_coarse_result_of_fine_inputs_has_its_own_tolerance():
    """A float32 number that was made of float64 ones cannot be as exact as they are."""
    third, near = torch.tensor(1 / 3), torch.tensor(1 / 3) + 6e-8
    fine = replace(case(third), dtype="float64")
    assert judge(exercise(fine), [outcome(near)]).points == 3.0
    assert judge(exercise(fine), [outcome(third + 1e-3)]).points == 0.0
    finer = replace(case(third.double()), dtype="float64")
    assert judge(exercise(finer), [outcome(near.double())]).points == 0.0


def test_partial_credit_case_by_case():
    verdict = judge(exercise(case(1), case(2), case(3)), [outcome(1), outcome(2), outcome(0)])
    assert (verdict.state, verdict.points) == (State.WRONG, 2.0)
    assert [row.state for row in verdict.cases] == [State.RIGHT, State.RIGHT, State.WRONG]


def test_points_are_never_full_for_less_than_everything():
    many = [case(index) for index in range(1000)]
    outcomes = [outcome(index) for index in range(999)] + [outcome(0)]
    assert judge(exercise(*many, points=1.0), outcomes).points < 1.0


def test_weights_share_the_points():
    heavy = ProbeRule(RULE.rtol, RULE.atol, law=False, weight=2.0)
    key = exercise(case(1), case(2, probe="heavy"), probes={"output": RULE, "heavy": heavy})
    assert judge(key, [outcome(0), outcome(2)]).points == 2.0


def test_a_law_earns_nothing_alone():
    key = exercise(case(1), case(0, probe="law"), probes={"output": RULE, "law": LAW})
    assert judge(key, [outcome(5), outcome(0)]).points == 0.0
    assert judge(key, [outcome(1), outcome(0)]).points == 3.0


def test_a_law_earns_as_large_a_share_as_of_the_rest_is_right():
    key = exercise(
        case(1), case(2), case(0, probe="law"), points=4.0, probes={"output": RULE, "law": LAW}
    )
    found = judge(key, [outcome(1), outcome(5), outcome(0)])
    assert [row.points for row in found.cases] == [1.0, 0.0, 1.0]  # the law's two points, halved
    assert judge(key, [outcome(1), outcome(2), outcome(9)]).points == 2.0
    assert judge(key, [outcome(1), outcome(2), outcome(0)]).points == 4.0


def drawn(entry):
    """The case with inputs that were drawn."""
    return replace(entry, inputs=(torch.zeros(3),))


def test_a_table_of_the_released_cases_is_no_answer():
    """Where hidden cases count, a released case that draws no numbers can be looked up."""
    key = exercise(case(1), case(2), drawn(case(3, hidden=True)), case(4, hidden=True))
    assert known_beforehand(key) == [True, True, False, False]
    looked_up = [outcome(1), outcome(2), outcome(0), outcome(0)]
    assert judge(key, looked_up).points == 0.0
    half = judge(key, [outcome(1), outcome(2), outcome(3), outcome(0)])
    assert [row.points for row in half.cases] == [0.375, 0.375, 0.75, 0.0]
    assert judge(key, [outcome(1), outcome(2), outcome(3), outcome(4)]).points == 3.0


def test_a_released_case_that_draws_numbers_counts_by_itself():
    key = exercise(drawn(case(1)), drawn(case(2, hidden=True)))
    assert known_beforehand(key) == [False, False]
    assert judge(key, [outcome(1), outcome(0)]).points == 1.5


def test_beside_the_learner_released_cases_count_in_full():
    """There are no hidden ones: what the notebook says is not halved."""
    key = exercise(case(1), case(2), case(3))
    assert known_beforehand(key) == [False, False, False]
    assert judge(key, [outcome(1), outcome(0), outcome(0)]).points == 1.0


def test_a_drawn_law_is_known_beforehand_all_the_same():
    key = exercise(drawn(case(0, probe="law")), drawn(case(1)), probes={"output": RULE, "law": LAW})
    assert known_beforehand(key) == [True, False]
    assert earned_shares(key, judge(key, [outcome(0), outcome(7)]).cases) == [0.0, 0.0]
    assert earned_shares(key, judge(key, [outcome(0), outcome(1)]).cases) == [0.5, 0.5]


def test_laws_alone_earn_nothing():
    """An exercise must have a case whose outcome is not known: the shares say so instead of
    dividing by zero."""
    key = exercise(case(0, probe="law"), probes={"law": LAW})
    assert earned_shares(key, [CaseVerdict(State.RIGHT, "", "", 0.0)]) == [0.0]


def failed(kind, message=""):
    return Outcome(failure=Failure(kind, message))


@pytest.mark.parametrize("state", SPECIAL)
def test_special_states_are_states_of_their_own(state):
    verdict = judge(exercise(case(1), case(2)), [outcome(1), failed(str(state))])
    assert verdict.state is state
    assert [row.state for row in verdict.cases] == [State.RIGHT, state]
    assert verdict.cases[1].message == SPECIAL[state]
    assert verdict.points == 1.5 and verdict.diagnosis is None


def test_the_gravest_state_is_the_exercises():
    """A fault of the grader's before everything, for then nothing is known."""
    order = list(SPECIAL)
    assert order[:2] == [State.GRADER_FAULT, State.TAMPERING]
    for index, state in enumerate(order):
        rest = [failed(str(other)) for other in reversed(order[index:])]
        key = exercise(*(case(number) for number in range(len(rest) + 3)))
        others = [outcome(0), failed("ValueError"), Outcome(failure=Failure(NOT_ATTEMPTED))]
        assert judge(key, [*others, *rest]).state is state


@pytest.mark.parametrize(
    "failure", [("MemoryError", ""), ("RuntimeError", "DefaultCPUAllocator: can't allocate memory")]
)
def test_python_and_torch_run_out_of_memory_alike(failure):
    assert judge(exercise(case(1)), [failed(*failure)]).state is State.OUT_OF_MEMORY


def test_a_hidden_timeout_says_so_without_its_call():
    verdict = judge(
        exercise(case(1, hidden=True)),
        [replace(failed("timeout"), call="f(secret)", printed="secret")],
    )
    assert (verdict.cases[0].title, verdict.cases[0].printed) == ("hidden case", "")
    assert verdict.cases[0].message == SPECIAL[State.TIMEOUT]


def test_a_shortcut_beside_a_timeout_earns_nothing():
    found = judge(
        exercise(case(1), case(2)), [outcome(1), failed("timeout")], [("conv2d", "F.conv2d(x, k)")]
    )
    assert (found.state, found.points) == (State.WRONG, 0.0)


def test_not_attempted_is_a_state_of_its_own():
    stub = Outcome(failure=Failure(NOT_ATTEMPTED))
    verdict = judge(exercise(case(1), case(2)), [stub, stub])
    assert (verdict.state, verdict.points, verdict.diagnosis) == (State.NOT_ATTEMPTED, 0.0, None)


def test_an_exception_shows_the_learners_line():
    failure = Failure("ValueError", "bad", "return x.view(3)", 4)
    verdict = judge(exercise(case(1)), [Outcome(failure=failure)])
    assert verdict.state is State.ERROR
    assert verdict.cases[0].message == "ValueError: bad (line 4: `return x.view(3)`)"


def test_the_misconception_that_gives_exactly_this_is_named():
    key = exercise(case(1, {0: 10, 1: 10}), case(2, {0: 20, 1: 21}))
    assert judge(key, [outcome(10), outcome(21)]).diagnosis.name == "second"
    assert judge(key, [outcome(10), outcome(20)]).diagnosis.name == "first"
    assert judge(key, [outcome(10), outcome(2)]).diagnosis is None


def test_a_misconception_that_is_right_somewhere_must_be_right_there():
    key = exercise(case(1, {0: 10}), case(2))
    assert judge(key, [outcome(10), outcome(2)]).diagnosis.name == "first"
    assert judge(key, [outcome(10), outcome(3)]).diagnosis is None


def test_a_diagnosis_may_explain_the_cases_that_ran():
    key = exercise(case(0.1, {0: 0.2}), case(0.2, {0: 0.4}))
    verdict = judge(key, [outcome(0.2), Outcome(failure=Failure("ValueError"))])
    assert verdict.diagnosis.name == "first"
    assert verdict.fit is Fit.WHERE_IT_RUNS


def test_a_diagnosis_may_leave_the_dtype_aside():
    half = torch.tensor([0.5, 0.25])
    key = exercise(case(half, {0: 2 * half}), case(half + 1))
    slip = judge(key, [outcome(2 * half.double()), outcome((half + 1).double())])
    assert (slip.diagnosis.name, slip.fit) == ("first", Fit.BUT_FOR_DTYPE)
    assert (
        judge(key, [outcome(half.double()), outcome((half + 1).double())]).diagnosis is OTHER_DTYPE
    )
    assert judge(key, [outcome(2 * half), outcome(half + 1)]).fit is Fit.EXACT


def test_a_changed_input_is_wrong_even_with_the_right_output():
    verdict = judge(exercise(case(1), points=4.0), [outcome(1, changed=("x",))])
    assert (verdict.state, verdict.points) == (State.WRONG, 3.0)
    value, change = verdict.cases
    assert value.state is State.RIGHT
    assert verdict.diagnosis is CHANGE_IN_PLACE
    assert (change.title, change.state) == (UNCHANGED, State.WRONG)
    assert change.message == "it changes `x` in place: work on a copy"


def test_a_change_that_only_hidden_cases_show_is_a_hidden_row():
    key = exercise(case(1), case(2, hidden=True))
    verdict = judge(key, [outcome(1), outcome(2, changed=("layers",))])
    assert [row.hidden for row in verdict.cases] == [False, True, True]


def test_what_the_solution_changes_may_be_changed():
    entry = case(1)
    key = exercise(replace(entry, expected=replace(entry.expected, changed=("x",))))
    assert judge(key, [outcome(1, changed=("x",))]).state is State.RIGHT
    assert judge(key, [outcome(1)]).state is State.RIGHT


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (torch.tensor([1.0, 0.0]), torch.tensor([True, False])),
        (torch.tensor([1.0, 2.0]), torch.tensor([1, 2])),
        (torch.tensor([1, 0]), torch.tensor([1.0, 0.0])),
        (torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.25], dtype=torch.float64)),
    ],
)
def test_right_values_of_another_dtype_keep_most_of_the_points(expected, got):
    verdict = judge(exercise(case(expected), points=4.0), [outcome(got)])
    assert (verdict.state, verdict.points) == (State.WRONG, 3.0)
    assert verdict.cases[0].message.startswith("the values are right, but output: dtype")
    assert verdict.diagnosis is OTHER_DTYPE
    mixed = judge(exercise(case(expected), case(1)), [outcome(got), outcome(2)])
    assert mixed.diagnosis is None


def test_other_values_of_another_dtype_keep_nothing():
    verdict = judge(exercise(case(torch.tensor([1, 0]))), [outcome(torch.tensor([1.2, 0.0]))])
    assert verdict.points == 0.0


def gradients(value, gradient):
    return Outcome({"output": plain(value), "gradient of x": plain(gradient)})


def test_a_gradient_that_is_cut_is_named():
    entry = replace(case(0.5), expected=gradients(0.5, torch.tensor([1.0, 2.0])))
    key = exercise(case(0.1), entry)
    cut = judge(key, [outcome(0.1), gradients(0.5, torch.zeros(2))])
    assert cut.diagnosis is NO_GRADIENT
    assert cut.cases[1].message == "gradient of x: no gradient arrives"
    refused = Failure("RuntimeError", "Can't call numpy() on Tensor that requires grad.")
    assert judge(key, [outcome(0.1), Outcome(failure=refused)]).diagnosis is NO_GRADIENT
    also_wrong = judge(key, [outcome(0.2), gradients(0.5, torch.zeros(2))])
    assert also_wrong.diagnosis is None
    other = judge(key, [outcome(0.1), gradients(0.5, torch.tensor([2.0, 2.0]))])
    assert other.diagnosis is None


def test_what_other_mistakes_give_too_is_said_so():
    key = exercise(case(5, {0: 6}), case(True, {0: False}))
    verdict = judge(key, [outcome(6), outcome(False)])
    assert (verdict.diagnosis.name, verdict.fit) == ("first", Fit.AMONG_OTHERS)
    nothing = exercise(case(torch.ones(3), {0: torch.zeros(0)}))
    assert judge(nothing, [outcome(torch.zeros(0))]).fit is Fit.AMONG_OTHERS
    numbers = exercise(case(torch.ones(3), {0: torch.full((3,), 0.5)}))
    assert judge(numbers, [outcome(torch.full((3,), 0.5))]).fit is Fit.EXACT


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("w (2,)",), "it has no parameter or buffer `b`"),
        (("w (2,)", "b (1,)", "c (1,)"), "its parameter or buffer `c` is one too many"),
        (("w (3,)", "b (1,)"), "its `w` has shape (3,) where (2,) is expected"),
        ((), ""),
        (("w (2,)", "b (1,)"), ""),
        (("no shape",), "it has no parameter or buffer `w`"),
    ],
)
def test_an_odd_parameter_is_named(parts, words):
    expected = replace(outcome(1.0), parts=("w (2,)", "b (1,)"))
    key = exercise(replace(case(1.0), expected=expected))
    message = judge(key, [replace(outcome(2.0), parts=parts)]).cases[0].message
    assert message == "; ".join(part for part in ("output: 2 where 1 is expected", words) if part)


def test_a_shortcut_earns_nothing():
    verdict = judge(exercise(case(1)), [outcome(1, shortcuts=("conv2d",))])
    assert (verdict.state, verdict.points, verdict.shortcuts) == (
        State.WRONG,
        0.0,
        (("conv2d", ""),),
    )


def test_hidden_cases_say_what_kind_of_difference_there_is_and_no_number():
    def message(expected, got):
        return judge(exercise(case(expected, hidden=True)), [outcome(got)]).cases[0].message

    assert message(torch.ones(2), torch.zeros(2)) == "the values differ"
    assert message(torch.ones(2), torch.ones(3)) == "another shape"
    assert message(1.5, 2.5) == "the values differ"
    assert message((1, 2), (1, 2, 3)) == "another number of results"
    assert message(torch.ones(2), None) == "another kind of result"


def test_hidden_cases_show_neither_their_call_nor_what_was_printed():
    for failure in (None, Failure("ValueError")):
        shown = outcome(2, call="f(x (3,) float32)", printed="the input", failure=failure)
        verdict = judge(exercise(case(1, hidden=True)), [shown])
        assert (verdict.cases[0].title, verdict.cases[0].printed) == ("hidden case", "")
        assert judge(exercise(case(1)), [shown]).cases[0].printed == "the input"


def test_a_hidden_case_names_the_exception_and_the_line_but_not_its_words():
    def message(kind, hidden):
        failure = Failure(kind, "got tensor([1., 2.])", "raise ValueError(x)", 3)
        return (
            judge(exercise(case(1, hidden=hidden)), [outcome(2, failure=failure)]).cases[0].message
        )

    assert (
        message("ValueError", hidden=False)
        == "ValueError: got tensor([1., 2.]) (line 3: `raise ValueError(x)`)"
    )
    assert message("ValueError", hidden=True) == "ValueError (line 3: `raise ValueError(x)`)"
    assert message("Tensor_1_2", hidden=True) == "an exception (line 3: `raise ValueError(x)`)"


def answer_key(value, kind, wrong=None, digits=4):
    hashes = {index: hash_answer(slip, "salt", digits) for index, slip in (wrong or {}).items()}
    return AnswerKey(kind, digits, "salt", hash_answer(value, "salt", digits), hashes)


def test_answers_are_judged_by_hash():
    answers = {"a": answer_key(34944, "whole number", {1: 34848}), "b": answer_key(0.36, "number")}
    key = ExerciseKey(**{**vars(exercise(points=2.0)), "answers": answers})
    right = judge_answers(key, {"a": 34944, "b": 0.36})
    assert (right.state, right.points) == (State.RIGHT, 2.0)
    wrong = judge_answers(key, {"a": 34848, "b": 0.36004})
    assert (wrong.points, wrong.diagnosis.name) == (1.0, "second")
    assert (
        judge_answers(key, {"a": 34944.0, "b": torch.tensor(0.36, dtype=torch.float64)}).state
        is State.RIGHT
    )
    assert judge_answers(key, {"a": None, "b": None}).state is State.NOT_ATTEMPTED
    assert judge_answers(key, {"a": "34944", "b": math.nan}).points == 0.0
    assert judge_answers(key, {"a": 34944, "b": 0.37}).points == 1.0
    assert "34944" not in str(key)
