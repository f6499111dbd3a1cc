"""Whether the exposures of a window tell of the same light, as far as single channels of a pixel may be mixed.

Where a long frame clips in blue, its red and green are better than those of a short frame, and the blue is the short
frame's (`channel_exposedness`). That makes a colour of two frames. If the curve of the camera or an exposure is known
wrongly, the two give different light, and their mixture is another hue, in patches. So the light of both is compared
where neither clips, in levels of the longer one: a wrong curve errs at some and not at others.

Measured (24 and 12 windows a camera of `hdrvid eval --dataset synthetic --camera`): a natural logarithm of up to 0.05
where all is known, 0.08 with H.264 of CRF 23, and 0.2 or more with curve and exposures a few percent off.

Convention: frames (H, W, 3) float32 network codes in [0, 1], flows (H, W, 2) float32 pixels, backward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.models.constants import PARTLY_CLIPPED
from hdrvid.picture_warp import warp_picture

PIXELS = 115_000
"""About how many pixels of a frame are looked at: every second, third ... row and column of larger ones."""
BLOCK = 4
"""Side of the blocks whose mean light is compared, in pixels: noise goes, and most of what is aligned badly."""
CLIPPED_CODE = 0.95
"""Code from which on a pixel says nothing of its light."""
LEVEL_EDGES = (0.12, 0.22, 0.36, 0.56, 0.86)
"""Light of the longer frame, 1 where it clips, between the levels."""
DARKEST_SHORT = 2e-3
"""Light of the shorter frame, 1 where it clips, below which its noise would be no mean of 0."""
BLACK_MARGIN = 0.05
"""The shorter frame is compared from so much code above black."""
EVEN = 0.4
"""Light is even where the brightest of nine blocks side by side exceeds the darkest by at most this share of it."""
FEWEST_BLOCKS = 30
"""That a level is judged by."""
AGREES, DIFFERS = 0.1, 0.2
"""Difference of the light, as a natural logarithm, up to which channels are mixed, and from which on they are not."""


def exposure_agreement(
    frames: Sequence[np.ndarray],
    exposures: Sequence[float],
    flows: Sequence[np.ndarray],
    black: float = 0.0,
    blocks: FrameBlocks | None = None,
) -> float:
    """1 where the frames of a window agree on their light, 0 where they differ by more than DIFFERS at some level.

    `frames` and `exposures` of the window, the reference in the middle; `flows` from it to each of the others, in their
    order; `black`: code at or below which frames are black; `blocks`: those of the window before. 1 as well where
    nothing can be compared.
    """
    middle = len(frames) // 2
    others = [i for i in range(len(frames)) if i != middle]
    height, width = frames[middle].shape[:2]
    step = max(1, round(math.sqrt(height * width / PIXELS)))
    side = step * BLOCK
    if min(height, width) < 3 * side:
        return 1.0
    blocks_of = (blocks or FrameBlocks()).of(frames, step)
    reference = blocks_of[middle]
    rows, columns = (slice(side // 2, n // side * side, side) for n in (height, width))
    worst = 0.0
    for i, flow in zip(others, flows, strict=True):
        if exposures[i] == exposures[middle]:
            continue
        moved = flow[rows, columns] / np.float32(side)
        neighbour = _Blocks(*(warp_picture(plane, moved) for plane in blocks_of[i]))
        pair = (reference, neighbour) if exposures[middle] < exposures[i] else (neighbour, reference)
        ratio = max(exposures[i], exposures[middle]) / min(exposures[i], exposures[middle])
        worst = max(worst, _difference(*pair, ratio, black))
    return float(np.clip((DIFFERS - worst) / (DIFFERS - AGREES), 0.0, 1.0))


def partly_clipped_weight(
    frames: Sequence[np.ndarray],
    exposures: Sequence[float],
    flows: Sequence[np.ndarray],
    black: float = 0.0,
    blocks: FrameBlocks | None = None,
) -> float:
    """What a channel weighs in a window where another one clips: PARTLY_CLIPPED, as far as its exposures agree. See
    `exposure_agreement`."""
    return PARTLY_CLIPPED * exposure_agreement(frames, exposures, flows, black, blocks)


class _Blocks(NamedTuple):
    light: np.ndarray
    """(h, w, 3) mean light of the blocks, 1 where the frame clips."""
    clipped: np.ndarray
    """(h, w, 3) share of their pixels that clip."""


class FrameBlocks:
    """The blocks of the frames of a window, which the next window shares most of."""

    def __init__(self) -> None:
        self._kept: list[tuple[np.ndarray, int, _Blocks]] = []

    def of(self, frames: Sequence[np.ndarray], step: int) -> list[_Blocks]:
        """Of each frame, which is not to be changed while it is kept."""

        def find(frame: np.ndarray) -> tuple[np.ndarray, int, _Blocks]:
            known = (entry for entry in self._kept if entry[0] is frame and entry[1] == step)
            return next(known, None) or (frame, step, _blocks(frame, step))

        self._kept = [find(frame) for frame in frames]
        return [blocks for *_, blocks in self._kept]


def _blocks(frame: np.ndarray, step: int) -> _Blocks:
    """Of every `step`-th row and column."""
    height, width = (n // (step * BLOCK) for n in frame.shape[:2])
    given = np.ascontiguousarray(frame[: height * BLOCK * step : step, : width * BLOCK * step : step])
    import cv2  # a machine that only runs networks needs none

    light = cv2.pow(given, NETWORK_GAMMA)
    clipped = (given > np.float32(CLIPPED_CODE)).astype(np.float32)
    return _Blocks(*(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in (light, clipped)))


def _difference(short: _Blocks, long: _Blocks, ratio: float, black: float) -> float:
    """The largest median difference of any level, as a natural logarithm."""
    import cv2

    least = max(DARKEST_SHORT, (black + BLACK_MARGIN) ** NETWORK_GAMMA if black else 0.0)
    around = np.ones((3, 3), np.uint8)
    lowest, highest = cv2.erode(long.light, around), cv2.dilate(long.light, around)
    # where light is even, a wrong flow finds the same
    known = (cv2.dilate(short.clipped + long.clipped, around) == 0) & (highest - lowest < np.float32(EVEN) * lowest)
    worst = 0.0
    for low, high in pairwise(LEVEL_EDGES):
        if low / ratio < least:
            continue
        # a wrong curve or exposure changes all channels alike, what a codec does to a colour does not
        level = known & (long.light >= low) & (long.light < high)
        if np.count_nonzero(level) < FEWEST_BLOCKS:
            continue
        light = np.maximum(short.light[level], 1e-6) * np.float32(ratio)
        worst = max(worst, abs(float(np.log(np.median(light / long.light[level])))))
    return worst
