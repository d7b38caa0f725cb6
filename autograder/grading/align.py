"""Alignment: a submission's cells, brought back in line with the released notebook.

The release says which cells there are, what they are for, and what the locked ones say; the
submission gives the sources of the rest, and cells of the learner's own. Metadata of a submission
decides nothing. What had to be repaired is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from autograder.cells import CHECK, COSTLY_TAGS, NAMESPACE_TAGS
from autograder.grading.intake import RawCell
from autograder.words import first_line


class Role(StrEnum):
    """What a cell is for."""

    TEXT = "text"
    CODE = "code"  # run; nothing is graded
    NAMESPACE = "namespace"  # run; later cells need it
    COSTLY = "costly"  # training, widgets and figures: not run
    EXERCISE = "exercise"
    CHECK = "check"
    QUESTION = "question"  # a person grades it


RUN = frozenset({Role.CODE, Role.NAMESPACE, Role.EXERCISE})
WHAT = {Role.EXERCISE: "the exercise", Role.CHECK: "the check", Role.QUESTION: "the question"}


@dataclass(frozen=True)
class Cell:
    """One cell of an aligned notebook.

    name: nbgrader's name where it has one. metadata: the release's; None for a learner's own cell.
    """

    id: str
    role: Role
    cell_type: str
    source: str
    name: str = ""
    metadata: Mapping[str, Any] | None = None

    @property
    def exercise(self) -> str:
        """The exercise that a check cell checks."""
        return self.name.removeprefix(CHECK)


@dataclass(frozen=True)
class Aligned:
    """A submission in line with the release, and what was repaired."""

    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()


def released_cells(notebook: Mapping[str, Any]) -> list[Cell]:
    """The cells of a released notebook, with what each is for."""
    return [
        Cell(
            cell["id"],
            role_of(cell),
            cell["cell_type"],
            cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"]),
            cell["metadata"].get("nbgrader", {}).get("grade_id", ""),
            cell["metadata"],
        )
        for cell in notebook["cells"]
    ]


def role_of(cell: Mapping[str, Any]) -> Role:
    """What a released cell is for."""
    flags, tags = cell["metadata"].get("nbgrader", {}), set(cell["metadata"].get("tags", []))
    if (flags.get("grade") and flags.get("solution")) or flags.get("task"):
        return Role.QUESTION
    if cell["cell_type"] != "code":
        return Role.TEXT
    if flags.get("grade"):
        return Role.CHECK
    if flags.get("solution"):
        return Role.EXERCISE
    if tags & COSTLY_TAGS:
        return Role.COSTLY
    return Role.NAMESPACE if tags & NAMESPACE_TAGS else Role.CODE


def align(submitted: Sequence[RawCell], release: Sequence[Cell]) -> Aligned:
    """Bring submitted cells in line with the released ones."""
    places = match(submitted, release)
    notes = [
        f"{named(release[place])} was copied; the last copy counts"
        for place in copied(places, release)
    ]
    costly = {cell.source.strip() for cell in release if cell.role is Role.COSTLY}
    cells: list[Cell] = []
    for index, (raw, place) in enumerate(zip(submitted, places, strict=True)):
        if place is None or place in places[index + 1 :]:
            cells.append(own_cell(raw, costly))
        else:
            cell, note = restored(raw, release[place])
            cells.append(cell)
            notes += note
    for place in range(len(release)):
        if place not in places:
            notes += put_back(cells, release, place)
    notes += move_checks(cells)
    return Aligned(tuple(with_own_ids(cells)), tuple(notes))


def match(submitted: Sequence[RawCell], release: Sequence[Cell]) -> list[int | None]:
    """The place in the release of each submitted cell; None for one that is the learner's own.

    Cells are told by id, else by name, else by the same text.
    """
    by_id = {cell.id: place for place, cell in enumerate(release)}
    by_name = {cell.name: place for place, cell in enumerate(release) if cell.name}
    places = [by_id.get(raw.id, by_name.get(raw.grade_id)) for raw in submitted]
    taken = set(places)
    by_text = {
        cell.source.strip(): place for place, cell in enumerate(release) if place not in taken
    }
    return [
        by_text.pop(raw.source.strip(), None) if place is None else place
        for raw, place in zip(submitted, places, strict=True)
    ]


def copied(places: Sequence[int | None], release: Sequence[Cell]) -> list[int]:
    """The released cells with a name that were submitted more than once."""
    return sorted(
        {
            place
            for place in places
            if place is not None and release[place].name and places.count(place) > 1
        }
    )


def own_cell(raw: RawCell, costly: Set[str]) -> Cell:
    """A cell that the learner added, or an older copy of a released one, still without an id.

    costly: the texts of costly cells. A copy of one is as costly: several could use up a
    submission's time.
    """
    if raw.cell_type != "code":
        return Cell("", Role.TEXT, "markdown", raw.source)
    return Cell("", Role.COSTLY if raw.source.strip() in costly else Role.CODE, "code", raw.source)


def restored(raw: RawCell, released: Cell) -> tuple[Cell, list[str]]:
    """A released cell with the learner's source where that is the learner's to write."""
    notes = []
    if raw.cell_type != released.cell_type:
        notes.append(
            f"{named(released)} had been turned into {raw.cell_type or 'nothing'}; it is"
            f" {released.cell_type} again"
        )
    is_locked = released.role is Role.CHECK
    if is_locked and raw.source.strip() != released.source.strip():
        notes.append(f"{named(released)} had been edited; the released one counts")
    if released.name and raw.grade_id != released.name:
        notes.append(
            f"{named(released)} had lost its name or carried another; it has its own again"
        )
    return (released if is_locked else replace(released, source=raw.source)), notes


def put_back(cells: list[Cell], release: Sequence[Cell], place: int) -> list[str]:
    """Put a missing released cell back where something depends on it."""
    missing = release[place]
    if missing.role not in (Role.EXERCISE, Role.CHECK, Role.QUESTION, Role.NAMESPACE):
        return []
    earlier = {cell.id for cell in release[:place]}
    before = [
        index
        for index, cell in enumerate(cells)
        if cell.id in earlier and cell.metadata is not None
    ]
    cells.insert(before[-1] + 1 if before else 0, missing)
    return [f"{named(missing)} was missing; the released one was put back"]


def move_checks(cells: list[Cell]) -> list[str]:
    """Put every check that stands before its exercise right behind it."""
    notes = []
    for check in [cell for cell in cells if cell.role is Role.CHECK]:
        places = [
            index
            for index, cell in enumerate(cells)
            if cell.role is Role.EXERCISE and cell.name == check.exercise
        ]
        if places and cells.index(check) < places[-1]:
            cells.remove(check)
            cells.insert(places[-1], check)
            notes.append(f"{named(check)} stood before its exercise; it was moved behind it")
    return notes


def with_own_ids(cells: Iterable[Cell]) -> list[Cell]:
    """Cells with ids that differ; released cells keep theirs."""
    cells = list(cells)
    taken = {cell.id for cell in cells if cell.metadata is not None}
    unique = []
    for index, cell in enumerate(cells):
        if cell.metadata is None:
            number = f"own-{index}"
            cell = replace(cell, id=number if number not in taken else f"own-{index}-{len(taken)}")
            taken.add(cell.id)
        unique.append(cell)
    return unique


def named(cell: Cell) -> str:
    """A cell in a sentence."""
    if cell.role in WHAT:
        name = cell.exercise if cell.role is Role.CHECK else cell.name
        return f"{WHAT[cell.role].capitalize()} `{name}`"
    return f"The cell `{first_line(cell.source, 'empty')[:50]}`"
