"""Steps that this course adds to nbgrader's, by configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder.key import HIDDEN
from autograder.lesson import tags

COSTLY_TAGS = frozenset({"training", "widget", "figure"})


class BringHiddenCases(NbGraderPreprocessor):
    """Copy the hidden key beside the submission that is about to be graded.

    nbgrader has one list of files that it never copies, for release and for grading alike, so the hidden key cannot come along
    with the source's other files.
    """

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Leave the notebook as it is."""
        names = resources["nbgrader"]
        course = CourseDirectory(parent=self, config=self.config)
        source = Path(course.format_path(course.source_directory, ".", names["assignment"])) / HIDDEN
        target = Path(course.format_path(course.autograded_directory, names["student"], names["assignment"]))
        if source.exists():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / HIDDEN)
        return nb, resources


class EmptyCostlyCells(NbGraderPreprocessor):
    """Training, widget and figure cells cost nothing at grading: nothing that is graded depends on them."""

    def preprocess_cell(self, cell: NotebookNode, resources: dict, index: int) -> tuple[NotebookNode, dict]:
        """Mark a costly cell as one that is not run."""
        if cell.cell_type == "code" and COSTLY_TAGS & tags(cell):
            cell.source = "# Not run at grading.\n" + "\n".join(f"# {line}" for line in cell.source.splitlines())
        return cell, resources
