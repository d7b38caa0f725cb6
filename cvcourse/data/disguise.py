"""Grey scenes in which a creature differs from its surroundings by its pattern alone."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .annotated import Scenes
from .layout import Draws
from .painter import boxes_of

CAMOUFLAGE_PATTERNS = ("upright", "level", "slanted", "checks", "rings", "rays", "zigzag", "dots")
AREA = 0.2  # share of a square image that the creature covers, on average
MEAN, SPREAD = 0.5, 0.15  # of the grey values, the same on the creature and around it
FINEST, COARSEST = 4.5 / 32, 7.5 / 32  # periods of a pattern, in units of half the shorter side
NOISE_BLUR = 1.2 / 32  # the surroundings are noise between this blur and twice this blur
LEAST_STEP = 0.4  # between the two colors of an image, in one channel at least
CHUNK = 128


def camouflage(
    count: int, size: int | tuple[int, int] = 64, seed: int = 0, color: bool = False
) -> Scenes:
    """`count` grey images of a patterned, blob-shaped creature on noise of its mean and spread.

    Neither brightness nor contrast gives the creature away. The class is the pattern
    (`CAMOUFLAGE_PATTERNS`); shape, place, size, turn and phase vary. Images are (count, 1, height,
    width). With `color` they are (count, 3, height, width): every image runs from one color of its
    own to another, on the creature as around it, so that color does not give it away either. Image
    i is the same whatever `count` is. Raises ValueError on arguments that do not fit, or sides
    under 16 pixels, where no pattern is left to see.
    """
    from .synthetic import _pair, _whole_number

    _whole_number("count", count, 0)
    _whole_number("seed", seed, 0)
    height, width = _pair("size", size, least=16)
    images = torch.empty(count, 1, height, width)
    masks = torch.empty(count, height, width, dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.int64)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        rows = slice(start, stop)
        images[rows, 0], masks[rows], labels[rows] = _paint(seed, start, stop, height, width)
    if color:
        images = _colored(images, seed)
    return _annotated(images, masks, labels)


def _paint(
    seed: int, start: int, stop: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, height, width), masks of the same shape, labels (n,): images start..stop-1."""
    draws = Draws(seed, start, stop, columns=32)
    labels = draws.integers(below=len(CAMOUFLAGE_PATTERNS))
    x, y = _centered(draws, height, width)
    inside = torch.hypot(x, y) < _outline(draws, torch.atan2(y, x))
    creature = _pattern(draws, labels, x, y)
    surroundings = _noise(seed, start, stop, height, width)
    within = _standardised(creature, inside)
    around = _standardised(surroundings, ~inside)
    values = torch.where(inside, within, around)
    return (MEAN + SPREAD * values).clamp_(0, 1), inside.to(torch.uint8), labels


def _colored(grey: Tensor, seed: int) -> Tensor:
    """Grey images (n, 1, height, width) between two colors each, far apart: (n, 3, height, width).

    Image i's colors follow from the seed and i alone.
    """
    ends = np.empty((len(grey), 2, 3), dtype=np.float32)
    for index in range(len(grey)):
        ends[index] = np.random.default_rng((seed, index, 2)).random((2, 3), np.float32)
    dark, light = torch.from_numpy(ends)[..., None, None].unbind(dim=1)  # each (n, 3, 1, 1)
    apart = light - dark
    farther = torch.where(apart < 0, -LEAST_STEP, LEAST_STEP)
    apart = torch.where(apart.abs().amax(dim=1, keepdim=True) < LEAST_STEP, farther, apart)
    return (dark + grey * apart).clamp_(0, 1)


def _centered(draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Coordinates (n, height, width) from the creature's centre.

    They are in units of half the shorter side.
    """
    half = min(height, width) / 2
    shift = draws.uniform(2, low=-0.6, high=0.6)  # (n, 2)
    place = shift * torch.tensor([width, height]) / (2 * half)
    x = (torch.arange(width) + 0.5) / half - width / (2 * half) - place[:, :1]  # (n, width)
    y = (torch.arange(height) + 0.5) / half - height / (2 * half) - place[:, 1:]  # (n, height)
    return x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)


def _outline(draws: Draws, direction: Tensor) -> Tensor:
    """The blob's radius in each direction, (n, height, width): a circle with three waves."""
    size = draws.uniform(1, 1, low=0.85, high=1.15) * math.sqrt(4 * AREA / math.pi)
    height = draws.uniform(3, 1, 1, high=0.14)
    phase = draws.uniform(3, 1, 1, high=2 * math.pi)
    waves = [height[:, k] * torch.cos((k + 2) * direction + phase[:, k]) for k in range(3)]
    return size * (1 + sum(waves))


def _pattern(draws: Draws, labels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(n, height, width): each creature's own pattern, of any spread."""
    period = draws.uniform(1, 1, low=FINEST, high=COARSEST)
    turn = draws.uniform(1, 1, low=-0.3, high=0.3)
    phase = draws.uniform(2, 1, 1, high=2 * math.pi)
    u = 2 * math.pi * (x * turn.cos() + y * turn.sin()) / period + phase[:, 0]
    v = 2 * math.pi * (y * turn.cos() - x * turn.sin()) / period + phase[:, 1]
    result = torch.empty_like(u)
    for kind, name in enumerate(CAMOUFLAGE_PATTERNS):
        rows = labels == kind
        result[rows] = _waves(name, u[rows], v[rows], x[rows], y[rows], period[rows], phase[rows])
    return result


def _waves(
    name: str, u: Tensor, v: Tensor, x: Tensor, y: Tensor, period: Tensor, phase: Tensor
) -> Tensor:
    """u, v: turned coordinates as angles, one turn a period; x, y: plain ones.

    All are (n, height, width).
    """
    if name == "upright":
        return u.sin()
    if name == "level":
        return v.sin()
    if name == "slanted":
        return ((u + v) / math.sqrt(2)).sin()
    if name == "checks":
        return torch.tanh(4 * (u / 1.4).sin() * (v / 1.4).sin())
    if name == "rings":
        return (2 * math.pi * torch.hypot(x, y) / period + phase[:, 0]).sin()
    if name == "rays":
        return (11 * torch.atan2(y, x) + phase[:, 0]).sin()
    if name == "zigzag":
        return (v + 2 * torch.asin((u / 2).sin())).sin()
    return torch.exp(0.8 * (u.cos() + v.cos()))  # dots


def _noise(seed: int, start: int, stop: int, height: int, width: int) -> Tensor:
    """(n, height, width): noise between two blurs, with details as fine as the patterns'."""
    fields = []
    for index in range(start, stop):
        generator = np.random.default_rng((seed, index, 1))
        fields.append(generator.standard_normal((height, width), np.float32))
    white = torch.from_numpy(np.stack(fields))
    blur = NOISE_BLUR * min(height, width) / 2
    return _blurred(white, blur) - _blurred(white, 2 * blur)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (n, height, width), sigma in pixels."""
    reach = max(1, math.ceil(2.5 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).reshape(1, 1, 1, -1)
    padded = F.pad(images[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3)).squeeze(1)


def _standardised(values: Tensor, where: Tensor) -> Tensor:
    """`values` shifted and scaled to mean 0 and spread 1 over the pixels in `where`.

    All are (n, height, width).
    """
    share = where.float() / where.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    centered = values - (values * share).sum(dim=(1, 2), keepdim=True)
    spread = (centered.square() * share).sum(dim=(1, 2), keepdim=True).sqrt()  # (n, 1, 1)
    return centered / spread.clamp(min=1e-6)


def _annotated(images: Tensor, masks: Tensor, labels: Tensor) -> Scenes:
    boxes, visible = boxes_of(masks, objects=1)
    patterns = [CAMOUFLAGE_PATTERNS[label] for label in labels.tolist()]
    return Scenes(
        images=images,
        labels=labels,
        instance_masks=masks,
        semantic_masks=masks * (labels + 1).to(torch.uint8)[:, None, None],
        boxes=boxes,
        visible=visible,
        classes=labels[:, None].clone(),
        colors=torch.full((len(labels), 1), -1),
        textures=labels[:, None].clone(),
        captions=[f"a creature of {pattern} pattern on noise" for pattern in patterns],
        class_names=CAMOUFLAGE_PATTERNS,
        color_names=(),
        texture_names=CAMOUFLAGE_PATTERNS,
    )
