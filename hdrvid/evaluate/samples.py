"""The frames of a scene that a report shows: the worst one and the median one, with every picture of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid import pictures
from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.evaluate.measures import MEASURES
from hdrvid.types import Reconstruction, Reconstructor, Window

MAX_SIDE = 384
"""Frames larger than this (pixels, either side) are shown as a crop around the worst error."""


@dataclass(frozen=True)
class Sample:
    """A frame with its pictures."""

    scene: str
    """Name of the clip."""
    index: int
    """Frame."""
    exposure: str
    """'short', 'middle' or 'long'."""
    why: str
    """'worst' or 'median'."""
    scores: Mapping[str, Mapping[str, float | None]]
    """Measures by name of the model."""
    images: Mapping[str, Path]
    """PNG files by title, in the order in which they are shown."""
    note: str = ""
    """What else is to be said, such as which part of the frame is shown."""


def make_samples(
    window_at: Callable[[int], Window],
    truth_at: Callable[[int], np.ndarray | None],
    models: Mapping[str, Reconstructor],
    model: str,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    folder: Path,
) -> list[dict[str, Any]]:
    """Reconstruct the worst and the median frame of `model` again and write their pictures into `folder`.

    `rows` are the scored frames by model. Returns what `read_samples` takes: JSON, pictures by file name.
    """
    samples: list[dict[str, Any]] = []
    for why, row in _chosen(rows[model]).items():
        index = row["index"]
        window = window_at(index)
        ordered = [*(m for m in models if m != model), model]
        results = {models[m].name: models[m].reconstruct(window, diagnostics=m == model) for m in ordered}
        images: dict[str, str] = {}
        shown, note = sample_pictures(window, results, models[model].name, truth_at(index))
        for title, picture in shown.items():
            name = f"{index:06d}.{len(images)}.png"
            pictures.write_png(folder / name, picture)
            images[title] = name
        of_frame = {m: next((r for r in rows[m] if r["index"] == index), {}) for m in ordered}
        scores = {models[m].name: {k: v for k, v in r.items() if k in MEASURES} for m, r in of_frame.items()}
        of_sample = {"index": index, "exposure": row["exposure"], "why": why, "note": note}
        samples.append({**of_sample, "scores": scores, "images": images})
    return samples


def read_samples(scene: str, samples: Sequence[Mapping[str, Any]], folder: Path) -> list[Sample]:
    """The samples of a scene for the report; without those whose pictures are gone."""
    result = []
    for s in samples:
        images = {title: folder / name for title, name in s["images"].items()}
        if all(path.is_file() for path in images.values()):
            result.append(Sample(scene, s["index"], s["exposure"], s["why"], s["scores"], images, s["note"]))
    return result


def _chosen(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The worst and the median frame by the first measure asked for; one of them where they are the same."""
    for name in (n for n in rows[0] if n in MEASURES) if rows else ():
        scored = [r for r in rows if r[name] is not None]
        if scored:
            measure = MEASURES[name]
            ranked = sorted(scored, key=lambda r: r[name], reverse=not measure.larger_is_better)
            worst, median = ranked[0], ranked[len(ranked) // 2]
            named = {f"worst by {measure.title}": worst}
            return named if median is worst else {**named, "median": median}
    return {}


def sample_pictures(
    window: Window, results: Mapping[str, Reconstruction], model: str, truth: np.ndarray | None
) -> tuple[dict[str, np.ndarray], str]:
    """(h, w, 3) uint8 pictures by title: input, results, truth, errors, flow to each neighbour, blend weights.

    All show the same part of the frame: all of it, or a crop around the largest error of `model` (without truth:
    around where it differs most from the linearised input), which the text returned beside them names.
    """
    middle = len(window.frames) // 2
    plain = radiance_from_ldr(window.reference, window.exposures[middle])
    estimate = results[model].radiance
    part = pictures.crop_around_worst(pictures.tone_error(estimate, plain if truth is None else truth), MAX_SIDE)
    rows, columns = part
    whole = window.reference[part].shape == window.reference.shape
    note = "" if whole else f"crop: columns {columns.start}-{columns.stop - 1}, rows {rows.start}-{rows.stop - 1}"
    longest = max(window.exposures)
    shown = {"input": pictures.input_picture(window.reference)[part]}
    shown |= {name: pictures.tonemapped(r.radiance, longest)[part] for name, r in results.items()}
    if truth is not None:
        shown["truth"] = pictures.tonemapped(truth, longest)[part]
        shown |= {f"error of {name}": pictures.error_picture(r.radiance, truth)[part] for name, r in results.items()}
    result = results[model]
    if result.flow_px is not None:
        neighbours = [i - middle for i in range(len(window.frames)) if i != middle]
        for offset, flow in zip(neighbours, result.flow_px, strict=True):
            shown[f"flow to frame {offset:+d}"] = pictures.flow_picture(flow)[part]
    if result.weights is not None:
        shown["blend weights"] = pictures.weights_picture(result.weights, len(window.frames) - 1)[part]
    return shown, note
