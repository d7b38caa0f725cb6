"""How fast this machine is just now, so that no test fails for a neighbour's work.

A limit in seconds was set on a quiet machine of two cores. There a fixed loop takes QUIET_SECONDS;
where it takes longer, limits grow in proportion. Both are measured in the same run, so that what a
test asserts is a ratio. Figures in seconds are for docs/measure, and not for tests.
"""

from __future__ import annotations

import time

QUIET_SECONDS = 0.07
ROUNDS = 5


def reference_seconds() -> float:
    """Wall seconds of the loop that limits are compared with."""
    start = time.perf_counter()
    sum(number * number for number in range(1_000_000))
    return time.perf_counter() - start


def slowness() -> float:
    """How many times as long as on a quiet machine things take now; at least 1.

    The slowest of some rounds counts: what was measured may have met the worst of its neighbours.
    """
    return max(1.0, max(reference_seconds() for _ in range(ROUNDS)) / QUIET_SECONDS)
