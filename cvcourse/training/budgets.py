"""Budgets of training cells: the same cell on two CPU cores, on a GPU, and in a smoke test."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cvcourse.training.devices import best_device
from cvcourse.training.errors import BudgetError
from cvcourse.training.progress import interrupt_flag

NAMES = ("smoke", "cpu", "gpu")
VARIABLE = "CVCOURSE_BUDGET"
Item = TypeVar("Item")


@dataclass
class Budget:
    """What one training cell may spend.

    Its name, the device it runs on, and the cell's own settings as attributes.
    """

    name: str
    device: str
    settings: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(
                f"this budget sets {', '.join(self.__dict__.get('settings', {}))}, not {name}"
            ) from None

    def progress(self, steps: Iterable[Item], every: float = 2.0) -> Iterator[Item]:
        """Yield `steps`, printing one line every `every` seconds.

        The first interrupt ends the loop after the step that is running, so that the model keeps
        what it learned; a second one stops at once.
        """
        steps = list(steps)
        start = last = time.monotonic()
        with interrupt_flag() as interrupted:
            for done, step in enumerate(steps):
                yield step
                now = time.monotonic()
                if interrupted():
                    print(
                        f"Stopped after {done + 1} of {len(steps)} steps. What was learned so far"
                        " is kept.",
                        flush=True,
                    )
                    return
                if now - last >= every:
                    last = now
                    left = (now - start) / (done + 1) * (len(steps) - done - 1)
                    print(f"step {done + 1} of {len(steps)}, about {left:.0f} s left", flush=True)


def budget(choice: str | None = None, /, *, expected: str = "", **plans: dict[str, Any]) -> Budget:
    """Choose one of `smoke`, `cpu` and `gpu`, and print the choice.

    The hardware decides, or else the argument, or the variable CVCOURSE_BUDGET. Each plan is a
    dictionary of settings. A missing `gpu` plan falls back to `cpu`. Raises BudgetError for a name
    that is no budget of this cell.
    """
    device = best_device()
    wanted = choice or os.environ.get(VARIABLE) or ("cpu" if device == "cpu" else "gpu")
    if wanted == "gpu" and "gpu" not in plans:
        wanted = "cpu"
    if wanted not in plans:
        raise BudgetError(
            f"There is no budget {wanted!r}: this cell has {', '.join(plans)} (set {VARIABLE} to"
            " one of them)."
        )
    if wanted != "gpu":
        device = "cpu"
    settings = plans[wanted]
    shown = ", ".join(f"{name} {value}" for name, value in settings.items())
    ending = f"; {expected}" if expected else ""
    print(f"budget {wanted} on {device}: {shown}{ending}")
    return Budget(wanted, device, dict(settings))
