"""The library's masked autoencoder: the same as the lesson's solutions, and clear about what does
not fit."""

import pytest
import torch

from autograder.authoring.lesson import solutions
from cvcourse import models

LESSON = solutions("11_mae")
NAMES = (
    *(
        "random_masking",
        "encode_visible",
        "restore_order",
        "decode",
        "normalize_patches",
        "mae_loss",
    ),
    *("layerwise_learning_rates", "MAEEncoder", "MAEDecoder", "MaskedAutoencoder"),
)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(module):
    """The module in float64, no parameter or table at its default."""
    generator = torch.Generator().manual_seed(7)
    module.double()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module


def small(mask_ratio=0.6):
    encoder = models.MAEEncoder((8, 12), 4, 2, embed_dim=8, depth=2, num_heads=2)
    decoder = models.MAEDecoder(encoder.grid, 32, 8, decoder_dim=4, depth=1, num_heads=1)
    return filled(models.MaskedAutoencoder(encoder, decoder, mask_ratio))


def test_every_part_can_be_imported_by_its_name():
    assert all(callable(getattr(models, name)) for name in NAMES)
    assert set(NAMES) <= set(models.__all__)


@pytest.mark.parametrize("mask_ratio", [0.3, 0.5, 0.75])
def test_functions_give_what_the_lessons_solutions_give(mask_ratio):
    noise, patches, targets = normal(3, 6), normal(3, 6, 32), normal(3, 6, 32, seed=1)
    found = models.random_masking(noise, mask_ratio)
    for ours, theirs in zip(found, LESSON["random_masking"](noise, mask_ratio), strict=True):
        assert torch.equal(ours, theirs)
    ids_keep, ids_restore, mask = found
    mae = small()
    latent = models.encode_visible(mae.encoder, patches, ids_keep)
    torch.testing.assert_close(latent, LESSON["encode_visible"](mae.encoder, patches, ids_keep))
    order = (normal(3, 1 + ids_keep.shape[1], 4), mae.decoder.mask_token, ids_restore)
    torch.testing.assert_close(models.restore_order(*order), LESSON["restore_order"](*order))
    painted = models.decode(mae.decoder, latent, ids_restore)
    torch.testing.assert_close(painted, LESSON["decode"](mae.decoder, latent, ids_restore))
    torch.testing.assert_close(
        models.normalize_patches(targets), LESSON["normalize_patches"](targets)
    )
    torch.testing.assert_close(
        models.mae_loss(painted, targets, mask), LESSON["mae_loss"](painted, targets, mask)
    )


def test_rates_are_the_lessons():
    encoder = models.MAEEncoder(8, 2, 1, depth=11)
    names = [f"encoder.{name}" for name, _ in encoder.named_parameters()] + [
        "head.weight",
        "head.bias",
    ]
    ours = models.layerwise_learning_rates(names, 11, 1e-3, 0.7)
    assert ours == pytest.approx(LESSON["layerwise_learning_rates"](names, 11, 1e-3, 0.7))
    assert ours["head.bias"] == ours["encoder.norm.weight"] == 1e-3
    assert (
        ours["encoder.embed.weight"] == ours["encoder.cls_token"] == pytest.approx(1e-3 * 0.7**12)
    )
    assert ours["encoder.blocks.10.norm1.bias"] == pytest.approx(1e-3 * 0.7)


def test_the_whole_is_its_parts_and_noise_decides():
    mae, images, noise = small(), normal(3, 2, 8, 12), normal(3, 6)
    painted, mask = mae(images, noise)
    ids_keep, ids_restore, expected = models.random_masking(noise, 0.6)
    latent = models.encode_visible(mae.encoder, models.patchify(images, 4), ids_keep)
    assert torch.equal(mask, expected) and mask.sum(dim=1).eq(4).all()
    torch.testing.assert_close(painted, models.decode(mae.decoder, latent, ids_restore))
    torch.manual_seed(1)
    first = mae(images)
    torch.manual_seed(1)
    assert all(torch.equal(one, other) for one, other in zip(first, mae(images), strict=True))
    assert not torch.equal(mae(images)[1], first[1])


def test_hidden_patches_do_not_matter_and_images_do_not_meet():
    mae, images, noise = small(), normal(3, 2, 8, 12), normal(3, 6)
    painted, mask = mae(images, noise)
    hole = models.unpatchify(mask[:, :, None].expand(-1, -1, 32), 4, 8, 12)
    torch.testing.assert_close(mae(images + 5 * hole, noise)[0], painted, rtol=0, atol=1e-12)
    changed = images.clone()
    changed[1] += 1
    there = mae(changed, noise)[0]
    torch.testing.assert_close(there[[0, 2]], painted[[0, 2]], rtol=0, atol=1e-12)
    assert (there[1] - painted[1]).abs().max() > 1e-3


def test_features_are_the_mean_of_all_patch_tokens():
    mae, images = small(), normal(3, 2, 8, 12)
    everything = torch.arange(6).expand(3, -1)
    latent = models.encode_visible(mae.encoder, models.patchify(images, 4), everything)
    torch.testing.assert_close(mae.encoder(images), latent[:, 1:].mean(dim=1))
    mixed = models.encode_visible(mae.encoder, models.patchify(images, 4), everything.flip(1))
    torch.testing.assert_close(mixed[:, 0], latent[:, 0])


def test_every_parameter_gets_a_gradient_and_no_table_does():
    mae, images = small(), normal(3, 2, 8, 12)
    painted, mask = mae(images)
    models.mae_loss(painted, models.normalize_patches(models.patchify(images, 4)), mask).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in mae.parameters())
    assert {"encoder.positions", "decoder.positions"} <= set(mae.state_dict())
    assert not any("positions" in name for name, _ in mae.named_parameters())


@pytest.mark.parametrize("patch_dim", [2, 12, 48])
def test_knowing_nothing_costs_n_minus_1_over_n(patch_dim):
    targets = models.normalize_patches(normal(4, 9, patch_dim))
    mask = torch.ones(4, 9, dtype=torch.float64)
    loss = models.mae_loss(torch.zeros_like(targets), targets, mask)
    assert loss.item() == pytest.approx((patch_dim - 1) / patch_dim, rel=1e-3)


def test_a_flat_patch_becomes_zero():
    flat = models.normalize_patches(torch.full((1, 2, 12), 0.3))
    assert torch.isfinite(flat).all() and flat.abs().max() < 1e-3


@pytest.mark.parametrize("mask_ratio", [0, 0.0, 1, 1.0, 0.96, -0.5, 1.5])
def test_ratios_that_leave_nothing_visible_or_nothing_to_paint(mask_ratio):
    for masking in (models.random_masking, LESSON["random_masking"]):
        with pytest.raises(ValueError, match=r"\d+ of 16 patches visible"):
            masking(normal(2, 16), mask_ratio)
    with pytest.raises(ValueError, match="at least one must be, and at least one must not"):
        small(mask_ratio)(normal(2, 2, 8, 12))


@pytest.mark.parametrize("size", [30, (32, 30), (6, 32)])
def test_sizes_that_patches_do_not_divide(size):
    with pytest.raises(
        ValueError, match=r"Patches of 4 x 4 pixels do not fill an image of \d+ x \d+\."
    ):
        models.MAEEncoder(size, 4, 3)
    height, width = (size, size) if isinstance(size, int) else size
    with pytest.raises(ValueError, match="do not fill"):
        models.MAEEncoder(32, 4, 3)(torch.rand(1, 3, height, width))


@pytest.mark.parametrize(
    "call",
    [
        lambda: models.mae_loss(torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.zeros(1, 2)),
        lambda: models.normalize_patches(torch.ones(1, 2, 1)),
        lambda: models.layerwise_learning_rates(["encoder.blocks.4.norm1.bias"], 4, 1e-3, 0.7),
        lambda: models.MAEEncoder(8, 2, 1, embed_dim=6, num_heads=2),
        lambda: models.MAEDecoder((4, 4), 4, 8, decoder_dim=10, num_heads=2),
        lambda: models.MAEEncoder(8, 2, 1, embed_dim=8, num_heads=3),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(call):
    with pytest.raises(ValueError, match=r"^[A-Z0-9].*\.$"):
        call()


def test_pictures_of_another_size_than_the_encoders():
    with pytest.raises(ValueError, match="16 patches"):
        models.MAEEncoder(32, 4, 3)(torch.rand(1, 3, 16, 16))
