"""What goes wrong while grades are written, in sentences: with one submission, or with the
gradebook as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from autograder.errors import CourseError

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class GradebookError(CourseError):
    """The gradebook as a whole cannot be used: until that is mended, no submission can be
    written."""


class SubmissionError(CourseError):
    """This submission cannot be written; the others can."""


@contextlib.contextmanager
def explained(path: Path, root: Path, shared: Path | None = None) -> Iterator[None]:
    """Turn what the disk refuses into a sentence.

    shared: the folder that the class shares. Where it is in order, the fault is one submission's
    (SubmissionError); without one it concerns them all (GradebookError).
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, root, shared) from error


def disk_error(error: OSError, path: Path, root: Path, shared: Path | None) -> CourseError:
    """The error of a disk that is full, or of a folder that cannot be written."""
    if error.errno in DISK_FULL:
        return GradebookError(
            f"The disk is full: {shown(path, root)} could not be written. Make room and grade"
            " again; what was graded before is untouched."
        )
    reason = error.strerror or first_line(error)
    if shared is not None and error.errno != errno.EROFS and is_usable(shared):
        return SubmissionError(
            f"{shown(path, root)} could not be written ({reason}): mend that and grade again."
        )
    return GradebookError(
        f"{shown(shared or path, root)} cannot be written ({reason}): make it writable for you and"
        " grade again."
    )


def is_usable(folder: Path) -> bool:
    """Whether a folder is there to be written to, or could be made."""
    if folder.exists():
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return folder.parent != folder and is_usable(folder.parent)


def shown(path: Path, root: Path) -> str:
    """A path as an instructor knows it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(root))
    return str(path)


def first_line(error: object) -> str:
    """What an error says first, without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__
