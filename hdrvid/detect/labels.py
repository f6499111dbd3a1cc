"""What is said of a frame of a clip, and of a place where the clip leaves its exposures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameLabel:
    """What a frame is."""

    index: int
    """0-based position in the clip."""
    phase: int
    """Position in the cycle; 0 where there is none."""
    stops: float
    """Its exposure."""
    segment: int
    """Number of its scene."""
    usable: bool = True
    """False where no other frame may use it: a flash."""
    duplicate_of: int | None = None
    """The frame it repeats."""


@dataclass(frozen=True)
class Event:
    """Where the clip leaves its cycle."""

    kind: str
    """'doubled', 'dropped', 'misfired' (one frame has another exposure of the cycle), 'steady' (the clip stops
    alternating), 'alternating' (it begins to), 'cut', 'flash', 'unsure' (the exposure of the frame is assumed: nothing
    tells it, or the pixels contradict it) or 'damaged'."""
    index: int
    """The frame."""
    text: str
    """One sentence."""
