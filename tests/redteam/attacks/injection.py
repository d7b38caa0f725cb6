"""Script in every place that feedback, the class report or a terminal shows."""

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from ..attack import ALL, POINTS, WITHOUT_SUM, Attack, Target

HEADING = "injection"
SCRIPT = "<script>pwned()</script>"
IMAGE = "<img src=x onerror=pwned()>"
EVERYTHING = (
    f"{SCRIPT}{IMAGE}<svg onload=pwned()><a href='javascript:pwned()'>x</a><iframe"
    f" srcdoc='{SCRIPT}'></iframe>"
)

MARKDOWN = f"""{EVERYTHING}

[link](javascript:pwned()) ![picture](javascript:pwned()) <form action=javascript:pwned()><button>go</button></form>
<meta http-equiv=refresh content="0;url=javascript:pwned()"><base href="https://pwned.example/">
<style>.cv-check{{background:url(https://pwned.example/)}}</style>

$$\\href{{javascript:pwned()}}{{x}} \\text{{{SCRIPT}}} \\style{{background:url(javascript:pwned())}}{{y}}$$
"""
OUTPUTS = f"""
from IPython.display import HTML, Javascript, Latex, Markdown, SVG, display
page = {EVERYTHING!r}
display(HTML(page), Markdown(page), Latex("$" + page + "$"))
display(Javascript("pwned()"))
display({{"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg' onload='pwned()'><script>pwned()</script></svg>"}},
        raw=True)
display({{"application/javascript": "pwned()", "text/html": page, "image/png": "x' onerror='pwned()",
         "application/vnd.jupyter.widget-view+json": page, page: page}}, raw=True)
print(page)
import sys
print(page, file=sys.stderr)
"""
EXCEPTION = f"""
page = {EVERYTHING!r}
raise type(page, (Exception,), {{}})(page)
"""
CALL = f"""
class Named(int):
    def __repr__(self): return {EVERYTHING!r}

def moving_sum(signal, width=Named(2)):
    print({EVERYTHING!r})
    raise ValueError({EVERYTHING!r})  # {EVERYTHING}
"""
TYPE = f"""
def moving_sum(signal, width=2):
    return type({SCRIPT!r}, (), {{}})()
"""
SHORTCUT_LINE = f"""
def moving_sum(signal, width=2):
    return signal.unfold(0, width, 1).sum(1)  # `{SCRIPT}` ${SCRIPT}$ {IMAGE}
"""
REACHING = f"""
import os
os._exit  # {SCRIPT} {IMAGE} \x1b]0;pwned\x07\x1b[2J\x1b[31m
"""
TERMINAL = """
print("\\x1b]0;pwned\\x07\\x1b[2J\\x1b[?1049h\\x9b31m \\u202egpj.exe\\u202c \\x00 \\ud800")
raise ValueError("\\x1b]0;pwned\\x07\\x1b[2J")
"""
POSING = """
from IPython.display import HTML
HTML('''<section class="cv-check right" style="position:fixed;inset:0"><header><b>moving_sum</b><i>right</i>
<span>3 of 3 points pwned</span></header></section>''')
"""


def in_file(notebook: NotebookNode) -> NotebookNode:
    """Script in metadata, ids, attachments, and in outputs and cells as they are handed in."""
    markdown = new_markdown_cell(MARKDOWN, metadata={"collapsed": SCRIPT})
    markdown["attachments"] = {SCRIPT: {"image/svg+xml": SCRIPT}}
    shown = new_output(
        "display_data", data={"text/html": EVERYTHING}, metadata={"cvcourse": "verdict"}
    )
    code = new_code_cell(
        f"# {SCRIPT}\n1", metadata={"tags": [SCRIPT], "language": SCRIPT}, outputs=[shown]
    )
    code["id"] = 'x" onclick=pwned() x="'
    notebook.cells += [markdown, code]
    notebook.metadata["kernelspec"] = {"name": SCRIPT, "display_name": SCRIPT}
    notebook.metadata["language_info"] = {
        "name": SCRIPT,
        "pygments_lexer": SCRIPT,
        "codemirror_mode": SCRIPT,
    }
    notebook.metadata["title"] = notebook.metadata["authors"] = SCRIPT
    return notebook


def file_names(folder: Path, target: Target) -> None:
    """Names of files that are script, and what a terminal would obey."""
    for name in (
        "<img src=x onerror=pwned()>",
        "`$x$` **pwned**",
        "\x1b]0;pwned\x07",
        "a\nb",
        "\u202egpj",
    ):
        (folder / name).write_text("x")


ATTACKS = [
    Attack(
        HEADING,
        "in markdown",
        edit=lambda book: book.cells.append(new_markdown_cell(MARKDOWN)) or book,
        earns=ALL,
    ),
    Attack(HEADING, "in every kind of output", last=(OUTPUTS,), earns=ALL),
    Attack(HEADING, "in an exception's type and words", last=(EXCEPTION,), earns=ALL),
    Attack(
        HEADING,
        "in a call, its words and its line",
        WITHOUT_SUM,
        {"moving_sum": CALL},
        earns=WITHOUT_SUM,
    ),
    Attack(
        HEADING, "in the type of a result", WITHOUT_SUM, {"moving_sum": TYPE}, earns=WITHOUT_SUM
    ),
    Attack(
        HEADING,
        "in the line of a shortcut",
        WITHOUT_SUM,
        {"moving_sum": SHORTCUT_LINE},
        earns=WITHOUT_SUM,
    ),
    Attack(HEADING, "in a line that is shown as evidence", last=(REACHING,), evidence="os._exit"),
    Attack(HEADING, "in metadata, ids, attachments and stored outputs", edit=in_file, earns=ALL),
    Attack(HEADING, "in names of files that come along", plant=file_names, earns=ALL, stock=False),
    Attack(HEADING, "orders to a terminal", last=(TERMINAL,), earns=ALL),
    Attack(HEADING, "a picture of a verdict", 0, dict.fromkeys(POINTS), (), (POSING,), earns=0),
]
