"""The default display transform: colours as the camera shows them, and a shoulder for the stops above its white.

The structure is that of the Khronos PBR Neutral Tone Mapper (Khronos Group, 2024): a fixed curve of the largest
channel, the other channels in proportion, and a fade of very bright colours to white. Two of its parts are replaced,
because a clip has more stops above middle grey, and lamps:

    curve       the sigmoid over log2 of AgX (Sobotka, 2022): straight around middle grey, a shoulder up to the largest
                value of the clip. The one of Khronos has 0.24 of the display's light for all highlights.
    fade        along a line of Oklab (Ottosson, 2020). In linear light blue would turn to violet and red to pink.

The curve takes the largest channel and not luminance: by luminance the light of a red, blue or magenta lamp would leave
the gamut of the display, and become pale. Grey stays grey. A colour below 1/16 of white keeps its chromaticity.

Convention:
    pixels      (H, W, 3), scene-linear Rec. 709, 1.0 = clipping of the LONGEST exposure.
    returned    (H, W, 3) uint8, sRGB-coded (IEC 61966-2-1).
"""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from hdrvid.color.constants import LUMINANCE_BT709
from hdrvid.color.half import HALF_MAX
from hdrvid.color.half_tables import finite_frame, half_index, half_values, row_blocks, srgb_codes
from hdrvid.color.oklab import LMS_TO_RGB, RGB_TO_LMS

MIDDLE_GREY = 0.18
"""Value that the curve leaves alone."""
CODE_POWER = 2.4
"""The curve is a sigmoid of display light to the power 1 / 2.4."""
BLACK_STOPS = 10.0
"""Stops below middle grey that become 0."""
MIN_WHITE_STOPS = 3.6
"""White is at least so many stops above middle grey: with less the curve would have no shoulder."""
SLOPE = 2.4 / 16.5
"""Slope at middle grey, a stop; in log light to log light 1.03, where a camera without a look has 1."""
TOE_POWER, SHOULDER_POWER = 1.2, 2.0
"""How long the sigmoid stays straight on either side."""
FADE_START = 1 / 16
"""Share of white from which the colour fades."""
FADE_AT_WHITE = 0.5
"""Share of the colour that is gone at white."""
FADE_POWER = 1.5
"""Power of the excess over FADE_START that the fade grows with."""

SMALLEST = 2.0**-24
"""The smallest half float above 0."""
_LUMINANCE = [float(weight) for weight in LUMINANCE_BT709]
_TO_LMS, _FROM_LMS = (matrix.astype(np.float32) for matrix in (RGB_TO_LMS, LMS_TO_RGB))


def white_value(max_value: float) -> float:
    """The value that becomes white, where `max_value` is the largest that occurs."""
    return max(max_value, MIDDLE_GREY * 2.0**MIN_WHITE_STOPS)


def log_sigmoid(x: np.ndarray, white: float) -> np.ndarray:
    """Scene light >= 0 to display light 0..1: 0.18 stays, `white` and above are 1, 10 stops below 0.18 and less are 0.

    y = y0 + d / (1 + |d / l|^p)^(1/p) with d = SLOPE log2(x / 0.18) and y0 = 0.18^(1/2.4); l brings the curve to 1 at
    `white` and to 0 at the other end; the result is y^2.4. The curve of AgX (Sobotka, github.com/sobotka/AgX), where
    white is 6.5 stops above middle grey, with the slope and the power of display light that Blender took.
    Raises ValueError for a `white` with less than MIN_WHITE_STOPS.
    """
    white_stops = math.log2(white / MIDDLE_GREY)
    if white_stops < MIN_WHITE_STOPS - 1e-9:
        raise ValueError(f"white {white} is less than {MIN_WHITE_STOPS} stops above {MIDDLE_GREY}")
    grey = MIDDLE_GREY ** (1 / CODE_POWER)
    stops = np.log2(np.maximum(x, 1e-30) / MIDDLE_GREY)

    def side(distance: np.ndarray, ends_at: float, rise: float, power: float) -> np.ndarray:
        limit = (rise**-power - (SLOPE * ends_at) ** -power) ** (-1 / power)
        d = SLOPE * np.clip(distance, 0.0, ends_at)
        return np.asarray(d / (1 + (d / limit) ** power) ** (1 / power))

    y = grey + side(stops, white_stops, 1 - grey, SHOULDER_POWER) - side(-stops, BLACK_STOPS, grey, TOE_POWER)
    return np.clip(y, 0.0, 1.0) ** CODE_POWER


def fade(x: np.ndarray, white: float) -> np.ndarray:
    """Share 0..1 of the colour that is gone at a largest channel x: 0 up to white / 16, 0.5 at `white`, then to 1."""
    excess = (np.maximum(x / white - FADE_START, 0.0) / (1 - FADE_START)) ** FADE_POWER
    k = FADE_AT_WHITE / (1 - FADE_AT_WHITE) * excess
    return np.asarray(k / (1 + k))


def neutral(pixels: np.ndarray, *, max_value: float, gain: float = 1.0) -> np.ndarray:
    """A frame (H, W, 3) as 8-bit sRGB (H, W, 3).

    `max_value` is the largest value the clip can hold, > 0, and becomes white; `gain` multiplies the pixels before.
    Negative values and NaN are black, infinite ones white. Raises InputError where the shape is not (H, W, 3).
    """
    return show_rows(finite_frame(pixels), *tables(float(max_value), float(gain)))


def show_rows(frame: np.ndarray, curve: np.ndarray, fades: np.ndarray) -> np.ndarray:
    """A finite frame (H, W, 3) float32, shown; the tables are over half floats of the largest channel."""
    out = np.empty(frame.shape, np.uint8)
    for rows in row_blocks(frame):
        out[rows] = _block(np.clip(frame[rows], 0.0, HALF_MAX), curve, fades)
    return out


@lru_cache(2)
def tables(max_value: float, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Display light and share of the colour that is gone, of every largest channel."""
    values = half_values()
    white = white_value(max_value * gain)
    # half floats, as the table of codes takes them: the last bit of a product decides nothing
    curve = log_sigmoid(values * gain, white).astype(np.float16).astype(np.float32)
    fades = fade(values * gain, white).astype(np.float32)
    curve.flags.writeable = fades.flags.writeable = False
    return curve, fades


def _block(light: np.ndarray, curve: np.ndarray, fades: np.ndarray) -> np.ndarray:
    """Rows (h, w, 3) of values 0..65504, shown; the tables are over half floats of the largest channel."""
    planes = cv2.split(light)
    largest = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    index = half_index(largest)
    level = curve.take(index)
    scale = level / np.maximum(largest, SMALLEST)
    shown = np.stack([np.minimum(plane * scale, 1.0) for plane in planes])
    share = fades.take(index)
    if share.any():
        faded = _faded(shown, share, level)
        # where nothing fades, and on grey, rounding changes no bit
        kept = (share == 0) | (cv2.min(cv2.min(planes[0], planes[1]), planes[2]) == largest)
        for plane, other in zip(faded, shown, strict=True):
            cv2.copyTo(other, kept.view(np.uint8), plane)
        shown = faded
    codes: np.ndarray = cv2.merge([*srgb_codes().take(half_index(shown))])
    return codes


def _faded(shown: np.ndarray, share: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Display light (3, h, w), by `share` (h, w) nearer to grey of `level` (h, w) along a line in Oklab, in gamut."""
    roots = np.cbrt(_product(_TO_LMS, shown))
    roots += share * (np.cbrt(level) - roots)
    rgb = _product(_FROM_LMS, roots * roots * roots)
    red, green, blue = rgb
    grey = np.minimum(_LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue, 1.0)
    over = cv2.max(cv2.max(red, green), blue) - grey
    under = grey - cv2.min(cv2.min(red, green), blue)
    # towards grey of the same luminance as far as it must
    keep = np.minimum((1 - grey) / np.maximum(over, 1e-6), grey / np.maximum(under, 1e-6))
    rgb -= grey
    rgb *= np.minimum(keep, 1.0)
    rgb += grey
    return np.clip(rgb, 0.0, 1.0, out=rgb)


def _product(matrix: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """(3, 3) @ (3, h, w)."""
    product: np.ndarray = (matrix @ planes.reshape(3, -1)).reshape(planes.shape)
    return product
