"""The clip in motion: one small video in which result and frame as shot lie one above the other.

Two videos that play side by side drift apart, parts of one picture do not. The page cuts the panels out.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from hdrvid.html.clip_results import ClipResults
from hdrvid.html.frame_pictures import FrameRenderer, shrunk
from hdrvid.io.preview import PreviewWriter

MAX_MOTION_FRAMES = 72
"""Frames of the video: 3 s at 24 frames per second."""
MAX_MOTION_PX = 640
"""Longer side of a panel."""
MOTION_BYTES = 1_150_000
"""The video, before base64 makes it a third larger."""
RESULT, SHOT, MATCHED = "result", "as shot", "brightness matched"
"""The panels, from the top."""

_QUALITIES = (22, 26, 30, 35, 40)
"""Of x264: the first that fits is taken."""
_BLOCK_PX = 16
"""Panels begin at multiples of this: no block of the codec holds two of them."""
_KEYFRAME_EVERY = 12


@dataclass(frozen=True)
class Motion:
    """A run of frames as a video."""

    video: bytes
    """MP4, H.264."""
    width: int
    """Of a panel, px."""
    height: int
    """Of a panel, px."""
    pitch: int
    """Rows from the beginning of one panel to that of the next."""
    frames_per_second: float
    """At which a moment takes as long as it did."""
    indices: tuple[int, ...]
    """Input frames, in order."""
    exposures: tuple[str, ...]
    """Class of each."""
    stills: Mapping[str, np.ndarray]
    """The panels of the first frame, (height, width, 3) uint8 RGB; RESULT alone where no frame as shot can be read."""


def motion_indices(indices: Sequence[int], requested: Sequence[int] | None) -> list[int]:
    """The frames of the video: from the first that was requested, else from the first result on.

    >>> motion_indices(range(100, 300), [150])[0], len(motion_indices(range(100), None))
    (150, 72)
    """
    first = indices[0] if not requested else requested[0]
    return [i for i in indices if i >= first][:MAX_MOTION_FRAMES]


def make_motion(
    clip: ClipResults,
    renderer: FrameRenderer,
    results: Iterable[tuple[int, np.ndarray, float]],
    indices: Sequence[int],
) -> Motion | None:
    """A video of the results that `results` gives: index, file values (H, W, 3) and stops of the frame.

    `indices` are the frames that it is expected to give. None where it gives fewer than two. Raises OutputError where
    the encoder or the disk refuses.
    """
    stops_of: dict[int, float] = {}
    panels: dict[int, dict[str, np.ndarray]] = {}
    for index, pixels, stops in results:
        stops_of[index] = stops
        panels[index] = {RESULT: renderer.small_result(pixels, MAX_MOTION_PX)}
    if len(panels) < 2:
        return None
    for index, code in renderer.original.run([i for i in indices if i in panels]):
        panels[index][SHOT] = renderer.shot_picture(code, MAX_MOTION_PX)
        matched = renderer.matched_picture(code, stops_of[index], MAX_MOTION_PX)
        if matched is not None:
            panels[index][MATCHED] = matched
    names = [n for n in (RESULT, SHOT, MATCHED) if any(n in p for p in panels.values())]
    black = np.zeros_like(next(iter(panels.values()))[RESULT])
    frames = [[p.get(name, black) for name in names] for p in panels.values()]
    rate = _playback_rate(clip, list(panels))
    video, height, width = _encoded(frames, rate)
    return Motion(
        video=video,
        width=width,
        height=height,
        pitch=_pitch(height),
        frames_per_second=float(rate),
        indices=tuple(panels),
        exposures=tuple(clip.exposures.class_of(stops_of[i]) for i in panels),
        stills=dict(zip(names, frames[0], strict=True)),
    )


def _playback_rate(clip: ClipResults, indices: Sequence[int]) -> Fraction:
    """Results a second: the rate of the clip, less where only every second (third, ...) moment has a result."""
    try:
        rate = Fraction(str(clip.values.get("frames_per_second")))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(24)
    if not Fraction(1, 10) <= rate <= 1000:
        rate = Fraction(24)
    return rate * clip.moment_frames / min(b - a for a, b in itertools.pairwise(indices))


def _pitch(height: int) -> int:
    return -(-height // _BLOCK_PX) * _BLOCK_PX


def _encoded(frames: Sequence[Sequence[np.ndarray]], rate: Fraction) -> tuple[bytes, int, int]:
    """The video of the panels of all frames within MOTION_BYTES, and height and width of a panel in it."""
    while True:
        height, width = frames[0][0].shape[:2]
        for quality in _QUALITIES:
            data = _mp4(frames, rate, quality)
            if len(data) <= MOTION_BYTES or max(height, width) <= 2 * _BLOCK_PX:
                return data, height, width
        frames = [[shrunk(panel, max(height, width) * 3 // 4) for panel in panels] for panels in frames]


def _mp4(frames: Sequence[Sequence[np.ndarray]], rate: Fraction, quality: int) -> bytes:
    height, width = frames[0][0].shape[:2]
    padding = ((0, _pitch(height) - height), (0, 0), (0, 0))
    with tempfile.TemporaryDirectory(prefix="hdrvid-report-") as folder:
        path = Path(folder) / "motion.mp4"
        rows = _pitch(height) * len(frames[0])
        with PreviewWriter(path, width, rows, rate, quality, keyframe_every=_KEYFRAME_EVERY) as writer:
            for panels in frames:
                writer.write(np.concatenate([np.pad(panel, padding, mode="edge") for panel in panels]))
        return path.read_bytes()
