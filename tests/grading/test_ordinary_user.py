"""Grading as an ordinary user, and as root dropping to one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.authoring.lesson import read_lesson
from autograder.demo import Classroom, answered
from autograder.grading.result import ResultStore
from autograder.grading.workers import Workers, WorkerSettings
from autograder.sandbox.wire import receive, send
from autograder.units import ROOT

UNIT, USER = "90_mini", 1000
pytestmark = [
    pytest.mark.filterwarnings("ignore:Object of type <Submitted"),  # nbgrader's own queries
    pytest.mark.skipif(
        shutil.which("bwrap") is None and "CI" not in os.environ,
        reason="bubblewrap is not installed here",
    ),
]
as_root = pytest.mark.skipif(
    os.getuid() != 0, reason="not root: every other test of grading runs as an ordinary user"
)


@pytest.fixture
def course(built_mini: Path) -> Iterator[Path]:
    """The miniature course in a folder that belongs to an ordinary user, with one right
    submission."""
    folder = Path(tempfile.mkdtemp(prefix="cvcourse-user-", dir="/tmp"))
    shutil.copytree(built_mini, folder, dirs_exist_ok=True)
    room, lesson = Classroom(folder), read_lesson(folder / "solutions" / UNIT)
    solutions = {name: exercise.solution for name, exercise in lesson.exercises.items()}
    room.submit("ada", UNIT, answered(room.release(UNIT), solutions))
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER)
    yield folder
    shutil.rmtree(folder)


def closed_ancestor(path: Path) -> Path | None:
    """The topmost folder above `path` that others may not enter."""
    return next(
        (folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None
    )


def as_ordinary_user(command: list[str], home: Path) -> list[str]:
    """The command as user 1000, in a mount namespace where that user reaches Python and the
    course's packages."""
    paths = [Path(sys.prefix), Path(sys.base_prefix), ROOT]
    closed = sorted({folder for path in paths if (folder := closed_ancestor(path.resolve()))})
    hidden = [path for path in paths if any(path.is_relative_to(folder) for folder in closed)]
    stage = home / "stage"
    lines = ["set -e", f"mkdir {stage}", f"mount -t tmpfs -o mode=755 stage {stage}"]
    for number, path in enumerate(hidden):
        lines += [f"mkdir {stage}/{number}", f"mount --bind {path} {stage}/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 closed {folder}" for folder in closed]
    for number, path in enumerate(hidden):
        lines += [f"mkdir -p {path}", f"mount --bind {stage}/{number} {path}"]
    user = [
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        "--clear-groups",
        "env",
        "-i",
        f"HOME={home}",
    ]
    path = f"PATH={Path(sys.executable).parent}:/usr/bin:/bin:/usr/local/bin"
    lines.append("exec " + shlex.join([*user, path, *command]))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]


@as_root
def test_grading_as_an_ordinary_user(course: Path) -> None:
    command = [sys.executable, "-m", "autograder.cli", "grade", "90", "--course", str(course)]
    done = subprocess.run(
        as_ordinary_user(command, course), capture_output=True, text=True, cwd="/", timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = ResultStore(course).read(UNIT, "ada")
    assert (result.points, result.sandbox) == (6.0, "bubblewrap")
    assert (course / "autograded" / "ada" / UNIT / f"{UNIT}.ipynb").stat().st_uid == USER


FORKING = """
import os, time
started = []
try:
    while len(started) < 100:
        child = os.fork()
        if child == 0:
            time.sleep(2)
            os._exit(0)
        started.append(child)
except OSError:
    pass
print(os.getuid(), len(started))
"""


@as_root
def test_root_drops_to_a_user_whom_process_limits_bind() -> None:
    settings = WorkerSettings()
    workers = Workers(settings, 1)
    try:
        workers.wait_until_ready()
        fork = workers._sandbox.fork()
        send(fork.data, {"do": "start", "seed": 0, "files": {}, "probes": ""})
        receive(fork.data, 20)
        send(fork.data, {"do": "cell", "source": FORKING, "seconds": 10})
        header, _ = receive(fork.data, 40)
        fork.end()
        server = Path(f"/proc/{workers._sandbox.process.pid}/status").read_text()
    finally:
        workers.close()
    user, started = map(int, header["outputs"][0]["text"].split())
    assert user != 0
    assert 0 < started < settings.limits.processes
    assert next(line for line in server.splitlines() if line.startswith("Uid:")).split()[1] != "0"
