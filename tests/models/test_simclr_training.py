"""Unit 08's training outside its notebook, at smoke scale: on creatures, and on CIFAR-10's
format."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from autograder.authoring.lesson import solutions
from autograder.authoring.train import training_of
from cvcourse.data import cifar
from cvcourse.data.library import Splits
from cvcourse.training import Budget, read_reference

UNIT = "08_simclr"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def training(monkeypatch):
    """The unit's training.py, with a CIFAR-10 of 120 noisy images."""
    from autograder.units import ROOT

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (120, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(120) % 10
    small = Splits(images[:80], labels[:80], images[80:], labels[80:])
    monkeypatch.setattr(cifar, "cifar10", lambda: small)
    return training_of(ROOT, UNIT)


@pytest.mark.parametrize("data", ["creatures", "cifar10"])
def test_smoke(training, data):
    budget = Budget("smoke", "cpu", dict(training.BUDGETS["smoke"]))
    torch.manual_seed(0)
    results = training.train(SimpleNamespace(**solutions(UNIT)), budget, data, seed=1)
    assert {"knn", "linear", "images_per_second", "parameters", "steps", "seconds"} <= set(
        results.numbers
    )
    assert all(math.isfinite(value) for value in results.numbers.values())
    assert 0 <= results.numbers["knn"] <= 1 and 0 <= results.numbers["linear"] <= 1
    assert [step for step, _ in results.curves["knn"]] == [3, 6]
    h = results.model(torch.rand(2, 3, 32, 32))
    assert h.shape == (2, 16), "the encoder without its head is what is kept"
    assert results.configuration["temperature"] == {"creatures": 0.3, "cifar10": 0.5}[data]


def test_the_command_writes_a_run(run, tmp_path):
    code, printed, error = run("train", UNIT, "--budget", "smoke", "--out", str(tmp_path))
    assert code == 0, error
    assert printed.startswith("budget smoke on cpu: ")
    found = read_reference("smoke", folder=tmp_path)
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "creatures", True)


@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_every_budgets_encoder_can_be_built(training, budget):
    settings = training.BUDGETS[budget]
    encoder = training.train.__globals__["make_encoder"](Budget(budget, "cpu", dict(settings)), 3)
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, settings["widths"][-1])


def test_the_loss_of_one_process_is_the_lessons(training):
    exercises = SimpleNamespace(**solutions(UNIT))
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    loss = training.train.__globals__["contrastive_loss"](exercises, 0.4)(z, torch.zeros(4))
    assert loss.item() == pytest.approx(exercises.nt_xent(*z.chunk(2), 0.4).item())
