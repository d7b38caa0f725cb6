"""Unit 04's solutions against torchvision, timm and torch, through loaded weights; the figures that
its text states."""

from __future__ import annotations

import ast
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from autograder.authoring.lesson import read_lesson, solutions
from autograder.units import ROOT

lesson = solutions("04_resnet")
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, theirs, **(TOLERANCE | tolerance))


def filled(module, seed=1):
    """The module in float64 with no parameter or buffer at its default."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 1.0
                tensor.copy_(0.5 + values.abs() if name.endswith("running_var") else values * scale)
    return module


def same_in_both_modes(ours, theirs, x):
    """Outputs, input gradients and buffers after a step in training, then in evaluation."""
    ours.double().load_state_dict(theirs.state_dict())
    for mode in (True, False):
        results = []
        for module in (ours.train(mode), theirs.train(mode)):
            given = x.clone().requires_grad_()
            output = module(given)
            results.append((output, torch.autograd.grad((output**2).sum(), given)[0]))
        close(*(output for output, _ in results))
        close(*(gradient for _, gradient in results), rtol=1e-8)
        for name, buffer in theirs.named_buffers():
            close(ours.get_buffer(name), buffer)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("momentum", "eps"), [(0.1, 1e-5), (0.4, 0.3), (1.0, 1e-3)])
@pytest.mark.parametrize("shape", [(4, 3, 5, 2), (1, 2, 3, 3), (8, 5, 1, 1)])
def test_batch_norm(training, momentum, eps, shape):
    channels, results = shape[1], []
    for function in ("ours", "torch"):
        x = normal(*shape).requires_grad_()
        weight, bias = (
            normal(channels, seed=2).requires_grad_(),
            normal(channels, seed=3).requires_grad_(),
        )
        mean, var = normal(channels, seed=4), normal(channels, seed=5).abs() + 0.5
        for _ in range(3):
            if function == "ours":
                output = lesson["batch_norm"](x, weight, bias, mean, var, training, momentum, eps)
            else:
                output = F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
        gradients = torch.autograd.grad((output**3).sum(), (x, weight, bias))
        results.append((output, mean, var, *gradients))
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, rtol=1e-8, atol=1e-9)


def torchvision_block(name, in_channels, channels, stride):
    resnet = pytest.importorskip("torchvision.models.resnet")
    block = getattr(resnet, name)
    out_channels, downsample = channels * block.expansion, None
    if stride != 1 or in_channels != out_channels:
        conv = resnet.conv1x1(in_channels, out_channels, stride)
        downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
    return filled(block(in_channels, channels, stride, downsample))


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize(
    ("in_channels", "channels", "stride"), [(8, 2, 1), (3, 3, 1), (3, 4, 2), (4, 4, 2), (2, 3, 3)]
)
def test_blocks_are_torchvisions(name, in_channels, channels, stride):
    theirs = torchvision_block(name, in_channels, channels, stride)
    same_in_both_modes(
        lesson[name](in_channels, channels, stride), theirs, normal(2, in_channels, 7, 6)
    )


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize(
    ("in_channels", "channels", "count", "stride"), [(4, 3, 3, 2), (8, 2, 2, 1), (3, 3, 1, 2)]
)
def test_stages_are_torchvisions(name, in_channels, channels, count, stride):
    resnet = pytest.importorskip("torchvision.models.resnet")
    builder = resnet.ResNet(getattr(resnet, name), [1, 1, 1, 1])
    builder.inplanes = in_channels
    theirs = filled(builder._make_layer(getattr(resnet, name), channels, count, stride))
    ours = lesson["make_stage"](lesson[name], in_channels, channels, count, stride)
    same_in_both_modes(ours, theirs, normal(2, in_channels, 6, 7))


def torchvision_network(name, blocks):
    """Torchvision's network with the stem for small images."""
    resnet = pytest.importorskip("torchvision.models.resnet")
    theirs = resnet.ResNet(getattr(resnet, name), list(blocks), num_classes=7)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return filled(theirs)


@pytest.mark.parametrize(
    ("name", "blocks"), [("BasicBlock", (2, 1, 2, 1)), ("Bottleneck", (1, 2, 1, 1))]
)
def test_whole_networks_are_torchvisions(name, blocks):
    theirs = torchvision_network(name, blocks)
    ours = lesson["ResNet"](blocks, (64, 128, 256, 512), num_classes=7, block=lesson[name])
    same_in_both_modes(ours, theirs, normal(2, 3, 18, 15))


def test_timms_network_is_the_same():
    """timm's blocks downsample, and name their parts, as torchvision's do."""
    timm_resnet = pytest.importorskip("timm.models.resnet")
    theirs = timm_resnet.ResNet(timm_resnet.BasicBlock, (1, 2, 1, 1), num_classes=5)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    ours = lesson["ResNet"]((1, 2, 1, 1), (64, 128, 256, 512), num_classes=5)
    same_in_both_modes(ours, filled(theirs), normal(2, 3, 12, 17))


def test_a_plain_network_is_a_residual_one_whose_skips_are_taken_away():
    plain = filled(lesson["ResNet"]((2, 1), (3, 4), skip=False)).eval()
    x = normal(2, 3, 8, 6)
    out = plain.bn1(plain.conv1(x)).relu()
    for block in (*plain.layer1, *plain.layer2):
        assert block.downsample is None
        out = block.bn2(block.conv2(block.bn1(block.conv1(out)).relu())).relu()
    close(plain(x), plain.fc(out.mean(dim=(2, 3))))


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


OPTION_A = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}
OPTION_B = {20: 272_474, 110: 1_730_714}


def test_parameter_counts_are_the_published_ones():
    for depth, published in OPTION_A.items():
        n = (depth - 2) // 6
        net = lesson["ResNet"]((n, n, n))
        projections = [
            part
            for name, part in net.named_modules()
            if name.endswith("downsample") and part is not None
        ]
        assert len(projections) == 2
        assert count(net) - sum(map(count, projections)) == published
        assert count(net) == OPTION_B.get(depth, count(net))
    assert count(lesson["ResNet"]((2, 2, 2, 2), (64, 128, 256, 512))) == 11_173_962


def test_depth_is_six_n_plus_two():
    for n in (1, 3, 9):
        net = lesson["ResNet"]((n, n, n), (4, 4, 4), skip=False)
        assert sum(isinstance(part, nn.Conv2d | nn.Linear) for part in net.modules()) == 6 * n + 2


def test_folding_is_torchs():
    for settings in (
        dict(stride=2, padding=1),
        dict(groups=2, bias=False, dilation=2),
        dict(padding=(0, 2), groups=4, stride=(1, 3)),
    ):
        conv, bn = (
            filled(nn.Conv2d(4, 8, (3, 2), **settings)),
            filled(nn.BatchNorm2d(8, eps=0.2)).eval(),
        )
        ours, theirs, x = (
            lesson["fold_batch_norm"](conv, bn),
            fuse_conv_bn_eval(conv.eval(), bn),
            normal(2, 4, 9, 8),
        )
        close(ours.weight, theirs.weight)
        close(ours.bias, theirs.bias)
        close(ours(x), bn(conv(x)))


@pytest.mark.parametrize(("total", "warmup", "last"), [(50, 10, 0.0), (30, 0, 0.02), (41, 7, 0.1)])
def test_the_schedule_is_torchs(total, warmup, last):
    peak = 0.4
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - warmup, eta_min=last)
    if warmup:
        rising = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / warmup)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, total - warmup, eta_min=last
        )
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [rising, falling], [warmup])
    for step in range(total + 1):
        expected = optimizer.param_groups[0]["lr"]
        assert lesson["cosine_schedule"](step, total, peak, warmup, last) == pytest.approx(
            expected, abs=1e-9
        )
        optimizer.step()
        scheduler.step()


def test_the_schedule_is_timms():
    scheduler = pytest.importorskip("timm.scheduler")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = scheduler.CosineLRScheduler(
        optimizer,
        36,
        lr_min=0.01,
        warmup_t=9,
        warmup_lr_init=0.0,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    for step in range(45):
        theirs.step_update(step)
        expected = optimizer.param_groups[0]["lr"]
        assert lesson["cosine_schedule"](step, 45, 0.3, 9, 0.01) == pytest.approx(
            expected, abs=1e-12
        )


def recorded_rows():
    """The losses of docs/figures.md's degradation block, by net."""
    text = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- begin degradation -->(.*?)<!-- end degradation -->", text, re.DOTALL)[
        1
    ]
    rows = [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")][
        2:
    ]
    return {name: tuple(float(loss) for loss in losses.split(" / ")) for name, losses, *_ in rows}


def test_the_lesson_shows_the_recorded_losses():
    source = "\n".join(
        cell.source for cell in read_lesson(ROOT / "solutions" / "04_resnet").notebook.cells
    )
    shown = ast.literal_eval(
        re.search(r"^recorded = (\{.*?^\})", source, re.DOTALL | re.MULTILINE)[1]
    )
    rows = recorded_rows()
    assert shown == {
        name: rows[name] for name in ("plain 20", "plain 56", "residual 20", "residual 56")
    }
    zero = ", ".join(f"{loss:.3f}" for loss in rows["residual 56, last gammas zero"])
    assert f"seeds 0, 1, 2: {zero}" in source
    longer = [f"{loss:.2f}" for loss in rows["plain 56, 600 steps"]]
    assert f"{min(longer)} to {max(longer)}" in re.sub(r"\s+#?\s*", " ", source)


def test_degradation_and_its_cure_hold_on_every_seed():
    rows = recorded_rows()
    for shallow, deep, residual, zero, longer in zip(
        rows["plain 20"],
        rows["plain 56"],
        rows["residual 56"],
        rows["residual 56, last gammas zero"],
        rows["plain 56, 600 steps"],
        strict=True,
    ):
        assert deep > 10 * shallow and deep > 10 * residual and zero < residual / 2
        assert shallow < longer < deep
