"""The build: nothing leaks, nothing is lost, everything is in step with its source."""

from __future__ import annotations

import json
from dataclasses import replace

import nbformat
import pytest

from autograder.authoring.build import build_units, check_units
from autograder.authoring.lesson import read_lesson
from autograder.checking.key import HIDDEN, VISIBLE, AnswerKey, ExerciseKey, Key
from autograder.checking.key_files import HIDDEN_FILES, VISIBLE_FILES, read_key, write_key
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
    names = {path.name for path in course.iterdir()}
    assert names == {"90_mini.ipynb", "probes.py", *VISIBLE_FILES}
    notebook = (course / "90_mini.ipynb").read_text()
    key = (course / "key.json").read_text()
    for secret in (
        "BEGIN SOLUTION",
        "HIDDEN TESTS",
        "hidden=True",
        "torch.stack",
        "3 * 3",
        "cancels",
    ):
        assert secret not in notebook
        assert secret not in key
    assert notebook.count("raise NotImplementedError") == 4


def test_the_key_holds_no_plain_answer_and_no_hidden_case(built_mini):
    key = read_key(built_mini / "course" / "90_mini" / VISIBLE)
    assert not any(case.hidden for exercise in key.exercises.values() for case in exercise.cases)
    hidden = read_key(built_mini / "solutions" / "90_mini" / HIDDEN)
    assert all(case.hidden for exercise in hidden.exercises.values() for case in exercise.cases)
    answers = key.exercises["counts"].answers
    assert not any(str(value) == "9" for value in vars(answers["weights"]).values())


def binaries(mini):
    """The bytes of every binary, and the file's identity: a file written again has another one."""
    paths = sorted(mini.rglob("*.safetensors"))
    assert len(paths) == 3
    return {path: (path.read_bytes(), path.stat().st_ino) for path in paths}


def in_git(text):
    """The lines that git compares."""
    return text.splitlines()


@pytest.mark.parametrize(
    ("file", "before", "after", "new_lines"),
    [
        # Digests of source and release.
        ("90_mini.py", "Add up each run", "Sum each run", 2),
        # The digest of the sources, and the exercise's hints.
        ("exercises.toml", "Slice and add.", "Slice, then add.", 2),
        # The digest of the sources, and what a misconception's hint says.
        ("exercises.toml", "Try a signal of ones.", "Try ones.", 4),
    ],
)
def test_a_changed_sentence_changes_no_binary(mini, file, before, after, new_lines):
    text = mini / "solutions" / "90_mini" / "key.json"
    old_binaries, old_text = binaries(mini), text.read_text()
    edit(mini / "solutions" / "90_mini" / file, before, after)
    build_units([], mini)
    assert binaries(mini) == old_binaries
    assert check_units([], mini) == []
    changed = set(in_git(text.read_text())) - set(in_git(old_text))
    assert len(changed) == new_lines


def entries(path):
    """(name, numbers' bytes) of the tensors in a file's order."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        names = file.offset_keys()
        return [(name, file.get_tensor(name).numpy().tobytes()) for name in names]


@pytest.mark.parametrize(
    ("file", "before", "after", "changed"),
    [
        ("probes.py", "length=9, width=3", "length=9, width=5", "moving_sum"),
        ("exercises.toml", 'to = "x + self"', 'to = "x - self"', "Scale"),
    ],
)
def test_a_changed_exercise_changes_its_own_tensors_alone(mini, file, before, after, changed):
    path = mini / "solutions" / "90_mini" / VISIBLE
    old = entries(path)
    edit(mini / "solutions" / "90_mini" / file, before, after)
    build_units([], mini)
    new = entries(path)

    def others(found):
        return [entry for entry in found if not entry[0].startswith(f"{changed}/")]

    assert new != old
    assert others(new) == others(old)
    assert {name.split("/")[0] for name, _ in new} == {"moving_sum", "Scale"}


def test_the_text_of_a_key_is_easy_to_compare(built_mini):
    text = (built_mini / "course" / "90_mini" / "key.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    document = json.loads(text)
    cases = [case for exercise in document["exercises"] for case in exercise["cases"]]
    outcomes = [outcome for case in cases for outcome in case["wrong"].values()]
    hints = [hint for exercise in document["exercises"] for hint in exercise["hints"]]
    assert min(len(cases), len(outcomes), len(hints)) > 3
    lines = [line.strip().rstrip(",") for line in in_git(text)]
    for outcome in outcomes:
        assert any(line.endswith(json.dumps(outcome)) for line in lines)
    assert max(map(len, lines)) <= 250
    assert len(lines) > len(cases) + len(outcomes) + len(hints)


def test_an_answer_with_many_wrong_ones_comes_back(tmp_path):
    """Misconceptions are numbered, and the names of a JSON object are texts, on a line each too."""
    wrong = {number: f"{number:032x}" for number in range(7)}
    answer = AnswerKey("whole number", 4, "0" * 16, "f" * 32, wrong)
    exercise = ExerciseKey("count", 1.0, ("Count.",), (), (), answers={"pixels": answer})
    key = Key("90_mini", "0.2.0", "a" * 16, "b" * 16, "c" * 16, {"count": exercise})
    write_key(key, tmp_path / VISIBLE)
    assert read_key(tmp_path / VISIBLE) == key


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("solutions/90_mini/90_mini.py", "Add up each run", "Sum each run"),
        ("solutions/90_mini/probes.py", "length=7", "length=10"),
        ("solutions/90_mini/exercises.toml", "Slice and add.", "Slice, then add."),
        ("solutions/90_mini/90_mini.ipynb", "Add up each run", "Sum each run"),
        ("course/90_mini/90_mini.ipynb", "Add up each run", "Sum each run"),
        ("course/90_mini/probes.py", "length=7", "length=10"),
        ("course/90_mini/key.json", "Slice and add.", "Slice, then add."),
        ("solutions/90_mini/hidden.json", "Slice and add.", "Slice, then add."),
    ],
)
def test_what_is_out_of_step_is_found(mini, file, before, after):
    edit(mini / file, before, after)
    assert check_units([], mini)


def test_numbers_that_the_solution_does_not_give_are_found(mini):
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


@pytest.mark.parametrize("name", ["key.json", "hidden.json"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"points": 3', '"points": 2'),
        ("Slice and add.", "Slice, then add."),
        ('"weight": 1.0', '"weight": 2.0'),
        ('"probe": "scaled"', '"probe": "output"'),
    ],
)
def test_a_key_that_says_something_else_than_its_sources_is_found(mini, name, before, after):
    """Texts are easy to edit, so both folders are edited alike."""
    for path in mini.rglob(name):
        edit(path, before, after)
    [problem] = check_units([], mini)
    assert "in solutions/90_mini says something else than its sources" in problem


@pytest.mark.parametrize("name", VISIBLE_FILES)
def test_a_missing_or_extra_file_is_found(mini, name):
    (mini / "course" / "90_mini" / name).unlink()
    (mini / "course" / "90_mini" / "wheats.py").write_text("")
    assert len(check_units([], mini)) == 2


@pytest.mark.parametrize("name", [*VISIBLE_FILES, *HIDDEN_FILES])
def test_half_a_key_is_found(mini, name):
    (mini / "solutions" / "90_mini" / name).unlink()
    assert f"solutions/90_mini/{name} is missing: run `cvcourse build 90_mini`" in check_units(
        [], mini
    )


@pytest.mark.parametrize("name", HIDDEN_FILES)
def test_a_hidden_key_in_the_course_is_found(mini, name):
    (mini / "course" / "90_mini" / name).write_text("{}")
    (problem,) = check_units([], mini)
    assert problem.startswith(f"course/90_mini/{name} is the author's and must not be there")


def test_keys_of_format_2_are_out_of_step_and_built_anew(mini, into_format_2):
    """A course from before the two files were parted: nothing was worked in, so nothing is kept."""
    source, course = mini / "solutions" / "90_mini", mini / "course" / "90_mini"
    salts = read_key(source / VISIBLE).exercises["counts"].answers
    for folder in (source, course):
        into_format_2(folder)
    assert check_units([], mini) == [
        f"solutions/90_mini/{name} is missing: run `cvcourse build 90_mini`"
        for name in ("key.json", "hidden.json")
    ]
    (built,) = build_units([], mini)
    assert built.kept == []
    assert check_units([], mini) == []
    assert read_key(source / VISIBLE).exercises["counts"].answers == salts


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


def test_a_rebuild_keeps_a_learners_work_beside_a_key_of_format_2(mini, into_format_2):
    path = mini / "course" / "90_mini" / "90_mini.ipynb"
    into_format_2(path.parent)
    edit(path, "raise NotImplementedError", "return 'mine'")
    (built,) = build_units([], mini)
    assert "return 'mine'" in path.with_name("90_mini.mine-1.ipynb").read_text()
    assert "mine-1" in built.kept[0]


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


def test_code_that_nobody_need_read_is_folded_at_first(mini):
    lesson = mini / "solutions" / "90_mini" / "90_mini.py"
    helper = '# %% tags=["helper"]\ndouble = 2\n\n# %% [markdown]\n# # 90'
    lesson.write_text(lesson.read_text().replace("# %% [markdown]\n# # 90", helper, 1))
    build_units([], mini)
    for place in ("solutions", "course"):
        notebook = nbformat.read(mini / place / "90_mini" / "90_mini.ipynb", as_version=4)
        folded = [cell for cell in notebook.cells if "jupyter" in cell.metadata]
        assert [cell.source for cell in folded] == ["double = 2"]
        assert folded[0].metadata["jupyter"] == {"source_hidden": True}
