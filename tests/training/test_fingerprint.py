"""What counts as the same code."""

from __future__ import annotations

import functools
import textwrap

import pytest
import torch
from torch import nn

from cvcourse.training import RandomCrop, adamw, one_cycle, sgd, warmup_cosine
from cvcourse.training.fingerprint import code_digest, data_digest

CELL = """
import torch
from torch import nn

SCALE = 0.5

def helper(x):
    return x.relu()

class Block(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.gain = 2

    def forward(self, x):
        return SCALE * helper(self.layer(x)) * self.gain
"""


def digest(source=CELL, what="Block()"):
    """The digest of something that was defined in a notebook's cell."""
    namespace = {"__name__": "__main__"}
    exec(compile(textwrap.dedent(source), "<cell>", "exec"), namespace)
    return code_digest(eval(what, namespace))


def test_the_same_code_has_the_same_digest_in_every_kernel():
    assert digest() == digest()


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("SCALE * helper", "SCALE + helper"),  # the class
        ("return x.relu()", "return x.sigmoid()"),  # a function that it calls
        ("SCALE = 0.5", "SCALE = 0.25"),  # a number that it looks up
        ("self.gain = 2", "self.gain = 3"),  # a setting
        ("width=4", "width=5"),  # shapes
        ("nn.Linear(width, width)", "nn.Linear(width, width, bias=False)"),
        ("class Block(nn.Module):", "class Block(nn.Sequential):"),
    ],
)
def test_an_edit_changes_it(change, to):
    assert CELL.count(change) == 1
    assert digest(CELL.replace(change, to)) != digest()


def test_comments_line_breaks_and_what_is_not_used_do_not_change_it():
    edited = CELL.replace(
        "return x.relu()", "# why\n\n    return (\n        x.relu()\n    )"
    ).replace("SCALE = 0.5", "SCALE = 0.5\nUNUSED = 1")
    assert digest(edited) == digest()


def test_training_does_not_change_it():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = code_digest(model)
    nn.init.ones_(model[0].weight)
    model(torch.rand(4, 2))
    model.eval()
    assert code_digest(model) == before


def test_settings_of_functions_change_it():
    assert code_digest(adamw(1e-3)) != code_digest(adamw(1e-2))
    assert code_digest(adamw(1e-3)) == code_digest(adamw(1e-3))
    assert code_digest(sgd()) != code_digest(adamw())
    assert (
        code_digest(warmup_cosine(0.1))
        != code_digest(warmup_cosine(0.2))
        != code_digest(one_cycle())
    )
    assert code_digest(RandomCrop(1)) != code_digest(RandomCrop(2))


@pytest.mark.parametrize(
    "make",
    [
        lambda number: lambda x: x * number,
        lambda number: functools.partial(max, number),
        lambda number: functools.cache(lambda x: x + number),
        lambda number: torch.no_grad()(lambda x: x - number),
        lambda number: {"a": [number, (1, 2)]},
        lambda number: torch.tensor([number]),
        lambda number: torch.tensor([number]).numpy(),
        lambda number: type("Learned", (), {"value": property(lambda self: number)}),
    ],
)
def test_values_inside_are_seen(make):
    assert code_digest(make(1)) == code_digest(make(1))
    assert code_digest(make(1)) != code_digest(make(2))


def test_a_class_that_looks_itself_up_ends():
    source = (
        CELL + "\n    def again(self):\n        return Block(), again(self)\ndef again(x): return"
        " Block\n"
    )
    assert digest(source) == digest(source)


def test_data_counts_by_value_shape_and_type():
    zeros = torch.zeros(2, 3)
    others = [
        torch.zeros(3, 2),
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, 3).index_fill(0, torch.tensor(1), 1),
    ]
    assert data_digest(zeros) == data_digest(zeros.clone())
    assert len({data_digest(tensor) for tensor in [zeros, *others]}) == 4
    assert data_digest(torch.zeros(2, 2, dtype=torch.bfloat16)) == data_digest(
        torch.zeros(2, 2, dtype=torch.bfloat16)
    )
