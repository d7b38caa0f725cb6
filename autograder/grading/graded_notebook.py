"""The graded notebook: the aligned submission, what its cells showed, and the judge's verdicts.

Cells are put together here and not by nbformat's `new_code_cell`, which validates each against a
schema: that took most of the time of writing a submission, for cells that are valid since `align`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.checking import report
from autograder.checking.outcome import KERNEL_DEATH, OUT_OF_MEMORY, TAMPERING, TIMEOUT
from autograder.grading.align import Cell, Role
from autograder.grading.result import UNSAFE, CellRun, Result

OURS = dict([report.MARK])
SAID = {
    TIMEOUT: "This cell was stopped because it ran longer than is allowed.",
    OUT_OF_MEMORY: "This cell was stopped because it used more memory than is allowed.",
    KERNEL_DEATH: (
        "This cell ended the process that ran it; the rest of the notebook was run without it."
    ),
    TAMPERING: (
        "This cell broke the line to the grader; the rest of the notebook was run without it."
    ),
}
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def graded_notebook(cells: Sequence[Cell], result: Result) -> NotebookNode:
    """The graded notebook of a submission, as feedback and formgrader show it."""
    return nbformat.from_dict(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}},
            "cells": [*preface(result), *(graded_cell(cell, result) for cell in cells)],
        }
    )


def preface(result: Result) -> list[dict[str, Any]]:
    """What a reader must know first: repairs, and grading without a sandbox."""
    lines = [f"- {note}." for note in result.notes]
    if result.sandbox == UNSAFE:
        lines.append("- Graded without a sandbox.")
    if not lines:
        return []
    return [text_cell("cvcourse-notes", "**About this submission**\n\n" + "\n".join(lines), {})]


def graded_cell(cell: Cell, result: Result) -> dict[str, Any]:
    """One cell, with outputs."""
    released = cell.metadata or {}
    metadata = {name: released[name] for name in ("tags", "nbgrader") if name in released}
    if cell.cell_type != "code":
        return text_cell(cell.id, cell.source, metadata)
    code = {"cell_type": "code", "execution_count": None, "outputs": outputs_of(cell, result)}
    return {"id": cell.id, "metadata": metadata, "source": cell.source, **code}


def text_cell(name: str, source: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of text."""
    return {"id": name, "cell_type": "markdown", "metadata": metadata, "source": source}


def outputs_of(cell: Cell, result: Result) -> list[NotebookNode]:
    """A cell's outputs: the verdict where it is a check, else what running it showed."""
    if cell.role is Role.CHECK:
        verdict = result.verdicts.get(cell.exercise)
        return [verdict_output(verdict)] if verdict else []
    return outputs_of_run(result.cells.get(cell.id, CellRun()))


def verdict_output(verdict: report.Verdict) -> NotebookNode:
    """A verdict as the result of its check cell: nbgrader reads the points, a person the table."""
    data: Mapping[str, Any] = {
        "text/plain": f"{verdict.points:g}",
        "text/html": report.html(verdict),
        report.MIME: report.as_data(verdict),
    }
    return nbformat.from_dict(
        {"output_type": "execute_result", "data": data, "metadata": OURS, "execution_count": None}
    )


def outputs_of_run(run: CellRun) -> list[NotebookNode]:
    """What a learner's cell showed, made safe, and how it ended where it did not run through."""
    from autograder.grading.sanitise import sanitised_outputs

    outputs = sanitised_outputs(run.outputs)
    if run.state:
        said = SAID[run.state]
        outputs.append(
            nbformat.v4.new_output("error", ename=run.state, evalue=said, traceback=[said])
        )
    return outputs
