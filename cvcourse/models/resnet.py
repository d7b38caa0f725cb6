"""Residual networks (He et al. 2015) and what training them needs.

Parts have the names that torchvision gives them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation of feature maps (Ioffe and Szegedy 2015, section 3 and algorithm 2).

    x: (N, C, H, W). weight, bias, running_mean, running_var: (C,). momentum: share of the new value
    in a running one. Training normalises with the mean and biased variance of the batch and moves
    the running statistics in place, the variance towards the unbiased one; evaluation normalises
    with the running statistics. Returns a tensor like x.
    """
    if training:
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)  # both (C,)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / (count - 1)), momentum)
    else:
        mean, var = running_mean, running_var
    scale = weight / (var + eps).sqrt()  # (C,)
    return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A 1x1 convolution and a norm that bring a block's input to the shape of its output.

    (He et al. 2015, section 3.3, option B.) Returns None where the shapes agree already.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    convolution = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (He et al. 2015, figure 5 on the left).

    (N, in_channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride)). skip=False leaves
    the skip out.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1, skip: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.skip = skip
        self.downsample = projection(in_channels, channels, stride) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, channels, H / stride, W / stride), rounded up."""
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out))
        if self.skip:
            shortcut = x if self.downsample is None else self.downsample(x)
            out = out + shortcut
        return out.relu()


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip (He et al. 2015, figure 5 on the right).

    (N, in_channels, H, W) -> (N, 4 * channels, ceil(H / stride), ceil(W / stride)). The 3x3
    convolution has the stride. skip=False leaves the skip out.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, skip: bool = True):
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.skip = skip
        self.downsample = projection(in_channels, out_channels, stride) if skip else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 4 * channels, H / stride, W / stride), rounded up."""
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        if self.skip:
            shortcut = x if self.downsample is None else self.downsample(x)
            out = out + shortcut
        return out.relu()


Block = type[BasicBlock] | type[Bottleneck]


def make_stage(
    block: Block, in_channels: int, channels: int, count: int, stride: int, skip: bool = True
) -> nn.Sequential:
    """`count` blocks in a row, of which the first has the stride and changes the channels.

    (N, in_channels, H, W) -> (N, channels * block.expansion, ceil(H / stride), ceil(W / stride)).
    Raises ValueError for a stage without a block.
    """
    if count < 1:
        raise ValueError(f"A stage has at least one block, not {count}.")
    blocks: list[nn.Module] = [block(in_channels, channels, stride, skip=skip)]
    for _ in range(count - 1):
        blocks.append(block(channels * block.expansion, channels, skip=skip))
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """A residual network for small images (He et al. 2015, section 4.2).

    blocks, widths: of each stage; each but the first halves the map. (n, n, n) basic blocks have
    depth 6n + 2. Its parts: conv1, bn1, layer1, layer2, ..., fc. The weights are PyTorch's
    defaults. `initialise` gives those of the paper. skip=False gives the plain net.
    """

    def __init__(
        self,
        blocks: Sequence[int] = (3, 3, 3),
        widths: Sequence[int] = (16, 32, 64),
        num_classes: int = 10,
        in_channels: int = 3,
        block: Block = BasicBlock,
        skip: bool = True,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = len(blocks)
        channels = widths[0]
        for number, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
            stride = 1 if number == 1 else 2
            stage = make_stage(block, channels, width, count, stride, skip)
            self.add_module(f"layer{number}", stage)
            channels = width * block.expansion
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, in_channels, H, W) of any size -> logits (N, num_classes)."""
        x = self.bn1(self.conv1(images)).relu()
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
        pooled = x.mean(dim=(2, 3))  # (N, C, H, W) -> (N, C)
        return self.fc(pooled)


def initialise(network: nn.Module, zero_last_gamma: bool = False) -> nn.Module:
    """He et al.'s normal weights (2015b) for the convolutions, in place; returns the network.

    zero_last_gamma: the last norm of each block's branch begins at zero, so that the block begins
    as its skip alone (Goyal et al. 2017, section 5.1).
    """
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        if zero_last_gamma and isinstance(part, BasicBlock):
            nn.init.zeros_(part.bn2.weight)
        if zero_last_gamma and isinstance(part, Bottleneck):
            nn.init.zeros_(part.bn3.weight)
    return network


def fold_batch_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """A new convolution that does what `conv` and then `bn` do in evaluation mode.

    conv: with or without bias, of any stride, padding, dilation and number of groups. bn: with
    weight and bias. Neither is changed. Raises ValueError for a norm without running statistics.
    """
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError("A norm without running statistics cannot become part of a convolution.")
    geometry: dict[str, Any] = {
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
        "padding_mode": conv.padding_mode,
    }
    place: dict[str, Any] = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, **geometry, **place)
    with torch.no_grad():
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()  # (out_channels,)
        before = -bn.running_mean if conv.bias is None else conv.bias - bn.running_mean
        weight = conv.weight * scale[:, None, None, None]
        folded.load_state_dict({"weight": weight, "bias": before * scale + bn.bias})
    return folded


def cosine_schedule(
    step: float, total_steps: int, peak: float, warmup_steps: int, last: float = 0.0
) -> float:
    """Learning rate after `step` of `total_steps`, with a warm-up and half a cosine.

    A line from 0 up to `peak`, which is reached at `warmup_steps` (Goyal et al. 2017, section 2.2),
    then half a cosine down to `last` (Loshchilov and Hutter 2017, equation 5).
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    return last + (peak - last) * (1 + math.cos(math.pi * done)) / 2
