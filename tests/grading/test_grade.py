"""Whole grading runs over a class: right grades for honest work, and nobody ends the run for the
others."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nbformat
import pytest
from gradebook_course import UNIT, comments, db_url, gradebook, grades, solved, tables
from grading_class import FULL, LIMITS, a_class, cell, enrol, hand_in

from autograder.checking.key import VISIBLE
from autograder.checking.key_files import HIDDEN_FILES, VISIBLE_FILES
from autograder.checking.report import MIME
from autograder.checking.verdict import State
from autograder.errors import CourseError
from autograder.grading import grade, graded_notebook
from autograder.grading import gradebook as gradebook_module
from autograder.grading.errors import GradebookError
from autograder.grading.grade import Graded, Options, grade_unit
from autograder.grading.result import BUBBLEWRAP, Result, ResultStore, from_json
from autograder.grading.workers import Workers, WorkerSettings

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's own queries
RIGHT, ZERO = dict(FULL), dict.fromkeys(FULL, 0.0)
POINTS = {
    **dict.fromkeys(
        ("right", "right-again", "noisy", "careless", "sleeper", "goes-on", "killed", "garbling"),
        RIGHT,
    ),
    "stub": ZERO,
    "stub-again": ZERO,
    "slips": {**ZERO, "counts": 0.5},
    "partly": {**ZERO, "Scale": 2.0},
    **{
        student: {**RIGHT, "moving_sum": 0.0}
        for student in ("shortcut", "unparsable", "equal", "loop", "hungry", "deadly")
    },
}
STATES = {
    "right": State.RIGHT,
    "stub": State.NOT_ATTEMPTED,
    "slips": State.WRONG,
    "shortcut": State.WRONG,
    "equal": State.WRONG,
    "unparsable": State.ERROR,
    "loop": State.TIMEOUT,
    "hungry": State.OUT_OF_MEMORY,
    "deadly": State.KERNEL_DEATH,
}
CELLS = {
    "sleeper": "timeout",
    "goes-on": "timeout",
    "killed": "kernel death",
    "garbling": "tampering suspected",
}
REFUSED = {"empty": "is empty", "no-json": "is damaged", "bad-text": "is not UTF-8"}


@dataclass
class Played:
    """A class that was graded."""

    root: Path
    graded: Graded
    listened: list[tuple[int, int, str]]

    def result(self, student: str) -> Result:
        return ResultStore(self.root).read(UNIT, student)

    def points(self, student: str) -> dict[str, float]:
        return {name: verdict.points for name, verdict in self.result(student).verdicts.items()}

    def notebook(self, student: str) -> nbformat.NotebookNode:
        return nbformat.read(
            self.root / "autograded" / student / UNIT / f"{UNIT}.ipynb", as_version=4
        )


@pytest.fixture(scope="session")
def played(
    released_mini: Path,
    must_be_sandboxed: None,
    same_grader: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Played:
    """The whole class, graded once by a run of its own."""
    root = Path(shutil.copytree(released_mini, tmp_path_factory.mktemp("played") / "mini"))
    notebooks = a_class(root)
    for student, notebook in notebooks.items():
        hand_in(root, student, notebook)
    hand_in(root, "unlisted", notebooks["noisy"])
    hand_in(root, "early", notebooks["partly"], timestamp="2999-01-01 00:00:00 UTC")
    enrol(root, *notebooks, "early", "absent")
    listened: list[tuple[int, int, str]] = []
    graded = grade_unit(
        root, UNIT, Options(limits=LIMITS, workers=2), lambda *said: listened.append(said)
    )
    return Played(root, graded, listened)


# Honest work and its grades


@pytest.mark.parametrize("student", POINTS)
def test_points(played, student):
    assert played.points(student) == POINTS[student]
    held = {
        name.removeprefix("check_"): score
        for name, (score, _) in grades(db_url(played.root), student).items()
    }
    assert {name: held[name] for name in FULL} == POINTS[student]


def test_some_cases_right_earn_some_points(played):
    points = played.points("some-cases")
    assert 0 < points["moving_sum"] < FULL["moving_sum"]
    assert {**points, "moving_sum": 3.0} == RIGHT


def test_mistakes_are_named(played):
    diagnoses = {
        name: verdict.diagnosis.name for name, verdict in played.result("slips").verdicts.items()
    }
    assert diagnoses == {
        "moving_sum": "a mean in place of the sum",
        "Scale": "the gain added",
        "counts": "rows and columns added",
    }
    comment = comments(db_url(played.root), "slips")["moving_sum"]
    assert "gives with a mean in place of the sum" in comment and "Try a signal of ones." in comment


@pytest.mark.parametrize("student", STATES)
def test_each_state_reaches_result_and_notebook(played, student):
    assert played.result(student).verdicts["moving_sum"].state is STATES[student]
    shown = [out for cell in played.notebook(student).cells for out in cell.get("outputs", [])]
    said = {
        out.data[MIME]["exercise"]: out.data[MIME] for out in shown if MIME in out.get("data", {})
    }
    assert said["moving_sum"]["state"] == STATES[student]
    assert said["counts"]["points"] == POINTS[student]["counts"]


@pytest.mark.parametrize("student", CELLS)
def test_a_cell_that_hangs_or_dies_costs_itself(played, student):
    result = played.result(student)
    assert [run.state for run in result.cells.values() if run.state] == [CELLS[student]]
    errors = [
        out
        for cell in played.notebook(student).cells
        for out in cell.get("outputs", [])
        if "ename" in out
    ]
    assert [out.ename for out in errors] == [CELLS[student]]


def test_a_syntax_error_is_the_exercises_own(played):
    case = played.result("unparsable").verdicts["moving_sum"].cases[0]
    assert case.message.startswith("SyntaxError: in the exercise's cell")


def test_repairs_are_noted_and_shown(played):
    result = played.result("careless")
    assert len(result.notes) == 4
    first = played.notebook("careless").cells[0]
    assert all(note in first.source for note in result.notes)


def test_a_line_that_was_garbled_is_evidence(played):
    assert any("never sends" in line for line in played.result("garbling").evidence)
    assert not played.result("right").waiting


def test_the_same_file_twice_is_noted_for_the_instructor_alone(played):
    assert played.result("right").evidence == ("the same file to the byte as that of right-again",)
    assert played.result("stub").evidence == ()  # untouched, it is everybody's
    assert "right-again" not in json.dumps(played.notebook("right"))


def test_answers_expected_outputs_and_seed_stay_with_the_instructor(played):
    secret = played.result("right").seed
    assert len(secret) == 32
    for path in (played.root / "autograded").rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
    assert oct((played.root / ".grading" / UNIT).stat().st_mode)[-3:] == "700"


def test_every_run_draws_its_inputs_anew(played, workers, tmp_path, warm):
    root = Path(shutil.copytree(played.root, tmp_path / "again"))
    again = grade_unit(root, UNIT, warm(students=("right",), again=True)).results[0]
    before = played.result("right")
    assert again.seed != before.seed
    assert again.verdicts == before.verdicts or again.points == before.points


def test_a_written_question_waits_for_a_person(played):
    assert grades(db_url(played.root), "right")["question_blur"] == (None, True)
    assert grades(db_url(played.root), "stub")["question_blur"] == (
        0.0,
        False,
    )  # nothing was written


def test_results_say_how_they_were_reached(played):
    result = played.result("hungry")
    assert (result.sandbox, result.unit, result.refused) == (BUBBLEWRAP, UNIT, "")
    assert 0 < result.seconds < 60 and 0 < result.peak_memory <= 1.2 * LIMITS.memory
    assert {item.grader for item in played.graded.results} == {result.grader}


def test_progress_counts_every_submission_that_ran(played):
    count = len(POINTS) + len(["some-cases", "unlisted", "early"])
    assert [done for done, _, _ in played.listened] == list(range(1, count + 1))
    assert {total for _, total, _ in played.listened} == {count}
    assert played.graded.run == count
    assert 0 < played.graded.seconds_to_first <= played.graded.seconds


# Bad input, while the rest of the class is graded


@pytest.mark.parametrize("student", REFUSED)
def test_what_is_no_notebook_is_refused_and_has_no_grade(played, student):
    assert REFUSED[student] in played.graded.problems[student]
    assert played.result(student).refused == played.graded.problems[student]
    assert grades(db_url(played.root), student) == {}
    assert not (played.root / "autograded" / student).exists()
    assert played.graded.needs_a_person


def test_a_student_who_is_not_in_the_class_list(played):
    assert "unlisted is not in the class list" in played.graded.problems["unlisted"]
    assert "unlisted" not in [row[0] for row in tables(db_url(played.root))["student"]]
    assert not (played.root / "autograded" / "unlisted").exists()
    assert played.points("unlisted") == RIGHT  # kept: it is written once they are on the list


def test_a_student_who_handed_in_nothing_is_left_alone(played):
    assert "absent" not in {result.student for result in played.graded.results}
    assert grades(db_url(played.root), "absent") == {}


def test_a_time_of_submission_in_the_future_is_noted(played):
    (note,) = played.graded.notes["early"]
    assert "2999" in note
    assert played.points("early") == POINTS["partly"]


def test_nothing_is_left_over(played):
    names = {path.name for path in played.root.rglob("*")}
    assert not [name for name in names if name.endswith(".part") or name.startswith(f".{UNIT}")]


# Running again


@pytest.fixture
def again(played: Played, tmp_path: Path, warm: Callable[..., Options]) -> Callable[..., Graded]:
    """Grade a copy of the graded class once more; `again.root` is the copy."""
    root = tmp_path / "again"
    shutil.copytree(played.root, root)

    def run(**options: object) -> Graded:
        return grade_unit(root, UNIT, warm(**options))

    run.root = root
    return run


def test_an_unchanged_class_is_not_run_again(again, monkeypatch):
    monkeypatch.setattr(grade.GradingRun, "workers", lambda run: pytest.fail("something was run"))
    before, held = tables(db_url(again.root)), len(POINTS) + len(["some-cases", "early"])
    graded = again()
    assert (graded.run, graded.rewritten, graded.unchanged) == (0, 0, held)
    assert set(graded.problems) == {*REFUSED, "unlisted"}
    assert tables(db_url(again.root)) == before


def test_a_graded_notebook_that_is_gone_is_written_again_without_running(again, monkeypatch):
    monkeypatch.setattr(grade.GradingRun, "workers", lambda run: pytest.fail("something was run"))
    shutil.rmtree(again.root / "autograded" / "slips")
    graded = again()
    assert (graded.run, graded.rewritten) == (0, 1)
    assert (again.root / "autograded" / "slips" / UNIT / f"{UNIT}.ipynb").exists()


def test_only_what_changed_is_run(again):
    hand_in(again.root, "stub", solved(again.root))
    hand_in(again.root, "empty", solved(again.root))
    graded = again()
    assert graded.run == 2
    results = ResultStore(again.root)
    assert [results.read(UNIT, name).points for name in ("stub", "empty")] == [6.0, 6.0]
    assert grades(db_url(again.root), "stub")["check_moving_sum"] == (3.0, False)


def test_other_limits_run_everything(again):
    graded = again(limits=replace(LIMITS, cell_seconds=2.5), students=("right", "stub"))
    assert graded.run == 2


def test_another_grader_runs_everything(again, monkeypatch):
    assert again(students=("right", "stub")).run == 0
    monkeypatch.setattr(grade, "grader_digest", lambda: "another grader")
    assert again(students=("right", "stub")).run == 2


def test_an_edited_unit_runs_everything(again):
    toml = again.root / "solutions" / UNIT / "exercises.toml"
    toml.write_text(toml.read_text().replace("Slice and add.", "Add slices."))
    with pytest.raises(CourseError, match=r"was edited since it was built.*cvcourse build 90_mini"):
        again(students=("right",))


def test_only_failed_takes_what_was_refused_or_cut_short(again):
    hand_in(again.root, "no-json", solved(again.root))
    graded = again(only_failed=True)
    assert {result.student for result in graded.results} == {*REFUSED, "loop", "hungry", "deadly"}
    assert graded.run == 4
    assert ResultStore(again.root).read(UNIT, "no-json").points == 6.0


def test_a_student_put_on_the_list_is_written_without_running(again, monkeypatch):
    enrol(again.root, "unlisted")
    monkeypatch.setattr(grade.GradingRun, "workers", lambda run: pytest.fail("something was run"))
    graded = again(students=("unlisted",))
    assert (graded.rewritten, graded.problems) == (1, {})
    assert grades(db_url(again.root), "unlisted")["check_Scale"] == (2.0, False)


def test_add_students_takes_everybody(again):
    graded = again(students=("unlisted",), add_students=True)
    assert graded.problems == {}
    assert ("unlisted", None, None) in tables(db_url(again.root))["student"]


def test_damaged_results_are_graded_anew(again):
    folder = again.root / ".grading" / UNIT
    good = json.loads((folder / "right.json").read_text())
    damages = {
        "right": "",
        "stub": "[]",
        "slips": json.dumps({**good, "verdicts": []}),
        "partly": json.dumps({**good, "format": 99}),
        "noisy": json.dumps({**good, "verdicts": {"moving_sum": {"state": "sublime"}}}),
        "equal": json.dumps({name: value for name, value in good.items() if name != "cells"}),
    }
    for student, text in damages.items():
        (folder / f"{student}.json").write_text(text)
    graded = again(students=tuple(damages))
    assert graded.run == len(damages)
    assert {result.student: result.points for result in graded.results} == {
        student: sum(POINTS[student].values()) for student in damages
    }


def test_a_clock_that_jumps_back_changes_no_grade(again, monkeypatch):
    monkeypatch.setattr(grade, "now", lambda: "1970-01-01T00:00:00+00:00")
    monkeypatch.setattr(time, "time", lambda: 0.0)
    before = tables(db_url(again.root))
    graded = again(students=("right", "partly"), again=True)
    assert (graded.run, graded.problems) == (2, {})
    assert tables(db_url(again.root)) == before
    assert again(students=("right", "partly")).unchanged == 2


# The whole path fails, in a sentence


@pytest.fixture
def small(course: Path) -> Path:
    """A course with one submission, and three more students on the list."""
    hand_in(course, "ada", solved(course))
    enrol(course, "ada", "bo", "cy", "dee")
    return course


@contextlib.contextmanager
def own_workers() -> Iterator[None]:
    """For a run that ends half-way: it closes its sandbox, which must not be the shared one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade.GradingRun, "workers", lambda run: Workers(WorkerSettings(LIMITS), 1))
        yield


def files(root: Path) -> dict[str, bytes]:
    skipped = {".grading"}  # locks and what was found out, which is no grade
    found = (
        path
        for path in root.rglob("*")
        if path.is_file() and not skipped & set(path.relative_to(root).parts)
    )
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_nobody_handed_in(course, warm):
    with pytest.raises(
        CourseError, match="Nobody handed in 90_mini: submitted/STUDENT/90_mini/ is where"
    ):
        grade_unit(course, UNIT, warm())


def test_an_unknown_unit(small, warm):
    with pytest.raises(CourseError, match="There is no unit 91_none in solutions/"):
        grade_unit(small, "91_none", warm())


def test_a_unit_that_was_never_released(small, warm):
    shutil.rmtree(small / "course" / UNIT)
    with pytest.raises(
        CourseError, match="90_mini was never released: run `cvcourse build 90_mini`"
    ):
        grade_unit(small, UNIT, warm())


def test_a_unit_that_the_gradebook_does_not_know(small, warm):
    with gradebook(small) as book:
        book.remove_assignment(UNIT)
    before = files(small)
    with pytest.raises(GradebookError, match="generate_assignment 90_mini"):
        grade_unit(small, UNIT, warm())
    assert files(small) == before


@pytest.mark.parametrize("name", [*VISIBLE_FILES, *HIDDEN_FILES])
def test_a_key_that_is_missing_or_damaged(small, warm, name):
    path = small / "solutions" / UNIT / name
    path.write_bytes(path.read_bytes()[:100])
    for _ in range(2):
        with pytest.raises(
            CourseError, match="90_mini has no good answer key: run `cvcourse build 90_mini`"
        ):
            grade_unit(small, UNIT, warm())
        path.unlink(missing_ok=True)


def test_a_release_that_was_worked_in_is_made_anew(small, warm):
    path = small / "course" / UNIT / f"{UNIT}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell(notebook, "moving_sum").source = "moving_sum = 'mine'"
    nbformat.write(notebook, path)
    assert grade_unit(small, UNIT, warm()).results[0].points == 6.0


def test_an_old_notebook_with_its_old_key_is_graded(small, warm, into_format_2):
    """Only its answers count: everything else is the release's of today."""
    folder = small / "submitted" / "ada" / UNIT
    for name in VISIBLE_FILES:
        shutil.copyfile(small / "course" / UNIT / name, folder / name)
    into_format_2(folder)
    assert [path.name for path in folder.iterdir() if path.suffix == ".safetensors"] == [VISIBLE]
    path = folder / f"{UNIT}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert "Add up each run" in text
    path.write_text(text.replace("Add up each run", "Sum each run"), encoding="utf-8")
    (result,) = grade_unit(small, UNIT, warm()).results
    assert (result.points, result.notes) == (6.0, ())


def test_a_course_whose_keys_are_of_format_2_is_graded(small, warm, into_format_2):
    for place in ("solutions", "course"):
        into_format_2(small / place / UNIT)
    assert grade_unit(small, UNIT, warm()).results[0].points == 6.0


def test_a_corrupt_gradebook(small, warm):
    (small / "gradebook.db").write_bytes(
        b"not a database at all, but long enough to be looked at" * 50
    )
    before = files(small)
    with pytest.raises(GradebookError, match=r"gradebook\.db is damaged"):
        grade_unit(small, UNIT, warm())
    assert files(small) == before


def test_a_locked_gradebook(small, warm, monkeypatch):
    impatient = partial(gradebook_module.GradebookWriter, patience=0.3)
    monkeypatch.setattr(gradebook_module, "GradebookWriter", impatient)
    other = sqlite3.connect(small / "gradebook.db")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(GradebookError, match=r"gradebook\.db is locked by another program"):
            grade_unit(small, UNIT, warm())
    finally:
        other.close()
    assert not (small / "autograded").exists()
    assert grade_unit(small, UNIT, warm()).problems == {}


def test_a_gradebook_that_is_locked_midway_keeps_what_is_done(small, warm, monkeypatch):
    monkeypatch.setattr(
        gradebook_module, "GradebookWriter", partial(gradebook_module.GradebookWriter, patience=0.3)
    )
    for student in ("bo", "cy", "dee"):
        hand_in(small, student, solved(small))
    other = sqlite3.connect(small / "gradebook.db", check_same_thread=False)

    def lock(done: int, total: int, student: str) -> None:
        if done == 2:
            other.execute("BEGIN EXCLUSIVE")

    with own_workers(), pytest.raises(GradebookError, match="is locked"):
        grade_unit(small, UNIT, warm(), lock)
    other.close()
    written = [name for name in ("ada", "bo", "cy", "dee") if grades(db_url(small), name)]
    assert len(written) == 2 == len(list((small / "autograded").glob(f"*/{UNIT}")))
    graded = grade_unit(small, UNIT, warm())
    assert graded.unchanged == 2 and graded.run + graded.rewritten == 2
    assert all(
        grades(db_url(small), name)["check_counts"] == (1.0, False)
        for name in ("ada", "bo", "cy", "dee")
    )


def test_odd_folders_among_the_submissions_end_nothing(small, warm):
    submitted = small / "submitted"
    (submitted / "stray.txt").touch()
    (submitted / ("x" * 250) / UNIT).mkdir(parents=True)
    (submitted / "<b>bold" / UNIT).mkdir(parents=True)
    (submitted / "a\nb" / UNIT).mkdir(parents=True)
    os.makedirs(os.fsencode(submitted) + b"/\xff\xfe/" + UNIT.encode())
    (submitted / "dir" / UNIT / f"{UNIT}.ipynb").mkdir(parents=True)
    (submitted / "link").symlink_to(submitted / "ada")
    graded = grade_unit(small, UNIT, warm())
    assert {result.student: result.points for result in graded.results if not result.refused} == {
        "ada": 6.0
    }
    assert set(graded.problems) == {"x" * 250, "<b>bold", "a\nb", "\udcff\udcfe", "dir", "link"}


@pytest.mark.parametrize("fault", ["align", "verdicts_of", "graded_notebook"])
def test_a_fault_of_the_graders_own_ends_nothing(small, warm, monkeypatch, fault):
    from autograder.grading import verdicts

    module = {"align": grade, "verdicts_of": verdicts, "graded_notebook": graded_notebook}[fault]
    original, calls = getattr(module, fault), []

    def failing(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyError("a bug")
        return original(*arguments)

    hand_in(small, "bo", solved(small))
    monkeypatch.setattr(module, fault, failing)
    graded = grade_unit(small, UNIT, warm())
    points = sorted(result.points for result in graded.results)
    assert points == ([6.0, 6.0] if fault == "graded_notebook" else [0.0, 6.0])
    assert graded.needs_a_person
    if fault == "verdicts_of":
        faulty = next(result for result in graded.results if result.points == 0)
        assert set(faulty.waiting.values()) == {State.GRADER_FAULT}
        assert grades(db_url(small), faulty.student)["check_Scale"] == (None, True)
    else:
        assert "please report that" in next(iter(graded.problems.values()))
    # And once it is mended, only that one is done again.
    graded = grade_unit(small, UNIT, warm(again=fault == "align"))
    assert (graded.unchanged + graded.run + graded.rewritten, graded.problems) == (2, {})
    assert fault == "align" or graded.unchanged == 1
    assert all(grades(db_url(small), name)["check_Scale"] == (2.0, False) for name in ("ada", "bo"))


def test_results_that_cannot_be_kept(small, warm):
    (small / ".grading").mkdir(exist_ok=True)
    (small / ".grading" / UNIT).write_text("a file in the folder's place")
    with pytest.raises(CourseError) as raised:
        grade_unit(small, UNIT, warm())
    assert UNIT in str(raised.value)
    assert not (small / "autograded").exists()


def test_stopped_by_ctrl_c_the_run_keeps_what_is_done(small, warm):
    for student in ("bo", "cy"):
        hand_in(small, student, solved(small))

    def stop(done: int, total: int, student: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    begun = threading.active_count()
    with own_workers():
        graded = grade_unit(small, UNIT, warm(), stop)
    assert (graded.run, graded.interrupted) == (2, 1)
    assert threading.active_count() == begun
    assert sum(bool(grades(db_url(small), name)) for name in ("ada", "bo", "cy")) == 2
    assert grade_unit(small, UNIT, warm()).run == 1


# Results as data


def test_a_result_is_the_same_after_writing_and_reading(played):
    for student in (*POINTS, *REFUSED):
        path = ResultStore(played.root).path(UNIT, student)
        result = played.result(student)
        assert from_json(json.loads(path.read_text())) == result
        assert result.student == student


def test_reading_all_passes_over_what_is_damaged(played, tmp_path):
    shutil.copytree(played.root / ".grading", tmp_path / ".grading")
    (tmp_path / ".grading" / UNIT / "right.json").write_text("{")
    students = [result.student for result in ResultStore(tmp_path).all(UNIT)]
    assert "right" not in students and len(students) == len(played.graded.results) - 1
