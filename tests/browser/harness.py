"""Drives notebooks in a real JupyterLab and a real, headless Chromium."""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
DEMO = Path(__file__).parent / "demo" / "00_demo.py"
BARE = DEMO.with_name("00_bare.py")

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # test machines often run as root, where Chromium's sandbox cannot start
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]

LAB_SETTINGS = {
    # Neither news nor updates: both ask, and both go out to the network.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Every cell in the page, also those one would have to scroll to.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


# Notebooks
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WidgetCell:
    """A cell tagged "widget", by its place in the lesson it belongs to."""

    lesson: Path
    index: int
    source: str

    def __str__(self) -> str:
        return f"{self.lesson.stem}-cell{self.index}"


@functools.cache
def lessons() -> list[Path]:
    """The demo, and the source of every unit with widgets; its notebook where there is no source.

    The same objects every time: pytest keeps a page open for tests that name the same one.
    """
    folders = sorted(path for path in (ROOT / "solutions").glob("[0-9]*") if path.is_dir())
    found = [DEMO]
    for folder in folders:
        source, paired = folder / f"{folder.name}.py", folder / f"{folder.name}.ipynb"
        lesson = source if source.exists() else paired
        if lesson.exists() and widget_cells(lesson):
            found.append(lesson)
    return found


def lesson_named(name: str) -> Path:
    """The lesson of a unit, such as "15_sam"."""
    return next(lesson for lesson in lessons() if lesson.stem == name)


def widget_cells(lesson: Path) -> list[WidgetCell]:
    """The cells of a lesson that are tagged "widget"."""
    return [
        WidgetCell(lesson, k, cell.source)
        for k, cell in enumerate(_read(lesson).cells)
        if "widget" in _tags(cell)
    ]


def notebook_of(lesson: Path) -> Any:
    """A notebook with the lesson's widgets and what they need, then the bare widget.

    What they need: the set-up, the solved exercises and the helpers that stand before the last one.
    The demo's broken lab comes after its widgets.
    """
    notebook = _read(lesson)
    last = widget_cells(lesson)[-1].index
    shown = {"widget", "broken"}
    notebook.cells = [
        cell
        for k, cell in enumerate(notebook.cells)
        if shown & set(_tags(cell)) or (k < last and _is_needed(cell))
    ]
    notebook.cells += [cell for cell in _read(BARE).cells if cell.cell_type == "code"]
    for cell in notebook.cells:
        cell.outputs, cell.execution_count = [], None
    return notebook


def _read(lesson: Path) -> Any:
    import jupytext

    return jupytext.read(lesson)


def _tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def _is_needed(cell: Any) -> bool:
    solution = cell.metadata.get("nbgrader", {}).get("solution", False)
    return cell.cell_type == "code" and (solution or bool({"setup", "helper"} & set(_tags(cell))))


def place(notebook: Any, lesson: Path, work: Path) -> str:
    """Puts the notebook into a copy of what learners get with its unit.

    Returns its path below `work`.
    """
    import nbformat

    folder = work / f"widgets-{lesson.stem}"
    unit = ROOT / "course" / lesson.parent.name
    if unit.is_dir():
        shutil.copytree(unit, folder, dirs_exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / "widget.ipynb")
    return f"{folder.name}/widget.ipynb"


# JupyterLab
# --------------------------------------------------------------------------------------------------


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Runs JupyterLab on `folder`/work with settings of its own; gives its address."""
    work = folder / "work"
    work.mkdir(parents=True)
    for name, values in LAB_SETTINGS.items():
        file = folder / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    # The course's server extension, by the file that an installation puts among Jupyter's settings.
    enabled = folder / "config" / "jupyter_server_config.d"
    enabled.mkdir(parents=True)
    extension = ROOT / "cvcourse" / "widgets" / "jupyter_server_config.json"
    shutil.copy(extension, enabled / "cvcourse.json")
    options = {
        "ServerApp.disable_check_xsrf": True,  # the tests end sessions through its API
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    with jupyter("jupyterlab", work, folder, options) as address:
        yield address


@contextmanager
def jupyter(
    module: str, root: Path, folder: Path, options: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Runs a Jupyter server on `root`; gives its address.

    module: "jupyterlab" or "jupyter_server". folder: for its settings and its log. options: further
    settings.
    """
    port, log = _free_port(), folder / "server.log"
    settings = {
        "ServerApp.port": port,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.root_dir": root,
        "IdentityProvider.token": "",
    }
    command = [sys.executable, "-m", module, "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in (settings | dict(options or {})).items()]
    with log.open("w") as file:
        server = subprocess.Popen(
            command, env=_environment(folder), stdout=file, stderr=file, cwd=root
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server, log)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def _environment(folder: Path) -> dict[str, str]:
    """Our modules come first, and Jupyter keeps everything below the folder."""
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    modules = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, modules))
    for name in ("NBGRADER_EXECUTION", "CVCOURSE_WIDGETS"):
        environment.pop(name, None)
    return environment


def stop_kernels(address: str, folder: str) -> None:
    """Gives the memory of the kernels back whose notebooks lie in this folder of the server's."""
    with urllib.request.urlopen(f"{address}/api/sessions") as answer:
        sessions = json.load(answer)
    for session in sessions:
        if session["path"].startswith(f"{folder}/"):
            one = f"{address}/api/sessions/{session['id']}"
            urllib.request.urlopen(urllib.request.Request(one, method="DELETE")).close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/api/status", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


# The browser
# --------------------------------------------------------------------------------------------------


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@dataclass
class Watched:
    """A page with what it complained about and whom it asked outside this machine."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._note_line)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note_address(request.url))
        self.page.on("websocket", lambda socket: self._note_address(socket.url))

    def _note_line(self, line: Any) -> None:
        if line.type == "error":
            self.complaints.append(line.text)

    def _note_address(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https", "ws", "wss"):
            return
        if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            self.outside.append(address)


def open_notebook(page: Any, address: str, path: str) -> None:
    """Opens a notebook of the server's folder, without what an earlier page had open."""
    page.set_default_timeout(180_000)
    page.goto(f"{address}/lab/tree/{path}?reset", wait_until="load")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")


RUN_ALL = """
async () => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await app.commands.execute("notebook:run-all-cells");
  const cells = panel.content.model.sharedModel.toJSON().cells;
  return cells.flatMap((cell) => cell.outputs || []).filter((out) => out.output_type === "error");
}
"""


def run_notebook(page: Any, address: str, path: str) -> None:
    """Opens a notebook of the server's folder, runs all cells, and raises when one of them did."""
    open_notebook(page, address, path)
    errors = page.evaluate(RUN_ALL)
    if errors:
        raise AssertionError("\n".join("\n".join(error["traceback"]) for error in errors))


def set_theme(page: Any, theme: str) -> None:
    """ "JupyterLab Light" or "JupyterLab Dark"."""
    page.evaluate(
        "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    page.wait_for_function("(theme) => document.body.dataset.jpThemeName === theme", arg=theme)
    page.wait_for_timeout(400)  # the style sheet's colours, and the repainting they cause
