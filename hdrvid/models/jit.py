"""How functions are compiled for the CPU by Numba, and what all of them are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.core.compiler import Compiler

# a literal would turn float32 into float64
F = np.float32
ZERO, HALF, ONE = F(0), F(0.5), F(1)

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
INLINE: Any = {**OPTIONS, "forceinline": True}


class _Apart(Compiler):
    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags = flags.copy()
        flags.noalias = True
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


def inline(function: Callable[..., Any]) -> Any:
    """Compiled into the loop that calls it, which is vectorised only then."""
    return njit(**INLINE)(function)


def inline_apart(function: Callable[..., Any]) -> Any:
    """The same, of a function whose arrays do not overlap: its loops are vectorised even where they gather."""
    return njit(pipeline_class=_Apart, **INLINE)(function)


def compiled(function: Callable[..., Any]) -> Any:
    """Compiled at the first call, and kept for the next process where the disk allows it."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**OPTIONS)(function)


@inline
def least(a, b):
    """min() is a call, and loops with calls are not vectorised; `b` where one of them is no number."""
    return a if a < b else b


@inline
def most(a, b):
    """As `least`."""
    return a if a > b else b


@inline
def clip(x, low, high):
    """`low` where x is no number."""
    return least(most(x, low), high)
