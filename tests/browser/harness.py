"""Drives notebooks in a real JupyterLab and a real, headless Chromium, and measures how fast
widgets redraw."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
DEMO = Path(__file__).parent / "demo" / "00_demo.py"
BARE = DEMO.with_name("00_bare.py")
# From key or click to picture, where a widget with nothing of the course in it takes BARE_MS. Where
# that takes longer, JupyterLab and the browser are slower under every widget, and limits grow with
# it (`pace`), up to SLOWEST times.
LIMIT_MS, CLICK_LIMIT_MS, BARE_MS, SLOWEST = 60, 100, 30, 2.5

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

    def __str__(self) -> str:
        return f"{self.lesson.stem}-cell{self.index}"


def lessons() -> list[Path]:
    """Every unit's source; its paired notebook where there is no source."""
    folders = sorted(path for path in (ROOT / "solutions").glob("[0-9]*") if path.is_dir())
    pairs = [(folder / f"{folder.name}.py", folder / f"{folder.name}.ipynb") for folder in folders]
    return [
        source if source.exists() else paired
        for source, paired in pairs
        if source.exists() or paired.exists()
    ]


def widget_cells(lesson: Path) -> list[WidgetCell]:
    """The cells of a lesson that are tagged "widget"."""
    cells = _read(lesson).cells
    return [WidgetCell(lesson, k) for k, cell in enumerate(cells) if "widget" in _tags(cell)]


def notebook_for(widget: WidgetCell) -> Any:
    """A notebook with the set-up, the solved exercises, the helpers, and this one widget."""
    return notebook_with([widget])


def notebook_with(widgets: list[WidgetCell]) -> Any:
    """A notebook with these widgets of a lesson, in order, and of what stands before the last one
    what they need."""
    notebook = _read(widgets[0].lesson)
    wanted = [widget.index for widget in widgets]
    notebook.cells = [
        cell
        for k, cell in enumerate(notebook.cells[: wanted[-1] + 1])
        if k in wanted or _is_needed(cell)
    ]
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


def place(notebook: Any, widget: WidgetCell, work: Path) -> str:
    """Puts the notebook into a copy of what learners get with its unit; gives its path below
    `work`."""
    import nbformat

    folder = work / str(widget)
    unit = ROOT / "course" / widget.lesson.parent.name
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
    settings, work = folder / "settings", folder / "work"
    work.mkdir(parents=True)
    for name, values in LAB_SETTINGS.items():
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    # The course's server extension, by the file that an installation puts among Jupyter's settings.
    enabled = folder / "config" / "jupyter_server_config.d"
    enabled.mkdir(parents=True)
    shutil.copy(
        ROOT / "cvcourse" / "widgets" / "jupyter_server_config.json", enabled / "cvcourse.json"
    )
    port = _free_port()
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }
    places |= {
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    for name in ("NBGRADER_EXECUTION", "CVCOURSE_WIDGETS"):
        environment.pop(name, None)
    options = {
        "ServerApp.port": port,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.root_dir": work,
        "IdentityProvider.token": "",
        "ServerApp.disable_check_xsrf": True,  # the tests end sessions through its API
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=work)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server, folder / "server.log")
            yield address
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def stop_kernels(address: str, folder: str = "") -> None:
    """Gives the memory of the notebooks' kernels back: of all, or of those in one folder of the
    server's."""
    with urllib.request.urlopen(f"{address}/api/sessions") as answer:
        sessions = json.load(answer)
    for session in (one for one in sessions if one["path"].startswith(folder)):
        urllib.request.urlopen(
            urllib.request.Request(f"{address}/api/sessions/{session['id']}", method="DELETE")
        ).close()


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
        self.page.on(
            "console",
            lambda line: self.complaints.append(line.text) if line.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("websocket", lambda socket: self._note(socket.url))

    def _note(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in (
            "127.0.0.1",
            "localhost",
            "::1",
        ):
            self.outside.append(address)


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
    page.goto(f"{address}/lab/tree/{path}?reset", wait_until="load", timeout=120_000)
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell", timeout=120_000)
    page.set_default_timeout(180_000)
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


def labs(page: Any) -> Any:
    """All labs of the page, once each has been drawn."""
    page.wait_for_function(ALL_DRAWN)
    return page.locator(".cvlab")


def labs_of_cells(page: Any) -> list[list[int]]:
    """For each code cell of the page that shows labs, in order: their places among all labs of the
    page."""
    counts = page.evaluate(LABS_OF_CELLS)
    ends = list(itertools.accumulate(counts))
    return [list(range(end - count, end)) for count, end in zip(counts, ends, strict=True)]


ALL_DRAWN = """
() => {
  const labs = [...document.querySelectorAll(".cvlab")];
  return labs.length > 0 && labs.every((lab) => "drawn" in lab.dataset);
}
"""
LABS_OF_CELLS = """
() => [...document.querySelectorAll(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell")]
  .map((cell) => cell.querySelectorAll(".cvlab").length)
  .filter((count) => count > 0)
"""
MEASURED = "input[type=range], select, input[type=number]"


def control_labels(page: Any, lab_index: int) -> list[str]:
    """Labels of what a lab is measured by: each slider and choice, and the first number of each
    grid."""
    inputs = labs(page).nth(lab_index).locator("[data-control]")
    found = [inputs.nth(k).locator(MEASURED).first for k in range(inputs.count())]
    return [one.get_attribute("aria-label") for one in found if one.count()]


# One promise for the next redraw with another value of this control. The clock starts with the key
# event's own time stamp and stops when the frame with the new picture has been handed over:
# animation frame, then the task after.
ARM = """
([lab, label, measured]) => {
  const root = document.querySelectorAll(".cvlab")[lab];
  const input = [...root.querySelectorAll(measured)].find((one) => one.getAttribute("aria-label") === label);
  const name = input.closest("[data-control]").dataset.control;
  const drawn = () => JSON.stringify(JSON.parse(root.dataset.values)[name]);
  const before = drawn();
  input.focus();
  window.redrawn = new Promise((resolve, reject) => {
    let start = null;
    const finish = (outcome) => {
      observer.disconnect();
      clearTimeout(timer);
      outcome();
    };
    input.addEventListener("keydown", (event) => (start = event.timeStamp), { once: true, capture: true });
    const observer = new MutationObserver(() => {
      if (root.dataset.failed === "true") return finish(() => reject(new Error(root.innerText)));
      if (start === null || drawn() === before) return;
      if (input.type === "range" && drawn() !== JSON.stringify(Number(input.value))) return;
      finish(() => requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => resolve(performance.now() - start);
        port2.postMessage(null);
      }));
    });
    observer.observe(root, { attributes: true, attributeFilter: ["data-drawn"] });
    const late = () => reject(new Error(`no redraw for ${label}; drawn: ${root.dataset.values}`));
    const timer = setTimeout(() => finish(late), 20000);
  });
  if (input.tagName === "SELECT") return { share: input.selectedIndex / (input.options.length - 1), up: "ArrowDown" };
  const [value, low, high] = [input.value, input.min, input.max].map(Number);
  return { share: input.type === "range" ? (value - low) / (high - low) : 0.5, up: "ArrowUp" };
}
"""
OPPOSITE = {"ArrowUp": "ArrowDown", "ArrowDown": "ArrowUp"}


def measure_lab(page: Any, lab_index: int, label: str, steps: int = 15) -> list[float]:
    """Milliseconds from key press to redrawn canvas, for each of `steps` presses of an arrow key on
    a control.

    Only a picture drawn for the control's new value counts. Sliders and choices turn round at their
    ends.
    """
    times, rising = [], True
    for _ in range(steps + 1):
        state = page.evaluate(ARM, [lab_index, label, MEASURED])
        rising = state["share"] < 0.999 if rising else state["share"] < 0.001
        page.keyboard.press(state["up"] if rising else OPPOSITE[state["up"]])
        times.append(page.evaluate("() => window.redrawn"))
    return times[1:]  # the first press also loads what is loaded on first use


# One promise for the redraw that a mark in a picture causes: from the pointer's release, as above.
ARM_CLICK = """
([lab, name]) => {
  const root = document.querySelectorAll(".cvlab")[lab];
  const drawn = () => JSON.stringify(JSON.parse(root.dataset.values)[name]);
  const before = drawn();
  window.redrawn = new Promise((resolve, reject) => {
    let start = null;
    root.addEventListener("pointerup", (event) => (start = event.timeStamp), { once: true, capture: true });
    const timer = setTimeout(() => reject(new Error(`no redraw; drawn: ${root.dataset.values}`)), 20000);
    const observer = new MutationObserver(() => {
      if (start === null || drawn() === before) return;
      observer.disconnect();
      clearTimeout(timer);
      if (root.dataset.failed === "true") return reject(new Error(root.innerText));
      requestAnimationFrame(() => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => resolve(performance.now() - start);
        port2.postMessage(null);
      });
    });
    observer.observe(root, { attributes: true, attributeFilter: ["data-drawn"] });
  });
}
"""


def measure_clicks(
    page: Any, lab_index: int, name: str, places: list[tuple[float, float]]
) -> list[float]:
    """Milliseconds from a click into the lab's first picture to the redrawn canvas, for each of
    `places`.

    name: of the Prompts control. places: (down, across) in shares of the picture, all different.
    """
    canvas = labs(page).nth(lab_index).locator("canvas").first
    times = []
    for down, across in places:
        page.evaluate(ARM_CLICK, [lab_index, name])
        box = canvas.bounding_box()
        page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
        times.append(page.evaluate("() => window.redrawn"))
    return times[1:]  # the first click also loads what is loaded on first use


# [drawn, shown] aspect of every canvas of the page: equal unless a picture is stretched.
ASPECTS = """
() => [...document.querySelectorAll(".cvlab canvas")].map((canvas) => [
  canvas.width / canvas.height, canvas.clientWidth / canvas.clientHeight,
])
"""
