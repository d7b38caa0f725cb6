"""The gradebook's writer on a real PostgreSQL server, which these tests start, restart and stop."""

from __future__ import annotations

import getpass
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradebook_course import (
    POINTS,
    RIGHT,
    UNIT,
    WORDS,
    db_url,
    gradebook,
    grades,
    mistaken,
    release,
    result,
    solved,
    submit,
    tables,
    verdict,
)
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy import create_engine, text
from traitlets.config import Config

from autograder.checking.verdict import State
from autograder.grading.database import Database
from autograder.grading.errors import GradebookError, SubmissionError
from autograder.grading.gradebook import GradebookWriter
from autograder.grading.graded_folder import GradedFolder
from autograder.nbgrader_config import configure

pytestmark = pytest.mark.filterwarnings(
    "ignore:Object of type <Submitted"
)  # nbgrader's own queries
PASSWORD = "not-for-error-messages"


class Server:
    """A PostgreSQL server in a temporary folder, reached over loopback."""

    def __init__(self, programs: Path, folder: Path):
        self.programs, self.folder, self.data = programs, folder, folder / "data"
        self.user = getpass.getuser()
        if os.geteuid() == 0:  # it refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            self.user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(folder, self.user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run(
            "initdb", "-D", self.data, "-U", "teacher", "-A", "trust", "-E", "UTF8", "--no-sync"
        )

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
            " -c fsync=off"
        )
        self._run(
            "pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-o", options, "start"
        )

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://teacher:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run a statement outside any transaction."""
        engine = create_engine(self.url(database), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.programs / program), *map(str, arguments)]
        user = {"user": self.user, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(  # its output goes to a file: the server would keep a pipe open
            command,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            **user,
        )
        assert done.returncode == 0, (
            command,
            (self.folder / "log").exists() and (self.folder / "log").read_text(),
        )


def programs() -> Path | None:
    """Where PostgreSQL's server programs lie: Debian keeps them out of PATH."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += [
        Path(place) for place in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    ]
    return next(
        (place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()),
        None,
    )


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    place = programs()
    if place is None and os.environ.get("CI"):
        pytest.fail("PostgreSQL's server is not installed: apt-get install postgresql")
    if place is None:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, for its socket
    server = Server(place, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def released(server: Server, built_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature course, released into a database that each test copies, and into a SQLite one
    to compare with."""
    root = release(built_mini, tmp_path_factory.mktemp("released"))
    server.sql("CREATE DATABASE released")
    config = configure(Config())
    config.CourseDirectory.root = str(root)
    config.CourseDirectory.db_url = server.url("released")
    # On PostgreSQL, nbgrader cannot release in a course without a name.
    config.CourseDirectory.course_id = "cv"
    done = NbGraderAPI(CourseDirectory(config=config), config=config).generate_assignment(UNIT)
    assert done["success"], done
    return root


@pytest.fixture
def root(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "mini"))


numbers = iter(range(1000))


@pytest.fixture
def database(server: Server, released: Path) -> Iterator[str]:
    """A database of its own, with the unit released; its name."""
    name = f"course{next(numbers)}"
    server.sql(f"CREATE DATABASE {name} TEMPLATE released")
    yield name
    server.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def url(server: Server, database: str) -> str:
    return server.url(database)


@pytest.fixture
def writer(root: Path, url: str) -> Iterator[GradebookWriter]:
    with GradebookWriter(root, UNIT, db_url=url, patience=10) as opened:
        yield opened


def test_the_rows_are_those_of_sqlite(root: Path, url: str) -> None:
    for book in (gradebook(root), gradebook(root, url)):
        with book:
            book.update_or_create_assignment(UNIT, duedate="2026-01-10 12:00:00 UTC")
    submit(root, "ada", "2026-01-10 11:00:00 UTC")
    submit(root, "cy", "2026-01-10 14:00:00.25 Europe/Paris")
    config = configure(Config())
    config.LateSubmissionPlugin.penalty_method = "zero"
    found = [
        result("ada"),
        result("bo", *(verdict(name, State.NOT_ATTEMPTED) for name in POINTS)),
        result("cy", mistaken("Scale", 0.25), verdict("counts", State.GRADER_FAULT)),
        result("cy", mistaken("Scale", 0.75), verdict("counts", State.TAMPERING), digest="d2"),
    ]
    for address in (db_url(root), url):
        shutil.rmtree(root / ".grading", ignore_errors=True)
        with GradebookWriter(root, UNIT, db_url=address, config=config) as writer:
            for item in found:
                writer.write(item, solved(root, question_blur=WORDS))
            assert writer.holds(found[-1]) and not writer.holds(found[-2])
    assert tables(url) == tables(db_url(root))
    assert len(tables(url)["grade"]) == 3 * 4
    assert set(RIGHT) <= {row[1] for row in tables(url)["comment"]}


def test_a_fresh_database_becomes_a_gradebook_once(server: Server, root: Path) -> None:
    server.sql("CREATE DATABASE fresh")
    try:
        children = [in_child(lambda: Database(server.url("fresh"), 20)) for _ in range(4)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0, 0]
        with Gradebook(server.url("fresh"), "") as book:
            assert book.assignments == []
        writer = GradebookWriter(root, UNIT, db_url=server.url("fresh"))
        with writer, pytest.raises(GradebookError, match="was never released"):
            writer.released()
    finally:
        server.sql("DROP DATABASE fresh WITH (FORCE)")


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process; returns its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def test_a_restart_between_two_writes(
    server: Server, root: Path, url: str, writer: GradebookWriter
) -> None:
    writer.write(result("ada"), solved(root))
    server.stop()
    server.start()
    writer.write(result("bo"), solved(root))
    assert writer.problem_with("cy") == ""
    assert {row[0] for row in tables(url)["grade"]} == {"ada", "bo"}


def test_a_server_that_is_away_for_a_moment(
    server: Server, root: Path, url: str, writer: GradebookWriter
) -> None:
    writer.write(result("ada"), solved(root))
    server.stop()
    back = threading.Timer(1.0, server.start)
    back.start()
    writer.write(result("ada", mistaken("Scale")), solved(root))
    back.join()
    assert grades(url, "ada")["check_Scale"] == (0.0, False)
    assert writer.holds(result("ada", mistaken("Scale")))


def test_a_connection_lost_before_the_commit(
    server: Server, root: Path, url: str, writer: GradebookWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows were sent and the folder renamed: both happen once, and only once."""
    writer.write(result("ada"), solved(root))
    put_in_place, losses = GradedFolder.put_in_place, []

    def lose(folder: GradedFolder) -> None:
        put_in_place(folder)
        if not losses:
            losses.append(folder)
            server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                " pg_backend_pid()"
            )

    monkeypatch.setattr(GradedFolder, "put_in_place", lose)
    for item in (result("ada", mistaken("Scale")), result("bo")):
        losses.clear()
        writer.write(item, solved(root))
        assert losses and writer.holds(item)
    assert len(tables(url)["grade"]) == 8
    assert not list((root / "autograded").rglob(".*"))


def test_a_server_that_is_gone_for_good(server: Server, root: Path, url: str, patience) -> None:
    with GradebookWriter(root, UNIT, db_url=url, patience=1) as writer:
        writer.write(result("ada"), solved(root))
        before, rows = files(root), tables(url)
        server.stop()
        try:
            started = time.monotonic()
            for student in ("ada", "bo"):
                with pytest.raises(
                    GradebookError, match="see that the database server runs"
                ) as said:
                    writer.write(result(student, mistaken("Scale")), solved(root))
                assert PASSWORD not in str(said.value) and "\n" not in str(said.value)
            assert 2 <= time.monotonic() - started < patience(15)
            assert files(root) == before
            assert not list((root / "autograded").rglob(".*"))
        finally:
            server.start()
        assert tables(url) == rows
        writer.write(result("bo"), solved(root))


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in (root / "autograded").rglob("*") if path.is_file()
    }


def test_a_first_connection_that_fails_is_not_waited_for(
    server: Server, root: Path, patience
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = server.url("course").replace(f":{server.port}/", f":{free.getsockname()[1]}/")
    started = time.monotonic()
    for address in (nobody, server.url("nosuchdatabase")):
        with pytest.raises(GradebookError, match="cannot be reached") as said:
            GradebookWriter(root, UNIT, db_url=address, patience=60)
        assert PASSWORD not in str(said.value)
    assert time.monotonic() - started < patience(20)


def test_a_table_that_another_program_locked(server: Server, root: Path, url: str) -> None:
    with GradebookWriter(root, UNIT, db_url=url, patience=0.5) as writer:
        writer.write(result("ada"), solved(root))
        other = create_engine(url)
        with other.begin() as connection:
            connection.execute(text("LOCK TABLE grade IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(GradebookError, match="is locked by another program"):
                writer.write(result("ada", mistaken("Scale")), solved(root))
        other.dispose()
        writer.write(result("ada", mistaken("Scale")), solved(root))
    assert grades(url, "ada")["check_Scale"] == (0.0, False)


def test_a_persons_score_given_meanwhile_stays(
    root: Path, url: str, writer: GradebookWriter
) -> None:
    writer.write(result("ada"), solved(root))
    with gradebook(root, url) as book:
        grade = book.find_grade("check_Scale", UNIT, UNIT, "ada")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        book.db.commit()
    writer.write(result("ada", mistaken("counts")), solved(root))
    with gradebook(root, url) as book:
        grade = book.find_grade("check_Scale", UNIT, UNIT, "ada")
        assert (grade.manual_score, grade.needs_manual_grade, grade.score) == (1.5, False, 1.5)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "ALTER TABLE student DROP COLUMN lms_user_id",
            "was made by an older nbgrader: .* `nbgrader db upgrade`",
        ),
        (
            "UPDATE alembic_version SET version_num = 'ffffffffffff'",
            "was made by another version of nbgrader",
        ),
        ("ALTER TABLE assignment RENAME TO songs", "is a database but no gradebook of nbgrader"),
    ],
    ids=["old", "newer", "other"],
)
def test_a_database_that_is_no_gradebook(
    server: Server, root: Path, database: str, url: str, damage: str, said: str
) -> None:
    server.sql(damage, database)
    with pytest.raises(GradebookError, match=said) as error:
        GradebookWriter(root, UNIT, db_url=url)
    assert PASSWORD not in str(error.value)


def test_a_gradebook_that_may_only_be_read(
    server: Server, root: Path, database: str, url: str
) -> None:
    server.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with (
        GradebookWriter(root, UNIT, db_url=url) as writer,
        pytest.raises(GradebookError, match="cannot be written"),
    ):
        writer.write(result("ada"), solved(root))
    assert not (root / "autograded" / "ada" / UNIT).exists()


def test_a_row_that_the_database_refuses_stops_one_submission(
    server: Server, root: Path, database: str, url: str, writer: GradebookWriter
) -> None:
    server.sql("ALTER TABLE student ADD CONSTRAINT short CHECK (length(id) < 5)", database)
    with pytest.raises(
        SubmissionError, match=r"The gradebook does not take this submission .*violates check"
    ):
        writer.write(result("longname"), solved(root))
    writer.write(result("ada"), solved(root))
    assert {row[0] for row in tables(url)["student"]} == {"ada"}


def test_text_that_postgresql_cannot_hold(root: Path, url: str, writer: GradebookWriter) -> None:
    forbidden = verdict("Scale", State.WRONG, shortcuts=(("conv2d", "torch\0.conv\ud800"),))
    writer.write(result("ada", forbidden), solved(root))
    assert any("torch.conv?" in (row[3] or "") for row in tables(url)["comment"])
