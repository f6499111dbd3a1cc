"""Charts of a reconstruction: exposure and brightness over the frames, range of luminance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hdrvid.html.clip_results import ClipResults
from hdrvid.html.histogram import ClipHistograms, FrameHistograms, Histogram
from hdrvid.html.page import signed
from hdrvid.html.svg import Axis, Chart, Shape, marker, padded_range, path, polyline
from hdrvid.metrics.exposure_flicker import EXPOSURE_CLASSES, FrameBrightness

MAX_MARKED_FRAMES = 160
"""A chart of more frames than this has no markers."""

_WIDTH, _LEFT, _MARGIN_RIGHT = 640, 46, 10
"""View box and plotting area of all charts, px."""
_MAX_BAR_PX = 10.0


# ---- brightness over the frames --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Panel:
    """One band of the chart of brightness: a value of every frame."""

    title: str
    quantity: str
    """The value, in tooltips."""
    value: Callable[[FrameBrightness], float | None]
    """Stops; None where the frame has no value."""
    y: Axis
    ticks: int
    """About how many."""
    base: float | None = None
    """Where the bars of the frames begin, stops; None: a line without bars."""


def brightness_chart(clip: ClipResults, frames: Sequence[FrameBrightness]) -> Chart:
    """Exposure, brightness and difference from its neighbours of every frame, one above the other."""
    first, last = frames[0].index, frames[-1].index
    levels = [f.mean_level for f in frames]
    panels = _brightness_panels(clip, frames)
    bottom = panels[-1].y.start
    chart = Chart("timeline", _WIDTH, bottom + 44, _LEFT, _MARGIN_RIGHT)
    chart.description = f"Frames {first} to {last}. Mean luminance from {min(levels):.2f} to {max(levels):.2f} stops."
    for panel in panels:
        chart.text(panel.title, _LEFT, panel.y.end - 9)
        chart.horizontal_grid(panel.y, panel.y.ticks(panel.ticks))
    chart.frame_ticks(first, last, bottom, 8)
    x = chart.frame_axis(first, last)
    bar = max(0.6, min(_MAX_BAR_PX, 0.6 * (chart.right - chart.left) / max(last - first, 1)))
    for panel in panels:
        for exposure in EXPOSURE_CLASSES:
            chart.shapes += _series(panel, exposure, [f for f in frames if f.exposure == exposure], x, bar)
            if len(frames) <= MAX_MARKED_FRAMES:
                chart.shapes += _markers(panel, exposure, [f for f in frames if f.exposure == exposure], x)
    chart.text("frame", chart.right, chart.height - 3, "end")
    return chart


def _brightness_panels(clip: ClipResults, frames: Sequence[FrameBrightness]) -> tuple[_Panel, ...]:
    stops = padded_range([*(f.stops for f in frames), *clip.exposures.stops], 0.08, 1.0)
    levels = padded_range([f.mean_level for f in frames], 0.08, 1.0)
    steps = [abs(f.step_stops) for f in frames if f.step_stops is not None]
    largest = max(0.1, 1.15 * max(steps, default=0.0))
    return (
        _Panel("exposure as shot, stops", "exposure", lambda f: f.stops, Axis(*stops, 86, 26), 3, stops[0]),
        _Panel("mean luminance of the result, stops", "mean", lambda f: f.mean_level, Axis(*levels, 232, 122), 4),
        _Panel(
            "result against its neighbours in time, stops",
            "step",
            lambda f: f.step_stops,
            Axis(-largest, largest, 358, 268),
            4,
            0.0,
        ),
    )


def _points(panel: _Panel, frames: Sequence[FrameBrightness], x: Axis) -> list[tuple[float, float]]:
    return [(x(f.index), panel.y(value)) for f in frames if (value := panel.value(f)) is not None]


def _series(panel: _Panel, exposure: str, frames: Sequence[FrameBrightness], x: Axis, bar_width: float) -> list[Shape]:
    """Bars from the base of the panel, or a line; nothing where no frame has a value."""
    points = _points(panel, frames, x)
    if not points:
        return []
    if panel.base is None:
        return [path(f"line {exposure}", polyline(points))]
    base = panel.y(panel.base)
    bars = "".join(f"M{px:.1f} {base:.1f}V{py:.1f}" for px, py in points)
    return [path(f"bars {exposure}", bars, stroke_width=bar_width)]


def _markers(panel: _Panel, exposure: str, frames: Sequence[FrameBrightness], x: Axis) -> list[Shape]:
    size = 3 if panel.base is None else 2
    markers = []
    for frame in frames:
        value = panel.value(frame)
        if value is not None:
            text = f"frame {frame.index}, {exposure}: {panel.quantity} {signed(value, 3)} stops"
            markers.append(
                marker(f"mark {exposure}", "circle", x(frame.index), panel.y(value), size=size, tooltip=text)
            )
    return markers


# ---- range of luminance ----------------------------------------------------------------------------------------------


def range_chart(clip: ClipResults, histograms: ClipHistograms) -> Chart:
    """Share of the pixels by level: the results as an area, the frames as shot as lines, and where exposures clip."""
    bottom, height = 340, 398
    top = 26 + 18 * clip.exposures.num_classes  # below a line of text for every exposure
    chart = Chart("range", _WIDTH, height, _LEFT, _MARGIN_RIGHT)
    limits = histograms.results.limits()
    chart.description = f"From {limits[0]:.1f} to {limits[1]:.1f} stops." if limits else "No pixels."
    clipping = _clipping_levels(clip)
    tallest = max(float(h.shares.max()) for h in (histograms.results, *histograms.inputs.values())) or 1.0
    x = _level_axis(histograms, clipping, chart)
    y = Axis(0.0, 100 * tallest, bottom, bottom - 0.96 * (bottom - top))
    chart.text("% of the pixels", _LEFT, top - 11)
    chart.vertical_grid(x, x.ticks(9, whole=True), top, bottom)
    chart.horizontal_grid(y, y.ticks(5))
    chart.shapes.append(path("area result", f"M{_LEFT} {bottom}L{_steps(histograms.results, x, y)}V{bottom}"))
    for exposure, histogram in histograms.inputs.items():
        chart.shapes.append(path(f"line {exposure}", f"M{_steps(histogram, x, y)}"))
    for line, (exposure, level) in enumerate(sorted(clipping.items(), key=lambda item: item[1])):
        chart.shapes.append(path(f"clip {exposure}", f"M{x(level):.1f} {4 + 18 * line}V{bottom}"))
        chart.text(f"{exposure} clips", x(level) - 5, 15 + 18 * line, "end")
    chart.horizontal_axis(bottom)
    chart.text("luminance, stops (0: longest exposure clips)", chart.right, height - 9, "end")
    return chart


def frame_chart(clip: ClipResults, histograms: ClipHistograms, frame: FrameBrightness, own: FrameHistograms) -> Chart:
    """A small chart of one frame: its result as an area, the frame as shot as a line, and where its exposure clips.

    All frames of the clip have the same axis of luminance.
    """
    left, right, top, bottom = 8, 8, 12, 92
    chart = Chart(f"histogram-{frame.index}", 300, 112, left, right)
    limits = own.result.limits()
    extent = f"from {limits[0]:.1f} to {limits[1]:.1f} stops" if limits else "without pixels that are not dark"
    chart.description = f"Histogram of frame {frame.index}: luminance of the result {extent}."
    clipping = _clipping_levels(clip)
    x = _level_axis(histograms, clipping, chart)
    y = Axis(0.0, max(float(h.shares.max()) for h in (own.result, own.shot) if h is not None) or 1.0, bottom, top)
    chart.vertical_grid(x, x.ticks(6, whole=True), top, bottom)
    chart.shapes.append(path("area result", f"M{left} {bottom}L{_steps(own.result, x, y, 1.0)}V{bottom}"))
    if own.shot is not None:
        chart.shapes.append(path(f"line {frame.exposure} thin", f"M{_steps(own.shot, x, y, 1.0)}"))
    level = math.log2(clip.exposures.max_exposure) - frame.stops
    chart.shapes.append(path(f"clip {frame.exposure}", f"M{x(level):.1f} 2V{bottom}"))
    chart.text("clips", x(level) - 4, 10, "end")
    chart.horizontal_axis(bottom)
    return chart


def _clipping_levels(clip: ClipResults) -> dict[str, float]:
    """Level at which every exposure clips."""
    exposures = clip.exposures
    longest = math.log2(exposures.max_exposure)
    return {exposures.class_of(stops): longest - stops for stops in sorted(exposures.levels, reverse=True)}


def _level_axis(histograms: ClipHistograms, clipping: dict[str, float], chart: Chart) -> Axis:
    """An axis for every bin with more than a millionth of the pixels and for all clipping levels."""
    edges = histograms.results.edges
    all_shares = [histograms.results.shares, *(h.shares for h in histograms.inputs.values())]
    filled = [int(i) for shares in all_shares for i in np.flatnonzero(shares > 1e-6)] or [0]
    low = min(math.floor(edges[min(filled)]) - 0.5, -4.0)
    high = max(math.ceil(edges[max(filled) + 1]), max(clipping.values()) + 0.5, 1.0)
    return Axis(low, high, chart.left, chart.right)


def _steps(histogram: Histogram, x: Axis, y: Axis, whole: float = 100.0) -> str:
    """Outline, without its first letter, of the bins within an axis of levels; on y, `whole` is all pixels."""
    edges = histogram.edges
    corners = []
    for left, right, share in zip(edges[:-1], edges[1:], histogram.shares, strict=True):
        if right > x.low and left < x.high:
            corners.append(f"{x(left):.1f} {y(whole * share):.1f}H{x(right):.1f}")
    return "L".join(corners)
