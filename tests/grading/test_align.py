"""Alignment: whatever was done to a submission's cells, what is graded is the release with the
learner's sources."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
from gradebook_course import UNIT
from grading_class import FULL

from autograder.grading.align import Cell, Role, align, match, released_cells
from autograder.grading.intake import RawCell, cells_of


@pytest.fixture(scope="module")
def release(released_mini: Path) -> list[Cell]:
    notebook = json.loads(
        (released_mini / "course" / UNIT / f"{UNIT}.ipynb").read_text(encoding="utf-8")
    )
    return released_cells(notebook)


@pytest.fixture
def submitted(released_mini: Path) -> list[RawCell]:
    return cells_of((released_mini / "course" / UNIT / f"{UNIT}.ipynb").read_bytes())


def changed(cell: RawCell, **parts: str) -> RawCell:
    return RawCell(**{**vars(cell), **parts})


def place_of(cells: list[RawCell], name: str) -> int:
    return next(index for index, cell in enumerate(cells) if cell.grade_id == name)


def roles(cells: tuple[Cell, ...], role: Role) -> list[str]:
    return [cell.name for cell in cells if cell.role is role]


def test_every_released_cell_has_its_role(release):
    found = {role: [cell.name for cell in release if cell.role is role] for role in Role}
    assert found[Role.EXERCISE] == list(FULL)
    assert found[Role.CHECK] == [f"check_{name}" for name in FULL]
    assert found[Role.QUESTION] == ["question_blur"]
    assert [len(found[role]) for role in (Role.NAMESPACE, Role.COSTLY, Role.CODE)] == [1, 1, 0]
    assert [cell.exercise for cell in release if cell.role is Role.CHECK] == list(FULL)


def test_an_untouched_submission_is_the_release(release, submitted):
    aligned = align(submitted, release)
    assert list(aligned.cells) == release
    assert aligned.notes == ()


def test_what_the_learner_writes_is_kept_and_nothing_else_of_the_cell(release, submitted):
    place = place_of(submitted, "moving_sum")
    submitted[place] = changed(submitted[place], source="def moving_sum(): pass")
    aligned = align(submitted, release)
    assert aligned.cells[place].source == "def moving_sum(): pass"
    assert aligned.cells[place].metadata == release[place].metadata
    assert aligned.notes == ()


def test_an_edited_check_is_the_released_one_again(release, submitted):
    place = place_of(submitted, "check_Scale")
    submitted[place] = changed(submitted[place], source="2.0")
    aligned = align(submitted, release)
    assert aligned.cells[place] == release[place]
    assert aligned.notes == ("The check `Scale` had been edited; the released one counts",)


@pytest.mark.parametrize("name", ["moving_sum", "check_moving_sum", "question_blur"])
def test_a_deleted_cell_is_put_back_in_its_place(release, submitted, name):
    del submitted[place_of(submitted, name)]
    aligned = align(submitted, release)
    assert [cell.id for cell in aligned.cells] == [cell.id for cell in release]
    assert [note.split(" was missing")[0] for note in aligned.notes] == [
        {
            "moving_sum": "The exercise `moving_sum`",
            "check_moving_sum": "The check `moving_sum`",
        }.get(name, "The question `question_blur`")
    ]


def test_the_set_up_is_put_back_and_a_deleted_text_is_not(release, submitted):
    texts = [index for index, cell in enumerate(release) if cell.role is Role.TEXT]
    set_up = next(index for index, cell in enumerate(release) if cell.role is Role.NAMESPACE)
    for index in sorted({texts[0], set_up}, reverse=True):
        del submitted[index]
    aligned = align(submitted, release)
    assert aligned.cells[0].role is Role.NAMESPACE
    assert release[texts[0]].id not in {cell.id for cell in aligned.cells}
    assert len(aligned.notes) == 1


def test_of_copies_the_last_one_counts(release, submitted):
    place = place_of(submitted, "moving_sum")
    submitted.append(changed(submitted[place], source="moving_sum = 'the last'"))
    aligned = align(submitted, release)
    exercises = [cell for cell in aligned.cells if cell.name == "moving_sum"]
    assert [cell.source for cell in exercises] == ["moving_sum = 'the last'"]
    assert aligned.cells[place].role is Role.CODE
    assert "The exercise `moving_sum` was copied; the last copy counts" in aligned.notes
    # Its check would come before it.
    names = [cell.name for cell in aligned.cells]
    assert names.index("check_moving_sum") == names.index("moving_sum") + 1
    assert (
        "The check `moving_sum` stood before its exercise; it was moved behind it" in aligned.notes
    )


def test_a_retyped_cell_has_its_own_type_again(release, submitted):
    place = place_of(submitted, "Scale")
    submitted[place] = changed(submitted[place], cell_type="raw")
    aligned = align(submitted, release)
    assert aligned.cells[place].cell_type == "code"
    assert aligned.notes == ("The exercise `Scale` had been turned into raw; it is code again",)


def test_lost_metadata_and_lost_ids_are_repaired(release, submitted):
    by_id = align([changed(cell, grade_id="") for cell in submitted], release)
    by_name = align([changed(cell, id="") for cell in submitted], release)
    assert list(by_id.cells) == list(by_name.cells) == release
    assert by_name.notes == ()
    assert len(by_id.notes) == 7
    assert (
        "The check `counts` had lost its name or carried another; it has its own again"
        in by_id.notes
    )


def test_without_ids_and_names_the_text_tells(release, submitted):
    bare = [changed(cell, id=f"new-{index}", grade_id="") for index, cell in enumerate(submitted)]
    assert [cell.name for cell in align(bare, release).cells] == [cell.name for cell in release]


def test_two_cells_that_swapped_their_names_stay_what_their_ids_say(release, submitted):
    one, other = place_of(submitted, "moving_sum"), place_of(submitted, "Scale")
    submitted[one], submitted[other] = (
        changed(submitted[one], grade_id="Scale"),
        changed(submitted[other], grade_id="moving_sum"),
    )
    aligned = align(submitted, release)
    assert list(aligned.cells) == release
    assert len(aligned.notes) == 2


def test_own_cells_stay_in_place_with_ids_of_their_own(release, submitted):
    clash = RawCell("x = 1", "code", "own-1")
    aligned = align([submitted[0], clash, RawCell("words", "heading"), *submitted[1:]], release)
    own = [cell for cell in aligned.cells if cell.metadata is None]
    assert [(cell.role, cell.source) for cell in own] == [
        (Role.CODE, "x = 1"),
        (Role.TEXT, "words"),
    ]
    assert aligned.cells[1:3] == tuple(own)


def test_a_copy_of_a_costly_cell_is_costly_and_an_edited_one_is_the_learners(release, submitted):
    source = next(cell.source for cell in release if cell.role is Role.COSTLY)
    copies = [RawCell(f"{source}\n", "code", "copy"), RawCell(f"{source}\nx = 1", "code", "edited")]
    aligned = align([*submitted, *copies], release)
    assert [cell.role for cell in aligned.cells if cell.metadata is None] == [
        Role.COSTLY,
        Role.CODE,
    ]


def test_an_empty_notebook_becomes_the_release_without_its_texts(release):
    aligned = align([], release)
    assert roles(aligned.cells, Role.CHECK) == [f"check_{name}" for name in FULL]
    assert [cell.id for cell in aligned.cells] == [
        cell.id for cell in release if cell.role not in (Role.TEXT, Role.COSTLY, Role.CODE)
    ]


def test_a_cell_posing_as_a_check_gives_no_second_check(release, submitted):
    fake = RawCell("check = print", "code", "mine", "check_moving_sum")
    aligned = align([*submitted, fake], release)
    checks = [cell for cell in aligned.cells if cell.role is Role.CHECK]
    assert sorted(cell.source for cell in checks) == sorted(
        cell.source for cell in release if cell.role is Role.CHECK
    )


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_done_every_graded_cell_is_there_once_behind_its_exercise(
    release, submitted, seed
):
    """Any mixture of deleting, copying, moving, retyping and renaming."""
    chance = random.Random(seed)
    cells = copy.copy(submitted)
    for _ in range(chance.randrange(1, 12)):
        place = chance.randrange(len(cells)) if cells else 0
        action = chance.choice(["delete", "copy", "move", "retype", "rename", "blank", "own"])
        if action == "own" or not cells:
            cells.insert(place, RawCell("pass", "code", chance.choice(["", "own-0", "x"])))
        elif action == "delete":
            del cells[place]
        elif action == "copy":
            cells.insert(chance.randrange(len(cells)), cells[place])
        elif action == "move":
            cells.insert(chance.randrange(len(cells)), cells.pop(place))
        elif action == "retype":
            cells[place] = changed(
                cells[place], cell_type=chance.choice(["raw", "markdown", "code", ""])
            )
        elif action == "rename":
            name = chance.choice(["", "check_counts", "Scale", "nobody"])
            cells[place] = changed(
                cells[place], grade_id=name, id=chance.choice(["", cells[place].id])
            )
        else:
            cells[place] = changed(cells[place], source="")
    aligned = align(cells, release).cells
    names = [cell.name for cell in aligned if cell.name]
    assert sorted(names) == sorted(cell.name for cell in release if cell.name)
    assert all(names.index(f"check_{name}") > names.index(name) for name in FULL)
    assert len({cell.id for cell in aligned}) == len(aligned)
    kinds = {cell.name: cell.cell_type for cell in release if cell.name}
    assert all(cell.cell_type == kinds[cell.name] for cell in aligned if cell.name)


def test_a_text_is_matched_once(release):
    """Two cells without ids that say the same are two cells."""
    text = next(cell for cell in release if cell.role is Role.TEXT)
    twice = [RawCell(text.source, "markdown", "a"), RawCell(text.source, "markdown", "b")]
    assert [place is not None for place in match(twice, release)] == [True, False]
