"""Unit 07's solutions against independent implementations: PyTorch's layers, timm, transformers,
torchvision."""

import ast
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autograder.authoring.lesson import read_lesson, solutions
from autograder.units import ROOT

functions = solutions("07_vit")
TOLERANCE = {"float32": {"rtol": 1e-5, "atol": 1e-5}, "float64": {"rtol": 1e-11, "atol": 1e-11}}
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, **TOLERANCE[str(ours.dtype).removeprefix("torch.")])


def randomised(module, dtype=torch.float64):
    """Every parameter from a draw: layer norms at 1 and 0 and class tokens at 0 would hide
    mistakes."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            spread = (
                parameter[0].numel() ** -0.5 if parameter.ndim > 1 and "pos" not in name else 0.5
            )
            parameter.copy_(
                spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            )
    return module.to(dtype).eval()


# Parts


@pytest.mark.parametrize(("heads", "tokens", "head_dim"), [(1, 4, 6), (3, 7, 5), (4, 2, 16)])
def test_attention_is_torchs(heads, tokens, head_dim):
    q, k, v = (normal(2, heads, tokens, head_dim, seed=seed) for seed in range(3))
    output, weights = functions["attention"](q, k, v)
    close(output, F.scaled_dot_product_attention(q, k, v))
    close(weights.sum(dim=-1), torch.ones(2, heads, tokens, dtype=torch.float64))


@BOTH
@pytest.mark.parametrize(("embed_dim", "num_heads"), [(12, 3), (8, 1), (20, 5)])
def test_multi_head_attention_is_torchs(embed_dim, num_heads, dtype):
    ours = randomised(functions["MultiHeadSelfAttention"](embed_dim, num_heads), dtype)
    theirs = nn.MultiheadAttention(embed_dim, num_heads, batch_first=True).to(dtype).eval()
    state = {"in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias}
    theirs.load_state_dict(
        {**state, "out_proj.weight": ours.proj.weight, "out_proj.bias": ours.proj.bias}
    )
    x = normal(2, 6, embed_dim, dtype=dtype)
    expected, expected_weights = theirs(x, x, x, average_attn_weights=False)
    output, weights = ours(x)
    close(output, expected)
    close(weights, expected_weights)


def test_block_is_torchs_pre_norm_encoder_layer():
    ours = randomised(functions["TransformerBlock"](12, 3, 2.0))
    theirs = nn.TransformerEncoderLayer(
        12, 3, 24, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    ).double()
    renamed = {
        **{
            "attn.qkv.weight": "self_attn.in_proj_weight",
            "attn.qkv.bias": "self_attn.in_proj_bias",
        },
        **{f"attn.proj.{kind}": f"self_attn.out_proj.{kind}" for kind in ("weight", "bias")},
        **{
            f"mlp.{2 * k}.{kind}": f"linear{k + 1}.{kind}"
            for k in (0, 1)
            for kind in ("weight", "bias")
        },
    }
    theirs.load_state_dict(
        {renamed.get(name, name): value for name, value in ours.state_dict().items()}
    )
    x = normal(2, 5, 12)
    close(ours(x)[0], theirs(x))


def test_patches_and_tokens_against_unfold_and_einops_order():
    images = normal(2, 3, 8, 12)
    patches = functions["patchify"](images, 4)
    cut = images.unfold(2, 4, 4).unfold(3, 4, 4)  # (N, C, rows, columns, 4, 4)
    assert torch.equal(patches, cut.permute(0, 2, 3, 4, 5, 1).reshape(2, 6, 48))
    assert torch.equal(functions["unpatchify"](patches, 4, 8, 12), images)


# Tables


def official_mae_positions(embed_dim, height, width):
    """As models_mae.py lays them out, written down with numpy from the description in the
    references."""
    speeds = 1 / 10000 ** (np.arange(embed_dim // 4) / (embed_dim / 4))
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    halves = [np.outer(place.reshape(-1), speeds) for place in (columns, rows)]
    return np.concatenate(
        [np.concatenate([np.sin(half), np.cos(half)], axis=1) for half in halves], axis=1
    )


@pytest.mark.parametrize(("embed_dim", "height", "width"), [(8, 3, 3), (16, 2, 5), (24, 7, 4)])
def test_positions_are_those_of_mae(embed_dim, height, width):
    expected = torch.from_numpy(official_mae_positions(embed_dim, height, width)).float()
    torch.testing.assert_close(
        functions["sincos_position_embedding"](embed_dim, height, width), expected
    )


def test_positions_are_those_of_transformers():
    mae = transformers_mae(image_size=20, patch_size=4, hidden_size=16)
    embeddings = mae.vit.embeddings
    embeddings.patch_embeddings.projection._is_hf_initialized = (
        False  # or else it leaves the table at zero
    )
    embeddings.initialize_weights()
    expected = embeddings.position_embeddings[0]
    assert torch.equal(expected[0], torch.zeros(16))  # the class token has no place
    torch.testing.assert_close(
        functions["sincos_position_embedding"](16, 5, 5), expected[1:].detach()
    )


def test_positions_are_timms_with_its_halves_in_this_order():
    timm = pytest.importorskip("timm.layers")
    ours = functions["sincos_position_embedding"](16, 3, 5, base=50.0)
    theirs = timm.build_sincos2d_pos_embed([3, 5], 16, temperature=50.0)
    matches = [
        torch.allclose(ours[:, list(order)], theirs, atol=1e-6)
        for order in (
            range(16),
            [*range(8, 16), *range(8)],
            sines_first([0, 8]),
            sines_first([8, 0]),
        )
    ]
    assert any(matches), "the same columns in another order are expected"


def sines_first(halves):
    """Columns of our table with the sines of both halves before the cosines of both."""
    return [start + k + shift for shift in (0, 4) for start in halves for k in range(4)]


@pytest.mark.parametrize(("old", "new"), [((4, 4), (7, 7)), ((3, 5), (6, 4)), ((8, 6), (3, 3))])
@BOTH
def test_resized_positions_are_timms(old, new, dtype):
    timm = pytest.importorskip("timm.layers")
    table = normal(1, 1 + old[0] * old[1], 6, dtype=dtype)
    expected = timm.resample_abs_pos_embed(table.float(), list(new), list(old), num_prefix_tokens=1)
    ours = functions["interpolate_position_embedding"](table, old, new)
    torch.testing.assert_close(
        ours, expected.to(dtype), rtol=1e-5, atol=1e-5
    )  # timm computes in float32


def transformers_mae(**settings):
    transformers = pytest.importorskip("transformers")
    encoder = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    decoder = {
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
    }
    return transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(**{**encoder, **decoder, **settings})
    )


@pytest.mark.parametrize("patch_size", [2, 4])
def test_patches_are_those_of_transformers_mae(patch_size):
    mae = transformers_mae(image_size=16, patch_size=patch_size)
    images = normal(2, 3, 16, 16, dtype=torch.float32)
    patches = functions["patchify"](images, patch_size)
    assert torch.equal(patches, mae.patchify(images))
    assert torch.equal(
        functions["unpatchify"](patches, patch_size, 16, 16), mae.unpatchify(patches)
    )


# Whole networks

SMALL = {
    "image_size": 16,
    "patch_size": 4,
    "num_classes": 5,
    "embed_dim": 24,
    "depth": 2,
    "num_heads": 3,
}


def from_timm(state):
    """timm's weights under this course's names."""
    return {
        name.replace(".fc1.", ".0.").replace(".fc2.", ".2."): value for name, value in state.items()
    }


def from_transformers(state):
    """Weights of transformers' ViT under this course's names: its three projections become one."""
    found = {}
    for name, value in state.items():
        name = name.removeprefix("vit.")
        for theirs, ours in TRANSFORMERS_NAMES:
            name = name.replace(theirs, ours)
        found[name] = value
    for name in [name for name in found if ".q_proj." in name]:
        parts = [found.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")]
        found[name.replace("q_proj", "qkv")] = torch.cat(parts)
    return found


TRANSFORMERS_NAMES = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("encoder.layer.", "blocks."),
    ("layers.", "blocks."),
    ("attention.attention.query", "attn.q_proj"),
    ("attention.attention.key", "attn.k_proj"),
    ("attention.attention.value", "attn.v_proj"),
    ("attention.output.dense", "attn.proj"),
    ("attention.o_proj", "attn.proj"),
    ("attention.q_proj", "attn.q_proj"),
    ("attention.k_proj", "attn.k_proj"),
    ("attention.v_proj", "attn.v_proj"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("intermediate.dense", "mlp.0"),
    ("output.dense", "mlp.2"),
    ("mlp.fc1", "mlp.0"),
    ("mlp.fc2", "mlp.2"),
    ("layernorm.", "norm."),
    ("classifier.", "head."),
]


def from_torchvision(state):
    """torchvision's weights under this course's names."""
    found = {}
    for name, value in state.items():
        for theirs, ours in TORCHVISION_NAMES:
            name = name.replace(theirs, ours)
        found[name] = value
    return found


TORCHVISION_NAMES = [
    ("class_token", "cls_token"),
    ("encoder.pos_embedding", "pos_embed"),
    ("conv_proj", "patch_embed.proj"),
    ("encoder.layers.encoder_layer_", "blocks."),
    ("ln_1", "norm1"),
    ("ln_2", "norm2"),
    ("self_attention.in_proj_", "attn.qkv."),
    ("self_attention.out_proj", "attn.proj"),
    ("mlp.3.", "mlp.2."),
    ("encoder.ln.", "norm."),
    ("heads.head.", "head."),
]


@BOTH
def test_network_with_timms_weights(dtype):
    vit = pytest.importorskip("timm.models.vision_transformer")
    names = {
        "img_size": SMALL["image_size"],
        **{k: v for k, v in SMALL.items() if k != "image_size"},
    }
    theirs = randomised(vit.VisionTransformer(mlp_ratio=2, **names), dtype)
    ours = functions["VisionTransformer"](**SMALL, mlp_ratio=2.0).to(dtype)
    ours.load_state_dict(from_timm(theirs.state_dict()))
    images = normal(2, 3, 16, 16, dtype=dtype)
    close(ours(images), theirs(images))


@BOTH
def test_a_network_for_wide_grey_images_with_timms_weights(dtype):
    vit = pytest.importorskip("timm.models.vision_transformer")
    settings = {"patch_size": 3, "num_classes": 7, "embed_dim": 20, "depth": 3, "num_heads": 4}
    theirs = randomised(vit.VisionTransformer(img_size=(9, 15), in_chans=1, **settings), dtype)
    ours = functions["VisionTransformer"](image_size=(9, 15), in_channels=1, **settings).to(dtype)
    ours.load_state_dict(from_timm(theirs.state_dict()))
    images = normal(3, 1, 9, 15, dtype=dtype)
    close(ours(images), theirs(images))


def transformers_pair(attention, dtype):
    """transformers' network with weights from a draw, and ours with the same."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        image_size=16,
        patch_size=4,
        num_labels=5,
        layer_norm_eps=1e-6,
        attn_implementation=attention,
    )
    theirs = randomised(transformers.ViTForImageClassification(config), dtype)
    ours = functions["VisionTransformer"](**SMALL, mlp_ratio=2.0).to(dtype)
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    return ours, theirs


@BOTH
def test_network_with_transformers_weights(dtype):
    ours, theirs = transformers_pair("sdpa", dtype)
    images = normal(2, 3, 16, 16, dtype=dtype)
    close(ours(images), theirs(images).logits)


def test_attention_weights_are_those_of_transformers():
    ours, theirs = transformers_pair("eager", torch.float32)  # its softmax computes in float32
    images = normal(2, 3, 16, 16, dtype=torch.float32)
    weights, expected = (
        ours(images, return_attention=True)[1],
        theirs(images, output_attentions=True),
    )
    for block_weights, expected_weights in zip(weights, expected.attentions, strict=True):
        close(block_weights, expected_weights)


@BOTH
def test_network_with_torchvisions_weights(dtype):
    models = pytest.importorskip("torchvision.models")
    theirs = randomised(
        models.VisionTransformer(
            image_size=16,
            patch_size=4,
            num_layers=2,
            num_heads=3,
            hidden_dim=24,
            mlp_dim=48,
            num_classes=5,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        ),
        dtype,
    )
    ours = functions["VisionTransformer"](**SMALL, mlp_ratio=2.0).to(dtype)
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    images = normal(2, 3, 16, 16, dtype=dtype)
    close(ours(images), theirs(images))


PUBLISHED = {  # embed_dim, depth, num_heads, patch_size, weights
    "vit_tiny_patch16_224": (192, 12, 3, 16, 5_717_416),
    "vit_small_patch16_224": (384, 12, 6, 16, 22_050_664),
    "vit_base_patch16_224": (768, 12, 12, 16, 86_567_656),
    "vit_base_patch32_224": (768, 12, 12, 32, 88_224_232),
    "vit_large_patch16_224": (1024, 24, 16, 16, 304_326_632),
    "vit_huge_patch14_224": (1280, 32, 16, 14, None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    embed_dim, depth, num_heads, patch_size, known = PUBLISHED[name]
    with torch.device("meta"):
        ours = functions["VisionTransformer"](224, patch_size, 3, 1000, embed_dim, depth, num_heads)
    count = sum(parameter.numel() for parameter in ours.parameters())
    assert known in (None, count)
    vit = pytest.importorskip("timm.models.vision_transformer")
    settings = {
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": depth,
        "num_heads": num_heads,
    }
    with torch.device("meta"):
        theirs = vit.VisionTransformer(**settings)
    assert count == sum(parameter.numel() for parameter in theirs.parameters())


def test_rollout_is_the_product_written_with_numpy():
    weights = [normal(2, 3, 5, 5, seed=seed).softmax(dim=-1) for seed in range(4)]
    expected = np.stack([np.eye(5)] * 2)
    for block in weights:
        expected = np.einsum(
            "nij,njk->nik", 0.5 * block.numpy().mean(1) + 0.5 * np.eye(5), expected
        )
    close(functions["attention_rollout"](weights), torch.from_numpy(expected))


# What the lesson states


def test_the_recorded_accuracies_are_those_of_the_figures():
    lesson = read_lesson(ROOT / "solutions" / "07_vit")
    cell = next(cell for cell in lesson.notebook.cells if cell.source.startswith("recorded = {"))
    recorded = ast.literal_eval(ast.parse(cell.source).body[0].value)
    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    block = page.split("<!-- begin inductive-bias -->")[1].split("<!-- end inductive-bias -->")[0]
    rows = [
        [part.strip() for part in line.strip("| ").split("|")]
        for line in block.splitlines()
        if "|" in line
    ]
    assert rows[0] == ["network", *map(str, recorded["CNN"])]
    as_written = {
        name: [f"{mean} ({low} to {high})" for mean, low, high in shares.values()]
        for name, shares in recorded.items()
    }
    assert as_written == {row[0]: row[1:] for row in rows[2:5]}
