"""The units' trainings outside their notebooks.

Every budget's net can be built, and what a run writes is sound.
"""

from __future__ import annotations

import json
import math
import pickle
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from autograder.authoring.lesson import solutions
from autograder.authoring.train import training_of
from autograder.units import SOLUTIONS
from cvcourse.data import cifar
from cvcourse.training import Budget, Compose, RandomFlip, Run, read_reference, write_reference

ROOT = Path(__file__).parents[2]
UNITS = ("04_resnet", "07_vit")
NUMBERS = {"accuracy", "seconds", "images_per_second", "parameters", "steps"}
LARGEST = 200_000  # bytes of a reference run

every_unit = pytest.mark.parametrize("unit", UNITS)


@pytest.fixture
def small_cifar10(tmp_path, monkeypatch):
    """CIFAR-10 in miniature: 40 images a batch file, in the official format."""
    folder = tmp_path / cifar.INNER
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in cifar.TRAIN + cifar.TEST:
        images = rng.integers(0, 256, (40, 3072), dtype=np.uint8)
        content = {b"data": images, b"labels": rng.integers(0, 10, 40).tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    monkeypatch.setattr(cifar, "cifar10", partial(cifar.cifar10, folder=folder))


@pytest.fixture
def train_smoke(run, small_cifar10, tmp_path):
    """`cvcourse train UNIT --budget smoke` into a folder; returns (what it printed, its run)."""

    def call(unit, data, seed=0, out="out"):
        options = f"--budget smoke --data {data} --seed {seed} --out".split()
        code, printed, error = run("train", unit, *options, str(tmp_path / out))
        assert code == 0, error
        return printed, read_reference("smoke", folder=tmp_path / out)

    return call


@every_unit
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_the_command_writes_a_sound_run(train_smoke, tmp_path, unit, data):
    printed, found = train_smoke(unit, data)
    assert printed.startswith("budget smoke on cpu: ")
    beside = list((ROOT / SOLUTIONS / unit).glob("reference-smoke.*"))
    assert beside == [], "smoke runs are recorded nowhere"
    assert (found.unit, found.budget, found.data) == (unit, "smoke", data)
    mirrored = {"accuracy_with_mirror"} if (unit, data) == ("04_resnet", "cifar10") else set()
    assert set(found.numbers) == NUMBERS | mirrored
    assert all(math.isfinite(value) for value in found.numbers.values())
    assert all(0 <= found.numbers[name] <= 1 for name in {"accuracy"} | mirrored)
    assert found.numbers["images_per_second"] > 0
    steps = found.numbers["steps"]
    assert [step for step, _ in found.curves["loss"]] == list(range(1, steps + 1))
    assert [step for step, _ in found.curves["accuracy"]] == [steps // 2, steps]
    assert found.curves["accuracy"][-1][1] == found.numbers["accuracy"]
    assert found.configuration["label_smoothing"] == 0.1
    assert found.weights is not None
    size = (tmp_path / "out" / "reference-smoke.json").stat().st_size
    assert size < LARGEST


@every_unit
def test_the_seed_decides(train_smoke, unit):
    runs = [train_smoke(unit, "cifar10", seed)[1] for seed in (0, 0, 1)]
    assert runs[0].curves == runs[1].curves != runs[2].curves


@every_unit
@pytest.mark.parametrize("budget", ["smoke", "cpu", "gpu"])
def test_the_longest_run_stays_small(tmp_path, unit, budget):
    """As many losses and evaluations as the budget makes, with as many digits as there can be."""
    training = training_of(ROOT, unit)
    steps = training.BUDGETS[budget]["steps"]
    evaluations_made = names_of(unit)["EVALUATIONS"][budget]
    every = steps // evaluations_made
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(steps, generator=generator, dtype=torch.float64).tolist()
    evaluations = [(step, {"accuracy": math.pi / 4}) for step in range(every, steps + 1, every)]
    long = Run(torch.nn.Linear(2, 2), steps, {}, losses, evaluations, 1000 / 3)
    path = write_reference(tmp_path, unit, budget, "cifar10", 0, long.results(), "a command")
    assert path.stat().st_size < LARGEST
    assert len(json.loads(path.read_text())["curves"]["accuracy"]) == evaluations_made


def names_of(unit):
    """All names of a unit's training.py."""
    path = ROOT / SOLUTIONS / unit / "training.py"
    names = {"__name__": "training"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


@every_unit
@pytest.mark.parametrize("budget", ["smoke", "cpu", "gpu"])
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_the_net_of_every_budget_can_be_built_and_run(small_cifar10, unit, budget, data):
    """On two images, augmented and mixed as the recipe says."""
    training = training_of(ROOT, unit)

    def forward_only(model, images, augment, mix=None, **settings):
        images, labels = (tensor[:2] for tensor in images)
        images = augment(images, torch.Generator().manual_seed(0))
        if mix is not None:
            images, labels = mix(images, labels, torch.Generator().manual_seed(0))
        raise Stopped(model.eval()(images).shape)

    training.train.__globals__["fit"] = forward_only
    with pytest.raises(Stopped) as stopped:
        exercises = SimpleNamespace(**solutions(unit, ROOT))
        training.train(exercises, Budget(budget, "cpu", training.BUDGETS[budget]), data, 0)
    assert stopped.value.args == ((2, 10),)


class Stopped(Exception):
    """Carries the shape of what the model gave."""


def test_the_large_residual_net_is_resnet_18():
    """With a 3x3 stem and ten classes: 11,173,962 weights, as torchvision's with that stem has."""
    shape = training_of(ROOT, "04_resnet").BUDGETS["gpu"]
    with torch.device("meta"):
        net = solutions("04_resnet", ROOT)["ResNet"](shape["blocks"], shape["widths"])
    assert sum(parameter.numel() for parameter in net.parameters()) == 11_173_962


@every_unit
def test_digits_are_never_mirrored(unit):
    augment = names_of(unit)["augmentation"]

    def mirrors(part):
        if isinstance(part, Compose):
            return any(map(mirrors, part.parts))
        return isinstance(part, RandomFlip)

    assert mirrors(augment("cifar10", Compose()))
    assert not mirrors(augment("digits", Compose()))
