"""The crop figure of a paper: input, every result, truth and errors of one frame, the same part of it, labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hdrvid import pictures
from hdrvid.errors import InputError
from hdrvid.evaluate.measures import MEASURES
from hdrvid.evaluate.results import models_of
from hdrvid.evaluate.samples import Sample
from hdrvid.evaluate.tables import latex_text, measure_digits, measure_of

CROP_PX = 160
"""Side of the part that is shown, in pixels of the frame; smaller frames are shown whole."""
TILE_PX = 320
"""About the width of a part in the figure: enlarged by a whole number, without smoothing."""
GAP_PX, LABEL_PX, FONT_PX = 8, 30, 20
INK, PAPER = (20, 20, 20), (255, 255, 255)
LATEX_MARK = "% hdrvid eval figure"
"""Beginning of figure.tex."""


@dataclass(frozen=True)
class CropFigure:
    """The picture and what to say of it."""

    picture: np.ndarray
    """(H, W, 3) uint8 RGB."""
    caption: str
    """Scene, frame, part, measure and the scale of the errors."""


def crop_figure(results: Mapping[str, Any], samples: Sequence[Sample]) -> CropFigure | None:
    """The figure of the worst frame of the first model, by the first measure that it has a score in.

    None without samples. Raises InputError where a picture of the sample cannot be read.
    """
    models = list(models_of(results))
    sample, measure = _worst(samples, models[0])
    if sample is None:
        return None
    others = [m for m in models[1:] if m in sample.images]
    shown = ["input", *others, models[0], *(["truth"] if "truth" in sample.images else [])]
    tiles = {title: _read(sample.images[title]) for title in shown}
    errors = {m: _read(sample.images[f"error of {m}"]) for m in models if f"error of {m}" in sample.images}
    part = _part(tiles, errors, models[0])
    scores = {m: sample.scores.get(m, {}).get(measure) for m in models}
    labels = {m: f"{m}  {s:.{measure_digits(measure)}f}" for m, s in scores.items() if s is not None}
    picture = _drawn(
        [(labels.get(title, title), tile[part]) for title, tile in tiles.items()],
        [errors[title][part] if title in errors else None for title in tiles],
    )
    unit = measure_of(measure).unit
    rows, columns = part
    caption = (
        f"{sample.scene}, frame {sample.index} ({sample.exposure}), {sample.why}: a part of "
        f"{columns.stop - columns.start}x{rows.stop - rows.start} pixels. Figures: {measure_of(measure).title}"
        f"{' in ' + unit if unit else ''} of the whole frame."
    )
    if errors:
        caption += f" Below: error after the mu-law, black 0 to yellow {pictures.ERROR_MAX:g}."
    return CropFigure(picture, caption)


def figure_latex(caption: str) -> str:
    """`figure.tex`: the figure for `\\input` beside figure.png."""
    lines = [
        f"{LATEX_MARK}: needs \\usepackage{{graphicx}}",
        r"\begin{figure*}",
        r"\centering",
        r"\includegraphics[width=\textwidth]{figure.png}",
        rf"\caption{{{latex_text(caption)}}}",
        r"\end{figure*}",
    ]
    return "\n".join(lines) + "\n"


def _worst(samples: Sequence[Sample], model: str) -> tuple[Sample | None, str]:
    """The sample with the worst score of `model`, and the measure."""
    for name in MEASURES:
        scored = [(v, s) for s in samples if (v := s.scores.get(model, {}).get(name)) is not None]
        if scored:
            pick = min if MEASURES[name].larger_is_better else max
            return pick(scored, key=lambda pair: pair[0])[1], name
    return None, ""


def _read(path: Path) -> np.ndarray:
    try:
        decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        decoded = None
    if decoded is None:
        raise InputError(f"picture {path} cannot be read: run hdrvid eval again")
    return np.asarray(decoded[..., ::-1])


def _part(tiles: Mapping[str, np.ndarray], errors: Mapping[str, np.ndarray], model: str) -> tuple[slice, slice]:
    """Around the largest error of `model`; without truth, around what differs most from the input."""
    if model in errors:
        difference = errors[model].astype(np.float64).mean(-1)
    else:
        difference = np.abs(tiles[model].astype(np.float64) - tiles["input"]).mean(-1)
    return pictures.crop_around_worst(difference, CROP_PX)


def _drawn(top: Sequence[tuple[str, np.ndarray]], bottom: Sequence[np.ndarray | None]) -> np.ndarray:
    """Labelled pictures side by side, with one more below each where there is one."""
    font = ImageFont.load_default(FONT_PX)
    height, width = top[0][1].shape[:2]
    zoom = max(1, round(TILE_PX / width))
    needed = [round(font.getlength(label)) for label, _ in top]
    tile_w, tile_h = max(zoom * width, *needed), zoom * height
    rows = 2 if any(p is not None for p in bottom) else 1
    size = (
        len(top) * (tile_w + GAP_PX) + GAP_PX,
        LABEL_PX + rows * (tile_h + GAP_PX),
    )
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, ((label, picture), below) in enumerate(zip(top, bottom, strict=True)):
        x = GAP_PX + i * (tile_w + GAP_PX)
        draw.text((x + tile_w / 2, LABEL_PX / 2), label, INK, font, anchor="mm")
        inset = x + (tile_w - zoom * width) // 2
        for row, shown in enumerate((picture, below)):
            if shown is not None:
                enlarged = np.repeat(np.repeat(shown, zoom, 0), zoom, 1)
                canvas.paste(Image.fromarray(enlarged), (inset, LABEL_PX + row * (tile_h + GAP_PX)))
    return np.asarray(canvas)
