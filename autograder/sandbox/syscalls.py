"""System calls that a submission may not make: a seccomp filter.

It is set just before a learner's code runs. Refused is what keeps memory or data where the
supervisor's limits do not reach (memory files, System V segments, kernel keyrings, io_uring's
buffers), and what no notebook needs and a kernel's mistakes are often found in.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

SET_FILTER, FILTER_MODE = 22, 2  # prctl's PR_SET_SECCOMP and its argument
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of the kernel's packet filters
NUMBER_OFFSET, ARCHITECTURE_OFFSET = 0, 4  # in struct seccomp_data
OTHER_ABI = 0x40000000  # x86_64 in 32 bits numbers its calls from here
NEW = {"io_uring_setup": 425, "memfd_secret": 447}  # the same number everywhere
REFUSED = {
    "x86_64": {
        "memfd_create": 319,
        "shmget": 29,
        "msgget": 68,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "ptrace": 101,
        "process_vm_writev": 311,
        **NEW,
    },
    "aarch64": {
        "memfd_create": 279,
        "shmget": 194,
        "msgget": 186,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "ptrace": 117,
        "process_vm_writev": 271,
        **NEW,
    },
}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def is_known() -> bool:
    """Whether this machine's system calls are known here; elsewhere there is no filter."""
    return platform.machine() in REFUSED


def refuse() -> None:
    """Refuse the calls from now on, in this process and all that it starts.

    Needs no_new_privs. Raises OSError.
    """
    if not is_known():
        return
    code = program(platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    steps = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_FILTER, FILTER_MODE, ctypes.byref(steps), 0, 0):
        raise OSError(ctypes.get_errno(), "the filter of system calls cannot be set")


def program(machine: str) -> bytes:
    """The filter: calls of another architecture or ABI and those in the list are refused."""
    numbers = sorted(REFUSED[machine].values())
    steps = [
        (LOAD, 0, 0, ARCHITECTURE_OFFSET),
        (EQUAL, 0, len(numbers) + 3, ARCHITECTURES[machine]),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (AT_LEAST, len(numbers) + 1, 0, OTHER_ABI),
        *((EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
