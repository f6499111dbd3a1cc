"""The exposures that a camera wrote into the files of a sequence, or somebody into a file beside them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hdrvid.errors import ExposureError, InputError
from hdrvid.io.exif import read_settings
from hdrvid.io.exposure_files import read_exposure_file
from hdrvid.types import ExposureCycle, ExposureList, Exposures, cycle_length

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


def recorded_by_frames(paths: Sequence[Path]) -> Exposures | None:
    """The exposures that the frames record, beginning with the first one: the cycle that the first RECORDED_FRAMES
    repeat, else the list of all frames.

    None where they record none, or where all are the same.
    """
    stops = exif_stops(paths[:RECORDED_FRAMES])
    if stops is None or len(stops) < 2:
        return None
    n = cycle_length(stops, SAME_STOPS)
    with suppress(ExposureError):
        if n is not None:
            return ExposureCycle(tuple(stops[:n]))
        stops = exif_stops(paths)
        return None if stops is None else ExposureList(tuple(stops))
    return None


@dataclass(frozen=True)
class Recorded:
    """Exposures that the files of a sequence, or one beside them, record."""

    exposures: Exposures | None = None
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
            return Recorded(read_exposure_file(path, [p.name for p in paths]), f"{path} records the exposures")
        except (InputError, ExposureError) as error:
            problem = problem or f"the exposures beside the frames are not used: {error}"
    return Recorded(recorded_by_frames(paths), problem=problem)


def _exposure_files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if name.lower() in EXPOSURE_FILES]
    except OSError:
        return []
