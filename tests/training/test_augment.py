"""Batched augmentation: Pillow's pictures for the same parameters, and the laws of these."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from cvcourse.training import (
    Compose,
    Cutout,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
)
from cvcourse.training.augment import Normalize, RandomAffine, RandomChoice, RandomColour

AFFINE = RandomAffine(rotation=40, shear=0.3, scale=0.2, translation=0.2)
EVERY = [
    RandomCrop(3),
    RandomFlip(),
    RandomBrightness(0.5),
    RandomContrast(0.5),
    RandomColour(0.9),
    AFFINE,
    Cutout(5),
    RandomChoice(RandomFlip(share=1.0), RandomBrightness(0.5), Cutout(5), count=2),
]
DRAWING = EVERY[:-1]  # those that have parameters of their own


def pictures(count=40, height=12, width=15, channels=3):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(
        0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_pillow(picture):
    return Image.fromarray(picture.permute(1, 2, 0).numpy())


def to_tensor(picture):
    width, height = picture.size
    values = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return values.view(height, width, 3).permute(2, 0, 1)


def cropped(picture, row, column):
    width, height = picture.size
    return ImageOps.expand(picture, 3).crop((column, row, column + width, row + height))


def cut(picture, row, column):
    picture = picture.copy()
    ImageDraw.Draw(picture).rectangle((column - 2, row - 2, column + 2, row + 2), fill=(0, 0, 0))
    return picture


def mirrored(picture, flip):
    return ImageOps.mirror(picture) if flip else picture


def enhanced(kind):
    """Pillow's enhancer of this kind, as a function of picture and factor."""
    return lambda picture, factor: kind(picture).enhance(factor)


@pytest.mark.parametrize(
    ("augmentation", "by_pillow", "tolerance"),
    [
        (RandomCrop(3), cropped, 0),
        (RandomFlip(), mirrored, 0),
        (RandomBrightness(0.5), enhanced(ImageEnhance.Brightness), 1),
        (RandomContrast(0.5), enhanced(ImageEnhance.Contrast), 1),
        (RandomColour(0.9), enhanced(ImageEnhance.Color), 1),
        (Cutout(5), cut, 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_same_parameters_give_pillows_pictures(augmentation, by_pillow, tolerance):
    """To one grey level where Pillow rounds its mean or its product."""
    images = pictures()
    parameters = augmentation.draw(images, generator())
    found = augmentation.apply(images, *parameters)
    assert found.dtype == torch.uint8
    for index, picture in enumerate(images):
        own = [values[index].item() for values in parameters]
        wanted = to_tensor(by_pillow(to_pillow(picture), *own))
        assert (found[index].int() - wanted.int()).abs().max() <= tolerance, index


@pytest.mark.parametrize("augmentation", DRAWING, ids=lambda value: type(value).__name__)
def test_floats_are_changed_as_bytes_are(augmentation):
    images = pictures()
    parameters = augmentation.draw(images, generator())
    floats = augmentation.apply(images / 255, *parameters)
    assert floats.dtype == torch.float32
    assert ((floats * 255) - augmentation.apply(images, *parameters)).abs().max() < 1.001


@pytest.mark.parametrize("augmentation", EVERY, ids=lambda value: type(value).__name__)
def test_images_stay_as_they_are_and_the_seed_decides(augmentation):
    images = pictures()
    before = images.clone()
    first = augmentation(images, generator(1))
    assert torch.equal(images, before)
    assert torch.equal(first, augmentation(images, generator(1)))
    assert not torch.equal(first, augmentation(images, generator(2)))


@pytest.mark.parametrize("augmentation", EVERY, ids=lambda value: type(value).__name__)
def test_each_image_has_parameters_of_its_own(augmentation):
    images = pictures(1).expand(50, -1, -1, -1)
    found = {image.numpy().tobytes() for image in augmentation(images, generator())}
    assert len(found) > (1 if isinstance(augmentation, RandomFlip) else 5)


def test_every_window_is_equally_likely():
    """49 windows of 20,000 draws: chi squared, five standard deviations above its mean of 48."""
    rows, columns = RandomCrop(3).draw(torch.empty(20_000, 1, 1, 1), generator())
    counts = torch.bincount(rows * 7 + columns, minlength=49).double()
    assert len(counts) == 49
    expected = 20_000 / 49
    assert ((counts - expected) ** 2 / expected).sum() < 48 + 5 * math.sqrt(2 * 48)


def test_half_of_the_images_are_mirrored():
    (mirrored,) = RandomFlip().draw(torch.empty(20_000, 1, 1, 1), generator())
    assert abs(mirrored.double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(20_000)


@pytest.mark.parametrize("kind", [RandomBrightness, RandomContrast, RandomColour])
def test_factors_are_uniform(kind):
    """Against the uniform distribution by the largest distance (Kolmogorov), p below 1e-6."""
    (factors,) = kind(0.4).draw(torch.empty(20_000, 1, 1, 1), generator())
    assert 0.6 <= factors.min() < factors.max() <= 1.4
    steps = torch.arange(1, 20_001) / 20_000
    assert ((factors.sort().values - 0.6) / 0.8 - steps).abs().max() < 2.7 / math.sqrt(20_000)


def test_squares_are_centred_everywhere():
    rows, columns = Cutout(5).draw(torch.empty(20_000, 1, 6, 8), generator())
    counts = torch.bincount(rows * 8 + columns, minlength=48).double()
    assert len(counts) == 48
    expected = 20_000 / 48
    assert ((counts - expected) ** 2 / expected).sum() < 47 + 5 * math.sqrt(2 * 47)


def test_other_fills_than_black():
    images = pictures() / 255
    row, column, top, left = (torch.full((40,), value) for value in (0, 6, 2, 3))
    cropped_images = RandomCrop(3, fill=0.5).apply(images, row, column)
    assert torch.equal(cropped_images[:, :, :3], torch.full_like(cropped_images[:, :, :3], 0.5))
    assert torch.equal(cropped_images[:, :, 3:, :-3], images[:, :, :-3, 3:])
    with_square = Cutout(3, fill=0.25).apply(images, top, left)
    assert (with_square[:, :, 1:4, 2:5] == 0.25).all()
    assert ((with_square == images).sum() >= images.numel() - 40 * 3 * 9).item()


def test_one_after_the_other():
    images = pictures()
    both = Compose(RandomCrop(3), RandomFlip())
    numbers = generator(4)
    wanted = RandomFlip()(RandomCrop(3)(images, numbers), numbers)
    assert torch.equal(both(images, generator(4)), wanted)


def test_grey_pictures_have_contrast_too():
    images = pictures(channels=1) / 255
    flat = RandomContrast().apply(images, torch.zeros(len(images)))
    assert torch.allclose(flat, images.mean((1, 2, 3), keepdim=True).expand_as(flat), atol=1e-6)


def test_grey_pictures_have_no_colour_to_lose():
    images = pictures(channels=1)
    assert torch.equal(RandomColour(0.9)(images, generator()), images)


def affine_by_pillow(picture, degrees, shear_x, shear_y, factor, right, down):
    """Shear, scale, rotate and move, as products of 3x3 matrices.

    Pillow wants to know where each pixel comes from.
    """
    middle_x, middle_y = picture.size[0] / 2, picture.size[1] / 2
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    steps = [
        [[1, 0, right], [0, 1, down], [0, 0, 1]],
        [[1, 0, middle_x], [0, 1, middle_y], [0, 0, 1]],
        [[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]],  # anticlockwise, y pointing down
        [[factor, 0, 0], [0, factor, 0], [0, 0, 1]],
        [[1, shear_x, 0], [shear_y, 1, 0], [0, 0, 1]],
        [[1, 0, -middle_x], [0, 1, -middle_y], [0, 0, 1]],
    ]
    back = np.linalg.inv(reduce(np.matmul, np.array(steps)))
    return picture.transform(
        picture.size, Image.Transform.AFFINE, back[:2].ravel(), Image.Resampling.BILINEAR
    )


def framed(count=40):
    """Pictures with a black frame: Pillow and torch differ in the outermost half pixel."""
    return torch.nn.functional.pad(pictures(count), (4, 4, 4, 4))


@pytest.mark.parametrize(
    "augmentation",
    [
        AFFINE,
        RandomAffine(rotation=180),
        RandomAffine(shear=0.4),
        RandomAffine(scale=0.5),
        RandomAffine(translation=0.3),
    ],
)
def test_affine_maps_are_pillows(augmentation):
    images = framed()
    parameters = augmentation.draw(images, generator())
    found = augmentation.apply(images, *parameters)
    for index, picture in enumerate(images):
        own = [values[index].item() for values in parameters]
        wanted = to_tensor(affine_by_pillow(to_pillow(picture), *own))
        assert (found[index].int() - wanted.int()).abs().max() <= 1, index


def test_a_quarter_turn_is_anticlockwise_as_pillows():
    images = pictures(height=9, width=9)
    zero, one = torch.zeros(len(images)), torch.ones(len(images))
    turned = RandomAffine().apply(images / 255, 90 * one, zero, zero, one, zero, zero)
    assert torch.allclose(turned, images.rot90(1, (2, 3)) / 255, atol=1e-4)


@pytest.mark.parametrize("fill", [0.0, 0.5])
def test_what_comes_in_from_outside_is_the_fill(fill):
    images = pictures() / 255
    zero, one = torch.zeros(len(images)), torch.ones(len(images))
    moved = RandomAffine(fill=fill).apply(images, zero, zero, zero, one, 2 * one, -3 * one)
    assert torch.allclose(moved[:, :, :-3, 2:], images[:, :, 3:, :-2], atol=1e-5)
    assert torch.allclose(moved[:, :, :, :2], torch.full_like(moved[:, :, :, :2], fill), atol=1e-6)


def test_affine_parameters_stay_in_their_ranges():
    drawn = AFFINE.draw(torch.empty(20_000, 1, 10, 30), generator())
    ranges = [(-40, 40), (-0.3, 0.3), (-0.3, 0.3), (0.8, 1.2), (-6, 6), (-2, 2)]
    for values, (low, high) in zip(drawn, ranges, strict=True):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high >= values.max() > high - 0.01 * (high - low)


class Marked:
    """Adds a number to the images that it gets."""

    def __init__(self, number):
        self.number = number

    def __call__(self, images, generator):
        return images + self.number


def test_each_image_gets_one_of_the_parts_at_random_and_stays_in_its_place():
    """Ten thousand draws of three parts: shares are equal at every place of the batch."""
    images = torch.arange(10.0).view(10, 1, 1, 1).expand(10, 1, 2, 2)
    choice = RandomChoice(Marked(100), Marked(200), Marked(300))
    numbers = generator()
    counts = torch.zeros(10, 3)
    for _ in range(1000):
        found = choice(images, numbers)[:, 0, 0, 0]
        assert torch.equal(found % 100, torch.arange(10.0))
        counts += torch.nn.functional.one_hot((found // 100).long() - 1, 3)
    assert counts.sum(dim=0).tolist() == [4000, 3000, 3000]  # the first parts get what is left over
    for part, share in enumerate((0.4, 0.3, 0.3)):
        spread = math.sqrt(1000 * share * (1 - share))
        assert (counts[:, part] - 1000 * share).abs().max() < 5 * spread


def test_several_choices_follow_each_other():
    images = torch.zeros(3000, 1, 1, 1)
    found = RandomChoice(Marked(1), Marked(10), count=2)(images, generator()).flatten()
    counts = {value: (found == value).sum().item() for value in (2.0, 11.0, 20.0)}
    assert sum(counts.values()) == 3000
    assert abs(counts[11.0] - 1500) < 5 * math.sqrt(3000 / 4)
    three = RandomChoice(Marked(1), Marked(10), Marked(3))
    assert len(three(images[:2], generator())) == 2, "fewer images than parts"


def test_normalised_channels_have_mean_zero_and_spread_one():
    images = pictures()
    normalize = Normalize.measured_on(images)
    found = normalize(images, generator())
    assert found.dtype == torch.float32
    assert torch.allclose(found.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(found.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-4)
    assert torch.allclose(normalize.apply(images / 255), found, atol=1e-6)
    by_hand = (images[3, 1, 4, 5] / 255 - normalize.mean[1]) / normalize.std[1]
    assert found[3, 1, 4, 5].item() == pytest.approx(by_hand.item(), abs=1e-6)
    before = images.clone()
    normalize.apply(images)
    assert torch.equal(images, before)
