"""From a layout to pixels: backgrounds, objects over one another, masks and boxes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import Layout, Recipe
from .surfaces import SHAPE_FUNCTIONS, TEXTURE_FUNCTIONS, distance


def paint(layout: Layout, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Images (n, 3, height, width) in [0, 1], and the masks of their objects.

    Masks are (n, objects, height, width) bool and include hidden parts.
    """
    images = paint_background(layout, recipe)
    n, objects = layout.classes.shape
    masks = torch.zeros(n, objects, *recipe.size, dtype=torch.bool)
    whole = torch.ones(n, *recipe.size)
    for k in range(objects):
        coverage, tones = _object(layout, recipe, k)
        if recipe.nested and k % 2 == 1:
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
    coarse = layout.coarse
    if recipe.background == "grey":
        coarse = coarse.mean(1, keepdim=True)
    texture = 0.24 * _stretched(coarse, recipe)
    if recipe.background == "texture":
        texture = texture + 0.14 * _stretched(layout.fine, recipe)
    texture -= texture.mean(dim=(2, 3), keepdim=True)
    largest = texture.abs().amax(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    room = torch.minimum(mean, 1 - mean) / largest
    return mean + texture * room.clamp(max=1)  # weaker, not clipped, which would move the mean


def _stretched(grid: Tensor, recipe: Recipe) -> Tensor:
    """(n, channels, cells, cells) to (n, channels, height, width), smoothly."""
    return F.interpolate(grid, recipe.size, mode="bicubic", align_corners=True)


def _object(layout: Layout, recipe: Recipe, k: int) -> tuple[Tensor, Tensor]:
    """The k-th object's coverage of every pixel and the share of its second colour there.

    Both are (n, height, width).
    """
    height, width = recipe.size
    pixels = min(height, width) / 2  # pixels a layout unit
    columns = ((torch.arange(width) + 0.5) - width / 2) / pixels
    rows = ((torch.arange(height) + 0.5) - height / 2) / pixels
    x = columns - layout.center[:, k, 0, None]  # (n, width)
    y = rows - layout.center[:, k, 1, None]  # (n, height)
    radius, angle = layout.radius[:, k, None], layout.angle[:, k, None]
    sine, cosine = angle.sin() / radius, angle.cos() / radius
    # (n, height, width), in the object's own frame.
    u = (x * cosine)[:, None, :] + (y * sine)[:, :, None]
    v = (y * cosine)[:, :, None] - (x * sine)[:, None, :]
    edge = radius[..., None] * pixels  # distances in the object's frame, times this, are pixels
    shapes = [SHAPE_FUNCTIONS[name] for name in recipe.classes]
    textures = [TEXTURE_FUNCTIONS[name] for name in recipe.textures]
    coverage = (0.5 - distance(shapes, layout.classes[:, k], u, v) * edge).clamp_(0, 1)
    tones = (0.5 + distance(textures, layout.textures[:, k], u, v) * edge).clamp_(0, 1)
    return coverage, tones


def instance_masks(masks: Tensor) -> Tensor:
    """(n, height, width) uint8: 0 = background, k = object k.

    masks: (n, objects, height, width), the last in front.
    """
    instances = torch.zeros(masks.shape[0], *masks.shape[2:], dtype=torch.uint8)
    for k in range(masks.shape[1]):
        instances.masked_fill_(masks[:, k], k + 1)
    return instances


def boxes_of(instances: Tensor, objects: int) -> tuple[Tensor, Tensor]:
    """Boxes (n, objects, 4) float32, maxima exclusive, of visible pixels.

    instances: (n, height, width). Returns with them whether there are such pixels, (n, objects).
    """
    numbers = torch.arange(1, objects + 1, dtype=torch.uint8)
    masks = instances[:, None] == numbers[:, None, None]  # (n, objects, height, width)
    columns, rows = masks.any(dim=2), masks.any(dim=3)  # (n, objects, width or height)
    visible = columns.any(dim=2)
    (x_min, x_max), (y_min, y_max) = _span(columns), _span(rows)
    boxes = torch.stack([x_min, y_min, x_max, y_max], dim=-1).float()
    return boxes * visible[..., None], visible


def _span(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First occupied position and one past the last along the last axis.

    occupied: (n, objects, length) bool. Returns both (n, objects).
    """
    length = occupied.shape[-1]
    position = torch.arange(length)
    first = torch.where(occupied, position, length).amin(-1)
    end = torch.where(occupied, position + 1, 0).amax(-1)
    return first, end
