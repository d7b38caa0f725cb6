"""What the tests of units' trainings outside their notebooks share. A test file names its UNIT."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from autograder.authoring.lesson import solutions
from autograder.authoring.train import training_of
from autograder.units import ROOT
from cvcourse.data import cifar
from cvcourse.data.library import Splits
from cvcourse.training import Budget, read_reference


@pytest.fixture
def small_cifar10(monkeypatch):
    """CIFAR-10 is 120 noisy images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (120, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(120) % 10
    small = Splits(images[:80], labels[:80], images[80:], labels[80:])
    monkeypatch.setattr(cifar, "cifar10", lambda: small)


@pytest.fixture
def training(request, small_cifar10):
    """The unit's training.py: DATA, BUDGETS and train."""
    return training_of(ROOT, request.module.UNIT)


@pytest.fixture
def names(training):
    """All names of the unit's training.py."""
    return training.train.__globals__


@pytest.fixture
def exercises(request):
    """The unit's solutions as attributes."""
    return SimpleNamespace(**solutions(request.module.UNIT))


@pytest.fixture
def plan(training):
    """A budget of the unit, on the processor."""

    def call(name):
        return Budget(name, "cpu", dict(training.BUDGETS[name]))

    return call


@pytest.fixture
def train_smoke(training, exercises, plan, tmp_path, monkeypatch):
    """Train the unit on data with the smoke budget; returns the Results, of finite numbers."""
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / "checkpoints"))

    def call(data):
        torch.manual_seed(0)
        results = training.train(exercises, plan("smoke"), data, seed=1)
        assert all(math.isfinite(value) for value in results.numbers.values())
        return results

    return call


@pytest.fixture
def command_run(request, run, tmp_path, monkeypatch):
    """The run that `cvcourse train UNIT --budget smoke` writes."""
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / "checkpoints"))
    options = ("--budget", "smoke", "--out", str(tmp_path))
    code, printed, error = run("train", request.module.UNIT, *options)
    assert code == 0, error
    assert printed.startswith("budget smoke on cpu: ")
    return read_reference("smoke", folder=tmp_path)
