"""Writing files in one step."""

from __future__ import annotations

import os
from pathlib import Path

from autograder.errors import CourseError


def write_safely(path: Path, data: bytes) -> None:
    """Replace a file in one step. Raises CourseError when the folder is read-only or the disk is
    full."""
    waiting = path.with_name(f".{path.name}.part")
    try:
        waiting.write_bytes(data)
        os.replace(waiting, path)
    except OSError as error:
        waiting.unlink(missing_ok=True) if os.access(path.parent, os.W_OK) else None
        raise CourseError(
            f"{path.name} could not be written to {path.parent.name}/ ({error.strerror}); what was"
            " there is untouched."
        ) from error
