"""Results of other programs as models: HDR frames in files, found by name or order, scaled, and never fewer than asked.

Where the frames of a scene lie: FOLDER/SCENE/; or FOLDER itself, there with the names of the frames or with names that
begin with that of the scene (or of any name, where the dataset has one scene). Other files than .exr and .hdr do not
count.
Which file is which frame: a file belongs to the frame whose name its own contains between punctuation, however it is
punctuated: `out_poker.000007_hdr.exr` to `poker_000007`; the name of the scene may be left out. Where not every file
names a frame, order decides, if there are as many files as frames in the scene or as frames that are scored. Everything
else is an error.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hdrvid.data.benchmarks import Benchmark, EvalClip, frame_names, printable
from hdrvid.errors import HdrvidError, InputError, UsageError
from hdrvid.evaluate.results import frames_text
from hdrvid.io.exr import read_exr_header
from hdrvid.io.frames import natural_key, read_picture
from hdrvid.io.hdr import read_hdr_attributes
from hdrvid.options.evaluate import BY_HEADER, EvalOptions, PredictionFolder
from hdrvid.types import Reconstruction, Window

SUFFIXES = (".exr", ".hdr")
SCALE_ATTRIBUTE = "hdrvid:scale"
"""Header entry of the frames of `hdrvid reconstruct`: stored = radiance x scale, 1 = the shortest exposure clips."""
FIT_LEVELS = (1e-3, 0.999)
"""Truth of the pixels that a scale is fitted to: above noise, below the clipping of the shortest exposure."""
FIT_PIXELS = 50_000
"""A frame gives about so many values to the fit, evenly spaced."""
SUSPICIOUS_FACTOR = 1.7
"""Predictions so much brighter or darker than the truth (median) are probably in another unit."""
MAX_LISTED = 8
"""Scenes that an error names."""
RESERVED_NAMES = ("input", "truth", "blend weights")
RESERVED_BEGINNINGS = ("error of ", "flow to ")
"""Titles of pictures."""


class PredictionError(InputError):
    """A prediction that cannot be scored. It ends the evaluation: a smaller set of frames would be another score."""


@dataclass
class ScenePredictions:
    """The results of another program on one scene: a `hdrvid.types.Reconstructor` that reads."""

    name: str
    """Name of the predictions."""
    scene: str
    """Name of the scene."""
    files: Mapping[int, Path]
    """File of every scored frame."""
    by_name: bool
    """Whether the names told which frame is which; else the order did."""
    factor: float = 1.0
    """What the pixels are multiplied by."""
    by_header: bool = False
    """Whether files that hdrvid wrote are divided by the scale in their header."""
    num_exposures: int = 2
    provenance: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    look_ahead: int = 0

    def expect(self, window: Window) -> None:
        """Nothing to begin with."""

    def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
        """The prediction of the window's reference, scaled. Raises PredictionError where it cannot be scored."""
        pixels = self.pixels(window.index, window.reference)
        return Reconstruction(pixels * np.float32(self.factor))

    def pixels(self, index: int, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 Rec. 709, negative values 0, before `factor`; of a frame of the size of `frame`."""
        path = self.files[index]
        try:
            picture = read_picture(path)
        except HdrvidError as error:
            raise PredictionError(f"predictions {self.name}: {error}") from error
        if picture.num_repaired:
            raise PredictionError(
                f"predictions {self.name}: {path} has {picture.num_repaired} pixel(s) that are NaN or infinite: "
                "write it again without them"
            )
        if picture.pixels.shape != frame.shape:
            sizes = [f"{s[1]}x{s[0]}" for s in (picture.pixels.shape, frame.shape)]
            raise PredictionError(
                f"predictions {self.name}: {path} is {sizes[0]}, but frame {index} of {printable(self.scene)} is "
                f"{sizes[1]}: write the results at the size of the input"
            )
        if picture.one_channel and not np.array_equal(frame[..., 0], frame[..., 1]):
            raise PredictionError(
                f"predictions {self.name}: {path} has one channel, but the frames have colours: write RGB"
            )
        scale = header_scale(path) if self.by_header else 1.0
        return np.maximum(picture.rec709, np.float32(0.0)).astype(np.float32) / np.float32(scale)

    def fingerprint(self) -> str:
        """Changes with the files: names, sizes and times."""
        facts = []
        for index, path in sorted(self.files.items()):
            try:
                status = path.stat()
            except OSError as error:
                raise PredictionError(f"predictions {self.name}: {path} cannot be read: {error.strerror}") from error
            facts.append(f"{index} {path} {status.st_size} {status.st_mtime_ns}")
        return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Predictions:
    """The results of another program on a dataset."""

    name: str
    """In tables and files."""
    folder: Path
    """Where they lie."""
    scale: float | str
    """A factor, a word of SCALES, or BY_HEADER."""
    scenes: Mapping[str, ScenePredictions]
    """By the names of the scenes."""

    def description(self) -> str:
        """How they are taken, for the protocol line."""
        if self.scale == "fit":
            return f"{self.name} times one factor a scene, the median of truth over prediction"
        if self.scale == "longest":
            return f"{self.name} over the longest exposure"
        if self.scale == BY_HEADER and self.have_headers():
            return f"{self.name} over the scale in its headers"
        return f"{self.name} times {self.scale:g}" if isinstance(self.scale, float) else f"{self.name} as stored"

    def have_headers(self) -> bool:
        """Whether a first file of a scene says how it is scaled."""
        return any(header_scale(next(iter(scene.files.values()))) != 1 for scene in self.scenes.values())

    def facts(self) -> dict[str, Any]:
        """What they are, for the report."""
        by_name = {scene.by_name for scene in self.scenes.values()}
        matched = "by name" if by_name == {True} else "in order" if by_name == {False} else "by name or in order"
        return {"folder": self.folder.name, "files": matched, "scale": self.description().removeprefix(f"{self.name} ")}


def open_predictions(
    options: EvalOptions, bench: Benchmark, taken: Iterable[str], has_truth: bool
) -> list[Predictions]:
    """What `options.predictions` names, with a file for every frame of the dataset that is scored.

    `taken`: names of models, which predictions must not have. Raises UsageError for names that exist twice and for a
    scale that cannot be; InputError with all scenes and frames that are missing.
    """
    names = [p.name for p in options.predictions]
    for name in names:
        if name.lower() in RESERVED_NAMES or name.lower().startswith(RESERVED_BEGINNINGS):
            raise UsageError(f"'{name}' is the name of other pictures of the report: call the predictions otherwise")
        if names.count(name) > 1 or name in set(taken):
            raise UsageError(f"'{name}' would be the name of two results: give --predictions another name before the =")
    for given in options.predictions_scale:
        if given.name is not None and given.name not in names:
            known = f"there are {', '.join(names)}" if names else "there are none"
            raise UsageError(f"--predictions-scale names '{given.name[:40]}', but of --predictions {known}")
    if options.predictions_scale and not names:
        raise UsageError("--predictions-scale is for --predictions NAME=FOLDER: give these too, or leave it out")
    result: list[Predictions] = []
    missing: list[str] = []
    scene_of_frame = _scenes_by_frame(bench.clips)
    for source in options.predictions:
        scale = options.scale_of(source.name)
        if scale == "fit" and not has_truth:
            raise UsageError(
                "--predictions-scale fit needs ground truth, which this dataset does not have: give a factor"
            )
        scenes = {}
        for clip in bench.clips:
            try:
                scenes[clip.name] = _open_scene(source, clip, scene_of_frame)
            except InputError as error:
                missing.append(str(error))
        result.append(Predictions(source.name, source.folder, scale, scenes))
    if missing:
        more = f"\n  and {len(missing) - MAX_LISTED} more scenes" if len(missing) > MAX_LISTED else ""
        text = "\n  ".join(missing[:MAX_LISTED])
        raise InputError(text + more)
    return result


def _scenes_by_frame(clips: Sequence[EvalClip]) -> dict[str, dict[str, None]]:
    """Names of all scenes, each with the marks of those of its frames whose names no other scene has."""
    names = {clip.name: [_plain(name) for name in frame_names(clip)] for clip in clips}
    counts = Counter(name for of_scene in names.values() for name in of_scene)
    return {scene: {n: None for n in of_scene if counts[n] == 1} for scene, of_scene in names.items()}


def _open_scene(source: PredictionFolder, clip: EvalClip, scenes: Mapping[str, Mapping[str, None]]) -> ScenePredictions:
    """The predictions of one of the `scenes`. Raises InputError."""
    files = _files_of(source, clip, scenes)
    found, by_name = _frames_of(files, clip, source.name)
    return ScenePredictions(source.name, clip.name, found, by_name, num_exposures=len(clip.cycle))


def _files_of(source: PredictionFolder, clip: EvalClip, scenes: Mapping[str, Mapping[str, None]]) -> list[Path]:
    """HDR frames of a scene in natural order; at least one."""
    only_scene = len(scenes) == 1
    if not os.path.isdir(source.folder):  # unlike Path.is_dir, False for a name that no folder can have
        raise InputError(f"predictions {source.name}: {source.folder} is no folder: give NAME=FOLDER, a folder a scene")
    inner = source.folder / clip.name
    has_folder = os.path.isdir(inner)
    if has_folder:
        files = _hdr_files(inner)
        where = inner
    else:
        files, where = _hdr_files(source.folder), source.folder
        if not only_scene:
            files = [f for f in files if _scene_of(f, scenes) == clip.name]
    if not files:
        what = "no .exr or .hdr frames" if has_folder or only_scene else "no folder and no files of that name"
        raise InputError(
            f"predictions {source.name} lack scene {printable(clip.name)}: {where} holds {what}; every scene needs its "
            "results"
        )
    return files


def _scene_of(path: Path, scenes: Mapping[str, Container[str]]) -> str | None:
    """The scene that a file belongs to by its name: that of a frame, or one that begins with the name of a scene.

    >>> scenes = {"fire": (), "fire_2": (), "poker_2expo": ("poker_0001",)}
    >>> [_scene_of(Path(f"{name}.exr"), scenes) for name in ("fire_2", "fire2", "poker-0001")]
    ['fire_2', None, 'poker_2expo']
    """
    by_frame = next((scene for scene, frames in scenes.items() if _plain(path.stem) in frames), None)
    begin = [s for s in scenes if re.match(re.escape(s) + r"(?![A-Za-z0-9])", path.name, re.IGNORECASE)]
    return by_frame or max(begin, key=len, default=None)


def _hdr_files(folder: Path) -> list[Path]:
    try:
        paths = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file()]
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}") from error
    return sorted(paths, key=lambda p: natural_key(p.name))


def _frames_of(files: Sequence[Path], clip: EvalClip, name: str) -> tuple[dict[int, Path], bool]:
    """The file of every scored frame, and whether names told. Raises InputError."""
    scene, frames, scored = printable(clip.name), frame_names(clip), clip.scored
    named, strangers = _by_name(files, frames, clip.name)
    twice = next((paths for paths in named.values() if len(paths) > 1), None)
    if twice is not None and not strangers:
        raise InputError(
            f"predictions {name}: {twice[0].name} and {twice[1].name} are the same frame of scene {scene}: remove one"
        )
    if not strangers:
        missing = [i for i in scored if i not in named]
        if missing:
            raise InputError(
                f"predictions {name} lack {frames_text(missing)} of scene {scene}: {files[0].parent} needs a file for "
                f"each, named as the input ({frames[missing[0]]}.exr)" + _edge_advice(missing, clip)
            )
        return {i: named[i][0] for i in scored}, True
    if len(files) == clip.num_frames:
        return {i: files[i] for i in scored}, False
    if len(files) == len(scored):
        return dict(zip(scored, files, strict=True)), False
    raise InputError(
        f"predictions {name} have {len(files)} files for scene {scene}, which has {clip.num_frames} frames, of which "
        f"{frames_text(scored)} are scored, and {strangers[0].name} names none of them: name the files as the input "
        f"({frames[scored[0]]}.exr), or give one for every frame"
    )


def _by_name(files: Sequence[Path], frames: Sequence[str], scene: str) -> tuple[dict[int, list[Path]], list[Path]]:
    """Files by the frame that each names, and those that name none, or several."""
    beginning = f"{_plain(scene)}_"
    marks = [f"_{_plain(name).removeprefix(beginning)}_" for name in frames]
    exact = {mark: i for i, mark in enumerate(marks)}
    named: dict[int, list[Path]] = {}
    strangers = []
    for path in files:
        text = f"_{_plain(path.stem).removeprefix(beginning)}_"
        matches = [exact[text]] if text in exact else [i for i, mark in enumerate(marks) if mark in text]
        if len(matches) == 1:
            named.setdefault(matches[0], []).append(path)
        else:
            strangers.append(path)
    return named, strangers


def _plain(name: str) -> str:
    """A name in lower case with one kind of punctuation.

    >>> _plain("out_Poker.000007-hdr")
    'out_poker_000007_hdr'
    """
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def _edge_advice(missing: Sequence[int], clip: EvalClip) -> str:
    margin = len(clip.cycle)
    edges = {*range(margin), *range(clip.num_frames - margin, clip.num_frames)}
    return "; --inner leaves the first and last frames out" if set(missing) <= edges else ""


# ---- scale -----------------------------------------------------------------------------------------------------------


def header_scale(path: Path) -> float:
    """What hdrvid has multiplied radiance by in a file that it wrote, `hdrvid:scale`; 1 for files without it."""
    try:
        is_exr = path.suffix.lower() == ".exr"
        value = (read_exr_header(path) if is_exr else read_hdr_attributes(path)).get(SCALE_ATTRIBUTE, 1.0)
        scale = float(str(value))
    except (HdrvidError, ValueError):
        return 1.0  # what is wrong with the file is said when it is read
    return scale if np.isfinite(scale) and scale > 0 else 1.0


def settle_scale(
    scene: ScenePredictions,
    scale: float | str,
    clip: EvalClip,
    truth: Callable[[int], np.ndarray | None],
) -> str | None:
    """Set the factor of a scene; returns a warning where one that was given is probably wrong.

    Fitted: the median of truth over prediction, over the pixels of all scored frames whose truth is in FIT_LEVELS.
    Others are compared with that of the middle frame. Raises PredictionError where there is nothing to fit to.
    """
    fitted = scale == "fit"
    scene.by_header = scale == BY_HEADER
    ratios = []
    for index in clip.scored if fitted else (clip.scored[len(clip.scored) // 2],):
        try:
            target = truth(index)
        except (HdrvidError, OSError):
            continue  # it is listed when the frame is scored
        if target is not None:
            ratios.append(_ratios(scene.pixels(index, target), target))
    values = np.concatenate(ratios) if ratios else np.empty(0)
    if fitted and not values.size:
        raise PredictionError(
            f"predictions {scene.name} cannot be scaled by the truth of scene {printable(scene.scene)}: they are black "
            "where it is not; give --predictions-scale a factor"
        )
    wanted = float(np.median(values)) if values.size else None
    if scale == "longest":
        scene.factor = 1 / max(clip.cycle.exposure_at(i) for i in range(len(clip.cycle)))
    elif fitted and wanted is not None:
        scene.factor = wanted
    else:
        scene.factor = scale if isinstance(scale, float) else 1.0
    if wanted is None or 1 / SUSPICIOUS_FACTOR < wanted / scene.factor < SUSPICIOUS_FACTOR:
        return None
    way = "darker" if wanted > scene.factor else "brighter"
    times = max(wanted / scene.factor, scene.factor / wanted)
    return (
        f"predictions {scene.name} are {times:.3g} times {way} than the truth in scene {printable(scene.scene)}: they "
        f"may be in another unit, see --predictions-scale ({scene.name}=longest or {scene.name}=fit)"
    )


def _ratios(pixels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Truth over prediction of evenly spaced pixels that have both."""
    step = max(1, truth.size // 3 // FIT_PIXELS)
    target, value = (x.reshape(-1, 3)[::step].ravel().astype(np.float64) for x in (truth, pixels))
    use = (target > FIT_LEVELS[0]) & (target < FIT_LEVELS[1]) & (value > 0)
    return target[use] / value[use]
