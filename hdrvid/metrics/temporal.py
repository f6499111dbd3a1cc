"""Measures over time, and the one that needs no truth.

Convention:
    radiance    (H, W, 3), 1.0 = clipping of the SHORTEST exposure; codes (H, W, 3) network code in [0, 1].
    flow_px     (H, W, 2) backward flow in pixels: earlier(y + v, x + u) shows what now(y, x) does.
    seen        (H, W) bool: pixels whose flow is consistent in both directions and stays inside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdrvid.color.constants import WELL_EXPOSED_CODES
from hdrvid.color.radiance import ldr_from_radiance, mu_law
from hdrvid.picture_warp import warp_picture

CONSISTENT_PX = 1.0
"""Largest forward-backward error in pixels of a flow that is believed."""


def seen_in_both(forward_px: np.ndarray, backward_px: np.ndarray) -> np.ndarray:
    """(H, W) bool: there and back again ends within CONSISTENT_PX, and there is inside the picture."""
    h, w = forward_px.shape[:2]
    xs = np.arange(w, dtype=np.float32) + forward_px[..., 0]
    ys = np.arange(h, dtype=np.float32)[:, None] + forward_px[..., 1]
    inside = (xs >= 0) & (xs <= w - 1) & (ys >= 0) & (ys <= h - 1)
    error = np.linalg.norm(forward_px + warp_picture(backward_px, forward_px), axis=-1)
    return inside & (error <= CONSISTENT_PX)


def tone_change(now: np.ndarray, earlier: np.ndarray, flow_px: np.ndarray) -> np.ndarray:
    """T(now) - T(earlier) brought to now: (H, W, 3), T the mu-law. Zero where nothing changed but positions."""
    return np.asarray(mu_law(now) - warp_picture(np.asarray(mu_law(earlier)), flow_px))


def flicker(change: np.ndarray, expected: np.ndarray, visible: np.ndarray) -> float | None:
    """Temporal flicker: mean over `visible` of |change - expected|, both `tone_change`, in units of the mu-law's range.

    `change` is of two consecutive outputs; `expected` of the truth, or of the aligned inputs where there is none. 0:
    the output changes exactly as it should. None where fewer than one pixel in a hundred is seen.
    After the warping error of Lai et al., Learning Blind Video Temporal Consistency, ECCV 2018, against that of the
    truth: what the scene itself changes does not count.
    """
    if visible.mean() < 0.01:
        return None
    return float(np.abs(change[visible] - expected[visible]).mean(dtype=np.float64))


def well_exposed(codes: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels all of whose channels lie inside WELL_EXPOSED_CODES."""
    low, high = WELL_EXPOSED_CODES
    return (codes.min(-1) > low) & (codes.max(-1) < high)


def reexposure_psnr(
    estimate: np.ndarray, codes: Sequence[np.ndarray], exposures: Sequence[float], visible: Sequence[np.ndarray]
) -> float | None:
    """How well the estimate, exposed as every frame of the window was, gives that frame again: PSNR of codes in dB.

    `codes` (H, W, 3) each: the reference in place, the neighbours warped to it; `exposures` linear; `visible` (H, W)
    bool each. Only pixels that are seen and well exposed in that frame count, the squared errors of all frames
    pooled. It needs no truth and knows only what some frame saw well: noise that the estimate shares with the
    reference goes unpunished, so it compares models on one clip and is no fidelity. None where nothing counts.
    """
    total, count = 0.0, 0
    for code, exposure, where in zip(codes, exposures, visible, strict=True):
        counts = where & well_exposed(code)
        error = np.asarray(ldr_from_radiance(estimate, exposure))[counts] - code[counts]
        total += float(np.square(error, dtype=np.float64).sum())
        count += error.size
    if count == 0:
        return None
    return float(-10 * np.log10(max(total / count, 1e-10)))
