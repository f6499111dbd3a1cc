"""Scores of models on datasets with known radiance: per frame, per exposure class, per scene, overall.

The dataset `synthetic` is made on the spot, from hdrvid's own scenes or from a folder of HDR pictures, and needs no
download. Its protocol, printed with every score, is all that is needed to repeat it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdrvid import __version__, metrics
from hdrvid.data.camera import SynthesisOptions
from hdrvid.data.scenes import Scene
from hdrvid.data.synth import SyntheticClip, synthesise
from hdrvid.data.windows import PROCEDURAL, find_hdr_images, scene_from
from hdrvid.errors import UsageError
from hdrvid.io.atomic import atomic_path
from hdrvid.radiance import mu_law
from hdrvid.types import ExposureCycle, Reconstructor, Window
from hdrvid.warp import warp
from hdrvid.weights import load_reconstructor

METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "psnr_t": metrics.psnr_t,
    "psnr_l": metrics.psnr_l,
    "ssim_t": metrics.ssim_t,
    "ssim_l": metrics.ssim_l,
}
"""Measures by the name that `--metrics` takes: PSNR in dB, SSIM in 0..1, of estimate and truth."""

ALIGNMENT = ("alignment", "alignment_clipped", "alignment_occluded")
"""Measures of the flow that `--metrics` takes too: PSNR-T in dB of the neighbours' truth warped to the reference."""
CLIPPED_CODE = 0.98
"""A pixel of the reference clips where its brightest channel has this code or more."""
MIN_REGION_PIXELS = 64
"""A region smaller than this (pixels of all neighbours of a frame together) has no score."""
MAX_ALIGNMENT_DB = 100.0
"""Score of perfect alignment, as in a region that is white in every frame: an infinite one would spoil the means."""

BASELINES = ("reference", "classical")
"""What `--baselines` scores beside the model: the reference frame alone, and the OpenCV pipeline."""

DEFAULT_STOPS = {2: (0.0, 3.0), 3: (0.0, 2.0, 4.0)}
SCENE_SEED = 90_000
"""Own scenes of the dataset have the seeds SCENE_SEED, SCENE_SEED + 1, ...; training never uses them."""

Scores = dict[str, float | None]
"""A measure that does not apply (a region that is not there, a model without flow) is None and not part of a mean."""


@dataclass(frozen=True)
class SyntheticOptions:
    """The dataset `synthetic`."""

    cycle: ExposureCycle
    """Exposures, beginning with frame 0."""
    num_scenes: int = 12
    """Own scenes; where `root` is given, one clip of every picture in it instead."""
    num_frames: int = 8
    """Frames a clip; all of them are scored."""
    width: int = 448
    """Pixels."""
    height: int = 256
    """Pixels."""
    motion: float = 2.0
    """Factor on the speeds of camera and objects."""
    camera: SynthesisOptions = SynthesisOptions(  # noqa: RUF009 - frozen
        clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8
    )
    """The camera that films the scenes."""
    root: Path | None = None
    """Folder of HDR pictures and panoramas; None: own scenes."""

    def protocol(self) -> str:
        """The line that makes a score reproducible."""
        source = f"pictures of {self.root.name}" if self.root else f"own scenes {SCENE_SEED}+"
        c = self.camera
        return (
            f"hdrvid {__version__} synthetic: {source}, {self.width}x{self.height}, {self.num_frames} frames, "
            f"stops {self.cycle}, motion {self.motion:g}, clipping at percentile {c.clip_percentile}, read noise "
            f"{c.read_noise}, full well {c.full_well}, {c.bits} bit"
            + (f", JPEG {c.jpeg_quality}" if c.jpeg_quality else "")
            + (f", H.264 CRF {c.h264_crf:g} {c.h264_preset}" if isinstance(c.h264_crf, (int, float)) else "")
            + "; every frame scored, radiance clipped to [0, 1] (1 = shortest exposure clips), mu = 5000, stops given"
        )

    def clips(self) -> Iterator[tuple[str, SyntheticClip, Scene]]:
        """Name and clip of every scene and the scene itself, one at a time."""
        if self.root is not None:
            scenes = [(Path(p).stem, p) for p in find_hdr_images([self.root])]
        else:
            scenes = [(f"scene_{SCENE_SEED + i}", PROCEDURAL) for i in range(self.num_scenes)]
        for i, (name, path) in enumerate(scenes):
            seed = SCENE_SEED + i
            scene = scene_from(path, seed, self.width, self.height, self.num_frames, motion=self.motion)
            yield name, synthesise(scene, self.cycle, self.num_frames, seed, self.camera), scene


@dataclass(frozen=True)
class FrameResult:
    """One frame of one clip, for callers that look at pictures."""

    scene: str
    """Name of the clip."""
    index: int
    """Frame."""
    model: str
    """Name of the model."""
    ldr: np.ndarray
    """(H, W, 3) the reference frame, network code."""
    estimate: np.ndarray
    """(H, W, 3) radiance."""
    truth: np.ndarray
    """(H, W, 3) radiance, clipped to [0, 1]."""
    scores: Scores
    """The measures asked for."""


def window_of(clip: SyntheticClip, index: int) -> Window:
    """The window around frame `index` of a clip in memory."""
    indices = clip.cycle.window_indices(index, len(clip.ldr))
    return Window(index, tuple(clip.ldr[i] for i in indices), tuple(clip.cycle.exposure_at(i) for i in indices))


def checked_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The names, or a UsageError that lists those there are."""
    known = (*METRICS, *ALIGNMENT)
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        raise UsageError(f"unknown metric '{', '.join(unknown)}': --metrics takes {', '.join(known)}")
    return tuple(names)


def alignment_scores(
    flow_px: np.ndarray,
    truth: np.ndarray,
    neighbours: Sequence[np.ndarray],
    ldr: np.ndarray,
    visible: np.ndarray | None = None,
) -> Scores:
    """How well flow brings the neighbours to the reference: the ALIGNMENT measures, in dB or None.

    PSNR after the mu-law, radiance clipped to [0, 1], the squared error averaged over the region's pixels of all
    neighbours together: everywhere; where the reference clips; where what the reference shows is hidden in the
    neighbour (no flow is right there: the score says how harmless the choice is).
    `flow_px` (K, H, W, 2) backward flow in pixels, `truth` (H, W, 3) and K `neighbours` radiance, `ldr` (H, W, 3) the
    reference's code, `visible` (K, H, W) bool exact visibility of the reference's pixels in each neighbour.
    """

    def tone(radiance: np.ndarray) -> torch.Tensor:
        return mu_law(torch.from_numpy(np.clip(radiance, 0.0, 1.0)).permute(2, 0, 1))

    flows = torch.from_numpy(np.ascontiguousarray(flow_px, np.float32)).permute(0, 3, 1, 2)
    warped = warp(torch.stack([tone(n) for n in neighbours]), flows)
    error = (warped - tone(truth)).square().mean(1).double().numpy()
    regions = {
        "alignment": np.ones(error.shape, bool),
        "alignment_clipped": np.broadcast_to(ldr.max(-1) >= CLIPPED_CODE, error.shape),
        "alignment_occluded": np.zeros(error.shape, bool) if visible is None else ~visible,
    }
    return {name: _region_psnr(error[region]) for name, region in regions.items()}


def _region_psnr(squared_errors: np.ndarray) -> float | None:
    if squared_errors.size < MIN_REGION_PIXELS:
        return None
    mean = max(float(squared_errors.mean()), 10 ** (-MAX_ALIGNMENT_DB / 10))
    return float(-10 * np.log10(mean))


def evaluate(
    options: SyntheticOptions,
    model: str = "default",
    *,
    baselines: bool = False,
    metric_names: Sequence[str] = ("psnr_t", "psnr_l", "ssim_t", "ssim_l"),
    device: str = "auto",
    precision: str = "auto",
    on_frame: Callable[[FrameResult], None] | None = None,
    on_progress: Callable[[int, str], None] | None = None,
) -> dict[str, Any]:
    """Score `model`, and the baselines beside it, on the dataset. Returns what `results.json` holds.

    `on_frame` sees every reconstructed frame; `on_progress` is told frames done and the scene.
    """
    names = checked_metrics(metric_names)
    n = len(options.cycle)
    models: dict[str, Reconstructor] = {model: load_reconstructor(model, n, device=device, precision=precision)}
    if baselines:
        models |= {b: load_reconstructor(b, n, device=device) for b in BASELINES if b != model}
    collected: dict[str, dict[str, list[tuple[str, Scores]]]] = {m: {} for m in models}
    done = 0
    aligned = any(n in ALIGNMENT for n in names)
    for scene_name, clip, scene in options.clips():
        truth = [np.clip(t, 0.0, 1.0) for t in clip.truth]
        for index in range(len(truth)):
            window = window_of(clip, index)
            middle = len(window.frames) // 2
            others = [t for i, t in enumerate(clip.cycle.window_indices(index, len(truth))) if i != middle]
            visible = np.stack([scene.visible(index, t) for t in others]) if "alignment_occluded" in names else None
            for name, reconstructor in models.items():
                result = reconstructor.reconstruct(window, diagnostics=aligned)
                estimate = np.clip(result.radiance, 0.0, 1.0)
                scores: Scores = {m: METRICS[m](estimate, truth[index]) if m in METRICS else None for m in names}
                if aligned and result.flow_px is not None:
                    of_flow = alignment_scores(
                        result.flow_px, truth[index], [truth[t] for t in others], window.reference, visible
                    )
                    scores |= {m: of_flow[m] for m in names if m in ALIGNMENT}
                collected[name].setdefault(scene_name, []).append((clip.cycle.class_at(index), scores))
                if on_frame:
                    on_frame(FrameResult(scene_name, index, name, clip.ldr[index], estimate, truth[index], scores))
            done += 1
            if on_progress:
                on_progress(done, scene_name)
    tables = {name: _table(scenes) for name, scenes in collected.items()}
    return {
        "dataset": "synthetic",
        "protocol": options.protocol(),
        "model": {"name": models[model].name, **models[model].provenance},
        **tables[model],
        "baselines": {name: tables[name] for name in models if name != model},
    }


def _table(scenes: dict[str, list[tuple[str, Scores]]]) -> dict[str, Any]:
    frames = [f for scene in scenes.values() for f in scene]
    classes = [c for c in ("short", "middle", "long") if any(f[0] == c for f in frames)]
    return {
        "overall": _mean([s for _, s in frames]),
        "by_exposure": {c: _mean([s for k, s in frames if k == c]) for c in classes},
        "scenes": {
            name: {
                "overall": _mean([s for _, s in scene]),
                "frames": [{"index": i, "exposure": c, **s} for i, (c, s) in enumerate(scene)],
            }
            for name, scene in scenes.items()
        },
    }


def _mean(scores: Sequence[Scores]) -> Scores:
    values = {m: [v for s in scores if (v := s[m]) is not None] for m in scores[0]}
    return {m: float(np.mean(v)) if v else None for m, v in values.items()}


def write_results(folder: Path, results: dict[str, Any]) -> list[Path]:
    """Write `results.json` and `results.csv` (one row a model, scene and frame) into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    everything = {results["model"]["name"]: results, **results["baselines"]}
    measures = list(results["overall"])
    writer = csv.writer(table)
    writer.writerow(["model", "scene", "frame", "exposure", *measures])
    for model, result in everything.items():
        for scene, entry in result["scenes"].items():
            for frame in entry["frames"]:
                values = ["" if frame[m] is None else f"{frame[m]:.6f}" for m in measures]
                writer.writerow([model, scene, frame["index"], frame["exposure"], *values])
    written = []
    for name, text in (("results.json", json.dumps(results, indent=2)), ("results.csv", table.getvalue())):
        with atomic_path(folder / name) as path:
            path.write_text(text)
        written.append(folder / name)
    return written
