"""What cannot be trained is said in one sentence, before time is spent on it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cvcourse.training.errors import TrainingError

if TYPE_CHECKING:
    from cvcourse.training.settings import Data, Loss, TrainingSettings

IGNORED_LABEL = -100  # cross_entropy's


def check_data(
    data: Data, settings: TrainingSettings, device: torch.device, processes: int
) -> None:
    """Raise TrainingError where inputs, targets, model and batches do not fit each other.

    device: the model's. processes: how many share a batch.
    """
    inputs, targets = data
    steps, batch_size = settings.steps, settings.batch_size
    if len(inputs) != len(targets):
        raise TrainingError(
            f"There are {len(inputs)} inputs but {len(targets)} targets: give one target an input."
        )
    for name, tensor in (("inputs", inputs), ("targets", targets)):
        if tensor.device != device:
            raise TrainingError(
                f"The model is on {device} and the {name} are on {tensor.device}: move both to one"
                " device with .to()."
            )
    if steps < 1 or batch_size < 1:
        raise TrainingError(f"steps={steps} and batch_size={batch_size} must both be at least 1.")
    if batch_size > len(inputs):
        raise TrainingError(
            f"batch_size={batch_size} is above the {len(inputs)} examples of the data: use at most"
            f" {len(inputs)}."
        )
    if batch_size % processes:
        raise TrainingError(
            f"{processes} processes cannot share batch_size={batch_size}: use a multiple of"
            f" {processes}."
        )


def check_labels(output: Any, targets: Tensor, batch_targets: Tensor, loss: Loss) -> None:
    """Raise TrainingError for labels that are no class of the model.

    On a GPU they would end the whole process. Only cross_entropy takes labels in this sense; for
    another loss nothing is checked. output: what the model gave. targets: of all the data.
    batch_targets: what the loss gets; probabilities after mixing.
    """
    ignored = ignored_label(loss)
    if ignored is None or not isinstance(output, Tensor) or output.ndim < 2:
        return
    classes = output.shape[1]
    if batch_targets.is_floating_point() and batch_targets.shape != output.shape:
        raise TrainingError(
            f"The targets are probabilities of shape {tuple(batch_targets.shape)}, but the model"
            f" gives logits of shape {tuple(output.shape)}: both need as many classes."
        )
    if targets.is_floating_point():
        return
    labels = targets[targets != ignored]
    if labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        raise TrainingError(
            f"Labels run from {labels.min().item()} to {labels.max().item()}, but the model has"
            f" {classes} classes: labels must lie in 0 to {classes - 1}."
        )


def ignored_label(loss: Loss) -> int | None:
    """The label that counts for nothing; None where the loss is not cross_entropy.

    A partial of cross_entropy, which holds settings of it, counts as cross_entropy.
    """
    function: Any = loss
    settings: dict[str, Any] = {}
    if isinstance(loss, functools.partial):  # of a partial: Python makes one of both
        function, settings = loss.func, loss.keywords
    if function is not nn.functional.cross_entropy:
        return None
    return settings.get("ignore_index", IGNORED_LABEL)
