"""Forbidden shortcuts, found in the learner's source and among the operators that ran."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
import types
from collections.abc import Callable, Iterable
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autograder.checking.libraries import LIBRARIES, MODELS, is_own_model

Naming = ast.Name | ast.Attribute | ast.Constant | ast.alias | ast.ImportFrom
"""Parts of a syntax tree that name something, or import it."""


class OperatorWatch:
    """Collects the names of torch functions and of ATen operators that run inside the block."""

    def __init__(self, forbidden: Iterable[str]):
        self.forbidden = frozenset(forbidden)
        self.seen: set[str] = set()

    def __enter__(self) -> OperatorWatch:
        self._modes: list[TorchFunctionMode | TorchDispatchMode] = []
        if self.forbidden:
            self._modes = [_Functions(self), _Operators(self)]
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*exception)

    def note(self, name: str) -> None:
        """Remember `name` if it is forbidden; the underscore of in-place forms does not hide it."""
        for candidate in (name, name.strip("_")):
            if candidate in self.forbidden:
                self.seen.add(candidate)


class _Functions(TorchFunctionMode):
    def __init__(self, watch: OperatorWatch):
        super().__init__()
        self.watch = watch

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.watch.note(getattr(function, "__name__", ""))
        return function(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    def __init__(self, watch: OperatorWatch):
        super().__init__()
        self.watch = watch

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # the other way torch imports its compiler, two seconds long, at the first operator
        return False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.watch.note(function.name().removeprefix("aten::").split(".")[0])
        return function(*args, **(kwargs or {}))


def forbidden_in_source(
    answer: Callable[..., Any], forbidden: Iterable[str]
) -> list[tuple[str, str]]:
    """Every forbidden name in the source of `answer` and of the learner's helpers that it calls.

    Returns (name, line) of each, without doubles.
    """
    names = set(forbidden)
    if not names:
        return []
    found: list[tuple[str, str]] = []
    waiting: list[Any] = [answer]
    visited: set[int] = set()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if id(function) in visited or not _has_source(function):
            continue
        visited.add(id(function))
        if is_own_model(function.__module__):
            called = (MODELS, function.__name__)
            found += [(name, function.__qualname__) for name in called if name in names]
            continue
        source = source_of(function)
        if source is None:
            continue
        scope = scope_of(function)
        for node in ast.walk(source.tree):
            if isinstance(node, Naming) and not _is_own(node, scope):
                line = source.line(node)
                found += [(name, line) for name in _names_of(node, scope) if name in names]
            if isinstance(node, ast.Name) and _is_learners(scope.get(node.id)):
                waiting.append(scope[node.id])
    return list(dict.fromkeys(found))


def _has_source(function: Any) -> bool:
    return inspect.isfunction(function) or inspect.isclass(function)


class Source:
    """Source text of a function with its syntax tree."""

    def __init__(self, text: str):
        self.text = textwrap.dedent(text)
        self.tree = ast.parse(self.text)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                node.decorator_list = []  # what decorates an answer is not part of it

    def line(self, node: Naming) -> str:
        """The line of the source that `node` starts on."""
        return self.text.splitlines()[node.lineno - 1].strip()


def source_of(answer: Any) -> Source | None:
    """The source of a function or class, or None where Python does not know it."""
    try:
        if inspect.isclass(answer):
            return Source(_class_text(answer))
        return Source(inspect.getsource(answer))
    except (OSError, TypeError, SyntaxError, IndexError):  # of Python's own libraries, too
        return None


def _class_text(answer: type) -> str:
    """A class's source, found through its first method.

    Python cannot find classes that were written in a notebook cell. Raises IndexError for a class
    without methods, and OSError where its source is not in their file.
    """
    file = _methods(answer)[0].__code__.co_filename
    text = "".join(linecache.getlines(file))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.name == answer.__name__:
            segment = ast.get_source_segment(text, node)
            if segment is not None:
                return segment
    raise OSError(f"there is no class {answer.__name__} in {file}")


def _methods(answer: type) -> list[types.FunctionType]:
    return [member for member in vars(answer).values() if inspect.isfunction(member)]


def scope_of(function: Any) -> dict[str, Any]:
    """The global names that a function or a class's methods see."""
    if inspect.isfunction(function):
        return function.__globals__
    methods = _methods(function)
    return methods[0].__globals__ if methods else {}


def _last_name(node: Naming) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value  # getattr(F, "conv2d")
    if isinstance(node, ast.alias):
        return node.name.split(".")[-1]
    return None


def _names_of(node: Naming, scope: dict[str, Any]) -> list[str]:
    """What `forbid` may call a node.

    That is models, the name of the model that it stands for, or its own last name.
    """
    names: list[str | None] = [MODELS] if _is_model(node, scope) else [_last_name(node)]
    value = scope.get(node.id) if isinstance(node, ast.Name) else None
    if is_own_model(getattr(value, "__module__", None)):
        names.append(getattr(value, "__name__", None))
    return [name for name in names if name is not None]


def _is_model(node: Naming, scope: dict[str, Any]) -> bool:
    """Whether a node is the course's own models, or one of them under another name.

    Under its own name it stands in for an exercise that is not solved, and what builds on that may
    use it.
    """
    if isinstance(node, ast.ImportFrom):
        return is_own_model(node.module)
    if not isinstance(node, ast.Name):
        return False
    value = scope.get(node.id)
    if isinstance(value, types.ModuleType):
        return is_own_model(value.__name__)
    if not is_own_model(getattr(value, "__module__", None)):
        return False
    return node.id != getattr(value, "__name__", None)


def _is_own(node: Naming, scope: dict[str, Any]) -> bool:
    """Whether a bare name is the learner's own: a local, or a function written in the notebook."""
    if not isinstance(node, ast.Name):
        return False
    return node.id not in scope or not _from_library(scope[node.id])


def _from_library(value: Any) -> bool:
    if isinstance(value, types.BuiltinFunctionType | types.ModuleType):
        return True
    module = getattr(value, "__module__", None) or getattr(value, "__name__", "") or ""
    return is_own_model(module) or str(module).split(".")[0] in LIBRARIES


def _is_learners(value: Any) -> bool:
    if not _has_source(value):
        return False
    module = str(getattr(value, "__module__", "")).split(".")[0]
    return module not in LIBRARIES | {"builtins", "autograder", "cvcourse", "math"}
