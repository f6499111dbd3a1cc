"""Previews: scene-linear frames to 8-bit sRGB, with an exposure that follows the scene but never a single frame.

A tone mapper has two parts. The key: the log-average luminance of the frame, of which the brightest and the darkest
pixels have no say, smoothed over about a second. It sets how bright the picture is. And a fixed curve of luminance:
nothing else in it depends on the frame, so that a lamp that comes on does not darken the rest of the picture. The
curve is applied to luminance and the colour follows in proportion, which keeps the hue; towards white the colour
fades, as on film, or a lamp would turn into a flat patch of pure colour.

Convention:
    pixels      (H, W, 3) float32, scene-linear Rec. 709, 1.0 = clipping of the LONGEST exposure.
    returned    (H, W, 3) uint8, sRGB-coded (IEC 61966-2-1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np

from hdrvid.errors import InputError, UsageError
from hdrvid.radiance import luminance, mu_law, srgb_encode

OPERATORS: tuple[str, ...] = ("reinhard", "filmic", "mulaw")
"""reinhard: Reinhard et al. 2002 with a white point. filmic: Hable 2010, more contrast. mulaw: the curve that papers on
HDR video show and measure in, mu = 5000, a channel at a time and without a key."""

MIDDLE_GREY = 0.18
"""Scene luminance that is left alone by the key."""

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

_ROWS_AT_ONCE = 64
_HALF_MAX = 65504.0


def reinhard_curve(x: np.ndarray, white: float) -> np.ndarray:
    """x (1 + x / white^2) / (1 + x), equation 4 of Reinhard et al. 2002; `white` and above map to 1."""
    return np.clip(x * (1 + x / (white * white)) / (1 + x), 0.0, 1.0)


def filmic_curve(x: np.ndarray, white: float) -> np.ndarray:
    """The Uncharted 2 curve (Hable, "Filmic Tonemapping for Real-time Rendering", 2010); `white` maps to 1."""

    def hable(v: np.ndarray | float) -> np.ndarray | float:
        a, b, c, d, e, f = 0.15, 0.50, 0.10, 0.20, 0.02, 0.30
        return (v * (a * v + c * b) + d * e) / (v * (a * v + b) + d * f) - e / f

    return np.clip(hable(x) / hable(white), 0.0, 1.0)


_CURVES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], float, float]] = {
    # curve, exposure before it that keeps middle grey about where it was, least white point
    "reinhard": (reinhard_curve, 1.7, 4.0),
    "filmic": (filmic_curve, 3.6, 11.2),
}


def _half_values() -> np.ndarray:
    """The value of every non-negative finite half float, in the order of its bits, as float64."""
    return np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)


def _half_index(plane: np.ndarray) -> np.ndarray:
    """Index into a table over `_half_values` of a plane of values 0..65504."""
    return plane.astype(np.float16).view(np.uint16)


class Tonemapper:
    """Tone maps the frames of one clip, in order: the key remembers the frames before.

    Deterministic: the same frames in the same order give the same pictures.
    """

    def __init__(self, operator: str = "reinhard", *, max_value: float = 8.0, frames_per_second: float = 24.0) -> None:
        """`max_value` is the largest value the frames can hold, the ratio of the longest to the shortest exposure: it
        becomes white. Raises UsageError for an unknown operator or numbers that are not positive.
        """
        if operator not in OPERATORS:
            raise UsageError(f"there is no tone mapping '{operator}': give one of {', '.join(OPERATORS)}")
        for name, value in (("max_value", max_value), ("frames_per_second", frames_per_second)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be a positive number, not {value}")
        self.operator = operator
        self.max_value = float(max_value)
        self._follow = 1 - math.exp(-1 / (TIME_CONSTANT_SECONDS * float(frames_per_second)))
        self._log_key: float | None = None
        values = _half_values()
        self._srgb = np.round(255 * srgb_encode(values)).astype(np.uint8)
        self._mulaw = np.round(255 * np.clip(mu_law(values / self.max_value), 0.0, 1.0)).astype(np.uint8)
        self._values = values

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
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise InputError(f"a frame to be tone mapped has shape (height, width, 3), not {pixels.shape}")
        frame = np.ascontiguousarray(pixels, np.float32)
        if not cv2.checkRange(frame, quiet=True)[0]:
            frame = np.nan_to_num(frame, nan=0.0, posinf=_HALF_MAX, neginf=0.0)
        if self.operator == "mulaw":
            return self._per_channel(frame)
        self._update_key(frame)
        return self._by_luminance(frame)

    def _update_key(self, frame: np.ndarray) -> None:
        step = max(1, round(math.sqrt(frame.shape[0] * frame.shape[1] / 40_000)))
        values = luminance(frame[::step, ::step].astype(np.float64)).ravel()
        # black bars and fades say nothing about how bright the scene is
        logs = np.sort(np.log2(values[values > 1e-4]))
        if len(logs) < 0.02 * len(values):
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
        for top in range(0, len(frame), _ROWS_AT_ONCE):
            rows = np.clip(frame[top : top + _ROWS_AT_ONCE], 0.0, _HALF_MAX)
            out[top : top + _ROWS_AT_ONCE] = self._mulaw[_half_index(rows)]
        return out

    def _by_luminance(self, frame: np.ndarray) -> np.ndarray:
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
        for top in range(0, len(frame), _ROWS_AT_ONCE):
            planes = cv2.split(np.clip(frame[top : top + _ROWS_AT_ONCE], 0.0, _HALF_MAX))
            red, green, blue = planes
            index = _half_index(0.2126 * red + 0.7152 * green + 0.0722 * blue)
            grey, scale, keep = target[index], factor[index], colour[index]
            # a colour that no display can show at this luminance fades as far as it must
            excess = cv2.max(cv2.max(red, green), blue) * scale - grey
            keep = np.minimum(keep, (1 - grey) / np.maximum(excess, 1e-6))
            scale *= keep
            grey *= 1 - keep
            for k, plane in enumerate(planes):
                value = np.clip(plane * scale + grey, 0.0, 1.0)
                out[top : top + _ROWS_AT_ONCE, :, k] = self._srgb[_half_index(value)]
        return out
