"""Errors that reach a person: one clear sentence that says what to do."""

from __future__ import annotations


class CourseError(RuntimeError):
    """Base of every error that is shown as one sentence instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        """IPython shows this in place of a traceback."""
        return [str(self)]


class CheckFailed(CourseError, AssertionError):
    """A check found something to mend; the table above the message says what."""
