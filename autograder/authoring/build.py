"""Build units: solutions/NN gives the paired notebook, the keys, and what learners open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.authoring.lesson import Lesson, read_lesson
from autograder.authoring.record import only, record_key
from autograder.authoring.release import (
    notebook_text,
    paired_notebook,
    release_digest,
    release_notebook,
    released_files,
    write_notebook,
)
from autograder.checking.checker import digest
from autograder.checking.difference import first_difference
from autograder.checking.key import HIDDEN, VISIBLE, CaseKey, ExerciseKey, Key, KeyProblem
from autograder.checking.key_files import (
    files_of,
    read_key,
    read_key_without_cases,
    write_key,
    write_where_new,
)
from autograder.checking.outcome import Outcome
from autograder.errors import CourseError
from autograder.files import write_safely
from autograder.nbgrader_config import AUTHOR_FILES
from autograder.units import COURSE, ROOT, SOLUTIONS, chosen_units

TABLE_MARKS = ("<!-- units -->", "<!-- end of units -->")


@dataclass
class Built:
    """What building one unit did."""

    unit: str
    exercises: int
    points: float
    minutes: int
    # Notes about files of a learner or an author that were kept.
    kept: list[str] = field(default_factory=list)


def build_units(names: Iterable[str] = (), root: Path = ROOT) -> list[Built]:
    """Build the named units, or all; a learner's edited notebook is kept beside the new one.

    Raises CourseError with what is wrong.
    """
    built = [build_unit(unit, root) for unit in chosen_units(names, root)]
    write_unit_table(root)
    return built


def build_unit(unit: str, root: Path = ROOT) -> Built:
    """Build one unit: paired notebook and keys beside the source, the release in course/."""
    lesson = read_lesson(root / SOLUTIONS / unit)
    source, course = lesson.folder, root / COURSE / unit
    old = _old_key(source / VISIBLE)
    paired = paired_notebook(lesson)
    _refuse_unsynced(lesson, paired, old)
    release = release_notebook(paired)
    key = record_key(lesson, release_digest(release), old)
    course.mkdir(parents=True, exist_ok=True)
    kept = keep_learners_work(course, unit)
    write_notebook(paired, source / f"{unit}.ipynb")
    write_key(only(key, hidden=False), source / VISIBLE)
    write_key(only(key, hidden=True), source / HIDDEN)
    write_notebook(release, course / f"{unit}.ipynb")
    for path in released_files(source):
        write_where_new(course / path.name, path.read_bytes())
    points = points_of(paired)
    return Built(unit, len(lesson.exercises), points, lesson.table["unit"]["minutes"], kept)


def check_units(names: Iterable[str] = (), root: Path = ROOT) -> list[str]:
    """What is out of step with its source, in words; empty when nothing is. Writes nothing."""
    chosen = chosen_units(names, root)
    problems = [problem for unit in chosen for problem in check_unit(unit, root)]
    readme = root / "README.md"
    if readme.exists() and readme.read_text(encoding="utf-8") != with_unit_table(
        readme.read_text(encoding="utf-8"), root
    ):
        problems.append("the unit table of README.md is out of step: run `cvcourse build`")
    return problems


def check_unit(unit: str, root: Path = ROOT) -> list[str]:
    """What of one unit is out of step."""
    lesson = read_lesson(root / SOLUTIONS / unit)
    source, course = lesson.folder, root / COURSE / unit
    paired = paired_notebook(lesson)
    release = release_notebook(paired)
    problems = []
    for notebook, path in ((paired, source / f"{unit}.ipynb"), (release, course / f"{unit}.ipynb")):
        if not path.exists():
            problems.append(f"{path.relative_to(root)} is missing")
        elif path.read_text(encoding="utf-8") != notebook_text(notebook):
            problems.append(f"{path.relative_to(root)} differs from what {unit}.py gives")
    stale = [
        problem
        for name in (VISIBLE, HIDDEN)
        for problem in _key_problems(source / name, lesson, release_digest(release), root)
    ]
    problems += stale or _renewed_problems(lesson, release_digest(release), root)
    for path in released_files(source):
        twin = course / path.name
        if not twin.exists() or twin.read_bytes() != path.read_bytes():
            problems.append(f"{twin.relative_to(root)} differs from {path.relative_to(root)}")
    present = course.iterdir() if course.exists() else []
    leaked = sorted(
        path.name
        for path in present
        if any(fnmatch(path.name, pattern) for pattern in AUTHOR_FILES)
    )
    problems += [f"{COURSE}/{unit}/{name} is the author's and must not be there" for name in leaked]
    return [f"{problem}: run `cvcourse build {unit}`" for problem in problems]


def keep_learners_work(course: Path, unit: str) -> list[str]:
    """Copy a notebook that somebody worked in before it is replaced; says where to."""
    path = course / f"{unit}.ipynb"
    if not path.exists():
        return []
    key = _old_key(course / VISIBLE)
    try:
        found = release_digest(nbformat.read(path, as_version=4))
    except (ValueError, OSError, nbformat.ValidationError):
        found = "unreadable"
    if key is not None and found == key.release:
        return []
    number = next(
        number
        for number in range(1, 10_000)
        if not (course / f"{unit}.mine-{number}.ipynb").exists()
    )
    aside = course / f"{unit}.mine-{number}.ipynb"
    write_safely(aside, path.read_bytes())
    return [f"{COURSE}/{unit}/{path.name} had been worked in: it is kept as {aside.name}"]


def points_of(notebook: NotebookNode) -> float:
    """Points of all graded cells, written questions included."""
    return sum(
        cell.metadata["nbgrader"]["points"]
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    )


def write_unit_table(root: Path = ROOT) -> None:
    """Bring README.md's unit table up to date."""
    readme = root / "README.md"
    if readme.exists():
        before = readme.read_text(encoding="utf-8")
        after = with_unit_table(before, root)
        if after != before:
            write_safely(readme, after.encode())


def with_unit_table(text: str, root: Path = ROOT) -> str:
    """`text` with the table of units between its marks."""
    start, end = TABLE_MARKS
    if start not in text or end not in text:
        return text
    rows = ["| unit | about | exercises | points | minutes |", "| --- | --- | --- | --- | --- |"]
    for unit in chosen_units([], root):
        lesson = read_lesson(root / SOLUTIONS / unit)
        about = lesson.table["unit"]
        points = points_of(lesson.notebook)
        link = f"[{unit}]({COURSE}/{unit}/{unit}.ipynb)"
        rows.append(
            f"| {link} | {about['title']}: {about['summary']} "
            f"| {len(lesson.exercises)} | {points:g} | {about['minutes']} |"
        )
    head, rest = text.split(start, 1)
    return f"{head}{start}\n" + "\n".join(rows) + f"\n{end}{rest.split(end, 1)[1]}"


def _old_key(path: Path) -> Key | None:
    """What the build before wrote, without cases; None where it cannot be read."""
    try:
        return read_key_without_cases(path)
    except KeyProblem:
        return None


def _refuse_unsynced(lesson: Lesson, paired: NotebookNode, old: Key | None) -> None:
    """An instructor may have edited the .ipynb alone; never overwrite that."""
    path = lesson.folder / f"{lesson.unit}.ipynb"
    if old is None or not path.exists() or old.source != lesson.source_digest:
        return
    if release_digest(nbformat.read(path, as_version=4)) != release_digest(paired):
        raise CourseError(
            f"{SOLUTIONS}/{lesson.unit}/{path.name} was edited and its .py was not: run `jupytext"
            f" --to py:percent {SOLUTIONS}/{lesson.unit}/{path.name}` to take the edits over, or"
            " delete it."
        )


def _key_problems(path: Path, lesson: Lesson, release: str, root: Path) -> list[str]:
    """What is wrong with a stored key before its numbers are looked at."""
    missing = [file.relative_to(root) for file in files_of(path) if not file.exists()]
    if missing:
        return [f"{file} is missing" for file in missing]
    where = path.relative_to(root)
    try:
        key = read_key(path)
    except KeyProblem as problem:
        return [f"{where}: {problem}"]
    probes = digest((lesson.folder / "probes.py").read_bytes())
    if (key.unit, key.source, key.probes) != (lesson.unit, lesson.source_digest, probes):
        return [f"{where} was built from other sources"]
    if key.release != release:
        return [f"{where} belongs to another release"]
    return []


def _renewed_problems(lesson: Lesson, release: str, root: Path) -> list[str]:
    """Where a fresh recording differs from the stored keys by more than rounding."""
    fresh = record_key(lesson, release, old=read_key(lesson.folder / VISIBLE))
    return number_problems(lesson.folder, fresh, root)


def number_problems(source: Path, fresh: Key, root: Path) -> list[str]:
    """Where a fresh key differs from those that lie beside a source by more than rounding."""
    visible, hidden = read_key(source / VISIBLE), read_key(source / HIDDEN)
    where = source.relative_to(root)
    return [
        *_differences(only(fresh, hidden=False), visible, where),
        *_differences(only(fresh, hidden=True), hidden, where),
    ]


def _differences(fresh: Key, stored: Key, where: Path) -> list[str]:
    problems = []
    for name in {**fresh.exercises, **stored.exercises}:
        ours, theirs = fresh.exercises.get(name), stored.exercises.get(name)
        if ours is None or theirs is None or _settings(ours) != _settings(theirs):
            problems.append(f"the key of {name} in {where} says something else than its sources")
        elif _numbers_differ(ours, theirs):
            problems.append(
                f"the key of {name} in {where} holds other numbers than its solution gives"
            )
    return problems


def _settings(exercise: ExerciseKey) -> ExerciseKey:
    """All that an exercise's key says but for the numbers."""
    cases = [replace(case, inputs=(), expected=Outcome(), wrong={}) for case in exercise.cases]
    return replace(exercise, cases=tuple(cases))


def _numbers_differ(fresh: ExerciseKey, stored: ExerciseKey) -> bool:
    by_seed = {case.seed: case for case in stored.cases}
    return any(_differ(fresh, case, by_seed.get(case.seed)) for case in fresh.cases)


def _differ(exercise: ExerciseKey, fresh: CaseKey, stored: CaseKey | None) -> bool:
    if stored is None or set(fresh.wrong) != set(stored.wrong):
        return True
    outcomes = [
        (fresh.expected, stored.expected),
        *((fresh.wrong[index], stored.wrong[index]) for index in fresh.wrong),
    ]
    return any(
        (one.failure and one.failure.kind) != (other.failure and other.failure.kind)
        or first_difference(exercise, fresh, one, other) is not None
        for one, other in outcomes
    )
