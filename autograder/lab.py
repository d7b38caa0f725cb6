"""Open JupyterLab on the course, with the settings that a newcomer would have to find."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from autograder.errors import CourseError

# JupyterLab asks at its first start whether to fetch news; the course needs no network.
NO_NEWS = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
# Without this server extension a widget's picture comes late; cvcourse/widgets/server.py says why.
PROMPT_WIDGETS = {"ServerApp": {"jpserver_extensions": {"cvcourse.widgets.server": True}}}


def open_lab(folder: Path, options: list[str]) -> None:
    """Run JupyterLab on `folder` until it is stopped.

    It prints its address, and opens a browser where there is one. Raises CourseError where there is
    no such folder, or no JupyterLab.
    """
    if not folder.is_dir():
        raise CourseError(
            f"There is no folder {folder}: name the course's folder, or go where course/ lies."
        )
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise CourseError(f"JupyterLab is not installed ({error}): run `make setup`.") from None
    with tempfile.TemporaryDirectory(prefix="cvcourse-") as settings:
        write_settings(Path(settings))
        # A terminal and `!cvcourse ...` in a notebook find the same Python as the notebook.
        here, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
        os.environ["PATH"] = os.pathsep.join([here, path])
        root = f"--ServerApp.root_dir={folder.resolve()}"
        LabApp.launch_instance(argv=[root, *lab_options(), *options])


def write_settings(settings: Path) -> None:
    """Put a configuration folder in front of the reader's own for this one start."""
    files = {
        "labconfig/page_config.json": NO_NEWS,
        "jupyter_server_config.d/cvcourse.json": PROMPT_WIDGETS,
    }
    for name, content in files.items():
        (settings / name).parent.mkdir()
        (settings / name).write_text(json.dumps(content), encoding="utf-8")
    folders = [str(settings)]
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    if others:
        folders.append(others)
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(folders)


def lab_options() -> list[str]:
    """What makes JupyterLab start and end without a question.

    No search for language servers, no browser without a screen, and leave to run as root.
    """
    options = ["--ServerApp.answer_yes=True", "--LanguageServerManager.autodetect=False"]
    if not has_screen():
        options.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    return options


def has_screen() -> bool:
    """Whether a browser could open here.

    Without one, JupyterLab would start a text browser in the terminal.
    """
    if sys.platform != "linux":
        return True
    names = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")
    return any(os.environ.get(name) for name in names)
