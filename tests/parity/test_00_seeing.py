"""Unit 00 against numpy, SciPy, Pillow, scikit-image and kornia."""

import itertools
import math
from types import SimpleNamespace

import kornia
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.signal import correlate2d
from skimage.filters import gabor_kernel
from skimage.measure import regionprops
from skimage.util import img_as_float32, map_array

from autograder.authoring.lesson import solutions
from cvcourse import data

unit = SimpleNamespace(**solutions("00_seeing"))
SHAPES = [(5, 9), (8, 3), (1, 6)]


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [*SHAPES, (4, 6, 3), (7, 5, 3), (3, 4, 4)])
def test_to_tensor_against_pillow_and_skimage(shape):
    pixels = torch.randint(0, 256, shape, generator=generator(0)).to(torch.uint8)
    bands = Image.fromarray(pixels.numpy()).split()
    expected = np.stack([img_as_float32(np.asarray(band)) for band in bands])
    result = unit.to_tensor(pixels)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(6, 5, 3), (4, 7, 5)])
def test_to_tensor_against_kornia(shape):
    pixels = torch.randint(0, 256, shape, generator=generator(1)).to(torch.uint8)
    expected = kornia.image.image_to_tensor(pixels.numpy()).float() / 255
    torch.testing.assert_close(unit.to_tensor(pixels), expected)


@pytest.mark.parametrize(("shape", "objects"), list(itertools.product(SHAPES, [1, 4, 9])))
def test_semantic_from_instances_against_skimage(shape, objects):
    instances = torch.randint(0, objects + 1, shape, generator=generator(objects))
    classes = torch.randint(1, 6, (objects,), generator=generator(2))
    table = np.concatenate([[0], classes.numpy()])
    expected = map_array(instances.numpy(), np.arange(objects + 1), table)
    np.testing.assert_array_equal(
        unit.semantic_from_instances(instances, classes).numpy(), expected
    )


@pytest.mark.parametrize("objects", [1, 3, 5])
def test_targets_against_the_painted_scenes(objects):
    scenes = data.scenes(8, size=(40, 56), objects=objects, seed=objects)
    numbers = torch.arange(1, objects + 1)[:, None, None]
    for index in range(len(scenes)):
        instances = scenes.instance_masks[index].long()
        semantic = unit.semantic_from_instances(instances, scenes.classes[index] + 1)
        assert torch.equal(semantic, scenes.semantic_masks[index].long())
        assert torch.equal(unit.boxes_from_masks(instances == numbers).float(), scenes.boxes[index])


@pytest.mark.parametrize(
    ("shape", "share"), list(itertools.product([(9, 14), (20, 6), (1, 8)], [0.02, 0.2]))
)
def test_boxes_from_masks_against_scipy_and_skimage(shape, share):
    masks = torch.rand(6, *shape, generator=generator(3)) < share
    result = unit.boxes_from_masks(masks)
    for mask, box in zip(masks.numpy().astype(int), result.tolist(), strict=True):
        found = ndimage.find_objects(mask)
        if not found:
            assert box == [0, 0, 0, 0]
            continue
        rows, columns = found[0]
        assert box == [columns.start, rows.start, columns.stop, rows.stop]
        top, left, bottom, right = regionprops(mask)[0].bbox
        assert box == [left, top, right, bottom]


def boxes(count, seed, dtype=torch.float32):
    corner = 12 * torch.rand(count, 2, generator=generator(seed), dtype=dtype)
    sides = 1 + 8 * torch.rand(count, 2, generator=generator(seed + 10), dtype=dtype)
    return torch.cat([corner, corner + sides], dim=1)


@pytest.mark.parametrize("counts", [(1, 1), (4, 7), (6, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_box_iou_against_kornia(counts, dtype):
    first, second = boxes(counts[0], 4, dtype), boxes(counts[1], 5, dtype)
    result = unit.box_iou(first, second)
    assert result.dtype == dtype
    torch.testing.assert_close(result, kornia.metrics.mean_iou_bbox(first, second))


def test_box_iou_against_counted_pixels():
    first, second = boxes(5, 6).round(), boxes(4, 7).round()

    def painted(corners):
        canvas = np.zeros((30, 30), dtype=bool)
        left, top, right, bottom = corners.int().tolist()
        canvas[top:bottom, left:right] = True
        return canvas

    expected = [
        [(painted(a) & painted(b)).sum() / (painted(a) | painted(b)).sum() for b in second]
        for a in first
    ]
    np.testing.assert_allclose(unit.box_iou(first, second).numpy(), np.array(expected), rtol=1e-6)


GABORS = list(
    itertools.product([7, 13], [0.0, 0.6, 2.5], [4.0, 6.5], [2.0, 3.0], [0.0, 1.2], [0.5, 1.0])
)


def by_skimage(size, theta, wavelength, sigma, phase, aspect):
    """Complex Gabor cut out of scikit-image's larger, normalised one; odd sizes only."""
    kernel = gabor_kernel(
        1 / wavelength, theta, sigma_x=sigma, sigma_y=sigma / aspect, offset=phase, n_stds=9
    )
    top, left = ((side - size) // 2 for side in kernel.shape)
    return kernel[top : top + size, left : left + size] * (2 * math.pi * sigma**2 / aspect)


@pytest.mark.parametrize("values", GABORS)
def test_gabor_against_skimage(values):
    size, theta, wavelength, sigma, phase, aspect = values
    result = unit.gabor(size, theta, wavelength, sigma, phase=phase, aspect=aspect)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), by_skimage(*values).real, atol=2e-5)


@pytest.mark.parametrize("size", [4, 8, 11])
def test_gabor_of_any_size_against_numpy(size):
    theta, wavelength, sigma, phase, aspect = 0.7, 5.0, 2.5, -0.8, 0.6
    rows, columns = np.indices((size, size)) - (size - 1) / 2
    turned = (columns + 1j * rows) * np.exp(-1j * theta)
    bell = np.exp(-0.5 * ((turned.real / sigma) ** 2 + (aspect * turned.imag / sigma) ** 2))
    expected = bell * np.cos(2 * np.pi * turned.real / wavelength + phase)
    np.testing.assert_allclose(
        unit.gabor(size, theta, wavelength, sigma, phase, aspect).numpy(), expected, atol=1e-5
    )


@pytest.mark.parametrize("position", range(4))
def test_gabor_slopes_against_differences(position):
    values, step = [0.7, 5.0, 2.5, -0.8], 1e-2
    weights = torch.randn(9, 9, generator=generator(8))
    parameters = [torch.tensor(value, requires_grad=True) for value in values]
    slope = torch.autograd.grad((unit.gabor(9, *parameters) * weights).sum(), parameters[position])[
        0
    ]
    above, below = list(values), list(values)
    above[position] += step
    below[position] -= step
    difference = ((unit.gabor(9, *above) - unit.gabor(9, *below)) * weights).sum() / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("leading", "shape"), list(itertools.product([(), (5,), (2, 3)], [(7, 7), (4, 9)]))
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_simple_cell_against_scipy(leading, shape, dtype):
    images = torch.randn(*leading, *shape, generator=generator(9), dtype=dtype)
    field = torch.randn(*shape, generator=generator(10), dtype=dtype)
    result = unit.simple_cell(images, field)
    assert result.shape == leading and result.dtype == dtype
    flat = images.reshape(-1, *shape).numpy()
    expected = [
        max(0.0, correlate2d(picture, field.numpy(), mode="valid").item()) for picture in flat
    ]
    np.testing.assert_allclose(result.reshape(-1).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("leading", "shape"), list(itertools.product([(), (5,), (2, 3)], [(7, 7), (4, 9)]))
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_cell_against_complex_numbers(leading, shape, dtype):
    images = torch.randn(*leading, *shape, generator=generator(11), dtype=dtype)
    even, odd = (torch.randn(*shape, generator=generator(seed), dtype=dtype) for seed in (12, 13))
    result = unit.complex_cell(images, even, odd)
    assert result.shape == leading and result.dtype == dtype
    pair = even.numpy().astype(complex) + 1j * odd.numpy()
    expected = np.abs(np.tensordot(images.numpy(), pair, axes=2))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_complex_cell_against_skimage_on_gratings():
    """A quadrature pair from scikit-image sees gratings of every phase alike."""
    pair = by_skimage(25, 0.6, 8.0, 4.0, 0.0, 0.5)
    rows, columns = np.indices((25, 25)) - 12
    across = columns * math.cos(0.6) + rows * math.sin(0.6)
    gratings = np.stack([np.cos(2 * np.pi * across / 8 - psi) for psi in np.linspace(0, 6, 9)])
    even, odd = (unit.gabor(25, 0.6, 8.0, 4.0, phase=phase) for phase in (0.0, -math.pi / 2))
    result = unit.complex_cell(torch.from_numpy(gratings).float(), even, odd).numpy()
    np.testing.assert_allclose(result, np.abs(np.tensordot(gratings, pair, axes=2)), rtol=1e-4)
    assert np.ptp(result) < 0.01 * result.max()
