"""Student and teacher as one module, and unit 09's training outside its notebook at smoke scale."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from cvcourse import models
from cvcourse.training import adamw, fit

UNIT = "09_dino"
pytestmark = pytest.mark.usefixtures("one_thread")


def small_model(total_steps=4, **parts):
    torch.manual_seed(0)
    encoder = models.ClassAttentionEncoder(1, 16, 2, widths=(8,))
    head = models.DINOHead(16, 12, 6, 10)
    return models.SelfDistillation(encoder, head, total_steps, **parts)


def views(count=2, side=16, local_side=8):
    generator = torch.Generator().manual_seed(1)
    sides = [side] * 2 + [local_side] * (count - 2)
    return [torch.rand(6, 1, each, each, generator=generator) for each in sides]


def train(model, steps=4, stop=None, **settings):
    images = torch.rand(24, 1, 16, 16, generator=torch.Generator().manual_seed(2))

    def augment(batch, generator):
        return models.multi_crop(batch, generator, num_local=1, local_size=8)

    def loss(said, targets):
        if stop is not None and said.step == stop:
            raise KeyboardInterrupt
        return models.dino_loss(said.student, said.teacher, said.center, 0.1, 0.04)

    data = images, torch.zeros(24)
    settings |= dict(steps=steps, batch_size=6, optimizer=adamw(0.01))
    return fit(model, data, loss=loss, augment=augment, **settings)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_step_in_training(count):
    model = small_model()
    before = copy.deepcopy(model)
    said = model(views(count))
    assert said.student.shape == (count, 6, 10) and said.teacher.shape == (2, 6, 10)
    assert said.student.requires_grad and not said.teacher.requires_grad
    assert said.step == 0 and model.step == 1
    before_the_batch = torch.zeros(10)
    assert torch.equal(said.center, before_the_batch), "the loss has the center from before it"
    torch.testing.assert_close(model.center, 0.1 * said.teacher.mean(dim=(0, 1)))
    for old, new in zip(before.teacher.parameters(), model.teacher.parameters(), strict=True):
        assert torch.equal(old, new), "there is nothing to follow before the first step"


def test_views_of_one_size_share_their_statistics():
    """Views in one batch norm: not the same as one after the other."""
    model, given = small_model(), views(2)
    together = model(given).student
    apart = torch.stack([model.student[1](model.student[0](view)) for view in given])
    assert not torch.allclose(together, apart, atol=1e-3)


def test_the_teacher_follows_with_the_momentum_of_the_step():
    model = small_model(total_steps=10)
    model(views())
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    old = [parameter.clone() for parameter in model.teacher.parameters()]
    model(views())
    momentum = models.teacher_momentum(1, 10, 0.98)
    new = model.teacher.parameters(), model.student.parameters()
    for before, after, student in zip(old, *new, strict=True):
        torch.testing.assert_close(after, momentum * before + (1 - momentum) * student)


def test_evaluation_gives_the_teachers_features():
    model = small_model().eval()
    [image, _] = views()
    assert torch.equal(model(image), model.teacher[0](image)) and model(image).shape == (6, 16)
    assert model.step == 0 and not model.center.any()


def test_the_learners_updates_are_used():
    calls = []

    def moved(teacher, student, momentum):
        calls.append(momentum)

    def one_more(center, teacher, momentum):
        return center + 1

    model = small_model(update_teacher=moved, update_center=one_more)
    model(views())
    model(views())
    assert len(calls) == 1 and torch.equal(model.center, torch.full((10,), 2.0))


def test_training_reaches_the_student_and_not_the_teacher_by_gradient():
    model = small_model()
    run = train(model)
    assert run.is_finished and all(math.isfinite(loss) for loss in run.losses)
    assert model.step == 4
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert not torch.equal(model.teacher[1].prototypes, model.student[1].prototypes)


def test_a_stopped_training_goes_on_with_its_teacher_and_center(tmp_path, monkeypatch):
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path))
    whole = small_model()
    train(whole)
    stopped = small_model()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stop=2, checkpoint="dino", save_every=0)
    again = small_model()
    run = train(again, stop=9, checkpoint="dino", save_every=0)
    assert run.is_finished
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("data", ["camouflage", "cifar10"])
def test_smoke(train_smoke, data):
    results = train_smoke(data)
    shares = {"knn", "linear"}
    if data == "camouflage":
        shares |= {"iou", "pointing"}
    wanted = {"images_per_second", "parameters", "steps", "seconds"} | shares
    assert wanted <= set(results.numbers)
    assert all(0 <= results.numbers[name] <= 1 for name in shares)
    assert [step for step, _ in results.curves["knn"]] == [3, 6]
    features = results.model(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 16), "the teacher's encoder is what is kept"


def test_the_command_writes_a_run(command_run):
    found = command_run
    assert (found.unit, found.data, found.weights is not None) == (UNIT, "camouflage", True)


@pytest.mark.parametrize("data", ["camouflage", "cifar10"])
@pytest.mark.parametrize("budget", ["cpu", "gpu"])
def test_every_budgets_networks_can_be_built(names, exercises, plan, budget, data):
    chosen = plan(budget)
    model = names["new_distillation"](exercises, chosen, data, 3, names["SETTINGS"][data]).eval()
    width = 512 if data == "cifar10" else chosen.dim
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, width)
