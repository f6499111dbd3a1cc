"""TIFF files: what the header says of their samples, and a decoder for layouts that OpenCV gets wrong.

Tags and values are those of TIFF 6.0 (Adobe, 1992) and of BigTIFF. OpenCV multiplies 8-bit colours by their alpha,
takes planes for interleaved pixels, and ignores that zero is white in 16-bit grey. It therefore gets a directory in
which these things cannot occur: every plane alone, as grey, and no alpha.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdrvid.bounds import require_pixels
from hdrvid.errors import InputError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 266, 273, 274, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 284, 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339

_KEPT_TAGS = (
    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP,
    STRIP_BYTES, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT,
)  # fmt: skip
"""Tags that a decoder needs; all of them hold integers."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
_COLOUR_MODELS = {4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab", 32803: "sensor mosaic"}
_FLOATS = {32844: "LogL", 32845: "LogLuv"}
_ASSOCIATED_ALPHA = 1
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_VALUES = 1 << 24

Decoder = Callable[[bytes], np.ndarray]
"""Decodes a file in memory: (H, W) or (H, W, C) in BGR order."""


@dataclass(frozen=True)
class TiffDirectory:
    """The first directory of a file: its integer tags."""

    order: str
    """Byte order as of `struct`."""
    is_big: bool
    """Whether the file is a BigTIFF."""
    tags: Mapping[int, tuple[int, ...]]
    """Values by tag."""

    def value(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def planes(self) -> int:
        """Planes that are stored one after the other; 1 for interleaved samples."""
        return self.value(SAMPLES, 1) if self.value(PLANAR, 1) == 2 else 1

    def with_tags(self, changed: Mapping[int, tuple[int, ...]]) -> TiffDirectory:
        """The directory with other values; a tag without values is removed."""
        tags = {tag: values for tag, values in {**self.tags, **changed}.items() if values}
        return TiffDirectory(self.order, self.is_big, tags)

    def plane(self, number: int) -> TiffDirectory:
        """The directory of one plane, as a grey picture."""
        changed: dict[int, tuple[int, ...]] = {
            SAMPLES: (1,),
            BITS: (self.tags.get(BITS, (1,))[0],),
            PHOTOMETRIC: (_BLACK_IS_ZERO,),
            PLANAR: (1,),
            EXTRA_SAMPLES: (),
            SAMPLE_FORMAT: (self.value(SAMPLE_FORMAT, 1),),
        }
        for tag in (STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES):
            values = self.tags.get(tag, ())
            part = len(values) // self.planes
            changed[tag] = values[number * part : (number + 1) * part]
        return self.with_tags(changed)


def read_directory(data: bytes) -> TiffDirectory | None:
    """The first directory of a TIFF file; None where `data` is none, or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return None
    try:
        version = struct.unpack_from(f"{order}H", data, 2)[0]
        if version not in (42, 43):
            return None
        is_big = version == 43
        (start,) = struct.unpack_from(f"{order}Q", data, 8) if is_big else struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if is_big else 'H'}", data, start)
        start += 8 if is_big else 2
        entry = f"{order}HHQ" if is_big else f"{order}HHI"
        step, inline = (20, 8) if is_big else (12, 4)
        tags: dict[int, tuple[int, ...]] = {}
        for i in range(min(count, 4096)):
            tag, kind, number = struct.unpack_from(entry, data, start + i * step)
            if tag not in _KEPT_TAGS or kind not in _INTEGER_CODES or not 0 < number <= _MOST_VALUES:
                continue
            code = f"{order}{number}{_INTEGER_CODES[kind]}"
            at = start + i * step + struct.calcsize(entry)
            if struct.calcsize(code) > inline:
                (at,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, at)
            tags[tag] = struct.unpack_from(code, data, at)
    except struct.error:
        return None
    return TiffDirectory(order, is_big, tags)


def with_directory(data: bytes, directory: TiffDirectory) -> bytes:
    """The file with another first directory, which is put behind its end."""
    order, is_big = directory.order, directory.is_big
    kind, code, inline = (16, "Q", 8) if is_big else (4, "I", 4)
    padded = data + b"\0" * (-len(data) % 8)
    start = len(padded)
    entries, values_at, values = b"", start + (16 if is_big else 6) + len(directory.tags) * (20 if is_big else 12), b""
    for tag, numbers in sorted(directory.tags.items()):
        # TIFF 6.0 has these as SHORT, and readers insist on it
        is_short = max(numbers) <= 0xFFFF and tag not in (STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES)
        packed = struct.pack(f"{order}{len(numbers)}{'H' if is_short else code}", *numbers)
        if len(packed) > inline:
            position = values_at + len(values)
            values += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack(f"{order}{code}", position)
        head = struct.pack(f"{order}HH{code}", tag, 3 if is_short else kind, len(numbers))
        entries += head + packed.ljust(inline, b"\0")
    count = struct.pack(f"{order}{'Q' if is_big else 'H'}", len(directory.tags))
    header = data[:8] + struct.pack(f"{order}Q", start) if is_big else data[:4] + struct.pack(f"{order}I", start)
    return header + padded[len(header) :] + count + entries + bytes(8 if is_big else 4) + values


def decode_tiff(source: Path, data: bytes, decode: Decoder) -> np.ndarray:
    """Samples of a TIFF file as `decode` gives those of simple ones; zero is black, and alpha multiplies nothing.

    Raises InputError for colour models other than grey, palette and RGB, for colours that were multiplied by an alpha
    below 1, and for more pixels than hdrvid reads.
    """
    directory = read_directory(data)
    if directory is None or not {WIDTH, HEIGHT} <= set(directory.tags):
        return decode(data)
    require_pixels(source, directory.value(WIDTH), directory.value(HEIGHT))
    photometric, samples = directory.value(PHOTOMETRIC, _BLACK_IS_ZERO), directory.value(SAMPLES, 1)
    if photometric in _FLOATS:
        return decode(data)  # the caller refuses them by their type
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE):
        model = _COLOUR_MODELS.get(photometric, f"photometric {photometric}")
        raise InputError(f"{source} holds {model} samples: convert it to an RGB TIFF")
    colours = 3 if photometric == _RGB else 1
    if not colours <= samples <= colours + 1:
        raise InputError(f"{source} has {samples} samples a pixel, not {colours}: export it as plain RGB")
    stored = _decode_layout(source, data, directory, decode)
    if samples > colours and _ASSOCIATED_ALPHA in directory.tags.get(EXTRA_SAMPLES, ()):
        _require_opaque(source, stored)
    if photometric == _WHITE_IS_ZERO and stored.dtype in (np.uint8, np.uint16):
        stored = np.iinfo(stored.dtype).max - stored
    return stored


def _decode_layout(source: Path, data: bytes, directory: TiffDirectory, decode: Decoder) -> np.ndarray:
    """Samples as they are stored, (H, W) or (H, W, C) in BGR order, alpha last."""
    photometric, samples = directory.value(PHOTOMETRIC, _BLACK_IS_ZERO), directory.value(SAMPLES, 1)
    colours = 3 if photometric == _RGB else 1
    if directory.planes > 1:
        planes = [decode(with_directory(data, directory.plane(k))) for k in range(samples)]
        if any(p.ndim != 2 or p.shape != planes[0].shape for p in planes):
            raise InputError(f"{source} has planes that cannot be decoded: write it with interleaved samples")
        return np.stack([*planes[2::-1], *planes[3:]] if colours == 3 else planes, axis=-1)
    changed: dict[int, tuple[int, ...]] = {}
    if photometric == _WHITE_IS_ZERO:
        changed[PHOTOMETRIC] = (_BLACK_IS_ZERO,)
    if samples > colours:
        changed[EXTRA_SAMPLES] = (0,)
    return decode(with_directory(data, directory.with_tags(changed)) if changed else data)


def _require_opaque(source: Path, stored: np.ndarray) -> None:
    """Raise InputError where colours were multiplied by an alpha, the last channel, that is not 1."""
    is_integer = np.issubdtype(stored.dtype, np.integer)
    if stored.ndim == 3 and is_integer and stored[..., -1].min() < np.iinfo(stored.dtype).max:
        raise InputError(
            f"{source} holds colours that were multiplied by its alpha channel: export it without alpha, or with "
            "straight alpha"
        )
