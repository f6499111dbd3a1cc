"""The largest numbers that hdrvid takes, in one place: beyond them memory or time would run out without a word."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from hdrvid.errors import InputError, UsageError

if TYPE_CHECKING:
    from hdrvid.types import PathLike

MAX_SIDE = 16384
"""Pixels on a side of a picture that hdrvid makes."""

MAX_PIXELS = MAX_SIDE * MAX_SIDE
"""Pixels of a picture that hdrvid reads. A frame of this size takes 3 GiB as float32 RGB."""

MAX_COUNT = 1_000_000_000
"""Of anything that is counted in an option."""

_MAX_OF_OPTION: dict[str, float] = {
    "seed": 2**63 - 1,
    "frames": 1_000_000,
    "scenes": 100_000,
    "shots": 1_000_000,
    "windows": 1_000_000,
    "width": 1024,
    "half_width": 1024,
    "quarter_width": 1024,
    "flow_half_width": 1024,
    "batch": 65536,
    "accumulate": 65536,
    "crop": 8192,
    "flow_crop": 8192,
    "window_size": 8192,
    "workers": max(16, 4 * (os.cpu_count() or 1)),
    "runs": 10_000,
    "learning_rate": 10.0,
}
"""Largest value of an option by the name of its field, where that is not MAX_COUNT."""

MAX_DIGITS = 18
"""Digits of a number in an option or a file name: it fits 64 bits."""

MAX_JSON_BYTES = 256 << 20
"""Size of a JSON file that hdrvid reads."""

MAX_TEXT_BYTES = 4 << 20
"""Size of a list of names or stops."""


def require_number(flag: str, field: str, value: float) -> None:
    """Raise UsageError where the number of an option is larger than its field can be, or not a number."""
    largest = _MAX_OF_OPTION.get(field, MAX_COUNT)
    if math.isnan(value) or (value > largest and not (field == "minutes" and value == math.inf)):
        raise UsageError(f"{flag} takes numbers up to {largest}, not {str(value)[:40]}: give a smaller one")


def require_pixels(source: PathLike, width: int, height: int) -> None:
    """Raise InputError where the header of a picture claims no pixels, or more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise InputError(f"{source} claims a size of {width}x{height} pixels: the file is damaged, copy it again")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{source} is {width}x{height} pixels, more than the {MAX_PIXELS // 1_000_000} million that hdrvid reads: "
            "scale it down first"
        )
