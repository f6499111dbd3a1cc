"""Previews: scene-linear frames to 8-bit sRGB, with an exposure that follows the scene but never a single frame.

A tone mapper has two parts. The key: the log-average luminance of the frame, of which the brightest and the darkest
pixels have no say, smoothed over about a second. It sets how bright the picture is. And a fixed curve of luminance:
nothing in it depends on the frame, so that a light that comes on cannot darken the rest of the picture. The curve
is applied to luminance and the colour follows in proportion, which keeps the hue; towards white the colour fades, as
film and eyes do, or a lamp would turn into a flat patch of pure colour.

Convention:
    pixels      (H, W, 3) float32, scene-linear Rec. 709, 1.0 = clipping of the LONGEST exposure.
    returned    (H, W, 3) uint8, sRGB-coded (IEC 61966-2-1).
"""

from __future__ import annotations

import cv2
import numpy as np

from hdrvid.errors import InputError, UsageError
from hdrvid.radiance import srgb_encode

OPERATORS: tuple[str, ...] = ("reinhard", "filmic", "mulaw")
"""reinhard: Reinhard et al. 2002, extended with a white point. filmic: Hable 2010 (Uncharted 2). mulaw: the curve
that HDR video papers show and measure in, mu = 5000."""
