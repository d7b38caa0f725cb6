"""Unit 02's solutions against independent implementations, over a grid of parameters."""

from itertools import product

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from autograder.authoring.lesson import solutions

functions = solutions("02_building_blocks")
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, theirs, **(TOLERANCE | tolerance))


POOLS = [
    (kernel_size, stride, padding)
    for kernel_size, stride, padding in product((1, 2, 3, 5), (None, 1, 2, 3), (0, 1, 2))
    if padding <= kernel_size // 2
]


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), POOLS)
def test_max_pool2d(kernel_size, stride, padding):
    x = normal(2, 3, 9, 12) - 1
    values, indices = functions["max_pool2d"](x, kernel_size, stride, padding)
    expected, places = F.max_pool2d(x, kernel_size, stride, padding, return_indices=True)
    close(values, expected)
    close(indices, places)


def test_max_pool2d_takes_the_first_of_equals_as_torch_does():
    x = torch.randint(-2, 1, (2, 2, 8, 7), generator=torch.Generator().manual_seed(3)).double()
    for kernel_size, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 1, 1)):
        _, indices = functions["max_pool2d"](x, kernel_size, stride, padding)
        close(indices, F.max_pool2d(x, kernel_size, stride, padding, return_indices=True)[1])


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_pooling_with_stride_1_is_scipys_filter(kernel_size):
    plane, reach = normal(8, 11), kernel_size // 2
    maxima = functions["max_pool2d"](plane[None, None], kernel_size, 1, reach)[0][0, 0]
    close(
        maxima,
        torch.from_numpy(
            scipy.ndimage.maximum_filter(plane.numpy(), kernel_size, mode="constant", cval=-np.inf)
        ),
    )
    means = functions["avg_pool2d"](plane[None, None], kernel_size, 1, reach)[0, 0]
    close(
        means,
        torch.from_numpy(scipy.ndimage.uniform_filter(plane.numpy(), kernel_size, mode="constant")),
    )


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), POOLS)
@pytest.mark.parametrize("counted", [True, False])
def test_avg_pool2d(kernel_size, stride, padding, counted):
    x = normal(2, 3, 9, 12)
    expected = F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=counted)
    close(functions["avg_pool2d"](x, kernel_size, stride, padding, counted), expected)


@pytest.mark.parametrize(("c_in", "c_out"), [(1, 4), (5, 1), (3, 3), (4, 6)])
def test_conv1x1(c_in, c_out):
    x, weight, bias = normal(2, c_in, 5, 7), normal(c_out, c_in, seed=1), normal(c_out, seed=2)
    close(functions["conv1x1"](x, weight), F.conv2d(x, weight[:, :, None, None]))
    close(functions["conv1x1"](x, weight, bias), F.conv2d(x, weight[:, :, None, None], bias))


STACKS = {
    "dilated": [(3, 1, 1, 1), (3, 1, 2, 2), (3, 1, 4, 4)],
    "strided": [(3, 2, 1, 1), (5, 1, 2, 1), (2, 2, 0, 1)],
    "mixed": [(7, 2, 3, 1), (3, 2, 1, 1), (3, 1, 2, 2), (1, 1, 0, 1), (4, 3, 1, 1)],
}


@pytest.mark.parametrize("name", STACKS)
def test_receptive_field_is_the_support_of_the_gradient(name):
    layers = STACKS[name]
    size, jump, start = functions["receptive_field"](layers)
    x = torch.zeros(1, 1, 301, 261, dtype=torch.float64, requires_grad=True)
    out = x
    for kernel_size, stride, padding, dilation in layers:
        kernel = torch.rand(1, 1, kernel_size, kernel_size, dtype=torch.float64) + 0.1
        out = F.conv2d(out, kernel, stride=stride, padding=padding, dilation=dilation)
    row, column = out.shape[2] // 2, out.shape[3] // 3
    support = torch.autograd.grad(out[0, 0, row, column], x)[0][0, 0] > 0
    for unit, axis in ((row, 1), (column, 0)):
        seen = support.any(dim=axis).nonzero()
        assert (seen[0].item(), seen[-1].item()) == (
            start + unit * jump,
            start + unit * jump + size - 1,
        )


def test_receptive_fields_of_known_networks():
    vgg = []
    for convolutions in (2, 2, 3, 3, 3):
        vgg += [(3, 1, 1, 1)] * convolutions + [(2, 2, 0, 1)]
    assert functions["receptive_field"](vgg)[:2] == (212, 32)
    assert functions["receptive_field"](vgg[:-1])[:2] == (196, 16)
    alexnet = [
        (11, 4, 2, 1),
        (3, 2, 0, 1),
        (5, 1, 2, 1),
        (3, 2, 0, 1),
        *[(3, 1, 1, 1)] * 3,
        (3, 2, 0, 1),
    ]
    assert functions["receptive_field"](alexnet)[:2] == (195, 32)
    assert functions["receptive_field"]([(5, 1, 0, 1), (2, 2, 0, 1)] * 2 + [(5, 1, 0, 1)])[0] == 32


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_upsample_nearest(factor):
    x = normal(2, 3, 4, 6)
    close(
        functions["upsample_nearest"](x, factor),
        F.interpolate(x, scale_factor=factor, mode="nearest"),
    )
    close(functions["upsample_nearest"](x, factor), torch.kron(x, x.new_ones(1, 1, factor, factor)))


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride"),
    [((8, 6), 2, 2), ((9, 7), 3, 3), ((9, 11), 3, 2), ((7, 6), 3, 1)],
)
def test_max_unpool2d(size, kernel_size, stride):
    x = normal(2, 3, *size)
    values, indices = F.max_pool2d(x, kernel_size, stride, return_indices=True)
    expected = F.max_unpool2d(values, indices, kernel_size, stride, output_size=size)
    close(functions["max_unpool2d"](values, indices, size), expected)


SIZES = [((3, 5), (6, 10)), ((4, 6), (9, 7)), ((8, 9), (3, 5)), ((5, 2), (5, 11)), ((2, 7), (8, 4))]


@pytest.mark.parametrize(("old", "new"), SIZES)
@pytest.mark.parametrize("corners", [True, False])
def test_upsample_bilinear(old, new, corners):
    x = normal(2, 3, *old)
    close(
        functions["upsample_bilinear"](x, new, corners),
        F.interpolate(x, new, mode="bilinear", align_corners=corners),
    )


def test_upsample_bilinear_is_pillows_and_scipys():
    plane = normal(5, 7).float()
    ours = functions["upsample_bilinear"](plane[None, None], (10, 21))[0, 0]
    pillow = np.asarray(
        Image.fromarray(plane.numpy(), mode="F").resize((21, 10), Image.Resampling.BILINEAR)
    )
    close(ours, torch.tensor(pillow), rtol=1e-5, atol=1e-5)
    ours = functions["upsample_bilinear"](plane.double()[None, None], (9, 13), align_corners=True)[
        0, 0
    ]
    close(
        ours, torch.from_numpy(scipy.ndimage.zoom(plane.double().numpy(), (9 / 5, 13 / 7), order=1))
    )


PAINTINGS = [
    (k, stride, padding, output_padding)
    for k, stride, padding, output_padding in product(
        (1, 2, 3, 4, 5), (1, 2, 3), (0, 1, 2), (0, 1, 2)
    )
    if output_padding < stride and 2 * padding < k + output_padding
]


@pytest.mark.parametrize(("k", "stride", "padding", "output_padding"), PAINTINGS)
def test_conv_transpose2d(k, stride, padding, output_padding):
    x, weight, bias = normal(2, 3, 4, 6), normal(3, 2, k, k, seed=1), normal(2, seed=2)
    given = {"stride": stride, "padding": padding, "output_padding": output_padding}
    close(functions["conv_transpose2d"](x, weight, **given), F.conv_transpose2d(x, weight, **given))
    close(
        functions["conv_transpose2d"](x, weight, bias, **given),
        F.conv_transpose2d(x, weight, bias, **given),
    )


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (4, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_dense_to_conv(height, width, bias):
    dense = nn.Linear(3 * height * width, 5, bias=bias, dtype=torch.float64)
    conv = functions["dense_to_conv"](dense, 3, height, width)
    x = normal(2, 3, height + 3, width + 2)
    result = conv(x)
    assert result.shape == (2, 5, 4, 3)
    for i, j in product(range(4), range(3)):
        crop = x[:, :, i : i + height, j : j + width]
        close(result[:, :, i, j], dense(crop.flatten(1)))


def test_errors_are_norms_of_differences():
    x, weight = normal(2, 5, 7), normal(5, 7, seed=1)

    def f(image):
        return weight * image.cumsum(-1)

    def turned(image):
        return 2 * image.flip(-1)

    length = np.linalg.norm(f(x).numpy())
    expected = np.linalg.norm((f(turned(x)) - f(x)).numpy()) / length
    assert float(functions["invariance_error"](f, x, turned)) == pytest.approx(expected, rel=1e-12)
    expected = np.linalg.norm((f(turned(x)) - turned(f(x))).numpy()) / length
    assert float(functions["equivariance_error"](f, x, turned)) == pytest.approx(
        expected, rel=1e-12
    )
    expected = np.linalg.norm((f(turned(x)) - 3 * f(x)).numpy()) / length
    assert float(functions["equivariance_error"](f, x, turned, lambda y: 3 * y)) == pytest.approx(
        expected, rel=1e-12
    )
