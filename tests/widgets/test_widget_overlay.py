"""Masks over a picture: colours, outlines, what stays as it was, and what is refused."""

import numpy as np
import pytest
import torch

from cvcourse.widgets import painted
from cvcourse.widgets.colours import colour, to_rgb


def test_a_mask_has_its_colour_inside_and_a_light_rim():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[2:7, 2:7] = True
    drawn = painted(torch.zeros(3, 9, 9), mask, opacity=1.0)
    ink = np.array(to_rgb(colour(0))) / 255
    assert drawn[4, 4] == pytest.approx(ink, abs=1e-3)
    assert (drawn[2, 4] > 0.7).all()
    assert (drawn[0, 0] == 0).all()
    assert drawn.shape == (9, 9, 3) and drawn.min() >= 0 and drawn.max() <= 1


def test_later_masks_lie_on_top_and_what_none_covers_gets_darker():
    masks = torch.ones(2, 5, 5, dtype=torch.bool)
    masks[1, :, 3:] = False
    masks[0, :, 4:] = False
    drawn = painted(torch.ones(1, 5, 5), masks, opacity=1.0, dim=0.5)
    assert drawn[2, 0] == pytest.approx(np.array(to_rgb(colour(1))) / 255, abs=1e-3)
    assert (drawn[:, 4] == 0.5).all()


def test_the_pictures_edge_is_no_rim_and_bytes_are_fine():
    drawn = painted(np.full((4, 4, 3), 255, np.uint8), np.ones((4, 4), bool), opacity=0.5, first=2)
    assert np.ptp(drawn, axis=(0, 1)).max() == 0


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="do not lie over"):
        painted(torch.zeros(3, 4, 4), torch.ones(5, 4, dtype=torch.bool))
