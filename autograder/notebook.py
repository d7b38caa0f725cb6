"""All checks of a learner's notebook at once, for `cvcourse check`. A copy is run; the notebook
itself is only read."""

from __future__ import annotations

import ast
import atexit
import copy
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat import NotebookNode

from autograder.cells import CHECK, COSTLY_TAGS, SKIP, grader_id, tags
from autograder.checking.checker import Checker, key_folder
from autograder.checking.key import ExerciseKey, Key
from autograder.checking.report import MIME
from autograder.checking.verdict import State
from autograder.errors import CourseError
from autograder.words import first_line

if TYPE_CHECKING:
    from rich.table import Table

SET_UP = re.compile(r"""\bChecker\(\s*["'](?P<unit>\w+)["']""")
CELL_FILE = re.compile(r"\(\d+\.py, ")  # what IPython calls a cell in a syntax error
MISSING_NAME = re.compile(r"name '(?P<name>\w+)' is not defined")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
REPORT_FORMAT = 1  # of the JSON that other programs read
BY_HAND, NOT_RUN = "graded by hand", "not run"
MOST_NOTES = 6
RULES = "rules.toml"  # what an instructor allows, in the folder that learners receive


@dataclass(frozen=True)
class Row:
    """What became of one exercise. points: None where a person grades. verdict: what the check
    said, as data; None where it said nothing."""

    exercise: str
    state: str
    points: float | None
    max_points: float
    message: str = ""
    verdict: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class NotebookReport:
    """Every exercise of a notebook, what the checks give in all, and what is odd about the
    notebook."""

    unit: str
    rows: tuple[Row, ...]
    total: float
    max_total: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every check is right; written questions wait for a person and do not count."""
        return all(row.state == State.RIGHT for row in self.rows if row.state != BY_HAND)

    def as_data(self) -> dict[str, Any]:
        """The report as plain JSON, for other programs."""
        return {
            "format": REPORT_FORMAT,
            "unit": self.unit,
            "points": self.total,
            "max_points": self.max_total,
            "passed": self.passed,
            "exercises": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }

    def __rich__(self) -> Any:
        """The table that a terminal shows."""
        from rich.console import Group
        from rich.text import Text

        return Group(_table(self), *map(Text, self.notes))


def check_notebook(path: Path, timeout: float = 60) -> NotebookReport:
    """Run every check of a notebook. timeout: seconds a cell may take.

    Raises CourseError where there is nothing to check: no notebook, none of this course, or no key
    in its folder.
    """
    path = Path(path).resolve()
    notebook = read_notebook(path)
    unit = unit_of(notebook, path)
    key = Checker(unit, key_folder(unit, path.parent)).key()
    prepared, notes = prepare(notebook, key)
    died = run(prepared, path.parent, timeout)
    rows = [_row(prepared, exercise, died) for exercise in key.exercises.values()]
    rows += _questions(prepared)
    total = sum(row.points for row in rows if row.points is not None)
    max_total = sum(row.max_points for row in rows if row.points is not None)
    if died:
        notes.append(died)
    notes += _notes_on_cells(prepared, key)
    return NotebookReport(unit, tuple(rows), round(total, 2), max_total, tuple(notes))


def refuse_where_forbidden(path: Path) -> None:
    """Raise CourseError where an instructor's rules.toml says `assistant = false`: verdicts are
    then for people. The file lies beside the notebook or in the folder above."""
    for folder in list(path.resolve().parents)[:2]:
        rules = folder / RULES
        try:
            allowed = tomllib.loads(rules.read_text(encoding="utf-8")).get("assistant", True)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise CourseError(f"{folder.name}/{RULES} cannot be read: {error}.") from None
        if allowed is False:
            raise CourseError(
                f"{folder.name}/{RULES} asks for answers without an assistant: `cvcourse check"
                f" {path.name}` shows the verdicts in words."
            )


# Reading


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook. Raises CourseError in one sentence for what is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"There is no notebook {path}.") from None
    except OSError as error:
        raise CourseError(f"{path.name} cannot be read ({error.strerror}).") from error
    except Exception as error:  # nbformat raises its own, json's, unicode's and jsonschema's
        raise CourseError(
            f"{path.name} is not a notebook that can be read ({type(error).__name__}): open it in"
            " JupyterLab and save it again, or take an earlier copy."
        ) from error
    return notebook


def unit_of(notebook: NotebookNode, path: Path) -> str:
    """The unit that the notebook's set-up cell names. Raises CourseError where no cell does."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    found = next((match["unit"] for source in sources for match in SET_UP.finditer(source)), None)
    if found is None:
        raise CourseError(
            f"{path.name} is no notebook of this course: none of its cells says `check ="
            " Checker(...)`. If you deleted the set-up cell, copy it back from the course."
        )
    return found


def prepare(notebook: NotebookNode, key: Key) -> tuple[NotebookNode, list[str]]:
    """A copy that is ready to run, and notes on checks that are missing or that the key does not
    know."""
    prepared = copy.deepcopy(notebook)
    for cell in _code(prepared):
        cell.outputs, cell.execution_count = [], None
        if tags(cell) & COSTLY_TAGS:
            cell.metadata["tags"] = sorted({*tags(cell), SKIP})
    names = [name for cell in _code(prepared) if (name := checked_exercise(cell))]
    missing = [exercise for exercise in key.exercises.values() if exercise.name not in names]
    prepared.cells += [check_cell(exercise) for exercise in missing]
    return prepared, _notes_on_version(key, missing, sorted(set(names) - set(key.exercises)))


def checked_exercise(cell: NotebookNode) -> str | None:
    """The exercise that a check cell checks; None for any other cell."""
    name = grader_id(cell, "grade") or ""
    return (
        name.removeprefix(CHECK)
        if name.startswith(CHECK) and not grader_id(cell, "solution")
        else None
    )


def check_cell(exercise: ExerciseKey) -> NotebookNode:
    """The check cell of an exercise, for a notebook that lacks it."""
    asked = ", ".join(f"{name}={name}" for name in exercise.answers) or exercise.name
    flags = {
        "grade": True,
        "solution": False,
        "grade_id": f"{CHECK}{exercise.name}",
        "points": exercise.points,
    }
    return nbformat.v4.new_code_cell(f"check({asked})", metadata={"nbgrader": flags})


def _notes_on_version(
    key: Key, missing: Sequence[ExerciseKey], unknown: Sequence[str]
) -> list[str]:
    if unknown:
        lacking = f" and lacks {', '.join(item.name for item in missing)}" if missing else ""
        return [
            "This notebook is of another version than the key beside it: it checks"
            f" {', '.join(unknown)}, which the key does not know{lacking}. Keep your notebook, and"
            f" copy your answers into the current one of {key.unit}."
        ]
    return [
        f"The check cell of {item.name} is missing; it was checked all the same. Copy the cell back"
        " from the course before you hand the notebook in."
        for item in missing
    ]


# Running


def run(notebook: NotebookNode, folder: Path, timeout: float) -> str:
    """Run the notebook's cells in `folder` with this Python; returns a sentence when the kernel
    died, else nothing."""
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    started: list[int] = []
    client = NotebookClient(
        notebook,
        timeout=timeout,
        interrupt_on_timeout=True,
        error_on_timeout={
            "ename": "Timeout",
            "evalue": "",
            "traceback": [],
        },  # and go on with the next cell
        allow_errors=True,
        on_cell_execute=lambda cell, cell_index: started.append(cell_index),
        kernel_manager_class=this_python(),
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env={**os.environ, "CVCOURSE_WIDGETS": "off"})
    except DeadKernelError:
        fatal = notebook.cells[started[-1]]
        fatal.execution_count = None  # it may have been counted before the end
        return (
            f"The kernel died in cell {started[-1] + 1} ({_cell_name(fatal)}); what stands below"
            " was not run."
        )
    except (RuntimeError, OSError) as error:
        if started:
            raise
        atexit.unregister(client._cleanup_kernel)  # nbclient would clean up, loudly, what never was
        raise CourseError(
            f"No kernel starts for {folder.name} ({error}): `cvcourse doctor` says what is missing."
        ) from error
    for output in (output for cell in _code(notebook) for output in cell.outputs):
        if (
            output.output_type == "error" and output.ename == "KeyboardInterrupt"
        ):  # how nbclient stops a cell
            output.update(
                {"ename": "Timeout", "evalue": f"the cell took longer than {timeout:g} s"}
            )
    return ""


def this_python() -> type:
    """A manager of kernels that run this Python, whatever kernels are installed besides."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            # A kernel warns of its loopback connection at every start.
            spec = get_kernel_dict(extra_arguments=["--IPKernelApp.log_level=ERROR"])
            return KernelSpec(**{**spec, "argv": [sys.executable, *spec["argv"][1:]]})

    return ThisPython


# Reading the verdicts


def _row(notebook: NotebookNode, exercise: ExerciseKey, died: str) -> Row:
    """The row of one exercise, from its check cell's outputs."""
    cells = [cell for cell in _code(notebook) if checked_exercise(cell) == exercise.name]
    outputs = [output for cell in cells for output in cell.outputs]
    verdicts = [
        output.data[MIME]
        for output in outputs
        if output.output_type == "execute_result" and MIME in output.data
    ]
    own = [verdict for verdict in verdicts if verdict.get("exercise") == exercise.name]
    if own:
        return _row_of_verdict(own[-1], exercise.points)
    errors = [output for output in outputs if output.output_type == "error"]
    if errors:
        return Row(
            exercise.name,
            str(State.ERROR),
            0.0,
            exercise.points,
            _reason(notebook, exercise.name, errors[0]),
        )
    if died and any(_is_unfinished(cell) for cell in cells):
        return Row(exercise.name, NOT_RUN, 0.0, exercise.points, "the kernel had died")
    message = "the check said nothing: does the notebook give another meaning to the name `check`?"
    return Row(exercise.name, str(State.ERROR), 0.0, exercise.points, message)


def _row_of_verdict(verdict: Mapping[str, Any], max_points: float) -> Row:
    points = min(max(float(verdict["points"]), 0.0), max_points)
    message = _message(verdict)
    return Row(verdict["exercise"], verdict["state"], points, max_points, message, verdict)


def _message(verdict: Mapping[str, Any]) -> str:
    """The diagnosis where there is one, else the first thing that is wrong."""
    if verdict["state"] in (State.RIGHT, State.NOT_ATTEMPTED):
        return ""
    if verdict["why"]:
        return verdict["why"][0]
    return next((case["message"] for case in verdict["cases"] if case["state"] != State.RIGHT), "")


def _reason(notebook: NotebookNode, exercise: str, error: NotebookNode) -> str:
    """Why a check did not run: the exercise's own cell, where that failed, else the check's
    error."""
    own = [cell for cell in _code(notebook) if grader_id(cell, "solution") == exercise]
    failures = [output for cell in own for output in cell.outputs if output.output_type == "error"]
    where = "in the exercise's cell: " if failures else ""
    return where + _sentence((failures or [error])[0])


def _questions(notebook: NotebookNode) -> list[Row]:
    """Written questions, which a person grades."""
    rows = []
    for cell in notebook.cells:
        name = grader_id(cell, "grade")
        if name and grader_id(cell, "solution"):
            max_points = cell.metadata["nbgrader"].get("points", 0)
            rows.append(Row(name, BY_HAND, None, max_points))
    return rows


def _notes_on_cells(notebook: NotebookNode, key: Key) -> list[str]:
    """Notes on cells that do not run, other than checks, exercises, and what waits for an exercise
    or for a cell that was left out here."""
    notes = []
    lacking: set[str] = set()  # names that only cells bind which did not run to their end
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and SKIP in tags(cell):
            lacking |= bound_names(cell.source)
        if (
            cell.cell_type != "code"
            or checked_exercise(cell)
            or grader_id(cell, "solution") in key.exercises
        ):
            continue
        errors = [
            item
            for item in cell.outputs
            if item.output_type == "error" and item.ename != "NotImplementedError"
        ]
        if any(missing_name(error) in lacking for error in errors):
            lacking |= bound_names(cell.source)
            continue
        notes += [
            f"Cell {index + 1} ({_cell_name(cell)}) does not run: {_sentence(error)}"
            for error in errors[:1]
        ]
    more = len(notes) - MOST_NOTES
    return notes if more <= 0 else [*notes[:MOST_NOTES], f"So it is with {more} more cells."]


def bound_names(source: str) -> set[str]:
    """The names that a cell binds; none where it is no plain Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return set()
    bound = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return bound | {node.name for node in tree.body if isinstance(node, DEFINITIONS)}


def missing_name(error: NotebookNode) -> str:
    """The name that a NameError misses; empty for any other error."""
    found = MISSING_NAME.search(error.evalue) if error.ename == "NameError" else None
    return found["name"] if found else ""


def _sentence(error: NotebookNode) -> str:
    lines = CELL_FILE.sub("(", error.evalue).strip().splitlines()
    message = lines[0] if lines else ""
    if error.ename in ("CourseError", "KeyProblem", "DrawMismatch"):
        return message
    return f"{error.ename}: {message}" if message else error.ename


def _cell_name(cell: NotebookNode) -> str:
    line = first_line(cell.source, "empty")
    return f"`{line}`" if len(line) <= 50 else f"`{line[:47]}...`"


def _is_unfinished(cell: NotebookNode) -> bool:
    return (
        cell.cell_type == "code"
        and bool(cell.source.strip())
        and SKIP not in tags(cell)
        and cell.execution_count is None
    )


def _code(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (cell for cell in notebook.cells if cell.cell_type == "code")


# Showing


def _table(report: NotebookReport) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("exercise", footer="total")
    table.add_column("state", footer="")
    table.add_column(
        "points", footer=f"{report.total:g} of {report.max_total:g}", justify="right", no_wrap=True
    )
    table.add_column("what to look at", footer="")
    colours = {str(State.RIGHT): "green", str(State.NOT_ATTEMPTED): "dim", BY_HAND: "dim"}
    for row in report.rows:
        points = (
            f"{row.max_points:g}" if row.points is None else f"{row.points:g} of {row.max_points:g}"
        )
        state = Text(row.state, style=colours.get(row.state, "yellow"))
        table.add_row(Text(row.exercise), state, points, Text(row.message))
    return table
