"""What a learner wrote, made safe to show beside grades.

Nothing that comes out of here runs, loads from anywhere, leaves its place on the page, or passes
for a verdict. HTML is cleaned by nh3 and loses classes, ids and styles; formulas become MathML, so
that no page needs a script for them.

A verdict counts as ours on two conditions: its output's metadata hold `report.MARK`, which only
`graded_notebook.verdict_output` and nbgrader's host-side steps set (`sanitised_outputs` keeps no
metadata that a learner could write), and it stands in a check cell. Even then its HTML is not
believed: the table is drawn again from the data.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from functools import cache, lru_cache
from html import escape, unescape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from autograder.cells import CHECK
from autograder.checking import report
from autograder.checking.verdict import State

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_TEXT = 20_000  # characters of one text: an output, a markdown cell
MAX_SOURCE = 50_000  # characters of one code cell
MAX_LINE = 2_000
MAX_HTML = 200_000
MAX_FORMULA = 2_000
MAX_DEPTH = 60  # elements inside each other
MAX_OPEN = 2_000  # tags that are never closed: a parser takes quadratic time for them
MAX_IMAGE = 4 * 2**20  # bytes
MAX_PIXELS = 25_000_000  # a few hundred kilobytes can hold a picture that no browser survives
MAX_OUTPUTS = 50  # of one cell
MAX_ROOM = 8 * 2**20  # characters of all outputs of one cell
MAX_PAGE = 32 * 2**20  # and of a notebook
MAX_ROWS = 500

IMAGES = {"image/png": "PNG", "image/jpeg": "JPEG"}
SAFE_ID = re.compile(r"[\w.+-]{1,100}\Z", re.ASCII)
# Lone surrogates cannot be written; control characters do unseen things; a page has its own reading
# direction.
UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)


class Unshowable(ValueError):
    """Something that is left out of a page; the message says why."""


# Text


def text_of(value: object) -> str:
    """A notebook's text, which may come as a list of lines. Raises Unshowable for anything else."""
    if isinstance(value, list | tuple) and all(isinstance(line, str) for line in value):
        value = "".join(value)
    if not isinstance(value, str):
        raise Unshowable("not a text")
    return value


def plain_text(value: object, longest: int = MAX_TEXT) -> str:
    """Text as a terminal would leave it, without unseen characters and visibly cut if too long.

    longest: in characters. Raises Unshowable for what is no text.
    """
    text = text_of(value)
    lines = UNSEEN.sub("�", text[:longest].replace("\r\n", "\n")).split("\n")
    shown = "\n".join(_shortened(line.rstrip("\r").rsplit("\r", 1)[-1]) for line in lines)
    if len(text) > longest:
        return f"{shown}\n… {len(text) - longest:,} more characters are not shown"
    return shown


def _shortened(line: str) -> str:
    if len(line) <= MAX_LINE:
        return line
    return f"{line[:MAX_LINE]} … {len(line) - MAX_LINE:,} more characters"


# HTML


def _words(text: str) -> set[str]:
    return set(text.split())


TAGS = _words("""
    a abbr b blockquote br caption code col colgroup dd del details div dl dt em figcaption
    figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub
    summary sup table tbody td tfoot th thead tr u ul var wbr
""")
DROPPED_WITH_CONTENT = _words("""
    script style title textarea select iframe object svg math template
""")
CELL_ATTRIBUTES = {"colspan", "rowspan", "style"}
ATTRIBUTES = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
}
ATTRIBUTES |= {"td": CELL_ATTRIBUTES, "th": CELL_ATTRIBUTES, "abbr": {"title"}}
LINK = re.compile(r"(https?://|mailto:)", re.IGNORECASE)
NUMBERS = {"width": 4000, "height": 4000, "colspan": 100, "rowspan": 100, "start": 10**6}
# How markdown aligns a table's columns.
ALIGNMENT = re.compile(r"text-align:\s*(left|center|right)\Z")
DATA_IMAGE = re.compile(r"data:(image/(?:png|jpeg));base64,", re.IGNORECASE)
# In cleaned HTML, where attributes hold no ">".
NO_PICTURE = re.compile(r"<img(?![^>]* src=)[^>]*>")
VOID = {"br", "col", "hr", "img", "wbr"}
CLOSES_ITSELF = {"p", "li", "td", "th", "tr", "dt", "dd", "option"}
TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)", re.IGNORECASE)


def clean_html(html: object) -> str:
    """A learner's HTML with its text, tables, links and embedded pictures.

    Nothing is left that acts or poses as ours. Raises Unshowable for what is too long or nested
    too deeply.
    """
    return _clean(text_of(html), _as_it_is, frozenset())


def _as_it_is(text: str) -> str:
    return text


def _clean(html: str, restored: Callable[[str], str], classes: Set[str]) -> str:
    """restored: what gives an attribute its own text back. classes: of coloured code, if any."""
    import nh3

    def attribute(tag: str, name: str, value: str) -> str | None:
        return _attribute(tag, name, restored(value))

    if len(html) > MAX_HTML:
        raise Unshowable(f"{len(html):,} characters, more than {MAX_HTML:,}")
    if left_open(html) > MAX_OPEN:
        raise Unshowable("tags that are never closed")
    cleaned = nh3.clean(
        UNSEEN.sub("�", html),
        tags=TAGS,
        clean_content_tags=DROPPED_WITH_CONTENT,
        attributes=ATTRIBUTES,
        attribute_filter=attribute,
        allowed_classes={"span": set(classes), "div": {"highlight"}} if classes else {},
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
    )
    if depth(cleaned) > MAX_DEPTH:
        raise Unshowable(f"more than {MAX_DEPTH} elements inside each other")
    return NO_PICTURE.sub("<em>[a picture is not shown]</em>", cleaned)


def _attribute(tag: str, name: str, value: str) -> str | None:
    """The value that an attribute may have; None to drop it."""
    if name in ("class", "rel"):  # nh3's own lists decide
        return value
    if name in NUMBERS:
        is_number = value.isdecimal() and value.isascii()
        return value if is_number and int(value[:9]) <= NUMBERS[name] else None
    if name == "style":
        return value if ALIGNMENT.match(value) else None
    if name == "href":
        return value if LINK.match(value) else None
    if name == "src":
        return _picture(value)
    return value


def _picture(source: str) -> str | None:
    """The address of an embedded picture; None for any other."""
    kind = DATA_IMAGE.match(source)
    if kind is None:
        return None
    try:
        return f"{kind[0]}{checked_image(kind[1].lower(), source[kind.end() :])}"
    except Unshowable:
        return None


def left_open(html: str) -> int:
    """How many tags of any HTML are never closed, before it is parsed."""
    open_tags: Counter[str] = Counter()
    for closes, tag in TAG.findall(html):
        tag = tag.lower()
        if tag not in VOID | CLOSES_ITSELF:
            open_tags[tag] = max(0, open_tags[tag] - 1) if closes else open_tags[tag] + 1
    return open_tags.total()


def depth(html: str) -> int:
    """How many elements of cleaned HTML stand inside each other at most."""
    deepest = here = 0
    for closes, tag in TAG.findall(html):
        if tag not in VOID:
            here += -1 if closes else 1
            deepest = max(deepest, here)
    return deepest


def checked_image(kind: str, data: object) -> str:
    """An image's base64 text. Raises Unshowable for another kind, and for what is too large."""
    from PIL import Image

    text = text_of(data)
    if len(text) > MAX_IMAGE * 3 // 2:
        raise Unshowable(f"larger than {MAX_IMAGE / 2**20:g} MiB")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=[IMAGES[kind]]) as image:
                width, height = image.size
    except (
        binascii.Error,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise Unshowable("not an image") from error
    if len(content) > MAX_IMAGE or width * height > MAX_PIXELS:
        raise Unshowable(f"{width} x {height} pixels, {len(content):,} bytes: too large")
    return base64.b64encode(content).decode()


# Formulas

MATH_TAGS = _words("""
    math mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle msub msup msubsup munder mover
    munderover mtable mtr mtd menclose mphantom mmultiscripts mprescripts none
""")
MATH_ATTRIBUTES = _words("""
    accent accentunder columnalign columnlines display displaystyle fence form largeop
    linethickness lspace mathcolor mathvariant maxsize minsize movablelimits notation rowspacing
    rspace scriptlevel separator stretchy symmetric width xmlns
""")


def formula(tex: str, display: bool = False) -> str:
    """A formula as MathML; as TeX in a code element where it does not convert."""
    try:
        return mathml(tex, display)
    except Unshowable:
        mark = "$$" if display else "$"
        return f"<code>{escape(mark + plain_text(tex) + mark, quote=False)}</code>"


@lru_cache(maxsize=2048)
def mathml(tex: str, display: bool) -> str:
    """A formula as MathML of known elements and attributes. Raises Unshowable if it is none."""
    from latex2mathml.converter import convert_to_element

    if len(tex) > MAX_FORMULA or UNSEEN.search(tex):
        raise Unshowable("too long")
    try:
        root = convert_to_element(tex.strip(), display="block" if display else "inline")
        for element in root.iter():
            _check_math(element)
        return ElementTree.tostring(root, encoding="unicode")
    except Unshowable:
        raise
    except Exception as error:  # the converter raises whatever it stumbles on, RecursionError too
        raise Unshowable("not a formula") from error


def _check_math(element: ElementTree.Element) -> None:
    """Keep what is known of an element. Raises Unshowable for another, or a command left over."""
    text = unescape(element.text or "")  # the converter writes its signs as references
    is_command = text.startswith("\\") and len(text) > 1 and element.tag != "mtext"
    if element.tag not in MATH_TAGS or is_command:
        raise Unshowable(f"no MathML for {element.tag} {text}")
    element.text, element.tail = text, unescape(element.tail or "")
    element.attrib = {
        name: value[:60] for name, value in element.attrib.items() if name in MATH_ATTRIBUTES
    }


# Markdown


def markdown_html(source: object, attachments: object = None) -> str:
    """Markdown as safe HTML, formulas as MathML, attached pictures embedded.

    What cannot be shown so is text.
    """
    text = plain_source(source, MAX_TEXT)
    formulas = Formulas()
    try:
        html = _renderer(formulas, attachments if isinstance(attachments, Mapping) else {})(text)
        return formulas.filled(_clean(html, formulas.as_tex, code_classes()))
    except (Unshowable, RecursionError):
        return f"<pre>{escape(text, quote=False)}</pre>"


class Formulas:
    """Formulas taken out of a text while its HTML is cleaned.

    Nobody can guess what stands for them.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, bool]] = []
        self.mark = f"formula{secrets.token_hex(8)}n"
        self.pattern = re.compile(rf"{self.mark}(\d{{1,6}})e")

    def taken(self, tex: str, display: bool) -> str:
        """Keep a formula; returns what stands for it."""
        self.found.append((tex, display))
        return f"{self.mark}{len(self.found) - 1}e"

    def as_tex(self, text: str) -> str:
        """Formulas written as TeX, as in a picture's description."""
        return self.pattern.sub(lambda match: f"${self.found[int(match[1])][0]}$", text)

    def filled(self, html: str) -> str:
        """Formulas written as MathML, in HTML that holds none in an attribute."""
        return self.pattern.sub(lambda match: formula(*self.found[int(match[1])]), html)


def _renderer(formulas: Formulas, attachments: Mapping[str, Any]) -> Callable[[str], str]:
    """nbconvert's markdown, as notebooks show it, but for formulas, pictures and diagrams."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def block_math(self, body: str) -> str:
            return formulas.taken(body, True)

        def inline_math(self, body: str) -> str:
            return formulas.taken(body, False)

        def latex_environment(self, name: str, body: str) -> str:
            return formulas.taken(f"\\begin{{{name}}}{body}\\end{{{name}}}", True)

        def block_mermaidjs(self, code: str) -> str:
            return f"<pre>{escape(code, quote=False)}</pre>"

        def _embed_image_or_attachment(self, src: str) -> str:
            if src.startswith("attachment:"):
                return attached(src.removeprefix("attachment:"), attachments)
            return src

    return MarkdownWithMath(renderer=Renderer(escape=False, exclude_anchor_links=True)).render


def attached(name: str, attachments: Mapping[str, Any]) -> str:
    """An attached picture as a data URI; empty where there is none that can be shown."""
    bundle = attachments.get(name)
    for kind in IMAGES:
        if isinstance(bundle, Mapping) and kind in bundle:
            try:
                return f"data:{kind};base64,{checked_image(kind, bundle[kind])}"
            except Unshowable:
                return ""
    return ""


def plain_source(value: object, longest: int = MAX_SOURCE) -> str:
    """A cell's source without unseen characters, cut where it is too long."""
    text = text_of(value)
    shown = UNSEEN.sub("�", text[:longest])
    if len(text) > longest:
        return f"{shown}\n\n… {len(text) - longest:,} more characters are not shown"
    return shown


def highlighted(source: object) -> str:
    """Python source as coloured, escaped HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return highlight(
        plain_text(source, MAX_SOURCE),
        get_lexer_by_name("ipython3"),
        HtmlFormatter(cssclass="highlight"),
    )


@cache
def code_classes() -> frozenset[str]:
    """The classes that Pygments colours code with."""
    from pygments.token import STANDARD_TYPES

    return frozenset(filter(None, STANDARD_TYPES.values()))


# Outputs


def sanitised_outputs(outputs: Iterable[Mapping[str, Any]]) -> list[NotebookNode]:
    """A learner's outputs as safe nbformat outputs: cleaned, cut, and a note for the rest.

    A result becomes a display, so that nothing a learner's code returns reads as points. Cleaning
    twice is harmless.
    """
    from nbformat.v4 import new_output

    kept, room = [], MAX_ROOM
    for number, output in enumerate(outputs):
        if number == MAX_OUTPUTS:
            kept.append(note("more outputs are not shown"))
            break
        try:
            shown = [new_output(**clean) for clean in _sanitised(output)]
        except Unshowable as why:
            shown = [note(f"an output is not shown: {why}")]
        room -= sum(_length(one) for one in shown)
        if room < 0:
            shown = [note("an output is not shown: this cell has too much of it")]
        kept += shown
    return kept


def note(words: str) -> NotebookNode:
    """A line of our own among a learner's outputs."""
    from nbformat.v4 import new_output

    return new_output("stream", name="stdout", text=f"[{words}]\n")


def _length(output: Mapping[str, Any]) -> int:
    """Characters that a sanitised output brings to the page."""
    return sum(len(value) for value in [*output.get("data", {}).values(), output.get("text", "")])


def _sanitised(output: object) -> list[dict[str, Any]]:
    """What stands for one output. Raises Unshowable."""
    if not isinstance(output, Mapping):
        raise Unshowable("of an unknown kind")
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return [{"output_type": "stream", "name": name, "text": plain_text(output.get("text", ""))}]
    if kind == "error":
        return [_sanitised_error(output)]
    if kind in ("display_data", "execute_result"):
        return _sanitised_data(output.get("data"), output.get("metadata"))
    raise Unshowable("of an unknown kind")


def _sanitised_error(output: Mapping[str, Any]) -> dict[str, Any]:
    given = output.get("traceback")
    lines = [given] if isinstance(given, str) else given
    if not isinstance(lines, list | tuple):
        lines = []
    text = plain_text("\n".join(line for line in lines if isinstance(line, str)))
    name, words = (plain_text(str(output.get(part, "")), 500) for part in ("ename", "evalue"))
    return {"output_type": "error", "ename": name, "evalue": words, "traceback": text.split("\n")}


def _sanitised_data(data: object, metadata: object) -> list[dict[str, Any]]:
    """A display's safe forms, and a note that names the others."""
    if not isinstance(data, Mapping):
        raise Unshowable("without data")
    shown: dict[str, str] = {}
    left_out: list[str] = []
    for kind, (target, clean) in SHOWN.items():
        if kind not in data or target in shown:
            continue
        try:
            shown[target] = clean(data[kind])
        except Unshowable:
            left_out.append(kind)
    left_out += [kind for kind in data if kind not in SHOWN]
    outputs = [_display(shown, metadata)] if shown else []
    if left_out:
        names = ", ".join(plain_text(kind[:80]) for kind in left_out[:10])
        words = f"[not shown here: {names}]\n"
        outputs.append({"output_type": "stream", "name": "stdout", "text": words})
    return outputs


def _display(data: dict[str, str], metadata: object) -> dict[str, Any]:
    """A display, with a picture's size and no other metadata."""
    sizes = {}
    for kind in IMAGES.keys() & data.keys():
        given = metadata.get(kind) if isinstance(metadata, Mapping) else None
        size = _size(given) if isinstance(given, Mapping) else {}
        if size:
            sizes[kind] = size
    return {"output_type": "display_data", "data": data, "metadata": sizes}


def _size(given: Mapping[str, Any]) -> dict[str, int]:
    """A picture's width and height in pixels, where they are such numbers."""
    numbers = {name: given.get(name) for name in ("width", "height")}
    return {
        name: number
        for name, number in numbers.items()
        if type(number) is int and 0 < number <= NUMBERS[name]
    }


def _something(html: str) -> str:
    if not html.strip():
        raise Unshowable("nothing was left of it")
    return html


# How each kind is cleaned, and as what it is shown, the best form of a thing first. Formulas in an
# output stay TeX: HTML that is cleaned again keeps no MathML.
SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "text/html": ("text/html", lambda value: _something(clean_html(value))),
    "text/markdown": ("text/html", lambda value: _something(clean_html(_tex_markdown(value)))),
    "image/png": ("image/png", lambda value: checked_image("image/png", value)),
    "image/jpeg": ("image/jpeg", lambda value: checked_image("image/jpeg", value)),
    "text/plain": ("text/plain", plain_text),
    "text/latex": ("text/plain", plain_text),
}


def _tex_markdown(source: object) -> str:
    formulas = Formulas()
    try:
        html = _renderer(formulas, {})(plain_source(source, MAX_TEXT))
    except RecursionError as error:
        raise Unshowable("nested too deeply") from error
    return formulas.pattern.sub(
        lambda match: f"<code>{escape(formulas.as_tex(match[0]))}</code>", html
    )


# Verdicts


def is_ours(output: object) -> bool:
    """Whether an output is marked as a verdict of ours."""
    mark, ours = report.MARK
    metadata = output.get("metadata") if isinstance(output, Mapping) else None
    return isinstance(metadata, Mapping) and metadata.get(mark) == ours


def redrawn(output: Mapping[str, Any]) -> NotebookNode:
    """A verdict of ours, its table drawn again from its data.

    Raises Unshowable where those are damaged.
    """
    from nbformat.v4 import new_output

    try:
        data = verdict_data(output["data"][report.MIME])
    except (KeyError, TypeError, ValueError) as error:
        raise Unshowable("a damaged verdict") from error
    mark, ours = report.MARK
    shown = {"text/html": report.html_of(data), "text/plain": f"{data['points']:g}"}
    return new_output("display_data", data=shown, metadata={mark: ours})


def verdict_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """What `report.as_data` gave, with nothing else in it.

    Raises KeyError, TypeError or ValueError for other data.
    """
    points, max_points = float(data["points"]), float(data["max_points"])
    if not (math.isfinite(max_points) and 0 <= points <= max_points):
        raise ValueError("points outside their range")
    return {
        "exercise": plain_text(data["exercise"], 100),
        "state": str(State(data["state"])),
        "points": points,
        "max_points": max_points,
        "summary": plain_text(data["summary"], 200),
        "why": [plain_text(sentence, MAX_LINE) for sentence in data["why"][:10]],
        "hints": [plain_text(hint, MAX_LINE) for hint in data["hints"][:10]],
        "cases": [_case_data(case) for case in data["cases"][:MAX_ROWS]],
    }


def _case_data(case: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: plain_text(case[name], 1000) for name in ("title", "message", "printed")}
    return {"state": str(State(case["state"])), **texts}


# Notebooks


def sanitised_notebook(notebook: Mapping[str, Any]) -> NotebookNode:
    """A graded notebook that is safe to show.

    Its sources are cut and its outputs cleaned; of its metadata nbgrader's alone are left.
    """
    from nbformat.v4 import new_notebook

    cells, names, room = [], set(), MAX_PAGE
    for cell in notebook["cells"]:
        clean = sanitised_cell(cell)
        name = clean.metadata.get("nbgrader", {}).get("grade_id")
        if name in names:
            del clean.metadata["nbgrader"]  # a copy: ids on a page are given once
        names |= {name} - {None}
        room -= sum(_length(output) for output in clean.get("outputs", []))
        if room < 0 and clean.get("outputs"):
            ours = [output for output in clean.outputs if is_ours(output)]
            clean.outputs = [*ours, note("too much to show")]
        cells.append(clean)
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


def sanitised_cell(cell: Mapping[str, Any]) -> NotebookNode:
    """A cell with its source cut, its outputs cleaned, and nbgrader's metadata alone."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    flags = sanitised_flags(cell.get("metadata"))
    metadata = {"nbgrader": flags} if flags else {}
    source = plain_source(cell.get("source", ""))
    if cell.get("cell_type") == "code":
        is_check = flags.get("grade_id", "").startswith(CHECK)
        outputs = cell_outputs(cell.get("outputs", []), is_check)
        made = new_code_cell(source, outputs=outputs, metadata=metadata)
    elif cell.get("cell_type") == "markdown":
        made = new_markdown_cell(source, metadata=metadata)
        if isinstance(cell.get("attachments"), Mapping):
            made.attachments = cell["attachments"]  # checked where they are shown
    else:
        made = new_markdown_cell(fenced(source), metadata=metadata)
    return made  # under an id of its own: a learner's may be anything, and twice there


def cell_outputs(outputs: Iterable[Mapping[str, Any]], is_check: bool) -> list[NotebookNode]:
    """A cell's outputs: our verdicts drawn again, where they belong, and all else cleaned."""
    shown, theirs = [], []
    for output in outputs:
        if not (is_check and is_ours(output)):
            theirs.append(output)
            continue
        try:
            shown.append(redrawn(output))
        except Unshowable as why:
            shown.append(note(f"{why} is not shown"))
    return shown + sanitised_outputs(theirs)


def sanitised_flags(metadata: object) -> dict[str, Any]:
    """nbgrader's metadata of a cell, checked; empty where it has none that make sense."""
    given = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
    if not isinstance(given, Mapping) or not SAFE_ID.match(str(given.get("grade_id", ""))):
        return {}
    flags = {name: given.get(name) is True for name in ("grade", "solution", "task", "locked")}
    points = given.get("points", 0)
    is_number = type(points) in (int, float) and math.isfinite(points)
    return {
        **flags,
        "grade_id": given["grade_id"],
        "points": points if is_number else 0,
        "schema_version": 3,
    }


def fenced(source: str) -> str:
    """Any text as a markdown code block."""
    longest = max((len(run) for run in re.findall(r"`+", source)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{source}\n{fence}"
