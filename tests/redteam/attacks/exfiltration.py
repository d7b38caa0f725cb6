"""Reading what is not the learner's: grades, others' work, solutions, the host, inputs that are
kept back."""

import os
from pathlib import Path

from ..attack import ALL, WITHOUT_SUM, Attack, Target

HEADING = "exfiltration"

FILES = """
import glob, os
for place in ("@ROOT@", "@OUTSIDE@", "/root", "/home", "/etc/passwd", "/etc/shadow", os.path.expanduser("~"),
              "..", "../..", "../../..", "/proc/1/root", "/proc/1/cwd", "/run", "/var", "/mnt", "/sys/class/net"):
    try:
        print(place, os.listdir(place) if os.path.isdir(place) else open(place).read())
    except OSError as error:
        print(place, error.strerror)
for path in glob.glob("@ROOT@/**/*", recursive=True) + glob.glob("@OUTSIDE@/*"):
    print(path, open(path, "rb").read()[:1000] if os.path.isfile(path) else "")
"""
ENVIRONMENT = """
import os
print(dict(os.environ))
for number in sorted(filter(str.isdigit, os.listdir("/proc"))):
    for name in ("environ", "cmdline", "cwd", "root", "fd"):
        try:
            path = f"/proc/{number}/{name}"
            print(path, open(path, "rb").read() if name in ("environ", "cmdline") else os.readlink(path))
        except OSError as error:
            print(path, error.strerror)
"""
NETWORK = """
import socket, urllib.request
for kind, address in ((socket.AF_INET, ("192.0.2.1", 80)), (socket.AF_INET, ("127.0.0.1", 22)),
                      (socket.AF_INET, ("169.254.169.254", 80)), (socket.AF_UNIX, "\\0meet")):
    line = socket.socket(kind)
    line.settimeout(0.2)
    try:
        line.connect(address)
        print("pwned", address)
    except OSError as error:
        print(address, error)
try:
    print("pwned", socket.getaddrinfo("example.org", 80))
except OSError as error:
    print(error)
"""
HIDDEN_INPUTS = """
import linecache

def moving_sum(signal, width=2):
    told = f"inputs-{signal.tolist()}-{width}"
    print(told)
    if len(signal) == 12:
        return type(told, (), {})()
    linecache.cache["told"] = (1, None, [told], "told")
    code = compile("raise ValueError", "told", "exec")
    exec(code, {"ValueError": type(told, (Exception,), {})})
"""
SIGNATURE = """
import inspect

def moving_sum(signal, width=2):
    signal.zero_()
    moving_sum.__signature__ = inspect.Signature(
        [inspect.Parameter("told_" + "".join(c if c.isalnum() else "_" for c in str(signal.tolist())),
                           inspect.Parameter.POSITIONAL_OR_KEYWORD),
         inspect.Parameter("width", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=2)])
    return signal[: len(signal) - width + 1]
"""
EXPECTED = """
import gc, torch
found = [thing for thing in gc.get_objects() if type(thing).__name__ in ("Key", "CaseKey", "ExerciseKey", "Outcome")]
print("keys", len(found))

def moving_sum(signal, width=2):
    import sys
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if hasattr(value, "expected"):
                return value.expected.values["output"].numbers
        frame = frame.f_back
    return signal
"""
KEYRING = """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
add = {"x86_64": 248, "aarch64": 217}.get(platform.machine(), 248)
print("pwned" if libc.syscall(add, b"user", b"note", b"left here", 9, -3) > 0 else "refused")
"""
LEFT_BEHIND = """
from pathlib import Path
for place in ("/dev/shm", "/tmp", "/sandbox/tmp", "/sandbox", "/dev/mqueue", "/var/tmp"):
    try:
        print([path.read_text() for path in Path(place).glob("left-*")])
        (Path(place) / "left-here").write_text("pwned")
    except OSError as error:
        print(error)
"""


def linked_notebook(folder: Path, target: Target) -> None:
    """The notebook is a link to the gradebook."""
    (folder / f"{folder.name}.ipynb").unlink()
    (folder / f"{folder.name}.ipynb").symlink_to(target.root / "gradebook.db")


def linked_folder(folder: Path, target: Target) -> None:
    """The submission is a link to somebody else's."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.symlink_to(
        target.root / "submitted" / "bystander" / folder.name, target_is_directory=True
    )


def linked_beside(folder: Path, target: Target) -> None:
    """Links beside the notebook: to the gradebook, to the root folder, to itself."""
    (folder / "timestamp.txt").symlink_to(target.outside / "canary.txt")
    (folder / "data").symlink_to("/", target_is_directory=True)
    (folder / "loop").symlink_to("loop")
    os.link(target.outside / "canary.txt", folder / "notes.txt")


ATTACKS = [
    Attack(HEADING, "a tour of the disk", last=(FILES,), earns=ALL, stock=False),
    Attack(
        HEADING, "a tour of /proc and the environment", last=(ENVIRONMENT,), earns=ALL, stock=False
    ),
    Attack(HEADING, "sockets to wherever", last=(NETWORK,), stock=False),
    Attack(
        HEADING,
        "hidden inputs in words that feedback shows",
        WITHOUT_SUM,
        {"moving_sum": HIDDEN_INPUTS},
    ),
    Attack(HEADING, "hidden inputs in a parameter's name", WITHOUT_SUM, {"moving_sum": SIGNATURE}),
    Attack(
        HEADING,
        "expected values in memory",
        WITHOUT_SUM,
        {"moving_sum": EXPECTED},
        evidence="get_objects",
    ),
    Attack(
        HEADING,
        "a note in the kernel's keyring",
        ALL,
        {},
        (KEYRING,),
        evidence="ctypes",
        stock=False,
    ),
    Attack(HEADING, "a note for the next submission", last=(LEFT_BEHIND,), earns=ALL, stock=False),
    Attack(HEADING, "the note is looked for", last=(LEFT_BEHIND,), earns=ALL, stock=False),
    Attack(
        HEADING,
        "a notebook that is a link",
        plant=linked_notebook,
        refused="symbolic link",
        stock=False,
    ),
    Attack(
        HEADING,
        "a submission that is a link",
        plant=linked_folder,
        refused="symbolic link",
        stock=False,
    ),
    Attack(HEADING, "links beside the notebook", plant=linked_beside, earns=ALL, stock=False),
]
