"""What a submission's source says without running: forbidden shortcuts, and signs of reaching for the grader."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from autograder.libraries import LIBRARIES

# No answer to an exercise needs these. Found, they are shown to the instructor; beside a forbidden shortcut they count
# as tampering, for what ran can be hidden with them.
REACHES_FOR_GRADER = {
    *("_getframe", "currentframe", "f_back", "f_locals", "f_globals", "tb_frame", "gi_frame"),
    *("get_objects", "get_referrers", "get_referents", "settrace", "setprofile"),
    *(
        "OperatorWatch",
        "TorchFunctionMode",
        "TorchDispatchMode",
        "DisableTorchFunction",
        "DisableTorchFunctionSubclass",
    ),
    *("_python_dispatch", "_pop_mode", "_disable_current_modes", "__torch_function__", "__torch_dispatch__"),
    *("ast_transformers", "input_transformers_cleanup", "input_transformers_post", "displayhook"),
    *("ctypes", "_exit", "__subclasses__"),
}
OWN_PACKAGE = "autograder"


@dataclass
class Cells:
    """The code cells of a notebook: what is defined where. The last definition of a name counts."""

    definitions: dict[str, list[ast.AST]] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)  # name here: name in its library
    lines: dict[int, list[str]] = field(default_factory=dict)  # source lines by the id of each cell's tree
    trees: list[ast.Module] = field(default_factory=list)


def read(sources: Iterable[str]) -> Cells:
    """Parse code cells; what is no Python is left out, for it does not run either."""
    cells = Cells()
    for source in sources:
        tree = parsed(source)
        if tree is None:
            continue
        cells.trees.append(tree)
        for node in ast.walk(tree):
            node.lines = tree.lines
        for node in tree.body:
            note_definitions(cells, node)
    return cells


def parsed(source: str) -> ast.Module | None:
    """A cell's syntax tree, magics included; None where there is none."""
    from IPython.core.inputtransformer2 import TransformerManager

    for text in (lambda: source, lambda: TransformerManager().transform_cell(source)):
        try:
            code = text()
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        tree.lines = code.splitlines()
        return tree
    return None


def note_definitions(cells: Cells, node: ast.stmt) -> None:
    """Note what a top-level statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        cells.definitions[node.name] = [node]
        cells.imported.pop(node.name, None)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            module = alias.name if isinstance(node, ast.Import) else node.module or ""
            if module.split(".")[0] in LIBRARIES:
                cells.imported[alias.asname or alias.name.split(".")[0]] = alias.name.split(".")[-1]
    else:
        for target in ast.walk(node):
            if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                cells.definitions.setdefault(target.id, []).append(node)
            if isinstance(target, ast.Attribute) and isinstance(target.ctx, ast.Store):  # conv.forward = ...
                owner = target.value
                if isinstance(owner, ast.Name):
                    cells.definitions.setdefault(owner.id, []).append(node)


def forbidden(cells: Cells, exercise: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(name, line) of every forbidden name that an exercise's source reaches, through helpers and aliases, too."""
    names = set(names)
    found = []
    for node in reached(cells, exercise) if names else ():
        name = library_name(node, cells)
        if name in names:
            found.append((name, line_of(node)))
    return list(dict.fromkeys(found))


def reached(cells: Cells, exercise: str) -> Iterator[ast.AST]:
    """Every syntax node of an exercise and of what it names in the notebook."""
    waiting, visited = [exercise], set()
    while waiting:
        name = waiting.pop()
        if name in visited:
            continue
        visited.add(name)
        for definition in cells.definitions.get(name, []):
            for node in ast.walk(definition):
                yield node
                if isinstance(node, ast.Name):
                    waiting.append(node.id)


def library_name(node: ast.AST, cells: Cells) -> str | None:
    """The name in a library that a node stands for, as far as the source says."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return cells.imported.get(node.id)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value  # getattr(F, "conv2d")
    return node.name.split(".")[-1] if isinstance(node, ast.alias) else None


def line_of(node: ast.AST) -> str:
    """The source line that a node starts on."""
    number = getattr(node, "lineno", 0)
    return node.lines[number - 1].strip()[:200] if 0 < number <= len(node.lines) else ""


def reaching_for_grader(cells: Cells) -> list[str]:
    """Lines of the notebook that reach for the process around them."""
    lines = []
    for tree in cells.trees:
        for node in ast.walk(tree):
            if names_of(node) & REACHES_FOR_GRADER or imports_ours(node):
                lines.append(line_of(node))
    return list(dict.fromkeys(line for line in lines if line))


def names_of(node: ast.AST) -> set[str]:
    """The names in a node."""
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.alias):
        return set(node.name.split("."))
    if isinstance(node, ast.ImportFrom):
        return set((node.module or "").split("."))
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def imports_ours(node: ast.AST) -> bool:
    """Whether a node imports the grader beyond what the set-up cell imports."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] == OWN_PACKAGE for alias in node.names)
    if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != OWN_PACKAGE:
        return False
    return node.module != f"{OWN_PACKAGE}.check" or any(alias.name != "Checker" for alias in node.names)


def preloads(sources: Sequence[str]) -> list[str]:
    """Modules that cells import: what a warm server should have imported already."""
    found = []
    for tree in filter(None, map(parsed, sources)):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [node.module]
    return sorted(set(found))
