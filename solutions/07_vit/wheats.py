"""Other right solutions of unit 07's exercises, and the shortcuts that must be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.wheat import shortcut, wheat
from cvcourse import models


@wheat("patchify")
def by_slicing(images, patch_size):
    height, width = images.shape[-2:]
    if height % patch_size != 0 or width % patch_size != 0:
        raise ValueError("does not fit")
    patches = []
    for top in range(0, height, patch_size):
        for left in range(0, width, patch_size):
            piece = images[:, :, top : top + patch_size, left : left + patch_size]
            patches.append(piece.movedim(1, -1).flatten(1))
    return torch.stack(patches, dim=1)


@wheat("patchify")
def by_unfold(images, patch_size):
    if images.shape[2] % patch_size or images.shape[3] % patch_size:
        raise ValueError
    columns = F.unfold(images, patch_size, stride=patch_size)  # (N, C * P * P, tokens)
    columns = columns.unflatten(1, (images.shape[1], -1))  # (N, C, P * P, tokens)
    return columns.permute(0, 3, 2, 1).flatten(2)


@wheat("patchify")
def by_numpys_reshape(images, patch_size):
    pixels = images.detach().numpy()
    count, channels, height, width = pixels.shape
    if height % patch_size or width % patch_size:
        raise ValueError("does not fit")
    split = pixels.reshape(
        count, channels, height // patch_size, patch_size, width // patch_size, patch_size
    )
    ordered = np.ascontiguousarray(split.transpose(0, 2, 4, 3, 5, 1))
    return torch.from_numpy(ordered.reshape(count, -1, patch_size**2 * channels))


@shortcut("patchify")
def the_librarys_patches(images, patch_size):
    return models.patchify(images, patch_size)


@wheat("unpatchify")
def by_placing(patches, patch_size, height, width):
    if height % patch_size or width % patch_size:
        raise ValueError("does not fit")
    channels = patches.shape[-1] // patch_size**2
    columns = []
    images = []
    pieces = patches.view(patches.shape[0], -1, patch_size, patch_size, channels).permute(
        0, 1, 4, 2, 3
    )
    per_row = width // patch_size
    for row in range(height // patch_size):
        columns = [pieces[:, row * per_row + column] for column in range(per_row)]
        images.append(torch.cat(columns, dim=3))
    return torch.cat(images, dim=2)


@wheat("unpatchify")
def by_fold(patches, patch_size, height, width):
    if height % patch_size or width % patch_size:
        raise ValueError
    pixels = patches.unflatten(2, (patch_size**2, -1))  # (N, tokens, P * P, C)
    columns = pixels.permute(0, 3, 2, 1).flatten(1, 2)  # (N, C * P * P, tokens)
    return F.fold(columns, (height, width), patch_size, stride=patch_size)


@wheat("unpatchify")
def by_writing_into_an_empty_image(patches, patch_size, height, width):
    if (height % patch_size, width % patch_size) != (0, 0):
        raise ValueError("does not fit")
    image = torch.empty(len(patches), height, width, patches.shape[2] // patch_size**2)
    image = image.to(patches.dtype)
    with torch.no_grad():
        for place in range(patches.shape[1]):
            row, column = divmod(place, width // patch_size)
            piece = patches[:, place].reshape(len(patches), patch_size, patch_size, -1)
            top, left = row * patch_size, column * patch_size
            image[:, top : top + patch_size, left : left + patch_size] = piece
    return image.permute(0, 3, 1, 2)


@shortcut("unpatchify")
def the_librarys_image(patches, patch_size, height, width):
    return models.unpatchify(patches, patch_size, height, width)


@wheat("PatchEmbed")
class ByEinsum(nn.Module):
    def __init__(self, image_size, patch_size, in_channels, embed_dim):
        super().__init__()
        size = image_size if isinstance(image_size, tuple) else (image_size, image_size)
        if any(side % patch_size for side in size):
            raise ValueError("does not fit")
        self.grid = tuple(side // patch_size for side in size)
        self.proj = nn.Conv2d(
            in_channels, embed_dim, (patch_size, patch_size), stride=(patch_size, patch_size)
        )

    def forward(self, images):
        side = self.proj.weight.shape[-1]
        pieces = images.unfold(2, side, side).unfold(3, side, side)  # (N, C, rows, columns, P, P)
        return (
            torch.einsum("ncijpq,dcpq->nijd", pieces, self.proj.weight).flatten(1, 2)
            + self.proj.bias
        )


@shortcut("PatchEmbed")
def the_librarys_tokens(image_size, patch_size, in_channels, embed_dim):
    return models.PatchEmbed(image_size, patch_size, in_channels, embed_dim)


@wheat("sincos_position_embedding")
def by_loops(embed_dim, height, width, base=10000.0):
    quarter = embed_dim // 4
    table = torch.zeros(height * width, embed_dim)
    for row in range(height):
        for column in range(width):
            for half, place in enumerate((column, row)):
                for k in range(quarter):
                    angle = place / base ** (k / quarter)
                    table[row * width + column, half * 2 * quarter + k] = math.sin(angle)
                    table[row * width + column, (half * 2 + 1) * quarter + k] = math.cos(angle)
    return table


@wheat("sincos_position_embedding")
def by_numpy(embed_dim, height, width, base=10000.0):
    speeds = np.exp(-np.log(base) * np.arange(embed_dim // 4) / (embed_dim // 4))

    def axis(length):
        angles = np.outer(np.arange(length), speeds)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # (length, embed_dim / 2)

    by_column = np.tile(axis(width), (height, 1))
    by_row = np.repeat(axis(height), width, axis=0)
    return torch.from_numpy(np.concatenate([by_column, by_row], axis=1)).float()


@shortcut("sincos_position_embedding")
def the_librarys_positions(embed_dim, height, width, base=10000.0):
    return models.sincos_position_embedding(embed_dim, height, width, base)


@wheat("attention")
def by_einsum(q, k, v):
    scores = torch.einsum("bhid,bhjd->bhij", q * q.shape[-1] ** -0.25, k * k.shape[-1] ** -0.25)
    shares = (scores - scores.logsumexp(dim=3, keepdim=True)).exp()
    return torch.einsum("bhij,bhjd->bhid", shares, v), shares


@wheat("attention")
def by_token(q, k, v):
    outputs, weights = [], []
    for i in range(q.shape[2]):
        scores = (q[:, :, i : i + 1] * k).sum(dim=-1) / math.sqrt(q.shape[-1])  # (N, heads, tokens)
        scores = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
        share = scores / scores.sum(dim=-1, keepdim=True)
        weights.append(share)
        outputs.append((share[..., None] * v).sum(dim=2))
    return torch.stack(outputs, dim=2), torch.stack(weights, dim=2)


@shortcut("attention")
def torchs_own(q, k, v):
    identity = torch.eye(k.shape[2], dtype=k.dtype).expand(*k.shape[:2], -1, -1)
    weights = F.scaled_dot_product_attention(q, k, identity)
    return F.scaled_dot_product_attention(q, k, v), weights


@wheat("MultiHeadSelfAttention")
class HeadByHead(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        if embed_dim % num_heads != 0:
            raise ValueError("heads do not fit")
        self.heads, self.head_dim = num_heads, embed_dim // num_heads
        self.qkv = nn.Linear(embed_dim, embed_dim * 3)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        outputs, weights = [], []
        for head in range(self.heads):
            part = slice(head * self.head_dim, (head + 1) * self.head_dim)
            output, weight = attention(*(t[:, None, :, part] for t in (q, k, v)))  # noqa: F821
            outputs.append(output[:, 0])
            weights.append(weight[:, 0])
        return self.proj(torch.cat(outputs, dim=-1)), torch.stack(weights, dim=1)


@wheat("MultiHeadSelfAttention")
class ByOneProduct(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.head_dim, remainder = divmod(embed_dim, num_heads)
        if remainder:
            raise ValueError("heads do not fit")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, x):
        q, k, v = (
            t.unflatten(-1, (self.num_heads, -1)) for t in self.qkv(x).split(x.shape[-1], dim=-1)
        )
        weights = (torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(self.head_dim)).softmax(-1)
        return self.proj(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)), weights


@shortcut("MultiHeadSelfAttention")
class TorchsLayer(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.qkv, self.proj = nn.Linear(embed_dim, 3 * embed_dim), nn.Linear(embed_dim, embed_dim)
        self.inner = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, average_attn_weights=False)


@wheat("TransformerBlock")
class WrittenOut(nn.Module):
    def __init__(self, embed_dim, num_heads, mlp_ratio=4.0):
        super().__init__()
        self.attn = MultiHeadSelfAttention(embed_dim, num_heads)  # noqa: F821
        self.norm1, self.norm2 = (nn.LayerNorm(embed_dim, eps=1e-6) for _ in range(2))
        layers = [nn.Linear(embed_dim, int(embed_dim * mlp_ratio)), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(int(embed_dim * mlp_ratio), embed_dim))

    @staticmethod
    def normed(norm, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        deviation = (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return centred / deviation * norm.weight + norm.bias

    def forward(self, x):
        mixed, weights = self.attn(self.normed(self.norm1, x))
        middle = mixed + x
        hidden = self.mlp[0](self.normed(self.norm2, middle))
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        return self.mlp[2](hidden) + middle, weights


@shortcut("TransformerBlock")
def the_librarys_block(embed_dim, num_heads, mlp_ratio=4.0):
    return models.TransformerBlock(embed_dim, num_heads, mlp_ratio)


@wheat("VisionTransformer")
class InOtherSteps(nn.Module):
    def __init__(
        self,
        image_size=32,
        patch_size=4,
        in_channels=3,
        num_classes=10,
        embed_dim=192,
        depth=6,
        num_heads=3,
        mlp_ratio=4.0,
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(image_size, patch_size, in_channels, embed_dim)  # noqa: F821
        tokens = self.patch_embed.grid[0] * self.patch_embed.grid[1]
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens + 1, embed_dim))
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        blocks = [TransformerBlock(embed_dim, num_heads, mlp_ratio) for _ in range(depth)]  # noqa: F821
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, images, return_attention=False):
        batch = images.shape[0]
        first = (self.cls_token + self.pos_embed[:, :1]).repeat(batch, 1, 1)
        others = self.patch_embed(images) + self.pos_embed[:, 1:]
        z, found = torch.hstack([first, others]), []
        for block in self.blocks:
            z, weights = block(z)
            found += [weights]
        logits = self.head(self.norm(z[:, 0]))
        if return_attention:
            return logits, found
        return logits


@shortcut("VisionTransformer")
def the_librarys_network(**settings):
    return models.VisionTransformer(**settings)


@wheat("interpolate_position_embedding")
def axis_by_axis(pos_embed, old_grid, new_grid):
    places = pos_embed[0, 1:].unflatten(0, tuple(old_grid))  # (rows, columns, D)
    plane = places.permute(2, 0, 1)[None]  # (1, D, rows, columns)
    plane = F.interpolate(
        plane, (new_grid[0], old_grid[1]), mode="bicubic", antialias=True, align_corners=False
    )
    plane = F.interpolate(
        plane, (new_grid[0], new_grid[1]), mode="bicubic", antialias=True, align_corners=False
    )
    grid = plane[0].permute(1, 2, 0).reshape(1, new_grid[0] * new_grid[1], -1)
    return torch.hstack((pos_embed[:, 0:1], grid))


@wheat("interpolate_position_embedding")
@torch.no_grad()
def without_gradients(pos_embed, old_grid, new_grid):
    plane = pos_embed[:, 1:].unflatten(1, old_grid).movedim(3, 1)
    plane = F.interpolate(plane, size=new_grid, mode="bicubic", antialias=True)
    return torch.cat([pos_embed[:, :1], plane.movedim(1, 3).flatten(1, 2)], dim=1)


@shortcut("interpolate_position_embedding")
def the_librarys_resizing(pos_embed, old_grid, new_grid):
    return models.interpolate_position_embedding(pos_embed, old_grid, new_grid)


@wheat("attention_rollout")
def from_the_last_block(weights):
    result = None
    for block in reversed(list(weights)):
        mixing = 0.5 * block.sum(dim=1) / block.shape[1]
        mixing.diagonal(dim1=1, dim2=2).add_(0.5)
        result = mixing if result is None else torch.bmm(result, mixing)
    return result


@shortcut("attention_rollout")
def the_librarys_rollout(weights):
    return models.attention_rollout(weights)
