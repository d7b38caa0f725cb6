"""What grading a unit needs: its released cells, and a key with inputs drawn for one run alone.

`Materials` are what the sandbox's side may know, inputs but no answers, and travel to other
machines; the fresh `Key` does not.
"""

from __future__ import annotations

import ast
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.authoring.lesson import Lesson, read_lesson
from autograder.errors import CourseError
from autograder.grading.align import RUN, Cell, Role, released_cells
from autograder.units import COURSE, SOLUTIONS

if TYPE_CHECKING:
    from autograder.checking.key import CaseKey, ExerciseKey, Key

TRIES = 5
PACKAGES = Path(__file__).resolve().parent.parent.parent
# What has a part in a verdict, by folder: the grader, what reads a lesson and records a key, what
# notebooks import.
PARTS = (
    *("autograder/checking", "autograder/sandbox", "autograder/grading", "cvcourse"),
    *("autograder/cells.py", "autograder/units.py", "autograder/errors.py", "autograder/files.py"),
    "autograder/words.py",
    *(f"autograder/authoring/{name}.py" for name in ("lesson", "record", "release")),
)
SOURCES = (
    "{unit}.py",
    "probes.py",
    "exercises.toml",
    "wheats.py",
    "hidden.safetensors",
    "hidden.json",
    "key.safetensors",
    "key.json",
)


@dataclass(frozen=True)
class Ask:
    """One check as it is asked for.

    It has packed requests with the cases that each tries, or the names of its answers.
    """

    exercise: str
    requests: tuple[tuple[bytes, tuple[int, ...]], ...] = ()  # released cases, then hidden ones
    cases: int = 0
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Materials:
    """What the sandbox's side of grading a unit needs. Holds no answers."""

    unit: str
    start: bytes
    asks: Mapping[str, Ask]


class Unit:
    """A unit as the grader sees it."""

    def __init__(self, root: Path, unit: str):
        self.root, self.name = Path(root), unit
        self.folder = self.root / SOLUTIONS / unit
        if not (self.folder / f"{unit}.py").exists():
            raise CourseError(f"There is no unit {unit} in {SOLUTIONS}/.")

    @cached_property
    def lesson(self) -> Lesson:
        """The unit's source."""
        return read_lesson(self.folder)

    @cached_property
    def stored_key(self) -> Key:
        """The key that was built with the unit.

        Raises KeyProblem where the unit must be built first.
        """
        from autograder.checking.key import HIDDEN, VISIBLE, KeyProblem, merge
        from autograder.checking.key_files import read_key

        try:
            key = merge(read_key(self.folder / VISIBLE), read_key(self.folder / HIDDEN))
        except KeyProblem as error:  # its sentence is for learners
            raise KeyProblem(
                f"{self.name} has no good answer key: run `cvcourse build {self.name}`."
            ) from error
        if key.source != self.lesson.source_digest:
            raise KeyProblem(
                f"{self.name} was edited since it was built: run `cvcourse build {self.name}`."
            )
        return key

    @cached_property
    def release(self) -> list[Cell]:
        """The released cells. Raises CourseError where they are not those that were built."""
        text = "\0".join(cell.source for cell in self.cells_in_course)
        if hashlib.sha256(text.encode()).hexdigest()[:16] == self.stored_key.release:
            return self.cells_in_course
        return self.rebuilt_release()  # somebody worked in the released copy

    @cached_property
    def released_file(self) -> bytes:
        """The released notebook as it was given out; empty where there is none."""
        try:
            return (self.root / COURSE / self.name / f"{self.name}.ipynb").read_bytes()
        except OSError:
            return b""

    @cached_property
    def cells_in_course(self) -> list[Cell]:
        """The cells in the course's folder, which somebody may have changed.

        Raises CourseError without a release.
        """
        if not (self.root / COURSE / self.name / f"{self.name}.ipynb").exists():
            raise CourseError(
                f"{self.name} was never released: run `cvcourse build {self.name}` and "
                f"`nbgrader generate_assignment {self.name}`."
            )
        try:
            return released_cells(json.loads(self.released_file))
        except (ValueError, KeyError, TypeError):
            return []

    @property
    def imports(self) -> list[str]:
        """What the cells that are run import: what a warm server should have imported already.

        Read from the course's folder as it stands, so that a server can start before anything else
        is looked at.
        """
        return imports_of(cell.source for cell in self.cells_in_course if cell.role in RUN)

    def rebuilt_release(self) -> list[Cell]:
        """The released cells, made anew from the source."""
        from autograder.authoring.release import paired_notebook, release_notebook

        return released_cells(release_notebook(paired_notebook(self.lesson)))

    @cached_property
    def exercises(self) -> list[str]:
        """The exercises by their checks, in order."""
        return [cell.exercise for cell in self.release if cell.role is Role.CHECK]

    @cached_property
    def digest(self) -> str:
        """Digest of the files that make the unit."""
        names = [name.format(unit=self.name) for name in SOURCES]
        return digest_of(path for name in names if (path := self.folder / name).exists())


def imports_of(sources: Iterable[str]) -> list[str]:
    """The modules that cells import. In `from a import b`, b may be a module, too."""
    found = set()
    for source in sources:
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except (SyntaxError, ValueError):  # a magic, say: then it is imported where it is needed
            continue
        for node in nodes:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return sorted(found)


def grader_digest() -> str:
    """Digest of all that could change a verdict.

    That is the grader's code, the library that notebooks use, torch and numpy.
    """
    places = [PACKAGES / part for part in PARTS]
    files = [
        path
        for place in places
        for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))
    ]
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "numpy")]
    return digest_of_text(digest_of(files), *versions)


def digest_of(paths: Iterable[Path]) -> str:
    """Digest of files' contents in order."""
    found = hashlib.sha256()
    for path in paths:
        found.update(
            path.read_bytes().replace(b"\r\n", b"\n") if path.suffix == ".py" else path.read_bytes()
        )
    return found.hexdigest()[:16]


def digest_of_text(*texts: str) -> str:
    """Digest of texts in order."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def new_secret() -> str:
    """What a run's inputs are drawn from."""
    return secrets.token_hex(16)


def fresh_key(unit: Unit, secret: str) -> Key:
    """The unit's key with inputs drawn from `secret`; numeric answers stay as they are.

    Raises CourseError where no inputs can be drawn.
    """
    from autograder.authoring.record import record_key
    from autograder.checking.observe import no_logs

    stored, problem = unit.stored_key, None
    for number in range(TRIES):  # a draw may be unlucky: a solution may refuse it
        try:
            draw = hashlib.sha256(f"{secret}/{number}".encode()).digest()
            with no_logs():
                return record_key(unit.lesson, stored.release, stored, draw)
        except CourseError as error:
            problem = error
    raise CourseError(f"No inputs could be drawn for {unit.name}: {problem}")


def make_materials(unit: Unit, key: Key, secret: str) -> Materials:
    """What the sandbox receives: the unit's files, its probes, and each check's inputs."""
    from autograder.sandbox.wire import pack

    seed = int.from_bytes(hashlib.sha256(f"{secret}/seed".encode()).digest()[:4], "big")
    probes = (unit.folder / "probes.py").read_text(encoding="utf-8")
    start = pack({"do": "start", "seed": seed, "files": {"probes.py": probes}, "probes": probes})
    return Materials(
        unit.name, start, {name: ask(exercise) for name, exercise in key.exercises.items()}
    )


def ask(exercise: ExerciseKey) -> Ask:
    """The requests for one check: inputs and nothing of what is right."""
    if exercise.answers:
        return Ask(exercise.name, answers=tuple(exercise.answers))
    numbered = list(enumerate(exercise.cases))
    parts = [
        [(index, case) for index, case in numbered if case.hidden is hidden]
        for hidden in (False, True)
    ]
    requests = [
        (request(exercise, [case for _, case in part]), tuple(index for index, _ in part))
        for part in parts
        if part
    ]
    return Ask(exercise.name, tuple(requests), len(exercise.cases))


def request(exercise: ExerciseKey, cases: Sequence[CaseKey]) -> bytes:
    """The packed request to try some cases."""
    from autograder.checking.key import pack_values
    from autograder.sandbox.wire import pack

    described = [
        {
            "probe": case.probe,
            "values": pack_values(case.values),
            "dtype": case.dtype,
            "seed": case.seed,
            "inputs": len(case.inputs),
        }
        for case in cases
    ]
    header = {
        "do": "check",
        "exercise": exercise.name,
        "forbid": list(exercise.forbid),
        "cases": described,
    }
    return pack(header, [tensor for case in cases for tensor in case.inputs])
