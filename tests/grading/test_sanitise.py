"""What a learner wrote is made safe before any page shows it: HTML, markdown, formulas, pictures,
outputs, metadata."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from PIL import Image

from autograder.checking import report
from autograder.checking.verdict import CaseVerdict, Fit, Hint, State, Verdict
from autograder.grading import sanitise
from autograder.grading.graded_notebook import verdict_output

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "course").glob("*/[0-9]*.ipynb"))
SAFE_ATTRIBUTES = (
    set().union(*sanitise.ATTRIBUTES.values()) | {"rel", "class"} | sanitise.MATH_ATTRIBUTES
)


def picture(size=(3, 2), kind="PNG") -> str:
    """A small picture in base64."""
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, kind)
    return base64.b64encode(stream.getvalue()).decode()


class Elements(HTMLParser):
    """Every element of a page, with its attributes, and the page's text."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.found}


def assert_harmless(html: str) -> None:
    """No element, attribute or address that acts, moves out of its place, or poses as ours."""
    for tag, attributes in Elements(html).found:
        assert tag in sanitise.TAGS | sanitise.MATH_TAGS
        assert attributes.keys() <= SAFE_ATTRIBUTES, (tag, attributes)
        assert re.match(r"https?://|mailto:", attributes.get("href", "http://"), re.IGNORECASE)
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert re.fullmatch(
            r"text-align:(left|right|center)", attributes.get("style", "text-align:left")
        )
        assert "cv-check" not in attributes.get("class", "")


NASTY = [
    "<script>window.pwned=1</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=window.pwned=1>",
    "<img src='http://evil.example/p.png'>",
    "<img src='data:image/svg+xml;base64,PHN2Zy8+'>",
    "<svg onload=window.pwned=1><script>1</script></svg>",
    (
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1"
        " onerror=alert(1)&gt;'>"
    ),
    "<form action=http://evil.example><button>Go</button></form>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<object data=x></object><embed src=x><base href=http://evil.example>",
    (
        "<meta http-equiv=refresh content='0;url=http://evil.example'><link rel=stylesheet"
        " href=http://evil.example>"
    ),
    (
        "<a href=' javascript:window.pwned=1'>x</a><a href='java\tscript:1'>y</a><a"
        " href='data:text/html,x'>z</a>"
    ),
    (
        "<a href='/formgrader/submissions/1/evil.html'>relative</a><a href='//evil.example'>no"
        " scheme</a>"
    ),
    (
        "<section class='cv-check right' id=top style='position:fixed;inset:0'>10 of 10"
        " points</section>"
    ),
    "<div style='background:url(http://evil.example)'>x</div><style>body{display:none}</style>",
    "</div></section></main></body></html><script>1</script>",
    (
        "<table><td style='text-align:right;position:fixed'>x</td></table><p"
        " style='text-align:right'>y</p>"
    ),
    "<noscript><p title='</noscript><img src=x onerror=1>'></noscript>",
    (
        "<template><img src=x"
        " onerror=1></template><xmp><script>1</script></xmp><plaintext><script>1</script>"
    ),
    "<details open ontoggle=window.pwned=1><summary>s</summary>t</details>",
    "<video poster=http://evil.example><source src=x onerror=1></video><audio src=x onerror=1>",
    (
        "<input autofocus onfocus=1><select onfocus=1><textarea></textarea><img src=x"
        " onerror=1></select>"
    ),
    "<b\x00><scr\x00ipt>1</script>",
    "<![CDATA[<script>1</script>]]><?php 1 ?><!--[if IE]><script>1</script><![endif]-->",
]


@pytest.mark.parametrize("html", NASTY)
def test_html_is_cleaned_in_outputs_and_in_markdown(html):
    assert_harmless(sanitise.clean_html(html))
    assert_harmless(sanitise.markdown_html(html))
    assert_harmless(
        sanitise.markdown_html(f"text {html} text\n\n| a |\n| - |\n| {html} |\n\n* {html}")
    )


def test_what_is_honest_stays():
    html = (
        "<h3>Title</h3><table><thead><tr><th>a</th></tr></thead><tbody><tr><td"
        ' colspan="2">1</td></tr></tbody></table>'
    )
    assert sanitise.clean_html(html) == html
    link = '<a href="https://example.org/x" rel="noopener noreferrer">x</a>'
    assert (
        sanitise.clean_html('<a href="https://example.org/x" rel="opener" target="_top">x</a>')
        == link
    )
    assert (
        sanitise.clean_html(
            f'<img src="data:image/png;base64,{picture()}" alt="red" onload="1">'
        ).count("base64")
        == 1
    )


@pytest.mark.parametrize(
    "markdown",
    [
        "[x](javascript:window.pwned=1)",
        "[x]: javascript:window.pwned=1\n\n[x]",
        "<javascript:window.pwned=1>",
        '![x](x"onerror="window.pwned=1)',
        '![x](http://evil.example/p.png "t\\" onerror=1")',
        "![x](attachment:none.png)",
        (
            "$\\text{<img src=x onerror=1>}$ $\\href{javascript:1}{x}$ $\\class{cv-check}{x}$"
            " $\\style{position:fixed}{x}$"
        ),
        '![$\\text{"><img src=x onerror=1>}$](x)',
        '<img alt="$x$"> <a title="$\\alpha\\text{\'}$" href="http://example.org/$x$">x</a>',
        (
            "$</code><script>1</script>$ $$</math><script>1</script>$$"
            " \\begin{x}<script>1</script>\\end{x}"
        ),
        "```html\n<script>1</script>\n```\n```mermaid\n<script>1</script>\n```\n```'\"><script>\nx\n```",
        "~~~<script>\n</pre><script>1</script>\n~~~",
        '<span class="cv-check k">x</span><div class="highlight alert">y</div>',
    ],
)
def test_markdown_is_cleaned(markdown):
    assert_harmless(sanitise.markdown_html(markdown))


def test_markdown_as_notebooks_use_it():
    html = sanitise.markdown_html(
        "# A *title*\n\n| left | right |\n|---|--:|\n| $W$ | 1 |\n\n- [x] done\n\n"
        "```python\nx = 1\n```\n\n~~no~~ `code`\n"
    )
    assert Elements(html).tags >= {"h1", "em", "table", "math", "pre", "del", "code"}
    assert 'style="text-align:right"' in html
    assert '<span class="mi">1</span>' in html


def test_attached_pictures_are_shown_only_where_they_are_pictures():
    good = {"p.png": {"image/png": picture()}}
    assert f"base64,{picture()}" in sanitise.markdown_html("![a](attachment:p.png)", good)
    script = base64.b64encode(b"<script>1</script>").decode()
    for bundle in [
        {"image/svg+xml": script},
        {"image/png": script},
        {"text/html": script},
        {"image/png": 5},
        7,
        None,
    ]:
        assert "src" not in sanitise.markdown_html("![a](attachment:p.png)", {"p.png": bundle})


def test_a_picture_that_is_left_out_is_named():
    for html in (
        '<img src="http://evil.example/x.png" alt="a > b">',
        "<img onerror=1>",
        '<img src="data:text/html,x">',
    ):
        assert sanitise.clean_html(html) == "<em>[a picture is not shown]</em>"
    assert "<em>" not in sanitise.clean_html(
        f'<img alt="a" src="data:image/png;base64,{picture()}">'
    )


# Formulas


def test_every_formula_of_the_units_converts():
    assert len(UNITS) >= 3
    for path in UNITS:
        cells = [
            cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
        ]
        formulas = sanitise.Formulas()
        for cell in cells:
            sanitise._renderer(formulas, {})(cell.source)
            assert "$" not in Elements(sanitise.markdown_html(cell.source)).text, cell.source
        assert len(formulas.found) > 20
        for tex, display in formulas.found:
            root = ElementTree.fromstring(sanitise.mathml(tex, display))
            assert "\\" not in "".join(root.itertext())


def test_a_formula_that_does_not_convert_is_shown_as_tex():
    for tex in ["\\unknown{x}", "{" * 3000, "x_a_b", "\\href{x}", "a" * 5000, "\\left(" * 900]:
        shown = Elements(sanitise.markdown_html(f"before ${tex}$ after"))
        assert "code" in shown.tags and "math" not in shown.tags
        assert tex[:40] in shown.text and "after" in shown.text


def test_formulas_keep_their_signs():
    assert "&lt;" in sanitise.formula("a < b") and "&amp;" in sanitise.formula(r"a \& b")
    assert "b" not in Elements(sanitise.formula(r"\text{<b>}")).tags


def test_nobody_can_write_what_stands_for_a_formula():
    first, second = sanitise.Formulas(), sanitise.Formulas()
    assert first.taken("x", False) != second.taken("x", False)


# Verdicts


def verdict(**changes) -> Verdict:
    """A verdict with everything a table can show."""
    given = {
        "exercise": "conv1d",
        "state": State.WRONG,
        "points": 1.5,
        "max_points": 3.0,
        "cases": (
            CaseVerdict(State.RIGHT, "conv1d(x (3,) float32)", "", 1.5),
            CaseVerdict(
                State.WRONG,
                "conv1d(<b>)",
                "output: `<img src=x onerror=1>` differs",
                0.0,
                printed="</pre><script>",
            ),
            CaseVerdict(State.TIMEOUT, "hidden case", "longer than is allowed", 0.0, hidden=True),
        ),
        "diagnosis": Hint("no stride", "What does the stride do?"),
        "fit": Fit.EXACT,
        "hints": ("first", "second"),
    }
    return Verdict(**{**given, **changes})


@pytest.mark.parametrize(
    "given",
    [
        verdict(),
        verdict(state=State.RIGHT, points=3.0, diagnosis=None, fit=None, cases=verdict().cases[:1]),
        verdict(state=State.NOT_ATTEMPTED, points=0.0, diagnosis=None, fit=None),
        verdict(state=State.GRADER_FAULT, points=0.0, diagnosis=None, fit=None),
        verdict(shortcuts=(("conv2d", "F.conv2d(x)"),), points=0.0),
    ],
)
def test_our_table_is_drawn_again_exactly(given):
    output = json.loads(json.dumps(verdict_output(given)))
    [shown] = sanitise.cell_outputs([output], is_check=True)
    assert shown.data["text/html"] == report.html(given)
    assert shown.data["text/plain"] == f"{given.points:g}"


def test_a_verdicts_html_is_never_passed_through():
    output = verdict_output(verdict())
    output.data["text/html"] = "<script>1</script>"
    [shown] = sanitise.cell_outputs([output], is_check=True)
    assert shown.data["text/html"] == report.html(verdict())
    for text in ("<script>", "<img", "conv1d(<b>"):
        assert text not in shown.data["text/html"]


def test_an_imitated_verdict_loses_what_makes_it_look_like_ours():
    forged = verdict_output(verdict(points=3.0, state=State.RIGHT))
    unmarked = {**forged, "metadata": {}}
    for outputs, is_check in [([unmarked], True), ([forged], False)]:
        shown = sanitise.cell_outputs(outputs, is_check)
        assert not any(sanitise.is_ours(output) for output in shown)
        html = "".join(output.get("data", {}).get("text/html", "") for output in shown)
        assert "cv-check" not in html and "<style" not in html
        assert any(report.MIME in output.get("text", "") for output in shown)
    assert not any(sanitise.is_ours(output) for output in sanitise.sanitised_outputs([forged]))


@pytest.mark.parametrize(
    "damage",
    [
        {"points": float("nan")},
        {"points": 4},
        {"points": "x"},
        {"max_points": float("inf")},
        {"state": "wonderful"},
        {"cases": 3},
        {"cases": [{"state": "right"}]},
        {"why": [3]},
        {"hints": None},
        {"exercise": ["a", 1]},
        {"summary": None},
    ],
)
def test_a_damaged_verdict_is_reported(damage):
    output = verdict_output(verdict())
    output.data[report.MIME] |= damage
    [shown] = sanitise.cell_outputs([output], is_check=True)
    assert "a damaged verdict is not shown" in shown.text


# Outputs


def display(**data):
    """A display with the given forms; underscores stand for slashes."""
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {key.replace("_", "/"): data[key] for key in data},
    }


def test_outputs_that_may_be_shown_stay():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "hello\n"},
        {"output_type": "stream", "name": "stderr", "text": ["a\n", "b"]},
        {
            "output_type": "error",
            "ename": "E",
            "evalue": "v",
            "traceback": ["\x1b[31mred\x1b[0m", "line"],
        },
        display(image_png=picture(), text_plain="<Figure>"),
        display(image_jpeg=picture(kind="JPEG")),
        display(text_html="<b>x</b>", text_plain="x"),
    ]
    shown = sanitise.sanitised_outputs(outputs)
    assert [output.output_type for output in shown] == [
        "stream",
        "stream",
        "error",
        *["display_data"] * 3,
    ]
    assert shown[1].text == "a\nb" and shown[2].traceback[0] == "\x1b[31mred\x1b[0m"
    assert shown[3].data == {"image/png": picture(), "text/plain": "<Figure>"}
    assert sanitise.sanitised_outputs(shown) == shown
    nbformat.validate(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=shown, id="a")])
    )


@pytest.mark.parametrize(
    "kind",
    [
        "application/javascript",
        "image/svg+xml",
        "application/vnd.jupyter.widget-view+json",
        "application/vnd.plotly.v1+json",
        "text/vnd.mermaid",
        "application/pdf",
        "text/HTML",
        "<script>1</script>",
    ],
)
def test_other_kinds_leave_a_note(kind):
    [shown, said] = sanitise.sanitised_outputs(
        [{**display(text_plain="plain"), "data": {"text/plain": "plain", kind: "x"}}]
    )
    assert shown.data == {"text/plain": "plain"}
    assert said.text == f"[not shown here: {kind}]\n"


def test_latex_and_markdown_outputs():
    [latex] = sanitise.sanitised_outputs([display(text_latex="$\\text{<script>}$")])
    assert latex.data == {"text/plain": "$\\text{<script>}$"}
    [markdown] = sanitise.sanitised_outputs(
        [display(text_markdown="**b** <script>1</script> $\\alpha$")]
    )
    assert_harmless(markdown.data["text/html"])
    assert "<code>$\\alpha$</code>" in markdown.data["text/html"]
    assert sanitise.sanitised_outputs([markdown]) == [markdown]


def test_no_metadata_of_a_learner_survives_but_a_pictures_size():
    mark, ours = report.MARK
    output = display(image_png=picture())
    output["metadata"] = {
        mark: ours,
        "image/png": {"width": "1 onerror=alert(1)", "height": 40},
        "filenames": {"image/png": "x"},
    }
    [shown] = sanitise.sanitised_outputs([output])
    assert shown.metadata == {"image/png": {"height": 40}}


def test_a_result_cannot_read_as_points():
    [shown] = sanitise.sanitised_outputs(
        [{**display(text_plain="10"), "output_type": "execute_result", "execution_count": 1}]
    )
    assert shown.output_type == "display_data"


def test_pictures_are_pictures_of_a_bearable_size():
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    wrong = [
        "<svg/>",
        "AAAA",
        "=",
        5,
        None,
        picture(kind="JPEG"),
        base64.b64encode(bomb.getvalue()).decode(),
        "é",
    ]
    for data in [*wrong, "A" * (8 * 2**20)]:
        [said] = sanitise.sanitised_outputs([display(image_png=data)])
        assert said.text == "[not shown here: image/png]\n"
    spaced = "\n".join(picture())
    assert sanitise.sanitised_outputs([display(image_png=spaced)])[0].data["image/png"] == picture()


def test_long_and_many_outputs_are_cut_visibly():
    text = sanitise.plain_text("x" * 10_000 + "\n" + "y\n" * 30_000)
    assert len(text) < sanitise.MAX_TEXT + 200
    assert "more characters" in text
    many = sanitise.sanitised_outputs([display(text_plain="x")] * 500)
    assert len(many) == sanitise.MAX_OUTPUTS + 1 and "more outputs are not shown" in many[-1].text
    big = [display(text_html="<p>" + "x" * 190_000 + "</p>")] * 49
    assert sum(map(sanitise._length, sanitise.sanitised_outputs(big))) < sanitise.MAX_ROOM + 10_000


def test_text_is_what_a_terminal_would_leave():
    assert sanitise.plain_text("10%\r50%\r100%\nnext\r\nlast") == "100%\nnext\nlast"
    assert sanitise.plain_text("a\x00b\ud800c\u202ed\x08") == "a�b�c�d�"
    sanitise.plain_text("\ud800").encode("utf-8")


@pytest.mark.parametrize(
    "output", [None, 3, "x", [], {}, {"output_type": "stream", "text": 3}, {"output_type": 5}]
)
def test_an_output_that_is_none_is_named(output):
    [said] = sanitise.sanitised_outputs([output])
    assert "is not shown" in said.text


@pytest.mark.parametrize(
    "output",
    [
        {"output_type": "display_data"},
        {"output_type": "display_data", "data": 3},
        {
            "output_type": "display_data",
            "data": {"text/plain": {"a": 1}, "text/html": 3, "image/png": []},
        },
        {"output_type": "error"},
        {"output_type": "error", "ename": 3, "evalue": None, "traceback": [1, None, "x"]},
        {"output_type": "error", "traceback": 3},
        {"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": 3},
        {
            "output_type": "display_data",
            "data": {"image/png": picture()},
            "metadata": {"image/png": 3},
        },
    ],
)
def test_damaged_outputs_end_nothing(output):
    shown = sanitise.sanitised_outputs([output])
    assert shown
    nbformat.validate(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=shown, id="a")])
    )


# Time


@pytest.mark.parametrize(
    "text",
    [
        "<div>" * 39_999,
        "<li><ul>" * 20_000,
        "<a href=http://x>" * 10_000,
        "<p>" * 60_000,
        "&" * 199_999,
        "[" * 20_000,
        "*a " * 7_000,
        "> " * 9_000,
        "- " * 9_000,
        "$" * 20_000,
        "$a" * 9_000,
        "`a" * 9_000,
        "\\begin{a}" * 2_000,
        "[![](" * 4_000,
        "|a" * 9_000 + "\n" + "|-" * 1_000,
        "\\[" * 9_000,
        "\\sqrt" * 400,
    ],
)
def test_no_text_takes_long(text, patience):
    before = time.perf_counter()
    assert_harmless(sanitise.markdown_html(text))
    sanitise.sanitised_outputs([display(text_html=text, text_markdown=text, text_plain=text)])
    sanitise.highlighted(text)
    assert time.perf_counter() - before < patience(6)


# Notebooks


def cell(source="x = 1", **given):
    """A code cell as JSON."""
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {},
        "outputs": [],
        "execution_count": 1,
        "id": "a",
    } | given


def test_a_notebooks_metadata_are_dropped_but_for_nbgraders():
    flags = {
        "grade_id": "check_f",
        "grade": True,
        "solution": False,
        "locked": True,
        "points": 3,
        "score": 99,
        "comment": "<b>",
    }
    notebook = {
        "cells": [
            cell(
                metadata={
                    "nbgrader": flags,
                    "tags": ["<script>"],
                    "jupyter": {"source_hidden": True},
                },
                id='"><script>',
            ),
            cell(metadata={"nbgrader": {**flags, "grade_id": '"><script>'}}),
            cell(metadata={"nbgrader": flags}),
            cell(
                metadata={
                    "nbgrader": {**flags, "grade_id": "f", "points": float("nan"), "grade": "yes"}
                }
            ),
            cell(metadata=5, outputs=[], source=["a\n", "b"]),
        ],
        "metadata": {
            "title": "<script>",
            "authors": [{"name": "<script>"}],
            "widgets": {"x": 1},
            "kernelspec": {"name": "x"},
        },
    }
    clean = sanitise.sanitised_notebook(notebook)
    assert clean.metadata == {"language_info": {"name": "python"}}
    first, forged, copied, odd, broken = clean.cells
    assert first.metadata == {
        "nbgrader": {
            **{name: flags[name] for name in ("grade_id", "grade", "solution", "locked", "points")},
            "task": False,
            "schema_version": 3,
        }
    }
    assert forged.metadata == copied.metadata == broken.metadata == {}
    assert (odd.metadata.nbgrader.points, odd.metadata.nbgrader.grade) == (0, False)
    assert "script" not in first.id and broken.source == "a\nb"


def test_raw_and_unknown_cells_are_shown_as_text():
    for kind in ("raw", "wizardry", None):
        source = "<script>1</script>\n```\n````\n# x"
        [shown] = sanitise.sanitised_notebook({"cells": [cell(source, cell_type=kind)]}).cells
        html = sanitise.markdown_html(shown.source)
        assert Elements(html).tags == {"pre", "code"}
        assert Elements(html).text.strip() == source


def test_sources_are_cut_and_escaped():
    html = sanitise.highlighted(
        "'</script></pre><img src=x onerror=1>'\n%%javascript\n" + "x" * 100_000
    )
    assert Elements(html).tags == {"div", "pre", "span"}
    assert len(html) < 60_000
    [long] = sanitise.sanitised_notebook({"cells": [cell("x = 1\n" * 20_000)]}).cells
    assert (
        len(long.source) < sanitise.MAX_SOURCE + 100
        and "more characters are not shown" in long.source
    )
