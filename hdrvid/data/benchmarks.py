"""The benchmarks of the field, read as they lie on disk: which frames are scored, and how the truth is scaled.

Frames are scored as the published evaluation of DeepHDRVideo (Chen et al., ICCV 2021) does: of n frames, counted from
0, those from 2 to n-3 (2 exposures) or 3 to n-4 (3 exposures). Two things lie beside them that are no truth:
    kalantari               `img_hdr_list.txt` and `HDR/` hold the results of Kalantari et al. 2013.
    deephdrvideo-dynamic    one truth a scene, listed for every frame: it was captured for the middle one alone.
All sets but `kalantari` are coded with gamma 2.2; its 16-bit codes are looked up in a table of 65536 rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from hdrvid.color.curves import gamma_encode
from hdrvid.errors import ExposureError, InputError, UsageError
from hdrvid.io.exposure_files import read_exposure_file
from hdrvid.io.frames import Picture, folder_frames, natural_key, read_picture
from hdrvid.io.mat import read_mat
from hdrvid.io.response_files import MAT_VARIABLE
from hdrvid.types import ExposureCycle, plain_cycle


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

    @property
    def black(self) -> float:
        """Code at or below which its frames are black, see `hdrvid.types.Window`."""
        ...

    def truth(self, index: int) -> np.ndarray | None:
        """(H, W, 3) float32 radiance, 1.0 = clipping of the shortest exposure; None where the set has none."""
        ...

    def visible(self, index: int, others: Sequence[int]) -> np.ndarray | None:
        """(K, H, W) bool: which pixels of frame `index` are visible in each of `others`; None where that is unknown."""
        ...


@runtime_checkable
class AlignedClip(EvalClip, Protocol):
    """A clip that knows the camera's motion and can take it out of the neighbours of a frame."""

    def aligned(self, frame: np.ndarray, index: int, reference: int) -> np.ndarray:
        """Frame `index`, (H, W, 3) `frame` as `ldr` gave it, moved onto frame `reference`.

        Pixels that frame `index` does not show stay as they are. Raises InputError where the motion is damaged.
        """
        ...


def frame_names(clip: EvalClip) -> tuple[str, ...]:
    """A name for every frame, unique in its clip: that of its file, else those of the clip and index, `fire_000003`.

    A clip may have `frame_name(index)`, the name of a frame's file without its suffix. Nothing of the clip is read.
    """
    name_of: Callable[[int], str] | None = getattr(clip, "frame_name", None)
    if name_of is not None:
        names = tuple(name_of(i) for i in range(clip.num_frames))
        if len({name.lower() for name in names}) == len(names):
            return names
    scene = re.sub(r"[^\w.-]+", "_", clip.name)
    return tuple(f"{scene}_{i:06d}" for i in range(clip.num_frames))


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
        "  TOG13_Dynamic_Dataset/<scene>/Affine_Trans_Matrices/<frame>_match.txt, for alignment only\n"
        "or BaslerCRF.mat and one folder of frames and Exposures.txt a scene"
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
        "  dynamic_RGB_data_2exp_release/<scene>/img_hdr_list.txt, Exposures.txt, img_00.tif, ..., <scene>.hdr"
    ),
    "deephdrvideo-static": (
        "static_RGB_data_2exp_rand_motion_release and static_RGB_data_3exp_rand_motion_release from "
        "github.com/guanyingc/DeepHDRVideo-Dataset.\n"
        "  static_RGB_data_2exp_rand_motion_release/scene_all.txt\n"
        "  static_RGB_data_2exp_rand_motion_release/<scene>/img_hdr_list.txt, Exposures.txt, img_000.tif, img_000.hdr"
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
_INNER = "frames {first} to n-{last} of each scene, counted from 0"
_TRUTH_BY_MAXIMUM = (
    "truth (.hdr) divided by its maximum where that is above 1, frame by frame, negative values 0, 1 = clipping of the "
    "shortest exposure"
)
_DESCRIPTIONS = {
    "kalantari": f"{_INNER}; response BaslerCRF.mat divided by its maximum; no truth exists",
    "cinematic": f"{_INNER}; truth (.hdr) as stored, negative values 0, 1 = clipping of the shortest exposure",
    "deephdrvideo-dynamic": f"the middle frame of each scene, the only one with truth; {_TRUTH_BY_MAXIMUM}",
    "deephdrvideo-static": f"{_INNER}; {_TRUTH_BY_MAXIMUM}",
}
_MATRICES = "Affine_Trans_Matrices"
_LARGEST_LIST_BYTES = 4 << 20
"""Names of more frames than anybody films."""


def default_root(dataset: str) -> Path:
    """Where a set lies unless `--root` says otherwise: $HDRVID_DATA/<dataset>, else ~/.cache/hdrvid/<dataset>."""
    base = os.environ.get("HDRVID_DATA")
    return (Path(base) if base else Path.home() / ".cache" / "hdrvid") / dataset


def published_folder(dataset: str, cycle: int) -> str:
    """The folder that a set unpacks to."""
    return _FOLDERS[dataset].format(cycle=cycle)


def open_benchmark(dataset: str, root: Path | None, cycle: int, *, align: bool = False) -> Benchmark:
    """One of the sets of PUBLISHED, read as it lies below `root` (None: `default_root`); `cycle` 2 or 3 exposures.

    `root` is the folder of the set, or the one that holds it. Frames are read when they are asked for. Scenes that a
    list names and that cannot be used are `missing`; frames without truth, in a set that has truth, are not scored.
    `align`: the clips are `AlignedClip`s, by the motion that lies beside the frames of `kalantari`; the other sets have
    none and are published without it.
    Raises InputError where the set is not there or no scene of it can be used: where to get it and how it lies.
    Raises UsageError for `align` with another set.
    """
    if align and dataset != "kalantari":
        raise UsageError(f"{dataset} comes without the camera's motion, only kalantari has it: leave the alignment out")
    folder = _find_root(dataset, root, cycle)
    response = _basler_response(folder / "BaslerCRF.mat") if dataset == "kalantari" else None
    clips: list[EvalClip] = []
    missing: list[str] = []
    for name in _scene_names(dataset, folder, cycle):
        try:
            clip, notes = _open_scene(dataset, folder, name, cycle, response, align)
        except (InputError, ExposureError) as error:
            missing.append(f"scene {printable(name)}: {error}")
            continue
        missing += [f"scene {printable(name)}: {note}" for note in notes]
        clips.append(clip)
    if not clips:
        reasons = "".join(f"\n  {text}" for text in missing[:10]) or "\n  it lists no scenes"
        raise InputError(f"no scene of {dataset} with {cycle} exposures in {folder} can be used:{reasons}")
    description = _DESCRIPTIONS[dataset].format(first=cycle, last=cycle + 1)
    if align:
        description += f"; neighbours moved onto the reference by {_MATRICES}"
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
    names = _lines(scene_list) if scene_list.is_file() else [p.name for p in _plain_scenes(folder, cycle)]
    return list(dict.fromkeys(names))


def _plain_scenes(folder: Path, cycle: int) -> Iterator[Path]:
    """Folders of frames below `folder` that have a list of this many exposures, by name."""
    if not folder.is_dir():
        return
    for scene in sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: natural_key(p.name)):
        with suppress(InputError, ExposureError):
            if read_exposure_file(scene / "Exposures.txt").period == cycle:
                yield scene


def _open_scene(
    dataset: str,
    root: Path,
    name: str,
    cycle: int,
    response: np.ndarray | None,
    align: bool,
) -> tuple[EvalClip, list[str]]:
    """A scene and what its user should know."""
    parent = root / "Images" if dataset == "cinematic" else root
    scene = _inside(parent, name)
    if not os.path.isdir(scene):  # unlike Path.is_dir, False for a name that no folder can have
        raise InputError("its folder is not there")
    exposures = plain_cycle(read_exposure_file(scene / "Exposures.txt"), "Exposures.txt")
    if len(exposures) != cycle:
        raise InputError(f"Exposures.txt holds a cycle of {len(exposures)}, not of {cycle}")
    if align and not (scene / _MATRICES).is_dir():
        raise InputError(f"it has no {_MATRICES}: get the set again, or leave the alignment out")
    frames, truths = _listed_files(dataset, scene)
    present = [os.path.isfile(path) for path in frames]
    notes = _of_frames(
        "not there", [path.name for path, is_present in zip(frames, present, strict=True) if not is_present]
    )
    scored = [i for i in range(cycle, len(frames) - cycle) if present[i]]
    if dataset != "kalantari":
        with_truth = [i for i in scored if (path := truths[i]) is not None and os.path.isfile(path)]
        expected = scored if dataset != "deephdrvideo-dynamic" else [i for i in scored if i == len(frames) // 2]
        notes += _of_frames("not scored, they have no truth", [str(i) for i in expected if i not in with_truth])
        scored = with_truth
    if not scored:
        reason = f": {notes[0]}" if notes else ""
        raise InputError(f"none of its {len(frames)} frames can be scored{reason}")
    kind = _AffineClip if align else _ListedClip
    scale_truth = dataset != "cinematic"
    return kind(name, exposures, len(frames), tuple(scored), frames, truths, scale_truth, response), notes


def _of_frames(what: str, names: Sequence[str]) -> list[str]:
    """A sentence on some frames, or nothing where there are none."""
    if not names:
        return []
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return [f"frames that are {what}: {', '.join(map(printable, names[:5]))}{more}"]


def _listed_files(dataset: str, scene: Path) -> tuple[tuple[Path, ...], tuple[Path | None, ...]]:
    """Frames of a scene in order, and the truth that the set has for each."""
    pairs, single = scene / "img_hdr_list.txt", scene / "img_list.txt"
    if pairs.is_file() and (dataset.startswith("deephdrvideo") or (dataset == "kalantari" and not single.is_file())):
        rows = [line.split() for line in _lines(pairs)]
        if any(len(row) != 2 for row in rows):
            raise InputError("a line of img_hdr_list.txt is not the name of a frame and of its truth")
        frames = tuple(_inside(scene, frame) for frame, _ in rows)
        truths = [None if truth.lower() == "none" else _inside(scene, truth) for _, truth in rows]
        if dataset == "deephdrvideo-dynamic":
            truths = [truth if i == len(rows) // 2 else None for i, truth in enumerate(truths)]
        return frames, (None,) * len(frames) if dataset == "kalantari" else tuple(truths)
    if single.is_file():
        names = _lines(single)
        if dataset == "cinematic":
            return tuple(_inside(scene, f"{n}.tif") for n in names), tuple(_inside(scene, f"{n}.hdr") for n in names)
        frames = tuple(_inside(scene, n) for n in names)
    elif dataset == "kalantari":
        frames = tuple(folder_frames(scene))
    else:
        lists = "img_list.txt" if dataset == "cinematic" else "img_hdr_list.txt"
        raise InputError(f"it has no {lists}")
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
        if path.stat().st_size > _LARGEST_LIST_BYTES:
            raise InputError(f"{path} is too large for a list of names: get the set again")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list {path} cannot be read ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _basler_response(path: Path) -> np.ndarray:
    """(N, 3) linear exposure of N evenly spaced codes, scaled by its largest value as published.

    `load_response` would scale each channel by its own: other colours than the published results have.
    Raises InputError where there is no such curve.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there: the frames cannot be linearised without it, get the set again")
    curve = read_mat(path).get(MAT_VARIABLE)
    usable = curve is not None and curve.ndim == 2 and curve.shape[1] == 3 and len(curve) >= 2
    if curve is None or not usable or not np.isfinite(curve).all() or curve.min() < 0 or not curve.max() > 0:
        raise InputError(f"{path} holds no curve {MAT_VARIABLE} of three columns: get the file again")
    return (curve.astype(np.float64) / curve.max()).astype(np.float32)


def _linearised(picture: Picture, table: np.ndarray) -> np.ndarray:
    """(H, W, 3) linear exposure of a frame's codes by the (N, 3) `table`."""
    levels = 2**picture.bit_depth
    codes = np.linspace(0.0, 1.0, len(table))
    if levels != len(table):
        at = np.linspace(0.0, 1.0, levels)
        table = np.stack([np.interp(at, codes, table[:, k]) for k in range(3)], -1).astype(np.float32)
    rows = np.rint(picture.pixels * (levels - 1)).astype(np.intp)
    return np.stack([table[rows[..., k], k] for k in range(3)], -1)


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
    response: np.ndarray | None
    """(N, 3) linear exposure of the codes; None where the frames have network code."""

    @property
    def black(self) -> float:
        """0: the published sets are taken as they are."""
        return 0.0

    def frame_name(self, index: int) -> str:
        return self.frames[index].stem

    def ldr(self, index: int) -> np.ndarray:
        picture = read_picture(self.frames[index])
        if picture.linear:
            raise InputError(f"{self.frames[index]} is linear, but the frames of this set are coded: get it again")
        return picture.pixels if self.response is None else gamma_encode(_linearised(picture, self.response))

    def truth(self, index: int) -> np.ndarray | None:
        path = self.truths[index]
        if path is None or not os.path.isfile(path):
            return None
        picture = read_picture(path)
        if not picture.linear:
            raise InputError(f"{path} is no HDR picture: the truth of this set is .hdr or .exr")
        if picture.pixels.shape != read_picture(self.frames[index]).pixels.shape:
            raise InputError(f"{path} and {self.frames[index].name} differ in size: get the scene again")
        radiance = np.maximum(picture.pixels, 0.0)
        top = float(radiance.max())
        return radiance / np.float32(top) if self.scale_truth and top > 1 else radiance

    def visible(self, index: int, others: Sequence[int]) -> None:
        return None


@dataclass(frozen=True)
class _AffineClip(_ListedClip):
    """A scene with the motion of the camera beside its frames.

    Convention:
        `Affine_Trans_Matrices/<frame>_match.txt`, a row of six numbers for each neighbour, 1 or 2 (3 exposures) before
        and as many behind, in time order: the matrix (2, 3), row by row, that takes pixel coordinates (x, y, 1) of
        the frame to those of the neighbour.
        As published, a neighbour is moved by its OWN matrix towards the reference.
    """

    def aligned(self, frame: np.ndarray, index: int, reference: int) -> np.ndarray:
        if index == reference:
            return frame
        matrix = self._matrix(index, reference - index)
        size = (frame.shape[1], frame.shape[0])
        moved = frame.copy()
        return cv2.warpAffine(frame, matrix, size, moved, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)

    def _matrix(self, index: int, step: int) -> np.ndarray:
        """(2, 3) from the coordinates of frame `index` to those of the frame `step` behind it."""
        frame, reach = self.frames[index], self.cycle.window_radius
        path = frame.parent / _MATRICES / f"{frame.stem}_match.txt"
        try:
            rows = np.array([[float(word) for word in line.split()] for line in _lines(path)])
        except ValueError:
            rows = np.empty(0)
        if rows.shape != (2 * reach, 6) or not np.isfinite(rows).all():
            raise InputError(f"{path} does not hold {2 * reach} rows of six numbers: get the scene again")
        matrix = rows[step + reach - (step > 0)].reshape(2, 3)
        if abs(np.linalg.det(matrix[:, :2])) < 1e-3:
            raise InputError(f"{path} holds a matrix that no camera's motion has: get the scene again")
        return matrix
