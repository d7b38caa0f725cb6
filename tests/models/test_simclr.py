"""The library's parts of contrastive learning are the lesson's, and safe to use in later units."""

import math

import pytest
import torch

from autograder.authoring.lesson import solutions
from cvcourse import models
from cvcourse.models import ProjectionHead

LESSON = solutions("08_simclr")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_lessons(training):
    ours, theirs = ProjectionHead(5, 7, 3).double(), LESSON["ProjectionHead"](5, 7, 3).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in ours.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(
                    torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.1
                )
    theirs.load_state_dict(ours.state_dict())
    h = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(ours.train(training)(h), theirs.train(training)(h))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_one_row_cannot_be_normalised_in_training():
    with pytest.raises(ValueError, match="more than 1 value"):
        ProjectionHead(4, 4, 2)(torch.randn(1, 4))
    assert ProjectionHead(4, 4, 2).eval()(torch.randn(1, 4)).shape == (1, 2)


@pytest.mark.parametrize(
    "given", [{}, {"scale": (0.05, 0.3)}, {"scale": (0.9, 1.0), "ratio": (0.3, 3.0)}]
)
@pytest.mark.parametrize("shape", [(9, 3, 12, 16), (5, 1, 11, 7)])
def test_crops_are_the_lessons(given, shape):
    images = normal(*shape)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    ours = models.random_resized_crop(images, generators[0], **given)
    theirs = LESSON["random_resized_crop"](images, generators[1], **given)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_colours_and_blur_are_the_lessons(dtype):
    images, factors, hue = unit(6, 3, 5, 7).to(dtype), 2 * unit(3, 6, seed=1), unit(6, seed=2) - 0.5
    to_grey = torch.arange(6) % 3 == 0
    ours = models.color_distort(images, *factors, hue, to_grey)
    assert ours.dtype == dtype and ours.min() >= 0 and ours.max() <= 1
    theirs = LESSON["color_distort"](images, *factors.to(dtype), hue.to(dtype), to_grey)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    sigmas = torch.tensor([0.0, 0.3, 0.8, 1.5, 4.0, 0.0], dtype=dtype)
    for kernel_size in (1, 3, 7):
        blurred = models.gaussian_blur(images, sigmas, kernel_size)
        torch.testing.assert_close(blurred, LESSON["gaussian_blur"](images, sigmas, kernel_size))
        torch.testing.assert_close(blurred[0], images[0])


def test_loss_accuracy_and_gathering_are_the_lessons():
    z1, z2 = (normal(7, 4, seed=seed).requires_grad_() for seed in range(2))
    gradients = []
    for place in (models.nt_xent, LESSON["nt_xent"]):
        loss = place(z1, z2, 0.3)
        gradients.append(
            torch.cat(
                [loss.detach()[None, None].expand(1, 4), *torch.autograd.grad(loss, (z1, z2))]
            )
        )
    torch.testing.assert_close(*gradients)
    related = z1 + 0.7 * z2
    assert models.contrastive_accuracy(z1, related) == pytest.approx(
        LESSON["contrastive_accuracy"](z1, related)
    )
    for rank in range(3):
        parts = [normal(7, 4, seed=5), normal(7, 4, seed=6), normal(7, 4, seed=7)]
        ours = models.gather_negatives(z1, lambda local, parts=parts: list(parts), rank)
        torch.testing.assert_close(
            ours, LESSON["gather_negatives"](z1, lambda local, parts=parts: list(parts), rank)
        )
        assert torch.autograd.grad(ours.sum(), z1)[0].eq(1).all()


def test_edges():
    equal = torch.ones(4, 3)
    assert models.nt_xent(equal, equal, 0.2).item() == pytest.approx(math.log(7), rel=1e-5)
    assert models.contrastive_accuracy(equal, equal) == pytest.approx(1 / 8), (
        "the first of all is nearest to all"
    )
    assert models.contrastive_accuracy(equal[:1], equal[:1]) == 1
    zeros = (0 * equal).requires_grad_()
    loss = models.nt_xent(zeros, equal, 0.2)
    assert loss.item() == pytest.approx(LESSON["nt_xent"](zeros, equal, 0.2).item(), rel=1e-5)
    assert torch.isfinite(torch.autograd.grad(loss, zeros)[0]).all()
    assert models.contrastive_accuracy(0 * equal, 0 * equal) == pytest.approx(1 / 8)


def refusals():
    """(what is wrong, a call, words of the answer)."""
    images, z, ones = torch.rand(3, 3, 4, 5), torch.randn(5, 2), torch.ones(3)
    generator, to_grey = torch.Generator(), ones > 0
    crop, distort, blur = models.random_resized_crop, models.color_distort, models.gaussian_blur
    return {
        "a batch of one": (lambda: models.nt_xent(z[:1], z[1:2], 0.5), "no negatives"),
        "no picture": (lambda: models.nt_xent(z[:0], z[:0], 0.5), "one shape"),
        "an odd number of rows": (
            lambda: models.nt_xent(*z.chunk(2), 0.5),
            r"\(3, 2\) and \(2, 2\)",
        ),
        "odd, for the accuracy": (
            lambda: models.contrastive_accuracy(*z.chunk(2)),
            r"\(3, 2\) and \(2, 2\)",
        ),
        "no temperature": (lambda: models.nt_xent(z, z, 0.0), "above 0, not 0.0"),
        "crops larger than the picture": (
            lambda: crop(images, generator, scale=(0.5, 1.5)),
            "not .0.5, 1.5.",
        ),
        "crops of no area": (lambda: crop(images, generator, scale=(0, 1)), "0 < smallest"),
        "a range the wrong way round": (
            lambda: crop(images, generator, scale=(0.8, 0.2)),
            "smallest <= largest",
        ),
        "a negative proportion": (
            lambda: crop(images, generator, ratio=(-1.0, 2.0)),
            "width over height",
        ),
        "grey pictures": (
            lambda: distort(images[:, :1], ones, ones, ones, ones, to_grey),
            "not in .3, 1, 4, 5.",
        ),
        "two factors for three": (
            lambda: distort(images, ones, ones[:2], ones, ones, to_grey),
            "contrast has one",
        ),
        "an even kernel": (lambda: blur(images, ones, 4), "odd and at most 7"),
        "a kernel larger than the picture": (lambda: blur(images, ones, 9), "odd and at most 7"),
        "a negative sigma": (lambda: blur(images, -ones), "not -1"),
        "one sigma for all": (
            lambda: blur(images, ones[:1]),
            "sigmas has one number for each of 3",
        ),
        "a place too far": (
            lambda: models.gather_negatives(z, lambda local: [local], 1),
            "Process 1 sent",
        ),
        "another's part": (
            lambda: models.gather_negatives(z, lambda local: [local[:1]], 0),
            "Process 0 sent",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_bad_input_is_answered_in_a_sentence(case):
    call, words = refusals()[case]
    with pytest.raises(ValueError, match=words) as refused:
        call()
    assert str(refused.value).count(". ") == 0 and str(refused.value).endswith(".")


def test_the_largest_kernel_that_can_be_reflected():
    images, sigmas = unit(2, 1, 4, 6), torch.tensor([1.0, 3.0])
    torch.testing.assert_close(
        models.gaussian_blur(images, sigmas, 7), LESSON["gaussian_blur"](images, sigmas, 7)
    )
