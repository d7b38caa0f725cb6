"""What a scene holds, before a pixel is painted: which objects, where, how large, what colours.

Lengths are in units of half the shorter side of the image, with the origin at its centre, x to the
right and y down: a square image spans [-1, 1] both ways. So one layout can be painted at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

BACKGROUNDS = ("texture", "smooth", "grey", "plain")
COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.16, 0.16),
    "orange": (0.96, 0.55, 0.12),
    "yellow": (0.95, 0.85, 0.18),
    "green": (0.22, 0.66, 0.24),
    "turquoise": (0.12, 0.74, 0.72),
    "blue": (0.16, 0.30, 0.86),
    "purple": (0.52, 0.20, 0.72),
    "pink": (0.95, 0.50, 0.72),
    "white": (0.93, 0.93, 0.93),
    "black": (0.09, 0.09, 0.09),
}
CONTRAST = 0.6  # least RGB distance between an object's colour and the mean of the background
COLOR_JITTER = 0.05
COARSE, FINE = 3, 11  # cells along each side of the two layers of background texture
# Where a whole's part has its middle, as shares of the whole's radius (x, y): these shapes are
# hollow in their own middle, and a part sits where there is something to sit on.
ANCHORS = {"ring": (0.0, -0.68), "crescent": (-0.6, 0.0), "hourglass": (0.0, 0.45)}


class Draws:
    """Uniform numbers for images start..stop-1.

    Each image's come from a generator of its own, seeded by (seed, image). Hence image i of a seed
    is the same whatever else is drawn with it.
    """

    def __init__(self, seed: int, start: int, stop: int, columns: int) -> None:
        rows = np.empty((stop - start, columns), dtype=np.float32)
        for row, image in enumerate(range(start, stop)):
            np.random.default_rng((seed, image)).random(out=rows[row], dtype=np.float32)
        self.numbers = torch.from_numpy(rows)
        self.used = 0

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(images, *shape) in [low, high)."""
        end = self.used + math.prod(shape)
        numbers = self.numbers[:, self.used : end]
        self.used = end
        return low + (high - low) * numbers.reshape(len(numbers), *shape)

    def integers(self, *shape: int, below: int) -> Tensor:
        """(images, *shape) int64 in 0..below-1."""
        return (self.uniform(*shape) * below).long().clamp(max=below - 1)


@dataclass(frozen=True)
class Recipe:
    """The arguments of `scenes`, checked: what is the same for every image of a set."""

    classes: tuple[str, ...]
    textures: tuple[str, ...]
    colors: tuple[str, ...]
    objects: tuple[int, int]
    scale: tuple[float, float]
    rotation: float
    occlusion: bool
    nested: bool
    paired: bool
    background: str
    size: tuple[int, int]

    @property
    def extent(self) -> tuple[float, float]:
        """Half the width and half the height of the image, in layout units."""
        height, width = self.size
        return width / min(height, width), height / min(height, width)


@dataclass(frozen=True)
class Layout:
    """n scenes of up to `objects` objects each; -1 in the index tensors where a scene has fewer."""

    classes: Tensor  # (n, objects)
    textures: Tensor  # (n, objects)
    colors: Tensor  # (n, objects), into Recipe.colors
    rgb: Tensor  # (n, objects, 2, 3): the colour that names the object, and its pattern's other one
    center: Tensor  # (n, objects, 2): x, y
    radius: Tensor  # (n, objects)
    angle: Tensor  # (n, objects), radians, clockwise on the screen
    background: Tensor  # (n, 3), the mean colour
    coarse: Tensor  # (n, 3, COARSE, COARSE) in [-1, 1)
    fine: Tensor  # (n, 1, FINE, FINE) in [-1, 1)

    def rows(self, start: int, stop: int) -> Layout:
        return Layout(*(getattr(self, field.name)[start:stop] for field in fields(self)))


def draw_layout(recipe: Recipe, seed: int, start: int, stop: int) -> Layout:
    """The layouts of images start..stop-1 of a seed."""
    most = recipe.objects[1]
    draws = Draws(seed, start, stop, columns=256 + 3 * len(recipe.colors) + 12 * most)
    lacking = ~_present(draws, recipe)  # (n, objects)
    classes = draws.integers(most, below=len(recipe.classes))
    textures = classes.clone()
    if not recipe.paired:
        textures = draws.integers(most, below=len(recipe.textures))
    angle = draws.uniform(most, low=-recipe.rotation, high=recipe.rotation)
    radius = draws.uniform(most, low=recipe.scale[0], high=recipe.scale[1])
    center, radius = _place(draws, recipe, radius, classes, angle)
    colors, rgb, background = draw_colors(draws, recipe, most)
    return Layout(
        classes=classes.masked_fill(lacking, -1),
        textures=textures.masked_fill(lacking, -1),
        colors=colors.masked_fill(lacking, -1),
        rgb=rgb,
        center=center,
        radius=radius,
        angle=angle,
        background=background,
        coarse=draws.uniform(3, COARSE, COARSE, low=-1),
        fine=draws.uniform(1, FINE, FINE, low=-1),
    )


def _present(draws: Draws, recipe: Recipe) -> Tensor:
    """(n, objects) bool: the first few, as many as the scene has; in pairs where it is nested."""
    least, most = recipe.objects
    step = 2 if recipe.nested else 1
    counts = least + step * draws.integers(1, below=(most - least) // step + 1)
    return torch.arange(most) < counts


def _place(
    draws: Draws, recipe: Recipe, radius: Tensor, classes: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Centres (n, objects, 2) and radii (n, objects) that keep every object inside the image."""
    spot = draws.uniform(radius.shape[1], 2, low=-1)  # (n, objects, 2)
    cells = draws.uniform(2 * radius.shape[1] + 4)
    room = torch.tensor(recipe.extent).expand(*spot.shape)  # (n, objects, 2)
    origin = torch.zeros_like(room)
    if not recipe.occlusion:
        origin, room = _own_cells(cells, recipe, radius.shape[1])
        radius = torch.minimum(radius, room.amin(-1))
    center = origin + spot * (room - radius[..., None]).clamp(min=0)
    if recipe.nested:
        return _nest(center, radius, classes, angle, spot, recipe)
    return center, radius


def _own_cells(scores: Tensor, recipe: Recipe, objects: int) -> tuple[Tensor, Tensor]:
    """A cell of its own for every object: centre and half width of the cell, both (n, objects, 2).

    Cells rather than rejection, because they never fail and need no loop.
    """
    if objects == 0:
        return (torch.zeros(len(scores), 0, 2),) * 2
    half_width, half_height = recipe.extent
    rows = max(1, min(objects, round(math.sqrt(objects * half_height / half_width))))
    columns = math.ceil(objects / rows)
    chosen = scores[:, : rows * columns].argsort(dim=1)[:, :objects]  # (n, objects), no cell twice
    half = torch.tensor([half_width / columns, half_height / rows])
    corner = torch.tensor([-half_width, -half_height])
    place = torch.stack([chosen % columns, chosen // columns], dim=-1)  # (n, objects, 2)
    return corner + (2 * place + 1) * half, half.expand(*place.shape)


def _nest(
    center: Tensor, radius: Tensor, classes: Tensor, angle: Tensor, spot: Tensor, recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Move every second object onto the one before it: a part on its whole, 0.45 as large."""
    table = torch.tensor([ANCHORS.get(name, (0.0, 0.0)) for name in recipe.classes])
    turned = turned_by(angle[:, ::2], table[classes[:, ::2]])  # (n, wholes, 2)
    center, radius = center.clone(), radius.clone()
    center[:, 1::2] = center[:, ::2] + radius[:, ::2, None] * (turned + 0.15 * spot[:, 1::2])
    radius[:, 1::2] = 0.45 * radius[:, ::2]
    return center, radius


def turned_by(angle: Tensor, points: Tensor) -> Tensor:
    """Points (..., 2), x and y, turned by angles (...)."""
    sine, cosine = angle.sin(), angle.cos()
    x, y = points.unbind(-1)
    return torch.stack([x * cosine - y * sine, x * sine + y * cosine], dim=-1)


def draw_colors(draws: Draws, recipe: Recipe, objects: int) -> tuple[Tensor, Tensor, Tensor]:
    """Colour indices (n, objects), their RGB pairs (n, objects, 2, 3), and the background's mean.

    The mean is (n, 3).
    """
    names = recipe.colors
    jitter = draws.uniform(len(names), 3, low=-COLOR_JITTER, high=COLOR_JITTER)
    palette = torch.tensor([COLORS[name] for name in names])
    palette = (palette + jitter).clamp(0, 1)  # (n, colors, 3)
    background = _background(draws, recipe, palette, objects)
    near = torch.linalg.vector_norm(palette - background[:, None], dim=-1) < CONTRAST  # (n, colors)
    order = (draws.uniform(len(names)) + 2 * near).argsort(dim=1)  # far colours first, shuffled
    usable = (~near).sum(dim=1, keepdim=True).clamp(min=1)
    place = torch.arange(objects) % usable  # (n, objects): all different while colours last
    colors = order.gather(1, place)
    first = palette.gather(1, colors[..., None].expand(-1, -1, 3))  # (n, objects, 3)
    second = _second_color(first, background[:, None])
    return colors, torch.stack([first, second], dim=2), background


def _background(draws: Draws, recipe: Recipe, palette: Tensor, objects: int) -> Tensor:
    """(n, 3): the first of some candidates that is far from enough colours."""
    low, high = 0.1, 0.9
    if recipe.background in ("texture", "smooth"):
        low, high = 0.22, 0.78  # with room for texture
    tries = draws.uniform(6, 3, low=low, high=high)
    # In case none of them is far enough from any colour: what is farthest from the first one.
    last = torch.where(palette[:, :1] > 0.5, low, high)  # (n, 1, 3)
    if recipe.background == "grey":
        tries = tries[..., :1].expand(-1, -1, 3)
        last = torch.tensor([low, high])[:, None].expand(len(tries), -1, 3)  # (n, 2, 3)
    tries = torch.cat([tries, last], dim=1)  # (n, 7 or 8, 3)
    difference = tries[:, :, None] - palette[:, None]  # (n, tries, colors, 3)
    distances = torch.linalg.vector_norm(difference, dim=-1)
    enough = max(1, min(objects, len(recipe.colors) // 2))
    usable = (distances >= CONTRAST).sum(-1).clamp(max=enough)  # (n, tries)
    count = tries.shape[1]
    best = (usable * count - torch.arange(count)).argmax(dim=1)  # the first of the best
    return tries[torch.arange(len(tries)), best]


def _second_color(first: Tensor, background: Tensor) -> Tensor:
    """Of four lighter and darker tones, the one easiest to tell from `first` and the background."""
    lighter = [first + 0.8 * (1 - first), first + 0.45 * (1 - first)]
    darker = [0.6 * first, 0.3 * first]
    tones = torch.stack([*lighter, *darker])  # (4, n, objects, 3)
    from_first = torch.linalg.vector_norm(tones - first, dim=-1)  # (4, n, objects)
    from_background = torch.linalg.vector_norm(tones - background, dim=-1)
    best = torch.minimum(from_first, from_background).argmax(dim=0)  # (n, objects)
    return tones.gather(0, best[None, ..., None].expand(1, *first.shape)).squeeze(0)
