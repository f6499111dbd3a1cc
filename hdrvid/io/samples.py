"""What the stored samples of a clip mean: levels, the mosaic of a sensor, fields.

Convention: a stored code is the number in the file. Levels are stored codes; those of shifted files (12 bits in the
upper bits of 16) are shifted too. Levels of a video are codes of R, G and B, or of grey.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from hdrvid.errors import InputError, UsageError
from hdrvid.types import ClipInfo

BAYER_PATTERNS = ("rggb", "bggr", "grbg", "gbrg")
"""Colours of the filters in the four pixels at the upper left corner, row by row."""

MIN_MOSAIC_SIDE = 4
"""Rows and columns of the smallest mosaic that is demosaiced."""

_BORDER = 4
"""Rows and columns that are mirrored around a mosaic; even, so that the pattern goes on."""

_DIFFERENCES = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]], np.float32)
"""Bilinear interpolation from every fourth pixel."""


@dataclass(frozen=True)
class SampleFormat:
    """What the user says of the stored samples of a clip. Raises UsageError for what contradicts itself."""

    bits: int | None = None
    """Bits of the sensor, 8 to 16."""
    black_level: float | None = None
    """Stored code of no light."""
    white_level: float | None = None
    """Stored code at which the sensor clips."""
    bayer: str = "auto"
    """One of BAYER_PATTERNS where the frames are the mosaic of a sensor; 'none' where they are pictures, 'auto' where
    they should be, but what looks like a mosaic is refused."""
    white_balance: tuple[float, float, float] | None = None
    """Factors of R, G and B of a mosaic."""
    deinterlace: bool = False
    """Whether the fields of a video are made whole frames."""

    def __post_init__(self) -> None:
        for name, level in (("--black-level", self.black_level), ("--white-level", self.white_level)):
            if level is not None and not (math.isfinite(level) and 0 <= level <= 65535):
                raise UsageError(f"{name} takes a stored code, 0 to 65535, not {level:g}")
        if self.bits is not None and not 8 <= self.bits <= 16:
            raise UsageError(f"--bits takes 8 to 16, not {self.bits}")
        if self.white_level is not None and self.white_level <= (self.black_level or 0):
            raise UsageError(
                f"--white-level {self.white_level:g} is not above --black-level {self.black_level or 0:g}: the black "
                "level is the stored code of no light, the white level that at which the sensor clips"
            )
        if self.bayer not in ("auto", "none", *BAYER_PATTERNS):
            raise UsageError(f"--bayer takes auto, none, {', '.join(BAYER_PATTERNS)}, not '{self.bayer[:40]}'")
        if self.white_balance is not None:
            if not self.is_mosaic:
                raise UsageError("--white-balance multiplies the colours of a mosaic, so it needs --bayer")
            if self.black_level is None:
                raise UsageError("--white-balance multiplies light, so it needs --black-level (0 where there is none)")

    @property
    def is_mosaic(self) -> bool:
        """Whether the frames have to be demosaiced."""
        return self.bayer in BAYER_PATTERNS

    @property
    def has_levels(self) -> bool:
        """Whether the user gives any level."""
        return any(value is not None for value in (self.bits, self.black_level, self.white_level))


@dataclass(frozen=True)
class Levels:
    """Stored codes of black and white."""

    top: float
    """Largest code of the stored samples: 255, 65535; read as 1."""
    white: float
    """Code that becomes 1; codes above it are cut off."""
    black: float = 0.0
    """Code that becomes 0; codes below it are cut off."""
    bits: int = 16
    """Bits of the sensor."""

    def applied(self, pixels: np.ndarray) -> np.ndarray:
        """Samples of any shape, float32 in [0, 1] with 1 for the code `top`, with 0 for black and 1 for white."""
        if self.black == 0:
            return np.minimum(pixels * np.float32(self.top / self.white), np.float32(1))
        width = self.white - self.black
        scaled = pixels * np.float32(self.top / width)
        scaled -= np.float32(self.black / width)
        return np.clip(scaled, 0, 1, out=scaled)

    def text(self) -> str:
        """For people.

        >>> Levels(65535, 4095, 64, 12).text()
        '12 bits in 16, white at code 4095, black level 64'
        """
        stored = round(self.top).bit_length()
        depth = f"{self.bits} bits in {stored}" if self.bits < stored else f"{stored} bits"
        return f"{depth}, white at code {self.white:g}" + (f", black level {self.black:g}" if self.black else "")


def with_levels(info: ClipInfo, levels: Levels | None) -> ClipInfo:
    """The account of a clip whose samples have these levels; itself where they have none."""
    if levels is None:
        return info
    return replace(info, bit_depth=levels.bits, details={**info.details, "levels": levels.text()})


def require_mosaic(source: str, one_channel: bool) -> None:
    """Raise InputError where frames cannot be a mosaic because they have colours already."""
    if not one_channel:
        raise InputError(
            f"{source} holds colour pictures, but --bayer is for the one-channel mosaic of a sensor: leave it out"
        )


def developed(pixels: np.ndarray, levels: Levels | None, samples: SampleFormat) -> np.ndarray:
    """Stored samples (H, W, 3) in [0, 1] as the picture (H, W, 3) that they mean; a mosaic is the same in all three."""
    if not samples.is_mosaic:
        return pixels if levels is None else levels.applied(pixels)
    mosaic = pixels[..., 1] if levels is None else levels.applied(pixels[..., 1])
    return demosaiced(mosaic, samples.bayer, samples.white_balance)


def demosaiced(mosaic: np.ndarray, pattern: str, white_balance: tuple[float, float, float] | None = None) -> np.ndarray:
    """(H, W) linear samples in [0, 1] behind colour filters to (H, W, 3) float32 RGB in [0, 1].

    Green is OpenCV's edge-aware one. Red and blue are green plus their difference from it, interpolated bilinearly:
    differences of colours are smoother than the colours. `white_balance`: factors of R, G and B; they are scaled so
    that the smallest is 1, and what rises above 1 is cut off: where the sensor clips the picture is white.
    Raises InputError for a mosaic too small to interpolate in.
    """
    height, width = mosaic.shape
    if min(height, width) < MIN_MOSAIC_SIDE:
        raise InputError(f"a mosaic of {width}x{height} pixels is too small to be demosaiced: give larger frames")
    stored = np.rint(np.clip(mosaic, 0, 1) * np.float32(65535)).astype(np.uint16)
    border = (_BORDER,) * 4
    padded = cv2.copyMakeBorder(stored, *border, cv2.BORDER_REFLECT_101)
    rgb = cv2.demosaicing(padded, getattr(cv2, f"COLOR_Bayer{pattern.upper()}2RGB_EA"))
    green = rgb[_BORDER:-_BORDER, _BORDER:-_BORDER, 1].astype(np.float32) / np.float32(65535)
    difference = mosaic.astype(np.float32) - green
    planes = [green] * 3
    for channel, name in ((0, "r"), (2, "b")):
        place = pattern.index(name)
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        subsampled = np.zeros_like(difference)
        subsampled[rows, columns] = difference[rows, columns]
        planes[channel] = green + cv2.filter2D(subsampled, -1, _DIFFERENCES, borderType=cv2.BORDER_REFLECT_101)
    result = np.stack(planes, axis=-1)
    if white_balance is not None:
        result *= np.array(white_balance, np.float32) / np.float32(min(white_balance))
    return np.clip(result, 0, 1, out=result)
