"""JSON files that hdrvid reads: whatever is wrong with one is an InputError."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from hdrvid.bounds import MAX_JSON_BYTES
from hdrvid.errors import InputError


def read_json(path: Path, what: str) -> Any:
    """The value in a JSON file; `what` says what the file should be, for example 'a results.json of hdrvid eval'.

    Raises InputError where the file is missing, no regular file, too large, or no JSON.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe may never end
            raise InputError(f"{path} is no file: give {what}")
        if status.st_size > MAX_JSON_BYTES:
            raise InputError(f"{path} has {status.st_size >> 20} MiB, too much for {what}: give another file")
        return json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): give {what}") from error
    except (ValueError, RecursionError) as error:  # of a path with a zero byte, of bytes, of the syntax, of the nesting
        raise InputError(f"{path} is not {what}: it is damaged, or another kind of file") from error


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The same of a file that holds an object. Raises InputError."""
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not {what}: it is damaged, or another kind of file")
    return value
