"""Measures of representations: against scikit-learn, against formulas, and on input that does not
fit."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from autograder.authoring.lesson import solutions
from cvcourse import measures

LESSON = solutions("08_simclr")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def labelled():
    """(bank, labels, queries, their labels): five overlapping classes, vectors of all lengths."""
    labels, asked = torch.arange(200) % 5, torch.arange(90) % 5
    centres = 1.5 * normal(5, 6)
    bank = (centres[labels] + normal(200, 6, seed=1)) * (0.2 + normal(200, 1, seed=2).abs())
    return bank, labels, centres[asked] + normal(90, 6, seed=3), asked


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 0.05), (20, 0.1), (200, 0.5)])
def test_neighbours_are_scikit_learns_and_the_lessons(labelled, k, temperature):
    bank, labels, queries, _ = labelled
    weights = lambda distances: np.exp((1 - distances) / temperature)  # noqa: E731
    model = KNeighborsClassifier(k, metric="cosine", weights=weights)
    wanted = torch.from_numpy(model.fit(bank, labels).predict(queries))
    assert torch.equal(measures.knn_classify(bank, labels, queries, k, temperature), wanted)
    assert torch.equal(LESSON["knn_classify"](bank, labels, queries, k, temperature), wanted)
    one_by_one = torch.cat(
        [measures.knn_classify(bank, labels, query[None], k, temperature) for query in queries]
    )
    assert torch.equal(one_by_one, wanted)


def test_votes_do_not_overflow_at_low_temperatures(labelled):
    bank, labels, queries, asked = labelled
    nearest = measures.knn_classify(bank.float(), labels, queries.float(), k=20, temperature=1e-3)
    assert torch.equal(nearest, measures.knn_classify(bank.float(), labels, queries.float(), k=1))
    assert (nearest == asked).float().mean() > 0.4


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_the_probe_is_scikit_learns(labelled, strength):
    bank, labels, queries, asked = labelled
    bank = torch.cat(
        [bank, torch.full((200, 1), 3.0, dtype=torch.float64)], dim=1
    )  # a constant feature
    queries = torch.cat([queries, torch.full((90, 1), 3.0, dtype=torch.float64)], dim=1)
    scaler = StandardScaler().fit(bank)
    model = LogisticRegression(C=strength, max_iter=1000).fit(scaler.transform(bank), labels)
    found = measures.linear_probe(bank, labels, queries, strength)
    assert torch.equal(found, torch.from_numpy(model.predict(scaler.transform(queries))))
    assert (found == asked).float().mean() > 0.5
    assert torch.equal(found, measures.linear_probe(5 * bank, labels, 5 * queries, strength)), (
        "scale must not matter"
    )


def test_alignment_and_uniformity():
    u = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, -5.0]])
    pairs = [2, 4, 2, 2, 4, 2]  # squared distances of the corners of a square, each pair once
    assert measures.uniformity(u, t=1.0) == pytest.approx(
        math.log(sum(math.exp(-d) for d in pairs) / 6)
    )
    assert measures.alignment(u, u.roll(1, dims=0)) == pytest.approx(2)
    assert measures.alignment(u, -4 * u) == pytest.approx(4)
    assert measures.alignment(u, 7 * u) == pytest.approx(0, abs=1e-6)
    z1, z2 = normal(12, 5), normal(12, 5, seed=1)
    alignment, uniformity = LESSON["alignment_uniformity"](z1, z2, 1.3)
    assert alignment == pytest.approx(measures.alignment(z1, z2))
    assert uniformity == pytest.approx(
        (measures.uniformity(z1, 1.3) + measures.uniformity(z2, 1.3)) / 2
    )


@pytest.mark.parametrize(("count", "classes"), [(10, 2), (60, 5)])
def test_mean_average_precision_is_scikit_learns_and_the_lessons(count, classes):
    labels = torch.cat([torch.arange(classes).repeat(2), torch.arange(count - 2 * classes) % 2])
    features = (normal(classes, 4)[labels] + normal(count, 4, seed=1)) * (
        0.2 + normal(count, 1, seed=2).abs()
    )
    unit = features / features.norm(dim=1, keepdim=True)
    cosines, others = (unit @ unit.T).numpy(), ~np.eye(count, dtype=bool)
    wanted = [
        average_precision_score(
            (labels == labels[query])[others[query]], cosines[query][others[query]]
        )
        for query in range(count)
    ]
    assert measures.mean_average_precision(features, labels) == pytest.approx(
        np.mean(wanted), rel=1e-12
    )
    assert measures.mean_average_precision(5 * features, labels) == pytest.approx(
        np.mean(wanted), rel=1e-12
    )
    assert solutions("09_dino")["mean_average_precision"](features, labels) == pytest.approx(
        np.mean(wanted), rel=1e-12
    )
    alone = measures.mean_average_precision(
        torch.cat([features, unit[:1]]), torch.cat([labels, torch.tensor([99])])
    )
    assert 0 < alone < np.mean(wanted), (
        "a picture alone in its class does not ask, and can be in the way"
    )


def test_average_precisions_by_hand():
    corners = torch.eye(3).repeat(2, 1)
    assert measures.mean_average_precision(corners, torch.arange(3).repeat(2)) == pytest.approx(1)
    pairs = torch.tensor(
        [[1.0, 0.0], [-1.0, 0.01], [0.9, 0.1], [-0.9, 0.1]]
    )  # partners at ranks 3, 3, 2 and 2
    assert measures.mean_average_precision(pairs, torch.tensor([0, 0, 1, 1])) == pytest.approx(
        (1 / 3 + 1 / 3 + 1 / 2 + 1 / 2) / 4
    )


def test_equal_features_are_the_worst_there_is():
    equal = torch.ones(6, 3)
    assert measures.uniformity(equal) == pytest.approx(0)
    assert measures.uniformity(normal(6, 3)) < 0
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    assert measures.knn_classify(equal, labels, equal, k=6).tolist() == [0] * 6, (
        "the most frequent label wins"
    )


def test_zero_vectors_are_no_error():
    bank, labels = (
        torch.cat([normal(9, 4), torch.zeros(1, 4, dtype=torch.float64)]),
        torch.arange(10) % 3,
    )
    assert measures.knn_classify(
        bank, labels, torch.zeros(2, 4, dtype=torch.float64), k=3
    ).shape == (2,)
    assert measures.uniformity(bank) < 0
    zeros = torch.zeros(3, 4)
    assert (measures.alignment(zeros, zeros), measures.uniformity(zeros)) == (0, 0)
    assert measures.alignment(zeros, torch.ones(3, 4)) == pytest.approx(1), (
        "a vector of zeros lies at the centre"
    )
    assert measures.linear_probe(zeros, torch.arange(3) % 2, zeros).tolist() == [0, 0, 0], (
        "the most frequent label"
    )


def test_one_query_and_none():
    bank, labels = normal(9, 4), torch.arange(9) % 3
    assert measures.knn_classify(bank, labels, bank[:1], k=1).tolist() == [0]
    assert measures.knn_classify(bank, labels, bank[:0], k=3).shape == (0,)


def test_features_are_taken_in_evaluation_mode_and_the_mode_comes_back():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5))
    images, before = torch.randn(7, 2, 3, 3), net[0].running_mean.clone()
    for training in (True, False):
        found = measures.features(net.train(training), images, batch_size=3)
        assert net.training is training
        torch.testing.assert_close(found, images.flatten(1) / (1 + 1e-5) ** 0.5)
        assert not found.requires_grad
    assert torch.equal(net[0].running_mean, before)


def test_the_mode_comes_back_after_an_error():
    net = nn.Sequential(nn.Linear(3, 2)).train()
    with pytest.raises(RuntimeError):
        measures.features(net, torch.randn(4, 5))
    assert net.training


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: measures.features(nn.Identity(), torch.empty(0, 3)), "no images"),
        (
            lambda: measures.knn_classify(normal(5, 3), torch.zeros(5).long(), normal(2, 3), k=6),
            "between 1 and the 5",
        ),
        (
            lambda: measures.knn_classify(normal(5, 3), torch.zeros(5).long(), normal(2, 3), k=0),
            "between 1 and the 5",
        ),
        (
            lambda: measures.knn_classify(
                normal(5, 3), torch.zeros(5).long(), normal(2, 3), 2, 0.0
            ),
            "above 0, not 0.0",
        ),
        (
            lambda: measures.knn_classify(normal(5, 3), torch.zeros(5).long(), normal(2, 4)),
            "one width",
        ),
        (
            lambda: measures.knn_classify(normal(5, 3), torch.zeros(4).long(), normal(2, 3)),
            "labels of",
        ),
        (
            lambda: measures.linear_probe(normal(5, 3), torch.zeros(5).long(), normal(2, 3)),
            "two classes",
        ),
        (
            lambda: measures.linear_probe(normal(5, 3, 1), torch.zeros(5).long(), normal(2, 3)),
            "one width",
        ),
        (
            lambda: measures.mean_average_precision(normal(5, 3), torch.zeros(4).long()),
            r"\(N, D\) with labels \(N,\)",
        ),
        (
            lambda: measures.mean_average_precision(normal(5), torch.zeros(5).long()),
            r"\(N, D\) with labels \(N,\)",
        ),
        (
            lambda: measures.mean_average_precision(normal(4, 3), torch.arange(4)),
            "No class has two pictures",
        ),
        (lambda: measures.alignment(normal(5, 3), normal(4, 3)), "one shape"),
        (lambda: measures.alignment(*normal(5, 3).chunk(2)), "one shape"),  # an odd number of rows
        (lambda: measures.alignment(normal(0, 3), normal(0, 3)), "one shape"),
        (lambda: measures.uniformity(normal(1, 3)), "at least two"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_nothing_heavy_is_imported_for_a_name():
    import subprocess
    import sys

    code = "import sys, cvcourse.measures as m; m.__all__; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    names = {
        "features",
        "knn_classify",
        "linear_probe",
        "mean_average_precision",
        "alignment",
        "uniformity",
    }
    assert names < set(measures.__all__) == set(measures.HOME)


def test_a_measure_is_no_answer_where_models_are_forbidden():
    from autograder.checking.shortcuts import forbidden_in_source

    def neighbours(*arguments):
        return measures.knn_classify(*arguments)

    assert forbidden_in_source(neighbours, ["models"])


# Attention maps


def test_the_largest_fifth_and_the_largest_of_all_against_a_loop():
    maps, masks = (
        normal(6, 5, 8),
        torch.rand(6, 5, 8, generator=torch.Generator().manual_seed(1)) < 0.3,
    )
    ious, hits = [], []
    for values, mask in zip(maps.numpy(), masks.numpy(), strict=True):
        chosen = values >= np.sort(values, axis=None)[-8]
        ious.append((chosen & mask).sum() / (chosen | mask).sum())
        hits.append(mask.flat[values.argmax()])
    assert measures.localised(maps, masks) == pytest.approx((np.mean(ious), np.mean(hits)))


def test_a_map_that_shows_the_object_and_one_that_shows_the_rest():
    masks = torch.zeros(2, 5, 5, dtype=torch.int64)
    masks[0, 1], masks[1, :, 2] = 3, 7
    assert measures.localised(masks.float(), masks) == (1.0, 1.0)
    assert measures.localised(-masks.float(), masks) == (0.0, 0.0)


def test_maps_without_an_object_show_nothing():
    assert measures.localised(torch.ones(2, 1, 3), torch.zeros(2, 1, 3)) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 5), (4, 4)])
def test_maps_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="of one shape"):
        measures.localised(torch.zeros(shape), torch.zeros(2, 4, 4))
