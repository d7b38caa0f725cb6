"""`fit`: the training loop that the first notebooks write out, with what makes it safe to stop,
repeat and resume."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from cvcourse.training.checkpoints import SETTINGS, Checkpoint, State
from cvcourse.training.devices import autocast, precision_for
from cvcourse.training.errors import TrainingError
from cvcourse.training.fingerprint import code_digest, data_digest
from cvcourse.training.processes import Processes, processes
from cvcourse.training.progress import Progress, curves_scene, interrupt_flag
from cvcourse.training.recipes import MakeOptimizer, Schedule, constant

if TYPE_CHECKING:
    from cvcourse.training.reference import Results

IGNORED_LABEL = -100  # cross_entropy's
GOOD_EVERY = 10
"""Steps between two copies of the weights that training can fall back on."""

READ_EVERY_ON_GPU = 10
"""Reading a loss makes the processor wait for the GPU, so there it is read for this many steps at
once."""

Augment = Callable[[Tensor, torch.Generator], Tensor | list[Tensor]]
Mix = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
Evaluate = Callable[[nn.Module], Mapping[str, float]]


@dataclass
class Run:
    """What a training did. losses: of each step. evaluations: (steps done, {name: value}). seconds:
    of training."""

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
        show(
            *scene.panels,
            alt=f"The loss of {title} against the step, and what was measured on the way.",
        )

    def results(self, points: int = 400, **numbers: float) -> Results:
        """This run as the results of a unit's training; `numbers` join those of the last
        evaluation.

        The curve of the loss has at most `points` points, each the mean since the one before: the
        file stays small.
        """
        from cvcourse.training.reference import Results

        width = math.ceil(self.done / points) or 1
        groups = [self.losses[start : start + width] for start in range(0, self.done, width)]
        ends = [min(self.done, start + width) for start in range(0, self.done, width)]
        curves = {
            "loss": [
                (end, sum(group) / len(group)) for end, group in zip(ends, groups, strict=True)
            ]
        }
        for step, values in self.evaluations:
            for name, value in values.items():
                curves.setdefault(name, []).append((step, value))
        found = self.numbers | numbers | {"steps": self.done, "seconds": round(self.seconds, 1)}
        return Results(dict(self.configuration), found, curves, self.model)


def fit(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    steps: int,
    batch_size: int,
    optimizer: MakeOptimizer,
    schedule: Schedule | None = None,
    loss: Callable[[Any, Tensor], Tensor] = nn.functional.cross_entropy,
    augment: Augment | None = None,
    mix: Mix | None = None,
    seed: int = 0,
    precision: str = "float32",
    channels_last: bool = False,
    clip: float | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    checkpoint: str | None = None,
    save_every: float = 20.0,
    report_every: float = 2.0,
    title: str = "",
    quiet: bool = False,
) -> Run:
    """Train `model` in place on batches of `data`, and return what happened.

    data: (inputs, targets), two tensors with one row an example, on the model's device. batch_size:
    examples a step; of all processes together. optimizer: makes one from parameters, as
    `adamw(3e-3)` does. schedule: share of the steps done, in [0, 1) -> factor of the learning rate.
    augment: (inputs, generator) -> inputs, for a whole batch; a list of views, of any sizes,
    reaches the model as a list.
    mix: (inputs, targets, generator) -> inputs, targets, after augment, as `CutMix(10)` does: the
    loss must then take probabilities, as `cross_entropy` does, also with
    `functools.partial(cross_entropy, label_smoothing=0.1)`.
    precision: "float32", "bfloat16" or "auto". clip: the largest norm of the gradient. evaluate:
    model -> numbers, called every `evaluate_every` steps and at the end, in evaluation mode without
    gradients. checkpoint: a name under which the training is stored every `save_every` seconds and
    at its end; the same call then goes on where it was.
    report_every: seconds between two lines. quiet: no lines and no picture, for many short
    trainings in a row; that stored weights are used is said all the same.

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
    together = processes()
    if together.device is not None:
        model.to(together.device)
        data = tuple(tensor.to(together.device) for tensor in data)
    device = next(model.parameters()).device
    inputs, targets = check_data(data, device, steps, batch_size, together.count)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    precision = precision_for(device, precision)
    optimizer_of_model = optimizer(model.parameters())
    rates = [group["lr"] for group in optimizer_of_model.param_groups]
    schedule = schedule or constant()
    configuration = {
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
        **settings_of(optimizer_of_model),
        "precision": precision,
        "channels_last": channels_last,
        "clip": clip,
    }
    run = Run(model, steps, configuration)
    store = None
    if checkpoint is not None:
        code = code_digest(model, optimizer, schedule, loss, augment, mix)
        settings = json.dumps(configuration, sort_keys=True)
        key = {"code": code, "data": data_digest(inputs, targets), SETTINGS: settings}
        store = Checkpoint(checkpoint, key, say=say_once(together))
        resume(run, optimizer_of_model, store, together)
    training = Training(
        run,
        together.wrap(model),
        optimizer_of_model,
        together,
        store,
        save_every,
        evaluate,
        evaluate_every,
    )
    ignored = ignored_label(loss)
    random_devices = [device] if device.type == "cuda" else []
    title = title or checkpoint or "training"
    progress = Progress(
        steps, run.done, batch_size, report_every, title, silent=quiet or not together.is_first
    )
    # The caller's random numbers stay as they are; those in here depend on the seed and the step
    # alone.
    with (
        torch.random.fork_rng(devices=random_devices),
        interrupt_flag() as interrupted,
        advice_on_memory(run, batch_size),
    ):
        model.train()
        for step in range(run.done, steps):
            torch.manual_seed(derived_seed(seed, "step", step) + together.rank)
            training.note_good_weights(step)

            batch = batch_indices(len(inputs), batch_size, seed, step)
            batch = batch.to(
                device, non_blocking=device.type == "cuda"
            )  # or else the GPU is waited for
            x, y = inputs[batch], targets[batch]
            generator = generator_for(device, seed, step)
            if augment is not None:
                x = augment(x, generator)
            if mix is not None:
                x, y = mix(x, y, generator)
            x, y = each(x, together.share), together.share(y)
            if channels_last:
                x = each(x, as_channels_last)
            with autocast(device, precision):
                output = training.model(x)
                output = output.float() if isinstance(output, Tensor) else output
                if ignored is not None and step == run.resumed_at:
                    check_labels(output, targets, y, ignored)
                batch_loss = loss(output, y)
            for group, rate in zip(optimizer_of_model.param_groups, rates, strict=True):
                group["lr"] = rate * schedule((step + 0.5) / steps)
            optimizer_of_model.zero_grad()
            batch_loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer_of_model.step()

            if training.after_step(step, batch_loss, interrupted()):
                break
            progress.update(run.losses, run.evaluations)
        training.finish()
    progress.finish(run.losses, run.evaluations, closing_words(run, store is not None))
    return run


@dataclass
class Training:
    """What goes on around the steps: losses are read, weights kept, evaluations made, checkpoints
    written."""

    run: Run
    model: nn.Module  # the run's, wrapped where several processes train it
    optimizer: torch.optim.Optimizer
    together: Processes
    store: Checkpoint | None
    save_every: float
    evaluate: Evaluate | None
    evaluate_every: int | None

    def __post_init__(self) -> None:
        self.device = next(self.run.model.parameters()).device
        self.read_every = 1 if self.device.type == "cpu" else READ_EVERY_ON_GPU
        self.unread: list[Tensor] = []
        self.good = (self.run.done, copy_of_weights(self.run.model))
        self.candidate = self.good
        self.began = time.monotonic() - self.run.seconds
        self.saved = time.monotonic()

    def note_good_weights(self, step: int) -> None:
        """Keep a copy of the weights now and then. They count as good once their loss is known to
        be finite."""
        if step % GOOD_EVERY == 0:
            self.candidate = (step, copy_of_weights(self.run.model))

    def after_step(self, step: int, loss: Tensor, interrupted: bool) -> bool:
        """Read losses when it is time to, and do what follows from them. Returns whether training
        was stopped."""
        self.unread.append(loss.detach().float())
        done = step + 1
        evaluating = (
            self.evaluate is not None
            and bool(self.evaluate_every)
            and done % self.evaluate_every == 0
        )
        if not (done % self.read_every == 0 or done == self.run.steps or evaluating):
            return False
        # In one reduction with the losses, so that all processes stop after the same step.
        flag = torch.tensor(float(interrupted), device=self.device)
        *losses, stop = self.together.mean(torch.stack([*self.unread, flag])).tolist()
        self.unread.clear()
        self.take(losses)
        self.run.seconds = time.monotonic() - self.began
        if evaluating or (self.evaluate is not None and done == self.run.steps):
            self.measure()
        if self.store is not None and time.monotonic() - self.saved >= self.save_every:
            self.save()
        return stop > 0

    def take(self, losses: list[float]) -> None:
        """Add losses to the run. Raises TrainingError, with the last good weights in the model, for
        one not finite."""
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
        """Put the last good weights back, and raise TrainingError that says what happened in step
        `failed`."""
        at, weights = self.good
        self.run.model.load_state_dict(weights)
        del self.run.losses[at:]
        self.run.evaluations = [
            (step, values) for step, values in self.run.evaluations if step <= at
        ]
        advice = (
            "look for values that are not finite in the data, and for a logarithm or a division in"
            " the loss"
            if failed == 1
            else (
                f"lower the learning rate (now {self.optimizer.defaults['lr']:g}), warm it up, or"
                " pass clip=1.0"
            )
        )
        raise TrainingError(
            f"{what} in step {failed}: {advice}. The model has its weights from after step {at}"
            " again.",
            self.run,
        )

    def measure(self) -> None:
        """Evaluate the model as it is."""
        model = self.run.model
        model.eval()
        with torch.no_grad():
            values = {name: float(value) for name, value in self.evaluate(model).items()}
        model.train()
        self.run.evaluations.append((self.run.done, values))

    def save(self) -> None:
        """Write a checkpoint, unless the weights are spoilt."""
        self.saved = time.monotonic()
        if not (self.together.is_first and weights_are_finite(self.run.model)):
            return
        run = self.run
        optimizer = self.optimizer.state_dict()["state"]
        state = State(
            run.done, run.model.state_dict(), optimizer, run.losses, run.evaluations, run.seconds
        )
        if not self.store.save(state):
            self.store = None

    def finish(self) -> None:
        """What the last step left: it must be finite, too, and is stored."""
        self.run.model.eval()
        if not weights_are_finite(self.run.model):
            self.fall_back("The weights became infinite or not a number", self.run.done)
        if self.store is not None and self.run.done > self.run.resumed_at:
            self.save()


def check_data(
    data: tuple[Tensor, Tensor], device: torch.device, steps: int, batch_size: int, count: int
) -> tuple[Tensor, Tensor]:
    """The inputs and targets. Raises TrainingError where they do not fit each other, the batch or
    the model."""
    inputs, targets = data
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
    if batch_size % count:
        raise TrainingError(
            f"{count} processes cannot share batch_size={batch_size}: use a multiple of {count}."
        )
    return inputs, targets


def ignored_label(loss: Callable[[Any, Tensor], Tensor]) -> int | None:
    """The label that counts for nothing, where the loss is cross_entropy with or without settings;
    else None."""
    settings: dict[str, Any] = {}
    if isinstance(loss, functools.partial):  # of a partial: Python makes one of both
        loss, settings = loss.func, loss.keywords
    return (
        settings.get("ignore_index", IGNORED_LABEL) if loss is nn.functional.cross_entropy else None
    )


def each(
    inputs: Tensor | list[Tensor], change: Callable[[Tensor], Tensor]
) -> Tensor | list[Tensor]:
    """The inputs changed; where they are a list of views, each of them."""
    return [change(view) for view in inputs] if isinstance(inputs, list) else change(inputs)


def as_channels_last(batch: Tensor) -> Tensor:
    """Images with their channels side by side in memory; other tensors as they are."""
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def check_labels(
    logits: Any, targets: Tensor, batch_targets: Tensor, ignored: int = IGNORED_LABEL
) -> None:
    """Raise TrainingError for labels that are no class of the model; on a GPU they would end the
    whole process.

    targets: of all the data. batch_targets: what the loss gets; probabilities after mixing.
    """
    if not isinstance(logits, Tensor) or logits.ndim < 2:
        return
    classes = logits.shape[1]
    if batch_targets.is_floating_point() and batch_targets.shape != logits.shape:
        raise TrainingError(
            f"The targets are probabilities of shape {tuple(batch_targets.shape)}, but the model"
            f" gives logits of shape {tuple(logits.shape)}: both need as many classes."
        )
    if targets.is_floating_point():
        return
    labels = targets[targets != ignored]
    if labels.numel() and not 0 <= labels.min() <= labels.max() < classes:
        raise TrainingError(
            f"Labels run from {labels.min().item()} to {labels.max().item()}, but the model has"
            f" {classes} classes: labels must lie in 0 to {classes - 1}."
        )


def settings_of(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's name and its settings that are neither off nor 0, as plain values."""
    settings = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in optimizer.defaults.items()
    }
    chosen = {
        name: value
        for name, value in settings.items()
        if isinstance(value, bool | int | float | list) and value
    }
    return {"optimizer": type(optimizer).__name__, **chosen}


def resume(
    run: Run, optimizer: torch.optim.Optimizer, store: Checkpoint, together: Processes
) -> None:
    """Bring run, model and optimizer to where a stored training was, if there is one for all
    processes."""
    state = store.load(run.model.state_dict())
    if not together.agree(state.step if state else 0) or state is None:
        return
    run.model.load_state_dict(state.model)
    optimizer.load_state_dict(
        {"state": state.optimizer, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    run.losses, run.evaluations, run.seconds = state.losses, state.evaluations, state.seconds
    run.resumed_at = state.step
    what = "is finished: its stored weights are used" if run.is_finished else "goes on"
    store.say(f"This training {what} (step {state.step} of {run.steps}, {store.path.name}).")


def say_once(together: Processes) -> Callable[[str], None]:
    """Print a sentence in the first process only."""
    return functools.partial(print, flush=True) if together.is_first else lambda words: None


def derived_seed(seed: int, *what: Any) -> int:
    """A seed for one purpose, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr((seed, *what)).encode()).digest()[:7])


@functools.lru_cache(maxsize=2)
def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the examples in one epoch, (count,)."""
    return torch.randperm(
        count, generator=torch.Generator().manual_seed(derived_seed(seed, "epoch", epoch))
    )


def batch_indices(count: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Which examples a step sees, (batch_size,): each one once an epoch, but for those that fill no
    batch."""
    epoch, place = divmod(step, count // batch_size)
    return epoch_order(count, seed, epoch)[place * batch_size : (place + 1) * batch_size]


def generator_for(device: torch.device, seed: int, step: int) -> torch.Generator:
    """The augmentation's random numbers in one step."""
    return torch.Generator(device).manual_seed(derived_seed(seed, "augment", step))


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
def advice_on_memory(run: Run, batch_size: int) -> Iterator[None]:
    """Turn running out of memory into a sentence that names the setting to lower."""
    try:
        yield
    except RuntimeError as error:
        out_of_memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(
            error
        )
        if not (out_of_memory or "out of memory" in str(error)):
            raise
        device = next(run.model.parameters()).device
        precision = ', or precision="bfloat16"' if device.type == "cuda" else ""
        raise TrainingError(
            f"The memory of {device} is full at batch_size={batch_size}: try"
            f" batch_size={max(1, batch_size // 2)}{precision}."
            f" The model keeps what it learned in {run.done} steps.",
            run,
        ) from error


def closing_words(run: Run, stored: bool) -> str:
    """The sentence at the end."""
    numbers = "".join(f", {name} {value:.3g}" for name, value in run.numbers.items())
    if run.is_finished:
        return f"{run.steps} steps in {run.seconds:.0f} s: loss {recent_loss(run)}{numbers}."
    again = " Run the cell again to go on." if stored else ""
    return f"Stopped after {run.done} of {run.steps} steps. What was learned so far is kept.{again}"


def recent_loss(run: Run) -> str:
    """The mean loss of the last ten steps."""
    last = run.losses[-10:]
    return f"{sum(last) / len(last):.3g}"


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 500) -> float:
    """The share of images whose largest logit is their label's. The model is used in the mode that
    it is in."""
    right = sum(
        (
            model(images[start : start + batch_size]).argmax(dim=1)
            == labels[start : start + batch_size]
        ).sum()
        for start in range(0, len(images), batch_size)
    )
    return float(right) / len(images)
