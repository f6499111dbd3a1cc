"""PU21-PSNR: PSNR of perceptually uniform codes.

Mantiuk and Azimi, PU21: A novel perceptually uniform encoding for adapting existing quality metrics for HDR, Picture
Coding Symposium 2021: the variant `banding_glare`, the one its authors recommend.

Convention:
    radiance    (H, W, 3) linear Rec. 709 RGB, 1.0 = clipping of the SHORTEST exposure.
    luminance   cd/m^2 as a display emits it; a colour channel is treated as the luminance of a grey of that value.
    code        0 at 0.005 cd/m^2, 256 at 100 cd/m^2, 595 at 10000 cd/m^2.
"""

from __future__ import annotations

import numpy as np

from hdrvid.errors import InputError
from hdrvid.metrics.fidelity import psnr

LUMINANCE_RANGE_CD_M2 = (0.005, 10000.0)
"""What the encoding is made for; luminance outside is clipped to it."""
BANDING_GLARE = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
"""p1 to p7 of the encoding, table 1 of the paper."""
PEAK_CODE = 256.0
"""The peak of the PSNR. The code of a 100 cd/m^2 white, so that decibels compare with those of an 8-bit picture."""
DISPLAY_PEAK_CD_M2 = 1000.0
"""Luminance that radiance 1.0 is shown at.

Relative radiance has to be put on a display first; the authors map the brightest value to the peak of an HDR display.
Here that value is the clipping of the shortest exposure, the same for all frames, so that the score of a frame does
not hang on one highlight; and the display is a 1000 cd/m^2 one, what HDR10 is usually mastered for. The long exposure
of a clip with 3 stops then clips at 125 cd/m^2, near the white of an ordinary display.
"""


def pu21_encode(luminance_cd_m2: np.ndarray) -> np.ndarray:
    """V = p7 (((p1 + p2 Y^p4) / (1 + p3 Y^p4))^p5 - p6), Y in cd/m^2 clipped to 0.005..10000; float64, any shape.

    >>> [round(float(v), 1) for v in pu21_encode(np.array([0.005, 0.1, 100.0, 10000.0]))]
    [0.0, 5.7, 256.4, 595.4]
    """
    p1, p2, p3, p4, p5, p6, p7 = BANDING_GLARE
    power = np.clip(np.asarray(luminance_cd_m2, np.float64), *LUMINANCE_RANGE_CD_M2) ** p4
    return p7 * (((p1 + p2 * power) / (1 + p3 * power)) ** p5 - p6)


def pu21_psnr(estimate: np.ndarray, truth: np.ndarray, peak_cd_m2: float = DISPLAY_PEAK_CD_M2) -> float:
    """PU21-PSNR in dB over all pixels and channels, peak 256; inf when the codes are identical.

    `estimate` and `truth` are radiance (H, W, 3); `peak_cd_m2` is the luminance of radiance 1.0. Larger radiance is
    shown brighter still, to the 10000 cd/m^2 where the encoding ends.
    Raises InputError for frames that are not (H, W, 3), not finite or not of one size, and for a peak that is no
    luminance.

    >>> truth = np.full((4, 4, 3), 0.1)  # 100 cd/m^2
    >>> round(pu21_psnr(1.01 * truth, truth), 2)
    51.95
    """
    if not (np.isfinite(peak_cd_m2) and peak_cd_m2 > 0):
        raise InputError(f"the peak of a display is a positive number of cd/m^2, not {peak_cd_m2}: give 1000")
    shown = [pu21_encode(checked_radiance(frame) * peak_cd_m2) for frame in (estimate, truth)]
    return psnr(shown[0], shown[1], PEAK_CODE)


def checked_radiance(frame: np.ndarray) -> np.ndarray:
    """The frame as float64. Raises InputError where it is not (H, W, 3), is empty or holds NaN or inf."""
    radiance = np.asarray(frame, np.float64)
    if radiance.ndim != 3 or radiance.shape[2] != 3 or radiance.size == 0:
        raise InputError(f"a frame to be measured is RGB of shape (H, W, 3), not {radiance.shape}: convert it first")
    if not np.isfinite(radiance).all():
        raise InputError("a frame to be measured holds NaN or inf: find out where they come from, or replace them")
    return radiance
