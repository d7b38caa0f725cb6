"""Unit 11's training outside its notebook, at smoke scale.

On digits, on CIFAR-10's format, and in two processes.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch

from autograder.units import ROOT
from cvcourse.training import read_reference

UNIT = "11_mae"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("data", "shape", "mask_ratio"), [("digits", (1, 8, 8), 0.5), ("cifar10", (3, 32, 32), 0.75)]
)
def test_smoke(train_smoke, data, shape, mask_ratio):
    results = train_smoke(data)
    names = {"error", "accuracy", "scratch", "images_per_second", "parameters", "steps", "seconds"}
    assert names <= set(results.numbers)
    assert 0 <= results.numbers["accuracy"] <= 1 and 0 <= results.numbers["scratch"] <= 1
    assert [step for step, _ in results.curves["loss"]] == [1, 2, 3, 4]
    features = results.model(torch.rand(2, *shape))
    assert features.shape == (2, 16), "the encoder is what is kept"
    assert results.configuration["mask_ratio"] == mask_ratio


def test_what_is_painted_is_compared_with_the_changed_images(names):
    images, generator = torch.rand(3, 1, 4, 4), torch.Generator()
    found = names["images_as_targets"](images, torch.zeros(3), generator)
    assert found[0] is images and found[1] is images


def test_the_command_writes_a_run(command_run):
    found = command_run
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "digits", True)


@pytest.mark.parametrize(
    ("budget", "data", "shape"), [("cpu", "digits", (1, 8, 8)), ("gpu", "cifar10", (3, 32, 32))]
)
def test_every_budgets_network_can_be_built(names, exercises, plan, budget, data, shape):
    mae = names["make_mae"](exercises, plan(budget), names["SETTINGS"][data], shape)
    painted, mask = mae(torch.rand(2, *shape))
    tokens = (shape[1] // 2) ** 2
    assert painted.shape == (2, tokens, 4 * shape[0]) and mask.shape == (2, tokens)
    encoder, decoder = (
        sum(parameter.numel() for parameter in part.parameters())
        for part in (mae.encoder, mae.decoder)
    )
    assert decoder < encoder


def test_two_processes_train_together(tmp_path):
    settings = "--num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    launch = f"-m accelerate.commands.launch --multi_gpu --num_processes 2 {settings}"
    command = f"-m autograder.cli train {UNIT} --budget smoke --out"
    environment = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *launch.split(), *command.split(), str(tmp_path)],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = read_reference("smoke", folder=tmp_path)
    assert found.environment["processes"] == 2 and math.isfinite(found.numbers["error"])
