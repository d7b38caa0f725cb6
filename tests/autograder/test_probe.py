"""What probes have for modules: parameters filled by name, and the course's own version of earlier
exercises."""

import functools

import pytest
import torch
from torch import nn

from autograder.checking.observe import Watched
from autograder.checking.probe import Draw, MissingPart, provided
from autograder.checking.shortcuts import forbidden_in_source


class Layers(nn.Module):
    def __init__(self, *extra: str):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        for name in extra:
            setattr(self, name, nn.Linear(5, 2))


def numbers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()
    }


def test_what_a_parameter_gets_depends_on_its_name_alone():
    few = numbers(Draw(1).fill(Layers()))
    many = numbers(Draw(1).fill(Layers("before", "after")))
    assert all(torch.equal(few[name], many[name]) for name in few)
    assert not torch.equal(many["before.weight"], many["after.weight"])


def test_the_numbers_come_from_the_draw():
    first = Draw(1)
    filled = numbers(first.fill(Layers()))
    again = numbers(Draw(99, stored=first.drawn).fill(Layers()))
    assert all(torch.equal(filled[name], again[name]) for name in filled)
    other = numbers(Draw(2).fill(Layers()))
    assert not any(torch.equal(filled[name], other[name]) for name in filled)


def test_filled_parameters_hide_nothing():
    module = Draw(3, "float64").fill(Layers())
    assert module.conv.weight.dtype == torch.float64
    assert (module.norm.running_var >= 0.5).all()
    assert module.norm.weight.std() > 0.3 and module.norm.bias.abs().min() > 0
    assert 0.7 < module.conv.weight.std() * 27**0.5 < 1.3
    assert module.norm.num_batches_tracked == 0


def test_a_large_matrix_has_full_rank():
    matrix = Draw(0, "float64").fill(nn.Linear(90, 120)).weight
    assert torch.linalg.matrix_rank(matrix) == 90


def test_a_missing_part_is_named():
    with pytest.raises(MissingPart, match="no parameter or buffer"):
        Draw(0).fill(Layers(), required=("conv.weight", "head.weight"))
    with pytest.raises(MissingPart, match="nothing"):
        Draw(0).fill(None)


def double(x):
    return 2 * x


def twice_double(x):
    return double(double(x))


class Doubler:
    def __call__(self, x):
        return double(x)


@pytest.mark.parametrize("answer", [twice_double, Watched(twice_double)])
def test_a_probe_can_provide_what_an_answer_builds_on(answer):
    with provided(answer, double=lambda x: 10 * x, unknown=None):
        assert answer(1) == 100
        assert Doubler()(1) == 10
    assert answer(1) == 4
    assert "unknown" not in globals()


def test_what_was_provided_goes_when_the_answer_fails():
    with pytest.raises(ZeroDivisionError), provided(twice_double, double=lambda x: x / 0):
        twice_double(1)
    assert twice_double(1) == 4


def test_an_answer_without_a_notebook_around_it_is_left_alone():
    with provided(functools.partial(double), double=None):
        assert double(1) == 2


@pytest.mark.parametrize(
    "lines",
    [
        "from cvcourse import models\ndef answer(x):\n    return models.attention(x)",
        "import cvcourse.models as m\ndef answer(x):\n    return m.attention(x)",
        "import cvcourse\ndef answer(x):\n    return cvcourse.models.attention(x)",
        "def answer(x):\n    from cvcourse.models import attention as a\n    return a(x)",
    ],
)
def test_the_courses_own_models_can_be_forbidden(lines, tmp_path):
    answer = function_in(tmp_path, lines)
    assert [name for name, _ in forbidden_in_source(answer, ["models"])] == ["models"]
    assert forbidden_in_source(answer, ["conv2d"]) == []


def test_an_earlier_exercise_may_be_lent(tmp_path):
    lines = "from cvcourse.models import BasicBlock\ndef answer(x):\n    return BasicBlock(x, x)"
    answer = function_in(tmp_path, lines)
    assert forbidden_in_source(answer, ["models"]) == []
    assert forbidden_in_source(answer.__globals__["BasicBlock"], ["models"]) == [
        ("models", "BasicBlock")
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "from cvcourse import models\ndef answer(x):\n    return models.attention(x)",
        "from cvcourse.models import attention as a\ndef answer(x):\n    return a(x)",
        "def answer(x):\n    from cvcourse.models import attention as a\n    return a(x)",
        "from cvcourse.models import attention\nanswer = attention",
    ],
)
def test_one_of_the_courses_own_models_can_be_forbidden(lines, tmp_path):
    answer = function_in(tmp_path, lines)
    assert [name for name, _ in forbidden_in_source(answer, ["attention"])] == ["attention"]
    assert forbidden_in_source(answer, ["patchify"]) == []


def test_a_variable_called_models_is_none_of_ours(tmp_path):
    answer = function_in(tmp_path, "def answer(x):\n    models = [x]\n    return models[0]")
    assert forbidden_in_source(answer, ["models"]) == []


def function_in(folder, lines):
    """The function `answer` of a file with these lines."""
    path = folder / "notebook_cell.py"
    path.write_text(lines + "\n", encoding="utf-8")
    names = {"__name__": "__main__"}
    exec(compile(lines, str(path), "exec"), names)
    return names["answer"]
