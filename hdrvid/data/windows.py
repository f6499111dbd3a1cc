"""Training windows: short runs of frames kept on disk, drawn, cropped and exposed anew for every step.

Two kinds of cache, both folders of .npy arrays that are built once and go on where they were interrupted:
    HDR   radiance of `NUM_FRAMES` frames, labelled. Rendered from pictures and hdrvid's own scenes (with the exact flow
          from the middle frame), or read from HDR frames on disk (without flow: nothing is `visible` then).
    LDR   network codes of one window and its exposures, without truth.
Drawing a sample picks a row, an exposure order, a camera and a crop, all from a generator seeded with (seed, index):
sample `index` is the same on every machine and after every resume.

Layouts of arrays:
    samples     ldr (W, 3, s, s) codes; exposures (W,); with DIS: dis, dis_back (K, 2, s, s) pixels. Labelled ones also
                truth (W, 3, s, s) radiance in [0, 1]; flow (K, 2, s, s) and visible (K, s, s), exact.
                W = 3 or 5 frames of a window, K = W - 1 neighbours in time order. Numbers: `black` and `partly_clipped`
                as the merge takes them (`hdrvid.models.forward.align`), `seconds` that drawing it took.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from hdrvid.data.camera import (
    SynthesisOptions,
    assumed_response,
    drawn_value,
    film,
    open_shutter,
    perturb_tone,
    plain_camera,
    plain_stops,
    random_camera,
    random_stops,
    real_camera,
)
from hdrvid.data.described_camera import DescribedCamera, described_camera
from hdrvid.data.layouts import HdrWindow, LdrWindow
from hdrvid.data.lone_objects import add_lone_object
from hdrvid.data.scenes import Scene, picture_scene, procedural_scene
from hdrvid.data.synth import read_hdr_image
from hdrvid.errors import InputError, OutputError
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.io.atomic import atomic_path, make_folder, output_error, remove_abandoned, writable_target
from hdrvid.io.json_files import read_json
from hdrvid.io.ownership import CACHE, replaceable_target
from hdrvid.machine import hold_opencv_to_one_thread
from hdrvid.models.constants import PARTLY_CLIPPED
from hdrvid.models.exposure_agreement import partly_clipped_weight
from hdrvid.workers import without_interrupts

NUM_FRAMES = 5
MIDDLE = NUM_FRAMES // 2
NEIGHBOURS = tuple(t for t in range(NUM_FRAMES) if t != MIDDLE)
CACHE_LEVEL = 16.0
"""Cached radiance is scaled so that its 99.9th percentile is this: float16 then keeps 25 stops below it."""
SHUTTER_TIMES = (-0.2, -0.1, 0.0, 0.1, 0.2)
"""Moments, in frames, averaged by a long exposure: a shutter that is open for half of a frame."""
CLIP_END_SHARE = 0.08
"""Share of the samples that are the end of a clip: the frames after the reference stand for those before it too."""
PATCH_GRID = (2, 4)
"""Rows and columns of the patches that a scene is cut into where `CacheOptions.patches` is set: the memo's eight."""
PROCEDURAL = "procedural"
LONE_OBJECT_SHARE = 0.5
"""Share of the windows of a real camera with an object that appears in one frame alone."""
CLIPPING, PLAIN_CLIPPING = (96.0, 99.97), (98.0, 99.9)
"""Percentiles of the reference frame between which the shortest exposure clips, also with a plain camera."""
INEXACT_PX = (0.15, 2.0)
INEXACT_GRID = 6
"""See `_inexact`."""
VALIDATION_CAMERA = SynthesisOptions(read_noise=1.5e-3, full_well=8000.0)
VALIDATION_STEP = {2: 3.0, 3: 2.0}
"""Stops between two exposures of the validation windows."""


@dataclass(frozen=True)
class CacheOptions:
    """What a cache of HDR windows holds: `count` rendered ones, then `files`."""

    count: int
    """Windows rendered."""
    size: int
    """Side of a window in pixels."""
    seed: int
    """Seed of the scenes."""
    sources: tuple[str, ...]
    """HDR pictures (2:1 ones are panoramas), and PROCEDURAL for hdrvid's own scenes; drawn with equal chance."""
    procedural_share: float
    """Share of the scenes made from nothing."""
    blurred_every: int = 8
    """Every how many scenes one is rendered with an open shutter too, for long exposures that blur; 0: none."""
    patches: bool = False
    """Cut every scene, rendered twice as high and four times as wide, into the eight windows of PATCH_GRID."""
    files: tuple[HdrWindow, ...] = ()
    """Windows read from disk."""

    @property
    def per_scene(self) -> int:
        """Windows cut from one scene."""
        return PATCH_GRID[0] * PATCH_GRID[1] if self.patches else 1

    @property
    def rows(self) -> int:
        """Windows in all."""
        return self.count + len(self.files)

    def blurred_row(self, row: int) -> int | None:
        """Where the open-shutter frames of a window are, or None where it has none."""
        scene, patch = divmod(row, self.per_scene)
        if row >= self.count or not self.blurred_every or scene % self.blurred_every:
            return None
        return scene // self.blurred_every * self.per_scene + patch


@dataclass(frozen=True)
class LdrCacheOptions:
    """What a cache of unlabelled windows holds: `count` scenes filmed once, then `files`."""

    count: int
    """Windows rendered and filmed by a random camera; their truth is not kept."""
    size: int
    """Side of a window in pixels."""
    seed: int
    """Seed of scenes and cameras."""
    num_exposures: int
    """Exposures in a cycle."""
    sources: tuple[str, ...]
    """As in CacheOptions."""
    procedural_share: float
    """As in CacheOptions."""
    files: tuple[LdrWindow, ...] = ()
    """Windows of people's clips."""

    @property
    def rows(self) -> int:
        """Windows in all."""
        return self.count + len(self.files)


def find_hdr_images(roots: Sequence[Path], hold_out: Sequence[str] = (), option: str = "--data") -> tuple[str, ...]:
    """Every .exr and .hdr picture below the roots, sorted, without the stems in `hold_out`.

    `option`: what the roots were given with. Raises InputError for a root that is missing or holds none.
    """
    images: list[str] = []
    for root in roots:
        if not root.exists():
            raise InputError(f"the folder {root} does not exist: give {option} a folder of .exr or .hdr files")
        files = [root] if root.is_file() else (p for p in root.rglob("*") if not p.name.startswith("."))
        paths = sorted(p for p in files if p.suffix.lower() in (".exr", ".hdr"))
        if not paths:
            raise InputError(f"{root} holds no .exr or .hdr pictures: give {option} a folder with HDR pictures")
        images += [str(p) for p in paths if p.stem not in set(hold_out)]
    return tuple(images)


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


def _random_scene(options: CacheOptions | LdrCacheOptions, index: int, width: int, height: int) -> Scene:
    rng = np.random.default_rng([options.seed, index])
    pictures = [s for s in options.sources if s != PROCEDURAL]
    procedural = not pictures or rng.random() < options.procedural_share
    path = PROCEDURAL if procedural else pictures[rng.integers(len(pictures))]
    others = (
        [read_hdr_image(Path(pictures[rng.integers(len(pictures))]))]
        if pictures and not procedural and rng.random() < 0.5
        else []
    )
    motion = float(np.exp(rng.uniform(np.log(0.4), np.log(5.0))))
    seed = options.seed * 1_000_003 + index
    return scene_from(path, seed, width, height, NUM_FRAMES, motion=motion, others=others)


_Stored = dict[str, list[tuple[int, np.ndarray]]]
"""What a job gives: for every array, rows and their values."""


def _hdr_job(job: tuple[CacheOptions, int]) -> _Stored:
    """Everything of the scene or file whose first row is `row`."""
    options, row = job
    if row >= options.count:
        window = options.files[row - options.count]
        frames = _middle(window.read(options.size, np.random.default_rng([options.seed, row])), NUM_FRAMES, window.name)
        return {"radiance": [(row, _stored(frames * _level(frames)))]}
    rows, columns = PATCH_GRID if options.patches else (1, 1)
    s = options.size
    scene = _random_scene(options, row // options.per_scene, columns * s, rows * s)
    frames = np.stack([scene.render(t) for t in range(NUM_FRAMES)])
    level = _level(frames)
    whole = {
        "radiance": _stored(frames * level),
        "flow": np.stack([scene.flow(MIDDLE, t) for t in NEIGHBOURS])
        .clip(-1e4, 1e4)
        .astype(np.float16)
        .transpose(0, 3, 1, 2),
        "visible": np.stack([scene.visible(MIDDLE, t) for t in NEIGHBOURS]).astype(np.uint8),
    }
    if options.blurred_row(row) is not None:
        blurred = [np.mean([scene.render(t + d) for d in SHUTTER_TIMES], axis=0) for t in range(NUM_FRAMES)]
        whole["blurred"] = _stored(np.stack(blurred) * level)
    stored: _Stored = {name: [] for name in whole}
    for i in range(min(options.per_scene, options.count - row)):
        y, x = i // columns * s, i % columns * s
        for name, values in whole.items():
            at = options.blurred_row(row + i) if name == "blurred" else row + i
            assert at is not None
            stored[name].append((at, values[..., y : y + s, x : x + s]))
    return stored


def _ldr_job(job: tuple[LdrCacheOptions, int]) -> _Stored:
    options, row = job
    n = 2 * options.num_exposures - 1
    rng = np.random.default_rng([options.seed, row, 1])
    if row < options.count:
        scene = _random_scene(options, row, options.size, options.size)
        frames = np.stack([scene.render(t) for t in range(MIDDLE - n // 2, MIDDLE + n // 2 + 1)])
        frames /= _white(frames[n // 2].max(-1), rng.uniform(96.0, 99.97))
        exposures = _random_exposures(rng, options.num_exposures, n)
        codes = film(frames, exposures.tolist(), rng, random_camera(rng))
    else:
        window = options.files[row - options.count]
        codes = _middle(window.read(options.size, rng), n, window.name)
        first = (len(window.stops) - n) // 2
        stops = np.asarray(window.stops[first : first + n], np.float32)
        exposures = np.exp2(stops - min(window.stops))
    coded = np.round(np.clip(codes, 0, 1) * 65535).astype(np.uint16).transpose(0, 3, 1, 2)
    return {"ldr": [(row, coded)], "exposures": [(row, exposures.astype(np.float32))]}


def _middle(frames: np.ndarray, count: int, name: str) -> np.ndarray:
    """The `count` middle frames of a window."""
    first = (len(frames) - count) // 2
    if first < 0:
        raise InputError(f"window {name} has {len(frames)} frames and {count} are needed: leave it out")
    return frames[first : first + count]


def _level(frames: np.ndarray) -> float:
    return CACHE_LEVEL / max(float(np.percentile(frames[len(frames) // 2].max(-1), 99.9)), 1e-12)


def _white(brightest: np.ndarray, percentile: float) -> np.float32:
    return np.float32(max(float(np.percentile(brightest, percentile)), 1e-6))


def _stored(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) radiance as the cache keeps it."""
    return np.clip(frames, 0, 60000).astype(np.float16).transpose(0, 3, 1, 2)


def build_cache(
    folder: Path,
    options: CacheOptions,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> None:
    """Put HDR windows into `folder`; one that holds the same ones already is kept, an unfinished one goes on.

    `progress` gets windows done and windows in all, `on_warning` a sentence where a cache is built anew.
    Raises InputError for a file that cannot be read, and OutputError where the folder has files of others.
    """
    n, s, k = options.rows, options.size, len(NEIGHBOURS)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "radiance": ((n, NUM_FRAMES, 3, s, s), np.float16),
        "flow": ((n, k, 2, s, s), np.float16),
        "visible": ((n, k, s, s), np.uint8),
        "blurred": ((sum(options.blurred_row(i) is not None for i in range(n)), NUM_FRAMES, 3, s, s), np.float16),
    }
    firsts = [*range(0, options.count, options.per_scene), *range(options.count, n)]
    _build(folder, options, shapes, firsts, _hdr_job, "radiance", workers, progress, on_warning)


def build_ldr_cache(
    folder: Path,
    options: LdrCacheOptions,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> None:
    """Put unlabelled windows into `folder`; as `build_cache`."""
    n, s, w = options.rows, options.size, 2 * options.num_exposures - 1
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "ldr": ((n, w, 3, s, s), np.uint16),
        "exposures": ((n, w), np.float32),
    }
    _build(folder, options, shapes, list(range(n)), _ldr_job, "ldr", workers, progress, on_warning)


def _build(
    folder: Path,
    options: CacheOptions | LdrCacheOptions,
    shapes: dict[str, tuple[tuple[int, ...], Any]],
    firsts: Sequence[int],
    job: Callable[[Any], _Stored],
    main: str,
    workers: int,
    progress: Callable[[int, int], None] | None,
    on_warning: Callable[[str], None] | None,
) -> None:
    """Run the jobs of the rows that array `main` still lacks; `done` marks the finished ones."""
    make_folder(folder)
    n = options.rows
    meta_path = folder / "cache.json"
    wanted = json.loads(json.dumps(asdict(options)))
    shapes = {k: v for k, v in shapes.items() if v[0][0]} | {"done": ((n,), np.uint8)}
    problem = _problem(folder, wanted, shapes)
    fresh = problem is not None
    if fresh:
        _require_own(folder, shapes)
        if problem and on_warning:
            on_warning(problem)
        # without `done` nothing in the folder counts as finished
        (folder / "done.npy").unlink(missing_ok=True)
        with atomic_path(meta_path) as partial:
            partial.write_text(json.dumps(wanted), encoding="utf-8")
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
        for name in arrays:
            _reserve(folder / f"{name}.npy")
    missing = [i for i in firsts if not arrays["done"][i]]
    if not missing:
        return
    finished = int(arrays["done"].sum())
    workers = min(workers, len(missing))
    chunk = min(8, -(-len(missing) // workers))  # neighbouring windows of a file share what was read
    with without_interrupts():
        processes = multiprocessing.get_context("spawn").Pool(workers, initializer=_quiet_worker)
    with processes as pool:
        for stored in pool.imap_unordered(job, ((options, i) for i in missing), chunksize=chunk):
            for name, rows in stored.items():
                for row, values in rows:
                    arrays[name][row] = values
            done = [row for row, _ in stored[main]]
            arrays["done"][done] = 1
            finished += len(done)
            if progress:
                progress(finished, n)
    for array in arrays.values():
        array.flush()


def _problem(folder: Path, wanted: object, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> str | None:
    """None where a folder has the cache that is wanted, finished or not; '' where it has none, and a sentence where it
    has another one or is damaged."""
    meta_path = folder / "cache.json"
    if not meta_path.exists():
        return ""
    damaged = f"the cache in {folder} is damaged and is built anew"
    try:
        described = read_json(meta_path, "the description of a cache")
    except InputError:
        return f"{damaged}: {meta_path.name} cannot be read"
    if not (folder / "done.npy").exists():
        return ""  # it comes last: a run was killed before it had a window
    if described != wanted:
        return f"the cache in {folder} holds windows of other options and is built anew: to keep one, give --cache"
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        if not path.exists():
            return f"{damaged}: {path.name} is missing"
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError, SyntaxError, TypeError):
            return f"{damaged}: {path.name} is cut short or no array"
        if array.shape != shape or array.dtype != dtype:
            return f"{damaged}: {path.name} holds {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape}"
    return None


def _require_own(folder: Path, shapes: Mapping[str, object]) -> None:
    """Raise OutputError where files that a cache would replace are none of a cache."""
    meta_path = folder / "cache.json"
    advice = "give --cache another folder"
    remove_abandoned(replaceable_target(meta_path, CACHE, advice))
    for name in shapes:
        path = folder / f"{name}.npy"
        writable_target(path)
        if path.exists() and not meta_path.exists():
            raise OutputError(f"{path} exists already and was not written by this command: {advice}")


def _reserve(path: Path) -> None:
    """Take the disk space of a file now: a memory-mapped write to a full disk would kill the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("rb+") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise output_error(path, error) from error


def _quiet_worker() -> None:
    hold_opencv_to_one_thread()
    os.nice(5)


@dataclass(frozen=True)
class SampleOptions:
    """How cached windows become training samples."""

    num_exposures: int = 2
    """2 or 3."""
    side: int = 160
    """Side of a sample in pixels, at most that of a window."""
    seed: int = 0
    """Seed of everything random."""
    augment: bool = True
    """Flips, colours, stops, noise and codec damage at random; False for validation: 3 (or 2) stops, 8 bits."""
    search: str = "medium"
    """Give the classical flow of both directions, found with this search of `hdrvid.flow`; '': none."""
    teacher: str = ""
    """Give the flow of this search too, for a teacher; '': there is none."""
    exact_flow: bool = False
    """Draw around the middle of a cached run only, from where flow and visibility are known."""
    perturb: bool = False
    """Perturb the tone of the reference, for a flow network that sees codes to be robust to exposures that are not
    quite known. Not for the refinement, which has to learn how well the codes of two frames agree."""
    plain: float = 0.0
    """Share of the samples that a plain camera films: `plain_camera` at `plain_stops`, sharp, no tone perturbed."""
    real: float = 0.0
    """Share of the others that a `real_camera` films, half of them with an object that appears in one frame alone."""
    pairs: bool = False
    """Items 2 k and 2 k + 1 are the same moment, filmed by the same camera with its exposures one frame apart: the
    references have other exposures, and other noise."""
    camera: str = ""
    """JSON of a `hdrvid.data.described_camera` that films a part of the samples, and all that are not augmented; ''
    for none."""
    camera_share: float = 0.0
    """How large that part is."""
    inexact_flow: bool = False
    """Give `inexact`, the exact flow with errors as a flow network has them, or none (see `_inexact`)."""


def _inexact(exact: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flow (K, 2, s, s) for a merge to learn from: of 20 % of the samples zero, of 15 % `exact`, else off smoothly.

    Errors are bicubic between the nodes of a grid of INEXACT_GRID^2, their deviation log-uniform in INEXACT_PX.
    """
    kind = rng.random()
    if kind < 0.2:
        return np.zeros_like(exact)
    if kind < 0.35:
        return exact
    low, high = np.log(INEXACT_PX)
    deviation = float(np.exp(rng.uniform(low, high)))
    grid = rng.standard_normal((INEXACT_GRID, INEXACT_GRID, exact.shape[0] * 2), dtype=np.float32)
    height, width = exact.shape[-2:]
    error = cv2.resize(grid * deviation, (width, height), interpolation=cv2.INTER_CUBIC)
    return exact + error.transpose(2, 0, 1).reshape(exact.shape)


def _random_exposures(
    rng: np.random.Generator, num_exposures: int, count: int, *, plain: bool = False, shift: int = 0
) -> np.ndarray:
    """Exposures (count,) of consecutive frames: random stops, order and phase, `shift` frames later."""
    cycle = rng.permutation((plain_stops if plain else random_stops)(rng, num_exposures)).tolist()
    return _cycled(cycle, int(rng.integers(num_exposures)) + shift, count)


def _cycled(stops: Sequence[float], phase: int, count: int) -> np.ndarray:
    """Exposures (count,) of consecutive frames of a cycle, the first at `phase` in it."""
    return np.exp2([stops[(phase + i) % len(stops)] for i in range(count)]).astype(np.float32)


class _Windows(Dataset):
    """What labelled and unlabelled windows share: lazy arrays, geometry, classical flow."""

    arrays: tuple[str, ...]

    def __init__(self, folder: Path, options: SampleOptions, length: int) -> None:
        self.folder = folder
        self.options = options
        self.length = length
        self._arrays: dict[str, np.ndarray] = {}
        self._cached: CacheOptions | None = None
        self._dis: dict[str, DenseInverseSearch] = {}
        self._described: DescribedCamera | None = None

    def __len__(self) -> int:
        return self.length

    def array(self, name: str) -> np.ndarray | None:
        """A cached array, opened in the process that reads it; None where the cache has none of that name."""
        if not self._arrays:
            self._arrays = {p.stem: np.load(p, mmap_mode="r") for p in self.folder.glob("*.npy")}
        return self._arrays.get(name)

    def crop(self, rng: np.random.Generator, size: int) -> tuple[slice, slice]:
        """A square of the sample's side, anywhere, or in the middle without augmentation."""
        side = min(self.options.side, size)
        free = size - side
        y, x = (int(v) for v in rng.integers(0, free + 1, 2)) if self.options.augment else (free // 2, free // 2)
        return slice(y, y + side), slice(x, x + side)

    def sample(
        self, started: float, ldr: np.ndarray, exposures: np.ndarray, black: float = 0.0, **more: np.ndarray
    ) -> dict[str, Any]:
        """Tensors of `ldr` (W, s, s, 3) and the rest, with the classical flow where it is wanted. `black`: see
        `hdrvid.types.Window`."""
        searches = {"dis": self.options.search, "teacher": self.options.teacher}
        frames, ratios, partly_clipped = list(ldr), [float(e) for e in exposures], PARTLY_CLIPPED
        for name, search in searches.items():
            if search:
                if name not in self._dis:
                    self._dis[name] = DenseInverseSearch(candidates=search != "fast", search=search, compiled=True)
                forward, backward = self._dis[name].window(frames, ratios, None, black)
                more |= {name: forward.transpose(0, 3, 1, 2), f"{name}_back": backward.transpose(0, 3, 1, 2)}
                if name == "dis":
                    partly_clipped = partly_clipped_weight(frames, ratios, list(forward), black)
        arrays = {"ldr": ldr.transpose(0, 3, 1, 2), "exposures": exposures, **more}
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v, dtype=np.float32)) for k, v in arrays.items()}
        numbers = {"black": black, "partly_clipped": partly_clipped, "seconds": time.perf_counter() - started}
        return tensors | {name: torch.tensor(value) for name, value in numbers.items()}


class TrainingWindows(_Windows):
    """Labelled samples drawn from an HDR cache; item `i` depends on (seed, i) alone."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        started = time.perf_counter()
        o = self.options
        radiance, flow, visible = self.array("radiance"), self.array("flow"), self.array("visible")
        assert radiance is not None
        assert flow is not None
        assert visible is not None
        pairs = o.pairs and o.augment
        rng = np.random.default_rng([o.seed, index // 2 if pairs else index])
        n = int(rng.integers(len(radiance))) if o.augment else index % len(radiance)
        radius = o.num_exposures - 1
        centre = MIDDLE
        if o.augment and not o.exact_flow:
            centre = int(rng.integers(radius, NUM_FRAMES - radius))
        times = list(range(centre - radius, centre + radius + 1))
        if o.augment and rng.random() < 0.5:
            times.reverse()
        part = (slice(None), *self.crop(rng, radiance.shape[-1]))
        frames = radiance[n][(times, *part)].astype(np.float32)
        described = self._described_camera(rng)
        plain = described is None and o.augment and o.plain > 0 and rng.random() < o.plain
        usual = described is None and o.augment and not plain
        real = usual and o.real > 0 and rng.random() < o.real
        opened = None if plain else self._open_shutter(n)
        blurred = None if opened is None or not o.augment else opened[(times, *part)].astype(np.float32)
        if centre == MIDDLE:
            picks = [NEIGHBOURS.index(t) for t in times if t != centre]
            exact = flow[n][(picks, *part)].astype(np.float32)
            visibility = visible[n][(picks, *part[1:])].astype(np.float32)
        else:
            exact = np.zeros((2 * radius, 2, *frames.shape[-2:]), np.float32)
            visibility = np.zeros((2 * radius, *frames.shape[-2:]), np.float32)
        if o.augment:
            flips = _Flips.drawn(rng)
            gains = rng.uniform(0.8, 1.25, (3, 1, 1)).astype(np.float32)
            colours = rng.permutation(3)
            frames = flips.frames(frames)[:, colours] * gains
            blurred = None if blurred is None else flips.frames(blurred)[:, colours] * gains
            exact, visibility = flips.flow(exact), flips.frames(visibility)
        if real and rng.random() < LONE_OBJECT_SHARE:
            frames, visibility = np.array(frames), np.array(visibility)
            runs = [frames] if blurred is None else [frames, blurred := np.array(blurred)]
            add_lone_object(runs, radius, exact, visibility, rng)
        clipping = rng.uniform(*(PLAIN_CLIPPING if plain else CLIPPING)) if o.augment else 99.5
        if described is not None and o.augment:
            clipping = drawn_value(described.camera.drawn(rng).clip_percentile)
        white = _white(frames[radius].max(0), clipping)
        exposures = self._exposures(rng, index, plain, described)
        scene = open_shutter(
            (frames / white).transpose(0, 2, 3, 1),
            exposures.tolist(),
            None if blurred is None else (blurred / white).transpose(0, 2, 3, 1),
        )
        camera = VALIDATION_CAMERA
        if described is not None:
            camera = described.camera
        elif o.augment:
            camera = plain_camera(rng) if plain else real_camera(rng) if real else random_camera(rng)
        noise = rng
        if pairs:
            camera, noise = camera.drawn(rng), np.random.default_rng([o.seed, index, 3])
        ldr = film(scene, exposures.tolist(), noise, camera)
        if o.augment and rng.random() < CLIP_END_SHARE:
            mirror = [*range(2 * radius, radius, -1), *range(radius, 2 * radius + 1)]
            ldr, scene, exposures = ldr[mirror], scene[mirror], exposures[mirror]
            neighbours = [*range(2 * radius - 1, radius - 1, -1), *range(radius, 2 * radius)]
            exact, visibility = exact[neighbours], visibility[neighbours]
        if o.perturb and not plain:
            ldr[radius] = perturb_tone(ldr[radius], rng)
        truth = np.clip(scene.transpose(0, 3, 1, 2), 0.0, 1.0)
        black = assumed_response(camera).black_code
        more = {"inexact": _inexact(exact, rng)} if o.inexact_flow else {}
        return self.sample(started, ldr, exposures, black, truth=truth, flow=exact, visible=visibility, **more)

    def _exposures(
        self, rng: np.random.Generator, index: int, plain: bool, described: DescribedCamera | None
    ) -> np.ndarray:
        """Exposures of the frames of sample `index`."""
        o = self.options
        count = 2 * o.num_exposures - 1
        shift = index % 2 if o.pairs else 0
        if not o.augment:
            step = VALIDATION_STEP[o.num_exposures]
            stops = described.stops if described else None
            return _cycled(stops or tuple(step * i for i in range(o.num_exposures)), index, count)
        if described is not None and described.stops is not None:
            return _cycled(described.stops, int(rng.integers(o.num_exposures)) + shift, count)
        return _random_exposures(rng, o.num_exposures, count, plain=plain, shift=shift)

    def _described_camera(self, rng: np.random.Generator) -> DescribedCamera | None:
        """The camera of the options where it films this sample."""
        o = self.options
        if not o.camera or (o.augment and rng.random() >= o.camera_share):
            return None
        if self._described is None:
            self._described = described_camera(o.camera, o.num_exposures)
        return self._described

    def _open_shutter(self, row: int) -> np.ndarray | None:
        """Open-shutter frames of a window, where its cache has them."""
        blurred = self.array("blurred")
        if blurred is None:
            return None
        if self._cached is None:
            stored = read_json(self.folder / "cache.json", "the description of a cache")
            self._cached = CacheOptions(**stored | {"files": ()})
        at = self._cached.blurred_row(row)
        return None if at is None else blurred[at]


class UnlabelledWindows(_Windows):
    """Samples without truth drawn from an LDR cache; item `i` depends on (seed, i) alone."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        started = time.perf_counter()
        ldr, exposures = self.array("ldr"), self.array("exposures")
        assert ldr is not None
        assert exposures is not None
        rng = np.random.default_rng([self.options.seed, index, 2])
        n = int(rng.integers(len(ldr)))
        frames = ldr[n][(slice(None), slice(None), *self.crop(rng, ldr.shape[-1]))].astype(np.float32) / 65535
        stops = np.array(exposures[n])
        if self.options.augment:
            frames = _Flips.drawn(rng).frames(frames)[:, rng.permutation(3)]
            if rng.random() < 0.5:
                frames, stops = frames[::-1], stops[::-1].copy()
        return self.sample(started, np.ascontiguousarray(frames.transpose(0, 2, 3, 1)), stops)


@dataclass(frozen=True)
class _Flips:
    """Mirroring and transposing."""

    axes: tuple[int, ...]
    """Axes mirrored, -1 = x, -2 = y."""
    transpose: bool
    """Swap x and y afterwards."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Flips:
        return cls(tuple(axis for axis in (-1, -2) if rng.random() < 0.5), bool(rng.random() < 0.5))

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """Of (..., H, W)."""
        frames = np.flip(frames, self.axes) if self.axes else frames
        return np.swapaxes(frames, -1, -2) if self.transpose else frames

    def flow(self, flow: np.ndarray) -> np.ndarray:
        """Of flow (K, 2, H, W): its vectors turn with the picture."""
        flow = self.frames(flow).copy()
        for axis, channel in ((-1, 0), (-2, 1)):
            if axis in self.axes:
                flow[:, channel] *= -1
        return flow[:, ::-1] if self.transpose else flow
