"""One run at a time for the same frames: a lock that the system drops with the process, however that ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hdrvid.errors import OutputError
from hdrvid.io.atomic import is_abandoned, make_folder, output_error


@contextmanager
def frames_lock(folder: Path, stem: str, first: int, last: int | None) -> Iterator[None]:
    """Claim the frames first..last (None: to the end) of the clip `stem` in `folder`, made where it is not there.

    Ranges that do not overlap may be claimed side by side. A claim is a hidden file, `.STEM.A-B.run`, under a lock of
    the operating system: one whose process is gone counts for nothing and is removed. Where a file system has no
    locks every claim is granted. Raises OutputError where another run has claimed some of these frames.
    """
    name = f".{stem}.{first}-{'end' if last is None else last}.run"
    with _claimed(folder, name, lambda: _refuse_overlap(folder, stem, first, last)):
        yield


@contextmanager
def folder_lock(folder: Path, command: str, parts: Sequence[str] = ()) -> Iterator[None]:
    """Claim `folder`, made where it is not there, for a command such as 'synth', as `frames_lock` claims frames.

    Temporary files of runs that were killed are removed, also from the folders `parts` in it.
    Raises OutputError where another run of the command has claimed the folder.
    """
    name = f".hdrvid-{command}.run"

    def refuse() -> None:
        path = folder / name
        if path.exists() and _is_held(path):
            raise OutputError(
                f"another hdrvid {command} is writing to {folder}: wait until it ends, or choose another folder"
            )

    with _claimed(folder, name, refuse):
        for part in (folder, *(folder / name for name in parts)):
            _remove_abandoned(part)
        yield


def _remove_abandoned(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_abandoned(path):
            with suppress(OSError):
                path.unlink()


def _is_held(path: Path) -> bool:
    """Whether another process has the lock of a file."""
    claim = os.open(path, os.O_RDWR)
    try:
        return not _lock(claim)
    finally:
        os.close(claim)


@contextmanager
def _claimed(folder: Path, name: str, refuse: Callable[[], None]) -> Iterator[None]:
    """Hold the claim `name` in `folder`; `refuse` raises where another claim is in the way. Folders that are made for
    it and are empty at the end, as after an error, are removed."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        make_folder(folder)
        with _alone_in(folder):
            refuse()
            claim = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
            _lock(claim)
    except OSError as error:
        raise output_error(folder, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / name).unlink()
        os.close(claim)
        with suppress(OSError):  # something is in it
            for path in made:
                path.rmdir()


def _refuse_overlap(folder: Path, stem: str, first: int, last: int | None) -> None:
    pattern = re.compile(rf"\.{re.escape(stem)}\.(\d+)-(\d+|end)\.run")
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        begin, end = int(match[1]), None if match[2] == "end" else int(match[2])
        held = _is_held(path)
        if held and (end is None or end >= first) and (last is None or begin <= last):
            raise OutputError(
                f"another run is writing frames of {stem} to {folder}: wait until it ends, give --frames ranges that "
                "do not overlap, or choose another folder"
            )
        if not held:
            with suppress(OSError):
                path.unlink()


if os.name == "posix":
    import fcntl

    @contextmanager
    def _alone_in(folder: Path) -> Iterator[None]:
        """Two runs that start at the same time look at the claims one after the other."""
        directory = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):
                fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _lock(file: int) -> bool:
        """Whether the file could be locked: False where another process holds it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

else:
    import msvcrt

    @contextmanager
    def _alone_in(folder: Path) -> Iterator[None]:
        yield

    def _lock(file: int) -> bool:
        """Whether the file could be locked: False where another process holds it."""
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
