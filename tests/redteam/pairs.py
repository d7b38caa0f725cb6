"""Two submissions that run at the same time: one computes, the other asks it; or one harms the
other."""

from __future__ import annotations

from dataclasses import dataclass

from .attack import WITHOUT_SUM, Attack

HEADING = "two together"

# The giver serves until its limit ends it; the taker's function has no code of its own.
SERVE = """
import os, socket, time
import torch

line = socket.socket({family}, socket.SOCK_STREAM)
line.bind({address})
line.listen()
line.settimeout(0.1)
begun = time.monotonic()
while time.monotonic() - begun < 2.5:
    try:
        asking, _ = line.accept()
    except TimeoutError:
        continue
    width, *numbers = map(float, asking.recv(65536).decode().split())
    found = torch.tensor(numbers, dtype=torch.float64).unfold(0, int(width), 1).sum(1)
    asking.sendall(" ".join(map(str, found.tolist())).encode())
    asking.close()
"""
ASK = """
import socket, time
import torch

def moving_sum(signal, width=2):
    for _ in range(20):
        line = socket.socket({family}, socket.SOCK_STREAM)
        try:
            line.connect({address})
            break
        except OSError:
            time.sleep(0.05)
    line.sendall(" ".join(map(str, [width, *signal.tolist()])).encode())
    return torch.tensor(list(map(float, line.recv(65536).decode().split())), dtype=signal.dtype)
"""
KILLER = """
import os, signal, time
begun = time.monotonic()
while time.monotonic() - begun < 1:
    for number in range(2, 400):
        try:
            if number != os.getpid():
                os.kill(number, signal.SIGKILL)
        except OSError:
            pass
"""
HOG = """
import os, time
for _ in range(20):
    if os.fork() == 0:
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            pass
        os._exit(0)
"""


@dataclass(frozen=True)
class Pair:
    """Two submissions; the second earns nothing for moving_sum by itself."""

    name: str
    giver: Attack
    taker: Attack


def meeting(name: str, family: str, address: str) -> Pair:
    """One serves at an address, the other asks there."""
    words = {"family": family, "address": address}
    giver = Attack(
        HEADING, f"{name}, giver", WITHOUT_SUM, first=(SERVE.format(**words),), stock=False
    )
    taker = Attack(
        HEADING, f"{name}, taker", WITHOUT_SUM, {"moving_sum": ASK.format(**words)}, stock=False
    )
    return Pair(name, giver, taker)


def harming(name: str, source: str) -> Pair:
    """One harms, the other is there."""
    giver = Attack(HEADING, f"{name}, giver", WITHOUT_SUM, first=(source,), stock=False)
    return Pair(
        name,
        giver,
        Attack(HEADING, f"{name}, taker", WITHOUT_SUM, {"moving_sum": None}, stock=False),
    )


PAIRS = [
    meeting("loopback", "socket.AF_INET", "('127.0.0.1', 47111)"),
    meeting("abstract", "socket.AF_UNIX", "'\\0meet'"),
    meeting("shared-folder", "socket.AF_UNIX", "'/dev/shm/meet'"),
    harming("killer", KILLER),
    harming("hog", HOG),
]
