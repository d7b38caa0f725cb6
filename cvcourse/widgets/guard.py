"""The learner's function, guarded: when it cannot be drawn the course's own stands in, and the
widget says so."""

import functools
import inspect
import io
import linecache
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIBRARIES = tuple(
    {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parent)}
)


@dataclass(frozen=True)
class Note:
    """A line under the picture. kind: "yours", "course" (a fall back) or "error"."""

    kind: str
    text: str


class Guard:
    """Calls the learner's `function`; after a failure, the `fallback` for the rest of that drawing.

    Attributes are those of the function in use, so that a guarded nn.Module still gives its
    parameters.
    """

    def __init__(self, function: Any, fallback: Any = None):
        self.function, self.fallback = function, fallback
        self.name = name_of(function if function is not None else fallback)
        self._expected: dict[Any, Any] = {}  # call signature -> shape that the fallback gives
        self.forget()

    def forget(self) -> None:
        """Begin a new drawing with the learner's function."""
        self.trouble, self.error, self.own_calls = "", None, 0

    def give_up(self, trouble: str, error: BaseException | None = None) -> None:
        """Use the fallback from now on, and say why."""
        self.trouble, self.error = trouble, error

    @property
    def in_use(self) -> Any:
        """The function (or class, or module) that draws: the learner's, or the fallback after a
        failure."""
        return self.fallback if self.trouble and self.fallback is not None else self.function

    @property
    def took_part(self) -> bool:
        """Whether there is something to say of it: a plain function that was never called has drawn
        nothing."""
        return bool(self.trouble or self.own_calls) or not _is_plain(self.function)

    @property
    def can_stand_in(self) -> bool:
        """Whether the fallback could still be tried."""
        return self.fallback is not None and not self.trouble

    @property
    def mixed(self) -> bool:
        """Whether one drawing used both functions, so that it has to be drawn again with one."""
        return bool(self.trouble) and self.own_calls > 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.trouble:
            result = self._try(args, kwargs)
            if not self.trouble:
                self.own_calls += 1
                return result
        if self.fallback is None:
            raise self.error or RuntimeError(f"{self.name} {self.trouble}")
        return self.fallback(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.in_use, name)

    def note(self) -> Note:
        """What the reader is told about who drew the picture."""
        if not self.trouble:
            return Note("yours", f"Drawn by your `{self.name}`.")
        if self.fallback is None:
            written = self.trouble != "is not written yet"
            return Note("error" if written else "course", f"Your `{self.name}` {self.trouble}.")
        return Note("course", f"Drawn by the course's own `{self.name}`: yours {self.trouble}.")

    def _try(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The learner's result; sets `trouble` when there is none, or one of another shape than
        expected."""
        if self.function is None or self.function is Ellipsis:
            return self.give_up("is not written yet")
        try:
            result = self.function(*args, **kwargs)
        except NotImplementedError as error:
            return self.give_up("is not written yet", error)
        except (Exception, SystemExit) as error:
            return self.give_up(f"raised {describe(error)}", error)
        if result is None:
            return self.give_up("returned None")
        complaint = self._shape_complaint(result, args, kwargs)
        if complaint:
            return self.give_up(complaint)
        return result

    def _shape_complaint(self, result: Any, args: tuple, kwargs: dict[str, Any]) -> str:
        """Empty, or "returned shape X where Y is expected". The fallback is asked once per kind of
        call."""
        if self.fallback is None or not _is_plain(self.function) or not _is_plain(self.fallback):
            return ""
        key = (_signature(args), _signature(kwargs))
        if key not in self._expected:
            try:
                with _unchanged_randomness([*args, *kwargs.values()]):
                    self._expected[key] = _shape(self.fallback(*args, **kwargs))
            except (
                Exception
            ):  # then the fallback cannot tell; if it is at fault, drawing with it will show
                self._expected[key] = None
        expected, given = self._expected[key], _shape(result)
        if expected is None or given == expected:
            return ""
        if given is None:
            return f"returned a {type(result).__name__} where shape {expected} is expected"
        return f"returned shape {given} where {expected} is expected"


def name_of(function: Any) -> str:
    """What the learner calls it: a function's or class's name, or the class of a module."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return getattr(function, "__name__", None) or type(function).__name__


def owns(guard: Guard, error: BaseException) -> bool:
    """Whether the error was raised inside the guarded function or a method of the guarded class."""
    subject = guard.function
    subject = subject if hasattr(subject, "__qualname__") else type(subject)
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any((f.f_code.co_qualname + ".").startswith(subject.__qualname__ + ".") for f in frames)


def describe(error: BaseException) -> str:
    """One sentence: type, message, and the last line that is neither Python's, a library's nor the
    widget's."""
    message = f"{type(error).__name__}: {error}".rstrip(": \n.")
    line = own_line(error)
    return f"{message} (line `{line}`)" if line else message


def own_line(error: BaseException) -> str:
    """The learner's line that failed, or "" when it is unknown (typed at a prompt, say)."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(_LIBRARIES):
            return (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return ""


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep prints and warnings out of the notebook while drawing; yields what was printed.

    A lab redraws many times a second: each print would add a line to the page.
    """
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield printed


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread while drawing: pictures are small, and the browser, at work beside it,
    wants a core too."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _unchanged_randomness(values: list[Any]) -> Iterator[None]:
    """Leave torch's global generator, and generators among the arguments, as they were."""
    torch = sys.modules.get("torch")
    generators = [
        value for value in values if hasattr(value, "get_state") and hasattr(value, "set_state")
    ]
    generators += [torch.random.default_generator] if torch else []
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _is_plain(function: Callable) -> bool:
    """Whether calling it twice is harmless: a function, not a class or a module with state."""
    function = function.func if isinstance(function, functools.partial) else function
    return inspect.isroutine(function)


def _signature(values: Any) -> Any:
    """What decides the shape of a result: shapes of arrays, and plain values."""
    if hasattr(values, "shape"):
        return tuple(values.shape)
    if isinstance(values, dict):
        return tuple((name, _signature(value)) for name, value in values.items())
    if isinstance(values, list | tuple):
        return tuple(_signature(value) for value in values)
    return values if isinstance(values, str | int | float | bool | None) else type(values)


def _shape(result: Any) -> Any:
    """The shape of an array, a tuple of shapes for several arrays, () for a number, else None."""
    if hasattr(result, "shape"):
        return tuple(result.shape)
    if isinstance(result, list | tuple) and all(hasattr(part, "shape") for part in result):
        return tuple(tuple(part.shape) for part in result)
    return () if isinstance(result, int | float) else None
