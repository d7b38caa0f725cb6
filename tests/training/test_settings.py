"""The settings of `fit`: one list, which its signature, its help and its errors go by."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from cvcourse.training import TrainingSettings, fit, sgd

NAMES = [field.name for field in fields(TrainingSettings)]


def evaluation(model):
    return {}


def settings(**changes):
    return TrainingSettings(steps=10, batch_size=2, optimizer=sgd(), **changes)


def test_a_notebook_shows_every_setting_of_fit():
    parameters = inspect.signature(fit).parameters
    assert list(parameters) == ["model", "data", *NAMES]
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in NAMES)
    assert parameters["precision"].default == "float32"
    assert parameters["steps"].default is inspect.Parameter.empty
    explained = [line.split(":")[0] for line in inspect.getdoc(fit).splitlines()]
    assert [name for name in NAMES if name not in explained] == []


def test_a_setting_that_does_not_exist_names_those_that_do(train, new_net):
    said = r"fit\(\) has no setting 'stpes': it has steps, batch_size, optimizer,"
    with pytest.raises(TypeError, match=said):
        train(new_net(), stpes=4)


def test_a_setting_that_is_missing_is_named(new_net, data):
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'optimizer'"):
        fit(new_net(), data, steps=4, batch_size=16)


def test_settings_go_by_name_only(new_net, data):
    with pytest.raises(TypeError, match="positional"):
        fit(new_net(), data, 4)


@pytest.mark.parametrize(
    ("every", "wanted"), [(None, [10]), (0, [10]), (4, [4, 8, 10]), (5, [5, 10]), (20, [10])]
)
def test_when_the_model_is_evaluated(every, wanted):
    chosen = settings(evaluate=evaluation, evaluate_every=every)
    found = [done for done in range(1, 11) if chosen.evaluation_after(done) is evaluation]
    assert found == wanted


def test_nothing_is_evaluated_without_evaluate():
    chosen = settings(evaluate_every=2)
    assert {chosen.evaluation_after(done) for done in range(1, 11)} == {None}


def test_what_a_training_is_called():
    assert settings().name == "training"
    assert settings(checkpoint="stored").name == "stored"
    assert settings(checkpoint="stored", title="residual 20").name == "residual 20"
