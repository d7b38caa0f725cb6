"""Using up what the grader or the machine needs. Every bomb sets its own bound first: unprotected,
it hurts nobody."""

import io
import os
import zipfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from ..attack import ALL, WITHOUT_SUM, Attack, Target

HEADING = "denial of service"
SECONDS = 30  # after which every process of an attack ends by itself
BOUND = f"""
import resource, signal
signal.signal(signal.SIGALRM, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
resource.setrlimit(resource.RLIMIT_FSIZE, (min(200 * 2**20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]),) * 2)
"""
FEW_PROCESSES = """
hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
limit = 200 if hard < 0 else min(200, hard)
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
"""

LOOP = "def moving_sum(signal, width=2):\n    while True:\n        pass\n"
LOOP_IN_CELL = "while True:\n    pass\n"
STUBBORN = (
    BOUND
    + """
import time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
begun = time.monotonic()
while time.monotonic() - begun < 25:
    try:
        while time.monotonic() - begun < 25:
            pass
    except BaseException:
        pass
"""
)
ASLEEP = "import time\ntry:\n    time.sleep(25)\nexcept BaseException:\n    time.sleep(25)\n"
IN_C = BOUND + "import re\nre.match(r'(a|a)*b', 'a' * 40)\n"
EXIT = "import os\nos._exit(0)\n"
EXIT_IN_CHECK = "import os\n\ndef moving_sum(signal, width=2):\n    os._exit(0)\n"
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
KILL_ALL = (
    "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(1, signal.SIGKILL)\nprint('still"
    " here')\n"
)
STOPPED = "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n"
CRASH = "import ctypes\nctypes.string_at(0)\n"
RAISES = "raise SystemExit\n"
RECURSION = (
    "import sys\nsys.setrecursionlimit(10**8)\ndef again(n): return again(n + 1)\nagain(0)\n"
)

FORKS = (
    BOUND
    + FEW_PROCESSES
    + """
import os, time
made = 0
while made < 300:
    try:
        if os.fork() == 0:
            signal.alarm(20)
            time.sleep(20)
            os._exit(0)
        made += 1
    except OSError:
        break
print("made", made)
"""
)
DAEMON = (
    BOUND
    + """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.alarm(20)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(0, 256)
        time.sleep(20)
    os._exit(0)
"""
)
THREADS = (
    BOUND
    + """
import threading, time
try:
    for number in range(500):
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
finally:
    print("threads", number)
"""
)
MEMORY = (
    BOUND
    + "hoard = []\nfor _ in range(30):\n    hoard.append(bytearray(100 * 2**20))\nprint('held',"
    " len(hoard))\n"
)
MEMORY_IN_CHECK = """
import torch

def moving_sum(signal, width=2):
    return [torch.ones(100 * 2**18) for _ in range(30)]
"""
SHARED_MEMORY = (
    BOUND
    + """
import mmap
import numpy as np
hoard = []
for _ in range(30):
    hoard.append(mmap.mmap(-1, 100 * 2**20))
    np.frombuffer(hoard[-1], dtype=np.uint8).fill(1)
print("held", len(hoard))
"""
)
MEMORY_FILES = (
    BOUND
    + """
import os
block = bytes(50 * 2**20)
files = []
for _ in range(50):
    files.append(os.memfd_create("hoard"))
    os.write(files[-1], block)
print("held", len(files))
"""
)
MEMORY_OF_CHILDREN = (
    BOUND
    + """
import os, time
for _ in range(6):
    if os.fork() == 0:
        signal.alarm(15)
        hoard = bytearray(b"x" * (400 * 2**20))
        time.sleep(15)
        os._exit(0)
time.sleep(2)
"""
)
DISK = (
    BOUND
    + """
for place in ("/tmp", "/dev/shm", "."):
    try:
        for number in range(4):
            with open(f"{place}/hoard-{number}", "wb") as file:
                file.write(bytes(50 * 2**20))
    except OSError as error:
        print(place, error)
"""
)
MANY_FILES = (
    BOUND
    + """
import os
try:
    for number in range(50_000):
        os.mknod(f"/tmp/hoard-{number}")
except OSError as error:
    print(number, error)
"""
)
DESCRIPTORS = (
    BOUND
    + """
import os
held = []
try:
    for _ in range(5000):
        held.append(os.dup(1))
finally:
    print(len(held))
"""
)
OUTPUT = "for _ in range(100):\n    print('pwned ' * 100_000)\n"
LONG_VALUE = "'x' * 30_000_000\n"
DISPLAYS = (
    "from IPython.display import display\nfor _ in range(3000):\n    display({'text/html': '<b>' *"
    " 1000}, raw=True)\n"
)
MUCH_EVERYWHERE = "print('x' * 900_000)\n"
LARGE_RESULT = """
import torch

def moving_sum(signal, width=2):
    return torch.zeros(3_900_000, dtype=torch.float64)
"""
STRANGE_RESULT = """
import torch

def moving_sum(signal, width=2):
    results = [torch.zeros(0), torch.full((2, 2), float("nan")), torch.zeros(1, dtype=torch.complex64),
               torch.zeros(0, 4_000_000, 4_000_000, 4_000_000), torch.tensor(float("inf")), 10**5000,
               torch.zeros(1).expand(10**9), torch.zeros(3, device="meta"), torch.eye(3).to_sparse(), "\\ud800" * 9999]
    moving_sum.count = getattr(moving_sum, "count", 0) + 1
    return results[moving_sum.count % len(results)]
"""
HUGE_IMAGE = """
import struct, zlib
from IPython.display import Image, display
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
pixels = zlib.compress(bytes(20_000_000), 9)
display(Image(b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0))
              + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")))
"""
NESTED = "x = " + "(" * 5000 + ")" * 5000
MAGICS = "print?\n" * 900


def bytes_of(data: bytes) -> object:
    """Hand in these bytes."""
    return lambda notebook: data


def zipped(notebook: NotebookNode) -> bytes:
    """A zip bomb under the notebook's name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("90_mini.ipynb", bytes(50 * 2**20))
    return buffer.getvalue()


def many_cells(notebook: NotebookNode) -> NotebookNode:
    """A hundred cells that each show nearly all that one may."""
    notebook.cells += [new_code_cell(MUCH_EVERYWHERE) for _ in range(100)]
    return notebook


def many_exits(notebook: NotebookNode) -> NotebookNode:
    """Forty cells that end the process."""
    notebook.cells += [new_code_cell(EXIT) for _ in range(40)]
    return notebook


def invalid_text(notebook: NotebookNode) -> bytes:
    """A notebook with a byte that is no UTF-8."""
    return nbformat.writes(notebook).encode().replace(b"moving_sum", b"moving_\xff\xfesum", 1)


def large(folder: Path, target: Target) -> None:
    """A notebook of 100 MB; the file is sparse."""
    os.truncate(folder / f"{folder.name}.ipynb", 100 * 2**20)


def pipe(folder: Path, target: Target) -> None:
    """A named pipe in the place of the notebook."""
    (folder / f"{folder.name}.ipynb").unlink()
    os.mkfifo(folder / f"{folder.name}.ipynb")


def directory(folder: Path, target: Target) -> None:
    """A folder in the place of the notebook."""
    (folder / f"{folder.name}.ipynb").unlink()
    (folder / f"{folder.name}.ipynb").mkdir()


def grown(notebook: NotebookNode) -> NotebookNode:
    """A notebook with a cell of a million statements."""
    notebook.cells.append(new_code_cell("x = 1\n" * 900_000))
    return notebook


def refused(name: str, why: str, data: bytes | None = None, **more: object) -> Attack:
    """A file that must be refused."""
    edit = bytes_of(data) if data is not None else more.pop("edit", None)
    return Attack(HEADING, name, edit=edit, refused=why, stock=False, **more)


def cut_short(name: str, source: str, ends: str = "timeout", **more: object) -> Attack:
    """A cell that costs itself and nothing else."""
    return Attack(HEADING, name, last=(source,), ends=ends, stock=False, **more)


def harmless(name: str, source: str, **more: object) -> Attack:
    """A cell that comes to nothing."""
    return Attack(HEADING, name, last=(source,), stock=False, **more)


def check_ends(name: str, source: str, state: str) -> Attack:
    """A function that costs its own check and nothing else."""
    states = {"moving_sum": state, "Scale": "right", "counts": "right"}
    return Attack(
        HEADING,
        name,
        WITHOUT_SUM,
        {"moving_sum": source},
        earns=WITHOUT_SUM,
        states=states,
        stock=False,
    )


ATTACKS = [
    check_ends("a check that never ends", LOOP, "timeout"),
    cut_short("a cell that never ends", LOOP_IN_CELL),
    cut_short("a loop that ignores every signal", STUBBORN),
    cut_short("sleep that catches its alarm", ASLEEP),
    cut_short("a loop inside a library, with Python's lock held", IN_C),
    Attack(
        HEADING,
        "an exit in a cell",
        last=(EXIT,),
        ends="kernel death",
        evidence="_exit",
        stock=False,
    ),
    check_ends(
        "an exit in a check",
        EXIT_IN_CHECK.replace("os._exit", "getattr(os, '_ex' + 'it')"),
        "kernel death",
    ),
    Attack(HEADING, "forty exits", edit=many_exits, ends="kernel death", stock=False),
    cut_short("a process that kills itself", KILL, "kernel death"),
    harmless("a process that kills all others", KILL_ALL),
    cut_short("a process that stops itself", STOPPED),
    Attack(HEADING, "a crash", last=(CRASH,), ends="kernel death", evidence="ctypes", stock=False),
    harmless("an exit that Python knows", RAISES),
    Attack(HEADING, "recursion without end", last=(RECURSION,), earns=ALL, stock=False),
    Attack(HEADING, "processes", last=(FORKS,), evidence="fork", stock=False),
    Attack(
        HEADING, "a daemon that outlives its cell", last=(DAEMON,), evidence="fork", stock=False
    ),
    Attack(HEADING, "threads", last=(THREADS,), evidence="threading", stock=False),
    cut_short("memory", MEMORY, "out of memory or timeout"),
    check_ends("memory in a check", MEMORY_IN_CHECK, "out of memory"),
    cut_short("shared memory", SHARED_MEMORY, "out of memory or timeout"),
    harmless("files in memory", MEMORY_FILES),
    Attack(
        HEADING,
        "memory of many processes",
        last=(MEMORY_OF_CHILDREN,),
        ends="out of memory or timeout",
        stock=False,
    ),
    harmless("disk", DISK),
    harmless("files without end", MANY_FILES),
    harmless("file descriptors", DESCRIPTORS),
    harmless("output without end", OUTPUT),
    harmless("a result of thirty million characters", LONG_VALUE),
    harmless("displays without end", DISPLAYS),
    Attack(
        HEADING,
        "much output of every one of a hundred cells",
        edit=many_cells,
        earns=ALL,
        stock=False,
    ),
    check_ends("large arrays", LARGE_RESULT, "wrong"),
    Attack(
        HEADING,
        "strange arrays",
        WITHOUT_SUM,
        {"moving_sum": STRANGE_RESULT},
        earns=WITHOUT_SUM,
        stock=False,
    ),
    harmless("a picture of 3.6 thousand million pixels", HUGE_IMAGE),
    harmless("brackets five thousand deep", NESTED),
    Attack(HEADING, "nine hundred magics in a cell", last=(MAGICS,), stock=False),
    refused("five million characters of code", "characters of code", edit=grown),
    refused("a notebook of 100 MB", "MB", plant=large),
    refused("a bomb of nested JSON", "nested deeper", b"[" * 5_000_000),
    refused("a number of five million digits", "no JSON", b'{"cells": ' + b"9" * 5_000_000 + b"}"),
    refused(
        "a hundred thousand cells",
        "100,000 cells",
        b'{"cells": [' + b",".join([b"{}"] * 100_000) + b"]}",
    ),
    refused("a zip bomb", "UTF-8", edit=zipped),
    refused("text that is no UTF-8", "UTF-8", edit=invalid_text),
    refused("an empty file", "empty", b""),
    refused("a page of HTML", "no JSON", b"<html>pwned</html>"),
    refused("a named pipe", "no ordinary file", plant=pipe),
    refused("a folder in its place", "no ordinary file", plant=directory),
    refused(
        "a student's name that a terminal obeys",
        "no name of a student",
        folder=b"~evil\x1b]0;pwned\x07",
    ),
    refused("a student's name that is no text", "no name of a student", folder=b"~evil\xff\xfe"),
    refused("a student's name of 255 characters", "no name of a student", folder=b"x" * 255),
    refused(
        "a student's name of 240 bytes",
        "no name of a student",
        folder=("é" * 100 + "x" * 40).encode()[:240],
    ),
]
