"""The learner's function, guarded: where it fails the course's stands in, and the lab says so."""

import functools
import inspect
import io
import linecache
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from cvcourse.widgets.drawn_by import NOT_WRITTEN, DrawnBy, Note, Who
from cvcourse.widgets.panels import Scene

_LIBRARIES = tuple(
    {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parent)}
)


class Guard:
    """Calls the learner's `function`; after a failure, the `fallback` for the rest of that picture.

    `drawn_by` is its state. Other attributes are those of the function in use, so that a guarded
    nn.Module still gives its parameters.
    """

    def __init__(self, function: Any, fallback: Any = None):
        self.function, self.fallback = function, fallback
        self.name = name_of(function if function is not None else fallback)
        self.drawn_by = DrawnBy()
        self._expected: dict[Any, Any] = {}  # call signature -> shape that the fallback gives

    @property
    def in_use(self) -> Any:
        """What draws: the learner's function, class or module; after a failure, the fallback."""
        if self.drawn_by.has_failed and self.fallback is not None:
            return self.fallback
        return self.function

    @property
    def can_stand_in(self) -> bool:
        """Whether the fallback could still be tried."""
        return self.fallback is not None and not self.drawn_by.has_failed

    @property
    def took_part(self) -> bool:
        """Whether it is named under the picture: not if it is a function that was never called."""
        return self.drawn_by.who is not Who.NOBODY or not _is_plain(self.function)

    def note(self) -> Note:
        """What the reader is told about who drew the picture."""
        return self.drawn_by.note(self.name, stood_in=self.fallback is not None)

    def give_up(self, why: str, error: BaseException | None = None) -> None:
        """Use the fallback from now on. why: what the learner's function did."""
        self.drawn_by = self.drawn_by.failed(why, error)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.drawn_by.has_failed:
            result = self._try(args, kwargs)
            if not self.drawn_by.has_failed:
                return result
        if self.fallback is None:
            raise self.drawn_by.error or RuntimeError(f"{self.name} {self.drawn_by.why}")
        return self.fallback(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.in_use, name)

    def _try(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The learner's result; `drawn_by` says where there is none, or one of a wrong shape."""
        if self.function is None or self.function is Ellipsis:
            self.give_up(NOT_WRITTEN)
            return None
        try:
            result = self.function(*args, **kwargs)
        except (Exception, SystemExit) as error:
            self.give_up(_what_it_did(error), error)
            return None
        complaint = self._complaint(result, args, kwargs)
        self.drawn_by = self.drawn_by.failed(complaint) if complaint else self.drawn_by.used()
        return result

    def _complaint(self, result: Any, args: tuple, kwargs: dict[str, Any]) -> str:
        """Empty, "returned None", or "returned shape X where Y is expected"."""
        if result is None:
            return "returned None"
        if self.fallback is None or not _is_plain(self.function) or not _is_plain(self.fallback):
            return ""
        expected, given = self._expected_shape(args, kwargs), _shape(result)
        if expected is None or given == expected:
            return ""
        if given is None:
            return f"returned a {type(result).__name__} where shape {expected} is expected"
        return f"returned shape {given} where {expected} is expected"

    def _expected_shape(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The shape that the fallback gives, asked once per kind of call; None if it cannot tell.

        If the fallback itself is at fault, drawing with it will show.
        """
        key = (_signature(args), _signature(kwargs))
        if key not in self._expected:
            try:
                with _unchanged_randomness([*args, *kwargs.values()]):
                    self._expected[key] = _shape(self.fallback(*args, **kwargs))
            except Exception:
                self._expected[key] = None
        return self._expected[key]


def by_one_hand(guards: Sequence[Guard], draw: Callable[[], Scene]) -> Scene:
    """What `draw` gives, with the learner's function or the fallback in each guard, never both.

    Raises the exception that kept it from being drawn. Every further attempt has given up at least
    one more of the learner's functions, so there are at most as many as guards.
    """
    for guard in guards:
        guard.drawn_by = DrawnBy()
    failed_before = False
    while True:
        try:
            scene = draw()
        except Exception as error:
            if failed_before and not _owners(guards, error):
                # Drawing itself is at fault: it fails with the course's functions, too.
                for guard in guards:
                    guard.drawn_by = DrawnBy()
                raise
            if not _give_up_whoever_is_to_blame(guards, error):
                raise
            failed_before = True
        else:
            if all(guard.drawn_by.who is not Who.BOTH for guard in guards):
                return scene
        for guard in guards:
            guard.drawn_by = guard.drawn_by.again()


def _give_up_whoever_is_to_blame(guards: Sequence[Guard], error: BaseException) -> bool:
    """Let fallbacks stand in after drawing failed; False if none can.

    Where the error came out of no learner's function, a result of any of them may be its cause.
    """
    owners = _owners(guards, error)
    suspects = owners or [guard for guard in guards if guard.can_stand_in]
    why = _what_it_did(error)
    if not owners and why != NOT_WRITTEN:
        why = f"gave a result that cannot be drawn, {describe(error)}"
    for guard in suspects:
        guard.give_up(why, error)
    return bool(suspects)


def _owners(guards: Sequence[Guard], error: BaseException) -> list[Guard]:
    """Those that can be given up and in whose function, or a method of it, the error was raised."""
    return [guard for guard in guards if guard.can_stand_in and owns(guard, error)]


def _what_it_did(error: BaseException) -> str:
    """The rest of a sentence about a function that raised this."""
    return NOT_WRITTEN if isinstance(error, NotImplementedError) else f"raised {describe(error)}"


def name_of(function: Any) -> str:
    """What the learner calls it: a function's or class's name, or the class of a module."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return getattr(function, "__name__", None) or type(function).__name__


def owns(guard: Guard, error: BaseException) -> bool:
    """Whether the error was raised inside the guarded function or a method of the guarded class."""
    subject = guard.function
    subject = subject if hasattr(subject, "__qualname__") else type(subject)
    name = subject.__qualname__ + "."
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any((frame.f_code.co_qualname + ".").startswith(name) for frame in frames)


def describe(error: BaseException) -> str:
    """One sentence: type, message, and the line in the learner's own code, where it is known."""
    message = f"{type(error).__name__}: {error}".rstrip(": \n.")
    line = own_line(error)
    return f"{message} (line `{line}`)" if line else message


def own_line(error: BaseException) -> str:
    """The learner's line that failed: the last one that is neither Python's, a library's nor ours.

    Empty when it is unknown (typed at a prompt, say).
    """
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
    """PyTorch on one thread while drawing.

    Pictures are small, and the browser, at work beside it, wants a core too.
    """
    torch: Any = sys.modules.get("torch")
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
    torch: Any = sys.modules.get("torch")
    generators = [value for value in values if _is_generator(value)]
    if torch:
        generators.append(torch.random.default_generator)
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _is_generator(value: Any) -> bool:
    return hasattr(value, "get_state") and hasattr(value, "set_state")


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
