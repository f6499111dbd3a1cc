"""What the classical search compares its candidates by, compiled for the CPU by Numba.

The formulas are those of `hdrvid.flow.dense_inverse_search`.

Convention:
    Pictures are (H, W) or (H, W, 3) float32 network codes in [0, 1], flows (H, W, 2) float32 pixels, all C-contiguous.
"""

from __future__ import annotations

import numpy as np

from hdrvid.color.constants import LUMA_BT601
from hdrvid.compiled.jit import (
    HALF,
    ONE,
    ZERO,
    F,
    bilinear,
    bilinear_position,
    compiled,
    constants_key,
    inline_noalias,
    maximum,
    minimum,
)
from hdrvid.compiled.pixels import CONSTANTS as PIXEL_CONSTANTS
from hdrvid.compiled.pixels import QUARTER, fill

_LUMA_RED = F(LUMA_BT601[0])
_LUMA_GREEN = F(LUMA_BT601[1])
_LUMA_BLUE = F(LUMA_BT601[2])

_CONSTANTS = constants_key(globals()) ^ PIXEL_CONSTANTS
"""Key of the constants above, for Numba's cache."""


@compiled
def luma(frame, gain, num_downsamplings, out):
    """`alignment.matched_luma8`, halved so often by the mean of 2 x 2 pixels: `out` (H / 2^n, W / 2^n)."""
    size = 1 << num_downsamplings
    width = frame.shape[1]
    codes, sums = np.empty(width, np.float32), np.empty(width, np.int32)
    for i in range(out.shape[0]):
        fill(sums, np.int32(0))
        for r in range(size):
            pixels = frame[i * size + r]
            for j in range(width):
                red, green, blue = (
                    minimum(pixels[j, 0] * gain, ONE),
                    minimum(pixels[j, 1] * gain, ONE),
                    pixels[j, 2] * gain,
                )
                codes[j] = _LUMA_RED * red + _LUMA_GREEN * green + _LUMA_BLUE * minimum(blue, ONE)
            for j in range(width):
                sums[j] += np.int32(np.rint(maximum(codes[j], ZERO) * F(255)))
        for n in range(num_downsamplings):
            for k in range(width >> (n + 1)):
                sums[k] = sums[2 * k] + sums[2 * k + 1]
        row, half = out[i], np.int32(size * size // 2)
        for k in range(row.shape[0]):
            row[k] = np.uint8((sums[k] + half) >> (2 * num_downsamplings))


@inline_noalias
def _moved_row(values, flow, y, height, width, out):
    """Row y of a picture's values (H * W,) at x + flow, flow (W, 2)."""
    for j in range(out.shape[0]):
        at, right, down, fx, fy = bilinear_position(F(j) + flow[j, 0], F(y) + flow[j, 1], height, width, np.int32(1))
        out[j] = bilinear(values, at, right, down, fx, fy)


@compiled
def misfit(reference, pictures, flows, factor, rows, out):
    """How far two neighbours, moved, are from the reference, and `factor` times how far from each other, of some rows.

    Pictures (H, W) float32: the reference; the neighbours to be compared with it, then those that are compared with
    each other, which may be the same. `flows` two (H, W, 2), `out` (H, W).
    """
    height, width = reference.shape
    moved = np.empty((4, width), np.float32)
    a, b, c, d = moved[0], moved[1], moved[2], moved[3]
    for y in range(rows[0], rows[1]):
        for n in range(len(pictures)):
            values, flow = pictures[n].reshape(-1), flows[n % 2][y]
            _moved_row(values, flow, y, np.int32(height), np.int32(width), moved[n])
        if len(pictures) == 2:
            c, d = a, b
        reference_row, row = reference[y], out[y]
        for j in range(width):
            row[j] = abs(a[j] - reference_row[j]) + abs(b[j] - reference_row[j])
        for j in range(width):
            row[j] += abs(c[j] - d[j]) * factor


@inline_noalias
def _return_row(back, flow, y, height, width, limit, out):
    for j in range(out.shape[0]):
        at, right, down, fx, fy = bilinear_position(F(j) + flow[j, 0], F(y) + flow[j, 1], height, width, np.int32(2))
        u = flow[j, 0] + bilinear(back, at, right, down, fx, fy)
        v = flow[j, 1] + bilinear(back, at + 1, right, down, fx, fy)
        out[j] = u * u + v * v < limit


@compiled
def consistent(flow, flow_back, tolerance, out):
    """`alignment.DenseInverseSearch.consistent`."""
    height, width = flow.shape[:2]
    back = flow_back.reshape(-1)
    for y in range(height):
        _return_row(back, flow[y], y, np.int32(height), np.int32(width), tolerance * tolerance, out[y])


@compiled
def upsample2x_flow(flow, out):
    """Flow (h, w, 2) as flow (2 h, 2 w, 2) in pixels of that size, bilinear, border replicated."""
    h, w = flow.shape[:2]
    padded = np.empty((w + 2, 2), np.float32)
    for y in range(2 * h):
        above = (y - 1) // 2
        upper, lower, row = flow[max(above, 0)], flow[min(above + 1, h - 1)], out[y]
        below = F(1.5) if y % 2 == 0 else HALF
        for k in range(w):
            for c in range(2):
                padded[k + 1, c] = F(2) * upper[k, c] + below * (lower[k, c] - upper[k, c])
        for c in range(2):
            padded[0, c], padded[w + 1, c] = padded[1, c], padded[w, c]
        for k in range(w):
            for c in range(2):
                before, centre, after = padded[k, c], padded[k + 1, c], padded[k + 2, c]
                row[2 * k, c], row[2 * k + 1, c] = (
                    centre + QUARTER * (before - centre),
                    centre + QUARTER * (after - centre),
                )
