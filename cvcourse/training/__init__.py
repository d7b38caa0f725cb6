"""Training cells that run on any machine.

Budgets, the loop, checkpoints, augmentation of whole batches, and reference runs:

>>> from cvcourse.training import adamw, budget, fit
>>> plan = budget(smoke=dict(steps=20), cpu=dict(steps=300), gpu=dict(steps=3000))
>>> settings = dict(batch_size=64, optimizer=adamw(3e-3), checkpoint="resnet20")
>>> run = fit(model, (images, labels), steps=plan.steps, **settings)

Nothing heavy is imported until one of these names is used.
"""

from cvcourse.lazy import lazy

HOME = {
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
    "Run": "run",
    "Results": "run",
    "TrainingSettings": "settings",
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
    "RandomAffine": "augment",
    "RandomColour": "augment",
    "RandomChoice": "augment",
    "Normalize": "augment",
    "Mixup": "augment",
    "CutMix": "augment",
    "RandomMix": "augment",
    "interrupt_flag": "progress",
    "ReferenceRun": "reference",
    "write_reference": "reference",
    "read_reference": "reference",
    "show_reference": "reference",
}

__getattr__, __dir__, __all__ = lazy(__name__, HOME)
