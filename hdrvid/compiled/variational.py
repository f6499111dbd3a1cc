"""Variational refinement of flow (Brox et al. 2004), compiled for the CPU by Numba.

It is what OpenCV's dense inverse search ends with, in two fifths of the time: the equations of a row are made, and all
sweeps over the rows before it follow at once, while they lie in the caches.

Basics:
    Flow w = (u, v) changes by dw so that brightness and its gradient stay what they were and the flow is smooth,

        sum over pixels of  DELTA / 2 psi(I) + GAMMA / 2 psi(grad I) + ALPHA / 2 psi(grad (w + dw)),

    psi(e) = sqrt(e^2 + EPSILON^2) of the linearised, normalised errors. A few times the weights psi' are taken from the
    present dw and the linear equations are solved with successive over-relaxation, red pixels and black ones in turn.
Convention:
    Red and black pixels lie apart: pixel (i, j) is (i, c, j // 2), c = (i + j) % 2 its colour. Neighbours are of the
    other colour.
"""

from __future__ import annotations

import numpy as np

from hdrvid.compiled.jit import (
    HALF,
    ONE,
    SOURCE,
    ZERO,
    F,
    bilinear,
    bilinear_position,
    compiled,
    inline_noalias,
    part_noalias,
    replicate,
)

ALPHA, GAMMA, DELTA = F(20), F(10), F(5)
OMEGA = F(1.6)
"""Over-relaxation."""
SWEEPS = 10
"""Over pixels of one colour."""
_ZETA2, _EPSILON2 = F(0.1**2), F(0.01**2)
_SMOOTH, _SLOPE, _LIGHT = ALPHA / F(2), GAMMA / F(2), DELTA / F(2)
_RING = SWEEPS + 3
_TERMS = 9


@inline_noalias
def _pair(reference, neighbour, y, u, v, height, width, mean, change):
    """Mean of the picture's row and the warped source's, and what it changed by; one more pixel at both ends."""
    for j in range(u.shape[0]):
        at, right, down, fx, fy = bilinear_position(F(j) + u[j], F(y) + v[j], height, width, np.int32(1))
        a, b = F(reference[j]), bilinear(neighbour, at, right, down, fx, fy)
        mean[j + 1] = (a + b) * HALF
        change[j + 1] = b - a


@inline_noalias
def _slopes(left, right, above, below, across, along):
    for j in range(left.shape[0]):
        across[j + 1] = right[j] - left[j]
    for j in range(left.shape[0]):
        along[j + 1] = below[j] - above[j]


@part_noalias
def _normalised(a, b, c, x, y, z):
    """a, b and c divided by the length of (a, b)."""
    for j in range(a.shape[0]):
        scale = ONE / np.sqrt(a[j] * a[j] + b[j] * b[j] + _ZETA2)
        x[j], y[j], z[j] = a[j] * scale, b[j] * scale, c[j] * scale


@part_noalias
def _differences(a, b, out):
    for j in range(out.shape[0]):
        out[j] = a[j] - b[j]


@compiled
def linearised(picture, source, u, v, terms, constants=SOURCE):
    """Normalised derivatives, `terms` (h, 2, 9, (w + 1) // 2): (x, y, t) of brightness, of its x- and its y-derivative.

    `picture` (h, w) uint8, `source` (h, w) float32, flow u and v (h, w).
    """
    h, w = picture.shape
    flat = source.reshape(-1)
    means, changes = np.empty((4, w + 2), np.float32), np.empty((4, w + 2), np.float32)
    across, along = np.empty((4, w + 2), np.float32), np.empty((4, w + 2), np.float32)
    second = np.empty((5, w), np.float32)
    rows = np.zeros((_TERMS, w + w % 2), np.float32)
    for r in range(h + 2):
        if r < h:
            mean, change = means[r % 4], changes[r % 4]
            _pair(picture[r], flat, r, u[r], v[r], np.int32(h), np.int32(w), mean, change)
            replicate(mean, 1)
            replicate(change, 1)
        i = r - 1
        if 0 <= i < h:
            mean, above, below = means[i % 4], means[max(i - 1, 0) % 4], means[min(i + 1, h - 1) % 4]
            _slopes(mean[:w], mean[2:], above[1:-1], below[1:-1], across[i % 4], along[i % 4])
            replicate(across[i % 4], 1)
            replicate(along[i % 4], 1)
        i = r - 2
        if i >= 0:
            over, under = max(i - 1, 0) % 4, min(i + 1, h - 1) % 4
            x, y, t = across[i % 4], along[i % 4], changes[i % 4]
            xx, xy, yy, xt, yt = second[0], second[1], second[2], second[3], second[4]
            _differences(x[2:], x[:w], xx)
            _differences(across[under][1:-1], across[over][1:-1], xy)
            _differences(along[under][1:-1], along[over][1:-1], yy)
            _differences(t[2:], t[:w], xt)
            _differences(changes[under][1:-1], changes[over][1:-1], yt)
            _normalised(x[1:-1], y[1:-1], t[1:-1], rows[0, :w], rows[1, :w], rows[2, :w])
            _normalised(xx, xy, xt, rows[3, :w], rows[4, :w], rows[5, :w])
            _normalised(yy, xy, yt, rows[7, :w], rows[6, :w], rows[8, :w])
            for n in range(_TERMS):
                _apart(rows[n], terms[i, i % 2, n], terms[i, 1 - i % 2, n])


@part_noalias
def _apart(row, even, odd):
    for k in range(even.shape[0]):
        even[k] = row[2 * k]
    for k in range(odd.shape[0]):
        odd[k] = row[2 * k + 1]


@inline_noalias
def _smoothness(u, du, v, dv, u_right, du_right, v_right, dv_right, u_down, du_down, v_down, dv_down, out):
    """Weight of a pixel's differences from the next one and from the one below."""
    for k in range(out.shape[0]):
        a, b = u[k] + du[k], v[k] + dv[k]
        ux, vx = u_right[k] + du_right[k] - a, v_right[k] + dv_right[k] - b
        uy, vy = u_down[k] + du_down[k] - a, v_down[k] + dv_down[k] - b
        out[k] = _SMOOTH / np.sqrt(ux * ux + vx * vx + uy * uy + vy * vy + _EPSILON2)


@inline_noalias
def _data(terms, du, dv, a, b, d, p, q):
    """Equations a du + b dv = p, b du + d dv = q of each pixel alone."""
    for k in range(a.shape[0]):
        x, y, t = terms[0, k], terms[1, k], terms[2, k]
        error = t + x * du[k] + y * dv[k]
        weight = _LIGHT / np.sqrt(error * error + _EPSILON2)
        xx, xy, xt, yx, yy, yt = terms[3, k], terms[4, k], terms[5, k], terms[6, k], terms[7, k], terms[8, k]
        first, second = xt + xx * du[k] + xy * dv[k], yt + yx * du[k] + yy * dv[k]
        slope = _SLOPE / np.sqrt(first * first + second * second + _EPSILON2)
        a[k] = weight * x * x + slope * (xx * xx + yx * yx) + _ZETA2
        b[k] = weight * x * y + slope * (xx * xy + yx * yy)
        d[k] = weight * y * y + slope * (xy * xy + yy * yy) + _ZETA2
        p[k] = -weight * x * t - slope * (xx * xt + yx * yt)
        q[k] = -weight * y * t - slope * (xy * xt + yy * yt)


@part_noalias
def _edge(weight, u, v, u_there, v_there, a, d, p, q):
    """The difference from a neighbour."""
    for k in range(a.shape[0]):
        a[k] += weight[k]
        d[k] += weight[k]
        p[k] += weight[k] * (u_there[k] - u[k])
        q[k] += weight[k] * (v_there[k] - v[k])


@inline_noalias
def _inverted(a, d):
    for k in range(a.shape[0]):
        a[k], d[k] = ONE / a[k], ONE / d[k]


@inline_noalias
def _relaxed(du, dv, left, right, above, below, left_v, right_v, above_v, below_v, here, before, over, a, b, d, p, q):
    """A step towards the solution: a and d are inverted."""
    for k in range(du.shape[0]):
        u = before[k] * left[k] + here[k] * (right[k] + below[k]) + over[k] * above[k]
        v = before[k] * left_v[k] + here[k] * (right_v[k] + below_v[k]) + over[k] * above_v[k]
        new = du[k] + OMEGA * ((u + p[k] - dv[k] * b[k]) * a[k] - du[k])
        dv[k] += OMEGA * ((v + q[k] - new * b[k]) * d[k] - dv[k])
        du[k] = new


@compiled
def solved(terms, flow, change, width):
    """One round: weights from the present change, then SWEEPS. `flow` and `change` (2, h + 2, 2, (w + 1) // 2 + 2) with
    a border of one pixel, of zeros."""
    h, _, _, m = terms.shape
    u, v, du, dv = flow[0], flow[1], change[0], change[1]
    # of a row: a, b, d, p, q
    equations = np.zeros((_RING, 2, 5, m), np.float32)
    # with a border of one pixel
    weights = np.zeros((_RING, 2, m + 2), np.float32)
    last_parity, last = (width - 1) % 2, (width - 1) // 2
    for r in range(h + 1 + SWEEPS):
        if r < h:
            i, slot = r + 1, r % _RING
            for c in range(2):
                s, o = (r + c) % 2, 1 - c
                right = slice(1 + s, 1 + s + m)
                down, below = (i + 1, o) if r < h - 1 else (i, c)
                weight = weights[slot, c]
                _smoothness(
                    u[i, c, 1:-1], du[i, c, 1:-1], v[i, c, 1:-1], dv[i, c, 1:-1],
                    u[i, o, right], du[i, o, right], v[i, o, right], dv[i, o, right],
                    u[down, below, 1:-1], du[down, below, 1:-1], v[down, below, 1:-1], dv[down, below, 1:-1],
                    weight[1:-1],
                )  # fmt: skip
                if s == last_parity:
                    a, b = u[i, c, last + 1] + du[i, c, last + 1], v[i, c, last + 1] + dv[i, c, last + 1]
                    uy = u[down, below, last + 1] + du[down, below, last + 1] - a
                    vy = v[down, below, last + 1] + dv[down, below, last + 1] - b
                    weight[last + 1] = _SMOOTH / np.sqrt(uy * uy + vy * vy + _EPSILON2)
                elif width % 2:
                    weight[m] = ZERO  # beyond the picture
            for c in range(2):
                s, o = (r + c) % 2, 1 - c
                a, b, d = equations[slot, c, 0], equations[slot, c, 1], equations[slot, c, 2]
                p, q = equations[slot, c, 3], equations[slot, c, 4]
                here_u, here_v = u[i, c, 1:-1], v[i, c, 1:-1]
                _data(terms[r, c], du[i, c, 1:-1], dv[i, c, 1:-1], a, b, d, p, q)
                centre_weight, other = weights[slot, c], weights[slot, o]
                # the last pixel of a row has no next one, the first none before
                n = m if s != last_parity else last
                right, left = slice(1 + s, 1 + s + n), slice(1, s + m)
                _edge(
                    centre_weight[1 : 1 + n],
                    here_u[:n],
                    here_v[:n],
                    u[i, o, right],
                    v[i, o, right],
                    a[:n],
                    d[:n],
                    p[:n],
                    q[:n],
                )
                f = 1 - s
                _edge(other[left], here_u[f:], here_v[f:], u[i, o, left], v[i, o, left], a[f:], d[f:], p[f:], q[f:])
                if r < h - 1:
                    _edge(centre_weight[1:-1], here_u, here_v, u[i + 1, o, 1:-1], v[i + 1, o, 1:-1], a, d, p, q)
                if r > 0:
                    above = weights[(r - 1) % _RING, o, 1:-1]
                    _edge(above, here_u, here_v, u[i - 1, o, 1:-1], v[i - 1, o, 1:-1], a, d, p, q)
                _inverted(a, d)
                if width % 2 and s == 1:
                    # beyond the picture
                    a[m - 1] = b[m - 1] = d[m - 1] = p[m - 1] = q[m - 1] = ZERO
        for sweep in range(SWEEPS):
            y = r - 1 - sweep
            if 0 <= y < h:
                i, slot, c = y + 1, y % _RING, sweep % 2
                s, o = (y + c) % 2, 1 - c
                left, right = slice(s, s + m), slice(1 + s, 1 + s + m)
                _relaxed(
                    du[i, c, 1:-1], dv[i, c, 1:-1],
                    du[i, o, left], du[i, o, right], du[i - 1, o, 1:-1], du[i + 1, o, 1:-1],
                    dv[i, o, left], dv[i, o, right], dv[i - 1, o, 1:-1], dv[i + 1, o, 1:-1],
                    weights[slot, c, 1:-1], weights[slot, o, left], weights[(y - 1) % _RING, o, 1:-1],
                    equations[slot, c, 0], equations[slot, c, 1], equations[slot, c, 2],
                    equations[slot, c, 3], equations[slot, c, 4],
                )  # fmt: skip


@compiled
def _separate(row_major, coloured):
    h, w = row_major.shape
    for i in range(h):
        _apart(row_major[i], coloured[i + 1, i % 2, 1 : 1 + (w + 1) // 2], coloured[i + 1, 1 - i % 2, 1 : 1 + w // 2])


@compiled
def _add_to(coloured, row_major):
    h, w = row_major.shape
    for i in range(h):
        for c in range(2):
            s = (i + c) % 2
            row, change = row_major[i], coloured[i + 1, c]
            for k in range((w - s + 1) // 2):
                row[2 * k + s] += change[k + 1]


def refine(picture: np.ndarray, source: np.ndarray, u: np.ndarray, v: np.ndarray, rounds: int) -> None:
    """Refine, in place, the flow u and v (H, W), float32 pixels, from one uint8 picture (H, W) to another."""
    h, w = picture.shape
    m = (w + 1) // 2
    terms = np.empty((h, 2, _TERMS, m), np.float32)
    linearised(picture, source.astype(np.float32), u, v, terms)
    flow, change = np.zeros((2, 2, h + 2, 2, m + 2), np.float32)
    for part, coloured in zip((u, v), flow, strict=True):
        _separate(part, coloured)
    for _ in range(rounds):
        solved(terms, flow, change, w)
    for part, coloured in zip((u, v), change, strict=True):
        _add_to(coloured, part)
