"""The preview of a run, tonemapped and encoded in a thread."""

from __future__ import annotations

import queue
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from hdrvid.color.half import from_half
from hdrvid.color.tonemap import Tonemapper
from hdrvid.compiled.shown import show_rows
from hdrvid.io.preview import PreviewWriter
from hdrvid.pipeline.job import Job
from hdrvid.pipeline.resume import read_output

PREVIEW_AHEAD = 3
"""Finished frames that may wait for the preview."""

PREVIEW_CRF = 18
"""x264 quality of the preview: visually lossless."""


HALVED_ABOVE_PIXELS = 1920 * 1200
"""The preview of larger frames has half their width and height: it is to be looked at on a screen, and the tone mapping
of 3840x2160 would take a core for a third of a second a frame."""


def preview_divisor(width: int, height: int) -> int:
    """Width and height of frames over those of their preview, 1 or 2."""
    return 2 if width * height > HALVED_ABOVE_PIXELS else 1


class PreviewThread:
    """`<stem>.preview.mp4`, tonemapped and encoded in a thread. A context manager: complete or not there at all.

    Frames are what the output files hold, so that a run in two parts gives the same pixels as one. Large frames are
    shown in half their size (`preview_divisor`).
    """

    def __init__(self, job: Job) -> None:
        self._path, self._info, self._white, self._audio_from = (
            job.video_path("preview"),
            job.info,
            job.white,
            job.audio_from,
        )
        self._rate = job.video_rate
        self._timecode_of = job.video_timecode
        self._first_index: int | None = None
        self._tonemap = Tonemapper(
            job.options.tonemap,
            max_value=job.exposures.max_exposure,
            frames_per_second=float(self._rate),
            show=show_rows,
        )
        self.warnings: list[str] = []
        """Complete after `finish`."""
        self._unsent: deque[tuple[np.ndarray | Path, float]] = deque()
        """Frames whose files are still being written, and those after them."""
        self._queue: queue.Queue[tuple[np.ndarray | Path, float] | None] = queue.Queue(PREVIEW_AHEAD)
        self._leave = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="hdrvid-preview", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def add(self, index: int, frame: np.ndarray | Path, pts_seconds: float) -> None:
        """The next frame: file values (H, W, 3) with Rec. 709 primaries, or the path of a file that holds it or soon
        will.

        Raises OutputError where the video could not be written.
        """
        if self._first_index is None:
            self._first_index = index
        self._unsent.append((frame, pts_seconds))
        while self._unsent and (isinstance(self._unsent[0][0], np.ndarray) or self._unsent[0][0].exists()):
            self._put(self._unsent.popleft())

    def finish(self) -> None:
        """Wait until the video is complete; all frames are there. Raises OutputError where it could not be written."""
        for item in self._unsent:
            self._put(item)
        self._put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _put(self, item: tuple[np.ndarray | Path, float] | None) -> None:
        while self._error is None:
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue
        raise self._error

    def _encode(self) -> None:
        try:
            divisor = preview_divisor(self._info.width, self._info.height)
            width, height = self._info.width // divisor, self._info.height // divisor
            with PreviewWriter(
                self._path,
                width,
                height,
                self._rate,
                PREVIEW_CRF,
                audio_from=self._audio_from,
                pixel_aspect=self._info.first.pixel_aspect,
            ) as video:
                while (item := self._take()) is not None:
                    frame, pts_seconds = item
                    if video.is_empty and self._first_index is not None:
                        video.timecode = self._timecode_of(self._first_index)
                    file_values = read_output(frame)[0] if isinstance(frame, Path) else frame
                    if file_values.dtype == np.float16:
                        file_values = from_half(file_values)
                    if divisor > 1:  # the mean of linear light, before the curve
                        file_values = cv2.resize(file_values, (width, height), interpolation=cv2.INTER_AREA)
                    # the tonemapper takes 1.0 as the clipping of the longest exposure
                    video.write(self._tonemap(file_values / np.float32(self._white)), pts_seconds)
            self.warnings += video.warnings()
        except _Abandoned:
            return
        except BaseException as error:
            self._error = error

    def _take(self) -> tuple[np.ndarray | Path, float] | None:
        while not self._leave.is_set():
            try:
                return self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
        raise _Abandoned

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        self._thread.join()


class _Abandoned(Exception):
    """Ends the encoding of a preview that is not wanted any more; its temporary file goes."""
