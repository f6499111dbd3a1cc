"""Training data as it lies on disk: which layout a folder has, and short windows of frames from it.

Labelled roots (`training_sources`, `resolve_shots`) are searched through, links included, for
    frames      folders of numbered .exr or .hdr frames, one folder a scene: HdM-HDR-2014, LiU HDRv, any render. Five or
                more consecutive numbers of one size are a sequence, cut into windows of 7 frames without overlap.
    patches     the prepared training sets of DeepHDRVideo: `train_list.txt` of lines `<scene>/<frame>_<k>` and
                `Images/<scene>/<frame>_<k>/<frame>_<k>_f1.npy` to `_f7.npy`: float16 RGB, (352, 352, 3), linear,
                divided by the maximum of the middle frame and clipped to [0, 1].
    septuplets  Vimeo-90K: `sep_trainlist.txt` of lines `00001/0001` and `sequences/00001/0001/im1.png` to `im7.png`.
    pictures    every other .exr or .hdr file, and every frame twice as wide as high (a panorama, numbered or not).
Unlabelled roots (`unlabelled_windows`) are alternating-exposure clips: a video, a folder of frames, or a folder with
`img_list.txt`; or folders of such clips. `Exposures.txt` beside the frames or above them names the stops, else they are
measured; `BaslerCRF.mat` beside or above them is the camera's response (the set of Kalantari et al. 2013 has both).

Patches of frames. A window of frames gives up to 8 windows of 352x352 pixels, ranked by how much the middle frame
differs from the one before, as in the preparation of DeepHDRVideo's training sets (Chen et al., ICCV 2021). 1920x1080
frames of the HdM scenes lose a border of 10 pixels and are reduced to 1280x720 first, and every second frame of the LiU
scene `water`, which repeats its frames, is left out, both as there.

Frames smaller than what is asked for are mirrored at their borders: enlarging them would blur the noise away.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from hdrvid.color.curves import gamma_encode
from hdrvid.color.response import Response, gamma_response, sigmoid_response
from hdrvid.detect.cycle import MIN_CONFIDENCE, estimate_cycle, probed
from hdrvid.errors import ExposureError, HdrvidError, InputError, UsageError
from hdrvid.io import open_clip
from hdrvid.io.exposure_files import read_exposure_file
from hdrvid.io.frames import IMAGE_KINDS, is_image, natural_key, read_picture
from hdrvid.io.response_files import load_response
from hdrvid.types import ClipReader, ExposureCycle, plain_cycle

WINDOW_FRAMES = 7
"""Frames of a window; the middle one is the one it is named after. Sequences of 5 or 6 frames give one of 5."""

MIN_SEQUENCE = 5
"""Consecutive HDR frames that make a sequence; fewer are single pictures."""

PATCHES = 8
"""Patches that a window of frames is cut into, where it is large enough."""

PATCH_SIDE = 352
"""Side of a patch in pixels."""

HDM_SCENES = (
    "bistro_01",
    "bistro_02",
    "bistro_03",
    "cars_closeshot",
    "cars_fullshot",
    "cars_longshot",
    "fireplace_01",
    "fireplace_02",
    "hdr_testimage",
    "showgirl_01",
    "showgirl_02",
    "smith_hammering",
    "smith_welding",
)
"""The scenes of HdM-HDR-2014 that are trained on; poker_fullshot and carousel_fireworks are the test set."""

REPEATED_FRAMES = {"water": 2}
"""Every how many frames a scene shows something new."""

SETS = {
    "HdM": ("HdM-HDR-2014", "https://www.hdm-stuttgart.de/vmlab/hdm-hdr-2014/"),
    "LiU": ("LiU HDRv", "http://www.hdrv.org/Resources.php"),
}
"""Name and address of the sets that the few-shot trials are from."""

PREPARED_URL = "https://github.com/guanyingc/DeepHDRVideo-Dataset"
"""Where copies of both, and the prepared patches, are published."""

VIMEO_URL = "http://toflow.csail.mit.edu/"
"""Where the Vimeo-90K septuplets are published."""

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".mkv",
    ".avi",
    ".m4v",
    ".webm",
    ".mxf",
    ".mts",
    ".m2ts",
    ".ts",
    ".mpg",
    ".mpeg",
    ".wmv",
)
"""Files that are taken for videos when a folder is searched."""

MAX_LISTED = 20
"""Lines of a list in an error."""

_HDR_SUFFIXES = (".exr", ".hdr")
_HDM_SIZE, _HDM_BORDER, _HDM_REDUCED = (1920, 1080), 10, (1280, 720)
_NUMBERED = re.compile(r"(.*?)(\d+)")


# Labelled windows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HdrWindow:
    """Consecutive frames of one scene with their radiance. Nothing is read before `read`; picklable."""

    name: str
    """The middle frame and the patch (bistro_02_000398_3), or the line of a Vimeo-90K list (00001/0001)."""
    scene: str
    """Folder of the frames."""
    files: tuple[str, ...]
    """7 or 5 files in time order: .exr or .hdr frames, .npy patches, or 8-bit pictures."""
    patch: int | None = None
    """0 to 7: which patch of the frames; None: anywhere in them. The .npy files are patches already."""

    def read(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """(T, size, size, 3) float32 linear radiance in units of the source, finite, >= 0, cut at a random place.

        8-bit pictures go through a random inverse camera curve and are 1 at white: their highlights stay clipped, so
        radiance above white is not to be learned from them.
        Raises InputError, naming the file, where one is missing, damaged, not finite or of another size.
        """
        suffix = Path(self.files[0]).suffix.lower()
        if suffix == ".npy":
            return random_crop(_same_size([_read_npy(f) for f in self.files], self.files), size, rng)
        if suffix not in _HDR_SUFFIXES:
            codes = _same_size([read_picture(f).pixels for f in self.files], self.files)
            curve = random_curve(rng)
            return np.asarray(curve.linearize(random_crop(codes, size, rng)), np.float32)
        if self.patch is None:
            return random_crop(_same_size([read_hdr_frame(f, self.scene) for f in self.files], self.files), size, rng)
        patches = cut_patches(self.files, self.scene)
        if self.patch >= len(patches):
            raise InputError(
                f"{self.files[len(self.files) // 2]} is smaller than other frames of its folder: "
                "all frames of a sequence must have one size"
            )
        return random_crop(patches[self.patch], size, rng)


@dataclass(frozen=True)
class Sources:
    """What labelled roots hold."""

    windows: tuple[HdrWindow, ...]
    """Windows of real sequences, in the order of their paths."""
    pictures: tuple[str, ...]
    """Single .exr and .hdr pictures, to be made into moving scenes."""

    def without(self, names: Sequence[str]) -> Sources:
        """These but for the pictures (by stem) and windows (by name or scene) in `names`."""
        held = set(names)
        return Sources(
            tuple(w for w in self.windows if not held & {w.name, w.scene}),
            tuple(p for p in self.pictures if Path(p).stem not in held),
        )

    def __repr__(self) -> str:
        return f"Sources(windows={len(self.windows)}, pictures={len(self.pictures)})"


@dataclass(frozen=True)
class Shot:
    """One labelled window of a few-shot trial."""

    set: str
    """'HdM' or 'LiU': a key of SETS."""
    scene: str
    """Folder of the frames."""
    frame: str
    """Middle frame, without its suffix."""


def training_sources(roots: Sequence[Path], hold_out: Sequence[str] = ()) -> Sources:
    """Everything to train on below the roots, without pictures (by stem) and windows (by name or scene) in `hold_out`.

    Prepared sets give the windows of `train_list.txt`, or without one every patch that `val_list.txt` does not name.
    Raises InputError for a root that is missing or holds nothing, and one with a list of all files that are missing
    in prepared sets and septuplets.
    """
    windows: list[HdrWindow] = []
    pictures: list[Path] = []
    missing: list[str] = []
    for root in roots:
        tree = _search(root)
        for folder in tree.prepared:
            windows += _complete(_listed_patches(folder), missing)
        for folder in tree.septuplets:
            windows += _complete(_septuplets(folder), missing)
        for folder, files in tree.hdr_files.items():
            sequences, singles = _sequences(files)
            pictures += singles
            for sequence in sequences:
                windows += _sequence_windows(folder.name, sequence)
    if missing:
        raise InputError(
            f"{_counted(len(missing), 'training file')} missing: unpack the set again ({PREPARED_URL}, {VIMEO_URL}) or "
            f"take the lines out of its list{_list_of(missing)}"
        )
    return Sources(tuple(windows), tuple(str(p) for p in sorted(pictures))).without(hold_out)


def fewshot_trial(trial: int) -> tuple[Shot, ...]:
    """The five labelled windows of trial 1 to 5 (two exposures). Raises UsageError for another number."""
    trials = _fewshot()["trials"]
    if str(trial) not in trials:
        raise UsageError(f"there is no trial {trial}: give --trial a number from 1 to {len(trials)}")
    return tuple(Shot(**shot) for shot in trials[str(trial)])


def validation_shots() -> tuple[Shot, ...]:
    """The two windows that validate every trial."""
    return tuple(Shot(**shot) for shot in _fewshot()["validation"])


def resolve_shots(roots: Sequence[Path], shots: Sequence[Shot]) -> dict[Shot, tuple[HdrWindow, ...]]:
    """The windows of each shot, up to 8 patches, from prepared patches or from frames below the roots.

    Frames are found by their name, first in a folder named after the scene, then in any.
    Raises InputError for a missing or empty root, and one with a list of everything that is missing.
    """
    trees = [_search(root) for root in roots]
    frames: dict[str, list[Path]] = {}
    for tree in trees:
        for files in tree.hdr_files.values():
            for file in files:
                frames.setdefault(file.stem, []).append(file)
    windows_of: dict[Shot, tuple[HdrWindow, ...]] = {}
    missing: list[str] = []
    incomplete = 0
    for shot in shots:
        known = len(missing)
        windows_of[shot] = tuple(_shot_from_patches(shot, trees, missing) or _shot_from_frames(shot, frames, missing))
        incomplete += len(missing) > known
    if missing:
        where = ", ".join(str(root) for root in roots) or "no folder at all"
        raise InputError(
            f"{_counted(incomplete, 'labelled window')} missing or incomplete in {where}: give --data the folders that "
            f"hold them, or the prepared patches of {PREPARED_URL}{_list_of(missing)}"
        )
    return windows_of


@lru_cache(maxsize=1)
def _fewshot() -> dict:
    return json.loads(resources.files("hdrvid.data").joinpath("fewshot_2exp.json").read_text(encoding="utf-8"))


def _shot_from_patches(shot: Shot, trees: Iterable[_Tree], missing: list[str]) -> list[HdrWindow]:
    for tree in trees:
        for folder in tree.prepared:
            scene = folder / "Images" / shot.scene
            windows = [
                _patch_window(folder, f"{shot.scene}/{shot.frame}_{k}")
                for k in range(PATCHES)
                if (scene / f"{shot.frame}_{k}").is_dir()
            ]
            if windows:
                return _complete(windows, missing)
    return []


def _shot_from_frames(shot: Shot, frames: dict[str, list[Path]], missing: list[str]) -> list[HdrWindow]:
    name, address = SETS[shot.set]
    stems = _neighbours(shot)
    middles = sorted(frames.get(shot.frame, ()), key=lambda p: p.parent.name != shot.scene)
    if not middles:
        missing.append(f"{shot.scene}/{stems[0]}.exr to {stems[-1]}.exr: {name}, {address}")
        return []
    middle = middles[0]
    files = [middle.with_name(f"{stem}{middle.suffix}") for stem in stems]
    absent = [f for f in files if not f.is_file()]
    if absent:
        missing += [f"{shot.scene}/{f.name}, a neighbour of {shot.frame}: {name}, {address}" for f in absent]
        return []
    return _frame_windows(shot.scene, files)


def _neighbours(shot: Shot) -> list[str]:
    """Names of the 7 frames around the shot, itself included."""
    match = _NUMBERED.fullmatch(shot.frame)
    assert match is not None, f"{shot.frame} has no frame number"
    step, radius = REPEATED_FRAMES.get(shot.scene, 1), WINDOW_FRAMES // 2
    return [f"{match[1]}{int(match[2]) + step * offset:0{len(match[2])}d}" for offset in range(-radius, radius + 1)]


# What lies below a root -------------------------------------------------------------------------------------------


@dataclass
class _Tree:
    """What a labelled root holds, by layout."""

    hdr_files: dict[Path, list[Path]] = field(default_factory=dict)
    prepared: list[Path] = field(default_factory=list)
    septuplets: list[Path] = field(default_factory=list)


def _search(root: Path) -> _Tree:
    if not root.exists():
        raise InputError(
            f"training data folder {root} does not exist: give --data a folder of HDR frames, pictures, prepared "
            f"patches ({PREPARED_URL}) or Vimeo-90K septuplets ({VIMEO_URL})"
        )
    tree = _Tree()
    if root.is_file():
        if root.suffix.lower() in _HDR_SUFFIXES:
            tree.hdr_files[root.parent] = [root]
    else:
        _search_folder(root, tree, set())
    if not (tree.hdr_files or tree.prepared or tree.septuplets):
        raise InputError(
            f"{root} holds no .exr or .hdr files, no train_list.txt with Images/ and no sep_trainlist.txt with "
            "sequences/: give --data a folder of HDR frames, prepared patches or Vimeo-90K septuplets"
        )
    return tree


def _search_folder(folder: Path, tree: _Tree, visited: set[Path]) -> None:
    files, folders = _entries(folder, visited)
    names = {f.name for f in files}
    if "sep_trainlist.txt" in names:
        tree.septuplets.append(folder)
        return
    if (folder / "Images").is_dir() and _is_prepared(folder, names):
        tree.prepared.append(folder)
        return
    hdr_files = [f for f in files if f.suffix.lower() in _HDR_SUFFIXES]
    if hdr_files:
        tree.hdr_files[folder] = hdr_files
    for child in folders:
        _search_folder(child, tree, visited)


def _is_prepared(folder: Path, names: set[str]) -> bool:
    """Prepared patches, with or without their lists; the test set has `Images` too, but pictures in it."""
    return bool({"train_list.txt", "val_list.txt"} & names) or any((folder / "Images").glob("*/*/*_f1.npy"))


def _entries(folder: Path, visited: set[Path]) -> tuple[list[Path], list[Path]]:
    """Files and folders of `folder`, sorted, without hidden ones; nothing for a folder that a link leads back to."""
    real = folder.resolve()
    if real in visited:
        return [], []
    visited.add(real)
    try:
        entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}") from error
    return [p for p in entries if p.is_file()], [p for p in entries if p.is_dir()]


def _sequences(files: Sequence[Path]) -> tuple[list[list[Path]], list[Path]]:
    """Sequences of consecutive frames among the HDR files of a folder, and the single pictures.

    What a gap leaves of a sequence, fewer than 5 frames, is neither.
    """
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    singles: list[Path] = []
    for file in files:
        match = _NUMBERED.fullmatch(file.stem)
        if match is None:
            singles.append(file)
        else:
            groups.setdefault((match[1], file.suffix.lower()), []).append((int(match[2]), file))
    sequences: list[list[Path]] = []
    for group in groups.values():
        runs: list[list[tuple[int, Path]]] = []
        for number, file in sorted(group):
            if runs and number == runs[-1][-1][0] + 1:
                runs[-1].append((number, file))
            else:
                runs.append([(number, file)])
        result = [[file for _, file in run] for run in runs if len(run) >= MIN_SEQUENCE]
        result = [run for run in result if _is_film(run)]
        sequences += result
        singles += [] if result else [file for _, file in group]
    return sequences, singles


def _is_film(run: Sequence[Path]) -> bool:
    """Not panoramas, and of one size as far as the first and the last frame tell."""
    first, last = read_picture(run[0]).pixels.shape, read_picture(run[-1]).pixels.shape
    return first == last and first[1] != 2 * first[0]


def _sequence_windows(scene: str, files: Sequence[Path]) -> list[HdrWindow]:
    """Windows without overlap, from the first frame on."""
    files = files[:: REPEATED_FRAMES.get(scene, 1)]
    length = WINDOW_FRAMES if len(files) >= WINDOW_FRAMES else MIN_SEQUENCE
    starts = range(0, len(files) - length + 1, length)
    if not starts:
        return []
    count = _count_patches(files[0], scene)
    return [w for start in starts for w in _frame_windows(scene, files[start : start + length], count)]


def _frame_windows(scene: str, files: Sequence[Path], count: int | None = None) -> list[HdrWindow]:
    middle = files[len(files) // 2]
    count = _count_patches(middle, scene) if count is None else count
    return [HdrWindow(f"{middle.stem}_{k}", scene, tuple(str(f) for f in files), k) for k in range(count)]


def _count_patches(file: Path, scene: str) -> int:
    height, width = read_hdr_frame(str(file), scene).shape[:2]
    return min(PATCHES, len(list(_boxes(height, width))))


def _patch_window(root: Path, line: str) -> HdrWindow:
    """A window of the prepared sets from its line in their lists."""
    folder = root / "Images" / line
    name = folder.name
    number = re.search(r"_(\d+)$", name)
    files = tuple(str(folder / f"{name}_f{i}.npy") for i in range(1, WINDOW_FRAMES + 1))
    return HdrWindow(name, folder.parent.name, files, int(number[1]) if number else None)


def _listed_patches(root: Path) -> list[HdrWindow]:
    train, val = root / "train_list.txt", root / "val_list.txt"
    if train.is_file():
        lines = _lines(train)
    else:
        held = set(_lines(val)) if val.is_file() else set()
        patches = sorted(p for p in (root / "Images").glob("*/*") if p.is_dir())
        lines = [line for p in patches if (line := f"{p.parent.name}/{p.name}") not in held]
    return [_patch_window(root, line) for line in lines]


def _septuplets(root: Path) -> list[HdrWindow]:
    windows = []
    for line in _lines(root / "sep_trainlist.txt"):
        folder = root / "sequences" / line
        files = tuple(str(folder / f"im{i}.png") for i in range(1, WINDOW_FRAMES + 1))
        windows.append(HdrWindow(line, folder.parent.name, files))
    return windows


def _complete(windows: Iterable[HdrWindow], missing: list[str]) -> list[HdrWindow]:
    """The windows; their files that are not there, or the folder that holds none of them, are added to `missing`."""
    windows = list(windows)
    for window in windows:
        folder = os.path.dirname(window.files[0])
        try:
            names = set(os.listdir(folder))
        except OSError:
            missing.append(folder)
            continue
        missing += [f for f in window.files if os.path.basename(f) not in names]
    return windows


def _lines(path: Path) -> list[str]:
    """The lines of a list that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list {path} cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _list_of(items: Sequence[str]) -> str:
    more = [f"and {len(items) - MAX_LISTED} more"] if len(items) > MAX_LISTED else []
    return "".join(f"\n  {item}" for item in [*items[:MAX_LISTED], *more])


def _counted(count: int, noun: str) -> str:
    return f"1 {noun} is" if count == 1 else f"{count} {noun}s are"


# Pixels -----------------------------------------------------------------------------------------------------------


def random_crop(frames: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """One random place of all frames (T, H, W, 3), mirrored where too small: a (T, size, size, 3) float32 copy."""
    height, width = frames.shape[1:3]
    top = int(rng.integers(max(height - size, 0) + 1))
    left = int(rng.integers(max(width - size, 0) + 1))
    part = frames[:, top : top + size, left : left + size]
    if min(part.shape[1:3]) < size:
        lacking = [size - n for n in part.shape[1:3]]
        part = np.pad(part, ((0, 0), *((n // 2, n - n // 2) for n in lacking), (0, 0)), mode="reflect")
    return np.array(part, np.float32)


def random_curve(rng: np.random.Generator) -> Response:
    """The curve that finished video may have gone through: half are gammas of 1.8 to 2.6, half S-shaped.

    The S-shaped ones are `sigmoid_response` with n 0.55 to 0.95 and sigma 0.4 to 0.8: around the mean of measured
    camera curves (0.9, 0.6), and towards lower n, for finished video is brighter in the middle than a camera's code.
    """
    if rng.random() < 0.5:
        return gamma_response(float(rng.uniform(1.8, 2.6)))
    return sigmoid_response(float(rng.uniform(0.55, 0.95)), float(rng.uniform(0.4, 0.8)))


def read_hdr_frame(file: str, scene: str) -> np.ndarray:
    """(H, W, 3) radiance >= 0; HdM footage without its border, at 720 rows."""
    picture = read_picture(file)
    # published results are of the set as it is stored
    pixels = np.maximum(picture.pixels if scene in HDM_SCENES else picture.rec709, 0.0)
    if scene in HDM_SCENES and pixels.shape[1::-1] == _HDM_SIZE:
        b = _HDM_BORDER
        pixels = cv2.resize(np.ascontiguousarray(pixels[b:-b, b:-b]), _HDM_REDUCED, interpolation=cv2.INTER_AREA)
    return pixels


def _read_npy(file: str) -> np.ndarray:
    """(H, W, 3) of a prepared patch."""
    try:
        pixels = np.load(file, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{file} does not exist: check the path") from error
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} cannot be read as .npy: it is damaged, copy it again") from error
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0 or not np.issubdtype(pixels.dtype, np.floating):
        raise InputError(
            f"{file} holds {pixels.dtype} {pixels.shape}, not a float (height, width, 3): prepare the patch again"
        )
    if not np.isfinite(pixels).all():
        raise InputError(f"{file} holds NaN or infinite values: prepare the patch again")
    return np.maximum(pixels.astype(np.float32), 0.0)


def _same_size(frames: Sequence[np.ndarray], files: Sequence[str]) -> np.ndarray:
    """(T, H, W, 3)."""
    for frame, file in zip(frames, files, strict=True):
        if frame.shape != frames[0].shape:
            raise InputError(
                f"{file} is {frame.shape[1]}x{frame.shape[0]} but {Path(files[0]).name} is "
                f"{frames[0].shape[1]}x{frames[0].shape[0]}: all frames of a sequence must have one size"
            )
    return np.stack(frames)


def _boxes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Top and left of all patches: half overlapping, the last row and column that would just fit left out."""
    step = PATCH_SIDE // 2
    for top in range(0, max(height - PATCH_SIDE, 1), step):
        for left in range(0, max(width - PATCH_SIDE, 1), step):
            yield top, left


@lru_cache(maxsize=1)
def cut_patches(files: tuple[str, ...], scene: str) -> tuple[np.ndarray, ...]:
    """The patches (T, 352, 352, 3) of a window, most motion first; smaller where the frames are.

    Kept for the other patches of the window, which are usually read next.
    """
    middle = len(files) // 2
    ends = _same_size([read_hdr_frame(files[i], scene) for i in (middle - 1, middle)], files[middle - 1 : middle + 1])
    peak = max(float(ends[1].max()), 1e-12)
    # as a frame 3 stops above the one in which the brightest pixel just clips shows it
    before, current = gamma_encode(ends / np.float32(peak) * np.float32(8.0))
    change = np.abs(current - before).mean(axis=-1)
    height, width = change.shape
    ranked = sorted(
        ((float(change[y : y + PATCH_SIDE, x : x + PATCH_SIDE].mean()), (y, x)) for y, x in _boxes(height, width)),
        reverse=True,
    )
    corners = [corner for _, corner in ranked[:PATCHES]]
    shape = (len(files), min(PATCH_SIDE, height), min(PATCH_SIDE, width), 3)
    patches = tuple(np.empty(shape, np.float32) for _ in corners)
    for t, file in enumerate(files):
        frame = ends[t - middle + 1] if t in (middle - 1, middle) else read_hdr_frame(file, scene)
        _same_size([ends[0], frame], [files[middle - 1], file])
        for patch, (y, x) in zip(patches, corners, strict=True):
            patch[t] = frame[y : y + PATCH_SIDE, x : x + PATCH_SIDE]
    return patches


# Unlabelled windows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LdrWindow:
    """Consecutive frames of an alternating-exposure clip. Nothing is read before `read`; picklable."""

    name: str
    """The scene and the first frame's index."""
    scene: str
    """Path of the clip from its root on."""
    files: tuple[str, ...]
    """The image files of the window, or one video."""
    start: int
    """Index of the first frame in the clip."""
    stops: tuple[float, ...]
    """Stops of every frame, the shortest exposure of the clip is 0."""
    response: str
    """What `hdrvid.io.response_files.load_response` takes: the curve of the clip's codes."""

    @property
    def num_exposures(self) -> int:
        """Exposures in a cycle of the clip: 2 or 3."""
        return len(set(self.stops))

    def read(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """(T, size, size, 3) float32 in network code (gamma 2.2), 0..1, cut at a random place; one pass over a video.

        Raises InputError, naming the file, where one is missing, damaged, of another size or too short.
        """
        if is_image(self.files[0]):
            frames = [read_picture(f).pixels for f in self.files]
            names: Sequence[str] = self.files
        else:
            stop = self.start + len(self.stops)
            with open_clip(self.files[0]) as reader:
                frames = [frame.pixels for frame in reader.frames(self.start, stop)]
            if len(frames) < len(self.stops):
                raise InputError(f"{self.files[0]} ends before frame {stop - 1}: copy it again")
            names = [f"frame {self.start + i} of {self.files[0]}" for i in range(len(frames))]
        codes = random_crop(_same_size(frames, names), size, rng)
        return np.asarray(_loaded_response(self.response).network_code(codes), np.float32)


@dataclass(frozen=True)
class _Clip:
    scene: str
    files: tuple[str, ...]
    exposures: Path | None
    response: Path | None


def unlabelled_windows(roots: Sequence[Path]) -> tuple[LdrWindow, ...]:
    """Windows of all alternating-exposure clips below the roots: 7 frames without overlap, from the first on.

    Clips of fewer frames give one window of 5, or of 3 for two exposures. Folders of .exr or .hdr files are taken
    for truth and left out, except where the root is one.
    Raises InputError for a root that is missing or holds no clip, ExposureError for a clip whose exposures are not
    clear, and one InputError with a list where several clips cannot be used.
    """
    windows: list[LdrWindow] = []
    problems: list[HdrvidError] = []
    for root in roots:
        for clip in _clips(root):
            try:
                windows += _clip_windows(clip)
            except HdrvidError as error:
                problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InputError(
            f"{len(problems)} unlabelled clips cannot be used: mend or move them{_list_of([str(p) for p in problems])}"
        )
    return tuple(windows)


def _clips(root: Path) -> list[_Clip]:
    if not root.exists():
        raise InputError(f"{root} does not exist: give --unlabelled a video, a folder of frames or a folder of clips")
    if root.is_file():
        return [_Clip(root.stem, (str(root),), *_companions(root.parent, root.parent))]
    clips: list[_Clip] = []
    _search_clips(root, root, clips, set())
    if not clips:
        raise InputError(
            f"{root} holds no clip: give --unlabelled a video, a folder of frames, or a folder of such clips"
        )
    return clips


def _search_clips(folder: Path, root: Path, clips: list[_Clip], visited: set[Path]) -> None:
    files, folders = _entries(folder, visited)
    companions = _companions(folder, root.parent)
    scene = folder.relative_to(root.parent).as_posix() if folder != root else root.resolve().name
    by_name = {f.name: f for f in files}
    for name in ("img_list.txt", "img_hdr_list.txt"):  # the second names the frame and its truth on each line
        if name in by_name:
            listed = tuple(str(folder / line.split()[0]) for line in _lines(by_name[name]))
            clips.append(_Clip(scene, listed, *companions))
            return
    images = [f for f in files if is_image(f)]
    frames = [f for f in images if f.suffix.lower() not in _HDR_SUFFIXES]
    if not frames and folder == root:
        frames = images
    if len(frames) >= 3:  # one or two are a poster or a chart
        kinds = Counter(IMAGE_KINDS[f.suffix.lower()] for f in frames)
        if len(kinds) > 1:
            raise InputError(
                f"{folder} mixes {' and '.join(kinds)} files: keep the frames of a clip in a folder of one kind"
            )
        clips.append(_Clip(scene, tuple(str(f) for f in frames), *companions))
        return
    for video in (f for f in files if f.suffix.lower() in VIDEO_SUFFIXES):
        clips.append(_Clip(f"{scene}/{video.stem}", (str(video),), *companions))
    for child in folders:
        _search_clips(child, root, clips, visited)


def _companions(folder: Path, top: Path) -> tuple[Path | None, Path | None]:
    """The nearest Exposures.txt and BaslerCRF.mat, from `folder` up to `top`."""
    places = [folder]
    while places[-1] != top and places[-1] != places[-1].parent:
        places.append(places[-1].parent)
    exposures, response = (
        next((p / name for p in places if (p / name).is_file()), None) for name in ("Exposures.txt", "BaslerCRF.mat")
    )
    return exposures, response


def _clip_windows(clip: _Clip) -> list[LdrWindow]:
    images = is_image(clip.files[0]) if clip.files else True
    missing = [f for f in clip.files if not os.path.isfile(f)]
    if missing or not clip.files:
        raise InputError(f"frames of {clip.scene} that its list names are missing{_list_of(missing)}")
    with open_clip(clip.files) as reader:
        linear = reader.info.linear
        response = "linear" if linear else str(clip.response) if clip.response else "gamma2.2"
        listed = read_exposure_file(clip.exposures) if clip.exposures else _measured_cycle(reader, clip, response)
        cycle = plain_cycle(listed, str(clip.exposures or reader.info.source))
        count = reader.info.num_frames
        if count is None:
            count = sum(1 for _ in reader.frames())
    needed = 2 * cycle.window_radius + 1
    if count < needed:
        raise InputError(
            f"{reader.info.source} has only {count} frame(s), but training on {len(cycle)} exposures needs {needed} in "
            "a row: give a longer clip or leave it out"
        )
    length = max(n for n in (3, 5, WINDOW_FRAMES) if n <= count)
    return [
        LdrWindow(
            f"{clip.scene}/{start:06d}",
            clip.scene,
            clip.files[start : start + length] if images else clip.files,
            start,
            tuple(cycle.stops_at(i) for i in range(start, start + length)),
            response,
        )
        for start in range(0, count - length + 1, length)
    ]


def _measured_cycle(reader: ClipReader, clip: _Clip, response: str) -> ExposureCycle:
    estimate = estimate_cycle(map(_loaded_response(response).linearize, probed(reader)))
    if estimate.cycle is None or estimate.confidence < MIN_CONFIDENCE:
        raise ExposureError(
            f"the exposures of {clip.scene} are not clear ({estimate.reason}): write the stops of one cycle, beginning "
            f"with the first frame, one a line, into {Path(clip.files[0]).parent / 'Exposures.txt'}"
        )
    return estimate.cycle


@lru_cache(maxsize=8)
def _loaded_response(spec: str) -> Response:
    return load_response(spec)
