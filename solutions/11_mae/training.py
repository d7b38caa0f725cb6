"""A masked autoencoder on CIFAR-10, or on digits, outside the notebook: pre-training, fine-tuning,
and from scratch.

The gpu budget is a ViT-Ti with patches of 2 x 2 pixels, 75 % of them hidden. Published for this
network (repository IcarusWizard/MAE): 89.77 % after 2000 epochs of pre-training and 100 of
fine-tuning, 74.13 % from scratch. Pre-training is cut to 400 epochs here; what that gives is for a
reference run to say. Fine-tuning and scratch have the same epochs, batches, changes of the pictures
and label smoothing. The cpu budget is that of the notebook, on digits.

`error` is the mean square on hidden patches of the test images in the units of the training target:
of normalised patches on CIFAR-10, where (n - 1) / n is that of knowing nothing. `accuracy` is that
after fine-tuning, `scratch` that without pre-training, both on the test images, which choose
nothing. `seconds` are those of pre-training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from cvcourse import data as sets
from cvcourse import models
from cvcourse.training import (
    Compose,
    Normalize,
    RandomCrop,
    RandomFlip,
    accuracy,
    adamw,
    autocast,
    fit,
    warmup_cosine,
)

DATA = ("digits", "cifar10")
# Of CIFAR-10, 97 batches of 512 images are an epoch.
BUDGETS = {
    "smoke": {"embed_dim": 16, "depth": 1, "num_heads": 2, "decoder_depth": 1}
    | {"steps": 4, "tune_steps": 4, "batch_size": 16},
    "cpu": {"embed_dim": 64, "depth": 4, "num_heads": 4, "decoder_depth": 2}
    | {"steps": 1200, "tune_steps": 300, "batch_size": 64},
    "gpu": {"embed_dim": 192, "depth": 12, "num_heads": 3, "decoder_depth": 4}
    | {"steps": 400 * 97, "tune_steps": 100 * 97, "batch_size": 512},
}
SETTINGS = {
    "digits": {
        "mask_ratio": 0.5,
        "base": 10.0,
        "decoder_dim": 48,
        "decoder_heads": 4,
        "normalised": False,
    }
    | {
        "learning_rate": 3e-3,
        "tune_rate": 2e-3,
        "decay": 1.0,
        "smoothing": 0.0,
        "precision": "float32",
    },
    "cifar10": {
        "mask_ratio": 0.75,
        "base": 100.0,
        "decoder_dim": 192,
        "decoder_heads": 3,
        "normalised": True,
    }
    | {
        "learning_rate": 1.2e-3,
        "tune_rate": 1e-3,
        "decay": 0.75,
        "smoothing": 0.1,
        "precision": "auto",
    },
}
LABELS = {"digits": 400, "cifar10": 50_000}  # that fine-tuning and scratch may see


class Pretraining(nn.Module):
    """Images -> what is painted (N, L, patch_dim), and mask (N, L), by the lesson's functions."""

    def __init__(self, exercises, encoder: nn.Module, decoder: nn.Module, mask_ratio: float):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.exercises, self.mask_ratio = exercises, mask_ratio

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        patches = models.patchify(images, self.encoder.patch_size)
        noise = torch.rand(patches.shape[:2], device=images.device)
        ids_keep, ids_restore, mask = self.exercises.random_masking(noise, self.mask_ratio)
        latent = self.exercises.encode_visible(self.encoder, patches, ids_keep)
        return self.exercises.decode(self.decoder, latent, ids_restore), mask


class Classifier(nn.Module):
    """The encoder on whole images, and a linear layer on the mean of its patch tokens: (N, C, H, W)
    -> logits."""

    def __init__(self, encoder: nn.Module, num_classes: int = 10):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.norm.normalized_shape[0], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


def train(exercises, budget, data, seed):
    """Pre-train on `data` ("digits" or "cifar10") as the budget says, fine-tune, and train the same
    from scratch."""
    images, labels, test_images, test_labels = (
        part.to(budget.device) for part in getattr(sets, data)()
    )
    settings, normalize = SETTINGS[data], Normalize.measured_on(images)
    augment = augmentation(data, normalize)
    test_images = normalize.apply(test_images)
    mae = make_mae(exercises, budget, settings, test_images.shape[1:]).to(budget.device)
    untouched = copy.deepcopy(mae.encoder)

    run = pretrain(exercises, mae, images, budget, settings, augment, seed)
    numbers = {"error": error_of(exercises, mae, test_images, settings, seed)}
    count = LABELS[data]
    for name, encoder, decay in (
        ("accuracy", copy.deepcopy(mae.encoder), settings["decay"]),
        ("scratch", untouched, 1.0),
    ):
        model = Classifier(encoder).to(budget.device)
        fine_tune(
            exercises,
            model,
            (images[:count], labels[:count]),
            budget,
            settings | {"decay": decay},
            augment,
            seed,
        )
        numbers[name] = share(model, test_images, test_labels)
    numbers["images_per_second"] = round(run.done * budget.batch_size / run.seconds)
    numbers["parameters"] = sum(parameter.numel() for parameter in mae.encoder.parameters())
    results = run.results(**numbers)
    results.model = mae.encoder  # as pre-training left it; the decoder is thrown away
    results.configuration |= {**budget.settings, **settings, "patch_size": 2, "labels": count}
    results.configuration |= {"augment": repr(augment), "schedule": "warmup_cosine"}
    return results


def make_mae(exercises, budget, settings: dict, shape: tuple[int, int, int]) -> Pretraining:
    """Encoder and decoder for images of (channels, height, width), in patches of 2 x 2 pixels."""
    channels, *size = shape
    encoder = models.MAEEncoder(
        tuple(size), 2, channels, budget.embed_dim, budget.depth, budget.num_heads, settings["base"]
    )
    width, heads = settings["decoder_dim"], settings["decoder_heads"]
    decoder = models.MAEDecoder(
        encoder.grid,
        4 * channels,
        budget.embed_dim,
        width,
        budget.decoder_depth,
        heads,
        settings["base"],
    )
    return Pretraining(exercises, encoder, decoder, settings["mask_ratio"])


def pretrain(
    exercises,
    mae: Pretraining,
    images: Tensor,
    budget,
    settings: dict,
    augment: Callable,
    seed: int,
):
    """Without labels: the target of each image is the image itself, as augmentation left it."""
    return fit(
        mae,
        (images, torch.zeros(len(images), device=images.device)),
        steps=budget.steps,
        batch_size=budget.batch_size,
        optimizer=adamw(settings["learning_rate"], weight_decay=0.05, betas=(0.9, 0.95)),
        schedule=warmup_cosine(warmup=0.1),
        loss=lambda output, images: loss_of(exercises, output, images, settings),
        augment=augment,
        mix=images_as_targets,
        seed=seed,
        precision=settings["precision"],
        clip=1.0,
        title="pre-training",
    )


def images_as_targets(
    images: Tensor, targets: Tensor, generator: Generator
) -> tuple[Tensor, Tensor]:
    """What is painted is compared with the changed images, not with those of the data set."""
    return images, images


def loss_of(exercises, output: tuple[Tensor, Tensor], images: Tensor, settings: dict) -> Tensor:
    """The loss on hidden patches, of pixels or of normalised patches, in float32."""
    painted, mask = output
    target = models.patchify(images.float(), 2)
    target = exercises.normalize_patches(target) if settings["normalised"] else target
    return exercises.mae_loss(painted.float(), target, mask.float())


@torch.no_grad()
def error_of(exercises, mae: Pretraining, images: Tensor, settings: dict, seed: int) -> float:
    """The loss on images that were not trained on, over at most two thousand."""
    torch.manual_seed(seed)
    with autocast(images.device):
        losses = [
            (len(batch), loss_of(exercises, mae(batch), batch, settings).item())
            for batch in images[:2000].split(500)
        ]
    return sum(count * loss for count, loss in losses) / sum(count for count, _ in losses)


def fine_tune(
    exercises, model: Classifier, labelled, budget, settings: dict, augment: Callable, seed: int
) -> None:
    """With labels, all layers, each with a rate of its own."""
    parameters = dict(model.named_parameters())
    rates = exercises.layerwise_learning_rates(
        list(parameters), len(model.encoder.blocks), settings["tune_rate"], settings["decay"]
    )
    groups = [{"params": [parameter], "lr": rates[name]} for name, parameter in parameters.items()]
    fit(
        model,
        labelled,
        steps=budget.tune_steps,
        batch_size=budget.batch_size,
        optimizer=lambda _: torch.optim.AdamW(
            groups, lr=settings["tune_rate"], weight_decay=0.05, betas=(0.9, 0.999)
        ),
        schedule=warmup_cosine(warmup=0.1),
        loss=partial(cross_entropy, label_smoothing=settings["smoothing"]),
        augment=augment,
        seed=seed,
        precision=settings["precision"],
        clip=1.0,
        title="fine-tuning",
    )


def augmentation(data: str, normalize: Normalize) -> Compose:
    """Changes that keep the class; digits are too small for any."""
    return (
        Compose(normalize) if data == "digits" else Compose(RandomCrop(4), RandomFlip(), normalize)
    )


@torch.no_grad()
def share(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images (N, channels, H, W) that are classified right, in the precision of
    training."""
    with autocast(images.device):
        return accuracy(model, images, labels)
