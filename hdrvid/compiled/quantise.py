"""What goes into a convolution in 8 bits; see `hdrvid.models.quantised`."""

from __future__ import annotations

import numpy as np

from hdrvid.compiled.jit import ZERO, compiled, inline
from hdrvid.compiled.pixels import byte, narrow, widened


@inline
def _byte(value, step, zero, leak):
    return np.uint8(byte(value if value > ZERO else value * leak, step, zero))


@compiled
def quantise(values, steps, zero, leak, rows, out):
    """Some rows of a picture `values` (H, W, C), float32 or the bits of bfloat16, under a leaky ReLU, as bytes in `out`
    (H, W, C): the nearest multiple of a value's step, `zero` of them added, cut to a byte. `steps` (W * C,): 1 / step
    of every value of a row; `leak` 1: no ReLU. What is no number becomes 0."""
    _, w, channels = values.shape
    for y in range(rows[0], rows[1]):
        line, row = values[y].reshape(w * channels), out[y].reshape(w * channels)
        for j in range(w * channels):
            row[j] = _byte(widened(line[j]), steps[j], zero, leak)


@compiled
def quantise_sum(values, plus, steps, zero, leak, again, rows, out):
    """The same of `values` + `plus`, both (H, W, C); where they are wanted `again`, `values` become the sum."""
    _, w, channels = values.shape
    for y in range(rows[0], rows[1]):
        line, more = values[y].reshape(w * channels), plus[y].reshape(w * channels)
        row = out[y].reshape(w * channels)
        if again:
            for j in range(w * channels):
                total = widened(line[j]) + widened(more[j])
                narrow(line, j, total)
                row[j] = _byte(total, steps[j], zero, leak)
        else:
            for j in range(w * channels):
                row[j] = _byte(widened(line[j]) + widened(more[j]), steps[j], zero, leak)


@compiled
def quantise_doubled(values, steps, zero, leak, rows, out):
    """The same twice as large, every value four times: `steps` (C,), `out` (2 H, 2 W, C)."""
    _, w, channels = values.shape
    for y in range(rows[0], rows[1]):
        line, row = values[y], out[2 * y]
        for x in range(w):
            pixel, left, right = line[x], row[2 * x], row[2 * x + 1]
            for c in range(channels):
                value = _byte(widened(pixel[c]), steps[c], zero, leak)
                left[c] = value
                right[c] = value
        above, below = row.reshape(2 * w * channels), out[2 * y + 1].reshape(2 * w * channels)
        for j in range(2 * w * channels):
            below[j] = above[j]
