"""A unit's notebooks: the one paired with its source, and the one that learners receive."""

from __future__ import annotations

import hashlib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from traitlets import import_item
from traitlets.config import Config

from autograder.authoring.lesson import Lesson
from autograder.cells import tags
from autograder.errors import CourseError
from autograder.files import write_safely
from autograder.nbgrader_config import AUTHOR_FILES, configure

FOLDED_TAGS = frozenset({"helper", "widget", "figure"})
"""What a page is not read for: the prose, the exercises and the pictures stay."""


def paired_notebook(lesson: Lesson) -> NotebookNode:
    """The lesson as a notebook.

    It has no outputs and no author's metadata, and its cells' ids follow from their content. Code
    that a reader need not see is folded at first, where JupyterLab can. Raises CourseError for a
    cell that is neither code nor markdown.
    """
    makers = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    cells = []
    seen: Counter[str] = Counter()
    for cell in lesson.notebook.cells:
        if cell.cell_type not in makers:
            raise CourseError(
                f"{lesson.unit}.py has a {cell.cell_type} cell; lessons have code and markdown"
                " cells."
            )
        data = {name: cell.metadata[name] for name in ("tags", "nbgrader") if name in cell.metadata}
        if FOLDED_TAGS & tags(cell):
            data["jupyter"] = {"source_hidden": True}
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        name = data.get("nbgrader", {}).get("grade_id") or digest
        seen[name] += 1
        cell_id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        cells.append(makers[cell.cell_type](cell.source, metadata=data, id=cell_id))
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def release_notebook(paired: NotebookNode) -> NotebookNode:
    """What nbgrader's generate_assignment makes of the notebook.

    These are its own steps, without the gradebook.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import SaveCells

    config = configure(Config())
    notebook = nbformat.from_dict(paired)
    resources: dict[str, Any] = {"nbgrader": {}}
    for named in GenerateAssignment(config=config).preprocessors:
        step = import_item(named) if isinstance(named, str) else named
        if step is not SaveCells:
            notebook, resources = step(config=config).preprocess(notebook, resources)
    return notebook


def notebook_text(notebook: NotebookNode) -> str:
    """The notebook as it is written to a file."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook in one step."""
    write_safely(path, notebook_text(notebook).encode())


def release_digest(notebook: NotebookNode) -> str:
    """Digest of the cells' sources: other where a learner or a new version changed the notebook."""
    sources = "\0".join(cell.source for cell in notebook.cells)
    return hashlib.sha256(sources.encode()).hexdigest()[:16]


def released_files(source: Path) -> list[Path]:
    """The files beside the notebook that a learner receives."""
    ignored = [*AUTHOR_FILES, "*.ipynb", ".*", "*.pyc"]
    files = (path for path in sorted(source.iterdir()) if path.is_file())
    return [path for path in files if not any(fnmatch(path.name, pattern) for pattern in ignored)]
