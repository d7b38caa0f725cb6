"""A unit's notebooks: the one paired with its source, and the one that learners receive."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from traitlets import import_item
from traitlets.config import Config

from autograder.authoring.lesson import Lesson
from autograder.errors import CourseError
from autograder.files import write_safely
from autograder.nbgrader_config import AUTHOR_FILES, configure


def paired_notebook(lesson: Lesson) -> NotebookNode:
    """The lesson as a notebook: no outputs, no author's metadata, cell ids that follow from the
    content."""
    cells, seen = [], {}
    for cell in lesson.notebook.cells:
        data = {name: cell.metadata[name] for name in ("tags", "nbgrader") if name in cell.metadata}
        make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}.get(
            cell.cell_type
        )
        if make is None:
            raise CourseError(
                f"{lesson.unit}.py has a {cell.cell_type} cell; lessons have code and markdown"
                " cells."
            )
        name = (
            data.get("nbgrader", {}).get("grade_id")
            or hashlib.sha256(cell.source.encode()).hexdigest()[:12]
        )
        seen[name] = seen.get(name, 0) + 1
        cells.append(
            make(cell.source, metadata=data, id=name if seen[name] == 1 else f"{name}-{seen[name]}")
        )
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


def release_notebook(paired: NotebookNode) -> NotebookNode:
    """What nbgrader's generate_assignment makes of the notebook: its own steps, without the
    gradebook."""
    from nbgrader.converters import GenerateAssignment
    from nbgrader.preprocessors import SaveCells

    config = configure(Config())
    notebook, resources = nbformat.from_dict(paired), {"nbgrader": {}}
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
    """Digest of the cells' sources: changes when a learner (or a new version) changes the
    notebook."""
    return hashlib.sha256("\0".join(cell.source for cell in notebook.cells).encode()).hexdigest()[
        :16
    ]


def released_files(source: Path) -> list[Path]:
    """The files beside the notebook that a learner receives."""
    ignored = [*AUTHOR_FILES, "*.ipynb", ".*", "*.pyc"]
    files = (path for path in sorted(source.iterdir()) if path.is_file())
    return [path for path in files if not any(fnmatch(path.name, pattern) for pattern in ignored)]
