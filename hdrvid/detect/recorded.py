"""The exposure cycle that a camera wrote into the files of a sequence, or somebody into a file beside them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hdrvid.detect.cycle import MIN_STOPS_APART
from hdrvid.errors import ExposureError, InputError
from hdrvid.io.exif import read_settings
from hdrvid.io.exposure_files import read_exposure_file
from hdrvid.types import CYCLE_LENGTHS, ExposureCycle

RECORDED_FRAMES = 24
"""Frames at the start of a sequence whose records are looked at."""

EXPOSURE_FILES = ("exposures.txt", "exposures.csv", "exposures.json")
"""Lower-case names of files of exposures that are looked for among the frames."""

SAME_STOPS = 0.15
"""Records of one exposure of the cycle agree to this: 1/60 s and 1/64 s are the same."""


def exif_stops(paths: Sequence[Path]) -> list[float] | None:
    """log2(exposure time * ISO / f-number^2) of every frame, shifted so that the smallest is 0.

    ISO and f-number count as equal where no frame has them. None where there are no frames, where any frame has no
    exposure time, or where only some frames have an ISO or an f-number. Reads JPEG and TIFF, and whatever else begins
    with a TIFF structure (most raw files). Never raises for what a file holds; one that cannot be opened has nothing.
    """
    settings = []
    for path in paths:
        setting = read_settings(path)
        if setting is None:
            return None
        settings.append(setting)
    with_iso = sum(s.iso is not None for s in settings)
    with_f_number = sum(s.f_number is not None for s in settings)
    if not settings or with_iso not in (0, len(settings)) or with_f_number not in (0, len(settings)):
        return None
    stops = [
        math.log2(s.exposure_seconds) + math.log2(s.iso or 1.0) - 2 * math.log2(s.f_number or 1.0) for s in settings
    ]
    lowest = min(stops)
    return [s - lowest for s in stops]


def recorded_cycle(paths: Sequence[Path]) -> ExposureCycle | None:
    """The cycle of 2 or 3 exposures that the first frames record, beginning with the first one.

    None where they record none, or the same exposure for all, or where it does not repeat.
    """
    stops = exif_stops(paths[:RECORDED_FRAMES])
    for n in CYCLE_LENGTHS:
        if stops is None or len(stops) < n:
            return None
        distance = min(b - a for a, b in pairwise(sorted(stops[:n])))
        if distance >= MIN_STOPS_APART and all(abs(s - stops[k % n]) < SAME_STOPS for k, s in enumerate(stops)):
            lowest = min(stops[:n])
            return ExposureCycle(tuple(s - lowest for s in stops[:n]))
    return None


@dataclass(frozen=True)
class Recorded:
    """Exposures that the files of a sequence, or one beside them, record."""

    cycle: ExposureCycle | None = None
    """None where there are none."""
    origin: str = "the files record their exposures"
    """Who says so, as the beginning of a sentence."""
    problem: str = ""
    """Why a file of exposures beside the frames is not used."""


def recorded_exposures(paths: Sequence[Path]) -> Recorded:
    """The exposures in a file among the frames (EXPOSURE_FILES), else those that a camera wrote into the frames."""
    problem = ""
    for path in _exposure_files(paths[0].parent):
        try:
            return Recorded(read_exposure_file(path), f"{path} records the exposures")
        except (InputError, ExposureError) as error:
            problem = problem or f"the exposures beside the frames are not used: {error}"
    return Recorded(recorded_cycle(paths), problem=problem)


def _exposure_files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.lower() in EXPOSURE_FILES]
    except OSError:
        return []
