"""Training and testing a promptable model with simulated clicks (Kirillov et al. 2023, appendix
A)."""

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
    """The loss of a batch of pictures: some of their objects, asked for by clicks and boxes, in
    several rounds.

    objects: how many of a picture. rounds: answers to each prompt; after each comes a click where
    the answer is wrong, and the logits of the answer come along as a mask prompt. box_share: of the
    batches, how many begin with a box. One click has three answers of which the best one learns;
    more prompts have one. The last three are the functions that are used, so that a learner's own
    can be.
    """

    sam: Sam
    objects: int = 4
    rounds: int = 2
    box_share: float = 0.25
    best_mask_loss: Callable = library.best_mask_loss
    iou_targets: Callable = library.iou_targets
    sample_next_click: Callable = library.sample_next_click

    def __call__(self, embedding: Embedding, levels: Tensor) -> Tensor:
        """embedding: of N pictures. levels (N, 3, H, W): what their pixels belong to. Returns one
        number, a tensor."""
        targets, rows, _ = draw_objects(levels, self.objects)
        with_box = torch.rand(()) < self.box_share
        return self.conversation(embedding.rows(rows), targets, bool(with_box)).mean()

    def conversation(self, embedding: Embedding, targets: Tensor, with_box: bool) -> Tensor:
        """The losses of all rounds with the same objects, (N,), their mean over the rounds."""
        nothing = torch.zeros_like(targets)
        points, labels = (
            x[:, None] for x in self.sample_next_click(nothing, targets)
        )  # (N, 1, 2), (N, 1)
        boxes, logits, total = None, None, 0.0
        if with_box:
            boxes, points, labels = noisy_boxes(targets), None, None
        for _ in range(self.rounds):
            multimask = logits is None and not with_box
            answer = self.sam.decode(embedding, points, labels, boxes, logits, multimask)
            answers, guesses = (
                part.float() for part in answer
            )  # losses are no matter for bfloat16
            least, _ = self.best_mask_loss(answers, targets)
            total = (
                total + least + (guesses - self.iou_targets(answers, targets)).square().mean(dim=1)
            )
            chosen = guesses.argmax(dim=1)  # the answer that looks best to the model itself
            logits = answers.detach()[torch.arange(len(chosen)), chosen][:, None]  # (N, 1, H, W)
            click, label = self.sample_next_click(logits[:, 0] > 0, targets)
            points = (
                click[:, None] if points is None else torch.cat([points, click[:, None]], dim=1)
            )
            labels = (
                label[:, None] if labels is None else torch.cat([labels, label[:, None]], dim=1)
            )
        return total / self.rounds


def boxes_of_masks(masks: Tensor) -> Tensor:
    """The boxes of masks (N, H, W): (N, 4) float32, x_min, y_min, x_max, y_max, in the places of
    pixels.

    Raises ValueError for an empty mask, which has no box.
    """
    if not masks.flatten(1).any(dim=1).all():
        raise ValueError("An empty mask has no box.")
    sides = []
    for occupied in (masks.any(dim=1), masks.any(dim=2)):  # columns (N, W), rows (N, H)
        length = occupied.shape[1]
        place = torch.arange(length, device=masks.device)
        sides.append(
            (torch.where(occupied, place, length).amin(1), torch.where(occupied, place, -1).amax(1))
        )
    (x_min, x_max), (y_min, y_max) = sides
    return torch.stack([x_min, y_min, x_max, y_max], dim=1).float()


def noisy_boxes(
    masks: Tensor, generator: Generator | None = None, noise: float = BOX_NOISE
) -> Tensor:
    """Boxes (N, 4) of masks (N, H, W), each side moved at random by about `noise` of its length,
    inside the picture."""
    boxes = boxes_of_masks(masks)
    size = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)  # (N, 4)
    moves = torch.randn(boxes.shape, generator=generator, device=boxes.device).clamp(-2, 2)
    limits = boxes.new_tensor([masks.shape[2] - 1, masks.shape[1] - 1]).repeat(2)
    return torch.minimum((boxes + noise * size * moves).clamp(min=0), limits)
