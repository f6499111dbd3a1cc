"""Plot of quality against the time of a frame, one marker a model: in the page, and as a file for papers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hdrvid.html.evaluation_plot import ScenePlot
from hdrvid.html.evaluation_tables import (
    EvaluatedModel,
    direction_arrow,
    evaluated_models,
    measure_of,
    score_text,
)
from hdrvid.html.page import number, render
from hdrvid.html.svg import LABEL_GAP_PX, Axis, Chart, marker, nice_ticks, padded_range, path

_WIDTH, _HEIGHT, _BOTTOM, _TOP, _LEFT, _MARGIN_RIGHT = 760, 300, 252, 26, 58, 14
"""Of the view box and the plotting area, px."""
_MARKER_SIZE = 4.6
_LETTER_PX, _LINE_PX = 7.0, 14.0
"""About the width of a letter and the height of a line of a label."""
_STEPS = (1, 2, 5)


def seconds_of(model: EvaluatedModel, results: Mapping[str, Any]) -> float | None:
    """Seconds that a model takes for a frame; None where they were not measured."""
    seconds = model.results.get("seconds")
    if isinstance(results.get("seconds"), Mapping):
        seconds = results["seconds"].get(model.name)
    return None if seconds is None else float(seconds)


@dataclass(frozen=True)
class _Point:
    model: EvaluatedModel
    milliseconds: float
    score: float


def times_plot(key: str, models: Sequence[EvaluatedModel], results: Mapping[str, Any]) -> ScenePlot | None:
    """The first measure that a timed model has, over milliseconds a frame on a logarithmic axis.

    None where fewer than two models have both. `key` is the prefix of the ids of the chart.
    """
    timed = [(m, s) for m in models if (s := seconds_of(m, results))]
    for name in results["overall"]:
        points = [_Point(m, 1000 * s, float(v)) for m, s in timed if (v := m.results["overall"].get(name)) is not None]
        if len(points) > 1:
            break
    else:
        return None
    measure = measure_of(name)
    heading = f"{measure.title}{', ' + measure.unit if measure.unit else ''} {direction_arrow(name)} against time"
    texts = [f"{p.model.name} {score_text(p.score, name)} in {number(p.milliseconds, 1)} ms" for p in points]
    chart = Chart(key, _WIDTH, _HEIGHT, _LEFT, _MARGIN_RIGHT, heading, "; ".join(texts) + ".")
    low, high = padded_range((math.log10(p.milliseconds) for p in points), 0.08, least=0.6)
    x = Axis(low, high, _LEFT, chart.right)
    y = Axis(*padded_range((p.score for p in points), 0.12), start=_BOTTOM, end=_TOP)
    chart.horizontal_grid(y, y.ticks(5))
    for tick in _log_ticks(low, high):
        place = x(math.log10(tick))
        chart.shapes.append(path("grid", f"M{place:.1f} {_TOP:g}V{_BOTTOM:g}"))
        chart.text(f"{tick:g}", place, _BOTTOM + LABEL_GAP_PX, "x", "1em")
    chart.horizontal_axis(_BOTTOM)
    chart.text("milliseconds a frame", chart.right, _HEIGHT - 6, "end")
    chart.text(f"{measure.title}{', ' + measure.unit if measure.unit else ''}", _LEFT, _TOP - 10)
    places = [(x(math.log10(p.milliseconds)), y(p.score)) for p in points]
    labels = _labels(points, places, chart.right)
    for i, (point, (px, py), label) in enumerate(zip(points, places, labels, strict=True)):
        css = f"mark any {point.model.kind}{' lead' if point.model is models[0] else ''}"
        chart.shapes.append(marker(css, "circle", px, py, size=_MARKER_SIZE, tooltip=texts[i]))
        chart.text(point.model.name, *label, dy=".35em")
    return ScenePlot(heading, chart, ())


def times_svg(results: Mapping[str, Any]) -> str | None:
    """`times.svg`: the plot as a file; None where there is none."""
    plot = times_plot("times", evaluated_models(results), results)
    return None if plot is None else render("times.svg.j2", chart=plot.chart)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round values from 10**low to 10**high: 1, 2 and 5 times powers of ten, or powers alone where these are many.

    Evenly spaced ones where the range is narrow.
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    steps = _STEPS if high - low < 3 else (1,)
    ticks = [s * 10.0**p for p in powers for s in steps if low <= math.log10(s * 10.0**p) <= high]
    return ticks if len(ticks) > 2 else nice_ticks(10**low, 10**high, 5)


def _labels(
    points: Sequence[_Point], places: Sequence[tuple[float, float]], right: float
) -> list[tuple[float, float, str]]:
    """x, y and CSS class of the name beside every marker, on its left where the right has no room, moved off others."""
    taken: list[tuple[float, float, float]] = []
    labels = []
    for point, (px, py) in zip(points, places, strict=True):
        width = _LETTER_PX * len(point.model.name)
        on_left = px + 9 + width > right
        start = px - 9 - width if on_left else px + 9

        def is_free(y: float, start: float = start, width: float = width) -> bool:
            return all(abs(y - ty) >= _LINE_PX or start >= b or start + width <= a for a, b, ty in taken)

        moves = (k * _LINE_PX / 2 * sign for k in range(40) for sign in (-1, 1))
        y = next((py + move for move in moves if is_free(py + move)), py)
        taken.append((start, start + width, y))
        labels.append((px - 9 if on_left else px + 9, y, "end" if on_left else ""))
    return labels
