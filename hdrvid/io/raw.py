"""Raw DNG frames through rawpy (LibRaw), an extra: `pip install 'hdrvid[raw]'`.

Convention: pixels are scene-linear with Rec. 709 primaries, upright. 0 is the black level of the file and 1 its white
level, where the sensor clips, after white balance: the channel that the balance amplifies least reaches 1 exactly where
the sensor clips, the others earlier, and are cut off there. Nothing depends on the picture's contents, so frames of one
exposure stay comparable.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid.bounds import require_pixels
from hdrvid.errors import InputError
from hdrvid.types import PathLike

INSTALL = "pip install 'hdrvid[raw]'"
"""What installs the reader of raw files."""


@dataclass(frozen=True)
class RawPicture:
    """One developed raw file."""

    pixels: np.ndarray
    """(H, W, 3) float32 RGB, scene-linear, in [0, 1]."""
    bit_depth: int
    """Bits that hold the white level."""
    levels: str
    """Codes of black and white by its tags, for people to read."""
    white_balance: tuple[float, ...]
    """Multipliers of the sensor's R, G, B and second G that were used."""

    def __repr__(self) -> str:
        return f"RawPicture(pixels={self.pixels.shape}, bit_depth={self.bit_depth})"


def read_dng(path: PathLike, white_balance: Sequence[float] | None = None) -> RawPicture:
    """One DNG file, demosaiced (adaptive homogeneity-directed, Hirakawa & Parks 2005), in linear Rec. 709 RGB.

    `white_balance`: multipliers to use, for example those of the first frame of a clip; None: the camera's own as the
    file has them, else daylight. Black and white level, colour matrix and orientation are the file's.
    Raises InputError where rawpy is not installed, and where the file is missing, damaged or of a kind LibRaw cannot
    read.
    """
    source = Path(path)
    rawpy = _rawpy(source)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from error
    try:
        with rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(data))
            require_pixels(source, raw.sizes.raw_width, raw.sizes.raw_height)
            raw.unpack()
            balance = _balance(white_balance or raw.camera_whitebalance) or _balance(raw.daylight_whitebalance)
            codes = raw.postprocess(
                gamma=(1, 1),
                no_auto_bright=True,
                adjust_maximum_thr=0.0,  # else the white level follows the brightest pixel of each frame
                user_wb=None if balance is None else list(balance),
                output_color=rawpy.ColorSpace.sRGB,
                output_bps=16,
                highlight_mode=rawpy.HighlightMode.Clip,
            )
            white_level = int(raw.white_level)
            black_levels = sorted({int(level) for level in raw.black_level_per_channel})
    except (rawpy.LibRawError, rawpy.NotSupportedError, ValueError, MemoryError) as error:
        raise InputError(
            f"{source} cannot be read as DNG: it is damaged, incomplete or of a kind LibRaw does not know"
        ) from error
    pixels = np.ascontiguousarray(codes, dtype=np.float32) / np.float32(65535)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(f"{source} holds no colour picture: give the DNG files of a colour camera")
    levels = f"white at code {white_level}, black level {', '.join(map(str, black_levels))}"
    return RawPicture(pixels, max(8, min(16, white_level.bit_length())), levels, balance or ())


def _rawpy(source: Path) -> Any:
    try:
        import rawpy
    except ImportError as error:
        raise InputError(f"{source} is a raw file, and the package that reads those is missing: {INSTALL}") from error
    return rawpy


def _balance(multipliers: Sequence[float]) -> tuple[float, ...] | None:
    """Four multipliers, or None where the file has none that can be used; a missing second G is the first."""
    values = [float(m) for m in multipliers][:4]
    if len(values) == 4 and values[3] <= 0:
        values[3] = values[1]
    usable = len(values) == 4 and all(np.isfinite(values)) and min(values) > 0
    return tuple(values) if usable else None
