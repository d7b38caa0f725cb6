"""Forbidden shortcuts, hidden from whoever reads the source or watches what runs."""

from ..attack import WITHOUT_SUM, Attack

HEADING = "evasion"
IMPORTS = "import numpy as np\nimport torch\n\n"


def summed(expression: str, before: str = "") -> str:
    """A `moving_sum` that takes differences of a running sum; `expression` gives that of x."""
    return f"""{IMPORTS}{before}
def moving_sum(signal, width=2):
    x = signal.detach().numpy()
    total = np.concatenate([np.zeros(1, dtype=x.dtype), {expression}])
    return torch.from_numpy(total[width:] - total[:-width])
"""


FORKED = """
import os, signal, struct
import numpy as np
import torch

to_child, from_child = os.pipe(), os.pipe()
if os.fork() == 0:
    signal.alarm(20)
    while data := os.read(to_child[0], 65536):
        os.write(from_child[1], np.frombuffer(data).cumsum().tobytes())
    os._exit(0)

def moving_sum(signal, width=2):
    os.write(to_child[1], signal.detach().double().numpy().tobytes())
    total = np.concatenate([[0.0], np.frombuffer(os.read(from_child[0], 65536))])
    return torch.from_numpy(total[width:] - total[:-width]).to(signal.dtype)
"""
THREADED = """
import threading
import numpy as np
import torch

def moving_sum(signal, width=2):
    found = []
    worker = threading.Thread(target=lambda: found.append(getattr(signal.detach(), "cum" + "sum")(0)))
    worker.start()
    worker.join()
    total = torch.cat([found[0].new_zeros(1), found[0]])
    return total[width:] - total[:-width]
"""
MODES_OFF = """
import torch

def moving_sum(signal, width=2):
    with torch._C.DisableTorchFunction():
        return getattr(signal, "unf" + "old")(0, width, 1).sum(1)
"""
PATCHED_WATCH = """
import importlib

watch = importlib.import_module("autograder.checking.shortcuts").OperatorWatch
watch.note = lambda self, name: None

def moving_sum(signal, width=2):
    return getattr(signal, "unf" + "old")(0, width, 1).sum(1)
"""
NEW_NAME = """
import torch

torch.Tensor.windows = torch.Tensor.unfold

def moving_sum(signal, width=2):
    return signal.windows(0, width, 1).sum(1)
"""
BY_CONVOLUTION = """
import torch

def moving_sum(signal, width=2):
    line = torch.nn.Conv1d(1, 1, width, bias=False, dtype=signal.dtype)
    torch.nn.init.ones_(line.weight)
    return line(signal[None, None])[0, 0]
"""
# No word in it names numpy, an import of it, or what is taken from it.
IN_TEXT = """
import timeit
import torch

tools = []
text = "imp" + "ort nu" + "mpy as n; tools.extend([n.cu" + "msum, n.asarray])"
timeit.timeit(text, globals={"tools": tools}, number=1)

def moving_sum(signal, width=2):
    total = torch.tensor(tools[0](tools[1](signal.detach())).tolist(), dtype=signal.dtype)
    total = torch.cat([total.new_zeros(1), total])
    return total[width:] - total[:-width]
"""
# Answers the host itself from inside the first call: what runs there, nobody watches.
IN_RUNNERS_PLACE = """
import inspect
import signal as signals
import numpy as np
import torch

def answers(header, tensors, runner):
    from autograder.sandbox.wire import send
    place = 0
    for number, case in enumerate(header["cases"]):
        given = tensors[place : place + case["inputs"]]
        place += case["inputs"]
        settings = {name: value for name, value in case["values"].items()}
        width = settings.get("width", 2)
        members = dict(inspect.getmembers(np))
        running, sliding = members["cum" + "sum"], members["corre" + "late"]
        total = np.concatenate([[0.0], running(given[0].double().numpy())])
        value = torch.from_numpy(total[width:] - total[:-width]).to(given[0].dtype)
        if case["probe"] == "slope":
            value = torch.from_numpy(sliding(np.pad(given[1].double().numpy(), width - 1), np.ones(width)))
            value = value.to(given[0].dtype)
        name = "gradient" if case["probe"] == "slope" else "output"
        send(runner.connection, {"case": number, "tampered": [], "values": [[name, "tensor", "cpu"]], "failure": None,
                                 "changed": [], "call": "", "shortcuts": [], "printed": ""}, [value])

def moving_sum(signal, width=2):
    from autograder.sandbox.wire import receive
    signals.setitimer(signals.ITIMER_REAL, 0)
    signals.setitimer(signals.ITIMER_PROF, 0)
    for frame in inspect.stack():
        found = inspect.getargvalues(frame.frame).locals
        if "header" in found and "tensors" in found:
            runner, header, tensors = found["self"], found["header"], found["tensors"]
    answers(header, tensors, runner)
    while True:
        header, tensors = receive(runner.connection)
        if header["exercise"] == "moving_sum":
            answers(header, tensors, runner)
        else:
            runner.check(header, tensors)
"""
NO_PROFILER = summed(
    "running(x)", before="import sys\nrunning = vars(np)['cum' + 'sum']\n"
).replace("    x = ", "    sys.setprofile(None)\n    x = ")


def moving_sum(name: str, source: str, **more: object) -> Attack:
    """A hidden shortcut; without it the exercise earns nothing."""
    return Attack(HEADING, name, WITHOUT_SUM, {"moving_sum": source}, earns=WITHOUT_SUM, **more)


def tampered(name: str, source: str) -> Attack:
    """One that a person must look at."""
    states = {"moving_sum": "tampering suspected"}
    return Attack(HEADING, name, WITHOUT_SUM, {"moving_sum": source}, states=states, stock=False)


ATTACKS = [
    moving_sum("a name that is put together", summed("getattr(np, 'cum' + 'sum')(x)")),
    moving_sum("every name of numpy imported", summed("cumsum(x)", "from numpy import *\n")),
    moving_sum("kept in a list", summed("tools[0](x)", "tools = []\ntools.append(np.cumsum)\n")),
    moving_sum(
        "kept in a dictionary", summed("tools['sum'](x)", "tools = {}\ntools['sum'] = np.cumsum\n")
    ),
    moving_sum(
        "a helper that is defined anew behind its alias",
        summed(
            "adder(x)",
            "def helper(x): return np.cumsum(x)\nadder = helper\ndef helper(x): return x\n",
        ),
    ),
    moving_sum(
        "a global that a function sets",
        summed("adder(x)", "def arm():\n    global adder\n    adder = np.cumsum\narm()\n"),
    ),
    moving_sum("source in a string", f"exec({summed('np.cumsum(x)')!r})"),
    moving_sum("below a cell magic", f"%%time\n{summed('np.cumsum(x)')}"),
    moving_sum(
        "through a pickle",
        summed("adder(x)", "import pickle\nadder = pickle.loads(b'cnumpy\\ncumsum\\n.')\n"),
    ),
    moving_sum("in text that another module runs", IN_TEXT),
    moving_sum(
        "through another function of the library", summed("np.apply_along_axis(np.cumsum, 0, x)")
    ),
    moving_sum("in a process of its own", FORKED, stock=False),
    moving_sum("in a thread of its own", THREADED),
    moving_sum("with torch's watch switched off", MODES_OFF),
    tampered("with the watch patched", PATCHED_WATCH),
    tampered("in the runner's place", IN_RUNNERS_PLACE),
    moving_sum("under a new name on the tensor", NEW_NAME),
    moving_sum("as a layer that has it inside", BY_CONVOLUTION),
    tampered("with Python's profiler switched off", NO_PROFILER),
]
