"""SimCLR on CIFAR-10, or on creatures, outside the notebook.

The gpu budget aims at what is published for ResNet-18 on CIFAR-10 with 200 epochs in batches of
512: neighbours right in 84.8 % of the test images. Gradient descent with momentum, temperature 0.5,
colour strength 0.5 and no blur, in bfloat16 and channels-last. The cpu budget is that of the
notebook, on creatures.

`knn` is the accuracy of the 200 nearest training images (20 with creatures), `linear` that of
logistic regression on all training images, both on h. `seconds` are those of training, with the
evaluations on the way. Under `accelerate launch` each process contrasts its images with those of
all others.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, distributed, nn

from cvcourse import data as sets
from cvcourse import measures, models
from cvcourse.training import RandomFlip, adamw, autocast, fit, sgd, warmup_cosine
from cvcourse.training.augment import Normalize

DATA = ("creatures", "cifar10")
# Of CIFAR-10, 97 batches of 512 images are an epoch.
BUDGETS = {
    "smoke": {"blocks": (1, 1), "widths": (8, 16), "shrink": 2, "steps": 6, "batch_size": 32},
    "cpu": {
        "blocks": (1, 1, 1),
        "widths": (16, 32, 64),
        "shrink": 2,
        "steps": 2400,
        "batch_size": 64,
    },
    "gpu": {
        "blocks": (2, 2, 2, 2),
        "widths": (64, 128, 256, 512),
        "shrink": 1,
        "steps": 200 * 97,
        "batch_size": 512,
    },
}
EVALUATIONS = {"smoke": 2, "cpu": 4, "gpu": 20}
PICTURES = {
    "smoke": (256, 100),
    "cpu": (8192, 2000),
    "gpu": (50_000, 2000),
}  # of creatures: for training, for testing
SETTINGS = {
    "creatures": {"temperature": 0.3, "strength": 1.0, "hue": 0.5, "smallest": 0.25, "k": 20},
    "cifar10": {"temperature": 0.5, "strength": 0.5, "hue": 0.2, "smallest": 0.08, "k": 200},
}


def train(exercises, budget, data, seed):
    """Train without labels on `data` ("creatures" or "cifar10") as the budget says, and measure
    what was learned."""
    images, labels, test_images, test_labels = (
        part.to(budget.device) for part in pictures(data, budget.name)
    )
    settings, normalize = SETTINGS[data], Normalize.measured_on(images)
    encoder = make_encoder(budget, images.shape[1])
    width = budget.widths[-1]
    model = nn.Sequential(encoder, exercises.ProjectionHead(width, width, 128)).to(budget.device)
    on_cifar = data == "cifar10"
    rate = sgd(0.06 * budget.batch_size / 128, weight_decay=5e-4) if on_cifar else adamw(2e-3)

    def evaluate(model: nn.Module) -> dict[str, float]:
        bank, asked = (
            represent(model[0], images, normalize),
            represent(model[0], test_images, normalize),
        )
        found = measures.knn_classify(bank, labels, asked, k=min(settings["k"], len(bank)))
        return {"knn": share(found, test_labels)}

    torch.backends.cudnn.benchmark = (
        True  # all batches have one shape: the fastest kernels are looked for once
    )
    run = fit(
        model,
        (images, labels),
        steps=budget.steps,
        batch_size=budget.batch_size,
        optimizer=rate,
        schedule=warmup_cosine(0.05 if on_cifar else 0.1),
        loss=contrastive_loss(exercises, settings["temperature"]),
        augment=two_views(exercises, settings, normalize),
        seed=seed,
        precision="auto",
        channels_last=True,
        evaluate=evaluate,
        evaluate_every=budget.steps // EVALUATIONS[budget.name],
    )
    bank, asked = represent(encoder, images, normalize), represent(encoder, test_images, normalize)
    numbers = {"linear": share(measures.linear_probe(bank, labels, asked), test_labels)}
    numbers["images_per_second"] = round(run.done * budget.batch_size / run.seconds)
    numbers["parameters"] = sum(parameter.numel() for parameter in encoder.parameters())
    results = run.results(**numbers)
    results.model = encoder  # the head is thrown away
    results.configuration |= {
        "blocks": budget.blocks,
        "widths": budget.widths,
        "schedule": "warmup_cosine",
        **settings,
    }
    return results


def pictures(data: str, budget: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels for training, then for testing; CIFAR-10's are bytes."""
    if data == "cifar10":
        return tuple(sets.cifar10())
    parts = (
        sets.creatures(count, seed=seed, scale=(0.35, 0.6))
        for count, seed in zip(PICTURES[budget], (0, 2), strict=True)
    )
    return tuple(tensor for part in parts for tensor in (part.images, part.labels))


def make_encoder(budget, in_channels: int) -> nn.Sequential:
    """A residual network without its last layer, on blocks of shrink x shrink pixels: images -> (N,
    widths[-1])."""
    network = models.ResNet(
        budget.blocks, budget.widths, in_channels=in_channels * budget.shrink**2
    )
    network.fc = nn.Identity()
    return nn.Sequential(nn.PixelUnshuffle(budget.shrink), network)


def two_views(
    exercises, settings: dict[str, float], normalize: Normalize
) -> Callable[[Tensor, Generator], Tensor]:
    """A function (images, generator) -> first views and below them second views, (2N, channels, H,
    W), normalised."""
    flip = RandomFlip()

    def view(images: Tensor, generator: Generator) -> Tensor:
        images = exercises.random_resized_crop(
            flip(images, generator), generator, scale=(settings["smallest"], 1.0)
        )
        images = exercises.color_distort(images, *colours(len(images), generator, settings))
        return normalize.apply(images)

    def views(images: Tensor, generator: Generator) -> Tensor:
        images = images if images.is_floating_point() else images / 255
        return torch.cat([view(images, generator), view(images, generator)])

    return views


def colours(count: int, generator: Generator, settings: dict[str, float]) -> tuple[Tensor, ...]:
    """Parameters of color_distort: one image in five keeps its colours, and of all one in five
    becomes grey."""
    u = torch.rand(6, count, generator=generator, device=generator.device)
    keeps, strength = u[4] < 0.2, settings["strength"]
    factors = [torch.where(keeps, 1.0, 1 + 0.8 * strength * (2 * u[k] - 1)) for k in range(3)]
    return (
        *factors,
        torch.where(keeps, 0.0, settings["hue"] * strength * (2 * u[3] - 1)),
        u[5] < 0.2,
    )


def contrastive_loss(exercises, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A function (z of both views, targets that it ignores) -> loss; with negatives from all
    processes."""

    def loss(z: Tensor, targets: Tensor) -> Tensor:
        views, count = z.chunk(2), processes()
        if count > 1:
            views = [
                exercises.gather_negatives(view, gather, distributed.get_rank()) for view in views
            ]
        found = exercises.nt_xent(*views, temperature)
        return found + (count - 1) * (
            found - found.detach()
        )  # the gradient count times, the value once

    return loss


def processes() -> int:
    """How many train together."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def gather(local: Tensor) -> list[Tensor]:
    """The tensors of all processes, without gradient."""
    parts = [torch.empty_like(local) for _ in range(processes())]
    distributed.all_gather(parts, local.detach().contiguous())
    return parts


def represent(encoder: nn.Module, images: Tensor, normalize: Normalize) -> Tensor:
    """h of images as they are, (N, widths[-1]), in the precision of training."""
    with autocast(images.device):
        return torch.cat(
            [measures.features(encoder, normalize.apply(batch)) for batch in images.split(2000)]
        )


def share(predicted: Tensor, labels: Tensor) -> float:
    """How many labels are right."""
    return (predicted == labels).float().mean().item()
