"""The lessons, their hints and what checks say use the field's own words: see docs/glossary.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from lessons import lesson_of

from autograder.units import ROOT, units

GLOSSARY = ROOT / "docs" / "glossary.md"
# What a learner reads besides lessons: sentences in the checker's and the widgets' code.
SPOKEN = [
    *sorted((ROOT / "autograder" / "checking").glob("*.py")),
    *sorted((ROOT / "cvcourse").rglob("*.py")),
]
# How a key names the kinds of values, whatever learners read.
STORED_KINDS = {
    "truth value",
    "whole number",
    "a whole number beyond",
    "a whole number beyond 64 bits",
}


@cache
def wrong_words() -> dict[str, str]:
    """Wrong word -> the right one, from the glossary's table."""
    found = {}
    for line in GLOSSARY.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] not in ("word", "---"):
            found |= {word.strip(): cells[0] for word in cells[2].split(",") if word.strip()}
    return found


def misused(text: str) -> list[str]:
    """The wrong words in a text, with the right ones."""
    plain = " ".join(text.lower().split())
    return [
        f"{wrong!r} for {right!r}"
        for wrong, right in wrong_words().items()
        if re.search(rf"\b{re.escape(wrong.lower())}\b", plain)
    ]


def sentences_of(unit: str) -> Iterator[str]:
    """All that a learner reads in a unit: cells, hints, and the names and hints of mistakes."""
    lesson = lesson_of(unit)
    yield from (cell.source for cell in lesson.notebook.cells)
    for exercise in lesson.exercises.values():
        yield from exercise.hints
        for item in exercise.misconceptions:
            yield from (item.name, item.hint)


def texts_in(source: str) -> Iterator[str]:
    """The texts of a module, docstrings included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_glossary_names_wrong_words():
    assert wrong_words()["foretold"] == "predicted"
    assert len(wrong_words()) >= 20
    assert misused("The quality that the net foretold, in two\nwhole numbers.") == [
        "'foretold' for 'predicted'",
        "'whole numbers' for 'integer'",
    ]
    assert misused("A level of grey, and a likely answer.") == []


@pytest.mark.parametrize("unit", units())
def test_lessons_use_the_fields_words(unit):
    found = {text: words for text in sentences_of(unit) if (words := misused(text))}
    assert found == {}


@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_library_uses_the_fields_words(path):
    texts = [text for text in texts_in(path.read_text(encoding="utf-8")) if misused(text)]
    assert set(texts) <= STORED_KINDS
