"""What goes into a run of a unit's notebook, as digests: they say whether a recorded run still
speaks for the sources.

In go: the code of the paired notebook, the data beside it, the modules of cvcourse behind them, and
the lines of constraints.txt (not what happens to be installed). Of Python code, what computes: not
its docstrings, comments and empty lines. Out stay prose, the training outside the notebook, keys,
and the checks with all that belongs to them (probes.py, exercises.toml, wheats.py, the checker): no
figure of a cell hangs on those, and the smoke run and the gates of every unit try them every time.

Modules are found by following imports. `cvcourse.data` and its like import a module when one of its
names is used, so there the used names are followed: a model that another unit adds changes nothing.
For the same reason a package's `__init__.py` is not counted: it only says where names are.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from autograder.authoring.lesson import without_docstrings
from autograder.errors import CourseError
from autograder.units import ROOT, SOLUTIONS

PACKAGE = "cvcourse"
PINS = "constraints.txt"
# Beside a lesson, and nothing that its notebook reads. Keys are made from what is counted anyway.
NOT_READ = (
    "*.ipynb",
    "[0-9][0-9]_*.py",
    "probes.py",
    "exercises.toml",
    "wheats.py",
    "training.py",
    "run.json",
    "key.*",
    "hidden.*",
    "*.pyc",
    ".*",
)
TEXTS = (".json", ".txt", ".toml")


def inputs_of(unit: str, root: Path = ROOT) -> dict[str, str]:
    """Name -> digest of all that goes into a run of a unit: files by their path below the root.

    Raises CourseError where the notebook is missing or no code can be read in it.
    """
    folder = root / SOLUTIONS / unit
    cells = code_of(folder / f"{unit}.ipynb")
    found = {"code of the notebook": digest("\0".join(map(what_computes, cells)).encode())}
    beside = files_beside(folder)
    found |= {path.name: file_digest(path) for path in beside}
    code = ["\n".join(cells), *(path.read_text("utf-8") for path in beside if path.suffix == ".py")]
    behind = files_behind(unit, code)
    found |= {path.relative_to(ROOT).as_posix(): file_digest(path) for path in behind}
    found[PINS] = digest("\n".join(pinned(root)).encode())
    return found


def code_of(notebook: Path) -> list[str]:
    """The sources of a notebook's code cells. Raises CourseError for what is no notebook."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except FileNotFoundError:
        unit = notebook.stem
        raise CourseError(
            f"{unit}/{notebook.name} is missing: run `cvcourse build {unit}`."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise CourseError(
            f"{notebook.stem}/{notebook.name} is no notebook: delete it and run `cvcourse build"
            f" {notebook.stem}`."
        ) from None


def what_computes(code: str) -> str:
    """Python code without its docstrings, comments and empty lines. What is no plain Python stays
    as it is."""
    try:
        tokens = [*tokenize.generate_tokens(io.StringIO(without_docstrings(code)).readline)]
    except (SyntaxError, tokenize.TokenError):
        return code
    lines = without_docstrings(code).splitlines()
    for token in tokens:
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip(" \0"))


def files_beside(folder: Path) -> list[Path]:
    """The files beside a lesson that its notebook may read."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return [path for path in files if not any(fnmatch(path.name, name) for name in NOT_READ)]


def pinned(root: Path) -> list[str]:
    """The lines of constraints.txt, without comments; none where there is no such file."""
    path = root / PINS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def digest(data: bytes) -> str:
    """Twelve hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """A file's digest. How the lines of a text end does not count, and of Python code only what
    computes."""
    if path.suffix == ".py":
        return digest(what_computes(path.read_text(encoding="utf-8")).encode())
    data = path.read_bytes()
    if path.suffix in TEXTS:
        data = data.replace(b"\r\n", b"\n")
    return digest(data)


# Following imports


def files_behind(unit: str, sources: Iterable[str]) -> list[Path]:
    """The files of the modules that sources import, directly or through others, in order."""
    waiting: set[str] = set()
    for source in sources:
        try:
            waiting |= imported_by(ast.parse(source), "")
        except SyntaxError as error:
            raise CourseError(
                f"{unit}: what its notebook imports cannot be followed, for its code is not plain"
                f" Python ({error.msg})."
            ) from None
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        waiting |= imports_of(module) - seen
    files = {file_of(module) for module in seen}
    return sorted(path for path in files if path is not None and path.name != "__init__.py")


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules that a module imports, and the packages in which it lies."""
    path = file_of(module)
    if path is None:
        return frozenset()
    parent = module.rpartition(".")[0]
    package = module if path.name == "__init__.py" else parent
    found = imported_by(ast.parse(path.read_text(encoding="utf-8")), package)
    if parent:
        found.add(parent)
    return frozenset(found)


def imported_by(tree: ast.AST, package: str) -> set[str]:
    """The modules of the course that a piece of code in `package` imports."""
    found: set[str] = set()
    lazy: dict[str, str] = {}  # a name in the code -> the lazy package that it stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= set(brought_by(alias.name, "*")) if is_ours(alias.name) else set()
        elif isinstance(node, ast.ImportFrom) and is_ours(source := absolute(node, package)):
            for alias in node.names:
                found |= set(brought_by(source, alias.name))
                if names_of(f"{source}.{alias.name}"):
                    lazy[alias.asname or alias.name] = f"{source}.{alias.name}"
    return found | used_of(tree, lazy)


def brought_by(source: str, name: str) -> list[str]:
    """The modules that `from source import name` brings. `import source` may bring as many as
    `from source import *`."""
    if name == "*":
        return [source, *modules_of(source)]
    if file_of(f"{source}.{name}") is not None:
        return [f"{source}.{name}"]
    home = names_of(source).get(name)
    return [f"{source}.{home}"] if home else [source]


def used_of(tree: ast.AST, lazy: dict[str, str]) -> set[str]:
    """The modules behind the names that code takes from lazy packages; all of a package that it
    uses in any other way."""
    found: set[str] = set()
    taken_from: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            package = lazy.get(node.value.id, "")
            taken_from.add(id(node.value))
            if node.attr in names_of(package):
                found.add(f"{package}.{names_of(package)[node.attr]}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in lazy and id(node) not in taken_from:
            found |= set(modules_of(lazy[node.id]))
    return found


def modules_of(package: str) -> list[str]:
    """Every module of a lazy package."""
    return sorted({f"{package}.{home}" for home in names_of(package).values()})


@cache
def names_of(package: str) -> dict[str, str]:
    """What a lazy package offers: name -> the module that has it. Empty for any other module."""
    path = file_of(package)
    if path is None or path.name != "__init__.py":
        return {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if isinstance(target, ast.Name) and target.id == "HOME":
            return dict(ast.literal_eval(node.value))
    return {}


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The full name of the module that an import names."""
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def is_ours(module: str) -> bool:
    """Whether a module belongs to what notebooks learn with."""
    return module.partition(".")[0] == PACKAGE


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of this course; None where there is none of this name."""
    place = ROOT.joinpath(*module.split("."))
    for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None
