"""The sandbox holds what it promises, says so when it does not, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from grading_class import LIMITS

from autograder.grading.workers import Workers, WorkerSettings, private_paths, proven
from autograder.sandbox import bubblewrap as sandbox_module
from autograder.sandbox import syscalls
from autograder.sandbox.bubblewrap import (
    PACKAGES,
    READ_ONLY,
    Limits,
    Sandbox,
    SandboxError,
    broken_promises,
    running,
)
from autograder.sandbox.wire import receive, send


@pytest.fixture
def sandbox(workers: Workers) -> Sandbox:
    """The shared one."""
    return workers._sandbox


@pytest.fixture
def seen(sandbox: Sandbox) -> Callable[[str], str]:
    """What a cell with this source prints in there."""

    def run(source: str, limits: Limits = LIMITS) -> str:
        fork = sandbox.fork()
        try:
            send(fork.data, {"do": "start", "seed": 1, "files": {}, "probes": ""})
            receive(fork.data, 30)
            send(fork.data, {"do": "cell", "source": source, "seconds": limits.cell_seconds})
            header, _ = receive(fork.data, 30)
        finally:
            fork.end()
        assert not [output for output in header["outputs"] if output["output_type"] == "error"], (
            header["outputs"]
        )
        return "".join(
            output["text"] for output in header["outputs"] if output["output_type"] == "stream"
        ).strip()

    return run


def test_it_holds_what_it_promises(sandbox):
    assert sandbox.examine() == []
    sandbox.must_hold()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os; print(os.getuid() == 0 or os.geteuid() == 0)", "False"),
        ("import socket; print([name for _, name in socket.if_nameindex() if name != 'lo'])", "[]"),
        (
            (
                "import os; print(sorted(set(os.listdir('/')) & {'var', 'srv', 'mnt', 'media',"
                " 'boot', 'run', 'sys'}))"
            ),
            "[]",
        ),
        (
            (
                "import os; print([n for n in ('solutions', '.git') if"
                f" os.path.exists({str(PACKAGES)!r} + '/' + n)])"
            ),
            "[]",
        ),
        ("import os; print(os.listdir(os.path.expanduser('~')), os.listdir('.'))", "[] []"),
        (
            (
                "import os; print([n for n in ('SECRET_OF_THE_HOST', 'SSH_AUTH_SOCK', 'HOME') if n"
                " in os.environ])"
            ),
            "['HOME']",
        ),
        (
            "import os; print(os.path.exists('/etc/passwd'), os.path.exists('/etc/shadow'))",
            "False False",
        ),
        ("import torch; print(torch.get_num_threads())", "1"),
        ("import os; print(os.access('/usr', os.W_OK), os.access('/dev', os.W_OK))", "False False"),
    ],
    ids=[
        "user",
        "network",
        "folders",
        "course",
        "home",
        "environment",
        "passwords",
        "threads",
        "read-only",
    ],
)
def test_what_code_sees_from_in_there(seen, source, expected):
    assert seen(source) == expected


@pytest.mark.parametrize("folder", ["work", "home", "tmp"])
def test_its_own_folders_can_be_written_up_to_a_limit(seen, folder):
    source = f"""
path = "/sandbox/{folder}/file"
try:
    with open(path, "wb") as file:
        for _ in range(100):
            file.write(bytes(2**20))
    print("no limit")
except OSError as error:
    print("full")
import os
print(os.path.getsize(path) <= {LIMITS.disk})
"""
    assert seen(source).split() == ["full", "True"]


def test_a_file_of_the_host_cannot_be_opened(seen, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    os.chmod(tmp_path, 0o777)
    os.chmod(secret, 0o666)
    source = f"""
for mode in ("r", "w"):
    try:
        open({str(secret)!r}, mode)
        print("opened")
    except OSError:
        print("no")
"""
    assert seen(source).split() == ["no", "no"]
    assert secret.read_text() == "mine"


def test_the_same_fork_serves_once_and_its_end_is_reported(sandbox):
    fork = sandbox.fork()
    report = fork.end()
    assert report["exit"] == 0 and report["over_memory"] is False and report["peak"] > 0


def test_a_killed_fork_is_reported_as_killed(sandbox, patience):
    fork = sandbox.fork()
    send(fork.data, {"do": "start", "seed": 1, "files": {}, "probes": ""})
    receive(fork.data, 30)
    send(fork.data, {"do": "cell", "source": "while True: pass", "seconds": 60})
    begun = time.monotonic()
    report = fork.kill()
    assert report["exit"] == -9 and report["peak"] > 0
    assert time.monotonic() - begun < patience(3)


def test_forks_leave_no_descriptor_and_no_process(sandbox):
    sandbox.fork().end()
    descriptors, processes = open_descriptors(), descendants(sandbox.process.pid)
    for _ in range(5):
        sandbox.fork().end()
    assert open_descriptors() == descriptors
    ends = time.monotonic() + 5
    while descendants(sandbox.process.pid) > processes and time.monotonic() < ends:
        time.sleep(0.05)
    assert (
        descendants(sandbox.process.pid) <= processes
    )  # the first fork may have been ending still


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def descendants(number: int) -> int:
    """How many processes stand below one."""
    found = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, found.splitlines())}
    below = {number}
    for _ in range(10):
        below |= {child for child, parent in parents.items() if parent in below}
    return len(below) - 1


# Weaker than promised

HOLDS = {
    "user": 65534,
    "capabilities": "0000000000000000",
    "no_new_privileges": "1",
    "makes_namespaces": False,
    "filters_calls": syscalls.is_known(),
    "interfaces": ["lo"],
    "connects": False,
    "visible": [],
    "writable": [],
    "environment": ["HOME", "PATH"],
    "processes": 2,
    "limits": {name: asdict(LIMITS)[name] for name in ("memory", "processes", "open_files")},
}


def test_what_holds_is_no_problem():
    assert broken_promises(HOLDS, LIMITS) == []


@pytest.mark.parametrize(
    ("fact", "found", "problem"),
    [
        ("user", 0, "code runs as root"),
        ("capabilities", "0000000000000400", "code holds capabilities"),
        ("no_new_privileges", "0", "code could gain privileges"),
        ("makes_namespaces", True, "code could make user namespaces"),
        ("filters_calls", not syscalls.is_known(), "system calls are not filtered"),
        ("interfaces", ["eth0", "lo"], "network interfaces are visible: ['eth0', 'lo']"),
        ("connects", True, "the network can be reached"),
        (
            "visible",
            ["/course/gradebook.db"],
            "files of the host are visible: /course/gradebook.db",
        ),
        ("writable", ["/usr"], "folders can be written to: /usr"),
        ("environment", ["HOME", "CVCOURSE_HOST_ENVIRONMENT"], "the host's environment is visible"),
        ("processes", 40, "other processes are visible"),
        ("limits", {**HOLDS["limits"], "memory": -1}, "the limit on memory does not hold"),
        ("limits", {**HOLDS["limits"], "processes": 10**6}, "the limit on processes does not hold"),
        (
            "limits",
            {**HOLDS["limits"], "open_files": 10**6},
            "the limit on open files does not hold",
        ),
    ],
)
def test_each_broken_promise_is_named(fact, found, problem):
    assert broken_promises({**HOLDS, fact: found}, LIMITS) == [problem]


def test_silence_is_no_promise_kept():
    """An examination that says nothing leaves nothing proven."""
    assert len(broken_promises({}, LIMITS)) >= 10


def test_a_sandbox_that_shows_a_file_of_the_host_is_refused(sandbox):
    """As if the course lay where the sandbox must bind: the examination itself finds it."""
    weak = replace_hidden(sandbox, ["/usr"])
    with weak, pytest.raises(SandboxError) as raised:
        sandbox.must_hold()
    assert "The sandbox is weaker than promised: files of the host are visible: /usr" in str(
        raised.value
    )
    assert "--unsafe" in str(raised.value)


@contextlib.contextmanager
def replace_hidden(sandbox: Sandbox, paths: list[str]) -> Iterator[None]:
    before, sandbox.hidden = sandbox.hidden, paths
    try:
        yield
    finally:
        sandbox.hidden = before


def test_what_is_not_to_be_written_is_tried():
    assert {"/", "/usr", "/etc", "/dev"} <= set(READ_ONLY)


# Missing, or not starting


def test_without_bubblewrap(monkeypatch):
    monkeypatch.setattr(sandbox_module.shutil, "which", lambda tool: None)
    with pytest.raises(
        SandboxError, match=r"bubblewrap is not here: install bubblewrap .*--unsafe"
    ):
        Sandbox(LIMITS)


@pytest.fixture
def bubblewrap_that(monkeypatch, tmp_path) -> Callable[[str], None]:
    """Put a shell script in bubblewrap's place."""
    original = sandbox_module.shutil.which

    def stand_in(script: str) -> None:
        path = tmp_path / "bwrap"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        for folder in (tmp_path, *tmp_path.parents):
            with contextlib.suppress(OSError):
                if folder != Path("/tmp"):
                    folder.chmod(folder.stat().st_mode | 0o055)  # root starts it as nobody
        monkeypatch.setattr(
            sandbox_module.shutil,
            "which",
            lambda tool: str(path) if tool == "bwrap" else original(tool),
        )

    return stand_in


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
            "No permissions to create new namespace",
        ),
        (
            "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1",
            "forbids user namespaces",
        ),
        ("exit 1", "it says nothing"),
        (
            "sleep 0.5; echo 'bwrap: Unknown option --cap-drop' >&2; exit 1",
            "Unknown option --cap-drop",
        ),
    ],
    ids=["namespaces", "map", "silent", "late"],
)
def test_a_sandbox_that_does_not_start_says_why(must_be_sandboxed, bubblewrap_that, script, said):
    bubblewrap_that(script)
    descriptors = open_descriptors()
    sandbox = Sandbox(LIMITS)
    with pytest.raises(SandboxError) as raised:
        proven(sandbox)
    assert str(raised.value).startswith("The sandbox does not start: ") and said in str(
        raised.value
    )
    assert "--unsafe" in str(raised.value)
    assert open_descriptors() == descriptors
    assert sandbox.process.poll() is not None


def test_a_server_that_never_answers_is_given_up(
    must_be_sandboxed, bubblewrap_that, monkeypatch, patience
):
    monkeypatch.setattr(sandbox_module, "READY_SECONDS", 0.5)
    bubblewrap_that("exec sleep 60")
    sandbox = Sandbox(LIMITS)
    begun = time.monotonic()
    with pytest.raises(SandboxError, match="The sandbox does not start"):
        proven(sandbox)
    assert time.monotonic() - begun < patience(10)
    assert sandbox.process.poll() is not None


def test_python_may_be_called_by_a_way_round(must_be_sandboxed, monkeypatch, tmp_path):
    way_round = os.path.join(
        tmp_path, os.path.relpath(sys.executable, tmp_path)
    )  # folders that the sandbox lacks
    monkeypatch.setattr(sys, "executable", way_round)
    with running(Sandbox(LIMITS)) as sandbox:
        sandbox.must_hold()


# Nothing is left behind


def test_closing_ends_everything(must_be_sandboxed):
    stages = stage_folders()
    with running(Sandbox(LIMITS)) as sandbox:
        fork = sandbox.fork()
        send(fork.data, {"do": "start", "seed": 1, "files": {}, "probes": ""})
        receive(fork.data, 30)
        send(fork.data, {"do": "cell", "source": "import time; time.sleep(100)", "seconds": 60})
        time.sleep(0.3)
        number = sandbox.process.pid
        assert descendants(number) >= 2
    assert sandbox.process.poll() is not None
    with pytest.raises(OSError):  # the line to the learner's code is dead
        fork.data.settimeout(5)
        if fork.data.recv(1) == b"":
            raise ConnectionResetError
    fork.end(1)
    ends = time.monotonic() + 30
    while (
        not stage_folders() <= stages and time.monotonic() < ends
    ):  # another worker's sandbox may be starting
        time.sleep(0.2)
    assert stage_folders() <= stages


def stage_folders() -> set[Path]:
    return {path for place in ("/run", "/tmp") for path in Path(place).glob("cvcourse-stage-*")}


def test_a_host_that_is_killed_takes_its_sandbox_with_it(must_be_sandboxed, tmp_path):
    script = (
        "import sys, time\nfrom autograder.sandbox.bubblewrap import Sandbox\nsandbox = Sandbox();"
        " sandbox.wait_until_ready(); print(sandbox.process.pid, flush=True); time.sleep(100)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as host:
        number = int(host.stdout.readline())
        assert os.path.exists(f"/proc/{number}")
        host.kill()
    ends = time.monotonic() + 5
    while time.monotonic() < ends and running_still(number):
        time.sleep(0.05)
    assert not running_still(number)


def running_still(number: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_unsafe_promises_nothing_and_cleans_up():
    folders = set(Path("/tmp").glob("cvcourse-unsafe-*"))
    with running(Sandbox(LIMITS, unsafe=True)) as sandbox:
        assert sandbox.examine() == []
        fork = sandbox.fork()
        assert Path(fork.folder).is_dir()
        send(fork.data, {"do": "start", "seed": 1, "files": {"probes.py": "x"}, "probes": ""})
        assert receive(fork.data, 30)[0] == {"started": True}
        assert os.listdir(fork.folder) == ["probes.py"]
        fork.end()
        assert not Path(fork.folder).exists()
    assert set(Path("/tmp").glob("cvcourse-unsafe-*")) <= folders


def test_settings_hide_the_solutions_and_the_graders_home(tmp_path):
    settings = WorkerSettings(LIMITS, hidden=(tmp_path / "gradebook.db",))
    paths = {str(path) for path in (*settings.hidden, *private_paths())}
    assert str(tmp_path / "gradebook.db") in paths
    assert {Path(path).name for path in paths} >= {"solutions", ".git", ".ssh", "submitted"}
    assert hash(settings) == hash(replace(settings))


def test_limits_of_one_number_follow_it():
    assert Limits.of(60.0).cell_seconds == Limits.of(60.0).check_seconds == 60.0
    assert Limits.of(10.0).notebook_seconds == Limits().notebook_seconds
    assert Limits.of(200.0).notebook_seconds == 800.0


def test_a_line_that_nobody_holds_any_more_is_seen(sandbox):
    """Two forks at a time do not hold each other's lines open."""
    one, other = sandbox.fork(), sandbox.fork()
    one.data.shutdown(socket.SHUT_RDWR)
    assert one.end()["exit"] == 0
    send(other.data, {"do": "start", "seed": 1, "files": {}, "probes": ""})
    assert receive(other.data, 30)[0] == {"started": True}
    other.end()
