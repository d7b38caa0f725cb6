"""Masked autoencoders, three seeds an arm.

Writes solutions/11_mae/recorded.json and a block of docs/figures.md.

`python docs/measure/masking.py` takes about half an hour on one core. `--only NAME` runs one part
("motifs", "digits", "variants") and keeps the others as they were recorded; `--dry` leaves both
files as they are; `--steps N` shortens every training. Functions and settings are those of unit
11_mae's lesson in the cpu budget. The settings come from trials on validation parts of the training
sets; the test digits and the motifs of seed 2 chose nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace

import torch
from figures import ROOT, machine, table, write_block
from torch import Tensor, nn

from autograder.authoring.lesson import read_lesson
from autograder.units import SOLUTIONS
from cvcourse import data, measures, models
from cvcourse.training import adamw, fit, warmup_cosine

BLOCK, COMMAND = "masking", "python docs/measure/masking.py"
FILE = ROOT / SOLUTIONS / "11_mae" / "recorded.json"
SEEDS = (0, 1, 2)
MOTIF_STEPS, DIGIT_STEPS, FEW_STEPS, TUNE_STEPS = 800, 1200, 300, 300
COUNTS = (100, 400)
LONG = "scratch, pre-training's steps too"
FIRST = {"ratio": 0.75, "base": 10000.0}
"""The first attempt on digits, which had FEW_STEPS steps besides."""

VARIANTS = {
    "base 10000": {"base": 10000.0},
    "mask ratio 0.75": {"ratio": 0.75},
    "normalised targets": {"normed": True},
}
"""What differs from the lesson's pre-training on digits: base 10, ratio 0.5, pixels."""

unit = SimpleNamespace(**read_lesson(ROOT / SOLUTIONS / "11_mae").namespace())


def main() -> None:
    """Run all parts and write what they ended at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="leave the files as they are")
    parser.add_argument("--only", metavar="NAME", choices=PARTS, help="one part")
    parser.add_argument("--steps", type=int, help="steps of every training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in [arguments.only] if arguments.only else PARTS:
        start = time.process_time()
        for found in PARTS[name](arguments.steps):
            found["CPU s"] = round(time.process_time() - start)
            print(name, found, flush=True)
            if not arguments.dry:
                keep(name, found)


def keep(name: str, found: dict) -> None:
    """Write what a part has found so far.

    Other parts stay as they are, and may have been written meanwhile.
    """
    before = json.loads(FILE.read_text()) if FILE.exists() else {}
    everything = before | {"about": about(), "seeds": SEEDS, name: found}
    FILE.write_text(json.dumps(everything, indent=1) + "\n")
    write_block(BLOCK, block(everything))


def motifs(steps: int | None) -> Iterator[dict]:
    """Errors on new motifs, after each seed."""
    train, test, _ = unit.standardised(
        data.motifs(8192, seed=0).images, data.motifs(500, seed=2).images
    )
    errors: dict[str, list[float]] = {}
    for seed in SEEDS:
        mae = unit.make_mae(32, 4, 3, mask_ratio=0.75, seed=seed)
        pretrain(mae, train, steps or MOTIF_STEPS, seed)
        add(errors, unit.masked_errors(mae, test, train))
        yield {"errors": errors}


def digits(steps: int | None) -> Iterator[dict]:
    """Errors on the test digits, and accuracies with few labels, after each seed."""
    sets = digit_sets()
    train, _, test, _ = sets
    errors: dict[str, list[float]] = {}
    shares: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS:
        mae = digit_mae(seed)
        start = time.process_time()
        pretrain(mae, train, steps or DIGIT_STEPS, seed)
        pretraining = time.process_time() - start
        add(errors, unit.masked_errors(mae, test, train))
        scratch, first = digit_mae(seed + 100).encoder, digit_mae(seed, **FIRST)
        pretrain(first, train, steps or FEW_STEPS, seed)
        add(errors, {"MAE, first attempt": unit.masked_errors(first, test, train)["MAE"]})
        few = steps or TUNE_STEPS
        arms = {
            "scratch": (scratch, 1.0, few),
            LONG: (scratch, 1.0, steps or DIGIT_STEPS + TUNE_STEPS),
            "MAE": (mae.encoder, 1.0, few),
            "MAE, rates that decay": (mae.encoder, 0.75, few),
            "MAE, first attempt": (first.encoder, 1.0, few),
            "scratch, base 10000": (digit_mae(seed + 100, **FIRST).encoder, 1.0, few),
        }
        for name, (encoder, decay, count) in arms.items():
            start = time.process_time()
            note(
                shares,
                name,
                [tuned(encoder, labels, decay, count, seed, sets) for labels in COUNTS],
            )
            print(
                name,
                shares[name],
                f"{time.process_time() - start:.0f} s",
                f"{pretraining:.0f} s",
                flush=True,
            )
        features = [measures.features(mae.encoder, each) for each in (train, test)]
        note(shares, "MAE, probed", frozen(measures.linear_probe, features, sets))
        note(shares, "MAE, nearest neighbour", frozen(neighbour, features, sets))
        if seed == SEEDS[0]:  # pixels have no seed
            pixels = [each.flatten(1) for each in (train, test)]
            note(shares, "pixels, probed", frozen(measures.linear_probe, pixels, sets))
            note(shares, "pixels, nearest neighbour", frozen(neighbour, pixels, sets))
        yield {"errors": errors, "shares": shares}


def variants(steps: int | None) -> Iterator[dict]:
    """Pre-training on digits with one thing changed at a time, and what the encoders are worth."""
    sets = digit_sets()
    rows: dict[str, dict[str, list[float]]] = {}
    for name, settings in VARIANTS.items():
        row: dict[str, list[float]] = {}
        for seed in SEEDS:
            mae = digit_mae(seed, settings.get("ratio", 0.5), settings.get("base", 10.0))
            is_normed = settings.get("normed", False)
            target = unit.normalize_patches if is_normed else lambda patches: patches
            pretrain(mae, sets[0], steps or DIGIT_STEPS, seed, target)
            if not is_normed:  # its errors are in another unit
                add(row, {"error": unit.masked_errors(mae, sets[2], sets[0])["MAE"]})
            for count in COUNTS:
                add(
                    row,
                    {str(count): tuned(mae.encoder, count, 1.0, steps or TUNE_STEPS, seed, sets)},
                )
        rows[name] = row
        yield {"rows": rows}


PARTS = {"motifs": motifs, "digits": digits, "variants": variants}


def digit_sets() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised training pictures and their labels, test pictures and theirs."""
    splits = data.digits()
    train, test, _ = unit.standardised(splits.train_images, splits.test_images)
    return train, splits.train_labels, test, splits.test_labels


def digit_mae(seed: int, ratio: float = 0.5, base: float = 10.0) -> nn.Module:
    """The lesson's network for digits."""
    return unit.make_mae(8, 2, 1, ratio, decoder_depth=2, base=base, seed=seed)


def pretrain(
    mae: nn.Module, pictures: Tensor, steps: int, seed: int, target=lambda patches: patches
) -> None:
    """Train without labels, as the lesson does."""
    patch_size = mae.encoder.patch_size
    fit(
        mae,
        (pictures, pictures),
        steps=steps,
        batch_size=64,
        optimizer=adamw(3e-3, weight_decay=0.05, betas=(0.9, 0.95)),
        schedule=warmup_cosine(),
        loss=lambda output, images: unit.mae_loss(
            output[0], target(models.patchify(images, patch_size)), output[1]
        ),
        clip=1.0,
        seed=seed,
        quiet=True,
    )


def tuned(
    encoder: nn.Module, count: int, decay: float, steps: int, seed: int, sets: tuple
) -> float:
    """Test accuracy of a classifier on a copy of the encoder.

    It is trained on the first `count` labels, as in the lesson.
    """
    train, labels, test, test_labels = sets
    torch.manual_seed(seed)
    model = unit.Classifier(copy.deepcopy(encoder))
    parameters = dict(model.named_parameters())
    rates = unit.layerwise_learning_rates(list(parameters), len(encoder.blocks), 2e-3, decay)
    groups = [{"params": [parameter], "lr": rates[name]} for name, parameter in parameters.items()]
    fit(
        model,
        (train[:count], labels[:count]),
        steps=steps,
        batch_size=64,
        optimizer=lambda _: torch.optim.AdamW(
            groups, lr=2e-3, weight_decay=0.05, betas=(0.9, 0.95)
        ),
        schedule=warmup_cosine(),
        clip=1.0,
        seed=seed,
        quiet=True,
    )
    return (measures.features(model, test).argmax(dim=1) == test_labels).float().mean().item()


def frozen(method, features: list[Tensor], sets: tuple) -> list[float]:
    """Test accuracies of a method that trains no encoder, for each number of labels."""
    _, labels, _, test_labels = sets
    found = (method(features[0][:count], labels[:count], features[1]) for count in COUNTS)
    return [(predicted == test_labels).float().mean().item() for predicted in found]


def neighbour(train_features: Tensor, train_labels: Tensor, features: Tensor) -> Tensor:
    """The label of the nearest training picture."""
    return measures.knn_classify(train_features, train_labels, features, k=1)


def add(errors: dict[str, list[float]], found: dict[str, float]) -> None:
    """One more seed's errors."""
    for name, value in found.items():
        errors.setdefault(name, []).append(round(value, 4))


def note(shares: dict, name: str, values: list[float]) -> None:
    """One more seed's accuracies."""
    for count, value in zip(COUNTS, values, strict=True):
        shares.setdefault(name, {}).setdefault(str(count), []).append(round(value, 4))


def about() -> str:
    """One line that says where the numbers come from."""
    return (
        f"`{COMMAND}` on {time.strftime('%Y-%m-%d')}: {machine()}, one thread; seeds"
        f" {', '.join(map(str, SEEDS))}"
    )


def block(found: dict) -> str:
    """The figures as Markdown."""
    text = [
        f"## Masked autoencoders\n\n{found['about']}. Motifs: {MOTIF_STEPS} steps of 64; digits:"
        f" {DIGIT_STEPS} steps; first attempt: {FEW_STEPS} steps, 75 % hidden, base 10000;"
        f" fine-tuning: {TUNE_STEPS} steps. Errors are mean squares on the hidden patches of"
        " standardised test pictures, accuracies those of 500 test digits. CPU s: "
        + ", ".join(f"{part} {found[part]['CPU s']}" for part in PARTS if part in found)
    ]
    errors = {part: found[part]["errors"] for part in ("motifs", "digits") if part in found}
    if errors:
        names = dict.fromkeys(name for part in errors.values() for name in part)
        body = [(name, *(said(part.get(name, [])) for part in errors.values())) for name in names]
        text.append(table(("error on hidden patches", *errors), body))
    for title, rows in (
        ("digits, accuracy", found.get("digits", {}).get("shares")),
        ("pre-training on digits with one change", found.get("variants", {}).get("rows")),
    ):
        if rows:
            columns = list(dict.fromkeys(column for row in rows.values() for column in row))
            heads = [f"{column} labels" if column.isdigit() else column for column in columns]
            body = [
                (name, *(said(row.get(column, [])) for column in columns))
                for name, row in rows.items()
            ]
            text.append(table((title, *heads), body))
    return "\n\n".join(text)


def said(values: list[float]) -> str:
    """ "0.812 / 0.798 / 0.804": one number a seed."""
    return " / ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
