"""Answers that are no answer: one clear row each, whatever a learner hands in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from autograder.checking.checker import Checker
from autograder.checking.verdict import State


@pytest.fixture(scope="module")
def check(built_mini):
    return Checker("90_mini", built_mini / "course" / "90_mini")


class RaisingRepr:
    """An object that cannot be shown."""

    def __repr__(self):
        raise RuntimeError("no words")


class LongRepr:
    """An object of ten megabytes of words."""

    def __repr__(self):
        return "x" * 10_000_000


class NoFunction:
    """A class where a function is asked."""

    def __init__(self, signal, width=2):
        pass


def generates(signal, width=2):
    yield signal.sum()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda signal, width=2: None, "nothing (None; is a `return` missing?)"),
        (NoFunction, "a NoFunction"),
        (generates, "a generator"),
        (lambda signal, width=2: [signal[:2], signal[:3]], "a list of 2 tensors"),
        (lambda signal, width=2: (signal, 1.0), "a tuple of 2"),
        (lambda signal, width=2: RaisingRepr(), "a RaisingRepr"),
        (lambda signal, width=2: LongRepr(), "a LongRepr"),
        (lambda signal, width=2: signal.to_sparse(), "a sparse_coo tensor"),
        (lambda signal, width=2: np.array([None]), "a numpy object of shape (1,)"),
        (lambda signal, width=2: nn.Linear(2, 2), "a Linear"),
    ],
)
def test_another_kind_of_result_is_named(check, answer, says):
    verdict = check.verdict("moving_sum", answer)
    assert (verdict.state, verdict.points) == (State.WRONG, 0.0)
    assert verdict.cases[0].message == f"output: {says} where a tensor is expected"
    assert len(str(verdict)) < 20_000


def test_a_result_on_another_device_is_named(check):
    def on_meta(signal, width=2):
        return torch.zeros(len(signal) - width + 1, dtype=signal.dtype, device="meta")

    row = check.verdict("moving_sum", on_meta).cases[0]
    assert row.message == "output: on meta, but the input is on cpu"


class Plain:
    """A class that is no module."""

    def __init__(self, channels):
        pass


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda channels: None, "nothing (None) was returned where a torch.nn.Module is expected"),
        (lambda channels: len, "a builtin_function_or_method where a torch.nn.Module is expected"),
        (Plain, "a Plain where a torch.nn.Module is expected: does the class say `(nn.Module)`?"),
    ],
)
def test_what_is_no_module_is_named(check, answer, says):
    verdict = check.verdict("Scale", answer)
    assert verdict.state is State.ERROR
    assert says in verdict.cases[0].message


def test_a_function_with_too_few_arguments_is_told_so(check):
    row = check.verdict("moving_sum", lambda signal: signal).cases[1]
    assert row.state is State.ERROR and "unexpected keyword argument 'width'" in row.message


def test_an_error_in_the_library_is_shown_at_the_learners_own_line(check):
    from cvcourse import data

    def moving_sum(signal, width=2):
        return data.scenes(-width)

    row = check.verdict("moving_sum", moving_sum).cases[0]
    assert row.state is State.ERROR
    assert "`return data.scenes(-width)`" in row.message
