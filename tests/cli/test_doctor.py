"""`cvcourse doctor`: every line says what is there, what is not, and how to mend it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from autograder import doctor

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


def findings(check) -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in check()}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Make packages look absent."""

    def hide(*names: str) -> None:
        real = doctor.installed
        monkeypatch.setattr(doctor, "installed", lambda name: name not in names and real(name))

    return hide


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course folder of one unit, with us in it."""
    unit = tmp_path / "course" / "01_convolution"
    unit.mkdir(parents=True)
    (unit / "01_convolution.ipynb").write_text("{}")
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (unit / "key.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    (unit / "key.json").write_text("{}")
    monkeypatch.chdir(unit)
    return tmp_path / "course"


def test_here_nothing_is_missing_but_perhaps_the_course(
    capsys: pytest.CaptureFixture, patience
) -> None:
    start = time.monotonic()
    found = {finding.subject: finding for finding in doctor.examine()}
    assert time.monotonic() - start < patience(8)
    for subject in (
        "Python",
        "torch",
        "device",
        "packages",
        "JupyterLab",
        "kernel",
        "ipywidgets",
        "anywidget",
        "nbgrader",
    ):
        assert found[subject].state == "ok", found[subject]
    for finding in found.values():
        assert finding.state == "ok" or finding.mend, (
            f"{finding.subject} does not say how to mend it"
        )


def test_runs_where_no_package_is_installed() -> None:
    """With a bare interpreter: no torch, no nbgrader, no JupyterLab, no Typer."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
         "from autograder.doctor import main; sys.exit(main())"],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    for package in ("torch", "JupyterLab", "ipywidgets", "nbgrader"):
        assert f"missing  {package}" in done.stdout
    assert "make setup" in done.stdout


def test_torch_missing(without) -> None:
    without("torch")
    assert findings(doctor.torch)["torch"].state == "missing"


def test_torch_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str):
        raise OSError("libtorch_cpu.so: cannot open shared object file\nNo such file")

    monkeypatch.setattr(importlib, "import_module", fail)
    found = findings(doctor.torch)["torch"]
    assert (
        found.state == "missing" and "libtorch_cpu.so" in found.detail and "\n" not in found.detail
    )


def fake_torch(cuda: bool, build: str | None, mps: bool = False) -> SimpleNamespace:
    return SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: cuda, get_device_name=lambda index: "H200"),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
        version=SimpleNamespace(cuda=build),
        get_num_threads=lambda: 2,
    )


def test_device() -> None:
    assert "H200" in doctor.device(fake_torch(True, "13.0")).detail
    assert "mps" in doctor.device(fake_torch(False, None, mps=True)).detail
    assert doctor.device(fake_torch(False, None)).state == "ok"


def test_packages_missing(without) -> None:
    without("skimage", "pooch")
    found = findings(doctor.packages)["packages"]
    assert found.state == "missing" and found.detail == "skimage, pooch"


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 2))
    assert findings(doctor.python)["Python"].state == "missing"


def test_kernel_of_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    spec = SimpleNamespace(argv=["/opt/other/bin/python"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    found = doctor.kernel()
    assert found.state == "missing" and "/opt/other/bin/python" in found.detail

    def absent(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", absent)
    assert doctor.kernel().state == "missing"


def test_lab_extension_absent_or_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "lab_extension_state", lambda extension: (False, True))
    found = findings(doctor.widgets)["ipywidgets"]
    assert found.state == "missing" and "jupyterlab_widgets" in found.mend
    monkeypatch.setattr(doctor, "lab_extension_state", lambda extension: (True, False))
    found = findings(doctor.widgets)["anywidget"]
    assert found.state == "missing" and found.mend == "jupyter labextension enable anywidget"


def test_disabled_lab_extension_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JupyterLab itself reads it."""
    (tmp_path / "labconfig").mkdir()
    (tmp_path / "labconfig" / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"anywidget": True}})
    )
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    assert doctor.lab_extension_state("anywidget") == (True, False)
    assert doctor.lab_extension_state("@jupyter/nbgrader") == (True, True)


def test_nbgrader_is_not_needed_by_learners(without) -> None:
    without("nbgrader")
    found = findings(doctor.nbgrader)["nbgrader"]
    assert (found.state, found.needed) == ("missing", False)


def test_server_extension_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.disabled_server_extensions() == []
    off = {"ServerApp": {"jpserver_extensions": {"nbgrader.server_extensions.formgrader": False}}}
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(off))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path))
    found = findings(doctor.nbgrader)["nbgrader"]
    assert (
        found.state == "warning"
        and "formgrader" in found.detail
        and "server extension enable" in found.mend
    )


def fake_bwrap(folder: Path, script: str) -> str:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.sandbox_try(fake_bwrap(tmp_path, "exit 0")).state == "ok"
    refused = doctor.sandbox_try(
        fake_bwrap(tmp_path, "echo 'No permissions to create new namespace' >&2; exit 1")
    )
    assert refused.state == "warning" and "new namespace" in refused.detail and not refused.needed
    assert doctor.sandbox_try(fake_bwrap(tmp_path, "exec sleep 30")).state == "warning"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    absent = findings(doctor.sandbox)["sandbox"]
    assert absent.state == "warning" and not absent.needed


@pytest.mark.parametrize(
    ("free", "state"), [(5 * 10**7, "missing"), (5 * 10**8, "warning"), (5 * 10**10, "ok")]
)
def test_disk(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(0, 0, free))
    assert findings(doctor.disk)["disk"].state == state


def test_course_is_fine(course: Path) -> None:
    found = findings(doctor.course)
    assert found["course folder"].state == found["answer keys"].state == "ok"
    assert found["course folder"].detail.startswith("1 unit in ")


def test_course_without_notebooks(course: Path) -> None:
    (course / "01_convolution" / "01_convolution.ipynb").unlink()
    assert findings(doctor.course)["course folder"].state == "missing"


def test_course_that_cannot_be_written(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "writable", lambda folder: False)
    found = findings(doctor.course)["course folder"]
    assert found.state == "missing" and "copy the course" in found.mend


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda key: key.unlink(), "cannot be read"),
        (lambda key: key.write_bytes(b""), "damaged"),
        (lambda key: key.write_bytes(b"<!DOCTYPE html> this is no key"), "damaged"),
        (lambda key: key.write_bytes(key.read_bytes()[:-3]), "cut short"),
        (lambda key: os.truncate(key, 20), "damaged"),
    ],
)
def test_damaged_key(course: Path, damage, said: str) -> None:
    damage(course / "01_convolution" / "key.safetensors")
    found = findings(doctor.course)["answer keys"]
    assert found.state == "missing" and said in found.detail
    assert found.mend == (
        "git checkout course/01_convolution/key.safetensors course/01_convolution/key.json"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.unlink(), "key.json cannot be read"),
        (lambda text: text.write_bytes(b""), "key.json is damaged"),
        (lambda text: text.write_bytes(b"{"), "key.json is damaged"),
        (lambda text: text.write_bytes(bytes([255, 254])), "key.json is damaged"),
    ],
)
def test_damaged_text_of_a_key(course: Path, damage, said: str) -> None:
    damage(course / "01_convolution" / "key.json")
    found = findings(doctor.course)["answer keys"]
    assert found.state == "missing" and said in found.detail
    assert found.mend.endswith("course/01_convolution/key.json")


def test_a_key_of_format_2_needs_no_text(course: Path) -> None:
    (course / "01_convolution" / "key.json").unlink()
    header = json.dumps({"__metadata__": {"cvcourse": "{}"}}).encode()
    key = course / "01_convolution" / "key.safetensors"
    key.write_bytes(len(header).to_bytes(8, "little") + header)
    assert findings(doctor.course)["answer keys"].state == "ok"


def test_exit_code_follows_what_learners_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    lines = [
        doctor.Finding("torch", "ok", "2.13"),
        doctor.Finding("nbgrader", "missing", "no", "install", needed=False),
    ]
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter(lines),))
    assert doctor.main() == 0
    lines.append(doctor.Finding("JupyterLab", "missing", "not installed", "make setup"))
    assert doctor.main() == 1
    assert "Missing for the course: JupyterLab" in capsys.readouterr().out


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def unlucky():
        raise RuntimeError("no such\nthing")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (unlucky,))
    (found,) = doctor.examine()
    assert found.state == "warning" and "no such thing" in found.detail
