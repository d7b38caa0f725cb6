"""`check_notebook`: every check of a learner's notebook, whatever state that is in."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from rich.console import Console

from autograder import cli
from autograder.authoring.lesson import read_lesson
from autograder.checking.key_files import VISIBLE_FILES
from autograder.errors import CourseError
from autograder.notebook import NotebookReport, Row, check_notebook

FULL = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}


@pytest.fixture
def solutions(mini: Path) -> dict[str, str]:
    lesson = read_lesson(mini / "solutions" / "90_mini")
    return {name: exercise.solution for name, exercise in lesson.exercises.items()}


@pytest.fixture
def write(mini: Path, solutions: Mapping[str, str]) -> Callable[..., Path]:
    """Write the released notebook with some cells answered, and changed by `edit`; gives its
    path."""

    def make(
        sources: Mapping[str, str] = solutions,
        edit: Callable[[NotebookNode], object] = lambda _: None,
    ) -> Path:
        path = mini / "course" / "90_mini" / "90_mini.ipynb"
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = sources.get(cell.id, cell.source)
        edit(notebook)
        nbformat.write(notebook, path)
        return path

    return make


def points(report: NotebookReport) -> dict[str, float]:
    return {row.exercise: row.points for row in report.rows if row.points is not None}


def row(report: NotebookReport, exercise: str) -> Row:
    return next(row for row in report.rows if row.exercise == exercise)


def insert(index: int, source: str, **metadata: object) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells.insert(
        index, nbformat.v4.new_code_cell(source, metadata=metadata)
    )


def test_everything_right(write) -> None:
    path = write()
    before = path.read_bytes()
    report = check_notebook(path)
    assert [item.state for item in report.rows] == ["right", "right", "right", "graded by hand"]
    assert (report.total, report.max_total, report.notes, report.passed) == (6.0, 6.0, (), True)
    assert row(report, "question_blur").points is None
    assert path.read_bytes() == before
    assert {item.name for item in path.parent.iterdir()} == {
        "90_mini.ipynb",
        "probes.py",
        "key.safetensors",
        "key.json",
    }


def test_untouched(write) -> None:
    report = check_notebook(write({}))
    assert {item.state for item in report.rows} == {"not attempted", "graded by hand"}
    assert (report.total, report.passed, report.notes) == (0.0, False, ())


def test_wrong_and_partly_right(write, solutions) -> None:
    blunt = solutions["moving_sum"].replace(
        "    length =", "    signal = signal.detach()\n    length ="
    )
    added = solutions["Scale"].replace("x * self", "x + self")
    report = check_notebook(
        write({"moving_sum": blunt, "Scale": added, "counts": "weights = 9\nshare = None"})
    )
    assert points(report) == {"moving_sum": 1.5, "Scale": 0.0, "counts": 0.5}
    assert row(report, "Scale").message == "This is exactly what Scale gives with the gain added."
    assert row(report, "moving_sum").message.endswith("a gradient that is cut.")
    assert not report.passed


def test_the_table_of_the_command(write, solutions, capsys, monkeypatch) -> None:
    path = write(solutions | {"counts": "weights = 6\nshare = 0.36"})
    monkeypatch.setattr("sys.argv", ["cvcourse", "check", str(path)])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    table = re.sub(r" +", " ", capsys.readouterr().out)
    assert "moving_sum right 3 of 3" in table
    assert (
        "counts wrong 0.5 of 1 This is what counts gives with rows and columns added. Another"
        in table
    )
    assert "question_blur graded by hand 2" in table
    assert "total 5.5 of 6" in table


def test_a_learners_markup_is_text(write, solutions) -> None:
    report = check_notebook(
        write(solutions | {"moving_sum": "raise ValueError('[bold]loud[/nothing]')"})
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report)
    assert "[bold]loud[/nothing]" in console.export_text()


def test_syntax_errors(write, solutions) -> None:
    sources = solutions | {"moving_sum": "def moving_sum(signal, width=2:\n    return signal"}
    report = check_notebook(write(sources, insert(2, "import nothing_of_this_name")))
    assert points(report) == FULL | {"moving_sum": 0.0}
    assert row(report, "moving_sum").state == "error"
    assert re.fullmatch(
        r"in the exercise's cell: SyntaxError: .* \(line 1\)", row(report, "moving_sum").message
    )
    (note,) = report.notes
    assert note.startswith(
        "Cell 3 (`import nothing_of_this_name`) does not run: ModuleNotFoundError: No module named"
    )


def test_a_missing_check_cell(write) -> None:
    def delete(notebook: NotebookNode) -> None:
        notebook.cells = [cell for cell in notebook.cells if cell.id != "check_moving_sum"]

    report = check_notebook(write(edit=delete))
    assert points(report) == FULL
    assert report.notes[0].startswith(
        "The check cell of moving_sum is missing; it was checked all the same."
    )


def test_costly_cells_and_questions_to_the_reader(write) -> None:
    def add(notebook: NotebookNode) -> None:
        for tag in ("training", "widget", "figure"):
            insert(2, "open('it-ran', 'w').close()\nwhile True: pass", tags=[tag])(notebook)
        insert(
            2,
            "import os\nassert os.environ['CVCOURSE_WIDGETS'] == 'off'\nassert"
            " os.path.exists('probes.py')",
        )(notebook)
        insert(3, "input('Who are you?')")(notebook)

    path = write(edit=add)
    report = check_notebook(path)
    assert points(report) == FULL
    assert not (path.parent / "it-ran").exists()
    assert [note.split(" does not run")[0] for note in report.notes] == [
        "Cell 4 (`input('Who are you?')`)"
    ]


def test_cells_that_wait_for_one_that_was_left_out_are_not_blamed(write) -> None:
    def add(notebook: NotebookNode) -> None:
        insert(2, "print(nowhere)")(notebook)
        insert(2, "print(twice)")(notebook)  # of a cell that waits itself
        insert(2, "twice = 2 * accuracy")(notebook)
        insert(2, "accuracy = train()\ndef train_more(): pass", tags=["training"])(notebook)
        insert(2, "def train(): return 0.9")(notebook)

    report = check_notebook(write(edit=add))
    assert points(report) == FULL
    assert report.notes == (
        "Cell 7 (`print(nowhere)`) does not run: NameError: name 'nowhere' is not defined",
    )


def test_a_timeout(write, solutions) -> None:
    endless = {"moving_sum": "def moving_sum(signal, width=2):\n    while True: pass"}
    # Long enough for the cells below: on a busy machine a kernel takes seconds to say where it was
    # interrupted.
    report = check_notebook(write(solutions | endless), timeout=10)
    assert points(report) == FULL | {"moving_sum": 0.0}
    assert row(report, "moving_sum").message == "Timeout: the cell took longer than 10 s"


def test_a_kernel_that_dies(write, solutions) -> None:
    report = check_notebook(write(solutions | {"Scale": "import os\nos._exit(1)"}))
    assert points(report) == {"moving_sum": 3.0, "Scale": 0.0, "counts": 0.0}
    assert [item.state for item in report.rows] == ["right", "not run", "not run", "graded by hand"]
    assert re.fullmatch(
        r"The kernel died in cell \d+ \(`import os`\); what stands below was not run\.",
        report.notes[0],
    )


@pytest.mark.parametrize("python", ["/bin/false", "/no/such/python"])
def test_a_kernel_that_does_not_start(write, solutions, monkeypatch, python: str) -> None:
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(CourseError, match=r"No kernel starts for .*cvcourse doctor"):
        check_notebook(write(solutions))


def test_another_meaning_of_check(write, solutions) -> None:
    report = check_notebook(
        write(solutions | {"counts": solutions["counts"] + "\ncheck = lambda **answers: None"})
    )
    assert points(report) == FULL | {"counts": 0.0}
    assert "another meaning to the name `check`" in row(report, "counts").message


def test_another_version(write) -> None:
    def rename(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            if cell.id == "check_moving_sum":
                cell.metadata["nbgrader"]["grade_id"] = "check_running_sum"

    report = check_notebook(write(edit=rename))
    (note,) = report.notes
    assert note.startswith(
        "This notebook is of another version than the key beside it: it checks running_sum"
    )
    assert "lacks moving_sum. Keep your notebook" in note


def test_another_unit(write) -> None:
    def move(notebook: NotebookNode) -> None:
        for cell in notebook.cells:
            cell.source = cell.source.replace("90_mini", "91_other")

    path = write(edit=move)
    with pytest.raises(
        CourseError, match="The key beside this notebook belongs to 90_mini, not to 91_other"
    ):
        check_notebook(path)


def test_no_key(write) -> None:
    path = write()
    for name in VISIBLE_FILES:
        (path.parent / name).unlink()
    with pytest.raises(CourseError, match=r"key\.safetensors is not beside the notebook"):
        check_notebook(path)


def test_the_key_is_found_from_the_folder_above(write, mini: Path) -> None:
    path = write()
    moved = mini / "course" / "my copy.ipynb"
    path.rename(moved)
    assert check_notebook(moved).passed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a notebook that can be read"),
        (b"not json", "is not a notebook that can be read"),
        (b"\xff\xfe\x00", "is not a notebook that can be read"),
        (b"[1, 2]", "is not a notebook that can be read"),
        (b'{"cells": 3}', "is not a notebook that can be read"),
        (nbformat.writes(nbformat.v4.new_notebook()).encode(), "is no notebook of this course"),
    ],
)
def test_what_is_no_notebook(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.ipynb"
    path.write_bytes(content)
    with pytest.raises(CourseError, match=said) as error:
        check_notebook(path)
    assert "\n" not in str(error.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="There is no notebook"):
        check_notebook(tmp_path / "mine.ipynb")
