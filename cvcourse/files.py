"""Writing files wholly or not at all: a reader finds the old content or the new, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path, synced: bool = False) -> Iterator[Path]:
    """Give the name of a new file beside `path`; it takes the place of `path` when the block ends.

    The block writes it. When the block or the last step raises, what was at `path` is untouched and
    nothing else is left behind. synced: wait until the new content is on the disk, so that not even
    a power cut can leave an empty file. Raises OSError where the folder cannot be written.
    """
    # A name of its own, because several processes may write the same file at once.
    waiting = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        yield waiting
        if synced:
            sync(waiting)
        os.replace(waiting, path)
    except BaseException:
        with suppress(OSError):  # the reason why it could not be written is what the caller hears
            waiting.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file wholly or not at all. Raises OSError; what was there is then untouched."""
    with replacing(path) as waiting:
        waiting.write_bytes(content)


def sync(path: Path) -> None:
    """Return when a file's content is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
