"""A class for whole grading runs of the miniature unit: who hands in what, and under which limits
it is run."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nbformat
from gradebook_course import UNIT, WORDS, gradebook, notebook_of, solved
from nbformat import NotebookNode

from autograder.sandbox.bubblewrap import Limits

LIMITS = Limits(memory=2**30, cell_seconds=2.0, check_seconds=2.0, notebook_seconds=60.0)
FULL = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}

EQUAL = "class Anything:\n    def __eq__(self, other):\n        return True\n"
LOOP = "def moving_sum(signal, width=2):\n    while True:\n        pass\n"
LOOP_THAT_GOES_ON = """
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
"""
SLEEP = "import time\ntime.sleep(1000)\n"
HUNGRY = "def moving_sum(signal, width=2):\n    return torch.zeros(4 * 2**30, dtype=torch.uint8)\n"
KILLED = "import os\nos.abort()\n"
DEADLY = "def moving_sum(signal, width=2):\n    import os\n    os.abort()\n"
# Whatever line to the host is open: something that the runner never sends.
GARBLING = """
for number in range(3, 40):
    try:
        open(number, "wb", buffering=0, closefd=False).write(b"{}" * 500)
    except OSError:
        pass
"""


def code(source: str, **keywords: object) -> NotebookNode:
    """A cell of the learner's own."""
    return nbformat.v4.new_code_cell(source, **keywords)


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    """A cell by nbgrader's name."""
    return next(
        item for item in notebook.cells if item.metadata.get("nbgrader", {}).get("grade_id") == name
    )


def with_cell(notebook: NotebookNode, source: str, place: int = 2) -> NotebookNode:
    """The notebook with one more cell, by default behind the set-up."""
    notebook.cells.insert(place, code(source))
    return notebook


def hand_in(root: Path, student: str, notebook: NotebookNode | bytes, timestamp: str = "") -> Path:
    """Hand in a notebook, or any bytes in its place; returns the file."""
    folder = root / "submitted" / student / UNIT
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{UNIT}.ipynb"
    file.write_bytes(notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode())
    if timestamp:
        (folder / "timestamp.txt").write_text(timestamp, encoding="utf-8")
    return file


def released_file(root: Path) -> bytes:
    """The notebook that learners receive, to the byte."""
    return (root / "course" / UNIT / f"{UNIT}.ipynb").read_bytes()


def enrol(root: Path, *students: str) -> None:
    """Put students on the class list; with nobody on it, everybody may hand in."""
    with gradebook(root) as book:
        for student in students:
            book.add_student(student)


def careless(root: Path) -> NotebookNode:
    """Everything right, with a check deleted, another copied, one edited, and an exercise turned
    into text."""
    notebook = solved(root)
    gone, copied, edited = (
        cell(notebook, f"check_{name}") for name in ("moving_sum", "Scale", "counts")
    )
    notebook.cells = [item for item in notebook.cells if item is not gone]
    notebook.cells.append(NotebookNode({**copy.deepcopy(copied), "id": "a-copied-cell"}))
    edited.source = "6 * 7"
    cell(notebook, "Scale").cell_type = "markdown"
    return notebook


def patched(root: Path, **changes: tuple[str, str]) -> NotebookNode:
    """The solved notebook with (change, to) applied in the named exercises."""
    notebook = solved(root)
    for name, (change, to) in changes.items():
        source = cell(notebook, name)
        assert change in source.source
        source.source = source.source.replace(change, to)
    return notebook


def a_class(root: Path) -> dict[str, NotebookNode | bytes]:
    """Who hands in what; the names say it."""
    right = solved(root, question_blur=WORDS)
    slips = {
        "moving_sum": (".sum()", ".mean()"),
        "Scale": ("x * self", "x + self"),
        "counts": ("3 * 3", "3 + 3"),
    }
    unfolded = "def moving_sum(signal, width=2):\n    return signal.unfold(0, width, 1).sum(1)\n"
    noise = "import warnings\nprint('here')\nwarnings.warn('take care')\nraise ValueError('mine')\n"
    return {
        "right": right,
        "right-again": right,
        "stub": released_file(root),
        "stub-again": released_file(root),
        "slips": patched(root, **slips),
        "partly": notebook_of(root, {"Scale": cell(right, "Scale").source}),
        "some-cases": patched(root, moving_sum=("length = ", "width = 2; length = ")),
        "shortcut": solved(root, moving_sum=unfolded),
        "noisy": with_cell(solved(root), noise),
        "unparsable": solved(root, moving_sum="def moving_sum(:\n"),
        "careless": careless(root),
        "equal": solved(
            root, moving_sum=EQUAL + "def moving_sum(*_, **__):\n    return Anything()\n"
        ),
        "loop": solved(root, moving_sum=LOOP),
        "sleeper": with_cell(solved(root), SLEEP),
        "goes-on": with_cell(solved(root), LOOP_THAT_GOES_ON),
        "hungry": solved(root, moving_sum=HUNGRY),
        "deadly": solved(root, moving_sum=DEADLY),
        "killed": with_cell(solved(root), KILLED),
        "garbling": with_cell(solved(root), GARBLING),
        "empty": b"",
        "no-json": b"PK\x03\x04 a zip file",
        "bad-text": b"\xff\xfe\x00",
    }
