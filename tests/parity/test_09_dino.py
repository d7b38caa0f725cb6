"""Unit 09's solutions against torchvision, torch, timm, scipy, scikit-learn, formulas in numpy, and
lightly.

lightly asks for pytorch-lightning and hydra, which its loss, head and utils do not import: it is
installed without them.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from autograder.authoring.lesson import solutions

functions = solutions("09_dino")
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def close(ours, theirs, **tolerance):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), **(TOLERANCE | tolerance))


# --- views


def test_local_boxes_are_distributed_as_torchvisions():
    """Areas, proportions and places of the default local views, which always fit, in 4000 draws
    each."""
    from torchvision.transforms import RandomResizedCrop

    side = 400  # so large that torchvision's rounding does not matter
    torch.manual_seed(0)
    empty = torch.empty(1, side, side)
    drawn = [RandomResizedCrop.get_params(empty, [0.05, 0.4], [3 / 4, 4 / 3]) for _ in range(4000)]
    top, left, height, width = torch.tensor(drawn, dtype=torch.float64).T
    theirs = [
        height * width / side**2,
        (width / height).log(),
        top / (side - height),
        left / (side - width),
    ]
    places = torch.stack(
        torch.meshgrid(torch.arange(16) + 0.5, torch.arange(16) + 0.5, indexing="ij")
    ).double()
    view = functions["multi_crop"](
        places.expand(4000, -1, -1, -1), generator(), num_local=1, local_size=8
    )[2]
    rows, columns = view[:, 0, :, 4], view[:, 1, 4]
    sides = [(each[:, 5] - each[:, 2]) * 8 / 3 for each in (rows, columns)]
    starts = [
        each[:, 2] - 2.5 / 8 * length for each, length in zip((rows, columns), sides, strict=True)
    ]
    ours = [sides[0] * sides[1] / 256, (sides[1] / sides[0]).log()]
    ours += [start / (16 - length) for start, length in zip(starts, sides, strict=True)]
    for one, other in zip(ours, theirs, strict=True):
        assert scipy.stats.ks_2samp(one.numpy(), other.numpy()).pvalue > 1e-4


# --- head


def filled(module, seed=0):
    drawn = generator(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=drawn, dtype=torch.float64)
                tensor.copy_(
                    values.abs() + 0.3 if "var" in name else values / math.sqrt(tensor.shape[-1])
                )
    return module


def sequence_of(head):
    """torch's own layers with the head's numbers: a weight-normed last layer of length 1, as in the
    official code."""
    layers = [head.fc1, head.bn1, nn.GELU(), head.fc2, head.bn2, nn.GELU(), head.fc3]
    last = nn.Linear(head.prototypes.shape[1], len(head.prototypes), bias=False).double()
    with torch.no_grad():
        last.weight.copy_(head.prototypes)
    last = nn.utils.parametrizations.weight_norm(last)
    last.parametrizations.weight.original0.data.fill_(1)
    return nn.Sequential(*layers), last


@pytest.mark.parametrize("training", [True, False])
def test_the_head_is_torchs_layers_with_weight_norm(training):
    head = filled(functions["DINOHead"](5, 7, 4, 9).double()).train(training)
    layers, last = sequence_of(head)
    x = normal(6, 5).requires_grad_()
    ours = head(x)
    theirs = last(F.normalize(layers(x), dim=-1))
    close(ours, theirs.detach(), rtol=1e-8)
    scalar = normal(6, 9, seed=1)
    for one, other in zip(
        *(torch.autograd.grad((y * scalar).sum(), x) for y in (ours, theirs)), strict=True
    ):
        close(one, other, rtol=1e-8)


def test_logits_are_cosines_of_numpy():
    head = filled(functions["DINOHead"](5, 7, 4, 9).double()).eval()
    x = normal(3, 5)
    bottleneck = sequence_of(head)[0](x).detach().numpy()
    prototypes = head.prototypes.detach().numpy()
    lengths = np.linalg.norm(bottleneck, axis=1)[:, None] * np.linalg.norm(prototypes, axis=1)
    close(head(x).detach(), bottleneck @ prototypes.T / lengths)


@pytest.mark.parametrize("training", [True, False])
def test_the_head_is_lightlys(training):
    """The same formula but for the order of parts; lightly 1.6 keeps biases beside its batch norms,
    as ours does."""
    from lightly.models.modules import heads

    head = filled(functions["DINOHead"](5, 7, 4, 9).double()).train(training)
    theirs = (
        heads.DINOProjectionHead(5, 7, 4, 9, batch_norm=True, norm_last_layer=True)
        .double()
        .train(training)
    )
    linear = [layer for layer in theirs.layers if isinstance(layer, nn.Linear)]
    norms = [layer for layer in theirs.layers if isinstance(layer, nn.BatchNorm1d)]
    with torch.no_grad():
        for mine, other in zip((head.fc1, head.fc2, head.fc3), linear, strict=True):
            if other.bias is None:  # the norm that follows would take it away
                mine.bias.zero_()
            else:
                other.bias.copy_(mine.bias)
            other.weight.copy_(mine.weight)
        theirs.last_layer.weight_v.copy_(head.prototypes)
    for mine, other in zip((head.bn1, head.bn2), norms, strict=True):
        other.load_state_dict(mine.state_dict())
    x = normal(6, 5, seed=2)
    close(head(x), theirs(x), rtol=1e-6, atol=1e-7)


# --- loss and center


def loss_by_the_paper(student, teacher, center, student_temperature, teacher_temperature):
    """Equations 1 to 4, word by word, in numpy: the sum over the teacher's views and all other
    views, and its mean."""
    entropies = []
    for t in range(2):
        p2 = scipy.special.softmax((teacher[t] - center) / teacher_temperature, axis=-1)
        for s in range(len(student)):
            if s != t:
                p1 = scipy.special.softmax(student[s] / student_temperature, axis=-1)
                entropies += [
                    -(row * np.log(other)).sum() for row, other in zip(p2, p1, strict=True)
                ]
    return np.mean(entropies)


def views_of(views, count=4, prototypes=6, seed=0):
    return normal(views, count, prototypes, seed=seed), normal(
        2, count, prototypes, seed=seed + 100
    )


@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (0.1, 0.07), (0.5, 1.0)])
@pytest.mark.parametrize(("views", "count"), [(2, 4), (3, 1), (5, 3), (10, 2)])
def test_the_loss_is_the_papers(views, count, temperatures):
    student, teacher = views_of(views, count)
    center = normal(6, seed=7)
    ours = functions["dino_loss"](student, teacher, center, *temperatures).item()
    theirs = loss_by_the_paper(student.numpy(), teacher.numpy(), center.numpy(), *temperatures)
    assert ours == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize("views", [2, 3, 5])
def test_the_gradient_is_the_difference_of_probabilities(views):
    """d loss / d student: the mean over pairs of (p_student - p_teacher) / temperature. The teacher
    gets none."""
    student, teacher = (x.requires_grad_() for x in views_of(views))
    center = normal(6, seed=7)
    loss = functions["dino_loss"](student, teacher, center, 0.1, 0.04)
    by_student, by_teacher = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
    p1 = scipy.special.softmax(student.detach().numpy() / 0.1, axis=-1)
    p2 = scipy.special.softmax((teacher.detach() - center).numpy() / 0.04, axis=-1)
    wanted, pairs = np.zeros_like(p1), [(t, s) for t in range(2) for s in range(views) if s != t]
    for t, s in pairs:
        wanted[s] += (p1[s] - p2[t]) / 0.1 / len(pairs) / student.shape[1]
    close(by_student, wanted)
    assert by_teacher is None or not by_teacher.any()


def test_cross_entropy_is_the_teachers_entropy_plus_a_divergence():
    student, teacher = views_of(2)
    center = normal(6, seed=7)
    p1 = scipy.special.softmax(student.numpy() / 0.1, axis=-1)
    p2 = scipy.special.softmax((teacher - center).numpy() / 0.04, axis=-1)
    both = [
        scipy.stats.entropy(p2[t], axis=-1) + scipy.stats.entropy(p2[t], p1[1 - t], axis=-1)
        for t in range(2)
    ]
    assert functions["dino_loss"](student, teacher, center, 0.1, 0.04).item() == pytest.approx(
        np.mean(both), rel=1e-10
    )


def test_both_collapses_have_their_loss():
    """Everything uniform: ln K. Everything on one prototype: 0. The lower loss is no better."""
    equal, center = torch.ones(3, 5, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    assert functions["dino_loss"](equal, equal[:2], center, 0.1, 0.04).item() == pytest.approx(
        math.log(8)
    )
    one = 50 * F.one_hot(torch.full((3, 5), 2), 8).double()
    assert functions["dino_loss"](one, one[:2], center, 0.1, 0.04).item() == pytest.approx(
        0, abs=1e-12
    )
    assert functions["dino_loss"](one, one[:2], one[0, 0], 0.1, 0.04).item() > 100, (
        "centred, it does not pay"
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_the_center_over_many_batches_is_numpys(momentum):
    center = normal(6, seed=1)
    first, batches = center.numpy(), [normal(2, 3, 6, seed=seed) for seed in range(10, 18)]
    for batch in batches:
        center = functions["update_center"](center, batch, momentum)
    weights = [(1 - momentum) * momentum**age for age in reversed(range(8))]
    rows = [batch.numpy().reshape(-1, 6).mean(axis=0) for batch in batches]
    close(center, momentum**8 * first + np.einsum("b,bk->k", weights, rows))


@pytest.mark.parametrize("views", [2, 4, 7])
def test_loss_and_center_are_lightlys_over_several_steps(views):
    """lightly's center is that of the steps before, too."""
    from lightly.loss.dino_loss import DINOLoss

    theirs = DINOLoss(
        6, 0.04, 0.04, warmup_teacher_temp_epochs=1, student_temp=0.1, center_momentum=0.9
    )
    center = torch.zeros(6)
    for step in range(5):
        student, teacher = (x.float() for x in views_of(views, seed=step))
        wanted = theirs(list(teacher), list(student), epoch=0)
        close(
            functions["dino_loss"](student, teacher, center, 0.1, 0.04),
            wanted,
            rtol=1e-5,
            atol=1e-6,
        )
        center = functions["update_center"](center, teacher, 0.9)
        close(center, theirs.center.flatten())


# --- teacher


def network(seed):
    return filled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double(), seed)


def moved(student, seed):
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += normal(*parameter.shape, seed=seed)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.996, 1.0])
def test_the_teacher_is_torchs_averaged_model(momentum):
    teacher, student = network(1), network(2)
    theirs = AveragedModel(network(1), multi_avg_fn=get_ema_multi_avg_fn(momentum))
    theirs.n_averaged += 1  # the next update averages; the first one would copy
    for seed in range(10, 14):
        moved(student, seed)
        functions["update_teacher"](teacher, student, momentum)
        theirs.update_parameters(student)
    for one, other in zip(teacher.parameters(), theirs.module.parameters(), strict=True):
        close(one.detach(), other.detach())


def test_the_teacher_is_timms_and_lightlys():
    from lightly.models.utils import update_momentum
    from timm.utils import ModelEmaV2

    teacher, student = network(1), network(2)
    timms, lightlys = ModelEmaV2(network(1), decay=0.9), network(1)
    for seed in range(10, 14):
        moved(student, seed)
        functions["update_teacher"](teacher, student, 0.9)
        timms.update(student)
        update_momentum(student, lightlys, 0.9)
    for other in (timms.module, lightlys):
        for mine, theirs in zip(teacher.parameters(), other.parameters(), strict=True):
            close(mine.detach(), theirs.detach())


@pytest.mark.parametrize(
    ("warmup", "start", "end"), [(30, 0.04, 0.07), (7, 0.02, 0.02), (1, 0.01, 0.5), (9, 1.0, 0.1)]
)
def test_the_temperature_is_numpys_interpolation(warmup, start, end):
    steps = range(warmup + 20)
    ours = [functions["teacher_temperature"](step, warmup, start, end) for step in steps]
    np.testing.assert_allclose(ours, np.interp(steps, [0, warmup], [start, end]), rtol=1e-12)
    np.testing.assert_allclose(ours[: warmup + 1], np.linspace(start, end, warmup + 1), rtol=1e-12)
    assert functions["teacher_temperature"](0, 0, start, end) == end


# --- what came of it


@pytest.mark.parametrize("share", [0.1, 0.5, 0.6, 0.9, 1.0])
def test_no_smaller_set_of_tokens_holds_the_share(share):
    """Against all 2^9 sets of tokens."""
    weights = normal(4, 3, 9).exp()
    kept = functions["attention_mask"](weights, share)
    every = np.array(list(itertools.product([0, 1], repeat=9)))  # (512, 9)
    for row, mask in zip(weights.flatten(0, 1).numpy(), kept.flatten(0, 1).numpy(), strict=True):
        held = every @ row
        enough = held >= share * row.sum() * (1 - 1e-12)
        fewest = every[enough].sum(axis=1).min()
        assert mask.sum() == fewest
        best = enough & (every.sum(axis=1) == fewest)
        assert mask @ row == pytest.approx(held[best].max()), (
            "of equally many tokens, those that hold most"
        )


@pytest.mark.parametrize(("count", "classes"), [(12, 2), (40, 5), (61, 7)])
def test_mean_average_precision_is_scikit_learns(count, classes):
    labels = torch.cat(
        [torch.arange(classes).repeat(2), torch.randint(classes, (count - 2 * classes,))]
    )
    features = (normal(classes, 4)[labels] + normal(count, 4, seed=1)) * (
        0.1 + normal(count, 1, seed=2).abs()
    )
    cosines = scipy.spatial.distance.cdist(features, features, "cosine")
    precisions = []
    for query in range(count):
        others = np.arange(count) != query
        hits = (labels == labels[query]).numpy()[others]
        precisions.append(average_precision_score(hits, -cosines[query][others]))
    assert functions["mean_average_precision"](features, labels) == pytest.approx(
        np.mean(precisions), rel=1e-12
    )


def test_what_finds_everything_is_worth_one_and_chance_is_worth_the_share():
    labels = torch.arange(400) % 4
    assert functions["mean_average_precision"](F.one_hot(labels).double(), labels) == pytest.approx(
        1
    )
    assert functions["mean_average_precision"](normal(400, 30), labels) == pytest.approx(
        0.25, abs=0.02
    )


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0, 4.0, 5.5])
def test_pooling_is_torchs_scipys_and_their_limits(power):
    patches, classes = 0.1 + normal(3, 25, 6).abs(), normal(3, 6, seed=1)
    ours = functions["copy_features"](classes, patches, power)
    close(ours[:, :6], classes)
    planes = patches.mT.reshape(3, 6, 5, 5)
    close(ours[:, 6:], F.lp_pool2d(planes, power, 5).flatten(1) / 25 ** (1 / power))
    close(ours[:, 6:], scipy.stats.pmean(patches.numpy(), power, axis=1))
    assert (ours[:, 6:] <= patches.amax(dim=1) + 1e-12).all() and (
        ours[:, 6:] >= patches.mean(dim=1) - 1e-12
    ).all()
    close(
        functions["copy_features"](classes, patches, 300.0)[:, 6:], patches.amax(dim=1), rtol=0.02
    )


def test_copies_that_are_negative_throughout_are_a_millionth():
    features = functions["copy_features"](normal(2, 3), -normal(2, 4, 3).abs(), 4.0)
    close(features[:, 3:], torch.full((2, 3), 1e-6, dtype=torch.float64), rtol=1e-9)
    assert torch.isfinite(functions["copy_features"](torch.zeros(2, 3), torch.zeros(2, 4, 3))).all()
