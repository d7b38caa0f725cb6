"""Masked autoencoders (He et al. 2022): mask at random, encode what is visible, paint what is not.

Patches are (N, tokens, patch_dim), tokens in reading order, as `patchify` cuts them. Two orders of
tokens occur: that of reading, and a shuffled one in which the visible tokens come first.
`ids_restore` leads from the second to the first.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .vit import (
    EPSILON,
    POSITION_SPREAD,
    TransformerBlock,
    grid_of,
    patchify,
    sides_of,
    sincos_position_embedding,
)

SMALLEST_VARIANCE = 1e-6  # added to a patch's variance, as in the official code
FIRST_LAYERS = ("embed", "cls_token", "positions")


def random_masking(noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the visible tokens of each picture: those with the least noise.

    (Section 3, "MAE encoder".) noise: (N, tokens), a number for each token. Of the tokens,
    int(tokens * (1 - mask_ratio)) stay visible. Returns ids_keep (N, visible), the places of the
    visible tokens in the order of their noise; ids_restore (N, tokens), the place of each token in
    the shuffled order; and mask (N, tokens), 1 removed and 0 visible. Raises ValueError where no
    token would be visible, or none removed.
    """
    tokens = noise.shape[1]
    visible = int(tokens * (1 - mask_ratio))
    if not 1 <= visible < tokens:
        raise ValueError(
            f"A mask ratio of {mask_ratio} leaves {max(visible, 0)} of {tokens} patches visible: "
            "at least one must be, and at least one must not."
        )
    ids_shuffle = noise.argsort(dim=1, stable=True)
    places = torch.arange(tokens, device=noise.device).expand_as(ids_shuffle)
    ids_restore = torch.empty_like(ids_shuffle).scatter_(1, ids_shuffle, places)
    mask = (ids_restore >= visible).to(noise.dtype)
    return ids_shuffle[:, :visible], ids_restore, mask


class MAEEncoder(nn.Module):
    """The parts of a vision transformer that `encode_visible` puts to work, with fixed positions.

    base: of the sines and cosines; small for a small grid.
    Parts: embed, patch_dim to embed_dim; cls_token (1, 1, embed_dim); positions (tokens,
    embed_dim), without a gradient; blocks and norm, as in a vision transformer; grid, (rows,
    columns).
    forward: pictures (N, in_channels, H, W), nothing masked, to features (N, embed_dim): the mean
    of the patch tokens.
    Raises ValueError where patch_size does not divide the picture, or num_heads or 4 does not
    divide embed_dim.
    """

    positions: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        in_channels: int = 3,
        embed_dim: int = 64,
        depth: int = 4,
        num_heads: int = 4,
        base: float = 10000.0,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.grid = grid_of(sides_of(image_size), patch_size)
        self.embed = nn.Linear(patch_size**2 * in_channels, embed_dim)
        self.cls_token = nn.Parameter(POSITION_SPREAD * torch.randn(1, 1, embed_dim))
        self.register_buffer("positions", sincos_position_embedding(embed_dim, *self.grid, base))
        self.blocks = nn.ModuleList(TransformerBlock(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        patches = patchify(images, self.patch_size)  # (N, tokens, patch_dim)
        places = torch.arange(patches.shape[1], device=images.device)
        everything = places.expand(patches.shape[:2])  # (N, tokens)
        encoded = encode_visible(self, patches, everything)  # (N, 1 + tokens, embed_dim)
        return encoded[:, 1:].mean(dim=1)


class MAEDecoder(nn.Module):
    """The parts that `decode` puts to work.

    It is narrower and shallower than the encoder, and thrown away after training.
    grid: (rows, columns) of patches.
    Parts: embed, embed_dim to decoder_dim; mask_token (1, 1, decoder_dim); positions (tokens,
    decoder_dim), without a gradient; blocks and norm, of width decoder_dim; head, decoder_dim to
    patch_dim.
    Raises ValueError where num_heads or 4 does not divide decoder_dim.
    """

    positions: Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        patch_dim: int,
        embed_dim: int = 64,
        decoder_dim: int = 48,
        depth: int = 2,
        num_heads: int = 4,
        base: float = 10000.0,
    ):
        super().__init__()
        self.embed = nn.Linear(embed_dim, decoder_dim)
        self.mask_token = nn.Parameter(POSITION_SPREAD * torch.randn(1, 1, decoder_dim))
        self.register_buffer("positions", sincos_position_embedding(decoder_dim, *grid, base))
        self.blocks = nn.ModuleList(TransformerBlock(decoder_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(decoder_dim, eps=EPSILON)
        self.head = nn.Linear(decoder_dim, patch_dim)


def encode_visible(encoder: MAEEncoder, patches: Tensor, ids_keep: Tensor) -> Tensor:
    """The encoder's view of the visible patches (section 3, "MAE encoder").

    encoder: an MAEEncoder, or a module with its parts. patches: (N, tokens, patch_dim). ids_keep:
    (N, visible), places of patches. Each patch keeps the position of its place. Returns (N, 1 +
    visible, embed_dim): the class token, then the visible tokens in the order of ids_keep. Raises
    ValueError where the encoder has positions for another number of patches.
    """
    if patches.shape[1] != len(encoder.positions):
        raise ValueError(
            f"There are {patches.shape[1]} patches, and the encoder has {len(encoder.positions)}"
            " places."
        )
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    visible = patches[rows, ids_keep]  # (N, visible, patch_dim)
    tokens = encoder.embed(visible) + encoder.positions[ids_keep]  # (N, visible, embed_dim)
    class_tokens = encoder.cls_token.expand(len(tokens), -1, -1)  # (N, 1, embed_dim)
    x = torch.cat([class_tokens, tokens], dim=1)  # (N, 1 + visible, embed_dim)
    for block in encoder.blocks:
        x, _ = block(x)
    return encoder.norm(x)


def restore_order(x: Tensor, mask_token: Tensor, ids_restore: Tensor) -> Tensor:
    """Put mask tokens where patches are missing, and all tokens in reading order.

    (Section 3, "MAE decoder".) x: (N, 1 + visible, dim), the class token first. mask_token: (1, 1,
    dim). ids_restore: (N, tokens). Returns (N, 1 + tokens, dim), the class token first as before.
    """
    count, known, dim = x.shape
    missing = mask_token.expand(count, 1 + ids_restore.shape[1] - known, dim)
    shuffled = torch.cat([x, missing], dim=1)  # (N, 1 + tokens, dim)
    class_place = torch.zeros_like(ids_restore[:, :1])  # (N, 1)
    places = torch.cat([class_place, 1 + ids_restore], dim=1)  # (N, 1 + tokens)
    rows = torch.arange(count, device=x.device)[:, None]
    return shuffled[rows, places]


def decode(decoder: MAEDecoder, latent: Tensor, ids_restore: Tensor) -> Tensor:
    """What the decoder paints for every patch, visible ones too (section 3, "MAE decoder").

    decoder: an MAEDecoder, or a module with its parts. latent: (N, 1 + visible, embed_dim), from
    encode_visible. ids_restore: (N, tokens). Returns (N, tokens, patch_dim).
    """
    x = restore_order(decoder.embed(latent), decoder.mask_token, ids_restore)
    class_token, tokens = x[:, :1], x[:, 1:]  # the class token has no place
    x = torch.cat([class_token, tokens + decoder.positions], dim=1)  # (N, 1 + tokens, decoder_dim)
    for block in decoder.blocks:
        x, _ = block(x)
    return decoder.head(decoder.norm(x))[:, 1:]


def normalize_patches(patches: Tensor) -> Tensor:
    """Each patch brought to mean 0 and variance 1 of its own numbers.

    (Section 3, "Reconstruction target".) patches: (N, tokens, patch_dim). The variance is the
    unbiased one, and 1e-6 is added to it: a flat patch becomes 0. Returns the same shape. Raises
    ValueError for patches of a single number, which have no spread.
    """
    if patches.shape[-1] < 2:
        raise ValueError("A patch of a single number has no spread to be normalised with.")
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + SMALLEST_VARIANCE).sqrt()


def mae_loss(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the removed patches (section 3, "Reconstruction target").

    predictions, targets: (N, tokens, patch_dim). mask: (N, tokens), 1 removed and 0 visible.
    Returns one number. Raises ValueError where no patch was removed.
    """
    if not mask.any():
        raise ValueError("No patch was removed, so there is nothing to reconstruct.")
    of_patches = (predictions - targets).square().mean(dim=-1)  # (N, tokens)
    return (of_patches * mask).sum() / mask.sum()


def layerwise_learning_rates(
    names: Iterable[str], depth: int, learning_rate: float, decay: float
) -> dict[str, float]:
    """A learning rate for each parameter, lower for earlier layers.

    (Clark et al. 2020; He et al. 2022, appendix A.1.) names: of parameters. Those of embed,
    cls_token and positions are layer 0, those of blocks.k layer k + 1, all others layer depth + 1;
    a module in front, as in "encoder.blocks.0.norm1.bias", changes nothing. Layer depth + 1 learns
    with learning_rate, and each layer below with `decay` times the rate of the one above. Returns
    name -> rate. Raises ValueError for a block that a network of this depth does not have.
    """
    rates = {}
    for name in names:
        layer = layer_of(name.split("."), depth)
        rates[name] = learning_rate * decay ** (depth + 1 - layer)
    return rates


def layer_of(parts: list[str], depth: int) -> int:
    """0 for what comes before the blocks, k + 1 for block k, depth + 1 for what comes after.

    parts: of a parameter's name, as in ["blocks", "0", "norm1", "bias"].
    """
    if "blocks" in parts:
        block = int(parts[parts.index("blocks") + 1])
        if block >= depth:
            raise ValueError(f"There is a parameter of block {block}, and the depth is {depth}.")
        return block + 1
    comes_first = any(part in FIRST_LAYERS for part in parts)
    return 0 if comes_first else depth + 1


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder together (He et al. 2022, figure 1).

    encoder, decoder: as MAEEncoder and MAEDecoder. forward: pictures (N, channels, H, W), and noise
    (N, tokens), drawn if there is none, to predictions (N, tokens, patch_dim) and mask (N, tokens),
    1 removed and 0 visible.
    """

    def __init__(self, encoder: MAEEncoder, decoder: MAEDecoder, mask_ratio: float = 0.75):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.mask_ratio = mask_ratio

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        patches = patchify(images, self.encoder.patch_size)  # (N, tokens, patch_dim)
        if noise is None:
            noise = torch.rand(patches.shape[:2], device=images.device)
        ids_keep, ids_restore, mask = random_masking(noise, self.mask_ratio)
        latent = encode_visible(self.encoder, patches, ids_keep)  # (N, 1 + visible, embed_dim)
        return decode(self.decoder, latent, ids_restore), mask
