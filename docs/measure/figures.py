"""Measure what docs/figures.md states, and write it: `python docs/measure/figures.py`.

Marked blocks of the page come from commands of their own (`write_block`) and are kept as they are.
It runs tests/units and tests/browser one after the other; run nothing else beside it. `--lines
FILE` takes what `CVCOURSE_FIGURES=FILE make test` has written, and measures only the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "figures.md"
WIDTH = 120


def main() -> None:
    """Measure everything and write the page."""
    from autograder.units import units

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lines", metavar="FILE", type=Path, help="what the tests wrote to CVCOURSE_FIGURES"
    )
    given = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as temporary:
        figures = given or Path(temporary) / "figures.jsonl"
        if not given:
            pytest_with(figures, "tests/units", "-k", "smoke or gates_hold")
            pytest_with(figures, "tests/browser")
        lines = [json.loads(line) for line in figures.read_text().splitlines()]
        sections = [
            heading(),
            imports(),
            builds(units(), Path(temporary)),
            runs(lines, units()),
            checks(),
            widgets(lines),
            scenes(),
            *kept_blocks(),
        ]
    PAGE.write_text(wrapped("\n\n".join(sections)) + "\n", encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def pytest_with(figures: Path, *arguments: str) -> None:
    """Run tests that append what they measure to `figures`."""
    environment = os.environ | {"CVCOURSE_FIGURES": str(figures)}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments], cwd=ROOT, env=environment, check=True
    )


def heading() -> str:
    """Where these figures come from."""
    from cvcourse.training.devices import has_fast_bfloat16

    bfloat16 = "bfloat16" if has_fast_bfloat16() else "no bfloat16"
    return (
        f"# Figures\n\nWritten by `python docs/measure/figures.py` on {time.strftime('%Y-%m-%d')}:"
        f" {machine()}, {bfloat16}, no GPU. Wall times unless they say CPU."
    )


def machine() -> str:
    """What was measured on."""
    import torch

    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, torch"
        f" {torch.__version__}"
    )


def imports() -> str:
    """Start-up of the library."""
    code = (
        "import time; start = time.perf_counter(); import cvcourse; print(time.perf_counter() -"
        " start)"
    )
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT)) for _ in range(5)
    ]
    return (
        f"## Import\n\n`import cvcourse`: {1000 * statistics.median(seconds):.0f} ms (median of 5"
        " fresh interpreters)."
    )


def builds(units: Iterable[str], folder: Path) -> str:
    """Time of `cvcourse build`, a copy of the course each."""
    from autograder.authoring.build import build_unit

    shutil.copytree(ROOT / "solutions", folder / "solutions")
    build_unit(next(iter(units)), folder)  # pays for nbgrader's imports
    rows = []
    for unit in units:
        start = time.perf_counter()
        build_unit(unit, folder)
        seconds = time.perf_counter() - start
        key, hidden = key_size(f"course/{unit}/key"), key_size(f"solutions/{unit}/hidden")
        rows.append((unit, f"{seconds:.1f} s", f"{key:.0f} kB", f"{hidden:.0f} kB"))
    return "## Build\n\n`cvcourse build UNIT`\n\n" + table(
        ("unit", "build", "key", "hidden key"), rows
    )


def key_size(place: str) -> float:
    """The size in kB of a key's two files, numbers and text. place: below the root, no suffix."""
    return (
        sum((ROOT / f"{place}{kind}").stat().st_size for kind in (".safetensors", ".json")) / 1000
    )


def runs(lines: list[dict], units: Iterable[str]) -> str:
    """Time of whole notebooks with their solutions: in full as recorded, in the smoke budget as
    measured."""
    from autograder.authoring.run import read_record

    smoke = {line["unit"]: line["seconds"] for line in lines if line.get("budget") == "smoke"}
    rows = []
    for unit in units:
        record = read_record(unit)
        memory = f"{record.megabytes:,} MB" if record.megabytes else "-"
        rows.append((unit, f"{record.seconds} s", memory, f"{smoke[unit]} s"))
    workers = max(line["workers"] for line in lines if "budget" in line)
    beside = "one after the other" if workers == 1 else f"{workers} at a time"
    about = (
        "In full: what `cvcourse run UNIT` recorded in run.json, alone and with one thread, and the"
        f" kernel's largest memory. Smoke budget: tests/units, {beside}. Limits of the tests on a"
        " processor with bfloat16, alone: 180 s, unless `LONGER` says more; 40 s."
    )
    names = ("unit", "cpu budget", "memory", "smoke budget")
    return f"## Notebooks from top to bottom\n\n{about}\n\n" + table(names, rows)


def checks() -> str:
    """What the gates print."""
    from autograder.authoring.quality import run_quality

    rows = [
        (
            unit.unit,
            len(unit.exercises),
            f"{sum(row.points for row in unit.exercises):g}",
            f"{unit.validity:.0%} ({sum(row.wheats for row in unit.exercises)} wheats)",
            (
                f"{unit.thoroughness:.0%} ({sum(row.misconceptions for row in unit.exercises)}"
                " misconceptions)"
            ),
            f"{unit.mutation_score:.1%} of {sum(row.mutants for row in unit.exercises)}",
            sum(row.equivalents for row in unit.exercises),
            f"{1000 * unit.check_seconds:.0f} ms",
        )
        for unit in run_quality(workers=1).units
    ]
    names = (
        "unit",
        "exercises",
        "points checked",
        "validity",
        "thoroughness",
        "mutation score",
        "marked equivalent",
        "median check",
    )
    return "## Checks\n\n`cvcourse quality`\n\n" + table(names, rows)


def widgets(lines: list[dict]) -> str:
    """Control to redraw, in a browser, beside a bare widget on the same page."""
    found = [line for line in lines if line.get("figure") == "control to redraw"]
    rows = [widget_row(line) for line in found]
    bare = statistics.median(ms for line in found for ms in line["bare"])
    within = [line for line in found if min(line["medians"]) <= line["wanted"]]
    command = (
        "`pytest tests/browser`: median of 15 key presses, or clicks, to the redrawn canvas, in"
        " headless Chromium, whose pictures the processor paints. Wanted are 60 ms, and 100 ms in"
        " the lab of clicks, on a machine where a bare widget (`tests/browser/demo/00_bare.py`)"
        f" takes 26 ms. On this one it takes {bare:.0f} ms, and {len(within)} of {len(found)}"
        " controls are within what is wanted. Tests assert the ratio to the bare widget instead:"
        " 60/26 and 100/26 at most."
    )
    columns = ("widget", "control", "median", "wanted", "bare widget beside it")
    return f"## Widgets\n\n{command}\n\n" + table(columns, rows)


def widget_row(line: dict) -> tuple[str, ...]:
    """One control: the round in which it was fastest beside the bare widget."""
    rounds = zip(line["medians"], line["bare"], strict=True)
    median, bare = min(rounds, key=lambda one: one[0] / one[1])
    times = (f"{ms:.0f} ms" for ms in (median, line["wanted"], bare))
    return (line["widget"], line["control"], *times)


def scenes() -> str:
    """CPU time of painting scenes."""
    text = subprocess.check_output([sys.executable, "docs/measure/scenes.py"], cwd=ROOT, text=True)
    return f"## Scenes\n\n`python docs/measure/scenes.py`\n\n```\n{text.strip()}\n```"


def write_block(name: str, text: str, page: Path = PAGE) -> None:
    """Put a marked block into the page, in the place of the one of this name or at the end."""
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    block = f"<!-- begin {name} -->\n{wrapped(text.strip())}\n<!-- end {name} -->"
    old = next(
        (kept for kept in kept_blocks(page) if kept.startswith(f"<!-- begin {name} -->")), None
    )
    after = before.replace(old, block) if old else f"{before.rstrip()}\n\n{block}\n"
    page.write_text(after.lstrip(), encoding="utf-8")


def wrapped(text: str) -> str:
    """The text with its prose cut at WIDTH; tables and lists keep their lines."""
    lines = []
    for line in text.splitlines():
        is_prose = len(line) > WIDTH and not line.startswith(("|", "<", "#", "- ", " "))
        lines += textwrap.wrap(line, WIDTH, break_on_hyphens=False) if is_prose else [line]
    return "\n".join(lines)


def kept_blocks(page: Path = PAGE) -> list[str]:
    """The marked blocks of the page."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    return [
        match[0]
        for match in re.finditer(r"<!-- begin ([\w-]+) -->\n.*?<!-- end \1 -->", text, re.DOTALL)
    ]


def table(names: tuple[str, ...], rows: Iterable[tuple]) -> str:
    """A Markdown table."""
    lines = [names, ("---",) * len(names), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
