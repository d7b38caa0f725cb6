"""Self-distillation on camouflage, three seeds an arm.

Writes what unit 09_dino shows beside the learner's own run.

`python docs/measure/distillation.py` takes half an hour on one core. It writes
solutions/09_dino/recorded.json and collapse.safetensors (logits of the collapse lab's arms), and a
block of docs/figures.md. `--only NAME` runs one arm and keeps the others as they were recorded;
`--dry` leaves all files as they are; `--steps N` shortens every arm. Functions and settings are
those of the lesson in the cpu budget, on the same 8192 training and 2000 test pictures. Settings
were chosen on another 500 (seed 1); the test pictures (seed 2) chose nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from figures import ROOT, machine, table, write_block
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from autograder.authoring.lesson import read_lesson
from autograder.units import SOLUTIONS
from cvcourse import data, measures, models
from cvcourse.training import fit

BLOCK, COMMAND = "distillation", "python docs/measure/distillation.py"
FOLDER = ROOT / SOLUTIONS / "09_dino"
FILE, PAGES = FOLDER / "recorded.json", FOLDER / "collapse.safetensors"
SEEDS = (0, 1, 2)
STEPS, SHORT, BATCH = 300, 72, 128
COLUMNS = {
    "knn": "k-NN",
    "probe": "probe, 2000 labels",
    "mAP": "mAP",
    "iou": "IoU",
    "pointing": "pointing",
    "answer": "entropy of an answer",
    "mean answer": "entropy of the mean answer",
    "cut": "copies cut",
    "blurred": "copies blurred",
    "less contrast": "copies of less contrast",
    "seconds": "CPU s of training",
}


@dataclass(frozen=True)
class DistillationArm:
    """One way to train without labels."""

    steps: int = STEPS
    num_local: int = 0
    centering: bool = True
    sharpening: bool = True


ARMS = {
    "DINO": DistillationArm(),
    "no centering": DistillationArm(steps=SHORT, centering=False),
    "no sharpening": DistillationArm(steps=SHORT, sharpening=False),
    "no guard": DistillationArm(steps=SHORT, centering=False, sharpening=False),
    "with local views": DistillationArm(num_local=2),
}
UNTRAINED = ("pixels", "grey histogram", "rivals", "untrained")

unit = SimpleNamespace(**read_lesson(FOLDER).namespace())


def main() -> None:
    """Run all arms and write what they ended at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="leave the files as they are")
    parser.add_argument("--only", metavar="NAME", help="one arm")
    parser.add_argument("--steps", type=int, help="steps of every arm")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [arguments.only] if arguments.only else [*UNTRAINED, *ARMS]
    rows = json.loads(FILE.read_text())["rows"] if arguments.only and FILE.exists() else {}
    pages = load_file(PAGES) if arguments.only and PAGES.exists() else {}
    for name in names:
        rows |= rows_of(name, arguments.steps, pages)
        if not arguments.dry:
            write(rows, pages)


def write(rows: dict, pages: dict[str, Tensor]) -> None:
    """Keep what has been measured so far."""
    FILE.write_text(json.dumps({"about": about(), "seeds": SEEDS, "rows": rows}, indent=1) + "\n")
    save_file({name: page.half() for name, page in pages.items()}, PAGES)
    PAGES.chmod(0o644)  # safetensors lets nobody else read it
    write_block(BLOCK, block(rows))


def rows_of(
    name: str, steps: int | None, pages: dict[str, Tensor]
) -> dict[str, dict[str, list[float]]]:
    """What an arm gives with all seeds: row -> column -> one number a seed.

    Fills `pages` with those of seed 0.
    """
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in SEEDS if name in ARMS or name == "untrained" else SEEDS[:1]:
        found = one(name, seed, steps, pages if seed == SEEDS[0] else {})
        print(f"{name}, seed {seed}:", found, flush=True)
        for row, columns in found.items():
            for column, value in columns.items():
                rows.setdefault(row, {}).setdefault(column, []).append(round(float(value), 4))
    return rows


def one(
    name: str, seed: int, steps: int | None, pages: dict[str, Tensor]
) -> dict[str, dict[str, float]]:
    """One arm with one seed: row -> column -> number."""
    train, test = sets()
    if name == "pixels":
        mean = train.images.mean(dim=0)
        flat = [(part - mean).flatten(1) for part in (train.images, test.images)]
        return {name: usefulness(*flat) | searches(lambda images: images.flatten(1))}
    if name == "grey histogram":
        return {
            name: usefulness(*(unit.grey_histogram(part) for part in (train.images, test.images)))
        }
    if name == "rivals":
        return {row: localised(found) for row, found in unit.rivals(test.images).items()}
    if name == "untrained":
        return judged(name, unit.untrained_encoder(train.images, seed))
    arm, start = ARMS[name], time.process_time()
    model = trained(arm, seed, steps or arm.steps)
    seconds = time.process_time() - start
    album = unit.pages_of(model)
    if name in unit.ARMS.values():
        pages |= {f"{name}, {part}": album[part].contiguous() for part in unit.PARTS}
    end = unit.SHARP if arm.sharpening else unit.BLUNT
    _, answer, mean_answer, _ = unit.signs(unit.dino_loss, album, end)[-1]
    encoder = model.teacher[0]
    rows = judged(name, encoder) if arm.steps > SHORT else {name: neighbours(encoder)}
    rows[name] |= {"answer": answer, "mean answer": mean_answer, "seconds": seconds}
    return rows


def trained(arm: DistillationArm, seed: int, steps: int) -> models.SelfDistillation:
    """Train as the lesson does."""
    train, _ = sets()
    model = unit.new_distillation(steps, arm.centering, seed)
    unit.take_stock(model.eval())
    fit(
        model,
        (train.images, train.labels),
        batch_size=BATCH,
        seed=seed,
        quiet=True,
        **unit.distillation_settings(
            steps, unit.SHARP if arm.sharpening else unit.BLUNT, arm.num_local
        ),
    )
    return model


def sets(cached: list = []) -> list:  # noqa: B006
    """The training and the test pictures."""
    if not cached:
        cached += [data.camouflage(8192, seed=0), data.camouflage(2000, seed=2)]
    return cached


def judged(name: str, encoder: nn.Module) -> dict[str, dict[str, float]]:
    """An encoder's rows: what its features are worth, and where each head looks."""
    train, test = sets()
    token, both = lambda token, patches: token, unit.copy_features
    rows = {
        name: usefulness(
            *(measures.features(encoder, part) for part in (train.images, test.images))
        )
    }
    rows[name] |= unit.copy_table(encoder, token, train.images, test.images)
    rows[f"{name}, copy_features"] = unit.copy_table(encoder, both, train.images, test.images)
    for head, found in unit.attention_maps(encoder, test.images).items():
        rows[f"{name}, {head}"] = localised(found)
    return rows


def neighbours(encoder: nn.Module) -> dict[str, float]:
    """How often the neighbours of an encoder's features are right, and no more: for short arms."""
    train, test = sets()
    bank, asked = (measures.features(encoder, part.images) for part in (train, test))
    return {"knn": share(measures.knn_classify(bank, train.labels, asked))}


def usefulness(bank: Tensor, asked: Tensor) -> dict[str, float]:
    """Neighbours with all labels, a probe with 2000 of them, retrieval among the test pictures."""
    train, test = sets()
    knn = measures.knn_classify(bank, train.labels, asked)
    probe = measures.linear_probe(bank[:2000], train.labels[:2000], asked)
    found = {"knn": share(knn), "probe": share(probe)}
    return found | {"mAP": unit.mean_average_precision(asked, test.labels)}


def share(predicted: Tensor) -> float:
    """Of the test pictures, how many are right."""
    return (predicted == sets()[1].labels).float().mean().item()


def localised(maps: Tensor) -> dict[str, float]:
    """IoU and pointing of maps on the test pictures."""
    return dict(
        zip(("iou", "pointing"), measures.localised(maps, sets()[1].instance_masks), strict=True)
    )


def searches(features) -> dict[str, float]:
    """Copies that plain features of pictures find again."""
    images = sets()[1].images[:500]
    return {
        kind: unit.found_again(features(images), features(changed))
        for kind, changed in unit.copies(images).items()
    }


def about() -> str:
    """One line that says where the numbers come from."""
    return (
        f"`{COMMAND}` on {time.strftime('%Y-%m-%d')}: {machine()}, one thread; seeds"
        f" {', '.join(map(str, SEEDS))}"
    )


def block(rows: dict) -> str:
    """The figures as Markdown."""
    body = [
        (name, *(said(found.get(column, [])) for column in COLUMNS)) for name, found in rows.items()
    ]
    return (
        f"## Self-distillation\n\n{about()}. Camouflage of 64x64, grey, 8192 for training, 2000 for"
        f" testing. DINO and arms beside it: {STEPS} steps of {BATCH}; no centering, no sharpening,"
        f" no guard: {SHORT} steps. IoU and pointing of the fifth of the pixels where a map is"
        " largest; copies found among 500; ln K = 5.55.\n\n"
        + table(("arm", *COLUMNS.values()), body)
    )


def said(values: list[float]) -> str:
    """ "0.812 / 0.798 / 0.804": one number a seed."""
    return " / ".join(f"{value:.3f}" if value < 10 else f"{value:.0f}" for value in values)


if __name__ == "__main__":
    main()
