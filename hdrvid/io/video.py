"""Video files through PyAV (FFmpeg).

Convention: pixels are display codes in [0, 1], R'G'B' as the matrix and range tags of the stream say; no transfer
function is applied here. Streams without a matrix tag are taken as BT.709 from 720 rows on and as BT.601 below, as
players do; YUV without a range tag is limited, RGB and grey are full.
"""

from __future__ import annotations

import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import heapify, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from hdrvid.errors import InputError
from hdrvid.types import ClipInfo, Frame, PathLike

HD_ROWS = 720
"""Untagged pictures with at least so many rows are BT.709."""

_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""Without these flags 8-bit 4:2:0 goes through an 8-bit short cut that is wrong by two codes."""

_LIMITED_WHITE = 65283.0
"""Where swscale puts the white of limited-range YUV in rgb48."""

_UNSPECIFIED_MATRIX = 2
_MATRIX_NAMES = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc"}
_NOT_VIDEO = {"tty", "lavfi", "hls", "dash", "concat", "concatf", "sdp", "rtsp"}
"""Demuxers that draw text as pictures, or lists of other files, which the user should name themselves."""


_ONE_FRAME_PER_PACKET = {"h264", "hevc", "av1", "libdav1d", "vp9", "ffv1", "prores", "dnxhd", "mjpeg", "png", "utvideo"}
"""Decoders that return exactly one frame for every packet of an intact stream."""


@dataclass(frozen=True)
class _Timeline:
    """Presentation times of a stream, from its packets."""

    pts: array[int]
    """Of every frame, rising: the position is the frame index. 8 bytes a frame."""
    key_pts: array[int]
    """Of every key frame, rising."""
    key_seek: array[int]
    """Where to seek for that key frame: its decoding time, which some containers are indexed by."""


class _SentPackets:
    """Notices frames that the decoder drops without an error, as it does when it runs in threads.

    Packets and frames carry the same time stamps, and frames come out in their order. Only for codecs with one frame
    a packet.
    """

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._watched = codec.name in _ONE_FRAME_PER_PACKET
        self._waiting: list[int] = []
        self._last_pts: int | None = None
        self._overdue = 0

    def add(self, packet: Any) -> None:
        if self._watched and packet.size and packet.pts is not None and not packet.is_discard:
            heappush(self._waiting, packet.pts)

    def frame_was_lost(self, frame: av.VideoFrame) -> bool:
        """Note that `frame` came out; True where an earlier one no longer can."""
        if not self._watched or frame.pts is None:
            return False
        if self._last_pts is None:  # leading frames of a cut stream refer to pictures that are not there
            self._waiting = [pts for pts in self._waiting if pts >= frame.pts]
        if frame.pts in self._waiting:
            self._waiting.remove(frame.pts)
            heapify(self._waiting)
        self._last_pts = frame.pts
        late = bool(self._waiting) and self._waiting[0] < frame.pts
        self._overdue = self._overdue + 1 if late else 0
        # a decoder may need to learn how far a stream reorders its frames: H.264 and HEVC allow 16
        return self._overdue > (16 if self._codec.has_b_frames else 0)

    def waiting_at_the_end(self) -> bool:
        """True where packets were sent but no frame came out at the end of the stream."""
        return self._last_pts is not None and any(pts > self._last_pts for pts in self._waiting)


class VideoReader:
    """Reads the first video stream of a file. See `hdrvid.types.ClipReader`.

    The first frame is decoded on opening. `frames(start)` seeks to the key frame at or before `start` and decodes
    forward; streams without usable time stamps are decoded from the beginning instead. Nothing is kept per frame but
    its time (8 bytes), and that only after the first call with start > 0.
    Raises InputError where the file is missing, holds no video or no frame.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path} does not exist: check the path")
        self._warnings: dict[str, None] = {}
        self._timeline: _Timeline | None = None
        self._timeline_known = False
        self._open_iterators: weakref.WeakSet[Generator[Frame, None, None]] = weakref.WeakSet()
        self._closed = False
        with self._container() as (container, stream):
            self._announced_frames = int(stream.frames)
            self._announced_seconds, self._slack_seconds = _announced_seconds(container, stream)
            self._rate = Fraction(stream.average_rate or stream.guessed_rate or 24)
            first, _ = next(self._decode(container, stream, 0), (None, 0))
            if first is None:
                raise InputError(f"{self.path} holds no frame that can be decoded: check that it plays")
            self._first_pts: int | None = first.pts
            self._stored_size = (first.width, first.height)
            self._quarter_turns = round(first.rotation / 90) % 4
            self.info = self._describe(container, stream, first)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` <= index < `stop`, in order, decoded as they are asked for.

        Raises InputError where a frame in the middle is damaged. A file that ends early ends the iteration, and
        `warnings` says so.
        """
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"frame indices begin at 0, not {min(start, stop or 0)}")
        if self._closed:
            raise ValueError("the clip is closed")
        iterator = self._frames(start, stop)
        self._open_iterators.add(iterator)
        return iterator

    def warnings(self) -> list[str]:
        """What was noticed in the frames read so far: a file that ends early, frames marked as damaged."""
        return list(self._warnings)

    def close(self) -> None:
        """Close the file; iterations that are not finished end."""
        self._closed = True
        for iterator in list(self._open_iterators):
            iterator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _container(self) -> Iterator[tuple[Any, Any]]:
        """The open file and its video stream; FFmpeg's errors become InputError."""
        try:
            # an absolute path cannot be taken for a protocol, as "shot:1.mp4" would be
            with av.open(str(self.path.absolute()), metadata_errors="replace") as container:
                if set(container.format.name.split(",")) & _NOT_VIDEO or not container.streams.video:
                    raise InputError(f"{self.path} holds no video: name a video file, a folder of frames or a pattern")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield container, stream
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, av.error.InvalidDataError):
                reason = "it is damaged, incomplete or not a video"
            raise InputError(f"{self.path} cannot be read: {reason}; check that it plays, or copy it again") from error

    def _decode(self, container: Any, stream: Any, index: int) -> Iterator[tuple[av.VideoFrame, int]]:
        """Decoded frames from where the file stands, counted from `index`.

        A frame that cannot be decoded is an error if others follow, for a frame left out would shift the exposures
        of all the rest; at the end of the file it is the mark of a file that was cut off, and a warning.
        """
        failed: av.FFmpegError | None = None
        sent = _SentPackets(stream.codec_context)
        for packet in self._packets(container, stream):
            if failed is not None and packet.size:
                raise self._damaged(index) from failed
            sent.add(packet)
            try:
                for frame in packet.decode():
                    if sent.frame_was_lost(frame):
                        raise self._damaged(index)
                    if frame.is_corrupt:
                        self._warn(f"{self.path}: frame {index} is marked as damaged")
                    yield frame, index
                    index += 1
            except av.error.EOFError:
                break
            except av.FFmpegError as error:
                failed = error
        if failed is not None or sent.waiting_at_the_end():
            self._warn_cut(f"nothing after frame {index - 1} can be decoded")

    def _damaged(self, index: int) -> InputError:
        return InputError(
            f"{self.path} is damaged at frame {index}: copy it again, or use --frames to leave that part out"
        )

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Packets to the end of the file, then the flush; a read error is the end, as in a file cut off."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                packet = av.Packet()
                packet.stream = stream
                yield packet
                return
            if packet is None:
                return
            yield packet

    def _frames(self, start: int, stop: int | None) -> Generator[Frame, None, None]:
        if stop is not None and stop <= start:
            return
        with self._container() as (container, stream):
            decoded = self._seek(container, stream, start) if start else None
            if decoded is None:
                decoded = self._decode(container, stream, 0)
            last_seconds: float | None = None
            end_seconds, largest_step, num_frames = 0.0, 0.0, 0
            for frame, index in decoded:
                seconds = _seconds(frame, index, self._rate)
                if last_seconds is not None:
                    largest_step = max(largest_step, seconds - last_seconds)
                step = frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / self._rate
                end_seconds = seconds + float(step)
                last_seconds, num_frames = seconds, index + 1
                if index < start:
                    continue
                yield Frame(index, self._pixels(frame, index), seconds)
                if stop is not None and index + 1 >= stop:
                    return
            if num_frames:
                self._check_complete(num_frames, end_seconds, largest_step)

    def _seek(self, container: Any, stream: Any, start: int) -> Iterator[tuple[av.VideoFrame, int]] | None:
        """Decoding from the key frame at or before frame `start`, or None where positions are not certain."""
        timeline = self._times()
        if timeline is None or start >= len(timeline.pts):
            return None
        key = bisect_right(timeline.key_pts, timeline.pts[start]) - 1
        if key < 1:
            return None
        container.seek(timeline.key_seek[key], stream=stream, backward=True)
        decoded = self._decode(container, stream, 0)
        first = next(decoded, None)
        if first is not None and first[0].pts is not None and first[0].pts <= timeline.pts[start]:
            index = bisect_left(timeline.pts, first[0].pts)
            if timeline.pts[index] == first[0].pts:
                return _recounted(first[0], decoded, index)
        container.seek(0 if self._first_pts is None else min(0, self._first_pts), stream=stream, backward=True)
        again = self._decode(container, stream, 0)
        first = next(again, None)
        if first is None or first[0].pts != self._first_pts:
            raise InputError(f"{self.path} cannot be searched for frame {start}: re-encode it, for example to mkv")
        return _recounted(first[0], again, 0)

    def _times(self) -> _Timeline | None:
        """Times of all frames, from one pass without decoding, or None where they do not identify frames."""
        if not self._timeline_known:
            self._timeline = self._scan()
            self._timeline_known = True
        return self._timeline

    def _scan(self) -> _Timeline | None:
        if self._first_pts is None:
            return None
        pts, keys = array("q"), []
        with self._container() as (container, stream):
            for packet in self._packets(container, stream):
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    return None
                if packet.pts < self._first_pts:  # leading frames that have nothing to be decoded from
                    continue
                pts.append(packet.pts)
                if packet.is_keyframe:
                    keys.append((packet.pts, packet.pts if packet.dts is None else min(packet.pts, packet.dts)))
        rising = array("q", sorted(pts))
        if not rising or rising[0] != self._first_pts or any(a == b for a, b in pairwise(rising)):
            return None
        keys.sort()
        return _Timeline(rising, array("q", [k[0] for k in keys]), array("q", [k[1] for k in keys]))

    def _pixels(self, frame: av.VideoFrame, index: int) -> np.ndarray:
        if (frame.width, frame.height) != self._stored_size:
            raise InputError(
                f"{self.path} changes its size at frame {index} from {self._stored_size[0]}x{self._stored_size[1]} to "
                f"{frame.width}x{frame.height}: cut it into clips of one size"
            )
        codes = frame_codes(frame)
        return np.ascontiguousarray(np.rot90(codes, self._quarter_turns)) if self._quarter_turns else codes

    def _check_complete(self, num_frames: int, end_seconds: float, largest_step: float) -> None:
        """Warn where the file announced more than one frame beyond those it had."""
        expected = 0
        if self._announced_frames:
            expected = self._announced_frames
        elif self._announced_seconds is not None:
            missing = self._announced_seconds - end_seconds
            if missing > max(1.5 / self._rate, largest_step) + self._slack_seconds:
                expected = num_frames + round(missing * self._rate)
        if expected > num_frames + 1:
            self._warn_cut(f"{num_frames} of about {expected} frames could be read")

    def _warn_cut(self, what: str) -> None:
        if not any(" ends early: " in text for text in self._warnings):
            self._warn(f"{self.path} ends early: {what}; copy or record it again if the rest matters")

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _describe(self, container: Any, stream: Any, first: av.VideoFrame) -> ClipInfo:
        width, height = self._stored_size if self._quarter_turns % 2 == 0 else self._stored_size[::-1]
        matrix = int(first.colorspace)
        assumed = "bt709" if first.height >= HD_ROWS else "smpte170m"
        details = {
            "container": container.format.long_name or container.format.name,
            "codec": stream.codec_context.name,
            "pixel_format": first.format.name,
            "matrix": "rgb"
            if first.format.is_rgb
            else f"{assumed} (not tagged)"
            if matrix == _UNSPECIFIED_MATRIX
            else _MATRIX_NAMES.get(matrix, str(matrix)),
            "range": "full" if _is_full_range(first) else "limited",
            "transfer": _tag_name(ColorTrc, first.color_trc),
            "primaries": _tag_name(ColorPrimaries, first.color_primaries),
        }
        if self._quarter_turns:
            details["rotation"] = f"{90 * self._quarter_turns} degrees counter-clockwise"
        aspect = stream.sample_aspect_ratio
        if aspect and aspect != 1:
            details["pixel_aspect_ratio"] = str(aspect)
        return ClipInfo(
            source=str(self.path),
            stem=self.path.stem,
            kind="video",
            width=width,
            height=height,
            num_frames=self._announced_frames or None,
            frames_per_second=self._rate,
            bit_depth=_bit_depth(first),
            details=details,
        )


def frame_codes(frame: av.VideoFrame) -> np.ndarray:
    """Display codes of a decoded frame: (H, W, 3) float32 RGB in [0, 1], exact to 1/50 of a ten-bit code.

    The matrix and the range are those of the frame's tags, or the defaults the module names.
    """
    depth = _bit_depth(frame)
    grey = _is_grey(frame)
    if (frame.format.is_rgb or frame.format.has_palette or depth < 8) and depth <= 8:
        return frame.to_ndarray(format="rgb24").astype(np.float32) / np.float32(255)
    # swscale 9 writes wrong pixels elsewhere: from 4:2:0 with 7 or 8 rows into rgb48le, from several threads into
    # gbrpf32le, and from gbrap16le into gbrp16le
    target = "rgb48le" if frame.format.is_rgb else "gbrp16le"
    options: dict[str, Any] = {"format": target, "interpolation": _EXACT, "threads": 1}
    if not grey and not frame.format.is_rgb and int(frame.colorspace) == _UNSPECIFIED_MATRIX:
        options["src_colorspace"] = Colorspace.ITU709 if frame.height >= HD_ROWS else Colorspace.ITU601
    stored = frame.to_ndarray(**options)
    if frame.format.is_rgb:
        white = 65535.0
    elif _is_full_range(frame) or grey:
        white = float(((1 << depth) - 1) << (16 - depth))
    else:
        white = _LIMITED_WHITE
    codes = np.multiply(stored, np.float32(1 / white), dtype=np.float32)
    if grey and not _is_full_range(frame):  # swscale takes every grey as full range
        codes = np.maximum((codes * np.float32(white / 256) - 16) / np.float32(219), np.float32(0))
    return np.minimum(codes, np.float32(1), out=codes)


def _bit_depth(frame: av.VideoFrame) -> int:
    if frame.format.has_palette:
        return 8
    return min(16, max(component.bits for component in frame.format.components))


def _is_grey(frame: av.VideoFrame) -> bool:
    return not frame.format.is_rgb and sum(not component.is_alpha for component in frame.format.components) == 1


def _is_full_range(frame: av.VideoFrame) -> bool:
    if frame.format.is_rgb or frame.format.name.startswith("yuvj"):
        return True
    return frame.color_range == ColorRange.JPEG or (_is_grey(frame) and frame.color_range == ColorRange.UNSPECIFIED)


def _tag_name(names: Any, value: int) -> str:
    try:
        return str(names(int(value)).name).lower()
    except ValueError:
        return str(int(value))


def _seconds(frame: av.VideoFrame, index: int, rate: Fraction) -> float:
    if frame.pts is None or frame.time_base is None:
        return float(index / rate)
    return float(frame.pts * frame.time_base)


def _recounted(
    first: av.VideoFrame, rest: Iterator[tuple[av.VideoFrame, int]], index: int
) -> Iterator[tuple[av.VideoFrame, int]]:
    yield first, index
    for frame, _ in rest:
        index += 1
        yield frame, index


def _announced_seconds(container: Any, stream: Any) -> tuple[float | None, float]:
    """Time at which the last frame ends by the container's own account, and how far that may be off.

    The stream's duration, else the DURATION tag that Matroska gives each track, else the container's, which other
    tracks (sound) may have made longer.
    """
    start = float((stream.start_time or 0) * stream.time_base)
    if stream.duration:
        return start + float(stream.duration * stream.time_base), 0.0
    parts = str(stream.metadata.get("DURATION", "")).split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
        return hours * 3600 + minutes * 60 + seconds, 0.0
    except ValueError:
        pass
    if container.duration:
        end = (container.start_time or 0) + container.duration
        return end / av.time_base, 0.0 if len(container.streams) == 1 else 1.0
    return None, 0.0
