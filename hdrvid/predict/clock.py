"""Where the time of a reconstruction goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

STAGES = ("prepare", "flow", "refine", "warp", "merge", "result")
"""Stages of one window: frames to the device; classical flow; its refinement by a network; aligned candidates and
their prior; the merging network; its check against the reference, and the result back. The memo's flow network is
'flow'."""


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class StageClock:
    """Seconds spent in every stage, work on an accelerator included: every stage begins and ends synchronised."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Wall seconds since `reset`, by stage."""

    def reset(self) -> None:
        """Begin anew."""
        self.seconds.clear()

    def _now(self) -> float:
        synchronise(self.device)
        return time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block as part of stage `name`."""
        started = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - started
