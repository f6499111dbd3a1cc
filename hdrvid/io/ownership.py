"""Which files hdrvid may replace: those that it wrote, which carry a mark.

The mark is a header entry of EXR, .hdr and safetensors files, a text chunk of PNG, the comment of MP4, the generator of
HTML, and the keys of JSON and CSV.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from hdrvid.errors import InputError, OutputError
from hdrvid.io.atomic import writable_target
from hdrvid.io.json_files import read_object
from hdrvid.types import PathLike

MOVIE_COMMENT = "made by hdrvid"
"""Comment in the metadata of MP4 files."""

HTML_GENERATOR = b'<meta name="generator" content="hdrvid">'
"""Element in the head of HTML pages."""

OVERWRITE_ADVICE = "give --overwrite to replace it, or choose another folder"
"""What to do, for commands that have the option."""

_PNG_HEAD_BYTES = 33
"""Signature and IHDR chunk."""

_HEAD_BYTES = 1 << 16

_JSON_KEYS = (
    {"version", "source", "stops", "outputs"},  # report of a reconstruction
    {"format", "dataset", "protocol", "model"},  # results of an evaluation
    {"key", "scene", "scores"},  # one scene of them
    {"seed", "truth_white", "clip", "stops"},  # synthetic clip
    {"machine", "results"},  # benchmark
)
"""Keys of the JSON files that hdrvid writes."""


def marked_png(data: bytes) -> bytes:
    """A PNG file with the mark."""
    text = b"tEXtSoftware\0hdrvid"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:_PNG_HEAD_BYTES] + chunk + data[_PNG_HEAD_BYTES:]


def is_own(path: Path) -> bool:
    """Whether hdrvid wrote a file, or it holds nothing that could be lost. False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if not head.strip(b"\0"):  # nothing, or what a power cut leaves
        return True
    return _MARKS.get(path.suffix.lower(), lambda path, head: False)(path, head)


def replaceable_target(path: PathLike, advice: str = "choose another path", *, overwrite: bool = False) -> Path:
    """The file that is written for `path`, as `writable_target` gives it.

    Raises OutputError with `advice` where there is a file that hdrvid did not write, unless the user said `overwrite`.
    """
    target = writable_target(path)
    if not overwrite and target.exists() and not is_own(target):
        raise OutputError(f"{path} exists already and was not written by hdrvid: {advice}")
    return target


def require_unread(targets: Iterable[PathLike], inputs: Iterable[PathLike], advice: str) -> None:
    """Raise OutputError with `advice` where a file that is to be written is one that is read."""
    read_files = {}
    for item in inputs:
        with suppress(OSError, ValueError):
            status = os.stat(item)
            read_files[status.st_dev, status.st_ino] = item
    for target in targets:
        with suppress(OSError, ValueError):
            status = os.stat(target)
            if (status.st_dev, status.st_ino) in read_files:
                raise OutputError(f"{target} is read by this command, so it cannot be written: {advice}")


def _is_own_movie(path: Path, head: bytes) -> bool:
    import av

    try:
        with av.open(str(path.absolute())) as container:
            return container.metadata.get("comment") == MOVIE_COMMENT
    except (av.FFmpegError, OSError, ValueError):
        return False


def _is_own_json(path: Path, head: bytes) -> bool:
    try:
        keys = set(read_object(path, "a file of hdrvid"))
    except InputError:
        return False
    return any(own <= keys for own in _JSON_KEYS)


_MARKS: dict[str, Callable[[Path, bytes], bool]] = {
    ".exr": lambda path, head: b"hdrvid:" in head,
    ".hdr": lambda path, head: b"hdrvid:" in head,
    ".png": lambda path, head: b"tEXtSoftware\0hdrvid" in head[:256],
    ".mp4": _is_own_movie,
    ".html": lambda path, head: HTML_GENERATOR in head,
    ".json": _is_own_json,
    ".csv": lambda path, head: head.startswith(b"model,scene,frame,exposure"),
    ".safetensors": lambda path, head: b'"hdrvid-1"' in head,
}
"""Whether a file carries the mark, by suffix; takes its path and its first bytes."""
