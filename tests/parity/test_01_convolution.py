"""Unit 01's solutions against torch, numpy, scipy, kornia and scikit-image, over a grid of
parameters."""

from itertools import product

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal
import skimage.filters
import torch
import torch.nn.functional as F

from autograder.authoring.lesson import solutions

functions = solutions("01_convolution")
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(ours, theirs):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), **TOLERANCE)


ONE_AXIS = list(
    product((1, 2, 3, 5), (1, 2, 3), (0, 1, 3), (1, 2, 3))
)  # size, stride, padding, dilation
TWO_AXES = [
    (kernel, stride, padding, dilation)
    for kernel, stride, padding, dilation in product(
        ((3, 3), (2, 3), (1, 4)),
        (1, 2, (2, 1), (1, 3)),
        (0, 1, (2, 0), (1, 2)),
        (1, (2, 1), (1, 2)),
    )
]
SHAPES = [((7, 9), (3, 3)), ((6, 5), (2, 4)), ((8, 3), (5, 1)), ((4, 4), (4, 4))]


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), ONE_AXIS)
def test_conv1d_and_output_size(size, stride, padding, dilation):
    for length in (13, 14, 15, 16):
        signal, kernel = normal(length), normal(size, seed=1)
        expected = F.conv1d(
            signal[None, None], kernel[None, None], None, stride, padding, dilation
        )[0, 0]
        close(functions["conv1d"](signal, kernel, stride, padding, dilation), expected)
        assert functions["output_size"](length, size, stride, padding, dilation) == len(expected)


def test_conv1d_is_numpys_convolution_of_the_flipped_kernel():
    signal, kernel = normal(12), normal(4, seed=1)
    close(functions["conv1d"](signal, kernel.flip(0)), np.convolve(signal, kernel, mode="valid"))


@pytest.mark.parametrize(("image", "kernel"), SHAPES)
def test_cross_correlate2d(image, kernel):
    picture, filter_ = normal(*image), normal(*kernel, seed=1)
    ours = functions["cross_correlate2d"](picture, filter_)
    close(ours, scipy.signal.correlate2d(picture, filter_, mode="valid"))
    close(ours, F.conv2d(picture[None, None], filter_[None, None])[0, 0])


def test_cross_correlate2d_is_kornias_filter_inside_the_border():
    kornia = pytest.importorskip("kornia")
    picture, filter_ = normal(9, 8), normal(3, 5, seed=1)
    theirs = kornia.filters.filter2d(picture[None, None], filter_[None], border_type="constant")[
        0, 0
    ]
    close(functions["cross_correlate2d"](picture, filter_), theirs[1:-1, 2:-2])


@pytest.mark.parametrize(("image", "kernel"), SHAPES)
def test_convolve2d(image, kernel):
    picture, filter_ = normal(*image), normal(*kernel, seed=1)
    ours = functions["convolve2d"](picture, filter_)
    close(ours, scipy.signal.convolve2d(picture, filter_, mode="full"))
    close(ours, scipy.signal.fftconvolve(picture, filter_))
    close(ours, functions["convolve2d"](filter_, picture))


@pytest.mark.parametrize("size", [(6, 9), (11, 4), (3, 3)])
def test_sobel(size):
    picture = normal(*size)
    gx, gy, magnitude = functions["sobel"](picture)
    close(gx, scipy.ndimage.sobel(picture.numpy(), axis=1)[1:-1, 1:-1].copy())
    close(gy, scipy.ndimage.sobel(picture.numpy(), axis=0)[1:-1, 1:-1].copy())
    # scikit-image divides each response by 4 and the length by the square root of 2.
    close(magnitude, skimage.filters.sobel(picture.numpy())[1:-1, 1:-1] * 4 * 2**0.5)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), TWO_AXES)
def test_conv2d(kernel, stride, padding, dilation):
    images, weight, bias = normal(2, 3, 9, 10), normal(4, 3, *kernel, seed=1), normal(4, seed=2)
    expected = F.conv2d(images, weight, bias, stride, padding, dilation)
    close(functions["conv2d"](images, weight, bias, stride, padding, dilation), expected)
    without = functions["conv2d"](images, weight, stride=stride, padding=padding, dilation=dilation)
    close(without, expected - bias[:, None, None])


def test_conv2d_passes_gradcheck():
    arguments = [
        tensor.requires_grad_()
        for tensor in (normal(2, 2, 5, 6), normal(3, 2, 3, 2, seed=1), normal(3, seed=2))
    ]
    assert torch.autograd.gradcheck(
        lambda *given: functions["conv2d"](*given, (2, 1), (1, 0), (1, 2)), arguments
    )


@pytest.mark.parametrize(("height", "width"), [(6, 7), (5, 9)])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 3), (4, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv_matrix(height, width, kernel, stride):
    filter_ = normal(*kernel)
    matrix = functions["conv_matrix"](filter_, height, width, stride)
    impulses = torch.eye(height * width, dtype=torch.float64).reshape(-1, 1, height, width)
    close(matrix, F.conv2d(impulses, filter_[None, None], stride=stride).flatten(1).T.contiguous())


def test_conv_matrix_of_one_row_is_a_toeplitz_matrix():
    filter_ = normal(1, 3)
    matrix = functions["conv_matrix"](filter_, 1, 7)
    expected = scipy.linalg.toeplitz([filter_[0, 0], 0, 0, 0, 0], [*filter_[0], 0, 0, 0, 0])
    close(matrix, expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    list(product(((3, 3), (2, 3), (1, 4)), (1, 2, (2, 1), (1, 3), 4), (0, 1, (2, 0), (1, 2)))),
)
def test_conv2d_backward(kernel, stride, padding):
    for size in (
        (9, 10),
        (8, 11),
    ):  # windows that reach every pixel, and windows that leave some out
        images, weight = normal(2, 3, *size), normal(4, 3, *kernel, seed=1)
        upstream = normal(*F.conv2d(images, weight, None, stride, padding).shape, seed=2)
        grad_images, grad_weight, grad_bias = functions["conv2d_backward"](
            upstream, images, weight, stride, padding
        )
        close(
            grad_images, torch.nn.grad.conv2d_input(images.shape, weight, upstream, stride, padding)
        )
        close(
            grad_weight,
            torch.nn.grad.conv2d_weight(images, weight.shape, upstream, stride, padding),
        )
        close(grad_bias, upstream.sum(dim=(0, 2, 3)))


def test_the_input_gradient_is_a_transposed_convolution():
    images, weight, upstream = (
        normal(2, 3, 9, 8),
        normal(4, 3, 3, 2, seed=1),
        normal(2, 4, 5, 4, seed=2),
    )
    grad_images = functions["conv2d_backward"](upstream, images, weight, 2, (1, 0))[0]
    close(
        grad_images,
        F.conv_transpose2d(upstream, weight, stride=2, padding=(1, 0), output_padding=(0, 0)),
    )


def test_parameter_counts():
    with torch.device("meta"):
        layer = torch.nn.Conv2d(3, 96, 11, stride=4)
        maps = layer(torch.empty(1, 3, 227, 227))
        dense = torch.nn.Linear(3 * 227 * 227, maps.numel())
    assert functions["first_layer_size"] == maps.shape[-1] == maps.shape[-2] == 55
    assert (
        functions["first_layer_parameters"] == sum(p.numel() for p in layer.parameters()) == 34944
    )
    assert functions["first_layer_multiply_adds"] == maps.numel() * layer.weight[0].numel()
    assert functions["dense_parameters"] == sum(p.numel() for p in dense.parameters())
