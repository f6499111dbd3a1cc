"""What a benchmark runs on: a clip of hdrvid's own scenes, as windows in memory and as a video."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from hdrvid.color import half
from hdrvid.color.curves import gamma_linearize
from hdrvid.color.half import HALF_MAX
from hdrvid.color.response import RESPONSES
from hdrvid.color.tonemap import Tonemapper
from hdrvid.compiled.shown import show_rows
from hdrvid.data.camera import SynthesisOptions, expose, normalise
from hdrvid.data.scenes import procedural_scene
from hdrvid.io import open_clip
from hdrvid.io.preview import PreviewWriter
from hdrvid.io.writers import SequenceWriter
from hdrvid.pipeline.encode import network_code_by_table
from hdrvid.pipeline.preview import PREVIEW_CRF
from hdrvid.pipeline.run import WRITERS
from hdrvid.types import ExposureCycle, Window

RESPONSE = RESPONSES["rec709"]
"""Curve of the clip: one that has to be linearised, as that of most cameras."""

FRAMES_PER_SECOND = 24
CLIP_CRF = 10
"""x264 quality of the clip, about that of a camera."""

_RENDERED_SIDE = 480
_SEED = 7
_CAMERA = SynthesisOptions(99.7, 1.5e-3, 12_000.0, bits=None)


@dataclass(frozen=True)
class BenchClip:
    """Frames of an alternating-exposure clip, made for a benchmark."""

    codes: Sequence[np.ndarray]
    """Frames (H, W, 3) uint8 in the code of RESPONSE."""
    cycle: ExposureCycle
    """Exposures, beginning with frame 0."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.codes[0].shape[:2]
        return width, height

    def windows(self) -> Iterator[Window]:
        """The windows that need no mirrored frames, in order. A frame is one array in all of its windows: its flow is
        kept from one to the next."""
        network_code = RESPONSE.network_code(np.arange(256, dtype=np.float32) / 255).astype(np.float32)
        held: deque[np.ndarray] = deque(maxlen=2 * self.cycle.window_radius + 1)
        for last, code in enumerate(self.codes):
            held.append(network_code[code])
            if len(held) == held.maxlen:
                first = last + 1 - len(held)
                exposures = tuple(self.cycle.exposure_at(i) for i in range(first, last + 1))
                yield Window(last - self.cycle.window_radius, tuple(held), exposures)

    def write(self, path: Path) -> None:
        """The clip as H.264."""
        with PreviewWriter(path, *self.size, Fraction(FRAMES_PER_SECOND), CLIP_CRF) as video:
            for code in self.codes:
                video.write(code)


def make_clip(size: tuple[int, int], cycle: ExposureCycle, num_frames: int) -> BenchClip:
    """A clip of width and height `size`, the same every time: rendered small, enlarged, and filmed at its full size, so
    that it has the noise of a camera."""
    width, height = size
    shrink = max(1.0, max(size) / _RENDERED_SIDE)
    scene = procedural_scene(_SEED, max(16, round(width / shrink)), max(16, round(height / shrink)), num_frames)
    percentile = _CAMERA.clip_percentile
    assert isinstance(percentile, float)
    truth, _ = normalise([scene.render(t) for t in range(num_frames)], percentile)
    codes = []
    for t in range(num_frames):
        radiance = np.maximum(cv2.resize(truth[t], size, interpolation=cv2.INTER_CUBIC), 0.0)
        filmed = expose(radiance, cycle.exposure_at(t), np.random.default_rng([_SEED, t]), _CAMERA)
        codes.append(np.rint(RESPONSE.encode(gamma_linearize(filmed)) * 255).astype(np.uint8))
    return BenchClip(codes, cycle)


def measure_media(
    path: Path, folder: Path, radiance: Sequence[np.ndarray], cycle: ExposureCycle, runs: int
) -> list[dict[str, float]]:
    """Milliseconds a frame of what is done around the network, each stage alone, `runs` times after a warm-up.

    decode and linearise read the clip at `path`; tonemap, preview and write take the frames `radiance` (H, W, 3), 1.0 =
    clipping of the shortest exposure, into `folder`. As in `hdrvid reconstruct`: preview and write are done when the
    files are complete, and as many threads write as there. At least 8 frames pass every stage of a run.
    """
    return [_media_once(path, folder, radiance, cycle) for _ in range(runs + 1)][1:]


def _media_once(path: Path, folder: Path, radiance: Sequence[np.ndarray], cycle: ExposureCycle) -> dict[str, float]:
    ms = {}
    with open_clip(path) as reader:
        started = time.perf_counter()
        linearising = 0.0
        count = 0
        for frame in reader.frames():
            before = time.perf_counter()
            network_code_by_table(frame.pixels, RESPONSE)
            linearising += time.perf_counter() - before
            count += 1
        ms["decode"] = (time.perf_counter() - started - linearising) / count * 1e3
        ms["linearise"] = linearising / count * 1e3
    count = max(8, len(radiance))
    pictures = [radiance[i % len(radiance)] for i in range(count)]
    tonemap = Tonemapper(max_value=cycle.max_exposure, frames_per_second=FRAMES_PER_SECOND, show=show_rows)
    started = time.perf_counter()
    shown = [tonemap(picture / np.float32(cycle.max_exposure)) for picture in pictures]
    ms["tonemap"] = (time.perf_counter() - started) / count * 1e3
    height, width = radiance[0].shape[:2]
    started = time.perf_counter()
    with PreviewWriter(folder / "media.mp4", width, height, Fraction(FRAMES_PER_SECOND), PREVIEW_CRF) as video:
        for display in shown:
            video.write(display)
    ms["preview"] = (time.perf_counter() - started) / count * 1e3
    started = time.perf_counter()
    with SequenceWriter(folder, "media", "exr", "zip", WRITERS) as writer:
        for index, picture in enumerate(pictures):
            writer.submit(index, half.to_half(np.minimum(picture, np.float32(HALF_MAX))))
    ms["write"] = (time.perf_counter() - started) / count * 1e3
    return ms
