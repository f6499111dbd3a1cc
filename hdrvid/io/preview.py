"""The preview: an 8-bit H.264 file that plays everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from hdrvid.io.atomic import atomic_path, output_error
from hdrvid.types import PathLike

_TICKS_PER_SECOND = 90_000
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


class PreviewWriter:
    """Writes one mp4: H.264, yuv420p, BT.709 matrix, primaries and transfer tagged, limited range, index in front.

    A context manager; the file appears when the body ends without an error, and only if a frame was written. Odd
    sizes are padded to even by repeating the last row and column.
    Raises OutputError where the disk or the encoder refuses.
    """

    def __init__(
        self,
        path: PathLike,
        width: int,
        height: int,
        frames_per_second: Fraction | float,
        crf: int = 18,
        *,
        transfer: ColorTrc = ColorTrc.BT709,
    ) -> None:
        if width < 1 or height < 1:
            raise ValueError(f"a preview needs a positive size, not {width}x{height}")
        rate = Fraction(frames_per_second)
        if rate <= 0:
            raise ValueError(f"a preview needs a positive frame rate, not {frames_per_second}")
        self.path = Path(path)
        self.width = width
        self.height = height
        self.frames_per_second = rate if rate.numerator < 10**7 else rate.limit_denominator(1001)
        self.crf = crf
        self.transfer = transfer
        # a multiple of the frame rate: constant rates are exact, and other times are within 6 microseconds
        num = self.frames_per_second.numerator
        self._time_base = Fraction(1, num * max(1, round(_TICKS_PER_SECOND / num)))
        self._container: Any = None
        self._stream: Any = None
        self._session = ExitStack()
        self._count = 0
        self._first_pts: float | None = None
        self._last_tick = -1

    def __enter__(self) -> Self:
        return self

    def write(self, rgb8: np.ndarray, pts_seconds: float | None = None) -> None:
        """Append one frame: (H, W, 3) uint8 display RGB.

        pts_seconds: presentation time; the first frame becomes time 0. Without it frames follow at the frame rate.
        Times that do not rise are moved to the next tick.
        """
        if rgb8.shape != (self.height, self.width, 3) or rgb8.dtype != np.uint8:
            raise ValueError(f"the frame is {rgb8.dtype} {rgb8.shape}, not uint8 {(self.height, self.width, 3)}")
        if self._container is None:
            self._session.enter_context(self._encoding())
        padded = np.pad(rgb8, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        with _av_errors(self.path):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
                interpolation=_EXACT,
            )
            _tag(frame, self.transfer)
            frame.time_base = self._time_base
            frame.pts = self._tick(pts_seconds)
            frame.duration = round(1 / self.frames_per_second / self._time_base)
            self._encode(frame)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        """From opening the encoder to the finished file; a failure anywhere removes what was written."""
        with atomic_path(self.path) as partial:
            with _av_errors(self.path):
                self._container = av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart"})
            try:
                with _av_errors(self.path):
                    self._stream = self._add_stream()
                yield
                with _av_errors(self.path):
                    self._encode(None)
            except BaseException:
                with suppress(av.FFmpegError, OSError):
                    self._container.close()
                raise
            with _av_errors(self.path):
                self._container.close()

    def _add_stream(self) -> Any:
        stream = self._container.add_stream(
            "libx264", rate=self.frames_per_second, options={"crf": str(self.crf), "preset": "medium"}
        )
        stream.width = self.width + self.width % 2
        stream.height = self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        stream.thread_type = "AUTO"  # the default slices the picture, which costs quality
        stream.time_base = self._time_base
        stream.codec_context.time_base = self._time_base
        _tag(stream.codec_context, self.transfer)
        return stream

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _tick(self, pts_seconds: float | None) -> int:
        if pts_seconds is None:
            tick = round(self._count / self.frames_per_second / self._time_base)
        else:
            if self._first_pts is None:
                self._first_pts = pts_seconds
            tick = round((pts_seconds - self._first_pts) / float(self._time_base))
        self._last_tick = max(tick, self._last_tick + 1)
        return self._last_tick


@contextmanager
def _av_errors(path: Path) -> Iterator[None]:
    """FFmpeg's errors, some of which are ValueErrors, become OutputError."""
    try:
        yield
    except (av.FFmpegError, UnknownCodecError) as error:
        raise output_error(path, error) from error


def _tag(target: Any, transfer: ColorTrc) -> None:
    """Tag a frame or a codec context as BT.709 colour, limited range: both are needed for players to be told."""
    target.colorspace = Colorspace.ITU709
    target.color_range = ColorRange.MPEG
    target.color_primaries = ColorPrimaries.BT709
    target.color_trc = transfer
