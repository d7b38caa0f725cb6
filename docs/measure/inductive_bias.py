"""What unit 07's training cells show, on three seeds: `python docs/measure/inductive_bias.py`.

Digits at four training-set sizes with a CNN, a hybrid and a ViT; the same three on creatures; the
ViT for digits on larger images; the creature's share of the attention rollout. Networks and recipe
are the lesson's own. Writes its block of docs/figures.md; `--dry` leaves the page as it is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from figures import table, write_block
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from autograder.authoring.lesson import read_lesson  # noqa: E402
from cvcourse import data  # noqa: E402
from cvcourse.training import accuracy  # noqa: E402
from cvcourse.training.reference import environment_of  # noqa: E402

BLOCK, COMMAND = "inductive-bias", "python docs/measure/inductive_bias.py"
SEEDS = (0, 1, 2)
DIGITS = {"steps": 300, "batch_size": 50}
SIZES = (50, 150, 450, 1297)
CREATURES = {"steps": 500, "batch_size": 64}
CREATURE_IMAGES, STAGES = 12000, (100, 200, 500)

Found = dict[Any, list[float]]


def main() -> None:
    """Train, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="leave docs/figures.md as it is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lesson = read_lesson(ROOT / "solutions" / "07_vit").namespace()
    began = time.process_time()
    digits, resized = on_digits(lesson)
    middle = time.process_time()
    creatures, looked = on_creatures(lesson)
    seconds = (middle - began) / len(SEEDS), (time.process_time() - middle) / len(SEEDS)
    text = block(digits, resized, creatures, looked, seconds)
    print(text)
    if not arguments.dry:
        write_block(BLOCK, text)


def on_digits(lesson: dict[str, Any]) -> tuple[Found, Found]:
    """Test accuracies of (network, size), one a seed.

    With them come those of the ViT for all digits on images of another size.
    """
    images, labels, test_images, test_labels = data.digits()
    found: Found = {}
    resized: Found = {}
    for seed in SEEDS:
        for name, make in lesson["digit_networks"](lesson["VisionTransformer"]).items():
            for size in SIZES:
                network = trained(lesson, make, images[:size], labels[:size], seed, **DIGITS)
                found.setdefault((name, size), []).append(
                    accuracy(network, test_images, test_labels)
                )
        for way, share in at_another_size(
            lesson, network, test_images, test_labels
        ).items():  # the last: ViT, all
            resized.setdefault(way, []).append(share)
    return found, resized


def at_another_size(
    lesson: dict[str, Any], vit: torch.nn.Module, images: Tensor, labels: Tensor
) -> dict[str, float]:
    """Accuracy on digits enlarged from 8 x 8 to 12 x 12.

    By how the table of positions was made larger.
    """
    positions = vit.pos_embed.detach()
    line = torch.nn.functional.interpolate(
        positions[:, 1:].transpose(1, 2), 36, mode="linear"
    ).transpose(1, 2)
    alike = positions[:, 1:].mean(dim=1, keepdim=True).expand(1, 36, -1)
    large = torch.nn.functional.interpolate(images, (12, 12), mode="bilinear")
    found = {"8 x 8, as trained": accuracy(vit, images, labels)}
    for name, grown in (
        (
            "12 x 12, resized as a grid",
            lesson["interpolate_position_embedding"](positions, (4, 4), (6, 6)),
        ),
        ("12 x 12, resized as a line", torch.cat([positions[:, :1], line], dim=1)),
        ("12 x 12, all places alike", torch.cat([positions[:, :1], alike], dim=1)),
    ):
        network = lesson["VisionTransformer"](
            12, 2, in_channels=1, embed_dim=48, depth=3, num_heads=3, mlp_ratio=2
        )
        network.load_state_dict({**vit.state_dict(), "pos_embed": grown})
        found[name] = accuracy(network.eval(), large, labels)
    return found


def on_creatures(lesson: dict[str, Any]) -> tuple[Found, Found]:
    """Test accuracies of (network, steps done), one a seed.

    With them comes the creature's share of the rollout.
    """
    creatures, others, some = (
        data.creatures(CREATURE_IMAGES, seed=0),
        data.creatures(1000, seed=1),
        data.creatures(500, seed=2),
    )
    found: Found = {}
    looked: Found = {}

    def measure(network: torch.nn.Module) -> dict[str, float]:
        return {"accuracy": accuracy(network, others.images - 0.5, others.labels)}

    for seed in SEEDS:
        for name, make in lesson["creature_networks"](lesson["VisionTransformer"]).items():
            ways = {"evaluate": measure, "evaluate_every": 50}
            network = trained(
                lesson, make, creatures.images - 0.5, creatures.labels, seed, **CREATURES, **ways
            )
            for steps, numbers in network.evaluations:
                found.setdefault((name, steps), []).append(numbers["accuracy"])
        torch.manual_seed(seed)
        untrained = make().eval()
        share, area = mass_on_creature(lesson, network, some)  # the last: ViT
        looked.setdefault("creature's share of the picture", []).append(area)
        looked.setdefault("creature's share of the rollout, untrained", []).append(
            mass_on_creature(lesson, untrained, some)[0]
        )
        looked.setdefault("creature's share of the rollout, trained", []).append(share)
        near, far = likeness_of_places(network)
        looked.setdefault("likeness of learned places, side by side", []).append(near)
        looked.setdefault("likeness of learned places, more than 3 apart", []).append(far)
    return found, looked


def mass_on_creature(
    lesson: dict[str, Any], vit: torch.nn.Module, scenes: Any
) -> tuple[float, float]:
    """The creature's share of the class token's rollout over the patches, and of the picture."""
    with torch.no_grad():
        weights = vit(scenes.images - 0.5, return_attention=True)[1]
    row = lesson["attention_rollout"](weights)[:, 0, 1:]
    covered = torch.nn.functional.avg_pool2d(
        (scenes.instance_masks[:, None] > 0).float(), 4
    ).flatten(1)
    return (row * covered).sum().item() / row.sum().item(), covered.mean().item()


def likeness_of_places(vit: torch.nn.Module) -> tuple[float, float]:
    """Mean cosine of the learned positions of neighbours, and of places more than 3 apart.

    They lie in an 8 x 8 grid.
    """
    table = torch.nn.functional.normalize(vit.pos_embed[0, 1:].detach(), dim=1)
    likeness, axis = table @ table.T, torch.arange(8.0)
    distance = torch.cdist(*[torch.cartesian_prod(axis, axis)] * 2)
    return likeness[distance == 1].mean().item(), likeness[distance > 3].mean().item()


def trained(
    lesson: dict[str, Any], make: Any, images: Tensor, labels: Tensor, seed: int, **settings: Any
) -> torch.nn.Module:
    """A network trained with the lesson's recipe.

    The evaluations made on the way are its attribute.
    """
    torch.manual_seed(seed)
    network = make()
    run = lesson["train"](network, images, labels, seed=seed, quiet=True, **settings)
    network.evaluations = run.evaluations
    return network


def said(values: Iterable[float]) -> str:
    """ "0.77 (0.75 to 0.79)": the mean, the smallest and the largest."""
    values = list(values)
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def block(
    digits: Found, resized: Found, creatures: Found, looked: Found, seconds: tuple[float, float]
) -> str:
    """The figures as Markdown."""
    made = environment_of()
    names = list(dict.fromkeys(name for name, _ in digits))
    rows = [(name, *(said(digits[name, size]) for size in SIZES)) for name in names]
    leads = [
        [cnn - vit for cnn, vit in zip(digits["CNN", size], digits["ViT", size], strict=True)]
        for size in SIZES
    ]
    rows.append(("lead of the CNN over the ViT", *map(said, leads)))
    stages = [(name, *(said(creatures[name, steps]) for steps in STAGES)) for name in names]
    return "\n\n".join(
        [
            (
                f"## Inductive bias (unit 07)\n\n`{COMMAND}` on {made['date']}: {made['hardware']},"
                f" torch {made['versions']['torch']}. Mean (smallest to largest) of seeds"
                f" {', '.join(map(str, SEEDS))}; CPU seconds a seed: digits {seconds[0]:.0f},"
                f" creatures {seconds[1]:.0f}."
            ),
            (
                f"Digits, test accuracy after {DIGITS['steps']} steps of {DIGITS['batch_size']}, by"
                " training images:"
            ),
            table(("network", *map(str, SIZES)), rows),
            (
                f"Creatures, test accuracy by steps of {CREATURES['batch_size']},"
                f" {CREATURE_IMAGES:,} training images:"
            ),
            table(("network", *(f"{steps} steps" for steps in STAGES)), stages),
            "The ViT for all digits, without further training, on larger images:",
            table(
                ("images and positions", "test accuracy"),
                [(name, said(values)) for name, values in resized.items()],
            ),
            (
                "What the ViT for creatures learned; the rollout is that of its class token, a mean"
                " over 500 images:"
            ),
            table(("what", "value"), [(name, said(v)) for name, v in looked.items()]),
        ]
    )


if __name__ == "__main__":
    main()
