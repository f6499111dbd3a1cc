"""The exposures of a clip to a few hundredths of a stop, from aligned pixels.

A camera's stops are nominal: shutters, apertures and gains are off by some percent, and every percent shows as a
flicker between the output's frames. Neighbouring frames are aligned, and where both are well exposed
the median ratio of their linear values is what the exposures are in truth. One set of stops serves the whole clip:
an estimate a frame would be flicker of its own.

Convention:
    linear frames       (H, W, 3) float32, 1.0 = clipping of that frame, consecutive, the first at phase 0 of the cycle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA, gamma_encode
from hdrvid.errors import ExposureError
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.picture_warp import warp_picture
from hdrvid.types import ExposureCycle

MEASURED_LEVELS = (0.02, 0.75)
"""Linear levels between which noise, black level and clipping bend a ratio by less than a hundredth of a stop."""
MIN_SHARE = 0.004
"""Share of a frame's pixels that two frames must both expose well."""
CERTAINTY = 8.0
"""A correction must be this many standard errors: what compression does is the same in every pair of frames, so that
the scatter shows only a part of it."""
MIN_CORRECTION = 0.07
"""Differences below this, in stops (5 %), are left alone: compression pulls neighbouring frames together, H.264 of
320x192 at CRF 18 by up to 0.06 stops, at CRF 23 by up to 0.08, at CRF 28 by up to 0.2. A clip without it is measured to
0.02."""
MAX_CORRECTION = 0.5
"""Beyond this the stops are wrong, not a little off: `hdrvid.detect.cycle.contradiction` says so."""
MAX_SPREAD = 0.75
"""Of a correction: what the ratio may differ by between dark and bright levels. A wrong curve, a palette or a black
level bends the ratio, and stops cannot mend that."""
MAX_STOPS_APART = 3.3
"""Frames further apart share too narrow a band of levels: on H.264 a measurement at 4 stops was 0.09 off."""
MAX_SIDE = 960
"""Larger frames are averaged down to this, in pixels."""
_MOTION_TOLERANCE_PX = 1.0
_MIN_PAIRS = 3
_TOO_FEW = "too few pixels are well exposed in two neighbouring frames"


@dataclass(frozen=True)
class StopsMeasurement:
    """What aligned pixels say about the exposures of a cycle."""

    cycle: ExposureCycle
    """The stops that were measured; those that were given where nothing was to be corrected."""
    corrected: bool
    """Whether `cycle` differs from what was given."""
    standard_error: float
    """Of the stops, in stops; inf where nothing could be measured."""
    reason: str
    """One sentence."""


def measure_stops(linear_frames: Iterable[np.ndarray], cycle: ExposureCycle) -> StopsMeasurement:
    """Measure the stops of `cycle` on consecutive linear frames (6 to 24 of them, of any size).

    Stops are corrected where the measurement is certain, between MIN_CORRECTION and MAX_CORRECTION away, the same at
    dark and at bright levels, and where a correction from every other pair of frames explains the remaining pairs
    better than the given stops do. One that would bring two exposures of the cycle together is none.
    """
    n = len(cycle)
    comparable = [abs(cycle.stops_at(k) - cycle.stops_at(k + 1)) <= MAX_STOPS_APART for k in range(n)]
    # with a step missing, a scene that brightens looks like an exposure, but not between frames of equal exposure
    lags = (1,) if all(comparable) else (1, n)

    def is_compared(j: int, lag: int) -> bool:
        return j >= lag and (lag > 1 or comparable[(j - 1) % n])

    kinds = [_row(j, j - lag, n) for lag in lags for j in range(lag, lag + n) if is_compared(j, lag)]
    if np.linalg.matrix_rank(np.array(kinds)) < n:  # no frames could tell, so none are aligned
        return StopsMeasurement(cycle, False, float("inf"), _TOO_FEW)
    aligner = DenseInverseSearch(2, candidates=False, search="short")
    rows: list[np.ndarray] = []
    ratios: list[float] = []
    spreads: list[float] = []
    before: deque[_Prepared] = deque(maxlen=max(lags))

    def ratio(j: int, i: int, later: _Prepared, earlier: _Prepared) -> _Ratio | None:
        exposures = (cycle.exposure_at(j), cycle.exposure_at(i), cycle.exposure_at(j))
        forward, backward = aligner.window((later.code, earlier.code, later.code), exposures)
        return _ratio(aligner, earlier, later, forward[0], backward[0])

    with ThreadPoolExecutor(2) as pool:  # a pair is measured while the next frame is prepared
        pairs: list[tuple[int, int, Future[_Ratio | None]]] = []
        for j, frame in enumerate(map(_prepared, linear_frames)):
            for lag in lags:
                if is_compared(j, lag):
                    pairs.append((j, j - lag, pool.submit(ratio, j, j - lag, frame, before[-lag])))
            before.append(frame)
        for j, i, measuring in pairs:
            measurement = measuring.result()
            if measurement is None:
                continue
            rows.append(_row(j, i, n))
            ratios.append(measurement.stops)
            spreads.append(measurement.spread)
    given = np.array(cycle.stops)
    if len(rows) < _MIN_PAIRS or np.linalg.matrix_rank(np.array(rows)) < n:
        return StopsMeasurement(cycle, False, float("inf"), _TOO_FEW)
    design, target = np.array(rows), np.array(ratios)
    solution, scale = _solved(design, target)
    error = float(2 * scale / np.sqrt(len(rows)))
    measured = solution[:n] - solution[:n].min()
    change = np.abs(measured - (given - given.min())).max()
    # where a step is missing its ends are compared over the others, whose errors add up
    min_correction = MIN_CORRECTION if all(comparable) else MIN_CORRECTION * (n - 1)
    if not max(min_correction, CERTAINTY * error) <= change <= MAX_CORRECTION:
        return StopsMeasurement(cycle, False, error, "the exposures are as given as far as can be told")
    if float(np.median(spreads)) > MAX_SPREAD * change:
        reason = "the ratio of the frames is not the same at dark and at bright levels, so the exposures stay as given"
        return StopsMeasurement(cycle, False, error, reason)
    if not _improves(design, target, given):
        reason = "a correction of the exposures does not hold for all frames, so they stay as given"
        return StopsMeasurement(cycle, False, error, reason)
    try:
        corrected = ExposureCycle(tuple(round(float(s), 3) for s in measured))
    except ExposureError as failure:
        return StopsMeasurement(cycle, False, error, str(failure))
    if sorted(range(n), key=lambda k: corrected.stops[k]) != sorted(range(n), key=lambda k: cycle.stops[k]):
        return StopsMeasurement(cycle, False, error, "the order of the exposures is not clear")
    return StopsMeasurement(corrected, True, error, f"aligned pixels are {corrected} stops apart, not {cycle}")


def _solved(design: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Stops of the classes (mean 0) and drift a frame, and the scatter of a pair. Least squares with Cauchy weights."""
    n = design.shape[1] - 1
    design = np.vstack([design, np.append(np.ones(n), 0.0)])  # only differences of classes are measured
    target = np.append(target, 0.0)
    weight = np.ones(len(target))
    for _ in range(8):
        solution = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
        residual = target - design @ solution
        scale = max(1.48 * float(np.median(np.abs(residual[:-1]))), 0.01)
        weight = np.append(1 / np.sqrt(1 + (residual[:-1] / (2 * scale)) ** 2), 1.0)
    return solution, scale


def _row(later: int, earlier: int, num_exposures: int) -> np.ndarray:
    """What makes the ratio of two frames: the stops of the later one, less those of the earlier one, and a drift."""
    row = np.zeros(num_exposures + 1)
    row[later % num_exposures] += 1
    row[earlier % num_exposures] -= 1
    row[num_exposures] = later - earlier
    return row


def _improves(design: np.ndarray, target: np.ndarray, given: np.ndarray) -> bool:
    """Whether stops from one half of the pairs explain the other half better than the given ones, both ways."""
    n = len(given)
    halves = np.arange(len(target)) // n % 2
    for half in (0, 1):
        use, other = halves == half, halves != half
        if np.linalg.matrix_rank(design[use]) < n or not other.any():
            return len(target) < 4 * n  # too few pairs for two halves
        solution, _ = _solved(design[use], target[use])
        drift = design[other, n] * solution[n]
        before = np.abs(target[other] - design[other, :n] @ given - drift)
        after = np.abs(target[other] - design[other] @ solution)
        # frames of equal exposure say nothing about a correction
        changed = np.abs(design[other, :n] @ (solution[:n] - given)) > 0.02
        if changed.any() and np.median(after[changed]) > 0.5 * np.median(before[changed]):
            return False
    return True


class _Ratio(NamedTuple):
    """The measured exposure of one frame relative to another."""

    stops: float
    """Over all levels."""
    spread: float
    """Largest difference between its values in the darkest, the middle and the brightest third of the pixels, and
    between means of light and means of code."""


class _Prepared(NamedTuple):
    """A linear frame, averaged down to at most MAX_SIDE pixels."""

    grey: np.ndarray
    """(h, w) mean of the channels: codecs keep brightness far better than colour."""
    brightest: np.ndarray
    """(h, w) largest channel."""
    code: np.ndarray
    """(h, w, 3) network code."""
    grey_code: np.ndarray
    """(h, w) mean of the channels of `code`."""


def _prepared(frame: np.ndarray) -> _Prepared:
    frame = np.asarray(frame, np.float32)
    shrink = -(-max(frame.shape[:2]) // MAX_SIDE)
    if shrink > 1:
        size = max(frame.shape[1] // shrink, 1), max(frame.shape[0] // shrink, 1)
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(frame)
    code = gamma_encode(frame)
    return _Prepared((red + green + blue) / 3, cv2.max(cv2.max(red, green), blue), code, code.mean(2))


def _ratio(
    aligner: DenseInverseSearch,
    a: _Prepared,
    b: _Prepared,
    flow: np.ndarray,
    flow_back: np.ndarray,
) -> _Ratio | None:
    """Stops of frame `b` above frame `a`; None where too little is good in both."""
    low, high = MEASURED_LEVELS
    good = aligner.consistent(flow, flow_back, _MOTION_TOLERANCE_PX)
    light, code = [], []
    moved = (warp_picture(b.grey, flow), warp_picture(b.brightest, flow), warp_picture(b.grey_code, flow))
    for grey, brightest, grey_code in ((a.grey, a.brightest, a.grey_code), moved):
        # the mean of 5x5 pixels: noise is averaged before the logarithm, which would bend it
        light.append(cv2.blur(grey, (5, 5)))
        code.append(cv2.blur(grey_code, (5, 5)))
        good &= (light[-1] > low) & (cv2.dilate(brightest, np.ones((5, 5))) < high)
    if good.mean() < MIN_SHARE:
        return None
    first, second = light[0][good], light[1][good]
    ratio = np.log2(second / first)
    # by the level of both frames: sorted by one alone, noise would slope the ratio
    thirds = np.array_split(ratio[np.argsort(first * second)], 3)
    middles = [float(np.median(third)) for third in thirds]
    # noise and dither move the mean of the light, and not that of the code
    by_code = float(np.median(NETWORK_GAMMA * np.log2(code[1][good] / np.maximum(code[0][good], 1e-3))))
    stops = float(np.median(ratio))
    return _Ratio(stops, max(max(middles) - min(middles), abs(stops - by_code)))
