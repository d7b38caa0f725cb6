"""Write constraints.txt from the packages in .venv.

It holds every package that the course and its tests need, at its version.

Upgrade packages in .venv with pip, see `make test` pass, then `make pins` makes the new versions
the tested ones.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Debian 12, Ubuntu 24.04: a release that asks for a later patch of the same Python could not be
# installed there.
OLDEST_PYTHONS = ("3.11.2", "3.12.3")
HEAD = """\
# The versions that the course was tested with, on Linux x86-64. Written by `make pins`.
# pyproject.toml holds the loose lower bounds.
# jsonschema stays below 4.25: later ones bring a parser of addresses that takes 1.5 s in every
# process of Jupyter's.
"""


def closure(requirements: list[Requirement]) -> dict[str, str]:
    """{name: version} of the requirements and of all that they need in turn.

    On Linux, under each Python of PYTHONS.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirement, frozenset()) for requirement in requirements]
    while waiting:
        requirement, extras = waiting.pop()
        if not applies(requirement, extras):
            continue
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        package = metadata.distribution(requirement.name)
        found[key[0]] = Version(package.version).public
        waiting += [(Requirement(line), key[1]) for line in package.requires or []]
    return found


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether a requirement counts on Linux x86-64 under some supported Python.

    extras: those that are asked for.
    """
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate(environment) for environment in environments(extras))


def environments(extras: frozenset[str]) -> Iterator[dict[str, str]]:
    """The marker values of each supported Python on Linux.

    With no extra, and with each of `extras`.
    """
    for python in PYTHONS:
        for extra in ("", *extras):
            yield {
                **default_environment(),
                "python_version": python,
                "python_full_version": f"{python}.0",
                "extra": extra,
            }


def too_new(names: Iterable[str]) -> dict[str, str]:
    """{name: Requires-Python} of the packages that refuse one of OLDEST_PYTHONS.

    It is the installed release that counts.
    """
    refused = {}
    for name in names:
        need = metadata.distribution(name).metadata.get("Requires-Python") or ""
        if any(old not in SpecifierSet(need) for old in OLDEST_PYTHONS):
            refused[name] = need
    return refused


def needed() -> dict[str, str]:
    """{name: version} of all packages that the course and its tests need."""
    bare = {
        canonicalize_name(item.name): Version(metadata.version(item.name)).public
        for item in without_dependencies()
    }
    return closure(course_requirements()) | bare


def without_dependencies() -> list[Requirement]:
    """What is installed without its own requirements."""
    lines_by_extra = pyproject()["tool"]["cvcourse"]["without-dependencies"]
    return [Requirement(line) for lines in lines_by_extra.values() for line in lines]


def course_requirements() -> list[Requirement]:
    """What pyproject.toml asks for, the test extra included."""
    project = pyproject()["project"]
    lines = list(project["dependencies"])
    for more in project["optional-dependencies"].values():
        lines += more
    return [Requirement(line) for line in lines]


def pyproject() -> dict:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text() -> str:
    """What constraints.txt should say for the packages that are installed here."""
    pins = needed()
    refused = too_new(pins)
    if refused:
        needs = [f"{name} {pins[name]} needs Python {need}" for name, need in refused.items()]
        sys.exit(
            f"Install older releases first: {', '.join(needs)}, and the course runs on"
            f" {' and '.join(OLDEST_PYTHONS)}."
        )
    return HEAD + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))


if __name__ == "__main__":
    CONSTRAINTS.write_text(text(), encoding="utf-8")
    print(f"{CONSTRAINTS.name}: {len(text().splitlines()) - HEAD.count(chr(10))} packages")
