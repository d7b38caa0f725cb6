"""Other right solutions of unit 08's exercises, and the shortcuts that must be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.wheat import shortcut, wheat
from cvcourse import measures, models


def _cut(images, top, left, height, width):
    """Boxes by an affine map, as a spatial transformer writes it."""
    count, _, rows, columns = images.shape
    theta = torch.zeros(count, 2, 3, dtype=torch.float64)
    theta[:, 0, 0], theta[:, 0, 2] = width / columns, (2 * left + width) / columns - 1
    theta[:, 1, 1], theta[:, 1, 2] = height / rows, (2 * top + height) / rows - 1
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.dtype)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@wheat("random_resized_crop")
def with_uniform_(images, generator, scale=(0.25, 1.0), ratio=(3 / 4, 4 / 3)):
    count, _, rows, columns = images.shape

    def between(low, high):
        return torch.empty(count, dtype=torch.float64).uniform_(low, high, generator=generator)

    left, top = between(0, 1), between(0, 1)
    root = (
        (between(*scale) * rows * columns).sqrt()
        if scale[0] < scale[1]
        else torch.tensor(scale[0] * rows * columns)
    )
    root = root.sqrt().expand(count) if root.ndim == 0 else root
    logs = [math.log(r) for r in ratio]
    half = (between(*logs) if logs[0] < logs[1] else torch.full((count,), logs[0])) / 2
    height = torch.minimum(root * torch.exp(-half), torch.tensor(float(rows)))
    width = torch.minimum(root * torch.exp(half), torch.tensor(float(columns)))
    return _cut(images, top * (rows - height), left * (columns - width), height, width)


@wheat("random_resized_crop")
def picture_by_picture(images, generator, scale=(0.25, 1.0), ratio=(3 / 4, 4 / 3)):
    rows, columns = images.shape[2:]
    boxes = []
    for _ in range(len(images)):
        a, r, y, x = torch.rand(4, generator=generator).tolist()
        area = (scale[0] * (1 - a) + scale[1] * a) * rows * columns
        proportion = math.exp((1 - r) * math.log(ratio[0]) + r * math.log(ratio[1]))
        height = min(math.sqrt(area / proportion), rows)
        width = min(math.sqrt(area * proportion), columns)
        boxes.append((y * (rows - height), x * (columns - width), height, width))
    return _cut(images, *torch.tensor(boxes, dtype=torch.float64).T)


def _grey(pixels):
    return 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]


@wheat("color_distort")
def one_after_the_other(images, brightness, contrast, saturation, hue, to_grey):
    results = []
    for n in range(len(images)):
        pixels = torch.clamp(images[n] * brightness[n], min=0, max=1)
        level = _grey(pixels).mean()
        pixels = torch.clamp(contrast[n] * pixels + (1 - contrast[n]) * level, min=0, max=1)
        pixels = torch.clamp(
            saturation[n] * pixels + (1 - saturation[n]) * _grey(pixels), min=0, max=1
        )
        angle = 2 * math.pi * hue[n]
        axis = torch.full((3,), 3**-0.5, dtype=images.dtype)
        flat = pixels.flatten(1).T  # (pixels, 3)
        along = (flat @ axis)[:, None] * axis
        across = torch.linalg.cross(axis.expand_as(flat), flat)
        turned = along + torch.cos(angle) * (flat - along) + torch.sin(angle) * across
        pixels = torch.clamp(turned.T.reshape(pixels.shape), min=0, max=1)
        results.append(_grey(pixels).expand_as(pixels) if to_grey[n] else pixels)
    return torch.stack(results)


@wheat("gaussian_blur")
def by_matrices(images, sigmas, kernel_size=7):
    """One matrix along each axis and picture; reflection by index."""
    reach = kernel_size // 2
    u = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernels = torch.zeros(len(images), kernel_size, dtype=torch.float64)
    for n, sigma in enumerate(sigmas.double()):
        if sigma == 0:
            kernels[n, reach] = 1
        else:
            kernels[n] = torch.softmax(-0.5 * (u / sigma) ** 2, dim=0)

    def matrix(side):
        table = torch.zeros(len(images), side, side, dtype=torch.float64)
        for i in range(side):
            for offset in range(-reach, reach + 1):
                j = abs(i + offset)
                j = 2 * (side - 1) - j if j >= side else j
                table[:, i, j] += kernels[:, offset + reach]
        return table.to(images.dtype)[:, None]

    return matrix(images.shape[2]) @ images @ matrix(images.shape[3]).mT


@wheat("gaussian_blur")
def in_one_pass(images, sigmas, kernel_size=7):
    reach = kernel_size // 2
    axis = torch.linspace(-reach, reach, kernel_size, dtype=images.dtype)
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    blurred = []
    for picture, sigma in zip(F.pad(images, (reach,) * 4, mode="reflect"), sigmas, strict=True):
        weights = (
            torch.exp(-square / (2 * sigma**2)) if sigma > 0 else (square == 0).to(images.dtype)
        )
        weights = weights / weights.sum()
        blurred.append(F.conv2d(picture[:, None], weights[None, None])[:, 0])
    return torch.stack(blurred)


@wheat("gaussian_blur")
def by_shifted_sums_in_numpy(images, sigmas, kernel_size=7):
    """A tiny number beside sigma keeps 0 from being divided by 0."""
    reach = kernel_size // 2
    pixels = images.detach().numpy()
    blurred = np.empty_like(pixels)
    for picture, sigma, output in zip(pixels, sigmas.tolist(), blurred, strict=True):
        weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2 + 1e-10))
        weights /= weights.sum()
        wide = np.pad(picture, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        rows, columns = picture.shape[1:]
        wide = sum(w * wide[:, i : i + rows] for i, w in enumerate(weights))
        output[:] = sum(w * wide[:, :, i : i + columns] for i, w in enumerate(weights))
    return torch.from_numpy(blurred)


@wheat("color_distort")
@torch.no_grad()
def without_gradients(images, *parameters):
    return one_after_the_other(images, *parameters)


@wheat("ProjectionHead")
class HeadWithFunctions(nn.Module):
    def __init__(self, in_dim, hidden_dim, out_dim):
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features=hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, out_dim)
        self.fc1 = nn.Linear(in_dim, hidden_dim, False)

    def forward(self, h):
        hidden = F.relu(self.bn(h @ self.fc1.weight.T))
        return F.linear(hidden, self.fc2.weight, self.fc2.bias)


@shortcut("ProjectionHead")
class TheCoursesHead(models.ProjectionHead):
    def forward(self, h):
        return models.ProjectionHead.forward(self, h)


@wheat("nt_xent")
def term_by_term(z1, z2, temperature):
    z = torch.cat([z1, z2])
    z = z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    count, total = len(z1), 0.0
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        cosines = (z[i] * z).sum(dim=1) / temperature
        others = torch.cat([cosines[:i], cosines[i + 1 :]])
        total = total + torch.logsumexp(others, dim=0) - cosines[j]
    return total / (2 * count)


@wheat("nt_xent")
def interleaved(z1, z2, temperature):
    """The two views of a picture one below the other, log_softmax, and a large negative number on
    the diagonal."""
    z = F.normalize(torch.stack([z1, z2], dim=1).flatten(0, 1), dim=-1)
    logits = torch.einsum("id,jd->ij", z, z) / temperature
    logits = logits - 1e9 * torch.eye(len(z), dtype=z.dtype)
    partner = torch.arange(len(z)) ^ 1
    return -logits.log_softmax(dim=1).gather(1, partner[:, None]).mean()


@wheat("nt_xent")
def by_four_blocks(z1, z2, temperature):
    a, b = (z / torch.sqrt((z * z).sum(1, keepdim=True) + 1e-30) for z in (z1, z2))
    same = ~torch.eye(len(a), dtype=torch.bool)
    within_a, within_b = ((x @ x.T / temperature)[same].view(len(a), -1) for x in (a, b))
    across = a @ b.T / temperature
    first = torch.cat([across, within_a], dim=1).logsumexp(1) - across.diagonal()
    second = torch.cat([across.T, within_b], dim=1).logsumexp(1) - across.diagonal()
    return (first.mean() + second.mean()) / 2


@wheat("contrastive_accuracy")
def by_counting(z1, z2):
    z = torch.cat([z1, z2])
    z = z / z.norm(dim=1, keepdim=True)
    found = 0
    for i in range(len(z)):
        rest = [j for j in range(len(z)) if j != i]
        best = max(rest, key=lambda j: float(z[i] @ z[j]))
        found += abs(best - i) == len(z1)
    return found / len(z)


@wheat("knn_classify")
def by_sorting(train_features, train_labels, features, k=20, temperature=0.1):
    bank = train_features / train_features.norm(dim=1, keepdim=True)
    classes = int(train_labels.max()) + 1
    answers = []
    for query in features / features.norm(dim=1, keepdim=True):
        cosines = bank @ query
        order = cosines.argsort(descending=True)[:k]
        votes = torch.zeros(classes, dtype=features.dtype)
        votes.index_add_(
            0, train_labels[order], torch.exp((cosines[order] - cosines.max()) / temperature)
        )
        answers.append(votes.argmax())
    return torch.stack(answers)


@shortcut("knn_classify")
def the_courses_neighbours(*arguments, **keywords):
    return measures.knn_classify(*arguments, **keywords)


@wheat("alignment_uniformity")
def by_cosines(z1, z2, t=2.0):
    """On the sphere a squared distance is 2 - 2 cos."""
    a, b = (z / z.norm(dim=1, keepdim=True) for z in (z1.double(), z2.double()))
    alignment = float((2 - 2 * (a * b).sum(dim=1)).mean())
    logs = []
    for u in (a, b):
        pairs = [(i, j) for i in range(len(u)) for j in range(i)]
        terms = [math.exp(-t * float(2 - 2 * u[i] @ u[j])) for i, j in pairs]
        logs.append(math.log(sum(terms) / len(terms)))
    return alignment, sum(logs) / 2


@shortcut("alignment_uniformity")
def the_courses_measures(z1, z2, t=2.0):
    return measures.alignment(z1, z2), (measures.uniformity(z1, t) + measures.uniformity(z2, t)) / 2


@wheat("gather_negatives")
def with_slices(local, gather, rank):
    table = torch.cat(tuple(gather(local)), dim=0).clone()
    table[rank * len(local) : (rank + 1) * len(local)] = local
    return table


@wheat("gather_negatives")
def with_a_straight_path(local, gather, rank):
    """Values from the copies, gradient from `local - local.detach()`, which is zero."""
    parts = torch.stack(list(gather(local.detach())))  # (processes, n, D)
    place = F.one_hot(torch.tensor(rank), len(parts)).to(local.dtype)
    return (parts + place[:, None, None] * (local - local.detach())).flatten(0, 1)


@shortcut("random_resized_crop")
def the_courses_crop(*arguments, **keywords):
    return models.random_resized_crop(*arguments, **keywords)


@shortcut("color_distort")
def the_courses_colours(*arguments, **keywords):
    return models.color_distort(*arguments, **keywords)


@shortcut("gaussian_blur")
def the_courses_blur(*arguments, **keywords):
    return models.gaussian_blur(*arguments, **keywords)


@shortcut("nt_xent")
def the_courses_loss(*arguments, **keywords):
    return models.nt_xent(*arguments, **keywords)


@shortcut("contrastive_accuracy")
def the_courses_accuracy(*arguments, **keywords):
    return models.contrastive_accuracy(*arguments, **keywords)


@shortcut("gather_negatives")
def the_courses_gathering(*arguments, **keywords):
    return models.gather_negatives(*arguments, **keywords)
