"""What a learner meets: the right exercise is found, the table says what is wrong.

And the points reach nbgrader's eye.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autograder.checking import report
from autograder.checking.checker import Checker
from autograder.checking.key_files import HIDDEN_FILES
from autograder.checking.verdict import State
from autograder.errors import CheckFailed, CourseError


@pytest.fixture
def check(built_mini):
    return Checker("90_mini", built_mini / "course" / "90_mini")


def moving_sum(signal, width=2):
    return torch.stack([signal[i : i + width].sum() for i in range(len(signal) - width + 1)])


def verdict_of(check, function, exercise="moving_sum"):
    return check.verdict(exercise, function)


def test_a_right_answer_passes_quietly(check, capsys):
    assert check(moving_sum) is None
    assert "3 of 3 points" in capsys.readouterr().out


def test_a_wrong_answer_raises_one_line(check, capsys):
    def moving_sum(signal, width=2):
        return signal[: len(signal) - width + 1]

    with pytest.raises(CheckFailed, match="moving_sum: 0 of 3 points") as caught:
        check(moving_sum)
    assert caught.value._render_traceback_() == [str(caught.value)]
    assert "wrong" in capsys.readouterr().out


def test_a_lambda_is_known_by_the_name_it_is_bound_to(check):
    scope = {"check": check, "moving_sum": lambda signal, width=2: moving_sum(signal, width)}
    exec("check(moving_sum)", scope)


def test_answers_by_name(check):
    check(weights=9, share=0.36)
    with pytest.raises(CheckFailed):
        check(weights=6, share=0.36)


@pytest.mark.parametrize("wrong_object", [5, None, "moving_sum", torch.zeros(3)])
def test_a_check_of_the_wrong_object_says_what_to_write(check, wrong_object):
    with pytest.raises(CourseError, match="takes the function or class"):
        check(wrong_object)


def test_a_renamed_exercise_is_guessed(check):
    def moving_sums(signal):
        return signal

    with pytest.raises(CourseError, match="Did you mean moving_sum"):
        check(moving_sums)
    with pytest.raises(CourseError, match="weights, share"):
        check(wieghts=3)


def test_prints_and_warnings_stay_out_of_the_cell(check, capsys):
    def loud(signal, width=2):
        import sys
        import warnings

        print("printed")
        print("to stderr", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        return moving_sum(signal, width)

    assert verdict_of(check, loud).is_right
    assert capsys.readouterr() == ("", "")


def test_the_learners_random_numbers_are_left_alone(check):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    verdict_of(check, lambda signal, width=2: torch.rand(4))
    assert torch.equal(torch.rand(1), expected)


def test_an_input_changed_in_place_is_named(check):
    def in_place(signal, width=2):
        with torch.no_grad():
            result = moving_sum(signal, width)
            signal.zero_()
        return result

    verdict = verdict_of(check, in_place)
    assert verdict.cases[-1].message == "it changes `signal` in place: work on a copy"


def test_a_module_that_changes_its_input_is_caught(check):
    class Scale(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(channels))

        def forward(self, x):
            result = x * self.gain[:, None]
            x += 1
            return result

    assert "in place" in check.verdict("Scale", Scale).cases[-1].message


def test_an_exception_points_at_the_learners_line(check):
    def broken(signal, width=2):
        shape = signal.shape[5]
        return shape

    message = verdict_of(check, broken).cases[0].message
    assert message.startswith("IndexError")
    assert "shape = signal.shape[5]" in message


def test_what_the_probe_cannot_use_is_said(check):
    message = verdict_of(check, lambda signal, width=2: (signal, signal)).cases[-1].message
    assert "could not use what" in message


def test_an_unwritten_helper_is_no_unwritten_answer(check):
    helpers = {}
    exec(compile("def other(x): raise NotImplementedError", "another cell", "exec"), helpers)
    verdict = verdict_of(check, lambda signal, width=2: helpers["other"](signal))
    assert verdict.state is State.ERROR
    assert "it calls other, which is not written yet" in verdict.cases[0].message


def test_a_module_without_forward_is_no_stub(check):
    class Silent(torch.nn.Module):
        def froward(self, x):
            return x

    verdict = verdict_of(check, lambda signal, width=2: Silent()(signal))
    assert verdict.state is State.ERROR
    assert "without a method `forward`" in verdict.cases[0].message


def test_system_exit_is_an_error_and_no_end(check):
    def leaving(signal, width=2):
        raise SystemExit(0)

    assert verdict_of(check, leaving).state is State.ERROR


def test_a_torch_not_implemented_error_is_not_a_stub(check):
    def half_implemented(signal, width=2):
        return torch.empty(2, device="meta").tolist()

    assert verdict_of(check, half_implemented).state is State.ERROR


@pytest.mark.parametrize(
    "shortcut",
    [
        lambda signal, width=2: signal.unfold(0, width, 1).sum(1),
        lambda signal, width=2: getattr(signal, "un" + "fold")(0, width, 1).sum(1),
        lambda signal, width=2: torch.ops.aten.unfold(signal, 0, width, 1).sum(1),
    ],
)
def test_a_forbidden_operator_is_found_where_it_runs(check, shortcut):
    verdict = verdict_of(check, shortcut)
    assert verdict.points == 0
    assert verdict.shortcuts[0][0] == "unfold"


def test_a_forbidden_name_is_found_in_a_helper(check):
    def helper(signal, width):
        return signal.cumsum(0)[width - 1 :]

    def answer(signal, width=2):
        if len(signal) > 10**6:  # never runs in a check
            return helper(signal, width)
        return moving_sum(signal, width)

    answer.__globals__["helper"] = helper
    try:
        assert verdict_of(check, answer).shortcuts == (
            ("cumsum", "return signal.cumsum(0)[width - 1 :]"),
        )
    finally:
        del answer.__globals__["helper"]


def test_hidden_cases_count_where_their_key_lies(mini):
    folder = mini / "solutions" / "90_mini"
    instructor, learner = (
        Checker("90_mini", folder),
        Checker("90_mini", mini / "course" / "90_mini"),
    )

    def moving_sum(signal, width=2):  # right for every visible case
        if width > 4:
            return signal
        return torch.stack([signal[i : i + width].sum() for i in range(len(signal) - width + 1)])

    learner(moving_sum)
    with pytest.raises(CheckFailed):
        instructor(moving_sum)
    rows = instructor.verdict("moving_sum", moving_sum).cases
    assert [row.title for row in rows if row.state is State.WRONG] == ["hidden case"] * 2
    assert not any((mini / "course" / "90_mini" / name).exists() for name in HIDDEN_FILES)
    with pytest.raises(CourseError, match="Hidden cases are asked for"):
        learner(moving_sum, hidden=True)


def test_hidden_after_visible_does_not_show_the_table_twice(mini, capsys):
    check = Checker("90_mini", mini / "solutions" / "90_mini")
    check(moving_sum)
    check(moving_sum, hidden=True)
    assert capsys.readouterr().out.count("3 of 3 points") == 1


def test_hints_come_one_at_a_time(check, capsys):
    check.hint("moving_sum")
    check.hint(moving_sum)
    check.hint(weights=None)
    assert capsys.readouterr().out.splitlines() == [
        "Hint 1 of 2: How many windows fit?",
        "Hint 2 of 2: Slice and add.",
        "Hint 1 of 1: Rows times columns.",
    ]


def test_what_a_wrong_answer_printed_is_shown_and_none_is_named(check):
    def quiet_end(signal, width=2):
        print("I was here")

    verdict = verdict_of(check, quiet_end)
    assert "printed: I was here" in report.text(verdict)
    assert all("is a `return` missing?" in case.message for case in verdict.cases)


def test_the_report_is_a_number_for_nbgrader_and_a_table_for_people(check):
    verdict = verdict_of(check, lambda signal, width=2: signal)
    shown = report.Report(verdict)
    assert float(repr(shown)) == verdict.points
    assert "<table>" in shown._repr_html_()
    assert shown._repr_mimebundle_()[report.MIME]["max_points"] == 3


def test_what_a_learner_wrote_is_escaped(check):
    def nasty(signal, width=2):
        print("<script>alert(1)</script>")
        raise ValueError("<img src=x onerror=alert(1)>")

    page = report.html(verdict_of(check, nasty))
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
