"""How unit 11's exercises are put to the test."""

import torch

from autograder.probe import gradient, probe, provided, refuses
from cvcourse import models

ENCODER = ("embed.weight", "cls_token", "positions", "norm.weight")
DECODER = ("embed.weight", "mask_token", "positions", "norm.weight", "head.weight")


def norms(score, module, inputs):
    """The gradient of `score` by the parameters of each part, and by each input, as norms.

    So a key stays small, and a gradient that is cut is 0.
    """
    named = dict(module.named_parameters()) | inputs
    found = dict(zip(named, gradient(score, list(named.values())), strict=True))
    parts = {}
    for name, slope in found.items():
        parts.setdefault(name.split(".")[0], []).append(slope.norm())
    return {f"gradient of {part}": torch.stack(of_part) for part, of_part in parts.items()}


def chosen(draw, batch, tokens, visible):
    """Places of visible tokens (batch, visible) and the way back (batch, tokens), from drawn
    noise."""
    ids_shuffle = draw.uniform(batch, tokens).argsort(dim=1, stable=True)
    return ids_shuffle[:, :visible], ids_shuffle.argsort(dim=1)


@probe(
    "random_masking",
    cases=[
        dict(batch=3, tokens=16, mask_ratio=0.75),
        dict(batch=2, tokens=9, mask_ratio=0.5),
        dict(batch=1, tokens=10, mask_ratio=0.25),
        dict(batch=4, tokens=7, mask_ratio=0.6),
    ],
    hidden=[
        dict(batch=1, tokens=25, mask_ratio=0.75),
        dict(batch=3, tokens=20, mask_ratio=0.9),
        dict(batch=2, tokens=20, mask_ratio=0.8),
    ],
    weight=3,
)
def masked(random_masking, draw, batch, tokens, mask_ratio):
    ids_keep, ids_restore, mask = random_masking(draw.uniform(batch, tokens), mask_ratio)
    return {"ids_keep": ids_keep, "ids_restore": ids_restore, "mask": mask}


@probe(
    "random_masking",
    cases=[dict(tokens=16, ratios=(0.0, 1.0)), dict(tokens=4, ratios=(0.9, 0.8))],
    hidden=[dict(tokens=5, ratios=(0.0, 1.0, 0.85)), dict(tokens=10, ratios=(0.95, 0.9))],
    law=True,
)
def refused_ratios(random_masking, draw, tokens, ratios):
    noise = draw.uniform(2, tokens)
    return {
        f"ratio {ratio} refused with a ValueError": refuses(random_masking, noise, ratio)
        for ratio in ratios
    }


@probe(
    "random_masking",
    cases=[dict(tokens=4, mask_ratio=0.75), dict(tokens=3, mask_ratio=0.4)],
    hidden=[dict(tokens=2, mask_ratio=0.5), dict(tokens=8, mask_ratio=0.87)],
)
def nearly_refused(random_masking, draw, tokens, mask_ratio):
    """The least that may be visible, or removed, is one."""
    ids_keep, _, mask = random_masking(draw.uniform(2, tokens), mask_ratio)
    return {"ids_keep": ids_keep, "mask": mask}


ENCODERS = [
    dict(batch=3, image=(8, 8), patch=2, channels=1, embed_dim=8, depth=1, heads=2, visible=5),
    dict(batch=2, image=(6, 9), patch=3, channels=2, embed_dim=12, depth=2, heads=3, visible=3),
    dict(batch=1, image=(8, 12), patch=4, channels=3, embed_dim=4, depth=3, heads=1, visible=2),
]


@probe(
    "encode_visible",
    cases=ENCODERS,
    hidden=[
        dict(batch=2, image=(8, 12), patch=2, channels=2, embed_dim=8, depth=2, heads=1, visible=7),
        dict(batch=4, image=(9, 9), patch=3, channels=1, embed_dim=4, depth=4, heads=2, visible=1),
    ],
    weight=3,
)
def encoded(encode_visible, draw, batch, image, patch, channels, embed_dim, depth, heads, visible):
    encoder, patches = an_encoder(draw, batch, image, patch, channels, embed_dim, depth, heads)
    ids_keep, _ = chosen(draw, *patches.shape[:2], visible)
    return {"latent": encode_visible(encoder, patches, ids_keep)}


@probe("encode_visible", cases=ENCODERS[:1], hidden=ENCODERS[1:2], law=True)
def nothing_hidden_gets_in(
    encode_visible, draw, batch, image, patch, channels, embed_dim, depth, heads, visible
):
    encoder, patches = an_encoder(draw, batch, image, patch, channels, embed_dim, depth, heads)
    ids_keep, _ = chosen(draw, *patches.shape[:2], visible)
    others = 9 + draw.normal(*patches.shape)
    others.scatter_(1, ids_keep[:, :, None].expand(-1, -1, patches.shape[2]), patches)
    one = encode_visible(encoder, patches, ids_keep)
    other = encode_visible(encoder, others, ids_keep)
    return {"no hidden patch changes the output": torch.allclose(one, other, atol=1e-4)}


@probe("encode_visible", cases=ENCODERS[1:2], hidden=ENCODERS[:1], dtypes=("float64",))
def gradients_of_the_encoder(
    encode_visible, draw, batch, image, patch, channels, embed_dim, depth, heads, visible
):
    encoder, patches = an_encoder(draw, batch, image, patch, channels, embed_dim, depth, heads)
    ids_keep, _ = chosen(draw, *patches.shape[:2], visible)
    latent = encode_visible(encoder, patches, ids_keep)
    return norms((latent * draw.normal(batch, 1 + visible, embed_dim)).sum(), encoder, {})


def an_encoder(draw, batch, image, patch, channels, embed_dim, depth, heads):
    encoder = draw.fill(
        models.MAEEncoder(image, patch, channels, embed_dim, depth, heads), required=ENCODER
    )
    return encoder, draw.normal(batch, encoder.grid[0] * encoder.grid[1], patch * patch * channels)


ORDERS = [
    dict(batch=3, tokens=8, visible=3, dim=4),
    dict(batch=2, tokens=6, visible=5, dim=3),
    dict(batch=1, tokens=9, visible=3, dim=2),
    dict(batch=4, tokens=5, visible=2, dim=5),
]


@probe(
    "restore_order",
    cases=ORDERS,
    hidden=[dict(batch=1, tokens=12, visible=1, dim=3), dict(batch=3, tokens=7, visible=6, dim=2)],
    weight=3,
)
def restored(restore_order, draw, batch, tokens, visible, dim):
    x, mask_token = draw.normal(batch, 1 + visible, dim), draw.normal(1, 1, dim)
    _, ids_restore = chosen(draw, batch, tokens, visible)
    return {"tokens": restore_order(x, mask_token, ids_restore)}


@probe("restore_order", cases=ORDERS[:2], hidden=ORDERS[3:], dtypes=("float64",))
def gradients_of_tokens(restore_order, draw, batch, tokens, visible, dim):
    x = draw.normal(batch, 1 + visible, dim, grad=True)
    mask_token = draw.normal(1, 1, dim, grad=True)
    _, ids_restore = chosen(draw, batch, tokens, visible)
    of_x, of_mask_token = gradient(
        (restore_order(x, mask_token, ids_restore) ** 2).sum(), (x, mask_token)
    )
    return {"gradient of x": of_x, "gradient of mask_token": of_mask_token}


DECODERS = [
    dict(
        batch=3, grid=(2, 4), patch_dim=4, embed_dim=6, decoder_dim=8, depth=1, heads=2, visible=3
    ),
    dict(
        batch=2, grid=(3, 2), patch_dim=9, embed_dim=4, decoder_dim=4, depth=2, heads=1, visible=2
    ),
    dict(
        batch=1, grid=(3, 3), patch_dim=5, embed_dim=8, decoder_dim=12, depth=3, heads=3, visible=6
    ),
]


@probe(
    "decode",
    cases=DECODERS,
    hidden=[
        dict(
            batch=2,
            grid=(4, 3),
            patch_dim=3,
            embed_dim=5,
            decoder_dim=8,
            depth=2,
            heads=4,
            visible=4,
        ),
        dict(
            batch=1,
            grid=(2, 3),
            patch_dim=6,
            embed_dim=8,
            decoder_dim=8,
            depth=4,
            heads=2,
            visible=1,
        ),
    ],
    weight=3,
)
def decoded(decode, draw, batch, grid, patch_dim, embed_dim, decoder_dim, depth, heads, visible):
    decoder = draw.fill(
        models.MAEDecoder(grid, patch_dim, embed_dim, decoder_dim, depth, heads), required=DECODER
    )
    latent = draw.normal(batch, 1 + visible, embed_dim)
    _, ids_restore = chosen(draw, batch, grid[0] * grid[1], visible)
    with provided(decode, restore_order=models.restore_order):
        return {"predictions": decode(decoder, latent, ids_restore)}


@probe("decode", cases=DECODERS[:1], hidden=DECODERS[2:], dtypes=("float64",))
def gradients_of_the_decoder(
    decode, draw, batch, grid, patch_dim, embed_dim, decoder_dim, depth, heads, visible
):
    decoder = draw.fill(
        models.MAEDecoder(grid, patch_dim, embed_dim, decoder_dim, depth, heads), required=DECODER
    )
    latent = draw.normal(batch, 1 + visible, embed_dim, grad=True)
    _, ids_restore = chosen(draw, batch, grid[0] * grid[1], visible)
    with provided(decode, restore_order=models.restore_order):
        painted = decode(decoder, latent, ids_restore)
    score = (painted * draw.normal(batch, grid[0] * grid[1], patch_dim)).sum()
    return norms(score, decoder, {"latent": latent})


@probe(
    "normalize_patches",
    cases=[
        dict(shape=(3, 4, 12)),
        dict(shape=(2, 9, 4)),
        dict(shape=(3, 2, 27)),
        dict(shape=(4, 6, 3)),
    ],
    hidden=[dict(shape=(1, 5, 16)), dict(shape=(5, 1, 12)), dict(shape=(2, 3, 2))],
    weight=3,
)
def normalised(normalize_patches, draw, shape):
    """Each patch has a brightness and a contrast of its own."""
    contrast = draw.uniform(*shape[:2], 1, low=0.1, high=3.0)
    brightness = draw.normal(*shape[:2], 1)
    return {"patches": normalize_patches(brightness + contrast * draw.normal(*shape))}


@probe(
    "normalize_patches",
    cases=[dict(shape=(2, 3, 12)), dict(shape=(3, 4, 8))],
    hidden=[dict(shape=(3, 2, 27))],
    dtypes=("float64",),
)
def nearly_flat(normalize_patches, draw, shape):
    """Contrasts of a thousandth, where the constant under the root counts as much as the variance;
    one is flat."""
    patches = 1e-3 * draw.normal(*shape)
    patches[0, 0] = 0.5
    return {"patches": normalize_patches(patches)}


LOSSES = [
    dict(batch=3, tokens=8, patch_dim=4),
    dict(batch=2, tokens=5, patch_dim=12),
    dict(batch=1, tokens=9, patch_dim=3),
    dict(batch=4, tokens=6, patch_dim=5),
]


@probe(
    "mae_loss",
    cases=LOSSES,
    hidden=[dict(batch=2, tokens=16, patch_dim=3), dict(batch=5, tokens=4, patch_dim=12)],
    weight=3,
)
def loss_of_removed(mae_loss, draw, batch, tokens, patch_dim):
    return {"loss": mae_loss(*drawn_for_the_loss(draw, batch, tokens, patch_dim))}


@probe(
    "mae_loss",
    cases=[dict(removed=((1, 1, 1), (1, 1, 1)))],
    hidden=[dict(removed=((0, 0, 0), (0, 1, 0))), dict(removed=((0, 0, 0, 0), (1, 1, 0, 1)))],
)
def loss_of_few_or_all(mae_loss, draw, removed):
    """Every patch removed; then a single one; then none of the first picture's."""
    mask = torch.tensor(removed, dtype=draw.dtype)
    predictions, targets = draw.normal(*mask.shape, 4), draw.normal(*mask.shape, 4)
    return {"loss": mae_loss(predictions, targets, mask)}


@probe("mae_loss", cases=LOSSES[:2], hidden=LOSSES[3:], dtypes=("float64",))
def gradient_of_the_loss(mae_loss, draw, batch, tokens, patch_dim):
    predictions, targets, mask = drawn_for_the_loss(draw, batch, tokens, patch_dim)
    predictions.requires_grad_()
    return {"gradient": gradient(mae_loss(predictions, targets, mask), predictions)}


def drawn_for_the_loss(draw, batch, tokens, patch_dim):
    """Pictures that have lost different numbers of patches; of each picture one is removed, and one
    is not."""
    predictions = draw.normal(batch, tokens, patch_dim)
    targets = draw.normal(batch, tokens, patch_dim)
    mask = draw.mask(batch, tokens, share=0.6)
    mask[:, 0], mask[:, 1] = True, False
    mask[0, 2:] = True
    return predictions, targets, mask.to(predictions.dtype)


RATES = [
    dict(depth=3, low=0.6, high=0.9),
    dict(depth=1, low=0.3, high=0.6),
    dict(depth=12, low=0.6, high=0.9),
    dict(depth=2, low=0.99, high=1.01),
]
PARTS = (
    "norm1.weight",
    "attn.qkv.weight",
    "attn.proj.bias",
    "norm2.bias",
    "mlp.0.weight",
    "mlp.2.bias",
)


@probe(
    "layerwise_learning_rates",
    cases=RATES,
    hidden=[dict(depth=4, low=0.5, high=0.8), dict(depth=24, low=0.7, high=0.9)],
    weight=2,
    rtol=1e-6,
    why="the rates may have been computed in float32",
)
def rates(layerwise_learning_rates, draw, depth, low, high):
    learning_rate = draw.uniform(1, low=1e-4, high=1e-2).item()
    decay = draw.uniform(1, low=low, high=high).item()
    names = ["encoder.cls_token", "encoder.embed.weight", "encoder.embed.bias"]
    names += [f"encoder.blocks.{k}.{part}" for k in range(depth) for part in PARTS]
    names += ["encoder.norm.weight", "encoder.norm.bias", "head.weight", "head.bias"]
    found = layerwise_learning_rates(names, depth, learning_rate, decay)
    missing = [name for name in names if name not in found]
    if missing:
        raise KeyError(f"there is no rate for {missing[0]}")
    shares = torch.tensor([float(found[name]) / learning_rate for name in names], dtype=draw.dtype)
    before, blocks, norm, head = shares.split([3, depth * len(PARTS), 2, 2])
    return {
        "rates of class token and embedding, as shares": before,
        "rates of the blocks, as shares": blocks.view(depth, len(PARTS)),
        "rates of the last norm, as shares": norm,
        "rates of the head, as shares": head,
        "number of rates": len(found),
    }


@probe(
    "layerwise_learning_rates",
    cases=[dict(depth=3, kept=("encoder.blocks.2.norm1.bias", "head.bias", "encoder.cls_token"))],
    hidden=[
        dict(depth=6, kept=("encoder.blocks.1.norm1.bias", "encoder.embed.bias")),
        dict(depth=12, kept=("encoder.embed.weight",)),
        dict(depth=2, kept=("encoder.norm.weight",)),
    ],
    rtol=1e-6,
    why="the rates may have been computed in float32",
)
def rates_of_some(layerwise_learning_rates, draw, depth, kept):
    """Names of some parameters only, in a tuple: the others are frozen."""
    learning_rate = draw.uniform(1, low=1e-4, high=1e-2).item()
    decay = draw.uniform(1, low=0.6, high=0.9).item()
    found = layerwise_learning_rates(tuple(kept), depth, learning_rate, decay)
    shares = [float(found[name]) / learning_rate for name in kept]
    return {
        "rates, as shares": torch.tensor(shares, dtype=draw.dtype),
        "number of rates": len(found),
    }
