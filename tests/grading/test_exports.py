"""Exports for Canvas and Moodle, through `nbgrader export` on a real gradebook."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbgrader.api import Gradebook
from nbgrader.apps import ExportApp

from autograder.nbgrader_config import find_tools_beside_python

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's queries, of no concern here

EXPORTS = "autograder.grading.exports"
STUDENTS: dict[str, dict[str, str]] = {
    "ada": {
        "first_name": "Ada",
        "last_name": "Lovelace, Countess",
        "email": "ada@x.org",
        "lms_user_id": "101",
    },
    "bjork": {
        "first_name": "Björk",
        "last_name": 'Guð"mundsdóttir',
        "email": "b@x.org",
        "lms_user_id": "102",
    },
    "eve": {
        "first_name": '=LINK("http://x","y")',
        "last_name": "Mal\nory",
        "email": "e@x.org",
        "lms_user_id": "103",
    },
    "late": {"first_name": "李", "last_name": "明", "email": "l@x.org", "lms_user_id": "104"},
    "none": {"first_name": "No", "last_name": "Body", "email": "n@x.org", "lms_user_id": "105"},
    "wait": {"first_name": "@Sum", "last_name": "+cmd", "email": "w@x.org", "lms_user_id": "106"},
}
GRADES = {"ada": 4.125, "bjork": 3.0, "eve": 0.0, "late": 5.0, "wait": 2.0}


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook of two units; `late` has a penalty of 1.5, `wait` a question to be graded."""
    find_tools_beside_python()
    path = tmp_path_factory.mktemp("gradebook") / "gradebook.db"
    with Gradebook(f"sqlite:///{path}") as book:
        for unit in ("01_a", "02_b"):
            book.add_assignment(unit)
            book.add_notebook(unit, unit)
            book.add_grade_cell("check_f", unit, unit, max_score=5, cell_type="code")
            book.add_grade_cell("question", unit, unit, max_score=2.5, cell_type="markdown")
        for student, details in STUDENTS.items():
            book.add_student(student, **details)
        for student, points in GRADES.items():
            book.add_submission("01_a", student)
            for name, score in (("check_f", points), ("question", 0.0)):
                grade = book.find_grade(name, "01_a", "01_a", student)
                grade.auto_score, grade.needs_manual_grade = score, False
        book.find_grade("question", "01_a", "01_a", "wait").needs_manual_grade = True
        book.find_submission_notebook("01_a", "01_a", "late").late_submission_penalty = 1.5
        book.db.commit()
    return path


@pytest.fixture
def course(gradebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A course folder with a copy of the gradebook that a test may change; the current folder."""
    shutil.copy(gradebook, tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    ExportApp.clear_instance()


def export(course: Path, system: str, *options: str, to: str = "out.csv") -> list[list[str]]:
    """Run `nbgrader export`; returns the file's rows."""
    ExportApp.clear_instance()
    ExportApp.launch_instance([f"--exporter={EXPORTS}.{system}Export", f"--to={to}", *options])
    data = (course / "out.csv").read_bytes()
    return list(csv.reader(io.StringIO(data.decode("utf-8"), newline="")))


def grades(rows: list[list[str]], key: str, column: str) -> dict[str, str]:
    """A column's cells by student."""
    header = rows[0]
    return {
        row[header.index(key)]: row[header.index(column)]
        for row in rows[1:]
        if row[header.index(key)]
    }


def test_canvas(course: Path, capfd: pytest.CaptureFixture) -> None:
    rows = export(course, "Canvas", "--CanvasExport.assignment_ids=01_a=4711")
    assert rows[0] == [
        "Student",
        "ID",
        "SIS User ID",
        "SIS Login ID",
        "Section",
        "01_a (4711)",
        "02_b",
    ]
    assert rows[1] == ["    Points Possible", "", "", "", "", "7.5", "7.5"]
    assert {len(row) for row in rows} == {7}
    by_login = {row[3]: row for row in rows[2:]}
    assert by_login["ada"] == ["Lovelace, Countess, Ada", "101", "", "ada", "", "4.12", ""]
    assert by_login["bjork"][0] == 'Guð"mundsdóttir, Björk'
    assert by_login["eve"][0] == 'Mal ory, =LINK("http://x","y")'
    assert by_login["late"][0] == "明, 李"
    assert set(by_login) == set(STUDENTS)


def test_canvas_takes_only_numbers_for_its_own(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.update_or_create_student("ada", lms_user_id="101abc")
        book.update_or_create_student("bjork", lms_user_id=None)
    found = grades(export(course, "Canvas"), "SIS Login ID", "ID")
    assert (found["ada"], found["bjork"], found["late"]) == ("", "", "104")


def test_moodle(course: Path) -> None:
    rows = export(course, "Moodle")
    assert rows[0] == [
        "First name",
        "Last name",
        "Username",
        "ID number",
        "Email address",
        "01_a",
        "02_b",
    ]
    assert rows[1] == ["Ada", "Lovelace, Countess", "ada", "101", "ada@x.org", "4.12", ""]
    assert len(rows) == 1 + len(STUDENTS)


@pytest.mark.parametrize("email", [None, "ada@x.org"], ids=["empty", "twice the same"])
def test_moodle_leaves_out_a_column_that_does_not_tell_everybody(
    course: Path, email: str | None, capfd
) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        book.update_or_create_student("bjork", email=email)
    rows = export(course, "Moodle")
    assert "Email address" not in rows[0] and "ID number" in rows[0]
    said = capfd.readouterr().err
    assert "The column Email address is left out" in said and "bjork" in said


@pytest.mark.parametrize("system, key", [("Canvas", "SIS Login ID"), ("Moodle", "Username")])
def test_late_penalties_count_and_what_waits_is_empty(
    course: Path, system: str, key: str, capfd
) -> None:
    found = grades(export(course, system), key, "01_a")
    assert found == {"ada": "4.12", "bjork": "3", "eve": "0", "late": "3.5", "none": "", "wait": ""}
    said = capfd.readouterr().err
    assert "a person must still grade it: wait." in said
    assert "nothing was handed in or graded: none" in said


def test_the_same_scores_as_nbgraders_own_export(course: Path) -> None:
    ours = grades(
        export(course, "Canvas", "--CanvasExport.include_waiting=True"), "SIS Login ID", "01_a"
    )
    ExportApp.clear_instance()
    ExportApp.launch_instance(["--to", "stock.csv", "--assignment=01_a"])
    # nbgrader does not quote, so its columns move at a comma in a name; from behind they still
    # count.
    lines = [line.split(",") for line in (course / "stock.csv").read_text().splitlines()]
    stock = {
        cells[3]: float(cells[-2]) for cells in lines if cells[0] == "01_a" and cells[3] != "eve"
    }
    assert stock == {"ada": 4.125, "bjork": 3.0, "late": 3.5, "none": 0.0, "wait": 2.0}
    assert {
        name: float(points or 0) for name, points in ours.items() if name != "eve"
    } == pytest.approx(stock, abs=0.006)


def test_points_so_far_and_zeros_on_request(course: Path, capfd) -> None:
    options = ["--MoodleExport.include_waiting=True", "--MoodleExport.missing_as_zero=True"]
    found = grades(export(course, "Moodle", *options), "Username", "01_a")
    assert (found["wait"], found["none"]) == ("2", "0")
    assert "points so far, not final, of wait" in capfd.readouterr().err


@pytest.mark.parametrize("system", ["Canvas", "Moodle"])
def test_no_cell_is_a_formula(course: Path, system: str) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for index, start in enumerate(["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", " =1"]):
            book.add_student(
                f"{start}x{index}",
                first_name=start,
                last_name=start,
                email=start,
                lms_user_id=start,
            )
    rows = export(course, system)
    cells = [cell for row in rows for cell in row if cell.strip()]
    assert not [cell for cell in cells if cell.strip()[0] in "=+-@" or cell[0] in "\t\r"]


def test_choosing_units_and_students(course: Path) -> None:
    rows = export(course, "Canvas", "--assignment=01_a", "--student=ada")
    assert [row[3] for row in rows[2:]] == ["ada"] and rows[0][5:] == ["01_a"]


@pytest.mark.parametrize(
    "option, name", [("--assignment=09_z", "unit 09_z"), ("--student=zoe", "student zoe")]
)
def test_unknown_names_are_an_error(course: Path, option: str, name: str, capfd) -> None:
    with pytest.raises(SystemExit) as ended:
        export(course, "Moodle", option)
    assert ended.value.code == 1 and f"The gradebook knows no {name}" in capfd.readouterr().err
    assert not (course / "out.csv").exists()


def test_other_titles(course: Path) -> None:
    rows = export(course, "Moodle", "--MoodleExport.titles=01_a=Convolution, by hand")
    assert rows[0][5:] == ["Convolution, by hand", "02_b"]


def test_a_file_that_cannot_be_written(course: Path, capfd) -> None:
    with pytest.raises(SystemExit):
        export(course, "Canvas", to="nowhere/out.csv")
    assert "could not be written" in capfd.readouterr().err


def test_an_assignment_number_that_is_none(course: Path, capfd) -> None:
    with pytest.raises(SystemExit):
        export(course, "Canvas", "--CanvasExport.assignment_ids=01_a=first")
    assert (
        "first is no number of a Canvas assignment" in capfd.readouterr().err
        and not (course / "out.csv").exists()
    )


def test_the_command_line(course: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "nbgrader",
        "export",
        f"--exporter={EXPORTS}.MoodleExport",
        "--to=cli.csv",
    ]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (
        "must still grade it: wait" in done.stderr
        and (course / "cli.csv").read_bytes().count(b"\r\n") == 7
    )
