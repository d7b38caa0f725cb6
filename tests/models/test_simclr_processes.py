"""Two processes with gathered negatives have the loss of one with the whole batch, and, averaged, its gradient."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys, torch
from accelerate import Accelerator
from torch import distributed, nn
from autograder.lesson import ROOT, solutions
from autograder.train import training_of
torch.set_num_threads(1)
accelerator = Accelerator()
count, rank = accelerator.num_processes, accelerator.process_index
unit = solutions("08_simclr")
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
views = torch.randn(2, 12, 6, dtype=torch.float64)
model = accelerator.prepare(model)
calls = []


def gather(local):
    calls.append(local.shape)
    parts = [torch.empty_like(local) for _ in range(count)]
    distributed.all_gather(parts, local.detach())
    return parts


share = 12 // count
z1, z2 = (model(view[rank * share : (rank + 1) * share]) for view in views)
if count > 1:
    z1, z2 = (unit["gather_negatives"](z, gather, rank) for z in (z1, z2))
loss = unit["nt_xent"](z1, z2, 0.4)
accelerator.backward(count * loss)  # accelerate averages gradients over processes
gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
with open(f"{sys.argv[1]}/{count}-{rank}.json", "w") as file:
    json.dump([loss.item(), gradient.tolist(), len(calls)], file)
if distributed.is_initialized():
    distributed.barrier()
    distributed.destroy_process_group()
"""


def run(tmp_path: Path, processes: int) -> list:
    """What each process wrote."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": root}
    command = [*(launch if processes == 2 else [sys.executable]), str(program), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((tmp_path / f"{processes}-{rank}.json").read_text()) for rank in range(processes)]


def test_gathered_negatives(tmp_path):
    [(loss, gradient, _)] = run(tmp_path, 1)
    both = run(tmp_path, 2)
    assert max(map(abs, gradient)) > 1e-2
    for found, averaged, calls in both:
        assert found == pytest.approx(loss, rel=1e-12)
        assert averaged == pytest.approx(gradient, rel=1e-9, abs=1e-12)
        assert calls == 2, "every process calls once for each set of views"
