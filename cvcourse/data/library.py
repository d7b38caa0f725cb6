"""Real images that came with libraries: scikit-learn's digits, and photographs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

DIGITS_TEST = 500  # of 1797
# Name -> where the file lies. All of these are inside the libraries' wheels.
PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),
    "cat": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "coins": ("skimage", "data/coins.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "brick": ("skimage", "data/brick.png"),
    "grass": ("skimage", "data/grass.png"),
    "gravel": ("skimage", "data/gravel.png"),
    "hubble": ("skimage", "data/hubble_deep_field.jpg"),
    "moon": ("skimage", "data/moon.png"),
    "retina": ("skimage", "data/retina.jpg"),
    "rocket": ("skimage", "data/rocket.jpg"),
}


class Splits(NamedTuple):
    """`train_images, train_labels, test_images, test_labels = digits()`"""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits() -> Splits:
    """scikit-learn's 1797 handwritten digits.

    Images are (n, 1, 8, 8) float32 in [0, 1], labels int64 from 0 to 9. The split never changes:
    500 for testing, 1297 for training, both shuffled, by the permutation of
    `numpy.random.RandomState(0)`, whose first 500 places are the test set.
    """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.target))
    images = torch.from_numpy(bunch.images[order] / 16).float()[:, None]  # (1797, 1, 8, 8)
    labels = torch.from_numpy(bunch.target[order]).long()  # (1797,)
    return Splits(
        train_images=images[DIGITS_TEST:],
        train_labels=labels[DIGITS_TEST:],
        test_images=images[:DIGITS_TEST],
        test_labels=labels[:DIGITS_TEST],
    )


def photographs(
    names: str | Sequence[str] | None = None, size: int | tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """Name -> photograph, float32 in [0, 1].

    They are (3, height, width) in colour or (1, height, width) in grey. names: one or several of
    `PHOTOGRAPHS`, by default all that are on this machine. size: side in pixels, or (height,
    width): the middle of the picture in these proportions, shrunk without aliasing. Nothing is ever
    downloaded. Raises DataError for one that is not on this machine, ValueError for a wrong size.
    """
    if names is None:
        names = [name for name in PHOTOGRAPHS if photograph_path(name)]
    if isinstance(names, str):
        names = [names]
    pictures = {name: _read(name) for name in names}
    if size is None:
        return pictures
    return {name: _fitted(picture, size) for name, picture in pictures.items()}


def is_installed(library: str) -> bool:
    """Whether a library can be imported, found out without importing it."""
    return find_spec(library) is not None


def photograph_path(name: str) -> Path | None:
    """The file of one of `PHOTOGRAPHS`, or None if it is not on this machine."""
    library, inside = PHOTOGRAPHS[name]
    spec = find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / inside
    return path if path.is_file() else None


def _read(name: str) -> Tensor:
    import numpy as np
    import torch
    from PIL import Image

    path = photograph_path(name) if name in PHOTOGRAPHS else None
    if path is None:
        raise DataError(
            f"There is no photograph {name!r} on this machine; the course knows"
            f" {', '.join(PHOTOGRAPHS)}."
        )
    try:
        with Image.open(path) as picture:
            mode = "L" if picture.mode == "L" else "RGB"
            pixels = np.array(picture.convert(mode))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read as a picture: install the library it belongs to again."
        ) from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)  # (height, width, channels), also in grey
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _fitted(picture: Tensor, size: int | tuple[int, int]) -> Tensor:
    """The largest centred part of a picture in the proportions of `size`, resized to it.

    picture: (channels, height, width).
    """
    import torch.nn.functional as F

    target = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(target) != 2 or not all(isinstance(side, int) and side > 0 for side in target):
        raise ValueError(f"size must be one or two integers of pixels from 1 up, not {size!r}.")
    height, width = picture.shape[1:]
    scale = min(height / target[0], width / target[1])
    rows, columns = (max(1, round(side * scale)) for side in target)
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = picture[None, :, top : top + rows, left : left + columns]
    return F.interpolate(middle, target, mode="bilinear", antialias=True).squeeze(0).clamp(0, 1)
