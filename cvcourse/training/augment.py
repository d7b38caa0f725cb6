"""Augmentation of whole batches on the device that they are on, with parameters of its own for every image.

Each augmentation is called with images and a generator of the images' device. `draw` gives the parameters, `apply` uses
them: so a test can give the same parameters to another implementation. Images are (batch, channels, H, W), uint8 or
floating point in [0, 1]; they come back in the same type, and the ones passed in stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's mode "L"


class Augmentation:
    """What all augmentations share: calling one draws its parameters and applies them."""

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return self.apply(images, *self.draw(images, generator))

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        """Parameters for each image, (batch,) each."""
        raise NotImplementedError

    def apply(self, images: Tensor, *parameters: Tensor) -> Tensor:
        """The images changed by these parameters."""
        raise NotImplementedError


@dataclass(frozen=True)
class Compose(Augmentation):
    """One augmentation after the other."""

    parts: tuple[Augmentation, ...]

    def __init__(self, *parts: Augmentation):
        object.__setattr__(self, "parts", parts)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        for part in self.parts:
            images = part(images, generator)
        return images


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Cut a window of the images' own size out of images with `padding` pixels of `fill` around them."""

    padding: int = 4
    fill: float = 0.0

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Row and column of the window's corner, (batch,) each, uniform in 0 to 2 padding."""
        return tuple(
            torch.randint(0, 2 * self.padding + 1, (len(images),), generator=generator, device=images.device)
            for _ in range(2)
        )

    def apply(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (self.padding,) * 4, value=self.fill).contiguous()
        count, channels, padded_height, padded_width = padded.shape
        # Where each row of each window starts in memory: whole rows are copied, three times as fast as single pixels.
        planes = torch.arange(count * channels, device=images.device).view(count, channels, 1) * padded_height
        lines = rows[:, None, None] + torch.arange(height, device=images.device)  # (batch, 1, H)
        starts = (planes + lines) * padded_width + columns[:, None, None]  # (batch, channels, H)
        every_row = padded.view(-1).unfold(0, width, 1)  # (starts, W), a view
        return every_row.index_select(0, starts.flatten()).view(images.shape)


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirror the share `share` of the images left to right."""

    share: float = 0.5

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor]:
        """Which images are mirrored, (batch,) bool."""
        return (uniform(images, generator, 0, 1) < self.share,)

    def apply(self, images: Tensor, mirrored: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        chosen = mirrored.nonzero().squeeze(1)
        return images.clone().index_copy_(0, chosen, images.index_select(0, chosen).flip(3))


@dataclass(frozen=True)
class RandomBrightness(Augmentation):
    """Multiply each image by a factor of its own in [1 - strength, 1 + strength]."""

    strength: float = 0.2

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor]:
        """The factors, (batch,)."""
        return (uniform(images, generator, 1 - self.strength, 1 + self.strength),)

    def apply(self, images: Tensor, factors: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        return in_range(float_copy(images).mul_(factors[:, None, None, None]), images)


@dataclass(frozen=True)
class RandomContrast(Augmentation):
    """Stretch each image's distance from its mean grey by a factor of its own in [1 - strength, 1 + strength]."""

    strength: float = 0.2

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor]:
        """The factors, (batch,)."""
        return (uniform(images, generator, 1 - self.strength, 1 + self.strength),)

    def apply(self, images: Tensor, factors: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        values = float_copy(images)
        means = values.mean(dim=(2, 3))  # (batch, channels)
        weights = torch.tensor(GREY if images.shape[1] == 3 else [1 / images.shape[1]] * images.shape[1])
        grey = (means * weights.to(images.device)).sum(dim=1)[:, None, None, None]
        return in_range(values.sub_(grey).mul_(factors[:, None, None, None]).add_(grey), images)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Fill a square of `size` pixels around a random pixel, cut off at the border (DeVries and Taylor 2017)."""

    size: int = 8
    fill: float = 0.0

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Row and column of each square's centre, (batch,) each, uniform over the image."""
        return tuple(
            torch.randint(0, side, (len(images),), generator=generator, device=images.device)
            for side in images.shape[-2:]
        )

    def apply(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        inside = [
            (torch.arange(side, device=images.device) >= (centre - self.size // 2)[:, None])
            & (torch.arange(side, device=images.device) < (centre - self.size // 2 + self.size)[:, None])
            for side, centre in zip(images.shape[-2:], (rows, columns), strict=True)
        ]  # (batch, H) and (batch, W)
        square = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        kept = images * ~square  # several times as fast as masked_fill, whose mask would have to be spread
        return kept + (square * self.fill).to(images.dtype) if self.fill else kept


def uniform(images: Tensor, generator: Generator, low: float, high: float) -> Tensor:
    """A random number in [low, high) for each image, (batch,)."""
    return torch.rand(len(images), generator=generator, device=images.device) * (high - low) + low


def float_copy(images: Tensor) -> Tensor:
    """A copy in float32 that may be changed in place: new memory costs more than the arithmetic."""
    return images.to(torch.float32, copy=True)


def in_range(values: Tensor, images: Tensor) -> Tensor:
    """Values cut, in place, to the range of the images' type, in that type; uint8 is truncated, as Pillow does."""
    if images.dtype == torch.uint8:
        return values.clamp_(0, 255).to(torch.uint8)
    return values.clamp_(0, 1).to(images.dtype)
