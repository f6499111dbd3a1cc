"""Which files hdrvid may replace: those that it wrote, which carry a mark.

The mark is a header entry of EXR, .hdr and safetensors files, a text chunk of PNG, the comment of MP4, the generator of
HTML, the first comment of tables and drawings, and the keys of JSON and CSV.
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

Mark = Callable[[Path, bytes], bool]
"""Tells whether a file carries a mark, from its path and its first bytes."""


def _in_head(text: bytes, num_bytes: int = _HEAD_BYTES) -> Mark:
    return lambda path, head: text in head[:num_bytes]


def _with_keys(*keys: str) -> Mark:
    """The mark of a JSON file: the keys of the object in it."""

    def has_keys(path: Path, head: bytes) -> bool:
        try:
            return set(keys) <= set(read_object(path, "a file of hdrvid"))
        except InputError:
            return False

    return has_keys


def _is_movie(path: Path, head: bytes) -> bool:
    import av

    try:
        with av.open(str(path.absolute())) as container:
            return bool(container.metadata.get("comment") == MOVIE_COMMENT)
    except (av.FFmpegError, OSError, ValueError):
        return False


FRAME = _in_head(b"hdrvid:")
MOVIE = _is_movie
PICTURE = _in_head(b"tEXtSoftware\0hdrvid", 256)
PAGE = _in_head(HTML_GENERATOR)
WEIGHTS = _in_head(b'"hdrvid-1"')
TABLE = _in_head(b"model,scene,frame,exposure", 26)
PAPER_TABLE = _in_head(b"hdrvid eval", 256)
REPORT = _with_keys("version", "source", "stops", "outputs")
SCORES = _with_keys("format", "dataset", "protocol", "model")
SYNTHETIC_CLIP = _with_keys("seed", "truth_white", "clip", "stops")
SCENE = _with_keys("key", "scene", "scores")
BENCHMARK = _with_keys("machine", "results")
TRAIN_LOG = _in_head(b'{"step": ', 9)
CACHE = _in_head(b'{"count": ', 10)  # one that was cut short is one still


def marked_png(data: bytes) -> bytes:
    """A PNG file with the mark."""
    text = b"tEXtSoftware\0hdrvid"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return data[:_PNG_HEAD_BYTES] + chunk + data[_PNG_HEAD_BYTES:]


def is_own(path: Path, mark: Mark) -> bool:
    """Whether a file carries a mark, or holds nothing that could be lost. False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return not head.strip(b"\0") or mark(path, head)  # zeros are what a power cut leaves


def replaceable_target(path: PathLike, mark: Mark, advice: str, *, overwrite: bool = False) -> Path:
    """The file that is written for `path`, as `writable_target` gives it.

    Raises OutputError with `advice` where there is a file without the mark, unless the user said `overwrite`.
    """
    target = writable_target(path)
    if not overwrite and target.exists() and not is_own(target, mark):
        raise OutputError(f"{path} exists already and was not written by this command: {advice}")
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
