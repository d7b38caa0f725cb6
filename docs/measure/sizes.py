"""Count rooms and functions of revisions: `python docs/measure/sizes.py 4c9cc38 HEAD`.

A room is a module; a function's size is the lines of its body without its docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterator

from figures import table

PACKAGES = ("autograder", "cvcourse")


def main() -> None:
    """Print one table of folders for each revision, and one of functions for all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("revisions", nargs="*", default=["HEAD"])
    revisions = parser.parse_args().revisions
    sources = {revision: sources_of(revision) for revision in revisions}
    for revision, files in sources.items():
        print(f"\nRooms at {revision}\n")
        print(table(("folder", "modules", "lines", "largest"), folders(files)))
    print("\nFunctions: lines of a body\n")
    names = ("revision", "package", "functions", "median", "ninetieth percentile", "largest")
    rows = [
        (revision, package, *functions(files, package))
        for revision, files in sources.items()
        for package in PACKAGES
    ]
    print(table(names, rows))


def sources_of(revision: str) -> dict[str, str]:
    """The text of every module of the two packages at a revision, by its path."""
    command = ["git", "archive", revision, *PACKAGES]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".py")]
        return {member.name: archive.extractfile(member).read().decode() for member in members}


def folders(files: dict[str, str]) -> list[tuple[str, int, int, str]]:
    """(folder, modules, lines, its largest module with its lines), by name."""
    lines: dict[str, dict[str, int]] = defaultdict(dict)
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        lines[folder][name] = text.count("\n")
    rows = []
    for folder, sizes in sorted(lines.items()):
        largest = max(sizes, key=lambda name: sizes[name])
        rows.append((folder, len(sizes), sum(sizes.values()), f"{largest} {sizes[largest]}"))
    return rows


def functions(files: dict[str, str], package: str) -> tuple[int, float, int, str]:
    """(how many, median, ninetieth percentile, the largest with its place) of a package."""
    found = [
        (size, f"{path}:{name}")
        for path, text in files.items()
        if path.startswith(package)
        for name, size in bodies(text)
    ]
    sizes = sorted(size for size, _ in found)
    largest, place = max(found)
    ninetieth = sizes[int(0.9 * (len(sizes) - 1))]
    return len(sizes), statistics.median(sizes), ninetieth, f"{largest} {place}"


def bodies(text: str) -> Iterator[tuple[str, int]]:
    """Every function's name and the lines of its body."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        yield node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


if __name__ == "__main__":
    main()
