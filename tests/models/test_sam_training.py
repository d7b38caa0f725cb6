"""Unit 15's training outside its notebook: the smoke budget runs, and the larger networks can be
built and stored."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from autograder.authoring.lesson import solutions
from autograder.authoring.train import training_of
from autograder.units import ROOT
from cvcourse.training import Budget, read_reference
from cvcourse.training.reference import LARGEST_WEIGHTS

UNIT = "15_sam"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def training():
    return training_of(ROOT, UNIT)


def test_the_command_writes_a_run(run, tmp_path):
    code, printed, error = run("train", UNIT, "--budget", "smoke", "--out", str(tmp_path))
    assert code == 0, error
    assert printed.startswith("budget smoke on cpu: ")
    found = read_reference("smoke", folder=tmp_path)
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "nested", True)
    assert {
        "click 1",
        "click 5",
        "best",
        "box",
        "correlation",
        "prompts_per_second",
        "parameters",
    } <= set(found.numbers)
    assert all(math.isfinite(value) for value in found.numbers.values())
    assert [step for step, _ in found.curves["click 1"]] == [2, 4]


@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_every_budgets_network_can_be_built(training, budget):
    settings = training.BUDGETS[budget]
    sam = training.train.__globals__["make_sam"](
        SimpleNamespace(**solutions(UNIT)), Budget(budget, "cpu", dict(settings))
    )
    weights = sum(tensor.nbytes for tensor in sam.state_dict().values())
    assert weights <= LARGEST_WEIGHTS, "a reference run's weights are stored"
    side = settings["size"]
    sam.eval()
    with torch.no_grad():
        embedding = sam.encode(torch.rand(1, 3, side, side))
        logits, iou = sam.predict(embedding, torch.full((2, 1, 2), side / 2), torch.ones(2, 1))
    assert logits.shape == (2, 3, side, side) and iou.shape == (2, 3)
