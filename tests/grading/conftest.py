"""What tests of grading share: a released course, and one warm sandbox for them all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradebook_course import release
from grading_class import LIMITS

from autograder.grading import grade
from autograder.grading.grade import GradingRun, Options
from autograder.grading.workers import Ended, Workers, WorkerSettings
from autograder.sandbox.bubblewrap import SandboxError


@pytest.fixture(scope="session")
def released_mini(built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature course, released once. Do not write to it: take `course` for that."""
    return release(built_mini, tmp_path_factory.mktemp("released-mini"))


@pytest.fixture
def course(released_mini: Path, tmp_path: Path) -> Path:
    """A released course that a test may change."""
    return Path(shutil.copytree(released_mini, tmp_path / "mini"))


@pytest.fixture(scope="session")
def must_be_sandboxed() -> None:
    """Skip where there is no bubblewrap; where the whole suite is meant to run, that is a
    failure."""
    if shutil.which("bwrap") is None:
        without_sandbox("bubblewrap is not installed")


def without_sandbox(why: str) -> None:
    """Skip, or fail where CI is set: nothing of the grader's core would have been tested."""
    if os.environ.get("CI"):
        pytest.fail(f"the grader's core is not tested: {why}")
    pytest.skip(why)


@pytest.fixture(scope="session")
def workers(must_be_sandboxed: None) -> Iterator[Workers]:
    """One warm sandbox with small limits, started where the host's environment holds a secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_OF_THE_HOST", "x")
        workers = Workers(WorkerSettings(LIMITS), 2)
    try:
        workers.wait_until_ready()
    except SandboxError as error:
        without_sandbox(str(error))
    yield workers
    workers.close()


class Borrowed:
    """Workers that outlive the run they are lent to, even one that stops half-way."""

    def __init__(self, workers: Workers):
        self.workers = workers

    def wait_until_ready(self) -> None:
        """They are."""

    def run(self, *arguments: object) -> Iterator[Ended]:
        """Run submissions; all of them before the first is handed on."""
        return iter(list(self.workers.run(*arguments)))

    def close(self) -> None:
        """Leave them open."""


@pytest.fixture(scope="session")
def same_grader() -> Iterator[None]:
    """The grader's code counts as unchanged between two runs, whoever saves a file of it
    meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "grader_digest", lambda: "this grader")
        yield


@pytest.fixture
def warm(
    workers: Workers, same_grader: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Options]:
    """Let grading use the shared sandbox; gives the options for it."""
    monkeypatch.setattr(GradingRun, "workers", lambda run: Borrowed(workers))
    return lambda **options: Options(**{"limits": LIMITS, **options})
