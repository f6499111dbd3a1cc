"""The display transform of `hdrvid.color.neutral`, compiled for the CPU by Numba."""

from __future__ import annotations

import numpy as np

from hdrvid.color.constants import LUMINANCE_BT709
from hdrvid.color.half import HALF_MAX
from hdrvid.color.neutral import SMALLEST
from hdrvid.color.oklab import LMS_TO_RGB, RGB_TO_LMS
from hdrvid.compiled.jit import ONE, ZERO, F, clip, compiled, constants_key, inline, inline_noalias, maximum, minimum
from hdrvid.compiled.pixels import CONSTANTS as PIXEL_CONSTANTS
from hdrvid.compiled.pixels import exp, largest, log

_HALF_MAX = F(HALF_MAX)
_SMALLEST = F(SMALLEST)
_RED, _GREEN, _BLUE = (F(weight) for weight in LUMINANCE_BT709)
_TO_LMS = tuple(tuple(F(value) for value in row) for row in RGB_TO_LMS)
_FROM_LMS = tuple(tuple(F(value) for value in row) for row in LMS_TO_RGB)
_LEAST = F(1e-6)
_DARKEST = F(1e-30)
_THIRD = F(1 / 3)
_SMALLEST_NORMAL = F(2.0**-14)
_SUBNORMAL_STEPS = F(2.0**24)
_TO_EVEN = F(1.5 * 2.0**23)

_MATRICES = {f"matrix {i}": value for i, value in enumerate(sum(_TO_LMS + _FROM_LMS, ()))}
_CONSTANTS = constants_key(globals() | _MATRICES) ^ PIXEL_CONSTANTS
"""Key of the constants above, for Numba's cache."""


@inline
def _half_bits(value):
    """The bits of the nearest half float of 0..65504: an index that is not negative."""
    bits = F(value).view(np.uint32)
    normal = (bits + np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
    # what is added rounds to whole numbers; nothing else is in the last bits of the sum
    whole = F(value * _SUBNORMAL_STEPS + _TO_EVEN).view(np.uint32) - F(_TO_EVEN).view(np.uint32)
    found = normal - np.uint32(112 << 10) if value >= _SMALLEST_NORMAL else whole
    return np.uint32(found) & np.uint32(0x7FFF)


@inline
def _root(value):
    """Cube root."""
    return exp(log(maximum(value, _DARKEST)) * _THIRD)


@inline
def _times(matrix, a, b, c):
    return (
        matrix[0][0] * a + matrix[0][1] * b + matrix[0][2] * c,
        matrix[1][0] * a + matrix[1][1] * b + matrix[1][2] * c,
        matrix[2][0] * a + matrix[2][1] * b + matrix[2][2] * c,
    )


@inline
def _towards(root, share, goal):
    moved = root + share * (goal - root)
    return moved * moved * moved


@inline
def _faded(red, green, blue, share, level):
    """`neutral._faded` of a pixel."""
    goal = _root(level)
    a, b, c = _times(_TO_LMS, red, green, blue)
    a, b, c = _root(a), _root(b), _root(c)
    red, green, blue = _times(_FROM_LMS, _towards(a, share, goal), _towards(b, share, goal), _towards(c, share, goal))
    grey = minimum(_RED * red + _GREEN * green + _BLUE * blue, ONE)
    over = largest(red, green, blue) - grey
    under = grey - minimum(minimum(red, green), blue)
    keep = minimum(minimum((ONE - grey) / maximum(over, _LEAST), grey / maximum(under, _LEAST)), ONE)
    return grey + keep * (red - grey), grey + keep * (green - grey), grey + keep * (blue - grey)


@inline_noalias
def _take(table, values, out):
    """The entries of a table over half floats for values 0..65504."""
    for x in range(out.shape[0]):
        out[x] = table[_half_bits(values[x])]


@compiled
def show_rows(light, curve, fades, codes, band, out, constants=_CONSTANTS):
    """`neutral.show_rows` of some rows of light (H, W, 3) float32 into `out`, with the tables `neutral` has; `codes`
    int32."""
    w = light.shape[1]
    planes, shown, rows = np.empty((3, w), np.float32), np.empty((3, w), np.int32), np.empty((4, w), np.float32)
    red, green, blue = planes[0], planes[1], planes[2]
    brightest, level, share, scale = rows[0], rows[1], rows[2], rows[3]
    for y in range(band[0], band[1]):
        line, row = light[y], out[y]
        for c in range(3):
            plane = planes[c]
            for x in range(w):
                plane[x] = clip(line[x, c], ZERO, _HALF_MAX)
        for x in range(w):
            brightest[x] = largest(red[x], green[x], blue[x])
        _take(curve, brightest, level)
        _take(fades, brightest, share)
        for x in range(w):
            scale[x] = level[x] / maximum(brightest[x], _SMALLEST)
        fading = ZERO
        for x in range(w):
            is_grey = (red[x] == green[x]) & (green[x] == blue[x])
            share[x] = ZERO if is_grey else share[x]
        for x in range(w):
            fading = maximum(fading, share[x])
        for c in range(3):
            plane = planes[c]
            for x in range(w):
                plane[x] = minimum(plane[x] * scale[x], ONE)
        if fading > ZERO:
            for x in range(w):
                r, g, b = _faded(red[x], green[x], blue[x], share[x], level[x])
                fades_here = share[x] > ZERO
                red[x] = clip(r, ZERO, ONE) if fades_here else red[x]
                green[x] = clip(g, ZERO, ONE) if fades_here else green[x]
                blue[x] = clip(b, ZERO, ONE) if fades_here else blue[x]
        for c in range(3):
            code = shown[c]
            _take(codes, planes[c], code)
            for x in range(w):
                row[x, c] = np.uint8(code[x])
