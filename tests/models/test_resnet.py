"""The library's residual networks: the same as the lesson's solutions, and safe to use in later
units."""

import copy

import pytest
import torch
from torch import nn

from autograder.authoring.lesson import solutions
from cvcourse import models

LESSON = solutions("04_resnet")
NAMES = (
    "batch_norm",
    "BasicBlock",
    "Bottleneck",
    "make_stage",
    "ResNet",
    "fold_batch_norm",
    "cosine_schedule",
)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(module):
    """The module in float64, no parameter or buffer at its default."""
    generator = torch.Generator().manual_seed(7)
    module.double()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            values = 0.5 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return module


def test_every_part_can_be_imported_by_its_name():
    assert all(callable(getattr(models, name)) for name in (*NAMES, "initialise"))
    assert {*NAMES, "initialise"} <= set(models.__all__)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_the_lessons(training):
    results = []
    for function in (models.batch_norm, LESSON["batch_norm"]):
        mean, var = normal(3, seed=1), normal(3, seed=2).abs() + 0.5
        x = normal(4, 3, 2, 5).requires_grad_()
        output = function(x, normal(3, seed=3), normal(3, seed=4), mean, var, training, 0.3, 0.2)
        results.append((output, torch.autograd.grad((output**3).sum(), x)[0], mean, var))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_batch_norm_in_single_precision_survives_a_large_mean():
    x = 1000 + normal(64, 1, 8, 8).float()
    one, zero = torch.ones(1), torch.zeros(1)
    output = models.batch_norm(x, one, zero, zero.clone(), one.clone(), training=True)
    expected = nn.functional.batch_norm(x.double(), None, None, training=True)
    assert (output - expected).abs().max() < 2e-3


@pytest.mark.parametrize("block", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("skip", [True, False])
def test_networks_load_the_lessons_weights(block, skip):
    settings = {
        "blocks": (2, 1),
        "widths": (3, 4),
        "num_classes": 5,
        "in_channels": 2,
        "skip": skip,
    }
    theirs = filled(LESSON["ResNet"](block=LESSON[block], **settings))
    ours = models.ResNet(block=getattr(models, block), **settings).double()
    ours.load_state_dict(theirs.state_dict())
    images = normal(3, 2, 7, 6)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(images), theirs.train(mode)(images))


def test_a_wrong_number_of_widths_is_refused():
    with pytest.raises(ValueError):
        models.ResNet((1, 1, 1), (8, 16))


def test_initialise_gives_hes_spread_and_silent_branches():
    torch.manual_seed(0)
    net = models.initialise(models.ResNet((2, 2), (32, 64)), zero_last_gamma=True)
    assert net.layer2[1].conv1.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert all(
        not block.bn2.weight.any() and block.bn1.weight.all()
        for block in (*net.layer1, *net.layer2)
    )
    x = torch.rand(2, 32, 5, 5)
    torch.testing.assert_close(net.layer1(x), x)
    bottlenecks = models.initialise(
        models.make_stage(models.Bottleneck, 8, 2, 2, 1), zero_last_gamma=True
    )
    assert not any(block.bn3.weight.any() for block in bottlenecks)


def test_folding_keeps_every_setting_and_both_layers():
    conv = filled(
        nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2, padding_mode="circular")
    )
    bn = filled(nn.BatchNorm2d(6, eps=0.2)).eval()
    before = copy.deepcopy((conv.state_dict(), bn.state_dict()))
    folded, x = models.fold_batch_norm(conv, bn), normal(2, 4, 9, 8)
    torch.testing.assert_close(folded(x), bn(conv(x)))
    for kept, now in zip(before, (conv.state_dict(), bn.state_dict()), strict=True):
        torch.testing.assert_close(kept, now)
    assert folded.weight.data_ptr() != conv.weight.data_ptr()


@pytest.mark.parametrize(("warmup", "last"), [(0, 0.0), (7, 0.1)])
def test_the_schedule_is_the_lessons(warmup, last):
    for step in [*range(31), 3.5, 6.99, 20.25]:
        given = (step, 30, 0.4, warmup, last)
        assert models.cosine_schedule(*given) == pytest.approx(
            LESSON["cosine_schedule"](*given), abs=1e-12
        )
    assert models.cosine_schedule(warmup, 30, 0.4, warmup, last) == pytest.approx(0.4)
    assert models.cosine_schedule(30, 30, 0.4, warmup, last) == pytest.approx(last)
