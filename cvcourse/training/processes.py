"""One process or several: `accelerate launch` starts them, and they train one model together."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, device, nn


@dataclass(frozen=True)
class Processes:
    """The processes that train together. rank: this one's number. count: of all."""

    accelerator: Any = None
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0

    def say(self, words: str) -> None:
        """Print a sentence in the first process only."""
        if self.is_first:
            print(words, flush=True)

    @property
    def device(self) -> device | None:
        """Where this process computes; None where its model decides."""
        return self.accelerator.device if self.accelerator else None

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over all processes."""
        return self.accelerator.prepare(model) if self.accelerator else model

    def share(self, batch: Tensor) -> Tensor:
        """This process's share of a batch, (batch, ...) -> (batch / count, ...)."""
        return batch[self.rank :: self.count]

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        return self.accelerator.reduce(values, "mean") if self.accelerator else values

    def agree(self, value: int) -> bool:
        """Whether all processes say the same number."""
        if not self.accelerator:
            return True
        from accelerate.utils import gather_object

        return len(set(gather_object([value]))) == 1


def processes() -> Processes:
    """This process alone, or all that `accelerate launch` started."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    from accelerate import Accelerator

    accelerator = Accelerator()
    atexit.register(part)
    return Processes(accelerator, accelerator.process_index, accelerator.num_processes)


def wait_for_all() -> None:
    """Return when every process is here.

    One that ends while another still talks to it would take it down.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def part() -> None:
    """Leave the group before Python takes its threads away.

    Left alone, they sometimes abort the process.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
