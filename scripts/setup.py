"""Prepare .venv: make it, install the pinned packages and the course, note that it is done.

Standard library only. `make setup` and `make course` come here through scripts/setup.sh; where
there is no make, `python scripts/setup.py` does the same. A repeated call changes nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "cvcourse-setup.json"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST_PYTHON = (3, 11)
GIGABYTE = 10**9
NEEDED_BYTES = 3 * GIGABYTE
NEEDED_TEMPORARY_BYTES = 1 * GIGABYTE
# The extras of pyproject.toml that each kind of set-up installs; a set-up with more serves those
# with less.
EXTRAS = {"course": [], "test": ["test"]}
# A .venv in which one of these cannot be found has lost something since it was made.
MAINSTAYS = ("pip", "torch", "jupyterlab", "nbgrader", "ipywidgets", "cvcourse", "autograder")


class SetupError(Exception):
    """The set-up cannot go on; the message says why and what to do."""


def main(arguments: list[str]) -> int:
    """`setup.py [--ready] [course|test] [PYTHON]`: 0 when .venv is ready, 1 when it is not."""
    only_look = arguments[:1] == ["--ready"]
    if only_look:
        arguments = arguments[1:]
    kind, chosen_python = [*arguments, "", ""][:2]
    kind = kind or "course"
    if kind not in EXTRAS:
        print(f"{kind!r} is no kind of set-up: choose {' or '.join(EXTRAS)}.", file=sys.stderr)
        return 1
    if only_look:
        is_chosen = not chosen_python or version_of(chosen_python) == sys.version_info[:2]
        return 0 if is_ready(kind) and is_chosen else 1
    try:
        prepare(kind, keep_any_python=not chosen_python)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        reason, place = error.strerror or error, error.filename or VENV
        print(f"The set-up stopped: {reason} ({place}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "The same command starts afresh; what was downloaded is kept."
        print(f"\nStopped. {kept}", file=sys.stderr)
        return 130
    return 0


def prepare(kind: str, keep_any_python: bool = True) -> None:
    """Bring .venv to the state that `kind` needs, making it anew when it is broken or half made."""
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(
            f"This is Python {sys.version.split()[0]}, and the course needs 3.11 or newer."
        )
    start = time.monotonic()
    reason = reason_to_rebuild(keep_any_python)
    if reason:
        print(f"The .venv here {reason}: making it anew.", flush=True)
        remove(VENV)
    extras = sorted({*EXTRAS[kind], *installed_extras()})
    check_disk()
    if not VENV.exists():
        make_venv()
    write_stamp(finished=False, extras=extras)
    install(extras)
    write_stamp(finished=True, extras=extras)
    seconds = time.monotonic() - start
    print(f"Ready in {seconds:.0f} s: .venv holds the course and its packages.", flush=True)


# What is there


def is_ready(kind: str) -> bool:
    """Whether the .venv whose Python runs this is complete.

    It must be in step with the pins, and where it was made.
    """
    stamp = read_stamp()
    if stamp.get("fingerprint") != fingerprint(sys.version_info[:2]):
        return False
    if not set(EXTRAS[kind]) <= set(stamp["extras"]):
        return False
    return all(importlib.util.find_spec(name) for name in MAINSTAYS)


def reason_to_rebuild(keep_any_python: bool) -> str:
    """Why the present .venv cannot be mended by installing into it.

    Empty when it can, or when there is none.
    """
    if not os.path.lexists(VENV):
        return ""
    version = version_of(PYTHON)
    stamp = read_stamp()
    if version is None:
        return "does not run"
    if version < OLDEST_PYTHON or not (keep_any_python or version == sys.version_info[:2]):
        return f"has Python {version[0]}.{version[1]}"
    if stamp and not stamp.get("finished"):
        return "was left half made"
    if stamp and stamp.get("folder") != str(VENV):
        return f"was made in another place ({stamp.get('folder')})"
    # A complete set-up that is stale by its pins alone is brought up to date; one that lost
    # packages is not trusted.
    if stamp.get("fingerprint") == fingerprint(version) and not has_mainstays():
        return "has lost packages"
    if quiet_call(PYTHON, "-m", "pip", "--version") is None:
        return "has no pip"
    return ""


def installed_extras() -> list[str]:
    """The extras of the .venv that is there, which an update keeps."""
    stamp = read_stamp()
    return stamp["extras"] if stamp.get("finished") else []


def has_mainstays() -> bool:
    """Whether .venv's own Python finds the packages without which nothing works."""
    find = f"sys.exit(not all(u.find_spec(n) for n in {MAINSTAYS!r}))"
    return quiet_call(PYTHON, "-c", f"import importlib.util as u, sys; {find}") is not None


def version_of(python: str | Path) -> tuple[int, int] | None:
    """(major, minor) of an interpreter, or None when it does not run."""
    answer = quiet_call(python, "-c", "import sys; print(*sys.version_info[:2])")
    try:
        major, minor = map(int, (answer or "").split())
    except ValueError:
        return None
    return major, minor


def quiet_call(python: str | Path, *arguments: str) -> str | None:
    """What an interpreter prints, or None when it fails."""
    try:
        done = subprocess.run(
            [str(python), "-I", *arguments], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


# The note in .venv that says what it holds


def fingerprint(python_version: tuple[int, int]) -> str:
    """A hash of all that .venv depends on.

    That is the pins, the package metadata, the Python version and the place.
    """
    parts = [(ROOT / name).read_bytes() for name in ("constraints.txt", "pyproject.toml")]
    parts += [repr(tuple(python_version)).encode(), str(VENV).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp() -> dict:
    """The note, {} where there is none, and an unfinished one where it cannot be read."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return stamp if isinstance(stamp.get("extras"), list) else {"finished": False}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        return {"finished": False}


def write_stamp(finished: bool, extras: list[str]) -> None:
    """Note how far the set-up came; only a finished one has a fingerprint."""
    stamp: dict = {"finished": finished, "folder": str(VENV), "extras": extras}
    if finished:
        stamp["fingerprint"] = fingerprint(version_of(PYTHON) or (0, 0))
    partial = STAMP.with_suffix(".part")
    partial.write_text(json.dumps(stamp), encoding="utf-8")
    partial.replace(STAMP)


# The work


def remove(path: Path) -> None:
    """Remove .venv, be it a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_disk() -> None:
    """Raise SetupError where the packages would not fit."""
    existing = VENV.exists()
    require_space(ROOT, GIGABYTE // 2 if existing else NEEDED_BYTES)
    if not existing:
        require_space(Path(tempfile.gettempdir()), NEEDED_TEMPORARY_BYTES)


def require_space(folder: Path, needed: int) -> None:
    """Raise SetupError when fewer than `needed` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SetupError(
            f"Too little disk space: the set-up needs about {needed / GIGABYTE:.1f} GB in {folder},"
            f" and {free / GIGABYTE:.1f} GB are free there.\n  Free some space, or move the course"
            " to another disk (TMPDIR=... moves the temporary files)."
        )


def make_venv() -> None:
    """Make an empty .venv that has pip."""
    print(f"Making .venv with Python {sys.version.split()[0]} ...", flush=True)
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(VENV)
    except subprocess.CalledProcessError:
        raise SetupError(
            "Python could not put pip into .venv.\n  On Debian and Ubuntu: sudo apt install"
            " python3-venv"
        ) from None


def install(extras: list[str]) -> None:
    """Install torch first, so that nothing else can ask for another build of it, then the rest."""
    print("Installing PyTorch and about 120 other packages: one to ten minutes ...", flush=True)
    course = f".[{','.join(extras)}]" if extras else "."
    pip("install", torch_pin())
    pip("install", "-c", "constraints.txt", "-e", course)
    bare = without_dependencies(extras)
    if bare:
        pip("install", "--no-deps", "-c", "constraints.txt", *bare)


def without_dependencies(extras: list[str]) -> list[str]:
    """What pyproject.toml asks for beside these extras, to be installed without what it asks for
    in turn."""
    import tomllib  # not at the top: an older Python is told so in a sentence, and has none

    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    asked = tools.get("cvcourse", {}).get("without-dependencies", {})
    return [line for extra in extras for line in asked.get(extra, [])]


def torch_pin() -> str:
    """The line of constraints.txt that pins torch."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = [line for line in lines if line.startswith("torch==")]
    if len(pins) != 1:
        raise SetupError(
            "constraints.txt must pin torch once; bring it back: git checkout constraints.txt"
        )
    return pins[0]


def pip(*arguments: str) -> None:
    """Run .venv's pip, with its progress where somebody is watching.

    Raises SetupError when it fails.
    """
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    # A personal `user = true` in pip's configuration cannot work in a .venv.
    environment = {**os.environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [str(PYTHON), "-I", "-m", "pip", *arguments[:1], *quiet, *arguments[1:]]
    if subprocess.run(command, cwd=ROOT, env=environment).returncode == 0:
        return
    free = min(shutil.disk_usage(folder).free for folder in (ROOT, tempfile.gettempdir()))
    if free < GIGABYTE // 5:
        raise SetupError("The disk is full: free about 3 GB and give the same command again.")
    raise SetupError(
        f"pip could not finish `{' '.join(arguments)}`; its own lines above say why.\n  Without a"
        " network, try again later: what was downloaded is kept.\n  Where this Python is newer"
        " than the pinned packages, choose another: PYTHON=python3.12 make course"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
