"""The benchmarks of the field, read as they lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hdrvid.types import ExposureCycle


class EvalClip(Protocol):
    """A clip to score a model on. Frames are read when they are asked for; nothing is kept."""

    @property
    def name(self) -> str:
        """Scene, unique in its dataset."""
        ...

    @property
    def cycle(self) -> ExposureCycle:
        """Exposures, beginning with frame 0."""
        ...

    @property
    def num_frames(self) -> int:
        """Frames that can be read: 0 .. num_frames - 1."""
        ...

    @property
    def scored(self) -> tuple[int, ...]:
        """Indices of the frames that are scored, rising; at least one."""
        ...

    def ldr(self, index: int) -> np.ndarray:
        """(H, W, 3) float32 network code (gamma 2.2, [0, 1]) of a frame. Raises InputError where it is damaged."""
        ...

    def truth(self, index: int) -> np.ndarray | None:
        """(H, W, 3) float32 radiance, 1.0 = clipping of the shortest exposure; None where the set has none."""
        ...

    def visible(self, index: int, others: Sequence[int]) -> np.ndarray | None:
        """(K, H, W) bool: which pixels of frame `index` are visible in each of `others`; None where nobody knows."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """A dataset, ready to be scored."""

    name: str
    """`--dataset`."""
    root: Path
    """Where it lies."""
    description: str
    """What was read, for the protocol line: which frames are scored, how the truth is scaled, which response."""
    clips: tuple[EvalClip, ...]
    """The scenes, in the order of the set's own list."""
    missing: tuple[str, ...] = ()
    """Scenes or files that the set's lists name and that are not there or cannot be used, one sentence each."""
