"""What a submission's source says: forbidden shortcuts, by whatever name, and reaching for the
grader."""

from __future__ import annotations

import pytest

from autograder.grading.align import RUN
from autograder.grading.learner_source import (
    could_hide,
    forbidden,
    leads_elsewhere,
    reaching_for_grader,
    read,
)
from autograder.grading.materials import Unit
from autograder.units import ROOT

FORBID = ["conv2d", "unfold", "Conv2d"]
USES = {
    "plainly": ["def blur(x):\n    return F.conv2d(x, k)"],
    "as a method": ["def blur(x):\n    return x.unfold(0, 3, 1)"],
    "by its own name": [
        "from torch.nn.functional import conv2d",
        "def blur(x):\n    return conv2d(x, k)",
    ],
    "by another name": [
        "from torch.nn.functional import conv2d as c",
        "def blur(x):\n    return c(x, k)",
    ],
    "through an assignment": ["import torch\nc = torch.conv2d", "def blur(x):\n    return c(x, k)"],
    "through a function": [
        "def inner(x):\n    return F.conv2d(x, k)",
        "def blur(x):\n    return inner(x)",
    ],
    "through one of several assignments": ["a, b = 1, F.conv2d", "def blur(x):\n    return b(x)"],
    "through a swap": ["a, b = F.conv2d, 1", "b, a = a, b", "def blur(x):\n    return b(x)"],
    "unpacked": ["a, *b = F.conv2d, 1, 2", "def blur(x):\n    return a(x)"],
    "through two": [
        "def a(x):\n    return F.conv2d(x, k)",
        "b = a",
        "def blur(x):\n    return b(x)",
    ],
    "by a string": ['def blur(x):\n    return getattr(F, "conv2d")(x, k)'],
    "in a class": ["class blur:\n    def forward(self, x):\n        self.c = nn.Conv2d(3, 3, 3)"],
    "in a later cell": [
        "def blur(x):\n    return helper(x)",
        "def helper(x):\n    return F.conv2d(x, k)",
    ],
    "under a condition": ["if True:\n    def_ = F.conv2d", "def blur(x):\n    return def_(x)"],
    "in a lambda": ["blur = lambda x: F.conv2d(x, k)"],
    "in another's attribute": ["blur = Blur()\nblur.forward = lambda x: F.conv2d(x, k)"],
    "in a comprehension": ["def blur(x):\n    return [F.conv2d(y, k) for y in x]"],
    "imported within": [
        "def blur(x):\n    from torch.nn.functional import conv2d\n    return conv2d(x, k)"
    ],
    "below a magic": ["%matplotlib inline\ndef blur(x):\n    return F.conv2d(x, k)"],
}


OWN_MODELS = {
    "as a module": ["from cvcourse import models", "def blur(x):\n    return models.blur(x)"],
    "under another name": [
        "from cvcourse.models import blur as b",
        "def blur(x):\n    return b(x)",
    ],
    "from within": ["from cvcourse.models.vit import blur as b", "def blur(x):\n    return b(x)"],
    "in place of the answer": ["from cvcourse.models import blur"],
    "by assignment": ["from cvcourse import models as m", "blur = m.blur"],
    "by assignment, with another": [
        "from cvcourse import models",
        "blur, b = models.blur, models.b",
    ],
    "under another name, with another": [
        "from cvcourse import models",
        "x, b = 1, models.blur",
        "def blur(x):\n    return b(x)",
    ],
    "imported in the answer": [
        "def blur(x):\n    from cvcourse.models import blur as b\n    return b(x)"
    ],
    "as a measure": ["from cvcourse import measures as m", "def blur(x):\n    return m.blur(x)"],
    "as a measure of the package": [
        "import cvcourse",
        "def blur(x):\n    return cvcourse.measures.blur(x)",
    ],
    "inherited": ["import cvcourse", "class blur(cvcourse.models.blur):\n    pass"],
}


@pytest.mark.parametrize("cells", OWN_MODELS.values(), ids=OWN_MODELS)
def test_the_courses_own_models_are_found(cells):
    assert {name for name, _ in forbidden(read(cells), "blur", ["models"])} == {"models"}
    assert forbidden(read(cells), "blur", FORBID) == []


LENT = {
    "by assignment": "Block = models.Block",
    "by import": "from cvcourse.models import Block",
    "several at once": "Other, Block = models.Other, models.Block",
    "from the measures": "from cvcourse import measures\nBlock = measures.Block",
    "through the package": "import cvcourse\nBlock = cvcourse.models.Block",
}


@pytest.mark.parametrize("lent", LENT.values(), ids=LENT)
def test_another_exercise_may_be_lent_by_the_courses_own_models(lent):
    cells = [
        "from cvcourse import models",
        lent,
        "class Net:\n    def __init__(self):\n        self.part = Block()",
    ]
    assert forbidden(read(cells), "Net", ["models"]) == []
    assert {name for name, _ in forbidden(read(cells), "Block", ["models"])} == {"models"}


ONE_OF_THEM = {
    "as an attribute": "def nt_xent(x):\n    return models.nt_xent(x)",
    "by a string": 'def nt_xent(x):\n    return getattr(models, "nt_xent")(x)',
    "under another name": (
        "from cvcourse.models import nt_xent as n\ndef nt_xent(x):\n    return n(x)"
    ),
    "in place of the answer": "from cvcourse.models import nt_xent",
    "by assignment": "nt_xent = models.nt_xent",
    "with all others": "from cvcourse.models import *",
    "from within, with all others": "from cvcourse.models.simclr import *",
}


@pytest.mark.parametrize("cell", ONE_OF_THEM.values(), ids=ONE_OF_THEM)
def test_one_of_the_courses_own_models_can_be_forbidden_by_its_name(cell):
    cells = ["from cvcourse import models", cell]
    assert {name for name, _ in forbidden(read(cells), "nt_xent", ["nt_xent"])} == {"nt_xent"}
    assert {name for name, _ in forbidden(read(cells), "nt_xent", ["models"])} == {"models"}
    assert forbidden(read(cells), "nt_xent", ["gaussian_blur"]) == []


def test_an_answer_of_ones_own_below_an_import_of_all_models():
    cells = ["from cvcourse.models import *", "def nt_xent(x):\n    return gaussian_blur(x)"]
    assert forbidden(read(cells), "nt_xent", ["models", "nt_xent"]) == []


def test_what_is_lent_below_its_check_is_none_of_that_check():
    own = ["from cvcourse import models", "class Block:\n    pass", "check(Block)"]
    lent = "Block = models.Block"
    assert forbidden(read([*own, lent]), "Block", ["models"]) == []
    assert forbidden(read([*own[:2], lent, own[2]]), "Block", ["models"]) != []
    assert forbidden(read([own[0], lent, *own[1:]]), "Block", ["models"]) == []


def test_the_courses_own_models_beside_an_answer_are_no_shortcut():
    cells = [
        "from cvcourse import data, models",
        "def blur(x):\n    return x",
        "show(models.blur(x))",
    ]
    assert forbidden(read(cells), "blur", ["models"]) == []


@pytest.mark.parametrize("cells", USES.values(), ids=USES)
def test_a_shortcut_is_found(cells):
    found = forbidden(read(cells), "blur", FORBID)
    assert found and {name for name, _ in found} <= set(FORBID)
    written = [line.strip() for cell in cells for line in cell.splitlines()]
    assert all(line in written for _, line in found)


HARMLESS = {
    "a word": ['def blur(x):\n    """Like conv2d, but by hand."""\n    return x'],
    "a comment": ["def blur(x):\n    return x  # no conv2d here"],
    "another exercise": ["def other(x):\n    return F.conv2d(x, k)", "def blur(x):\n    return x"],
    "an own function of that name": [
        "def conv2d(x):\n    return x",
        "def blur(x):\n    return conv2d(x)",
    ],
    "an earlier attempt": ["def blur(x):\n    return F.conv2d(x, k)", "def blur(x):\n    return x"],
    "a cell of its own": ["expected = F.conv2d(x, k)", "def blur(x):\n    return x"],
}


@pytest.mark.parametrize("cells", HARMLESS.values(), ids=HARMLESS)
def test_what_is_no_shortcut_is_not_taken_for_one(cells):
    assert forbidden(read(cells), "blur", FORBID) == []


def test_the_learners_line_is_shown_as_written():
    cells = read(
        ["import torch\n\ndef blur(x):\n    y = x + 1\n    return   F.conv2d(y, k)   # quick"]
    )
    assert forbidden(cells, "blur", FORBID) == [("conv2d", "return   F.conv2d(y, k)   # quick")]


def test_nothing_is_forbidden_where_nothing_is():
    assert forbidden(read(USES["plainly"]), "blur", []) == []


REACHES = [
    "import sys\nsys._getframe(1)",
    "import inspect\ninspect.currentframe().f_back",
    "import gc\ngc.get_objects()",
    "get_ipython().ast_transformers.append(T())",
    "get_ipython().displayhook = None",
    "import ctypes",
    "from ctypes import pythonapi",
    "import os\nos._exit(0)",
    "getattr(os, '_exit')(0)",
    "().__class__.__base__.__subclasses__()",
    "import autograder.checking.judge",
    "from autograder import observe",
    "from autograder.grading import wire",
    "from autograder.check import Checker, load",
    "from autograder.checking.shortcuts import OperatorWatch",
    "from torch.utils._python_dispatch import _pop_mode",
    "class Mode(torch.overrides.TorchFunctionMode):\n    pass",
    "class T:\n    def __torch_function__(self):\n        pass",
]


@pytest.mark.parametrize("source", REACHES)
def test_reaching_for_the_grader_is_seen(source):
    lines = reaching_for_grader(read([source]))
    assert lines and all(line in [text.strip() for text in source.splitlines()] for line in lines)


@pytest.mark.parametrize(
    "source",
    [
        (
            "import torch\nfrom torch import nn\nfrom autograder.check import Checker\ncheck ="
            " Checker('01')"
        ),
        "import os\nos.listdir('.')",
        "def frame(image):\n    return image[1:-1]",
        "%matplotlib inline\n!ls",
        "from cvcourse.widgets import compare",
    ],
)
def test_ordinary_cells_reach_for_nothing(source):
    assert reaching_for_grader(read([source])) == []


@pytest.mark.parametrize(
    "source",
    [
        "def blur(:",
        "x = '\0'",
        "(" * 5000,
        "x = " + "-" * 20_000 + "1",
        "lambda: " * 2000 + "0",
        "\ud800",
    ],
)
def test_what_is_no_python_is_left_out(source):
    cells = read([source, "def blur(x):\n    return F.conv2d(x, k)"])
    assert [name for name, _ in forbidden(cells, "blur", FORBID)] == ["conv2d"]


def test_a_deep_source_that_parses_ends_nothing():
    """Long chains of operators parse into trees that are deeper than Python's stack."""
    deep = "x = " + " + ".join(["1"] * 3000) + "\n" + "y = x" + ".a" * 500
    cells = read([deep, "def blur(x):\n    return x"])
    assert forbidden(cells, "blur", FORBID) == [] == reaching_for_grader(cells)


@pytest.mark.parametrize(
    ("source", "leads"),
    [
        ("import torch\n\ndef f(x):\n    return x.sum() % 2", False),
        ("import torch.nn.functional as F\nG = F.pad", False),
        ("import numpy", True),
        ("def f(x):\n    return x.numpy()", True),
        ("def f(x):\n    return np.cumsum(x)", True),
        ("from scipy import signal", True),
        ("f = getattr(torch, name)", True),
        ("torch.Tensor.__array__(x)", True),
        ("from somewhere import *", True),
        ("%timeit f()", True),
        ("import sys", True),
        ("import math, signal", True),
        ("def conv1d(signal):\n    print(conv1d.__name__)\n    super().__init__()", False),
        ("f.__init__.__globals__", True),
    ],
)
def test_what_could_lead_to_another_librarys_functions(source: str, leads: bool) -> None:
    assert leads_elsewhere([source]) is leads


def test_a_unit_that_needs_torch_alone_is_not_slowed_down() -> None:
    unit = Unit(ROOT, "01_convolution")
    assert not leads_elsewhere(cell.source for cell in unit.release if cell.role in RUN)


HONEST = "def blur(x):\n    return x.mean()"
CURIOUS = "import threading, inspect\nvars(blur), blur.__dict__, inspect.signature(blur)"


def test_a_curious_cell_beside_an_honest_exercise_costs_nothing() -> None:
    cells = read([HONEST, CURIOUS])
    assert reaching_for_grader(cells)
    assert not could_hide(cells, "blur")


@pytest.mark.parametrize(
    "sources",
    [
        ["def blur(x):\n    return vars(np)['con' + 'volve'](x)"],
        ["def blur(x):\n    return helper(x)", "def helper(x):\n    return x.__dict__"],
        [HONEST, "import sys\nsys._getframe()"],
        [HONEST, "exec('blur = 1')"],
        [HONEST, "import pickle"],
        [HONEST, "from autograder import shortcuts"],
        [HONEST, "import os\nos.write(3, b'')"],
    ],
)
def test_what_could_hide_a_shortcut(sources: list[str]) -> None:
    assert could_hide(read(sources), "blur")
