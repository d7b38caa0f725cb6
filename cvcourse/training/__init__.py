"""Training cells that run on any machine: budgets, the loop, checkpoints, batched augmentation, reference runs.

>>> from cvcourse.training import budget, fit
>>> plan = budget(smoke=dict(steps=20), cpu=dict(steps=300), gpu=dict(steps=3000))
>>> run = fit(model, (images, labels), steps=plan.steps, batch_size=64, optimizer=adamw(3e-3), checkpoint="resnet20")

Nothing heavy is imported until one of these names is used.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "NAMES": "budgets",
    "VARIABLE": "budgets",
    "Budget": "budgets",
    "budget": "budgets",
    "best_device": "devices",
    "has_fast_bfloat16": "devices",
    "precision_for": "devices",
    "autocast": "devices",
    "TrainingError": "errors",
    "BudgetError": "errors",
    "Run": "loop",
    "fit": "loop",
    "accuracy": "loop",
    "adamw": "recipes",
    "sgd": "recipes",
    "constant": "recipes",
    "warmup_cosine": "recipes",
    "one_cycle": "recipes",
    "checkpoint_folder": "checkpoints",
    "RandomCrop": "augment",
    "RandomFlip": "augment",
    "RandomBrightness": "augment",
    "RandomContrast": "augment",
    "Cutout": "augment",
    "Compose": "augment",
    "interrupt_flag": "progress",
    "Results": "reference",
    "ReferenceRun": "reference",
    "write_reference": "reference",
    "read_reference": "reference",
    "show_reference": "reference",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
