"""`Scenes`: images together with everything that was known when they were painted.

And the colours to show it in.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

# Light grey for the background, then Okabe and Ito (2008): eight colours told apart by colour-blind
# readers too.
PALETTE: tuple[tuple[float, float, float], ...] = (
    (0.93, 0.93, 0.93),
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.00, 0.62, 0.45),
    (0.94, 0.89, 0.26),
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
    (0.80, 0.47, 0.65),
    (0.00, 0.00, 0.00),
)


@dataclass(frozen=True)
class Scenes:
    """Painted images and their annotations; `scenes[index]` keeps some of them.

    images: (count, channels, height, width) float32 in [0, 1].
    labels: (count,) int64, the class of the principal object, which lies in front of all others; -1
    without objects.
    instance_masks: (count, height, width) uint8, 0 = background, k = the k-th object painted;
    visible pixels only.
    semantic_masks: (count, height, width) uint8, 0 = background, class + 1 elsewhere.
    boxes: (count, objects, 4) float32, x_min, y_min, x_max, y_max of the visible pixels, in pixels,
    the maxima exclusive (`image[:, y_min:y_max, x_min:x_max]`); zeros where nothing is visible.
    visible: (count, objects) bool, whether the object has a visible pixel. False for objects that a
    scene lacks.
    classes, colors, textures: (count, objects) int64, indices into the three tuples of names; -1
    for lacking objects.
    captions: one sentence an image, such as "a striped red star in front of a solid blue disc".
    class_names, color_names, texture_names: what the indices mean.

    `objects` is the largest number of objects in a scene, and their order is the order of painting.
    """

    images: Tensor
    labels: Tensor
    instance_masks: Tensor
    semantic_masks: Tensor
    boxes: Tensor
    visible: Tensor
    classes: Tensor
    colors: Tensor
    textures: Tensor
    captions: list[str]
    class_names: tuple[str, ...]
    color_names: tuple[str, ...]
    texture_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Scenes:
        """The scenes at `index`, as `Scenes` again.

        index: a number, a slice, a list, a tensor of numbers or of booleans.
        """
        kept = _positions(index, len(self))
        changed: dict[str, Any] = {name: tensor[kept] for name, tensor in self._tensors().items()}
        return replace(self, captions=[self.captions[i] for i in kept.tolist()], **changed)

    def to(self, device: str | torch.device) -> Scenes:
        """The same scenes with every tensor on `device`."""
        moved: dict[str, Any] = {
            name: tensor.to(device) for name, tensor in self._tensors().items()
        }
        return replace(self, **moved)

    def legend(self) -> dict[str, tuple[float, float, float]]:
        """Name -> RGB in [0, 1] for the values of `semantic_masks`, background first.

        So `color_masks` paints them.
        """
        names = ("background", *self.class_names)
        return {name: mask_color(value) for value, name in enumerate(names)}

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def mask_color(value: int) -> tuple[float, float, float]:
    """RGB in [0, 1] for one mask value; after the eighth object or class, colours come again."""
    if value == 0:
        return PALETTE[0]
    return PALETTE[1 + (value - 1) % (len(PALETTE) - 1)]


def color_masks(masks: Tensor) -> Tensor:
    """Masks of integers from 0 as RGB pictures.

    masks: (..., height, width). Returns (..., 3, height, width) float32.
    """
    highest = int(masks.max()) if masks.numel() else 0
    table = torch.tensor([mask_color(value) for value in range(highest + 1)], device=masks.device)
    return table[masks.long()].movedim(-1, -3)


def _positions(index: int | slice | list[int] | Tensor, length: int) -> Tensor:
    """The places (kept,) that an index means among `length`."""
    if isinstance(index, list | tuple):
        is_mask = bool(index) and isinstance(index[0], bool)
        index = torch.as_tensor(index, dtype=torch.bool if is_mask else torch.int64)
    if isinstance(index, Tensor):
        index = index.cpu()
    return torch.arange(length)[index].reshape(-1)
