"""Two processes on the processor, started by accelerate, train as one does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cvcourse.training import TrainingError, TrainingSettings, sgd
from cvcourse.training.checks import check_data

PROGRAM = """
import json, sys, torch
sys.path.insert(0, {here!r})
from conftest import Net, examples
from safetensors.torch import save_file
from cvcourse.training import RandomCrop, accuracy, fit, sgd
from cvcourse.training.augment import CutMix, Mixup, RandomMix
from cvcourse.training.processes import processes
torch.set_num_threads(1)
torch.manual_seed(processes().rank)  # the first process's initial weights count
net = Net()
net.dropout = 0.0
net.norm = torch.nn.GroupNorm(2, 8)  # batch norm sees a process's share only
images, labels = examples()
run = fit(net, (images, labels), steps=20, batch_size=16, optimizer=sgd(0.1), augment=RandomCrop(1),
          checkpoint="two",
          mix=RandomMix(Mixup(4, 0.2), CutMix(4, 0.2)),
          evaluate=lambda model: {{"accuracy": accuracy(model, images, labels)}},
          evaluate_every=10, report_every=0.0)
folder = sys.argv[1]
with open(f"{{folder}}/{{processes().rank}}.json", "w") as file:
    json.dump([processes().count, run.resumed_at, run.losses, run.evaluations], file)
save_file(net.state_dict(), f"{{folder}}/{{processes().rank}}.safetensors")
"""


def trained(run_program, tmp_path: Path, name: str, processes: int):
    """(what each process wrote, its weights, what was printed)."""
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(here=str(Path(__file__).parent)))
    printed = run_program(
        program, str(folder), processes=processes, CVCOURSE_DATA=str(folder / "cache")
    )
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]
    return found, [load_file(folder / f"{rank}.safetensors") for rank in range(processes)], printed


def test_two_processes_have_the_curve_of_one_and_resume(run_program, tmp_path):
    [alone], [wanted], _ = trained(run_program, tmp_path, "one", 1)
    (first, second), weights, printed = trained(run_program, tmp_path, "two", 2)
    assert (alone[0], first[0], second[0]) == (1, 2, 2)
    assert first[2] == second[2] == pytest.approx(alone[2], rel=1e-5)
    assert alone[2][-1] < 0.8 * alone[2][0]
    assert first[3] == [
        [step, {"accuracy": pytest.approx(found["accuracy"], abs=0.02)}] for step, found in alone[3]
    ]
    for found in weights:
        assert all(found[name].allclose(wanted[name], atol=1e-5) for name in wanted)
    assert printed.count("20 steps in") == 1, "the first process speaks for all"
    (first, second), _, printed = trained(run_program, tmp_path, "two", 2)
    assert (first[1], second[1]) == (20, 20)
    assert printed.count("is finished") == 1


def test_a_batch_that_cannot_be_shared(data):
    settings = TrainingSettings(steps=1, batch_size=16, optimizer=sgd())
    said = "3 processes cannot share batch_size=16: use a multiple of 3"
    with pytest.raises(TrainingError, match=said):
        check_data(data, settings, data[0].device, processes=3)
