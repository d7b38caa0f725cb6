"""The Makefile, .ci/run and README.md: what they promise is there."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = {
    *("help", "setup", "course", "demo", "build", "quality", "lint", "pins", "clean"),
    *("test", "test-full", "test-machines", "findings"),
}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON", "CVCOURSE_FULL")
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_make_alone_lists_every_target() -> None:
    listed = {line.split()[1] for line in make(ROOT).stdout.splitlines()}
    assert listed == TARGETS
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared and set(declared[1].split()) == TARGETS


@pytest.mark.parametrize(
    ("target", "kind", "then"),
    [
        ("setup", "test", ""),
        ("course", "course", "-m autograder.cli lab course"),
        (
            "test",
            "test",
            "-m pytest -n 2 --ignore=tests/units --ignore=tests/browser --ignore=tests/redteam",
        ),
        ("test-machines", "test", "-m pytest -n 2 tests/machines"),
        ("demo", "course", "-m autograder.demo"),
        ("build", "course", "-m autograder.cli build"),
        ("quality", "course", "-m autograder.cli quality"),
        ("lint", "test", "-m ruff check"),
        ("lint", "test", "-m mypy"),
    ],
)
def test_each_target_prepares_venv_first(target: str, kind: str, then: str) -> None:
    lines = make(ROOT, "--dry-run", target).stdout.splitlines()
    assert lines[0] == f"scripts/setup.sh {kind}"
    assert (then in "\n".join(lines[1:])) if then else len(lines) == 1


def test_clean_touches_nothing_of_a_learner(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = [
        "course/01_convolution/01_convolution.ipynb",
        "course/01_convolution/01_convolution.mine-1.ipynb",
    ]
    kept += [
        "submitted/ada/01_convolution/01_convolution.ipynb",
        "gradebook.db",
        "feedback/ada.html",
        "notes.txt",
    ]
    gone = [".venv/bin/python", "tests/__pycache__/x.pyc"]
    gone += [".pytest_cache/x", ".ruff_cache/x", ".mypy_cache/x"]
    for name in kept + gone + ["cvcourse/a.py", "autograder/a.py", "scripts/a.py"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert make(tmp_path, "clean").returncode == 0
    assert all((tmp_path / name).read_text() == name for name in kept)
    assert not any((tmp_path / name).exists() for name in gone)


def test_ci_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    commands = script.read_text().splitlines()
    assert commands[-2:] == ["make test", "timeout 1200 make test-machines"]
    assert "set -euo pipefail" in commands, "either of them fails it"


def test_make_test_runs_every_test_once() -> None:
    """What one part passes over, another runs.

    The units two at a time, the tests that measure times alone, those that need fresh environments
    in `make test-machines`.
    """
    commands = [
        line.split()
        for line in make(ROOT, "--dry-run", "test").stdout.splitlines()
        if "-m pytest" in line
    ]
    main, units, alone = (
        command[command.index("pytest") + 1 : command.index("||")] for command in commands
    )
    ignored = [word.removeprefix("--ignore=") for word in main if word.startswith("--ignore=")]
    named = [[word for word in part if word.startswith("tests/")] for part in (units, alone)]
    machines = ["tests/machines"]
    assert sorted(ignored) == sorted(named[0] + named[1] + machines)
    assert all((ROOT / folder).is_dir() for folder in ignored)
    assert named[0] == ["tests/units"] and {"-n", "2", "worksteal"} <= set(units)
    assert "-n" not in alone


def write_program(path: Path, text: str) -> None:
    """A shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_failure_of_any_part_fails_make_test(tmp_path: Path) -> None:
    """Each part follows the others whatever these gave, and any part's failure counts."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    write_program(tmp_path / "scripts/setup.sh", "exit 0")
    write_program(
        tmp_path / ".venv/bin/python",
        'case "$*" in *--ignore*) exit $MAIN;; *worksteal*) exit $UNIT_CODE;; *) exit $LAST;; esac',
    )
    codes = {
        code: make(
            tmp_path,
            "test",
            *(
                f"{name}={digit}"
                for name, digit in zip(("MAIN", "UNIT_CODE", "LAST"), code, strict=True)
            ),
        )
        for code in map("".join, itertools.product("01", repeat=3))
    }
    assert {code for code, done in codes.items() if done.returncode == 0} == {"000"}
    assert "The units follow" in codes["100"].stdout and "run alone" in codes["010"].stdout
    assert all("run alone" in done.stdout for code, done in codes.items() if code[:2] != "00")


def test_make_test_full_asks_for_every_unit(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    write_program(tmp_path / "scripts/setup.sh", "exit 0")
    write_program(tmp_path / ".venv/bin/python", 'echo "full: $CVCOURSE_FULL"')
    assert make(tmp_path, "test-full").stdout.splitlines() == ["full: 1"] * 3
    assert make(tmp_path, "test").stdout.splitlines() == ["full: "] * 3


def test_make_findings_runs_every_script_and_fails_with_any(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    assert make(tmp_path, "findings").returncode == 0
    write_program(tmp_path / "findings/a.sh", "echo first; exit 1")
    write_program(tmp_path / "findings/b.sh", "echo second")
    done = make(tmp_path, "findings")
    assert done.returncode != 0
    assert done.stdout.splitlines() == ["findings/a.sh", "first", "findings/b.sh", "second"]


def test_findings_can_be_run() -> None:
    assert (ROOT / "findings" / "README.md").read_text().count("\n\n") == 1, "a title, a paragraph"
    for script in (ROOT / "findings").glob("*.sh"):
        assert os.access(script, os.X_OK), script
        assert "mktemp" in script.read_text(), f"{script} works in a temporary folder"


# The README


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_links_and_pictures_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert links and not missing


def test_readme_names_only_what_exists() -> None:
    """Every make target and every cvcourse command that README.md names."""
    assert set(re.findall(r"`make ([\w-]+)`", README)) <= TARGETS
    commands = set(re.findall(r"\bcvcourse (lab|build|quality|check|doctor|data)\b", README))
    assert commands == {"lab", "build", "quality", "check", "doctor", "data"}
    shown = subprocess.run(
        [sys.executable, "-m", "autograder.cli", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert all(re.search(rf"^  {command}  ", shown.stdout, re.MULTILINE) for command in commands)
