"""`cvcourse run`: what a record says, when it speaks for the sources, and which units are run in
full."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from autograder.authoring import draw, inputs
from autograder.authoring.build import build_unit
from autograder.authoring.inputs import inputs_of
from autograder.authoring.run import (
    execute,
    executed_path,
    not_as_recorded,
    notebook_of,
    read_record,
    record_path,
    run_unit,
    write_record,
)
from autograder.errors import CourseError
from autograder.units import ROOT

UNIT = "90_mini"


@pytest.fixture(scope="module")
def ran_mini(built_mini, tmp_path_factory) -> Path:
    """The miniature course after `cvcourse run 90`. Do not write to it: take `recorded`."""
    root = Path(shutil.copytree(built_mini, tmp_path_factory.mktemp("ran") / "mini"))
    run_unit(UNIT, root=root)
    return root


@pytest.fixture
def recorded(ran_mini, tmp_path) -> Path:
    """A copy of the recorded miniature course that a test may change."""
    return Path(shutil.copytree(ran_mini, tmp_path / "mini"))


def lesson_files(root):
    return root / "solutions" / UNIT


def edit(path, before, after):
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


# The record


def test_a_run_is_recorded(ran_mini):
    record = read_record(UNIT, ran_mini)
    printed = [line for lines in record.printed.values() for line in lines]
    assert printed == ["learned 45, and 75% of all"]
    assert record.changed(inputs_of(UNIT, ran_mini)) == []
    assert 0.5 < record.seconds < 600
    assert record.megabytes is None or 50 < record.megabytes < 5000


def test_the_executed_notebook_is_kept(ran_mini):
    notebook = nbformat.read(executed_path(UNIT, "cpu", ran_mini), as_version=4)
    [output] = notebook.cells[-1].outputs
    assert output.text == "learned 45, and 75% of all\n"


def test_another_run_is_compared_with_the_record(recorded):
    found = nbformat.read(executed_path(UNIT, "cpu", recorded), as_version=4)
    assert not_as_recorded(UNIT, found, recorded) == []
    printed = read_record(UNIT, recorded).printed
    [(cell, [line])] = [item for item in printed.items() if "learned" in item[1][0]]
    not_earned = {**printed, cell: [line.replace("75%", "95%")]}
    write_record(replace(read_record(UNIT, recorded), printed=not_earned), recorded)
    [sentence] = not_as_recorded(UNIT, found, recorded)
    assert "learned 45, and 95% of all' was recorded" in sentence
    edit(
        lesson_files(recorded) / "exercises.toml",
        "minutes = 20",
        "minutes = 20\n[unit.run]\nrelative = 0.3",
    )
    assert not_as_recorded(UNIT, found, recorded) == []


def test_learners_do_not_receive_the_record(recorded):
    build_unit(UNIT, recorded)
    assert not (recorded / "course" / UNIT / "run.json").exists()
    assert record_path(UNIT, recorded).exists()


def test_a_record_is_written_as_it_is_read(recorded):
    before = record_path(UNIT, recorded).read_bytes()
    write_record(read_record(UNIT, recorded), recorded)
    assert record_path(UNIT, recorded).read_bytes() == before


def cut_off(path):
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")


def of_another_version(path):
    edit(path, '"format": 1', '"format": 2')


def no_object(path):
    path.write_text("[]", encoding="utf-8")


def edited(path):
    edit(path, "learned 45", "learned 46")


def of_a_renamed_unit(path):
    edit(path, '"unit": "90_mini"', '"unit": "89_mini"')


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, "is missing"),
        (cut_off, "is cut off or no JSON"),
        (of_another_version, "has format 2, and 1 is read here"),
        (no_object, "has format None, and 1 is read here"),
        (edited, "was edited since it was recorded"),
        (of_a_renamed_unit, "is the record of '89_mini', not of 90_mini"),
    ],
)
def test_a_damaged_record_is_named_in_one_sentence(recorded, damage, says):
    damage(record_path(UNIT, recorded))
    with pytest.raises(CourseError) as caught:
        read_record(UNIT, recorded)
    message = str(caught.value)
    assert message.startswith(f"solutions/{UNIT}/run.json {says}")
    assert f"run `cvcourse run {UNIT}`" in message and message.count(". ") == 0
    assert draw.why_in_full(UNIT, recorded) == "it has no sound record"


def test_a_notebook_out_of_step_is_not_run(recorded):
    edit(lesson_files(recorded) / f"{UNIT}.py", "range(10)", "range(11)")
    with pytest.raises(CourseError, match="run `cvcourse build 90_mini` first"):
        notebook_of(UNIT, recorded)


def notebook_with(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])


def test_a_cell_that_fails_is_named_and_its_notebook_kept(recorded, monkeypatch):
    before = record_path(UNIT, recorded).read_bytes()
    failing = notebook_with("print('so far')", "\nanswer = 1 / 0", "print('never')")
    monkeypatch.setattr("autograder.authoring.run.notebook_of", lambda unit, root: failing)
    with pytest.raises(CourseError) as caught:
        run_unit(UNIT, root=recorded)
    assert str(caught.value) == (
        "90_mini: the cell that starts with 'answer = 1 / 0' failed: ZeroDivisionError: division by"
        " zero"
    )
    kept = nbformat.read(executed_path(UNIT, "cpu", recorded), as_version=4)
    assert kept.cells[0].outputs[0].text == "so far\n"
    assert kept.cells[2].outputs == []
    assert record_path(UNIT, recorded).read_bytes() == before


def test_a_cell_that_takes_too_long_fails(recorded):
    with pytest.raises(CourseError, match="starts with 'import time' failed: CellTimeoutError"):
        execute(UNIT, notebook_with("import time\ntime.sleep(60)"), "cpu", recorded, cell_seconds=1)


def test_a_run_sees_its_budget_and_nothing_of_earlier_ones(recorded, monkeypatch):
    monkeypatch.setenv("CVCOURSE_DATA", str(recorded))
    code = "import os, pathlib\nprint(os.environ['CVCOURSE_BUDGET'], os.environ['OMP_NUM_THREADS'])"
    notebook = notebook_with(f"{code}\nprint(pathlib.Path(os.environ['CVCOURSE_DATA']).exists())")
    execute(UNIT, notebook, "smoke", recorded)
    assert notebook.cells[0].outputs[0].text == "smoke 1\nFalse\n"


def test_only_the_processors_budget_is_recorded(recorded, monkeypatch):
    record_path(UNIT, recorded).unlink()
    monkeypatch.setattr(
        "autograder.authoring.run.notebook_of", lambda *_: notebook_with("print(1)")
    )
    run_unit(UNIT, "smoke", recorded)
    assert executed_path(UNIT, "smoke", recorded).exists()
    assert not record_path(UNIT, recorded).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["90", "--budget", "huge"], "There is no budget 'huge' to run a unit in: cpu, smoke."),
        (["91"], "There is no unit 91: the units are 90_mini."),
    ],
)
def test_the_command_says_what_it_cannot_do(run, mini, arguments, says):
    code, out, err = run("run", *arguments, "--course", str(mini))
    assert (code, out, err) == (2, "", f"cvcourse: {says}\n")


# What goes in


def change_code(folder):
    edit(folder / f"{UNIT}.ipynb", "range(10)", "range(11)")


def change_comment(folder):
    edit(folder / f"{UNIT}.ipynb", "weights = 3 * 3", "weights = 3 * 3  # nine")


def change_probes(folder):
    (folder / "probes.py").write_text((folder / "probes.py").read_text() + "\nx = 1\n")


def change_digits(folder):
    edit(folder / "exercises.toml", 'answers = ["weights", "share"]', 'answers = ["weights"]')


def add_data(folder):
    (folder / "recorded.json").write_text("{}")


def add_pin(folder):
    (folder.parent.parent / "constraints.txt").write_text("torch==2.13.0\n")


def change_prose(folder):
    edit(folder / f"{UNIT}.ipynb", "Add up each run", "Sum each run")


def change_hint(folder):
    edit(folder / "exercises.toml", "Slice and add.", "Slice and sum.")


def change_bounds(folder):
    edit(folder / "exercises.toml", "minutes = 20", "minutes = 20\n[unit.run]\nabsolute = 0.1")


def change_wheats(folder):
    (folder / "wheats.py").write_text("")


def change_training(folder):
    (folder / "training.py").write_text("")


def comment_on_pins(folder):
    (folder.parent.parent / "constraints.txt").write_text("# none yet\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_code, ["code of the notebook"]),
        (add_data, ["recorded.json"]),
        (add_pin, ["constraints.txt"]),
        (change_comment, []),
        (change_prose, []),
        (change_probes, []),
        (change_digits, []),
        (change_hint, []),
        (change_bounds, []),
        (change_wheats, []),
        (change_training, []),
        (comment_on_pins, []),
    ],
)
def test_a_record_speaks_until_something_changes_that_the_run_reads(recorded, change, named):
    change(lesson_files(recorded))
    assert read_record(UNIT, recorded).changed(inputs_of(UNIT, recorded)) == named
    assert draw.why_in_full(UNIT, recorded) == (f"changed: {named[0]}" if named else "")


@pytest.mark.parametrize(
    ("code", "computes"),
    [
        ("x = 1  # one\n\n# two\ny = '# no comment'\n", "x = 1\ny = '# no comment'"),
        ('def f():\n    """Says\n\n    much."""\n    return 1\n', "def f():\n    return 1"),
        ("def f():\n    '''Says all.'''\n", "def f():"),
        ("text = '''\n# no comment\n'''\n", "text = '''\n# no comment\n'''"),
        ("%matplotlib inline  # no Python", "%matplotlib inline  # no Python"),
        ("", ""),
    ],
)
def test_what_computes_is_the_code_without_its_comments(code, computes):
    assert inputs.what_computes(code) == computes


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A small cvcourse with a lazy package, in the place of the real one."""
    files = {
        "cvcourse/__init__.py": "",
        "cvcourse/models/__init__.py": 'HOME: dict[str, str] = {"ViT": "vit", "SAM": "sam"}',
        "cvcourse/models/vit.py": "from . import parts as library\nfrom .parts import MLP",
        "cvcourse/models/sam.py": "from cvcourse.models import ViT",
        "cvcourse/models/parts.py": "import torch",
        "cvcourse/models/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(inputs, "ROOT", tmp_path)
    yield tmp_path
    clear_what_is_known()


def clear_what_is_known():
    for function in (inputs.file_of, inputs.names_of, inputs.imports_of):
        function.cache_clear()


VIT, SAM = ["parts.py", "vit.py"], ["parts.py", "sam.py", "vit.py"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch", []),
        ("from cvcourse.models import ViT", VIT),
        ("from cvcourse import models\nmodels.ViT(3)", VIT),
        ("from cvcourse import models as library\nlibrary.ViT", VIT),
        ("from cvcourse import models\nmodels.SAM", SAM),
        ("from cvcourse import models", []),
        ("from cvcourse import models\ngetattr(models, name)", SAM),
        ("from cvcourse.models import *", SAM),
        ("import cvcourse.models\ncvcourse.models.ViT", SAM),
        ("import cvcourse.models.parts", ["parts.py"]),
        ("def later():\n    from cvcourse.models.parts import MLP", ["parts.py"]),
    ],
)
def test_imports_are_followed_to_what_is_used(house, source, found):
    clear_what_is_known()
    assert [path.name for path in inputs.files_behind(UNIT, [source])] == found


def test_code_that_is_not_plain_python_is_named(house):
    with pytest.raises(CourseError, match="not plain Python"):
        inputs.files_behind(UNIT, ["%matplotlib inline"])


def test_a_package_only_says_where_names_are():
    """inputs.py leaves `__init__.py` out, so nothing may be worked out there."""
    files = [*ROOT.glob("cvcourse/**/__init__.py"), *ROOT.glob("autograder/**/__init__.py")]
    assert len(files) > 5
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert "def " not in text and "class " not in text, path


# Which units run in full


def test_a_current_unit_runs_in_full_when_it_is_drawn(recorded, monkeypatch):
    monkeypatch.delenv(draw.FULL, raising=False)
    monkeypatch.delenv(draw.DRAWN, raising=False)
    assert draw.units_in_full(recorded) == {UNIT: "drawn by the commit"}
    change_code(lesson_files(recorded))
    assert draw.units_in_full(recorded) == {UNIT: "changed: code of the notebook"}
    record_path(UNIT, recorded).unlink()
    assert draw.units_in_full(recorded) == {UNIT: "it has no sound record"}


NINE = [f"0{number}_unit" for number in range(9)]


@pytest.fixture
def nine(monkeypatch):
    """Nine units, of which two have changed."""
    changed = {NINE[2]: "changed: x", NINE[5]: "changed: y"}
    monkeypatch.setattr(draw, "units", lambda root: NINE)
    monkeypatch.setattr(draw, "chosen_units", lambda names, root: [NINE[int(names[0])]])
    monkeypatch.setattr(draw, "why_in_full", lambda unit, root: changed.get(unit, ""))
    monkeypatch.delenv(draw.FULL, raising=False)
    monkeypatch.delenv(draw.DRAWN, raising=False)
    return changed


def test_what_changed_and_one_more_run_in_full(nine, monkeypatch):
    drawn = set()
    for number in range(200):
        monkeypatch.setattr(draw, "commit_of", lambda root, number=number: f"commit {number}")
        chosen = draw.units_in_full()
        assert len(chosen) == 3 and nine.items() <= chosen.items()
        assert draw.units_in_full() == chosen
        drawn |= set(chosen) - set(nine)
    assert drawn == set(NINE) - set(nine)


def test_a_variable_draws_or_asks_for_all(nine, monkeypatch):
    monkeypatch.setenv(draw.DRAWN, "8")
    assert list(draw.units_in_full()) == [NINE[8], NINE[2], NINE[5]]
    monkeypatch.setenv(draw.FULL, "1")
    assert list(draw.units_in_full()) == NINE


def test_the_commit_draws_and_without_git_the_sources(recorded, tmp_path):
    def git(*words):
        identity = ["-c", "user.name=A", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    before = draw.seed_of([UNIT], recorded)
    assert draw.commit_of(recorded) == ""
    add_data(lesson_files(recorded))
    assert draw.seed_of([UNIT], recorded) != before
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "one")
    assert draw.seed_of([UNIT], recorded) == git("rev-parse", "HEAD")


def test_a_record_is_plain_json(ran_mini):
    content = json.loads(record_path(UNIT, ran_mini).read_text(encoding="utf-8"))
    assert list(content) == [
        "format",
        "unit",
        "inputs",
        "seconds",
        "megabytes",
        "printed",
        "digest",
    ]
