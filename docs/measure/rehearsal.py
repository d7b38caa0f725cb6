"""Rehearse a term's day: `python docs/measure/rehearsal.py`.

A class of 300 made-up submissions (right, mistaken, partly done, broken, damaged, refused, hostile)
goes through `cvcourse grade`, `cvcourse report`, `nbgrader generate_feedback` and `nbgrader
export`. Every score and state must be the expected one. Prints a table and what was unexpected;
ends with 1 where something was. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from autograder.cells import CHECK  # noqa: E402
from autograder.demo import Classroom  # noqa: E402
from autograder.grading.result import Result, ResultStore  # noqa: E402
from docs.measure.classes import (  # noqa: E402
    SCRIPT,
    MadeSubmission,
    hand_in,
    makers_of,
    rehearsal_class,
)
from docs.measure.figures import machine, table, write_block  # noqa: E402
from docs.measure.grading import environment, same  # noqa: E402

UNIT = "01_convolution"
SUBMISSIONS = 300
SECONDS = "3"  # for a cell or a check; most of the time goes to what never ends
EXPORTS = {"canvas": "CanvasExport", "moodle": "MoodleExport"}


@dataclass
class Rehearsal:
    """What happened.

    seconds: by step. problems: by student, or by step where it concerns no one student.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def note(self, who: str, *problems: str) -> None:
        """Keep what was unexpected."""
        if problems:
            self.problems.setdefault(who, []).extend(problems)


def rehearse(folder: Path, count: int, say=print) -> tuple[Rehearsal, list[MadeSubmission]]:
    """The whole day in an empty folder."""
    rehearsal = Rehearsal()
    handed_in = rehearsal_class(makers_of(folder, UNIT), count)
    hand_in(folder, UNIT, handed_in)
    say(f"{count} submissions of {UNIT}")
    grade = ("autograder.cli", "grade", UNIT, "--timeout", SECONDS)
    step(
        rehearsal, folder, "cvcourse grade", *grade, expected=1 if needs_a_person(handed_in) else 0
    )
    look_at_grades(rehearsal, folder, handed_in)
    again = step(rehearsal, folder, "cvcourse grade, nothing changed", *grade, expected=None)
    graded = [item for item in handed_in if not item.is_refused]
    if f"{len(graded)} unchanged" not in again:
        rehearsal.note(
            "cvcourse grade, nothing changed",
            f"it did not leave {len(graded)} alone: {again.strip()[:200]}",
        )
    step(
        rehearsal,
        folder,
        "cvcourse report",
        "autograder.cli",
        "report",
        UNIT,
        "--html",
        "report.html",
    )
    step(rehearsal, folder, "nbgrader generate_feedback", "nbgrader", "generate_feedback", UNIT)
    look_at_feedback(rehearsal, folder, graded)
    for name, plugin in EXPORTS.items():
        words = (f"--exporter=autograder.grading.exports.{plugin}", f"--to={name}.csv")
        step(rehearsal, folder, f"nbgrader export for {name}", "nbgrader", "export", *words)
        look_at_export(rehearsal, folder / f"{name}.csv", graded)
    return rehearsal, handed_in


def step(
    rehearsal: Rehearsal,
    folder: Path,
    name: str,
    module: str,
    *words: str,
    expected: int | None = 0,
) -> str:
    """Run one command; returns what it said.

    expected: its exit code; None where 0 and 1 are both right.
    """
    begun = time.perf_counter()
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    rehearsal.seconds[name] = time.perf_counter() - begun
    said = done.stdout + done.stderr
    if done.returncode not in ((0, 1) if expected is None else (expected,)):
        rehearsal.note(name, f"it ended with {done.returncode}: {said.strip()[-500:]}")
    return said


def needs_a_person(handed_in: Sequence[MadeSubmission]) -> bool:
    """Whether somebody must look at something."""
    return any(item.is_refused or item.waits for item in handed_in)


# What must be there


def look_at_grades(rehearsal: Rehearsal, folder: Path, handed_in: Sequence[MadeSubmission]) -> None:
    """Compare results and gradebook with what each submission was made for."""
    results, room = ResultStore(folder), Classroom(folder)
    for item in handed_in:
        result = results.read(UNIT, item.student)
        rehearsal.note(item.student, *problems_of(item, result))
        if result is not None and not result.refused:
            rehearsal.note(item.student, *problems_of_gradebook(room, result))
    known = {item.student for item in handed_in if not item.is_refused}
    with room.api.gradebook as gradebook:
        strangers = {entry.student.id for entry in gradebook.assignment_submissions(UNIT)} ^ known
    rehearsal.note(
        "gradebook", *(f"{student} should not be there, or should" for student in sorted(strangers))
    )


def problems_of(item: MadeSubmission, result: Result | None) -> list[str]:
    """Where a result is not what its submission was made for."""
    if result is None:
        return ["there is no result"]
    if item.is_refused or result.refused:
        return [] if item.is_refused and result.refused else [f"refused: {result.refused or 'no'}"]
    problems = []
    for name, mark in item.marks.items():
        verdict = result.verdicts[name]
        diagnosis = verdict.diagnosis.name if verdict.diagnosis else None
        if mark.points is not None and not same(verdict.points, mark.points):
            problems.append(f"{name}: {verdict.points:g} points in place of {mark.points:g}")
        if mark.state is not None and verdict.state is not mark.state:
            problems.append(f"{name}: {verdict.state} in place of {mark.state}")
        if mark.diagnosis is not None and diagnosis != mark.diagnosis:
            problems.append(f"{name}: {diagnosis!r} was named in place of {mark.diagnosis!r}")
    return problems


def problems_of_gradebook(room: Classroom, result: Result) -> list[str]:
    """Where the gradebook holds other points than the result."""
    grades = room.grades(UNIT, result.student)
    found = []
    for name, verdict in result.verdicts.items():
        held = grades[f"{CHECK}{name}"].points
        if not same(held, verdict.points):
            found.append(f"{name}: {held} points in the gradebook in place of {verdict.points:g}")
    return found


def look_at_feedback(rehearsal: Rehearsal, folder: Path, graded: Sequence[MadeSubmission]) -> None:
    """There must be a page for everybody, and nobody's script on it."""
    for item in graded:
        page = folder / "feedback" / item.student / UNIT / f"{UNIT}.html"
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        if not text:
            rehearsal.note(item.student, "there is no feedback")
        if SCRIPT in text:
            rehearsal.note(item.student, "its script is on the page")


def look_at_export(rehearsal: Rehearsal, file: Path, graded: Sequence[MadeSubmission]) -> None:
    """There must be a row for everybody."""
    rows = list(csv.reader(file.open(encoding="utf-8-sig"))) if file.exists() else []
    cells = {cell for row in rows for cell in row}
    missing = [item.student for item in graded if item.student not in cells]
    rehearsal.note(file.name, *(f"{student} is missing" for student in missing[:5]))


# What is shown


def section(rehearsal: Rehearsal, handed_in: Sequence[MadeSubmission]) -> str:
    """The rehearsal in Markdown."""
    handed, right = Counter(item.kind for item in handed_in), Counter[str]()
    for item in handed_in:
        right[item.kind] += item.student not in rehearsal.problems
    rows = [(kind, handed[kind], right[kind]) for kind in handed]
    rows.append(("all", handed.total(), right.total()))
    return "\n\n".join(
        [
            "## Rehearsal",
            (
                f"`python docs/measure/rehearsal.py` on {time.strftime('%Y-%m-%d')}: {machine()}."
                f" {len(handed_in)} submissions of {UNIT}; graded with `--timeout {SECONDS}`."
            ),
            table(("handed in", "submissions", "as expected in every score and state"), rows),
            table(
                ("step", "time"),
                [(name, f"{seconds:.1f} s") for name, seconds in rehearsal.seconds.items()],
            ),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--submissions", type=int, default=SUBMISSIONS, help="fewer for a quick look"
    )
    parser.add_argument("--write", action="store_true", help="write the block in docs/figures.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="cvcourse-rehearsal-") as folder:
        rehearsal, handed_in = rehearse(Path(folder), options.submissions)
    print(section(rehearsal, handed_in))
    did = {item.student: f"{item.kind}: {item.did}" for item in handed_in}
    for who, problems in rehearsal.problems.items():
        for problem in problems:
            print(f"UNEXPECTED: {who} ({did.get(who, 'the class')}): {problem}")
    if options.write:
        write_block("rehearsal", section(rehearsal, handed_in))
    return 1 if rehearsal.problems else 0


if __name__ == "__main__":
    sys.exit(main())
