"""The same panels as a matplotlib picture: for paper, exported pages, and readers without a running
kernel.

The page is always white with dark text: it then reads the same in a light and in a dark notebook,
and in print.
"""

import base64
import html
import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from cvcourse.widgets import colours
from cvcourse.widgets.panels import Axis, Bars, Curves, Image, Panel, Scene, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CSS_INCH = 96
"""CSS pixels in an inch: scenes are laid out in CSS pixels, matplotlib in inches and points."""

PAGE, GAP, TITLE, LEGEND, LINE = 720, 26, 24, 24, 19
"""Width of the page, space between panels, and heights of a title, a legend and a line of text, in
CSS pixels."""

TEXT = 9.75  # points: 13 CSS pixels


def show(*panels: Panel, caption: str = "", alt: str = "") -> None:
    """Display panels as a plain picture, with the look of the labs. alt: what it shows, in
    words."""
    if mode() == "off":
        return
    from IPython.display import display

    data, metadata = picture_bundle(figure_of(Scene(*panels, caption=caption)), alt or caption)
    display(data, metadata=metadata, raw=True)


def mode() -> str:
    """How widgets behave: "live", "static" (pictures only), or "off" while nbgrader executes the
    notebook."""
    if os.environ.get("NBGRADER_EXECUTION") or os.environ.get("CVCOURSE_WIDGETS") == "off":
        return "off"
    return "static" if os.environ.get("CVCOURSE_WIDGETS") == "static" else "live"


def picture_bundle(figure: "Figure", alt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A figure as notebook output (data, metadata): a PNG of twice the screen's usual density, and
    its words.

    As HTML too: neither JupyterLab nor nbconvert puts a PNG's words where a screen reader finds
    them.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=2 * CSS_INCH)
    png = base64.b64encode(file.getvalue()).decode()
    width, height = (round(inches * CSS_INCH) for inches in figure.get_size_inches())
    words = html.escape(alt or "a picture", quote=True)
    page = (
        f'<img src="data:image/png;base64,{png}" alt="{words}" width="{width}" style="max-width:'
        ' 100%">'
    )
    data = {"text/html": page, "image/png": png, "text/plain": alt or "a picture"}
    return data, {"image/png": {"width": width, "height": height, "alt": alt}}


def figure_of(
    scene: Scene, title: str = "", settings: str = "", notes: list[str] | None = None
) -> "Figure":
    """A scene as a figure: title and settings above, panels in rows, then texts, caption and
    notes."""
    from matplotlib.figure import (
        Figure,
    )  # without pyplot: nothing is shown twice, and it loads faster

    rows = _rows(scene)
    below = [
        line
        for panel in scene.panels
        if isinstance(panel, Text)
        for line in panel.content.splitlines()
    ]
    lines = [(line, colours.INK) for line in below]
    lines += [(line, colours.MUTED) for line in [scene.caption, *(notes or [])] if line]
    lines = [(part, ink) for line, ink in lines for part in _wrapped(line)]
    head = [line for line in [title, *_wrapped(settings)] if line]
    tall = sum(_row_height(row) + GAP for row in rows)
    width, height = PAGE, 2 * 14 + (12 + LINE * len(head) if head else 0) + tall + LINE * len(lines)
    figure = Figure(figsize=(width / CSS_INCH, max(height, 40) / CSS_INCH), facecolor="white")
    pen = _Pen(figure, width, max(height, 40))
    for k, line in enumerate(head):
        first = k == 0 and bool(title)
        pen.write(
            line,
            weight="bold" if first else "normal",
            ink=colours.INK if first else colours.MUTED,
            big=first,
        )
    pen.top += 8 if head else 0
    for row in rows:
        left = 14
        for panel, (panel_width, panel_height) in row:
            _draw(pen, panel, left, pen.top, panel_width, panel_height)
            left += panel_width + GAP
        pen.top += _row_height(row) + GAP
    for line, ink in lines:
        pen.write(line, ink=ink)
    return figure


class _Pen:
    """Puts things on a figure by CSS pixels from the top left."""

    def __init__(self, figure: "Figure", width: float, height: float):
        self.figure, self.width, self.height, self.top = figure, width, height, 14.0

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        box = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(box)
        axes.tick_params(colors=colours.MUTED, labelsize=TEXT - 1.5, length=3, color=colours.FRAME)
        for spine in axes.spines.values():
            spine.set_color(colours.FRAME)
        return axes

    def text(self, left: float, top: float, content: str, **style: Any) -> None:
        """Text whose upper edge is at `top`. Dollar signs are dollar signs."""
        style = {"fontsize": TEXT, "color": colours.INK, "va": "top", "parse_math": False} | style
        self.figure.text(left / self.width, 1 - top / self.height, content, **style)

    def write(
        self, line: str, ink: str = colours.INK, weight: str = "normal", big: bool = False
    ) -> None:
        """One line of running text; moves down."""
        self.text(
            14, self.top, line.replace("`", ""), color=ink, weight=weight, fontsize=TEXT + 1.5 * big
        )
        self.top += LINE + 4 * big


def _rows(scene: Scene) -> list[list[tuple[Panel, tuple[int, int]]]]:
    """Panels with their sizes, broken into rows that fit the page."""
    rows, used = [], PAGE
    most = (
        2 if sum(not isinstance(panel, Text) for panel in scene.panels) == 4 else len(scene.panels)
    )
    for panel, size in zip(scene.panels, scene.sizes(), strict=True):
        if isinstance(panel, Text):
            continue
        size = (min(size[0], PAGE - 28), size[1])
        if used + size[0] > PAGE - 28 or not rows or len(rows[-1]) == most:
            rows.append([])
            used = 0
        rows[-1].append((panel, size))
        used += size[0] + GAP
    return rows


def _row_height(row: list[tuple[Panel, tuple[int, int]]]) -> float:
    return max(height + TITLE + (LEGEND if _has_legend(panel) else 0) for panel, (_, height) in row)


def _has_legend(panel: Panel) -> bool:
    return (isinstance(panel, Image) and panel.legend is not None) or (
        isinstance(panel, Curves) and _named(panel)
    )


def _named(panel: Curves) -> bool:
    return any(line["name"] for line in panel.series)


def _draw(pen: _Pen, panel: Panel, left: float, top: float, width: float, height: float) -> None:
    """One panel with its title, in a box given without the title."""
    pen.text(left, top, panel.title, weight="bold")
    top += TITLE
    if isinstance(panel, Image):
        remark = panel.remark if width >= 8 * (len(panel.title) + len(panel.remark)) else ""
        pen.text(
            left + width, top - TITLE, remark, ha="right", color=colours.MUTED, fontsize=TEXT - 1.5
        )
        _draw_image(pen.axes(left, top, width, height), panel, width)
        if panel.legend:
            _draw_legend(pen, panel.legend, left, top + height + 8, width)
    elif isinstance(panel, Curves):
        if _named(panel):
            _draw_names(pen, panel, left, top)
            top += LEGEND
        _draw_curves(pen.axes(left + 52, top + 4, width - 60, height - 46), panel)
    else:
        names = min(140, 12 + 7 * max(map(len, panel.names), default=0))
        below = 42 if panel.y.label else 26
        _draw_bars(pen.axes(left + names, top, width - names - 44, height - below), panel)


def _draw_image(axes: "Axes", panel: Image, width: float) -> None:
    rows, columns = panel.rgba.shape[:2]
    axes.imshow(
        panel.rgba,
        interpolation="nearest" if columns <= 2 * width else "antialiased",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[], xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    pixel = width / columns
    if panel.numbers and pixel >= 20:
        for (row, column), rgb in zip(
            np.ndindex(rows, columns), panel.rgba.reshape(-1, 4), strict=True
        ):
            ink = "#111111" if colours.reads_dark_on(rgb) else "#FFFFFF"
            size = number_size(pixel, panel.numbers) * 72 / CSS_INCH
            axes.text(
                column,
                row,
                panel.numbers[row][column],
                ha="center",
                va="center",
                fontsize=size,
                color=ink,
            )
    for box in panel.boxes:
        row, column, tall, wide = box["at"]
        for colour, thick in (("white", 3), (box["colour"], 1.6)):
            place = ((column - 0.5, row - 0.5), wide, tall)
            axes.add_patch(_rectangle(*place, fill=False, edgecolor=colour, linewidth=thick))
        if box["label"]:
            style = {"facecolor": box["colour"], "edgecolor": "none", "pad": 1.5}
            axes.text(
                column - 0.4,
                row - 0.4,
                box["label"],
                fontsize=7.5,
                color="white",
                va="top",
                bbox=style,
            )
    for point in panel.points:
        row, column = point["at"]
        large = 10 if point["said"] else 6
        axes.plot(
            column,
            row,
            "o",
            markersize=large,
            color=point["colour"],
            markeredgecolor="white",
            markeredgewidth=1.2,
        )
        style = {
            "ha": "center",
            "va": "center_baseline",
            "color": "white",
            "weight": "bold",
            "fontsize": 8,
        }
        axes.text(column, row, point["said"], **style)


def number_size(pixel: float, numbers: list[list[str]]) -> float:
    """Height of numbers, in CSS pixels, so that the longest fits in a pixel of the image; lab.js
    does the same."""
    longest = max(len(number) for row in numbers for number in row)
    return min(13, pixel * 0.45, 1.5 * pixel / max(longest, 1))


def _rectangle(*place: Any, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(*place, **style)


def _draw_legend(pen: _Pen, legend: dict[str, Any], left: float, top: float, width: float) -> None:
    """The colour map as a thin strip between its two ends."""
    from matplotlib.colors import LinearSegmentedColormap

    strip = pen.axes(left + 44, top + 2, max(width - 88, 20), 8)
    colour_map = LinearSegmentedColormap.from_list("legend", legend["stops"])
    strip.imshow(np.linspace(0, 1, 256)[None], cmap=colour_map, aspect="auto")
    strip.set(xticks=[], yticks=[])
    style = {"color": colours.MUTED, "fontsize": TEXT - 1.5}
    pen.text(left, top, legend["low"], **style)
    pen.text(left + width, top, legend["high"], ha="right", **style)


def _draw_names(pen: _Pen, panel: Curves, left: float, top: float) -> None:
    for line in panel.series:
        sample = pen.axes(left, top + 2, 20, 8)
        sample.plot(
            [0, 1], [0, 0], color=line["colour"], linewidth=1.8, dashes=line["dash"] or (None, None)
        )
        sample.set_axis_off()
        pen.text(left + 25, top, line["name"], fontsize=TEXT - 1)
        left += 42 + 6.4 * len(line["name"])


def _draw_curves(axes: "Axes", panel: Curves) -> None:
    for line in panel.series:
        axes.plot(
            line["x"],
            line["y"],
            color=line["colour"],
            linewidth=1.8,
            dashes=line["dash"] or (None, None),
        )
    for x, y in panel.marks:
        axes.plot(x, y, "o", color=colours.INK, markersize=5, zorder=5)
    axes.grid(color=colours.FRAME, linewidth=0.5, alpha=0.6)
    _set_axis(axes, "x", panel.x)
    _set_axis(axes, "y", panel.y)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bars(axes: "Axes", panel: Bars) -> None:
    for k, (height, said) in enumerate(zip(panel.heights, panel.said, strict=True)):
        axes.barh(
            k,
            height or 0,
            height=0.68,
            color=colours.VERMILLION if (height or 0) < 0 else colours.BLUE,
        )
        end = min(max(height or 0, 0), panel.y.high)
        style = {
            "xytext": (4, 0),
            "textcoords": "offset points",
            "va": "center",
            "color": colours.INK,
        }
        axes.annotate(said, (end, k), fontsize=TEXT - 1.5, **style)
    _set_axis(axes, "x", panel.y)
    names = [name if len(name) <= 18 else name[:17] + "…" for name in panel.names]
    axes.set(ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, color=colours.INK, fontsize=TEXT - 1)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _set_axis(axes: "Axes", which: str, axis: Axis) -> None:
    """Limits, ticks and label exactly as the browser has them."""
    getattr(axes, f"set_{which}lim")(axis.low, axis.high)
    getattr(axes, f"set_{which}ticks")(
        [place for place, _ in axis.ticks], [said for _, said in axis.ticks]
    )
    getattr(axes, f"set_{which}label")(
        axis.label, fontsize=TEXT - 1, color=colours.MUTED, parse_math=False
    )


def _wrapped(line: str) -> list[str]:
    """A line of running text broken to the page's width."""
    import textwrap

    return textwrap.wrap(line, 105) or [""]
