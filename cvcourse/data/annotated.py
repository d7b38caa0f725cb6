"""`Scenes`: images together with everything that was known when they were painted, and the colours
to show it in."""

from __future__ import annotations

from dataclasses import dataclass, fields
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
    the maxima
        exclusive (`image[:, y_min:y_max, x_min:x_max]`); zeros where nothing is visible.
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
        """The scenes at `index` (a number, a slice, a list, a tensor of numbers or of booleans), as
        `Scenes` again."""
        kept = _positions(index, len(self))
        changed: dict[str, Any] = {name: each[kept] for name, each in self._tensors().items()}
        changed["captions"] = [self.captions[i] for i in kept.tolist()]
        return Scenes(**{**self._values(), **changed})

    def to(self, device: str | torch.device) -> Scenes:
        """The same scenes with every tensor on `device`."""
        return Scenes(
            **{
                **self._values(),
                **{name: tensor.to(device) for name, tensor in self._tensors().items()},
            }
        )

    def legend(self) -> dict[str, tuple[float, float, float]]:
        """Name -> RGB in [0, 1] for the values of `semantic_masks` as `color_masks` paints them,
        background first."""
        return {
            name: mask_color(value) for value, name in enumerate(("background", *self.class_names))
        }

    def _values(self) -> dict:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._values().items() if isinstance(value, Tensor)}


def mask_color(value: int) -> tuple[float, float, float]:
    """RGB in [0, 1] for one mask value; after the eighth object or class the colours come round
    again."""
    return PALETTE[0] if value == 0 else PALETTE[1 + (value - 1) % (len(PALETTE) - 1)]


def color_masks(masks: Tensor) -> Tensor:
    """Masks (..., height, width) of whole numbers from 0 as RGB pictures (..., 3, height, width)
    float32."""
    highest = int(masks.max()) if masks.numel() else 0
    table = torch.tensor([mask_color(value) for value in range(highest + 1)], device=masks.device)
    return table[masks.long()].movedim(-1, -3)


def _positions(index: int | slice | list[int] | Tensor, length: int) -> Tensor:
    positions = torch.arange(length)
    if isinstance(index, list | tuple):
        index = torch.as_tensor(
            index, dtype=torch.bool if index and isinstance(index[0], bool) else torch.int64
        )
    return positions[index.cpu() if isinstance(index, Tensor) else index].reshape(-1)  # (kept,)
