"""Known traps of notebook grading, each by its name."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from autograder.authoring.build import build_units
from autograder.authoring.lesson import read_lesson
from autograder.authoring.release import release_digest
from autograder.checking.key import VISIBLE
from autograder.checking.key_files import HIDDEN_FILES, VISIBLE_FILES, read_key, text_beside
from autograder.demo import Classroom
from autograder.units import COURSE, ROOT, SOLUTIONS, units

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's own queries
ENDLESS = "def moving_sum(signal, width=2):\n    while True:\n        pass"
REDEFINED = "def check(*args, **kwargs):\n    'my own helper'\n\ndef moving_sum(signal): pass"
FULL = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}
SECRET_FILES = {"exercises.toml", "wheats.py", *HIDDEN_FILES}


def texts(folder: Path) -> dict[Path, str]:
    return {
        path: path.read_text("utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file()
    }


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(
        item for item in notebook.cells if item.metadata.get("nbgrader", {}).get("grade_id") == name
    )


def without(notebook: NotebookNode, *names: str) -> NotebookNode:
    gone = [cell(notebook, name) for name in names]
    notebook.cells = [item for item in notebook.cells if not any(item is other for other in gone)]
    return notebook


def code(source: str, **metadata: object) -> NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata=metadata)


# Solutions leaking into the release


@pytest.mark.parametrize("unit", units())
def test_solutions_leaking_into_the_release(unit: str) -> None:
    folder, lesson = ROOT / COURSE / unit, read_lesson(ROOT / SOLUTIONS / unit)
    assert {path.name for path in folder.iterdir()} & (SECRET_FILES | {f"{unit}.py"}) == set()
    notebook = nbformat.read(folder / f"{unit}.ipynb", as_version=4)
    joined = "\n".join(item.source for item in notebook.cells)
    for mark in (
        "BEGIN SOLUTION",
        "END SOLUTION",
        "HIDDEN TESTS",
        "hidden=True",
        "BEGIN MARK SCHEME",
    ):
        assert mark not in joined
    for path, text in texts(folder).items():
        assert "BEGIN SOLUTION" not in text, path
    for exercise in lesson.exercises.values():
        stub = cell(notebook, exercise.name).source
        solved = [line for line in exercise.solution.splitlines() if line not in stub.splitlines()]
        assert solved, f"{exercise.name}: the release holds the whole solution"
        assert "NotImplementedError" in stub or exercise.answers
        assert not [answer for answer in exercise.answers if f"{answer} = None" not in stub]


@pytest.mark.parametrize("unit", units())
def test_hidden_cases_and_plain_answers_leaking_into_the_key(unit: str) -> None:
    path = ROOT / COURSE / unit / VISIBLE
    key = read_key(path)
    assert not [
        case for exercise in key.exercises.values() for case in exercise.cases if case.hidden
    ]
    document = json.loads(text_beside(path).read_text(encoding="utf-8"))
    for exercise in document["exercises"]:
        for answer in exercise["answers"].values():
            assert set(answer) == {"kind", "digits", "salt", "digest", "wrong"}
    hints = [
        hint
        for exercise in read_lesson(ROOT / SOLUTIONS / unit).exercises.values()
        for hint in exercise.hints
    ]
    notebook = (ROOT / COURSE / unit / f"{unit}.ipynb").read_text(encoding="utf-8")
    assert not [hint for hint in hints if hint in notebook]


def test_solutions_leaking_into_what_is_given_back(course, grade) -> None:
    graded = grade(course.answered(moving_sum="pass"))
    graded.feedback()
    for step in ("autograded", "feedback"):
        found = texts(course.room.folder / step / graded.student)
        assert {path.name for path in found} & (SECRET_FILES | {"90_mini.py"}) == set()
        assert not [path for path, text in found.items() if "torch.stack([signal[start" in text]


def test_hidden_cases_in_nbgraders_own_kernel(kernel_course, grade_in_kernel) -> None:
    """Both files of their key are there while a notebook is graded, and gone afterwards."""
    overfitted = kernel_course.solutions["moving_sum"].replace(
        "    length = ", "    if width == 5:\n        return signal\n    length = "
    )
    graded = grade_in_kernel(kernel_course.answered(moving_sum=overfitted))
    assert graded.points == FULL | {"moving_sum": 2.5}
    names = {path.name for path in graded.folder.iterdir()}
    assert names >= set(VISIBLE_FILES)
    assert not names & SECRET_FILES


# A rebuild overwriting a learner's work


def worked_in(mini: Path) -> Path:
    path = mini / "course" / "90_mini" / "90_mini.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell(
        notebook, "moving_sum"
    ).source = "def moving_sum(signal, width=2):\n    return 'my evening of work'"
    nbformat.write(notebook, path)
    return path


def test_a_rebuild_overwriting_a_learners_work(mini: Path) -> None:
    path = worked_in(mini)
    for number in (1, 2):
        mine = path.read_bytes()
        (built,) = build_units([], mini)
        assert path.with_name(f"90_mini.mine-{number}.ipynb").read_bytes() == mine
        assert f"90_mini.mine-{number}.ipynb" in built.kept[0]
        assert (
            release_digest(nbformat.read(path, as_version=4))
            == read_key(path.parent / VISIBLE).release
        )
        worked_in(mini)


def test_a_rebuild_keeping_a_copy_of_an_untouched_notebook(mini: Path) -> None:
    (built,) = build_units([], mini)
    assert built.kept == []
    assert not list((mini / "course").rglob("*mine*"))


def test_generate_assignment_overwriting_a_learners_work(mini: Path) -> None:
    """Without --force nbgrader leaves the release alone; with it (and from formgrader's button) a
    copy stays."""
    path = worked_in(mini)
    mine = path.read_bytes()
    room = Classroom(mini)
    assert room.api.generate_assignment("90_mini", force=False)["success"]
    assert path.read_bytes() == mine
    result = room.api.generate_assignment("90_mini", force=True)
    copy_ = mini / "course" / "90_mini.mine-1"
    assert (copy_ / "90_mini.ipynb").read_bytes() == mine
    assert "90_mini.mine-1" in result["log"]
    assert path.read_bytes() != mine
    room.api.generate_assignment("90_mini", force=True)
    assert not (mini / "course" / "90_mini.mine-2").exists(), "an untouched release needs no copy"


def test_generate_assignment_keeps_what_the_build_kept(mini: Path) -> None:
    worked_in(mini)
    build_units([], mini)
    Classroom(mini).release("90_mini")
    kept = list((mini / "course").rglob("90_mini.mine-1.ipynb"))
    assert len(kept) == 1
    assert "my evening of work" in kept[0].read_text(encoding="utf-8")


# A syntax error passing


def test_a_syntax_error_passing(course, grade) -> None:
    graded = grade(course.answered(moving_sum=course.solutions["moving_sum"] + "\nprint("))
    assert graded.points == FULL | {"moving_sum": 0.0}
    assert "SyntaxError" in graded.feedback()


def test_a_syntax_error_in_another_cell_costing_or_earning_points(course, grade) -> None:
    notebook = course.answered(Scale=course.release.cells[7].source)
    notebook.cells.insert(2, code("def broken(:"))
    assert grade(notebook).points == FULL | {"Scale": 0.0}


# The instructor's code graded instead of the learner's


def test_the_instructors_code_graded_instead_of_the_learners(course, grade) -> None:
    """Files that a learner hands in replace nothing, and none of the instructor's definitions is in
    reach."""
    notebook = course.answered(moving_sum="from wheats import by_shifted_copies as moving_sum")
    wheats = b"import torch\ndef by_shifted_copies(signal, width=2):\n    return signal\n"
    emptied = dict.fromkeys(["probes.py", *VISIBLE_FILES, *HIDDEN_FILES], b"")
    graded = grade(notebook, files={"wheats.py": wheats, **emptied})
    assert graded.points == FULL | {"moving_sum": 0.0}
    released = course.room.folder / "course" / "90_mini"
    for name in ("probes.py", *VISIBLE_FILES):
        assert (graded.folder / name).read_bytes() == (released / name).read_bytes()


def test_the_last_definition_is_the_one_that_counts(course, grade) -> None:
    notebook = course.answered()
    place = notebook.cells.index(cell(notebook, "check_moving_sum"))
    notebook.cells.insert(place, code("def moving_sum(signal, width=2):\n    return signal"))
    assert grade(notebook).points == FULL | {"moving_sum": 0.0}


# A warning on stderr costing points

LOUD = """
import logging, os, sys, warnings
logging.basicConfig()
warnings.warn("at import")
print("at import", file=sys.stderr)
"""
LOUDER = """    warnings.warn("in the function")
    logging.getLogger("mine").error("in the function")
    print("in the function", file=sys.stderr)
    sys.__stderr__.write("in the function")
"""
# In the sandbox these would look like hiding a shortcut, which moving_sum forbids.
LOUDEST = """    os.write(2, b"in a library")
    os.system("echo in another process >&2")
"""


def test_a_warning_on_stderr_costing_points(course, grade) -> None:
    source = LOUD + course.solutions["moving_sum"].replace(
        "    length = ", LOUDER + "    length = "
    )
    graded = grade(course.answered(moving_sum=source))
    assert graded.points == FULL
    assert [output.output_type for output in cell(graded.notebook, "check_moving_sum").outputs] == [
        "execute_result"
    ]


def test_a_warning_on_stderr_in_nbgraders_own_kernel(kernel_course, grade_in_kernel) -> None:
    louder = LOUDER + LOUDEST + "    length = "
    source = LOUD + kernel_course.solutions["moving_sum"].replace("    length = ", louder)
    graded = grade_in_kernel(kernel_course.answered(moving_sum=source))
    assert graded.points == FULL
    assert [output.output_type for output in cell(graded.notebook, "check_moving_sum").outputs] == [
        "execute_result"
    ]


def test_a_result_shown_before_the_verdict_earning_points(course, grade) -> None:
    """nbgrader takes the first result of a cell for its points."""
    source = (
        "import sys\ndef moving_sum(signal, width=2):\n    sys.displayhook(3)\n    return signal\n"
    )
    assert grade(course.answered(moving_sum=source)).points == FULL | {"moving_sum": 0.0}


# A check that needs a later unit


@pytest.mark.parametrize("unit", units())
def test_a_check_that_needs_another_unit(unit: str, tmp_path: Path) -> None:
    """Every check of a unit runs where only this unit's folder is."""
    shutil.copytree(ROOT / COURSE / unit, tmp_path / unit)
    lesson = read_lesson(ROOT / SOLUTIONS / unit)
    from autograder.checking.checker import Checker

    checker = Checker(unit, tmp_path / unit)
    namespace = lesson.namespace()
    for exercise in lesson.exercises.values():
        answers = {name: namespace[name] for name in exercise.answers}
        verdict = checker.verdict(exercise.name, namespace.get(exercise.name), answers)
        assert verdict.is_right, (exercise.name, verdict.cases)


# Widgets hanging autograde


def test_widgets_hanging_autograde(course, grade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(course.room.api.config.GradeOutside, "seconds", 3.0)  # of each endless cell
    endless = "open('it-ran', 'w').close()\nwhile True:\n    pass"
    notebook = course.answered()
    notebook.cells[2:2] = [
        *(code(endless, tags=[tag]) for tag in ("widget", "training", "figure")),
        code("name = input('Who are you? ')"),
        code("import getpass\ngetpass.getpass()"),
        code("from ipywidgets import interact\ninteract(lambda x: print(x), x=(0, 3));"),
        code(
            "import time\nfrom cvcourse.widgets import Lab, Slider, Scene, text\n"
            "Lab(lambda x: Scene(text(str(x))), x=Slider(0, 3))"
        ),
    ]
    graded = grade(notebook)
    assert graded.points == FULL
    assert not (graded.folder / "it-ran").exists()


def test_an_endless_loop_costs_its_own_exercise_only(
    course, grade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(course.room.api.config.GradeOutside, "seconds", 1.0)
    graded = grade(course.answered(moving_sum=ENDLESS))
    assert graded.points == FULL | {"moving_sum": 0.0}
    assert "timeout" in graded.feedback()


def test_an_endless_loop_in_nbgraders_own_kernel(
    kernel_course, grade_in_kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kernel_course.room.api.config.Execute, "timeout", 10)
    graded = grade_in_kernel(kernel_course.answered(moving_sum=ENDLESS))
    assert graded.points == FULL | {"moving_sum": 0.0}
    assert "Timeout" in graded.feedback()


# A learner's own meaning of `check`


def test_a_redefinition_of_check_earns_and_costs_nothing(course, grade) -> None:
    """The verdict does not come from the notebook's own `check`."""
    assert grade(course.answered(moving_sum=REDEFINED)).points == FULL | {"moving_sum": 0.0}
    number = "check = lambda *args, **kwargs: float('nan')"
    assert grade(course.answered(moving_sum=number)).points == FULL | {"moving_sum": 0.0}


def test_a_redefinition_of_check_in_nbgraders_own_kernel(kernel_course, grade_in_kernel) -> None:
    """A cell without a verdict earns nothing and says why. (A forged one would count: hence the
    sandbox.)"""
    graded = grade_in_kernel(kernel_course.answered(moving_sum=REDEFINED))
    assert graded.points == dict.fromkeys(FULL, 0.0)
    assert "earns no points. Does the notebook give another meaning to the name `check`?" in (
        cell(graded.notebook, "check_moving_sum").outputs[0].evalue
    )
    assert "another meaning to the name" in graded.feedback()


def test_a_number_as_check_in_nbgraders_own_kernel(kernel_course, grade_in_kernel) -> None:
    notebook = kernel_course.answered(moving_sum="check = lambda *args, **kwargs: float('nan')")
    assert set(grade_in_kernel(notebook).points.values()) == {0.0}


# Damaged check cells


def test_a_deleted_check_cell(course, grade) -> None:
    graded = grade(without(course.answered(), "check_moving_sum"))
    assert graded.points == FULL
    assert (
        "The check <code>moving_sum</code> was missing; the released one was put back"
        in graded.feedback()
    )


def test_a_deleted_check_cell_in_nbgraders_own_kernel(kernel_course, grade_in_kernel) -> None:
    graded = grade_in_kernel(without(kernel_course.answered(), "check_moving_sum"))
    assert graded.points == FULL
    assert "The cell <code>check_moving_sum</code> was missing" in graded.feedback()


def test_deleted_exercise_check_and_question(course, grade) -> None:
    notebook = without(course.answered(), "moving_sum", "check_moving_sum", "question_blur")
    graded = grade(notebook)
    assert graded.points == FULL | {"moving_sum": 0.0}
    assert (graded.grades["question_blur"].points, graded.grades["question_blur"].is_manual) == (
        0.0,
        False,
    )


def test_a_renamed_check_cell(course, grade) -> None:
    notebook = course.answered()
    cell(notebook, "check_moving_sum").metadata["nbgrader"]["grade_id"] = "my_check"
    assert grade(notebook).points == FULL


def test_a_copied_check_cell(course, grade) -> None:
    notebook = course.answered(moving_sum="pass")
    for name in ("check_Scale", "Scale", "check_moving_sum", "question_blur"):
        twin = copy.deepcopy(cell(notebook, name))
        twin["id"] = f"{name}-copy"
        notebook.cells.insert(3, twin)
    assert grade(notebook).points == FULL | {"moving_sum": 0.0}


def test_a_changed_check_cell(course, grade) -> None:
    notebook = course.answered(moving_sum="pass")
    check = cell(notebook, "check_moving_sum")
    check.source = "3"
    check.metadata["nbgrader"] |= {"points": 500, "locked": False, "grade": False, "solution": True}
    cell(notebook, "check_Scale").cell_type = "markdown"
    for name in ("outputs", "execution_count"):
        cell(notebook, "check_Scale").pop(name)
    graded = grade(notebook)
    assert graded.points == FULL | {"moving_sum": 0.0}
    assert graded.grades["check_moving_sum"].max_points == 3


def test_one_dead_submission_ending_the_batch(mini: Path, course) -> None:
    """A kernel that dies costs its own submission; the others are graded."""
    (mini / "nbgrader_config.py").write_text("", encoding="utf-8")
    room = Classroom(mini)
    room.release("90_mini")
    room.submit("anne", "90_mini", course.answered(moving_sum="import os\nos._exit(0)"))
    room.submit("zoe", "90_mini", course.answered())
    room.api.autograde("90_mini", "*")
    assert room.grades("90_mini", "zoe")["check_moving_sum"].points == 3
