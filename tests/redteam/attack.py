"""An attack, as data: what is handed in, what it is worth honestly, and what must be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

HEADINGS = (
    "overfitting",
    "evasion",
    "redirection",
    "injection",
    "tampering",
    "exfiltration",
    "denial of service",
)
MARK = "pwned"  # what every script of an attack says
SECRET = "canary-5f2b81c9"  # lies wherever a submission must not look
ROOT, OUTSIDE = "@ROOT@", "@OUTSIDE@"  # in sources: the course folder, and a folder beside it
POINTS = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}
ALL = sum(POINTS.values())
WITHOUT_SUM = ALL - POINTS["moving_sum"]


@dataclass(frozen=True)
class Target:
    """What an attacker may know: where the course lies, and a file beside it that holds a
    secret."""

    root: Path
    outside: Path

    def named(self, source: str) -> str:
        """A source with the paths put in."""
        return source.replace(ROOT, str(self.root)).replace(OUTSIDE, str(self.outside))


@dataclass(frozen=True)
class Attack:
    """One hostile submission of the miniature unit.

    honest: points of the same submission with the attack left out. cells: sources by cell name;
    what is not named is the solution, and None is the released stub. first, last: cells put before
    and after all others. edit: changes the notebook, or gives the bytes to hand in. plant: adds
    files to the submission's folder. earns: the points that it must have where they are known
    exactly. states: of exercises. ends: the states of cells that did not run through.
    evidence, refused: words that must be said. folder: another name for the submission's folder, as
    bytes. stock: whether nbgrader's own kernel may run it without harm to the machine.
    """

    heading: str
    name: str
    honest: float = ALL
    cells: Mapping[str, str | None] = field(default_factory=dict)
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    edit: Callable[[NotebookNode], NotebookNode | bytes] | None = None
    plant: Callable[[Path, Target], None] | None = None
    earns: float | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    ends: str = ""
    evidence: str = ""
    refused: str = ""
    folder: bytes = b""
    stock: bool = True
