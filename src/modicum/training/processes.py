"""One or many processes: what ``torchrun`` starts, and sums over all of them."""

from __future__ import annotations

import atexit
import os
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as distributed
from torch import nn

from modicum.training import sharing

STORE = "MODICUM_PROCESSES"
"""Variable that names the file where processes of one machine meet, in place of a port."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    >>> Processes.join().size
    1
    """

    rank: int
    size: int

    @classmethod
    def join(cls) -> Processes:
        """Join the group that ``torchrun`` describes in the environment, or be alone."""
        size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if size > 1 and not distributed.is_initialized():
            met: dict[str, Any] = {"init_method": "env://"}
            if STORE in os.environ:
                met = {
                    "init_method": f"file://{os.environ[STORE]}",
                    "world_size": size,
                    "rank": rank,
                }
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
                distributed.init_process_group("cpu:gloo,cuda:nccl", **met)
            else:
                distributed.init_process_group("gloo", **met)
            # gloo's threads let go of tensors a little after a sum is done, and abort the process
            # if Python ends meanwhile.
            atexit.register(time.sleep, 0.3)
        return cls(rank, size)

    @property
    def leads(self) -> bool:
        """Whether this process writes checkpoints and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """Leave the group when all processes are done."""
        if self.size > 1:
            self.wait()
            distributed.destroy_process_group()

    def total(self, values: list[float]) -> list[float]:
        """Return the sum of each value over all processes."""
        if self.size == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(tensor)
        return tensor.tolist()

    def any(self, *flags: bool) -> list[bool]:
        """Tell of each flag whether it is set in any process."""
        return [number > 0 for number in self.total([float(flag) for flag in flags])]

    def add_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; of what is shared out, it is that."""
        if self.size == 1:
            return
        for parameter in parameters:
            if sharing.is_part(parameter):
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
