"""Measure training support on this machine, and write its block of docs/figures.md.

`python docs/measure/training.py`.

Batched augmentation against a per-image pipeline of Pillow and a DataLoader, with the same
augmentations; training steps of a ResNet in bfloat16 and channels-last against plain float32; on a
GPU, images per second and the share of the card's measured bf16 matrix rate. All in one run on one
machine: run nothing else beside it. `--json FILE` keeps the figures, `--dry` leaves the page as it
is. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from figures import table, write_block
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cvcourse.training import (
    Compose,
    Cutout,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    autocast,
    best_device,
    has_fast_bfloat16,
)
from cvcourse.training.reference import environment_of

BLOCK, COMMAND = "training", "python docs/measure/training.py"
AUGMENTATION_BAR, PRECISION_BAR = 5.0, 1.5
PADDING, STRENGTH, SQUARE = 4, 0.2, 8
BATCH, ROUNDS = 128, 5
CPU_WIDTHS, GPU_WIDTHS = (32, 64, 128), (64, 128, 256, 512)


def main() -> None:
    """Measure, write, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--dry", action="store_true", help="leave docs/figures.md as it is")
    parser.add_argument("--images", type=int, default=8192, help="images a round of augmentation")
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    arguments = parser.parse_args()
    figures = {
        "environment": environment_of() | {"command": COMMAND},
        "augmentation": measure_augmentation(arguments.images),
        "precision": measure_precision(arguments.steps),
        "gpu": measure_gpu(arguments.steps) if best_device() == "cuda" else None,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = block(figures)
    print(text)
    if not arguments.dry:
        write_block(BLOCK, text)
    missed = missed_bars(figures)
    for sentence in missed:
        print(f"Missed: {sentence}", file=sys.stderr)
    sys.exit(1 if missed else 0)


# Augmentation


class PerImage(Dataset):
    """What most tutorials do: one Pillow image at a time.

    It is augmented as `batched` augments a batch.
    """

    def __init__(self, images: Tensor):
        self.images = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index]
        width, height = image.size
        row, column = torch.randint(0, 2 * PADDING + 1, (2,)).tolist()
        image = ImageOps.expand(image, PADDING).crop((column, row, column + width, row + height))
        if torch.rand(()) < 0.5:
            image = ImageOps.mirror(image)
        image = ImageEnhance.Brightness(image).enhance(factor())
        image = ImageEnhance.Contrast(image).enhance(factor())
        row, column = torch.randint(0, height, ()).item(), torch.randint(0, width, ()).item()
        top, left = row - SQUARE // 2, column - SQUARE // 2
        ImageDraw.Draw(image).rectangle(
            (left, top, left + SQUARE - 1, top + SQUARE - 1), fill=(0, 0, 0)
        )
        values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(
            height, width, 3
        )
        return values.permute(2, 0, 1).float() / 255


def factor() -> float:
    """A factor in [1 - STRENGTH, 1 + STRENGTH)."""
    return 1 + STRENGTH * (2 * torch.rand(()).item() - 1)


def batched() -> Compose:
    """The same augmentations of whole batches."""
    return Compose(
        RandomCrop(PADDING),
        RandomFlip(),
        RandomBrightness(STRENGTH),
        RandomContrast(STRENGTH),
        Cutout(SQUARE),
    )


def measure_augmentation(count: int) -> dict[str, Any]:
    """Images per second of both, from stored bytes to a float batch.

    Both take turns; the first round warms up.

    Each is measured with several numbers of threads or workers, and the ratio is that of the best
    ones.
    """
    images = torch.randint(
        0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    augment, generator = batched(), torch.Generator().manual_seed(0)
    cores = os.cpu_count() or 1

    def tensors(threads: int) -> None:
        torch.set_num_threads(threads)
        for start in range(0, count, BATCH):
            augment(images[start : start + BATCH], generator).float().div_(255)

    data = PerImage(images)
    ways: dict[str, Callable[[], Any]] = {
        f"batched, {n} threads": partial(tensors, n) for n in sorted({1, cores})
    }
    for workers in sorted({0, 2, cores}):
        loader = DataLoader(
            data, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        ways[f"per image, {workers} workers"] = partial(deque, loader, maxlen=0)
    medians = median_rates(count, ways)
    ratio_of_best = best(medians, "batched") / best(medians, "per image")
    return {"images_per_second": medians, "ratio": ratio_of_best, "bar": AUGMENTATION_BAR}


# Precision


class Block(nn.Module):
    """Two convolutions and the identity, with a projection where the shape changes.

    (He et al. 2015.)
    """

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.shortcut: nn.Module = nn.Identity()
        if channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, H, W) -> (batch, width, H / stride, W / stride)."""
        return (self.shortcut(x) + self.second(self.first(x).relu())).relu()


def resnet(widths: tuple[int, ...], blocks: int) -> nn.Module:
    """A ResNet for 32x32 images: a 3x3 stem, and `blocks` blocks of each width."""
    parts: list[nn.Module] = [
        nn.Conv2d(3, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    channels = widths[0]
    for stage, width in enumerate(widths):
        for place in range(blocks):
            parts.append(Block(channels, width, 2 if stage and not place else 1))
            channels = width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def stepper(
    device: str, precision: str, channels_last: bool, widths: tuple[int, ...], blocks: int
) -> Callable:
    """A function that does one training step."""
    torch.manual_seed(0)
    model = resnet(widths, blocks).to(device)
    images, labels = (
        torch.rand(BATCH, 3, 32, 32, device=device),
        torch.arange(BATCH, device=device) % 10,
    )
    if channels_last:
        model, images = (thing.to(memory_format=torch.channels_last) for thing in (model, images))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        with autocast(device, precision):
            logits = model(images)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure_precision(steps: int) -> dict[str, Any]:
    """Images per second of training on the processor, in turns; the first round warms up.

    Each is measured with one thread and with all, and the ratio is that of the best ones.
    """
    if not has_fast_bfloat16("cpu"):
        return {"images_per_second": None, "ratio": None, "bar": PRECISION_BAR}
    plain = stepper("cpu", "float32", False, CPU_WIDTHS, 1)
    fast = stepper("cpu", "bfloat16", True, CPU_WIDTHS, 1)

    def train(step: Callable[[], None], threads: int) -> None:
        torch.set_num_threads(threads)
        for _ in range(steps):
            step()

    ways = {
        f"{name}, {threads} threads": partial(train, step, threads)
        for name, step in (("float32", plain), ("bfloat16 and channels-last", fast))
        for threads in sorted({1, os.cpu_count() or 1})
    }
    medians = median_rates(steps * BATCH, ways)
    return {
        "images_per_second": medians,
        "ratio": best(medians, "bfloat16") / best(medians, "float32"),
        "bar": PRECISION_BAR,
    }


# GPU


def measure_gpu(steps: int) -> dict[str, Any]:
    """Training images per second on the GPU, and their share of its measured bf16 matrix rate."""
    from torch.utils.flop_counter import FlopCounterMode

    step = stepper("cuda", "bfloat16", True, GPU_WIDTHS, 2)
    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops() / BATCH
    many = 20 * steps
    rate = many * BATCH / min(seconds(lambda: [step() for _ in range(many)]) for _ in range(ROUNDS))
    matrix_rate = measure_matrix_rate()
    return {
        "card": torch.cuda.get_device_name(),
        "images_per_second": rate,
        "operations_per_image": operations,
        "matrix_rate": matrix_rate,
        "share": rate * operations / matrix_rate,
    }


def measure_matrix_rate(side: int = 8192, times: int = 20) -> float:
    """Operations per second of square bf16 matrix products."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    fastest = min(seconds(lambda: [a @ b for _ in range(times)]) for _ in range(ROUNDS))
    return times * 2 * side**3 / fastest


def median_rates(count: int, ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """{name: images per second} of each way to do `count` images.

    The ways take turns, after a round that warms up.
    """
    before = torch.get_num_threads()
    rounds = [{name: count / seconds(way) for name, way in ways.items()} for _ in range(1 + ROUNDS)]
    torch.set_num_threads(before)
    return {name: statistics.median(rates[name] for rates in rounds[1:]) for name in ways}


def best(rates: dict[str, float], kind: str) -> float:
    """The highest rate of those whose names begin with `kind`."""
    return max(rate for name, rate in rates.items() if name.startswith(kind))


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of `work`; on a GPU until it is really done."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# Report


def missed_bars(figures: dict[str, Any]) -> list[str]:
    """A sentence for each bar that was missed."""
    found = {name: figures[name] for name in ("augmentation", "precision")}
    return [
        f"{name} {part['ratio']:.2f}x, bar {part['bar']:g}x."
        for name, part in found.items()
        if part["ratio"] is not None and part["ratio"] < part["bar"]
    ]


def block(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    made, augmentation, precision = (
        figures["environment"],
        figures["augmentation"],
        figures["precision"],
    )
    rows = [
        (f"augmentation, {name}", f"{rate:,.0f}", "")
        for name, rate in augmentation["images_per_second"].items()
    ]
    rows.append(("the best batched against the best per image", "", ratio(augmentation)))
    if precision["ratio"] is not None:
        rows += [
            (f"training, {name}", f"{rate:,.0f}", "")
            for name, rate in precision["images_per_second"].items()
        ]
        rows.append(("bfloat16 and channels-last against float32", "", ratio(precision)))
    lines = [
        (
            f"## Training\n\n`{COMMAND}` on {made['date']}: {made['hardware']}, torch"
            f" {made['versions']['torch']}."
        ),
        table(("what", "images per second", "ratio"), rows),
    ]
    if precision["ratio"] is None:
        lines.append("This processor has no fast bfloat16, so its bar does not apply here.")
    lines.append(gpu_line(figures["gpu"]))
    return "\n\n".join(lines)


def ratio(part: dict[str, Any]) -> str:
    """ "6.1x (bar 5x)"."""
    return f"{part['ratio']:.1f}x (bar {part['bar']:g}x)"


def gpu_line(gpu: dict[str, Any] | None) -> str:
    """What the GPU did."""
    if gpu is None:
        return "No GPU was at hand."
    return (
        f"{gpu['card']}: {gpu['images_per_second']:,.0f} images per second of ResNet training in"
        f" bfloat16, {gpu['share']:.0%} of the measured bf16 matrix rate of"
        f" {gpu['matrix_rate'] / 1e12:.0f} TFLOP/s."
    )


if __name__ == "__main__":
    main()
