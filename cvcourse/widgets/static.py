"""The same panels as a matplotlib picture: for paper, exported pages, and no running kernel.

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

PAGE, MARGIN, GAP = 720, 14, 26
"""Width of the page, of its margins, and of the space between panels, in CSS pixels."""

TITLE, LEGEND, LINE = 24, 24, 19
"""Heights of a panel's title, of a legend and of a line of text, in CSS pixels."""

TEXT = 9.75  # points: 13 CSS pixels

Picture = Image | Curves | Bars
"""A panel that is more than text."""


def show(*panels: Panel, caption: str = "", alt: str = "") -> None:
    """Display panels as a plain picture, with the look of the labs. alt: its content in words."""
    if mode() == "off":
        return
    from IPython.display import display

    data, metadata = picture_bundle(figure_of(Scene(*panels, caption=caption)), alt or caption)
    display(data, metadata=metadata, raw=True)


def mode() -> str:
    """How widgets behave: "live", "static" (pictures only), or "off" while nbgrader executes."""
    if os.environ.get("NBGRADER_EXECUTION") or os.environ.get("CVCOURSE_WIDGETS") == "off":
        return "off"
    return "static" if os.environ.get("CVCOURSE_WIDGETS") == "static" else "live"


def picture_bundle(figure: "Figure", alt: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A figure as notebook output: data and metadata of a PNG of twice the screen's usual density.

    As HTML too: neither JupyterLab nor nbconvert puts a PNG's words where a screen reader finds
    them.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=2 * CSS_INCH)
    png = base64.b64encode(file.getvalue()).decode()
    width, height = (round(inches * CSS_INCH) for inches in figure.get_size_inches())
    words = alt or "a picture"
    source = f"data:image/png;base64,{png}"
    escaped = html.escape(words, quote=True)
    page = f'<img src="{source}" alt="{escaped}" width="{width}" style="max-width: 100%">'
    data = {"text/html": page, "image/png": png, "text/plain": words}
    return data, {"image/png": {"width": width, "height": height, "alt": alt}}


def figure_of(
    scene: Scene, title: str = "", settings: str = "", notes: list[str] | None = None
) -> "Figure":
    """A scene as a figure: title and settings above, panels in rows, then texts, caption, notes."""
    # Without pyplot: nothing is shown twice, and it loads faster.
    from matplotlib.figure import Figure

    head = [line for line in [title, *_wrapped(settings)] if line]
    rows = _rows(scene)
    foot = _foot(scene, notes or [])
    tall = float(2 * MARGIN) + LINE * (len(head) + len(foot))
    tall += sum(_row_height(row) + GAP for row in rows)
    if head:
        tall += 12
    tall = max(tall, 40)
    figure = Figure(figsize=(PAGE / CSS_INCH, tall / CSS_INCH), facecolor="white")
    pen = _Pen(figure, PAGE, tall)
    _write_head(pen, head, bool(title))
    for row in rows:
        _draw_row(pen, row)
    for line, ink in foot:
        pen.write(line, ink=ink)
    return figure


def _foot(scene: Scene, notes: list[str]) -> list[tuple[str, str]]:
    """The lines under the panels, wrapped, each with its colour: texts, caption, notes."""
    texts = [panel.content for panel in scene.panels if isinstance(panel, Text)]
    lines = [(line, colours.INK) for text in texts for line in text.splitlines()]
    lines += [(line, colours.MUTED) for line in [scene.caption, *notes] if line]
    return [(part, ink) for line, ink in lines for part in _wrapped(line)]


def _write_head(pen: "_Pen", lines: list[str], titled: bool) -> None:
    """The lines above the panels; the first is the title, if there is one."""
    for k, line in enumerate(lines):
        if titled and k == 0:
            pen.write(line, weight="bold", big=True)
        else:
            pen.write(line, ink=colours.MUTED)
    if lines:
        pen.top += 8


def _draw_row(pen: "_Pen", row: "list[tuple[Picture, tuple[int, int]]]") -> None:
    """Panels side by side; moves down."""
    left = float(MARGIN)
    for panel, (width, height) in row:
        _draw(pen, panel, left, pen.top, width, height)
        left += width + GAP
    pen.top += _row_height(row) + GAP


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
        usual: dict[str, Any] = {"fontsize": TEXT, "color": colours.INK, "va": "top"}
        place = (left / self.width, 1 - top / self.height)
        self.figure.text(*place, content, **(usual | style), parse_math=False)

    def write(
        self, line: str, ink: str = colours.INK, weight: str = "normal", big: bool = False
    ) -> None:
        """One line of running text; moves down."""
        size, step = (TEXT + 1.5, LINE + 4) if big else (TEXT, LINE)
        plain = line.replace("`", "")
        self.text(MARGIN, self.top, plain, color=ink, weight=weight, fontsize=size)
        self.top += step


def _rows(scene: Scene) -> list[list[tuple[Picture, tuple[int, int]]]]:
    """Panels with their sizes, broken into rows that fit the page."""
    room = PAGE - 2 * MARGIN
    most = scene.pictures_in_a_row() or len(scene.panels)
    rows: list[list[tuple[Picture, tuple[int, int]]]] = []
    used = 0
    for panel, (width, height) in zip(scene.panels, scene.sizes(), strict=True):
        if isinstance(panel, Text):
            continue
        width = min(width, room)
        if not rows or used + width > room or len(rows[-1]) == most:
            rows.append([])
            used = 0
        rows[-1].append((panel, (width, height)))
        used += width + GAP
    return rows


def _row_height(row: list[tuple[Picture, tuple[int, int]]]) -> float:
    return TITLE + max(height + _legend_height(panel) for panel, (_, height) in row)


def _legend_height(panel: Picture) -> float:
    """What the legend of an image, or the names of curves, take; 0 without."""
    if isinstance(panel, Image) and panel.legend is not None:
        return LEGEND
    if isinstance(panel, Curves) and _named(panel):
        return LEGEND
    return 0


def _named(panel: Curves) -> bool:
    return any(line["name"] for line in panel.series)


def _draw(pen: _Pen, panel: Picture, left: float, top: float, width: float, height: float) -> None:
    """One panel with its title, in a box given without the title."""
    pen.text(left, top, panel.title, weight="bold")
    top += TITLE
    if isinstance(panel, Image):
        if width >= 8 * (len(panel.title) + len(panel.remark)):
            _write_remark(pen, panel.remark, left + width, top - TITLE)
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


def _write_remark(pen: _Pen, remark: str, right: float, top: float) -> None:
    pen.text(right, top, remark, ha="right", color=colours.MUTED, fontsize=TEXT - 1.5)


def _draw_image(axes: "Axes", panel: Image, width: float) -> None:
    rows, columns = panel.rgba.shape[:2]
    smooth = "nearest" if columns <= 2 * width else "antialiased"
    axes.imshow(panel.rgba, interpolation=smooth, aspect="auto")
    axes.set(xticks=[], yticks=[], xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    pixel = width / columns
    if panel.numbers and pixel >= 20:
        _write_numbers(axes, panel.numbers, panel.rgba, pixel)
    for box in panel.boxes:
        _draw_box(axes, box)
    for point in panel.points:
        _draw_point(axes, point)


def _write_numbers(axes: "Axes", numbers: list[list[str]], rgba: np.ndarray, pixel: float) -> None:
    """Each value in its pixel, which is `pixel` CSS pixels wide; (rows, columns, 4) uint8."""
    points = number_size(pixel, numbers) * 72 / CSS_INCH
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": points}
    for row, line in enumerate(numbers):
        for column, number in enumerate(line):
            ink = "#111111" if colours.reads_dark_on(rgba[row, column]) else "#FFFFFF"
            axes.text(column, row, number, color=ink, **style)


def _draw_box(axes: "Axes", box: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    row, column, tall, wide = box["at"]
    for colour, thick in (("white", 3), (box["colour"], 1.6)):
        corner = (column - 0.5, row - 0.5)
        outline = Rectangle(corner, wide, tall, fill=False, edgecolor=colour, linewidth=thick)
        axes.add_patch(outline)
    if box["label"]:
        ground = {"facecolor": box["colour"], "edgecolor": "none", "pad": 1.5}
        style: dict[str, Any] = {"fontsize": 7.5, "color": "white", "va": "top", "bbox": ground}
        axes.text(column - 0.4, row - 0.4, box["label"], **style)


def _draw_point(axes: "Axes", point: dict[str, Any]) -> None:
    row, column = point["at"]
    size = 10 if point["said"] else 6
    rim: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 1.2}
    axes.plot(column, row, "o", markersize=size, color=point["colour"], **rim)
    style: dict[str, Any] = {"color": "white", "weight": "bold", "fontsize": 8}
    axes.text(column, row, point["said"], ha="center", va="center_baseline", **style)


def number_size(pixel: float, numbers: list[list[str]]) -> float:
    """Height of numbers, in CSS pixels, so that the longest fits in a pixel of the image; lab.js
    does the same."""
    longest = max(len(number) for row in numbers for number in row)
    return min(13, pixel * 0.45, 1.5 * pixel / max(longest, 1))


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
    """A short piece of each curve, with its name."""
    for line in panel.series:
        sample = pen.axes(left, top + 2, 20, 8)
        sample.plot([0, 1], [0, 0], **_pen_of(line))
        sample.set_axis_off()
        pen.text(left + 25, top, line["name"], fontsize=TEXT - 1)
        left += 42 + 6.4 * len(line["name"])


def _pen_of(line: dict[str, Any]) -> dict[str, Any]:
    """How a curve is drawn, in matplotlib's words."""
    return {"color": line["colour"], "linewidth": 1.8, "dashes": line["dash"] or (None, None)}


def _draw_curves(axes: "Axes", panel: Curves) -> None:
    for line in panel.series:
        axes.plot(line["x"], line["y"], **_pen_of(line))
    for x, y in panel.marks:
        axes.plot(x, y, "o", color=colours.INK, markersize=5, zorder=5)
    axes.grid(color=colours.FRAME, linewidth=0.5, alpha=0.6)
    _set_axis(axes, "x", panel.x)
    _set_axis(axes, "y", panel.y)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_bars(axes: "Axes", panel: Bars) -> None:
    for k, (height, said) in enumerate(zip(panel.heights, panel.said, strict=True)):
        _draw_bar(axes, k, height or 0, said, panel.y.high)
    _set_axis(axes, "x", panel.y)
    names = [name if len(name) <= 18 else name[:17] + "…" for name in panel.names]
    axes.set(ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, color=colours.INK, fontsize=TEXT - 1)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_bar(axes: "Axes", k: int, height: float, said: str, most: float) -> None:
    """The k-th bar, with its number behind it."""
    axes.barh(k, height, height=0.68, color=colours.VERMILLION if height < 0 else colours.BLUE)
    end = (min(max(height, 0), most), k)
    style: dict[str, Any] = {"va": "center", "color": colours.INK, "fontsize": TEXT - 1.5}
    axes.annotate(said, end, xytext=(4, 0), textcoords="offset points", **style)


def _set_axis(axes: "Axes", which: str, axis: Axis) -> None:
    """Limits, ticks and label exactly as the browser has them."""
    places, said = [place for place, _ in axis.ticks], [said for _, said in axis.ticks]
    style = {"fontsize": TEXT - 1, "color": colours.MUTED, "parse_math": False}
    getattr(axes, f"set_{which}lim")(axis.low, axis.high)
    getattr(axes, f"set_{which}ticks")(places, said)
    getattr(axes, f"set_{which}label")(axis.label, **style)


def _wrapped(line: str) -> list[str]:
    """A line of running text broken to the page's width."""
    import textwrap

    return textwrap.wrap(line, 105) or [""]
