"""Writing files in one step."""

from __future__ import annotations

from pathlib import Path

from autograder.errors import CourseError
from cvcourse.files import write_atomically


def write_safely(path: Path, data: bytes) -> None:
    """Replace a file in one step.

    Raises CourseError when the folder is read-only or the disk is full.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise CourseError(
            f"{path.name} could not be written to {path.parent.name}/ ({error.strerror}); what was"
            " there is untouched."
        ) from error
