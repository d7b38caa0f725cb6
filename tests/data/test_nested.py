"""Scenes of parts, wholes and groups: what their maps promise, and what is refused."""

import pytest
import torch

from cvcourse.data import LEVELS, draw_objects, nested_scenes
from cvcourse.data.nested import SMALLEST, levels_of

PART, WHOLE, GROUP = range(len(LEVELS))


@pytest.fixture(scope="module")
def scenes():
    return nested_scenes(120, 32, seed=3)


def test_shapes_and_values(scenes):
    assert scenes.images.shape == (120, 3, 32, 32) and scenes.images.dtype == torch.float32
    assert scenes.levels.shape == (120, 3, 32, 32) and scenes.levels.dtype == torch.uint8
    assert scenes.images.min() >= 0 and scenes.images.max() <= 1
    assert nested_scenes(0).images.shape == (0, 3, 32, 32)
    assert nested_scenes(2, (32, 48)).levels.shape == (2, 3, 32, 48)


def test_a_picture_depends_on_its_number_alone(scenes):
    few = nested_scenes(5, 32, seed=3)
    assert torch.equal(few.images, scenes.images[:5]) and torch.equal(few.levels, scenes.levels[:5])
    assert not torch.equal(few.images, nested_scenes(5, 32, seed=4).images)


def test_it_is_the_same_scene_at_every_size(scenes):
    large = nested_scenes(20, 64, seed=3)
    small = scenes.levels[:20]
    shrunk = large.levels[:, :, ::2, ::2]
    assert ((small[:, WHOLE] > 0) == (shrunk[:, WHOLE] > 0)).float().mean() > 0.95


def test_parts_lie_on_their_wholes_and_wholes_in_their_groups(scenes):
    parts, wholes, groups = scenes.levels.long().unbind(dim=1)
    on_whole = (wholes == parts) | (parts == 0) | (wholes == 0)
    assert on_whole.all(), "a part has its whole's number"
    of_one_group = [
        len(groups[i][wholes[i] == k].unique())
        for i in range(len(scenes))
        for k in wholes[i].unique()[1:]
    ]
    assert set(of_one_group) == {1}, "all pixels of a whole belong to the same group, or to none"
    for i in range(len(scenes)):
        for group in groups[i].unique()[1:]:
            assert len(wholes[i][groups[i] == group].unique()) >= 2, (
                "a group has at least two wholes"
            )


def test_every_level_is_common_and_nothing_is_tiny(scenes):
    counts = torch.zeros(3)
    for i in range(len(scenes)):
        masks, levels = scenes.objects(i)
        assert masks.flatten(1).sum(dim=1).min() >= SMALLEST * 32 * 32
        counts += torch.bincount(levels, minlength=3)
    assert counts[PART] > 100 and counts[WHOLE] > 200 and counts[GROUP] > 50


def test_every_scene_has_an_object():
    levels = nested_scenes(400, 32, seed=11).levels
    assert (levels.flatten(1) > 0).any(dim=1).all()


def test_levels_of_slots_by_hand():
    slots = torch.zeros(1, 16, 16, dtype=torch.uint8)
    slots[0, :4, :4], slots[0, 1:3, 1:3] = 1, 2  # the first whole and its part
    slots[0, :4, 6:10] = 3  # the second whole of the same place
    slots[0, 10:14, :4], slots[0, 15, 15] = (
        7,
        9,
    )  # another place: a whole, and a pixel of a second, too little
    part, whole, group = levels_of(slots)[0]
    assert part.unique().tolist() == [0, 1] and (part == 1).sum() == 4
    assert whole.unique().tolist() == [0, 1, 2, 4]
    assert group.unique().tolist() == [0, 1] and (group == 1).sum() == 32


def test_objects_of_an_empty_scene():
    scenes = nested_scenes(1, 32, seed=3)
    empty = type(scenes)(scenes.images, torch.zeros_like(scenes.levels))
    masks, levels = empty.objects(0)
    assert masks.shape == (0, 32, 32) and levels.shape == (0,)


def test_drawn_objects_are_objects_of_their_pictures(scenes):
    torch.manual_seed(0)
    masks, rows, levels = draw_objects(scenes.levels[:9], 4)
    assert masks.shape == (36, 32, 32) and masks.dtype == torch.bool
    assert rows.tolist() == [i for i in range(9) for _ in range(4)]
    for mask, row, level in zip(masks, rows.tolist(), levels.tolist(), strict=True):
        own, own_levels = scenes.objects(row)
        assert any(torch.equal(mask, other) for other in own[own_levels == level])


def test_every_object_is_drawn_equally_often(scenes):
    index = next(i for i in range(len(scenes)) if len(scenes.objects(i)[0]) == 6)
    torch.manual_seed(0)
    masks, _, _ = draw_objects(scenes.levels[index : index + 1], 3000)
    own, _ = scenes.objects(index)
    counts = (masks[:, None] == own).flatten(2).all(dim=2).sum(dim=0)
    assert counts.sum() == 3000 and counts.min() > 400 and counts.max() < 600


def test_some_of_the_scenes(scenes):
    assert len(scenes[3:8]) == 5 and len(scenes[[1, 2]]) == 2 and len(scenes.to("cpu")) == 120
    assert torch.equal(scenes[3:8].images[0], scenes.images[3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": -1}, "count must be an integer"),
        ({"count": 1, "size": 8}, "size must be an integer from 16"),
        ({"count": 1, "seed": -1}, "seed must be"),
        ({"count": 1, "places": (2, 1)}, "places must be"),
        ({"count": 1, "places": (0, 1)}, "places must be"),
        ({"count": 1, "places": (1, 5)}, "at most 4"),
        ({"count": 1, "background": "sky"}, "background must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        nested_scenes(**arguments)


def test_a_picture_without_objects_cannot_be_asked_about():
    with pytest.raises(ValueError, match="nothing to click"):
        draw_objects(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), 1)
