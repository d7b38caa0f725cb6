"""What goes wrong in training, told in one sentence."""

from __future__ import annotations

from typing import Any


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message is one sentence that says what to do.

    `run` is the unfinished `Run` where one was under way; its model holds the last good weights.
    """

    def __init__(self, message: str, run: Any = None):
        super().__init__(message)
        self.run = run


class BudgetError(TrainingError, ValueError):
    """A budget that does not exist was asked for; the message is one sentence that says which ones
    do."""
