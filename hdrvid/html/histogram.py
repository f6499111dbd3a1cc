"""Range of luminance: of the results, and of the frames as shot.

Convention:
    level       log2 of luminance, in stops; 0 is where the LONGEST exposure clips.
    luminance   of linear Rec. 709.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hdrvid.color.curves import gamma_linearize
from hdrvid.color.radiance import luminance
from hdrvid.color.response import RESPONSES, Response
from hdrvid.html.clip_results import ClipResults
from hdrvid.html.original_clip import OriginalClip
from hdrvid.metrics.exposure_flicker import DARKEST_LEVEL, EXPOSURE_CLASSES, FrameBrightness

CLIPPED_CODE = 0.98
"""A pixel with a channel above this is clipped."""
DARK_CODE = 0.05
"""Codes less than this above black are noise and rounding."""
RANGE_PERCENTILES = (0.1, 99.9)
"""The range of luminance of a picture lies between these."""
HISTOGRAM_STEP = 0.25
"""Stops a bin."""
SAMPLED_PIXELS = 200_000
"""Pixels of a frame in the histogram, on a regular grid."""


class Histogram:
    """Pixels by level, HISTOGRAM_STEP stops a bin from 2 stops below DARKEST_LEVEL to 16."""

    LOW, HIGH = DARKEST_LEVEL - 2, 16.0
    """Lower edge of the first bin and upper edge of the last, stops."""
    _BINS_PER_STOP = 32
    """Bins that are counted: percentiles are good to 1/32 stop."""

    def __init__(self) -> None:
        self._counts = np.zeros(round((self.HIGH - self.LOW) * self._BINS_PER_STOP), np.int64)
        self.total = 0
        """Pixels added, those outside the bins and those left out too."""

    def add(self, luminance_rel: np.ndarray, keep: np.ndarray | None = None) -> None:
        """Add pixels of any shape, 1.0 at level 0; those where `keep` is False only count towards the total."""
        self.total += luminance_rel.size
        values = luminance_rel[keep] if keep is not None else luminance_rel
        values = np.minimum(values[values > 2.0**self.LOW], 2.0**self.HIGH)
        index = ((np.log2(values.astype(np.float64)) - self.LOW) * self._BINS_PER_STOP).astype(np.intp)
        self._counts += np.bincount(np.clip(index, 0, len(self._counts) - 1), minlength=len(self._counts))

    def merge(self, other: Histogram) -> None:
        """Add the pixels of another histogram."""
        self.total += other.total
        self._counts += other._counts

    @property
    def kept_share(self) -> float:
        """Share of the pixels that are in the histogram, 0 to 1."""
        return float(self._counts.sum() / self.total) if self.total else 0.0

    @property
    def shares(self) -> np.ndarray:
        """Share of all pixels in each bin of HISTOGRAM_STEP, (bins,) 0 to 1."""
        return self._counts.reshape(-1, round(self._BINS_PER_STOP * HISTOGRAM_STEP)).sum(-1) / max(self.total, 1)

    @property
    def edges(self) -> np.ndarray:
        """Levels between the bins of HISTOGRAM_STEP, (bins + 1,)."""
        return np.arange(self.LOW, self.HIGH + HISTOGRAM_STEP / 2, HISTOGRAM_STEP)

    def limits(self) -> tuple[float, float] | None:
        """Levels at RANGE_PERCENTILES, None where there are no pixels."""
        cumulated = np.cumsum(self._counts)
        if cumulated[-1] == 0:
            return None
        counts = np.array(RANGE_PERCENTILES) / 100 * cumulated[-1]
        low, high = (np.searchsorted(cumulated, counts) + 0.5) / self._BINS_PER_STOP + self.LOW
        return float(low), float(high)

    @property
    def range_stops(self) -> float:
        """Stops between the limits, 0 where there are no pixels."""
        limits = self.limits()
        return limits[1] - limits[0] if limits else 0.0


@dataclass(frozen=True)
class FrameHistograms:
    """Histograms of one frame, of the pixels that `ClipHistograms` counts."""

    result: Histogram
    """Of the result."""
    shot: Histogram | None
    """Of the frame as shot; None where it cannot be read."""


class ClipHistograms:
    """Histogram of the results of a clip, and one of the frames as shot for every exposure."""

    def __init__(self) -> None:
        self.results = Histogram()
        """Pixels of the results that are not dark even in the longest exposure."""
        self._inputs = {c: Histogram() for c in EXPOSURE_CLASSES}

    @property
    def inputs(self) -> dict[str, Histogram]:
        """Pixels as shot that are neither clipped nor dark, by exposure; exposures without frames are left out."""
        return {c: h for c, h in self._inputs.items() if h.total}

    @property
    def gained_stops(self) -> float:
        """Range of the results beyond that of the best exposure, stops, at least 0."""
        return max(self.results.range_stops - max((h.range_stops for h in self.inputs.values()), default=0.0), 0.0)

    def add(
        self, clip: ClipResults, original: OriginalClip, frame: FrameBrightness, pixels: np.ndarray
    ) -> FrameHistograms:
        """Add a result, (H, W, 3) file values, and the frame that it was made for where it can be read.

        Returns the histograms of this frame alone.
        """
        step = max(1, math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLED_PIXELS)))
        darkest = darkest_linear(original.response or RESPONSES["gamma2.2"])
        light = luminance(pixels[::step, ::step]) / clip.white
        result = Histogram()
        result.add(light, light >= darkest)
        self.results.merge(result)
        code = original.frame(frame.index)
        if code is None or original.response is None:
            return FrameHistograms(result, None)
        code = np.ascontiguousarray(code[::step, ::step])
        linear = luminance(original.in_output_colours(np.asarray(original.response.linearize(code), np.float64)))
        kept = (code.max(-1) <= CLIPPED_CODE) & (linear >= darkest)
        shot = Histogram()
        shot.add(linear * clip.exposures.max_exposure / 2.0**frame.stops, kept)
        self._inputs[frame.exposure].merge(shot)
        return FrameHistograms(result, shot)


def darkest_linear(response: Response) -> float:
    """Linear value, of 1.0 where a frame clips, below which its pixels are noise: DARK_CODE above black."""
    if response.name.partition("@")[0] == "linear":  # '@' precedes a measured black and white
        return float(gamma_linearize(np.array(DARK_CODE)))
    black = np.asarray(response.encode(np.zeros(3)), np.float64)
    return float(np.mean(response.linearize(black + DARK_CODE)))
