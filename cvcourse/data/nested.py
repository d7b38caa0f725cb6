"""Scenes in which a click can mean a part, a whole or a group: for promptable segmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .layout import ANCHORS, BACKGROUNDS, COLORS, Draws, Layout, Recipe, draw_colors, turned_by
from .painter import instance_masks, paint
from .surfaces import SHAPE_FUNCTIONS, TEXTURE_FUNCTIONS

LEVELS = ("part", "whole", "group")
MOST_WHOLES = 3  # of a group
SMALLEST = 1 / 128
"""Share of the picture below which nothing counts as an object: 8 pixels of 32 x 32."""

WHOLE_RADIUS = (0.9, 0.62, 0.54)  # of one, two, three wholes, as shares of their place's radius
WHOLE_DISTANCE = (0.0, 0.52, 0.58)  # from the middle of their place, likewise
PART_RADIUS = 0.52  # as a share of the whole's

PARTS = ("disc", "square", "triangle", "star", "plus", "hourglass")  # not thin when small
PIXELS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class NestedScenes:
    """Pictures, and for each pixel what it belongs to; `scenes[index]` keeps some of them.

    images: (count, 3, height, width) float32 in [0, 1].
    levels: (count, 3, height, width) uint8, one map for each of `LEVELS`. 0 is nothing; any other
    number is an object, whose mask is `levels[i, level] == number`. Only visible pixels count.
    """

    images: Tensor
    levels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | list[int] | Tensor) -> NestedScenes:
        """The scenes at `index`: a slice, a list or a tensor of numbers."""
        return NestedScenes(self.images[index], self.levels[index])

    def to(self, device: str | torch.device) -> NestedScenes:
        """The same scenes with both tensors on `device`."""
        return NestedScenes(self.images.to(device), self.levels.to(device))

    def objects(self, index: int) -> tuple[Tensor, Tensor]:
        """All objects of one scene.

        Returns masks (objects, height, width) bool, and levels (objects,) int64, 0 for a part.
        """
        masks, levels = [], []
        for level, numbers in enumerate(self.levels[index]):
            for number in numbers.unique():
                if number > 0:
                    masks.append(numbers == number)
                    levels.append(level)
        none = torch.zeros_like(self.levels[index, :0], dtype=torch.bool)  # (0, height, width)
        stacked = torch.stack(masks) if masks else none
        return stacked, torch.tensor(levels, dtype=torch.int64)


def nested_scenes(
    count: int,
    size: int | tuple[int, int] = 32,
    seed: int = 0,
    *,
    places: tuple[int, int] = (1, 2),
    background: str = "texture",
) -> NestedScenes:
    """`count` pictures of patterned shapes, some with a part on them, some in groups of a kind.

    A place holds one whole, or a group: two or three wholes of one shape, colour and pattern, side
    by side. Most wholes have a part on them, of another shape and colour. places: fewest and most
    in a picture; they may hide one another.
    background: as for `scenes`. Picture i depends on the seed, on i and on the other arguments,
    never on `count`, and is the same scene at every size. Objects of which less than 1/128 of the
    picture is visible do not count. Raises ValueError on arguments that do not fit.
    """
    from .synthetic import _pair, _whole_number

    _whole_number("count", count, 0)
    _whole_number("seed", seed, 0)
    places = _pair("places", places, least=1)
    if not places[0] <= places[1] <= 4:
        raise ValueError(f"places must be (fewest, most) with at most 4, not {places}.")
    if background not in BACKGROUNDS:
        raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}, not {background!r}.")
    recipe = _recipe(_pair("size", size, least=16), places[1], background)
    images = torch.empty(count, 3, *recipe.size)
    levels = torch.empty(count, len(LEVELS), *recipe.size, dtype=torch.uint8)
    step = max(1, min(512, PIXELS_AT_ONCE // math.prod(recipe.size)))
    for start in range(0, count, step):
        stop = min(start + step, count)
        painted, masks = paint(_layout(recipe, places, seed, start, stop), recipe)
        images[start:stop] = painted
        levels[start:stop] = levels_of(instance_masks(masks))
    return NestedScenes(images, levels)


def _recipe(size: tuple[int, int], places: int, background: str) -> Recipe:
    slots = places * MOST_WHOLES * 2  # of each whole one for itself and one for its part
    return Recipe(
        classes=tuple(SHAPE_FUNCTIONS),
        textures=tuple(TEXTURE_FUNCTIONS),
        colors=tuple(COLORS),
        objects=(slots, slots),
        scale=(0.5, 0.8),
        rotation=0.5,
        occlusion=True,
        nested=True,
        paired=False,
        background=background,
        size=size,
    )


def _layout(recipe: Recipe, places: tuple[int, int], seed: int, start: int, stop: int) -> Layout:
    """Which wholes and parts stand where.

    Slots are painted in order: place by place, each whole and then its part.
    """
    fewest, most = places
    draws = Draws(seed, start, stop, columns=512)
    counts = fewest + draws.integers(1, below=most - fewest + 1)  # (n, 1)
    present = torch.arange(most) < counts  # (n, places)
    wholes = (1 + draws.integers(most, below=4)) % 4  # (n, places) of 0 to 3
    wholes = wholes.clamp(min=1)  # one is as likely as two and three together
    slots = torch.arange(MOST_WHOLES)
    is_there = present[..., None] & (slots < wholes[..., None])  # (n, places, 3)
    has_part = is_there & (draws.uniform(most, MOST_WHOLES) < 0.7)
    radius, center, angle = _places(draws, recipe, wholes, most)
    kinds = draws.integers(most, 2, below=len(recipe.classes))  # (n, places, whole or part)
    full = torch.tensor([recipe.classes.index(name) for name in PARTS])
    kinds[..., 1] = full[draws.integers(most, below=len(PARTS))]
    textures = draws.integers(most, 2, below=len(recipe.textures))
    colors, rgb, mean = draw_colors(draws, recipe, 2 * most)
    shift = draws.uniform(most, MOST_WHOLES, 2, low=-0.15, high=0.15)
    anchor = turned_by(angle, _anchors(recipe, kinds[..., 0]))  # (n, places, 3, 2)
    part_center = center + radius[..., None] * (anchor + shift)
    lacking = ~_per_slot(is_there, has_part)
    return Layout(
        classes=_same_in_place(kinds).masked_fill(lacking, -1),
        textures=_same_in_place(textures).masked_fill(lacking, -1),
        colors=_same_in_place(colors.unflatten(1, (most, 2))).masked_fill(lacking, -1),
        rgb=_same_in_place(rgb.unflatten(1, (most, 2))),
        center=_per_slot(center, part_center),
        radius=_per_slot(radius, PART_RADIUS * radius),
        angle=_per_slot(angle, angle),
        background=mean,
        coarse=draws.uniform(3, 3, 3, low=-1),
        fine=draws.uniform(1, 11, 11, low=-1),
    )


def _per_slot(of_wholes: Tensor, of_parts: Tensor) -> Tensor:
    """(n, places, 3, ...) twice to (n, places * 3 * 2, ...): each whole, then its part."""
    return torch.stack([of_wholes, of_parts], dim=3).flatten(1, 3)


def _same_in_place(values: Tensor) -> Tensor:
    """(n, places, 2, ...), what the wholes and the parts of a place share, to (n, slots, ...)."""
    shape = (-1, -1, MOST_WHOLES, *values.shape[3:])
    of_wholes = values[:, :, 0, None].expand(shape)
    of_parts = values[:, :, 1, None].expand(shape)
    return _per_slot(of_wholes, of_parts)


def _places(
    draws: Draws, recipe: Recipe, wholes: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Radius (n, places, 3), centre (n, places, 3, 2) and turn (n, places, 3) of every whole."""
    reach = draws.uniform(most, low=0.66, high=0.86) / most**0.3  # (n, places)
    room = torch.tensor(recipe.extent) - 0.85 * reach[..., None]  # (n, places, 2)
    # Places keep apart: they lie around the picture's middle, each in a direction of its own.
    around = draws.uniform(1, high=2 * math.pi) + 2 * math.pi * torch.arange(most) / most
    away = draws.uniform(most, 1, low=0.5, high=1.3)
    middle = (room * away * _unit_vectors(around)).clamp(-room, room)
    middle = middle[:, :, None]  # (n, places, 1, 2)
    radius = reach * torch.tensor(WHOLE_RADIUS)[wholes - 1]  # (n, places)
    distance = reach * torch.tensor(WHOLE_DISTANCE)[wholes - 1]
    first = draws.uniform(most, 1, high=2 * math.pi)
    turn = 2 * math.pi * torch.arange(MOST_WHOLES) / wholes[..., None]
    direction = first + turn  # (n, places, 3)
    center = middle + distance[..., None, None] * _unit_vectors(direction)
    angle = draws.uniform(most, 1, low=-recipe.rotation, high=recipe.rotation).expand_as(direction)
    return radius[..., None].expand_as(direction), center, angle


def _unit_vectors(angle: Tensor) -> Tensor:
    """(...) to (..., 2): x and y of the direction."""
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _anchors(recipe: Recipe, kinds: Tensor) -> Tensor:
    """Where a part sits on wholes of these shapes (n, places), as shares of their radius.

    Returns (n, places, 1, 2).
    """
    table = torch.tensor([ANCHORS.get(name, (0.0, 0.0)) for name in recipe.classes])
    return table[kinds][:, :, None]


def levels_of(instances: Tensor) -> Tensor:
    """Parts, wholes and groups, (n, 3, height, width), from the slots that one sees.

    instances: (n, height, width), slots in painting order, 0 for none. Of each whole and part there
    is one slot; `MOST_WHOLES` wholes are a place. What is too small to count becomes 0 in its
    level, and so does a group of which fewer than two wholes count.
    """
    slots = instances.long()
    wholes = _large_enough((slots + 1) // 2)
    parts = _large_enough(torch.where(slots % 2 == 0, slots // 2, 0))
    places = (wholes + MOST_WHOLES - 1) // MOST_WHOLES
    most = max(int(wholes.max()), 1) if wholes.numel() else 1
    seen = _areas(wholes, most)[:, 1:] > 0  # (n, most)
    place_of = (torch.arange(most, device=slots.device) // MOST_WHOLES).expand(len(slots), -1)
    counts = slots.new_zeros(len(slots), most // MOST_WHOLES + 2)
    counts.scatter_add_(1, place_of + 1, seen.long())  # how many wholes of each place are seen
    several = counts.gather(1, places.flatten(1)).view_as(places) >= 2
    return torch.stack([parts, wholes, places * several], dim=1).to(torch.uint8)


def _large_enough(numbers: Tensor) -> Tensor:
    """(n, height, width) with the numbers of small objects replaced by 0."""
    most = int(numbers.max()) if numbers.numel() else 0
    least = SMALLEST * math.prod(numbers.shape[1:])
    enough = _areas(numbers, most) >= least  # (n, 1 + most)
    return numbers * enough.gather(1, numbers.flatten(1)).view_as(numbers)


def _areas(numbers: Tensor, most: int) -> Tensor:
    """(n, height, width) to (n, 1 + most): how many pixels have each number."""
    flat = numbers.flatten(1)
    areas = torch.zeros(len(flat), 1 + most, dtype=torch.int64, device=flat.device)
    return areas.scatter_add_(1, flat, torch.ones_like(flat))


def draw_objects(levels: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """`count` objects of each picture of a batch, every object of a picture equally likely.

    levels (N, 3, H, W). Returns masks (N * count, H, W) bool, the pictures (N * count,) they are
    of, 0, 0, ..., 1, 1, ..., and their levels (N * count,). Uses torch's random numbers. Raises
    ValueError for a picture without an object.
    """
    pictures, kinds = levels.shape[:2]
    most = int(levels.max())
    flat = levels.flatten(0, 1).long()
    there = _areas(flat, most)[:, 1:].reshape(pictures, kinds * most) > 0
    if not there.any(dim=1).all():
        raise ValueError("A picture without any object has nothing to click.")
    chosen = torch.multinomial(there.float(), count, replacement=True).flatten()  # (N * count,)
    rows = torch.arange(pictures, device=levels.device).repeat_interleave(count)
    level, number = chosen // most, chosen % most + 1
    return levels[rows, level] == number[:, None, None], rows, level
