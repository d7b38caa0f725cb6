"""The benchmark and the rehearsal, in small: classes are what they say, and a few submissions go
all the way."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from autograder.checking.verdict import CaseVerdict, Hint, State, Verdict
from autograder.grading.result import Result
from docs.measure import classes, figures, grading, rehearsal

UNIT = "01_convolution"


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> classes.Makers:
    """What makes submissions of the unit that is measured."""
    return classes.makers_of(tmp_path_factory.mktemp("measured") / "course", UNIT)


def texts(folder: Path, submissions: list[classes.MadeSubmission]) -> list[str]:
    """The notebooks that are handed in."""
    classes.hand_in(folder, UNIT, submissions)
    return [
        (folder / "submitted" / item.student / UNIT / f"{UNIT}.ipynb").read_text()
        for item in submissions
    ]


def test_sixty_honest_submissions_differ_and_are_all_graded_in_full(
    makers: classes.Makers, tmp_path: Path
):
    submissions = classes.honest_class(makers, 60)
    assert len(set(texts(tmp_path, submissions))) == 60
    assert {item.kind for item in submissions} == {
        *(
            classes.RIGHT,
            classes.MISCONCEPTION,
            classes.MIXTURE,
            classes.STUB,
            classes.BROKEN,
            classes.DAMAGED,
        )
    }
    known = [mark for item in submissions for mark in item.marks.values()]
    assert len(known) == 60 * len(makers.exercises) and all(
        mark.points is not None for mark in known
    )


def test_the_rehearsal_holds_every_misconception_refusal_and_attack(makers: classes.Makers):
    submissions = classes.rehearsal_class(makers, 300)
    kinds = Counter(item.kind for item in submissions)
    assert len(submissions) == len({item.student for item in submissions}) == 300
    assert kinds[classes.MISCONCEPTION] == sum(
        misconception.is_first for item in makers.exercises for misconception in item.misconceptions
    )
    assert kinds[classes.REFUSED] == len(classes.REFUSALS)
    attacks = (classes.ATTACKS, classes.ATTACKS_THAT_REACH, classes.ATTACKS_IN_EXERCISE)
    assert kinds[classes.HOSTILE] == sum(map(len, attacks)) + 1


def test_what_a_misconception_earns_is_less_than_all(makers: classes.Makers):
    for item in makers.exercises:
        for index, misconception in enumerate(item.misconceptions):
            mark = makers.mark_of(item.name, index)
            assert 0 <= mark.points < item.points and mark.diagnosis == misconception.name
            assert mark.state in (State.WRONG, State.ERROR)


def result_of(state: State, points: float, diagnosis: str) -> Result:
    """A result of one exercise."""
    hint = Hint(diagnosis, "") if diagnosis else None
    verdict = Verdict("f", state, points, 3.0, (CaseVerdict(state, "f()", "", points),), hint)
    return Result("ada", UNIT, verdicts={"f": verdict})


def test_the_rehearsal_says_what_is_not_as_expected():
    mark = classes.Mark(1.5, State.WRONG, "a slip")
    item = classes.MadeSubmission(
        "ada", classes.MISCONCEPTION, "", lambda folder, unit: None, {"f": mark}
    )
    assert rehearsal.problems_of(item, result_of(State.WRONG, 1.5, "a slip")) == []
    assert len(rehearsal.problems_of(item, result_of(State.RIGHT, 3.0, ""))) == 3
    assert rehearsal.problems_of(item, None) == ["there is no result"]
    assert rehearsal.problems_of(item, Result("ada", UNIT, refused="is no notebook")) != []


def test_missed_bars_are_named():
    fine = grading.Figures(60, nbgrader=180.0, grade=7.0, regrade=1.0)
    assert fine.missed == []
    slow = grading.Figures(
        60, nbgrader=60.0, grade=7.0, regrade=3.0, differences=["ada: 1 for f, 2 by nbgrader"]
    )
    assert len(slow.missed) == 3


def test_blocks_of_the_page_are_replaced_and_kept(tmp_path: Path):
    page = tmp_path / "figures.md"
    page.write_text("# Figures\n\nText.\n")
    figures.write_block("grading", "one", page)
    figures.write_block("rehearsal", "two", page)
    figures.write_block("grading", "three", page)
    assert page.read_text().startswith("# Figures\n\nText.\n")
    assert figures.kept_blocks(page) == [
        "<!-- begin grading -->\nthree\n<!-- end grading -->",
        "<!-- begin rehearsal -->\ntwo\n<!-- end rehearsal -->",
    ]


needs_sandbox = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)


@needs_sandbox
def test_a_quick_benchmark(tmp_path: Path):
    found = grading.measure(tmp_path, 3, say=lambda words: None)
    assert found.differences == [] and found.surprises == []
    assert 0 < found.first_verdict < found.grade < found.nbgrader
    assert found.regrade < found.grade
    assert found.server_memory > 50 * 2**20 and 0 < found.own_memory < found.submission_memory
    assert f"{found.ratio:.1f} times" in grading.section(found)
    json.dumps(grading.asdict(found))


@needs_sandbox
def test_a_quick_rehearsal(tmp_path: Path):
    found, handed_in = rehearsal.rehearse(tmp_path, 9, say=lambda words: None)
    assert found.problems == {}
    assert {item.kind for item in handed_in} >= {classes.REFUSED, classes.HOSTILE, classes.RIGHT}
    assert "| all | 9 | 9 |" in rehearsal.section(found, handed_in)
