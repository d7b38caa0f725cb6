"""Small automatic edits of a solution, of which its check must reject nearly all.

`mutants` makes them from the solution of one exercise. An edit that a check lets through is a
survivor: either the check has a hole, or the edit changes nothing that the exercise asks for, and
the author marks it as equivalent with a reason. Edits that die on any call (a name never assigned,
a loop that cannot end) and edits that can change nothing are left out where the source alone shows
it, since they would only flatter or blur the score. An edited `while` may still never end: run
mutants under a time limit.
"""

import ast
import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

REMOVED = "statement removed"

# Fields never edited: they are read by people or tools, or run before the exercise does.
UNTOUCHED_FIELDS = {"annotation", "returns", "decorator_list", "bases", "type_params", "msg"}

ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
MASK_LOGIC = {ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
COMPARISON = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}


def _words(text: str) -> set[str]:
    return set(text.split())


def _both_ways(text: str) -> dict[str, str]:
    """A table of swaps from pairs such as `min/max`, in both directions."""
    pairs = [pair.split("/") for pair in text.split()]
    return dict(pairs) | {new: old for old, new in pairs}


BUILTIN_SWAPS = _both_ways("min/max any/all")
METHOD_SWAPS = BUILTIN_SWAPS | _both_ways(
    "minimum/maximum amin/amax argmin/argmax sum/mean var/std floor/ceil sin/cos triu/tril"
    " zeros/ones zeros_like/ones_like new_zeros/new_ones logical_and/logical_or"
    " sigmoid/tanh softmax/log_softmax max_pool2d/avg_pool2d MaxPool2d/AvgPool2d"
)
# Calls whose result looks like their first argument, so that leaving them out still runs.
DROPPABLE_CALLS = _words(
    "sqrt rsqrt square abs exp log floor ceil round clamp clip cumsum relu sigmoid tanh softmax"
    " log_softmax detach flip roll transpose swapaxes permute"
)
DROPPABLE_ATTRIBUTES = {"T", "mT"}
MODULES = {"torch", "nn", "F", "np", "numpy", "math"}
# Swapping the arguments of these changes nothing, or is a TypeError on every call.
ORDER_FREE_CALLS = _words(
    "min max minimum maximum add mul multiply hypot logaddexp equal eq ne isclose allclose"
    " logical_and logical_or logical_xor transpose swapaxes swapdims"
    " mse_loss l1_loss smooth_l1_loss cosine_similarity super isinstance hasattr getattr"
)
REGISTERING_CALLS = {"register_buffer", "register_parameter", "register_module", "add_module"}

TINY, HUGE = 1e-3, 1e6


@dataclass(frozen=True)
class Mutant:
    """One edit of a solution.

    operator: the kind of edit, such as "comparison" or "statement removed".
    line, becomes: the edited line of the normalised source before and after, stripped; `becomes` is
    "" when removed.
    source: the whole edited source, which compiles.
    diff: unified diff of the normalised sources with one line of context and no file headers.
    """

    operator: str
    line: str
    becomes: str
    source: str
    diff: str


def mutants(source: str, limit: int | None = None) -> list[Mutant]:
    """Every small edit of `source`, in the order of its lines.

    source: a function, a class or plain assignments.

    limit: keep at most this many, spread evenly over the source. Raises SyntaxError when `source`
    does not parse and ValueError on a negative limit.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must not be negative, got {limit}")
    tree = ast.parse(
        ast.unparse(ast.parse(source))
    )  # parsed again: line numbers now count normalised lines
    normal = ast.unparse(tree)
    seen = {normal}
    found: list[tuple[int, Mutant]] = []
    for edit in _all_edits(tree):
        mutated = _apply(edit, tree)
        if mutated not in seen and _compiles(mutated):
            seen.add(mutated)
            found.append(_describe(edit, normal, mutated))
    found.sort(key=lambda numbered: numbered[0])
    return _spread([mutant for _, mutant in found], limit)


def is_equivalent(mutant: Mutant, equivalents: Sequence[Mapping[str, str]]) -> str | None:
    """The reason of the first entry that marks `mutant` as equivalent, else None.

    equivalents: entries {line=, becomes=, reason=}.

    Lines are compared as code, so spaces, quotes and comments do not matter. An entry covers every
    mutant with that line and edit. Raises ValueError when an entry lacks a key or its reason is
    empty.
    """
    return next((entry["reason"] for entry in equivalents if _matches(mutant, entry)), None)


def unused_equivalents(
    mutants: Iterable[Mutant], equivalents: Sequence[Mapping[str, str]]
) -> list[Mapping[str, str]]:
    """The entries that mark none of `mutants`: stale marks, which the caller reports as errors.

    Pass every mutant of the solution, not a limited subset: a mark is stale only when no mutant at
    all needs it.
    """
    every = list(mutants)
    return [entry for entry in equivalents if not any(_matches(mutant, entry) for mutant in every)]


# Edits: where they apply and what they leave behind.


@dataclass(frozen=True)
class _Edit:
    """Give `field` of `holder` the new `value`, a node or a list. removed: the statement that goes,
    if one does."""

    operator: str
    holder: ast.AST
    field: str
    value: object
    removed: ast.stmt | None = None


def _all_edits(tree: ast.Module) -> Iterator[_Edit]:
    yield from _removals(tree, "body", set())
    yield from _swapped_targets(tree)
    yield from _rewrites(tree)


def _apply(edit: _Edit, tree: ast.Module) -> str:
    """The source of `tree` with `edit` in place; `tree` itself is left as it was."""
    before = getattr(edit.holder, edit.field)
    setattr(edit.holder, edit.field, edit.value)
    try:
        return ast.unparse(tree)
    finally:
        setattr(edit.holder, edit.field, before)


def _compiles(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(
                source, "<mutant>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
            )
        except SyntaxError:
            return False
    return True


def _describe(edit: _Edit, normal: str, mutated: str) -> tuple[int, Mutant]:
    """The mutant and the number of the line it edits. An edit of an expression keeps the number of
    lines."""
    before, after = normal.split("\n"), mutated.split("\n")
    if edit.removed is not None:
        number, becomes = edit.removed.lineno - 1, ""
    else:
        number = next(
            i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
        )
        becomes = after[number].strip()
    diff = list(difflib.unified_diff(before, after, n=1, lineterm=""))[2:]
    return number, Mutant(edit.operator, before[number].strip(), becomes, mutated, "\n".join(diff))


def _spread(items: list[Mutant], limit: int | None) -> list[Mutant]:
    if limit is None or limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


# Removed statements.


def _removals(
    holder: ast.AST, field: str, bound: set[str], while_loop: ast.While | None = None
) -> Iterator[_Edit]:
    """Removals in one block and the blocks inside it.

    bound: names (and `self.name`s) that may have a value when the block starts; removing any other
    name's assignment is a NameError on every call. while_loop: the loop around the block, unless a
    `for` is nearer.
    """
    bound = set(bound)
    block = getattr(holder, field)
    for i, statement in enumerate(block):
        if _is_removable(statement, holder, bound, while_loop):
            rest = block[:i] + block[i + 1 :]
            yield _Edit(REMOVED, holder, field, rest or _empty(field), removed=statement)
        yield from _inner_removals(statement, bound, while_loop)
        bound |= _bound_names(statement)


def _inner_removals(
    statement: ast.AST, bound: set[str], while_loop: ast.While | None
) -> Iterator[_Edit]:
    inside = bound | _header_names(statement)
    if isinstance(statement, ast.While):
        while_loop = statement
    elif isinstance(
        statement, ast.For | ast.AsyncFor | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ):
        while_loop = None
    for field in ("body", "orelse", "finalbody"):
        if isinstance(getattr(statement, field, None), list):
            yield from _removals(statement, field, inside, while_loop)
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield from _inner_removals(part, inside, while_loop)


def _is_removable(
    statement: ast.stmt, holder: ast.AST, bound: set[str], while_loop: ast.While | None
) -> bool:
    if _does_nothing(statement, holder) or _is_false_branch(holder):
        return False
    if while_loop is not None and _keeps_ending(statement, while_loop):
        return False
    match statement:
        case ast.Assign() | ast.AnnAssign(value=ast.expr()):
            return _bound_names(statement) <= bound
        case ast.Expr(value=value):
            return _registered_names(value) <= bound
        case (
            ast.AugAssign()
            | ast.Return()
            | ast.Raise()
            | ast.Assert()
            | ast.Break()
            | ast.Continue()
        ):
            return True
    return _is_guard(statement)


def _does_nothing(statement: ast.stmt, holder: ast.AST) -> bool:
    """Nothing that an exercise is checked for: docstrings, prints, `x = x`, a bare `return` at the
    very end."""
    match statement:
        case ast.Expr(value=value):
            return isinstance(value, ast.Constant) or _is_print(statement) or _is_super_init(value)
        case (
            ast.Assign(targets=[target], value=value)
            | ast.AnnAssign(target=target, value=ast.expr() as value)
        ):
            return ast.unparse(target) == ast.unparse(value)
        case ast.Return(value=None | ast.Constant(value=None)):
            return (
                isinstance(holder, ast.FunctionDef | ast.AsyncFunctionDef)
                and statement is holder.body[-1]
            )
        case ast.Continue():
            return (
                isinstance(holder, ast.For | ast.AsyncFor | ast.While)
                and statement is holder.body[-1]
            )
    return False


def _keeps_ending(statement: ast.stmt, loop: ast.While) -> bool:
    """Whether a `while` loop may run for ever without `statement`: it leaves the loop or touches
    the tested names."""
    if isinstance(statement, ast.Break | ast.Return | ast.Raise) or _is_guard(statement):
        return True
    return not _names(loop.test).isdisjoint(_names(statement))


def _is_guard(statement: ast.AST) -> bool:
    """`if ...: raise ...` and nothing else: refuses invalid input, and goes as a whole."""
    return (
        isinstance(statement, ast.If)
        and not statement.orelse
        and len(statement.body) == 1
        and isinstance(statement.body[0], ast.Raise)
    )


def _is_false_branch(holder: ast.AST) -> bool:
    """Removing the one statement of an `if` is the same as its condition becoming False, which is
    an edit already."""
    return isinstance(holder, ast.If) and not holder.orelse and len(holder.body) == 1


def _empty(field: str) -> list[ast.stmt]:
    return [] if field == "orelse" else [ast.Pass()]


def _is_print(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "print"
    )


def _is_super_init(value: ast.expr) -> bool:
    """`super().__init__(...)`: modules cannot live without it, plain objects never notice."""
    return isinstance(value, ast.Call) and ast.unparse(value.func) == "super().__init__"


# Names: which have a value where.


def _bound_names(node: ast.AST) -> set[str]:
    """Names that `node` gives a value in its own scope, and `self.name` for attributes, whichever
    method sets them."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            inner = set().union(*(_bound_names(statement) for statement in node.body))
            return {node.name} | {name for name in inner if name.startswith("self.")}
        case ast.ClassDef():
            return {node.name}
        case ast.Lambda() | ast.comprehension():
            return set()
        case ast.AugAssign():
            return set()  # needs a value already
        case (
            ast.Name(id=name, ctx=ast.Store())
            | ast.alias(asname=str() as name)
            | ast.MatchAs(name=str() as name)
        ):
            return {name}
        case ast.alias(name=name):
            return {name.split(".")[0]}
        case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
            return {f"self.{name}"}
        case ast.Call(args=[ast.Constant(value=str(name)), *_]) if (
            _called(node) in REGISTERING_CALLS
        ):
            return {f"self.{name}"}
    return set().union(*(_bound_names(child) for child in ast.iter_child_nodes(node)))


def _registered_names(value: ast.expr) -> set[str]:
    return (
        _bound_names(value)
        if isinstance(value, ast.Call) and _called(value) in REGISTERING_CALLS
        else set()
    )


def _header_names(statement: ast.AST) -> set[str]:
    """Names that the header of a compound statement gives to its blocks."""
    match statement:
        case ast.FunctionDef(args=args) | ast.AsyncFunctionDef(args=args):
            return {arg.arg for arg in ast.walk(args) if isinstance(arg, ast.arg)}
        case ast.For(target=target) | ast.AsyncFor(target=target):
            return _bound_names(target)
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return set().union(*(_bound_names(item) for item in items))
        case ast.ExceptHandler(name=str() as name):
            return {name}
        case ast.match_case(pattern=pattern):
            return _bound_names(pattern)
    return set()


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


# Swapped unpacking targets.


def _swapped_targets(tree: ast.Module) -> Iterator[_Edit]:
    """`height, width = ...` becomes `width, height = ...`, unless nobody reads either."""
    loaded = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    read = loaded | _bound_names(tree)  # what the cell itself assigns is read by the check
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store):
            for i, elements in _adjacent_swaps(node.elts):
                if not all(
                    isinstance(one, ast.Name) and one.id not in read for one in node.elts[i : i + 2]
                ):
                    yield _Edit("elements swapped", node, "elts", elements)


def _adjacent_swaps(items: list) -> Iterator[tuple[int, list]]:
    for i in range(len(items) - 1):
        yield i, [*items[:i], items[i + 1], items[i], *items[i + 2 :]]


# Rewritten expressions and conditions: each operator yields replacements of one node.


def _rewrites(node: ast.AST) -> Iterator[_Edit]:
    """Replacements of the nodes under `node`, outermost first."""
    for field, value in ast.iter_fields(node):
        if field in UNTOUCHED_FIELDS:
            continue
        children = value if isinstance(value, list) else [value]
        for i, child in enumerate(children):
            if (
                not isinstance(child, ast.AST)
                or isinstance(child, ast.Raise | ast.alias)
                or _is_print(child)
            ):
                continue
            for operator, rewrite in OPERATORS:
                for new in rewrite(child):
                    replaced = (
                        [*value[:i], new, *value[i + 1 :]] if isinstance(value, list) else new
                    )
                    yield _Edit(operator, node, field, replaced)
            if _number(child) is None:
                yield from _rewrites(child)


def _with(node: ast.AST, **changes: object) -> ast.AST:
    """A shallow copy of `node` with some fields changed."""
    return type(node)(**{**dict(ast.iter_fields(node)), **changes})


def _condition(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.If() if not _is_guard(node):
            yield from (_with(node, test=ast.Constant(value)) for value in (True, False))
        case ast.IfExp():
            yield _with(node, body=node.orelse, orelse=node.body)
        case ast.comprehension():
            for i in range(len(node.ifs)):
                yield _with(node, ifs=[*node.ifs[:i], ast.Constant(True), *node.ifs[i + 1 :]])


def _comparison(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARISON[type(op)]:
                yield _with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])


def _boolean(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in MASK_LOGIC:
            yield _with(node, op=MASK_LOGIC[type(op)]())


def _unary(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Invert):
        yield node.operand


def _arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            if _is_plain(left) and _is_plain(right):
                yield _with(node, left=right, right=left)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            if not _is_sequence(left) and not _is_sequence(right):
                yield _with(node, op=ARITHMETIC[type(op)]())
        case ast.AugAssign(op=op, value=value) if type(op) in ARITHMETIC and not _is_sequence(
            value
        ):
            yield _with(node, op=ARITHMETIC[type(op)]())


def _is_plain(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute | ast.Subscript)


def _is_sequence(node: ast.expr) -> bool:
    """A literal that only joins and repeats: any other operator on it is a TypeError on every
    call."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp)


def _index(node: ast.AST) -> Iterator[ast.AST]:
    """Slice bounds one to either side. In `[: n + 1]` the constant's own edits do that."""
    if isinstance(node, ast.Slice):
        for field in ("lower", "upper"):
            bound = getattr(node, field)
            if bound is None or (isinstance(bound, ast.BinOp) and _number(bound.right) is not None):
                continue
            yield from (_with(node, **{field: new}) for new in _neighbours(bound))


def _neighbours(bound: ast.expr) -> Iterator[ast.AST]:
    if _number(bound) is not None:
        yield from _constant(bound)
    else:
        yield from (ast.BinOp(bound, op, ast.Constant(1)) for op in (ast.Add(), ast.Sub()))


def _elements_swapped(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value=ast.Tuple() as pair):
            yield from (
                _with(node, value=_with(pair, elts=elements))
                for _, elements in _adjacent_swaps(pair.elts)
            )
        case ast.Subscript(slice=ast.Tuple() as pair):
            yield from (
                _with(node, slice=_with(pair, elts=elements))
                for _, elements in _adjacent_swaps(pair.elts)
            )


def _arguments_swapped(node: ast.AST) -> Iterator[ast.AST]:
    """Adjacent positional arguments, unless just one of the two is text, such as the equation of an
    einsum."""
    if isinstance(node, ast.Call) and _called(node) not in ORDER_FREE_CALLS:
        for i, arguments in _adjacent_swaps(node.args):
            if _is_text(node.args[i]) == _is_text(node.args[i + 1]):
                yield _with(node, args=arguments)


def _called(call: ast.Call) -> str | None:
    """The last name of what is called: `softmax` in `F.softmax(x)` and in `softmax(x)`."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _function_swapped(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Call(func=ast.Name(id=name)) if name in BUILTIN_SWAPS:
            yield _with(node, func=ast.Name(BUILTIN_SWAPS[name], ast.Load()))
        case ast.Call(func=ast.Attribute(attr=name) as func) if name in METHOD_SWAPS:
            yield _with(node, func=_with(func, attr=METHOD_SWAPS[name]))


def _call_dropped(node: ast.AST) -> Iterator[ast.AST]:
    """`x.sqrt()`, `torch.sqrt(x)` and `sqrt(x)` become `x`; so does `x.T`."""
    match node:
        case ast.Attribute(value=value, attr=name, ctx=ast.Load()) if name in DROPPABLE_ATTRIBUTES:
            yield value
        case ast.Call(func=ast.Attribute(value=value), args=args) if (
            _called(node) in DROPPABLE_CALLS
        ):
            if _is_module(value):
                yield from args[:1]
            elif ast.unparse(value) != "self":  # a method of the class itself
                yield value
        case ast.Call(func=ast.Name(), args=[first, *_]) if _called(node) in DROPPABLE_CALLS:
            yield first


def _is_module(node: ast.expr) -> bool:
    """`torch`, `torch.nn.functional` and the like."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in MODULES


def _constant(node: ast.AST) -> Iterator[ast.AST]:
    """Numbers and booleans; `-1` counts as one number. Text and None stay."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    else:
        number = _number(node)
        if isinstance(number, int):
            yield from (_literal(new) for new in ((number + 1, number - 1) if number else (1,)))
        elif isinstance(number, float):
            yield _literal(_other_float(number))


def _number(node: ast.AST) -> int | float | None:
    """The value of a number written out, with its sign; None for anything else."""
    match node:
        case ast.Constant(value=bool()) | ast.UnaryOp(operand=ast.Constant(value=bool())):
            return None
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    return None


def _literal(number: int | float) -> ast.expr:
    return ast.UnaryOp(ast.USub(), ast.Constant(-number)) if number < 0 else ast.Constant(number)


def _other_float(value: float) -> float:
    """Half as much again. A tiny number only guards a division and a huge one stands for infinity:
    those need more."""
    size = abs(value)
    factor = 1000 if size < TINY else 1.5
    other = 1.0 if size == 0 or size >= HUGE else float(f"{size * factor:.12g}")
    return -other if value < 0 else other


OPERATORS: tuple[tuple[str, Callable[[ast.AST], Iterator[ast.AST]]], ...] = (
    ("condition", _condition),
    ("comparison", _comparison),
    ("boolean", _boolean),
    ("unary", _unary),
    ("arithmetic", _arithmetic),
    ("index", _index),
    ("elements swapped", _elements_swapped),
    ("arguments swapped", _arguments_swapped),
    ("function swapped", _function_swapped),
    ("call dropped", _call_dropped),
    ("constant", _constant),
)


# Marks of equivalent mutants.


def _matches(mutant: Mutant, entry: Mapping[str, str]) -> bool:
    missing = [key for key in ("line", "becomes", "reason") if key not in entry]
    if missing or not entry["reason"].strip():
        raise ValueError(
            f"an equivalent mutant needs line, becomes and a reason, got {dict(entry)}"
        )
    return all(
        _as_code(entry[key]) == _as_code(getattr(mutant, key)) for key in ("line", "becomes")
    )


def _as_code(line: str) -> str:
    """One spelling for a line, whichever way its author or this Python version writes it."""
    line = line.strip()
    if line.startswith("elif "):
        return "el" + _as_code(line[2:])
    for suffix in ("", "\n    pass"):
        try:
            return ast.unparse(ast.parse(line + suffix))
        except SyntaxError:
            continue
    return " ".join(line.split())
