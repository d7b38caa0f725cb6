"""What `fit` does before the first step: it checks, completes its settings and resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from cvcourse.training.checkpoints import CONFIGURATION, Checkpoint
from cvcourse.training.checks import check_data
from cvcourse.training.devices import device_of, precision_for
from cvcourse.training.fingerprint import code_digest, data_digest
from cvcourse.training.progress import Progress
from cvcourse.training.recipes import constant

if TYPE_CHECKING:
    from torch import nn

    from cvcourse.training.processes import Processes
    from cvcourse.training.run import Run
    from cvcourse.training.settings import Data, TrainingSettings


def prepared(model: nn.Module, data: Data, settings: TrainingSettings, together: Processes) -> Data:
    """The data where they are trained on; the model is brought there, too.

    Raises TrainingError for what cannot be trained.
    """
    inputs, targets = data
    if together.device is not None:
        model.to(together.device)
        inputs, targets = inputs.to(together.device), targets.to(together.device)
    check_data((inputs, targets), settings, device_of(model), together.count)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    return inputs, targets


def completed(settings: TrainingSettings, device: torch.device) -> TrainingSettings:
    """The settings with the precision that "auto" means here, and with a schedule."""
    precision = precision_for(device, settings.precision)
    return replace(settings, precision=precision, schedule=settings.schedule or constant())


def configuration_of(
    settings: TrainingSettings, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """What the numbers that come out depend on, but for code and data, as plain values."""
    return {
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        **described(optimizer),
        "precision": settings.precision,
        "channels_last": settings.channels_last,
        "clip": settings.clip,
    }


def described(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's name and its settings that are neither off nor 0, as plain values."""
    found: dict[str, Any] = {"optimizer": type(optimizer).__name__}
    for name, value in optimizer.defaults.items():
        if isinstance(value, tuple):
            value = list(value)
        if value and isinstance(value, bool | int | float | list):
            found[name] = value
    return found


def checkpoint_of(
    run: Run, data: Data, settings: TrainingSettings, together: Processes
) -> Checkpoint | None:
    """Where this training is stored, or None. Raises TrainingError where that cannot be done."""
    if settings.checkpoint is None:
        return None
    recipe = (settings.optimizer, settings.schedule, settings.loss, settings.augment, settings.mix)
    key = {
        "code": code_digest(run.model, *recipe),
        "data": data_digest(*data),
        CONFIGURATION: json.dumps(run.configuration, sort_keys=True),
    }
    return Checkpoint(settings.checkpoint, key, say=together.say)


def resume(
    run: Run, optimizer: torch.optim.Optimizer, store: Checkpoint, together: Processes
) -> None:
    """Bring run, model and optimizer to where a stored training was, if all processes have it."""
    state = store.load(run.model.state_dict())
    if not together.agree(state.step if state else 0) or state is None:
        return
    run.model.load_state_dict(state.model)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state.optimizer})
    run.losses, run.evaluations, run.seconds = state.losses, state.evaluations, state.seconds
    run.resumed_at = state.step
    what = "is finished: its stored weights are used" if run.is_finished else "goes on"
    store.say(f"This training {what} (step {state.step} of {run.steps}, {store.path.name}).")


def progress_of(run: Run, settings: TrainingSettings, together: Processes) -> Progress:
    """What tells how far this training is."""
    return Progress(
        settings.steps,
        start=run.done,
        batch_size=settings.batch_size,
        every=settings.report_every,
        title=settings.name,
        silent=settings.quiet or not together.is_first,
    )
