"""What `autograder.authoring.mutate` edits, what it leaves alone, and how survivors are marked."""

import ast
import itertools
import textwrap

import pytest

from autograder.authoring.mutate import (
    OPERATORS,
    REMOVED,
    Mutant,
    is_equivalent,
    mutants,
    unused_equivalents,
)

BATCH_NORM = '''
@torch.compile(dynamic=3 > 2)
class BatchNorm(nn.Module):
    """Normalises; 3 < 4 and 2 + 2 stay text."""

    scale: Literal[1, 2] = 1

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        """Doc of 2 + 2."""
        super().__init__()
        self.eps, self.momentum = eps, momentum  # comment
        self.register_buffer("mean", torch.zeros(channels))

    def forward(self, x: Annotated[Tensor, 4]) -> Annotated[Tensor, 4]:
        """Doc of 2 + 2."""
        if x.ndim != 4:
            raise ValueError(f"got {x.ndim - 1} axes, not " + str(1 + 2))
        assert x.shape[1] > 0, f"got {2 + 2}"
        batch, channels, height, width = x.shape
        if self.training:
            mean = x.mean(dim=(0, 2, 3))
            self.mean = (1 - self.momentum) * self.mean + self.momentum * mean.detach()
        else:
            mean = self.mean
        print("mean", 1 + 1, mean)
        x = x - mean[None, :, None, None]
        return x / x.var(dim=(0, 2, 3), keepdim=True).add(self.eps).sqrt()
'''

LOOPS = """
def shrink(values, k=2):
    total = 0
    while len(values) > k and not done:
        values.pop()
        total += values[-1] ** 2
        if total > 9:
            break
    for i, (low, high) in enumerate(zip(values[1:], values[:-k])):
        if low is None:
            continue
        total = max(total, high - low) if i else -total
    return total, f"{k + 1} of {len(values):.3f}"
"""


def edits(source: str, operator: str | None = None) -> list[tuple[str, str]]:
    return [
        (m.line, m.becomes)
        for m in mutants(textwrap.dedent(source))
        if operator in (None, m.operator)
    ]


def becomes(expression: str, operator: str) -> list[str]:
    """What `operator` makes of an expression."""
    found = edits(f"y = {expression}", operator)
    assert {line for line, _ in found} <= {f"y = {expression}"}
    return [new.removeprefix("y = ") for _, new in found]


@pytest.mark.parametrize(
    ("operator", "expression", "expected"),
    [
        ("arithmetic", "a + b", ["a - b"]),
        ("arithmetic", "a - b", ["a + b"]),
        ("arithmetic", "a * b", ["a / b"]),
        ("arithmetic", "a / b", ["a * b"]),
        ("arithmetic", "a // b", ["a / b"]),
        ("arithmetic", "a % b", ["a * b"]),
        ("arithmetic", "a ** b", ["a * b"]),
        ("arithmetic", "a @ b", ["b @ a"]),
        ("arithmetic", "a @ b.T", ["b.T @ a"]),
        ("arithmetic", "a @ a", []),
        ("arithmetic", "a @ f(b)", []),
        ("arithmetic", "(a + b) * c", ["(a + b) / c", "(a - b) * c"]),
        ("arithmetic", "'a' + b", []),
        ("arithmetic", "[a] * n", []),
        ("comparison", "a < b", ["a <= b", "a > b"]),
        ("comparison", "a <= b", ["a < b", "a >= b"]),
        ("comparison", "a > b", ["a >= b", "a < b"]),
        ("comparison", "a >= b", ["a > b", "a <= b"]),
        ("comparison", "a == b", ["a != b"]),
        ("comparison", "a != b", ["a == b"]),
        ("comparison", "a is None", ["a is not None"]),
        ("comparison", "a not in b", ["a in b"]),
        (
            "comparison",
            "a is b in c == d",
            ["a is not b in c == d", "a is b not in c == d", "a is b in c != d"],
        ),
        ("comparison", "a == b != c", ["a != b != c", "a == b == c"]),
        ("boolean", "a and b", ["a or b"]),
        ("boolean", "a or b", ["a and b"]),
        ("boolean", "not a", ["a"]),
        ("boolean", "a & b", ["a | b"]),
        ("boolean", "a | b", ["a & b"]),
        ("unary", "-a", ["a"]),
        ("unary", "~a", ["a"]),
        ("unary", "-1", ["1"]),
        ("constant", "0", ["1"]),
        ("constant", "1", ["2", "0"]),
        ("constant", "5", ["6", "4"]),
        ("constant", "-1", ["0", "-2"]),
        ("constant", "-2", ["-1", "-3"]),
        ("constant", "0.5", ["0.75"]),
        ("constant", "0.1", ["0.15"]),
        ("constant", "2.5", ["3.75"]),
        ("constant", "0.001", ["0.0015"]),
        ("constant", "-0.5", ["-0.75"]),
        ("constant", "0.0", ["1.0"]),
        ("constant", "1e-05", ["0.01"]),
        ("constant", "-1000000000.0", ["-1.0"]),
        ("constant", "True", ["False"]),
        ("constant", "False", ["True"]),
        ("constant", "None", []),
        ("constant", "'1'", []),
        (
            "constant",
            "x.sum(dim=-1, keepdim=True)",
            ["x.sum(dim=0, keepdim=True)", "x.sum(dim=-2, keepdim=True)"]
            + ["x.sum(dim=-1, keepdim=False)"],
        ),
        ("condition", "a if c else b", ["b if c else a"]),
        ("condition", "[a for a in b if a.ok]", ["[a for a in b if True]"]),
        (
            "condition",
            "[a for a in b if a if c]",
            ["[a for a in b if True if c]", "[a for a in b if a if True]"],
        ),
        ("index", "x[1:]", ["x[2:]", "x[0:]"]),
        ("index", "x[0:]", ["x[1:]"]),
        ("index", "x[:-1]", ["x[:0]", "x[:-2]"]),
        ("index", "x[a:b]", ["x[a + 1:b]", "x[a - 1:b]", "x[a:b + 1]", "x[a:b - 1]"]),
        ("index", "x[:n + 1]", []),
        ("index", "x[::2]", []),
        ("elements swapped", "x[a, b]", ["x[b, a]"]),
        ("elements swapped", "x[..., a, a]", ["x[a, ..., a]"]),
        ("elements swapped", "x[:, :]", []),
        ("arguments swapped", "f(a, b, c)", ["f(b, a, c)", "f(a, c, b)"]),
        ("arguments swapped", "f(a, a, k=b)", []),
        ("arguments swapped", "einsum('ij,jk', a, b)", ["einsum('ij,jk', b, a)"]),
        ("arguments swapped", "x.permute(0, 2, 1)", ["x.permute(2, 0, 1)", "x.permute(0, 1, 2)"]),
        ("arguments swapped", "x.transpose(-2, -1)", []),
        ("arguments swapped", "torch.maximum(a, b)", []),
        ("arguments swapped", "isinstance(a, b)", []),
        ("function swapped", "min(a)", ["max(a)"]),
        ("function swapped", "x.amax(dim)", ["x.amin(dim)"]),
        ("function swapped", "x.sum()", ["x.mean()"]),
        ("function swapped", "x.mean()", ["x.sum()"]),
        ("function swapped", "math.floor(x)", ["math.ceil(x)"]),
        ("function swapped", "torch.zeros(n)", ["torch.ones(n)"]),
        ("function swapped", "x.argmin()", ["x.argmax()"]),
        ("function swapped", "x.cos()", ["x.sin()"]),
        ("function swapped", "sum(a)", []),  # the built-in has no `mean` beside it
        ("function swapped", "x.sum", []),
        ("call dropped", "x.sqrt()", ["x"]),
        ("call dropped", "x.flip(0).exp()", ["x.flip(0)", "x.exp()"]),
        ("call dropped", "x.transpose(1, 2)", ["x"]),
        ("call dropped", "x.T", ["x"]),
        ("call dropped", "abs(x)", ["x"]),
        ("call dropped", "torch.nn.functional.relu(x)", ["x"]),
        ("call dropped", "F.softmax(x, dim=d)", ["x"]),
        ("call dropped", "self.softmax(x)", []),
        ("call dropped", "self.weight.abs()", ["self.weight"]),
        ("call dropped", "x.sum()", []),
    ],
)
def test_expression(operator, expression, expected):
    assert becomes(expression, operator) == expected


def test_every_operator_is_tested_above():
    tested = {
        mark.args[1][i][0] for mark in test_expression.pytestmark for i in range(len(mark.args[1]))
    }
    assert tested == {operator for operator, _ in OPERATORS}


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("x += y", ["x -= y"]),
        ("x //= y", ["x /= y"]),
        ("x += [y]", []),
        ("x @= y", []),
        ("x &= y", ["x |= y"]),
    ],
)
def test_augmented_assignment(statement, expected):
    assert [new for _, new in edits(statement) if new] == expected


def test_an_early_return_goes_and_an_unread_target_stays():
    source = """
    def f(x, c):
        if c:
            x.go()
            return
        skip, rest, last = x
        skip, spare, rest = x
        return rest, last
    """
    assert removed(source) == ["x.go()", "return", code("return rest, last")]
    assert edits(source, "elements swapped") == [
        (code("skip, rest, last = x"), code("rest, skip, last = x")),
        (code("skip, rest, last = x"), code("skip, last, rest = x")),
        (code("skip, spare, rest = x"), code("skip, rest, spare = x")),
        (code("return rest, last"), code("return last, rest")),
    ]


def test_all_edits_of_a_function_come_in_the_order_of_its_lines():
    source = """
    def half(x, keep=True):
        # a comment
        y = x.abs()
        if y > 0:
            y /= 2
        return y
    """
    assert edits(source) == [
        ("def half(x, keep=True):", "def half(x, keep=False):"),
        ("y = x.abs()", "y = x"),
        ("if y > 0:", "if True:"),
        ("if y > 0:", "if False:"),
        ("if y > 0:", "if y >= 0:"),
        ("if y > 0:", "if y < 0:"),
        ("if y > 0:", "if y > 1:"),
        ("y /= 2", "y *= 2"),
        ("y /= 2", "y /= 3"),
        ("y /= 2", "y /= 1"),
        ("return y", ""),
    ]


def test_an_answer_cell_of_plain_assignments():
    assert edits("mean = 3\nshape = (2, mean)") == [
        ("mean = 3", "mean = 4"),
        ("mean = 3", "mean = 2"),
        ("shape = (2, mean)", "shape = (3, mean)"),
        ("shape = (2, mean)", "shape = (1, mean)"),
    ]


def test_a_mutant_carries_its_whole_source_and_a_short_diff():
    (mutant,) = [
        m
        for m in mutants("def f(a):\n    b = a\n    c = b\n    return b - c")
        if m.operator == "arithmetic"
    ]
    assert mutant == Mutant(
        operator="arithmetic",
        line="return b - c",
        becomes="return b + c",
        source="def f(a):\n    b = a\n    c = b\n    return b + c",
        diff="@@ -3,2 +3,2 @@\n     c = b\n-    return b - c\n+    return b + c",
    )


# Removed statements.


def removed(source: str) -> list[str]:
    found = edits(source, REMOVED)
    assert all(new == "" for _, new in found)
    return [line for line, _ in found]


def code(line: str) -> str:
    """`line` as this Python version writes it; the parentheses of tuples differ between
    versions."""
    return ast.unparse(ast.parse(line))


def test_an_assignment_goes_only_where_its_name_has_a_value_already():
    source = """
    offset = 1
    def f(x, k):
        y = x
        y = y + k
        k = 2
        a, b = x, y
        a, b = b, a
        a, c = b, a
        x[0] = 1
        y += x
        offset = 3
        x = x
        n: int = 4
        k: int = 4
        z: int
        return y
    """
    assert removed(source) == [
        *(
            "y = y + k",
            "k = 2",
            code("a, b = b, a"),
            "x[0] = 1",
            "y += x",
            "offset = 3",
            "k: int = 4",
            "return y",
        )
    ]


def test_branches_of_an_if_do_not_give_each_other_names():
    source = """
    def f(x, c):
        if c:
            y = x
            x = 0
        else:
            y = 2
            x = 1
        y = y + x
        return y
    """
    assert removed(source) == ["x = 0", "x = 1", "y = y + x", "return y"]


def test_names_come_from_loops_contexts_handlers_and_patterns():
    source = """
    def f(rows):
        import math
        for i, row in rows:
            row = 1
        with open(rows) as file:
            file = 2
        try:
            math.check(file)
        except ValueError as error:
            error = 3
        match rows:
            case [head, *_]:
                head = 4
                tail = 5
        math = [late for late in rows]
        late = 6
        return row
    """
    assert removed(source) == [
        *("row = 1", "file = 2", "math.check(file)", "error = 3", "head = 4"),
        *("math = [late for late in rows]", "return row"),
    ]


def test_an_attribute_goes_only_where_an_earlier_line_gave_it_a_value():
    source = """
    class Average(nn.Module):
        size: int = 3
        def __init__(self, n):
            super().__init__()
            self.n = n
            self.register_buffer("mean", n)
            self.layer.requires_grad = False
        def step(self, x):
            self.mean = x
            self.last = x
            self.n += 1
            self.mean.copy_(x)
            return
    """
    assert removed(source) == [
        "self.layer.requires_grad = False",
        "self.mean = x",
        "self.n += 1",
        "self.mean.copy_(x)",
    ]


def test_guards_go_as_a_whole_and_their_messages_stay():
    source = """
    def f(n, k):
        if n < k:
            raise ValueError(f"{n + 1} < {k}" + str(n - 1))
        elif not k:
            raise ValueError(f"{n + 1}")
        if n > 9: raise ValueError
        assert k, f"{n + 1}"
        return n
    """
    assert edits(source) == [
        ("if n < k:", "if True:"),
        ("if n < k:", "if False:"),
        ("if n < k:", "if n <= k:"),
        ("if n < k:", "if n > k:"),
        ("raise ValueError(f'{n + 1} < {k}' + str(n - 1))", ""),
        ("elif not k:", ""),
        ("elif not k:", "elif k:"),
        ("if n > 9:", ""),
        ("if n > 9:", "if n >= 9:"),
        ("if n > 9:", "if n < 9:"),
        ("if n > 9:", "if n > 10:"),
        ("if n > 9:", "if n > 8:"),
        ("assert k, f'{n + 1}'", ""),
        ("return n", ""),
    ]


def test_a_statement_alone_in_its_block_leaves_a_pass():
    (gone,) = [
        m for m in mutants("def f(a):\n    for b in a:\n        b.go()") if m.operator == REMOVED
    ]
    assert gone.source == "def f(a):\n    for b in a:\n        pass"
    assert (gone.line, gone.becomes) == ("b.go()", "")
    (gone,) = [m for m in mutants("try:\n    pass\nexcept E:\n    go()") if m.operator == REMOVED]
    assert gone.source == "try:\n    pass\nexcept E:\n    pass"
    (gone,) = [
        m for m in mutants("for b in a:\n    pass\nelse:\n    go()") if m.operator == REMOVED
    ]
    assert gone.source == "for b in a:\n    pass"


def test_a_lone_statement_of_an_if_goes_through_its_condition_alone():
    assert edits("def f(a, c):\n    if c:\n        a.go()\n") == [
        ("if c:", "if True:"),
        ("if c:", "if False:"),
    ]


def test_loops_keep_what_ends_them():
    source = """
    def f(values, k):
        while values:
            values.pop()
            k += 1
            k.go()
            if k > 3:
                k = 0
                break
            for value in k:
                if value:
                    k = 1
                    break
                continue
            return k
        for k in values:
            if k:
                k.go()
                continue
            k.stop()
            continue
    """
    assert removed(source) == [
        "k += 1",
        "k.go()",
        "k = 0",
        "k = 1",
        "break",
        "k.go()",
        "continue",
        "k.stop()",
    ]


def test_silent_statements_stay():
    source = '''
    def f(x):
        """Doc."""
        super().__init__(x, 3)
        print(x + 1)
        ...
        "text"
        del x
        pass
        return None
    '''
    assert removed(source) == []
    assert [line for line, _ in edits(source)] == [
        "super().__init__(x, 3)"
    ] * 3  # two constants, one swap


# Targets, returns, and where edits must not reach.


def test_elements_of_returns_and_of_targets_are_swapped():
    source = """
    def f(x):
        batch, height, width = x.shape
        unused, other = x.size
        for i, value in enumerate(x):
            go(i, value, height, width)
        return width, height
    """
    assert edits(source, "elements swapped") == [
        (code("batch, height, width = x.shape"), code("height, batch, width = x.shape")),
        (code("batch, height, width = x.shape"), code("batch, width, height = x.shape")),
        ("for i, value in enumerate(x):", "for value, i in enumerate(x):"),
        (code("return width, height"), code("return height, width")),
    ]


def test_an_answer_cell_is_read_by_its_check():
    assert edits("top, left = x.shape", "elements swapped") == [
        (code("top, left = x.shape"), code("left, top = x.shape"))
    ]


def untouched(node: ast.AST) -> list[str]:
    """Docstrings, annotations, decorators, bases, imports, raise statements and prints under
    `node`."""
    found = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Module | ast.ClassDef | ast.FunctionDef):
            found.append(ast.get_docstring(inner))
        found += [
            ast.dump(one)
            for one in getattr(inner, "decorator_list", []) + getattr(inner, "bases", [])
        ]
        for part in (
            getattr(inner, "annotation", None),
            getattr(inner, "returns", None),
            getattr(inner, "msg", None),
        ):
            found += [ast.dump(part)] if part is not None else []
        if isinstance(inner, ast.Import | ast.ImportFrom) or ast.unparse(inner).startswith(
            "print("
        ):
            found.append(ast.dump(inner))
    return found


SOURCES = {
    "class": BATCH_NORM,
    "loops": LOOPS,
    "cell": "import math as m\nfrom a import b\nx = m.sqrt(2) * b\n",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_every_mutant_is_new_compiles_and_leaves_the_text_alone(source):
    normal = ast.unparse(ast.parse(source))
    found = mutants(source)
    assert len(found) >= 4
    assert len({m.source for m in found} | {normal}) == len(found) + 1
    kept = sorted(map(str, untouched(ast.parse(normal))))
    raised = [
        ast.unparse(node) for node in ast.walk(ast.parse(normal)) if isinstance(node, ast.Raise)
    ]
    for mutant in found:
        compile(mutant.source, "<mutant>", "exec")
        tree = ast.parse(mutant.source)
        if mutant.operator == REMOVED:
            assert mutant.becomes == ""
        else:
            assert sorted(map(str, untouched(tree))) == kept
            assert [
                ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Raise)
            ] == raised
        assert mutant.line in [line.strip() for line in normal.split("\n")]
        assert mutant.line != mutant.becomes
        assert not mutant.diff.startswith("---")


def test_the_solution_itself_is_not_disturbed_by_one_mutant_after_another():
    """Each mutant differs from the solution in one place only."""
    for source in SOURCES.values():
        for mutant in mutants(source):
            changed = [line for line in mutant.diff.split("\n") if line.startswith("+")]
            assert len(changed) <= 1


def test_the_class_is_edited_where_a_check_should_look():
    found = edits(BATCH_NORM)
    for expected in [
        ("if x.ndim != 4:", ""),
        ("if self.training:", "if True:"),
        ("mean = x.mean(dim=(0, 2, 3))", "mean = x.sum(dim=(0, 2, 3))"),
        ("self.mean = (1 - self.momentum) * self.mean + self.momentum * mean.detach()", ""),
        ("x = x - mean[None, :, None, None]", ""),
        ("x = x - mean[None, :, None, None]", "x = x - mean[:, None, None, None]"),
        ("scale: Literal[1, 2] = 1", "scale: Literal[1, 2] = 2"),
    ]:
        assert expected in found


def test_default_parameters_are_constants_and_may_be_keyword_only():
    signature = "def f(x, k=2, *, causal=False, scale=None):"
    assert edits(f"{signature}\n    return x") == [
        (signature, signature.replace("False", "True")),
        (signature, signature.replace("2", "3")),
        (signature, signature.replace("2", "1")),
        ("return x", ""),
    ]


def test_an_edit_that_cannot_compile_is_left_out():
    source = "match x:\n    case 1 + 2j:\n        pass"
    assert ("case 1 + 2j:", "case 1 * 2j:") not in edits(source)
    assert ("case 1 + 2j:", "case 1 - 2j:") in edits(source)


# Order, number and marks.


def test_the_order_is_the_same_every_time():
    assert mutants(BATCH_NORM) == mutants(BATCH_NORM)
    assert mutants(BATCH_NORM) == mutants(ast.unparse(ast.parse(BATCH_NORM)))


def test_a_limit_keeps_an_even_spread():
    every = mutants(BATCH_NORM)
    some = mutants(BATCH_NORM, limit=5)
    places = [every.index(mutant) for mutant in some]
    gaps = {after - before for before, after in itertools.pairwise(places)}
    assert len(some) == 5 and max(gaps) - min(gaps) <= 1
    assert mutants(BATCH_NORM, limit=len(every) + 1) == every
    assert mutants(BATCH_NORM, limit=0) == []
    with pytest.raises(ValueError, match="negative"):
        mutants(BATCH_NORM, limit=-1)


def test_a_solution_that_does_not_parse_is_an_error():
    with pytest.raises(SyntaxError):
        mutants("def f(:")


def mark(line: str, becomes: str, reason: str = "same sum") -> dict[str, str]:
    return {"line": line, "becomes": becomes, "reason": reason}


SHORT = "def f(a, b):\n    a = a + 'x'[0]\n    if a:\n        return a\n    return g(a, b)"


def test_a_mark_gives_its_reason_however_the_line_is_spelled():
    swap = next(m for m in mutants(SHORT) if m.operator == "arguments swapped")
    gone = next(m for m in mutants(SHORT) if m.operator == REMOVED)
    always = next(m for m in mutants(SHORT) if m.becomes == "if True:")
    assert (
        is_equivalent(
            swap, [mark("return x", ""), mark("return g(a,b)  # symmetric", "return g( b, a )")]
        )
        == "same sum"
    )
    assert is_equivalent(gone, [mark(' a = a + "x"[0]', "", "a is text")]) == "a is text"
    assert is_equivalent(always, [mark("if  a :", "if True:")]) == "same sum"


def test_a_mark_for_another_edit_does_not_match():
    swap = next(m for m in mutants(SHORT) if m.operator == "arguments swapped")
    others = [
        mark("return g(a, b)", ""),
        mark("return g(a, c)", swap.becomes),
        mark(swap.becomes, swap.line),
    ]
    assert is_equivalent(swap, others) is None
    assert is_equivalent(swap, []) is None
    chain = next(m for m in mutants("if a:\n    b()\nelif c:\n    d()") if m.line == "elif c:")
    assert is_equivalent(chain, [mark("if c:", chain.becomes.removeprefix("el"))]) is None
    assert is_equivalent(chain, [mark("elif (c):  # else", chain.becomes)]) == "same sum"


def test_marks_for_lines_that_are_no_statement_match_up_to_spaces():
    case = next(m for m in mutants("match x:\n    case 1:\n        pass") if m.line == "case 1:")
    assert is_equivalent(case, [mark("case  1:", " case   2:")]) == "same sum"
    assert is_equivalent(case, [mark("case 3:", "case 2:")]) is None


def test_stale_marks_are_reported():
    every = mutants(SHORT)
    used, stale = mark("return g(a, b)", "return g(b, a)"), mark("return h(a, b)", "return h(b, a)")
    assert unused_equivalents(every, [used, stale]) == [stale]
    assert unused_equivalents(iter(every), [stale, used]) == [stale]
    assert unused_equivalents(every, []) == []


@pytest.mark.parametrize("broken", [{"line": "a", "becomes": "b"}, mark("a", "b", "  ")])
def test_a_mark_without_a_reason_is_an_error(broken):
    with pytest.raises(ValueError, match="reason"):
        is_equivalent(mutants(SHORT)[0], [broken])
