"""What a TIFF holds: a picture of bytes, a deeper picture, or something that is no picture."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .deep import ORIENTATION, Deep, floats_in_unit_range, in_unit_range, over_white
from .refusals import Refuse, check_alpha, refusal

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF's
COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "PALETTE": 1, "RGB": 3, "YCBCR": 3, "SEPARATED": 4}
"""How many bands of which kind are colours."""

DEEP = ("MINISBLACK", "MINISWHITE", "RGB")  # the kinds that are read in more than eight bits
PREMULTIPLIED, ALPHA = 1, 2  # what the tag ExtraSamples says of an alpha
LEAST, MOST = (280, 340), (281, 341)  # tags of the declared range; the second is for any type


def deep_of_tiff(place: Path) -> Deep | None:
    """The picture of a TIFF with more than eight bits, or None where it has eight at most.

    Raises DataError for several pages, for bands that are no colours and no alpha, and for numbers
    of which nothing says which are black and white.
    """
    from tifffile import TiffFile

    with TiffFile(place) as tiff:
        page = tiff.pages.first
        refuse = partial(refusal, place, line_of_tiff(place, tiff))
        check_one_page(tiff, refuse)
        check_bands(page, refuse)
        if page.dtype in (np.uint8, np.bool_):
            return None
        check_pixels(page, refuse)
        colours = colours_of(page, pixels_of(page, place), refuse)
        turned = page.tags.get(ORIENTATION)
        return Deep(colours, turned.value if turned else 1)


def line_of_tiff(place: Path, tiff: TiffFile) -> str:
    """The line that reads a TIFF: pages or bands first, then height and width."""
    path = str(place)
    if len(tiff.series) > 1:  # pages that differ in size or type
        tensor = "torch.from_numpy(page.asarray().astype('float32'))"
        pages = f"tifffile.TiffFile({path!r}).pages"
        return f"import tifffile, torch; values = [{tensor} for page in {pages}]"
    tensor = f"torch.from_numpy(tifffile.imread({path!r}).astype('float32'))"
    if tiff.pages.first.axes.endswith("S"):  # bands side by side
        tensor += ".movedim(-1, -3)"
    return f"import tifffile, torch; values = {tensor}"


def check_one_page(tiff: TiffFile, refuse: Refuse) -> None:
    """Raise DataError for several pages, wherever the file counts them."""
    first, page = tiff.series[0], tiff.pages.first
    others = [side for axis, side in zip(first.axes, first.shape, strict=True) if axis not in "YXS"]
    pages = max(len(tiff.pages), math.prod(others))
    if pages > 1:
        size = f"{page.imagelength} x {page.imagewidth}"
        raise refuse(f"{pages} pages of {size} pixels ({type_of(page)}) and not one picture")


def check_bands(page: TiffPage, refuse: Refuse) -> None:
    """Raise DataError unless the bands are the colours of their kind, with an alpha or without."""
    bands, kind = page.samplesperpixel, kind_of(page)
    if bands != COLOURS.get(kind, 0) + has_alpha(page):
        raise refuse(
            f"{bands} bands ({type_of(page)}, {kind}) that are no grey and no colours here"
        )


def check_pixels(page: TiffPage, refuse: Refuse) -> None:
    """Raise DataError for a kind or type that cannot be shown, and for far too many pixels."""
    kind = kind_of(page)
    if kind not in DEEP:
        bands = f"{page.samplesperpixel} bands ({type_of(page)}, {kind})"
        raise refuse(f"{bands} of a kind that is shown in eight bits alone")
    most = 2 * (Image.MAX_IMAGE_PIXELS or math.inf)  # where Pillow refuses, too
    if page.imagelength * page.imagewidth > most:
        raise refuse(f"{page.imagelength} x {page.imagewidth} pixels, too many to show")
    if not is_float(page) and page.dtype != np.uint16:
        raise refuse(
            f"numbers ({type_of(page)}) of which nothing says which are black and which white"
        )


def colours_of(page: TiffPage, pixels: np.ndarray, refuse: Refuse) -> np.ndarray:
    """Pixels (H, W, bands) as colours (H, W, 1 or 3) in [0, 1], on white where there is an alpha.

    Raises DataError for values outside the declared range, for values that are not finite, and for
    an alpha that is none.
    """
    values, alpha = pixels, None
    if has_alpha(page):
        values, alpha = pixels[..., :-1], alpha_of(page, pixels[..., -1], refuse)
    if is_float(page):
        colours = floats_in_unit_range(values, refuse)
    else:
        colours = in_unit_range(values, *declared_range(page), refuse)
    if kind_of(page) == "MINISWHITE":
        colours = 1 - colours
    if alpha is None:
        return colours
    return over_white(colours, alpha, page.extrasamples[0] == PREMULTIPLIED)


def alpha_of(page: TiffPage, band: np.ndarray, refuse: Refuse) -> np.ndarray:
    """A band (H, W) that is declared alpha, in [0, 1]. Raises DataError where it is data."""
    bands = f"{page.samplesperpixel} bands ({type_of(page)})"
    alpha = band.astype(np.float64) / (1 if is_float(page) else 2**page.bitspersample - 1)
    if not (alpha.min() >= 0 and alpha.max() <= 1):
        raise refuse(f"{bands}, the last of which is declared alpha and leaves 0 to 1")
    check_alpha(alpha, bands, refuse)
    return alpha


def declared_range(page: TiffPage) -> tuple[float, float]:
    """What stands for black and white: the file's own tags, else all that its bits can hold."""
    least, most = 0.0, float(2**page.bitspersample - 1)
    lows = [np.min(page.tags[tag].value) for tag in LEAST if tag in page.tags]
    highs = [np.max(page.tags[tag].value) for tag in MOST if tag in page.tags]
    low, high = float(lows[0]) if lows else least, float(highs[0]) if highs else most
    return (low, high) if low < high else (least, most)


def pixels_of(page: TiffPage, place: Path) -> np.ndarray:
    """(height, width, bands), as stored."""
    from tifffile import TIFF

    if page.compression in TIFF.DECOMPRESSORS and page.predictor in TIFF.UNPREDICTORS:
        pixels = page.asarray()
    else:  # Pillow unpacks more than tifffile alone; of grey pictures it keeps every bit
        pixels = _pixels_by_pillow(page, place)
    if page.axes.startswith("S"):  # one band after the other
        pixels = np.moveaxis(pixels, 0, -1)
    return pixels.reshape(page.imagelength, page.imagewidth, -1)


def _pixels_by_pillow(page: TiffPage, place: Path) -> np.ndarray:
    with Image.open(place) as file:
        if page.samplesperpixel > 1 or file.mode not in ("I;16", "I;16B", "I;16L", "F"):
            raise ValueError("Pillow would make bytes of it.")
        return np.array(file)


def kind_of(page: TiffPage) -> str:
    """The photometric interpretation, in TIFF's own word."""
    return getattr(page.photometric, "name", str(page.photometric))


def type_of(page: TiffPage) -> str:
    """The type of a page's numbers, in numpy's word."""
    return page.dtype.name if page.dtype is not None else f"{page.bitspersample} bits"


def is_float(page: TiffPage) -> bool:
    return page.dtype is not None and page.dtype.kind == "f"


def has_alpha(page: TiffPage) -> bool:
    return len(page.extrasamples) == 1 and page.extrasamples[0] in (PREMULTIPLIED, ALPHA)
