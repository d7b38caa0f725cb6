"""Run one case of a probe on an answer and write down what came out.

Nothing here knows what is right.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import linecache
import logging
import os
import sys
import sysconfig
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from autograder.checking.handed_in import differs, is_as_it_was, remember
from autograder.checking.outcome import NOT_ATTEMPTED, Failure, Outcome, describe, plain
from autograder.checking.probe import CaseValues, Draw, DrawMismatch, MissingPart, Probe
from autograder.checking.shortcuts import OperatorWatch

PRINTED_LIMIT = 2000
MOST_PARTS = 60  # parameters of a module that are named where one is missing or too many
_OWN_FOLDERS = tuple(str(Path(__file__).parents[2] / name) for name in ("autograder", "cvcourse"))
_LIBRARY_FOLDERS = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class Watched:
    """Stands in for the learner's function or class inside a probe.

    It notes the first call, and what is changed in place of all that a call is given. Of a class,
    the methods are watched as well, when the probe calls them.
    """

    def __init__(self, answer: Callable[..., Any], may_change_inputs: bool = False):
        self.answer = self.__wrapped__ = answer
        self.may_change_inputs = may_change_inputs
        self.call = ""
        self.returned = ""
        self.changed: list[str] = []
        self.__name__ = getattr(answer, "__name__", type(answer).__name__)
        self._is_inside = False  # one of the learner's own calls is running
        self._shows_method = False

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        named = bind(self.answer, arguments, keywords)
        if not self.call:
            self.call = f"{self.__name__}({shown_arguments(named)})"
        return self._run(self.answer, named, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.answer, name)

    @contextlib.contextmanager
    def methods_too(self) -> Iterator[None]:
        """While the block runs, what the probe hands to methods of the learner's class is watched.

        On the class, not on its objects: a deep copy of one must not call the methods of another.
        """
        own = methods_of(self.answer)
        for name, method in own.items():
            setattr(self.answer, name, self._watching(name, method))
        try:
            yield
        finally:
            for name, method in own.items():
                setattr(self.answer, name, method)

    def _watching(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def watched(owner: Any, *arguments: Any, **keywords: Any) -> Any:
            if self._is_inside:
                return method(owner, *arguments, **keywords)
            bound = types.MethodType(method, owner)
            named = bind(bound, arguments, keywords)
            if not self._shows_method:
                self._shows_method = True
                called = "" if name == "forward" else f".{name}"
                self.call += f"{called}({shown_arguments(named)})"
            return self._run(bound, named, arguments, keywords)

        return watched

    def _run(
        self,
        function: Callable[..., Any],
        named: Sequence[tuple[str, Any]],
        arguments: Sequence[Any],
        keywords: dict[str, Any],
    ) -> Any:
        """Call the learner's code and look at what it was given afterwards."""
        given = [] if self.may_change_inputs else named
        before = [(name, remember(value)) for name, value in given]
        was_inside, self._is_inside = self._is_inside, True
        try:
            result = function(*arguments, **keywords)
        finally:
            self._is_inside = was_inside
        self.returned = describe(result)
        self.changed += [name for name, kept in before if not is_as_it_was(kept)]
        return result


def methods_of(answer: Any) -> dict[str, Callable[..., Any]]:
    """The methods that a class defines itself and a probe may call, by name."""
    if not inspect.isclass(answer):
        return {}
    own = {name: member for name, member in vars(answer).items() if inspect.isfunction(member)}
    return {name: member for name, member in own.items() if not name.startswith("_")}


def shown_arguments(named: Sequence[tuple[str, Any]]) -> str:
    """The arguments of a call as the report shows them."""
    return ", ".join(argument(name, value) for name, value in named)


def argument(name: str, value: Any) -> str:
    """An argument in a call as the report shows it: `signal (9,) float32`, `stride=2`."""
    sign = " " if isinstance(value, Tensor) else "="
    return f"{name}{sign}{describe(value)}"


def bind(
    function: Callable[..., Any], arguments: Sequence[Any], keywords: dict[str, Any]
) -> list[tuple[str, Any]]:
    """Pair each argument with its parameter's name.

    Where the call does not fit the signature, arguments are numbered.
    """
    try:
        bound = inspect.signature(function).bind(*arguments, **keywords).arguments
    except (TypeError, ValueError):
        numbered = [(f"argument {number}", value) for number, value in enumerate(arguments, 1)]
        return [*numbered, *keywords.items()]
    return list(bound.items())


def observe(
    probe: Probe,
    values: CaseValues,
    draw: Draw,
    answer: Callable[..., Any],
    forbidden: Iterable[str] = (),
) -> Outcome:
    """Run `probe` on `answer` with one case's values.

    Exceptions become failures; prints and warnings are kept, not shown.
    """
    watched = Watched(answer, probe.may_change_inputs)
    printed = io.StringIO()
    watch = OperatorWatch(forbidden)
    try:
        with (
            captured(printed),
            torch.random.fork_rng(devices=[]),
            torch.enable_grad(),
            watched.methods_too(),
            watch,
        ):
            seed(draw.seed)
            returned = probe.run(watched, draw, values)
        results = {name: plain(value) for name, value in returned.items()}
        failure = None
    except DrawMismatch:
        raise
    except (Exception, SystemExit) as error:
        results, failure = {}, explain(error, probe, watched)
    changed: list[str] = []
    if not probe.may_change_inputs:
        changed = watched.changed + changed_draws(watched, draw)
    return Outcome(
        values=results,
        failure=failure,
        changed=tuple(dict.fromkeys(changed)),
        call=watched.call,
        shortcuts=tuple(sorted(watch.seen)),
        printed=printed.getvalue()[:PRINTED_LIMIT],
        parts=tuple(draw.parts) if len(draw.parts) <= MOST_PARTS else (),
    )


def seed(number: int) -> None:
    """Seed torch's generators.

    Where no GPU is in use, `torch.manual_seed` formats three tracebacks for later, at every call: a
    fifth of a check.
    """
    if torch.cuda.is_initialized():
        torch.manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)


@contextlib.contextmanager
def captured(printed: io.StringIO) -> Iterator[None]:
    """Keep what learner code prints, warns and logs out of the cell.

    nbgrader takes any output on stderr for a failure.
    """
    out, err = contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed)
    with out, err, no_raw_stderr(), no_logs(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def no_logs() -> Iterator[None]:
    """Silence logging: a handler made earlier holds the cell's own stderr.

    Switching costs a walk over every logger there is; around many cases, do it once.
    """
    before = logging.root.manager.disable
    if before >= logging.CRITICAL:
        yield
        return
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def no_raw_stderr() -> Iterator[None]:
    """Silence what libraries write to file descriptor 2, past Python.

    A notebook's kernel shows that as stderr, too.
    """
    try:
        kept = os.dup(2)
    except OSError:  # there is none, as in a program without a console
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def changed_draws(watched: Watched, draw: Draw) -> list[str]:
    """Changed inputs that no call of the function shows, as when a module was called."""
    pairs = zip(draw.given, draw.drawn, strict=True)
    changed = any(differs(given, pristine) for given, pristine in pairs)
    return ["an input"] if changed and not watched.changed else []


def explain(error: BaseException, probe: Probe, watched: Watched) -> Failure:
    """Turn an exception into a failure with the learner's own line."""
    frame = learners_frame(error.__traceback__, probe)
    number = frame.lineno or 0 if frame else 0
    line = frame_line(frame) if frame else ""
    message = str(error).strip().split("\n")[0][:300]
    if type(error) is NotImplementedError:
        if "required" in message and "forward" in message:  # torch's own words
            name = watched.__name__
            message = f"{name} made a module without a method `forward`; is its name misspelt?"
            return Failure("AttributeError", message)
        if not line or "NotImplementedError" in line:
            return _not_written(frame, watched, Failure(NOT_ATTEMPTED, message, line, number))
    if isinstance(error, MissingPart):
        return Failure("a part is missing", message)
    if not line and watched.returned == "None":
        message = "nothing (None) was returned; is a `return` missing?"
    elif not line and watched.returned:
        message = (
            f"the check could not use what {watched.__name__} returned: {watched.returned}"
            f" ({message})"
        )
    return Failure(type(error).__name__, message, line, number)


def _not_written(
    frame: traceback.FrameSummary | None, watched: Watched, not_attempted: Failure
) -> Failure:
    """Not attempted, or, where another function of the learner's said so, that one is missing."""
    if frame and file_of(watched.answer) not in (frame.filename, None):
        return Failure("NotImplementedError", f"it calls {frame.name}, which is not written yet")
    return not_attempted


def learners_frame(trace: TracebackType | None, probe: Probe) -> traceback.FrameSummary | None:
    """The last place in code that the learner wrote; None where none was running."""
    probe_file = probe.function.__code__.co_filename
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if _is_learners_file(frame.filename, probe_file)]
    return own[-1] if own else None


def frame_line(frame: traceback.FrameSummary) -> str:
    """The source line of a frame."""
    return (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()


def file_of(answer: Any) -> str | None:
    """The file (or notebook cell) that a function or class was written in.

    None where Python does not say.
    """
    code = getattr(inspect.unwrap(answer), "__code__", None)
    if code is None and inspect.isclass(answer):
        methods = [member for member in vars(answer).values() if inspect.isfunction(member)]
        code = methods[0].__code__ if methods else None
    return code.co_filename if code else None


def _is_learners_file(file: str, probe_file: str) -> bool:
    if file == probe_file or file.startswith((*_OWN_FOLDERS, *_LIBRARY_FOLDERS, "<frozen")):
        return False
    return not file.startswith(str(Path(sys.base_prefix) / "lib"))
