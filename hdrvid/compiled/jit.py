"""How functions are compiled for the CPU by Numba, and what all of them are made of."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.core.codegen import JITCodeLibrary
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


_REFUSE = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value
"""Address of a function that raises TypeError."""


class _NoEnvironments:
    def set_env(self, name, environment):
        """No machine code, no place for an environment; functions that come from the cache have none either."""


class _PartLibrary(JITCodeLibrary):
    """Code that only other compiled functions call, not Python. It is taken into theirs and optimised there. By itself
    it is not, and no machine code is made of it, both of which Numba would do."""

    inlined = False

    def add_ir_module(self, ir_module):
        for function in ir_module.functions:
            if not self.inlined and not function.is_declaration:
                function.attributes.add("noinline")
        super().add_ir_module(ir_module)

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return _REFUSE

    @property
    def codegen(self):
        return _NoEnvironments()


class _PartCompiler(Compiler):
    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        library = _PartLibrary(targetctx.codegen(), "part")
        library.inlined = flags.forceinline
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


class _NoAliasCompiler(_PartCompiler):
    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags = flags.copy()
        flags.noalias = True
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


OPTIONS: dict[str, Any] = {
    "nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}, "no_cfunc_wrapper": True
}  # fmt: skip
PART: Any = {**OPTIONS, "no_cpython_wrapper": True, "pipeline_class": _PartCompiler}
INLINE: Any = {**PART, "forceinline": True}


def inline(function: Callable[..., Any]) -> Any:
    """Compiled into the loop that calls it, which is vectorised only then. Python cannot call it."""
    return njit(**INLINE)(function)


def inline_noalias(function: Callable[..., Any]) -> Any:
    """The same, of a function whose arrays do not overlap: its loops are vectorised even where they gather."""
    return njit(**INLINE | {"pipeline_class": _NoAliasCompiler})(function)


def part(function: Callable[..., Any]) -> Any:
    """Compiled apart from the functions that call it, once for every row of a picture: loops of hundreds of lines are
    compiled sooner in parts. Python cannot call it."""
    return njit(**PART)(function)


def part_noalias(function: Callable[..., Any]) -> Any:
    """The same, of a function whose arrays do not overlap."""
    return njit(**PART | {"pipeline_class": _NoAliasCompiler})(function)


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, and kept for the next process where the disk allows it."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**OPTIONS)(function)


# np.empty is compiled anew wherever another of its sizes is a literal: with these none is, if the caller's are not
@part
def empty1(w):
    """An empty row."""
    return np.empty(w, np.float32)


@part
def empty2(h, w):
    """Empty rows (h, w)."""
    return np.empty((h, w), np.float32)


@part
def empty3(n, h, w):
    """Empty rows (n, h, w)."""
    return np.empty((n, h, w), np.float32)


@part
def empty4(m, n, h, w):
    """Empty rows (m, n, h, w)."""
    return np.empty((m, n, h, w), np.float32)


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
