"""Unit 15's training outside its notebook.

The smoke budget runs, and the larger networks can be built and stored.
"""

from __future__ import annotations

import math

import pytest
import torch

from cvcourse.training.reference import LARGEST_WEIGHTS

UNIT = "15_sam"
pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_command_writes_a_run(command_run):
    found = command_run
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "nested", True)
    wanted = {"click 1", "click 5", "best", "box", "correlation"}
    assert wanted | {"prompts_per_second", "parameters"} <= set(found.numbers)
    assert all(math.isfinite(value) for value in found.numbers.values())
    assert [step for step, _ in found.curves["click 1"]] == [2, 4]


@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_every_budgets_network_can_be_built(names, exercises, plan, budget):
    sam = names["make_sam"](exercises, plan(budget))
    weights = sum(tensor.nbytes for tensor in sam.state_dict().values())
    assert weights <= LARGEST_WEIGHTS, "a reference run's weights are stored"
    side = plan(budget).size
    sam.eval()
    with torch.no_grad():
        embedding = sam.encode(torch.rand(1, 3, side, side))
        logits, iou = sam.predict(embedding, torch.full((2, 1, 2), side / 2), torch.ones(2, 1))
    assert logits.shape == (2, 3, side, side) and iou.shape == (2, 3)
