"""Promptable segmentation against the official modules, transformers' SamModel and kornia, with weights copied across."""

import pytest
import torch
from torch import nn

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
    prompts = modeling.PromptEncoder(embed_dim=DIM, image_embedding_size=GRID, input_image_size=SIZE, mask_in_chans=8)
    transformer = modeling.TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=HEADS, mlp_dim=HIDDEN)
    decoder = modeling.MaskDecoder(transformer_dim=DIM, transformer=transformer, iou_head_hidden_dim=12)
    return randomised(prompts), randomised(decoder)


def ours():
    return models.PromptEncoder(DIM, GRID, SIZE, mask_channels=8), models.MaskDecoder(
        DIM, HEADS, HIDDEN, iou_hidden_dim=12
    )


def prompts_from_official(state):
    labels = torch.cat(
        [state.pop("not_a_point_embed.weight"), *(state.pop(f"point_embeddings.{k}.weight") for k in range(4))]
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


@pytest.mark.parametrize("chosen", [flags for _, flags in CHOICES], ids=[name for name, _ in CHOICES])
@pytest.mark.parametrize("multimask", [True, False])
def test_official_modules(chosen, multimask):
    (prompt_encoder, decoder), (their_encoder, their_decoder) = official_pair()
    points, labels, boxes, masks = some_prompts()
    with_points, with_boxes, with_masks = chosen
    boxes, masks = boxes if with_boxes else None, masks if with_masks else None
    expected = their_encoder((points, labels) if with_points else None, boxes, masks)
    found = prompt_encoder(points if with_points else None, labels if with_points else None, boxes, masks)
    for part, expected_part in zip(found, expected, strict=True):
        close(part, expected_part)
    close(prompt_encoder.positions(), their_encoder.get_dense_pe())
    image = normal(1, DIM, *GRID, seed=5)
    answer = decoder(image, prompt_encoder.positions(), *found, multimask=multimask)
    expected = their_decoder(image, their_encoder.get_dense_pe(), *expected, multimask_output=multimask)
    for part, expected_part in zip(answer, expected, strict=True):
        close(part, expected_part)
