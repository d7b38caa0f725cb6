"""The warm server inside the sandbox.

It imports what every notebook needs once, then forks a runner for each submission.

Each fork gets namespaces of its own (users, mounts, processes, IPC, network: two submissions that
run at the same time must not meet), private empty folders, limits, and no privileges.
Three processes stand between the server and a learner's code: one that makes the namespaces and
goes, a supervisor that is process 1 in them and watches memory and the host's line, and the runner.
When the supervisor ends, the kernel ends everything in its namespace, whatever it daemonised itself
into.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

NEW_USER, NEW_MOUNTS, NEW_PROCESSES, NEW_IPC = 0x10000000, 0x00020000, 0x20000000, 0x08000000
NEW_NETWORK = 0x40000000
NO_SUID, NO_DEVICES, NO_EXEC = 2, 4, 8
DROP_BOUND, NO_NEW_PRIVILEGES, BE_REAPER, SIGNAL_AT_PARENTS_DEATH = 24, 38, 36, 1
CAPABILITY_VERSION = 0x20080522
PLAYGROUND = "/sandbox"  # all that a submission can write to, in memory, its own
WORK = f"{PLAYGROUND}/work"
POLL = 0.05  # seconds between two looks at memory
PAGE = os.sysconf("SC_PAGESIZE")

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Serve on the socket whose descriptor is the first argument.

    The second argument is `namespaces` or `plain`.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    isolated = sys.argv[2] == "namespaces"
    settings = json.loads(control.recv(2**16))
    shell = warm_up(settings["preload"])
    gc.freeze()  # a collection in a fork would touch, and so copy, every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that end leave nothing behind
    control.send(json.dumps({"ready": True, "memory": resident(os.getpid())}).encode())
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 2**16, 2)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            leave_on_error(
                isolate_and_supervise, json.loads(request), *descriptors, shell, isolated
            )
        for descriptor in descriptors:
            os.close(descriptor)


def warm_up(preload: list[str]) -> Any:
    """Import, and do once, what costs time the first time."""
    import matplotlib

    matplotlib.use("agg")
    import numpy.random  # noqa: F401 (numpy loads it late)
    import torch
    from matplotlib import pyplot

    from autograder.sandbox.runner import make_shell

    torch.set_num_threads(1)
    figure = pyplot.figure()
    figure.text(0, 0, "warm")
    figure.savefig(os.devnull, format="png")
    pyplot.close(figure)
    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    for name in preload:
        with contextlib.suppress(Exception):  # the notebook that needs it will say so
            importlib.import_module(name)
    return make_shell()


def leave_on_error(function: Any, *arguments: Any) -> None:
    """Run the last function of a fork; never return into the server."""
    try:
        function(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


# In the first fork: namespaces


def isolate_and_supervise(
    request: Mapping[str, Any], data: int, watch: int, shell: Any, isolated: bool
) -> None:
    """Make the namespaces; the supervisor is the first process in them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    close_all_but(data, watch)
    if isolated:
        own_namespaces()
    if os.fork():
        os._exit(0)
    leave_on_error(supervise, request, data, watch, shell, isolated)


def own_namespaces() -> None:
    """New namespaces, with this user alone in the new user namespace."""
    user, group = os.getuid(), os.getgid()
    call(libc.unshare, NEW_USER | NEW_MOUNTS | NEW_PROCESSES | NEW_IPC | NEW_NETWORK)
    write_line("/proc/self/setgroups", "deny")
    write_line("/proc/self/uid_map", f"{user} {user} 1")
    write_line("/proc/self/gid_map", f"{group} {group} 1")


def write_line(path: str, line: str) -> None:
    """Write one of the kernel's settings. Raises OSError."""
    with open(path, "w") as setting:
        setting.write(line)


def close_all_but(*kept: int) -> None:
    """Close every descriptor but these and the standard ones."""
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, 2**16)


def call(function: Any, *arguments: Any) -> None:
    """Call into libc. Raises OSError."""
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function.__name__)


# The supervisor


def supervise(
    request: Mapping[str, Any], data: int, watch: int, shell: Any, isolated: bool
) -> None:
    """Start the runner; end everything when it ends, the host hangs up, or memory runs over."""
    if isolated:
        private_folders(request)
    else:
        os.setsid()
        call(libc.prctl, BE_REAPER, 1, 0, 0, 0)
    runner = os.fork()
    if runner == 0:
        os.close(watch)
        leave_on_error(run, request, data, shell, isolated)
    os.close(data)
    line = socket.socket(fileno=watch)
    line.send(json.dumps({"started": True}).encode())
    report = wait_for(runner, line, request["limits"]["memory"])
    if not isolated:
        kill_descendants()
    with contextlib.suppress(OSError):
        line.send(json.dumps(report).encode())


def private_folders(request: Mapping[str, Any]) -> None:
    """Empty folders in memory for all that can be written, and a /proc of this namespace alone."""
    options = f"size={request['limits']['disk']},nr_inodes=20000,mode=755".encode()
    for folder in (PLAYGROUND, "/dev/shm"):
        call(libc.mount, b"tmpfs", folder.encode(), b"tmpfs", NO_SUID | NO_DEVICES, options)
    for name in ("work", "home", "tmp"):
        os.mkdir(f"{PLAYGROUND}/{name}", 0o700)
    call(libc.mount, b"proc", b"/proc", b"proc", NO_SUID | NO_DEVICES | NO_EXEC, None)
    # Nobody gains privileges by making a namespace of their own.
    write_line("/proc/sys/user/max_user_namespaces", "0")


def wait_for(runner: int, line: socket.socket, memory: int) -> dict[str, Any]:
    """Watch until the runner ends, the host hangs up, or the processes hold too much memory.

    Returns how it ended.
    """
    process = os.pidfd_open(runner)
    peak, over = 0, False
    inherited = private(os.getpid()) + shared(os.getpid())  # of the server, which all forks share
    while True:
        ready, _, _ = select.select([line.fileno(), process], [], [], POLL)
        if process in ready:
            break
        if line.fileno() in ready:  # the host hangs up, or says anything at all: the end
            with contextlib.suppress(OSError):
                line.recv(2**10)  # a word left unread would break the line, and the report with it
            os.kill(runner, signal.SIGKILL)
            break
        held = memory_held(inherited)
        peak = max(peak, held)
        if held > memory:
            over = True
            kill_others(runner)
            os.kill(runner, signal.SIGKILL)
            break
        reap_orphans(runner)
    _, status, usage = os.wait4(runner, 0)
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "peak": max(peak, usage.ru_maxrss * 1024),
        "over_memory": over,
        "cpu": usage.ru_utime,
    }


def reap_orphans(runner: int) -> None:
    """Take the exit of processes whose parents are gone; the runner's is waited for elsewhere."""
    for number in process_numbers():
        if number not in (os.getpid(), runner):
            with contextlib.suppress(ChildProcessError, OSError):
                os.waitpid(number, os.WNOHANG)


def process_numbers() -> list[int]:
    """Every process that /proc shows: in a namespace of its own, the submission's."""
    with contextlib.suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def memory_held(inherited: int) -> int:
    """Bytes that the submission's processes hold beyond what each inherited."""
    if os.getpid() != 1:
        return 0
    return sum(max(private(number) + shared(number) - inherited, 0) for number in process_numbers())


def private(number: int) -> int:
    """Bytes in a process's own pages."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{number}/statm") as file,
    ):
        _, held, shared, *_ = map(int, file.read().split())
        return (held - shared) * PAGE
    return 0


def shared(number: int) -> int:
    """Bytes of shared memory that a process has touched: no limit of the kernel's counts them."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{number}/status") as file,
    ):
        for line in file:
            if line.startswith("RssShmem:"):
                return int(line.split()[1]) * 1024
    return 0


def resident(number: int) -> int:
    """Bytes of memory that a process has resident."""
    with open(f"/proc/{number}/statm") as file:
        return int(file.read().split()[1]) * PAGE


def kill_others(runner: int) -> None:
    """Kill every process of the submission but the supervisor."""
    if os.getpid() == 1:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def kill_descendants() -> None:
    """Without a process namespace: kill what can be found of the submission."""
    ends = time.monotonic() + 2
    while time.monotonic() < ends:
        children = children_of(os.getpid())
        if not children:
            return
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def children_of(number: int) -> list[int]:
    """Direct children of a process; orphans below a reaper become its children."""
    with contextlib.suppress(OSError), open(f"/proc/{number}/task/{number}/children") as file:
        return [int(child) for child in file.read().split()]
    return []


# The runner's process


def run(request: Mapping[str, Any], data: int, shell: Any, isolated: bool) -> None:
    """Give up every privilege, set the limits, and serve."""
    from autograder.sandbox.runner import Runner, set_limits
    from autograder.sandbox.syscalls import refuse

    call(libc.prctl, SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL, 0, 0, 0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    if isolated:
        drop_privileges()
        os.chdir(WORK)
    else:
        os.chdir(request["folder"])
    limits = request["limits"]
    set_limits(
        limits["memory"],
        limits["processes"],
        limits["open_files"],
        limits["disk"],
        limits["seconds"],
    )
    if isolated:
        refuse()
    Runner(socket.socket(fileno=data), shell).serve()


def drop_privileges() -> None:
    """No capability, now or later."""
    for capability in range(64):  # beyond the last one the kernel says no, which is no matter
        libc.prctl(DROP_BOUND, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    call(libc.capset, header, (ctypes.c_uint32 * 6)())
    call(libc.prctl, NO_NEW_PRIVILEGES, 1, 0, 0, 0)
