"""nbgrader's settings for this course. The root's nbgrader_config.py hands its configuration to `configure`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from traitlets.config import Config

from autograder.lesson import COURSE, SOLUTIONS

# What an instructor edits and a learner must not receive.
AUTHOR_FILES = ["[0-9][0-9]_*.py", "exercises.toml", "wheats.py", "hidden.safetensors"]
STUB = "raise NotImplementedError"


def configure(c: Config) -> Config:
    """Set the folders, the stub, what is never copied, and this course's own steps."""
    find_tools_beside_python()
    c.CourseDirectory.source_directory = SOLUTIONS
    c.CourseDirectory.release_directory = COURSE
    c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", ".pytest_cache", *AUTHOR_FILES]
    c.ClearSolutions.code_stub = {"python": STUB}
    c.ClearSolutions.text_stub = "*Write your answer here.*"
    c.Execute.timeout = 60
    c.Execute.extra_arguments = [
        "--IPKernelApp.log_level=ERROR"
    ]  # a kernel warns of its loopback connection at every start
    c.GenerateAssignment.preprocessors = release_steps()
    c.Autograde.sanitize_preprocessors = [
        "nbgrader.preprocessors.ClearOutput",
        "autograder.preprocessors.AlignCells",
        "nbgrader.preprocessors.DeduplicateIds",
        "nbgrader.preprocessors.OverwriteKernelspec",
        "nbgrader.preprocessors.OverwriteCells",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    c.Autograde.autograde_preprocessors = [
        "autograder.preprocessors.BringHiddenCases",
        "autograder.preprocessors.SkipCostlyCells",
        "nbgrader.preprocessors.Execute",
        "autograder.preprocessors.CountVerdicts",
        "nbgrader.preprocessors.IgnorePattern",
        "nbconvert.preprocessors.ClearMetadataPreprocessor",
        "nbgrader.preprocessors.LimitOutput",
        "nbgrader.preprocessors.SaveAutoGrades",
        "nbgrader.preprocessors.AssignLatePenalties",
        "nbgrader.preprocessors.CheckCellMetadata",
        "autograder.preprocessors.TakeHiddenCasesAway",
    ]
    configure_pages(c)
    return c


def configure_pages(c: Config) -> None:
    """Let feedback and formgrader show what a learner wrote without letting it act. See `autograder.grading.inert`."""
    import nbgrader

    ours = Path(__file__).parent / "grading" / "templates"
    theirs = Path(nbgrader.__file__).parent / "server_extensions" / "formgrader" / "templates"
    c.HTMLExporter.template_name = "cvcourse"
    c.HTMLExporter.extra_template_basedirs = [str(ours), str(theirs)]
    c.HTMLExporter.extra_template_paths = [str(theirs)]  # where formgrader's own page is found by its full name
    c.HTMLExporter.default_preprocessors = []
    c.HTMLExporter.preprocessors = ["autograder.grading.feedback.MakeInert"]
    c.HTMLExporter.filters = {
        name: f"autograder.grading.feedback.{name}" for name in ("markdown2html", "highlight_code", "with_nonce")
    }
    c.GenerateFeedback.preprocessors = ["nbgrader.preprocessors.GetGrades"]


def release_steps() -> list[type]:
    """nbgrader's own steps from lesson to release, after one that keeps what a learner wrote."""
    from nbgrader.converters import GenerateAssignment

    from autograder.preprocessors import KeepLearnersWork

    return [KeepLearnersWork, *GenerateAssignment().preprocessors]


def find_tools_beside_python() -> None:
    """Let nbgrader find `alembic`, which it calls by name to make a gradebook: it lies beside Python, in .venv."""
    here, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if here not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([here, path])
