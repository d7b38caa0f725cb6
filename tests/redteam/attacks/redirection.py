"""Getting the grade from elsewhere: forged results, replaced checks, objects that agree with
everything."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output

from ..attack import ALL, POINTS, WITHOUT_SUM, Attack

HEADING = "redirection"
STUBS = dict.fromkeys(POINTS)

AGREES = """
class Agrees:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __getattr__(self, name): return self
    def __call__(self, *given, **named): return self
    def __sub__(self, other): return 0
    __array_priority__ = 1000
def moving_sum(signal, width=2):
    return Agrees()
"""
DISPLAYED = """
import sys

def moving_sum(signal, width=2):
    sys.displayhook(3)
    return signal
"""
NO_ASSERTS = """
import ast

class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Drop())
"""
NO_TESTS = """
get_ipython().input_transformers_post.append(lambda lines: ["pass"] if "check(" in "".join(lines) else lines)
"""
NAN = """
check = lambda *given, **named: float("nan")
def moving_sum(signal, width=2):
    return signal.new_full((len(signal) - width + 1,), float("nan"))
"""
FULL_CHECK = """
class Full(type(check)):
    def __call__(self, *given, **named):
        return 3
check.__class__ = Full
"""
FORGED_VERDICT = """
from IPython.display import display
from autograder.checking import report
for name, most in (("moving_sum", 3), ("Scale", 2), ("counts", 1)):
    verdict = {"exercise": name, "state": "right", "points": most, "max_points": most, "summary": "right",
               "diagnosis": None, "why": [], "cases": [], "hints": []}
    display({report.MIME: verdict, "text/plain": str(most)}, raw=True, metadata={"cvcourse": "verdict"})
"""
TO_SOCKET = """
import json, os, socket, struct
LINES = []
for number in os.listdir("/proc/self/fd"):
    try:
        line = socket.socket(fileno=os.dup(int(number)))
        line.getpeername()
        LINES.append(line)
    except OSError:
        pass

def say(header, body=b""):
    text = json.dumps(header).encode()
    for line in LINES:
        line.setblocking(False)
        line.send(struct.pack(">IQ", len(text), len(body)) + text + body)
"""
FORGED_OUTCOME = (
    TO_SOCKET
    + """
def moving_sum(signal, width=2):
    size = len(signal) - width + 1
    value = signal.detach().clone()[:size] * width
    say({"case": 0, "tampered": [], "values": [["output", "tensor", "cpu"]], "failure": None, "changed": [],
         "call": "moving_sum(...)", "shortcuts": [], "printed": "",
         "arrays": [[str(value.dtype).removeprefix("torch."), [size]]]}, value.numpy().tobytes())
    return value
"""
)
HUGE_ANSWER = (
    TO_SOCKET
    + 'say({"answers": {"weights": ["number", 10**400], "share": ["number", 0.36]}, "arrays":'
    " []})\n"
)
HUGE_SHAPE = (
    TO_SOCKET
    + """
def moving_sum(signal, width=2):
    say({"case": 0, "tampered": [], "values": [["output", "tensor", "cpu"]], "failure": None, "changed": [],
         "call": "", "shortcuts": [], "printed": "", "arrays": [["float32", [0] + [4000000] * 15]]})
    return signal
"""
)
LYING_TENSOR = """
import torch

class Lying(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.equal, torch.allclose, torch.Tensor.__eq__, torch.isclose):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})

def moving_sum(signal, width=2):
    return torch.zeros(len(signal) - width + 1, dtype=signal.dtype).as_subclass(Lying)
"""
EQUAL_PATCHED = """
import torch, numpy as np
torch.equal = torch.allclose = lambda *given, **named: True
np.allclose = np.array_equal = lambda *given, **named: True
torch.testing.assert_close = lambda *given, **named: None
"""
PROBES_FILE = """
from pathlib import Path
Path("probes.py").write_text(
    "from autograder.probe import probe\\n"
    "@probe('moving_sum', cases=[dict(length=7)])\\n"
    "def output(moving_sum, draw, **settings):\\n    return {}\\n"
)
"""
PROBES_FOUND = """
import gc, torch
from autograder.checking.probe import Probe
for thing in gc.get_objects():
    if isinstance(thing, Probe):
        object.__setattr__(thing, "function", lambda answer, draw, *given, **named: {"output": draw.normal(1)})
"""
OWN_PACKAGE = """
from pathlib import Path
Path("autograder/checking").mkdir(parents=True)
Path("autograder/__init__.py").write_text("")
Path("autograder/checking/__init__.py").write_text("")
Path("autograder/checking/observe.py").write_text("raise SystemExit")
Path("numpy.py").write_text("raise SystemExit")
import sys
sys.path.insert(0, ".")
"""
NUMBER = """
class Nine(int):
    def item(self):
        return 9
weights = Nine(7)
share = type("Share", (float,), {"__format__": lambda self, spec: "3.6e-01"})(0.5)
"""


def forged_output(notebook: NotebookNode) -> NotebookNode:
    """A check cell that already shows its points, and another that claims to be one."""
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code":
            points = str(cell.metadata.nbgrader.points)
            cell.outputs = [
                new_output("execute_result", data={"text/plain": points}, execution_count=1)
            ]
            cell.source = points
    twin = new_code_cell(
        "3", metadata={"nbgrader": {"grade_id": "check_moving_sum", "grade": True, "points": 3}}
    )
    notebook.cells.append(twin)
    return notebook


ATTACKS = [
    Attack(
        HEADING,
        "an object that equals everything",
        WITHOUT_SUM,
        {"moving_sum": AGREES},
        earns=WITHOUT_SUM,
    ),
    Attack(
        HEADING,
        "points shown while the check runs",
        WITHOUT_SUM,
        {"moving_sum": DISPLAYED},
        earns=WITHOUT_SUM,
    ),
    Attack(
        HEADING,
        "asserts dropped from later cells",
        0,
        STUBS,
        (NO_ASSERTS,),
        earns=0,
        evidence="ast_transformers",
    ),
    Attack(
        HEADING,
        "check cells replaced as they run",
        0,
        STUBS,
        (NO_TESTS,),
        earns=0,
        evidence="input_transformers",
    ),
    Attack(
        HEADING, "a tally that is no number", WITHOUT_SUM, {"moving_sum": NAN}, earns=WITHOUT_SUM
    ),
    Attack(HEADING, "a check that gives full marks", 0, STUBS, (), (FULL_CHECK,), earns=0),
    Attack(
        HEADING, "verdicts shown by the learner's cell", 0, STUBS, (), (FORGED_VERDICT,), earns=0
    ),
    Attack(
        HEADING, "points in the file, and a second check", 0, STUBS, edit=forged_output, earns=0
    ),
    Attack(
        HEADING,
        "an outcome forged on the grader's line",
        WITHOUT_SUM,
        {"moving_sum": FORGED_OUTCOME},
        states={"moving_sum": "tampering suspected"},
        evidence="nobody asked for",
        stock=False,
    ),
    Attack(HEADING, "an answer of 400 digits, forged", ALL, {"counts": HUGE_ANSWER}, stock=False),
    Attack(
        HEADING,
        "a shape that overflows, forged",
        WITHOUT_SUM,
        {"moving_sum": HUGE_SHAPE},
        states={"moving_sum": "tampering suspected", "Scale": "right"},
        earns=WITHOUT_SUM,
        stock=False,
    ),
    Attack(
        HEADING,
        "a tensor that lies when compared",
        WITHOUT_SUM,
        {"moving_sum": LYING_TENSOR},
        earns=WITHOUT_SUM,
    ),
    Attack(HEADING, "comparisons replaced", 0, STUBS, (EQUAL_PATCHED,), earns=0),
    Attack(HEADING, "another probes.py", 0, STUBS, (PROBES_FILE,), earns=0),
    Attack(
        HEADING,
        "probes found in memory and replaced",
        0,
        STUBS,
        (PROBES_FOUND,),
        earns=0,
        evidence="get_objects",
    ),
    Attack(HEADING, "packages of the grader's name", ALL, {}, (OWN_PACKAGE,), stock=False),
    Attack(HEADING, "numbers that say they are others", ALL - 1, {"counts": NUMBER}, earns=ALL - 1),
]
