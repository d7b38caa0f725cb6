"""Panels turn what authors have into colours, coordinates and words."""

import math

import numpy as np
import pytest
import torch

from cvcourse.widgets import Scene, bars, curves, image, text
from cvcourse.widgets.panels import LARGEST_SENT, say


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (3, 4, 6), (4, 6, 3), (4, 6, 1)])
@pytest.mark.parametrize("make", [np.random.rand, torch.rand])
def test_every_layout_of_a_picture_is_understood(shape, make):
    assert image(make(*shape)).rgba.shape == (4, 6, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_every_precision_is_understood(dtype):
    assert (
        image(torch.ones(2, 2, requires_grad=dtype.is_floating_point).to(dtype))
        .rgba[0, 0, :3]
        .tolist()
        == [255] * 3
    )


@pytest.mark.parametrize("shape", [(4,), (2, 4, 6), (1, 1, 4, 6), (0, 3)])
def test_what_is_no_picture_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        image(torch.zeros(shape))


def test_grey_is_black_at_0_and_white_at_1():
    rgba = image([[0.0, 0.5, 1.0]]).rgba
    assert rgba[0, :, 0].tolist() == [0, 128, 255]
    assert image(np.array([[0, 51, 255]], dtype=np.uint8)).rgba[0, :, 0].tolist() == [0, 51, 255]


def test_signed_is_white_at_0_blue_below_orange_above():
    low, zero, high = image([[-1.0, 0.0, 3.0]], colours="signed").rgba[0, :, :3].astype(int)
    assert zero.min() > 240
    assert low[2] > low[0] and high[0] > high[2]


def test_labels_differ_and_negative_ones_are_transparent():
    rgba = image([[0, 1, 2, -1]], colours="labels").rgba[0]
    assert len({tuple(colour) for colour in rgba.tolist()}) == 4
    assert rgba[:, 3].tolist() == [255, 255, 255, 0]


def test_a_legend_tells_unusual_limits_only():
    assert image([[0.0, 1.0]]).legend is None
    assert image([[0.0, 2.0]]).legend["high"] == "2"
    assert image([[0.0, 2.0]], limits=(0, 1)).legend is None
    assert image([[0.0, 2.0]], colours="signed").legend["low"] == "−2"


def test_what_is_not_a_number_is_shown_and_counted():
    panel = image([[0.0, math.nan, math.inf]])
    assert "2 not a number" in panel.remark
    assert panel.rgba[0, 1, :3].tolist() != panel.rgba[0, 0, :3].tolist()


def test_numbers_are_written_when_few_enough_and_rounding_dust_is_0():
    assert image([[0.25, 3e-9]], numbers=True).numbers == [["0.25", "0"]]
    assert image(np.zeros((50, 50)), numbers=True).numbers is None


def test_a_large_picture_is_sent_smaller_and_keeps_its_own_coordinates():
    sent = image(np.random.rand(1200, 600)).describe()
    assert sent["shape"] == [1200, 600]
    assert max(sent["sent"]) == LARGEST_SENT
    assert len(sent["data"]) == 4 * sent["sent"][0] * sent["sent"][1]


def test_curves_take_y_or_x_and_y():
    panel = curves(
        {"yours": torch.tensor([1.0, 2.0, 4.0]), "true": ([0, 1, 2], [1, math.nan, 3])},
        marks=[(1, 9)],
    )
    assert panel.series[0]["x"].tolist() == [0, 1, 2]
    assert panel.y.low < 1 and panel.y.high > 9
    assert panel.series[0]["colour"] != panel.series[1]["colour"]
    assert panel.series[0]["dash"] != panel.series[1]["dash"]


def test_curves_of_unequal_length_are_refused_by_name():
    with pytest.raises(ValueError, match=r'"yours".*length'):
        curves({"yours": ([0, 1, 2], [1, 2])})


def test_ticks_are_round_and_inside():
    ticks = curves({"": [0.013, 0.987]}, y_limits=(0, 1)).y.ticks
    assert [said for _, said in ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [said for _, said in curves({"": [-100, 250]}).y.ticks] == ["−100", "0", "100", "200"]


def test_bars_always_include_0_and_say_numbers_alike():
    panel = bars({"simple": 0.25, "complex": 0.9})
    assert panel.y.low == 0
    assert panel.said == ["0.25", "0.90"]
    assert bars({"a": -2}).y.high == 0
    assert bars({"a": math.nan}).describe()["heights"] == [None]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (-0.25, "−0.25"),
        (12.34, "12.3"),
        (1234.5, "1234"),
        (1e-4, "1.0e−4"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_in_words(value, said):
    assert say(value) == said


def test_a_scene_holds_panels_only():
    assert Scene(text("a"), caption="b").describe()["caption"] == "b"
    with pytest.raises(TypeError, match="not a Tensor"):
        Scene(torch.zeros(2, 2))


def test_images_of_a_scene_are_of_one_size():
    sizes = Scene(image(np.eye(14)), image(np.eye(12), numbers=True)).sizes()
    assert sizes[0] == sizes[1]
