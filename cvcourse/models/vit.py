"""The vision transformer (Dosovitskiy et al. 2021): patches, positions, attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6  # of every layer norm, as in the official code
POSITION_SPREAD = 0.02
"""Standard deviation of the class token and the position embedding at the start."""


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into square patches.

    images: (N, C, H, W). Returns (N, tokens, patch_size * patch_size * C): patches in reading order
    of the grid, and in each patch row by row, column by column, the channels of a pixel side by
    side (the order of the official MAE code). Raises ValueError where patch_size does not divide
    height and width.
    """
    batch, channels, height, width = images.shape
    rows, columns = grid_of((height, width), patch_size)
    pieces = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    pieces = pieces.permute(0, 2, 4, 3, 5, 1)  # (N, rows, columns, patch_size, patch_size, C)
    return pieces.reshape(batch, rows * columns, patch_size * patch_size * channels)


def unpatchify(patches: Tensor, patch_size: int, height: int, width: int) -> Tensor:
    """Put patches together again: the inverse of `patchify`.

    patches: (N, tokens, patch_size * patch_size * C). height, width: of the image, in pixels.
    Returns (N, C, height, width). Raises ValueError where patch_size does not divide height and
    width.
    """
    rows, columns = grid_of((height, width), patch_size)
    pieces = patches.reshape(len(patches), rows, columns, patch_size, patch_size, -1)
    pieces = pieces.permute(0, 5, 1, 3, 2, 4)  # (N, C, rows, patch_size, columns, patch_size)
    return pieces.reshape(len(patches), -1, height, width)


class PatchEmbed(nn.Module):
    """A linear map of each patch to a token, as a convolution whose stride is its kernel size.

    image_size: pixels of both sides, or (height, width).
    Parts: grid, the (rows, columns) of patches; proj, the convolution.
    forward: images (N, in_channels, H, W) to tokens (N, rows * columns, embed_dim), in reading
    order.
    Raises ValueError where patch_size does not divide the image.
    """

    def __init__(
        self, image_size: int | tuple[int, int], patch_size: int, in_channels: int, embed_dim: int
    ):
        super().__init__()
        self.grid = grid_of(sides_of(image_size), patch_size)
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.proj(images)  # (N, embed_dim, rows, columns)
        return maps.flatten(2).transpose(1, 2)  # (N, tokens, embed_dim)


def sincos_position_embedding(
    embed_dim: int, height: int, width: int, base: float = 10000.0
) -> Tensor:
    """Fixed positions of a height x width grid, from sines and cosines of falling frequencies.

    (Vaswani et al. 2017, section 3.5, for two axes.)
    Returns (height * width, embed_dim), float32, in reading order. Layout of the official MAE code:
    the first half comes from the column, the second from the row; in each half the sines of all
    frequencies, then their cosines. Frequency k of embed_dim / 4 is base ** (-k / (embed_dim / 4)).
    A small grid needs a small base. Raises ValueError where 4 does not divide embed_dim.
    """
    if embed_dim % 4:
        raise ValueError(
            f"Sines and cosines of two axes need an embed_dim that 4 divides, not {embed_dim}."
        )
    frequencies = base ** (-torch.arange(embed_dim // 4) / (embed_dim // 4))  # (embed_dim / 4,)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    across = column.flatten()[:, None] * frequencies  # (height * width, embed_dim / 4)
    down = row.flatten()[:, None] * frequencies  # (height * width, embed_dim / 4)
    return torch.cat([across.sin(), across.cos(), down.sin(), down.cos()], dim=1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

    q, k, v: (N, heads, tokens, head_dim). Returns the output, shaped like q, and the weights
    (N, heads, tokens, tokens): row i says how much token i takes from each token.
    """
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (N, heads, tokens, tokens)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


class MultiHeadSelfAttention(nn.Module):
    """Several attentions side by side, each on its share of the channels.

    (Dosovitskiy et al. 2021, appendix A.) qkv holds queries, keys and values one after the other,
    in each the heads one after the other.
    forward: (N, tokens, embed_dim) to the same shape, and the weights (N, num_heads, tokens,
    tokens).
    Raises ValueError where num_heads does not divide embed_dim.
    """

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads cannot share embed_dim={embed_dim} evenly.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, tokens, embed_dim = x.shape
        head_dim = embed_dim // self.num_heads
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, tokens, head_dim)
        output, weights = attention(q, k, v)
        joined = output.transpose(1, 2).reshape(batch, tokens, embed_dim)  # heads side by side
        return self.proj(joined), weights


class TransformerBlock(nn.Module):
    """Attention, then a small network for each token; each reads normed tokens and adds to them.

    (Dosovitskiy et al. 2021, equations 2 and 3.)
    forward: (N, tokens, embed_dim) to the same shape, and the attention's weights (N, num_heads,
    tokens, tokens).
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        hidden_dim = int(embed_dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.attn = MultiHeadSelfAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mixed, weights = self.attn(self.norm1(x))
        x = x + mixed
        return x + self.mlp(self.norm2(x)), weights


class VisionTransformer(nn.Module):
    """The vision transformer (Dosovitskiy et al. 2021, section 3.1), with the names of timm's.

    forward: images (N, in_channels, H, W) to logits (N, num_classes); with return_attention also
    the list of all blocks' weights, each (N, num_heads, 1 + tokens, 1 + tokens), where token 0 is
    the class token.
    Raises ValueError where patch_size does not divide the image, or num_heads embed_dim.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        in_channels: int = 3,
        num_classes: int = 10,
        embed_dim: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(image_size, patch_size, in_channels, embed_dim)
        rows, columns = self.patch_embed.grid
        self.cls_token = nn.Parameter(POSITION_SPREAD * torch.randn(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(
            POSITION_SPREAD * torch.randn(1, 1 + rows * columns, embed_dim)
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(embed_dim, num_heads, mlp_ratio) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(
        self, images: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        patches = self.patch_embed(images)  # (N, tokens, embed_dim)
        class_tokens = self.cls_token.expand(len(patches), -1, -1)  # (N, 1, embed_dim)
        x = torch.cat([class_tokens, patches], dim=1) + self.pos_embed  # (N, 1 + tokens, embed_dim)
        every = []
        for block in self.blocks:
            x, weights = block(x)
            every.append(weights)
        logits = self.head(self.norm(x)[:, 0])
        return (logits, every) if return_attention else logits


def interpolate_position_embedding(
    pos_embed: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> Tensor:
    """Learned positions for images of another size (Dosovitskiy et al. 2021, section 3.2).

    pos_embed: (1, 1 + rows * columns of old_grid, embed_dim), the class token's row first. That row
    stays as it is; the grid is resized bicubically, with antialiasing where it shrinks.
    Returns (1, 1 + rows * columns of new_grid, embed_dim).
    """
    class_row, places = pos_embed[:, :1], pos_embed[:, 1:]
    plane = places.transpose(1, 2).reshape(1, -1, *old_grid)  # (1, embed_dim, rows, columns)
    plane = F.interpolate(plane, tuple(new_grid), mode="bicubic", antialias=True)
    resized = plane.flatten(2).transpose(1, 2)  # (1, rows * columns, embed_dim)
    return torch.cat([class_row, resized], dim=1)


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    """How much of each input token reaches each output token, through all blocks.

    (Abnar and Zuidema 2020, section 3, "Attention rollout".)
    weights: of each block (N, heads, tokens, tokens), the first block first. Heads are averaged;
    the skip connection counts as half of a block. Returns (N, tokens, tokens): row i belongs to
    output token i, its entries sum to one.
    """
    identity = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    rollout = identity.expand(len(weights[0]), -1, -1)
    for layer in weights:
        rollout = (layer.mean(dim=1) + identity) / 2 @ rollout
    return rollout


def grid_of(size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches in an image of this (height, width).

    Raises ValueError where patch_size does not divide both.
    """
    height, width = size
    if height % patch_size or width % patch_size:
        raise ValueError(
            f"Patches of {patch_size} x {patch_size} pixels do not fill an image of {height} x"
            f" {width}."
        )
    return height // patch_size, width // patch_size


def sides_of(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image whose size is one number for both sides, or both."""
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width
