"""Feedback and formgrader in a real browser: nothing of a learner's acts, and verdicts show."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell

from autograder.authoring.lesson import read_lesson
from autograder.checking import report
from autograder.checking.verdict import CaseVerdict, State, Verdict
from autograder.demo import CONFIG, Classroom, answered
from autograder.grading.graded_notebook import verdict_output

from .harness import jupyter

UNIT = "90_mini"
CHECKS = 3
RUN = "window.pwned=1;fetch('http://evil.example/');alert(1)"
SCRIPT = f"<script>{RUN}</script>"
IMAGE = f'<img src="http://evil.example/x.png" onerror="{RUN}">'
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{RUN}"><script>{RUN}</script></svg>'
WIDGET = "application/vnd.jupyter.widget-view+json"
TABLE = (
    '<section class="cv-check right" style="position:fixed;inset:0"><b>moving_sum</b> 3 of 3'
    " points</section>"
)
HTML = (
    f'{SCRIPT}{IMAGE}{SVG}{TABLE}<iframe srcdoc="{SCRIPT}"></iframe><a'
    f' href="javascript:{RUN}">press</a></div></main>'
)

MARKDOWN = [
    HTML,
    (
        f'[press](javascript:{RUN}) ![p](x"onerror="{RUN}) ![p](attachment:p.png)'
        " ![p](http://evil.example/y.png)"
    ),
    f'$\\text{{{IMAGE}}}$ ![$\\text{{">{IMAGE}}}$](x) $$\\href{{javascript:{RUN}}}{{press}}$$',
    f"| a |\n|---|\n| {IMAGE} |\n\n```mermaid\n{SCRIPT}\n```\n\n```html\n</pre>{SCRIPT}\n```",
    (
        "<meta http-equiv=refresh content='0;url=http://evil.example'><base"
        f" href='http://evil.example/'>\n\n# {IMAGE}"
    ),
]


def hostile_outputs() -> list[dict[str, Any]]:
    """Script in every kind of output, and verdicts that are none."""
    displays: list[dict[str, Any]] = [
        {"text/html": HTML},
        {"image/svg+xml": SVG},
        {"application/javascript": RUN},
        {"text/markdown": HTML},
        {"text/latex": f"$${IMAGE}$$"},
        {"text/vnd.mermaid": SCRIPT},
        {WIDGET: {"model_id": "x", "version_major": 2}, "text/plain": SCRIPT},
        {report.MIME: {"exercise": HTML, "points": 3, "max_points": 3}, "text/html": TABLE},
        {f"application/vnd.x{SCRIPT}": HTML},
        {"image/png": f'" onerror="{RUN}'},
    ]
    outputs = [{"output_type": "display_data", "metadata": {}, "data": data} for data in displays]
    outputs[0]["metadata"] = {"cvcourse": "verdict"}
    outputs += [
        {"output_type": "stream", "name": name, "text": f"\x1b[31m{HTML}\x1b[0m"}
        for name in ("stdout", "stderr")
    ]
    outputs.append(
        {
            "output_type": "error",
            "ename": SCRIPT,
            "evalue": IMAGE,
            "traceback": [HTML, f"\x1b[38;5;{SCRIPT}m"],
        }
    )
    sized = {"image/png": {"width": f"1 onerror={RUN}"}}
    outputs.append(
        {"output_type": "display_data", "data": {"image/png": picture()}, "metadata": sized}
    )
    return outputs


def picture() -> str:
    """A red square in base64."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def make_hostile(notebook: Any) -> None:
    """Put script wherever a graded notebook can hold some. One check keeps a verdict of ours, with
    nasty words."""
    notebook.metadata = {
        "title": f"</title>{SCRIPT}",
        "authors": [{"name": SCRIPT}],
        "kernelspec": {"name": SCRIPT, "display_name": SCRIPT},
        "language_info": {"name": SCRIPT, "pygments_lexer": SCRIPT},
        "widgets": {
            "application/vnd.jupyter.widget-state+json": {"state": {"x": f"</script>{SCRIPT}"}}
        },
    }
    for cell in notebook.cells:
        cell.metadata |= {
            "tags": [f'">{SCRIPT}'],
            "name": SCRIPT,
            "jupyter": {"source_hidden": True},
        }
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name == "check_moving_sum":
            rows = (
                CaseVerdict(State.WRONG, f"moving_sum({HTML})", f"`{HTML}`", 0.0, printed=HTML),
            )
            ours = Verdict("moving_sum", State.WRONG, 1.5, 3.0, rows)
            cell.outputs = [verdict_output(ours), *map(nbformat.from_dict, hostile_outputs())]
        elif name == "moving_sum":
            cell.source += f"\n'''</pre></script>{HTML}'''\n%%javascript\n{RUN}\n# {'x' * 50_000}"
        elif name == "question_blur":
            cell.source = "\n\n".join(MARKDOWN)
    attachments = {
        "p.png": {"image/svg+xml": base64.b64encode(SVG.encode()).decode(), f'"{IMAGE}': "x"}
    }
    notebook.cells += [new_markdown_cell(text, attachments=attachments) for text in MARKDOWN]
    notebook.cells += [
        new_raw_cell(HTML, metadata={"raw_mimetype": "text/html"}),
        new_raw_cell(HTML),
    ]
    notebook.cells.append(
        new_markdown_cell("Honest: $\\frac{a}{b}$ and [a link](https://example.org)")
    )
    # Marked as ours, but in a cell that checks nothing.
    forged = verdict_output(Verdict("moving_sum", State.RIGHT, 3.0, 3.0, ()))
    outputs = [forged, *map(nbformat.from_dict, hostile_outputs())]
    notebook.cells.append(new_code_cell("1", outputs=outputs))


@pytest.fixture(scope="module")
def room(built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """A course with one graded submission, full of script."""
    folder = Path(shutil.copytree(built_mini, tmp_path_factory.mktemp("pages") / "mini"))
    (folder / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    room = Classroom(folder)
    release = room.release(UNIT)
    lesson = read_lesson(folder / "solutions" / UNIT)
    room.submit(
        "eve",
        UNIT,
        answered(release, {name: item.solution for name, item in lesson.exercises.items()}),
    )
    room.autograde(UNIT, "eve")
    path = folder / "autograded" / "eve" / UNIT / f"{UNIT}.ipynb"
    path.chmod(0o644)
    notebook = nbformat.read(path, as_version=4)
    make_hostile(notebook)
    nbformat.write(notebook, path)
    with room.api.gradebook as gradebook:
        comment = gradebook.find_comment("question_blur", UNIT, UNIT, "eve")
        comment.manual_comment = HTML
        gradebook.db.commit()
    return room


@pytest.fixture(scope="module")
def formgrader(
    room: Classroom, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """nbgrader's formgrader on the course; the address of the submission's page."""
    with room.api.gradebook as gradebook:
        [submitted] = gradebook.notebook_submissions(UNIT, UNIT)
        identity = submitted.id
    with jupyter("jupyter_server", room.folder, tmp_path_factory.mktemp("formgrader")) as address:
        yield f"{address}/formgrader/submissions/{identity}/"


@pytest.fixture
def dialogs(watched) -> list[str]:
    """What the page asked with a dialog."""
    found: list[str] = []
    watched.page.on("dialog", lambda dialog: (found.append(dialog.message), dialog.dismiss()))
    return found


# Everything a reader might do: open, point at, press. Links of ours lead away, so only a learner's
# are pressed.
TOUCH = """
async () => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  for (const box of document.querySelectorAll(".theirs, .rendered_html, .verdict"))
    for (const one of box.querySelectorAll("*")) {
      for (const kind of ["mouseover", "mouseenter", "focus", "animationend", "toggle", "load", "error"])
        one.dispatchEvent(new Event(kind));
      if (!one.href?.startsWith?.("https:")) one.click?.();
    }
  await new Promise((done) => setTimeout(done, 500));
}
"""
# What acts, in the parts of the page that a learner wrote.
ACTING = """
() => [...document.querySelectorAll(".theirs, .rendered_html, .input_area, .source, .verdict, .comment")]
  .flatMap((box) => [...box.querySelectorAll("*")])
  .filter((one) => ["SCRIPT", "IFRAME", "OBJECT", "EMBED", "svg", "FORM", "META", "BASE", "LINK"].includes(one.tagName)
    || [...one.attributes].some((a) => a.name.startsWith("on") || /^\\s*javascript:/i.test(a.value)))
  .map((one) => one.outerHTML.slice(0, 200))
"""
IMITATIONS = (
    "() => document.querySelectorAll('.theirs .cv-check, .theirs [style*=fixed], .rendered_html"
    " .cv-check').length"
)


def assert_nothing_acted(watched, dialogs: list[str]) -> None:
    page = watched.page
    page.evaluate(TOUCH)
    assert page.evaluate("window.pwned") is None
    assert page.evaluate(ACTING) == []
    assert page.evaluate(IMITATIONS) == 0
    # A complaint of the policy would mean that cleaning had left something for it to stop.
    assert (dialogs, watched.outside, watched.complaints) == ([], [], [])


def assert_content_shows(page) -> None:
    assert page.locator("math mfrac").first.is_visible()
    assert (
        page.locator("a[href='https://example.org']").get_attribute("rel") == "noopener noreferrer"
    )
    assert page.locator("section.cv-check").first.is_visible()
    assert page.locator("section.cv-check").count() == CHECKS
    ours = page.locator("section.cv-check", has_text="1.5 of 3 points")
    assert ours.count() == 1
    assert "<script>" in ours.inner_text()
    assert "not shown here: application/javascript" in page.locator("body").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_feedback_is_inert(room: Classroom, watched, dialogs) -> None:
    path = room.give_feedback(UNIT, "eve")
    watched.page.goto(path.as_uri())
    assert_nothing_acted(watched, dialogs)
    assert_content_shows(watched.page)
    assert watched.page.locator("script").count() == 0
    assert watched.page.title() == f"{UNIT}: feedback"
    assert watched.page.locator(".comment").first.is_visible()


def test_the_policy_of_feedback_stops_what_cleaning_would_miss(
    room: Classroom, watched, dialogs, tmp_path
) -> None:
    page = room.give_feedback(UNIT, "eve").read_text(encoding="utf-8")
    path = tmp_path / "page.html"
    path.write_text(
        page.replace("<main>", f"<main>{HTML}<link rel=stylesheet href=http://evil.example/x.css>")
    )
    watched.page.goto(path.as_uri())
    watched.page.wait_for_timeout(500)
    assert watched.page.evaluate("window.pwned") is None
    assert dialogs == []
    assert any("Content Security Policy" in line for line in watched.complaints)


def test_formgrader_is_inert_and_still_works(formgrader: str, watched, dialogs) -> None:
    page = watched.page
    page.goto(formgrader, wait_until="networkidle")
    assert_nothing_acted(watched, dialogs)
    assert_content_shows(page)
    page.wait_for_function(
        "formgrader.loaded && formgrader.grades.loaded && formgrader.comments.loaded"
    )
    assert page.locator("#check_moving_sum").get_attribute("placeholder") == "3"
    assert page.locator("#question_blur-comment").input_value() == HTML
    page.locator("#question_blur").fill("1.5")
    with page.expect_response(
        lambda answer: "/api/grade/" in answer.url and answer.request.method == "PUT"
    ) as saved:
        page.keyboard.press("Escape")
    assert saved.value.ok
    page.locator("span.glyphicon.name-hidden").click()
    assert "eve" in page.locator("a.name-shown").inner_text()
    assert watched.complaints == []


def test_the_policy_of_formgrader_stops_what_cleaning_would_miss(
    formgrader: str, watched, dialogs
) -> None:
    page = watched.page
    page.goto(formgrader, wait_until="networkidle")
    page.evaluate("(html) => document.body.insertAdjacentHTML('beforeend', html)", IMAGE)
    page.evaluate("(code) => $('body').append($('<script>').text(code))", RUN)
    page.wait_for_timeout(500)
    assert page.evaluate("window.pwned") is None
    assert dialogs == []
    assert any("Content Security Policy" in line for line in watched.complaints)
