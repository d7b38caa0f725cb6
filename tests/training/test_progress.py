"""What a long training says, with and without a notebook."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from cvcourse.training.progress import MOST_POINTS, Progress, thinned

CELL = """
import os
os.environ["CVCOURSE_DATA"] = {cache!r}
import torch
from cvcourse.training import adamw, fit
torch.set_num_threads(1)
class Net(torch.nn.Sequential):
    pass
torch.manual_seed(0)
run = fit(Net(torch.nn.Linear(4, 2)), (torch.rand(32, 4), torch.arange(32) % 2), steps=20,
          batch_size=8,
          optimizer=adamw(1e-2), checkpoint="cell",
          evaluate=lambda model: {{"accuracy": 0.5}}, evaluate_every=5)
print("resumed at", run.resumed_at)
"""


def test_a_line_says_step_loss_throughput_and_time_left(train, new_net, capsys):
    train(
        new_net(),
        steps=3,
        report_every=0.0,
        evaluate=lambda model: {"accuracy": 0.25},
        evaluate_every=2,
    )
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("step 1 of 3   loss 1.")
    assert "images/s   about" in first and first.endswith("s left")
    assert second.endswith("accuracy 0.25")


def test_a_quiet_training_tells_nothing_but_that_stored_weights_are_used(
    train, new_net, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path))
    for said in ("", "is finished: its stored weights are used"):
        torch.manual_seed(0)
        train(new_net(), steps=3, report_every=0.0, quiet=True, checkpoint="quiet")
        out = capsys.readouterr().out
        assert out == "" if not said else said in out and len(out.splitlines()) == 1


def test_time_left_counts_the_steps_of_this_session_only(monkeypatch):
    """80 of 100 steps were done before; 10 took 5 seconds, and 10 are left."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress(steps=100, start=80, batch_size=8)
    now[0] = 5.0
    assert progress.line([1.0] * 90, []).endswith("16 images/s   about 5 s left")


def test_a_long_curve_is_averaged_in_groups():
    steps, means = thinned([float(value) for value in range(1000)])
    assert len(steps) == len(means) <= MOST_POINTS
    assert (steps[0], means[0]) == (2.5, 1.5)
    assert thinned([3.0, 4.0]) == ([1, 2], [3.0, 4.0])


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The same training cell twice, in a real kernel."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(CELL.format(cache=str(folder))) for _ in range(2)]
    made = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(made, timeout=60, kernel_name="python3").execute()
    return made


def outputs(cell):
    text = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return text, [output.data for output in cell.outputs if output.output_type == "display_data"]


def test_a_notebook_shows_curves_and_keeps_the_last_picture(notebook):
    text, pictures = outputs(notebook.cells[0])
    assert len(pictures) == 1
    assert {"image/png", "text/html"} <= set(pictures[0])
    assert 'alt="Curves of cell: the loss against the step' in pictures[0]["text/html"]
    assert "20 steps in" in text and "images/s" not in text


def test_a_cell_that_is_run_again_finds_its_weights(notebook):
    """The class was defined anew, by the same code."""
    assert "resumed at 0" in outputs(notebook.cells[0])[0]
    assert "resumed at 20" in outputs(notebook.cells[1])[0]


def test_it_trains_without_jupyter_and_without_the_grader(tmp_path):
    absent = (
        "autograder",
        "nbgrader",
        "IPython",
        "ipywidgets",
        "jupyter_core",
        "anywidget",
        "matplotlib",
        "accelerate",
    )
    code = f"import sys\nfor name in {absent}:\n    sys.modules[name] = None\n" + textwrap.dedent(
        CELL.format(cache=str(tmp_path))
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resumed at 0" in done.stdout
