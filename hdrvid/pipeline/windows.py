"""Windows of frames, one for every frame of the clip or range, in order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from hdrvid.detect.phases import Event, Labeller
from hdrvid.errors import InputError
from hdrvid.pipeline.encode import EncodedFrame
from hdrvid.types import ExposureCycle

LABEL_SIDE = 480
"""Pixels are skipped until the longer side of the pictures that labels are read from is below twice this."""


class LabelledWindows:
    """Windows first <= index <= last in order, from coded frames that come one by one; labels say what is in each.

    The labels are read ahead of the frames, on small pictures and from the start of the clip, so that of the frames
    themselves only those are held that a window still needs.
    """

    def __init__(
        self,
        frames: Iterator[EncodedFrame],
        thinned: Iterator[tuple[int, np.ndarray]],
        labeller: Labeller,
        first: int,
        last: int | None,
    ) -> None:
        """`thinned`: index and linear picture of every frame of the clip."""
        self._frames, self._thinned = frames, thinned
        self._first, self._last = first, last
        self._labeller = labeller
        self._held: dict[int, EncodedFrame] = {}
        self._next = 0
        self._labelled = 0
        self.num_frames: int | None = None
        """Frames of the clip, once its end was seen."""
        self.problem: str | None = None
        """Why reading stopped before the end, where it did."""
        self.lost: list[int] = []
        """Frames of the range that there is no window for."""

    @property
    def events(self) -> list[Event]:
        """What was found so far, of the whole clip."""
        return self._labeller.events

    def _label(self, index: int) -> None:
        """Read labels until the window of `index` is final."""
        while self.num_frames is None and not self._labeller.window_ready(index):
            try:
                item = next(self._thinned, None)
            except InputError as error:
                self.problem, item = str(error), None
            if item is None:
                self._labeller.finish()
                self.num_frames = self._labelled
            else:
                self._labeller.add(*item)
                self._labelled = item[0] + 1

    def _read_to(self, index: int) -> None:
        while self._next <= index:
            try:
                frame = next(self._frames, None)
            except InputError as error:
                self.problem, frame = str(error), None
            if frame is None:
                return
            self._held[frame.index] = frame
            self._next = frame.index + 1

    def __iter__(self) -> Iterator[tuple[int, tuple[EncodedFrame, ...], tuple[float, ...], float]]:
        """(index, frames of the window, stops of each, time of the frame in seconds)."""
        labeller = self._labeller
        numbers = itertools.count(self._first) if self._last is None else range(self._first, self._last + 1)
        for index in numbers:
            self._label(index)
            if self.num_frames is not None and index >= self.num_frames:
                return
            indices = labeller.window(index)
            if indices is not None:
                self._read_to(max(*indices, index))
            if indices is None or any(i not in self._held for i in indices):
                self.lost.append(index)
                continue
            # a frame that repeats another one has its window, and a time of its own
            shown = self._held.get(index, self._held[indices[len(indices) // 2]])
            stops = tuple(labeller.label(i).stops for i in indices)
            yield index, tuple(self._held[i] for i in indices), stops, shown.pts_seconds
            needed: set[int] = set()
            for later in range(index + 1, index + labeller.reach + 1):
                self._label(later)
                if self.num_frames is None or later < self.num_frames:
                    needed |= set(labeller.window(later) or ())
            for old in [i for i in self._held if i <= index and i not in needed]:
                del self._held[old]
            labeller.forget(index - 2 * labeller.reach)


class RegularWindows:
    """Windows first <= index <= last in order, from coded frames that come one by one; the cycle never slips.

    Whether a clip goes on is known only by reading on, so the frames after the reference are read before its window
    is made: the last windows are mirrored correctly even where the container lied about the number of frames.
    """

    def __init__(self, frames: Iterator[EncodedFrame], cycle: ExposureCycle, first: int, last: int | None) -> None:
        self._frames, self._cycle = frames, cycle
        self._first, self._last = first, last
        self._held: dict[int, EncodedFrame] = {}
        self._next = max(0, first - cycle.window_radius)
        self.num_frames: int | None = None
        """Frames of the clip, once its end was seen."""
        self.problem: str | None = None
        """Why reading stopped before the end, where it did."""
        self.lost: list[int] = []
        """Always empty: a damaged frame ends the clip here."""
        self.events: list[Event] = []
        """Always empty: nothing is looked for."""

    def _read_to(self, index: int) -> None:
        while self.num_frames is None and self._next <= index:
            try:
                frame = next(self._frames, None)
            except InputError as error:
                self.problem, frame = str(error), None
            if frame is None:
                self.num_frames = self._next
            else:
                self._held[frame.index] = frame
                self._next = frame.index + 1

    def __iter__(self) -> Iterator[tuple[int, tuple[EncodedFrame, ...], tuple[float, ...], float]]:
        """(index, frames of the window, stops of each, time of the frame in seconds)."""
        radius = self._cycle.window_radius
        numbers = itertools.count(self._first) if self._last is None else range(self._first, self._last + 1)
        for index in numbers:
            self._read_to(index + radius)
            if self.num_frames is not None and index >= self.num_frames:
                return
            # while the end is out of sight any count beyond the window gives the same indices
            count = index + radius + 1 if self.num_frames is None else self.num_frames
            if self.problem and count < len(self._cycle):
                raise InputError(self.problem)
            indices = self._cycle.window_indices(index, count)
            for old in [i for i in self._held if i < index - radius]:
                del self._held[old]
            stops = tuple(self._cycle.stops_at(i) for i in indices)
            yield index, tuple(self._held[i] for i in indices), stops, self._held[index].pts_seconds
