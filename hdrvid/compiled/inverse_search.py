"""Dense inverse search (Kroeger et al. 2016), compiled for the CPU by Numba.

It is what OpenCV's DISOpticalFlow does, in two fifths of the time: a patch of 8 x 8 pixels is eight vectors here.

Basics:
    From the coarsest to the finest picture: every patch of the reference, some pixels apart, starts from the flow of
    the picture before, or from that of the patch before or above where it fits better, and descends to the flow for
    which the source fits best, brightness apart; then once more in the opposite order. The flow of a pixel is the mean
    of the patches that it lies in, each weighted with how well it fits there.
Convention:
    Pictures are uint8 (H, W); flows float32, in pixels, backward: source(x + flow) shows reference(x).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hdrvid.compiled import variational
from hdrvid.compiled.jit import ONE, SOURCE, F, compiled, inline, minimum

PATCH = 8
"""Side of a patch, in pixels."""
STRIPES = 8
"""The flow of a patch is offered to its neighbours within a stripe of the picture."""
BORDER = 16
"""Pixels that are replicated around the source."""
_AREA = F(PATCH * PATCH)
_INVERSE_AREA = F(1 / (PATCH * PATCH))
_SLENDER = F(1e-5)

_LANES = ir.VectorType(ir.FloatType(), PATCH)
_FLAGS = ("contract", "nsz", "reassoc")


class _Builder:
    """Arithmetic of a row of a patch: a vector of PATCH values."""

    def __init__(self, context: Any, builder: Any) -> None:
        self._context, self._builder = context, builder

    def row(self, array_type: Any, array: Any, at: Any, row: int, extra: int = 0) -> Any:
        """PATCH values of a picture, from place `at` on, `row` rows and `extra` columns further, as floats."""
        builder = self._builder
        start = self.start(array_type, array, at, row, extra)
        values = builder.load(start, align=array_type.dtype.bitwidth // 8)
        widened = ir.VectorType(ir.IntType(32), PATCH)
        values = builder.sext(values, widened) if array_type.dtype.signed else builder.zext(values, widened)
        return builder.sitofp(values, _LANES)

    def start(self, array_type: Any, array: Any, at: Any, row: int, extra: int = 0) -> Any:
        """Where these values lie."""
        builder = self._builder
        struct = self._context.make_array(array_type)(self._context, builder, array)
        width = builder.extract_value(struct.shape, 1)
        place = builder.add(builder.add(at, builder.mul(width, width.type(row))), width.type(extra))
        kind = ir.VectorType(struct.data.type.pointee, PATCH)
        return builder.bitcast(builder.gep(struct.data, [place]), kind.as_pointer())

    def spread(self, value: Any) -> Any:
        """A vector of one value."""
        one = self._builder.insert_element(ir.Constant(_LANES, ir.Undefined), value, ir.IntType(32)(0))
        return self._builder.shuffle_vector(
            one, ir.Constant(_LANES, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), PATCH), [0] * PATCH)
        )

    def add(self, a: Any, b: Any) -> Any:
        return self._builder.fadd(a, b, flags=_FLAGS)

    def minus(self, a: Any, b: Any) -> Any:
        return self._builder.fsub(a, b, flags=_FLAGS)

    def times(self, a: Any, b: Any) -> Any:
        return self._builder.fmul(a, b, flags=_FLAGS)

    def differences(
        self, picture: tuple[Any, Any, Any], source: tuple[Any, Any, Any], fx: Any, fy: Any
    ) -> Iterator[Any]:
        """The rows of a patch, source - picture, each given by type, array and place; the source between places."""
        fx, fy = self.spread(fx), self.spread(fy)

        def interpolate(row: int) -> Any:
            left = self.row(*source, row)
            return self.add(left, self.times(fx, self.minus(self.row(*source, row, 1), left)))

        upper = interpolate(0)
        for row in range(PATCH):
            lower = interpolate(row + 1)
            sampled = self.add(upper, self.times(fy, self.minus(lower, upper)))
            yield self.minus(sampled, self.row(*picture, row))
            upper = lower

    def tuple_of_sums(self, vectors: list[Any], signature: Any) -> Any:
        """The sum of each vector."""
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _LANES])
        reduce = cgutils.get_or_insert_function(self._builder.module, kind, f"llvm.vector.reduce.fadd.v{PATCH}f32")
        sums = [self._builder.call(reduce, [ir.Constant(ir.FloatType(), -0.0), v], fastmath=_FLAGS) for v in vectors]
        return self._context.make_tuple(self._builder, signature.return_type, sums)


@intrinsic
def _compared(typingctx, picture, source, gx, gy, at, to, fx, fy):
    """Sums over a patch: of the difference d = source - picture, of d squared, of d gx and d gy.

    The patch begins at place `at` of `picture`, `gx` and `gy`, and between places of `source`, from `to` on. What is
    not used of the result is not computed.
    """
    signature = types.UniTuple(types.float32, 4)(picture, source, gx, gy, at, to, fx, fy)

    def generate(context, builder, signature, args):
        on = _Builder(context, builder)
        picture, source, gx, gy, at, to, fx, fy = args
        picture_type, source_type, gx_type, gy_type = signature.args[:4]
        sums = [ir.Constant(_LANES, [-0.0] * PATCH)] * 4
        shown = (picture_type, picture, at), (source_type, source, to)
        for row, d in enumerate(on.differences(*shown, fx, fy)):
            slopes = on.row(gx_type, gx, at, row), on.row(gy_type, gy, at, row)
            new = [d, on.times(d, d), on.times(d, slopes[0]), on.times(d, slopes[1])]
            sums = [on.add(*pair) for pair in zip(sums, new, strict=True)]
        return on.tuple_of_sums(sums, signature)

    return signature, generate


@intrinsic
def _slopes(typingctx, gx, gy, at):
    """Sums over a patch: of gx gx, gx gy, gy gy, gx and gy."""
    signature = types.UniTuple(types.float32, 5)(gx, gy, at)

    def generate(context, builder, signature, args):
        on = _Builder(context, builder)
        gx, gy, at = args
        sums = [ir.Constant(_LANES, [-0.0] * PATCH)] * 5
        for row in range(PATCH):
            x, y = (on.row(kind, g, at, row) for kind, g in zip(signature.args, (gx, gy), strict=False))
            new = [on.times(x, x), on.times(x, y), on.times(y, y), x, y]
            sums = [on.add(*pair) for pair in zip(sums, new, strict=True)]
        return on.tuple_of_sums(sums, signature)

    return signature, generate


@inline
def _place(x, y, width, height):
    """Where a patch at x, y lies in the source with its border: place, and how far between it and the next."""
    x = x if x > F(1 - PATCH) else F(1 - PATCH)
    y = y if y > F(1 - PATCH) else F(1 - PATCH)
    x, y = minimum(x, F(width - 1)) + F(BORDER), minimum(y, F(height - 1)) + F(BORDER)
    column, line = np.int64(x), np.int64(y)
    return line * (width + 2 * BORDER) + column, x - F(column), y - F(line)


@inline
def _misfit(picture, source, gx, gy, i, j, u, v):
    """Variance of the difference, times the number of pixels."""
    h, w = picture.shape
    to, fx, fy = _place(F(j) + u, F(i) + v, w, h)
    total, squares, _, _ = _compared(picture, source, gx, gy, i * w + j, to, fx, fy)
    return squares - total * total * _INVERSE_AREA


@compiled
def search_patches(picture, source, gx, gy, flow_u, flow_v, stride, steps, found_u, found_v, constants=SOURCE):
    """Flow of every patch, into `found_u` and `found_v` (h', w'), from a flow for every pixel.

    `source` with its border. `steps` of descent at maximum, in each of the two orders.
    """
    h, w = picture.shape
    rows, columns = found_u.shape
    half = PATCH // 2
    deep = -(-rows // STRIPES)
    for top in range(0, rows, deep):
        bottom = min(top + deep, rows)
        for turn in range(2):
            back = 1 if turn == 0 else -1
            for a in range(top, bottom):
                y = a if turn == 0 else top + bottom - 1 - a
                i = y * stride
                for b in range(columns):
                    x = b if turn == 0 else columns - 1 - b
                    j = x * stride
                    if turn == 0:
                        u, v = flow_u[i + half, j + half], flow_v[i + half, j + half]
                    else:
                        u, v = found_u[y, x], found_v[y, x]
                    lowest = _misfit(picture, source, gx, gy, i, j, u, v)
                    for n in range(2):
                        # the flow of the patch before, then of that above
                        if (b if n == 0 else a - top) > 0:
                            there_y, there_x = y - n * back, x - (1 - n) * back
                            other_u, other_v = found_u[there_y, there_x], found_v[there_y, there_x]
                            misfit = _misfit(picture, source, gx, gy, i, j, other_u, other_v)
                            if misfit < lowest:
                                lowest, u, v = misfit, other_u, other_v
                    at = i * w + j
                    xx, xy, yy, sum_x, sum_y = _slopes(gx, gy, at)
                    determinant = F(np.float64(xx) * np.float64(yy) - np.float64(xy) * np.float64(xy))
                    # where all slopes have one direction nothing is known about the other
                    descents = steps if determinant > _SLENDER * xx * yy else 0
                    inverse = ONE / determinant
                    start_u, start_v = u, v
                    before = F(np.inf)
                    for _ in range(descents):
                        to, fx, fy = _place(F(j) + u, F(i) + v, w, h)
                        total, squares, down_x, down_y = _compared(picture, source, gx, gy, at, to, fx, fy)
                        mean = total * _INVERSE_AREA
                        down_x -= mean * sum_x
                        down_y -= mean * sum_y
                        u -= (yy * down_x - xy * down_y) * inverse
                        v -= (xx * down_y - xy * down_x) * inverse
                        misfit = squares - total * mean
                        if misfit >= before:
                            break
                        before = misfit
                    du, dv = u - start_u, v - start_v
                    if not (du * du + dv * dv <= _AREA):
                        u, v = start_u, start_v
                    found_u[y, x], found_v[y, x] = u, v


@intrinsic
def _added(typingctx, picture, source, sum_u, sum_v, shares, at, to, fx, fy, u, v):
    """Add the flow of a patch, weighted with 1 / max(|source - picture|, 1), and the weight, to the pixels' sums."""
    signature = types.void(picture, source, sum_u, sum_v, shares, at, to, fx, fy, u, v)

    def generate(context, builder, signature, args):
        on = _Builder(context, builder)
        picture, source, sum_u, sum_v, shares, at, to, fx, fy, u, v = args
        picture_type, source_type, sums_type = signature.args[:3]
        u, v = on.spread(u), on.spread(v)
        one = ir.Constant(_LANES, [1.0] * PATCH)
        kind = ir.FunctionType(_LANES, [_LANES])
        absolute = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{PATCH}f32")

        shown = (picture_type, picture, at), (source_type, source, to)
        for row, d in enumerate(on.differences(*shown, fx, fy)):
            d = builder.call(absolute, [d])
            d = builder.select(builder.fcmp_ordered(">", d, one), d, one)
            weight = builder.fdiv(one, d)
            for sums, value in ((sum_u, on.times(weight, u)), (sum_v, on.times(weight, v)), (shares, weight)):
                start = on.start(sums_type, sums, at, row)
                builder.store(on.add(builder.load(start, align=4), value), start, align=4)
        return context.get_dummy_value()

    return signature, generate


@compiled
def spread_patches(picture, source, found_u, found_v, stride, flow_u, flow_v, constants=SOURCE):
    """Flow of every pixel, of that of the patches, into zeros (h, w)."""
    h, w = picture.shape
    rows, columns = found_u.shape
    shares = np.zeros((h, w), np.float32)
    for y in range(rows):
        for x in range(columns):
            i, j, u, v = y * stride, x * stride, found_u[y, x], found_v[y, x]
            to, fx, fy = _place(F(j) + u, F(i) + v, w, h)
            _added(picture, source, flow_u, flow_v, shares, i * w + j, to, fx, fy, u, v)
    bottom, right = (rows - 1) * stride + PATCH, (columns - 1) * stride + PATCH
    for i in range(bottom):
        u, v, share = flow_u[i], flow_v[i], shares[i]
        for j in range(right):
            u[j] /= share[j]
        for j in range(right):
            v[j] /= share[j]
        for j in range(right, w):
            u[j], v[j] = u[right - 1], v[right - 1]
    for i in range(bottom, h):
        for j in range(w):
            flow_u[i, j], flow_v[i, j] = flow_u[bottom - 1, j], flow_v[bottom - 1, j]


def _coarsest(height: int, width: int) -> int:
    """How often pictures are halved before the search begins: it finds motion of a quarter of the larger side."""
    reach = int(math.log2(max(height, width) / (4 * PATCH)) + 0.5)
    return max(min(reach, int(math.log2(min(height, width) // PATCH))), 0)


def search(reference: np.ndarray, source: np.ndarray, stride: int, steps: int, refinements: int) -> np.ndarray:
    """Backward flow (H, W, 2) between two pictures (H, W), at least PATCH pixels high and wide.

    Patches are `stride` pixels apart and descend by `steps` at most, half of them in each order; `refinements` steps
    of variational refinement follow on every picture.
    """
    pyramid = [(reference, source)]
    for _ in range(_coarsest(*reference.shape)):
        h, w = pyramid[-1][0].shape
        reference_level, neighbour_level = (
            cv2.resize(p, (w // 2, h // 2), interpolation=cv2.INTER_AREA) for p in pyramid[-1]
        )
        pyramid.append((reference_level, neighbour_level))
    u: np.ndarray
    v: np.ndarray
    u = v = np.zeros(pyramid[-1][0].shape, np.float32)
    for reference_level, neighbour_level in reversed(pyramid):
        h, w = reference_level.shape
        if u.shape != reference_level.shape:
            u, v = (2 * cv2.resize(flow, (w, h)) for flow in (u, v))
        gx, gy = cv2.spatialGradient(reference_level)
        wide = cv2.copyMakeBorder(neighbour_level, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        patch_flow = np.empty((2, 1 + (h - PATCH) // stride, 1 + (w - PATCH) // stride), np.float32)
        search_patches(reference_level, wide, gx, gy, u, v, stride, steps // 2, *patch_flow)
        u, v = np.zeros((2, h, w), np.float32)
        spread_patches(reference_level, wide, *patch_flow, stride, u, v)
        if refinements:
            variational.refine(reference_level, neighbour_level, u, v, refinements)
    return np.stack([u, v], -1)
