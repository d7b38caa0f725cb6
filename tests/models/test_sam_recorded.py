"""What unit 15 says about its recorded runs, on every seed.

And that the provided weights are those of the figures.
"""

import json

import pytest
from recorded import on_every_seed, seeds_ahead

from autograder.units import ROOT
from cvcourse import measures, models
from cvcourse.data import nested_scenes

FOLDER = ROOT / "solutions" / "15_sam"
ROWS = json.loads((FOLDER / "recorded.json").read_text())["rows"]
RIVALS = ROWS["baselines"]
THREE, ONE, LONGER, ONE_LONGER = (
    ROWS[name] for name in ("three masks", "one mask", "three masks, longer", "one mask, longer")
)


def is_above(one, other, column):
    """Whether a column of one arm is above another's on every seed."""
    return on_every_seed(one[column], other[column])


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
        assert is_above(three, one, "ambiguous, best")
        assert is_above(three, one, "a meaning")
        assert is_above(three, one, "all meanings")
        assert max(one["all meanings"]) < 0.01
    assert min(LONGER["all meanings"]) > 0.3


def test_choosing_pays_after_the_longer_training_and_not_yet_after_the_short_one():
    column = "ambiguous, chosen"
    assert is_above(LONGER, ONE_LONGER, column)
    assert is_above(LONGER, ONE_LONGER, "click 1")
    assert seeds_ahead(THREE[column], ONE[column]) == 2
    assert is_above(THREE, ONE, "click 1")


def test_a_box_is_worth_more_than_a_short_trainings_mask_and_less_than_a_long_ones():
    assert all(value < RIVALS["filled box"] for value in THREE["box"] + ONE["box"])
    assert all(value > RIVALS["filled box"] + 0.1 for value in LONGER["box"])


def test_the_short_network_with_one_mask_finds_nothing_by_itself():
    assert max(ONE["masks a picture"]) == 0
    assert min(THREE["recall at 0.5"]) > 0.15
    assert LONGER["recall at 0.5"][0] > 0.8 and ONE_LONGER["recall at 0.5"][0] < 0.13


def test_it_fails_on_streets():
    streets = ROWS["streets"]
    assert streets["disc"] > 2 * streets["click, chosen"]
    assert streets["filled box"] > 3 * streets["box"]


@pytest.mark.usefixtures("one_thread")
def test_the_provided_weights_give_the_recorded_numbers():
    sam, test = models.load_sam(FOLDER / "provided.safetensors"), nested_scenes(300, 32, seed=2)
    found = measures.report(sam, test, measures.ask(test), clicks=2)
    columns = ("click 1", "click 2", "best", "ambiguous, chosen", "all meanings")
    for column in (*columns, "correlation", "box"):
        assert found[column] == pytest.approx(LONGER[column][0], abs=0.01), column


def test_a_turn_of_the_data_engine():
    turn = ROWS["data engine"]
    few, alone = turn["few scenes again"], turn["and by hand alone"]
    engine, every = turn["and the engine's labels"], turn["and every object drawn"]
    for other in (few, alone, engine):
        assert is_above(every, other, "click 1")
        assert is_above(every, other, "best")
    assert is_above(engine, alone, "best")
    for column in ("click 1", "click 3", "best", "recall at 0.5"):
        assert is_above(few, engine, column)
    labels = turn["labels"]
    assert min(labels["right among the network's"]) > 0.85
    assert max(labels["objects labelled"]) < 0.5
    assert labels["parts among all objects"][0] == pytest.approx(1 / 3, abs=0.01)
    assert max(labels["parts among the largest"]) == 0
