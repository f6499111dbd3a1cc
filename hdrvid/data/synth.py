"""Alternating-exposure clips of HDR scenes, in memory and on disk. The camera that films them is in `camera`.

Convention:
    radiance    (H, W, 3) float32 linear; 1.0 = the radiance at which the SHORTEST exposure clips.
    ldr         (H, W, 3) float32 code in [0, 1], gamma 2.2: the code inside the networks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hdrvid.color.half import HALF_MAX
from hdrvid.data.camera import SynthesisOptions, clipping_level, drawn_value, expose, film, normalise
from hdrvid.data.scenes import Scene, picture_scene, procedural_scene
from hdrvid.errors import InputError, OutputError, UsageError
from hdrvid.options.synth import NUM_FRAMES, SynthOptions
from hdrvid.types import Exposures, PathLike

FRAMES_PER_SECOND = 24
"""Frame rate of the videos written."""

CLIP_FILES = ("clip.mp4", "Exposures.txt", "synth.json")
"""Files of a clip."""

CLIP_FOLDERS = ("truth", "frames")
"""Folders of a clip."""

_HDR_SUFFIXES = (".exr", ".hdr")


@dataclass(frozen=True)
class SyntheticClip:
    """An alternating-exposure clip and its ground truth, in memory."""

    ldr: list[np.ndarray]
    """Frames (H, W, 3) float32, gamma 2.2 code in [0, 1]."""
    truth: list[np.ndarray]
    """Radiance (H, W, 3) float32 of every frame, 1.0 = clipping of the shortest exposure, not clipped."""
    cycle: Exposures
    """Exposures, beginning with frame 0."""
    scale: float
    """Scene units of radiance 1.0."""
    options: SynthesisOptions = field(default_factory=SynthesisOptions)
    """The camera: every range drawn."""

    def __repr__(self) -> str:
        return f"SyntheticClip(frames={len(self.ldr)}x{self.ldr[0].shape}, cycle={self.cycle}, scale={self.scale:.4g})"


def synthesise(
    scene: Scene, cycle: Exposures, num_frames: int, seed: int, options: SynthesisOptions | None = None
) -> SyntheticClip:
    """Film frames 0 .. num_frames - 1 of a scene with alternating exposures; the same seed gives the same clip.

    Raises UsageError when `num_frames` is below 1, InputError when the scene is black.
    """
    _check_count(num_frames)
    rng = np.random.default_rng([seed, 10])
    camera = (options or SynthesisOptions()).drawn(rng)
    truth, scale = normalise([scene.render(t) for t in range(num_frames)], drawn_value(camera.clip_percentile))
    exposures = [cycle.exposure_at(t) for t in range(num_frames)]
    if camera.h264_crf is None:
        ldr = [expose(truth[t], exposures[t], _frame_rng(seed, t), camera) for t in range(num_frames)]
    else:
        ldr = list(film(np.stack(truth), exposures, _frame_rng(seed, 0), camera))
    return SyntheticClip(ldr, truth, cycle, scale, camera)


def _frame_rng(seed: int, index: int) -> np.random.Generator:
    """Noise of one frame: the same whether or not the frames before it were made."""
    return np.random.default_rng([seed, 11, index])


def _check_count(num_frames: int) -> None:
    if num_frames < 1:
        raise UsageError(f"a clip has at least one frame, not {num_frames}: give a larger number of frames")


# ---- clips on disk ---------------------------------------------------------------------------------------------------


def synth_to_folder(
    out: PathLike,
    options: SynthOptions,
    source: PathLike | None = None,
    *,
    camera: SynthesisOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write an alternating-exposure clip with its ground truth into the folder `out`; returns what synth.json holds.

    options: of its `video`: clip.mp4 (H.264, 8 bit 4:2:0, even sizes only), else frames/NNNNNN.png (16 bit). Codes are
        gamma 2.2.
    source: None = hdrvid's own scene of that seed; a panorama (.exr or .hdr, twice as wide as high); another HDR
        image; or a folder of HDR frames, used in order as they are, cut to the shape asked for and scaled.
    camera: default: read noise 1e-3 to 2e-3, 8000 to 20000 electrons, shortest exposure clipping at the 99.5th to
        99.9th percentile, no codec damage other than that of the video.
    progress: called with (frames done, frames in all).

    Also writes Exposures.txt (stops of one cycle, one a line), truth/truth.NNNNNN.exr (half float, 1.0 = clipping of
    the shortest exposure) and synth.json. Only one frame is in memory at a time; the scale comes from the first cycle.
    Raises UsageError for sizes and counts that have no meaning, InputError for a source that cannot be used,
    OutputError where `out` cannot be written.
    """
    from hdrvid.io.exr import write_exr

    out, cycle, video, seed = Path(out), options.cycle, options.video, options.seed
    width, height = options.size
    num_frames = NUM_FRAMES if options.frames is None else options.frames
    _check_count(num_frames)
    if video and (width % 2 or height % 2):
        raise UsageError(f"a 4:2:0 video has an even size, not {width}x{height}: give --size an even width and height")
    camera = camera or SynthesisOptions((99.5, 99.9), (1e-3, 2e-3), (8000.0, 20000.0), bits=None if video else 16)
    if camera.h264_crf is not None:
        raise UsageError("frames written one by one cannot pass H.264 together: ask for a video instead of h264_crf")
    kind, frame_at = _frame_source(source, seed, width, height, num_frames)
    camera = camera.drawn(np.random.default_rng([seed, 10]))
    percentile = drawn_value(camera.clip_percentile)
    first = range(min(cycle.period or len(cycle.stops), num_frames))
    scale = float(np.mean([clipping_level(frame_at(t), percentile) for t in first]))
    facts: dict[str, Any] = {
        "seed": seed,
        "stops": list(cycle.stops),
        "frames": num_frames,
        "size": [width, height],
        "scene": kind,
        "source": None if source is None else Path(source).name,
        "clip": "clip.mp4" if video else "frames",
        "response": "gamma2.2",
        "frames_per_second": FRAMES_PER_SECOND,
        "truth_white": "shortest",
        "scene_units_of_white": scale,
        "options": asdict(camera),
    }
    attributes = {"hdrvid:white": "shortest", "framesPerSecond": Fraction(FRAMES_PER_SECOND), "hdrvid:seed": str(seed)}
    with ExitStack() as stack:
        stack.enter_context(_claimed(out, None if source is None else Path(source), video, num_frames))
        _write_text(out / "synth.json", json.dumps(facts, indent=2) + "\n")
        write = _video_writer(stack, out / "clip.mp4", width, height) if video else _frames_writer(out / "frames")
        for t in range(num_frames):
            truth = np.minimum(frame_at(t) / np.float32(scale), np.float32(HALF_MAX))
            write(t, expose(truth, cycle.exposure_at(t), _frame_rng(seed, t), camera))
            write_exr(out / "truth" / f"truth.{t:06d}.exr", truth, compression="zip", attributes=attributes)
            if progress:
                progress(t + 1, num_frames)
        _write_text(out / "Exposures.txt", "".join(f"{stops:g}\n" for stops in cycle.stops))
    return facts


def _frame_source(
    source: PathLike | None, seed: int, width: int, height: int, num_frames: int
) -> tuple[str, Callable[[int], np.ndarray]]:
    """What the frames come from, and a function that gives frame t, (height, width, 3) float32."""
    if source is None:
        scene = procedural_scene(seed, width, height, num_frames)
        return scene.kind, scene.render
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path} does not exist: give an HDR image, a panorama or a folder of HDR frames")
    if path.is_dir():
        files = _hdr_files(path)
        if len(files) < num_frames:
            raise InputError(
                f"{path} holds {len(files)} HDR frames, not {num_frames}: give --frames {len(files)} or less"
            )
        return "frames", lambda t: _fitted(read_hdr_image(files[t]), width, height)
    if path.suffix.lower() not in _HDR_SUFFIXES:
        raise InputError(f"{path} is not an HDR image: give an .exr or .hdr file, or a folder of them")
    scene = picture_scene(read_hdr_image(path), seed, width, height, num_frames)
    return scene.kind, scene.render


def _hdr_files(folder: Path) -> list[Path]:
    from hdrvid.io.frames import folder_frames

    files = folder_frames(folder)
    if files[0].suffix.lower() not in _HDR_SUFFIXES:
        raise InputError(
            f"{folder} holds {files[0].suffix} frames, which are not HDR: give a folder of .exr or .hdr files"
        )
    return files


def read_hdr_image(path: Path) -> np.ndarray:
    """(h, w, 3) float32 radiance of an .exr or .hdr file, Rec. 709 primaries, negative values 0."""
    from hdrvid.io.frames import read_picture

    return np.maximum(read_picture(path).rec709, 0.0)


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The middle of the image with the aspect of the picture, scaled to it."""
    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    step = min(w / width, h / height)
    part_w, part_h = min(round(width * step), w), min(round(height * step), h)
    x, y = (w - part_w) // 2, (h - part_h) // 2
    part = np.ascontiguousarray(image[y : y + part_h, x : x + part_w])
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if step > 1 else cv2.INTER_LINEAR)


@contextmanager
def _claimed(out: Path, source: Path | None, video: bool, num_frames: int) -> Iterator[None]:
    """The folder of a clip, locked and cleared of an earlier clip of hdrvid's.

    Raises OutputError where the source lies in it, where another run writes there, and where it holds such files of
    somebody else.
    """
    from hdrvid.io.atomic import make_folder
    from hdrvid.io.lock import folder_lock

    parts = ("truth",) if video else ("truth", "frames")
    written = {(out / name).resolve() for name in CLIP_FOLDERS}
    if source is not None and written & {source.resolve(), source.resolve().parent}:
        raise OutputError(f"{source} lies where the clip would be written, in {out}: choose another folder with -o")
    earlier = _is_own_clip(out / "synth.json")
    for name in (*CLIP_FILES, *CLIP_FOLDERS):
        path = out / name
        if not earlier and path.exists() and (path.is_file() or any(path.iterdir())):
            raise OutputError(
                f"{path} exists already and was not made by hdrvid synth: choose another folder with -o, or remove it"
            )
    with folder_lock(out, "synth", CLIP_FOLDERS):
        for part in parts:
            make_folder(out / part)
        if earlier:
            _remove_frames(out, 0 if video else num_frames, num_frames)
        yield


def _is_own_clip(path: Path) -> bool:
    """Whether `synth.json` says that hdrvid made the clip beside it."""
    from hdrvid.io.ownership import SYNTHETIC_CLIP, is_own

    return path.is_file() and path.stat().st_size > 0 and is_own(path, SYNTHETIC_CLIP)


def _remove_frames(out: Path, num_frames: int, num_truths: int) -> None:
    """Remove the frames of an earlier clip that the new one does not replace."""
    kinds = (("frames", r"(\d{6,})\.png", num_frames), ("truth", r"truth\.(\d{6,})\.exr", num_truths))
    for folder, pattern, count in kinds:
        for path in (out / folder).iterdir() if (out / folder).is_dir() else ():
            match = re.fullmatch(pattern, path.name)
            if match and int(match[1]) >= count:
                path.unlink(missing_ok=True)
    for name in ("Exposures.txt", *(["clip.mp4"] if num_frames else [])):  # Exposures.txt comes last
        (out / name).unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    from hdrvid.io.atomic import atomic_path

    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _frames_writer(folder: Path) -> Callable[[int, np.ndarray], None]:
    from hdrvid.io.atomic import atomic_path

    def write(index: int, code: np.ndarray) -> None:
        stored = np.round(code[..., ::-1] * 65535).astype(np.uint16)
        _, data = cv2.imencode(".png", stored)
        with atomic_path(folder / f"{index:06d}.png") as partial:
            partial.write_bytes(data.tobytes())

    return write


def _video_writer(stack: ExitStack, path: Path, width: int, height: int) -> Callable[[int, np.ndarray], None]:
    from av.video.reformatter import ColorTrc

    from hdrvid.io.preview import PreviewWriter

    writer = PreviewWriter(path, width, height, Fraction(FRAMES_PER_SECOND), crf=10, transfer=ColorTrc.GAMMA22)
    video = stack.enter_context(writer)

    def write(index: int, code: np.ndarray) -> None:
        video.write(np.round(code * 255).astype(np.uint8), index / FRAMES_PER_SECOND)

    return write
