"""OpenEXR frames: half or float RGB or grey (Y) out, any RGB or luminance image in.

Convention: pixels are scene-linear; the header says their primaries with `chromaticities` and `colorInteropID` (OpenEXR
technical introduction; ASWF Color Interop Forum recommendation for texture assets).
"""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import OpenEXR

from hdrvid.bounds import require_pixels
from hdrvid.color.gamuts import COLOR_INTEROP_IDS, REC709, Gamut
from hdrvid.color.half import HALF_MAX, to_half
from hdrvid.errors import InputError
from hdrvid.io.atomic import atomic_path
from hdrvid.io.text_files import require_file
from hdrvid.timecode import Timecode
from hdrvid.types import PathLike

MOST_PIXELS_PER_BYTE = 1 << 14
"""An EXR with more pixels than so many times its bytes has a damaged header: black pictures stay far below."""

FLOAT_MAX = float(np.finfo(np.float32).max)
"""Largest finite 32-bit float."""

MAX_STORED_RATE = 30
"""Frames a second up to which the time code of a header counts every one."""

_HALF_INFINITY = np.uint16(0x7C00)
"""Bits of an infinite half float, which are all set in what is no number too."""

DWA_MAX = 60000.0
"""Largest value handed to DWAA/DWAB, whose quantisation may overshoot by some per cent."""

DEPTHS = ("half", "float")
"""Sample types that `write_exr` takes: 16 and 32 bits a channel."""

COMPRESSIONS = {
    "none": OpenEXR.NO_COMPRESSION,
    "rle": OpenEXR.RLE_COMPRESSION,
    "zips": OpenEXR.ZIPS_COMPRESSION,
    "zip": OpenEXR.ZIP_COMPRESSION,
    "piz": OpenEXR.PIZ_COMPRESSION,
    "b44": OpenEXR.B44_COMPRESSION,
    "b44a": OpenEXR.B44A_COMPRESSION,
    "dwaa": OpenEXR.DWAA_COMPRESSION,
    "dwab": OpenEXR.DWAB_COMPRESSION,
    "zstd": OpenEXR.ZSTD_COMPRESSION,
}
"""Compressions by the name `write_exr` takes. Older readers lack zstd."""

ZIP_LEVEL = 1
"""Of zip and zips, 1 to 9. A frame of 1280x720 takes 47 ms of one core at 1 and 66 ms at OpenEXR's 4, 1.3 % smaller."""

LOSSY_COMPRESSIONS = ("b44", "b44a", "dwaa", "dwab")
"""Compressions after which a file no longer holds exactly the half floats it was given."""

_LINES_PER_CHUNK = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
_LAYOUT_ATTRIBUTES = {"channels", "dataWindow", "displayWindow", "lineOrder", "type", "tiles", "chunkCount", "version"}


def write_exr(
    path: PathLike,
    pixels: np.ndarray,
    *,
    compression: str = "zip",
    depth: str = "half",
    gamut: Gamut = REC709,
    one_channel: bool = False,
    attributes: Mapping[str, object] | None = None,
    channels: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write `pixels` as a scanline image, RGB or grey; the file appears complete or not at all.

    pixels: (H, W, 3) scene-linear, any float type and memory layout, finite. Half floats are clamped to +-65504 (60000
        for dwaa, dwab).
    compression: a key of COMPRESSIONS; those that lose precision take half floats alone.
    depth: 'half' or 'float', 16 or 32 bits a channel.
    gamut: the primaries of the pixels; of grey the header has none. ACES2065-1 in uncompressed half floats is an ACES
        container (SMPTE ST 2065-4) and marked as one, `acesImageContainerFlag`.
    one_channel: the pixels are grey, and the first of their channels is stored, as Y.
    attributes: header entries of str, int, float, Fraction, Timecode, or lists of numbers or str; they override the
        default `chromaticities` and `colorInteropID`. Read back, floats have single precision.
    channels: further channels by name, each (H, W), stored as half floats.
    Raises ValueError for a wrong shape, non-finite pixels, an unknown compression or an attribute that EXR cannot
    hold; OutputError where the disk refuses.
    """
    check_format(compression, depth)
    check_pixels(pixels)
    if one_channel:
        pixels = pixels[..., 0]
    limit = DWA_MAX if compression.startswith("dwa") else HALF_MAX
    stored = pixels
    if depth == "float":
        stored = np.clip(pixels, -FLOAT_MAX, FLOAT_MAX).astype(np.float32, copy=False)
    elif pixels.dtype != np.float16 or limit < HALF_MAX:
        stored = to_half(np.clip(pixels, -limit, limit).astype(np.float32, copy=False))
    stored = np.ascontiguousarray(stored)  # OpenEXR ignores strides, and would write a view scrambled, without a word
    header: dict[str, Any] = {} if one_channel else {"chromaticities": gamut.chromaticities}
    if gamut.name in COLOR_INTEROP_IDS and not one_channel:
        header["colorInteropID"] = COLOR_INTEROP_IDS[gamut.name]
    if is_aces_container(gamut.name, compression, depth) and not one_channel and not channels:
        header["acesImageContainerFlag"] = 1
    for name, value in (attributes or {}).items():
        header[name] = _attribute(name, value)
    _set_zip_level()
    header["compression"] = COMPRESSIONS[compression]
    header["type"] = OpenEXR.scanlineimage
    with atomic_path(path) as partial:
        planes = {name: np.ascontiguousarray(plane, np.float16) for name, plane in (channels or {}).items()}
        OpenEXR.File(header, {"Y" if one_channel else "RGB": stored, **planes}).write(str(partial))


@cache
def _set_zip_level() -> None:
    """Set ZIP_LEVEL, for this process: OpenEXR's Python module has no argument for it. Where its library hides the
    function, the level stays."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(OpenEXR.__file__).exr_set_default_zip_compression_level(ZIP_LEVEL)


def check_format(compression: str, depth: str) -> None:
    """Raise ValueError unless `write_exr` writes samples of `depth` with this compression."""
    if compression not in COMPRESSIONS:
        raise ValueError(f"unknown EXR compression {compression!r}: use one of {', '.join(COMPRESSIONS)}")
    if depth not in DEPTHS:
        raise ValueError(f"unknown EXR depth {depth!r}: use half or float")
    if depth == "float" and compression in LOSSY_COMPRESSIONS:
        raise ValueError(f"the EXR compression {compression} keeps no 32-bit floats: use zip, piz or none")


def is_aces_container(gamut_name: str, compression: str, depth: str) -> bool:
    """Whether a file of `write_exr` is what SMPTE ST 2065-4 calls an ACES container."""
    return gamut_name == "aces2065-1" and compression == "none" and depth == "half"


def check_pixels(pixels: np.ndarray) -> None:
    """Raise ValueError unless `pixels` is a non-empty, finite (H, W, 3) float array."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape or not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"an HDR frame is a float array of shape (H, W, 3), not {pixels.dtype} {pixels.shape}")
    if pixels.dtype == np.float16:  # by their bits: NumPy computes with half floats one by one
        finite = bool((np.bitwise_and(pixels.view(np.uint16), _HALF_INFINITY) < _HALF_INFINITY).all())
    else:
        finite = bool(np.isfinite(pixels).all())
    if not finite:
        count = int((~np.isfinite(pixels)).any(axis=-1).sum())
        raise ValueError(f"an HDR frame must be finite, {count} pixel(s) are NaN or infinite")


def _attribute(name: str, value: object) -> object:
    """`value` in a type that OpenEXR stores faithfully; it drops or zeroes some others silently."""
    if isinstance(value, np.generic):
        value = value.item()
    if name == "chromaticities":
        values = tuple(float(v) for v in np.ravel(np.asarray(value, np.float64)))
        if len(values) != 8:
            raise ValueError(f"chromaticities are 8 numbers, not {len(values)}")
        return values
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"EXR attribute {name!r}: {value} does not fit 32 bits, give it as str or float")
        return value
    if isinstance(value, (str, float, Fraction)):
        return value
    if isinstance(value, Timecode):
        return _exr_timecode(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        items = np.ravel(value).tolist() if isinstance(value, np.ndarray) else list(value)
        if items and all(isinstance(item, str) for item in items):
            return items
        if items and all(isinstance(item, (int, float, np.number)) for item in items):
            return [float(item) for item in items]
    raise ValueError(f"EXR attribute {name!r} cannot hold a {type(value).__name__}: {value!r}")


def _exr_timecode(code: Timecode) -> OpenEXR.TimeCode:
    """A code as SMPTE ST 12-1 stores it: above 30 frames a second it counts pairs, and a flag marks the second one."""
    stored = OpenEXR.TimeCode()
    stored.hours, stored.minutes, stored.seconds = code.hours, code.minutes, code.seconds
    pairs = code.counted_rate > MAX_STORED_RATE
    stored.frame = code.frames // 2 if pairs else code.frames
    stored.fieldPhase = bool(pairs and code.frames % 2)
    stored.dropFrame = code.drop
    return stored


@dataclass(frozen=True, repr=False)
class ExrPicture:
    """One decoded EXR file."""

    pixels: np.ndarray
    """(H, W, 3) float32 RGB as stored, NaN and infinity included."""
    header: dict[str, object]
    """Its attributes."""
    one_channel: bool
    """Whether the file has Y alone, which all three channels then have."""


def read_exr(path: PathLike) -> tuple[np.ndarray, dict[str, object]]:
    """Pixels (H, W, 3) and header of `read_exr_picture`."""
    picture = read_exr_picture(path)
    return picture.pixels, picture.header


def read_exr_picture(path: PathLike) -> ExrPicture:
    """Pixels float32 RGB as stored (NaN and infinity included), and the header attributes.

    The first part that holds R, G, B (or only Y: repeated three times) is read; alpha is dropped. The picture is that
    of the display window, black where the file stores no pixels. `compression` comes
    back as its lower-case name, vectors as tuples of numbers.
    Raises InputError when the file is missing, damaged or holds no such channels.
    """
    source = Path(path)
    require_file(source)
    if exr_is_truncated(source):
        raise InputError(f"{source} is incomplete: the file ends early, copy or render it again")
    size = exr_size(source)
    if size is not None:
        require_pixels(source, *size)
    try:
        with _thread_stdout_muted():
            image = OpenEXR.File(str(source), separate_channels=True)
    except Exception as error:
        raise InputError(f"{source} cannot be read as OpenEXR: it is damaged or another kind of file") from error
    if not image.parts:
        raise InputError(f"{source} is damaged: its pixels cannot be decoded, copy or render it again")
    for part in image.parts:
        planes = _rgb_planes(part.channels)
        if planes is not None:
            pixels = np.stack(planes, axis=-1).astype(np.float32)
            shown = _in_display_window(source, pixels, part.header)
            return ExrPicture(shown, _plain_header(part.header), not {"R", "G", "B"} <= set(part.channels))
    names = ", ".join(sorted({name for part in image.parts for name in part.channels})) or "none"
    raise InputError(f"{source} has no R, G and B channels of one size (it has: {names}): export it as plain RGB")


def read_exr_header(path: PathLike) -> dict[str, object]:
    """The attributes of the first part, as `read_exr` gives them. Raises InputError where they cannot be read."""
    source = Path(path)
    if not source.is_file() or exr_is_truncated(source):
        raise InputError(f"{source} is missing or incomplete: copy or render it again")
    try:
        with _thread_stdout_muted():
            return _plain_header(OpenEXR.File(str(source), header_only=True).parts[0].header)
    except Exception as error:
        raise InputError(f"{source} cannot be read as OpenEXR: it is damaged or another kind of file") from error


def _in_display_window(source: Path, pixels: np.ndarray, header: Mapping[str, Any]) -> np.ndarray:
    """The picture (H, W, 3) of the display window: stored pixels outside of it are cut off, missing ones are black.

    Raises InputError where the stored pixels do not touch the display window.
    """
    windows = [header.get(name) for name in ("dataWindow", "displayWindow")]
    if any(window is None for window in windows):
        return pixels
    (data_min, _), (shown_min, shown_max) = [np.asarray(window, np.int64) for window in windows]
    width, height = (int(side) for side in shown_max - shown_min + 1)
    left, top = (int(offset) for offset in data_min - shown_min)
    if (left, top) == (0, 0) and pixels.shape[:2] == (height, width):
        return pixels
    require_pixels(source, width, height)
    bottom, right = min(height, top + pixels.shape[0]), min(width, left + pixels.shape[1])
    if bottom <= max(top, 0) or right <= max(left, 0):
        raise InputError(f"{source} stores pixels outside of its display window alone: render it again")
    shown = np.zeros((height, width, 3), np.float32)
    rows, columns = slice(max(top, 0), bottom), slice(max(left, 0), right)
    shown[rows, columns] = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return shown


def _rgb_planes(channels: Mapping[str, Any]) -> list[np.ndarray] | None:
    names = ["R", "G", "B"] if {"R", "G", "B"} <= set(channels) else ["Y"] * 3
    if names[0] not in channels or {"RY", "BY"} & set(channels):
        return None
    planes = [np.asarray(channels[name].pixels) for name in names]
    if any(plane.ndim != 2 or plane.size == 0 or plane.shape != planes[0].shape for plane in planes):
        return None
    return planes


def _plain_header(header: Mapping[str, Any]) -> dict[str, object]:
    plain: dict[str, object] = {}
    for name, value in header.items():
        if name in _LAYOUT_ATTRIBUTES:
            continue
        if name == "compression":
            value = value.name.removesuffix("_COMPRESSION").lower().replace("no", "none")
        elif isinstance(value, np.ndarray):
            value = tuple(value.tolist())
        plain[name] = value
    return plain


def exr_is_truncated(path: PathLike) -> bool:
    """True where a scanline EXR lacks part of its header, its offset table or its last chunk, or claims a size that
    its bytes cannot hold.

    Reads only the header and the offset table (OpenEXR file layout), so it costs well under a millisecond. Tiled,
    deep and multi-part files, which hdrvid does not write, are not judged. False for files that are no EXR at all.
    Raises InputError when the file cannot be opened.
    """
    source = Path(path)
    try:
        with open(source, "rb") as file:
            size = source.stat().st_size
            magic = file.read(8)
            if magic[:4] != b"\x76\x2f\x31\x01"[: len(magic[:4])]:
                return False
            if len(magic) < 8:
                return True
            if struct.unpack("<I", magic[4:])[0] & 0x1A00:  # tiled, deep, multi-part
                return False
            head = file.read(1 << 16)
            while (parsed := _parse_header(head)) is None:
                more = file.read(1 << 20)
                if not more or len(head) > 1 << 26:
                    return True
                head += more
            attributes, end = parsed
            table = 8 + end
            left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
            if (right - left + 1) * (bottom - top + 1) > MOST_PIXELS_PER_BYTE * size:
                return True
            lines = _LINES_PER_CHUNK.get(attributes.get("compression", b"\xff")[0])
            if lines is None:
                file.seek(table)
                first = file.read(8)
                count = (struct.unpack("<Q", first)[0] - table) // 8 if len(first) == 8 else 0
            else:
                count = -(-(bottom - top + 1) // lines)
            if count < 1 or table + 8 * count > size:
                return True
            file.seek(table)
            offsets = struct.unpack(f"<{count}Q", file.read(8 * count))
            if min(offsets) < table + 8 * count or max(offsets) + 8 > size:
                return True
            file.seek(max(offsets) + 4)
            return max(offsets) + 8 + struct.unpack("<i", file.read(4))[0] > size
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from error
    except (struct.error, KeyError, IndexError):
        return True


def exr_size(path: PathLike) -> tuple[int, int] | None:
    """Width and height of the stored pixels of the first part; None where the header does not tell.

    Raises InputError when the file cannot be opened.
    """
    source = Path(path)
    try:
        with open(source, "rb") as file:
            head = file.read(1 << 16)[8:]
        at = head.find(b"dataWindow\0box2i\0")
        left, top, right, bottom = struct.unpack_from("<4i", head, at + 21)
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from error
    except struct.error:
        return None
    return None if at < 0 else (right - left + 1, bottom - top + 1)


def _parse_header(head: bytes) -> tuple[dict[str, bytes], int] | None:
    """Attribute values by name and the position behind the header, or None where `head` ends before it does."""
    attributes: dict[str, bytes] = {}
    position = 0
    while position < len(head):
        if head[position] == 0:
            return attributes, position + 1
        name_end = head.find(b"\0", position)
        type_end = head.find(b"\0", name_end + 1)
        if name_end < 0 or type_end < 0 or type_end + 5 > len(head):
            return None
        (length,) = struct.unpack_from("<i", head, type_end + 1)
        value = type_end + 5
        if length < 0:
            raise struct.error("negative attribute size")
        attributes[head[position:name_end].decode("latin-1")] = head[value : value + length]
        position = value + length
    return None


class _ThreadFilteredStdout:
    """Stands in for sys.stdout and drops what the muted threads print."""

    def __init__(self, real: TextIO) -> None:
        self.real = real
        self.muted: dict[int, int] = {}

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() in self.muted else self.real.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


_stdout_lock = threading.Lock()


@contextmanager
def _thread_stdout_muted() -> Iterator[None]:
    """Drop what this thread prints: OpenEXR reports damaged pixels on stdout, where results for machines go.

    OpenEXR prints through Python's sys.stdout, so closing the file descriptor is not needed, and the output of other
    threads passes.
    """
    ident = threading.get_ident()
    with _stdout_lock:
        current: Any = sys.stdout
        proxy = current if isinstance(current, _ThreadFilteredStdout) else _ThreadFilteredStdout(current)
        proxy.muted[ident] = proxy.muted.get(ident, 0) + 1
        sys.stdout = proxy
    try:
        yield
    finally:
        with _stdout_lock:
            proxy.muted[ident] -= 1
            if not proxy.muted[ident]:
                del proxy.muted[ident]
            if not proxy.muted and sys.stdout is proxy:
                sys.stdout = proxy.real
