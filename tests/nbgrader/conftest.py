"""A course in a temporary folder that nbgrader itself releases, grades and gives feedback in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from autograder.authoring.lesson import read_lesson
from autograder.demo import CONFIG, Classroom, Grade, answered

UNIT = "90_mini"


@dataclass
class Graded:
    """What became of one submission."""

    room: Classroom
    unit: str
    student: str
    log: str

    @property
    def grades(self) -> dict[str, Grade]:
        """By graded cell, from the gradebook."""
        return self.room.grades(self.unit, self.student)

    @property
    def points(self) -> dict[str, float | None]:
        """The checks' points, by exercise."""
        grades = self.grades.items()
        return {
            name.removeprefix("check_"): grade.points
            for name, grade in grades
            if name.startswith("check_")
        }

    @property
    def folder(self) -> Path:
        """The graded copy."""
        return self.room.folder / "autograded" / self.student / self.unit

    @property
    def notebook(self) -> NotebookNode:
        """The graded notebook."""
        return nbformat.read(self.folder / f"{self.unit}.ipynb", as_version=4)

    def feedback(self) -> str:
        """The feedback page's HTML."""
        return self.room.give_feedback(self.unit, self.student).read_text(encoding="utf-8")


@dataclass
class Course:
    """A classroom with one released unit and its solutions."""

    room: Classroom
    unit: str
    release: NotebookNode
    solutions: Mapping[str, str]

    def answered(self, **sources: str) -> NotebookNode:
        """The release with everything right, except for the given cells."""
        return answered(self.release, {**self.solutions, **sources})

    def grade(
        self, student: str, notebook: NotebookNode, files: Mapping[str, bytes] | None = None
    ) -> Graded:
        """Hand in, and let nbgrader grade."""
        folder = self.room.submit(student, self.unit, notebook)
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        return Graded(self.room, self.unit, student, self.room.autograde(self.unit, student))


def open_course(folder: Path, unit: str, in_kernel: bool = False) -> Course:
    """Release the unit of a course folder with nbgrader. in_kernel: grade without the sandbox, as
    plain nbgrader."""
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    lesson = read_lesson(folder / "solutions" / unit)
    room = Classroom(folder, in_kernel)
    solutions = {name: exercise.solution for name, exercise in lesson.exercises.items()}
    return Course(room, unit, room.release(unit), solutions)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Hide pytest's variable: a kernel that sees it does not show what is written to file
    descriptor 2."""
    kept = os.environ.pop("PYTEST_CURRENT_TEST", None)
    try:
        return (yield)
    finally:
        if kept is not None:
            os.environ["PYTEST_CURRENT_TEST"] = kept


@pytest.fixture(scope="session")
def course(built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The miniature unit, released."""
    return open_course(
        Path(shutil.copytree(built_mini, tmp_path_factory.mktemp("course") / "mini")), UNIT
    )


@pytest.fixture
def grade(course: Course, request: pytest.FixtureRequest) -> Callable[..., Graded]:
    """Grade a notebook as a student of the test's own name."""
    return grading(course, request)


@pytest.fixture(scope="session")
def kernel_course(built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The miniature unit, released in a course where nbgrader runs submissions in its own
    kernel."""
    folder = tmp_path_factory.mktemp("kernel_course") / "mini"
    return open_course(Path(shutil.copytree(built_mini, folder)), UNIT, in_kernel=True)


@pytest.fixture
def grade_in_kernel(kernel_course: Course, request: pytest.FixtureRequest) -> Callable[..., Graded]:
    """Like `grade`, without the sandbox."""
    return grading(kernel_course, request)


def grading(course: Course, request: pytest.FixtureRequest) -> Callable[..., Graded]:
    """What grades a notebook as a student of the test's own name."""
    student = request.node.name.removeprefix("test_").replace("[", "-").replace("]", "")[:60]
    return lambda notebook, **options: course.grade(student, notebook, **options)
