"""One picture of any size and a promptable network: encoded once, then asked as often as somebody clicks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cvcourse.data.framing import Framed, framed

from .masks import automatic_masks, point_grid
from .sam import Sam, check_prompts

Mark = Sequence[Any]
"""("point", row, column, label) or ("box", row, column, height, width), in whole pixels of the picture."""


@dataclass(frozen=True)
class Reply:
    """What the network makes of a prompt. All masks are logits for the picture, above 0 for "belongs to it".

    candidates (M, height, width): what the first mark can mean, with their predicted IoU, guesses (M,). mask
    (height, width): the answer to all marks, with its predicted IoU, guess. chosen: the place of `mask` among the
    candidates, or None where it is not one of them.
    """

    candidates: Tensor
    guesses: Tensor
    mask: Tensor
    guess: float
    chosen: int | None


class Predictor:
    """A network and one picture (3 or 1, height, width), which is encoded here, once.

    square: the picture as the network shall see it, where `framed` is not to make it.
    """

    def __init__(self, sam: Sam, picture: Tensor, square: Framed | None = None):
        self.sam = sam.eval()
        self.frame = square or framed(picture, sam.prompt_encoder.image_size[0])
        self.device = next(sam.parameters()).device
        with torch.no_grad():
            self.embedding = sam.encode(self.frame.images.to(self.device))

    @torch.no_grad()
    def reply(self, marks: Sequence[Mark], pick: int | None = None) -> Reply:
        """The network's answer to clicks and boxes in the order in which they came.

        After each mark all marks so far are asked, together with the logits of the answer before, as in training. To a
        first click there are several answers, of which the one with the highest predicted IoU is taken, or number
        `pick`; a box, and everything after the first mark, has one.
        Raises ValueError without a mark, and for marks outside the picture.
        """
        points, labels, box, logits = [], [], None, None
        first = None
        for kind, *numbers in marks:
            row, column, *rest = (float(number) for number in numbers)
            self._check_inside(kind, row, column)
            if kind == "box":
                height, width = rest
                corners = torch.tensor([[column, row, column + width - 1, row + height - 1]])
                box = self.frame.boxes(corners)
            else:
                points.append(self.frame.points(torch.tensor([column, row])))
                labels.append(int(rest[0]))
            masks, scores = self._ask(points, labels, box, logits)
            if first is None:
                first = masks[0, 1:], scores[0, 1:]
                index = _first_choice(scores[0], is_box=kind == "box", pick=pick)
            else:
                index = 0
            logits, guess = masks[:, index : index + 1], float(scores[0, index])
        if first is None:
            raise ValueError("There is no prompt: give a point or a box.")
        chosen = index - 1 if len(marks) == 1 and index > 0 else None
        return Reply(self.frame.masks(first[0]), first[1], self.frame.masks(logits[0, 0]), guess, chosen)

    @torch.no_grad()
    def everything(
        self, finder: Callable = automatic_masks, side: int = 12, **thresholds: float
    ) -> tuple[Tensor, Tensor]:
        """Automatic masks of the picture: (K, height, width) truth values and predicted IoU (K,).

        finder: a function as `automatic_masks`. side: points along the longer side of the grid.
        """
        height, width = self.frame.shape
        longest = max(height, width)
        grid = self.frame.points(point_grid(side, (longest, longest)))  # then only those inside the picture
        inside = (grid <= torch.tensor([width, height]) * self.frame.scale - 0.5).all(dim=1)

        def predict(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits, scores = self.sam.decode(self.embedding, points.to(self.device), labels.to(self.device))
            return self.frame.masks(logits).cpu(), scores.cpu()

        return finder(predict, grid[inside], **thresholds)

    def _check_inside(self, kind: str, row: float, column: float) -> None:
        height, width = self.frame.shape
        if not (-0.5 <= row < height and -0.5 <= column < width):
            raise ValueError(
                f"A {kind} at row {row:g}, column {column:g} lies outside the picture of {width} x {height} pixels."
            )

    def _ask(
        self, points: list[Tensor], labels: list[int], box: Tensor | None, logits: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """All masks (1, 1 + M, rows, columns) and their predicted IoU (1, 1 + M)."""
        encoder = self.sam.prompt_encoder
        clicks = (torch.stack(points)[None], torch.tensor([labels])) if points else (None, None)
        check_prompts(encoder.image_size, encoder.grid, *clicks, box, logits)
        given = [None if prompt is None else prompt.to(self.device) for prompt in (*clicks, box, logits)]
        sparse, dense = encoder(*given)
        masks, scores = self.sam.mask_decoder.predict_masks(
            self.embedding.features, encoder.positions(), sparse, dense, self.embedding.skips
        )
        return masks, scores


def _first_choice(scores: Tensor, is_box: bool, pick: int | None) -> int:
    """Which of the 1 + M masks answers the first mark."""
    if pick is not None:
        return 1 + pick
    return 0 if is_box else 1 + int(scores[1:].argmax())
