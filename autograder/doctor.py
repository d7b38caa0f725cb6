"""Look at what the course needs on this machine and say, line by line, what is missing and how to
mend it.

Standard library only until a check needs more, so that it works where torch, nbgrader or JupyterLab
are absent: `python -m autograder.doctor` is the same as `cvcourse doctor`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
GIGABYTE = 10**9
REINSTALL = "run `make setup`; without make: python -m pip install -c constraints.txt -e ."
IMPORTED = (
    "numpy",
    "scipy",
    "matplotlib",
    "sklearn",
    "skimage",
    "PIL",
    "safetensors",
    "pooch",
    "cvcourse",
    "autograder",
)
# Grading makes namespaces within the sandbox's own, one set for each submission.
SANDBOX_TRY = (
    "--unshare-all",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "unshare",
    "--user",
    "true",
)
LAB_EXTENSIONS = {
    "nbgrader": "@jupyter/nbgrader",
    "ipywidgets": "@jupyter-widgets/jupyterlab-manager",
    "anywidget": "anywidget",
}
SERVER_EXTENSIONS = ("formgrader", "validate_assignment", "assignment_list", "course_list")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report: `state` is ok, warning or missing."""

    subject: str
    state: str
    detail: str
    mend: str = ""
    needed: bool = True  # whether a learner cannot do the course without it

    def __str__(self) -> str:
        line = f"{self.state:<8} {self.subject:<14} {self.detail}"
        return f"{line}\n{' ' * 24}-> {self.mend}" if self.mend else line


def main() -> int:
    """Print every finding; 1 when something that a learner needs is missing, else 0."""
    findings = []
    for finding in examine():
        print(finding, flush=True)
        findings.append(finding)
    missing = [
        finding.subject for finding in findings if finding.state == "missing" and finding.needed
    ]
    print()
    if missing:
        print(f"Missing for the course: {', '.join(missing)}. Each line above says how to mend it.")
    else:
        print("Everything that a learner needs is here.")
    return 1 if missing else 0


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which things are needed; a check that breaks becomes a finding
    itself."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            yield Finding(
                check.__name__, "warning", f"could not be examined: {one_line(error)}", REINSTALL
            )


# Python and its packages


def python() -> Iterator[Finding]:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding(
            "Python",
            "missing",
            f"{version} is too old",
            "install 3.11 or newer, then PYTHON=python3.12 make course",
        )
    else:
        yield Finding("Python", "ok", f"{version} in {sys.prefix}")


def torch() -> Iterator[Finding]:
    """PyTorch and the device that it would train on."""
    if not installed("torch"):
        yield Finding("torch", "missing", "not installed", REINSTALL)
        return
    try:
        module = importlib.import_module("torch")
        module.ones(2).sum().item()
    except Exception as error:
        yield Finding(
            "torch", "missing", f"installed, but does not work: {one_line(error)}", REINSTALL
        )
        return
    build = f"CUDA {module.version.cuda} build" if module.version.cuda else "CPU build"
    yield Finding("torch", "ok", f"{module.__version__}, {build}")
    yield device(module)


def device(torch) -> Finding:
    """Where training cells would run; the processor is enough for the whole course."""
    if torch.cuda.is_available():
        return Finding("device", "ok", f"cuda: {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return Finding("device", "ok", "mps: this Mac's graphics processor")
    detail = f"cpu, {torch.get_num_threads()} threads: enough for every unit"
    if torch.version.cuda and Path("/proc/driver/nvidia").exists():
        return Finding(
            "device",
            "warning",
            detail,
            "an NVIDIA card is here, but torch cannot use it: update its driver",
        )
    return Finding("device", "ok", detail)


def packages() -> Iterator[Finding]:
    """The course's own two packages, and the libraries that its notebooks import."""
    absent = [name for name in IMPORTED if not installed(name)]
    if absent:
        yield Finding("packages", "missing", ", ".join(absent), REINSTALL)
    else:
        yield Finding("packages", "ok", "cvcourse, autograder and what the notebooks import")


# Jupyter


def jupyterlab() -> Iterator[Finding]:
    """JupyterLab, and the Python that its notebooks would run in."""
    if not installed("jupyterlab"):
        yield Finding("JupyterLab", "missing", "not installed", REINSTALL)
        return
    yield Finding("JupyterLab", "ok", version("jupyterlab"))
    yield kernel()


def kernel() -> Finding:
    """Whether notebooks run in this Python: an old kernel named python3 elsewhere can stand before
    it."""
    if not installed("ipykernel"):
        return Finding("kernel", "missing", "ipykernel is not installed", REINSTALL)
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Finding(
            "kernel",
            "missing",
            "no kernel is called python3",
            "python -m ipykernel install --sys-prefix",
        )
    # Jupyter itself puts its own interpreter in the place of a bare `python`.
    own_names = {"python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}"}
    if (
        program in own_names
        or Path(program).parent.resolve() == Path(sys.executable).parent.resolve()
    ):
        return Finding("kernel", "ok", "notebooks run in this Python")
    return Finding(
        "kernel",
        "missing",
        f"notebooks would run in {program}",
        "python -m ipykernel install --sys-prefix; then open `cvcourse lab`",
    )


def widgets() -> Iterator[Finding]:
    """ipywidgets and anywidget, on both sides: in Python and in JupyterLab."""
    for name in ("ipywidgets", "anywidget"):
        yield extension_finding(name, needed=True, purpose="the widgets in the notebooks")


def nbgrader() -> Iterator[Finding]:
    """nbgrader with its Lab and server extensions: for instructors, and for the Validate button."""
    finding = extension_finding("nbgrader", needed=False, purpose="grading and the Validate button")
    if finding.state == "ok":
        disabled = disabled_server_extensions()
        if disabled:
            mend = "; ".join(
                f"jupyter server extension enable --sys-prefix {name}" for name in disabled
            )
            names = ", ".join(name.rpartition(".")[2] for name in disabled)
            finding = Finding(
                "nbgrader",
                "warning",
                f"{version('nbgrader')}, server extensions off: {names}",
                mend,
                needed=False,
            )
    yield finding


def extension_finding(package: str, needed: bool, purpose: str) -> Finding:
    """Whether a package and its JupyterLab extension are installed and enabled."""
    extension = LAB_EXTENSIONS[package]
    if not installed(package):
        return Finding(package, "missing", f"not installed; {purpose} need it", REINSTALL, needed)
    if not installed("jupyterlab_server"):
        return Finding(
            package, "warning", f"{version(package)}, without JupyterLab", REINSTALL, needed
        )
    present, enabled = lab_extension_state(extension)
    if not present:
        mend = (
            "python -m pip install --force-reinstall --no-deps -c constraints.txt"
            f" {extension_owner(package)}"
        )
        return Finding(
            package, "missing", f"JupyterLab's part of it ({extension}) is not here", mend, needed
        )
    if not enabled:
        return Finding(
            package,
            "missing",
            f"{extension} is disabled",
            f"jupyter labextension enable {extension}",
            needed,
        )
    return Finding(package, "ok", f"{version(package)}, enabled in JupyterLab", needed=needed)


def extension_owner(package: str) -> str:
    """The PyPI package that carries the Lab extension."""
    return "jupyterlab_widgets" if package == "ipywidgets" else package


def lab_extension_state(extension: str) -> tuple[bool, bool]:
    """(present, enabled) of a prebuilt JupyterLab extension."""
    from jupyter_core.paths import jupyter_path
    from jupyterlab_server.config import get_page_config

    folders = jupyter_path("labextensions")
    present = any(Path(folder, extension, "package.json").is_file() for folder in folders)
    disabled = get_page_config(folders).get("disabledExtensions", [])
    return present, not any(name.split(":")[0] == extension for name in disabled)


def disabled_server_extensions() -> list[str]:
    """nbgrader's server extensions that no configuration file enables, by their module names."""
    from jupyter_core.paths import jupyter_config_path

    enabled: dict[str, bool] = {}
    # The folders come with the strongest first, so they are read from the back.
    for folder in reversed(jupyter_config_path()):
        files = sorted(Path(folder).glob("jupyter_server_config.d/*.json"))
        for file in [*files, Path(folder, "jupyter_server_config.json")]:
            try:
                enabled |= json.loads(file.read_text(encoding="utf-8"))["ServerApp"][
                    "jpserver_extensions"
                ]
            except (OSError, ValueError, KeyError, TypeError):
                continue
    names = [f"nbgrader.server_extensions.{name}" for name in SERVER_EXTENSIONS]
    return [name for name in names if not enabled.get(name)]


# The machine


def sandbox() -> Iterator[Finding]:
    """Bubblewrap, which instructors need to run strangers' code; learners do not."""
    program = shutil.which("bwrap")
    if not sys.platform.startswith("linux"):
        yield Finding(
            "sandbox",
            "warning",
            "Linux only: instructors grade there",
            "learners need none",
            needed=False,
        )
    elif program is None:
        mend = "instructors: sudo apt install bubblewrap; learners need none"
        yield Finding("sandbox", "warning", "bubblewrap is not installed", mend, needed=False)
    else:
        yield sandbox_try(program)


def sandbox_try(program: str) -> Finding:
    """Start one empty sandbox."""
    try:
        done = subprocess.run([program, *SANDBOX_TRY], capture_output=True, text=True, timeout=3)
        problem = (
            "" if done.returncode == 0 else one_line(done.stderr) or f"exit code {done.returncode}"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = one_line(error)
    if not problem:
        return Finding("sandbox", "ok", "bubblewrap works", needed=False)
    mend = (
        "instructors: allow unprivileged user namespaces (in a container, its host decides);"
        " learners need none"
    )
    return Finding("sandbox", "warning", f"bubblewrap cannot start: {problem}", mend, needed=False)


def disk() -> Iterator[Finding]:
    """Free space for notebooks, data and models."""
    free = shutil.disk_usage(course_root()).free
    detail = f"{free / GIGABYTE:.1f} GB free"
    if free < GIGABYTE // 10:
        yield Finding("disk", "missing", detail, "free some space: saving a notebook may fail")
    elif free < GIGABYTE:
        yield Finding(
            "disk",
            "warning",
            detail,
            "free about 1 GB before fetching data or training at full size",
        )
    else:
        yield Finding("disk", "ok", detail)


# The course itself


def course() -> Iterator[Finding]:
    """The folder that a learner works in: there, writable, each notebook with a readable key."""
    folder = course_root() / "course"
    notebooks = sorted(folder.glob("*/*.ipynb"))
    if not notebooks:
        yield Finding(
            "course folder",
            "missing",
            f"no notebooks in {folder}",
            "git checkout course, or cvcourse build",
        )
        return
    units = sorted({notebook.parent for notebook in notebooks})
    locked = [unit for unit in [folder, *units] if not writable(unit)]
    if locked:
        yield Finding(
            "course folder",
            "missing",
            f"cannot write in {locked[0]}",
            "copy the course to a folder of your own",
        )
    else:
        counted = f"{len(units)} unit{'s' if len(units) > 1 else ''}"
        yield Finding("course folder", "ok", f"{counted} in {folder}, writable")
    yield from keys(units)


def keys(units: list[Path]) -> Iterator[Finding]:
    """Each unit's answer key."""
    broken = {unit.name: problem for unit in units if (problem := key_problem(unit))}
    if not broken:
        yield Finding("answer keys", "ok", f"{len(units)} readable")
    for unit, problem in broken.items():
        files = f"course/{unit}/key.safetensors course/{unit}/key.json"
        yield Finding("answer keys", "missing", f"{unit}: {problem}", f"git checkout {files}")


def key_problem(unit: Path) -> str:
    """What keeps a unit's key from being read; empty when nothing does."""
    numbers, text = unit / "key.safetensors", unit / "key.json"
    problem = numbers_problem(numbers)
    if problem:
        return problem
    if not text.exists() and holds_text(numbers):
        return ""
    return text_problem(text)


def numbers_problem(path: Path) -> str:
    """What is wrong with the file of a key's numbers. Looks at header and length, not at arrays."""
    try:
        header, size = header_of(path)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    except ValueError:
        return f"{path.name} is damaged"
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if max(ends, default=0) != size:
        return f"{path.name} is cut short or too long"
    return ""


def header_of(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's header and how many bytes follow it. Raises OSError or ValueError."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size - 8 - length
        header = json.loads(file.read(length)) if size >= 0 else None
    if not isinstance(header, dict):
        raise ValueError("no header")
    return header, size


def holds_text(path: Path) -> bool:
    """Whether a key's numbers and its text are one file, as in the course's first versions."""
    header, _ = header_of(path)
    return "cvcourse" in header.get("__metadata__", {})


def text_problem(path: Path) -> str:
    """What is wrong with the file of a key's text."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    except ValueError:
        return f"{path.name} is damaged"
    return ""


def course_root() -> Path:
    """The folder that holds course/: the one we are in, or the one this package was installed
    from."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "course").is_dir()), ROOT)


# Small tools


def installed(name: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def version(package: str) -> str:
    """A package's version, or a question mark."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "?"


def writable(folder: Path) -> bool:
    """Whether a file can be made here; asking the permissions is not enough on a read-only disk."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def one_line(text: object) -> str:
    """The message of an error on one line of bounded length."""
    return textwrap.shorten(str(text) or type(text).__name__, 160, placeholder=" ...")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    torch,
    packages,
    jupyterlab,
    widgets,
    nbgrader,
    sandbox,
    disk,
    course,
)

if __name__ == "__main__":
    sys.exit(main())
