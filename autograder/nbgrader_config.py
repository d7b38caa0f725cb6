"""nbgrader's settings for this course. The root's nbgrader_config.py hands its configuration to `configure`."""

from __future__ import annotations

from traitlets.config import Config

from autograder.lesson import COURSE, SOLUTIONS

# What an instructor edits and a learner must not receive.
AUTHOR_FILES = ["[0-9][0-9]_*.py", "exercises.toml", "wheats.py", "hidden.safetensors"]
STUB = "raise NotImplementedError"


def configure(c: Config) -> Config:
    """Set the folders, the stub, what is never copied, and the step that brings hidden cases to a submission."""
    c.CourseDirectory.source_directory = SOLUTIONS
    c.CourseDirectory.release_directory = COURSE
    c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", ".pytest_cache", *AUTHOR_FILES]
    c.ClearSolutions.code_stub = {"python": STUB}
    c.ClearSolutions.text_stub = "*Write your answer here.*"
    c.Execute.timeout = 60
    c.Autograde.sanitize_preprocessors = [
        "nbgrader.preprocessors.ClearOutput",
        "nbgrader.preprocessors.DeduplicateIds",
        "nbgrader.preprocessors.OverwriteKernelspec",
        "nbgrader.preprocessors.OverwriteCells",
        "nbgrader.preprocessors.CheckCellMetadata",
        "autograder.preprocessors.BringHiddenCases",
        "autograder.preprocessors.EmptyCostlyCells",
    ]
    return c
