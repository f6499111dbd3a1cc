"""Finds the exposure cycle of a clip from its pixels, and checks a declared one against them.

Every frame is cut into blocks, so that a frame is about 200 blocks wide and motion of a few tens of pixels hardly
moves the content of a block. The exposure of one frame relative to another is then measured twice:
    in place    the median log ratio of the blocks that are well exposed in both frames: insensitive to objects that
                come and go, biased by camera motion over strong texture;
    by rank     the log ratio of equal quantiles of both frames, where these are well exposed: histogram matching,
                which does not care where the content is (Grossberg & Nayar 2003), biased by new content.
Both prefer smooth blocks, and are averaged by the inverse of their scatter. A cycle of n exposures is accepted when one
set of n stops plus a slow drift of the scene explains the measurements between frames up to four apart.

Convention:
    linear frames       (H, W, 3) float, 1.0 = clipping of that frame, already through the inverse camera response.
    stops               log2 of a linear ratio of exposures, positive where the later frame is the brighter one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np

from hdrvid import threads
from hdrvid.color.constants import LUMINANCE_BT709
from hdrvid.errors import ExposureError, InputError
from hdrvid.types import (
    MAX_CYCLE_FRAMES,
    NETWORK_EXPOSURES,
    SAME_LEVEL_STOPS,
    ClipReader,
    ExposureCycle,
    ExposureList,
    Exposures,
    grouped,
)

PROBE_FRAMES = 24
"""Frames at the start of a clip from which its exposures are measured."""

PROBE_SIDE = 960
"""Pixels are skipped, not averaged, until the longer side of such a frame is below twice this: clipping survives."""

MIN_CONFIDENCE = 0.6
"""An estimate below this is a guess: stop and ask for `--exposures`."""

BLOCKS_ACROSS = 128
"""Blocks over the width of a frame."""

BLACK_LINEAR = (0.006, 0.016)
"""Least and largest level below which a block may be noise: codes 25 and 39 of 255 at gamma 2.2."""

CLIPPING_SHARE = 0.88
"""Samples above this share of the brightest level of the clip may be clipped or bent by the codec."""

TEXTURE = 0.05
"""Blocks count the less, the more their texture is above this."""

SMOOTH_STOPS = 2.5
"""Of frames less far apart than this, only the half with the least texture is compared by rank: further apart too
little would be left."""

MAX_LAG = 4
"""Frames are compared over distances of 1 to 4. Longer cycles repeat in what neighbours differ by."""

MAX_SHIFT_BLOCKS = 12
"""The camera moves the picture by at most this many blocks between two frames that are compared."""

MIN_PART_FRAMES = 8
"""Frames of a part of the clip that can speak for all of it."""

MIN_CONTRADICTING_PAIRS = 3
"""Fewer measurements than this contradict nothing."""

FIRST_FRAMES = 12
"""Frames at the start of a clip that tell the exposure of frame 0."""

MIN_STOPS_APART = 0.3
"""Exposures closer than this cannot be distinguished from flicker."""

MAX_DRIFT_STOPS = 0.12
"""A scene brightens or darkens no faster than this, in stops per frame."""

HALF_CYCLE_CHANGE = 0.03
"""Change of the mean code from one cycle to the next that frames of one exposure may show by themselves."""

MIN_UNCERTAIN_CYCLE = 4
"""Cycles of so many frames are always fitted: a shorter one that explains less is none."""

LONG_CYCLE_SHARES = (0.95, 0.85)
"""Share of the pairs that a cycle of more than 3 frames must explain: where it is seen less than four times, and from
then on. Nine exposures in a ramp, seen in 16 frames, are explained by 8 to 0.93."""

SAME_STOPS = 0.15
"""Places of a cycle of more than 2 frames whose stops are measured closer than this have one exposure."""

SNAP_STOPS = 0.04
"""A measurement this close to a third of a stop is taken to be that third: cameras step in thirds."""

SATURATED_STOPS = 4.0
"""Exposures measured to be further apart than this may be further apart still."""

ROUGH_FROM_STOPS = 4.5
"""Exposures this far apart share so few levels that they may be measured as much closer: 6 stops as 5.14."""

ROUGH_STOPS = 0.2
"""The furthest that accepted stops of 5 to 7 were above the true ones, on 180 clips."""

# denser at the top: in dark clips only the highlights of the short frame rise above the noise
_QUANTILES = np.concatenate([np.linspace(0.002, 0.898, 225), np.linspace(0.9, 0.9995, 150)])
_STEADY = "the clip does not alternate"
_MAX_SCATTER_STOPS = 1.0
_IN_PLACE_SHARE = 0.15
_FIT_TOLERANCE_STOPS = 0.15


@dataclass(frozen=True)
class CycleEstimate:
    """What the pixels say about the exposure cycle."""

    cycle: ExposureCycle | None
    """The cycle, beginning with the first frame that was given; None where none was found."""
    confidence: float
    """0..1: how sure `cycle` is, 0 where it is None. Safe from 0.8 on, a guess below `MIN_CONFIDENCE`."""
    pair_stops: tuple[float, ...]
    """Measured stops of frame i+1 relative to frame i; nan where the two share no well-exposed content."""
    reason: str
    """One sentence: what was found, or why nothing was."""
    cycle_confidence: float = 0.0
    """0..1: how sure the number and the order of the exposures are."""
    stops_confidence: float = 0.0
    """0..1: how sure their distance is. `confidence` is the product of both."""
    pairs: tuple[_Pair, ...] = field(default=(), repr=False)
    """What was measured of every two frames."""
    num_frames: int = 0
    """Frames that were given."""


@dataclass(frozen=True)
class _Blocks:
    """One frame, reduced."""

    level: np.ndarray
    """(h, w) luma of the block: the square of the mean of weighted square roots, proportional to the exposure."""
    peak: np.ndarray
    """(h, w) largest sample of the block: tells whether anything in the block is clipped."""
    black: float
    """Level below which clipped noise lifts the block mean."""
    texture: np.ndarray
    """(h, w) standard deviation over mean of the code in 5x5 blocks. A codec that drops the fine detail of a frame
    takes what is left from the frames around it, which have other exposures."""


@dataclass(frozen=True)
class _Pair:
    """The measured exposure of frame `later` relative to frame `earlier`."""

    earlier: int
    later: int
    stops: float
    sigma: float
    """Scatter of the measurement, in stops."""
    systematic: float
    """What one code of 255 of the darker frame is worth where it was compared, in stops: no average removes it."""


@dataclass(frozen=True)
class _Fit:
    """A cycle of `len(stops)` exposures, fitted to all pairs."""

    stops: tuple[float, ...]
    """Stops of each class relative to the first one."""
    explained: float
    """0..1: weight of the pairs that the fit explains."""
    agreeing: float
    """0..1: share of the pairs of neighbouring frames that are within the tolerance, whatever their weight."""
    standard_error: float
    """Largest standard error of the stops, in stops."""
    systematic: float
    """Error of the whole spread that no average removes, along the best chain of comparisons, in stops."""

    @property
    def min_apart(self) -> float:
        """Smallest distance between two of the exposures, in stops. A cycle of more than 2 frames may have one
        exposure several times."""
        steps = [b - a for a, b in pairwise(sorted(self.stops))]
        if len(self.stops) > 2:
            steps = [step for step in steps if step > SAME_STOPS]
        return min(steps, default=0.0)


def probed(reader: ClipReader) -> Iterator[np.ndarray]:
    """Codes (h, w, 3) of the first PROBE_FRAMES frames of a clip, thinned out: what its exposures are measured from."""
    step = max(1, max(reader.info.width, reader.info.height) // PROBE_SIDE)
    for frame in reader.frames(0, PROBE_FRAMES):
        yield frame.pixels[::step, ::step]


def estimate_cycle(linear_frames: Iterable[np.ndarray]) -> CycleEstimate:
    """The exposure cycle of consecutive frames of a clip, beginning with the first one.

    `linear_frames` are (H, W, 3), linear, 0..1, all of one size; 12 to 24 of them are a good number, 3 (for 2
    exposures) or 4 (for 3) the least. They are read one by one and not kept. Stops within 0.04 of a third of a stop
    are snapped to it. Raises InputError for frames of different or wrong shapes.
    """
    blocks = _reduce_all(linear_frames)
    pairs = _measure(blocks)
    estimate = _beginning_with_frame_0(_decide_best(blocks, pairs), pairs)
    return replace(estimate, pairs=tuple(pairs), num_frames=len(blocks))


def are_rough(measured: ExposureCycle) -> bool:
    """Whether measured stops are so far apart that they may be too small, and no camera steps that far."""
    on_thirds = all(abs(stops - round(stops * 3) / 3) < 1e-3 for stops in measured.stops)
    return max(measured.stops) > ROUGH_FROM_STOPS and not on_thirds


def least_stops(measured: Exposures) -> float:
    """Lower bound of the stops between the shortest and the longest exposure of a measured cycle, in tenths."""
    return math.floor(10 * (max(measured.stops) - ROUGH_STOPS) + 1e-6) / 10


@dataclass(frozen=True)
class Contradiction:
    """Where the pixels contradict declared exposures."""

    text: str
    """One sentence, with both figures."""
    is_sure: bool
    """Whether the measurement is sure enough to stop a run."""


def contradiction(estimate: CycleEstimate, declared: Exposures, first_index: int = 0) -> Contradiction | None:
    """Whether the measured frames contradict the declared exposures; None where they agree.

    A contradiction is another number of exposures, another order, or stops that are off by more than half a stop. None
    as well where the pixels cannot tell: exposures further apart than SATURATED_STOPS share so few levels that they are
    measured too small. `first_index` is the clip index of the first frame of the estimate.
    """
    pairs = estimate.pairs
    if isinstance(declared, ExposureList):
        return _contradicted_list(pairs, declared.stops[first_index:])
    assert isinstance(declared, ExposureCycle)
    n = len(declared)
    start = first_index % n
    expected = declared.stops[start:] + declared.stops[:start]
    if estimate.cycle is not None and len(estimate.cycle) == n and _furthest(estimate.cycle.stops, expected) <= 0.5:
        return None  # as far as the first frames tell, whatever is missing later
    if estimate.cycle is not None and estimate.confidence >= MIN_CONFIDENCE and len(estimate.cycle) != n:
        other = estimate.cycle
        return Contradiction(
            f"{n} exposures ({declared}) are declared, but the frames repeat after {len(other)} "
            f"({_list_stops(other.stops, first_index)} stops): check --exposures",
            True,
        )
    if not declared.is_plain:
        return _contradicted_list(pairs, [declared.stops_at(first_index + i) for i in range(estimate.num_frames)])
    fit = _fit(pairs, n, estimate.num_frames)
    if fit is None or fit.explained < 0.7 or _typical_sigma(pairs) > 0.3:
        return None
    neighbours = {p.earlier for p in pairs if p.later - p.earlier == 1}
    # how far apart the exposures are is no matter here: that they are not apart is a contradiction too
    of_cycle, of_stops = _confidence(replace(fit, stops=tuple(range(n))), pairs, estimate.num_frames, len(neighbours))
    is_sure = estimate.num_frames >= 2 * n and of_cycle * of_stops >= MIN_CONFIDENCE
    lowest = min(fit.stops)
    measured = tuple(s - lowest for s in fit.stops)
    if _furthest(measured, expected) <= 0.5:
        return None
    widest = max(measured)
    if widest < MIN_STOPS_APART:
        return Contradiction(
            f"exposures {max(declared.stops):.3g} stops apart are declared, but the frames are {widest:.2f} stops "
            "apart: check --exposures and whether the clip alternates at all",
            is_sure,
        )
    for shift in range(1, n):
        if _furthest(measured, expected[shift:] + expected[:shift]) <= 0.5:
            order = declared.stops[shift:] + declared.stops[:shift]
            return Contradiction(
                f"--exposures {declared} is declared, but the frames follow the order {_plain(order)} "
                f"(measured {_list_stops(measured, first_index)} stops): begin with the exposure of frame 0",
                is_sure,
            )
    if max(declared.stops) > widest > SATURATED_STOPS:
        return None
    return Contradiction(
        f"stops {declared} are declared, but {_list_stops(measured, first_index)} were measured: "
        "check --exposures, which takes stops and not times, and --response",
        is_sure,
    )


def _contradicted_list(pairs: Sequence[_Pair], stops: Sequence[float]) -> Contradiction | None:
    """`contradiction` of one number for every frame: a quarter of what could be measured well is off by half a stop.
    It is sure of half of at least 8 measurements."""
    well = [p for p in pairs if p.sigma < 0.3 and p.later < len(stops) and abs(p.stops) < SATURATED_STOPS]
    off = [(abs(p.stops - (stops[p.later] - stops[p.earlier])), p) for p in well]
    wrong = [(error, p) for error, p in off if error > SAME_LEVEL_STOPS]
    if len(well) < MIN_CONTRADICTING_PAIRS or len(wrong) < 0.25 * len(well):
        return None
    _, worst = max(wrong, key=lambda item: item[0])
    declared = stops[worst.later] - stops[worst.earlier]
    return Contradiction(
        f"the exposures given do not fit the frames: from frame {worst.earlier} to {worst.later} they say "
        f"{declared:+.2f} stops, but {worst.stops:+.2f} were measured: check that the first one is that of frame 0",
        len(wrong) > 0.5 * len(well) and len(well) >= MIN_PART_FRAMES,
    )


def stops_of_frames(estimate: CycleEstimate, cycle: Exposures) -> list[float]:
    """Stops of every frame of the estimate: those of the cycle, which jumps at missing and doubled frames.

    A frame leaves the cycle where another exposure explains its ratios to the frames before clearly better. Of a list
    the frames have what it says.
    """
    if isinstance(cycle, ExposureList):
        return list(cycle.stops[: estimate.num_frames])
    assert isinstance(cycle, ExposureCycle)
    n = len(cycle)
    # the ratios were measured under some curve, and so were these stops
    measured = cycle
    if estimate.cycle is not None and len(estimate.cycle) == n:
        measured = (
            estimate.cycle if np.array_equal(np.argsort(estimate.cycle.stops), np.argsort(cycle.stops)) else cycle
        )
    elif np.isfinite(estimate.pair_stops).any():
        steps = np.abs(np.diff([*cycle.stops, cycle.stops[0]]))
        scale = float(np.nanmedian(np.abs(estimate.pair_stops)) / np.median(steps))
        measured = ExposureCycle(tuple(s * scale for s in cycle.stops)) if 0.3 < scale < 3 else cycle
    phases = [0]
    for index in range(1, estimate.num_frames):
        pairs = [p for p in estimate.pairs if p.later == index]
        expected = (phases[-1] + 1) % n

        def misfit(phase: int, pairs: Sequence[_Pair] = pairs) -> float:
            steps = [measured.stops[phase] - measured.stops[phases[p.earlier]] for p in pairs]
            return float(np.mean([min(abs(p.stops - s), 2.0) for p, s in zip(pairs, steps, strict=True)]))

        best = min(range(n), key=misfit) if pairs else expected
        if pairs and (misfit(best) > 0.3 or misfit(best) > 0.3 * misfit(expected)):
            best = expected
        phases.append(best)
    return [cycle.stops[phase] for phase in phases]


def quantiles(values: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Quantiles of the last axis, (..., N) to (..., S), as of `numpy.quantile`, which is far slower for many shares."""
    ordered = np.sort(values, axis=-1)
    position = np.asarray(shares) * (ordered.shape[-1] - 1)
    below = position.astype(np.intp)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    return np.asarray(ordered[..., below] + (ordered[..., above] - ordered[..., below]) * (position - below))


def finite_pixels(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float32: 0 where they are not a number or minus infinity, 1 where they are infinity.

    The array itself where there is nothing to do.
    """
    pixels = np.asarray(pixels, np.float32)
    if np.isfinite(pixels.sum()):  # many times faster than to look at each of them
        return pixels
    return np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)


def _reduce_all(linear_frames: Iterable[np.ndarray]) -> list[_Blocks]:
    blocks: list[_Blocks] = []
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(linear_frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            raise InputError(f"frame {index} has shape {frame.shape}, not (height, width, 3): give RGB frames")
        if shape is not None and frame.shape != shape:
            raise InputError(
                f"frame {index} is {frame.shape[1]}x{frame.shape[0]} pixels but frame 0 is {shape[1]}x{shape[0]}: "
                "all frames of a clip must have one size"
            )
        shape = frame.shape
        blocks.append(_reduce(frame))
    return blocks


def _reduce(frame: np.ndarray) -> _Blocks:
    height, width = frame.shape[:2]
    side = min(max(1, round(width / BLOCKS_ACROSS)), height)
    h, w = height // side, width // side
    pixels = finite_pixels(frame[: h * side, : w * side])
    rows = pixels.reshape(h, side, w * side * 3)
    peak = rows.max(axis=1).reshape(h, w, side * 3).max(axis=2)
    # averaged near the code, as a codec averages: dark chroma is the first thing that it drops
    luma = np.sqrt(np.maximum(pixels, 0.0)) @ np.array(LUMINANCE_BT709, np.float32)
    level = cv2.resize(luma, (w, h), interpolation=cv2.INTER_AREA) ** 2
    return _Blocks(level, peak, _black_level(pixels[..., 1]), _texture(level))


def _texture(level: np.ndarray) -> np.ndarray:
    code = np.sqrt(level)
    mean = cv2.blur(code, (5, 5))
    variance = cv2.blur(code * code, (5, 5)) - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)) / np.maximum(mean, 1e-3))


def _black_level(green: np.ndarray) -> float:
    """Two and a half standard deviations of the noise in the shadows."""
    lines = green[:: max(1, green.shape[0] // 128)]
    left, right = lines[:, :-1], lines[:, 1:]
    dark = left + right < 0.06
    if not dark.any():
        return BLACK_LINEAR[0]
    # the median difference of two Gaussian samples is 0.954 standard deviations
    return float(np.clip(2.6 * np.median(np.abs(left - right)[dark]), *BLACK_LINEAR))


def _measure(blocks: Sequence[_Blocks]) -> list[_Pair]:
    """All pairs up to MAX_LAG apart that share well-exposed content."""
    if not blocks:
        return []
    # a clip may saturate below code 1 (a camera's own knee, limited range read as full); a scene that never clips
    # only loses its brightest eighth
    white = CLIPPING_SHARE * max(float(np.quantile(b.peak, 0.995)) for b in blocks)
    white = min(white, CLIPPING_SHARE)
    spectra = threads.each(lambda frame: _spectra(frame, white), blocks)

    def pair(indices: tuple[int, int]) -> _Pair | None:
        i, j = indices
        measured = _measure_pair(*_aligned(blocks[i], blocks[j], spectra[i], spectra[j]), white)
        return _Pair(i, j, *measured) if measured is not None and measured[1] < _MAX_SCATTER_STOPS else None

    count = len(blocks)
    pairs = threads.each(pair, [(i, j) for i in range(count) for j in range(i + 1, min(i + MAX_LAG + 1, count))])
    return [p for p in pairs if p is not None]


def _padded_shape(frame: _Blocks) -> tuple[int, int]:
    height, width = frame.level.shape
    return height + MAX_SHIFT_BLOCKS, width + MAX_SHIFT_BLOCKS


def _spectra(frame: _Blocks, white: float) -> list[np.ndarray]:
    """Fourier transforms of where a frame is well exposed, of its log levels there, and of their squares."""
    mask = (frame.level > frame.black) & (frame.peak < white)
    logs = np.where(mask, np.log2(np.maximum(frame.level, BLACK_LINEAR[0])), 0.0)
    if mask.any():
        logs = np.where(mask, logs - logs[mask].mean(), 0.0)
    return [np.fft.rfft2(x, _padded_shape(frame)) for x in (mask.astype(float), logs, logs**2)]


def _aligned(
    a: _Blocks, b: _Blocks, spectra_a: Sequence[np.ndarray], spectra_b: Sequence[np.ndarray]
) -> tuple[_Blocks, _Blocks]:
    """Both frames cut to what they share after the camera's motion, a whole number of blocks.

    The shift is the peak of the correlation of the log levels over the blocks that are well exposed in both frames,
    normalised by their variance there (Padfield, Masked object registration in the Fourier domain, IEEE TIP 2012).
    """
    shape = _padded_shape(a)
    (mask_a, value_a, square_a), (mask_b, value_b, square_b) = spectra_a, spectra_b

    def correlated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        full: np.ndarray = np.fft.irfft2(np.conj(x) * y, shape)
        reach = range(-MAX_SHIFT_BLOCKS, MAX_SHIFT_BLOCKS + 1)
        return full[np.ix_(reach, reach)]

    count = np.maximum(correlated(mask_a, mask_b), 1e-3)
    sum_a, sum_b = correlated(value_a, mask_b), correlated(mask_a, value_b)
    covariance = correlated(value_a, value_b) - sum_a * sum_b / count
    variance_a = correlated(square_a, mask_b) - sum_a**2 / count
    variance_b = correlated(mask_a, square_b) - sum_b**2 / count
    min_blocks = max(256.0, 0.5 * float(count[MAX_SHIFT_BLOCKS, MAX_SHIFT_BLOCKS]))
    usable = (count > min_blocks) & (variance_a > 1e-3 * count) & (variance_b > 1e-3 * count)
    score = np.where(usable, covariance / np.sqrt(np.where(usable, variance_a * variance_b, 1.0)), -1.0)
    row, column = np.unravel_index(np.argmax(score), score.shape)
    # few blocks in common correlate by chance
    if score[row, column] < score[MAX_SHIFT_BLOCKS, MAX_SHIFT_BLOCKS] + 0.02 + 2 / count[row, column] ** 0.5:
        return a, b
    down, right = int(row) - MAX_SHIFT_BLOCKS, int(column) - MAX_SHIFT_BLOCKS
    return _cut(a, -down, -right), _cut(b, down, right)


def _cut(frame: _Blocks, down: int, right: int) -> _Blocks:
    """The frame without what leaves the picture when it is moved up by `down` and left by `right` blocks."""
    height, width = frame.level.shape
    area = (
        slice(max(down, 0), height + min(down, 0)),
        slice(max(right, 0), width + min(right, 0)),
    )
    return _Blocks(frame.level[area], frame.peak[area], frame.black, frame.texture[area])


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and every block within two blocks of it."""
    for axis in (0, 1):
        padding = [(2, 2) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(mask, padding)
        mask = np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=axis).any(axis=-1))
    return mask


def _measure_pair(a: _Blocks, b: _Blocks, white: float) -> tuple[float, float, float] | None:
    """(stops of b relative to a, scatter, systematic error), all in stops; None where no good content is shared."""
    if white <= 2 * BLACK_LINEAR[1]:
        return None
    unclipped = ~_grown((a.peak >= white) | (b.peak >= white))
    # where nothing is left above the noise, look closer to black and trust it less
    for black, penalty in ((max(a.black, b.black), 0.0), (BLACK_LINEAR[0] / 3, 0.2)):
        by_rank = _measure_by_rank(a.level[unclipped], b.level[unclipped], black, white)
        if by_rank is not None and abs(by_rank[0]) < SMOOTH_STOPS:
            smooth_a, smooth_b = _smooth_half(a, b, unclipped)
            by_rank = _measure_by_rank(a.level[smooth_a], b.level[smooth_b], black, white) or by_rank
        in_place = _measure_in_place(a, b, black, white, by_rank[0] if by_rank else None)
        # at the ends of the range that both frames can show, hardly anything is left to compare
        limit = np.log2(white / black) - 1
        estimates = [(e[0], e[1] + penalty, e[2]) for e in (by_rank, in_place) if e is not None and abs(e[0]) < limit]
        estimates = [e for e in estimates if _is_possible(a, b, e[0], max(black, a.black, b.black), white)]
        if estimates:
            break
    else:
        return None
    # the scatter of aligned blocks is their own, ranks share the error of what came and went
    share = [1.0 if by_rank is not None and k == 0 else _IN_PLACE_SHARE for k in range(len(estimates))]
    sigma = sum(1 / (e[1] ** 2 + 0.03**2) for e in estimates) ** -0.5
    weights = [1 / ((k * e[1]) ** 2 + 0.03**2) for k, e in zip(share, estimates, strict=True)]
    stops = sum(w * s for w, (s, _, _) in zip(weights, estimates, strict=True)) / sum(weights)
    systematic = sum(w * e for w, (_, _, e) in zip(weights, estimates, strict=True)) / sum(weights)
    # a rim of the range that both frames show: its noisy ends pull the ratio together
    left = np.log2(white / max(a.black, b.black)) - abs(stops)
    systematic = np.hypot(systematic, 0.5 * max(0.0, 1.8 - left))
    disagreement = abs(estimates[0][0] - estimates[-1][0]) / 2
    return float(stops), float(np.hypot(sigma, disagreement)), float(systematic)


def _smooth_half(a: _Blocks, b: _Blocks, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The half of the blocks with the least texture, in each of two frames."""
    limit = np.median(np.concatenate([a.texture[mask], b.texture[mask]]))
    return mask & (a.texture <= limit), mask & (b.texture <= limit)


def _is_possible(a: _Blocks, b: _Blocks, stops: float, black: float, white: float) -> bool:
    """False where the ratio would leave most blocks unclipped, or above black, that are clipped or black.

    Frames too far apart to be compared share a few blocks by accident: a rim, a moving object, a reflex of noise.
    """
    dark, bright = (a, b) if stops >= 0 else (b, a)
    factor = 2.0 ** abs(stops)
    shown = (dark.level > black) & (dark.peak < white)
    low = shown & (dark.level * factor < 0.7 * white) & (bright.peak < white)
    clipped = shown & (dark.level * factor < 0.35 * white) & (bright.level >= white)
    visible = (bright.level > 2 * black * factor) & (bright.peak < white)
    lost = visible & (dark.level < 0.5 * black)
    present = visible & (dark.level >= black)
    return bool(2 * clipped.sum() <= max(low.sum(), 8) and 2 * lost.sum() <= max(present.sum(), 8))


def _measure_by_rank(a: np.ndarray, b: np.ndarray, black: float, white: float) -> tuple[float, float, float] | None:
    if min(a.size, b.size) < 64:
        return None
    qa, qb = quantiles(a, _QUANTILES), quantiles(b, _QUANTILES)
    good = (qa > black) & (qa < white) & (qb > black) & (qb < white)
    if np.count_nonzero(good) < 8:
        return None
    return _median_and_scatter(np.log2(qb[good] / qa[good]), np.minimum(qa, qb)[good], 0.5)


def _measure_in_place(
    a: _Blocks, b: _Blocks, black: float, white: float, start: float | None
) -> tuple[float, float, float] | None:
    good = (a.peak < white) & (b.peak < white) & (a.level > black) & (b.level > black)
    min_blocks = max(8, good.size // 400)
    if np.count_nonzero(good) < min_blocks:
        return None
    log_ratio = np.log2(b.level[good] / a.level[good])
    darker = np.minimum(a.level, b.level)[good]
    smooth = 1 / (TEXTURE + np.maximum(a.texture, b.texture)[good]) ** 2
    peak_a, peak_b = np.log2(a.peak[good] / white), np.log2(b.peak[good] / white)
    level_a, level_b = np.log2(a.level[good] / black), np.log2(b.level[good] / black)
    stops = float(np.median(log_ratio)) if start is None else start
    estimate = None
    for _ in range(4):
        # both frames limited to the radiances that both can show: otherwise motion at the limits biases the median
        shared = (peak_a < -stops) & (peak_b < stops) & (level_a > -stops) & (level_b > stops)
        if np.count_nonzero(shared) < min_blocks:
            break
        estimate = _median_and_scatter(log_ratio[shared], darker[shared], 2.0, smooth[shared])
        if abs(estimate[0] - stops) < 0.005:
            break
        stops = estimate[0]
    return estimate


def _median_and_scatter(
    values: np.ndarray, darker: np.ndarray, spread: float, smooth: np.ndarray | float = 1.0
) -> tuple[float, float, float]:
    """Weighted median, robust standard deviation, and the worth of one code, in stops.

    `darker` is the level in the darker frame: near black noise, quantisation and the codec distort it, so that a value
    counts the less the darker it is. Few values may all lie on one object, so they count as `spread` apart.
    """
    error = _code_in_stops(darker)
    weight = smooth / (0.05 + error) ** 2
    order = np.argsort(values)
    cumulated = np.cumsum(weight[order])
    ranks = np.searchsorted(cumulated, np.array([0.25, 0.5, 0.75]) * cumulated[-1])
    low, middle, high = values[order][np.minimum(ranks, len(values) - 1)]
    scatter = np.hypot(0.741 * (high - low), spread / len(values) ** 0.5)
    return float(middle), float(scatter), float(np.sum(weight * error) / weight.sum())


def _code_in_stops(level: np.ndarray) -> np.ndarray:
    """Stops between two neighbouring codes of 255 at a linear level, with gamma 2.2."""
    return 2.2 / (255 * np.log(2)) * level ** (-1 / 2.2)


def _fit(pairs: Sequence[_Pair], n: int, num_frames: int) -> _Fit | None:
    """Stops of n classes plus a drift per frame, least squares with Cauchy weights; None where underdetermined."""
    if not pairs or num_frames < n:
        return None
    design = np.zeros((len(pairs) + 1, n + 1))
    stops = np.zeros(len(pairs) + 1)
    base = np.zeros(len(pairs) + 1)
    for row, pair in enumerate(pairs):
        lag = pair.later - pair.earlier
        design[row, pair.later % n] += 1
        design[row, pair.earlier % n] -= 1
        design[row, n] = lag
        stops[row] = pair.stops
        base[row] = 1 / (pair.sigma**2 + 0.05**2 + (0.03 * lag) ** 2)
    design[-1, n] = 1
    base[-1] = 1 / 0.05**2
    free = design[:, 1:]  # class 0 is the origin
    tolerance = _FIT_TOLERANCE_STOPS + 0.05 * np.abs(stops)
    if np.linalg.matrix_rank(free) < free.shape[1]:
        return None
    solution, robust = _solve_robustly(free, stops, base, tolerance)
    if abs(solution[-1]) > MAX_DRIFT_STOPS:
        free[:, -1] = 0  # a trend that steep is an alternation in disguise
        solution, robust = _solve_robustly(free, stops, base, tolerance)
    residual = stops - free @ solution
    # nearly flat weights: frames of equal exposure compare best, but say nothing about the steps between exposures
    weight = np.array([1 / (pair.sigma**2 + 0.3**2) for pair in pairs])
    closeness = np.exp(-((residual[:-1] / tolerance[:-1]) ** 2))
    if n == 1 and np.mean([c for c, p in zip(closeness, pairs, strict=True) if p.later - p.earlier == 1] or [0]) < 0.5:
        return None  # only frames further apart are alike: that is an alternation
    explained = float(np.sum(weight * closeness) / weight.sum())
    neighbours = [abs(r) < t for r, t, p in zip(residual, tolerance, pairs, strict=False) if p.later - p.earlier == 1]
    agreeing = float(np.mean(neighbours or [0]))
    covariance = np.linalg.pinv(free.T @ (free * (base * robust)[:, None]))
    error = float(np.sqrt(np.diag(covariance)[: n - 1].max(initial=0.0)))
    class_stops = (0.0, *(float(s) for s in solution[: n - 1]))
    return _Fit(class_stops, explained, agreeing, error, _systematic(pairs, class_stops))


def _systematic(pairs: Sequence[_Pair], stops: Sequence[float]) -> float:
    """Systematic error between the darkest and the brightest class, compared directly or through the third one."""
    n = len(stops)
    variance = np.full((n, n), np.inf)
    for x in range(n):
        for y in range(n):
            values = [p.systematic for p in pairs if {p.earlier % n, p.later % n} == {x, y}]
            if values:
                variance[x, y] = float(np.median(values)) ** 2
    darkest, brightest = int(np.argmin(stops)), int(np.argmax(stops))
    if darkest == brightest:
        return 0.0
    chains = [variance[darkest, k] + variance[k, brightest] for k in range(n) if k not in (darkest, brightest)]
    return float(min([variance[darkest, brightest], *chains]) ** 0.5)


def _solve_robustly(
    design: np.ndarray, target: np.ndarray, weight: np.ndarray, tolerance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares with Cauchy weights: the solution and the weight, 0..1, that each row ended with."""
    robust = np.ones_like(weight)
    for _ in range(6):
        root = np.sqrt(weight * robust)
        solution = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        robust = 1 / (1 + ((target - design @ solution) / tolerance) ** 2)
    return solution, robust


def _typical_sigma(pairs: Sequence[_Pair]) -> float:
    """Median scatter between neighbouring frames, in stops."""
    return float(np.median([p.sigma for p in pairs if p.later - p.earlier == 1] or [np.inf]))


def _decide_best(blocks: Sequence[_Blocks], pairs: Sequence[_Pair]) -> CycleEstimate:
    """The estimate from all frames, or from the part of them that a fade or a flash leaves alone.

    Parts of half and three quarters of the frames, at either end, are asked as well. Where they are sure of the same
    exposures in another phase, frames are missing or the cycle starts anew: the first part tells the phase of frame 0.
    Where they are sure of different exposures, there is no cycle.
    """
    num_frames = len(blocks)
    whole = _unless_upside_down(_decide(num_frames, pairs), blocks)
    if whole.cycle is not None and not whole.cycle.is_plain and whole.confidence >= MIN_CONFIDENCE:
        return whole
    parts = []
    for size in (3 * num_frames // 4, (num_frames + 1) // 2):
        for start in (0, num_frames - size):
            if size >= MIN_PART_FRAMES:
                inside = [p for p in pairs if p.earlier >= start and p.later < start + size]
                moved = [replace(p, earlier=p.earlier - start, later=p.later - start) for p in inside]
                # a part shows a long cycle hardly twice
                part = _decide(size, moved, max(NETWORK_EXPOSURES))
                part = _unless_upside_down(part, blocks[start : start + size])
                if part.cycle is None and part.reason.startswith(_STEADY):
                    part = _unless_alternating(part, blocks[start : start + size])
                elif part.cycle is not None:
                    part = replace(part, cycle=_begun_at(part.cycle, -start))
                parts.append((part, start))
    confident = [p for p, _ in parts if p.confidence >= MIN_CONFIDENCE]
    cycles = [p.cycle for p in confident if p.cycle is not None]
    if any(len(c) != len(cycles[0]) or _furthest(c.stops, cycles[0].stops) > 0.5 for c in cycles[1:]):
        first = next((p for p, start in parts if start == 0 and p in confident), None)
        if first is not None and first.cycle is not None and all(_is_rotation(c, first.cycle) for c in cycles):
            reason = f"{len(first.cycle)} exposures repeat, at {first.cycle} stops, and start anew after some frames"
            return replace(first, confidence=first.confidence - 0.1, pair_stops=whole.pair_stops, reason=reason)
        reason = "the exposures follow another cycle after a while: give --exposures, or the parts one by one"
        return CycleEstimate(None, 0.0, whole.pair_stops, reason)
    if whole.cycle is not None and whole.confidence >= MIN_CONFIDENCE and not _is_exceeded(whole, whole.cycle):
        return whole
    best = max(confident, key=lambda p: p.confidence, default=None)
    if best is not None and best.cycle is not None and (are_rough(best.cycle) or _is_exceeded(whole, best.cycle)):
        uncertain = f"{best.reason}, but this is uncertain"
        return replace(best, confidence=0.0, pair_stops=whole.pair_stops, reason=uncertain)
    if best is not None and best.cycle is not None and best.confidence >= MIN_CONFIDENCE + 0.1:
        reason = f"{len(best.cycle)} exposures repeat in part of the frames, at {best.cycle} stops"
        return replace(best, confidence=best.confidence - 0.1, pair_stops=whole.pair_stops, reason=reason)
    steady = [p for p, _ in parts if p.reason.startswith(_STEADY)]
    if steady and not whole.reason.startswith(_STEADY) and all(p.cycle is None for p, _ in parts):
        return replace(steady[0], pair_stops=whole.pair_stops)
    return whole if whole.cycle is not None else _unless_alternating(whole, blocks)


def _unless_upside_down(estimate: CycleEstimate, blocks: Sequence[_Blocks]) -> CycleEstimate:
    """No cycle where an exposure that was measured as the longer one gives clearly the darker frames, or where the
    brightness repeats only after two cycles: frames that share nothing with their neighbours tell no stops."""
    if estimate.cycle is None:
        return estimate
    n, means = len(estimate.cycle), np.array([float(np.sqrt(b.level).mean()) for b in blocks])
    if len(blocks) >= 4 * n:
        once, twice = (float(np.abs(means[k:] - means[:-k]).mean()) for k in (n, 2 * n))
        if once > HALF_CYCLE_CHANGE + 3 * twice:
            reason = (
                f"the brightness repeats after {2 * n} frames, and not after {n}, but the frames share too little "
                f"well-exposed content to tell the stops: give --exposures with {2 * n} stops"
            )
            return replace(estimate, cycle=None, confidence=0.0, reason=reason)
    n = len(estimate.cycle)
    brightness = [float(np.median([np.sqrt(b.level).mean() for b in blocks[k::n]])) for k in range(n)]
    order = np.argsort(estimate.cycle.stops)
    if all(brightness[y] > brightness[x] - 0.03 for x, y in pairwise(order)):
        return estimate
    return replace(estimate, cycle=None, confidence=0.0, reason="the longer exposures would be the darker frames")


def _begun_at(cycle: ExposureCycle, index: int) -> ExposureCycle:
    """The same cycle, beginning with its frame `index`."""
    return ExposureCycle(tuple(cycle.stops_at(index + k) for k in range(len(cycle))))


def _is_exceeded(whole: CycleEstimate, cycle: ExposureCycle) -> bool:
    """Whether many neighbouring frames are much further apart than the cycle; a fade brings them together."""
    distances = [abs(stops) for stops in whole.pair_stops if np.isfinite(stops)]
    return bool(np.mean([a > 1.5 * max(cycle.stops) + 0.5 for a in distances] or [False]) > 0.25)


def _is_rotation(a: ExposureCycle, b: ExposureCycle) -> bool:
    """Whether both are the same exposures in the same order, beginning anywhere."""
    return len(a) == len(b) and any(_furthest(_begun_at(a, k).stops, b.stops) <= 0.5 for k in range(len(a)))


def _unless_alternating(estimate: CycleEstimate, blocks: Sequence[_Blocks]) -> CycleEstimate:
    """No cycle found, with the reason that the brightness alone gives where it repeats after 2 or 3 frames."""
    brightness = np.array([float(np.sqrt(b.level).mean()) for b in blocks])
    if len(brightness) < 6:
        return estimate
    change = {k: float(np.median(np.abs(brightness[k:] - brightness[:-k]))) for k in (1, 2, 3)}
    for n in NETWORK_EXPOSURES:
        others = [change[k] for k in (1, 2, 3) if k % n]
        medians = np.array([np.median(brightness[k::n]) for k in range(n)])
        if min(others) > max(0.05, 4 * change[n]) and np.diff(np.sort(medians)).min() > 0.05:
            order = np.argsort(np.argsort(medians))
            names = ("short", "long") if n == 2 else ("short", "middle", "long")
            return CycleEstimate(
                None,
                0.0,
                estimate.pair_stops,
                f"the brightness repeats after {n} frames ({', '.join(names[k] for k in order)}), but the frames share "
                f"too little well-exposed content to tell the stops: give --exposures with {n} stops in this order",
            )
    return estimate


def _decide(num_frames: int, pairs: Sequence[_Pair], max_cycle: int = MAX_CYCLE_FRAMES) -> CycleEstimate:
    neighbours = {p.earlier: p.stops for p in pairs if p.later - p.earlier == 1}
    pair_stops = tuple(neighbours.get(i, float("nan")) for i in range(max(num_frames - 1, 0)))

    def undecided(reason: str) -> CycleEstimate:
        return CycleEstimate(None, 0.0, pair_stops, reason)

    if num_frames < 3:
        return undecided(f"{num_frames} frame(s) are too few to see a cycle of exposures repeat")
    if not pairs:
        return undecided("no two frames share well-exposed content, so their exposures cannot be compared")
    fits: dict[int, _Fit] = {}
    for n in range(1, max(max_cycle, MIN_UNCERTAIN_CYCLE) + 1):
        fit = _fit(pairs, n, num_frames) if num_frames > n and num_frames >= 2 * n * (n > 4) else None
        # 4 exposures explain whatever 2 do, and a little more by chance
        others = max((other.explained for other in fits.values()), default=0.0)
        if fit is not None and (n < 4 or fit.explained >= 0.25 + others):
            fits[n] = fit
    best = max((fit.explained for fit in fits.values()), default=0.0)
    if best < 0.5:
        return undecided(
            "the brightness changes from frame to frame without a pattern of 2 to 9 exposures that repeats; a file "
            "with the exposure of every frame tells it"
        )
    n = next(n for n, fit in fits.items() if fit.explained >= best - 0.08)
    fit = fits[n]
    if n == 1:
        change = float(np.median(np.abs(list(neighbours.values()))))
        return undecided(f"{_STEADY}: neighbouring frames differ by {change:.2f} stops")
    lowest = min(fit.stops)
    stops = tuple(snap(s) for s in _same_levels([s - lowest for s in fit.stops]))
    limit = LONG_CYCLE_SHARES[num_frames >= 4 * n]
    is_sure = num_frames >= 2 * n and min(fit.explained, fit.agreeing) >= limit
    if n > max_cycle or ((n > max(NETWORK_EXPOSURES) or len(set(stops)) < n) and not is_sure and len(set(stops)) > 1):
        return undecided(
            f"the brightness changes as if {n} exposures repeated, but not for sure: give --exposures, or a file with "
            "the exposure of every frame"
        )
    if fit.min_apart < MIN_STOPS_APART:
        return undecided(
            f"the brightness repeats after {n} frames, but exposures only {fit.min_apart:.2f} stops apart "
            f"(stops {_plain(stops)}) cannot be told from flicker"
        )
    try:
        cycle = ExposureCycle(stops)
    except ExposureError as error:
        return undecided(str(error))
    of_cycle, of_stops = _confidence(fit, pairs, num_frames, len(neighbours))
    confidence = round(of_cycle * of_stops, 3)
    sureness = "" if confidence >= MIN_CONFIDENCE else ", but this is uncertain"
    reason = f"{n} exposures repeat, at {cycle} stops{sureness}"
    return CycleEstimate(cycle, confidence, pair_stops, reason, round(of_cycle, 3), round(of_stops, 3))


def _same_levels(stops: Sequence[float]) -> list[float]:
    """Stops of a cycle, those that are one exposure (SAME_STOPS) made equal where the cycle has more than 2 frames."""
    if len(stops) <= 2:
        return list(stops)
    level = {s: float(np.mean(group)) for group in grouped(stops, SAME_STOPS) for s in group}
    lowest = min(level.values())
    return [level[s] - lowest for s in stops]


def _confidence(fit: _Fit, pairs: Sequence[_Pair], num_frames: int, num_neighbours: int) -> tuple[float, float]:
    """Confidence of the cycle and of the stops: products of factors, each 1 where there is nothing to worry about."""
    n = len(fit.stops)
    of_cycle = (
        (fit.explained - 0.4) / 0.45,  # the pattern holds for all pairs
        (fit.agreeing - 0.45) / 0.25,  # and is no compromise between one part of the clip and another
        (fit.min_apart - 0.2) / 0.5,  # the exposures are further apart than flicker
        0.75 + 0.25 * (num_frames - n - 1) / (n + 1),  # the pattern was seen more than once
        2 * num_neighbours / (num_frames - 1),  # most frames could be measured
    )
    of_stops = (
        1.25 - 1.2 * _typical_sigma(pairs),  # the measurements are sharp
        (0.24 - 2 * fit.standard_error) / 0.08,  # and every exposure has enough of them
        (0.22 - fit.systematic) / 0.12,  # and above the codes where noise and codec decide
    )
    return float(np.prod(np.clip(of_cycle, 0.0, 1.0))), float(np.prod(np.clip(of_stops, 0.0, 1.0)))


def _beginning_with_frame_0(estimate: CycleEstimate, pairs: Sequence[_Pair]) -> CycleEstimate:
    """The cycle turned so that it begins with the exposure of frame 0.

    Frames that are missing or doubled near the start shift all that follow, and the cycle was fitted to the majority.
    Every one of the first frames is given its own stops, from the pairs alone; what follows is for `detect.phases`.
    """
    cycle = estimate.cycle
    if cycle is None:
        return estimate
    n = len(cycle)
    first = [p for p in pairs if p.later < FIRST_FRAMES]
    count = max((p.later for p in first), default=0) + 1
    if count < 2 * n:
        return estimate
    design = np.zeros((len(first) + 1, count))
    target = np.zeros(len(first) + 1)
    weight = np.ones(len(first) + 1)
    for row, pair in enumerate(first):
        design[row, pair.later], design[row, pair.earlier] = 1, -1
        target[row] = pair.stops
        weight[row] = 1 / (pair.sigma**2 + 0.1**2)
    design[-1, 0] = 1  # frame 0 is the origin
    if np.linalg.matrix_rank(design) < count:
        return estimate
    stops, _ = _solve_robustly(design, target, weight, _FIT_TOLERANCE_STOPS + 0.05 * np.abs(target))

    def misfit(phase: int) -> float:
        """Mean distance of the frames from the nearest exposure, if frame 0 has this phase."""
        classes = np.array(cycle.stops) - cycle.stops[phase]
        return float(np.abs(stops[:, None] - classes).min(1).mean())

    costs = [misfit(phase) for phase in range(n)]
    best = int(np.argmin(costs))
    if best == 0 or costs[best] > 0.5 * costs[0] or costs[0] < 0.12 * min(np.diff(sorted(cycle.stops))):
        return estimate
    turned = _begun_at(cycle, best)
    return replace(estimate, cycle=turned, reason=f"{n} exposures repeat, at {turned} stops, not from frame 0 on")


def snap(stops: float) -> float:
    """Stops, or the third of a stop that is within SNAP_STOPS of them."""
    third = round(stops * 3) / 3
    return third if abs(stops - third) <= SNAP_STOPS else round(stops, 2)


def _furthest(a: Sequence[float], b: Sequence[float]) -> float:
    """Largest difference of two lists of stops, after removing the common offset."""
    lowest_a, lowest_b = min(a), min(b)
    return max(abs((x - lowest_a) - (y - lowest_b)) for x, y in zip(a, b, strict=True))


def _list_stops(measured: Sequence[float], first_index: int) -> str:
    """Measured stops in the order that `--exposures` takes: beginning with frame 0 of the clip."""
    start = -first_index % len(measured)
    return _plain([round(s, 1) for s in (*measured[start:], *measured[:start])])


def _plain(stops: Sequence[float]) -> str:
    return ",".join(f"{s:.3g}" for s in stops)
