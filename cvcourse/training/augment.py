"""Augmentation of whole batches on their own device: every image gets parameters of its own.

Each augmentation is called with images and a generator of the images' device. `draw` gives the
parameters, `apply` uses them: so a test can give the same parameters to another implementation.
Images are (batch, channels, H, W), uint8 or floating point in [0, 1]; they come back in the same
type, and the ones passed in stay as they are. `Normalize` leaves that range and comes last:
brightness, contrast and colour cut to it.

Mixing is called with images, targets and a generator, and gives back both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Generic, TypeVarTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's mode "L"


# What `draw` gives and `apply` takes: `Augmentation[Tensor, Tensor]` has two of them.
Parameters = TypeVarTuple("Parameters")


class Augmentation(Generic[*Parameters]):
    """What all augmentations share: calling one draws its parameters and applies them."""

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        return self.apply(images, *self.draw(images, generator))

    def draw(self, images: Tensor, generator: Generator) -> tuple[*Parameters]:
        """Parameters for each image, (batch,) each."""
        raise NotImplementedError

    def apply(self, images: Tensor, *parameters: *Parameters) -> Tensor:
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
class RandomCrop(Augmentation[Tensor, Tensor]):
    """Cut a window of the images' own size out of images with a frame around them.

    padding: pixels of the frame. fill: their value.
    """

    padding: int = 4
    fill: float = 0.0

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Row and column of the window's corner, (batch,) each, uniform in 0 to 2 padding."""
        places = 2 * self.padding + 1
        rows = random_integers(images, generator, places)
        columns = random_integers(images, generator, places)
        return rows, columns

    def apply(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        height, width = images.shape[-2:]
        padded = F.pad(images, (self.padding,) * 4, value=self.fill).contiguous()
        count, channels, padded_height, padded_width = padded.shape
        # Where each row of each window starts in memory: whole rows are copied, three times as fast
        # as single pixels.
        planes = torch.arange(count * channels, device=images.device).view(count, channels, 1)
        planes = planes * padded_height
        lines = rows[:, None, None] + torch.arange(height, device=images.device)  # (batch, 1, H)
        starts = (planes + lines) * padded_width + columns[:, None, None]  # (batch, channels, H)
        every_row = padded.view(-1).unfold(0, width, 1)  # (starts, W), a view
        return every_row.index_select(0, starts.flatten()).view(images.shape)


@dataclass(frozen=True)
class RandomFlip(Augmentation[Tensor]):
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
class RandomBrightness(Augmentation[Tensor]):
    """Multiply each image by a factor of its own in [1 - strength, 1 + strength]."""

    strength: float = 0.2

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor]:
        """The factors, (batch,)."""
        return (uniform(images, generator, 1 - self.strength, 1 + self.strength),)

    def apply(self, images: Tensor, factors: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        return in_range(float_copy(images).mul_(factors[:, None, None, None]), images)


@dataclass(frozen=True)
class RandomContrast(Augmentation[Tensor]):
    """Stretch each image's distance from its mean grey by a factor of its own.

    The factors lie in [1 - strength, 1 + strength].
    """

    strength: float = 0.2

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor]:
        """The factors, (batch,)."""
        return (uniform(images, generator, 1 - self.strength, 1 + self.strength),)

    def apply(self, images: Tensor, factors: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        values = float_copy(images)
        grey = grey_of(values.mean(dim=(2, 3), keepdim=True))  # (batch, 1, 1, 1)
        return in_range(values.sub_(grey).mul_(factors[:, None, None, None]).add_(grey), images)


@dataclass(frozen=True)
class RandomColour(Augmentation[Tensor]):
    """Stretch each pixel's distance from its own grey by a factor of the image's own.

    The factors lie in [1 - strength, 1 + strength]. Grey pictures, of one channel, stay as they
    are.
    """

    strength: float = 0.2

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor]:
        """The factors, (batch,); 0 takes all colour away."""
        return (uniform(images, generator, 1 - self.strength, 1 + self.strength),)

    def apply(self, images: Tensor, factors: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        values = float_copy(images)
        grey = grey_of(values)  # (batch, 1, H, W)
        return in_range(values.sub_(grey).mul_(factors[:, None, None, None]).add_(grey), images)


@dataclass(frozen=True)
class RandomAffine(Augmentation[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]):
    """Shear, scale, rotate and move each image about its centre, bilinearly.

    rotation: up to so many degrees to either side. shear: up to this many pixels sideways for each
    pixel from the centre, along both axes. scale: factors in [1 - scale, 1 + scale]. translation:
    up to this share of each side. fill: what comes in from outside.
    """

    rotation: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    translation: float = 0.0
    fill: float = 0.0

    def draw(
        self, images: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Degrees anticlockwise, shear along x and y, factors, pixels to the right and down.

        (batch,) each.
        """

        def within(size: float) -> Tensor:
            return uniform(images, generator, -size, size)

        height, width = images.shape[-2:]
        degrees, shear_x, shear_y = within(self.rotation), within(self.shear), within(self.shear)
        factors = 1 + within(self.scale)
        right, down = within(self.translation * width), within(self.translation * height)
        return degrees, shear_x, shear_y, factors, right, down

    def apply(
        self,
        images: Tensor,
        degrees: Tensor,
        shear_x: Tensor,
        shear_y: Tensor,
        factors: Tensor,
        right: Tensor,
        down: Tensor,
    ) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        height, width = images.shape[-2:]
        cosine, sine = torch.cos(degrees * math.pi / 180), torch.sin(degrees * math.pi / 180)
        # Where a pixel of the result comes from: the inverse of the shear times that of the
        # rotation, y pointing down.
        size = factors * (1 - shear_x * shear_y)
        xx, xy = (cosine - shear_x * sine) / size, (-sine - shear_x * cosine) / size
        yx, yy = (sine - shear_y * cosine) / size, (cosine + shear_y * sine) / size
        # affine_grid counts both axes from -1 to 1, whatever their length.
        rows = [
            torch.stack([xx, xy * height / width, -2 / width * (xx * right + xy * down)], dim=1),
            torch.stack([yx * width / height, yy, -2 / height * (yx * right + yy * down)], dim=1),
        ]
        maps = torch.stack(rows, dim=1)  # (batch, 2, 3)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)  # (batch, H, W, 2)
        # Outside is 0 for grid_sample, so what shall be seen there is 0 in the meantime.
        values = float_copy(images).sub_(self.fill)
        values = F.grid_sample(values, grid, align_corners=False).add_(self.fill)
        return values.to(images.dtype)


@dataclass(frozen=True)
class Cutout(Augmentation[Tensor, Tensor]):
    """Fill a square of `size` pixels around a random pixel, cut off at the border.

    After DeVries and Taylor (2017).
    """

    size: int = 8
    fill: float = 0.0

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Row and column of each square's centre, (batch,) each, uniform over the image."""
        height, width = images.shape[-2:]
        rows = random_integers(images, generator, height)
        columns = random_integers(images, generator, width)
        return rows, columns

    def apply(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        square = rectangles(images, (rows, columns), (self.size, self.size))
        # Several times as fast as masked_fill, whose mask would have to be spread.
        kept = images * ~square
        return kept + (square * self.fill).to(images.dtype) if self.fill else kept


@dataclass(frozen=True)
class RandomChoice(Augmentation):
    """One of the parts for each image, at random; `count` times, one after the other.

    Every part gets an equal share of the batch, so each is called once for many images. After
    RandAugment (Cubuk et al. 2020).
    """

    parts: tuple[Augmentation, ...]
    count: int

    def __init__(self, *parts: Augmentation, count: int = 1):
        object.__setattr__(self, "parts", parts)
        object.__setattr__(self, "count", count)

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        for _ in range(self.count):
            order = random_order(images, generator)
            groups = images[order].tensor_split(len(self.parts))
            pairs = zip(self.parts, groups, strict=True)
            changed = torch.cat([part(group, generator) for part, group in pairs if len(group)])
            images = changed[order.argsort()]
        return images


@dataclass(frozen=True)
class Normalize(Augmentation[()]):
    """Each channel less its mean, over its standard deviation, in float32.

    Bytes are divided by 255 first.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def measured_on(cls, images: Tensor) -> Normalize:
        """With the mean and standard deviation of each channel of these images."""
        means, stds = [], []
        # One channel at a time: as floats, a whole set is four times as large.
        for channel in images.unbind(dim=1):
            std, mean = torch.std_mean(unit_floats(channel))
            means.append(mean.item())
            stds.append(std.item())
        return cls(tuple(means), tuple(stds))

    def draw(self, images: Tensor, generator: Generator) -> tuple[()]:
        """Nothing: all images are treated alike."""
        return ()

    def apply(self, images: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, channels, H, W)."""
        values = unit_floats(images)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            values[:, channel].sub_(mean).div_(std)
        return values


class Mixing(Generic[*Parameters]):
    """What mixes the images of a batch, and their targets with them.

    Targets are labels (batch,) or probabilities (batch, classes), and become probabilities. Calling
    one draws its parameters and applies them. The images passed in stay as they are, their type
    too.
    """

    def __call__(
        self, images: Tensor, targets: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        return self.apply(images, targets, *self.draw(images, generator))

    def draw(self, images: Tensor, generator: Generator) -> tuple[*Parameters]:
        """Parameters for each image, (batch,) each.

        The first are the numbers of the images that it is mixed with.
        """
        raise NotImplementedError

    def apply(
        self, images: Tensor, targets: Tensor, *parameters: *Parameters
    ) -> tuple[Tensor, Tensor]:
        """(batch, channels, H, W) and probabilities (batch, classes), mixed by these parameters."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mixup(Mixing[Tensor, Tensor]):
    """Each image blended with another of its batch, and the targets in the same shares.

    The share that an image keeps is its own, from the Beta(alpha, alpha) distribution. After Zhang
    et al. (2018).
    """

    classes: int
    alpha: float = 1.0

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The number of each image's partner, and the share that the image keeps, (batch,) each."""
        return random_order(images, generator), symmetric_beta(images, generator, self.alpha)

    def apply(
        self, images: Tensor, targets: Tensor, partners: Tensor, kept: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(batch, channels, H, W) -> the same, and probabilities (batch, classes)."""
        share = kept[:, None, None, None]
        mixed = float_copy(images).mul_(share).add_(images[partners] * (1 - share))
        return mixed.to(images.dtype), mixed_targets(targets, partners, kept, self.classes)


@dataclass(frozen=True)
class CutMix(Mixing[Tensor, Tensor, Tensor, Tensor]):
    """A rectangle of each image filled from another of its batch, and the targets mixed by area.

    The rectangle would cover a share of the image from the Beta(alpha, alpha) distribution, were it
    not cut off at the border; the targets go by the pixels that it does cover. After Yun et al.
    (2019).
    """

    classes: int
    alpha: float = 1.0

    def draw(self, images: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each image's partner, the share to cover, and the centre's row and column.

        (batch,) each. A partner is the number of an image.
        """
        height, width = images.shape[-2:]
        partners = random_order(images, generator)
        covered = symmetric_beta(images, generator, self.alpha)
        rows = uniform(images, generator, 0, height).long()
        columns = uniform(images, generator, 0, width).long()
        return partners, covered, rows, columns

    def apply(
        self,
        images: Tensor,
        targets: Tensor,
        partners: Tensor,
        covered: Tensor,
        rows: Tensor,
        columns: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(batch, channels, H, W) -> the same, and probabilities (batch, classes)."""
        height, width = images.shape[-2:]
        root = covered.sqrt()
        sizes = (height * root).long(), (width * root).long()
        inside = rectangles(images, (rows, columns), sizes)  # (batch, 1, H, W)
        kept = 1 - inside.float().mean(dim=(1, 2, 3))
        mixed = torch.where(inside, images[partners], images)
        return mixed, mixed_targets(targets, partners, kept, self.classes)


@dataclass(frozen=True)
class RandomMix(Mixing):
    """One of the mixes for each image, at random.

    Every mix gets an equal share of the batch, and mixes within it.
    """

    parts: tuple[Mixing, ...]

    def __init__(self, *parts: Mixing):
        object.__setattr__(self, "parts", parts)

    def __call__(
        self, images: Tensor, targets: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        order = random_order(images, generator)
        count = len(self.parts)
        groups = images[order].tensor_split(count), targets[order].tensor_split(count)
        mixed = [
            part(some_images, some_targets, generator)
            for part, some_images, some_targets in zip(self.parts, *groups, strict=True)
            if len(some_images)
        ]
        mixed_images, probabilities = (torch.cat(parts) for parts in zip(*mixed, strict=True))
        back = order.argsort()
        return mixed_images[back], probabilities[back]


def mixed_targets(targets: Tensor, partners: Tensor, kept: Tensor, classes: int) -> Tensor:
    """Targets mixed with those of the partners: probabilities (batch, classes).

    targets: labels (batch,) or probabilities (batch, classes). kept: the share of their own,
    (batch,).
    """
    if not targets.is_floating_point():
        # A label that is no class gives a row of zeros here, and `fit` can still say so: one_hot
        # would end the process.
        targets = (targets[:, None] == torch.arange(classes, device=targets.device)).float()
    return targets * kept[:, None] + targets[partners] * (1 - kept)[:, None]


def symmetric_beta(images: Tensor, generator: Generator, alpha: float) -> Tensor:
    """A draw from Beta(alpha, alpha) for each image, (batch,).

    It is made without rejection, for which a GPU would have to wait. A point of the unit disc with
    density (1 - radius^2)^(alpha - 1/2) has a coordinate with density (1 - x^2)^alpha: moved to
    [0, 1] that is Beta(alpha + 1, alpha + 1), the share X / (X + Y) of two gamma variables of shape
    alpha + 1. Uniform numbers to the power 1 / alpha bring X and Y down to the shape alpha.
    """
    # Never 0: logarithms follow.
    first, second, third, turn = (1 - uniform(images, generator, 0, 1) for _ in range(4))
    radius = (1 - third ** (2 / (2 * alpha + 1))).sqrt()
    share = (1 + radius * torch.cos(2 * math.pi * turn)) / 2
    return torch.sigmoid(share.logit() + (first.log() - second.log()) / alpha)


def rectangles(
    images: Tensor, centres: tuple[Tensor, Tensor], sizes: tuple[Tensor, Tensor] | tuple[int, int]
) -> Tensor:
    """Where a rectangle of each image lies, (batch, 1, H, W) bool.

    centres: rows and columns, (batch,) each. sizes: heights and widths.
    """
    height, width = images.shape[-2:]
    in_rows = intervals(height, centres[0], sizes[0])
    in_columns = intervals(width, centres[1], sizes[1])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]


def intervals(side: int, centres: Tensor, sizes: Tensor | int) -> Tensor:
    """Which places of a side lie in an interval around each centre, (batch, side) bool."""
    places = torch.arange(side, device=centres.device)
    starts = centres - sizes // 2
    return (places >= starts[:, None]) & (places < (starts + sizes)[:, None])


def random_order(images: Tensor, generator: Generator) -> Tensor:
    """The numbers of a batch's images in random order, (batch,)."""
    return torch.randperm(len(images), generator=generator, device=images.device)


def random_integers(images: Tensor, generator: Generator, count: int) -> Tensor:
    """A random integer from 0 to count - 1 for each image, (batch,)."""
    return torch.randint(0, count, (len(images),), generator=generator, device=images.device)


def uniform(images: Tensor, generator: Generator, low: float, high: float) -> Tensor:
    """A random number in [low, high) for each image, (batch,)."""
    return torch.rand(len(images), generator=generator, device=images.device) * (high - low) + low


def grey_of(images: Tensor) -> Tensor:
    """What of an image is grey, (batch, channels, H, W) -> (batch, 1, H, W).

    Other channels than three count alike.
    """
    channels = images.shape[1]
    weights = GREY if channels == 3 else (1 / channels,) * channels
    parts = [weight * images[:, place : place + 1] for place, weight in enumerate(weights)]
    return reduce(torch.add, parts)


def unit_floats(images: Tensor) -> Tensor:
    """A copy in float32; bytes are divided by 255."""
    return float_copy(images) if images.is_floating_point() else float_copy(images).div_(255)


def float_copy(images: Tensor) -> Tensor:
    """A copy in float32 that may be changed in place: new memory costs more than the arithmetic."""
    return images.to(torch.float32, copy=True)


def in_range(values: Tensor, images: Tensor) -> Tensor:
    """Values cut, in place, to the range of the images' type, in that type.

    For uint8 they are truncated, as Pillow does.
    """
    if images.dtype == torch.uint8:
        return values.clamp_(0, 255).to(torch.uint8)
    return values.clamp_(0, 1).to(images.dtype)
