"""`python -m autograder.demo`: a class is played through a unit, and wrong grades are noticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autograder import demo
from autograder.authoring.lesson import read_lesson
from autograder.authoring.wheat import load_wheats
from autograder.demo import Cast, Classroom, main, problems_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's own queries
NAMES = [
    "ada",
    "bo",
    "cy",
    "dee",
    "ed",
    "fay",
    "gil",
    "hal",
    "ida",
    "jon",
    "kim",
    "lou",
    "mia",
    "ned",
]


@pytest.fixture
def here(mini: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The miniature course in the place of the real one."""
    monkeypatch.setattr(demo, "ROOT", mini)
    monkeypatch.setattr("autograder.units.ROOT", mini)
    monkeypatch.setenv("COLUMNS", "100")
    return mini


def test_a_class_played_through_a_unit(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "kept"
    assert main(["90", "--keep", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Every grade is as it must be." in shown
    rows = {
        line.split()[0]: line
        for line in shown.splitlines()
        if line.split()[:1] and line.split()[0] in NAMES
    }
    assert list(rows) == NAMES
    assert "✓✓✓" in rows["ada"] and "6 of 6" in rows["ada"]
    assert "···" in rows["bo"] and "0 of 6" in rows["bo"]
    assert "the last window left out" in rows["cy"]
    assert (folder / "feedback" / "cy" / "90_mini" / "90_mini.html").exists()

    room = Classroom(folder)
    lesson = read_lesson(here / "solutions" / "90_mini")
    release = room.release("90_mini")
    ada, _, cy, *_ = Cast(lesson, release, load_wheats(lesson.folder / "wheats.py")).students()
    assert problems_of(room, "90_mini", ada) == []
    assert problems_of(room, "90_mini", replace(ada, expected={"Scale": 1.0})) == [
        "ada has 2.0 points for Scale in place of 1"
    ]
    assert problems_of(room, "90_mini", replace(cy, diagnoses={"Scale": "another"})) == [
        "cy reads \"the first channel's gain for all channels\" about Scale in place of 'another'"
    ]


def test_bad_arguments(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "notes").write_text("mine")
    assert main(["90", "--keep", str(tmp_path)]) == 2
    assert "is not empty: name a new folder." in capsys.readouterr().err
    assert main(["77"]) == 2
    assert "There is no unit 77: the units are 90_mini." in capsys.readouterr().err
