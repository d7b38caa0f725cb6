"""Camouflage: nothing but the pattern may give the creature away."""

import pytest
import torch

from cvcourse.data import CAMOUFLAGE_PATTERNS, camouflage


@pytest.fixture(scope="module")
def hidden():
    return camouflage(300, seed=1)


def test_shapes_and_annotations_agree(hidden):
    assert (
        hidden.images.shape == (300, 1, 64, 64)
        and hidden.images.min() >= 0
        and hidden.images.max() <= 1
    )
    assert hidden.visible.all() and set(hidden.labels.tolist()) == set(range(8))
    inside = hidden.instance_masks.bool()
    assert torch.equal(hidden.semantic_masks.long(), inside * (hidden.labels + 1)[:, None, None])
    for i in range(20):
        ys, xs = inside[i].nonzero(as_tuple=True)
        assert hidden.boxes[i, 0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert (
        hidden.captions[0]
        == f"a creature of {CAMOUFLAGE_PATTERNS[hidden.labels[0]]} pattern on noise"
    )


def test_brightness_and_contrast_are_the_same_inside_and_outside(hidden):
    for image, mask in zip(hidden.images[:, 0], hidden.instance_masks.bool(), strict=True):
        assert abs(image[mask].mean() - image[~mask].mean()) < 0.01
        assert abs(image[mask].std() - image[~mask].std()) < 0.01


def test_it_covers_a_fifth_of_the_image(hidden):
    share = hidden.instance_masks.float().mean((1, 2))
    assert 0.18 < share.mean() < 0.22 and share.min() > 0.05 and share.max() < 0.4


def test_inside_is_a_pattern_and_outside_is_not(hidden):
    """A pattern repeats: its power lies in few frequencies. Compared on the 16x16 middle of
    creature and noise."""

    def peak(patches):
        power = (
            torch.fft.fft2((patches - patches.mean((1, 2), keepdim=True)) * window)
            .abs()
            .square()
            .flatten(1)
        )
        return (power.topk(8).values.sum(1) / power.sum(1)).mean()

    window = torch.hann_window(16)[:, None] * torch.hann_window(16)
    striped = hidden[hidden.labels < 3]
    centers = ((striped.boxes[:, 0, :2] + striped.boxes[:, 0, 2:]) / 2).long().clamp(8, 56).tolist()
    inside = torch.stack(
        [
            im[0, y - 8 : y + 8, x - 8 : x + 8]
            for im, (x, y) in zip(striped.images, centers, strict=True)
        ]
    )
    corners = [
        im[0, :16, :16]
        for im, m in zip(hidden.images, hidden.instance_masks, strict=True)
        if not m[:16, :16].any()
    ]
    assert len(corners) > 20 and peak(inside) > 1.3 * peak(torch.stack(corners))


def test_an_image_does_not_depend_on_how_many_are_made(hidden, monkeypatch):
    few = camouflage(5, seed=1)
    assert torch.equal(few.images, hidden.images[:5]) and torch.equal(few.labels, hidden.labels[:5])
    assert not torch.equal(camouflage(5, seed=2).images, few.images)
    monkeypatch.setattr("cvcourse.data.disguise.CHUNK", 7)
    assert torch.equal(camouflage(20, seed=1).images, hidden.images[:20])


def test_sizes():
    wide = camouflage(4, (32, 64))
    assert wide.images.shape == (4, 1, 32, 64) and wide.visible.all()
    assert camouflage(0).images.shape == (0, 1, 64, 64)


@pytest.mark.parametrize(
    "arguments", [{"count": -1}, {"count": 1, "size": 8}, {"count": 1, "seed": -2}]
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=r"must be .*\.$"):
        camouflage(**arguments)


def test_color_does_not_give_it_away():
    grey, colored = camouflage(60, seed=1), camouflage(60, seed=1, color=True)
    assert (
        colored.images.shape == (60, 3, 64, 64)
        and colored.images.min() >= 0
        and colored.images.max() <= 1
    )
    assert torch.equal(grey.instance_masks, colored.instance_masks) and torch.equal(
        grey.labels, colored.labels
    )
    assert torch.equal(camouflage(5, seed=1, color=True).images, colored.images[:5])
    for image, mask in zip(colored.images, colored.instance_masks.bool(), strict=True):
        assert image.flatten(1).std(dim=1).max() > 0.04, "the pattern is seen in some channel"
        assert (image[:, mask].mean(dim=1) - image[:, ~mask].mean(dim=1)).abs().max() < 0.03
        assert (image[:, mask].std(dim=1) - image[:, ~mask].std(dim=1)).abs().max() < 0.03
    assert camouflage(0, color=True).images.shape == (0, 3, 64, 64)
