"""Tables of exposures: a CSV file with headings or a JSON file, one row a frame."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hdrvid.errors import InputError
from hdrvid.io.exposure_units import SECONDS_OF_UNIT, Exposure, parse_exposure
from hdrvid.io.text_files import finite_number
from hdrvid.types import MAX_CYCLE_FRAMES

_TIME_NAMES = ("exposure", "exposure_time", "exposuretime", "shutter", "shutter_speed", "integration_time")
_UNIT = re.compile(r"(?P<name>.*?)[_ ]*[\[(]?(?P<unit>us|µs|μs|ms|s|sec|seconds|stops|ev|db)[\])]?")
_ORDER_NAMES = ("frame", "index", "frame_number", "number")
_FILE_NAMES = ("file", "filename", "file_name", "name", "image", "path")

_WITHOUT_UNIT = {"exposure": "exposure_ms, exposure_us, exposure_s or stops", "gain": "gain_db"}
"""Headings that do not say their unit, and what to call them."""

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


def read_table(path: Path, text: str, frame_names: Sequence[str] = ()) -> list[Exposure] | None:
    """The exposure of every frame, from frame 0 on, in a JSON text or one that begins with a line of headings; None
    for another text.

    Rows are in the order of a column of frame numbers or file names, where there is one. Where it names all files of
    `frame_names`, the frames of the clip in order, their rows are taken. Exposure times, gains in dB,
    ISO and apertures add up. A JSON list without headings holds what `parse_exposure` takes. Raises InputError where no
    heading is an exposure, or a cell means none.
    """
    rows: list[Mapping[str, Any]]
    if text.lstrip()[:1] in ("[", "{"):
        values = _json_list(path, text)
        if values and not any(isinstance(value, dict) for value in values):
            return [_listed(path, number, value) for number, value in enumerate(values, 1)]
        rows = [{str(key): cell for key, cell in row.items()} for row in values if isinstance(row, dict)]
    elif _has_headings(text):
        rows = _csv_rows(path, text)
    else:
        return None
    if not rows:
        raise InputError(f"{path} holds no rows: write one a frame under headings such as {HEADINGS}")
    rows = _rows_of(path, rows, frame_names) or _in_order(path, rows)
    columns = _columns(path, rows)
    return [Exposure(_stops_of_row(path, number, row, columns), "table") for number, row in enumerate(rows, 1)]


def _has_headings(text: str) -> bool:
    lines = (line.split("#", 1)[0] for line in text.splitlines())
    words = re.split(r"[\s,;]+", next((line for line in lines if line.strip()), "").strip())
    return words != [""] and all(parse_exposure(word) is None for word in words)


def _listed(path: Path, number: int, value: Any) -> Exposure:
    exposure = parse_exposure(str(value))
    if exposure is None:
        raise InputError(f"number {number} of {path} is '{str(value)[:40]}': give stops, or times with their unit")
    return exposure


def _columns(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[_Column]:
    """The columns that make up the exposure."""
    headings = list(rows[0])
    for heading in headings:
        advice = _WITHOUT_UNIT.get(_normalised(heading))
        if advice and len({str(row.get(heading)).strip() for row in rows}) > 1:
            raise InputError(f"{path} does not say the unit of '{heading}': name it {advice}")
    columns = [column for heading in headings if (column := _column(heading)) is not None]
    if not columns:
        raise InputError(f"{path} has no column of exposures ({', '.join(headings)[:80]}): name one of {HEADINGS}")
    kinds = [column.kind for column in columns]
    if kinds.count("time") > 1 or ("stops" in kinds and len(kinds) > 1):
        doubled = " and ".join(column.heading for column in columns)
        raise InputError(f"{path} has the exposure more than once ({doubled}): keep one of these columns")
    return columns


def _stops_of_row(path: Path, number: int, row: Mapping[str, Any], columns: Sequence[_Column]) -> float:
    total = 0.0
    for column in columns:
        cell = "" if row.get(column.heading) is None else str(row[column.heading]).strip()
        stops = column.stops(cell)
        if stops is None:
            what = f"row {number} of {path} has '{cell[:40]}' under {column.heading}"
            raise InputError(f"{what}: {_advice(column, cell)}")
        total += stops
    return total


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


def _json_list(path: Path, text: str) -> list[Any]:
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
    return values


def _normalised(heading: str) -> str:
    return re.sub(r"[\s-]+", "_", heading.strip().lower())


def _column(heading: str) -> _Column | None:
    """What a heading means; None for one that says nothing of the exposure."""
    name = _normalised(heading)
    match = _UNIT.fullmatch(name)
    base, unit = (match["name"].rstrip("_"), match["unit"]) if match else (name, "")
    if name in ("stops", "ev") or (unit in ("stops", "ev") and base in ("exposure", "")):
        return _Column(heading, _stops, "stops")
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
        return _Column(heading, lambda cell: _logarithm(finite_number(cell.lower().removeprefix("iso"))))
    if name in ("aperture", "f_number", "fnumber", "f_stop"):
        return _Column(heading, _aperture)
    return None


def _stops(cell: str) -> float | None:
    exposure = parse_exposure(cell)
    return exposure.stops if exposure is not None and exposure.kind == "stops" else None


def _time(cell: str, scale: float | None) -> float | None:
    """Stops of a time with its unit, or of a plain number of `scale` seconds; None: a plain number is no time."""
    exposure = parse_exposure(cell)
    if exposure is not None and exposure.kind == "time":
        return exposure.stops
    return None if scale is None else _logarithm(finite_number(cell), scale)


def _decibels(cell: str) -> float | None:
    value = finite_number(cell)
    return None if value is None else value / (20 * math.log10(2))


def _aperture(cell: str) -> float | None:
    value = _logarithm(finite_number(cell.lower().removeprefix("f/")))
    return None if value is None else -2 * value


def _logarithm(value: float | None, scale: float = 1.0) -> float | None:
    return math.log2(value * scale) if value is not None and value > 0 else None


def _rows_of(path: Path, rows: Sequence[Mapping[str, Any]], frame_names: Sequence[str]) -> list[Mapping[str, Any]]:
    """The rows of these files, in their order, by the file names or else the frame numbers of the table; none where it
    has neither, or counts rows. Raises InputError where a file has no row, or a table names other files."""
    for heading in rows[0] if frame_names else ():
        cells = [str(row.get(heading) or "").strip() for row in rows]
        if _normalised(heading) in _FILE_NAMES and all(cells):
            named = [re.split(r"[\\/]", cell)[-1].lower() for cell in cells]
            keys = [[n.lower() for n in frame_names], [Path(n).stem.lower() for n in frame_names]]
            names = max(keys, key=lambda names: sum(name in named for name in names))
            return _matched(path, dict(zip(named, rows, strict=True)), names, "file")
    for heading in rows[0] if frame_names else ():
        values = [finite_number(str(row.get(heading) or "").strip()) for row in rows]
        texts = [re.findall(r"\d+", Path(name).stem)[-1:] for name in frame_names]
        if _normalised(heading) in _ORDER_NAMES and None not in values and all(texts):
            numbers = [float(text[0]) for text in texts]
            common = len(set(numbers) & set(values))
            # as many rows as files are these files, whatever the first one is called; a few are a cycle
            is_other = common and len(rows) != len(numbers) and len(rows) > MAX_CYCLE_FRAMES
            if len(set(values)) == len(values) and (common == len(numbers) or is_other):
                return _matched(path, dict(zip(values, rows, strict=True)), numbers, "frame")
    return []


def _matched(path: Path, row_of: Mapping[Any, Any], keys: Sequence[Any], what: str) -> list[Mapping[str, Any]]:
    missing = [key for key in keys if key not in row_of]
    if missing:
        name = missing[0] if isinstance(missing[0], str) else f"{missing[0]:.0f}"
        raise InputError(f"{path} has no row for {what} {name}: give one row a frame of the clip")
    return [row_of[key] for key in keys]


def _require_every_frame(path: Path, frames: Sequence[tuple[float, str]]) -> None:
    """Raise InputError where frame numbers, rising, are doubled or leave some out: rows would go to other frames."""
    steps = [b - a for (a, _), (b, _) in pairwise(frames)]
    usual = min((step for step in steps if step > 0), default=0.0)
    for (_, before), (_, after), step in zip(frames, frames[1:], steps, strict=False):
        if step == 0:
            raise InputError(f"{path} has two rows of frame {after}: keep one row a frame")
        if step > 1.5 * usual:
            raise InputError(f"{path} has no row between frames {before} and {after}: give one row a frame")


def _in_order(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows by frame number or by file name, where a column has them, else as they are."""
    for heading in rows[0]:
        cells = [str(row.get(heading) or "0") for row in rows]
        if _normalised(heading) in _ORDER_NAMES and all(finite_number(cell) is not None for cell in cells):
            order = sorted(range(len(rows)), key=lambda i: float(cells[i]))
            _require_every_frame(path, [(float(cells[i]), cells[i].strip()) for i in order])
            return [rows[i] for i in order]
        if _normalised(heading) in _FILE_NAMES and len(set(cells)) == len(cells):
            from hdrvid.io.frames import natural_key

            return [rows[i] for i in sorted(range(len(rows)), key=lambda i: natural_key(cells[i]))]
    return list(rows)
