"""Pictures of any size for a network that takes squares, and the way back for what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Framed:
    """A picture in the upper left of a square, as large as fits (Kirillov et al. 2023, appendix A).

    images: (1, 3, side, side), what the picture leaves free filled with its mean colour. shape:
    (height, width) of the picture. scale: pixels of the square for one of the picture.
    """

    images: Tensor
    shape: tuple[int, int]
    scale: float

    def points(self, points: Tensor) -> Tensor:
        """Places (..., 2), x and y, from the picture's pixels to the square's.

        Integers are the middles of pixels.
        """
        return (points + 0.5) * self.scale - 0.5

    def boxes(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4), x and y of two corners, from the picture's pixels to the square's."""
        return self.points(boxes.unflatten(-1, (2, 2))).flatten(-2)

    def masks(self, logits: Tensor) -> Tensor:
        """Logits (..., side, side) for the square to (..., height, width) for the picture."""
        import torch.nn.functional as F

        side = self.images.shape[-1]
        sides = [max(1, round(length * self.scale)) for length in self.shape]
        factor = side / logits.shape[-1]  # logits may be coarser than the square
        rows, columns = (max(1, round(length / factor)) for length in sides)
        maps = logits.reshape(-1, 1, *logits.shape[-2:])  # (N, 1, side, side)
        picture = maps[..., :rows, :columns]  # what the square holds besides is cut off
        resized = F.interpolate(picture, self.shape, mode="bilinear")  # (N, 1, height, width)
        return resized.reshape(*logits.shape[:-2], *self.shape)


def framed(picture: Tensor, side: int) -> Framed:
    """A picture (3 or 1, height, width) brought into a square of `side` pixels, see `Framed`."""
    import torch.nn.functional as F

    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    size = [max(1, round(length * scale)) for length in (height, width)]
    small = picture.expand(3, -1, -1)[None]  # (1, 3, height, width)
    if size != [height, width]:
        small = F.interpolate(small, size, mode="bilinear", antialias=True).clamp(0, 1)
    square = small.mean(dim=(2, 3), keepdim=True).repeat(1, 1, side, side)  # (1, 3, side, side)
    square[:, :, : size[0], : size[1]] = small
    return Framed(square, (height, width), scale)
