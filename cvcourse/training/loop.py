"""`fit`: the loop that the first notebooks write out, made safe to stop, repeat and resume.

`fit` is read first. preparation.py has what comes before the first step, step.py what a step does;
Training, here, is what goes on around the steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from cvcourse.training.checkpoints import Checkpoint, TrainingState
from cvcourse.training.devices import device_of
from cvcourse.training.errors import TrainingError
from cvcourse.training.preparation import (
    checkpoint_of,
    completed,
    configuration_of,
    prepared,
    progress_of,
    resume,
)
from cvcourse.training.processes import Processes, processes
from cvcourse.training.progress import interrupt_flag, recent
from cvcourse.training.run import Run
from cvcourse.training.settings import (
    Data,
    Evaluate,
    TrainingSettings,
    settings_from,
    shows_settings,
)
from cvcourse.training.step import TrainingStep

GOOD_EVERY = 10
"""Steps between two copies of the weights that training can fall back on."""

READ_EVERY_ON_GPU = 10
"""Steps whose losses are read at once: reading one makes the processor wait for the GPU."""


@shows_settings
def fit(model: nn.Module, data: Data, **settings: Any) -> Run:
    """Train `model` in place on batches of `data`, and return what happened.

    data: (inputs, targets), two tensors with one row an example, on the model's device. The
    settings are those of TrainingSettings, by their names.

    The seed decides batches, augmentation and dropout, so that on a CPU two runs are equal to the
    bit, and an interrupted one that went on is equal to one that was not. The initial weights are
    the caller's affair. The first interrupt ends training after the step that runs; the model keeps
    what it learned. It is left in evaluation mode.

    Under `accelerate launch` each process takes its share of every batch. All augment the whole
    batch, so that the curve does not depend on their number; dropout and batch norm see a process's
    share only.

    Raises TrainingError, one sentence, for what cannot be trained, for a loss that is no longer
    finite (the model then has its last good weights) and where memory runs out.
    """
    chosen = settings_from(settings)
    together = processes()
    data = prepared(model, data, chosen, together)
    chosen = completed(chosen, device_of(model))
    optimizer = chosen.optimizer(model.parameters())
    run = Run(model, chosen.steps, configuration_of(chosen, optimizer))
    store = checkpoint_of(run, data, chosen, together)
    if store is not None:
        resume(run, optimizer, store, together)
    step = TrainingStep(together.wrap(model), data, chosen, optimizer, together)
    training = Training(run, chosen, optimizer, together, store)
    progress = progress_of(run, chosen, together)
    with own_random_numbers(model), interrupt_flag() as interrupted, advice_on_memory(run, chosen):
        model.train()
        for number in range(run.done, chosen.steps):
            training.note_good_weights(number)
            loss = step(number)
            if training.after_step(number, loss, interrupted()):
                break
            progress.update(run.losses, run.evaluations)
        training.finish()
    progress.finish(run.losses, run.evaluations, closing_words(run, store is not None))
    return run


@dataclass
class Training:
    """What goes on around the steps.

    Losses are read, good weights kept, evaluations made and checkpoints written.
    """

    run: Run
    settings: TrainingSettings
    optimizer: torch.optim.Optimizer
    together: Processes
    store: Checkpoint | None

    def __post_init__(self) -> None:
        self.device = device_of(self.run.model)
        self.read_every = 1 if self.device.type == "cpu" else READ_EVERY_ON_GPU
        self.unread: list[Tensor] = []
        self.good = (self.run.done, copy_of_weights(self.run.model))
        self.candidate = self.good
        self.began = time.monotonic() - self.run.seconds
        self.saved = time.monotonic()

    def note_good_weights(self, number: int) -> None:
        """Keep a copy of the weights now and then.

        They count as good once their loss is known to be finite.
        """
        if number % GOOD_EVERY == 0:
            self.candidate = (number, copy_of_weights(self.run.model))

    def after_step(self, number: int, loss: Tensor, interrupted: bool) -> bool:
        """Read losses when it is time to, and do what follows from them.

        Returns whether training was stopped.
        """
        self.unread.append(loss.detach().float())
        done = number + 1
        evaluate = self.settings.evaluation_after(done)
        if done % self.read_every and done != self.run.steps and evaluate is None:
            return False
        stopped = self.read_losses(interrupted)
        self.run.seconds = time.monotonic() - self.began
        if evaluate is not None:
            self.measure(evaluate)
        if time.monotonic() - self.saved >= self.settings.save_every:
            self.save()
        return stopped

    def read_losses(self, interrupted: bool) -> bool:
        """Add the losses of the last steps to the run; returns whether a process was interrupted.

        Raises TrainingError for a loss that is not finite.
        """
        # In one reduction with the losses, so that all processes stop after the same step.
        flag = torch.tensor(float(interrupted), device=self.device)
        *losses, stop = self.together.mean(torch.stack([*self.unread, flag])).tolist()
        self.unread.clear()
        self.take(losses)
        return stop > 0

    def take(self, losses: list[float]) -> None:
        """Add losses to the run.

        Raises TrainingError, with the last good weights in the model, for one not finite.
        """
        first = self.run.done
        bad = next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is None or self.candidate[0] < first + bad:
            self.good = self.candidate
        if bad is None:
            self.run.losses += losses
            return
        self.run.losses += losses[:bad]
        self.fall_back(f"The loss became {losses[bad]}", self.run.done + 1)

    def fall_back(self, what: str, failed: int) -> NoReturn:
        """Put the last good weights back, and raise TrainingError that says what happened.

        failed: the step in which it did, counted from 1.
        """
        at, weights = self.good
        self.run.model.load_state_dict(weights)
        del self.run.losses[at:]
        evaluations = self.run.evaluations
        self.run.evaluations = [(step, values) for step, values in evaluations if step <= at]
        rate = self.optimizer.defaults["lr"]
        advice = f"lower the learning rate (now {rate:g}), warm it up, or pass clip=1.0"
        if failed == 1:
            advice = (
                "look for values that are not finite in the data, and for a logarithm or a division"
                " in the loss"
            )
        raise TrainingError(
            f"{what} in step {failed}: {advice}. The model has its weights from after step {at}"
            " again.",
            self.run,
        )

    def measure(self, evaluate: Evaluate) -> None:
        """Evaluate the model as it is."""
        model = self.run.model
        model.eval()
        with torch.no_grad():
            values = {name: float(value) for name, value in evaluate(model).items()}
        model.train()
        self.run.evaluations.append((self.run.done, values))

    def save(self) -> None:
        """Write a checkpoint where one is wanted, unless the weights are spoilt."""
        self.saved = time.monotonic()
        if self.store is None or not self.together.is_first:
            return
        run = self.run
        if not weights_are_finite(run.model):
            return
        weights, optimizer = run.model.state_dict(), self.optimizer.state_dict()["state"]
        state = TrainingState(
            run.done, weights, optimizer, run.losses, run.evaluations, run.seconds
        )
        if not self.store.save(state):
            self.store = None

    def finish(self) -> None:
        """What the last step left: it must be finite, too, and is stored."""
        self.run.model.eval()
        if not weights_are_finite(self.run.model):
            self.fall_back("The weights became infinite or not a number", self.run.done)
        if self.run.done > self.run.resumed_at:
            self.save()


def copy_of_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def weights_are_finite(model: nn.Module) -> bool:
    """Whether no parameter or buffer is infinite or not a number."""
    return all(
        bool(tensor.isfinite().all())
        for tensor in model.state_dict().values()
        if tensor.is_floating_point()
    )


@contextmanager
def own_random_numbers(model: nn.Module) -> Iterator[None]:
    """Leave the caller's random numbers as they are.

    Those of a training depend on its seed and the step alone.
    """
    device = device_of(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


@contextmanager
def advice_on_memory(run: Run, settings: TrainingSettings) -> Iterator[None]:
    """Turn running out of memory into a sentence that names the setting to lower."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        device, batch_size = device_of(run.model), settings.batch_size
        precision = ', or precision="bfloat16"' if device.type == "cuda" else ""
        raise TrainingError(
            f"The memory of {device} is full at batch_size={batch_size}: try"
            f" batch_size={max(1, batch_size // 2)}{precision}."
            f" The model keeps what it learned in {run.done} steps.",
            run,
        ) from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, which every device says in words of its own."""
    said = str(error)
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in said or "out of memory" in said


def closing_words(run: Run, stored: bool) -> str:
    """The sentence at the end."""
    if run.is_finished:
        numbers = "".join(f", {name} {value:.3g}" for name, value in run.numbers.items())
        return f"{run.steps} steps in {run.seconds:.0f} s: loss {recent(run.losses):.3g}{numbers}."
    again = " Run the cell again to go on." if stored else ""
    return f"Stopped after {run.done} of {run.steps} steps. What was learned so far is kept.{again}"


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of images whose largest logit is their label's, in 0 to 1.

    The model is used in the mode that it is in.
    """
    right = torch.zeros((), dtype=torch.long, device=labels.device)
    for start in range(0, len(images), batch_size):
        logits = model(images[start : start + batch_size])
        right += (logits.argmax(dim=1) == labels[start : start + batch_size]).sum()
    return right.item() / len(images)
