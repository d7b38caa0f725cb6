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
    hidden=[
        dict(shape=(2, 4, 3, 5), patch_size=1),
        dict(shape=(2, 3, 4, 4), patch_size=4),
        dict(shape=(2, 3, 6, 4), patch_size=2, channels_last=True),
    ],
    weight=3,
)
def cut(patchify, draw, shape, patch_size, channels_last=False):
    images = draw.normal(*shape)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return {"patches": patchify(images, patch_size)}


@probe(
    "patchify",
    cases=[dict(shape=(1, 2, 7, 6), patch_size=2), dict(shape=(1, 2, 6, 8), patch_size=3)],
    hidden=[dict(shape=(2, 1, 8, 2), patch_size=4), dict(shape=(1, 2, 4, 9), patch_size=6)],
    law=True,
)
def refused_sizes(patchify, draw, shape, patch_size):
    return {"refused with a ValueError": refuses(patchify, draw.normal(*shape), patch_size)}


@probe(
    "unpatchify",
    cases=[
        dict(batch=2, channels=3, patch_size=2, height=6, width=8),
        dict(batch=1, channels=2, patch_size=3, height=9, width=6),
        dict(batch=3, channels=1, patch_size=4, height=4, width=12),
        dict(batch=2, channels=2, patch_size=2, height=4, width=4),
    ],
    hidden=[
        dict(batch=2, channels=4, patch_size=1, height=5, width=3),
        dict(batch=2, channels=3, patch_size=4, height=4, width=4),
        dict(batch=2, channels=2, patch_size=2, height=6, width=4, tokens_first=True),
    ],
    weight=3,
)
def put_together(unpatchify, draw, batch, channels, patch_size, height, width, tokens_first=False):
    tokens, length = height * width // patch_size**2, patch_size**2 * channels
    if tokens_first:
        patches = draw.normal(tokens, batch, length).transpose(0, 1)
    else:
        patches = draw.normal(batch, tokens, length)
    return {"images": unpatchify(patches, patch_size, height, width)}


@probe(
    "unpatchify",
    cases=[
        dict(tokens=9, patch_size=2, height=7, width=6),
        dict(tokens=4, patch_size=3, height=6, width=8),
    ],
    hidden=[
        dict(tokens=1, patch_size=4, height=8, width=2),
        dict(tokens=1, patch_size=6, height=4, width=9),
    ],
    law=True,
)
def refused_outlines(unpatchify, draw, tokens, patch_size, height, width):
    patches = draw.normal(2, tokens, patch_size**2 * 2)
    return {"refused with a ValueError": refuses(unpatchify, patches, patch_size, height, width)}


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
        dict(size=(4, 6), patch_size=2, in_channels=2, embed_dim=6, batch=6),
        dict(size=4, patch_size=4, in_channels=3, embed_dim=4, batch=2),
    ],
    weight=3,
)
def tokens(PatchEmbed, draw, size, patch_size, in_channels, embed_dim, batch):
    height, width = size if isinstance(size, list | tuple) else (size, size)
    given = size if isinstance(size, int) else tuple(size)
    embed = draw.fill(PatchEmbed(given, patch_size, in_channels, embed_dim), required=PROJ)
    output = embed(draw.normal(batch, in_channels, height, width))
    if not isinstance(output, torch.Tensor):
        raise TypeError("forward should return one tensor, the tokens")
    return {"tokens": output}


@probe(
    "PatchEmbed",
    cases=[dict(size=(4, 6), patch_size=2, in_channels=2, embed_dim=3)],
    hidden=[dict(size=(3, 6), patch_size=3, in_channels=1, embed_dim=4)],
)
def gradients_of_tokens(PatchEmbed, draw, size, patch_size, in_channels, embed_dim):
    embed = draw.fill(PatchEmbed(tuple(size), patch_size, in_channels, embed_dim), required=PROJ)
    images = draw.normal(2, in_channels, *size, grad=True)
    proj = embed.proj
    found = gradient((embed(images) ** 2).sum(), (images, proj.weight, proj.bias))
    names = ("images", "proj.weight", "proj.bias")
    return {f"gradient of {name}": by for name, by in zip(names, found, strict=True)}


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
    hidden=[dict(size=(2, 8), patch_size=4), dict(size=(9, 4), patch_size=6)],
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
    hidden=[
        dict(embed_dim=8, height=1, width=1),
        dict(embed_dim=8, height=1, width=5),
        dict(embed_dim=36, height=6, width=1),
    ],
    dtypes=("float32",),
    weight=3,
)
def positions(sincos_position_embedding, draw, embed_dim, height, width):
    base = float(draw.uniform(low=3, high=60))
    return {"positions": sincos_position_embedding(embed_dim, height, width, base=base)}


@probe(
    "sincos_position_embedding",
    cases=[dict(embed_dim=8, height=5, width=7)],
    hidden=[dict(embed_dim=8, height=11, width=2)],
    dtypes=("float32",),
)
def default_base(sincos_position_embedding, draw, embed_dim, height, width):
    weight = draw.normal(height * width, embed_dim)
    return {"weighted": weight * sincos_position_embedding(embed_dim, height, width)}


@probe(
    "attention",
    cases=[(2, 3, 4, 6), (1, 2, 5, 4), (3, 1, 4, 5), (2, 4, 3, 2)],
    hidden=[(2, 2, 4, 4), (3, 2, 1, 5), (2, 3, 5, 1), (2, 3, 5, 4, True)],
    weight=3,
)
def weighted_mean(attention, draw, batch, heads, tokens, head_dim, from_one_tensor=False):
    if from_one_tensor:  # as in the exercise that follows
        qkv = draw.normal(batch, tokens, 3, heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
    else:
        q, k, v = (draw.normal(batch, heads, tokens, head_dim) for _ in range(3))
    output, weights = _two(attention(q, k, v))
    return {"output": output, "weights": weights}


@probe("attention", cases=[(2, 2, 4, 5)], hidden=[(1, 3, 6, 2)])
def gradients_of_attention(attention, draw, batch, heads, tokens, head_dim):
    q, k, v = (draw.normal(batch, heads, tokens, head_dim, grad=True) for _ in range(3))
    by_q, by_k, by_v = gradient((_two(attention(q, k, v))[0] ** 2).sum(), (q, k, v))
    through_weights = gradient((_two(attention(q, k, v))[1] ** 2).sum(), (q, k))
    return {
        "gradient of q": by_q,
        "gradient of k": by_k,
        "gradient of v": by_v,
        "gradient of q from the weights": through_weights[0],
        "gradient of k from the weights": through_weights[1],
    }


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
        dict(embed_dim=6, num_heads=2, batch=3, tokens=4),
        dict(embed_dim=16, num_heads=4, batch=2, tokens=4),
    ],
    hidden=[
        dict(embed_dim=5, num_heads=1, batch=2, tokens=6),
        dict(embed_dim=4, num_heads=4, batch=2, tokens=3),
        dict(embed_dim=9, num_heads=3, batch=3, tokens=1),
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
    cases=[dict(embed_dim=4, num_heads=2, batch=2, tokens=3)],
    hidden=[dict(embed_dim=3, num_heads=1, batch=1, tokens=4)],
)
def gradients_of_heads(MultiHeadSelfAttention, draw, embed_dim, num_heads, batch, tokens):
    with provided(MultiHeadSelfAttention, attention=models.attention):
        layer = draw.fill(MultiHeadSelfAttention(embed_dim, num_heads), required=ATTENTION)
        x = draw.normal(batch, tokens, embed_dim, grad=True)
        parameters = [layer.get_parameter(name) for name in ATTENTION]
        found = gradient((_two(layer(x))[0] ** 2).sum(), (x, *parameters))
    return {f"gradient of {name}": by for name, by in zip(("x", *ATTENTION), found, strict=True)}


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
        dict(embed_dim=6, num_heads=3, mlp_ratio=2.0, batch=2, tokens=4),
        dict(embed_dim=8, num_heads=2, mlp_ratio=1.5, batch=2, tokens=3),
        dict(embed_dim=6, num_heads=1, mlp_ratio=None, batch=1, tokens=7),
        dict(embed_dim=8, num_heads=4, mlp_ratio=0.5, batch=2, tokens=3),
    ],
    hidden=[
        dict(embed_dim=6, num_heads=3, mlp_ratio=1.3, batch=2, tokens=4),
        dict(embed_dim=4, num_heads=2, mlp_ratio=None, batch=2, tokens=1),
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
    cases=[dict(embed_dim=4, num_heads=2, mlp_ratio=1.5, batch=2, tokens=3)],
    hidden=[dict(embed_dim=4, num_heads=1, mlp_ratio=1.0, batch=1, tokens=4)],
)
def gradients_of_block(TransformerBlock, draw, embed_dim, num_heads, mlp_ratio, batch, tokens):
    with provided(TransformerBlock, MultiHeadSelfAttention=models.MultiHeadSelfAttention):
        layer = draw.fill(TransformerBlock(embed_dim, num_heads, mlp_ratio), required=BLOCK)
        x = draw.normal(batch, tokens, embed_dim, grad=True)
        parameters = [layer.get_parameter(name) for name in BLOCK]
        found = gradient((_two(layer(x))[0] ** 2).sum(), (x, *parameters))
    return {f"gradient of {name}": by for name, by in zip(("x", *BLOCK), found, strict=True)}


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
        image_size=4,
        patch_size=4,
        in_channels=3,
        num_classes=4,
        embed_dim=6,
        depth=2,
        num_heads=2,
        mlp_ratio=4.0,
    ),
    dict(
        image_size=(2, 4),
        patch_size=2,
        in_channels=2,
        num_classes=6,
        embed_dim=6,
        depth=3,
        num_heads=3,
        mlp_ratio=0.5,
        batch=1,
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
def logits(VisionTransformer, draw, batch=3, **settings):
    with provided(VisionTransformer, **PARTS):
        network, shape = _vit(VisionTransformer, draw, **settings)
        output = network(draw.normal(batch, *shape))
    if not isinstance(output, torch.Tensor):
        raise TypeError("without return_attention the logits alone are expected, one tensor")
    return {"logits": output}


@probe("VisionTransformer", cases=SIZES[:2], hidden=HIDDEN_SIZES[1:])
def attention_of_all_blocks(VisionTransformer, draw, batch=0, **settings):
    with provided(VisionTransformer, **PARTS):
        network, shape = _vit(VisionTransformer, draw, **settings)
        if batch:
            output, weights = _two(network(draw.normal(batch, *shape), True))
        else:
            output, weights = _two(network(draw.normal(2, *shape), return_attention=True))
    return {"logits": output, "weights": torch.stack(list(weights)), "blocks": len(network.blocks)}


@probe("VisionTransformer", cases=SIZES[2:])
def gradients_of_network(VisionTransformer, draw, **settings):
    with provided(VisionTransformer, **PARTS):
        network, shape = _vit(VisionTransformer, draw, **settings)
        images = draw.normal(2, *shape, grad=True)
        parameters = [network.get_parameter(name) for name in VIT]
        found = gradient((network(images) ** 2).sum(), (images, *parameters))
    return {f"gradient of {name}": by for name, by in zip(("images", *VIT), found, strict=True)}


@probe("VisionTransformer", cases=[dict(embed_dim=48)], hidden=[dict(embed_dim=96)], law=True)
def start_of_learning(VisionTransformer, draw, embed_dim):
    """Random numbers of spread 0.02 have a mean size of 0.016; 1 and uniform ones reach 0.5."""
    with provided(VisionTransformer, **PARTS):
        network = VisionTransformer(16, embed_dim=embed_dim, depth=1)
    tables = [getattr(network, name, None) for name in ("cls_token", "pos_embed")]
    if not all(isinstance(table, torch.Tensor) for table in tables):
        raise TypeError("cls_token and pos_embed should be tables of the network")
    return {
        "both tables start with small numbers": all(
            float(table.detach().abs().mean()) < 0.3 for table in tables
        ),
        "both tables start with random numbers": all(
            float(table.detach().std()) > 0 for table in tables
        ),
    }


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
    hidden=[
        dict(embed_dim=5, old=(2, 6), new=(3, 4)),
        dict(embed_dim=3, old=(3, 4), new=(3, 4)),
        dict(embed_dim=4, old=(4, 3), new=(1, 1)),
        dict(embed_dim=3, old=(8, 2), new=(4, 5)),
    ],
    dtypes=("float64", "float32"),
    weight=3,
)
def resized(interpolate_position_embedding, draw, embed_dim, old, new):
    table = draw.normal(1, 1 + old[0] * old[1], embed_dim)
    return {"positions": interpolate_position_embedding(table, tuple(old), tuple(new))}


@probe(
    "attention_rollout",
    cases=[
        dict(depth=3, batch=2, heads=2, tokens=4),
        dict(depth=2, batch=2, heads=3, tokens=6),
        dict(depth=4, batch=3, heads=1, tokens=3),
        dict(depth=1, batch=2, heads=4, tokens=5),
    ],
    hidden=[
        dict(depth=2, batch=1, heads=2, tokens=7),
        dict(depth=5, batch=2, heads=2, tokens=4),
        dict(depth=3, batch=2, heads=2, tokens=5, heads_first=True),
    ],
)
def rolled_out(attention_rollout, draw, depth, batch, heads, tokens, heads_first=False):
    weights = []
    for _ in range(depth):
        if heads_first:
            scores = draw.normal(heads, batch, tokens, tokens).transpose(0, 1)
        else:
            scores = draw.normal(batch, heads, tokens, tokens)
        weights.append((2 * scores).softmax(dim=-1))
    return {"rollout": attention_rollout(weights)}


def _two(returned):
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise TypeError("two results are expected: the output and the weights")
    return returned
