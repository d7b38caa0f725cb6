"""What `cvcourse grade` shows: progress with an estimate, and what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autograder.checking.verdict import State
from autograder.grading.grade import Graded
from autograder.grading.intake import seen

if TYPE_CHECKING:
    from rich.console import Console

LINE_EVERY = 5.0  # seconds between two lines where there is no terminal
ATTENTION = (
    State.TIMEOUT,
    State.OUT_OF_MEMORY,
    State.KERNEL_DEATH,
    State.TAMPERING,
    State.GRADER_FAULT,
)


class GradingProgress:
    """A bar with the time left in a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console):
        self.console = console
        self.begun = self.last_line = time.monotonic()
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> GradingProgress:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Bar(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("starting", total=None)
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def listen(self, done: int, total: int, student: str) -> None:
        """One more submission is through."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, description=student[:20])
            return
        now = time.monotonic()
        if done == total or now - self.last_line >= LINE_EVERY:
            self.last_line = now
            left = (now - self.begun) / done * (total - done)
            self.console.print(
                f"{done} of {total} graded" + (f", about {left:.0f} s left" if left else "")
            )


def summary(graded: Graded, unsafe: bool = False) -> Any:
    """What a run did, in a few lines; names where a person must look."""
    from rich.console import Group
    from rich.text import Text

    lines = [Text(sentence(graded))]
    lines += [
        Text(f"  {seen(student)}: {problem}", style="yellow")
        for student, problem in sorted(graded.problems.items())
    ]
    for result in graded.results:
        states = Counter(
            verdict.state for verdict in result.verdicts.values() if verdict.state in ATTENTION
        )
        if states:
            said = ", ".join(f"{state} in {count}" for state, count in states.items())
            lines.append(Text(f"  {result.student}: {said}", style="yellow"))
        if result.evidence:
            lines.append(Text(f"  {result.student}: {result.evidence[0]}", style="yellow"))
    for student, notes in sorted(graded.notes.items()):
        lines += [Text(f"  {student}: {note}") for note in notes]
    if unsafe:
        lines.append(
            Text(
                "Graded WITHOUT a sandbox: learners' code could reach whatever you can.",
                style="bold red",
            )
        )
    if graded.interrupted:
        lines.append(Text(f"Stopped; {graded.interrupted} are left. Run it again to go on."))
    return Group(*lines)


def sentence(graded: Graded) -> str:
    """The run in a sentence."""
    parts = [f"{graded.run} graded"] + [
        f"{count} {what}"
        for count, what in (
            (graded.unchanged, "unchanged since the last time, not run again"),
            (graded.rewritten, "written to the gradebook again without running"),
            (len(graded.problems), "not written to the gradebook"),
        )
        if count
    ]
    first = f", the first after {graded.seconds_to_first:.1f} s" if graded.seconds_to_first else ""
    return f"{', '.join(parts)} in {graded.seconds:.1f} s{first}."
