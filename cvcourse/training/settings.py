"""What `fit` is told: one list of settings, with their meaning, which `fit` shows as its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Generator, Tensor, nn

if TYPE_CHECKING:
    from cvcourse.training.recipes import MakeOptimizer, Schedule

Views = Tensor | list[Tensor]
"""A batch of inputs, or several views of it, of any sizes."""

Data = tuple[Tensor, Tensor]
Loss = Callable[[Any, Tensor], Tensor]
Augment = Callable[[Tensor, Generator], Views]
Mix = Callable[[Any, Tensor, Generator], tuple[Any, Tensor]]
"""Takes and gives what the augmentation gave: a batch, or views."""

Evaluate = Callable[[nn.Module], Mapping[str, float]]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings of a training.

    steps: of the whole training, those before an interruption included.
    batch_size: examples a step; of all processes together.
    optimizer: makes one from parameters, as `adamw(3e-3)` does.
    schedule: share of the steps done, in [0, 1) -> factor of the learning rate.
    loss: (what the model gives, targets) -> one number.
    augment: (inputs, generator) -> inputs, for a whole batch; a list of views, of any sizes,
        reaches the model as a list.
    mix: (inputs, targets, generator) -> inputs, targets, after augment, as `CutMix(10)` does: the
        loss must then take probabilities, as `cross_entropy` does, also with
        `functools.partial(cross_entropy, label_smoothing=0.1)`.
    seed: decides batches, augmentation and dropout.
    precision: "float32", "bfloat16" or "auto".
    channels_last: keep the channels of an image side by side in memory, which can be faster.
    clip: the largest norm of the gradient.
    evaluate: model -> numbers, called every `evaluate_every` steps and at the end, in evaluation
        mode without gradients.
    evaluate_every: steps between two evaluations; None evaluates at the end only.
    checkpoint: a name under which the training is stored every `save_every` seconds and at its end;
        the same call then goes on where it was.
    save_every: seconds between two checkpoints.
    report_every: seconds between two lines.
    title: what lines and pictures call this training.
    quiet: no lines and no picture, for many short trainings in a row; that stored weights are used
        is said all the same.
    """

    steps: int
    batch_size: int
    optimizer: MakeOptimizer
    schedule: Schedule | None = None
    loss: Loss = nn.functional.cross_entropy
    augment: Augment | None = None
    mix: Mix | None = None
    seed: int = 0
    precision: str = "float32"
    channels_last: bool = False
    clip: float | None = None
    evaluate: Evaluate | None = None
    evaluate_every: int | None = None
    checkpoint: str | None = None
    save_every: float = 20.0
    report_every: float = 2.0
    title: str = ""
    quiet: bool = False

    @property
    def name(self) -> str:
        """What lines and pictures call this training."""
        return self.title or self.checkpoint or "training"

    def evaluation_after(self, done: int) -> Evaluate | None:
        """What evaluates the model when so many steps are done, or None."""
        if done == self.steps:
            return self.evaluate
        if self.evaluate_every and done % self.evaluate_every == 0:
            return self.evaluate
        return None


def settings_from(given: Mapping[str, Any]) -> TrainingSettings:
    """The settings that `fit` was called with. Raises TypeError for one that does not exist."""
    known = [field.name for field in fields(TrainingSettings)]
    for name in given:
        if name not in known:
            raise TypeError(f"fit() has no setting {name!r}: it has {', '.join(known)}")
    return TrainingSettings(**given)


def shows_settings(function: Function) -> Function:
    """The function, with the fields of TrainingSettings in its signature and in its help.

    It takes them as `**settings`: without this a notebook would show no more than that.
    """
    described: Any = function
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    settings = inspect.signature(TrainingSettings).parameters.values()
    described.__signature__ = signature.replace(parameters=[*own, *settings])
    help_texts = (inspect.getdoc(function), inspect.getdoc(TrainingSettings))
    described.__doc__ = "\n\n".join(text for text in help_texts if text)
    return function
