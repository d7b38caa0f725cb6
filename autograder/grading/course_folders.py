"""Where nbgrader keeps a course: its settings, and the folders of one unit."""

from __future__ import annotations

import copy
import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.grading.errors import GradebookError, reason_of
from autograder.grading.graded_folder import (
    NEXT,
    PREVIOUS,
    GradedFolder,
    files_beside,
    permissions,
)
from autograder.nbgrader_config import configure

if TYPE_CHECKING:
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config


@dataclass(frozen=True)
class UnitFolders:
    """The folders of one unit in a course, as nbgrader's settings name them."""

    course: CourseDirectory
    root: Path
    unit: str

    @property
    def release_notebook(self) -> Path:
        """The released notebook."""
        return self._step(self.course.release_directory, ".") / f"{self.unit}.ipynb"

    @property
    def files_beside(self) -> dict[Path, Path]:
        """What goes beside every graded notebook, by its place in the graded folder."""
        return files_beside(self.course, self.unit)

    def submitted(self, student: str) -> Path:
        """What a student handed in."""
        return self._step(self.course.submitted_directory, student)

    def graded(self, student: str) -> GradedFolder:
        """What was graded of it."""
        path = self._step(self.course.autograded_directory, student)
        return GradedFolder(path, self.root, permissions(self.course))

    def left_behind(self) -> list[GradedFolder]:
        """The graded folders that a killed run left half-way."""
        found = set()
        for ending in (NEXT, PREVIOUS):
            pattern = self.course.directory_structure.format(
                nbgrader_step=self.course.autograded_directory,
                student_id="*",
                assignment_id=f".{self.unit}{ending}",
            )
            for path in glob.glob(pattern, root_dir=self.root):
                found.add((self.root / path).with_name(self.unit))
        return [GradedFolder(path, self.root, permissions(self.course)) for path in sorted(found)]

    def _step(self, step: str, student: str) -> Path:
        return Path(self.course.format_path(step, student, self.unit))


# nbgrader's settings


def settings(root: Path, db_url: str | None, config: Config | None) -> Config:
    """nbgrader's settings for the course at `root`.

    They are `config`, else those of the course's nbgrader_config.py, else this project's own.
    Raises GradebookError where that file cannot be run.
    """
    from traitlets.config import Config

    chosen = copy.deepcopy(config) or from_file(root / "nbgrader_config.py") or configure(Config())
    chosen.CourseDirectory.root = str(root)
    if db_url is not None:
        chosen.CourseDirectory.db_url = db_url
    return chosen


def from_file(path: Path) -> Config | None:
    """The settings in a file; None where there is none. Raises GradebookError if it fails."""
    from traitlets.config.loader import PyFileConfigLoader

    if not path.exists():
        return None
    try:
        return PyFileConfigLoader(path.name, path=str(path.parent)).load_config()
    except Exception as error:  # the file is the instructor's own code
        raise GradebookError(
            f"{path.name} cannot be used ({reason_of(error)}): mend it and grade again."
        ) from error


def course_directory(config: Config) -> CourseDirectory:
    """nbgrader's own view of the course's folders. Raises GradebookError for bad settings."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets import TraitError

    try:
        return CourseDirectory(config=config)
    except TraitError as error:
        raise GradebookError(f"nbgrader's settings cannot be used: {reason_of(error)}") from error
