"""Clips stored as one image file a frame: folders, printf and glob patterns, lists."""

from __future__ import annotations

import glob
import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import av
import cv2
import numpy as np
from av.video.reformatter import ColorTrc

from hdrvid.bounds import MAX_DIGITS, require_pixels
from hdrvid.color.gamuts import REC709, Gamut, convert, known_gamut
from hdrvid.errors import InputError, UsageError
from hdrvid.io.compression import loses_detail
from hdrvid.io.exr import read_exr_picture
from hdrvid.io.frame_metadata import read_frame_metadata
from hdrvid.io.grey_video import GREY
from hdrvid.io.hdr import read_hdr, read_hdr_attributes
from hdrvid.io.icc import read_profile
from hdrvid.io.opencv import decode_with_opencv
from hdrvid.io.raw import read_dng
from hdrvid.io.samples import Levels, SampleFormat, developed, require_mosaic, with_levels
from hdrvid.io.text_files import require_file
from hdrvid.io.tiff import decode_tiff
from hdrvid.io.video import described, frame_bits, frame_codes, is_grey, output_stem, tag_name
from hdrvid.types import ClipInfo, Frame, FrameMetadata, FrameNumbers, PathLike

IMAGE_KINDS = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".pgm": "PNM",
    ".ppm": "PNM",
    ".dpx": "DPX",
    ".dng": "DNG",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
}
"""Kind of image by lower-case suffix: the frames hdrvid reads."""

SEQUENCE_RATE = Fraction(24)
"""Frames per second of image sequences, which carry no rate."""

MAX_NON_FINITE = 0.01
"""A frame with a larger share of NaN or infinite pixels is refused: there is too little to repair it from."""

_READ_KINDS = "PNG, TIFF, JPEG, PGM, PPM, DPX, DNG, EXR or .hdr"
_MOST_JPEG_PIXELS_PER_BYTE = 1024
"""A progressive grey JPEG spends at least one bit on 64 pixels; twice that room for what is not worth counting."""

_MOST_PNG_PIXELS_PER_BYTE = 8 * 1032
"""Deflate shortens 1032 times at the most, and a pixel has at least one bit."""

_DPX_TRANSFER = {1: "printing density (log)", 2: "linear", 3: "logarithmic", 5: "smpte240m", 6: "bt709"}
"""Transfer characteristic of an image element, byte 801 of the file (SMPTE ST 268-1, table 5A)."""

_PRINTF = re.compile(r"%(0?)(\d*)d")


@dataclass(frozen=True)
class Picture:
    """One decoded image file."""

    pixels: np.ndarray
    """(H, W, 3) float32 RGB, finite: codes in [0, 1], or scene-linear where `linear`."""
    bit_depth: int
    """Bits a channel of the stored samples; 32 for EXR and .hdr, which are read as float."""
    linear: bool
    """True for EXR, .hdr and DNG."""
    num_repaired: int = 0
    """Non-finite pixels that were replaced from their neighbours."""
    white_balance: tuple[float, ...] = ()
    """DNG: the multipliers that were used."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What the file says of its colours, for people to read."""
    transfer: str = ""
    """As in `ClipInfo`."""
    gamut: Gamut | None = None
    """As in `ClipInfo`."""
    one_channel: bool = False
    """As in `ClipInfo`."""
    top: int = 0
    """Stored code that is read as 1; 0 where `linear`."""
    white_code: int | None = None
    """PGM and PPM: the largest code that the header allows, where that is below `top`."""

    @property
    def rec709(self) -> np.ndarray:
        """Linear pixels (H, W, 3) with Rec. 709 primaries, by the primaries that the file names; others as they are."""
        return convert(self.pixels, self.gamut, REC709) if self.linear and self.gamut else self.pixels

    def __repr__(self) -> str:
        return f"Picture(pixels={self.pixels.shape}, bit_depth={self.bit_depth}, linear={self.linear})"


def is_image(path: PathLike) -> bool:
    """True where the suffix names an image kind that is read as a frame."""
    return Path(path).suffix.lower() in IMAGE_KINDS


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts frame_2 before frame_10.

    >>> sorted(["f10.png", "f2.png", "F1.png"], key=natural_key)
    ['F1.png', 'f2.png', 'f10.png']
    """
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)] + [(-1, name)]


def read_picture(path: PathLike, white_balance: Sequence[float] | None = None) -> Picture:
    """One image file as float32 RGB. Grey is repeated to three channels, alpha is dropped, the orientation of JPEG
    (EXIF) and DNG is applied.

    `white_balance`: for DNG, the multipliers to use instead of the file's own. DPX is taken as it is stored, also where
    its header says that the codes are logarithmic: that is a response curve.
    Non-finite EXR values are replaced by the mean of their finite neighbours (3x3, same channel), else 0.
    Raises InputError when the file is missing, damaged, of an unknown kind, of a sample type other than 8 or 16 bit
    integers (DPX: 8 to 16 bit, EXR and .hdr: float), when more than 1 % of its pixels are not finite, and for DNG where
    rawpy is not installed.
    """
    source = Path(path)
    kind = IMAGE_KINDS.get(source.suffix.lower())
    if kind is None:
        raise InputError(f"{source} is not an image hdrvid reads: convert it to PNG, TIFF or EXR")
    require_file(source)
    if kind == "OpenEXR":
        exr = read_exr_picture(source)
        pixels, count = _repaired(exr.pixels, source)
        gamut = known_gamut(exr.header.get("chromaticities"))
        return Picture(pixels, 32, True, count, gamut=gamut, one_channel=exr.one_channel)
    if kind == "Radiance HDR":
        primaries = read_hdr_attributes(source).get("PRIMARIES", "").split()
        return Picture(read_hdr(source), 32, True, gamut=known_gamut(primaries))
    if kind == "DNG":
        raw = read_dng(source, white_balance)
        details = {"levels": raw.levels}
        return Picture(raw.pixels, raw.bit_depth, True, white_balance=raw.white_balance, details=details)
    if kind == "DPX":
        return _read_dpx(source)
    if kind == "PNM" and (picture := _read_unusual_pnm(source)) is not None:
        return picture
    stored = _decode(source, kind)
    if stored.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{source} holds {stored.dtype} samples: convert it to 8 or 16 bit {kind}, or to EXR if linear"
        )
    one_channel = stored.ndim == 2 or stored.shape[2] < 3
    if one_channel:
        grey = stored if stored.ndim == 2 else stored[..., 0]
        rgb = np.repeat(grey[..., None], 3, axis=2)
    else:
        rgb = stored[..., 2::-1]
    top = int(np.iinfo(stored.dtype).max)
    profile = read_profile(source)
    details = {"grey": GREY} if one_channel else {}
    if profile is not None:
        details["icc_profile"] = profile.name
    return Picture(
        np.ascontiguousarray(rgb, dtype=np.float32) / np.float32(top),
        stored.dtype.itemsize * 8,
        False,
        details=details,
        transfer="" if profile is None else profile.transfer,
        gamut=None if profile is None else profile.gamut,
        one_channel=one_channel,
        top=top,
        white_code=_pnm_white(source, top) if kind == "PNM" else None,
    )


def _pnm_white(source: Path, top: int) -> int | None:
    """The largest code that the header of a PGM or PPM file allows, where that is below `top`."""
    fields = _pnm_fields(_bytes_of(source))
    return int(fields[3]) if fields is not None and 0 < int(fields[3]) < top else None


def _bytes_of(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from error


def _unreadable(source: Path, kind: str) -> InputError:
    return InputError(f"{source} cannot be read as {kind}: it is damaged, incomplete or another kind of file")


def _decode_with_ffmpeg(source: Path, data: bytes, kind: str, codec: str) -> av.VideoFrame:
    try:
        decoder: Any = av.CodecContext.create(codec, "r")
        decoder.thread_count = 1
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise _unreadable(source, kind) from error
    if not frames:
        raise _unreadable(source, kind)
    return frames[0]


def _read_dpx(source: Path) -> Picture:
    data = _bytes_of(source)
    if data[:4] not in (b"SDPX", b"XPDS"):
        raise _unreadable(source, "DPX")
    order = ">" if data[:4] == b"SDPX" else "<"
    require_pixels(source, *struct.unpack(f"{order}II", data[772:780].ljust(8, b"\0")))
    frame = _decode_with_ffmpeg(source, data, "DPX", "dpx")
    try:
        transfer = _DPX_TRANSFER.get(data[801]) or tag_name(ColorTrc, frame.color_trc)
        details = {"pixel_format": frame.format.name, "transfer": transfer}
        tag = transfer if transfer in ("linear", "bt709") else ""
        bits, grey = frame_bits(frame), is_grey(frame)
        top = (1 << bits) - 1
        return Picture(frame_codes(frame), bits, False, details=details, transfer=tag, one_channel=grey, top=top)
    except (av.FFmpegError, ValueError, MemoryError, IndexError) as error:
        raise _unreadable(source, "DPX") from error


def _read_unusual_pnm(source: Path) -> Picture | None:
    """A PGM or PPM file (Netpbm formats) as text, or whose largest code is not one of 8, 10, 12, 14 or 16 bits: OpenCV
    does not read the first and ignores the largest code. None for other files."""
    data = _bytes_of(source)
    fields = _pnm_fields(data)
    if fields is None:
        return None
    is_text, largest = fields[0] in (b"P2", b"P3"), int(fields[3])
    if not is_text and largest in (255, 1023, 4095, 16383, 65535):
        return None
    if not 0 < largest <= 65535:
        raise InputError(f"{source} claims a largest code of {largest}: the format allows 1 to 65535, copy it again")
    require_pixels(source, int(fields[1]), int(fields[2]))
    frame = _decode_with_ffmpeg(source, data, "PNM", "pgm" if fields[0] in (b"P2", b"P5") else "ppm")
    one_channel = fields[0] in (b"P2", b"P5")
    return Picture(frame_codes(frame), frame_bits(frame), False, one_channel=one_channel, top=largest)


def _decode(source: Path, kind: str) -> np.ndarray:
    """Samples as OpenCV gives them: (H, W) or (H, W, C) in BGR order."""
    data = _bytes_of(source)
    # OpenCV would fill the missing rows of a JPEG with grey, and take memory for whatever length a PNG claims
    if (kind == "JPEG" and _jpeg_is_cut(data)) or (kind == "PNG" and _png_is_cut(data)):
        raise InputError(f"{source} is incomplete: the file ends early or its sizes are wrong, copy it again")
    size = _declared_size(data)
    if size is not None:
        require_pixels(source, *size)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if kind == "JPEG" else cv2.IMREAD_UNCHANGED

    def decode(encoded: bytes) -> np.ndarray:
        stored = decode_with_opencv(encoded, flags)
        if stored is None:
            raise _unreadable(source, kind)
        return stored

    return decode_tiff(source, data, decode)


def _declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a PNG, BMP, JPEG, PGM or PPM file; None for another one."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
        return width, height
    if data[:2] == b"BM":
        width, height = struct.unpack("<ii", data[18:26].ljust(8, b"\0"))
        return abs(width), abs(height)
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    fields = _pnm_fields(data)
    if fields is not None:
        return int(fields[1]), int(fields[2])
    return None


def _pnm_fields(data: bytes) -> list[bytes] | None:
    """Magic, width, height, largest code and the rest of a PGM or PPM file; None for another one."""
    fields = re.sub(rb"#[^\n]*", b"", data[:4096]).split(None, 4)
    if len(fields) < 4 or fields[0] not in (b"P2", b"P3", b"P5", b"P6"):
        return None
    return fields if all(f.isdigit() and len(f) <= MAX_DIGITS for f in fields[1:4]) else None


def _png_is_cut(data: bytes) -> bool:
    """True where a chunk of a PNG reaches beyond its end, the last is missing, or its bytes cannot hold its size."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    width, height = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    if width * height > _MOST_PNG_PIXELS_PER_BYTE * len(data):
        return True
    position = 8
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return False
        position += 12 + int(struct.unpack_from(">I", data, position)[0])
    return True


def _jpeg_is_cut(data: bytes) -> bool:
    """True where a JPEG has no end behind its last scan, or fewer bytes than its declared size needs at the least."""
    scan = data.rfind(b"\xff\xda")
    if scan >= 0 and b"\xff\xd9" not in data[scan:]:
        return True
    size = _jpeg_size(data)
    return size is not None and size[0] * size[1] > _MOST_JPEG_PIXELS_PER_BYTE * len(data)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in the frame header of a JPEG; None where it has none."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length, height, width = struct.unpack(">HxHH", data[position + 2 : position + 9])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return width, height
        position += 2 + length
    return None


def _repaired(pixels: np.ndarray, source: Path) -> tuple[np.ndarray, int]:
    """`pixels` with every non-finite value replaced from its 3x3 neighbourhood, and how many pixels had one."""
    finite = np.isfinite(pixels)
    if finite.all():
        return pixels, 0
    count = int((~finite).any(axis=-1).sum())
    total = pixels.shape[0] * pixels.shape[1]
    if count > MAX_NON_FINITE * total:
        raise InputError(
            f"{source}: {count} of {total} pixels are NaN or infinite, more than can be repaired: render it again"
        )
    known = np.pad(np.where(finite, pixels, 0.0), ((1, 1), (1, 1), (0, 0)))
    valid = np.pad(finite, ((1, 1), (1, 1), (0, 0)))
    ys, xs, cs = np.nonzero(~finite)
    total_value = np.zeros(len(ys))
    neighbours = np.zeros(len(ys))
    for dy in range(3):
        for dx in range(3):
            total_value += known[ys + dy, xs + dx, cs]
            neighbours += valid[ys + dy, xs + dx, cs]
    repaired = pixels.copy()
    repaired[ys, xs, cs] = total_value / np.maximum(neighbours, 1)
    return repaired, count


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or leads to one; False for a link in a circle."""
    try:
        return entry.is_file()
    except OSError:
        return False


def folder_frames(folder: PathLike) -> list[Path]:
    """The image files of a folder in natural order, hidden ones left out.

    Raises InputError when there are none, or more than one kind of them.
    """
    root = Path(folder)
    try:
        with os.scandir(root) as entries:  # tells files from folders without a look at each of them
            paths = [root / e.name for e in entries if e.name[0] != "." and is_image(e.name) and _is_file(e)]
    except OSError as error:
        raise InputError(f"{root} cannot be listed: {error.strerror or error}") from error
    if not paths:
        raise InputError(f"{root} holds no frames: name a folder with {_READ_KINDS} files")
    _require_one_kind(paths, str(root), root)
    return sorted(paths, key=lambda p: natural_key(p.name))


def glob_frames(pattern: str) -> list[Path]:
    """The image files a glob matches, in natural order. Raises InputError when there are none, or several kinds."""
    matches = [Path(p) for p in glob.glob(pattern) if os.path.isfile(p)]
    paths = [p for p in matches if is_image(p)]
    if not paths:
        what = "matches no image files" if matches else "matches nothing"
        raise InputError(f"the pattern {pattern} {what}: check it, or name the clip itself")
    _require_one_kind(paths, f"the pattern {pattern}", Path(pattern).parent)
    return sorted(paths, key=lambda p: natural_key(str(p)))


def has_printf(text: str) -> bool:
    """True where the last part of `text` has a frame number such as %d or %04d."""
    return _PRINTF.search(Path(text).name) is not None


def printf_frames(pattern: str) -> list[Path]:
    """The files of a printf pattern such as shot.%04d.png, from the lowest number there is to the highest.

    Raises InputError when none matches, when a number in between is missing, or when the pattern has two numbers.
    """
    folder, name = Path(pattern).parent, Path(pattern).name
    matches = list(_PRINTF.finditer(name))
    if len(matches) != 1:
        raise InputError(f"the pattern {pattern} must hold exactly one frame number such as %04d")
    if not is_image(name):
        raise InputError(f"the pattern {pattern} does not name images hdrvid reads: use {_READ_KINDS}")
    if len(matches[0].group(2)) > 3:
        raise InputError(f"the frame number of the pattern {pattern[:80]} is too wide: no file has so long a name")
    before, after = (part.replace("%%", "%") for part in (name[: matches[0].start()], name[matches[0].end() :]))
    zero, width = matches[0].group(1), int(matches[0].group(2) or 0)
    format_spec = f"0{width}d" if zero else f"{width}d" if width else "d"
    expression = re.compile(re.escape(before) + r" *(\d+)" + re.escape(after))
    indices = set()
    try:
        for entry in folder.iterdir():
            match = expression.fullmatch(entry.name)
            if match and entry.name == f"{before}{int(match.group(1)):{format_spec}}{after}":
                indices.add(int(match.group(1)))
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}") from error
    if not indices:
        raise InputError(f"the pattern {pattern} matches nothing: check the name and the number of digits")
    first, last = min(indices), max(indices)
    for number in range(first, last + 1):
        if number not in indices:
            missing = folder / f"{before}{number:{format_spec}}{after}"
            raise InputError(
                f"{missing} is missing between frames {first} and {last}: "
                "render it again or give two clips, a gap would shift the exposures"
            )
    return [folder / f"{before}{number:{format_spec}}{after}" for number in range(first, last + 1)]


def _require_one_kind(paths: Sequence[Path], what: str, folder: Path) -> None:
    kinds = Counter(IMAGE_KINDS[p.suffix.lower()] for p in paths)
    if len(kinds) > 1:
        listed = " and ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        suffix = next(p.suffix for p in paths if IMAGE_KINDS[p.suffix.lower()] == kinds.most_common(1)[0][0])
        pattern = folder / f"*{suffix}"
        raise InputError(f'{what} mixes {listed} files: choose one kind with a pattern such as "{pattern}"')


NO_NAMES = frozenset({"frame", "frames", "img", "image", "dsc", "dscf", "dscn", "pic", "pict", "out", "output"})
"""Words before the numbers of files that name no shot."""

MAX_NUMBER_DIGITS = 9
"""Longer numbers in the names of files are times, not frame numbers."""


def numbered_names(paths: Sequence[Path]) -> tuple[str, FrameNumbers] | None:
    """What stands before the numbers of files, and the numbers; None unless these differ alone, and rise.

    The last number of a name counts.

    >>> numbered_names([Path("a_v2.0998.png"), Path("a_v2.0999.png"), Path("a_v2.1001.png")])
    ('a_v2', FrameNumbers(runs=((0, 998), (2, 1001)), digits=4))
    """
    matches = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.stem) for path in paths]
    parts = [(m[1], m[2], m[3]) for m in matches if m is not None]
    if len(parts) < max(2, len(paths)) or len({(before, after) for before, _, after in parts}) > 1:
        return None
    texts = [text for _, text, _ in parts]
    digits = min(map(len, texts))
    numbers = [int(text) for text in texts if len(text) <= MAX_NUMBER_DIGITS]
    if len(numbers) < len(texts) or any(b <= a for a, b in pairwise(numbers)):
        return None
    if any(f"{number:0{digits}d}" != text for number, text in zip(numbers, texts, strict=True)):
        return None
    runs = [(i, n) for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1] + 1]
    return parts[0][0].strip(" ._-"), FrameNumbers(tuple(runs), digits)


def sequence_stem(source: str, paths: Sequence[Path]) -> str:
    """A base name for the outputs of a sequence: the constant beginning of the file names, else the folder's name.

    Of a whole folder the files give it only with a name of at least two letters that is none of NO_NAMES.

    >>> sequence_stem("shot.%04d.png", [Path("shot.0001.png"), Path("shot.0002.png")])
    'shot'
    """
    if Path(source).is_dir():
        named = numbered_names(paths)
        name = "" if named is None else named[0]
        has_name = len(re.sub(r"[\W\d_]", "", name)) > 1 and name.lower() not in NO_NAMES
        return output_stem(name if has_name else Path(source).resolve().name)
    first, last = min(p.stem for p in paths), max(p.stem for p in paths)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    common = first[:same]
    stem = common if len(paths) == 1 else re.sub(r"\d+$", "", common)
    return output_stem(stem.strip(" ._-") or paths[0].resolve().parent.name)


class FramesReader:
    """Reads an image sequence. See `hdrvid.types.ClipReader`.

    Convention: `pts_seconds` is index / `frames_per_second`, image files carry no time. DNG files are all developed
    with the white balance of the first, or a camera's automatic one would change the colours between exposures.
    `samples.bayer`: the frames are mosaics and come out as RGB.
    Raises InputError at once when the first frame cannot be read, or is no mosaic where it should be one, and from
    `frames` when a later one cannot, or has another size or sample type than the first.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        source: str,
        frames_per_second: Fraction = SEQUENCE_RATE,
        samples: SampleFormat = SampleFormat(),  # noqa: B008 -- frozen
    ) -> None:
        if not paths:
            raise InputError(f"{source} holds no frames")
        if samples.deinterlace:
            raise UsageError(f"--deinterlace is for video, but {source} is an image sequence: leave it out")
        self.paths = tuple(paths)
        self._warnings: dict[str, None] = {}
        self._num_missing: dict[int, int] = {}
        self._white_balance: tuple[float, ...] = ()
        self.samples = samples
        self.levels: Levels | None = None
        first = self._read(0)
        if samples.is_mosaic:
            require_mosaic(source, first.one_channel)
        self.top = float(first.top)
        """Stored code that is read as 1; 0 where the samples are linear."""
        self.header_white = first.white_code
        """Largest code that the header of the first file allows, where that is below `top`."""
        self._one_channel = first.one_channel
        self._white_balance = first.white_balance
        self._stored_bits = first.bit_depth
        height, width = first.pixels.shape[:2]
        named = numbered_names(self.paths)
        metadata = read_frame_metadata(self.paths[0], frames_per_second)
        if len(self.paths) > 1:
            # a code that stands still is what a writer left in every header
            second = read_frame_metadata(self.paths[1], frames_per_second)
            self._has_timecodes = metadata.timecode != second.timecode
        else:
            self._has_timecodes = True
        metadata = self._with_own_timecode(metadata)
        details = {k: v for k, v in first.details.items() if k != "grey" or not samples.is_mosaic}
        image_kind = IMAGE_KINDS[self.paths[0].suffix.lower()]
        self.info = ClipInfo(
            source=source,
            stem=sequence_stem(source, self.paths),
            kind="frames",
            width=width,
            height=height,
            num_frames=len(self.paths),
            frames_per_second=frames_per_second,
            bit_depth=first.bit_depth,
            linear=first.linear,
            details={
                "format": image_kind,
                "first": self.paths[0].name,
                "last": self.paths[-1].name,
                **details,
                **described(metadata),
            },
            transfer=first.transfer,
            gamut=first.gamut,
            first=metadata,
            numbers=None if named is None else named[1],
            one_channel=first.one_channel and not samples.is_mosaic,
            compressed=loses_detail(image_kind, 8 * self.paths[0].stat().st_size / (height * width)),
        )
        self._note_gap()

    def metadata(self, index: int) -> FrameMetadata:
        """What the header of the file of frame `index` says beside its pixels."""
        return self._with_own_timecode(read_frame_metadata(self.paths[index], self.info.frames_per_second))

    def _with_own_timecode(self, metadata: FrameMetadata) -> FrameMetadata:
        return metadata if self._has_timecodes else replace(metadata, timecode=None)

    def set_levels(self, levels: Levels | None) -> None:
        """Codes of black and white, from now on; None: 0 and the largest one."""
        self.levels, self.info = levels, with_levels(self.info, levels)

    def stored(self, stop: int) -> Iterator[np.ndarray]:
        """Samples (H, W, C) of the first frames as they are stored: 1 is the code `top`. Grey ones have one channel."""
        for index in range(min(stop, len(self.paths))):
            pixels = self._read(index).pixels
            yield pixels[..., 1:2] if self._one_channel else pixels

    def frames(
        self, start: int = 0, stop: int | None = None, on_damage: Callable[[int, str], None] | None = None
    ) -> Iterator[Frame]:
        """Frames `start` <= index < `stop`, in order; each file is read when its turn comes.

        A file that cannot be used raises InputError. With `on_damage` it is reported there with its index and a
        sentence, and left out; the frames behind it keep their indices.
        """
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"frame indices begin at 0, not {min(start, stop or 0)}")
        return self._frames(start, len(self.paths) if stop is None else min(stop, len(self.paths)), on_damage)

    def _frames(self, start: int, stop: int, on_damage: Callable[[int, str], None] | None) -> Iterator[Frame]:
        for index in range(start, stop):
            try:
                picture = self._read(index)
                self._check_kind(index, picture)
            except InputError as error:
                if on_damage is None:
                    raise
                on_damage(index, str(error))
                continue
            pixels = developed(picture.pixels, self.levels, self.samples)
            seconds = float(index / self.info.frames_per_second)
            yield Frame(index, pixels, seconds, self._num_missing.get(index, 0))

    def _check_kind(self, index: int, picture: Picture) -> None:
        """Raise InputError where a picture does not go with the first one."""
        height, width = picture.pixels.shape[:2]
        if (width, height) != (self.info.width, self.info.height):
            raise InputError(
                f"{self.paths[index]} is {width}x{height} but {self.paths[0].name} is "
                f"{self.info.width}x{self.info.height}: all frames of a clip must have one size"
            )
        if (picture.linear, picture.bit_depth) != (self.info.linear, self._stored_bits):
            raise InputError(
                f"{self.paths[index]} has {picture.bit_depth} bit samples but {self.paths[0].name} has "
                f"{self._stored_bits}: all frames of a clip must be of one kind"
            )
        if picture.one_channel != self._one_channel:
            kinds = ["grey" if grey else "in colour" for grey in (picture.one_channel, self._one_channel)]
            raise InputError(
                f"{self.paths[index]} is {kinds[0]} but {self.paths[0].name} is {kinds[1]}: all frames of a clip must "
                "be of one kind"
            )

    def _read(self, index: int) -> Picture:
        picture = read_picture(self.paths[index], self._white_balance or None)
        if picture.num_repaired:
            text = f"{self.paths[index]}: {picture.num_repaired} NaN or infinite pixels replaced by their neighbours"
            self._warnings[text] = None
        return picture

    def _note_gap(self) -> None:
        """Warn of a hole in otherwise consecutive numbers: it would shift the exposures that follow."""
        names = [re.fullmatch(r"(.*?)(\d+)(\D*)", p.name) for p in self.paths]
        if len(names) < 3 or any(m is None for m in names) or len({(m[1], m[3]) for m in names if m}) > 1:
            return
        indices = [int(m[2]) for m in names if m]
        steps = [b - a for a, b in pairwise(indices)]
        gap = next((i for i, step in enumerate(steps) if step > 1), None)
        if gap is not None and 2 * steps.count(1) >= len(steps):
            self._num_missing = {i + 1: step - 1 for i, step in enumerate(steps) if step > 1}
            before, after = self.paths[gap].name, self.paths[gap + 1].name
            self._warnings[f"no frame between {before} and {after}: a gap shifts the exposures that follow"] = None

    def warnings(self) -> list[str]:
        """Repaired frames and gaps in the numbering, noticed so far."""
        return list(self._warnings)

    def close(self) -> None:
        """Nothing stays open between frames."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
