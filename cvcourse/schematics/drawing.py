"""The drawing layer of the schematics: boxes, labels, arrows and grids as inline SVG.

A `Schematic` remembers where everything lies, so that tests can ask whether a label leaves its box
or an arrow crosses one. Lengths are CSS pixels at the natural size, x to the right and y down; the
schematics place their parts by such numbers, as one does on squared paper.
Colours are few: ink on the page's ground, and tints of the course's palette over that ground. The
ground is painted, so a schematic reads on a page of any colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from cvcourse.widgets.colours import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILLION

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

LIGHT = {"ink": INK, "ground": "#FFFFFF"}
DARK = {"ink": "#E4E4E4", "ground": "#111111"}
"""Ink and ground where the page has no theme of its own."""

INKS = {"ink": 1.0, "muted": 0.78}
"""How much of the ink a text has; the rest is what it stands on."""

TINTS: dict[str, tuple[str, float]] = {
    "plain": ("ink", 0.0),
    "grey": ("ink", 0.10),
    "dark": ("ink", 0.30),
    "blue": (BLUE, 0.25),
    "orange": (ORANGE, 0.28),
    "green": (GREEN, 0.24),
    "vermillion": (VERMILLION, 0.22),
    "full": (BLUE, 0.75),
}
"""Fill of a shape: a colour and its opacity over the ground. No text stands on "full"."""

NAME, NOTE, SMALL = 13.0, 12.0, 11.0
"""Sizes of a name, of what is said about it, and of the smallest text."""

LINE = 1.32  # height of a line of text, in sizes of its letters
HEAD = 7.0  # length of an arrow's head
BEND = 6.0  # radius of an arrow's bends
GAP = 7.0  # between an arrow and its label
ROUNDING = 1e-6  # lengths that differ by less are equal

STYLE = f"""
.cv-schematic {{
  --cv-ink: var(--jp-ui-font-color1, var(--vscode-editor-foreground, {LIGHT["ink"]}));
  --cv-ground: var(--jp-layout-color0, var(--vscode-editor-background, {LIGHT["ground"]}));
  display: block; background: var(--cv-ground); font-family: system-ui, sans-serif;
}}
@media (prefers-color-scheme: dark) {{
  .cv-schematic {{
    --cv-ink: var(--jp-ui-font-color1, var(--vscode-editor-foreground, {DARK["ink"]}));
    --cv-ground: var(--jp-layout-color0, var(--vscode-editor-background, {DARK["ground"]}));
  }}
}}
.cv-schematic text {{ fill: var(--cv-ink); fill-opacity: {INKS["ink"]}; }}
.cv-schematic .muted {{ fill-opacity: {INKS["muted"]}; }}
.cv-schematic .name {{ font-weight: 600; }}
.cv-schematic .ground {{ fill: var(--cv-ground); }}
.cv-schematic .line {{ fill: none; stroke: var(--cv-ink); stroke-opacity: 0.65; }}
.cv-schematic .thin {{ fill: none; stroke: var(--cv-ink); stroke-opacity: 0.35; }}
.cv-schematic .head {{ fill: var(--cv-ink); fill-opacity: 0.65; }}
.cv-schematic .dashed {{ stroke-dasharray: 5 4; }}
.cv-schematic .dotted {{ stroke-dasharray: 1.5 4; stroke-linecap: round; }}
"""

# Widths of characters, in sizes of the letters, of a wide font: others leave more air.
WIDTHS = {
    **dict.fromkeys("ijl|'′!.,:; ", 0.34),
    **dict.fromkeys("frt()[]{}-/·″°", 0.43),
    **dict.fromkeys("mMW%…→←×÷+−=≈", 1.01),
    **dict.fromkeys("wNOQGD", 0.82),
}
CAPITAL, OTHER, BOLDER = 0.74, 0.64, 1.13


@dataclass(frozen=True)
class Area:
    """A rectangle of a drawing."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def x(self) -> float:
        """The middle, from left to right."""
        return self.left + self.width / 2

    @property
    def y(self) -> float:
        """The middle, from top to bottom."""
        return self.top + self.height / 2

    @property
    def north(self) -> Point:
        return self.x, self.top

    @property
    def south(self) -> Point:
        return self.x, self.bottom

    @property
    def west(self) -> Point:
        return self.left, self.y

    @property
    def east(self) -> Point:
        return self.right, self.y

    def grown(self, by: float) -> Area:
        """The rectangle with `by` more on each side."""
        return Area(self.left - by, self.top - by, self.width + 2 * by, self.height + 2 * by)

    def holds(self, other: Area) -> bool:
        """Whether the other rectangle lies inside this one."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom

    def meets(self, other: Area) -> bool:
        """Whether the two rectangles share more than an edge, which rounding may blur."""
        one = self.grown(-ROUNDING)
        across = one.left < other.right and other.left < one.right
        return across and one.top < other.bottom and other.top < one.bottom


@dataclass(frozen=True)
class Label:
    """A line of text: where it lies, in what it has to stay, and the tints below it."""

    content: str
    area: Area
    within: Area
    size: float
    ink: str
    on: tuple[str, ...]


@dataclass(frozen=True)
class Arrow:
    """The points that an arrow or line joins."""

    points: tuple[Point, ...]


def text_width(content: str, size: float, bold: bool = False) -> float:
    """How wide a line of text is at most, in a font that is not unusually wide."""
    wide = sum(WIDTHS.get(letter, CAPITAL if letter.isupper() else OTHER) for letter in content)
    return wide * size * (BOLDER if bold else 1)


def number(value: float) -> str:
    """A length as short text: 12.50 -> "12.5"."""
    return f"{round(value, 2):g}"


def shape(*sizes: int | str) -> str:
    """A tensor's shape in words: ("N", 65, 192) -> "(N, 65, 192)"."""
    return f"({', '.join(str(size) for size in sizes)})"


def counted(count: int, thing: str) -> str:
    """A number of things: (1, "block") -> "1 block", (4, "block") -> "4 blocks"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def check_sizes(**sizes: int) -> None:
    """Raise ValueError, in one sentence, unless every size is an integer from 1 up."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be an integer from 1 up, not {size!r}.")


def check_patches(image_size: int, patch_size: int) -> int:
    """Patches along one side of a square image. Raises ValueError where they do not fill it."""
    check_sizes(image_size=image_size, patch_size=patch_size)
    if image_size % patch_size:
        raise ValueError(
            f"Patches of {patch_size} pixels do not fill an image of {image_size} x {image_size}."
        )
    return image_size // patch_size


class Schematic:
    """A drawing of boxes, labels and arrows, which notebooks show as inline SVG.

    title: what it is. alt: the whole of it in words. width, height: natural size in CSS pixels; it
    is shown as wide as the page, up to that size. What is drawn later lies on top.
    """

    def __init__(self, title: str, alt: str, width: float, height: float):
        self.title, self.alt = title, alt
        self.canvas = Area(0, 0, width, height)
        self.labels: list[Label] = []
        self.boxes: list[Area] = []
        self.arrows: list[Arrow] = []
        self._parts: list[str] = []

    # What a notebook asks for

    @property
    def svg(self) -> str:
        """The drawing as an SVG element that needs nothing from outside."""
        width, height = number(self.canvas.width), number(self.canvas.height)
        size = f"width: 100%; max-width: {width}px; height: auto;"
        opening = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cv-schematic" role="img"'
            f' viewBox="0 0 {width} {height}" style="{size}">'
        )
        words = f"<title>{escape(self.title)}</title>\n<desc>{escape(self.alt)}</desc>"
        return "\n".join([opening, words, f"<style>{STYLE}</style>", *self._parts, "</svg>"])

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        """The drawing in words, for pages that show text alone."""
        return f"{self.title}. {self.alt}"

    # Text

    def text(
        self,
        x: float,
        y: float,
        content: str,
        *,
        size: float = NOTE,
        anchor: Anchor = "middle",
        bold: bool = False,
        muted: bool = False,
        within: Area | None = None,
        on: Sequence[str] = (),
    ) -> Area:
        """A line of text whose middle is at height y; returns what it covers at most.

        x: the text's left end, middle or right end, as `anchor` says. within: the box that must
        hold it, by default the canvas. on: tints that lie below it.
        """
        width = text_width(content, size, bold)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        area = Area(left, y - size * LINE / 2, width, size * LINE)
        ink = "muted" if muted else "ink"
        self.labels.append(Label(content, area, within or self.canvas, size, ink, tuple(on)))
        look = [name for name, is_so in (("muted", muted), ("name", bold)) if is_so]
        style = f' class="{" ".join(look)}"' if look else ""
        base = number(y + 0.35 * size)
        self._parts.append(
            f'<text x="{number(x)}" y="{base}" font-size="{number(size)}"'
            f' text-anchor="{anchor}"{style}>{escape(content)}</text>'
        )
        return area

    def lines(
        self, x: float, y: float, *contents: str, anchor: Anchor = "middle", size: float = NOTE
    ) -> None:
        """Muted lines of text below one another, their middle at height y."""
        step = size * LINE
        top = y - step * (len(contents) - 1) / 2
        for k, content in enumerate(contents):
            self.text(x, top + k * step, content, anchor=anchor, size=size, muted=True)

    # Shapes

    def box(self, area: Area, name: str, *notes: str, tint: str = "plain") -> Area:
        """A box with a name and muted lines below it; arrows must not cross it."""
        self.boxes.append(area)
        self.fill(area, tint)
        inside = area.grown(-1)
        y = area.y - LINE * (NAME + NOTE * len(notes)) / 2 + LINE * NAME / 2
        self.text(area.x, y, name, size=NAME, bold=True, within=inside, on=[tint])
        y += LINE * (NAME + NOTE) / 2
        for note in notes:
            self.text(area.x, y, note, muted=True, within=inside, on=[tint])
            y += LINE * NOTE
        return area

    def fill(self, area: Area, tint: str = "plain", bend: float = BEND) -> Area:
        """A rectangle of ground with a tint over it and a thin edge, without any text."""
        colour, opacity = TINTS[tint]
        self._rectangle(area, bend, 'class="ground"')
        if opacity:
            self._rectangle(area, bend, _tinted(tint))
        stroke = "" if colour == "ink" else f' style="stroke: {colour}; stroke-opacity: 0.9"'
        self._rectangle(area, bend, f'class="thin"{stroke}')
        return area

    def film(self, area: Area, tint: str, opacity: float | None = None) -> Area:
        """A coloured outline over what is there, with a tint inside through which it shows."""
        colour, usual = TINTS[tint]
        fill = f"fill: {colour}; fill-opacity: {usual if opacity is None else opacity}"
        self._rectangle(area, 3, f'style="{fill}; stroke: {colour}; stroke-width: 2"')
        return area

    def group(self, area: Area, name: str = "", dashed: bool = True) -> Area:
        """A thin outline around parts that belong together, its name at the top left."""
        edge = "dashed thin" if dashed else "thin"
        self._rectangle(area, 10, f'class="{edge}"')
        if name:
            self.text(area.left + 12, area.top + 15, name, anchor="start", bold=True, within=area)
        return area

    def stack(self, area: Area, count: int, tint: str) -> None:
        """Sheets behind a box that is drawn over them next, each a little further up and right."""
        for k in range(count, 0, -1):
            self.fill(Area(area.left + 4 * k, area.top - 4 * k, area.width, area.height), tint)
        if count:
            out = 4.0 * count
            self.boxes.append(Area(area.left, area.top - out, area.width, out))
            self.boxes.append(Area(area.right, area.top - out, out, area.height))

    def circle(self, x: float, y: float, content: str, radius: float = 11) -> Area:
        """A round box for an operation without weights, as "+"."""
        area = Area(x - radius, y - radius, 2 * radius, 2 * radius)
        self.boxes.append(area)
        middle = f'cx="{number(x)}" cy="{number(y)}"'
        self._parts.append(f'<circle {middle} r="{radius}" class="ground"/>')
        self._parts.append(f'<circle {middle} r="{radius}" class="line"/>')
        self.text(x, y, content, size=NAME, bold=True, within=area)
        return area

    def dot(self, x: float, y: float, radius: float = 2.6) -> None:
        """A small filled circle: here a line branches off, or here is a place."""
        self._parts.append(
            f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" class="head"/>'
        )

    def grid(
        self,
        left: float,
        top: float,
        rows: int,
        columns: int,
        cell: float,
        *,
        height: float | None = None,
        tints: Mapping[tuple[int, int], str] | None = None,
        texts: Mapping[tuple[int, int], str] | None = None,
        tint: str = "plain",
    ) -> Area:
        """Cells in rows and columns; tints and texts by (row, column). height: of a cell."""
        tall = cell if height is None else height
        tints, texts = tints or {}, texts or {}
        for row in range(rows):
            for column in range(columns):
                area = Area(left + column * cell, top + row * tall, cell, tall)
                own = tints.get((row, column), tint)
                self.fill(area, own, bend=0)
                if (row, column) in texts:
                    content = texts[row, column]
                    self.text(area.x, area.y, content, within=area, on=[own])
        whole = Area(left, top, columns * cell, rows * tall)
        self.boxes.append(whole)
        return whole

    def picture(
        self, area: Area, colour: str = ORANGE, view: tuple[float, float, float] = (0, 0, 32)
    ) -> Area:
        """A small scene, 32 x 32 units: a dotted disc on a sky. view: left, top, side of a crop."""
        self.boxes.append(area)
        x, y, side = (number(value) for value in view)
        places = [number(value) for value in (area.left, area.top, area.width, area.height)]
        where = 'x="{}" y="{}" width="{}" height="{}"'.format(*places)
        dots = ((10, 15), (16, 12), (15, 19), (20, 17), (12, 21), (18, 22))
        drawn = [
            '<rect x="-9" y="-9" width="50" height="50" class="ground"/>',
            f'<rect x="-9" y="-9" width="50" height="50" fill="{SKY}" fill-opacity="0.35"/>',
            f'<circle cx="15" cy="17" r="9.5" fill="{colour}"/>',
            *(f'<circle cx="{at}" cy="{down}" r="1.3" fill="#222222"/>' for at, down in dots),
            f'<path d="M21.5 9 L26 2.5 L30.5 9 Z" fill="{PURPLE}"/>',
        ]
        # An SVG inside an SVG cuts off what leaves it.
        self._parts.append(f'<svg {where} viewBox="{x} {y} {side} {side}">{"".join(drawn)}</svg>')
        self._rectangle(area, 0, 'class="thin"')
        return area

    def blob(self, x: float, y: float, radius: float, tint: str = "blue") -> None:
        """A round shape without a box's edge, as a mask."""
        at = f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
        self._parts.append(f'<circle {at} class="ground"/>')
        self._parts.append(f"<circle {at} {_tinted(tint)}/>")
        self._parts.append(f'<circle {at} class="thin"/>')

    # Lines

    def cut(self, area: Area) -> None:
        """A strong dashed outline: what lies outside is cut off."""
        self._rectangle(area, 0, 'class="dashed line" stroke-width="2.2"')

    def bar(self, start: Point, end: Point, colour: str) -> None:
        """A short thick coloured line."""
        path = f"M{_place(start)} L{_place(end)}"
        self._parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="2.5"/>')

    def rule(self, start: Point, end: Point) -> None:
        """A thin line inside a picture."""
        path = f"M{_place(start)} L{_place(end)}"
        self._parts.append(f'<path d="{path}" class="thin"/>')

    def arrow(
        self,
        *points: Point,
        label: str = "",
        under: str = "",
        dashed: bool = False,
        colour: str = "",
        head: bool = True,
    ) -> None:
        """A line through points, straight up, down or sideways from each to the next, with a head.

        label: above its longest piece, or to the right of one that goes up or down. under: below
        it, or to the left. Raises ValueError for a slanted piece.
        """
        for (x, y), (next_x, next_y) in pairwise(points):
            if x != next_x and y != next_y:
                raise ValueError(f"an arrow cannot go slanted from {x}, {y} to {next_x}, {next_y}")
        self.arrows.append(Arrow(points))
        style = f' style="stroke: {colour}; stroke-opacity: 1"' if colour else ""
        look = "dashed line" if dashed else "line"
        self._parts.append(f'<path d="{_bent(points, head)}" class="{look}"{style}/>')
        if head:
            self._parts.append(_head(points, colour))
        self._label_arrow(points, label, under)

    def _label_arrow(self, points: Sequence[Point], label: str, under: str) -> None:
        """The words beside an arrow's longest piece."""
        (x, y), (to_x, to_y) = max(pairwise(points), key=_length)
        middle_x, middle_y = (x + to_x) / 2, (y + to_y) / 2
        if x == to_x:
            if label:
                self.text(x + GAP, middle_y, label, anchor="start", muted=True)
            if under:
                self.text(x - GAP, middle_y, under, anchor="end", muted=True)
            return
        if label:
            self.text(middle_x, y - GAP - 3, label, muted=True)
        if under:
            self.text(middle_x, y + GAP + 4, under, muted=True)

    def zoom(self, start: Point, end: Point) -> None:
        """A dotted line from a part to its enlargement; it may be slanted."""
        self.arrows.append(Arrow((start, end)))
        self._parts.append(f'<path d="M{_place(start)} L{_place(end)}" class="dotted line"/>')

    def key(self, x: float, y: float, entries: Mapping[str, str]) -> None:
        """What the tints mean, in a row that begins at x: tint -> words."""
        for tint, words in entries.items():
            self.fill(Area(x, y - 6, 12, 12), tint, bend=3)
            said = self.text(x + 18, y, words, size=SMALL, anchor="start", muted=True)
            x = said.right + 14

    def _rectangle(self, area: Area, bend: float, look: str) -> None:
        x, y, width, height = (
            number(value) for value in (area.left, area.top, area.width, area.height)
        )
        round_ = f' rx="{number(bend)}"' if bend else ""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}"{round_} {look}/>'
        )


def _tinted(tint: str) -> str:
    """The attribute that fills a shape."""
    colour, opacity = TINTS[tint]
    fill = "var(--cv-ink)" if colour == "ink" else colour
    return f'style="fill: {fill}; fill-opacity: {opacity}"'


def _length(piece: tuple[Point, Point]) -> float:
    (x, y), (to_x, to_y) = piece
    return abs(to_x - x) + abs(to_y - y)


def _towards(start: Point, end: Point, by: float) -> Point:
    """The point `by` away from start on the way to end, which is straight up, down or sideways."""
    share = by / max(_length((start, end)), 1e-9)
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _bent(points: Sequence[Point], head: bool) -> str:
    """The path of a line with round bends; it ends in the middle of its head."""
    last = _towards(points[-1], points[-2], HEAD / 2) if head else points[-1]
    corners = [points[0], *points[1:-1], last]
    path = f"M{_place(corners[0])}"
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        bend = min(BEND, _length((before, corner)) / 2, _length((corner, after)) / 2)
        path += f" L{_place(_towards(corner, before, bend))}"
        path += f" Q{_place(corner)} {_place(_towards(corner, after, bend))}"
    return f"{path} L{_place(last)}"


def _head(points: Sequence[Point], colour: str) -> str:
    """The triangle at the end of a line."""
    tip = points[-1]
    back = _towards(tip, points[-2], HEAD)
    across = (0.0, HEAD / 2) if back[1] == tip[1] else (HEAD / 2, 0.0)
    corners = [
        tip,
        (back[0] + across[0], back[1] + across[1]),
        (back[0] - across[0], back[1] - across[1]),
    ]
    style = f' style="fill: {colour}; fill-opacity: 1"' if colour else ""
    return f'<polygon points="{" ".join(map(_place, corners))}" class="head"{style}/>'


def _place(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"
