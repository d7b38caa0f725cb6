"""A door: released notebooks import `Checker` from here.

It lives in `autograder.checking.checker`.
"""

from autograder.checking.checker import Checker

__all__ = ["Checker"]
