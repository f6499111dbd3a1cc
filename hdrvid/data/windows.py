"""Training windows: moving HDR scenes rendered once to disk, exposed anew every time they are drawn.

A cache holds short HDR sequences (`NUM_FRAMES` frames) with the exact flow from the middle frame. Drawing a sample
picks a sequence, an exposure order, a scale, noise, a code, codec damage and a crop, all from a generator seeded with
(seed, index): sample `index` is the same on every machine and after every resume.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from hdrvid.data.scenes import Scene, picture_scene, procedural_scene
from hdrvid.data.synth import SynthesisOptions, expose, read_hdr_image
from hdrvid.errors import InputError
from hdrvid.models.alignment import DenseInverseSearch
from hdrvid.models.prior import candidates_and_prior

NUM_FRAMES = 5
MIDDLE = NUM_FRAMES // 2
NEIGHBOURS = tuple(t for t in range(NUM_FRAMES) if t != MIDDLE)
CACHE_LEVEL = 16.0
"""Cached radiance is scaled so that its 99.9th percentile is this: float16 then keeps 25 stops below it."""
PROCEDURAL = "procedural"
VALIDATION_CAMERA = SynthesisOptions(read_noise=1.5e-3, full_well=8000.0)


@dataclass(frozen=True)
class CacheOptions:
    """What a cache of rendered windows holds."""

    count: int
    """Windows."""
    size: int
    """Side of a window in pixels."""
    seed: int
    """Seed of the scenes."""
    sources: tuple[str, ...]
    """HDR pictures (2:1 ones are panoramas), and PROCEDURAL for hdrvid's own scenes; drawn with equal chance."""
    procedural_share: float
    """Share of the windows made from nothing."""


def find_hdr_images(roots: Sequence[Path], hold_out: Sequence[str] = ()) -> tuple[str, ...]:
    """Every .exr and .hdr picture below the roots, sorted, without the stems in `hold_out`.

    Raises InputError for a root that is missing or holds none.
    """
    found: list[str] = []
    for root in roots:
        if not root.exists():
            raise InputError(f"training data folder {root} does not exist: give --data a folder of .exr or .hdr files")
        files = [root] if root.is_file() else root.rglob("*")
        paths = sorted(p for p in files if p.suffix.lower() in (".exr", ".hdr"))
        if not paths:
            raise InputError(f"{root} holds no .exr or .hdr pictures: give --data a folder of HDR frames or panoramas")
        found += [str(p) for p in paths if p.stem not in set(hold_out)]
    return tuple(found)


def scene_from(
    path: str,
    seed: int,
    width: int,
    height: int,
    num_frames: int,
    *,
    motion: float = 1.0,
    others: Sequence[np.ndarray] = (),
) -> Scene:
    """A scene from an HDR picture (a panorama when it is twice as wide as high, else a still) or from nothing."""
    if path == PROCEDURAL:
        return procedural_scene(seed, width, height, num_frames, motion=motion)
    image = read_hdr_image(Path(path))
    return picture_scene(image, seed, width, height, num_frames, motion=motion, object_sources=others)


def _render(job: tuple[CacheOptions, int]) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    options, index = job
    rng = np.random.default_rng([options.seed, index])
    pictures = [s for s in options.sources if s != PROCEDURAL]
    own = not pictures or rng.random() < options.procedural_share
    path = PROCEDURAL if own else pictures[rng.integers(len(pictures))]
    others = (
        [read_hdr_image(Path(pictures[rng.integers(len(pictures))]))]
        if pictures and not own and rng.random() < 0.5
        else []
    )
    motion = float(np.exp(rng.uniform(np.log(0.4), np.log(5.0))))
    scene = scene_from(
        path, options.seed * 1_000_003 + index, options.size, options.size, NUM_FRAMES, motion=motion, others=others
    )
    frames = np.stack([scene.render(t) for t in range(NUM_FRAMES)])
    level = float(np.percentile(frames[MIDDLE].max(-1), 99.9))
    frames *= CACHE_LEVEL / max(level, 1e-12)
    flow = np.stack([scene.flow(MIDDLE, t) for t in NEIGHBOURS])
    visible = np.stack([scene.visible(MIDDLE, t) for t in NEIGHBOURS])
    return (
        index,
        np.clip(frames, 0, 60000).astype(np.float16).transpose(0, 3, 1, 2),
        np.clip(flow, -1e4, 1e4).astype(np.float16).transpose(0, 3, 1, 2),
        visible.astype(np.uint8),
    )


def build_cache(
    folder: Path, options: CacheOptions, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> None:
    """Render the windows into `folder`; one that holds the same windows already is kept, an unfinished one goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    n, s, k = options.count, options.size, len(NEIGHBOURS)
    meta_path = folder / "cache.json"
    wanted = json.loads(json.dumps(asdict(options)))
    done_path = folder / "done.npy"
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "radiance": ((n, NUM_FRAMES, 3, s, s), np.float16),
        "flow": ((n, k, 2, s, s), np.float16),
        "visible": ((n, k, s, s), np.uint8),
        "done": ((n,), np.uint8),
    }
    fresh = not meta_path.exists() or json.loads(meta_path.read_text()) != wanted or not done_path.exists()
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy",
            mode="w+" if fresh else "r+",
            dtype=dtype if fresh else None,
            shape=shape if fresh else None,
        )
        for name, (shape, dtype) in shapes.items()
    }
    if fresh:
        meta_path.write_text(json.dumps(wanted))
    missing = [i for i in range(n) if not arrays["done"][i]]
    if not missing:
        return
    jobs = ((options, i) for i in missing)
    context = multiprocessing.get_context("spawn")
    finished = n - len(missing)
    with context.Pool(workers, initializer=_quiet_worker) as pool:
        for index, radiance, flow, visible in pool.imap_unordered(_render, jobs, chunksize=4):
            arrays["radiance"][index], arrays["flow"][index], arrays["visible"][index] = radiance, flow, visible
            arrays["done"][index] = 1
            finished += 1
            if progress:
                progress(finished, n)
    for array in arrays.values():
        array.flush()


def _quiet_worker() -> None:
    import cv2

    cv2.setNumThreads(1)
    os.nice(5)


@dataclass(frozen=True)
class SampleOptions:
    """How cached windows become training samples."""

    num_exposures: int = 2
    """2 or 3."""
    crop: int = 128
    """Side of a sample in pixels."""
    context: int = 32
    """Pixels around the crop that the classical flow sees too."""
    seed: int = 0
    """Seed of everything random."""
    augment: bool = True
    """Flips, colours, stops, noise and codec damage at random; False for validation: 3 (or 2) stops, 8 bits."""
    prior: bool = True
    """Give aligned candidates and prior weights (preset 'default') instead of frames with exact flow ('memo')."""


class TrainingWindows(Dataset):
    """Samples drawn from a cache; item `i` depends on (seed, i) alone.

    With `prior`: codes, radiance (C, 3, h, w), prior (C, 1, h, w), truth (3, h, w).
    Without: ldr (W, 3, h, w), exposures (W,), truth (W, 3, h, w), flow (K, 2, h, w), visible (K, h, w).
    """

    def __init__(self, folder: Path, options: SampleOptions, length: int) -> None:
        self.options = options
        self.length = length
        self.folder = folder
        self._arrays: dict[str, np.ndarray] | None = None
        self._dis: DenseInverseSearch | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        o = self.options
        if self._arrays is None:
            self._arrays = {
                n: np.load(self.folder / f"{n}.npy", mmap_mode="r") for n in ("radiance", "flow", "visible")
            }
        rng = np.random.default_rng([o.seed, index])
        radiance = self._arrays["radiance"]
        n = int(rng.integers(len(radiance))) if o.augment else index % len(radiance)
        radius = o.num_exposures - 1
        centre = MIDDLE
        if o.num_exposures == 2 and o.prior and o.augment:  # exact flow is from the middle only
            centre = int(rng.integers(1, NUM_FRAMES - 1))
        times = list(range(centre - radius, centre + radius + 1))
        if o.augment and rng.random() < 0.5:
            times.reverse()
        size = radiance.shape[-1]
        side = min(o.crop + (o.context if o.prior else 0), size)
        top, left = (int(v) for v in rng.integers(0, size - side + 1, 2)) if o.augment else ((size - side) // 2,) * 2
        window = (slice(top, top + side), slice(left, left + side))
        frames = radiance[n][(times, slice(None), *window)].astype(np.float32)
        flow = visible = None
        if not o.prior:
            picks = [NEIGHBOURS.index(t) for t in times if t != centre]
            flow = self._arrays["flow"][n][(picks, slice(None), *window)].astype(np.float32)
            visible = self._arrays["visible"][n][(picks, *window)].astype(np.float32)
        if o.augment:
            frames, flow, visible = _flip(rng, frames, flow, visible)
            frames = frames[:, rng.permutation(3)] * rng.uniform(0.8, 1.25, (3, 1, 1)).astype(np.float32)
        percentile = rng.uniform(96.0, 99.97) if o.augment else 99.5
        peak = float(np.percentile(frames[len(frames) // 2].max(0), percentile))
        frames = frames / max(peak, 1e-6)
        step = float(rng.choice([1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0, 3.5, 4.0])) if o.augment else 3.0
        if o.num_exposures == 3:
            step = float(rng.choice([1.0, 1.5, 2.0, 2.0, 2.0, 2.5])) if o.augment else 2.0
        phase = int(rng.integers(o.num_exposures)) if o.augment else index % o.num_exposures
        order = rng.permutation(o.num_exposures) if o.augment and o.num_exposures == 3 else np.arange(o.num_exposures)
        exposures = np.array(
            [2.0 ** (step * order[(phase + i) % o.num_exposures]) for i in range(len(times))], np.float32
        )
        synthesis = _random_camera(rng) if o.augment else VALIDATION_CAMERA
        truth = np.clip(frames, 0.0, 1.0)
        ldr = np.stack(
            [
                expose(np.ascontiguousarray(f.transpose(1, 2, 0)), float(e), rng, synthesis)
                for f, e in zip(frames, exposures, strict=True)
            ]
        )
        if o.prior:
            return self._prior_sample(ldr, exposures, truth, rng)
        assert flow is not None
        assert visible is not None
        return {
            "ldr": torch.from_numpy(np.ascontiguousarray(ldr.transpose(0, 3, 1, 2))),
            "exposures": torch.from_numpy(exposures),
            "truth": torch.from_numpy(np.ascontiguousarray(truth)),
            "flow": torch.from_numpy(np.ascontiguousarray(flow)),
            "visible": torch.from_numpy(np.ascontiguousarray(visible)),
        }

    def _prior_sample(
        self, ldr: np.ndarray, exposures: np.ndarray, truth: np.ndarray, rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        if self._dis is None:
            self._dis = DenseInverseSearch()
        frames = [np.ascontiguousarray(f) for f in ldr]
        forward, backward = self._dis.window(frames, [float(e) for e in exposures])
        stack = torch.from_numpy(np.ascontiguousarray(ldr.transpose(0, 3, 1, 2)))[None]
        flows, back = (
            torch.from_numpy(np.ascontiguousarray(f.transpose(0, 3, 1, 2)))[None] for f in (forward, backward)
        )
        codes, radiance, prior = candidates_and_prior(stack, torch.from_numpy(exposures)[None], flows, back)
        side, crop = ldr.shape[1], min(self.options.crop, ldr.shape[1])
        free = side - crop
        y, x = (int(v) for v in rng.integers(0, free + 1, 2)) if self.options.augment else (free // 2, free // 2)
        part = (..., slice(y, y + crop), slice(x, x + crop))
        return {
            "codes": codes[0][part].contiguous(),
            "radiance": radiance[0][part].contiguous(),
            "prior": prior[0][part].contiguous(),
            "truth": torch.from_numpy(np.ascontiguousarray(truth[len(truth) // 2][part])),
        }


def _random_camera(rng: np.random.Generator) -> SynthesisOptions:
    """One camera: clean or noisy, 8 or 10 bit, with or without codec damage."""
    damaged = rng.random() < 0.25
    return SynthesisOptions(
        read_noise=float(np.exp(rng.uniform(np.log(2e-4), np.log(3e-3)))),
        full_well=float(np.exp(rng.uniform(np.log(2000), np.log(40000)))),
        bits=int(rng.choice([8, 8, 10])),
        jpeg_quality=int(rng.integers(75, 98)) if damaged else None,
        gamma_jitter=float(rng.normal(0, 0.03)) if rng.random() < 0.15 else 0.0,
    )


def _flip(
    rng: np.random.Generator, frames: np.ndarray, flow: np.ndarray | None, visible: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Mirror and transpose frames (T, 3, H, W), flow (K, 2, H, W) and visibility (K, H, W) together."""
    for axis, channel in ((-1, 0), (-2, 1)):
        if rng.random() < 0.5:
            frames = np.flip(frames, axis)
            if flow is not None and visible is not None:
                flow, visible = np.flip(flow, axis).copy(), np.flip(visible, axis)
                flow[:, channel] *= -1
    if rng.random() < 0.5:
        frames = np.swapaxes(frames, -1, -2)
        if flow is not None and visible is not None:
            flow, visible = np.swapaxes(flow, -1, -2)[:, ::-1], np.swapaxes(visible, -1, -2)
    return frames, flow, visible
