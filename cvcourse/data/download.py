"""Fetching one file: into a cache folder, going on where an earlier try stopped, believed only if
its checksum fits."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from .errors import DataError

if TYPE_CHECKING:
    import requests

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
        """Where to fetch it: `url`, or the same file name under CVCOURSE_DATA_URL, say a mirror in
        a classroom."""
        mirror = os.environ.get("CVCOURSE_DATA_URL")
        return f"{mirror.rstrip('/')}/{self.file_name}" if mirror else self.url


class _Refused(Exception):
    """The answer cannot be what was asked for; another try would bring the same."""


def cache_folder(root: str | Path | None = None) -> Path:
    """Where fetched files are kept: `root`, or else the environment's CVCOURSE_DATA, or else the
    platform's cache."""
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
    """The path of the verified file, downloaded if it is not in the cache folder or is spoilt
    there.

    Raises DataError if it cannot be had.
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
    with (
        FileLock(f"{path}.lock"),
        _no_reports(pooch.get_logger()),
    ):  # one download at a time, for several processes
        for _ in range(2):
            try:
                pooch.retrieve(
                    archive.address,
                    f"sha256:{archive.sha256}",
                    path.name,
                    path.parent,
                    downloader=downloader,
                )
                return
            except ValueError:  # pooch: the checksum differs; it has removed the file
                if (
                    not downloader.resumed
                ):  # a beginning left by an earlier try may be what was wrong: once more, whole
                    break
    raise DataError(
        f"What came from {_shown(archive.address)} is not the file expected (its checksum differs)"
        " and was removed: try again later, or download it elsewhere and give folder=."
    )


class ResumingDownloader:
    """A downloader for pooch that keeps what has come in a `.part` file and asks only for the
    rest."""

    def __init__(self, archive: Archive, path: Path, progress: bool) -> None:
        self.archive = archive
        self.part = path.with_name(path.name + ".part")
        self.progress = progress
        self.resumed = False  # whether the last file began with bytes of an earlier connection
        self.answered = False  # whether the server was reached at all

    def __call__(self, url: str, output_file: str | Path, pooch: object) -> None:
        """Called by pooch; leaves the whole file at `output_file`."""
        import requests
        import urllib3

        self.resumed = False
        problem: object = None
        for _ in range(TRIES):
            try:
                self._continue(url)
            except (
                requests.RequestException,
                urllib3.exceptions.HTTPError,
                ConnectionError,
                TimeoutError,
            ) as error:
                problem = error
                if _is_final(error):
                    break
            except _Refused as refusal:
                self.part.unlink(missing_ok=True)
                raise DataError(
                    f"{_shown(url)} {refusal}: try again later, or give folder=."
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
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if (
                answer.status_code == 416
            ):  # the server's file ends before ours: ours is no part of it
                self.part.unlink()
                return
            answer.raise_for_status()
            self.answered = True
            continued = answer.status_code == 206
            if continued and not answer.headers.get("Content-Range", "").startswith(
                f"bytes {start}-"
            ):
                self.part.unlink()
                return
            self.resumed = continued
            self._write(answer, append=continued)

    def _write(self, answer: requests.Response, append: bool) -> None:
        with open(self.part, "ab" if append else "wb") as file:
            # As sent: a gzip file is not to be unpacked.
            for piece in answer.raw.stream(PIECE, decode_content=False):
                file.write(piece)
                if file.tell() > self.archive.size:
                    raise _Refused(f"sends more than the {self.archive.size} bytes expected")
                self._show(file.tell())
        if self.progress:
            print(file=sys.stderr)

    def _show(self, done: int) -> None:
        name, size = self.archive.file_name, self.archive.size
        if self.progress and (done == size or done // 1_000_000 > (done - PIECE) // 1_000_000):
            print(
                f"\r{name}  {done / 1e6:.0f} of {size / 1e6:.0f} MB",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def _why_stopped(self, url: str, problem: object) -> str:
        status = getattr(getattr(problem, "response", None), "status_code", None)
        if status is not None:
            return (
                f"{_shown(url)} answers {status}: try again later, or give folder=, a folder that"
                " holds the file."
            )
        have = f"{self._bytes_here() / 1e6:.1f} of {self.archive.size / 1e6:.1f} MB"
        if self.answered:
            return (
                f"The download of {self.archive.file_name} stopped at {have}: call again and it"
                " goes on from there."
            )
        return (
            f"{_shown(url)} cannot be reached ({have} are here): go online and call again, or"
            " download the file elsewhere and give folder=, the folder that holds it."
        )


def _is_final(error: Exception) -> bool:
    """A refusal by status, unlike a broken connection or a busy server, will not change within
    seconds."""
    response = getattr(error, "response", None)
    return response is not None and response.status_code < 500


def _shown(url: str) -> str:
    """The address without a name and password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def _no_reports(logger: logging.Logger) -> Iterator[None]:
    """Pooch reports each download on stderr, which a notebook shows in red; the progress line says
    enough."""
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
