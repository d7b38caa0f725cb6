"""The library's vision transformer: the same as the lesson's solutions, and safe to use in later
units."""

import pytest
import torch
from torch import nn

from autograder.authoring.lesson import solutions
from cvcourse import models

LESSON = solutions("07_vit")
NAMES = (
    *(
        "patchify",
        "unpatchify",
        "PatchEmbed",
        "sincos_position_embedding",
        "attention",
        "MultiHeadSelfAttention",
    ),
    *(
        "TransformerBlock",
        "VisionTransformer",
        "interpolate_position_embedding",
        "attention_rollout",
    ),
)
SETTINGS = {
    "image_size": (8, 12),
    "patch_size": 4,
    "in_channels": 2,
    "num_classes": 5,
    "embed_dim": 12,
    "depth": 2,
}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(module):
    """The module in float64, no parameter at its default."""
    generator = torch.Generator().manual_seed(7)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def test_every_part_can_be_imported_by_its_name():
    assert all(callable(getattr(models, name)) for name in NAMES)
    assert set(NAMES) <= set(models.__all__)


def test_functions_give_what_the_lessons_solutions_give():
    images, patches = normal(2, 3, 8, 12), normal(2, 6, 48)
    q, k, v = normal(3, 2, 3, 5, 4)
    weights = [normal(2, 3, 5, 5, seed=seed).softmax(dim=-1) for seed in range(3)]
    for name, arguments in (
        ("patchify", (images, 4)),
        ("unpatchify", (patches, 4, 8, 12)),
        ("sincos_position_embedding", (16, 3, 5, 20.0)),
        ("attention", (q, k, v)),
        ("interpolate_position_embedding", (normal(1, 13, 6), (3, 4), (5, 2))),
        ("attention_rollout", (weights,)),
    ):
        torch.testing.assert_close(
            getattr(models, name)(*arguments), LESSON[name](*arguments), rtol=0, atol=1e-12
        )


def test_the_network_takes_the_lessons_weights():
    ours, theirs = (
        filled(models.VisionTransformer(**SETTINGS)),
        LESSON["VisionTransformer"](**SETTINGS).double(),
    )
    theirs.load_state_dict(ours.state_dict())
    images = normal(2, 2, 8, 12)
    logits, weights = ours(images, return_attention=True)
    expected, expected_weights = theirs(images, return_attention=True)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(torch.stack(weights), torch.stack(expected_weights))
    torch.testing.assert_close(ours(images), logits)


def test_patches_come_back():
    images = normal(2, 3, 6, 8)
    patches = models.patchify(images, 2)
    assert patches.shape == (2, 12, 12)
    assert torch.equal(models.unpatchify(patches, 2, 6, 8), images)
    first = images[:, :, :2, :2].permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(patches[:, 0], first)


@pytest.mark.parametrize(
    "call",
    [
        lambda: models.patchify(torch.zeros(1, 3, 7, 8), 2),
        lambda: models.unpatchify(torch.zeros(1, 12, 12), 2, 6, 9),
        lambda: models.PatchEmbed((6, 9), 2, 3, 4),
        lambda: models.VisionTransformer(image_size=30),
        lambda: models.MultiHeadSelfAttention(10, 3),
        lambda: models.sincos_position_embedding(6, 2, 2),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(call):
    with pytest.raises(ValueError, match=r"\d"):
        call()


def test_a_hybrid_is_a_stem_and_a_vit():
    stem = nn.Conv2d(3, 64, 3, stride=4, padding=1)
    network = nn.Sequential(
        stem, models.VisionTransformer(8, 1, in_channels=64, num_classes=7, depth=1)
    )
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_images_of_a_batch_do_not_meet():
    network = filled(models.VisionTransformer(**SETTINGS))
    images = normal(3, 2, 8, 12)
    changed = images.clone()
    changed[1] += 1
    here, there = network(images), network(changed)
    torch.testing.assert_close(here[[0, 2]], there[[0, 2]], rtol=0, atol=1e-12)
    assert (here[1] - there[1]).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient():
    network = filled(models.VisionTransformer(**SETTINGS))
    network(normal(2, 2, 8, 12)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_rollout_of_blocks_without_attention_is_the_identity_and_rows_sum_to_one():
    identity = torch.eye(4, dtype=torch.float64).expand(2, 3, 4, 4)
    assert torch.equal(models.attention_rollout([identity, identity]), identity[:, 0])
    weights = [normal(2, 3, 4, 4, seed=seed).softmax(dim=-1) for seed in range(4)]
    rows = models.attention_rollout(weights).sum(dim=-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


def test_positions_at_the_same_size_stay_and_the_class_row_always_does():
    table = normal(1, 13, 6)
    torch.testing.assert_close(models.interpolate_position_embedding(table, (3, 4), (3, 4)), table)
    resized = models.interpolate_position_embedding(table, (3, 4), (6, 5))
    assert resized.shape == (1, 31, 6)
    assert torch.equal(resized[:, 0], table[:, 0])
