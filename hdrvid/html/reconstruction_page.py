"""`<stem>.report.html`: what a reconstruction made of a clip, in one file for people.

Pictures first: the clip in motion with a wipe between result and frame as shot, frames whose exposure a slider changes,
a contact sheet with histograms and what is clipped or dark. Then verdicts, the exposures and the brightness of every
frame, the range of luminance that was gained, and where the result was taken from (blend weights and flow). The script
moves the sliders, plays the video and draws radiance; without it the stills are there.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdrvid.html.clip_results import ClipResults, as_list, as_mapping
from hdrvid.html.contact_sheet import SheetFrame, cards
from hdrvid.html.frame_pictures import FramePictures, PictureBudget
from hdrvid.html.histogram import RANGE_PERCENTILES, ClipHistograms
from hdrvid.html.motion import Motion
from hdrvid.html.page import counted, frame_ranges, render, signed
from hdrvid.html.picture_key import KeyEntry, flow_entry, weights_entry
from hdrvid.html.radiance_pictures import RADIANCE_BYTES, RadianceFrame, packed
from hdrvid.html.reconstruction_charts import brightness_chart, range_chart
from hdrvid.html.svg import Chart, LegendItem
from hdrvid.html.verdicts import verdicts
from hdrvid.metrics.exposure_flicker import (
    EXPOSURE_CLASSES,
    FrameBrightness,
    brightness_by_exposure,
    flicker_stops,
)
from hdrvid.types import MAX_CYCLE_FRAMES

MAX_LISTED = 8
"""Problems, warnings and notes beyond these are folded."""
MAX_SLIDER_STOPS = 24
"""The exposure slider goes no further down."""
SLIDER_HIGH_STOPS = 8
"""It goes up to this."""
STILL_BYTES = 200_000
"""`PictureBudget` of a still of the video: each has less than a third of it."""
TINY_SIDE_PX = 200
"""Frames smaller than this are enlarged without smoothing."""


@dataclass(frozen=True)
class ReportContent:
    """All that the page of a clip shows."""

    clip: ClipResults
    """The results."""
    brightness: Sequence[FrameBrightness]
    """Of the results that were measured, at least one."""
    frames: Sequence[FramePictures]
    """Frames with pictures."""
    histograms: ClipHistograms
    """Range of luminance of these frames."""
    notes: Sequence[str]
    """What the page lacks and why."""
    problems: Sequence[str]
    """Results that cannot be read."""
    tonemap: str
    """Name of the tone curve of the results."""
    motion: Motion | None
    """Frames in a row; None where there are fewer than two, or none are wanted."""
    radiance: Sequence[RadianceFrame]
    """Frames of the exposure slider."""
    sheet: Sequence[SheetFrame]
    """The contact sheet."""


def report_html(content: ReportContent, picture_bytes: int) -> str:
    """The page of a clip; the pictures of its frames share `picture_bytes`."""
    clip, values = content.clip, content.clip.values
    budget = PictureBudget(len(content.frames), picture_bytes)
    shares = [(f.brightness.exposure, f.shares) for f in content.sheet]
    flicker = flicker_stops(content.brightness, clip.exposures.num_classes)
    return render(
        "reconstruction.html.j2",
        stem=clip.stem,
        summary=_summary(clip),
        motion=_motion_view(content.motion),
        radiance=_radiance_view(clip, content.radiance),
        sheet=cards(clip, content.sheet, content.histograms, budget),
        verdicts=verdicts(clip, flicker, len(content.brightness), shares),
        source=values["source"],
        problems=_lines([*([values["problem"]] if values.get("problem") else []), *content.problems]),
        warnings=_lines(_warnings(clip)),
        notes=_lines(content.notes),
        max_listed=MAX_LISTED,
        facts=_facts(clip),
        events=[_event_line(event) for event in as_list(values.get("events"))],
        charts=[_brightness_section(clip, content.brightness), _range_section(clip, content.histograms)],
        frames=[_frame_view(frame, budget) for frame in content.frames],
        frames_note=_frames_note(content),
        key=_picture_key(content.frames),
    )


# ---- text ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fact:
    """A property of the clip or of the run."""

    name: str
    text: str
    stops: tuple[tuple[str, str], ...] = ()
    """(class, stops) of the exposures of a cycle, before the text."""
    checksum: str = ""
    """A SHA-256, whose beginning stands behind the text."""


def _lines(texts: Iterable[object]) -> list[tuple[str, str]]:
    """Lines without a place, each once."""
    return [("", text) for text in dict.fromkeys(map(str, texts))]


def _warnings(clip: ClipResults) -> list[str]:
    missing = clip.missing_frames()
    warnings = [str(w) for w in as_list(clip.values.get("warnings"))]
    return warnings + ([f"Without results: {frame_ranges(missing)}."] if missing else [])


def _summary(clip: ClipResults) -> str:
    """What the page is about, in one line."""
    exposures = ", ".join(f"{stops:.4g}" for stops in clip.exposures.levels)
    model = as_mapping(clip.values.get("model")).get("name")
    return (
        f"{counted(len(clip.frames), 'scene-linear frame')} that hdrvid merged from a clip with exposures of "
        f"{exposures} stops (model {model})."
    )


def _facts(clip: ClipResults) -> list[_Fact]:
    values = clip.values
    model, settings = as_mapping(values.get("model")), as_mapping(values.get("settings"))
    size = " × ".join(map(str, as_list(values.get("size"))))
    indices = list(clip.frames)
    confidence = values.get("confidence")
    certainty = f", confidence {confidence:.2f}" if isinstance(confidence, (int, float)) else ""
    shown = clip.exposures.stops[:MAX_CYCLE_FRAMES]
    stops = tuple((clip.exposures.class_of(s), f"{s:.4g}") for s in shown)
    more = "" if len(shown) == len(clip.exposures.stops) else ", ... "
    facts = [
        _Fact("Picture", f"{size}, {_frame_rate(values.get('frames_per_second'))} fps"),
        _Fact("Results", f"{counted(len(indices), 'frame')}, {indices[0]} to {indices[-1]}"),
        _Fact("Exposures", f"{more}({values.get('exposures_from', '')}{certainty})", stops),
        _Fact("Response", f"{values.get('response')} ({values.get('response_from', '')})"),
        _Fact("File values", f"1.0 is {_white(clip)}"),
        _Fact(
            "Model", f"{model.get('name')}, {settings.get('precision', '')}", checksum=str(model.get("sha256") or "")
        ),
    ]
    if values.get("exposures_corrected"):
        facts.append(_Fact("Corrected", str(values["exposures_corrected"])))
    seconds = as_mapping(values.get("timings")).get("total_seconds")
    if isinstance(seconds, (int, float)):
        facts.append(_Fact("Made in", f"{_duration(seconds)}, by hdrvid {values.get('version')}"))
    details = as_mapping(values.get("details"))
    if details:
        facts.append(_Fact("Source", "; ".join(f"{k} {v}" for k, v in details.items())))
    return facts


def _frame_rate(value: object) -> str:
    """Frames per second of a number or a fraction such as '30000/1001'."""
    numerator, _, denominator = str(value).partition("/")
    try:
        return f"{float(numerator) / float(denominator or 1):.6g}"
    except (ValueError, ZeroDivisionError):
        return "?"


def _white(clip: ClipResults) -> str:
    """What a file value of 1.0 is."""
    if math.isclose(clip.white, 1.0):
        return "where the longest exposure clips"
    if math.isclose(clip.scale, 1.0):
        return "where the shortest exposure clips"
    return f"{-math.log2(clip.white):+.2f} stops from where the longest exposure clips"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _event_line(event: object) -> tuple[str, str]:
    """Frame and text of an event that the run noticed; the frame is empty where the text names it."""
    entry: Mapping[str, Any] = as_mapping(event)
    index, text = entry.get("index"), str(entry.get("text", event))
    return f"Frame {index}" if index is not None and str(index) not in text else "", text


# ---- charts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ChartSection:
    """A chart with the figure that it proves."""

    heading: str
    figure: str
    """The figure, large; empty where there is none."""
    unit: str
    """What the figure is."""
    chart: Chart
    legend: tuple[LegendItem, ...]
    note: str


def _brightness_section(clip: ClipResults, frames: Sequence[FrameBrightness]) -> _ChartSection:
    flicker = flicker_stops(frames, clip.exposures.num_classes)
    if flicker is None:
        figure = ""
        note = "The brightness from frame to frame cannot be compared: too few frames in a row, or all is in motion."
    else:
        offsets = brightness_by_exposure(frames, clip.exposures.num_classes)
        each = ", ".join(f"{exposure} {signed(offset, 3, '+')}" for exposure, offset in offsets.items())
        figure = f"{flicker:.3f}"
        note = (
            f"Results of one exposure are {2**flicker * 100 - 100:.1f} % brighter than those of another "
            f"({each} stops from their mean), measured where nothing moves. 0 stops of luminance: the longest exposure "
            "clips."
        )
    if len(frames) < len(clip.frames):
        note += f" Measured on {len(frames)} of {len(clip.frames)} results."
    exposures = {f.exposure for f in frames}
    legend = tuple(LegendItem(c, dot=c) for c in EXPOSURE_CLASSES if c in exposures)
    chart = brightness_chart(clip, frames)
    return _ChartSection("Exposure and brightness", figure, "stops of flicker", chart, legend, note)


def _range_section(clip: ClipResults, histograms: ClipHistograms) -> _ChartSection:
    range_stops, inputs = histograms.results.range_stops, histograms.inputs
    if inputs:
        figure, unit = f"+{histograms.gained_stops:.1f}", "stops over the best single exposure"
        each = "; ".join(
            f"{exposure} frames {h.range_stops:.1f} stops, {100 * h.kept_share:.0f} % of their pixels"
            for exposure, h in inputs.items()
        )
        note = (
            f"The results hold {range_stops:.1f} stops of luminance. As shot, without what is clipped or dark: "
            f"{each}. From percentile {RANGE_PERCENTILES[0]:g} to {RANGE_PERCENTILES[1]:g} of the frames shown."
        )
    else:
        figure, unit = f"{range_stops:.1f}", "stops of luminance"
        note = "The frames as shot are not there to be compared."
    legend = (LegendItem("result", dot="result"), *(LegendItem(f"{c} as shot", dot=c) for c in inputs))
    return _ChartSection("Range of luminance", figure, unit, range_chart(clip, histograms), legend, note)


# ---- motion and radiance ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _MotionView:
    """The clip in motion."""

    width: int
    height: int
    stills: Mapping[str, str]
    """Data URIs of the first frame by name of the panel; the result is the first."""
    facts: Mapping[str, Any]
    """What the script needs to know."""
    video: str
    """MP4 in base64."""
    last: int
    """Number of the last frame, counted from 0."""
    frames: str
    """The frames in words."""
    rate: str
    """Frames per second."""
    flashes: bool
    """Whether the exposures of the frames differ."""

    @property
    def befores(self) -> list[tuple[int, str]]:
        """Number and name of the panels to compare with."""
        return list(enumerate(self.stills))[1:]


def _motion_view(motion: Motion | None) -> _MotionView | None:
    if motion is None:
        return None
    budget = PictureBudget(1, STILL_BYTES)
    facts = {
        "width": motion.width,
        "height": motion.height,
        "pitch": motion.pitch,
        "rate": motion.frames_per_second,
        "labels": [f"frame {i}, {c}" for i, c in zip(motion.indices, motion.exposures, strict=True)],
    }
    return _MotionView(
        motion.width,
        motion.height,
        {name: budget.uri(picture, budget.RESULT) for name, picture in motion.stills.items()},
        facts,
        base64.b64encode(motion.video).decode("ascii"),
        len(motion.indices) - 1,
        f"frames {motion.indices[0]} to {motion.indices[-1]}",
        f"{motion.frames_per_second:.4g}",
        len(set(motion.exposures)) > 1,
    )


@dataclass(frozen=True)
class _RadianceChoice:
    """A frame of the exposure slider."""

    label: str
    width: int
    height: int
    data: str
    """See `radiance_pictures.packed`."""


@dataclass(frozen=True)
class _RadianceView:
    """The exposure slider and its frames."""

    frames: Sequence[_RadianceChoice]
    low: float
    """Lowest exposure of the slider, stops; 0 is that of the longest frames."""
    high: float
    """Highest."""
    shortest: str
    """Exposure of the shortest frames on the slider."""


def _radiance_view(clip: ClipResults, frames: Sequence[RadianceFrame]) -> _RadianceView | None:
    if not frames:
        return None
    choices = []
    for frame in frames:
        data, width, height = packed(frame.radiance, RADIANCE_BYTES // len(frames))
        choices.append(_RadianceChoice(f"frame {frame.index}, {frame.exposure}", width, height, data))
    span = math.log2(clip.exposures.max_exposure)
    peak = max(float(frame.radiance.max()) for frame in frames)
    low = -max(math.ceil(span), math.ceil(math.log2(max(peak, 1e-9)))) - 1
    return _RadianceView(choices, max(low, -MAX_SLIDER_STOPS), SLIDER_HIGH_STOPS, signed(-span, 1, "+"))


# ---- frames ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SidePicture:
    """A smaller picture beside the result."""

    title: str
    css: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class _FrameView:
    """A frame: its result with the frame as shot over it, and smaller pictures beside them."""

    brightness: FrameBrightness
    width: int
    height: int
    result: str
    """Data URI."""
    shot: str
    """Data URI; empty where the frame cannot be read."""
    side: tuple[_SidePicture, ...]

    @property
    def is_tiny(self) -> bool:
        return max(self.width, self.height) < TINY_SIDE_PX


def _frame_view(frame: FramePictures, budget: PictureBudget) -> _FrameView:
    height, width = frame.result.shape[:2]
    side = [("blend weights", "weights", frame.weights, budget.WEIGHTS)]
    side += [(title, "flow", flow, budget.FLOW) for title, flow in frame.flows.items()]
    return _FrameView(
        frame.brightness,
        width,
        height,
        budget.uri(frame.result, budget.RESULT),
        "" if frame.shot is None else budget.uri(frame.shot, budget.SHOT),
        tuple(
            _SidePicture(title, css, budget.uri(picture, share), picture.shape[1], picture.shape[0])
            for title, css, picture, share in side
            if picture is not None
        ),
    )


def _frames_note(content: ReportContent) -> str:
    has_sliders = any(f.shot is not None for f in content.frames)
    keys = "Drag, or use ← → (Shift for larger steps), Home and End. " if has_sliders else ""
    return f"{keys}Results: {content.tonemap}, one exposure for the whole clip."


def _picture_key(frames: Sequence[FramePictures]) -> list[KeyEntry]:
    entries = [weights_entry()] if any(f.weights is not None for f in frames) else []
    return entries + ([flow_entry()] if any(f.flows for f in frames) else [])
