"""Grading on a Dask cluster of processes on loopback: the same scores, and a worker that dies loses
nothing."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradebook_course import UNIT, db_url, grades, notebook_of, solved, tables
from grading_class import KILLED, LIMITS, LOOP, enrol, hand_in, patched, with_cell

from autograder.errors import CourseError
from autograder.grading import grade
from autograder.grading import workers as workers_module
from autograder.grading.grade import Graded, Options, grade_unit
from autograder.grading.workers import Cluster, WorkerSettings

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, when processes die


class Processes:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.running: list[subprocess.Popen] = []
        log = self.start(
            "scheduler", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"
        )
        self.address = self.said(log, r"Scheduler at:\s+(tcp://\S+)")
        self.scheduler = self.running[0]

    def start(self, name: str, module: str, *arguments: str) -> Path:
        log = self.folder / f"{name}.log"
        command = [sys.executable, "-m", module, *arguments, "--no-dashboard"]
        with log.open("wb") as file:
            self.running.append(
                subprocess.Popen(command, stdout=file, stderr=file, cwd=self.folder)
            )
        return log

    def worker(self, name: str) -> subprocess.Popen:
        """One more worker: a single process, no nanny that would start it again."""
        options = (
            "--nthreads",
            "1",
            "--no-nanny",
            "--name",
            name,
            "--local-directory",
            str(self.folder / name),
        )
        log = self.start(name, "distributed.cli.dask_worker", self.address, *options)
        self.said(log, r"(Registered to)")
        return self.running[-1]

    def said(self, log: Path, pattern: str) -> str:
        """What a process says of itself, once it does."""
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            if found := re.search(pattern, log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(log.read_text()[-2000:])

    def close(self) -> None:
        """End them all, workers first."""
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()


@pytest.fixture
def processes(must_be_sandboxed: None, tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path)
    yield found
    found.close()


@pytest.fixture
def a_dozen(course: Path) -> Path:
    """A dozen submissions, right and wrong."""
    kinds = [
        solved(course),
        notebook_of(course),
        patched(course, moving_sum=(".sum()", ".mean()")),
        with_cell(solved(course), KILLED),
    ]
    students = [f"s{number:02}" for number in range(12)]
    for number, student in enumerate(students):
        hand_in(course, student, kinds[number % len(kinds)])
    enrol(course, *students)
    return course


def test_the_same_scores_though_a_worker_dies(processes, a_dozen, monkeypatch):
    hand_in(
        a_dozen, "s12", solved(a_dozen, moving_sum=LOOP)
    )  # two seconds and more: something to be killed in
    enrol(a_dozen, "s12")
    workers = [processes.worker("one"), processes.worker("two")]
    written: Counter[str] = Counter()
    through: list[str] = []
    original = grade.GradingRun.write

    def noted(run: grade.GradingRun, result: object, aligned: object) -> bool:
        written[result.student] += 1
        return original(run, result, aligned)

    def kill_one(done: int, total: int, student: str) -> None:
        through.append(student)
        if done == 3:
            os.kill(workers[0].pid, signal.SIGKILL)

    monkeypatch.setattr(grade.GradingRun, "write", noted)
    graded = grade_unit(a_dozen, UNIT, Options(limits=LIMITS, cluster=processes.address), kill_one)
    assert workers[0].wait(5) == -signal.SIGKILL
    assert workers[1].poll() is None
    assert graded.problems == {} and not any(result.waiting for result in graded.results)
    assert written == Counter(dict.fromkeys((f"s{number:02}" for number in range(13)), 1))
    assert sorted(through) == sorted(written)
    on_cluster = tables(db_url(a_dozen))
    kept = {
        result.student: {name: (v.state, v.points) for name, v in result.verdicts.items()}
        for result in graded.results
    }

    here = grade_unit(a_dozen, UNIT, Options(limits=LIMITS, workers=2, again=True))
    assert {
        r.student: {name: (v.state, v.points) for name, v in r.verdicts.items()}
        for r in here.results
    } == kept
    assert tables(db_url(a_dozen)) == on_cluster
    assert no_sandbox_of(workers[0].pid)


def scores(graded: Graded) -> dict[str, dict[str, tuple[str, float]]]:
    """(state, points) by student and exercise."""
    return {
        result.student: {
            name: (verdict.state, verdict.points) for name, verdict in result.verdicts.items()
        }
        for result in graded.results
    }


def no_sandbox_of(number: int) -> bool:
    """Whether nothing runs any more that a process started: its sandbox ended with it."""
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        found = [path for path in Path("/proc").glob("[0-9]*/stat") if parent_of(path) == number]
        if not found:
            return True
        time.sleep(0.1)
    return False


def parent_of(stat: Path) -> int:
    with contextlib.suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return 0


def test_a_scheduler_that_dies_gives_and_takes_no_points(processes, a_dozen, monkeypatch):
    processes.worker("one")

    def kill(done: int, total: int, student: str) -> None:
        if done == 3:
            processes.scheduler.kill()

    monkeypatch.setattr(workers_module, "CLUSTER_SECONDS", 2)
    options = Options(limits=LIMITS, cluster=processes.address)
    outcome: list[object] = []
    thread = threading.Thread(
        target=lambda: outcome.append(grade_unit(a_dozen, UNIT, options, kill)), daemon=True
    )
    thread.start()
    thread.join(90)
    assert not thread.is_alive(), "it waits for a scheduler that is gone"
    (graded,) = outcome
    assert len(graded.results) == 12
    waiting = [result.student for result in graded.results if result.waiting]
    assert 0 < len(waiting) <= 9 and graded.needs_a_person
    for student in waiting:
        assert grades(db_url(a_dozen), student)["check_Scale"] == (None, True)
    again = grade_unit(a_dozen, UNIT, Options(limits=LIMITS))
    assert again.run == len(waiting)
    assert not any(result.waiting for result in again.results)


def test_a_cluster_without_workers(processes):
    cluster = Cluster(WorkerSettings(LIMITS), processes.address)
    with (
        contextlib.closing(cluster),
        pytest.raises(CourseError, match="has no workers: start some with `dask worker"),
    ):
        cluster.wait_until_ready()


def test_no_scheduler_there(monkeypatch):
    monkeypatch.setattr(workers_module, "CLUSTER_SECONDS", 1)
    with pytest.raises(
        CourseError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9 .*is it running\?"
    ):
        Cluster(WorkerSettings(LIMITS), "tcp://127.0.0.1:9")


@pytest.mark.parametrize("address", ["nonsense", "ftp://127.0.0.1:1"])
def test_an_address_that_is_none(monkeypatch, address):
    monkeypatch.setattr(workers_module, "CLUSTER_SECONDS", 1)
    with pytest.raises(CourseError, match=re.escape(address)):
        Cluster(WorkerSettings(LIMITS), address)


def test_a_machine_too_busy_for_dask_says_so(monkeypatch):
    def stuck(*_, **__):
        raise AssertionError

    monkeypatch.setattr("distributed.Client", stuck)
    with pytest.raises(CourseError, match="too busy"):
        Cluster(WorkerSettings(LIMITS), "tcp://127.0.0.1:9")


def test_workers_of_another_version_do_not_grade(processes, monkeypatch):
    from autograder.grading import materials

    processes.worker("one")
    monkeypatch.setattr(materials, "grader_digest", lambda: "another")
    cluster = Cluster(WorkerSettings(LIMITS), processes.address)
    with (
        contextlib.closing(cluster),
        pytest.raises(CourseError, match="another version of the course"),
    ):
        cluster.wait_until_ready()
