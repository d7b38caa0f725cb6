"""Digits and photographs: as shipped, never downloaded."""

import socket

import numpy as np
import pytest
import torch

from cvcourse.data import PHOTOGRAPHS, DataError, digits, photographs


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_digits_are_scikit_learns_each_once():
    from sklearn.datasets import load_digits

    train_images, train_labels, test_images, test_labels = digits()
    assert train_images.shape == (1297, 1, 8, 8) and test_images.shape == (500, 1, 8, 8)
    assert (
        train_images.min() == 0 and train_images.max() == 1 and train_images.dtype == torch.float32
    )
    ours = torch.cat([train_images, test_images]).reshape(1797, 64)
    ours = np.column_stack([(ours * 16).numpy(), torch.cat([train_labels, test_labels]).numpy()])
    theirs = np.column_stack([load_digits().data, load_digits().target])
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_the_split_is_fixed_and_mixed():
    once, again = digits(), digits()
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert once.test_labels[:8].tolist() == [
        2,
        8,
        2,
        6,
        6,
        7,
        1,
        9,
    ]  # written down, so that a change cannot pass unseen
    assert once.test_labels.bincount(minlength=10).min() >= 40


def test_all_photographs_are_there_and_are_pictures():
    pictures = photographs()
    assert list(pictures) == list(PHOTOGRAPHS)
    for name, picture in pictures.items():
        assert picture.shape[0] in (1, 3) and min(picture.shape[1:]) >= 250, name
        assert (
            picture.dtype == torch.float32
            and picture.min() >= 0
            and picture.max() <= 1
            and picture.std() > 0.03
        ), name


def test_a_photograph_has_the_pixels_its_library_gives():
    import skimage.data
    from sklearn.datasets import load_sample_image

    ours = photographs(["astronaut", "camera", "china"])
    assert np.array_equal(
        (ours["astronaut"] * 255).round().byte().permute(1, 2, 0), skimage.data.astronaut()
    )
    assert np.array_equal((ours["camera"][0] * 255).round().byte(), skimage.data.camera())
    assert np.array_equal(
        (ours["china"] * 255).round().byte().permute(1, 2, 0), load_sample_image("china.jpg")
    )


def test_size_takes_the_middle_and_keeps_proportions():
    whole = photographs("china")["china"]  # (3, 427, 640)
    square = photographs("china", size=61)["china"]
    assert square.shape == (3, 61, 61)
    left = (640 - 427) // 2
    blocks = torch.nn.functional.avg_pool2d(whole[:, :, left : left + 427], 7)  # 427 = 61 * 7
    assert (square - blocks).abs().mean() < 0.02
    assert photographs("china", size=(20, 50))["china"].shape == (3, 20, 50)


def test_what_is_not_there_is_said_in_one_sentence(monkeypatch):
    with pytest.raises(DataError, match="no photograph 'mona_lisa'") as caught:
        photographs("mona_lisa")
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    monkeypatch.setitem(PHOTOGRAPHS, "coffee", ("skimage", "data/gone.png"))
    assert "coffee" not in photographs()
    with pytest.raises(DataError, match="no photograph 'coffee'"):
        photographs(["coffee"])


@pytest.mark.parametrize("size", [0, (3,), "64", 2.5, (0, 4)])
def test_wrong_sizes(size):
    with pytest.raises(ValueError, match="size"):
        photographs("camera", size=size)
