"""Which frames a frame is merged with, where the exposures are no plain cycle of 2 or 3.

A window has 2 or 4 neighbours, as those of plain cycles have. They are chosen by what the reference lacks: frames near
in time that are shorter, for what it clips, and longer, for what it shows as noise. The same exposures before and
behind the reference are preferred: what is hidden on one side is seen on the other, and windows of such pairs are what
the networks were trained on.

Convention:
    window      (x, reference, x) or (x, y, reference, x, y): indices of frames; x and y are exposures, before and
                behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hdrvid.detect.labels import FrameLabel
from hdrvid.types import MAX_CYCLE_FRAMES, SAME_LEVEL_STOPS, ExposureCycle, Exposures

FURTHEST_STOPS = 5.0
"""A longer exposure is seldom worth more than this above the reference: the two share few levels to be aligned by."""

STOPS_PER_FRAME = 0.15
"""A frame that is one frame nearer in time may be this much further from the exposure that is looked for."""


@dataclass(frozen=True)
class WindowRule:
    """Chooses the windows of a clip."""

    exposures: Exposures
    """Of the clip."""
    bracket: bool = False
    """Whether a window stays within one run of the cycle: a bracket that shows one moment."""

    @property
    def is_plain(self) -> bool:
        """Whether windows are consecutive frames (`ExposureCycle.window_indices`)."""
        return self.exposures.is_plain and not self.bracket

    @property
    def num_neighbours(self) -> int:
        """Neighbours of a window: 2 or 4."""
        return 2 * (self.exposures.network_exposures - 1)

    @property
    def reach(self) -> int:
        """No window reaches further than this many frames from its reference."""
        if isinstance(self.exposures, ExposureCycle):
            return self.exposures.window_radius if self.is_plain else len(self.exposures)
        return MAX_CYCLE_FRAMES

    def regular(self, index: int, num_frames: int) -> tuple[int, ...] | None:
        """The window around frame `index` of a clip of `num_frames` frames that keeps its exposures."""
        if self.is_plain:
            assert isinstance(self.exposures, ExposureCycle)
            return self.exposures.window_indices(index, num_frames)
        period = self.exposures.period or 1
        near = range(max(0, index - self.reach), min(num_frames, index + self.reach + 1))
        labels = {i: FrameLabel(i, i % period, self.exposures.stops_at(i), 0) for i in near}
        return self.chosen(labels[index], labels.values())

    def chosen(self, origin: FrameLabel, labels: Iterable[FrameLabel]) -> tuple[int, ...] | None:
        """The window around a frame; None where no frame of another exposure may be used.

        `labels`: of the frames around it; those beyond `reach`, of another scene, unusable, or of the exposure of the
        reference are left out here.
        """
        others = [label for label in labels if self._may_use(origin, label)]
        if not others:
            return None
        if self.bracket and len(others) <= self.num_neighbours:
            return _all_of(origin.index, others, self.num_neighbours)
        if self.num_neighbours == 2:
            nearest = _pair(origin.index, others, lambda label: 0.0)
            return nearest[0].index, origin.index, nearest[1].index
        pairs = [_pair(origin.index, group, _distance(target)) for target, group in _roles(origin.stops, others)]
        # the one whose frame before is further away comes first, as in a cycle
        pairs.sort(key=lambda pair: pair[0].index)
        return *(a.index for a, _ in pairs), origin.index, *(b.index for _, b in pairs)

    def _may_use(self, origin: FrameLabel, label: FrameLabel) -> bool:
        is_near = 0 < abs(label.index - origin.index) <= self.reach
        if not is_near or not label.usable or label.segment != origin.segment or label.duplicate_of is not None:
            return False
        if self.bracket and label.index - label.phase != origin.index - origin.phase:
            return False
        return abs(label.stops - origin.stops) >= min(SAME_LEVEL_STOPS, self._closest / 2)

    @property
    def _closest(self) -> float:
        """Distance of the two levels of the clip that are closest, in stops."""
        levels = self.exposures.levels
        return min(b - a for a, b in pairwise(levels))


def _distance(target: float) -> Callable[[FrameLabel], float]:
    return lambda label: abs(label.stops - target)


def _pair(
    index: int, labels: Sequence[FrameLabel], cost: Callable[[FrameLabel], float]
) -> tuple[FrameLabel, FrameLabel]:
    """The best frames before and behind `index`; where there are none on one side, the best one stands for both."""

    def total(label: FrameLabel) -> float:
        return cost(label) + STOPS_PER_FRAME * abs(label.index - index)

    before, behind = ([x for x in labels if (x.index < index) is side] for side in (True, False))
    best = min(labels, key=total)
    return min(before, key=total, default=best), min(behind, key=total, default=best)


def _roles(stops: float, labels: Sequence[FrameLabel]) -> list[tuple[float, Sequence[FrameLabel]]]:
    """What the two pairs of a window are for: an exposure, and the frames it is looked for among.

    A shorter and a longer one where there are both; else the furthest one and one half-way to it.
    """
    shorter = [x for x in labels if x.stops < stops]
    longer = [x for x in labels if x.stops > stops]
    if shorter and longer:
        return [(min(x.stops for x in shorter), shorter), (_longest(stops, longer), longer)]
    furthest = _longest(stops, longer) if longer else min(x.stops for x in shorter)
    nearer = [x for x in labels if abs(x.stops - furthest) >= SAME_LEVEL_STOPS and abs(x.stops - stops) > 0]
    rest = nearer or labels
    half_way = (stops + furthest) / 2
    return [(furthest, labels), (min((x.stops for x in rest), key=lambda s: abs(s - half_way)), rest)]


def _longest(stops: float, longer: Sequence[FrameLabel]) -> float:
    """The longest exposure up to FURTHEST_STOPS above `stops`, else the shortest of those that are longer."""
    values = [x.stops for x in longer]
    return max((s for s in values if s <= stops + FURTHEST_STOPS), default=min(values))


def _all_of(index: int, labels: Sequence[FrameLabel], count: int) -> tuple[int, ...]:
    """A window of all these frames, each at least once: in time order, or before and behind the reference the same."""
    indices = sorted(label.index for label in labels)
    if 2 * len(indices) == count:
        return *indices, index, *indices
    while len(indices) < count:
        indices = sorted([*indices, min(set(indices), key=lambda i: (indices.count(i), abs(i - index)))])
    return *indices[: count // 2], index, *indices[count // 2 :]
