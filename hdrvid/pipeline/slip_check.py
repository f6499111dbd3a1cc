"""Whether a clip keeps the cycle that --regular trusts: nothing is corrected, the user is warned."""

from __future__ import annotations

import numpy as np

from hdrvid.detect.phases import Labeller
from hdrvid.types import ExposureCycle

_SLIPS = ("dropped", "doubled", "misfired", "steady", "alternating")
"""Kinds of events that change exposures."""


class SlipCheck:
    """Labels the frames of a range beside the run, and counts those with another exposure than the cycle gives them."""

    def __init__(self, cycle: ExposureCycle, repeats: tuple[int, int], start: int) -> None:
        """`start`: the first frame that will come. `repeats` as in `Labeller`."""
        stops = tuple(cycle.stops_at(start + i) for i in range(len(cycle)))
        every, first = repeats
        self._labeller = Labeller(ExposureCycle(stops), (every, (first + start) % every))
        self._start = start
        self._checked = 0
        self._contradicted: list[int] = []

    def add(self, index: int, linear: np.ndarray, num_missing: int) -> None:
        """The next frame, as in `Labeller.add`."""
        self._labeller.add(index - self._start, linear, num_missing)
        self._compare()

    def finish(self) -> None:
        """There are no more frames."""
        self._labeller.finish()
        self._compare()

    def warnings(self) -> list[str]:
        """One sentence, or none."""
        if not self._contradicted:
            return []
        event = next((e for e in self._labeller.events if e.kind in _SLIPS), None)
        # the sentence of an event counts from `start`
        why = f" ({event.kind} at frame {event.index + self._start})" if event else ""
        count, first = len(self._contradicted), self._contradicted[0] + self._start
        return [
            f"{count} frame(s) from frame {first} on do not seem to have the exposure that the cycle gives them{why}, "
            "and --regular leaves that as it is: give the command without --regular if results alternate in brightness"
        ]

    def _compare(self) -> None:
        cycle = self._labeller.cycle
        for index in range(self._checked, self._labeller.ready()):
            try:
                stops = self._labeller.label(index).stops
            except KeyError:
                continue  # damaged
            if stops != cycle.stops_at(index):
                self._contradicted.append(index)
        self._checked = self._labeller.ready()
        self._labeller.forget(self._checked - 4 * self._labeller.reach)
