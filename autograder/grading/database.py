"""The gradebook's database: opened with care, its errors said in words."""

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
        """Do `work` in one transaction, and once more after each lost connection.

        Returns what `work` returns. Raises GradebookError when patience ends or the database cannot
        be used, and SubmissionError where it does not take this submission.
        """
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
                    raise in_words(error, self) from error
                self.engine.dispose()
                time.sleep(RETRY)
            except StatementError as error:
                raise SubmissionError(
                    f"The gradebook cannot hold this: {reason_of(error.orig)}."
                ) from error

    def _connect_arguments(self) -> dict[str, Any]:
        if self.is_sqlite:
            return {"timeout": self.patience}
        if "connect_timeout" in self.url.query:
            return {}
        return {"connect_timeout": max(2, math.ceil(self.patience))}

    def _limit_waiting(self, connection: Connection, writes: bool) -> None:
        if writes and connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(1000 * self.patience)}")

    def is_lost(self, error: DBAPIError) -> bool:
        """Whether an error says that the connection to a server is gone."""
        from sqlalchemy.exc import InterfaceError, OperationalError

        lost = error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None
        return not self.is_sqlite and lost and isinstance(error, OperationalError | InterfaceError)

    def _may_come_back(self, error: DBAPIError) -> bool:
        """Whether waiting helps: a server that was there before may be restarting.

        A first connection that fails has another reason.
        """
        return self.was_reached and self.is_lost(error)

    # Opening

    def _open(self) -> None:
        from sqlalchemy.exc import DBAPIError

        try:
            if self.is_sqlite:
                self._must_be_a_file()
            self.transaction(self._must_be_a_gradebook)
        except DBAPIError as error:  # nbgrader's, where a gradebook had to be made
            raise in_words(error, self) from error
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
                raise GradebookError(damaged(self.name, "is empty (0 bytes)"))

    def _must_be_a_gradebook(self, connection: Connection) -> None:
        """Compare the tables with this nbgrader's; make them on a server's empty database."""
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
            found = inspector.get_columns(table.name) if table.name in tables else []
            if not set(table.columns.keys()) <= {column["name"] for column in found}:
                raise GradebookError(of_other_version(self.name, "was made by an older nbgrader"))
        if "alembic_version" in tables:
            version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if version != ScriptDirectory(ALEMBIC_DIR).get_current_head():
                raise GradebookError(
                    of_other_version(self.name, "was made by another version of nbgrader")
                )


# Errors in words


def in_words(error: DBAPIError, database: Database) -> CourseError:
    """A database's error in words: of one submission, or of the gradebook as a whole."""
    from sqlalchemy.exc import DataError, IntegrityError

    name = database.name
    said, code = str(error.orig).lower(), getattr(error.orig, "sqlstate", None)
    reason = reason_of(error.orig)
    if isinstance(error, DataError | IntegrityError):
        return SubmissionError(f"The gradebook does not take this submission ({reason}).")
    if "locked" in said or code == "55P03":
        return GradebookError(
            f"{name} is locked by another program, perhaps formgrader, an `nbgrader` command or"
            f" another grading run (waited {database.patience:g} seconds): let it end or close it,"
            " then grade again."
        )
    if "disk is full" in said or code == "53100":
        return GradebookError(
            f"The disk is full: {name} could not be written. Make room and grade again."
        )
    if "readonly" in said or "read-only" in said or "unable to open" in said:
        return GradebookError(
            f"{name} cannot be written: make the file and its folder writable, then grade again."
        )
    if "not a database" in said or "malformed" in said:
        return GradebookError(damaged(name, "is damaged"))
    if "no such table" in said or "no such column" in said or code in ("42P01", "42703"):
        what = "is not made as this nbgrader makes gradebooks"
        return GradebookError(of_other_version(name, what))
    if database.is_lost(error):
        return GradebookError(
            f"{name} cannot be reached ({reason}): see that the database server runs, then grade"
            " again."
        )
    return GradebookError(f"{name} could not be used ({reason}).")


def damaged(name: str, what: str) -> str:
    """What to do about a gradebook that cannot be read."""
    return (
        f"{name} {what}: put back a copy of it, or move it away, release each unit again with"
        " `nbgrader generate_assignment UNIT` and grade again."
    )


def of_other_version(name: str, what: str) -> str:
    """What to do about a gradebook that is not made as this nbgrader makes them."""
    return (
        f"{name} {what}: make a copy of it, then run `nbgrader db upgrade`, or install that"
        " version."
    )


# Connections


def leave_transactions_to_us(connection: Any, _: Any) -> None:
    """Begin no transaction unasked.

    Python's sqlite3 begins one only at the first change, too late for what was read before it.
    """
    connection.isolation_level = None


def begin_as_asked(connection: Connection) -> None:
    """Take SQLite's write lock at once where something will be written.

    Waiting for the lock works only then.
    """
    writes = connection.get_execution_options().get("will_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def create_sqlite(path: Path, patience: float) -> None:
    """Make a new gradebook in one step.

    Processes that let nbgrader make one at the same time crash each other.
    """
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
