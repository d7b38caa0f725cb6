"""How long each unit's tests may take, and two of them at a time: the longest first."""

from __future__ import annotations

import os

import pytest

from autograder.authoring.draw import units_in_full
from cvcourse.training.devices import has_fast_bfloat16

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Beside another test, a core and its caches are not all ours.
ROOM = 1.0 if WORKERS == 1 else 1.5
# Limits were set on processors with bfloat16; others train more slowly.
PLAIN = 1.0 if has_fast_bfloat16() else 1.5


def pytest_report_header() -> list[str]:
    """Which units run in full, and why."""
    return [f"in full: {unit} ({why})" for unit, why in units_in_full().items()]


@pytest.fixture
def limit(request: pytest.FixtureRequest) -> float:
    """Wall seconds that this test may take.

    Those of its mark, with room for a neighbour and for a plain processor.
    """
    return ROOM * PLAIN * seconds(request.node)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the longest tests out first.

    `pytest --dist worksteal` gives each worker one block of this list.
    """
    if WORKERS > 1:
        longest_first = sorted(items, key=seconds, reverse=True)
        items[:] = [item for worker in range(WORKERS) for item in longest_first[worker::WORKERS]]


def seconds(item: pytest.Item) -> float:
    """What a test's mark `seconds` says; 0 where it has none."""
    mark = item.get_closest_marker("seconds")
    return mark.args[0] if mark else 0.0
