"""Functions of a plane of light as tables over the half floats: one look-up a value."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from hdrvid import threads
from hdrvid.color import half
from hdrvid.color.curves import srgb_encode
from hdrvid.color.half import HALF_MAX
from hdrvid.errors import InputError

_PIXELS_AT_ONCE = 30_000
"""A block of rows that fits the caches."""


@lru_cache(1)
def half_values() -> np.ndarray:
    """The value of every non-negative finite half float, in the order of its bits, as float64."""
    values = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    values.flags.writeable = False
    return values


@lru_cache(1)
def srgb_codes() -> np.ndarray:
    """The 8-bit sRGB code of `half_values`, 1 and above is 255."""
    codes: np.ndarray = np.round(255 * srgb_encode(half_values())).astype(np.uint8)
    codes.flags.writeable = False
    return codes


def half_index(plane: np.ndarray) -> np.ndarray:
    """Index into a table over `half_values` of a plane of values 0..65504."""
    return half.to_half(plane).view(np.uint16)


def row_blocks(frame: np.ndarray) -> list[slice]:
    """Rows of a frame, some at a time."""
    return threads.row_blocks(slice(0, frame.shape[0]), frame.shape[1], _PIXELS_AT_ONCE)


def finite_frame(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) pixels as contiguous float32: NaN and -inf are 0, inf is 65504.

    Raises InputError where the shape is another.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(f"a frame to be tone mapped has shape (height, width, 3), not {pixels.shape}")
    with np.errstate(over="ignore"):
        frame = np.ascontiguousarray(pixels, np.float32)
    if not cv2.checkRange(frame, quiet=True)[0]:
        frame = np.nan_to_num(frame, nan=0.0, posinf=HALF_MAX, neginf=0.0)
    return frame
