"""What a cell's metadata says: its tags, and its part in nbgrader's assignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

NAMESPACE_TAGS = frozenset({"setup", "helper"})
COSTLY_TAGS = frozenset({"training", "widget", "figure"})  # not run where only the checks count
SKIP = "skip-execution"  # nbclient passes over cells with this tag
CHECK = "check_"  # a check cell is named so, and after its exercise


def tags(cell: NotebookNode) -> set[str]:
    """A cell's tags."""
    return set(cell.metadata.get("tags", []))


def grader_id(cell: NotebookNode, kind: str) -> str | None:
    """The cell's grade_id when nbgrader's flag `kind` ("solution" or "grade") is set, else None."""
    data = cell.metadata.get("nbgrader", {})
    return data.get("grade_id") if data.get(kind) else None
