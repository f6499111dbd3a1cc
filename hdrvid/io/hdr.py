"""Radiance .hdr frames (RGBE): three 8-bit mantissas share one exponent (Ward, Graphics Gems II.5, 1991)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from hdrvid.bounds import require_pixels
from hdrvid.color.gamuts import REC709, Gamut
from hdrvid.errors import InputError
from hdrvid.io.atomic import atomic_path
from hdrvid.io.exr import check_pixels
from hdrvid.io.opencv import decode_with_opencv
from hdrvid.types import PathLike

RGBE_MAX = 2.0**126
"""Values are clamped here: just below the largest exponent of the format."""


def write_hdr(
    path: PathLike, pixels: np.ndarray, *, gamut: Gamut = REC709, attributes: Mapping[str, object] | None = None
) -> None:
    """Write `pixels` as run-length coded RGBE; the file appears complete or not at all.

    pixels: (H, W, 3) scene-linear, any float type and memory layout, finite; clamped to [0, 2^126].
    gamut: the primaries of the pixels, for the PRIMARIES line.
    attributes: written as `name=value` header lines, which every reader skips.
    Every channel is within half a mantissa step, 1/256 to 1/512 of the pixel's largest channel.
    Raises ValueError for a wrong shape or non-finite pixels; OutputError where the disk refuses.
    """
    check_pixels(pixels)
    bgr = np.ascontiguousarray(_quantise_rgbe(pixels)[..., ::-1])
    encoded, data = cv2.imencode(".hdr", bgr)
    signature, _, rest = data.tobytes().partition(b"\n") if encoded else (b"", b"", b"")
    if not rest:
        raise ValueError(f"a frame of shape {pixels.shape} cannot be coded as Radiance .hdr")
    header = {"PRIMARIES": " ".join(f"{v:g}" for v in gamut.chromaticities), **(attributes or {})}
    lines = "".join(f"{' '.join(str(k).split())}={' '.join(str(v).split())}\n" for k, v in header.items())
    with atomic_path(path) as partial:
        partial.write_bytes(signature + b"\n" + lines.encode() + rest)


def _quantise_rgbe(pixels: np.ndarray) -> np.ndarray:
    """`pixels` moved onto the centres of the steps that OpenCV truncates to, so that truncation rounds to nearest."""
    rgb = np.clip(pixels, 0.0, RGBE_MAX).astype(np.float32)
    peak = rgb.max(axis=-1, keepdims=True)
    exponent = np.frexp(peak)[1]
    # a peak mantissa that rounds up to 256 belongs to the next exponent
    exponent += np.rint(np.ldexp(peak, 8 - exponent)) >= 256
    mantissa = np.rint(np.ldexp(rgb, 8 - exponent))
    # a quarter step keeps the value away from the edge, whatever the last bits of OpenCV's division
    return np.where(peak > 2.0**-100, np.ldexp(mantissa + np.float32(0.25), exponent - 8), 0.0).astype(np.float32)


def read_hdr(path: PathLike) -> np.ndarray:
    """Pixels (H, W, 3) float32 RGB, scene-linear, >= 0, divided by the factors of EXPOSURE and COLORCORR lines.

    Raises InputError when the file is missing or damaged, or has more pixels than hdrvid reads.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise InputError(f"{source} cannot be opened: {error.strerror or error}") from error
    bgr = None
    header = _header_lines(data)
    size = re.fullmatch(r"[-+][XY] (\d{1,9}) [-+][XY] (\d{1,9})", header[-1]) if header else None
    if size is not None:
        require_pixels(source, int(size[2]), int(size[1]))
    if data[:2] == b"#?":
        bgr = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.ndim != 3 or bgr.dtype != np.float32:
        raise InputError(f"{source} cannot be read as Radiance .hdr: it is damaged, incomplete or another kind of file")
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    gain = _stored_gain(source, header)
    return rgb if (gain == 1).all() else rgb / gain


def _header_lines(data: bytes) -> list[str]:
    """The lines of a header, and behind them the line with the size of the picture."""
    head, _, rest = data[: 1 << 20].partition(b"\n\n")
    return [line.decode("utf-8", "replace").strip() for line in (*head.split(b"\n"), rest.split(b"\n", 1)[0])]


def _stored_gain(source: Path, header: Sequence[str]) -> np.ndarray:
    """(3,) float32 factors that the stored pixels were multiplied by: the product of all EXPOSURE and COLORCORR lines.

    Raises InputError where one of them is no factor.
    """
    gain = np.ones(3)
    for line in header[:-1]:
        name, _, text = line.partition("=")
        count = {"EXPOSURE": 1, "COLORCORR": 3}.get(name.strip())
        if count is None:
            continue
        try:
            factors = [float(word) for word in text.split()]
        except ValueError:
            factors = []
        if len(factors) == count:
            gain = gain * factors
        if len(factors) != count or not (np.isfinite(gain) & (gain > 1e-30) & (gain < 1e30)).all():
            raise InputError(f"{source} has a header line '{line[:60]}' that is no factor: the file is damaged")
    return gain.astype(np.float32)


def read_hdr_attributes(path: PathLike) -> dict[str, str]:
    """The `name=value` lines of the header. Raises InputError when the file cannot be opened."""
    attributes: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            for raw in file:
                line = raw.decode("utf-8", "replace").strip()
                if not line:
                    break
                name, equals, value = line.partition("=")
                if equals:
                    attributes[name] = value
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}") from error
    return attributes
