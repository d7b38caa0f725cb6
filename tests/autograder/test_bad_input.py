"""Bad input: one clear sentence that says what to do, and nothing that a learner wrote is lost."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from safetensors.torch import save_file

from autograder import cli
from autograder.authoring.build import build_units, check_units
from autograder.authoring.lesson import read_lesson
from autograder.checking import key_files
from autograder.checking.checker import Checker
from autograder.checking.key import HIDDEN, VISIBLE, KeyProblem
from autograder.checking.key_files import HIDDEN_FILES, VISIBLE_FILES, read_key, text_beside
from autograder.errors import CourseError

UNIT = "90_mini"


def moving_sum(signal: torch.Tensor, width: int = 2) -> torch.Tensor:
    return torch.stack(
        [signal[start : start + width].sum() for start in range(len(signal) - width + 1)]
    )


@pytest.fixture
def course(mini: Path) -> Path:
    """The folder that a learner opens, with a notebook that was worked in."""
    work_in(mini / "course" / UNIT)
    return mini / "course" / UNIT


def work_in(folder: Path) -> bytes:
    """Write something in the learner's notebook; gives what the file then holds."""
    path = folder / f"{UNIT}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("my evening of work"))
    nbformat.write(notebook, path)
    return path.read_bytes()


@pytest.fixture
def check(course: Path) -> Checker:
    return Checker(UNIT, course)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sentence_of(work: Callable[[], object]) -> str:
    """The one sentence of the error that `work` raises."""
    with pytest.raises(CourseError) as caught:
        work()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    assert caught.value._render_traceback_() == [text]
    return text


# A missing or damaged key


def test_a_missing_key(check: Checker, course: Path) -> None:
    for name in VISIBLE_FILES:
        (course / name).unlink()
    before = contents(course)
    assert "copy that folder again from the course" in sentence_of(lambda: check(moving_sum))
    assert contents(course) == before


@pytest.mark.parametrize("missing", VISIBLE_FILES)
def test_half_a_key(check: Checker, course: Path, missing: str) -> None:
    (course / missing).unlink()
    (other,) = set(VISIBLE_FILES) - {missing}
    before = contents(course)
    assert sentence_of(lambda: check(moving_sum)) == (
        f"{missing} is not beside {other} in 90_mini/: copy the unit's folder again from the"
        " course."
    )
    assert contents(course) == before


@pytest.mark.parametrize("missing", HIDDEN_FILES)
def test_half_a_hidden_key(mini: Path, missing: str) -> None:
    solutions = mini / "solutions" / UNIT
    (solutions / missing).unlink()
    (other,) = set(HIDDEN_FILES) - {missing}
    assert sentence_of(lambda: Checker(UNIT, solutions)(moving_sum)) == (
        f"{missing} is not beside {other} in 90_mini/: run `cvcourse build 90_mini`."
    )


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    path.write_bytes(os.urandom(2000))


def one_bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(bytes(data))


def of_another_program(path: Path) -> None:
    save_file({"weights": torch.zeros(3)}, path)


def half_a_document(path: Path) -> None:
    save_file(
        {"weights": torch.zeros(3)},
        path,
        metadata={"cvcourse": json.dumps({"format": 1, "unit": UNIT})},
    )


DAMAGES = [truncated, emptied, garbled, one_bit_flipped, of_another_program, half_a_document]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key(check: Checker, course: Path, damage: Callable[[Path], None]) -> None:
    damage(course / VISIBLE)
    before = contents(course)
    assert (
        sentence_of(lambda: check(moving_sum))
        == "key.safetensors is damaged: copy the unit's folder again from the course."
    )
    assert contents(course) == before


def a_list(path: Path) -> None:
    path.write_text("[]")


def without_exercises(path: Path) -> None:
    document = json.loads(path.read_text())
    del document["exercises"]
    path.write_text(json.dumps(document))


def of_other_tensors(path: Path) -> None:
    """One of the tensors that the text names is none of the key's."""
    text = path.read_text()
    name = json.loads(text)["exercises"][0]["cases"][0]["inputs"][0]
    path.write_text(text.replace(name, "0" * 16))


TEXT_DAMAGES = [truncated, emptied, garbled, a_list, without_exercises, of_other_tensors]


@pytest.mark.parametrize("damage", TEXT_DAMAGES)
def test_a_damaged_text(check: Checker, course: Path, damage: Callable[[Path], None]) -> None:
    damage(text_beside(course / VISIBLE))
    before = contents(course)
    assert (
        sentence_of(lambda: check(moving_sum))
        == "key.json is damaged: copy the unit's folder again from the course."
    )
    assert contents(course) == before


@pytest.mark.parametrize("damage", [*DAMAGES, *TEXT_DAMAGES])
def test_a_build_mends_a_damaged_key_and_keeps_the_learners_notebook(
    mini: Path, course: Path, damage: Callable[[Path], None]
) -> None:
    of_text = damage in TEXT_DAMAGES
    for folder in (course, mini / "solutions" / UNIT):
        damage(text_beside(folder / VISIBLE) if of_text else folder / VISIBLE)
    mine = (course / f"{UNIT}.ipynb").read_bytes()
    build_units([], mini)
    assert read_key(course / VISIBLE).unit == UNIT
    assert (course / f"{UNIT}.mine-1.ipynb").read_bytes() == mine


# A notebook from another version of the course


def test_a_key_of_another_format(
    check: Checker, course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_files, "FORMAT", 99)
    said = sentence_of(lambda: check(moving_sum))
    assert said.startswith(
        "key.json was written by another version of the course (format 3, this one reads 99)"
    )
    assert "update the course" in said


def test_a_key_of_format_1(check: Checker, course: Path) -> None:
    text_beside(course / VISIBLE).unlink()
    document = json.dumps({"format": 1, "unit": UNIT})
    save_file({}, course / VISIBLE, metadata={"cvcourse": document})
    assert sentence_of(lambda: check(moving_sum)).startswith(
        "key.safetensors was written by another version of the course (format 1, this one reads 3)"
    )


def test_a_learners_folder_with_a_key_of_format_2(
    check: Checker, course: Path, into_format_2: Callable[[Path], None]
) -> None:
    """A notebook that was released with an old key is checked as before."""
    current = read_key(course / VISIBLE)
    into_format_2(course)
    old = read_key(course / VISIBLE)
    assert not text_beside(course / VISIBLE).exists()
    assert facts(old) == facts(current)
    check(moving_sum)
    check(weights=9, share=0.36)
    verdict = check.verdict("moving_sum", lambda signal, width=2: moving_sum(signal, width) / width)
    assert verdict.diagnosis.name == "a mean in place of the sum"


def facts(value: object) -> object:
    """A key as what can be compared: tensors as lists with their types."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.tolist()
    if dataclasses.is_dataclass(value):
        return [facts(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return {name: facts(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(facts, value))
    return value


def test_the_text_of_a_new_key_beside_a_key_of_format_2(
    check: Checker, course: Path, into_format_2: Callable[[Path], None]
) -> None:
    text = text_beside(course / VISIBLE).read_bytes()
    into_format_2(course)
    text_beside(course / VISIBLE).write_bytes(text)
    assert "were not built together" in sentence_of(lambda: check(moving_sum))


def test_probes_of_another_version(check: Checker, course: Path) -> None:
    probes = course / "probes.py"
    probes.write_text(probes.read_text().replace("draw.normal(length)", "draw.normal(length + 1)"))
    assert "Your notebook can stay as it is" in sentence_of(lambda: check(moving_sum))


def test_missing_or_broken_probes(check: Checker, course: Path) -> None:
    (course / "probes.py").write_text("def broken(:")
    assert "90_mini/probes.py cannot be read: SyntaxError" in sentence_of(lambda: check(moving_sum))
    (course / "probes.py").unlink()
    assert "copy the unit's folder again" in sentence_of(lambda: check(moving_sum))


@pytest.mark.parametrize("mixed", VISIBLE_FILES)
def test_a_key_of_two_builds(mini: Path, course: Path, mixed: str) -> None:
    old = (course / mixed).read_bytes()
    put_to_other_tests(mini)
    build_units([], mini)
    (course / mixed).write_bytes(old)
    work_in(course)
    before = contents(course)
    said = sentence_of(lambda: Checker(UNIT, course)(moving_sum))
    assert said == (
        "key.safetensors and key.json were not built together: copy the unit's folder again from"
        " the course."
    )
    assert contents(course) == before


def put_to_other_tests(mini: Path) -> None:
    """Change the numbers of a visible and of a hidden case."""
    probes = mini / "solutions" / UNIT / "probes.py"
    text = probes.read_text()
    for before, after in (("length=9", "length=10"), ("length=12", "length=13")):
        assert before in text
        text = text.replace(before, after)
    probes.write_text(text)


def test_a_text_of_another_unit(mini: Path, course: Path) -> None:
    """Whichever file of another unit's key lies there."""
    text = text_beside(course / VISIBLE)
    text.write_text(text.read_text().replace('"unit": "90_mini"', '"unit": "91_other"'))
    assert sentence_of(lambda: Checker(UNIT, course)(moving_sum)).startswith(
        "The key beside this notebook belongs to 91_other, not to 90_mini"
    )


def test_hidden_cases_of_another_version(mini: Path) -> None:
    solutions = mini / "solutions" / UNIT
    old = text_beside(solutions / HIDDEN).read_bytes()
    lesson = solutions / f"{UNIT}.py"
    lesson.write_text(lesson.read_text().replace("Add up each run", "Sum each run"))
    (solutions / f"{UNIT}.ipynb").unlink()
    build_units([], mini)
    text_beside(solutions / HIDDEN).write_bytes(old)
    assert "were not built together: run `cvcourse build 90_mini`" in sentence_of(
        lambda: Checker(UNIT, solutions)(moving_sum)
    )


def test_another_units_key(course: Path) -> None:
    said = sentence_of(lambda: Checker("91_other", course)(moving_sum))
    assert (
        said
        == "The key beside this notebook belongs to 90_mini, not to 91_other: open the notebook in"
        " its own folder."
    )


# A renamed exercise, and a check of the wrong object


def test_a_renamed_exercise(check: Checker) -> None:
    def moving_sums(signal, width=2):
        return signal

    said = sentence_of(lambda: check(moving_sums))
    assert "no exercise 'moving_sums'" in said
    assert "Did you mean moving_sum?" in said


class Scale(torch.nn.Module):
    def __init__(self, channels: int):
        super().__init__()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda check: check(None), "this is nothing (None)"),
        (lambda check: check("moving_sum"), "this is a str: write check(moving_sum)"),
        (lambda check: check(moving_sum(torch.ones(4))), "this is a Tensor"),
        (lambda check: check(torch), "this is a module"),
        (lambda check: check(print), "no exercise 'print'"),
        (lambda check: check(Scale(3)), "check() takes the class Scale itself"),
        (lambda check: check(moving_sum, width=2), "not both: leave out width"),
        (
            lambda check: check(wieghts=9),
            "No exercise of 90_mini asks for wieghts: its answers are weights, share",
        ),
        (lambda check: check(weights=9, width=3), "counts asks for weights, share, not for width"),
        (lambda check: check.hint("moving_summ"), "Did you mean moving_sum?"),
    ],
)
def test_a_check_of_the_wrong_object(
    check: Checker, wrong: Callable[[Checker], object], said: str
) -> None:
    assert said in sentence_of(lambda: wrong(check))


# In a real kernel: no torch, and one line in place of a traceback


SET_UP = f"""from autograder.check import Checker
check = Checker("{UNIT}")
def moving_sum(signal, width=2): return signal
"""


def outputs_of(folder: Path, *sources: str) -> list[list[Mapping]]:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, kernel_name="python3", allow_errors=True, timeout=60, resources=resources
    ).execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_kernel_without_torch(course: Path) -> None:
    _, (error,) = outputs_of(
        course,
        "import sys; sys.modules['torch'] = None",
        f"from autograder.check import Checker\nChecker('{UNIT}')",
    )
    (line,) = error["traceback"]
    assert line.startswith("torch cannot be loaded by this kernel's Python, ")
    assert "run `make setup`" in line


def test_a_kernel_shows_one_line_and_no_traceback(course: Path) -> None:
    _, (shown, failed), (wrong,) = outputs_of(course, SET_UP, "check(moving_sum)", "check(3)")
    assert shown["output_type"] == "execute_result"
    assert failed["traceback"] == ["moving_sum: 0 of 3 points, see the table above."]
    (line,) = wrong["traceback"]
    assert line.startswith("check() takes the function or class of an exercise, and this is an int")


def test_a_kernel_in_the_wrong_folder(tmp_path: Path) -> None:
    _, (error,) = outputs_of(tmp_path, SET_UP, "check(moving_sum)")
    (line,) = error["traceback"]
    assert "open the notebook in its own folder" in line


# A read-only folder, a full disk


def test_a_check_writes_nothing(check: Checker, course: Path) -> None:
    """So it works in a read-only folder."""
    before = contents(course)
    check(moving_sum)
    with pytest.raises(CourseError):
        check(lambda signal, width=2: signal)
    assert contents(course) == before


FAULTS = [errno.ENOSPC, errno.EROFS, errno.EACCES]


@pytest.mark.parametrize("fault", FAULTS, ids=errno.errorcode.get)
def test_a_build_that_cannot_write(
    built_mini: Path, tmp_path: Path, monkeypatch, fault: int
) -> None:
    """The learner's work is there whichever write fails, and the next build mends the rest."""
    for successes in range(100):
        root = Path(shutil.copytree(built_mini, tmp_path / str(successes)))
        put_to_other_tests(root)  # so that no file stays as it is
        mine = work_in(root / "course" / UNIT)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", failing_write(successes, fault))
            try:
                build_units([], root)
                break  # every write succeeded
            except CourseError as error:
                assert str(error).endswith(f"({os.strerror(fault)}); what was there is untouched.")
        assert mine in contents(root).values()
        build_units([], root)
        assert mine in contents(root).values()
        assert read_key(root / "course" / UNIT / VISIBLE).unit == UNIT
        assert not [name for name in contents(root) if name.endswith(".part")]
        assert check_units([], root) == []
    # The learner's copy, the notebook, two keys of two files, the release, three files beside it.
    assert successes == 10


def failing_write(successes: int, fault: int) -> Callable[[Path, bytes], int]:
    """A stand-in for Path.write_bytes that leaves half a file and fails after so many successes."""
    write, left = Path.write_bytes, iter(range(successes))

    def stand_in(path: Path, data: bytes) -> int:
        if next(left, None) is not None:
            return write(path, data)
        write(path, data[: len(data) // 2])
        raise OSError(fault, os.strerror(fault))

    return stand_in


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 192 KiB; skips where nobody may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and hasattr(os, "geteuid") and os.geteuid() == 0
    command = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(folder)]
    if not mounted or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(mini: Path, course: Path, tiny_disk: Path) -> None:
    small = tiny_disk / "mini"
    shutil.copytree(mini, small)
    mine = (course / f"{UNIT}.ipynb").read_bytes()
    (tiny_disk / "filler").write_bytes(b"")
    with (
        pytest.raises(OSError, match="No space left"),
        (tiny_disk / "filler").open("ab", buffering=0) as filler,
    ):
        while True:
            if filler.write(bytes(4096)) < 4096:
                raise OSError(errno.ENOSPC, "No space left")
    assert "No space left on device" in sentence_of(lambda: build_units([], small))
    assert mine in contents(small).values()
    (tiny_disk / "filler").unlink()
    (built,) = build_units([], small)
    assert built.kept
    assert mine in contents(small).values()


# Broken sources


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        (
            "exercises.toml",
            'difficulty = "medium"',
            'difficulty = "medium',
            ("exercises.toml", "line 32"),
        ),
        (
            "exercises.toml",
            'change = "- width + 1"',
            'change = "- breadth"',
            ("no longer applies", "'- breadth'", "0 times"),
        ),
        (
            "exercises.toml",
            'change = ".sum()"',
            'change = "signal"',
            ("no longer applies", "'signal'", "3 times"),
        ),
        (
            "exercises.toml",
            'to = ".mean()"',
            'to = ".mean("',
            ("misconception 1 of moving_sum", "does not run", "Syntax"),
        ),
        ("exercises.toml", 'title = "A miniature"', "title = 'Ã'", ("not UTF-8",)),
        (
            "90_mini.py",
            "from torch import nn",
            "from torch import nnn",
            ("'import torch'", "does not run", "nnn"),
        ),
        ("90_mini.py", "A miniature unit", "Ã", ("not UTF-8",)),
        (
            "90_mini.py",
            "weights = 3 * 3",
            "weights = 3 *",
            ("'weights = None'", "does not run", "SyntaxError"),
        ),
    ],
)
def test_a_broken_source(
    mini: Path,
    course: Path,
    capsys,
    monkeypatch,
    file: str,
    before: str,
    after: str,
    said: tuple[str, ...],
) -> None:
    path = mini / "solutions" / UNIT / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(
        text.replace(before, after), encoding="latin-1" if "not UTF-8" in said else "utf-8"
    )
    existing = contents(mini)
    monkeypatch.setattr(sys, "argv", ["cvcourse", "build", UNIT])
    monkeypatch.setattr("autograder.authoring.build.build_units.__defaults__", ((), mini))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    line = capsys.readouterr().err
    assert (stop.value.code, line.count("\n")) == (2, 1)
    assert "unexpected" not in line
    for part in said:
        assert part in line
    assert contents(mini) == existing


def test_a_broken_table_names_its_line(mini: Path) -> None:
    path = mini / "solutions" / UNIT / "exercises.toml"
    path.write_text(path.read_text().replace("minutes = 20", "minutes = twenty"))
    said = sentence_of(lambda: read_lesson(path.parent))
    assert said.startswith("90_mini/exercises.toml is not valid TOML: Invalid value (at line 4")


def test_a_key_problem_is_a_course_error() -> None:
    assert issubclass(KeyProblem, CourseError)
