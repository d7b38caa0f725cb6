"""Mixing images and targets: Mixup and CutMix by their definitions, and that `fit` uses them."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy

from cvcourse.training import RandomCrop, TrainingError
from cvcourse.training.augment import CutMix, Mixup, RandomMix, symmetric_beta
from cvcourse.training.fingerprint import code_digest

CLASSES = 5
EVERY = [Mixup(CLASSES), CutMix(CLASSES), RandomMix(Mixup(CLASSES), CutMix(CLASSES))]
names = pytest.mark.parametrize("mix", EVERY, ids=lambda value: type(value).__name__)


def batch(count=60, height=12, width=15):
    """Images as bytes, (count, 3, height, width), and labels (count,)."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(
        0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8
    )
    return images, torch.arange(count) % CLASSES


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def one_hot(labels):
    return nn.functional.one_hot(labels, CLASSES).float()


@names
def test_what_comes_back(mix):
    images, labels = batch()
    for given in (images, images / 255, images / 64 - 2):
        before = given.clone()
        mixed, targets = mix(given, labels, generator())
        assert (mixed.shape, mixed.dtype) == (given.shape, given.dtype)
        assert (targets.shape, targets.dtype) == ((60, CLASSES), torch.float32)
        assert torch.equal(given, before)
        assert not torch.equal(mixed, given)
        assert torch.allclose(targets.sum(dim=1), torch.ones(60))
        assert targets.min() >= 0


@names
def test_the_seed_decides(mix):
    images, labels = batch()
    first, again, other = (mix(images, labels, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@names
def test_probabilities_are_mixed_as_labels_are(mix):
    images, labels = batch()
    by_labels, by_probabilities = (
        mix(images, targets, generator()) for targets in (labels, one_hot(labels))
    )
    assert all(torch.equal(a, b) for a, b in zip(by_labels, by_probabilities, strict=True))


def test_mixup_is_the_weighted_mean_of_both():
    images, labels = batch()
    values = images.double() / 255
    mix = Mixup(CLASSES)
    partners, kept = mix.draw(images, generator())
    mixed, targets = mix.apply(images / 255, labels, partners, kept)
    for index, (partner, share) in enumerate(zip(partners.tolist(), kept.tolist(), strict=True)):
        assert torch.allclose(
            mixed[index].double(), share * values[index] + (1 - share) * values[partner], atol=1e-6
        )
        wanted = share * one_hot(labels[index]) + (1 - share) * one_hot(labels[partner])
        assert torch.allclose(targets[index], wanted, atol=1e-6)
    as_bytes, _ = mix.apply(images, labels, partners, kept)
    assert (as_bytes - mixed * 255).abs().max() < 1.001


def test_cutmix_takes_a_rectangle_and_counts_its_pixels():
    images, labels = batch()
    mix = CutMix(CLASSES)
    partners, covered, rows, columns = mix.draw(images, generator())
    mixed, targets = mix.apply(images, labels, partners, covered, rows, columns)
    for index, partner in enumerate(partners.tolist()):
        height, width = (int(side * math.sqrt(covered[index].item())) for side in (12, 15))
        top, left = rows[index].item() - height // 2, columns[index].item() - width // 2
        inside = torch.zeros(12, 15, dtype=torch.bool)
        inside[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = True
        assert torch.equal(mixed[index], torch.where(inside, images[partner], images[index]))
        kept = 1 - inside.double().mean().item()
        wanted = kept * one_hot(labels[index]) + (1 - kept) * one_hot(labels[partner])
        assert torch.allclose(targets[index], wanted, atol=1e-6)


@pytest.mark.parametrize("mix", [Mixup(CLASSES), CutMix(CLASSES)])
def test_partners_are_a_random_order_of_the_batch(mix):
    images, _ = batch()
    partners = mix.draw(images, generator())[0]
    assert partners.sort().values.tolist() == list(range(60))
    assert (partners == torch.arange(60)).sum() < 8  # one in the mean


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_shares_follow_the_beta_distribution(alpha):
    """Against SciPy's: largest distance of the cumulative ones (Kolmogorov), p below 1e-6.

    Away from the ends, where float32 rounds a share to 0 or 1.
    """
    shares = symmetric_beta(torch.empty(20_000, 1, 1, 1), generator(), alpha).double()
    assert shares.isfinite().all()
    assert 0 <= shares.min() < shares.max() <= 1
    points = torch.linspace(0.001, 0.999, 500, dtype=torch.float64)
    found = (shares[:, None] <= points).double().mean(dim=0)
    wanted = torch.from_numpy(stats.beta(alpha, alpha).cdf(points.numpy()))
    assert (found - wanted).abs().max() < 2.7 / math.sqrt(20_000)


def test_centres_are_everywhere():
    rows, columns = CutMix(CLASSES).draw(torch.empty(20_000, 1, 6, 8), generator())[2:]
    counts = torch.bincount(rows * 8 + columns, minlength=48).double()
    assert len(counts) == 48
    expected = 20_000 / 48
    assert ((counts - expected) ** 2 / expected).sum() < 47 + 5 * math.sqrt(2 * 47)


class Marked:
    """Adds a number to the images, and gives its own targets."""

    def __init__(self, number):
        self.number = number

    def __call__(self, images, targets, generator):
        return images + self.number, one_hot(targets)


def test_each_image_gets_one_of_the_mixes_and_keeps_its_target():
    images, labels = torch.arange(60.0).view(60, 1, 1, 1), torch.arange(60) % CLASSES
    numbers = generator()
    first = torch.zeros(60)
    for _ in range(400):
        found, targets = RandomMix(Marked(100), Marked(200))(images, labels, numbers)
        assert torch.equal(found.flatten() % 100, images.flatten())
        assert torch.equal(targets, one_hot(labels))
        first += found.flatten() < 200
    assert first.sum() == 400 * 30
    assert (first - 200).abs().max() < 5 * math.sqrt(400 / 4)
    assert len(RandomMix(Marked(1), Marked(2))(images[:1], labels[:1], numbers)[0]) == 1


@pytest.mark.parametrize("label", [-100, CLASSES])
def test_a_label_that_is_no_class_gives_no_probability(label):
    images, labels = batch()
    labels[:] = label
    assert (Mixup(CLASSES)(images, labels, generator())[1] == 0).all()


# --- in `fit` ---

four = RandomMix(Mixup(4), CutMix(4))


def test_fit_mixes_after_augmenting_with_the_same_numbers(train, new_net, data):
    seen = []

    def augment(images, generator):
        seen.append(("augment", torch.rand(1, generator=generator).item()))
        return images + 7

    def mix(images, targets, generator):
        seen.append(("mix", torch.rand(1, generator=generator).item()))
        assert images.min() >= 7
        return four(images - 7, targets, generator)

    first = train(new_net(), augment=augment, mix=mix, steps=3)
    assert [name for name, _ in seen] == ["augment", "mix"] * 3
    assert len({number for _, number in seen}) == 6
    assert train(new_net(), augment=augment, mix=mix, steps=3).losses == first.losses
    assert seen[:6] == seen[6:]


def test_mixed_training_learns(train, new_net, data):
    run = train(
        new_net(), mix=four, steps=120, loss=functools.partial(cross_entropy, label_smoothing=0.1)
    )
    logits = run.model(data[0])
    assert cross_entropy(logits, data[1]).item() < 0.4
    assert (logits.argmax(dim=1) == data[1]).float().mean() > 0.9


def test_a_mix_is_in_the_checkpoints_key(train, new_net):
    train(new_net(), mix=Mixup(4, 0.5), checkpoint="net")
    assert train(new_net(), mix=Mixup(4, 0.5), checkpoint="net").resumed_at == 24
    assert train(new_net(), mix=Mixup(4, 0.4), checkpoint="net").resumed_at == 0
    assert train(new_net(), mix=CutMix(4, 0.5), checkpoint="net").resumed_at == 0
    assert train(new_net(), checkpoint="net").resumed_at == 0


def test_interrupted_and_resumed_equals_uninterrupted(train, new_net, same_weights, monkeypatch):
    from cvcourse.training import step as module

    settings = dict(mix=four, augment=RandomCrop(1))
    whole = train(new_net(), **settings)
    order = module.batch_indices

    def failing(count, batch_size, seed, now):
        if now == 12:
            raise InterruptedError
        return order(count, batch_size, seed, now)

    monkeypatch.setattr(module, "batch_indices", failing)
    with pytest.raises(InterruptedError):
        train(new_net(), checkpoint="net", save_every=0.0, **settings)
    monkeypatch.setattr(module, "batch_indices", order)
    resumed = train(new_net(seed=1), checkpoint="net", **settings)
    assert resumed.resumed_at == 12
    assert resumed.losses == whole.losses
    assert same_weights(resumed.model, whole.model)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [4, -1])
def test_labels_out_of_range_are_said_with_a_partial_loss_and_with_mixing(
    train, new_net, data, smoothing, label
):
    labels = data[1].clone()
    labels[40] = label
    loss = functools.partial(cross_entropy, label_smoothing=smoothing)
    for mix in (None, Mixup(4)):
        said = "but the model has 4 classes: labels must lie in 0 to 3"
        with pytest.raises(TrainingError, match=said):
            train(new_net(), data=(data[0], labels), loss=loss, mix=mix, batch_size=64)


def test_the_ignored_label_of_a_partial_loss_is_no_mistake(train, new_net, data):
    labels = data[1].clone()
    labels[40] = 255
    smoothed = functools.partial(cross_entropy, label_smoothing=0.1)
    loss = functools.partial(smoothed, ignore_index=255)
    assert train(new_net(), data=(data[0], labels), loss=loss).is_finished
    labels[41] = -100
    with pytest.raises(TrainingError, match="Labels run from -100 to 3"):
        train(new_net(), data=(data[0], labels), loss=loss)


def test_a_mix_of_other_classes_than_the_models(train, new_net):
    said = r"shape \(16, 10\), but the model gives logits of shape \(16, 4\)"
    with pytest.raises(TrainingError, match=said):
        train(new_net(), mix=Mixup(10))


def test_settings_of_a_partial_loss_are_in_the_key():
    def smoothed(share):
        return functools.partial(cross_entropy, label_smoothing=share)

    losses = [cross_entropy, smoothed(0.1), smoothed(0.2)]
    assert len({code_digest(loss) for loss in losses}) == 3
    assert code_digest(smoothed(0.1)) == code_digest(losses[1])


def test_long_curves_are_thinned_and_short_ones_are_not(train, new_net):
    run = train(new_net(), steps=23)
    assert run.results().curves["loss"] == list(enumerate(run.losses, start=1))
    thin = run.results(points=5).curves["loss"]
    assert [step for step, _ in thin] == [5, 10, 15, 20, 23]
    assert thin[1][1] == pytest.approx(sum(run.losses[5:10]) / 5)
    assert thin[-1][1] == pytest.approx(sum(run.losses[20:]) / 3)
