"""One training in several processes: each has a copy of the model and its share of every batch.

    torchrun --nproc-per-node=2 -m cnnlab train resnet20 --data digits

starts two of them, on two GPUs or on the CPU. They agree on gradients, losses and on when to stop.
A run in one process is the case of one: a `World` of size 1 talks to nobody.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

TIMEOUT = timedelta(minutes=5)  # how long a process waits for one that does not answer
Number = TypeVar("Number", int, Tensor)
Anything = TypeVar("Anything")


class World(NamedTuple):
    """How many processes train together (`size`), and which of them this one is (`rank`)."""

    rank: int = 0
    size: int = 1

    def sum(self, value: Number, device: torch.device | None = None) -> Number:
        """The sum over all processes; a number becomes a tensor, which nobody waits for."""
        if self.size == 1:
            return value
        total = torch.as_tensor(value, device=device).clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.sum(int(flag)))

    def gather(self, thing: Anything) -> list[Anything]:
        """What each process has, in the order of their ranks."""
        things = [thing] * self.size
        if self.size > 1:
            dist.all_gather_object(things, thing)
        return things

    def from_first(self, thing: Anything) -> Anything:
        """What the process of rank 0 has."""
        things = [thing]
        if self.size > 1:
            dist.broadcast_object_list(things, src=0)
        return things[0]

    def same_buffers(self, model: nn.Module) -> None:
        """Rank 0's running statistics for everybody, as DistributedDataParallel does it."""
        for buffer in model.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, src=0)


def world() -> World:
    """The processes that train together now."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


@contextmanager
def together(device: str | None = None) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; gives the device of this one.

    GPUs talk by nccl, CPUs by gloo. `device` "cpu" or "cuda"; None: a GPU if there is one. After an
    error a process should end by `os._exit`, which waits for nobody.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield torch.device(kind)
        return
    own = torch.device(kind)
    if own.type == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
    # Both backends: flags and checkpoints travel from CPU to CPU, and no GPU is waited for.
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo", timeout=TIMEOUT)
    yield own
    # Not after an error: with a process missing, leaving in order can wait for ever.
    dist.barrier()
    gc.collect()  # DistributedDataParallel sits in reference cycles, and its threads end with it
    dist.destroy_process_group()


def peer_lost(error: Exception) -> bool:
    """Whether it says that another process is gone: nccl has a class for it, gloo only words."""
    return world().size > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error))


def parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` as it is called in training: `backward` then averages gradients over processes.

    On GPUs its batch norms become `nn.SyncBatchNorm`, with the same parameters; on a CPU each
    process normalizes its own share.
    """
    if world().size == 1:
        return model
    where = None
    if device.type == "cuda":  # batch norm over the whole batch, as one process would take it
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        where = [device.index]
    return nn.parallel.DistributedDataParallel(model, device_ids=where)
