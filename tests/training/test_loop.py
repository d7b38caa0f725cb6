"""The loop: what it computes, that it repeats to the bit, and what it says when it cannot go on."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from torch import nn

from cvcourse.training import (
    Compose,
    RandomCrop,
    RandomFlip,
    TrainingError,
    accuracy,
    adamw,
    fit,
    sgd,
)
from cvcourse.training.batches import batch_indices, derived_seed


def interrupt_at(step):
    """An augmentation that presses Ctrl-C in one step."""
    calls = []

    def augment(images, generator):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return images

    return augment


def test_it_learns_and_says_so(train, new_net, data, capsys):
    run = train(
        new_net(),
        steps=60,
        evaluate=lambda model: {"accuracy": accuracy(model, *data)},
        evaluate_every=30,
    )
    assert run.is_finished
    assert run.losses[0] > 1.2 > 0.6 > run.losses[-1]
    assert [step for step, _ in run.evaluations] == [30, 60]
    assert run.numbers["accuracy"] > 0.9
    assert "60 steps in" in capsys.readouterr().out
    assert not run.model.training


def test_it_is_the_loop_that_learners_write(new_net, data):
    """Without anything extra, the weights are those of ten plain lines, to the bit."""
    images, labels = data
    ours, theirs = new_net(), new_net()
    for net in (ours, theirs):
        net.norm.eval()
    fit(ours, data, steps=8, batch_size=16, optimizer=sgd(0.1), seed=3, loss=ours_loss)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    theirs.train()
    for step in range(8):
        torch.manual_seed(derived_seed(3, "step", step))
        batch = batch_indices(64, 16, 3, step)
        loss = nn.functional.cross_entropy(theirs(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def ours_loss(logits, labels):
    return nn.functional.cross_entropy(logits, labels)


def test_an_epoch_sees_every_example_once_and_each_in_another_order():
    epochs = [
        torch.cat([batch_indices(64, 16, 0, step) for step in range(4 * k, 4 * k + 4)])
        for k in range(2)
    ]
    for epoch in epochs:
        assert epoch.sort().values.tolist() == list(range(64))
    assert not torch.equal(*epochs)
    assert not torch.equal(batch_indices(64, 16, 0, 0), batch_indices(64, 16, 1, 0))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_runs_are_equal_to_the_bit(train, new_net, same_weights, precision):
    augment = Compose(RandomCrop(1), RandomFlip())
    first, second = (
        train(new_net(), augment=augment, precision=precision, seed=7) for _ in range(2)
    )
    assert first.losses == second.losses
    assert same_weights(first.model, second.model)
    assert train(new_net(), augment=augment, precision=precision, seed=8).losses != first.losses


def test_the_callers_random_numbers_stay_as_they_are(train, new_net):
    model = new_net()
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    train(model)
    assert torch.equal(torch.rand(3), wanted)


def test_an_interrupt_ends_training_after_its_step_and_keeps_the_model(
    train, new_net, same_weights, capsys
):
    before = signal.getsignal(signal.SIGINT)
    run = train(new_net(), augment=interrupt_at(5))
    assert (run.done, run.is_finished) == (5, False)
    said = "Stopped after 5 of 24 steps. What was learned so far is kept."
    assert said in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before
    assert not same_weights(run.model, new_net())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_the_last_good_weights_come_back(
    train, new_net, same_weights, value
):
    """The loss fails in step 14: what comes back is what ten steps of training give."""
    calls = []

    def loss(logits, labels):
        calls.append(1)
        return nn.functional.cross_entropy(logits, labels) * (value if len(calls) == 14 else 1)

    model = new_net()
    said = r"became (nan|inf) in step 14: lower the learning rate \(now 0.01\)"
    with pytest.raises(TrainingError, match=said) as raised:
        train(model, loss=loss, schedule=None)
    assert "weights from after step 10" in str(raised.value)
    assert raised.value.run.done == 10
    wanted = new_net()
    calls = [1] * 100
    fit_ten = train(wanted, steps=10, schedule=None)
    assert same_weights(model, fit_ten.model)


def test_a_first_loss_that_is_not_finite_asks_for_the_data(train, new_net, same_weights, data):
    images = data[0].clone()
    images[:] = math.nan
    model = new_net()
    said = "in step 1: look for values that are not finite in the data"
    with pytest.raises(TrainingError, match=said):
        train(model, data=(images, data[1]))
    assert same_weights(model, new_net())


def test_weights_that_the_last_step_spoilt_are_noticed(train, new_net):

    def steep(logits, labels):
        return 1e4 * ours_loss(logits, labels)

    model = new_net()
    with pytest.raises(TrainingError, match="weights became infinite or not a number in step 1"):
        train(model, steps=1, optimizer=sgd(3e38), schedule=None, loss=steep)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    ],
)
def test_out_of_memory_names_the_setting_to_lower(train, new_net, error):
    def augment(images, generator):
        raise error

    with pytest.raises(TrainingError, match="full at batch_size=16: try batch_size=8"):
        train(new_net(), augment=augment)


def test_another_error_of_torch_is_not_taken_for_full_memory(train, new_net, data):
    with pytest.raises(RuntimeError, match="expected input"):
        train(new_net(), data=(torch.rand(64, 3, 8, 8), data[1]))


def test_a_model_on_another_device_than_its_data(train, new_net, data):
    said = "The model is on cpu and the inputs are on meta: move both"
    with pytest.raises(TrainingError, match=said):
        train(new_net(), data=(data[0].to("meta"), data[1]))
    with pytest.raises(TrainingError, match="the targets are on meta"):
        train(new_net(), data=(data[0], data[1].to("meta")))


def test_a_batch_above_the_data(train, new_net):
    said = "batch_size=65 is above the 64 examples of the data: use at most 64"
    with pytest.raises(TrainingError, match=said):
        train(new_net(), batch_size=65)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"batch_size": 0}])
def test_nothing_to_do(train, new_net, changes):
    with pytest.raises(TrainingError, match="must both be at least 1"):
        train(new_net(), **changes)


def test_inputs_without_targets(train, new_net, data):
    with pytest.raises(TrainingError, match="64 inputs but 63 targets"):
        train(new_net(), data=(data[0], data[1][1:]))


@pytest.mark.parametrize("label", [4, -1])
def test_labels_out_of_range(train, new_net, data, label):
    labels = data[1].clone()
    labels[40] = label
    model = new_net()
    said = "but the model has 4 classes: labels must lie in 0 to 3"
    with pytest.raises(TrainingError, match=said):
        train(model, data=(data[0], labels))


def test_an_unknown_precision(train, new_net):
    with pytest.raises(TrainingError, match="no precision 'half': use float32, bfloat16, auto"):
        train(new_net(), precision="half")


def test_channels_last_learns_the_same(train, new_net):
    nets = new_net(), new_net()
    for net in nets:
        net.dropout = 0.0  # its random numbers follow the order in memory
    plain, last = train(nets[0]), train(nets[1], channels_last=True)
    assert last.model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert plain.losses == pytest.approx(last.losses, rel=1e-3)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(train, new_net):
    seen = []
    model = new_net()
    model.conv.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    run = train(model, precision="bfloat16", steps=3)
    assert set(seen) == {torch.bfloat16}
    assert model.conv.weight.dtype == torch.float32
    assert run.configuration["precision"] == "bfloat16"


def test_clipping_bounds_the_step(new_net, data):
    """Plain gradient descent moves the weights by lr times the gradient, at most the clip."""
    model, before = new_net(), new_net()
    fit(model, data, steps=1, batch_size=64, optimizer=sgd(1.0, momentum=0.0), clip=0.01)
    pairs = zip(model.parameters(), before.parameters(), strict=True)
    moved = math.sqrt(sum(((a - b) ** 2).sum().item() for a, b in pairs))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_the_schedule_sets_the_rate(new_net, data):
    model = new_net()
    seen = []

    def schedule(done):
        seen.append(done)
        return 0.0

    before = model.head.weight.clone()
    fit(model, data, steps=4, batch_size=16, optimizer=adamw(1e-2), schedule=schedule)
    assert seen == [0.125, 0.375, 0.625, 0.875]
    assert torch.equal(model.head.weight, before)
