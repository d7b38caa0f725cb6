"""Unit 11's solutions against independent implementations: transformers' ViTMAE, timm, lightly,
scikit-learn."""

import numpy as np
import pytest
import torch
from torch import nn

from autograder.authoring.lesson import solutions
from cvcourse import models

functions = solutions("11_mae")
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
TOLERANCE = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float64: {"rtol": 1e-11, "atol": 1e-11},
}
PATCH_SIZE = 4


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def uniform(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        dtype
    )


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, **TOLERANCE[ours.dtype])


# The whole network


def transformers_mae(dtype, norm_pix=True, mask_ratio=0.75):
    """transformers' network, every parameter from a draw.

    Built from a configuration, its position tables, class token and mask token are all zero, and a
    mistake in the order of tokens would stay unseen. So they are filled, too; the class token's
    rows of the tables stay 0, as in the official sines and cosines.
    """
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTMAEConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=16,
        num_channels=3,
        patch_size=PATCH_SIZE,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=64,
        layer_norm_eps=1e-6,
        norm_pix_loss=norm_pix,
        mask_ratio=mask_ratio,
    )
    theirs = transformers.ViTMAEForPreTraining(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, parameter in sorted(theirs.named_parameters()):
            spread = parameter[0].numel() ** -0.5 if parameter.ndim in (2, 4) else 0.5
            parameter.copy_(
                spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            )
        theirs.vit.embeddings.position_embeddings[:, 0] = 0
        theirs.decoder.decoder_pos_embed[:, 0] = 0
    assert theirs.vit.embeddings.position_embeddings[:, 1:].abs().min() > 0
    return theirs.to(dtype).eval()


def ours_with_weights_of(theirs):
    """An encoder and a decoder of this course with transformers' weights."""
    state = theirs.state_dict()
    encoder = models.MAEEncoder(16, PATCH_SIZE, 3, embed_dim=24, depth=2, num_heads=3)
    decoder = models.MAEDecoder(
        encoder.grid, 48, embed_dim=24, decoder_dim=16, depth=1, num_heads=2
    )
    kernel = state["vit.embeddings.patch_embeddings.projection.weight"]  # (24, 3, 4, 4)
    found = {
        "embed.weight": (
            kernel.permute(0, 2, 3, 1).flatten(1)
        ),  # row, column, channel, as patches are laid out
        "embed.bias": state["vit.embeddings.patch_embeddings.projection.bias"],
        "cls_token": state["vit.embeddings.cls_token"],
        "positions": state["vit.embeddings.position_embeddings"][0, 1:],
        **layer_norm(state, "vit.layernorm", "norm"),
        **blocks(state, "vit.layers", 2),
    }
    encoder.load_state_dict(found)
    decoder.load_state_dict(
        {
            "mask_token": state["decoder.mask_token"],
            "positions": state["decoder.decoder_pos_embed"][0, 1:],
            **{
                f"embed.{kind}": state[f"decoder.decoder_embed.{kind}"]
                for kind in ("weight", "bias")
            },
            **{
                f"head.{kind}": state[f"decoder.decoder_pred.{kind}"] for kind in ("weight", "bias")
            },
            **layer_norm(state, "decoder.decoder_norm", "norm"),
            **blocks(state, "decoder.decoder_layers", 1),
        }
    )
    return encoder.to(kernel.dtype), decoder.to(kernel.dtype)


def blocks(state, theirs, depth):
    """A transformer's blocks under this course's names: three projections become one."""
    found = {}
    for k in range(depth):
        for kind in ("weight", "bias"):
            parts = [state[f"{theirs}.{k}.attention.{name}_proj.{kind}"] for name in "qkv"]
            found[f"blocks.{k}.attn.qkv.{kind}"] = torch.cat(parts)
            found[f"blocks.{k}.attn.proj.{kind}"] = state[f"{theirs}.{k}.attention.o_proj.{kind}"]
            found[f"blocks.{k}.mlp.0.{kind}"] = state[f"{theirs}.{k}.mlp.fc1.{kind}"]
            found[f"blocks.{k}.mlp.2.{kind}"] = state[f"{theirs}.{k}.mlp.fc2.{kind}"]
        found |= layer_norm(state, f"{theirs}.{k}.layernorm_before", f"blocks.{k}.norm1")
        found |= layer_norm(state, f"{theirs}.{k}.layernorm_after", f"blocks.{k}.norm2")
    return found


def layer_norm(state, theirs, ours):
    return {f"{ours}.{kind}": state[f"{theirs}.{kind}"] for kind in ("weight", "bias")}


def forward(encoder, decoder, images, noise, mask_ratio, norm_pix):
    """The learner's full forward: (loss, predictions, mask, ids_restore)."""
    patches = models.patchify(images, PATCH_SIZE)
    ids_keep, ids_restore, mask = functions["random_masking"](noise, mask_ratio)
    latent = functions["encode_visible"](encoder, patches, ids_keep)
    predictions = functions["decode"](decoder, latent, ids_restore)
    targets = functions["normalize_patches"](patches) if norm_pix else patches
    return functions["mae_loss"](predictions, targets, mask), predictions, mask, ids_restore


@BOTH
@pytest.mark.parametrize(
    ("norm_pix", "mask_ratio"), [(True, 0.75), (False, 0.75), (True, 0.5), (True, 0.9)]
)
def test_the_whole_forward_is_transformers(dtype, norm_pix, mask_ratio):
    theirs = transformers_mae(dtype, norm_pix, mask_ratio)
    images, noise = normal(5, 3, 16, 16, dtype=dtype), uniform(5, 16, dtype=dtype)
    expected = theirs(images, noise=noise)
    loss, predictions, mask, ids_restore = forward(
        *ours_with_weights_of(theirs), images, noise, mask_ratio, norm_pix
    )
    assert torch.equal(mask, expected.mask) and torch.equal(ids_restore, expected.ids_restore)
    close(predictions, expected.logits)
    close(loss, expected.loss)


def test_the_encoder_is_transformers():
    theirs = transformers_mae(torch.float64)
    encoder, _ = ours_with_weights_of(theirs)
    images, noise = normal(3, 3, 16, 16), uniform(3, 16)
    ids_keep, _, _ = functions["random_masking"](noise, 0.75)
    latent = functions["encode_visible"](encoder, models.patchify(images, PATCH_SIZE), ids_keep)
    close(latent, theirs.vit(images, noise=noise).last_hidden_state)


def test_gradients_are_transformers():
    theirs = transformers_mae(torch.float64)
    images, noise = normal(3, 3, 16, 16), uniform(3, 16)
    theirs(images, noise=noise).loss.backward()
    encoder, decoder = ours_with_weights_of(theirs)
    forward(encoder, decoder, images, noise, 0.75, True)[0].backward()
    close(decoder.mask_token.grad, theirs.decoder.mask_token.grad)
    close(encoder.cls_token.grad, theirs.vit.embeddings.cls_token.grad)
    kernel = theirs.vit.embeddings.patch_embeddings.projection.weight.grad
    close(encoder.embed.weight.grad, kernel.permute(0, 2, 3, 1).flatten(1))
    close(decoder.head.weight.grad, theirs.decoder.decoder_pred.weight.grad)


def test_a_wrong_order_would_be_noticed():
    """The test above is worth something only if it tells ids_shuffle from ids_restore."""
    theirs = transformers_mae(torch.float64)
    encoder, decoder = ours_with_weights_of(theirs)
    images, noise = normal(2, 3, 16, 16), uniform(2, 16)
    ids_keep, ids_restore, _ = functions["random_masking"](noise, 0.75)
    latent = functions["encode_visible"](encoder, models.patchify(images, PATCH_SIZE), ids_keep)
    wrong = functions["decode"](decoder, latent, ids_restore.argsort(dim=1))
    assert (wrong - theirs(images, noise=noise).logits).abs().max() > 0.1


# Parts


@pytest.mark.parametrize("mask_ratio", [0.25, 0.5, 0.75])
def test_masks_are_numpys(mask_ratio):
    noise = uniform(4, 20)
    ids_keep, ids_restore, mask = functions["random_masking"](noise, mask_ratio)
    for row, keep, restore, removed in zip(noise.numpy(), ids_keep, ids_restore, mask, strict=True):
        order = np.argsort(row)
        assert keep.tolist() == order[: len(keep)].tolist()
        ranks = np.empty(20, dtype=int)
        ranks[order] = np.arange(20)
        assert restore.tolist() == ranks.tolist()
        assert np.flatnonzero(removed.numpy() == 0).tolist() == sorted(keep.tolist())
    assert mask.sum(dim=1).eq(20 * mask_ratio).all()


def test_gathering_and_restoring_are_lightlys():
    from lightly.models import utils

    tokens, noise = normal(3, 12, 5), uniform(3, 12)
    ids_keep, ids_restore, _ = functions["random_masking"](noise, 0.6)
    visible = utils.get_at_index(tokens, ids_keep)
    mask_token, cls_token = normal(1, 1, 5, seed=1), normal(3, 1, 5, seed=2)
    full = functions["restore_order"](
        torch.cat([cls_token, visible], dim=1), mask_token, ids_restore
    )
    expected = utils.set_at_index(mask_token.repeat(3, 12, 1), ids_keep, visible)
    close(full, torch.cat([cls_token, expected], dim=1))


def test_normalised_patches_are_numpys():
    patches = 3 * normal(2, 5, 12) + 1
    numbers = patches.numpy()
    spread = np.sqrt(numbers.var(axis=-1, ddof=1, keepdims=True) + 1e-6)
    expected = (numbers - numbers.mean(axis=-1, keepdims=True)) / spread
    close(functions["normalize_patches"](patches), torch.from_numpy(expected))


def test_loss_is_scikit_learns_on_the_removed_rows():
    from sklearn.metrics import mean_squared_error

    predictions, targets = normal(3, 7, 4), normal(3, 7, 4, seed=1)
    mask = (uniform(3, 7, seed=2) < 0.6).double()
    rows = mask.numpy().astype(bool)
    expected = mean_squared_error(targets.numpy()[rows], predictions.numpy()[rows])
    assert functions["mae_loss"](predictions, targets, mask).item() == pytest.approx(
        expected, rel=1e-12
    )


def test_rates_are_timms():
    """timm's layer-wise decay of a vision transformer; its head and last norm learn with the full
    rate, too."""
    optim, vit = (
        pytest.importorskip("timm.optim"),
        pytest.importorskip("timm.models.vision_transformer"),
    )
    depth, decay = 11, 0.7
    network = vit.VisionTransformer(
        img_size=8, patch_size=4, embed_dim=8, depth=depth, num_heads=2, num_classes=3
    )
    groups = optim.param_groups_layer_decay(network, layer_decay=decay)
    of_parameter = {
        parameter: group["lr_scale"] for group in groups for parameter in group["params"]
    }
    theirs = {name: of_parameter[parameter] for name, parameter in network.named_parameters()}
    pairs = {"cls_token": "encoder.cls_token", "patch_embed.proj.weight": "encoder.embed.weight"}
    pairs |= {f"blocks.{k}.norm1.bias": f"encoder.blocks.{k}.norm1.bias" for k in range(depth)}
    pairs |= {"head.weight": "head.weight", "head.bias": "head.bias"}
    ours = functions["layerwise_learning_rates"](list(pairs.values()), depth, 1.0, decay)
    assert ours == pytest.approx({ours_name: theirs[name] for name, ours_name in pairs.items()})


def test_an_optimizer_takes_the_rates():
    model = nn.ModuleDict(
        {"encoder": models.MAEEncoder(8, 2, 1, depth=2), "head": nn.Linear(64, 10)}
    )
    parameters = dict(model.named_parameters())
    rates = functions["layerwise_learning_rates"](list(parameters), 2, 1e-3, 0.5)
    assert set(rates) == set(parameters)
    optimizer = torch.optim.AdamW(
        [{"params": [parameters[name]], "lr": rate} for name, rate in rates.items()]
    )
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx(
        [1.25e-4, 2.5e-4, 5e-4, 1e-3]
    )
