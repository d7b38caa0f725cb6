"""Small texts that sentences are made of."""

from __future__ import annotations

from collections.abc import Sequence


def first_line(text: str, otherwise: str = "") -> str:
    """The first line of a text that says something, trimmed; `otherwise` where none does."""
    for line in text.splitlines():
        if line.strip():
            return line.strip()
    return otherwise


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in the order given, not too many: `ada, bo and 3 more`."""
    first = ", ".join(names[:most])
    left = len(names) - most
    if left > 0:
        return f"{first} and {left} more"
    return first
