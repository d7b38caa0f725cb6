"""What a submission's source says without running.

It may hold forbidden shortcuts, and signs of reaching for the grader.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from autograder.checking.libraries import LIBRARIES, MODELS, OWN_MODELS, is_own_model, own_models
from autograder.checking.limits import TooSlow, deadline
from autograder.grading.intake import seen
from autograder.words import first_line

# No answer to an exercise needs any of these words. Found, they are shown to the instructor. Where
# a shortcut is forbidden they count as tampering, for what ran can be hidden with them: these
# wherever they stand in a notebook,
HIDES_ANYWHERE = frozenset(
    # frames, and whoever looks for objects
    "_getframe currentframe f_back f_locals f_globals tb_frame gi_frame walk_stack walk_tb"
    " getmembers resolve_name get_field get_objects get_referrers get_referents settrace setprofile"
    " __subclasses__ "
    # what watches, and what shows
    "OperatorWatch TorchFunctionMode TorchDispatchMode DisableTorchFunction"
    " DisableTorchFunctionSubclass _python_dispatch _pop_mode _disable_current_modes"
    " __torch_function__ __torch_dispatch__ _execution_engine ast_transformers"
    " input_transformers_cleanup input_transformers_post displayhook "
    # below Python, and code that nobody can read before it runs
    "ctypes load_inline cpp_extension _exit pickle marshal InteractiveInterpreter run_cell_magic"
    " run_line_magic import_module __import__ __builtins__".split()
)
# and these in an exercise and in what it uses.
HIDES_NEARBY = frozenset(
    # other processes and threads, which nothing watches
    "subprocess multiprocessing threading _thread concurrent fork forkpty posix_spawn Popen popen"
    " system "
    # names that are put together while the code runs
    "__dict__ FunctionType __getattribute__ attrgetter methodcaller".split()
)
REACHES_FOR_GRADER = HIDES_ANYWHERE | HIDES_NEARBY
# Whole modules that are of use to whoever looks around in the process, and to no exercise.
REACHING_MODULES = frozenset(
    "socket signal inspect fcntl asyncio selectors runpy pydoc pkgutil codeop builtins".split()
)
REACHING_OF_OS = frozenset(
    "read write readv writev pipe dup dup2 kill sendfile fdopen closerange".split()
)
RUNS_TEXT = frozenset({"eval", "exec", "compile"})
CALLS_BY_NAME = frozenset("getattr eval exec compile vars globals locals".split())
PLAIN_MAGICS = frozenset(
    "matplotlib time timeit prun pip conda config load_ext autoreload pwd ls who whos".split()
)
OWN_PACKAGE = "autograder"
PACKAGES = {package.split(".")[-1] for package in OWN_MODELS}
READ_SECONDS = 5.0  # for the cells of one notebook
LONGEST_LINE = 200  # characters that an instructor sees of it
LONGEST_WITH_MAGICS = 20_000  # characters: IPython reads such a cell again for every magic in it


LEAD_NOWHERE = frozenset(
    "autograder cvcourse torch math time random itertools functools collections".split()
)
# Without one of these words, or an import of something else, no code gets hold of a function of a
# library other than torch, which is watched anyway.
OTHER_WAYS = {"importlib", "sys", "gc", "operator", "pickle"}
LEADS_ELSEWHERE = re.compile(
    r"numpy|^\s*[%!]|import\s*\*|\b__(?!(?:init|call|name)__\b)"
    rf"|\b(?:np|{'|'.join(sorted(LIBRARIES - {'torch'}))})\b"
    rf"|\b(?:{'|'.join(sorted(CALLS_BY_NAME | OTHER_WAYS))})\b"
    rf"|(?:^|[;:])\s*(?:import|from)\s+(?!(?:{'|'.join(sorted(LEAD_NOWHERE))})\b)|(?:^|[;:])\s*import\b[^\n]*,",
    re.MULTILINE,
)


@dataclass
class Cells:
    """The code cells of a notebook: what is defined where. The last definition of a name counts."""

    definitions: dict[str, list[ast.AST]] = field(default_factory=dict)
    imported: dict[str, set[str]] = field(default_factory=dict)  # name here: its names in `forbid`
    # Taken from the course's own models, under their own names.
    lent: set[str] = field(default_factory=set)
    checked: set[str] = field(default_factory=set)  # exercises whose check has been made
    trees: list[ast.Module] = field(default_factory=list)
    lines: dict[int, list[str]] = field(default_factory=dict)  # of a node's cell, by the node's id
    starred: bool = False  # names come from `from numpy import *`
    # First lines of cells that may run, but cannot be read.
    unread: list[str] = field(default_factory=list)


def read(sources: Iterable[str]) -> Cells:
    """Parse code cells; what is no Python is left out, for it does not run either."""
    cells, waiting = Cells(), list(sources)
    try:
        with deadline(READ_SECONDS):
            while waiting:
                note_cell(cells, waiting[0])
                waiting.pop(0)
    except TooSlow:
        cells.unread += [shown_line(first_line(source)) for source in waiting]
    return cells


def note_cell(cells: Cells, source: str) -> None:
    """Parse one cell and note what it defines."""
    found = parsed(source)
    if found is None:
        if len(source) > LONGEST_WITH_MAGICS:
            cells.unread.append(shown_line(first_line(source)))
        return
    tree, lines = found
    cells.trees.append(tree)
    cells.lines.update({id(node): lines for node in ast.walk(tree)})
    for node in tree.body:
        note_check(cells, node)
        for statement in one_by_one(node):
            note_definitions(cells, statement)
        timed = code_in_magic(node)
        if timed:
            note_cell(cells, timed)


def parsed(source: str) -> tuple[ast.Module, list[str]] | None:
    """(syntax tree, lines) of a cell, magics included; None where there is no tree."""
    for reading in (as_it_stands, below_cell_magic, as_ipython_runs_it):
        try:
            code = reading(source)
            return ast.parse(code), code.splitlines()
        except (SyntaxError, ValueError, RecursionError, MemoryError, RuntimeError):
            continue
    return None


def as_it_stands(source: str) -> str:
    """The cell itself."""
    return source


def below_cell_magic(source: str) -> str:
    """A cell without its `%%time`, which runs the rest as it stands.

    Raises ValueError where there is none.
    """
    magic, _, rest = source.lstrip().partition("\n")
    if not magic.startswith("%%"):
        raise ValueError("no cell magic")
    return f"\n{rest}"


def as_ipython_runs_it(source: str) -> str:
    """A cell with its magics as calls.

    Raises ValueError, and RuntimeError where there are too many of them.
    """
    from IPython.core.inputtransformer2 import TransformerManager

    if len(source) > LONGEST_WITH_MAGICS:
        raise ValueError("too long")
    return TransformerManager().transform_cell(source)


def shown_line(line: str) -> str:
    """A line of a learner's source as an instructor may see it."""
    return seen(line.strip()[:LONGEST_LINE])


def note_check(cells: Cells, node: ast.stmt) -> None:
    """Note the exercise of a `check(...)` line.

    What its name means from here on is not what was checked.
    """
    call = getattr(node, "value", None)
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
        cells.checked |= {argument.id for argument in call.args if isinstance(argument, ast.Name)}


def one_by_one(node: ast.stmt) -> list[ast.stmt]:
    """`a, b = x, y` as `a = x` and `b = y`; any other statement as it is."""
    if not isinstance(node, ast.Assign):
        return [node]
    sides = [*node.targets, node.value]
    tuples = [side for side in sides if isinstance(side, ast.Tuple)]
    if len(tuples) < len(sides) or len({len(side.elts) for side in tuples}) > 1:
        return [node]
    single: list[ast.stmt] = []
    for *targets, value in zip(*(side.elts for side in tuples), strict=True):
        single.append(ast.copy_location(ast.Assign(targets, value), node))
    return single


def lent_by(node: ast.stmt) -> set[str]:
    """The names under which a statement takes the course's own models.

    It may say `ResNet = models.ResNet`, or import them.
    """
    if isinstance(node, ast.ImportFrom) and is_own_model(node.module):
        if node.names[0].name == "*":
            return set(own_models())
        return {alias.name for alias in node.names if alias.asname in (None, alias.name)}
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
        owner, name = node.value.value, node.value.attr
        package = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        return {
            name
            for target in node.targets
            if package in PACKAGES and getattr(target, "id", "") == name
        }
    return set()


def note_definitions(cells: Cells, node: ast.stmt) -> None:
    """Note what a top-level statement defines."""
    lent = lent_by(node)
    cells.lent |= lent - cells.checked
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        note_named_block(cells, node)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            note_import(cells, node, alias, lent)
    elif not lent:
        for part in ast.walk(node):
            name = stored_name(part)
            if name:
                cells.definitions.setdefault(name, []).append(node)


def note_named_block(
    cells: Cells, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
) -> None:
    """Note a function or class, and the globals that it may set."""
    cells.definitions[node.name] = [node]
    cells.imported.pop(node.name, None)
    cells.lent.discard(node.name)
    for part in ast.walk(node):
        if isinstance(part, ast.Global):
            for name in part.names:
                cells.definitions.setdefault(name, []).append(node)


def note_import(
    cells: Cells, node: ast.Import | ast.ImportFrom, alias: ast.alias, lent: Set[str]
) -> None:
    """Note what one name of an import stands for. lent: the names of the course's own models."""
    module = alias.name if isinstance(node, ast.Import) else node.module or ""
    package = module.split(".")[0]
    cells.starred |= alias.name == "*" and package in LIBRARIES
    if is_own_model(module):
        if alias.name not in lent:
            cells.imported[alias.asname or alias.name] = {MODELS, alias.name}
    elif package in LIBRARIES | {"cvcourse"}:
        here = alias.asname or alias.name.split(".")[0]
        name = alias.name.split(".")[-1]
        cells.imported[here] = {MODELS if name in PACKAGES else name}


def stored_name(node: ast.AST) -> str:
    """The name that a node sets, or whose part it sets; empty where it sets none."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    # conv.forward = ..., tools["sum"] = ...
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
        return node.value.id if isinstance(node.value, ast.Name) else ""
    return ""


def forbidden(cells: Cells, exercise: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """(name, line) of every forbidden name that an exercise's source reaches.

    It may reach them through helpers and aliases, too.
    """
    names = set(names)
    found = []
    if exercise not in cells.definitions:
        found += [
            (name, f"import of {exercise}") for name in names & cells.imported.get(exercise, set())
        ]
    if exercise in cells.lent:
        found += [
            (name, f"{exercise}, as the course has it") for name in names & {MODELS, exercise}
        ]
    for node in reached(cells, exercise) if names else ():
        found += [(name, line_of(node, cells)) for name in names & library_names(node, cells)]
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
            own = own_names(definition)
            for node in ast.walk(definition):
                if isinstance(node, ast.Name) and node.id in own:
                    continue
                yield node
                if isinstance(node, ast.Name):
                    waiting.append(node.id)


def leads_elsewhere(sources: Iterable[str]) -> bool:
    """Whether cells could call functions of libraries other than torch.

    Then every call is to be looked at.
    """
    return any(LEADS_ELSEWHERE.search(source) for source in sources)


def own_names(definition: ast.AST) -> set[str]:
    """The names that a function or class binds itself.

    The notebook's of the same name are others.
    """
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return set()
    nodes = list(ast.walk(definition))
    bound = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return bound - {name for node in nodes if isinstance(node, ast.Global) for name in node.names}


def library_names(node: ast.AST, cells: Cells) -> set[str]:
    """What `forbid` may call the thing in a library that a node stands for.

    It is what the source says, and no more.
    """
    if isinstance(node, ast.Attribute):
        is_package = (
            isinstance(node.value, ast.Name)
            and node.value.id == "cvcourse"
            and node.attr in PACKAGES
        )
        return {MODELS if is_package else node.attr}
    if isinstance(node, ast.Name):
        may_be_starred = cells.starred and node.id not in cells.definitions
        return cells.imported.get(node.id, {node.id} if may_be_starred else set())
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}  # getattr(F, "conv2d")
    if isinstance(node, ast.ImportFrom) and is_own_model(node.module):
        return {MODELS}
    return {node.name.split(".")[-1]} if isinstance(node, ast.alias) else set()


def line_of(node: ast.AST, cells: Cells) -> str:
    """The source line that a node starts on; empty where it is not known."""
    number, lines = getattr(node, "lineno", 0), cells.lines.get(id(node), [])
    return shown_line(lines[number - 1]) if 0 < number <= len(lines) else ""


def reaching_for_grader(cells: Cells) -> list[str]:
    """Lines of the notebook that reach for the process around them."""
    reaching = [line_of(node, cells) for node in nodes_of(cells) if reaches(node)]
    return list(dict.fromkeys(line for line in [*cells.unread, *reaching] if line))


def could_hide(cells: Cells, exercise: str) -> bool:
    """Whether a notebook could hide from the grader which functions an exercise calls."""
    if cells.unread or any(reaches_anywhere(node) for node in nodes_of(cells)):
        return True
    return any(reaches(node) for node in reached(cells, exercise))


def nodes_of(cells: Cells) -> Iterator[ast.AST]:
    """Every syntax node of the cells but those of harmless magics."""
    for tree in cells.trees:
        harmless = {
            id(part) for node in tree.body if is_plain_magic(node) for part in ast.walk(node)
        }
        yield from (node for node in ast.walk(tree) if id(node) not in harmless)


def reaches(node: ast.AST) -> bool:
    """Whether a node reaches for the process around the code."""
    return (
        bool(names_of(node) & REACHES_FOR_GRADER)
        or imports_reaching(node)
        or calls_by_name(node)
        or is_low(node)
    )


def reaches_anywhere(node: ast.AST) -> bool:
    """Whether a node does so in a way that serves from any place in a notebook."""
    runs_text = (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNS_TEXT
    )
    return runs_text or bool(names_of(node) & HIDES_ANYWHERE) or imports_ours(node) or is_low(node)


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
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value} | (
            {"_getframe"} if node.value.startswith(f"{OWN_PACKAGE}.grading") else set()
        )
    return set()


def calls_by_name(node: ast.AST) -> bool:
    """Whether a node runs or looks up what only shows when it runs.

    So it is with `eval(...)` and with `getattr(np, "con" + "volve")`.
    """
    if not (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in CALLS_BY_NAME
    ):
        return False
    is_written_out = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
    return node.func.id != "getattr" or not is_written_out


def is_plain_magic(statement: ast.stmt) -> bool:
    """Whether a statement is `!ls`, or a magic that changes no function or whose code is read."""
    name, arguments = ipython_call(statement)
    if name in ("system", "getoutput"):
        return True
    return name == "run_line_magic" and constant(arguments, 0) in PLAIN_MAGICS


def code_in_magic(statement: ast.stmt) -> str:
    """The code that a plain magic runs, as in `%time f(x)`; empty where there is none."""
    _, arguments = ipython_call(statement)
    code = constant(arguments, 1)
    if code is None or not is_plain_magic(statement):
        return ""
    return re.sub(r"^(-\w+ *\d* *)+", "", str(code))


def ipython_call(statement: ast.stmt) -> tuple[str, list[ast.expr]]:
    """(name, arguments) of a statement's call `get_ipython().name(...)`; no name without one."""
    call = getattr(statement, "value", None)
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return "", []
    shell = call.func.value
    if not (isinstance(shell, ast.Call) and isinstance(shell.func, ast.Name)):
        return "", []
    if shell.func.id != "get_ipython":
        return "", []
    return call.func.attr, call.args


def constant(arguments: Sequence[ast.expr], place: int) -> Any:
    """The argument in a place where it is written out; None where it is not."""
    argument = arguments[place] if place < len(arguments) else None
    return argument.value if isinstance(argument, ast.Constant) else None


def imports_reaching(node: ast.AST) -> bool:
    """Whether a node imports a module that is of use for reaching out, or the grader itself."""
    if isinstance(node, ast.Import):
        modules = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        modules = {node.module or ""}
    else:
        return False
    return bool({module.split(".")[0] for module in modules} & REACHING_MODULES) or imports_ours(
        node
    )


def is_low(node: ast.AST) -> bool:
    """Whether a node uses files by their descriptors, or `sys.modules`, as no notebook does.

    An example is `os.write(3, ...)`.
    """
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
        return False
    return (node.value.id == "os" and node.attr in REACHING_OF_OS) or (
        node.value.id,
        node.attr,
    ) == ("sys", "modules")


def imports_ours(node: ast.AST) -> bool:
    """Whether a node imports the grader beyond what the set-up cell imports."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] == OWN_PACKAGE for alias in node.names)
    if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != OWN_PACKAGE:
        return False
    return node.module != f"{OWN_PACKAGE}.check" or any(
        alias.name != "Checker" for alias in node.names
    )
