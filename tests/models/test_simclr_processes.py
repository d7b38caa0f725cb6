"""Two processes with gathered negatives have the loss of one with the whole batch, and, averaged,
its gradient."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROGRAM = """
import json, sys, torch
from types import SimpleNamespace
from accelerate import Accelerator
from torch import distributed, nn
from autograder.units import ROOT
from autograder.authoring.train import training_of
from cvcourse import models
torch.set_num_threads(1)
accelerator = Accelerator()
count, rank = accelerator.num_processes, accelerator.process_index
calls = []


def gather_negatives(*arguments):
    calls.append(arguments)
    return models.gather_negatives(*arguments)


exercises = SimpleNamespace(nt_xent=models.nt_xent, gather_negatives=gather_negatives)
contrastive_loss = training_of(ROOT, "08_simclr").train.__globals__["contrastive_loss"]
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
views = torch.randn(2, 12, 6, dtype=torch.float64)
model = accelerator.prepare(model)
share = 12 // count
# First views, and below them second views.
own = views[:, rank * share : (rank + 1) * share].flatten(0, 1)
loss = contrastive_loss(exercises, 0.4)(model(own), None)
accelerator.backward(loss)  # accelerate averages gradients over processes
gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
with open(f"{sys.argv[1]}/{count}-{rank}.json", "w") as file:
    json.dump([loss.item(), gradient.tolist(), len(calls)], file)
if distributed.is_initialized():
    distributed.barrier()
    distributed.destroy_process_group()
"""


def test_gathered_negatives(run_program, tmp_path: Path):
    """The unit's own loss; its parts are the library's, which test_simclr.py compares with the
    lesson's."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    for processes in (1, 2):
        run_program(program, str(tmp_path), processes=processes, ACCELERATE_USE_CPU="true")
    loss, gradient, calls = json.loads((tmp_path / "1-0.json").read_text())
    assert calls == 0 and max(map(abs, gradient)) > 1e-2
    for rank in range(2):
        found, averaged, calls = json.loads((tmp_path / f"2-{rank}.json").read_text())
        assert found == pytest.approx(loss, rel=1e-12)
        assert averaged == pytest.approx(gradient, rel=1e-9, abs=1e-12)
        assert calls == 2, "every process calls once for each set of views"
