"""One process or several, as torchrun starts them: ranks, and what they tell each other.

Processes that reconstruct exchange a few bytes, by gloo on every device; those that train exchange gradients, by NCCL
where there is CUDA. What is sent is pickled by torch and read by processes of the same run only.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from hdrvid.errors import HdrvidError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import distributed, nn

Item = TypeVar("Item")

SECONDS_BETWEEN_LOOKS = 0.1
"""Pause between two looks at whether the others are done; signals are answered this fast."""

SECONDS_BETWEEN_COUNTS = 1.0
"""Pause between two messages of a process about its progress."""

SECONDS_TO_SPEAK = timedelta(seconds=10)
"""How long the others wait for the message of the first process."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run.

    What waits for the others raises HdrvidError in every process that is left where one of them has ended.
    """

    rank: int = 0
    """Number of this process."""
    world: int = 1
    """Processes in all."""
    store: distributed.Store | None = field(default=None, repr=False, compare=False)
    """Keys and values that all processes see; None where there is one process only."""
    _numbers: Iterator[int] = field(default_factory=itertools.count, init=False, repr=False, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def wait(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Until every process is here; `meanwhile` is called now and then."""
        if self.world == 1:
            return
        from torch import distributed

        with _ended_early():
            arrival: Any = distributed.barrier(async_op=True)
            while not arrival.is_completed():
                if meanwhile is not None:
                    meanwhile()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            arrival.wait()

    def each(self, call: Callable[[], Item], meanwhile: Callable[[], None] | None = None) -> list[Item]:
        """What `call` returns in every process, by rank; its first HdrvidError is raised in all of them.

        `meanwhile` is called now and then while this process has finished and others have not.
        """
        if self.world == 1:
            return [call()]
        from torch import distributed

        outcome: tuple[Item | None, HdrvidError | None]
        try:
            outcome = call(), None
        except HdrvidError as error:
            outcome = None, error
        self.wait(meanwhile)
        outcomes: list[Any] = [None] * self.world
        with _ended_early():
            distributed.all_gather_object(outcomes, outcome)
        for rank, (_, failure) in enumerate(outcomes):
            if failure is not None:
                text = str(failure) if rank == 0 else f"process {rank} of 0-{self.world - 1}: {failure}"
                raise type(failure)(text) from outcome[1]
        return [value for value, _ in outcomes]

    def from_main(self, call: Callable[[], Item]) -> Item:
        """What `call` returns in the first process, which alone calls it; its HdrvidError is raised in all of them."""
        if self.world == 1:
            return call()
        outcomes = self.each(lambda: call() if self.is_main else None)
        value: Any = outcomes[0]
        return value

    def counter(self) -> Callable[[int], int]:
        """A function that takes what this process has done so far and returns what all have, a second old perhaps.

        Every process makes its counters in the same order.
        """
        if self.world == 1 or self.store is None:
            return lambda done: done
        store, key = self.store, f"hdrvid-counter-{next(self._numbers)}"
        reported = total = 0
        looked = -SECONDS_BETWEEN_COUNTS

        def count(done: int) -> int:
            nonlocal reported, total, looked
            if time.monotonic() - looked >= SECONDS_BETWEEN_COUNTS:
                looked = time.monotonic()
                with _ended_early():
                    total = store.add(key, done - reported) - done
                reported = done
            return total + done

        return count

    def let_main_speak(self) -> None:
        """In the first process: it has said what ends the run. In the others: wait for that, a few seconds at most.

        torchrun ends the processes that are left as soon as one has left with an error.
        """
        if self.store is None:
            return
        with suppress(RuntimeError):  # the run has ended without a word
            if self.is_main:
                self.store.set("hdrvid-spoken", "1")
            else:
                self.store.wait(["hdrvid-spoken"], SECONDS_TO_SPEAK)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Numbers averaged over the processes."""
        if self.world == 1:
            return values
        import torch
        from torch import distributed

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
        from torch.nn.parallel import DistributedDataParallel

        devices = [device.index or 0] if device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)


def whole_number(variable: str, default: int) -> int:
    """The number in a variable of the environment. Raises UsageError where it is none."""
    text = os.environ.get(variable, "").strip() or str(default)
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(
            f"the variable {variable} of the environment is '{text[:40]}', which is no whole number: start the "
            f"processes with torchrun, or unset {variable}"
        )
    return int(text)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, joined for the block; one alone without it.

    NCCL joins them where there is CUDA and `device` is not 'cpu', else gloo. Raises UsageError where a part of what
    torchrun says is missing.
    """
    world = whole_number("WORLD_SIZE", 1)
    if world == 1:
        yield Ranks()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is {world}, but {' and '.join(missing)} is not set: start the processes with torchrun, or "
            "unset WORLD_SIZE"
        )
    rank = whole_number("RANK", 0)
    if not 0 <= rank < world:
        raise UsageError(f"RANK is {rank}, but the {world} processes of WORLD_SIZE are 0 to {world - 1}: use torchrun")
    whole_number("MASTER_PORT", 0)
    import torch
    from torch import distributed

    nccl = torch.cuda.is_available() and device != "cpu"
    if nccl:
        torch.cuda.set_device(local_device("cuda"))

    def meet() -> Ranks:
        try:
            store, rank, world = next(distributed.rendezvous("env://"))
        except (ValueError, RuntimeError) as error:
            address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise UsageError(f"the processes cannot meet at {address}: start them with torchrun") from error
        # the others wait while the first one renders the windows or makes the videos, which may take hours
        distributed.init_process_group(
            "nccl" if nccl else "gloo",
            store=distributed.PrefixStore("hdrvid", store),
            rank=rank,
            world_size=world,
            timeout=timedelta(days=1),
        )
        return Ranks(rank, world, store)

    ranks = _interruptible(meet)
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()


def _interruptible(call: Callable[[], Item]) -> Item:
    """What `call` returns or raises, made in a thread: PyTorch would wait for the other processes without listening to
    signals. After one, the thread ends with the process."""
    made: list[Item] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            made.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="hdrvid-meet", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(SECONDS_BETWEEN_LOOKS)
    if raised:
        raise raised[0]
    return made[0]


@contextmanager
def _ended_early() -> Iterator[None]:
    """What torch raises where a process of the run is gone, as a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise HdrvidError(
            "another process of this run has ended early: its own message says why; run the same command again, "
            "finished frames are kept"
        ) from error


def local_device(device: str) -> str:
    """'auto' on a machine with several accelerators: the one of this process."""
    if device not in ("auto", "cuda") or "LOCAL_RANK" not in os.environ:
        return device
    import torch

    if torch.cuda.is_available():
        return f"cuda:{whole_number('LOCAL_RANK', 0) % torch.cuda.device_count()}"
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
