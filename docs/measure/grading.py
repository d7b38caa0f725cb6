"""Measure grading beside nbgrader's own: `python docs/measure/grading.py`.

One class of honest submissions, all different, is graded by `nbgrader autograde` in a kernel a
submission and by `cvcourse grade`, each in a process of its own, start-up included. Prints a table,
writes the marked block of docs/figures.md with --write, and ends with 1 where a bar is missed.
Takes some minutes; run nothing else beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from autograder.cells import CHECK  # noqa: E402
from autograder.demo import Classroom  # noqa: E402
from autograder.grading.result import ResultStore  # noqa: E402
from autograder.grading.workers import cores  # noqa: E402
from docs.measure.classes import MadeSubmission, hand_in, honest_class, makers_of  # noqa: E402
from docs.measure.figures import machine, table, write_block  # noqa: E402

UNIT = "01_convolution"
SUBMISSIONS = 60
BAR, AIM = 10.0, 25.0  # times nbgrader's submissions per second
REGRADE_BAR = 2.0  # seconds
LOOK = 0.05  # seconds between two looks at memory
WATCHED = 6  # submissions graded while memory is looked at
IN_KERNEL = (
    "from autograder.nbgrader_config import configure\n\nconfigure(get_config(), in_kernel=True)\n"
)
SERVER = "autograder.sandbox.server"


@dataclass
class Figures:
    """What was measured: seconds of wall time, bytes."""

    submissions: int
    nbgrader: float = 0.0
    grade: float = 0.0
    first_verdict: float = 0.0
    regrade: float = 0.0
    unsafe: float = 0.0
    by_workers: dict[int, float] = field(default_factory=dict)
    server_memory: int = 0  # resident, of the warm server
    # resident at the most, of one submission's process; most of it is the server's
    submission_memory: int = 0
    own_memory: int = 0  # of it, pages that are not the server's
    differences: list[str] = field(default_factory=list)  # from nbgrader's scores
    surprises: list[str] = field(default_factory=list)  # from the scores that were known beforehand

    @property
    def ratio(self) -> float:
        """How many times faster than nbgrader."""
        return self.nbgrader / self.grade

    @property
    def missed(self) -> list[str]:
        """The bars that were missed, in words."""
        said = []
        if self.ratio < BAR:
            said.append(f"{self.ratio:.1f} times as fast as nbgrader, and {BAR:g} is the bar")
        if self.regrade > REGRADE_BAR:
            took = f"a re-grade took {self.regrade:.1f} s"
            said.append(f"{took}, and {REGRADE_BAR:g} s is the bar")
        if self.differences:
            said.append(f"{len(self.differences)} scores differ from nbgrader's")
        if self.surprises:
            said.append(f"{len(self.surprises)} scores are not what was handed in")
        return said


def measure(folder: Path, count: int, say=print) -> Figures:
    """Everything, in an empty folder."""
    figures = Figures(count)
    handed_in = make_class(folder / "class", count)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder / "class", folder / name))

    say(f"{count} submissions of {UNIT}: nbgrader autograde …")
    stock, ours = copy("nbgrader"), copy("grade")
    (stock / "nbgrader_config.py").write_text(IN_KERNEL, encoding="utf-8")
    figures.nbgrader = timed(stock, "nbgrader", "autograde", UNIT)
    say(f"  {figures.nbgrader:.1f} s; cvcourse grade …")
    begun = time.time()
    figures.grade = timed(ours, *grade())
    figures.first_verdict = first_result(ours) - begun
    say(f"  {figures.grade:.1f} s; again, without a sandbox, with one worker and with two …")
    figures.regrade = timed(ours, *grade())
    figures.unsafe = timed(copy("unsafe"), *grade("--unsafe"))
    for workers in (1, 2):
        known = figures.grade if workers == cores() else None
        figures.by_workers[workers] = known or timed(
            copy(f"workers-{workers}"), *grade("--workers", str(workers))
        )
    figures.differences = differences(stock, ours)
    figures.surprises = surprises(ours, handed_in)
    figures.submission_memory = max(result.peak_memory for result in ResultStore(ours).all(UNIT))
    few = [word for item in handed_in[:WATCHED] for word in ("--student", item.student)]
    with looking_at_memory() as seen:
        timed(ours, *grade("--again", "--workers", "1", *few))
    figures.server_memory, figures.own_memory = seen.get("server", 0), seen.get("own", 0)
    return figures


def make_class(folder: Path, count: int) -> list[MadeSubmission]:
    """A course whose class has handed in."""
    folder.mkdir()
    submissions = honest_class(makers_of(folder, UNIT), count)
    hand_in(folder, UNIT, submissions)
    return submissions


def grade(*options: str) -> list[str]:
    """The words of `cvcourse grade`."""
    return ["autograder.cli", "grade", UNIT, *options]


def timed(folder: Path, module: str, *words: str) -> float:
    """Seconds that a command took in a course folder. Raises SystemExit where it failed."""
    command = [sys.executable, "-m", module, *words]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode not in (0, 1):  # 1: somebody must look at something
        raise SystemExit(
            f"{' '.join(command)} ended with"
            f" {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return seconds


def environment() -> dict[str, str]:
    """This process's environment, with the course to be imported from wherever a command runs."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def first_result(folder: Path) -> float:
    """When the first verdict was kept, in seconds since the epoch."""
    return min(path.stat().st_mtime for path in (folder / ".grading" / UNIT).glob("*.json"))


# Scores


def differences(stock: Path, ours: Path) -> list[str]:
    """Where the two gradebooks do not give a check the same points."""
    stock_room, our_room = Classroom(stock), Classroom(ours)
    found = []
    for student in sorted(path.name for path in (ours / "submitted").iterdir()):
        theirs = stock_room.grades(UNIT, student)
        for name, mine in our_room.grades(UNIT, student).items():
            if name.startswith(CHECK) and not same(mine.points, theirs[name].points):
                given = f"{mine.points:g} for {name.removeprefix(CHECK)}"
                found.append(f"{student}: {given}, {theirs[name].points} by nbgrader")
    return found


def surprises(folder: Path, handed_in: Sequence[MadeSubmission]) -> list[str]:
    """Where a check gives other points than its submission was made for."""
    results = {result.student: result for result in ResultStore(folder).all(UNIT)}
    found = []
    for item in handed_in:
        verdicts = results[item.student].verdicts if item.student in results else {}
        for name, mark in item.marks.items():
            given = verdicts[name].points if name in verdicts else None
            if mark.points is not None and not same(given, mark.points):
                who = f"{item.student} ({item.did})"
                found.append(f"{who}: {given} for {name} in place of {mark.points:g}")
    return found


def same(one: float | None, other: float | None) -> bool:
    """Whether two scores are the same to the hundredth."""
    return one is not None and other is not None and abs(one - other) < 0.005


# Memory


@contextlib.contextmanager
def looking_at_memory() -> Iterator[dict[str, int]]:
    """Look at the warm server's and its forks' memory while something runs.

    Returns {"server": bytes, "own": bytes}.
    """
    seen: dict[str, int] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            with contextlib.suppress(psutil.Error):
                note_memory(seen)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def note_memory(seen: dict[str, int]) -> None:
    """Note the server's and its forks' memory.

    The server is the oldest of the processes that run its program.
    """
    processes = psutil.Process().children(recursive=True)
    # The sandbox's own programs name the server, too.
    ours = [
        one
        for one in processes
        if (words := one.cmdline()) and words[0] == sys.executable and SERVER in words[-3]
    ]
    server, *forks = sorted(ours, key=lambda one: one.create_time()) or [None]
    if server is not None:
        seen["server"] = max(seen.get("server", 0), server.memory_info().rss)
    for fork in forks:
        seen["own"] = max(seen.get("own", 0), fork.memory_full_info().uss)


# What is shown


def section(figures: Figures) -> str:
    """The figures in Markdown."""
    count = figures.submissions
    rows = [
        row("`nbgrader autograde`, a kernel a submission", figures.nbgrader, count),
        row("`cvcourse grade`", figures.grade, count),
        row("`cvcourse grade --unsafe`", figures.unsafe, count),
        *(
            row(f"`cvcourse grade --workers {n}`", seconds, count)
            for n, seconds in figures.by_workers.items()
        ),
        row("`cvcourse grade` of the unchanged class", figures.regrade, count),
    ]
    said = [
        (
            f"{figures.ratio:.1f} times as many submissions a second as nbgrader (bar {BAR:g}, aim"
            f" {AIM:g})."
        ),
        f"The first verdict is there after {figures.first_verdict:.1f} s.",
        (
            f"The sandbox costs {100 * (figures.grade / figures.unsafe - 1):+.0f} % of the time"
            " without it."
        ),
        (
            f"A second worker makes it {figures.by_workers[1] / figures.by_workers[2]:.2f} times as"
            " fast."
        ),
        (
            f"Resident: {mb(figures.server_memory)} for the warm server,"
            f" {mb(figures.submission_memory)} at the most for a submission's process, of which"
            f" {mb(figures.own_memory)} are its own and not the server's."
        ),
        (
            f"Scores that differ from nbgrader's: {len(figures.differences)} of {count}"
            f" submissions' checks; from what was handed in: {len(figures.surprises)}."
        ),
    ]
    return "\n".join(
        [
            "## Grading",
            "",
            (
                f"`python docs/measure/grading.py` on {time.strftime('%Y-%m-%d')}: {machine()}."
                f" {count} honest submissions of {UNIT}, all different; whole commands, start-up"
                " included."
            ),
            "",
            table(("command", "time", "submissions a second"), rows),
            "",
            *(f"- {line}" for line in said),
            *(f"- {line}" for line in [*figures.differences, *figures.surprises][:20]),
        ]
    )


def row(command: str, seconds: float, count: int) -> tuple[str, str, str]:
    """One row of the table."""
    return command, f"{seconds:.1f} s", f"{count / seconds:.2f}"


def mb(size: int) -> str:
    """Bytes in megabytes."""
    return f"{size / 2**20:.0f} MB"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--submissions", type=int, default=SUBMISSIONS, help="fewer for a quick look"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--write", action="store_true", help="write the block in docs/figures.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cvcourse-measure-") as folder:
        figures = measure(Path(folder), options.submissions)
    print(section(figures))
    if options.json:
        extra = {"ratio": figures.ratio, "missed": figures.missed}
        options.json.write_text(
            json.dumps(asdict(figures) | extra, indent=2) + "\n", encoding="utf-8"
        )
    if options.write:
        write_block("grading", section(figures))
    for words in figures.missed:
        print(f"MISSED: {words}")
    return 1 if figures.missed else 0


if __name__ == "__main__":
    sys.exit(main())
