"""Promptable segmentation against the official modules, transformers and kornia, with weights
copied across."""

import pytest
import torch

from cvcourse import models

DIM, GRID, SIZE, HEADS, HIDDEN = 16, (8, 8), (64, 64), 2, 32


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def close(actual, expected, atol=1e-5):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=atol)


def randomised(module):
    """Every parameter and buffer from a draw: defaults hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                tensor.copy_(centre + 0.3 * torch.randn(tensor.shape, generator=generator))
    return module.eval()


def official():
    """The official prompt encoder and mask decoder at a small size."""
    modeling = pytest.importorskip("segment_anything.modeling")
    prompts = modeling.PromptEncoder(
        embed_dim=DIM, image_embedding_size=GRID, input_image_size=SIZE, mask_in_chans=8
    )
    transformer = modeling.TwoWayTransformer(
        depth=2, embedding_dim=DIM, num_heads=HEADS, mlp_dim=HIDDEN
    )
    decoder = modeling.MaskDecoder(
        transformer_dim=DIM, transformer=transformer, iou_head_hidden_dim=12
    )
    return randomised(prompts), randomised(decoder)


def ours():
    return models.PromptEncoder(DIM, GRID, SIZE, mask_channels=8), models.MaskDecoder(
        DIM, HEADS, HIDDEN, iou_hidden_dim=12
    )


def prompts_from_official(state):
    labels = torch.cat(
        [
            state.pop("not_a_point_embed.weight"),
            *(state.pop(f"point_embeddings.{k}.weight") for k in range(4)),
        ]
    )
    return state | {
        "label_embed.weight": labels,
        "frequencies": state.pop("pe_layer.positional_encoding_gaussian_matrix"),
    }


def decoder_from_official(state):
    def renamed(name):
        name = name.replace("mlp.lin1", "mlp.0").replace("mlp.lin2", "mlp.2")
        if "hypernetworks" in name or "iou_prediction_head" in name:
            head, place, kind = name.rsplit(".", 2)
            name = f"{head.removesuffix('.layers')}.{2 * int(place)}.{kind}"
        return name

    return {renamed(name): tensor for name, tensor in state.items()}


def official_pair():
    theirs, mine = official(), ours()
    mine[0].load_state_dict(prompts_from_official(theirs[0].state_dict()))
    mine[1].load_state_dict(decoder_from_official(theirs[1].state_dict()))
    return mine, theirs


def some_prompts():
    points = 64 * torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[1, 0, 1, -1], [1, 1, 0, 0], [0, -1, -1, 1]])
    boxes = torch.tensor([[3.0, 5, 40, 60], [0, 0, 64, 64], [10.5, 2.5, 12, 9]])
    masks = normal(3, 1, 32, 32, seed=4)
    return points, labels, boxes, masks


CHOICES = [
    ("points", [True, False, False]),
    ("boxes", [False, True, False]),
    ("masks", [False, False, True]),
    ("points and boxes", [True, True, False]),
    ("points and masks", [True, False, True]),
    ("everything", [True, True, True]),
    ("nothing", [False, False, False]),
]


@pytest.mark.parametrize(
    "chosen", [flags for _, flags in CHOICES], ids=[name for name, _ in CHOICES]
)
@pytest.mark.parametrize("multimask", [True, False])
def test_official_modules(chosen, multimask):
    (prompt_encoder, decoder), (their_encoder, their_decoder) = official_pair()
    points, labels, boxes, masks = some_prompts()
    with_points, with_boxes, with_masks = chosen
    boxes, masks = boxes if with_boxes else None, masks if with_masks else None
    expected = their_encoder((points, labels) if with_points else None, boxes, masks)
    found = prompt_encoder(
        points if with_points else None, labels if with_points else None, boxes, masks
    )
    for part, expected_part in zip(found, expected, strict=True):
        close(part, expected_part)
    close(prompt_encoder.positions(), their_encoder.get_dense_pe())
    image = normal(1, DIM, *GRID, seed=5)
    answer = decoder(image, prompt_encoder.positions(), *found, multimask=multimask)
    expected = their_decoder(
        image, their_encoder.get_dense_pe(), *expected, multimask_output=multimask
    )
    for part, expected_part in zip(answer, expected, strict=True):
        close(part, expected_part)


def test_two_way_block_alone():
    """One official block with positions of its own, which the transformer's tokens are not."""
    transformer = pytest.importorskip("segment_anything.modeling.transformer")
    for first in (True, False):
        theirs = randomised(
            transformer.TwoWayAttentionBlock(DIM, HEADS, HIDDEN, skip_first_layer_pe=first)
        )
        mine = models.TwoWayBlock(DIM, HEADS, HIDDEN, skip_first_positions=first)
        mine.load_state_dict(decoder_from_official(theirs.state_dict()))
        inputs = [normal(2, count, DIM, seed=seed) for seed, count in enumerate((5, 9, 5, 9))]
        for part, expected in zip(mine(*inputs), theirs(*inputs), strict=True):
            close(part, expected)


# transformers


def transformers_model():
    """SamModel at a small size, every weight from a draw."""
    transformers = pytest.importorskip("transformers")
    vision = transformers.SamVisionConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        image_size=64,
        patch_size=8,
        output_channels=DIM,
        mlp_dim=48,
        num_pos_feats=DIM // 2,
        window_size=3,
        global_attn_indexes=[0],
    )
    prompts = transformers.SamPromptEncoderConfig(
        hidden_size=DIM, image_size=64, patch_size=8, mask_input_channels=8
    )
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=DIM,
        mlp_dim=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        iou_head_hidden_dim=12,
        layer_norm_eps=1e-5,
    )
    config = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder
    )
    return randomised(transformers.SamModel(config))


def prompts_from_transformers(state):
    own = {
        name.removeprefix("prompt_encoder."): x
        for name, x in state.items()
        if name.startswith("prompt_encoder.")
    }
    places = {"conv1": 0, "layer_norm1": 1, "conv2": 3, "layer_norm2": 4, "conv3": 6}
    found = {
        f"mask_downscaling.{place}.{kind}": own[f"mask_embed.{name}.{kind}"]
        for name, place in places.items()
        for kind in ("weight", "bias")
    }
    kinds = [own["not_a_point_embed.weight"], *(own[f"point_embed.{k}.weight"] for k in range(4))]
    return found | {
        "label_embed.weight": torch.cat(kinds),
        "no_mask_embed.weight": own["no_mask_embed.weight"],
        "frequencies": state["shared_image_embedding.positional_embedding"],
    }


def decoder_from_transformers(state):
    def renamed(name):
        for old, new in (
            ("upscale_conv1", "output_upscaling.0"),
            ("upscale_layer_norm", "output_upscaling.1"),
            ("upscale_conv2", "output_upscaling.3"),
            ("final_attn_layer_norm", "norm_final_attn"),
            ("layer_norm_final_attn", "norm_final_attn"),
            ("mlp.lin1", "mlp.0"),
            ("mlp.lin2", "mlp.2"),
            ("layer_norm", "norm"),
            ("proj_in", "0"),
            ("layers.0.", "2.")
            if "layers.0." in name and ("hypernetworks" in name or "iou_prediction" in name)
            else ("", ""),
            ("proj_out", "4"),
        ):
            name = name.replace(old, new) if old else name
        return name

    own = {
        name.removeprefix("mask_decoder."): x
        for name, x in state.items()
        if name.startswith("mask_decoder.")
    }
    return {renamed(name): tensor for name, tensor in own.items()}


def test_transformers_sam():
    theirs, (prompt_encoder, decoder) = transformers_model(), ours()
    state = theirs.state_dict()
    prompt_encoder.load_state_dict(prompts_from_transformers(state))
    decoder.load_state_dict(decoder_from_transformers(state))
    points, labels, boxes, _ = some_prompts()
    image = normal(1, DIM, *GRID, seed=6)
    for multimask in (True, False):
        expected = theirs(
            image_embeddings=image,
            input_points=points[None],
            input_labels=labels[None],
            multimask_output=multimask,
        )
        found = decoder(
            image, prompt_encoder.positions(), *prompt_encoder(points, labels), multimask=multimask
        )
        close(found[0], expected.pred_masks[0])
        close(found[1], expected.iou_scores[0])
    expected = theirs(image_embeddings=image, input_boxes=boxes[None], multimask_output=False)
    close(
        decoder(image, prompt_encoder.positions(), *prompt_encoder(boxes=boxes), multimask=False)[
            0
        ],
        expected.pred_masks[0],
    )


# What is done with masks


def drawn_masks(count, size, seed=0):
    """Rectangles at random places: masks (count, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, size, (count, 2, 2), generator=generator).sort(dim=1).values
    place = torch.arange(size)
    inside = (place >= corners[:, 0, :, None]) & (
        place <= corners[:, 1, :, None]
    )  # (count, 2, size)
    return inside[:, 1, :, None] & inside[:, 0, None, :], corners


def test_focal_loss_is_kornias_and_torchvisions():
    logits, targets = 3 * normal(4, 9, 7), normal(4, 9, 7, seed=1) > 0.5
    found = models.focal_loss(logits, targets)
    kornia = pytest.importorskip("kornia")
    expected = kornia.losses.binary_focal_loss_with_logits(
        logits[:, None], targets[:, None].float(), alpha=0.25, gamma=2.0
    )
    close(found, expected.mean(dim=(1, 2, 3)))
    ops = pytest.importorskip("torchvision.ops")
    close(
        found,
        ops.sigmoid_focal_loss(logits, targets.float(), alpha=0.25, gamma=2.0).mean(dim=(1, 2)),
    )


def test_dice_loss_is_that_of_maskformer():
    maskformer = pytest.importorskip("transformers.models.maskformer.modeling_maskformer")
    logits, targets = 3 * normal(4, 9, 7), normal(4, 9, 7, seed=1) > 0.5
    expected = maskformer.dice_loss(logits.flatten(1), targets.flatten(1).float(), num_masks=4)
    close(models.dice_loss(logits, targets).mean(), expected)


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.3, 0.5)])
def test_stability_is_the_official_one(threshold, offset):
    amg = pytest.importorskip("segment_anything.utils.amg")
    logits = 3 * normal(5, 20, 30)
    expected = amg.calculate_stability_score(logits, threshold, offset)
    close(models.stability_score(logits, threshold, offset), expected)


def test_point_grid_is_the_official_one():
    amg = pytest.importorskip("segment_anything.utils.amg")
    expected = torch.from_numpy(amg.build_point_grid(5)).float() * torch.tensor(
        [40.0, 20.0]
    )  # x, y from the edge
    close(models.point_grid(5, (20, 40)) + 0.5, expected)


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_is_kornias_for_rectangles(threshold):
    kornia = pytest.importorskip("kornia")
    masks, corners = drawn_masks(60, 16)
    scores = torch.rand(60, generator=torch.Generator().manual_seed(2))
    boxes = torch.cat([corners[:, 0], corners[:, 1] + 1], dim=1).float()
    expected = kornia.geometry.bbox.nms(boxes, scores, threshold)
    assert models.mask_nms(masks, scores, threshold).tolist() == expected.tolist()


def test_ious_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = normal(3, 2, 8, 9), normal(3, 8, 9, seed=1) > 0
    found = models.iou_targets(logits, targets)
    for i in range(3):
        for j in range(2):
            expected = metrics.jaccard_score(targets[i].flatten(), (logits[i, j] > 0).flatten())
            assert found[i, j].item() == pytest.approx(expected)
