"""Objects that appear in one frame of a window alone: a passer-by, a bird, what a fast pan uncovers.

No neighbour shows what they hide, or what they are. A merge has to keep the reference there, and may invent nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from hdrvid.picture_warp import warp_picture

SIZES = (0.06, 0.3)
"""Half axes of an object, as a share of the side of the picture."""
BRIGHTNESS_STOPS = (-3.0, 2.0)
"""Brightness of an object against what it is cut from."""


def add_lone_object(
    pictures: Sequence[np.ndarray], middle: int, flow: np.ndarray, visible: np.ndarray, rng: np.random.Generator
) -> int:
    """Put an ellipse with the texture of another part of the picture into one frame; returns which.

    `pictures`: runs of frames (T, 3, s, s) of one window, changed in place alike, the reference at `middle`. `flow`
    (T - 1, 2, s, s) from the reference to its neighbours, pixels; `visible` (T - 1, s, s) of what the reference shows,
    changed in place: 0 where the object is in the way.
    """
    count, side = len(pictures[0]), pictures[0].shape[-1]
    index = int(rng.integers(count))
    mask = _ellipse(side, rng)
    gain = np.float32(2.0 ** rng.uniform(*BRIGHTNESS_STOPS))
    tint = rng.uniform(0.6, 1.4, (3, 1, 1)).astype(np.float32)
    for frames in pictures:
        texture = frames[index][:, ::-1, ::-1] * gain * tint
        frames[index] = frames[index] * (1 - mask) + texture * mask
    if index == middle:
        visible[:, mask > 0.5] = 0
    else:
        slot = index - (index > middle)
        hidden = warp_picture(mask, np.ascontiguousarray(flow[slot].transpose(1, 2, 0), np.float32)) > 0.5
        visible[slot][hidden] = 0
    return index


def _ellipse(side: int, rng: np.random.Generator) -> np.ndarray:
    """(s, s) coverage in [0, 1] of an ellipse with an edge of about a pixel."""
    mask = np.zeros((side, side), np.float32)
    centre = tuple(int(v) for v in rng.integers(0, side, 2))
    axes = tuple(max(2, int(v)) for v in rng.uniform(*SIZES, 2) * side)
    cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(mask, (0, 0), 0.7)
