"""How unit 07's exercises are put to the test."""

import torch
from torch import nn

from autograder.probe import gradient, probe, provided, refuses
from cvcourse import models


@probe(
    "patchify",
    cases=[
        dict(shape=(2, 3, 6, 8), patch_size=2),
        dict(shape=(1, 2, 9, 6), patch_size=3),
        dict(shape=(3, 1, 4, 12), patch_size=4),
        dict(shape=(1, 3, 4, 4), patch_size=2),
    ],
    hidden=[dict(shape=(2, 4, 6, 10), patch_size=2), dict(shape=(1, 3, 12, 8), patch_size=4)],
    weight=3,
)
def cut(patchify, draw, shape, patch_size):
    return {"patches": patchify(draw.normal(*shape), patch_size)}


@probe(
    "patchify",
    cases=[dict(shape=(1, 2, 7, 6), patch_size=2), dict(shape=(1, 2, 6, 8), patch_size=3)],
    hidden=[dict(shape=(2, 1, 9, 8), patch_size=4)],
    law=True,
)
def refused_sizes(patchify, draw, shape, patch_size):
    return {"refused with a ValueError": refuses(patchify, draw.normal(*shape), patch_size)}


@probe(
    "patchify",
    cases=[dict(shape=(2, 2, 4, 6), patch_size=2)],
    hidden=[dict(shape=(1, 3, 6, 9), patch_size=3)],
)
def gradient_of_patches(patchify, draw, shape, patch_size):
    images = draw.normal(*shape, grad=True)
    return {"gradient": gradient((patchify(images, patch_size) ** 2).sum(), images)}


@probe(
    "unpatchify",
    cases=[
        dict(batch=2, channels=3, patch_size=2, height=6, width=8),
        dict(batch=1, channels=2, patch_size=3, height=9, width=6),
        dict(batch=3, channels=1, patch_size=4, height=4, width=12),
        dict(batch=2, channels=2, patch_size=2, height=4, width=4),
    ],
    hidden=[
        dict(batch=2, channels=4, patch_size=2, height=10, width=6),
        dict(batch=1, channels=3, patch_size=4, height=8, width=12),
    ],
    weight=3,
)
def put_together(unpatchify, draw, batch, channels, patch_size, height, width):
    patches = draw.normal(batch, height * width // patch_size**2, patch_size**2 * channels)
    return {"images": unpatchify(patches, patch_size, height, width)}


@probe(
    "unpatchify",
    cases=[
        dict(tokens=9, patch_size=2, height=7, width=6),
        dict(tokens=6, patch_size=3, height=9, width=8),
    ],
    hidden=[dict(tokens=4, patch_size=4, height=8, width=9)],
    law=True,
)
def refused_outlines(unpatchify, draw, tokens, patch_size, height, width):
    patches = draw.normal(2, tokens, patch_size**2 * 2)
    return {"refused with a ValueError": refuses(unpatchify, patches, patch_size, height, width)}


@probe(
    "unpatchify",
    cases=[dict(channels=3, patch_size=2, height=4, width=6)],
    hidden=[dict(channels=2, patch_size=3, height=9, width=6)],
)
def gradient_of_images(unpatchify, draw, channels, patch_size, height, width):
    patches = draw.normal(1, height * width // patch_size**2, patch_size**2 * channels, grad=True)
    weight = draw.normal(1, channels, height, width)
    return {
        "gradient": gradient(
            (weight * unpatchify(patches, patch_size, height, width)).sum(), patches
        )
    }


PROJ = ("proj.weight", "proj.bias")


@probe(
    "PatchEmbed",
    cases=[
        dict(size=(6, 8), patch_size=2, in_channels=3, embed_dim=5, batch=2),
        dict(size=9, patch_size=3, in_channels=2, embed_dim=4, batch=1),
        dict(size=(4, 12), patch_size=4, in_channels=1, embed_dim=6, batch=3),
        dict(size=(3, 5), patch_size=1, in_channels=4, embed_dim=3, batch=2),
    ],
    hidden=[
        dict(size=(10, 4), patch_size=2, in_channels=2, embed_dim=7, batch=2),
        dict(size=8, patch_size=4, in_channels=3, embed_dim=4, batch=1),
    ],
    weight=3,
)
def tokens(PatchEmbed, draw, size, patch_size, in_channels, embed_dim, batch):
    height, width = size if isinstance(size, list | tuple) else (size, size)
    given = size if isinstance(size, int) else tuple(size)
    embed = draw.fill(PatchEmbed(given, patch_size, in_channels, embed_dim), required=PROJ)
    images = draw.normal(batch, in_channels, height, width, grad=True)
    output = embed(images)
    if not isinstance(output, torch.Tensor):
        raise TypeError("forward should return one tensor, the tokens")
    by_images, by_weight = gradient((output**2).sum(), (images, embed.proj.weight))
    return {"tokens": output, "gradient of images": by_images, "gradient of proj.weight": by_weight}


@probe(
    "PatchEmbed",
    cases=[dict(size=(6, 8), patch_size=2), dict(size=12, patch_size=3)],
    hidden=[dict(size=(4, 12), patch_size=4)],
)
def grid(PatchEmbed, draw, size, patch_size):
    embed = PatchEmbed(size if isinstance(size, int) else tuple(size), patch_size, 2, 3)
    if not isinstance(embed.grid, tuple | list):
        raise TypeError("grid should be a pair of numbers, (rows, columns)")
    return {"grid": tuple(embed.grid)}


@probe(
    "PatchEmbed",
    cases=[
        dict(size=(6, 9), patch_size=2),
        dict(size=(7, 6), patch_size=3),
        dict(size=10, patch_size=4),
    ],
    hidden=[dict(size=(8, 10), patch_size=4), dict(size=(5, 4), patch_size=2)],
    law=True,
)
def refused_images(PatchEmbed, draw, size, patch_size):
    given = size if isinstance(size, int) else tuple(size)
    return {"refused with a ValueError": refuses(PatchEmbed, given, patch_size, 2, 3)}


@probe(
    "sincos_position_embedding",
    cases=[
        dict(embed_dim=8, height=3, width=4),
        dict(embed_dim=12, height=5, width=2),
        dict(embed_dim=4, height=2, width=6),
        dict(embed_dim=20, height=4, width=4),
    ],
    hidden=[dict(embed_dim=16, height=2, width=5), dict(embed_dim=24, height=6, width=3)],
    dtypes=("float32",),
    weight=3,
)
def positions(sincos_position_embedding, draw, embed_dim, height, width):
    base = float(draw.uniform(low=3, high=60))
    return {"positions": sincos_position_embedding(embed_dim, height, width, base=base)}


@probe(
    "sincos_position_embedding",
    cases=[dict(embed_dim=16, height=9, width=11)],
    hidden=[dict(embed_dim=8, height=13, width=4)],
    dtypes=("float32",),
)
def default_base(sincos_position_embedding, draw, embed_dim, height, width):
    weight = draw.normal(height * width, embed_dim)
    return {"weighted": weight * sincos_position_embedding(embed_dim, height, width)}


@probe(
    "attention",
    cases=[(2, 3, 5, 8), (1, 2, 7, 4), (3, 1, 4, 6), (2, 4, 6, 3)],
    hidden=[(2, 2, 9, 5), (1, 5, 3, 7)],
    weight=3,
)
def weighted_mean(attention, draw, batch, heads, tokens, head_dim):
    q, k, v = (draw.normal(batch, heads, tokens, head_dim) for _ in range(3))
    output, weights = _two(attention(q, k, v))
    return {"output": output, "weights": weights}


@probe("attention", cases=[(2, 2, 4, 5)], hidden=[(1, 3, 6, 2)])
def gradients_of_attention(attention, draw, batch, heads, tokens, head_dim):
    q, k, v = (draw.normal(batch, heads, tokens, head_dim, grad=True) for _ in range(3))
    by_q, by_k, by_v = gradient((_two(attention(q, k, v))[0] ** 2).sum(), (q, k, v))
    return {"gradient of q": by_q, "gradient of k": by_k, "gradient of v": by_v}


@probe("attention", cases=[(1, 2, 5, 4), (1, 1, 6, 3)], hidden=[(2, 1, 4, 6)])
def large_scores(attention, draw, batch, heads, tokens, head_dim):
    q, k, v = (draw.normal(batch, heads, tokens, head_dim) for _ in range(3))
    output, weights = _two(attention(100 * q, 10 * k, v))
    return {"output": output, "weights": weights}


ATTENTION = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")


@probe(
    "MultiHeadSelfAttention",
    cases=[
        dict(embed_dim=12, num_heads=3, batch=2, tokens=5),
        dict(embed_dim=8, num_heads=2, batch=1, tokens=7),
        dict(embed_dim=6, num_heads=1, batch=3, tokens=4),
        dict(embed_dim=16, num_heads=4, batch=2, tokens=4),
    ],
    hidden=[
        dict(embed_dim=10, num_heads=5, batch=2, tokens=6),
        dict(embed_dim=15, num_heads=3, batch=1, tokens=8),
    ],
    weight=4,
)
def heads(MultiHeadSelfAttention, draw, embed_dim, num_heads, batch, tokens):
    with provided(MultiHeadSelfAttention, attention=models.attention):
        layer = draw.fill(MultiHeadSelfAttention(embed_dim, num_heads), required=ATTENTION)
        x = draw.normal(batch, tokens, embed_dim)
        output, weights = _two(layer(x))
    return {"output": output, "weights": weights}


@probe(
    "MultiHeadSelfAttention",
    cases=[dict(embed_dim=6, num_heads=2, batch=2, tokens=3)],
    hidden=[dict(embed_dim=12, num_heads=4, batch=1, tokens=4)],
)
def gradients_of_heads(MultiHeadSelfAttention, draw, embed_dim, num_heads, batch, tokens):
    with provided(MultiHeadSelfAttention, attention=models.attention):
        layer = draw.fill(MultiHeadSelfAttention(embed_dim, num_heads), required=ATTENTION)
        x = draw.normal(batch, tokens, embed_dim, grad=True)
        by_x, by_qkv = gradient((_two(layer(x))[0] ** 2).sum(), (x, layer.qkv.weight))
    return {"gradient of x": by_x, "gradient of qkv.weight": by_qkv}


@probe(
    "MultiHeadSelfAttention",
    cases=[dict(embed_dim=10, num_heads=3), dict(embed_dim=6, num_heads=4)],
    hidden=[dict(embed_dim=8, num_heads=5)],
    law=True,
)
def refused_heads(MultiHeadSelfAttention, draw, embed_dim, num_heads):
    return {"refused with a ValueError": refuses(MultiHeadSelfAttention, embed_dim, num_heads)}


BLOCK = tuple(
    f"{part}.{kind}"
    for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.0", "mlp.2")
    for kind in ("weight", "bias")
)


@probe(
    "TransformerBlock",
    cases=[
        dict(embed_dim=12, num_heads=3, mlp_ratio=2.0, batch=2, tokens=5),
        dict(embed_dim=8, num_heads=2, mlp_ratio=1.5, batch=3, tokens=4),
        dict(embed_dim=6, num_heads=1, mlp_ratio=None, batch=1, tokens=7),
        dict(embed_dim=8, num_heads=4, mlp_ratio=0.5, batch=2, tokens=3),
    ],
    hidden=[
        dict(embed_dim=10, num_heads=5, mlp_ratio=3.0, batch=2, tokens=6),
        dict(embed_dim=4, num_heads=2, mlp_ratio=None, batch=1, tokens=5),
    ],
    weight=4,
)
def block(TransformerBlock, draw, embed_dim, num_heads, mlp_ratio, batch, tokens):
    given = {} if mlp_ratio is None else {"mlp_ratio": mlp_ratio}
    with provided(TransformerBlock, MultiHeadSelfAttention=models.MultiHeadSelfAttention):
        layer = draw.fill(TransformerBlock(embed_dim, num_heads, **given), required=BLOCK)
        x = 2 * draw.normal(batch, tokens, embed_dim) + draw.normal(batch, tokens, 1)
        output, weights = _two(layer(x))
    return {
        "output": output,
        "weights": weights,
        "channels inside the MLP": layer.mlp[0].out_features,
    }


@probe(
    "TransformerBlock",
    cases=[dict(embed_dim=6, num_heads=2, mlp_ratio=2.0, batch=2, tokens=3)],
    hidden=[dict(embed_dim=8, num_heads=2, mlp_ratio=1.0, batch=1, tokens=4)],
)
def gradients_of_block(TransformerBlock, draw, embed_dim, num_heads, mlp_ratio, batch, tokens):
    with provided(TransformerBlock, MultiHeadSelfAttention=models.MultiHeadSelfAttention):
        layer = draw.fill(TransformerBlock(embed_dim, num_heads, mlp_ratio), required=BLOCK)
        x = draw.normal(batch, tokens, embed_dim, grad=True)
        by_x, by_norm = gradient((_two(layer(x))[0] ** 2).sum(), (x, layer.norm2.weight))
    return {"gradient of x": by_x, "gradient of norm2.weight": by_norm}


@probe(
    "TransformerBlock",
    cases=[dict(embed_dim=8, num_heads=2, tokens=4), dict(embed_dim=6, num_heads=3, tokens=5)],
    hidden=[dict(embed_dim=10, num_heads=2, tokens=3)],
    dtypes=("float64",),
)
def faint_tokens(TransformerBlock, draw, embed_dim, num_heads, tokens):
    with provided(TransformerBlock, MultiHeadSelfAttention=models.MultiHeadSelfAttention):
        layer = draw.fill(TransformerBlock(embed_dim, num_heads), required=BLOCK)
        output, _ = _two(layer(1e-3 * draw.normal(2, tokens, embed_dim)))
    return {"output": output}


PARTS = {
    "PatchEmbed": models.PatchEmbed,
    "TransformerBlock": models.TransformerBlock,
    "MultiHeadSelfAttention": models.MultiHeadSelfAttention,
    "attention": models.attention,
}
VIT = (
    *(
        "cls_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "norm.weight",
        "norm.bias",
    ),
    *("head.weight", "head.bias", "blocks.0.attn.qkv.weight", "blocks.0.mlp.2.bias"),
)
SIZES = [
    dict(
        image_size=(4, 6),
        patch_size=2,
        in_channels=2,
        num_classes=3,
        embed_dim=8,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
    ),
    dict(
        image_size=6,
        patch_size=3,
        in_channels=1,
        num_classes=5,
        embed_dim=6,
        depth=3,
        num_heads=3,
        mlp_ratio=1.0,
    ),
    dict(
        image_size=(2, 3),
        patch_size=1,
        in_channels=4,
        num_classes=2,
        embed_dim=4,
        depth=1,
        num_heads=1,
        mlp_ratio=3.0,
    ),
]
HIDDEN_SIZES = [
    dict(
        image_size=(8, 4),
        patch_size=4,
        in_channels=3,
        num_classes=4,
        embed_dim=6,
        depth=2,
        num_heads=2,
        mlp_ratio=4.0,
    ),
    dict(
        image_size=4,
        patch_size=2,
        in_channels=2,
        num_classes=6,
        embed_dim=10,
        depth=3,
        num_heads=5,
        mlp_ratio=0.5,
    ),
]


def _vit(VisionTransformer, draw, image_size, **settings):
    size = image_size if isinstance(image_size, int) else tuple(image_size)
    network = draw.fill(VisionTransformer(size, **settings), required=VIT)
    # The filled tables are faint, for they hold many numbers; what is added and what is read should
    # show clearly.
    height, width = (size, size) if isinstance(size, int) else size
    with torch.no_grad():
        network.cls_token.mul_(settings["embed_dim"] ** 0.5)
        network.pos_embed.mul_(
            (settings["embed_dim"] * height * width) ** 0.5 / settings["patch_size"]
        )
    return network, (settings["in_channels"], height, width)


@probe("VisionTransformer", cases=SIZES, hidden=HIDDEN_SIZES, weight=4)
def logits(VisionTransformer, draw, **settings):
    with provided(VisionTransformer, **PARTS):
        network, shape = _vit(VisionTransformer, draw, **settings)
        output = network(draw.normal(3, *shape))
    if not isinstance(output, torch.Tensor):
        raise TypeError("without return_attention the logits alone are expected, one tensor")
    return {"logits": output}


@probe("VisionTransformer", cases=SIZES[:2], hidden=HIDDEN_SIZES[:1])
def attention_of_all_blocks(VisionTransformer, draw, **settings):
    with provided(VisionTransformer, **PARTS):
        network, shape = _vit(VisionTransformer, draw, **settings)
        output, weights = _two(network(draw.normal(2, *shape), return_attention=True))
    return {"logits": output, "weights": torch.stack(list(weights)), "blocks": len(network.blocks)}


@probe("VisionTransformer", cases=SIZES[:1], hidden=HIDDEN_SIZES[1:])
def gradients_of_tables(VisionTransformer, draw, **settings):
    with provided(VisionTransformer, **PARTS):
        network, shape = _vit(VisionTransformer, draw, **settings)
        scalar = (network(draw.normal(2, *shape)) ** 2).sum()
        by_class, by_places = gradient(scalar, (network.cls_token, network.pos_embed))
    return {"gradient of cls_token": by_class, "gradient of pos_embed": by_places}


@probe("VisionTransformer", cases=[dict(batch=2)], hidden=[dict(batch=1)], law=True)
def defaults(VisionTransformer, draw, batch):
    with provided(VisionTransformer, **PARTS), torch.no_grad():
        network = VisionTransformer()
        output, weights = _two(network(torch.empty(batch, 3, 32, 32), return_attention=True))
    tables = tuple(
        isinstance(getattr(network, name, None), nn.Parameter)
        for name in ("cls_token", "pos_embed")
    )
    shapes = {
        "logits": tuple(output.shape),
        "attention": tuple(weights[0].shape),
        "blocks": len(weights),
    }
    return {
        "tables are parameters": tables,
        **shapes,
        "weights": sum(p.numel() for p in network.parameters()),
    }


@probe(
    "interpolate_position_embedding",
    cases=[
        dict(embed_dim=5, old=(2, 3), new=(4, 6)),
        dict(embed_dim=3, old=(4, 4), new=(6, 5)),
        dict(embed_dim=4, old=(6, 5), new=(3, 4)),
        dict(embed_dim=2, old=(3, 5), new=(5, 2)),
    ],
    hidden=[dict(embed_dim=6, old=(3, 2), new=(7, 4)), dict(embed_dim=3, old=(8, 6), new=(4, 5))],
    dtypes=("float64", "float32"),
    weight=3,
)
def resized(interpolate_position_embedding, draw, embed_dim, old, new):
    table = draw.normal(1, 1 + old[0] * old[1], embed_dim)
    return {"positions": interpolate_position_embedding(table, tuple(old), tuple(new))}


@probe(
    "interpolate_position_embedding",
    cases=[dict(embed_dim=3, old=(2, 3), new=(4, 2))],
    hidden=[dict(embed_dim=4, old=(3, 3), new=(5, 2))],
    dtypes=("float64",),
)
def gradient_of_resizing(interpolate_position_embedding, draw, embed_dim, old, new):
    table = draw.normal(1, 1 + old[0] * old[1], embed_dim, grad=True)
    return {
        "gradient": gradient(
            (interpolate_position_embedding(table, tuple(old), tuple(new)) ** 2).sum(), table
        )
    }


@probe(
    "attention_rollout",
    cases=[
        dict(depth=3, batch=2, heads=2, tokens=4),
        dict(depth=2, batch=1, heads=3, tokens=6),
        dict(depth=4, batch=3, heads=1, tokens=3),
        dict(depth=1, batch=2, heads=4, tokens=5),
    ],
    hidden=[dict(depth=2, batch=2, heads=2, tokens=7), dict(depth=5, batch=1, heads=2, tokens=4)],
)
def rolled_out(attention_rollout, draw, depth, batch, heads, tokens):
    weights = [
        (2 * draw.normal(batch, heads, tokens, tokens)).softmax(dim=-1) for _ in range(depth)
    ]
    return {"rollout": attention_rollout(weights)}


def _two(returned):
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise TypeError("two results are expected: the output and the weights")
    return returned
