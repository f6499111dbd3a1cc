"""Photometry: response curves, exposure, radiance, the mu-law. One function, one formula.

Convention:
    code        display-coded value in [0, 1], what a file stores.
    linear      sensor exposure in [0, 1], 1.0 = clipping of that frame.
    radiance    linear / exposure; 1.0 = clipping of the SHORTEST exposure.
    Every function takes numpy arrays and torch tensors alike, of any shape, and returns the same kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

MU = 5000.0
"""Compression of the mu-law tone curve, as in Kalantari & Ramamoorthi 2017."""

NETWORK_GAMMA = 2.2
"""The code inside the networks: frames of every response are linearised and coded with this gamma."""

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return torch.where(condition, a, b) if isinstance(condition, torch.Tensor) else np.where(condition, a, b)


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
    return _where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def srgb_encode(linear: Array) -> Array:
    """IEC 61966-2-1 encoding, linear in [0, 1]."""
    v = linear.clip(0.0, 1.0)
    return _where(v <= 0.0031308, v * 12.92, 1.055 * v ** (1 / 2.4) - 0.055)


def rec709_linearize(code: Array) -> Array:
    """Inverse of the ITU-R BT.709-6 camera curve (item 1.2), code in [0, 1]."""
    c = code.clip(0.0, 1.0)
    return _where(c < 0.081, c / 4.5, ((c + 0.099) / 1.099) ** (1 / 0.45))


def rec709_encode(linear: Array) -> Array:
    """ITU-R BT.709-6 camera curve (item 1.2), linear in [0, 1]."""
    v = linear.clip(0.0, 1.0)
    return _where(v < 0.018, v * 4.5, 1.099 * v**0.45 - 0.099)


@dataclass(frozen=True)
class Response:
    """A camera response: linear exposure -> code, and back. Both ends map 0 to 0 and 1 to 1."""

    name: str
    """What is written into reports: gamma2.2, srgb, rec709, linear, or the file the curve was read from."""
    linearize: Callable[[Any], Any]
    """code in [0, 1] -> linear in [0, 1]."""
    encode: Callable[[Any], Any]
    """linear in [0, 1] -> code in [0, 1]."""
    curve: np.ndarray | None = field(default=None, repr=False, compare=False)
    """(N, 3) linear value of N evenly spaced codes, for measured curves."""


def gamma_response(gamma: float) -> Response:
    """code = linear ** (1 / gamma)."""
    return Response(f"gamma{gamma:g}", lambda c: gamma_linearize(c, gamma), lambda v: gamma_encode(v, gamma))


def sigmoid_response(exponent: float, sigma: float) -> Response:
    """code = (1 + sigma) v^n / (v^n + sigma): an S over log exposure, as film and most cameras have.

    Eilertsen et al., HDR image reconstruction from a single exposure using deep CNNs, 2017: n = 0.9 and sigma = 0.6
    fit the mean of Grossberg & Nayar's measured curves. Rises strictly and has a closed inverse for n, sigma > 0.
    """

    def encode(linear: Any) -> Any:
        power = linear.clip(0.0, 1.0) ** exponent
        return (1 + sigma) * power / (power + sigma)

    def linearize(code: Any) -> Any:
        c = code.clip(0.0, 1.0)
        return (sigma * c / (1 + sigma - c)) ** (1 / exponent)

    return Response(f"sigmoid{exponent:g},{sigma:g}", linearize, encode)


RESPONSES: dict[str, Response] = {
    "gamma2.2": gamma_response(2.2),
    "srgb": Response("srgb", srgb_linearize, srgb_encode),
    "rec709": Response("rec709", rec709_linearize, rec709_encode),
    "linear": Response("linear", lambda c: c.clip(0.0, 1.0), lambda v: v.clip(0.0, 1.0)),
}
"""Responses by the name that `--response` takes."""


def measured_response(name: str, curve: np.ndarray) -> Response:
    """A response from its inverse: `curve` (N, 3) or (N,) holds the linear exposure of N evenly spaced codes 0..1.

    The curve is normalised to 0..1 and made monotonic; between samples it is linear. numpy arrays of shape
    (..., 3) only. Raises ValueError when the curve has fewer than two samples, is not finite or is flat.
    """
    table = np.asarray(curve, np.float64)
    if table.ndim == 1:
        table = np.repeat(table[:, None], 3, axis=1)
    if table.ndim != 2 or table.shape[1] != 3 or table.shape[0] < 2:
        raise ValueError(f"a response curve has shape (N,) or (N, 3), N >= 2, not {np.shape(curve)}")
    if not np.isfinite(table).all():
        raise ValueError("a response curve must hold finite numbers")
    table = np.maximum.accumulate(table, axis=0)
    table = table - table[:1]
    if (table[-1] <= 0).any():
        raise ValueError("a response curve must rise from black to white")
    table = table / table[-1:]
    codes = np.linspace(0.0, 1.0, len(table))
    # a strictly rising copy for the way back: flat stretches would make the inverse ambiguous
    rising = np.clip(table + np.linspace(0.0, 1e-9, len(table))[:, None], 0.0, None)
    rising = rising / rising[-1:]

    def linearize(code: np.ndarray) -> np.ndarray:
        c = np.clip(code, 0.0, 1.0)
        return np.stack([np.interp(c[..., k], codes, table[:, k]) for k in range(3)], -1).astype(np.float32)

    def encode(linear: np.ndarray) -> np.ndarray:
        v = np.clip(linear, 0.0, 1.0)
        return np.stack([np.interp(v[..., k], rising[:, k], codes) for k in range(3)], -1).astype(np.float32)

    return Response(name, linearize, encode, curve=table)


def radiance_from_ldr(ldr: Array, exposure: Any) -> Array:
    """H = ldr ** 2.2 / exposure: network-coded frame to radiance. `exposure` broadcasts against `ldr`."""
    return gamma_linearize(ldr) / exposure


def ldr_from_radiance(radiance: Array, exposure: Any) -> Array:
    """ldr = clip(H * exposure, 0, 1) ** (1 / 2.2): what a noise-free camera would have stored."""
    return gamma_encode(radiance * exposure)


def match_exposure(ldr: Array, exposure_from: Any, exposure_to: Any) -> Array:
    """The frame as another exposure would have shown it, clipped where that one clips (network code)."""
    return ldr_from_radiance(radiance_from_ldr(ldr, exposure_from), exposure_to)


def mu_law(radiance: Array, mu: float = MU) -> Array:
    """T(H) = log(1 + mu H) / log(1 + mu), negative H clipped to 0 (Kalantari & Ramamoorthi 2017).

    >>> float(mu_law(np.array(1.0)))
    1.0
    """
    scale = float(np.log1p(mu))
    h = radiance.clip(min=0.0) * mu
    return (torch.log1p(h) if isinstance(h, torch.Tensor) else np.log1p(h)) / scale


def inverse_mu_law(tone: Array, mu: float = MU) -> Array:
    """H = ((1 + mu) ** T - 1) / mu, negative T clipped to 0."""
    x = tone.clip(min=0.0) * float(np.log1p(mu))
    return (torch.expm1(x) if isinstance(x, torch.Tensor) else np.expm1(x)) / mu


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Relative luminance of linear Rec. 709 RGB, (..., 3) -> (...)."""
    return rgb[..., 0] * 0.2126 + rgb[..., 1] * 0.7152 + rgb[..., 2] * 0.0722
