"""Panels of a picture: `image`, `curves`, `bars`, `text`, and the `Scene` that holds them.

Everything is converted to colours, coordinates and tick labels here, once, so that the browser
(lab.js) and paper (static.py) only put them down. Sizes are in CSS pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cvcourse.widgets import colours

LARGEST_SENT = 512
"""Longest side, in pixels, of an image sent to the browser; larger ones are averaged down."""

MOST_NUMBERS = 400
"""Above this many pixels, numbers in the pixels could not be read and are left out."""

MOST_FOR_NUMBERS = 340
"""Longest side on the screen of an image that grows for the sake of its numbers."""


@dataclass(frozen=True)
class Image:
    """An image ready to draw. rgba: (rows, columns, 4) uint8."""

    rgba: np.ndarray
    title: str
    numbers: list[list[str]] | None
    boxes: list[dict[str, Any]]
    points: list[dict[str, Any]]
    legend: dict[str, Any] | None
    remark: str
    side: int | None
    kind = "image"

    def size(self, side: int) -> tuple[int, int]:
        """(width, height) with the longest side `side`, or the one asked for."""
        rows, columns = self.rgba.shape[:2]
        scale = (self.side or side) / max(rows, columns)
        return max(24, round(columns * scale)), max(8, round(rows * scale))

    def side_for_numbers(self) -> int:
        """How long the longest side has to be for the numbers to be read; 0 without numbers."""
        return min(MOST_FOR_NUMBERS, 27 * max(self.rgba.shape[:2])) if self.numbers else 0

    def describe(self) -> dict[str, Any]:
        pixels = _averaged(self.rgba)
        return {
            "title": self.title,
            "remark": self.remark,
            "shape": list(self.rgba.shape[:2]),
            "sent": list(pixels.shape[:2]),
            "data": pixels.tobytes(),
            "numbers": self.numbers,
            "boxes": self.boxes,
            "points": self.points,
            "legend": self.legend,
        }


@dataclass(frozen=True)
class Curves:
    """Lines over common axes. series: name, colour, dash and float32 x, y of equal length."""

    series: list[dict[str, Any]]
    title: str
    x: "Axis"
    y: "Axis"
    marks: list[tuple[float, float]]
    kind = "curves"

    def size(self, side: int) -> tuple[int, int]:
        return 320, 224

    def describe(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "series": [_as_bytes(line) for line in self.series],
            "x": vars(self.x),
            "y": vars(self.y),
            "marks": [list(mark) for mark in self.marks],
        }


@dataclass(frozen=True)
class Bars:
    """Named numbers as horizontal bars, so that names of any length can be read."""

    names: list[str]
    heights: list[float | None]
    said: list[str]
    title: str
    y: "Axis"
    kind = "bars"

    def size(self, side: int) -> tuple[int, int]:
        row = 26 if len(self.names) <= 12 else 18
        return 320, (46 if self.y.label else 30) + row * len(self.names)

    def describe(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "names": self.names,
            "heights": self.heights,
            "said": self.said,
            "y": vars(self.y),
            "colour": colours.BLUE,
            "below": colours.VERMILLION,
        }


@dataclass(frozen=True)
class Text:
    """A line or a few of text under the pictures."""

    content: str
    kind = "text"

    def size(self, side: int) -> tuple[int, int]:
        return 0, 0

    def describe(self) -> dict[str, Any]:
        return {"content": self.content}


@dataclass(frozen=True)
class Axis:
    """One axis: its limits, its label, and the ticks (value, text) that fall inside."""

    low: float
    high: float
    label: str
    ticks: list[tuple[float, str]]


Panel = Image | Curves | Bars | Text


@dataclass(frozen=True, init=False)
class Scene:
    """Panels from left to right, and one line of caption under them."""

    panels: tuple[Panel, ...]
    caption: str = field(default="")

    def __init__(self, *panels: Panel, caption: str = ""):
        for panel in panels:
            if not isinstance(panel, Panel):
                kind = type(panel).__name__
                raise TypeError(
                    f"A scene holds panels made by image, curves, bars or text, not a {kind}."
                )
        object.__setattr__(self, "panels", panels)
        object.__setattr__(self, "caption", caption)

    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each panel: the more there are, the smaller; all images are alike."""
        pictures = sum(isinstance(panel, Image | Curves | Bars) for panel in self.panels)
        usual = {0: 300, 1: 300, 2: 260}.get(pictures, 220)
        images = [panel for panel in self.panels if isinstance(panel, Image)]
        side = max([usual, *(image.side_for_numbers() for image in images)])
        return [panel.size(side) for panel in self.panels]

    def pictures_in_a_row(self) -> int:
        """2 where there are four, which stand better as two by two than as three and one; else 0,
        for as many as fit."""
        return 2 if sum(not isinstance(panel, Text) for panel in self.panels) == 4 else 0

    def describe(self) -> dict[str, Any]:
        """What the browser needs to draw it: JSON, with pixels and coordinates as bytes."""
        drawn = [
            {"kind": panel.kind, "width": width, "height": height} | panel.describe()
            for panel, (width, height) in zip(self.panels, self.sizes(), strict=True)
        ]
        return {"panels": drawn, "caption": self.caption, "columns": self.pictures_in_a_row()}


def image(
    picture: Any,
    title: str = "",
    *,
    colours: str = "grey",
    limits: tuple[float, float] | None = None,
    numbers: bool = False,
    boxes: Sequence[Sequence[Any]] = (),
    points: Sequence[Sequence[Any]] = (),
    size: int | None = None,
) -> Image:
    """A picture panel.

    picture: (H, W), (1, H, W), (3, H, W) or (H, W, 3), tensor or array; uint8, or floating point in
        [0, 1].
    colours: "grey", "signed" (white at 0), "heat" or "labels" (class numbers; below 0 is
        transparent).
    limits: values drawn as the first and the last colour. Without them: [0, 1] for floats that stay
        inside, else the smallest and largest value; symmetric around 0 for "signed".
    numbers: write each value in its pixel, when they are few enough to be read.
    boxes: (row, column, height, width), in pixels, then optionally a text.
    points: (row, column), then optionally the number of a colour, then optionally a character to
        write on it.
    size: longest side on the screen, in CSS pixels, when the usual one does not suit.

    Raises ValueError for another shape or another name of colours.
    """
    values = to_image(picture)
    if colours not in ("grey", "signed", "heat", "labels"):
        raise ValueError(
            f'image takes colours "grey", "signed", "heat" or "labels", not {colours!r}.'
        )
    finite = np.isfinite(values)
    low, high = limits or _auto_limits(values, finite, colours)
    missing = int((~finite).sum())
    remark = f"{values.shape[0]} × {values.shape[1]}"
    if missing:
        remark += f" · {missing} not a number"
    several = len(boxes) > 1
    return Image(
        rgba=_to_rgba(values, finite, colours, low, high),
        title=title,
        numbers=_numbers(values) if numbers and values.ndim == 2 else None,
        boxes=[_box(k if several else 1, box) for k, box in enumerate(boxes)],
        points=[_point(point) for point in points],
        legend=_legend(values, colours, low, high),
        remark=remark,
        side=size,
    )


def curves(
    series: Mapping[str, Any],
    title: str = "",
    *,
    x_label: str = "",
    y_label: str = "",
    marks: Sequence[tuple[float, float]] = (),
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> Curves:
    """Lines over common axes.

    series: name -> y, or name -> (x, y); each a one-dimensional tensor, array or list. A tuple of
        two is (x, y). Values that are not finite leave a gap.
    marks: (x, y) places to dot. x_limits, y_limits: of the axes; without them all values fit.

    Raises ValueError for x and y of unequal length.
    """
    lines = [_line(k, name, values) for k, (name, values) in enumerate(series.items())]
    dots = [(float(x), float(y)) for x, y in marks]
    all_x = np.concatenate([line["x"] for line in lines] + [[x for x, _ in dots]])
    all_y = np.concatenate([line["y"] for line in lines] + [[y for _, y in dots]])
    x = _axis(*(x_limits or _span(all_x, 0)), x_label)
    y = _axis(*(y_limits or _span(all_y, 0.06)), y_label)
    return Curves(series=lines, title=title, x=x, y=y, marks=dots)


def bars(
    values: Mapping[str, float],
    title: str = "",
    *,
    y_label: str = "",
    limits: tuple[float, float] | None = None,
) -> Bars:
    """Named numbers as bars from 0.

    limits: the range of the value axis; without them all values fit, and 0 is always inside.
    """
    heights = [float(value) for value in values.values()]
    finite = [height for height in heights if math.isfinite(height)]
    low, high = limits or (min([0.0, *finite]), max([0.0, *finite]))
    high = high if high > low else low + 1
    return Bars(
        names=[str(name) for name in values],
        heights=[height if math.isfinite(height) else None for height in heights],
        said=_said_alike(heights),
        title=title,
        y=_axis(low, high, y_label),
    )


def text(content: str) -> Text:
    """A line of text under the pictures; words between backticks are set as code."""
    return Text(str(content))


def to_array(values: Any) -> np.ndarray:
    """A tensor (any device or precision), array, list or number as a numpy array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # numpy has no bfloat16.
        values = values.float().numpy() if values.is_floating_point() else values.numpy()
    return np.asarray(values)


def to_image(picture: Any) -> np.ndarray:
    """A picture in any accepted layout as (H, W) or (H, W, 3)."""
    array = to_array(picture)
    shape = array.shape
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or array.size == 0:
        raise ValueError(
            f"image takes (H, W), (1, H, W), (3, H, W) or (H, W, 3), not shape {shape}."
        )
    return array


def say(value: float) -> str:
    """A number in at most three digits or so, with a real minus sign: -0.25 -> "−0.25"."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e5 or 0 < size < 5e-3:
        said = f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    elif size >= 100:
        said = f"{value:.0f}"
    elif size >= 10:
        said = _short(f"{value:.1f}")
    else:
        said = _short(f"{value:.2f}")
    return said.replace("-", "−")


def _short(decimal: str) -> str:
    """Without zeros that say nothing: "0.50" -> "0.5", "2.00" -> "2"."""
    return decimal.rstrip("0").rstrip(".")


def _said_alike(values: list[float]) -> list[str]:
    """Numbers in words, with as many decimals each as any of them needs."""
    said = [say(value) for value in values]
    if any("e" in number for number in said) or not all(map(math.isfinite, values)):
        return said
    decimals = max((len(number.partition(".")[2]) for number in said), default=0)
    return [f"{value:.{decimals}f}".replace("-", "−") for value in values]


def _auto_limits(values: np.ndarray, finite: np.ndarray, name: str) -> tuple[float, float]:
    """The values that get the first and the last colour."""
    if values.dtype == np.uint8 and name != "signed":
        return 0, 255
    kept = values if finite.all() else values[finite]
    low, high = (float(kept.min()), float(kept.max())) if kept.size else (0.0, 1.0)
    if name == "signed":
        largest = max(abs(low), abs(high)) or 1.0
        return -largest, largest
    if name == "grey" and low >= -1e-3 and high <= 1 + 1e-3:
        return 0, 1
    return low, high if high > low else low + 1


def _to_rgba(
    values: np.ndarray, finite: np.ndarray, name: str, low: float, high: float
) -> np.ndarray:
    """(H, W) or (H, W, 3) values to (H, W, 4) uint8."""
    rgba = np.full((*values.shape[:2], 4), 255, dtype=np.uint8)
    if name == "labels":
        labels = np.where(finite, values, -1).astype(int)
        rgba[..., :3] = colours.label_colours(labels)
        rgba[..., 3] = np.where(labels < 0, 0, 255)
        return rgba
    whole = finite.all()
    known = values if whole else np.where(finite, values, low)
    unit = known.astype(np.result_type(values, np.float32)) - low
    unit /= high - low
    unit.clip(0, 1, out=unit)
    rgba[..., :3] = np.round(unit * 255) if values.ndim == 3 else colours.look_up(unit, name)
    if not whole:
        pixels = finite if finite.ndim == 2 else finite.all(-1)
        rgba[~pixels, :3] = colours.to_rgb(colours.NOT_A_NUMBER)
    return rgba


def _legend(values: np.ndarray, name: str, low: float, high: float) -> dict[str, Any] | None:
    """What the colours mean; none for an ordinary picture: its black and white need no telling."""
    ordinary = name == "grey" and (low, high) in ((0, 1), (0, 255))
    if name == "labels" or ordinary or values.ndim == 3:
        return None
    return {"stops": list(colours.MAPS[name]), "low": say(low), "high": say(high)}


def _numbers(values: np.ndarray) -> list[list[str]] | None:
    """Each value in words, when few enough; what is zero but for rounding reads 0."""
    if values.size > MOST_NUMBERS:
        return None
    values = values.astype(float)
    dust = 1e-6 * np.abs(values[np.isfinite(values)]).max(initial=0)
    shown = np.where(np.abs(values) <= dust, 0.0, values)
    return [[say(value) for value in row] for row in shown.tolist()]


def _box(k: int, box: Sequence[Any]) -> dict[str, Any]:
    """A box for the browser, in the k-th colour; (row, column, height, width, maybe a text)."""
    row, column, height, width, *label = box
    at = [float(edge) for edge in (row, column, height, width)]
    return {"at": at, "label": str(label[0]) if label else "", "colour": colours.colour(k)}


def _point(point: Sequence[Any]) -> dict[str, Any]:
    """A point for the browser; (row, column, maybe the number of a colour, maybe a character)."""
    row, column, *more = point
    number = int(more[0]) if more else 1
    said = str(more[1]) if len(more) > 1 else ""
    return {"at": [float(row), float(column)], "colour": colours.colour(number), "said": said}


def _averaged(rgba: np.ndarray) -> np.ndarray:
    """A large image made small enough to send at every move of a slider."""
    longest = max(rgba.shape[:2])
    if longest <= LARGEST_SENT:
        return np.ascontiguousarray(rgba)
    from PIL import Image as Pillow  # only large images need it

    rows, columns = (max(1, round(side * LARGEST_SENT / longest)) for side in rgba.shape[:2])
    return np.asarray(Pillow.fromarray(rgba).resize((columns, rows), Pillow.Resampling.BOX))


def _line(k: int, name: str, values: Any) -> dict[str, Any]:
    """A curve for the browser, in the k-th colour and line style; values: y, or (x, y)."""
    both = isinstance(values, tuple) and len(values) == 2
    y = to_array(values[1] if both else values).astype(np.float32)
    x = to_array(values[0] if both else np.arange(len(y))).astype(np.float32)
    if y.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f'curves: "{name}" needs x and y of one equal length, not shapes {x.shape} and'
            f" {y.shape}."
        )
    return {
        "name": name,
        "x": x,
        "y": y,
        "colour": colours.colour(k),
        "dash": colours.DASHES[k % len(colours.DASHES)],
    }


def _as_bytes(line: dict[str, Any]) -> dict[str, Any]:
    """A curve with its float32 coordinates as bytes."""
    return line | {"x": line["x"].tobytes(), "y": line["y"].tobytes()}


def _span(values: np.ndarray, margin: float) -> tuple[float, float]:
    """Limits that hold all finite values, with a share of air on both sides."""
    finite = values[np.isfinite(values)].astype(float)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low == high:
        return low - 0.5, high + 0.5
    return low - margin * (high - low), high + margin * (high - low)


def _axis(low: float, high: float, label: str) -> Axis:
    low, high = float(low), float(high)
    if not low < high:
        raise ValueError(f"An axis needs limits (low, high) with low < high, not ({low}, {high}).")
    return Axis(low, high, label, _ticks(low, high))


def _ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """About `count` round values between low and high, with equal decimals."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    decimals = -math.floor(math.log10(step) + 1e-9)
    if abs(step / power - 2.5) < 1e-9:
        decimals += 1  # 0.25 has one more than 0.2
    decimals = max(0, decimals)
    places = [k * step for k in range(first, last + 1)]
    if max(abs(low), abs(high)) >= 1e5 or decimals > 5:
        said = [f"{place:.3g}" for place in places]
    else:
        said = [f"{place + 0.0:.{decimals}f}" for place in places]
    return [(place, text.replace("-", "−")) for place, text in zip(places, said, strict=True)]
