"""What files of frames say of them beside their pixels: time code, reel, date, exposure, shape of a pixel.

DPX headers are those of SMPTE ST 268-1, EXR attributes those of OpenEXR's list. A damaged or strange header is one that
says nothing, never an error: the pixels are read elsewhere.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import OpenEXR

from hdrvid.errors import InputError
from hdrvid.io.exif import read_settings
from hdrvid.io.exr import read_exr_header
from hdrvid.timecode import Timecode
from hdrvid.types import FrameMetadata

_STORED_RATE = 30
"""Frames that the codes of DPX and EXR headers count in a second at the most."""

_EXIF_SUFFIXES = {".jpg", ".jpeg", ".tif", ".tiff", ".dng"}
_DATE = "%Y:%m:%d %H:%M:%S"
_DPX_HEADER_BYTES = 2048
_MOST_ASPECT = 10


def read_frame_metadata(path: Path, rate: Fraction) -> FrameMetadata:
    """What the header of one file says of its frame, in a clip of `rate` frames a second."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".dpx":
            with open(path, "rb") as file:
                return _of_dpx(file.read(_DPX_HEADER_BYTES), rate)
        if suffix == ".exr":
            return _of_exr(read_exr_header(path), rate)
    except (InputError, OSError, struct.error):
        return FrameMetadata()
    settings = read_settings(path) if suffix in _EXIF_SUFFIXES else None
    if settings is None:
        return FrameMetadata()
    return FrameMetadata(
        captured=settings.captured,
        exposure_seconds=settings.exposure_seconds,
        iso=settings.iso,
        f_number=settings.f_number,
    )


def aspect_of(width: Any, height: Any) -> Fraction:
    """The shape of a pixel from its width and height; 1 where they are no shape of a pixel."""
    try:
        aspect = (Fraction(width) / Fraction(height)).limit_denominator(1000)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        return Fraction(1)
    return aspect if Fraction(1, _MOST_ASPECT) <= aspect <= _MOST_ASPECT else Fraction(1)


def date_and_offset(text: str) -> tuple[str, float | None]:
    """A date in ISO 8601 as headers have it, 'YYYY:MM:DD hh:mm:ss', and seconds from that clock to UTC.

    >>> date_and_offset("2026-11-30T02:15:00+0100")
    ('2026:11:30 02:15:00', -3600.0)
    >>> date_and_offset("1904-01-01T00:00:00Z")  # what files say that know no date
    ('', None)
    """
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        return "", None
    if date.year < 1971:
        return "", None
    offset = date.utcoffset()
    return date.strftime(_DATE), None if offset is None else -offset.total_seconds() + 0.0


def later(metadata: FrameMetadata, num_frames: int, rate: Fraction) -> FrameMetadata:
    """The metadata of a frame so many frames later in the same recording."""
    code = metadata.timecode and metadata.timecode.plus(num_frames)
    captured = metadata.captured
    if captured:
        date = datetime.strptime(captured, _DATE) + timedelta(seconds=math.floor(num_frames / rate))
        captured = date.strftime(_DATE)
    return replace(metadata, timecode=code, captured=captured)


def _code(hours: int, minutes: int, seconds: int, frames: int, rate: Fraction, drop: bool) -> Timecode | None:
    """A stored code; one that counts more frames than the rate of the clip allows counts 30 a second."""
    counted = round(rate) if frames < round(rate) else _STORED_RATE
    code = Timecode(hours, minutes, seconds, frames, counted, drop and counted % 30 == 0)
    return code if code.is_valid else None


def _of_dpx(header: bytes, rate: Fraction) -> FrameMetadata:
    order = {b"SDPX": ">", b"XPDS": "<"}.get(header[:4])
    if order is None:
        return FrameMetadata()
    width, height = struct.unpack_from(f"{order}II", header, 1628)
    digits = f"{struct.unpack_from(f'{order}I', header, 1920)[0]:08x}"
    drop = int(digits[6], 16) & 4 != 0  # the bit above the tens of frames
    digits = f"{digits[:6]}{int(digits[6], 16) & 3:x}{digits[7]}"
    code = None
    if digits.isdecimal():
        hours, minutes, seconds, frames = (int(digits[i : i + 2]) for i in (0, 2, 4, 6))
        code = _code(hours, minutes, seconds, frames, rate, drop)
    date = re.match(r"(\d{4}:\d\d:\d\d):(\d\d:\d\d:\d\d)", header[136:160].decode("latin-1"))
    return FrameMetadata(
        timecode=code,
        captured="" if date is None else f"{date[1]} {date[2]}",
        pixel_aspect=aspect_of(width, height),
    )


def _of_exr(header: Mapping[str, Any], rate: Fraction) -> FrameMetadata:
    stored = header.get("timeCode")
    code = None
    if isinstance(stored, OpenEXR.TimeCode):
        frames = stored.frame
        if round(rate) > _STORED_RATE:  # pairs of frames are counted
            frames = 2 * frames + int(stored.fieldPhase)
        code = _code(stored.hours, stored.minutes, stored.seconds, frames, rate, bool(stored.dropFrame))
    numbers = {name: _positive(header.get(name)) for name in ("expTime", "isoSpeed", "aperture", "pixelAspectRatio")}
    captured, offset = str(header.get("capDate", "")), header.get("utcOffset")
    return FrameMetadata(
        timecode=code,
        reel=str(header.get("reelName", "")),
        captured=captured if re.fullmatch(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d", captured) else "",
        utc_offset_seconds=offset if isinstance(offset, float) else None,
        exposure_seconds=numbers["expTime"],
        iso=numbers["isoSpeed"],
        f_number=numbers["aperture"],
        pixel_aspect=aspect_of(numbers["pixelAspectRatio"], 1),
    )


def _positive(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 < value < math.inf else None
