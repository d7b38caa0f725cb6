"""What tests share: a built copy of the miniature unit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pace import slowness

# One of several workers has one thread: more only wait for each other. torch and numpy read this
# when they are imported, and kernels inherit it.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores SIGINT, and so would all it starts: kernels could not be
# interrupted.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FIXTURES = Path(__file__).parent / "fixtures"
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def built_mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature course, built once. Do not write to it: take `mini` for that."""
    from autograder.authoring.build import build_units

    root = tmp_path_factory.mktemp("built") / "mini"
    shutil.copytree(FIXTURES / "mini", root)
    build_units([], root)
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One torch thread: on busy machines more of them only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def patience() -> Callable[[float], float]:
    """Turn the seconds of a quiet machine into those that this one may take just now."""
    return lambda seconds: seconds * slowness()


@pytest.fixture
def mini(built_mini: Path, tmp_path: Path) -> Path:
    """A copy of the built miniature course that a test may change."""
    return Path(shutil.copytree(built_mini, tmp_path / "mini"))


@pytest.fixture
def into_format_2() -> Callable[[Path], None]:
    """Turn the keys in a folder into those of format 2: one file each, its text in the metadata."""
    from autograder.checking.key import HIDDEN, VISIBLE
    from autograder.checking.key_files import text_beside

    def turn(folder: Path) -> None:
        for path in (folder / VISIBLE, folder / HIDDEN):
            if path.exists():
                write_format_2(path)
                text_beside(path).unlink()

    return turn


def write_format_2(path: Path) -> None:
    """Write the text of a key into the metadata of its numbers, as format 2 had it.

    Outcomes said everything, and tensors were named by their digests alone.
    """
    from safetensors.torch import load_file, save_file

    document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    del document["tensors"]
    document["format"] = 2
    for exercise in document["exercises"]:
        for case in exercise["cases"]:
            call = case["expected"]["call"]
            usual = {"failure": None, "changed": False, "call": call}
            case["expected"] = usual | case["expected"]
            case["wrong"] = {index: usual | item for index, item in case["wrong"].items()}
    tensors = {name.split("/")[1]: tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"cvcourse": json.dumps(document)})


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str, str]]:
    """Run `cvcourse ...` in this process; returns (exit code, stdout, stderr)."""
    from autograder import cli

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cvcourse", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code or 0
        output = capsys.readouterr()
        return code, output.out, output.err

    monkeypatch.delenv(cli.DEBUG, raising=False)
    return call


@pytest.fixture
def run_program() -> Callable[..., str]:
    """Run a Python program in so many processes that train together; returns what it printed.

    torchrun takes a free port and keeps it. accelerate's own launcher looks for one and takes it a
    second later, or many on a busy machine, when a neighbour may have it.
    """

    def call(program: Path, *arguments: str, processes: int = 1, **environment: str) -> str:
        launcher, more = [], {}
        if processes > 1:
            launcher = [
                "-m",
                "torch.distributed.run",
                "--standalone",
                f"--nproc-per-node={processes}",
            ]
            more = {"ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(
            [sys.executable, *launcher, str(program), *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | more | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return call
