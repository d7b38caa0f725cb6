"""constraints.txt and environment.yml against pyproject.toml."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"torch": "pytorch"}


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pins", ROOT / "scripts" / "pins.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pins_are_names_and_versions_only() -> None:
    """No address, no path, no build of one machine (`+cpu`)."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line), line


def test_pins_are_complete(pins: dict[str, str], script) -> None:
    """Every package that the course or its tests need on Linux, at any depth and under each Python,
    is pinned."""
    assert set(script.needed()) == set(pins)
    assert pins["torch"] == "2.13.0"


def test_no_parser_is_built_whenever_a_notebook_is_read(pins: dict[str, str]) -> None:
    assert "lark" not in pins, (
        "jsonschema 4.25 and later build a grammar on import: 1.5 s in each process of Jupyter's"
    )


def test_pins_satisfy_pyproject(pins: dict[str, str], script) -> None:
    for requirement in script.course_requirements() + script.without_dependencies():
        assert pins[requirement.name.lower()] in requirement.specifier, requirement


def test_pins_install_on_the_oldest_python(pins: dict[str, str], script) -> None:
    assert script.too_new(pins) == {}


def test_a_release_for_newer_pythons_is_refused(script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "OLDEST_PYTHONS", ("3.1.0",))
    with pytest.raises(SystemExit, match="Install older releases first"):
        script.text()


def test_conda_environment_agrees_with_pyproject() -> None:
    """Each dependency stands in environment.yml with the same bounds, and nothing else does."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "cvcourse"
    assert environment["channels"][0] == "conda-forge"
    *conda, last = environment["dependencies"]
    assert last == {"pip": ["-e ."]}, "the course itself is installed by pip, after all else"
    bounds = {requirement.name: requirement.specifier for requirement in map(Requirement, conda)}
    assert bounds.pop("python") == SpecifierSet(PROJECT["requires-python"])
    assert bounds.pop("pip") == SpecifierSet()
    expected = [Requirement(line) for line in PROJECT["dependencies"]]
    assert bounds == {CONDA_NAMES.get(item.name, item.name): item.specifier for item in expected}
