"""Previews: scene-linear frames to 8-bit sRGB, with an exposure that follows the scene but never a single frame.

A tone mapper has two parts. The key: the log-average luminance of the frame, of which the brightest and the darkest
pixels have no say, smoothed over about a second. It sets how bright the picture is. And a fixed curve: nothing else in
it depends on the frame, so that a lamp that comes on does not darken the rest of the picture. The `mantiuk` curve has
no key, it follows the histogram of the scene in the same slow way.

`neutral`, the default, is described in `color/neutral.py`. The curves of reinhard, drago, mantiuk and filmic are
applied to luminance and the colour follows in proportion; in the upper half of the display's range it fades to white.

Convention:
    pixels      (H, W, 3) float32, scene-linear Rec. 709, 1.0 = clipping of the LONGEST exposure.
    returned    (H, W, 3) uint8, sRGB-coded (IEC 61966-2-1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from hdrvid.color.constants import LUMINANCE_BT709
from hdrvid.color.half import HALF_MAX
from hdrvid.color.half_tables import finite_frame, half_index, half_values, row_blocks, srgb_codes
from hdrvid.color.neutral import MIDDLE_GREY, show_rows, tables
from hdrvid.color.radiance import luminance, mu_law
from hdrvid.errors import UsageError

OPERATORS: tuple[str, ...] = ("neutral", "reinhard", "drago", "mantiuk", "filmic", "mulaw")
"""neutral: after Khronos PBR Neutral, keeps hue and saturation of what is well exposed. reinhard: Reinhard et al.
2002 with a white point. drago: Drago et al. 2003, logarithmic, keeps the most of very bright parts. mantiuk: after
Mantiuk et al. 2008, spends contrast where the picture has pixels. filmic: Hable 2010, more contrast. mulaw: the curve
that papers on HDR video show and measure in, mu = 5000, a channel at a time and without a key."""

ADAPTATION = 0.6
"""Share of a change of the scene's brightness, in stops, that the key takes back: night still looks like night."""

TIME_CONSTANT_SECONDS = 1.0
"""Time in which the key follows 63 % of a change."""

DEAD_ZONE_STOPS = 0.15
"""Changes smaller than this leave the key where it is: a lamp or the noise of every other frame moves nothing."""

KEY_TRIM = 0.1
"""Share of pixels at either end that the key ignores."""

MAX_GAIN = 16.0
"""The key brightens and darkens by no more than this."""

DRAGO_BIAS = 0.85
"""How fast the logarithm's base rises with luminance; the value the authors recommend."""


def reinhard_curve(x: np.ndarray, white: float) -> np.ndarray:
    """x (1 + x / white^2) / (1 + x), equation 4 of Reinhard et al. 2002; `white` and above map to 1."""
    return np.clip(x * (1 + x / (white * white)) / (1 + x), 0.0, 1.0)


def filmic_curve(x: np.ndarray, white: float) -> np.ndarray:
    """The Uncharted 2 curve (Hable, "Filmic Tonemapping for Real-time Rendering", 2010); `white` maps to 1."""

    def hable(v: np.ndarray | float) -> np.ndarray | float:
        a, b, c, d, e, f = 0.15, 0.50, 0.10, 0.20, 0.02, 0.30
        return (v * (a * v + c * b) + d * e) / (v * (a * v + b) + d * f) - e / f

    return np.clip(hable(x) / hable(white), 0.0, 1.0)


def drago_curve(x: np.ndarray, white: float) -> np.ndarray:
    """log10(1 + x) / log10(1 + white) / log10(2 + 8 (x / white)^(log b / log 0.5)), b = 0.85; `white` maps to 1.

    Equation 4 of Drago et al., Adaptive Logarithmic Mapping for Displaying High Contrast Scenes, 2003, for a display
    whose white is 1. The base of the logarithm rises from 2 in the dark to 10 at `white`.
    """
    ratio = np.clip(x / white, 0.0, 1.0)
    base = np.log10(2 + 8 * ratio ** (math.log(DRAGO_BIAS) / math.log(0.5)))
    return np.clip(np.log1p(x) / math.log1p(white) / base, 0.0, 1.0)


_CURVES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float, float]] = {
    # curve, exposure before it that keeps middle grey about where it was, least white point
    "reinhard": (reinhard_curve, 1.7, 4.0),
    "filmic": (filmic_curve, 3.6, 11.2),
    "drago": (drago_curve, 5.0, 20.0),
}


class HistogramCurve:
    """A tone curve that spends the display's contrast on the luminances a scene has, and follows the scene slowly.

    After Mantiuk, Daly and Kerofsky, Display Adaptive Tone Mapping, 2008: piecewise linear from log luminance to log
    display luminance, the slopes s_k minimise the squared loss of contrast sum p_k (1 - s_k)^2 over the histogram p
    while sum s_k fills the display's range, and the curve is filtered over time. The visual model is left out, so
    that the minimum has the closed form s_k = 1 - lambda / p_k of Eilertsen et al., Real-time Noise-aware Tone
    Mapping, 2015. No contrast is raised (s_k <= 1) and none vanishes (s_k >= 0.05). The histogram is blurred by a
    stop and mixed with a broad one around middle grey, which keeps night dark and flat scenes flat.
    """

    SCENE_STOPS = 20.0
    """Range of the curve below white; darker still it goes on with slope 1."""
    DISPLAY_STOPS = 7.5
    """Range of the display that the curve fills."""
    BIN_STOPS = 0.5
    MIN_SLOPE = 0.05
    PRIOR = 0.2
    """Share of the broad histogram."""
    PRIOR_STOPS = 2.0
    """Its standard deviation."""
    DEAD_ZONE = 0.1
    """Share of the pixels that may change their luminance before the curve moves."""

    def __init__(self, white: float, follow: float) -> None:
        """`white` is the luminance that becomes 1; `follow` the share of a change that one frame brings."""
        self._follow = follow
        self._edges = math.log2(white) + np.arange(-self.SCENE_STOPS, self.BIN_STOPS / 2, self.BIN_STOPS)
        self._centres = self._edges[:-1] + self.BIN_STOPS / 2
        prior = np.exp(-0.5 * ((self._centres - math.log2(MIDDLE_GREY)) / self.PRIOR_STOPS) ** 2)
        self._prior = prior / prior.sum()
        distance = self._centres[:, None] - self._centres[None, :]
        self._blur = np.exp(-0.5 * distance**2)
        self._blur /= self._blur.sum(axis=0)
        self._histogram: np.ndarray | None = None

    def update(self, log_luminance: np.ndarray) -> None:
        """Take the next frame into account: log2 luminance of a sample of its pixels, not empty."""
        index = np.clip((log_luminance - self._edges[0]) / self.BIN_STOPS, 0, len(self._centres) - 1).astype(np.intp)
        shares = self._blur @ (np.bincount(index, minlength=len(self._centres)) / len(index))
        if self._histogram is None:
            self._histogram = shares
            return
        change = shares - self._histogram
        moved = 0.5 * float(np.abs(change).sum())
        if moved > self.DEAD_ZONE:
            self._histogram = self._histogram + self._follow * (1 - self.DEAD_ZONE / moved) * change

    @property
    def slopes(self) -> np.ndarray:
        """(N,) slope of every half stop from the darkest on, each 0.05 to 1; they add up to the display's range."""
        share = self._prior if self._histogram is None else self._histogram
        weight = (1 - self.PRIOR) * share + self.PRIOR * self._prior + 1e-6
        total = self.DISPLAY_STOPS / self.BIN_STOPS
        low, high = 0.0, float(weight.max())
        for _ in range(60):
            middle = 0.5 * (low + high)
            if np.clip(1 - middle / weight, self.MIN_SLOPE, 1.0).sum() > total:
                low = middle
            else:
                high = middle
        return np.clip(1 - high / weight, self.MIN_SLOPE, 1.0)

    def __call__(self, luminance_: np.ndarray) -> np.ndarray:
        """Scene luminance, not negative, to display luminance 0..1."""
        steps = self.BIN_STOPS * self.slopes
        levels = np.concatenate([[0.0], np.cumsum(steps)]) - steps.sum()
        logs = np.log2(np.maximum(luminance_, 1e-30))
        display = np.interp(logs, self._edges, levels) + np.minimum(logs - self._edges[0], 0.0)
        return np.where(luminance_ > 0, np.exp2(display), 0.0)


class Tonemapper:
    """Tone maps the frames of one clip, in order: the key remembers the frames before.

    Deterministic: the same frames in the same order give the same pictures.
    """

    def __init__(
        self,
        operator: str = "neutral",
        *,
        max_value: float = 8.0,
        frames_per_second: float = 24.0,
        show: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = show_rows,
    ) -> None:
        """`max_value` is the largest value the frames can hold, the ratio of the longest to the shortest exposure: it
        becomes white. `show`: how `neutral` shows a frame. Raises UsageError for an unknown operator or numbers that
        are not positive.
        """
        if operator not in OPERATORS:
            raise UsageError(f"there is no tone mapping '{operator}': give one of {', '.join(OPERATORS)}")
        for name, value in (("max_value", max_value), ("frames_per_second", frames_per_second)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be a positive number, not {value}")
        self.operator = operator
        self.max_value = float(max_value)
        self._show = show
        self._follow = 1 - math.exp(-1 / (TIME_CONSTANT_SECONDS * float(frames_per_second)))
        self._log_key: float | None = None
        self._histogram_curve = HistogramCurve(self.max_value, self._follow) if operator == "mantiuk" else None
        self._values = half_values()
        self._mulaw = np.round(255 * np.clip(mu_law(self._values / self.max_value), 0.0, 1.0)).astype(np.uint8)

    @property
    def gain(self) -> float:
        """Exposure that the key gives the picture at present, a linear factor; 1 before the first frame."""
        if self._log_key is None:
            return 1.0
        stops = ADAPTATION * (math.log2(MIDDLE_GREY) - self._log_key)
        return float(np.clip(2.0**stops, 1 / MAX_GAIN, MAX_GAIN))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The next frame, (H, W, 3) scene-linear to (H, W, 3) uint8.

        Negative values and NaN are black, infinite ones white. Raises InputError where the shape is not (H, W, 3).
        """
        frame = finite_frame(pixels)
        if self.operator == "mulaw":
            return self._per_channel(frame)
        self._adapt(frame)
        if self.operator == "neutral":
            return self._show(frame, *tables(self.max_value, self.gain))
        return self._by_luminance(frame)

    def _adapt(self, frame: np.ndarray) -> None:
        step = max(1, round(math.sqrt(frame.shape[0] * frame.shape[1] / 40_000)))
        values = luminance(frame[::step, ::step].astype(np.float64)).ravel()
        # black bars and fades say nothing about how bright the scene is
        logs = np.sort(np.log2(values[values > 1e-4]))
        if len(logs) < 0.02 * len(values):
            return
        if self._histogram_curve is not None:
            self._histogram_curve.update(logs)
            return
        trim = int(KEY_TRIM * len(logs))
        log_key = float(np.mean(logs[trim : len(logs) - trim]))
        if self._log_key is None:
            self._log_key = log_key
            return
        change = log_key - self._log_key
        beyond = math.copysign(max(abs(change) - DEAD_ZONE_STOPS, 0.0), change)
        self._log_key += self._follow * beyond

    def _per_channel(self, frame: np.ndarray) -> np.ndarray:
        out = np.empty(frame.shape, np.uint8)
        for rows in row_blocks(frame):
            out[rows] = self._mulaw.take(half_index(np.clip(frame[rows], 0.0, HALF_MAX)))
        return out

    def _by_luminance(self, frame: np.ndarray) -> np.ndarray:
        if self._histogram_curve is not None:
            toned = self._histogram_curve(self._values)
        else:
            curve, exposure, least_white = _CURVES[self.operator]
            exposure *= self.gain
            toned = curve(self._values * exposure, max(least_white, self.max_value * exposure))
        target = toned.astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(self._values > 0, toned / self._values, 0.0)
        factor[0] = factor[1]
        factor = factor.astype(np.float32)
        # full colour up to half of white, none at white
        fade = np.clip((toned - 0.5) / 0.5, 0.0, 1.0)
        colour = (1 - fade * fade * (3 - 2 * fade)).astype(np.float32)

        out = np.empty(frame.shape, np.uint8)
        weights = LUMINANCE_BT709
        for rows in row_blocks(frame):
            planes = cv2.split(np.clip(frame[rows], 0.0, HALF_MAX))
            red, green, blue = planes
            index = half_index(weights[0] * red + weights[1] * green + weights[2] * blue)
            grey, scale, keep = target.take(index), factor.take(index), colour.take(index)
            # a colour that no display can show at this luminance fades as far as it must
            excess = cv2.max(cv2.max(red, green), blue) * scale - grey
            keep = np.minimum(keep, (1 - grey) / np.maximum(excess, 1e-6))
            scale *= keep
            grey *= 1 - keep
            shown = [srgb_codes().take(half_index(np.clip(plane * scale + grey, 0.0, 1.0))) for plane in planes]
            cv2.merge(shown, out[rows])
        return out
