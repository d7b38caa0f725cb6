"""A JupyterLab and a Chromium for the whole session, and one page and kernel for each lesson."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import harness
from .harness import CHROMIUM_ARGUMENTS, Watched, find_chromium, jupyter_lab
from .labs import LessonPage

SCREEN = {"viewport": {"width": 1400, "height": 1200}, "device_scale_factor": 2}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the same lesson follow each other, last of all, so that its page is opened once."""
    items.sort(key=lesson_of)


def lesson_of(item: pytest.Item) -> str:
    """The lesson on whose page a test runs; empty for all other tests."""
    call = getattr(item, "callspec", None)
    lesson = call.params.get("lesson_page") if call else None
    return lesson.stem if lesson else ""


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser; tests that need one are skipped without.

    Only a CI machine gets one installed.
    """
    pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    if find_chromium() is None and os.environ.get("CI") and shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        subprocess.run([*sudo, "apt-get", "update"], check=True)
        subprocess.run([*sudo, "apt-get", "install", "-y", "chromium"], check=True)
    path = find_chromium()
    if path is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return path


@pytest.fixture(scope="session")
def lab_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the session's JupyterLab; notebooks go to its `work`."""
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="session")
def lab_address(chromium: str, lab_folder: Path) -> Iterator[str]:
    with jupyter_lab(lab_folder) as address:
        yield address


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def watched(browser) -> Iterator[Watched]:
    """A fresh page that remembers its errors and its requests to the outside."""
    context = browser.new_context(**SCREEN)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture(scope="session")
def lab_window(browser) -> Iterator:
    """A window for pages of JupyterLab, whose programs it loads once."""
    context = browser.new_context(**SCREEN)
    yield context
    context.close()


@pytest.fixture(scope="session")
def lesson_page(request, lab_window, lab_address: str, lab_folder: Path) -> Iterator[LessonPage]:
    """All widgets of one of `harness.lessons()`, shared by the tests that name it.

    Each test puts the controls that it needs where it needs them.
    """
    lesson = request.param
    path = harness.place(harness.notebook_of(lesson), lesson, lab_folder / "work")
    watched = Watched(lab_window.new_page())
    try:
        harness.run_notebook(watched.page, lab_address, path)
        yield LessonPage(lesson, watched)
    finally:
        watched.page.close()
        harness.stop_kernels(lab_address, Path(path).parent.name)
