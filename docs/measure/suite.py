"""How long `make test` takes, part by part: `python docs/measure/suite.py CHECKOUT [CHECKOUT]`.

Each checkout needs a prepared `.venv` of its own, and nothing else may run beside it. The first one
is what the others are compared with. `--lines FILE` keeps each result as a line of JSON and takes
up what is there, so that two checkouts can be measured in two calls; one that FILE already has is
not run again. CVCOURSE_DRAWN=08 chooses the unit that runs in full.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CLOSING = re.compile(r"^=+ (?P<counts>.*(?:passed|failed|error).*) in (?P<seconds>[\d.]+)s")
PARTS = ("main", "units", "alone")  # in the order in which make test runs them


@dataclass(frozen=True)
class Measured:
    """One run of `make test`."""

    checkout: str
    commit: str
    succeeded: bool
    parts: tuple[tuple[str, float], ...]  # pytest's counts and wall seconds
    wall: float
    processor: float  # seconds of all its processes
    busy: float  # load of the machine before it began


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", metavar="CHECKOUT", nargs="*", type=Path)
    parser.add_argument("--lines", metavar="FILE", type=Path, help="where results are kept")
    given = parser.parse_args()
    results = read_lines(given.lines)
    known = {result.checkout for result in results}
    for checkout in given.checkouts:
        if str(checkout.resolve()) not in known:
            results.append(measured(checkout.resolve()))
            keep(results[-1], given.lines)
    if not results:
        parser.error("name a checkout, or a FILE that holds results")
    print(table(results))


def measured(checkout: Path) -> Measured:
    """Run `make test` in a checkout, showing what it says.

    Raises SystemExit where nothing is prepared: installing packages would be measured, too.
    """
    if not (checkout / ".venv").exists():
        sys.exit(f"{checkout} has no .venv: run `make setup` there first.")
    busy = os.getloadavg()[0]
    before, start = processor_seconds(), time.monotonic()
    parts = []
    command = subprocess.Popen(
        ["make", "test"], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with command:
        for line in command.stdout or ():
            print(line, end="", flush=True)
            if match := CLOSING.match(line):
                parts.append((match["counts"], float(match["seconds"])))
    return Measured(
        checkout=str(checkout),
        commit=commit_of(checkout),
        succeeded=command.returncode == 0,
        parts=tuple(parts),
        wall=time.monotonic() - start,
        processor=processor_seconds() - before,
        busy=busy,
    )


def processor_seconds() -> float:
    """Seconds of the processor that children took which have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def commit_of(checkout: Path) -> str:
    """The commit that is checked out, short; empty without git."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True
    )
    return done.stdout.strip()


def read_lines(path: Path | None) -> list[Measured]:
    """Results that were kept."""
    if path is None or not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        content = json.loads(line)
        parts = tuple((counts, seconds) for counts, seconds in content.pop("parts"))
        found.append(Measured(**content, parts=parts))
    return found


def keep(result: Measured, path: Path | None) -> None:
    """Append a result to the file."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            print(json.dumps(asdict(result)), file=file)


def table(results: Sequence[Measured]) -> str:
    """A Markdown table: a row for each part, a column for each checkout, and its share of the
    first."""
    names = [result.commit or Path(result.checkout).name for result in results]
    shares = [f"share of {names[0]}" for _ in results[1:]]
    rows = [("", *names, *shares), ("---",) * (1 + len(names) + len(shares))]
    for number in range(max(len(result.parts) for result in results)):
        name = PARTS[number] if number < len(PARTS) else f"part {number + 1}"
        rows.append((name, *(part_of(result, number) for result in results), *("" for _ in shares)))
    for name in ("wall", "processor"):
        seconds = [getattr(result, name) for result in results]
        rows.append(
            (
                f"{name} seconds",
                *(f"{value:.0f}" for value in seconds),
                *(f"{value / seconds[0]:.2f}" for value in seconds[1:]),
            )
        )
    outcomes = ["passed" if result.succeeded else "FAILED" for result in results]
    rows.append(("make test", *outcomes, *("" for _ in shares)))
    rows.append(
        ("load before", *(f"{result.busy:.1f}" for result in results), *("" for _ in shares))
    )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def part_of(result: Measured, number: int) -> str:
    """A part of a run in words."""
    if number >= len(result.parts):
        return "-"
    counts, seconds = result.parts[number]
    return f"{seconds:.0f} s ({counts})"


if __name__ == "__main__":
    main()
