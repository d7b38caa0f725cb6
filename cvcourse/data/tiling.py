"""Pictures that one small motif fills: what is hidden can be found elsewhere in the picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .layout import Draws

ARRANGEMENTS = ("repeated", "mirrored")
TIMES = 4  # the motif stands so often along each side
BLOCKS = 4  # blocks of one colour along each side of the motif
CONTRAST = 0.6  # least RGB distance between a motif's two colours
TRIES = 6


class Motifs(NamedTuple):
    """images: (count, 3, size, size) float32 in [0, 1].

    labels: (count,) int64, places in `ARRANGEMENTS`.
    """

    images: Tensor
    labels: Tensor


def motifs(count: int, size: int = 32, seed: int = 0) -> Motifs:
    """`count` pictures, each filled by a random motif, four times along each side.

    It has 4 x 4 blocks in two colours. The motif is repeated, or every second one is mirrored, in
    rows and in columns. One copy tells all the others, so whoever sees the rule can fill in what is
    hidden. Image i depends on the seed and on i, never on `count`. size: pixels of both sides, a
    multiple of 16. Raises ValueError on arguments that do not fit.
    """
    from .synthetic import _whole_number

    _whole_number("count", count, 0)
    _whole_number("seed", seed, 0)
    _whole_number("size", size, TIMES * BLOCKS)
    if size % (TIMES * BLOCKS):
        raise ValueError(
            f"size must be a multiple of {TIMES * BLOCKS}, not {size}: blocks are whole pixels."
        )
    draws = Draws(seed, 0, count, columns=1 + BLOCKS**2 + 6 + 3 * TRIES)
    labels = draws.integers(below=len(ARRANGEMENTS))
    is_second = draws.uniform(BLOCKS, BLOCKS) < 0.5  # (count, BLOCKS, BLOCKS)
    first, second = _two_colours(draws)
    motif = torch.where(is_second[:, None], second[:, :, None, None], first[:, :, None, None])
    blocks = torch.where((labels == 0)[:, None, None, None], _repeated(motif), _mirrored(motif))
    pixels = size // (TIMES * BLOCKS)
    images = blocks.repeat_interleave(pixels, dim=2).repeat_interleave(pixels, dim=3)
    return Motifs(images, labels)


def _two_colours(draws: Draws) -> tuple[Tensor, Tensor]:
    """Two colours that differ, (count, 3) each.

    The second is the first of some tries that is far enough away.
    """
    first = draws.uniform(3)
    last = torch.where(first < 0.5, 1.0, 0.0)  # always far enough away
    tries = torch.cat([draws.uniform(TRIES, 3), last[:, None]], dim=1)  # (count, TRIES + 1, 3)
    far = torch.linalg.vector_norm(tries - first[:, None], dim=2) >= CONTRAST
    chosen = far.int().argmax(dim=1)
    return first, tries[torch.arange(len(tries)), chosen]


def _repeated(motif: Tensor) -> Tensor:
    """(count, 3, BLOCKS, BLOCKS) to (count, 3, TIMES * BLOCKS, TIMES * BLOCKS)."""
    return motif.repeat(1, 1, TIMES, TIMES)


def _mirrored(motif: Tensor) -> Tensor:
    """As `_repeated`, every second motif mirrored, and every second row of them upside down."""
    pair = torch.cat([motif, motif.flip(3)], dim=3)
    return torch.cat([pair, pair.flip(2)], dim=2).repeat(1, 1, TIMES // 2, TIMES // 2)
