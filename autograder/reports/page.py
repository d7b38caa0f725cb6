"""Pages for instructors: one self-contained file each, inert, with charts as inline SVG.

Nothing on a page runs or loads: no script, no request, and only the page's own style (its hash
stands in the content-security policy). Everything is escaped as it is filled in; a chart escapes
its own labels.
"""

from __future__ import annotations

import base64
import hashlib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from autograder.files import write_safely

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 300  # characters of one text that a learner wrote
LINE_BREAKERS = "\u2028\u2029"


def render(template: str, **values: Any) -> str:
    """A page from a template in `templates/`, everything filled in escaped."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    page = environment().get_template(template)
    return page.render(style=markup(style), policy=policy(style), **values)


@cache
def environment() -> Any:
    """Jinja's environment: autoescape, and an error for what a template names in vain."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"points": points, "percent": percent, "count": counted}
    return made


def policy(style: str) -> str:
    """The content-security policy of a page with this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def write_page(page: str, path: Path) -> None:
    """Write a page in one step. Raises CourseError where that cannot be done."""
    write_safely(Path(path), page.encode("utf-8", errors="replace"))


# Words and numbers


def plain(text: object, longest: int = LONGEST) -> str:
    """A learner's text as one harmless line, and not too long.

    It holds no control or direction-changing characters.
    """
    start = str(text)[: 4 * longest]
    seen = "".join(" " if _is_unseen(sign) else sign for sign in start)
    line = " ".join(seen.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def plain_lines(text: str) -> str:
    """Source code as it stands, but for characters that would move or hide what a reader sees."""
    return "".join("�" if sign not in "\n\t" and _is_unseen(sign) else sign for sign in text)


def _is_unseen(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn") or sign in LINE_BREAKERS


def points(number: float) -> str:
    """Points without needless zeros."""
    return f"{round(number, 2):g}"


def percent(share: float | None) -> str:
    """A share in whole per cent, never rounded to all or nothing; a dash for none."""
    if share is None or math.isnan(share):
        return "–"
    if share in (0, 1):
        return f"{share:.0%}"
    return f"{min(max(round(100 * share), 1), 99)}%"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 exercise`, `2 exercises`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {nouns or noun + 's'}"


def markup(text: str) -> Any:
    """Text that is HTML already."""
    from markupsafe import Markup

    return Markup(text)


# Charts: colours come from classes in page.css, so that they follow the reader's light or dark


@dataclass(frozen=True)
class Part:
    """One part of a stacked bar: its class in page.css, its name, and how many it counts."""

    kind: str
    name: str
    count: int


def columns(values: Sequence[tuple[str, int]], title: str, across: str) -> Any:
    """A chart of columns, (label, count) each.

    title: what it shows, for who cannot see it; across: the axis.
    """
    width, height, left, top, bottom = 720, 250, 40, 24, 48
    most = max([count for _, count in values], default=0) or 1
    step, scale = (width - left) / max(len(values), 1), (height - top - bottom) / most
    floor = height - bottom
    parts = [f'<line class="axis" x1="{left}" y1="{floor}" x2="{width}" y2="{floor}"/>']
    for index, (label, count) in enumerate(values):
        x, tall = left + index * step, count * scale
        middle = x + step / 2
        parts.append(
            f'<rect class="bar" x="{x + step * 0.1:.1f}" y="{floor - tall:.1f}"'
            f' width="{step * 0.8:.1f}" height="{tall:.1f}" rx="2"/>'
        )
        below = f'x="{middle:.1f}" y="{floor + 16}" text-anchor="middle"'
        parts.append(f'<text class="small" {below}>{_safe(label)}</text>')
        if count:
            parts.append(
                f'<text x="{middle:.1f}" y="{floor - tall - 6:.1f}"'
                f' text-anchor="middle">{count}</text>'
            )
    parts.append(
        f'<text class="small" x="{(left + width) / 2:.0f}" y="{height - 8}"'
        f' text-anchor="middle">{_safe(across)}</text>'
    )
    upright = f'transform="translate(14 {(top + floor) / 2:.0f}) rotate(-90)" text-anchor="middle"'
    parts.append(f'<text class="small" {upright}>submissions</text>')
    return svg(parts, width, height, title)


def stacks(rows: Sequence[tuple[str, Sequence[Part], str]], title: str) -> Any:
    """A chart of stacked bars, (label, parts, remark on the right) each.

    Every bar is as wide as its whole.
    """
    width, left, right, line, head = 720, 200, 64, 30, 34
    room = width - left - right
    parts = _legend(rows[0][1] if rows else (), left)
    for index, (label, pieces, remark) in enumerate(rows):
        y, x = head + index * line, float(left)
        whole = sum(piece.count for piece in pieces) or 1
        parts.append(_label(label, left - 10, y + 15, 27))
        for piece in pieces:
            wide = room * piece.count / whole
            if wide:
                said = f"{_safe(label)}: {_safe(piece.name)} {piece.count}"
                parts.append(
                    f'<rect class="{piece.kind}" x="{x:.1f}" y="{y}"'
                    f' width="{max(wide - 1, 0.5):.1f}" height="22"><title>{said}</title></rect>'
                )
            if wide > 26:
                parts.append(
                    f'<text class="on-{piece.kind}" x="{x + wide / 2:.1f}" y="{y + 15}"'
                    f' text-anchor="middle">{piece.count}</text>'
                )
            x += wide
        parts.append(f'<text x="{width}" y="{y + 15}" text-anchor="end">{_safe(remark)}</text>')
    return svg(parts, width, head + max(len(rows), 1) * line, title)


def bars(rows: Sequence[tuple[str, int]], title: str) -> Any:
    """A chart of bars that lie, (label, count) each."""
    width, left, line = 720, 330, 26
    most = max([count for _, count in rows], default=0) or 1
    parts = []
    for index, (label, count) in enumerate(rows):
        y, wide = index * line + 4, (width - left - 44) * count / most
        parts.append(_label(label, left - 10, y + 13, 48))
        parts.append(
            f'<rect class="bar" x="{left}" y="{y}" width="{wide:.1f}" height="18" rx="2"/>'
        )
        parts.append(f'<text x="{left + wide + 6:.1f}" y="{y + 13}">{count}</text>')
    return svg(parts, width, max(len(rows), 1) * line + 4, title)


def svg(parts: Sequence[str], width: int, height: int, title: str) -> Any:
    """The drawing with its alternative text."""
    said = _safe(title)
    return markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{said}">'
        f"<title>{said}</title>{''.join(parts)}</svg>"
    )


def _legend(pieces: Sequence[Part], left: int) -> list[str]:
    parts, x = [], float(left)
    for piece in pieces:
        parts.append(f'<rect class="{piece.kind}" x="{x:.0f}" y="4" width="14" height="14"/>')
        parts.append(f'<text class="small" x="{x + 20:.0f}" y="15">{_safe(piece.name)}</text>')
        x += 38 + 6.6 * len(piece.name)
    return parts


def _label(text: str, x: float, y: float, longest: int) -> str:
    """A label that ends at x; the whole of a long one shows under the pointer."""
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return (
        f'<text x="{x}" y="{y}" text-anchor="end">{_safe(short)}<title>{_safe(text)}</title></text>'
    )


def _safe(text: object) -> str:
    from markupsafe import escape

    return str(escape(text))
