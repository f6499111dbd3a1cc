"""Values of options from their text."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from hdrvid.bounds import MAX_SIDE
from hdrvid.errors import UsageError

if TYPE_CHECKING:
    from hdrvid.types import ExposureCycle, Exposures

NAMED_SIZES = {f"{height}p": (height * 16 // 9, height) for height in (720, 1080, 2160, 4320)}
"""Width and height of the sizes of television."""


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of '1280x720' or a name of NAMED_SIZES. Raises UsageError.

    >>> parse_size("1280x720"), parse_size("2160p")
    ((1280, 720), (3840, 2160))
    """
    named = NAMED_SIZES.get(text.strip().lower())
    if named:
        return named
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if match is None or not all(16 <= int(side) <= MAX_SIDE for side in match.groups()):
        raise UsageError(
            f"--size takes WIDTHxHEIGHT in pixels, 16 to {MAX_SIDE} each, like 1280x720 or 720p, not '{text[:40]}'"
        )
    return int(match[1]), int(match[2])


def parse_frame_range(text: str) -> tuple[int, int]:
    """First and last frame of '240-479' or '240', both included. Raises UsageError.

    >>> parse_frame_range("240-479"), parse_frame_range("7")
    ((240, 479), (7, 7))
    """
    match = re.fullmatch(r"\s*(\d{1,12})\s*(?:-\s*(\d{1,12})\s*)?", text)
    if match is None:
        raise UsageError(f"--frames takes two frame numbers counted from 0, like 240-479, not '{text[:40]}'")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise UsageError(f"--frames {text} ends before it begins: give the smaller number first")
    return first, last


def parse_rate(text: str) -> Fraction:
    """A frame rate: '25', '24000/1001', or a decimal of the NTSC family. Raises UsageError.

    >>> parse_rate("25"), parse_rate("23.976"), parse_rate("29.97")
    (Fraction(25, 1), Fraction(24000, 1001), Fraction(30000, 1001))
    """
    try:
        rate = Fraction(text.strip()) if len(text) < 40 else Fraction(0)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not Fraction(1, 100) <= rate <= 100_000:
        raise UsageError(f"--fps takes frames per second, like 25, 23.976 or 24000/1001, not '{text[:40]}'")
    whole = round(rate * Fraction(1001, 1000))
    is_ntsc = rate.denominator != 1 and abs(rate - Fraction(whole * 1000, 1001)) < Fraction(6, 1000)
    return Fraction(whole * 1000, 1001) if is_ntsc else rate


def parse_factors(text: str) -> tuple[float, float, float]:
    """Three factors above 0 of R, G and B. Raises UsageError.

    >>> parse_factors("2,1,1.5")
    (2.0, 1.0, 1.5)
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not all(0.01 <= value <= 100 for value in values):
        raise UsageError(f"--white-balance takes factors of R, G and B, 0.01 to 100, like 2,1,1.5, not '{text[:40]}'")
    return values[0], values[1], values[2]


def parse_list(text: str) -> tuple[str, ...]:
    """The words between commas, each once.

    >>> parse_list("fp32, bf16,fp32")
    ('fp32', 'bf16')
    """
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def parse_precisions(text: str) -> tuple[str, ...]:
    """The names between commas; none for 'auto'.

    >>> parse_precisions("auto"), parse_precisions("fp32,bf16")
    ((), ('fp32', 'bf16'))
    """
    names = parse_list(text)
    return () if names == ("auto",) else names


def parse_cycle(text: str) -> ExposureCycle:
    """The exposures of one cycle from their stops, such as '0,3', or from a file of them.

    Raises UsageError for 'auto', and ExposureError or InputError as `hdrvid.io.exposure_files.parse_exposures` does.
    """
    from hdrvid.types import plain_cycle

    return plain_cycle(parse_known_exposures(text))


def parse_known_exposures(text: str) -> Exposures:
    """Exposures of any pattern from their stops, such as '0,2,4,2', or from a file. Errors as of `parse_cycle`."""
    from hdrvid.io.exposure_files import parse_exposures

    exposures = parse_exposures(text)
    if exposures is None:
        raise UsageError(
            "--exposures auto has no meaning here: --exposures takes the stops of one cycle, for example 0,3 or 0,2,4"
        )
    return exposures


def read_names(path: str) -> tuple[str, ...]:
    """The lines of a text file, without blank ones and those that begin with #. Raises InputError."""
    from hdrvid.io.text_files import read_text

    lines = read_text(Path(path), "a text file with one name a line").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def read_json_text(path: str) -> str:
    """The JSON of a file as one line, keys sorted. Raises InputError."""
    import json

    from hdrvid.errors import InputError
    from hdrvid.io.text_files import read_text

    try:
        return json.dumps(json.loads(read_text(Path(path), "a JSON file")), sort_keys=True)
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): mend it") from error
