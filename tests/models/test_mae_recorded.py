"""What unit 11 says about its recorded runs, on every seed."""

import json

import pytest

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
    assert all(len(row) != 2 for row in found.values() if isinstance(row, list)), (
        "the recording is not finished"
    )
    return found


def mean(values):
    return sum(values) / len(values)


def test_motifs_are_painted_better_than_without_learning_and_worse_than_from_a_large_memory():
    errors = part("motifs", "errors")
    for name in ("mean fill", "interpolation"):
        assert all(
            mae < 0.9 * rival for mae, rival in zip(errors["MAE"], errors[name], strict=True)
        ), name
    assert all(memory < mae for memory, mae in zip(errors["retrieval"], errors["MAE"], strict=True))
    assert all(
        flat < worse
        for flat, worse in zip(errors["mean fill"], errors["interpolation"], strict=True)
    )


def test_digits_are_painted_as_well_by_memory():
    errors = part("digits", "errors")
    for name in ("mean fill", "interpolation"):
        assert all(
            mae < rival / 2 for mae, rival in zip(errors["MAE"], errors[name], strict=True)
        ), name
    assert all(
        memory < mae + 0.02 for memory, mae in zip(errors["retrieval"], errors["MAE"], strict=True)
    )


@COUNTS
def test_pre_training_beats_scratch_for_the_same_steps(count):
    shares = part("digits", "shares")
    assert all(
        mae > own for mae, own in zip(shares["MAE"][count], shares["scratch"][count], strict=True)
    )


@COUNTS
def test_a_good_part_of_it_is_time(count):
    shares = part("digits", "shares")
    mae, own, longer = (mean(shares[name][count]) for name in ("MAE", "scratch", LONG))
    assert longer - own > 0.3 * (mae - own)


def test_with_as_many_steps_in_all_scratch_is_ahead_at_400_labels_and_behind_at_100():
    shares = part("digits", "shares")
    assert all(
        own > mae for own, mae in zip(shares[LONG]["400"], shares["MAE"]["400"], strict=True)
    )
    assert all(
        own < mae for own, mae in zip(shares[LONG]["100"], shares["MAE"]["100"], strict=True)
    )


def test_neither_the_base_nor_the_ratio_explains_the_first_attempt():
    shares, rows = part("digits", "shares"), part("variants", "rows")
    for name in ("base 10000", "mask ratio 0.75"):
        assert all(
            found > own
            for found, own in zip(rows[name]["100"], shares["scratch"]["100"], strict=True)
        ), name
        assert 0 < mean(shares["MAE"]["100"]) - mean(rows[name]["100"]) < 0.05, name


def test_normalised_targets_do_not_help_here():
    shares, rows = part("digits", "shares"), part("variants", "rows")
    found = zip(rows["normalised targets"]["100"], shares["MAE"]["100"], strict=True)
    assert all(normalised < plain for normalised, plain in found)


@COUNTS
def test_pixels_beat_every_transformer(count):
    shares = part("digits", "shares")
    best = max(value for name in TRANSFORMERS for value in shares[name][count])
    assert shares["pixels, nearest neighbour"][count][0] > best
    assert shares["pixels, nearest neighbour"][count][0] > max(
        shares["MAE, nearest neighbour"][count]
    )


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
