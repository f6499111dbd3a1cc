"""What every frame of a clip is: its place in the exposure cycle, and whether a window may use it.

A cycle is a promise that real clips break: frames are dropped or doubled, scenes are cut, a flash fires. Frames come
one by one as small pictures. The exposure of each is compared with the frames before it, whose exposures are known,
by equal quantiles of both: motion does not matter, a step of exposure does. As long as the cycle explains a frame at
least as well as any other exposure, nothing happens. Where it does not, the next LOOK_AHEAD frames decide between

    doubled     the frame repeats the one before it, and the cycle goes on one frame later
    dropped     one or more frames are missing, and the cycle goes on that much earlier
    cut         no exposure explains the frame or those behind it: a new scene, whose phase is measured anew
    flash       no exposure explains the frame, but the cycle explains those behind it: one frame to keep out of windows

A change needs evidence in several frames; one that is in doubt is none, for a false alarm harms a good clip.

Convention:
    phase       position in the cycle, 0 .. n-1; frame 0 of an undisturbed clip has phase 0.
    stops       of a frame: those of its phase.
    segment     number of the scene, counted from 0; a window never leaves its segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from hdrvid.color.curves import gamma_encode
from hdrvid.types import ExposureCycle

LOOK_AHEAD = 5
"""Frames behind a doubtful one that decide what it is."""
SIDE_PX = 96
"""Frames are averaged down to this width: motion of a few pixels and noise go."""
CLEAR_MISFIT = 0.035
"""Mean difference of quantiles, in code, below which an exposure explains a frame whatever the others do."""
BETTER = 0.5
"""Another phase must fit this much better than the expected one, over several frames, to be believed."""
ODD_MISFIT = 0.09
"""Difference of quantiles that no motion within a scene makes from frame to frame."""
CUT_CORRELATION = 0.45
"""Correlation in place with all frames of the cycle before, below which a frame shows another scene. Measured on 24
clips, motion of up to 18 px a frame at 320 px included: 0.52 at the least within a scene, 0.51 at the most and 0.11 to
0.16 in the middle between two scenes."""
USUAL_CORRELATION = 0.6
"""Where even neighbouring frames resemble each other less than this, no cut can be told."""
SAME_DIFFERENCE = 0.004
"""Mean difference in place, in code, of a frame and its repetition."""
CLIPPED = 0.9
"""Share of clipped or black samples above which a frame says nothing about its exposure."""

_QUANTILES = np.linspace(0.02, 0.98, 49)


@dataclass(frozen=True)
class FrameLabel:
    """What a frame is."""

    index: int
    """0-based position in the clip."""
    phase: int
    """Position in the cycle."""
    stops: float
    """Its exposure."""
    segment: int
    """Number of its scene."""
    usable: bool = True
    """False where no other frame may use it: a flash."""
    duplicate_of: int | None = None
    """The frame it repeats."""


@dataclass(frozen=True)
class Event:
    """Where the clip leaves its cycle."""

    kind: str
    """'doubled', 'dropped', 'cut', 'flash' or 'damaged'."""
    index: int
    """The frame."""
    text: str
    """One sentence."""


@dataclass(frozen=True)
class _Summary:
    index: int
    picture: np.ndarray
    """(h, w, 3) linear, averaged down."""
    quantiles: np.ndarray
    """Of the largest channel, linear."""
    pattern: np.ndarray
    """(h, w) code of the largest channel, blurred, of mean 0 and norm 1."""
    mute: bool
    """Black or white nearly everywhere."""


class Labeller:
    """Labels the frames of one clip, in order. Memory is bounded by `forget`."""

    REACH = 3
    """`reach` of a clip without repetitions."""

    def __init__(self, cycle: ExposureCycle, repeats: tuple[int, int] = (1, 0)) -> None:
        """`repeats` (k, r): every frame is shown k times, and frame i is a repetition unless (i + r) % k == 0."""
        self.cycle = cycle
        self._every, self._first = repeats
        self.reach = self.REACH * self._every
        """No window reaches further than this many frames from its reference, on either side."""
        self.events: list[Event] = []
        self._summaries: dict[int, _Summary] = {}
        self._labels: dict[int, FrameLabel] = {}
        self._absent: set[int] = set()
        self._pending: list[_Summary] = []
        self._offset = 0
        """Phase of a frame is (index + offset) mod n."""
        self._segment = 0
        self._usual: list[float] = []
        """Correlations in place of the last frames with those before them."""
        self._next = 0
        """The first frame without a label."""
        self._end: int | None = None

    # frames in ---------------------------------------------------------------------------------------------------

    def add(self, index: int, linear: np.ndarray) -> None:
        """The next frame: (H, W, 3) linear, 1.0 = clipping, of any size. Indices left out are damaged frames."""
        expected = self._pending[-1].index + 1 if self._pending else self._next
        for missing in range(expected, index):
            self._absent.add(missing)
        self._pending.append(_summary(index, linear))
        while len(self._pending) > LOOK_AHEAD:
            self._decide()

    def finish(self) -> None:
        """There are no more frames."""
        while self._pending:
            self._decide()
        self._end = self._next

    def forget(self, before: int) -> None:
        """Drop what is known of frames below `before`."""
        for store in (self._labels, self._summaries):
            for index in [i for i in store if i < before]:
                del store[index]
        self._absent = {i for i in self._absent if i >= before}

    # labels out --------------------------------------------------------------------------------------------------

    def ready(self) -> int:
        """Number of leading frames that have a final label."""
        return self._next

    def label(self, index: int) -> FrameLabel:
        """The label of a frame below `ready`. Raises KeyError for one that is damaged, forgotten or not ready."""
        return self._labels[index]

    def window_ready(self, index: int) -> bool:
        """Whether `window(index)` is final."""
        return self._end is not None or self._next > index + self.reach

    def window(self, index: int) -> tuple[int, ...] | None:
        """Frames of the window around `index` in time order, the frame itself in the middle: 3 or 5.

        In place of a neighbour that is not there, damaged, unusable or in another scene stands the next frame of the
        same exposure on that side, if it is one frame further, else the nearest one on the other. None where the frame
        is damaged or has no such neighbour.
        """
        original = self._labels.get(self._original(index))
        label = original if original is not None and original.usable else self._labels.get(index)
        if label is None:
            return None
        radius, n = self.cycle.window_radius, len(self.cycle)
        indices = []
        for offset in range(-radius, radius + 1):
            neighbour = label.index if offset == 0 else self._neighbour(label, offset, (label.phase + offset) % n)
            if neighbour is None:
                return None
            indices.append(neighbour)
        return tuple(indices)

    def _neighbour(self, origin: FrameLabel, offset: int, phase: int) -> int | None:
        direction = 1 if offset > 0 else -1
        candidates = [origin.index + direction * k * self._every for k in (abs(offset), abs(offset) + 1)]
        other = [origin.index - direction * k for k in range(1, self.reach + 1)]
        rest = [origin.index + direction * k for k in range(1, self.reach + 1)]
        for index in map(self._original, candidates + other + rest):
            label = self._labels.get(index)
            if label and label.phase == phase and label.segment == origin.segment and label.usable:
                return index
        return None

    # decisions ---------------------------------------------------------------------------------------------------

    def _phase(self, index: int, slip: int = 0) -> int:
        # frame 0 has phase 0 whether or not the frame that it repeats was left out before it
        return ((index + self._first) // self._every + self._offset + slip) % len(self.cycle)

    def _original(self, index: int) -> int:
        """The frame that `index` repeats in a clip that shows every frame several times, else itself."""
        return max(0, index - (index + self._first) % self._every)

    def _decide(self) -> None:
        """Label the first pending frame."""
        frame = self._pending[0]
        for missing in range(self._next, frame.index):
            self.events.append(Event("damaged", missing, f"frame {missing} is damaged"))
        known, before = self._known(frame.index), self._segment
        usable, repeats = True, None
        if known and not frame.mute and self._is_cut(frame, known):
            self._cut(frame)
        elif known and not frame.mute:
            misfits = [self._misfit(frame, self._phase(frame.index, slip), known) for slip in range(len(self.cycle))]
            if misfits[0] > CLEAR_MISFIT and self._doubtful(frame, misfits, known):
                usable, repeats = self._judge(frame, misfits, known)
        phase = self._phase(frame.index)
        if self._original(frame.index) != frame.index:
            repeats = self._original(frame.index)
        self._labels[frame.index] = FrameLabel(
            frame.index, phase, self.cycle.stops[phase], self._segment, usable, repeats
        )
        if known and usable and not frame.mute and self._segment == before:
            self._usual = [*self._usual[-11:], _resemblance(frame, known)]
        self._summaries[frame.index] = frame
        self._next = frame.index + 1
        self._pending.pop(0)
        for old in [i for i in self._summaries if i < self._next - 2 * len(self.cycle) * self._every]:
            del self._summaries[old]

    def _known(self, index: int) -> list[tuple[_Summary, int]]:
        """The frames before `index` of the same scene, with their phases, the nearest first."""
        labels = []
        for i in range(index - 1, index - 2 * len(self.cycle) * self._every, -1):
            label = self._labels.get(i)
            summary = self._summaries.get(i)
            if label and label.segment == self._segment and label.usable and summary and not summary.mute:
                labels.append((summary, label.phase))
        return labels

    def _misfit(self, frame: _Summary, phase: int, known: list[tuple[_Summary, int]]) -> float:
        """Difference of quantiles, in code, to the known frame that resembles it most if it had this phase."""
        return min(
            _quantile_difference(frame, other, self.cycle.stops[phase] - self.cycle.stops[p])
            for other, p in known[: len(self.cycle) + 1]
        )

    def _doubtful(self, frame: _Summary, misfits: list[float], known: list[tuple[_Summary, int]]) -> bool:
        return min(misfits) < BETTER * misfits[0] or misfits[0] > ODD_MISFIT

    def _judge(
        self, frame: _Summary, misfits: list[float], known: list[tuple[_Summary, int]]
    ) -> tuple[bool, int | None]:
        """Find out what happened at a doubtful frame; (usable, frame that it repeats)."""
        n = len(self.cycle)
        later = [f for f in self._pending[1:] if not f.mute]
        # the phase slips: the frames behind fit the slipped cycle too
        slips = range(n)
        chain = [
            misfits[slip] + sum(self._misfit(f, self._phase(f.index, slip), known) for f in later[:3]) for slip in slips
        ]
        best = min(slips, key=lambda slip: chain[slip])
        count = 1 + min(len(later), 3)
        if best != 0 and count >= 3 and chain[best] < BETTER * chain[0] and chain[best] / count < ODD_MISFIT:
            before = self._summaries[known[0][0].index]
            self._offset += best
            if best == n - 1 and before.index == frame.index - 1 and _difference(frame, before) < SAME_DIFFERENCE:
                self._say("doubled", frame.index, f"frame {frame.index} repeats frame {before.index}")
                return True, before.index
            missing = "a frame is" if best == 1 else f"{best} frames are"
            self._say("dropped", frame.index, f"{missing} missing before frame {frame.index}")
            return True, None
        # one odd frame: those behind it fit the cycle and the scene before
        present = any(p == self._phase(frame.index) for _, p in known)
        min_misfit = max(CLEAR_MISFIT, misfits[0] / 2)
        fitting = all(self._misfit(f, self._phase(f.index), known) < min_misfit for f in later[:2])
        if present and min(misfits) > ODD_MISFIT / 2 and len(later) >= 2 and fitting:
            text = f"frame {frame.index} is brighter or darker than its exposure, a flash perhaps"
            self._say("flash", frame.index, text)
            return False, None
        return True, None

    def _is_cut(self, frame: _Summary, known: list[tuple[_Summary, int]]) -> bool:
        """Whether this frame and those behind it show nothing of the frames before. A frame of the same scene resembles
        the last one of its exposure, whichever that is."""
        n = len(self.cycle)
        later = [f for f in self._pending[1:] if not f.mute]
        if len({p for _, p in known}) < n or len(later) < n or not self._usual:
            return False
        if np.median(self._usual) < USUAL_CORRELATION:
            return False
        return all(_resemblance(f, known) < CUT_CORRELATION for f in (frame, *later[:n]))

    def _cut(self, frame: _Summary) -> None:
        slip = self._measured_slip([frame, *(f for f in self._pending[1:] if not f.mute)])
        self._offset += slip
        self._segment += 1
        self._usual = []
        text = f"a scene cut at frame {frame.index}" + (" restarts the cycle" if slip else "")
        self._say("cut", frame.index, text)

    def _measured_slip(self, frames: list[_Summary]) -> int:
        """The slip at which the cycle explains the steps between these frames best; 0 unless it clearly does not."""
        n = len(self.cycle)

        def misfit(slip: int) -> float:
            stops = [self.cycle.stops[self._phase(f.index, slip)] for f in frames]
            return sum(
                _quantile_difference(b, a, t - s) for (a, s), (b, t) in pairwise(zip(frames, stops, strict=True))
            )

        costs = [misfit(slip) for slip in range(n)]
        best = int(np.argmin(costs))
        return best if costs[best] < BETTER * costs[0] else 0

    def _say(self, kind: str, index: int, text: str) -> None:
        self.events.append(Event(kind, index, text))


def _summary(index: int, linear: np.ndarray) -> _Summary:
    step = max(1, linear.shape[1] // (4 * SIDE_PX))
    subsampled = np.ascontiguousarray(linear[::step, ::step], np.float32)
    width = min(SIDE_PX, subsampled.shape[1])
    height = max(1, round(subsampled.shape[0] * width / subsampled.shape[1]))
    picture = cv2.resize(subsampled, (width, height), interpolation=cv2.INTER_AREA)
    level = picture.max(-1)
    mute = bool(((level > 0.95) | (level < 0.002)).mean() > CLIPPED)
    pattern = cv2.GaussianBlur(gamma_encode(level), (0, 0), 2.0)
    pattern = pattern - pattern.mean()
    pattern /= max(float(np.linalg.norm(pattern)), 1e-6)
    return _Summary(index, picture, np.quantile(level, _QUANTILES), pattern, mute)


def _quantile_difference(frame: _Summary, other: _Summary, stops: float) -> float:
    """Mean difference, in code at the longer exposure, if `frame` is `stops` above `other`."""
    up, down = 2.0 ** max(-stops, 0.0), 2.0 ** max(stops, 0.0)
    return float(np.abs(gamma_encode(frame.quantiles * up) - gamma_encode(other.quantiles * down)).mean())


def _resemblance(frame: _Summary, known: list[tuple[_Summary, int]]) -> float:
    """Correlation in place with the frame before that resembles this one most; the exposure hardly matters."""
    return max(float((frame.pattern * other.pattern).sum()) for other, _ in known)


def _difference(frame: _Summary, other: _Summary) -> float:
    """Mean difference in place, in code, of two frames of one exposure."""
    return float(np.abs(gamma_encode(frame.picture) - gamma_encode(other.picture)).mean())
