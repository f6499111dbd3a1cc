"""What the compiled functions are made of: mu-law, samples of a picture, rows under a filter.

Convention:
    A row is a contiguous array of float32. Loops over a row are short and many: those that touch few arrays, and index
    them by the counter alone, are vectorised.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from hdrvid.color.radiance import MU
from hdrvid.compiled.jit import (
    HALF,
    INLINE,
    ONE,
    ZERO,
    F,
    bilinear,
    bilinear_position,
    clip,
    constants_key,
    inline,
    inline_noalias,
    maximum,
    part,
    replicate,
)
from hdrvid.models.constants import HAT_HIGH, HIGHEST_BYTE, OUTSIDE_PX, SIGNED_ZERO

_INVERSE_MU = F(1 / MU)
_MU = F(MU)
_LOG_WHITE = F(np.log1p(MU))
_INVERSE_LOG_WHITE = F(1 / np.log1p(MU))
_HAT_TOP = F(HAT_HIGH[1])
_HAT_SLOPE = F(1 / (HAT_HIGH[1] - HAT_HIGH[0]))
_SIGNED_ZERO = F(SIGNED_ZERO)
_HIGHEST_BYTE = F(HIGHEST_BYTE)
_OUTSIDE_LOW = F(-OUTSIDE_PX)
_OUTSIDE_HIGH = F(OUTSIDE_PX - 1)
QUARTER = F(1 / 4)

CONSTANTS = constants_key(globals())
"""Key of the constants above, for Numba's cache."""


@inline
def largest(a, b, c):
    return maximum(maximum(a, b), c)


@inline
def exp(x):
    """e^x to 1e-7 of it, in a form that loops over rows are vectorised with; polynomial of Cephes (Moshier)."""
    c = F(-87.0) if x < F(-87.0) else x
    c = F(88.0) if c > F(88.0) else c
    n = np.floor(c * F(1.44269504) + HALF)
    whole = np.int32(n if n == n else ZERO)
    r = c - n * F(0.693359375) - n * F(-2.12194440e-4)
    p = F(1.9875691500e-4) * r + F(1.3981999507e-3)
    p = p * r + F(8.3334519073e-3)
    p = p * r + F(4.1665795894e-2)
    p = p * r + F(1.6666665459e-1)
    p = p * r + F(5.0000001201e-1)
    p = p * r * r + r + ONE
    result = p * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)
    return F(np.inf) if x > F(88.7) else result


@inline
def log(x):
    """Natural logarithm of normal x > 0, as `exp`."""
    bits = F(x).view(np.int32)
    exponent = (bits >> np.int32(23)) - np.int32(127)
    mantissa = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    large = mantissa > F(1.41421356)
    f = (mantissa * HALF if large else mantissa) - ONE
    e = F(exponent) + (ONE if large else ZERO)
    p = F(7.0376836292e-2) * f + F(-1.1514610310e-1)
    p = p * f + F(1.1676998740e-1)
    p = p * f + F(-1.2420140846e-1)
    p = p * f + F(1.4249322787e-1)
    p = p * f + F(-1.6668057665e-1)
    p = p * f + F(2.0000714765e-1)
    p = p * f + F(-2.4999993993e-1)
    p = p * f + F(3.3333331174e-1)
    square = f * f
    y = p * f * square + e * F(-2.12194440e-4) - HALF * square
    return f + y + e * F(0.693359375)


@inline
def mu_law(radiance):
    return log(radiance * _MU + ONE) * _INVERSE_LOG_WHITE


@inline
def inverse_mu_law(tone):
    return (exp(maximum(tone, ZERO) * _LOG_WHITE) - ONE) * _INVERSE_MU


def widened(value):
    """A result of a convolution as float32."""


@overload(widened, jit_options=INLINE)
def _widened_for(value):
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@inline
def _rounded(bits):
    """The bits of float32, to the nearest even of bfloat16."""
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


def narrow(row, j, value):
    """Write float32 to a row, to the nearest even where that is the bits of bfloat16."""


@overload(narrow, jit_options=INLINE)
def _narrow_for(row, j, value):
    if isinstance(row.dtype, types.Integer):

        def rounded(row, j, value):
            row[j] = np.uint16(_rounded(F(value).view(np.uint32)))

        return rounded

    def plain(row, j, value):
        row[j] = value

    return plain


@inline
def byte(value, inverse_step, zero):
    """The nearest multiple of a step, `zero` of them added, cut to 0..255; 0 of what is no number."""
    return np.int32(clip(value * inverse_step + zero, ZERO, _HIGHEST_BYTE) + HALF)


def store_input(planes, row, first, inverse_steps):
    """As `store`; where the row is words (w, C / 4) as bytes, four in each, of SIGNED_ZERO and (C,) steps, one channel
    after the other."""


@overload(store_input, jit_options=INLINE)
def _store_input_for(planes, row, first, inverse_steps):
    if row.dtype == types.uint32:

        def in_words(planes, row, first, inverse_steps):
            count, w = planes.shape
            words = planes.view(np.uint32)
            for c in range(count):
                line, word, inverse_step = planes[c], words[c], inverse_steps[first + c]
                place = np.uint32(8 * ((first + c) % 4))
                for j in range(w):
                    word[j] = np.uint32(byte(line[j], inverse_step, _SIGNED_ZERO)) << place
            begun = first % 4  # bytes of the first word that are there already
            done = 0
            while done < count:
                word, end = words[done], min(count, done + 4 - (first + done) % 4)
                for c in range(done + 1, end):
                    another = words[c]
                    for j in range(w):
                        word[j] |= another[j]
                n = (first + done) // 4
                if begun and not done:
                    for j in range(w):
                        row[j, n] |= word[j]
                else:
                    for j in range(w):
                        row[j, n] = word[j]
                done = end

        return in_words
    return lambda planes, row, first, inverse_steps: store(planes, row, first)


def store(planes, row, first):
    """Planes (c, w) into channels `first` and on of a row (w, C), to the nearest even where that is bfloat16. They may
    be overwritten."""


@overload(store, jit_options=INLINE)
def _store_for(planes, row, first):
    if isinstance(row.dtype, types.Integer):

        def rounded(planes, row, first):
            count, w = planes.shape
            bits = planes.view(np.uint32)
            for c in range(count):
                line = bits[c]
                for j in range(w):
                    line[j] = _rounded(line[j])
            channels = row[:, first : first + count]
            for j in range(w):
                for c in range(count):
                    channels[j, c] = np.uint16(bits[c, j])

        return rounded

    def plain(planes, row, first):
        channels = row[:, first : first + planes.shape[0]]
        for j in range(planes.shape[1]):
            for c in range(planes.shape[0]):
                channels[j, c] = planes[c, j]

    return plain


@inline_noalias
def _sample(values, height, width, channels, xs, ys, first, second, third):
    for j in range(first.shape[0]):
        at, right, down, fx, fy = bilinear_position(xs[j], ys[j], height, width, channels)
        first[j] = bilinear(values, at, right, down, fx, fy)
        second[j] = bilinear(values, at + 1, right, down, fx, fy)
        third[j] = bilinear(values, at + channels - 1, right, down, fx, fy)


@part
def sample_row(picture, flow, y, left, xs, ys, out):
    """Row y of the warped picture, from column `left` on, into planes (3, w)."""
    w = out.shape[1]
    flow_row = flow[y, left : left + w]
    for j in range(w):
        xs[j] = F(left + j) + flow_row[j, 0]
    for j in range(w):
        ys[j] = F(y) + flow_row[j, 1]
    sample_at(picture, xs, ys, out)


@part
def sample_at(picture, xs, ys, out):
    """The picture at positions (w,) and (w,), into planes (3, w)."""
    height, width, channels = picture.shape
    _sample(picture.reshape(-1), np.int32(height), np.int32(width), np.int32(channels), xs, ys, out[0], out[1], out[2])


@part
def planes(pixels, out):
    """Pixels (w, 3) as planes (3, w)."""
    for c in range(3):
        plane = out[c]
        for j in range(plane.shape[0]):
            plane[j] = pixels[j, c]


@inline
def copy(row, out):
    for j in range(out.shape[0]):
        out[j] = row[j]


@inline
def fill(out, value):
    for j in range(out.shape[0]):
        out[j] = value


@part
def filter_rows(ring, y, height, taps, padded, out):
    """`out` (w,): row y of a picture under a symmetric kernel `taps` (2 r + 1,), rows and columns, edges replicated.

    `ring` (n, w) holds rows y - r to y + r, those within the picture; `padded` (w + 2 r,) is for what is between.
    """
    size, w = ring.shape
    r = taps.shape[0] // 2
    middle = ring[y % size]
    across = padded[r : r + w]
    for j in range(w):
        across[j] = taps[r] * middle[j]
    for t in range(r):
        above, below = ring[max(y - r + t, 0) % size], ring[min(y + r - t, height - 1) % size]
        tap = taps[t]
        for j in range(w):
            across[j] += tap * (above[j] + below[j])
    replicate(padded, r)
    for j in range(w):
        out[j] = taps[r] * padded[r + j]
    for t in range(r):
        tap = taps[t]
        before, behind = padded[t : t + w], padded[2 * r - t : 2 * r - t + w]
        for j in range(w):
            out[j] += tap * (before[j] + behind[j])


@inline
def hat_of(code):
    return clip((_HAT_TOP - code) * _HAT_SLOPE, ZERO, ONE)


@inline
def hat(a, b, c):
    return hat_of(largest(a, b, c))


@inline
def inside(x, y, height, width):
    return (x >= _OUTSIDE_LOW) & (x <= width + _OUTSIDE_HIGH) & (y >= _OUTSIDE_LOW) & (y <= height + _OUTSIDE_HIGH)
