"""One process or several, as torchrun starts them: ranks, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from hdrvid.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run."""

    rank: int = 0
    """Number of this process."""
    world: int = 1
    """Processes in all."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Numbers averaged over the processes."""
        if self.world == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            total = total.cuda()
        distributed.all_reduce(total)
        return dict(zip(values, (total / self.world).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.mean({"flag": float(flag)})["flag"] > 0

    def share(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        if self.world == 1:
            return module
        devices = [device.index or 0] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, joined for the block; one alone without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    nccl = torch.cuda.is_available() and device != "cpu"
    if nccl:
        torch.cuda.set_device(local_device("cuda"))
    # the others wait while the first one renders the windows, which may take hours
    distributed.init_process_group("nccl" if nccl else "gloo", timeout=timedelta(days=1))
    try:
        yield Ranks(distributed.get_rank(), world)
    finally:
        distributed.destroy_process_group()


def local_device(device: str) -> str:
    """'auto' on a machine with several accelerators: the one of this process."""
    if device in ("auto", "cuda") and torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return device


def piece(batch: int, ranks: Ranks, accumulate: int) -> int:
    """Samples that a process holds at once. Raises UsageError where the batch cannot be cut evenly."""
    parts = ranks.world * accumulate
    if batch % parts:
        raise UsageError(
            f"a batch of {batch} cannot be cut into {parts} equal pieces ({ranks.world} processes, --accumulate "
            f"{accumulate}): give --batch a multiple of {parts}"
        )
    return batch // parts
