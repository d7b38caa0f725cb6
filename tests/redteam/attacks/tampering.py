"""Changing what is graded, or what grades: cells, metadata, the gradebook, the process, the
machine."""

import copy
import os
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from ..attack import ALL, POINTS, WITHOUT_SUM, Attack, Target

HEADING = "tampering"
STUBS = dict.fromkeys(POINTS)

GRADEBOOK = """
import sqlite3
base = sqlite3.connect("@ROOT@/gradebook.db")
base.execute("UPDATE grade SET auto_score = 15, manual_score = 15")
base.commit()
"""
OTHERS = """
from pathlib import Path
for place in ("@ROOT@/submitted", "@ROOT@/autograded", "@ROOT@/.grading", "@ROOT@/solutions", "@OUTSIDE@"):
    for path in [*Path(place).rglob("*"), Path(place)]:
        try:
            (path / "pwned.txt").write_text("pwned") if path.is_dir() else path.write_text("pwned")
        except OSError:
            pass
"""
GRADER = """
import autograder
from pathlib import Path
for path in Path(autograder.__file__).parent.rglob("*.py"):
    with path.open("a") as file:
        file.write("# pwned")
"""
TORCH_PATCHED = """
import torch
torch.zeros = lambda *given, **named: None
torch.Tensor.detach = lambda self: self * 0
torch.Tensor.clone = lambda self: self
torch.manual_seed = lambda seed: None
"""
INPUTS_KNOWN = """
import torch
from autograder.checking.probe import Draw
Draw.normal = lambda self, *shape, grad=False: self._give(None, shape) * 0
Draw.fill = lambda self, module: module
"""
RUNNER_PATCHED = """
import gc
for thing in gc.get_objects():
    if type(thing).__name__ == "Runner":
        thing.relied_on = []
        thing.tampered = lambda: []
        thing.try_case = lambda *given: print(given)
"""
FRAMES = """
import sys
frame = sys._getframe()
while frame:
    for name, value in list(frame.f_locals.items()):
        if name in ("self", "connection"):
            value.__class__.check = lambda *given: None
    frame = frame.f_back
"""
PTRACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, 1, 0, 0), libc.ptrace(16, os.getppid(), 0, 0))
for name in ("mem", "environ", "fd", "maps"):
    try:
        open(f"/proc/1/{name}").read(100)
    except OSError as error:
        print(error)
print(libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None), libc.unshare(0x10000000), libc.umount(b"/sandbox"))
"""
LINE_CLOSED = """
import os
os.closerange(3, 256)
"""
LINE_FLOODED = """
import os, stat
for number in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.stat(f"/proc/self/fd/{number}").st_mode):
            os.write(int(number), b"garbage" * 1000)
    except OSError:
        pass
"""
TRACED = """
import sys
def trace(frame, event, argument):
    frame.f_locals.clear()
    return trace
sys.settrace(trace)
"""
AT_EXIT = """
import atexit, signal
atexit.register(lambda: open("@OUTSIDE@/pwned", "w"))
for number in range(1, 65):
    try:
        signal.signal(number, lambda *given: open("@OUTSIDE@/pwned", "w"))
    except (OSError, ValueError):
        pass
"""
DELETED = """
import shutil
for place in ("@ROOT@", "@OUTSIDE@", "/sandbox", "/tmp"):
    shutil.rmtree(place, ignore_errors=True)
"""


def check_of(notebook: NotebookNode, name: str) -> NotebookNode:
    """The check cell of an exercise."""
    return next(
        c
        for c in notebook.cells
        if c.metadata.get("nbgrader", {}).get("grade_id") == f"check_{name}"
    )


def more_points(notebook: NotebookNode) -> NotebookNode:
    """Points raised, a flag flipped, a name changed, a test edited."""
    check_of(notebook, "moving_sum").metadata.nbgrader.points = 500
    check_of(notebook, "Scale").metadata.nbgrader.grade = False
    check_of(notebook, "counts").metadata.nbgrader.update(
        grade_id="check_moving_sum", locked=False, solution=True
    )
    check_of(notebook, "Scale").source = "500"
    return notebook


def copied_check(notebook: NotebookNode) -> NotebookNode:
    """A test cell copied with its name, before and after everything."""
    twin = copy.deepcopy(check_of(notebook, "moving_sum"))
    twin.id = "a-twin"
    notebook.cells = [copy.deepcopy(twin), *notebook.cells, twin, copy.deepcopy(twin)]
    return notebook


def deleted_checks(notebook: NotebookNode) -> NotebookNode:
    """No test cells."""
    notebook.cells = [c for c in notebook.cells if not c.metadata.get("nbgrader", {}).get("locked")]
    return notebook


def retyped(notebook: NotebookNode) -> NotebookNode:
    """Test cells turned into text, in reverse order, under one id."""
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("locked"):
            cell.cell_type, cell.id = "markdown", "the-same"
            cell.pop("outputs", None)
            cell.pop("execution_count", None)
    notebook.cells.reverse()
    return notebook


def stolen_ids(notebook: NotebookNode) -> NotebookNode:
    """Cells of the learner's own under the ids and names of checks."""
    for name, points in POINTS.items():
        check = check_of(notebook, name)
        own = new_code_cell(str(points), metadata=copy.deepcopy(check.metadata))
        own.id = check.id
        notebook.cells.append(own)
    return notebook


def dated(folder: Path, target: Target) -> None:
    """A time of submission that is a named pipe."""
    os.mkfifo(folder / "timestamp.txt")


def long_ago(folder: Path, target: Target) -> None:
    """A time of submission before anybody could know the exercise."""
    (folder / "timestamp.txt").write_text("1970-01-01 00:00:00 UTC")


def shadow(folder: Path, target: Target) -> None:
    """Modules beside the notebook that stand before the installed ones."""
    for name in ("yaml.py", "torch.py", "numpy.py", "probes.py", "sitecustomize.py"):
        (folder / name).write_text("raise SystemExit")


ATTACKS = [
    Attack(HEADING, "every grade in the gradebook set", 0, STUBS, (GRADEBOOK,), earns=0),
    Attack(
        HEADING, "other students' files written over", ALL, {}, (OTHERS,), earns=ALL, stock=False
    ),
    Attack(HEADING, "the grader's own files written over", ALL, {}, (GRADER,), stock=False),
    Attack(HEADING, "everything deleted that can be", ALL, {}, (DELETED,), earns=ALL, stock=False),
    Attack(HEADING, "points, flags and names changed", ALL, edit=more_points, earns=ALL),
    Attack(HEADING, "a check copied", ALL, edit=copied_check, earns=ALL),
    Attack(HEADING, "checks deleted", 0, STUBS, edit=deleted_checks, earns=0),
    Attack(HEADING, "checks turned into text, one id for all", 0, STUBS, edit=retyped, earns=0),
    Attack(HEADING, "own cells under the checks' ids", 0, STUBS, edit=stolen_ids, earns=0),
    Attack(HEADING, "a time of submission that never ends", plant=dated, earns=ALL, stock=False),
    Attack(HEADING, "a time of submission long ago", plant=long_ago, earns=ALL),
    Attack(HEADING, "modules that stand before the installed ones", plant=shadow, earns=ALL),
    Attack(
        HEADING,
        "torch replaced",
        ALL,
        {},
        (TORCH_PATCHED,),
        states={"moving_sum": "tampering suspected"},
    ),
    Attack(
        HEADING,
        "inputs that the learner knows",
        ALL,
        {},
        (INPUTS_KNOWN,),
        evidence="autograder.checking.probe",
    ),
    Attack(
        HEADING, "the runner replaced", 0, STUBS, (RUNNER_PATCHED,), earns=0, evidence="get_objects"
    ),
    Attack(
        HEADING,
        "the frames around the cell",
        0,
        STUBS,
        (FRAMES,),
        earns=0,
        evidence="_getframe",
        stock=False,
    ),
    Attack(
        HEADING, "a debugger on the supervisor", ALL, {}, (PTRACE,), evidence="ctypes", stock=False
    ),
    Attack(
        HEADING,
        "the grader's line closed",
        ALL,
        {},
        (LINE_CLOSED,),
        ends="kernel death",
        stock=False,
    ),
    Attack(
        HEADING,
        "garbage on the grader's line",
        ALL,
        {},
        (LINE_FLOODED,),
        ends="tampering suspected",
        evidence="never sends",
        stock=False,
    ),
    Attack(HEADING, "every call traced", ALL, {}, (TRACED,), evidence="settrace", stock=False),
    Attack(HEADING, "signals and exits taken over", ALL, {}, (AT_EXIT,), stock=False),
    Attack(
        HEADING,
        "comparisons that edit other cells",
        WITHOUT_SUM,
        {"moving_sum": None},
        ("In[:] = Out = {}",),
    ),
]
