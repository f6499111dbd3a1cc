"""The measures by the names that `--metrics` takes, and the scoring of one scene, frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from hdrvid.color.radiance import mu_law, radiance_from_ldr
from hdrvid.data.benchmarks import EvalClip
from hdrvid.errors import ModelError, UsageError
from hdrvid.evaluate.protocols import Protocol
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.metrics import psnr_l, psnr_t, ssim
from hdrvid.metrics.color_video_vdp import cvvdp_jod
from hdrvid.metrics.hdr_vdp import HdrVdp2
from hdrvid.metrics.hdr_vqm import HdrVqm, subbands
from hdrvid.metrics.pu21 import pu21_psnr
from hdrvid.metrics.temporal import flicker, reexposure_psnr, seen_in_both, tone_change, well_exposed
from hdrvid.picture_warp import warp_picture
from hdrvid.types import Reconstruction, Window
from hdrvid.warp import warp

Scores = dict[str, float | None]
"""A measure that does not apply (a region that is not there, a model without flow) is None and not part of a mean."""

MAX_DB = 100.0
"""Score in dB of perfect agreement: an infinite one would spoil the means and is not JSON."""
CLIPPED_CODE = 0.98
"""A pixel of the reference clips where its brightest channel has this code or more."""
MIN_REGION_PIXELS = 64
"""A region smaller than this (pixels of all neighbours of a frame together) has no score."""
FRAMES_PER_SECOND = 25.0
"""Frame rate at which the measures of whole clips take the frames to be shown; benchmarks carry none."""
CVVDP_FRAMES = 10
"""ColorVideoVDP looks at so many frames at most, from the middle of a clip: it takes seconds for each."""


@dataclass(frozen=True)
class Measure:
    """What a figure means."""

    name: str
    """In `--metrics` and in every file."""
    title: str
    """For people."""
    unit: str = ""
    """'dB', '%', ... or nothing."""
    larger_is_better: bool = True
    """Else smaller is better."""
    needs_truth: bool = True
    """Not to be had on a dataset without ground truth."""
    of_clip: bool = False
    """One figure a clip, none a frame."""
    by_default: bool = True
    """Measured when `--metrics` is not given."""


MEASURES = {
    m.name: m
    for m in (
        Measure("psnr_t", "PSNR-T", "dB"),
        Measure("ssim_t", "SSIM-T"),
        Measure("psnr_l", "PSNR-L", "dB"),
        Measure("ssim_l", "SSIM-L"),
        Measure("pu21_psnr", "PU21-PSNR", "dB"),
        Measure("hdr_vdp_2", "HDR-VDP-2.2 Q"),
        Measure("hdr_vqm", "HDR-VQM", "%", of_clip=True),
        Measure("cvvdp", "ColorVideoVDP", "JOD", of_clip=True, by_default=False),
        Measure("flicker", "flicker", larger_is_better=False, needs_truth=False),
        Measure("reexposure", "re-exposure PSNR", "dB", needs_truth=False, by_default=False),
        Measure("alignment", "alignment", "dB", by_default=False),
        Measure("alignment_clipped", "alignment, clipped", "dB", by_default=False),
        Measure("alignment_occluded", "alignment, occluded", "dB", by_default=False),
    )
}
"""Every measure, in the order of the tables."""

ALIGNMENT = tuple(name for name in MEASURES if name.startswith("alignment"))
"""Measures of the flow: PSNR-T in dB of the neighbours' truth warped to the reference."""


def checked_measures(names: Sequence[str] | None, has_truth: bool = True) -> tuple[str, ...]:
    """The measures asked for; `None`: those that fit the dataset; 'all': every one that does.

    Raises UsageError for a name that is not known or that needs a ground truth that is not there.
    """
    available = [m for m in MEASURES.values() if has_truth or not m.needs_truth]
    if names is None:
        return tuple(m.name for m in available if m.by_default or not has_truth)
    if list(names) == ["all"]:
        return tuple(m.name for m in available)
    unknown = [n for n in names if n not in MEASURES]
    if unknown or not names:
        raise UsageError(f"unknown metric '{', '.join(unknown)}': --metrics takes all, {', '.join(MEASURES)}")
    unfit = [n for n in names if MEASURES[n] not in available]
    if unfit:
        raise UsageError(
            f"{', '.join(unfit)} needs ground truth, which this dataset does not have: "
            f"use --metrics {','.join(m.name for m in available)}"
        )
    return tuple(dict.fromkeys(names))


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
    moved = warp(torch.stack([tone(n) for n in neighbours]), flows)
    error = (moved - tone(truth)).square().mean(1).double().numpy()
    regions = {
        "alignment": np.ones(error.shape, bool),
        "alignment_clipped": np.broadcast_to(ldr.max(-1) >= CLIPPED_CODE, error.shape),
        "alignment_occluded": np.zeros(error.shape, bool) if visible is None else ~visible,
    }
    return {name: _region_psnr(error[region]) for name, region in regions.items()}


def _region_psnr(squared_errors: np.ndarray) -> float | None:
    if squared_errors.size < MIN_REGION_PIXELS:
        return None
    mean = max(float(squared_errors.mean()), 10 ** (-MAX_DB / 10))
    return float(-10 * np.log10(mean))


class SceneScorer:
    """Scores the frames of one scene, in rising order, for several models at once.

    Truth, flow and everything else that does not depend on the model is made once a frame. The models run beside
    one another on `workers` threads.
    """

    def __init__(
        self,
        clip: EvalClip,
        read: Callable[[int], np.ndarray],
        read_truth: Callable[[int], np.ndarray | None],
        names: Sequence[str],
        protocol: Protocol,
        models: Sequence[str],
        pool: ThreadPoolExecutor,
    ) -> None:
        self.clip, self.names, self.protocol, self.models = clip, tuple(names), protocol, tuple(models)
        self._read, self._read_truth, self._pool = read, read_truth, pool
        self._dis = DenseInverseSearch()
        self._previous: dict[str, np.ndarray] = {}
        self._last_index: int | None = None
        self._unbroken = True
        self._vqm = {m: HdrVqm(FRAMES_PER_SECOND) for m in models} if "hdr_vqm" in names else {}
        middle = len(clip.scored) // 2
        first = max(0, middle - CVVDP_FRAMES // 2)
        self._sampled = set(clip.scored[first : first + CVVDP_FRAMES]) if "cvvdp" in names else set()
        self._kept: dict[str, list[np.ndarray]] = {}

    @property
    def wants_flow(self) -> bool:
        """Whether `add` needs the flow of the models."""
        return any(n in ALIGNMENT for n in self.names)

    def add(self, window: Window, results: Mapping[str, Reconstruction]) -> dict[str, tuple[np.ndarray, Scores]]:
        """What is scored of a frame, and its scores, by model.

        Raises InputError where the truth or a neighbour is damaged, ModelError for radiance that is not finite.
        """
        index = window.index
        truth = self._read_truth(index)
        if truth is None and any(MEASURES[n].needs_truth for n in self.names):
            raise ModelError(f"frame {index} of {self.clip.name} has no ground truth")
        exposure, label = self.clip.cycle.exposure_at(index), self.clip.cycle.class_at(index)
        estimates = {}
        for name, result in results.items():
            if not np.isfinite(result.radiance).all():
                raise ModelError(f"model '{name}' gave radiance that is not finite")
            estimates[name] = self.protocol.scored_estimate(result.radiance, window.reference, exposure, label)
        follows = self._last_index == index - 1
        change = self._expected_change(index, truth) if "flicker" in self.names and follows else None
        views = self._views(window) if "reexposure" in self.names else None
        others = self._neighbour_truth(window) if self.wants_flow else None
        vdp = HdrVdp2(truth) if "hdr_vdp_2" in self.names and truth is not None else None
        bands = subbands(truth) if self._vqm and truth is not None else None

        def of_model(name: str) -> Scores:
            estimate, result = estimates[name], results[name]
            scores: Scores = dict.fromkeys(n for n in self.names if not MEASURES[n].of_clip)
            if truth is not None:
                scores |= self._fidelity(estimate, truth, vdp)
                if bands is not None:
                    self._vqm[name].add(estimate, bands)
                if index in self._sampled:
                    self._kept.setdefault(name, []).append(estimate)
            if change is not None:
                flow, expected, visible = change
                scores["flicker"] = flicker(tone_change(estimate, self._previous[name], flow), expected, visible)
            if views is not None:
                scores["reexposure"] = reexposure_psnr(estimate, *views)
            if others is not None and truth is not None and result.flow_px is not None:
                of_flow = alignment_scores(result.flow_px, truth, others[0], window.reference, others[1])
                scores |= {n: of_flow[n] for n in self.names if n in ALIGNMENT}
            return {n: None if v is None else _finite(v) for n, v in scores.items()}

        scored = dict(zip(results, self._pool.map(of_model, results), strict=True))
        if index in self._sampled and truth is not None:
            self._kept.setdefault("", []).append(truth)
        self._unbroken &= self._last_index is None or follows
        self._previous, self._last_index = estimates, index
        return {name: (estimates[name], scored[name]) for name in results}

    def clip_scores(self) -> dict[str, Scores]:
        """The measures of the whole clip, by model: None for a clip of which a frame could not be scored."""
        whole = self._unbroken and self._last_index == self.clip.scored[-1]
        of_clip = [n for n in self.names if MEASURES[n].of_clip]
        scores: dict[str, Scores] = {m: dict.fromkeys(of_clip) for m in self.models}
        for name in self.models if whole else ():
            if self._vqm:
                scores[name]["hdr_vqm"] = self._vqm[name].score()
            if self._kept:
                scores[name]["cvvdp"] = cvvdp_jod(self._kept[name], self._kept[""], FRAMES_PER_SECOND)
        return scores

    def _fidelity(self, estimate: np.ndarray, truth: np.ndarray, vdp: HdrVdp2 | None) -> Scores:
        def of(name: str) -> float:
            if name == "psnr_t":
                return psnr_t(estimate, truth)
            if name == "psnr_l":
                return psnr_l(estimate, truth)
            if name == "ssim_l":
                return ssim(estimate, truth, self.protocol.ssim_range(truth))
            if name == "ssim_t":
                tone = mu_law(truth.astype(np.float64))
                return ssim(mu_law(estimate.astype(np.float64)), tone, self.protocol.ssim_range(tone))
            if name == "pu21_psnr":
                return pu21_psnr(estimate, truth)
            assert vdp is not None
            return vdp.quality(estimate)

        fidelity = ("psnr_t", "psnr_l", "ssim_t", "ssim_l", "pu21_psnr", "hdr_vdp_2")
        return {name: of(name) for name in self.names if name in fidelity}

    def _expected_change(self, index: int, truth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Flow from a frame to the one before it, how the scene changed, and where both are known."""
        before = self._read_truth(index - 1) if truth is not None else None
        if truth is not None and before is not None:
            now, earlier = truth, before
            pictures = [np.asarray(mu_law(np.asarray(x, np.float32))) for x in (before, truth)]
            forward, backward = self._dis.window(pictures, (1.0, 1.0))
            return forward[0], tone_change(now, earlier, forward[0]), seen_in_both(forward[0], backward[0])
        codes = [self._read(index - 1), self._read(index)]
        exposures = [self.clip.cycle.exposure_at(i) for i in (index - 1, index)]
        forward, backward = self._dis.window(codes, exposures)
        earlier, now = (radiance_from_ldr(c, e) for c, e in zip(codes, exposures, strict=True))
        visible = seen_in_both(forward[0], backward[0]) & well_exposed(codes[1])
        visible &= warp_picture(well_exposed(codes[0]).astype(np.float32), forward[0]) > 0.99
        return forward[0], tone_change(now, earlier, forward[0]), visible

    def _views(self, window: Window) -> tuple[list[np.ndarray], Sequence[float], list[np.ndarray]]:
        """Codes of the window's frames aligned to the reference, their exposures, and where each is seen."""
        forward, backward = self._dis.window(window.frames, window.exposures)
        middle, codes, visible = len(window.frames) // 2, [], []
        flows = iter(zip(forward, backward, strict=True))
        for i, frame in enumerate(window.frames):
            if i == middle:
                codes.append(frame)
                visible.append(np.ones(frame.shape[:2], bool))
                continue
            flow_to, flow_from = next(flows)
            codes.append(warp_picture(frame, flow_to))
            visible.append(seen_in_both(flow_to, flow_from))
        return codes, window.exposures, visible

    def _neighbour_truth(self, window: Window) -> tuple[list[np.ndarray], np.ndarray | None] | None:
        indices = self.clip.cycle.window_indices(window.index, self.clip.num_frames)
        middle = len(indices) // 2
        others = [t for i, t in enumerate(indices) if i != middle]
        truths = [self._read_truth(t) for t in others]
        if any(t is None for t in truths):
            return None  # the first and last frames of a benchmark, whose neighbours have no truth
        visible = self.clip.visible(window.index, others) if "alignment_occluded" in self.names else None
        return [t for t in truths if t is not None], visible


def _finite(value: float) -> float:
    if math.isnan(value):
        raise ModelError("a measure is not a number: the radiance or the truth of the frame is damaged")
    return min(value, MAX_DB) if math.isinf(value) else value
