"""The exposures of a few consecutive frames, decided together.

A path gives every frame a phase of the cycle. It costs what the quantiles of the frames differ by, each compared with
the frames before it, and a little for every step that leaves the cycle. All paths are compared: look-ahead is short.

Convention:
    phase       position in the cycle, 0 .. n-1.
    expected    the phases that the frames have if nothing happens.
    cost        in code, 0..1 a frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hdrvid.detect.pictures import SmallPicture, visible_difference
from hdrvid.types import ExposureCycle

MAX_MISFIT = 0.2
"""Two frames cost no more than this: one that nothing explains, a flash, must not decide for the others."""
LEAVING_COST = 0.01
"""Every step that leaves the cycle costs this much: of paths that fit about as well the plainest one is taken."""


class Paths:
    """All paths of consecutive frames behind frames with known phases."""

    def __init__(
        self,
        cycle: ExposureCycle,
        frames: Sequence[SmallPicture],
        expected: Sequence[int],
        known: Sequence[tuple[SmallPicture, int]],
    ) -> None:
        """`frames`: in order, at least one. `known`: frames before them with their phases, those that count."""
        n, count = len(cycle), len(frames)
        self._stops = cycle.stops
        self._phases = _all_paths(n, count)
        self._expected = np.array(expected)
        self._misfits = np.full((count, len(self._phases)), np.inf)
        self._sums = np.zeros((count, len(self._phases)))
        self._counts = np.zeros((count, 1))
        self._links: dict[tuple[int, int], np.ndarray] = {}
        for i, frame in enumerate(frames):
            for other, phase in known:
                self._compare(i, self._table(frame, other)[:, phase][self._phases[:, i]])
            for j in range(max(0, i - n - 1), i):
                table = self._links[i, j] = self._table(frame, frames[j])
                self._compare(i, table[self._phases[:, i], self._phases[:, j]])
        self._inner = [float(t[self._expected[i], self._expected[j]]) for (i, j), t in self._links.items()]
        slips = (self._phases - self._expected) % n
        leaves = (np.diff(slips, axis=1, prepend=0) != 0).sum(1)
        self._leaving = LEAVING_COST * leaves
        self._costs = (self._sums / np.maximum(self._counts, 1)).sum(0) + self._leaving
        self._best = int(np.argmin(self._costs))

    def _compare(self, index: int, misfits: np.ndarray) -> None:
        np.minimum(self._misfits[index], misfits, out=self._misfits[index])
        self._sums[index] += np.minimum(misfits, MAX_MISFIT)
        self._counts[index] += 1

    def _table(self, frame: SmallPicture, other: SmallPicture) -> np.ndarray:
        """(n, n) difference of quantiles if `frame` has the phase of the row and `other` that of the column."""
        steps = np.subtract.outer(self._stops, self._stops)
        values = {step: visible_difference(frame, other, step) for step in set(steps.ravel().tolist())}
        return np.array([[values[step] for step in row] for row in steps.tolist()])

    @property
    def phases(self) -> tuple[int, ...]:
        """The best path."""
        return tuple(int(p) for p in self._phases[self._best])

    @property
    def gain(self) -> float:
        """Cost of the best path on which the first frame has its expected phase, less that of the best one."""
        as_expected = self._phases[:, 0] == self._expected[0]
        return float(self._costs[as_expected].min() - self._costs[self._best])

    @property
    def lead(self) -> float:
        """Cost of the best path on which the first frame has another phase than on the best one, less that one's."""
        others = self._phases[:, 0] != self._phases[self._best, 0]
        return float(self._costs[others].min() - self._costs[self._best])

    @property
    def cost(self) -> float:
        """Cost of the best path."""
        return float(self._costs[self._best])

    @property
    def regular_cost(self) -> float:
        """Cost of the path on which every frame has its expected phase."""
        return float(self._costs[(self._phases == self._expected).all(1)][0])

    @property
    def mean_misfit(self) -> float:
        """Mean difference of a frame from those before it, on the best path."""
        return float(self._costs[self._best] - self._leaving[self._best]) / self._phases.shape[1]

    @property
    def regular_misfit(self) -> float:
        """Largest difference of the frames from one another if all have their expected phases; inf of one frame."""
        return max(self._inner, default=float("inf"))

    def misfit(self, index: int) -> float:
        """Misfit of frame `index` on the best path, compared with frames before and behind it; inf without any."""
        path = self._phases[self._best]
        behind = [float(t[path[i], path[j]]) for (i, j), t in self._links.items() if j == index]
        return min([float(self._misfits[index, self._best]), *behind])


@lru_cache(maxsize=32)
def _all_paths(n: int, count: int) -> np.ndarray:
    """(n ** count, count) phases of every path."""
    return np.array(list(itertools.product(range(n), repeat=count)))
