"""The sandbox: bubblewrap around the warm server, and the proof that it holds what it promises."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.errors import CourseError
from autograder.sandbox import syscalls
from autograder.sandbox.server import PLAYGROUND

NOBODY = 65534
# Where autograder and cvcourse lie; solutions may lie there, too.
PACKAGES = Path(__file__).resolve().parent.parent.parent
# Isolated from the caller's environment, and yet this very copy of the packages, wherever it was
# imported from.
SERVE = (
    f"import sys; sys.path.insert(0, {str(PACKAGES)!r}); from autograder.sandbox.server import"
    " main; main()"
)
READY_SECONDS = 120.0
SYSTEM_LINKS = ("bin", "sbin", "lib", "lib32", "lib64")
SYSTEM_FILES = ("ld.so.cache", "alternatives", "fonts", "localtime", "mime.types")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "USER": "student",
    "LOGNAME": "student",
    "HOME": f"{PLAYGROUND}/home",
    "TMPDIR": f"{PLAYGROUND}/tmp",
    "MPLCONFIGDIR": f"{PLAYGROUND}/tmp/matplotlib",
    "IPYTHONDIR": f"{PLAYGROUND}/tmp/ipython",
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "CVCOURSE_WIDGETS": "off",
}
READ_ONLY = ["/", "/usr", "/etc", "/dev", str(PACKAGES / "autograder")]
# A variable of the host's alone. Others prove nothing: libraries set the same ones on both sides.
CANARY = "CVCOURSE_HOST_ENVIRONMENT"
INSTALL = (
    "install bubblewrap (Debian, Ubuntu: `sudo apt install bubblewrap`; Fedora: `sudo dnf install"
    " bubblewrap`)"
)
OVERRIDE = "`--unsafe` grades without a sandbox, and every grade says so"


class SandboxError(CourseError):
    """The sandbox is missing, does not start, or is weaker than promised."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    memory: int = 2 * 2**30  # bytes, each process (RLIMIT_DATA) and all together
    processes: int = 32
    open_files: int = 256
    disk: int = 64 * 2**20  # bytes, of a file and of all files
    cell_seconds: float = 30.0  # processor time of one cell; three times as long on the clock
    check_seconds: float = 20.0  # of one exercise's check
    notebook_seconds: float = 300.0  # on the clock, all cells, checks and restarts together

    @classmethod
    def of(cls, seconds: float) -> Limits:
        """The limits where a cell or check may take `seconds` of processor time."""
        in_all = max(cls().notebook_seconds, 4 * seconds)
        return cls(cell_seconds=seconds, check_seconds=seconds, notebook_seconds=in_all)

    def of_processes(self) -> dict[str, int]:
        """What the supervisor sets and watches."""
        return {
            "memory": self.memory,
            "processes": self.processes,
            "open_files": self.open_files,
            "disk": self.disk,
            "seconds": int(self.notebook_seconds) + 10,
        }


class Fork:
    """One submission's processes: `data` talks with the runner, `watch` with its supervisor.

    folder: where they work without a sandbox; it is removed at the end.
    """

    def __init__(self, data: socket.socket, watch: socket.socket, folder: str = ""):
        self.data, self.watch, self.folder = data, watch, folder

    def end(self, seconds: float = 5.0) -> dict[str, object]:
        """Make them end; returns how they did (empty where the supervisor says nothing)."""
        report: dict[str, object] = {}
        with contextlib.suppress(OSError):
            self.data.close()
        with contextlib.suppress(OSError, ValueError):
            self.watch.settimeout(seconds)
            report = self.last_word()
        self.watch.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        return report

    def kill(self) -> dict[str, object]:
        """Kill them, whatever they do."""
        with contextlib.suppress(OSError):
            self.watch.send(b"{}")
        return self.end()

    def last_word(self) -> dict[str, object]:
        """What the supervisor reports at the end."""
        while text := self.watch.recv(2**16):
            report = json.loads(text)
            if "exit" in report:
                return report
        return {}


class Sandbox:
    """The warm server in its sandbox, from the host's side.

    Threads may fork from it at the same time.
    hidden: paths of the host that a submission must not see. preload: modules to import once.
    Raises SandboxError.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        unsafe: bool = False,
        preload: Sequence[str] = (),
        hidden: Sequence[Path] = (),
    ):
        self.limits = limits or Limits()
        self.unsafe = unsafe
        self.hidden = [str(Path(path).resolve()) for path in hidden]
        self._lock = threading.Lock()
        self._preload = list(preload)
        self._stage: Path | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._start()

    def _start(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.set_inheritable(theirs.fileno(), True)
        mode = "plain" if self.unsafe else "namespaces"
        server = [os.path.abspath(sys.executable), "-I", "-c", SERVE, str(theirs.fileno()), mode]
        command = server if self.unsafe else self._wrapped(server)
        additions = unsafe_environment() if self.unsafe else {CANARY: "visible"}
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **additions},
            start_new_session=True,
        )
        theirs.close()
        with contextlib.suppress(OSError):  # it has died already: whoever waits for it is told why
            self.control.send(json.dumps({"preload": self._preload}).encode())

    def _wrapped(self, server: list[str]) -> list[str]:
        bubblewrap = shutil.which("bwrap")
        if bubblewrap is None:
            raise SandboxError(
                f"Learners' code is graded in a sandbox, and bubblewrap is not here: {INSTALL}."
                f" {OVERRIDE}."
            )
        if os.getuid() != 0:
            return [bubblewrap, *arguments([(path, path) for path in needed_paths()]), *server]
        place = "/run" if os.path.isdir("/run") else None
        self._stage = Path(tempfile.mkdtemp(prefix="cvcourse-stage-", dir=place))
        return as_nobody(bubblewrap, server, self._stage)

    def wait_until_ready(self) -> dict[str, object]:
        """Wait for the server. Raises SandboxError when it does not start."""
        self.control.settimeout(READY_SECONDS)
        try:
            text = self.control.recv(2**16)
        except OSError:
            text = b""
        self._unstage()
        if not text:
            raise SandboxError(f"The sandbox does not start: {self.complaint()}. {OVERRIDE}.")
        self.ready = json.loads(text)
        return self.ready

    def complaint(self) -> str:
        """The last thing that the server or bubblewrap said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
        said = self._last_line() or "it says nothing"
        if "user namespace" in said or "uid map" in said or "Operation not permitted" in said:
            return (
                f"{said}; this system forbids user namespaces to ordinary programs (`cvcourse"
                " doctor` says more)"
            )
        return said

    def fork(self) -> Fork:
        """Processes for one submission. Raises SandboxError when the server is gone."""
        data, runner = socket.socketpair()
        watch, supervisor = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        folder = tempfile.mkdtemp(prefix="cvcourse-unsafe-") if self.unsafe else ""
        fork = Fork(data, watch, folder)
        request = json.dumps({"limits": self.limits.of_processes(), "folder": folder}).encode()
        with self._lock, runner, supervisor:
            theirs = [runner.fileno(), supervisor.fileno()]
            try:
                socket.send_fds(self.control, [request], theirs)
            except OSError as error:
                fork.end(0.1)
                raise SandboxError(f"The sandbox is gone: {self.complaint()}.") from error
        watch.settimeout(30)
        try:
            started = bool(watch.recv(2**16))
        except OSError:
            started = False
        if not started:
            fork.end(0.1)
            raise SandboxError(
                f"No submission can be started in the sandbox: {self.complaint_of_fork()}."
            )
        return fork

    def complaint_of_fork(self) -> str:
        """The last thing that a fork said before it gave up."""
        return self._last_line() or "the server is gone"

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read()[-4000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def examine(self) -> list[str]:
        """What the sandbox does not hold of what it promises, in words."""
        if self.unsafe:
            return []
        from autograder.sandbox.wire import HangUp, Malformed, Silence, receive, send

        fork = self.fork()
        try:
            send(fork.data, {"do": "examine", "paths": self.hidden, "folders": READ_ONLY})
            found, _ = receive(fork.data, 20)
        except (HangUp, Silence, Malformed) as error:
            return [f"it could not be examined ({type(error).__name__})"]
        finally:
            fork.end()
        return broken_promises(found, self.limits)

    def must_hold(self) -> None:
        """Raise SandboxError where the sandbox is weaker than promised."""
        problems = self.examine()
        if problems:
            raise SandboxError(
                f"The sandbox is weaker than promised: {'; '.join(problems)}. `cvcourse doctor`"
                f" says what to mend. {OVERRIDE}."
            )

    def close(self) -> None:
        """End the server and everything in it."""
        self.control.close()
        with contextlib.suppress(ProcessLookupError):
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._unstage()
        self._log.close()

    def _unstage(self) -> None:
        if self._stage is not None:
            # Its mounts live in the server's namespace alone: here it is empty.
            with contextlib.suppress(OSError):
                self._stage.rmdir()
            self._stage = None


def unsafe_environment() -> dict[str, str]:
    """Settings that hold without a sandbox, too."""
    kept = (
        "MPLBACKEND",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "CVCOURSE_WIDGETS",
    )
    return {name: ENVIRONMENT[name] for name in kept}


def needed_paths() -> list[Path]:
    """What Python needs to run the course's packages: nothing of the course itself."""
    wanted = [Path(sys.prefix), Path(sys.base_prefix)]
    wanted += [PACKAGES / "autograder", PACKAGES / "cvcourse"]
    wanted += [Path(folder) for folder in site.getsitepackages()]
    wanted.append(Path(sysconfig.get_path("stdlib")))
    found: list[Path] = []
    for path in wanted:
        inside = any(path.is_relative_to(other) for other in (Path("/usr"), *found))
        if not inside and path.resolve() != PACKAGES and not PACKAGES.is_relative_to(path):
            found.append(path)
    return found


def arguments(binds: Sequence[tuple[Path, Path]]) -> list[str]:
    """bubblewrap's arguments. binds: (where it lies, where it shall appear), read-only."""
    words = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--cap-drop", "ALL"]
    words += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"]
    words += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", "/usr", "/usr"]
    for name in SYSTEM_LINKS:
        link = Path("/") / name
        if link.is_symlink():
            words += ["--symlink", os.readlink(link), str(link)]
        elif link.is_dir():
            words += ["--ro-bind", str(link), str(link)]
    for name in SYSTEM_FILES:
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    words += ["--tmpfs", PLAYGROUND, "--dir", f"{PLAYGROUND}/home", "--dir", f"{PLAYGROUND}/tmp"]
    if not any(place.is_relative_to("/tmp") for _, place in binds):
        words += ["--symlink", f"{PLAYGROUND}/tmp", "/tmp"]
    for source, place in binds:
        words += ["--ro-bind", str(source), str(place)]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    return [*words, "--remount-ro", "/", "--remount-ro", "/dev", "--chdir", PLAYGROUND, "--"]


def as_nobody(bubblewrap: str, server: list[str], stage: Path) -> list[str]:
    """As root: run bubblewrap as the user nobody, for process limits do not bind root.

    nobody may be unable to reach what Python needs (it may lie in /root), so root binds it to a
    staging folder that only this command's mount namespace sees.
    """
    for tool in ("unshare", "setpriv", "mount"):
        if shutil.which(tool) is None:
            raise SandboxError(
                f"Grading as root needs `{tool}` (package util-linux): install it, or grade as an"
                " ordinary user."
            )
    lines = ["set -e", f"mount -t tmpfs -o mode=755 cvcourse {shlex.quote(str(stage))}"]
    binds = []
    for number, path in enumerate(needed_paths()):
        source = stage / str(number)
        lines += [f"mkdir {source}", f"mount --bind {shlex.quote(str(path))} {source}"]
        binds.append((source, path))
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", bubblewrap]
    lines.append("exec " + shlex.join([*nobody, *arguments(binds), *server]))
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)]


def broken_promises(found: Mapping[str, Any], limits: Limits) -> list[str]:
    """What the examination found against what is promised, in words.

    A fact that is missing counts as a promise broken.
    """
    interfaces = found.get("interfaces")
    visible = ", ".join(found.get("visible", ["?"]))
    writable = ", ".join(found.get("writable", ["?"]))
    holds = {
        "code runs as root": found.get("user") != 0,
        "code holds capabilities": set(str(found.get("capabilities", "1"))) == {"0"},
        "code could gain privileges": found.get("no_new_privileges") == "1",
        "code could make user namespaces": found.get("makes_namespaces") is False,
        "system calls are not filtered": found.get("filters_calls") is syscalls.is_known(),
        f"network interfaces are visible: {interfaces}": interfaces in ([], ["lo"]),
        "the network can be reached": found.get("connects") is False,
        f"files of the host are visible: {visible}": found.get("visible") == [],
        f"folders can be written to: {writable}": found.get("writable") == [],
        "the host's environment is visible": CANARY not in found.get("environment", [CANARY]),
        "other processes are visible": int(found.get("processes", 99)) <= 3,
    }
    promised, set_there = limits.of_processes(), found.get("limits", {})
    for name in ("memory", "processes", "open_files"):
        problem = f"the limit on {name.replace('_', ' ')} does not hold"
        holds[problem] = set_there.get(name) == promised[name]
    return [problem for problem, is_kept in holds.items() if not is_kept]


@contextlib.contextmanager
def running(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, ready and proven; closed afterwards."""
    try:
        sandbox.wait_until_ready()
        sandbox.must_hold()
        yield sandbox
    finally:
        sandbox.close()
