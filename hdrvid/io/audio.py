"""Sound carried over from the source clip into an mp4, in step with the frames that are written.

What mp4 players take is copied as it is, anything else becomes AAC. A copy is cut at packets (AAC: 21 ms at 48 kHz)
and keeps the packet before the first, which decoders need to start cleanly and players do not play; a re-encoded track
is cut at samples. Sound that is missing or damaged is never an error: it is a warning, and the pictures are written.

Convention: seconds are of the new file, where the first frame is at 0, unless a name says `source`.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from hdrvid.io.video import open_media
from hdrvid.types import PathLike

COPIED_CODECS = ("aac", "mp3", "alac", "opus", "flac")
"""Sound that mp4 players take as it is. Not AC-3: browsers lack it, and one damaged packet can cost the whole file."""

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")
_BITS_PER_CHANNEL = 96_000
_RESYNC_SECONDS = 0.02
"""Time stamps that jump by less are rounding, and the samples are taken as contiguous."""


class AudioTrack(ABC):
    """One sound track of a file that is being written."""

    def __init__(self, source: _Source, container: Any, warnings: list[str]) -> None:
        self._source = source
        self._container = container
        self._warnings = warnings
        self._damaged = 0

    @abstractmethod
    def write_until(self, seconds: float) -> None:
        """Write the sound before `seconds` that is not written yet."""

    def finish(self, seconds: float) -> None:
        """Write the rest, which ends at `seconds`."""
        self.write_until(seconds)
        if self._damaged:
            self._warnings.append(f"{self._damaged} damaged parts of the sound of {self._source.path} were left out")


@contextmanager
def open_audio(
    source: PathLike, container: Any, source_start_seconds: float, warnings: list[str]
) -> Iterator[AudioTrack | None]:
    """Add the first sound track of `source` to `container`, a PyAV output whose header is not written yet.

    `source_start_seconds`: presentation time in the source of what becomes time 0. Yields None, and appends to
    `warnings`, where there is no sound that can be used; a clip that has none is nothing to warn of.
    """
    path = Path(source)
    track: AudioTrack | None = None
    try:
        stream_source = _Source(path, source_start_seconds, warnings)
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        warnings.append(f"the sound of {path} was left out: {reason}")
        yield None
        return
    with stream_source:
        if stream_source.stream is None:
            if stream_source.has_sound:
                warnings.append(f"{path} has no sound that can be carried over")
        else:
            make = _Copied if _can_be_copied(path) else _Encoded
            try:
                track = make(stream_source, container, warnings)
            except (av.FFmpegError, ValueError) as error:
                warnings.append(f"the sound of {path} was left out: {' '.join(str(error).split())}")
        yield track


def _can_be_copied(path: Path) -> bool:
    """Whether an mp4 takes the first sound track as it is, found by putting one packet into one in memory."""
    with suppress(av.FFmpegError, ValueError, OSError), open_media(path) as source:
        stream = next(s for s in source.streams.audio if s.codec_context is not None)
        if stream.codec_context.codec.canonical_name not in COPIED_CODECS:
            return False
        packet = next((p for p in source.demux(stream) if p.size), None)
        if packet is None:
            return False
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            packet.stream = trial.add_stream_from_template(stream)
            packet.pts = packet.dts = 0
            trial.mux(packet)
        return True
    return False


class _Source:
    """The sound packets of a file from shortly before a moment on. A context manager."""

    def __init__(self, path: Path, start_seconds: float, warnings: list[str]) -> None:
        self.path = path
        self.start_seconds = start_seconds
        self._warnings = warnings
        self._container = open_media(path)
        self.has_sound = bool(self._container.streams.audio)
        self.stream: Any = next((s for s in self._container.streams.audio if s.codec_context is not None), None)

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self._container.close()

    def packets(self) -> Iterator[Any]:
        """Packets in file order; a damaged file ends here, with a warning."""
        if self.start_seconds > 2:
            with suppress(av.FFmpegError):
                self._container.seek(int((self.start_seconds - 1) / self.stream.time_base), stream=self.stream)
        packets = self._container.demux(self.stream)
        try:
            first = next(packets, None)
            if first is not None and first.pts is not None and self.seconds(first.pts) > 0 and self.start_seconds > 2:
                self._container.seek(0)  # the seek went too far
                packets = self._container.demux(self.stream)
            elif first is not None:
                yield first
            yield from packets
        except (av.FFmpegError, OSError) as error:
            self._warnings.append(f"the sound of {self.path} ends early, it is damaged there: {error.strerror}")

    def seconds(self, ticks: int) -> float:
        """Time in the new file of a time stamp of the stream."""
        return float(ticks * self.stream.time_base) - self.start_seconds


class _Copied(AudioTrack):
    """Packets as they are, with new times."""

    def __init__(self, source: _Source, container: Any, warnings: list[str]) -> None:
        super().__init__(source, container, warnings)
        context = source.stream.codec_context
        self._rate = int(context.sample_rate)
        self._samples_per_packet = int(getattr(context, "frame_size", 0) or 0)
        self._packets = self._timed()
        self._next = next(self._packets, None)
        if self._next is None:
            raise ValueError("there is none while these frames last")
        self._out = container.add_stream_from_template(source.stream)
        self._out.time_base = Fraction(1, self._rate)
        self._last = -(2**62)

    def _timed(self) -> Iterator[tuple[int, Any]]:
        """Packets from the one before time 0 on, and when each begins, in samples of the new file."""
        expected: int | None = None
        for packet in self._source.packets():
            if not packet.size:
                continue
            if packet.pts is None:
                if expected is None:
                    continue
                begin = expected
            else:
                begin = round(self._source.seconds(packet.pts) * self._rate)
                # containers that count milliseconds round: packets follow each other without a gap
                if expected is not None and abs(begin - expected) < 0.002 * self._rate:
                    begin = expected
            length = self._samples_per_packet or round((packet.duration or 0) * packet.time_base * self._rate)
            expected = begin + length
            if expected + length > 0 or begin >= 0:
                packet.duration = length
                yield begin, packet

    def write_until(self, seconds: float) -> None:
        while self._next is not None and self._next[0] < seconds * self._rate:
            begin, packet = self._next
            if begin > self._last:  # a track whose times go back cannot be written
                packet.stream = self._out
                packet.time_base = Fraction(1, self._rate)
                packet.pts = packet.dts = self._last = begin
                try:
                    self._container.mux(packet)
                except av.error.InvalidDataError:
                    self._damaged += 1
            self._next = next(self._packets, None)


class _Encoded(AudioTrack):
    """Decoded and encoded again as AAC; gaps of the source become silence."""

    def __init__(self, source: _Source, container: Any, warnings: list[str]) -> None:
        super().__init__(source, container, warnings)
        context = source.stream.codec_context
        self._rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48_000
        layout = context.layout.name
        self._layout = layout if layout in _AAC_LAYOUTS else "mono" if context.channels == 1 else "stereo"
        self._chunks = self._decoded()
        self._next = next(self._chunks, None)
        if self._next is None:
            raise ValueError("nothing of it can be decoded, or there is none while these frames last")
        channels = self._next[1].shape[0]
        self._out = container.add_stream("aac", rate=self._rate, layout=self._layout)
        self._out.bit_rate = _BITS_PER_CHANNEL * channels
        self._silence = np.zeros((channels, self._rate), np.float32)
        self._written = 0

    def _decoded(self) -> Iterator[tuple[int, np.ndarray]]:
        """Samples (channels, n) that end after time 0, and where each array begins in the new file."""
        resampler: Any = None
        last_form: tuple[str, str, int] | None = None
        expected: int | None = None
        for packet in self._source.packets():
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):  # see hdrvid.io.video
                self._damaged += 1
                continue
            for frame in frames:
                begin = expected or 0
                if frame.pts is not None:
                    stamp = float(frame.pts * frame.time_base) - self._source.start_seconds
                    if expected is None or abs(stamp * self._rate - expected) > _RESYNC_SECONDS * self._rate:
                        begin = round(stamp * self._rate)
                frame.pts = None
                if (form := (frame.format.name, frame.layout.name, frame.sample_rate)) != last_form:
                    # a resampler takes one form only, and sources may change theirs
                    resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
                    last_form = form
                for resampled in resampler.resample(frame):
                    samples = resampled.to_ndarray()
                    if begin + samples.shape[1] > 0:
                        yield begin, samples
                    begin += samples.shape[1]
                expected = begin

    def write_until(self, seconds: float) -> None:
        end = round(seconds * self._rate)
        while self._next is not None and self._written < end:
            begin, samples = self._next
            if begin > self._written:
                self._encode(self._silence[:, : min(begin, end) - self._written])
                continue
            part = samples[:, self._written - begin : end - begin]
            if part.shape[1]:
                self._encode(part)
            if self._written >= begin + samples.shape[1]:
                self._next = next(self._chunks, None)

    def finish(self, seconds: float) -> None:
        super().finish(seconds)
        for packet in self._out.encode(None):
            self._container.mux(packet)

    def _encode(self, samples: np.ndarray) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate = self._rate
        frame.time_base = Fraction(1, self._rate)
        frame.pts = self._written
        self._written += samples.shape[1]
        for packet in self._out.encode(frame):
            self._container.mux(packet)
