"""What `--exposures` takes: auto, the exposures of one cycle, or a file of them."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hdrvid.errors import ExposureError, InputError
from hdrvid.io.exposure_tables import read_table
from hdrvid.io.exposure_units import Exposure, parse_exposure
from hdrvid.io.text_files import read_text
from hdrvid.types import MAX_CYCLE_FRAMES, ExposureCycle, ExposureList, Exposures, cycle_length

_EXAMPLE = "0,3 or 0,2,4"
MIN_DECLARED_STOPS = 0.5
"""Exposures closer than this are no bracket."""

JITTER_STOPS = 0.1
"""Times and gains of one exposure differ by less than this: cameras report what they did, 0.998 and 1.001 ms."""


def parse_exposures(text: str, frame_names: Sequence[str] = ()) -> Exposures | None:
    """The exposures that `text` names, or None for "auto".

    `text` is "auto"; the exposures of one cycle beginning with frame 0, separated by commas or spaces: stops ("0,3"),
    shutter speeds ("1/500,1/60"), times ("2ms,16ms") or ISO ("iso100,iso1600"); or the path of a file as
    `read_exposure_file` takes it, with `frame_names`. Stops may count from any base: -3,0 is the cycle 0,3.
    Raises ExposureError where the exposures cannot be merged, InputError where `text` is neither exposures nor a
    readable file.

    >>> parse_exposures("2ms,16ms").stops
    (0.0, 3.0)
    """
    given = _exposures_or_file(text)
    return read_exposure_file(given, frame_names) if isinstance(given, Path) else given


def _exposures_or_file(text: str) -> Exposures | Path | None:
    """What the text of an option says, whatever files have its name; where it says nothing, the file of that name."""
    text = text.strip()
    if text.lower() == "auto":
        return None
    if not text:
        raise ExposureError(f"no exposures were given: use --exposures auto, {_EXAMPLE}, or a file of stops")
    words = _split(text)
    if words and re.search(r"[,;]\s*[,;]", text) and not os.path.exists(text):
        raise ExposureError(f"an exposure is missing in '{text[:80]}': give one between every two commas")
    exposures = [exposure for word in words if (exposure := parse_exposure(word)) is not None]
    if words and len(exposures) == len(words):
        return _exposures_of(exposures, text)
    name = os.path.expanduser(text)
    if not os.path.exists(name):  # unlike Path.exists, False for a text that can be no path at all
        raise InputError(
            f"'{text[:80]}' is neither a list of stops nor a file: use --exposures auto, {_EXAMPLE}, 1/500,1/60, or a "
            "file of stops"
        )
    return Path(name)


def check_exposures(text: str) -> None:
    """Raise what `parse_exposures` does before the frames are known: their names may choose the rows of a table."""
    given = _exposures_or_file(text)
    if isinstance(given, Path):
        read_text(given, "a text file of stops, one a line")


def read_exposure_file(path: Path, frame_names: Sequence[str] = ()) -> Exposures:
    """The exposures in a file, one cycle or one for every frame (`Exposures.txt` of Kalantari's set).

    Text: one exposure a line, or several separated by spaces, commas or semicolons, as `parse_exposures` takes them;
    blank lines and what follows a # are ignored. CSV with headings, or JSON: see `exposure_tables.read_table`. Rows
    that name files of `frame_names`, the frames of the clip in order, belong to these.
    Exposures that repeat are a cycle, others the list of all frames.
    Raises InputError where the file cannot be read or a line is no number, ExposureError where the exposures cannot be
    merged.
    """
    text = read_text(path, "a text file of stops, one a line")
    exposures = read_table(path, text, frame_names) or _listed(path, text)
    try:
        return _exposures_of(exposures, f"in {path}")
    except ExposureError as error:
        raise ExposureError(f"{path}: {error}") from None


def _listed(path: Path, text: str) -> list[Exposure]:
    """The exposures in a text without headings."""
    lines = [line.split("#", 1)[0].strip() for line in text.splitlines()]
    filled = [line for line in lines if line]
    if len(set(filled)) > 1 and all(re.fullmatch(r"-?\d+,\d+", line) for line in filled):
        raise InputError(f"{path} has '{filled[0][:40]}' on a line of its own: write decimal points, not commas")
    exposures: list[Exposure] = []
    for number, line in enumerate(lines, start=1):
        for word in _split(line):
            exposure = parse_exposure(word)
            if exposure is None:
                raise InputError(
                    f"line {number} of {path} has '{word[:40]}' where a stop is expected: write one a line"
                )
            exposures.append(exposure)
    if not exposures:
        raise InputError(f"{path} holds no stops: write one a line, for example 0 and 3")
    return exposures


def _exposures_of(exposures: Sequence[Exposure], name: str) -> Exposures:
    """The cycle of exposures of one kind, or their list. Times and gains may jitter, stops are what somebody set."""
    kinds = {exposure.kind for exposure in exposures}
    if len(kinds) > 1:
        raise ExposureError(f"the exposures {name} mix {' and '.join(sorted(kinds))}: give all in the same unit")
    stops = [exposure.stops for exposure in exposures]
    n = cycle_length(stops, 1e-6) if kinds == {"stops"} else cycle_length(stops, JITTER_STOPS, statistics.median)
    if n is None and len(stops) > MAX_CYCLE_FRAMES:
        return _plausible(ExposureList(tuple(round(s, 4) for s in stops)), name)
    if n is None:
        return _plausible(ExposureCycle(tuple(stops)), name)  # what does not repeat is one cycle
    typical = [statistics.median(stops[k::n]) for k in range(n)]
    deviations = tuple(s - typical[i % n] for i, s in enumerate(stops))
    rounded = tuple(round(s - min(typical), 4) for s in typical) if kinds != {"stops"} else tuple(typical)
    return _plausible(ExposureCycle(rounded, deviations if any(deviations) else ()), name)


def _plausible(exposures: Exposures, name: str) -> Exposures:
    """The exposures. Raises ExposureError where they cannot be stops: times and gains, say, written as they are."""
    if isinstance(exposures, ExposureList):
        return exposures
    steps = [b - a for a, b in pairwise(sorted(exposures.stops)) if b - a > JITTER_STOPS]
    distance = min(steps, default=0.0)
    if distance < MIN_DECLARED_STOPS:
        raise ExposureError(
            f"the exposures {name} are {distance:.2g} stops apart, less than half a stop apart: give stops "
            "(--exposures 0,3), or times and gains with their unit (1ms,8ms or iso100,iso800)"
        )
    return exposures


def _split(text: str) -> list[str]:
    joined = re.sub(r"(?i)(?<=\d)\s+(?=(us|µs|ms|sec|s|ev|stops?)\b)", "", text)  # "2 ms" is one word
    return [word for word in re.split(r"[\s,;]+", joined) if word]
