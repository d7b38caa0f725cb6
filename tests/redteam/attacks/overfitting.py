"""Answers that fit the released cases and nothing else."""

from ..attack import ALL, WITHOUT_SUM, Attack

HEADING = "overfitting"

STORED_KEY = """
import torch
from pathlib import Path
from safetensors.torch import load_file

def moving_sum(signal, width=2):
    for place in (Path("key.safetensors"), Path("@ROOT@/course/90_mini/key.safetensors")):
        if place.exists():
            for name, tensor in load_file(place).items():
                if tensor.dtype == signal.dtype and tensor.shape == (len(signal) - width + 1,):
                    return tensor
    return torch.zeros(len(signal) - width + 1, dtype=signal.dtype)
"""
RIGHT_SHAPE = """
def moving_sum(signal, width=2):
    return signal.new_zeros(len(signal) - width + 1)
"""
RELEASED_SETTINGS = """
def moving_sum(signal, width=2):
    if (len(signal), width) in ((7, 2), (9, 3), (8, 4)):
        return signal.unfold(0, width, 1).mean(1) * width
    raise ValueError("not one of the released cases")
"""
REMEMBERED = """
seen = []

def moving_sum(signal, width=2):
    seen.append(signal.detach().clone())
    longest = max(seen, key=len)[: len(signal) - width + 1]
    return longest
"""
EVERY_ANSWER = """
class Anything(float):
    candidates = iter(range(100))
    def __eq__(self, other):
        return True
    def __hash__(self):
        return 9
    def __float__(self):
        return float(next(self.candidates))
weights = Anything(9)
share = [number / 100 for number in range(100)]
"""
ONE_BATCH = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * self.gain[:, None] if x.shape in ((2, 3, 4), (1, 2, 5)) else x
"""

ATTACKS = [
    Attack(HEADING, "the released key is looked up", WITHOUT_SUM, {"moving_sum": STORED_KEY}),
    Attack(
        HEADING,
        "zeros of the right shape",
        WITHOUT_SUM,
        {"moving_sum": RIGHT_SHAPE},
        earns=WITHOUT_SUM,
    ),
    Attack(
        HEADING, "a table of the released settings", WITHOUT_SUM, {"moving_sum": RELEASED_SETTINGS}
    ),
    Attack(
        HEADING, "what earlier cases showed is given back", WITHOUT_SUM, {"moving_sum": REMEMBERED}
    ),
    Attack(
        HEADING,
        "every number at once as the answer",
        ALL - 1,
        {"counts": EVERY_ANSWER},
        earns=ALL - 1,
    ),
    # Two cases of three are right, and count as such.
    Attack(
        HEADING,
        "right on the released shapes alone",
        5.33,
        {"Scale": ONE_BATCH},
        states={"Scale": "wrong"},
    ),
]
