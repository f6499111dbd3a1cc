"""The input of the merge network from frames and flows, and the frame from its output, compiled for the CPU by Numba.

The formulas are those of `hdrvid.models.classical` and `hdrvid.models.merge_net`.

The convention is that of `hdrvid.compiled`.
"""

from __future__ import annotations

import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.compiled.jit import (
    HALF,
    ONE,
    ZERO,
    F,
    clip,
    compiled,
    constants_key,
    empty1,
    empty2,
    empty3,
    empty4,
    maximum,
    minimum,
    part,
)
from hdrvid.compiled.pixels import CONSTANTS as PIXEL_CONSTANTS
from hdrvid.compiled.pixels import (
    copy,
    exp,
    fill,
    filter_rows,
    hat,
    hat_of,
    inside,
    inverse_mu_law,
    largest,
    log,
    mu_law,
    planes,
    sample_at,
    sample_row,
    store_input,
    widened,
)
from hdrvid.models.constants import (
    BLACK_RAMP,
    BLACK_WEIGHT,
    CHANNELS_PER_CANDIDATE,
    CONSISTENCY_FLOOR,
    PHOTOMETRIC_TOLERANCE,
    RESIDUAL_LIMIT,
    RESIDUAL_SCALE,
    SMOOTHED_PRIOR,
    WEIGHT_FLOOR,
)

BOX_RADIUS = 2
"""Reach of the mean that the photometric agreement is taken of."""
_GAMMA = F(NETWORK_GAMMA)
_DARKEST = F(1e-30)
_LOG_SMOOTHED_PRIOR = F(np.log(SMOOTHED_PRIOR))
_RESIDUAL = F(RESIDUAL_SCALE)
_RESIDUAL_LIMIT = F(RESIDUAL_LIMIT)
_AGREEMENT = F(1 / PHOTOMETRIC_TOLERANCE)
_CONSISTENCY_FLOOR = F(CONSISTENCY_FLOOR)
_WEIGHT_FLOOR = F(WEIGHT_FLOOR)
_LOG_PRIOR_SCALE = F(0.2)
_FIFTH = F(0.2)
_BLACK_SLOPE = F(1 / BLACK_RAMP)
_BLACK_WEIGHT = F(BLACK_WEIGHT)

_CONSTANTS = constants_key(globals()) ^ PIXEL_CONSTANTS
"""Key of the constants above, for Numba's cache."""


@part
def _weigh_row(codes, exposure, partly_clipped, black, out):
    """What a frame of this exposure weighs before its alignment: `out` (4, w), of each channel and of the pixel.

    `codes` (3, w); `black` 0 where no code of the frame is.
    """
    red, green, blue, pixel = codes[0], codes[1], codes[2], out[3]
    if exposure <= ONE + F(1e-6):
        fill(pixel, exposure)
    else:
        for j in range(pixel.shape[0]):
            pixel[j] = exposure * hat(red[j], green[j], blue[j])
    for c in range(3):
        weight, code, alone = out[c], codes[c], exposure * partly_clipped
        for j in range(weight.shape[0]):
            weight[j] = maximum(pixel[j], alone * hat_of(code[j]))
    if black > ZERO:
        for c in range(3):
            weight, code = out[c], codes[c]
            for j in range(weight.shape[0]):
                weight[j] *= clip((code[j] - black) * _BLACK_SLOPE, _BLACK_WEIGHT, ONE)
        for j in range(pixel.shape[0]):
            brightest = largest(red[j], green[j], blue[j])
            pixel[j] *= clip((brightest - black) * _BLACK_SLOPE, _BLACK_WEIGHT, ONE)


@part
def _light_row(codes, log_exposure, out):
    """Radiance `out` (3, w) of codes (3, w)."""
    for c in range(3):
        code, light = codes[c], out[c]
        for j in range(light.shape[0]):
            light[j] = exp(log(maximum(code[j], _DARKEST)) * _GAMMA - log_exposure)


@part
def _difference_row(reference, neighbour, gains, slot, differences):
    """Codes (3, w) of the reference less those of a neighbour, both at the longer exposure: into `differences`
    (3, n, w)."""
    reference_gain, neighbour_gain, floor = gains[0], gains[1], gains[2]
    for c in range(3):
        a, b, difference = reference[c], neighbour[c], differences[c, slot]
        for j in range(a.shape[0]):
            code = maximum(minimum(a[j] * reference_gain, ONE), floor)
            difference[j] = code - maximum(minimum(b[j] * neighbour_gain, ONE), floor)


@part
def _agreement_row(means, trust):
    """Confidence (w,) in a neighbour whose codes differ by these means (3, w)."""
    red, green, blue = means[0], means[1], means[2]
    for j in range(trust.shape[0]):
        worst = largest(abs(red[j]), abs(green[j]), abs(blue[j])) * _AGREEMENT
        trust[j] = exp(-worst * worst)


@part
def _consistency_row(flow, back, trust):
    """Confidence (w,) times that in a flow (w, 2), of which the flow back (3, w) should be the reverse; its planes are
    overwritten."""
    back_u, back_v = back[0], back[1]
    for j in range(trust.shape[0]):
        u, v = flow[j, 0], flow[j, 1]
        tolerance = F(np.sqrt(u * u + v * v)) * F(0.05) + HALF
        u, v = (u + back_u[j]) / tolerance, (v + back_v[j]) / tolerance
        back_u[j] = u * u + v * v
    for j in range(trust.shape[0]):
        trust[j] *= (ONE - _CONSISTENCY_FLOOR) * exp(-back_u[j]) + _CONSISTENCY_FLOOR


@part
def _trust_row(x, y, height, width, trust, weights):
    """Multiply weights (4, w) by the confidence (w,), none where the position lies outside."""
    for j in range(trust.shape[0]):
        trust[j] = trust[j] if inside(x[j], y[j], F(height), F(width)) else ZERO
    for c in range(4):
        weight = weights[c]
        for j in range(trust.shape[0]):
            weight[j] *= trust[j]


@part
def _total_row(weights, totals):
    """Sums `totals` (4, w) of the weights (K + 1, 4, w), none of which is zero then."""
    for c in range(4):
        whole = totals[c]
        fill(whole, ZERO)
        for i in range(weights.shape[0]):
            weight = weights[i, c]
            for j in range(whole.shape[0]):
                weight[j] += _WEIGHT_FLOOR
                whole[j] += weight[j]


@part
def _tone_row(light, weights, totals, slot, tones):
    """The classical merge, mu-law, of radiance (K + 1, 3, w): into `tones` (3, n, w)."""
    for c in range(3):
        tone, whole = tones[c, slot], totals[c]
        fill(tone, ZERO)
        for i in range(light.shape[0]):
            weight, out = weights[i, c], light[i, c]
            for j in range(tone.shape[0]):
                tone[j] += out[j] * weight[j]
        for j in range(tone.shape[0]):
            tone[j] = mu_law(tone[j] / whole[j])


@part
def _log_share_row(weight, whole, scale, out):
    for j in range(out.shape[0]):
        out[j] = log(weight[j] / whole[j]) * scale


@part
def _seen_row(codes, light, inner, y, radiance, seen):
    """The columns `inner` of radiance (3, n) into row y of `radiance` (3, h, w), and with codes (3, n) as the network
    sees both (6, w)."""
    for c in range(3):
        code, value, out = codes[c, inner], light[c, inner], radiance[c, y]
        code_seen, tone_seen = seen[c], seen[3 + c]
        copy(value, out)
        for j in range(out.shape[0]):
            code_seen[j] = code[j] - HALF
        for j in range(out.shape[0]):
            tone_seen[j] = mu_law(value[j]) - HALF


@compiled
def merge_input(
    reference,
    frames,
    flows,
    backs,
    confidence,
    exposures,
    gains,
    black,
    partly_clipped,
    taps,
    inverse_steps,
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
    `exposures` (K + 1,) of the reference and the neighbours. `gains` (K, 3): of the codes of the reference and of the
    neighbour, to the longer exposure of the two, and the floor of their comparison. `black`: code at or below which
    frames are black. `partly_clipped`: weight of a channel where another one clips. `taps`: two kernels, the wider one
    last. `inverse_steps` (7 C + 6,) where `x` is bytes.
    """
    count = len(frames)
    checked = confidence.shape[0] == 0
    height, width, channels = reference.shape
    region_top, _, region_left, region_right = region
    top, bottom = band
    halo = taps[1].shape[0] // 2
    reach = BOX_RADIUS if checked else 0
    left, right = max(region_left - halo - reach, 0), min(region_right + halo + reach, width)
    w, skip, kept = right - left, region_left - left, region_right - region_left
    inner = slice(skip, skip + kept)
    tones_size, codes_size = 2 * halo + 1, 2 * reach + 1
    tones = empty3(channels, tones_size, w)
    codes, differences = empty4(count + 1, codes_size, channels, w), empty4(count, channels, codes_size, w)
    light, weights, totals = empty3(count + 1, channels, w), empty3(count + 1, channels + 1, w), empty2(channels + 1, w)
    means, returned = empty2(channels, w), empty2(channels, w)
    trust, x_from, y_from, blurred = empty1(w), empty1(w), empty1(w), empty1(w)
    box, padded = empty1(2 * BOX_RADIUS + 1), empty1(w + 2 * max(halo, BOX_RADIUS))
    fill(box, _FIFTH)
    inputs, smoothed_seen = empty2(CHANNELS_PER_CANDIDATE * (count + 1), kept), empty2(2 * channels, kept)
    longest = ZERO
    for i in range(count + 1):
        longest = maximum(longest, exposures[i])
    sampled = max(top - halo - reach, 0)
    for r in range(max(top - halo, 0), min(bottom + halo, height)):
        while sampled <= min(r + reach, height - 1):
            slot = sampled % codes_size
            planes(reference[sampled, left:right], codes[0, slot])
            for k in range(count):
                sample_row(frames[k], flows[k], sampled, left, x_from, y_from, codes[k + 1, slot])
                if checked:
                    _difference_row(codes[0, slot], codes[k + 1, slot], gains[k], slot, differences[k])
            sampled += 1
        slot = r % codes_size
        for i in range(count + 1):
            exposure = exposures[i]
            is_longest = exposure >= longest * F(1 - 1e-6)
            _weigh_row(codes[i, slot], exposure, partly_clipped, ZERO if is_longest else black, weights[i])
            _light_row(codes[i, slot], F(np.log(exposure)), light[i])
        for k in range(count):
            flow = flows[k][r, left:right]
            for j in range(w):
                x_from[j], y_from[j] = F(left + j) + flow[j, 0], F(r) + flow[j, 1]
            if checked:
                for c in range(3):
                    filter_rows(differences[k, c], r, height, box, padded[: w + 2 * BOX_RADIUS], means[c])
                _agreement_row(means, trust)
                sample_at(backs[k], x_from, y_from, returned)
                _consistency_row(flow, returned, trust)
            else:
                copy(confidence[k, r, left:right], trust)
            _trust_row(x_from, y_from, height, width, trust, weights[k + 1])
        _total_row(weights, totals)
        _tone_row(light, weights, totals, r % tones_size, tones)
        if top <= r < bottom:
            y = r - region_top
            for i in range(count + 1):
                first = CHANNELS_PER_CANDIDATE * i
                _seen_row(codes[i, slot], light[i], inner, y, radiance[i], inputs[first : first + 6])
                for c in range(3):
                    _log_share_row(weights[i, c, inner], totals[c, inner], ONE, log_prior[i, c, y])
                _log_share_row(weights[i, 3, inner], totals[3, inner], _LOG_PRIOR_SCALE, inputs[first + 6])
            store_input(inputs, x[y], 0, inverse_steps)
        last = r == height - 1
        for y in range(max(r - halo, top), (bottom if last else min(r - halo + 1, bottom))):
            for s in range(2):
                for c in range(3):
                    n = taps[s].shape[0] // 2
                    filter_rows(tones[c], y, height, taps[s], padded[: w + 2 * n], blurred)
                    out, value, seen = smoothed[s, c, y - region_top], blurred[inner], smoothed_seen[3 * s + c]
                    copy(value, out)
                    for j in range(kept):
                        seen[j] = value[j] - HALF
            store_input(smoothed_seen, x[y - region_top], inputs.shape[0], inverse_steps)


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
    scores = np.empty((shares, w), np.float32)
    peak, merged, whole = np.empty(w, np.float32), np.empty(w, np.float32), np.empty(w, np.float32)
    finite = True
    for y in range(top, bottom):
        half, part = out[y // 2, left // 2 : (right + 1) // 2], 2 * (y % 2)
        for n in range(values.shape[0]):
            line, first = values[n], 4 * n + part
            for j in range(half.shape[0]):
                line[2 * j], line[2 * j + 1] = widened(half[j, first]), widened(half[j, first + 1])
        to_y, to_x = corner[0] + y - top, corner[1]
        for c in range(3):
            fill(peak, F(-np.inf))
            for i in range(shares):
                line, correction = scores[i], values[i * weight_channels + (c if weight_channels == 3 else 0)]
                if i < count:
                    prior = log_prior[i, c, y, left:right]
                    for j in range(w):
                        line[j] = correction[j] + prior[j]
                else:
                    for j in range(w):
                        line[j] = correction[j] + _LOG_SMOOTHED_PRIOR
                for j in range(w):
                    peak[j] = maximum(peak[j], line[j])
            fill(whole, ZERO)
            fill(merged, ZERO)
            for i in range(shares):
                line = scores[i]
                for j in range(w):
                    line[j] = exp(line[j] - peak[j])
                    whole[j] += line[j]
                if i < count:
                    light = radiance[i, c, y, left:right]
                    for j in range(w):
                        merged[j] += line[j] * light[j]
                else:
                    tone = smoothed[i - count, c, y, left:right]
                    for j in range(w):
                        merged[j] += line[j] * inverse_mu_law(tone[j])
            if weights.shape[0]:
                for i in range(shares):
                    line, share = scores[i], weights[i, c, to_y, to_x : to_x + w]
                    for j in range(w):
                        share[j] = line[j] / whole[j]
            residual = values[shares * weight_channels + c]
            lost = 0
            for j in range(w):
                blend = merged[j] / whole[j]
                good = (abs(blend) < F(np.inf)) & (abs(residual[j]) < F(np.inf))
                bright = (blend == F(np.inf)) | (residual[j] == F(np.inf))
                lost += not good
                bounded = clip(residual[j], -_RESIDUAL_LIMIT, _RESIDUAL_LIMIT)
                found = inverse_mu_law(mu_law(blend) + _RESIDUAL * bounded)
                merged[j] = found if good else (ONE if bright else ZERO)
            pixels = result[to_y, to_x : to_x + w]
            for j in range(w):
                pixels[j, c] = merged[j]
            finite = finite and lost == 0
    return finite
