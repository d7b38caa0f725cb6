"""Self-distillation outside the notebook: on large colored camouflage, or on CIFAR-10.

The cpu budget is a longer run than a notebook has time for; its checkpoint is released with the
unit, as provided. The gpu budget on CIFAR-10 aims at what is published for DINO with ResNet-18, two
views, 200 epochs and batches of 128: neighbours right in 84.0 % of the test images (lightly's
benchmark).

`knn` is the accuracy of the 20 nearest training images (200 with CIFAR-10), `linear` that of
logistic regression on training images, both on the teacher's features. With camouflage, `iou` and
`pointing` say where its attention lies, as in the lesson. `seconds` are those of training, with the
evaluations on the way. Under `accelerate launch` every process sees its share of each batch, and
the center is that of all of them.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from cvcourse import data as sets
from cvcourse import measures, models
from cvcourse.training import (
    Compose,
    RandomBrightness,
    RandomColour,
    RandomContrast,
    RandomFlip,
    adamw,
    autocast,
    fit,
    sgd,
    warmup_cosine,
)
from cvcourse.training.augment import unit_floats

DATA = ("camouflage", "cifar10")
# Of CIFAR-10, 390 batches of 128 images are an epoch.
BUDGETS = {
    "smoke": {
        "size": 32,
        "pictures": (256, 64),
        "dim": 16,
        "heads": 2,
        "widths": (8, 16),
        "prototypes": 32,
    }
    | {"steps": 6, "batch_size": 32},
    "cpu": {
        "size": 80,
        "pictures": (12_000, 1000),
        "dim": 96,
        "heads": 3,
        "widths": (16, 32, 64),
        "prototypes": 256,
    }
    | {"steps": 600, "batch_size": 128},
    "gpu": {
        "size": 96,
        "pictures": (100_000, 2000),
        "dim": 192,
        "heads": 6,
        "widths": (64, 128, 192),
    }
    | {"prototypes": 1024, "steps": 200 * 390, "batch_size": 128},
}
EVALUATIONS = {"smoke": 2, "cpu": 6, "gpu": 20}
SETTINGS = {
    "camouflage": {
        "num_local": 0,
        "global_scale": (0.6, 1.0),
        "temperature": 0.02,
        "momentum": 0.98,
    }
    | {"inverted": True, "bank": 4000, "k": 20},
    "cifar10": {"num_local": 0, "global_scale": (0.2, 1.0), "temperature": 0.04, "momentum": 0.99}
    | {"inverted": False, "bank": 50_000, "k": 200},
}
PROBED = 10_000  # training images that the probe sees, at most


def train(exercises, budget, data, seed):
    """Train without labels on `data` ("camouflage" or "cifar10") as the budget says, and measure
    what was learned."""
    images, labels, test_images, test_labels, masks = pictures(data, budget)
    settings = SETTINGS[data]
    model = new_distillation(exercises, budget, data, images.shape[1], settings).to(budget.device)
    rate = (
        sgd(0.06 * budget.batch_size / 128, weight_decay=5e-4)
        if data == "cifar10"
        else adamw(2e-3, 0.04)
    )

    def evaluate(model: models.SelfDistillation) -> dict[str, float]:
        bank, asked = represent(model, images[: settings["bank"]]), represent(model, test_images)
        found = measures.knn_classify(
            bank, labels[: len(bank)], asked, k=min(settings["k"], len(bank))
        )
        looks = looks_at(model.teacher[0], test_images, masks) if masks is not None else {}
        return {"knn": share(found, test_labels), **looks}

    torch.backends.cudnn.benchmark = (
        True  # all batches have one shape: the fastest kernels are looked for once
    )
    run = fit(
        model,
        (images, labels),
        steps=budget.steps,
        batch_size=budget.batch_size,
        optimizer=rate,
        schedule=warmup_cosine(),
        loss=loss_of(exercises, settings["temperature"]),
        augment=views_of(exercises, settings),
        seed=seed,
        precision="auto",
        channels_last=True,
        clip=3.0,
        evaluate=evaluate,
        evaluate_every=budget.steps // EVALUATIONS[budget.name],
        checkpoint=f"09_dino-{data}-{budget.name}-{seed}",
    )
    known = min(PROBED, settings["bank"])
    bank, asked = represent(model, images[:known]), represent(model, test_images)
    numbers = {
        "linear": share(measures.linear_probe(bank, labels[: len(bank)], asked), test_labels)
    }
    numbers["images_per_second"] = round(run.done * budget.batch_size / run.seconds)
    numbers["parameters"] = sum(parameter.numel() for parameter in model.teacher[0].parameters())
    results = run.results(**numbers)
    results.model = model.teacher[0]  # the head is thrown away
    results.configuration |= {
        "schedule": "warmup_cosine",
        "size": images.shape[-1],
        **shape_of(budget),
        **settings,
    }
    return results


def shape_of(budget) -> dict[str, object]:
    """What the encoder of camouflage is built from."""
    return {"embed_dim": budget.dim, "num_heads": budget.heads, "widths": budget.widths}


def pictures(data: str, budget) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Images and labels for training, then for testing, and where the test images have masks,
    these."""
    if data == "cifar10":
        return *(part.to(budget.device) for part in sets.cifar10()), None
    train, test = (
        sets.camouflage(count, budget.size, seed=seed, color=True)
        for count, seed in zip(budget.pictures, (0, 2), strict=True)
    )
    parts = train.images, train.labels, test.images, test.labels, test.instance_masks
    return tuple(part.to(budget.device) for part in parts)


def new_distillation(
    exercises, budget, data: str, in_channels: int, settings: dict
) -> models.SelfDistillation:
    """Student, teacher and center, with the head that goes with the data."""
    if data == "cifar10":
        small = budget.name == "smoke"
        encoder = models.ResNet(
            (1, 1) if small else (2, 2, 2, 2), (8, 16) if small else (64, 128, 256, 512)
        )
        encoder.fc = nn.Identity()
        head = (
            exercises.DINOHead(16, 32, 16, 32)
            if small
            else exercises.DINOHead(512, 2048, 256, 2048)
        )
    else:
        encoder = models.ClassAttentionEncoder(
            in_channels, budget.dim, budget.heads, budget.widths, standardize=True
        )
        head = exercises.DINOHead(budget.dim, 256, 64, budget.prototypes)
    parts = {"update_center": exercises.update_center, "update_teacher": exercises.update_teacher}
    return models.SelfDistillation(encoder, head, budget.steps, settings["momentum"], **parts)


def views_of(exercises, settings: dict) -> Callable[[Tensor, Generator], list[Tensor]]:
    """A function (images, generator) -> views: cut, and in other colors."""
    photographs = Compose(
        RandomFlip(), RandomContrast(0.4), RandomBrightness(0.4), RandomColour(0.8)
    )
    change = inverted if settings["inverted"] else photographs

    def augment(images: Tensor, generator: Generator) -> list[Tensor]:
        cut = {"num_local": settings["num_local"], "local_size": images.shape[-1] // 2}
        views = exercises.multi_crop(
            unit_floats(images), generator, global_scale=settings["global_scale"], **cut
        )
        return [change(view, generator) for view in views]

    return augment


def inverted(views: Tensor, generator: Generator) -> Tensor:
    """Views with some of their channels turned into negatives, at random: a pattern stays, its
    colors do not."""
    chosen = torch.rand(*views.shape[:2], 1, 1, generator=generator, device=views.device) < 0.5
    return torch.where(chosen, 1 - views, views)


def loss_of(exercises, temperature: float) -> Callable[[models.Distilled, Tensor], Tensor]:
    """A function (logits, center and step, targets that it ignores) -> loss."""

    def loss(said: models.Distilled, targets: Tensor) -> Tensor:
        warmed = exercises.teacher_temperature(said.step, 0, temperature, temperature)
        return exercises.dino_loss(said.student, said.teacher, said.center, 0.1, warmed)

    return loss


def represent(model: nn.Module, images: Tensor) -> Tensor:
    """The teacher's features of images as they are, in the precision of training."""
    with autocast(images.device):
        return torch.cat(
            [measures.features(model, unit_floats(batch)) for batch in images.split(2000)]
        )


@torch.no_grad()
def looks_at(
    encoder: models.ClassAttentionEncoder, images: Tensor, masks: Tensor
) -> dict[str, float]:
    """IoU of the fifth of the pixels with the most attention, and how often the largest lies on the
    creature."""
    weights = torch.cat(
        [encoder.tokens(batch)[2].mean(dim=1) for batch in images.split(500)]
    )  # (N, tokens)
    side = round(weights.shape[1] ** 0.5)
    maps = F.interpolate(weights.view(-1, 1, side, side), images.shape[2:], mode="bilinear")[:, 0]
    iou, pointing = measures.localised(maps, masks)
    return {"iou": iou, "pointing": pointing}


def share(predicted: Tensor, labels: Tensor) -> float:
    """How many labels are right."""
    return (predicted == labels).float().mean().item()
