"""`nbgrader autograde` and formgrader's button, through this grader.

By configuration it is Autograde's exporter. nbgrader converts a submitted notebook twice, once to
sanitise and once to grade. Here the first conversion does it all, from the submitted file, which
nbgrader never reads; the second passes on what the first wrote. The sandbox stays warm for the next
submission of the same process.
"""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from traitlets import Bool, Float

from autograder.errors import CourseError
from autograder.grading.grade import GradingRun, Options, Warm
from autograder.sandbox.bubblewrap import Limits

_warm: dict[Path, Warm] = {}


class GradeOutside(NotebookExporter):
    """Grades a submission in the sandbox in the place of converting it."""

    parent: Any  # nbgrader's Autograde
    seconds = Float(
        Limits().cell_seconds, help="Seconds of processor time for a cell or a check."
    ).tag(config=True)
    unsafe = Bool(False, help="Run learners' code without a sandbox; every grade says so.").tag(
        config=True
    )

    def from_filename(self, filename: str, resources: Any = None, **keywords: Any) -> Any:
        """(text of the graded notebook, resources) of a submitted file; a graded file as it is.

        Raises NbGraderException in a sentence.
        """
        resources = self._init_resources(resources)
        resources["output_extension"] = ".ipynb"
        names, course = resources["nbgrader"], self.parent.coursedir
        student, unit = names["student"], names["assignment"]
        graded = Path(course.format_path(course.autograded_directory, student, unit))
        if Path(filename).parent.resolve() != graded.resolve():
            self.grade(course, unit, student)
        return (graded / f"{names['notebook']}.ipynb").read_text(encoding="utf-8"), resources

    def grade(self, course: CourseDirectory, unit: str, student: str) -> None:
        """Grade one submission and write it to the gradebook."""
        options = Options(
            students=(student,),
            again=True,  # somebody asked for this very submission
            limits=Limits.of(self.seconds),
            unsafe=self.unsafe,
            db_url=course.db_url,
            add_students=True,  # nbgrader itself has decided already
        )
        try:
            root = Path(course.root).resolve()
            graded = GradingRun(root, unit, options, config=self.config, warm=warm_in(root)).grade()
        except CourseError as error:
            self.log.error("%s", error)
            raise NbGraderException(str(error)) from None
        if student in graded.problems:
            self.log.error("%s/%s: %s", student, unit, graded.problems[student])
            raise NbGraderException(graded.problems[student])
        for result in graded.results:
            for line in (*result.notes, *result.evidence, *graded.notes.get(student, ())):
                self.log.warning("%s/%s: %s", student, unit, line)


def warm_in(root: Path) -> Warm:
    """What stays warm in this process for a course."""
    if root not in _warm:
        _warm[root] = Warm()
        atexit.register(_warm[root].close)
    return _warm[root]
