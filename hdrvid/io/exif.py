"""Exposure time, ISO and f-number that a camera wrote into JPEG, TIFF and raw frames. Read by Pillow.

The tags are those of the Exif standard (CIPA DC-008-2019, section 4.6). Nothing of the picture is decoded. A damaged or
strange file is a file without metadata, never an error: the pixels decide then.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

_ISO_IS_ELSEWHERE = 65535


@dataclass(frozen=True)
class CameraSettings:
    """What one frame was taken with."""

    exposure_seconds: float
    """Exposure time in seconds, above 0."""
    iso: float | None
    """ISO speed, above 0; None where the file does not tell."""
    f_number: float | None
    """Focal length over the diameter of the aperture, above 0; None where the file does not tell."""
    captured: str = ""
    """When it was taken, 'YYYY:MM:DD hh:mm:ss'; '' where the file does not tell."""


def read_settings(path: Path) -> CameraSettings | None:
    """Settings of one file: JPEG, TIFF, or a raw file that begins with a TIFF structure, as most do.

    None where it has no exposure time or cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damaged metadata
            tags = _read_tags(path)
    except Exception:  # Pillow raises struct.error, SyntaxError, KeyError and more for damaged metadata
        return None
    seconds = _positive(tags.get(ExifTags.Base.ExposureTime))
    iso = _positive(tags.get(ExifTags.Base.ISOSpeedRatings))
    if seconds is None:
        return None
    date = str(tags.get(ExifTags.Base.DateTimeOriginal) or tags.get(ExifTags.Base.DateTime) or "").strip("\0 ")
    return CameraSettings(
        seconds,
        None if iso == _ISO_IS_ELSEWHERE else iso,
        _positive(tags.get(ExifTags.Base.FNumber)),
        date if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", date) else "",
    )


def _read_tags(path: Path) -> dict[int, Any]:
    """The Exif tags of a file, whether they lie in its first directory or in the Exif directory below it."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if head in (b"II*\0", b"MM\0*"):  # the pictures of raw files are not Pillow's to open
            exif = Image.Exif()
            exif.load_from_fp(file)
            return dict(exif) | exif.get_ifd(ExifTags.IFD.Exif)
        with Image.open(file, formats=["JPEG"]) as image:
            exif = image.getexif()
            return dict(exif) | exif.get_ifd(ExifTags.IFD.Exif)


def _positive(value: Any) -> float | None:
    """The first number of a tag, where it is above 0 and finite."""
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if 0 < number < math.inf else None
