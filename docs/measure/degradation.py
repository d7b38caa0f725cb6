"""Plain and residual nets of 20 and 56 layers on real digits, three seeds.

Writes its block of docs/figures.md.

`python docs/measure/degradation.py`; `--dry` leaves the page as it is. The nets and settings are
those of unit 04_resnet's training cell in the cpu budget: widths 8, 16, 32 on scikit-learn's 8x8
digits, 150 steps.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable

import torch
from figures import machine, table, write_block

from cvcourse.data import digits
from cvcourse.models import ResNet, initialise
from cvcourse.training import accuracy, fit, sgd, warmup_cosine

BLOCK, COMMAND = "degradation", "python docs/measure/degradation.py"
SEEDS, STEPS, WIDTHS = (0, 1, 2), 150, (8, 16, 32)
LAST, LONG = 15, 600
"""Steps at the end whose mean loss is reported, since one batch's loss is noisy; steps of the long
run."""


def main() -> None:
    """Train all nets and write what they ended at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="leave docs/figures.md as it is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row("plain 20", 20, skip=False),
        row("plain 56", 56, skip=False),
        row("residual 20", 20, skip=True),
        row("residual 56", 56, skip=True),
        row("residual 56, last gammas zero", 56, skip=True, zero_last_gamma=True),
        row(f"plain 56, {LONG} steps", 56, skip=False, steps=LONG),
    ]
    text = block(rows)
    print(text)
    if not arguments.dry:
        write_block(BLOCK, text)


def row(name: str, depth: int, **settings: bool | int) -> tuple[str, ...]:
    """One kind of net with all seeds: name, losses, accuracies, processor seconds."""
    found = [trained(depth, seed, **settings) for seed in SEEDS]
    losses, on_training, on_test, seconds = zip(*found, strict=True)
    return name, said(losses), said(on_training), said(on_test), f"{statistics.mean(seconds):.1f} s"


def trained(
    depth: int, seed: int, skip: bool, zero_last_gamma: bool = False, steps: int = STEPS
) -> tuple[float, float, float, float]:
    """What one net ends at.

    Returns the loss of the last steps, accuracy on training and on test images, and processor
    seconds.
    """
    images, labels, test_images, test_labels = digits()
    torch.manual_seed(seed)
    net = initialise(
        ResNet(((depth - 2) // 6,) * 3, WIDTHS, in_channels=1, skip=skip), zero_last_gamma
    )
    start = time.process_time()
    run = fit(
        net,
        (images, labels),
        steps=steps,
        batch_size=64,
        optimizer=sgd(0.1, weight_decay=1e-4),
        schedule=warmup_cosine(),
        seed=seed,
        quiet=True,
    )
    seconds = time.process_time() - start
    on_training, on_test = accuracy(net, images, labels), accuracy(net, test_images, test_labels)
    return statistics.mean(run.losses[-LAST:]), on_training, on_test, seconds


def said(values: Iterable[float]) -> str:
    """ "0.093 / 0.101 / 0.071": one number a seed."""
    return " / ".join(f"{value:.3f}" for value in values)


def block(rows: list[tuple[str, ...]]) -> str:
    """The figures as Markdown."""
    names = (
        "net",
        f"loss, mean of the last {LAST} steps",
        "training accuracy",
        "test accuracy",
        "CPU time of one",
    )
    return (
        f"## Degradation\n\n`{COMMAND}` on {time.strftime('%Y-%m-%d')}: {machine()}, one thread."
        f" Seeds {', '.join(map(str, SEEDS))}; {STEPS} steps of 64 digits, SGD 0.9, rate 0.1,"
        " warm-up and cosine.\n\n" + table(names, rows)
    )


if __name__ == "__main__":
    main()
