"""A promptable network in a file: its weights, and the sizes with which to build it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .sam import ConvEncoder, CrossAttention, MaskDecoder, PromptEncoder, Sam

SIZES = "sizes"  # the name of the sizes among the file's remarks


def build_sam(
    size: int = 32,
    embed_dim: int = 64,
    width: int = 16,
    blocks: int = 3,
    heads: int = 4,
    mlp: int = 128,
    num_masks: int = 3,
    prompt_encoder: Callable[..., PromptEncoder] = PromptEncoder,
    mask_decoder: Callable[..., MaskDecoder] = MaskDecoder,
) -> Sam:
    """A network with fresh weights for square pictures of `size` pixels.

    width, blocks: of the image encoder. heads, mlp, num_masks: of the decoder. prompt_encoder,
    mask_decoder: classes with the arguments of `PromptEncoder` and `MaskDecoder`, so that a
    learner's own can be used.
    """
    grid = (size // 4, size // 4)
    sam = Sam(
        ConvEncoder(embed_dim, width, blocks),
        prompt_encoder(embed_dim, grid, (size, size)),
        mask_decoder(embed_dim, heads, mlp, num_masks=num_masks),
    )
    look_at_own_place(sam)
    return sam


@torch.no_grad()
def look_at_own_place(sam: Sam, gain: float = 3.5, told: float = 0.2) -> None:
    """Let a click and the cell below it attend to each other from the beginning, in place.

    Between tokens and picture, keys begin with the projection of the queries, `gain` times as large
    as usual: equal places then have a large dot product. Learned vectors that prompts and cells
    have in common (labels, no mask) begin at `told` times their size, so that they do not drown the
    places. A start of ours: the official one finds the same with far more steps.
    """
    for name, part in sam.mask_decoder.named_modules():
        if isinstance(part, CrossAttention) and "self" not in name:
            part.q_proj.weight.mul_(gain)
            part.k_proj.weight.copy_(part.q_proj.weight)
    for name, parameter in sam.prompt_encoder.named_parameters():
        if name in ("label_embed.weight", "no_mask_embed.weight"):
            parameter.mul_(told)


def save_sam(sam: Sam, path: str | Path, half: bool = False, **sizes: Any) -> None:
    """Write the weights of a network that `build_sam(**sizes)` made.

    half: as float16, in half of the room. sizes: integers. Raises RuntimeError where they are
    not the network's own.
    """
    from safetensors.torch import save_file

    state = sam.state_dict()
    build_sam(**sizes).load_state_dict(state)  # the error, if the sizes are others
    weights = {name: _packed(tensor.detach().cpu(), half) for name, tensor in state.items()}
    save_file(weights, path, metadata={SIZES: json.dumps(sizes)})
    Path(path).chmod(0o644)  # safetensors lets nobody else read it


def load_sam(
    path: str | Path,
    prompt_encoder: Callable[..., PromptEncoder] = PromptEncoder,
    mask_decoder: Callable[..., MaskDecoder] = MaskDecoder,
) -> Sam:
    """The network of a file that `save_sam` wrote, of the given classes.

    It is in float32 and in evaluation mode. Raises FileNotFoundError, and RuntimeError where a
    class lacks a part or has it in another shape.
    """
    from safetensors import safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"There are no stored weights {str(path)!r} here.")
    with safe_open(path, "pt") as file:
        sizes = json.loads(file.metadata()[SIZES])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    sam = build_sam(**sizes, prompt_encoder=prompt_encoder, mask_decoder=mask_decoder)
    sam.load_state_dict(weights)
    return sam.eval()


def _packed(tensor: Tensor, half: bool) -> Tensor:
    if half and tensor.is_floating_point():
        tensor = tensor.half()
    return tensor.contiguous().clone()
