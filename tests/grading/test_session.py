"""Running a submission through the sandbox: what a cell or a check does costs itself, and nothing
comes out changed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from gradebook_course import UNIT, solved
from grading_class import DEADLY, KILLED, LIMITS, SLEEP, with_cell
from nbformat import NotebookNode

from autograder.checking.key import Key
from autograder.checking.verdict import State
from autograder.grading import session as session_module
from autograder.grading.align import Cell, align
from autograder.grading.intake import cells_of
from autograder.grading.materials import Materials, Unit, fresh_key, make_materials
from autograder.grading.session import GraderFault, Session, Transcript, with_settings
from autograder.grading.verdicts import verdicts_of
from autograder.grading.workers import Workers, WorkerSettings
from autograder.sandbox.wire import LENGTHS, pack

RIGHT = {"moving_sum": State.RIGHT, "Scale": State.RIGHT, "counts": State.RIGHT}
Run = Callable[..., Transcript]


@pytest.fixture(scope="module")
def unit(released_mini) -> Unit:
    return Unit(released_mini, UNIT)


@pytest.fixture(scope="module")
def key(unit) -> Key:
    return fresh_key(unit, "a secret")


@pytest.fixture(scope="module")
def materials(unit, key) -> Materials:
    return make_materials(unit, key, "a secret")


@pytest.fixture
def cells(unit) -> Callable[[NotebookNode], tuple[Cell, ...]]:
    return lambda notebook: align(cells_of(json.dumps(notebook).encode()), unit.release).cells


@pytest.fixture
def states(key, cells) -> Callable[[NotebookNode, Transcript], dict[str, State]]:
    def found(notebook: NotebookNode, transcript: Transcript) -> dict[str, State]:
        return {
            name: verdict.state
            for name, verdict in verdicts_of(key, cells(notebook), transcript).items()
        }

    return found


@pytest.fixture
def run(workers, materials, cells) -> Run:
    """Run a notebook; `limits` change those of the sandbox on the host's side."""

    def run_it(notebook: NotebookNode, **limits: float) -> Transcript:
        session = Session(workers._sandbox, materials, cells(notebook))
        session.limits = replace(session.limits, **limits)
        return session.run()

    return run_it


def printed(transcript: Transcript) -> str:
    """What the first own cell printed: it stands behind the set-up."""
    return "".join(output.get("text", "") for output in transcript.cells["own-2"].outputs)


def test_a_right_submission_comes_through_at_once(run, states, unit, released_mini):
    notebook = solved(released_mini)
    transcript = run(notebook)
    assert transcript.starts == 1
    assert states(notebook, transcript) == RIGHT
    assert transcript.answers == {"counts": {"weights": 9, "share": 0.36}}
    assert all(None not in outcomes for outcomes in transcript.outcomes.values())
    assert not transcript.evidence and not transcript.tampered
    costly = [cell.id for cell in unit.release if cell.role == "costly"]
    assert costly and not set(costly) & set(transcript.cells)


def test_a_check_sees_the_names_as_they_were_where_it_stands(run, states, released_mini):
    notebook = solved(released_mini)
    check = next(
        index for index, item in enumerate(notebook.cells) if item.source == "check(moving_sum)"
    )
    later = with_cell(
        notebook,
        "def moving_sum(signal, width=2):\n    return signal\n\ndel Scale, weights",
        check + 1,
    )
    found = states(later, run(later))
    assert found["moving_sum"] is State.RIGHT
    assert found["Scale"] is State.RIGHT  # its own cell comes later still


def test_a_function_finds_helpers_that_are_defined_after_it(run, states, released_mini):
    notebook = solved(
        released_mini,
        moving_sum="def moving_sum(signal, width=2):\n    return added(signal, width)",
    )
    place = next(
        index for index, item in enumerate(notebook.cells) if item.source == "check(moving_sum)"
    )
    helper = "def added(x, n):\n    return sum(x[i:len(x) - n + 1 + i] for i in range(n))"
    with_cell(notebook, helper, place)
    assert states(notebook, run(notebook)) == RIGHT


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("40 + 2", {"output_type": "execute_result", "text/plain": "42"}),
        ("print('out')", {"output_type": "stream", "name": "stdout", "text": "out\n"}),
        (
            "import sys; print('oops', file=sys.stderr)",
            {"output_type": "stream", "name": "stderr", "text": "oops\n"},
        ),
        (
            "1 / 0",
            {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division by zero"},
        ),
        ("%%capture\nprint('unseen')", {}),
        ("from IPython.display import HTML\nHTML('<b>x</b>')", {"text/html": "<b>x</b>"}),
        ("import matplotlib.pyplot as plt\nplt.plot([1, 2]);\nplt.show()", {}),
        ("exit()", {}),
        ("raise SystemExit(3)", {"output_type": "error"}),
        ("raise KeyboardInterrupt", {"output_type": "error", "ename": "KeyboardInterrupt"}),
        ("raise BaseException('mine')", {"output_type": "error", "ename": "BaseException"}),
        ("print(check)", {"output_type": "stream"}),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_a_cell_shows_comes_out_and_the_rest_is_run(
    run, states, released_mini, source, output
):
    notebook = with_cell(solved(released_mini), source)
    transcript = run(notebook)
    outputs = transcript.cells["own-2"].outputs
    flat = [{**item, **item.get("data", {})} for item in outputs]
    assert not output or any(output.items() <= item.items() for item in flat), outputs
    assert states(notebook, transcript) == RIGHT
    assert transcript.starts == 1


def test_a_flood_of_output_is_cut(run, states, released_mini, patience):
    notebook = with_cell(solved(released_mini), "for _ in range(10**5):\n    print('x' * 200)")
    begun = time.monotonic()
    transcript = run(notebook)
    assert 1000 < len(printed(transcript)) < 2 * 2**20
    assert time.monotonic() - begun < patience(20)
    assert states(notebook, transcript) == RIGHT


def test_submissions_do_not_meet(run, released_mini):
    first = """
import os, torch, builtins
open("left", "w").write("x"); open(os.path.expanduser("~/left"), "w").write("x")
os.environ["LEFT"] = "x"; torch.sum = None; builtins.left = 1
torch.manual_seed(1)
"""
    second = """
import os, torch, builtins
print(os.path.exists("left"), os.path.exists(os.path.expanduser("~/left")), "LEFT" in os.environ)
processes = [name for name in os.listdir("/proc") if name.isdigit()]
print(torch.sum is None, hasattr(builtins, "left"), len(processes))
"""
    run(with_cell(solved(released_mini), first))
    seen = printed(run(with_cell(solved(released_mini), second))).split()
    assert seen[:5] == ["False"] * 5
    assert int(seen[5]) <= 3


def test_chance_is_seeded_alike_for_everybody(run, released_mini):
    source = (
        "import random, torch, numpy as np\nprint(random.random(), np.random.rand(),"
        " torch.rand(1).item())"
    )
    one, other = (printed(run(with_cell(solved(released_mini), source))) for _ in range(2))
    assert one == other and len(one.split()) == 3


def test_a_death_costs_itself_and_is_not_repeated(run, states, released_mini):
    notebook = with_cell(solved(released_mini, moving_sum=DEADLY), KILLED)
    transcript = run(notebook)
    assert transcript.cells["own-2"].state == State.KERNEL_DEATH
    assert states(notebook, transcript) == {**RIGHT, "moving_sum": State.KERNEL_DEATH}
    assert 2 < transcript.starts <= 4


def test_there_is_an_end_to_starting_again(run, states, released_mini, monkeypatch):
    monkeypatch.setattr(session_module, "MOST_STARTS", 3)
    notebook = solved(released_mini)
    for number in range(5):
        with_cell(notebook, f"{KILLED}# {number}")
    transcript = run(notebook)
    assert transcript.starts == 3
    assert set(states(notebook, transcript).values()) == {State.KERNEL_DEATH}
    assert {run.state for run in transcript.cells.values()} == {State.KERNEL_DEATH, ""}


def test_the_notebooks_time_is_kept_whatever_its_cells_do(
    run, states, released_mini, monkeypatch, patience
):
    monkeypatch.setattr(session_module, "SLACK", 0.5)
    notebook = solved(released_mini)
    for _ in range(5):
        with_cell(notebook, SLEEP)
    begun = time.monotonic()
    transcript = run(notebook, cell_seconds=30.0, notebook_seconds=2.0)
    assert time.monotonic() - begun < patience(8)
    assert set(states(notebook, transcript).values()) == {State.TIMEOUT}


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("weights = None\nshare = ...", ["no answer yet"] * 2),
        (
            "weights = '9'\nshare = [0.36]",
            ["an integer is expected, not str", "a number is expected, not list"],
        ),
        ("weights = torch.tensor(9)\nshare = 9 / 25", ["", ""]),
        (
            "weights = float('nan')\nshare = float('inf')",
            ["expected, not float", "expected, not float"],
        ),
        (
            "weights = 10 ** 400\nshare = -1",
            ["an integer is expected, not int", "-1.0 is not the answer"],
        ),
        (
            "class Evil:\n    def __eq__(self, other): return True\nweights = share = Evil()",
            ["not Evil"] * 2,
        ),
        (
            "class Odd(list):\n    def __len__(self): 1 / 0\nweights = share = Odd()",
            ["not Odd"] * 2,
        ),
    ],
    ids=["none", "others", "right", "not finite", "huge", "equal to all", "raising"],
)
def test_answers_cross_as_plain_numbers(run, key, cells, released_mini, source, kinds):
    notebook = solved(released_mini, counts=source)
    verdict = verdicts_of(key, cells(notebook), run(notebook))["counts"]
    messages = [case.message for case in verdict.cases]
    assert all(kind in message for kind, message in zip(kinds, messages, strict=True)), messages
    assert verdict.points == (1.0 if "torch.tensor" in source else 0.0)


def test_what_a_process_relies_on_is_watched(run, states, key, cells, released_mini):
    notebook = with_cell(solved(released_mini), "import torch\ntorch.equal = lambda *_: True")
    transcript = run(notebook)
    assert any("torch.equal was replaced" in line for line in transcript.evidence)
    verdicts = verdicts_of(key, cells(notebook), transcript)
    assert {verdict.state for name, verdict in verdicts.items() if name != "counts"} == {
        State.TAMPERING
    }
    assert verdicts["moving_sum"].points == 0


def test_a_server_that_is_gone_is_the_graders_fault_and_a_new_one_takes_over(
    must_be_sandboxed, materials, cells, states, released_mini
):
    notebook = solved(released_mini)
    workers = Workers(WorkerSettings(LIMITS), 1)
    try:
        workers.wait_until_ready()
        broken = workers._sandbox
        os.kill(broken.process.pid, signal.SIGKILL)
        broken.process.wait()
        with pytest.raises(GraderFault, match=r"The sandbox is gone|No submission can be started"):
            Session(broken, materials, cells(notebook)).run()
        ended = workers.one(materials, "ada", cells(notebook))
        assert ended.fault == "" and states(notebook, ended.transcript) == RIGHT
        assert workers._sandbox is not broken
    finally:
        workers.close()
    assert workers.one(materials, "ada", cells(notebook)).fault != ""  # closed, it starts no other
    assert workers._sandbox.process.poll() is not None


def test_a_limit_is_put_into_a_packed_request():
    request = pack({"do": "check", "cases": []})
    limited = with_settings(request, seconds=2.5)
    length, arrays = LENGTHS.unpack_from(limited)
    header = json.loads(limited[LENGTHS.size : LENGTHS.size + length])
    assert header == {"seconds": 2.5, "do": "check", "cases": [], "arrays": []}
    assert (len(limited), arrays) == (LENGTHS.size + length, 0)
