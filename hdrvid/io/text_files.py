"""Small files that hdrvid reads whole, and the numbers in their text."""

from __future__ import annotations

import errno
import math
import os
import stat
from pathlib import Path

from hdrvid.bounds import MAX_TEXT_BYTES
from hdrvid.errors import InputError


def read_text(path: Path, what: str) -> str:
    """The text of a file; `what` says what the file should be, for example 'a text file with one stop a line'.

    Raises InputError where the file is missing, no regular file, too large, or no text in UTF-8.
    """
    try:
        return read_small_file(path, what, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: give {what}") from None


def read_small_file(path: Path, what: str, max_bytes: int) -> bytes:
    """The content of a file; `what` says what the file should be.

    Raises InputError where the file is missing, no regular file, or larger than `max_bytes`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe may never end
            raise InputError(f"{path} cannot be read, it is no file: give {what}")
        if status.st_size > max_bytes:
            raise InputError(f"{path} is too large: give {what}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}): give {what}") from None


def require_file(path: Path) -> None:
    """Raise InputError, with what is there instead, where `path` is no regular file."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        number = getattr(error, "errno", None)
        if os.path.islink(path):
            raise InputError(f"{path} is a link that leads to no file: check what it points to") from error
        if number in (None, errno.ENOENT, errno.ENOTDIR):
            raise InputError(f"{path} does not exist: check the path") from error
        raise InputError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    if not stat.S_ISREG(mode):
        kind = kinds.get(stat.S_IFMT(mode), "device")
        raise InputError(f"{path} is no file but a {kind}: copy what it gives into a file and name that")


def finite_number(text: str) -> float | None:
    """The number that a text is; None where it is none, or infinite.

    >>> finite_number(" 0.5"), finite_number("nan"), finite_number("half")
    (0.5, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
