"""The benchmarks of the field, read as they lie on disk: which frames are scored, and how the truth is scaled.

Frames are scored as the published evaluation of DeepHDRVideo (Chen et al., ICCV 2021) does: of n frames, counted from
0, those from 2 to n-3 (2 exposures) or 3 to n-4 (3 exposures). All sets but `kalantari` are coded with gamma 2.2.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from hdrvid.errors import ExposureError, InputError
from hdrvid.io.exposure_files import read_exposure_file
from hdrvid.io.frames import folder_frames, natural_key, read_picture
from hdrvid.io.mat import read_mat
from hdrvid.io.response_files import MAT_VARIABLE
from hdrvid.radiance import gamma_encode
from hdrvid.types import ExposureCycle


class EvalClip(Protocol):
    """A clip to score a model on. Frames are read when they are asked for; nothing is kept."""

    @property
    def name(self) -> str:
        """Scene, unique in its dataset."""
        ...

    @property
    def cycle(self) -> ExposureCycle:
        """Exposures, beginning with frame 0."""
        ...

    @property
    def num_frames(self) -> int:
        """Frames that can be read: 0 .. num_frames - 1."""
        ...

    @property
    def scored(self) -> tuple[int, ...]:
        """Indices of the frames that are scored, rising; at least one."""
        ...

    def ldr(self, index: int) -> np.ndarray:
        """(H, W, 3) float32 network code (gamma 2.2, [0, 1]) of a frame. Raises InputError where it is damaged."""
        ...

    def truth(self, index: int) -> np.ndarray | None:
        """(H, W, 3) float32 radiance, 1.0 = clipping of the shortest exposure; None where the set has none."""
        ...

    def visible(self, index: int, others: Sequence[int]) -> np.ndarray | None:
        """(K, H, W) bool: which pixels of frame `index` are visible in each of `others`; None where nobody knows."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """A dataset, ready to be scored."""

    name: str
    """`--dataset`."""
    root: Path
    """Where it lies."""
    description: str
    """What was read, for the protocol line: which frames are scored, how the truth is scaled, which response."""
    clips: tuple[EvalClip, ...]
    """The scenes, in the order of the set's own list."""
    missing: tuple[str, ...] = ()
    """Scenes or files that the set's lists name and that are not there or cannot be used, one sentence each."""


PUBLISHED: dict[str, str] = {
    "kalantari": (
        "the data of Kalantari et al., Patch-based High Dynamic Range Video (SIGGRAPH Asia 2013), as "
        "TOG13_Dynamic_Dataset from github.com/guanyingc/DeepHDRVideo-Dataset.\n"
        "  TOG13_Dynamic_Dataset/BaslerCRF.mat, 2Exp_scenes.txt, 3Exp_scenes.txt\n"
        "  TOG13_Dynamic_Dataset/<scene>/img_list.txt, Exposures.txt and the frames that the list names\n"
        "or one folder of frames and Exposures.txt a scene"
    ),
    "cinematic": (
        "HDR_Synthetic_Test_Dataset from github.com/guanyingc/DeepHDRVideo-Dataset; `hdrvid synth --cinematic` makes "
        "it from the HdM-HDR-2014 videos.\n"
        "  HDR_Synthetic_Test_Dataset/scenes_2expo.txt, scenes_3expo.txt\n"
        "  HDR_Synthetic_Test_Dataset/Images/<scene>/img_list.txt, Exposures.txt, <name>.tif, <name>.hdr"
    ),
    "deephdrvideo-dynamic": (
        "dynamic_RGB_data_2exp_release and dynamic_RGB_data_3exp_release from "
        "github.com/guanyingc/DeepHDRVideo-Dataset.\n"
        "  dynamic_RGB_data_2exp_release/scene_all.txt\n"
        "  dynamic_RGB_data_2exp_release/<scene>/img_hdr_list.txt, Exposures.txt and the files that the list names"
    ),
    "deephdrvideo-static": (
        "static_RGB_data_2exp_rand_motion_release and static_RGB_data_3exp_rand_motion_release from "
        "github.com/guanyingc/DeepHDRVideo-Dataset.\n"
        "  static_RGB_data_2exp_rand_motion_release/scene_all.txt\n"
        "  static_RGB_data_2exp_rand_motion_release/<scene>/img_hdr_list.txt, Exposures.txt and the files that it names"
    ),
}
"""Where each set is published and how it lies, by the name that `--dataset` takes."""

_FOLDERS = {
    "kalantari": "TOG13_Dynamic_Dataset",
    "cinematic": "HDR_Synthetic_Test_Dataset",
    "deephdrvideo-dynamic": "dynamic_RGB_data_{cycle}exp_release",
    "deephdrvideo-static": "static_RGB_data_{cycle}exp_rand_motion_release",
}
_SCENE_LISTS = {
    "kalantari": "{cycle}Exp_scenes.txt",
    "cinematic": "scenes_{cycle}expo.txt",
    "deephdrvideo-dynamic": "scene_all.txt",
    "deephdrvideo-static": "scene_all.txt",
}
_DESCRIPTIONS = {
    "kalantari": "response BaslerCRF.mat; frames {first} to n-{last} of each scene, counted from 0; no truth exists",
    "cinematic": "frames {first} to n-{last} of each scene, counted from 0; truth as stored (.hdr), negative values 0",
    "deephdrvideo-dynamic": (
        "frames {first} to n-{last} of each scene that have truth, counted from 0; truth (.hdr) divided by its maximum "
        "where that is above 1, frame by frame, negative values 0"
    ),
}
_DESCRIPTIONS["deephdrvideo-static"] = _DESCRIPTIONS["deephdrvideo-dynamic"]


def default_root(dataset: str) -> Path:
    """Where a set lies unless `--root` says otherwise: $HDRVID_DATA/<dataset>, else ~/.cache/hdrvid/<dataset>."""
    base = os.environ.get("HDRVID_DATA")
    return (Path(base) if base else Path.home() / ".cache" / "hdrvid") / dataset


def published_folder(dataset: str, cycle: int) -> str:
    """The folder that a set unpacks to."""
    return _FOLDERS[dataset].format(cycle=cycle)


def open_benchmark(dataset: str, root: Path | None, cycle: int) -> Benchmark:
    """One of the sets of PUBLISHED, read as it lies below `root` (None: `default_root`); `cycle` 2 or 3 exposures.

    `root` is the folder of the set, or the one that holds it. Frames are read when they are asked for. Scenes that a list
    names and that cannot be used are `missing`; frames without truth, in a set that has truth, are not scored.
    Raises InputError where the set is not there or no scene of it can be used: where to get it and how it lies.
    """
    folder = _find_root(dataset, root, cycle)
    response = _basler_response(folder / "BaslerCRF.mat") if dataset == "kalantari" else None
    clips: list[EvalClip] = []
    missing: list[str] = []
    for name in _scene_names(dataset, folder, cycle):
        try:
            clip, notes = _open_scene(dataset, folder, name, cycle, response)
        except (InputError, ExposureError) as error:
            missing.append(f"scene {printable(name)}: {error}")
            continue
        missing += [f"scene {printable(name)}: {note}" for note in notes]
        clips.append(clip)
    if not clips:
        reasons = "".join(f"\n  {text}" for text in missing[:10]) or "\n  it lists no scenes"
        raise InputError(f"no scene of {dataset} with {cycle} exposures in {folder} can be used:{reasons}")
    description = _DESCRIPTIONS[dataset].format(first=cycle, last=cycle + 1)
    return Benchmark(dataset, folder, f"{cycle} exposures, {description}", tuple(clips), tuple(missing))


def printable(name: str) -> str:
    """The beginning of a name, fit for a message."""
    return name[:80].encode("unicode_escape").decode()


def _find_root(dataset: str, root: Path | None, cycle: int) -> Path:
    root = default_root(dataset) if root is None else root
    wanted = published_folder(dataset, cycle)
    for folder in (root / wanted, root):
        scene_list = folder / _SCENE_LISTS[dataset].format(cycle=cycle)
        if scene_list.is_file() or (dataset == "kalantari" and any(_plain_scenes(folder, cycle))):
            return folder
    raise InputError(
        f"{dataset} with {cycle} exposures is not in {root}: get {PUBLISHED[dataset]}\n"
        f"Put {wanted} into {default_root(dataset)}, or give --root the folder that holds it."
    )


def _scene_names(dataset: str, folder: Path, cycle: int) -> list[str]:
    scene_list = folder / _SCENE_LISTS[dataset].format(cycle=cycle)
    return _lines(scene_list) if scene_list.is_file() else [p.name for p in _plain_scenes(folder, cycle)]


def _plain_scenes(folder: Path, cycle: int) -> Iterator[Path]:
    """Folders of frames below `folder` that have a list of this many exposures, by name."""
    if not folder.is_dir():
        return
    for scene in sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: natural_key(p.name)):
        with suppress(InputError, ExposureError):
            if len(read_exposure_file(scene / "Exposures.txt")) == cycle:
                yield scene


def _open_scene(
    dataset: str, root: Path, name: str, cycle: int, response: Callable[[np.ndarray], np.ndarray] | None
) -> tuple[EvalClip, list[str]]:
    """A scene and what its user should know."""
    parent = root / "Images" if dataset == "cinematic" else root
    scene = _inside(parent, name)
    if not scene.is_dir():
        raise InputError("its folder is not there")
    exposures = read_exposure_file(scene / "Exposures.txt")
    if len(exposures) != cycle:
        raise InputError(f"Exposures.txt holds a cycle of {len(exposures)}, not of {cycle}")
    frames, truths = _listed_files(dataset, scene)
    there = [path.is_file() for path in frames]
    notes = [f"{path.name} is not there" for path, found in zip(frames, there, strict=True) if not found]
    inner = range(cycle, len(frames) - cycle)
    if dataset == "kalantari":
        scored = tuple(i for i in inner if there[i])
    else:
        scored = tuple(i for i in inner if there[i] and truths[i] is not None and truths[i].is_file())  # type: ignore[union-attr]
        lacking = [i for i in inner if i not in scored and there[i]]
        if lacking:
            notes.append(f"frames without ground truth are not scored ({', '.join(map(str, lacking))})")
    if not scored:
        reason = f"; {notes[0]}" if notes else ""
        raise InputError(f"none of its {len(frames)} frames can be scored{reason}")
    return _ListedClip(name, exposures, len(frames), scored, frames, truths, dataset != "cinematic", response), notes


def _listed_files(dataset: str, scene: Path) -> tuple[tuple[Path, ...], tuple[Path | None, ...]]:
    """Frames of a scene in order, and the truth that the set has for each."""
    pairs = scene / "img_hdr_list.txt"
    if pairs.is_file() and dataset != "cinematic":
        rows = [line.split() for line in _lines(pairs)]
        if any(len(row) != 2 for row in rows):
            raise InputError("a line of img_hdr_list.txt is not the name of a frame and of its truth")
        hdrs = [None if truth.lower() == "none" else _inside(scene, truth) for _, truth in rows]
        return tuple(_inside(scene, frame) for frame, _ in rows), tuple(hdrs)
    if (scene / "img_list.txt").is_file():
        names = _lines(scene / "img_list.txt")
        if dataset == "cinematic":
            return tuple(_inside(scene, f"{n}.tif") for n in names), tuple(_inside(scene, f"{n}.hdr") for n in names)
        frames = tuple(_inside(scene, n) for n in names)
    elif dataset == "kalantari":
        frames = tuple(folder_frames(scene))
    else:
        raise InputError("it has neither img_hdr_list.txt nor img_list.txt")
    return frames, (None,) * len(frames)


def _inside(folder: Path, name: str) -> Path:
    """`folder / name`. Raises InputError for a name that leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if "\0" in name or path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
        raise InputError(f"'{printable(name)}' is no name of a file below it")
    return folder / path


def _lines(path: Path) -> list[str]:
    """Lines of a list that are not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list {path} cannot be read ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _basler_response(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Codes (H, W, 3) in [0, 1] to network code by the camera's curve, scaled by its largest value as published.

    Raises InputError where there is no such curve.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there: the frames cannot be linearised without it; see --dataset kalantari")
    curve = read_mat(path).get(MAT_VARIABLE)
    if curve is None or curve.ndim != 2 or curve.shape[1] != 3 or len(curve) < 2 or not curve.max() > 0:
        raise InputError(f"{path} holds no curve {MAT_VARIABLE} of three columns: get the file again")
    table = curve.astype(np.float64) / curve.max()
    codes = np.linspace(0.0, 1.0, len(table))

    def to_network_code(frame: np.ndarray) -> np.ndarray:
        linear = np.stack([np.interp(frame[..., k], codes, table[:, k]) for k in range(3)], -1)
        return gamma_encode(linear).astype(np.float32)

    return to_network_code


@dataclass(frozen=True)
class _ListedClip:
    """A scene whose frames and truths are files."""

    name: str
    cycle: ExposureCycle
    num_frames: int
    scored: tuple[int, ...]
    frames: tuple[Path, ...]
    truths: tuple[Path | None, ...]
    scale_truth: bool
    """Divide a truth by its maximum where that is above 1."""
    response: Callable[[np.ndarray], np.ndarray] | None
    """To network code; None where the frames have that code."""

    def ldr(self, index: int) -> np.ndarray:
        picture = read_picture(self.frames[index])
        if picture.linear:
            raise InputError(f"{self.frames[index]} is linear, but the frames of this set are coded: get it again")
        return picture.pixels if self.response is None else self.response(picture.pixels)

    def truth(self, index: int) -> np.ndarray | None:
        path = self.truths[index]
        if path is None or not path.is_file():
            return None
        picture = read_picture(path)
        if not picture.linear:
            raise InputError(f"{path} is no HDR picture: the truth of this set is .hdr or .exr")
        radiance = np.maximum(picture.pixels, 0.0)
        top = float(radiance.max())
        return radiance / np.float32(top) if self.scale_truth and top > 1 else radiance

    def visible(self, index: int, others: Sequence[int]) -> None:
        return None
