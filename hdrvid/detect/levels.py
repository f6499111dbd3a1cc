"""The levels of a clip: the codes of black and white, declared or found; and whether its frames are mosaics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hdrvid.detect.cycle import PROBE_SIDE
from hdrvid.errors import InputError, UsageError
from hdrvid.io.frames import FramesReader
from hdrvid.io.samples import Levels, SampleFormat
from hdrvid.io.tracks import TracksReader
from hdrvid.io.video import VideoReader
from hdrvid.types import ClipReader

LEVEL_FRAMES = 8
"""Frames at the start of a clip whose codes are looked at."""

SENSOR_BITS = (10, 12, 14)
"""Depths that cameras for machine vision store in 16 bits."""

FEW_CODES = 1e-4
"""A share of the codes that defect pixels may have: these contradict no level."""

FEW_CODED = 0.02
"""The same of video and JPEG, whose coding lets codes swing around edges."""

MOST_BLACK = 0.6
"""A larger share of the codes of the brightest frame below the black level contradicts it."""

MOSAIC_SPREADS = (0.03, 0.02)
"""Differences of the four places in 2x2 cells that make a mosaic: of their means over the mean of all, and of their
means relative to their cell. Grey pictures with few bright spots may exceed one of them."""

DARK_CELLS = 0.25
"""Share of the cells, the darkest, that are noise and are left out."""

FLAT_SPREAD = 0.005
"""A mosaic whose places differ less is likely to be none."""

SAME_GREENS = 0.35
"""The two greens of a mosaic differ less than this share of the spread of all four places."""


@dataclass(frozen=True)
class FoundLevels:
    """What is known of the levels of a clip."""

    levels: Levels | None = None
    """None where the codes are taken as they are: 0 is black and the largest is white."""
    is_sensor: bool = False
    """Whether the codes are those of a sensor, likely to be linear."""
    has_black: bool = False
    """Whether the user gave the black level."""
    warnings: tuple[str, ...] = ()
    """What was noticed."""


@dataclass(frozen=True)
class _Codes:
    """Stored codes of the first frames, reduced."""

    counts: np.ndarray
    """Samples by code."""
    darkest_share: np.ndarray
    """Samples by code of the brightest frame, over all of it."""
    used: int
    """Bits that are set in any code."""
    few: float
    """Share of the samples that says nothing."""

    @property
    def largest(self) -> int:
        return int(np.flatnonzero(self.counts)[-1])

    @property
    def smallest(self) -> int:
        return int(np.flatnonzero(self.counts)[0])

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def shift(self) -> int:
        """Lowest bits that no code uses."""
        return (self.used & -self.used).bit_length() - 1 if self.used else 0

    def share_above(self, code: float) -> float:
        """Share of the samples above a code."""
        return float(self.counts[int(code) + 1 :].sum()) / self.total

    def largest_but_few(self) -> int:
        """The largest code that more than a few samples reach."""
        above = np.cumsum(self.counts[::-1])[::-1]
        return int(np.flatnonzero(above > self.few * self.total)[-1])


def find_levels(reader: ClipReader, samples: SampleFormat) -> FoundLevels:
    """The levels of an open clip. The reader uses them when `set_levels` is called with them.

    Raises UsageError for levels that the samples cannot have, InputError for levels that the codes contradict and for
    a mosaic that nobody declared.
    """
    if isinstance(reader, TracksReader):
        return _of_tracks([find_levels(track, samples) for track in reader.tracks])
    if not isinstance(reader, FramesReader | VideoReader):
        return FoundLevels()
    _check_mosaic(reader)
    if samples.has_levels:
        return _declared(reader, samples)
    is_raw = isinstance(reader, FramesReader) or not reader.is_ycbcr
    if reader.top != 65535 or not is_raw:
        return FoundLevels(warnings=_mosaic_warnings(reader))
    levels, warning = _found(reader, _codes_of(reader))
    warnings = (*_mosaic_warnings(reader), *([warning] if warning else []))
    return FoundLevels(levels, levels is not None, warnings=warnings)


def _of_tracks(tracks: Sequence[FoundLevels]) -> FoundLevels:
    """The levels of all tracks: those of the one whose codes show most, a short exposure may not reach white."""
    warnings = tuple(dict.fromkeys(text for found in tracks for text in found.warnings))
    known = [found for found in tracks if found.levels is not None]
    if not known:
        return FoundLevels(warnings=warnings)
    best = max(known, key=lambda found: found.levels.white if found.levels else 0)
    return replace(best, warnings=() if best.has_black or not warnings else warnings)


def _codes_of(reader: FramesReader | VideoReader) -> _Codes:
    size = round(reader.top) + 1
    counts, brightest, largest_sum, used = np.zeros(size, np.int64), np.zeros(size), -1.0, 0
    step = max(1, max(reader.info.width, reader.info.height) // PROBE_SIDE) | 1  # odd: all places of a mosaic
    for pixels in reader.stored(LEVEL_FRAMES):
        codes = np.rint(pixels[::step, ::step] * np.float32(reader.top)).astype(np.uint16).ravel()
        of_frame = np.bincount(codes, minlength=size)
        counts += of_frame
        used |= int(np.bitwise_or.reduce(codes))
        if (total := float(codes.sum(dtype=np.int64))) > largest_sum:
            largest_sum, brightest = total, of_frame / of_frame.sum()
    is_coded = isinstance(reader, VideoReader) or reader.info.details.get("format") == "JPEG"
    return _Codes(counts, brightest, used, FEW_CODED if is_coded else FEW_CODES)


def _found(reader: FramesReader | VideoReader, codes: _Codes) -> tuple[Levels | None, str]:
    """(levels, warning) of 16-bit files that hold 10, 12 or 14 bits; (None, '') of others."""
    largest, shift = codes.largest, codes.shift
    if not codes.used:
        return None, ""
    if 16 - shift in SENSOR_BITS:
        white = codes.used if largest == codes.used else (65535 >> shift) << shift
        return Levels(65535, white, 0, 16 - shift), ""
    bits = next((b for b in SENSOR_BITS if largest < 1 << b), None)
    claimed = reader.header_white if isinstance(reader, FramesReader) else None
    if claimed is not None:
        bits = claimed.bit_length()
    if bits is None:
        return None, ""
    white = claimed or (1 << bits) - 1
    if largest > 0.97 * white:
        return Levels(65535, white, 0, bits), ""
    if codes.counts[largest] > 1e-3 * codes.total:
        return Levels(65535, largest, 0, bits), ""
    if claimed is not None:
        return Levels(65535, claimed, 0, bits), ""
    return None, (
        f"the brightest code of {reader.info.source} is {largest} of 65535: if the files hold {bits} bits in 16, give "
        f"--bits {bits}"
    )


def _declared(reader: FramesReader | VideoReader, samples: SampleFormat) -> FoundLevels:
    """The levels that the user gives, completed from the codes and checked against them."""
    source, top = reader.info.source, reader.top
    if not top:
        if isinstance(reader, VideoReader):
            raise UsageError(
                f"{source} is video of limited range, whose black and white are given by its tag: leave out --bits, "
                "--black-level and --white-level"
            )
        raise UsageError(f"{source} is scene-linear, so it has no levels: leave out --bits and the levels")
    stored = round(top).bit_length()
    if samples.bits is not None and samples.bits > stored:
        raise UsageError(f"{source} has {stored} bits a sample, so --bits {samples.bits} cannot be: leave it out")
    for name, level in (("--black-level", samples.black_level), ("--white-level", samples.white_level)):
        if level is not None and level > top:
            raise UsageError(f"{name} {level:g} is no code of {source}: its largest one is {top:g}")
    codes = _codes_of(reader)
    white, bits = samples.white_level, samples.bits
    if white is None:
        white, bits = _white_of_bits(source, codes, samples, stored) if bits else _white_found(reader, codes, stored)
    elif bits is None:
        bits = round(white).bit_length()
    black = samples.black_level or 0.0
    if black >= white:
        raise InputError(f"--black-level {black:g} is not above 0 and below the white level, code {white:g}: check it")
    if (share := codes.share_above(white)) > codes.few:
        raise InputError(
            f"{100 * share:.2g} % of the codes of {source} are above the white level {white:g}, up to "
            f"{codes.largest_but_few()}: check --white-level and --bits"
        )
    if (share := float(codes.darkest_share[: int(np.ceil(black))].sum())) > MOST_BLACK:
        raise InputError(
            f"{100 * share:.0f} % of the codes of the brightest frame of {source} are below the black level {black:g}: "
            "check --black-level"
        )
    warnings = [*_mosaic_warnings(reader)]
    shift = codes.shift
    if black > 0 and shift > 1 and codes.smallest > black * 2 ** (shift - 1):
        warnings.append(
            f"the codes of {source} are shifted by {shift} bits and begin at {codes.smallest}, far above the black "
            f"level {black:g}: levels are stored codes, so it may be {black * 2**shift:g}"
        )
    levels = Levels(top, white, black, max(8, min(bits or stored, stored)))
    return FoundLevels(levels, stored > 8, samples.black_level is not None, tuple(warnings))


def _white_found(reader: FramesReader | VideoReader, codes: _Codes, stored: int) -> tuple[float, int]:
    """White and bits where the user gives the black level alone."""
    levels, _ = _found(reader, codes) if reader.top == 65535 else (None, "")
    return (reader.top, stored) if levels is None else (levels.white, levels.bits)


def _white_of_bits(source: str, codes: _Codes, samples: SampleFormat, stored: int) -> tuple[float, int]:
    """White and bits where the user gives the bits: stored low, shifted to the top, or repeated below it."""
    bits = samples.bits or stored
    white, shift = (1 << bits) - 1, stored - bits
    if codes.share_above(white) <= codes.few:
        return white, bits
    if codes.shift >= shift:
        return white << shift, bits
    present = np.flatnonzero(codes.counts)
    upper = present >> shift
    if 2 * bits >= stored and np.array_equal(present, (upper << shift) | (upper >> (bits - shift))):
        return (1 << stored) - 1, bits
    raise InputError(
        f"the codes of {source} reach {codes.largest_but_few()}, and {bits} bits end at {white}: give the --bits that "
        "it has, or --white-level"
    )


# ---- mosaics ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Places:
    """The four places in the 2x2 cells of a frame, row by row."""

    means: tuple[float, ...]
    """Mean code of each."""
    relative: tuple[float, ...]
    """Mean of each over the mean of its cell."""

    @property
    def spreads(self) -> tuple[float, float]:
        """Largest difference of the means, over the mean of all, and of the relative ones."""
        mean = max(float(np.mean(self.means)), 1e-6)
        return (max(self.means) - min(self.means)) / mean, max(self.relative) - min(self.relative)

    @property
    def likely_patterns(self) -> tuple[str, str]:
        """The two patterns whose greens are the diagonal of more equal codes."""
        a, b, c, d = self.relative
        return ("rggb", "bggr") if abs(b - c) <= abs(a - d) else ("grbg", "gbrg")


def _places(reader: FramesReader | VideoReader) -> _Places | None:
    """The places of the first frame; None of a small one and of colours."""
    if not (reader.info.one_channel or reader.samples.is_mosaic):
        return None
    pixels = next(iter(reader.stored(1)), None)
    if pixels is None:
        return None
    grey = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2, 0].astype(np.float64)
    if min(grey.shape) < 32:
        return None
    places = np.stack([grey[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    cells = places.mean(axis=0)
    bright = (cells >= np.quantile(cells, DARK_CELLS)) & (cells > 0)
    relative = (places[:, bright] / cells[bright]).mean(axis=1) if bright.any() else np.ones(4)
    return _Places(tuple(places.mean(axis=(1, 2)).tolist()), tuple(relative.tolist()))


def _check_mosaic(reader: FramesReader | VideoReader) -> None:
    """Raise InputError for grey pictures that are the mosaic of a sensor with colour filters, which nobody declared."""
    places = _places(reader) if reader.samples.bayer == "auto" else None
    # of a grey picture the four places show the same; of a mosaic both greens do, and red and blue do not
    if places is None or any(s <= most for s, most in zip(places.spreads, MOSAIC_SPREADS, strict=True)):
        return
    likely = " or ".join(f"--bayer {pattern}" for pattern in places.likely_patterns)
    raise InputError(
        f"{reader.info.source} holds the mosaic of a colour sensor, not pictures: the four pixels of its 2x2 cells "
        f"differ by {100 * places.spreads[0]:.0f} % on average. By the greens it is {likely}; --bayer none takes it as "
        "grey pictures"
    )


def _mosaic_warnings(reader: FramesReader | VideoReader) -> tuple[str, ...]:
    """A warning where the pixels contradict the declared pattern."""
    places = _places(reader) if reader.samples.is_mosaic else None
    if places is None:
        return ()
    source, bayer, spread = reader.info.source, reader.samples.bayer, places.spreads[1]
    if max(places.spreads) < FLAT_SPREAD:
        return (
            f"the four pixels of the 2x2 cells of {source} are equally bright: if it is no mosaic, leave out --bayer",
        )
    greens = [mean for mean, name in zip(places.relative, bayer, strict=True) if name == "g"]
    if bayer in places.likely_patterns or abs(greens[0] - greens[1]) < max(SAME_GREENS * spread, MOSAIC_SPREADS[1]):
        return ()
    likely = " or ".join(places.likely_patterns)
    return (f"the two greens of --bayer {bayer} differ in {source}: the pattern seems to be {likely}",)
