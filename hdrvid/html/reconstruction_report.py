"""Report of a finished clip: reads every result once, some frames of the original clip, and writes the page.

The page stays below MAX_PAGE_BYTES: its pictures share a budget and are compressed until they fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid.color.tonemap import Tonemapper
from hdrvid.errors import InputError, OutputError
from hdrvid.html.areas import find_areas
from hdrvid.html.clip_results import ClipResults
from hdrvid.html.contact_sheet import SheetFrame, sheet_frame
from hdrvid.html.frame_pictures import PICTURE_BYTES, FramePictures, FrameRenderer
from hdrvid.html.histogram import ClipHistograms
from hdrvid.html.motion import Motion, make_motion, motion_indices
from hdrvid.html.original_clip import OriginalClip
from hdrvid.html.radiance_pictures import MAX_RADIANCE_FRAMES, RadianceFrame, small_radiance
from hdrvid.html.reconstruction_page import ReportContent, report_html
from hdrvid.html.report_options import (
    SHOWN_FRAMES,
    ReportOptions,
    chosen_frames,
    measured_indices,
    parse_frames,
    spread,
    validate_options,
)
from hdrvid.io.atomic import atomic_path, remove_abandoned
from hdrvid.io.ownership import PAGE, replaceable_target
from hdrvid.metrics.exposure_flicker import FlickerMeter, FrameBrightness, flicker_stops
from hdrvid.pipeline.resume import read_output
from hdrvid.types import PathLike

MAX_PAGE_BYTES = 5_000_000
"""No page is larger, unless its texts are."""


@dataclass(frozen=True)
class WrittenReport:
    """A page that was written, and its figures."""

    path: Path
    """The page."""
    stem: str
    """Its clip."""
    num_bytes: int
    """Size of the page."""
    frames: int
    """Number of results of the clip."""
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


def write_report(
    clip: ClipResults,
    path: PathLike,
    options: ReportOptions | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> WrittenReport:
    """Write the page of one clip; the file appears complete or not at all.

    `progress` is called with (results read, results to be read). Results that cannot be read are left out and listed.
    Raises InputError where none can be read, or one named in the options is missing; UsageError, OutputError.
    """
    options = options or ReportOptions()
    validate_options(options)
    remove_abandoned(replaceable_target(path, PAGE, "choose another path with -o"))
    content = _read_content(clip, options, _requested_frames(clip, options), progress)
    data = _page_bytes(content)
    with atomic_path(path) as partial:
        partial.write_bytes(data)
    return WrittenReport(
        path=Path(path),
        stem=clip.stem,
        num_bytes=len(data),
        frames=len(clip.frames),
        shown=tuple(f.brightness.index for f in content.frames),
        flicker=flicker_stops(content.brightness, clip.exposures.num_classes),
        range_stops=content.histograms.results.range_stops,
        input_range_stops={c: h.range_stops for c, h in content.histograms.inputs.items()},
        notes=tuple(dict.fromkeys(content.notes)),
        problems=tuple(content.problems),
    )


def _page_bytes(content: ReportContent) -> bytes:
    """The page; with smaller pictures where much text would make it larger than MAX_PAGE_BYTES."""
    data = b""
    for share in (1.0, 0.5, 0.2):
        data = report_html(content, round(share * PICTURE_BYTES)).encode("utf-8", "backslashreplace")
        if len(data) <= MAX_PAGE_BYTES:
            break
    return data


def _requested_frames(clip: ClipResults, options: ReportOptions) -> list[int] | None:
    """The frames that the options name, None where they name none. Raises InputError for one without a result."""
    if options.frames is None:
        return None
    requested = parse_frames(options.frames)
    missing = [i for i in requested if i not in clip.frames]
    if missing:
        first, last = min(clip.frames), max(clip.frames)
        raise InputError(f"frame {missing[0]} of {clip.stem} is not in the results: they are of frames {first}-{last}")
    return requested


def _read_content(
    clip: ClipResults,
    options: ReportOptions,
    requested: Sequence[int] | None,
    progress: Callable[[int, int | None], None] | None,
) -> ReportContent:
    measured = measured_indices(list(clip.frames))
    num_shown = min(SHOWN_FRAMES if requested is None else len(requested), len(clip.frames))
    in_motion = motion_indices(list(clip.frames), requested) if options.motion else []
    reader = _ResultsReader(clip, len(measured) + num_shown + len(in_motion), progress)
    with OriginalClip(clip, options) as original:
        brightness = _measured_brightness(clip, reader.read(measured))
        if not brightness:
            raise InputError(f"no frame of {clip.stem} can be read ({next(iter(reader.problems.values()))})")
        indices = chosen_frames({b.index: b.exposure for b in brightness}) if requested is None else requested
        stops_of = {b.index: b.stops for b in brightness}
        renderer = FrameRenderer(clip, original, _tonemapper(clip, brightness, options.tonemap), stops_of)
        shown = _ShownFrames(clip, renderer, {b.index: b for b in brightness}, indices)
        for index, pixels, header in reader.read(indices):
            shown.add(index, pixels, header)
        motion = _motion(clip, renderer, _with_stops(clip, reader.read(in_motion)), in_motion)
    problems = list(reader.problems.values())
    if clip.num_lost:
        problems.insert(0, f"{clip.num_lost} frame(s) of {clip.stem} are gone: run hdrvid reconstruct again")
    return ReportContent(
        clip=clip,
        brightness=brightness,
        frames=shown.frames,
        histograms=shown.histograms,
        notes=original.notes,
        problems=problems,
        tonemap=options.tonemap,
        motion=motion,
        radiance=shown.radiance,
        sheet=shown.sheet,
    )


class _ShownFrames:
    """Collects what the page shows of the frames with pictures."""

    def __init__(
        self,
        clip: ClipResults,
        renderer: FrameRenderer,
        measured: Mapping[int, FrameBrightness],
        indices: Sequence[int],
    ) -> None:
        self._clip, self._renderer, self._measured = clip, renderer, measured
        self._with_radiance = spread(indices, MAX_RADIANCE_FRAMES)
        self.histograms = ClipHistograms()
        self.frames: list[FramePictures] = []
        self.sheet: list[SheetFrame] = []
        self.radiance: list[RadianceFrame] = []

    def add(self, index: int, pixels: np.ndarray, header: Mapping[str, object]) -> None:
        """Take a result: its index, file values (H, W, 3) and header."""
        clip, original = self._clip, self._renderer.original
        frame = self._measured.get(index) or FrameBrightness(index, *_exposure(clip, index, header), math.nan)
        original.read_ahead(index, header)
        own = self.histograms.add(clip, original, frame, pixels)
        areas = find_areas(clip, original, frame, pixels)
        pictures = self._renderer.render(frame, pixels, header)
        self.frames.append(pictures)
        self.sheet.append(sheet_frame(frame, pictures.result, areas, own))
        if index in self._with_radiance:
            radiance = small_radiance(pixels / np.float32(clip.white))
            self.radiance.append(RadianceFrame(index, frame.exposure, radiance))


def _motion(
    clip: ClipResults,
    renderer: FrameRenderer,
    results: Iterator[tuple[int, np.ndarray, float]],
    indices: Sequence[int],
) -> Motion | None:
    """`make_motion`; None and a note where no video can be made here."""
    try:
        return make_motion(clip, renderer, results, indices)
    except OutputError as error:
        renderer.original.notes.append(f"The clip in motion: {error}.")
        return None


def _with_stops(
    clip: ClipResults, results: Iterator[tuple[int, np.ndarray, Mapping[str, object]]]
) -> Iterator[tuple[int, np.ndarray, float]]:
    for index, pixels, header in results:
        yield index, pixels, _exposure(clip, index, header)[0]


class _ResultsReader:
    """Reads results one after the other, and collects what cannot be read."""

    def __init__(self, clip: ClipResults, total: int, progress: Callable[[int, int | None], None] | None) -> None:
        self._clip, self._total, self._progress, self._count = clip, total, progress, 0
        self.problems: dict[int, str] = {}
        """Results that cannot be read, by index."""

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray, Mapping[str, object]]]:
        """Index, file values (H, W, 3) and header of every result that can be read."""
        for index in indices:
            self._count += 1
            if self._progress is not None:
                self._progress(min(self._count, self._total), self._total)
            path = self._clip.frames[index]
            try:
                pixels, header = read_output(path)
            except InputError as error:
                self.problems[index] = str(error)
                continue
            size = pixels.shape[1::-1]
            if self._clip.size not in (None, size):
                width, height = self._clip.size or size
                self.problems[index] = (
                    f"{path} is {size[0]}x{size[1]}, but the results are {width}x{height}: run hdrvid reconstruct again"
                )
                continue
            yield index, pixels, header


def _measured_brightness(
    clip: ClipResults, results: Iterator[tuple[int, np.ndarray, Mapping[str, object]]]
) -> list[FrameBrightness]:
    meter = FlickerMeter(clip.white)
    for index, pixels, header in results:
        meter.add(index, *_exposure(clip, index, header), pixels)
    return meter.frames


def _exposure(clip: ClipResults, index: int, header: Mapping[str, object]) -> tuple[float, str]:
    """Stops and class of a frame, from its header, else from the cycle."""
    try:
        stops = float(str(header["hdrvid:exposure_stops"]))
    except (KeyError, ValueError):
        stops = clip.exposures.stops_at(index)
    return stops, clip.exposures.class_of(stops)


def _tonemapper(clip: ClipResults, brightness: Sequence[FrameBrightness], operator: str) -> Tonemapper:
    """One key for the whole clip, which a sample of its frames sets."""
    tonemap = Tonemapper(operator, max_value=clip.exposures.max_exposure, frames_per_second=1e9)
    samples = []
    for frame in brightness[:: max(1, len(brightness) // 16)]:
        try:
            pixels = read_output(clip.frames[frame.index])[0]
        except InputError:
            continue  # removed since it was measured
        step = max(1, round(math.sqrt(pixels.shape[0] * pixels.shape[1] / 4000)))
        samples.append(pixels[::step, ::step].reshape(-1, 3))
    if samples:
        tonemap(np.concatenate(samples)[None] / np.float32(clip.white))
    return tonemap
