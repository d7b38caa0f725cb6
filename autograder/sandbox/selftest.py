"""What learner code could reach from where it runs.

Run inside the sandbox; the host compares it with the promises.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIMITS = {
    "memory": resource.RLIMIT_DATA,
    "processes": resource.RLIMIT_NPROC,
    "open_files": resource.RLIMIT_NOFILE,
}
NEW_USER = 0x10000000


def examine(header: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about this process.

    header: `paths` that must not exist here, `folders` that must not be writable.
    """
    return {
        "user": os.getuid(),
        "capabilities": status("CapEff"),
        "no_new_privileges": status("NoNewPrivs"),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "connects": connects(),
        "visible": [path for path in header["paths"] if os.path.lexists(path)],
        "writable": [folder for folder in header["folders"] if is_writable(folder)],
        "environment": sorted(os.environ),
        "limits": {name: resource.getrlimit(limit)[0] for name, limit in LIMITS.items()},
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "makes_namespaces": makes_namespaces(),
        "filters_calls": status("Seccomp") == "2",
    }


def status(field: str) -> str:
    """A line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return line.split()[1]
    return ""


def connects() -> bool:
    """Whether anything outside could be reached."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        # An address for documentation: nothing is sent, but a route must exist.
        line.connect(("192.0.2.1", 9))
        return True
    return False


def is_writable(folder: str) -> bool:
    """Whether a file can be made in a folder."""
    path = Path(folder) / ".examined"
    try:
        path.touch()
    except OSError:
        return False
    path.unlink(missing_ok=True)
    return True


def makes_namespaces() -> bool:
    """Whether a child could make itself a user namespace, and with it privileges."""
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(NEW_USER) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
