"""What the checks say of answers that learners wrote: `python docs/measure/answers.py FILE...`.

Each line of a FILE is JSON: unit, exercise, kind ("right" or "wrong"), label, and code, the source
of the exercise's cell. The code runs in the unit's notebook with the other exercises solved; then
the released and the hidden cases judge it. Printed are, by unit: right answers with full points,
wrong answers that lose points, wrong answers whose mistake is named, and the median time of a
check. `--list` shows those that went wrong, `--named` what each wrong answer was told. Ends with 1
where one of the three shares is below its floor.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import linecache
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("CVCOURSE_BUDGET", "smoke")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from autograder.authoring.lesson import Lesson, read_lesson  # noqa: E402
from autograder.checking.checker import Checker  # noqa: E402
from autograder.checking.report import explanation  # noqa: E402
from autograder.checking.verdict import Verdict  # noqa: E402
from autograder.units import SOLUTIONS, named, units  # noqa: E402
from docs.measure.figures import table  # noqa: E402

FLOORS = {"accepted": 0.99, "caught": 0.98, "named": 0.65}
# Names that learners use without importing them, since their notebooks have them somewhere.
USUAL = """
import copy, math
import numpy as np
import torch
import torch.nn.functional as F
from collections.abc import Callable, Sequence
from torch import Generator, Tensor, nn
from cvcourse import data, measures, models
"""


@dataclass(frozen=True)
class Answer:
    """One answer of a learner."""

    unit: str
    exercise: str
    kind: str
    label: str
    code: str


@dataclass(frozen=True)
class Judged:
    """What became of it. verdict: None where its code does not run."""

    answer: Answer
    verdict: Verdict | None
    seconds: float
    error: str = ""

    @property
    def is_as_it_should(self) -> bool:
        """Whether a right answer has all points, and a wrong one has not."""
        is_right = self.verdict is not None and self.verdict.is_right
        return is_right == (self.answer.kind == "right")

    @property
    def is_named(self) -> bool:
        """Whether the learner is told which mistake it is, or what is refused."""
        return self.verdict is not None and bool(self.verdict.diagnosis or self.verdict.shortcuts)

    @property
    def told(self) -> str:
        """The first sentence under the table."""
        if self.verdict is None:
            return self.error
        return next(iter(explanation(self.verdict)), "")


class Unit:
    """A unit's notebook, solved, in which answers are tried."""

    def __init__(self, name: str):
        folder = ROOT / SOLUTIONS / name
        self.lesson: Lesson = read_lesson(folder)
        with contextlib.redirect_stdout(io.StringIO()):
            self.names = self.lesson.namespace()
        self.checker = Checker(name, folder)

    def judged(self, answer: Answer, number: int) -> Judged:
        """Run one answer's code, and all cases on what it defines."""
        file = f"<answer {number}>"
        linecache.cache[file] = (len(answer.code), None, answer.code.splitlines(True), file)
        space: dict[str, Any] = {}
        exec(USUAL, space)
        space |= self.names | {"__name__": "__main__"}
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(compile(answer.code, file, "exec"), space)
                verdict = self._verdict(answer.exercise, space)
            except Exception as error:  # a learner's code may raise anything
                return Judged(answer, None, 0.0, f"{type(error).__name__}: {error}"[:200])
        return Judged(answer, verdict, time.perf_counter() - start)

    def _verdict(self, exercise: str, space: dict[str, Any]) -> Verdict:
        entry = self.checker.key().exercises[exercise]
        numbers = {name: space[name] for name in entry.answers}
        thing = None if numbers else space[exercise]
        return self.checker.verdict(exercise, thing, numbers)


def read_answers(paths: Iterable[Path]) -> list[Answer]:
    """All answers of the files, by unit. A unit may be named by its number."""
    existing = units()
    found = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            unit = named(item["unit"], existing) or item["unit"]
            code, label = item["code"], item["label"]
            found.append(Answer(unit, item["exercise"], item["kind"], label, code))
    return sorted(found, key=lambda answer: answer.unit)


def judge_all(answers: Sequence[Answer]) -> list[Judged]:
    """Judge every answer, one unit after the other."""
    torch.set_num_threads(1)
    opened: dict[str, Unit] = {}
    found = []
    for number, answer in enumerate(answers):
        if answer.unit not in opened:
            opened[answer.unit] = Unit(answer.unit)
        found.append(opened[answer.unit].judged(answer, number))
    return found


def shares_of(judged: Sequence[Judged]) -> dict[str, tuple[int, int]]:
    """For each floor, how many of how many."""
    right = [item for item in judged if item.answer.kind == "right"]
    wrong = [item for item in judged if item.answer.kind == "wrong"]
    return {
        "accepted": (sum(item.is_as_it_should for item in right), len(right)),
        "caught": (sum(item.is_as_it_should for item in wrong), len(wrong)),
        "named": (sum(item.is_named for item in wrong), len(wrong)),
    }


def row_of(name: str, judged: Sequence[Judged]) -> tuple[str, ...]:
    """A row of the table."""
    shares = [f"{count} of {most}" for count, most in shares_of(judged).values()]
    seconds = statistics.median(item.seconds for item in judged)
    return (name, *shares, f"{1000 * seconds:.0f} ms")


def report(judged: Sequence[Judged]) -> str:
    """The table of all units."""
    names = sorted({item.answer.unit for item in judged})
    rows = [row_of(name, [item for item in judged if item.answer.unit == name]) for name in names]
    headings = ("unit", "right accepted", "wrong caught", "mistake named", "median check")
    return table(headings, [*rows, row_of("all", judged)])


def main() -> None:
    """Judge, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--list", action="store_true", help="show what is not as it should be")
    parser.add_argument("--named", action="store_true", help="show what wrong answers are told")
    given = parser.parse_args()
    judged = judge_all(read_answers(given.files))
    print(report(judged))
    for item in judged:
        answer = f"{item.answer.unit} {item.answer.exercise}: {item.answer.label}"
        if given.list and not item.is_as_it_should:
            print(f"{item.answer.kind}, and should not be judged so: {answer} {item.error}")
        if given.named and item.answer.kind == "wrong":
            print(f"{answer} -> {item.told or '(nothing)'}")
    missed = [
        f"{name} {count / most:.3f}, and {FLOORS[name]:g} is the floor"
        for name, (count, most) in shares_of(judged).items()
        if most and count / most < FLOORS[name]
    ]
    print("\n".join(missed) or "every floor is reached")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
