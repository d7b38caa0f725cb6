"""Who draws with a function of a lab: every way in which that changes, and what the lab says."""

import pytest

from cvcourse.widgets.drawn_by import NOT_WRITTEN, DrawnBy, Who

NOBODY, LEARNER = DrawnBy(), DrawnBy(Who.LEARNER)
COURSE, BOTH = DrawnBy(Who.COURSE, "broke"), DrawnBy(Who.BOTH, "broke")


@pytest.mark.parametrize(
    ("before", "used", "failed", "again"),
    [
        (NOBODY, LEARNER, COURSE, NOBODY),
        (LEARNER, LEARNER, BOTH, NOBODY),
        (COURSE, None, None, COURSE),
        (BOTH, None, None, COURSE),
    ],
)
def test_every_transition(before, used, failed, again):
    """None where the learner's function is not asked any more."""
    assert before.has_failed == (used is None)
    if not before.has_failed:
        assert before.used() == used
        assert before.failed("broke") == failed
    assert before.again() == again


def test_why_it_failed_is_kept_for_the_next_attempt():
    error = ValueError("no")
    kept = LEARNER.failed("raised ValueError", error).again()
    assert (kept.who, kept.why, kept.error) == (Who.COURSE, "raised ValueError", error)


@pytest.mark.parametrize(
    ("state", "stood_in", "kind", "text"),
    [
        (LEARNER, True, "yours", "Drawn by your `f`."),
        (COURSE, True, "course", "Drawn by the course's own `f`: yours broke."),
        (COURSE, False, "error", "Your `f` broke."),
        (DrawnBy(Who.COURSE, NOT_WRITTEN), False, "course", "Your `f` is not written yet."),
    ],
)
def test_what_the_reader_is_told(state, stood_in, kind, text):
    note = state.note("f", stood_in)
    assert (note.kind, note.text) == (kind, text)
