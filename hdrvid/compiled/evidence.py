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
    empty1,
    empty2,
    empty3,
    inline,
    maximum,
    minimum,
    part,
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


@inline
def _at(code, gain, floor):
    """A code at another exposure, none below a floor."""
    return maximum(minimum(code * gain, ONE), floor)


@compiled
def matched(picture, gain, floor, region, band, out, constants=_CONSTANTS):
    """Rows `band` of a region of a picture at another exposure, none below a floor, into their place in `out`
    (h, w, 3)."""
    top, _, left, right = region
    for y in range(band[0], band[1]):
        pixels, row = picture[y, left:right], out[y - top]
        for j in range(right - left):
            for c in range(3):
                row[j, c] = _at(pixels[j, c], gain, floor)


@part
def _change_row(pixels, warped, gains, total, change):
    """Twice the mean of two rows at one exposure, `total` (3, w + 2) with one more pixel at both ends, and how the
    second differs, `change` (3, w): pixels (w, 3) and warped codes (3, w)."""
    to_target, gain, floor = gains[0], gains[1], gains[4]
    for c in range(3):
        both, difference, codes = total[c], change[c], warped[c]
        for j in range(difference.shape[0]):
            a, s = _at(pixels[j, c], to_target, floor), _at(codes[j], gain, floor)
            both[j + 1] = a + s
            difference[j] = s - a
        replicate(both, 1)


@part
def _product_row(total, above, below, change, slot, products):
    """Products of the gradients and the change, summed over the channels, into `products` (5, n, w): xx, xy, yy, xt and
    yt. Gradients are four times what they should be."""
    xx, xy, yy = products[0, slot], products[1, slot], products[2, slot]
    xt, yt = products[3, slot], products[4, slot]
    for n in range(5):
        fill(products[n, slot], ZERO)
    for c in range(3):
        across, upper, lower, difference = total[c], above[c], below[c], change[c]
        for j in range(xx.shape[0]):
            gx, gy, gt = across[j + 2] - across[j], lower[j + 1] - upper[j + 1], difference[j]
            xx[j] += gx * gx
            xy[j] += gx * gy
            yy[j] += gy * gy
            xt[j] += gx * gt
            yt[j] += gy * gt


@part
def _step_row(means, inner, right, down):
    """The step (w,) and (w,), in pixels, that explains the change: of the columns `inner` of the products (5, n)."""
    xx, xy, yy, xt, yt = means[0, inner], means[1, inner], means[2, inner], means[3, inner], means[4, inner]
    for j in range(right.shape[0]):
        a, b, c = xx[j] * _SIXTEENTH + _DAMPING, xy[j] * _SIXTEENTH, yy[j] * _SIXTEENTH + _DAMPING
        scale = QUARTER / (a * c - b * b)
        right[j] = clip((b * yt[j] - c * xt[j]) * scale, -ONE, ONE)
        down[j] = clip((b * xt[j] - a * yt[j]) * scale, -ONE, ONE)


@part
def _turned_row(turned, turn, flow, out_u, out_v):
    """How the mirrored flow (w, 2) differs from the flow (w, 2)."""
    for j in range(out_u.shape[0]):
        out_u[j] = turn * turned[j, 0] - flow[j, 0]
    for j in range(out_v.shape[0]):
        out_v[j] = turn * turned[j, 1] - flow[j, 1]


@part
def _sum_of_rows(a, b, out):
    for j in range(out.shape[0]):
        out[j] = a[j] + b[j]


@part
def _seen_codes(pixels, warped, inner, by_step, by_turned, across, gains, out, seen):
    """What is seen of the codes, of the rows below: channels 0 to 10 of `seen`, and the neighbour's codes at the longer
    exposure in `out` (w, 3).

    `pixels` (w, 3) of the reference. `warped` (3, n) of the neighbour under its flow, of which `inner` are the columns;
    `by_step`, `by_turned`, `across` (3, w): one step on, under the mirrored flow, of the neighbour on the other side.
    """
    to_target, gain, to_longer, other_to_longer = gains[0], gains[1], gains[2], gains[3]
    floor, floor_of_sides = gains[4], gains[5]
    worst, sides = seen[9], seen[10]
    fill(worst, ZERO)
    fill(sides, ZERO)
    for c in range(3):
        warped_row, step_row, turned_row, beyond = warped[c, inner], by_step[c], by_turned[c], across[c]
        here_seen, own_seen, step_seen = seen[c], seen[3 + c], seen[6 + c]
        for j in range(worst.shape[0]):
            here_seen[j] = _at(pixels[j, c], to_target, floor)
        for j in range(worst.shape[0]):
            out[j, c] = _at(warped_row[j], gain, floor)
        for j in range(worst.shape[0]):
            own_seen[j] = (_at(warped_row[j], gain, floor) - here_seen[j]) * _DIFFERENCE
        for j in range(worst.shape[0]):
            step_seen[j] = (_at(step_row[j], gain, floor) - here_seen[j]) * _DIFFERENCE
        for j in range(worst.shape[0]):
            worst[j] = maximum(worst[j], abs(_at(turned_row[j], gain, floor) - here_seen[j]))
        for j in range(worst.shape[0]):
            near_side = _at(warped_row[j], to_longer, floor_of_sides)
            sides[j] += near_side - _at(beyond[j], other_to_longer, floor_of_sides)
    for j in range(worst.shape[0]):
        worst[j] *= _DIFFERENCE
        sides[j] *= _THIRD * _DIFFERENCE


@part
def _seen_flow(n, flow, step, turned, back, seen):
    """What is seen of one direction of the flow (w, 2): channels 11 + n, 13 + n and 15 + n of `seen`."""
    to_seen, turned_seen, error_seen = seen[11 + n], seen[13 + n], seen[15 + n]
    for j in range(step.shape[0]):
        to_seen[j] = step[j] * _OFFSET
    for j in range(step.shape[0]):
        turned_seen[j] = clip(turned[j], -_LIMIT, _LIMIT) * _OFFSET
    for j in range(step.shape[0]):
        error_seen[j] = clip(flow[j, n] + back[j], -_LIMIT, _LIMIT) * _OFFSET


@part
def _seen_brightest(pixels, warped, inner, seen):
    """The brightest code of the reference and of the neighbour: channels 17 and 18 of `seen`."""
    red, green, blue = warped[0, inner], warped[1, inner], warped[2, inner]
    brightest, brightest_own = seen[17], seen[18]
    for j in range(brightest.shape[0]):
        brightest[j] = largest(pixels[j, 0], pixels[j, 1], pixels[j, 2])
        brightest_own[j] = largest(red[j], green[j], blue[j])


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
    height, width, channels = reference.shape
    region_top, _, region_left, region_right = region
    top, bottom = band
    left, right = max(region_left - HALO_PX, 0), min(region_right + HALO_PX, width)
    w, skip, kept = right - left, region_left - left, region_right - region_left
    inner, columns = slice(skip, skip + kept), slice(region_left, region_right)
    size, products_size, num_products = np.int64(2 * HALO_PX + 1), np.int64(2 * WINDOW_RADIUS + 1), np.int64(5)
    warped_codes, changes = empty3(size, channels, w), empty3(size, channels, w)
    # one more column on both sides: the gradients' border
    sums = empty3(size, channels, w + 2)
    products, means = empty3(num_products, products_size, w), empty2(num_products, w)
    padded, at_x, at_y = empty1(w + 2 * WINDOW_RADIUS), empty1(w), empty1(w)
    moved, around = empty2(channels, kept), empty2(channels, kept)
    across, returned = empty2(channels, kept), empty2(channels, kept)
    x_from, y_from, x_there, y_there = empty1(kept), empty1(kept), empty1(kept), empty1(kept)
    inputs = empty2(fine.shape[2], kept)
    sampled, multiplied = max(top - HALO_PX, 0), max(top - WINDOW_RADIUS, 0)
    for y in range(top, bottom):
        while sampled <= min(y + HALO_PX, height - 1):
            slot = sampled % size
            sample_row(frame, flow, sampled, left, at_x, at_y, warped_codes[slot])
            _change_row(reference[sampled, left:right], warped_codes[slot], gains, sums[slot], changes[slot])
            sampled += 1
        while multiplied <= min(y + WINDOW_RADIUS, height - 1):
            above, below = max(multiplied - 1, 0) % size, min(multiplied + 1, height - 1) % size
            slot = multiplied % size
            _product_row(sums[slot], sums[above], sums[below], changes[slot], multiplied % products_size, products)
            multiplied += 1
        for n in range(num_products):
            filter_rows(products[n], y, height, taps, padded, means[n])
        i, codes = y - region_top, warped_codes[y % size]
        pixels, flow_row = reference[y, columns], flow[y, columns]
        step_u, step_v, turned_u, turned_v = offsets[0, i], offsets[1, i], offsets[2, i], offsets[3, i]
        _step_row(means, inner, step_u, step_v)
        _turned_row(turned[y, columns], turn, flow_row, turned_u, turned_v)
        for j in range(kept):
            x_from[j], y_from[j] = F(region_left + j) + flow_row[j, 0], F(y) + flow_row[j, 1]
        sample_row(other, other_flow, y, region_left, at_x[:kept], at_y[:kept], across)
        _sum_of_rows(x_from, step_u, x_there)
        _sum_of_rows(y_from, step_v, y_there)
        sample_at(frame, x_there, y_there, moved)
        _sum_of_rows(x_from, turned_u, x_there)
        _sum_of_rows(y_from, turned_v, y_there)
        sample_at(frame, x_there, y_there, around)
        sample_at(back, x_from, y_from, returned)
        _seen_codes(pixels, codes, inner, moved, around, across, gains, warped[i], inputs)
        for n in range(2):
            _seen_flow(n, flow_row, offsets[n, i], offsets[2 + n, i], returned[n], inputs)
        _seen_brightest(pixels, codes, inner, inputs)
        store(inputs, fine[i], 0)


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
