"""JSON files that hdrvid reads: whatever is wrong with one is an InputError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hdrvid.bounds import MAX_JSON_BYTES
from hdrvid.errors import InputError
from hdrvid.io.text_files import read_small_file


def read_json(path: Path, what: str) -> Any:
    """The value in a JSON file; `what` says what the file should be, for example 'a results.json of hdrvid eval'.

    Raises InputError where the file is missing, no regular file, too large, or no JSON.
    """
    content = read_small_file(path, what, MAX_JSON_BYTES)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # of bytes, of the syntax, of the nesting
        raise InputError(f"{path} is not {what}: it is damaged, or another kind of file") from error


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The same of a file that holds an object. Raises InputError."""
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not {what}: it is damaged, or another kind of file")
    return value
