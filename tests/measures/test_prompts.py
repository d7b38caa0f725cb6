"""Measures of promptable segmentation, on models whose answers are known."""

import pytest
import torch

from cvcourse import measures, models
from cvcourse.data import NestedScenes, nested_scenes
from cvcourse.models import mask_iou


@pytest.fixture(scope="module")
def scenes():
    return nested_scenes(12, 32, seed=5)


@pytest.fixture(scope="module")
def asked(scenes):
    return measures.ask(scenes, objects=3, seed=1)


class Knowing(models.Sam):
    """Answers every click with what lies under it: part, whole and group, or the object itself
    after a second one."""

    def __init__(self, scenes, asked):
        torch.nn.Module.__init__(self)
        self.scenes, self.asked = scenes, asked

    def encode(self, images):
        return models.Embedding(images)

    def decode(self, embedding, points=None, labels=None, boxes=None, masks=None, multimask=True):
        found = self.asked.meanings if multimask else self.asked.targets[:, None]
        guesses = found.flatten(2).any(dim=2) * torch.linspace(0.9, 0.7, found.shape[1])
        return 20.0 * found - 10, guesses


def test_clicks_lie_on_what_is_meant(asked):
    x, y = asked.points.long().unbind(dim=1)
    assert asked.targets[torch.arange(36), y, x].all()
    meant = (asked.meanings == asked.targets[:, None]).flatten(2).all(dim=2)
    assert meant.any(dim=1).all(), "one of the meanings is the object"
    assert torch.equal(asked.ambiguous, asked.meanings.flatten(2).any(dim=2).sum(dim=1) >= 2)


def test_the_same_seed_asks_the_same(scenes, asked):
    state = torch.random.get_rng_state()
    again = measures.ask(scenes, objects=3, seed=1)
    assert torch.equal(again.points, asked.points) and torch.equal(
        torch.random.get_rng_state(), state
    )
    assert not torch.equal(measures.ask(scenes, objects=3, seed=2).points, asked.points)


def test_a_model_that_knows_everything(scenes, asked):
    found = measures.report(Knowing(scenes, asked), scenes, asked, clicks=3)
    assert found["best"] == found["click 2"] == found["click 3"] == found["box"] == pytest.approx(1)
    assert found["all meanings"] == 1 and found["a meaning"] == 1
    assert found["click 1"] < 1 and found["ambiguous, best"] == 1 and found["ambiguous, chosen"] < 1
    assert found["click 1"] <= measures.ceiling(asked) + 0.05, "nobody can bet much better"


def test_recall_counts_objects(scenes):
    def all_objects(predict, points):
        return torch.cat([scenes.objects(index)[0] for index in range(len(scenes))]), None

    def nothing(predict, points):
        return torch.zeros(0, 32, 32, dtype=torch.bool), None

    torch.manual_seed(0)
    sam = models.build_sam(32, embed_dim=16, width=8, blocks=1, heads=2, mlp=32).eval()
    found = measures.automatic_recall(sam, scenes, finder=all_objects)
    assert found["recall at 0.5"] == found["recall at 0.75"] == 1 and found["masks a picture"] > 12
    assert 0.05 < found["precision at 0.5"] < 0.6, "the objects of all scenes are offered to each"
    found = measures.automatic_recall(sam, scenes, finder=nothing)
    assert found == {
        "recall at 0.5": 0,
        "recall at 0.75": 0,
        "precision at 0.5": 0,
        "masks a picture": 0,
    }
    found = measures.automatic_recall(sam, scenes, side=2, iou_threshold=-9, stability_threshold=0)
    assert 0 <= found["recall at 0.75"] <= found["recall at 0.5"] <= 1


def test_flood_fill_stops_at_other_colours_and_at_gaps():
    images = torch.zeros(2, 3, 6, 8)
    images[:, 0, :, :3], images[:, 0, :, 5:] = 1.0, 1.0  # red, black, red
    images[1, 0, 2, 3:5] = 1.0  # a bridge in the second picture
    masks = measures.flood_fill(images, torch.tensor([[1.0, 1], [1, 1]]), 0.5)
    assert masks.sum(dim=(1, 2)).tolist() == [18, 38]
    assert measures.flood_fill(images, torch.tensor([[1.0, 1], [1, 1]]), 2.0).all()


def test_a_disc_about_the_click():
    masks = measures.click_disc(torch.tensor([[3.0, 2.0], [0, 0]]), (6, 8), 1.0)
    assert (
        masks.sum(dim=(1, 2)).tolist() == [5, 3]
        and masks[0, 2, 3]
        and masks[0, 2, 4]
        and not masks[0, 3, 4]
    )


def test_the_ceiling_bets_on_the_likelier_thing():
    levels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    levels[0, 1], levels[0, 0, :4, :4] = 1, 1  # a whole of 256 pixels with a part of 16
    scenes = NestedScenes(torch.zeros(1, 3, 16, 16), levels)
    asked = measures.ask(scenes, objects=200, seed=0)
    on_part = asked.ambiguous
    bet = torch.where(on_part[:, None, None], levels[0, 0] > 0, levels[0, 1] > 0)
    assert measures.ceiling(asked) == pytest.approx(mask_iou(bet, asked.targets).mean().item())


def test_an_untrained_model_can_be_measured(scenes, asked):
    torch.manual_seed(0)
    sam = models.build_sam(32, embed_dim=16, width=8, blocks=1, heads=2, mlp=32).eval()
    found = measures.report(sam, scenes, asked, clicks=2)
    assert (
        all(-1 <= value <= 1 for value in found.values())
        and "click 2" in found
        and "click 3" not in found
    )
