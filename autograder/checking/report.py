"""What a person reads: a verdict as an HTML table in notebooks and as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from autograder.checking.libraries import MODELS
from autograder.checking.verdict import CaseVerdict, Fit, State, Verdict

MIME = "application/vnd.cvcourse.verdict+json"
MARK = ("cvcourse", "verdict")
"""On an output's metadata, set only outside the learner's process: this verdict counted, and pages
show it as ours."""

OPENINGS = {
    Fit.EXACT: "This is exactly what",
    Fit.WHERE_IT_RUNS: "Where it runs, this is exactly what",
    Fit.BUT_FOR_DTYPE: "But for the dtype, this is exactly what",
    Fit.AMONG_OTHERS: "This is what",
}
# Whose colours a table has, where it is not "wrong": one that waits is nobody's mistake yet.
KINDS = {
    State.RIGHT: "right",
    State.NOT_ATTEMPTED: "waiting",
    State.TAMPERING: "waiting",
    State.GRADER_FAULT: "waiting",
}
MARKS = {State.RIGHT: "✓", State.WRONG: "✗", State.NOT_ATTEMPTED: "–", State.ERROR: "!"}

# The notebook's own colours where it has them (light and dark), plain ones elsewhere. Right and
# wrong differ in sign and word, too. Sizes are in pixels: nbgrader's feedback pages change what a
# rem is.
STYLE = """<style>
.cv-check{font:13px/1.45 var(--jp-ui-font-family,system-ui,sans-serif);
 color:var(--jp-ui-font-color1,currentColor);
 border:1px solid var(--jp-border-color2,#9995);border-left:4px solid var(--cv);
 border-radius:4px;margin:4px 0;max-width:960px;background:none}
.cv-check.right{--cv:#0b8f6a}.cv-check.wrong{--cv:#d1580a}.cv-check.waiting{--cv:#8a8f98}
.cv-check header{display:flex;gap:1rem;align-items:baseline;padding:6px 12px}
.cv-check header b{font-family:var(--jp-code-font-family,monospace);font-size:14px}
.cv-check header span{margin-left:auto;white-space:nowrap;color:var(--cv);font-weight:600}
.cv-check table{border-collapse:collapse;width:100%;margin:0;font-size:12.5px}
.cv-check tr{background:none!important;border-top:1px solid var(--jp-border-color3,#9993)}
.cv-check td{text-align:left!important;vertical-align:top;padding:4px 12px;white-space:normal}
.cv-check td:first-child{white-space:nowrap;width:6rem}
.cv-check tr.wrong td:first-child,.cv-check tr.error td:first-child{color:#d1580a;font-weight:600}
.cv-check tr.right td:first-child{color:#0b8f6a}
.cv-check td:nth-child(2){width:45%}
.cv-check code{font:12px/1.4 var(--jp-code-font-family,monospace);background:none!important;
 color:inherit!important; padding:0!important;overflow-wrap:anywhere}
.cv-check pre{margin:2px 0;font-size:11.5px;white-space:pre-wrap;max-height:9em;overflow:auto}
.cv-check .cv-why{border-top:1px solid var(--jp-border-color2,#9995);padding:8px 12px}
.cv-check .cv-why p:first-child{font-weight:600}
.cv-check .cv-why p{margin:2px 0}
.cv-check details{padding:4px 12px 6px}.cv-check details details{padding:4px 0 0 14px}
.cv-check summary{display:list-item;cursor:pointer;color:var(--jp-ui-font-color2,inherit)}
</style>"""


class Report:
    """A verdict as a notebook shows it.

    Its plain text is the points earned (nbgrader reads them), its HTML the table.
    """

    def __init__(self, verdict: Verdict):
        self.verdict = verdict

    def __repr__(self) -> str:
        return f"{self.verdict.points:g}"

    def _repr_html_(self) -> str:
        return html(self.verdict)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: as_data(self.verdict)}


def as_data(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain JSON.

    It is for programs that read an executed notebook, and all that the table is drawn from.
    """
    return {
        "exercise": verdict.exercise,
        "state": str(verdict.state),
        "points": verdict.points,
        "max_points": verdict.max_points,
        "summary": _summary(verdict),
        "diagnosis": verdict.diagnosis.name if verdict.diagnosis else None,
        "why": explanation(verdict),
        "cases": [_case_as_data(case) for case in verdict.cases],
        "hints": [] if verdict.is_right else list(verdict.hints),
    }


def _case_as_data(case: CaseVerdict) -> dict[str, str]:
    return {
        "state": str(case.state),
        "title": case.title,
        "message": case.message,
        "printed": case.printed,
    }


def headline(verdict: Verdict) -> str:
    """Points in words."""
    return _points(verdict.points, verdict.max_points)


def _points(points: float, max_points: float) -> str:
    noun = "point" if max_points == 1 else "points"
    return f"{points:g} of {max_points:g} {noun}"


def explanation(verdict: Verdict) -> list[str]:
    """The sentences under the table: forbidden shortcut, diagnosis, or what to do next."""
    if verdict.is_right:
        return []
    if verdict.state is State.NOT_ATTEMPTED:
        return [
            "Not attempted: replace the line `raise NotImplementedError` by your own code, run the"
            " cell, check again."
        ]
    if verdict.shortcuts:
        return [_shortcut(name, line) for name, line in verdict.shortcuts]
    if verdict.diagnosis and verdict.fit:
        opening = OPENINGS[verdict.fit]
        said = f"{opening} {verdict.exercise} gives with {verdict.diagnosis.name}."
        if verdict.fit is Fit.AMONG_OTHERS:
            said += " Another mistake could give the same."
        return [said, verdict.diagnosis.hint]
    return []


def text(verdict: Verdict) -> str:
    """The report as plain text."""
    lines = [f"{verdict.exercise}   {headline(verdict)}"]
    if verdict.state is not State.NOT_ATTEMPTED:
        for case in verdict.cases:
            lines += _case_lines(case)
    lines += [f"  {sentence}" for sentence in explanation(verdict)]
    return "\n".join(lines)


def _case_lines(case: CaseVerdict) -> list[str]:
    """One line a case, and below it what the learner's code printed there."""
    line = f"  {case.state:<14} {case.title}"
    if case.message:
        line += f"   {case.message}"
    indent = " " * 17
    return [line, *(f"{indent}printed: {printed}" for printed in case.printed.splitlines())]


def html(verdict: Verdict) -> str:
    """The report as HTML.

    Everything that a learner wrote is escaped; hints open one at a time and need no kernel.
    """
    return html_of(as_data(verdict))


def html_of(data: Mapping[str, Any]) -> str:
    """The report as HTML, from what `as_data` gave.

    So a table can be drawn again without trusting the old one.
    """
    title, summary = escape(data["exercise"]), escape(data["summary"])
    points = _points(data["points"], data["max_points"])
    head = f"<header><b>{title}</b><i>{summary}</i><span>{points}</span></header>"
    sentences = "".join(f"<p>{_ticks(sentence)}</p>" for sentence in data["why"])
    why = f'<div class="cv-why">{sentences}</div>' if sentences else ""
    kind = KINDS.get(data["state"], "wrong")
    body = f"{head}{_table(data)}{why}{_hints(data['hints'])}"
    return f'{STYLE}<section class="cv-check {kind}">{body}</section>'


def _summary(verdict: Verdict) -> str:
    if verdict.is_right and len(verdict.cases) > 1:
        return f"all {len(verdict.cases)} cases right"
    if verdict.is_right:
        return "right"
    if verdict.state is State.NOT_ATTEMPTED:
        return "not attempted"
    if verdict.shortcuts:
        return "a shortcut that this exercise forbids"
    right = sum(case.state is State.RIGHT for case in verdict.cases)
    return f"{right} of {len(verdict.cases)} cases right"


def _table(data: Mapping[str, Any]) -> str:
    if data["state"] == State.NOT_ATTEMPTED:
        return ""
    rows = "".join(_row(case) for case in data["cases"])
    table = f"<table><tbody>{rows}</tbody></table>"
    if all(case["state"] == State.RIGHT for case in data["cases"]):
        return f"<details><summary>Show the cases</summary>{table}</details>"
    return table


def _row(case: Mapping[str, Any]) -> str:
    state = escape(case["state"])
    mark = MARKS.get(case["state"], "?")
    said = _ticks(case["message"])
    if case["printed"]:
        said += f"<pre>{escape(case['printed'])}</pre>"
    return (
        f'<tr class="{state.replace(" ", "-")}"><td>{mark} {state}</td>'
        f"<td><code>{escape(case['title'])}</code></td><td>{said}</td></tr>"
    )


def _hints(hints: Sequence[str]) -> str:
    """Nested disclosures: each hint holds the next."""
    inside = ""
    for number in range(len(hints), 0, -1):
        body = f"<p>{_ticks(hints[number - 1])}</p>{inside}"
        inside = f"<details><summary>Hint {number} of {len(hints)}</summary>{body}</details>"
    return inside


def _shortcut(name: str, line: str) -> str:
    where = f"`{line}`" if line else "it ran, though the source does not name it"
    what = "The course's own version" if name == MODELS else f"A ready-made `{name}`"
    return f"{what} may not be used here ({where}): the exercise's text says what is refused."


def _ticks(sentence: str) -> str:
    """Escape a sentence and set what stands between backticks as code."""
    parts = escape(sentence).split("`")
    if len(parts) % 2 == 0:  # a backtick without its partner
        return escape(sentence)
    for index in range(1, len(parts), 2):
        parts[index] = f"<code>{parts[index]}</code>"
    return "".join(parts)
