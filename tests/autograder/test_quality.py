"""The gates can fail: each kind of weak check is found."""

from __future__ import annotations

import contextlib
import json
import re

import nbformat
import pytest

from autograder.authoring.build import build_units
from autograder.authoring.lesson import read_lesson
from autograder.authoring.mutate import Mutant
from autograder.authoring.quality import Release, run_quality, survives
from autograder.authoring.record import patched_twice
from autograder.checking.key_files import read_key


def quality_after(mini, file, before, after):
    path = mini / "solutions" / "90_mini" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    build_units([], mini)
    return problems(mini)


def problems(mini):
    unit = run_quality([], mini).units[0]
    return {row.exercise: row for row in unit.exercises}, unit


def test_the_figures_of_a_sound_unit(mini):
    rows, unit = problems(mini)
    assert unit.validity == 1.0
    assert unit.thoroughness == 1.0
    assert unit.mutation_score > 0.9
    assert all(row.stub_fails and row.solution_passes for row in rows.values())
    assert rows["moving_sum"].mutants > 10


def test_json_rows_have_the_promised_names(mini):
    names = {
        *(
            "exercise",
            "points",
            "stub_fails",
            "solution_passes",
            "wheats",
            "wheats_passed",
            "misconceptions",
        ),
        *("misconceptions_caught", "misconceptions_diagnosed", "mutants", "mutants_killed"),
    }
    rows = json.loads(json.dumps(run_quality([], mini).rows))
    assert len(rows) == 3
    assert all(names <= set(row) for row in rows)


def test_a_wheat_that_is_refused_is_found(mini):
    rows, unit = quality_after(mini, "wheats.py", '"weights": 9', '"weights": 8')
    assert unit.validity < 1
    assert "by_hand is refused" in rows["counts"].problems[0]


def test_a_misconception_that_is_accepted_is_found(mini):
    rows, _ = quality_after(mini, "exercises.toml", 'to = ".mean()"', 'to = ".sum(0)"')
    assert "accepts 'a mean in place of the sum'" in rows["moving_sum"].problems


def test_two_misconceptions_that_look_alike_are_found(mini):
    rows, unit = quality_after(mini, "exercises.toml", 'to = "x + self"', 'to = "(x * 1) + self"')
    assert rows["Scale"].misconceptions_diagnosed == 3
    twin = (
        '\n[[Scale.misconceptions]]\nname = "a twin"\nchange = "x * self"\nto = "x + self"\nhint ='
        ' "h"\n'
    )
    path = mini / "solutions" / "90_mini" / "exercises.toml"
    path.write_text(path.read_text() + twin)
    build_units([], mini)
    rows, unit = problems(mini)
    assert "takes 'a twin' for 'the gain added'" in rows["Scale"].problems
    assert unit.thoroughness < 1


def test_hidden_cases_that_add_nothing_are_found(mini):
    rows, _ = quality_after(mini, "exercises.toml", 'to = "x[:2] * self"', 'to = "x[:1] * self"')
    assert "no misconception is caught by its hidden cases alone" in rows["Scale"].problems
    rows, _ = quality_after(mini, "exercises.toml", 'properties = ["a batch', '#["a batch')
    assert "`properties` does not say what its hidden cases add" in rows["Scale"].problems


ALSO = """
[[Scale.misconceptions.also]]
part = "to the first image alone"
change = "return x * self.gain[:, None]"
to = "return torch.cat([x[:1] + 0.5 * self.gain[:, None], x[1:] * self.gain[:, None]])"
"""


def test_a_mistake_made_in_part_is_named_as_such(mini):
    path = mini / "solutions" / "90_mini" / "exercises.toml"
    text = path.read_text()
    added = 'hint = "What should a gain of one do?"\n'
    whole = text.replace('name = "the gain added"', 'name = "the gain added to half"')
    whole = whole.replace('to = "x + self"', 'to = "x + 0.5 * self"')
    path.write_text(whole.replace(added, added + ALSO))
    build_units([], mini)
    rows, _ = problems(mini)
    assert (rows["Scale"].misconceptions, rows["Scale"].misconceptions_diagnosed) == (4, 4)
    key = read_key(mini / "solutions" / "90_mini" / "key.safetensors")
    names = [item.name for item in key.exercises["Scale"].misconceptions]
    assert "the gain added to half, to the first image alone" in names


def test_two_mistakes_at_once_are_named_together(mini):
    lesson = read_lesson(mini / "solutions" / "90_mini")
    key = read_key(mini / "solutions" / "90_mini" / "key.safetensors").exercises["moving_sum"]
    exercise = lesson.exercises["moving_sum"]
    both = patched_twice(exercise.solution, *exercise.misconceptions[:2])
    with contextlib.chdir(mini / "course" / "90_mini"):
        release = Release(lesson, nbformat.read("90_mini.ipynb", as_version=4))
        verdict = release.try_source("moving_sum", both, "both")
    assert verdict.diagnosis.name == (
        "two mistakes at once: the last window left out; and a mean in place of the sum"
    )
    assert verdict.diagnosis in key.misconceptions


def test_a_stub_that_passes_is_found(mini):
    path = mini / "course" / "90_mini" / "90_mini.ipynb"
    notebook = json.loads(path.read_text())
    cell = next(cell for cell in notebook["cells"] if cell["id"] == "moving_sum")
    body = (
        "    return torch.stack([signal[i : i + width].sum() for i in range(len(signal) - width +"
        " 1)])"
    )
    cell["source"] = [re.sub(r" *raise NotImplementedError", body, line) for line in cell["source"]]
    path.write_text(json.dumps(notebook))
    rows, _ = problems(mini)
    assert not rows["moving_sum"].stub_fails


def test_a_shortcut_that_is_not_refused_is_found(mini):
    lesson = mini / "solutions" / "90_mini" / "90_mini.py"
    lesson.write_text(lesson.read_text().replace("`unfold`, ", ""))
    rows, _ = quality_after(mini, "exercises.toml", '"unfold", ', "")
    assert "the shortcut by_unfold is not refused" in rows["moving_sum"].problems


def test_a_forbidden_name_without_a_shortcut_is_found(mini):
    rows, _ = quality_after(mini, "wheats.py", '@shortcut("moving_sum")', "")
    assert any("go together" in problem for problem in rows["moving_sum"].problems)


def test_a_weak_check_shows_in_the_mutation_score(mini):
    weak = 'return {"output": moving_sum(draw.normal(length), **settings)'
    rows, unit = quality_after(mini, "probes.py", weak, weak + ".sum() * 0")
    assert len(rows["moving_sum"].survivors) == 2
    assert not unit.passes


def test_a_marked_mutant_does_not_count_and_a_stale_mark_is_found(mini):
    mark = """
[[Scale.equivalents]]
line = "self.gain = nn.Parameter(torch.ones(channels))"
becomes = "self.gain = nn.Parameter(torch.zeros(channels))"
reason = "the probe fills every parameter, and the exercise asks for no start value"
"""
    path = mini / "solutions" / "90_mini" / "exercises.toml"
    path.write_text(path.read_text() + mark)
    build_units([], mini)
    rows, _ = problems(mini)
    assert (rows["Scale"].equivalents, rows["Scale"].survivors) == (1, [])
    path.write_text(path.read_text().replace("torch.zeros(channels)", "torch.twos(channels)"))
    build_units([], mini)
    rows, _ = problems(mini)
    assert any("remove the mark" in problem for problem in rows["Scale"].problems)


@pytest.mark.parametrize("body", ["while True: pass", "raise KeyError", "return [0] * 10**13"])
def test_endless_failing_and_greedy_answers_are_rejected(mini, body):

    lesson = read_lesson(mini / "solutions" / "90_mini")
    with contextlib.chdir(mini / "course" / "90_mini"):
        release = Release(lesson, nbformat.read("90_mini.ipynb", as_version=4))
        mutant = Mutant("", "", "", f"def moving_sum(signal, width=2):\n    {body}", "")
        assert not survives(release, lesson.exercises["moving_sum"], mutant)
