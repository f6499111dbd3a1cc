"""Grey video: which streams are grey, and the range of codes that they use.

Convention: a grey picture is taken as R = G = B, for no file says with which weights a camera or an encoder made it.

FFmpeg turns every picture into full-range grey, and its H.264 and HEVC encoders do not say so. Both formats take a
stream that does not say its range as limited. The codes tell: a camera that clips reaches 255, or it stays at 235.
"""

from __future__ import annotations

from collections.abc import Iterable

import av
import numpy as np

GREY = "taken as R = G = B: the file does not say with which weights colours were made grey"
"""What the details of a grey clip say under 'grey'."""

RANGE_FRAMES = 12
"""Frames that decide the range of a grey video: all exposures, more than once."""

_BEYOND = (8, 244)
"""8-bit codes that limited range does not reach: encoders overshoot 16 and 235 by a few codes."""

_ENDS = (20, 230)
"""8-bit codes beyond these are black or white of limited range, where there is nothing beyond `_BEYOND`."""

_REACHED_SHARE = 2e-3
"""Share of the pixels with such codes that counts."""

_PROFILES_WITH_CHROMA_FORMAT = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
"""Profiles of H.264 whose parameter sets say the chroma format (ITU-T H.264, 7.3.2.1.1)."""

_SPS = 7
"""Type of the NAL unit with a sequence parameter set."""


def has_no_chroma(codec: str, extradata: bytes | None) -> bool:
    """Whether a stream is monochrome H.264, which FFmpeg decodes to YUV with empty chroma planes.

    `codec`: name of the decoder; `extradata`: its parameter sets, as an avcC record or an Annex B byte stream.
    """
    if codec != "h264" or not extradata:
        return False
    if extradata[0] == 1:
        unit = extradata[8 : 8 + int.from_bytes(extradata[6:8], "big")]
    else:
        units = extradata.split(b"\0\0\1")[1:]
        unit = next((u for u in units if u and u[0] & 31 == _SPS), b"")
    if len(unit) < 5 or unit[0] & 31 != _SPS or unit[1] not in _PROFILES_WITH_CHROMA_FORMAT:
        return False
    bits = "".join(f"{byte:08b}" for byte in unit[4:12])
    _, rest = _exp_golomb(bits)  # the number of the set
    return _exp_golomb(rest)[0] == 0


def _exp_golomb(bits: str) -> tuple[int, str]:
    """The unsigned number that `bits` begin with, -1 where they hold none, and the bits behind it (H.264, 9.1)."""
    zeros = len(bits) - len(bits.lstrip("0"))
    end = 2 * zeros + 1
    return (int(bits[:end], 2) - 1, bits[end:]) if len(bits) >= end else (-1, "")


def luma_plane(frame: av.VideoFrame) -> np.ndarray:
    """(H, W) stored codes of the first plane: uint8, or uint16 for more than 8 bits."""
    component = frame.format.components[0]
    kind = np.dtype(np.uint8 if component.bits <= 8 else np.uint16)
    if frame.format.is_big_endian:
        kind = kind.newbyteorder(">")
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: frame.height, : frame.width]


def measured_range(frames: Iterable[av.VideoFrame]) -> str:
    """'full' where the codes of grey frames go beyond limited range, 16 to 235 in 8 bits, 'limited' where they end
    there, '' where they reach neither end."""
    num_beyond = num_ends = num_pixels = 0
    for frame in frames:
        unit = 1 << (frame.format.components[0].bits - 8)
        luma = luma_plane(frame)
        num_beyond += _num_outside(luma, unit, _BEYOND)
        num_ends += _num_outside(luma, unit, _ENDS)
        num_pixels += luma.size
    if num_beyond > _REACHED_SHARE * num_pixels:
        return "full"
    return "limited" if num_ends > _REACHED_SHARE * num_pixels else ""


def _num_outside(luma: np.ndarray, unit: int, ends: tuple[int, int]) -> int:
    return int(np.count_nonzero((luma < ends[0] * unit) | (luma > ends[1] * unit)))
