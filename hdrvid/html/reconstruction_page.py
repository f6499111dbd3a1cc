"""`<stem>.report.html`: what a reconstruction made of a clip, in one file for people.

A slider between the frame as shot and the result, where the result was taken from (blend weights and flow), the
exposures and the brightness of every frame, the range of luminance that was gained.

    find_clips      the clips in a folder of results: their JSON and their frames
    write_report    reads every result once, some frames of the original clip, and writes the page

The page holds all it shows and may load nothing; its one script moves the sliders. It stays below MAX_PAGE_BYTES:
pictures share PICTURE_BYTES and are compressed until they fit.

Convention:
    level       log2 of luminance, in stops; 0 is where the LONGEST exposure clips.
    luminance   of linear Rec. 709.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hdrvid import pictures
from hdrvid.color.curves import gamma_encode, gamma_linearize, srgb_encode
from hdrvid.color.gamuts import REC709, Gamut, conversion_matrix
from hdrvid.color.radiance import luminance
from hdrvid.color.response import RESPONSES, Response, measured_response
from hdrvid.color.tonemap import OPERATORS, Tonemapper
from hdrvid.errors import ExposureError, HdrvidError, InputError, UsageError
from hdrvid.html.evaluation_page import nice_ticks
from hdrvid.io import open_clip
from hdrvid.io.atomic import atomic_path, writable_target
from hdrvid.io.frames import FramesReader
from hdrvid.io.response_files import load_response
from hdrvid.metrics.exposure_flicker import (
    DARKEST_LEVEL,
    EXPOSURE_CLASSES,
    FlickerMeter,
    FrameBrightness,
    brightness_by_exposure,
    flicker_stops,
    frame_levels,
)
from hdrvid.options.report import ReportOptions
from hdrvid.pipeline.options import parse_frame_range
from hdrvid.pipeline.resume import read_output
from hdrvid.predict.registry import available_models, load_reconstructor
from hdrvid.types import ClipReader, ExposureCycle, PathLike, Reconstruction, Reconstructor, Window

SHOWN_FRAMES = 8
"""Frames with pictures, where the user names none."""
MAX_SHOWN_FRAMES = 64
"""Frames the user can name."""
MAX_SIDE_PX = 960
"""Longer side of the pictures before and after."""
PICTURE_BYTES = 5_000_000
"""All pictures of a page together, before base64 makes them a third larger."""
MAX_PAGE_BYTES = 8_000_000
"""No page is larger."""
MEASURED_FRAMES = 2000
"""Frames whose brightness is measured; of longer clips runs of MEASURED_RUN frames in a row, evenly spaced."""
MEASURED_RUN = 20

CLIPPED_CODE = 0.98
"""A pixel with a channel above this is clipped."""
DARK_CODE = 0.05
"""Codes less than this above black are noise and rounding."""
RANGE_PERCENTILES = (0.1, 99.9)
"""The range of luminance of a picture lies between these."""
HISTOGRAM_STEP = 0.25
"""Stops a bin."""
SAMPLED_PIXELS = 200_000
"""Pixels of a frame in the histogram, on a regular grid."""

DIFFERENT_STOPS = 0.05
"""A result that the model does not repeat to this (median over pixels) was made in another way."""

_FRAME_NAME = re.compile(r"(?P<stem>.+)\.(?P<index>\d{6,})\.(?P<format>exr|hdr)", re.DOTALL)
_PART_NAME = re.compile(r"(?P<stem>.+)\.(?P<first>\d{6,})-(?P<last>\d{6,})", re.DOTALL)
_WINDOW_FRAME = re.compile(r"(\d{1,9})(?::(\d+(?:\.\d*)?(?:e-?\d\d?)?))?")


# ---- a folder of results ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipResults:
    """A clip in a folder of results."""

    stem: str
    """Base name of its report."""
    folder: Path
    """Where they are."""
    values: Mapping[str, Any] = field(repr=False)
    """What `<stem>.json` holds."""
    cycle: ExposureCycle
    """One cycle of exposures, beginning with frame 0."""
    scale: float
    """File value of radiance 1.0, the clipping of the shortest exposure."""
    frames: Mapping[int, Path] = field(repr=False)
    """Frame files by input index, in order."""

    @property
    def white(self) -> float:
        """File value at which the longest exposure clips."""
        return self.scale / self.cycle.max_exposure


def find_clips(results: PathLike) -> list[ClipResults]:
    """The clips in a folder that `hdrvid reconstruct` wrote, by name; or the one of a `<stem>.json` in it.

    Raises InputError where there is none.
    """
    path = Path(results)
    if path.is_dir():
        folder, chosen = path, None
    elif path.is_file() and path.suffix == ".json":
        folder, chosen = path.parent, path
    elif path.exists():
        raise InputError(f"{path} is neither a folder of results nor a STEM.json in it: name the folder of -o")
    else:
        raise InputError(f"{path} does not exist: name the folder that hdrvid reconstruct wrote with -o")
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_file())
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    frames: dict[tuple[str, str], dict[int, Path]] = {}
    for name in names:
        if match := _FRAME_NAME.fullmatch(name):
            frames.setdefault((match["stem"], match["format"]), {})[int(match["index"])] = folder / name
    clips = []
    for report in [chosen] if chosen else [folder / n for n in names if n.endswith(".json") and n[0] != "."]:
        stem = report.name.removesuffix(".json")
        values = _read_json(report)
        if values is None or not {"source", "stops", "scale"} <= set(values):
            continue
        pattern = Path(str(_mapping(values.get("outputs")).get("frames"))).name.replace("%%", "%")
        formats = ["exr", "hdr"]
        if pattern.endswith(".hdr"):
            formats.reverse()
        found = next((frames[stem, f] for f in formats if (stem, f) in frames), None)
        if found is None and (part := _PART_NAME.fullmatch(stem)):
            # made with --frames: the report carries the range in its name, the frames do not
            there = frames.get((part["stem"], formats[0]), {})
            found = {i: p for i, p in there.items() if int(part["first"]) <= i <= int(part["last"])}
        if not found:
            raise InputError(f"{report} is there, but none of its frames: run hdrvid reconstruct again")
        clips.append(_clip(report, stem, values, found))
    if not clips:
        raise InputError(_nothing_found(folder, chosen, {stem for stem, _ in frames}))
    return clips


def _nothing_found(folder: Path, chosen: Path | None, stems: set[str]) -> str:
    if chosen is not None:
        return f"{chosen} was not written by hdrvid reconstruct: name the STEM.json of a clip"
    if stems:
        stem = min(stems)
        return f"{folder} holds frames of {stem}, but no {stem}.json: run hdrvid reconstruct again, it keeps the frames"
    return f"{folder} holds no results of hdrvid reconstruct: name the folder given to it with -o"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _clip(report: Path, stem: str, values: Mapping[str, Any], frames: Mapping[int, Path]) -> ClipResults:
    try:
        cycle = ExposureCycle(tuple(float(s) for s in values["stops"]))
        scale = float(values["scale"])
    except (TypeError, ValueError, OverflowError, ExposureError) as error:
        raise InputError(f"{report} is damaged ({error}): run hdrvid reconstruct again") from error
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"{report} is damaged (scale {scale}): run hdrvid reconstruct again")
    return ClipResults(stem, report.parent, values, cycle, scale, dict(sorted(frames.items())))


# ---- brightness ------------------------------------------------------------------------------------------------------


def measured_indices(indices: Sequence[int]) -> list[int]:
    """All indices, or of more than MEASURED_FRAMES evenly spaced runs of MEASURED_RUN, the first and the last in it."""
    if len(indices) <= MEASURED_FRAMES:
        return list(indices)
    starts = np.linspace(0, len(indices) - MEASURED_RUN, MEASURED_FRAMES // MEASURED_RUN).round().astype(int)
    return [indices[i] for start in starts for i in range(start, start + MEASURED_RUN)]


# ---- range of luminance ----------------------------------------------------------------------------------------------


class Histogram:
    """Pixels by level, HISTOGRAM_STEP stops a bin from 2 stops below DARKEST_LEVEL to 16."""

    LOW, HIGH = DARKEST_LEVEL - 2, 16.0

    def __init__(self) -> None:
        # fine bins, so that percentiles are good to 1/32 stop
        self._counts = np.zeros(round((self.HIGH - self.LOW) * 32), np.int64)
        self.total = 0
        """Pixels seen, those outside and left out too."""

    def add(self, luminance_rel: np.ndarray, keep: np.ndarray | None = None) -> None:
        """Pixels of any shape; those where `keep` is False only count towards the total."""
        self.total += luminance_rel.size
        values = luminance_rel[keep] if keep is not None else luminance_rel
        values = np.minimum(values[values > 2.0**self.LOW], 2.0**self.HIGH)
        index = ((np.log2(values.astype(np.float64)) - self.LOW) * 32).astype(np.intp)
        self._counts += np.bincount(np.clip(index, 0, len(self._counts) - 1), minlength=len(self._counts))

    @property
    def kept_share(self) -> float:
        """Share of the pixels that are in the histogram."""
        return float(self._counts.sum() / self.total) if self.total else 0.0

    @property
    def shares(self) -> np.ndarray:
        """Share of all pixels in each bin of HISTOGRAM_STEP."""
        return self._counts.reshape(-1, round(32 * HISTOGRAM_STEP)).sum(-1) / max(self.total, 1)

    def limits(self) -> tuple[float, float] | None:
        """Levels at RANGE_PERCENTILES, None where there are no pixels."""
        cumulated = np.cumsum(self._counts)
        if cumulated[-1] == 0:
            return None
        wanted = np.array(RANGE_PERCENTILES) / 100 * cumulated[-1]
        low, high = (np.searchsorted(cumulated, wanted) + 0.5) / 32 + self.LOW
        return float(low), float(high)

    @property
    def range_stops(self) -> float:
        """Stops between the limits, 0 where there are no pixels."""
        limits = self.limits()
        return limits[1] - limits[0] if limits else 0.0


def darkest_linear(response: Response) -> float:
    """Linear value, of 1.0 where a frame clips, below which its pixels are noise: DARK_CODE above black."""
    if response.name == "linear":
        return float(gamma_linearize(np.array(DARK_CODE)))
    black = np.asarray(response.encode(np.zeros(3)), np.float64)
    return float(np.mean(response.linearize(black + DARK_CODE)))


# ---- the original clip -----------------------------------------------------------------------------------------------


class _Original:
    """The clip as it was shot, and the model that ran on it, as far as they are there. A context manager."""

    def __init__(self, clip: ClipResults, options: ReportOptions) -> None:
        self.clip = clip
        self.notes: list[str] = []
        """What is missing and why, in sentences."""
        self.reader: ClipReader | None = None
        self.response: Response | None = None
        self.model: Reconstructor | None = None
        self._held: dict[int, np.ndarray] = {}
        self._open(options)
        self.to_output: np.ndarray | None = None
        """(3, 3) linear RGB of the clip to that of the results; None where they are the same."""
        if self.reader is not None:
            self._find_response()
            self._find_colours()
        if options.weights:
            self._load(options)

    def __enter__(self) -> _Original:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.reader is not None:
            self.reader.close()

    def _open(self, options: ReportOptions) -> None:
        source = options.clip or str(self.clip.values["source"])
        advice = "" if options.clip else "; --clip names it"
        try:
            reader = open_clip(source)
        except InputError as error:
            if options.clip:
                raise
            self.notes.append(f"Frames as shot and what is made from them: {error}{advice}.")
            return
        size, made = [reader.info.width, reader.info.height], self.clip.values.get("size")
        if isinstance(made, list) and size != made:
            reader.close()
            text = f"{source} is {size[0]}x{size[1]}, but the results were made from {'x'.join(map(str, made))}"
            if options.clip:
                raise InputError(f"{text}: give --clip the original")
            self.notes.append(f"Frames as shot and what is made from them: {text}{advice}.")
            return
        self.reader = reader

    def _find_response(self) -> None:
        assert self.reader is not None
        name = str(self.clip.values.get("response"))
        kept = self.clip.values.get("response_curve")
        with suppress(ValueError, TypeError):
            rows = [[float(value) for value in str(row).split(",")] for row in kept or ()]
            self.response = measured_response(name, np.asarray(rows))
            return
        try:
            self.response = RESPONSES["linear"] if self.reader.info.linear else load_response(name)
        except InputError as error:
            self.notes.append(f"Blend weights and the range of the frames as shot: {error}.")

    def _find_colours(self) -> None:
        """Levels and primaries, as the run used them."""
        white_code = self.clip.values.get("white_code")
        if isinstance(self.reader, FramesReader) and isinstance(white_code, int) and white_code > 0:
            self.reader.set_white_code(white_code)
        primaries = _mapping(self.clip.values.get("settings")).get("primaries")
        with suppress(ValueError, TypeError):
            gamut = Gamut.from_chromaticities(tuple(float(v) for v in primaries or REC709.chromaticities))
            matrix = conversion_matrix(gamut, REC709)
            self.to_output = None if np.allclose(matrix, np.eye(3), atol=1e-4) else matrix

    def in_output_colours(self, linear: np.ndarray) -> np.ndarray:
        """Linear light (H, W, 3) of the clip in the primaries of the results."""
        return linear if self.to_output is None else linear @ self.to_output.T.astype(linear.dtype)

    def _load(self, options: ReportOptions) -> None:
        if self.response is None:
            return
        made, settings = _mapping(self.clip.values.get("model")), _mapping(self.clip.values.get("settings"))
        name = options.model or str(made.get("name"))
        try:
            if options.model is None and name not in available_models():
                raise InputError(f"the model {name} is not one that hdrvid has; --model names its file")
            self.model = load_reconstructor(
                name,
                len(self.clip.cycle),
                device=options.device,
                tile=str(settings.get("tile_px") or settings.get("tile", "auto")),
                align=settings.get("align", "auto") == "auto",
            )
        except HdrvidError as error:
            if options.model is not None:
                raise
            self.notes.append(f"Blend weights: {error}.")
            return
        if made.get("sha256") != self.model.provenance.get("sha256"):
            self.notes.append(f"The very weights of {name} that made the results: those shown are of another version.")

    def read_ahead(self, index: int, header: Mapping[str, object]) -> None:
        """Read what is needed for the result `index` in one go, and forget the rest."""
        window = self._window_of(index, header) if self.model is not None else []
        needed = {index, *(i for i, _ in window)}
        self._held = {i: f for i, f in self._held.items() if i in needed}
        missing = [i for i in needed if i not in self._held]
        if self.reader is None or not missing:
            return
        with suppress(InputError):  # said by `frame`, which tries again
            for frame in self.reader.frames(min(missing), max(missing) + 1):
                if frame.index in missing:
                    self._held[frame.index] = frame.pixels

    def _window_of(self, index: int, header: Mapping[str, object]) -> list[tuple[int, float | None]]:
        """Index and stops of the frames that a result was made from, in order; None: stops that are not written there.

        As `hdrvid:window` of its header says, '4:0 5:3 6:0' or '4 5 6', else as the cycle does.
        """
        cycle = self.clip.cycle
        found = [_WINDOW_FRAME.fullmatch(word) for word in str(header.get("hdrvid:window", "")).split()]
        frames = [(int(m[1]), float(m[2]) if m[2] else None) for m in found if m is not None]
        if len(found) == len(frames) == 2 * len(cycle) - 1:
            return frames
        return [(i, None) for i in cycle.window_indices(index, max(1 + max(self.clip.frames), len(cycle)))]

    def frame(self, index: int) -> np.ndarray | None:
        """Frame (H, W, 3) float32 as the clip stores it, None where it cannot be read."""
        if self.reader is None:
            return None
        if index not in self._held:
            try:
                frame = next(iter(self.reader.frames(index, index + 1)), None)
            except InputError as error:
                self.notes.append(f"Frame {index} as shot: {error}.")
                return None
            if frame is None or frame.index != index:
                self.notes.append(f"Frame {index} as shot: {self.reader.info.source} ends before it.")
                return None
            self._held[index] = frame.pixels
        return self._held[index]

    def diagnose(
        self, index: int, header: Mapping[str, object], stops_of: Mapping[int, float]
    ) -> Reconstruction | None:
        """The model once more on the window of a frame, with flow and weights. None where it cannot run."""
        if self.model is None or self.response is None:
            return None
        window = self._window_of(index, header)
        frames = [self.frame(i) for i, _ in window]
        coded = [self._coded(f) for f in frames if f is not None]
        if len(coded) < len(window):
            return None
        known = [stops_of.get(i, self.clip.cycle.stops_at(i)) if stops is None else stops for i, stops in window]
        exposures = tuple(2.0**stops for stops in known)
        try:
            return self.model.reconstruct(Window(index, tuple(coded), exposures), diagnostics=True)
        except HdrvidError as error:
            self.notes.append(f"Blend weights: {error}.")
            self.model = None
            return None

    def _coded(self, pixels: np.ndarray) -> np.ndarray:
        assert self.response is not None
        if self.response.name == "gamma2.2":
            return np.ascontiguousarray(np.clip(pixels, 0.0, 1.0), np.float32)
        return np.ascontiguousarray(gamma_encode(self.response.linearize(pixels)), np.float32)


# ---- a report --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WrittenReport:
    """A page that was written, and what it says in figures."""

    path: Path
    """The page."""
    stem: str
    """Its clip."""
    num_bytes: int
    """Size of the page."""
    frames: int
    """Results there are."""
    shown: tuple[int, ...]
    """Frames with pictures."""
    flicker: float | None
    """See `hdrvid.metrics.exposure_flicker.flicker_stops`."""
    range_stops: float
    """Range of luminance of the results, stops."""
    input_range_stops: Mapping[str, float]
    """The same of the frames as shot, by exposure."""
    notes: tuple[str, ...]
    """What the page lacks and why."""
    problems: tuple[str, ...]
    """Results that cannot be read."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "report": str(self.path),
            "clip": self.stem,
            "num_bytes": self.num_bytes,
            "frames": self.frames,
            "shown": list(self.shown),
            "ping_pong_stops": None if self.flicker is None else round(self.flicker, 5),
            "range_stops": round(self.range_stops, 3),
            "input_range_stops": {c: round(r, 3) for c, r in self.input_range_stops.items()},
            "notes": list(self.notes),
            "problems": list(self.problems),
        }


def validate_options(options: ReportOptions) -> None:
    """Check what needs no clip. Raises UsageError."""
    if options.tonemap not in OPERATORS:
        raise UsageError(f"--tonemap takes one of {', '.join(OPERATORS)}, not '{options.tonemap}'")
    if options.frames is not None:
        parse_frames(options.frames)


def parse_frames(text: str) -> list[int]:
    """Frames of '0,12,40-44', in order, each once. Raises UsageError; so do more than MAX_SHOWN_FRAMES.

    >>> parse_frames("7,2-4,3")
    [2, 3, 4, 7]
    """
    chosen: set[int] = set()
    for part in text.split(","):
        first, last = parse_frame_range(part)
        chosen.update(range(first, min(last, first + MAX_SHOWN_FRAMES) + 1))
        if len(chosen) > MAX_SHOWN_FRAMES:
            raise UsageError(f"--frames {text} are more than the {MAX_SHOWN_FRAMES} frames that a report shows")
    return sorted(chosen)


def chosen_frames(exposures: Mapping[int, str], count: int = SHOWN_FRAMES) -> list[int]:
    """About `count` of the frames: evenly spaced, the first and the last, every exposure in turn.

    `exposures` has the exposure of every frame. A frame in the middle is replaced by one nearby of the exposure whose
    turn it is.

    >>> chosen_frames({i: ("short", "long")[i % 2] for i in range(100)}, 5)
    [0, 25, 50, 73, 99]
    """
    indices = sorted(exposures)
    if len(indices) <= count:
        return indices
    classes = [c for c in EXPOSURE_CLASSES if c in set(exposures.values())]
    turn = classes.index(exposures[indices[0]])
    chosen = [0, len(indices) - 1]
    for k, place in enumerate(np.linspace(0, len(indices) - 1, count).round().astype(int)[1:-1], 1):
        wanted = classes[(turn + k) % len(classes)]
        nearby = range(max(place - len(classes), 0), min(place + len(classes) + 1, len(indices)))
        fitting = [p for p in nearby if exposures[indices[p]] == wanted and p not in chosen]
        place = min(fitting, key=lambda p: (abs(p - place), p), default=int(place))
        if place not in chosen:
            chosen.append(place)
    return [indices[p] for p in sorted(chosen)]


@dataclass(frozen=True)
class _Shown:
    """A frame with pictures."""

    brightness: FrameBrightness
    after: np.ndarray
    before: np.ndarray | None
    weights: np.ndarray | None
    flows: Mapping[str, np.ndarray]


def write_report(
    clip: ClipResults,
    path: PathLike,
    options: ReportOptions | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> WrittenReport:
    """Write the page of one clip; the file appears complete or not at all.

    `progress` is called with (results read, results to be read). Results that cannot be read are left out and listed.
    Raises InputError where none can be read, or one named in the options is not there; UsageError, OutputError.
    """
    options = options or ReportOptions()
    validate_options(options)
    writable_target(path)
    wanted = None if options.frames is None else parse_frames(options.frames)
    missing = [i for i in wanted or () if i not in clip.frames]
    if missing:
        first, last = min(clip.frames), max(clip.frames)
        raise InputError(f"frame {missing[0]} of {clip.stem} is not in the results: they are of frames {first}-{last}")
    count = len(wanted) if wanted is not None else SHOWN_FRAMES
    measuring = measured_indices(list(clip.frames))
    total, done = len(measuring) + min(count, len(clip.frames)), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, total), total)

    with _Original(clip, options) as original:
        problems: dict[int, str] = {}
        brightness = _brightness(clip, measuring, problems, tick)
        if not brightness:
            raise InputError(f"no frame of {clip.stem} can be read ({next(iter(problems.values()))})")
        by_index = {b.index: b for b in brightness}
        indices = chosen_frames({b.index: b.exposure for b in brightness}) if wanted is None else wanted
        results, inputs = Histogram(), {c: Histogram() for c in EXPOSURE_CLASSES}
        shown: list[_Shown] = []
        tonemap = _tonemapper(clip, brightness, options.tonemap)
        budget = _Budget(len(indices))
        stops_of = {b.index: b.stops for b in brightness}
        for index in indices:
            tick()
            try:
                pixels, header = read_output(clip.frames[index])
            except InputError as error:
                problems[index] = str(error)
                continue
            b = by_index.get(index) or FrameBrightness(index, *_exposure(clip, index, header), math.nan)
            original.read_ahead(index, header)
            _count_pixels(clip, original, b, pixels, results, inputs)
            shown.append(_show(clip, original, b, pixels, header, stops_of, tonemap))
    flicker = flicker_stops(brightness, len(clip.cycle))
    page = _page(clip, original, brightness, shown, results, inputs, list(problems.values()), budget, options)
    data = page.encode("utf-8", "backslashreplace")
    with atomic_path(path) as partial:
        partial.write_bytes(data)
    return WrittenReport(
        path=Path(path),
        stem=clip.stem,
        num_bytes=len(data),
        frames=len(clip.frames),
        shown=tuple(s.brightness.index for s in shown),
        flicker=flicker,
        range_stops=results.range_stops,
        input_range_stops={c: h.range_stops for c, h in inputs.items() if h.total},
        notes=tuple(dict.fromkeys(original.notes)),
        problems=tuple(problems.values()),
    )


def _brightness(
    clip: ClipResults, indices: Sequence[int], problems: dict[int, str], tick: Callable[[], None]
) -> list[FrameBrightness]:
    """Every one of the frames that can be read; the others go to `problems`."""
    meter = FlickerMeter(clip.white)
    for index in indices:
        tick()
        try:
            pixels, header = read_output(clip.frames[index])
        except InputError as error:
            problems[index] = str(error)
            continue
        meter.add(index, *_exposure(clip, index, header), pixels)
    return meter.frames


def _exposure(clip: ClipResults, index: int, header: Mapping[str, object]) -> tuple[float, str]:
    """Stops and class of a frame: as its header says, else as the cycle does."""
    ordered = sorted(clip.cycle.stops)
    try:
        stops = float(str(header["hdrvid:exposure_stops"]))
        place = int(np.argmin([abs(s - stops) for s in ordered]))
    except (KeyError, ValueError):
        return clip.cycle.stops_at(index), clip.cycle.class_at(index)
    return stops, "short" if place == 0 else "long" if place == len(ordered) - 1 else "middle"


def _tonemapper(clip: ClipResults, brightness: Sequence[FrameBrightness], operator: str) -> Tonemapper:
    """One key for the whole clip: it is set by a sample of frames, and follows nothing afterwards."""
    tonemap = Tonemapper(operator, max_value=clip.cycle.max_exposure, frames_per_second=1e9)
    samples = []
    for b in brightness[:: max(1, len(brightness) // 16)]:
        try:
            pixels = read_output(clip.frames[b.index])[0]
        except InputError:
            continue  # was there a moment ago; said where it is needed
        step = max(1, round(math.sqrt(pixels.shape[0] * pixels.shape[1] / 4000)))
        samples.append(pixels[::step, ::step].reshape(-1, 3))
    if samples:
        tonemap(np.concatenate(samples)[None] / np.float32(clip.white))
    return tonemap


def _count_pixels(
    clip: ClipResults,
    original: _Original,
    b: FrameBrightness,
    pixels: np.ndarray,
    results: Histogram,
    inputs: Mapping[str, Histogram],
) -> None:
    """Add a result, and the frame it was made for, to the histograms.

    Left out: of a frame as shot what is clipped or dark; of the result what is dark even in the longest exposure.
    """
    step = max(1, math.ceil(math.sqrt(pixels.shape[0] * pixels.shape[1] / SAMPLED_PIXELS)))
    darkest = darkest_linear(original.response or RESPONSES["gamma2.2"])
    light = luminance(pixels[::step, ::step]) / clip.white
    results.add(light, light >= darkest)
    code = original.frame(b.index)
    if code is None or original.response is None:
        return
    code = np.ascontiguousarray(code[::step, ::step])
    linear = luminance(original.in_output_colours(np.asarray(original.response.linearize(code), np.float64)))
    unclipped = code.max(-1) <= CLIPPED_CODE
    inputs[b.exposure].add(linear * clip.cycle.max_exposure / 2.0**b.stops, unclipped & (linear >= darkest))


def _show(
    clip: ClipResults,
    original: _Original,
    b: FrameBrightness,
    pixels: np.ndarray,
    header: Mapping[str, object],
    stops_of: Mapping[int, float],
    tonemap: Tonemapper,
) -> _Shown:
    after = _small(tonemap(pixels / np.float32(clip.white)), MAX_SIDE_PX)
    code = original.frame(b.index)
    before = None
    if code is not None:
        assert original.reader is not None
        coded = code
        if original.response is not None and (original.reader.info.linear or original.to_output is not None):
            linear = np.asarray(original.response.linearize(code), np.float32)
            coded = np.asarray(srgb_encode(original.in_output_colours(linear)))
        before = _small(pictures.input_picture(coded), MAX_SIDE_PX)
    made = original.diagnose(b.index, header, stops_of)
    weights, flows = None, {}
    if made is not None:
        _compare(clip, original, b.index, original.in_output_colours(made.radiance), pixels)
        if made.weights is None:
            original.notes.append("Blend weights: the model has none.")
        else:
            neighbours = 2 * len(clip.cycle) - 2
            smaller = np.stack([_small(w, MAX_SIDE_PX * 2 // 3) for w in made.weights[: 1 + neighbours]])
            weights = pictures.weights_picture(smaller, neighbours)
    if made is not None and made.flow_px is not None:
        k = len(made.flow_px) // 2
        named = {"flow to the frame before": made.flow_px[k - 1], "flow to the frame after": made.flow_px[k]}
        flows = {name: pictures.flow_picture(_small(f, MAX_SIDE_PX // 3)) for name, f in named.items()}
    return _Shown(b, after, before, weights, flows)


def _compare(clip: ClipResults, original: _Original, index: int, radiance: np.ndarray, pixels: np.ndarray) -> None:
    """Say so where the model does not make of the frame what the file holds."""
    if radiance.shape == pixels.shape:
        both = [frame_levels(luminance(p) / np.float32(s)) for p, s in ((radiance, 1.0), (pixels, clip.scale))]
        difference = float(np.median(np.abs(both[0] - both[1])))
        if difference <= DIFFERENT_STOPS:
            return
        text = f"by {difference:.2f} stops"
    else:
        text = "in size"
    original.notes.append(
        f"The very blend weights of frame {index}: what the model makes of it now differs {text} from the result."
    )


# ---- pictures --------------------------------------------------------------------------------------------------------


def _small(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, C), uint8 or float32, averaged so that its longer side is at most `side` pixels."""
    height, width = picture.shape[:2]
    share = side / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


class _Budget:
    """PICTURE_BYTES, shared out between the pictures of a number of frames."""

    SHARES = (1.0, 1.0, 0.5, 0.15, 0.15)
    """Before, after, blend weights, flow to both sides."""
    QUALITIES = (90, 82, 72, 60, 45)
    LOSSLESS_PIXELS = 16_384

    def __init__(self, num_frames: int) -> None:
        self._unit = PICTURE_BYTES / (max(num_frames, 1) * sum(self.SHARES))

    def uri(self, picture: np.ndarray, share: float) -> str:
        """A data URI within `share`: JPEG as good as fits, smaller where none does; PNG of a very small picture."""
        if picture.shape[0] * picture.shape[1] <= self.LOSSLESS_PIXELS:
            data = pictures.png_bytes(picture)
            if len(data) <= share * self._unit:
                return _uri(data, "png")
        while True:
            bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
            for quality in self.QUALITIES:
                data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
                if len(data) <= share * self._unit or max(picture.shape) <= 16:
                    return _uri(data, "jpeg")
            picture = _small(picture, max(picture.shape[:2]) * 3 // 4)


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


# ---- page ------------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _page(
    clip: ClipResults,
    original: _Original,
    brightness: Sequence[FrameBrightness],
    shown: Sequence[_Shown],
    results: Histogram,
    inputs: Mapping[str, Histogram],
    problems: Sequence[str],
    budget: _Budget,
    options: ReportOptions,
) -> str:
    warnings = [str(w) for w in _list(clip.values.get("warnings"))]
    absent = _absent(clip)
    if absent:
        warnings.append(f"Without results: {_numbers(absent)}.")
    trouble = [str(clip.values["problem"])] if clip.values.get("problem") else []
    body = [
        f'<header><h1>{_text(clip.stem)}</h1><p class="quote">{_text(clip.values["source"])}</p></header>',
        _notices("alarm", _counted(len(problems) + len(trouble), "problem"), [*trouble, *problems]),
        _notices("warn", _counted(len(warnings), "warning"), warnings),
        _notices("", "Not shown", original.notes),
        _facts(clip),
        '<div class="charts">',
        _timeline_section(clip, brightness),
        _histogram_section(clip, results, inputs, original),
        "</div>",
        _frames_section(shown, budget, options),
    ]
    before, after = (
        _PAGE.replace("@POLICY@", _POLICY).replace("@STYLE@", _STYLE).replace("@SCRIPT@", _SCRIPT).split("@BODY@")
    )
    # names of files come last, and nothing is replaced inside them
    return before.replace("@TITLE@", f"{_text(clip.stem)}: reconstruction") + "\n".join(filter(None, body)) + after


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _absent(clip: ClipResults) -> list[int]:
    """Frames between the first and the last result that have none."""
    indices = list(clip.frames)
    return [i for a, b in itertools.pairwise(indices) for i in range(a + 1, min(b, a + 1 + MEASURED_FRAMES))]


def _numbers(indices: Sequence[int], most: int = 12) -> str:
    """Frames in words: 'frames 3, 5-7 and 20 more'."""
    runs: list[list[int]] = []
    for i in indices:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    named = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:most])
    rest = sum(b - a + 1 for a, b in runs[most:])
    return f"frame{'' if len(indices) == 1 else 's'} {named}" + (f" and {rest} more" if rest else "")


def _notices(kind: str, title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = [f"<li>{_text(line)}</li>" for line in dict.fromkeys(lines)]
    most = 8
    more = f"<details><summary>{len(items) - most} more</summary><ul>{''.join(items[most:])}</ul></details>"
    return (
        f'<section class="notice {kind}"><h2>{title}</h2><ul>{"".join(items[:most])}</ul>'
        f"{more if len(items) > most else ''}</section>"
    )


def _facts(clip: ClipResults) -> str:
    values = clip.values
    model, settings = _mapping(values.get("model")), _mapping(values.get("settings"))
    timings, size = _mapping(values.get("timings")), _list(values.get("size"))
    indices = list(clip.frames)
    confidence = values.get("confidence")
    sure = f", confidence {confidence:.2f}" if isinstance(confidence, (int, float)) else ""
    stops = ", ".join(f'<i class="dot {clip.cycle.class_at(i)}"></i>{s:.4g}' for i, s in enumerate(clip.cycle.stops))
    rows = [
        ("Picture", _text(f"{' × '.join(map(str, size))}, {_rate(values.get('frames_per_second'))} fps")),
        ("Results", _text(f"{_counted(len(indices), 'frame')}, {indices[0]} to {indices[-1]}")),
        ("Exposures", f"{stops} stops " + _text(f"({values.get('exposures_from', '')}{sure})")),
        ("Response", _text(f"{values.get('response')} ({values.get('response_from', '')})")),
        ("File values", _text(f"1.0 is {_white(clip)}")),
        ("Model", _text(f"{model.get('name')}, {settings.get('precision', '')}") + _checksum(model.get("sha256"))),
    ]
    if values.get("exposures_corrected"):
        rows.append(("Corrected", _text(values["exposures_corrected"])))
    seconds = timings.get("total_seconds")
    if isinstance(seconds, (int, float)):
        rows.append(("Made in", _text(f"{_duration(seconds)}, by hdrvid {values.get('version')}")))
    details = _mapping(values.get("details"))
    if details:
        rows.append(("Source", _text("; ".join(f"{k} {v}" for k, v in details.items()))))
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<section><dl class="facts">{items}</dl>{_events(values)}</section>'


def _rate(value: object) -> str:
    numerator, _, denominator = str(value).partition("/")
    try:
        return f"{float(numerator) / float(denominator or 1):.6g}"
    except (ValueError, ZeroDivisionError):
        return "?"


def _white(clip: ClipResults) -> str:
    if math.isclose(clip.white, 1.0):
        return "where the longest exposure clips"
    if math.isclose(clip.scale, 1.0):
        return "where the shortest exposure clips"
    return f"{-math.log2(clip.white):+.2f} stops from where the longest exposure clips"


def _checksum(sha256: object) -> str:
    return f' <small title="sha256 {_text(sha256)}">{_text(str(sha256)[:12])}…</small>' if sha256 else ""


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _events(values: Mapping[str, Any]) -> str:
    """What was noticed frame by frame, where the clip's JSON has it."""
    lines = []
    for event in _list(values.get("events")):
        about = _mapping(event)
        index = about.get("index")
        text = str(about.get("text", event)) if about else str(event)
        where = f"<b>Frame {_text(index)}</b>: " if index is not None and str(index) not in text else ""
        lines.append(f"<li>{where}{_text(text)}</li>")
    if not lines:
        return ""
    return f"<details><summary>{_counted(len(lines), 'event')} in the clip</summary><ul>{''.join(lines)}</ul></details>"


# ---- charts ----------------------------------------------------------------------------------------------------------

_WIDTH, _LEFT, _RIGHT = 640, 46, 10
_MAX_DOTS = 160


@dataclass(frozen=True)
class _Panel:
    """One band of a chart: where its values are drawn."""

    top: float
    height: float
    low: float
    high: float

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.top + self.height * (1 - share)

    def grid(self, count: int, places: int | None = None) -> str:
        ticks = nice_ticks(self.low, self.high, count)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9)) if places is None else places
        return "".join(
            f'<path class="grid" d="M{_LEFT} {self.y(t):.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text class="y" x="{_LEFT - 6}" y="{self.y(t):.1f}" dy=".35em">{_signed(t, digits)}</text>'
            for t in ticks
        )


def _signed(value: float, digits: int) -> str:
    """A number with a real minus sign; 0 has none."""
    text = f"{abs(value):.{digits}f}"
    return ("−" if value < 0 and float(text) else "") + text


def _range(values: Sequence[float], least: float) -> tuple[float, float]:
    """Low and high of the values with room around them, at least `least` apart."""
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), (least - (high - low)) / 2)
    return low - room, high + room


def _timeline_section(clip: ClipResults, frames: Sequence[FrameBrightness]) -> str:
    """Three charts over the frames: exposures, brightness of the results, each against its neighbours."""
    offsets = brightness_by_exposure(frames, len(clip.cycle))
    flicker = flicker_stops(frames, len(clip.cycle))
    if flicker is None:
        said = "The brightness from frame to frame cannot be compared: too few frames in a row, or all is in motion."
        figure = ""
    else:
        each = ", ".join(f"{c} {_signed(o, 3) if o < 0 else f'+{o:.3f}'}" for c, o in offsets.items())
        figure = f'<p class="figure"><b>{flicker:.3f}</b> stops of flicker</p>'
        said = (
            f"Results of one exposure are {2**flicker * 100 - 100:.1f} % brighter than those of another "
            f"({each} stops from their mean), measured where nothing moves. 0 stops of luminance: the longest exposure "
            "clips."
        )
    least = len(frames) < len(clip.frames)
    more = f" Measured on {len(frames)} of {len(clip.frames)} results." if least else ""
    return (
        f'<section class="chart"><h2>Exposure and brightness</h2>{figure}{_timeline(clip, frames)}'
        f'{_legend({f.exposure for f in frames})}<p class="note">{_text(said + more)}</p></section>'
    )


def _legend(present: set[str]) -> str:
    items = "".join(f'<li><i class="dot {c}"></i>{c}</li>' for c in EXPOSURE_CLASSES if c in present)
    return f'<ul class="legend">{items}</ul>'


def _timeline(clip: ClipResults, frames: Sequence[FrameBrightness]) -> str:
    first, last = frames[0].index, frames[-1].index
    stops = [f.stops for f in frames]
    steps = [f.step_stops for f in frames if f.step_stops is not None]
    largest = max(0.1, 1.15 * max(map(abs, steps), default=0.0))
    panels = (
        _Panel(26, 60, *_range([*stops, *clip.cycle.stops], 1.0)),
        _Panel(122, 110, *_range([f.mean_level for f in frames], 1.0)),
        _Panel(268, 90, -largest, largest),
    )
    titles = (
        "exposure as shot, stops",
        "mean luminance of the result, stops",
        "result against its neighbours in time, stops",
    )
    bottom = panels[-1].top + panels[-1].height
    height = bottom + 40

    def x(index: float) -> float:
        span = _WIDTH - _RIGHT - _LEFT
        return _LEFT + (span * (0.02 + 0.96 * (index - first) / (last - first)) if last > first else span / 2)

    drawn = []
    for panel, title in zip(panels, titles, strict=True):
        drawn.append(
            f'<text x="{_LEFT}" y="{panel.top - 9:.0f}">{title}</text>{panel.grid(3 if panel.height < 70 else 4)}'
        )
    drawn.append(
        "".join(
            f'<path class="axis" d="M{x(t):.1f} {bottom}v4"/>'
            f'<text class="x" x="{x(t):.1f}" y="{bottom + 18}">{t:.0f}</text>'
            for t in nice_ticks(first, last, 8, whole=True)
        )
    )
    rows: tuple[list[float | None], ...] = (
        list(stops),
        [f.mean_level for f in frames],
        [f.step_stops for f in frames],
    )
    bar = max(0.6, min(10.0, 0.6 * (_WIDTH - _LEFT - _RIGHT) / max(last - first, 1)))
    names = ("exposure", "mean", "step")
    for number, (panel, row) in enumerate(zip(panels, rows, strict=True)):
        base = panel.y(panel.low) if number == 0 else panel.y(0.0)
        for exposure in EXPOSURE_CLASSES:
            points = [
                (x(f.index), panel.y(v), f, v)
                for f, v in zip(frames, row, strict=True)
                if f.exposure == exposure and v is not None
            ]
            if not points:
                continue
            if number == 1:
                path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py, _, _ in points)
                drawn.append(f'<path class="line {exposure}" d="{path}"/>')
            else:
                path = "".join(f"M{px:.1f} {base:.1f}V{py:.1f}" for px, py, _, _ in points)
                drawn.append(f'<path class="bars {exposure}" stroke-width="{bar:.1f}" d="{path}"/>')
            if len(frames) <= _MAX_DOTS:
                drawn += [
                    f'<circle class="mark {exposure}" cx="{px:.1f}" cy="{py:.1f}" r="{3 if number == 1 else 2:g}">'
                    f"<title>frame {f.index}, {exposure}: {names[number]} {_signed(v, 3)} stops</title></circle>"
                    for px, py, f, v in points
                ]
    describe = (
        f"Frames {first} to {last}. Mean luminance from {min(f.mean_level for f in frames):.2f} to "
        f"{max(f.mean_level for f in frames):.2f} stops."
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-labelledby="timeline-d">'
        f'<desc id="timeline-d">{describe}</desc>{"".join(drawn)}'
        f'<text class="end" x="{_WIDTH - _RIGHT}" y="{height - 3:.0f}">frame</text></svg>'
    )


def _histogram_section(
    clip: ClipResults, results: Histogram, inputs: Mapping[str, Histogram], original: _Original
) -> str:
    seen = {c: h for c, h in inputs.items() if h.total}
    gained = results.range_stops - max((h.range_stops for h in seen.values()), default=0.0)
    shot = "".join(f'<li><i class="dot {c}"></i>{c} as shot</li>' for c in seen)
    if seen:
        figure = f'<p class="figure"><b>+{max(gained, 0.0):.1f}</b> stops over the best single exposure</p>'
        each = "; ".join(
            f"{c} frames {h.range_stops:.1f} stops, {100 * h.kept_share:.0f} % of their pixels" for c, h in seen.items()
        )
        said = (
            f"The results hold {results.range_stops:.1f} stops of luminance. As shot, without what is clipped or dark: "
            f"{each}. From percentile {RANGE_PERCENTILES[0]:g} to {RANGE_PERCENTILES[1]:g} of the frames shown."
        )
    else:
        figure = f'<p class="figure"><b>{results.range_stops:.1f}</b> stops of luminance</p>'
        said = "The frames as shot are not there to be compared."
    return (
        f'<section class="chart"><h2>Range of luminance</h2>{figure}{_histogram(clip, results, seen)}'
        f'<ul class="legend"><li><i class="dot any"></i>result</li>{shot}</ul>'
        f'<p class="note">{_text(said)}</p></section>'
    )


def _histogram(clip: ClipResults, results: Histogram, inputs: Mapping[str, Histogram]) -> str:
    bottom, height = 340, 398
    top = 26 + 18 * len(clip.cycle)  # below a line of text for every exposure
    edges = np.arange(Histogram.LOW, Histogram.HIGH + HISTOGRAM_STEP / 2, HISTOGRAM_STEP)
    rows = {"any": results.shares, **{c: h.shares for c, h in inputs.items()}}
    clips = {clip.cycle.class_at(i): math.log2(clip.cycle.max_exposure) - s for i, s in enumerate(clip.cycle.stops)}
    filled = [int(i) for row in rows.values() for i in np.flatnonzero(row > 1e-6)] or [0]
    low = min(math.floor(edges[min(filled)]) - 0.5, -4.0)
    high = max(math.ceil(edges[max(filled) + 1]), max(clips.values()) + 0.5, 1.0)
    tallest = max(float(row.max()) for row in rows.values()) or 1.0

    def x(level: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (min(max(level, low), high) - low) / (high - low)

    def y(share: float) -> float:
        return bottom - (bottom - top) * 0.96 * share / tallest

    drawn = [
        f'<path class="grid" d="M{x(t):.1f} {top}V{bottom}"/>'
        f'<text class="x" x="{x(t):.1f}" y="{bottom + 18}">{_signed(t, 0)}</text>'
        for t in nice_ticks(low, high, 9, whole=True)
    ]
    drawn += [
        f'<path class="grid" d="M{_LEFT} {y(t / 100):.1f}H{_WIDTH - _RIGHT}"/>'
        f'<text class="y" x="{_LEFT - 6}" y="{y(t / 100):.1f}" dy=".35em">{t:g}</text>'
        for t in nice_ticks(0, 100 * tallest, 5)
    ]
    for kind, row in rows.items():
        path = f"M{_LEFT} {bottom}" if kind == "any" else ""
        for i, share in enumerate(row):
            if edges[i + 1] > low and edges[i] < high:
                path += f"{'L' if path else 'M'}{x(edges[i]):.1f} {y(share):.1f}H{x(edges[i + 1]):.1f}"
        drawn.append(
            f'<path class="area any" d="{path}V{bottom}"/>'
            if kind == "any"
            else f'<path class="line {kind}" d="{path}"/>'
        )
    for number, (exposure, level) in enumerate(sorted(clips.items(), key=lambda c: c[1])):
        drawn.append(
            f'<path class="clip {exposure}" d="M{x(level):.1f} {4 + 18 * number}V{bottom}"/>'
            f'<text class="end" x="{x(level) - 5:.1f}" y="{15 + 18 * number}">{exposure} clips</text>'
        )
    limits = results.limits()
    describe = f"From {limits[0]:.1f} to {limits[1]:.1f} stops." if limits else "No pixels."
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="range-d">'
        f'<desc id="range-d">{describe}</desc><text x="{_LEFT}" y="{top - 11}">% of the pixels</text>{"".join(drawn)}'
        f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>'
        f'<text class="end" x="{_WIDTH - _RIGHT}" y="{height - 18}">'
        "luminance, stops (0: longest exposure clips)</text></svg>"
    )


# ---- frames ----------------------------------------------------------------------------------------------------------


def _frames_section(shown: Sequence[_Shown], budget: _Budget, options: ReportOptions) -> str:
    if not shown:
        return '<section><h2>Frames</h2><p class="note">None of the frames to be shown can be read.</p></section>'
    compared = any(s.before is not None for s in shown)
    help_text = (
        "Drag, or use ← → (Shift for larger steps), Home and End. " if compared else ""
    ) + f"Results: {options.tonemap}, one exposure for the whole clip."
    key = _key(shown)
    figures = "".join(_frame(s, budget) for s in shown)
    return f'<section><h2>Frames</h2><p class="note">{_text(help_text)}</p>{key}{figures}</section>'


def _key(shown: Sequence[_Shown]) -> str:
    items = []
    if any(s.weights is not None for s in shown):
        swatches = "".join(
            f'<span><i style="background:rgb{colour}"></i>{name}</span>'
            for colour, name in (
                ((0, 0, 0), "this frame"),
                (pictures.EARLIER_COLOUR, "earlier frames"),
                (pictures.LATER_COLOUR, "later frames"),
                ((128, 128, 128), "earlier and later alike"),
            )
        )
        items.append(f'<div><b>Blend weights</b><span class="swatches">{swatches}</span></div>')
    if any(s.flows for s in shown):
        wheel = _uri(pictures.png_bytes(pictures.flow_legend()), "png")
        half = math.sqrt(1 + pictures.FLOW_MAX_PX) - 1
        items.append(
            f'<div><img class="wheel" src="{wheel}" width="56" height="56" alt="colour wheel"><span><b>Flow</b>, '
            f"where a pixel is found in the other frame: white 0, half-way {half:.0f} px, "
            f"rim {pictures.FLOW_MAX_PX:g} px</span></div>"
        )
    return f'<div class="key">{"".join(items)}</div>' if items else ""


def _frame(shown: _Shown, budget: _Budget) -> str:
    b = shown.brightness
    height, width = shown.after.shape[:2]
    name = f"Frame {b.index}"
    after = budget.uri(shown.after, budget.SHARES[1])
    images = f'<img src="{after}" width="{width}" height="{height}" alt="{name}, result">'
    if shown.before is not None:
        before = budget.uri(shown.before, budget.SHARES[0])
        images += (
            f'<img class="before" src="{before}" width="{width}" height="{height}" alt="{name} as shot">'
            '<span class="tag left">as shot</span><span class="tag right">result</span><i class="handle"></i>'
            f'<input type="range" min="0" max="100" step="0.1" value="50" dir="ltr" aria-label="{name}: as shot on the '
            'left, result on the right">'
        )
    else:
        images += '<span class="tag right">result</span>'
    side = ""
    if shown.weights is not None:
        side += _side("blend weights", budget.uri(shown.weights, budget.SHARES[2]), shown.weights)
    for (title, flow), share in zip(shown.flows.items(), budget.SHARES[3:], strict=False):
        side += _side(title, budget.uri(flow, share), flow)
    side = f'<div class="side">{side}</div>' if side else ""
    tiny = " tiny" if max(width, height) < 200 else ""
    return (
        f'<figure class="frame{tiny}" id="frame-{b.index}" style="--w:{width};--h:{height}"><figcaption>'
        f'<i class="dot {b.exposure}"></i>{name} · {b.exposure} · {b.stops:.4g} stops</figcaption>'
        f'<div class="row"><div class="compare">{images}</div>{side}</div></figure>'
    )


def _side(title: str, uri: str, picture: np.ndarray) -> str:
    kind = "weights" if title == "blend weights" else "flow"
    return (
        f'<div class="{kind}"><img src="{uri}" width="{picture.shape[1]}" height="{picture.shape[0]}" alt="{title}">'
        f"<small>{title}</small></div>"
    )


_SCRIPT = """\
for (const pair of document.querySelectorAll(".compare")) {
  const range = pair.querySelector("input");
  if (!range) continue;
  const show = () => {
    pair.style.setProperty("--at", range.value + "%");
    range.setAttribute("aria-valuetext", Math.round(range.value) + " % as shot");
  };
  range.addEventListener("input", show);
  range.addEventListener("keydown", (event) => {
    const way = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1}[event.key];
    if (!way || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    range.value = Number(range.value) + way * (event.shiftKey ? 10 : 2);
    show();
  });
  show();
}
"""

_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="@POLICY@">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>@TITLE@</title>
<style>
@STYLE@</style>
</head>
<body>
<main>
@BODY@
</main>
<script>@SCRIPT@</script>
</body>
</html>
"""

_STYLE = """\
:root {
  --back: #fff; --panel: #f5f6f7; --ink: #16191d; --dim: #5f6770; --rule: #d9dde1; --link: #0b57a4; --alarm: #b3261e;
  --warn: #9a6700; --short: #1f6fc4; --middle: #128a63; --long: #d9600a; --any: #8a929b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #131517; --panel: #1d2023; --ink: #e4e6e8; --dim: #9aa2aa; --rule: #363b40; --link: #7db7f2;
    --alarm: #ff8a80; --warn: #e3b341; --short: #5aa9f5; --middle: #35c192; --long: #ff9242; --any: #7c848c;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 1360px; margin: 0 auto; padding: 20px 24px 60px; }
h1 { font-size: 24px; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 30px 0 8px; }
.quote {
  margin: 0; padding: 8px 12px; background: var(--panel); border-left: 3px solid var(--rule); font-size: 13px;
  overflow-wrap: anywhere; user-select: all;
}
.note { color: var(--dim); font-size: 13px; margin: 6px 0; max-width: 80ch; }
.notice { border: 1px solid var(--rule); border-radius: 4px; padding: 2px 14px 6px; margin-top: 14px; }
.notice h2 { margin-top: 10px; font-size: 15px; }
.notice ul { margin: 4px 0; padding-left: 20px; overflow-wrap: anywhere; font-size: 14px; }
.alarm { border-color: var(--alarm); }
.alarm h2 { color: var(--alarm); }
.warn { border-color: var(--warn); }
.warn h2 { color: var(--warn); }
.facts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 12px 28px; margin: 20px 0 0;
}
.facts dt, small { color: var(--dim); font-size: 13px; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 5px; background: var(--c); }
.short { --c: var(--short); }
.middle { --c: var(--middle); }
.long { --c: var(--long); }
.any { --c: var(--any); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 0 40px; }
.chart svg { display: block; width: 100%; height: auto; overflow: visible; }
.figure { margin: 0 0 12px; color: var(--dim); }
.figure b { font-size: 22px; color: var(--ink); font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; list-style: none; margin: 6px 0; padding: 0; font-size: 13px; }
svg text { fill: var(--dim); font-size: 12px; }
svg .y, svg .end { text-anchor: end; }
svg .x { text-anchor: middle; }
.grid, .axis, .clip { stroke: var(--rule); fill: none; }
.axis { stroke: var(--dim); }
.clip { stroke: var(--c); stroke-dasharray: 4 3; }
.line, .bars { fill: none; stroke: var(--c); }
.line { stroke-width: 1.8; stroke-linejoin: round; }
.area { fill: var(--c); opacity: .45; }
.mark { fill: var(--c); }
.key { display: flex; flex-wrap: wrap; gap: 10px 36px; align-items: center; font-size: 13px; color: var(--dim); }
.key div { display: flex; align-items: center; gap: 12px; }
.key b { color: var(--ink); font-weight: 600; }
.swatches { display: flex; flex-wrap: wrap; gap: 2px 14px; }
.swatches i { display: inline-block; width: 22px; height: 11px; margin-right: 6px; border: 1px solid var(--rule); }
.wheel { border-radius: 50%; flex: none; }
.frame { margin: 26px 0 0; }
.frame figcaption { font-weight: 600; margin-bottom: 6px; }
.row { display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start; }
.compare {
  --at: 50%; position: relative; flex: 2.2 1 440px; max-width: min(960px, calc(88vh * var(--w) / var(--h)));
  overflow: hidden; background: var(--panel); user-select: none;
}
.compare img, .side img { display: block; width: 100%; height: auto; }
.compare .before { position: absolute; inset: 0; height: 100%; clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.tiny .compare { max-width: calc(1px * max(320, var(--w))); flex-basis: 240px; }
.tiny img { image-rendering: pixelated; }
.tag {
  position: absolute; bottom: 8px; padding: 1px 8px; border-radius: 3px; background: #000a; color: #fff;
  font-size: 12px; pointer-events: none;
}
.left { left: 8px; }
.right { right: 8px; }
.handle {
  position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #fff;
  box-shadow: 0 0 3px #000; pointer-events: none;
}
.handle::after {
  content: "◂ ▸"; position: absolute; top: 50%; left: 50%; transform: translate(-50%, -50%); padding: 5px 7px;
  border-radius: 14px; background: #fff; color: #16191d; box-shadow: 0 0 4px #000a; font: 11px/1 sans-serif;
  white-space: nowrap;
}
.compare input {
  position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  appearance: none; touch-action: pan-y;
}
.compare input::-webkit-slider-thumb { appearance: none; width: 1px; height: 100%; }
.compare input::-moz-range-thumb { width: 1px; height: 100%; border: 0; }
.compare:has(input:focus-visible) { outline: 3px solid var(--link); outline-offset: 2px; }
.side { flex: 1 1 200px; max-width: 420px; display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.side .weights { grid-column: 1 / -1; }
@media (max-width: 640px) {
  main { padding: 14px 14px 40px; }
  svg text { font-size: 17px; }
  .compare, .side { flex-basis: 100%; max-width: 100%; }
}
@media print {
  main { padding: 0; max-width: none; }
  .chart, .frame { break-inside: avoid; }
}
"""
