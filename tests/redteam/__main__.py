"""The table of attacks: tried and withstood by heading, beside nbgrader's own kernel on the same
files.

`python -m tests.redteam [--no-stock]`. Exit codes: 0 all were withstood, 1 some were not.

nbgrader's figure comes from this course's notebooks and checks, run as `nbgrader autograde` runs
them without the sandbox. Attacks that could harm the machine there (bombs, kills, deletions, tours
of the disk) are left out and counted. There an attack counts as withstood when it gains no point
and leaves the bystander's grades as they were.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from autograder.authoring.build import build_units

from .attack import HEADINGS, Attack
from .attacks import ATTACKS
from .classroom import BYSTANDER, UNIT, Attacked, broken, rows_of

FIXTURE = Path(__file__).parent.parent / "fixtures" / "mini"


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.redteam", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--no-stock", action="store_true", help="leave nbgrader's own kernel out")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of nbformat's, on notebooks that are meant to be damaged
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="cvcourse-redteam-") as base:
        seen = made(Path(base) / "ours").grade(ATTACKS)
        problems = {attack.name: broken(attack, seen) for attack in ATTACKS}
        safe = [] if options.no_stock else [attack for attack in ATTACKS if attack.stock]
        gains = stock(made(Path(base) / "stock", in_kernel=True), safe)
    show(problems, gains)
    return 1 if any(problems.values()) else 0


def made(base: Path, in_kernel: bool = False) -> Attacked:
    """A course to attack."""
    base.mkdir()
    root = Path(shutil.copytree(FIXTURE, base / "mini"))
    build_units([], root)
    return Attacked(root, base / "outside", in_kernel)


def stock(course: Attacked, attacks: Sequence[Attack]) -> dict[str, str]:
    """What each attack gained in nbgrader's own kernel, in words; empty where nothing."""
    found = {}
    course.room.submit(BYSTANDER, UNIT, course.honest())
    course.room.autograde(UNIT, BYSTANDER)
    for number, attack in enumerate(attacks):
        before, student = rows_of(course.root), f"a{number:03d}"
        course.hand_in(student, attack)
        try:
            course.room.autograde(UNIT, student)
            grades = course.room.grades(UNIT, student)
            points = sum(
                grade.points or 0.0 for name, grade in grades.items() if name.startswith("check_")
            )
            found[attack.name] = (
                f"{points:g} points for {attack.honest:g}" if points > attack.honest else ""
            )
        except Exception as error:  # nbgrader gives up on the submission
            found[attack.name] = f"not graded: {str(error).splitlines()[-1][:80]}"
        if rows_of(course.root) != before:
            found[attack.name] = "another student's grades changed"
    return found


def show(problems: dict[str, list[str]], gains: dict[str, str]) -> None:
    """The table, and below it what was not withstood."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Attacks tried and withstood", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, side in (
        ("heading", "left"),
        ("here", "right"),
        ("in nbgrader's own kernel", "right"),
    ):
        table.add_column(name, justify=side)
    for heading in (*HEADINGS, "all"):
        names = [attack.name for attack in ATTACKS if heading in (attack.heading, "all")]
        tried = [name for name in names if name in gains]
        table.add_row(
            heading,
            f"{sum(not problems[name] for name in names)} of {len(names)}",
            f"{sum(not gains[name] for name in tried)} of {len(tried)}" if gains else "not tried",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"{len(ATTACKS) - len(gains)} attacks were not tried in nbgrader's own kernel: they could"
        " do harm."
    )
    for name, said in problems.items():
        for problem in said:
            console.print(f"here: {name}: {problem}", markup=False, soft_wrap=True)
    for name, said in gains.items():
        if said:
            console.print(f"nbgrader's kernel: {name}: {said}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
