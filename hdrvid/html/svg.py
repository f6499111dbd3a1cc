"""Charts as data: axes with round ticks, lines, markers, labels, legends.

The macros of `templates/svg.html.j2` write them as SVG. CSS classes set colours and anchors: 'short', 'middle', 'long'
and 'result' the colour, 'x', 'y' and 'end' the anchor of a text.

Convention:
    px      pixels of the SVG view box; y points down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hdrvid.html.page import signed

LABEL_GAP_PX = 6
"""Space between the plotting area and the labels of its axes."""

_OUTLINES = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "triangle": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
    "down": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
}
"""Corners of the markers other than 'circle', in units of their size."""


# ---- axes ------------------------------------------------------------------------------------------------------------


def nice_ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from low to high, about `count` of them; `whole`: integers."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= 0.75 * raw)
    if whole:
        step = max(1.0, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Texts of ticks, with the fewest digits that tell every one of them exactly.

    >>> tick_labels([-0.5, 0.0, 0.5])
    ['−0.5', '0.0', '0.5']
    """
    largest = max(map(abs, ticks), default=0.0)
    exact = (d for d in range(12) if all(abs(round(t, d) - t) <= 1e-9 * largest for t in ticks))
    digits = next(exact, 12)
    return [signed(t, digits) for t in ticks]


def padded_range(values: Iterable[float], share: float = 0.06, least: float = 0.0) -> tuple[float, float]:
    """Low and high of the finite values with `share` of their span on either side, at least `least` apart.

    Equal values get room of 5 % of their size; without a finite value the range is 0 to 1.
    """
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = max(share * (high - low), (least - (high - low)) / 2) or 0.05 * abs(high) or 0.5
    return low - room, high + room


@dataclass(frozen=True)
class Axis:
    """A linear map from values to px. Values outside the limits are drawn at the nearest limit."""

    low: float
    """Lower limit, in units of the values."""
    high: float
    """Upper limit, above `low`."""
    start: float
    """px of `low`."""
    end: float
    """px of `high`."""

    def __call__(self, value: float) -> float:
        """px of a value; of an infinite one, px of the limit."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int, *, whole: bool = False) -> list[float]:
        """About `count` round values between the limits."""
        return nice_ticks(self.low, self.high, count, whole=whole)


# ---- charts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """One SVG element."""

    tag: str
    """'path', 'circle', 'polygon' or 'text'."""
    attributes: dict[str, str]
    """Its attributes, in order."""
    text: str = ""
    """Content of a 'text'."""
    tooltip: str = ""
    """Shown by the browser under the pointer."""


def path(css: str, d: str, *, stroke_width: float | None = None, dash: str = "") -> Shape:
    """A path; `d` is its outline, `dash` the lengths of its strokes and gaps in px."""
    attributes = {"class": css, "d": d}
    if stroke_width is not None:
        attributes["stroke-width"] = f"{stroke_width:.1f}"
    if dash:
        attributes["stroke-dasharray"] = dash
    return Shape("path", attributes)


def marker(css: str, shape: str, x: float, y: float, *, size: float, tooltip: str = "") -> Shape:
    """A marker around (x, y): 'circle' of radius `size` px, 'square', 'triangle', 'diamond' or 'down'."""
    if shape == "circle":
        return Shape("circle", {"class": css, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{size:g}"}, tooltip=tooltip)
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _OUTLINES[shape])
    return Shape("polygon", {"class": css, "points": points}, tooltip=tooltip)


def polyline(points: Iterable[tuple[float, float]]) -> str:
    """Outline through points (x, y) in px; a point that is not finite opens the line.

    A point between two gaps is a stroke of length 0, which round line ends make visible.
    """
    outline, joined = [], False
    for x, y in points:
        finite = math.isfinite(x) and math.isfinite(y)
        if finite:
            outline.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}" + ("" if joined else "h0"))
        joined = finite
    return "".join(outline)


@dataclass(frozen=True)
class LegendItem:
    """An entry of a legend: a coloured dot, or the line and marker of a series."""

    name: str
    """Its text."""
    dot: str = ""
    """CSS class of the colour of the dot."""
    shapes: tuple[Shape, ...] = ()
    """Line and marker within 34 x 12 px, in place of the dot."""


@dataclass
class Chart:
    """An SVG picture with a plotting area between `left` and `right`."""

    key: str
    """Prefix of the ids of title and description, unique in the page."""
    width: float
    """Width of the view box, px."""
    height: float
    """Height of the view box, px."""
    left: float
    """px of the left edge of the plotting area."""
    margin_right: float
    """px between the plotting area and the right edge of the view box."""
    title: str = ""
    """Accessible name and tooltip; none where it is empty."""
    description: str = ""
    """Text for screen readers."""
    shapes: list[Shape] = field(default_factory=list)
    """What is drawn, from back to front."""

    @property
    def right(self) -> float:
        """px of the right edge of the plotting area."""
        return self.width - self.margin_right

    def frame_axis(self, first: int, last: int) -> Axis:
        """Horizontal axis of frames `first` to `last`, 2 % inside the plotting area; one frame is in its middle."""
        if first == last:
            return Axis(first - 1, first + 1, self.left, self.right)
        inset = 0.02 * (self.right - self.left)
        return Axis(first, last, self.left + inset, self.right - inset)

    def text(self, text: str, x: float, y: float, css: str = "", dy: str = "") -> None:
        """Add a text with its baseline at y, `dy` lower."""
        attributes = {"class": css} if css else {}
        attributes |= {"x": f"{x:.1f}", "y": f"{y:.1f}"}
        if dy:
            attributes["dy"] = dy
        self.shapes.append(Shape("text", attributes, text))

    def horizontal_grid(self, axis: Axis, ticks: Sequence[float]) -> None:
        """Add lines at ticks of a vertical axis, with labels on their left."""
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            self.shapes.append(path("grid", f"M{self.left:g} {axis(tick):.1f}H{self.right:g}"))
            self.text(label, self.left - LABEL_GAP_PX, axis(tick), "y", ".35em")

    def vertical_grid(self, axis: Axis, ticks: Sequence[float], top: float, bottom: float) -> None:
        """Add lines from `top` to `bottom` at ticks of a horizontal axis, with labels below."""
        for tick, label in zip(ticks, tick_labels(ticks), strict=True):
            self.shapes.append(path("grid", f"M{axis(tick):.1f} {top:g}V{bottom:g}"))
            self.text(label, axis(tick), bottom + LABEL_GAP_PX, "x", "1em")

    def frame_ticks(self, first: int, last: int, bottom: float, count: int) -> None:
        """Add about `count` ticks with labels below y = `bottom`, at frames on `frame_axis(first, last)`."""
        axis = self.frame_axis(first, last)
        for tick in nice_ticks(first, last, count, whole=True):
            self.shapes.append(path("axis", f"M{axis(tick):.1f} {bottom:g}v4"))
            self.text(f"{tick:.0f}", axis(tick), bottom + LABEL_GAP_PX, "x", "1em")

    def horizontal_axis(self, bottom: float) -> None:
        """Add the line of a horizontal axis at y = `bottom`."""
        self.shapes.append(path("axis", f"M{self.left:g} {bottom:g}H{self.right:g}"))
