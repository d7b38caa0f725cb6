"""Checkpoints: a training goes on where it was, to the bit, and never with others' weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cvcourse.training import RandomCrop, TrainingError, adamw, checkpoint_folder, sgd
from cvcourse.training.checkpoints import KEPT

KILLED = """
import sys, time, torch
sys.path.insert(0, {here!r})
from conftest import Net, examples
from safetensors.torch import save_file
from cvcourse.training import adamw, fit
torch.set_num_threads(1)
torch.manual_seed(0)
slow = len(sys.argv) > 2
def measure(model):
    time.sleep(0.05 if slow else 0)
    return {{"norm": model.head.weight.norm()}}
run = fit(Net(), examples(), steps=120, batch_size=16, optimizer=adamw(1e-2), save_every=0.0,
          evaluate=measure, evaluate_every=1, checkpoint="killed")
print(run.resumed_at, flush=True)
save_file(run.model.state_dict(), sys.argv[1])
"""


def files():
    return sorted(path.name for path in checkpoint_folder().iterdir())


def the_file():
    (name,) = files()
    return checkpoint_folder() / name


@pytest.fixture
def press_stop(monkeypatch):
    """Ctrl-C in a chosen step, outside the code that is trained."""
    from cvcourse.training import step as module

    def at(step):
        order = module.batch_indices

        def pressing(count, batch_size, seed, now):
            if now == step:
                os.kill(os.getpid(), signal.SIGINT)
            return order(count, batch_size, seed, now)

        monkeypatch.setattr(module, "batch_indices", pressing)
        return lambda: monkeypatch.setattr(module, "batch_indices", order)

    return at


@pytest.mark.parametrize("optimizer", [adamw(1e-2), sgd(0.1), sgd(0.1, momentum=0.0)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_interrupted_and_resumed_equals_uninterrupted(
    train, new_net, same_weights, press_stop, capsys, optimizer, precision
):
    settings = dict(optimizer=optimizer, precision=precision, augment=RandomCrop(1))
    settings |= dict(evaluate=lambda model: {"norm": model.head.weight.norm()}, evaluate_every=5)
    whole = train(new_net(), **settings)
    release = press_stop(12)
    part = train(new_net(), checkpoint="net", **settings)
    assert part.done == 13
    assert "Run the cell again to go on." in capsys.readouterr().out
    release()
    # Its own initial weights do not matter.
    resumed = train(new_net(seed=1), checkpoint="net", **settings)
    assert "This training goes on (step 13 of 24" in capsys.readouterr().out
    assert resumed.resumed_at == 13
    assert resumed.losses == whole.losses
    assert resumed.evaluations == whole.evaluations
    assert same_weights(resumed.model, whole.model)


def test_a_finished_training_is_not_repeated(train, new_net, same_weights, capsys):
    first = train(new_net(), checkpoint="net")
    again = train(new_net(), checkpoint="net")
    assert "is finished: its stored weights are used" in capsys.readouterr().out
    assert (again.resumed_at, again.losses) == (24, first.losses)
    assert same_weights(first.model, again.model)


def test_a_killed_process_is_resumed(tmp_path):
    """Kill -9 in mid-run: a fresh process goes on to the weights of one that was never killed."""
    program = tmp_path / "program.py"
    program.write_text(KILLED.format(here=str(Path(__file__).parent)))

    def run(cache, *arguments):
        environment = os.environ | {"CVCOURSE_DATA": str(tmp_path / cache)}
        return subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    whole = run("other", str(tmp_path / "whole"))
    victim = run("cache", str(tmp_path / "never"), "slow")
    folder = tmp_path / "cache" / "checkpoints"
    deadline = time.monotonic() + 60
    while not list(folder.glob("killed-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    victim.kill()
    victim.wait()
    resumed = run("cache", str(tmp_path / "resumed"))
    resumed_at = int(resumed.communicate()[0].splitlines()[-1])
    whole.communicate()
    assert 0 < resumed_at < 120
    assert not (tmp_path / "never").exists()
    one, other = load_file(tmp_path / "whole"), load_file(tmp_path / "resumed")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_edited_model_never_gets_old_weights_and_going_back_finds_them(train, new_net, capsys):
    train(new_net(), checkpoint="net")
    capsys.readouterr()
    wider = train(new_net(width=9), checkpoint="net")
    said = "The stored weights of net belong to other code: training starts afresh."
    assert said in capsys.readouterr().out
    assert wider.resumed_at == 0
    assert train(new_net(), checkpoint="net").resumed_at == 24


def test_other_settings_are_named(train, new_net, capsys):
    train(new_net(), checkpoint="net")
    assert train(new_net(), checkpoint="net", steps=30, seed=2).resumed_at == 0
    said = "belong to other settings (seed 0 before, 2 now, steps 24 before, 30 now)"
    assert said in capsys.readouterr().out


def test_other_data_are_noticed(train, new_net, data, capsys):
    train(new_net(), checkpoint="net")
    images = data[0].clone()
    images[0, 0, 0, 0] += 0.01
    assert train(new_net(), data=(images, data[1]), checkpoint="net").resumed_at == 0
    assert "belong to other data: training" in capsys.readouterr().out


@pytest.mark.parametrize("left", [0, 100, -10])
def test_a_truncated_file_is_said_and_replaced(train, new_net, capsys, left):
    first = train(new_net(), checkpoint="net")
    path = the_file()
    path.write_bytes(path.read_bytes()[:left])
    again = train(new_net(), checkpoint="net")
    said = "is not used, it is damaged or cut short: training starts afresh."
    assert said in capsys.readouterr().out
    assert (again.resumed_at, again.losses) == (0, first.losses)
    assert train(new_net(), checkpoint="net").resumed_at == 24


def test_a_file_from_elsewhere_under_this_name_is_refused(train, new_net, capsys):
    train(new_net(), checkpoint="net")
    path = the_file()
    tensors = load_file(path)
    save_file(tensors, path, {"key.code": "another", "step": "24"})
    assert train(new_net(), checkpoint="net").resumed_at == 0
    assert "is not used, it belongs to other code, data or configuration" in capsys.readouterr().out


def test_a_file_without_a_weight_is_refused(train, new_net, capsys):
    """The key is right, the content is not."""
    from safetensors import safe_open

    train(new_net(), checkpoint="net")
    path = the_file()
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    del tensors["model.head.bias"]
    save_file(tensors, path, metadata)
    assert train(new_net(), checkpoint="net").resumed_at == 0
    said = "is not used, its weights are not this model's: training starts afresh"
    assert said in capsys.readouterr().out


def test_nothing_can_be_written(train, new_net, monkeypatch, tmp_path):
    """A file stands where the folder should: that stops root, too, whom no permission stops."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / "file"))
    said = r"Checkpoints cannot be written to .* set CVCOURSE_DATA to a folder of yours"
    with pytest.raises(TrainingError, match=said):
        train(new_net(), checkpoint="net")
    assert train(new_net()).is_finished


def test_no_permission(train, new_net, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(TrainingError, match=r"cannot be written to .* \(Permission denied\)"):
        train(new_net(), checkpoint="net")


def test_a_disk_that_fills_up_costs_the_checkpoint_and_not_the_training(
    train, new_net, monkeypatch, capsys
):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    run = train(new_net(), checkpoint="net", save_every=0.0)
    assert run.is_finished
    said = "could not be written (No space left on device); training goes on"
    assert capsys.readouterr().out.count(said) == 1
    assert files() == []


def test_few_files_are_kept(train, new_net):
    for seed in range(KEPT + 2):
        train(new_net(), checkpoint="net", steps=2, seed=seed)
    train(new_net(), checkpoint="net-2", steps=2)
    assert len([name for name in files() if name.startswith("net-2-")]) == 1
    assert len(files()) == KEPT + 1


def test_a_name_that_is_a_path_is_refused(train, new_net):
    with pytest.raises(TrainingError, match="A checkpoint's name has letters"):
        train(new_net(), checkpoint="../net")


def test_spoilt_weights_are_never_stored(train, new_net, same_weights):
    calls = []

    def loss(logits, labels):
        calls.append(1)
        factor = float("nan") if len(calls) == 14 else 1
        return torch.nn.functional.cross_entropy(logits, labels) * factor

    with pytest.raises(TrainingError):
        train(new_net(), loss=loss, checkpoint="net", save_every=0.0)
    stored = load_file(the_file())
    assert all(tensor.isfinite().all() for tensor in stored.values())


def test_tied_weights_are_stored(train, data):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = self.second = torch.nn.Linear(64, 64)

        def forward(self, x):
            return self.second(self.first(x.flatten(1)))[:, :4]

    train(Tied(), checkpoint="tied")
    assert train(Tied(), checkpoint="tied").resumed_at == 24
