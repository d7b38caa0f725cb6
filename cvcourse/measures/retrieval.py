"""Retrieval: pictures of the same class ranked by similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_average_precision(features: Tensor, labels: Tensor) -> float:
    """Mean over all pictures of the average precision with which their class is found, by cosine.

    features: (N, D). labels: (N,). A picture is not in its own gallery; one that is alone in its
    class is no query. Raises ValueError for shapes that do not fit, and where no class has two
    pictures.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"Features (N, D) with labels (N,) are needed, not {tuple(features.shape)} and"
            f" {tuple(labels.shape)}."
        )
    unit = F.normalize(features, dim=1)
    # -2 is below every cosine: a picture comes last in its own list, and is cut off there.
    cosines = (unit @ unit.T).fill_diagonal_(-2)  # (N, N)
    order = cosines.argsort(dim=1, descending=True, stable=True)[:, :-1]  # (N, N - 1)
    # Precisions are added up in float64, and on the processor, as Apple's chips have no float64.
    relevant = (labels[order] == labels[:, None]).cpu().to(torch.float64)  # (N, N - 1)
    wanted = relevant.sum(dim=1)
    if not wanted.any():
        raise ValueError("No class has two pictures: there is nothing to be found.")
    ranks = torch.arange(1, len(features))
    found = (relevant.cumsum(dim=1) / ranks * relevant).sum(dim=1)
    return (found / wanted)[wanted > 0].mean().item()
