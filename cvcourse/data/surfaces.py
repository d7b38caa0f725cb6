"""Shapes and surface patterns as signed distances in an object's own frame.

The frame is centred on the object, turned with it, and scaled so that its radius is 1; v points
down, as image rows do. A shape's distance is negative inside. A pattern's is positive where the
second colour goes. Distances rather than masks make edges smooth at every size: one pixel's
coverage follows from the distance of its centre to the edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Surface = Callable[[Tensor, Tensor], Tensor]


def disc(u: Tensor, v: Tensor) -> Tensor:
    return torch.hypot(u, v) - 0.92


def square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - 0.74


def triangle(u: Tensor, v: Tensor) -> Tensor:
    slanted = math.sqrt(3) / 2 * u.abs() - 0.5 * v  # the two upper edges, mirrored onto one
    return torch.maximum(slanted, v) - 0.5


def star(u: Tensor, v: Tensor) -> Tensor:
    """Five points: the plane is folded onto half a point, whose edge runs from tip to notch."""
    half_point = math.pi / 5
    notch_u, notch_v = 0.46 * math.cos(half_point), 0.46 * math.sin(half_point)
    radius, angle = torch.hypot(u, v), torch.atan2(u, -v)
    angle = torch.remainder(angle + half_point, 2 * half_point) - half_point
    folded_u, folded_v = radius * angle.cos(), radius * angle.sin().abs()
    length = math.hypot(1 - notch_u, notch_v)
    return ((folded_u - 1) * notch_v + folded_v * (1 - notch_u)) / length


def plus(u: Tensor, v: Tensor) -> Tensor:
    long, short = torch.maximum(u.abs(), v.abs()), torch.minimum(u.abs(), v.abs())
    return torch.maximum(long - 0.92, short - 0.32)


def ring(u: Tensor, v: Tensor) -> Tensor:
    return (torch.hypot(u, v) - 0.68).abs() - 0.25


def crescent(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(torch.hypot(u, v) - 0.95, 0.72 - torch.hypot(u - 0.46, v))


def hourglass(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(v.abs() - 0.8, 0.82 * (u.abs() - 0.7 * v.abs() - 0.1))


def _bands(position: Tensor, period: float) -> Tensor:
    """Distance to the nearest edge of bands half a period wide, positive in every second band."""
    return ((torch.remainder(position / period, 1) - 0.5).abs() - 0.25) * period


def solid(u: Tensor, v: Tensor) -> Tensor:
    return torch.full_like(u, -1e3)  # far from any edge: the first colour everywhere


def stripes(u: Tensor, v: Tensor) -> Tensor:
    return _bands(u, 0.5)


def checks(u: Tensor, v: Tensor) -> Tensor:
    a, b = _bands(u + 0.17, 0.7), _bands(v + 0.17, 0.7)
    return torch.maximum(torch.minimum(a, b), torch.minimum(-a, -b))


def dots(u: Tensor, v: Tensor) -> Tensor:
    cell_u, cell_v = (torch.remainder(w / 0.52 + 0.5, 1) - 0.5 for w in (u, v))
    return 0.17 - 0.52 * torch.hypot(cell_u, cell_v)


def rings(u: Tensor, v: Tensor) -> Tensor:
    return _bands(torch.hypot(u, v) + 0.12, 0.42)


def halves(u: Tensor, v: Tensor) -> Tensor:
    return v


def rays(u: Tensor, v: Tensor) -> Tensor:
    angle = _bands(torch.atan2(v, u), 2 * math.pi / 7)
    return angle * torch.hypot(u, v)  # an angle times its radius is a length


def zigzag(u: Tensor, v: Tensor) -> Tensor:
    return 0.7 * _bands(v + 0.9 * _bands(u, 0.76), 0.5)  # 0.7: the bands lean by 45 degrees


# Name -> function. The order is the order of classes; `creatures` pairs what has the same place.
SHAPE_FUNCTIONS: dict[str, Surface] = {
    f.__name__: f for f in (disc, square, triangle, star, plus, ring, crescent, hourglass)
}
TEXTURE_FUNCTIONS: dict[str, Surface] = {
    f.__name__: f for f in (solid, stripes, checks, dots, rings, halves, rays, zigzag)
}
TEXTURE_ADJECTIVES = {
    "solid": "solid",
    "stripes": "striped",
    "checks": "checked",
    "dots": "dotted",
    "rings": "ringed",
    "halves": "two-tone",
    "rays": "rayed",
    "zigzag": "zigzag",
}


def distance(functions: list[Surface], kinds: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Each image's own function at every pixel.

    kinds: (n,), places in `functions`; -1 is no object, far away everywhere. u, v and the result
    are (n, height, width).
    """
    result = torch.full_like(u, 1e3)
    for kind, function in enumerate(functions):
        rows = (kinds == kind).nonzero().squeeze(1)
        if len(rows):
            result[rows] = function(u[rows], v[rows])
    return result
