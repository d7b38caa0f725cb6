"""When a submission came in, whether that can be true, and what being late costs."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.grading.errors import GradebookError, reason_of

if TYPE_CHECKING:
    from traitlets.config import Config

TIMESTAMP = "timestamp.txt"
MAX_TIMESTAMP = 200  # bytes
CLOCKS_DIFFER = timedelta(hours=1)  # a submission may seem to come from the future by this much
EARLIEST = datetime(2000, 1, 1)  # no submission is older; a computer that lost its clock says 1970
FARTHEST_ZONE = timedelta(hours=14)  # of local time from UTC


@dataclass(frozen=True)
class TimeOfSubmission:
    """What a submission's timestamp.txt says.

    time: in UTC without zone, as nbgrader keeps it; None if it is not believed.
    """

    text: str = ""
    time: datetime | None = None
    problem: str = ""

    @classmethod
    def read(cls, folder: Path) -> TimeOfSubmission:
        """Read timestamp.txt in a submission's folder.

        A missing one is no problem: it is as in nbgrader.
        """
        path = folder / TIMESTAMP
        try:
            status = path.lstat()
        except OSError:
            return cls()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TIMESTAMP:
            return cls(problem="is not a small text file")
        try:
            return cls.of(path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError):
            return cls(problem="cannot be read")

    @classmethod
    def of(cls, text: str) -> TimeOfSubmission:
        """What a text says, if it can be true."""
        from nbgrader.utils import parse_utc

        if not text:
            return cls(problem="is empty")
        try:
            time = parse_utc(text)
            naive = datetime.now(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError, TypeError):
            return cls(text, problem=f"says {text!r}, which is no date and time")
        if time > naive + CLOCKS_DIFFER:
            return cls(
                text, problem=f"says {text!r}, which is in the future by this computer's clock"
            )
        if time < EARLIEST:
            return cls(text, problem=f"says {text!r}, as a computer does that lost its clock")
        return cls(text, time)

    @property
    def believed(self) -> str | None:
        """The text of a timestamp.txt that can be true."""
        return None if self.time is None else self.text

    def notes(self, due: datetime | None) -> tuple[str, ...]:
        """What an instructor must know about it."""
        if self.problem:
            return (
                (
                    f"{TIMESTAMP} {self.problem}. It is not used, and no penalty for lateness comes"
                    " from it; correct it and grade again."
                ),
            )
        if (
            self.time is None
            or due is None
            or abs(self.time - due) > FARTHEST_ZONE
            or names_zone(self.text)
        ):
            return ()
        return (
            (
                f"{TIMESTAMP} says {self.text!r} without a time zone. It was read as UTC, close to"
                " the due date."
            ),
        )


def names_zone(text: str) -> bool:
    """Whether a time that nbgrader can read names a time zone that it knows."""
    import dateutil.parser
    from dateutil.tz import gettz

    parts = text.split(" ")
    if len(parts) == 3:
        return parts[2].lstrip("+-").isdigit() or gettz(parts[2]) is not None
    return dateutil.parser.parse(text).tzinfo is not None


def due_date_of(due_date: datetime | None, extension: timedelta | None) -> datetime | None:
    """When a student's submission is due, in UTC without zone; None without a due date.

    nbgrader itself stops at an extension of no due date.
    """
    from nbgrader.utils import parse_utc

    return None if due_date is None else parse_utc(due_date) + (extension or timedelta())


def seconds_late(time: datetime | None, due: datetime | None) -> float:
    """How late a submission is."""
    from nbgrader.utils import parse_utc

    return 0.0 if time is None or due is None else max(0.0, (parse_utc(time) - due).total_seconds())


class LateRule:
    """The course's penalty for lateness: the plugin that AssignLatePenalties is told to use."""

    def __init__(self, config: Config):
        from nbgrader.preprocessors import AssignLatePenalties
        from traitlets import TraitError

        try:
            step = AssignLatePenalties(config=config)
            step.init_plugin()
        except (TraitError, ImportError, AttributeError, TypeError) as error:
            raise GradebookError(
                f"The plugin for late submissions cannot be used ({reason_of(error)})."
            ) from error
        self.plugin = step.plugin_inst
        kind = type(self.plugin)
        options = {
            name: str(config[base.__name__])
            for base in kind.__mro__
            if (name := base.__name__) in config
        }
        self.name = f"{kind.__module__}.{kind.__qualname__} {options}"

    def penalty(self, student: str, score: float, seconds_late: float) -> float | None:
        """The penalty in points, at most the score; None where there is none.

        It is as AssignLatePenalties has it. Raises GradebookError where the plugin fails.
        """
        if seconds_late <= 0:
            return None
        try:
            penalty = self.plugin.late_submission_penalty(student, score, seconds_late)
            return None if penalty is None else float(min(max(penalty, 0), score))
        except Exception as error:  # the plugin is the instructor's own code
            kind = type(self.plugin).__name__
            raise GradebookError(
                f"The plugin for late submissions, {kind}, failed: {reason_of(error)}."
            ) from error
