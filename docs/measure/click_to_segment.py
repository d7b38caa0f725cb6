"""Record the click-to-segment widget at work for the README.

`python docs/measure/click_to_segment.py`.

Runs the widget of unit 15 in JupyterLab and a headless Chromium, with the weights that come with
the unit, clicks as somebody would, photographs each step, and joins the photographs to
docs/pictures/click_to_segment.gif.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image, ImageChops, ImageDraw
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.browser import harness  # noqa: E402

UNIT = "15_sam"
FILE = ROOT / "docs" / "pictures" / "click_to_segment.gif"
WIDTH, COLOURS = 760, 96
BRIEF, LONG = 500, 1500  # milliseconds that a photograph stays

# What is done, and what is said of it: ("click" or "negative", down, across), ("box", two corners)
# in shares of the picture, ("candidate", number), ("press", a button), ("choose", control, option),
# ("toggle", control).
STEPS = [
    ("press", "reset"),
    ("click", 0.44, 0.70),
    ("candidate", 1),
    ("candidate", 3),
    ("candidate", 3),
    ("click", 0.27, 0.72),
    ("negative", 0.60, 0.40),
    ("press", "undo"),
    ("press", "reset"),
    ("box", (0.12, 0.60), (0.66, 0.98)),
    ("choose", "picture", "scene 3"),
    ("click", 0.50, 0.50),
    ("toggle", "everything"),
]


def main() -> None:
    """Write the animated picture."""
    if not (ROOT / "course" / UNIT / "provided.safetensors").exists():
        raise SystemExit(
            "There are no provided weights to show: python docs/measure/prompts.py --only provided"
        )
    lesson = ROOT / "solutions" / UNIT / f"{UNIT}.py"
    widgets = [harness.notebook_for(widget) for widget in harness.widget_cells(lesson)]
    notebook = next(notebook for notebook in widgets if "Prompts(" in notebook.cells[-1].source)
    with (
        tempfile.TemporaryDirectory() as temporary,
        harness.jupyter_lab(Path(temporary)) as address,
    ):
        work = Path(temporary) / "work" / UNIT
        shutil.copytree(ROOT / "course" / UNIT, work)
        nbformat.write(notebook, work / "widget.ipynb")
        with sync_playwright() as playwright:
            path = harness.find_chromium()
            browser = playwright.chromium.launch(
                executable_path=path, args=harness.CHROMIUM_ARGUMENTS
            )
            page = browser.new_page(viewport={"width": 1300, "height": 1000}, device_scale_factor=1)
            harness.run_notebook(page, address, f"{UNIT}/widget.ipynb")
            frames = record(page)
            browser.close()
    save(trimmed(frames))
    print(f"{FILE.relative_to(ROOT)}: {len(frames)} pictures, {FILE.stat().st_size / 1000:.0f} kB")


def record(page: Any) -> list[tuple[Image.Image, int]]:
    """Photographs of the lab with the time each stays.

    There are two for each step: the pointer's way, and what comes of it.
    """
    lab = harness.labs(page).first
    lab.scroll_into_view_if_needed()
    frames = []
    for step in STEPS:
        drawn = lab.get_attribute("data-drawn")
        pointer = act(page, lab, *step)
        if step != STEPS[0]:  # there is nothing to take back yet
            expect(lab).not_to_have_attribute("data-drawn", drawn, timeout=20_000)
        page.wait_for_timeout(900)
        frames.append((photograph(lab, pointer), LONG if pointer else BRIEF))
    return frames


def act(page: Any, lab: Any, kind: str, *given: Any) -> tuple[float, float] | None:
    """Do one step; returns where the pointer is, in pixels of the lab, if it lies on a picture."""
    canvas = lab.locator("canvas").nth(1 if kind == "candidate" else 0)
    box, frame = canvas.bounding_box(), lab.bounding_box()

    def at(down: float, across: float) -> tuple[float, float]:
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    if kind == "press":
        button = lab.get_by_text(given[0], exact=True)
        if button.is_enabled():
            button.click()
        return None
    if kind == "choose":
        lab.locator(f"[data-control={given[0]}] select").select_option(given[1])
        return None
    if kind == "toggle":
        lab.locator(f"[data-control={given[0]}] input").check()
        return None
    if kind == "box":
        place = at(*given[1])
        page.mouse.move(*at(*given[0]))
        page.mouse.down()
        page.mouse.move(*place, steps=8)
        page.mouse.up()
    else:
        place = at((given[0] - 0.5) / 3, 0.5) if kind == "candidate" else at(*given)
        if kind == "negative":
            page.keyboard.down("Shift")
        page.mouse.click(*place)
        page.keyboard.up("Shift")
    return place[0] - frame["x"], place[1] - frame["y"]


def photograph(lab: Any, pointer: tuple[float, float] | None) -> Image.Image:
    """The lab as it is, with an arrow where the pointer is.

    A photograph of a page does not show the pointer.
    """
    picture = Image.open(io.BytesIO(lab.screenshot())).convert("RGB")
    if pointer:
        x, y = pointer
        arrow = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12)]
        ImageDraw.Draw(picture).polygon(
            [(x + dx, y + dy) for dx, dy in arrow], fill="black", outline="white"
        )
    return picture


def trimmed(frames: list[tuple[Image.Image, int]]) -> list[tuple[Image.Image, int]]:
    """Photographs without the empty right of the lab, of one width."""
    right = 0
    for picture, _ in frames:
        # The lab has a thin border.
        inner = picture.crop((4, 4, picture.width - 4, picture.height - 4))
        ground = Image.new("RGB", inner.size, inner.getpixel((inner.width - 1, inner.height - 1)))
        right = max(right, ImageChops.difference(inner, ground).getbbox()[2])
    small = []
    for picture, time in frames:
        picture = picture.crop((0, 0, min(picture.width, right + 24), picture.height))
        scale = WIDTH / picture.width
        small.append(
            (picture.resize((WIDTH, round(picture.height * scale)), Image.Resampling.LANCZOS), time)
        )
    return small


def save(frames: list[tuple[Image.Image, int]]) -> None:
    """All photographs with one palette, so that nothing flickers, on a page of one size."""
    height = max(picture.height for picture, _ in frames)
    pages = [Image.new("RGB", (WIDTH, height), "white") for _ in frames]
    for page, (picture, _) in zip(pages, frames, strict=True):
        page.paste(picture, (0, 0))
    tall = Image.new("RGB", (WIDTH, height * len(pages)))
    for k, page in enumerate(pages):
        tall.paste(page, (0, k * height))
    palette = tall.quantize(COLOURS)
    flat = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    FILE.parent.mkdir(parents=True, exist_ok=True)
    durations = [milliseconds for _, milliseconds in frames]
    flat[0].save(
        FILE, save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=True
    )


if __name__ == "__main__":
    main()
