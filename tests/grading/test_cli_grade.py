"""`cvcourse grade` as an instructor calls it: a real process, its exit codes, and what it says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gradebook_course import UNIT, db_url, grades, notebook_of, solved
from grading_class import KILLED, LOOP, SLEEP, enrol, hand_in, with_cell

from autograder.checking.verdict import State
from autograder.grading.result import UNSAFE, ResultStore

FINE, WANTING, FAILED, INTERRUPTED = 0, 1, 2, 130
COMMAND = [sys.executable, "-m", "autograder.cli", "grade"]


@pytest.fixture
def class_of_two(course: Path, must_be_sandboxed: None) -> Path:
    """ada, all right, and bo, all left out."""
    hand_in(course, "ada", solved(course))
    hand_in(course, "bo", notebook_of(course))
    enrol(course, "ada", "bo")
    return course


def call(course: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `cvcourse grade`."""
    command = [*COMMAND, *arguments, "--course", str(course)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def points(course: Path, student: str) -> dict[str, float | None]:
    return {
        name: score
        for name, (score, _) in grades(db_url(course), student).items()
        if name.startswith("check_")
    }


ALL = {"check_moving_sum": 3.0, "check_Scale": 2.0, "check_counts": 1.0}


def test_a_class_is_graded_once_and_only_what_changed_again(class_of_two):
    code, out, error = call(class_of_two, UNIT)
    assert (code, error) == (FINE, "")
    assert "2 of 2 graded" in out and "2 graded in " in out and "the first after " in out
    assert points(class_of_two, "ada") == ALL

    for _ in range(3):  # whoever saves a file of the grader's meanwhile makes it another grader
        code, out, _ = call(class_of_two, "90")  # by its number
        assert code == FINE
        if "2 graded" not in out:
            break
    assert "0 graded, 2 unchanged since the last time, not run again" in out

    seed = ResultStore(class_of_two).read(UNIT, "bo").seed
    code, out, _ = call(class_of_two, UNIT, "--again", "--student", "bo", "--workers", "1")
    assert code == FINE and "1 graded in " in out
    assert ResultStore(class_of_two).read(UNIT, "bo").seed != seed


def test_what_went_wrong_is_said_and_taken_up_again(class_of_two):
    hand_in(class_of_two, "cy", b"")
    hand_in(class_of_two, "dee", solved(class_of_two, moving_sum=LOOP))
    hand_in(class_of_two, "eve", with_cell(solved(class_of_two), KILLED))
    enrol(class_of_two, "cy", "dee")
    code, out, error = call(class_of_two, UNIT, "--timeout", "2")
    assert (code, error) == (WANTING, "")
    assert "cy: 90_mini.ipynb is empty" in out
    assert "dee: timeout in 1" in out
    assert "eve: eve is not in the class list" in out or "eve is not in the class list" in out
    assert points(class_of_two, "dee") == {**ALL, "check_moving_sum": 0.0}
    assert points(class_of_two, "eve") == {}

    hand_in(class_of_two, "cy", solved(class_of_two))
    code, out, _ = call(class_of_two, UNIT, "--timeout", "2", "--only-failed")
    assert code == FINE  # a timeout is the learner's; nobody is left to look at
    assert "2 graded in " in out
    assert points(class_of_two, "cy") == ALL

    code, out, _ = call(class_of_two, UNIT, "--timeout", "2", "--add-students")
    assert code == FINE
    assert "1 written to the gradebook again without running" in out
    assert points(class_of_two, "eve") == ALL


def test_ctrl_c_keeps_what_is_done_and_a_rerun_goes_on(course, must_be_sandboxed, patience):
    students = ["ada", "bo", "cy", "zoe"]
    for student in students[:-1]:
        hand_in(course, student, solved(course))
    hand_in(course, "zoe", with_cell(solved(course), SLEEP))
    command = [*COMMAND, UNIT, "--course", str(course), "--workers", "1", "--timeout", "20"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        results = course / ".grading" / UNIT
        await_(lambda: len(list(results.glob("[abc]*.written"))) == 3, 60)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its group
        begun = time.monotonic()
        out, error = process.communicate(timeout=30)
    assert time.monotonic() - begun < patience(8)  # nobody waits for the sleeper
    assert (process.returncode, error) == (INTERRUPTED, "")
    assert "3 graded" in out and "Stopped; 1 are left. Run it again to go on." in out
    assert [bool(points(course, student)) for student in students] == [True, True, True, False]

    code, out, _ = call(
        course, UNIT, "--timeout", "20", "--student", "ada", "--student", "bo", "--student", "cy"
    )
    assert code == FINE and "0 graded, 3 unchanged" in out
    hand_in(course, "zoe", solved(course))
    code, out, _ = call(course, UNIT, "--timeout", "20", "--add-students")
    assert code == FINE and "1 graded, 3 unchanged" in out
    assert points(course, "zoe") == ALL


def await_(condition: object, seconds: float) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.02)


# Errors in a sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["91_none"], "cvcourse: There is no unit 91_none in solutions/."),
        (
            [UNIT, "--student", "nobody"],
            f"nobody handed in nothing for {UNIT}: there is no submitted/nobody/{UNIT}.",
        ),
        ([UNIT, "--db", "nonsense"], "The gradebook's address cannot be used"),
    ],
    ids=["unit", "student", "gradebook"],
)
def test_errors_are_one_sentence(class_of_two, arguments, sentence):
    code, out, error = call(class_of_two, *arguments)
    assert (code, out) == (FAILED, "")
    assert sentence in error and error.startswith("cvcourse: ") and error.count("\n") == 1
    assert not (class_of_two / "autograded").exists()


def test_a_unit_that_was_never_released(class_of_two):
    shutil.rmtree(class_of_two / "course" / UNIT)
    code, _, error = call(class_of_two, UNIT)
    remedy = "run `cvcourse build 90_mini` and `nbgrader generate_assignment 90_mini`"
    assert (code, error) == (FAILED, f"cvcourse: 90_mini was never released: {remedy}.\n")


def test_nobody_handed_in(course):
    code, _, error = call(course, UNIT)
    assert code == FAILED
    assert "Nobody handed in 90_mini: submitted/STUDENT/90_mini/ is where it belongs." in error


@pytest.mark.parametrize("option", [["--timeout", "0"], ["--workers", "-1"], ["--timeout", "soon"]])
def test_options_out_of_range_are_refused(course, option):
    code, _, error = call(course, UNIT, *option)
    assert code == FAILED and option[0] in error


# Without a sandbox


@pytest.fixture
def without_bubblewrap(tmp_path: Path) -> str:
    """A PATH without bwrap, and with everything else that is on it."""
    folder = tmp_path / "path"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            if tool.name != "bwrap" and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    return str(folder)


def test_without_bubblewrap_it_says_what_to_install(class_of_two, without_bubblewrap):
    code, out, error = call(class_of_two, UNIT, PATH=without_bubblewrap)
    assert (code, out) == (FAILED, "")
    assert (
        "bubblewrap is not here: install bubblewrap" in error
        and "sudo apt install bubblewrap" in error
    )
    assert "--unsafe" in error
    assert not (class_of_two / "autograded").exists() and not list(
        class_of_two.glob(".grading/*/*.json")
    )


def test_unsafe_grades_without_a_sandbox_and_every_grade_says_so(class_of_two, without_bubblewrap):
    folders = set(Path("/tmp").glob("cvcourse-*"))
    code, out, _ = call(class_of_two, UNIT, "--unsafe", PATH=without_bubblewrap)
    assert code == FINE
    assert "Graded WITHOUT a sandbox: learners' code could reach whatever you can." in out
    assert points(class_of_two, "ada") == ALL
    result = ResultStore(class_of_two).read(UNIT, "ada")
    assert result.sandbox == UNSAFE
    assert result.verdicts["moving_sum"].state is State.RIGHT
    graded = (class_of_two / "autograded" / "ada" / UNIT / f"{UNIT}.ipynb").read_text()
    assert "Graded without a sandbox." in graded
    feedback = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_feedback", UNIT, "--student", "ada"],
        cwd=class_of_two,
        capture_output=True,
        text=True,
        check=False,
    )
    page = class_of_two / "feedback" / "ada" / UNIT / f"{UNIT}.html"
    assert page.exists(), feedback.stderr[-2000:]
    assert "Graded without a sandbox." in page.read_text()
    assert set(Path("/tmp").glob("cvcourse-*")) <= folders

    # With the sandbox it is another grader: nothing of that counts.
    code, out, _ = call(class_of_two, UNIT)
    assert code == FINE and "2 graded in " in out and "WITHOUT" not in out
    assert ResultStore(class_of_two).read(UNIT, "ada").sandbox != UNSAFE
