"""Camera curves as formulas: code to linear light and back. One function, one formula.

Convention:
    code        display-coded value in [0, 1], what a file stores.
    linear      sensor exposure in [0, 1], 1.0 = clipping of that frame.
    Every function takes numpy arrays and torch tensors alike, of any shape, and returns the same kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

NETWORK_GAMMA = 2.2
"""The code inside the networks: frames of every response are linearised and coded with this gamma."""

Array = TypeVar("Array", np.ndarray, "torch.Tensor")


def is_tensor(values: Any) -> TypeGuard[torch.Tensor]:
    """Whether `values` is a tensor of PyTorch, which need not be loaded for the answer, and no array or number."""
    return not isinstance(values, (np.ndarray, np.generic, float, int))


def select(condition: Any, a: Any, b: Any) -> Any:
    if is_tensor(condition):
        import torch

        return torch.where(condition, a, b)
    return np.where(condition, a, b)


def gamma_linearize(code: Array, gamma: float = NETWORK_GAMMA) -> Array:
    """linear = code ** gamma, codes clipped to [0, 1].

    >>> round(float(gamma_linearize(np.array(0.5))), 6)
    0.217638
    """
    return code.clip(0.0, 1.0) ** gamma


def gamma_encode(linear: Array, gamma: float = NETWORK_GAMMA) -> Array:
    """code = clip(linear, 0, 1) ** (1 / gamma)."""
    return linear.clip(0.0, 1.0) ** (1.0 / gamma)


def srgb_linearize(code: Array) -> Array:
    """IEC 61966-2-1 decoding, code in [0, 1]."""
    c = code.clip(0.0, 1.0)
    return select(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def srgb_encode(linear: Array) -> Array:
    """IEC 61966-2-1 encoding, linear in [0, 1]."""
    v = linear.clip(0.0, 1.0)
    return select(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)


REC709_OFFSET = 0.09929682680944
"""Alpha - 1 of ITU-T H.273, table 3, value 1. BT.709-6 rounds to 0.099, and its curve jumps by 0.00025 in code."""

REC709_TOE = 0.018053968510807
"""Beta of ITU-T H.273, linear: the straight part ends there."""


def rec709_linearize(code: Array) -> Array:
    """Inverse of the ITU-R BT.709-6 camera curve (item 1.2), code in [0, 1]."""
    c = code.clip(0.0, 1.0)
    return select(c < 4.5 * REC709_TOE, c / 4.5, ((c + REC709_OFFSET) / (1 + REC709_OFFSET)) ** (1 / 0.45))


def rec709_encode(linear: Array) -> Array:
    """ITU-R BT.709-6 camera curve (item 1.2), linear in [0, 1]."""
    v = linear.clip(0.0, 1.0)
    return select(v < REC709_TOE, v * 4.5, (1 + REC709_OFFSET) * v**0.45 - REC709_OFFSET)


# ---- log curves ------------------------------------------------------------------------------------------------------
#
# `scene` is the reflectance that a log curve stands for: 0.18 is a grey card, 1 a white one. Code 1.0 stands for a
# `scene` far above 1 (38 of S-Log3), which is where a frame counts as clipped: linear = scene / scene of code 1. A
# sensor that clips below that stays below linear 1.0. Black has a code above 0; codes below it are negative light: 0.


def log10(x: Any) -> Any:
    return x.log10() if is_tensor(x) else np.log10(x)


def slog3_decode(code: Array) -> Array:
    """S-Log3 code to scene reflectance (Sony, Technical Summary for S-Gamut3.Cine/S-Log3 and S-Gamut3/S-Log3).

    >>> round(float(slog3_decode(np.array(420 / 1023))), 6)
    0.18
    """
    x = code * 1023
    return select(x >= 171.2102946929, 10 ** ((x - 420) / 261.5) * 0.19 - 0.01, (x - 95) * (0.01125 / 76.2102946929))


def slog3_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to S-Log3 code; inverse of `slog3_decode`."""
    curved = 420 + log10((scene + 0.01) / 0.19) * 261.5
    return select(scene >= 0.01125, curved, scene * (76.2102946929 / 0.01125) + 95) / 1023


def vlog_decode(code: Array) -> Array:
    """V-Log code to scene reflectance (Panasonic, V-Log/V-Gamut Reference Manual).

    >>> round(float(vlog_decode(np.array(433 / 1023))), 3)
    0.18
    """
    return select(code >= 0.181, 10 ** ((code - 0.598206) / 0.241514) - 0.00873, (code - 0.125) / 5.6)


def vlog_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to V-Log code; inverse of `vlog_decode`."""
    return select(scene >= 0.01, 0.241514 * log10(scene + 0.00873) + 0.598206, 5.6 * scene + 0.125)


def logc3_decode(code: Array) -> Array:
    """ARRI LogC3 code to scene reflectance, EI 800 (ARRI, ALEXA Log C Curve: Usage in VFX).

    >>> round(float(logc3_decode(np.array(400 / 1023))), 3)
    0.18
    """
    curved = (10 ** ((code - 0.385537) / 0.247190) - 0.052272) / 5.555556
    return select(code > 5.367655 * 0.010591 + 0.092809, curved, (code - 0.092809) / 5.367655)


def logc3_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to ARRI LogC3 code, EI 800; inverse of `logc3_decode`."""
    curved = 0.247190 * log10(5.555556 * scene + 0.052272) + 0.385537
    return select(scene > 0.010591, curved, 5.367655 * scene + 0.092809)


_LOGC4_A = (2.0**18 - 16) / 117.45
_LOGC4_C = 95 / 1023
_LOGC4_B = 1 - _LOGC4_C


def logc4_decode(code: Array) -> Array:
    """ARRI LogC4 code to scene reflectance (ARRI LogC4 Specification), exact from black (code 95/1023) on.

    >>> round(float(logc4_decode(np.array(0.2783958))), 6)
    0.18
    """
    return (2 ** (14 * (code - _LOGC4_C) / _LOGC4_B + 6) - 64) / _LOGC4_A


def logc4_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to ARRI LogC4 code; inverse of `logc4_decode`."""
    return (log10(_LOGC4_A * scene + 64) / float(np.log10(2)) - 6) * (_LOGC4_B / 14) + _LOGC4_C


def clog3_decode(code: Array) -> Array:
    """Canon Log 3 code to scene reflectance (constants of Canon's input transform), exact from black on.

    >>> round(float(clog3_decode(np.array(0.343389))), 5)
    0.18
    """
    curved = (10 ** ((code - 0.12240537) / 0.36726845) - 1) / 14.98325
    return 0.9 * select(code > 0.15277891, curved, (code - 0.12512219) / 1.9754798)


def clog3_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to Canon Log 3 code; inverse of `clog3_decode`."""
    x = scene / 0.9
    return select(x > 0.014, 0.36726845 * log10(x * 14.98325 + 1) + 0.12240537, x * 1.9754798 + 0.12512219)
