"""The engine: one alternating-exposure clip in, one HDR frame for every input frame out.

    decode ahead      a thread reads, linearises and re-codes frames (3 ahead)
    window            a sliding window of 3 or 5 frames; nothing else of the clip is held in memory
    network           the calling thread
    write             threads of the sequence writer; a frame appears complete or not at all
    preview           a thread tonemaps and encodes what was written

Guarantees, each with a test:
    - Frames out = frames in. A window that leaves the clip is mirrored into it (`ExposureCycle.window_indices`).
    - A range of frames is identical to the same frames of a full run: exposures are always measured at the start of
      the clip, and a window reaches beyond the range.
    - A run that was killed and started again ends with the files of an undisturbed run. Every EXR carries the settings
      it was made with, the frames of its window and a checksum of its input, so only frames that would come out the
      same are kept. The preview is made from file values, never from what was in memory.
    - Several processes under torchrun write the very files of one process: frames, preview and HDR videos are
      identical to the byte where every process has as many threads as the one; with another number of threads or on
      another kind of processor the last bits of float32 sums may differ before they are rounded to half.

Several processes:
    The first one looks at the clip and tells the others what it found, so that all use the same numbers even where
    their processors round differently. Each makes one contiguous piece of the range: a window needs neighbours. The
    first one holds the lock of the whole range, and makes videos and report from the finished files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import queue
import re
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

import cv2
import numpy as np

from hdrvid import __version__, cpu
from hdrvid.cpu import HALF_MAX
from hdrvid.detect import Detection, DetectOptions, detect, required_cycle
from hdrvid.errors import HdrvidError, InputError, ModelError, OutputError, UsageError
from hdrvid.flicker import FlickerMeter, FrameBrightness, flicker_stops, flicker_warning, join_steps
from hdrvid.gamuts import find_gamut
from hdrvid.io import open_clip
from hdrvid.io.atomic import atomic_path, is_abandoned, writable_target
from hdrvid.io.exposure_files import parse_exposures
from hdrvid.io.exr import COMPRESSIONS, read_exr
from hdrvid.io.frames import FramesReader
from hdrvid.io.hdr import read_hdr, read_hdr_attributes
from hdrvid.io.hdr_video import HdrKind, HdrVideoWriter, check_peak, grade_clip, measure_light
from hdrvid.io.lock import frames_lock
from hdrvid.io.preview import PreviewWriter
from hdrvid.io.response_files import load_response
from hdrvid.io.writers import SequenceWriter
from hdrvid.labels import Event, Labeller
from hdrvid.models import bands
from hdrvid.models.runner import ModelRunner, check_precision, resolve_tile
from hdrvid.radiance import Response, gamma_encode, measured_response
from hdrvid.ranks import Ranks, local_device
from hdrvid.tonemap import OPERATORS, Tonemapper
from hdrvid.types import ClipInfo, ClipReader, ExposureCycle, Frame, PathLike, Reconstructor, Window
from hdrvid.weights import BUILT_IN, available_models, load_reconstructor

Item = TypeVar("Item")

DECODE_AHEAD = 3
"""Decoded frames that may wait for the network."""

LARGE_PIXELS = 12_000_000
"""Frames larger than this (DCI 4K is not) are hundreds of megabytes: one waits for the network, and what waits for the
preview is read back from its file."""

SHARED_PIXELS = 2_400_000
"""Frames up to this size are decoded once, for labels and for windows, and held from the one to the other; larger ones
are decoded twice."""

PREVIEW_AHEAD = 3
"""Finished frames that may wait for the preview."""

WRITERS = 2
"""Threads that compress and write frames; more than two gain nothing (measured)."""

PREVIEW_CRF = 18
"""x264 quality of the preview: visually lossless."""

FORMATS = ("exr", "hdr")
"""What `--format` takes."""

LOSSY_COMPRESSIONS = ("b44", "b44a", "dwaa", "dwab")
"""EXR compressions after which a file no longer holds exactly the half floats it was given."""


@dataclass(frozen=True)
class ReconstructOptions:
    """Everything the user can choose. Checked by `validate_options`."""

    exposures: str = "auto"
    """'auto', stops of one cycle such as '0,3', or an exposure file."""
    response: str = "auto"
    """'auto' or what `hdrvid.io.response_files.load_response` takes."""
    input_primaries: str = "auto"
    """'auto', or the clip's primaries, a name of `hdrvid.gamuts.GAMUTS`."""
    model: str = "default"
    """A name of `weights.available_models` or a .safetensors file."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda', 'cuda:1', 'mps'."""
    precision: str = "auto"
    """'auto', 'fp32', 'bf16', 'fp16'."""
    tile: str = "auto"
    """'auto', 'off' or the side of a tile in pixels."""
    compile: bool = False
    """Compile the networks (torch.compile), where that can be done."""
    frame_range: tuple[int, int] | None = None
    """First and last input frame to make, both included; None: all."""
    format: str = "exr"
    """'exr' or 'hdr'."""
    compression: str = "zip"
    """Compression of the EXR files."""
    white: str = "longest"
    """'longest', 'shortest', or the file value (a number) at which the longest exposure clips."""
    align: str = "auto"
    """'auto': beside the dense flow the camera's motion and that between equal exposures, wherever they fit better;
    'off': the dense flow alone."""
    regular: bool = False
    """Trust the cycle: do not look for dropped and doubled frames, cuts, flashes and damaged frames. A range of frames
    is then made without reading the clip from its start."""
    deflicker: bool = True
    """Correct exposures that are a little off, so that the output does not alternate in brightness."""
    tonemap: str = "reinhard"
    """Tone curve of the preview, a name of `tonemap.OPERATORS`."""
    preview: bool = True
    """Write `<stem>.preview.mp4`."""
    hdr10: bool = False
    """Write `<stem>.hdr10.mp4` (PQ)."""
    hlg: bool = False
    """Write `<stem>.hlg.mp4`."""
    peak_nits: float | None = None
    """Peak of the display that the HDR videos are made for, cd/m2; None: see `hdrvid.io.hdr_video`."""
    audio: bool = True
    """Videos carry the sound of the clip."""
    overwrite: bool = False
    """Make every frame again, instead of keeping those of an earlier run."""


@dataclass(frozen=True)
class ClipReport:
    """What was detected, used and written for one clip: the content of `<stem>.json`."""

    source: str
    """The clip, as the user named it."""
    problem: str | None
    """Why the clip could not be read to its end, else None. Frames before that point are finished."""
    values: dict[str, Any] = field(repr=False)
    """Everything else, ready for JSON."""

    def as_dict(self) -> dict[str, Any]:
        """The machine-readable form."""
        return {"source": self.source, "problem": self.problem, **self.values}


def parse_frame_range(text: str) -> tuple[int, int]:
    """First and last frame of '240-479' or '240', both included. Raises UsageError.

    >>> parse_frame_range("240-479"), parse_frame_range("7")
    ((240, 479), (7, 7))
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", text)
    if match is None:
        raise UsageError(f"--frames takes two frame numbers counted from 0, like 240-479, not '{text}'")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise UsageError(f"--frames {text} ends before it begins: give the smaller number first")
    return first, last


def parse_white(text: str, cycle: ExposureCycle | None = None) -> float:
    """File value at which the longest exposure clips. Raises UsageError.

    'longest' is 1; 'shortest' is 1 / the longest exposure of the cycle, so that the shortest clips at 1; a number is
    itself. Without a cycle only the text is checked.
    """
    if text == "longest":
        return 1.0
    longest = cycle.max_exposure if cycle else 1.0
    if text == "shortest":
        return 1.0 / longest
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"--white takes longest, shortest or a number above 0, not '{text}'")
    if value * longest > HALF_MAX or value < 1e-3:
        raise UsageError(
            f"--white {text} leaves the range of half-float files: choose a number between 0.001 and "
            f"{HALF_MAX / longest:.0f}"
        )
    return value


def validate_options(options: ReconstructOptions, out: PathLike) -> None:
    """Check everything that needs no clip, the cheapest first, and write nothing.

    Raises UsageError, OutputError, ModelError, ExposureError or InputError.
    """
    if options.format not in FORMATS:
        raise UsageError(f"--format takes exr or hdr, not '{options.format}'")
    if options.format == "exr" and options.compression not in COMPRESSIONS:
        raise UsageError(f"--compression takes one of {', '.join(COMPRESSIONS)}, not '{options.compression}'")
    if options.preview and options.tonemap not in OPERATORS:
        raise UsageError(f"--tonemap takes one of {', '.join(OPERATORS)}, not '{options.tonemap}'")
    if options.align not in ("auto", "off"):
        raise UsageError(f"--align takes auto or off, not '{options.align}'")
    if options.peak_nits is not None:
        check_peak(options.peak_nits)
    check_precision(options.precision)
    resolve_tile(options.tile)
    parse_white(options.white)
    check_folder(Path(out))
    if options.model not in available_models() and not Path(options.model).is_file():
        raise ModelError(
            f"there is no model '{options.model}': choose one of {', '.join(available_models())}, "
            "or give the path of a .safetensors file"
        )
    parse_exposures(options.exposures)
    if options.response.lower() != "auto":
        load_response(options.response)
    if options.input_primaries.lower() != "auto":
        find_gamut(options.input_primaries)


def check_folder(folder: Path) -> None:
    """Raise OutputError unless files can be written into `folder`, which need not exist yet. Creates nothing."""
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not os.path.isdir(nearest):
        raise OutputError(f"{nearest} is not a folder, so results cannot be written to {folder}: choose another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest} cannot be written to: change its permissions or choose another folder")


def reconstruct_clip(
    inputs: Sequence[str],
    out: PathLike,
    options: ReconstructOptions | None = None,
    *,
    progress: Callable[[int, int | None], None] | None = None,
    message: Callable[[str], None] | None = None,
    ranks: Ranks | None = None,
) -> ClipReport:
    """Reconstruct one clip into the folder `out`.

    `progress` is called with (frames done, frames of the clip or range; None where unknown) after every frame, and
    `message` with every sentence the user should see while the work goes on.
    `ranks`: the processes that share the work, from `hdrvid.ranks.joined`; each of them makes this call with the same
    arguments and gets the same report or error. `progress` and `message` are called in the first one only, for all.

    A clip that is damaged half-way is reconstructed up to there and the report says so in `problem`.
    Raises UsageError, InputError, ExposureError, ModelError or OutputError, and HdrvidError where another process has
    ended; finished frames stay.
    """
    options = options or ReconstructOptions()
    ranks = ranks or Ranks()
    if message is None or not ranks.is_main:
        message = _silent
    if progress is None or not ranks.is_main:
        progress = _silent
    started = time.perf_counter()
    out = Path(out)
    with ExitStack() as stack:

        def opened() -> ClipReader:
            validate_options(options, out)
            reader = stack.enter_context(open_clip(inputs))
            _keep_apart(inputs, reader.info, out)
            return reader

        reader = _in_each(ranks, opened)
        beside = stack.enter_context(ThreadPoolExecutor(1, "hdrvid-prepare"))
        prepared = None if options.model in BUILT_IN else beside.submit(bands.prepare)
        detection = _agreed_detection(reader, options, ranks)
        cycle = required_cycle(detection)
        first, last = _frame_range(options, reader.info)
        for text in detection.warnings:
            message(f"warning: {text}")
        if detection.measured and detection.measured.corrected:
            message(f"{detection.measured.reason}: corrected (--no-deflicker leaves them)")
        if detection.response_from == "assumed":
            why = f" ({detection.response_reason})" if detection.response_reason else ""
            message(f"assuming the response {detection.response.name}{why}; --response names another")
        elif detection.response_from == "measured":
            message(f"response {detection.response.name}: {detection.response_reason}")
        if detection.to_output is not None:
            message(f"primaries {detection.gamut.name} ({detection.gamut_from}): converted to Rec. 709")
        parse_white(options.white, cycle)
        reconstructor = _in_each(
            ranks,
            lambda: load_reconstructor(
                options.model,
                len(cycle),
                device=local_device(options.device),
                precision=options.precision,
                tile=options.tile,
                align=options.align == "auto",
                compiled=options.compile,
            ),
        )
        if isinstance(reconstructor, ModelRunner):
            # every process in the tiles of the one with the least memory
            size = reader.info.height, reader.info.width
            sides = ranks.each(lambda: reconstructor.tile_px(*size))
            reconstructor.use_tile_px(min((side for side in sides if side), default=None))
        if prepared is not None and prepared.result() and getattr(reconstructor, "compiles", False):
            message("compiling for this CPU, which the first run on a machine does: 15 to 40 seconds")
        return _Job(reader, detection, cycle, reconstructor, options, out, first, last, ranks).run(
            progress, message, started
        )


def _silent(*_: object) -> None:
    """Where nobody listens."""


def _in_each(ranks: Ranks, call: Callable[[], Item]) -> Item:
    """What `call` returns here, once it has succeeded in every process."""
    made: list[Item] = []
    ranks.each(lambda: made.append(call()))
    return made[0]


def _agreed_detection(reader: ClipReader, options: ReconstructOptions, ranks: Ranks) -> Detection:
    """What the first process finds out about the clip, in all of them."""
    asked = detect_options(options)
    if ranks.world == 1:
        return detect(reader, asked)

    def facts() -> dict[str, Any]:
        found = detect(reader, asked)
        values = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("info", "response")}
        return {**values, "response_name": found.response.name, "response_curve": found.response.curve}

    agreed = ranks.from_main(facts)
    name, curve = agreed.pop("response_name"), agreed.pop("response_curve")
    # a curve is a function and cannot be sent, but its table can, and every name that is found can be given
    response = load_response(name) if curve is None else measured_response(name, curve)
    if isinstance(reader, FramesReader):
        reader.set_white_code(agreed["white_code"])
    return Detection(info=reader.info, response=response, **agreed)


def detect_options(options: ReconstructOptions) -> DetectOptions:
    """What the options of a run say about the clip."""
    return DetectOptions(
        options.exposures, options.response, options.input_primaries, options.deflicker, options.regular
    )


def _keep_apart(inputs: Sequence[str], info: ClipInfo, out: Path) -> None:
    """Raise OutputError where results would be written among the frames they are made from, or over them."""
    if info.kind != "frames":
        return
    for item in map(Path, inputs):
        folder = item if item.is_dir() else item.parent
        if folder.resolve() == out.resolve():
            raise OutputError(f"{out} holds the frames of {info.source}: choose another folder for the results")


def _frame_range(options: ReconstructOptions, info: ClipInfo) -> tuple[int, int | None]:
    if options.frame_range is None:
        return 0, None
    first, last = options.frame_range
    # a container's count is a hint, a folder's is a fact
    if info.kind == "frames" and info.num_frames is not None and first >= info.num_frames:
        raise _beyond_the_end(info, first, last, info.num_frames)
    return first, last


def _beyond_the_end(info: ClipInfo, first: int, last: int | None, num_frames: int) -> InputError:
    return InputError(
        f"{info.source} has {num_frames} frames (0-{num_frames - 1}), so --frames {first}-{last} selects none of them"
    )


# Frames and windows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Coded:
    """A frame as the network wants it, with what identifies its source."""

    index: int
    ldr: np.ndarray
    pts_seconds: float
    checksum: int


@lru_cache(maxsize=1)
def _network_codes(response: Response) -> np.ndarray:
    """Network code of 65536 even codes: (1, 65536) float32, or (3, 65536) where channels have curves of their own."""
    levels = np.repeat(np.linspace(0.0, 1.0, 1 << 16, dtype=np.float32)[:, None], 3, axis=1)
    tables = np.ascontiguousarray(np.asarray(gamma_encode(response.linearize(levels)), np.float32).T)
    return tables[:1] if (tables[:1] == tables).all() else tables


def network_code(pixels: np.ndarray, response: Response) -> np.ndarray:
    """Codes (H, W, 3) of a camera, float32, as network code, gamma 2.2, in [0, 1].

    By a table of 65536 codes, which is exact for pictures of 8 and 16 bits and far below a step of any video.
    """
    levels = (np.clip(pixels, 0.0, 1.0) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)
    tables = _network_codes(response)
    if len(tables) == 1:
        return tables[0].take(levels)
    return np.stack([table.take(levels[..., c]) for c, table in enumerate(tables)], -1)


def _code(frame: Frame, response: Response, linear: bool) -> _Coded:
    """The frame in network code: (H, W, 3) float32, gamma 2.2, in [0, 1]; `linear` frames hold floats of any step."""
    pixels = frame.pixels
    # every eighth pixel in 8 bits: enough to notice another picture, blind to the last bit of another decoder
    sample = np.round(np.clip(pixels[::8, ::8], 0.0, 1.0) * 255.0).astype(np.uint8)
    # gamma 2.2 is the network code itself: there and back would only add rounding
    if response.name == "gamma2.2":
        ldr = np.clip(pixels, 0.0, 1.0)
    else:
        ldr = gamma_encode(response.linearize(pixels)) if linear else network_code(pixels, response)
    ldr = np.ascontiguousarray(ldr, dtype=np.float32)
    return _Coded(frame.index, ldr, frame.pts_seconds, zlib.crc32(sample.tobytes()))


class _Ahead(Generic[Item]):
    """Items of an iterator, a few ahead, from a thread. An iterator and a context manager.

    Raises what the iterator raises, after the items before it.
    """

    def __init__(self, items: Iterator[Item], ahead: int) -> None:
        """`ahead`: items that are there at a time, the one being made among them."""
        self._items = items
        self._queue: queue.SimpleQueue[Item | BaseException | None] = queue.SimpleQueue()
        self._places = threading.Semaphore(ahead)
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._read, name="hdrvid-decode", daemon=True)

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            while not self._leave.is_set():
                if self._places.acquire(timeout=0.1):
                    self._queue.put(next(self._items))
        except StopIteration:
            pass
        except BaseException as error:
            end = error
        self._queue.put(end)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            self._places.release()
            yield item


LABEL_SIDE = 480
"""Pixels are skipped until the longer side of the pictures that labels are read from is below twice this."""


class _LabelledWindows:
    """Windows first <= index <= last in order, from coded frames that come one by one; labels say what is in each.

    The labels are read ahead of the frames, on small pictures and from the start of the clip, so that of the frames
    themselves only those are held that a window still needs.
    """

    def __init__(
        self,
        frames: Iterator[_Coded],
        thinned: Iterator[tuple[int, np.ndarray]],
        labeller: Labeller,
        first: int,
        last: int | None,
    ) -> None:
        """`thinned`: index and linear picture of every frame of the clip."""
        self._frames, self._thinned = frames, thinned
        self._first, self._last = first, last
        self._labeller = labeller
        self._held: dict[int, _Coded] = {}
        self._next = 0
        self._labelled = 0
        self.num_frames: int | None = None
        """Frames of the clip, once its end was seen."""
        self.problem: str | None = None
        """Why reading stopped before the end, where it did."""
        self.lost: list[int] = []
        """Frames of the range that there is no window for."""

    @property
    def events(self) -> list[Event]:
        """What was found so far, of the whole clip."""
        return self._labeller.events

    def _label(self, index: int) -> None:
        """Read labels until the window of `index` is final."""
        while self.num_frames is None and not self._labeller.window_ready(index):
            try:
                item = next(self._thinned, None)
            except InputError as error:
                self.problem, item = str(error), None
            if item is None:
                self._labeller.finish()
                self.num_frames = self._labelled
            else:
                self._labeller.add(*item)
                self._labelled = item[0] + 1

    def _read_to(self, index: int) -> None:
        while self._next <= index:
            try:
                frame = next(self._frames, None)
            except InputError as error:
                self.problem, frame = str(error), None
            if frame is None:
                return
            self._held[frame.index] = frame
            self._next = frame.index + 1

    def __iter__(self) -> Iterator[tuple[int, tuple[_Coded, ...], tuple[float, ...], float]]:
        """(index, frames of the window, stops of each, time of the frame in seconds)."""
        labeller = self._labeller
        numbers = itertools.count(self._first) if self._last is None else range(self._first, self._last + 1)
        for index in numbers:
            self._label(index)
            if self.num_frames is not None and index >= self.num_frames:
                return
            indices = labeller.window(index)
            if indices is not None:
                self._read_to(max(*indices, index))
            if indices is None or any(i not in self._held for i in indices):
                self.lost.append(index)
                continue
            # a frame that repeats another one has its window, and a time of its own
            shown = self._held.get(index, self._held[indices[len(indices) // 2]])
            stops = tuple(labeller.label(i).stops for i in indices)
            yield index, tuple(self._held[i] for i in indices), stops, shown.pts_seconds
            needed: set[int] = set()
            for later in range(index + 1, index + labeller.reach + 1):
                self._label(later)
                if self.num_frames is None or later < self.num_frames:
                    needed |= set(labeller.window(later) or ())
            for old in [i for i in self._held if i <= index and i not in needed]:
                del self._held[old]
            labeller.forget(index - 2 * labeller.reach)


class _RegularWindows:
    """Windows first <= index <= last in order, from coded frames that come one by one; the cycle never slips.

    Whether a clip goes on is known only by reading on, so the frames after the reference are read before its window
    is made: the last windows are mirrored correctly even where the container lied about the number of frames.
    """

    def __init__(self, frames: Iterator[_Coded], cycle: ExposureCycle, first: int, last: int | None) -> None:
        self._frames, self._cycle = frames, cycle
        self._first, self._last = first, last
        self._held: dict[int, _Coded] = {}
        self._next = max(0, first - cycle.window_radius)
        self.num_frames: int | None = None
        """Frames of the clip, once its end was seen."""
        self.problem: str | None = None
        """Why reading stopped before the end, where it did."""
        self.lost: list[int] = []
        """Always empty: a damaged frame ends the clip here."""
        self.events: list[Event] = []
        """Always empty: nothing is looked for."""

    def _read_to(self, index: int) -> None:
        while self.num_frames is None and self._next <= index:
            try:
                frame = next(self._frames, None)
            except InputError as error:
                self.problem, frame = str(error), None
            if frame is None:
                self.num_frames = self._next
            else:
                self._held[frame.index] = frame
                self._next = frame.index + 1

    def __iter__(self) -> Iterator[tuple[int, tuple[_Coded, ...], tuple[float, ...], float]]:
        """(index, frames of the window, stops of each, time of the frame in seconds)."""
        radius = self._cycle.window_radius
        numbers = itertools.count(self._first) if self._last is None else range(self._first, self._last + 1)
        for index in numbers:
            self._read_to(index + radius)
            if self.num_frames is not None and index >= self.num_frames:
                return
            # while the end is out of sight any count beyond the window gives the same indices
            count = index + radius + 1 if self.num_frames is None else self.num_frames
            if self.problem and count < len(self._cycle):
                raise InputError(self.problem)
            indices = self._cycle.window_indices(index, count)
            for old in [i for i in self._held if i < index - radius]:
                del self._held[old]
            stops = tuple(self._cycle.stops_at(i) for i in indices)
            yield index, tuple(self._held[i] for i in indices), stops, self._held[index].pts_seconds


# Preview ------------------------------------------------------------------------------------------------------------


class _Preview:
    """`<stem>.preview.mp4`, tonemapped and encoded in a thread. A context manager: complete or not there at all.

    Frames are what the output files hold, so that a run in two parts gives the same pixels as one.
    """

    def __init__(self, path: Path, info: ClipInfo, tonemap: Tonemapper, white: float, audio_from: Path | None) -> None:
        self._path, self._info, self._tonemap, self._white = path, info, tonemap, white
        self._audio_from = audio_from
        self.warnings: list[str] = []
        """What was noticed, complete after `finish`."""
        self._queue: queue.Queue[tuple[np.ndarray | Path, float] | None] = queue.Queue(PREVIEW_AHEAD)
        self._leave = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="hdrvid-preview", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def add(self, frame: np.ndarray | Path, pts_seconds: float) -> None:
        """The next frame: file values (H, W, 3), or the finished file that holds them.

        Raises OutputError where the video could not be written.
        """
        self._put((frame, pts_seconds))

    def finish(self) -> None:
        """Wait until the video is complete. Raises OutputError where it could not be written."""
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
            rate = self._info.frames_per_second
            width, height = self._info.width, self._info.height
            with PreviewWriter(self._path, width, height, rate, PREVIEW_CRF, audio_from=self._audio_from) as video:
                while (item := self._take()) is not None:
                    frame, pts_seconds = item
                    file_values = read_output(frame)[0] if isinstance(frame, Path) else frame
                    if file_values.dtype == np.float16:
                        file_values = cpu.from_half(file_values)
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
    """The preview is not wanted any more; leaving through here removes its temporary file."""


# The run ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """What one process made of the range."""

    made: list[int]
    """Frames that are there."""
    times: list[float]
    """Presentation time of each, in seconds."""
    kept: int
    """How many of them an earlier run had made."""
    lost: list[int]
    """Frames that there is no window for."""
    damaged: dict[int, str]
    """Frames of the clip that were passed over, and why."""
    events: list[Event]
    """What was found, from the start of the clip to the end of the piece."""
    told: int
    """How many of these the user was told."""
    num_frames: int | None
    """Frames of the clip, where its end was seen."""
    problem: str | None
    """Why reading stopped before the end, where it did."""
    warnings: list[str]
    """What the reader noticed."""
    network_seconds: float
    """Time in the networks."""
    brightness: list[FrameBrightness] = field(default_factory=list)
    """Of every frame that is there."""


_NOTHING = _Piece([], [], 0, [], {}, [], 0, None, None, [], 0.0)


def _joined_pieces(pieces: Sequence[_Piece]) -> _Piece:
    """Neighbouring pieces as one."""
    furthest = max(pieces, key=lambda p: len(p.events))
    damaged = {index: text for p in reversed(pieces) for index, text in p.damaged.items()}
    return _Piece(
        [i for p in pieces for i in p.made],
        [t for p in pieces for t in p.times],
        sum(p.kept for p in pieces),
        [i for p in pieces for i in p.lost],
        dict(sorted(damaged.items())),
        furthest.events,
        pieces[0].told,
        next((p.num_frames for p in pieces if p.num_frames is not None), None),
        next((p.problem for p in pieces if p.problem), None),
        list(dict.fromkeys(text for p in pieces for text in p.warnings)),
        sum(p.network_seconds for p in pieces),
        [b for p in pieces for b in p.brightness],
    )


@dataclass(frozen=True)
class _Due:
    """A frame that is there already, or the window that it is to be made of."""

    index: int
    coded: tuple[_Coded, ...]
    stops: tuple[float, ...]
    pts_seconds: float
    file_values: np.ndarray | None
    window: Window | None


class _Job:
    """Everything that one run over one clip needs, and the run itself."""

    def __init__(
        self,
        reader: ClipReader,
        detection: Detection,
        cycle: ExposureCycle,
        reconstructor: Reconstructor,
        options: ReconstructOptions,
        out: Path,
        first: int,
        last: int | None,
        ranks: Ranks,
    ) -> None:
        self.reader, self.detection, self.cycle = reader, detection, cycle
        self.reconstructor, self.options, self.out = reconstructor, options, out
        self.first, self.last, self.ranks = first, last, ranks
        self.info = reader.info
        self.white = parse_white(options.white, cycle)
        self.scale = self.white * cycle.max_exposure
        matrix = detection.to_output
        self.to_output = None if matrix is None else matrix.astype(np.float32)
        self.settings = _settings(options, cycle, detection, reconstructor)
        # the parts of a clip that several machines make into one folder leave each other's files alone
        self.name = self.info.stem if options.frame_range is None else part_name(self.info.stem, options.frame_range)
        self.preview_path = out / f"{self.name}.preview.mp4"
        self.report_path = out / f"{self.name}.json"
        self.damaged: dict[int, str] = {}

    def run(
        self, progress: Callable[[int, int | None], None], say: Callable[[str], None], started: float
    ) -> ClipReport:
        """Make every frame of the range, together with the other processes; then the preview and the report."""
        ranks = self.ranks
        with ExitStack() as stack:

            def claim() -> list[tuple[int, int | None] | None]:
                stack.enter_context(frames_lock(self.out, self.info.stem, self.first, self.last))
                self._check_targets()
                _remove_leftovers(self.out, self.info.stem, self.first, self.last)
                return self._pieces()

            self._check_settings()
            mine = ranks.from_main(claim)[ranks.rank]
            count, total = ranks.counter(), self._expected_frames()
            done = 0

            def made(number: int) -> None:
                nonlocal done
                done = number
                progress(count(done), total)

            # alone, the preview is made beside the frames; with others, from their files
            preview = self._new_preview(stack) if ranks.world == 1 else None
            pieces = ranks.each(
                lambda: self._make(*mine, preview, made, say) if mine else _NOTHING,
                meanwhile=lambda: progress(count(done), total),
            )
            starts = [p.made[0] for p in pieces if p.made][1:]
            return ranks.from_main(lambda: self._finish(_joined_pieces(pieces), starts, preview, say, started))

    def _check_targets(self) -> None:
        """Raise OutputError where a video or the report could not be written when the frames are made."""
        options = self.options
        kinds = {"preview": options.preview, "hdr10": options.hdr10, "hlg": options.hlg}
        videos = [self.out / f"{self.name}.{kind}.mp4" for kind, wanted in kinds.items() if wanted]
        for path in (self.report_path, *videos):
            writable_target(path)

    def _check_settings(self) -> None:
        """Raise UsageError where the processes would not make the same frames."""
        for rank, settings in enumerate(self.ranks.each(lambda: self.settings)):
            changed = [f"{k} {self.settings.get(k)} and {v}" for k, v in settings.items() if self.settings.get(k) != v]
            if changed:
                raise UsageError(
                    f"processes {self.ranks.rank} and {rank} would make different frames ({'; '.join(changed)}): "
                    "install the same hdrvid, packages and weights on every machine"
                )

    def _pieces(self) -> list[tuple[int, int | None] | None]:
        """First and last frame for every process; None for one that there is nothing left for.

        The last piece ends where the range does, for a container's count is a hint.
        """
        world = self.ranks.world
        known = self.info.num_frames
        if known is None and self.last is None and world > 1:
            known = self._count_frames()
        ends = [n - 1 for n in (known, None if self.last is None else self.last + 1) if n is not None]
        number = max(1, min(ends, default=self.first) - self.first + 1)
        starts = [self.first + number * rank // world for rank in range(world + 1)]
        pieces: list[tuple[int, int | None] | None] = [
            (start, end - 1) if end > start else None for start, end in itertools.pairwise(starts)
        ]
        pieces[-1] = starts[-2], self.last
        return pieces

    def _count_frames(self) -> int:
        number = 0
        with suppress(InputError):  # told when its frames are made
            for frame in self.reader.frames(0, None, None if self.options.regular else _silent):
                number = frame.index + 1
        return number

    def _new_preview(self, stack: ExitStack) -> _Preview | None:
        options = self.options
        if not options.preview:
            return None
        tonemap = Tonemapper(
            options.tonemap,
            max_value=self.cycle.max_exposure,
            frames_per_second=float(self.info.frames_per_second),
        )
        return stack.enter_context(_Preview(self.preview_path, self.info, tonemap, self.white, self._audio_from))

    def _make(
        self,
        first: int,
        last: int | None,
        preview: _Preview | None,
        done: Callable[[int], None],
        say: Callable[[str], None],
    ) -> _Piece:
        """The frames of a piece, and what it took. Every frame goes to the preview, where there is one."""
        options = self.options
        made: list[int] = []
        times: list[float] = []
        kept = 0
        network_seconds = 0.0
        last_key, last_values = "", None
        meter = FlickerMeter(self.white)
        read_back = self._large or not self._exact
        with ExitStack() as stack:
            writer = stack.enter_context(
                SequenceWriter(self.out, self.info.stem, self._format, options.compression, WRITERS)
            )
            windows = self._windows(stack, first, last)
            # frames whose file values are known only once their file is there
            unread: deque[tuple[np.ndarray | Path, float]] = deque()
            told = 0
            for due in self._looking_ahead(windows, writer):
                index, coded, file_values = due.index, due.coded, due.file_values
                for event in windows.events[told:]:
                    say(f"{event.text}")
                told = len(windows.events)
                path = writer.path_for(index)
                if due.window is None:
                    kept += 1
                else:
                    key = f"{_window_id(coded, due.stops)} {_source_id(coded)}"
                    if key != last_key or last_values is None:  # else the frame repeats the one before
                        before = time.perf_counter()
                        last_values = self._file_values(self.reconstructor.reconstruct(due.window).radiance)
                        network_seconds += time.perf_counter() - before
                    last_key, file_values = key, last_values
                    if read_back:
                        writable_target(path)
                        path.unlink(missing_ok=True)  # the preview must not read the frame that is replaced
                    writer.submit(index, file_values, self._attributes(index, coded, due.stops))
                    if self.detection.repeats[0] == 1:
                        last_values = None  # large, and the next frame is made while it would be there
                made.append(index)
                times.append(due.pts_seconds)
                reference = due.stops[len(due.stops) // 2]
                assert file_values is not None
                meter.add(index, reference, self.cycle.class_of(reference), file_values)
                if preview is not None:
                    unread.append((path if read_back else file_values, due.pts_seconds))
                    while unread and (isinstance(unread[0][0], np.ndarray) or unread[0][0].exists()):
                        preview.add(*unread.popleft())
                del due, file_values
                done(len(made))
            writer.close()
            if preview is not None:
                for frame, pts_seconds in unread:
                    preview.add(frame, pts_seconds)
        return _Piece(
            made,
            times,
            kept,
            windows.lost,
            self.damaged,
            windows.events,
            told,
            windows.num_frames,
            windows.problem,
            [*self.reader.warnings(), *self.reconstructor.notes],
            network_seconds,
            meter.frames,
        )

    def _looking_ahead(self, windows: _LabelledWindows | _RegularWindows, writer: SequenceWriter) -> Iterator[_Due]:
        """The frames in order. The reconstructor knows a little earlier of those that it will make."""
        ahead = 0 if self._large else self.reconstructor.look_ahead
        waiting: deque[_Due] = deque()
        try:
            before = ""
            for index, coded, stops, pts_seconds in windows:
                file_values = self._kept(writer, index, coded, stops)
                window = _window(index, coded, stops) if file_values is None else None
                key = f"{_window_id(coded, stops)} {_source_id(coded)}"
                if window is not None and ahead and key != before:
                    self.reconstructor.expect(window)
                before = key
                waiting.append(_Due(index, coded, stops, pts_seconds, file_values, window))
                del coded, file_values, window  # large
                if len(waiting) > ahead:
                    yield waiting.popleft()
        except HdrvidError:
            yield from waiting
            raise
        yield from waiting

    def _finish(
        self,
        piece: _Piece,
        starts: Sequence[int],
        preview: _Preview | None,
        say: Callable[[str], None],
        started: float,
    ) -> ClipReport:
        """The videos and the report, once every frame is there. `starts`: where a further process began."""
        if not piece.made:
            raise self._nothing_made(piece)
        paths = [self.out / f"{self.info.stem}.{index:06d}.{self._format}" for index in piece.made]
        for event in piece.events[piece.told :]:
            say(f"{event.text}")
        with ExitStack() as stack:
            if preview is None:
                preview = self._new_preview(stack)
                if preview is not None:
                    for path, pts_seconds in zip(paths, piece.times, strict=True):
                        preview.add(path, pts_seconds)
            if preview is not None:
                preview.finish()
            notes = preview.warnings if preview else []
            videos = self._write_hdr_videos(paths, piece.times, notes)
        warnings = [*self.detection.warnings, *piece.warnings, *dict.fromkeys(notes)]
        if self.last is not None and piece.made[-1] < self.last and not piece.problem:
            warnings.append(f"{self.info.source} ends at frame {piece.made[-1]}, before the end of --frames")
        if starts:
            path_of = dict(zip(piece.made, paths, strict=True))
            measured = join_steps(piece.brightness, starts, self.white, lambda index: read_output(path_of[index])[0])
            piece = replace(piece, brightness=measured)
        flicker = flicker_warning(piece.brightness, len(self.cycle))
        warnings += [flicker] if flicker else []
        for text in warnings[len(self.detection.warnings) :]:
            say(f"warning: {text}")
        report = self._report(piece, warnings, time.perf_counter() - started, videos)
        with atomic_path(self.report_path) as partial:
            partial.write_text(json.dumps(report.as_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if self.options.frame_range is None:
            _remove_parts(self.out, self.info.stem)
        return report

    def _windows(self, stack: ExitStack, first: int, last: int | None) -> _LabelledWindows | _RegularWindows:
        """The windows first <= index <= last; reading threads end with `stack`."""
        reader, response, radius = self.reader, self.detection.response, self.cycle.window_radius
        labeller = Labeller(self.cycle, self.detection.repeats)
        reach = radius if self.options.regular else labeller.reach
        stop = None if last is None else last + reach + 1
        on_damage = None if self.options.regular else self._damaged
        ahead = 1 if self._large else DECODE_AHEAD
        step = max(1, max(self.info.width, self.info.height) // LABEL_SIDE)

        def code(frame: Frame) -> _Coded:
            return _code(frame, response, self.info.linear)

        def thin(frame: Frame) -> tuple[int, np.ndarray]:
            return frame.index, np.asarray(response.linearize(frame.pixels[::step, ::step]), np.float32)

        def read(make: Callable[[Frame], Item], start: int, stop: int | None = None) -> Iterator[Item]:
            frames = reader.frames(start, stop, on_damage)
            return iter(stack.enter_context(_Ahead((make(frame) for frame in frames), ahead)))

        start = max(0, first - reach)
        if self.options.regular:
            return _RegularWindows(read(code, start, stop), self.cycle, first, last)
        thinned: Iterator[tuple[int, np.ndarray]]
        if start or self.info.width * self.info.height > SHARED_PIXELS:
            coded, thinned = read(code, start, stop), read(thin, 0)
        else:
            both, same = itertools.tee(read(lambda frame: (thin(frame), code(frame)), 0))
            coded, thinned = (c for _, c in both), (t for t, _ in same)
        return _LabelledWindows(coded, thinned, labeller, first, last)

    def _damaged(self, index: int, text: str) -> None:
        """A frame that was passed over; told once, though two threads read the clip."""
        self.damaged.setdefault(index, text)

    def _write_hdr_videos(
        self, paths: Sequence[Path], times: Sequence[float], notes: list[str]
    ) -> dict[str, dict[str, Any]]:
        """The HDR videos that were asked for, made from the finished files; what a report says of each."""
        asked: dict[HdrKind, bool] = {"hdr10": self.options.hdr10, "hlg": self.options.hlg}
        kinds = [kind for kind, wanted in asked.items() if wanted]
        if not kinds:
            return {}

        def frames() -> Iterator[np.ndarray]:
            for path in paths:
                yield read_output(path)[0].astype(np.float32) / np.float32(self.white)

        light = measure_light(frames())
        videos: dict[str, dict[str, Any]] = {}
        for kind in kinds:
            grade = grade_clip(frames, kind, peak_nits=self.options.peak_nits if kind == "hdr10" else None, light=light)
            path = self.out / f"{self.name}.{kind}.mp4"
            size = self.info.width, self.info.height
            with HdrVideoWriter(path, *size, self.info.frames_per_second, grade, audio_from=self._audio_from) as video:
                for frame, pts_seconds in zip(frames(), times, strict=True):
                    video.write(frame, pts_seconds)
            notes += video.warnings()
            videos[kind] = {
                "path": str(path),
                "nits_per_unit": grade.nits_per_unit,
                "peak_nits": grade.peak_nits,
                "max_cll_nits": grade.max_cll_nits,
                "max_fall_nits": grade.max_fall_nits,
            }
        return videos

    @property
    def _audio_from(self) -> Path | None:
        return Path(self.info.source) if self.options.audio and self.info.kind == "video" else None

    @property
    def _format(self) -> Literal["exr", "hdr"]:
        return "hdr" if self.options.format == "hdr" else "exr"

    @property
    def _exact(self) -> bool:
        """Whether a file holds the very half floats that it is given."""
        return self._format == "exr" and self.options.compression not in LOSSY_COMPRESSIONS

    @property
    def _large(self) -> bool:
        return self.info.width * self.info.height > LARGE_PIXELS

    def _expected_frames(self) -> int | None:
        known = self.info.num_frames
        if self.last is None:
            return None if known is None else max(1, known - self.first)
        last = self.last if known is None else min(self.last, known - 1)
        return max(1, last - self.first + 1)

    def _problem(self, piece: _Piece) -> str | None:
        """What the user must know of frames that were not made, in one sentence; None where all were."""
        last = math.inf if self.last is None else self.last
        damaged = {i: text for i, text in piece.damaged.items() if self.first <= i <= last}
        others = [i for i in piece.lost if i not in damaged]
        parts = [] if piece.problem is None else [piece.problem]
        if damaged:
            listed = "; ".join(list(damaged.values())[:10]) + ("; ..." if len(damaged) > 10 else "")
            parts.append(f"{len(damaged)} damaged frame(s) were left out: {listed}")
        if others:
            parts.append(
                f"frame(s) {', '.join(map(str, others[:20]))} were left out: nothing of another exposure is near them"
            )
        return "; ".join(parts) or None

    def _nothing_made(self, piece: _Piece) -> InputError:
        if piece.problem:
            return InputError(piece.problem)
        return _beyond_the_end(self.info, self.first, self.last, piece.num_frames or 0)

    def _file_values(self, radiance: np.ndarray) -> np.ndarray:
        """(H, W, 3) float values as the file will hold them: scaled, and rounded to half for EXR."""
        if self.to_output is not None:  # colours outside Rec. 709 get negative components there
            radiance = radiance @ self.to_output.T
            if self._format == "hdr":
                radiance = np.maximum(radiance, np.float32(0))
        values = np.minimum(radiance * np.float32(self.scale), np.float32(HALF_MAX))
        return cpu.to_half(values) if self._format == "exr" else values

    def _attributes(self, index: int, coded: tuple[_Coded, ...], stops: tuple[float, ...]) -> dict[str, object]:
        """Header entries of frame `index`, which has just been made."""
        # the memory may have run out meanwhile, or a compiled function failed
        settings = _settings(self.options, self.cycle, self.detection, self.reconstructor)
        attributes: dict[str, object] = {
            "framesPerSecond": self.info.frames_per_second,
            "hdrvid:version": __version__,
            "hdrvid:model": self.reconstructor.name,
            "hdrvid:scale": self.scale,
            "hdrvid:white": self.white,
            "hdrvid:frame": index,
            "hdrvid:exposure_stops": float(stops[len(stops) // 2]),
            "hdrvid:cycle_stops": [float(s) for s in self.cycle.stops],
            "hdrvid:response": self.detection.response.name,
            "hdrvid:input_primaries": self.detection.gamut.name,
            "hdrvid:settings": _settings_id(settings),
            "hdrvid:options": _canonical(settings),
            "hdrvid:window": _window_id(coded, stops),
            "hdrvid:source": _source_id(coded),
        }
        if "sha256" in self.reconstructor.provenance:
            attributes["hdrvid:model_sha256"] = self.reconstructor.provenance["sha256"]
        return attributes

    def _kept(
        self, writer: SequenceWriter, index: int, coded: tuple[_Coded, ...], stops: tuple[float, ...]
    ) -> np.ndarray | None:
        """File values of frame `index` where an earlier run left this very frame, else None.

        Raises OutputError where it left another one.
        """
        path = writer.path_for(index)
        if self.options.overwrite or not writer.is_complete(index):
            return None
        try:
            file_values, header = read_output(path)
        except InputError:
            return None  # damaged: made again
        advice = "give --overwrite to replace it or choose another folder"
        if header.get("hdrvid:settings") != _settings_id(self.settings):
            difference = _difference(header, self.settings)
            if difference is not None:
                raise OutputError(f"{path} was made with other settings ({difference}): {advice}")
        if header.get("hdrvid:window") != _window_id(coded, stops):
            return None  # the clip was shorter when the frame was made, or broke off there
        if header.get("hdrvid:source") != _source_id(coded):
            raise OutputError(f"{path} was made from another clip of the same name: {advice}")
        return file_values

    def _report(
        self, piece: _Piece, warnings: list[str], total_seconds: float, videos: Mapping[str, Mapping[str, Any]]
    ) -> ClipReport:
        made, kept = piece.made, piece.kept
        flicker = flicker_stops(piece.brightness, len(self.cycle))
        detected = self.detection.as_dict()
        new = len(made) - kept
        escaped = str(self.out / self.info.stem).replace("%", "%%")
        pattern = f"{escaped}.%06d.{self._format}"
        values: dict[str, Any] = {
            "version": __version__,
            **{key: value for key, value in detected.items() if key not in ("source", "warnings")},
            "response_curve": _curve_to_keep(self.detection.response),
            "frames": {"first": made[0], "last": made[-1], "count": len(made), "new": new, "kept": kept},
            "events": [{"kind": e.kind, "index": e.index, "text": e.text} for e in piece.events],
            "damaged": {str(index): text for index, text in piece.damaged.items()},
            "white": self.options.white,
            "scale": self.scale,
            "model": {"name": self.reconstructor.name, "sha256": None, **self.reconstructor.provenance},
            "settings": {"id": _settings_id(self.settings), **self.settings},
            "quality": {"flicker_stops": None if flicker is None else round(flicker, 4)},
            "warnings": warnings,
            "timings": {
                "total_seconds": round(total_seconds, 3),
                "network_seconds": round(piece.network_seconds, 3),
                "frames_per_second": round(len(made) / total_seconds, 3),
                "processes": self.ranks.world,
            },
            "outputs": {
                "folder": str(self.out),
                "frames": pattern,
                "first_frame": pattern % made[0],
                "last_frame": pattern % made[-1],
                "preview": str(self.preview_path) if self.options.preview else None,
                **{kind: facts["path"] for kind, facts in videos.items()},
                "report": str(self.report_path),
            },
            "hdr_videos": dict(videos),
        }
        return ClipReport(self.info.source, self._problem(piece), values)


def part_name(stem: str, frame_range: tuple[int, int]) -> str:
    """What stands for STEM in the names of the report and the videos of a part of a clip, as `--frames` makes it.

    >>> part_name("shot", (240, 479))
    'shot.000240-000479'
    """
    return f"{stem}.{frame_range[0]:06d}-{frame_range[1]:06d}"


def _remove_parts(folder: Path, stem: str) -> None:
    """Remove the reports of parts of a clip, and their videos where the whole clip has such a video now."""
    for report in sorted(folder.glob("*.json")):
        name = re.fullmatch(rf"({re.escape(stem)}\.\d{{6,}}-\d{{6,}})\.json", report.name)
        if name is None or not _is_part_of(stem, report):
            continue
        for kind in ("preview", "hdr10", "hlg"):
            if (folder / f"{stem}.{kind}.mp4").exists():
                with suppress(OSError):
                    (folder / f"{name[1]}.{kind}.mp4").unlink(missing_ok=True)
        with suppress(OSError):
            report.unlink()


def _is_part_of(stem: str, report: Path) -> bool:
    """Whether a report is of frames of the clip `stem`, not of a clip that is called like a part of it."""
    try:
        frames = Path(json.loads(report.read_text(encoding="utf-8"))["outputs"]["frames"]).name
    except (OSError, ValueError, TypeError, LookupError):
        return False
    return frames in {f"{stem}.%06d.{format}" for format in FORMATS}


def read_output(path: Path) -> tuple[np.ndarray, Mapping[str, object]]:
    """File values (H, W, 3) float32 and header entries of a finished frame. Raises InputError for a damaged one."""
    if path.suffix == ".hdr":
        return read_hdr(path), read_hdr_attributes(path)
    return read_exr(path)


def _settings(
    options: ReconstructOptions, cycle: ExposureCycle, detection: Detection, reconstructor: Reconstructor
) -> dict[str, Any]:
    """Everything but the clip that decides the pixels of the next frame. The device is left out: its last bits are not
    promised."""
    response, info = detection.response, detection.info
    runner = reconstructor if isinstance(reconstructor, ModelRunner) else None
    curve = None if response.curve is None else hashlib.sha256(np.float64(response.curve).tobytes()).hexdigest()[:12]
    return {
        "version": __version__,
        "model": reconstructor.name,
        "model_sha256": reconstructor.provenance.get("sha256"),
        "precision": getattr(reconstructor, "precision", options.precision),
        "tile": options.tile,
        "tile_px": runner and runner.tile_px(info.height, info.width),
        "compiled_loops": bool(runner and runner.compiled_loops),
        "opencv": cv2.__version__,
        "align": options.align,
        "regular": options.regular,
        "stops": [round(s, 6) for s in cycle.stops],
        "response": response.name if curve is None else f"measured curve {curve}",
        "primaries": [round(float(c), 5) for c in detection.gamut.chromaticities],
        "white_code": detection.white_code,
        "repeats": list(detection.repeats),
        "white": options.white if options.white in ("longest", "shortest") else f"{float(options.white):g}",
        "compression": options.compression if options.compression in LOSSY_COMPRESSIONS else "exact",
    }


_SAME_FRAME = ("tile_px", "compiled_loops")
"""Settings that follow what a machine has: a frame says them, and is kept by a run that would choose others."""


KEPT_CURVE_CODES = 1025
"""Codes, evenly spaced, at which a report keeps a curve that has no samples of its own."""


def _curve_to_keep(response: Response) -> list[str] | None:
    """The linear values of evenly spaced codes, as 'r,g,b', of a curve that its name alone does not give back."""
    curve = response.curve
    if curve is None:
        with suppress(InputError):
            load_response(response.name)
            return None
        codes = np.repeat(np.linspace(0.0, 1.0, KEPT_CURVE_CODES)[:, None], 3, axis=1)
        curve = np.asarray(response.linearize(codes))
    return [",".join(f"{value:.8g}" for value in row) for row in curve]


def _canonical(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def _settings_id(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()[:12]


def _difference(header: Mapping[str, object], settings: Mapping[str, Any]) -> str | None:
    """The settings in which an existing frame differs, in words; None where it is kept all the same."""
    try:
        before = json.loads(str(header["hdrvid:options"]))
        changed = [f"{k} {before.get(k)}, now {v}" for k, v in settings.items() if before.get(k) != v]
        if {k for k in {*before, *settings} if before.get(k) != settings.get(k)} <= {*_SAME_FRAME}:
            return None
    except (KeyError, ValueError, AttributeError, TypeError):
        changed = []
    return "; ".join(changed) or "it does not say which"


def _window(index: int, coded: tuple[_Coded, ...], stops: tuple[float, ...]) -> Window:
    return Window(index, tuple(c.ldr for c in coded), tuple(2.0**s for s in stops))


def _window_id(coded: tuple[_Coded, ...], stops: tuple[float, ...]) -> str:
    """Indices and stops of the frames a frame was made from."""
    return " ".join(f"{c.index}:{s:g}" for c, s in zip(coded, stops, strict=True))


def _source_id(coded: tuple[_Coded, ...]) -> str:
    """Checksum of the frames a frame was made from."""
    return f"{zlib.crc32(b''.join(c.checksum.to_bytes(4, 'big') for c in coded)):08x}"


def _remove_leftovers(folder: Path, stem: str, first: int, last: int | None) -> None:
    """Remove the temporary files of killed runs: of the frames and videos of this run, and of all for a whole clip.

    Files of processes that still run stay, and so do other frames than those of a range: another machine may be
    writing them.
    """
    whole = first == 0 and last is None
    part = "" if last is None else part_name("", (first, last))
    pattern = re.compile(
        rf"\.{re.escape(stem)}(?P<index>\.\d{{6,}})?(?P<part>\.\d{{6,}}-\d{{6,}})?(?:\.(?:preview|hdr10|hlg))?"
        r"\.partial-(?:[0-9a-f]{8}-)?\d+\.(?:exr|hdr|mp4|json)"
    )
    for path in folder.iterdir() if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None or not is_abandoned(path):
            continue
        index = int(match["index"][1:]) if match["index"] else -1
        if whole or match["part"] == part or first <= index <= (math.inf if last is None else last):
            with suppress(OSError):
                path.unlink()
