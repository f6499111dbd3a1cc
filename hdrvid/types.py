"""The nouns of hdrvid: exposure cycles, clips, frames, windows and reconstructions.

Conventions, everywhere:
    stops       log2 of the exposure; the shortest exposure of a cycle is 0 stops.
    exposure    linear multiplier, the shortest exposure of a cycle is 1.
    ldr         display-coded frame, float32, (H, W, 3) RGB in [0, 1].
    radiance    linear, float32, (H, W, 3) RGB; 1.0 is the radiance at which the SHORTEST exposure clips.
    index       0-based position of a frame in the input, never in the requested range.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from hdrvid.color.gamuts import Gamut
from hdrvid.errors import ExposureError
from hdrvid.timecode import Timecode

CYCLE_LENGTHS = (2, 3)
"""Numbers of exposures in a cycle that hdrvid reconstructs."""


@dataclass(frozen=True)
class ExposureCycle:
    """Stops of one cycle, beginning with frame 0 of the clip and repeated over it.

    >>> cycle = ExposureCycle((0, 3))
    >>> cycle.exposure_at(5), cycle.class_at(5)
    (8.0, 'long')
    """

    stops: tuple[float, ...]
    """Stops of each frame of the cycle relative to the shortest one, so that min(stops) == 0."""

    def __post_init__(self) -> None:
        values = tuple(float(s) for s in self.stops)
        if len(values) not in CYCLE_LENGTHS:
            raise ExposureError(
                f"an exposure cycle has 2 or 3 frames, not {len(values)}: give --exposures 0,3 or 0,2,4"
            )
        if not all(np.isfinite(values)):
            raise ExposureError("every exposure must be a finite number of stops: give --exposures 0,3 or 0,2,4")
        lowest = min(values)
        values = tuple(s - lowest for s in values)
        if len(set(values)) != len(values):
            raise ExposureError(f"the exposures of one cycle must differ, got stops {_plain(self.stops)}")
        if max(values) > 12:
            raise ExposureError(
                f"exposures more than 12 stops apart cannot be merged, got stops {_plain(self.stops)}: times and gains "
                "need their unit, as in --exposures 2ms,16ms"
            )
        object.__setattr__(self, "stops", values)

    def __len__(self) -> int:
        return len(self.stops)

    def __str__(self) -> str:
        return _plain(self.stops)

    @property
    def exposures(self) -> tuple[float, ...]:
        """Linear exposures of one cycle, the shortest is 1."""
        return tuple(2.0**s for s in self.stops)

    @property
    def max_exposure(self) -> float:
        """Linear exposure of the longest frame."""
        return max(self.exposures)

    @property
    def window_radius(self) -> int:
        """Neighbours needed on each side of the reference frame: 1 for 2 exposures, 2 for 3."""
        return len(self.stops) - 1

    def stops_at(self, index: int) -> float:
        """Stops of frame `index`."""
        return self.stops[index % len(self.stops)]

    def exposure_at(self, index: int) -> float:
        """Linear exposure of frame `index`."""
        return 2.0 ** self.stops_at(index)

    def class_at(self, index: int) -> str:
        """'short', 'middle' or 'long': the exposure class of frame `index`."""
        return self.class_of(self.stops_at(index))

    def class_of(self, stops: float) -> str:
        """'short', 'middle' or 'long': the class of a frame with these stops, one of the cycle's."""
        rank = sorted(self.stops).index(stops)
        return "short" if rank == 0 else "long" if rank == len(self.stops) - 1 else "middle"

    def window_indices(self, index: int, num_frames: int) -> tuple[int, ...]:
        """Frame indices of the window around `index`, mirrored inside a clip of `num_frames` frames.

        Frame 0 of a 2-exposure clip uses frame 1 as both neighbours: a reflection keeps the parity, so every
        neighbour keeps the exposure it has to have. For 3 exposures a reflection would not, so an index outside the
        clip is replaced by the nearest frame inside it that has the same exposure (two or more frames of each
        exposure are not needed: the one there is serves twice).
        """
        n = len(self.stops)
        if num_frames < n:
            raise ExposureError(
                f"a clip of {num_frames} frame(s) does not hold one cycle of {n} exposures: at least {n} are needed"
            )
        indices = []
        for i in range(index - self.window_radius, index + self.window_radius + 1):
            if i < 0:
                i = i + n if n == 3 else -i
            elif i >= num_frames:
                i = i - n if n == 3 else 2 * (num_frames - 1) - i
            indices.append(i)
        return tuple(indices)

    @classmethod
    def from_stops(cls, stops: Sequence[float]) -> Self:
        """The shortest cycle that explains `stops`, one cycle or one number for every frame of the clip.

        Raises ExposureError when no cycle of 2 or 3 frames repeats over the whole list.
        """
        values = [float(s) for s in stops]
        for n in CYCLE_LENGTHS:
            if len(values) >= n and all(abs(v - values[i % n]) < 1e-6 for i, v in enumerate(values)):
                return cls(tuple(values[:n]))
        raise ExposureError(
            f"{len(values)} exposures were given, but no cycle of 2 or 3 frames repeats over them: "
            "give one cycle, for example --exposures 0,3"
        )


def _plain(stops: Sequence[float]) -> str:
    return ",".join(f"{s:.4g}" for s in stops)


@dataclass(frozen=True)
class FrameNumbers:
    """Numbers of frames in the names of files.

    >>> numbers = FrameNumbers(((0, 1001), (3, 1005)), 4)  # 1004 is missing
    >>> numbers.text(2), numbers.text(3), numbers.index_of("1005"), numbers.index_of("1004")
    ('1003', '1005', 3, None)
    """

    runs: tuple[tuple[int, int], ...] = ((0, 0),)
    """(index, number) where every run of consecutive numbers begins, in order; the first has index 0."""
    digits: int = 6
    """Digits that a number has at least, with zeros in front."""

    def number_of(self, index: int) -> int:
        """The number of frame `index`. The last run has no end."""
        first, number = self.runs[bisect_right(self.runs, index, key=lambda run: run[0]) - 1]
        return number + index - first

    def text(self, index: int) -> str:
        """The number of frame `index` as names have it."""
        return f"{self.number_of(index):0{self.digits}d}"

    def index_of(self, text: str) -> int | None:
        """The frame whose number is written like this; None where there is none."""
        place = bisect_right(self.runs, int(text), key=lambda run: run[1]) - 1
        if place < 0:
            return None
        first, number = self.runs[place]
        index = first + int(text) - number
        return index if self.text(index) == text else None

    def starting_at(self, number: int) -> FrameNumbers:
        """The same gaps, with `number` for the first frame."""
        shift = number - self.runs[0][1]
        return FrameNumbers(tuple((index, n + shift) for index, n in self.runs), self.digits)

    def pattern(self, stem: str, format: str) -> str:
        """The names of files `stem` as a printf pattern."""
        return f"{stem.replace('%', '%%')}.%0{self.digits}d.{format}"


@dataclass(frozen=True)
class FrameMetadata:
    """What a file says of one frame beside its pixels."""

    timecode: Timecode | None = None
    """Its time code."""
    reel: str = ""
    """Name of its reel or card."""
    captured: str = ""
    """When it was taken, 'YYYY:MM:DD hh:mm:ss' by the clock of the camera."""
    utc_offset_seconds: float | None = None
    """What is to be added to that clock for UTC."""
    exposure_seconds: float | None = None
    """Exposure time."""
    iso: float | None = None
    """ISO speed."""
    f_number: float | None = None
    """Focal length over the diameter of the aperture."""
    pixel_aspect: Fraction = Fraction(1)
    """Width of a pixel over its height; above 1 for anamorphic pictures."""


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip before its pixels are read."""

    source: str
    """What the user named: a file, a folder or a pattern."""
    stem: str
    """Base name of every output of this clip."""
    kind: str
    """'video' or 'frames'."""
    width: int
    """Columns of the upright picture, in pixels."""
    height: int
    """Rows of the upright picture, in pixels."""
    num_frames: int | None
    """Frames of the clip where the container or folder tells, else None."""
    frames_per_second: Fraction
    """Average frame rate; 24 for image sequences, which carry none."""
    bit_depth: int
    """Bits a channel of the stored samples (16 for half float, 32 for float)."""
    linear: bool = False
    """True where the samples are scene-linear (EXR, .hdr): no response curve applies."""
    details: dict[str, str] = field(default_factory=dict)
    """Codec, pixel format, colour tags, ... for people to read."""
    transfer: str = ""
    """Transfer function that the file names, as in FFmpeg's `color_trc` (bt709, smpte2084, arib_std_b67, ...); '' where
    it names none."""
    gamut: Gamut | None = None
    """Primaries that the file names: its tag, ICC profile or EXR chromaticities; None where it names none."""
    first: FrameMetadata = FrameMetadata()
    """Of the first frame; the shape of its pixels is that of all."""
    numbers: FrameNumbers | None = None
    """Numbers in the names of the files of an image sequence; None where they have none, and for videos."""


@dataclass(frozen=True)
class Frame:
    """One decoded frame."""

    index: int
    """0-based position in the input."""
    pixels: np.ndarray
    """(H, W, 3) float32 RGB: display-coded in [0, 1], or scene-linear where `ClipInfo.linear`."""
    pts_seconds: float
    """Presentation time."""
    num_missing: int = 0
    """Frames that seem to be missing before this one: times that were even jump, or the numbers of the files."""

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, pixels={self.pixels.shape}, pts_seconds={self.pts_seconds:.4f})"


class ClipReader(Protocol):
    """One interface for videos, folders and patterns. A context manager; frames come in order, one at a time."""

    info: ClipInfo

    def frames(
        self, start: int = 0, stop: int | None = None, on_damage: Callable[[int, str], None] | None = None
    ) -> Iterator[Frame]:
        """Frames `start` <= index < `stop`, in order. Raises InputError where the clip is damaged.

        With `on_damage` a damaged frame is reported there, with its index and a sentence, and left out; the frames
        behind it keep their indices.
        """
        ...

    def metadata(self, index: int) -> FrameMetadata:
        """What the file says of frame `index` beside its pixels. Reads no pixels, and never fails."""
        ...

    def warnings(self) -> list[str]:
        """What was noticed while reading that the user should know (a clip that ended early, say)."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True)
class Window:
    """A reference frame and its neighbours: what a reconstructor is given."""

    index: int
    """Index of the reference frame in the clip."""
    frames: tuple[np.ndarray, ...]
    """3 (2 exposures) or 5 (3 exposures) frames in time order, (H, W, 3) float32, coded with gamma 2.2, in [0, 1]."""
    exposures: tuple[float, ...]
    """Linear exposure of each frame; the shortest exposure of the clip is 1."""

    @property
    def reference(self) -> np.ndarray:
        """The middle frame."""
        return self.frames[len(self.frames) // 2]

    def __repr__(self) -> str:
        return (
            f"Window(index={self.index}, frames={len(self.frames)}x{self.reference.shape}, exposures={self.exposures})"
        )


@dataclass(frozen=True)
class Reconstruction:
    """One HDR frame."""

    radiance: np.ndarray
    """(H, W, 3) float32, finite, >= 0; 1.0 = clipping of the shortest exposure."""
    flow_px: np.ndarray | None = None
    """(K, H, W, 2) float32 backward flow in pixels from the reference to the K aligned neighbours, where asked for."""
    weights: np.ndarray | None = None
    """(C, H, W, 3) float32 blend weights, if asked for: reference, K aligned neighbours, a model's further ones."""

    def __repr__(self) -> str:
        return f"Reconstruction(radiance={self.radiance.shape})"


class Reconstructor(Protocol):
    """A model ready to run: device, precision and tiling are settled, frames of any size go in."""

    name: str
    num_exposures: int
    provenance: dict[str, str]
    notes: list[str]
    """What the user should know of the frames made so far, in sentences."""
    look_ahead: int
    """Windows after the present one that it gains from being told of."""

    def expect(self, window: Window) -> None:
        """`reconstruct` will be called with this very window soon: what can be done beside others may begin."""
        ...

    def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
        """The HDR frame at the window's reference; flow and weights too where `diagnostics`."""
        ...


PathLike = str | Path
