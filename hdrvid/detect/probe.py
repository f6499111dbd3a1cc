"""The first frames of a clip, read once, and what they are reduced to: the questions of `detect.clip` are put to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.color.response import Response
from hdrvid.detect.cycle import (
    PROBE_FRAMES,
    probed,
)
from hdrvid.detect.levels import FoundLevels, find_levels
from hdrvid.detect.response import (
    FrameLevels,
    frame_levels,
)
from hdrvid.errors import InputError
from hdrvid.io.frames import FramesReader
from hdrvid.io.samples import SampleFormat
from hdrvid.io.tracks import TracksReader
from hdrvid.io.video import VideoReader
from hdrvid.types import ClipReader

KEPT_PROBE_BYTES = 256 << 20
"""Frames that are looked at are decoded once where all of them take no more than this."""

PILE_SHARES = (4e-4, 0.01)
"""Share of the samples in a pile, at least, and above it, at most."""

PILE_CONTRAST = 2.0
"""How many times denser than the codes below it a pile is."""

FIELD_STOPS = 0.5
"""The fields of a frame that are further apart are different exposures."""

FIELD_FRAMES = 4
"""Frames whose fields are compared."""

REPEATED_CODE = 0.004
"""Mean difference of code between a frame and its repetition, at the most; video coding makes the two differ."""

REPEATED_RATIO = 6.0
"""A step to a new frame changes the picture this many times more than a step to a repetition."""


@dataclass
class Probe:
    """The first frames of a clip, subsampled, and what they were reduced to. Made by `read_probe`."""

    reader: ClipReader
    frames: list[np.ndarray] | None
    """(h, w, 3) codes of every frame looked at; None where they take too much memory and are decoded again."""
    count: int
    """Frames looked at."""
    levels: list[FrameLevels]
    """Histograms of the frames, repetitions left out."""
    brightest: float
    """Largest value of all."""
    clip_codes: tuple[float | None, ...]
    """Codes below 1 at which R, G and B pile up, where they do."""
    repeats: tuple[int, int]
    """As in `Detection`."""
    found: FoundLevels = field(default_factory=FoundLevels)
    """Codes of black and white."""
    warnings: list[str] = field(default_factory=list)
    """What was noticed."""

    @property
    def clip_code(self) -> float | None:
        """Code below 1 at which all channels clip: a bright wall piles up too, but at another code in each."""
        codes = [code for code in self.clip_codes if code is not None]
        return float(np.median(codes)) if len(codes) == 3 and max(codes) - min(codes) < 0.01 else None

    def codes(self) -> Iterator[np.ndarray]:
        """The frames, repetitions left out."""
        every, first = self.repeats
        source = self.frames if self.frames is not None else probed(self.reader)
        for index, pixels in enumerate(itertools.islice(source, self.count)):
            if (index + first) % every == 0 or (index == 0 and every > 1):
                yield pixels

    def linear(self, response: Response) -> Iterator[np.ndarray]:
        """The same in linear light, float32."""
        for pixels in self.codes():
            yield np.asarray(response.linearize(pixels), np.float32)


def read_probe(reader: ClipReader, samples: SampleFormat = SampleFormat()) -> Probe:  # noqa: B008 -- frozen
    """Read the first frames, after the levels of the reader have been set.

    Raises InputError where fewer than two can be read because the clip is damaged, and as `find_levels`.
    """
    found = find_levels(reader, samples)
    if isinstance(reader, FramesReader | VideoReader | TracksReader):
        reader.set_levels(found.levels)
    info = reader.info
    warnings = [*found.warnings]
    scan = info.details.get("scan", "")
    if scan.startswith("interlaced") and isinstance(reader, VideoReader) and (stops := _field_stops(reader)):
        warnings.append(
            f"{info.source} is interlaced, and the two fields of its frames are {stops:.1f} stops apart: if the "
            "exposure alternates by fields, separate them first, for example with ffmpeg -vf separatefields"
        )
    elif scan == "interlaced":
        warnings.append(f"{info.source} is interlaced, so every frame holds two moments: give --deinterlace")
    elif scan.startswith("not marked"):
        warnings.append(
            f"{info.source} is not marked as interlaced: if it has no fields, --deinterlace takes half of its rows away"
        )
    frames: list[np.ndarray] = []
    reduced: list[Future[FrameLevels]] = []
    small: list[np.ndarray] = []
    count, brightest = 0, 0.0
    with ThreadPoolExecutor(1) as background:
        try:
            for pixels in probed(reader):
                count += 1
                brightest = max(brightest, float(pixels.max()))
                if pixels.nbytes * PROBE_FRAMES <= KEPT_PROBE_BYTES:
                    frames.append(np.ascontiguousarray(pixels))
                reduced.append(background.submit(frame_levels, pixels))
                small.append(_small(pixels))
        except InputError:
            # a clip damaged near its start is still measured on what there is; the run reports the damage itself
            if count < 2:
                raise
        levels = [item.result() for item in reduced]
    repeats = (1, 0) if info.linear else _repeats(small)
    every, first = repeats
    if every > 1:
        levels = [level for i, level in enumerate(levels) if (i + first) % every == 0 or i == 0]
    kept = frames if len(frames) == count else None
    result = Probe(reader, kept, count, levels, brightest, (None,) * 3, repeats, found, warnings)
    if not info.linear:
        result.clip_codes = _clip_codes(result.codes())
    return result


def _field_stops(reader: VideoReader) -> float:
    """How far apart the exposures of the two fields of a frame are, in stops, about; 0 below FIELD_STOPS."""
    steps = []
    for pixels in reader.stored(FIELD_FRAMES):
        first, second = (float(np.mean(pixels[row::2].astype(np.float64) ** NETWORK_GAMMA)) for row in (0, 1))
        steps.append(abs(float(np.log2(max(first, 1e-9) / max(second, 1e-9)))))
    stops = float(np.median(steps)) if steps else 0.0
    return stops if stops > FIELD_STOPS else 0.0


def _small(pixels: np.ndarray) -> np.ndarray:
    """(h, w) mean of the channels, at most 96 wide: repetitions are recognised by it."""
    step = max(1, pixels.shape[1] // 384)
    subsampled = np.ascontiguousarray(pixels[::step, ::step], np.float32)
    width = min(96, subsampled.shape[1])
    return cv2.resize(subsampled, (width, max(1, round(subsampled.shape[0] * width / subsampled.shape[1])))).mean(-1)


def _repeats(pictures: Sequence[np.ndarray]) -> tuple[int, int]:
    """(k, r) where every frame is shown k = 2 or 3 times, see `Detection.repeats`; (1, 0) where not."""
    steps = np.array([np.abs(b - a).mean() for a, b in itertools.pairwise(pictures)])
    for every in (2, 3):
        if len(steps) < 3 * every:
            continue
        for first in range(every):
            # step i leads to frame i + 1
            changes = np.array([(i + 1 + first) % every == 0 for i in range(len(steps))])
            still, moving = steps[~changes], steps[changes]
            if still.max() <= REPEATED_CODE and moving.min() > REPEATED_RATIO * max(float(still.max()), 5e-4):
                return every, first
    return 1, 0


def _clip_codes(frames: Iterator[np.ndarray]) -> tuple[float | None, ...]:
    """Codes below 1 at which the samples of R, G and B pile up below the brightest; None where they do not."""
    histogram = np.zeros((3, 512))
    for pixels in frames:
        for channel in range(3):
            histogram[channel] += _histogram512(pixels, channel)
    return tuple(_pile(row / max(row.sum(), 1.0)) for row in histogram)


def _histogram512(pixels: np.ndarray, channel: int) -> np.ndarray:
    """`numpy.histogram` of a channel of float32 codes, 512 bins from 0 to 1, in half the time: widths of a power of two
    are exact in both."""
    given = np.ascontiguousarray(pixels, np.float32)
    if not np.isfinite(given.sum()):
        return np.histogram(pixels[..., channel], 512, (0.0, 1.0))[0]
    counts = np.ravel(cv2.calcHist([given], [channel], None, [512], [0.0, 1.0])).astype(np.int64)
    counts[-1] += np.count_nonzero(pixels[..., channel] == 1.0)  # which OpenCV leaves out
    return counts


def _pile(share: np.ndarray) -> float | None:
    """Code of the narrow peak at the upper end of a histogram of codes; None where there is none."""
    smooth = np.convolve(share, np.ones(7), "same")
    above = np.cumsum(share[::-1])[::-1]
    for peak in range(len(share) - 7, 32, -1):
        if above[peak + 6] > PILE_SHARES[1]:
            break
        is_top = smooth[peak] == smooth[peak - 6 : peak + 7].max()
        below = smooth[peak - 28 : peak - 10].mean()
        if is_top and smooth[peak] >= PILE_SHARES[0] and smooth[peak] > PILE_CONTRAST * below:
            return (peak + 0.5) / len(share)
    return None
