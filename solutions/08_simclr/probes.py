"""How unit 08's exercises are put to the test."""

import torch
from torch.nn import functional as F

from autograder.probe import gradient, probe

# --- random_resized_crop: what it draws is read off pictures whose pixels hold their own row and
# column

MANY = 1500
"""Pictures in a statistic: a mean of uniform numbers over [a, b] then has a standard error of (b -
a) / 134."""

ERRORS = 5.5
"""Bounds of statistics, in standard errors: a right answer misses one in about thirty million
draws."""


def _rulers(count, rows, columns, dtype, noise=None):
    """(count, 2 or 3, rows, columns): the row of each pixel's centre, its column, and noise."""
    places = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    planes = [plane.to(dtype) for plane in places] + ([] if noise is None else [noise])
    return torch.stack(planes).expand(count, -1, -1, -1).clone()


def _boxes(crops):
    """(top, left, height, width), (N,) each, of what was cut out of rulers."""
    found = []
    for places in (crops[:, 0].mean(dim=2), crops[:, 1].mean(dim=1)):  # (N, rows), (N, columns)
        side = places.shape[1]
        first = side // 4  # away from the border, where interpolation ends
        last = side - 1 - first
        length = (places[:, last] - places[:, first]) * side / (last - first)
        found.append((places[:, first] - (first + 0.5) / side * length, length))
    (top, height), (left, width) = found
    return top, left, height, width


def _is_uniform(values, low, high):
    """Whether mean and spread are those of uniform numbers in [low, high], and none lies
    outside."""
    error = (high - low) / (12 * len(values)) ** 0.5
    unit = (values - low) / (high - low)
    inside = bool((unit > -1e-3).all() and (unit < 1 + 1e-3).all())
    centred = abs(values.mean().item() - (low + high) / 2) < ERRORS * error
    return inside and centred and abs(unit.std().item() - 12**-0.5) < 0.03


def _are_unrelated(one, other):
    """Whether two lists of numbers vary and are uncorrelated, as far as their length lets one tell.

    Numbers that are read off pixels vary by rounding alone where nothing was drawn.
    """
    if one.std() < 1e-3 or other.std() < 1e-3:
        return False
    together = torch.corrcoef(torch.stack([one, other]))[0, 1].abs().item()
    return together < ERRORS / len(one) ** 0.5  # False for NaN, too


def _fit(start, length, side):
    return bool((start > -1e-2).all() and (start + length < side + 1e-2).all())


RANGES = {"scale": (0.25, 1.0), "ratio": (3 / 4, 4 / 3)}


@probe(
    "random_resized_crop",
    cases=[
        dict(rows=16, columns=20, scale=(0.04, 0.49), ratio=(3 / 4, 4 / 3)),
        dict(rows=20, columns=16, scale=(0.12, 0.24), ratio=(0.3, 1.0)),
        dict(rows=18, columns=24, scale=(0.1, 0.4)),
        dict(rows=16, columns=16, ratio=(1.0, 1.0)),
    ],
    hidden=[
        dict(rows=24, columns=18, ratio=(4 / 5, 4 / 3)),
        dict(rows=16, columns=24, scale=(0.1, 0.2), ratio=(1.2, 3.0)),
        dict(rows=20, columns=17, scale=(0.2, 0.3)),
    ],
    weight=3,
)
def boxes(random_resized_crop, draw, rows, columns, **given):
    noise = draw.normal(rows, columns)
    images = _rulers(MANY, rows, columns, draw.dtype, noise)
    crops = random_resized_crop(images, draw.generator(), **given)
    scale, ratio = (
        torch.tensor((RANGES | given)[name], dtype=torch.float64) for name in ("scale", "ratio")
    )
    top, left, height, width = box = [each.double() for each in _boxes(crops)]
    area, logs = height * width / (rows * columns), (width / height).log()
    drawn = [area, top / (rows - height), left / (columns - width)]
    if ratio[0] < ratio[1]:
        drawn.append(logs)
    # Elsewhere the share of the room is badly known.
    roomy = (rows - height > 0.5) & (columns - width > 0.5)
    area_of, down, right, *proportion = (each[roomy] for each in drawn)
    again = _resampled(images[:4].double(), *(each[:4] for each in box))
    return {
        "areas lie in the range": bool(
            (area > scale[0] - 1e-3).all() and (area < scale[1] + 1e-3).all()
        ),
        "areas are uniform": _is_uniform(area, *scale.tolist()),
        "width / height lies in the range": bool(
            (logs > ratio[0].log() - 1e-2).all() and (logs < ratio[1].log() + 1e-2).all()
        ),
        "logarithms of width / height are uniform": not proportion
        or _is_uniform(logs, *ratio.log().tolist()),
        "boxes lie inside the picture": _fit(top, height, rows) and _fit(left, width, columns),
        "upper edges are uniform where there is room": _is_uniform(down, 0, 1),
        "left edges are uniform where there is room": _is_uniform(right, 0, 1),
        "rows and columns are independent": _are_unrelated(down, right),
        "area and ratio are independent": all(_are_unrelated(area_of, each) for each in proportion),
        "ratio and place are independent": all(
            _are_unrelated(each, place) for each in proportion for place in (down, right)
        ),
        "area and place are independent": _are_unrelated(area_of, down)
        and _are_unrelated(area_of, right),
        "different boxes": len((torch.stack(box, dim=1) * 1e3).round().unique(dim=0)) > 0.9 * MANY,
        "each is cut from its own picture": bool(
            torch.allclose(crops[:4].double(), again, atol=2e-2)
        ),
    }


def _resampled(images, top, left, height, width):
    """Boxes of pictures in float64, interpolated at the pixels' centres."""
    grids = []
    for start, length, side in ((top, height, images.shape[2]), (left, width, images.shape[3])):
        places = start[:, None] + (torch.arange(side) + 0.5) / side * length[:, None]
        grids.append(2 * places / side - 1)
    size = (len(images), *images.shape[2:])
    grid = torch.stack([grids[1][:, None].expand(size), grids[0][:, :, None].expand(size)], dim=-1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@probe(
    "random_resized_crop",
    cases=[dict(shape=(5, 3, 8, 12)), dict(shape=(3, 1, 9, 7))],
    hidden=[dict(shape=(1, 2, 7, 10))],
)
def the_generator(random_resized_crop, draw, shape):
    images, first = draw.normal(*shape), draw.generator()
    torch.manual_seed(1)
    one, following = random_resized_crop(images, first), random_resized_crop(images, first)
    torch.manual_seed(2)
    same = random_resized_crop(images, draw.generator())
    return {
        "the same generator gives the same crops": bool(torch.equal(one, same)),
        "the next call gives others": not torch.equal(one, following),
        "shape": tuple(one.shape),
    }


@probe(
    "random_resized_crop",
    cases=[dict(shape=(3, 2, 6, 9)), dict(shape=(2, 3, 8, 5))],
    hidden=[dict(shape=(4, 1, 7, 11))],
    rtol=1e-4,
    atol=1e-4,
    why="boxes may be computed in float32 whatever the pictures are",
    weight=2,
)
def the_whole_picture(random_resized_crop, draw, shape):
    images, proportion = draw.normal(*shape), shape[3] / shape[2]
    return {
        "the picture": random_resized_crop(
            images, draw.generator(), scale=(1.0, 1.0), ratio=(proportion, proportion)
        )
    }


@probe(
    "random_resized_crop",
    cases=[dict(rows=16, columns=12, ratio=0.4), dict(rows=12, columns=20, ratio=2.5)],
    hidden=[dict(rows=14, columns=18, ratio=3.0), dict(rows=20, columns=14, ratio=0.3)],
    rtol=1e-3,
    why="the sides are read off interpolated pixels",
    weight=2,
)
def sides_that_do_not_fit(random_resized_crop, draw, rows, columns, ratio):
    images = _rulers(3, rows, columns, draw.dtype, draw.normal(rows, columns))
    top, left, height, width = _boxes(
        random_resized_crop(images, draw.generator(), scale=(1, 1), ratio=(ratio, ratio))
    )
    return {
        "heights": height,
        "widths": width,
        "boxes lie inside the picture": _fit(top, height, rows) and _fit(left, width, columns),
    }


# --- color_distort


def _colours(draw, shape, dark=0.0, bright=1.0):
    """Pictures in [0, 1] whose channels, and whose means, differ."""
    tint = draw.uniform(shape[0], 3, 1, 1, low=dark, high=bright)
    return (0.5 * tint + 0.5 * draw.uniform(*shape)).to(draw.dtype)


def _factors(draw, count):
    return [draw.uniform(count, low=0.3, high=1.9) for _ in range(3)]


@probe(
    "color_distort",
    cases=[dict(shape=(5, 3, 4, 6)), dict(shape=(4, 3, 5, 3)), dict(shape=(6, 3, 2, 5))],
    hidden=[
        dict(shape=(1, 3, 3, 4), greys=0),
        dict(shape=(3, 3, 4, 5), greys=3),
        dict(shape=(3, 3, 5, 4), greys=0),
    ],
    weight=3,
)
def all_steps(color_distort, draw, shape, greys=2):
    images, factors = _colours(draw, shape), _factors(draw, shape[0])
    hue = draw.uniform(shape[0], low=0.1, high=0.9)
    to_grey = draw.permutation(shape[0]) < greys
    return {"output": color_distort(images, *factors, hue, to_grey)}


@probe(
    "color_distort",
    cases=[dict(step=0), dict(step=1), dict(step=2), dict(step=3)],
    hidden=[
        dict(step=0, count=3, first=0.0),
        dict(step=1, count=2, first=0.0),
        dict(step=2, count=3, first=0.0),
        dict(step=3, count=2, first=0.0),
    ],
    weight=2,
)
def one_step_alone(color_distort, draw, step, count=4, first=None):
    images = _colours(draw, (count, 3, 3, 5), dark=0.1, bright=0.9)
    given = [torch.ones(count, dtype=draw.dtype) for _ in range(3)] + [
        torch.zeros(count, dtype=draw.dtype)
    ]
    low, high = (0.2, 2.0) if step < 3 else (0.1, 0.9)
    given[step] = draw.uniform(count, low=low, high=high)
    if first is not None:
        given[step][0] = first
    return {"output": color_distort(images, *given, torch.zeros(count, dtype=torch.bool))}


# --- gaussian_blur

BLUR = 1e-5
WHY_BLUR = "kernels may be computed in float32, or with a tiny number beside sigma"


@probe(
    "gaussian_blur",
    cases=[
        dict(shape=(3, 2, 6, 8), kernel_size=5),
        dict(shape=(4, 3, 7, 5), kernel_size=7),
        dict(shape=(2, 1, 5, 9), kernel_size=3),
        dict(shape=(5, 2, 4, 6), kernel_size=1),
        dict(shape=(2, 2, 4, 5), kernel_size=7),
    ],
    hidden=[
        dict(shape=(3, 2, 9, 6), kernel_size=9),
        dict(shape=(1, 4, 5, 6), kernel_size=5),
        dict(shape=(3, 3, 5, 4), kernel_size=3, channels_last=True),
    ],
    rtol=BLUR,
    why=WHY_BLUR,
    weight=3,
)
def every_picture_its_own(gaussian_blur, draw, shape, kernel_size, channels_last=False):
    images, sigmas = draw.normal(*shape), draw.uniform(shape[0], low=0.4, high=2.5)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return {"output": gaussian_blur(images, sigmas, kernel_size=kernel_size)}


@probe(
    "gaussian_blur",
    cases=[dict(shape=(3, 2, 6, 7)), dict(shape=(4, 1, 5, 8))],
    hidden=[dict(shape=(2, 3, 6, 5), all_sharp=True)],
    rtol=BLUR,
    why=WHY_BLUR,
)
def some_of_them_sharp(gaussian_blur, draw, shape, all_sharp=False):
    """What became of the sharp pictures is told in words: a factor that should be infinite has the
    size that the learner's guard against 0 gives it."""
    images, sigmas = draw.normal(*shape), draw.uniform(shape[0], low=0.2, high=1.5)
    is_blurred = torch.arange(shape[0]) % 2 == (2 if all_sharp else 1)
    output = gaussian_blur(images, sigmas * is_blurred, kernel_size=5)
    sharp = output[~is_blurred]
    return {
        "pictures with a sigma": output[is_blurred],
        "shape": tuple(output.shape),
        "pictures with a sigma of 0 hold numbers": bool(torch.isfinite(sharp).all()),
        "pictures with a sigma of 0 stay as they are": bool(
            torch.allclose(sharp, images[~is_blurred], atol=1e-5)
        ),
    }


@probe(
    "gaussian_blur",
    cases=[dict(shape=(3, 2, 8, 6))],
    hidden=[dict(shape=(2, 3, 7, 9))],
    rtol=BLUR,
    why=WHY_BLUR,
)
def blur_of_seven(gaussian_blur, draw, shape):
    images, sigmas = draw.normal(*shape), draw.uniform(shape[0], low=1.0, high=4.0)
    return {"output": gaussian_blur(images, sigmas)}


# --- ProjectionHead

PARTS = ("fc1.weight", "bn.weight", "bn.bias", "bn.running_var", "fc2.weight", "fc2.bias")


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@probe(
    "ProjectionHead",
    cases=[dict(dims=(5, 7, 3), count=4), dict(dims=(6, 4, 8), count=3)],
    hidden=[dict(dims=(3, 5, 4), count=1), dict(dims=(8, 1, 5), count=3)],
)
def in_evaluation(ProjectionHead, draw, dims, count):
    head = draw.fill(ProjectionHead(*dims), required=PARTS)
    return {"z": head.eval()(draw.normal(count, dims[0])), "parameters": _count(head)}


@probe(
    "ProjectionHead",
    cases=[dict(dims=(4, 6, 3), count=5), dict(dims=(7, 3, 2), count=6)],
    hidden=[dict(dims=(5, 4, 6), count=4)],
)
def in_training(ProjectionHead, draw, dims, count):
    head = draw.fill(ProjectionHead(*dims), required=PARTS)
    z = head.train()(draw.normal(count, dims[0]))
    running = {"bn.running_mean": head.bn.running_mean, "bn.running_var": head.bn.running_var}
    return {"z": z} | running


LEARNED = ("fc1.weight", "bn.weight", "bn.bias", "fc2.weight", "fc2.bias")


@probe(
    "ProjectionHead",
    cases=[dict(dims=(4, 5, 3), count=5)],
    hidden=[dict(dims=(3, 4, 2), count=4)],
)
def gradients_of_the_head(ProjectionHead, draw, dims, count):
    head = draw.fill(ProjectionHead(*dims), required=PARTS).train()
    h, weights = draw.normal(count, dims[0], grad=True), draw.normal(count, dims[2])
    parameters = [head.get_parameter(name) for name in LEARNED]
    found = gradient((head(h) * weights).sum(), (h, *parameters))
    return {f"gradient of {name}": by for name, by in zip(("h", *LEARNED), found, strict=True)}


# --- nt_xent and contrastive_accuracy


def _pairs(draw, count, dim, apart=0.7, grad=False):
    """Two views of each picture, related, of all lengths."""
    common = draw.normal(count, dim)
    views = []
    for _ in range(2):
        lengths = draw.uniform(count, 1, low=0.3, high=3.0)
        views.append(
            ((common + apart * draw.normal(count, dim)) * lengths).detach().requires_grad_(grad)
        )
    return views


@probe(
    "nt_xent",
    cases=[
        dict(count=2, dim=5, temperature=0.5),
        dict(count=3, dim=4, temperature=0.1),
        dict(count=5, dim=7, temperature=0.3),
        dict(count=6, dim=3, temperature=1.7),
    ],
    hidden=[
        dict(count=1, dim=6, temperature=0.2),
        dict(count=3, dim=4, temperature=0.7, identical=True),
        dict(count=7, dim=2, temperature=1.3),
    ],
    weight=3,
)
def the_loss(nt_xent, draw, count, dim, temperature, identical=False):
    z1, z2 = _pairs(draw, count, dim)
    return {"loss": nt_xent(z1, z1.clone() if identical else z2, temperature)}


@probe(
    "nt_xent",
    cases=[dict(temperature=0.05)],
    hidden=[dict(temperature=0.006)],
    dtypes=("float32",),
)
def a_small_temperature(nt_xent, draw, temperature):
    """Two pictures on a line: a view has its partner on the other side, or two of the others."""
    z = draw.normal(1, 4)
    z = 2 * z / z.norm()  # well above the noise below, whatever was drawn
    z1 = torch.cat([z, -1.5 * z + 0.05 * draw.normal(1, 4)])
    z2 = torch.cat([-0.7 * z + 0.2 * draw.normal(1, 4), 2 * z + 0.3 * draw.normal(1, 4)])
    alone = nt_xent(z1[:1], z2[:1], temperature)
    return {"loss": nt_xent(z1, z2, temperature), "loss of one pair": alone}


@probe(
    "nt_xent",
    cases=[dict(count=4, dim=3, temperature=0.4), dict(count=2, dim=6, temperature=0.15)],
    hidden=[dict(count=5, dim=4, temperature=0.6)],
    weight=2,
)
def gradients_of_the_loss(nt_xent, draw, count, dim, temperature):
    z1, z2 = _pairs(draw, count, dim, grad=True)
    by_z1, by_z2 = gradient(nt_xent(z1, z2, temperature), (z1, z2))
    return {"gradient of z1": by_z1, "gradient of z2": by_z2}


@probe(
    "nt_xent",
    cases=[dict(count=4, dim=3, temperature=0.3)],
    hidden=[dict(count=3, dim=5, temperature=0.8)],
)
def a_vector_of_zeros(nt_xent, draw, count, dim, temperature):
    z1, z2 = _pairs(draw, count, dim)
    return {"loss": nt_xent(z1 * (torch.arange(count)[:, None] > 0), z2, temperature)}


@probe(
    "contrastive_accuracy",
    cases=[
        dict(count=24, dim=4, apart=0.6),
        dict(count=17, dim=3, apart=0.4),
        dict(count=30, dim=6, apart=1.0),
    ],
    hidden=[
        dict(count=21, dim=5, apart=0.8, identical=6),
        dict(count=32, dim=3, apart=0.3),
        dict(count=1, dim=3, apart=0.5),
    ],
    rtol=1e-6,
    why="a share may be computed in float32",
    weight=3,
)
def related_views(contrastive_accuracy, draw, count, dim, apart, identical=0):
    z1, z2 = _pairs(draw, count, dim, apart)
    z2 = torch.cat([z1[:identical], z2[identical:]])
    return {"accuracy": float(contrastive_accuracy(z1, z2))}


@probe(
    "contrastive_accuracy",
    cases=[dict(dim=3)],
    hidden=[dict(dim=5)],
    rtol=1e-6,
    why="a share may be computed in float32",
)
def views_that_point_apart(contrastive_accuracy, draw, dim):
    z = draw.normal(1, dim)
    return {"accuracy": float(contrastive_accuracy(z, -z + 0.1 * draw.normal(1, dim)))}


@probe(
    "contrastive_accuracy",
    cases=[dict(count=12, dim=4)],
    hidden=[dict(count=15, dim=3)],
    rtol=1e-6,
    why="a share may be computed in float32",
)
def first_views_alike(contrastive_accuracy, draw, count, dim):
    """First views come in twos that resemble each other more than their partners; second views do
    not."""
    z1, z2 = _pairs(draw, count, dim, apart=0.25)
    twin = z1[torch.arange(count) // 2 * 2]
    close = torch.where(
        (torch.arange(count) % 3 == 0)[:, None], twin + 0.02 * draw.normal(count, dim), z1
    )
    return {"accuracy": float(contrastive_accuracy(close, z2))}


# --- knn_classify


def _bank(draw, count, dim, classes):
    """Features around one centre a class, of all lengths, with labels."""
    labels = torch.cat([torch.arange(classes), draw.integers(count - classes, low=0, high=classes)])
    centres = draw.normal(classes, dim)
    lengths = draw.uniform(count, 1, low=0.3, high=3.0)
    return (centres[labels] + 1.3 * draw.normal(count, dim)) * lengths, labels


@probe(
    "knn_classify",
    cases=[
        dict(count=40, dim=4, classes=3, k=7, temperature=0.1),
        dict(count=60, dim=5, classes=4, k=12, temperature=0.5),
        dict(count=30, dim=3, classes=5, k=9, temperature=0.05),
    ],
    hidden=[
        dict(count=50, dim=6, classes=4, k=11, temperature=0.2, gap=4),
        dict(count=35, dim=3, classes=1, k=8, temperature=0.07),
        dict(count=20, dim=3, classes=3, k=4, temperature=0.3, queries=1),
    ],
    weight=3,
)
def labels_of_many(knn_classify, draw, count, dim, classes, k, temperature, gap=1, queries=150):
    features, labels = _bank(draw, count, dim, classes)
    labels = gap * labels + (gap > 1)
    return {
        "labels": knn_classify(
            features, labels, draw.normal(queries, dim), k=k, temperature=temperature
        )
    }


@probe(
    "knn_classify",
    cases=[dict(count=30, dim=4, k=30), dict(count=25, dim=3, k=1)],
    hidden=[dict(count=28, dim=5, k=28), dict(count=33, dim=2, k=1)],
)
def all_or_one(knn_classify, draw, count, dim, k):
    features, labels = _bank(draw, count, dim, 4)
    return {"labels": knn_classify(features, labels, draw.normal(60, dim), k=k, temperature=0.3)}


@probe("knn_classify", cases=[dict(count=70, dim=4)], hidden=[dict(count=64, dim=5)])
def unless_told_otherwise(knn_classify, draw, count, dim):
    features, labels = _bank(draw, count, dim, 6)
    common = 4 * draw.normal(1, dim)  # so that all cosines are large and many neighbours have a say
    return {"labels": knn_classify(features + common, labels, draw.normal(400, dim) + common)}


# --- alignment_uniformity


@probe(
    "alignment_uniformity",
    cases=[dict(count=5, dim=4), dict(count=3, dim=6, t=0.7), dict(count=8, dim=2, t=3.0)],
    hidden=[
        dict(count=6, dim=3, twins=True),
        dict(count=4, dim=1, t=1.4),
        dict(count=2, dim=4),
    ],
)
def both_numbers(alignment_uniformity, draw, count, dim, twins=False, **given):
    z1, z2 = _pairs(draw, count, dim)
    if twins:
        z1[1], z2[1] = z1[0], z2[0]
    alignment, uniformity = alignment_uniformity(z1, z2, **given)
    return {"alignment": float(alignment), "uniformity": float(uniformity)}


# --- gather_negatives


@probe(
    "gather_negatives",
    cases=[
        dict(processes=3, rank=1, shape=(2, 4)),
        dict(processes=2, rank=0, shape=(3, 2)),
        dict(processes=4, rank=3, shape=(2, 3)),
    ],
    hidden=[
        dict(processes=4, rank=2, shape=(2, 3), alike=True),
        dict(processes=1, rank=0, shape=(3, 2)),
        dict(processes=5, rank=1, shape=(1, 3)),
    ],
)
def what_all_have(gather_negatives, draw, processes, rank, shape, alike=False):
    local, calls = draw.normal(*shape, grad=True), []
    others = [draw.normal(*shape) for _ in range(processes)]
    if alike:
        others[0] = others[1] = local.detach().clone()

    def gather(sent):
        calls.append(sent.detach().clone())
        return [
            sent.detach().clone() if place == rank else other for place, other in enumerate(others)
        ]

    table = gather_negatives(local, gather, rank)
    weights = draw.normal(processes * shape[0], shape[1])
    if table.shape != weights.shape:
        weights = torch.ones_like(table)  # a wrong table has a gradient, too
    return {
        "table": table,
        "gradient of local": gradient((table * weights).sum(), local),
        "gather is called exactly once": len(calls) == 1,
    }
