"""The lesson's SimCLR cell goes on after a dead kernel, and the snapshots of its embedding map are
not lost."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from autograder.authoring.lesson import read_lesson, run_cell
from autograder.cells import tags
from autograder.units import ROOT, SOLUTIONS
from cvcourse import measures

UNIT = "08_simclr"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Start a kernel: the lesson's names, and a function that runs its cells up to the end of
    SimCLR's training."""
    monkeypatch.setenv("CVCOURSE_BUDGET", "smoke")
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / "checkpoints"))
    lesson = read_lesson(ROOT / SOLUTIONS / UNIT)
    cells = [cell for cell in lesson.notebook.cells if "training" in tags(cell)]
    last = next(place for place, cell in enumerate(cells) if "def take_stock" in cell.source)

    def start(folder="checkpoints"):
        monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / folder))
        names = lesson.namespace()
        few = names["queries"].images[:4]
        names["snapshot"] = lambda encoder: measures.features(encoder, few).repeat(
            285, 1
        )  # quicker than all 1140

        def train():
            for number, cell in enumerate(cells[: last + 1]):
                run_cell(names, cell.source, f"<{UNIT} training {number}>")
                if number == 0:
                    names["fit"] = partial(names["fit"], save_every=0.0, quiet=True)

        return names, train

    return start


class Died(BaseException):
    """As sudden as the end of a kernel."""


def dying(snapshot, calls):
    """`snapshot`, which ends the kernel at its last of so many calls."""
    left = iter(range(calls - 1, -1, -1))

    def call(encoder):
        if next(left) == 0:
            raise Died
        return snapshot(encoder)

    return call


def same(one, other):
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in zip(one, other, strict=True))


def test_a_dead_kernel_costs_no_snapshot(kernel):
    """Killed twice while it takes stock, then run again: weights, losses and album are those of an
    undisturbed run."""
    undisturbed, train = kernel("elsewhere")
    train()
    assert [step for step, _ in undisturbed["snapshots"]] == list(range(13))
    for calls in (5, 4):  # the first of each is the untrained encoder's
        names, train = kernel()
        names["snapshot"] = dying(names["snapshot"], calls)
        with pytest.raises(Died):
            train()
        assert not names["snapshots"]
    names, train = kernel()
    train()
    assert names["run"].resumed_at == 5, "three pages of the first kernel, two of the second"
    assert names["run"].losses == undisturbed["run"].losses
    assert same(names["snapshots"], undisturbed["snapshots"])
    weights = undisturbed["with_head"].state_dict()
    assert all(
        torch.equal(tensor, weights[name])
        for name, tensor in names["with_head"].state_dict().items()
    )
    assert len(names["stock"]()[1]) == 13


def test_finished_or_changed(kernel, capsys):
    """A training that is over is taken up at once; one with another function starts afresh, and
    says so."""
    first, train = kernel()
    train()
    second, train = kernel()
    second["snapshot"] = dying(second["snapshot"], 2)  # nothing is measured again
    train()
    assert second["run"].resumed_at == second["run"].steps == 12
    assert same(first["snapshots"], second["snapshots"])
    third, train = kernel()
    exec("def hue_rotation(turns):\n    return torch.eye(3).expand(len(turns), 3, 3)", third)
    train()
    assert third["run"].resumed_at == 0 and len(third["snapshots"]) == 13
    assert "belong to other code" in capsys.readouterr().out
