"""What a training did, and what of it is kept: `fit` returns a Run, a unit's `train` Results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cvcourse.training.progress import curves_scene

if TYPE_CHECKING:
    from torch import nn

Curve = list[tuple[int, float]]
"""(step, value) after (step, value)."""


@dataclass
class Results:
    """What a unit's `train` returns.

    curves: name -> [(step, value)]. model: None where no weights are to be kept.
    """

    configuration: Mapping[str, Any]
    numbers: Mapping[str, float]
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    model: nn.Module | None = None


@dataclass
class Run:
    """What a training did.

    losses: of each step. evaluations: (steps done, {name: value}). seconds: of training, those
    before an interruption included. resumed_at: steps done when this call of `fit` began.
    """

    model: nn.Module
    steps: int
    configuration: dict[str, Any]
    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: float = 0.0
    resumed_at: int = 0

    @property
    def done(self) -> int:
        """Steps done so far, those before an interruption included."""
        return len(self.losses)

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self.done == self.steps

    @property
    def numbers(self) -> dict[str, float]:
        """The last evaluation."""
        return dict(self.evaluations[-1][1]) if self.evaluations else {}

    def show(self, title: str = "your run") -> None:
        """Display the curves."""
        from cvcourse.widgets import show

        scene = curves_scene({title: self.losses}, {title: self.evaluations})
        alt = f"The loss of {title} against the step, and what was measured on the way."
        show(*scene.panels, alt=alt)

    def results(self, points: int = 400, **numbers: float) -> Results:
        """This run as the results of a unit's training.

        points: the most that the curve of the loss has, each the mean since the one before: the
        file stays small. numbers: join those of the last evaluation.
        """
        curves = {"loss": means_of_groups(self.losses, points)}
        for step, values in self.evaluations:
            for name, value in values.items():
                curves.setdefault(name, []).append((step, value))
        own = {"steps": self.done, "seconds": round(self.seconds, 1)}
        return Results(dict(self.configuration), self.numbers | numbers | own, curves, self.model)


def means_of_groups(values: Sequence[float], most: int) -> Curve:
    """A curve of at most so many points: each the last step of a group of steps, and their mean."""
    size = math.ceil(len(values) / most) or 1
    starts = range(0, len(values), size)
    groups = [values[start : start + size] for start in starts]
    return [
        (start + len(group), sum(group) / len(group))
        for start, group in zip(starts, groups, strict=True)
    ]
