"""What a probe hands in is looked at afterwards, whatever it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autograder.checking.handed_in import is_as_it_was, remember
from autograder.checking.observe import Watched


def layer():
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def in_tensor(value):
    value.zero_()


def in_requires_grad(value):
    value.requires_grad_()


def in_list(value):
    value.pop()


def in_order(value):
    value.reverse()


def in_lists_tensor(value):
    value[0].add_(1)


def in_nested_list(value):
    value[1].append(3)


def in_dict(value):
    value["more"] = 1


def in_dicts_value(value):
    value["size"] = 9


def in_mode(value):
    value.eval()


def in_inner_mode(value):
    value[1].eval()


def in_weights(value):
    with torch.no_grad():
        value[0].weight.mul_(2)


def in_frozen(value):
    value[0].weight.requires_grad_(False)


def in_buffers(value):
    value[1].running_mean.add_(1)


def in_parts(value):
    value[0].weight = nn.Parameter(value[0].weight.detach().clone())


CHANGES = [
    (lambda: torch.ones(3), in_tensor),
    (lambda: torch.ones(3), in_requires_grad),
    (lambda: [1, 2], in_list),
    (lambda: [1, 2], in_order),
    (lambda: [torch.ones(2)], in_lists_tensor),
    (lambda: (1, [2]), in_nested_list),
    (lambda: {"size": 3}, in_dict),
    (lambda: {"size": 3}, in_dicts_value),
    (layer, in_mode),
    (layer, in_inner_mode),
    (layer, in_weights),
    (layer, in_frozen),
    (layer, in_buffers),
    (layer, in_parts),
    (lambda: [layer()], lambda value: in_mode(value[0])),
]


@pytest.mark.parametrize(("make", "change"), CHANGES)
def test_a_change_shows(make, change):
    value = make()
    kept = remember(value)
    assert is_as_it_was(kept)
    change(value)
    assert not is_as_it_was(kept)


@pytest.mark.parametrize("make", [make for make, _ in CHANGES])
def test_reading_changes_nothing(make):
    value = make()
    kept = remember(value)
    copy.deepcopy(value)
    if isinstance(value, nn.Module):
        list(value.state_dict().values())
    assert is_as_it_was(kept)


def test_not_a_number_is_as_it_was():
    assert is_as_it_was(remember(torch.tensor([float("nan"), 1.0])))


def test_what_cannot_be_changed_asks_nothing():
    assert remember(3) == remember("text") == remember(torch.Generator()) == remember(None) == []


class Doubling(nn.Module):
    """A layer whose methods change what they are given."""

    def forward(self, x):
        return self.helper(x * 2)

    def helper(self, x):
        return x.mul_(2)  # of its own

    def points(self, points):
        points.add_(1)
        return points


def test_arguments_of_methods_are_watched_and_the_learners_own_calls_are_not():
    watched = Watched(Doubling)
    with watched.methods_too():
        module = watched()
        module(torch.ones(2))
        assert watched.changed == []
        copied = copy.deepcopy(module)
        assert copied.points(torch.ones(2)).tolist() == [2.0, 2.0]
    assert watched.changed == ["points"]
    assert watched.call == "Doubling()(x (2,) float32)"
    assert Doubling.points.__qualname__ == "Doubling.points"


def test_methods_are_themselves_again_after_an_error():
    before = Doubling.forward
    with pytest.raises(ZeroDivisionError), Watched(Doubling).methods_too():
        raise ZeroDivisionError
    assert Doubling.forward is before


def test_a_change_that_is_asked_for_is_not_looked_for():
    watched = Watched(in_tensor, may_change_inputs=True)
    watched(torch.ones(2))
    assert watched.changed == []
