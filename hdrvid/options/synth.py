"""Options of `hdrvid synth`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hdrvid.options.metadata import CYCLE_STOPS, option
from hdrvid.options.parse import parse_known_exposures, parse_size

if TYPE_CHECKING:
    from hdrvid.types import Exposures

NUM_FRAMES = 12
"""Frames of a clip where their number is left open."""


@dataclass(frozen=True)
class SynthOptions:
    """What clip is made."""

    exposures: str = field(default="0,3", metadata=CYCLE_STOPS)
    frames: int | None = field(
        default=None,
        metadata=option(f"Number of frames: {NUM_FRAMES}; with --cinematic all.", metavar="N", minimum=1),
    )
    size: tuple[int, int] = field(
        default=(640, 360),
        metadata=option("Size of the frames in pixels.", metavar="WxH", parse=parse_size, default="640x360"),
    )
    """Width and height."""
    seed: int = field(default=0, metadata=option("Another seed, another scene.", metavar="N", minimum=0))
    video: bool = field(default=False, metadata=option("Write clip.mp4 (H.264) instead of 16-bit frames."))

    @property
    def cycle(self) -> Exposures:
        """Exposures of the clip. Raises UsageError, ExposureError or InputError for exposures without meaning."""
        return parse_known_exposures(self.exposures)


@dataclass(frozen=True)
class CinematicOptions:
    """The cinematic test set, made instead of a clip where `folder` is given."""

    folder: Path | None = field(
        default=None,
        metadata=option(
            "Make the cinematic test set from the HdM-HDR-2014 frames in this folder, as published.",
            flag="--cinematic",
            metavar="FOLDER",
        ),
    )
    num_exposures: int = field(
        default=2, metadata=option("--cinematic: exposures.", flag="--cycle", metavar="2|3", minimum=2, maximum=3)
    )
