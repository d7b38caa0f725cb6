"""A unit as its author wrote it: cells, the table of exercises, misconceptions as patches."""

from __future__ import annotations

import ast
import hashlib
import linecache
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from autograder.authoring.families import in_words, members_of
from autograder.cells import CHECK, NAMESPACE_TAGS, grader_id
from autograder.errors import CourseError
from autograder.units import ROOT, SOLUTIONS

if TYPE_CHECKING:
    from nbformat import NotebookNode

HEADING = re.compile(
    r"^#+ [\d.]+ `(?P<name>\w+)` · (?P<points>[\d.]+) points? · (?P<difficulty>\w+) ·"
    r" (?P<minutes>\d+) min",
    re.MULTILINE,
)
REFUSED = re.compile(r"^\*Refused here: (?P<what>[^*]+)\.\*$", re.MULTILINE)
DIFFICULTIES = ("easy", "medium", "hard")
NEEDED = ("name", "change", "to", "hint")
MARKERS = re.compile(r"^\s*### (BEGIN|END) SOLUTION *\n?", re.MULTILINE)


@dataclass(frozen=True)
class Misconception:
    """A wrong solution that a learner would write: edits on the right one, a name, and a hint.

    One mistake may be written in several ways, and be made in a part of the places alone: each way
    is a misconception of its own. `of` names the mistake; a part has a longer name.
    """

    name: str
    hint: str
    change: tuple[str, ...]
    to: tuple[str, ...]
    of: str = ""

    @property
    def is_first(self) -> bool:
        """Whether it is the first way to make its mistake."""
        return not self.of

    def apply(self, solution: str, where: str) -> str:
        """The solution with the edits made. Raises CourseError unless each applies exactly once."""
        for change, to in zip(self.change, self.to, strict=True):
            code = without_docstrings(solution)
            count = code.count(change)
            if count != 1:
                raise CourseError(
                    f"{where}: the misconception {self.name!r} no longer applies: its text"
                    f" {change!r} stands {count} times in the solution's code, and it must stand"
                    " there once."
                )
            start = code.index(change)
            solution = solution[:start] + to + solution[start + len(change) :]
        return solution


@dataclass(frozen=True)
class Exercise:
    """One exercise: where it stands, what it is worth, and what its author knows about it."""

    name: str
    cell: int  # index of the solution cell
    check: int  # index of the check cell
    points: float
    solution: str  # source without markers
    minutes: int
    difficulty: str
    hints: tuple[str, ...]
    forbid: tuple[str, ...]
    misconceptions: tuple[Misconception, ...]
    equivalents: tuple[Mapping[str, str], ...]
    answers: tuple[str, ...] = ()
    digits: int = 4
    properties: tuple[str, ...] = ()  # what hidden cases try and released ones do not


@dataclass
class Lesson:
    """A unit's source folder."""

    folder: Path
    notebook: NotebookNode
    table: dict[str, Any]
    exercises: dict[str, Exercise] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """The unit's name, as its folder's."""
        return self.folder.name

    @cached_property
    def source_digest(self) -> str:
        """Digest of the four source files."""
        names = (f"{self.unit}.py", "probes.py", "exercises.toml", "wheats.py")
        texts = [
            (self.folder / name).read_bytes().replace(b"\r\n", b"\n")
            for name in names
            if (self.folder / name).exists()
        ]
        return hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]

    def namespace(self, replaced: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
        """The names that set-up, helper and exercise cells define.

        replaced: other sources by exercise. Raises CourseError where a cell does not run.
        """
        sources = {
            exercise.cell: replaced.get(exercise.name, exercise.solution)
            for exercise in self.exercises.values()
        }
        cells = [
            (index, sources.get(index, cell.source))
            for index, cell in enumerate(self.notebook.cells)
            if index in sources
            or (cell.cell_type == "code" and NAMESPACE_TAGS & set(cell.metadata.get("tags", [])))
        ]
        return run_cells(self.unit, cells)


def without_docstrings(source: str) -> str:
    """The source with its docstrings blanked out, every other character in its place."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is None:
            continue
        doc = node.body[0]
        begin = starts[doc.lineno - 1] + doc.col_offset
        end = starts[doc.end_lineno or doc.lineno] - 1
        source = source[:begin] + "\0" * (end - begin) + source[end:]
    return source


def run_cells(unit: str, cells: Iterable[tuple[int, str]]) -> dict[str, Any]:
    """Execute (index, source) cells in one namespace.

    Their lines and sources can be looked up later. Raises CourseError that names a cell which does
    not run.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for index, source in cells:
        try:
            run_cell(namespace, source, f"<{unit} cell {index}>")
        except Exception as error:
            first = next((line for line in source.splitlines() if line.strip()), "")
            raise CourseError(
                f"{unit}.py: the cell that starts with {first!r} does not run:"
                f" {type(error).__name__}: {error}."
            ) from error
    return namespace


def run_cell(namespace: dict[str, Any], source: str, file: str) -> None:
    """Execute one cell's source in `namespace` under the file name `file`."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), namespace)


def solutions(unit: str, root: Path = ROOT) -> dict[str, Any]:
    """The solutions of a unit by name: functions, classes and answers."""
    lesson = read_lesson(root / SOLUTIONS / unit)
    namespace = lesson.namespace()
    names = [
        name
        for exercise in lesson.exercises.values()
        for name in exercise.answers or (exercise.name,)
    ]
    return {name: namespace[name] for name in names}


def read_lesson(folder: Path) -> Lesson:
    """Read a unit's source folder. Raises CourseError with all that is wrong with it."""
    import jupytext  # a second, which whoever only asks for names need not wait

    path = folder / f"{folder.name}.py"
    if not path.exists():
        raise CourseError(f"{folder.name}/{path.name} is missing.")
    try:
        notebook = jupytext.read(path, fmt="py:percent")
    except UnicodeDecodeError as error:
        raise CourseError(
            f"{folder.name}/{path.name} is not UTF-8: save it in that encoding ({error})."
        ) from None
    lesson = Lesson(folder, notebook, read_table(folder / "exercises.toml"))
    problems = _collect(lesson)
    if problems:
        raise CourseError("; ".join(problems) + ".")
    return lesson


def read_table(path: Path) -> dict[str, Any]:
    """Read exercises.toml. Raises CourseError with the line and the reason."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{path.parent.name}/{path.name} is missing.") from None
    except UnicodeDecodeError as error:
        raise CourseError(
            f"{path.parent.name}/{path.name} is not UTF-8: save it in that encoding ({error})."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path.parent.name}/{path.name} is not valid TOML: {error}.") from None


def _collect(lesson: Lesson) -> list[str]:
    """Fill `lesson.exercises`; returns what is wrong."""
    problems: list[str] = []
    where, unit = f"{lesson.unit}/exercises.toml", lesson.unit
    checks, headings = _check_cells(lesson), _headings(lesson)
    for index, cell in enumerate(lesson.notebook.cells):
        name = grader_id(cell, "solution") if cell.cell_type == "code" else None
        if name is None:
            continue
        entry, check = lesson.table.get(name), checks.get(f"{CHECK}{name}")
        if entry is None:
            problems.append(f"{where} has no table [{name}]")
        elif check is None:
            problems.append(f"{unit}.py has no check cell {CHECK}{name}")
        else:
            points = lesson.notebook.cells[check].metadata["nbgrader"]["points"]
            problems += _problems_of(where, name, entry)
            problems += _heading_problems(unit, name, points, entry, headings.get(name))
            problems += _refusal_problems(unit, name, entry, headings.get(name))
            lesson.exercises[name] = _exercise(name, index, check, points, cell.source, entry)
    return problems + _table_problems(where, lesson)


def _check_cells(lesson: Lesson) -> dict[str, int]:
    """The indices of the check cells by name."""
    found = {}
    for index, cell in enumerate(lesson.notebook.cells):
        name = grader_id(cell, "grade")
        if cell.cell_type == "code" and name and not grader_id(cell, "solution"):
            found[name] = index
    return found


def _headings(lesson: Lesson) -> dict[str, re.Match[str]]:
    """The headings of exercises by name, each with the text of its cell."""
    return {
        match["name"]: match
        for cell in lesson.notebook.cells
        if cell.cell_type == "markdown"
        for match in HEADING.finditer(cell.source)
    }


def _table_problems(where: str, lesson: Lesson) -> list[str]:
    """Tables that belong to no exercise, and what [unit] lacks."""
    unused = set(lesson.table) - set(lesson.exercises) - {"unit"}
    unit = lesson.table.get("unit", {})
    lacking = [key for key in ("title", "summary", "minutes") if key not in unit]
    return [
        *(
            f"{where} has a table [{name}], but the lesson has no such exercise"
            for name in sorted(unused)
        ),
        *(f"{where} lacks {key} in [unit]" for key in lacking),
    ]


def _problems_of(where: str, name: str, entry: Mapping[str, Any]) -> list[str]:
    known = {
        "difficulty",
        "minutes",
        "hints",
        "forbid",
        "misconceptions",
        "equivalents",
        "answers",
        "digits",
        "properties",
    }
    problems = [
        f"{where}: [{name}] has an unknown key {key!r}" for key in sorted(set(entry) - known)
    ]
    problems += [
        f"{where}: [{name}] lacks {key}"
        for key in ("difficulty", "minutes", "hints")
        if key not in entry
    ]
    if entry.get("difficulty") not in (*DIFFICULTIES, None):
        problems.append(
            f"{where}: [{name}] has the difficulty {entry['difficulty']!r}; it is one of"
            f" {', '.join(DIFFICULTIES)}"
        )
    for item in entry.get("misconceptions", []):
        missing = [key for key in NEEDED if key not in item]
        problems += [f"{where}: a misconception of [{name}] lacks {key}" for key in missing]
        if not missing:
            problems += _patch_problems(f"{where}: {item['name']!r} of [{name}]", item)
    return problems


def _patch_problems(what: str, item: Mapping[str, Any]) -> list[str]:
    """What is wrong with a misconception's edits, in each way that it is written."""
    problems = []
    for way in (item, *item.get("also", [])):
        unknown = sorted(set(way) - {*NEEDED, "also", "part"})
        problems += [f"{what} has an unknown key {key!r}" for key in unknown]
        if not {"change", "to"} <= set(way):
            problems.append(f"{what} has a way under `also` without `change` and `to`")
        elif len(_several(way["change"])) != len(_several(way["to"])):
            problems.append(f"{what} has lists `change` and `to` of different lengths")
    return problems


def _heading_problems(
    unit: str, name: str, points: float, entry: Mapping[str, Any], heading: re.Match | None
) -> list[str]:
    if heading is None:
        return [
            f"{unit}.py has no heading like '### 1.2 `{name}` · {points:g} points · easy · 5 min'"
        ]
    said = (float(heading["points"]), heading["difficulty"], int(heading["minutes"]))
    meant = (float(points), entry.get("difficulty"), entry.get("minutes"))
    if said != meant:
        return [
            f"{unit}.py: the heading of `{name}` says {said}, the metadata and exercises.toml say"
            f" {meant}"
        ]
    return []


def _refusal_problems(
    unit: str, name: str, entry: Mapping[str, Any], heading: re.Match[str] | None
) -> list[str]:
    """Where an exercise's text does not say what its table refuses."""
    try:
        members_of(entry.get("forbid", []))
    except CourseError as error:
        return [f"{unit}/exercises.toml: [{name}]: {error}"]
    meant = in_words(entry.get("forbid", []))
    said = REFUSED.search(heading.string) if heading else None
    if (said["what"] if said else "") == meant:
        return []
    line = f"*Refused here: {meant}.*" if meant else "no line *Refused here: ...*"
    return [f"{unit}.py: below the heading of `{name}` must stand {line}"]


def _exercise(
    name: str, index: int, check: int, points: float, source: str, entry: Mapping[str, Any]
) -> Exercise:
    return Exercise(
        name,
        index,
        check,
        points,
        MARKERS.sub("", source),
        entry.get("minutes", 0),
        entry.get("difficulty", ""),
        tuple(entry.get("hints", [])),
        members_of(entry.get("forbid", [])),
        tuple(
            misconception
            for item in entry.get("misconceptions", [])
            if set(NEEDED) <= set(item)
            for misconception in _ways(item)
        ),
        tuple(entry.get("equivalents", [])),
        tuple(entry.get("answers", [])),
        entry.get("digits", 4),
        tuple(entry.get("properties", [])),
    )


def _ways(item: Mapping[str, Any]) -> list[Misconception]:
    """A misconception, and under `also` the other ways to write it, or to make it in part."""
    name, hint = item["name"], item["hint"]
    found = [Misconception(name, hint, _several(item["change"]), _several(item["to"]))]
    for way in item.get("also", []):
        part = f"{name}, {way['part']}" if "part" in way else name
        found.append(
            Misconception(part, hint, _several(way["change"]), _several(way["to"]), of=name)
        )
    return found


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
