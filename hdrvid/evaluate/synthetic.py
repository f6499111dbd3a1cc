"""The dataset `synthetic`: made on the spot from a seed, so that it is the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from hdrvid.data.benchmarks import Benchmark
from hdrvid.data.camera import REAL_FIELDS, SynthesisOptions, assumed_response
from hdrvid.data.scenes import Scene
from hdrvid.data.synth import SyntheticClip, synthesise
from hdrvid.data.windows import PROCEDURAL, find_hdr_images, scene_from
from hdrvid.errors import InputError, UsageError
from hdrvid.machine import available_memory
from hdrvid.options.evaluate import NUM_FRAMES, NUM_SCENES, SIZE
from hdrvid.types import ExposureCycle

DEFAULT_STOPS = {2: (0.0, 3.0), 3: (0.0, 2.0, 4.0)}
PLAIN_CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8)
"""The camera of the dataset where none is named."""


@dataclass(frozen=True)
class NamedCamera:
    """A camera of the dataset, with the exposures it is tried at."""

    camera: SynthesisOptions
    """How it films."""
    stops: dict[int, tuple[float, ...]]
    """Stops of a cycle, by the number of exposures."""


CAMERAS = {
    "clean": NamedCamera(PLAIN_CAMERA, DEFAULT_STOPS),
    "crushed": NamedCamera(replace(PLAIN_CAMERA, crushed=0.08), {2: (0.0, 5.0), 3: (0.0, 2.5, 5.0)}),
    "wide": NamedCamera(PLAIN_CAMERA, {2: (0.0, 6.0), 3: (0.0, 3.0, 6.0)}),
    "codec": NamedCamera(replace(PLAIN_CAMERA, h264_crf=23.0, sharpening=0.5, denoising=0.01), DEFAULT_STOPS),
    "mismatch": NamedCamera(
        replace(PLAIN_CAMERA, contrast=0.3, gamma_jitter=0.05, exposure_error=0.05, colour_error=0.015, error_seed=7),
        DEFAULT_STOPS,
    ),
}
"""Cameras that `--camera` takes: that of earlier figures; the lowest 8 % of the codes black, and known to be; a bracket
of 6 stops; H.264 of CRF 23 with in-camera sharpening and noise reduction; and a curve, exposures and colours a few
percent from what is declared."""

BYTES_A_PIXEL = 24
"""Of a clip in memory: code and radiance, three channels of float32 each."""

SCENE_SEED = 90_000
"""Own scenes of the dataset have the seeds SCENE_SEED, SCENE_SEED + 1, ...; training never uses them."""


@dataclass(frozen=True)
class SyntheticOptions:
    """The dataset `synthetic`."""

    cycle: ExposureCycle
    """Exposures, beginning with frame 0."""
    num_scenes: int = NUM_SCENES
    """Own scenes; where `root` is given, one clip of every picture in it instead."""
    num_frames: int = NUM_FRAMES
    """Frames a clip."""
    width: int = SIZE[0]
    """Pixels."""
    height: int = SIZE[1]
    """Pixels."""
    motion: float = 2.0
    """Factor on the speeds of camera and objects."""
    camera: SynthesisOptions = PLAIN_CAMERA
    """The camera that films the scenes."""
    camera_name: str = "clean"
    """What it is called, one of CAMERAS."""
    root: Path | None = None
    """Folder of HDR pictures and panoramas; None: own scenes."""
    inner: bool = False
    """Whether the first and the last `len(cycle)` frames are not scored, as in the published sets; else all are."""

    def description(self) -> str:
        """What decides the pixels, for the protocol line."""
        named = "" if self.camera_name == "clean" else f", camera {self.camera_name} ({self._differences()})"
        source = f"pictures of {self.root.name}" if self.root else f"own scenes {SCENE_SEED}+"
        c = self.camera
        return (
            f"{source}, {self.width}x{self.height}, {self.num_frames} frames, "
            f"stops {self.cycle}, motion {self.motion:g}, clipping at percentile {c.clip_percentile}, read noise "
            f"{c.read_noise}, full well {c.full_well}, {c.bits} bit"
            + (f", JPEG {c.jpeg_quality}" if c.jpeg_quality else "")
            + (f", H.264 CRF {c.h264_crf:g} {c.h264_preset}" if isinstance(c.h264_crf, (int, float)) else "")
            + named
            + f"; {self._scored_text()}, truth clipped to [0, 1] (1 = shortest exposure clips), stops given"
        )

    def _scored_text(self) -> str:
        n = len(self.cycle)
        return f"frames {n} to n-{n + 1} scored" if self.inner else "every frame scored"

    def _scored(self) -> tuple[int, ...]:
        """Frames that are scored. Raises UsageError where there is none."""
        margin = len(self.cycle) if self.inner else 0
        if self.num_frames <= 2 * margin:
            raise UsageError(f"--inner leaves none of {self.num_frames} frames: give --frames {2 * margin + 1} or more")
        return tuple(range(margin, self.num_frames - margin))

    def _differences(self) -> str:
        """What the camera does beside the rest of the protocol line."""
        fields = {name: getattr(self.camera, name) for name in (*REAL_FIELDS, "gamma_jitter")}
        words = [f"{name.replace('_', ' ')} {value:g}" for name, value in fields.items() if value]
        return ", ".join(words) or "wide bracket"

    def benchmark(self) -> Benchmark:
        """The clips; a clip is made when its first frame is asked for, and one is kept at a time.

        Raises InputError where the memory of this machine is too small for a clip, for a root without pictures and for
        one with two of a name, UsageError where `inner` leaves no frame.
        """
        scored = self._scored()
        self._require_memory()
        if self.root is not None:
            scenes = [(Path(p).stem, p) for p in find_hdr_images([self.root], option="--root")]
        else:
            scenes = [(f"scene_{SCENE_SEED + i}", PROCEDURAL) for i in range(self.num_scenes)]

        names = [name for name, _ in scenes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(
                f"--root holds two pictures of the name {twice[0]}: rename one, a scene has the name of its picture"
            )

        @lru_cache(maxsize=1)
        def made(number: int) -> tuple[SyntheticClip, Scene]:
            seed = SCENE_SEED + number
            path = scenes[number][1]
            scene = scene_from(path, seed, self.width, self.height, self.num_frames, motion=self.motion)
            return synthesise(scene, self.cycle, self.num_frames, seed, self.camera), scene

        clips = tuple(
            _SyntheticScene(name, self.cycle, self.num_frames, scored, i, made) for i, (name, _) in enumerate(scenes)
        )
        return Benchmark("synthetic", self.root or Path(), self.description(), clips)

    def _require_memory(self) -> None:
        """Raise InputError where a clip takes more memory than there is."""
        needed, available = self.num_frames * self.width * self.height * BYTES_A_PIXEL, available_memory()
        if available is not None and needed > available:
            raise InputError(
                f"a clip of {self.num_frames} frames of {self.width}x{self.height} takes {needed / 2**30:.1f} GiB, but "
                f"{available / 2**30:.1f} are free: give a smaller --frames or --size"
            )


@dataclass(frozen=True)
class _SyntheticScene:
    name: str
    cycle: ExposureCycle
    num_frames: int
    scored: tuple[int, ...]
    number: int
    made: Callable[[int], tuple[SyntheticClip, Scene]]

    @property
    def black(self) -> float:
        return assumed_response(self.made(self.number)[0].options).black_code

    def ldr(self, index: int) -> np.ndarray:
        return self.made(self.number)[0].ldr[index]

    def truth(self, index: int) -> np.ndarray:
        return np.clip(self.made(self.number)[0].truth[index], 0.0, 1.0)

    def visible(self, index: int, others: Sequence[int]) -> np.ndarray:
        scene = self.made(self.number)[1]
        return np.stack([scene.visible(index, t) for t in others])
