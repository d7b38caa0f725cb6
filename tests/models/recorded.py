"""How recorded runs are compared: by seed, two lists of one number a seed each."""

from __future__ import annotations

from collections.abc import Sequence


def seeds_ahead(ones: Sequence[float], others: Sequence[float]) -> int:
    """On how many seeds a number of the first list is above that of the second."""
    return [one > other for one, other in zip(ones, others, strict=True)].count(True)


def on_every_seed(ones: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the first list is above the second on every seed."""
    return seeds_ahead(ones, others) == len(ones)


def times(factor: float, numbers: Sequence[float]) -> list[float]:
    """Each number, times a factor."""
    return [factor * number for number in numbers]


def mean(numbers: Sequence[float]) -> float:
    """The mean over all seeds."""
    return sum(numbers) / len(numbers)
