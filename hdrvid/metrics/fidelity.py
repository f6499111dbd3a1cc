"""Fidelity of a reconstruction to its ground truth: PSNR and SSIM, linear and in the mu-law domain.

Convention:
    estimate, truth     radiance, (H, W, 3) or (H, W), any float type; 1.0 = clipping of the SHORTEST exposure.
    suffix _t           after the mu-law with mu = 5000 (Kalantari & Ramamoorthi 2017): mu_law(1) = 1 is the peak.
    suffix _l           on the radiance itself, peak 1.
Nothing is clipped but the negative values that the mu-law clips. Everything is computed in float64. A pixel that is
not finite makes the figure not finite: a broken frame must not look like a good one.
"""

from __future__ import annotations

import cv2
import numpy as np

from hdrvid.color.radiance import mu_law
from hdrvid.errors import InputError

SSIM_WINDOW = 7
"""Side in pixels of the uniform window, the default of scikit-image."""


def _pair(estimate: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape:
        raise InputError(
            f"a reconstruction of shape {a.shape} cannot be compared with a ground truth of shape {b.shape}: "
            "bring both to the same size first"
        )
    if a.ndim not in (2, 3) or a.size == 0:
        raise InputError(f"a frame to be measured has shape (H, W) or (H, W, C), not {a.shape}")
    return a, b


def psnr(estimate: np.ndarray, truth: np.ndarray, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(peak^2 / MSE), over all pixels and channels; inf when identical.

    Raises InputError when the shapes differ or are not (H, W) or (H, W, C).

    >>> round(psnr(np.full((4, 4), 0.6), np.full((4, 4), 0.5)), 6)
    20.0
    """
    a, b = _pair(estimate, truth)
    mse = float(np.mean(np.square(a - b)))
    if mse == 0:
        return float("inf")
    return float(10 * np.log10(peak * peak / mse))


def psnr_t(estimate: np.ndarray, truth: np.ndarray) -> float:
    """PSNR-T in dB: PSNR after the mu-law, peak 1."""
    a, b = _pair(estimate, truth)
    return psnr(mu_law(a), mu_law(b))


def psnr_l(estimate: np.ndarray, truth: np.ndarray) -> float:
    """PSNR-L in dB: PSNR of the radiance, peak 1."""
    return psnr(estimate, truth)


def ssim(estimate: np.ndarray, truth: np.ndarray, data_range: float = 1.0) -> float:
    """Mean structural similarity, -1..1, averaged over the channels (Wang et al. 2004).

    7x7 uniform window, sample covariance, K1 = 0.01, K2 = 0.03, windows that stick out of the frame left out: the
    defaults of `skimage.metrics.structural_similarity`. `data_range` is the span of the values.
    Raises InputError when the shapes differ or a side is shorter than the window.
    """
    a, b = _pair(estimate, truth)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM needs frames of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, "
            f"not {a.shape[1]}x{a.shape[0]}: give larger frames"
        )
    # channels one by one: cv2's box filter takes at most 4, and a plane stays in the cache
    planes = [(a, b)] if a.ndim == 2 else [(a[..., k], b[..., k]) for k in range(a.shape[2])]
    return float(np.mean([_ssim_plane(x, y, data_range) for x, y in planes]))


def _ssim_plane(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    pad = SSIM_WINDOW // 2

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(plane, cv2.CV_64F, (SSIM_WINDOW, SSIM_WINDOW))[pad:-pad, pad:-pad]

    count = SSIM_WINDOW * SSIM_WINDOW
    unbiased = count / (count - 1)
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    mx, my = mean(x), mean(y)
    vx = unbiased * (mean(x * x) - mx * mx)
    vy = unbiased * (mean(y * y) - my * my)
    vxy = unbiased * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(similarity.mean())


def ssim_t(estimate: np.ndarray, truth: np.ndarray) -> float:
    """SSIM-T: SSIM after the mu-law, data range 1."""
    a, b = _pair(estimate, truth)
    return ssim(mu_law(a), mu_law(b))


def ssim_l(estimate: np.ndarray, truth: np.ndarray) -> float:
    """SSIM-L: SSIM of the radiance, data range 1."""
    return ssim(estimate, truth)
