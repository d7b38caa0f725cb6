"""The device that training runs on, and the precision that is fast there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cvcourse.training.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("float32", "bfloat16", "auto")


def best_device() -> str:
    """The fastest device that torch can use here: "cuda", "mps" or "cpu"."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_of(model: nn.Module) -> torch.device:
    """The device that a model's parameters are on."""
    return next(model.parameters()).device


def has_fast_bfloat16(device: str | torch.device = "cpu") -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    False where that cannot be told.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    # torch 2.6 cannot be asked; its oneDNN would run the slow path there without saying so.
    abilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    names = ("amx_bf16", "avx512_bf16", "arm_bf16", "bf16")
    return any(abilities.get(name, False) for name in names)


def precision_for(device: str | torch.device, precision: str = "auto") -> str:
    """Either "float32" or "bfloat16": "auto" is bfloat16 where the device has it.

    Raises TrainingError for another name.
    """
    if precision not in PRECISIONS:
        raise TrainingError(f"There is no precision {precision!r}: use {', '.join(PRECISIONS)}.")
    if precision == "auto":
        return "bfloat16" if has_fast_bfloat16(device) else "float32"
    return precision


def autocast(device: str | torch.device, precision: str = "auto") -> AbstractContextManager:
    """Forward passes inside run in `precision`; weights and the optimizer stay in float32."""
    import torch

    is_on = precision_for(device, precision) == "bfloat16"
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=is_on)
