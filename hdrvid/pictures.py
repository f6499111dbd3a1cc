"""Pictures of a frame for people: input, radiance, error, flow and blend weights.

No scale depends on the picture itself, so that two pictures of one kind can always be compared.

Convention:
    radiance    (H, W, 3), 1.0 = clipping of the SHORTEST exposure.
    returned    (H, W, 3) uint8 RGB, as a display takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from hdrvid.color.curves import srgb_encode
from hdrvid.color.neutral import neutral
from hdrvid.color.oklab import oklab_to_rgb
from hdrvid.color.radiance import mu_law
from hdrvid.detect.response import RatioByLevel
from hdrvid.io.atomic import atomic_path
from hdrvid.io.ownership import marked_png

ERROR_MAX = 0.1
"""Error after the mu-law (mu = 5000) with the brightest colour; larger ones have it too. PSNR-T of 0.1 everywhere is
20 dB."""
FLOW_MAX_PX = 64.0
"""Length of flow in pixels with full colour; longer flow has it too."""
EARLIER_COLOUR = (255, 140, 0)
"""Blend weights: everything is taken from earlier frames."""
LATER_COLOUR = (0, 115, 255)
"""Blend weights: everything is taken from later frames. The sum with EARLIER_COLOUR is white."""
PLOT_SIZE = (840, 480)
"""Width and height of `ratio_plot`."""
PLOT_LEVELS_STOPS = (-10, 0)
"""Levels on the x axis of `ratio_plot`, in stops below clipping."""
PLOT_COLOURS = ((0, 90, 170), (190, 70, 0))
"""Curves of `ratio_plot`: shortest exposure to the next, and that to the longest."""
PLOT_FINENESS = 4
"""`ratio_plot` is drawn this much larger and scaled down: smooth lines and letters."""
_PLOT_INK = (60, 60, 60)
_PLOT_GRID = (225, 225, 225)
BLUR_SHARE = 0.25
"""`crop_around_worst` averages the error over a square with this share of the crop's side."""


def input_picture(ldr: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) in [0, 1] as it is coded."""
    return _as_bytes(ldr)


def tonemapped(radiance: np.ndarray, max_exposure: float) -> np.ndarray:
    """Radiance (H, W, 3) after the display transform of previews, `neutral`, without a key.

    0.18 of the longest frame's range stays where that frame has it, and the clipping of the shortest is white.

    `max_exposure` is the linear exposure of the longest frame, the shortest is 1. Negative values and NaN are black.
    """
    return neutral(np.asarray(radiance, np.float64) * max_exposure, max_value=max_exposure)


def tone_error(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """|T(estimate) - T(truth)|, mean of the channels, (H, W) float64; T is the mu-law, mu = 5000.

    Infinite where one of the two is not finite.
    """
    both = (np.asarray(x, np.float64) for x in (estimate, truth))
    with np.errstate(invalid="ignore"):
        toned = [np.asarray(mu_law(x)) for x in both]
        error = np.abs(toned[0] - toned[1]).mean(-1)
    return np.where(np.isfinite(error), error, np.inf)


def error_picture(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """`tone_error` of two radiance frames (H, W, 3) in false colour, see `error_colours`."""
    return error_colours(tone_error(estimate, truth))


def error_colours(error: np.ndarray) -> np.ndarray:
    """False colour of errors (H, W): black is 0, light yellow ERROR_MAX, in between sqrt(error / ERROR_MAX).

    The root shows the small errors of a good model and the large ones of a bad one on one scale.
    """
    share = np.sqrt(np.clip(np.asarray(error, np.float64) / ERROR_MAX, 0.0, 1.0))
    return _colour_map()[np.rint(255 * share).astype(np.intp)]


def error_legend(width: int = 256, height: int = 12) -> np.ndarray:
    """The colours of `error_picture` from 0 on the left to ERROR_MAX on the right; x = sqrt(error / ERROR_MAX)."""
    return error_colours(np.tile(np.linspace(0.0, 1.0, width) ** 2 * ERROR_MAX, (height, 1)))


def flow_picture(flow_px: np.ndarray) -> np.ndarray:
    """Backward flow (H, W, 2) in pixels: hue = direction, saturation = length.

    Red points right, then clockwise yellow-green (down), cyan (left), violet (up). White is no motion; saturation is
    log(1 + length) / log(1 + FLOW_MAX_PX). The wheel is that of Baker et al., A Database and Evaluation Methodology for
    Optical Flow, 2011; their length is linear, where slow motion looks like none.
    """
    flow = np.nan_to_num(np.asarray(flow_px, np.float64))
    length = np.hypot(flow[..., 0], flow[..., 1])
    saturation = np.clip(np.log1p(length) / np.log1p(FLOW_MAX_PX), 0.0, 1.0)[..., None]
    sixths = np.arctan2(flow[..., 1], flow[..., 0])[..., None] * (3 / np.pi)
    hue = np.clip(np.abs((sixths + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0.0, 1.0)
    return _as_bytes(1 - saturation * (1 - hue))


def flow_legend(size: int = 129) -> np.ndarray:
    """The wheel of `flow_picture`, size x size: no motion in the middle, FLOW_MAX_PX at the rim, white outside.

    Half-way to the rim is a motion of sqrt(1 + FLOW_MAX_PX) - 1 pixels, 7.1.
    """
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius = np.hypot(x, y)
    length = np.where(radius <= 1, np.expm1(radius * np.log1p(FLOW_MAX_PX)), 0.0)
    scale = length / np.maximum(radius, 1e-9)
    return flow_picture(np.stack([x * scale, y * scale], -1))


def weights_picture(weights: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Where the result is taken from, of blend weights (C, H, W, 3).

    Black is the reference alone, EARLIER_COLOUR the frames before it alone, LATER_COLOUR those after it, their mixtures
    what is between; grey is as much of both. Candidates are the reference and its `num_neighbours` aligned neighbours
    in time order; what a model has beside these (smoothed or unaligned ones) is left out.
    Raises ValueError for a number of candidates that does not fit.
    """
    if num_neighbours < 2 or num_neighbours % 2 or len(weights) < 1 + num_neighbours:
        raise ValueError(f"{len(weights)} candidates are not a reference and {num_neighbours} or more others")
    grey = np.nan_to_num(np.asarray(weights[: 1 + num_neighbours], np.float64)).mean(-1)
    share = grey / np.maximum(grey.sum(0), 1e-12)
    neighbours = share[1:].reshape(2, num_neighbours // 2, *share.shape[1:]).sum(1)
    colours = np.array([EARLIER_COLOUR, LATER_COLOUR]) / 255
    return _as_bytes(np.tensordot(neighbours, colours, (0, 0)))


def ratio_plot(tables: Sequence[RatioByLevel], title: str) -> np.ndarray:
    """The ratio of linearised frames against level, PLOT_SIZE: what `response_estimate.ratio_by_level` measured.

    x: level of the shorter frame in stops below clipping. y: ratio in stops, one stop more than expected on both sides.
    Dots are medians, the band around them is half of the measurements, the dashed line is what is expected: with the
    right response and stops the dots lie on it. Raises ValueError for more than two tables or none.
    """
    if not 1 <= len(tables) <= len(PLOT_COLOURS):
        raise ValueError(f"{len(tables)} tables cannot be drawn: give one or two")
    width, height = PLOT_SIZE
    left, right, top, bottom = 80, width - 24, 64, height - 64
    first, last = PLOT_LEVELS_STOPS
    expected = [table.expected_stops for table in tables]
    lowest, highest = int(np.floor(min(expected) - 1)), int(np.ceil(max(expected) + 1))
    fine = PLOT_FINENESS
    picture: np.ndarray = np.full((fine * height, fine * width, 3), 255, np.uint8)

    def at(level: float, ratio: float) -> tuple[int, int]:
        x = left + (np.clip(level, first, last) - first) / (last - first) * (right - left)
        y = bottom - (np.clip(ratio, lowest, highest) - lowest) / (highest - lowest) * (bottom - top)
        return round(fine * x), round(fine * y)

    for level in range(first, last + 1, 2):
        cv2.line(picture, at(level, lowest), at(level, highest), _PLOT_GRID, fine)
        _plot_text(picture, str(level), at(level, lowest)[0] / fine, bottom + 20)
    for ratio in range(lowest, highest + 1):
        cv2.line(picture, at(first, ratio), at(last, ratio), _PLOT_GRID, fine)
        _plot_text(picture, str(ratio), left - 16, at(first, ratio)[1] / fine + 5)
    for i, (table, colour) in enumerate(zip(tables, PLOT_COLOURS, strict=False)):
        levels = [float(np.log2(value)) for value in table.level_linear]
        band = [at(*p) for p in zip(levels, table.lower_stops, strict=True)]
        band += [at(*p) for p in zip(levels, table.upper_stops, strict=True)][::-1]
        shaded = cv2.fillPoly(picture.copy(), [np.array(band)], colour)
        picture = cv2.addWeighted(shaded, 0.2, picture, 0.8, 0)
        for start in np.arange(first, last, 0.2):
            ends = at(start, table.expected_stops), at(start + 0.1, table.expected_stops)
            cv2.line(picture, *ends, colour, 2 * fine)
        dots = [at(*p) for p in zip(levels, table.median_stops, strict=True)]
        cv2.polylines(picture, [np.array(dots)], False, colour, 2 * fine)
        for dot in dots:
            cv2.circle(picture, dot, 4 * fine, colour, -1)
        key = f"- - -  expected {table.expected_stops:.2f} stops"
        _plot_text(picture, key, width * (i + 1) / (len(tables) + 1), 50, colour)
    cv2.rectangle(picture, at(first, highest), at(last, lowest), _PLOT_INK, fine)
    _plot_text(picture, title, width / 2, 24, size=0.6)
    _plot_text(picture, "level of the shorter frame, stops below clipping", (left + right) / 2, height - 16)
    picture = np.ascontiguousarray(np.rot90(picture, -1))
    _plot_text(picture, "ratio of linearised frames, stops", height - (top + bottom) / 2, 24)
    return cv2.resize(np.ascontiguousarray(np.rot90(picture)), PLOT_SIZE, interpolation=cv2.INTER_AREA)


def _plot_text(
    picture: np.ndarray,
    words: str,
    x: float,
    y: float,
    colour: tuple[int, int, int] = _PLOT_INK,
    size: float = 0.5,
) -> None:
    """Draw words centred on x and standing on y, in pixels of the finished plot; other than ASCII is shown as ?."""
    words = words.encode("ascii", "replace").decode()
    scale = PLOT_FINENESS * size
    (length, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, PLOT_FINENESS)
    place = round(PLOT_FINENESS * x - length / 2), round(PLOT_FINENESS * y)
    cv2.putText(picture, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, PLOT_FINENESS)


def crop_around_worst(error: np.ndarray, size: int) -> tuple[slice, slice]:
    """Rows and columns of the part of a frame, at most size x size, around the largest error (H, W).

    The error is averaged over a square of BLUR_SHARE x size first: a region that is wrong counts, a speck does not.
    """
    height, width = error.shape
    finite = np.nan_to_num(np.asarray(error, np.float64), nan=0.0, posinf=1e6)
    side = max(int(BLUR_SHARE * size), 1)
    blurred = cv2.blur(finite, (side, side), borderType=cv2.BORDER_REFLECT)
    row, column = np.unravel_index(int(blurred.argmax()), blurred.shape)

    def around(centre: int, length: int) -> slice:
        start = min(max(centre - size // 2, 0), max(length - size, 0))
        return slice(start, min(start + size, length))

    return around(int(row), height), around(int(column), width)


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 RGB as a PNG file."""
    _, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(picture, np.uint8), cv2.COLOR_RGB2BGR))
    return data.tobytes()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 RGB, complete or not at all. Raises OutputError."""
    with atomic_path(path) as partial:
        partial.write_bytes(marked_png(png_bytes(picture)))


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """0..1 to 0..255; NaN is 0."""
    return np.rint(255 * np.clip(np.nan_to_num(values, posinf=1.0, neginf=0.0), 0.0, 1.0)).astype(np.uint8)


@lru_cache(maxsize=1)
def _colour_map() -> np.ndarray:
    """(256, 3) uint8, black by violet, red and orange to light yellow, in equal steps of Oklab.

    Lightness rises with the hue turning once from violet to yellow, as saturated as sRGB allows.
    """
    count = 4096
    lightness = np.linspace(0.0, 0.96, count)
    hue = np.radians(np.linspace(-75.0, 105.0, count))
    low, high = np.zeros(count), np.full(count, 0.4)
    for _ in range(30):  # bisection for the largest chroma inside the gamut
        chroma = (low + high) / 2
        rgb = _oklab_to_rgb(lightness, chroma, hue)
        inside = ((rgb >= -1e-6) & (rgb <= 1 + 1e-6)).all(-1)
        low, high = np.where(inside, chroma, low), np.where(inside, high, chroma)
    chroma = cv2.blur(np.minimum(0.9 * low, 0.19)[None], (401, 1), borderType=cv2.BORDER_REFLECT)[0]
    chroma = np.minimum(chroma, low)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=-1))])
    at = np.interp(np.linspace(0.0, length[-1], 256), length, np.arange(count))
    path = [np.interp(at, np.arange(count), values) for values in (lightness, chroma, hue)]
    return _as_bytes(np.asarray(srgb_encode(np.clip(_oklab_to_rgb(*path), 0.0, 1.0))))


def _oklab_to_rgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """(N, 3) linear Rec. 709 of Oklab colours in polar form (N,), hue in radians."""
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1)
    return oklab_to_rgb(lab)
