"""`report.html`: scores, plots and pictures of an evaluation in one file.

The page runs no script. Radio buttons and CSS enlarge a picture: the arrow keys then switch between the pictures of a
frame in place.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hdrvid.errors import InputError
from hdrvid.evaluate.samples import Sample
from hdrvid.evaluate.tables import time_text
from hdrvid.html.evaluation_plot import ScenePlot, scene_plot
from hdrvid.html.evaluation_tables import (
    EvaluatedModel,
    ScoreTable,
    evaluated_models,
    exposure_table,
    first_measure,
    frame_table,
    measure_digits,
    measure_of,
    scene_table,
    score_text,
    table_note,
)
from hdrvid.html.evaluation_times import seconds_of, times_plot
from hdrvid.html.page import counted, data_uri, number, render
from hdrvid.html.picture_key import KeyEntry, error_entry, flow_entry, weights_entry

MAX_LOSSLESS_BYTES = 64_000_000
"""Pictures of more bytes than this together are embedded as lossy WebP, or a browser would not open the page."""
WEBP_QUALITY = 88
"""About a tenth of the PNG."""
MAX_OPEN_SCENES = 12
"""With more scenes than this every scene is folded."""
MAX_LISTED_FAILURES = 20
"""Failures beyond these are folded."""


def report_html(results: Mapping[str, Any], samples: Sequence[Sample]) -> str:
    """The page, from what `results.json` holds and the frames to be shown.

    `spread`, `seconds`, `machine`, `date`, `warnings` and `failures` may be missing from the results. Raises InputError
    where a picture of a sample cannot be read.
    """
    models = evaluated_models(results)
    untimed = [m.name for m in models if seconds_of(m, results) is None]
    names, scenes = list(results["overall"]), list(results["scenes"])
    embedder = _PictureEmbedder(samples)
    return render(
        "evaluation.html.j2",
        dataset=results["dataset"],
        model=models[0].name,
        protocol=results["protocol"],
        failures=[_failure_line(f) for f in results.get("failures") or ()],
        max_failures=MAX_LISTED_FAILURES,
        warnings=[("", text) for text in results.get("warnings") or ()],
        made=_made(results),
        times=times_plot("times", models, results),
        untimed=untimed,
        scores=exposure_table(models, names),
        scores_note=table_note(models, names),
        models=[_model_row(m, results) for m in models],
        scene_scores=scene_table(models, names, scenes),
        key=_picture_key(samples, embedder.lossy),
        scenes=[
            _scene_section(i, scene, models, names, [s for s in samples if s.scene == scene], embedder)
            for i, scene in enumerate(scenes)
        ],
        folded=len(scenes) > MAX_OPEN_SCENES,
    )


def _failure_line(failure: Mapping[str, Any]) -> tuple[str, str]:
    """Where it failed, and why."""
    scene, frame = failure.get("scene"), failure.get("frame")
    place = [str(scene)] * (scene is not None) + [f"frame {frame}"] * (frame is not None)
    return ", ".join(place), str(failure.get("error", ""))


def _made(results: Mapping[str, Any]) -> str:
    """When, on which machine and with which versions; empty where the results do not say."""
    machine, versions = results.get("machine") or {}, results.get("versions") or {}
    parts = [str(results.get("date") or "")]
    if machine:
        parts.append(
            f"{machine['gpu'] or machine['cpu']}, {counted(machine['threads'], 'thread')} of {machine['cores']} cores"
        )
    parts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    return " · ".join(filter(None, parts))


@dataclass(frozen=True)
class _ModelRow:
    """A model in the table of models."""

    name: str
    kind: str
    milliseconds: str
    """Time of a frame."""
    provenance: Mapping[str, Any]
    checksum: str
    """The beginning of its SHA-256; empty where it has none."""


def _model_row(model: EvaluatedModel, results: Mapping[str, Any]) -> _ModelRow:
    seconds = seconds_of(model, results)
    time = time_text(None if seconds is None else 1000 * seconds, "–")
    return _ModelRow(model.name, model.role, time, model.provenance, str(model.provenance.get("sha256", ""))[:12])


# ---- pictures --------------------------------------------------------------------------------------------------------


class _PictureEmbedder:
    """Pictures as data URIs: PNG as they are, or lossy where there are too many of them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        sizes = (path.stat().st_size for s in samples for path in s.images.values() if path.is_file())
        self.lossy = sum(sizes) > MAX_LOSSLESS_BYTES

    def picture(self, path: Path) -> tuple[str, int, int]:
        """The URI, width and height of a PNG file. Raises InputError."""
        try:
            data = path.read_bytes()
            if data[:8] != b"\x89PNG\r\n\x1a\n":
                raise ValueError("not a PNG file")
            width, height = struct.unpack(">II", data[16:24])
        except (OSError, ValueError, struct.error) as error:
            raise InputError(f"picture {path} cannot be read ({error}): run hdrvid eval again") from error
        if self.lossy:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if decoded is None:
                raise InputError(f"picture {path} is damaged: run hdrvid eval again")
            data = cv2.imencode(".webp", decoded, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])[1].tobytes()
        return data_uri(data, "webp" if self.lossy else "png"), width, height


def _picture_key(samples: Sequence[Sample], lossy: bool) -> list[KeyEntry]:
    """Entries of those kinds of pictures that the samples have."""
    titles = {title for s in samples for title in s.images}
    if not titles:
        return []
    text = (
        "The frame as the camera coded it. Results and truth: one display transform for all of them. "
        "A picture is enlarged by a click, without smoothing; ← → then switch in place."
    )
    entries = [KeyEntry("input", text)]
    if lossy:
        entries.append(KeyEntry("quality", f"Pictures are compressed with loss (WebP, quality {WEBP_QUALITY})."))
    if any(t.startswith("error") for t in titles):
        entries.append(error_entry())
    if any(t.startswith("flow") for t in titles):
        entries.append(flow_entry())
    if "blend weights" in titles:
        entries.append(weights_entry())
    return entries


# ---- scenes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Image:
    """A picture of a sample."""

    title: str
    uri: str
    width: int
    height: int
    score: str
    """Score of the model that it shows."""


@dataclass(frozen=True)
class _SampleView:
    """A frame with its pictures, one of which can be enlarged, and its scores."""

    key: str
    """Prefix of its ids."""
    sample: Sample
    images: tuple[_Image, ...]
    table: ScoreTable | None

    @property
    def width(self) -> int:
        return max((i.width for i in self.images), default=1)

    @property
    def height(self) -> int:
        return max((i.height for i in self.images), default=1)


@dataclass(frozen=True)
class _SceneSection:
    """Plot and samples of a scene."""

    number: int
    name: str
    summary: str
    """Means of the models; empty where no frame has a score."""
    plot: ScenePlot | None
    samples: tuple[_SampleView, ...]


def _scene_section(
    index: int,
    scene: str,
    models: Sequence[EvaluatedModel],
    names: Sequence[str],
    samples: Sequence[Sample],
    embedder: _PictureEmbedder,
) -> _SceneSection:
    lead = first_measure(names, [m.frames(scene) for m in models])
    summary, plot = "", None
    if lead is not None:
        means = [(m.name, m.scene(scene).get("overall", {}).get(lead)) for m in models]
        figures = " · ".join(f"{model} {number(mean, measure_digits(lead))}" for model, mean in means)
        summary = f"{measure_of(lead).title}: {figures} {measure_of(lead).unit}"
        plot = scene_plot(f"plot-{index}", scene, models, lead)
    views = tuple(_sample_view(f"s{index}-{i}", s, names, embedder) for i, s in enumerate(samples))
    return _SceneSection(index, scene, summary, plot, views)


def _sample_view(key: str, sample: Sample, names: Sequence[str], embedder: _PictureEmbedder) -> _SampleView:
    lead = first_measure(names, [list(sample.scores.values())])
    images = []
    for title, path in sample.images.items():
        scores = sample.scores.get(title.removeprefix("error of "))
        score = "" if scores is None or lead is None else score_text(scores.get(lead), lead)
        images.append(_Image(title, *embedder.picture(path), score))
    return _SampleView(key, sample, tuple(images), frame_table(sample.scores, names))
