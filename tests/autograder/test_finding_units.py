"""Units found by name and number, in each of the ways that commands ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from autograder.errors import CourseError
from autograder.units import chosen_units, named, unit_of_course, unit_to_grade, units

ASK = {
    "lesson": lambda root, name: chosen_units([name], root)[0],
    "report": lambda root, name: unit_of_course(root, name, ["solutions", "submitted/*"]),
    "grade": lambda root, name: unit_to_grade(root, name),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for unit in ("01_first", "02_second"):
        folder = tmp_path / "solutions" / unit
        folder.mkdir(parents=True)
        (folder / f"{unit}.py").touch()
    return tmp_path


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("name", ["01", "01_first", "01_first/"])
def test_a_unit_is_found_by_name_and_number(root: Path, ask: str, name: str) -> None:
    assert ASK[ask](root, name) == "01_first"


@pytest.mark.parametrize("ask", ["lesson", "report"])
def test_an_unknown_unit_gets_the_same_sentence_everywhere(root: Path, ask: str) -> None:
    with pytest.raises(CourseError) as error:
        ASK[ask](root, "03")
    assert str(error.value) == "There is no unit 03: the units are 01_first, 02_second."


def test_grading_says_itself_what_is_missing(root: Path) -> None:
    assert unit_to_grade(root, "03_third") == "03_third"


def test_no_name_means_every_lesson(root: Path) -> None:
    (root / "solutions" / "03_no_lesson").mkdir()
    assert chosen_units([], root) == units(root) == ["01_first", "02_second"]


def test_a_report_finds_what_was_only_handed_in(root: Path) -> None:
    (root / "submitted" / "ada" / "07_seventh").mkdir(parents=True)
    assert ASK["report"](root, "07") == "07_seventh"
    with pytest.raises(CourseError, match="There is no unit 07"):
        ASK["lesson"](root, "07")


def test_a_number_that_two_units_share_is_no_name() -> None:
    assert named("01", ["01_first", "01_other"]) is None
    assert named("01_other", ["01_first", "01_other"]) == "01_other"
