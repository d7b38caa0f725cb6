"""Unit 08's training outside its notebook, at smoke scale: on creatures and CIFAR-10's format."""

from __future__ import annotations

import pytest
import torch

UNIT = "08_simclr"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("data", "temperature"), [("creatures", 0.3), ("cifar10", 0.5)])
def test_smoke(train_smoke, data, temperature):
    results = train_smoke(data)
    wanted = {"knn", "linear", "images_per_second", "parameters", "steps", "seconds"}
    assert wanted <= set(results.numbers)
    assert 0 <= results.numbers["knn"] <= 1 and 0 <= results.numbers["linear"] <= 1
    assert [step for step, _ in results.curves["knn"]] == [3, 6]
    h = results.model(torch.rand(2, 3, 32, 32))
    assert h.shape == (2, 16), "the encoder without its head is what is kept"
    assert results.configuration["temperature"] == temperature


def test_the_command_writes_a_run(command_run):
    found = command_run
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "creatures", True)


@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_every_budgets_encoder_can_be_built(names, plan, budget):
    encoder = names["make_encoder"](plan(budget), 3)
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, plan(budget).widths[-1])


def test_the_loss_of_one_process_is_the_lessons(names, exercises):
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    loss = names["contrastive_loss"](exercises, 0.4)(z, torch.zeros(4))
    assert loss.item() == pytest.approx(exercises.nt_xent(*z.chunk(2), 0.4).item())
