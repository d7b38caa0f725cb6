"""What unit 15 says about its recorded runs, on every seed, and that the provided weights are those
of the figures."""

import json

import pytest

from autograder.units import ROOT
from cvcourse import measures, models
from cvcourse.data import nested_scenes

FOLDER = ROOT / "solutions" / "15_sam"
ROWS = json.loads((FOLDER / "recorded.json").read_text())["rows"]
RIVALS = ROWS["baselines"]
THREE, ONE, LONGER, ONE_LONGER = (
    ROWS[name] for name in ("three masks", "one mask", "three masks, longer", "one mask, longer")
)


def on_every_seed(one, other, column):
    """Whether a column of one arm is above another's on every seed."""
    return all(a > b for a, b in zip(one[column], other[column], strict=True))


def test_the_chosen_mask_beats_what_needs_no_network_after_one_click():
    best = max(RIVALS["flood fill"], RIVALS["disc"])
    assert all(value > best + 0.1 for row in (THREE, LONGER) for value in row["click 1"])
    assert all(value < RIVALS["ceiling"] for row in (THREE, LONGER) for value in row["click 1"])


def test_every_further_click_helps():
    for row in (THREE, LONGER):
        for answers in zip(*(row[f"click {n}"] for n in (1, 2, 3, 5)), strict=True):
            assert list(answers) == sorted(set(answers))


def test_three_masks_hold_what_one_cannot():
    for three, one in ((THREE, ONE), (LONGER, ONE_LONGER)):
        assert on_every_seed(three, one, "ambiguous, best")
        assert on_every_seed(three, one, "a meaning")
        assert on_every_seed(three, one, "all meanings")
        assert max(one["all meanings"]) < 0.01
    assert min(LONGER["all meanings"]) > 0.3


def test_choosing_pays_after_the_longer_training_and_not_yet_after_the_short_one():
    column = "ambiguous, chosen"
    assert on_every_seed(LONGER, ONE_LONGER, column) and on_every_seed(
        LONGER, ONE_LONGER, "click 1"
    )
    assert [a > b for a, b in zip(THREE[column], ONE[column], strict=True)].count(True) == 2
    assert on_every_seed(THREE, ONE, "click 1")


def test_a_box_is_worth_more_than_a_short_trainings_mask_and_less_than_a_long_ones():
    assert all(value < RIVALS["filled box"] for value in THREE["box"] + ONE["box"])
    assert all(value > RIVALS["filled box"] + 0.1 for value in LONGER["box"])


def test_the_short_network_with_one_mask_finds_nothing_by_itself():
    assert max(ONE["masks a picture"]) == 0
    assert min(THREE["recall at 0.5"]) > 0.15
    assert LONGER["recall at 0.5"][0] > 0.8 and ONE_LONGER["recall at 0.5"][0] < 0.13


def test_it_fails_on_streets():
    streets = ROWS["streets"]
    assert (
        streets["disc"] > 2 * streets["click, chosen"]
        and streets["filled box"] > 3 * streets["box"]
    )


@pytest.mark.usefixtures("one_thread")
def test_the_provided_weights_give_the_recorded_numbers():
    sam, test = models.load_sam(FOLDER / "provided.safetensors"), nested_scenes(300, 32, seed=2)
    found = measures.report(sam, test, measures.ask(test), clicks=2)
    for column in (
        "click 1",
        "click 2",
        "best",
        "ambiguous, chosen",
        "all meanings",
        "correlation",
        "box",
    ):
        assert found[column] == pytest.approx(LONGER[column][0], abs=0.01), column


def test_a_turn_of_the_data_engine():
    turn = ROWS["data engine"]
    few, alone, engine, every = (
        turn[name]
        for name in (
            "few scenes again",
            "and by hand alone",
            "and the engine's labels",
            "and every object drawn",
        )
    )
    for other in (few, alone, engine):
        assert on_every_seed(every, other, "click 1") and on_every_seed(every, other, "best")
    assert on_every_seed(engine, alone, "best")
    assert all(
        on_every_seed(few, engine, column)
        for column in ("click 1", "click 3", "best", "recall at 0.5")
    )
    labels = turn["labels"]
    assert min(labels["right among the network's"]) > 0.85 and max(labels["objects labelled"]) < 0.5
    assert labels["parts among all objects"][0] == pytest.approx(1 / 3, abs=0.01)
    assert max(labels["parts among the largest"]) == 0
