"""How unit 09's exercises are put to the test."""

import itertools
import math

import torch
from torch import nn

from autograder.probe import gradient, probe, refuses

# --- multi_crop: what it cuts is read off pictures whose pixels hold their own row and column, and
# their picture's mark

MANY = 400
"""Pictures in a statistic: a mean of uniform numbers over [a, b] then has a standard error of (b -
a) / 69."""

ERRORS = 5.5
"""Bounds of statistics, in standard errors: a right answer misses one in about thirty million
draws."""

GLOBAL, LOCAL = (0.4, 1.0), (0.05, 0.4)


def _rulers(rows, columns, marks):
    """(MANY, 3, rows, columns): the row of each pixel's centre, its column, and the picture's
    mark."""
    places = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    pictures = (
        torch.stack([*places, torch.zeros(rows, columns)]).to(marks.dtype).repeat(MANY, 1, 1, 1)
    )
    pictures[:, 2] = marks[torch.arange(MANY) % len(marks), None, None]
    return pictures


def _boxes(view):
    """(top, left, height, width), (MANY,) each in float64, of what was cut out of rulers."""
    found = []
    rows = view[:, 0].mean(dim=2).double()  # (MANY, rows)
    columns = view[:, 1].mean(dim=1).double()  # (MANY, columns)
    for places in (rows, columns):
        side = places.shape[1]
        first = side // 4  # away from the border, where interpolation ends
        last = side - 1 - first
        length = (places[:, last] - places[:, first]) * side / (last - first)
        found.append((places[:, first] - (first + 0.5) / side * length, length))
    (top, height), (left, width) = found
    return top, left, height, width


def _lie(values, low, high):
    """Whether all values lie in [low, high], but for what is lost in reading them."""
    unit = (values - low) / (high - low)
    return bool(((unit > -2e-3) & (unit < 1 + 2e-3)).all())


def _is_uniform(values, low, high):
    """Whether mean, spread and extremes are those of uniform numbers in [low, high]."""
    count = max(len(values), 1)
    unit = (values - low) / (high - low)
    centred = abs(unit.mean().item() - 0.5) < ERRORS * (1 / 12 / count) ** 0.5
    spread = abs(unit.std().item() - 12**-0.5) < ERRORS * (1 / 60 / count) ** 0.5
    # An end that is empty by chance has a probability of e^-17.
    filled = len(unit) > 0 and unit.min().item() < 17 / count and unit.max().item() > 1 - 17 / count
    return _lie(values, low, high) and centred and spread and filled


def _are_unrelated(one, other):
    """Whether two lists of numbers vary and are uncorrelated, as far as their length lets one tell.

    Numbers that are read off pixels vary by rounding alone where nothing was drawn.
    """
    if one.std() < 1e-3 or other.std() < 1e-3:
        return False
    together = torch.corrcoef(torch.stack([one, other]))[0, 1].abs().item()
    return together < ERRORS / len(one) ** 0.5  # False for NaN, too


def _cut(multi_crop, draw, rows, columns, num_local, local_size, **scales):
    """(areas, tops, lefts, rows of room, columns of room), (views, MANY) each, and what holds for
    all boxes."""
    marks = draw.normal(97)
    pictures = _rulers(rows, columns, marks)
    views = multi_crop(pictures, draw.generator(), num_local, local_size, **scales)
    boxes = [_boxes(view) for view in views]
    # (views, MANY) each
    top, left, height, width = (torch.stack(each) for each in zip(*boxes, strict=True))
    inside = (
        (top > -1e-2)
        & (left > -1e-2)
        & (top + height < rows + 1e-2)
        & (left + width < columns + 1e-2)
    )
    kept = [
        torch.allclose(view[:, 2], pictures[:, 2, :1, :1], rtol=1e-4, atol=1e-4) for view in views
    ]
    different = [
        len((torch.stack(box, dim=1) * 1e3).round().unique(dim=0)) > 0.9 * MANY for box in boxes
    ]
    found = {
        "number of views": len(views),
        "boxes lie inside the picture": bool(inside.all()),
        "a view's pictures come in their order": all(kept),
        "pictures have boxes of their own": all(different),
    }
    return (height * width / (rows * columns), top, left, rows - height, columns - width), found


def _are_spread(starts, room):
    """Whether the boxes of every view begin anywhere, where they have room; starts, room: (views,
    MANY)."""
    roomy = room > 0.5  # elsewhere the share of the room is badly known
    return all(
        _is_uniform((start / left)[there], 0, 1)
        for start, left, there in zip(starts, room, roomy, strict=True)
    )


def _are_apart(numbers, pairs):
    """Whether the views of each pair have numbers of their own; numbers: lists of (views, MANY)."""
    return all(_are_unrelated(each[i], each[j]) for i, j in pairs for each in numbers)


@probe(
    "multi_crop",
    cases=[
        dict(
            rows=12,
            columns=15,
            num_local=3,
            local_size=9,
            global_scale=(0.3, 0.6),
            local_scale=(0.1, 0.25),
        ),
        dict(
            rows=15,
            columns=12,
            num_local=2,
            local_size=8,
            global_scale=(0.45, 0.55),
            local_scale=(0.08, 0.5),
        ),
    ],
    hidden=[
        dict(
            rows=14,
            columns=16,
            num_local=3,
            local_size=7,
            global_scale=(0.35, 0.6),
            local_scale=(0.12, 0.3),
        ),
        dict(
            rows=13,
            columns=12,
            num_local=1,
            local_size=10,
            global_scale=(0.3, 0.5),
            local_scale=(0.2, 0.35),
        ),
    ],
    weight=3,
)
def boxes(multi_crop, draw, rows, columns, num_local, local_size, global_scale, local_scale):
    scales = {"global_scale": global_scale, "local_scale": local_scale}
    (area, *places), found = _cut(multi_crop, draw, rows, columns, num_local, local_size, **scales)
    numbers, views = (area, *places[:2]), range(len(area))
    both_kinds = [(i, j) for i in views[:2] for j in views[2:]]
    return found | {
        "areas of global views lie in the range": _lie(area[:2], *global_scale),
        "areas of global views are uniform": all(
            _is_uniform(each, *global_scale) for each in area[:2]
        ),
        "areas of local views lie in the range": _lie(area[2:], *local_scale),
        "areas of local views are uniform": all(
            _is_uniform(each, *local_scale) for each in area[2:]
        ),
        "boxes lie anywhere": all(
            _are_spread(starts, room) for starts, room in zip(places[:2], places[2:], strict=True)
        ),
        "global views have boxes of their own": len(area) > 1 and _are_apart(numbers, [(0, 1)]),
        "local views have boxes of their own": _are_apart(
            numbers, itertools.combinations(views[2:], 2)
        ),
        "local boxes do not depend on global ones": _are_apart(numbers, both_kinds),
    }


@probe(
    "multi_crop",
    cases=[dict(rows=16, columns=16, num_local=3, local_size=8)],
    hidden=[dict(rows=18, columns=18, num_local=4, local_size=9)],
)
def areas_unless_told_otherwise(multi_crop, draw, rows, columns, num_local, local_size):
    (area, *_), found = _cut(multi_crop, draw, rows, columns, num_local, local_size)
    large = area[:2]  # a side that does not fit is cut, so the largest areas are not uniform
    return found | {
        "areas of global views lie in the range": _lie(large, *GLOBAL),
        "areas of global views fill the range": bool(
            (large.amin(dim=1) < 0.43).all() and (large.amax() > 0.9).all()
        ),
        "few global views show nearly all": bool((large > 0.95).float().mean() < 0.15),
        "areas of local views lie in the range": _lie(area[2:], *LOCAL),
        "areas of local views are uniform": _is_uniform(area[2:].flatten(), *LOCAL),
    }


@probe(
    "multi_crop",
    cases=[
        dict(shape=(3, 2, 9, 12), num_local=0, local_size=4),
        dict(shape=(2, 1, 12, 9), num_local=3, local_size=5),
        dict(shape=(4, 3, 6, 7), num_local=5, local_size=6),
        dict(shape=(2, 2, 8, 8), num_local=1, local_size=1),
    ],
    hidden=[
        dict(shape=(1, 2, 7, 8), num_local=1, local_size=5),
        dict(shape=(2, 3, 7, 10), num_local=7, local_size=3),
        dict(shape=(5, 1, 8, 6), num_local=0, local_size=6),
    ],
)
def sizes(multi_crop, draw, shape, num_local, local_size):
    views = multi_crop(draw.normal(*shape), draw.generator(), num_local, local_size)
    found = {"a list": isinstance(views, list), "number of views": len(views)}
    return found | {
        f"shape of view {number}": tuple(view.shape) for number, view in enumerate(views)
    }


@probe(
    "multi_crop",
    cases=[dict(shape=(4, 2, 8, 10), num_local=2, local_size=5)],
    hidden=[dict(shape=(3, 1, 9, 7), num_local=3, local_size=4)],
)
def the_generator(multi_crop, draw, shape, num_local, local_size):
    images, generator = draw.normal(*shape), draw.generator()
    torch.manual_seed(1)
    first, following = (multi_crop(images, generator, num_local, local_size) for _ in range(2))
    torch.manual_seed(2)
    again = multi_crop(images, draw.generator(), num_local, local_size)
    return {
        "the same generator gives the same views": all(map(torch.equal, first, again)),
        "the next call gives others": not any(map(torch.equal, first, following)),
    }


@probe(
    "multi_crop",
    cases=[
        dict(shape=(2, 1, 8, 11), local_size=9),
        dict(shape=(2, 3, 12, 7), local_size=10),
        dict(shape=(3, 2, 7, 8), local_size=9),
        dict(shape=(2, 1, 9, 9), local_size=9),
    ],
    hidden=[dict(shape=(3, 2, 6, 9), local_size=7), dict(shape=(1, 2, 9, 6), local_size=6)],
)
def local_views_that_do_not_fit(multi_crop, draw, shape, local_size):
    return {
        "refused with a ValueError": refuses(
            multi_crop, draw.normal(*shape), draw.generator(), 2, local_size
        )
    }


# --- DINOHead

LAYERS = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias")
NORMS = ("bn1.weight", "bn1.running_var", "bn2.weight", "bn2.running_var")
PARTS = (*LAYERS, *NORMS, "prototypes")


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@probe(
    "DINOHead",
    cases=[dict(dims=(5, 7, 3, 6), count=4), dict(dims=(6, 4, 8, 5), count=3)],
    hidden=[dict(dims=(3, 9, 4, 4), count=1), dict(dims=(8, 5, 6, 2), count=3)],
    atol=1e-6,
    why="an epsilon added to a norm is a matter of style",
)
def in_evaluation(DINOHead, draw, dims, count):
    head = draw.fill(DINOHead(*dims), required=PARTS)
    logits = head.eval()(draw.normal(count, dims[0]))
    return {
        "logits": logits,
        "parameters": _count(head),
        "shape of prototypes": tuple(head.prototypes.shape),
    }


@probe(
    "DINOHead",
    cases=[dict(dims=(4, 6, 3, 5), count=5), dict(dims=(7, 3, 4, 9), count=6)],
    hidden=[dict(dims=(5, 4, 6, 3), count=4)],
    weight=2,
    atol=1e-6,
    why="an epsilon added to a norm is a matter of style",
)
def in_training(DINOHead, draw, dims, count):
    head = draw.fill(DINOHead(*dims), required=PARTS)
    logits = head.train()(draw.normal(count, dims[0]))
    return {
        "logits": logits,
        "bn1.running_mean": head.bn1.running_mean,
        "bn1.running_var": head.bn1.running_var,
        "bn2.running_mean": head.bn2.running_mean,
        "bn2.running_var": head.bn2.running_var,
    }


LEARNED = (*LAYERS, "bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias", "prototypes")


@probe(
    "DINOHead",
    cases=[dict(dims=(3, 4, 3, 5), count=3)],
    hidden=[dict(dims=(2, 3, 4, 2), count=4)],
    atol=1e-6,
    why="an epsilon added to a norm is a matter of style",
)
def gradients_of_the_head(DINOHead, draw, dims, count):
    """In evaluation: behind a bias, a batch norm in training subtracts what the bias adds."""
    head = draw.fill(DINOHead(*dims), required=PARTS).eval()
    x, weights = draw.normal(count, dims[0], grad=True), draw.normal(count, dims[3])
    parts = dict(itertools.chain(head.named_parameters(), head.named_buffers()))
    found = gradient((head(x) * weights).sum(), (x, *(parts[name] for name in LEARNED)))
    return {f"gradient of {name}": by for name, by in zip(("x", *LEARNED), found, strict=True)}


@probe("DINOHead", cases=[dict(dims=(4, 5, 3, 6))], hidden=[dict(dims=(6, 3, 5, 4))], law=True)
def a_bottleneck_of_zeros(DINOHead, draw, dims):
    head, x = draw.fill(DINOHead(*dims), required=PARTS), draw.normal(3, dims[0])
    with torch.no_grad():
        head.fc3.weight.zero_()
        head.fc3.bias.zero_()
    return {"logits": head.eval()(x)}


@probe("DINOHead", cases=[dict(dims=(4, 5, 3, 6))], hidden=[dict(dims=(6, 3, 5, 4))], law=True)
def a_new_head(DINOHead, draw, dims):
    head = DINOHead(*dims).to(draw.dtype)
    logits = head.train()(draw.normal(5, dims[0]))
    lengths = head.prototypes.detach().norm(dim=-1, keepdim=True)
    directions = head.prototypes.detach() / lengths.clamp(min=1e-12)
    nearest = (directions @ directions.T).fill_diagonal_(-1).amax().item()
    return {
        "prototypes point somewhere": bool((lengths > 0).all()),
        "prototypes point in different directions": nearest < 0.9999,
        "logits are cosines": bool((logits.abs() <= 1 + 1e-5).all()),
        "everything learns": all(parameter.requires_grad for parameter in head.parameters()),
    }


@probe(
    "DINOHead",
    cases=[dict(dims=(4, 5, 16, 64))],
    hidden=[dict(dims=(3, 6, 24, 96))],
    law=True,
)
def where_new_prototypes_point(DINOHead, draw, dims):
    """Their mean entry has a standard error of 1 / sqrt(number of entries), of unit spread."""
    prototypes = DINOHead(*dims).prototypes.detach().double()
    spread = prototypes.std().clamp(min=1e-12)
    beyond = prototypes.mean().abs() / spread * prototypes.numel() ** 0.5
    return {"prototypes point to all sides": bool(beyond < ERRORS)}


# --- dino_loss


def _logits(draw, views, count, prototypes, grad=False, spread=1.0):
    """Logits of the student (views, N, K) and of the teacher (2, N, K), alike as after some
    training, and a center."""
    common = draw.normal(count, prototypes)
    student, teacher = (
        spread * (common + draw.normal(each, count, prototypes)) for each in (views, 2)
    )
    center = draw.normal(prototypes) + 0.5
    return (
        student.detach().requires_grad_(grad),
        teacher.detach().requires_grad_(grad),
        spread * center,
    )


@probe(
    "dino_loss",
    cases=[
        dict(views=2, count=3, prototypes=5, temperatures=(0.5, 0.3)),
        dict(views=3, count=4, prototypes=6, temperatures=(0.8, 0.4)),
        dict(views=5, count=2, prototypes=4, temperatures=(1.3, 0.7)),
        dict(views=4, count=1, prototypes=7, temperatures=(0.6, 1.1)),
    ],
    hidden=[
        dict(views=6, count=4, prototypes=4, temperatures=(0.7, 0.35)),
        dict(views=2, count=1, prototypes=5, temperatures=(0.4, 0.9)),
        dict(views=3, count=3, prototypes=3, temperatures=(0.9, 0.25)),
    ],
    weight=3,
)
def the_loss(dino_loss, draw, views, count, prototypes, temperatures):
    return {"loss": dino_loss(*_logits(draw, views, count, prototypes), *temperatures)}


@probe(
    "dino_loss",
    cases=[
        dict(views=3, count=3, prototypes=4, temperatures=(0.6, 0.4)),
        dict(views=2, count=4, prototypes=5, temperatures=(0.9, 0.5)),
    ],
    hidden=[dict(views=5, count=2, prototypes=6, temperatures=(0.5, 0.7))],
    weight=2,
)
def gradients_of_the_loss(dino_loss, draw, views, count, prototypes, temperatures):
    student, teacher, center = _logits(draw, views, count, prototypes, grad=True)
    by_student, by_teacher = gradient(
        dino_loss(student, teacher, center, *temperatures), (student, teacher)
    )
    return {"gradient of the student": by_student, "gradient of the teacher": by_teacher}


@probe(
    "dino_loss",
    cases=[dict(views=3, count=4, prototypes=5)],
    hidden=[dict(views=5, count=2, prototypes=7)],
)
def all_embeddings_equal(dino_loss, draw, views, count, prototypes):
    student, teacher = draw.normal(prototypes), draw.normal(prototypes)
    given = student.expand(views, count, -1), teacher.expand(2, count, -1), draw.normal(prototypes)
    return {"loss": dino_loss(*given, 0.5, 0.4)}


@probe(
    "dino_loss",
    cases=[dict(views=3, count=3, prototypes=6), dict(views=2, count=4, prototypes=5)],
    hidden=[dict(views=4, count=2, prototypes=8)],
)
def low_temperatures(dino_loss, draw, views, count, prototypes):
    """Logits so far apart that most of the student's probabilities are 0 in floating point."""
    given = _logits(draw, views, count, prototypes, spread=30.0)
    return {"loss": dino_loss(*given, 0.02, 5.0)}


@probe("dino_loss", cases=[dict(views=1), dict(views=2)], hidden=[dict(views=0), dict(views=3)])
def too_few_views(dino_loss, draw, views):
    given = _logits(draw, views, 3, 4)
    return {"refused with a ValueError": refuses(dino_loss, *given, 0.1, 0.04)}


# --- update_center


@probe(
    "update_center",
    cases=[
        dict(count=4, prototypes=5, momentum=0.9),
        dict(count=3, prototypes=3, momentum=0.6),
        dict(count=1, prototypes=6, momentum=0.25),
    ],
    hidden=[
        dict(count=4, prototypes=2, momentum=0.8, at_zero=True),
        dict(count=1, prototypes=7, momentum=0.3),
    ],
    weight=3,
)
def three_batches(update_center, draw, count, prototypes, momentum, at_zero=False):
    center, found = draw.normal(prototypes), {}
    if at_zero:
        center = torch.zeros_like(center)
    for step in range(3):
        teacher = draw.normal(2, count, prototypes, grad=True)
        center = update_center(center, teacher + 1, momentum)
        found |= {
            f"center after step {step + 1}": center.detach().clone(),
            f"the center after step {step + 1} carries no graph": _is_free(center),
        }
    return found


def _is_free(tensor):
    return not tensor.requires_grad


@probe(
    "update_center",
    cases=[dict(count=3, momentum=0.0), dict(count=2, momentum=1.0)],
    hidden=[dict(count=4, momentum=0.0), dict(count=3, momentum=1.0)],
)
def ends_of_the_range(update_center, draw, count, momentum):
    return {"center": update_center(draw.normal(5), draw.normal(2, count, 5), momentum)}


# --- update_teacher


class Network(nn.Module):
    """Layers within layers, a parameter of its own, and a batch norm whose counter is not at 0."""

    def __init__(self, shares=False):
        super().__init__()
        self.first, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.inner = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.Linear(3, 2, bias=False))
        self.prototypes = nn.Parameter(torch.zeros(2, 2))
        if shares:
            self.inner[0][0].weight = self.first.weight


def _network(draw, shares=False):
    network = draw.fill(Network(shares))
    network.norm.num_batches_tracked += 7
    return network


def _joined(tensors):
    return torch.cat([tensor.detach().flatten().clone() for tensor in tensors])


@probe(
    "update_teacher",
    cases=[
        dict(momentum=0.9, teacher_learns=False),
        dict(momentum=0.6, teacher_learns=True),
        dict(momentum=0.25, teacher_learns=False),
    ],
    hidden=[
        dict(momentum=0.8, teacher_learns=False, shares=True),
        dict(momentum=0.3, teacher_learns=True, evaluates=True),
    ],
    weight=3,
    may_change_inputs=True,
)
def three_steps(update_teacher, draw, momentum, teacher_learns, shares=False, evaluates=False):
    teacher, student = _network(draw, shares), _network(draw, shares)
    student.norm.num_batches_tracked += 5
    teacher.requires_grad_(teacher_learns)
    student.first.requires_grad_(False)  # as when a part of the student is frozen
    for network in (teacher, student):
        network.train(not evaluates)
    learns = [parameter.requires_grad for parameter in student.parameters()]
    before, found = list(teacher.parameters()), {}
    for step in range(1, 4):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter += draw.normal(*parameter.shape)
        update_teacher(teacher, student, momentum)
        found[f"parameters after step {step}"] = _joined(teacher.parameters())
    after = list(teacher.parameters())
    return found | {
        "buffers of the teacher": _joined([teacher.norm.running_mean, teacher.norm.running_var]),
        "batches the teacher has counted": int(teacher.norm.num_batches_tracked),
        "parameters of the student": _joined(student.parameters()),
        "buffers of the student": _joined([student.norm.running_mean, student.norm.running_var]),
        "the teacher's parameters are the same objects": all(
            a is b for a, b in zip(before, after, strict=True)
        ),
        "no graph is left": all(each.is_leaf and each.grad_fn is None for each in after),
        "requires_grad of the teacher stays": all(
            each.requires_grad == teacher_learns for each in after
        ),
        "requires_grad of the student stays": learns
        == [parameter.requires_grad for parameter in student.parameters()],
        "both stay in training or in evaluation": all(
            layer.training != evaluates
            for network in (teacher, student)
            for layer in network.modules()
        ),
    }


@probe(
    "update_teacher",
    cases=[dict(momentum=0.0), dict(momentum=1.0)],
    hidden=[dict(momentum=0.0), dict(momentum=1.0)],
    may_change_inputs=True,
)
def ends_of_the_range_of_momentum(update_teacher, draw, momentum):
    teacher, student = _network(draw), _network(draw)
    update_teacher(teacher, student, momentum)
    one_stays, other_moves = _joined(teacher.parameters()), None
    with torch.no_grad():
        student.first.weight += 1  # a teacher that holds the student's own tensors would move, too
        other_moves = _joined(teacher.parameters())
    return {
        "parameters": one_stays,
        "the teacher's numbers are its own": torch.equal(one_stays, other_moves),
    }


# --- teacher_temperature


@probe(
    "teacher_temperature",
    cases=[
        dict(warmup_steps=8, steps=(0, 1, 3, 6, 7, 8, 9, 40)),
        dict(warmup_steps=5, steps=(0, 2, 4, 5, 6, 11)),
        dict(warmup_steps=1, steps=(0, 1, 2, 7)),
    ],
    hidden=[
        dict(warmup_steps=11, steps=(0, 1, 5, 10, 11, 12, 100)),
        dict(warmup_steps=2, steps=(0, 1, 2, 3)),
    ],
    weight=3,
)
def over_the_steps(teacher_temperature, draw, warmup_steps, steps):
    start = draw.uniform(1, low=0.02, high=0.05).item()
    end = draw.uniform(1, low=0.06, high=0.09).item()
    return {
        f"step {step}": float(teacher_temperature(step, warmup_steps, start, end)) for step in steps
    }


@probe("teacher_temperature", cases=[], hidden=[dict(warmup_steps=4), dict(warmup_steps=7)])
def falling(teacher_temperature, draw, warmup_steps):
    start = draw.uniform(1, low=0.5, high=0.9).item()
    end = draw.uniform(1, low=0.1, high=0.3).item()
    return {
        f"step {step}": float(teacher_temperature(step, warmup_steps, start, end))
        for step in range(9)
    }


@probe("teacher_temperature", cases=[dict(steps=(1, 5))], hidden=[dict(steps=(2, 30))])
def no_warmup(teacher_temperature, draw, steps):
    start = draw.uniform(1, low=0.02, high=0.05).item()
    end = draw.uniform(1, low=0.06, high=0.09).item()
    return {f"step {step}": float(teacher_temperature(step, 0, start, end)) for step in steps}


# --- attention_mask


def _attention(draw, count, heads, tokens):
    """(count, heads, tokens): positive weights, all different in a head; heads have several sums.

    They are integers times a power of two, and so are their sums. Every running sum is then
    exact in any order, and where it crosses a share does not depend on the processor.
    """
    ties = torch.arange(1, tokens + 1)  # makes equal parts different
    whole = 1024 - math.ceil(ties.sum().item() / 32)
    cuts = draw.integers(count, heads, tokens - 1, high=whole + 1).sort(dim=-1).values
    ends = torch.nn.functional.pad(cuts, (0, 1), value=whole)
    parts = ends.diff(dim=-1, prepend=torch.zeros(count, heads, 1, dtype=ends.dtype))
    weights = 32 * parts + ties
    largest = weights.argmax(dim=-1, keepdim=True)
    missing = 2**15 - weights.sum(dim=-1, keepdim=True)
    weights = weights.scatter_add(-1, largest, missing)
    scales = 2.0 ** (2 * draw.integers(count, heads, 1, low=-2, high=2) - 14)
    return (weights * scales).to(draw.dtype)  # sums of 1/8, 1/2, 2 and 8


@probe(
    "attention_mask",
    cases=[
        dict(count=2, heads=3, tokens=9, share=0.8),
        dict(count=3, heads=2, tokens=16, share=0.35),
        dict(count=4, heads=4, tokens=12, share=0.95),
        dict(count=1, heads=5, tokens=7, share=1.0),
    ],
    hidden=[
        dict(count=2, heads=1, tokens=25, share=0.5),
        dict(count=3, heads=2, tokens=1, share=0.7),
        dict(count=1, heads=2, tokens=6, share=1.0),
    ],
    weight=3,
)
def heads_of_many_pictures(attention_mask, draw, count, heads, tokens, share):
    return {"mask": attention_mask(_attention(draw, count, heads, tokens), share)}


@probe(
    "attention_mask",
    cases=[dict(count=6, heads=4, tokens=16)],
    hidden=[dict(count=5, heads=3, tokens=25)],
)
def unless_told_otherwise(attention_mask, draw, count, heads, tokens):
    return {"mask": attention_mask(_attention(draw, count, heads, tokens))}


@probe(
    "attention_mask",
    cases=[dict(weights=(4, 2, 1, 1), share=0.5), dict(weights=(8, 4, 2, 0, 1, 1), share=0.75)],
    hidden=[
        dict(weights=(2, 1, 0.5, 0.5), share=0.75),
        dict(weights=(4, 2, 1, 1, 0, 0), share=1.0),
    ],
)
def exactly_the_share(attention_mask, draw, weights, share):
    """Sums of powers of two are exact, whatever the order: the largest tokens hold the share and
    nothing more."""
    order = torch.stack([draw.permutation(len(weights)) for _ in range(4)]).view(2, 2, len(weights))
    scale = 2.0 ** draw.integers(2, 2, 1, low=-3, high=4)
    return {"mask": attention_mask((torch.tensor(weights)[order] * scale).to(draw.dtype), share)}


@probe("attention_mask", cases=[dict(tokens=8, share=0.5)], hidden=[dict(tokens=16, share=0.75)])
def equal_weights(attention_mask, draw, tokens, share):
    """Any tokens will do, but no more of them than are needed."""
    mask = attention_mask(
        torch.full(
            (2, 3, tokens), 2.0 ** -float(draw.integers(1, low=0, high=5)), dtype=draw.dtype
        ),
        share,
    )
    return {"tokens kept": mask.sum(dim=-1)}


@probe("attention_mask", cases=[dict(tokens=10)], hidden=[dict(tokens=7)])
def one_token_holds_all(attention_mask, draw, tokens):
    places = draw.integers(3, 2, low=0, high=tokens)
    weights = 0.01 * draw.uniform(3, 2, tokens).scatter(2, places[..., None], 90)
    return {"mask": attention_mask(weights, 0.6)}


# --- mean_average_precision


def _collection(draw, count, dim, classes, apart=1.2):
    """Features around one centre a class, of all lengths, with labels; classes are of different
    sizes."""
    sizes = torch.arange(classes).repeat(2)
    labels = torch.cat([sizes, draw.integers(count - len(sizes), low=0, high=(classes + 1) // 2)])
    labels = labels[draw.permutation(count)]
    lengths = draw.uniform(count, 1, low=0.3, high=3.0)
    return (draw.normal(classes, dim)[labels] + apart * draw.normal(count, dim)) * lengths, labels


@probe(
    "mean_average_precision",
    cases=[
        dict(count=15, dim=4, classes=3),
        dict(count=24, dim=3, classes=5),
        dict(count=9, dim=6, classes=4),
    ],
    hidden=[
        dict(count=21, dim=5, classes=4),
        dict(count=12, dim=3, classes=3),
        dict(count=30, dim=8, classes=6),
    ],
    dtypes=("float64",),
    rtol=1e-5,
    why="precisions may be added up in float32; cosines in float64 have no ties",
    weight=3,
)
def classes_that_overlap(mean_average_precision, draw, count, dim, classes):
    return {"mAP": mean_average_precision(*_collection(draw, count, dim, classes))}


@probe(
    "mean_average_precision",
    cases=[dict(count=12, dim=4)],
    hidden=[dict(count=14, dim=5)],
    rtol=1e-5,
    why="precisions may be added up in float32",
)
def pairs_far_from_each_other(mean_average_precision, draw, count, dim):
    """Two pictures of a class point away from each other, so that the one to be found comes
    late."""
    half = draw.normal(count // 2, dim)
    features = torch.cat([half, 0.6 * draw.normal(count // 2, dim) - half])
    labels = torch.arange(count // 2).repeat(2) + 3  # labels need not begin at 0
    return {"mAP": mean_average_precision(features, labels)}


@probe(
    "mean_average_precision",
    cases=[],
    hidden=[dict(pairs=3), dict(pairs=4)],
    dtypes=("float64",),
    rtol=1e-5,
    why="precisions may be added up in float32",
)
def exactly_opposite(mean_average_precision, draw, pairs):
    """Vectors of four entries 1 or -1 and their opposites: their length is 2, and cosines of -1 are
    exact. A corner and its opposite are of different classes; the others lie anywhere."""
    signs = 2.0 * draw.mask(2, 4) - 1
    signs[1] = signs[0] * torch.tensor([1.0, 1.0, 1.0, -1.0])
    corners = (2.0 ** draw.integers(2, 1, low=-1, high=2) * signs).to(draw.dtype)
    others = draw.normal(2 * pairs, 4)
    features = torch.cat([corners, others, -corners])
    labels = torch.cat([torch.arange(2), torch.arange(2 * pairs) % pairs + 2, 1 - torch.arange(2)])
    return {"mAP": mean_average_precision(features, labels)}


@probe(
    "mean_average_precision",
    cases=[],
    hidden=[dict(pairs=3), dict(pairs=5)],
    dtypes=("float32",),
    rtol=1e-5,
    why="precisions may be added up in float32",
)
def near_twins_of_another_class(mean_average_precision, draw, pairs):
    """Two pictures of two classes whose lengths and whose cosine, 1, are exact in float32, though
    they differ. The others lie on one side or the other of what tells the two apart."""
    apart = 2.0**-13
    twins = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0 + apart, 1.0 - apart, 1.0, 1.0]])
    twins = 2.0 ** draw.integers(2, 1, low=-1, high=2) * twins
    side = 2.0 * draw.mask(2 * pairs, 1) - 1
    others = torch.cat([-side, side, draw.normal(2 * pairs, 2)], dim=1)
    labels = torch.cat([torch.arange(2), torch.arange(2 * pairs) % pairs])
    return {"mAP": mean_average_precision(torch.cat([twins, others]), labels)}


@probe(
    "mean_average_precision",
    cases=[dict(count=10, dim=6)],
    hidden=[dict(count=13, dim=5)],
    dtypes=("float64",),
    rtol=1e-5,
    why="precisions may be added up in float32",
    law=True,
)
def found_at_once(mean_average_precision, draw, count, dim):
    features, labels = _collection(draw, count, dim, 2, apart=0.01)
    apart = torch.eye(2, dim, dtype=draw.dtype)[labels]  # all of a class come before the rest
    return {
        "mAP": mean_average_precision(
            features / features.norm(dim=1, keepdim=True) * 0.1 + apart, labels
        )
    }


# --- copy_features


@probe(
    "copy_features",
    cases=[
        dict(count=3, tokens=6, dim=4, power=3.0),
        dict(count=2, tokens=9, dim=5, power=4.0),
        dict(count=4, tokens=5, dim=3, power=1.0),
        dict(count=2, tokens=7, dim=6, power=2.5),
    ],
    hidden=[
        dict(count=1, tokens=8, dim=2, power=2.0),
        dict(count=2, tokens=1, dim=7, power=3.5),
        dict(count=5, tokens=3, dim=4, power=0.5),
    ],
    weight=3,
)
def of_any_sign(copy_features, draw, count, tokens, dim, power):
    return {
        "features": copy_features(draw.normal(count, dim), draw.normal(count, tokens, dim), power)
    }


@probe(
    "copy_features",
    cases=[dict(count=3, tokens=8, dim=4)],
    hidden=[dict(count=2, tokens=6, dim=5)],
)
def unless_told_otherwise_four(copy_features, draw, count, tokens, dim):
    return {
        "features": copy_features(
            draw.normal(count, dim), draw.uniform(count, tokens, dim, high=2.0)
        )
    }


@probe(
    "copy_features",
    cases=[dict(tokens=5, dim=3, power=3.0)],
    hidden=[dict(tokens=4, dim=6, power=2.0)],
)
def nothing_above_zero(copy_features, draw, tokens, dim, power):
    """The pooled part alone, times a million: entries that are not positive count as a
    millionth."""
    patches = -draw.uniform(2, tokens, dim)
    features = copy_features(draw.normal(2, dim), patches, power)
    return {"pooled, times a million": 1e6 * features[:, dim:]}
