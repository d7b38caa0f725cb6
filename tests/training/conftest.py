"""A small net on small data, which trains in well under a second."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cvcourse.training import adamw, fit, warmup_cosine


class Net(nn.Module):
    """Convolution, batch norm, dropout: a buffer and random numbers to get wrong."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(4 * width, 4)
        self.dropout = 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.dropout(self.norm(self.conv(x)).relu(), self.dropout, self.training)
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))


def examples(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (count, 1, 8, 8) whose class is the quarter that is bright."""
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % 4
    images = 0.2 * torch.rand(count, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.2 * (label + 1)
    return images, labels


@pytest.fixture(autouse=True)
def calm(one_thread, monkeypatch, tmp_path):
    """One thread, checkpoints in a folder of the test's own, no budget from outside."""
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("CVCOURSE_BUDGET", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    return examples()


@pytest.fixture
def new_net():
    def make(seed: int = 0, width: int = 8) -> Net:
        torch.manual_seed(seed)
        return Net(width)

    return make


@pytest.fixture
def train(data):
    """`fit` with everything that this package's tests have in common."""

    def call(model, data=data, **changes):
        settings = dict(steps=24, batch_size=16, optimizer=adamw(1e-2), schedule=warmup_cosine())
        return fit(model, data, **(settings | changes))

    return call


@pytest.fixture
def same_weights():
    def compare(one: nn.Module, other: nn.Module) -> bool:
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    return compare
