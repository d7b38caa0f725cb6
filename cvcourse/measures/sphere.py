"""Two numbers that say how features lie on the unit sphere (Wang and Isola 2020)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment(z1: Tensor, z2: Tensor) -> float:
    """Mean squared distance between the two views of an image, on the unit sphere (section 4.1).

    z1, z2: (N, D); row i of both belongs to image i. Returns 0 (equal) to 4 (opposite). Raises
    ValueError for shapes that differ.
    """
    if z1.shape != z2.shape or z1.ndim != 2 or len(z1) == 0:
        raise ValueError(
            f"Views must be two tables (N, D) of one shape, not {tuple(z1.shape)} and"
            f" {tuple(z2.shape)}."
        )
    difference = F.normalize(z1, dim=1) - F.normalize(z2, dim=1)  # (N, D)
    return difference.square().sum(dim=1).mean().item()


def uniformity(z: Tensor, t: float = 2.0) -> float:
    """How evenly features (N, D) cover the unit sphere (section 4.1).

    It is the log of the mean of exp(-t distance^2) over all pairs: 0 where all are equal, and the
    lower, the more even. Raises ValueError for fewer than two.
    """
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(
            "Uniformity is one of pairs: at least two features (N, D) are needed, not"
            f" {tuple(z.shape)}."
        )
    unit = F.normalize(z, dim=1).cpu()  # Apple's chips have no pdist
    squared = torch.pdist(unit).square()  # of all pairs, (N (N - 1) / 2,)
    return (-t * squared).exp().mean().log().item()
