"""nbgrader's own commands and formgrader, unforked, from the root of a course; and every unit
through both."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from conftest import open_course
from nbformat import NotebookNode

from autograder.authoring.lesson import read_lesson
from autograder.demo import CONFIG, answered
from autograder.units import ROOT, SOLUTIONS, units

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's own queries
TOKEN = "a-token-for-this-test"


def plain_path() -> dict[str, str]:
    """The environment of somebody who did not activate .venv."""
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != here)
    return {**os.environ, "PATH": path}


def nbgrader(course: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "nbgrader"), *arguments]
    done = subprocess.run(
        command, cwd=course, env=plain_path(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_commands_from_release_to_export(mini: Path) -> None:
    (mini / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    shutil.rmtree(mini / "course")
    unit, lesson = "90_mini", read_lesson(mini / "solutions" / "90_mini")
    right = {name: exercise.solution for name, exercise in lesson.exercises.items()}
    wrong = {
        "moving_sum": right["moving_sum"].replace(".sum()", ".mean()"),
        "question_blur": "*It is so.*",
    }
    partly = {
        **right,
        "moving_sum": right["moving_sum"].replace("    length = ", "    width = 2\n    length = "),
    }

    nbgrader(mini, "generate_assignment", unit)
    release = mini / "course" / unit / f"{unit}.ipynb"
    assert "Success! Your notebook passes all the tests." in nbgrader(
        mini, "validate", f"solutions/{unit}/{unit}.ipynb"
    )
    assert "VALIDATION FAILED ON 4 CELL(S)!" in nbgrader(
        mini, "validate", f"course/{unit}/{unit}.ipynb"
    )

    notebook = nbformat.read(release, as_version=4)
    for student, sources in {"right": right, "stub": {}, "wrong": wrong, "partly": partly}.items():
        folder = mini / "submitted" / student / unit
        folder.mkdir(parents=True)
        nbformat.write(answered(notebook, sources), folder / release.name)
    nbgrader(mini, "autograde", unit)
    nbgrader(mini, "generate_feedback", unit)
    nbgrader(mini, "export")

    with (mini / "grades.csv").open(encoding="utf-8") as file:
        scores = {
            row["student_id"]: (float(row["raw_score"]), float(row["max_score"]))
            for row in csv.DictReader(file)
        }
    assert scores == {
        "right": (6.0, 8.0),
        "stub": (0.0, 8.0),
        "wrong": (0.0, 8.0),
        "partly": (3.5, 8.0),
    }
    page = (mini / "feedback" / "wrong" / unit / f"{unit}.html").read_text(encoding="utf-8")
    assert "exactly what moving_sum gives with a mean in place of the sum" in page
    assert "0.5 of 3 points" in (mini / "feedback" / "partly" / unit / f"{unit}.html").read_text(
        encoding="utf-8"
    )


# Formgrader


def ask(address: str, data: bytes | None = None) -> tuple[int, str]:
    request = urllib.request.Request(
        address, data=data, headers={"Authorization": f"token {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, answer.read().decode()


@pytest.fixture
def server(mini: Path) -> Iterator[str]:
    """A Jupyter server at the course's root; gives its address."""
    (mini / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
    ]
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", *options]
    with (mini / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=mini, env=plain_path(), stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address, process, mini / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            ask(f"{address}/api/status")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail(f"The server does not answer: {log.read_text()}")


def test_formgrader_opens_the_assignment(server: str, mini: Path) -> None:
    """As an instructor would: generate, see a submission, autograde it, open it."""
    lesson = read_lesson(mini / "solutions" / "90_mini")
    status, page = ask(f"{server}/formgrader/manage_assignments")
    assert (status, "Manage Assignments" in page) == (200, True)
    assert [
        entry["name"] for entry in json.loads(ask(f"{server}/formgrader/api/assignments")[1])
    ] == ["90_mini"]
    assert json.loads(ask(f"{server}/formgrader/api/assignment/90_mini/assign", b"")[1])["success"]

    release = nbformat.read(mini / "course" / "90_mini" / "90_mini.ipynb", as_version=4)
    folder = mini / "submitted" / "ada" / "90_mini"
    folder.mkdir(parents=True)
    solutions = {name: exercise.solution for name, exercise in lesson.exercises.items()}
    nbformat.write(
        answered(release, {**solutions, "question_blur": "*Words.*"}), folder / "90_mini.ipynb"
    )

    assert json.loads(ask(f"{server}/formgrader/api/submission/90_mini/ada/autograde", b"")[1])[
        "success"
    ]
    (assignment,) = json.loads(ask(f"{server}/formgrader/api/assignments")[1])
    assert (assignment["num_submissions"], assignment["max_score"]) == (1, 8.0)
    (submission,) = json.loads(
        ask(f"{server}/formgrader/api/submitted_notebooks/90_mini/90_mini")[1]
    )
    assert (submission["score"], submission["needs_manual_grade"]) == (6.0, True)
    status, page = ask(f"{server}/formgrader/submissions/{submission['id']}")
    assert status == 200
    assert page.count('<section class="cv-check right">') == 3


# Every unit


def test_there_are_units() -> None:
    assert units()


@pytest.mark.parametrize("unit", units())
def test_every_unit_from_release_to_grade(unit: str, tmp_path: Path) -> None:
    """The solution earns every automatic point, the untouched release none; nothing but this unit's
    folder is there."""
    shutil.copytree(ROOT / SOLUTIONS / unit, tmp_path / SOLUTIONS / unit)
    course = open_course(tmp_path, unit)
    committed = (ROOT / "course" / unit / f"{unit}.ipynb").read_text(encoding="utf-8")
    assert sources(course.release) == [
        cell["source"] for cell in json.loads(committed, object_hook=joined)["cells"]
    ]

    solved, untouched = (
        course.grade("solved", course.answered()),
        course.grade("untouched", course.release),
    )
    full = {
        name: exercise.points
        for name, exercise in read_lesson(ROOT / SOLUTIONS / unit).exercises.items()
    }
    assert solved.points == full
    assert untouched.points == dict.fromkeys(full, 0.0)
    assert not [grade for grade in untouched.grades.values() if grade.points]
    assert solved.feedback().count('<section class="cv-check right">') == len(full)


def sources(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells]


def joined(item: dict) -> dict:
    """A notebook's cell as it is read: nbformat stores sources as lists of lines."""
    return {**item, "source": "".join(item["source"])} if "source" in item else item
