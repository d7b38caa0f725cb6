"""Looking for what acts in a page: scripts, handlers, and addresses that run or load something."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from .attack import MARK

ADDRESSES = {
    "href",
    "src",
    "srcdoc",
    "action",
    "formaction",
    "data",
    "content",
    "xlink:href",
    "style",
    "background",
}
ACTING = {"iframe", "object", "embed", "form", "base", "link", "svg"}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Acting(HTMLParser):
    """Collects what acts and bears the attacks' mark."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that acts, or an attribute that does."""
        self.inside = tag if tag in ("script", "style") else ""
        for name, value in attrs:
            if MARK in (value or "") and (
                name.startswith("on") or name in ADDRESSES or tag in ACTING
            ):
                self.found.append(f"<{tag} {name}={value!r}>")

    def handle_endtag(self, tag: str) -> None:
        """The end of a script."""
        self.inside = ""

    def handle_data(self, data: str) -> None:
        """Text, which acts inside a script."""
        if self.inside and MARK in data:
            self.found.append(f"<{self.inside}>{data[:80]}")


def acting(page: str) -> list[str]:
    """What an attack has put into a page that acts."""
    parser = Acting()
    parser.feed(page)
    return parser.found


def acting_outputs(notebook_text: str) -> list[str]:
    """The same in the HTML that a graded notebook holds in its outputs."""
    outputs = [
        output for cell in json.loads(notebook_text)["cells"] for output in cell.get("outputs", [])
    ]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    pages = ["".join(output["data"].get("text/html", "")) for output in outputs if "data" in output]
    scripts = [kind for kind in kinds if "javascript" in kind or "svg" in kind]
    return scripts + [found for page in pages for found in acting(page)]
