"""Names of students, as they are or hidden behind stable pseudonyms."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from autograder.errors import CourseError
from autograder.grading.result import FOLDER

SECRET = "pseudonyms.key"
HIDDEN_NAME = "(name)"
RUN = re.compile(r"[^\W_](?:[\w.@+-]*[^\W_])?")
PIECE = re.compile(r"[^\W_]+")
MOST_PIECES = 40  # of one run that are looked at: every pair of them is tried


class Names:
    """Names as they are."""

    def of(self, student: str) -> str:
        """What stands for a student."""
        return student

    def hide(self, text: str) -> str:
        """A text with what stands for the students in it."""
        return text


class Pseudonyms(Names):
    """Names hidden: one pseudonym a student, the same in every unit and at every run of one course.

    also: other names of each student (first name, last name, address). In texts a name is found as
    a whole word, in any case, and between dots, dashes, underscores and slashes; a name inside a
    longer word is not.
    """

    def __init__(
        self,
        secret: bytes,
        students: Iterable[str],
        also: Mapping[str, Iterable[str]] | None = None,
    ):
        self.secret = secret
        self.known: dict[str, str] = {}
        students = list(students)
        for student, names in (also or {}).items():
            for name in names:
                self._learn(name, student)
                for word in PIECE.findall(name):
                    if len(word) > 1:
                        self._learn(word, student)
        self.known |= {student.casefold(): self.of(student) for student in students}

    def of(self, student: str) -> str:
        """The student's pseudonym: `learner-k7q2mxa4`."""
        name = student.encode("utf-8", errors="replace")
        digest = hmac.new(self.secret, name, hashlib.sha256).digest()
        return f"learner-{base64.b32encode(digest[:5]).decode().lower()}"

    def hide(self, text: str) -> str:
        """The text with every name in it replaced."""
        return RUN.sub(self._hidden, text)

    def _learn(self, name: str, student: str) -> None:
        """Remember a name; one that several students share tells nobody's pseudonym."""
        name, pseudonym = name.casefold(), self.of(student)
        if not name:
            return
        is_shared = self.known.get(name, pseudonym) != pseudonym
        self.known[name] = HIDDEN_NAME if is_shared else pseudonym

    def _hidden(self, found: re.Match[str]) -> str:
        """A run of word signs with its names replaced, the longest first."""
        run = found[0]
        if run.casefold() in self.known:
            return self.known[run.casefold()]
        pieces = [(piece.start(), piece.end()) for piece in PIECE.finditer(run)][:MOST_PIECES]
        done, out, index = 0, [], 0
        while index < len(pieces):
            for last in range(len(pieces) - 1, index - 1, -1):
                start, end = pieces[index][0], pieces[last][1]
                if run[start:end].casefold() in self.known:
                    out += [run[done:start], self.known[run[start:end].casefold()]]
                    done, index = end, last
                    break
            index += 1
        return "".join([*out, run[done:]])


def read_secret(course: Path) -> bytes:
    """What a course's pseudonyms are made from.

    It is made at first use, and never leaves the instructor's machine.

    Raises CourseError where it can be neither read nor written.
    """
    path = Path(course) / FOLDER / SECRET
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        secret = path.read_bytes()
    except OSError as error:
        raise CourseError(
            f"{FOLDER}/{SECRET}, which pseudonyms are made from, cannot be used ({error.strerror}):"
            " make it readable or delete it."
        ) from error
    if len(secret) < 32:
        raise CourseError(
            f"{FOLDER}/{SECRET} is damaged: delete it, and pseudonyms will be drawn anew."
        )
    return secret
