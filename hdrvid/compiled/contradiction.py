"""Where a frame contradicts its reference, compiled for the CPU by Numba.

The formulas are those of `hdrvid.models.reference_check`.

The convention is that of `hdrvid.compiled`.
"""

from __future__ import annotations

import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.compiled.jit import ONE, ZERO, F, clip, compiled, constants_key, maximum
from hdrvid.compiled.pixels import CONSTANTS as PIXEL_CONSTANTS
from hdrvid.compiled.pixels import QUARTER, exp, fill, log
from hdrvid.models.constants import (
    CONTRADICTION_WINDOW,
    NOISE_SIGMAS,
    TOLERANCE,
    TOLERANCE_OF_CODE,
    USUAL_FACTOR,
)

_INVERSE_GAMMA = F(1 / NETWORK_GAMMA)
_DARKEST = F(1e-30)
_SIGMAS = F(NOISE_SIGMAS / (2 * CONTRADICTION_WINDOW))
_TOLERANCE = F(TOLERANCE)
_TOLERANCE_OF_CODE = F(TOLERANCE_OF_CODE)
_USUAL_FACTOR = F(USUAL_FACTOR)

_CONSTANTS = constants_key(globals()) ^ PIXEL_CONSTANTS
"""Key of the constants above, for Numba's cache."""


@compiled
def half_means(radiance, reference, exposure, black, band, means, constants=_CONSTANTS):
    """`reference_check.half_means`, of the rows `band` of its result: `means` (3, 3, h, w)."""
    w = means.shape[3]
    values = np.empty((3, 6 * w), np.float32)
    larger, differences, squares = values[0], values[1], values[2]
    for y in range(band[0], band[1]):
        for n in range(2):
            light = radiance[2 * y + n, : 2 * w].reshape(6 * w)
            given = reference[2 * y + n, : 2 * w].reshape(6 * w)
            if n == 0:
                for i in range(3):
                    fill(values[i], ZERO)
            for j in range(6 * w):
                code = exp(log(maximum(clip(light[j] * exposure, ZERO, ONE), _DARKEST)) * _INVERSE_GAMMA)
                code = maximum(code, black)
                difference = code - given[j]
                larger[j] += maximum(code, given[j])
                differences[j] += difference
                squares[j] += difference * difference
        for i in range(3):
            line = values[i]
            for c in range(3):
                mean = means[i, c, y]
                for x in range(w):
                    mean[x] = (line[6 * x + c] + line[6 * x + 3 + c]) * QUARTER


@compiled
def contradicted(means, drifts, usual, to_shortest, seen, band, found, constants=_CONSTANTS):
    """`reference_check.contradiction` before gaps are closed, of the rows `band`: `found` (h, w, 3).

    `means` (3, 3, h, w) under the window. `drifts` (3,) of the channels. `usual` (3, 3, n): code of each level, its
    usual difference, and how much the difference rises from there to the next, by code. `to_shortest`: gain of codes to
    the shortest exposure; 0 where the reference has it. `seen` (2,).
    """
    w = means.shape[3]
    levels = usual.shape[2]
    excess, for_all = np.empty((3, w), np.float32), np.empty(w, np.float32)
    tolerance = np.empty(w, np.float32)
    inverse_ramp = ONE / (seen[1] - seen[0])
    for y in range(band[0], band[1]):
        fill(for_all, ZERO)
        for c in range(3):
            level, difference, square, line = means[0, c, y], means[1, c, y], means[2, c, y], excess[c]
            drift, first = drifts[c], usual[c, 1, 0]
            for x in range(w):
                tolerance[x] = first
            for n in range(levels - 1):
                at, rise = usual[c, 0, n], usual[c, 2, n]
                width = usual[c, 0, n + 1] - at
                for x in range(w):
                    tolerance[x] += rise * clip(level[x] - at, ZERO, width)
            for x in range(w):
                noise = F(np.sqrt(maximum(square[x] - difference[x] * difference[x], ZERO))) * _SIGMAS
                allowed = maximum(_TOLERANCE + _TOLERANCE_OF_CODE * level[x], _USUAL_FACTOR * tolerance[x])
                line[x] = clip((abs(difference[x] - drift * level[x]) - noise) / allowed - ONE, ZERO, ONE)
            if to_shortest == ZERO:
                for x in range(w):
                    for_all[x] = maximum(for_all[x], line[x])
            else:
                for x in range(w):
                    shown = clip((level[x] * to_shortest - seen[0]) * inverse_ramp, ZERO, ONE)
                    for_all[x] = maximum(for_all[x], line[x] * shown)
        for c in range(3):
            line = excess[c]
            for x in range(w):
                found[y, x, c] = maximum(line[x], for_all[x])
