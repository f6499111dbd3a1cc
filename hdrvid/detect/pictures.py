"""Small pictures of frames, and how their exposures are compared: by equal quantiles, which motion does not move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from hdrvid.color.curves import gamma_encode

SIDE_PX = 96
"""Frames are averaged down to this width: motion of a few pixels and noise go."""
CLIPPED = 0.9
"""Share of clipped or black samples above which a frame says nothing about its exposure."""

BLACK_LINEAR = 0.006
"""Levels below this are noise, which brightens a short exposure."""

_QUANTILES = np.linspace(0.02, 0.98, 49)


@dataclass(frozen=True, eq=False)
class SmallPicture:
    """A frame, reduced to what shows its exposure."""

    index: int
    """0-based position of the frame in the clip."""
    picture: np.ndarray
    """(h, w, 3) linear, averaged down."""
    quantiles: np.ndarray
    """(49,) of the largest channel, linear."""
    pattern: np.ndarray
    """(h, w) code of the largest channel, blurred, of mean 0 and norm 1."""
    mute: bool
    """Black or white nearly everywhere."""


def small_picture(index: int, linear: np.ndarray) -> SmallPicture:
    """Reduce frame `index`, (H, W, 3) linear, 1.0 = clipping, of any size."""
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
    return SmallPicture(index, picture, np.quantile(level, _QUANTILES), pattern, mute)


def quantile_difference(frame: SmallPicture, other: SmallPicture, stops: float) -> float:
    """Mean difference, in code at the longer exposure, if `frame` is `stops` above `other`."""
    return difference_of_quantiles(frame.quantiles, other.quantiles, stops)


def difference_of_quantiles(quantiles: np.ndarray, others: np.ndarray, stops: float) -> float:
    """The same of linear quantiles, both (N,)."""
    return float(np.abs(_excess(quantiles, others, stops)).mean())


def visible_difference(frame: SmallPicture, other: SmallPicture, stops: float) -> float:
    """As `quantile_difference`, of the levels that are above the noise in both frames."""
    black = BLACK_LINEAR * 2.0 ** abs(stops)
    up, down = 2.0 ** max(-stops, 0.0), 2.0 ** max(stops, 0.0)
    levels = [np.maximum(q, black) for q in (frame.quantiles * up, other.quantiles * down)]
    return float(np.abs(gamma_encode(levels[0]) - gamma_encode(levels[1])).mean())


def unclipped_difference(frame: SmallPicture, other: SmallPicture, stops: float) -> float:
    """As `quantile_difference`, of the levels that are not clipped in both frames; 0 where all are."""
    excess, shown = _excess(frame.quantiles, other.quantiles, stops), _unclipped(frame, other, stops)
    return float(np.abs(excess[shown]).mean()) if shown.any() else 0.0


def _unclipped(frame: SmallPicture, other: SmallPicture, stops: float) -> np.ndarray:
    up, down = 2.0 ** max(-stops, 0.0), 2.0 ** max(stops, 0.0)
    return np.asarray((frame.quantiles * up < 1) | (other.quantiles * down < 1))


def brightness_difference(frame: SmallPicture, other: SmallPicture, stops: float) -> float:
    """As `quantile_difference`, with its sign: above 0 where `frame` is too bright for `stops` above `other`."""
    return float(_excess(frame.quantiles, other.quantiles, stops).mean())


def _excess(quantiles: np.ndarray, others: np.ndarray, stops: float) -> np.ndarray:
    up, down = 2.0 ** max(-stops, 0.0), 2.0 ** max(stops, 0.0)
    return np.asarray(gamma_encode(quantiles * up) - gamma_encode(others * down))


def resemblance(frame: SmallPicture, others: Iterable[SmallPicture]) -> float:
    """Correlation in place, -1..1, with the picture that resembles this one most; the exposure hardly matters.

    Raises ValueError where there are no others.
    """
    return max(float((frame.pattern * other.pattern).sum()) for other in others)


def difference(frame: SmallPicture, other: SmallPicture) -> float:
    """Mean difference in place, in code, of two frames of one exposure."""
    return float(np.abs(gamma_encode(frame.picture) - gamma_encode(other.picture)).mean())
