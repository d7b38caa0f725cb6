"""Outcomes: what came out of one case, as plain data that can be stored, compared and sent."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

SCALARS = {bool: "truth value", int: "whole number", float: "number"}
NOT_ATTEMPTED = "not attempted"
# Failures that only grading knows: what the runner's limits ended, and what is nobody's mistake but
# the grader's.
TIMEOUT, OUT_OF_MEMORY, KERNEL_DEATH = "timeout", "out of memory", "kernel death"
TAMPERING, GRADER_FAULT = "tampering suspected", "grader fault"
MAX_ELEMENTS = 4_000_000  # a larger result is no answer to any case and would only fill the memory


@dataclass(frozen=True)
class Value:
    """One named result: its numbers, detached and on the CPU, and what kind of thing they were."""

    numbers: Tensor
    # "tensor", "array", "whole number", "number", "truth value", "tuple of ...", or what else
    kind: str
    device: str = "cpu"

    @property
    def is_comparable(self) -> bool:
        """Whether the numbers mean anything."""
        if self.kind.startswith("tuple of "):
            return True
        return self.kind in {"tensor", "array", *SCALARS.values()}


@dataclass(frozen=True)
class Failure:
    """An exception in place of an outcome."""

    kind: str  # the exception's type, or "not attempted"
    message: str = ""
    line: str = ""  # the learner's own line
    number: int = 0  # and its number in the cell


@dataclass(frozen=True)
class Outcome:
    """What one case gave: named values, or a failure; and which inputs were changed in place."""

    values: Mapping[str, Value] = field(default_factory=dict)
    failure: Failure | None = None
    changed: tuple[str, ...] = ()
    call: str = ""  # how the learner's function was called first
    shortcuts: tuple[str, ...] = ()  # forbidden names among the operators that ran
    printed: str = ""
    # parameters and buffers of the modules that the probe filled: "head.weight (10, 64)"
    parts: tuple[str, ...] = ()


def plain(value: Any) -> Value:
    """Turn a result into a Value.

    What is no tensor, array, number or flat sequence of numbers keeps only its kind.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            layout = str(value.layout).removeprefix("torch.")
            return Value(torch.zeros(0), f"a {layout} tensor")
        if value.device.type == "meta":  # it has no numbers
            return Value(torch.zeros(value.shape, dtype=value.dtype), "tensor", "meta")
        if value.numel() > MAX_ELEMENTS:
            return Value(torch.zeros(0), f"tensor of {value.numel():,} numbers")
        # .data of a subclass may be anything; a copy made by torch itself is a plain tensor.
        copy = value.detach().as_subclass(Tensor).cpu().clone().contiguous()
        return Value(copy, "tensor", value.device.type)
    if type(value) in SCALARS:
        return _scalar(value)
    if type(value).__module__ == "numpy":
        return _from_numpy(value)
    if isinstance(value, numbers.Integral):
        return _scalar(int(value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _from_sequence(value)
    return Value(torch.zeros(0), "nothing (None)" if value is None else f"a {type(value).__name__}")


def _scalar(value: bool | int | float) -> Value:
    dtype = {bool: torch.bool, int: torch.int64, float: torch.float64}[type(value)]
    try:
        return Value(torch.tensor(value, dtype=dtype), SCALARS[type(value)])
    except (OverflowError, RuntimeError, ValueError):  # as torch's version has it
        return Value(torch.zeros(0), "a whole number beyond 64 bits")


def _from_numpy(value: Any) -> Value:
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size > MAX_ELEMENTS:
        return Value(torch.zeros(0), f"a numpy {array.dtype} of shape {array.shape}")
    if array.ndim == 0 and not isinstance(value, np.ndarray):
        return _scalar(array.item())
    return Value(torch.from_numpy(np.ascontiguousarray(array).copy()), "array")


def _from_sequence(value: Sequence[Any]) -> Value:
    parts = [plain(item) for item in value[:1000]]
    kinds = {part.kind for part in parts}
    if len(value) > 1000 or not kinds <= {"whole number", "number", "truth value"}:
        what = " tensors" if kinds == {"tensor"} else ""
        return Value(torch.zeros(0), f"a {type(value).__name__} of {len(value)}{what}")
    kind = "number" if "number" in kinds else next(iter(kinds), "number")
    dtype = torch.float64 if kind == "number" else torch.int64
    together = torch.tensor([part.numbers.item() for part in parts], dtype=dtype)
    return Value(together, f"tuple of {kind}s")


def describe(value: Any) -> str:
    """A short description of an argument or a result: `(2, 3) float32`, `3`, `None`."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    if isinstance(value, torch.Generator):
        return "a generator"
    if isinstance(value, tuple | list) and any(isinstance(item, Tensor) for item in value):
        return "[" + ", ".join(describe(item) for item in value) + "]"
    if type(value).__module__ == "numpy" and hasattr(value, "shape"):
        return f"{tuple(value.shape)} {value.dtype}"
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))[:60]
    try:
        shown = repr(value)
    except Exception:  # a learner's class may say anything, or nothing
        return f"a {type(value).__name__}"
    return shown if len(shown) <= 60 else shown[:57] + "..."
