"""HDR video signals: linear light to PQ, HLG and 10-bit BT.2020 YCbCr, and back. One function, one formula.

Convention:
    nits        cd/m2 that the display emits, (..., 3) linear RGB with BT.2020 primaries unless a name says otherwise.
    signal      non-linear R'G'B' in [0, 1], of PQ or of HLG.
    scene       HLG scene light in [0, 1], before the display's OOTF.
    YCbCr       non-constant luminance, limited range, 10 bit: luma 64..940, chroma 64..960.
    Functions take and return floating numpy arrays; negative light counts as 0.
"""

from __future__ import annotations

import numpy as np

from hdrvid.color.constants import LUMINANCE_BT2020
from hdrvid.color.gamuts import GAMUTS, REC709, conversion_matrix

PQ_PEAK_NITS = 10_000.0
"""Luminance of PQ signal 1 (SMPTE ST 2084)."""

HLG_PEAK_NITS = 1000.0
"""Nominal peak of the display that HLG is mapped for here; its system gamma is then 1.2 (BT.2100, table 5)."""

HLG_SYSTEM_GAMMA = 1.2

REFERENCE_WHITE_NITS = 203.0
"""Diffuse white in HDR pictures: PQ signal 0.58, HLG signal 0.75 (Report ITU-R BT.2408)."""

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32

_HLG_A = 0.17883277
_HLG_B = 1 - 4 * _HLG_A
_HLG_C = 0.5 - _HLG_A * np.log(4 * _HLG_A)


REC709_TO_BT2020 = conversion_matrix(REC709, GAMUTS["rec2020"])
"""(3, 3) linear RGB with Rec. 709 primaries to linear RGB with BT.2020 primaries (Recommendation ITU-R BT.2087)."""

_LUMINANCE = np.array(LUMINANCE_BT2020)
"""Weights of linear BT.2020 RGB in luminance, and of R'G'B' in luma (BT.2020-2, table 4)."""


def ycbcr_matrix(luminance: tuple[float, float, float]) -> np.ndarray:
    """(3, 3) R'G'B' to Y', Cb, Cr of these weights of luminance: Y' in [0, 1], Cb and Cr in [-0.5, 0.5].

    >>> ycbcr_matrix((0.2126, 0.7152, 0.0722)).round(4)[1]
    array([-0.1146, -0.3854,  0.5   ])
    """
    weights = np.array(luminance)
    blue, red = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    return np.array([weights, (blue - weights) / (2 * (1 - weights[2])), (red - weights) / (2 * (1 - weights[0]))])


RGB_TO_YCBCR = ycbcr_matrix(LUMINANCE_BT2020)
"""(3, 3) R'G'B' to Y', Cb, Cr of BT.2020 with non-constant luminance: Y' in [0, 1], Cb and Cr in [-0.5, 0.5]."""


def rec709_to_bt2020(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) linear light, from Rec. 709 to BT.2020 primaries; white stays white.

    >>> rec709_to_bt2020(np.array([1.0, 0.0, 0.0])).round(4)
    array([0.6274, 0.0691, 0.0164])
    """
    return rgb @ REC709_TO_BT2020.T.astype(rgb.dtype)


def bt2020_luminance(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) linear BT.2020 RGB to (...) luminance."""
    return rgb @ _LUMINANCE.astype(rgb.dtype)


def pq_encode(nits: np.ndarray) -> np.ndarray:
    """Luminance of 0..10000 cd/m2 to PQ signal 0..1: the inverse EOTF of SMPTE ST 2084. Above it goes on past 1.

    >>> pq_encode(np.array([0.0, 100.0, 1000.0, 10000.0])).round(4)
    array([0.    , 0.5081, 0.7518, 1.    ])
    """
    power = (np.maximum(nits, 0.0) / PQ_PEAK_NITS) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def pq_decode(signal: np.ndarray) -> np.ndarray:
    """PQ signal 0..1 to luminance in cd/m2: the EOTF of SMPTE ST 2084."""
    root = np.maximum(signal, 0.0) ** (1 / _M2)
    return PQ_PEAK_NITS * (np.maximum(root - _C1, 0.0) / (_C2 - _C3 * root)) ** (1 / _M1)


def hlg_encode(scene: np.ndarray) -> np.ndarray:
    """Scene light 0..1 to HLG signal 0..1: the OETF of BT.2100, table 5.

    >>> hlg_encode(np.array([0.0, 1 / 12, 1.0])).round(6)
    array([0. , 0.5, 1. ])
    """
    light = np.clip(scene, 0.0, 1.0)
    above = _HLG_A * np.log(np.maximum(12 * light - _HLG_B, 1e-6)) + _HLG_C
    return np.where(light <= 1 / 12, np.sqrt(3 * light), above)


def hlg_decode(signal: np.ndarray) -> np.ndarray:
    """HLG signal 0..1 to scene light 0..1: the inverse OETF of BT.2100, table 5."""
    code = np.clip(signal, 0.0, 1.0)
    return np.where(code <= 0.5, code * code / 3, (np.exp((code - _HLG_C) / _HLG_A) + _HLG_B) / 12)


def hlg_scene_to_nits(scene: np.ndarray) -> np.ndarray:
    """(..., 3) scene light to cd/m2 on a display of 1000 cd/m2: the OOTF of BT.2100, F = 1000 Y^0.2 E."""
    light = np.maximum(scene, 0.0)
    return HLG_PEAK_NITS * bt2020_luminance(light)[..., None] ** (HLG_SYSTEM_GAMMA - 1) * light


def hlg_nits_to_scene(nits: np.ndarray) -> np.ndarray:
    """(..., 3) cd/m2 to scene light, the inverse of `hlg_scene_to_nits`. A saturated bright colour can exceed 1."""
    light = np.maximum(nits, 0.0) / HLG_PEAK_NITS
    grey = np.maximum(bt2020_luminance(light), np.finfo(light.dtype).tiny)
    return light * grey[..., None] ** (1 / HLG_SYSTEM_GAMMA - 1)


def pq_level(nits: np.ndarray) -> np.ndarray:
    """(..., 3) cd/m2 to (...): the largest component, what decides whether a PQ display can show the colour."""
    return np.maximum(nits, 0.0).max(axis=-1)


def hlg_level(nits: np.ndarray) -> np.ndarray:
    """(..., 3) cd/m2 to (...): the grey in cd/m2 whose HLG signal is the largest of the colour's three.

    That is M (M / Y)^0.2, M the largest component and Y the luminance: it is proportional to the light, and it is
    1000 where the signal is 1. A pure colour needs more signal than a grey of its largest component.
    """
    light = np.maximum(nits, 0.0)
    largest = light.max(axis=-1)
    grey = np.maximum(bt2020_luminance(light), np.finfo(light.dtype).tiny)
    return largest * np.maximum(largest / grey, 1.0) ** (HLG_SYSTEM_GAMMA - 1)


def roll_off(nits: np.ndarray, source_peak: float, target_peak: float) -> np.ndarray:
    """Luminance 0..source_peak to 0..target_peak, all cd/m2: the EETF of Report ITU-R BT.2390, black at 0.

    In PQ signal relative to that of `source_peak`, a straight line up to the knee 1.5 t - 0.5, where t is the signal
    of `target_peak`, and a Hermite spline above it. Below the knee (`roll_off_knee`) values are returned as they are,
    and everywhere where `source_peak` is not above `target_peak`. Values above `source_peak` count as `source_peak`.
    """
    if source_peak <= target_peak:
        return nits
    scale, target = pq_encode(np.array([source_peak, target_peak]))
    top = target / scale
    knee = 1.5 * top - 0.5
    signal = pq_encode(np.minimum(nits, source_peak)) / scale
    t = np.maximum(signal - knee, 0.0) / (1 - knee)
    t2, t3 = t * t, t * t * t
    spline = (2 * t3 - 3 * t2 + 1) * knee + (t3 - 2 * t2 + t) * (1 - knee) + (3 * t2 - 2 * t3) * top
    return np.where(signal > knee, pq_decode(spline * scale), nits)


def roll_off_knee(source_peak: float, target_peak: float) -> float:
    """Luminance in cd/m2 up to which `roll_off` changes nothing; `target_peak` where it never does."""
    if source_peak <= target_peak:
        return target_peak
    source, target = pq_encode(np.array([source_peak, target_peak]))
    return float(pq_decode(1.5 * target - 0.5 * source))


def ycbcr_10bit(signal: np.ndarray) -> np.ndarray:
    """(..., 3) R'G'B' to (..., 3) 10-bit Y', Cb, Cr codes, float and not rounded (BT.2100, tables 6 and 9).

    >>> ycbcr_10bit(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).round(6)
    array([[ 64., 512., 512.],
           [940., 512., 512.]])
    """
    weights = RGB_TO_YCBCR * np.array([[876.0], [896.0], [896.0]])
    return signal @ weights.T.astype(signal.dtype) + np.array([64, 512, 512], signal.dtype)


def signal_of_ycbcr_10bit(codes: np.ndarray) -> np.ndarray:
    """(..., 3) 10-bit Y', Cb, Cr codes to (..., 3) R'G'B': the inverse of `ycbcr_10bit`."""
    values = (codes - np.array([64.0, 512.0, 512.0])) / np.array([876.0, 896.0, 896.0])
    return values @ np.linalg.inv(RGB_TO_YCBCR).T


def frame_light(nits: np.ndarray) -> tuple[float, float]:
    """Maximum and average over the pixels of one frame, or of a part of it, (H, W, 3) cd/m2, of max(R, G, B).

    The largest of each over the frames of a clip are its MaxCLL and MaxFALL (CTA-861.3, annex P).
    """
    level = pq_level(nits)
    return float(level.max()), float(level.mean(dtype=np.float64))
