"""Probes: how an exercise is put to the test.

A probe is a small function in a unit's `probes.py` that calls the learner's function on drawn
inputs and returns named results. What it draws is recorded when the answer key is built and given
back whenever the probe runs again: the same case means the same numbers on every machine and with
every version of torch.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import itertools
import math
import types
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autograder.checking.shortcuts import scope_of
from autograder.errors import CourseError

DTYPES = {"float32": torch.float32, "float64": torch.float64}
DEFAULT_TOLERANCE = {"float32": (1e-4, 1e-6), "float64": (1e-8, 1e-10)}
"""(relative to the largest magnitude, absolute)"""

POOL = 1021  # a prime, so that every stride through it visits all of its numbers
MOST_ORDERS = 512
"""Orders of a pool that are remembered: the same few networks are filled for every case and every
misconception."""

CaseValues = Mapping[str, Any] | Sequence[Any]
ProbeFunction = Callable[..., Mapping[str, Any]]


class MissingPart(LookupError):
    """The learner's module lacks what the docstring asks for.

    The sentence is the learner's to read.
    """


class DrawMismatch(CourseError):
    """The probe asked for other inputs than the key holds."""


class Draw:
    """Where a probe's inputs come from.

    Fresh numbers while a key is built (`stored=None`), then the stored ones.
    """

    def __init__(self, seed: int, dtype: str = "float32", stored: Sequence[Tensor] | None = None):
        self.seed = seed
        self.dtype = DTYPES[dtype]
        self.drawn: list[Tensor] = []  # pristine copies, in the order of drawing
        self.given: list[Tensor] = []  # what the learner's code received and may have changed
        self.parts: list[str] = []  # of the modules that were filled
        self._stored = stored
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, grad: bool = False) -> Tensor:
        """Standard normal numbers in the case's dtype."""

        def fresh() -> Tensor:
            numbers = torch.randn(shape, generator=self._generator, dtype=torch.float64)
            return numbers.to(self.dtype)

        return self._give(fresh, shape, grad)

    def uniform(
        self, *shape: int, low: float = 0.0, high: float = 1.0, grad: bool = False
    ) -> Tensor:
        """Uniform numbers in [low, high) in the case's dtype."""

        def fresh() -> Tensor:
            unit = torch.rand(shape, generator=self._generator, dtype=torch.float64)
            return (low + (high - low) * unit).to(self.dtype)

        return self._give(fresh, shape, grad)

    def integers(
        self, *shape: int, low: int = 0, high: int = 10, dtype: torch.dtype = torch.int64
    ) -> Tensor:
        """Integers from low to high - 1."""

        def fresh() -> Tensor:
            return torch.randint(low, high, shape, generator=self._generator).to(dtype)

        return self._give(fresh, shape)

    def permutation(self, count: int) -> Tensor:
        """The numbers 0 to count - 1 in random order, int64."""

        def fresh() -> Tensor:
            return torch.randperm(count, generator=self._generator)

        return self._give(fresh, (count,))

    def mask(self, *shape: int, share: float = 0.5) -> Tensor:
        """Booleans, each true with probability `share`."""

        def fresh() -> Tensor:
            return torch.rand(shape, generator=self._generator) < share

        return self._give(fresh, shape)

    def generator(self) -> torch.Generator:
        """A generator seeded for this case, for exercises that take one."""
        return torch.Generator().manual_seed(self.seed)

    def fill(self, module: nn.Module, required: Sequence[str] = ()) -> nn.Module:
        """Fill every floating parameter and buffer by name.

        Returns the module, in the case's dtype.

        Default values (gamma 1, beta 0) hide bugs. The numbers depend on a name and its shape
        alone, whatever else the module holds, so a wrong solution with a layer more or less can
        still be told from another. Kernels and matrices have a spread of 1/sqrt(fan in); where
        "var" is in the name, all are positive. Raises MissingPart, with words for the learner,
        where the module lacks a name in `required`.
        """
        if not isinstance(module, nn.Module):
            raise MissingPart(no_module(module))
        pool = self.normal(POOL).numpy()
        module.to(self.dtype)
        named = dict(itertools.chain(module.named_parameters(), module.named_buffers()))
        self.parts += [f"{name} {tuple(tensor.shape)}" for name, tensor in named.items()]
        missing = [name for name in required if name not in named]
        if missing:
            raise MissingPart(
                f"your {type(module).__name__} has no parameter or buffer {missing[0]!r}: the"
                " docstring says how its parts are called. It has"
                f" {', '.join(named) or 'none at all'}."
            )
        with torch.no_grad():
            for name, tensor in named.items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.from_numpy(from_pool(pool, name, tuple(tensor.shape))))
        return module

    def _give(
        self, fresh: Callable[[], Tensor], shape: Sequence[int], grad: bool = False
    ) -> Tensor:
        """A copy for the learner's code of what `fresh` makes, or of what is stored."""
        pristine = fresh() if self._stored is None else self._replay(self._stored, tuple(shape))
        given = pristine.clone().requires_grad_(grad)
        self.drawn.append(pristine)
        self.given.append(given)
        return given

    def _replay(self, stored: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The next stored tensor. Raises DrawMismatch where there is none of this shape."""
        position = len(self.drawn)
        if position >= len(stored) or tuple(stored[position].shape) != shape:
            raise DrawMismatch(
                "probes.py asks for other inputs than the answer key holds: copy the unit's folder"
                " again from the course, or run `cvcourse build` if you wrote the unit."
            )
        return stored[position]


def no_module(got: Any) -> str:
    """What to say of something that stands where a torch.nn.Module is expected."""
    if got is None:
        got_none = "nothing (None) was returned where a torch.nn.Module is expected"
        return f"{got_none}; is a `return` missing?"
    name = type(got).__name__
    return f"a {name} where a torch.nn.Module is expected: does the class say `(nn.Module)`?"


def from_pool(pool: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of this shape for the parameter `name`.

    They are taken from `pool` in an order that name and shape decide. In numpy, whose calls no
    watch for forbidden operators has to look at: a network has a hundred parameters.
    """
    values = pool[_order(name, shape, len(pool))]
    if "var" in name.rsplit(".", 1)[-1]:
        return 0.5 + np.abs(values)
    if len(shape) < 2:
        return values
    fan_in = math.prod(shape[1:])
    return values / pool.dtype.type(fan_in**0.5)


@functools.lru_cache(maxsize=MOST_ORDERS)
def _order(name: str, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Places in a pool of `count` numbers, in the shape of a parameter."""
    digest = hashlib.sha256(f"{name} {shape}".encode()).digest()
    start = int.from_bytes(digest[:4])
    stride = 1 + int.from_bytes(digest[4:8]) % (count - 1)
    return ((start + np.arange(math.prod(shape)) * stride) % count).reshape(shape)


@contextlib.contextmanager
def provided(answer: Callable[..., Any], **tested: Any) -> Iterator[None]:
    """While the block runs, `answer` finds the course's version of other exercises by their names.

    tested: name -> the course's version. So a mistake in an exercise costs no points in the next
    one that builds on it.
    """
    scope = scope_of(inspect.unwrap(answer))
    before = {name: scope[name] for name in tested if name in scope}
    scope.update(tested)
    try:
        yield
    finally:
        for name in tested:
            del scope[name]
        scope.update(before)


@dataclass(frozen=True)
class Case:
    """One probe on one drawn input."""

    values: CaseValues
    dtype: str
    seed: int
    hidden: bool


@dataclass(frozen=True)
class Probe:
    """A probe of one exercise with its cases; calling it runs the author's function."""

    exercise: str
    name: str
    function: ProbeFunction
    cases: tuple[Case, ...]
    rtol: float | None = None
    atol: float | None = None
    why: str = ""
    law: bool = False
    weight: float = 1.0
    may_change_inputs: bool = False

    def run(self, answer: Callable[..., Any], draw: Draw, values: CaseValues) -> Mapping[str, Any]:
        """Put `answer` to the test with one case's values; returns the named results."""
        if isinstance(values, Mapping):
            return self.function(answer, draw, **values)
        return self.function(answer, draw, *values)

    def tolerance(self, dtype: str) -> tuple[float, float]:
        """(relative to the largest expected magnitude, absolute) for a case of this dtype.

        Never finer than the dtype's own: there, another processor's rounding would be a mistake.
        """
        rtol, atol = DEFAULT_TOLERANCE[dtype]
        return max(rtol, self.rtol or 0.0), max(atol, self.atol or 0.0)


def probe(
    exercise: str,
    *,
    cases: Iterable[CaseValues],
    hidden: Iterable[CaseValues] = (),
    dtypes: Sequence[str] = ("float32", "float64"),
    rtol: float | None = None,
    atol: float | None = None,
    why: str = "",
    law: bool = False,
    weight: float = 1.0,
    may_change_inputs: bool = False,
) -> Callable[[ProbeFunction], Probe]:
    """Declare a probe of `exercise`.

    cases, hidden: one mapping (or tuple) of values a case, for released and for hidden cases; they
    take turns over `dtypes`. rtol, atol: tolerance where the default does not fit, for the reason
    `why`. law: right answers also come from functions that return nothing of use. weight: share of
    the exercise's points against its other probes. may_change_inputs: the exercise is meant to work
    in place. Raises CourseError for a tolerance without a reason, and for an unknown dtype.
    """
    if (rtol is not None or atol is not None) and not why:
        raise CourseError(
            f"The probe of {exercise} sets a tolerance of its own: say why=... in one sentence."
        )
    unknown = set(dtypes) - set(DTYPES)
    if unknown:
        raise CourseError(
            f"The probe of {exercise} asks for dtype {', '.join(sorted(unknown))}: probes draw"
            f" {', '.join(DTYPES)}."
        )

    def declare(function: ProbeFunction) -> Probe:
        name = function.__name__
        visible = _numbered(cases, f"{exercise}/{name}/visible", dtypes, is_hidden=False)
        kept_back = _numbered(hidden, f"{exercise}/{name}/hidden", dtypes, is_hidden=True)
        return Probe(
            exercise=exercise,
            name=name,
            function=function,
            cases=(*visible, *kept_back),
            rtol=rtol,
            atol=atol,
            why=why,
            law=law,
            weight=weight,
            may_change_inputs=may_change_inputs,
        )

    return declare


def _numbered(
    values: Iterable[CaseValues], address: str, dtypes: Sequence[str], is_hidden: bool
) -> list[Case]:
    """A case for each of `values`, whose seed follows from its address and place."""
    found = []
    for index, value in enumerate(values):
        seed = zlib.crc32(f"{address}/{index}".encode())
        found.append(Case(value, dtypes[index % len(dtypes)], seed, is_hidden))
    return found


def gradient(scalar: Tensor, inputs: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Gradient of a scalar with respect to one tensor or several; zeros where nothing arrives."""
    if isinstance(inputs, Tensor):
        return _gradients(scalar, (inputs,))[0]
    return _gradients(scalar, tuple(inputs))


def _gradients(scalar: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not scalar.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in tensors)
    found = []
    grads = torch.autograd.grad(scalar, tensors, allow_unused=True)
    for tensor, grad in zip(tensors, grads, strict=True):
        found.append(torch.zeros_like(tensor) if grad is None else grad)
    return tuple(found)


def refuses(
    function: Callable[..., Any],
    *arguments: Any,
    error: type[Exception] = ValueError,
    **keywords: Any,
) -> bool:
    """Whether the call raises `error`; other exceptions pass through."""
    try:
        function(*arguments, **keywords)
    except error:
        return True
    return False


@dataclass
class ProbeFile:
    """The probes of a unit by exercise, in the order of writing."""

    path: Path
    by_exercise: dict[str, list[Probe]] = field(default_factory=dict)

    def find(self, exercise: str, name: str) -> Probe:
        """The probe `name` of `exercise`; raises CourseError where the file has none."""
        for candidate in self.by_exercise.get(exercise, []):
            if candidate.name == name:
                return candidate
        raise CourseError(
            f"{self.path.name} has no probe {name!r} for {exercise}: copy the unit's folder again"
            " from the course, or run `cvcourse build` if you wrote the unit."
        )


def load_probes(path: Path) -> ProbeFile:
    """Read a unit's probes.py. Raises CourseError when it is missing or broken."""
    if not path.exists():
        raise CourseError(
            f"{path.name} is not in {path.parent.name}/: copy the unit's folder again from the"
            " course."
        )
    return load_source(path.read_text(encoding="utf-8"), path)


def load_source(text: str, path: Path) -> ProbeFile:
    """The probes in the text of a probes.py; `path` names it in errors.

    Raises CourseError when it is broken.
    """
    module = types.ModuleType("probes")
    module.__file__ = str(path)
    try:
        # Not by importlib: that leaves a __pycache__ in the learner's folder.
        exec(compile(text, str(path), "exec"), module.__dict__)
    except CourseError:
        raise
    except Exception as error:
        raise CourseError(
            f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}: {error}."
        ) from error
    probes = ProbeFile(path)
    for value in vars(module).values():
        if isinstance(value, Probe):
            probes.by_exercise.setdefault(value.exercise, []).append(value)
    return probes
