"""The largest numbers that hdrvid takes, in one place: beyond them memory or time would run out without a word."""

from __future__ import annotations

from hdrvid.errors import InputError
from hdrvid.types import PathLike

MAX_SIDE = 16384
"""Pixels on a side of a picture that hdrvid makes."""

MAX_PIXELS = MAX_SIDE * MAX_SIDE
"""Pixels of a picture that hdrvid reads. A frame of this size takes 3 GiB as float32 RGB."""

MAX_SEED = 2**63 - 1
"""Seeds are signed 64-bit integers."""

MAX_FRAMES = 1_000_000
"""Frames of a clip that hdrvid makes: more than 11 hours at 24 frames per second."""

MAX_EVAL_FRAMES = 1000
"""Frames of a synthetic clip in an evaluation, which is held in memory."""

MAX_COUNT = 1_000_000_000
"""Steps, epochs, windows, scenes and other things that are counted."""

MAX_WORKERS = 1024
"""Processes that prepare data."""

MAX_CHANNELS = 1024
"""Channels of a network."""

MAX_DIGITS = 18
"""Digits of a number in an option or a file name: it fits 64 bits."""

MAX_JSON_BYTES = 256 << 20
"""Size of a JSON file that hdrvid reads."""

MAX_TEXT_BYTES = 4 << 20
"""Size of a list of names or stops."""


def require_pixels(source: PathLike, width: int, height: int) -> None:
    """Raise InputError where the header of a picture claims no pixels, or more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise InputError(f"{source} claims a size of {width}x{height} pixels: the file is damaged, copy it again")
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{source} is {width}x{height} pixels, more than the {MAX_PIXELS // 1_000_000} million that hdrvid reads: "
            "scale it down first"
        )
