"""Tables of exposures: a CSV file with headings or a JSON file, one row a frame."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdrvid.errors import InputError
from hdrvid.io.exposure_units import SECONDS_OF_UNIT, parse_exposure

_TIME_NAMES = ("exposure", "exposure_time", "exposuretime", "shutter", "shutter_speed", "integration_time")
_ANY = "exposure as text"
"""Heading of a list without headings."""
_UNIT = re.compile(r"(?P<name>.*?)[_ ]*[\[(]?(?P<unit>us|µs|μs|ms|s|sec|seconds|stops|ev|db)[\])]?")
_ORDER_NAMES = ("frame", "index", "frame_number", "number")
_FILE_NAMES = ("file", "filename", "file_name", "name", "image", "path")

HEADINGS = "exposure_ms (or _us, _s), shutter, stops, gain_db, iso, aperture"
"""Headings that a table may have, for people."""


@dataclass(frozen=True)
class _Column:
    """A heading that adds to the exposure."""

    heading: str
    stops: Callable[[str], float | None]
    """Stops of a cell; None where the cell is no number of this kind."""
    kind: str = "gain"
    """'time', 'stops', or 'gain' for what multiplies a time."""


def is_table(text: str) -> bool:
    """Whether a text is JSON, or begins with a line of headings."""
    if text.lstrip()[:1] in ("[", "{"):
        return True
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    words = re.split(r"[\s,;]+", next((line for line in lines if line.strip()), "").strip())
    return words != [""] and all(parse_exposure(word) is None for word in words)


def read_table(path: Path, text: str) -> list[float]:
    """Stops of every frame, from frame 0 on, up to a constant.

    Rows are in the order of a column of frame numbers or file names, where there is one. Exposure times, gains in dB,
    ISO and apertures add up. Raises InputError where no heading is an exposure or a cell is no number.
    """
    rows = _json_rows(path, text) if text.lstrip()[:1] in ("[", "{") else _csv_rows(path, text)
    if not rows:
        raise InputError(f"{path} holds no rows: write one a frame under headings such as {HEADINGS}")
    rows = _in_order(rows)
    headings = list(rows[0])
    for heading in headings:
        varies = len({str(row.get(heading)).strip() for row in rows}) > 1
        if _normalised(heading) in ("exposure", "gain") and varies:
            raise InputError(
                f"{path} does not say the unit of '{heading}': name it "
                + ("gain_db" if _normalised(heading) == "gain" else "exposure_ms, exposure_us, exposure_s or stops")
            )
    columns = [column for heading in headings if (column := _column(heading)) is not None]
    for kind in ("time", "stops"):
        doubled = [column.heading for column in columns if column.kind == kind]
        if len(doubled) > 1 or (kind == "stops" and doubled and len(columns) > 1):
            others = " and ".join(column.heading for column in columns)
            raise InputError(f"{path} has the exposure more than once ({others}): keep one of these columns")
    if not columns:
        raise InputError(f"{path} has no column of exposures ({', '.join(headings)[:80]}): name one of {HEADINGS}")
    stops = []
    for number, row in enumerate(rows, 1):
        total = 0.0
        for column in columns:
            cell = str(row.get(column.heading) if row.get(column.heading) is not None else "").strip()
            value = column.stops(cell)
            if value is None:
                raise InputError(
                    f"row {number} of {path} has '{cell[:40]}' under {column.heading}: {_advice(column, cell)}"
                )
            total += value
        stops.append(total)
    return stops


def _advice(column: _Column, cell: str) -> str:
    if _normalised(column.heading) in ("shutter", "shutter_speed"):
        return "give a time with its unit, such as 1/500 or 2ms"
    if re.fullmatch(r"\d+,\d+", cell):
        return "write a decimal point"
    return "give a number above 0" if column.kind == "time" else "give a number"


def _csv_rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = max(",;\t", key=lambda mark: lines[0].count(mark))
    try:
        cells = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as CSV ({error}): write one row a frame") from None
    headings = cells[0]
    for number, row in enumerate(cells[1:], 1):
        if len(row) > len(headings):
            raise InputError(
                f"row {number} of {path} has {len(row)} cells under {len(headings)} headings: write decimal points, or "
                "semicolons between the cells"
            )
    return [dict(zip(headings, row + [""] * (len(headings) - len(row)), strict=True)) for row in cells[1:]]


def _json_rows(path: Path, text: str) -> list[Mapping[str, Any]]:
    advice = 'give a list with an object a frame, such as [{"exposure_ms": 1}, {"exposure_ms": 8}]'
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not valid JSON: {advice}") from None
    if isinstance(values, dict):
        of_name = {_normalised(key): value for key, value in values.items() if isinstance(value, list)}
        tables = [value for value in of_name.values() if value and all(isinstance(row, dict) for row in value)]
        values = of_name.get("stops", of_name.get("exposures", tables[0] if len(tables) == 1 else None))
    if not isinstance(values, list):
        raise InputError(f"{path} holds no list of exposures: {advice}")
    rows = [row if isinstance(row, dict) else {_ANY: row} for row in values]
    return [{str(k): v for k, v in row.items()} for row in rows]


def _normalised(heading: str) -> str:
    return re.sub(r"[\s-]+", "_", heading.strip().lower())


def _column(heading: str) -> _Column | None:
    """What a heading means; None for one that says nothing of the exposure."""
    name = _normalised(heading)
    match = _UNIT.fullmatch(name)
    base, unit = (match["name"].rstrip("_"), match["unit"]) if match else (name, "")
    if name in ("stops", "ev") or (unit in ("stops", "ev") and base in ("exposure", "")):
        return _Column(heading, _stops, "stops")
    if heading == _ANY:
        return _Column(heading, _exposure, "stops")
    if unit in ("seconds", *SECONDS_OF_UNIT) and base in _TIME_NAMES:
        scale = SECONDS_OF_UNIT.get(unit, 1.0)
        return _Column(heading, lambda cell: _time(cell, scale), "time")
    if name in ("exposure_time", "exposuretime"):  # seconds, as in Exif
        return _Column(heading, lambda cell: _time(cell, 1.0), "time")
    if name in ("shutter", "shutter_speed"):  # 500 may be 1/500 s, or an angle
        return _Column(heading, lambda cell: _time(cell, None), "time")
    if unit == "db" and base == "gain":
        return _Column(heading, _decibels)
    if name in ("iso", "iso_speed", "isospeed"):
        return _Column(heading, lambda cell: _logarithm(_number(cell.lower().removeprefix("iso"))))
    if name in ("aperture", "f_number", "fnumber", "f_stop"):
        return _Column(heading, _aperture)
    return None


def _stops(cell: str) -> float | None:
    exposure = parse_exposure(cell)
    return exposure.stops if exposure is not None and exposure.kind == "stops" else None


def _exposure(cell: str) -> float | None:
    """Stops of an exposure in any unit; the others of the list have to have the same."""
    exposure = parse_exposure(cell)
    return None if exposure is None else exposure.stops


def _time(cell: str, scale: float | None) -> float | None:
    """Stops of a time with its unit, or of a plain number of `scale` seconds; None: a plain number is no time."""
    exposure = parse_exposure(cell)
    if exposure is not None and exposure.kind == "time":
        return exposure.stops
    return None if scale is None else _logarithm(_number(cell), scale)


def _decibels(cell: str) -> float | None:
    value = _number(cell)
    return None if value is None else value / (20 * math.log10(2))


def _aperture(cell: str) -> float | None:
    value = _logarithm(_number(cell.lower().removeprefix("f/")))
    return None if value is None else -2 * value


def _number(cell: str) -> float | None:
    try:
        value = float(cell) if len(cell) < 40 else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _logarithm(value: float | None, scale: float = 1.0) -> float | None:
    return math.log2(value * scale) if value is not None and value > 0 else None


def _in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows by frame number or by file name, where a column has them, else as they are."""
    for heading in rows[0]:
        cells = [str(row.get(heading) or "0") for row in rows]
        if _normalised(heading) in _ORDER_NAMES and all(_number(cell) is not None for cell in cells):
            return [
                row
                for _, _, row in sorted((float(c), i, row) for i, (c, row) in enumerate(zip(cells, rows, strict=True)))
            ]
        if _normalised(heading) in _FILE_NAMES and len(set(cells)) == len(cells):
            from hdrvid.io.frames import natural_key

            return [rows[i] for i in sorted(range(len(rows)), key=lambda i: natural_key(cells[i]))]
    return list(rows)
