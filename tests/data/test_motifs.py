"""Motifs: one copy must tell all others."""

import pytest
import torch

from cvcourse.data import ARRANGEMENTS, motifs


@pytest.fixture(scope="module")
def some():
    return motifs(300, seed=1)


def test_shapes_and_both_arrangements(some):
    assert some.images.shape == (300, 3, 32, 32) and some.images.dtype == torch.float32
    assert some.images.min() >= 0 and some.images.max() <= 1
    assert set(some.labels.tolist()) == {0, 1} and len(ARRANGEMENTS) == 2
    assert 0.4 < some.labels.float().mean() < 0.6


def test_a_repeated_motif_stands_everywhere(some):
    repeated = some.images[some.labels == 0]
    tile = repeated[:, :, :8, :8]
    assert torch.equal(repeated, tile.repeat(1, 1, 4, 4))


def test_a_mirrored_motif_is_turned_at_every_step(some):
    mirrored = some.images[some.labels == 1]
    assert torch.equal(mirrored, mirrored.flip(2)) and torch.equal(mirrored, mirrored.flip(3))
    assert torch.equal(mirrored[:, :, :, 8:16], mirrored[:, :, :, :8].flip(3))
    assert torch.equal(mirrored[:, :, 8:16], mirrored[:, :, :8].flip(2))
    assert torch.equal(mirrored[:, :, :16, :16], mirrored[:, :, 16:, 16:])


def test_blocks_have_one_of_two_colours_that_differ(some):
    assert torch.equal(
        some.images, some.images[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    for image in some.images[:50]:
        colours = image.flatten(1).T.unique(dim=0)
        assert len(colours) == 2
        assert torch.dist(*colours) >= 0.6 - 1e-6


def test_motifs_differ(some):
    patterns = (some.images[:, :, :8:2, :8:2] == some.images[:, :, :1, :1]).all(dim=1).flatten(1)
    assert len(patterns.unique(dim=0)) > 290


def test_an_image_does_not_depend_on_how_many_are_made(some):
    few = motifs(5, seed=1)
    assert torch.equal(few.images, some.images[:5]) and torch.equal(few.labels, some.labels[:5])
    assert not torch.equal(motifs(5, seed=2).images, few.images)


def test_sizes(some):
    large = motifs(3, size=64, seed=1)
    assert torch.equal(large.images[:, :, ::2, ::2], some.images[:3])
    assert motifs(2, size=16).images.shape == (2, 3, 16, 16)
    assert motifs(0).images.shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    "arguments", [{"count": -1}, {"count": 1, "size": 8}, {"count": 1, "size": 40}, {"count": 1.5}]
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=r"must be .*\.$"):
        motifs(**arguments)
