"""Tiny clips in every container hdrvid reads, for tests. Pictures are (H, W, 3) float in [0, 1], RGB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from hdrvid.io.exr import write_exr
from hdrvid.io.hdr import write_hdr

BT709 = (0.2126, 0.0722)
BT601 = (0.299, 0.114)
BT2020 = (0.2627, 0.0593)
MATRIX_TAGS = {BT709: 1, BT601: 6, BT2020: 9}
"""Kr and Kb of the matrices (ITU-R BT.709-6, BT.601-7, BT.2020-2) and their codes in ITU-T H.273."""


def smooth_pictures(count: int = 6, height: int = 18, width: int = 26) -> list[np.ndarray]:
    """Different, smooth, coloured pictures: JPEG and 4:2:0 keep them, a swapped channel or a flip does not."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    pictures = []
    for i in range(count):
        red = 0.1 + 0.8 * x / (width - 1)
        green = 0.25 + 0.5 * y / (height - 1) * (i + 1) / count
        blue = 0.35 + 0.1 * np.cos((x + y) / 20 + i)
        pictures.append(np.stack([red, green, blue], -1) * (0.6 + 0.4 * ((i * 5) % count) / count))
    return pictures


def quantised(picture: np.ndarray, bits: int) -> np.ndarray:
    """Integer codes of `picture`: uint8 for 8 bits, else uint16."""
    codes = np.rint(picture * (2**bits - 1))
    return codes.astype(np.uint8 if bits == 8 else np.uint16)


def yuv_planes(
    picture: np.ndarray, bits: int, weights: tuple[float, float] = BT709, full_range: bool = False
) -> list[np.ndarray]:
    """Y', Cb, Cr codes of R'G'B', each (H, W), rounded once: formulas of ITU-R BT.709-6, items 3.2 to 3.5."""
    kr, kb = weights
    luma = kr * picture[..., 0] + (1 - kr - kb) * picture[..., 1] + kb * picture[..., 2]
    cb = (picture[..., 2] - luma) / (2 * (1 - kb))
    cr = (picture[..., 0] - luma) / (2 * (1 - kr))
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    if full_range:
        planes = [luma * top, cb * top + 2 ** (bits - 1), cr * top + 2 ** (bits - 1)]
    else:
        planes = [(16 + 219 * luma) * unit, (128 + 224 * cb) * unit, (128 + 224 * cr) * unit]
    return [np.clip(np.rint(p), 0, top).astype(np.uint8 if bits == 8 else np.uint16) for p in planes]


def frame_of_planes(planes: Sequence[np.ndarray], pixel_format: str) -> av.VideoFrame:
    """A frame with exactly these samples; chroma planes are decimated where the format is subsampled."""
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
    for target, samples in zip(frame.planes, planes, strict=True):
        step_y = -(-samples.shape[0] // target.height)
        step_x = -(-samples.shape[1] // target.width)
        samples = samples[::step_y, ::step_x]
        rows = np.zeros((target.height, target.line_size // samples.itemsize), samples.dtype)
        rows[:, : samples.shape[1]] = samples
        target.update(rows.tobytes())
    return frame


def write_frames(
    path: Path,
    frames: Sequence[av.VideoFrame],
    codec: str,
    *,
    options: Mapping[str, str] | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 24),
    rate: Fraction = Fraction(24),
    matrix: int = 2,
    color_range: int = 0,
    gop: int | None = None,
    rotation: int | None = None,
) -> Path:
    """Encode frames as they are, with the given tags; pts count in `time_base`."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = frames[0].format.name
        stream.codec_context.time_base = time_base
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = color_range
        if gop:
            stream.codec_context.gop_size = gop
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for i, frame in enumerate(frames):
            frame.colorspace, frame.color_range = matrix, color_range
            frame.time_base = time_base
            frame.pts = i if pts is None else pts[i]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_rgb_mp4(path: Path, pictures: Sequence[np.ndarray], **settings: Any) -> Path:
    """Lossless 8-bit RGB H.264."""
    frames = [av.VideoFrame.from_ndarray(quantised(p, 8), format="rgb24") for p in pictures]
    return write_frames(path, frames, "libx264rgb", options={"qp": "0", **settings.pop("options", {})}, **settings)


def write_ffv1(path: Path, pictures: Sequence[np.ndarray], **settings: Any) -> Path:
    """Lossless 16-bit RGB."""
    frames = [
        av.VideoFrame.from_ndarray(quantised(p, 16), format="rgb48le").reformat(format="gbrp16le") for p in pictures
    ]
    return write_frames(path, frames, "ffv1", **settings)


def write_yuv(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str,
    pixel_format: str,
    *,
    weights: tuple[float, float] = BT709,
    tagged: bool = True,
    full_range: bool = False,
    **settings: Any,
) -> Path:
    """Lossless Y'CbCr with known samples; untagged streams carry neither matrix nor range."""
    bits = 10 if "10" in pixel_format else 12 if "12" in pixel_format else 8
    frames = [frame_of_planes(yuv_planes(p, bits, weights, full_range), pixel_format) for p in pictures]
    options = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=none"}}.get(codec, {})
    return write_frames(
        path,
        frames,
        codec,
        options=options,
        matrix=MATRIX_TAGS[weights] if tagged else 2,
        color_range=(2 if full_range else 1) if tagged else 0,
        **settings,
    )


def write_images(folder: Path, pictures: Sequence[np.ndarray], suffix: str, bits: int = 8, first: int = 1) -> Path:
    """One image a frame, named shot.0001<suffix>; EXR and .hdr hold the numbers as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        path = folder / f"shot.{first + i:04d}{suffix}"
        if suffix == ".exr":
            write_exr(path, picture)
        elif suffix == ".hdr":
            write_hdr(path, picture)
        else:
            options = [cv2.IMWRITE_JPEG_QUALITY, 100] if suffix == ".jpg" else []
            assert cv2.imwrite(str(path), np.ascontiguousarray(quantised(picture, bits)[..., ::-1]), options)
    return folder
