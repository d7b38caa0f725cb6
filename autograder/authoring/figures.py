"""The figures that a notebook's cells print, and whether another run prints them again.

Training on another processor adds up in another order and ends in other numbers, so two runs are
compared within the bounds of `Bounds`:

- A number may move by `absolute`, or by the share `relative` of what was recorded, whichever is
  more. 90 % counts as 0.9.
- The words around the numbers must be the same.
- Of all figures at most the share `outside` may miss that, and no number by more than three times
  its bound. So an accuracy of 0.9 that comes out as 0.6 fails, however many others are right.
- What hangs on the clock does not count: `12 ms`, `800 images/s`, a line of progress, and every
  line that contains one of the texts in `timed`.

Figures are what a cell writes to stdout, the text of its results, and its HTML tables; not
pictures, widgets and verdicts of checks.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from html.parser import HTMLParser
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from autograder.authoring.inputs import digest, what_computes
from autograder.checking.report import MIME as VERDICT
from autograder.errors import CourseError

if TYPE_CHECKING:
    from nbformat import NotebookNode

Printed = Mapping[str, list[str]]
"""A cell's name (see `names_of`) -> the lines that the cell printed."""

FAR = 3.0
"""No number may be off by more than so many times its bound."""

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")
PROGRESS = re.compile(r"^step [\d,]+ of [\d,]+\b.*\bleft\b")
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?"
TIME = re.compile(
    rf"(?<![\w.]){DIGITS} ?(?:(?:ns|us|µs|ms|s|seconds?|min|minutes?|h|hours?)\b|[a-z]+/s\b)"
)
NUMBER = re.compile(
    rf"(?P<number>(?<![\w.])[-+]?(?:{DIGITS}|nan\b|inf\b)|(?<=\W){DIGITS})(?P<percent> ?%)?"
)


@dataclass(frozen=True)
class Bounds:
    """How far the figures of a run may lie from the recorded ones. A unit overrides them in the
    table [unit.run] of its exercises.toml."""

    relative: float = 0.1  # share of the recorded number
    absolute: float = 0.05
    outside: float = 0.05  # share of all figures
    timed: tuple[str, ...] = ()  # a line that contains one of these hangs on the clock


def bounds_of(unit: str, table: Mapping[str, Any]) -> Bounds:
    """The bounds that a unit's exercises.toml states. Raises CourseError for a key or a value that
    is none."""
    given = dict(table.get("unit", {}).get("run", {}))
    known = [field.name for field in fields(Bounds)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise CourseError(
            f"{unit}/exercises.toml: [unit.run] has an unknown key {unknown[0]!r}; it may have"
            f" {', '.join(known)}."
        )
    timed = given.pop("timed", [])
    if not isinstance(timed, list) or not all(isinstance(text, str) and text for text in timed):
        raise CourseError(f"{unit}/exercises.toml: `timed` in [unit.run] is a list of texts.")
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < 1:
            raise CourseError(
                f"{unit}/exercises.toml: `{name}` in [unit.run] is {value!r}; it is a number from"
                " 0 to below 1."
            )
    return Bounds(**given, timed=tuple(timed))


def problems(recorded: Printed, found: Printed, bounds: Bounds) -> list[str]:
    """Why `found` is not what was recorded, in sentences; empty when it is, within the bounds."""
    count, outside, far = 0, [], []
    for cell in [*recorded, *(name for name in found if name not in recorded)]:
        lines = compared_lines(recorded.get(cell, []), found.get(cell, []), bounds.timed)
        for before, after in lines:
            off = distances(before, after, bounds)
            count += len(off)
            sentence = f"cell {cell} printed {after!r}, and {before!r} was recorded"
            outside += [sentence for distance in off if distance > 1]
            far += [sentence for distance in off if distance > FAR]
    if far:
        return far
    return outside if len(outside) > bounds.outside * count else []


def compared_lines(
    before: list[str], after: list[str], timed: tuple[str, ...]
) -> Iterator[tuple[str | None, str | None]]:
    """The lines of two runs of a cell side by side, without those that hang on the clock; None
    where only the other run has one."""
    return zip_longest(untimed(before, timed), untimed(after, timed))


def untimed(lines: list[str], timed: tuple[str, ...]) -> list[str]:
    """The lines that contain none of the texts `timed`."""
    return [line for line in lines if not any(text in line for text in timed)]


def distances(before: str | None, after: str | None, bounds: Bounds) -> list[float]:
    """How far each figure of a line lies from the recorded one, in multiples of its bound.

    Where the words differ, or a line is missing, there is nothing to measure: all its figures are
    outside, and none is far.
    """
    words, numbers = words_and_numbers(before or "")
    other_words, other_numbers = words_and_numbers(after or "")
    if before is None or after is None or words != other_words:
        return [FAR] * max(len(numbers), len(other_numbers), 1)
    if not numbers:
        return [0.0]
    return [distance(one, other, bounds) for one, other in zip(numbers, other_numbers, strict=True)]


def distance(recorded: float, found: float, bounds: Bounds) -> float:
    """How far a number lies from the recorded one, in multiples of its bound."""
    if recorded == found or (math.isnan(recorded) and math.isnan(found)):
        return 0.0
    if not (math.isfinite(recorded) and math.isfinite(found)):
        return math.inf
    bound = max(bounds.absolute, bounds.relative * abs(recorded))
    return abs(recorded - found) / bound if bound else math.inf


def words_and_numbers(line: str) -> tuple[str, list[float]]:
    """A line with `#` in the place of each number, and the numbers."""
    numbers = []
    for match in NUMBER.finditer(line):
        value = float(match["number"].replace(",", ""))
        numbers.append(value / 100 if match["percent"] else value)
    words = NUMBER.sub(lambda match: f"#{match['percent'] or ''}", line)
    return " ".join(words.split()), numbers


def printed_by(notebook: NotebookNode) -> dict[str, list[str]]:
    """What the cells of an executed notebook printed; cells that printed nothing are left out."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = [lines_of("".join(map(text_of, cell.outputs))) for cell in code]
    return {name: found for name, found in zip(names_of(code), lines, strict=True) if found}


def names_of(code: Sequence[NotebookNode]) -> list[str]:
    """A name for each code cell, which no other comment or docstring changes: its grade_id, or a
    digest of what computes in it, numbered where there are several alike."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for cell in code:
        graded = cell.metadata.get("nbgrader", {}).get("grade_id")
        name = graded or digest(what_computes(cell.source).encode())
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return names


def lines_of(text: str) -> list[str]:
    """The lines of a text as they are recorded: without colours, padding, addresses, times, and
    lines of progress."""
    lines = []
    for written in COLOURS.sub("", text).replace("\r\n", "\n").split("\n"):
        seen = written.rstrip("\r").rpartition("\r")[2]  # a bar of progress writes over itself
        line = " ".join(seen.split())
        if line and not PROGRESS.search(line):
            lines.append(TIME.sub("(time)", ADDRESS.sub("(address)", line)))
    return lines


def text_of(output: NotebookNode) -> str:
    """What an output says in words: nothing for a picture, a widget, a verdict, a warning or an
    error."""
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    data = output.get("data", {})
    if VERDICT in data or any(kind.startswith("image/") or "widget" in kind for kind in data):
        return ""
    if "text/html" in data:
        return f"\n{text_of_html(data['text/html'])}\n"
    return f"\n{data.get('text/plain', '')}\n"


def text_of_html(page: str) -> str:
    """The text of HTML, a line for each row of a table."""
    reader = _PageText()
    reader.feed(page)
    reader.close()
    return "".join(reader.parts)


class _PageText(HTMLParser):
    """Collects text: cells of a row with a space between them, rows and paragraphs in lines."""

    HIDDEN = ("style", "script", "svg", "head")
    LINES = ("tr", "p", "div", "li", "br", "caption", "h1", "h2", "h3", "h4", "summary")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in self.HIDDEN
        self.parts.append("\n" if tag in self.LINES else " ")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in self.HIDDEN
        self.parts.append("\n" if tag in self.LINES else " ")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data.replace("\n", " "))
