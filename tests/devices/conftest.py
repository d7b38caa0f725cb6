"""The devices on which everything runs: a stand-in without float64, and what this machine has."""

from __future__ import annotations

import pytest
import torch
from stand_in import chip

HAS = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


@pytest.fixture(autouse=True)
def calm(one_thread):
    """One thread: these tensors are small."""


@pytest.fixture(params=["stand-in", "cuda", "mps"])
def device(request, monkeypatch):
    """A device that is not the processor."""
    if request.param == "stand-in":
        with chip(monkeypatch) as found:
            yield found
        return
    if not HAS[request.param]():
        pytest.skip(f"torch sees no {request.param} on this machine")
    # Convolutions in float32, and not in what cuDNN takes for it.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    yield torch.device(request.param)
