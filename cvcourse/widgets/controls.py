"""Controls of a lab: each checks a value, says it in words, and tells the browser how to draw it.

A value has two forms: the one `draw` receives, and the JSON one that travels to and from the
browser ("wire").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class Control:
    """What every control shares.

    value: the one to begin with, checked. label: by default the control's name, with spaces for
    underscores.
    """

    kind = "control"
    value: Any
    label: str

    def check(self, value: Any) -> Any:
        """The value as `draw` receives it; raises ValueError, in one sentence, when it is not
        allowed."""
        raise NotImplementedError

    def wire(self, value: Any) -> Any:
        """The JSON form of a checked value."""
        return value

    def say(self, value: Any) -> str:
        """A checked value in words, for the picture on paper."""
        return str(value)

    def describe(self, name: str) -> dict[str, Any]:
        """What the browser needs to draw the control."""
        return {"kind": self.kind, "name": name, "label": self.label or name.replace("_", " ")}


@dataclass
class Slider(Control):
    """A number from `low` to `high`.

    `draw` receives an int when low, high and step are ints, else a float.
    """

    kind = "slider"
    low: float
    high: float
    value: float | None = None
    step: float | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"Slider needs low < high, not {self.low} and {self.high}.")
        self.whole = all(isinstance(bound, int) for bound in (self.low, self.high, self.step or 0))
        self.step = self.step or (1 if self.whole else (self.high - self.low) / 100)
        self.decimals = 0 if self.whole else _decimals(self.step)
        self.value = self.check(self.low if self.value is None else self.value)

    def check(self, value: Any) -> float:
        """The value on the slider's nearest step, so that Python chooses what a mouse could."""
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is outside the slider's range, {self.low} to {self.high}.")
        stepped = self.low + round((value - self.low) / self.step) * self.step
        return round(stepped) if self.whole else round(min(stepped, self.high), self.decimals + 2)

    def say(self, value: float) -> str:
        return f"{value:.{self.decimals}f}"

    def describe(self, name: str) -> dict[str, Any]:
        bounds = {"low": self.low, "high": self.high, "step": self.step, "decimals": self.decimals}
        return super().describe(name) | bounds


@dataclass
class Choice(Control):
    """One of `options`, strings or numbers, or a mapping from what is read to what `draw` receives.

    panel: an image panel that shows the second option and those after it, in equal parts from the
    top down. A press on a part chooses it, another press goes back to the first option.
    """

    kind = "choice"
    options: Sequence[Any] | Mapping[str, Any]
    value: Any = None
    label: str = ""
    panel: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.options, Mapping):
            self.by_name = dict(self.options)
        else:
            self.by_name = {str(option): option for option in self.options}
        if not self.by_name:
            raise ValueError("Choice needs at least one option.")
        if self.value is None:
            self.value = next(iter(self.by_name.values()))
        else:
            self.value = self.check(self.value)

    def check(self, value: Any) -> Any:
        for name, option in self.by_name.items():
            by_name = isinstance(value, str) and value == name
            if value is option or by_name or _plainly_equal(value, option):
                return option
        raise ValueError(f"{value!r} is not one of {', '.join(self.by_name)}.")

    def wire(self, value: Any) -> str:
        return next(name for name, option in self.by_name.items() if option is value)

    def say(self, value: Any) -> str:
        return self.wire(value)

    def describe(self, name: str) -> dict[str, Any]:
        return super().describe(name) | {"options": list(self.by_name), "panel": self.panel}


@dataclass
class Toggle(Control):
    """On or off; `draw` receives a bool."""

    kind = "toggle"
    value: bool = False
    label: str = ""

    def check(self, value: Any) -> bool:
        return bool(value)

    def say(self, value: bool) -> str:
        return "on" if value else "off"


@dataclass
class Grid(Control):
    """A table of numbers to edit, such as a kernel; `draw` receives a list of lists of floats."""

    kind = "grid"
    value: Sequence[Sequence[float]]
    step: float = 1
    label: str = ""

    def __post_init__(self) -> None:
        rows = _rows(self.value)
        self.shape = (len(rows), len(rows[0]) if rows else 0)
        self.value = self.check(rows)

    def check(self, value: Any) -> list[list[float]]:
        rows = _rows(value)
        if not rows or {len(row) for row in rows} != {self.shape[1]} or len(rows) != self.shape[0]:
            raise ValueError(f"A grid needs {self.shape[0]} rows of {self.shape[1]} numbers.")
        return rows

    def say(self, value: list[list[float]]) -> str:
        return " / ".join(" ".join(f"{cell:g}" for cell in row) for row in value)

    def describe(self, name: str) -> dict[str, Any]:
        return super().describe(name) | {"shape": list(self.shape), "step": self.step}


@dataclass
class Pointer(Control):
    """A place in an image panel; `draw` receives (row, column), integers in that image's own
    pixels.

    on: "hover" follows the mouse, "press" waits for a click or tap, "drag" follows while the button
    is down. The arrow keys move it by one pixel in each case.
    """

    kind = "pointer"
    panel: int = 0
    start: tuple[int, int] = (0, 0)
    on: str = "hover"
    label: str = ""

    def __post_init__(self) -> None:
        if self.on not in ("hover", "press", "drag"):
            raise ValueError(f'Pointer\'s on is "hover", "press" or "drag", not {self.on!r}.')
        self.value = self.check(self.start)

    def check(self, value: Any) -> tuple[int, int]:
        row, column = value
        return max(0, int(row)), max(0, int(column))

    def wire(self, value: tuple[int, int]) -> list[int]:
        return list(value)

    def say(self, value: tuple[int, int]) -> str:
        return f"row {value[0]}, column {value[1]}"

    def describe(self, name: str) -> dict[str, Any]:
        return super().describe(name) | {"panel": self.panel, "on": self.on}


@dataclass(frozen=True)
class Prompt:
    """What was marked in a picture, in whole pixels of it: clicks, and the box drawn last.

    marks: everything in the order in which it came, ("point", row, column, label) or ("box", row,
    column, height, width). label: 1 on the object, 0 on what is not part of it.
    """

    marks: tuple[tuple[Any, ...], ...] = ()

    @property
    def points(self) -> list[tuple[int, int]]:
        """(row, column) of each click."""
        return [mark[1:3] for mark in self.marks if mark[0] == "point"]

    @property
    def labels(self) -> list[int]:
        """1 or 0 for each click."""
        return [mark[3] for mark in self.marks if mark[0] == "point"]

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """(row, column, height, width), or None."""
        boxes = [mark[1:] for mark in self.marks if mark[0] == "box"]
        return boxes[-1] if boxes else None

    def __bool__(self) -> bool:
        return bool(self.marks)


@dataclass
class Prompts(Control):
    """Clicks and a box in an image panel; `draw` receives a `Prompt`.

    A click marks the object; with the shift key, or the right button, it marks what is not part of
    it. Dragging draws a box. From the keyboard: arrow keys, then space (or shift and space); B sets
    a corner of a box; backspace takes the last mark back, escape all of them. start: the first
    marks. cleared_by: controls that show another picture when they move, so that no mark stays.
    """

    kind = "prompts"
    panel: int = 0
    start: Sequence[Sequence[Any]] = ()
    cleared_by: Sequence[str] = ()
    label: str = ""

    def __post_init__(self) -> None:
        self.value = self.check(self.start)

    def check(self, value: Any) -> Prompt:
        """A Prompt, or its marks."""
        marks = value.marks if isinstance(value, Prompt) else value
        return Prompt(tuple(_mark(mark) for mark in marks))

    def wire(self, value: Prompt) -> list[list[Any]]:
        return [list(mark) for mark in value.marks]

    def say(self, value: Prompt) -> str:
        said = []
        for label, word in ((1, "positive"), (0, "negative")):
            if label in value.labels:
                said.append(f"{value.labels.count(label)} {word}")
        if value.box:
            said.append("a box")
        return ", ".join(said) or "nothing marked"

    def describe(self, name: str) -> dict[str, Any]:
        return super().describe(name) | {"panel": self.panel}


@dataclass
class Field(Control):
    """A line of text, such as the path of a file; `draw` receives it once it is finished."""

    kind = "field"
    value: str = ""
    hint: str = ""
    label: str = ""

    def check(self, value: Any) -> str:
        return str(value).strip()

    def say(self, value: str) -> str:
        return value or "none"

    def describe(self, name: str) -> dict[str, Any]:
        return super().describe(name) | {"hint": self.hint}


def _mark(mark: Sequence[Any]) -> tuple[Any, ...]:
    """One mark, checked; raises ValueError in one sentence."""
    kind, *numbers = mark
    numbers = [int(number) for number in numbers]
    if kind == "point" and len(numbers) == 3 and numbers[2] in (0, 1):
        return kind, max(0, numbers[0]), max(0, numbers[1]), numbers[2]
    if kind == "box" and len(numbers) == 4 and min(numbers[2:]) > 0:
        return kind, max(0, numbers[0]), max(0, numbers[1]), *numbers[2:]
    raise ValueError(
        'A mark is ("point", row, column, 0 or 1) or ("box", row, column, height, width), not'
        f" {tuple(mark)!r}."
    )


def _plainly_equal(value: Any, option: Any) -> bool:
    """Whether two plain values are equal. Options may be tensors, for which == gives a tensor."""
    if not isinstance(value, str | int | float | bool):
        return False
    return isinstance(option, type(value)) and value == option


def _rows(value: Any) -> list[list[float]]:
    """A table (lists, array or tensor) as lists of floats: `torch.tensor` makes it float32."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [[float(cell) for cell in row] for row in value]


def _decimals(step: float) -> int:
    """How many decimals show every step of a slider: 0.25 -> 2."""
    for decimals in range(6):
        scaled = step * 10**decimals
        if abs(scaled - round(scaled)) < 1e-9 * max(1, scaled):
            return decimals
    return 3
