"""The cinematic test set, made from its two source videos.

HDR_Synthetic_Test_Dataset (Chen et al., HDR Video Reconstruction: A Coarse-to-fine Network and A Real-world Benchmark
Dataset, ICCV 2021, after Kalantari & Ramamoorthi 2019) shows two scenes of HdM-HDR-2014 (Froehlich et al. 2014) as an
alternating-exposure camera would have filmed them. Its steps, as published:
    radiance    frame / 99.5th percentile of the first frame, clipped to [0, 1], 15 pixels cropped on every side
    exposures   1, 8 or 1, 4, 16, repeated from frame 0
    noise       Gaussian of standard deviation U(1e-3, 3e-3) / e on the radiance, drawn frame by frame, where the
                exposure e is 1 or 4
    code        clip(radiance x e, 0, 1) ** (1 / 2.2), 16-bit TIFF
    truth       the radiance of the frames 2 to n-3 (2 exposures) or 3 to n-4 (3 exposures), Radiance .hdr
The noise is drawn from a seed of ours: scores on the published files are close, not equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from hdrvid.color.curves import gamma_encode
from hdrvid.data.synth import read_hdr_image
from hdrvid.errors import InputError, OutputError
from hdrvid.io.atomic import atomic_path, make_folder
from hdrvid.io.frames import folder_frames
from hdrvid.io.hdr import write_hdr
from hdrvid.io.lock import folder_lock
from hdrvid.types import ExposureCycle

SCENES = ("poker_fullshot", "carousel_fireworks")
"""The two sources, by the beginning of their names in HdM-HDR-2014."""
STOPS = {2: (0.0, 3.0), 3: (0.0, 2.0, 4.0)}
PERCENTILE = 99.5
BORDER_PX = 15
NOISE_RANGE = (1e-3, 3e-3)
NOISY_EXPOSURES = (1.0, 4.0)

_SCENE_FILE = re.compile(r"\d{4,}\.(?:tif|hdr)|img_list\.txt|Exposures\.txt|\..*")
"""Files that are written into the folder of a scene."""

_HDR_SUFFIXES = (".exr", ".hdr")
_WHERE = (
    "get the frames of poker_fullshot and carousel_fireworks of HdM-HDR-2014 "
    "(hdm-stuttgart.de/vmlab/hdm-hdr-2014) and put each scene into a folder of its name, "
    "as .exr or .hdr frames"
)


def cinematic_scenes(source: Path) -> list[Path]:
    """Folders of the two sources below `source`, or every folder of HDR frames where none has their names.

    Raises InputError where there is none: where to get them and how they lie.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: {_WHERE}")
    folders = sorted(p for p in [source, *source.rglob("*")] if p.is_dir() and _holds_hdr(p))
    named = [p for p in folders if p.name.lower().replace(" ", "_").replace("-", "_").startswith(SCENES)]
    chosen = named or folders
    if not chosen:
        raise InputError(f"{source} holds no folder of HDR frames: {_WHERE}")
    names = [p.name for p in chosen]
    if len(set(names)) < len(names):
        raise InputError(f"two scenes below {source} have the same name ({', '.join(sorted(names))}): give one of them")
    return chosen


def _holds_hdr(folder: Path) -> bool:
    return any(p.suffix.lower() in _HDR_SUFFIXES for p in folder.iterdir())


def prepare_cinematic(
    source: Path,
    out: Path,
    num_exposures: int = 2,
    *,
    max_frames: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int | None], None] | None = None,
) -> list[str]:
    """Make the set with 2 or 3 exposures in `out`, as `hdrvid eval --dataset cinematic` reads it. Returns its scenes.

    `max_frames` bounds the frames of a scene, from its first one on (the published scenes have 60). A frame at a time
    is in memory. The list of scenes comes last: without it the set is not there.
    Raises InputError for sources that are missing or too short, OutputError where `out` holds the set already or
    cannot be written.
    """
    scene_list = out / f"scenes_{num_exposures}expo.txt"
    if scene_list.exists():
        raise OutputError(f"{scene_list} is there already: choose another folder, or remove the set first")
    scenes: list[tuple[str, list[Path]]] = []
    for folder in cinematic_scenes(source):
        files = [p for p in folder_frames(folder) if p.suffix.lower() in _HDR_SUFFIXES][:max_frames]
        if len(files) < 2 * num_exposures + 1:
            raise InputError(
                f"{folder} gives {len(files)} HDR frames, but {2 * num_exposures + 1} are the least: "
                "give the whole scene, and a larger --frames"
            )
        scenes.append((f"{folder.name}_{num_exposures}expo", files))
    for name, _ in scenes:
        folder = out / "Images" / name
        # an interrupted run leaves files of these names, and goes on
        if folder.is_dir() and any(_SCENE_FILE.fullmatch(p.name) is None for p in folder.iterdir()):
            raise OutputError(
                f"{folder} holds files of somebody else: choose another folder with -o, or remove it first"
            )
    with folder_lock(out, "synth", [f"Images/{name}" for name, _ in scenes]):
        _write_scenes(out, scenes, num_exposures, seed, progress)
        names = [name for name, _ in scenes]
        _write_lines(scene_list, names)
    return names


def _write_scenes(
    out: Path,
    scenes: Sequence[tuple[str, Sequence[Path]]],
    num_exposures: int,
    seed: int,
    progress: Callable[[int, int | None], None] | None,
) -> None:
    """Write the frames, the truth and the lists of every scene."""
    cycle = ExposureCycle(STOPS[num_exposures])
    total, done = sum(len(files) for _, files in scenes), 0
    for number, (name, files) in enumerate(scenes):
        folder = out / "Images" / name
        make_folder(folder)
        rng = np.random.default_rng([seed, number, num_exposures])
        scale = np.percentile(read_hdr_image(files[0]), PERCENTILE)
        if not scale > 0:
            raise InputError(f"{files[0]} is black, so the scene cannot be scaled by it: leave it out")
        for i, file in enumerate(files):
            radiance = _radiance(file, float(scale))
            exposure = cycle.exposure_at(i)
            _write_tiff(folder / f"{i:04d}.tif", film(radiance, exposure, rng))
            if num_exposures <= i < len(files) - num_exposures:
                write_hdr(folder / f"{i:04d}.hdr", radiance)
            done += 1
            if progress:
                progress(done, total)
        _write_lines(folder / "img_list.txt", [f"{i:04d}" for i in range(len(files))])
        _write_lines(folder / "Exposures.txt", [f"{s:g}" for s in cycle.stops])


def film(radiance: np.ndarray, exposure: float, rng: np.random.Generator) -> np.ndarray:
    """Code (H, W, 3) float in [0, 1] of radiance at an exposure, with the set's noise."""
    if exposure in NOISY_EXPOSURES:
        sigma = rng.uniform(*NOISE_RANGE) / exposure
        radiance = radiance + rng.normal(0.0, sigma, radiance.shape)
    return gamma_encode(radiance * exposure)


def _radiance(file: Path, scale: float) -> np.ndarray:
    image = read_hdr_image(file)
    if min(image.shape[:2]) <= 2 * BORDER_PX + 16:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"{file} is {size}, too small to lose a border of {BORDER_PX} pixels: give the whole frames")
    inner = image[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    return np.clip(inner / np.float32(scale), 0.0, 1.0).astype(np.float32)


def _write_tiff(path: Path, code: np.ndarray) -> None:
    _, data = cv2.imencode(".tif", np.round(code[..., ::-1] * 65535).astype(np.uint16))
    with atomic_path(path) as partial:
        partial.write_bytes(data.tobytes())


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_path(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
