"""A vision transformer on CIFAR-10, or on digits, outside the notebook.

The gpu budget aims at 90 % on CIFAR-10 from scratch: two hundred epochs of AdamW in bfloat16, with
much augmentation, since nothing in the network says that neighbouring pixels belong together. Each
image gets two random changes, as in RandAugment (Cubuk et al. 2020), then mixup or CutMix; labels
are smoothed. The cpu budget trains a smaller net for a few epochs, too few for mixing to pay.

`seconds` are those of training, with the evaluations on the way.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cvcourse import data as sets
from cvcourse.training import (
    Compose,
    CutMix,
    Cutout,
    Mixup,
    Normalize,
    RandomAffine,
    RandomBrightness,
    RandomChoice,
    RandomColour,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomMix,
    accuracy,
    adamw,
    autocast,
    fit,
    warmup_cosine,
)

DATA = ("digits", "cifar10")
PATCH_SIZE = {"digits": 2, "cifar10": 4}
# Of CIFAR-10, 97 batches of 512 images are an epoch.
BUDGETS = {
    "smoke": {
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "steps": 6,
        "batch_size": 32,
        "mixing": True,
    },
    "cpu": {
        "embed_dim": 96,
        "depth": 4,
        "num_heads": 3,
        "steps": 800,
        "batch_size": 128,
        "mixing": False,
    },
    "gpu": {
        "embed_dim": 384,
        "depth": 7,
        "num_heads": 6,
        "steps": 200 * 97,
        "batch_size": 512,
        "mixing": True,
    },
}
EVALUATIONS = {"smoke": 2, "cpu": 4, "gpu": 20}
SMOOTHING = 0.1


def train(exercises, budget, data, seed):
    """Train on `data` ("digits" or "cifar10") as the budget says."""
    train_images, train_labels, test_images, test_labels = (
        part.to(budget.device) for part in getattr(sets, data)()
    )
    normalize = Normalize.measured_on(train_images)
    augment = augmentation(data, normalize)
    mix = RandomMix(Mixup(10, alpha=0.8), CutMix(10, alpha=1.0)) if budget.mixing else None
    shape = {
        "image_size": train_images.shape[-1],
        "patch_size": PATCH_SIZE[data],
        "in_channels": train_images.shape[1],
    }
    shape |= {name: budget.settings[name] for name in ("embed_dim", "depth", "num_heads")}
    model = exercises.VisionTransformer(**shape, num_classes=10).to(budget.device)

    test_images = normalize.apply(test_images)
    run = fit(
        model,
        (train_images, train_labels),
        steps=budget.steps,
        batch_size=budget.batch_size,
        optimizer=adamw(1e-3, weight_decay=0.05),
        schedule=warmup_cosine(warmup=0.05),
        loss=partial(cross_entropy, label_smoothing=SMOOTHING),
        augment=augment,
        mix=mix,
        seed=seed,
        precision="auto",
        clip=1.0,
        evaluate=lambda model: {"accuracy": accuracy_of(model, test_images, test_labels)},
        evaluate_every=budget.steps // EVALUATIONS[budget.name],
    )
    numbers = {"images_per_second": round(run.done * budget.batch_size / run.seconds)}
    numbers["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    results = run.results(**numbers)
    results.configuration |= shape | {
        "augment": repr(augment),
        "mix": repr(mix),
        "label_smoothing": SMOOTHING,
    }
    results.configuration |= {"schedule": "warmup_cosine"}
    return results


def augmentation(data: str, normalize: Normalize) -> Compose:
    """Changes that keep the class: of digits small ones, of photographs two of many besides a crop
    and a flip."""
    if data == "digits":
        return Compose(RandomCrop(1), RandomAffine(rotation=10, shear=0.1, scale=0.1), normalize)
    changes = RandomChoice(
        Compose(),  # no change
        RandomAffine(rotation=30),
        RandomAffine(shear=0.3),
        RandomAffine(scale=0.3),
        RandomBrightness(0.5),
        RandomContrast(0.5),
        RandomColour(0.8),
        Cutout(12),
        count=2,
    )
    return Compose(RandomCrop(4), RandomFlip(), changes, normalize)


@torch.no_grad()
def accuracy_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images (N, channels, H, W) that are classified right, in the precision of
    training."""
    with autocast(images.device):
        return accuracy(model, images, labels)
