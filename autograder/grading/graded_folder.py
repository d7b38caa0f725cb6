"""The folder of a graded submission: replaced as a whole, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbformat import NotebookNode

from autograder.grading.errors import SubmissionError, explained, path_in_course
from autograder.grading.lateness import TIMESTAMP

if TYPE_CHECKING:
    from nbgrader.coursedir import CourseDirectory

NEXT, PREVIOUS = ".next", ".previous"


class GradedFolder:
    """autograded/STUDENT/UNIT, replaced as a whole.

    The next one is made beside it under a hidden name and changes places with it by renaming; the
    previous one stays until the gradebook is written.
    """

    def __init__(self, path: Path, root: Path, modes: Modes):
        self.path, self.root, self.modes = path, root, modes
        self.next = path.with_name(f".{path.name}{NEXT}")
        self.previous = path.with_name(f".{path.name}{PREVIOUS}")
        self._is_in_place = False

    @property
    def stamp(self) -> list[int] | None:
        """Size in bytes and time in ns of the graded notebook; None where there is none."""
        try:
            status = (self.path / f"{self.path.name}.ipynb").stat()
        except OSError:
            return None
        return [status.st_size, status.st_mtime_ns]

    @cached_property
    def sources_before(self) -> dict[str, str]:
        """The sources of the notebook graded before, by cell name."""
        folder = self.previous if self._is_in_place else self.path
        try:
            cells = json.loads((folder / f"{self.path.name}.ipynb").read_bytes())["cells"]
            return {name: source for name, source in map(name_and_source, cells) if name}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def recover(self) -> None:
        """Take back what a killed run left.

        Whether its rows were committed is not known, so the next run writes them again.
        """
        with explained(self.path, self.root, self.path.parent.parent):
            if self.previous.exists():
                remove(self.path)
                self.previous.rename(self.path)
            remove(self.next)

    def prepare(self, notebook: bytes, files: Mapping[Path, Path], timestamp: str | None) -> None:
        """Make the next folder.

        files: what goes into it, by its place there. Raises SubmissionError or GradebookError where
        that cannot be done, and leaves nothing.
        """
        self.recover()
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            here = path_in_course(self.path, self.root)
            raise SubmissionError(
                f"{here} is a file or a link where the graded folder belongs: move it away and"
                " grade again."
            )
        try:
            with explained(self.path, self.root, self.path.parent.parent):
                self.next.mkdir(parents=True)
                for place, source in files.items():
                    (self.next / place).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, self.next / place)
                (self.next / f"{self.path.name}.ipynb").write_bytes(notebook)
                if timestamp is not None:
                    (self.next / TIMESTAMP).write_text(timestamp, encoding="utf-8")
                self.modes.apply(self.next)
        except BaseException:
            with contextlib.suppress(OSError):
                remove(self.next)
            raise

    def put_in_place(self) -> None:
        """Let the next folder take the place of the graded one, which is kept."""
        if self._is_in_place:
            return
        with explained(self.path, self.root, self.path.parent.parent):
            if self.path.exists():
                self.path.rename(self.previous)
            self.next.rename(self.path)
        self._is_in_place = True

    def undo(self) -> None:
        """Bring back what was there before `prepare`, as far as the disk allows.

        The next run tries again.
        """
        with contextlib.suppress(OSError):
            if self.previous.exists():
                remove(self.path)
                self.previous.rename(self.path)
            elif self._is_in_place:
                remove(self.path)
            remove(self.next)

    def finish(self) -> None:
        """Remove the previous folder."""
        with contextlib.suppress(OSError):  # what stays is removed by the next run
            remove(self.previous)


def name_and_source(cell: Mapping[str, Any]) -> tuple[str, str]:
    """(nbgrader name or nothing, source) of a cell as it stands in a notebook file."""
    source = cell["source"]
    name = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
    return name, source if isinstance(source, str) else "".join(source)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def notebook_bytes(notebook: NotebookNode) -> bytes:
    """A notebook as a file, a cell a line.

    With nbformat's indentation, writing it takes five times as long.
    """
    rest = ",\n".join(
        f'"{name}": {as_json(part)}' for name, part in notebook.items() if name != "cells"
    )
    cells = ",\n".join(map(as_json, notebook.cells))
    return f'{{{rest},\n"cells": [\n{cells}\n]}}\n'.encode(errors="replace")  # as in `storable`


def as_json(part: Any) -> str:
    """A part of a notebook as JSON."""
    return json.dumps(part, ensure_ascii=False, sort_keys=True)


def storable(text: str) -> str:
    """A text as files and databases take it.

    Half characters (lone surrogates) become question marks, and NUL goes.
    """
    return text.replace("\0", "").encode(errors="replace").decode()


@dataclass(frozen=True)
class Modes:
    """The permissions that nbgrader gives to graded files.

    group: whether the course is shared in a Unix group.
    """

    file: int
    group: bool

    def apply(self, folder: Path) -> None:
        """Set them in a folder and, where a group shares it, on the folders that lead to it."""
        for place, _, files in os.walk(folder):
            for name in files:
                os.chmod(os.path.join(place, name), self.file)
            if self.group:
                share(Path(place))
        if self.group:
            for parent in (folder.parent, folder.parent.parent):
                with contextlib.suppress(PermissionError):  # it is somebody else's, who has set it
                    share(parent)


def share(folder: Path) -> None:
    """Let the group write in a folder, and own what is made there."""
    mode = folder.stat().st_mode
    if mode & 0o2770 != 0o2770:
        folder.chmod((mode | 0o2770) & 0o2777)


def permissions(course: CourseDirectory) -> Modes:
    """nbgrader's permissions for this course."""
    return Modes(0o664 if course.groupshared else 0o444, course.groupshared)


def files_beside(course: CourseDirectory, unit: str) -> dict[Path, Path]:
    """The source's files that nbgrader's autograde puts beside every graded notebook."""
    from nbgrader.utils import find_all_files

    source = Path(course.format_path(course.source_directory, ".", unit))
    found = map(Path, find_all_files(str(source), [*course.ignore, "*.ipynb"]))
    return {path.relative_to(source): path for path in sorted(found)}
