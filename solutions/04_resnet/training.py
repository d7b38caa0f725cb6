"""A residual network on CIFAR-10, or on digits, outside the notebook.

The gpu budget aims at 95 % on CIFAR-10 in little time: thirty epochs of Nesterov's gradient
descent, whose learning rate goes up in a line and down again, in bfloat16 and channels-last; crops,
flips and cutout; smoothed labels. The cpu budget trains a smaller net in the same way.

`accuracy` is that of the images as they are. `accuracy_with_mirror`, for photographs only, adds the
logits of each image and of its mirror image. `seconds` are those of training, with the evaluations
on the way.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cvcourse import data as sets
from cvcourse.training import (
    Compose,
    Cutout,
    Normalize,
    RandomCrop,
    RandomFlip,
    accuracy,
    autocast,
    fit,
    one_cycle,
    sgd,
)

DATA = ("digits", "cifar10")
# Of CIFAR-10, 97 batches of 512 images are an epoch.
BUDGETS = {
    "smoke": {"blocks": (1, 1, 1), "widths": (8, 16, 32), "steps": 6, "batch_size": 32},
    "cpu": {"blocks": (1, 1, 1), "widths": (32, 64, 128), "steps": 1500, "batch_size": 128},
    "gpu": {
        "blocks": (2, 2, 2, 2),
        "widths": (64, 128, 256, 512),
        "steps": 30 * 97,
        "batch_size": 512,
    },
}
EVALUATIONS = {"smoke": 2, "cpu": 4, "gpu": 5}
SMOOTHING = 0.1
RATE = 0.4 / 512  # the peak of the learning rate for each image of a batch


def train(exercises, budget, data, seed):
    """Train on `data` ("digits" or "cifar10") as the budget says."""
    train_images, train_labels, test_images, test_labels = (
        part.to(budget.device) for part in getattr(sets, data)()
    )
    normalize = Normalize.measured_on(train_images)
    augment = augmentation(data, normalize)
    shape = {"blocks": budget.blocks, "widths": budget.widths, "in_channels": train_images.shape[1]}
    model = exercises.ResNet(**shape, num_classes=10).to(budget.device)

    test_images = normalize.apply(test_images)
    torch.backends.cudnn.benchmark = (
        True  # all batches have one shape: the fastest kernels are looked for once
    )
    run = fit(
        model,
        (train_images, train_labels),
        steps=budget.steps,
        batch_size=budget.batch_size,
        optimizer=sgd(RATE * budget.batch_size, weight_decay=5e-4, nesterov=True),
        schedule=one_cycle(peak=0.2),
        loss=partial(cross_entropy, label_smoothing=SMOOTHING),
        augment=augment,
        seed=seed,
        precision="auto",
        channels_last=True,
        evaluate=lambda model: {"accuracy": accuracy_of(model, test_images, test_labels)},
        evaluate_every=budget.steps // EVALUATIONS[budget.name],
    )
    numbers = {"images_per_second": round(run.done * budget.batch_size / run.seconds)}
    numbers["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    if data == "cifar10":
        numbers["accuracy_with_mirror"] = accuracy_of(with_mirror(model), test_images, test_labels)
    results = run.results(**numbers)
    results.configuration |= shape | {
        "augment": repr(augment),
        "label_smoothing": SMOOTHING,
        "schedule": "one_cycle",
    }
    return results


def augmentation(data: str, normalize: Normalize) -> Compose:
    """Changes that keep the class: digits are moved by a pixel, photographs are moved, mirrored and
    partly covered."""
    if data == "digits":
        return Compose(RandomCrop(1), normalize)
    return Compose(RandomCrop(4), RandomFlip(), normalize, Cutout(8))


@torch.no_grad()
def accuracy_of(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images (N, channels, H, W) that are classified right, in the precision of
    training."""
    with autocast(images.device):
        return accuracy(model, images, labels)


def with_mirror(model: nn.Module):
    """images -> the sum of the logits of each image and of its mirror image, (N, 10)."""
    return lambda images: model(images) + model(images.flip(3))
