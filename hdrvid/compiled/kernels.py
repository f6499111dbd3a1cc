"""What a window needs beside convolutions, compiled for the CPU by Numba.

A row goes through all steps while it lies in the caches, and comes out in the layout that the convolutions take. Steps
that look at rows around (Gaussian windows, gradients) keep the last few in a ring: row r lies in slot r % ring.
Loops over a row are short and many: those that touch few arrays, and index them by the counter alone, are vectorised.
`hdrvid.compiled.bands` cuts a picture into bands of rows and calls one of these functions for each, in threads: they
need no lock of Python's. The formulas are those of `hdrvid.models.classical`, `.merge_net` and `.flow_net`, which
training and accelerators use; tests compare the two.

Convention:
    Pictures are (H, W, 3) float32 network codes in [0, 1], flows (H, W, 2) float32 pixels, all C-contiguous and whole.
    A region is a tuple (top, bottom, left, right) of the frame; `band`, two rows of the frame, is the part of it that a
    call works on. Steps that reach beyond a region read the frame there, so that a tile is exact.
    Values that go into convolutions are float32, or the bits of bfloat16 as uint16.
"""

from __future__ import annotations

import zlib

import numpy as np
from numba import types
from numba.extending import overload

from hdrvid.color.constants import LUMA_BT601
from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.color.radiance import MU
from hdrvid.compiled.jit import (
    HALF,
    INLINE,
    ONE,
    SOURCE,
    ZERO,
    F,
    between,
    clip,
    compiled,
    inline,
    inline_apart,
    least,
    located,
    most,
    replicate,
)
from hdrvid.models.classical import CONSISTENCY_FLOOR, HAT_HIGH, OUTSIDE_PX, PHOTOMETRIC_TOLERANCE, WEIGHT_FLOOR
from hdrvid.models.flow_net import (
    CORRELATION_RADIUS,
    DAMPING,
    DIFFERENCE_SCALE,
    HALO_PX,
    OFFSET_LIMIT_PX,
    OFFSET_SCALE,
    SHORTEST,
    WINDOW_RADIUS,
)
from hdrvid.models.merge_net import CHANNELS_PER_CANDIDATE, RESIDUAL_SCALE, SMOOTHED_PRIOR

BOX_RADIUS = 2
"""Reach of the mean that the photometric agreement is taken of."""

_INVERSE_MU, _MU = F(1 / MU), F(MU)
_LOG_WHITE, _INVERSE_LOG_WHITE = F(np.log1p(MU)), F(1 / np.log1p(MU))
_GAMMA = F(NETWORK_GAMMA)
_DARKEST = F(1e-30)
_LOG_SMOOTHED_PRIOR = F(np.log(SMOOTHED_PRIOR))
_RESIDUAL = F(RESIDUAL_SCALE)
_HAT_TOP, _HAT_SLOPE = F(HAT_HIGH[1]), F(1 / (HAT_HIGH[1] - HAT_HIGH[0]))
_OUTSIDE_LOW, _OUTSIDE_HIGH = F(-OUTSIDE_PX), F(OUTSIDE_PX - 1)
_AGREEMENT = F(1 / PHOTOMETRIC_TOLERANCE)
_CONSISTENCY_FLOOR = F(CONSISTENCY_FLOOR)
_WEIGHT_FLOOR = F(WEIGHT_FLOOR)
_DIFFERENCE = F(DIFFERENCE_SCALE)
_LIMIT, _OFFSET = F(OFFSET_LIMIT_PX), F(OFFSET_SCALE)
_DAMPING, _SHORTEST = F(DAMPING), F(SHORTEST)
_QUARTER, _SIXTEENTH, _THIRD = F(1 / 4), F(1 / 16), F(1 / 3)
_LOG_PRIOR_SCALE = F(0.2)
_FIFTH = F(0.2)
_LUMA_RED, _LUMA_GREEN, _LUMA_BLUE = F(LUMA_BT601[0]), F(LUMA_BT601[1]), F(LUMA_BT601[2])
_SIDE = 2 * CORRELATION_RADIUS + 1

_CONSTANTS = SOURCE ^ zlib.crc32(
    repr(sorted((k, v) for k, v in globals().items() if isinstance(v, int | float | F))).encode()
)
"""See `jit.SOURCE`; with the constants above, of other modules too."""


# ---- numbers ---------------------------------------------------------------------------------------------------------


@inline
def _largest(a, b, c):
    return most(most(a, b), c)


@inline
def _exp(x):
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
def _log(x):
    """Natural logarithm of normal x > 0, as `_exp`."""
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
def _mu_law(radiance):
    return _log(radiance * _MU + ONE) * _INVERSE_LOG_WHITE


@inline
def _inverse_mu_law(tone):
    return (_exp(most(tone, ZERO) * _LOG_WHITE) - ONE) * _INVERSE_MU


def _widened(value):
    """A result of a convolution as float32."""


@overload(_widened, jit_options=INLINE)
def _widened_for(value):
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


def _store(planes, row, first):
    """Planes (c, w) into channels `first` and on of a row (w, C), to the nearest even where that is bfloat16. They may
    be overwritten."""


@overload(_store, jit_options=INLINE)
def _store_for(planes, row, first):
    if isinstance(row.dtype, types.Integer):

        def rounded(planes, row, first):
            count, w = planes.shape
            bits = planes.view(np.uint32)
            for c in range(count):
                line = bits[c]
                for j in range(w):
                    odd = (line[j] >> np.uint32(16)) & np.uint32(1)
                    line[j] = (line[j] + np.uint32(0x7FFF) + odd) >> np.uint32(16)
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


# ---- rows ------------------------------------------------------------------------------------------------------------


@inline_apart
def _sample(values, height, width, channels, xs, ys, first, second, third):
    for j in range(first.shape[0]):
        at, right, down, fx, fy = located(xs[j], ys[j], height, width, channels)
        first[j] = between(values, at, right, down, fx, fy)
        second[j] = between(values, at + 1, right, down, fx, fy)
        third[j] = between(values, at + channels - 1, right, down, fx, fy)


@inline
def _sample_row(picture, flow, y, left, xs, ys, out):
    """Row y of the warped picture, from column `left` on, into planes (3, w)."""
    w = out.shape[1]
    here = flow[y, left : left + w]
    for j in range(w):
        xs[j] = F(left + j) + here[j, 0]
    for j in range(w):
        ys[j] = F(y) + here[j, 1]
    _sample_at(picture, xs, ys, out)


@inline
def _sample_at(picture, xs, ys, out):
    """The picture at positions (w,) and (w,), into planes (3, w)."""
    height, width, channels = picture.shape
    _sample(picture.reshape(-1), np.int32(height), np.int32(width), np.int32(channels), xs, ys, out[0], out[1], out[2])


@inline
def _copy(row, out):
    for j in range(out.shape[0]):
        out[j] = row[j]


@inline
def _fill(out, value):
    for j in range(out.shape[0]):
        out[j] = value


@compiled
def _filter_rows(ring, y, height, taps, padded, out):
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


# ---- candidates, their prior, and what the merging network sees ------------------------------------------------------


@inline
def _hat(a, b, c):
    return clip((_HAT_TOP - _largest(a, b, c)) * _HAT_SLOPE, ZERO, ONE)


@inline
def _inside(x, y, height, width):
    return (x >= _OUTSIDE_LOW) & (x <= width + _OUTSIDE_HIGH) & (y >= _OUTSIDE_LOW) & (y <= height + _OUTSIDE_HIGH)


@compiled
def merge_input(
    reference,
    frames,
    flows,
    backs,
    confidence,
    exposures,
    gains,
    taps,
    region,
    band,
    x,
    radiance,
    log_prior,
    smoothed,
    constants=_CONSTANTS,
):
    """What `bands.merge_input` returns, of the rows of a band.

    `frames`, `flows` of the K neighbours, in tuples. `confidence` (K, H, W), and `backs` a tuple of flows that is not
    looked at; or `confidence` (0, 0, 0): then neighbours are checked as `prior.alignment_confidence` does.
    `exposures` (K + 1,) of the reference and the neighbours. `gains` (K, 2): of the codes of the reference and of the
    neighbour, to the longer exposure of the two. `taps`: two kernels, the wider one last.
    """
    count = len(frames)
    checked = confidence.shape[0] == 0
    height, width = reference.shape[0], reference.shape[1]
    region_top, _, region_left, region_right = region
    top, bottom = band
    halo = taps[1].shape[0] // 2
    reach = BOX_RADIUS if checked else 0
    left, right = max(region_left - halo - reach, 0), min(region_right + halo + reach, width)
    w, skip, kept = right - left, region_left - left, region_right - region_left
    inner = slice(skip, skip + kept)
    tones_size, codes_size = 2 * halo + 1, 2 * reach + 1
    tones = np.empty((3, tones_size, w), np.float32)
    codes = np.empty((count + 1, codes_size, 3, w), np.float32)
    differences = np.empty((count, 3, codes_size, w), np.float32)
    box = np.full(2 * BOX_RADIUS + 1, _FIFTH, np.float32)
    padded = np.empty(w + 2 * max(halo, BOX_RADIUS), np.float32)
    means = np.empty((3, w), np.float32)
    weights, light = np.empty((count + 1, w), np.float32), np.empty((count + 1, 3, w), np.float32)
    total, x_from, y_from = np.empty(w, np.float32), np.empty(w, np.float32), np.empty(w, np.float32)
    returned = np.empty((3, w), np.float32)
    blurred = np.empty(w, np.float32)
    seen = np.empty((CHANNELS_PER_CANDIDATE * (count + 1), kept), np.float32)
    smoothed_seen = np.empty((6, kept), np.float32)
    log_exposures = np.log(exposures)
    sampled = max(top - halo - reach, 0)
    for r in range(max(top - halo, 0), min(bottom + halo, height)):
        while sampled <= min(r + reach, height - 1):
            slot = sampled % codes_size
            pixels = reference[sampled, left:right]
            for c in range(3):
                out = codes[0, slot, c]
                for j in range(w):
                    out[j] = pixels[j, c]
            for k in range(count):
                _sample_row(frames[k], flows[k], sampled, left, x_from, y_from, codes[k + 1, slot])
                if checked:
                    own, other = gains[k, 0], gains[k, 1]
                    for c in range(3):
                        here, there, out = codes[0, slot, c], codes[k + 1, slot, c], differences[k, c, slot]
                        for j in range(w):
                            out[j] = least(here[j] * own, ONE) - least(there[j] * other, ONE)
            sampled += 1
        slot = r % codes_size
        for i in range(count + 1):
            a, exposure = codes[i, slot], exposures[i]
            mine, red, green, blue = weights[i], a[0], a[1], a[2]
            if exposure <= ONE + F(1e-6):
                _fill(mine, exposure)
            else:
                for j in range(w):
                    mine[j] = exposure * _hat(red[j], green[j], blue[j])
            for c in range(3):
                code, out, log_exposure = a[c], light[i, c], log_exposures[i]
                for j in range(w):
                    out[j] = _exp(_log(most(code[j], _DARKEST)) * _GAMMA - log_exposure)
        for k in range(count):
            mine, flow = weights[k + 1], flows[k][r, left:right]
            for j in range(w):
                x_from[j], y_from[j] = F(left + j) + flow[j, 0], F(r) + flow[j, 1]
            if checked:
                for c in range(3):
                    _filter_rows(differences[k, c], r, height, box, padded[: w + 2 * BOX_RADIUS], means[c])
                red, green, blue = means[0], means[1], means[2]
                for j in range(w):
                    worst = _largest(abs(red[j]), abs(green[j]), abs(blue[j])) * _AGREEMENT
                    mine[j] *= _exp(-worst * worst)
                _sample_at(backs[k], x_from, y_from, returned)
                back_u, back_v = returned[0], returned[1]
                for j in range(w):
                    u, v = flow[j, 0], flow[j, 1]
                    tolerance = F(np.sqrt(u * u + v * v)) * F(0.05) + HALF
                    u, v = (u + back_u[j]) / tolerance, (v + back_v[j]) / tolerance
                    back_u[j] = u * u + v * v
                for j in range(w):
                    mine[j] *= (ONE - _CONSISTENCY_FLOOR) * _exp(-back_u[j]) + _CONSISTENCY_FLOOR
            else:
                trust = confidence[k, r, left:right]
                for j in range(w):
                    mine[j] *= trust[j]
            for j in range(w):
                mine[j] = mine[j] if _inside(x_from[j], y_from[j], F(height), F(width)) else ZERO
        _fill(total, ZERO)
        for i in range(count + 1):
            mine = weights[i]
            for j in range(w):
                mine[j] += _WEIGHT_FLOOR
                total[j] += mine[j]
        for c in range(3):
            tone = tones[c, r % tones_size]
            _fill(tone, ZERO)
            for i in range(count + 1):
                mine, out = weights[i], light[i, c]
                for j in range(w):
                    tone[j] += out[j] * mine[j]
            for j in range(w):
                tone[j] = _mu_law(tone[j] / total[j])
        if top <= r < bottom:
            y = r - region_top
            for i in range(count + 1):
                a = codes[i, slot]
                first = CHANNELS_PER_CANDIDATE * i
                for c in range(3):
                    out, mine, code = radiance[i, c, y], light[i, c, inner], a[c, inner]
                    code_seen, tone_seen = seen[first + c], seen[first + 3 + c]
                    _copy(mine, out)
                    for j in range(kept):
                        code_seen[j] = code[j] - HALF
                    for j in range(kept):
                        tone_seen[j] = _mu_law(mine[j]) - HALF
                prior, prior_seen, mine, whole = log_prior[i, y], seen[first + 6], weights[i, inner], total[inner]
                for j in range(kept):
                    prior[j] = _log(mine[j] / whole[j])
                for j in range(kept):
                    prior_seen[j] = prior[j] * _LOG_PRIOR_SCALE
            _store(seen, x[y], 0)
        last = r == height - 1
        for y in range(max(r - halo, top), (bottom if last else min(r - halo + 1, bottom))):
            for s in range(2):
                for c in range(3):
                    n = taps[s].shape[0] // 2
                    _filter_rows(tones[c], y, height, taps[s], padded[: w + 2 * n], blurred)
                    out, mine, tone_seen = smoothed[s, c, y - region_top], blurred[inner], smoothed_seen[3 * s + c]
                    _copy(mine, out)
                    for j in range(kept):
                        tone_seen[j] = mine[j] - HALF
            _store(smoothed_seen, x[y - region_top], seen.shape[0])


@compiled
def merge_result(
    out, radiance, log_prior, smoothed, weight_channels, columns, band, corner, result, weights, constants=_CONSTANTS
):
    """What `bands.merge_result` does, of the rows `band` and the `columns` of the input, two each, the first one even.

    `out` (h' / 2, w' / 2, 4 c). The first row and column of `band` and `columns` come to `corner` of `result` (H, W, 3)
    and `weights` (C + 2, 3, H, W), or (0, 0, 0, 0) where they are not wanted.
    """
    top, bottom = band
    left, right = columns
    w = right - left
    count = radiance.shape[0]
    shares = count + smoothed.shape[0]
    values = np.empty((shares * weight_channels + 3, w + w % 2), np.float32)
    peak, merged, total = np.empty(w, np.float32), np.empty(w, np.float32), np.empty((weight_channels, w), np.float32)
    finite = True
    for y in range(top, bottom):
        half, part = out[y // 2, left // 2 : (right + 1) // 2], 2 * (y % 2)
        for n in range(values.shape[0]):
            line, first = values[n], 4 * n + part
            for j in range(half.shape[0]):
                line[2 * j], line[2 * j + 1] = _widened(half[j, first]), _widened(half[j, first + 1])
        for m in range(weight_channels):
            _fill(peak, F(-np.inf))
            for i in range(shares):
                line = values[i * weight_channels + m]
                if i < count:
                    prior = log_prior[i, y, left:right]
                    for j in range(w):
                        line[j] += prior[j]
                else:
                    for j in range(w):
                        line[j] += _LOG_SMOOTHED_PRIOR
                for j in range(w):
                    peak[j] = most(peak[j], line[j])
            whole = total[m]
            _fill(whole, ZERO)
            for i in range(shares):
                line = values[i * weight_channels + m]
                for j in range(w):
                    line[j] = _exp(line[j] - peak[j])
                    whole[j] += line[j]
        to_y, to_x = corner[0] + y - top, corner[1]
        for c in range(3):
            m = c if weight_channels == 3 else 0
            whole = total[m]
            _fill(merged, ZERO)
            for i in range(shares):
                line = values[i * weight_channels + m]
                if i < count:
                    light = radiance[i, c, y, left:right]
                    for j in range(w):
                        merged[j] += line[j] * light[j]
                else:
                    tone = smoothed[i - count, c, y, left:right]
                    for j in range(w):
                        merged[j] += line[j] * _inverse_mu_law(tone[j])
                if weights.shape[0]:
                    share = weights[i, c, to_y, to_x : to_x + w]
                    for j in range(w):
                        share[j] = line[j] / whole[j]
            residual = values[shares * weight_channels + c]
            lost = 0
            for j in range(w):
                blend = merged[j] / whole[j]
                good = (abs(blend) < F(np.inf)) & (abs(residual[j]) < F(np.inf))
                bright = (blend == F(np.inf)) | (residual[j] == F(np.inf))
                lost += not good
                found = _inverse_mu_law(_mu_law(blend) + _RESIDUAL * residual[j])
                merged[j] = found if good else (ONE if bright else ZERO)
            pixels = result[to_y, to_x : to_x + w]
            for j in range(w):
                pixels[j, c] = merged[j]
            finite = finite and lost == 0
    return finite


# ---- refinement of the flow ------------------------------------------------------------------------------------------


@compiled
def matched(picture, gain, region, band, out, constants=_CONSTANTS):
    """Rows `band` of a region of a picture at another exposure, into their place in `out` (h, w, 3)."""
    top, _, left, right = region
    for y in range(band[0], band[1]):
        pixels, row = picture[y, left:right], out[y - top]
        for j in range(right - left):
            for c in range(3):
                row[j, c] = least(pixels[j, c] * gain, ONE)


@compiled
def evidence(
    reference,
    frame,
    flow,
    back,
    turned,
    turn,
    other,
    other_flow,
    gains,
    taps,
    region,
    band,
    fine,
    warped,
    offsets,
    constants=_CONSTANTS,
):
    """What `bands.evidence` returns of one neighbour, of the rows of a band.

    `turned`, `turn`: flow and sign of `bands.Mirrored`. `other`, `other_flow`: the neighbour on the other side. `gains`
    (4,): of the reference's and the neighbour's codes to the longer exposure of the two; of the neighbour's and the
    other's to the longer exposure of these. `fine` (h, w, EVIDENCE_CHANNELS - 1), `warped` (h, w, 3), `offsets`
    (4, h, w) are those of the region.
    """
    height, width = reference.shape[0], reference.shape[1]
    region_top, _, region_left, region_right = region
    top, bottom = band
    left, right = max(region_left - HALO_PX, 0), min(region_right + HALO_PX, width)
    w, skip, kept = right - left, region_left - left, region_right - region_left
    inner = slice(skip, skip + kept)
    to_target, gain, to_longer, other_to_longer = gains[0], gains[1], gains[2], gains[3]
    # one more column on both sides: the gradients' border
    size, products_size = 2 * HALO_PX + 1, 2 * WINDOW_RADIUS + 1
    own = np.empty((size, 3, w), np.float32)
    sums, changes = np.empty((size, 3, w + 2), np.float32), np.empty((size, 3, w), np.float32)
    products = np.empty((5, products_size, w), np.float32)
    padded = np.empty(w + 2 * WINDOW_RADIUS, np.float32)
    means = np.empty((5, w), np.float32)
    at_x, at_y = np.empty(w, np.float32), np.empty(w, np.float32)
    samples, positions = np.empty((4, 3, kept), np.float32), np.empty((6, kept), np.float32)
    moved, around, across, returned = samples[0], samples[1], samples[2], samples[3]
    x_from, y_from, x_step = positions[0], positions[1], positions[2]
    y_step, x_turned, y_turned = positions[3], positions[4], positions[5]
    seen = np.empty((fine.shape[2], kept), np.float32)
    sampled, multiplied = max(top - HALO_PX, 0), max(top - WINDOW_RADIUS, 0)
    for y in range(top, bottom):
        while sampled <= min(y + HALO_PX, height - 1):
            slot = sampled % size
            _sample_row(frame, flow, sampled, left, at_x, at_y, own[slot])
            pixels = reference[sampled, left:right]
            for c in range(3):
                total, change, mine = sums[slot, c], changes[slot, c], own[slot, c]
                for j in range(w):
                    a, s = least(pixels[j, c] * to_target, ONE), least(mine[j] * gain, ONE)
                    total[j + 1] = a + s  # twice the mean
                    change[j] = s - a
                replicate(total, 1)
            sampled += 1
        while multiplied <= min(y + WINDOW_RADIUS, height - 1):
            slot = multiplied % products_size
            xx, xy, yy = products[0, slot], products[1, slot], products[2, slot]
            xt, yt = products[3, slot], products[4, slot]
            for n in range(5):
                _fill(products[n, slot], ZERO)
            for c in range(3):
                total, change = sums[multiplied % size, c], changes[multiplied % size, c]
                above, below = sums[max(multiplied - 1, 0) % size, c], sums[min(multiplied + 1, height - 1) % size, c]
                for j in range(w):
                    gx, gy, gt = total[j + 2] - total[j], below[j + 1] - above[j + 1], change[j]
                    xx[j] += gx * gx
                    xy[j] += gx * gy
                    yy[j] += gy * gy
                    xt[j] += gx * gt
                    yt[j] += gy * gt
            multiplied += 1
        for n in range(5):
            _filter_rows(products[n], y, height, taps, padded, means[n])
        xx, xy, yy = means[0, inner], means[1, inner], means[2, inner]
        xt, yt = means[3, inner], means[4, inner]
        right_step, down_step = offsets[0, y - region_top], offsets[1, y - region_top]
        for j in range(kept):
            # the gradients are four times what they should be
            a, b, c = xx[j] * _SIXTEENTH + _DAMPING, xy[j] * _SIXTEENTH, yy[j] * _SIXTEENTH + _DAMPING
            scale = _QUARTER / (a * c - b * b)
            right_step[j] = clip((b * yt[j] - c * xt[j]) * scale, -ONE, ONE)
            down_step[j] = clip((b * xt[j] - a * yt[j]) * scale, -ONE, ONE)
        here, slot, columns = y - region_top, y % size, slice(region_left, region_right)
        pixels, out = reference[y, columns], warped[here]
        flow_row, turned_row = flow[y, columns], turned[y, columns]
        step_u, step_v, turned_u, turned_v = offsets[0, here], offsets[1, here], offsets[2, here], offsets[3, here]
        for j in range(kept):
            turned_u[j] = turn * turned_row[j, 0] - flow_row[j, 0]
        for j in range(kept):
            turned_v[j] = turn * turned_row[j, 1] - flow_row[j, 1]
        for j in range(kept):
            x_from[j], y_from[j] = F(region_left + j) + flow_row[j, 0], F(y) + flow_row[j, 1]
        for j in range(kept):
            x_step[j], y_step[j] = x_from[j] + step_u[j], y_from[j] + step_v[j]
        for j in range(kept):
            x_turned[j], y_turned[j] = x_from[j] + turned_u[j], y_from[j] + turned_v[j]
        _sample_row(other, other_flow, y, region_left, at_x[:kept], at_y[:kept], across)
        _sample_at(frame, x_step, y_step, moved)
        _sample_at(frame, x_turned, y_turned, around)
        _sample_at(back, x_from, y_from, returned)
        worst, sides = seen[9], seen[10]
        _fill(worst, ZERO)
        _fill(sides, ZERO)
        for c in range(3):
            mine, by_step, by_turned, beyond = own[slot, c, inner], moved[c], around[c], across[c]
            here_seen, own_seen, step_seen = seen[c], seen[3 + c], seen[6 + c]
            for j in range(kept):
                here_seen[j] = least(pixels[j, c] * to_target, ONE)
            for j in range(kept):
                out[j, c] = least(mine[j] * gain, ONE)
            for j in range(kept):
                own_seen[j] = (least(mine[j] * gain, ONE) - here_seen[j]) * _DIFFERENCE
            for j in range(kept):
                step_seen[j] = (least(by_step[j] * gain, ONE) - here_seen[j]) * _DIFFERENCE
            for j in range(kept):
                worst[j] = most(worst[j], abs(least(by_turned[j] * gain, ONE) - here_seen[j]))
            for j in range(kept):
                sides[j] += least(mine[j] * to_longer, ONE) - least(beyond[j] * other_to_longer, ONE)
        for j in range(kept):
            worst[j] *= _DIFFERENCE
            sides[j] *= _THIRD * _DIFFERENCE
        for n in range(2):
            offset, to_seen = offsets[n, here], seen[11 + n]
            turned_offset, turned_seen = offsets[2 + n, here], seen[13 + n]
            return_flow, error_seen = returned[n], seen[15 + n]
            for j in range(kept):
                to_seen[j] = offset[j] * _OFFSET
            for j in range(kept):
                turned_seen[j] = clip(turned_offset[j], -_LIMIT, _LIMIT) * _OFFSET
            for j in range(kept):
                error_seen[j] = clip(flow_row[j, n] + return_flow[j], -_LIMIT, _LIMIT) * _OFFSET
        red, green, blue = own[slot, 0, inner], own[slot, 1, inner], own[slot, 2, inner]
        brightest, brightest_own = seen[17], seen[18]
        for j in range(kept):
            brightest[j] = _largest(pixels[j, 0], pixels[j, 1], pixels[j, 2])
            brightest_own[j] = _largest(red[j], green[j], blue[j])
        _store(seen, fine[here], 0)


@inline
def _unit(row, out, mean, length):
    """Embeddings (w, C) as features: planes (C, w) without their mean, of unit length."""
    w, channels = row.shape
    for x in range(w):
        for c in range(channels):
            out[c, x] = _widened(row[x, c])
    _fill(mean, ZERO)
    for c in range(channels):
        plane = out[c]
        for x in range(w):
            mean[x] += plane[x]
    for x in range(w):
        mean[x] /= F(channels)
    _fill(length, ZERO)
    for c in range(channels):
        plane = out[c]
        for x in range(w):
            plane[x] -= mean[x]
            length[x] += plane[x] * plane[x]
    for x in range(w):
        length[x] = ONE / most(F(np.sqrt(length[x])), _SHORTEST)
    for c in range(channels):
        plane = out[c]
        for x in range(w):
            plane[x] *= length[x]


@compiled
def correlation(reference, warped, sharpness, band, volume, shift, constants=_CONSTANTS):
    """What `bands.correlation` returns, of the rows of a band: embeddings (h, w, C), `volume` (h, w, S), `shift`
    (2, h, w)."""
    h, w, channels = reference.shape
    top, bottom = band
    r = CORRELATION_RADIUS
    here = np.empty((channels, w), np.float32)
    around = np.zeros((bottom - top + 2 * r, channels, w + 2 * r), np.float32)
    found = np.empty((_SIDE * _SIDE, w), np.float32)
    rows = np.empty((4, w), np.float32)
    peak, total, right, down = rows[0], rows[1], rows[2], rows[3]
    for y in range(max(top - r, 0), min(bottom + r, h)):
        _unit(warped[y], around[y - top + r, :, r : r + w], peak, total)
    for y in range(top, bottom):
        _unit(reference[y], here, peak, total)
        _fill(peak, F(-np.inf))
        for n in range(_SIDE * _SIDE):
            line, i, j = found[n], n // _SIDE, n % _SIDE
            _fill(line, ZERO)
            for c in range(channels):
                a, s = here[c], around[y - top + i, c, j : j + w]
                for x in range(w):
                    line[x] += a[x] * s[x]
            for x in range(w):
                peak[x] = most(peak[x], line[x])
        _fill(total, ZERO)
        _fill(right, ZERO)
        _fill(down, ZERO)
        for n in range(_SIDE * _SIDE):
            line, i, j = found[n], F(4 * (n // _SIDE - r)), F(4 * (n % _SIDE - r))
            for x in range(w):
                likely = _exp((line[x] - peak[x]) * sharpness)
                total[x] += likely
                right[x] += j * likely
                down[x] += i * likely
        for x in range(w):
            shift[0, y, x], shift[1, y, x] = right[x] / total[x], down[x] / total[x]
        _store(found, volume[y], 0)


@inline
def _quadrupled(plane, y, padded, out):
    """Row y of a plane (h, w) at four times its size, bilinear, border replicated."""
    h, w = plane.shape
    above = (y - 2) // 4
    below = (F(y) - F(1.5)) * _QUARTER - F(above)
    upper, lower = plane[max(above, 0)], plane[min(above + 1, h - 1)]
    for k in range(w):
        padded[k + 1] = upper[k] + below * (lower[k] - upper[k])
    replicate(padded, 1)
    for k in range(w):
        before, here, after = padded[k], padded[k + 1], padded[k + 2]
        out[4 * k], out[4 * k + 1] = here + F(0.375) * (before - here), here + F(0.125) * (before - here)
        out[4 * k + 2], out[4 * k + 3] = here + F(0.125) * (after - here), here + F(0.375) * (after - here)


@compiled
def refine_flow(out, shift, offsets, columns, band, corner, flow, confidence, constants=_CONSTANTS):
    """What `bands.refine_flow` does, of the rows `band` and the `columns` of the evidence, two each.

    `out` (h / 2, w / 2, 24), `shift` (2, h / 4, w / 4). The first row and column of `band` and `columns` come to
    `corner` of `flow` (H, W, 2) and `confidence` (H, W).
    """
    top, bottom = band
    left, right = columns
    padded, found = np.empty(shift.shape[2] + 2, np.float32), np.empty((2, 4 * shift.shape[2]), np.float32)
    for y in range(top, bottom):
        for c in range(2):
            _quadrupled(shift[c], y, padded, found[c])
        half, part = out[y // 2], 2 * (y % 2)
        to_y = corner[0] + y - top
        for x in range(left, right):
            pixel = half[x // 2]
            first = part + x % 2
            step, mirror, match = _widened(pixel[8 + first]), _widened(pixel[12 + first]), _widened(pixel[16 + first])
            to_x = corner[1] + x - left
            for c in range(2):
                change = _widened(pixel[4 * c + first])
                change += step * offsets[c, y, x] + mirror * offsets[2 + c, y, x] + match * found[c, x]
                flow[to_y, to_x, c] += change
            confidence[to_y, to_x] = ONE / (ONE + _exp(-_widened(pixel[20 + first])))


# ---- classical alignment ---------------------------------------------------------------------------------------------


@compiled
def luma(frame, gain, halvings, out):
    """`alignment.matched_luma8`, halved so often by the mean of 2 x 2 pixels: `out` (H / 2^n, W / 2^n)."""
    size = 1 << halvings
    width = frame.shape[1]
    codes, sums = np.empty(width, np.float32), np.empty(width, np.int32)
    for i in range(out.shape[0]):
        _fill(sums, np.int32(0))
        for r in range(size):
            pixels = frame[i * size + r]
            for j in range(width):
                red, green, blue = least(pixels[j, 0] * gain, ONE), least(pixels[j, 1] * gain, ONE), pixels[j, 2] * gain
                codes[j] = _LUMA_RED * red + _LUMA_GREEN * green + _LUMA_BLUE * least(blue, ONE)
            for j in range(width):
                sums[j] += np.int32(np.rint(most(codes[j], ZERO) * F(255)))
        for n in range(halvings):
            for k in range(width >> (n + 1)):
                sums[k] = sums[2 * k] + sums[2 * k + 1]
        row, half = out[i], np.int32(size * size // 2)
        for k in range(row.shape[0]):
            row[k] = np.uint8((sums[k] + half) >> (2 * halvings))


@inline_apart
def _moved_row(values, flow, y, height, width, out):
    """Row y of a picture's values (H * W,) at x + flow, flow (W, 2)."""
    for j in range(out.shape[0]):
        at, right, down, fx, fy = located(F(j) + flow[j, 0], F(y) + flow[j, 1], height, width, np.int32(1))
        out[j] = between(values, at, right, down, fx, fy)


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
        here, row = reference[y], out[y]
        for j in range(width):
            row[j] = abs(a[j] - here[j]) + abs(b[j] - here[j])
        for j in range(width):
            row[j] += abs(c[j] - d[j]) * factor


@inline_apart
def _return_row(back, flow, y, height, width, limit, out):
    for j in range(out.shape[0]):
        at, right, down, fx, fy = located(F(j) + flow[j, 0], F(y) + flow[j, 1], height, width, np.int32(2))
        u = flow[j, 0] + between(back, at, right, down, fx, fy)
        v = flow[j, 1] + between(back, at + 1, right, down, fx, fy)
        out[j] = u * u + v * v < limit


@compiled
def consistent(flow, flow_back, tolerance, out):
    """`alignment.DenseInverseSearch.consistent`."""
    height, width = flow.shape[:2]
    back = flow_back.reshape(-1)
    for y in range(height):
        _return_row(back, flow[y], y, np.int32(height), np.int32(width), tolerance * tolerance, out[y])


@compiled
def doubled_flow(flow, out):
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
                before, here, after = padded[k, c], padded[k + 1, c], padded[k + 2, c]
                row[2 * k, c], row[2 * k + 1, c] = here + _QUARTER * (before - here), here + _QUARTER * (after - here)
