"""Exposure time, ISO and f-number that a camera wrote into JPEG and TIFF frames.

The tags are those of the Exif standard (CIPA DC-008-2019, section 4.6): directories of 12-byte entries, in either byte
order, at offsets from the start of a TIFF structure, which a JPEG file carries in its APP1 segment. Nothing of the
picture is read. A damaged or strange file is a file without metadata, never an error: the pixels decide then.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_ENTRIES = 512
"""Entries of one directory that are looked at."""

MAX_SEGMENTS = 64
"""Segments of a JPEG file that are looked at before its Exif."""

EXPOSURE_TIME, F_NUMBER, EXIF_DIRECTORY, ISO = 0x829A, 0x829D, 0x8769, 0x8827
"""Tags, in Exif section 4.6.3 and 4.6.5."""

_SHORT, _LONG, _RATIONAL, _FLOAT, _DOUBLE = 3, 4, 5, 11, 12
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


def read_settings(path: Path) -> CameraSettings | None:
    """Settings of one JPEG or TIFF file; None where it has no exposure time or cannot be read."""
    try:
        with path.open("rb") as file:
            start = _tiff_start(file)
            return None if start is None else _Tiff(file, start).settings()
    except (OSError, ValueError, struct.error):
        return None


def _tiff_start(file: BinaryIO) -> int | None:
    """Offset of the TIFF structure in the file."""
    head = file.read(4)
    if head in (b"II*\0", b"MM\0*"):
        return 0
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    for _ in range(MAX_SEGMENTS):
        file.seek(at)
        marker, kind, length = struct.unpack(">BBH", file.read(4))
        if marker != 0xFF or kind == 0xDA or length < 2:  # not a segment, or the picture itself
            return None
        if kind == 0xE1 and length >= 16 and file.read(6) == b"Exif\0\0":
            return at + 10
        at += 2 + length
    return None


class _Tiff:
    """Directories of a TIFF structure that begins at `start`."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._start = start
        self._order = "<" if self._read(0, 2) == b"II" else ">"

    def settings(self) -> CameraSettings | None:
        _, magic, first = struct.unpack(self._order + "2sHI", self._read(0, 8))
        if magic != 42:
            return None
        values = self._directory(first)
        below = values.get(EXIF_DIRECTORY)
        if below is not None:
            values = values | self._directory(int(below))  # one level, so that no file can lead in circles
        seconds, iso = values.get(EXPOSURE_TIME), values.get(ISO)
        if seconds is None:
            return None
        return CameraSettings(seconds, None if iso == _ISO_IS_ELSEWHERE else iso, values.get(F_NUMBER))

    def _directory(self, offset: int) -> dict[int, float]:
        """The first number of every entry of interest, where it is above 0."""
        (count,) = struct.unpack(self._order + "H", self._read(offset, 2))
        values = {}
        for k in range(min(count, MAX_ENTRIES)):
            entry = self._read(offset + 2 + 12 * k, 12)
            tag, kind, number = struct.unpack(self._order + "HHI", entry[:8])
            if tag not in (EXPOSURE_TIME, F_NUMBER, EXIF_DIRECTORY, ISO) or number < 1:
                continue
            value = self._value(kind, number, entry[8:])
            if 0 < value < math.inf:
                values[tag] = value
        return values

    def _value(self, kind: int, number: int, field: bytes) -> float:
        """The first value of an entry; 0 for a type that such tags do not have."""
        (offset,) = struct.unpack(self._order + "I", field)
        if kind == _SHORT:
            source = field[:2] if number <= 2 else self._read(offset, 2)
            return float(struct.unpack(self._order + "H", source)[0])
        if kind == _LONG:
            return float(offset if number == 1 else struct.unpack(self._order + "I", self._read(offset, 4))[0])
        if kind == _RATIONAL:
            numerator, denominator = struct.unpack(self._order + "II", self._read(offset, 8))
            return float(numerator / denominator) if denominator else 0.0
        if kind == _FLOAT:  # not what the standard has for these tags, but what some programs write
            source = field if number == 1 else self._read(offset, 4)
            return float(struct.unpack(self._order + "f", source)[0])
        if kind == _DOUBLE:
            return float(struct.unpack(self._order + "d", self._read(offset, 8))[0])
        return 0.0

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(self._start + offset)
        data = self._file.read(size)
        if len(data) != size:
            raise ValueError("the structure points beyond the end of the file")
        return data
