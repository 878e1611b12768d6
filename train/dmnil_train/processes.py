"""The processes of a distributed run (torchrun), which one process alone is a special case of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch import Tensor

from dmnil_train.device import chosen_device
from edge_runtime.contract.errors import ConfigError

_LONGEST_WAIT = timedelta(hours=4)
"""The first process evaluates while the others wait."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and evaluates."""
        return self.rank == 0

    def tensor(self, values: npt.NDArray[np.int64]) -> Tensor:
        """An array on this process's device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def share_of(self, batch: Any) -> Any:
        """This process's contiguous part of a batch that all know, an array or a tensor."""
        part = len(batch) // self.count
        return batch[self.rank * part : (self.rank + 1) * part]

    def gathered(self, part: Tensor) -> Tensor:
        """All processes' parts, joined in their order, without gradient; lengths are equal."""
        part = part.detach().contiguous()
        if self.count == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.count)]
        torch.distributed.all_gather(parts, part)
        return torch.cat(parts)

    def mean(self, values: Tensor) -> Tensor:
        """The processes' mean of values (...), on every process."""
        return self.gathered(values[None]).mean(dim=0)

    def weight_of_mean(self, counted: Tensor) -> Tensor:
        """What this process's mean over `counted` samples weighs in the joint one, 1 on average.

        Gradients are averaged over the processes as if all had counted the same number.
        """
        everywhere = self.gathered(counted[None]).sum()
        return counted * self.count / everywhere.clamp_min(1)

    def equalise_buffers(self, module: torch.nn.Module) -> None:
        """Give every process the first one's buffers, such as running means."""
        if self.count > 1:
            for buffer in module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def from_first(self, value: Any) -> Any:
        """The first process's value, such as a decision, on every process."""
        if self.count == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or stand alone; leaves them in the end.

    Args:
        device: cpu, cuda, a certain GPU such as cuda:1, or auto: a GPU where there is one.

    Raises:
        ConfigError: If the device is not to be had.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = chosen_device(device, int(os.environ.get("LOCAL_RANK", "0")) if count > 1 else 0)
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    try:
        torch.distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"the {count} processes of WORLD_SIZE cannot meet ({str(error).splitlines()[0]}): "
            "start them by torchrun, or unset WORLD_SIZE"
        ) from error
    try:
        yield Processes(torch.distributed.get_rank(), count, chosen)
    finally:
        torch.distributed.destroy_process_group()


def wrapped(module: torch.nn.Module, processes: Processes) -> torch.nn.Module:
    """The module, averaging its gradients over all processes where there are several."""
    if processes.count == 1:
        return module
    devices = [processes.device] if processes.device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(module, device_ids=devices)
