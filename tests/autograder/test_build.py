"""The build: nothing leaks, nothing is lost, everything is in step with its source."""

from __future__ import annotations

import json

import nbformat
import pytest

from autograder.authoring.build import build_units, check_units
from autograder.authoring.lesson import read_lesson
from autograder.checking.key import HIDDEN, VISIBLE, read_key
from autograder.errors import CourseError


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_a_second_build_changes_nothing(mini):
    def contents():
        return {path: path.read_bytes() for path in sorted(mini.rglob("*")) if path.is_file()}

    first = contents()
    build_units([], mini)
    assert contents() == first
    assert check_units([], mini) == []


def test_committed_notebooks_have_no_outputs_and_no_author(built_mini):
    for path in built_mini.rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code)


def test_nothing_of_the_author_reaches_the_learner(built_mini):
    course = built_mini / "course" / "90_mini"
    assert sorted(path.name for path in course.iterdir()) == ["90_mini.ipynb", VISIBLE, "probes.py"]
    text = (course / "90_mini.ipynb").read_text()
    for secret in (
        "BEGIN SOLUTION",
        "HIDDEN TESTS",
        "hidden=True",
        "torch.stack",
        "3 * 3",
        "cancels",
    ):
        assert secret not in text
    assert text.count("raise NotImplementedError") == 4


def test_the_key_holds_no_plain_answer_and_no_hidden_case(built_mini):
    key = read_key(built_mini / "course" / "90_mini" / VISIBLE)
    assert not any(case.hidden for exercise in key.exercises.values() for case in exercise.cases)
    hidden = read_key(built_mini / "solutions" / "90_mini" / HIDDEN)
    assert all(case.hidden for exercise in hidden.exercises.values() for case in exercise.cases)
    answers = key.exercises["counts"].answers
    assert not any(str(value) == "9" for value in vars(answers["weights"]).values())


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("solutions/90_mini/90_mini.py", "Add up each run", "Sum each run"),
        ("solutions/90_mini/probes.py", "length=7", "length=10"),
        ("solutions/90_mini/exercises.toml", "Slice and add.", "Slice, then add."),
        ("solutions/90_mini/90_mini.ipynb", "Add up each run", "Sum each run"),
        ("course/90_mini/90_mini.ipynb", "Add up each run", "Sum each run"),
        ("course/90_mini/probes.py", "length=7", "length=10"),
    ],
)
def test_what_is_out_of_step_is_found(mini, file, before, after):
    edit(mini / file, before, after)
    assert check_units([], mini)


def test_numbers_that_the_solution_does_not_give_are_found(mini):
    from dataclasses import replace

    from autograder.checking.key import write_key

    path = mini / "solutions" / "90_mini" / VISIBLE
    key = read_key(path)
    exercise = key.exercises["moving_sum"]
    case = exercise.cases[0]
    value = case.expected.values["output"]
    wrong = replace(case.expected, values={"output": replace(value, numbers=value.numbers + 1)})
    cases = (replace(case, expected=wrong), *exercise.cases[1:])
    forged = replace(key, exercises={**key.exercises, "moving_sum": replace(exercise, cases=cases)})
    for folder in ("solutions", "course"):
        write_key(forged, mini / folder / "90_mini" / VISIBLE)
    [problem] = check_units([], mini)
    assert problem.startswith(
        "the key of moving_sum in solutions/90_mini holds other numbers than its solution gives"
    )


def test_a_missing_or_extra_file_is_found(mini):
    (mini / "course" / "90_mini" / VISIBLE).unlink()
    (mini / "course" / "90_mini" / "wheats.py").write_text("")
    assert len(check_units([], mini)) == 2


def test_a_rebuild_keeps_a_learners_work(mini):
    path = mini / "course" / "90_mini" / "90_mini.ipynb"
    edit(path, "raise NotImplementedError", "return 'mine'")
    built = build_units([], mini)
    aside = path.with_name("90_mini.mine-1.ipynb")
    assert "return 'mine'" in aside.read_text()
    assert "mine-1" in built[0].kept[0]
    assert "return 'mine'" not in path.read_text()
    edit(path, "raise NotImplementedError", "return 'again'")
    build_units([], mini)
    assert "return 'again'" in path.with_name("90_mini.mine-2.ipynb").read_text()


def test_outputs_alone_are_no_work(mini):
    path = mini / "course" / "90_mini" / "90_mini.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(notebook, path)
    assert build_units([], mini)[0].kept == []


def test_an_edited_ipynb_is_not_overwritten(mini):
    path = mini / "solutions" / "90_mini" / "90_mini.ipynb"
    edit(path, "Add up each run", "Sum each run")
    with pytest.raises(CourseError, match="jupytext --to py:percent"):
        build_units([], mini)
    assert "Sum each run" in path.read_text()


@pytest.mark.parametrize(
    ("file", "before", "after", "sentence"),
    [
        ("exercises.toml", 'change = ".sum()"', 'change = ".total()"', "no longer applies"),
        ("exercises.toml", "minutes = 20", "minutes = ", "line 4"),
        ("exercises.toml", 'hints = ["Which', 'tips = ["Which', "unknown key 'tips'"),
        (
            "exercises.toml",
            "[Scale]",
            "[Sclae]",
            "table \\[Sclae\\], but the lesson has no such exercise",
        ),
        ("90_mini.py", "`Scale` · 2 points", "`Scale` · 3 points", "heading of `Scale`"),
        ("90_mini.py", "check_Scale", "chek_Scale", "no check cell check_Scale"),
        ("probes.py", "hidden=[(3, 4, 2)], ", "", "no hidden case for Scale"),
        ("probes.py", 'probe("Scale"', 'probe("Scales"', "which the lesson does not have"),
        ("probes.py", "import gradient", "import gradientt", "cannot be read"),
        (
            "90_mini.py",
            "width + 1\n    return torch",
            "width + 1\n    return torhc",
            "fails in its own probe",
        ),
    ],
)
def test_a_broken_unit_says_where(mini, file, before, after, sentence):
    edit(mini / "solutions" / "90_mini" / file, before, after)
    with pytest.raises(CourseError, match=sentence) as caught:
        build_units([], mini)
    assert "\n" not in str(caught.value)


def test_unknown_units_name_the_ones_that_exist(mini):
    with pytest.raises(CourseError, match="the units are 90_mini"):
        build_units(["07_vit"], mini)
    assert build_units(["90"], mini)[0].unit == "90_mini"


def test_points_include_written_questions(mini):
    assert build_units([], mini)[0].points == 8


def test_cell_ids_follow_from_the_content(built_mini):
    lesson = read_lesson(built_mini / "solutions" / "90_mini")
    path = built_mini / "course" / "90_mini" / "90_mini.ipynb"
    ids = [cell["id"] for cell in json.loads(path.read_text())["cells"]]
    assert len(set(ids)) == len(ids) == len(lesson.notebook.cells)
    assert {"moving_sum", "check_moving_sum"} <= set(ids)
