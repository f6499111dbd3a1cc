"""Contact sheet: of every shown frame the result, its histogram, and where it is clipped or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hdrvid.html.areas import Areas, areas_picture
from hdrvid.html.clip_results import ClipResults
from hdrvid.html.frame_pictures import PictureBudget, shrunk
from hdrvid.html.histogram import ClipHistograms, FrameHistograms
from hdrvid.html.reconstruction_charts import frame_chart
from hdrvid.html.svg import Chart
from hdrvid.html.verdicts import percent
from hdrvid.metrics.exposure_flicker import FrameBrightness

THUMB_PX = 320
"""Longer side of the pictures of a contact sheet."""

_LABELS = {
    "clipped": "clipped as shot",
    "dark": "dark as shot",
    "clipped_in_all": "clipped in every exposure",
    "dark_in_all": "dark in every exposure",
    "hidden_highlights": "clipped, and hidden in the others",
    "not_finite": "NaN or infinity",
}
"""The masks of `Areas`, as the page calls them."""
_ALWAYS = ("clipped", "dark", "clipped_in_all", "dark_in_all")
"""Masks that are named where they are empty too."""


@dataclass(frozen=True)
class SheetFrame:
    """A frame of the contact sheet."""

    brightness: FrameBrightness
    """Index and exposure."""
    result: np.ndarray
    """The result, (h, w, 3) uint8 RGB, at most THUMB_PX."""
    areas: np.ndarray
    """`areas_picture` of it."""
    shares: Mapping[str, float]
    """See `Areas.shares`."""
    histograms: FrameHistograms
    """Of the result and of the frame as shot."""


@dataclass(frozen=True)
class Card:
    """What the page shows of a `SheetFrame`."""

    index: int
    exposure: str
    stops: float
    width: int
    height: int
    result: str
    """Data URI."""
    areas: str
    """Data URI."""
    areas_text: str
    """What the picture of the areas shows."""
    lines: Sequence[tuple[str, str, str]]
    """(CSS class, name, share) of every mask."""
    chart: Chart


def sheet_frame(frame: FrameBrightness, picture: np.ndarray, areas: Areas, histograms: FrameHistograms) -> SheetFrame:
    """A frame of the contact sheet; `picture` (H, W, 3) uint8 is its tone-mapped result."""
    thumb = shrunk(picture, THUMB_PX)
    return SheetFrame(frame, thumb, areas_picture(thumb, areas), areas.shares(), histograms)


def cards(
    clip: ClipResults, frames: Sequence[SheetFrame], histograms: ClipHistograms, budget: PictureBudget
) -> list[Card]:
    """The cards of the contact sheet."""
    made = []
    for frame in frames:
        brightness = frame.brightness
        lines = [
            (name.replace("_", "-"), label, percent(frame.shares[name]) if name in frame.shares else "not known")
            for name, label in _LABELS.items()
            if name in _ALWAYS or frame.shares.get(name)
        ]
        made.append(
            Card(
                index=brightness.index,
                exposure=brightness.exposure,
                stops=brightness.stops,
                width=frame.result.shape[1],
                height=frame.result.shape[0],
                result=budget.uri(frame.result, budget.THUMB),
                areas=budget.uri(frame.areas, budget.THUMB),
                areas_text="; ".join(f"{label} {share}" for _, label, share in lines),
                lines=lines,
                chart=frame_chart(clip, histograms, brightness, frame.histograms),
            )
        )
    return made
