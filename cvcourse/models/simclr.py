"""The head between a representation and the contrastive loss (Chen et al. 2020)."""

from __future__ import annotations

from torch import Tensor, nn


class ProjectionHead(nn.Module):
    """z = W2 relu(bn(W1 h)) (Chen et al. 2020, section 2.1, with a batch norm before the ReLU).

    h (N, in_dim) -> z (N, out_dim), not normalised. Parts: fc1 (no bias, which the norm would take away), bn, fc2.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden_dim, bias=False)
        self.bn = nn.BatchNorm1d(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, out_dim)

    def forward(self, h: Tensor) -> Tensor:
        """h (N, in_dim) -> z (N, out_dim)."""
        return self.fc2(self.bn(self.fc1(h)).relu())
