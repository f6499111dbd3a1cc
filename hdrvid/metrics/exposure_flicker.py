"""Flicker between exposures: how much brighter results of one exposure are than those of another.

The output of an alternating clip must not show how a frame was shot. Where exposures or the response are wrong, or a
merge believes what it should not, odd and even frames differ, and playback flickers.

Convention:
    level       log2 of luminance, 0 where the longest exposure clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from hdrvid.color.half import from_half
from hdrvid.color.radiance import luminance

LEVEL_WIDTH_PX = 240
"""Frames are averaged down to this width before their brightness is measured: noise and motion of pixels go."""
DARKEST_LEVEL = -12.0
"""Luminance below this counts as this in the mean of a frame."""
STEADY_LEVEL = -8.0
"""Pixels darker than this are left out: noise."""
STEADY_STOPS = 0.1
"""Pixels whose two neighbours in time differ by more than this, beyond what the whole frame does, are left out."""
MIN_STEADY_SHARE = 0.05
"""A frame with fewer pixels left than this share is not measured: a cut, or everything moves fast."""
MAX_STEP_STOPS = 2.0
"""Differences of single pixels count as no more than this."""

VISIBLE_FLICKER_STOPS = 0.1
"""Flicker above this is worth a warning."""

EXPOSURE_CLASSES = ("short", "middle", "long")


@dataclass(frozen=True)
class FrameBrightness:
    """Exposure and brightness of one result."""

    index: int
    """Input frame."""
    stops: float
    """Exposure it was shot with."""
    exposure: str
    """'short', 'middle' or 'long'."""
    mean_level: float
    """Mean over pixels of the level."""
    step_stops: float | None = None
    """How much brighter it is than the mean of its neighbours in time, see `step_from_neighbours`."""


def frame_levels(luminance_rel: np.ndarray) -> np.ndarray:
    """Level of luminance (H, W), averaged to at most LEVEL_WIDTH_PX columns; 0 and NaN are DARKEST_LEVEL."""
    small = shrunk(np.nan_to_num(np.asarray(luminance_rel, np.float32), posinf=2.0**16))
    return np.log2(np.maximum(small, np.float32(2.0**DARKEST_LEVEL)))


def shrunk(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3), averaged to at most LEVEL_WIDTH_PX columns."""
    height, width = pixels.shape[:2]
    if width <= LEVEL_WIDTH_PX:
        return pixels
    rows = max(1, round(height * LEVEL_WIDTH_PX / width))
    return np.asarray(cv2.resize(pixels, (LEVEL_WIDTH_PX, rows), interpolation=cv2.INTER_AREA))


def step_from_neighbours(before: np.ndarray, frame: np.ndarray, after: np.ndarray) -> float | None:
    """Mean of frame - (before + after) / 2 over the steady pixels, in stops; all are levels (H, W).

    Steady: both neighbours are above STEADY_LEVEL, and their difference is within STEADY_STOPS of its median over the
    frame, which is what a fade does to all pixels. None where fewer than MIN_STEADY_SHARE are.

    >>> dim = np.zeros((4, 4))
    >>> step_from_neighbours(dim, dim + 0.25, dim)
    0.25
    """
    bright = (before > STEADY_LEVEL) & (after > STEADY_LEVEL)
    if bright.mean() < MIN_STEADY_SHARE:
        return None
    change = after - before
    steady = bright & (np.abs(change - np.median(change[bright])) <= STEADY_STOPS)
    if steady.mean() < MIN_STEADY_SHARE:
        return None
    step = (frame - (before + after) / 2)[steady]
    return float(np.clip(step, -MAX_STEP_STOPS, MAX_STEP_STOPS).mean(dtype=np.float64))


def brightness_by_exposure(frames: Sequence[FrameBrightness], num_exposures: int) -> dict[str, float]:
    """How much brighter than the mean of all exposures the results of each one are, in stops; {} where not known.

    The neighbours of a frame are the n - 1 other exposures, so that its step is o + o / (n - 1) where its exposure is
    brighter by o: o is (n - 1) / n of the mean step. Frames beside a missing one, or with a neighbour of their own
    exposure, are left out.
    """
    by_index = {f.index: f for f in frames}
    steps: dict[str, list[float]] = {}
    for f in frames:
        window = [by_index.get(f.index + k) for k in (-1, 0, 1)]
        present = {w.exposure for w in window if w is not None}
        others = [w.exposure for w in (window[0], window[2]) if w is not None]
        if f.step_stops is not None and len(present) == num_exposures and f.exposure not in others:
            steps.setdefault(f.exposure, []).append(f.step_stops)
    if len(steps) < num_exposures:
        return _fitted_brightness(frames, num_exposures)
    offsets = {
        c: float(np.mean(steps[c])) * (num_exposures - 1) / num_exposures for c in EXPOSURE_CLASSES if c in steps
    }
    mean = sum(offsets.values()) / len(offsets)
    return {c: o - mean for c, o in offsets.items()}


def _fitted_brightness(frames: Sequence[FrameBrightness], num_exposures: int) -> dict[str, float]:
    """`brightness_by_exposure` of clips in which frames of one exposure have different neighbours: least squares over
    all steps, each the offset of its exposure less the mean of those of its neighbours."""
    by_index = {f.index: f for f in frames}
    classes = [c for c in EXPOSURE_CLASSES if any(f.exposure == c for f in frames)]
    rows, steps = [], []
    for f in frames:
        before, after = by_index.get(f.index - 1), by_index.get(f.index + 1)
        if f.step_stops is None or before is None or after is None:
            continue
        row = [float(c == f.exposure) - 0.5 * ((c == before.exposure) + (c == after.exposure)) for c in classes]
        rows.append(row)
        steps.append(f.step_stops)
    # only differences of offsets are measured
    if len(classes) < num_exposures or not rows or np.linalg.matrix_rank(np.array(rows)) < len(classes) - 1:
        return {}
    solution = np.linalg.lstsq(np.array(rows), np.array(steps), rcond=None)[0]
    return {c: float(o) for c, o in zip(classes, solution - solution.mean(), strict=True)}


def flicker_stops(frames: Sequence[FrameBrightness], num_exposures: int) -> float | None:
    """Brightness of the results of the brightest exposure over that of the darkest, in stops, None where not known.

    0: the brightness does not show how a frame was shot; with two exposures it is the
    difference between odd and even frames. See `brightness_by_exposure`.
    """
    offsets = brightness_by_exposure(frames, num_exposures)
    return max(offsets.values()) - min(offsets.values()) if offsets else None


class FlickerMeter:
    """Measures frames that come in order; keeps two small pictures and a few numbers a frame."""

    def __init__(self, white: float) -> None:
        """`white`: file value at which the longest exposure clips."""
        self._white = white
        self._levels: dict[int, np.ndarray] = {}
        self.frames: list[FrameBrightness] = []
        """What was measured, in order."""

    def add(self, index: int, stops: float, exposure: str, file_values: np.ndarray) -> None:
        """The next result, (H, W, 3) linear; `stops` and `exposure` ('short', ...) are those of the input frame."""
        step = max(1, file_values.shape[1] // (8 * LEVEL_WIDTH_PX))
        pixels = file_values[::step, ::step]
        pixels = from_half(pixels) if pixels.dtype == np.float16 else np.asarray(pixels, np.float32)
        small = shrunk(pixels)  # before the luminance: a fraction of the work, the same mean
        if not np.isfinite(small).all():
            small = shrunk(np.nan_to_num(pixels, posinf=2.0**16))
        level = frame_levels(luminance(small) / np.float32(self._white))
        self._levels = {i: v for i, v in self._levels.items() if i >= index - 2} | {index: level}
        self.frames.append(FrameBrightness(index, stops, exposure, float(level.mean(dtype=np.float64))))
        window = [self._levels.get(index - k) for k in (2, 1, 0)]
        if len(self.frames) > 1 and all(w is not None and w.shape == level.shape for w in window):
            before, frame, after = (w for w in window if w is not None)
            self.frames[-2] = replace(self.frames[-2], step_stops=step_from_neighbours(before, frame, after))


def join_steps(
    frames: Sequence[FrameBrightness], starts: Sequence[int], white: float, read: Callable[[int], np.ndarray]
) -> list[FrameBrightness]:
    """Frames that several meters measured, with the steps beside each of `starts`, where a further one began.

    `read` gives the file values of a frame.
    """
    by_index = {f.index: f for f in frames}
    for index in (i for start in starts for i in (start - 1, start)):
        around = [index + k for k in (-1, 0, 1)]
        if all(i in by_index for i in around):
            meter = FlickerMeter(white)
            for i in around:
                meter.add(i, by_index[i].stops, by_index[i].exposure, read(i))
            by_index[index] = meter.frames[1]
    return list(by_index.values())


def flicker_warning(frames: Sequence[FrameBrightness], num_exposures: int) -> str | None:
    """A sentence where the results flicker visibly, else None."""
    stops = flicker_stops(frames, num_exposures)
    if stops is None or stops <= VISIBLE_FLICKER_STOPS:
        return None
    offsets = brightness_by_exposure(frames, num_exposures)
    brightest, darkest = max(offsets, key=lambda c: offsets[c]), min(offsets, key=lambda c: offsets[c])
    return (
        f"the results flicker: those of the {brightest} exposure are {stops:.2f} stops brighter than those of the "
        f"{darkest} one; check --exposures and --response (hdrvid info CLIP shows both)"
    )
