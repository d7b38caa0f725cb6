"""The benchmark of training support: it compares the same, and a missed bar is a failure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

MEASURE = Path(__file__).parents[2] / "docs" / "measure"


@pytest.fixture(scope="module")
def measure():
    sys.path.insert(0, str(MEASURE))
    spec = importlib.util.spec_from_file_location("measure_training", MEASURE / "training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(MEASURE))
    return module


def figures(augmentation=6.0, precision=2.0):
    parts = {"augmentation": (augmentation, 5.0), "precision": (precision, 1.5)}
    made = {
        name: {"images_per_second": {"one": 1.0}, "ratio": ratio, "bar": bar}
        for name, (ratio, bar) in parts.items()
    }
    environment = {"date": "2026-01-01", "hardware": "a processor", "versions": {"torch": "2"}}
    return made | {"environment": environment, "gpu": None}


def run(measure, monkeypatch, tmp_path, found):
    """(exit code, the file of figures)."""
    monkeypatch.setattr(measure, "measure_augmentation", lambda count: found["augmentation"])
    monkeypatch.setattr(measure, "measure_precision", lambda steps: found["precision"])
    monkeypatch.setattr(measure, "best_device", lambda: "cpu")
    monkeypatch.setattr(
        sys, "argv", ["training.py", "--dry", "--json", str(tmp_path / "figures.json")]
    )
    with pytest.raises(SystemExit) as raised:
        measure.main()
    return raised.value.code, (tmp_path / "figures.json").read_text()


@pytest.mark.parametrize(
    ("augmentation", "precision", "code"), [(5.0, 1.5, 0), (4.9, 2.0, 1), (6.0, 1.4, 1)]
)
def test_a_missed_bar_is_exit_code_1(
    measure, monkeypatch, tmp_path, capsys, augmentation, precision, code
):
    found, text = run(measure, monkeypatch, tmp_path, figures(augmentation, precision))
    assert found == code
    assert f'"ratio": {augmentation}' in text
    assert capsys.readouterr().err.count("Missed:") == code


def test_a_processor_without_bfloat16_has_no_bar(measure, monkeypatch, capsys, tmp_path):
    found = figures()
    monkeypatch.setattr(measure, "has_fast_bfloat16", lambda device: False)
    found["precision"] = measure.measure_precision(1)
    code, _ = run(measure, monkeypatch, tmp_path, found)
    assert code == 0
    assert "This processor has no fast bfloat16" in capsys.readouterr().out


def test_both_pipelines_give_pictures_of_one_kind(measure):
    """Equal means and spreads over many pictures, within five standard errors of the mean."""
    images = torch.randint(
        0, 256, (1500, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    torch.manual_seed(0)
    data = measure.PerImage(images)
    one = torch.stack([data[index] for index in range(len(data))])
    other = measure.batched()(images, torch.Generator().manual_seed(1)).float() / 255
    assert one.shape == other.shape
    for statistic in (
        lambda x: x.mean((1, 2, 3)),
        lambda x: x.std((1, 2, 3)),
        lambda x: (x == 0).float().mean((1, 2, 3)),
    ):
        a, b = statistic(one), statistic(other)
        error = ((a.var() + b.var()) / len(images)).sqrt()
        assert abs(a.mean() - b.mean()) < 5 * error + 2e-3
