"""Every attack: nothing gained, nobody else harmed, nothing left behind."""

from __future__ import annotations

import io

import pytest

from autograder.grading.grade import Options, grade_unit
from autograder.grading.result import ResultStore
from autograder.grading.terminal import summary
from autograder.reports.class_page import html, terminal_view
from autograder.reports.class_report import class_report

from .attack import HEADINGS, MARK, Attack
from .attacks import ATTACKS
from .classroom import BYSTANDER, LIMITS, UNIT, Attacked, Seen, broken, processes_of_sandboxes
from .pages import CONTROL, acting, acting_outputs
from .pairs import PAIRS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.heading}: {attack.name}")
def test_an_attack_gains_and_harms_nothing(seen: Seen, attack: Attack):
    assert broken(attack, seen) == []


def test_there_are_attacks_under_every_heading_and_no_name_twice():
    assert {attack.heading for attack in ATTACKS} == set(HEADINGS)
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60


def test_the_class_came_through(seen: Seen):
    assert len(seen.graded.results) == 2 * len(ATTACKS) + 1
    assert seen.graded.interrupted == 0
    refused = {seen.student(attack) for attack in ATTACKS if attack.refused}
    assert set(seen.graded.problems) == refused


def test_files_of_the_host_are_as_they_were(seen: Seen):
    assert seen.before == seen.after
    assert (seen.target.outside / "canary.txt").exists()


def test_the_bystanders_grades_are_as_they_were(seen: Seen):
    assert seen.rows_before == seen.rows_after
    assert len(seen.rows_before) == 4
    assert seen.points(BYSTANDER) == 6


def test_no_process_outlives_the_run(seen: Seen):
    assert set(processes_of_sandboxes()) <= set(seen.standing)


def test_what_the_instructor_reads_in_a_terminal_obeys_nobody(seen: Seen):
    from rich.console import Console

    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=False)
    console.print(summary(seen.graded))
    console.print(terminal_view(class_report(seen.root, UNIT)))
    assert CONTROL.findall(text.getvalue().replace("\n", "")) == []
    text.getvalue().encode()  # raises where a lone surrogate came through


def test_the_class_report_holds_no_script(seen: Seen):
    page = html(class_report(seen.root, UNIT))
    assert MARK in page  # the evidence is shown
    assert acting(page) == []


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.heading}: {attack.name}")
def test_no_graded_notebook_holds_script(seen: Seen, attack: Attack):
    text = seen.graded_text(seen.student(attack))
    assert bool(text) == (not attack.refused)
    assert not text or acting_outputs(text) == []


def injections() -> list[Attack]:
    return [attack for attack in ATTACKS if attack.heading == "injection"]


@pytest.mark.parametrize("attack", injections(), ids=lambda attack: attack.name)
def test_no_feedback_holds_script(attacked: Attacked, seen: Seen, attack: Attack):
    page = attacked.room.give_feedback(UNIT, seen.student(attack)).read_text(encoding="utf-8")
    assert acting(page) == []
    assert "<script" not in page or 'nonce="' in page
    assert "Content-Security-Policy" in page


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_two_submissions_that_run_together_do_not_meet(attacked: Attacked, seen: Seen, pair):
    students = (f"{pair.name}.giver", f"{pair.name}.taker")
    for student, attack in zip(students, (pair.giver, pair.taker), strict=True):
        attacked.hand_in(student, attack)
    graded = grade_unit(
        attacked.root,
        UNIT,
        Options(students=students, limits=LIMITS, workers=2, add_students=True, again=True),
    )
    assert graded.problems == {}
    giver, taker = (ResultStore(attacked.root).read(UNIT, student) for student in students)
    assert taker.verdicts["moving_sum"].points == 0
    assert [giver.verdicts[name].state for name in ("Scale", "counts")] == ["right", "right"]
    assert [taker.verdicts[name].state for name in ("Scale", "counts")] == ["right", "right"]
