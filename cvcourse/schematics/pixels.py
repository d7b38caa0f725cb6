"""Schematics on a grid of pixels: what a transposed convolution paints, and what a box holds."""

from __future__ import annotations

from dataclasses import dataclass

from cvcourse.schematics.drawing import (
    NOTE,
    SMALL,
    Area,
    Schematic,
    check_sizes,
    text_width,
)

STAMPS = {(0, 0): "blue", (0, 1): "vermillion", (1, 0): "green", (1, 1): "orange"}
"""Input cells whose stamps are outlined, and their tints."""

MOST_INPUT, MOST_CANVAS = 4, 12  # cells along a side that can be drawn with their numbers
MOST_ROWS, MOST_COLUMNS = 12, 14  # pixels of an image that can be drawn one by one


@dataclass(frozen=True)
class Painting:
    """A transposed convolution of 1, 2, 3, ... with a kernel of ones, on squares."""

    size: int
    kernel_size: int
    stride: int
    padding: int
    output_padding: int

    @property
    def canvas(self) -> int:
        """Rows before anything is cut."""
        return (self.size - 1) * self.stride + self.kernel_size + self.output_padding

    @property
    def output(self) -> int:
        """Rows that are left."""
        return self.canvas - 2 * self.padding

    def value(self, row: int, column: int) -> int:
        """The number of an input cell."""
        return 1 + row * self.size + column

    def sources(self, row: int, column: int) -> list[tuple[int, int]]:
        """The input cells whose stamps lie on a cell of the canvas."""
        cells = [(i, j) for i in range(self.size) for j in range(self.size)]
        return [(i, j) for i, j in cells if self._covers(i, row) and self._covers(j, column)]

    def _covers(self, source: int, target: int) -> bool:
        return 0 <= target - source * self.stride < self.kernel_size

    def total(self, row: int, column: int) -> int:
        """The number on a cell of the canvas: its stamps added up."""
        return sum(self.value(*source) for source in self.sources(row, column))


def transposed_convolution(
    size: int = 2, kernel_size: int = 3, stride: int = 2, padding: int = 1, output_padding: int = 0
) -> Schematic:
    """Painting, adding and cutting, with numbers (Dumoulin and Visin 2016, section 4).

    size: rows and columns of the input, which holds 1, 2, 3 and so on. The kernel is all ones, so a
    stamp is one number repeated. Cells of the canvas hold the sums of the stamps that lie on them.
    Raises ValueError where nothing would be left, where output_padding is not smaller than the
    stride, and where the input has more than 4 or the canvas more than 12 cells along a side.
    """
    check_sizes(size=size, kernel_size=kernel_size, stride=stride)
    if padding < 0 or not 0 <= output_padding < stride:
        raise ValueError("padding is 0 or more, and output_padding is from 0 to stride - 1.")
    plan = Painting(size, kernel_size, stride, padding, output_padding)
    if plan.output < 1:
        raise ValueError(f"A padding of {padding} leaves nothing of {plan.canvas} cells.")
    if size > MOST_INPUT or plan.canvas > MOST_CANVAS:
        raise ValueError(
            f"{size} cells painted on {plan.canvas} are too many to draw: {MOST_INPUT} and"
            f" {MOST_CANVAS} at most."
        )
    cell = 34.0 if plan.canvas <= 7 else 27.0
    notes = _notes(plan)
    counts = (size, kernel_size, plan.canvas, plan.output)
    widths = [
        max(count * cell, *(text_width(line, NOTE) for line in note))
        for count, note in zip(counts, notes, strict=True)
    ]
    gap, top = 46, 44
    width = sum(widths) + 3 * gap + 24
    height = top + plan.canvas * cell + 64
    drawing = Schematic("A transposed convolution", _painting_in_words(plan), width, height)
    middle, left = top + plan.canvas * cell / 2, 12.0
    places = []
    for count, wide in zip(counts, widths, strict=True):
        side = count * cell
        places.append(Area(left + (wide - side) / 2, middle - side / 2, side, side))
        left += wide + gap
    _draw_input(drawing, places[0], plan, cell)
    drawing.grid(
        places[1].left, places[1].top, kernel_size, kernel_size, cell, texts=_ones(kernel_size)
    )
    _draw_canvas(drawing, places[2], plan, cell)
    _draw_output(drawing, places[3], plan, cell)
    for place, title, note in zip(
        places, ("input", "kernel", "canvas", "output"), notes, strict=True
    ):
        drawing.text(place.x, place.top - 16, title, bold=True)
        drawing.lines(place.x, place.bottom + 26, *note)
    _between(drawing, places, middle)
    return drawing


def _notes(plan: Painting) -> list[tuple[str, str]]:
    """Two lines below each of the four grids."""
    extra = f" + {plan.output_padding}" if plan.output_padding else ""
    return [
        (f"{plan.size} × {plan.size}", f"stride {plan.stride}"),
        (f"{plan.kernel_size} × {plan.kernel_size}", "all ones"),
        (
            f"({plan.size} − 1) · {plan.stride} + {plan.kernel_size}{extra} = {plan.canvas}",
            "stamps add up",
        ),
        (f"{plan.canvas} − 2 · {plan.padding} = {plan.output}", f"padding {plan.padding}"),
    ]


def _painting_in_words(plan: Painting) -> str:
    extra = f" and an output padding of {plan.output_padding}" if plan.output_padding else ""
    cut = f"A padding of {plan.padding} cuts {plan.padding} cells from each side"
    if not plan.padding:
        cut = "Without padding nothing is cut"
    return (
        f"Each number of an input of {plan.size} x {plan.size} cells paints a stamp of"
        f" {plan.kernel_size} x {plan.kernel_size} cells onto a canvas; its neighbour's stamp lies"
        f" {plan.stride} cells further. With stride {plan.stride}{extra} the canvas has"
        f" {plan.canvas} x {plan.canvas} cells. Where stamps overlap they add up, to at most"
        f" {_largest(plan)}. {cut}, which leaves {plan.output} x {plan.output}."
    )


def _largest(plan: Painting) -> int:
    cells = range(plan.canvas)
    return max(plan.total(row, column) for row in cells for column in cells)


def _ones(count: int) -> dict[tuple[int, int], str]:
    return {(row, column): "1" for row in range(count) for column in range(count)}


def _draw_input(drawing: Schematic, area: Area, plan: Painting, cell: float) -> None:
    """The input's numbers; those whose stamps are outlined have their colours."""
    cells = [(row, column) for row in range(plan.size) for column in range(plan.size)]
    texts = {place: str(plan.value(*place)) for place in cells}
    drawing.grid(area.left, area.top, plan.size, plan.size, cell, tints=STAMPS, texts=texts)


def _draw_canvas(drawing: Schematic, area: Area, plan: Painting, cell: float) -> None:
    """The rim, the stamps of up to four inputs over it, and the sums."""
    count, rim = plan.canvas, plan.padding
    kept = range(rim, count - rim)
    cells = [(row, column) for row in range(count) for column in range(count)]
    tints = {place: "grey" for place in cells if place[0] not in kept or place[1] not in kept}
    drawing.grid(area.left, area.top, count, count, cell, tints=tints)
    side = plan.kernel_size * cell
    for k, ((i, j), tint) in enumerate(_outlined(plan).items()):
        stamp = Area(
            area.left + j * plan.stride * cell, area.top + i * plan.stride * cell, side, side
        )
        drawing.film(stamp.grown(-1.8 - 1.7 * k), tint)
    if rim:
        drawing.cut(area.grown(-rim * cell))
    for row, column in cells:
        below = [tints.get((row, column), "plain")]
        below += [STAMPS[source] for source in plan.sources(row, column) if source in STAMPS]
        own = Area(area.left + column * cell, area.top + row * cell, cell, cell)
        drawing.text(own.x, own.y, str(plan.total(row, column)), within=own, on=below)


def _outlined(plan: Painting) -> dict[tuple[int, int], str]:
    """The input cells whose stamps are outlined, as far as there are such cells."""
    return {place: tint for place, tint in STAMPS.items() if max(place) < plan.size}


def _draw_output(drawing: Schematic, area: Area, plan: Painting, cell: float) -> None:
    """What is left of the canvas."""
    count, rim = plan.output, plan.padding
    cells = [(row, column) for row in range(count) for column in range(count)]
    texts = {(row, column): str(plan.total(row + rim, column + rim)) for row, column in cells}
    drawing.grid(area.left, area.top, count, count, cell, texts=texts)


def _between(drawing: Schematic, places: list[Area], middle: float) -> None:
    """What happens between the four grids: a product, painting, cutting."""
    first, kernel, canvas, output = places
    drawing.text((first.right + kernel.left) / 2, middle, "×", size=16, bold=True)
    for before, after, word in ((kernel, canvas, "paint"), (canvas, output, "cut")):
        x = (before.right + after.left) / 2
        drawing.arrow((x - 19, middle), (x + 19, middle), label=word)


def pixel_box(
    box: tuple[int, int, int, int] = (2, 1, 6, 4), size: tuple[int, int] = (6, 9)
) -> Schematic:
    """A box with exclusive maxima on a grid of pixels.

    box: (x_min, y_min, x_max, y_max), integers. size: (height, width) of the image in pixels, at
    most 12 and 14. Raises ValueError for other sizes, and for a box that has no area or leaves the
    image.
    """
    height, width = size
    check_sizes(height=height, width=width)
    if height > MOST_ROWS or width > MOST_COLUMNS:
        raise ValueError(
            f"{height} x {width} pixels are too many: {MOST_ROWS} x {MOST_COLUMNS} at most."
        )
    x_min, y_min, x_max, y_max = box
    if not all(isinstance(edge, int) for edge in box):
        raise ValueError(f"The edges of a box of pixels are integers, not {box}.")
    if not (0 <= x_min < x_max <= width and 0 <= y_min < y_max <= height):
        raise ValueError(f"The box {box} has no area, or it leaves {height} x {width} pixels.")
    alt = _box_in_words(box, size)
    cell, left, top = 34.0, 80.0, 46.0
    words_at = left + width * cell + 114
    drawing = Schematic(
        "A box on a grid of pixels", alt, words_at + 190, max(top + height * cell + 40, 250)
    )
    inside = {
        (row, column): "blue" for row in range(y_min, y_max) for column in range(x_min, x_max)
    }
    grid = drawing.grid(left, top, height, width, cell, tints=inside)
    _number_pixels(drawing, grid, cell, size)
    _mark_box(drawing, grid, cell, box)
    _say_box(drawing, words_at, top, box)
    return drawing


def _box_in_words(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    (x_min, y_min, x_max, y_max), (height, width) = box, size
    return (
        f"An image of {height} rows and {width} columns of pixels, numbered from 0. The box"
        f" ({x_min}, {y_min}, {x_max}, {y_max}) holds the columns {x_min} to {x_max - 1} and the"
        f" rows {y_min} to {y_max - 1}: x_max = {x_max} and y_max = {y_max} are the first that no"
        f" longer belong. Its width is {x_max - x_min}, its height {y_max - y_min}. A dot marks"
        f" the centre of each of its pixels; that of the first lies at x = {x_min + 0.5},"
        f" y = {y_min + 0.5}, measured from the corner of the image."
    )


def _number_pixels(drawing: Schematic, grid: Area, cell: float, size: tuple[int, int]) -> None:
    """Numbers of the columns above and of the rows to the left."""
    height, width = size
    for column in range(width):
        drawing.text(grid.left + (column + 0.5) * cell, grid.top - 12, str(column), muted=True)
    for row in range(height):
        drawing.text(
            grid.left - 12, grid.top + (row + 0.5) * cell, str(row), anchor="end", muted=True
        )
    drawing.text(grid.x, grid.top - 32, "column x", muted=True)
    drawing.text(8, grid.top - 12, "row y", anchor="start", muted=True)


def _mark_box(drawing: Schematic, grid: Area, cell: float, box: tuple[int, int, int, int]) -> None:
    """The box's edges with their names, and the centres of its pixels."""
    x_min, y_min, x_max, y_max = box
    area = Area(
        grid.left + x_min * cell,
        grid.top + y_min * cell,
        (x_max - x_min) * cell,
        (y_max - y_min) * cell,
    )
    for x in (area.left, area.right):
        drawing.rule((x, area.bottom), (x, grid.bottom + 12))
    below = grid.bottom + 22
    drawing.text(area.left + 4, below, f"x_min = {x_min}", anchor="end", bold=True)
    drawing.text(area.right - 4, below, f"x_max = {x_max}", anchor="start", bold=True)
    for y, name in ((area.top, f"y_min = {y_min}"), (area.bottom, f"y_max = {y_max}")):
        drawing.rule((area.right, y), (grid.right + 12, y))
        drawing.text(grid.right + 16, y, name, anchor="start", bold=True)
    drawing.film(area, "blue", opacity=0)
    for row in range(y_min, y_max):
        for column in range(x_min, x_max):
            drawing.dot(grid.left + (column + 0.5) * cell, grid.top + (row + 0.5) * cell, 2)


def _say_box(drawing: Schematic, x: float, top: float, box: tuple[int, int, int, int]) -> None:
    """What follows from the four numbers."""
    x_min, y_min, x_max, y_max = box
    wide, tall = x_max - x_min, y_max - y_min
    said = [
        ("width", f"x_max − x_min = {wide}"),
        ("height", f"y_max − y_min = {tall}"),
        ("pixels inside", f"{wide} · {tall} = {wide * tall}"),
        ("centre of the first pixel", f"x = {x_min} + ½, y = {y_min} + ½"),
        ("cut out", f"image[:, {y_min}:{y_max}, {x_min}:{x_max}]"),
    ]
    for k, (name, value) in enumerate(said):
        drawing.text(x, top + 6 + 42 * k, name, anchor="start", size=SMALL, muted=True)
        drawing.text(x, top + 23 + 42 * k, value, anchor="start", size=NOTE + 1)
