"""A picture goes into a square and its masks come back to the same places."""

import pytest
import torch

from cvcourse.data import framed


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (33, 33), (64, 64), (200, 100)])
def test_a_mask_comes_back_to_where_it_was(shape):
    height, width = shape
    picture = torch.full((3, height, width), 0.2)
    rows, columns = slice(height // 4, height // 2), slice(width // 4, 3 * width // 4)
    picture[:, rows, columns] = 0.9
    frame = framed(picture, 64)
    assert frame.images.shape == (1, 3, 64, 64)
    back = frame.masks(20 * (frame.images[:, :1] - 0.55))[0, 0] > 0
    meant = picture[0] > 0.55
    assert ((back & meant).sum() / (back | meant).sum()) > 0.9
    assert back.shape == shape


def test_points_and_boxes_go_with_the_picture():
    frame = framed(torch.rand(3, 30, 60), 120)
    assert frame.points(torch.tensor([[0.0, 0.0], [59.5, 29.5]])).tolist() == [
        [0.5, 0.5],
        [119.5, 59.5],
    ]
    assert frame.boxes(torch.tensor([[0.0, 0, 9.5, 9.5]])).tolist() == [[0.5, 0.5, 19.5, 19.5]]


def test_a_picture_of_the_right_size_stays_as_it_is_and_grey_becomes_colour():
    picture = torch.rand(3, 32, 32)
    assert torch.equal(framed(picture, 32).images[0], picture)
    assert framed(torch.rand(1, 10, 20), 16).images.shape == (1, 3, 16, 16)


def test_coarser_logits_come_back_too():
    frame = framed(torch.rand(3, 40, 80), 64)
    assert frame.masks(torch.randn(2, 3, 16, 16)).shape == (2, 3, 40, 80)
