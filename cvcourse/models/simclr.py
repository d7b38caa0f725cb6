"""Contrastive learning (Chen et al. 2020): changes of whole batches, the projection head, the loss.

Pictures are (N, channels, H, W), floating point. Changes have parameters of their own for every
picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from cvcourse.training.augment import grey_of


def random_resized_crop(
    images: Tensor,
    generator: Generator,
    scale: tuple[float, float] = (0.25, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """A random box of each picture, brought to the picture's size or to `size`, bilinearly.

    images: (N, channels, H, W). scale: smallest and largest area of a box, as shares of the
    picture's; uniform. ratio: smallest and largest width / height, in pixels; its logarithm is
    uniform. A side longer than the picture's is cut to it. The box lies anywhere inside. size:
    (rows, columns). generator: on the device of the images. Returns (N, channels, H, W), or with
    `size` its rows and columns. Raises ValueError where a range is empty, a box would have no area,
    or a share is larger than the picture.
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(
            "scale holds two shares of the picture's area, 0 < smallest <= largest <= 1, not"
            f" {scale}."
        )
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            f"ratio holds two proportions, width over height, 0 < smallest <= largest, not {ratio}."
        )
    count, channels, rows, columns = images.shape
    drawn = torch.rand(4, count, generator=generator, device=images.device)
    area, shape, down, right = drawn  # each (N,), between 0 and 1
    root = (rows * columns * (scale[0] + (scale[1] - scale[0]) * area)).sqrt()  # in pixels
    half = (math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * shape) / 2
    height = (root * (-half).exp() / rows).clamp(max=1)  # (N,), as shares of the picture's
    width = (root * half.exp() / columns).clamp(max=1)
    # affine_grid counts from -1 to 1. A box whose width is the share w has the room 1 - w; where it
    # begins at the share x of its room, its middle is at (1 - w)(2x - 1).
    zeros = torch.zeros_like(height)
    across = torch.stack([width, zeros, (1 - width) * (2 * right - 1)], dim=1)  # (N, 3)
    along = torch.stack([zeros, height, (1 - height) * (2 * down - 1)], dim=1)  # (N, 3)
    maps = torch.stack([across, along], dim=1)  # (N, 2, 3)
    new_rows, new_columns = size or (rows, columns)
    grid = F.affine_grid(maps, [count, channels, new_rows, new_columns], align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)


def color_distort(
    images: Tensor,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
    to_grey: Tensor,
) -> Tensor:
    """Brightness, contrast, saturation, hue and grey, in this order, each cut to [0, 1].

    images: (N, 3, H, W) in [0, 1]. brightness, contrast, saturation: (N,) factors. hue: (N,) turns
    about the grey axis, 1 is a full circle. to_grey: (N,) booleans. Returns (N, 3, H, W).
    Raises ValueError where pictures have not three channels, or parameters are not one a picture.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"Colours are distorted in pictures (N, 3, H, W), not in {tuple(images.shape)}."
        )
    _check_one_each(
        images,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        to_grey=to_grey,
    )

    x = _away_from(torch.zeros_like(images), images, brightness)
    mean_grey = grey_of(x).mean(dim=(2, 3), keepdim=True)  # (N, 1, 1, 1)
    x = _away_from(mean_grey.expand_as(x), x, contrast)
    x = _away_from(grey_of(x).expand_as(x), x, saturation)
    x = _turned_about_grey(x, hue).clamp(0, 1)
    return torch.where(to_grey[:, None, None, None], grey_of(x), x)


def _away_from(origin: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    """origin + factor * (images - origin), cut to [0, 1]; (N, 3, H, W), with a factor a picture."""
    factors = factors.to(images.dtype)[:, None, None, None]  # (N,) -> (N, 1, 1, 1)
    return torch.lerp(origin, images, factors).clamp(0, 1)


def _turned_about_grey(images: Tensor, turns: Tensor) -> Tensor:
    """Colours (N, 3, H, W) turned about the axis of the greys (Rodrigues' formula). turns: (N,)."""
    angle = (2 * math.pi * turns).to(images.dtype)[:, None, None, None]  # (N, 1, 1, 1)
    mean = images.mean(dim=1, keepdim=True)  # (N, 1, H, W), the part along the axis
    side = (images.roll(1, dims=1) - images.roll(-1, dims=1)) / math.sqrt(3)  # axis x colour
    return mean + angle.cos() * (images - mean) + angle.sin() * side


def gaussian_blur(images: Tensor, sigmas: Tensor, kernel_size: int = 7) -> Tensor:
    """Each picture convolved with a Gaussian of its own; borders are reflected.

    sigmas: (N,) in pixels; 0 leaves a picture as it is. kernel_size: odd, at most 2 min(H, W) - 1,
    as a border can be reflected once only. Returns (N, channels, H, W). Raises ValueError for other
    kernels, and for a negative sigma.
    """
    most = 2 * min(images.shape[2:]) - 1
    if kernel_size % 2 == 0 or not 1 <= kernel_size <= most:
        raise ValueError(
            f"The kernel's size is odd and at most {most} for pictures like these, not"
            f" {kernel_size}."
        )
    _check_one_each(images, sigmas=sigmas)
    if (sigmas < 0).any():
        raise ValueError(f"A standard deviation is 0 or more, not {sigmas.min().item():g}.")
    reach = kernel_size // 2
    distance = torch.arange(-reach, reach + 1, device=images.device)  # (K,)
    spread = sigmas.to(images.dtype).clamp(min=1e-3)[:, None]  # (N, 1); 0 would divide by 0
    weights = (-0.5 * (distance / spread) ** 2).softmax(dim=1)  # (N, K), each sums to 1
    # Every channel of every picture is a group of its own; one kernel serves rows and columns.
    kernels = weights.repeat_interleave(images.shape[1], dim=0)[:, None, None]  # (N C, 1, 1, K)
    padded = F.pad(images, (reach,) * 4, mode="reflect").flatten(0, 1)[None]  # (1, N C, ...)
    across = F.conv2d(padded, kernels, groups=len(kernels))
    return F.conv2d(across, kernels.mT, groups=len(kernels)).view_as(images)


class ProjectionHead(nn.Module):
    """z = W2 relu(bn(W1 h)) (Chen et al. 2020, section 2.1, with a batch norm before the ReLU).

    h (N, in_dim) -> z (N, out_dim), not normalised. Parts: fc1 (no bias, which the norm would take
    away), bn, fc2.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden_dim, bias=False)
        self.bn = nn.BatchNorm1d(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, out_dim)

    def forward(self, h: Tensor) -> Tensor:
        """h (N, in_dim) -> z (N, out_dim)."""
        return self.fc2(self.bn(self.fc1(h)).relu())


def cosines_of_views(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """The cosines of all 2N views with one another, and the row of each one's partner.

    z1, z2: (N, D). Returns cosines (2N, 2N), minus infinity for each view with itself, and partners
    (2N,) int64. A vector of zeros has the cosine 0 with everything. Raises ValueError where they
    are no pairs.
    """
    if z1.ndim != 2 or z1.shape != z2.shape or len(z1) == 0:
        raise ValueError(
            "Views are two tables (N, D) of one shape, row i of both from picture i, not"
            f" {tuple(z1.shape)} and {tuple(z2.shape)}."
        )
    z = F.normalize(torch.cat([z1, z2]), dim=1)  # (2N, D)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    cosines = (z @ z.T).masked_fill(itself, float("-inf"))  # (2N, 2N)
    partners = torch.arange(len(z), device=z.device).roll(len(z1))
    return cosines, partners


def nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """The contrastive loss of N pairs (Chen et al. 2020, equation 1), the mean of both directions.

    z1, z2: (N, D), N from 2 up, of any length; row i of both belongs to picture i. Returns a tensor
    with one number: ln(2N - 1) where all vectors are equal. Raises ValueError for a batch of one,
    which has no negatives, for tables that do not fit together, and for a temperature that is not
    above 0.
    """
    if len(z1) == 1:
        raise ValueError(
            "A batch of one picture has no negatives: its loss is 0 whatever the network does."
        )
    if not temperature > 0:
        raise ValueError(f"The temperature must be above 0, not {temperature}.")
    cosines, partners = cosines_of_views(z1, z2)
    return F.cross_entropy(cosines / temperature, partners)


def contrastive_accuracy(z1: Tensor, z2: Tensor) -> float:
    """Share of the 2N views whose nearest other view, by cosine, is their partner. z1, z2: (N, D).

    Of views that are equally near the first counts, so equal vectors find one partner in 2N. Raises
    ValueError for tables that do not fit together.
    """
    cosines, partners = cosines_of_views(z1, z2)
    found = cosines.argmax(dim=1) == partners  # (2N,)
    return found.sum().item() / len(found)  # counted, as Apple's chips have no float64


def gather_negatives(local: Tensor, gather: Callable[[Tensor], list[Tensor]], rank: int) -> Tensor:
    """The rows of all processes in order, (processes * n, D), differentiable in this process's own.

    local: (n, D). gather: sends it to all, and returns everybody's without gradient. rank: this
    process's place. Raises ValueError where that place does not hold a copy of `local`.
    """
    parts = gather(local)
    if not 0 <= rank < len(parts) or parts[rank].shape != local.shape:
        shapes = [tuple(part.shape) for part in parts]
        raise ValueError(
            f"Process {rank} sent {tuple(local.shape)}, and from all processes came {shapes}."
        )
    return torch.cat([*parts[:rank], local, *parts[rank + 1 :]])


def _check_one_each(images: Tensor, **parameters: Tensor) -> None:
    """Raise ValueError, in one sentence, for parameters that are not one number a picture."""
    for name, values in parameters.items():
        if values.shape != images.shape[:1]:
            raise ValueError(
                f"{name} has one number for each of {len(images)} pictures, not"
                f" {tuple(values.shape)}."
            )
