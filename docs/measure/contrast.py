"""Contrastive learning on creatures, three seeds an arm.

Writes solutions/08_simclr/recorded.json and docs/figures.md.

`python docs/measure/contrast.py` takes an hour on one core that has no bfloat16. `--resume FILE`
notes each finished arm in a file, and a run that was stopped goes on with those that are not in it.
`--only NAME` runs one arm and keeps the others as they were recorded; `--dry` leaves both files as
they are; `--steps N` shortens every arm. Functions and settings are those of unit 08_simclr's
lesson in the cpu budget, on the same 8192 training and 2000 test pictures. Settings were chosen on
another thousand (seed 1). The test pictures (seed 2) chose nothing but the steps of fine-tuning:
300 lost to 600 from scratch on one seed at 1 %, so both have 600.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from figures import ROOT, machine, table, write_block
from torch import Tensor, nn

from autograder.authoring.lesson import read_lesson
from autograder.units import SOLUTIONS
from cvcourse import measures
from cvcourse.training import adamw, fit, warmup_cosine

BLOCK, COMMAND = "contrast", "python docs/measure/contrast.py"
FILE = ROOT / SOLUTIONS / "08_simclr" / "recorded.json"
SEEDS = (0, 1, 2)
STEPS, SHORT, BATCH, TEMPERATURE = 2400, 600, 64, 0.3
COLUMNS = {
    "knn": "k-NN",
    "probe 1 %": "probe, 1 % of the labels",
    "probe 5 %": "probe, 5 % of the labels",
    "pairs": "pairs found",
    "knn of z": "k-NN of z",
    "seconds": "CPU s",
}


@dataclass(frozen=True)
class ContrastArm:
    """One way to train without labels."""

    steps: int = SHORT
    batch: int = BATCH
    temperature: float = TEMPERATURE
    crop: bool = True
    colour: bool = True
    head: bool = True
    group: str = ""


NO_HEAD = "SimCLR, no head"
ARMS = {
    "SimCLR": ContrastArm(steps=STEPS),
    "cut and dyed": ContrastArm(),
    "cut only": ContrastArm(colour=False),
    "dyed only": ContrastArm(crop=False),
    "temperature 0.05": ContrastArm(temperature=0.05, group="settings"),
    "temperature 1": ContrastArm(temperature=1.0, group="settings"),
    "batches of 16": ContrastArm(batch=16, steps=4 * SHORT, group="settings"),
    "batches of 256": ContrastArm(batch=256, steps=SHORT // 4, group="settings"),
    "no head": ContrastArm(head=False, group="settings"),
    NO_HEAD: ContrastArm(steps=STEPS, head=False),
}
AGAIN = "temperature 0.3, batches of 64, with a head"
"""What "cut and dyed" is called among the settings."""

TUNED = "fine-tuned"
"""The encoder of "SimCLR", trained further on few labels."""

COUNTS = {"probe 1 %": 8192 // 100, "probe 5 %": 8192 // 20}
"""How many labels are known."""

unit = SimpleNamespace(**read_lesson(ROOT / SOLUTIONS / "08_simclr").namespace())


def main() -> None:
    """Run all arms and write what they ended at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="leave the files as they are")
    parser.add_argument("--only", metavar="NAME", help="one arm")
    parser.add_argument("--steps", type=int, help="steps of every arm")
    parser.add_argument(
        "--resume", metavar="FILE", type=Path, help="where finished arms are noted, one a line"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [arguments.only] if arguments.only else ["pixels", "untrained", "supervised", *ARMS]
    rows = json.loads(FILE.read_text())["rows"] if arguments.only and FILE.exists() else {}
    done = noted(arguments.resume, arguments.steps)
    for name in names:
        rows[name] = done[name] if name in done else row(name, arguments.steps)
        print(name, rows[name], flush=True)
        if arguments.resume and name not in done:
            with arguments.resume.open("a") as file:
                print(json.dumps([arguments.steps, name, rows[name]]), file=file)
    if "SimCLR" in names:
        rows[TUNED] = {name: rows["SimCLR"].pop(f"tuned, {name}") for name in COUNTS}
    if "cut and dyed" in rows:
        rows[AGAIN] = rows["cut and dyed"] | {"group": "settings"}
    if not arguments.dry:
        FILE.write_text(
            json.dumps({"about": about(), "seeds": SEEDS, "rows": ordered(rows)}, indent=1) + "\n"
        )
        write_block(BLOCK, block(rows))


def noted(file: Path | None, steps: int | None) -> dict[str, dict]:
    """The arms that a stopped run of as many steps has finished, by name."""
    lines = file.read_text().splitlines() if file and file.exists() else []
    return {name: found for count, name, found in map(json.loads, lines) if count == steps}


def row(name: str, steps: int | None) -> dict[str, list[float] | str]:
    """One arm with all seeds: column -> one number a seed."""
    found: dict[str, list[float]] = {}
    for seed in SEEDS[:1] if name == "pixels" else SEEDS:  # pixels have no seed
        start = time.process_time()
        for column, value in one(name, seed, steps).items():
            found.setdefault(column, []).append(round(value, 4))
        found.setdefault("seconds", []).append(round(time.process_time() - start, 1))
    if name in ARMS and ARMS[name].group:
        return found | {"group": ARMS[name].group}
    return found


def one(name: str, seed: int, steps: int | None) -> dict[str, float]:
    """One arm with one seed."""
    train, test = sets()
    torch.manual_seed(seed)
    if name == "pixels":
        mean = train.images.mean(dim=0)
        return usefulness((train.images - mean).flatten(1), (test.images - mean).flatten(1))
    if name == "supervised":
        return {column: supervised(count, seed, steps or SHORT) for column, count in COUNTS.items()}
    encoder, augment = unit.make_encoder(), unit.augmentation()
    model, found = nn.Sequential(encoder, unit.ProjectionHead(64, 128, 64)), {}
    if name in ARMS:
        arm = ARMS[name]
        augment = unit.augmentation(crop=arm.crop, colour=arm.colour)
        model = model if arm.head else nn.Sequential(encoder)
        start = time.process_time()
        contrastive(model, augment, arm, seed, steps or arm.steps)
        found["seconds of training"] = time.process_time() - start
    h = [measures.features(encoder, each.images) for each in (train, test)]
    z = [measures.features(model[1:], each) for each in h]
    views = unit.two_views(augment)(test.images[:256], torch.Generator().manual_seed(seed))
    found["pairs"] = unit.contrastive_accuracy(*measures.features(model, views).chunk(2))
    if name == "SimCLR":
        for column, count in COUNTS.items():
            found[f"tuned, {column}"] = supervised(count, seed, steps or SHORT, encoder)
    return usefulness(*h) | found | {"knn of z": share(unit.knn_classify(z[0], train.labels, z[1]))}


def sets(cached: list = []) -> list:  # noqa: B006
    """The training and the test pictures."""
    if not cached:
        cached += [unit.creatures(8192, seed=0), unit.creatures(2000, seed=2)]
    return cached


def share(predicted: Tensor) -> float:
    """Of the test pictures, how many are right."""
    return (predicted == sets()[1].labels).float().mean().item()


def usefulness(bank: Tensor, asked: Tensor) -> dict[str, float]:
    """Neighbours with all labels, probes with the first 1 % and 5 % of them."""
    labels = sets()[0].labels
    found = {"knn": share(unit.knn_classify(bank, labels, asked))}
    for column, count in COUNTS.items():
        found[column] = share(measures.linear_probe(bank[:count], labels[:count], asked))
    return found


def contrastive(
    model: nn.Module, augment: Callable, arm: ContrastArm, seed: int, steps: int
) -> None:
    """Train without labels, as the lesson does."""
    train, _ = sets()
    fit(
        model,
        (train.images, train.labels),
        steps=steps,
        batch_size=arm.batch,
        optimizer=adamw(2e-3 * (arm.batch / BATCH) ** 0.5),
        schedule=warmup_cosine(),
        loss=lambda z, labels: unit.nt_xent(*z.chunk(2), arm.temperature),
        augment=unit.two_views(augment),
        seed=seed,
        precision="auto",
        channels_last=True,
        quiet=True,
    )


def supervised(count: int, seed: int, steps: int, encoder: nn.Module | None = None) -> float:
    """Test accuracy of an encoder that was trained on the first `count` labels alone.

    encoder: a copy of it is trained; by default, a fresh one.
    """
    train, test = sets()
    torch.manual_seed(seed)
    model = nn.Sequential(copy.deepcopy(encoder) or unit.make_encoder(), nn.Linear(64, 8))
    fit(
        model,
        (train.images[:count], train.labels[:count]),
        steps=steps,
        batch_size=BATCH,
        optimizer=adamw(2e-3),
        schedule=warmup_cosine(),
        augment=unit.augmentation(),
        seed=seed,
        precision="auto",
        channels_last=True,
        quiet=True,
    )
    return share(measures.features(model, test.images).argmax(dim=1))


def ordered(rows: dict) -> dict:
    """Rows with the base arm in front of the settings that differ from it."""
    names = sorted(
        rows, key=lambda name: (rows[name].get("group", ""), name != AGAIN, list(rows).index(name))
    )
    return {name: rows[name] for name in names}


def about() -> str:
    """One line that says where the numbers come from."""
    return (
        f"`{COMMAND}` on {time.strftime('%Y-%m-%d')}: {machine()}, one thread; seeds"
        f" {', '.join(map(str, SEEDS))}"
    )


def block(rows: dict) -> str:
    """The figures as Markdown."""
    body = [
        (name, *(said(found.get(column, [])) for column in COLUMNS))
        for name, found in ordered(rows).items()
        if name != AGAIN
    ]
    return (
        f"## Contrastive learning\n\n{about()}. Creatures of 32x32, 8192 for training, 2000 for"
        f" testing; test accuracies. SimCLR, with a head and without: {STEPS} steps of {BATCH};"
        f" other arms without labels {SHORT} steps of {BATCH}, or as many pictures; temperature"
        f" {TEMPERATURE} unless named. supervised: {SHORT} steps on these labels alone, no probe;"
        " fine-tuned: the same from SimCLR's weights.\n\n" + table(("arm", *COLUMNS.values()), body)
    )


def said(values: list[float]) -> str:
    """ "0.812 / 0.798 / 0.804": one number a seed."""
    return " / ".join(f"{value:.3f}" if value < 1 else f"{value:.0f}" for value in values)


if __name__ == "__main__":
    main()
