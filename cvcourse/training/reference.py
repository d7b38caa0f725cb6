"""Reference runs: trainings of the units, recorded for readers who cannot run them themselves.

A reference run is `reference-BUDGET.json`, and a file of weights of that name where they are small,
beside a unit's notebook. It is always shown beside the learner's own run and under its own name,
never in its place.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvcourse.files import replacing, write_atomically
from cvcourse.training.errors import TrainingError
from cvcourse.training.run import Curve, Results, Run

if TYPE_CHECKING:
    from torch import nn

    from cvcourse.widgets.panels import Curves

LARGEST_WEIGHTS = 12_000_000
"""Bytes up to which a reference run's weights are stored."""

VERSIONS_OF = ("torch", "numpy", "safetensors", "accelerate")
FIELDS = ("unit", "budget", "data", "seed", "configuration", "numbers", "curves", "environment")


@dataclass(frozen=True)
class ReferenceRun:
    """A recorded run. weights: the file, or None where they were too large to keep."""

    unit: str
    budget: str
    data: str
    seed: int
    configuration: dict[str, Any]
    numbers: dict[str, float]
    curves: dict[str, Curve]
    environment: dict[str, Any]
    weights: Path | None = None

    @property
    def label(self) -> str:
        """One line that says what this is and where it was made."""
        made = self.environment
        hardware, date = made.get("hardware", "unknown"), made.get("date", "unknown")
        torch = made.get("versions", {}).get("torch", "unknown")
        return (
            f"reference run ({self.budget} budget, {self.data}, seed {self.seed};"
            f" {hardware}, torch {torch}, {date})"
        )


def write_reference(
    folder: str | Path, unit: str, budget: str, data: str, seed: int, results: Results, command: str
) -> Path:
    """Write a reference run into `folder`; returns the JSON file.

    command: what to type to repeat it. Raises TrainingError where it cannot be written.
    """
    if not isinstance(results, Results):
        raise TrainingError(f"{unit}: train must return Results, not {type(results).__name__}.")
    folder = Path(folder)
    path = reference_file(folder, budget)
    content = {
        "unit": unit,
        "budget": budget,
        "data": data,
        "seed": seed,
        "configuration": results.configuration,
        "numbers": results.numbers,
        "curves": results.curves,
        "environment": environment_of(results.model) | {"command": command},
    }
    try:
        text = json.dumps(content, indent=1, allow_nan=False)
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(results.model, path.with_suffix(".safetensors"))
        write_atomically(path, f"{text}\n".encode())
    except OSError as error:
        raise TrainingError(
            f"The reference run cannot be written to {folder} ({error.strerror}): name another"
            " folder with --out."
        ) from None
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"{unit}: its results are no plain finite numbers and words ({error}): look at what"
            " train returns."
        ) from None
    return path


def write_weights(model: nn.Module | None, path: Path) -> None:
    """Store the weights if there are any and they are small.

    Weights of an earlier run never stay behind.
    """
    from safetensors.torch import save_file

    path.unlink(missing_ok=True)
    if model is None:
        return
    weights = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    if sum(tensor.nbytes for tensor in weights.values()) > LARGEST_WEIGHTS:
        return
    with replacing(path) as new:
        save_file(weights, new)
        new.chmod(0o644)  # safetensors lets nobody else read it


def reference_file(folder: str | Path, budget: str) -> Path:
    """Where the reference run of a budget stands."""
    return Path(folder) / f"reference-{budget}.json"


def read_reference(budget: str, folder: str | Path = ".") -> ReferenceRun | None:
    """The reference run of this budget, or None where there is none.

    folder: of the unit; a notebook runs in its own. Raises TrainingError for a damaged one.
    """
    path = reference_file(folder, budget)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["curves"] = {
            name: [(int(x), float(y)) for x, y in curve] for name, curve in found["curves"].items()
        }
        run = ReferenceRun(**{name: found[name] for name in FIELDS})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise TrainingError(
            f"The reference run {path.name} cannot be read: write it anew with cvcourse train."
        ) from None
    weights = path.with_suffix(".safetensors")
    return replace(run, weights=weights) if weights.exists() else run


def show_reference(
    budget: str, own: Run | None = None, folder: str | Path = "."
) -> ReferenceRun | None:
    """Show a reference run, and the learner's own beside it; returns the reference.

    Where none was recorded, says so.
    """
    run = read_reference(budget, folder)
    if run is None:
        print(f"No reference run was recorded for the {budget} budget.")
        if own is not None:
            own.show()
        return None
    print(run.label)
    if own is not None:
        print_numbers("your run", own.numbers)
    print_numbers("reference run", run.numbers)
    _draw(run, own)
    return run


def print_numbers(name: str, numbers: Mapping[str, float]) -> None:
    """One line: a run's numbers."""
    words = "   ".join(f"{what} {value:.4g}" for what, value in numbers.items())
    print(f"  {name:14}{words}")


def _draw(run: ReferenceRun, own: Run | None) -> None:
    from cvcourse.training.progress import shows_pictures

    if not shows_pictures() or not run.curves:
        return
    from cvcourse.widgets import show

    own_curves = own.results().curves if own is not None else {}
    panels = [
        _panel(name, {"your run": own_curves.get(name), "reference run": curve})
        for name, curve in run.curves.items()
        if curve
    ]
    alt = f"Curves of the {run.label}, and of your own run where there is one."
    show(*panels, caption=run.label, alt=alt)


def _panel(name: str, runs: Mapping[str, Sequence[tuple[int, float]] | None]) -> Curves:
    """One curve's panel, with a line for each run that has it."""
    from cvcourse.widgets import curves

    lines = {
        f"{who}: {name}": tuple(zip(*curve, strict=True)) for who, curve in runs.items() if curve
    }
    return curves(lines, x_label="step", y_label=name)


def environment_of(model: nn.Module | None = None) -> dict[str, Any]:
    """Hardware, versions and date, without any name or folder of this machine."""
    import torch

    parameter = next(model.parameters(), None) if model is not None else None
    device = parameter.device.type if parameter is not None else "cpu"
    processor = f"{processor_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    versions = {"python": platform.python_version()} | {name: version(name) for name in VERSIONS_OF}
    return {
        "hardware": torch.cuda.get_device_name() if device == "cuda" else processor,
        "device": device,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "versions": versions,
        "date": time.strftime("%Y-%m-%d"),
    }


def processor_name() -> str:
    """The processor in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """A package's version, or None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
