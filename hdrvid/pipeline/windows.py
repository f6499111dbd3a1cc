"""Windows of frames, one for every frame of the clip or range, in order."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hdrvid.detect.labels import Event
from hdrvid.detect.listed import ListLabeller
from hdrvid.detect.phases import Labeller
from hdrvid.detect.window_choice import WindowRule
from hdrvid.errors import InputError
from hdrvid.io.prefetch import Prefetcher
from hdrvid.pipeline.encode import EncodedFrame, encode_frame
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.slip_check import SlipCheck
from hdrvid.types import ExposureCycle, ExposureList, Exposures, Frame, Window

Item = TypeVar("Item")

Subsampled = tuple[int, np.ndarray, int]
"""Index and small linear picture of a frame, and the frames missing before it."""

DECODE_AHEAD = 3
"""Decoded frames that may wait for the network."""

SHARED_PIXELS = 2_400_000
"""Frames up to this size are decoded once, for labels and for windows, and held from the one to the other; larger ones
are decoded twice."""

LABEL_SIDE = 480
"""Pixels are skipped until the longer side of the pictures that labels are read from is below twice this."""


@dataclass(frozen=True)
class FrameWindow:
    """The frames that one frame of the output is made of."""

    index: int
    """Index of the frame in the clip."""
    frames: tuple[EncodedFrame, ...]
    """The reference in the middle, its neighbours around it."""
    stops: tuple[float, ...]
    """Exposure of each."""
    pts_seconds: float
    """Presentation time of the frame."""
    phase: int = 0
    """Its place in the cycle."""

    @property
    def reference(self) -> np.ndarray:
        """The frame itself, (H, W, 3) in network code."""
        return self.frames[len(self.frames) // 2].ldr

    @property
    def reference_stops(self) -> float:
        """Exposure of the reference."""
        return self.stops[len(self.stops) // 2]

    @property
    def window_id(self) -> str:
        """Indices and stops of the frames."""
        return " ".join(f"{f.index}:{s:g}" for f, s in zip(self.frames, self.stops, strict=True))

    @property
    def source_id(self) -> str:
        """Checksum of the frames."""
        return f"{zlib.crc32(b''.join(f.checksum.to_bytes(4, 'big') for f in self.frames)):08x}"

    @property
    def key(self) -> str:
        """Equal for windows that give the same frame."""
        return f"{self.window_id} {self.source_id}"

    def as_window(self, black: float) -> Window:
        """What a model takes. `black`: see `Window`."""
        reference = self.frames[len(self.frames) // 2].index
        times = tuple(float(f.index - reference) for f in self.frames)
        return Window(self.index, tuple(f.ldr for f in self.frames), tuple(2.0**s for s in self.stops), times, black)


class LabelledWindows:
    """Windows first <= index <= last in order, from coded frames that come one by one; labels say what is in each.

    The labels are read ahead of the frames, on small pictures and from the start of the clip, so that of the frames
    themselves only those are held that a window still needs.
    """

    def __init__(
        self,
        frames: Iterator[EncodedFrame],
        subsampled: Iterator[Subsampled],
        labeller: Labeller | ListLabeller,
        first: int,
        last: int | None,
        is_wanted: Callable[[int, float], bool],
    ) -> None:
        """`subsampled`: every frame of the clip. `is_wanted`: see `Job.is_wanted`; windows of others are not missed."""
        self._is_wanted = is_wanted
        self._frames, self._subsampled = frames, subsampled
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

    def warnings(self) -> list[str]:
        """Always empty: what is found is an event."""
        return []

    def _label(self, index: int) -> None:
        """Read labels until the window of `index` is final."""
        while self.num_frames is None and not self._labeller.window_ready(index):
            try:
                item = next(self._subsampled, None)
            except InputError as error:
                self.problem, item = str(error), None
            if item is None:
                self._labeller.finish()
                self.num_frames = self._labelled
            else:
                self._labeller.add(*item)
                self._labelled = item[0] + 1

    def _is_missed(self, index: int) -> bool:
        """Whether a frame without a window should have one; a damaged frame has no label, and should."""
        with suppress(KeyError):
            label = self._labeller.label(index)
            return self._is_wanted(label.phase, label.stops)
        return True

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

    def __iter__(self) -> Iterator[FrameWindow]:
        labeller = self._labeller
        range_ = itertools.count(self._first) if self._last is None else range(self._first, self._last + 1)
        for index in range_:
            self._label(index)
            if self.num_frames is not None and index >= self.num_frames:
                return
            indices = labeller.window(index)
            if indices is not None:
                self._read_to(max(*indices, index))
            if indices is None or any(i not in self._held for i in indices):
                if self._is_missed(index):
                    self.lost.append(index)
                continue
            # a frame that repeats another one has its window, and a time of its own
            shown = self._held.get(index, self._held[indices[len(indices) // 2]])
            stops = tuple(labeller.label(i).stops for i in indices)
            phase = labeller.label(indices[len(indices) // 2]).phase
            yield FrameWindow(index, tuple(self._held[i] for i in indices), stops, shown.pts_seconds, phase)
            needed: set[int] = set()
            for later in range(index + 1, index + labeller.reach + 1):
                self._label(later)
                if self.num_frames is None or later < self.num_frames:
                    needed |= set(labeller.window(later) or ())
            for old in [i for i in self._held if i <= index and i not in needed]:
                del self._held[old]
            labeller.forget(index - 2 * labeller.reach)


class RegularWindows:
    """Windows first <= index <= last in order, from coded frames that come one by one; no frame leaves its exposure.

    Whether a clip goes on is known only by reading on, so the frames after the reference are read before its window
    is made: the last windows are mirrored correctly even where the container lied about the number of frames.
    """

    def __init__(
        self,
        frames: Iterator[tuple[Subsampled, EncodedFrame]],
        rule: WindowRule,
        check: SlipCheck | None,
        first: int,
        last: int | None,
    ) -> None:
        """`check`: of the cycle that is trusted; None where there is none."""
        self._frames, self._rule, self._check = frames, rule, check
        self._first, self._last = first, last
        self._held: dict[int, EncodedFrame] = {}
        self._next = max(0, first - rule.reach)
        self.num_frames: int | None = None
        """Frames of the clip, once its end was seen."""
        self.problem: str | None = None
        """Why reading stopped before the end, where it did."""
        self.lost: list[int] = []
        """Frames of the range that no frame of another exposure is near; a damaged frame ends the clip here."""
        self.events: list[Event] = []
        """Always empty: nothing is corrected."""

    def warnings(self) -> list[str]:
        """What is said against the cycle, once the frames have been read."""
        if self._check is None:
            return []
        self._check.finish()
        return self._check.warnings()

    def _read_to(self, index: int) -> None:
        while self.num_frames is None and self._next <= index:
            try:
                item = next(self._frames, None)
            except InputError as error:
                self.problem, item = str(error), None
            if item is None:
                self.num_frames = self._next
            else:
                subsampled, frame = item
                if self._check is not None:
                    self._check.add(*subsampled)
                self._held[frame.index] = frame
                self._next = frame.index + 1

    def __iter__(self) -> Iterator[FrameWindow]:
        radius, exposures = self._rule.reach, self._rule.exposures
        range_ = itertools.count(self._first) if self._last is None else range(self._first, self._last + 1)
        for index in range_:
            self._read_to(index + radius)
            if self.num_frames is not None and index >= self.num_frames:
                return
            # while the end is out of sight any count beyond the window gives the same indices
            count = index + radius + 1 if self.num_frames is None else self.num_frames
            if self.problem and count < (exposures.period or 2):
                raise InputError(self.problem)
            indices = self._rule.regular(index, count)
            for old in [i for i in self._held if i < index - radius]:
                del self._held[old]
            if indices is None:
                self.lost.append(index)
                continue
            stops = tuple(exposures.recorded_stops(i, exposures.stops_at(i)) for i in indices)
            phase = index % (exposures.period or 1)
            yield FrameWindow(index, tuple(self._held[i] for i in indices), stops, self._held[index].pts_seconds, phase)


class DamagedFrames:
    """The frames that could not be decoded, and why; once each, though two threads read the clip."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        """The reason by index."""

    def __call__(self, index: int, text: str) -> None:
        """Note a damaged frame."""
        self.texts.setdefault(index, text)


def _labeller(exposures: Exposures, repeats: tuple[int, int], bracket: bool) -> Labeller | ListLabeller:
    if isinstance(exposures, ExposureList):
        return ListLabeller(exposures)
    assert isinstance(exposures, ExposureCycle)
    return Labeller(exposures, repeats, bracket)


def open_windows(
    stack: ExitStack, job: Job, first: int, last: int | None, damaged: DamagedFrames
) -> LabelledWindows | RegularWindows:
    """The windows first <= index <= last of a clip. The threads that decode it end with `stack`."""
    info, response, regular = job.info, job.detection.response, job.options.regular
    rule = WindowRule(job.exposures, job.options.every == "bracket")
    labeller = _labeller(job.exposures, job.detection.repeats, rule.bracket)
    reach = rule.reach if regular else labeller.reach
    start, stop = max(0, first - reach), None if last is None else last + reach + 1
    step = max(1, max(info.width, info.height) // LABEL_SIDE)

    def encoded(frame: Frame) -> EncodedFrame:
        return encode_frame(frame, response, info.linear)

    def subsampled(frame: Frame) -> Subsampled:
        linear = np.asarray(response.linearize(frame.pixels[::step, ::step]), np.float32)
        return frame.index, linear, frame.num_missing

    def both(frame: Frame) -> tuple[Subsampled, EncodedFrame]:
        return subsampled(frame), encoded(frame)

    def read(convert: Callable[[Frame], Item], start: int, stop: int | None = None) -> Iterator[Item]:
        frames = job.reader.frames(start, stop, None if regular else damaged)
        prefetcher = Prefetcher((convert(frame) for frame in frames), 1 if job.is_large else DECODE_AHEAD)
        return iter(stack.enter_context(prefetcher))

    if regular:
        exposures, check = job.exposures, None
        if isinstance(exposures, ExposureCycle):
            check = SlipCheck(exposures, job.detection.repeats, start)
        return RegularWindows(read(both, start, stop), rule, check, first, last)
    if start or info.width * info.height > SHARED_PIXELS:
        return LabelledWindows(read(encoded, start, stop), read(subsampled, 0), labeller, first, last, job.is_wanted)
    labels, frames = itertools.tee(read(both, 0))
    return LabelledWindows((f for _, f in frames), (s for s, _ in labels), labeller, first, last, job.is_wanted)
