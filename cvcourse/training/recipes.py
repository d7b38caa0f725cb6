"""Optimizers and learning-rate schedules as functions: a checkpoint's key can tell them apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

MakeOptimizer = Callable[[Iterable["Tensor"]], "Optimizer"]
Schedule = Callable[[float], float]


def adamw(
    lr: float = 1e-3, weight_decay: float = 0.01, betas: tuple[float, float] = (0.9, 0.999)
) -> MakeOptimizer:
    """AdamW (Loshchilov and Hutter 2019), yet without the parameters that it will update."""
    import torch

    return partial(torch.optim.AdamW, lr=lr, weight_decay=weight_decay, betas=betas)


def sgd(
    lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.0, nesterov: bool = False
) -> MakeOptimizer:
    """Gradient descent with momentum, yet without the parameters that it will update."""
    import torch

    return partial(
        torch.optim.SGD, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov
    )


def constant() -> Schedule:
    """The learning rate as it is."""
    return _constant


def warmup_cosine(warmup: float = 0.1, last: float = 0.0) -> Schedule:
    """Up in a line over the first share `warmup` of the steps, then down a half cosine.

    last: the share of the learning rate that it ends with.
    """
    return partial(_warmup_cosine, warmup=warmup, last=last)


def one_cycle(peak: float = 0.25) -> Schedule:
    """Up in a line until the share `peak` of the steps, then down in a line to 0."""
    return partial(_one_cycle, peak=peak)


def _constant(done: float) -> float:
    return 1.0


def _warmup_cosine(done: float, warmup: float, last: float) -> float:
    if done < warmup:
        return done / warmup
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def _one_cycle(done: float, peak: float) -> float:
    return done / peak if done < peak else (1 - done) / (1 - peak)
