"""How well a promptable model answers simulated clicks on nested scenes, and rivals without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from cvcourse.data.nested import NestedScenes, draw_objects
from cvcourse.models.interactive import boxes_of_masks
from cvcourse.models.masks import (
    automatic_masks,
    iou_targets,
    mask_iou,
    point_grid,
    sample_next_click,
)
from cvcourse.models.sam import Embedding, Sam


@dataclass(frozen=True)
class Asked:
    """Objects that somebody has in mind, the first click on each, and what the click could mean.

    rows (N,): the picture. targets (N, H, W): the object. points (N, 2). meanings (N, 3, H, W):
    part, whole and group at the click, empty where there is none; one of them is the target.
    ambiguous (N,): whether there are at least two.
    """

    rows: Tensor
    targets: Tensor
    points: Tensor
    meanings: Tensor
    ambiguous: Tensor


def ask(scenes: NestedScenes, objects: int = 3, seed: int = 0) -> Asked:
    """`objects` objects of every scene, drawn with the seed, each with a click anywhere on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        targets, rows, _ = draw_objects(scenes.levels, objects)
        points, _ = sample_next_click(torch.zeros_like(targets), targets)
    x, y = points.long().unbind(dim=1)
    numbers = scenes.levels[rows, :, y, x]  # (N, 3)
    there = numbers > 0  # (N, 3)
    same = scenes.levels[rows] == numbers[:, :, None, None]  # (N, 3, H, W)
    meanings = same & there[:, :, None, None]
    return Asked(rows, targets, points, meanings, ambiguous=there.sum(dim=1) >= 2)


@torch.no_grad()
def embed(sam: Sam, images: Tensor, batch_size: int = 100) -> Embedding:
    """Every picture of images (N, 3, H, W) encoded once, in batches."""
    parts = [sam.encode(batch) for batch in images.split(batch_size)]
    features = torch.cat([part.features for part in parts])
    skips = zip(*(part.skips for part in parts), strict=True)
    return Embedding(features, tuple(torch.cat(skip) for skip in skips))


@torch.no_grad()
def answers_to_clicks(
    sam: Sam, embedding: Embedding, asked: Asked, clicks: int = 5, seed: int = 0
) -> list[Answer]:
    """The model's answer after each click.

    From the second on, a click lands where the answer before was wrong, and comes with the logits
    of that answer. embedding: of all scenes.
    """
    generator = Generator(asked.points.device).manual_seed(seed)
    shared = embedding.rows(asked.rows)
    points = asked.points[:, None]  # (N, 1, 2)
    labels = torch.ones_like(points[..., 0], dtype=torch.int64)  # the first click is on the object
    logits = None
    found = []
    for click in range(1, clicks + 1):
        answer = Answer(*sam.decode(shared, points, labels, None, logits, multimask=click == 1))
        found.append(answer)
        point, label = sample_next_click(answer.chosen > 0, asked.targets, generator)
        points = torch.cat([points, point[:, None]], dim=1)
        labels = torch.cat([labels, label[:, None]], dim=1)
        logits = answer.chosen[:, None]  # (N, 1, H, W)
    return found


@dataclass(frozen=True)
class Answer:
    """logits (N, M, H, W) and predicted IoU (N, M) of N prompts."""

    logits: Tensor
    guesses: Tensor

    @property
    def chosen(self) -> Tensor:
        """The logits (N, H, W) of the mask with the highest predicted IoU."""
        return pick(self.logits, self.guesses.argmax(dim=1))

    def iou(self, targets: Tensor) -> Tensor:
        """The IoU that every mask really has, (N, M)."""
        return iou_targets(self.logits, targets)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """values (N, M, ...) and index (N,) to (N, ...): one of the M for each row."""
    return values[torch.arange(len(index), device=index.device), index]


def report(sam: Sam, scenes: NestedScenes, asked: Asked, clicks: int = 5) -> dict[str, float]:
    """Mean IoU with the object in mind after each click and by box, and how well predicted it is.

    "chosen" is the mask with the highest predicted IoU, "best" the one with the highest true one,
    which only somebody who knows the object could pick. "a meaning" is the chosen mask's IoU with
    the nearest thing that the click can mean; "all meanings", the share of ambiguous clicks for
    which every meaning has a mask with IoU above 0.7.
    """
    embedding = embed(sam, scenes.images)
    answers = answers_to_clicks(sam, embedding, asked, clicks)
    found = {}
    for click, answer in enumerate(answers, 1):
        of_chosen = pick(answer.iou(asked.targets), answer.guesses.argmax(dim=1))  # (N,)
        found[f"click {click}"] = of_chosen.mean()
    first, second = answers[:2]
    found |= _of_first_click(first, asked)
    found["correlation of the second"] = correlation(second.guesses, second.iou(asked.targets))
    boxes = boxes_of_masks(asked.targets)
    with torch.no_grad():
        logits, _ = sam.decode(embedding.rows(asked.rows), boxes=boxes, multimask=False)
    found["box"] = iou_targets(logits, asked.targets).mean()
    return {name: float(value) for name, value in found.items()}


def _of_first_click(answer: Answer, asked: Asked) -> dict[str, Tensor]:
    """What `report` says of the answer to the first click, whose masks may mean several things."""
    unclear = asked.ambiguous
    iou = answer.iou(asked.targets)  # (N, M)
    index = answer.guesses.argmax(dim=1)
    chosen, best = pick(iou, index), iou.amax(dim=1)  # (N,)
    with_meanings = mask_iou(answer.logits[:, :, None] > 0, asked.meanings[:, None])  # (N, M, 3)
    there = asked.meanings.flatten(2).any(dim=2)  # (N, 3)
    covered = ((with_meanings.amax(dim=1) > 0.7) | ~there).all(dim=1)  # (N,)
    return {
        "best": best.mean(),
        "ambiguous, chosen": chosen[unclear].mean(),
        "ambiguous, best": best[unclear].mean(),
        "a meaning": pick(with_meanings, index).amax(dim=1).mean(),
        "all meanings": covered[unclear].float().mean(),
        "correlation": correlation(answer.guesses, iou),
    }


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, of two tensors of one shape."""
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]


def ceiling(asked: Asked) -> float:
    """Mean IoU of whoever sees all objects at the click and must bet on one.

    Objects and their pixels are drawn evenly, so a click means a thing with a probability of 1 /
    its area, scaled.
    """
    areas = asked.meanings.sum(dim=(2, 3))  # (N, 3)
    weights = (1 / areas.clamp(min=1)).masked_fill(areas == 0, 0)
    probabilities = weights / weights.sum(dim=1, keepdim=True)  # (N, 3)
    overlaps = mask_iou(asked.meanings[:, :, None], asked.meanings[:, None])  # (N, bet, meant)
    expected = (overlaps * probabilities[:, None]).sum(dim=2)  # (N, bet)
    bet = expected.argmax(dim=1)
    return float(mask_iou(pick(asked.meanings, bet), asked.targets).mean())


def automatic_recall(
    sam: Sam,
    scenes: NestedScenes,
    side: int = 8,
    finder: Callable = automatic_masks,
    **thresholds: float,
) -> dict[str, float]:
    """What automatic masks find of the objects in scenes.

    "recall at 0.5" and "at 0.75" are the shares of all objects with a mask of such an IoU;
    "precision at 0.5" is the share of all masks that have it with some object, 0 without masks;
    "masks a picture" is their mean number. side: points along each side of the grid. finder: a
    function as `automatic_masks`, which is given the thresholds.
    """
    embedding = embed(sam, scenes.images)
    height, width = scenes.images.shape[2:]
    grid = point_grid(side, (height, width)).to(scenes.images.device)
    hits, right, count = [], 0, 0
    for index in range(len(scenes)):
        predict = partial(sam.decode, embedding.rows(slice(index, index + 1)))
        with torch.no_grad():
            masks, _ = finder(predict, grid, **thresholds)
        objects, _ = scenes.objects(index)
        overlaps = mask_iou(objects[:, None], masks[None])  # (objects, masks)
        hits.append(overlaps.amax(dim=1) if len(masks) else overlaps.new_zeros(len(objects)))
        right += int((overlaps >= 0.5).any(dim=0).sum())
        count += len(masks)
    best = torch.cat(hits)
    return {
        "recall at 0.5": float((best >= 0.5).float().mean()),
        "recall at 0.75": float((best >= 0.75).float().mean()),
        "precision at 0.5": right / max(count, 1),
        "masks a picture": count / len(scenes),
    }


def flood_fill(images: Tensor, points: Tensor, tolerance: float) -> Tensor:
    """What is connected with the clicked pixel and at most `tolerance` away from its colour.

    images (N, 3, H, W), points (N, 2). Distances are Euclidean in RGB. Returns masks (N, H, W)
    bool.
    """
    from scipy.ndimage import label

    x, y = points.round().long().unbind(dim=1)
    colours = images[torch.arange(len(images)), :, y, x]  # (N, 3)
    distances = torch.linalg.vector_norm(images - colours[:, :, None, None], dim=1)  # (N, H, W)
    alike = distances <= tolerance
    masks = torch.zeros_like(alike)
    for index, same in enumerate(alike):
        pieces = torch.from_numpy(label(same.cpu().numpy())[0]).to(masks.device)
        masks[index] = pieces == pieces[y[index], x[index]]
    return masks


def click_disc(points: Tensor, size: tuple[int, int], radius: float) -> Tensor:
    """A disc of `radius` pixels about each click: points (N, 2) to (N, height, width) bool."""
    height, width = size
    rows = torch.arange(height, device=points.device)
    columns = torch.arange(width, device=points.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")  # (height, width)
    across, down = x - points[:, 0, None, None], y - points[:, 1, None, None]
    return torch.hypot(across, down) <= radius
