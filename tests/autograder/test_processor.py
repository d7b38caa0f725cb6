"""What does not hold on a processor is found."""

from __future__ import annotations

from autograder.authoring.processor import problems_here

UNIT = "90_mini"


def test_a_sound_unit_has_no_problems(mini):
    assert problems_here(UNIT, mini) == []


def test_numbers_that_come_out_otherwise_are_found(mini):
    path = mini / "solutions" / UNIT / "exercises.toml"
    path.write_text(path.read_text().replace('to = "x + self"', 'to = "x + 2 * self"'))
    problems = problems_here(UNIT, mini)
    assert any("holds other numbers than its solution gives" in problem for problem in problems)
    assert "Scale takes 'the gain added' for 'nothing'" in problems


def test_a_right_answer_that_is_refused_is_found(mini):
    path = mini / "solutions" / UNIT / "wheats.py"
    path.write_text(path.read_text().replace('"weights": 9', '"weights": 8'))
    assert any("counts: the right solution" in problem for problem in problems_here(UNIT, mini))
