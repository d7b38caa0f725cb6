"""`cvcourse run`: execute a unit's notebook with its solutions, and record what came out.

A run in the processor's budget takes minutes, so the suite does not repeat every one each time. It
trusts the record `run.json` beside the lesson, which says what went in, what the cells printed,
and what it cost, as long as nothing that went in has changed. `draw` chooses what is run anyway.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

from autograder.authoring.figures import COLOURS, Bounds, bounds_of, printed_by, problems
from autograder.authoring.inputs import inputs_of
from autograder.authoring.lesson import read_lesson, read_table
from autograder.authoring.release import notebook_text, paired_notebook, write_notebook
from autograder.errors import CourseError
from autograder.files import write_safely
from autograder.units import ROOT, SOLUTIONS

FILE = "run.json"
FORMAT = 1
RECORDED, SMOKE = "cpu", "smoke"
BUDGETS = (RECORDED, SMOKE)
RUNS = "runs"  # folder of executed notebooks, which git ignores


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run in the processor's budget: all of run.json but its format and its own
    digest."""

    unit: str
    inputs: dict[str, str]  # what went in -> its digest
    seconds: float
    megabytes: int | None  # the kernel's largest memory; None where the system does not tell
    printed: dict[str, list[str]]  # cell id -> lines

    def changed(self, inputs: dict[str, str]) -> list[str]:
        """What of `inputs` is not as it was, by name, in order."""
        names = sorted(self.inputs.keys() | inputs.keys())
        return [name for name in names if self.inputs.get(name) != inputs.get(name)]


@dataclass(frozen=True)
class Executed:
    """A notebook that ran from top to bottom."""

    notebook: NotebookNode
    seconds: float
    megabytes: int | None


def run_unit(unit: str, budget: str = RECORDED, root: Path = ROOT) -> Executed:
    """Execute a unit and keep the notebook in runs/; in the processor's budget, write its record.

    Raises CourseError where the unit is not built, or a cell fails.
    """
    if budget not in BUDGETS:
        raise CourseError(f"There is no budget {budget!r} to run a unit in: {', '.join(BUDGETS)}.")
    notebook = notebook_of(unit, root)
    inputs = inputs_of(unit, root)
    kept = executed_path(unit, budget, root)
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = execute(unit, notebook, budget, root)
    finally:  # a notebook that failed shows where
        write_notebook(notebook, kept)
    if budget == RECORDED:
        found = RunRecord(unit, inputs, done.seconds, done.megabytes, printed_by(notebook))
        write_record(found, root)
    return done


def executed_path(unit: str, budget: str, root: Path = ROOT) -> Path:
    """Where `cvcourse run` keeps an executed notebook."""
    return root / RUNS / unit / f"{budget}.ipynb"


def record_path(unit: str, root: Path = ROOT) -> Path:
    """Where a unit's record lies."""
    return root / SOLUTIONS / unit / FILE


def notebook_of(unit: str, root: Path = ROOT) -> NotebookNode:
    """The paired notebook. Raises CourseError where it is not what the lesson gives."""
    folder = root / SOLUTIONS / unit
    paired = paired_notebook(read_lesson(folder))
    path = folder / f"{unit}.ipynb"
    if not path.exists() or path.read_text(encoding="utf-8") != notebook_text(paired):
        raise CourseError(
            f"{SOLUTIONS}/{unit}/{path.name} is not what {unit}.py gives: run `cvcourse build"
            f" {unit}` first."
        )
    return paired


def execute(
    unit: str,
    notebook: NotebookNode,
    budget: str,
    root: Path = ROOT,
    cell_seconds: float | None = None,
) -> Executed:
    """Run a notebook in a copy of its unit's folder, with one thread; outputs go into `notebook`.

    More threads add up in another order and give other figures, and the suite runs two units at a
    time. Checkpoints of earlier runs do not count. cell_seconds: a cell that takes longer fails.
    Raises CourseError that names the cell.
    """
    with TemporaryDirectory() as temporary:
        work = Path(shutil.copytree(root / SOLUTIONS / unit, Path(temporary) / unit))
        client = NotebookClient(
            notebook,
            timeout=math.ceil(cell_seconds) if cell_seconds else None,
            kernel_name="python3",
            # A kernel warns of its loopback connection at every start.
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": str(work)}},
        )
        peak = Peak(client)
        environment = os.environ | {
            "CVCOURSE_BUDGET": budget,
            "CVCOURSE_DATA": str(Path(temporary) / "data"),
            "OMP_NUM_THREADS": "1",
        }
        start = time.perf_counter()
        try:
            client.execute(env=environment)
        except (CellControlSignal, DeadKernelError) as error:
            raise CourseError(failure(unit, notebook, error)) from error
        return Executed(notebook, round(time.perf_counter() - start, 1), peak.megabytes)


class Peak:
    """The largest memory of a client's kernel, as Linux keeps it for each process; None
    elsewhere."""

    SIZE = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)

    def __init__(self, client: NotebookClient) -> None:
        self.client = client
        self.megabytes: int | None = None
        client.on_cell_executed = self.look

    def look(self, **_: Any) -> None:
        """Read it after a cell, while the kernel is there."""
        process = getattr(getattr(self.client.km, "provisioner", None), "pid", None)
        status = Path(f"/proc/{process}/status")
        if status.exists() and (found := self.SIZE.search(status.read_text())):
            self.megabytes = round(int(found[1]) * 1024 / 1e6)


def failure(unit: str, notebook: NotebookNode, error: Exception) -> str:
    """Which cell ended a run, in one sentence."""
    ran = [cell for cell in notebook.cells if cell.get("execution_count")]
    first = next((line for line in ran[-1].source.splitlines() if line.strip()), "") if ran else ""
    name, value = (
        getattr(error, "ename", type(error).__name__),
        getattr(error, "evalue", str(error)),
    )
    reason = " ".join(COLOURS.sub("", f"{name}: {value}").split())
    return f"{unit}: the cell that starts with {first!r} failed: {reason}"


# The record


def write_record(record: RunRecord, root: Path = ROOT) -> Path:
    """Write run.json; returns its path."""
    content = {"format": FORMAT, **asdict(record)}
    text = json.dumps(content | {"digest": digest_of(content)}, indent=1, ensure_ascii=False)
    path = record_path(record.unit, root)
    write_safely(path, f"{text}\n".encode())
    return path


def read_record(unit: str, root: Path = ROOT) -> RunRecord:
    """A unit's record. Raises CourseError, in one sentence, for one that is missing or cut off, of
    another format or unit, or edited."""
    path = record_path(unit, root)
    where, mend = f"{SOLUTIONS}/{unit}/{FILE}", f"run `cvcourse run {unit}` to record it"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{where} is missing: {mend}.") from None
    except ValueError:
        raise CourseError(f"{where} is cut off or no JSON: {mend} anew.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise CourseError(f"{where} has format {found!r}, and {FORMAT} is read here: {mend} anew.")
    if content.get("unit") != unit:
        raise CourseError(
            f"{where} is the record of {content.get('unit')!r}, not of {unit}: {mend} anew."
        )
    digest = content.pop("digest", None)
    if digest != digest_of(content):
        raise CourseError(
            f"{where} was edited since it was recorded (its digest does not fit): {mend} anew."
        )
    del content["format"]
    return RunRecord(**content)


def not_as_recorded(unit: str, notebook: NotebookNode, root: Path = ROOT) -> list[str]:
    """What an executed notebook printed otherwise than its unit's record says, in sentences; empty
    where all is within the unit's bounds."""
    recorded = read_record(unit, root).printed
    return problems(recorded, printed_by(notebook), run_bounds(unit, root))


def run_bounds(unit: str, root: Path = ROOT) -> Bounds:
    """The bounds within which a unit's figures must come out again."""
    return bounds_of(unit, read_table(root / SOLUTIONS / unit / "exercises.toml"))


def digest_of(content: dict[str, Any]) -> str:
    """The digest of a record's content, which tells careless edits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
