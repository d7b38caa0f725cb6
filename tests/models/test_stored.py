"""A promptable network goes into a file and comes back, also into somebody's own classes."""

import pytest
import torch

from cvcourse import models

SIZES = {"size": 16, "embed_dim": 16, "width": 8, "blocks": 1, "heads": 2, "mlp": 24}


class Mine(models.MaskDecoder):
    pass


@pytest.mark.parametrize("half", [False, True])
def test_weights_come_back_with_their_sizes(tmp_path, half):
    torch.manual_seed(0)
    sam = models.build_sam(**SIZES)
    models.save_sam(sam, tmp_path / "sam.safetensors", half, **SIZES)
    again = models.load_sam(tmp_path / "sam.safetensors", mask_decoder=Mine)
    assert type(again.mask_decoder) is Mine and not again.training
    for name, tensor in sam.state_dict().items():
        torch.testing.assert_close(
            again.state_dict()[name], tensor, rtol=1e-3 if half else 0, atol=1e-4 if half else 0
        )


def test_other_sizes_and_lacking_files_are_refused(tmp_path):
    with pytest.raises(RuntimeError):
        models.save_sam(
            models.build_sam(**SIZES), tmp_path / "sam.safetensors", **SIZES | {"mlp": 32}
        )
    with pytest.raises(FileNotFoundError, match="no stored weights"):
        models.load_sam(tmp_path / "none.safetensors")


def test_fresh_queries_and_keys_of_one_place_attend_to_each_other():
    torch.manual_seed(0)
    sam = models.build_sam()
    places = sam.prompt_encoder.positions().flatten(2)[0].mT  # (cells, embed_dim)
    for part in (
        sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image,
        sam.mask_decoder.transformer.layers[1].cross_attn_image_to_token,
        sam.mask_decoder.transformer.final_attn_token_to_image,
    ):
        with torch.no_grad():
            alike = part.q_proj(places) @ part.k_proj(places).mT  # (cells, cells)
        assert (alike.argmax(dim=1) == torch.arange(len(places))).float().mean() > 0.8
    ordinary = sam.mask_decoder.transformer.layers[0].self_attn
    assert not torch.equal(ordinary.q_proj.weight, ordinary.k_proj.weight)
