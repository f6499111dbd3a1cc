"""One sentence for every way in which a disk can refuse."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from hdrvid.errors import OutputError

if TYPE_CHECKING:
    from hdrvid.types import PathLike

REASONS = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EACCES: "permission denied: choose a folder you may write to",
    errno.EPERM: "permission denied: choose a folder you may write to",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENOENT: "the folder does not exist, or not any more: create it and start again",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another path",
    errno.EISDIR: "a folder of that name is in the way: remove it or choose another name",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.ELOOP: "it is a link in a circle: remove the link or choose another name",
    errno.ENOMEM: "there is too little memory: ask for less",
    errno.EFBIG: "the file is too large for this disk: choose another one",
}
"""What happened and what to do, by number of the error."""


def output_error(path: PathLike, error: BaseException) -> OutputError:
    """The OutputError for `error`, met while writing `path`: what happened and what to do, in one sentence."""
    number = error.errno if isinstance(error, OSError) else errno_from_text(str(error))
    reason = REASONS.get(number) if number else None
    if reason is None:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        reason = " ".join(reason.split()).rstrip(".")
    return OutputError(f"cannot write {path}: {reason}")


def errno_from_text(text: str) -> int | None:
    """The errno whose message a library without error codes (OpenEXR) put into its exception."""
    return next((number for number in REASONS if os.strerror(number) in text), None)
