"""One run over every attack, shared by all tests here."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from .attacks import ATTACKS
from .classroom import Attacked, Seen


@pytest.fixture(scope="session")
def sandboxed() -> None:
    """Skip where there is no sandbox to attack; in continuous integration there must be one."""
    reason = "" if sys.platform == "linux" else "the sandbox needs Linux"
    if not reason and shutil.which("bwrap") is None:
        reason = "bubblewrap is not installed"
    if reason and os.environ.get("CI") and sys.platform == "linux":
        pytest.fail(f"{reason}, and attacks must be tried here")
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def attacked(
    sandboxed: None, built_mini: Path, tmp_path_factory: pytest.TempPathFactory
) -> Attacked:
    """The miniature course with all attacks handed in."""
    base = tmp_path_factory.mktemp("redteam")
    return Attacked(Path(shutil.copytree(built_mini, base / "mini")), base / "outside")


@pytest.fixture(scope="session")
def seen(attacked: Attacked) -> Seen:
    """What became of them."""
    return attacked.grade(ATTACKS)
