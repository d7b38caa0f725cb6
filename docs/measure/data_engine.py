"""One whole turn of the data engine, trained and tested.

Writes into 15_sam's recorded.json and docs/figures.md.

`python docs/measure/data_engine.py` takes about forty minutes on one core. `--seeds N ...` runs
some seeds, `--more` keeps those that are recorded. `--dry` leaves the files as they are, and so
does `--steps N`, which shortens training.

A network learns from few scenes in which people drew every object ("before"). It labels many others
by `data_engine_step`, where a person adds one object a scene. Then training goes on for as many
steps again, from the same weights, on four sets: the few scenes alone; these and what the person
would draw in the others without the network; these and the engine's labels; these and the others
with every object drawn. All are tested on the scenes of prompts.py that chose nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections import Counter

import torch
from figures import machine, table, write_block
from prompts import FILE, SIZE, THRESHOLDS, learn, measured, recorded, said
from torch import Tensor

from cvcourse import models
from cvcourse.data import NestedScenes, nested_scenes
from cvcourse.models import mask_iou

NAME, BLOCK, COMMAND = "data engine", "data-engine", "python docs/measure/data_engine.py"
SEEDS = (0, 1, 2)
STEPS, FEW, MANY = 800, 300, 1500
BUDGET, CONFIDENT = 1, 0.6
COLUMNS = (
    "click 1",
    "click 2",
    "click 3",
    "best",
    "box",
    "recall at 0.5",
    "recall at 0.75",
    "precision at 0.5",
)
ARMS = (
    "before",
    "few scenes again",
    "and by hand alone",
    "and the engine's labels",
    "and every object drawn",
)


def main() -> None:
    """Turn the engine once with each seed, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry", action="store_true", help="leave the files as they are")
    parser.add_argument("--more", action="store_true", help="keep the seeds that are recorded")
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS, help="which seeds")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of every training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = recorded().get(NAME, {}) if arguments.more else {}
    for seed in arguments.seeds:
        if seed in found.get("seeds", []):
            continue
        found["seeds"] = [*found.get("seeds", []), seed]
        for name, numbers in turn(seed, arguments.steps).items():
            row = found.setdefault(name, {})
            for column, value in numbers.items():
                row.setdefault(column, []).append(round(value, 4))
            print(seed, name, numbers, flush=True)
        if not arguments.dry and arguments.steps == STEPS:
            stored = json.loads(FILE.read_text())
            stored["rows"][NAME] = found
            FILE.write_text(json.dumps(stored, indent=1) + "\n")
            write_block(BLOCK, block(found))


def turn(seed: int, steps: int) -> dict[str, dict[str, float]]:
    """One turn: what each network can do, and what the labels were worth."""
    few, many = nested_scenes(FEW, SIZE, seed=11), nested_scenes(MANY, SIZE, seed=12)
    torch.manual_seed(seed)
    before = models.build_sam(SIZE)
    learn(before, few, steps, seed, quiet=True)
    engines, persons, value = labelled(before, many)
    sets = {"few scenes again": few, "and by hand alone": joined(few, persons)}
    sets |= {
        "and the engine's labels": joined(few, engines),
        "and every object drawn": joined(few, many),
    }
    found = {"before": numbers_of(before), "labels": value}
    for name, scenes in sets.items():
        after = copy.deepcopy(before)
        learn(after, scenes, steps, seed + 100, quiet=True)
        found[name] = numbers_of(after)
    return found


def numbers_of(sam: models.Sam) -> dict[str, float]:
    """What a network can do on the test scenes."""
    found = measured(sam, 0.0)
    return {column: found[column] for column in COLUMNS}


def labelled(
    sam: models.Sam, scenes: NestedScenes
) -> tuple[NestedScenes, NestedScenes, dict[str, float]]:
    """Scenes with the engine's labels, and those with what a person draws without it.

    With them comes what the labels are worth.

    A scene without any label is left out, since nothing can be asked about it.
    """
    engines, persons, counts = [], [], Counter()
    for index, picture in enumerate(scenes.images):
        objects, levels = scenes.objects(index)
        masks, scores = models.Predictor(sam, picture).everything(side=8, **THRESHOLDS)
        labels, drawn = models.data_engine_step(masks, scores, objects, BUDGET, CONFIDENT)
        alone, _ = models.data_engine_step(masks[:0], scores[:0], objects, BUDGET, CONFIDENT)
        engines.append(in_layers(labels))
        persons.append(in_layers(alone))
        alike = mask_iou(objects[:, None], labels[None]) >= 0.5  # (objects, labels)
        is_alone = (objects[:, None] == alone[None]).all(dim=(2, 3)).any(dim=1)  # (objects,)
        counts["objects"] += len(objects)
        counts["parts"] += int((levels == 0).sum())
        counts["labelled"] += int(alike.any(dim=1).sum())
        counts["by the network"] += int((~drawn).sum())
        counts["right"] += int(alike[:, ~drawn].any(dim=0).sum())
        counts["by hand"] += int(drawn.sum())
        counts["parts alone"] += int((levels[is_alone] == 0).sum())
    sets = (NestedScenes(scenes.images, torch.stack(layers)) for layers in (engines, persons))
    kept = (one[(one.levels > 0).flatten(1).any(dim=1)] for one in sets)
    return *kept, worth(counts, len(scenes))


def worth(counts: Counter, scenes: int) -> dict[str, float]:
    """What labels are worth."""
    return {
        "by the network, a scene": counts["by the network"] / scenes,
        "by hand, a scene": counts["by hand"] / scenes,
        "objects, a scene": counts["objects"] / scenes,
        "right among the network's": counts["right"] / max(counts["by the network"], 1),
        "objects labelled": counts["labelled"] / counts["objects"],
        "parts among all objects": counts["parts"] / counts["objects"],
        "parts among the largest": counts["parts alone"] / scenes,
    }


def in_layers(masks: Tensor) -> Tensor:
    """Masks (L, H, W) as three maps of numbers (3, H, W) uint8.

    Each goes to the map where it covers least of others.

    The smallest come last, so that none is lost below a larger one.
    """
    layers = torch.zeros(3, *masks.shape[1:], dtype=torch.uint8)
    for number, index in enumerate(masks.sum(dim=(1, 2)).argsort(descending=True).tolist(), 1):
        layer = (layers[:, masks[index]] > 0).sum(dim=1).argmin()
        layers[layer][masks[index]] = number
    return layers


def joined(one: NestedScenes, other: NestedScenes) -> NestedScenes:
    """All scenes of both."""
    return NestedScenes(
        torch.cat([one.images, other.images]), torch.cat([one.levels, other.levels])
    )


def block(found: dict) -> str:
    """The figures as Markdown."""
    labels = "; ".join(
        f"{name} {' / '.join(f'{value:.2f}' for value in values)}"
        for name, values in found["labels"].items()
    )
    return (
        f"## A turn of the data engine\n\n`{COMMAND}` on {time.strftime('%Y-%m-%d')}: {machine()},"
        f" one thread; seeds {', '.join(map(str, found['seeds']))}. {FEW} scenes with every object"
        f" drawn, {MANY} others; {STEPS} steps, and as many again. Budget: {BUDGET} object a scene;"
        f" the network's masks count from a score of {CONFIDENT}. Mean IoU and recall as under"
        f" Promptable segmentation.\n\nLabels: {labels}.\n\n"
        + table(
            ("network", *COLUMNS),
            [(name, *(said(found[name][column]) for column in COLUMNS)) for name in ARMS],
        )
    )


if __name__ == "__main__":
    main()
