"""The exposures of a clip to a few hundredths of a stop, from aligned pixels.

A camera's stops are nominal: shutters, apertures and gains are off by some percent, and every percent shows as a
ping-pong of brightness between the output's frames. Neighbouring frames are aligned, and where both are well exposed
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

from hdrvid.errors import ExposureError
from hdrvid.models.alignment import DenseInverseSearch
from hdrvid.radiance import gamma_encode
from hdrvid.types import ExposureCycle

WELL_EXPOSED = (0.02, 0.75)
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
"""Beyond this the stops are wrong, not a little off: `hdrvid.exposures.contradictions` says so."""
MAX_STOPS_APART = 3.3
"""Frames further apart share too narrow a band of levels: on H.264 a measurement at 4 stops was 0.09 off."""
MAX_SIDE = 960
"""Larger frames are averaged down to this, in pixels."""
_MOTION_TOLERANCE_PX = 1.0
_MIN_PAIRS = 3


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

    Stops are corrected where the measurement is certain and between MIN_CORRECTION and MAX_CORRECTION away; a
    correction that would bring two exposures of the cycle together is none.
    """
    aligner = DenseInverseSearch(2, candidates=False, search="short")
    n = len(cycle)
    comparable = [abs(cycle.stops_at(k) - cycle.stops_at(k + 1)) <= MAX_STOPS_APART for k in range(n)]
    # with a step missing, a scene that brightens cannot be told from the others: frames of equal exposure can
    lags = (1,) if all(comparable) else (1, n)
    rows: list[np.ndarray] = []
    ratios: list[float] = []
    before: deque[_Prepared] = deque(maxlen=max(lags))

    def ratio(j: int, i: int, later: _Prepared, earlier: _Prepared) -> float | None:
        exposures = (cycle.exposure_at(j), cycle.exposure_at(i), cycle.exposure_at(j))
        forward, backward = aligner.window((later.code, earlier.code, later.code), exposures)
        return _ratio(aligner, earlier, later, forward[0], backward[0])

    with ThreadPoolExecutor(2) as pool:  # a pair is measured while the next frame is prepared
        pairs: list[tuple[int, int, Future[float | None]]] = []
        for j, frame in enumerate(map(_prepared, linear_frames)):
            for lag in lags:
                if j >= lag and (lag > 1 or comparable[(j - 1) % n]):
                    pairs.append((j, j - lag, pool.submit(ratio, j, j - lag, frame, before[-lag])))
            before.append(frame)
        for j, i, measuring in pairs:
            stops = measuring.result()
            if stops is None:
                continue
            row = np.zeros(n + 1)
            row[j % n] += 1
            row[i % n] -= 1
            row[n] = j - i
            rows.append(row)
            ratios.append(stops)
    given = np.array(cycle.stops)
    if len(rows) < _MIN_PAIRS or np.linalg.matrix_rank(np.array(rows)) < n:
        return StopsMeasurement(
            cycle, False, float("inf"), "too few pixels are well exposed in two neighbouring frames"
        )
    design = np.vstack([np.array(rows), np.append(np.ones(n), 0.0)])  # the mean of the classes is nobody's business
    target = np.array([*ratios, 0.0])
    weight = np.ones(len(target))
    for _ in range(8):
        solution = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
        residual = target - design @ solution
        scale = max(1.48 * float(np.median(np.abs(residual[:-1]))), 0.01)
        weight = np.append(1 / np.sqrt(1 + (residual[:-1] / (2 * scale)) ** 2), 1.0)
    error = float(2 * scale / np.sqrt(len(rows)))
    measured = solution[:n] - solution[:n].min()
    change = np.abs(measured - (given - given.min())).max()
    # where a step is missing its ends are compared over the others, whose errors add up
    least = MIN_CORRECTION if all(comparable) else MIN_CORRECTION * (n - 1)
    if not max(least, CERTAINTY * error) <= change <= MAX_CORRECTION:
        return StopsMeasurement(cycle, False, error, "the exposures are as given as far as can be told")
    try:
        corrected = ExposureCycle(tuple(round(float(s), 3) for s in measured))
    except ExposureError as failure:
        return StopsMeasurement(cycle, False, error, str(failure))
    if sorted(range(n), key=lambda k: corrected.stops[k]) != sorted(range(n), key=lambda k: cycle.stops[k]):
        return StopsMeasurement(cycle, False, error, "the order of the exposures is not clear")
    return StopsMeasurement(corrected, True, error, f"aligned pixels are {corrected} stops apart, not {cycle}")


class _Prepared(NamedTuple):
    """A linear frame, averaged down to at most MAX_SIDE pixels."""

    grey: np.ndarray
    """(h, w) mean of the channels: codecs keep brightness far better than colour."""
    brightest: np.ndarray
    """(h, w) largest channel."""
    code: np.ndarray
    """(h, w, 3) network code."""


def _prepared(frame: np.ndarray) -> _Prepared:
    frame = np.asarray(frame, np.float32)
    shrink = -(-max(frame.shape[:2]) // MAX_SIDE)
    if shrink > 1:
        size = max(frame.shape[1] // shrink, 1), max(frame.shape[0] // shrink, 1)
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    red, green, blue = cv2.split(frame)
    return _Prepared((red + green + blue) / 3, cv2.max(cv2.max(red, green), blue), gamma_encode(frame))


def _ratio(
    aligner: DenseInverseSearch,
    a: _Prepared,
    b: _Prepared,
    flow: np.ndarray,
    flow_back: np.ndarray,
) -> float | None:
    """Stops of frame `b` above frame `a`; None where too little is good in both."""
    low, high = WELL_EXPOSED
    good = aligner.consistent(flow, flow_back, _MOTION_TOLERANCE_PX)
    blurred = []
    for grey, brightest in (a[:2], (aligner.moved(b.grey, flow), aligner.moved(b.brightest, flow))):
        # the mean of 5x5 pixels: noise is averaged before the logarithm, which would bend it
        blurred.append(cv2.blur(grey, (5, 5)))
        good &= (blurred[-1] > low) & (cv2.dilate(brightest, np.ones((5, 5))) < high)
    if good.mean() < MIN_SHARE:
        return None
    return float(np.median(np.log2(blurred[1][good] / blurred[0][good])))
