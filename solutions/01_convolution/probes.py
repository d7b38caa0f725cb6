"""How each exercise of this unit is put to the test."""

from autograder.probe import gradient, probe


def _inner(tensor, is_slice):
    """The tensor, or the part of it that leaves out the first and last of its last two axes."""
    return tensor[..., 1:-1, 1:-1] if is_slice else tensor


@probe(
    "conv1d",
    cases=[
        dict(length=9, size=3),
        dict(length=12, size=4, stride=2),
        dict(length=8, size=3, padding=2),
        dict(length=14, size=3, dilation=3),
        dict(length=11, size=3, stride=2, padding=1, dilation=2),
        dict(length=13, size=2, stride=3, padding=1, dilation=4),
    ],
    hidden=[
        dict(length=17, size=5, stride=3, padding=2, dilation=2),
        dict(length=7, size=2),
        dict(length=10, size=1, stride=2, padding=1),
        dict(length=6, size=6),
        dict(length=16, size=3, stride=2, dilation=2, every=2),
        dict(length=5, size=2, padding=4),
    ],
    weight=3,
)
def output(conv1d, draw, length, size, every=1, **settings):
    signal, kernel = draw.normal(length)[::every], draw.normal(size)
    return {"output": conv1d(signal, kernel, **settings)}


@probe("conv1d", cases=[dict(length=10, size=3)], hidden=[dict(length=13, size=4)])
def by_position(conv1d, draw, length, size):
    signal, kernel = draw.normal(length), draw.normal(size)
    return {"output": conv1d(signal, kernel, 2, 1, 2)}


@probe(
    "output_size",
    cases=[
        dict(size=28, kernel_size=5),
        dict(size=32, kernel_size=3, padding=1),
        dict(size=10, kernel_size=3, stride=2),
        dict(size=11, kernel_size=4, stride=3, padding=2),
        dict(size=11, kernel_size=4, stride=3),
        dict(size=20, kernel_size=3, dilation=4),
        dict(size=23, kernel_size=5, stride=2, padding=1, dilation=2),
        dict(size=7, kernel_size=7),
    ],
    hidden=[
        dict(size=224, kernel_size=7, stride=2, padding=3),
        dict(size=31, kernel_size=4, stride=4, padding=1, dilation=3),
        dict(size=15, kernel_size=1, stride=2),
        dict(size=20, kernel_size=3, stride=7),
        dict(size=30, kernel_size=2, stride=5, padding=2, dilation=6),
    ],
    dtypes=("float32",),
    weight=3,
)
def positions(output_size, draw, **settings):
    return _positions(output_size(**settings))


@probe(
    "output_size",
    cases=[dict(arguments=(26, 3, 2, 1, 4))],
    hidden=[dict(arguments=(41, 5, 3, 2, 2))],
    dtypes=("float32",),
)
def positions_in_order(output_size, draw, arguments):
    return _positions(output_size(*arguments))


def _positions(returned):
    """The number, and whether it is of the type that the text asks for."""
    return {"positions": returned, "an `int` of Python": type(returned) is int}


@probe(
    "cross_correlate2d",
    cases=[
        dict(image=(5, 6), kernel=(3, 3)),
        dict(image=(7, 5), kernel=(2, 3)),
        dict(image=(6, 9), kernel=(4, 1)),
        dict(image=(3, 8), kernel=(3, 2)),
    ],
    hidden=[
        dict(image=(9, 4), kernel=(1, 3)),
        dict(image=(8, 10), kernel=(5, 2)),
        dict(image=(4, 3), kernel=(4, 3)),
        dict(image=(8, 9), kernel=(2, 3), is_slice=True),
    ],
)
def response(cross_correlate2d, draw, image, kernel, is_slice=False):
    picture = _inner(draw.normal(*image), is_slice)
    return {"output": cross_correlate2d(picture, draw.normal(*kernel))}


@probe(
    "convolve2d",
    cases=[
        dict(image=(5, 6), kernel=(3, 3)),
        dict(image=(6, 4), kernel=(2, 3)),
        dict(image=(4, 7), kernel=(4, 2)),
        dict(image=(4, 6), kernel=(1, 5)),
    ],
    hidden=[
        dict(image=(7, 3), kernel=(3, 1)),
        dict(image=(2, 6), kernel=(5, 4)),
        dict(image=(8, 8), kernel=(2, 2)),
        dict(image=(7, 6), kernel=(2, 3), is_slice=True),
    ],
    weight=3,
)
def full(convolve2d, draw, image, kernel, is_slice=False):
    picture = _inner(draw.normal(*image), is_slice)
    return {"output": convolve2d(picture, draw.normal(*kernel))}


@probe(
    "convolve2d",
    cases=[dict(first=(5, 7), second=(5, 7)), dict(first=(4, 6), second=(4, 6))],
    hidden=[dict(first=(4, 1), second=(3, 5))],
    law=True,
    atol=1e-5,
    why=(
        "The two orders add the same products in another order; in float32 that alone can leave"
        " 1e-6 where 0 is right."
    ),
)
def commutes(convolve2d, draw, first, second):
    a, b = draw.normal(*first), draw.normal(*second)
    return {"difference of the two orders": convolve2d(a, b) - convolve2d(b, a)}


@probe(
    "sobel",
    cases=[dict(height=6, width=9), dict(height=8, width=5), dict(height=3, width=4)],
    hidden=[
        dict(height=4, width=3),
        dict(height=10, width=7),
        dict(height=9, width=8, is_slice=True),
    ],
)
def gradients(sobel, draw, height, width, is_slice=False):
    gx, gy, magnitude = sobel(_inner(draw.normal(height, width), is_slice))
    return {"gx": gx, "gy": gy, "magnitude": magnitude}


@probe(
    "conv2d",
    cases=[
        dict(images=(2, 3, 7, 6), weight=(4, 3, 3, 2)),
        dict(images=(3, 2, 8, 9), weight=(3, 2, 3, 3), bias=True, stride=2, padding=1),
        dict(images=(2, 2, 9, 7), weight=(3, 2, 2, 3), bias=True, stride=(3, 1)),
        dict(images=(1, 3, 5, 6), weight=(2, 3, 3, 3), padding=(2, 0)),
        dict(images=(2, 1, 9, 8), weight=(2, 1, 3, 2), dilation=(2, 3)),
        dict(
            images=(2, 3, 10, 11),
            weight=(4, 3, 3, 2),
            bias=True,
            stride=(1, 2),
            padding=(1, 2),
            dilation=(2, 1),
        ),
    ],
    hidden=[
        dict(images=(3, 4, 6, 9), weight=(2, 4, 2, 4), bias=True, stride=(2, 3), padding=(0, 2)),
        dict(
            images=(2, 2, 11, 8),
            weight=(5, 2, 4, 2),
            stride=(3, 2),
            padding=(3, 1),
            dilation=(1, 4),
        ),
        dict(images=(1, 1, 3, 4), weight=(1, 1, 3, 4), bias=True),
        dict(images=(4, 5, 6, 7), weight=(3, 5, 1, 1), stride=2),
        dict(images=(2, 2, 9, 8), weight=(2, 2, 3, 2), bias=True, stride=(1, 2), is_slice=True),
    ],
    weight=4,
)
def maps(conv2d, draw, images, weight, bias=False, is_slice=False, **settings):
    pictures, filters = _inner(draw.normal(*images), is_slice), draw.normal(*weight)
    if bias:
        settings["bias"] = draw.normal(weight[0]) - 1  # most of them negative
    return {"output": conv2d(pictures, filters, **settings)}


@probe(
    "conv2d",
    cases=[
        dict(
            images=(2, 2, 6, 5), weight=(3, 2, 2, 3), stride=(2, 1), padding=(1, 2), dilation=(2, 1)
        )
    ],
    hidden=[
        dict(
            images=(3, 1, 5, 8), weight=(2, 1, 3, 2), stride=(1, 3), padding=(2, 0), dilation=(1, 2)
        )
    ],
)
def maps_in_order(conv2d, draw, images, weight, stride, padding, dilation):
    pictures, filters, bias = draw.normal(*images), draw.normal(*weight), draw.normal(weight[0])
    return {"output": conv2d(pictures, filters, bias, stride, padding, dilation)}


@probe(
    "conv2d",
    cases=[dict(images=(2, 2, 6, 5), weight=(3, 2, 3, 2), stride=(2, 1), padding=(1, 0))],
    hidden=[dict(images=(1, 3, 5, 7), weight=(2, 3, 2, 3), stride=(1, 2), padding=(0, 2))],
)
def maps_gradients(conv2d, draw, images, weight, stride, padding):
    pictures, filters = draw.normal(*images, grad=True), draw.normal(*weight, grad=True)
    bias = draw.normal(weight[0], grad=True)
    output = conv2d(pictures, filters, bias, stride=stride, padding=padding)
    found = gradient((output * output).sum(), (pictures, filters, bias))
    return dict(zip(("images gradient", "weight gradient", "bias gradient"), found, strict=True))


@probe(
    "conv_matrix",
    cases=[
        dict(kernel=(2, 3), height=4, width=6),
        dict(kernel=(3, 3), height=5, width=4),
        dict(kernel=(3, 2), height=7, width=5, stride=2),
        dict(kernel=(2, 2), height=5, width=8, stride=3),
    ],
    hidden=[
        dict(kernel=(1, 4), height=3, width=7, stride=2),
        dict(kernel=(4, 2), height=6, width=3),
        dict(kernel=(2, 1), height=6, width=6, stride=4),
        dict(kernel=(4, 5), height=4, width=6, is_slice=True),
        dict(kernel=(3, 4), height=3, width=4),
    ],
)
def matrix(conv_matrix, draw, kernel, height, width, is_slice=False, **settings):
    weights = _inner(draw.normal(*kernel), is_slice)
    return {"matrix": conv_matrix(weights, height, width, **settings)}


@probe(
    "conv2d_backward",
    cases=[
        dict(images=(2, 3, 6, 5), weight=(4, 3, 3, 2)),
        dict(images=(3, 2, 8, 9), weight=(3, 2, 3, 3), stride=2, padding=1),
        dict(images=(2, 2, 9, 6), weight=(3, 2, 2, 3), stride=(3, 2)),
        dict(images=(1, 3, 5, 6), weight=(2, 3, 3, 3), padding=(2, 1)),
        dict(images=(2, 1, 8, 7), weight=(2, 1, 3, 2), stride=(2, 3), padding=(1, 2)),
    ],
    hidden=[
        dict(images=(3, 4, 6, 9), weight=(2, 4, 2, 4), stride=(1, 3), padding=(0, 2)),
        dict(images=(2, 2, 11, 8), weight=(5, 2, 4, 2), stride=(4, 2), padding=(3, 0)),
        dict(images=(1, 1, 3, 4), weight=(1, 1, 3, 4)),
        dict(images=(4, 5, 4, 7), weight=(3, 5, 1, 1), stride=2),
        dict(images=(2, 3, 8, 9), weight=(3, 3, 3, 2), stride=2, padding=1, is_slice=True),
    ],
    weight=4,
)
def backward(conv2d_backward, draw, images, weight, is_slice=False, **settings):
    pictures, filters = _inner(draw.normal(*images), is_slice), draw.normal(*weight)
    grad_output = draw.normal(images[0], weight[0], *_out(pictures.shape, weight, **settings))
    return _named(conv2d_backward(grad_output, pictures, filters, **settings))


@probe(
    "conv2d_backward",
    cases=[dict(images=(2, 2, 7, 6), weight=(3, 2, 3, 2), stride=(2, 1), padding=(1, 0))],
    hidden=[dict(images=(1, 2, 6, 8), weight=(2, 2, 2, 3), stride=(1, 2), padding=(0, 1))],
)
def backward_in_order(conv2d_backward, draw, images, weight, stride, padding):
    pictures, filters = draw.normal(*images), draw.normal(*weight)
    grad_output = draw.normal(images[0], weight[0], *_out(images, weight, stride, padding))
    return _named(conv2d_backward(grad_output, pictures, filters, stride, padding))


def _out(images, weight, stride=1, padding=0):
    strides = (stride, stride) if isinstance(stride, int) else stride
    paddings = (padding, padding) if isinstance(padding, int) else padding
    return [(images[2 + a] + 2 * paddings[a] - weight[2 + a]) // strides[a] + 1 for a in range(2)]


def _named(gradients):
    grad_images, grad_weight, grad_bias = gradients
    return {
        "images gradient": grad_images,
        "weight gradient": grad_weight,
        "bias gradient": grad_bias,
    }
