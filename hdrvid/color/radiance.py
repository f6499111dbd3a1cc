"""From network codes to radiance and back, the mu-law, luminance. One function, one formula.

Convention:
    radiance    linear / exposure; 1.0 = clipping of the SHORTEST exposure. `linear` and `code`: see `color.curves`.
    Every function takes numpy arrays and torch tensors alike, of any shape, and returns the same kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hdrvid.color.constants import LUMINANCE_BT709
from hdrvid.color.curves import NETWORK_GAMMA, Array, gamma_encode, gamma_linearize, is_tensor

MU = 5000.0
"""Compression of the mu-law tone curve, as in Kalantari & Ramamoorthi 2017."""


def radiance_from_ldr(ldr: Array, exposure: Any) -> Array:
    """H = ldr ** 2.2 / exposure: network-coded frame to radiance. `exposure` broadcasts against `ldr`."""
    return gamma_linearize(ldr) / exposure


def ldr_from_radiance(radiance: Array, exposure: Any) -> Array:
    """ldr = clip(H * exposure, 0, 1) ** (1 / 2.2): what a noise-free camera would have stored."""
    return gamma_encode(radiance * exposure)


def code_gain(exposure_from: Any, exposure_to: Any) -> Any:
    """Factor of the network code between two exposures: a power of a multiple is a multiple of the power."""
    return (exposure_to / exposure_from) ** (1.0 / NETWORK_GAMMA)


def match_exposure(ldr: Array, exposure_from: Any, exposure_to: Any) -> Array:
    """The frame as another exposure would have shown it, clipped where that one clips (network code).

    The same as `ldr_from_radiance` of `radiance_from_ldr`, see `code_gain`.
    """
    return (ldr.clip(0.0, 1.0) * code_gain(exposure_from, exposure_to)).clip(0.0, 1.0)


def common_floor(black: Any, shorter: Any, longer: Any) -> Any:
    """Code, at the longer of two exposures, below which the shorter one shows nothing.

    `black`: network code at or below which a frame is black. Two frames are compared above this alone: below it the
    shorter one may show anything.
    """
    return black * code_gain(shorter, longer)


def mu_law(radiance: Array, mu: float = MU) -> Array:
    """T(H) = log(1 + mu H) / log(1 + mu), negative H clipped to 0 (Kalantari & Ramamoorthi 2017).

    >>> float(mu_law(np.array(1.0)))
    1.0
    """
    scale = float(np.log1p(mu))
    h: Any = radiance.clip(min=0.0) * mu
    result: Any = h.log1p() if is_tensor(h) else np.log1p(h)
    return result / scale


def inverse_mu_law(tone: Array, mu: float = MU) -> Array:
    """H = ((1 + mu) ** T - 1) / mu, negative T clipped to 0."""
    x: Any = tone.clip(min=0.0) * float(np.log1p(mu))
    result: Any = x.expm1() if is_tensor(x) else np.expm1(x)
    return result / mu


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance of linear Rec. 709 RGB, (..., 3) -> (...)."""
    red, green, blue = LUMINANCE_BT709
    return rgb[..., 0] * red + rgb[..., 1] * green + rgb[..., 2] * blue
