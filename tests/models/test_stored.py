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
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-3 if half else 0, atol=1e-4 if half else 0)


def test_other_sizes_and_lacking_files_are_refused(tmp_path):
    with pytest.raises(RuntimeError):
        models.save_sam(models.build_sam(**SIZES), tmp_path / "sam.safetensors", **SIZES | {"mlp": 32})
    with pytest.raises(FileNotFoundError, match="no stored weights"):
        models.load_sam(tmp_path / "none.safetensors")
