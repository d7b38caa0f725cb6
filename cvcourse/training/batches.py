"""Which examples a step sees, and its random numbers: the same on every machine."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import torch
from torch import Tensor


def derived_seed(seed: int, *what: Any) -> int:
    """A seed for one purpose, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr((seed, *what)).encode()).digest()[:7])


@functools.lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the examples in one epoch, (count,)."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "epoch", epoch))
    return torch.randperm(count, generator=generator)


def batch_indices(count: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Which of `count` examples a step sees, (batch_size,).

    Each one is seen once an epoch, but for those that fill no batch.
    """
    epoch, place = divmod(step, count // batch_size)
    return epoch_order(count, seed, epoch)[place * batch_size : (place + 1) * batch_size]


def generator_for(device: torch.device, seed: int, step: int) -> torch.Generator:
    """The augmentation's random numbers in one step."""
    return torch.Generator(device).manual_seed(derived_seed(seed, "augment", step))
