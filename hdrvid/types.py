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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from hdrvid.color.gamuts import Gamut
from hdrvid.errors import ExposureError
from hdrvid.timecode import Timecode

NETWORK_EXPOSURES = (2, 3)
"""Numbers of exposures that there are networks for: windows of 3 and of 5 frames."""

MAX_CYCLE_FRAMES = 9
"""Frames of the longest cycle of exposures: one that a camera repeats."""

MAX_STOPS_APART = 12.0
"""Exposures further apart cannot be merged."""

SAME_LEVEL_STOPS = 0.5
"""Exposures closer than this are one level: 0.998 and 1.001 ms, or a light that drifts."""


@dataclass(frozen=True)
class Exposures:
    """The exposure of every frame of a clip. `ExposureCycle` and `ExposureList` are the two kinds."""

    stops: tuple[float, ...]
    """Stops of each frame of the cycle or the list relative to the shortest one, so that min(stops) == 0."""
    deviations: tuple[float, ...] = field(default=(), compare=False)
    """Of a cycle: by how many stops each frame of the clip, from frame 0 on, was exposed longer than its place in the
    cycle says, as the camera recorded it; () where that is not known."""

    def _settle(self) -> None:
        """Bring the shortest exposure to 0 stops. Raises ExposureError for what cannot be merged."""
        values = tuple(float(s) for s in self.stops)
        if not all(np.isfinite(values)):
            raise ExposureError("every exposure must be a finite number of stops: give --exposures 0,3 or 0,2,4")
        lowest = min(values)
        values = tuple(s - lowest for s in values)
        if max(values) > MAX_STOPS_APART:
            raise ExposureError(
                f"exposures more than 12 stops apart cannot be merged, got stops {_plain(self.stops)}: times and gains "
                "need their unit, as in --exposures 2ms,16ms"
            )
        object.__setattr__(self, "stops", values)

    def __str__(self) -> str:
        return _plain(self.stops)

    @property
    def max_exposure(self) -> float:
        """Linear exposure of the longest frame; the shortest is 1."""
        return 2.0 ** max(self.stops)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """The different exposures, in stops, ascending: each the mean of those that are no SAME_LEVEL_STOPS apart."""
        if self.is_plain:
            return tuple(sorted(self.stops))
        return tuple(sum(group) / len(group) for group in grouped(self.stops, SAME_LEVEL_STOPS))

    @property
    def num_levels(self) -> int:
        """Number of different exposures, see `levels`."""
        return len(self.levels)

    @property
    def num_classes(self) -> int:
        """Classes of exposure that occur, see `class_of`: 2 or 3."""
        return min(self.num_levels, 3)

    @property
    def network_exposures(self) -> int:
        """For how many exposures the networks must be that merge this clip: 2 or 3."""
        return min(self.num_levels, max(NETWORK_EXPOSURES))

    @property
    def period(self) -> int | None:
        """Frames after which the exposures repeat; None where they do not."""
        raise NotImplementedError

    @property
    def is_plain(self) -> bool:
        """Whether it is a cycle of the networks: 2 or 3 frames, each of another exposure."""
        return self.period in NETWORK_EXPOSURES and len(set(self.stops)) == len(self.stops)

    def stops_at(self, index: int) -> float:
        """Stops of frame `index`."""
        raise NotImplementedError

    def recorded_stops(self, index: int, stops: float) -> float:
        """Stops that frame `index` was shot with, of a place of the cycle with `stops`."""
        return round(stops + self.deviations[index], 4) if index < len(self.deviations) else stops

    def exposure_at(self, index: int) -> float:
        """Linear exposure of frame `index`."""
        return 2.0 ** self.stops_at(index)

    def class_at(self, index: int) -> str:
        """'short', 'middle' or 'long': the exposure class of frame `index`."""
        return self.class_of(self.stops_at(index))

    def level_of(self, stops: float) -> int:
        """The level, counted from 0, that a frame with these stops has."""
        return min(range(self.num_levels), key=lambda k: abs(self.levels[k] - stops))

    def class_of(self, stops: float) -> str:
        """'short', 'middle' or 'long': the class of a frame with these stops. All between the ends are 'middle'."""
        level = self.level_of(stops)
        return "short" if level == 0 else "long" if level == self.num_levels - 1 else "middle"


@dataclass(frozen=True)
class ExposureCycle(Exposures):
    """Stops of one cycle, beginning with frame 0 of the clip and repeated over it.

    >>> cycle = ExposureCycle((0, 3))
    >>> cycle.exposure_at(5), cycle.class_at(5)
    (8.0, 'long')
    >>> ExposureCycle((0, 2, 4, 2)).num_levels
    3
    """

    def __post_init__(self) -> None:
        if not 2 <= len(self.stops) <= MAX_CYCLE_FRAMES:
            raise ExposureError(
                f"an exposure cycle has 2 to {MAX_CYCLE_FRAMES} frames, not {len(self.stops)}: give --exposures 0,3 or "
                "0,2,4, or a file with the exposure of every frame"
            )
        if len(set(self.stops)) == 1:
            raise ExposureError(f"the exposures of one cycle must differ, got stops {_plain(self.stops)}")
        self._settle()
        for n in range(2, len(self.stops)):
            if len(self.stops) % n == 0 and self.stops == self.stops[:n] * (len(self.stops) // n):
                object.__setattr__(self, "stops", self.stops[:n])
                break

    def __len__(self) -> int:
        return len(self.stops)

    @property
    def exposures(self) -> tuple[float, ...]:
        """Linear exposures of one cycle, the shortest is 1."""
        return tuple(2.0**s for s in self.stops)

    @property
    def period(self) -> int:
        """Frames of the cycle."""
        return len(self.stops)

    @property
    def window_radius(self) -> int:
        """Frames between the reference and the ends of a window of a plain cycle: 1 for 2 exposures, 2 for 3."""
        return len(self.stops) - 1

    def stops_at(self, index: int) -> float:
        """Stops of frame `index`."""
        return self.stops[index % len(self.stops)]

    def window_indices(self, index: int, num_frames: int) -> tuple[int, ...]:
        """Frame indices of the window around `index`, mirrored inside a clip of `num_frames` frames.

        Of a plain cycle. Others have windows that are chosen (`hdrvid.detect.window_choice`).
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

        Raises ExposureError when no cycle of 2 to MAX_CYCLE_FRAMES frames repeats over the whole list.
        """
        values = [float(s) for s in stops]
        n = cycle_length(values, 1e-6)
        if n is None:
            raise ExposureError(
                f"{len(values)} exposures were given, but no cycle of 2 to {MAX_CYCLE_FRAMES} frames repeats over "
                "them: give one cycle, for example --exposures 0,3, or a file with the exposure of every frame"
            )
        return cls(tuple(values[:n]))


@dataclass(frozen=True)
class ExposureList(Exposures):
    """Stops of every frame of a clip, beginning with frame 0, where no cycle repeats.

    >>> exposures = ExposureList((0, 3, 3, 0, 0, 3, 0, 3.1, 0, 0))
    >>> exposures.stops_at(7), exposures.num_levels, exposures.period
    (3.1, 2, None)
    """

    def __post_init__(self) -> None:
        if len(self.stops) < 2:
            raise ExposureError("one exposure is no bracket: give the exposure of every frame")
        self._settle()
        if max(self.stops) < SAME_LEVEL_STOPS:
            raise ExposureError(f"the exposures of a clip must differ, got stops {_plain(self.stops)}")

    def __len__(self) -> int:
        return len(self.stops)

    @cached_property
    def levels(self) -> tuple[float, ...]:
        """As in `Exposures`; where exposures drift from one to the next, the ends and the middle of their range."""
        groups = Exposures.levels.func(self)  # type: ignore[attr-defined]
        if len(groups) > 1:
            return tuple(groups)
        longest = max(self.stops)
        return (0.0, longest / 2, longest)

    @cached_property
    def network_exposures(self) -> int:
        """As in `Exposures`, by the frames that are near in time: a light that drifts makes no further exposures."""
        reach = max(NETWORK_EXPOSURES)
        counts = [1]
        for i in range(len(self.stops)):
            near = sorted(self.stops[max(0, i - reach) : i + reach + 1])
            counts.append(1 + sum(b - a >= SAME_LEVEL_STOPS for a, b in pairwise(near)))
        return min(max(2, *counts), max(NETWORK_EXPOSURES))

    @property
    def period(self) -> None:
        """None: nothing repeats."""
        return None

    def stops_at(self, index: int) -> float:
        """Stops of frame `index`. Raises ExposureError where the list ends before it."""
        if not 0 <= index < len(self.stops):
            raise ExposureError(
                f"the exposures of {len(self.stops)} frames are known, but the clip has a frame {index}: give the "
                "exposure of every frame"
            )
        return self.stops[index]


def grouped(values: Iterable[float], gap: float) -> list[list[float]]:
    """Values in groups, ascending; between two groups there is at least `gap`.

    >>> grouped([0, 3, 0.25, 3.5], 0.5)
    [[0, 0.25], [3], [3.5]]
    """
    groups: list[list[float]] = []
    for value in sorted(values):
        if groups and value - groups[-1][-1] < gap:
            groups[-1].append(value)
        else:
            groups.append([value])
    return groups


def plain_cycle(exposures: Exposures, name: str = "--exposures") -> ExposureCycle:
    """The exposures, where they are a cycle of 2 or 3, each once. Raises ExposureError where not, with their `name`."""
    if isinstance(exposures, ExposureCycle) and exposures.is_plain:
        return exposures
    raise ExposureError(
        f"{name} must be a cycle of 2 or 3 exposures here, each once, like 0,3 or 0,2,4, not {exposures}"
    )


def cycle_length(
    stops: Sequence[float], tolerance: float, typical: Callable[[Sequence[float]], float] = itemgetter(0)
) -> int | None:
    """Frames of the shortest cycle of different exposures that repeats over `stops` to a tolerance in stops; None where
    there is none. A cycle with an exposure twice must be there twice, or be the whole of `stops`.

    `typical`: of the stops at one place of the cycle, what the others are compared with; the first one by default.

    >>> cycle_length([0, 2, 4, 2, 0, 2, 4, 2, 0], 1e-6), cycle_length([0, 3, 3, 0, 0, 3, 0, 3, 0, 0, 3], 1e-6)
    (4, None)
    >>> cycle_length([0, 3, 0], 1e-6), cycle_length([0, 3, 3, 0], 1e-6)
    (2, 4)
    """
    for n in range(2, min(MAX_CYCLE_FRAMES, len(stops)) + 1):
        places = [typical(stops[k::n]) for k in range(n)]
        steps = [b - a for a, b in pairwise(sorted(places))]
        is_there = len(stops) == n or len(stops) >= 2 * n or min(steps) > tolerance
        if is_there and all(abs(s - places[i % n]) <= tolerance for i, s in enumerate(stops)):
            return n if max(stops) - min(stops) > tolerance else None
    return None


def _plain(stops: Sequence[float]) -> str:
    shown = [f"{s:.4g}" for s in stops]
    return ",".join(shown if len(shown) <= 12 else [*shown[:8], "...", shown[-1]])


def run_texts(indices: Sequence[int]) -> list[tuple[str, int]]:
    """Runs of consecutive indices, in order, as text, and how many indices each has.

    >>> run_texts([3, 5, 6, 7])
    [('3', 1), ('5-7', 3)]
    """
    runs: list[list[int]] = []
    for i in indices:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return [(str(a) if a == b else f"{a}-{b}", b - a + 1) for a, b in runs]


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
    step: int = 1
    """Frames that share a number: those of one moment, of which one gets a result."""
    offset: int = 0
    """Place of that one among them."""

    def number_of(self, index: int) -> int:
        """The number of frame `index`. The last run has no end."""
        first, number = self.runs[bisect_right(self.runs, index, key=lambda run: run[0]) - 1]
        return number + (index - first) // self.step

    def text(self, index: int) -> str:
        """The number of frame `index` as names have it."""
        return f"{self.number_of(index):0{self.digits}d}"

    def index_of(self, text: str) -> int | None:
        """The frame whose number is written like this; None where there is none."""
        place = bisect_right(self.runs, int(text), key=lambda run: run[1]) - 1
        if place < 0:
            return None
        first, number = self.runs[place]
        index = first + (int(text) - number) * self.step + self.offset
        return index if self.text(index) == text else None

    def starting_at(self, number: int) -> FrameNumbers:
        """The same gaps, with `number` for the first frame."""
        shift = number - self.runs[0][1]
        return replace(self, runs=tuple((index, n + shift) for index, n in self.runs))

    def of_moments(self, step: int, offset: int) -> FrameNumbers:
        """These numbers for moments of `step` frames each, of which the one at `offset` gets a result.

        >>> FrameNumbers().of_moments(2, 1).text(7), FrameNumbers().of_moments(2, 1).index_of("000003")
        ('000003', 7)
        """
        return replace(self, runs=tuple((index * step, n) for index, n in self.runs), step=step, offset=offset)

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
    tracks: int = 1
    """Files whose frames show the same moments in turn (`hdrvid.io.tracks`)."""
    one_channel: bool = False
    """Whether the samples are grey: the frames have it in all three channels."""
    compressed: bool = False
    """Whether a codec has taken detail away, as far as the file tells (`hdrvid.io.compression`)."""


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
    """3 or 5 frames, the reference in the middle, those before it, those behind it: (H, W, 3) float32, coded with gamma
    2.2, in [0, 1]."""
    exposures: tuple[float, ...]
    """Linear exposure of each frame; the shortest exposure of the clip is 1."""
    times: tuple[float, ...] | None = None
    """When each was shot, in frames from the reference; None: one after another."""
    black: float = 0.0
    """Code at or below which a frame is black: what it shows there may be anything up to this."""

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
