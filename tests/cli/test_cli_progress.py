"""`cvcourse progress` and `cvcourse check --json`: points by unit, what comes next, verdicts for
other programs."""

from __future__ import annotations

import json
import shutil

import nbformat
import pytest

from autograder.authoring.lesson import read_lesson

UNIT = "90_mini"


@pytest.fixture
def work(mini, tmp_path):
    """A learner's folder with the miniature unit."""
    folder = tmp_path / "work"
    shutil.copytree(mini / "course", folder)
    return folder


def solve(folder, mini, *names):
    """Write the solutions of some exercises into the learner's notebook."""
    path = folder / UNIT / f"{UNIT}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    lesson = read_lesson(mini / "solutions" / UNIT)
    for cell in notebook.cells:
        if cell.id in names:
            cell.source = lesson.exercises[cell.id].solution
    nbformat.write(notebook, path)


def test_points_by_unit_and_what_comes_next(run, work, mini):
    solve(work, mini, "moving_sum")
    code, out, err = run("progress", str(work))
    assert code == 0
    assert f"Checking {UNIT}/{UNIT}.ipynb" in err
    assert "1 of 3" in out and "3 of 6" in out
    assert f"Next: Scale in {UNIT}/{UNIT}.ipynb." in out


def test_an_untouched_notebook_is_not_run(run, work):
    code, out, err = run("progress", str(work))
    assert (code, err) == (0, "")
    assert "0 of 3" in out and f"Next: moving_sum in {UNIT}/{UNIT}.ipynb." in out


def test_a_copy_that_was_kept_aside_does_not_count(run, work):
    shutil.copy(work / UNIT / f"{UNIT}.ipynb", work / UNIT / f"{UNIT}.mine-1.ipynb")
    code, out, _ = run("progress", str(work))
    assert code == 0 and "mine-1" not in out and "0 of 6" in out


def test_other_notebooks_are_passed_over_and_a_broken_key_is_named(run, work):
    other = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(other, work / "other.ipynb")
    (work / "broken.ipynb").write_text("{")
    (work / UNIT / "key.json").write_text("{")
    code, out, _ = run("progress", str(work))
    assert code == 0
    assert "other" not in out and "broken.ipynb" not in out
    assert "key.json is damaged" in out


@pytest.mark.parametrize(
    ("folder", "says"),
    [("nowhere", "There is no folder"), ("", "No notebook of this course is in")],
)
def test_a_folder_without_the_course_is_named(run, tmp_path, folder, says):
    code, _, err = run("progress", str(tmp_path / folder))
    assert code == 2
    assert says in err


def test_verdicts_as_json(run, work, mini):
    solve(work, mini, "moving_sum")
    code, out, _ = run("check", str(work / UNIT / f"{UNIT}.ipynb"), "--json")
    report = json.loads(out)
    assert code == 1
    assert (report["format"], report["unit"], report["passed"]) == (1, UNIT, False)
    assert (report["points"], report["max_points"]) == (3.0, 6.0)
    first = report["exercises"][0]
    assert (first["exercise"], first["state"], first["points"]) == ("moving_sum", "right", 3.0)
    assert [case["state"] for case in first["verdict"]["cases"]] == ["right"] * 4


def test_an_instructor_may_keep_verdicts_for_people(run, work):
    notebook = str(work / UNIT / f"{UNIT}.ipynb")
    (work / "rules.toml").write_text("assistant = false\n")
    code, out, err = run("check", notebook, "--json")
    assert (code, out) == (2, "")
    assert "rules.toml asks for answers without an assistant" in err
    (work / "rules.toml").write_text("assistant = true\n")
    assert json.loads(run("check", notebook, "--json")[1])["unit"] == UNIT


def test_rules_that_cannot_be_read_are_named(run, work):
    (work / UNIT / "rules.toml").write_text("assistant = maybe")
    code, _, err = run("check", str(work / UNIT / f"{UNIT}.ipynb"), "--json")
    assert code == 2 and f"{UNIT}/rules.toml cannot be read" in err
