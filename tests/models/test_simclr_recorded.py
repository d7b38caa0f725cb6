"""What unit 08 says about its recorded runs, on every seed."""

import json

import pytest
from recorded import mean, on_every_seed, seeds_ahead

from autograder.units import ROOT

ROWS = json.loads((ROOT / "solutions" / "08_simclr" / "recorded.json").read_text())["rows"]
BASE = "temperature 0.3, batches of 64, with a head"


def column(row, name):
    """A column of an arm: one number a seed."""
    return ROWS[row][name]


def is_above(one, other, name):
    """Whether a column of one arm is above another's on every seed."""
    return on_every_seed(column(one, name), column(other, name))


def test_three_seeds_and_the_pixels():
    timed = {name: row for name, row in ROWS.items() if "seconds" in row and name != "pixels"}
    assert all(len(row["seconds"]) == 3 for row in timed.values())


def test_what_was_learned_is_not_in_the_architecture():
    [pixels] = column("pixels", "knn")
    assert max(column("untrained", "knn")) < pixels < min(column("cut and dyed", "knn"))
    assert min(column("SimCLR", "knn")) > 0.78


def test_fine_tuning_beats_training_from_scratch_on_the_same_labels():
    for labels in ("probe 1 %", "probe 5 %"):
        assert is_above("fine-tuned", "supervised", labels)


def test_a_linear_layer_on_the_frozen_encoder_is_ahead_on_one_seed_of_three():
    for labels in ("probe 1 %", "probe 5 %"):
        assert seeds_ahead(column("SimCLR", labels), column("supervised", labels)) == 1


def test_a_head_is_worth_little_after_the_longer_training():
    with_head, without = column("SimCLR", "knn"), column("SimCLR, no head", "knn")
    assert 0 < seeds_ahead(with_head, without) < 3
    pairs = zip(with_head, column("SimCLR", "knn of z"), strict=True)
    assert all(0 < h - z < 0.05 for h, z in pairs)


def test_without_the_change_of_colour_pairs_are_found_and_nothing_is_learned():
    [pixels] = column("pixels", "knn")
    assert min(column("cut only", "pairs")) > 0.75
    assert max(column("cut only", "knn")) < pixels


def test_both_changes_help_probes_and_hardly_neighbours():
    assert is_above("cut and dyed", "dyed only", "probe 1 %")
    assert is_above("cut and dyed", "dyed only", "probe 5 %")
    both, dyed = (mean(column(row, "knn")) for row in ("cut and dyed", "dyed only"))
    assert both == pytest.approx(dyed, abs=0.03)


@pytest.mark.parametrize(
    "other", ["temperature 1", "temperature 0.05", "batches of 256", "no head"]
)
def test_other_settings_have_worse_neighbours(other):
    assert is_above(BASE, other, "knn")


def test_seeds_disagree_about_small_batches():
    assert 0 < seeds_ahead(column("batches of 16", "knn"), column(BASE, "knn")) < 3
