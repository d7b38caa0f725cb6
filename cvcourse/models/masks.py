"""What promptable segmentation does with masks: losses, clicks, automatic masks.

(Kirillov et al. 2023, "Segment Anything", unless another source is named.) Masks are (..., H, W):
logits while they are being learned, above 0 for "belongs to the object"; booleans after.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

FOCAL_WEIGHT, DICE_WEIGHT = 20.0, 1.0
"""How the two losses of a mask are weighed (Kirillov et al. 2023, appendix A)."""


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which easy pixels count little (Lin et al. 2017, equation 5).

    logits, targets (0 or 1, of any type): (..., H, W). alpha: the weight of pixels of the object, 1
    - alpha that of the others. Returns (...), the mean over each mask.
    """
    targets = targets.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = logits.sigmoid()
    missed = torch.where(targets > 0, (-logits).sigmoid(), p)  # 1 - probability of what is true
    weight = torch.where(targets > 0, alpha, 1 - alpha)
    return (weight * missed**gamma * entropy).mean(dim=(-2, -1))


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - (2 |p t| + 1) / (|p| + |t| + 1), with p the sigmoid and sums over each mask.

    (Milletari et al. 2016, section 3.) logits, targets (0 or 1, of any type): (..., H, W). Returns
    (...).
    """
    p, t = logits.sigmoid(), targets.to(logits.dtype)
    common = (p * t).sum(dim=(-2, -1))
    total = p.sum(dim=(-2, -1)) + t.sum(dim=(-2, -1))
    return 1 - (2 * common + 1) / (total + 1)


def best_mask_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For each prompt the loss of its best mask, 20 focal + dice, and which mask that is.

    logits (N, M, H, W), targets (N, H, W). Returns losses (N,) and the places of the least, (N,)
    int64. Gradients reach the best mask of each prompt alone.
    """
    truth = targets[:, None].expand_as(logits)  # (N, M, H, W)
    focal, dice = focal_loss(logits, truth), dice_loss(logits, truth)  # (N, M)
    losses = FOCAL_WEIGHT * focal + DICE_WEIGHT * dice
    least, best = losses.min(dim=1)
    return least, best


def mask_iou(first: Tensor, second: Tensor) -> Tensor:
    """Shared pixels / pixels of either, of booleans (..., H, W) that broadcast.

    Returns (...); 0 for two empty masks.
    """
    common = (first & second).sum(dim=(-2, -1))
    either = (first | second).sum(dim=(-2, -1))
    return common / either.clamp(min=1)


@torch.no_grad()
def iou_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """The IoU that each mask really has, after thresholding at 0, for the IoU head to learn.

    logits (N, M, H, W), targets (N, H, W). Returns (N, M) of the logits' dtype, without a gradient;
    0 where both are empty.
    """
    return mask_iou(logits > 0, targets[:, None].bool()).to(logits.dtype)


def sample_next_click(
    prediction: Tensor, target: Tensor, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A click where the prediction is wrong, each wrong pixel equally likely.

    prediction, target: (N, H, W) booleans. Returns points (N, 2) float32, x and y, and labels
    (N,) int64: 1 where the object was missed, 0 where the prediction says object and there is none.
    Where nothing is wrong there is nothing to click: (0, 0) with label -1, which the prompt encoder
    takes for no point. With an empty prediction it is a first click: anywhere on the object.
    generator: on the masks' device.
    """
    prediction, target = prediction.bool(), target.bool()
    wrong = (prediction ^ target).flatten(1)  # (N, H * W)
    # The largest of equally distributed numbers stands at each wrong pixel equally often.
    numbers = torch.rand(wrong.shape, generator=generator, device=wrong.device)
    place = numbers.masked_fill(~wrong, -1).argmax(dim=1, keepdim=True)  # (N, 1)
    clicked = wrong.gather(1, place)  # (N, 1)
    labels = target.flatten(1).gather(1, place).long().masked_fill(~clicked, -1)  # (N, 1)
    columns = target.shape[-1]
    points = torch.cat([place % columns, place // columns], dim=1).float()  # (N, x and y)
    return points * clicked, labels.squeeze(1)


def stability_score(logits: Tensor, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """IoU of a mask cut at threshold + offset with the same cut at threshold - offset.

    (Section 5 and appendix B.) logits (..., H, W). Returns (...) float32; 0 where both are empty.
    """
    inner = (logits > threshold + offset).sum(dim=(-2, -1))
    outer = (logits > threshold - offset).sum(dim=(-2, -1))
    return (inner / outer.clamp(min=1)).float()


def mask_nms(masks: Tensor, scores: Tensor, threshold: float = 0.7) -> Tensor:
    """Which masks stay: of two with an IoU above the threshold, the one with the higher score.

    masks (N, H, W) booleans, scores (N,). Masks are taken by falling score; each removes those
    below it that are too like it. Returns indices (kept,) int64, by falling score. (The official
    code compares boxes instead of masks.)
    """
    order = scores.argsort(descending=True, stable=True)
    flat = masks[order].flatten(1).float()  # (N, H * W)
    common = flat @ flat.T  # (N, N)
    areas = flat.sum(dim=1)  # (N,)
    either = areas[:, None] + areas - common  # (N, N)
    alike = common / either.clamp(min=1) > threshold
    stays = torch.ones(len(order), dtype=torch.bool, device=masks.device)
    for index in range(len(order)):
        if stays[index]:
            stays[index + 1 :] &= ~alike[index, index + 1 :]
    return order[stays]


def point_grid(side: int, size: tuple[int, int]) -> Tensor:
    """Middles of side x side equal cells of a picture (height, width), row by row.

    Returns (side * side, 2), x and y in pixels.
    """
    height, width = size
    steps = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(steps * height - 0.5, steps * width - 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def automatic_masks(
    predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    points: Tensor,
    iou_threshold: float = 0.88,
    stability_threshold: float = 0.95,
    nms_threshold: float = 0.7,
) -> tuple[Tensor, Tensor]:
    """Everything that can be cut out of a picture, without a prompt from anybody.

    (Section 5 and appendix B.) predict: points (P, 1, 2) and labels (P, 1) to logits (P, M, H, W)
    and predicted IoU (P, M). points: (P, 2), such as a `point_grid`; each is a click of its own.
    All M masks of all points are candidates. Those stay whose predicted IoU is above, and whose
    stability is at least, its threshold; of doubles the one with the higher predicted IoU. Returns
    masks (K, H, W) booleans and their predicted IoU (K,), falling; K may be 0.
    """
    labels = torch.ones(len(points), 1, dtype=torch.int64, device=points.device)
    logits, scores = predict(points[:, None], labels)
    logits, scores = logits.flatten(0, 1), scores.flatten()  # (P * M, H, W), (P * M,)
    good = (scores > iou_threshold) & (stability_score(logits) >= stability_threshold)
    masks, scores = logits[good] > 0, scores[good]
    kept = mask_nms(masks, scores, nms_threshold)
    return masks[kept], scores[kept]


def data_engine_step(
    masks: Tensor,
    scores: Tensor,
    objects: Tensor,
    budget: int,
    confident: float = 0.9,
    found: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """One picture's labels after a semi-automatic turn of the data engine (section 4).

    masks (K, H, W), scores (K,): automatic masks and their predicted IoU. objects (T, H, W): what a
    person sees in the picture. The model's masks whose score is at least `confident` are kept
    unseen. An object is found if one of them has an IoU of at least `found` with it. Of the objects
    not found, the person draws the largest, at most `budget`. Returns labels (L, H, W),
    booleans, the model's in their order and then the person's, largest first, and by_hand (L,),
    which of them a person drew. Without any object nothing is drawn.
    """
    masks, objects = masks.bool(), objects.bool()
    kept = masks[scores >= confident]
    overlaps = mask_iou(objects[:, None], kept[None])  # (T, kept)
    is_found = (overlaps >= found).any(dim=1)  # (T,)
    missing = objects[~is_found]
    largest = missing.sum(dim=(1, 2)).argsort(descending=True, stable=True)[:budget]
    labels = torch.cat([kept, missing[largest]])  # (L, H, W)
    by_hand = torch.arange(len(labels), device=labels.device) >= len(kept)
    return labels, by_hand
