"""`cvcourse train`: a unit's training outside the notebook, on the solutions, recorded as a
reference run.

A unit says what its training is in `solutions/NN_unit/training.py`, which is copied nowhere:

    DATA = ("digits", "cifar10")  # what it can train on, the usual one first
    BUDGETS = {"smoke": {"steps": 10}, "cpu": {"steps": 300}, "gpu": {"steps": 3000}}

    def train(exercises, budget, data, seed):  # -> cvcourse.training.Results
        model = exercises.ResNet(...).to(budget.device)
        run = fit(model, ..., steps=budget.steps, seed=seed)
        return run.results()

`exercises` holds the unit's solutions as attributes; `budget` is a `cvcourse.training.Budget`.
"""

from __future__ import annotations

import io
import os
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autograder.authoring.lesson import solutions
from autograder.errors import CourseError
from autograder.units import SOLUTIONS

FILE = "training.py"
DEFINED = ("DATA", "BUDGETS", "train")


def train_unit(
    root: Path, unit: str, budget: str | None, data: str | None, seed: int, out: Path | None = None
) -> Path | None:
    """Train a unit and write its reference run; returns the file.

    out: the folder; by default the lesson's, from where `build` releases it. Returns None in all
    processes but the first. Raises CourseError for a unit that trains nothing and for data that it
    does not know; TrainingError for what goes wrong on the way.
    """
    import torch

    from cvcourse.training import budget as choose_budget
    from cvcourse.training import write_reference
    from cvcourse.training.processes import wait_for_all

    training = training_of(root, unit)
    data = data_name(unit, training.DATA, data)
    is_first = os.environ.get("RANK", "0") == "0"
    with nullcontext() if is_first else redirect_stdout(io.StringIO()):
        if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
            # "cuda" then means this process's own GPU.
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        plan = choose_budget(budget, **training.BUDGETS)
        exercises = SimpleNamespace(**solutions(unit, root))
        torch.manual_seed(seed)
        results = training.train(exercises, plan, data, seed)
    written = None
    if is_first:
        folder = out or root / SOLUTIONS / unit
        typed = command(unit, data, plan.name, seed)
        written = write_reference(folder, unit, plan.name, data, seed, results, typed)
    wait_for_all()
    return written


def training_of(root: Path, unit: str) -> SimpleNamespace:
    """The names in a unit's training.py that DEFINED lists.

    Raises CourseError where there is no such file, or it does not run or lacks one of them.
    """
    path = root / SOLUTIONS / unit / FILE
    if not path.exists():
        raise CourseError(
            f"{unit} has no training outside its notebook: write {SOLUTIONS}/{unit}/{FILE} for it."
        )
    names: dict[str, Any] = {"__name__": f"training_of_{unit}", "__file__": str(path)}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), names)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise CourseError(f"{unit}/{FILE} does not run: {what}.") from error
    missing = [name for name in DEFINED if not names.get(name)]
    if missing:
        raise CourseError(f"{unit}/{FILE} must define {', '.join(missing)}.")
    return SimpleNamespace(**{name: names[name] for name in DEFINED})


def data_name(unit: str, names: tuple[str, ...], wanted: str | None) -> str:
    """The data to train on, by default the first of `names`.

    Raises CourseError for another name.
    """
    if wanted is not None and wanted not in names:
        raise CourseError(f"{unit} does not train on {wanted!r}: it trains on {', '.join(names)}.")
    return wanted or names[0]


def command(unit: str, data: str, budget: str, seed: int) -> str:
    """What to type to repeat a run."""
    options = f"train {unit} --data {data} --budget {budget} --seed {seed}"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return f"cvcourse {options}"
    launch = f"accelerate launch --multi_gpu --num_processes {processes} -m autograder.cli"
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        launch = f"ACCELERATE_USE_CPU=true {launch}"
    return f"{launch} {options}"
