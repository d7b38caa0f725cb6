"""Training a promptable model with simulated clicks (Kirillov et al. 2023, appendix A)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from cvcourse.data import draw_objects

from . import masks as library
from .sam import Embedding, Sam

BOX_NOISE = 0.1  # spread of a box's sides, as a share of its size


@dataclass
class ClickLoss:
    """The loss of a batch of pictures: some of their objects, prompted in several rounds.

    (Kirillov et al. 2023, appendix A, "Training algorithm".) objects: how many of a picture.
    rounds: answers to each prompt; after each comes a click where the answer is wrong, and the
    logits of the answer come along as a mask prompt. box_share: of the batches, how many begin with
    a box. One click has three answers of which the best one learns; more prompts have one. The last
    three are the functions that are used, so that a learner's own can be.
    """

    sam: Sam
    objects: int = 4
    rounds: int = 2
    box_share: float = 0.25
    best_mask_loss: Callable = library.best_mask_loss
    iou_targets: Callable = library.iou_targets
    sample_next_click: Callable = library.sample_next_click

    def __call__(self, embedding: Embedding, levels: Tensor) -> Tensor:
        """The mean loss of drawn objects, a tensor with one number.

        embedding: of N pictures. levels (N, 3, H, W): what their pixels belong to.
        """
        targets, rows, _ = draw_objects(levels, self.objects)
        with_box = torch.rand(()) < self.box_share
        return self.conversation(embedding.rows(rows), targets, bool(with_box)).mean()

    def conversation(self, embedding: Embedding, targets: Tensor, with_box: bool) -> Tensor:
        """The loss of each object, (N,), the mean over all rounds with it.

        embedding: of N pictures, an object of each. targets: (N, H, W) booleans. with_box:
        whether the first prompt is a box.
        """
        click, label = self.sample_next_click(torch.zeros_like(targets), targets)
        points: Tensor | None = click[:, None]  # (N, 1, 2)
        labels: Tensor | None = label[:, None]  # (N, 1)
        boxes: Tensor | None = None
        if with_box:
            points, labels, boxes = None, None, noisy_boxes(targets)
        logits: Tensor | None = None
        total = torch.zeros(len(targets), device=targets.device)
        for _ in range(self.rounds):
            multimask = logits is None and not with_box
            masks, guesses = self.sam.decode(embedding, points, labels, boxes, logits, multimask)
            masks, guesses = masks.float(), guesses.float()  # losses are no matter for bfloat16
            least, _ = self.best_mask_loss(masks, targets)
            error = guesses - self.iou_targets(masks, targets)  # (N, M)
            total = total + least + error.square().mean(dim=1)
            chosen = guesses.argmax(dim=1)  # the answer that looks best to the model itself
            answer = masks.detach()[torch.arange(len(chosen)), chosen]  # (N, H, W)
            click, label = self.sample_next_click(answer > 0, targets)
            points = _one_more(points, click)
            labels = _one_more(labels, label)
            logits = answer[:, None]  # (N, 1, H, W)
        return total / self.rounds


def _one_more(given: Tensor | None, new: Tensor) -> Tensor:
    """(N, n, ...) and (N, ...) to (N, n + 1, ...); without any before, (N, 1, ...)."""
    if given is None:
        return new[:, None]
    return torch.cat([given, new[:, None]], dim=1)


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The boxes of masks (N, H, W): x_min, y_min, x_max, y_max in pixels, (N, 4) float32.

    All four are places of pixels of the mask. Raises ValueError for an empty mask, which has no
    box.
    """
    if not masks.flatten(1).any(dim=1).all():
        raise ValueError("An empty mask has no box.")
    x_min, x_max = _first_and_last(masks.any(dim=1))  # of the columns (N, W)
    y_min, y_max = _first_and_last(masks.any(dim=2))  # of the rows (N, H)
    return torch.stack([x_min, y_min, x_max, y_max], dim=1).float()


def _first_and_last(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last true place of each row, both (N,). occupied: (N, length)."""
    length = occupied.shape[1]
    place = torch.arange(length, device=occupied.device)
    first = torch.where(occupied, place, length).amin(dim=1)
    last = torch.where(occupied, place, -1).amax(dim=1)
    return first, last


def noisy_boxes(
    masks: Tensor, generator: Generator | None = None, noise: float = BOX_NOISE
) -> Tensor:
    """Boxes (N, 4) of masks (N, H, W), each side moved at random by about `noise` of its length.

    (Kirillov et al. 2023, appendix A, "Training algorithm".) They stay inside the picture. Raises
    ValueError for an empty mask.
    """
    boxes = boxes_of_masks(masks)
    size = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)  # (N, 4)
    moves = torch.randn(boxes.shape, generator=generator, device=boxes.device).clamp(-2, 2)
    limits = boxes.new_tensor([masks.shape[2] - 1, masks.shape[1] - 1]).repeat(2)
    return torch.minimum((boxes + noise * size * moves).clamp(min=0), limits)
