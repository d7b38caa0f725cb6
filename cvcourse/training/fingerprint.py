"""What code does, as a digest: weights are taken up again only by the code that made them.

Bytecode is compared, not text, so that a comment or a line break costs nobody a training, and so
that it works for what was written in a notebook, where Python cannot find a class's source. Names
that a function looks up in its notebook are followed, libraries are not.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import os
import re
import site
import sys
import sysconfig
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_FOLDERS: list[str | Path] = [
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *site.getsitepackages(),
    Path(__file__).parents[1],
]
_LIBRARIES = tuple(str(Path(folder).resolve()) + os.sep for folder in _FOLDERS)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LOOKS_UP = ("LOAD_GLOBAL", "LOAD_NAME")
_MADE_BY_PYTHON = (
    "__dict__",
    "__weakref__",
    "__module__",
    "__doc__",
    "__firstlineno__",
    "__static_attributes__",
)


def code_digest(*things: Any) -> str:
    """A digest of functions, classes, models and plain values: 32 hexadecimal digits.

    Of a model, the classes of all its parts, their settings, and the names and shapes of its
    weights count; the weights themselves do not, for they change.
    """
    walk = _Walk()
    for thing in things:
        walk.add(thing)
    return walk.hash.hexdigest()


def data_digest(*tensors: Tensor) -> str:
    """A digest of tensors' values, shapes and types: 32 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(_bytes_of(tensor))
    return found.hexdigest()


def is_library(thing: Any) -> bool:
    """Whether a function or class is Python's, an installed package's or this one's.

    All others are the learner's.
    """
    name = getattr(thing, "__module__", None)
    if name in ("__main__", None):
        return name is None
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or str(Path(file).resolve()).startswith(_LIBRARIES)


class _Walk:
    """Goes through what is reachable, once each, and hashes it on the way."""

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=16)
        # The object too: an id is given again once its object is gone.
        self.seen: dict[int, Any] = {}

    def say(self, *words: Any) -> None:
        self.hash.update(("\0".join(map(str, words)) + "\1").encode("utf-8", "surrogatepass"))

    def add(self, thing: Any) -> None:
        if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
            self.say(type(thing).__name__, repr(thing))
        elif isinstance(thing, types.CodeType):
            self.add_code(thing)
        elif id(thing) in self.seen:
            self.say("again", list(self.seen).index(id(thing)))
        else:
            self.seen[id(thing)] = thing
            self.add_new(thing)

    def add_new(self, thing: Any) -> None:
        if isinstance(thing, list | tuple):
            self.add_all(type(thing).__name__, thing)
        elif isinstance(thing, set | frozenset):
            self.add_all("set", sorted(thing, key=repr))
        elif isinstance(thing, Mapping):
            self.add_all("mapping", [part for item in thing.items() for part in item])
        elif isinstance(thing, functools.partial):
            self.add_all("partial", [thing.func, thing.args, dict(thing.keywords)])
        elif isinstance(thing, types.MethodType):
            self.add_all("method", [thing.__func__, thing.__self__])
        elif isinstance(thing, staticmethod | classmethod):
            self.add_all(type(thing).__name__, [thing.__func__])
        elif isinstance(thing, property):
            self.add_all("property", [thing.fget, thing.fset])
        elif isinstance(thing, types.FunctionType):
            self.add_function(thing)
        elif isinstance(thing, type):
            self.add_class(thing)
        elif isinstance(thing, nn.Module):
            self.add_model(thing)
        elif isinstance(thing, Tensor):
            self.say("tensor", thing.dtype, tuple(thing.shape))
            self.hash.update(_bytes_of(thing))
        else:
            self.add_other(thing)

    def add_all(self, kind: str, parts: Any) -> None:
        self.say(kind, len(parts))
        for part in parts:
            self.add(part)

    def add_function(self, function: types.FunctionType) -> None:
        wrapped = inspect.unwrap(function)
        if wrapped is not function:
            self.add(wrapped)
        # Nothing of a library is followed, except what a learner's value was closed over in.
        if is_library(function):
            self.say("library", function.__module__, function.__qualname__)
        else:
            self.add_code(function.__code__)
            self.add_all("defaults", [function.__defaults__, function.__kwdefaults__])
            for name in sorted(_looked_up(function.__code__)):
                if name in function.__globals__:
                    self.say("name", name)
                    self.add(function.__globals__[name])
        self.add_all("closure", [_contents(cell) for cell in function.__closure__ or ()])

    def add_code(self, code: types.CodeType) -> None:
        self.say(
            "code",
            code.co_code.hex(),
            code.co_names,
            code.co_varnames,
            code.co_freevars,
            code.co_flags,
        )
        for constant in code.co_consts:
            self.add(constant)

    def add_class(self, kind: type) -> None:
        if is_library(kind):
            self.say("library", kind.__module__, kind.__qualname__)
            return
        self.say("class", kind.__qualname__)
        self.add_all("bases", kind.__bases__)
        for name, value in sorted(vars(kind).items()):
            if name not in _MADE_BY_PYTHON:
                self.say("attribute", name)
                self.add(value)

    def add_model(self, model: nn.Module) -> None:
        for name, module in model.named_modules():
            self.say("module", name)
            self.add(type(module))
            for key, value in sorted(vars(module).items()):
                if not key.startswith("_") and key != "training":
                    self.say("setting", key)
                    self.add_setting(value)
        for name, tensor in model.state_dict().items():
            self.say("weight", name, tuple(tensor.shape), tensor.dtype)

    def add_setting(self, value: Any) -> None:
        """Hash what hangs on a module.

        A tensor there may change while it learns, so only its shape counts.
        """
        if isinstance(value, Tensor):
            self.say("tensor", value.dtype, tuple(value.shape))
        elif isinstance(value, nn.Module):
            self.say("module", type(value).__qualname__)
        else:
            self.add(value)

    def add_other(self, thing: Any) -> None:
        kind = type(thing)
        self.add(kind)
        if hasattr(thing, "__wrapped__"):  # say functools.cache
            self.add(thing.__wrapped__)
        if hasattr(thing, "tobytes"):
            self.hash.update(thing.tobytes())  # an array's repr leaves values out
        if isinstance(thing, types.ModuleType):
            self.say("library", thing.__name__)
        elif hasattr(thing, "__dict__") and (
            not is_library(kind) or kind.__module__.startswith("cvcourse.")
        ):
            self.add_all("object", [part for item in sorted(vars(thing).items()) for part in item])
        else:
            self.say(_ADDRESS.sub("", repr(thing)))


def _looked_up(code: types.CodeType) -> set[str]:
    """Names that code, and the functions written inside it, look up in its module."""
    names = {line.argval for line in dis.get_instructions(code) if line.opname in _LOOKS_UP}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _looked_up(constant)
    return names


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is bound later, as a function's own in a loop
        return None


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
