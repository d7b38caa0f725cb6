"""Names from Python's own libraries, such as an annotation's, do not stop the search for forbidden
ones."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from autograder.checking.shortcuts import forbidden_in_source


@dataclass
class Kept:
    value: int


def answer(f: Callable[[int], int], x: int) -> OrderedDict:
    return OrderedDict(value=Kept(f(abs(x))).value)


def test_classes_of_pythons_own_libraries():
    assert forbidden_in_source(answer, ["models"]) == []
    assert [name for name, _ in forbidden_in_source(answer, ["value"])] == ["value"]
