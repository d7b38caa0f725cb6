"""Picture files of any kind as tensors; what is no picture is refused, with the line that reads it.

Three kinds of files hold more than a colour for each pixel. Each is a tensor after one line, and
only its owner knows which part of it a picture should show.

A microscope's stack, of whose slices each place shows the brightest:

>>> stack = torch.from_numpy(tifffile.imread("cells.tif").astype("float32"))  # (slices, H, W)
>>> picture = stack.amax(dim=0) / stack.max()  # (H, W)

A satellite's bands, three of which are shown as red, green and blue:

>>> bands = torch.from_numpy(tifffile.imread("field.tif").astype("float32"))  # (bands, H, W)
>>> picture = bands[[3, 2, 1]] / bands[[3, 2, 1]].max()  # (3, H, W)

A slice of a CT in Hounsfield units, shown in a window from -160, black, to 240, white:

>>> units = torch.from_numpy(imageio.v2.imread("ct.dcm", format="DICOM").astype("float32"))
>>> picture = ((units + 160) / 400).clamp(0, 1)  # (H, W)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from torch import Tensor

from .deep import ORIENTATION, Deep, deep_tensor, floats_in_unit_range, in_unit_range, over_white
from .errors import DataError
from .refusals import check_alpha, line_of_frames, line_of_pillow, refusal, refusal_of_dicom
from .tiffs import STARTS, deep_of_tiff

LONGEST = 384  # pixels of an opened picture: more than a network for small squares can use
EIGHT_BITS = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV".split()
"""Pillow's modes of bytes that it can turn into one another."""

ONE_PICTURE = ("MPO", "PSD")  # formats whose further frames are previews and layers of the first
TWO_BYTES = ("RGB;16B", "RGBA;16B")  # Pillow's names for 16-bit colours in a PNG
FULL = 65535.0  # white in 16 bits
FULL_IS_WHITE = ("PNG", "PPM", "JPEG2000")  # where Pillow brings fewer bits to 16


def open_picture(path: str | Path, longest: int = LONGEST) -> Tensor:
    """A picture file as (3, height, width) float32 in [0, 1], whatever its numbers are.

    Its longest side is shrunk to `longest` pixels at most. Turned as its camera says, transparent
    parts white, grey in all three channels. What is black and what is white:

    - eight bits: 0 and 255 (Pillow also reads 16 bits of grey with an alpha in a PNG, and 16-bit
      colours outside PNG and TIFF, in eight);
    - 16 bits: 0 and 65535, or what a TIFF declares (MinSampleValue, MaxSampleValue, 12 bits);
    - floating point: 0 and 1 where all values lie there, else the least and the largest value.

    Nothing is cut off. Raises DataError, in one sentence, where there is no file, or one that is no
    picture; and in a sentence that ends in the line that reads the file as a tensor, for several
    pages, for bands that are no colours, for an alpha that is data (more than half of it neither
    clear nor opaque, in many values), for other integers, for NaN and infinite values, for values
    outside the declared range, and for DICOM.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise DataError(
            f"There is no file {str(path)!r} here; a path counts from the notebook's folder,"
            f" {Path.cwd()}."
        )
    try:
        return _read(place, longest)
    except DataError:
        raise
    except Exception as error:  # of a damaged file; each reader has errors of its own
        raise DataError(f"{path} cannot be read as a picture.") from error


def _read(place: Path, longest: int) -> Tensor:
    with place.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        raise refusal_of_dicom(place)
    deep = deep_of_tiff(place) if start.startswith(STARTS) else _deep_of_pillow(place)
    if deep is not None:
        return deep_tensor(deep, longest)
    return _eight_bits(place, longest)


def _eight_bits(place: Path, longest: int) -> Tensor:
    """(3, height, width) of a file that Pillow reads as bytes.

    Raises DataError for an alpha that is data.
    """
    with place.open("rb") as stream, Image.open(stream) as file:
        bands = file.getbands()
        if bands[-1] in ("A", "a"):
            refuse = partial(refusal, place, line_of_pillow(place))
            alpha = np.array(file.getchannel(len(bands) - 1)) / 255
            check_alpha(alpha, f"{len(bands)} bands (uint8)", refuse)
        # Opened from a stream: from a path, Pillow 13 gives a turned TIFF rows of the wrong length.
        picture = ImageOps.exif_transpose(file).convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    flat.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(flat)).permute(2, 0, 1).float() / 255


def _deep_of_pillow(place: Path) -> Deep | None:
    """The picture of any file but a TIFF with more than eight bits; None where it has eight.

    Raises DataError for several frames, and for numbers of which nothing says what they mean.
    """
    with place.open("rb") as stream, Image.open(stream) as file:
        _check_one_frame(file, place)
        layout = file.tile[0][3] if file.format == "PNG" else None
        if file.mode in EIGHT_BITS and layout not in TWO_BYTES:
            return None
        transparent = file.info.get("transparency")
        orientation = file.getexif().get(ORIENTATION, 1)
        if layout in TWO_BYTES:
            return Deep(_colours_of_png(place, layout, transparent), orientation)
        return Deep(_grey(file, place), orientation)


def _check_one_frame(file: ImageFile, place: Path) -> None:
    """Raise DataError for an animation, or another file of several pictures."""
    frames = getattr(file, "n_frames", 1)
    if frames > 1 and file.format not in ONE_PICTURE:
        found = f"{frames} pages of {file.height} x {file.width} pixels ({file.format})"
        raise refusal(place, line_of_frames(place), f"{found} and not one picture")


def _colours_of_png(
    place: Path, layout: str, transparent: tuple[int, int, int] | None
) -> np.ndarray:
    """Colours (H, W, 3) in [0, 1], on white, of a PNG with 16 bits for each.

    layout: Pillow's name for how its pixels are packed. transparent: the colour, if any, that
    stands for nothing. Raises DataError for an alpha that is data.
    """
    # Pillow keeps one byte of two: the upper, or the lower if told that bytes stand the other way.
    upper = _bytes_of_png(place, layout).astype(np.uint16)
    values = 256 * upper + _bytes_of_png(place, layout.replace("16B", "16L"))  # (H, W, 3 or 4)
    refuse = partial(refusal, place, line_of_pillow(place))
    colours = in_unit_range(values[..., :3], 0, FULL, refuse)
    if transparent is not None:
        return over_white(colours, (values != transparent).any(axis=2))
    if values.shape[2] == 3:
        return colours
    alpha = values[..., 3] / FULL
    check_alpha(alpha, "4 bands (uint16)", refuse)
    return over_white(colours, alpha)


def _bytes_of_png(place: Path, layout: str) -> np.ndarray:
    """(H, W, channels) uint8 of a PNG whose pixels are unpacked as `layout` says."""
    with place.open("rb") as stream, Image.open(stream) as file:
        codec, box, offset, _ = file.tile[0]
        file.tile = [(codec, box, offset, layout)]  # type: ignore[list-item]  # older Pillow's type
        return np.array(file)


def _grey(file: ImageFile, place: Path) -> np.ndarray:
    """The one channel of a file with more than eight bits, (H, W, 1) in [0, 1].

    Raises DataError for numbers of which nothing says which are black and which white.
    """
    refuse = partial(refusal, place, line_of_pillow(place))
    values = np.array(file)[..., None]
    if file.mode == "F":
        return floats_in_unit_range(values, refuse)
    if not file.mode.startswith("I") or file.format not in FULL_IS_WHITE:
        raise refuse(
            f"numbers ({file.format}, {file.mode}) of which nothing says which are black and which"
            " white"
        )
    colours = in_unit_range(values, 0, FULL, refuse)
    transparent = file.info.get("transparency")
    if transparent is None:
        return colours
    return over_white(colours, values[..., 0] != transparent)
