"""Where submissions run: workers on this machine or of a Dask cluster.

Each turns one submission after the other into a transcript.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import CourseError
from autograder.grading.align import Cell
from autograder.grading.errors import fault_in_words
from autograder.sandbox.bubblewrap import PACKAGES, Limits, Sandbox, SandboxError

if TYPE_CHECKING:
    from autograder.grading.materials import Materials
    from autograder.grading.session import Transcript

MOST_RESTARTS = 5
CLUSTER_SECONDS = 10
MOST_SAID = 200  # characters of what a lost worker said


@dataclass(frozen=True)
class WorkerSettings:
    """How workers run submissions. hidden: paths of the host that submissions must not see."""

    limits: Limits = field(default_factory=Limits)
    unsafe: bool = False
    preload: tuple[str, ...] = ()
    hidden: tuple[Path, ...] = ()

    def sandbox(self) -> Sandbox:
        """A sandbox of these settings, starting."""
        return Sandbox(self.limits, self.unsafe, self.preload, [*self.hidden, *private_paths()])


@dataclass(frozen=True)
class Ended:
    """A submission that a worker is through with: its transcript, or what of ours failed."""

    student: str
    transcript: Transcript | None = None
    fault: str = ""


def private_paths() -> list[Path]:
    """What no submission may see on any machine: the solutions, and the home of whoever grades."""
    paths = [
        PACKAGES / "solutions",
        PACKAGES / ".git",
        PACKAGES / "gradebook.db",
        PACKAGES / "submitted",
    ]
    with contextlib.suppress(RuntimeError):
        paths += [Path.home() / name for name in (".ssh", ".bashrc", ".profile", ".config")]
    return paths


def cores() -> int:
    """How many workers this machine has room for."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


class Workers:
    """Threads that each take one submission at a time through one warm sandbox.

    count: how many; 0 for as many as the machine has cores.
    """

    def __init__(self, settings: WorkerSettings, count: int = 0):
        self.settings = settings
        self.count = count or cores()
        self._sandbox = settings.sandbox()  # starts while the caller gets ready
        self._lock = threading.Lock()
        self._restarts = 0
        self._closed = False

    def wait_until_ready(self) -> None:
        """Wait for the sandbox and prove that it holds. Raises SandboxError."""
        proven(self._sandbox)

    def run(self, materials: Materials, jobs: Mapping[str, Sequence[Cell]]) -> Iterator[Ended]:
        """Run submissions; each comes back when it is through. Who stops half-way ends them all."""
        with ThreadPoolExecutor(self.count) as pool:
            waiting = {
                pool.submit(self.one, materials, student, cells) for student, cells in jobs.items()
            }
            try:
                yield from as_they_end(waiting)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                # what is still running ends with its sandbox; nobody waits for a loop without end
                self.close()
                raise

    def one(self, materials: Materials, student: str, cells: Sequence[Cell]) -> Ended:
        """Run one submission; where the sandbox fails, once more in a new one."""
        from autograder.grading.session import GraderFault, Session

        fault = ""
        for _ in range(2):
            sandbox = self._sandbox
            try:
                return Ended(student, Session(sandbox, materials, cells).run())
            except GraderFault as error:
                fault = str(error)
                self.replace(sandbox)
            except Exception as error:  # ours, whatever it is: it must not end the class
                return Ended(student, fault=fault_in_words(error))
        return Ended(student, fault=fault)

    def replace(self, broken: Sandbox) -> None:
        """Start a new sandbox in the place of one that is gone."""
        with self._lock:
            in_use = self._sandbox is not broken or broken.process.poll() is None
            if in_use or self._closed or self._restarts >= MOST_RESTARTS:
                return
            self._restarts += 1
            broken.close()
            with contextlib.suppress(SandboxError):
                self._sandbox = proven(self.settings.sandbox())

    def close(self) -> None:
        """End the sandbox and all that runs in it."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._sandbox.close()


def proven(sandbox: Sandbox) -> Sandbox:
    """The sandbox, ready and seen to hold what it promises.

    Raises SandboxError; then the sandbox is closed.
    """
    try:
        sandbox.wait_until_ready()
        sandbox.must_hold()
    except BaseException:
        sandbox.close()
        raise
    return sandbox


def as_they_end(waiting: set[Future]) -> Iterator[Ended]:
    """Results of futures, each as soon as it is there."""
    while waiting:
        ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in ended:
            yield future.result()


# A cluster


class Cluster:
    """The same work on the workers of a Dask cluster.

    Each of them keeps a warm sandbox of its own.
    """

    def __init__(self, settings: WorkerSettings, address: str):
        self.settings = settings
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise CourseError(
                "Grading on a cluster needs the package distributed: `pip install -c"
                " constraints.txt -e '.[grading]'`."
            ) from None
        try:
            self.client = Client(address, timeout=CLUSTER_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise CourseError(
                f"No Dask scheduler answers at {address} ({error}): is it running?"
            ) from error
        except AssertionError as error:  # Dask's own thread did not start within ten seconds
            raise CourseError(
                f"Dask did not start, so {address} was not asked: is this machine too busy?"
            ) from error

    def wait_until_ready(self) -> None:
        """See that there are workers, and that they run this very grader. Raises CourseError."""
        from autograder.grading.materials import grader_digest

        if not self.client.scheduler_info(n_workers=-1)["workers"]:
            raise CourseError(
                "The Dask cluster has no workers: start some with `dask worker ADDRESS`."
            )
        ours, problems = grader_digest(), []
        for worker, found in self.client.run(ready_worker, self.settings).items():
            if isinstance(found, str) and found != ours:
                why = found if " " in found else "another version of the course"
                problems.append(f"{worker}: {why}")
        if problems:
            raise CourseError(f"Workers of the cluster cannot grade: {'; '.join(problems)}.")

    def run(self, materials: Materials, jobs: Mapping[str, Sequence[Cell]]) -> Iterator[Ended]:
        """Run submissions; what a lost worker had in hand, Dask gives to another."""
        from distributed import as_completed

        materials_there = self.client.scatter(materials, broadcast=True, hash=False)
        futures = {
            self.client.submit(
                run_on_worker, self.settings, materials_there, student, cells, pure=False
            ): student
            for student, cells in jobs.items()
        }
        try:
            for future in as_completed(futures):
                yield ended_of(future, futures[future])
        finally:
            self.client.cancel(list(futures), force=True)

    def close(self) -> None:
        """Leave the cluster; its workers stay."""
        self.client.close()


def ended_of(future: Any, student: str) -> Ended:
    """What a cluster's task gave; an exception there is a fault of ours."""
    try:
        return future.result()
    except Exception as error:  # KilledWorker, a lost scheduler, a bug
        return Ended(student, fault=fault_in_words(error)[:MOST_SAID])


_workers_of_process: dict[WorkerSettings, Workers] = {}
_lock = threading.Lock()


def workers_here(settings: WorkerSettings) -> Workers:
    """The warm workers of this worker process, made at the first use."""
    import atexit

    with _lock:
        if settings not in _workers_of_process:
            workers = Workers(settings, 1)
            workers.wait_until_ready()
            atexit.register(workers.close)
            _workers_of_process[settings] = workers
        return _workers_of_process[settings]


def ready_worker(settings: WorkerSettings) -> str:
    """On a worker: the digest of its grader, or why it cannot grade."""
    from autograder.grading.materials import grader_digest

    try:
        workers_here(settings)
    except CourseError as error:
        return str(error)
    return grader_digest()


def run_on_worker(
    settings: WorkerSettings, materials: Materials, student: str, cells: Sequence[Cell]
) -> Ended:
    """On a worker: one submission."""
    return workers_here(settings).one(materials, student, cells)
