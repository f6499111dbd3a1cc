"""What the flow network looks at, its correlation, and the flow from its output, compiled for the CPU by Numba.

The formulas are those of `hdrvid.models.flow_net`.

The convention is that of `hdrvid.compiled`.
"""

from __future__ import annotations

import numpy as np

from hdrvid.compiled.jit import (
    ONE,
    ZERO,
    F,
    clip,
    compiled,
    constants_key,
    inline,
    maximum,
    minimum,
    replicate,
)
from hdrvid.compiled.pixels import CONSTANTS as PIXEL_CONSTANTS
from hdrvid.compiled.pixels import QUARTER, exp, fill, filter_rows, largest, sample_at, sample_row, store, widened
from hdrvid.models.constants import (
    CORRELATION_RADIUS,
    DAMPING,
    DIFFERENCE_SCALE,
    HALO_PX,
    OFFSET_LIMIT_PX,
    OFFSET_SCALE,
    SHORTEST,
    WINDOW_RADIUS,
)

_DIFFERENCE = F(DIFFERENCE_SCALE)
_LIMIT = F(OFFSET_LIMIT_PX)
_OFFSET = F(OFFSET_SCALE)
_DAMPING = F(DAMPING)
_SHORTEST = F(SHORTEST)
_SIXTEENTH = F(1 / 16)
_THIRD = F(1 / 3)
_SIDE = 2 * CORRELATION_RADIUS + 1

_CONSTANTS = constants_key(globals()) ^ PIXEL_CONSTANTS
"""Key of the constants above, for Numba's cache."""


@compiled
def matched(picture, gain, floor, region, band, out, constants=_CONSTANTS):
    """Rows `band` of a region of a picture at another exposure, none below a floor, into their place in `out`
    (h, w, 3)."""
    top, _, left, right = region
    for y in range(band[0], band[1]):
        pixels, row = picture[y, left:right], out[y - top]
        for j in range(right - left):
            for c in range(3):
                row[j, c] = maximum(minimum(pixels[j, c] * gain, ONE), floor)


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
    (6,): of the reference's and the neighbour's codes to the longer exposure of the two; of the neighbour's and the
    other's to the longer exposure of these; the floors of both comparisons. `fine` (h, w, EVIDENCE_CHANNELS - 1),
    `warped` (h, w, 3), `offsets` (4, h, w) are those of the region.
    """
    height, width = reference.shape[0], reference.shape[1]
    region_top, _, region_left, region_right = region
    top, bottom = band
    left, right = max(region_left - HALO_PX, 0), min(region_right + HALO_PX, width)
    w, skip, kept = right - left, region_left - left, region_right - region_left
    inner = slice(skip, skip + kept)
    to_target, gain, to_longer, other_to_longer = gains[0], gains[1], gains[2], gains[3]
    floor, floor_of_sides = gains[4], gains[5]
    # one more column on both sides: the gradients' border
    size, products_size = 2 * HALO_PX + 1, 2 * WINDOW_RADIUS + 1
    warped_codes = np.empty((size, 3, w), np.float32)
    sums, changes = np.empty((size, 3, w + 2), np.float32), np.empty((size, 3, w), np.float32)
    products = np.empty((5, products_size, w), np.float32)
    padded = np.empty(w + 2 * WINDOW_RADIUS, np.float32)
    means = np.empty((5, w), np.float32)
    at_x, at_y = np.empty(w, np.float32), np.empty(w, np.float32)
    samples, positions = np.empty((4, 3, kept), np.float32), np.empty((6, kept), np.float32)
    moved, around, across, returned = samples[0], samples[1], samples[2], samples[3]
    x_from, y_from, x_step = positions[0], positions[1], positions[2]
    y_step, x_turned, y_turned = positions[3], positions[4], positions[5]
    inputs = np.empty((fine.shape[2], kept), np.float32)
    sampled, multiplied = max(top - HALO_PX, 0), max(top - WINDOW_RADIUS, 0)
    for y in range(top, bottom):
        while sampled <= min(y + HALO_PX, height - 1):
            slot = sampled % size
            sample_row(frame, flow, sampled, left, at_x, at_y, warped_codes[slot])
            pixels = reference[sampled, left:right]
            for c in range(3):
                total, change, warped_row = sums[slot, c], changes[slot, c], warped_codes[slot, c]
                for j in range(w):
                    a = maximum(minimum(pixels[j, c] * to_target, ONE), floor)
                    s = maximum(minimum(warped_row[j] * gain, ONE), floor)
                    total[j + 1] = a + s  # twice the mean
                    change[j] = s - a
                replicate(total, 1)
            sampled += 1
        while multiplied <= min(y + WINDOW_RADIUS, height - 1):
            slot = multiplied % products_size
            xx, xy, yy = products[0, slot], products[1, slot], products[2, slot]
            xt, yt = products[3, slot], products[4, slot]
            for n in range(5):
                fill(products[n, slot], ZERO)
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
            filter_rows(products[n], y, height, taps, padded, means[n])
        xx, xy, yy = means[0, inner], means[1, inner], means[2, inner]
        xt, yt = means[3, inner], means[4, inner]
        right_step, down_step = offsets[0, y - region_top], offsets[1, y - region_top]
        for j in range(kept):
            # the gradients are four times what they should be
            a, b, c = xx[j] * _SIXTEENTH + _DAMPING, xy[j] * _SIXTEENTH, yy[j] * _SIXTEENTH + _DAMPING
            scale = QUARTER / (a * c - b * b)
            right_step[j] = clip((b * yt[j] - c * xt[j]) * scale, -ONE, ONE)
            down_step[j] = clip((b * xt[j] - a * yt[j]) * scale, -ONE, ONE)
        row_in_region, slot, columns = y - region_top, y % size, slice(region_left, region_right)
        pixels, out = reference[y, columns], warped[row_in_region]
        flow_row, turned_row = flow[y, columns], turned[y, columns]
        step_u, step_v, turned_u, turned_v = (
            offsets[0, row_in_region],
            offsets[1, row_in_region],
            offsets[2, row_in_region],
            offsets[3, row_in_region],
        )
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
        sample_row(other, other_flow, y, region_left, at_x[:kept], at_y[:kept], across)
        sample_at(frame, x_step, y_step, moved)
        sample_at(frame, x_turned, y_turned, around)
        sample_at(back, x_from, y_from, returned)
        worst, sides = inputs[9], inputs[10]
        fill(worst, ZERO)
        fill(sides, ZERO)
        for c in range(3):
            warped_row, by_step, by_turned, beyond = warped_codes[slot, c, inner], moved[c], around[c], across[c]
            here_seen, own_seen, step_seen = inputs[c], inputs[3 + c], inputs[6 + c]
            for j in range(kept):
                here_seen[j] = maximum(minimum(pixels[j, c] * to_target, ONE), floor)
            for j in range(kept):
                out[j, c] = maximum(minimum(warped_row[j] * gain, ONE), floor)
            for j in range(kept):
                own_seen[j] = (maximum(minimum(warped_row[j] * gain, ONE), floor) - here_seen[j]) * _DIFFERENCE
            for j in range(kept):
                step_seen[j] = (maximum(minimum(by_step[j] * gain, ONE), floor) - here_seen[j]) * _DIFFERENCE
            for j in range(kept):
                turned_code = maximum(minimum(by_turned[j] * gain, ONE), floor)
                worst[j] = maximum(worst[j], abs(turned_code - here_seen[j]))
            for j in range(kept):
                near_side = maximum(minimum(warped_row[j] * to_longer, ONE), floor_of_sides)
                sides[j] += near_side - maximum(minimum(beyond[j] * other_to_longer, ONE), floor_of_sides)
        for j in range(kept):
            worst[j] *= _DIFFERENCE
            sides[j] *= _THIRD * _DIFFERENCE
        for n in range(2):
            offset, to_seen = offsets[n, row_in_region], inputs[11 + n]
            turned_offset, turned_seen = offsets[2 + n, row_in_region], inputs[13 + n]
            return_flow, error_seen = returned[n], inputs[15 + n]
            for j in range(kept):
                to_seen[j] = offset[j] * _OFFSET
            for j in range(kept):
                turned_seen[j] = clip(turned_offset[j], -_LIMIT, _LIMIT) * _OFFSET
            for j in range(kept):
                error_seen[j] = clip(flow_row[j, n] + return_flow[j], -_LIMIT, _LIMIT) * _OFFSET
        red, green, blue = warped_codes[slot, 0, inner], warped_codes[slot, 1, inner], warped_codes[slot, 2, inner]
        brightest, brightest_own = inputs[17], inputs[18]
        for j in range(kept):
            brightest[j] = largest(pixels[j, 0], pixels[j, 1], pixels[j, 2])
            brightest_own[j] = largest(red[j], green[j], blue[j])
        store(inputs, fine[row_in_region], 0)


@inline
def _unit(row, out, mean, length):
    """Embeddings (w, C) as features: planes (C, w) without their mean, of unit length."""
    w, channels = row.shape
    for x in range(w):
        for c in range(channels):
            out[c, x] = widened(row[x, c])
    fill(mean, ZERO)
    for c in range(channels):
        plane = out[c]
        for x in range(w):
            mean[x] += plane[x]
    for x in range(w):
        mean[x] /= F(channels)
    fill(length, ZERO)
    for c in range(channels):
        plane = out[c]
        for x in range(w):
            plane[x] -= mean[x]
            length[x] += plane[x] * plane[x]
    for x in range(w):
        length[x] = ONE / maximum(F(np.sqrt(length[x])), _SHORTEST)
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
    reference_row = np.empty((channels, w), np.float32)
    around = np.zeros((bottom - top + 2 * r, channels, w + 2 * r), np.float32)
    scores = np.empty((_SIDE * _SIDE, w), np.float32)
    rows = np.empty((4, w), np.float32)
    peak, total, right, down = rows[0], rows[1], rows[2], rows[3]
    for y in range(max(top - r, 0), min(bottom + r, h)):
        _unit(warped[y], around[y - top + r, :, r : r + w], peak, total)
    for y in range(top, bottom):
        _unit(reference[y], reference_row, peak, total)
        fill(peak, F(-np.inf))
        for n in range(_SIDE * _SIDE):
            line, i, j = scores[n], n // _SIDE, n % _SIDE
            fill(line, ZERO)
            for c in range(channels):
                a, s = reference_row[c], around[y - top + i, c, j : j + w]
                for x in range(w):
                    line[x] += a[x] * s[x]
            for x in range(w):
                peak[x] = maximum(peak[x], line[x])
        fill(total, ZERO)
        fill(right, ZERO)
        fill(down, ZERO)
        for n in range(_SIDE * _SIDE):
            line, i, j = scores[n], F(4 * (n // _SIDE - r)), F(4 * (n % _SIDE - r))
            for x in range(w):
                likely = exp((line[x] - peak[x]) * sharpness)
                total[x] += likely
                right[x] += j * likely
                down[x] += i * likely
        for x in range(w):
            shift[0, y, x], shift[1, y, x] = right[x] / total[x], down[x] / total[x]
        store(scores, volume[y], 0)


@inline
def _quadrupled(plane, y, padded, out):
    """Row y of a plane (h, w) at four times its size, bilinear, border replicated."""
    h, w = plane.shape
    above = (y - 2) // 4
    below = (F(y) - F(1.5)) * QUARTER - F(above)
    upper, lower = plane[max(above, 0)], plane[min(above + 1, h - 1)]
    for k in range(w):
        padded[k + 1] = upper[k] + below * (lower[k] - upper[k])
    replicate(padded, 1)
    for k in range(w):
        before, centre, after = padded[k], padded[k + 1], padded[k + 2]
        out[4 * k], out[4 * k + 1] = centre + F(0.375) * (before - centre), centre + F(0.125) * (before - centre)
        out[4 * k + 2], out[4 * k + 3] = centre + F(0.125) * (after - centre), centre + F(0.375) * (after - centre)


@compiled
def refine_flow(out, shift, offsets, columns, band, corner, flow, confidence, constants=_CONSTANTS):
    """What `bands.refine_flow` does, of the rows `band` and the `columns` of the evidence, two each.

    `out` (h / 2, w / 2, 24), `shift` (2, h / 4, w / 4). The first row and column of `band` and `columns` come to
    `corner` of `flow` (H, W, 2) and `confidence` (H, W).
    """
    top, bottom = band
    left, right = columns
    padded, upsampled = np.empty(shift.shape[2] + 2, np.float32), np.empty((2, 4 * shift.shape[2]), np.float32)
    for y in range(top, bottom):
        for c in range(2):
            _quadrupled(shift[c], y, padded, upsampled[c])
        half, part = out[y // 2], 2 * (y % 2)
        to_y = corner[0] + y - top
        for x in range(left, right):
            pixel = half[x // 2]
            first = part + x % 2
            step, mirror, match = widened(pixel[8 + first]), widened(pixel[12 + first]), widened(pixel[16 + first])
            to_x = corner[1] + x - left
            for c in range(2):
                change = widened(pixel[4 * c + first])
                change += step * offsets[c, y, x] + mirror * offsets[2 + c, y, x] + match * upsampled[c, x]
                flow[to_y, to_x, c] += change
            confidence[to_y, to_x] = ONE / (ONE + exp(-widened(pixel[20 + first])))
