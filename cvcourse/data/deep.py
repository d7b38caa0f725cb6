"""Pictures of more than eight bits, brought to [0, 1] without a loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .refusals import Refuse, check_finite

ORIENTATION = 0x0112  # EXIF's and TIFF's tag: how the camera was held


class Deep(NamedTuple):
    """colours: (height, width, 1 or 3) in [0, 1]. orientation: 1 to 8, as EXIF has it."""

    colours: np.ndarray
    orientation: int


def in_unit_range(values: np.ndarray, black: float, white: float, refuse: Refuse) -> np.ndarray:
    """Values from black to white in [0, 1], integers as float32 and other numbers as float64.

    Raises DataError for values outside: none is cut off.
    """
    low, high = values.min(), values.max()
    if low < black or high > white:
        raise refuse(
            f"values from {low:g} to {high:g} ({values.dtype.name}), and declares {black:g} to"
            f" {white:g}"
        )
    shares: np.ndarray = values.astype(np.float32 if values.dtype.kind == "u" else np.float64)
    shares -= black
    shares /= white - black
    return shares


def floats_in_unit_range(values: np.ndarray, refuse: Refuse) -> np.ndarray:
    """Floating-point values as they are where all lie in [0, 1], else from least to largest.

    Raises DataError for values that are not finite, and where all are the same outside [0, 1].
    """
    check_finite(values, refuse)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return values.astype(np.float64)
    if low == high:
        raise refuse(f"the value {low:g} ({values.dtype.name}) everywhere, which has no range")
    return in_unit_range(values, low, high, refuse)


def over_white(colours: np.ndarray, alpha: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """Colours (H, W, channels) on white paper, all in [0, 1]. alpha: (H, W).

    premultiplied: whether the colours were multiplied by alpha already.
    """
    alpha = alpha[..., None].astype(colours.dtype)
    if not premultiplied:
        colours = colours * alpha
    return colours + 1 - alpha


def deep_tensor(deep: Deep, longest: int) -> Tensor:
    """(3, height, width) float32 in [0, 1], turned, with at most `longest` pixels per side."""
    channels = np.moveaxis(deep.colours.astype(np.float32, copy=False), 2, 0)
    planes = [_turned_and_shrunk(channel, deep.orientation, longest) for channel in channels]
    # Shrinking sharpens, and can go a little beyond black and white beside an edge.
    picture = torch.from_numpy(np.stack(planes)).clamp(0, 1)  # (1 or 3, height, width)
    return picture.expand(3, -1, -1).contiguous()


def _turned_and_shrunk(channel: np.ndarray, orientation: int, longest: int) -> np.ndarray:
    """(H, W) float32, as `open_picture` treats pictures of bytes."""
    plane = Image.fromarray(np.ascontiguousarray(channel))
    plane.getexif()[ORIENTATION] = orientation
    plane = ImageOps.exif_transpose(plane)
    plane.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.array(plane)
