"""Unit 08's solutions against torchvision, kornia, scipy, scikit-learn and
pytorch-metric-learning."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from autograder.authoring.lesson import read_lesson, solutions
from autograder.units import ROOT, SOLUTIONS

functions = solutions("08_simclr")
helpers = read_lesson(ROOT / SOLUTIONS / "08_simclr").namespace()
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def uniform(*shape, seed=0, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), **(TOLERANCE | tolerance))


# --- cutting

BOXES = [(0, 0, 8, 12), (1, 3, 6, 5), (2, 0, 3, 11), (5, 7, 2, 4)]  # top, left, height, width


@pytest.mark.parametrize("box", BOXES)
def test_a_box_of_whole_pixels_is_torchvisions_crop_but_for_its_border(box):
    """Beyond the box ours sees the picture's next pixels, and torchvision repeats the box's last
    ones."""
    from torchvision.transforms.v2.functional import resized_crop

    images = normal(3, 2, 8, 12)
    ours = helpers["crop_and_resize"](images, *torch.tensor([box] * 3, dtype=torch.float64).T)
    theirs = resized_crop(images, *box, size=[8, 12], antialias=False)
    height, width = box[2:]
    rows = (torch.arange(8) + 0.5) / 8 * height
    columns = (torch.arange(12) + 0.5) / 12 * width
    inside = ((rows >= 0.5) & (rows <= height - 0.5))[:, None] & (
        (columns >= 0.5) & (columns <= width - 0.5)
    )
    assert inside.sum() >= 4
    close(ours[..., inside], theirs[..., inside], rtol=1e-5, atol=1e-5)


def test_a_box_between_pixels_is_scipys_interpolation():
    plane, (top, left, height, width) = normal(9, 11), (1.3, 2.4, 5.2, 6.6)
    rows, columns = (
        top + (np.arange(9) + 0.5) / 9 * height,
        left + (np.arange(11) + 0.5) / 11 * width,
    )
    places = np.meshgrid(rows - 0.5, columns - 0.5, indexing="ij")
    box = (torch.tensor([each], dtype=torch.float64) for each in (top, left, height, width))
    ours = helpers["crop_and_resize"](plane[None, None], *box)[0, 0]
    close(ours, scipy.ndimage.map_coordinates(plane.numpy(), places, order=1), rtol=1e-5, atol=1e-5)


def test_boxes_are_distributed_as_torchvisions():
    """Areas and proportions of boxes that always fit, in 4000 draws each."""
    from torchvision.transforms import RandomResizedCrop

    scale, ratio, side = (
        (0.1, 0.3),
        (0.5, 1.6),
        400,
    )  # so large that torchvision's rounding does not matter
    torch.manual_seed(0)
    drawn = [
        RandomResizedCrop.get_params(torch.empty(1, side, side), list(scale), list(ratio))
        for _ in range(4000)
    ]
    top, left, height, width = torch.tensor(drawn, dtype=torch.float64).T
    theirs = [
        height * width / side**2,
        (width / height).log(),
        top / (side - height),
        left / (side - width),
    ]
    places = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    crops = functions["random_resized_crop"](
        torch.stack(places).double().expand(4000, -1, -1, -1), generator(), scale, ratio
    )
    rows, columns = crops[:, 0, :, 8], crops[:, 1, 8]
    sides = [(each[:, 11] - each[:, 4]) * 16 / 7 for each in (rows, columns)]
    starts = [
        each[:, 4] - 4.5 / 16 * length for each, length in zip((rows, columns), sides, strict=True)
    ]
    ours = [sides[0] * sides[1] / 256, (sides[1] / sides[0]).log()]
    ours += [start / (16 - length) for start, length in zip(starts, sides, strict=True)]
    for one, other in zip(ours, theirs, strict=True):
        assert scipy.stats.ks_2samp(one.numpy(), other.numpy()).pvalue > 1e-4


# --- colours


def only(step, values):
    """Arguments of color_distort with one step that does something."""
    count = len(values)
    given = [torch.ones(count, dtype=torch.float64) for _ in range(3)] + [
        torch.zeros(count, dtype=torch.float64)
    ]
    given[step] = values
    return *given, torch.zeros(count, dtype=torch.bool)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_brightness_contrast_and_saturation_are_torchvisions(step):
    from torchvision.transforms.v2 import functional

    adjust = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )[step]
    images, values = uniform(6, 3, 5, 7), uniform(6, seed=1, low=0.0, high=2.2)
    theirs = torch.cat([adjust(images[n : n + 1].float(), values[n].item()) for n in range(6)])
    # torchvision rounds the weights of grey, 0.2989, 0.587, 0.114
    close(
        functions["color_distort"](images, *only(step, values)).float(),
        theirs,
        rtol=1e-3,
        atol=1e-3,
    )


def test_grey_is_torchvisions_and_kornias():
    from torchvision.transforms.v2.functional import rgb_to_grayscale

    kornia = pytest.importorskip("kornia")
    images = uniform(4, 3, 5, 6)
    neutral = only(0, torch.ones(4, dtype=torch.float64))[:4]
    ours = functions["color_distort"](images, *neutral, torch.tensor([True, False, True, True]))
    close(ours[1], images[1])
    for theirs, tolerance in (
        (kornia.color.rgb_to_grayscale(images), 1e-6),
        (rgb_to_grayscale(images), 1e-3),
    ):
        close(ours[[0, 2, 3]], theirs[[0, 2, 3]].expand(3, 3, 5, 6), rtol=tolerance, atol=tolerance)


def test_hue_is_a_rotation_about_the_grey_axis():
    images, turns = uniform(5, 3, 4, 6, low=0.4, high=0.6), uniform(5, seed=2)
    ours = functions["color_distort"](images, *only(3, turns))
    for n in range(5):
        rotation = Rotation.from_rotvec(2 * math.pi * turns[n].item() * np.ones(3) / math.sqrt(3))
        theirs = rotation.apply(images[n].flatten(1).T.numpy()).T.reshape(3, 4, 6)
        close(ours[n], theirs)


def test_a_third_of_a_circle_is_what_hsv_gives():
    """At thirds of a circle, turning the cube and turning HSV's hue both permute the channels."""
    from torchvision.transforms.v2.functional import adjust_hue

    images = uniform(2, 3, 4, 5)
    ours = functions["color_distort"](
        images, *only(3, torch.full((2,), 1 / 3, dtype=torch.float64))
    )
    close(ours, images.roll(1, dims=1), rtol=1e-6, atol=1e-6)
    close(ours.float(), adjust_hue(images.float(), 1 / 3), rtol=1e-4, atol=1e-4)


# --- blur


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_blur_is_kornias_with_a_sigma_for_each_picture(kernel_size):
    kornia = pytest.importorskip("kornia")
    images, sigmas = normal(4, 3, 9, 8), uniform(4, seed=1, low=0.3, high=2.5)
    theirs = kornia.filters.gaussian_blur2d(
        images, kernel_size, sigmas[:, None].expand(4, 2), border_type="reflect"
    )
    close(functions["gaussian_blur"](images, sigmas, kernel_size), theirs, rtol=1e-6, atol=1e-6)


def test_blur_is_torchvisions_picture_by_picture_and_scipys():
    from torchvision.transforms.v2.functional import gaussian_blur

    images, sigmas = normal(3, 2, 10, 12), torch.tensor([0.5, 1.0, 1.4], dtype=torch.float64)
    ours = functions["gaussian_blur"](images, sigmas)
    for n, sigma in enumerate(sigmas.tolist()):
        close(ours[n], gaussian_blur(images[n], [7, 7], [sigma, sigma]), rtol=1e-6, atol=1e-6)
    scipys = scipy.ndimage.gaussian_filter(images[1, 0].numpy(), 1.0, mode="mirror", radius=3)
    close(ours[1, 0], scipys)


# --- the loss


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("count", "dim"), [(2, 3), (5, 8), (16, 4)])
def test_the_loss_is_pytorch_metric_learnings(count, dim, temperature):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    theirs = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=temperature))
    z1, z2 = 3 * normal(count, dim), normal(count, dim, seed=1)
    both = [(loss, [z.clone().requires_grad_() for z in (z1, z2)]) for loss in ("ours", theirs)]
    values, gradients = [], []
    for loss, (a, b) in both:
        value = functions["nt_xent"](a, b, temperature) if loss == "ours" else loss(a, b)
        values.append(value.detach())
        gradients.append(torch.cat(torch.autograd.grad(value, (a, b))))
    close(*values, rtol=1e-6, atol=1e-6)
    close(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_closed_forms(temperature):
    onehot, equal = torch.eye(8, dtype=torch.float64), torch.ones(8, 3, dtype=torch.float64)
    wanted = math.log(math.exp(1 / temperature) + 14) - 1 / temperature
    assert functions["nt_xent"](onehot, 5 * onehot, temperature).item() == pytest.approx(
        wanted, abs=1e-12
    )
    if temperature == 0.5:
        assert wanted == pytest.approx(1.06288, abs=1e-5)
    assert functions["nt_xent"](equal, equal, temperature).item() == pytest.approx(
        math.log(15), abs=1e-12
    )
    unrelated = functions["nt_xent"](normal(8, 5000), normal(8, 5000, seed=1), 50.0)
    assert unrelated.item() == pytest.approx(math.log(15), abs=1e-3)


def test_the_gradient_by_similarities_is_the_formula_of_the_text():
    """dl/dsim = (p - [partner]) / tau, seen through z on the sphere's tangent: here for free
    similarities."""
    sims = normal(6, 6).tanh().requires_grad_()
    partner = torch.arange(6).roll(3)
    logits = (sims / 0.3).masked_fill(torch.eye(6, dtype=torch.bool), -math.inf)
    loss = F.cross_entropy(logits, partner, reduction="sum")
    formula = (logits.softmax(dim=1) - F.one_hot(partner, 6)) / 0.3
    close(torch.autograd.grad(loss, sims)[0], formula.detach())


def test_edges_of_the_loss():
    z = normal(1, 4)
    assert functions["nt_xent"](z, -z, 0.5).item() == 0, "a single picture has no negatives"
    zeros = torch.zeros(3, 4, dtype=torch.float64)
    assert functions["nt_xent"](zeros, zeros, 0.5).item() == pytest.approx(math.log(5))
    assert functions["contrastive_accuracy"](z, z) == 1


def test_contrastive_accuracy_is_the_neighbour_of_scikit_learn():
    z1 = normal(40, 5)
    z2 = (z1 + 0.8 * normal(40, 5, seed=1)) * uniform(40, 1, seed=2, low=0.1, high=4)
    z = torch.cat([z1, z2])
    neighbours = KNeighborsClassifier(1, metric="cosine").fit(z, np.arange(80))
    second = neighbours.kneighbors(z, 2, return_distance=False)[
        :, 1
    ]  # the first is the view itself
    wanted = (second == np.roll(np.arange(80), 40)).mean()
    assert 0.2 < wanted < 0.95
    assert functions["contrastive_accuracy"](z1, z2) == pytest.approx(wanted)


def test_the_head_is_a_sequence_of_torchs_layers():
    head = functions["ProjectionHead"](5, 7, 3).double()
    sequence = nn.Sequential(
        nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)
    ).double()
    sequence.load_state_dict(
        dict(zip(sequence.state_dict(), head.state_dict().values(), strict=True))
    )
    h = normal(6, 5)
    close(head(h), sequence(h))
    close(head.eval()(h), sequence.eval()(h))
