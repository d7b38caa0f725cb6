"""Scenes painted in code: no download, any size, any number, everything about them known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .annotated import Scenes
from .layout import BACKGROUNDS, COLORS, Layout, Recipe, draw_layout
from .painter import boxes_of, instance_masks, paint
from .surfaces import SHAPE_FUNCTIONS, TEXTURE_ADJECTIVES, TEXTURE_FUNCTIONS

SHAPES = tuple(SHAPE_FUNCTIONS)
TEXTURES = tuple(TEXTURE_FUNCTIONS)
COLOR_NAMES = tuple(COLORS)
MOST_OBJECTS = 255  # instance masks are bytes
PIXELS_AT_ONCE = 1 << 18
"""A chunk of this many pixels stays in the processor's cache, and bounds the memory."""


def scenes(
    count: int,
    size: int | tuple[int, int] = 32,
    objects: int | tuple[int, int] = 1,
    seed: int = 0,
    *,
    classes: Sequence[str] = SHAPES,
    textures: Sequence[str] = TEXTURES,
    colors: Sequence[str] = COLOR_NAMES,
    rotation: float = 0.3,
    scale: tuple[float, float] | None = None,
    occlusion: bool = True,
    nested: bool = False,
    paired: bool = False,
    background: str = "texture",
) -> Scenes:
    """`count` images of coloured, patterned, turned shapes on textured backgrounds, annotated.

    Image i depends on the seed, on i and on the other arguments, never on `count`; and apart from
    pixel size it is the same scene at every `size` of the same proportions.

    size: pixels, of both sides or as (height, width).
    objects: how many in every scene, or (fewest, most).
    classes, textures, colors: names to choose from, of `SHAPES`, `TEXTURES` and `COLOR_NAMES`.
    rotation: largest turn either way, radians; `math.pi` is any direction.
    scale: smallest and largest radius, in units of half the shorter side; by default (0.5, 0.8)
        divided by the square root of the number of objects.
    occlusion: whether objects may lie over one another; if not, crowded ones shrink to fit.
    nested: objects come in pairs, a whole and a part on it (objects 1 and 2, 3 and 4, ...).
    paired: every class has its own texture, the one of the same place in `textures` (see
        `creatures`).
    background: "texture", "smooth" (slow changes of colour only), "grey" (smooth, without colour)
        or "plain".

    An object's colour is at least 0.6 from the mean of the background, as a distance in RGB.
    Raises ValueError on arguments that do not fit.
    """
    recipe = _recipe(
        size,
        objects,
        classes,
        textures,
        colors,
        rotation,
        scale,
        occlusion,
        nested,
        paired,
        background,
    )
    _whole_number("count", count, 0)
    _whole_number("seed", seed, 0)
    result = _empty(count, recipe)
    height, width = recipe.size
    step = max(1, min(1024, PIXELS_AT_ONCE // (height * width)))
    for start in range(0, count, step):
        layout = draw_layout(recipe, seed, start, min(start + step, count))
        _fill(result, start, layout, recipe)
    return result


def creatures(
    count: int,
    size: int | tuple[int, int] = 32,
    objects: int | tuple[int, int] = 1,
    seed: int = 0,
    *,
    classes: Sequence[str] = SHAPES,
    background: str = "smooth",
    **options: Any,
) -> Scenes:
    """Scenes in which shape and pattern go together: classes are learnt fast.

    A star is dotted, a square striped. Colour, place, size and turn still vary. Arguments as for
    `scenes`, without `textures` and `paired`.
    """
    classes = _names("classes", classes, SHAPES)
    textures = tuple(TEXTURES[SHAPES.index(name)] for name in classes)
    return scenes(
        count,
        size,
        objects,
        seed,
        classes=classes,
        textures=textures,
        paired=True,
        background=background,
        **options,
    )


def _recipe(
    size: int | tuple[int, int],
    objects: int | tuple[int, int],
    classes: Sequence[str],
    textures: Sequence[str],
    colors: Sequence[str],
    rotation: float,
    scale: tuple[float, float] | None,
    occlusion: bool,
    nested: bool,
    paired: bool,
    background: str,
) -> Recipe:
    """The arguments of `scenes`, checked. Raises ValueError on those that do not fit."""
    size, objects = _pair("size", size, least=1), _pair("objects", objects, least=0)
    classes, textures = _names("classes", classes, SHAPES), _names("textures", textures, TEXTURES)
    if not objects[0] <= objects[1] <= MOST_OBJECTS:
        raise ValueError(
            f"objects must be (fewest, most) with at most {MOST_OBJECTS}, not {objects}."
        )
    if nested and (objects[0] % 2 or objects[1] % 2):
        raise ValueError(
            f"nested scenes hold objects in pairs, so objects must be even, not {objects}."
        )
    if paired and len(classes) != len(textures):
        raise ValueError(
            f"paired needs one texture a class, not {len(textures)} for {len(classes)} classes."
        )
    if background not in BACKGROUNDS:
        raise ValueError(f"background must be one of {', '.join(BACKGROUNDS)}, not {background!r}.")
    if not (isinstance(rotation, int | float) and math.isfinite(rotation) and rotation >= 0):
        raise ValueError(f"rotation must be a number of radians from 0 up, not {rotation!r}.")
    wholes = objects[1] // 2 if nested else objects[1]
    return Recipe(
        classes=classes,
        textures=textures,
        colors=_names("colors", colors, COLOR_NAMES),
        objects=objects,
        scale=_scale(scale, wholes),
        rotation=float(rotation),
        occlusion=bool(occlusion),
        nested=bool(nested),
        paired=bool(paired),
        background=background,
        size=size,
    )


def _whole_number(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer from {least} up, not {value!r}.")


def _pair(name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be one integer or two, not {value!r}.")
    first, second = pair
    _whole_number(name, first, least)
    _whole_number(name, second, least)
    return first, second


def _names(name: str, chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    names = (chosen,) if isinstance(chosen, str) else tuple(chosen)
    are_different = len(set(names)) == len(names)
    if not names or not are_different or not set(names) <= set(known):
        raise ValueError(f"{name} must be different names out of {', '.join(known)}, not {names}.")
    return names


def _scale(scale: tuple[float, float] | None, objects: int) -> tuple[float, float]:
    if scale is None:
        crowd = math.sqrt(max(objects, 1))
        return 0.5 / crowd, 0.8 / crowd
    if not (isinstance(scale, list | tuple) and len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
        raise ValueError(
            "scale must be (smallest, largest) radius with 0 < smallest <= largest <= 1, not"
            f" {scale!r}."
        )
    return float(scale[0]), float(scale[1])


def _empty(count: int, recipe: Recipe) -> Scenes:
    """Room for `count` scenes, filled chunk by chunk.

    Chunks that are joined at the end would need twice the memory.
    """
    per_object = (count, recipe.objects[1])
    return Scenes(
        images=torch.empty(count, 3, *recipe.size),
        labels=torch.empty(count, dtype=torch.int64),
        instance_masks=torch.empty(count, *recipe.size, dtype=torch.uint8),
        semantic_masks=torch.empty(count, *recipe.size, dtype=torch.uint8),
        boxes=torch.empty(*per_object, 4),
        visible=torch.empty(per_object, dtype=torch.bool),
        classes=torch.empty(per_object, dtype=torch.int64),
        colors=torch.empty(per_object, dtype=torch.int64),
        textures=torch.empty(per_object, dtype=torch.int64),
        captions=[],
        class_names=recipe.classes,
        color_names=recipe.colors,
        texture_names=recipe.textures,
    )


def _fill(result: Scenes, start: int, layout: Layout, recipe: Recipe) -> None:
    """Paint one chunk of layouts into `result`, from image `start` on."""
    rows = slice(start, start + len(layout.classes))
    images, masks = paint(layout, recipe)
    instances = instance_masks(masks)
    result.images[rows] = images
    result.instance_masks[rows] = instances
    result.classes[rows] = layout.classes
    result.colors[rows] = layout.colors
    result.textures[rows] = layout.textures
    result.boxes[rows], result.visible[rows] = boxes_of(instances, recipe.objects[1])
    result.semantic_masks[rows] = semantic_masks(instances, layout.classes)
    principal = principal_objects(layout.classes, recipe.nested)
    result.labels[rows] = padded(layout.classes).gather(1, principal[:, None] + 1).squeeze(1)
    result.captions.extend(_captions(result, rows, masks, principal, layout, recipe))


def padded(per_object: Tensor) -> Tensor:
    """(n, objects) with -1 before it, (n, 1 + objects).

    -1 is what "no object", 0 in an instance mask, stands for.
    """
    none = per_object.new_full((len(per_object), 1), -1)
    return torch.cat([none, per_object], dim=1)


def semantic_masks(instances: Tensor, classes: Tensor) -> Tensor:
    """(n, height, width) uint8 of class + 1.

    instances: masks of the same shape. classes: (n, objects).
    """
    table = (padded(classes) + 1).to(torch.uint8)  # (n, 1 + objects)
    return table.gather(1, instances.flatten(1).long()).reshape(instances.shape)


def principal_objects(classes: Tensor, nested: bool) -> Tensor:
    """(n,) index of the object painted last, or of the last whole in a nested scene.

    -1 without objects.
    """
    counts = (classes >= 0).sum(dim=1)
    from_the_end = 2 if nested else 1
    return (counts - from_the_end).clamp(min=-1)


def _captions(
    result: Scenes, rows: slice, masks: Tensor, principal: Tensor, layout: Layout, recipe: Recipe
) -> list[str]:
    if recipe.objects[1] == 0:
        return ["an empty background"] * len(principal)
    front = masks[torch.arange(len(masks)), principal.clamp(min=0)]  # (n, height, width)
    # Whether the principal object lies over each of the others.
    over = (masks & front[:, None]).flatten(2).any(dim=2).tolist()  # (n, objects)
    centers, visible = layout.center.tolist(), result.visible[rows].tolist()
    textures, colors = result.textures[rows].tolist(), result.colors[rows].tolist()
    classes = result.classes[rows].tolist()
    captions = []
    for i, first in enumerate(principal.tolist()):
        names = (textures[i], colors[i], classes[i])
        captions.append(_caption(names, visible[i], over[i], centers[i], first, recipe))
    return captions


def _caption(
    names: tuple[list[int], list[int], list[int]],
    visible: list[bool],
    over: list[bool],
    centers: list[list[float]],
    principal: int,
    recipe: Recipe,
) -> str:
    """The principal object, then where each other visible one lies as seen from it.

    The frontmost comes first.
    """

    def name(k: int) -> str:
        texture, color, kind = (indices[k] for indices in names)
        adjective = TEXTURE_ADJECTIVES[recipe.textures[texture]]
        return f"a {adjective} {recipe.colors[color]} {recipe.classes[kind]}"

    def whole(k: int) -> str:
        if recipe.nested and visible[k + 1]:
            return f"{name(k)} with {name(k + 1)} on it"
        return name(k)

    if principal < 0 or not visible[principal]:
        return "an empty background"
    step = 2 if recipe.nested else 1
    relations = []
    for k in range(principal - step, -1, -step):
        if visible[k]:
            relation = _relation(over[k], centers[principal], centers[k])
            relations.append(f"{relation} {whole(k)}")
    return f"{whole(principal)} {' and '.join(relations)}".rstrip()


def _relation(over: bool, center: list[float], other: list[float]) -> str:
    if over:
        return "in front of"
    right, down = center[0] - other[0], center[1] - other[1]
    if abs(right) > abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"
