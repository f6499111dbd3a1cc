"""Scene-linear frames inside the page: RGBE, deflated, for the exposure slider.

Convention:
    radiance    (H, W, 3), 1.0 = clipping of the LONGEST exposure.
    RGBE        three mantissas and an exponent e, uint8: value = mantissa x 2^(e - 136) (Ward, Graphics Gems II.5,
                1991).
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from hdrvid.html.frame_pictures import shrunk

RADIANCE_BYTES = 850_000
"""All frames of the exposure slider together, before base64 makes them a third larger."""
MAX_RADIANCE_FRAMES = 4
"""Frames of the exposure slider."""
MAX_RADIANCE_PX = 640
"""Longer side of such a frame."""
RADIANCE_MAX = 2.0**30
"""Radiance is clamped here."""


@dataclass(frozen=True)
class RadianceFrame:
    """A result whose radiance the page holds."""

    index: int
    """Input frame."""
    exposure: str
    """'short', 'middle' or 'long'."""
    radiance: np.ndarray
    """(H, W, 3) float32, at most MAX_RADIANCE_PX."""


def small_radiance(radiance: np.ndarray) -> np.ndarray:
    """Radiance averaged to at most MAX_RADIANCE_PX; what is negative or no number is 0."""
    finite = np.nan_to_num(np.asarray(radiance, np.float32), nan=0.0, posinf=RADIANCE_MAX, neginf=0.0)
    return shrunk(np.clip(finite, 0.0, RADIANCE_MAX), MAX_RADIANCE_PX)


def rgbe(radiance: np.ndarray) -> np.ndarray:
    """RGBE (H, W, 4) of radiance (H, W, 3) in 0 to RADIANCE_MAX; each channel within 1/255 of the largest of its pixel.

    >>> rgbe(np.array([[[1.0, 0.5, 0.25]]])).tolist()
    [[[128, 64, 32, 129]]]
    """
    peak = radiance.max(-1)
    exponent = np.frexp(peak)[1]
    # a mantissa that rounds up to 256 belongs to the next exponent
    exponent += np.rint(np.ldexp(peak, 8 - exponent)) >= 256
    exponent = np.where(peak > 0, np.maximum(exponent, -127), -127)
    mantissa = np.rint(np.ldexp(radiance, 8 - exponent[..., None]))
    return np.concatenate([mantissa, exponent[..., None] + 128], -1).astype(np.uint8)


def packed(radiance: np.ndarray, max_bytes: int) -> tuple[str, int, int]:
    """Radiance as base64 of at most `max_bytes` before it, and its width and height: smaller where it must be.

    The bytes are a zlib stream of the planes R, G, B and E, in which every value but the first of a row is the
    difference from the one on its left, modulo 256.
    """
    while True:
        planes = rgbe(radiance).transpose(2, 0, 1)
        differences = np.diff(planes, axis=2, prepend=np.zeros_like(planes[:, :, :1]))
        data = zlib.compress(np.ascontiguousarray(differences).tobytes(), 9)
        if len(data) <= max_bytes or max(radiance.shape) <= 16:
            return base64.b64encode(data).decode("ascii"), radiance.shape[1], radiance.shape[0]
        radiance = shrunk(radiance, max(radiance.shape[:2]) * 7 // 8)
