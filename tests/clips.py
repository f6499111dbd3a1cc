"""Tiny clips in every container hdrvid reads, for tests. Pictures are (H, W, 3) float in [0, 1], RGB."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

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


@contextmanager
def _same_scheduling() -> Iterator[None]:
    """Afterwards the thread is scheduled as before: SVT-AV1 puts the thread that calls it, and so all that this one
    starts, before every other program of the machine, where root runs it."""
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


@_same_scheduling()
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
    title: str | None = None,
) -> Path:
    """Encode frames as they are, with the given tags; pts count in `time_base`."""
    with av.open(str(path), "w") as container:
        if title is not None:
            container.metadata["title"] = title
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
    bits = next((b for b in (9, 10, 12, 14, 16) if pixel_format.endswith(f"p{b}le")), 8)
    frames = [frame_of_planes(yuv_planes(p, bits, weights, full_range), pixel_format) for p in pictures]
    defaults = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=none"}}.get(codec, {})
    return write_frames(
        path,
        frames,
        codec,
        options={**defaults, **settings.pop("options", {})},
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


DPX_BITS = (8, 10, 12, 16)
"""Bits a channel of the DPX files that `write_dpx` makes."""


def write_animation(path: Path, pictures: Sequence[np.ndarray], **options: Any) -> Path:
    """An animated picture of 42 ms a frame, as Pillow writes it."""
    first, *rest = (Image.fromarray(quantised(p, 8)) for p in pictures)
    first.save(path, save_all=True, append_images=rest, duration=42, **options)
    return path


def write_pnm(path: Path, pictures: Sequence[np.ndarray], largest: int, text: bool = False) -> Path:
    """A folder of PPM files whose white is `largest`; numbers as text, or binary."""
    path.mkdir()
    for i, picture in enumerate(pictures):
        codes = np.round(picture * largest).astype(np.uint16)
        header = (
            f"{'P3' if text else 'P6'}\n# a comment 7 8\n{picture.shape[1]} {picture.shape[0]}\n{largest}\n".encode()
        )
        body = (
            " ".join(map(str, codes.ravel())).encode()
            if text
            else codes.astype(">u2" if largest > 255 else "u1").tobytes()
        )
        (path / f"shot.{i:04d}.ppm").write_bytes(header + body)
    return path


def write_jpegs_with_exif(path: Path, pictures: Sequence[np.ndarray], orientation: int = 1) -> Path:
    """Motion JPEG whose frames are a camera's files as they are, as `ffmpeg -c copy` puts them into a container."""
    # big-endian TIFF: one directory with one entry, Orientation (0x0112, SHORT)
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=24)
        stream.width, stream.height = pictures[0].shape[1::-1]
        stream.pix_fmt = "yuvj444p"
        for i, picture in enumerate(pictures):
            options = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
            jpeg = cv2.imencode(".jpg", quantised(picture, 8)[..., ::-1], options)[1].tobytes()
            packet = av.Packet(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + jpeg[2:])
            packet.stream, packet.time_base = stream, Fraction(1, 24)
            packet.pts = packet.dts = i
            packet.is_keyframe = True
            container.mux(packet)
    return path


def write_dpx(path: Path, picture: np.ndarray, bits: int, *, big_endian: bool = True, transfer: int = 6) -> Path:
    """An RGB picture as DPX, words filled from the top (method A); layout of SMPTE ST 268-1, sections 4 and 5.

    transfer: transfer characteristic, 6 is ITU-R BT.709, 3 logarithmic.
    """
    height, width = picture.shape[:2]
    order = ">" if big_endian else "<"
    codes = np.rint(picture * (2**bits - 1)).astype(np.uint32)
    if bits == 8:
        data = codes.astype(np.uint8).tobytes()
    elif bits == 10:
        words = codes[..., 0] << 22 | codes[..., 1] << 12 | codes[..., 2] << 2
        data = words.astype(f"{order}u4").tobytes()
    else:
        data = (codes << (16 - bits)).astype(f"{order}u2").tobytes()
    header = bytearray(2048)
    struct.pack_into(f"{order}4sI8sI", header, 0, b"SDPX" if big_endian else b"XPDS", 2048, b"V2.0", 2048 + len(data))
    struct.pack_into(f"{order}HHII", header, 768, 0, 1, width, height)
    element = (0, 0, 0, 2**bits - 1, 0, 50, transfer, transfer, bits, 1 if bits in (10, 12) else 0, 0, 2048)
    struct.pack_into(f"{order}IIIIIBBBBHHI", header, 780, *element)
    path.write_bytes(bytes(header) + data)
    return path


DNG_BLACK, DNG_WHITE = 256, 4095
DNG_NEUTRAL = (0.5, 1.0, 0.625)
"""What `write_dng` writes: levels of a 12-bit sensor, and the camera's colour of a neutral grey."""


def write_dng(
    path: Path,
    picture: np.ndarray,
    *,
    neutral: Sequence[float] = DNG_NEUTRAL,
    orientation: int = 1,
    exposure_seconds: float | None = None,
) -> Path:
    """A 12-bit DNG with an RGGB mosaic of `picture`, in the camera's linear RGB, 1.0 = sensor clipping; even size.

    Tags of the DNG specification 1.4. The camera's primaries are Rec. 709: ColorMatrix1 is the inverse of the matrix
    to XYZ, so that developing it gives `picture / neutral` times the smallest of `neutral`'s multipliers.
    """
    mosaic = picture[..., 1].copy()
    mosaic[::2, ::2] = picture[::2, ::2, 0]
    mosaic[1::2, 1::2] = picture[1::2, 1::2, 2]
    samples = np.rint(DNG_BLACK + np.clip(mosaic, 0, 1) * (DNG_WHITE - DNG_BLACK)).astype("<u2").tobytes()
    height, width = mosaic.shape
    to_camera = (3.2404542, -1.5371385, -0.4985314, -0.969266, 1.8760108, 0.041556, 0.0556434, -0.2040259, 1.0572252)
    short, long, text, byte, rational, signed = 3, 4, 2, 1, 5, 10
    tags: list[tuple[int, int, Sequence[float] | bytes]] = [
        (254, long, [0]),
        (256, long, [width]),
        (257, long, [height]),
        (258, short, [16]),
        (259, short, [1]),
        (262, short, [32803]),
        (271, text, b"hdrvid\0"),
        (272, text, b"tests\0"),
        (273, long, [0]),  # the strip: filled in below
        (274, short, [orientation]),
        (277, short, [1]),
        (278, long, [height]),
        (279, long, [len(samples)]),
        (284, short, [1]),
        (33421, short, [2, 2]),
        (33422, byte, bytes([0, 1, 1, 2])),
        *([] if exposure_seconds is None else [(33434, rational, [exposure_seconds])]),
        (50706, byte, bytes([1, 4, 0, 0])),
        (50707, byte, bytes([1, 1, 0, 0])),
        (50708, text, b"hdrvid tests\0"),
        (50714, long, [DNG_BLACK]),
        (50717, long, [DNG_WHITE]),
        (50721, signed, to_camera),
        (50728, rational, neutral),
        (50778, short, [21]),
    ]
    formats = {short: "H", long: "I"}
    extra_at = 8 + 2 + 12 * len(tags) + 4
    values = []
    for _, kind, value in tags:
        if isinstance(value, bytes):
            values.append((len(value), value))
        elif kind in formats:
            values.append((len(value), struct.pack(f"<{len(value)}{formats[kind]}", *map(int, value))))
        else:
            pairs = [part for number in value for part in (round(number * 1e6), 1_000_000)]
            values.append((len(value), struct.pack(f"<{len(pairs)}{'i' if kind == signed else 'I'}", *pairs)))
    strip_at = extra_at + sum(len(data) for _, data in values if len(data) > 4)
    directory, extra = struct.pack("<H", len(tags)), b""
    for (tag, kind, _), (number, data) in zip(tags, values, strict=True):
        if tag == 273:
            data = struct.pack("<I", strip_at)
        if len(data) > 4:
            position, extra = extra_at + len(extra), extra + data
            data = struct.pack("<I", position)
        directory += struct.pack("<HHI", tag, kind, number) + data.ljust(4, b"\0")
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + directory + bytes(4) + extra + samples)
    return path


def planes_to_rgb(
    planes: Sequence[np.ndarray], bits: int, weights: tuple[float, float] = BT709, full_range: bool = False
) -> np.ndarray:
    """The R'G'B' in [0, 1] that integer Y', Cb, Cr stand for: the inverse of `yuv_planes` without any rounding."""
    kr, kb = weights
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    y, cb, cr = (p.astype(np.float64) for p in planes)
    if full_range:
        y, cb, cr = y / top, (cb - 2 ** (bits - 1)) / top, (cr - 2 ** (bits - 1)) / top
    else:
        y, cb, cr = (y / unit - 16) / 219, (cb / unit - 128) / 224, (cr / unit - 128) / 224
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([red, green, blue], -1), 0, 1)


def colour_bars(height: int = 128, width: int = 320, bar: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Saturated bars above dull ones, and where (H, W) they are flat: 8 pixels and more from every edge."""
    colours = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)]
    colours += [(0.5, 0.25, 0.1), (0.2, 0.4, 0.8)]
    row = np.array([colours[x // bar % len(colours)] for x in range(width)], np.float64)
    picture = np.broadcast_to(row, (height, width, 3)).copy()
    picture[height // 2 :] = picture[height // 2 :] * 0.6 + 0.15
    x, y = np.arange(width) % bar, np.arange(height) % (height // 2)
    inside_x, inside_y = (x >= 8) & (x < bar - 8), (y >= 8) & (y < height // 2 - 8)
    return picture, inside_y[:, None] & inside_x[None]


def damage_packets(source: Path, target: Path, indices: Sequence[int], mode: str = "junk") -> Path:
    """A copy of a video whose packets `indices`, counted in the order of the file, are damaged; times stay.

    mode: 'junk' replaces the packet, 'flip' overwrites its second half.
    """
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for i, packet in enumerate(p for p in old.demux(video=0) if p.size):
            data = bytes(packet)
            if i in indices:
                rng = np.random.default_rng(i)
                half = len(data) // 2
                data = b"junk" * 20 if mode == "junk" else data[:half] + rng.bytes(len(data) - half)
            copy = av.Packet(data)
            copy.pts, copy.dts, copy.time_base, copy.duration = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.duration,
            )
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            new.mux(copy)
    return target
