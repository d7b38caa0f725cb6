"""Every colour of the widgets, once: browser and paper draw with the same ones.

The palette is Okabe and Ito's, which readers with any common colour blindness can tell apart.
"""

import functools

import numpy as np

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY)
DASHES = ((), (7, 3), (2, 2), (8, 3, 2, 3))
"""Line styles, so that curves differ without colour too."""

NOT_A_NUMBER = PURPLE
BACKGROUND = "#D9D9D9"
INK, MUTED, FRAME = "#222222", "#6B6B6B", "#C8C8C8"
"""Text, secondary text and thin lines on paper; in the browser the theme gives them."""

MAPS = {
    "grey": ("#000000", "#FFFFFF"),
    "signed": ("#08306B", "#0072B2", "#7FB8DA", "#F7F7F7", "#F0A860", "#D55E00", "#6B2A00"),
    "heat": ("#000004", "#2F0A5B", "#721F6D", "#B93556", "#E8602D", "#FBA40A", "#FCFFA4"),
}
"""Stops of each colour map, low to high. signed: white at 0, blue below it, orange above."""


def to_rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, from 0 to 255: "#0072B2" -> (0, 114, 178)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def colour(k: int) -> str:
    """The k-th colour of the palette, which repeats."""
    return PALETTE[k % len(PALETTE)]


@functools.cache
def _table(name: str) -> np.ndarray:
    """A colour map in 256 steps: (256, 3) uint8."""
    stops = np.array([to_rgb(stop) for stop in MAPS[name]], dtype=float)
    at = np.linspace(0, 1, len(stops))
    steps = np.linspace(0, 1, 256)
    table = np.stack([np.interp(steps, at, stops[:, channel]) for channel in range(3)], axis=-1)
    return np.round(table).astype(np.uint8)


def look_up(unit: np.ndarray, name: str) -> np.ndarray:
    """Values in [0, 1], any shape, to colours of the named map: (..., 3) uint8."""
    return _table(name)[np.round(unit * 255).astype(np.uint8)]


def label_colours(labels: np.ndarray) -> np.ndarray:
    """Class numbers, any shape, to colours (..., 3) uint8: 0 is light grey, then the palette."""
    table = np.array([to_rgb(BACKGROUND)] + [to_rgb(entry) for entry in PALETTE], dtype=np.uint8)
    return table[np.where(labels > 0, (labels - 1) % len(PALETTE) + 1, 0)]


def reads_dark_on(rgb: np.ndarray) -> bool:
    """Whether dark text is the readable one on this background (three numbers, 0 to 255)."""
    return float(np.dot(rgb[:3], (0.299, 0.587, 0.114))) > 140
