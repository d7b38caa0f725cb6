"""A door: units' wheats.py import from here.

What they import lives in `autograder.authoring.wheat`.
"""

from autograder.authoring.wheat import shortcut, wheat

__all__ = ["shortcut", "wheat"]
