"""One run over one clip: what was opened and measured, and the names and numbers that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdrvid.color.gamuts import GAMUTS, REC709, Gamut, convert
from hdrvid.color.half import HALF_MAX, from_half, to_half
from hdrvid.detect.clip import Detection
from hdrvid.errors import InputError, ModelError, UsageError
from hdrvid.io.exr import LOSSY_COMPRESSIONS
from hdrvid.metrics.unmeasured import unmeasured
from hdrvid.options.reconstruct import VIDEO_SUFFIXES
from hdrvid.pipeline.options import ReconstructOptions, exr_compression, parse_white
from hdrvid.pipeline.settings import frame_settings
from hdrvid.ranks import Ranks
from hdrvid.timecode import Timecode
from hdrvid.types import ClipInfo, ClipReader, Exposures, FrameNumbers, Reconstructor

LARGE_PIXELS = 12_000_000
"""Frames larger than this (DCI 4K is not) take hundreds of megabytes: one of them waits for the network, and the
preview reads them back from their files."""


START_DIGITS = 4
"""Digits of the numbers that `--start-number` gives to frames without numbers of their own."""


@dataclass(frozen=True, repr=False)
class Job:
    """What is fixed before the first frame of a run is made."""

    reader: ClipReader
    """The clip."""
    detection: Detection
    """What the clip was found to be."""
    exposures: Exposures
    """Its exposures."""
    reconstructor: Reconstructor
    """The model."""
    options: ReconstructOptions
    """What the user asked for."""
    out: Path
    """Folder of the results."""
    first: int
    """First frame of the range."""
    last: int | None
    """Last frame of the range; None: the end of the clip."""
    ranks: Ranks
    """The processes that share the work."""

    @property
    def info(self) -> ClipInfo:
        """Size, rate and length of the clip."""
        return self.reader.info

    @cached_property
    def white(self) -> float:
        """File value at which the longest exposure clips."""
        return parse_white(self.options.white, self.exposures)

    @property
    def scale(self) -> float:
        """Factor from radiance (1.0 = clipping of the shortest exposure) to file values."""
        return self.white * self.exposures.max_exposure

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the pixels of the first frame."""
        return frame_settings(self.options, self.exposures, self.detection, self.reconstructor)

    @property
    def name(self) -> str:
        """Stem of the report and the videos; parts of a clip, from several machines in one folder, have their own."""
        if self.options.frame_range is None:
            return self.info.stem
        return part_name(self.info.stem, self.options.frame_range)

    @property
    def report_path(self) -> Path:
        """Where the report goes."""
        return self.out / f"{self.name}.json"

    def video_path(self, kind: str) -> Path:
        """Where the video of this kind goes, a key of VIDEO_SUFFIXES."""
        return self.out / f"{self.name}.{kind}.{VIDEO_SUFFIXES[kind]}"

    def frame_path(self, index: int) -> Path:
        """Where frame `index` goes."""
        return self.out / f"{self.info.stem}.{self.numbers.text(index)}.{self.frame_format}"

    @cached_property
    def numbers(self) -> FrameNumbers:
        """Numbers of the frames in the names of their files: those of the clip's own files, or as asked for."""
        start = self.options.start_number
        if start is None:
            numbers = self.info.numbers or FrameNumbers()
        else:
            numbers = (self.info.numbers or FrameNumbers(digits=START_DIGITS)).starting_at(start)
        if self.info.tracks == 1:
            return numbers
        made = [k for k, stops in enumerate(self.exposures.stops) if self.is_wanted(k, stops)]
        return numbers.of_moments(self.info.tracks, made[0])

    @property
    def audio_from(self) -> Path | None:
        """The file whose sound the videos get."""
        return Path(self.info.source) if self.options.audio and self.info.kind == "video" else None

    @property
    def frame_format(self) -> Literal["exr", "hdr"]:
        """Format of the frames."""
        return "hdr" if self.options.format == "hdr" else "exr"

    @property
    def is_lossless(self) -> bool:
        """Whether a file holds exactly the floats that were written."""
        return self.frame_format == "exr" and self.compression not in LOSSY_COMPRESSIONS

    @property
    def compression(self) -> str:
        """EXR compression of the frames."""
        return exr_compression(self.options)

    @property
    def gamut(self) -> Gamut:
        """Primaries of the frames."""
        return GAMUTS[self.options.primaries]

    @property
    def is_large(self) -> bool:
        """Whether a frame has more than LARGE_PIXELS."""
        return self.info.width * self.info.height > LARGE_PIXELS

    @property
    def expected_frames(self) -> int | None:
        """Results of the range, at least 1; None where only the end of the file will tell."""
        ends = [n for n in (self.last, self.info.num_frames and self.info.num_frames - 1) if n is not None]
        if not ends:
            return None
        # by places in the cycle: the end of a range may be any number
        last, period = min(ends), self.exposures.period or 1
        places = [range(self.first + k, last + 1, period) for k in range(period)]
        if not self.makes_all and self.exposures.period is not None:
            places = [p for p in places if self.is_wanted(p.start % period, self.exposures.stops_at(p.start))]
        return max(1, sum(len(p) for p in places))

    @property
    def makes_all(self) -> bool:
        """Whether every frame gets a result."""
        return self.options.only == "all" and self.options.every == "frame"

    @cached_property
    def _wanted_level(self) -> int | None:
        """The level of exposure that is made, counted from 0; None: all."""
        only, count = self.options.only, self.exposures.num_levels
        if only.isdecimal():
            return int(only) - 1
        if only == "all" and self.info.tracks > 1:
            return self.exposures.level_of(self.exposures.stops[0])
        if only == "all" and self.options.every == "bracket":
            return count // 2
        return {"short": 0, "long": count - 1}.get(only)

    def is_wanted(self, phase: int, stops: float) -> bool:
        """Whether a frame at this place of the cycle, with these stops, is made; see `--only` and `--every`."""
        if self.makes_all:
            return True
        level = self.exposures.level_of(stops)
        if self._wanted_level is not None and level != self._wanted_level:
            return False
        if self.options.only == "middle" and not 0 < level < self.exposures.num_levels - 1:
            return False
        if self.options.every != "bracket":
            return True
        # the first of its level: a cycle may have one exposure several times
        levels = [self.exposures.level_of(s) for s in self.exposures.stops]
        return levels.index(level) == phase

    @property
    def video_rate(self) -> Fraction:
        """Frames per second of the videos."""
        rate, period = Fraction(self.info.frames_per_second), self.exposures.period
        if self.makes_all or period is None or self.info.tracks > 1:
            return rate
        made = [k for k, stops in enumerate(self.exposures.stops) if self.is_wanted(k, stops)]
        return rate * len(made) / period

    def video_timecode(self, index: int) -> Timecode | None:
        """Time code of a video whose first frame is `index`; None where there is none, or the rate has none."""
        code = self.reader.metadata(index).timecode
        if code is None or code.counted_rate != round(self.info.frames_per_second):
            return None
        return code if self.makes_all else code.at_rate(round(self.video_rate))

    def rec709_radiance(self, radiance: np.ndarray) -> np.ndarray:
        """Radiance (H, W, 3) of the clip's primaries in Rec. 709: colours outside it get negative components."""
        return self._converted(radiance, REC709)

    def _converted(self, radiance: np.ndarray, gamut: Gamut) -> np.ndarray:
        """Radiance (H, W, 3) of the clip in other primaries. The mean of the channels in all three where it is grey."""
        if self.info.one_channel:
            return np.repeat(radiance.mean(axis=-1, keepdims=True), 3, axis=-1)
        return convert(radiance, self.detection.gamut, gamut)

    def file_values(self, radiance: np.ndarray) -> np.ndarray:
        """Radiance (H, W, 3) of the clip's primaries as the file holds it: in its primaries, scaled.

        float16 for EXR of half floats, else float32.
        """
        radiance = self._converted(radiance, self.gamut)
        if self.frame_format == "hdr":
            radiance = np.maximum(radiance, np.float32(0))
        values = radiance * np.float32(self.scale)
        if self.options.depth == "float":
            return values
        values = np.minimum(values, np.float32(HALF_MAX))
        return to_half(values) if self.frame_format == "exr" else values

    def unmeasured(
        self, viewed: np.ndarray, reference: np.ndarray, stops: Sequence[float], step: int = 1
    ) -> np.ndarray:
        """Where the result of a frame is a bound and no measurement, (H / step, W / step) bool, of every `step`-th row
        and column; `viewed` is what `viewed` returns, `reference` (H, W, 3) the frame in network code, `stops` those of
        its window."""
        values = viewed[::step, ::step]
        floats = from_half(values) if values.dtype == np.float16 else values
        radiance = floats / np.float32(self.scale)
        if not self.info.one_channel:
            radiance = convert(radiance, REC709, self.detection.gamut)
        exposures, black = [2.0**s for s in stops], self.detection.response.black_code
        return unmeasured(radiance, reference[::step, ::step], exposures, black)

    @property
    def is_grey_file(self) -> bool:
        """Whether the frames have the channel Y alone."""
        return self.info.one_channel and self.frame_format == "exr"

    def viewed(self, file_values: np.ndarray) -> np.ndarray:
        """File values (H, W, 3) with Rec. 709 primaries, as `hdrvid.pipeline.resume.read_output` gives them."""
        if self.gamut == REC709:
            return file_values
        floats = from_half(file_values) if file_values.dtype == np.float16 else file_values
        return convert(floats, self.gamut, REC709)


def part_name(stem: str, frame_range: tuple[int, int]) -> str:
    """What stands for STEM in the names of the report and the videos of a part of a clip, as `--frames` makes it.

    >>> part_name("shot", (240, 479))
    'shot.000240-000479'
    """
    return f"{stem}.{frame_range[0]:06d}-{frame_range[1]:06d}"


def require_class(options: ReconstructOptions, exposures: Exposures) -> None:
    """Raise UsageError where `--only` or `--every` names what the exposures do not have."""
    count = exposures.num_levels
    if options.only == "middle" and count == 2:
        raise UsageError("the clip has two exposures, so there is no middle one: --only short or --only long")
    if options.only.isdecimal() and not 1 <= int(options.only) <= count:
        raise UsageError(f"the clip has {count} exposures: --only takes 1, the shortest, to {count}")
    if options.every == "bracket" and exposures.period is None:
        raise UsageError("the exposures do not repeat, so there are no brackets: leave out --every, or take --only")


def require_colours(options: ReconstructOptions, info: ClipInfo) -> None:
    """Raise UsageError where `--primaries` names those of a clip without colours."""
    if info.one_channel and options.primaries != "rec709":
        raise UsageError(f"{info.source} is grey, so --primaries {options.primaries} has no meaning: leave it out")


def require_windows(reconstructor: Reconstructor, exposures: Exposures) -> None:
    """Raise ModelError where a model takes windows of plain cycles alone, and the clip has others."""
    if not exposures.is_plain and not getattr(reconstructor, "takes_any_window", True):
        raise ModelError(
            f"model '{reconstructor.name}' is for cycles of 2 or 3 exposures, each once, not for {exposures}: use "
            "--model default, fast or classical"
        )


def frame_range(options: ReconstructOptions, info: ClipInfo) -> tuple[int, int | None]:
    """First and last frame of a run. Raises InputError where the clip ends before the first."""
    if options.frame_range is None:
        return 0, None
    first, last = options.frame_range
    if info.tracks > 1:  # counted in moments
        first, last = first * info.tracks, (last + 1) * info.tracks - 1
    # a container's count is a hint, a folder's is a fact
    if info.kind == "frames" and info.num_frames is not None and first >= info.num_frames:
        raise beyond_the_end(info, first, last, info.num_frames)
    return first, last


def beyond_the_end(info: ClipInfo, first: int, last: int | None, num_frames: int) -> InputError:
    """The error of a range that begins behind the last frame."""
    what = "frames"
    if info.tracks > 1:
        what, num_frames, first = "moments", num_frames // info.tracks, first // info.tracks
        last = None if last is None else last // info.tracks
    return InputError(
        f"{info.source} has {num_frames} {what} (0-{num_frames - 1}), so --frames {first}-{last} selects none of them"
    )
