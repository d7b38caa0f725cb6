"""Attention maps against the masks of what they should show."""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 5
"""One pixel in so many counts as looked at: the fifth with the largest values."""


def localised(maps: Tensor, masks: Tensor) -> tuple[float, float]:
    """(IoU of the largest fifth of the pixels, share of pictures where the largest value lies on
    the object).

    maps: (N, H, W), any numbers. masks: (N, H, W), 0 outside the object. Among equal values the
    first counts as larger. Both are means over the pictures. Raises ValueError for other shapes.
    """
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"Maps and masks (N, H, W) of one shape are needed, not {tuple(maps.shape)} and"
            f" {tuple(masks.shape)}."
        )
    flat, true = maps.flatten(1), masks.flatten(1).bool().to(maps.device)  # (N, H W)
    largest = flat.argsort(dim=1, descending=True, stable=True)[:, : max(1, flat.shape[1] // SHARE)]
    chosen = torch.zeros_like(true).scatter(1, largest, True)
    iou = (chosen & true).sum(dim=1) / (chosen | true).sum(dim=1).clamp(min=1)
    return iou.mean().item(), true.gather(1, largest[:, :1]).float().mean().item()
