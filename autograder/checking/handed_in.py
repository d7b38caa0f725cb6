"""What a probe hands to a learner's code, remembered, so that a change in place shows.

Looked into are tensors, lists, tuples and dicts, and modules with their layers: numbers, order and
number of the items, `requires_grad`, and whether a layer is in training mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

DEEPEST = 4
"""Containers within containers that are looked into."""

Unchanged = Callable[[], bool]


def remember(value: Any, depth: int = 0) -> list[Unchanged]:
    """Questions to be asked after a call: is this part of `value` still as it was?

    None for a value that cannot be changed, or that changes by being used, as a generator does.
    """
    if isinstance(value, Tensor):
        return [_tensor(value)]
    if isinstance(value, nn.Module):
        return _module(value)
    if depth == DEEPEST or not isinstance(value, list | tuple | dict):
        return []
    parts = list(value.values()) if isinstance(value, dict) else list(value)
    found = [_container(value)]
    for part in parts:
        found += remember(part, depth + 1)
    return found


def is_as_it_was(questions: Sequence[Unchanged]) -> bool:
    """Whether every part is as it was."""
    return all(is_unchanged() for is_unchanged in questions)


def differs(tensor: Tensor, copy: Tensor) -> bool:
    """Whether a tensor no longer holds what it held."""
    if tensor.shape != copy.shape or tensor.dtype != copy.dtype:
        return True
    tensor = tensor.detach()
    if torch.equal(tensor, copy):
        return False
    if not tensor.is_floating_point():
        return True
    return not torch.equal(torch.nan_to_num(tensor), torch.nan_to_num(copy))  # NaN is not NaN


def _tensor(tensor: Tensor) -> Unchanged:
    copy, asked_for = tensor.detach().clone(), tensor.requires_grad
    return lambda: tensor.requires_grad == asked_for and not differs(tensor, copy)


def _container(value: list | tuple | dict) -> Unchanged:
    """Whether a list, tuple or dict holds the same items in the same places."""
    before = _items(value)

    def is_unchanged() -> bool:
        now = _items(value)
        alike = (_is_same(one, other) for one, other in zip(before, now, strict=False))
        return len(now) == len(before) and all(alike)

    return is_unchanged


def _items(value: list | tuple | dict) -> list[Any]:
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    return list(value)


def _is_same(one: Any, other: Any) -> bool:
    """Whether an item is the same object, or an equal plain value."""
    return one is other or (type(one) is type(other) and _is_plain(one) and one == other)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None)


def _module(module: nn.Module) -> list[Unchanged]:
    found = [_parts(module)]
    found += [_mode(layer) for layer in module.modules()]
    found += [_tensor(tensor) for _, tensor in _tensors(module)]
    return found


def _parts(module: nn.Module) -> Unchanged:
    """Whether a module has the same parameters and buffers, by name and by object."""
    before = [(name, id(tensor)) for name, tensor in _tensors(module)]
    return lambda: [(name, id(tensor)) for name, tensor in _tensors(module)] == before


def _mode(layer: nn.Module) -> Unchanged:
    was_training = layer.training
    return lambda: layer.training == was_training


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
