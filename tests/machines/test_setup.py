"""`make setup`: what it makes, mends, and says when it cannot. Real venvs, stand-in packages, no
network."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from base64 import urlsafe_b64encode
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_INS = {
    "torch": "2.13.0",
    "jupyterlab": "4.6.6",
    "nbgrader": "0.9.6",
    "ipywidgets": "8.1.9",
    "pytest": "9.2.0",
    "lightly": "1.6.0",
}
PYPROJECT = """\
[build-system]
requires = []
build-backend = "stand_in_backend"
backend-path = ["."]
[project]
name = "cvcourse"
version = "0.1.0"
[tool.cvcourse.without-dependencies]
test = ["lightly"]
"""
# A build backend without requirements, so that `pip install -e .` works here without a network.
BACKEND = """\
import pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "cvcourse-0.1.0-py3-none-any.whl"
    metadata = "Metadata-Version: 2.1\\nName: cvcourse\\nVersion: 0.1.0\\nProvides-Extra: test\\n"
    metadata += "".join(f"Requires-Dist: {line}\\n" for line in REQUIRES)
    files = {"cvcourse.pth": str(pathlib.Path.cwd()), "cvcourse-0.1.0.dist-info/METADATA": metadata,
             "cvcourse-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\n"
             "Root-Is-Purelib: true\\nTag: py3-none-any\\n"}
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr("cvcourse-0.1.0.dist-info/RECORD", "".join(f"{path},,\\n" for path in files))
    return name
REQUIRES = ["torch", "jupyterlab", "nbgrader", "ipywidgets", 'pytest; extra == "test"']
"""


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A package of one empty module."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if name == "lightly":
        metadata += "Requires-Dist: pytorch-lightning\n"  # which is not among the wheels
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: hashlib.sha256(text.encode()).digest() for path, text in files.items()}
    record = "".join(
        f"{path},sha256={urlsafe_b64encode(digest).decode().rstrip('=')},\n"
        for path, digest in digests.items()
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins for the packages that a set-up cannot do without."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in STAND_INS.items():
        write_wheel(folder, name, version)
    return folder


@pytest.fixture
def clone(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with the real set-up scripts, in a folder with a space in its name."""
    folder = tmp_path / "my clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("setup.sh", "setup.py"):
        shutil.copy(ROOT / "scripts" / name, folder / "scripts" / name)
    for package in ("cvcourse", "autograder"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "stand_in_backend.py").write_text(BACKEND)
    (folder / "constraints.txt").write_text(
        "".join(f"{name}=={version}\n" for name, version in STAND_INS.items())
    )
    for name in [name for name in os.environ if name.startswith("PIP_")] + [
        "PYTHON",
        "VIRTUAL_ENV",
    ]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PYTHON", sys.executable)
    return folder


def set_up(
    clone: Path, kind: str = "course", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run scripts/setup.sh as make does."""
    command = ["sh", str(clone / "scripts" / "setup.sh"), kind]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, cwd="/"
    )


def packages(clone: Path) -> set[str]:
    """What is installed in the .venv."""
    return {path.name.split("-")[0] for path in clone.glob(".venv/lib/*/site-packages/*.dist-info")}


def load(clone: Path):
    """scripts/setup.py of the clone as a module."""
    spec = importlib.util.spec_from_file_location("course_setup", clone / "scripts" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_life_of_a_venv(clone: Path, patience) -> None:
    """Made once, fast when repeated, extended, brought up to date, and made anew when it is
    damaged."""
    first = set_up(clone)
    assert first.returncode == 0, first.stderr
    assert "Ready in" in first.stdout
    assert {"torch", "jupyterlab", "nbgrader", "ipywidgets", "cvcourse"} <= packages(clone)
    assert not {"pytest", "lightly"} & packages(clone)
    kept = clone / ".venv" / "kept"
    kept.touch()

    start = time.monotonic()
    again = set_up(clone)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert time.monotonic() - start < patience(1)
    assert set_up(clone, PYTHON="").stdout == ""

    assert set_up(clone, "test").returncode == 0
    assert {"pytest", "lightly"} <= packages(clone), "lightly comes without what it asks for"
    assert set_up(clone, "course").stdout == "", "what serves the tests serves the course"

    with (clone / "constraints.txt").open("a") as file:
        file.write("# a new pin\n")
    update = set_up(clone)
    assert update.returncode == 0 and "Ready" in update.stdout
    assert kept.exists(), "a change of the pins installs into the .venv that is there"
    assert set_up(clone, "test").stdout == "", "an update keeps the extras"

    assert reasons_after_damage(clone) == {
        "nothing": "",
        "lost package": "has lost packages",
        "no pip": "has no pip",
        "half made": "was left half made",
        "unreadable note": "was left half made",
        "no interpreter": "does not run",
    }
    for link in clone.glob(".venv/bin/python*"):
        link.unlink()
    elsewhere = clone.rename(clone.with_name("elsewhere"))
    mended = set_up(elsewhere)
    assert mended.returncode == 0 and "making it anew" in mended.stdout, mended.stderr
    assert not (elsewhere / ".venv" / "kept").exists()
    assert set_up(elsewhere).stdout == ""
    moved = elsewhere.rename(clone)
    assert "made in another place" in load(moved).reason_to_rebuild(True)


def reasons_after_damage(clone: Path) -> dict[str, str]:
    """What set-up would say of each damage, done and undone in turn."""
    script = load(clone)
    site = next(clone.glob(".venv/lib/*/site-packages"))
    note = script.STAMP.read_text()
    reasons = {"nothing": script.reason_to_rebuild(True)}
    for damage, path in {
        "lost package": site / "torch.py",
        "no pip": site / "pip",
        "no interpreter": script.PYTHON,
    }.items():
        if damage == "no pip":
            # Without a finished note: in a .venv that somebody else made.
            script.STAMP.unlink()
        path.rename(path.with_suffix(".away"))
        reasons[damage] = script.reason_to_rebuild(True)
        path.with_suffix(".away").rename(path)
        script.STAMP.write_text(note)
    for damage, text in {
        "half made": json.dumps({"finished": False, "extras": []}),
        "unreadable note": note[:20],
    }.items():
        script.STAMP.write_text(text)
        reasons[damage] = script.reason_to_rebuild(True)
    script.STAMP.write_text(note)
    return reasons


def test_interrupted_set_up_is_made_anew(clone: Path, wheels: Path, tmp_path: Path) -> None:
    """pip fails in the middle: the message says what to do, and the next call starts afresh."""
    fewer = tmp_path / "fewer"
    shutil.copytree(wheels, fewer, ignore=shutil.ignore_patterns("nbgrader*"))
    broken = set_up(clone, PIP_FIND_LINKS=str(fewer))
    assert broken.returncode == 1
    assert "pip could not finish" in broken.stderr and "network" in broken.stderr
    assert "Traceback" not in broken.stderr
    mended = set_up(clone)
    assert mended.returncode == 0 and "was left half made" in mended.stdout


# Which Python


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH without any Python, with the few tools that the script calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "dirname", "basename", "tail"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def fake_python(folder: Path, name: str, twist: str = "") -> None:
    """An interpreter with a twist; run on a script, it only says that it was chosen."""
    path = folder / name
    path.write_text(
        f'#!/bin/sh\nif [ "$1" != -c ]; then echo "chosen: {name}"; exit 0; fi\n'
        f"exec '{sys.executable}' -I -c 'import sys; {twist}; exec(sys.argv[2])' \"$@\"\n"
    )
    path.chmod(0o755)


OLD = "sys.version_info = (3, 9, 2)"
GOOD = "sys.version_info = (3, 12, 1)"
NO_VENV = GOOD + '; sys.modules["ensurepip"] = None'
NO_SQLITE = GOOD + '; sys.modules["sqlite3"] = None'


@pytest.mark.parametrize(
    ("pythons", "chosen", "expected"),
    [
        ({}, "", ["No Python was found", "apt install python3 python3-venv"]),
        (
            {"python3": OLD},
            "",
            ["python3 is Python 3.9.2", "3.11 or newer", "PYTHON=python3.12 make course"],
        ),
        ({"python3": NO_VENV}, "", ["venv module", "sudo apt install python3-venv"]),
        (
            {"python3": OLD, "python3.12": NO_VENV},
            "",
            ["python3.12 is Python 3.12.1", "apt install python3.12-venv"],
        ),
        ({"python3": NO_SQLITE}, "", ["built without", "sqlite3"]),
        ({"python3": GOOD}, "python3.99", ["PYTHON=python3.99 does not run"]),
        (
            {"python3": GOOD, "python3.9": OLD},
            "python3.9",
            ["python3.9 is Python 3.9.2", "3.11 or newer"],
        ),
    ],
)
def test_says_which_python_is_missing(
    clone: Path, bin_folder: Path, pythons: dict[str, str], chosen: str, expected: list[str]
) -> None:
    for name, twist in pythons.items():
        fake_python(bin_folder, name, twist)
    done = set_up(clone, PATH=str(bin_folder), PYTHON=chosen)
    assert done.returncode == 1
    assert all(words in done.stderr for words in expected), done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("pythons", "chosen", "winner"),
    [
        ({"python3": GOOD, "python3.13": GOOD}, "", "python3"),
        ({"python3": OLD, "python3.11": GOOD, "python3.12": GOOD}, "", "python3.12"),
        ({"python3": NO_VENV, "python3.11": GOOD}, "", "python3.11"),
        ({"python": GOOD}, "", "python"),
        ({"python3": GOOD, "python3.12": GOOD}, "python3.12", "python3.12"),
    ],
)
def test_chooses_a_python_that_will_do(
    clone: Path, bin_folder: Path, pythons: dict[str, str], chosen: str, winner: str
) -> None:
    for name, twist in pythons.items():
        fake_python(bin_folder, name, twist)
    assert set_up(clone, PATH=str(bin_folder), PYTHON=chosen).stdout.strip() == f"chosen: {winner}"


# The parts of setup.py


@pytest.fixture
def script(clone: Path):
    return load(clone)


Usage = namedtuple("Usage", "total used free")


def test_too_little_disk_space(
    script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(
        script.shutil, "disk_usage", lambda folder: Usage(10**11, 99 * 10**9, 10**9)
    )
    assert script.main(["course"]) == 1
    message = capsys.readouterr().err
    assert "needs about 3.0 GB" in message and "1.0 GB are free" in message
    assert not script.VENV.exists(), "nothing is begun that cannot be finished"


def test_small_temporary_folder(
    script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    free = {script.ROOT: 9 * 10**9}
    monkeypatch.setattr(
        script.shutil, "disk_usage", lambda folder: Usage(0, 0, free.get(folder, 10**8))
    )
    assert script.main(["course"]) == 1
    assert "TMPDIR" in capsys.readouterr().err


def test_disk_that_fills_up_under_way(script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.shutil, "disk_usage", lambda folder: Usage(0, 0, 10**6))
    monkeypatch.setattr(
        script.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1)
    )
    with pytest.raises(script.SetupError, match="disk is full"):
        script.pip("install", "torch")


def test_folder_that_cannot_be_written(
    script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(self, folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(script.venv.EnvBuilder, "create", refuse)
    assert script.main(["course"]) == 1
    message = capsys.readouterr().err
    assert "Permission denied" in message and ".venv" in message and len(message.splitlines()) == 1


def test_interrupt_ends_quietly(
    script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupt(self, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(script.venv.EnvBuilder, "create", interrupt)
    assert script.main(["course"]) == 130
    assert "starts afresh" in capsys.readouterr().err


def test_other_python_asked_for(script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working .venv of another version goes when PYTHON names one, and stays when it does not."""
    script.VENV.mkdir()
    monkeypatch.setattr(script, "version_of", lambda python: (3, 99))
    monkeypatch.setattr(script, "quiet_call", lambda *_: "")
    assert script.reason_to_rebuild(keep_any_python=False) == "has Python 3.99"
    assert script.reason_to_rebuild(keep_any_python=True) == ""


def test_fingerprint_follows_what_it_depends_on(script) -> None:
    before = script.fingerprint((3, 11))
    assert before != script.fingerprint((3, 12))
    for name in ("constraints.txt", "pyproject.toml"):
        path = script.ROOT / name
        path.write_text(path.read_text() + "\n")
        assert script.fingerprint((3, 11)) != before
        before = script.fingerprint((3, 11))


def test_lost_torch_pin_is_said(script, capsys: pytest.CaptureFixture) -> None:
    (script.ROOT / "constraints.txt").write_text("numpy==2.4.6\n")
    with pytest.raises(script.SetupError, match="git checkout constraints"):
        script.torch_pin()


def test_unknown_kind(script, capsys: pytest.CaptureFixture) -> None:
    assert script.main(["everything"]) == 1
    assert "course or test" in capsys.readouterr().err
