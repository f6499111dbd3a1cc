"""What every frame of a clip is: its place in the exposure cycle, and whether a window may use it.

A cycle is a promise that real clips break: frames are dropped or doubled, scenes are cut, a flash fires. Frames come
one by one as small pictures. The exposure of each is compared with the frames before it, whose exposures are known,
by equal quantiles of both: motion does not matter, a step of exposure does. As long as the cycle explains a frame at
least as well as any other exposure, nothing happens. Where it does not, all exposures that the frame and the next
LOOK_AHEAD may have are compared (`hdrvid.detect.paths`), and the best explanation decides between

    doubled     the frame repeats the one before it, and the cycle goes on one frame later
    dropped     one or more frames are missing, and the cycle goes on that much earlier
    misfired    the frame has the exposure of another place in the cycle
    steady      the frames from this one on have one exposure, until they are 'alternating'
    cut         no exposure explains the frame or those behind it: a new scene, whose phase is measured anew
    flash       no exposure explains the frame, but the cycle explains those behind it: one frame to keep out of windows
    unsure      nothing tells the exposure of the frame, and that of the cycle is taken

A frame changes its place only where the other exposure fits clearly better, for a false alarm harms a good clip. The
first frames have none before them and the last ones none behind them: there the frames on the other side decide.

Convention:
    phase       position in the cycle, 0 .. n-1; frame 0 of an undisturbed clip has phase 0.
    stops       of a frame: those of its phase.
    segment     number of the scene, counted from 0; a window never leaves its segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hdrvid.detect.labels import Event, FrameLabel
from hdrvid.detect.paths import LEAVING_COST, Paths
from hdrvid.detect.pictures import (
    CLIPPED,
    SmallPicture,
    brightness_difference,
    difference,
    difference_of_quantiles,
    quantile_difference,
    resemblance,
    small_picture,
    unclipped_difference,
)
from hdrvid.detect.window_choice import WindowRule
from hdrvid.types import ExposureCycle

LOOK_AHEAD = 5
"""Frames behind a doubtful one that decide what it is."""
CLEAR_MISFIT = 0.035
"""Mean difference of quantiles, in code, below which an exposure explains a frame whatever the others do."""
BETTER = 0.5
"""Another phase must fit this much better than the expected one, over several frames, to be believed."""
ODD_MISFIT = 0.09
"""Difference of quantiles that no motion within a scene makes from frame to frame."""
CUT_CORRELATION = 0.45
"""Correlation in place with all frames of the cycle before, below which a frame shows another scene. On 24 clips
with motion of up to 18 px a frame at 320 px it was 0.52 or more within a scene; between two scenes 0.51 or less,
0.11 to 0.16 in the median."""
USUAL_CORRELATION = 0.6
"""Where even neighbouring frames resemble each other less than this, no cut can be told."""
MIN_GAIN = 0.05
"""What a frame out of turn must fit better than expected, in code, to be believed by itself."""
STEADY_FRAMES = 5
"""So many frames of one exposure are no repetition: the clip does not alternate."""
SAME_DIFFERENCE = 0.004
"""Mean difference in place, in code, of a frame and its repetition."""


@dataclass(frozen=True)
class _Verdict:
    """What a frame was judged to be."""

    phase: int
    """Position in the cycle."""
    usable: bool = True
    """As in `FrameLabel`."""
    duplicate_of: int | None = None
    """As in `FrameLabel`."""


class Labeller:
    """Labels the frames of one clip, in order. Memory is bounded by `forget`."""

    REACH = 3
    """`reach` of a clip without repetitions."""

    def __init__(self, cycle: ExposureCycle, repeats: tuple[int, int] = (1, 0), bracket: bool = False) -> None:
        """`repeats` (k, r): every frame is shown k times, and frame i is a repetition unless (i + r) % k == 0.
        `bracket`: see `WindowRule`."""
        self.cycle = cycle
        self._rule = WindowRule(cycle, bracket)
        self._every, self._first = repeats
        self._enough = min(len(cycle), LOOK_AHEAD)
        """Frames behind a doubtful one that show the cycle."""
        self.reach = (self.REACH if self._rule.is_plain else self._rule.reach) * self._every
        """No window reaches further than this many frames from its reference, on either side."""
        self.events: list[Event] = []
        self._summaries: dict[int, SmallPicture] = {}
        self._labels: dict[int, FrameLabel] = {}
        self._absent: set[int] = set()
        self._pending: list[SmallPicture] = []
        self._offset = 0
        """Phase of a frame is (index + offset) mod n."""
        self._steady: int | None = None
        """The phase of all frames while the clip does not alternate."""
        self._num_missing: dict[int, int] = {}
        """Frames that are known to be missing before a pending one."""
        self._is_unanchored = False
        """The clip does not alternate from frame 0 on: the exposure of that phase is assumed."""
        self._scene_start = 0
        """Frames before this one show another scene than the one that is labelled, though no cut was said."""
        self._is_ending = False
        self._segment = 0
        self._usual: list[float] = []
        """Correlations in place of the last frames with those before them."""
        self._next = 0
        """The first frame without a label."""
        self._end: int | None = None

    # frames in ---------------------------------------------------------------------------------------------------

    def add(self, index: int, linear: np.ndarray, num_missing: int = 0) -> None:
        """The next frame: (H, W, 3) linear, 1.0 = clipping, of any size. Indices left out are damaged frames.

        `num_missing`: frames that are missing before it as the times of the clip or the numbers of its files tell.
        """
        expected = self._pending[-1].index + 1 if self._pending else self._next
        for missing in range(expected, index):
            self._absent.add(missing)
        self._pending.append(small_picture(index, linear))
        if num_missing % len(self.cycle):
            self._num_missing[index] = num_missing
        while len(self._pending) > LOOK_AHEAD:
            self._decide()

    def finish(self) -> None:
        """There are no more frames."""
        self._is_ending = True
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
        if not self._rule.is_plain:
            return self._rule.chosen(label, self._labels.values())
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
        self._skip_missing(frame, known)
        verdict = _Verdict(self._expected(frame.index))
        if not frame.mute:
            verdict = self._judged(frame, known)
        repeats = verdict.duplicate_of
        if self._original(frame.index) != frame.index:
            repeats = self._original(frame.index)
        stops = self.cycle.recorded_stops(frame.index, self.cycle.stops[verdict.phase])
        self._labels[frame.index] = FrameLabel(
            frame.index, verdict.phase, stops, self._segment, verdict.usable, repeats
        )
        if known and verdict.usable and not frame.mute and self._segment == before:
            self._usual = [*self._usual[-11:], resemblance(frame, [other for other, _ in known])]
        self._summaries[frame.index] = frame
        self._next = frame.index + 1
        self._pending.pop(0)
        for old in [i for i in self._summaries if i < self._next - 2 * len(self.cycle) * self._every]:
            del self._summaries[old]

    def _skip_missing(self, frame: SmallPicture, known: list[tuple[SmallPicture, int]]) -> None:
        """The cycle goes on behind frames that are known to be missing unless the pixels contradict that."""
        num_missing = self._num_missing.pop(frame.index, 0)
        if not num_missing or self._steady is not None:
            return
        frames = [f for f in self._pending if not f.mute]
        if known and frames:
            near = known[: len(self.cycle) + 1]
            costs = [
                Paths(self.cycle, frames, [self._phase(f.index, slip) for f in frames], near).regular_cost
                for slip in (0, num_missing)
            ]
            if costs[0] < BETTER * costs[1] and costs[1] - costs[0] > MIN_GAIN:
                return
        self._offset += num_missing
        text = f"{num_missing} frame(s) are missing before frame {frame.index}, as the times or numbers tell"
        self._say("dropped", frame.index, text)

    def _expected(self, index: int) -> int:
        """The phase of a frame if nothing happens."""
        return self._phase(index) if self._steady is None else self._steady

    def _judged(self, frame: SmallPicture, known: list[tuple[SmallPicture, int]]) -> _Verdict:
        """What a frame is that is neither black nor white."""
        expected = self._expected(frame.index)
        later = [f for f in self._pending[1:] if not f.mute]
        if known and self._is_cut(frame, later, known):
            if len(later) >= self._enough:
                self._cut(frame, later)
            else:
                self._cut_at_the_end(frame, later)
            return _Verdict(self._expected(frame.index))
        if not known and (frame.index or not later):
            return self._opened(frame, later)
        if not known and (start := self._opening_cut(frame, later)):
            return self._before_opening_cut([frame, *later][:start])
        if not known:
            later = self._same_scene(frame, later)
        misfit = 0.0
        if known:
            misfits = [self._misfit(frame, phase, known) for phase in range(len(self.cycle))]
            misfit = min(misfits[expected], self._fading_misfit(frame))
            fits = misfit <= CLEAR_MISFIT and not self._is_better_unclipped(frame, expected, misfits, known)
            if fits or (min(misfits) >= BETTER * misfit and misfit <= ODD_MISFIT):
                return _Verdict(expected)
            if self._is_contradicted(misfits, known):
                known = []
        verdict = self._judged_by_path(frame, later, known)
        if verdict is None and misfit > ODD_MISFIT and len(later) < 2:
            self._unsure(frame.index)
        return verdict or _Verdict(expected)

    def _is_better_unclipped(
        self, frame: SmallPicture, expected: int, misfits: list[float], known: list[tuple[SmallPicture, int]]
    ) -> bool:
        """Whether the expected phase explains a frame only because most of it would be clipped, and another one
        explains what is not."""
        best = int(np.argmin(misfits))
        if best == expected or misfits[best] >= BETTER * misfits[expected]:
            return False
        unclipped = [
            min(
                unclipped_difference(frame, other, self.cycle.stops[phase] - self.cycle.stops[p])
                for other, p in known[: len(self.cycle) + 1]
            )
            for phase in (expected, best)
        ]
        return unclipped[0] > ODD_MISFIT and unclipped[1] < CLEAR_MISFIT

    def _is_contradicted(self, misfits: list[float], known: list[tuple[SmallPicture, int]]) -> bool:
        """Whether a frame shows that the exposure that was assumed of the first frames is another one."""
        if self._steady is None and len({phase for _, phase in known}) == len(self.cycle):
            self._is_unanchored = False
        return self._is_unanchored and min(misfits) > ODD_MISFIT / 2

    def _judged_by_path(
        self, frame: SmallPicture, later: list[SmallPicture], known: list[tuple[SmallPicture, int]]
    ) -> _Verdict | None:
        """What a frame in doubt is as the frames on both sides explain it best; None where they cannot tell."""
        n, frames, is_first = len(self.cycle), [frame, *later], not known and frame.index == 0
        expected = [self._expected(f.index) for f in frames]
        paths = Paths(self.cycle, frames, expected, known[: n + 1])
        slips = [(p - e) % n for p, e in zip(paths.phases, expected, strict=True)]
        if len(later) >= self._enough and paths.regular_misfit < CLEAR_MISFIT:
            return None  # the light has changed, if anything
        alternates = len(set(paths.phases)) > 1
        is_first &= paths.mean_misfit < CLEAR_MISFIT
        if is_first and len(frames) >= STEADY_FRAMES and not alternates:
            self._steady, self._is_unanchored = expected[0], True
            self._unsure(0, "the exposures do not alternate from frame 0 on: which exposure they have is not known")
            return _Verdict(expected[0])
        if not known and frame.index and alternates:
            return self._anchored(frame, paths.phases[0])
        if is_first and any(slips):
            self._check_first(frame, paths, slips)
        if slips[0] and (known or is_first) and self._is_believed(frame, paths, slips, known):
            return self._left_cycle(frame, paths, slips, known)
        if self._is_flash(frame, later, paths, known):
            text = f"frame {frame.index} is brighter or darker than its exposure, a flash perhaps"
            self._say("flash", frame.index, text)
            if not known and len(set(slips[1:])) == 1:
                self._offset += slips[1]  # the cycle was told from the flash
            return _Verdict(self._expected(frame.index), False)
        return None

    def _check_first(self, frame: SmallPicture, paths: Paths, slips: list[int]) -> None:
        """Say so where the exposure of the first frame is not sure."""
        if paths.lead < LEAVING_COST:
            self._is_unanchored = True
            self._unsure(frame.index)
        elif slips[1:2] != slips[:1] and paths.misfit(0) > CLEAR_MISFIT / 2:
            self._unsure(frame.index)

    def _opening_cut(self, frame: SmallPicture, later: list[SmallPicture]) -> int:
        """Frames before a cut that comes before every exposure was shown; 0 where there is none."""
        n, frames = len(self.cycle), [frame, *later]
        for start in range(1, n):
            before, behind = frames[:start], frames[start:]
            if len(behind) <= n or any(resemblance(f, before) >= CUT_CORRELATION for f in behind):
                continue
            if all(resemblance(b, [a]) > USUAL_CORRELATION for a, b in zip(behind, behind[n:], strict=False)):
                return start
        return 0

    def _same_scene(self, frame: SmallPicture, later: list[SmallPicture]) -> list[SmallPicture]:
        """The frames behind the first one that come before the next cut."""
        for count in range(len(self.cycle), len(later) + 1):
            before, behind = [frame, *later[: count - 1]], later[count - 1 :]
            if all(resemblance(f, before) < CUT_CORRELATION for f in behind):
                return later[: count - 1]
        return later

    def _before_opening_cut(self, frames: list[SmallPicture]) -> _Verdict:
        """The first of the frames before such a cut. Where their steps do not tell their exposures, say so."""
        costs = self._slip_costs(frames)
        best = int(np.argmin(costs))
        self._scene_start = frames[-1].index + 1
        if costs[best] >= BETTER * sorted(costs)[1]:
            for f in frames:
                self._unsure(f.index)
        elif best:
            self._offset += best
            self._say_misfired(frames[0].index, self._phase(frames[0].index))
        return _Verdict(self._expected(frames[0].index))

    def _opened(self, frame: SmallPicture, later: list[SmallPicture]) -> _Verdict:
        """A frame with none before it that it can be compared with."""
        if frame.index == self._scene_start > 0 and len(later) >= self._enough:
            costs = self._slip_costs([frame, *later])
            best = int(np.argmin(costs))
            if costs[best] < BETTER * costs[0]:
                self._begin_scene(frame.index, best)
        return _Verdict(self._expected(frame.index))

    def _is_believed(
        self, frame: SmallPicture, paths: Paths, slips: list[int], known: list[tuple[SmallPicture, int]]
    ) -> bool:
        """Whether the frames are sure enough that the first of them leaves the cycle."""
        if len(slips) >= 3 and len(set(slips)) == 1:  # several frames agree
            return paths.cost < BETTER * paths.regular_cost and paths.cost < ODD_MISFIT * len(slips)
        others = [other for other, _ in known] + [f for f in self._pending[1:] if not f.mute]
        return (
            paths.gain > MIN_GAIN
            and paths.misfit(0) < min(ODD_MISFIT / 2, paths.gain)
            and resemblance(frame, others) > CUT_CORRELATION
        )

    def _left_cycle(
        self, frame: SmallPicture, paths: Paths, slips: list[int], known: list[tuple[SmallPicture, int]]
    ) -> _Verdict:
        """The frame leaves the cycle: say how, and let the cycle go on from there."""
        phase = paths.phases[0]
        before = known[0] if known and known[0][0].index == frame.index - 1 else None
        if len(slips) >= STEADY_FRAMES and len(set(paths.phases)) == 1 and (before is None or before[1] == phase):
            self._steady = phase
            self._say("steady", frame.index, f"the exposures do not alternate from frame {frame.index} on")
            return _Verdict(phase)
        if before and before[1] == phase and difference(frame, before[0]) < SAME_DIFFERENCE and self._steady is None:
            self._offset += slips[0]
            self._say("doubled", frame.index, f"frame {frame.index} repeats frame {before[0].index}")
            return _Verdict(phase, True, before[0].index)
        if len(slips) >= 3 and (slips[1:3] == [0, 0] or slips[2:4] == [0, 0]):
            self._say_misfired(frame.index, phase)
            return _Verdict(phase)
        if self._steady is not None:
            self._alternate(frame.index, phase)
            return _Verdict(phase)
        self._offset += slips[0]
        if not known and len(set(slips)) == 1:
            stops = self.cycle.stops[phase]
            self._say("misfired", frame.index, f"the clip begins with the exposure of {stops:g} stops")
        elif len(slips) >= 3 and known:
            missing = "a frame is" if slips[0] == 1 else f"{slips[0]} frames are"
            self._say("dropped", frame.index, f"{missing} missing before frame {frame.index}")
        else:
            self._say_misfired(frame.index, phase)
        return _Verdict(phase)

    def _is_flash(
        self, frame: SmallPicture, later: list[SmallPicture], paths: Paths, known: list[tuple[SmallPicture, int]]
    ) -> bool:
        """Whether no exposure explains a frame, and the cycle explains those behind it."""
        expected = self._expected(frame.index)
        if any(phase == expected for _, phase in known):
            misfits = [self._misfit(frame, phase, known) for phase in range(len(self.cycle))]
            limit = max(CLEAR_MISFIT, misfits[expected] / 2)
            fitting = all(self._misfit(f, self._expected(f.index), known) < limit for f in later[:2])
            if len(later) >= 2 or not fitting:
                return min(misfits) > ODD_MISFIT / 2 and fitting
            is_odd = min(misfits) > ODD_MISFIT / 2 and misfits[expected] > ODD_MISFIT
            near = [other for other, _ in known]
            return is_odd and resemblance(frame, near) > CUT_CORRELATION and self._is_brighter(frame, known, expected)
        if len(later) < 3 or paths.misfit(0) < ODD_MISFIT / 2:
            return False
        fitting = all(paths.misfit(i) < ODD_MISFIT / 2 for i in (1, 2, 3))
        behind = [(f, phase) for f, phase in zip(later, paths.phases[1:], strict=True)]
        return (
            fitting
            and resemblance(frame, later) > CUT_CORRELATION
            and self._is_brighter(
                frame, [*known, *behind], expected if known else (paths.phases[1] - 1) % len(self.cycle)
            )
        )

    def _is_brighter(self, frame: SmallPicture, others: list[tuple[SmallPicture, int]], expected: int) -> bool:
        """Whether a frame of this phase is too bright beside all others; one that is darker may be faded."""
        stops = self.cycle.stops
        return all(brightness_difference(frame, x, stops[expected] - stops[phase]) > 0 for x, phase in others)

    def _fading_misfit(self, frame: SmallPicture) -> float:
        """Misfit of a frame with its expected phase where the light goes on to change as it did; inf where unknown."""
        stops = self.cycle.stops[self._expected(frame.index)]
        labels = [self._labels[i] for i in sorted(self._summaries, reverse=True) if i in self._labels]
        misfits = [float("inf")]
        for phase in range(len(self.cycle)):
            same = [x.index for x in labels if x.phase == phase and x.segment == self._segment and x.usable]
            if len(same) < 2:
                continue
            near, far = (self._summaries[i] for i in same[:2])
            shown = (near.quantiles < CLIPPED) & (far.quantiles < CLIPPED)
            if near.mute or far.mute or 2 * np.count_nonzero(shown) < len(shown):
                continue
            steps = (frame.index - near.index) / (near.index - far.index)
            quantiles = np.maximum(near.quantiles + steps * (near.quantiles - far.quantiles), 0.0)
            misfits.append(
                difference_of_quantiles(frame.quantiles[shown], quantiles[shown], stops - self.cycle.stops[phase])
            )
        return min(misfits)

    def _anchored(self, frame: SmallPicture, phase: int) -> _Verdict:
        """The clip begins to alternate, and the frames before did not have the exposure that was assumed."""
        self._summaries.clear()
        self._alternate(frame.index, phase)
        return _Verdict(phase)

    def _alternate(self, index: int, phase: int) -> None:
        self._steady, self._is_unanchored = None, False
        self._offset += (phase - self._phase(index)) % len(self.cycle)
        self._say("alternating", index, f"the exposures alternate from frame {index} on")

    def _say_misfired(self, index: int, phase: int) -> None:
        stops = self.cycle.stops[phase]
        self._say("misfired", index, f"frame {index} has the exposure of {stops:g} stops, out of turn")

    def _unsure(self, index: int, text: str = "") -> None:
        text = text or f"the exposure of frame {index} can not be told from its brightness: that of the cycle is taken"
        self._say("unsure", index, text)

    def _known(self, index: int) -> list[tuple[SmallPicture, int]]:
        """The frames before `index` of the same scene, with their phases, the nearest first."""
        labels = []
        for i in range(index - 1, max(index - 2 * len(self.cycle) * self._every, self._scene_start - 1), -1):
            label = self._labels.get(i)
            summary = self._summaries.get(i)
            if label and label.segment == self._segment and label.usable and summary and not summary.mute:
                labels.append((summary, label.phase))
        return labels

    def _misfit(self, frame: SmallPicture, phase: int, known: list[tuple[SmallPicture, int]]) -> float:
        """Difference of quantiles, in code, to the known frame that resembles it most if it had this phase."""
        return min(
            quantile_difference(frame, other, self.cycle.stops[phase] - self.cycle.stops[p])
            for other, p in known[: len(self.cycle) + 1]
        )

    def _is_cut(self, frame: SmallPicture, later: list[SmallPicture], known: list[tuple[SmallPicture, int]]) -> bool:
        """Whether this frame and those behind it show nothing of the frames before. A frame of the same scene resembles
        the last one of its exposure, whichever that is."""
        n = self._enough
        if len({p for _, p in known}) < n or not (self._is_ending or len(later) >= n) or not self._usual:
            return False
        if np.median(self._usual) < USUAL_CORRELATION:
            return False
        others = [other for other, _ in known]
        return all(resemblance(f, others) < CUT_CORRELATION for f in (frame, *later[:n]))

    def _cut(self, frame: SmallPicture, later: list[SmallPicture]) -> None:
        costs = self._slip_costs([frame, *later])
        best = int(np.argmin(costs))
        slip = best if costs[best] < BETTER * costs[0] else 0
        self._begin_scene(frame.index, slip)
        if not self.cycle.is_plain and sorted(costs)[1] * BETTER < costs[slip]:
            self._unsure(frame.index)  # a few frames show only a part of a long cycle

    def _begin_scene(self, index: int, slip: int) -> None:
        self._offset += slip
        self._steady = None
        self._segment += 1
        self._usual = []
        self._say("cut", index, f"a scene cut at frame {index}" + (" restarts the cycle" if slip else ""))

    def _cut_at_the_end(self, frame: SmallPicture, later: list[SmallPicture]) -> None:
        """A scene of fewer frames than tell a cut: its windows stay as they are unless its cycle is turned."""
        costs = self._slip_costs([frame, *later])
        best = int(np.argmin(costs))
        if costs[best] >= BETTER * sorted(costs)[1]:
            for f in (frame, *later):
                self._unsure(f.index)
        elif best:
            self._begin_scene(frame.index, best)

    def _slip_costs(self, frames: list[SmallPicture]) -> list[float]:
        """What the steps between these frames differ by from those of the cycle, in code, for every slip."""

        def cost(slip: int) -> float:
            stops = [self.cycle.stops[self._phase(f.index, slip)] for f in frames]
            return sum(quantile_difference(b, a, t - s) for (a, s), (b, t) in pairwise(zip(frames, stops, strict=True)))

        return [cost(slip) for slip in range(len(self.cycle))]

    def _say(self, kind: str, index: int, text: str) -> None:
        self.events.append(Event(kind, index, text))
