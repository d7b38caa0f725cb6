"""One step of a training: a batch of the data, its loss, and new weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cvcourse.training.batches import batch_indices, derived_seed, generator_for
from cvcourse.training.checks import check_labels
from cvcourse.training.devices import autocast, device_of
from cvcourse.training.recipes import constant

if TYPE_CHECKING:
    from cvcourse.training.processes import Processes
    from cvcourse.training.settings import Data, TrainingSettings, Views


class TrainingStep:
    """One step of a training: a batch, its loss, and new weights.

    model: the run's, wrapped where several processes train it. optimizer: not yet used, so that its
    learning rates are those that the schedule multiplies.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        settings: TrainingSettings,
        optimizer: torch.optim.Optimizer,
        together: Processes,
    ):
        self.model = model
        self.inputs, self.targets = data
        self.settings = settings
        self.optimizer = optimizer
        self.together = together
        self.device = device_of(model)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.schedule = settings.schedule or constant()
        self.labels_are_checked = False

    def __call__(self, number: int) -> Tensor:
        """Do step `number`, counted from 0; returns the loss of its batch, ()."""
        torch.manual_seed(derived_seed(self.settings.seed, "step", number) + self.together.rank)
        inputs, targets = self.batch(number)
        loss = self.loss(inputs, targets)
        self.set_rates(number)
        self.update(loss)
        return loss

    def batch(self, number: int) -> tuple[Views, Tensor]:
        """This process's share of a batch, augmented and mixed: (inputs, targets)."""
        settings = self.settings
        rows = batch_indices(len(self.inputs), settings.batch_size, settings.seed, number)
        # The processor does not wait until a GPU has them.
        rows = rows.to(self.device, non_blocking=self.device.type == "cuda")
        inputs, targets = self.inputs[rows], self.targets[rows]
        generator = generator_for(self.device, settings.seed, number)
        views: Views = inputs
        if settings.augment is not None:
            views = settings.augment(inputs, generator)
        if settings.mix is not None:
            views, targets = settings.mix(views, targets, generator)
        views = each(views, self.together.share)
        if settings.channels_last:
            views = each(views, as_channels_last)
        return views, self.together.share(targets)

    def loss(self, inputs: Views, targets: Tensor) -> Tensor:
        """The loss of a batch, (). Raises TrainingError for labels that are no class."""
        with autocast(self.device, self.settings.precision):
            output = self.model(inputs)
            if isinstance(output, Tensor):
                output = output.float()
            if not self.labels_are_checked:
                check_labels(output, self.targets, targets, self.settings.loss)
                self.labels_are_checked = True
            return self.settings.loss(output, targets)

    def set_rates(self, number: int) -> None:
        """Set the learning rates of a step, as the schedule says for the middle of it."""
        factor = self.schedule((number + 0.5) / self.settings.steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def update(self, loss: Tensor) -> None:
        """Change the weights by the gradient of a loss."""
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()


def each(inputs: Views, change: Callable[[Tensor], Tensor]) -> Views:
    """The inputs changed; where they are a list of views, each of them."""
    if isinstance(inputs, list):
        return [change(view) for view in inputs]
    return change(inputs)


def as_channels_last(batch: Tensor) -> Tensor:
    """Images with their channels side by side in memory; other tensors as they are."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch
