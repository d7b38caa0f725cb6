"""Painted scenes against slow, plain recomputation, and against what a person would say of the
picture."""

import math
import re
import time

import pytest
import torch

from cvcourse.data import COLOR_NAMES, SHAPES, TEXTURES, color_masks, creatures, mask_color, scenes
from cvcourse.data.layout import COLORS, draw_layout
from cvcourse.data.painter import paint, paint_background
from cvcourse.data.surfaces import SHAPE_FUNCTIONS, TEXTURE_ADJECTIVES, TEXTURE_FUNCTIONS
from cvcourse.data.synthetic import _recipe

TENSORS = (
    "images",
    "labels",
    "instance_masks",
    "semantic_masks",
    "boxes",
    "visible",
    "classes",
    "colors",
    "textures",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def crowd():
    """Forty scenes of none to five objects, many of them hidden in part."""
    return scenes(40, (30, 44), objects=(0, 5), seed=3, scale=(0.3, 0.7), rotation=math.pi)


def recipe(
    size=32,
    objects=1,
    background="texture",
    colors=COLOR_NAMES,
    occlusion=True,
    nested=False,
    scale=None,
):
    size = (size, size) if isinstance(size, int) else size
    return _recipe(
        size, objects, SHAPES, TEXTURES, colors, 0.3, scale, occlusion, nested, False, background
    )


def grid(side):
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    return line[None, :].expand(side, side), line[:, None].expand(side, side)  # u, v


# --- what comes out ---


def test_shapes_types_and_ranges(crowd):
    assert crowd.images.shape == (40, 3, 30, 44) and crowd.images.dtype == torch.float32
    assert crowd.images.min() >= 0 and crowd.images.max() <= 1
    assert crowd.instance_masks.shape == crowd.semantic_masks.shape == (40, 30, 44)
    assert crowd.instance_masks.dtype == crowd.semantic_masks.dtype == torch.uint8
    assert crowd.boxes.shape == (40, 5, 4) and crowd.visible.shape == (40, 5)
    assert crowd.labels.dtype == crowd.classes.dtype == torch.int64
    assert len(crowd.captions) == len(crowd) == 40


def test_numbers_of_objects_cover_the_range(crowd):
    counts = (crowd.classes >= 0).sum(1)
    assert counts.unique().tolist() == [0, 1, 2, 3, 4, 5]
    for i, n in enumerate(counts.tolist()):  # the objects a scene has come first
        assert (crowd.classes[i, :n] >= 0).all() and (crowd.classes[i, n:] == -1).all()
        assert not crowd.visible[i, n:].any()


def test_boxes_enclose_the_visible_pixels_and_no_more(crowd):
    for i in range(len(crowd)):
        for k in range(5):
            ys, xs = (crowd.instance_masks[i] == k + 1).nonzero(as_tuple=True)
            assert crowd.visible[i, k].item() == (len(xs) > 0)
            expected = [0, 0, 0, 0]
            if len(xs):
                expected = [
                    xs.min().item(),
                    ys.min().item(),
                    xs.max().item() + 1,
                    ys.max().item() + 1,
                ]
            assert crowd.boxes[i, k].tolist() == expected


def test_semantic_masks_are_the_classes_of_the_instances(crowd):
    for i in range(len(crowd)):
        names = torch.cat([torch.zeros(1, dtype=torch.int64), crowd.classes[i] + 1])
        assert torch.equal(crowd.semantic_masks[i].long(), names[crowd.instance_masks[i].long()])


def test_fully_hidden_objects_have_no_box():
    hidden = scenes(60, 32, objects=6, seed=1, scale=(0.2, 1.0))
    gone = ~hidden.visible
    assert gone.any(), "the case must occur for this test to mean something"
    assert (hidden.boxes[gone] == 0).all() and (hidden.classes[gone] >= 0).all()


def test_the_principal_object_is_the_last_painted_and_lies_in_front():
    known = recipe(48, 4)
    layout = draw_layout(known, 5, 0, 30)
    whole = paint(layout, known)[1]
    made = scenes(30, 48, objects=4, seed=5)
    assert torch.equal(made.labels, made.classes[:, -1])
    assert torch.equal(made.instance_masks == 4, whole[:, -1])
    covered = (
        whole[:, :3].sum((2, 3))
        > torch.stack([(made.instance_masks == k).sum((1, 2)) for k in (1, 2, 3)], 1)
    ).sum()
    assert covered > 20  # the others do get covered


def test_the_mask_is_where_the_object_differs_from_the_background():
    known = recipe(64, (0, 2))
    layout = draw_layout(known, 2, 0, 20)
    images, _ = paint(layout, known)
    changed = (images - paint_background(layout, known)).abs().amax(1) > 1e-6
    mask = scenes(20, 64, objects=(0, 2), seed=2).instance_masks.bool()
    assert not mask.flatten(1).any(1).all(), "a scene without objects is among them"
    assert (changed | ~mask).all(), "every masked pixel was painted over"
    fringe = changed & ~mask
    near = torch.nn.functional.max_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0].bool()
    stray = fringe & ~near  # faint tips of stars and crescents
    assert stray.sum() < 0.02 * mask.sum(), "beyond the mask only the smooth edge was"


def test_edges_are_smooth():
    plain = scenes(
        10, 64, seed=0, background="plain", textures=["solid"], colors=["black", "white"]
    )
    pixels = plain.images.permute(0, 2, 3, 1).reshape(10, -1, 3)
    tones = [len(image.unique(dim=0)) for image in pixels]
    assert min(tones) > 20  # background, object, and the mixtures along the edge


# --- the same again ---


def test_an_image_does_not_depend_on_how_many_are_made():
    many, few = scenes(1100, 16, objects=2, seed=7), scenes(3, 16, objects=2, seed=7)
    for name in TENSORS:
        assert torch.equal(getattr(many, name)[:3], getattr(few, name)), name
    assert many.captions[:3] == few.captions
    assert torch.equal(many[1030:].images, scenes(1100, 16, objects=2, seed=7)[1030:].images)


def test_chunks_leave_no_trace(monkeypatch):
    usual = scenes(50, 24, objects=3, seed=4)
    monkeypatch.setattr("cvcourse.data.synthetic.PIXELS_AT_ONCE", 7 * 24 * 24)
    odd = scenes(50, 24, objects=3, seed=4)
    for name in TENSORS:
        assert torch.equal(getattr(usual, name), getattr(odd, name)), name
    assert usual.captions == odd.captions


def test_another_size_is_the_same_scene():
    small, large = scenes(50, 32, objects=2, seed=1), scenes(50, 96, objects=2, seed=1)
    assert torch.equal(small.classes, large.classes) and torch.equal(small.colors, large.colors)
    shrunk = torch.nn.functional.avg_pool2d(large.images, 3)
    assert (shrunk - small.images).abs().mean() < 0.03
    both = small.visible & large.visible
    assert (small.boxes * 3 - large.boxes)[both].abs().max() <= 9


def test_seeds_and_images_differ():
    a, b = scenes(20, 16, seed=0).images, scenes(20, 16, seed=1).images
    everything = torch.cat([a, b]).flatten(1)
    assert len(everything.unique(dim=0)) == 40
    assert not torch.equal(a[1:], b[:-1])  # image 1 of seed 0 is not image 0 of seed 1


def test_painting_leaves_the_random_state_of_the_caller_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    scenes(5)
    assert torch.equal(torch.rand(3), expected)


# --- what is in the picture ---


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", math.pi * 0.92**2),
        ("square", 1.48**2),
        ("triangle", 0.75 * math.sqrt(3)),
        ("star", 5 * 0.46 * math.sin(math.pi / 5)),
        ("plus", 2 * 1.84 * 0.64 - 0.64**2),
        ("ring", math.pi * (0.93**2 - 0.43**2)),
        ("hourglass", 4 * (0.1 * 0.8 + 0.35 * 0.8**2)),
    ],
)
def test_shape_has_the_area_of_its_figure(name, area):
    u, v = grid(400)
    inside = (SHAPE_FUNCTIONS[name](1.1 * u, 1.1 * v) < 0).float().mean().item()
    assert inside * 4 * 1.1**2 == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_shape_fits_its_radius_and_its_distance_is_about_true(name):
    u, v = grid(300)
    u, v = 1.3 * u, 1.3 * v
    distance = SHAPE_FUNCTIONS[name](u, v)
    assert not (distance[torch.hypot(u, v) > 1.06] < 0).any()  # a square's corner reaches 1.05
    step = 2.6 / 300
    slope = (
        torch.hypot(distance[1:, :-1] - distance[:-1, :-1], distance[:-1, 1:] - distance[:-1, :-1])
        / step
    )
    edge = distance[:-1, :-1].abs() < 0.03
    assert (
        0.9 < slope[edge].median() < 1.1
    )  # one unit of distance a unit of length: edges one pixel wide


def test_shapes_are_told_apart_by_what_a_person_sees():
    u, v = grid(101)
    inside = {name: function(u, v) < 0 for name, function in SHAPE_FUNCTIONS.items()}
    middle = {name: mask[50, 50].item() for name, mask in inside.items()}
    assert [name for name, solid in middle.items() if not solid] == ["ring", "crescent"]
    assert inside["triangle"][20].sum() < inside["triangle"][70].sum()  # tip up
    assert (
        inside["crescent"][:, :50].sum() > 3 * inside["crescent"][:, 50:].sum()
    )  # opens to the right
    assert inside["hourglass"][50].sum() < 0.2 * inside["hourglass"][15].sum()  # narrow waist
    assert inside["star"][:50].flip(1).equal(inside["star"][:50])  # one tip straight up


@pytest.mark.parametrize("name", TEXTURES)
def test_pattern_shows_both_colours_unless_solid(name):
    u, v = grid(200)
    share = (TEXTURE_FUNCTIONS[name](u, v) > 0).float().mean().item()
    assert share == 0 if name == "solid" else 0.25 < share < 0.6


def test_patterns_have_the_symmetry_of_their_name():
    u, v = grid(200)
    tone = {name: function(u, v) > 0 for name, function in TEXTURE_FUNCTIONS.items()}
    assert (tone["stripes"] == tone["stripes"][:1]).all() and not (
        tone["stripes"] == tone["stripes"][:, :1]
    ).all()
    assert (tone["rings"] == tone["rings"].T).all() and (
        tone["rings"] == tone["rings"].flip(0)
    ).all()
    assert (tone["halves"] == (v > 0)).all()
    # along a ray the tone stays: twice as far out is the same
    assert (TEXTURE_FUNCTIONS["rays"](2 * u, 2 * v) > 0).eq(tone["rays"]).float().mean() > 0.999


def test_rotation_turns_clockwise_as_seen():
    upright = scenes(
        1, 64, seed=0, classes=["triangle"], textures=["halves"], rotation=0.0, background="plain"
    )
    rows = upright.instance_masks[0].sum(1)
    occupied = rows[rows > 0].tolist()
    assert occupied[0] < occupied[-1] / 4  # tip up
    turned = scenes(200, 64, seed=0, classes=["plus"], rotation=0.3)
    still = scenes(200, 64, seed=0, classes=["plus"], rotation=0.0)
    assert not torch.equal(turned.instance_masks, still.instance_masks)


def test_scale_is_the_radius():
    made = scenes(50, 200, seed=0, classes=["disc"], scale=(0.4, 0.6))
    widths = made.boxes[:, 0, 2] - made.boxes[:, 0, 0]
    assert widths.min() >= 0.4 * 0.92 * 200 - 2 and widths.max() <= 0.6 * 0.92 * 200 + 2
    assert widths.max() - widths.min() > 20


def test_objects_lie_inside_the_image():
    for size in (32, (24, 60), (60, 24)):
        made = draw_layout(recipe(size, 3), 0, 0, 100)
        height, width = size if isinstance(size, tuple) else (size, size)
        reach = made.center.abs() + made.radius[..., None]
        assert (reach <= torch.tensor([width, height]) / min(width, height) + 1e-5).all()


@pytest.mark.parametrize("scale", [None, (0.6, 0.9)])
@pytest.mark.parametrize(("size", "objects"), [(48, 2), (48, 5), ((32, 80), 6), ((80, 32), (1, 7))])
def test_without_occlusion_nothing_overlaps(size, objects, scale):
    known = recipe(size, objects, occlusion=False, scale=scale)
    whole = paint(draw_layout(known, 1, 0, 60), known)[1]
    assert whole.sum(1).max() == 1
    made = scenes(60, size, objects, seed=1, occlusion=False, scale=scale)
    assert torch.equal(made.visible, made.classes >= 0)


def test_with_occlusion_objects_do_overlap():
    known = recipe(48, 3)
    assert paint(draw_layout(known, 1, 0, 60), known)[1].sum(1).max() > 1


def test_a_nested_part_lies_on_its_whole():
    known = recipe(64, 4, nested=True)
    whole = paint(draw_layout(known, 0, 0, 80), known)[1]
    assert not (whole[:, 1] & ~whole[:, 0]).any() and not (whole[:, 3] & ~whole[:, 2]).any()
    share = whole[:, 1].sum((1, 2)) / whole[:, 0].sum((1, 2))
    assert share.min() > 0.05 and share.max() < 0.7
    made = scenes(80, 64, objects=4, seed=0, nested=True)
    assert torch.equal(made.labels, made.classes[:, 2])  # the front whole, not the part on it
    assert all(" on it" in caption for caption in made.captions)


# --- colours ---


@pytest.mark.parametrize("background", ["texture", "smooth", "grey", "plain"])
@pytest.mark.parametrize("colors", [COLOR_NAMES, *[(name,) for name in COLOR_NAMES]])
def test_object_colour_is_far_from_the_mean_background(background, colors):
    known = recipe(16, 3, background=background, colors=colors)
    layout = draw_layout(known, 0, 0, 300)
    mean = paint_background(layout, known).mean((2, 3))  # (n, 3)
    assert torch.allclose(mean, layout.background, atol=1e-5)
    distance = torch.linalg.vector_norm(layout.rgb[:, :, 0] - mean[:, None], dim=-1)
    assert distance.min() >= 0.6 - 1e-4


def test_objects_have_the_colour_of_their_name():
    made = scenes(60, 48, seed=0, textures=["solid"], background="grey")
    for i in range(60):
        pixels = made.images[i][:, made.instance_masks[i] > 0].median(dim=1).values
        distances = {n: (pixels - torch.tensor(COLORS[n])).norm().item() for n in COLOR_NAMES}
        assert min(distances, key=distances.get) == COLOR_NAMES[made.colors[i, 0]]


def test_objects_of_a_scene_have_different_colours():
    colors = scenes(200, 8, objects=3, seed=0).colors
    assert all(len(set(row)) == 3 for row in colors.tolist())


def test_the_second_tone_can_be_told_from_the_first():
    rgb = draw_layout(recipe(16, 2), 0, 0, 300).rgb
    assert torch.linalg.vector_norm(rgb[:, :, 0] - rgb[:, :, 1], dim=-1).min() > 0.25


def test_backgrounds_are_what_they_are_called():
    spread = {}
    for background in ("plain", "smooth", "texture", "grey"):
        images = scenes(30, 32, objects=0, seed=0, background=background).images
        spread[background] = images.std((2, 3)).mean().item()
        colourful = (images.amax(1) - images.amin(1)).max().item()
        assert (colourful < 1e-6) == (background == "grey")
    assert spread["plain"] < 1e-6 < spread["grey"] and spread["smooth"] < spread["texture"]


# --- names and captions ---


def test_captions_name_the_principal_object(crowd):
    for i, caption in enumerate(crowd.captions):
        if crowd.labels[i] < 0:
            assert caption == "an empty background"
            continue
        k = int((crowd.classes[i] >= 0).sum()) - 1
        texture, color = TEXTURES[crowd.textures[i, k]], COLOR_NAMES[crowd.colors[i, k]]
        assert caption.startswith(
            f"a {TEXTURE_ADJECTIVES[texture]} {color} {SHAPES[crowd.labels[i]]}"
        )
        assert len(re.findall(r"\ba ", caption)) == crowd.visible[i].sum()


def test_captions_say_where_things_are():
    made = scenes(300, 48, objects=2, seed=8)
    known = recipe(48, 2)
    whole = paint(draw_layout(known, 8, 0, 300), known)[1]
    seen = set()
    for i, caption in enumerate(made.captions):
        relation = re.search(r"in front of|left of|right of|above|below", caption)
        if relation is None:
            assert not made.visible[i, 0]
            continue
        seen.add(relation[0])
        assert (relation[0] == "in front of") == bool((whole[i, 0] & whole[i, 1]).any())
        (x0, y0), (x1, y1) = (
            (mask.nonzero().float().mean(0)).flip(0).tolist() for mask in whole[i]
        )
        # Centres of mass, not of frames: a crescent's are apart, so only the clear cases are asked
        # about.
        if relation[0] == "left of" and abs(x1 - x0) > 5:
            assert x1 < x0
        if relation[0] == "above" and abs(y1 - y0) > 5:
            assert y1 < y0
    assert seen == {"in front of", "left of", "right of", "above", "below"}


def test_creatures_pair_shape_and_pattern():
    made = creatures(200, 16, seed=0)
    assert torch.equal(made.classes, made.textures)
    assert set(made.labels.tolist()) == set(range(8))
    some = creatures(50, 16, seed=0, classes=["star", "disc"])
    assert some.class_names == ("star", "disc") and some.texture_names == ("dots", "solid")
    assert torch.equal(some.classes, some.textures)


def test_labels_are_spread_evenly():
    counts = scenes(4000, 8, seed=0).labels.bincount(minlength=8)
    assert counts.min() > 400 and counts.max() < 600  # 500 expected, standard deviation 21


def test_chosen_names_only():
    made = scenes(
        50,
        16,
        objects=2,
        classes=["ring", "plus"],
        textures=["dots"],
        colors=["red", "blue", "white"],
    )
    assert made.class_names == ("ring", "plus") and set(made.labels.tolist()) == {0, 1}
    assert all(
        re.fullmatch(r"[a-z ]+", c) and "dotted" in c and "disc" not in c for c in made.captions
    )


# --- keeping some, colours for masks ---


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (3, [3]),
        (-1, [39]),
        (slice(2, 8, 3), [2, 5]),
        ([4, 0, 4], [4, 0, 4]),
        ([], []),
        (torch.tensor([7, 1]), [7, 1]),
        (torch.arange(40) < 2, [0, 1]),
        ([True] + [False] * 39, [0]),
    ],
)
def test_indexing_keeps_everything_together(crowd, index, expected):
    kept = crowd[index]
    assert len(kept) == len(expected) and kept.captions == [crowd.captions[i] for i in expected]
    for name in TENSORS:
        assert torch.equal(
            getattr(kept, name), getattr(crowd, name)[torch.tensor(expected, dtype=torch.int64)]
        ), name
    assert kept.class_names == crowd.class_names


def test_indexing_beyond_the_end_is_an_error(crowd):
    with pytest.raises(IndexError):
        crowd[40]


def test_legend_gives_the_colours_masks_are_painted_in(crowd):
    legend = crowd.legend()
    assert list(legend) == ["background", *SHAPES] and len(set(legend.values())) == 9
    painted = color_masks(crowd.semantic_masks)
    assert painted.shape == (40, 3, 30, 44)
    for value, color in enumerate(legend.values()):
        where = crowd.semantic_masks == value
        assert torch.allclose(painted.permute(0, 2, 3, 1)[where], torch.tensor(color))
    assert mask_color(9) == mask_color(1) != mask_color(0)


def test_scenes_are_frozen_and_move_between_devices(crowd):
    with pytest.raises(AttributeError):
        crowd.labels = None
    assert (
        crowd.to("meta").images.device.type == "meta" and crowd.to("cpu").captions == crowd.captions
    )


# --- edges ---


def test_no_scene_at_all():
    none = scenes(0, 16, objects=2)
    assert (
        none.images.shape == (0, 3, 16, 16)
        and none.boxes.shape == (0, 2, 4)
        and none.captions == []
    )
    assert color_masks(none.semantic_masks).shape == (0, 3, 16, 16)


def test_no_object_at_all():
    empty = scenes(5, 16, objects=0)
    assert empty.labels.tolist() == [-1] * 5 and empty.boxes.shape == (5, 0, 4)
    assert not empty.instance_masks.any() and not empty.semantic_masks.any()
    assert empty.captions == ["an empty background"] * 5
    assert scenes(2, 16, objects=0, occlusion=False).images.shape == (2, 3, 16, 16)


@pytest.mark.parametrize("size", [1, 2, 8, (1, 9), (8, 200)])
def test_odd_sizes(size):
    made = scenes(20, size, objects=2)
    assert made.images.isfinite().all() and made.images.shape[2:] == (
        size if isinstance(size, tuple) else (size, size)
    )


def test_every_single_object_is_visible_at_eight_pixels():
    assert scenes(500, 8, seed=0).visible.all()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"count": -1}, "count"),
        ({"count": 2.0}, "count"),
        ({"size": 0}, "size"),
        ({"size": (8, 8, 3)}, "size"),
        ({"size": "32"}, "size"),
        ({"objects": -1}, "objects"),
        ({"objects": (3, 2)}, "objects"),
        ({"objects": 256}, "objects"),
        ({"objects": 3, "nested": True}, "objects"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
        ({"classes": []}, "classes"),
        ({"classes": ["disc", "disc"]}, "classes"),
        ({"classes": ["pentagon"]}, "classes"),
        ({"textures": ["plaid"]}, "textures"),
        ({"colors": ["beige"]}, "colors"),
        ({"rotation": -0.1}, "rotation"),
        ({"rotation": float("nan")}, "rotation"),
        ({"scale": (0.8, 0.5)}, "scale"),
        ({"scale": (0.0, 0.5)}, "scale"),
        ({"scale": (0.5, 1.5)}, "scale"),
        ({"scale": 0.5}, "scale"),
        ({"background": "sky"}, "background"),
        ({"paired": True, "textures": ["dots"]}, "paired"),
    ],
)
def test_wrong_arguments_are_named_in_one_sentence(arguments, word):
    with pytest.raises(ValueError, match=word) as caught:
        scenes(**{"count": 1, **arguments})
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message


# --- speed ---


def test_twenty_thousand_images_in_ten_cpu_seconds():
    start = time.process_time()
    made = scenes(20_000, 32)
    assert time.process_time() - start <= 10
    assert len(made) == 20_000
