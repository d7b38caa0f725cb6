"""Batched augmentation: the same pictures as Pillow's for the same parameters, and the laws that these follow."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from cvcourse.training import Compose, Cutout, RandomBrightness, RandomContrast, RandomCrop, RandomFlip

EVERY = [RandomCrop(3), RandomFlip(), RandomBrightness(0.5), RandomContrast(0.5), Cutout(5)]


def pictures(count=40, height=12, width=15, channels=3):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def to_pillow(picture):
    return Image.fromarray(picture.permute(1, 2, 0).numpy())


def to_tensor(picture):
    return (
        torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).view(*picture.size[::-1], 3).permute(2, 0, 1)
    )


def cropped(picture, row, column):
    width, height = picture.size
    return ImageOps.expand(picture, 3).crop((column, row, column + width, row + height))


def cut(picture, row, column):
    picture = picture.copy()
    ImageDraw.Draw(picture).rectangle((column - 2, row - 2, column + 2, row + 2), fill=(0, 0, 0))
    return picture


@pytest.mark.parametrize(
    ("augmentation", "by_pillow", "tolerance"),
    [
        (RandomCrop(3), cropped, 0),
        (RandomFlip(), lambda picture, flip: ImageOps.mirror(picture) if flip else picture, 0),
        (RandomBrightness(0.5), lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor), 1),
        (RandomContrast(0.5), lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor), 1),
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
        wanted = to_tensor(by_pillow(to_pillow(picture), *(values[index].item() for values in parameters)))
        assert (found[index].int() - wanted.int()).abs().max() <= tolerance, index


@pytest.mark.parametrize("augmentation", EVERY, ids=lambda value: type(value).__name__)
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
    assert len({image.numpy().tobytes() for image in augmentation(images, generator())}) > (
        1 if isinstance(augmentation, RandomFlip) else 5
    )


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


@pytest.mark.parametrize("kind", [RandomBrightness, RandomContrast])
def test_factors_are_uniform(kind):
    """Against the uniform distribution: largest distance of the cumulative ones (Kolmogorov), p below 1e-6."""
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
    (row, column), (top, left) = ([torch.full((40,), value) for value in pair] for pair in ((0, 6), (2, 3)))
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
