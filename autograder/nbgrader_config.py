"""nbgrader's settings for this course.

The root's nbgrader_config.py hands its configuration to `configure`.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from traitlets.config import Config

from autograder.errors import CourseError
from autograder.units import COURSE, SOLUTIONS

# What an instructor edits and a learner must not receive.
AUTHOR_FILES = [
    "[0-9][0-9]_*.py",
    "exercises.toml",
    "wheats.py",
    "training.py",
    "run.json",
    "hidden.safetensors",
    "hidden.json",
]
STUB = "raise NotImplementedError"


def configure(c: Config, in_kernel: bool = False) -> Config:
    """Set the folders, the stub, what is never copied, and this course's own grading and pages.

    in_kernel: let nbgrader run submissions in a kernel of its own, without a sandbox and with the
    verdict reached beside the learner's code. It needs no bubblewrap and its grades can be forged:
    for one's own notebooks.
    """
    find_tools_beside_python()
    c.CourseDirectory.source_directory = SOLUTIONS
    c.CourseDirectory.release_directory = COURSE
    c.CourseDirectory.ignore = [
        ".ipynb_checkpoints",
        "*.pyc",
        "__pycache__",
        ".pytest_cache",
        *AUTHOR_FILES,
    ]
    c.ClearSolutions.code_stub = {"python": STUB}
    c.ClearSolutions.text_stub = "*Write your answer here.*"
    c.Execute.timeout = 60
    # A kernel warns of its loopback connection at every start.
    c.Execute.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
    # Before nbgrader's own steps. Named, not imported: whoever only reads the configuration need
    # not wait for nbgrader.
    c.GenerateAssignment.preprocessors.prepend(["autograder.preprocessors.KeepLearnersWork"])
    if in_kernel:
        configure_kernel(c)
    else:
        c.Autograde.exporter_class = "autograder.grading.autograde.GradeOutside"
    configure_pages(c)
    return c


def configure_kernel(c: Config) -> None:
    """nbgrader's own execution, with this course's steps around it."""
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


def configure_pages(c: Config) -> None:
    """Let feedback and formgrader show what a learner wrote without letting it act.

    See `grading.sanitise`.
    """
    ours = Path(__file__).parent / "grading" / "templates"
    theirs = nbgrader_folder() / "server_extensions" / "formgrader" / "templates"
    # nbgrader insists on its templates' names, so ours bear the same and come first. formgrader's
    # page builds on nbgrader's, which the second line lets it find by its full name.
    c.HTMLExporter.extra_template_basedirs = [str(ours), str(theirs)]
    c.HTMLExporter.extra_template_paths = [str(theirs)]
    c.HTMLExporter.default_preprocessors = []
    c.HTMLExporter.preprocessors = ["autograder.grading.feedback.SanitiseNotebook"]
    c.HTMLExporter.filters = {
        name: f"autograder.grading.feedback.{name}"
        for name in ("markdown2html", "highlight_code", "with_nonce")
    }
    c.GenerateFeedback.preprocessors = ["autograder.grading.feedback.GetGradesAndWaiting"]


def nbgrader_folder() -> Path:
    """Where nbgrader is installed, without importing it. Raises CourseError where it is not."""
    spec = find_spec("nbgrader")
    if spec is None or spec.origin is None:
        raise CourseError("nbgrader is not installed: run `make setup`.")
    return Path(spec.origin).parent


def find_tools_beside_python() -> None:
    """Let nbgrader find `alembic`, which it calls by name to make a gradebook.

    It lies beside Python, in .venv.
    """
    here, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    if here not in path.split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([here, path])
