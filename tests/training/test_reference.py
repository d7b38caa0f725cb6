"""Reference runs, and the command that makes them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from autograder.authoring.train import train_unit
from autograder.errors import CourseError
from cvcourse.training import (
    BudgetError,
    Results,
    TrainingError,
    read_reference,
    reference,
    show_reference,
    write_reference,
)

ROOT = Path(__file__).parents[2]
MINI = ROOT / "tests" / "fixtures" / "mini"
RESULTS = Results({"lr": 0.1}, {"accuracy": 0.5}, {"loss": [(1, 2.0), (2, 1.0)]}, nn.Linear(2, 2))


def write(folder, results=RESULTS, budget="cpu"):
    return write_reference(folder, "90_mini", budget, "signs", 3, results, "cvcourse train 90_mini")


@pytest.fixture
def unit(tmp_path):
    """A copy of the miniature course's sources."""
    return Path(shutil.copytree(MINI, tmp_path / "mini"))


def edit(root, text):
    (root / "solutions" / "90_mini" / "training.py").write_text(text)


def test_what_is_written_can_be_read(tmp_path):
    assert write(tmp_path / "new") == tmp_path / "new" / "reference-cpu.json"
    run = read_reference("cpu", folder=tmp_path / "new")
    assert (run.unit, run.budget, run.data, run.seed) == ("90_mini", "cpu", "signs", 3)
    assert (run.configuration, run.numbers) == (RESULTS.configuration, RESULTS.numbers)
    assert run.curves == {"loss": [(1, 2.0), (2, 1.0)]}
    assert run.environment["versions"]["torch"] == torch.__version__
    assert run.environment["command"] == "cvcourse train 90_mini"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", run.environment["date"])
    assert run.environment["hardware"]
    assert torch.equal(load_file(run.weights)["weight"], RESULTS.model.weight)
    if os.name == "posix":
        assert run.weights.stat().st_mode & 0o044 == 0o044, "a class reads it"


def test_it_holds_no_place_of_this_machine(tmp_path):
    text = write(tmp_path).read_text()
    for private in (str(tmp_path), str(ROOT), str(Path.home()) + "/", os.uname().nodename):
        assert private not in text


def test_weights_above_the_limit_are_not_kept_and_old_ones_do_not_stay(tmp_path, monkeypatch):
    write(tmp_path)
    assert read_reference("cpu", folder=tmp_path).weights is not None
    monkeypatch.setattr(reference, "LARGEST_WEIGHTS", 10)
    write(tmp_path)
    assert read_reference("cpu", folder=tmp_path).weights is None


def test_a_reference_run_is_always_labelled(tmp_path, train, new_net, capsys):
    own = train(new_net(), steps=4, evaluate=lambda model: {"accuracy": 0.25})
    write(tmp_path)
    capsys.readouterr()
    show_reference("cpu", own, folder=tmp_path)
    label, mine, theirs = capsys.readouterr().out.splitlines()
    assert label.startswith("reference run (cpu budget, signs, seed 3; ")
    assert mine.split() == ["your", "run", "accuracy", "0.25"]
    assert theirs.split() == ["reference", "run", "accuracy", "0.5"]


def test_an_absent_one_is_said(tmp_path, capsys):
    assert show_reference("gpu", folder=tmp_path / "nowhere") is None
    assert capsys.readouterr().out == "No reference run was recorded for the gpu budget.\n"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"curves": {"loss": 3}}'])
def test_a_damaged_one_is_said(tmp_path, text):
    write(tmp_path).write_text(text)
    said = r"The reference run reference-cpu.json cannot be read: write it anew"
    with pytest.raises(TrainingError, match=said):
        read_reference("cpu", folder=tmp_path)


@pytest.mark.parametrize("number", [float("nan"), object()])
def test_numbers_that_are_none_are_refused_and_the_old_run_stays(tmp_path, number):
    before = write(tmp_path).read_text()
    with pytest.raises(TrainingError, match="no plain finite numbers and words"):
        write(tmp_path, Results({}, {"accuracy": number}))
    assert (tmp_path / "reference-cpu.json").read_text() == before
    assert read_reference("cpu", folder=tmp_path).weights is not None


def test_other_results_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="train must return Results, not dict"):
        write(tmp_path, {"accuracy": 1})


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    said = r"cannot be written to .*: name another folder with --out"
    with pytest.raises(TrainingError, match=said):
        write(tmp_path / "file")


def test_a_unit_is_trained_with_its_solutions(unit, capsys):
    path = train_unit(unit, "90_mini", "cpu", None, 0)
    assert path == unit / "solutions" / "90_mini" / "reference-cpu.json"
    run = read_reference("cpu", folder=path.parent)
    assert run.numbers["accuracy"] > 0.9
    assert run.numbers["steps"] == len(run.curves["loss"]) == 20
    assert run.environment["command"] == "cvcourse train 90_mini --data signs --budget cpu --seed 0"
    assert "budget cpu on cpu: steps 20" in capsys.readouterr().out
    assert "0.gain" in load_file(run.weights)


def test_seed_data_and_budget_are_the_runs_own(unit, tmp_path):
    runs = []
    for seed in (0, 0, 1):
        train_unit(unit, "90_mini", "smoke", "noise", seed, tmp_path / "o")
        runs.append(read_reference("smoke", folder=tmp_path / "o"))
    assert runs[0].curves == runs[1].curves != runs[2].curves
    assert (runs[2].data, runs[2].budget, runs[2].seed) == ("noise", "smoke", 1)


def test_the_budget_that_really_ran_is_named(unit, tmp_path):
    """The miniature has no gpu plan."""
    assert train_unit(unit, "90_mini", "gpu", None, 0, tmp_path).name == "reference-cpu.json"


def test_a_budget_that_does_not_exist(unit):
    with pytest.raises(BudgetError, match="no budget 'huge': this cell has smoke, cpu"):
        train_unit(unit, "90_mini", "huge", None, 0)


def test_data_that_the_unit_does_not_know(unit):
    said = "90_mini does not train on 'cats': it trains on signs, noise"
    with pytest.raises(CourseError, match=said):
        train_unit(unit, "90_mini", "smoke", "cats", 0)


def test_a_unit_without_training(unit):
    (unit / "solutions" / "90_mini" / "training.py").unlink()
    said = r"90_mini has no training outside its notebook: write .*/training.py"
    with pytest.raises(CourseError, match=said):
        train_unit(unit, "90_mini", None, None, 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("DATA = (", "training.py does not run: SyntaxError"),
        ("1 / 0", "training.py does not run: ZeroDivisionError"),
        ("DATA = ('a',)", "training.py must define BUDGETS, train"),
    ],
)
def test_a_broken_training_file(unit, text, sentence):
    edit(unit, text)
    with pytest.raises(CourseError, match=sentence):
        train_unit(unit, "90_mini", None, None, 0)


def command(*arguments, launch=(), **environment):
    return subprocess.run(
        [sys.executable, *launch, "-m", "autograder.cli", "train", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_command(tmp_path):
    done = command(
        "90", "--course", str(MINI), "--budget", "smoke", "--seed", "4", "--out", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "reference-smoke.json"
    assert done.stdout.splitlines()[-1] == f"The reference run is {path}."
    assert json.loads((tmp_path / "reference-smoke.json").read_text())["seed"] == 4


def test_the_command_says_in_one_line_what_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    out = ("--out", str(tmp_path / "file"))
    for arguments in (("90", "--budget", "huge"), ("90", "--budget", "smoke", *out)):
        done = command("--course", str(MINI), *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        said = ("There is no budget 'huge'", "name another folder with --out")
        assert any(words in done.stderr for words in said)


def test_the_command_in_two_processes(tmp_path):
    arguments = ("90", "--course", str(MINI), "--budget", "smoke", "--out")
    settings = "--num_machines 1 --mixed_precision no --dynamo_backend no --main_process_port 0"
    launch = f"-m accelerate.commands.launch --multi_gpu --num_processes 2 {settings}".split()
    together = command(*arguments, str(tmp_path / "two"), launch=launch, ACCELERATE_USE_CPU="true")
    assert together.returncode == 0, together.stdout + together.stderr
    assert together.stdout.count("The reference run is") == 1
    assert together.stdout.count("budget smoke on cpu") == 1
    assert command(*arguments, str(tmp_path / "one")).returncode == 0
    one, two = (read_reference("smoke", folder=tmp_path / name) for name in ("one", "two"))
    assert [loss for _, loss in two.curves["loss"]] == pytest.approx(
        [loss for _, loss in one.curves["loss"]], rel=1e-5
    )
    assert two.environment["processes"] == 2
    assert two.environment["command"].startswith(
        "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu"
    )


def test_a_build_gives_the_run_to_learners_and_not_the_training(unit):
    from autograder.authoring.build import build_units

    train_unit(unit, "90_mini", "smoke", None, 0)
    build_units([], unit)
    released = {path.name for path in (unit / "course" / "90_mini").iterdir()}
    assert {"reference-smoke.json", "reference-smoke.safetensors"} <= released
    assert "training.py" not in released
