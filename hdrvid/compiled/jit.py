"""How functions are compiled for the CPU by Numba, and what all of them are made of."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core.compiler import Compiler

# a literal would turn float32 into float64
F = np.float32
ZERO, HALF, ONE = F(0), F(0.5), F(1)

SOURCE = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
"""Checksum of this folder's sources. Numba's cache looks only at the source of the function's own module: as the
default of an argument that no caller gives, this becomes part of the key."""


def constants_key(namespace: dict[str, Any]) -> int:
    """Checksum of the numbers in a module's namespace, and of this folder's sources: as the default of an argument that
    no caller gives, it is part of the key that Numba's cache keeps a function by."""
    numbers = sorted((name, value) for name, value in namespace.items() if isinstance(value, int | float | F))
    return SOURCE ^ zlib.crc32(repr(numbers).encode())


OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
INLINE: Any = {**OPTIONS, "forceinline": True}


class _NoAliasCompiler(Compiler):
    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags = flags.copy()
        flags.noalias = True
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


def inline(function: Callable[..., Any]) -> Any:
    """Compiled into the loop that calls it, which is vectorised only then."""
    return njit(**INLINE)(function)


def inline_noalias(function: Callable[..., Any]) -> Any:
    """The same, of a function whose arrays do not overlap: its loops are vectorised even where they gather."""
    return njit(pipeline_class=_NoAliasCompiler, **INLINE)(function)


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, and kept for the next process where the disk allows it."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**OPTIONS)(function)


@inline
def minimum(a, b):
    """min() is a call, and loops with calls are not vectorised; `b` where one of them is no number."""
    return a if a < b else b


@inline
def maximum(a, b):
    """As `minimum`."""
    return a if a > b else b


@inline
def clip(x, low, high):
    """`low` where x is no number."""
    return minimum(maximum(x, low), high)


@inline
def replicate(row, pad):
    """Fill `pad` values at both ends of a row with the ones beside them."""
    n = row.shape[0]
    for j in range(pad):
        row[j] = row[pad]
        row[n - 1 - j] = row[n - 1 - pad]


@inline
def bilinear_position(x, y, height, width, channels):
    """Where a position in pixels lies in the values of a picture, border replicated: place of the first channel, how
    far to the next pixel and to the one below, and how far between them. Sizes are int32."""
    # not max(): what is no number must become an index too
    x = x if x > ZERO else ZERO
    y = y if y > ZERO else ZERO
    x, y = minimum(x, F(width - 1)), minimum(y, F(height - 1))
    column, line = np.int32(x), np.int32(y)
    right = channels if column < width - 1 else np.int32(0)
    down = channels * width if line < height - 1 else np.int32(0)
    return (line * width + column) * channels, right, down, x - F(column), y - F(line)


@inline
def bilinear(values, at, right, down, fx, fy):
    """Bilinear interpolation of four of the values (n,); see `bilinear_position`."""
    mask = np.uint32(0x7FFFFFFF)  # of numbers that are not negative, or wrap-around would have to be thought of
    a, b = values[np.uint32(at) & mask], values[np.uint32(at + right) & mask]
    c, d = values[np.uint32(at + down) & mask], values[np.uint32(at + down + right) & mask]
    upper, lower = a + fx * (b - a), c + fx * (d - c)
    return upper + fy * (lower - upper)
