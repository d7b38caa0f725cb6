"""The console command: help, exit codes, and one line for every error."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autograder import cli
from autograder.errors import CourseError

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "lab",
    "check",
    "run",
    "doctor",
    "build",
    "quality",
    "report",
    "similar",
    "grade",
    "data",
    "data list",
    "data fetch",
    "data verify",
]


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    """Put a module of this name in the place of the real one."""
    module = types.ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def raising(error: BaseException):
    def function(*_: object, **__: object) -> None:
        raise error

    return function


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command: str) -> None:
    code, out, err = run(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: cvcourse {command} ")
    assert len(out.splitlines()) > 4


def test_help_lists_every_command(run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"\n  {command} " in out for command in COMMANDS if " " not in command)
    assert not [line for line in out.splitlines()[1:] if line.endswith("...")], (
        "a summary is too long for its line"
    )


@pytest.mark.parametrize(
    "arguments", [("paint",), ("build", "--fast"), ("check",), ("data", "fetch")]
)
def test_wrong_usage_exits_with_2(run, arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err and err


def test_version(run) -> None:
    code, out, _ = run("--version")
    assert code == 0 and out.startswith("cvcourse ") and len(out.split()) == 2


def test_starts_without_heavy_imports() -> None:
    script = (
        "import sys, autograder.cli\nheavy = {'torch', 'numpy', 'matplotlib', 'nbformat',"
        " 'nbgrader', 'jupytext', 'jupyterlab', 'pooch'}\nprint(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# Errors


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            CourseError("There is no unit 99:\n the units are 00_seeing."),
            "There is no unit 99: the units are 00_seeing.",
        ),
        (
            OSError(28, "No space left on device", "course/a.ipynb"),
            "No space left on device: course/a.ipynb",
        ),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (
            ModuleNotFoundError("No module named 'nbgrader'", name="nbgrader.apps"),
            "package nbgrader is not installed",
        ),
        (
            ZeroDivisionError("division by zero"),
            "unexpected ZeroDivisionError: division by zero (CVCOURSE_DEBUG=1",
        ),
    ],
)
def test_an_error_is_one_line(
    run, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    stand_in(monkeypatch, "autograder.authoring.build", build_units=raising(error))
    code, out, err = run("build")
    assert (code, out) == (2, "")
    assert said in err and len(err.splitlines()) == 1


def test_data_error_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from cvcourse import data

    monkeypatch.setattr(
        data, "datasets", raising(data.DataError("The cache\ncannot be read.")), raising=False
    )
    assert run("data") == (2, "", "cvcourse: The cache cannot be read.\n")


def test_debug_shows_the_traceback(run, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "autograder.authoring.build", build_units=raising(CourseError("no")))
    monkeypatch.setenv(cli.DEBUG, "1")
    with pytest.raises(CourseError):
        run("build")


def test_interrupt(run, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "autograder.authoring.build", build_units=raising(KeyboardInterrupt()))
    code, _, err = run("build")
    assert code in (1, 130) and "Traceback" not in err


# The commands


def test_build_check(run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    stand_in(
        monkeypatch,
        "autograder.authoring.build",
        check_units=lambda units: asked.append(units) or [],
    )
    assert run("build", "--check")[0] == 0
    stand_in(
        monkeypatch,
        "autograder.authoring.build",
        check_units=lambda units: asked.append(units) or ["a.ipynb differs"],
    )
    code, out, _ = run("build", "01", "02_building_blocks", "--check")
    assert (code, out) == (1, "a.ipynb differs\n")
    assert asked == [[], ["01", "02_building_blocks"]]


def test_build_says_what_it_made_and_kept(run, monkeypatch: pytest.MonkeyPatch) -> None:
    built = types.SimpleNamespace(
        unit="01_convolution", exercises=9, points=27.0, minutes=100, kept=["kept as mine-1"]
    )
    stand_in(monkeypatch, "autograder.authoring.build", build_units=lambda units: [built])
    code, out, _ = run("build")
    assert (code, out.splitlines()) == (
        0,
        ["01_convolution: 9 exercises, 27 points, 100 minutes", "  kept as mine-1"],
    )


def test_unknown_unit_names_the_units(run) -> None:
    code, _, err = run("build", "--check", "99_nowhere")
    assert code == 2 and "99_nowhere" in err and "00_seeing" in err


def test_check_needs_a_notebook(run, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").touch()
    (tmp_path / "a.py").touch()
    for path, said in {
        "b.ipynb": "There is no notebook",
        "a.py": "does not end in .ipynb",
        "": "holds a.ipynb",
    }.items():
        code, out, err = run("check", str(tmp_path / path))
        assert (code, out) == (2, "") and said in err and len(err.splitlines()) == 1


@dataclass
class Dataset:
    """A data set that can be told to be absent or damaged."""

    name: str
    here: bool = True
    problem: str = ""
    kind: str = "made in code"
    summary: str = "shapes"
    images: int | None = 60_000
    size_bytes: int = 170_498_071
    calls: list[str] = field(default_factory=list)

    def is_present(self) -> bool:
        return self.here

    def fetch(self) -> None:
        self.calls.append("fetch")
        if self.problem:
            self.fail()

    def verify(self) -> None:
        self.calls.append("verify")
        if self.problem:
            self.fail()

    def fail(self) -> None:
        from cvcourse.data import DataError

        raise DataError(self.problem)


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Dataset]:
    from cvcourse import data

    entries = [Dataset("scenes"), Dataset("cifar10", here=False)]
    monkeypatch.setattr(data, "datasets", lambda: entries, raising=False)
    return {entry.name: entry for entry in entries}


@pytest.mark.parametrize("arguments", [("data",), ("data", "list")])
def test_data_list(run, sets: dict[str, Dataset], arguments: tuple[str, ...]) -> None:
    code, out, _ = run(*arguments)
    assert code == 0
    row = next(line for line in out.splitlines() if "cifar10" in line)
    assert "60,000" in row and "170 MB" in row and " no " in row


def test_data_fetch(run, sets: dict[str, Dataset]) -> None:
    assert run("data", "fetch", "cifar10")[:2] == (0, "cifar10 is here.\n")
    assert sets["cifar10"].calls == ["fetch"]
    sets["cifar10"].problem = "cannot be reached: go online"
    assert run("data", "fetch", "cifar10") == (2, "", "cvcourse: cannot be reached: go online\n")


def test_data_verify(run, sets: dict[str, Dataset]) -> None:
    assert run("data", "verify")[0] == 0
    assert sets["cifar10"].calls == [], "what is not here is not looked at unless it is named"
    sets["cifar10"].problem = "its checksum differs"
    code, out, _ = run("data", "verify", "cifar10")
    assert (code, out) == (1, "cifar10: its checksum differs\n")


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_unknown_data_set_names_those_that_exist(
    run, sets: dict[str, Dataset], command: str
) -> None:
    code, _, err = run("data", command, "mnist")
    assert code == 2 and "mnist" in err and "scenes, cifar10" in err


def test_lab_gets_folder_and_options(run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    stand_in(
        monkeypatch,
        "autograder.lab",
        open_lab=lambda folder, options: opened.append((folder, options)),
    )
    run("lab")
    run("lab", "--no-browser")
    run("lab", "course", "--port=9000", "--no-browser")
    course = ROOT / "course"
    assert opened == [
        (course, []),
        (course, ["--no-browser"]),
        (Path("course"), ["--port=9000", "--no-browser"]),
    ]


def test_quality_json_is_json(run, monkeypatch: pytest.MonkeyPatch) -> None:
    report = types.SimpleNamespace(rows=[{"exercise": "conv1d", "points": 3}], passed=False)
    stand_in(monkeypatch, "autograder.authoring.quality", run_quality=lambda units: report)
    code, out, _ = run("quality", "--json")
    assert code == 1 and json.loads(out) == [{"exercise": "conv1d", "points": 3}]
