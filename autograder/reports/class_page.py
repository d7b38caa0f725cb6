"""The class report as a reader meets it: a page with charts and tables, and a terminal's view.

The numbers come from `class_report`; nothing is counted here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from autograder.reports.class_report import (
    CONCERNS,
    FEWEST_FOR_DISCRIMINATION,
    ClassReport,
    Concern,
    ExerciseSummary,
    Mistake,
    Outlier,
    histogram,
    quartiles,
)
from autograder.reports.page import (
    LONGEST,
    Part,
    bars,
    columns,
    counted,
    percent,
    plain,
    render,
    stacks,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MOST_CHART_ROWS, MOST_TERMINAL_ROWS, MOST_NAMES = 20, 30, 8
NUMBERS = ("full", "part", "none", "left out", "mean", "discrimination", "had by")


# A page


def html(report: ClassReport) -> str:
    """The report as one self-contained page."""
    shares = report.shares
    grouped: dict[str, list[Concern]] = {}
    for concern in report.concerns:
        grouped.setdefault(concern.kind, []).append(concern)
    return render(
        "class_report.html",
        title=f"{report.unit}: class report",
        report=report,
        concerns=grouped,
        advice=CONCERNS,
        shares=shares,
        quartiles=quartiles(shares),
        mean=statistics.fmean(shares) if shares else None,
        bins=histogram(shares),
        score_chart=score_chart(shares),
        exercise_chart=exercise_chart(report.exercises),
        mistake_chart=mistake_chart(report.mistakes),
        fewest=FEWEST_FOR_DISCRIMINATION,
    )


def score_chart(shares: Sequence[float]) -> Any:
    """The distribution of scores."""
    bins = histogram(shares)
    said = ", ".join(f"{count} at {label}" for label, count in bins if count) or "no submission"
    title = f"Submissions by share of the points: {said}."
    return columns(bins, title, "share of the checks' points")


def exercise_chart(exercises: Sequence[ExerciseSummary]) -> Any:
    """Full, part, none, left out and undecided, an exercise a bar."""
    rows = [(item.name, parts_of(item), percent(item.mean)) for item in exercises]
    said = "; ".join(f"{item.name} {percent(item.mean)} of the points" for item in exercises)
    title = f"How many submissions got full points, a part, none, or left an exercise out: {said}."
    return stacks(rows, title)


def parts_of(item: ExerciseSummary) -> list[Part]:
    """The parts of one exercise's bar."""
    return [
        Part("full", "full points", item.full),
        Part("partly", "a part", item.partly),
        Part("none", "none", item.none),
        Part("left-out", "left out", item.left_out),
        Part("undecided", "waits for a person", item.undecided),
    ]


def mistake_chart(found: Sequence[Mistake]) -> Any:
    """The commonest misconceptions."""
    shown = found[:MOST_CHART_ROWS]
    rows = [(f"{item.exercise}: {item.name}", len(item.students)) for item in shown]
    said = "; ".join(f"{label}, {count}" for label, count in rows)
    return bars(rows, f"How many submissions had each misconception: {said}.")


# A terminal


def terminal_view(report: ClassReport) -> RenderableType:
    """The report as a terminal shows it: the same tables, cut where they grow long."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [Text(headline(report), style="bold")]
    lines += [Text(note, style="yellow") for note in report.notes]
    if report.exercises:
        lines += ["", _exercise_table(report)]
    if report.mistakes:
        lines += [Text("Misconceptions", style="bold"), _mistake_table(report)]
    if report.open_concerns:
        lines += [Text("Needs a person", style="bold"), _concern_table(report)]
    for slow in report.outliers[:MOST_TERMINAL_ROWS]:
        lines.append(Text(plain(_how_slow(slow, report.median_seconds))))
    return Group(*lines)


def headline(report: ClassReport) -> str:
    """How many, and how well, in one line."""
    middle = quartiles(report.shares)
    if middle is None:
        return f"{report.unit}: no submission has been graded yet"
    low, median, high = map(percent, middle)
    graded = f"{counted(len(report.shares), 'submission')} graded"
    ungraded = len(report.learners) - len(report.shares)
    if ungraded:
        graded += f", {ungraded} without a grade"
    return (
        f"{report.unit}: {graded}; median {median} of the checks' points, half between {low} and"
        f" {high}"
    )


def _how_slow(slow: Outlier, median_seconds: float | None) -> str:
    said = f"{slow.student} took {slow.seconds:.1f} s"
    if slow.cell:
        said += f", {slow.cell_seconds:.1f} s of it in cell {slow.cell}"
    if median_seconds is not None:
        said += f"; the median is {median_seconds:.1f} s"
    return said


def _exercise_table(report: ClassReport) -> RenderableType:
    table = _table(
        "exercise", "full", "part", "none", "left out", "mean", "discrimination", "to look at"
    )
    for item in report.exercises:
        whole = item.decided or 1
        counts = (item.full, item.partly, item.none, item.left_out)
        shares = [percent(count / whole) for count in counts]
        correlation = "–" if item.discrimination is None else f"{item.discrimination:.2f}"
        remarks = list(item.remarks)
        if item.undecided:
            remarks.append(f"{item.undecided} undecided")
        _add(table, item.name, *shares, percent(item.mean), correlation, "; ".join(remarks))
    return table


def _mistake_table(report: ClassReport) -> RenderableType:
    table = _table("exercise", "misconception", "had by", "who")
    for item in report.mistakes[:MOST_TERMINAL_ROWS]:
        _add(table, item.exercise, item.name, str(len(item.students)), _few(item.students))
    return _with_rest(table, len(report.mistakes))


def _concern_table(report: ClassReport) -> RenderableType:
    table = _table("what", "who", "where", "why")
    for item in report.open_concerns[:MOST_TERMINAL_ROWS]:
        _add(table, item.kind, item.student, plain(item.where, 60), plain(item.what, 120))
    return _with_rest(table, len(report.open_concerns))


def _few(names: Sequence[str]) -> str:
    said = ", ".join(names[:MOST_NAMES])
    more = len(names) - MOST_NAMES
    return f"{said} and {more} more" if more > 0 else said


def _table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        justify: Literal["left", "right"] = "right" if heading in NUMBERS else "left"
        table.add_column(heading, justify=justify, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(plain(cell, 2 * LONGEST)) for cell in cells))


def _with_rest(table: Table, total: int) -> RenderableType:
    """The table, and below it how many of `total` rows it leaves out."""
    from rich.console import Group

    more = total - MOST_TERMINAL_ROWS
    if more <= 0:
        return table
    return Group(table, f"and {more} more: --html FILE shows them all")
