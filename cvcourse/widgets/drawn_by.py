"""Who drew a picture with a function of the lab: the learner's own, or the course's that stands in.

One state for each function, and every way in which it changes:

    NOBODY ── used ──> LEARNER ── failed ──> BOTH
       │                  │                   │ again
       │                  └── again ──> NOBODY │
       └───────────── failed ─────────────> COURSE ── again ──> COURSE

`again` begins the same picture anew: whoever has failed stays out of it, so that no picture is
drawn by both. The next picture begins with `DrawnBy()`, and so with the learner's function.
"""

from dataclasses import dataclass, replace
from enum import Enum

NOT_WRITTEN = "is not written yet"
"""Why a stub does not draw."""


@dataclass(frozen=True)
class Note:
    """A line under the picture. kind: "yours", "course" (a fallback) or "error"."""

    kind: str
    text: str


class Who(Enum):
    """Whose function has drawn so far, in the present attempt at a picture."""

    NOBODY = "nobody"
    LEARNER = "the learner"
    COURSE = "the course"  # or nobody, where the course has nothing that could stand in
    BOTH = "both"  # the learner's function failed after it had drawn


@dataclass(frozen=True)
class DrawnBy:
    """Who has drawn with a function of the lab, and why it is not the learner's that draws.

    why: the rest of a sentence that begins with "your function"; empty until it has failed. error:
    the exception behind it, if there is one.
    """

    who: Who = Who.NOBODY
    why: str = ""
    error: BaseException | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the learner's function has been given up for this picture."""
        return self.who in (Who.COURSE, Who.BOTH)

    def used(self) -> "DrawnBy":
        """After the learner's function gave a result."""
        return DrawnBy(Who.LEARNER)

    def failed(self, why: str, error: BaseException | None = None) -> "DrawnBy":
        """After the learner's function gave none, or one that cannot be drawn."""
        return DrawnBy(Who.BOTH if self.who is Who.LEARNER else Who.COURSE, why, error)

    def again(self) -> "DrawnBy":
        """At the beginning of another attempt at the same picture."""
        return replace(self, who=Who.COURSE) if self.has_failed else DrawnBy()

    def note(self, name: str, stood_in: bool) -> Note:
        """What the reader is told. name: of the function; stood_in: whether the course has one."""
        if not self.has_failed:
            return Note("yours", f"Drawn by your `{name}`.")
        if stood_in:
            return Note("course", f"Drawn by the course's own `{name}`: yours {self.why}.")
        kind = "course" if self.why == NOT_WRITTEN else "error"
        return Note(kind, f"Your `{name}` {self.why}.")
