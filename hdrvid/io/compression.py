"""Whether a codec has taken detail from a clip, as far as its files tell."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

LOSSY = {
    *("h264", "hevc", "vvc", "av1", "libdav1d", "libaom-av1", "vp8", "vp9", "libvpx", "libvpx-vp9"),
    *("mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4", "h263", "flv", "wmv1", "wmv2", "wmv3", "vc1"),
    *("theora", "svq3", "rv30", "rv40", "vp6", "vp6f", "mjpeg", "JPEG"),
}
"""What cameras and programs deliver pictures in: FFmpeg's names of decoders, and the kinds of image files."""

LOSSLESS_PROFILES = {"High 4:4:4 Predictive", "CAVLC 4:4:4 Intra"}
"""Profiles of H.264 that allow lossless pictures (ITU-T H.264, A.2.11 and A.2.12)."""

FINE_BITS = 2.5
"""Bits a pixel above which these lose little. Pictures of 448x256: H.264 has 1.6 to 2 at CRF 10 and 0.7 to 1.2 at CRF
16, JPEG 2 to 3 at quality 94."""


def bits_per_pixel(container: Any, stream: Any, rate: Fraction) -> float | None:
    """Bits that a pixel of a video stream of PyAV takes on average; None where the file does not tell.

    Containers that do not tell the bit rate of a stream tell that of the whole file, sound and all. `rate`: frames a
    second.
    """
    bit_rate = stream.codec_context.bit_rate or container.bit_rate
    pixels = stream.codec_context.width * stream.codec_context.height
    return float(bit_rate / (rate * pixels)) if bit_rate and rate and pixels else None


def loses_detail(codec: str, bits: float | None, profile: str | None = None) -> bool:
    """Whether pictures of a codec and so many bits a pixel have lost detail; None: the bits are not known.

    `profile`: FFmpeg's name of what a decoder has to be able to do. That of H.264 which can be lossless is hardly used
    for anything else.
    """
    return codec in LOSSY and profile not in LOSSLESS_PROFILES and (bits is None or bits < FINE_BITS)
