"""Other right solutions of unit 04's exercises, and the shortcuts that must be refused."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from autograder.wheat import shortcut, wheat
from cvcourse import models


@wheat("batch_norm")
def by_rows(x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    rows = x.transpose(0, 1).flatten(1)  # (C, N * H * W)
    if training:
        mean, centred = rows.mean(dim=1), rows - rows.mean(dim=1, keepdim=True)
        var = (centred * centred).sum(dim=1) / rows.shape[1]
        running_mean.data.mul_(1 - momentum).add_(momentum * mean.detach())
        unbiased = (centred * centred).sum(dim=1) / (rows.shape[1] - 1)
        running_var.data.mul_(1 - momentum).add_(momentum * unbiased.detach())
    else:
        mean, var = running_mean, running_var
    scale = weight * torch.rsqrt(var + eps)
    return x * scale.view(1, -1, 1, 1) + (bias - mean * scale).view(1, -1, 1, 1)


@wheat("batch_norm")
def channel_by_channel(
    x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5
):
    planes = []
    for c in range(x.shape[1]):
        values = x[:, c]
        mean, var = running_mean[c].clone(), running_var[c].clone()
        if training:
            mean, var = values.mean(), (values**2).mean() - values.mean() ** 2
            m = values.numel()
            running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean.item()
            running_var[c] = (1 - momentum) * running_var[c] + momentum * values.var().item()
            assert m > 1
        planes.append(weight[c] * (values - mean) / torch.sqrt(var + eps) + bias[c])
    return torch.stack(planes, dim=1)


@shortcut("batch_norm")
def torch_batch_norm(x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)


@shortcut("batch_norm")
def the_courses_batch_norm(*arguments, **keywords):
    return models.batch_norm(*arguments, **keywords)


def _norm(channels):
    return nn.BatchNorm2d(channels)


@wheat("BasicBlock")
class BlockWithFunctions(nn.Module):
    """F.relu throughout, the skip first, a projection that is always made and kept only where it is
    needed."""

    expansion = 1

    def __init__(self, in_channels, channels, stride=1, skip=True):
        super().__init__()
        self.has_skip = skip
        shortcut_path = nn.Sequential(
            nn.Conv2d(in_channels, channels, (1, 1), (stride, stride), bias=False), _norm(channels)
        )
        self.downsample = shortcut_path if skip and (in_channels, 1) != (channels, stride) else None
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding="same", bias=False)
        self.conv1 = nn.Conv2d(
            in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False
        )
        self.bn2, self.bn1 = _norm(channels), _norm(channels)

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(residual + identity if self.has_skip else residual)


@wheat("BasicBlock")
class BlockWithLayers(nn.Module):
    """One ReLU module in place, an in-place addition, and an empty Sequential for the identity."""

    expansion = 1

    def __init__(self, in_channels, channels, stride=1, skip=True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential()
        if stride > 1 or in_channels != channels:
            self.downsample.append(nn.Conv2d(in_channels, channels, 1, stride, bias=False)).append(
                nn.BatchNorm2d(channels)
            )
        if not skip:
            self.downsample = None

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            out += self.downsample(x)
        return self.relu(out)


@shortcut("BasicBlock")
class TheCoursesBlock(models.BasicBlock):
    def __init__(self, in_channels, channels, stride=1, skip=True):
        models.BasicBlock.__init__(self, in_channels, channels, stride, skip)


@wheat("Bottleneck")
class BottleneckByLoop(nn.Module):
    """The three pairs in a loop over their settings."""

    expansion = 4

    def __init__(self, in_channels, channels, stride=1, skip=True):
        super().__init__()
        widths = (in_channels, channels, channels, 4 * channels)
        kernels = (1, 3, 1)
        strides = (1, stride, 1)
        for k, (before, after) in enumerate(pairwise(widths)):
            conv = nn.Conv2d(before, after, kernels[k], strides[k], kernels[k] // 2, bias=False)
            self.add_module(f"conv{k + 1}", conv)
            self.add_module(f"bn{k + 1}", nn.BatchNorm2d(after))
        self.skip = skip
        self.downsample = None
        if skip and not (stride == 1 and in_channels == widths[-1]):
            conv = nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(widths[-1]))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if not self.skip:
            return F.relu(out)
        return F.relu(torch.add(x if self.downsample is None else self.downsample(x), out))


@shortcut("Bottleneck")
class TheCoursesBottleneck(models.Bottleneck):
    def __init__(self, in_channels, channels, stride=1, skip=True):
        models.Bottleneck.__init__(self, in_channels, channels, stride, skip)


@wheat("make_stage")
def by_keywords(block, in_channels, channels, count, stride, skip=True):
    stage = nn.Sequential()
    for k in range(count):
        given = (
            dict(in_channels=in_channels, stride=stride)
            if k == 0
            else dict(in_channels=block.expansion * channels)
        )
        stage.add_module(str(k), block(channels=channels, skip=skip, **given))
    return stage


@wheat("make_stage")
def with_a_running_width(block, in_channels, channels, count, stride, skip=True):
    parts, width, step = [], in_channels, stride
    while len(parts) < count:
        parts.append(block(width, channels, step, skip))
        width, step = channels * block.expansion, 1
    return nn.Sequential(*parts)


@shortcut("make_stage")
def the_courses_stage(*arguments, **keywords):
    return models.make_stage(*arguments, **keywords)


@wheat("ResNet")
class ResNetWithPooling(nn.Module):
    """Attributes by setattr, a pooling module, and stages built without make_stage."""

    def __init__(
        self,
        blocks=(3, 3, 3),
        widths=(16, 32, 64),
        num_classes=10,
        in_channels=3,
        block=None,
        skip=True,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.depth, width = len(blocks), widths[0]
        for k in range(self.depth):
            stage = []
            for place in range(blocks[k]):
                stage.append(block(width, widths[k], 2 if k > 0 and place == 0 else 1, skip))
                width = widths[k] * block.expansion
            setattr(self, f"layer{k + 1}", nn.Sequential(*stage))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images):
        x = F.relu(self.bn1(self.conv1(images)))
        for k in range(self.depth):
            x = getattr(self, f"layer{k + 1}")(x)
        return self.fc(torch.flatten(self.pool(x), 1))


@shortcut("ResNet")
class TheCoursesNetwork(models.ResNet):
    def forward(self, images):
        return models.ResNet.forward(self, images)


@wheat("cosine_schedule")
def by_tensors(step, total_steps, peak, warmup_steps, last=0.0):
    rising = torch.tensor(step / max(warmup_steps, 1e-12), dtype=torch.float64)
    done = torch.tensor((step - warmup_steps) / (total_steps - warmup_steps), dtype=torch.float64)
    falling = last + (peak - last) * torch.cos(math.pi / 2 * done) ** 2
    return (peak * rising if step < warmup_steps else falling).item()


@wheat("cosine_schedule")
def in_single_precision(step, total_steps, peak, warmup_steps, last=0.0):
    if step < warmup_steps:
        return peak * step / warmup_steps
    angle = torch.tensor(math.pi * (step - warmup_steps) / (total_steps - warmup_steps))  # float32
    return (last + 0.5 * (peak - last) * (1 + torch.cos(angle))).item()


@shortcut("cosine_schedule")
def the_courses_schedule(*arguments, **keywords):
    return models.cosine_schedule(*arguments, **keywords)


@wheat("fold_batch_norm")
def by_asking_the_norm(conv, bn):
    """The scale and the offset are read off the norm's own answers to 1 and to 0."""
    import copy

    folded = copy.deepcopy(conv)
    norm = copy.deepcopy(bn).eval()
    with torch.no_grad():
        shape = (1, bn.num_features, 1, 1)
        offset = norm(torch.zeros(shape, dtype=conv.weight.dtype)).flatten()
        scale = norm(torch.ones(shape, dtype=conv.weight.dtype)).flatten() - offset
        folded.weight.copy_(torch.einsum("o,oikl->oikl", scale, conv.weight))
        bias = offset if conv.bias is None else offset + scale * conv.bias
    folded.bias = nn.Parameter(bias)
    return folded


@wheat("fold_batch_norm")
def by_channels(conv, bn):
    settings = {name: getattr(conv, name) for name in ("stride", "padding", "dilation", "groups")}
    folded = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, bias=True, **settings
    ).to(conv.weight.dtype)
    for o in range(conv.out_channels):
        root = math.sqrt(bn.running_var[o].item() + bn.eps)
        own = 0.0 if conv.bias is None else conv.bias[o].item()
        folded.weight.data[o] = conv.weight.data[o] * bn.weight[o].item() / root
        folded.bias.data[o] = (own - bn.running_mean[o].item()) / root * bn.weight[
            o
        ].item() + bn.bias[o].item()
    return folded


@shortcut("fold_batch_norm")
def the_courses_folding(conv, bn):
    return models.fold_batch_norm(conv, bn)


@shortcut("fold_batch_norm")
def torchs_folding(conv, bn):
    return torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), bn.eval())
