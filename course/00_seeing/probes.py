"""How each exercise of this unit is put to the test."""

import torch

from autograder.probe import gradient, probe

FLOAT32 = ("float32",)


def window(tensor, is_slice):
    """The tensor, or the part of it that leaves out its border rows and columns."""
    return tensor[..., 1:-1, 1:-1] if is_slice else tensor


# to_tensor
# --------------------------------------------------------------------------------------------------


@probe(
    "to_tensor",
    cases=[dict(height=4, width=6, channels=3), dict(height=5, width=3, channels=3)],
    hidden=[
        dict(height=7, width=2, channels=4),
        dict(height=3, width=8, channels=7),
        dict(height=4, width=5, channels=1),
        dict(height=6, width=7, channels=3, is_slice=True),
    ],
    dtypes=FLOAT32,
    weight=2,
)
def channels_last(to_tensor, draw, height, width, channels, is_slice=False):
    picture = draw.integers(height, width, channels, low=0, high=256, dtype=torch.uint8)
    return {"tensor": to_tensor(picture[1:-1, 1:-1] if is_slice else picture)}


@probe(
    "to_tensor",
    cases=[dict(height=5, width=4)],
    hidden=[dict(height=3, width=7)],
    dtypes=FLOAT32,
)
def grey(to_tensor, draw, height, width):
    picture = draw.integers(height, width, low=0, high=200, dtype=torch.uint8)
    return {"tensor": to_tensor(picture)}


# semantic_from_instances
# -----------------------------------------------------------------------------------------


@probe(
    "semantic_from_instances",
    cases=[dict(height=4, width=7, objects=3), dict(height=6, width=5, objects=5)],
    hidden=[
        dict(height=8, width=3, objects=6),
        dict(height=7, width=9, objects=2, is_slice=True),
        dict(height=3, width=4, objects=30),
    ],
    dtypes=FLOAT32,
)
def label_map(semantic_from_instances, draw, height, width, objects, is_slice=False):
    instances = window(draw.integers(height, width, low=0, high=objects + 1), is_slice)
    classes = draw.integers(objects, low=1, high=objects + 3)
    return {"classes of the pixels": semantic_from_instances(instances, classes)}


@probe(
    "semantic_from_instances",
    cases=[dict(height=4, width=6, seen=[0, 1, 2, 3, 4])],
    hidden=[dict(height=6, width=4, seen=[0, 1, 3, 4])],
    dtypes=FLOAT32,
)
def classes_that_are_also_ids(semantic_from_instances, draw, height, width, seen):
    """Object 1 is of class 3, object 3 of class 4, object 4 of class 1; objects that are not seen
    are hidden behind others."""
    places = draw.permutation(height * width).view(height, width) % len(seen)
    classes = torch.tensor([3, 7, 4, 1, 6][: 5 if len(seen) < 5 else 4])
    instances = torch.tensor(seen)[places]
    return {"classes of the pixels": semantic_from_instances(instances, classes)}


# boxes_from_masks
# ------------------------------------------------------------------------------------------------


@probe(
    "boxes_from_masks",
    cases=[dict(count=3, height=9, width=14), dict(count=4, height=16, width=7)],
    hidden=[
        dict(count=5, height=6, width=19, least=1),
        dict(count=2, height=21, width=8, is_slice=True),
    ],
    dtypes=FLOAT32,
    weight=2,
)
def scattered(boxes_from_masks, draw, count, height, width, least=2, is_slice=False):
    """Each mask has at least one pixel in its middle, and more elsewhere."""
    masks = draw.mask(count, height, width, share=0.06 if least > 1 else 0.01)
    masks[:, height // 2, width // 2] = True
    if least > 1:
        masks[:, height // 2 - 2, width // 2 + 1] = True
    return {"boxes": boxes_from_masks(window(masks, is_slice))}


@probe(
    "boxes_from_masks",
    cases=[dict(height=7, width=10, side=2)],
    hidden=[dict(height=12, width=5, side=1)],
    dtypes=FLOAT32,
)
def one_hidden_object(boxes_from_masks, draw, height, width, side):
    """The second of five masks is empty; the last three are a small square, a row and a column."""
    masks = draw.mask(5, height, width, share=0.15)
    masks[1:] = False
    masks[0, 1, 2] = masks[0, 4, 3] = True
    masks[2, 4 : 4 + side, 3 : 3 + side] = True
    masks[3, 5 : 5 + side, 1:4] = masks[4, 2:6, 4 : 4 + side] = True
    return {"boxes": boxes_from_masks(masks)}


# box_iou
# --------------------------------------------------------------------------------------------------


def boxes(draw, count, room):
    """`count` boxes with sides from 2 to 10 and a corner anywhere in a square of `room` pixels."""
    corner, sides = draw.uniform(count, 2, high=room), draw.uniform(count, 2, low=2, high=10)
    return torch.cat([corner, corner + sides], dim=1)  # (count, 4)


@probe(
    "box_iou",
    cases=[dict(first=3, second=5), dict(first=4, second=2)],
    hidden=[
        dict(first=6, second=1),
        dict(first=4, second=4, shift=-9),
        dict(first=1, second=1),
    ],
    weight=2,
)
def crowded(box_iou, draw, first, second, shift=0):
    return {"iou": box_iou(boxes(draw, first, 5) + shift, boxes(draw, second, 5) + shift)}


@probe("box_iou", cases=[dict(count=2), dict(count=3)], hidden=[dict(count=5), dict(count=4)])
def apart(box_iou, draw, count):
    """Boxes beside, below and diagonally across from one another: most pairs share nothing."""
    first = boxes(draw, count, 4)
    steps = draw.uniform(3, 1, low=15, high=20) * torch.tensor(
        [[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 1]]
    )
    second = torch.cat([first[:1] + steps.to(first), first[1:] + 1])
    return {"iou": box_iou(first, second)}


# gabor
# --------------------------------------------------------------------------------------------------


@probe(
    "gabor",
    cases=[
        dict(size=9, theta=0.4, wavelength=5.0, sigma=2.5, phase=0.7, aspect=0.6),
        dict(size=7, theta=2.2, wavelength=4.0, sigma=3.0, phase=-1.1, aspect=1.3),
    ],
    hidden=[
        dict(size=10, theta=1.1, wavelength=6.5, sigma=3.5, phase=2.0, aspect=0.8),
        dict(size=6, theta=-0.5, wavelength=3.0, sigma=1.5, phase=-0.4, aspect=0.4),
        dict(size=9, theta=2, wavelength=4, sigma=3, phase=1, aspect=2),
    ],
    dtypes=FLOAT32,
    rtol=2e-4,
    why="angles and wavelengths may be computed in another order, in single precision",
    weight=2,
)
def field(gabor, draw, size, theta, wavelength, sigma, phase, aspect):
    return {"field": gabor(size, theta, wavelength, sigma, phase=phase, aspect=aspect)}


@probe(
    "gabor",
    cases=[dict(size=7, theta=0.9, wavelength=4.5, sigma=2.0)],
    hidden=[dict(size=10, theta=2.7, wavelength=7.0, sigma=3.0)],
    dtypes=FLOAT32,
    rtol=2e-4,
    why="angles and wavelengths may be computed in another order, in single precision",
)
def with_defaults(gabor, draw, size, theta, wavelength, sigma):
    return {"field": gabor(size, theta, wavelength, sigma)}


@probe(
    "gabor",
    cases=[dict(size=7)],
    hidden=[dict(size=10)],
    dtypes=FLOAT32,
    rtol=1e-3,
    why="gradients in single precision sum over all pixels",
)
def slopes(gabor, draw, size):
    """The gradient of a weighted sum of the field with respect to each parameter, which training
    needs."""
    theta, wavelength = draw.uniform(grad=True), draw.uniform(low=4, high=6, grad=True)
    sigma, phase = draw.uniform(low=2, high=3, grad=True), draw.uniform(grad=True)
    weights = draw.normal(size, size)
    total = (gabor(size, theta, wavelength, sigma, phase) * weights).sum()
    names = (
        "gradient of theta",
        "gradient of wavelength",
        "gradient of sigma",
        "gradient of phase",
    )
    return dict(zip(names, gradient(total, [theta, wavelength, sigma, phase]), strict=True))


# simple_cell
# --------------------------------------------------------------------------------------------------


@probe(
    "simple_cell",
    cases=[dict(shape=(6, 5, 7)), dict(shape=(2, 5, 6, 3))],
    hidden=[dict(shape=(2, 2, 3, 4, 8)), dict(shape=(3, 2, 7, 6), is_slice=True)],
)
def responses(simple_cell, draw, shape, is_slice=False):
    images = window(draw.normal(*shape), is_slice)
    return {"responses": simple_cell(images, draw.normal(*images.shape[-2:]))}


@probe("simple_cell", cases=[dict(shape=(5, 4, 6))], hidden=[dict(shape=(2, 3, 5, 4))])
def field_gradient(simple_cell, draw, shape):
    """What fitting a field needs: some images excite it, and some do not."""
    images, receptive_field = draw.normal(*shape), draw.normal(*shape[-2:], grad=True)
    total = (simple_cell(images, receptive_field) * draw.uniform(*shape[:-2])).sum()
    return {"gradient of field": gradient(total, receptive_field)}


@probe("simple_cell", cases=[dict(size=5)], hidden=[dict(size=7)], dtypes=FLOAT32)
def one_image(simple_cell, draw, size):
    receptive_field = draw.normal(size, size + 2)
    return {
        "to its own field": simple_cell(receptive_field, receptive_field),
        "to the negative": simple_cell(-receptive_field, receptive_field),
    }


# complex_cell
# --------------------------------------------------------------------------------------------------


@probe(
    "complex_cell",
    cases=[dict(shape=(6, 5, 7)), dict(shape=(2, 4, 6, 3))],
    hidden=[dict(shape=(2, 2, 3, 4, 8)), dict(shape=(3, 2, 7, 6), is_slice=True)],
)
def energies(complex_cell, draw, shape, is_slice=False):
    images = window(draw.normal(*shape), is_slice)
    even, odd = draw.normal(*images.shape[-2:]), draw.normal(*images.shape[-2:])
    return {"responses": complex_cell(images, even, odd)}


@probe("complex_cell", cases=[dict(shape=(5, 4, 6))], hidden=[dict(shape=(2, 3, 5, 4))])
def images_gradient(complex_cell, draw, shape):
    """What a step towards the preferred image needs."""
    images = draw.normal(*shape, grad=True)
    even, odd = draw.normal(*shape[-2:]), draw.normal(*shape[-2:])
    total = (complex_cell(images, even, odd) * draw.uniform(*shape[:-2])).sum()
    return {"gradient of images": gradient(total, images)}


@probe("complex_cell", cases=[dict(size=6)], hidden=[dict(size=4)], dtypes=FLOAT32)
def contrast(complex_cell, draw, size):
    """The same image, its negative, and one of three times the contrast."""
    picture, even, odd = draw.normal(size, size), draw.normal(size, size), draw.normal(size, size)
    return {
        "to the image": complex_cell(picture, even, odd),
        "to its negative": complex_cell(-picture, even, odd),
        "to three times the contrast": complex_cell(3 * picture, even, odd),
    }
