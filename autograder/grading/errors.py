"""What goes wrong while grades are written, in sentences.

It concerns one submission, or the gradebook as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from autograder.errors import CourseError
from autograder.words import first_line

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class GradebookError(CourseError):
    """The gradebook cannot be used: until that is mended, no submission can be written."""


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
    place = path_in_course(path, root)
    if error.errno in DISK_FULL:
        return GradebookError(
            f"The disk is full: {place} could not be written. Make room and grade again; what was"
            " graded before is untouched."
        )
    reason = error.strerror or reason_of(error)
    if shared is None:
        return cannot_be_written(place, reason)
    if error.errno == errno.EROFS or not is_usable(shared):
        return cannot_be_written(path_in_course(shared, root), reason)
    return SubmissionError(f"{place} could not be written ({reason}): mend that and grade again.")


def cannot_be_written(place: str, reason: str) -> GradebookError:
    """The error of a place that every submission needs."""
    return GradebookError(
        f"{place} cannot be written ({reason}): make it writable for you and grade again."
    )


def is_usable(folder: Path) -> bool:
    """Whether a folder is there to be written to, or could be made."""
    if folder.exists():
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return folder.parent != folder and is_usable(folder.parent)


def path_in_course(path: Path, root: Path) -> str:
    """A path as an instructor knows it: from the course's folder on, where it lies in there."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(root))
    return str(path)


def reason_of(error: object) -> str:
    """What an error says first, without a full stop."""
    return first_line(str(error), type(error).__name__).rstrip(".")


def fault_in_words(error: Exception) -> str:
    """What went wrong in the grader itself, as a bug report needs it."""
    return f"{type(error).__name__}: {error}"


def to_report(what: str, error: Exception) -> str:
    """A sentence, without its full stop, on what the grader failed to do."""
    return f"{what} ({fault_in_words(error)}): please report that"
