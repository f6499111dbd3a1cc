"""What `--response` takes: the name of a curve, or a measured one in a .mat or .csv file.

`gammaX.Y`, `sigmoidN,S`, `contrastG,S` and `NAME@BLACK,WHITE` are names that hdrvid itself gives to a response it has
found in a clip.

A file holds the INVERSE response: the linear exposure of evenly spaced codes from black to white, for one curve or
for R, G and B. Any scale will do, the curve is normalised to 0..1. A curve with negative values is taken to be the
log exposure g(z) of Debevec & Malik 1997 (natural logarithm, as their `gsolve`) and is exponentiated.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np

from hdrvid.color.response import (
    RESPONSES,
    Response,
    clipped_response,
    contrast_response,
    gamma_response,
    levelled_response,
    measured_response,
    sigmoid_response,
)
from hdrvid.errors import InputError
from hdrvid.io.mat import read_mat
from hdrvid.io.text_files import finite_number

MAT_VARIABLE = "BaslerCRF"
"""Variable of the curve in Kalantari's set."""

GAMMA_RANGE = (1.0, 4.0)
"""Exponents that `gammaX.Y` may have."""

LARGEST_CSV_BYTES = 16 << 20
"""A curve of 65536 codes takes 3 MB."""

SIGMOID_RANGE = (0.1, 10.0)
"""Numbers that `sigmoidN,S` may have."""

_UNSIGNED = r"\d+(?:\.\d+)?"
_SIGNED = rf"-?{_UNSIGNED}(?:e-?\d+)?"
_FIX = "give a .csv with the columns code,r,g,b, or one of the named responses"


def load_response(spec: str) -> Response:
    """The response that `spec` names.

    A name of `RESPONSES`, `gammaX.Y` with 1 <= X.Y <= 4, `sigmoidN,S` for `sigmoid_response(N, S)` with both from 0.1
    to 10, `contrastG,S` for `contrast_response(G, S)`, or a .mat or .csv file. `NAME@BLACK,WHITE` is any of these with
    codes scaled by `levelled_response`: gamma2.2@0.0627,0.9216 is limited range that was read as full.
    `NAME:CODE` is a curve whose sensor clips at that code (`clipped_response`).

    A .mat file holds the curve in the variable `BaslerCRF`, or in its only numeric array of 1 or 3 columns (or rows)
    and at least 2 samples. A .csv file has the columns code,r,g,b or r,g,b or code,linear or linear, with or without
    a line of headings; codes must be evenly spaced.
    Raises InputError for an unknown name and for a file that holds no such curve.
    """
    spec = spec.strip()
    if spec.lower() in RESPONSES:
        return RESPONSES[spec.lower()]
    if match := re.fullmatch(r"gamma(\d+(?:\.\d+)?)", spec.lower()):
        gamma = float(match[1])
        if not GAMMA_RANGE[0] <= gamma <= GAMMA_RANGE[1]:
            raise InputError(
                f"a gamma of {gamma:g} is not a camera's: give gamma1.0 to gamma4.0, or gamma2.2 if unsure"
            )
        return gamma_response(gamma)
    if match := re.fullmatch(r"sigmoid(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", spec.lower()):
        exponent, sigma = float(match[1]), float(match[2])
        if not all(SIGMOID_RANGE[0] <= value <= SIGMOID_RANGE[1] for value in (exponent, sigma)):
            raise InputError(f"'{spec[:80]}' is not a camera's: give two numbers as in sigmoid0.9,0.6")
        return sigmoid_response(exponent, sigma)
    if match := re.fullmatch(rf"contrast({_UNSIGNED}),({_SIGNED})", spec.lower()):
        gamma, strength = float(match[1]), float(match[2])
        if not (GAMMA_RANGE[0] <= gamma <= GAMMA_RANGE[1] and -1.0 <= strength < 1.0):
            raise InputError(f"'{spec[:80]}' is not a camera's: give a gamma and a strength as in contrast2.2,0.4")
        return contrast_response(gamma, strength)
    match = re.fullmatch(rf"(.+):({_UNSIGNED})", spec)
    if match and not os.path.isfile(os.path.expanduser(spec)):
        try:
            return clipped_response(load_response(match[1]), float(match[2]))
        except ValueError as error:
            raise InputError(f"'{spec[:80]}': {error}") from None
    match = re.fullmatch(rf"(.+)@({_SIGNED}),({_SIGNED})", spec)
    if match and not os.path.isfile(os.path.expanduser(spec)):
        try:
            return levelled_response(load_response(match[1]), float(match[2]), float(match[3]))
        except ValueError as error:
            raise InputError(f"'{spec[:80]}': {error}") from None
    path = Path(os.path.expanduser(spec))
    readers = {".mat": _read_mat, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(RESPONSES)
        raise InputError(f"'{spec[:80]}' is no known response: give one of {known}, gammaX.Y, or a .mat or .csv file")
    if not os.path.isfile(path):
        raise InputError(f"there is no response file {path}: check --response")
    return _response(path, reader(path))


_MOST_FALL = 0.05
"""Share of its range by which a curve may fall: measured ones are noisy where few samples are."""


def _response(path: Path, curve: np.ndarray) -> Response:
    if np.isfinite(curve).all() and (curve < 0).any():
        curve = np.exp(curve - curve.max(axis=0))
    fall = (np.maximum.accumulate(curve, axis=0) - curve).max(axis=0)
    if np.isfinite(curve).all() and (fall > _MOST_FALL * (curve.max(axis=0) - curve.min(axis=0))).any():
        raise InputError(f"{path} cannot be used: its curve falls on the way from black to white; {_FIX}")
    try:
        return measured_response(path.name, curve)
    except ValueError as error:
        raise InputError(f"{path} cannot be used: {error}; {_FIX}") from None


def _as_curve(array: np.ndarray) -> np.ndarray | None:
    """(N, 3) or (N,) with N >= 2 where `array` can be read as a curve, transposed where it is stored in rows."""
    if array.dtype.kind not in "fiu" or array.ndim > 2 or array.ndim == 0:
        return None
    table = np.asarray(array, np.float64)
    if table.ndim == 2 and (table.shape[1] not in (1, 3) or table.shape[0] == 1):
        table = table.T
    if table.ndim == 2 and table.shape[1] == 1:
        table = table[:, 0]
    if table.shape[0] < 2 or table.shape[1:] not in ((), (3,)):
        return None
    return table


def _read_mat(path: Path) -> np.ndarray:
    arrays = read_mat(path)
    if MAT_VARIABLE in arrays:
        arrays = {MAT_VARIABLE: arrays[MAT_VARIABLE]}
    curves = {k: c for k, v in arrays.items() if (c := _as_curve(v)) is not None}
    if len(curves) == 1:
        return next(iter(curves.values()))
    if not curves:
        raise InputError(f"{path} holds no curve of 1 or 3 columns and 2 or more samples: {_FIX}")
    raise InputError(
        f"{path} holds several curves ({', '.join(sorted(curves))}): name the right one {MAT_VARIABLE}, or {_FIX}"
    )


def _read_csv(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > LARGEST_CSV_BYTES:
            raise InputError(f"{path} is too large for a curve: {_FIX}")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: {_FIX}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check --response") from None
    delimiter = ";" if ";" in text else "\t" if "\t" in text and "," not in text else ","
    heading: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(csv.reader(text.splitlines(), delimiter=delimiter), start=1):
        cells = [cell.strip() for cell in line]
        if not any(cells) or cells[0].startswith("#"):
            continue
        values = [finite_number(cell) for cell in cells]
        if None in values:
            if rows or heading:
                raise InputError(f"line {number} of {path} is not a row of numbers: {_FIX}")
            heading = [cell.lower() for cell in cells]
            continue
        row = [v for v in values if v is not None]
        if rows and len(row) != len(rows[0]):
            raise InputError(
                f"line {number} of {path} has {len(row)} values where the others have {len(rows[0])}: {_FIX}"
            )
        rows.append(row)
    if len(rows) < 2:
        raise InputError(f"{path} holds fewer than two samples of a curve: {_FIX}")
    table = np.array(rows)
    if heading and len(heading) != table.shape[1]:
        raise InputError(f"{path} has {len(heading)} headings for {table.shape[1]} columns: {_FIX}")
    columns = table.shape[1]
    if columns in (1, 3):
        return _in_order(heading, table)
    if columns in (2, 4):
        return _in_order(heading[1:], _sorted_by_code(path, table))
    raise InputError(f"{path} has {columns} columns: {_FIX}")


def _in_order(heading: list[str], table: np.ndarray) -> np.ndarray:
    """Columns as R, G, B where the headings say that they come in another order."""
    initials = [name[:1] for name in heading]
    if table.shape[1] == 3 and sorted(initials) == ["b", "g", "r"]:
        table = table[:, [initials.index(c) for c in "rgb"]]
    return table[:, 0] if table.shape[1] == 1 else table


def _sorted_by_code(path: Path, table: np.ndarray) -> np.ndarray:
    table = table[np.argsort(table[:, 0], kind="stable")]
    steps = np.diff(table[:, 0])
    if not np.allclose(steps, steps.mean(), rtol=0.01, atol=0) or steps.mean() <= 0:
        raise InputError(f"the codes in the first column of {path} must be evenly spaced and differ: {_FIX}")
    return table[:, 1:]
