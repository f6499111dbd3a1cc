"""Short text files that hdrvid reads: lists of names and of stops."""

from __future__ import annotations

import stat
from pathlib import Path

from hdrvid.bounds import MAX_TEXT_BYTES
from hdrvid.errors import InputError


def read_text(path: Path, what: str) -> str:
    """The text of a file; `what` says what the file should be, for example 'a text file with one stop a line'.

    Raises InputError where the file is missing, no regular file, too large, or no text in UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe may never end
            raise InputError(f"{path} cannot be read, it is no file: give {what}")
        if status.st_size > MAX_TEXT_BYTES:
            raise InputError(f"{path} is too large: give {what}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: give {what}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}): give {what}") from None
