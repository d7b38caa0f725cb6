"""What unit 11 says about its recorded runs, on every seed."""

import json

import pytest
from recorded import mean, on_every_seed, times

from autograder.units import ROOT

FILE = ROOT / "solutions" / "11_mae" / "recorded.json"
LONG = "scratch, pre-training's steps too"
TRANSFORMERS = ("scratch", LONG, "MAE", "MAE, rates that decay", "MAE, first attempt")
COUNTS = pytest.mark.parametrize("count", ["100", "400"])


def part(*keys):
    """What was recorded under these names, with all three seeds."""
    found = json.loads(FILE.read_text())
    for key in keys:
        found = found[key]
    rows = [row for row in found.values() if isinstance(row, list)]
    assert all(len(row) != 2 for row in rows), "the recording is not finished"
    return found


def test_motifs_are_painted_better_than_without_learning_and_worse_than_from_a_large_memory():
    errors = part("motifs", "errors")
    for name in ("mean fill", "interpolation"):
        assert on_every_seed(times(0.9, errors[name]), errors["MAE"]), name
    assert on_every_seed(errors["MAE"], errors["retrieval"])
    assert on_every_seed(errors["interpolation"], errors["mean fill"])


def test_digits_are_painted_as_well_by_memory():
    errors = part("digits", "errors")
    for name in ("mean fill", "interpolation"):
        assert on_every_seed(times(0.5, errors[name]), errors["MAE"]), name
    pairs = zip(errors["retrieval"], errors["MAE"], strict=True)
    assert all(memory < mae + 0.02 for memory, mae in pairs)


@COUNTS
def test_pre_training_beats_scratch_for_the_same_steps(count):
    shares = part("digits", "shares")
    assert on_every_seed(shares["MAE"][count], shares["scratch"][count])


@COUNTS
def test_a_good_part_of_it_is_time(count):
    shares = part("digits", "shares")
    mae, own, longer = (mean(shares[name][count]) for name in ("MAE", "scratch", LONG))
    assert longer - own > 0.3 * (mae - own)


def test_with_as_many_steps_in_all_scratch_is_ahead_at_400_labels_and_behind_at_100():
    shares = part("digits", "shares")
    assert on_every_seed(shares[LONG]["400"], shares["MAE"]["400"])
    assert on_every_seed(shares["MAE"]["100"], shares[LONG]["100"])


def test_neither_the_base_nor_the_ratio_explains_the_first_attempt():
    shares, rows = part("digits", "shares"), part("variants", "rows")
    for name in ("base 10000", "mask ratio 0.75"):
        assert on_every_seed(rows[name]["100"], shares["scratch"]["100"]), name
        assert 0 < mean(shares["MAE"]["100"]) - mean(rows[name]["100"]) < 0.05, name


def test_normalised_targets_do_not_help_here():
    shares, rows = part("digits", "shares"), part("variants", "rows")
    assert on_every_seed(shares["MAE"]["100"], rows["normalised targets"]["100"])


@COUNTS
def test_pixels_beat_every_transformer(count):
    shares = part("digits", "shares")
    pixels = shares["pixels, nearest neighbour"][count][0]
    for name in (*TRANSFORMERS, "MAE, nearest neighbour"):
        assert pixels > max(shares[name][count]), name


@COUNTS
def test_the_first_attempt_hurts(count):
    shares = part("digits", "shares")
    assert mean(shares["MAE, first attempt"][count]) < mean(shares["scratch"][count])


@COUNTS
def test_rates_that_decay_make_no_great_difference(count):
    shares = part("digits", "shares")
    assert abs(mean(shares["MAE, rates that decay"][count]) - mean(shares["MAE"][count])) < 0.05


def test_the_figures_are_those_of_the_page():
    part("digits", "shares")
    recorded = json.loads(FILE.read_text())
    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    block = page.split("<!-- begin masking -->")[1].split("<!-- end masking -->")[0]
    for values in (recorded["motifs"]["errors"]["MAE"], recorded["digits"]["shares"]["MAE"]["100"]):
        assert " / ".join(f"{value:.3f}" for value in values) in block
