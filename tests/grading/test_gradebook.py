"""The gradebook's one writer, beside nbgrader's own autograde and against everything that can go
wrong."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from gradebook_course import (
    POINTS,
    UNIT,
    WORDS,
    comments,
    db_url,
    gradebook,
    grades,
    mistaken,
    notebook_of,
    release,
    result,
    solved,
    submit,
    tables,
    verdict,
)
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.plugins import LateSubmissionPlugin
from sqlalchemy import event
from traitlets.config import Config

from autograder.checking.verdict import Fit, Hint, State, Verdict
from autograder.demo import Classroom
from autograder.grading import graded_folder
from autograder.grading.database import Database
from autograder.grading.errors import GradebookError, SubmissionError
from autograder.grading.gradebook import GradebookWriter
from autograder.grading.gradebook_rows import MAX_COMMENT, comment_on
from autograder.grading.graded_folder import GradedFolder
from autograder.grading.result import Result
from autograder.nbgrader_config import configure

# nbgrader's own queries warn.
pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")
MOST_BARE_WRITES = 6  # that one write may take; 2 where nothing else runs
DUE = datetime(2026, 1, 10, 12)
IN_TIME, LATE = "2026-01-10 11:00:00 UTC", "2026-01-10 14:00:00 UTC"


@pytest.fixture(scope="session")
def released(built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature course, released once. Do not write to it: take `root` for that."""
    return release(built_mini, tmp_path_factory.mktemp("released"))


@pytest.fixture
def root(released: Path, tmp_path: Path) -> Path:
    """A released course that a test may change."""
    return Path(shutil.copytree(released, tmp_path / "mini"))


@pytest.fixture
def writer(root: Path) -> Iterator[GradebookWriter]:
    with GradebookWriter(root, UNIT, patience=0.3) as opened:
        yield opened


def graded(root: Path, student: str = "ada") -> Path:
    return root / "autograded" / student / UNIT


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def penalising(method: str = "zero") -> Config:
    config = configure(Config())
    config.LateSubmissionPlugin.penalty_method = method
    return config


def add_settings(root: Path, line: str) -> None:
    with (root / "nbgrader_config.py").open("a") as file:
        file.write(f"\nc = get_config()\n{line}\n")


def set_due_date(root: Path, due: datetime | None = DUE) -> None:
    with gradebook(root) as book:
        book.update_or_create_assignment(UNIT, duedate=due)


def give(root: Path, student: str, cell: str, points: float, extra: float | None = None) -> None:
    """A person's score, as formgrader writes it."""
    with gradebook(root) as book:
        grade = book.find_grade(cell, UNIT, UNIT, student)
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = points, extra, False
        book.db.commit()


# Beside nbgrader's own autograde


@pytest.fixture(scope="module")
def stock(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four submissions that nbgrader itself autograded, with due date and penalty."""
    root = Path(shutil.copytree(released, tmp_path_factory.mktemp("stock") / "mini"))
    add_settings(root, "c.LateSubmissionPlugin.penalty_method = 'zero'")
    set_due_date(root)
    wrong = solved(root)
    for cell in wrong.cells:
        cell.source = cell.source.replace(".sum()", ".mean()")
    notebooks = {
        "ada": (solved(root, question_blur=WORDS), IN_TIME),
        "bo": (notebook_of(root), None),
        "cy": (wrong, LATE),
        "dee": (
            solved(root, moving_sum="    raise ValueError("),
            "2026-01-10 13:00:00.5 Europe/Paris",
        ),
    }
    room = Classroom(root)
    room.api.config.LateSubmissionPlugin.penalty_method = "zero"
    for student, (notebook, timestamp) in notebooks.items():
        nbformat.write(notebook, submit(root, student, timestamp) / f"{UNIT}.ipynb")
        room.autograde(UNIT, student)
    return root


def as_result(root: Path, student: str) -> Result:
    """What our runner would have found: the verdicts that stand in the graded notebook."""
    found = {}
    for name, data in Classroom(root).verdicts(UNIT, student).items():
        known = data["diagnosis"] and Hint(data["diagnosis"], data["why"][1])
        fit = Fit.EXACT if known else None
        found[name] = verdict(
            name, State(data["state"]), data["points"], diagnosis=known or None, fit=fit
        )
    for name in POINTS:  # a cell with an error in it has no verdict
        found.setdefault(name, verdict(name, State.ERROR))
    return result(student, *found.values())


def test_rows_and_folders_are_those_of_nbgraders_autograde(
    stock: Path, released: Path, tmp_path: Path
) -> None:
    ours = Path(shutil.copytree(released, tmp_path / "ours"))
    shutil.copytree(stock / "submitted", ours / "submitted")
    shutil.copy(stock / "nbgrader_config.py", ours)
    set_due_date(ours)
    students = sorted(path.name for path in (stock / "submitted").iterdir())
    results = {student: as_result(stock, student) for student in students}
    with GradebookWriter(ours, UNIT) as writer:
        for student in students:
            notebook = nbformat.read(graded(stock, student) / f"{UNIT}.ipynb", as_version=4)
            assert writer.write(results[student], notebook) == ()
    theirs, mine = tables(db_url(stock)), tables(db_url(ours))
    for name in ("student", "submitted_assignment", "submitted_notebook", "grade"):
        assert mine[name] == theirs[name], name
    assert {row[3] for row in mine["submitted_notebook"]} == {
        None,
        3.0,
    }  # cy was late and loses what they earned
    for (student, cell, kind, comment, manual), stocks in zip(
        mine["comment"], theirs["comment"], strict=True
    ):
        assert (student, cell, kind, manual) == (*stocks[:3], stocks[4])
        if cell in POINTS:  # ours say what the check said; nbgrader only tells an untouched cell
            assert comment == comment_on(results[student].verdicts[cell])
        else:
            assert comment == stocks[3]
    assert comments(db_url(ours), "bo")["question_blur"] == "No response."
    for student in students:
        assert notebooks_apart(graded(ours, student)) == notebooks_apart(graded(stock, student))
        assert modes(graded(ours, student)) == modes(graded(stock, student))


def notebooks_apart(folder: Path) -> tuple[dict[str, bytes], nbformat.NotebookNode]:
    files = contents(folder)
    return files, nbformat.reads(files.pop(f"{UNIT}.ipynb").decode(), as_version=4)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode for path in [folder, *folder.iterdir()]}


def test_nbgrader_goes_on_from_there(root: Path, writer: GradebookWriter) -> None:
    """Feedback, stock's own autograde and another writing of ours, one after the other."""
    submit(root, "ada", IN_TIME)
    writer.write(result("ada", mistaken("Scale", 0.5)), solved(root, question_blur=WORDS))
    give(root, "ada", "question_blur", 1.5)
    room = Classroom(root)
    page = room.give_feedback(UNIT, "ada").read_text()
    assert "This is exactly what Scale gives with a mean in place of the sum." in page
    with gradebook(root) as book:
        assert book.find_submission(UNIT, "ada").score == 3 + 0.5 + 1 + 1.5
        assert book.notebook_submission_dicts(UNIT, UNIT)[0]["needs_manual_grade"] is False


def test_a_course_shared_in_a_group_stays_writable_for_the_group(root: Path) -> None:
    config = configure(Config())
    config.CourseDirectory.groupshared = True
    with GradebookWriter(root, UNIT, config=config) as writer:
        writer.write(result("ada"), solved(root))
    assert modes(graded(root))["probes.py"] & 0o777 == 0o664
    for folder in (graded(root), graded(root).parent, root / "autograded"):
        assert folder.stat().st_mode & 0o7770 == 0o2770


# Scores


def test_scores_comments_and_what_waits(root: Path, writer: GradebookWriter) -> None:
    found = result("ada", mistaken("moving_sum", 1.2), verdict("counts", State.NOT_ATTEMPTED))
    writer.write(found, solved(root, question_blur=WORDS))
    assert grades(db_url(root), "ada") == {
        "check_moving_sum": (1.2, False),
        "check_Scale": (2.0, False),
        "check_counts": (0.0, False),
        "question_blur": (None, True),
    }
    said = comments(db_url(root), "ada")
    assert said["moving_sum"].startswith(
        "This is exactly what moving_sum gives with a mean in place of the sum. Try"
    )
    assert said["counts"].startswith("Not attempted")
    assert (said["Scale"], said["question_blur"]) == (None, None)


@pytest.mark.parametrize("state", [State.TIMEOUT, State.OUT_OF_MEMORY, State.KERNEL_DEATH])
def test_what_was_cut_short_is_graded_and_says_so(
    root: Path, writer: GradebookWriter, state: State
) -> None:
    writer.write(result("ada", verdict("Scale", state, 0.5)), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (0.5, False)
    assert "check" in comments(db_url(root), "ada")["Scale"]


def test_suspected_tampering_gives_nothing_and_waits(root: Path, writer: GradebookWriter) -> None:
    writer.write(result("ada", verdict("Scale", State.TAMPERING, 2.0)), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (0.0, True)
    assert "A person will look at it" in comments(db_url(root), "ada")["Scale"]


def test_a_grader_fault_neither_gives_nor_takes(root: Path, writer: GradebookWriter) -> None:
    fault = verdict("Scale", State.GRADER_FAULT, 2.0)
    writer.write(result("ada", fault), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (None, True)
    writer.write(result("ada"), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (2.0, False)
    writer.write(result("ada", fault), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (2.0, True)
    writer.write(result("ada"), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (2.0, False)


@pytest.mark.parametrize(
    ("again", "sources", "waits"),
    [
        (result("ada", digest="d2"), {}, False),
        (result("ada", mistaken("Scale"), digest="d2"), {}, True),
        (result("ada", digest="d2"), {"Scale": "class Scale: another"}, True),
        (result("ada", verdict("Scale", State.GRADER_FAULT), digest="d2"), {}, False),
        (result("ada", verdict("Scale", State.TAMPERING), digest="d2"), {}, True),
    ],
    ids=["as before", "another score", "another answer", "grader fault", "tampering"],
)
def test_a_persons_score_stays(
    root: Path, writer: GradebookWriter, again: Result, sources: dict[str, str], waits: bool
) -> None:
    writer.write(result("ada"), solved(root))
    give(root, "ada", "check_Scale", 1.25, extra=0.5)
    writer.write(again, solved(root, **sources))
    row = next(row for row in tables(db_url(root))["grade"] if row[1] == "check_Scale")
    assert row[4:] == (1.25, 0.5, int(waits))


@pytest.mark.parametrize(("answer", "waits"), [(WORDS, False), ("*Other words.*", True)])
def test_a_graded_question_waits_again_when_its_answer_changed(
    root: Path, writer: GradebookWriter, answer: str, waits: bool
) -> None:
    writer.write(result("ada"), solved(root, question_blur=WORDS))
    give(root, "ada", "question_blur", 2.0)
    writer.write(result("ada", mistaken("Scale")), solved(root, question_blur=answer))
    assert grades(db_url(root), "ada")["question_blur"] == (None, waits)


def test_a_persons_comment_stays(root: Path, writer: GradebookWriter) -> None:
    writer.write(result("ada"), solved(root))
    with gradebook(root) as book:
        book.find_comment("Scale", UNIT, UNIT, "ada").manual_comment = "Well done."
        book.db.commit()
    writer.write(result("ada", mistaken("Scale")), solved(root))
    row = next(row for row in tables(db_url(root))["comment"] if row[1] == "Scale")
    assert row[3].startswith("This is exactly") and row[4] == "Well done."


def test_a_refused_submission_is_not_written(root: Path, writer: GradebookWriter) -> None:
    before = tables(db_url(root))
    refused = Result("ada", UNIT, refused="The notebook is no JSON.")
    assert writer.write(refused, notebook_of(root)) == ()
    assert tables(db_url(root)) == before
    assert not graded(root).exists()
    assert not writer.holds(refused)


def test_a_record_that_cannot_be_written_costs_only_time(
    root: Path, writer: GradebookWriter
) -> None:
    (root / ".grading" / UNIT).write_text("a file")
    (note,) = writer.write(result("ada"), solved(root))
    assert "the next run writes it again" in note
    assert grades(db_url(root), "ada")["check_Scale"] == (2.0, False)
    assert not writer.holds(result("ada"))


def test_what_no_file_and_no_database_can_hold(root: Path, writer: GradebookWriter) -> None:
    line = "torch\0.conv\ud800" + "x" * 5000
    forbidden = verdict("Scale", State.WRONG, shortcuts=(("conv2d", line),))
    writer.write(result("ada", forbidden), solved(root, question_blur="half \ud800 a character"))
    said = comments(db_url(root), "ada")["Scale"]
    assert "torch.conv?xxx" in said and len(said) == MAX_COMMENT
    notebook = nbformat.read(graded(root) / f"{UNIT}.ipynb", as_version=4)
    assert (
        next(cell for cell in notebook.cells if cell.id == "question_blur").source
        == "half ? a character"
    )


# Lateness


def penalty(root: Path, student: str = "ada") -> float | None:
    return next(row[3] for row in tables(db_url(root))["submitted_notebook"] if row[0] == student)


@pytest.mark.parametrize(("timestamp", "lost"), [(IN_TIME, None), (LATE, 5.0), (None, None)])
def test_late_submissions_lose_what_the_course_says(
    root: Path, timestamp: str | None, lost: float | None
) -> None:
    set_due_date(root)
    submit(root, "ada", timestamp)
    with GradebookWriter(root, UNIT, config=penalising()) as writer:
        assert writer.write(result("ada", mistaken("counts")), solved(root)) == ()
    assert penalty(root) == lost


class Lawless(LateSubmissionPlugin):
    """A plugin that asks for what its name says."""

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float | None:
        return {"more": score + 1, "less": -1.0, "half": score / 2, "none": None}[student_id]


def lawless() -> Config:
    config = configure(Config())
    config.AssignLatePenalties.plugin_class = Lawless
    return config


def test_a_penalty_lies_between_nothing_and_the_score(root: Path) -> None:
    set_due_date(root)
    with GradebookWriter(root, UNIT, config=lawless()) as writer:
        for student in ("more", "less", "half", "none"):
            submit(root, student, LATE)
            writer.write(result(student), solved(root))
    assert [penalty(root, student) for student in ("more", "less", "half", "none")] == [
        6.0,
        0.0,
        3.0,
        None,
    ]


def test_a_plugin_that_fails_is_named(root: Path) -> None:
    set_due_date(root)
    submit(root, "ada", LATE)
    with GradebookWriter(root, UNIT, config=lawless()) as writer:
        with pytest.raises(
            GradebookError, match="The plugin for late submissions, Lawless, failed: 'ada'"
        ):
            writer.write(result("ada"), solved(root))
        assert tables(db_url(root))["student"] == []
    config = configure(Config())
    config.AssignLatePenalties.plugin_class = "nowhere.Plugin"
    with (
        GradebookWriter(root, UNIT, config=config) as writer,
        pytest.raises(GradebookError, match="plugin for late"),
    ):
        writer.write(result("ada"), solved(root))
    assert not list((root / "autograded").rglob("*.ipynb"))
    assert not list((root / "autograded").rglob(".*"))
    assert config.CourseDirectory.root != str(root)  # the caller's settings are not touched


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"next Tuesday, honestly", "says 'next Tuesday, honestly', which is no date and time"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"2026-01-10 " * 100, "is not a small text file"),
        (b"9" * 60, "which is no date and time"),
        (b"1970-01-01 00:00:04 UTC", "as a computer does that lost its clock"),
        (b"2199-01-01 00:00:00 UTC", "which is in the future by this computer's clock"),
    ],
    ids=["words", "empty", "not text", "long", "digits", "1970", "2199"],
)
def test_a_time_that_cannot_be_is_noted_and_costs_nothing(
    root: Path, content: bytes, note: str
) -> None:
    set_due_date(root)
    submit(root, "ada", content)
    with GradebookWriter(root, UNIT, config=penalising()) as writer:
        (said,) = writer.write(result("ada"), solved(root))
        assert note in said and "correct it and grade again" in said
        assert writer.holds(result("ada"))
    assert penalty(root) is None
    assert not (
        graded(root) / "timestamp.txt"
    ).exists()  # nbgrader itself stops at one that it cannot read


def test_a_timestamp_that_is_a_link_is_not_followed(root: Path, writer: GradebookWriter) -> None:
    (submit(root, "ada") / "timestamp.txt").symlink_to(root / "nbgrader_config.py")
    (said,) = writer.write(result("ada"), solved(root))
    assert "is not a small text file" in said
    assert not (graded(root) / "timestamp.txt").exists()


def test_a_clock_that_runs_a_little_ahead_is_believed(root: Path, writer: GradebookWriter) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=10)
    submit(root, "ada", soon.isoformat())
    assert writer.write(result("ada"), solved(root)) == ()


@pytest.mark.parametrize(
    ("timestamp", "noted"),
    [
        ("2026-01-10 11:00:00", True),
        ("2026-01-10 11:00:00 Nowhere/Town", True),
        ("2026-01-10 11:00:00 +0100", False),
        ("2026-01-10T11:00:00+01:00", False),
        ("2026-01-10 11:00:00 Europe/Paris", False),
        ("2026-01-02 11:00:00", False),
    ],
)
def test_a_missing_time_zone_is_noted_where_it_decides(
    root: Path, writer: GradebookWriter, timestamp: str, noted: bool
) -> None:
    set_due_date(root)
    submit(root, "ada", timestamp)
    notes = writer.write(result("ada"), solved(root))
    assert [("without a time zone" in note) for note in notes] == [True] * noted


def test_an_extension_of_no_due_date_stops_nothing(root: Path, writer: GradebookWriter) -> None:
    """nbgrader adds an extension to a due date without asking whether there is one."""
    submit(root, "ada", LATE)
    writer.write(result("ada"), solved(root))
    with gradebook(root) as book:
        book.grant_extension(UNIT, "ada", days=1)
    assert writer.write(result("ada", mistaken("Scale")), solved(root)) == ()


# The class list


def test_an_empty_class_list_takes_everybody(writer: GradebookWriter, root: Path) -> None:
    assert writer.problem_with("ada") == ""
    writer.write(result("ada"), solved(root))
    assert writer.problem_with("bo") == ""
    assert [row[0] for row in tables(db_url(root))["student"]] == ["ada"]


def test_a_class_list_is_kept_to(root: Path) -> None:
    with gradebook(root) as book:
        book.add_student("ada", first_name="Ada", last_name="Lovelace")
    with GradebookWriter(root, UNIT) as writer:
        assert writer.problem_with("ada") == ""
        assert "bo is not in the class list" in writer.problem_with("bo")
        with pytest.raises(
            SubmissionError, match=r"bo is not in the class list: .*nbgrader db student add bo"
        ):
            writer.write(result("bo"), solved(root))
        writer.write(result("ada"), solved(root))
        with gradebook(root) as book:
            book.add_student("bo")
        assert writer.problem_with("bo") == ""
    with GradebookWriter(root, UNIT, add_students=True) as writer:
        writer.write(result("cy"), solved(root))
    assert tables(db_url(root))["student"] == [
        ("ada", "Ada", "Lovelace"),
        ("bo", None, None),
        ("cy", None, None),
    ]
    assert not graded(root, "bo").exists()


@pytest.mark.parametrize("name", ["../ada", "", ".hidden", "a/b", "a\n", "x" * 200])
def test_a_name_that_is_no_folder_is_refused(
    root: Path, writer: GradebookWriter, name: str
) -> None:
    with pytest.raises(SubmissionError, match="cannot be a student's name"):
        writer.write(result(name), solved(root))


# What was released


def test_released_cells(writer: GradebookWriter, root: Path) -> None:
    cells = writer.released()
    assert {name: cell.max_score for name, cell in cells.items() if cell.is_grade} == {
        "check_moving_sum": 3.0,
        "check_Scale": 2.0,
        "check_counts": 1.0,
        "question_blur": 2.0,
    }
    assert {name for name, cell in cells.items() if cell.is_check} == {
        "check_" + name for name in POINTS
    }
    for cell in notebook_of(root).cells:
        if (
            "nbgrader" in cell.metadata and not cells[cell.id].is_check
        ):  # checks lose their hidden cases on release
            assert (
                cells[cell.id].flags.items()
                >= {
                    **cell.metadata.nbgrader,
                    "points": cells[cell.id].max_score,
                }.items()
            )
            assert cells[cell.id].is_untouched(cell.source)
            assert not cells[cell.id].is_untouched(cell.source + "!")


def test_a_unit_that_was_never_released(root: Path) -> None:
    said = "91_other was never released: run `nbgrader generate_assignment 91_other`"
    with GradebookWriter(root, "91_other") as writer, pytest.raises(GradebookError, match=said):
        writer.released()


def test_without_a_gradebook_one_is_made_and_the_unit_is_not_released(root: Path) -> None:
    (root / "gradebook.db").unlink()
    with (
        GradebookWriter(root, UNIT) as writer,
        pytest.raises(GradebookError, match="was never released"),
    ):
        writer.released()
    assert not list(root.glob(".gradebook*.part"))
    Classroom(root).release(UNIT)
    with GradebookWriter(root, UNIT) as writer:
        assert writer.released()


@pytest.mark.parametrize("change", ["cell", "points", "gone"])
def test_a_release_that_the_gradebook_does_not_know(root: Path, change: str) -> None:
    path = root / "course" / UNIT / f"{UNIT}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    check = next(cell for cell in notebook.cells if cell.id == "check_Scale")
    if change == "gone":
        notebook.cells.remove(check)
    else:
        check.metadata.nbgrader |= (
            {"grade_id": "check_Other"} if change == "cell" else {"points": 5}
        )
    nbformat.write(notebook, path)
    said = "differ in .*check_Scale.*generate_assignment 90_mini --force"
    with GradebookWriter(root, UNIT) as writer, pytest.raises(GradebookError, match=said):
        writer.released()


def lacking(exercise: str) -> Result:
    full = result("ada")
    return Result(
        "ada",
        UNIT,
        verdicts={name: item for name, item in full.verdicts.items() if name != exercise},
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lacking("Scale"), r"do not have the same checks \(check_Scale\)"),
        (
            result("ada", Verdict("new", State.RIGHT, 1.0, 1.0, ())),
            r"do not have the same checks \(check_new\)",
        ),
        (
            result("ada", Verdict("Scale", State.RIGHT, 4.0, 4.0, ())),
            "check_Scale gives 2 points in the gradebook and 4",
        ),
        (result("ada", verdict("Scale", points=float("nan"))), "nan are no points for check_Scale"),
        (result("ada", verdict("Scale", points=2.5)), "2.5 are no points for check_Scale"),
        (result("ada", verdict("Scale", points=-1.0)), "-1.0 are no points for check_Scale"),
    ],
    ids=["missing", "unknown", "other points", "nan", "too many", "negative"],
)
def test_a_result_that_does_not_fit_the_gradebook(
    root: Path, writer: GradebookWriter, found: Result, said: str
) -> None:
    before = tables(db_url(root))
    with pytest.raises(SubmissionError, match=said):
        writer.write(found, solved(root))
    assert tables(db_url(root)) == before
    writer.write(result("bo"), solved(root))  # the rest of the class goes on


def test_a_notebook_that_lacks_a_graded_cell(root: Path, writer: GradebookWriter) -> None:
    notebook = solved(root)
    notebook.cells = [cell for cell in notebook.cells if cell.id != "question_blur"]
    with pytest.raises(SubmissionError, match=r"is not one of 90_mini \(question_blur\)"):
        writer.write(result("ada"), notebook)


# What is already there


def test_what_was_written_is_held(root: Path, writer: GradebookWriter) -> None:
    students = [f"s{number}" for number in range(5)]
    assert not any(writer.holds(result(student)) for student in students)
    for student in students:
        writer.write(result(student), solved(root))
    assert all(writer.holds(result(student)) for student in students)
    writer.close()
    before = contents(root / "autograded")
    with GradebookWriter(root, UNIT) as again:
        statements = count_statements(again)
        again.released()
        assert all(again.holds(result(student)) for student in students)
        assert len([one for one in statements if "FROM submitted_assignment" in one]) == 1
        assert not again.holds(result("s1", mistaken("Scale")))
        assert not again.holds(result("s1", digest="another"))
        assert not again.holds(result("s1", grader="another"))
        assert not again.holds(result("stranger"))
    assert contents(root / "autograded") == before


def count_statements(writer: GradebookWriter) -> list[str]:
    """Every statement from now on."""
    found: list[str] = []
    event.listen(
        writer.database.engine,
        "before_cursor_execute",
        lambda connection, cursor, sql, *rest: found.append(sql),
    )
    return found


def edit_notebook(root: Path) -> None:
    path = graded(root) / f"{UNIT}.ipynb"
    path.chmod(0o644)
    path.write_text("{}")


def lower_score(root: Path) -> None:
    with gradebook(root) as book:
        book.find_grade("check_Scale", UNIT, UNIT, "ada").auto_score = 0.0
        book.db.commit()


def extend(root: Path) -> None:
    with gradebook(root) as book:
        book.grant_extension(UNIT, "ada", days=5)


def forget(root: Path) -> None:
    with gradebook(root) as book:
        book.remove_submission(UNIT, "ada")


def remove_grade(root: Path) -> None:
    with gradebook(root) as book:
        book.db.delete(book.find_grade("check_Scale", UNIT, UNIT, "ada"))
        book.db.commit()


@pytest.mark.parametrize(
    "change",
    [
        edit_notebook,
        lower_score,
        extend,
        forget,
        remove_grade,
        lambda root: shutil.rmtree(graded(root)),
        lambda root: submit(root, "ada", IN_TIME),
        lambda root: set_due_date(root, datetime(2026, 1, 9)),
        lambda root: shutil.rmtree(root / ".grading"),
        lambda root: (root / ".grading" / UNIT / "ada.written").write_text("rubbish"),
    ],
    ids=[
        "notebook",
        "score",
        "extension",
        "rows",
        "row",
        "folder",
        "time",
        "due date",
        "records",
        "record",
    ],
)
def test_what_changed_since_is_written_anew(root: Path, change: Callable[[Path], object]) -> None:
    set_due_date(root)
    submit(root, "ada", LATE)
    with GradebookWriter(root, UNIT) as writer:
        writer.write(result("ada"), solved(root))
        assert writer.holds(result("ada"))
    change(root)
    with GradebookWriter(root, UNIT) as writer:
        assert not writer.holds(result("ada"))
        writer.write(result("ada"), solved(root))
        assert writer.holds(result("ada"))
    assert grades(db_url(root), "ada")["check_Scale"] == (2.0, False)


def test_another_penalty_is_applied_to_old_results(root: Path) -> None:
    set_due_date(root)
    submit(root, "ada", LATE)
    with GradebookWriter(root, UNIT) as writer:
        writer.write(result("ada"), solved(root))
    with GradebookWriter(root, UNIT, config=penalising()) as writer:
        assert not writer.holds(result("ada"))


# A gradebook that cannot be used


def old_schema(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE student DROP COLUMN lms_user_id")
        connection.execute("UPDATE alembic_version SET version_num = '167914646830'")


def other_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")


def other_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def torn(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xaa" * 3996
    path.write_bytes(content)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda path: path.write_bytes(os.urandom(5000)),
            "gradebook.db is damaged: put back a copy of it",
        ),
        (
            lambda path: path.write_bytes(b""),
            r"gradebook.db is empty \(0 bytes\): put back a copy of it",
        ),
        (torn, "gradebook.db is damaged: put back a copy of it"),
        (
            old_schema,
            (
                "gradebook.db was made by an older nbgrader: make a copy of it, then run `nbgrader"
                " db upgrade`"
            ),
        ),
        (other_version, "gradebook.db was made by another version of nbgrader"),
        (other_database, "gradebook.db is a database but no gradebook of nbgrader"),
        (folder_instead, "gradebook.db is not a file"),
    ],
    ids=["garbage", "empty", "torn", "old", "newer", "other", "folder"],
)
def test_a_gradebook_that_cannot_be_used(
    root: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(root / "gradebook.db")
    before = {} if (root / "gradebook.db").is_dir() else (root / "gradebook.db").read_bytes()
    with pytest.raises(GradebookError, match=said) as caught:
        GradebookWriter(root, UNIT)
    assert "\n" not in str(caught.value)
    assert before == {} or (root / "gradebook.db").read_bytes() == before
    shutil.rmtree(root / ".grading")  # what it locked is free again: nothing holds it


def test_a_gradebook_damaged_while_grading(root: Path, writer: GradebookWriter) -> None:
    writer.write(result("ada"), solved(root))
    (root / "gradebook.db").write_bytes(os.urandom(5000))
    with pytest.raises(GradebookError, match=r"gradebook\.db is damaged"):
        writer.write(result("bo"), solved(root))
    assert not graded(root, "bo").exists()


def test_addresses_that_are_none(root: Path) -> None:
    for address in (
        "gradebook.db",
        "nosuch://gradebook",
        "sqlite://",
        "postgresql+nodriver://localhost/x",
    ):
        with pytest.raises(GradebookError):
            GradebookWriter(root, UNIT, db_url=address)


def test_settings_that_do_not_run_are_named(root: Path) -> None:
    (root / "nbgrader_config.py").write_text("c = get_config(\n")
    with pytest.raises(
        GradebookError, match=r"nbgrader_config.py cannot be used \('\(' was never closed"
    ):
        GradebookWriter(root, UNIT)


def test_the_courses_own_settings_are_used(root: Path) -> None:
    add_settings(root, "c.CourseDirectory.autograded_directory = 'marked'")
    with GradebookWriter(root, UNIT) as writer:
        writer.write(result("ada"), solved(root))
    assert (root / "marked" / "ada" / UNIT / f"{UNIT}.ipynb").exists()


# A locked gradebook


def test_a_locked_gradebook_is_waited_for(root: Path) -> None:
    other = sqlite3.connect(root / "gradebook.db", check_same_thread=False, isolation_level=None)
    with GradebookWriter(root, UNIT, patience=10) as writer:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        writer.write(result("ada"), solved(root))
        assert writer.holds(result("ada"))


@pytest.mark.parametrize("how", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_gradebook_locked_for_good(
    root: Path, writer: GradebookWriter, how: str, patience
) -> None:
    writer.write(result("ada"), solved(root))
    before = contents(root / "autograded")
    other = sqlite3.connect(root / "gradebook.db", isolation_level=None)
    other.execute(f"BEGIN {how}")
    started = time.monotonic()
    for student in ("ada", "bo"):
        with pytest.raises(
            GradebookError, match=r"gradebook.db is locked by another program, perhaps formgrader"
        ):
            writer.write(result(student, mistaken("Scale")), solved(root))
    assert 0.6 <= time.monotonic() - started < patience(5)
    other.execute("ROLLBACK")
    assert contents(root / "autograded") == before
    assert not list((root / "autograded").rglob(".*"))
    writer.write(result("bo"), solved(root))


def test_two_writers_of_one_unit_do_not_meet(root: Path, writer: GradebookWriter) -> None:
    with pytest.raises(GradebookError, match="Another grading run of 90_mini is still at work"):
        GradebookWriter(root, UNIT, patience=0.2)
    writer.close()
    GradebookWriter(root, UNIT, patience=0.2).close()


def test_several_processes_may_find_no_gradebook(root: Path) -> None:
    """Processes that let nbgrader make one at the same time crash each other."""
    (root / "gradebook.db").unlink()
    children = [in_child(lambda: Database(db_url(root), 30)) for _ in range(4)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
    with Gradebook(db_url(root)) as book:
        assert book.assignments == []
    assert not list(root.glob(".gradebook*.part"))


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


# A disk that refuses


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    """autograded/ on a disk of 256 kB. Skips where it cannot be mounted; the tests below pretend
    one."""
    folder = root / "autograded"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk can be mounted only by root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_changes_nothing(root: Path, writer: GradebookWriter, small_disk: Path) -> None:
    writer.write(result("ada"), solved(root))
    before, rows = contents(small_disk), tables(db_url(root))
    big = solved(root, question_blur="long " * 60_000)
    with pytest.raises(
        GradebookError, match="The disk is full: autograded/ada/90_mini could not be written"
    ):
        writer.write(result("ada", mistaken("Scale")), big)
    assert (contents(small_disk), tables(db_url(root))) == (before, rows)
    writer.write(result("bo"), solved(root))


def test_a_full_disk_under_the_gradebook_changes_nothing(
    root: Path, writer: GradebookWriter
) -> None:
    writer.write(result("ada"), solved(root))
    before, rows = contents(root / "autograded"), tables(db_url(root))

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(
            f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}"
        )

    writer.database.engine.dispose()
    event.listen(writer.database.engine, "connect", limit)
    long = tuple((f"name{number}", "x" * 150) for number in range(100))
    full = [verdict(name, State.WRONG, shortcuts=long) for name in POINTS]
    with pytest.raises(
        GradebookError, match=r"The disk is full: gradebook.db could not be written"
    ):
        for number in range(20):
            writer.write(result("ada" if number == 0 else f"s{number}", *full), solved(root))
    written = {path.name for path in (root / "autograded").iterdir() if (path / UNIT).exists()}
    assert written == {row[0] for row in tables(db_url(root))["student"]}
    assert (written != {"ada"}) or (contents(root / "autograded"), tables(db_url(root))) == (
        before,
        rows,
    )
    assert not [path for path in (root / "autograded").rglob(".*")]


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, GradebookError, "The disk is full"),
        (errno.EDQUOT, GradebookError, "The disk is full"),
        (errno.EROFS, GradebookError, r"autograded cannot be written \(Read-only file system\)"),
        (
            errno.EACCES,
            SubmissionError,
            r"autograded/ada/90_mini could not be written \(Permission denied\)",
        ),
        (
            errno.EIO,
            SubmissionError,
            r"autograded/ada/90_mini could not be written \(Input/output error\)",
        ),
    ],
    ids=["full", "quota", "read-only", "not ours", "broken"],
)
@pytest.mark.parametrize("where", ["copyfile", "rename"])
def test_a_disk_that_refuses_changes_nothing(
    root: Path,
    writer: GradebookWriter,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    said: str,
    where: str,
) -> None:
    writer.write(result("ada"), solved(root))
    before, rows = contents(root / "autograded"), tables(db_url(root))

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    rename = Path.rename
    with monkeypatch.context() as patch:
        if where == "copyfile":
            patch.setattr(graded_folder.shutil, "copyfile", refuse)
        else:
            ours = graded_folder.NEXT
            patch.setattr(
                Path,
                "rename",
                lambda path, to: (refuse if path.name.endswith(ours) else rename)(path, to),
            )
        with pytest.raises(kind, match=said):
            writer.write(result("ada", mistaken("Scale")), solved(root))
    assert (contents(root / "autograded"), tables(db_url(root))) == (before, rows)
    assert not list((root / "autograded").rglob(".*"))
    writer.write(result("ada", mistaken("Scale")), solved(root))
    assert grades(db_url(root), "ada")["check_Scale"] == (0.0, False)


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere"
)
@pytest.mark.parametrize("place", ["autograded", "autograded/ada", "gradebook.db"])
def test_a_place_that_may_not_be_written(root: Path, place: str, tmp_path: Path) -> None:
    """In another process, which has given up root's right to write everywhere."""
    with GradebookWriter(root, UNIT) as writer:
        writer.write(result("ada"), solved(root))
    before, rows = contents(root / "autograded"), tables(db_url(root))
    answer = tmp_path / "said"
    student = "bo" if place == "autograded" else "ada"  # whose own folder is there, and writable
    (root / place).chmod(0o555)
    locked = [root] if place == "gradebook.db" else []
    for folder in locked:
        folder.chmod(0o555)

    def attempt() -> None:
        give_up_root()
        answer.write_text("nothing")
        try:
            with GradebookWriter(root, UNIT, add_students=True) as writer:
                writer.write(result(student, mistaken("Scale")), solved(root))
        except (SubmissionError, GradebookError) as error:
            answer.write_text(f"{type(error).__name__}: {error}")

    answer.touch()
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, 65534, 65534)
    make_reachable(tmp_path)
    _, status = os.waitpid(in_child(attempt), 0)
    (root / place).chmod(0o755)
    for folder in locked:
        folder.chmod(0o755)
    assert status == 0
    kind = "SubmissionError" if place == "autograded/ada" else "GradebookError"
    assert answer.read_text().startswith(f"{kind}: ")
    assert "writ" in answer.read_text()
    assert (contents(root / "autograded"), tables(db_url(root))) == (before, rows)


def give_up_root() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def make_reachable(folder: Path) -> None:
    """Let others pass through the folders that lead to a test's own."""
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name.startswith(
            ("pytest", "popen")
        ):  # xdist's have the latter
            parent.chmod(parent.stat().st_mode | 0o011)


@pytest.mark.parametrize("kind", ["file", "link", "parent"])
def test_a_graded_folder_that_is_none(root: Path, writer: GradebookWriter, kind: str) -> None:
    place = graded(root)
    if kind == "parent":
        (root / "autograded").mkdir()
        place.parent.write_text("a file")
    else:
        place.parent.mkdir(parents=True)
        place.write_text("a file") if kind == "file" else place.symlink_to(root / "course")
    before = tables(db_url(root))
    with pytest.raises(
        SubmissionError, match=r"autograded/ada/90_mini (is a file or a link|could not be written)"
    ):
        writer.write(result("ada"), solved(root))
    assert tables(db_url(root)) == before
    writer.write(result("bo"), solved(root))


# Killed


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "transaction", lambda *_, **__: kill())


def between_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename
    monkeypatch.setattr(
        Path,
        "rename",
        lambda path, to: kill() if path.name.endswith(graded_folder.NEXT) else rename(path, to),
    )


def before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place = GradedFolder.put_in_place
    monkeypatch.setattr(GradedFolder, "put_in_place", lambda folder: (put_in_place(folder), kill()))


def after_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradebookWriter, "_note_as_written", lambda *_: kill())


def before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradedFolder, "finish", lambda _: kill())


@pytest.mark.parametrize("first", [True, False], ids=["first time", "again"])
@pytest.mark.parametrize(
    "moment", [before_rows, between_renames, before_commit, after_commit, before_the_end]
)
def test_a_killed_run_is_repaired(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: Callable[[pytest.MonkeyPatch], None],
    first: bool,
) -> None:
    old = [] if first else [("ada", result("ada", digest="d0"))]
    new = result("ada", mistaken("Scale"))
    answer = solved(root, Scale="class Scale: another answer")
    for _, item in old:
        with GradebookWriter(root, UNIT) as writer:
            writer.write(item, solved(root))
        give(root, "ada", "check_Scale", 1.0)
    children = tables(db_url(root)), contents(root) if not first else {}

    def work() -> None:
        with GradebookWriter(root, UNIT) as writer:
            writer.released()  # what a killed process had read does not matter
            assert not writer.holds(new)
            moment(monkeypatch)
            writer.write(new, answer)

    _, status = os.waitpid(in_child(work), 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    with GradebookWriter(root, UNIT, patience=2) as writer:
        assert not list((root / "autograded").rglob(".*"))
        if not first:  # what was there is there again, whole
            assert contents(graded(root)) == {
                name.removeprefix(f"autograded/ada/{UNIT}/"): content
                for name, content in children[1].items()
                if name.startswith(f"autograded/ada/{UNIT}/")
            }
        if not (first and moment is before_the_end):  # then everything had been written
            assert not writer.holds(new)
        writer.write(new, answer)
        assert writer.holds(new)
    score, waits = grades(db_url(root), "ada")["check_Scale"]
    assert (score, waits) == (
        0.0,
        not first,
    )  # a person's score is looked at again: the answer changed
    assert len(tables(db_url(root))["grade"]) == 4
    assert (graded(root) / "probes.py").exists()


def test_an_interrupted_write_changes_nothing(
    root: Path, writer: GradebookWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C just before the commit."""
    writer.write(result("ada"), solved(root))
    before, rows = contents(root / "autograded"), tables(db_url(root))
    put_in_place = GradedFolder.put_in_place

    def interrupt(folder: GradedFolder) -> None:
        put_in_place(folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GradedFolder, "put_in_place", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.write(result("ada", mistaken("Scale")), solved(root))
    assert (contents(root / "autograded"), tables(db_url(root))) == (before, rows)
    assert writer.holds(result("ada"))


# Speed


def test_a_write_is_one_short_transaction(root: Path, writer: GradebookWriter) -> None:
    students = [f"s{number}" for number in range(60)]
    notebook = solved(root)
    writer.released()
    statements, commits, seconds, bare = count_statements(writer), [], [], []
    event.listen(writer.database.engine, "commit", commits.append)
    bare_database = sqlite3.connect(root / "bare.db")
    bare_database.execute("CREATE TABLE grade (student TEXT)")
    for student in students:
        submit(root, student, IN_TIME)
        started = time.perf_counter()
        writer.write(result(student), notebook)
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        bare_write(root / "bare" / student, notebook, bare_database)
        bare.append(time.perf_counter() - started)
    bare_database.close()
    reads = 1  # of the whole class
    assert len(commits) == len(students) + reads
    assert len(statements) / len(students) < 15
    ratio = statistics.median(seconds) / statistics.median(bare)
    print(f"a write takes {1000 * statistics.median(seconds):.1f} ms, {ratio:.1f} bare ones")
    assert ratio < MOST_BARE_WRITES
    asked = len(statements)
    assert all(writer.holds(result(student)) for student in students)
    assert len(statements) == asked  # what is written is known without asking again


def bare_write(folder: Path, notebook: NotebookNode, database: sqlite3.Connection) -> None:
    """The least that a write must do: a notebook in a folder that is renamed, and a row."""
    waiting = folder.with_name(f".{folder.name}")
    waiting.mkdir(parents=True)
    (waiting / f"{UNIT}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    waiting.rename(folder)
    with database:
        database.execute("INSERT INTO grade VALUES (?)", (folder.name,))
