"""What `--exposures` takes: auto, the stops of one cycle, or a file of them."""

from __future__ import annotations

import math
import os
import re
from itertools import pairwise
from pathlib import Path

from hdrvid.errors import ExposureError, InputError
from hdrvid.io.text_files import read_text
from hdrvid.types import ExposureCycle

_EXAMPLE = "0,3 or 0,2,4"
MIN_DECLARED_STOPS = 0.5
"""Exposures closer than this are no bracket."""


def parse_exposures(text: str) -> ExposureCycle | None:
    """The exposure cycle that `text` names, or None for "auto".

    `text` is "auto"; the stops of one cycle beginning with frame 0, separated by commas or spaces ("0,3"); or the
    path of a file as `read_exposure_file` takes it. Stops may count from any base: -3,0 is the cycle 0,3.
    Raises ExposureError when the stops are no cycle, InputError when `text` is neither stops nor a readable file.
    """
    text = text.strip()
    if text.lower() == "auto":
        return None
    if not text:
        raise ExposureError(f"no exposures were given: use --exposures auto, {_EXAMPLE}, or a file of stops")
    words = _split(text)
    values = [_number(word) for word in words]
    if words and None not in values:
        return _plausible(ExposureCycle.from_stops([v for v in values if v is not None]), text)
    name = os.path.expanduser(text)
    if not os.path.exists(name):  # unlike Path.exists, False for a text that can be no path at all
        raise InputError(
            f"'{text[:80]}' is neither a list of stops nor a file: use --exposures auto, {_EXAMPLE}, or a file of stops"
        )
    return read_exposure_file(Path(name))


def read_exposure_file(path: Path) -> ExposureCycle:
    """The cycle in a text file of stops, one cycle or one for every frame (`Exposures.txt` of Kalantari's set).

    One stop a line, or several separated by spaces, commas or semicolons; blank lines and what follows a # are
    ignored. Raises InputError where the file cannot be read or a line is no number, ExposureError where the stops
    are no cycle of 2 or 3 exposures.
    """
    text = read_text(path, "a text file of stops, one a line")
    stops: list[float] = []
    for number, line in enumerate(text.splitlines(), start=1):
        for word in _split(line.split("#", 1)[0]):
            value = _number(word)
            if value is None:
                raise InputError(
                    f"line {number} of {path} has '{word[:40]}' where a stop is expected: write one a line"
                )
            stops.append(value)
    if not stops:
        raise InputError(f"{path} holds no stops: write one a line, for example 0 and 3")
    try:
        return _plausible(ExposureCycle.from_stops(stops), f"in {path}")
    except ExposureError as error:
        raise ExposureError(f"{path}: {error}") from None


def _plausible(cycle: ExposureCycle, name: str) -> ExposureCycle:
    """The cycle. Raises ExposureError where it cannot be stops: times and gains, say, written as they are."""
    distance = min(b - a for a, b in pairwise(sorted(cycle.stops)))
    if distance < MIN_DECLARED_STOPS:
        raise ExposureError(
            f"the exposures {name} are {distance:.2g} stops apart, less than half a stop apart: give stops, not times "
            "or gains (1 ms and 8 ms are 3 stops apart: --exposures 0,3)"
        )
    return cycle


def _split(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,;]+", text) if word]


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
