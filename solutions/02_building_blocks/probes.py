"""How unit 02's exercises are put to the test."""

import torch
from torch import nn

from autograder.probe import probe


def _roll(rows, columns):
    return lambda x: x.roll((rows, columns), dims=(-2, -1))


def _around(shape, is_slice):
    """The shape of the maps that maps of this shape are cut from."""
    batch, channels, height, width = shape
    return (batch, channels + 1, height + 1, width + 2) if is_slice else shape


def _cut(x, is_slice):
    """A slice of larger maps, of which no two axes can be merged by a view."""
    return x[:, 1:, 1:, 1:-1] if is_slice else x


def _maps(draw, shape, is_slice=False):
    return _cut(draw.normal(*_around(shape, is_slice)), is_slice)


def _pair(returned):
    if isinstance(returned, torch.Tensor):
        raise TypeError("values and indices are expected, two tensors")
    return returned


@probe(
    "invariance_error",
    cases=[
        dict(batch=1, height=5, width=7),
        dict(batch=1, height=6, width=4),
        dict(batch=1, height=3, width=8),
    ],
    hidden=[dict(batch=2, height=7, width=6), dict(batch=4, height=4, width=5)],
    rtol=1e-5,
    why="A tiny number that keeps the denominator from 0 does no harm.",
)
def shifted(invariance_error, draw, batch, height, width):
    x, weight = draw.normal(batch, height, width), draw.normal(height, width)
    return {
        "error": float(
            invariance_error(
                lambda image: (weight * image).sum(dim=-1) + image.amax(), x, _roll(1, 2)
            )
        )
    }


@probe(
    "invariance_error",
    cases=[dict(height=4, width=6), dict(height=5, width=3)],
    hidden=[dict(height=6, width=5, batch=3)],
    rtol=1e-5,
    why="A tiny number that keeps the denominator from 0 does no harm.",
)
def mirrored_and_stretched(invariance_error, draw, height, width, batch=1):
    x = draw.uniform(batch, height, width, low=0.5, high=2.0)
    return {
        "error": float(
            invariance_error(lambda image: image**2, x, lambda image: 1.5 * image.flip(-1))
        )
    }


@probe(
    "invariance_error", cases=[dict(height=4, width=6)], hidden=[dict(height=5, width=7)], law=True
)
def invariant_function(invariance_error, draw, height, width):
    x = draw.normal(2, height, width)
    return {
        "error": float(invariance_error(lambda image: image.amax(dim=(-2, -1)), x, _roll(2, 1)))
    }


@probe(
    "equivariance_error",
    cases=[
        dict(batch=1, height=5, width=7),
        dict(batch=1, height=6, width=4),
        dict(batch=1, height=3, width=8),
    ],
    hidden=[dict(batch=2, height=7, width=6), dict(batch=4, height=4, width=5)],
    rtol=1e-5,
    why="A tiny number that keeps the denominator from 0 does no harm.",
)
def same_transform(equivariance_error, draw, batch, height, width):
    x, weight = draw.normal(batch, height, width), draw.normal(height, width)
    error = equivariance_error(
        lambda image: weight * image + image.mean(), x, lambda image: 1.4 * image.roll(2, -1)
    )
    return {"error": float(error)}


@probe(
    "equivariance_error",
    cases=[dict(height=4, width=6), dict(height=6, width=8)],
    hidden=[dict(height=8, width=4, batch=3)],
    rtol=1e-5,
    why="A tiny number that keeps the denominator from 0 does no harm.",
    weight=2,
)
def other_transform_of_the_output(equivariance_error, draw, height, width, batch=1):
    x, weight = draw.normal(batch, height, width), draw.normal(height // 2, width // 2)
    error = equivariance_error(
        lambda image: weight * image[:, ::2, ::2],
        x,
        _roll(2, 2),
        lambda response: 0.7 * response.roll((1, 1), (-2, -1)),
    )
    return {"error": float(error)}


@probe(
    "equivariance_error",
    cases=[dict(height=4, width=6)],
    hidden=[dict(height=6, width=8)],
    law=True,
)
def equivariant_function(equivariance_error, draw, height, width):
    x = draw.normal(2, height, width)
    error = equivariance_error(lambda image: image[:, ::2, ::2] ** 3, x, _roll(2, 4), _roll(1, 2))
    return {"error": float(error)}


@probe(
    "max_pool2d",
    cases=[
        dict(shape=(2, 3, 6, 8), kernel_size=2),
        dict(shape=(1, 2, 7, 5), kernel_size=3, stride=2, padding=1),
        dict(shape=(2, 2, 5, 9), kernel_size=3, stride=1),
        dict(shape=(1, 2, 9, 6), kernel_size=4, padding=2),
    ],
    hidden=[
        dict(shape=(2, 1, 8, 11), kernel_size=4, stride=3, padding=2),
        dict(shape=(1, 4, 9, 7), kernel_size=2),
        dict(shape=(3, 2, 6, 10), kernel_size=5, stride=2, padding=1, is_slice=True),
        dict(shape=(2, 3, 7, 8), kernel_size=2, stride=3, padding=1, scale=1e30),
    ],
    weight=3,
)
def output(max_pool2d, draw, shape, kernel_size, stride=None, padding=0, is_slice=False, scale=1.0):
    x = _cut(scale * (draw.normal(*_around(shape, is_slice)) - 1), is_slice)
    given = {"stride": stride, "padding": padding}
    given = {name: value for name, value in given.items() if value}
    values, indices = _pair(max_pool2d(x, kernel_size, **given))
    return {"values": values, "indices": indices}


@probe(
    "max_pool2d",
    cases=[dict(shape=(2, 2, 6, 7), kernel_size=3, stride=2, padding=1)],
    hidden=[dict(shape=(1, 3, 8, 5), kernel_size=2)],
)
def equal_maxima(max_pool2d, draw, shape, kernel_size, stride=None, padding=0):
    x = draw.integers(*shape, low=-3, high=0).to(draw.dtype)
    x[:, :, :2, :2] = -4.0  # the smallest values of the map fill a window in the corner
    values, indices = _pair(max_pool2d(x, kernel_size, stride, padding))
    return {"values": values, "indices": indices}


@probe(
    "avg_pool2d",
    cases=[
        dict(shape=(2, 3, 6, 8), kernel_size=2),
        dict(shape=(1, 2, 7, 5), kernel_size=3, stride=2, padding=1),
        dict(shape=(2, 1, 7, 9), kernel_size=3, stride=2, padding=1, count_include_pad=False),
        dict(shape=(1, 2, 9, 6), kernel_size=4, padding=2, count_include_pad=False),
        dict(shape=(1, 2, 5, 8), kernel_size=3, stride=1, padding=1, count_include_pad=True),
    ],
    hidden=[
        dict(shape=(2, 1, 8, 11), kernel_size=4, stride=3, padding=2, count_include_pad=False),
        dict(shape=(1, 4, 9, 7), kernel_size=2),
        dict(shape=(3, 2, 6, 10), kernel_size=5, stride=2, padding=2, is_slice=True),
        dict(shape=(1, 1, 7, 9), kernel_size=2, stride=3, padding=1, count_include_pad=False),
    ],
    weight=3,
)
def mean(avg_pool2d, draw, shape, kernel_size, is_slice=False, **given):
    around = _around(shape, is_slice)
    x = draw.normal(*around) * draw.mask(*around, share=0.7)
    x = _cut(x + 0.5 * draw.mask(*around, share=0.2), is_slice)
    return {"output": avg_pool2d(x, kernel_size, **given)}


@probe(
    "conv1x1",
    cases=[
        dict(batch=2, c_in=3, c_out=5, height=4, width=6),
        dict(batch=1, c_in=4, c_out=4, height=4, width=4, bias=True),
        dict(batch=3, c_in=4, c_out=2, height=3, width=5, bias=True),
        dict(batch=2, c_in=4, c_out=4, height=4, width=4),
    ],
    hidden=[
        dict(batch=2, c_in=6, c_out=3, height=5, width=2, bias=True),
        dict(batch=1, c_in=2, c_out=7, height=6, width=4),
        dict(batch=2, c_in=5, c_out=5, height=5, width=5, bias=True),
        dict(batch=2, c_in=3, c_out=4, height=4, width=3, bias=True, is_slice=True),
    ],
)
def mixed(conv1x1, draw, batch, c_in, c_out, height, width, bias=False, is_slice=False):
    x = _maps(draw, (batch, c_in, height, width), is_slice)
    weight = draw.normal(c_out, c_in)
    given = {"bias": draw.normal(c_out)} if bias else {}
    return {"output": conv1x1(x, weight, **given)}


@probe(
    "receptive_field",
    cases=[
        dict(layers=[(3, 2, 1, 1), (5, 1, 2, 1)]),
        dict(layers=[(3, 1, 1, 1), (3, 2, 2, 2), (3, 1, 4, 4), (2, 2, 0, 1)]),
        dict(layers=[(7, 2, 3, 1), (3, 2, 1, 1), (1, 1, 0, 1), (3, 3, 2, 3), (4, 1, 1, 2)]),
        dict(layers=[(4, 3, 2, 1)]),
    ],
    hidden=[
        dict(layers=[(5, 3, 1, 2), (2, 2, 1, 3), (3, 1, 0, 1)]),
        dict(layers=[(11, 4, 2, 1), (3, 2, 0, 1), (5, 1, 2, 1), (3, 2, 0, 1), (3, 1, 1, 1)]),
        dict(layers=[(2, 2, 0, 1)] * 4),
        dict(layers=[(1, 2, 0, 1), (2, 3, 1, 2), (3, 4, 2, 1)]),
        dict(layers=[]),
    ],
)
def field(receptive_field, draw, layers):
    size, jump, start = receptive_field([tuple(layer) for layer in layers])
    return {"size": size, "jump": jump, "start": start}


@probe(
    "upsample_nearest",
    cases=[
        dict(shape=(2, 3, 3, 5), factor=2),
        dict(shape=(1, 2, 4, 2), factor=3),
        dict(shape=(2, 1, 2, 3), factor=1),
    ],
    hidden=[
        dict(shape=(1, 4, 5, 3), factor=4),
        dict(shape=(3, 2, 2, 6), factor=2),
        dict(shape=(2, 3, 4, 3), factor=5, is_slice=True),
    ],
)
def duplicated(upsample_nearest, draw, shape, factor, is_slice=False):
    return {"output": upsample_nearest(_maps(draw, shape, is_slice), factor)}


@probe(
    "max_unpool2d",
    cases=[
        dict(shape=(2, 3), size=(6, 8), kernel_size=2),
        dict(shape=(1, 2), size=(7, 5), kernel_size=3),
        dict(shape=(3, 1), size=(5, 9), kernel_size=2),
    ],
    hidden=[
        dict(shape=(2, 2), size=(9, 6), kernel_size=3),
        dict(shape=(1, 4), size=(4, 11), kernel_size=2),
        dict(shape=(2, 3), size=(9, 7), kernel_size=2, is_slice=True),
    ],
    weight=2,
)
def put_back(max_unpool2d, draw, shape, size, kernel_size, is_slice=False):
    height, width = size
    rows, columns = height // kernel_size, width // kernel_size
    inside = draw.integers(2, *shape, rows, columns, low=0, high=kernel_size)
    row = kernel_size * torch.arange(rows)[:, None] + inside[0]
    column = kernel_size * torch.arange(columns) + inside[1]
    values = _maps(draw, (*shape, rows, columns), is_slice)
    return {"output": max_unpool2d(values, row * width + column, tuple(size))}


@probe(
    "max_unpool2d",
    cases=[dict(shape=(2, 2), size=(5, 7)), dict(shape=(1, 3), size=(6, 4))],
    hidden=[dict(shape=(2, 1), size=(7, 8))],
)
def overlapping_windows(max_unpool2d, draw, shape, size):
    plane = draw.normal(*shape, *size)
    cut = plane.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)  # (N, C, rows, columns, 9)
    values, inside = cut.max(dim=-1)
    row = torch.arange(values.shape[2])[:, None] + inside // 3
    column = torch.arange(values.shape[3]) + inside % 3
    return {"output": max_unpool2d(values, row * size[1] + column, tuple(size))}


@probe(
    "upsample_bilinear",
    cases=[
        dict(shape=(2, 3, 3, 5), size=(6, 10)),
        dict(shape=(1, 2, 4, 3), size=(7, 8), align_corners=True),
        dict(shape=(2, 1, 5, 4), size=(8, 11), align_corners=False),
        dict(shape=(1, 2, 9, 7), size=(4, 3)),
        dict(shape=(1, 1, 3, 6), size=(9, 2), align_corners=True),
    ],
    hidden=[
        dict(shape=(2, 2, 4, 6), size=(10, 9)),
        dict(shape=(1, 3, 6, 2), size=(5, 8), align_corners=True),
        dict(shape=(1, 2, 8, 5), size=(3, 12), align_corners=False),
        dict(shape=(2, 3, 4, 6), size=(7, 9), is_slice=True),
        dict(shape=(1, 2, 4, 4), size=(9, 6)),
    ],
    rtol=1e-5,
    atol=1e-6,
    dtypes=("float64", "float32"),
    why="Positions may be worked out in float32, as torch does for float32 images, or in float64.",
    weight=3,
)
def resized(upsample_bilinear, draw, shape, size, is_slice=False, **given):
    return {"output": upsample_bilinear(_maps(draw, shape, is_slice), tuple(size), **given)}


@probe(
    "conv_transpose2d",
    cases=[
        dict(shape=(2, 3, 4, 5), c_out=2, k=3),
        dict(shape=(1, 2, 3, 4), c_out=3, k=3, stride=2, padding=1, output_padding=1, bias=True),
        dict(shape=(1, 3, 4, 3), c_out=3, k=4, stride=3, padding=1, output_padding=2),
        dict(shape=(2, 2, 3, 5), c_out=2, k=2, stride=2, padding=0, output_padding=1, bias=True),
    ],
    hidden=[
        dict(shape=(2, 2, 5, 3), c_out=4, k=4, stride=2, padding=1, bias=True),
        dict(shape=(1, 3, 4, 6), c_out=3, k=5, stride=3, padding=2, output_padding=1, bias=True),
        dict(shape=(1, 1, 6, 4), c_out=2, k=2, stride=3, output_padding=2, bias=True),
        dict(shape=(2, 3, 3, 4), c_out=2, k=3, stride=2, bias=True, is_slice=True),
    ],
    weight=3,
)
def painted(conv_transpose2d, draw, shape, c_out, k, bias=False, is_slice=False, **given):
    x, weight = _maps(draw, shape, is_slice), draw.normal(shape[1], c_out, k, k)
    if bias:
        given = given | {"bias": draw.normal(c_out)}
    return {"output": conv_transpose2d(x, weight, **given)}


def _convolution(returned):
    if not isinstance(returned, nn.Conv2d):
        raise TypeError("an nn.Conv2d is expected")
    return returned


@probe(
    "dense_to_conv",
    cases=[
        dict(channels=3, height=2, width=4, features=5),
        dict(channels=2, height=3, width=2, features=4),
        dict(channels=4, height=3, width=3, features=3),
        dict(channels=5, height=1, width=1, features=2),
    ],
    hidden=[
        dict(channels=2, height=4, width=3, features=6),
        dict(channels=3, height=1, width=5, features=2, bias=False),
        dict(channels=3, height=3, width=2, features=4),
    ],
    weight=3,
)
def whole_map(dense_to_conv, draw, channels, height, width, features, bias=True):
    dense = draw.fill(nn.Linear(channels * height * width, features, bias=bias, dtype=draw.dtype))
    conv = _convolution(dense_to_conv(dense, channels, height, width))
    one_place = conv(draw.normal(2, channels, height, width))  # (2, features, 1, 1)
    larger = conv(draw.normal(1, channels, height + 2, width + 3))  # (1, features, 3, 4)
    return {"map of the layer's size": one_place, "larger map": larger}


@probe(
    "dense_to_conv",
    cases=[dict(channels=2, height=2, width=3, features=4)],
    hidden=[dict(channels=3, height=4, width=2, features=3)],
)
def weights_of_its_own(dense_to_conv, draw, channels, height, width, features):
    dense = draw.fill(nn.Linear(channels * height * width, features, dtype=draw.dtype))
    conv = _convolution(dense_to_conv(dense, channels, height, width))
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.zero_()
    return {
        "after the dense layer was emptied": conv(draw.normal(2, channels, height, width)),
        "every parameter can be trained": all(p.requires_grad for p in conv.parameters()),
    }
