"""Plot of a measure over the frames of a scene: markers coloured by exposure, a line for every model and exposure.

Frames of different exposure are not joined: their levels differ, and the lines between them would hide everything else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hdrvid.evaluate.results import CLASSES
from hdrvid.html.evaluation_tables import (
    EvaluatedModel,
    Frame,
    direction_arrow,
    measure_digits,
    measure_of,
    score_text,
    scores_of,
)
from hdrvid.html.page import number
from hdrvid.html.svg import Axis, Chart, LegendItem, Shape, marker, padded_range, path, polyline

MAX_MARKED_FRAMES = 120
"""A plot of more frames than this has lines only."""

_WIDTH, _HEIGHT, _BOTTOM = 760, 250, 204
"""Size of the view box and the lower edge of the plotting area, px."""
_TOP, _LEFT, _MARGIN_RIGHT = 16, 58, 14
_MARKER_SIZE = 3.9
_DASHES = ("", "6 4", "2 3", "9 3 2 3")
_MARKERS = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class ScenePlot:
    """A chart with its caption."""

    heading: str
    """Measure, unit and direction."""
    chart: Chart
    """Scores over frames."""
    legend: tuple[LegendItem, ...]
    """Exposures and models."""


def scene_plot(key: str, scene: str, models: Sequence[EvaluatedModel], name: str) -> ScenePlot:
    """The measure `name` over the frames of a scene; at least one frame must have a score.

    `key` is the prefix of the ids of the chart.
    """
    measure = measure_of(name)
    rows = [m.frames(scene) for m in models]
    indices = [f["index"] for frames in rows for f in frames]
    first, last = min(indices), max(indices)
    title, description = f"{measure.title} of every frame of {scene}", _description(models, rows, name)
    chart = Chart(key, _WIDTH, _HEIGHT, _LEFT, _MARGIN_RIGHT, title, f"Frames {first} to {last}; {description}.")
    x = chart.frame_axis(first, last)
    y = Axis(*padded_range(score for frames in rows for score in scores_of(frames, name)), start=_BOTTOM, end=_TOP)
    chart.horizontal_grid(y, y.ticks(5))
    chart.horizontal_axis(_BOTTOM)
    chart.frame_ticks(first, last, _BOTTOM, 10)
    chart.text("frame", chart.right, _HEIGHT - 4, "end")
    marked = max(len(frames) for frames in rows) <= MAX_MARKED_FRAMES
    # the model is drawn last, over its baselines
    for number_of_model in reversed(range(len(models))):
        for exposure in CLASSES:
            frames = sorted((f for f in rows[number_of_model] if f["exposure"] == exposure), key=lambda f: f["index"])
            series = _Series(models[number_of_model], number_of_model, exposure, frames, name)
            chart.shapes += series.shapes(x, y, marked)
    exposures = [c for c in CLASSES if any(f["exposure"] == c for frames in rows for f in frames)]
    legend = [LegendItem(c, dot=c) for c in exposures] + [_model_item(i, m) for i, m in enumerate(models)]
    unit = f", {measure.unit}" if measure.unit else ""
    return ScenePlot(f"{measure.title}{unit} {direction_arrow(name)}", chart, tuple(legend))


@dataclass(frozen=True)
class _Series:
    """Frames of one model and one exposure, by index."""

    model: EvaluatedModel
    number: int
    """Place of the model: it chooses dashes and marker."""
    exposure: str
    frames: Sequence[Frame]
    measure: str

    def shapes(self, x: Axis, y: Axis, marked: bool) -> list[Shape]:
        """Line and markers; with `marked` False, markers of infinite scores only."""
        css = f"{self.exposure} {self.model.kind}"
        outline = polyline(self._points(x, y))
        thin = "" if marked else " thin"
        line = [path(f"line {css}{thin}", outline, dash=_dash(self.number))] if outline else []
        markers = []
        for frame in self.frames:
            score = frame.get(self.measure)
            if score is None or math.isnan(score) or (math.isfinite(score) and not marked):
                continue
            shape = _marker(self.number)
            if math.isinf(score):
                shape = "triangle" if score > 0 else "down"
            text = f"{self.model.name}, frame {frame['index']}, {self.exposure}: {score_text(score, self.measure)}"
            markers.append(marker(f"mark {css}", shape, x(frame["index"]), y(score), size=_MARKER_SIZE, tooltip=text))
        return line + markers

    def _points(self, x: Axis, y: Axis) -> list[tuple[float, float]]:
        """Points in px, NaN where a frame or a score is missing."""
        indices = [int(f["index"]) for f in self.frames]
        step = min((b - a for a, b in itertools.pairwise(indices)), default=0)
        points: list[tuple[float, float]] = []
        for place, (index, frame) in enumerate(zip(indices, self.frames, strict=True)):
            if place and index - indices[place - 1] > step:
                points.append((math.nan, math.nan))
            score = frame.get(self.measure)
            points.append((x(index), y(score) if score is not None and math.isfinite(score) else math.nan))
        return points


def _dash(number_of_model: int) -> str:
    return _DASHES[number_of_model % len(_DASHES)]


def _marker(number_of_model: int) -> str:
    """With the dashes, another pair for each of the first 16 models."""
    return _MARKERS[(number_of_model + number_of_model // len(_DASHES)) % len(_MARKERS)]


def _model_item(number_of_model: int, model: EvaluatedModel) -> LegendItem:
    shape = _marker(number_of_model)
    line = path(f"line any {model.kind}", "M1 6H33", dash=_dash(number_of_model))
    return LegendItem(model.name, shapes=(line, marker(f"mark any {model.kind}", shape, 17, 6, size=_MARKER_SIZE)))


def _description(models: Sequence[EvaluatedModel], rows: Sequence[Sequence[Frame]], name: str) -> str:
    digits, unit = measure_digits(name), measure_of(name).unit
    ranges = []
    for model, frames in zip(models, rows, strict=True):
        scores = scores_of(frames, name)
        if scores:
            ranges.append(f"{model.name} from {number(min(scores), digits)} to {number(max(scores), digits)}")
    return "; ".join(ranges) + (f" {unit}" if unit else "")
