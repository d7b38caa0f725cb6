"""Which units the suite runs in full: those whose sources changed since their record, and one more.

The one more is drawn by the commit, so every record is tried sooner or later, and a record that was
not earned is found.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from autograder.authoring.inputs import inputs_of
from autograder.authoring.run import read_record
from autograder.errors import CourseError
from autograder.units import ROOT, chosen_units, units

FULL = "CVCOURSE_FULL"
"""Environment: run every unit in full."""

DRAWN = "CVCOURSE_DRAWN"
"""Environment: the unit, by name or number, that counts as drawn."""


def units_in_full(root: Path = ROOT) -> dict[str, str]:
    """Unit -> why it is to be run in full, in a few words."""
    every = units(root)
    reasons = {unit: why for unit in every if (why := why_in_full(unit, root))}
    if os.environ.get(FULL) == "1":
        return {unit: reasons.get(unit, "all were asked for") for unit in every}
    drawn = os.environ.get(DRAWN)
    if drawn:
        (unit,) = chosen_units([drawn], root)
        return {unit: f"{DRAWN} names it"} | reasons
    current = [unit for unit in every if unit not in reasons]
    if current:
        reasons[drawn_of(current, seed_of(every, root))] = "drawn by the commit"
    return reasons


def why_in_full(unit: str, root: Path = ROOT) -> str:
    """Why a unit's record does not speak for its sources; empty where it does."""
    try:
        changed = read_record(unit, root).changed(inputs_of(unit, root))
    except CourseError:
        return "it has no sound record"
    if not changed:
        return ""
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"changed: {changed[0]}{more}"


def drawn_of(candidates: Sequence[str], seed: str) -> str:
    """One of the candidates, by a seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    return candidates[number % len(candidates)]


def seed_of(every: Sequence[str], root: Path) -> str:
    """The commit's name; without git, a digest of all that goes into the units."""
    return commit_of(root) or digest_of({unit: inputs_of(unit, root) for unit in every})


def commit_of(root: Path) -> str:
    """The name of the commit that is checked out; empty without git or outside a repository."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=30
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def digest_of(inputs: Mapping[str, Mapping[str, str]]) -> str:
    """One digest of several units' inputs."""
    lines = [f"{unit} {name} {digest}" for unit in inputs for name, digest in inputs[unit].items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
