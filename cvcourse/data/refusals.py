"""What is no picture is refused in one sentence: what was found, and the line that reads it.

The lines use libraries that come with scikit-image: tifffile, imageio, Pillow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import DataError

Refuse = Callable[[str], DataError]
"""Makes the error for what was found in a file, whose name and line it knows."""

LEAST_CLEAR_OR_OPAQUE = 0.5
"""The share of a picture that an alpha leaves clear or opaque, unless it has few values."""

FEW = 16


def refusal(place: Path, line: str, found: str) -> DataError:
    """The error for a file that holds `found`; line: of Python, which reads it as a tensor."""
    return DataError(f"{place} holds {found}; the line that reads it is `{line}`.")


def line_of_pillow(place: Path) -> str:
    """The line that reads a file as Pillow does: (channels, H, W)."""
    read = f"torch.from_numpy(numpy.array(Image.open({str(place)!r})).astype('float32'))"
    imports = "import numpy, torch; from PIL import Image"
    return f"{imports}; values = torch.atleast_3d({read}).movedim(-1, 0)"


def line_of_frames(place: Path) -> str:
    """The line that reads all frames of a file, (frames, 3, H, W)."""
    read = f"imageio.v3.imread({str(place)!r}, index=..., mode='RGB')"
    return f"import imageio.v3, torch; values = torch.from_numpy({read}).movedim(-1, 1).float()"


def refusal_of_dicom(place: Path) -> DataError:
    """The error for a DICOM file, with its size and type where it can be read here."""
    import imageio.v2

    read = f"imageio.v2.imread({str(place)!r}, format='DICOM').astype('float32')"
    line = f"import imageio.v2, torch; values = torch.from_numpy({read})"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a later imageio will ask for pydicom
            values = imageio.v2.imread(place, format="DICOM")
    except Exception:  # compressed, damaged or without pixels: each has an error of its own
        return DataError(
            f"{place} is a DICOM file that nothing here can read: `pip install pydicom`, whose"
            " dcmread gives its numbers."
        )
    size = " x ".join(str(side) for side in values.shape)
    found = f"a DICOM picture of {size} numbers ({values.dtype.name}), which needs a window"
    return refusal(place, line, found)


def check_alpha(alpha: np.ndarray, bands: str, refuse: Refuse) -> None:
    """Raise DataError for a band that is declared alpha and is data.

    alpha: (H, W), 0 clear and 1 opaque. An alpha leaves at least half of the picture clear or
    opaque, or has few values, as a picture that is half clear everywhere. bands: how many of which
    type, in words.
    """
    is_alpha = ((alpha == 0) | (alpha == 1)).mean() >= LEAST_CLEAR_OR_OPAQUE
    values = len(np.unique(alpha))
    if not is_alpha and values > FEW:
        raise refuse(f"{bands}, the last of which is declared alpha and has {values} values")


def check_finite(values: np.ndarray, refuse: Refuse) -> None:
    """Raise DataError for values that are infinite or not a number."""
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise refuse(f"numbers ({values.dtype.name}) of which {bad} are infinite or NaN")
