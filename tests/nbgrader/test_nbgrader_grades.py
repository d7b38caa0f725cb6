"""What nbgrader makes of right, stub, wrong and partly right submissions."""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbgrader.validator import Validator
from traitlets.config import Config

from autograder.checking.key_files import VISIBLE_FILES
from autograder.demo import Classroom
from autograder.nbgrader_config import configure

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's own queries
FULL = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}
NOTHING = dict.fromkeys(FULL, 0.0)
UNANSWERED = "*Write your answer here.*"
WORDS = "*Because the window adds what cancels.*"


def test_generate_assignment_gives_what_the_build_gives(mini: Path) -> None:
    built = (mini / "course" / "90_mini" / "90_mini.ipynb").read_bytes()
    shutil.rmtree(mini / "course")
    Classroom(mini).release("90_mini")
    generated = nbformat.read(mini / "course" / "90_mini" / "90_mini.ipynb", as_version=4)
    expected = nbformat.reads(built.decode(), as_version=4)
    assert [cell.id for cell in generated.cells] == [cell.id for cell in expected.cells]
    assert generated.cells == expected.cells
    names = {path.name for path in (mini / "course" / "90_mini").iterdir()}
    assert names == {"90_mini.ipynb", "probes.py", *VISIBLE_FILES}


def test_a_right_submission_earns_all_points(course, grade) -> None:
    assert grade(course.answered()).points == FULL


def test_an_untouched_notebook_earns_nothing(course, grade) -> None:
    graded = grade(course.release)
    assert graded.points == NOTHING
    assert "not attempted" in graded.feedback()


def test_a_wrong_answer_earns_nothing_and_names_the_mistake(course, grade) -> None:
    graded = grade(
        course.answered(moving_sum=course.solutions["moving_sum"].replace(".sum()", ".mean()"))
    )
    assert graded.points == FULL | {"moving_sum": 0.0}
    page = graded.feedback()
    assert "exactly what moving_sum gives with a mean in place of the sum" in page
    assert "Try a signal of ones." in page
    assert len(re.findall(r'<section class="cv-check right">', page)) == 2
    assert len(re.findall(r'<section class="cv-check wrong">', page)) == 1


@pytest.mark.parametrize(
    ("source", "points"),
    [
        # `output` and `slope` share the points alike: the first is right, the second finds no
        # gradient.
        (("    length = ", "    signal = signal.detach()\n    length = "), 1.5),
        # Right where the width is 2: two of the five cases of `output`, none of `slope`.
        (("    length = ", "    width = 2\n    length = "), 0.5),
    ],
)
def test_a_partly_right_answer_earns_its_fraction(
    course, grade, source: tuple[str, str], points: float
) -> None:
    graded = grade(course.answered(moving_sum=course.solutions["moving_sum"].replace(*source)))
    assert graded.points == FULL | {"moving_sum": points}
    assert f"{points:g} of 3 points" in graded.feedback()


def test_one_of_two_answers_earns_half(course, grade) -> None:
    assert grade(course.answered(counts="weights = 9\nshare = None")).points == FULL | {
        "counts": 0.5
    }


def test_hidden_cases_count(course, grade) -> None:
    """A table of the visible cases' lengths is no answer."""
    source = course.solutions["moving_sum"].replace(
        "    length = ",
        "    if len(signal) in (12, 6) and width != 3:\n        return signal\n    length = ",
    )
    graded = grade(course.answered(moving_sum=source))
    assert graded.points["moving_sum"] == pytest.approx(3 * (4 / 6 + 1) / 2)
    assert "hidden case" in graded.feedback()


def test_a_written_answer_waits_for_a_person(course, grade) -> None:
    written = grade(course.answered(question_blur=WORDS)).grades["question_blur"]
    assert (written.points, written.max_points, written.is_manual) == (None, 2.0, True)


def test_an_untouched_question_is_no_work_for_a_person(course, grade) -> None:
    written = grade(course.release).grades["question_blur"]
    assert (written.points, written.is_manual) == (0.0, False)


def test_feedback_escapes_what_a_check_shows_of_learners_code(course, grade) -> None:
    attack = 'raise ValueError("<script>alert(1)</script>")\n    length = '
    graded = grade(
        course.answered(moving_sum=course.solutions["moving_sum"].replace("length = ", attack))
    )
    tables = re.findall(
        r'<section class="cv-check wrong">.*?</section>', graded.feedback(), re.DOTALL
    )
    assert len(tables) == 1
    assert "<script>" not in tables[0]
    assert html.escape("<script>alert(1)</script>") in tables[0]


def test_a_grade_is_the_same_again(course, grade) -> None:
    notebook = course.answered(
        moving_sum=course.solutions["moving_sum"].replace(
            "    length = ", "    width = 2\n    length = "
        )
    )
    assert grade(notebook).points == grade(notebook).points == FULL | {"moving_sum": 0.5}


# Validate, as the button in JupyterLab does it


def validate(notebook: Path) -> dict[str, list[dict[str, str]]]:
    return Validator(config=configure(Config())).validate(str(notebook))


def failed_checks(notebook: Path) -> list[str]:
    return [cell["source"].splitlines()[0] for cell in validate(notebook).get("failed", [])]


def test_validate_accepts_the_source_with_its_hidden_cases(mini: Path) -> None:
    assert validate(mini / "solutions" / "90_mini" / "90_mini.ipynb") == {}


def test_validate_refuses_the_untouched_release(mini: Path) -> None:
    failed = failed_checks(mini / "course" / "90_mini" / "90_mini.ipynb")
    assert failed == [
        "check(moving_sum)",
        "check(Scale)",
        "check(weights=weights, share=share)",
        UNANSWERED,
    ]


@pytest.mark.parametrize(
    ("change", "failed"),
    [(("", ""), []), ((".sum()", ".mean()"), ["check(moving_sum)"])],
    ids=["right", "wrong"],
)
def test_validate_of_a_learners_notebook(
    course, mini: Path, change: tuple[str, str], failed: list[str]
) -> None:
    path = mini / "course" / "90_mini" / "90_mini.ipynb"
    source = course.solutions["moving_sum"].replace(*change)
    nbformat.write(course.answered(moving_sum=source, question_blur=WORDS), path)
    assert failed_checks(path) == failed


def test_a_verdict_is_data_in_the_graded_notebook(course, grade) -> None:
    graded = grade(course.answered(Scale=course.solutions["Scale"].replace("x * self", "x + self")))
    verdict = graded.room.verdicts("90_mini", graded.student)["Scale"]
    assert (verdict["state"], verdict["points"], verdict["diagnosis"]) == (
        "wrong",
        0.0,
        "the gain added",
    )
    assert json.loads(json.dumps(verdict)) == verdict
    assert copy.deepcopy(verdict) == verdict


def test_feedback_says_which_answers_wait(course, grade) -> None:
    """A written answer that nobody has read yet is not worth 0."""
    page = grade(course.answered(question_blur="Neighbours with other signs cancel.")).feedback()
    assert "points so far; 1 answer waits for a person" in " ".join(page.split())
    assert 'title="not graded yet"' in page
