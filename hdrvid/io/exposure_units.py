"""Exposures as people write them: stops, shutter speeds, exposure times, ISO. One word, one exposure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hdrvid.io.text_files import finite_number

SECONDS_OF_UNIT = {"us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}
"""Seconds of the units of time."""

_TIME = re.compile(r"(?P<value>\d+(?:\.\d*)?|\.\d+)(?P<unit>us|µs|μs|ms|sec|s)", re.IGNORECASE)
_SHUTTER = re.compile(r"(?P<above>\d+(?:\.\d*)?)/(?P<below>\d+(?:\.\d*)?)(?:s|sec)?", re.IGNORECASE)
_ISO = re.compile(r"iso(?P<value>\d+(?:\.\d*)?)", re.IGNORECASE)
_EV = re.compile(r"(?P<value>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:ev|stops?)", re.IGNORECASE)
_MAX_DIGITS = 40


@dataclass(frozen=True)
class Exposure:
    """One exposure that somebody wrote."""

    stops: float
    """log2 of the exposure; its base is that of the kind."""
    kind: str
    """'stops', 'time' or 'iso'."""


def parse_exposure(word: str) -> Exposure | None:
    """The exposure that a word means; None for a word that means none.

    >>> parse_exposure("3"), parse_exposure("+1ev").stops
    (Exposure(stops=3.0, kind='stops'), 1.0)
    >>> parse_exposure("1/500").kind, round(parse_exposure("1/500").stops - parse_exposure("2ms").stops, 6)
    ('time', 0.0)
    >>> parse_exposure("iso1600").stops - parse_exposure("iso100").stops
    4.0
    >>> parse_exposure("three")
    """
    if len(word) > _MAX_DIGITS:
        return None
    if match := _EV.fullmatch(word):
        return Exposure(float(match["value"]), "stops")
    if match := _TIME.fullmatch(word):
        return _positive(float(match["value"]) * SECONDS_OF_UNIT[match["unit"].lower()], "time")
    if match := _SHUTTER.fullmatch(word):
        below = float(match["below"])
        return _positive(float(match["above"]) / below if below else 0.0, "time")
    if match := _ISO.fullmatch(word):
        return _positive(float(match["value"]), "iso")
    value = finite_number(word)
    return None if value is None else Exposure(value, "stops")


def _positive(value: float, kind: str) -> Exposure | None:
    return Exposure(math.log2(value), kind) if 0 < value < math.inf else None
