"""The first frames of a clip, read once, and what they are reduced to: the questions of `detect.clip` are put to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from hdrvid.color.response import Response
from hdrvid.detect.cycle import (
    PROBE_FRAMES,
    probed,
)
from hdrvid.detect.response import (
    FrameLevels,
    frame_levels,
)
from hdrvid.errors import InputError
from hdrvid.io.frames import FramesReader
from hdrvid.types import ClipReader

KEPT_PROBE_BYTES = 256 << 20
"""Frames that are looked at are decoded once where all of them take no more than this."""

PILE_SHARES = (4e-4, 0.01)
"""Share of the samples in a pile, at least, and above it, at most."""

PILE_CONTRAST = 2.0
"""How many times denser than the codes below it a pile is."""

MOSAIC_SPREAD = 0.03
"""Difference of the means of the four places in 2x2 cells, over their mean. Of grey pictures it is below 0.005."""

SENSOR_BITS = (10, 12, 14)
"""Depths that cameras for machine vision store in 16 bits."""

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
    white_code: int | None = None
    """As in `Detection`."""
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


def read_probe(reader: ClipReader) -> Probe:
    """Read the first frames. Raises InputError where fewer than two can be read because the clip is damaged."""
    info = reader.info
    white_code = None
    warnings: list[str] = []
    if isinstance(reader, FramesReader) and info.bit_depth == 16 and not info.linear:
        white_code, warning = _stored_white(reader)
        reader.set_white_code(white_code)
        warnings += [warning] if warning else []
    if isinstance(reader, FramesReader):
        _refuse_mosaic(reader)
    if info.details.get("scan") == "interlaced":
        warnings.append(
            f"{info.source} is interlaced, so every frame holds two moments: deinterlace it first, for example with "
            "ffmpeg -vf bwdif=send_frame"
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
    result = Probe(reader, kept, count, levels, brightest, (None,) * 3, repeats, white_code, warnings)
    if not info.linear:
        result.clip_codes = _clip_codes(result.codes())
    return result


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
            histogram[channel] += np.histogram(pixels[..., channel], 512, (0.0, 1.0))[0]
    return tuple(_pile(row / max(row.sum(), 1.0)) for row in histogram)


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


def _refuse_mosaic(reader: FramesReader) -> None:
    """Raise InputError for grey pictures that are the mosaic of a sensor with colour filters."""
    frame = next(iter(reader.frames(0, 1)), None)
    if frame is None or not np.array_equal(frame.pixels[..., 0], frame.pixels[..., 2]):
        return
    grey = frame.pixels[: frame.pixels.shape[0] // 2 * 2, : frame.pixels.shape[1] // 2 * 2, 1].astype(np.float64)
    if min(grey.shape) < 32:
        return
    places = [grey[y::2, x::2] for y in (0, 1) for x in (0, 1)]
    means = [place.mean() for place in places]
    # of a grey picture the four places show the same; of a mosaic both greens do, and red and blue do not
    spread = (max(means) - min(means)) / max(np.mean(means), 1e-6)
    if spread > MOSAIC_SPREAD:
        raise InputError(
            f"{reader.info.source} holds the mosaic of a colour sensor, not pictures: the four pixels of its 2x2 cells "
            f"differ by {100 * spread:.0f} % on average. Develop it to RGB (16-bit TIFF, or DNG) first"
        )


def _stored_white(reader: FramesReader) -> tuple[int | None, str]:
    """(largest code of the sensor, warning) of 16-bit files that hold 10, 12 or 14 bits; (None, '') of others."""
    largest, used, clipped, total = 0, 0, 0, 0
    for pixels in itertools.islice(probed(reader), 8):
        codes = np.round(pixels * 65535).astype(np.uint16)
        top = int(codes.max())
        clipped = (clipped if top == largest else 0 if top > largest else clipped) + int(
            (codes == max(top, largest)).sum()
        )
        largest, used, total = max(largest, top), used | int(np.bitwise_or.reduce(codes, axis=None)), total + codes.size
    if not used:
        return None, ""
    shift = (used & -used).bit_length() - 1
    if 16 - shift in SENSOR_BITS:
        return used & ~((1 << shift) - 1) if largest == used else (65535 >> shift) << shift, ""
    bits = next((b for b in SENSOR_BITS if largest < 1 << b), None)
    if bits is None:
        return None, ""
    white = (1 << bits) - 1
    if largest > 0.97 * white:
        return white, ""
    if clipped > 1e-3 * total:
        return largest, ""
    return None, (
        f"the brightest code of {reader.info.source} is {largest} of 65535: if the files hold {bits} bits in 16, "
        f"scale them so that the sensor clips at 65535"
    )
