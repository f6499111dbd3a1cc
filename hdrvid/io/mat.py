"""Numeric arrays of MATLAB files, version 4 and 5 to 7 (MathWorks, MAT-File Format, 2019).

Written here because SciPy's reader follows what the file says into memory that is not there: flipped bytes end the
process with a segmentation fault.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hdrvid.errors import InputError

LARGEST_FILE_BYTES = 64 << 20
"""A camera curve has kilobytes; so much is read, and so much is unpacked, at the most."""

_HEADER_BYTES = 128
_SAMPLE_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MATRIX, _COMPRESSED = 14, 15
_NUMERIC_CLASSES = range(6, 16)
_OLD_SAMPLE_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")


class _Malformed(Exception):
    """The bytes are no MATLAB file."""


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """Real numeric arrays with two dimensions, by variable name; texts, cells, structures and sparse arrays are left
    out, of complex arrays the imaginary part.

    Raises InputError where the file is missing, too large, damaged, no MATLAB file, or of version 7.3 (HDF5).
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise InputError(f"{path} is too large for a camera curve: save the curve alone")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror or error}") from error
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[512:520] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path} is a MATLAB 7.3 file, which is not read: save it again with -v7")
    try:
        orders = {b"IM": "<", b"MI": ">"}
        if len(data) > _HEADER_BYTES and data[126:128] in orders:
            order = orders[data[126:128]]
            return dict(_variables(data[_HEADER_BYTES:], order, LARGEST_FILE_BYTES))
        return dict(_old_variables(data))
    except (_Malformed, struct.error, zlib.error, ValueError, OverflowError, MemoryError):
        raise InputError(
            f"{path} cannot be read as a MATLAB file, it is damaged or of another kind: "
            "save the curve again, or give a .csv with the columns code,r,g,b"
        ) from None


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of the data elements that follow each other in `data`."""
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        if kind >> 16:  # a small element: size, type and up to four bytes in one tag
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
            if size > 4:
                raise _Malformed
        else:
            begin = position + 8
            end = begin + size if kind == _COMPRESSED else begin + -(-size // 8) * 8
        if begin + size > len(data):
            raise _Malformed
        yield kind, data[begin : begin + size]
        position = end


def _variables(data: bytes, order: str, room: int) -> Iterator[tuple[str, np.ndarray]]:
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, room)
            if unpacker.unconsumed_tail or not unpacker.eof:
                raise _Malformed
            yield from (v for k, c in _elements(content, order) if k == _MATRIX for v in _array(c, order))
        elif kind == _MATRIX:
            yield from _array(content, order)


def _array(content: bytes, order: str) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the samples of one matrix element, or nothing where it is not numeric or has not two dimensions."""
    parts = list(_elements(content, order))
    if len(parts) < 3 or len(parts[0][1]) < 4:
        raise _Malformed
    array_class = struct.unpack_from(f"{order}I", parts[0][1])[0] & 0xFF
    if array_class not in _NUMERIC_CLASSES:
        return
    dimensions = np.frombuffer(parts[1][1], f"{order}i4").tolist()
    name = parts[2][1].decode("latin-1")
    if len(dimensions) != 2:
        return
    if len(parts) < 4 or parts[3][0] not in _SAMPLE_TYPES:
        raise _Malformed
    yield name, _matrix(parts[3][1], order + _SAMPLE_TYPES[parts[3][0]], *dimensions)


def _old_variables(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Version 4: a header of five integers, the name, the samples, for one variable after the other."""
    if not data:
        raise _Malformed
    position = 0
    while position < len(data):
        order = "<" if struct.unpack_from("<I", data, position)[0] < 5000 else ">"
        code, rows, columns, imaginary, name_bytes = struct.unpack_from(f"{order}5I", data, position)
        machine, reserved, precision, kind = code // 1000, code // 100 % 10, code // 10 % 10, code % 10
        if machine != (order == ">") or reserved or precision >= len(_OLD_SAMPLE_TYPES) or kind > 2 or imaginary > 1:
            raise _Malformed
        sample_type = np.dtype(order + _OLD_SAMPLE_TYPES[precision])
        begin = position + 20 + name_bytes
        end = begin + rows * columns * sample_type.itemsize
        if end > len(data) or not 1 < name_bytes < 4096:
            raise _Malformed
        if kind == 0:
            name = data[position + 20 : begin].rstrip(b"\0").decode("latin-1")
            yield name, _matrix(data[begin:end], sample_type, rows, columns)
        position = end + (end - begin) * imaginary


def _matrix(samples: bytes, sample_type: str | np.dtype, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) from samples stored column by column."""
    values = np.frombuffer(samples, sample_type)
    if rows < 0 or columns < 0 or values.size != rows * columns:
        raise _Malformed
    return values.reshape(columns, rows).T.astype(values.dtype.newbyteorder("="))
