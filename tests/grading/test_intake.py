"""Intake: nothing in a submitted file is believed, and what cannot be graded is refused with its
reason."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from autograder.errors import CourseError
from autograder.grading import intake
from autograder.grading.intake import (
    MOST_BYTES,
    MOST_CELLS,
    Refused,
    cells_of,
    read_file,
    take,
    take_in,
)

UNIT = "90_mini"
NOTEBOOK = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


def put(root: Path, student: str, data: bytes = b"{}") -> Path:
    folder = root / student / UNIT
    folder.mkdir(parents=True)
    (folder / f"{UNIT}.ipynb").write_bytes(data)
    return folder / f"{UNIT}.ipynb"


def cells(*cells: object) -> bytes:
    return json.dumps({**NOTEBOOK, "cells": cells}).encode()


# Which submissions there are


def test_submissions_come_by_student_with_bytes_and_digest(tmp_path):
    put(tmp_path, "bo", b"{1}")
    put(tmp_path, "ada")
    put(tmp_path, "cy")
    (tmp_path / "dee" / "another_unit").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    taken = list(take_in(tmp_path, UNIT))
    assert [item.student for item in taken] == ["ada", "bo", "cy"]
    assert [item.data for item in taken] == [b"{}", b"{1}", b"{}"]
    assert taken[0].digest == taken[2].digest != taken[1].digest
    assert not any(item.refused for item in taken)


def test_only_those_asked_for(tmp_path):
    put(tmp_path, "ada")
    put(tmp_path, "bo")
    assert [item.student for item in take_in(tmp_path, UNIT, ["bo"])] == ["bo"]
    with pytest.raises(
        CourseError, match=r"cy, dee handed in nothing for 90_mini: there is no .*/cy/90_mini"
    ):
        list(take_in(tmp_path, UNIT, ["dee", "bo", "cy"]))


def test_no_folder_no_submissions(tmp_path):
    assert list(take_in(tmp_path / "submitted", UNIT)) == []


# Files that are refused, by name and with the reason


def test_a_link_is_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("{}")
    file = put(tmp_path / "in", "ada")
    file.unlink()
    file.symlink_to(secret)
    assert take(tmp_path / "in", "ada", UNIT).refused == "90_mini.ipynb is a symbolic link"


@pytest.mark.parametrize("place", ["ada", f"ada/{UNIT}"])
def test_a_linked_folder_is_not_followed(tmp_path, place):
    put(tmp_path / "elsewhere", "ada")
    link = tmp_path / "in" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere" / place)
    taken = take(tmp_path / "in", "ada", UNIT)
    assert taken.refused == f"{place} is a symbolic link; ask for the notebook itself"
    assert taken.data == b""


def test_a_dangling_link_is_seen(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / UNIT).symlink_to("nowhere")
    assert "symbolic link" in next(take_in(tmp_path, UNIT)).refused


def test_a_missing_and_an_empty_notebook(tmp_path):
    (tmp_path / "ada" / UNIT).mkdir(parents=True)
    put(tmp_path, "bo", b"")
    found = {item.student: item.refused for item in take_in(tmp_path, UNIT)}
    assert found == {"ada": "it holds no 90_mini.ipynb", "bo": "90_mini.ipynb is empty"}


def test_a_file_in_a_folders_place(tmp_path):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / UNIT).touch()
    assert (
        take(tmp_path, "ada", UNIT).refused
        == "ada/90_mini is no folder; ask for the notebook itself"
    )


def test_a_pipe_keeps_nobody_waiting(tmp_path, patience):
    file = put(tmp_path, "ada")
    file.unlink()
    os.mkfifo(file)
    begun = time.monotonic()
    assert take(tmp_path, "ada", UNIT).refused == "90_mini.ipynb is no ordinary file"
    assert time.monotonic() - begun < patience(1)


def test_a_folder_in_the_notebooks_place(tmp_path):
    (tmp_path / "ada" / UNIT / f"{UNIT}.ipynb").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    assert take(tmp_path, "ada", UNIT).refused == "90_mini.ipynb is no ordinary file"
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_large_file_is_not_read(tmp_path):
    file = put(tmp_path, "ada")
    os.truncate(file, 100 * 2**20)  # sparse: it takes no room
    assert (
        take(tmp_path, "ada", UNIT).refused
        == f"90_mini.ipynb has 100 MB, and at most {MOST_BYTES / 2**20:.0f} are read: clear its"
        " outputs"
    )


def test_a_file_that_nobody_may_read(tmp_path, monkeypatch):
    file = put(tmp_path, "ada")

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(intake.os, "open", denied)
    with pytest.raises(Refused, match=r"90_mini.ipynb cannot be read \(Permission denied\)"):
        read_file(file, UNIT)


@pytest.mark.parametrize("name", ["a\nb", "../x", ".hidden", "-rf", "a" * 200, "<b>x</b>", "a;b"])
def test_a_folder_whose_name_is_no_students_is_refused(tmp_path, name):
    taken = take(tmp_path, name, UNIT)
    assert taken.refused.startswith("the folder's name ") and taken.data == b""


@pytest.mark.parametrize(
    "name", ["ada", "s-1234", "Ada L.", "ada@uni.example", "josé", "o'neill".replace("'", "")]
)
def test_ordinary_names_are_taken(tmp_path, name):
    put(tmp_path, name)
    assert take(tmp_path, name, UNIT).refused == ""


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path, monkeypatch):
    put(tmp_path, "ada")

    def denied(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(intake.os, "scandir", denied)
    assert take(tmp_path, "ada", UNIT).refused == "its folder cannot be read (Permission denied)"


def test_other_files_are_left_out_and_said(tmp_path):
    folder = put(tmp_path, "ada").parent
    for name in (
        "yaml.py",
        "notes.txt",
        "timestamp.txt",
        "probes.py",
        "key.safetensors",
        "key.json",
        ".DS_Store",
    ):
        (folder / name).touch()
    assert take(tmp_path, "ada", UNIT).notes == (
        "Only the notebook is graded; left out: notes.txt, yaml.py",
    )
    for number in range(10):
        (folder / f"{number}.bin").touch()
    assert (
        take(tmp_path, "ada", UNIT)
        .notes[0]
        .endswith("left out: 0.bin, 1.bin, 2.bin, 3.bin, 4.bin and 7 more")
    )


# Notebooks that are none


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"PK\x03\x04", "is damaged: it is no JSON"),
        (b'{"cells": [', "is damaged: it is no JSON"),
        (b"[" * 200_000, "is nested deeper than any notebook"),
        (b'{"cells": ' * 100_000, "is nested deeper than any notebook"),
        (b'{"nbformat": ' + b"9" * 100_000 + b"}", "is damaged: it is no JSON"),
        (b"[]", "is no notebook"),
        (b"{}", "is no notebook"),
        (b'{"cells": {}}', "is no notebook"),
        (b'{"worksheets": [], "nbformat": 3}', "was saved in a format of 2014"),
        (
            cells(*({} for _ in range(MOST_CELLS + 1))),
            "has 2,001 cells, and at most 2,000 are read",
        ),
    ],
    ids=[
        "bytes",
        "zip",
        "cut",
        "lists",
        "objects",
        "number",
        "list",
        "object",
        "cells",
        "format 3",
        "many",
    ],
)
def test_what_is_no_notebook_is_refused(data, why):
    with pytest.raises(Refused) as refused:
        cells_of(data, "90_mini.ipynb")
    assert str(refused.value).startswith(f"90_mini.ipynb {why}")
    assert len(str(refused.value)) < 200


def test_parts_of_a_wrong_kind_count_as_absent():
    odd = [
        5,
        None,
        "text",
        {},
        {"source": 7, "cell_type": [], "id": {}, "metadata": 3},
        {"source": ["a\n", 5, "b"], "cell_type": "code", "id": "x", "metadata": {"nbgrader": []}},
        {
            "source": "s",
            "cell_type": "code",
            "metadata": {"nbgrader": {"grade_id": 5, "points": 500}},
        },
    ]
    found = cells_of(cells(*odd))
    assert [(cell.source, cell.cell_type, cell.id, cell.grade_id) for cell in found] == [
        ("", "", "", ""),
        ("", "", "", ""),
        ("a\nb", "code", "x", ""),
        ("s", "code", "", ""),
    ]


def test_a_source_can_be_written_again():
    """Lone surrogates and null characters, which JSON can spell, stop nothing later."""
    found = cells_of(
        b'{"cells": [{"source": "a\\u0000b\\ud800c", "cell_type": "code", "id": "\\udfff"}]}'
    )
    assert found[0].source == "a\ufffdb?c"
    found[0].id.encode("utf-8")


def test_long_ids_and_names_are_cut():
    found = cells_of(
        cells(
            {"id": "i" * 10_000, "metadata": {"nbgrader": {"grade_id": "n" * 10_000}}, "source": ""}
        )
    )
    assert (len(found[0].id), len(found[0].grade_id)) == (100, 100)
