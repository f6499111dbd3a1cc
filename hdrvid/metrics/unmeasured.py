"""Pixels whose value is a bound and no measurement: nothing that was filmed says more.

Where a frame clips, and no other one shows what is there, its radiance is that at which it clips: it is at least so
bright. That is so in all of the light that the shortest exposure clips, and where what the longer ones clip is hidden
in the shorter ones. Where blacks are crushed and no longer exposure helps, it is at most what black ends at.

Convention: radiance in units of the shortest exposure's clipping, codes in network code (`hdrvid.color.radiance`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hdrvid.color.curves import NETWORK_GAMMA

CLIPPED_CODE = 0.995
"""Code from which on a channel clips."""
MARGIN = 1.01
"""Radiance over the bound up to which it is still that bound: the rounding of codes and files, and of a blend."""


@dataclass(frozen=True)
class FrameShare:
    """How much of a result is not measured."""

    index: int
    """Input frame."""
    share: float
    """Of its pixels, 0 to 1."""


def unmeasured(
    radiance: np.ndarray, reference: np.ndarray, exposures: Sequence[float], black: float = 0.0
) -> np.ndarray:
    """Where the result of a frame is a bound, (H, W) bool.

    `radiance` (H, W, 3) of the result, `reference` (H, W, 3) network codes of the frame, `exposures` of the frames of
    its window, its own in the middle, `black` the code at or below which frames are black, 0 where none is.
    """
    radiance, exposure = np.asarray(radiance, np.float32), exposures[len(exposures) // 2]
    clip, brightest = np.float32(MARGIN / exposure), np.float32(CLIPPED_CODE**NETWORK_GAMMA / min(exposures))
    clipped = ((reference >= CLIPPED_CODE) & (radiance <= clip)) | (radiance >= brightest)
    bound = clipped[..., 0] | clipped[..., 1] | clipped[..., 2]
    if black > 0:
        floor = np.float32(black**NETWORK_GAMMA / exposure)
        at_most = (reference <= black) & (radiance <= MARGIN * floor)
        if exposure < max(exposures):  # what a longer one has measured lies below
            at_most &= radiance >= floor / MARGIN
        bound |= at_most.all(axis=-1)
    return np.asarray(bound)


def summary(shares: Sequence[FrameShare]) -> dict[str, object] | None:
    """The mean share, and the frame with the largest one, for a report; None without frames."""
    if not shares:
        return None
    worst = max(shares, key=lambda s: s.share)
    mean = sum(s.share for s in shares) / len(shares)
    return {"mean": round(mean, 5), "worst": {"frame": worst.index, "share": round(worst.share, 5)}}
