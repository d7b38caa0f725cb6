"""Budgets of training cells: what is chosen, and what an interrupt leaves."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cvcourse import training
from cvcourse.training import Budget, BudgetError, budget, budgets

PLANS = {"smoke": dict(steps=2), "cpu": dict(steps=20), "gpu": dict(steps=200)}


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(training.VARIABLE, raising=False)


def on(monkeypatch, device):
    monkeypatch.setattr(budgets, "best_device", lambda: device)


@pytest.mark.parametrize(
    ("device", "name", "used"),
    [("cpu", "cpu", "cpu"), ("cuda", "gpu", "cuda"), ("mps", "gpu", "mps")],
)
def test_the_hardware_chooses(monkeypatch, capsys, device, name, used):
    on(monkeypatch, device)
    plan = budget(**PLANS)
    assert (plan.name, plan.device, plan.steps) == (name, used, PLANS[name]["steps"])
    assert capsys.readouterr().out == f"budget {name} on {used}: steps {PLANS[name]['steps']}\n"


def test_the_variable_overrides_the_hardware_and_the_argument_both(monkeypatch):
    on(monkeypatch, "cuda")
    monkeypatch.setenv(training.VARIABLE, "smoke")
    assert (budget(**PLANS).name, budget(**PLANS).device) == ("smoke", "cpu")
    assert budget("cpu", **PLANS).name == "cpu"


def test_without_a_gpu_plan_the_cpu_plan_runs_on_the_cpu(monkeypatch):
    on(monkeypatch, "cuda")
    plan = budget(smoke=PLANS["smoke"], cpu=PLANS["cpu"])
    assert (plan.name, plan.device) == ("cpu", "cpu")


def test_an_unknown_budget_names_the_known_ones(monkeypatch):
    monkeypatch.setenv(training.VARIABLE, "huge")
    with pytest.raises(BudgetError, match="no budget 'huge': this cell has smoke, cpu, gpu"):
        budget(**PLANS)


def test_a_setting_that_the_plan_lacks_is_named():
    with pytest.raises(AttributeError, match="sets steps, not epochs"):
        _ = budget("cpu", **PLANS).epochs


def test_progress_says_how_far_it_is(capsys):
    assert list(Budget("cpu", "cpu").progress(range(3), every=0.0)) == [0, 1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]


def test_an_interrupt_ends_the_loop_after_its_step_and_keeps_what_was_done(capsys):
    done = []
    before = signal.getsignal(signal.SIGINT)
    for step in Budget("cpu", "cpu").progress(range(10)):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        done.append(step)
    assert done == [0, 1, 2, 3]
    assert "Stopped after 4 of 10 steps" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_stops_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt):
        for step in Budget("cpu", "cpu").progress(range(10)):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            done.append(step)
    assert done == []


def test_progress_works_outside_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.extend(Budget("cpu", "cpu").progress(range(3))))
    thread.start()
    thread.join()
    assert found == [0, 1, 2]
