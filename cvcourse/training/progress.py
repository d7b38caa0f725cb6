"""How a long training says where it is, and how it is stopped.

It shows live curves in a notebook, and plain lines elsewhere.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvcourse.widgets.panels import Scene

MOST_POINTS = 300
"""Points of a loss curve on the screen; more steps are averaged in groups."""

Evaluations = Sequence[tuple[int, Mapping[str, float]]]


@contextmanager
def interrupt_flag() -> Iterator[Callable[[], bool]]:
    """Turn the first interrupt (Ctrl-C, the stop button) into a flag.

    Restores the usual handling at the end.
    """
    seen: list[int] = []

    def note(signum: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(signum)

    # Only the main thread can handle signals: elsewhere an interrupt means what it always does.
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """Tells about step, loss, throughput and time left, every `every` seconds.

    steps: of the whole training. start: the step that it begins with. batch_size: images a step, of
    all processes. silent: tell nothing, as in all processes but the first.
    """

    def __init__(
        self,
        steps: int,
        start: int,
        batch_size: int,
        every: float = 2.0,
        title: str = "training",
        silent: bool = False,
    ):
        self.steps, self.start, self.batch_size, self.title = steps, start, batch_size, title
        self.began = self.last = time.monotonic()
        self.losses: Sequence[float] = ()
        self.evaluations: Evaluations = ()
        self.words = "not a step yet"
        self.silent = silent
        self.picture = LivePicture(self.scene, title) if not silent and shows_pictures() else None
        self.every = min(every, 0.5) if self.picture else every

    def update(self, losses: Sequence[float], evaluations: Evaluations) -> None:
        """Tell about it when it is time to. losses: of every step from the first one on."""
        now = time.monotonic()
        if not self.silent and now - self.last >= self.every:
            self.last = now
            self.tell(losses, evaluations)

    def tell(self, losses: Sequence[float], evaluations: Evaluations) -> None:
        """Tell about it now."""
        self.note(losses, evaluations)
        if self.picture:
            self.picture.redraw()
        else:
            print(self.words, flush=True)

    def finish(self, losses: Sequence[float], evaluations: Evaluations, words: str) -> None:
        """The last picture, and a sentence."""
        if self.silent:
            return
        self.note(losses, evaluations)
        if self.picture:
            self.picture.finish()
        print(words, flush=True)

    def note(self, losses: Sequence[float], evaluations: Evaluations) -> None:
        """Keep what is told, for the picture to draw."""
        self.losses, self.evaluations = losses, evaluations
        self.words = self.line(losses, evaluations)

    def line(self, losses: Sequence[float], evaluations: Evaluations) -> str:
        """Step, loss, throughput, time left, and the last evaluation."""
        done, fresh = len(losses), len(losses) - self.start
        seconds = max(time.monotonic() - self.began, 1e-9)
        parts = [f"step {done} of {self.steps}"]
        if losses:
            parts.append(f"loss {recent(losses):.3g}")
        if fresh > 0:
            parts.append(f"{fresh * self.batch_size / seconds:,.0f} images/s")
            parts.append(f"about {seconds / fresh * (self.steps - done):.0f} s left")
        if evaluations:
            parts += [f"{name} {value:.3g}" for name, value in evaluations[-1][1].items()]
        return "   ".join(parts)

    def scene(self) -> Scene:
        """The curves so far."""
        return curves_scene({self.title: self.losses}, {self.title: self.evaluations}, self.words)


class LivePicture:
    """A picture in a notebook's output that is drawn again while the cell runs."""

    def __init__(self, draw: Callable[[], Scene], title: str):
        from IPython.display import display

        from cvcourse.widgets import Lab

        alt = f"Curves of {title}: the loss against the step, and what was measured on the way."
        self.lab = Lab(draw, title=title, alt=alt)
        self.handle = display(self.lab, display_id=True)

    def redraw(self) -> None:
        """Draw what is known now."""
        self.lab.set()

    def finish(self) -> None:
        """Draw for the last time; the notebook's file keeps this picture."""
        self.redraw()
        self.handle.update(self.lab)


def shows_pictures() -> bool:
    """Whether this process is a notebook's kernel and pictures are wanted."""
    interactive = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if not hasattr(interactive, "kernel"):
        return False
    from cvcourse.widgets.static import mode

    return mode() != "off"


def curves_scene(
    losses: Mapping[str, Sequence[float]], evaluations: Mapping[str, Evaluations], caption: str = ""
) -> Scene:
    """Loss curves of one or several runs, and beside them what was measured in each."""
    from cvcourse.widgets import Scene, curves

    lines = {name: thinned(values) for name, values in losses.items()}
    panels = [curves(lines, x_label="step", y_label="loss")]
    measured = measured_lines(evaluations)
    if measured:
        panels.append(curves(measured, x_label="step"))
    return Scene(*panels, caption=caption)


def measured_lines(
    evaluations: Mapping[str, Evaluations],
) -> dict[str, tuple[list[int], list[float]]]:
    """What was measured, as lines: name -> (steps, values).

    Where there are several runs, their names stand before.
    """
    lines = {}
    for name, found in evaluations.items():
        last = found[-1][1] if found else {}
        for what in last:
            line = f"{name}: {what}" if len(evaluations) > 1 else what
            steps = [step for step, values in found if what in values]
            lines[line] = (steps, [values[what] for _, values in found if what in values])
    return lines


def thinned(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """A curve of at most MOST_POINTS points: (the middles of groups of steps, their means)."""
    size = math.ceil(len(values) / MOST_POINTS) or 1
    starts = range(0, len(values), size)
    groups = [values[start : start + size] for start in starts]
    middles = [start + (len(group) + 1) / 2 for start, group in zip(starts, groups, strict=True)]
    return middles, [sum(group) / len(group) for group in groups]


def recent(losses: Sequence[float], count: int = 10) -> float:
    """The mean of the last losses, which says more than the last batch."""
    last = losses[-count:]
    return sum(last) / len(last)
