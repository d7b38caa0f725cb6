"""Running one submission in the sandbox: cells, then checks, whatever hangs or dies.

A cell or check that hangs or ends the process costs itself: the submission is started anew without
it, and checks that are through are not asked again. What comes back is a transcript, plain data
that decides nothing yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autograder.checking.outcome import (
    KERNEL_DEATH,
    OUT_OF_MEMORY,
    TAMPERING,
    TIMEOUT,
    Failure,
    Outcome,
)
from autograder.grading.align import RUN, Cell, Role
from autograder.grading.intake import seen
from autograder.grading.learner_source import leads_elsewhere
from autograder.grading.materials import Materials
from autograder.grading.result import CellRun
from autograder.sandbox.bubblewrap import Fork, Sandbox, SandboxError
from autograder.sandbox.wire import (
    LENGTHS,
    HangUp,
    Malformed,
    Silence,
    outcome_of,
    outputs_of,
    pack,
    receive,
    send_raw,
    string,
    strings,
)

START_SECONDS = 60.0
SLACK = 4.0  # seconds beyond every limit before the host ends things itself
CLOCK = 3  # a limit counts processor time; on the clock it is three times as long
MOST_STARTS = 25
MOST_EVIDENCE = 20  # lines
BEYOND = 2**63  # the runner sends no larger number
MOST_OUTPUT = 16 * 2**20  # characters that all cells may show together
MOST_NUMBERS = 256 * 2**20  # bytes of all outcomes; those of an honest notebook take kilobytes


@dataclass
class Transcript:
    """What running a submission gave.

    outcomes: by exercise, one a case, None for what was not reached. answers: plain numbers, None,
    or an Other. seconds: on the clock. peak_memory: in bytes.
    """

    outcomes: dict[str, list[Outcome | None]] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    cells: dict[str, CellRun] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)  # of exercises without readable answers
    evidence: list[str] = field(default_factory=list)
    tampered: set[str] = field(default_factory=set)  # the exercises whose process was tampered with
    seconds: float = 0.0
    peak_memory: int = 0
    starts: int = 0

    def fill(self, exercise: str, state: str) -> None:
        """Give what an exercise has no outcome for a state in its place."""
        if state == TAMPERING:
            self.tampered.add(exercise)
        if exercise in self.outcomes:
            missing = Outcome(failure=Failure(state))
            known = self.outcomes[exercise]
            self.outcomes[exercise] = [missing if one is None else one for one in known]
        elif exercise not in self.answers:
            self.states[exercise] = state

    def add_evidence(self, lines: Sequence[str]) -> None:
        """Keep signs of tampering, each once, and not without end."""
        lines = [seen(line) for line in lines]
        new = [line for line in lines if line not in self.evidence]
        self.evidence += new[: max(MOST_EVIDENCE - len(self.evidence), 0)]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    kind: run a `cell`, `mark` where a check stands, read `answers`, or try a part of a `check`'s
    cases.
    """

    kind: str
    name: str  # the cell's id or the exercise
    source: str = ""
    request: bytes = b""
    cases: tuple[int, ...] = ()


@dataclass(frozen=True)
class Other:
    """An answer that is no number; its type's name is all that crossed."""

    type_name: str


class GraderFault(Exception):
    """Something of ours failed; the submission is not to blame and may be tried again."""


class StepFailed(Exception):
    """A step ended the attempt."""

    def __init__(self, step: Step, state: str, detail: str = ""):
        self.step, self.state, self.detail = step, state, detail


def steps_of(materials: Materials, cells: Sequence[Cell]) -> list[Step]:
    """What is to be done, in order.

    Every cell comes first, then the released cases of every check, then the hidden ones.
    """
    steps: list[Step] = []
    parts: tuple[list[Step], list[Step]] = ([], [])
    for cell in cells:
        if cell.role in RUN:
            steps.append(Step("cell", cell.id, cell.source))
        if cell.role is not Role.CHECK:
            continue
        ask = materials.asks[cell.exercise]
        steps.append(Step("answers" if ask.answers else "mark", ask.exercise))
        for part, (request, cases) in zip(parts, ask.requests, strict=False):
            part.append(Step("check", ask.exercise, request=request, cases=cases))
    return [*steps, *parts[0], *parts[1]]


class Session:
    """One submission on its way through the sandbox."""

    def __init__(self, sandbox: Sandbox, materials: Materials, cells: Sequence[Cell]):
        self.sandbox, self.materials, self.limits = sandbox, materials, sandbox.limits
        self.steps = steps_of(materials, cells)
        self.watches_calls = leads_elsewhere(cell.source for cell in cells if cell.role in RUN)
        self.transcript = Transcript(
            {name: [None] * ask.cases for name, ask in materials.asks.items() if ask.cases}
        )
        self.left_out: set[Step] = set()
        self.output_left, self.numbers_left = MOST_OUTPUT, MOST_NUMBERS
        self.actions = {
            "cell": self.cell,
            "mark": self.mark,
            "answers": self.answers,
            "check": self.check,
        }

    def run(self) -> Transcript:
        """Attempts until one comes through; what hangs or dies is left out of the next.

        Returns what the cells and checks gave. Raises GraderFault where the sandbox itself fails.
        """
        begun = time.monotonic()
        self.ends = begun + self.limits.notebook_seconds
        for _ in range(MOST_STARTS):
            try:
                self.attempt()
                break
            except StepFailed as failed:
                self.note(failed)
            if time.monotonic() >= self.ends:
                break
        self.leave_rest(TIMEOUT if time.monotonic() >= self.ends else KERNEL_DEATH)
        self.transcript.seconds = time.monotonic() - begun
        return self.transcript

    def attempt(self) -> None:
        """One start of the submission."""
        try:
            fork = self.sandbox.fork()
        except SandboxError as error:
            raise GraderFault(str(error)) from error
        self.transcript.starts += 1
        try:
            self.begin(fork)
            for step in self.steps:
                if step not in self.left_out and not self.is_done(step):
                    self.take(fork, step)
        finally:
            self.account(fork.end())

    def begin(self, fork: Fork) -> None:
        """Hand over the unit's files."""
        try:
            send_raw(fork.data, self.materials.start)
            receive(fork.data, START_SECONDS)
        except (HangUp, Silence, Malformed) as error:
            raise GraderFault(f"the runner does not start ({type(error).__name__})") from error

    def take(self, fork: Fork, step: Step) -> None:
        """One step; when the process fails, what became of it."""
        if time.monotonic() >= self.ends:
            raise StepFailed(step, TIMEOUT)
        try:
            self.actions[step.kind](fork, step)
        except Silence:
            self.account(fork.kill())
            raise StepFailed(step, TIMEOUT) from None
        except HangUp:
            raise StepFailed(step, how_it_died(self.account(fork.end()))) from None
        except Malformed as error:
            self.account(fork.kill())
            raise StepFailed(
                step, TAMPERING, f"it sent what the runner never sends: {error}"
            ) from None

    def cell(self, fork: Fork, step: Step) -> None:
        """Run a cell and keep what it showed."""
        begun, seconds = time.monotonic(), self.seconds(self.limits.cell_seconds)
        send_raw(fork.data, pack({"do": "cell", "source": step.source, "seconds": seconds}))
        header, _ = receive(fork.data, self.patience(seconds))
        outputs = self.in_bounds(outputs_of(header.get("outputs")))
        self.transcript.cells.setdefault(
            step.name, CellRun(outputs, time.monotonic() - begun, state_in(header))
        )
        self.transcript.add_evidence(strings(header.get("tampered")))

    def in_bounds(self, outputs: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """A cell's outputs while there is room for them in the notebook."""
        self.output_left -= sum(len(str(output)) for output in outputs)
        if self.output_left >= 0 or not outputs:
            return outputs
        text = "(left out: the notebook shows too much)\n"
        return ({"output_type": "stream", "name": "stdout", "text": text},)

    def mark(self, fork: Fork, step: Step) -> None:
        """Say that a check stands here."""
        send_raw(fork.data, pack({"do": "mark", "exercise": step.name}))

    def answers(self, fork: Fork, step: Step) -> None:
        """Read an exercise's answers as plain numbers. Raises Malformed."""
        names = self.materials.asks[step.name].answers
        send_raw(fork.data, pack({"do": "answers", "names": list(names)}))
        header, _ = receive(fork.data, self.patience(self.limits.check_seconds))
        found = header.get("answers")
        if not isinstance(found, dict):
            raise Malformed("no answers")
        self.transcript.answers[step.name] = {name: answer_of(found.get(name)) for name in names}

    def check(self, fork: Fork, step: Step) -> None:
        """Take the outcomes of some cases, one by one."""
        seconds = self.seconds(self.limits.check_seconds)
        limit = time.monotonic() + self.patience(seconds)
        settings = {"seconds": seconds, "watch_calls": self.watches_calls}
        send_raw(fork.data, with_settings(step.request, **settings))
        timed_out = False
        for number, case in enumerate(step.cases):
            outcome = self.outcome(fork, step.name, number, limit)
            self.transcript.outcomes[step.name][case] = outcome
            timed_out |= outcome.failure == Failure(TIMEOUT)
        if timed_out:
            self.transcript.fill(step.name, TIMEOUT)  # hidden cases would only wait as long again

    def outcome(self, fork: Fork, exercise: str, number: int, limit: float) -> Outcome:
        """Take one outcome by the monotonic time `limit`. Raises Malformed."""
        header, tensors = receive(fork.data, max(limit - time.monotonic(), 0.01))
        if header.get("case") != number:
            raise Malformed("an outcome that nobody asked for")
        self.numbers_left -= sum(tensor.nbytes for tensor in tensors)
        if self.numbers_left < 0:
            tensors = [tensor[:0] if tensor.dim() else tensor for tensor in tensors]
        outcome = outcome_of(header, tensors)
        replaced = strings(header.get("tampered"))
        self.transcript.add_evidence(replaced)
        if replaced:
            self.transcript.tampered.add(exercise)
        return outcome

    def is_done(self, step: Step) -> bool:
        """Whether a step came through in an earlier attempt and later ones do not need it again."""
        if step.kind == "answers":
            return step.name in self.transcript.answers or step.name in self.transcript.states
        if step.kind != "check":
            return False
        outcomes = self.transcript.outcomes[step.name]
        return all(outcomes[case] is not None for case in step.cases)

    def note(self, failed: StepFailed) -> None:
        """Write down how a step failed, and leave it out from now on."""
        step = failed.step
        self.left_out.add(step)
        if failed.detail:
            self.transcript.add_evidence([failed.detail])
        if step.kind == "cell":
            self.transcript.cells[step.name] = CellRun(state=failed.state)
        else:
            self.transcript.fill(step.name, failed.state)

    def leave_rest(self, state: str) -> None:
        """What was not reached at all, because time or attempts ran out."""
        for step in self.steps:
            if step.kind == "cell":
                self.transcript.cells.setdefault(step.name, CellRun(state=state))
            elif not self.is_done(step):
                self.transcript.fill(step.name, state)

    def seconds(self, limit: float) -> float:
        """A step's limit, or what is left for the notebook."""
        return max(min(limit, self.ends - time.monotonic()), 0.1)

    def patience(self, seconds: float) -> float:
        """How long the host waits for a step of so many seconds."""
        return max(min(seconds * CLOCK, self.ends - time.monotonic()), 0.1) + SLACK

    def account(self, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note what an attempt used."""
        self.transcript.peak_memory = max(self.transcript.peak_memory, report.get("peak", 0))
        return report


def with_settings(request: bytes, **settings: Any) -> bytes:
    """A packed request with settings put in: requests are packed once for a whole class."""
    header, arrays = LENGTHS.unpack_from(request)
    text = request[LENGTHS.size : LENGTHS.size + header]
    settled = json.dumps(settings).encode()[:-1] + b", " + text[1:]
    return LENGTHS.pack(len(settled), arrays) + settled + request[LENGTHS.size + header :]


def how_it_died(report: Mapping[str, Any]) -> str:
    """What ended the runner, from its supervisor's report."""
    if report.get("over_memory"):
        return OUT_OF_MEMORY
    return TIMEOUT if report.get("exit") == -24 else KERNEL_DEATH  # SIGXCPU


def state_in(header: Mapping[str, Any]) -> str:
    """The state that the runner gives a cell: only those that a runner may give."""
    state = header.get("state")
    return state if state in (TIMEOUT, OUT_OF_MEMORY) else ""


def answer_of(item: Any) -> Any:
    """An answer in a message: a plain number, None, or Other. Raises Malformed."""
    if not isinstance(item, list) or len(item) != 2:
        raise Malformed("no answer")
    kind, number = string(item[0]), item[1]
    if number is not None and type(number) not in (bool, int, float):
        raise Malformed("no number")
    if isinstance(number, int) and abs(number) >= BEYOND:
        return Other("an integer beyond 64 bits")
    return number if kind in ("number", "missing") else Other(kind)
