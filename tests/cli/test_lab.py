"""`cvcourse lab`: JupyterLab on the course, without its question about news."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from autograder import lab
from autograder.errors import CourseError

ROOT = Path(__file__).parents[2]


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="There is no folder"):
        lab.open_lab(tmp_path / "course", [])


def test_jupyterlab_must_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    with pytest.raises(CourseError, match="make setup"):
        lab.open_lab(tmp_path, [])


@pytest.mark.parametrize(
    "screen", ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER", None]
)
def test_browser_only_where_there_is_a_screen(
    monkeypatch: pytest.MonkeyPatch, screen: str | None
) -> None:
    monkeypatch.setattr(lab.sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    if screen:
        monkeypatch.setenv(screen, "x")
    assert ("--no-browser" in lab.lab_options()) == (screen is None)


def test_widgets_answer_without_delay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_server.extension.config import ExtensionConfigManager

    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "elsewhere")
    lab.write_settings(tmp_path)
    assert os.environ["JUPYTER_CONFIG_PATH"] == os.pathsep.join([str(tmp_path), "elsewhere"])
    enabled = ExtensionConfigManager(read_config_path=[str(tmp_path)]).get_jpserver_extensions()
    assert enabled == {"cvcourse.widgets.server": True}


def test_opens_prints_its_address_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "course").mkdir()
    (tmp_path / "tmp").mkdir()
    environment = {
        name: value
        for name, value in os.environ.items()
        if "DISPLAY" not in name and name != "BROWSER"
    }
    environment |= {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "autograder.cli", "lab", "course"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        address = wait_for_address(process)
        page = read(address)
        config = json.loads(
            re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL)[1]
        )
        assert "@jupyterlab/apputils-extension:announcements" in config["disabledExtensions"]
        assert config["serverRoot"].endswith("/course")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert not list((tmp_path / "tmp").glob("cvcourse-*"))


def read(address: str) -> str:
    """The page at an address that is printed a moment before it answers."""
    for _ in range(50):
        try:
            return urllib.request.urlopen(address, timeout=20).read().decode()
        except ConnectionError:
            pass
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError):
                raise
        time.sleep(0.2)
    raise AssertionError(f"nothing answers at {address}")


def wait_for_address(process: subprocess.Popen[str]) -> str:
    """The address with its token, as a reader without a browser would copy it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line)
        if found:
            return found[0]
        if not line and process.poll() is not None:
            break
    raise AssertionError("JupyterLab printed no address")
