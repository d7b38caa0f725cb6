"""The runner: runs a learner's cells and puts the functions to the test, inside the sandbox.

It never decides. The host drives it, one request at a time: run this cell, try these cases on that
exercise. A check sees the notebook's names as they were where it stands, but it is made after the
last cell has run, and hidden cases come last of all: what a function remembers of them, no cell is
left to show.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from autograder import check as door
from autograder.checking import observe
from autograder.checking.key import unpack_values
from autograder.checking.libraries import LIBRARIES
from autograder.checking.limits import TooSlow
from autograder.checking.outcome import (
    NOT_ATTEMPTED,
    OUT_OF_MEMORY,
    TIMEOUT,
    Failure,
    Outcome,
    plain,
)
from autograder.checking.probe import Draw, Probe, ProbeFile, load_source
from autograder.checking.shortcuts import OperatorWatch
from autograder.sandbox.wire import (
    OUTPUT_LIMIT,
    HangUp,
    Header,
    Malformed,
    pack_outcome,
    receive,
    send,
)

MOST_OUTPUTS = 190
PROBES = "<probes>"  # the file that the probes say they come from
OF_OBSERVE = (
    "observe",
    "Watched",
    "captured",
    "changed_draws",
    "differs",
    "remember",
    "is_as_it_was",
    "explain",
    "plain",
)
# What a check relies on in this process; another object in its place is a sign of tampering.
RELIED_ON = (
    *((observe, name) for name in OF_OBSERVE),
    *((OperatorWatch, name) for name in ("__enter__", "__exit__", "note")),
    *((Draw, name) for name in ("__init__", "_give", "_replay")),
    *((Probe, name) for name in ("run",)),
    *((torch, name) for name in ("equal", "manual_seed", "zeros", "is_tensor")),
    *(
        (torch.Tensor, name)
        for name in ("detach", "clone", "cpu", "as_subclass", "contiguous", "numel")
    ),
    *((sys, name) for name in ("setprofile", "getprofile")),
    *((socket.socket, name) for name in ("sendall", "recv_into")),
)


class LibraryCalls:
    """Notes forbidden library functions that a learner's code calls, whatever it calls them by.

    torch's own are seen by OperatorWatch, wherever they are called from; these are numpy's, scipy's
    and the others'.
    """

    def __init__(self, forbidden: Iterable[str]):
        self.forbidden = frozenset(forbidden)
        self.seen: set[str] = set()
        self.was_replaced = False

    def __enter__(self) -> LibraryCalls:
        if self.forbidden:
            self.hook = self.note
            threading.setprofile(self.hook)
            sys.setprofile(self.hook)
        return self

    def __exit__(self, *exception: Any) -> None:
        if self.forbidden:
            self.was_replaced = sys.getprofile() is not self.hook
            sys.setprofile(None)
            threading.setprofile(None)

    def note(self, frame: types.FrameType, event: str, called: Any) -> None:
        """Python's profiler calls this at every call and return.

        So the name is looked at before all else.
        """
        if event == "c_call":
            name = called.__name__
        elif event == "call":
            name = frame.f_code.co_name
        else:
            return
        if name not in self.forbidden:
            return

        if event == "call":
            module, caller = frame.f_globals.get("__name__"), frame.f_back
        else:
            module, caller = module_of(called), frame
        if is_library(module) and is_learners(caller):
            self.seen.add(name)


def module_of(function: Any) -> str | None:
    """The module of a function or method that is written in C."""
    owner = type(getattr(function, "__self__", None))
    return getattr(function, "__module__", None) or owner.__module__


def is_library(module: Any) -> bool:
    """Whether a module belongs to a library whose functions an exercise may forbid."""
    return isinstance(module, str) and module.split(".")[0] in LIBRARIES


def is_learners(frame: types.FrameType | None) -> bool:
    """Whether a call comes from a learner's code, directly or through functions of libraries."""
    while frame is not None and is_library(frame.f_globals.get("__name__")):
        frame = frame.f_back
    if frame is None:
        return True  # a thread of its own
    package = frame.f_globals.get("__package__") or ""
    return frame.f_code.co_filename != PROBES and package.split(".")[0] != "autograder"


class LaterChecker:
    """Stands in for the notebook's own `check`.

    The checks are made afterwards, and not by the notebook.
    """

    def __init__(self, unit: str, folder: Any = None):
        self.unit = unit

    def __call__(self, answer: Any = None, /, **answers: Any) -> None:
        """Nothing to see here: the verdict comes from outside."""

    def hint(self, *exercise: Any, **answers: Any) -> None:
        """Hints are for the learner's own notebook."""


# Cells


class Collector:
    """Collects what a cell shows, as a notebook would hold it, up to a limit."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []
        self.left = OUTPUT_LIMIT

    def add(self, output: dict[str, Any], size: int) -> None:
        """Keep one output while there is room."""
        if self.left > 0 and len(self.outputs) < MOST_OUTPUTS:
            self.outputs.append(output)
        self.left -= size

    def write(self, name: str, text: str) -> None:
        """Add to a stream."""
        text = text[: max(self.left, 0)]
        last = self.outputs[-1] if self.outputs else {}
        if last.get("name") == name and text:
            last["text"] += text
            self.left -= len(text)
        elif text:
            self.add({"output_type": "stream", "name": name, "text": text}, len(text))

    def data(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add a result or a display."""
        kept = {str(mime): text_of(value) for mime, value in data.items()}
        room = max(self.left, 0)
        if sum(map(len, kept.values())) > room:  # half a picture is of no use, half a text is
            text = kept.get("text/plain", "")[:room]
            kept = {"text/plain": f"{text} (more output was cut)"}
        self.add({"output_type": kind, "data": kept}, sum(map(len, kept.values())))


def text_of(value: Any) -> str:
    """Display data as a notebook file holds it."""
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    return value if isinstance(value, str) else repr(value)


class Stream:
    """A cell's stdout or stderr."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, name: str, shell: RunnersShell):
        self.name, self.shell = name, shell

    def write(self, text: str) -> int:
        """Collect text."""
        self.shell.collector.write(self.name, str(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Collect lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """No terminal."""
        return False

    def fileno(self) -> int:
        """A descriptor that leads nowhere."""
        return 1


class Publisher(DisplayPublisher):
    """Sends displays to the collector."""

    shell: RunnersShell

    def publish(self, data, *arguments, **keywords):
        """Collect a display."""
        self.shell.collector.data("display_data", data)


class Hook(DisplayHook):
    """Sends a cell's last value to the collector."""

    shell: RunnersShell

    def write_output_prompt(self):
        """No prompt."""

    def write_format_data(self, format_dict, md_dict=None):
        """Collect the value."""
        self.shell.collector.data("execute_result", format_dict)


class RunnersShell(InteractiveShell):
    """IPython, as in a kernel: magics, display and tracebacks. It shows things to a collector."""

    collector = Collector()

    def init_display_formatter(self) -> None:
        """All formats, as in a notebook."""
        super().init_display_formatter()
        formatter = self.display_formatter
        if formatter is not None:
            formatter.active_types = formatter.format_types

    def _showtraceback(self, etype, evalue, stb):
        if etype is TooSlow:
            return
        trace = stb.split("\n") if isinstance(stb, str) else stb
        lines = [str(line) for line in trace][-60:]
        output = {
            "output_type": "error",
            "ename": str(etype.__name__),
            "evalue": str(evalue)[:1000],
            "traceback": lines,
        }
        self.collector.add(output, sum(map(len, lines)))


def make_shell() -> RunnersShell:
    """The shell, made once before the forks."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.RunnersShell.display_pub_class = Publisher
    config.RunnersShell.displayhook_class = Hook
    return RunnersShell.instance(config=config, display_pub_class=Publisher, displayhook_class=Hook)


# The runner's loop


class Runner:
    """One submission's process."""

    def __init__(self, connection: socket.socket, shell: RunnersShell):
        self.connection = connection
        self.shell = shell
        self.namespace = shell.user_ns
        self.probes = ProbeFile(Path("probes.py"))
        self.names_at: dict[str, dict[str, Any]] = {}
        self.signs: list[str] = []  # of tampering
        self.watches_calls = True
        self.relied_on = [(owner, name, getattr(owner, name)) for owner, name in RELIED_ON]
        self.requests: Mapping[str, Callable[..., None]] = {
            "start": self.start,
            "cell": self.cell,
            "mark": self.mark,
            "check": self.check_quietly,
            "answers": self.answers,
            "examine": self.examine,
        }

    def serve(self) -> None:
        """Answer requests until the host hangs up."""
        with contextlib.suppress(HangUp, Malformed):
            while True:
                header, tensors = receive(self.connection)
                self.requests[header.pop("do")](header, tensors)

    def start(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """Set the stage: seeds, files of the unit, its probes."""
        random.seed(header["seed"])
        np.random.seed(header["seed"] % 2**32)
        torch.manual_seed(header["seed"])
        for name, text in header["files"].items():
            Path(name).write_text(text, encoding="utf-8")
        # Not the copy in the folder, which the learner's code may change.
        self.probes = load_source(header["probes"], Path(PROBES))
        vars(door)["Checker"] = LaterChecker
        sys.stdout, sys.stderr = Stream("stdout", self.shell), Stream("stderr", self.shell)
        here = os.getcwd()
        sys.path = [*(entry for entry in sys.path if entry not in ("", here)), here]
        send(self.connection, {"started": True})

    def cell(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """Run one cell."""
        self.shell.collector = collector = Collector()
        state = ""
        try:
            with time_limit(header["seconds"]):
                result = self.shell.run_cell(header["source"], store_history=True)
            error = result.error_before_exec or result.error_in_exec
            state = state_of(error)
        except TooSlow:  # it arrived while IPython itself was at work
            state = TIMEOUT
        except BaseException as error:  # nothing that a learner raises may end the runner
            state = state_of(error)
        reply = {"outputs": collector.outputs, "state": state, "tampered": self.tampered()}
        send(self.connection, reply)

    def answers(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """Give the named answers as plain numbers."""
        found = {name: plain_answer(self.namespace.get(name)) for name in header["names"]}
        send(self.connection, {"answers": found})

    def mark(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """Remember the notebook's names for a check that stands here."""
        self.names_at[header["exercise"]] = dict(self.namespace)

    def check_quietly(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """Try cases of an exercise, with logging switched off once and not for each."""
        with observe.no_logs():
            self.check(header, tensors)

    def check(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """Try cases of an exercise: one outcome a case, sent as soon as it is there."""
        name, forbid = header["exercise"], header["forbid"]
        ends = time.monotonic() + header["seconds"]
        # Watching takes its time, and most notebooks call torch alone.
        self.watches_calls = header["watch_calls"]
        end_other_processes()
        # The functions of the notebook look names up in this very dictionary.
        self.namespace.clear()
        self.namespace.update(self.names_at.get(name, {}))
        answer = self.namespace.get(name)
        position, late = 0, False
        for index, case in enumerate(header["cases"]):
            inputs = tensors[position : position + case["inputs"]]
            position += case["inputs"]
            if answer is None:
                outcome = Outcome(failure=Failure(NOT_ATTEMPTED))
            elif late:
                outcome = Outcome(failure=Failure(TIMEOUT))
            else:
                left = ends - time.monotonic()
                outcome = self.try_case(name, case, inputs, answer, forbid, left)
                late = outcome.failure is not None and outcome.failure.kind == TIMEOUT
            packed, arrays = pack_outcome(outcome)
            send(self.connection, {"case": index, "tampered": self.tampered(), **packed}, arrays)

    def try_case(
        self,
        name: str,
        case: Header,
        inputs: list[torch.Tensor],
        answer: Any,
        forbid: list[str],
        seconds: float,
    ) -> Outcome:
        """One case."""
        try:
            probe = self.probes.find(name, case["probe"])
            draw = Draw(case["seed"], case["dtype"], inputs)
            values = unpack_values(case["values"])
            watched = forbid if self.watches_calls else ()
            with time_limit(max(seconds, 0.05)), LibraryCalls(watched) as calls:
                outcome = observe.observe(probe, values, draw, answer, forbid)
            if calls.was_replaced:
                self.signs.append("Python's profiler was replaced")
            return replace(outcome, shortcuts=tuple(sorted({*outcome.shortcuts, *calls.seen})))
        except TooSlow:
            return Outcome(failure=Failure(TIMEOUT))
        except BaseException as error:
            if state_of(error) == OUT_OF_MEMORY:
                return Outcome(failure=Failure(OUT_OF_MEMORY))
            return Outcome(failure=Failure(type(error).__name__, str(error)[:300]))

    def tampered(self) -> list[str]:
        """What this process relies on and is no longer what it was."""
        found = list(self.signs)
        for owner, name, original in self.relied_on:
            if getattr(owner, name, None) is not original:
                found.append(f"{getattr(owner, '__name__', owner)}.{name} was replaced")
        return found

    def examine(self, header: Header, tensors: list[torch.Tensor]) -> None:
        """What this process can reach: the host compares it with what the sandbox promises."""
        from autograder.sandbox.selftest import examine

        send(self.connection, examine(header))


def end_other_processes() -> None:
    """End what cells left running.

    A function is put to the test alone, not with a process that computes for it. Only in a
    namespace of its own: elsewhere these would be somebody's processes.
    """
    if os.getppid() == 1:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(-1, signal.SIGKILL)


def plain_answer(value: Any) -> list[Any]:
    """[kind, number] of an answer; only real numbers cross."""
    if value is None or value is Ellipsis:
        return ["missing", None]
    kind = type(value).__name__[:100]
    try:
        item = plain(value)
    except Exception:  # an object of the learner's, which need not behave
        return [kind, None]
    if item.numbers.numel() != 1 or not item.is_comparable or item.kind.startswith("tuple of "):
        return [kind, None]  # as in the notebook's own check, [9] is not 9
    number = item.numbers.reshape(()).item()
    return ["number", number] if math.isfinite(number) else [kind, None]


def state_of(error: BaseException | None) -> str:
    """The special state that an exception stands for."""
    if isinstance(error, TooSlow):
        return TIMEOUT
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    is_torchs = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return OUT_OF_MEMORY if is_torchs else ""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TooSlow after `seconds` of processor time, or three times as much on the clock.

    A busy machine is no fault of the learner's; a program that sleeps is.
    """

    def stop(signum: int, frame: types.FrameType | None) -> None:
        raise TooSlow

    clocks = ((signal.SIGPROF, signal.ITIMER_PROF, 1), (signal.SIGALRM, signal.ITIMER_REAL, 3))
    for number, clock, factor in clocks:
        signal.signal(number, stop)
        # Again and again, for a `finally` may swallow one.
        signal.setitimer(clock, seconds * factor, 0.5)
    try:
        yield
    finally:
        for _, clock, _ in clocks:
            signal.setitimer(clock, 0)


def set_limits(memory: int, processes: int, open_files: int, file_size: int, seconds: int) -> None:
    """The limits of this process and of all that it starts."""
    limits = {
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_NPROC: processes,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file beyond the limit is an OSError, no death
