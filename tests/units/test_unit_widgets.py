"""Each widget of each unit without a browser.

Its controls, the learner's function, the stub, the static picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
from lessons import lesson_of

from autograder.authoring.lesson import Lesson, run_cell
from autograder.cells import grader_id, tags
from autograder.units import ROOT, units
from cvcourse import widgets
from cvcourse.widgets import Choice, Field, Grid, Lab, Pointer, Prompts, Slider, Toggle

WIDGETS = [
    (unit, index)
    for unit in units()
    for index, cell in enumerate(lesson_of(unit).notebook.cells)
    if "widget" in tags(cell)
]
pytestmark = pytest.mark.usefixtures("one_thread")
EVERY = pytest.mark.parametrize(
    ("unit", "index"), WIDGETS, ids=[f"{unit}-cell{index}" for unit, index in WIDGETS]
)


def stubs(lesson: Lesson) -> dict[str, str]:
    """What the learner finds in each exercise's cell."""
    release = nbformat.read(ROOT / "course" / lesson.unit / f"{lesson.unit}.ipynb", as_version=4)
    found = {
        grader_id(cell, "solution"): cell.source
        for cell in release.cells
        if cell.cell_type == "code"
    }
    return {
        name: found[name] for name, exercise in lesson.exercises.items() if not exercise.answers
    }


def labs_of(
    lesson: Lesson, index: int, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> list[Lab]:
    """The labs that a widget cell makes in a namespace."""
    made: list[Lab] = []
    monkeypatch.setenv("CVCOURSE_WIDGETS", "static")

    def recording(*arguments: Any, **keywords: Any) -> Lab:
        made.append(Lab(*arguments, **keywords))
        return made[-1]

    names = {**namespace, **{name: recording for name, value in namespace.items() if value is Lab}}
    run_cell(names, lesson.notebook.cells[index].source, f"<{lesson.unit} widget {index}>")
    return made


def settings_of(control: Any) -> list[Any]:
    """The ends of a control's range, or all of a few choices."""
    match control:
        case Slider():
            return [control.low, control.high, control.value]
        case Choice():
            return list(control.options)
        case Toggle():
            return [True, False]
        case Grid():
            zeros = [[0.0] * len(row) for row in control.value]
            return [zeros, [[1.0] * len(row) for row in control.value], control.value]
        case Pointer():
            return [(0, 0), control.value]
        case Field():
            return ["", "no such file"]
        case Prompts():
            first = ("point", 10, 12, 1)
            return [
                (),
                (first,),
                (first, ("point", 20, 9, 0)),
                (("box", 4, 5, 20, 30),),
                control.value,
            ]
    raise AssertionError(f"no settings are known for {control!r}")


def sweep(lab: Lab) -> Iterator[dict[str, Any]]:
    """Each control through its settings alone, then every pair of extremes of the sliders."""
    for name, control in lab.controls.items():
        yield from ({name: setting} for setting in settings_of(control))
    sliders = [name for name, control in lab.controls.items() if isinstance(control, Slider)]
    for first, second in itertools.combinations(sliders, 2):
        for one, other in itertools.product(
            settings_of(lab.controls[first])[:2], settings_of(lab.controls[second])[:2]
        ):
            yield {first: one, second: other}


def test_every_unit_has_widgets():
    assert {unit for unit, _ in WIDGETS} == set(units())
    assert widgets.Lab is Lab


@EVERY
def test_every_setting_is_drawn_by_the_learners_function(unit, index, monkeypatch):
    lesson = lesson_of(unit)
    labs = labs_of(lesson, index, lesson.namespace(), monkeypatch)
    assert labs
    for lab in labs:
        assert lab.guards, "a widget draws the learner's function"
        start = dict(lab.values)
        for setting in sweep(lab):
            lab.set(**{**start, **setting})
            assert lab.error is None, (setting, [note.text for note in lab.notes])
            assert all("by your" in note.text for note in lab.notes), (
                setting,
                [note.text for note in lab.notes],
            )
            assert lab.scene.panels
        assert lab.figure().axes


@EVERY
def test_a_stub_is_stood_in_for_and_said_so(unit, index, monkeypatch):
    lesson = lesson_of(unit)
    # Set-up and helper cells run with nothing solved.
    namespace = lesson.namespace(replaced=stubs(lesson))
    for lab in labs_of(lesson, index, namespace, monkeypatch):
        assert lab.error is None, [note.text for note in lab.notes]
        assert any("not written yet" in note.text for note in lab.notes)


@EVERY
def test_nothing_is_drawn_while_grading(unit, index, monkeypatch):
    lesson = lesson_of(unit)
    namespace = lesson.namespace()
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    for lab in labs_of(lesson, index, namespace, monkeypatch):
        assert lab.scene is None
        assert list(lab._repr_mimebundle_()[0]) == ["text/plain"]
