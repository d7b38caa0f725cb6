"""Intake: which submissions there are, and reading a notebook that nobody vouches for.

Nothing in a submitted file is believed: what is read is its cells' sources, types and names, each
checked for its kind.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.errors import CourseError
from autograder.grading.result import SAFE_NAME
from autograder.words import listed

MOST_BYTES = 20 * 2**20  # a notebook full of pictures has five
MOST_CELLS = 2000
MOST_NAME = 200  # bytes; a file system takes 255 with all endings
MOST_CODE = 2**20  # characters of all code cells: they are read as Python, outside the sandbox
COMPANIONS = {"timestamp.txt", ".ipynb_checkpoints", ".DS_Store", "__pycache__"}


class Refused(CourseError):
    """A submission that cannot be graded, with the reason."""


@dataclass(frozen=True)
class Submitted:
    """A submission's file: bytes and digest, or why it was refused."""

    student: str
    data: bytes = b""
    digest: str = ""
    refused: str = ""
    notes: tuple[str, ...] = ()
    same_as: str = ""  # others who handed in the same file to the byte


@dataclass(frozen=True)
class RawCell:
    """What is read of one submitted cell."""

    source: str
    cell_type: str
    id: str = ""
    grade_id: str = ""


def take_in(folder: Path, unit: str, students: Iterable[str] = ()) -> Iterator[Submitted]:
    """Read the submissions of a unit in `submitted/`, by student.

    Raises CourseError where a named student has none.
    """
    wanted = set(students)
    names = sorted(entry.name for entry in os.scandir(folder)) if folder.is_dir() else []
    handed_in = [name for name in names if os.path.lexists(folder / name / unit)]
    missing = sorted(wanted - set(handed_in))
    if missing:
        raise CourseError(
            f"{', '.join(missing)} handed in nothing for {unit}: there is no"
            f" {folder.name}/{missing[0]}/{unit}."
        )
    for name in handed_in:
        if not wanted or name in wanted:
            yield take(folder, name, unit)


def take(folder: Path, student: str, unit: str, released: Iterable[str] = ()) -> Submitted:
    """Read one submission; a refusal is part of the answer, never an exception."""
    try:
        if not is_safe(student):
            raise Refused(
                f"the folder's name {student!r} is no name of a student: use letters, digits and ."
                " _ - @"
            )
        for place in (folder / student, folder / student / unit):
            if place.is_symlink() or not place.is_dir():
                kind = "a symbolic link" if place.is_symlink() else "no folder"
                raise Refused(f"{place.relative_to(folder)} is {kind}; ask for the notebook itself")
        data = read_file(folder / student / unit / f"{unit}.ipynb", unit)
        notes = others(folder / student / unit, unit)
    except Refused as refusal:
        return Submitted(student, refused=str(refusal))
    except OSError as error:
        return Submitted(student, refused=f"its folder cannot be read ({error.strerror})")
    return Submitted(student, data, hashlib.sha256(data).hexdigest()[:24], notes=notes)


def is_safe(student: str) -> bool:
    """Whether a folder's name can be a student's: files are named after it."""
    return bool(SAFE_NAME.match(student)) and len(student.encode()) <= MOST_NAME


def read_file(path: Path, unit: str) -> bytes:
    """The bytes of a regular file within the size limit; links are not followed. Raises Refused."""
    try:
        # Without O_NONBLOCK a named pipe would keep us waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Refused(f"it holds no {path.name}") from None
    except OSError as error:
        kind = "is a symbolic link" if path.is_symlink() else f"cannot be read ({error.strerror})"
        raise Refused(f"{path.name} {kind}") from None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise Refused(f"{path.name} is no ordinary file")
        if about.st_size > MOST_BYTES:
            raise Refused(
                f"{path.name} has {about.st_size / 2**20:.0f} MB, and at most"
                f" {MOST_BYTES / 2**20:.0f} are read: clear its outputs"
            )
        if about.st_size == 0:
            raise Refused(f"{path.name} is empty")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_BYTES)
    finally:
        os.close(descriptor)


def others(folder: Path, unit: str) -> tuple[str, ...]:
    """Notes on files that came along and are left out: only the notebook is graded."""
    expected = {f"{unit}.ipynb", "probes.py", "key.safetensors", "key.json", *COMPANIONS}
    try:
        extra = sorted(
            seen(entry.name) for entry in os.scandir(folder) if entry.name not in expected
        )
    except OSError as error:
        raise Refused(f"its folder cannot be read ({error.strerror})") from None
    if not extra:
        return ()
    return (f"Only the notebook is graded; left out: {listed(extra)}",)


def cells_of(data: bytes, name: str = "the notebook") -> list[RawCell]:
    """The cells of a notebook. Raises Refused for what is no notebook of format 4."""
    try:
        notebook = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refused(f"{name} is not UTF-8 text, so it is no notebook") from None
    except RecursionError:
        raise Refused(f"{name} is nested deeper than any notebook") from None
    except (ValueError, MemoryError) as error:
        raise Refused(f"{name} is damaged: it is no JSON ({str(error)[:80]})") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        if isinstance(notebook, dict) and "worksheets" in notebook:
            raise Refused(
                f"{name} was saved in a format of 2014: open it in JupyterLab and save it again"
            )
        raise Refused(f"{name} is no notebook")
    if len(notebook["cells"]) > MOST_CELLS:
        raise Refused(
            f"{name} has {len(notebook['cells']):,} cells, and at most {MOST_CELLS:,} are read"
        )
    cells = [raw_cell(cell) for cell in notebook["cells"] if isinstance(cell, dict)]
    code = sum(len(cell.source) for cell in cells if cell.cell_type == "code")
    if code > MOST_CODE:
        raise Refused(
            f"{name} holds {code:,} characters of code, and at most {MOST_CODE:,} are read"
        )
    return cells


def raw_cell(cell: Mapping[str, Any]) -> RawCell:
    """What is read of a cell; parts of a wrong kind count as absent."""
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    metadata = cell.get("metadata")
    grading = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return RawCell(
        clean(source),
        clean(cell.get("cell_type"), 20),
        clean(cell.get("id"), 100),
        clean(grading.get("grade_id"), 100) if isinstance(grading, dict) else "",
    )


UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def seen(text: str) -> str:
    """A line of text without what a terminal would obey or cannot show: a learner chose it."""
    return UNSEEN.sub("\ufffd", text)


def clean(value: Any, limit: int = MOST_BYTES) -> str:
    """A string that can be written again: lone surrogates and null characters are replaced."""
    if not isinstance(value, str):
        return ""
    return value[:limit].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
