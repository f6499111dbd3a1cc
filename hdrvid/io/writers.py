"""The output sequence: frames are coded in threads and appear under their names when they are complete."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self

import numpy as np

from hdrvid.color.gamuts import REC709, Gamut
from hdrvid.errors import HdrvidError
from hdrvid.io.atomic import make_folder
from hdrvid.io.exr import check_format, exr_is_truncated, write_exr
from hdrvid.io.hdr import read_hdr, write_hdr
from hdrvid.types import FrameNumbers


class SequenceWriter:
    """Writes `<folder>/<stem>.NNNNNN.exr` (or .hdr), NNNNNN = number of the input frame, its index by default.

    A context manager. On leaving it, every submitted frame is on the disk, also when the body failed (a frame that is
    reconstructed is worth keeping); after a failed write the frames still waiting are dropped. No partial file stays.
    The folder is made if it is missing. Raises OutputError where that fails.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        format: Literal["exr", "hdr"] = "exr",
        compression: str = "zip",
        workers: int = 2,
        *,
        depth: str = "half",
        gamut: Gamut = REC709,
        one_channel: bool = False,
        numbers: FrameNumbers = FrameNumbers(),  # noqa: B008 -- frozen
    ) -> None:
        if format not in ("exr", "hdr"):
            raise ValueError(f"unknown frame format {format!r}: use exr or hdr")
        if format == "exr":
            check_format(compression, depth)
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.folder = Path(folder)
        self.stem = stem
        self.format = format
        self.compression = compression
        self.depth = depth
        self.gamut = gamut
        self.one_channel = one_channel
        self.numbers = numbers
        make_folder(self.folder)
        self._slots = threading.BoundedSemaphore(2 * workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="hdrvid-write")
        self._lock = threading.Lock()
        self._first_error: BaseException | None = None
        self._error_raised = False
        self._closed = False

    def path_for(self, index: int) -> Path:
        """Where frame `index` is written."""
        return self.folder / f"{self.stem}.{self.numbers.text(index)}.{self.format}"

    def is_complete(self, index: int) -> bool:
        """True where the file of frame `index` exists and nothing of it is missing."""
        path = self.path_for(index)
        try:
            if not path.is_file():
                return False
            if self.format == "hdr":
                read_hdr(path)
                return True
            with open(path, "rb") as file:
                is_exr = file.read(4) == b"\x76\x2f\x31\x01"
            return is_exr and not exr_is_truncated(path)
        except (HdrvidError, OSError):
            return False

    def submit(
        self,
        index: int,
        pixels: np.ndarray,
        attributes: Mapping[str, object] | None = None,
        unmeasured: np.ndarray | None = None,
    ) -> None:
        """Queue frame `index`: (H, W, 3) finite scene-linear float pixels; the caller may reuse the array at once.

        Returns at once, or when one of 2 * workers places in the queue becomes free. `attributes` go into the header
        (write_exr and write_hdr say which types); `unmeasured` (H, W) bool into an EXR's channel of this name.
        Raises the first error of an earlier write, usually an OutputError.
        """
        if self._closed:
            raise ValueError("the sequence is closed, no frame can be added")
        self._raise_first_error()
        self._slots.acquire()
        try:
            self._raise_first_error()
            copy = np.array(pixels, order="C")
            future = self._pool.submit(self._write, self.path_for(index), copy, dict(attributes or {}), unmeasured)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(self._finished)

    def close(self) -> None:
        """Wait for every frame. Raises the first error of a write that has not been raised yet."""
        self._closed = True
        self._pool.shutdown(wait=True)
        if not self._error_raised:
            self._raise_first_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self._closed = True
            self._pool.shutdown(wait=True)

    def _write(
        self, path: Path, pixels: np.ndarray, attributes: Mapping[str, object], unmeasured: np.ndarray | None
    ) -> None:
        if self._first_error is not None:
            return
        try:
            if self.format == "exr":
                write_exr(
                    path,
                    pixels,
                    compression=self.compression,
                    depth=self.depth,
                    gamut=self.gamut,
                    one_channel=self.one_channel,
                    attributes=attributes,
                    channels=None if unmeasured is None else {"unmeasured": unmeasured},
                )
            else:
                write_hdr(path, pixels, gamut=self.gamut, attributes=attributes)
        except BaseException as error:
            with self._lock:
                self._first_error = self._first_error or error
            raise

    def _finished(self, future: Future[None]) -> None:
        self._slots.release()

    def _raise_first_error(self) -> None:
        if self._first_error is not None:
            self._error_raised = True
            raise self._first_error
