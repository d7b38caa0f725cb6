"""Fetching one file into a cache folder.

It goes on where an earlier try stopped, and the file is believed only if its checksum fits.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from .errors import DataError

if TYPE_CHECKING:
    from requests import Response

TRIES = 3  # connections a call makes before it gives up; each goes on where the last one stopped
TIMEOUT = (10, 30)  # seconds to connect, and between two pieces of the answer
PIECE = 1 << 18


@dataclass(frozen=True)
class Archive:
    """A file on the web that is known exactly."""

    url: str
    sha256: str
    size: int  # bytes

    @property
    def file_name(self) -> str:
        return Path(urlsplit(self.url).path).name

    @property
    def address(self) -> str:
        """Where to fetch it: `url`, or the same file name under CVCOURSE_DATA_URL.

        That may be a mirror in a classroom.
        """
        mirror = os.environ.get("CVCOURSE_DATA_URL")
        if not mirror:
            return self.url
        return f"{mirror.rstrip('/')}/{self.file_name}"


class _Refused(Exception):
    """The answer cannot be what was asked for; another try would bring the same."""


def cache_folder(root: str | Path | None = None) -> Path:
    """Where fetched files are kept.

    That is `root`, or else the environment's CVCOURSE_DATA, or else the platform's cache.
    """
    if root is None:
        root = os.environ.get("CVCOURSE_DATA")
    if root is None:
        import pooch

        root = pooch.os_cache("cvcourse")
    return Path(root).expanduser()


def has_checksum(path: Path, archive: Archive) -> bool:
    """Whether the file at `path` is the archive, byte for byte."""
    if path.stat().st_size != archive.size:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == archive.sha256


def fetch(
    archive: Archive, root: str | Path | None = None, download: bool = True, progress: bool = True
) -> Path:
    """The path of the verified file.

    It is downloaded if it is not in the cache folder, or is spoilt there. Raises DataError if it
    cannot be had.
    """
    folder = cache_folder(root)
    path = folder / archive.file_name
    with _told_plainly(folder):
        if path.is_file() and has_checksum(path, archive):
            return path
        if not download:
            found = "is spoilt" if path.is_file() else "is not there"
            raise DataError(
                f"{path} {found}: call again with download=True, or give folder=, a folder that"
                " holds it."
            )
        folder.mkdir(parents=True, exist_ok=True)
        _download(archive, path, progress)
    return path


def _download(archive: Archive, path: Path, progress: bool) -> None:
    """Let pooch verify the file and move it into place; only how the bytes come is our own."""
    import pooch
    from filelock import FileLock

    downloader = ResumingDownloader(archive, path, progress)
    expected = f"sha256:{archive.sha256}"
    # One download at a time, for several processes.
    with FileLock(f"{path}.lock"), _only_warnings(pooch.get_logger()):
        for _ in range(2):
            try:
                pooch.retrieve(
                    archive.address, expected, path.name, path.parent, downloader=downloader
                )
                return
            except ValueError:  # pooch: the checksum differs; it has removed the file
                # A beginning left by an earlier try may be what was wrong: once more, whole.
                if not downloader.resumed:
                    break
    raise DataError(
        f"What came from {_public(archive.address)} is not the file expected (its checksum differs)"
        " and was removed: try again later, or download it elsewhere and give folder=."
    )


class ResumingDownloader:
    """A downloader for pooch that keeps what has come in a `.part` file and asks for the rest."""

    def __init__(self, archive: Archive, path: Path, progress: bool) -> None:
        self.archive = archive
        self.part = path.with_name(path.name + ".part")
        self.progress = progress
        self.resumed = False  # whether the last file began with bytes of an earlier connection
        self.answered = False  # whether the server was reached at all

    def __call__(self, url: str, output_file: str | Path, pooch: object) -> None:
        """Called by pooch; leaves the whole file at `output_file`."""
        import requests
        from urllib3.exceptions import HTTPError

        self.resumed = False
        problem: Exception | None = None
        for _ in range(TRIES):
            try:
                self._continue(url)
            except (requests.RequestException, HTTPError, ConnectionError, TimeoutError) as error:
                problem = error
                if _is_final(error):
                    break
            except _Refused as refusal:
                self.part.unlink(missing_ok=True)
                raise DataError(
                    f"{_public(url)} {refusal}: try again later, or give folder=."
                ) from None
            if self._bytes_here() == self.archive.size:
                os.replace(self.part, output_file)
                return
        raise DataError(self._why_stopped(url, problem)) from None

    def _bytes_here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str) -> None:
        """One connection: ask for what is missing and write it down as it comes."""
        import requests

        start = self._bytes_here()
        if start == self.archive.size:  # only the last step, verification, had not been reached
            self.resumed = True
            return
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 416:  # the server's file ends before ours: it is another one
                self.part.unlink()
                return
            answer.raise_for_status()
            self.answered = True
            is_rest = answer.status_code == 206
            came_from = answer.headers.get("Content-Range", "")
            if is_rest and not came_from.startswith(f"bytes {start}-"):
                self.part.unlink()
                return
            self.resumed = is_rest
            self._write(answer, append=is_rest)

    def _write(self, answer: Response, append: bool) -> None:
        """Write down what comes. Raises _Refused where it is more than the file can be."""
        with open(self.part, "ab" if append else "wb") as file:
            # As it was sent: a gzip file is not to be unpacked.
            for piece in answer.raw.stream(PIECE, decode_content=False):
                file.write(piece)
                if file.tell() > self.archive.size:
                    raise _Refused(f"sends more than the {self.archive.size} bytes expected")
                self._show(file.tell())
        if self.progress:
            print(file=sys.stderr)

    def _show(self, done: int) -> None:
        """One line that is written over, at every million bytes and at the end."""
        size = self.archive.size
        is_next_million = done // 1_000_000 > (done - PIECE) // 1_000_000
        if self.progress and (done == size or is_next_million):
            said = f"{self.archive.file_name}  {done / 1e6:.0f} of {size / 1e6:.0f} MB"
            print(f"\r{said}", end="", file=sys.stderr, flush=True)

    def _why_stopped(self, url: str, problem: Exception | None) -> str:
        status = getattr(getattr(problem, "response", None), "status_code", None)
        if status is not None:
            return (
                f"{_public(url)} answers {status}: try again later, or give folder=, a folder that"
                " holds the file."
            )
        have = f"{self._bytes_here() / 1e6:.1f} of {self.archive.size / 1e6:.1f} MB"
        if self.answered:
            return (
                f"The download of {self.archive.file_name} stopped at {have}: call again and it"
                " goes on from there."
            )
        return (
            f"{_public(url)} cannot be reached ({have} are here): go online and call again, or"
            " download the file elsewhere and give folder=, the folder that holds it."
        )


def _is_final(error: Exception) -> bool:
    """Whether another try within seconds would bring the same.

    A refusal by status is final, unlike a broken connection or a busy server.
    """
    response = getattr(error, "response", None)
    return response is not None and response.status_code < 500


def _public(url: str) -> str:
    """The address without a name and password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _only_warnings(logger: Logger) -> Iterator[None]:
    """Keep pooch from reporting each download on stderr, which a notebook shows in red.

    The progress line says enough.
    """
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _told_plainly(folder: Path) -> Iterator[None]:
    """Turn what the file system says into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = "there is no room left: free some, or"
        elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
            reason = "it may not be written:"
        else:
            reason = f"{(error.strerror or str(error)).lower()}:"
        raise DataError(
            f"{folder} cannot be used, {reason} choose another with root= or the environment"
            " variable CVCOURSE_DATA."
        ) from error
