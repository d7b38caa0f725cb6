"""Labs on a page of JupyterLab: finding one, moving its controls, and how long a redraw takes."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .harness import Watched, WidgetCell, widget_cells


@dataclass(frozen=True)
class Lab:
    """One lab of a page; index: its place among all labs of the page."""

    page: Any
    index: int

    @property
    def root(self) -> Any:
        return self.page.locator(".cvlab").nth(self.index)

    @property
    def caption(self) -> str:
        return self.root.locator(".cvlab-caption").inner_text()

    @property
    def values(self) -> dict[str, Any]:
        """The values of the controls that the present picture was drawn for."""
        return json.loads(self.root.get_attribute("data-values"))

    @property
    def has_failed(self) -> bool:
        return self.root.get_attribute("data-failed") == "true"

    @property
    def is_marked(self) -> bool:
        """Whether it has a picture to click into and mark."""
        return self.root.locator(".cvlab-prompts").count() > 0

    def canvas(self, panel: int = 0) -> Any:
        return self.root.locator("canvas").nth(panel)

    def control(self, name: str) -> Any:
        return self.root.locator(f"[data-control={name}]")

    def labels(self) -> list[str]:
        """What it is measured by: each slider and choice, and the first number of each grid."""
        controls = self.root.locator("[data-control]")
        found = [controls.nth(k).locator(MEASURED).first for k in range(controls.count())]
        return [one.get_attribute("aria-label") for one in found if one.count()]

    def wait_for(self, name: str, value: Any) -> None:
        """Waits until the picture is the one for this value."""
        wanted = json.dumps(value, separators=(",", ":"))
        self.page.wait_for_function(DRAWN_FOR, arg=[self.index, name, wanted], timeout=30_000)

    def wait_for_caption(self, words: str) -> None:
        """Waits until the words stand under the picture."""
        self.page.wait_for_function(CAPTION_HAS, arg=[self.index, words], timeout=30_000)

    def key_times(self, label: str, steps: int = 15) -> list[float]:
        """Milliseconds from key press to redrawn canvas, for each press of an arrow key.

        label: of the control that has the keys. Only a picture drawn for its new value counts.
        Sliders and choices turn round at their ends.
        """
        times, rising = [], True
        for _ in range(steps + 1):
            state = self.page.evaluate(ARM_KEY, [self.index, label, MEASURED])
            rising = state["share"] < 0.999 if rising else state["share"] < 0.001
            self.page.keyboard.press(state["up"] if rising else OPPOSITE[state["up"]])
            times.append(self.page.evaluate("() => window.redrawn"))
        return times[1:]  # the first press also loads what is loaded on first use

    def click_times(self, name: str, places: Iterable[tuple[float, float]]) -> list[float]:
        """Milliseconds from a click into the first picture to the redrawn canvas, for each place.

        name: of the Prompts control. places: (down, across) in shares of the picture, all
        different.
        """
        canvas, times = self.canvas(), []
        canvas.scroll_into_view_if_needed()
        for down, across in places:
            self.page.evaluate(ARM_CLICK, [self.index, name])
            box = canvas.bounding_box()
            self.page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
            times.append(self.page.evaluate("() => window.redrawn"))
        return times[1:]  # the first click also loads what is loaded on first use


@dataclass
class LessonPage:
    """A lesson's widgets in one notebook with one kernel, and the bare widget below them.

    of_cells: for each cell that shows labs, in the order of the page, its labs.
    """

    lesson: Path
    watched: Watched
    of_cells: list[list[Lab]] = field(default_factory=list)

    def __post_init__(self) -> None:
        page = self.watched.page
        page.wait_for_function(ALL_DRAWN)
        counts = page.evaluate(LABS_OF_CELLS)
        ends = itertools.accumulate(counts)
        for count, end in zip(counts, ends, strict=True):
            self.of_cells.append([Lab(page, k) for k in range(end - count, end)])

    @property
    def page(self) -> Any:
        return self.watched.page

    @property
    def bare(self) -> Lab:
        """The widget with nothing of the course in it."""
        return self.of_cells[-1][0]

    def widgets(self) -> list[tuple[WidgetCell, list[Lab]]]:
        """Each cell of the lesson that is tagged "widget", and its labs."""
        cells = widget_cells(self.lesson)
        return list(zip(cells, self.of_cells[: len(cells)], strict=True))

    def are_stretched(self) -> list[tuple[float, float]]:
        """(drawn, shown) aspect of every picture whose two differ by more than 2 %."""
        aspects = self.page.evaluate(ASPECTS)
        return [(drawn, shown) for drawn, shown in aspects if abs(drawn - shown) > 0.02 * shown]


def on_lesson(*lessons: Path) -> pytest.MarkDecorator:
    """For tests that take the fixture `lesson_page`, once for each of these lessons."""
    stems = [lesson.stem for lesson in lessons]
    return pytest.mark.parametrize("lesson_page", lessons, indirect=True, ids=stems)


MEASURED = "input[type=range], select, input[type=number]"
OPPOSITE = {"ArrowUp": "ArrowDown", "ArrowDown": "ArrowUp"}

ALL_DRAWN = """
() => {
  const labs = [...document.querySelectorAll(".cvlab")];
  return labs.length > 0 && labs.every((lab) => "drawn" in lab.dataset);
}
"""

# For each code cell of the page that shows labs, in order: how many.
LABS_OF_CELLS = """
() => [...document.querySelectorAll(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")]
  .map((cell) => cell.querySelectorAll(".cvlab").length)
  .filter((count) => count > 0)
"""

# [drawn, shown] aspect of every canvas of the page: equal unless a picture is stretched.
ASPECTS = """
() => [...document.querySelectorAll(".cvlab canvas")].map((canvas) => [
  canvas.width / canvas.height, canvas.clientWidth / canvas.clientHeight,
])
"""

DRAWN_FOR = """
([lab, name, value]) => {
  const root = document.querySelectorAll(".cvlab")[lab];
  return JSON.stringify(JSON.parse(root.dataset.values)[name]) === value;
}
"""

CAPTION_HAS = """
([lab, words]) => {
  const root = document.querySelectorAll(".cvlab")[lab];
  return root.querySelector(".cvlab-caption").innerText.includes(words);
}
"""

# What both clocks below share. The clock starts with the event's own time stamp and stops when the
# frame with the new picture has been handed over: animation frame, then the task after.
CLOCK = """
  const startAt = (node, kind) => new Promise((resolve) => {
    const begin = (event) => resolve(event.timeStamp);
    node.addEventListener(kind, begin, { once: true, capture: true });
  });
  const afterFrame = () => new Promise((resolve) => requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve(performance.now());
    port2.postMessage(null);
  }));
  // Resolves once `isNew` holds for a picture that has come; rejects when drawing fails.
  const pictureOf = (root, isNew) => new Promise((resolve, reject) => {
    const observer = new MutationObserver(() => {
      if (root.dataset.failed === "true") finish(() => reject(new Error(root.innerText)));
      else if (isNew()) finish(resolve);
    });
    const late = () => reject(new Error(`no redraw; drawn: ${root.dataset.values}`));
    const timer = setTimeout(() => finish(late), 60000);
    const finish = (outcome) => {
      observer.disconnect();
      clearTimeout(timer);
      outcome();
    };
    observer.observe(root, { attributes: true, attributeFilter: ["data-drawn"] });
  });
"""

# One promise for the next redraw with another value of this control.
ARM_KEY = f"""
([lab, label, measured]) => {{
  {CLOCK}
  const root = document.querySelectorAll(".cvlab")[lab];
  const input = [...root.querySelectorAll(measured)]
    .find((one) => one.getAttribute("aria-label") === label);
  const name = input.closest("[data-control]").dataset.control;
  const drawn = () => JSON.stringify(JSON.parse(root.dataset.values)[name]);
  const before = drawn();
  input.focus();
  let start = null;
  startAt(input, "keydown").then((time) => (start = time));
  const isNew = () => {{
    if (start === null || drawn() === before) return false;
    return input.type !== "range" || drawn() === JSON.stringify(Number(input.value));
  }};
  window.redrawn = pictureOf(root, isNew).then(afterFrame).then((end) => end - start);
  if (input.tagName === "SELECT") {{
    return {{ share: input.selectedIndex / (input.options.length - 1), up: "ArrowDown" }};
  }}
  const [value, low, high] = [input.value, input.min, input.max].map(Number);
  const share = input.type === "range" ? (value - low) / (high - low) : 0.5;
  return {{ share, up: "ArrowUp" }};
}}
"""

# One promise for the redraw that a mark in a picture causes: from the pointer's release.
ARM_CLICK = f"""
([lab, name]) => {{
  {CLOCK}
  const root = document.querySelectorAll(".cvlab")[lab];
  const drawn = () => JSON.stringify(JSON.parse(root.dataset.values)[name]);
  const before = drawn();
  let start = null;
  startAt(root, "pointerup").then((time) => (start = time));
  const isNew = () => start !== null && drawn() !== before;
  window.redrawn = pictureOf(root, isNew).then(afterFrame).then((end) => end - start);
}}
"""
