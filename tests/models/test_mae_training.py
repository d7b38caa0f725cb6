"""Unit 11's training outside its notebook, at smoke scale: on digits, on CIFAR-10's format, and in
two processes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from autograder.authoring.lesson import solutions
from autograder.authoring.train import training_of
from autograder.units import ROOT
from cvcourse.data import cifar
from cvcourse.data.library import Splits
from cvcourse.training import Budget, read_reference

UNIT = "11_mae"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def training(monkeypatch):
    """The unit's training.py, with a CIFAR-10 of 120 noisy images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (120, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(120) % 10
    small = Splits(images[:80], labels[:80], images[80:], labels[80:])
    monkeypatch.setattr(cifar, "cifar10", lambda: small)
    return training_of(ROOT, UNIT)


@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_smoke(training, data):
    budget = Budget("smoke", "cpu", dict(training.BUDGETS["smoke"]))
    torch.manual_seed(0)
    results = training.train(SimpleNamespace(**solutions(UNIT)), budget, data, seed=1)
    names = {"error", "accuracy", "scratch", "images_per_second", "parameters", "steps", "seconds"}
    assert names <= set(results.numbers)
    assert all(math.isfinite(value) for value in results.numbers.values())
    assert 0 <= results.numbers["accuracy"] <= 1 and 0 <= results.numbers["scratch"] <= 1
    assert [step for step, _ in results.curves["loss"]] == [1, 2, 3, 4]
    side, channels = (8, 1) if data == "digits" else (32, 3)
    assert results.model(torch.rand(2, channels, side, side)).shape == (2, 16), (
        "the encoder is what is kept"
    )
    assert results.configuration["mask_ratio"] == {"digits": 0.5, "cifar10": 0.75}[data]


def test_what_is_painted_is_compared_with_the_changed_images(training):
    images, generator = torch.rand(3, 1, 4, 4), torch.Generator()
    found = training.train.__globals__["images_as_targets"](images, torch.zeros(3), generator)
    assert found[0] is images and found[1] is images


def test_the_command_writes_a_run(run, tmp_path):
    code, printed, error = run("train", UNIT, "--budget", "smoke", "--out", str(tmp_path))
    assert code == 0, error
    assert printed.startswith("budget smoke on cpu: ")
    found = read_reference("smoke", folder=tmp_path)
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "digits", True)


@pytest.mark.parametrize(
    ("budget", "data", "shape"), [("cpu", "digits", (1, 8, 8)), ("gpu", "cifar10", (3, 32, 32))]
)
def test_every_budgets_network_can_be_built(training, budget, data, shape):
    names = training.train.__globals__
    settings = training.BUDGETS[budget]
    exercises = SimpleNamespace(**solutions(UNIT))
    mae = names["make_mae"](
        exercises, Budget(budget, "cpu", dict(settings)), names["SETTINGS"][data], shape
    )
    painted, mask = mae(torch.rand(2, *shape))
    tokens = (shape[1] // 2) ** 2
    assert painted.shape == (2, tokens, 4 * shape[0]) and mask.shape == (2, tokens)
    assert sum(p.numel() for p in mae.decoder.parameters()) < sum(
        p.numel() for p in mae.encoder.parameters()
    )


def test_two_processes_train_together(tmp_path):
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    launch += [
        "--dynamo_backend",
        "no",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        "0",
    ]
    launch += ["-m", "autograder.cli", "train", UNIT, "--budget", "smoke", "--out", str(tmp_path)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(launch, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = read_reference("smoke", folder=tmp_path)
    assert found.environment["processes"] == 2 and math.isfinite(found.numbers["error"])
