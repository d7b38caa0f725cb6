"""A JupyterLab and a Chromium for the whole session, and a page for each test."""

import os
import shutil
import statistics
import subprocess
from collections.abc import Iterator

import pytest

from . import harness
from .harness import CHROMIUM_ARGUMENTS, Watched, find_chromium, jupyter_lab


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser. Installs one only on a CI machine; elsewhere the tests are skipped without
    it."""
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
def lab_folder(tmp_path_factory: pytest.TempPathFactory):
    """The folder of the session's JupyterLab; notebooks go to its `work`."""
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="session")
def lab_address(chromium: str, lab_folder) -> Iterator[str]:
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
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, device_scale_factor=2)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture(scope="session")
def pace(browser, lab_address: str, lab_folder) -> float:
    """What limits are multiplied by: how much longer than `BARE_MS` a bare widget takes; between 1
    and `SLOWEST`."""
    [widget] = harness.widget_cells(harness.BARE)
    page = browser.new_context(
        viewport={"width": 1400, "height": 1000}, device_scale_factor=2
    ).new_page()
    path = harness.place(harness.notebook_for(widget), widget, lab_folder / "work" / "pace")
    harness.run_notebook(page, lab_address, f"pace/{path}")
    [label] = harness.control_labels(page, 0)
    median = statistics.median(harness.measure_lab(page, 0, label, steps=45))
    page.close()
    harness.stop_kernels(lab_address, "pace/")
    return min(max(median / harness.BARE_MS, 1.0), harness.SLOWEST)
