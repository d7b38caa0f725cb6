"""Checkpoints: a training that was interrupted goes on.

It does so only with the code, settings and data that it began with.
Safetensors only: reading one runs no code. One file a training, in the course's cache folder, named
after the training and its key, so that going back to an earlier version of the code finds its
weights again.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvcourse.files import replacing
from cvcourse.training.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 4
"""Files kept of one training, the newest ones: those of the present code and of versions before."""

CONFIGURATION = "configuration"
"""The name in a key whose value can be shown: JSON, where the others are digests."""

print_now = partial(print, flush=True)


@dataclass
class TrainingState:
    """Where a training is.

    step: steps done. optimizer: parameter's number -> name -> tensor or number.
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[int, dict[str, Any]]
    losses: list[float]
    evaluations: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    seconds: float = 0.0


def checkpoint_folder() -> Path:
    """Where checkpoints are kept.

    That is `checkpoints` in the environment's CVCOURSE_DATA, or else in the platform's cache.
    """
    from cvcourse.data import cache_folder

    return cache_folder() / "checkpoints"


class Checkpoint:
    """The stored state of one training.

    name: of the training, say "resnet20". key: what the weights depend on, by name: "code", "data"
    and "configuration"; all must be equal for a file to be used. say: where sentences go.
    Raises TrainingError where nothing can be written.
    """

    def __init__(
        self,
        name: str,
        key: Mapping[str, str],
        folder: str | Path | None = None,
        say: Callable[[str], None] = print_now,
    ):
        if not re.fullmatch(r"[\w.-]+", name):
            raise TrainingError(
                "A checkpoint's name has letters, digits, dots, dashes and underscores, not"
                f" {name!r}."
            )
        self.name, self.key, self.say = name, dict(key), say
        self.folder = Path(folder) if folder is not None else checkpoint_folder()
        short = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]
        self.path = self.folder / f"{name}-{short}.safetensors"
        self._check_folder()

    def load(self, weights: Mapping[str, Tensor]) -> TrainingState | None:
        """The stored state for a model with such weights, or None.

        Says why where a file cannot be used.
        """
        if not self.path.exists():
            different = self._differences()
            if different:
                self.say(
                    f"The stored weights of {self.name} belong to other {different}: training"
                    " starts afresh."
                )
            return None
        reason = "it is damaged or cut short"
        try:
            return self._read(weights)
        except TrainingError as error:
            reason = str(error)
        except Exception:  # whatever is wrong with a file, training begins anew
            pass
        self.say(f"The checkpoint {self.path.name} is not used, {reason}: training starts afresh.")
        return None

    def save(self, state: TrainingState) -> bool:
        """Store the state, wholly or not at all; returns whether it was.

        Says why where it cannot be written.
        """
        from safetensors.torch import save_file

        tensors, metadata = _flatten(state)
        metadata |= {f"key.{name}": value for name, value in self.key.items()}
        try:
            with replacing(self.path, synced=True) as new:
                save_file(tensors, new, metadata)
        except Exception as error:  # a full disk must not cost the learner the model in memory
            self.say(
                f"The checkpoint could not be written ({_said(error)}); training goes on without."
            )
            return False
        self._remove_oldest()
        return True

    def _read(self, weights: Mapping[str, Tensor]) -> TrainingState:
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _key_of(metadata) != self.key:
                raise TrainingError("it belongs to other code, data or configuration")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        state = _unflatten(tensors, metadata)
        if _shapes(state.model) != _shapes(weights):
            raise TrainingError("its weights are not this model's")
        if len(state.losses) != state.step:
            raise TrainingError("it does not hold as many losses as steps")
        return state

    def _siblings(self) -> list[Path]:
        """Files of this training under any key, the newest first."""
        pattern = re.compile(re.escape(self.name) + r"-[0-9a-f]{16}\.safetensors")
        found = [path for path in self.folder.iterdir() if pattern.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def _differences(self) -> str:
        """How the newest file of this training differs from what is trained now; empty for none."""
        from safetensors import safe_open

        for path in self._siblings():
            try:
                with safe_open(path, framework="pt") as file:
                    stored = _key_of(file.metadata() or {})
            except Exception:
                continue
            different = [name for name in self.key if stored.get(name) != self.key[name]]
            return " and ".join(self._shown(name, stored) for name in different)
        return ""

    def _shown(self, name: str, stored: Mapping[str, str]) -> str:
        """A part of the key that differs from the stored one, in words."""
        if name != CONFIGURATION:
            return name
        return f"settings ({_changes(stored.get(name, '{}'), self.key[name])})"

    def _remove_oldest(self) -> None:
        for path in self._siblings()[KEPT:]:
            path.unlink(missing_ok=True)

    def _check_folder(self) -> None:
        """Raise TrainingError before any time is spent where nothing can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise TrainingError(
                f"Checkpoints cannot be written to {self.folder} ({_said(error)}): set"
                " CVCOURSE_DATA to a folder of yours, or train with checkpoint=None."
            ) from None


def _flatten(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a file holds: tensors by name, copied so that none shares memory, and texts by name."""
    import torch

    tensors = {"losses": torch.tensor(state.losses, dtype=torch.float64)}
    tensors |= {f"model.{name}": _stored(tensor) for name, tensor in state.model.items()}
    plain: dict[int, dict[str, Any]] = {}  # what of the optimizer is no tensor
    for index, entries in state.optimizer.items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{index}.{name}"] = _stored(value)
            else:
                plain.setdefault(index, {})[name] = value
    return tensors, {
        "step": str(state.step),
        "seconds": repr(state.seconds),
        "evaluations": json.dumps(state.evaluations),
        "plain": json.dumps(plain),
    }


def _unflatten(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> TrainingState:
    """The state that `_flatten` made this of."""
    model: dict[str, Tensor] = {}
    optimizer: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith("model."):
            model[name.removeprefix("model.")] = tensor
        elif name.startswith("optimizer."):
            _, index, entry = name.split(".", 2)
            optimizer.setdefault(int(index), {})[entry] = tensor
    for index, entries in json.loads(texts["plain"]).items():
        optimizer.setdefault(int(index), {}).update(entries)
    evaluations = [(int(at), dict(values)) for at, values in json.loads(texts["evaluations"])]
    step, seconds = int(texts["step"]), float(texts["seconds"])
    return TrainingState(step, model, optimizer, tensors["losses"].tolist(), evaluations, seconds)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _stored(tensor: Tensor) -> Tensor:
    import torch

    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _key_of(metadata: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("key."): value
        for name, value in metadata.items()
        if name.startswith("key.")
    }


def _changes(before: str, now: str) -> str:
    """ "steps 20 before, 30 now": the settings that differ, from two JSON objects."""
    old, new = json.loads(before), json.loads(now)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} before, {new.get(name)} now" for name in names)


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"
