"""Masks painted over a picture, as panels show them."""

from typing import Any

import numpy as np

from cvcourse.widgets import colours
from cvcourse.widgets.panels import to_array, to_image

OPACITY = 0.45


def painted(
    picture: Any,
    masks: Any,
    *,
    first: int = 0,
    alike: bool = False,
    opacity: float = OPACITY,
    dim: float = 0.0,
) -> np.ndarray:
    """A picture with masks laid over it, each in a colour of its own and with a light outline.

    picture: as for `image`, values in [0, 1] or uint8.
    masks: (height, width) or (masks, height, width), booleans, of the picture's size; later
        ones lie on top.
    first: number of the first mask's colour in the palette. alike: all masks have that colour.
    opacity: of the colour. dim: how much darker what no mask covers becomes, from 0 to 1.

    Returns (height, width, 3) float32 in [0, 1]. Raises ValueError where the sizes differ.
    """
    values = to_image(picture)
    values = values.astype(np.float32) / (255 if values.dtype == np.uint8 else 1)
    canvas = np.repeat(values[..., None], 3, axis=-1) if values.ndim == 2 else values.copy()
    layers = to_array(masks).astype(bool)
    layers = layers[None] if layers.ndim == 2 else layers
    if layers.shape[1:] != canvas.shape[:2]:
        raise ValueError(f"Masks {layers.shape[1:]} do not lie over a picture {canvas.shape[:2]}.")
    light = np.where(layers.any(axis=0), 1.0, 1 - dim)  # (height, width)
    canvas *= light[..., None].astype(np.float32)
    for k, mask in enumerate(layers):
        colour = colours.colour(first if alike else first + k)
        ink = np.array(colours.to_rgb(colour), dtype=np.float32) / 255
        canvas += (mask * np.float32(opacity))[..., None] * (ink - canvas)
        canvas[mask & ~_shrunk(mask)] = 0.25 * ink + 0.75
    return canvas.clip(0, 1)


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """The mask without the pixels at its rim; the picture's edge is no rim."""
    padded = np.pad(mask, 1, mode="edge")
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
