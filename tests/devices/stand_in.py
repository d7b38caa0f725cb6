"""A chip without float64, for machines that have none.

Its tensors say that they are on "meta", the one device that every build of torch has and nobody
computes on. Their numbers lie on the processor and are computed there, so results can be compared.
What Apple's framework refuses is refused in its words: float64, operations on tensors of two
devices, and the one operation of those that are used here that it lacks (of torch 2.13, after
native_functions.yaml).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

CHIP = torch.device("meta")
NO_FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
    " Please use float32 instead."
)
LACKED = "The operator '{}' is not currently implemented for the MPS device."
TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices"

aten = torch.ops.aten
LACKING = (aten._pdist_forward,)
MAY_MIX = (aten.copy_, aten._to_copy, aten.index, aten.index_put_, aten.index_put)


class OnChip(torch.Tensor):
    """A tensor on the stand-in. kept: the same on the processor."""

    kept: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, kept: torch.Tensor) -> OnChip:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            kept.size(),
            strides=kept.stride(),
            storage_offset=kept.storage_offset(),
            dtype=kept.dtype,
            device=CHIP,
        )

    def __init__(self, kept: torch.Tensor):
        self.kept = kept

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, values: Any) -> OnChip:
        return torch.tensor(values, dtype=self.dtype).to(CHIP)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return operate(func, args, kwargs or {})


class Factories(TorchDispatchMode):
    """Sees operations that have no tensor on the chip yet, such as `torch.zeros(device=...)`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return operate(func, args, kwargs or {})


class FromNumbers(TorchFunctionMode):
    """Brings what `torch.tensor` makes to the chip; there torch fills a tensor without a word."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and kwargs.get("device") == CHIP:
            del kwargs["device"]
            return torch.tensor(*args, **kwargs).to(CHIP)
        return func(*args, **kwargs)


def operate(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation of torch, on the processor's numbers."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    uses_chip = any(isinstance(tensor, OnChip) for tensor in tensors)
    target = kwargs.get("device")
    names_chip = target is not None and torch.device(target) == CHIP
    if uses_chip and func.overloadpacket in LACKING:
        raise NotImplementedError(LACKED.format(func.name()))
    if uses_chip and func.overloadpacket not in MAY_MIX:
        check_one_device(tensors)
    plain_args, plain_kwargs = tree_map_only(OnChip, lambda tensor: tensor.kept, (args, kwargs))
    if names_chip:
        plain_kwargs["device"] = torch.device("cpu")
    found = func(*plain_args, **plain_kwargs)
    if not names_chip and (target is not None or not uses_chip):
        return found
    check_types(found)
    return return_and_correct_aliasing(
        func, args, kwargs, tree_map_only(torch.Tensor, OnChip, found)
    )


def check_one_device(tensors: list[torch.Tensor]) -> None:
    """Raise RuntimeError for tensors of two devices; single numbers may lie anywhere."""
    if any(not isinstance(tensor, OnChip) and tensor.ndim > 0 for tensor in tensors):
        raise RuntimeError(f"{TWO_DEVICES}, mps:0 and cpu!")


def check_types(found: Any) -> None:
    """Raise TypeError for float64 on the chip."""
    for tensor in tree_leaves(found):
        if isinstance(tensor, torch.Tensor) and tensor.dtype in (torch.float64, torch.complex128):
            raise TypeError(NO_FLOAT64)


@contextmanager
def chip(monkeypatch: Any) -> Iterator[torch.device]:
    """A device without float64 while it lasts.

    What torch cannot make for the device "meta" is replaced: a generator of random numbers, by the
    processor's, and autocast, which is off for such a device.
    """
    real = torch.Generator

    class Generator:
        def __new__(cls, device: Any = "cpu") -> torch.Generator:
            return real("cpu" if torch.device(device) == CHIP else device)

    for place in ("torch.Generator", "cvcourse.measures.prompts.Generator"):
        monkeypatch.setattr(place, Generator)
    monkeypatch.setattr("cvcourse.training.step.autocast", lambda device, precision: nullcontext())
    with Factories(), FromNumbers():
        yield CHIP
