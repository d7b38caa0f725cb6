"""Tables in a notebook: as HTML, whose columns do not wrap inside a number, and as plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

STYLE = (
    "border-collapse:collapse;font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);"
    "margin:4px 0"
)
UNIT = re.compile(r"\s*(%|ms|s|min)$")
LINE = "border-bottom:1px solid var(--jp-border-color2,#9995)"


class Table:
    """A small table. As a cell's last line, or given to `display`, it shows itself.

    headings: one per column. rows: texts or numbers, as many per row as there are columns; numbers
    stand to the right. caption: what the table shows. Raises ValueError for a row of another
    length.
    """

    def __init__(
        self, headings: Sequence[str], rows: Sequence[Sequence[object]], caption: str = ""
    ):
        self.headings = [str(heading) for heading in headings]
        self.rows = [[str(item) for item in row] for row in rows]
        self.caption = caption
        for row in self.rows:
            if len(row) != len(self.headings):
                raise ValueError(
                    f"A row has {len(row)} items, and the table has {len(self.headings)} columns."
                )
        columns = range(len(self.headings))
        self.is_right = [all(is_number(row[column]) for row in self.rows) for column in columns]

    def __repr__(self) -> str:
        lines = [self.headings, *self.rows]
        columns = range(len(self.headings))
        widths = [max(len(line[column]) for line in lines) for column in columns]
        texts = [self._line(line, widths) for line in lines]
        return "\n".join([self.caption, *texts] if self.caption else texts)

    def _line(self, line: Sequence[str], widths: Sequence[int]) -> str:
        cells = [
            item.rjust(width) if is_right else item.ljust(width)
            for item, width, is_right in zip(line, widths, self.is_right, strict=True)
        ]
        return "  ".join(cells).rstrip()

    def _repr_html_(self) -> str:
        head = "".join(self._cell("th", item, column) for column, item in enumerate(self.headings))
        rows = [
            "".join(self._cell("td", item, column) for column, item in enumerate(row))
            for row in self.rows
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = f"<thead><tr>{head}</tr></thead>"
        return f'<table style="{STYLE}">{caption}{head}<tbody>{body}</tbody></table>'

    def _cell(self, tag: str, text: str, column: int) -> str:
        side = "right" if self.is_right[column] else "left"
        style = f"text-align:{side};padding:2px 12px;white-space:nowrap;{LINE}"
        return f'<{tag} style="{style}">{escape(text)}</{tag}>'


def is_number(text: str) -> bool:
    """Whether a text is a number, with thousands separated, per cent or a unit of time behind it,
    or a dash."""
    plain = UNIT.sub("", text.replace(",", "")).strip()
    if plain in ("", "-", "–"):
        return True
    try:
        float(plain)
    except ValueError:
        return False
    return True
