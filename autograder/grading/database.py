"""The gradebook's database: opened with care, made safely where there is none, its errors said in
words."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autograder.errors import CourseError
from autograder.grading.errors import GradebookError, SubmissionError, explained, reason_of
from autograder.nbgrader_config import find_tools_beside_python

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.exc import DBAPIError

T = TypeVar("T")

PATIENCE = 15.0  # seconds to wait for a locked or restarting database
RETRY = 0.25  # seconds between two attempts to reach a lost database


class Database:
    """A gradebook's database: opened with care, asked in transactions, its errors said in words.

    patience: seconds to wait where it is locked, or was lost. Raises GradebookError where it cannot
    be used.
    """

    def __init__(self, url: str, patience: float):
        from sqlalchemy import create_engine, event
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError

        self.patience = patience
        try:
            self.url = make_url(url)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            self.engine = create_engine(self.url, connect_args=self._connect_arguments())
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
            raise GradebookError(
                f"The gradebook's address cannot be used ({reason_of(error)}): give one like"
                " `sqlite:////course/gradebook.db` or `postgresql+psycopg://user@host/name`, whose"
                " driver is installed."
            ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", leave_transactions_to_us)
            event.listen(self.engine, "begin", begin_as_asked)
        self.was_reached = False
        self._open()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    @property
    def name(self) -> str:
        """The database as an instructor knows it; never with its password."""
        path = Path(self.url.database or "")
        return path.name if self.is_sqlite else self.url.render_as_string(hide_password=True)

    def transaction(self, work: Callable[[Connection], T], writes: bool = False) -> T:
        """Do `work` in one transaction; once more after each lost connection, until patience
        ends."""
        from sqlalchemy.exc import DBAPIError, StatementError

        deadline = time.monotonic() + self.patience
        while True:
            try:
                with self.engine.connect() as connection:
                    connection = connection.execution_options(will_write=writes)
                    with connection.begin():
                        self._limit_waiting(connection, writes)
                        return work(connection)
            except DBAPIError as error:
                if not self._may_come_back(error) or time.monotonic() > deadline:
                    raise self.explained(error) from error
                self.engine.dispose()
                time.sleep(RETRY)
            except StatementError as error:
                raise SubmissionError(
                    f"The gradebook cannot hold this: {reason_of(error.orig)}."
                ) from error

    def explained(self, error: DBAPIError) -> CourseError:
        """A database's error in words."""
        from sqlalchemy.exc import DataError, IntegrityError

        said, code = str(error.orig).lower(), getattr(error.orig, "sqlstate", None)
        reason = reason_of(error.orig)
        if isinstance(error, DataError | IntegrityError):
            return SubmissionError(f"The gradebook does not take this submission ({reason}).")
        if "locked" in said or code == "55P03":
            sentence = (
                f"{self.name} is locked by another program, perhaps formgrader, an `nbgrader`"
                f" command or another grading run (waited {self.patience:g} seconds): let it end or"
                " close it, then grade again."
            )
        elif "disk is full" in said or code == "53100":
            sentence = (
                f"The disk is full: {self.name} could not be written. Make room and grade again."
            )
        elif "readonly" in said or "read-only" in said or "unable to open" in said:
            sentence = (
                f"{self.name} cannot be written: make the file and its folder writable, then grade"
                " again."
            )
        elif "not a database" in said or "malformed" in said:
            sentence = self._damaged("is damaged")
        elif "no such table" in said or "no such column" in said or code in ("42P01", "42703"):
            sentence = self._of_other_version("is not made as this nbgrader makes gradebooks")
        elif self._is_lost(error):
            sentence = (
                f"{self.name} cannot be reached ({reason}): see that the database server runs, then"
                " grade again."
            )
        else:
            sentence = f"{self.name} could not be used ({reason})."
        return GradebookError(sentence)

    def _connect_arguments(self) -> dict[str, Any]:
        if self.is_sqlite:
            return {"timeout": self.patience}
        return (
            {}
            if "connect_timeout" in self.url.query
            else {"connect_timeout": max(2, math.ceil(self.patience))}
        )

    def _limit_waiting(self, connection: Connection, writes: bool) -> None:
        if writes and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(1000 * self.patience)}")

    def _is_lost(self, error: DBAPIError) -> bool:
        from sqlalchemy.exc import InterfaceError, OperationalError

        lost = error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None
        return not self.is_sqlite and lost and isinstance(error, OperationalError | InterfaceError)

    def _may_come_back(self, error: DBAPIError) -> bool:
        """A server that was there before may be restarting; a first connection that fails has
        another reason."""
        return self.was_reached and self._is_lost(error)

    # Opening

    def _open(self) -> None:
        from sqlalchemy.exc import DBAPIError

        try:
            if self.is_sqlite:
                self._must_be_a_file()
            self.transaction(self._must_be_a_gradebook)
        except (
            DBAPIError
        ) as error:  # of nbgrader's own connection, where a gradebook had to be made
            raise self.explained(error) from error
        finally:
            self.engine.dispose()
        self.was_reached = True

    def _must_be_a_file(self) -> None:
        """See that SQLite has a file to open; without one, make a gradebook."""
        path = Path(self.url.database or "")
        if not self.url.database or self.url.database == ":memory:":
            raise GradebookError("A gradebook in memory is lost at once: give the path of a file.")
        with explained(path, path.parent):
            if not path.exists():
                create_sqlite(path, self.patience)
            elif not path.is_file():
                raise GradebookError(
                    f"{self.name} is not a file: move it away and put the gradebook in its place."
                )
            elif path.stat().st_size == 0:
                raise GradebookError(self._damaged("is empty (0 bytes)"))

    def _must_be_a_gradebook(self, connection: Connection) -> None:
        """Compare the tables with those of this nbgrader; make them on a server's empty
        database."""
        from alembic.script import ScriptDirectory
        from nbgrader.api import Base
        from nbgrader.dbutil import ALEMBIC_DIR
        from sqlalchemy import inspect, text

        inspector = inspect(connection)
        tables = set(inspector.get_table_names())
        if not tables and not self.is_sqlite:
            create_on_server(connection, self.url.render_as_string(hide_password=False))
            return
        if "assignment" not in tables:
            raise GradebookError(
                f"{self.name} is a database but no gradebook of nbgrader: put the gradebook in its"
                " place, or give its address."
            )
        for table in Base.metadata.tables.values():
            columns = (
                {column["name"] for column in inspector.get_columns(table.name)}
                if table.name in tables
                else ()
            )
            if not set(table.columns.keys()) <= set(columns):
                raise GradebookError(self._of_other_version("was made by an older nbgrader"))
        if "alembic_version" in tables:
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if version != ScriptDirectory(ALEMBIC_DIR).get_current_head():
                raise GradebookError(
                    self._of_other_version("was made by another version of nbgrader")
                )

    def _damaged(self, what: str) -> str:
        return (
            f"{self.name} {what}: put back a copy of it, or move it away, release each unit again"
            " with `nbgrader generate_assignment UNIT` and grade again."
        )

    def _of_other_version(self, what: str) -> str:
        return (
            f"{self.name} {what}: make a copy of it, then run `nbgrader db upgrade`, or install"
            " that version."
        )


def leave_transactions_to_us(connection: Any, _: Any) -> None:
    """Python's sqlite3 begins a transaction only at the first change, too late for what was read
    before it."""
    connection.isolation_level = None


def begin_as_asked(connection: Connection) -> None:
    """Take SQLite's write lock at once where something will be written, so that waiting for it
    works."""
    writes = connection.get_execution_options().get("will_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def create_sqlite(path: Path, patience: float) -> None:
    """Make a new gradebook in one step: processes that let nbgrader make one at the same time crash
    each other."""
    from filelock import FileLock, Timeout

    part = path.with_name(f".{path.name}.part")
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=max(patience, PATIENCE)):
            if path.exists():
                return
            part.unlink(missing_ok=True)
            make_tables(f"sqlite:///{part}")
            with contextlib.suppress(FileExistsError):  # then an nbgrader command was first
                os.link(part, path)
            part.unlink()
    except Timeout:
        raise GradebookError(
            f"Another program is making {path.name}: let it end, then grade again."
        ) from None


def create_on_server(connection: Connection, url: str) -> None:
    """Make a gradebook's tables on a server, where only one process at a time may try."""
    from sqlalchemy import inspect, text

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('nbgrader'))"))
        if inspect(connection).get_table_names():  # another process was first
            return
    make_tables(url)


def make_tables(url: str) -> None:
    """Let nbgrader make a gradebook."""
    from subprocess import CalledProcessError

    from nbgrader.api import Gradebook

    find_tools_beside_python()
    try:
        Gradebook(url).close()
    except (CalledProcessError, FileNotFoundError) as error:
        raise GradebookError(
            f"A new gradebook could not be made ({reason_of(error)}): run `make setup`."
        ) from error
