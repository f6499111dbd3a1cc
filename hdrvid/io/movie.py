"""What every video that hdrvid writes has in common: times, sound, and appearing complete or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.codec.codec import UnknownCodecError

from hdrvid.io.atomic import atomic_path, output_error
from hdrvid.io.audio import AudioTrack, open_audio
from hdrvid.io.ownership import MOVIE_COMMENT
from hdrvid.timecode import Timecode
from hdrvid.types import PathLike

_TICKS_PER_SECOND = 90_000


class MovieWriter(ABC):
    """Writes one mp4 or mov with its index in front: a base for the writers of one kind of picture.

    A context manager; the file appears when the body ends without an error, and only if a frame was written. Odd
    sizes are padded to even by repeating the last row and column.
    Raises OutputError where the disk or an encoder refuses.
    """

    container_format = "mp4"
    """FFmpeg's name of the container."""

    def __init__(
        self,
        path: PathLike,
        width: int,
        height: int,
        frames_per_second: Fraction | float,
        *,
        audio_from: PathLike | None = None,
        audio_start_seconds: float | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        """`audio_from`: a file whose first sound track is carried over, cut to the frames that are written; see
        `hdrvid.io.audio`. `audio_start_seconds`: time in that file of the first frame that is written; None: the
        presentation time of that frame, or 0 where it has none. `pixel_aspect`: width of a pixel over its height.
        """
        if width < 1 or height < 1:
            raise ValueError(f"a video needs a positive size, not {width}x{height}")
        rate = Fraction(frames_per_second)
        if rate <= 0:
            raise ValueError(f"a video needs a positive frame rate, not {frames_per_second}")
        self.path = Path(path)
        self.width = width
        self.height = height
        self.pixel_aspect = pixel_aspect
        self.timecode: Timecode | None = None
        """Of the first frame, for a track of time codes. To be set before that frame is written."""
        self.frames_per_second = rate if rate.numerator < 10**7 else rate.limit_denominator(1001)
        # a multiple of the frame rate: constant rates are exact, and other times are within 6 microseconds
        num = self.frames_per_second.numerator
        self._time_base = Fraction(1, num * max(1, round(_TICKS_PER_SECOND / num)))
        self._audio_from = None if audio_from is None else Path(audio_from)
        self._audio_start_seconds = audio_start_seconds
        self._audio: AudioTrack | None = None
        self._warnings: list[str] = []
        self._container: Any = None
        self._stream: Any = None
        self._session = ExitStack()
        self._count = 0
        self._first_pts: float | None = None
        self._last_tick = -1

    def warnings(self) -> list[str]:
        """What the user should know: sound that could not be carried over. Complete after the `with` block."""
        return list(self._warnings)

    @property
    def is_empty(self) -> bool:
        """Whether no frame was written yet."""
        return self._container is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    @abstractmethod
    def _add_stream(self, container: Any) -> Any:
        """The video stream, added to `container`; `_append` sets its times."""

    @property
    def _frame_ticks(self) -> int:
        return round(1 / self.frames_per_second / self._time_base)

    def _append(self, frame: av.VideoFrame, pts_seconds: float | None) -> None:
        """Encode the next frame, which is shown at `pts_seconds`; the first frame becomes time 0."""
        if self._container is None:
            self._session.enter_context(self._encoding(pts_seconds))
        with av_errors(self.path):
            frame.time_base = self._time_base
            frame.pts = self._tick(pts_seconds)
            frame.duration = self._frame_ticks
            self._encode(frame)
            if self._audio is not None:
                self._audio.write_until(float(frame.pts * self._time_base))
        self._count += 1

    @contextmanager
    def _encoding(self, first_pts_seconds: float | None) -> Iterator[None]:
        """From opening the encoder to the finished file; a failure anywhere removes what was written."""
        with atomic_path(self.path) as partial, ExitStack() as sources:
            with av_errors(self.path):
                self._container = av.open(
                    str(partial), "w", format=self.container_format, options={"movflags": "+faststart"}
                )
                self._container.metadata["comment"] = MOVIE_COMMENT
            try:
                with av_errors(self.path):
                    self._stream = self._add_stream(self._container)
                    if self.pixel_aspect != 1:
                        self._stream.codec_context.sample_aspect_ratio = self.pixel_aspect
                    if self.timecode is not None:
                        self._stream.metadata["timecode"] = str(self.timecode)
                    self._stream.time_base = self._time_base
                    self._stream.codec_context.time_base = self._time_base
                if self._audio_from is not None:
                    start = self._audio_start_seconds
                    start = (first_pts_seconds or 0.0) if start is None else start
                    self._audio = sources.enter_context(
                        open_audio(self._audio_from, self._container, start, self._warnings)
                    )
                yield
                with av_errors(self.path):
                    self._encode(None)
                    if self._audio is not None:
                        self._audio.finish(float((self._last_tick + self._frame_ticks) * self._time_base))
            except BaseException:
                with suppress(av.FFmpegError, OSError):
                    self._container.close()
                raise
            with av_errors(self.path):
                self._container.close()

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
def av_errors(path: Path) -> Iterator[None]:
    """FFmpeg's errors, some of which are ValueErrors, become OutputError."""
    try:
        yield
    except (av.FFmpegError, UnknownCodecError) as error:
        raise output_error(path, error) from error
