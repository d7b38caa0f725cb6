"""From a layout to pixels: backgrounds, objects over one another, masks and boxes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import Layout, Recipe
from .surfaces import SHAPE_FUNCTIONS, TEXTURE_FUNCTIONS, distance


def paint(layout: Layout, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Images (n, 3, height, width) in [0, 1], and masks (n, objects, height, width) bool that
    include hidden parts."""
    images = paint_background(layout, recipe)
    n, objects = layout.classes.shape
    masks = torch.zeros(n, objects, *recipe.size, dtype=torch.bool)
    whole = torch.zeros(())  # the object of which the next one is a part
    for k in range(objects):
        coverage, tones = _object(layout, recipe, k)
        if recipe.nested and k % 2:
            coverage = torch.minimum(coverage, whole)  # a part never reaches beyond its whole
        whole = coverage
        first, second = layout.rgb[:, k, :, :, None, None].unbind(1)  # (n, 3, 1, 1) each
        surface = torch.lerp(first, second, tones[:, None])
        images = torch.lerp(images, surface, coverage[:, None])
        masks[:, k] = coverage > 0.5
    return images.clamp_(0, 1), masks


def paint_background(layout: Layout, recipe: Recipe) -> Tensor:
    """(n, 3, height, width), whose mean over the pixels is the layout's background colour."""
    mean = layout.background[:, :, None, None]
    if recipe.background == "plain":
        return mean.expand(-1, -1, *recipe.size).clone()
    coarse = layout.coarse.mean(1, keepdim=True) if recipe.background == "grey" else layout.coarse
    texture = 0.24 * _stretched(coarse, recipe)
    if recipe.background == "texture":
        texture = texture + 0.14 * _stretched(layout.fine, recipe)
    texture -= texture.mean(dim=(2, 3), keepdim=True)
    room = torch.minimum(mean, 1 - mean) / texture.abs().amax(dim=(2, 3), keepdim=True).clamp(
        min=1e-6
    )
    return mean + texture * room.clamp(
        max=1
    )  # weaker rather than clipped, which would move the mean


def _stretched(grid: Tensor, recipe: Recipe) -> Tensor:
    """(n, channels, cells, cells) to (n, channels, height, width), smoothly."""
    return F.interpolate(grid, recipe.size, mode="bicubic", align_corners=True)


def _object(layout: Layout, recipe: Recipe, k: int) -> tuple[Tensor, Tensor]:
    """The k-th object's coverage of every pixel and the share of its second colour there, both (n,
    height, width)."""
    height, width = recipe.size
    pixels = min(height, width) / 2  # pixels a layout unit
    x = ((torch.arange(width) + 0.5) - width / 2) / pixels - layout.center[
        :, k, 0, None
    ]  # (n, width)
    y = ((torch.arange(height) + 0.5) - height / 2) / pixels - layout.center[
        :, k, 1, None
    ]  # (n, height)
    radius = layout.radius[:, k, None]
    sine, cosine = layout.angle[:, k, None].sin() / radius, layout.angle[:, k, None].cos() / radius
    u = (x * cosine)[:, None, :] + (y * sine)[
        :, :, None
    ]  # (n, height, width): into the object's own frame
    v = (y * cosine)[:, :, None] - (x * sine)[:, None, :]
    edge = radius[..., None] * pixels  # distances in the object's frame, times this, are pixels
    shapes = [SHAPE_FUNCTIONS[name] for name in recipe.classes]
    textures = [TEXTURE_FUNCTIONS[name] for name in recipe.textures]
    coverage = (0.5 - distance(shapes, layout.classes[:, k], u, v) * edge).clamp_(0, 1)
    tones = (0.5 + distance(textures, layout.textures[:, k], u, v) * edge).clamp_(0, 1)
    return coverage, tones


def instance_masks(masks: Tensor) -> Tensor:
    """(n, height, width) uint8: 0 = background, k = object k. masks: (n, objects, height, width),
    the last in front."""
    instances = torch.zeros(masks.shape[0], *masks.shape[2:], dtype=torch.uint8)
    for k in range(masks.shape[1]):
        instances.masked_fill_(masks[:, k], k + 1)
    return instances


def boxes_of(instances: Tensor, objects: int) -> tuple[Tensor, Tensor]:
    """Boxes (n, objects, 4) float32, maxima exclusive, of visible pixels; and whether there are
    any, (n, objects)."""
    masks = (
        instances[:, None] == torch.arange(1, objects + 1, dtype=torch.uint8)[:, None, None]
    )  # (n, objects, h, w)
    columns, rows = masks.any(dim=2), masks.any(dim=3)  # (n, objects, w), (n, objects, h)
    visible = columns.any(dim=2)
    (x_min, x_max), (y_min, y_max) = _span(columns), _span(rows)
    return torch.stack([x_min, y_min, x_max, y_max], dim=-1).float() * visible[..., None], visible


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First occupied position and one past the last along the last axis; occupied: (n, objects,
    length) bool."""
    length = occupied.shape[-1]
    position = torch.arange(length)
    return torch.where(occupied, position, length).amin(-1), torch.where(
        occupied, position + 1, 0
    ).amax(-1)
