"""One picture of any size and a promptable network: encoded once, prompted with every click."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cvcourse.data.framing import Framed, framed

from .masks import automatic_masks, point_grid
from .sam import Sam, check_prompts

Mark = Sequence[Any]
"""("point", row, column, label) or ("box", row, column, height, width), in pixels."""

MOST_REMEMBERED = 200
"""Answers that a predictor keeps, so that one more click costs one more answer."""


@dataclass(frozen=True)
class Reply:
    """What the network makes of a prompt.

    All masks are logits for the picture, above 0 for "belongs to it".

    candidates (M, height, width): what the first mark can mean, with their predicted IoU, guesses
    (M,). mask (height, width): the answer to all marks, with its predicted IoU, guess. chosen: the
    place of `mask` among the candidates, or None where it is not one of them.
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
        self.rounds: dict[tuple[tuple[Mark, ...], int | None], _Round] = {}
        with torch.no_grad():
            self.embedding = sam.encode(self.frame.images.to(self.device))

    @torch.no_grad()
    def reply(self, marks: Sequence[Mark], pick: int | None = None) -> Reply:
        """The network's answer to clicks and boxes in the order in which they came.

        After each mark all marks so far are asked, together with the logits of the answer before,
        as in training. To a first click there are several answers, of which the one with the
        highest predicted IoU is taken, or number `pick`; a box, and everything after the first
        mark, has one. Answers to the marks before are remembered. Raises ValueError without a mark,
        and for marks outside the picture.
        """
        if not marks:
            raise ValueError("There is no prompt: give a point or a box.")
        all_marks = tuple(tuple(mark) for mark in marks)
        first = self._round(all_marks[:1], pick)
        last = self._round(all_marks, pick)
        is_candidate = len(all_marks) == 1 and first.taken > 0
        return Reply(
            candidates=self.frame.masks(first.masks[0, 1:]).cpu(),
            guesses=first.scores[0, 1:].cpu(),
            mask=self.frame.masks(last.masks[0, last.taken]).cpu(),
            guess=float(last.scores[0, last.taken]),
            chosen=first.taken - 1 if is_candidate else None,
        )

    @torch.no_grad()
    def everything(
        self, finder: Callable = automatic_masks, side: int = 12, **thresholds: float
    ) -> tuple[Tensor, Tensor]:
        """Automatic masks of the picture: (K, height, width) booleans and predicted IoU (K,).

        finder: a function as `automatic_masks`. side: points along the longer side of the grid.
        """
        height, width = self.frame.shape
        longest = max(height, width)
        grid = self.frame.points(point_grid(side, (longest, longest)))  # of a square, (side^2, 2)
        end = torch.tensor([width, height]) * self.frame.scale - 0.5
        inside = (grid <= end).all(dim=1)  # those inside the picture

        def predict(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            # The network looks labels up in a table; callers may give any kind of number.
            points, labels = points.to(self.device), labels.to(self.device, torch.int64)
            logits, scores = self.sam.decode(self.embedding, points, labels)
            return self.frame.masks(logits).cpu(), scores.cpu()

        return finder(predict, grid[inside], **thresholds)

    def _round(self, marks: tuple[Mark, ...], pick: int | None) -> _Round:
        """The answer to all these marks, the last of which is new."""
        if (marks, pick) in self.rounds:
            return self.rounds[marks, pick]
        before = self._round(marks[:-1], pick) if len(marks) > 1 else None
        kind, row, column = marks[-1][:3]
        self._check_inside(kind, row, column)
        logits = before.masks[:, before.taken, None] if before else None  # (1, 1, rows, columns)
        points, labels, box = self._prompts(marks)
        masks, scores = self._ask(points, labels, box, logits)
        taken = 0 if before else _first_choice(scores[0], kind == "box", pick)
        found = self.rounds[marks, pick] = _Round(masks, scores, taken)
        if len(self.rounds) > MOST_REMEMBERED:
            self.rounds.pop(next(iter(self.rounds)))
        return found

    def _check_inside(self, kind: str, row: float, column: float) -> None:
        """Raise ValueError for a mark that does not begin in the picture."""
        height, width = self.frame.shape
        if not (-0.5 <= row < height and -0.5 <= column < width):
            raise ValueError(
                f"A {kind} at row {row:g}, column {column:g} lies outside the picture of {width} x"
                f" {height} pixels."
            )

    def _prompts(
        self, marks: tuple[Mark, ...]
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Points (1, points, 2), labels (1, points) and the last box (1, 4), in the square.

        None stands for prompts that are not among the marks.
        """
        clicks = [mark[1:] for mark in marks if mark[0] == "point"]
        boxes = [mark[1:] for mark in marks if mark[0] == "box"]
        points, labels, box = None, None, None
        if clicks:
            places = [[column, row] for row, column, _ in clicks]
            points = self.frame.points(torch.tensor([places], dtype=torch.float32))
            labels = torch.tensor([[label for _, _, label in clicks]])
        if boxes:
            row, column, height, width = boxes[-1]
            corners = [column, row, column + width - 1, row + height - 1]
            box = self.frame.boxes(torch.tensor([corners], dtype=torch.float32))
        return points, labels, box

    def _ask(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        box: Tensor | None,
        logits: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """All masks (1, 1 + M, rows, columns) and their predicted IoU (1, 1 + M)."""
        encoder = self.sam.prompt_encoder
        check_prompts(encoder.image_size, encoder.grid, points, labels, box, logits)
        prompts = []
        for prompt in (points, labels, box, logits):
            prompts.append(None if prompt is None else prompt.to(self.device))
        sparse, dense = encoder(*prompts)
        return self.sam.mask_decoder.predict_masks(
            self.embedding.features, encoder.positions(), sparse, dense, self.embedding.skips
        )


class _Round(NamedTuple):
    """All masks and predicted IoU of one round, and which of them is the answer."""

    masks: Tensor  # (1, 1 + M, rows, columns)
    scores: Tensor  # (1, 1 + M)
    taken: int  # of the 1 + M


def _first_choice(scores: Tensor, is_box: bool, pick: int | None) -> int:
    """Which of the 1 + M masks answers the first mark. scores: (1 + M,)."""
    if pick is not None:
        return 1 + pick
    if is_box:
        return 0
    return 1 + int(scores[1:].argmax())
