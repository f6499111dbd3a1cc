"""Files that appear complete or not at all, and one sentence for every way a disk can refuse."""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hdrvid.disk_errors import errno_from_text, output_error
from hdrvid.errors import OutputError
from hdrvid.types import PathLike

_MAX_NAME_BYTES = 255


def require_short_names(path: Path) -> None:
    """Raise OutputError for a path with a name that no file can have, before the folders above it are made."""
    if any(len(os.fsencode(name)) > _MAX_NAME_BYTES for name in path.parts):
        raise output_error(path, OSError(errno.ENAMETOOLONG, ""))


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, where they are missing. Raises OutputError."""
    require_short_names(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"cannot write to {folder}: {folder} is not a folder: choose another one") from error
    except (OSError, ValueError) as error:
        raise output_error(folder, error) from error
    return folder


_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFLNK: "link in a circle"}


def writable_target(path: PathLike) -> Path:
    """The file that is written for `path`: where `path` is a symbolic link, what it points to.

    Raises OutputError where there is something else than a regular file: a rename over a device, a pipe, a socket or a
    link to one of them would replace it, and the system with it.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = os.lstat(target).st_mode
    except OSError:
        return target  # not there yet; what else is wrong shows when it is written
    if stat.S_ISREG(mode):
        if not os.access(target, os.W_OK):
            raise OutputError(f"cannot write {path}: the file is write-protected: remove it or choose another name")
        return target
    kind = _KINDS.get(stat.S_IFMT(mode), "device")
    raise OutputError(f"cannot write {path}: a {kind} of that name is in the way: choose another name")


ABANDONED_SECONDS = 3600
"""A temporary file of another machine without a write for so long belongs to a run that was killed."""

_PARTIAL = re.compile(r"\..*\.partial-(?:(?P<machine>[0-9a-f]{8})-)?(?P<process>\d+)(?:\.[^.]*)?")


def partial_path(target: Path) -> Path:
    """The temporary file from which this process makes `target`: its name says the machine and the process."""
    return target.with_name(f".{target.stem}.partial-{machine_id()}-{os.getpid()}{target.suffix}")


def is_abandoned(partial: Path) -> bool:
    """Whether the process that was writing a temporary file is gone.

    The processes of this machine can be asked; those of another one that shares the folder cannot, and the time tells.
    """
    match = _PARTIAL.fullmatch(partial.name)
    if match is None:
        return False
    if match["machine"] == machine_id():
        return not _is_running(int(match["process"]))
    try:
        return time.time() - partial.lstat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


def remove_abandoned(target: Path) -> None:
    """Remove what killed runs have left of `target`: the temporary files from which they were making it."""
    begin = f".{target.stem}.partial-"
    with suppress(OSError):
        for path in target.parent.iterdir():
            if path.name.startswith(begin) and path.suffix == target.suffix and is_abandoned(path):
                with suppress(OSError):
                    path.unlink()


def machine_id() -> str:
    """The name of this machine in 8 letters: base names are long enough without it."""
    return f"{zlib.crc32(platform.node().encode('utf-8', 'surrogateescape')):08x}"


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # cannot be asked without ending it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return process != os.getpid()  # this process has not begun to write: the number is an old one


@contextmanager
def atomic_path(path: PathLike, *, durable: bool = False) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`, with its suffix, and rename it to `path` on success.

    On any exception, KeyboardInterrupt included, the temporary file is removed and `path` is untouched. `durable`
    flushes the file to the disk before the rename, so that it survives a power cut. A symbolic link stays, and the file
    it points to is replaced. A file that is replaced hands on its permissions.
    Raises OutputError at once where `path` is there and no regular file, and where the body or the rename meets an
    OSError, or a RuntimeError that names a disk problem.
    """
    target = writable_target(path)
    partial = partial_path(target)
    try:
        yield partial
        if durable:
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
        writable_target(target)  # the body may have taken hours
        with suppress(OSError):
            os.chmod(partial, stat.S_IMODE(os.stat(target).st_mode))
        os.replace(partial, target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError) or (isinstance(error, RuntimeError) and errno_from_text(str(error))):
            raise output_error(path, error) from error
        raise
