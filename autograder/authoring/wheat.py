"""Wheats and shortcuts.

Wheats are other right answers that every check must accept; shortcuts are library calls that it
must refuse.
"""

from __future__ import annotations

import linecache
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from autograder.errors import CourseError

Answer = TypeVar("Answer", bound=Callable[..., Any])


@dataclass(frozen=True)
class Alternative:
    """Another answer to an exercise: a wheat (right) or a shortcut (right, but forbidden)."""

    exercise: str
    name: str
    answer: Callable[..., Any]
    is_shortcut: bool = False


_declared: list[Alternative] = []


def wheat(exercise: str) -> Callable[[Answer], Answer]:
    """Declare another right solution of `exercise`."""
    return _declare(exercise, is_shortcut=False)


def shortcut(exercise: str) -> Callable[[Answer], Answer]:
    """Declare a solution of `exercise` that leans on what the exercise forbids."""
    return _declare(exercise, is_shortcut=True)


def _declare(exercise: str, is_shortcut: bool) -> Callable[[Answer], Answer]:
    def keep(answer: Answer) -> Answer:
        _declared.append(Alternative(exercise, answer.__name__, answer, is_shortcut))
        return answer

    return keep


def load_wheats(path: Path) -> list[Alternative]:
    """The wheats and shortcuts of a unit's wheats.py.

    Raises CourseError when it is missing or broken.
    """
    if not path.exists():
        raise CourseError(
            f"{path.parent.name}/{path.name} is missing: every exercise needs another right"
            " solution."
        )
    source = path.read_text(encoding="utf-8")
    module = types.ModuleType("wheats")
    module.__file__ = str(path)
    linecache.checkcache(str(path))
    _declared.clear()
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise CourseError(
            f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}: {error}."
        ) from error
    return list(_declared)
