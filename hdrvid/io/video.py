"""Video files through PyAV (FFmpeg).

Convention: pixels are display codes in [0, 1], R'G'B' as the matrix and range tags of the stream say; no transfer
function is applied here. Streams without a matrix tag are taken as BT.709 from 720 rows on and as BT.601 below, as
players do; YUV without a range tag is limited, RGB and grey are full. The codes of grey video decide where they
contradict that, see `hdrvid.io.grey_video`.
"""

from __future__ import annotations

import math
import os
import struct
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heappop, heappush
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from hdrvid.bounds import require_pixels
from hdrvid.color.gamuts import GAMUT_OF_TAG, GAMUTS
from hdrvid.errors import InputError
from hdrvid.io.compression import bits_per_pixel, loses_detail
from hdrvid.io.frame_metadata import aspect_of, date_and_offset, later
from hdrvid.io.grey_video import GREY, RANGE_FRAMES, has_no_chroma, luma_plane, measured_range
from hdrvid.io.samples import Levels, SampleFormat, developed, require_mosaic, with_levels
from hdrvid.io.text_files import require_file
from hdrvid.timecode import Timecode
from hdrvid.types import ClipInfo, Frame, FrameMetadata, PathLike

LONGEST_STEM = 200
"""Bytes of a base name: file systems allow 255 for the whole name."""

LONGEST_SECONDS = 1e7
"""A clip that claims to be longer, four months, has a damaged header."""

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


_ONE_FRAME_PER_PACKET = {
    *("h264", "hevc", "av1", "libdav1d", "vp9", "ffv1", "prores", "dnxhd", "mjpeg", "png", "utvideo", "cfhd", "v210"),
    *("jpeg2000", "huffyuv", "ffvhuff", "magicyuv", "rawvideo"),
}
"""Decoders that return exactly one frame for every packet of an intact stream."""

_USELESS_UNTIL_KEY_FRAME = {"ffv1"}
"""Decoders whose frames are noise after a lost one: the statistics of their entropy coder went with it."""

_TIMED_FRAMES = 80
"""Frames whose times decide between two rates."""

_EVEN_STEPS = 4
"""So many even steps before and after a jump of the times make it a gap: where rates vary, a jump says nothing."""

_MOST_REORDERED = 16
"""Frames that H.264 and HEVC may keep back, where a decoder has yet to learn how far a stream reorders them."""


@dataclass(frozen=True)
class _Timeline:
    """Presentation times of a stream, from its packets."""

    pts: array[int]
    """Of every frame, rising: the position is the frame index. 8 bytes a frame."""
    key_pts: array[int]
    """Of every key frame, rising."""
    key_seek: array[int]
    """Where to seek for that key frame: its decoding time, which some containers are indexed by."""


@dataclass(frozen=True)
class _Decoded:
    """What became of one frame of the stream."""

    index: int
    """0-based position in the clip."""
    frame: av.VideoFrame | None
    """None where it cannot be decoded."""
    damaged: bool
    """True where pixels came out that the decoder knows to be wrong."""


def open_media(path: Path) -> Any:
    """The container of an input file, in which tags that are no UTF-8 do no harm. Raises FFmpeg's errors."""
    # PyAV 19 no longer takes the argument: there such tags are never an error
    options: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    # an absolute path cannot be taken for a protocol, as "shot:1.mp4" would be
    return av.open(str(path.absolute()), **options)


def side_data(frame: Any) -> Mapping[str, Any]:
    """The side data of a frame by their name, also where FFmpeg knows kinds of them that PyAV does not."""
    try:
        data = frame.side_data
    except ValueError:
        # PyAV before 19 then refuses all of them; from 19 on it does itself what is done here
        kinds: Any = SideData
        kinds._missing_ = classmethod(_unnamed_side_data)
        data = frame.side_data
    return {data[i].type.name: data[i] for i in range(len(data))}


def _unnamed_side_data(kinds: Any, value: object) -> Any:
    """A member for a number that the enumeration `kinds` lacks."""
    member = object.__new__(kinds)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    return kinds._value2member_map_.setdefault(value, member)


class _Presentation:
    """Frames in the order in which they are shown, counted by the packets sent, so that lost ones leave their gap.

    Decoders drop frames without an error when they run in threads. Packets and frames carry the same time stamps, and
    everything shown before a frame has been sent before it comes out: a packet that waits with an earlier time is a
    lost frame. Only for codecs with one frame a packet; the frames of others are counted as they come.
    """

    def __init__(self, codec: Any, index: int) -> None:
        self._codec = codec
        self._watched = codec.name in _ONE_FRAME_PER_PACKET
        self._index = index
        self._sent: list[int] = []
        self._damaged: set[int] = set()
        self._held: list[tuple[int, int, av.VideoFrame]] = []
        self._order = count()
        self._last_pts: int | None = None
        self._useless = False

    @property
    def counts_packets(self) -> bool:
        """True where a packet that fails leaves a gap at its place."""
        return self._watched

    @property
    def next_index(self) -> int:
        """Index of the next frame to be shown."""
        return self._index

    def add(self, packet: Any) -> None:
        """Note that `packet` was sent to the decoder."""
        if self._watched and packet.size and packet.pts is not None and not packet.is_discard:
            heappush(self._sent, packet.pts)
            if packet.is_corrupt:
                self._damaged.add(packet.pts)

    def begins_late(self, frame: av.VideoFrame) -> bool:
        """True where `frame` is the first that came out and earlier ones were sent."""
        return self._watched and self._last_pts is None and bool(self._sent) and self._sent[0] < (frame.pts or 0)

    def shown(self, frame: av.VideoFrame) -> Iterator[_Decoded]:
        """What can be shown now that `frame` came out of the decoder, lost frames before it included."""
        if not self._watched or frame.pts is None:
            yield self._next(frame)
            return
        if self._last_pts is None:  # leading frames of a cut stream refer to pictures that are not there
            self._last_pts = frame.pts - 1
            while self._sent and self._sent[0] < frame.pts:
                heappop(self._sent)
        if frame.pts > self._last_pts:  # else it is shown too late: its place is taken
            heappush(self._held, (frame.pts, next(self._order), frame))
        yield from self._release(_MOST_REORDERED if self._codec.has_b_frames else 0)

    def rest(self) -> Iterator[_Decoded]:
        """The frames still held when the decoder has no more."""
        yield from self._release(0)

    def lost_at_the_end(self) -> bool:
        """True where packets were sent but no frame came out at the end of the stream."""
        return self._last_pts is not None and bool(self._sent)

    def _release(self, most_held: int) -> Iterator[_Decoded]:
        while self._held:
            pts = self._held[0][0]
            if self._sent and self._sent[0] < pts:
                if len(self._held) <= most_held:
                    return
                heappop(self._sent)
                yield self._next(None)
                continue
            if self._sent and self._sent[0] == pts:
                heappop(self._sent)
            self._last_pts = pts
            yield self._next(heappop(self._held)[2])

    def _next(self, frame: av.VideoFrame | None) -> _Decoded:
        damaged = False
        if frame is not None:
            damaged = bool(frame.is_corrupt) or frame.pts in self._damaged
            self._damaged.discard(frame.pts)
            self._useless = self._useless and not frame.key_frame
            if self._useless:
                frame = None
        if frame is None or damaged:
            self._useless = self._codec.name in _USELESS_UNTIL_KEY_FRAME
        self._index += 1
        return _Decoded(self._index - 1, frame, damaged)


class _Gaps:
    """The first place where even times jump, and go on as evenly: frames are missing there."""

    def __init__(self) -> None:
        self._even: list[float] = []
        self._gap: tuple[int, float] | None = None
        self._after = 0
        self._done = False

    def after_step(self, index: int, step: float) -> Iterator[tuple[int, int]]:
        """(frame, frames missing before it), once that is known; `step` seconds lie before frame `index`."""
        if self._done:
            return
        low, high = min(self._even, default=step), max(self._even, default=step)
        if self._gap is None:
            if max(high, step) < 1.1 * min(low, step) or len(self._even) < 2:
                self._even.append(step)
                self._done = not 0 < max(self._even) < 1.1 * min(self._even)
            elif len(self._even) >= _EVEN_STEPS and step > 1.7 * high:
                self._gap = index, step
            else:
                self._done = True
        elif low / 1.1 < step < 1.1 * high:
            self._after += 1
            if self._after == _EVEN_STEPS:
                yield from self.rest()
        else:
            self._done = True

    def rest(self) -> Iterator[tuple[int, int]]:
        """The same, at the end of the clip."""
        if self._gap is not None and not self._done:
            self._done = True
            yield self._gap[0], self._num_missing(self._gap[1])

    def missing_before(self, index: int) -> int:
        """Frames that seem to be missing before frame `index`, the latest, whatever the times behind it say."""
        if self._gap is None or self._gap[0] != index:
            return 0
        return self._num_missing(self._gap[1])

    def _num_missing(self, step: float) -> int:
        return round(step / max(self._even)) - 1


class _Orientation(NamedTuple):
    """How the stored picture becomes the upright one: transposed, then mirrored along rows or columns."""

    transpose: bool
    flip_rows: bool
    flip_columns: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> _Orientation:
        """The nearest of the eight orientations to the frame's display matrix; upright where it has none.

        Convention: the matrix (a, b, u, c, d, v, x, y, w) of ISO/IEC 14496-12, 8.3.2, takes column p and row q of the
        stored picture to column a p + c q and row b p + d q of the shown one.
        """
        matrix: Any = side_data(frame).get(SideData.DISPLAYMATRIX.name)
        if matrix is None or len(bytes(matrix)) < 36:
            return cls(False, False, False)
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    def applied(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) as stored to the upright picture, contiguous."""
        turned = pixels.transpose(1, 0, 2) if self.transpose else pixels
        turned = turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.ascontiguousarray(turned)

    def __str__(self) -> str:
        """For people: mirrored left to right first, then turned."""
        mirrored = self.transpose ^ self.flip_rows ^ self.flip_columns
        quarter_turns = 1 if self.flip_rows != mirrored else 3
        degrees = 90 * quarter_turns if self.transpose else 180 * self.flip_rows
        parts = ["mirrored"] if mirrored else []
        return ", ".join(parts + ([f"{degrees} degrees counter-clockwise"] if degrees else []))


def _may_read(path: Path) -> bool:
    """Whether this process may read the file, with the rights that it has now."""
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


class VideoReader:
    """Reads the first video stream of a file. See `hdrvid.types.ClipReader`.

    The first frame is decoded on opening. `frames(start)` seeks to the key frame at or before `start` and decodes
    forward; streams without usable time stamps are decoded from the beginning instead. Nothing is kept per frame but
    its time (8 bytes), and that only after the first call with start > 0.
    `samples.bayer`: the frames are grey mosaics and come out as RGB. `samples.deinterlace`: the fields of a frame are
    made one whole frame of its moment.
    Raises InputError where the file is missing, holds no video or no frame.
    """

    def __init__(self, path: PathLike, samples: SampleFormat = SampleFormat()) -> None:  # noqa: B008 -- frozen
        self.path = Path(path)
        self.samples = samples
        self.levels: Levels | None = None
        require_file(self.path)
        self._warnings: dict[str, None] = {}
        self._timeline: _Timeline | None = None
        self._timeline_known = False
        self._open_iterators: weakref.WeakSet[Generator[Frame, None, None]] = weakref.WeakSet()
        self._closed = False
        with self._container() as (container, stream):
            self._announced_frames = int(stream.frames)
            self._announced_seconds, self._slack_seconds = _announced_seconds(container, stream)
            self._rate = self._find_rate(stream)
            opening = self._decode(container, stream, 0)
            decoded = next(opening, None)
            if decoded is None or decoded.frame is None:
                raise InputError(f"{self.path} holds no frame that can be decoded: check that it plays")
            first = decoded.frame
            self._luma_range = self._find_luma_range(stream, first, opening)
            self._first_pts: int | None = first.pts
            self._stored_size = (first.width, first.height)
            self._orientation = _Orientation.of(first)
            self._one_channel = is_grey(first) or bool(self._luma_range)
            if samples.is_mosaic:
                require_mosaic(str(self.path), self._one_channel)
            self.is_ycbcr = not (self._one_channel or first.format.is_rgb or first.format.has_palette)
            """Whether R, G and B are computed from what is stored."""
            is_full = self._luma_range == "full" if self._luma_range else _is_full_range(first)
            self.top = float((1 << frame_bits(first)) - 1) if is_full else 0.0
            """Code of R, G, B or grey that is read as 1; 0 where the range is limited."""
            self.info = self._describe(container, stream, first)

    def frames(
        self, start: int = 0, stop: int | None = None, on_damage: Callable[[int, str], None] | None = None
    ) -> Iterator[Frame]:
        """Frames `start` <= index < `stop`, in order, decoded as they are asked for.

        A frame that cannot be decoded raises InputError. With `on_damage` it is reported there with its index and a
        sentence, and left out; the frames behind it keep their indices. Frames that the decoder patched up are left
        out too then, and kept with a warning otherwise. Frames are distinguished by their time stamps; in streams
        without them, and for codecs that may send packets without a frame, damage is always an InputError.
        A file that ends early ends the iteration, and `warnings` says so, with `on_damage` or without.
        ProRes, Motion JPEG and mostly HEVC carry no check sums: their wrong pixels cannot be noticed here.
        """
        if start < 0 or (stop is not None and stop < 0):
            raise ValueError(f"frame indices begin at 0, not {min(start, stop or 0)}")
        if self._closed:
            raise ValueError("the clip is closed")
        iterator = self._frames(start, stop, on_damage)
        self._open_iterators.add(iterator)
        return iterator

    def set_levels(self, levels: Levels | None) -> None:
        """Codes of black and white, from now on; None: 0 and the largest one."""
        self.levels, self.info = levels, with_levels(self.info, levels)

    def stored(self, stop: int) -> Iterator[np.ndarray]:
        """Codes (H, W, C) of the first frames as they are stored: 1 is the code `top`. Grey ones have one channel."""
        with self._container() as (container, stream):
            for one in self._decode(container, stream, 0):
                if one.index >= stop:
                    return
                if one.frame is not None:
                    codes = self._codes(one.frame)
                    yield codes[..., 1:2] if self._one_channel else codes

    def _codes(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) codes of a frame as it is stored."""
        return _grey_codes(frame, self._luma_range) if self._luma_range else frame_codes(frame)

    def metadata(self, index: int) -> FrameMetadata:
        """What the file says of frame `index` beside its pixels: that of the first frame, so many frames later."""
        return later(self.info.first, index, self._rate)

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

    def _find_rate(self, stream: Any) -> Fraction:
        """Frames per second: the rate FFmpeg guesses, unless the times say that the mean of the container is right.

        A mean is off where times are rounded or a header is wrong (Flash video: 1000), a guess where rates are unusual
        (GIF: 12.5).
        """
        rates = [rate for rate in (_fraction(stream.guessed_rate), _fraction(stream.average_rate)) if rate]
        if len(set(rates)) < 2:
            return rates[0] if rates else Fraction(24)
        step, tolerance = self._usual_step()
        if not step:
            return rates[0]
        fitting = [rate for rate in rates if abs(float(1 / rate) - step) <= tolerance]
        return fitting[0] if fitting else min(rates, key=lambda rate: abs(math.log(float(rate) * step)))

    def _usual_step(self) -> tuple[float, float]:
        """Seconds from one frame to the next at the start of the file, 0 where it has no times, and how far that may be
        off."""
        pts: list[int] = []
        with self._container() as (container, stream):
            for packet in self._packets(container, stream):
                if packet.size and packet.pts is not None and not packet.is_discard:
                    pts.append(packet.pts)
                if len(pts) >= _TIMED_FRAMES:
                    break
            tick = float(stream.time_base)
        # between the last ones may be frames that were not read any more
        known = len(pts) - _MOST_REORDERED if len(pts) == _TIMED_FRAMES else len(pts)
        steps = np.diff(np.sort(pts)[:known]) * tick
        steps = steps[steps > 0]
        if not len(steps):
            return 0.0, 0.0
        median = float(np.sort(steps)[len(steps) // 2])
        usual = steps[np.abs(steps - median) <= max(1.5 * tick, 0.1 * median)]
        step = float(usual.mean())
        return step, 0.01 * step + tick / len(usual)

    @contextmanager
    def _container(self) -> Iterator[tuple[Any, Any]]:
        """The open file and its video stream; FFmpeg's errors become InputError."""
        try:
            with open_media(self.path) as container:
                if set(container.format.name.split(",")) & _NOT_VIDEO or not container.streams.video:
                    raise InputError(f"{self.path} holds no video: name a video file, a folder of frames or a pattern")
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise InputError(
                        f"{self.path} is in a codec that FFmpeg does not know: convert it to H.264 or FFV1"
                    )
                if stream.width and stream.height:
                    require_pixels(self.path, stream.width, stream.height)
                # FFV1 decoded by frame threads: a damaged frame spoils the one before it, now and then
                stream.thread_type = "SLICE" if stream.codec_context.name == "ffv1" else "AUTO"
                yield container, stream
        except (av.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            if isinstance(error, (av.error.InvalidDataError, av.error.EOFError)):
                reason = "it is damaged, incomplete or not a video"
            elif isinstance(error, av.error.PermissionError) and _may_read(self.path):
                reason = "it is a list of other files, which FFmpeg does not open: name these"
            raise InputError(f"{self.path} cannot be read: {reason}; check that it plays, or copy it again") from error

    def _decode(self, container: Any, stream: Any, index: int | None) -> Iterator[_Decoded]:
        """What became of the frames from where the file stands, counted from `index`; None: from the first that can be
        decoded, counted from 0.

        A frame that cannot be decoded matters if others follow, for a frame left out would shift the exposures
        of all the rest; at the end of the file it is the mark of a file that was cut off, and a warning.
        """
        failed: Exception | None = None
        shown = _Presentation(stream.codec_context, index or 0)
        for packet in self._packets(container, stream):
            if failed is not None and packet.size and not shown.counts_packets:
                raise self._damaged(shown.next_index) from failed
            shown.add(packet)
            try:
                frames = packet.decode()
            except av.error.EOFError:
                break
            except (av.FFmpegError, ValueError) as error:  # ValueError: PyAV 19, after a decoder that did not open
                failed = error
                continue
            for frame in frames:
                if failed is not None and index is not None and shown.begins_late(frame):
                    raise self._damaged(index) from failed
                yield from shown.shown(frame)
        yield from shown.rest()
        if shown.lost_at_the_end() or (failed is not None and not shown.counts_packets):
            self._warn_cut(f"nothing after frame {shown.next_index - 1} can be decoded")

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

    def _frames(
        self, start: int, stop: int | None, on_damage: Callable[[int, str], None] | None
    ) -> Generator[Frame, None, None]:
        if stop is not None and stop <= start:
            return
        with self._container() as (container, stream):
            decoded = self._seek(container, stream, start) if start else None
            if decoded is None:
                decoded = self._decode(container, stream, 0)
            if self.samples.deinterlace:
                decoded = _deinterlaced(decoded)
            last_seconds: float | None = None
            end_seconds, largest_step, num_frames = 0.0, 0.0, 0
            last_lost: int | None = None
            gaps = _Gaps()
            for one in decoded:
                index, frame, num_missing = one.index, one.frame, 0
                if stop is not None and index >= stop:
                    return
                if frame is None:
                    last_lost = index
                    if index >= start:
                        if on_damage is None:
                            raise self._damaged(index)
                        on_damage(index, f"frame {index} of {self.path} cannot be decoded")
                    continue
                seconds = _seconds(frame, index, self._rate)
                if last_seconds is not None:
                    past = seconds - last_seconds
                    if index == num_frames:
                        for gap in gaps.after_step(index, past):
                            self._warn_gap(*gap)
                        num_missing = gaps.missing_before(index)
                    largest_step = max(largest_step, past)
                step = frame.duration * frame.time_base if frame.duration and frame.time_base else 1 / self._rate
                end_seconds = seconds + float(step)
                last_seconds, num_frames = seconds, index + 1
                if last_lost is not None and not frame.key_frame and index >= start:
                    self._warn(f"{self.path}: frames after frame {last_lost} may show traces of its damage")
                last_lost = None
                if index >= start:
                    if not one.damaged or on_damage is None:
                        yield from self._frame(one, frame, seconds, on_damage, num_missing)
                    else:
                        on_damage(index, f"frame {index} of {self.path} is marked as damaged")
                if stop is not None and index + 1 >= stop:
                    return
            for gap in gaps.rest():
                self._warn_gap(*gap)
            if num_frames:
                self._check_complete(num_frames, end_seconds, largest_step)

    def _frame(
        self,
        decoded: _Decoded,
        frame: av.VideoFrame,
        seconds: float,
        on_damage: Callable[[int, str], None] | None,
        num_missing: int,
    ) -> Iterator[Frame]:
        """The frame with its pixels, or none where they cannot be used and `on_damage` has been called."""
        if decoded.damaged:
            self._warn(f"{self.path}: frame {decoded.index} is marked as damaged")
        try:
            pixels = self._pixels(frame, decoded.index)
        except InputError as error:
            if on_damage is None:
                raise
            on_damage(decoded.index, str(error))
            return
        yield Frame(decoded.index, pixels, seconds, num_missing)

    def _seek(self, container: Any, stream: Any, start: int) -> Iterator[_Decoded] | None:
        """Decoding from the key frame at or before frame `start`, or None where positions are not certain."""
        timeline = self._times()
        if timeline is None or start >= len(timeline.pts):
            return None
        key = bisect_right(timeline.key_pts, timeline.pts[start]) - 1
        if key < 1:
            return None
        container.seek(timeline.key_seek[key], stream=stream, backward=True)
        decoded = self._decode(container, stream, None)
        first = next(decoded, None)
        if first is not None and first.frame is not None and first.frame.pts is not None:
            index = bisect_left(timeline.pts, first.frame.pts)
            if index <= start and timeline.pts[index] == first.frame.pts:
                return _recounted(first, decoded, index)
        container.seek(0 if self._first_pts is None else min(0, self._first_pts), stream=stream, backward=True)
        restarted = self._decode(container, stream, 0)
        first = next(restarted, None)
        if first is None or first.frame is None or first.frame.pts != self._first_pts:
            raise InputError(f"{self.path} cannot be searched for frame {start}: re-encode it, for example to mkv")
        return _recounted(first, restarted, 0)

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
        try:
            codes = developed(self._codes(frame), self.levels, self.samples)
        except (ValueError, MemoryError) as error:
            raise InputError(
                f"frame {index} of {self.path} cannot be converted from {frame.format.name} to RGB: re-encode the clip"
            ) from error
        return self._orientation.applied(codes)

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

    def _warn_gap(self, index: int, num_missing: int) -> None:
        self._warn(
            f"{self.path}: {num_missing} frame(s) seem to be missing before frame {index}, where the times jump: "
            "that shifts the exposures of the frames that follow"
        )

    def _warn_cut(self, what: str) -> None:
        if not any(" ends early: " in text for text in self._warnings):
            self._warn(f"{self.path} ends early: {what}; copy or record it again if the rest matters")

    def _warn(self, text: str) -> None:
        self._warnings[text] = None

    def _find_luma_range(self, stream: Any, first: av.VideoFrame, rest: Iterator[_Decoded]) -> str:
        """'full' or 'limited' where a video is grey and its pixels are those of one plane; '' for others."""
        no_chroma = has_no_chroma(stream.codec_context.name, stream.codec_context.extradata)
        if not no_chroma and not (is_grey(first) and 8 <= first.format.components[0].bits <= 16):
            return ""
        if len(first.format.components) != (3 if no_chroma else 1):
            return ""  # alpha
        if _is_full_range(first):
            return "full"
        frames = [first, *(one.frame for one in islice(rest, RANGE_FRAMES - 1) if one.frame is not None)]
        luma_range = measured_range(f for f in frames if f.format.name == first.format.name)
        if not luma_range and stream.codec_context.name in ("h264", "hevc"):
            self._warn(
                f"{self.path} is grey, does not say its range of codes and reaches neither black nor white: taken as "
                "limited range; tag it, for example with ffmpeg -color_range pc, where it is full range"
            )
        return luma_range or "limited"

    def _describe(self, container: Any, stream: Any, first: av.VideoFrame) -> ClipInfo:
        width, height = self._stored_size[::-1] if self._orientation.transpose else self._stored_size
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
            "transfer": tag_name(ColorTrc, first.color_trc),
            "primaries": tag_name(ColorPrimaries, first.color_primaries),
        }
        if self._luma_range or is_grey(first):
            details["matrix"] = "none"
            details |= {} if self.samples.is_mosaic else {"grey": GREY}
        if self._luma_range and not _is_full_range(first):
            tag = "not tagged" if first.color_range == ColorRange.UNSPECIFIED else "tagged limited, or not at all"
            details["range"] = f"{self._luma_range}, as its codes tell ({tag})"
        if self.samples.deinterlace:
            details["scan"] = f"{'interlaced' if first.interlaced_frame else 'not marked as interlaced'}, deinterlaced"
        elif first.interlaced_frame:
            details["scan"] = "interlaced"
        if str(self._orientation):
            details["rotation"] = str(self._orientation)
        bits = bits_per_pixel(container, stream, self._rate)
        if bits is not None:
            details["bit_rate"] = f"{bits:.2g} bits a pixel"
        metadata = self._first_metadata(container, stream)
        details |= described(metadata)
        return ClipInfo(
            source=str(self.path),
            stem=output_stem(self.path.stem),
            kind="video",
            width=width,
            height=height,
            num_frames=self._announced_frames or None,
            frames_per_second=self._rate,
            bit_depth=frame_bits(first),
            details=details,
            transfer="" if details["transfer"] == "unspecified" else details["transfer"],
            gamut=GAMUTS.get(GAMUT_OF_TAG.get(details["primaries"], "")),
            first=metadata,
            one_channel=self._one_channel and not self.samples.is_mosaic,
            compressed=loses_detail(details["codec"], bits, stream.codec_context.profile),
        )

    def _first_metadata(self, container: Any, stream: Any) -> FrameMetadata:
        """Of the first frame: from the tags of its stream, of the track of time codes, or of the file."""
        tags: dict[str, str] = {}
        for source in (stream, *container.streams, container):
            tags = {**{name.lower(): str(value) for name, value in source.metadata.items()}, **tags}
        captured, offset = "", None
        for name in ("com.apple.quicktime.creationdate", "creation_time"):
            if not captured:
                captured, offset = date_and_offset(tags.get(name, ""))
        aspect = aspect_of(stream.sample_aspect_ratio, 1)
        return FrameMetadata(
            timecode=Timecode.parse(tags.get("timecode", ""), self._rate),
            reel=tags.get("reel_name", ""),
            captured=captured,
            utc_offset_seconds=offset,
            pixel_aspect=1 / aspect if self._orientation.transpose else aspect,
        )


def described(metadata: FrameMetadata) -> dict[str, str]:
    """What the first frame of a clip says beside its pixels, for people to read."""
    texts = {
        "timecode": "" if metadata.timecode is None else str(metadata.timecode),
        "reel": metadata.reel,
        "captured": metadata.captured,
        "pixel_aspect_ratio": "" if metadata.pixel_aspect == 1 else str(metadata.pixel_aspect),
    }
    return {name: text for name, text in texts.items() if text}


def output_stem(name: str) -> str:
    """`name` as the base name of outputs, cut where a frame number and a suffix would make it too long to be a file.

    >>> output_stem("shot"), output_stem("")
    ('shot', 'clip')
    """
    return os.fsencode(name)[:LONGEST_STEM].decode("utf-8", "ignore") or "clip"


DEINTERLACER = "estdif"
"""FFmpeg's filter: edge slope tracing within one field. Neighbouring frames are of other exposures, so those that take
rows from them (bwdif, yadif) leave specks."""


def _deinterlaced(decoded: Iterator[_Decoded]) -> Iterator[_Decoded]:
    """The same frames, each whole: its first field is kept, the rows of the other are interpolated from it."""
    waiting: deque[_Decoded] = deque()
    graph: av.filter.Graph | None = None

    def finished() -> Iterator[_Decoded]:
        while graph is not None and waiting:
            try:
                frame = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            one = waiting.popleft()
            assert one.frame is not None
            yield replace(one, frame=_like(frame, one.frame))

    for one in decoded:
        if one.frame is None:
            if graph is not None:
                graph.vpush(None)
                yield from finished()
            graph = None
            yield one
            continue
        if graph is None:
            graph = _deinterlacing_graph(one.frame)
        waiting.append(one)
        graph.vpush(one.frame)
        yield from finished()
    if graph is not None:
        graph.vpush(None)
        yield from finished()


def _deinterlacing_graph(frame: av.VideoFrame) -> av.filter.Graph:
    """A filter graph that gives one whole frame for every frame like this one."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    filtered = graph.add(DEINTERLACER, "mode=frame:parity=auto:deint=all")
    sink = graph.add("buffersink")
    source.link_to(filtered)
    filtered.link_to(sink)
    graph.configure()
    return graph


def _like(frame: av.VideoFrame, source: av.VideoFrame) -> av.VideoFrame:
    """A filtered frame with the time and the colour tags of its source."""
    frame.pts, frame.time_base = source.pts, source.time_base
    frame.colorspace, frame.color_range = source.colorspace, source.color_range
    frame.color_trc, frame.color_primaries = source.color_trc, source.color_primaries
    frame.duration = source.duration
    return frame


def frame_codes(frame: av.VideoFrame) -> np.ndarray:
    """Display codes of a decoded frame: (H, W, 3) float32 RGB in [0, 1], exact to 1/50 of a ten-bit code.

    The matrix and the range are those of the frame's tags, or the defaults the module names.
    """
    depth = frame_bits(frame)
    grey = is_grey(frame)
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


def _grey_codes(frame: av.VideoFrame, luma_range: str) -> np.ndarray:
    """The same, of a frame whose first plane is all there is: 'full' or 'limited' range."""
    bits = frame.format.components[0].bits
    low, high = (0, (1 << bits) - 1) if luma_range == "full" else (16 << (bits - 8), 235 << (bits - 8))
    codes = (luma_plane(frame).astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.repeat(np.clip(codes, 0, 1)[..., None], 3, axis=2)


def frame_bits(frame: av.VideoFrame) -> int:
    """Bits of the deepest channel, 16 at the most."""
    if frame.format.has_palette:
        return 8
    return min(16, max(component.bits for component in frame.format.components))


def is_grey(frame: av.VideoFrame) -> bool:
    """Whether a frame has one channel beside alpha."""
    return not frame.format.is_rgb and sum(not component.is_alpha for component in frame.format.components) == 1


def _is_full_range(frame: av.VideoFrame) -> bool:
    if frame.format.is_rgb or frame.format.name.startswith("yuvj"):
        return True
    return frame.color_range == ColorRange.JPEG or (is_grey(frame) and frame.color_range == ColorRange.UNSPECIFIED)


def tag_name(names: Any, value: int) -> str:
    """Lower-case name of a colour tag in one of PyAV's enumerations, else its number."""
    try:
        return str(names(int(value)).name).lower()
    except ValueError:
        return str(int(value))


def _fraction(rate: Any) -> Fraction | None:
    """A rate of PyAV, or None where the file has none."""
    return Fraction(rate.numerator, rate.denominator) if rate and rate.denominator and rate.numerator > 0 else None


def _seconds(frame: av.VideoFrame, index: int, rate: Fraction) -> float:
    if frame.pts is None or frame.time_base is None:
        return float(index / rate)
    return float(frame.pts * frame.time_base)


def _recounted(first: _Decoded, rest: Iterator[_Decoded], index: int) -> Iterator[_Decoded]:
    shift = index - first.index
    yield replace(first, index=index)
    for decoded in rest:
        yield replace(decoded, index=decoded.index + shift)


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
        if 0 <= (end := hours * 3600 + minutes * 60 + seconds) < LONGEST_SECONDS:
            return end, 0.0
    except ValueError:
        pass
    if container.duration:
        # some containers count their duration from 0, not from where they begin
        start = (container.start_time or 0) / av.time_base
        return start + container.duration / av.time_base, abs(start) + (0.0 if len(container.streams) == 1 else 1.0)
    return None, 0.0
