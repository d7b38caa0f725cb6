"""Attention maps against the masks of what they should show."""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 5
"""One pixel in so many counts as looked at: the fifth with the largest values."""


def localised(maps: Tensor, masks: Tensor) -> tuple[float, float]:
    """How well maps show where the object is, as two numbers, both means over the pictures.

    maps: (N, H, W), any numbers. masks: (N, H, W), 0 outside the object. Among equal values the
    first counts as larger. Returns the IoU of the largest fifth of the pixels with the object, and
    the share of pictures whose largest value lies on it. Raises ValueError for other shapes.
    """
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"Maps and masks (N, H, W) of one shape are needed, not {tuple(maps.shape)} and"
            f" {tuple(masks.shape)}."
        )
    flat = maps.flatten(1)  # (N, H W)
    true = masks.flatten(1).bool().to(maps.device)  # (N, H W)
    count = max(1, flat.shape[1] // SHARE)
    largest = flat.argsort(dim=1, descending=True, stable=True)[:, :count]  # (N, count)
    chosen = torch.zeros_like(true).scatter(1, largest, True)  # (N, H W)
    iou = (chosen & true).sum(dim=1) / (chosen | true).sum(dim=1).clamp(min=1)  # (N,)
    hit = true.gather(1, largest[:, :1])  # (N, 1)
    return iou.mean().item(), hit.float().mean().item()
