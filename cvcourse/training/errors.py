"""What goes wrong in training, told in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvcourse.training.run import Run


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message is one sentence that says what to do.

    `run` is the unfinished `Run` where one was under way; its model holds the last good weights.
    """

    def __init__(self, message: str, run: Run | None = None):
        super().__init__(message)
        self.run = run


class BudgetError(TrainingError, ValueError):
    """A budget that does not exist was asked for; the message names those that do."""
