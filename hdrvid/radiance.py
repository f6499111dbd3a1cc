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

from hdrvid.transfer import PQ_PEAK_NITS, hlg_decode, hlg_encode, pq_decode, pq_encode

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


# ---- log curves ------------------------------------------------------------------------------------------------------
#
# `scene` is the reflectance that a log curve stands for: 0.18 is a grey card, 1 a white one. Code 1.0 stands for a
# `scene` far above 1 (38 of S-Log3), which is where a frame counts as clipped: linear = scene / scene of code 1. A
# sensor that clips below that stays below linear 1.0. Black has a code above 0; codes below it are negative light: 0.


def _log10(x: Any) -> Any:
    return torch.log10(x) if isinstance(x, torch.Tensor) else np.log10(x)


def slog3_decode(code: Array) -> Array:
    """S-Log3 code to scene reflectance (Sony, Technical Summary for S-Gamut3.Cine/S-Log3 and S-Gamut3/S-Log3).

    >>> round(float(slog3_decode(np.array(420 / 1023))), 6)
    0.18
    """
    x = code * 1023
    return _where(x >= 171.2102946929, 10 ** ((x - 420) / 261.5) * 0.19 - 0.01, (x - 95) * (0.01125 / 76.2102946929))


def slog3_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to S-Log3 code; inverse of `slog3_decode`."""
    curved = 420 + _log10((scene + 0.01) / 0.19) * 261.5
    return _where(scene >= 0.01125, curved, scene * (76.2102946929 / 0.01125) + 95) / 1023


def vlog_decode(code: Array) -> Array:
    """V-Log code to scene reflectance (Panasonic, V-Log/V-Gamut Reference Manual).

    >>> round(float(vlog_decode(np.array(433 / 1023))), 3)
    0.18
    """
    return _where(code >= 0.181, 10 ** ((code - 0.598206) / 0.241514) - 0.00873, (code - 0.125) / 5.6)


def vlog_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to V-Log code; inverse of `vlog_decode`."""
    return _where(scene >= 0.01, 0.241514 * _log10(scene + 0.00873) + 0.598206, 5.6 * scene + 0.125)


def logc3_decode(code: Array) -> Array:
    """ARRI LogC3 code to scene reflectance, EI 800 (ARRI, ALEXA Log C Curve: Usage in VFX).

    >>> round(float(logc3_decode(np.array(400 / 1023))), 3)
    0.18
    """
    curved = (10 ** ((code - 0.385537) / 0.247190) - 0.052272) / 5.555556
    return _where(code > 5.367655 * 0.010591 + 0.092809, curved, (code - 0.092809) / 5.367655)


def logc3_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to ARRI LogC3 code, EI 800; inverse of `logc3_decode`."""
    curved = 0.247190 * _log10(5.555556 * scene + 0.052272) + 0.385537
    return _where(scene > 0.010591, curved, 5.367655 * scene + 0.092809)


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
    return (_log10(_LOGC4_A * scene + 64) / float(np.log10(2)) - 6) * (_LOGC4_B / 14) + _LOGC4_C


def clog3_decode(code: Array) -> Array:
    """Canon Log 3 code to scene reflectance (constants of Canon's input transform), exact from black on.

    >>> round(float(clog3_decode(np.array(0.343389))), 5)
    0.18
    """
    curved = (10 ** ((code - 0.12240537) / 0.36726845) - 1) / 14.98325
    return 0.9 * _where(code > 0.15277891, curved, (code - 0.12512219) / 1.9754798)


def clog3_encode(scene: Array) -> Array:
    """Scene reflectance >= 0 to Canon Log 3 code; inverse of `clog3_decode`."""
    x = scene / 0.9
    return _where(x > 0.014, 0.36726845 * _log10(x * 14.98325 + 1) + 0.12240537, x * 1.9754798 + 0.12512219)


@dataclass(frozen=True)
class Response:
    """A camera response: linear exposure -> code, and back. It rises; code 1 is linear 1, a code of black linear 0.

    Black is code 0 but for the log curves, which put it at 0.09 to 0.13 (`encode` of 0).
    """

    name: str
    """What is written into reports: a name that `--response` takes, or the file the curve was read from."""
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


def contrast_response(gamma: float, strength: float) -> Response:
    """A power curve with an S of contrast on its codes: code = (1 - s) v + s v^2 (3 - 2 v), v = linear ** (1 / gamma).

    The S is the smoothstep polynomial, as picture profiles and editors add contrast. `strength` s below 1; negative
    values flatten. numpy arrays only. Raises ValueError where the curve would not rise.
    """
    if not -2.0 < strength < 1.0:
        raise ValueError(f"a contrast of {strength:g} gives no rising curve: use a strength above -2 and below 1")
    v = np.linspace(0.0, 1.0, 8193)
    bent = (1 - strength) * v + strength * v * v * (3 - 2 * v)

    def encode(linear: Any) -> Any:
        power = np.clip(linear, 0.0, 1.0) ** (1 / gamma)
        return (1 - strength) * power + strength * power * power * (3 - 2 * power)

    def linearize(code: Any) -> Any:
        return np.interp(np.clip(code, 0.0, 1.0), bent, v) ** gamma

    return Response(f"contrast{gamma:g},{strength:g}", linearize, encode)


def levelled_response(response: Response, black: float, white: float) -> Response:
    """The response of a clip whose codes are scaled: code `black` stands for code 0, `white` for code 1.

    A raised black (a pedestal, limited range read as full) has `black` above 0; codes below it are linear 0. Crushed
    blacks have it below 0: code 0 then is the light at which the blacks end. `white` below 1: codes above it clip.
    Raises ValueError unless `white` lies clearly above `black` and some codes between 0 and 1 are used.
    """
    if not (white - black > 1e-3 and black < 0.9 and white > 0.01):
        raise ValueError(f"codes from {black:g} to {white:g} are no range: give a white level above the black level")
    black, white = float(f"{black:.5g}"), float(f"{white:.5g}")  # what the name says is what is used
    top = float(np.asarray(response.linearize(np.full(3, (min(white, 1.0) - black) / (white - black)))).max())

    def linearize(code: Any) -> Any:
        return response.linearize(((code.clip(0.0, 1.0) - black) / (white - black)).clip(0.0, 1.0)) / top

    def encode(linear: Any) -> Any:
        return (response.encode(linear.clip(0.0, 1.0) * top) * (white - black) + black).clip(0.0, 1.0)

    return Response(f"{response.name}@{black:.5g},{white:.5g}", linearize, encode)


def clipped_response(response: Response, clip_code: float) -> Response:
    """The response of a clip in which the sensor clips at `clip_code`, below code 1: that code becomes linear 1.

    Log and PQ curves have room above what a sensor can give. Raises ValueError for a code that is no light.
    """
    clip_code = float(f"{clip_code:.5g}")
    top = float(np.asarray(response.linearize(np.full(3, clip_code))).min())
    if not 0 < clip_code <= 1 or top <= 0:
        raise ValueError(f"a frame cannot clip at code {clip_code:g}: give a code above black, up to 1")

    def linearize(code: Any) -> Any:
        return (response.linearize(code) / top).clip(0.0, 1.0)

    def encode(linear: Any) -> Any:
        return response.encode(linear.clip(0.0, 1.0) * top)

    return Response(f"{response.name}:{clip_code:.5g}", linearize, encode)


def log_response(name: str, decode: Callable[[Any], Any], encode: Callable[[Any], Any]) -> Response:
    """A log curve scaled so that code 1 is linear 1; light below black counts as 0."""
    white = float(decode(np.array(1.0)))
    return Response(
        name,
        lambda c: (decode(c.clip(0.0, 1.0)) / white).clip(0.0, 1.0),
        lambda v: encode(v.clip(0.0, 1.0) * white).clip(0.0, 1.0),
    )


def _with_numpy(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """A function of numpy arrays that takes tensors too."""

    def either(values: Any) -> Any:
        if isinstance(values, torch.Tensor):
            return torch.from_numpy(np.asarray(function(values.detach().cpu().numpy()))).to(values)
        return function(values)

    return either


RESPONSES: dict[str, Response] = {
    "gamma2.2": gamma_response(2.2),
    "srgb": Response("srgb", srgb_linearize, srgb_encode),
    "rec709": Response("rec709", rec709_linearize, rec709_encode),
    "linear": Response("linear", lambda c: c.clip(0.0, 1.0), lambda v: v.clip(0.0, 1.0)),
    "slog3": log_response("slog3", slog3_decode, slog3_encode),
    "vlog": log_response("vlog", vlog_decode, vlog_encode),
    "logc3": log_response("logc3", logc3_decode, logc3_encode),
    "logc4": log_response("logc4", logc4_decode, logc4_encode),
    "clog3": log_response("clog3", clog3_decode, clog3_encode),
    "pq": Response(
        "pq",
        _with_numpy(lambda code: pq_decode(code.clip(0.0, 1.0)) / PQ_PEAK_NITS),
        _with_numpy(lambda linear: pq_encode(linear.clip(0.0, 1.0) * PQ_PEAK_NITS)),
    ),
    "hlg": Response("hlg", _with_numpy(hlg_decode), _with_numpy(hlg_encode)),
}
"""Responses by the name that `--response` takes."""

LOG_RESPONSES = ("slog3", "vlog", "logc3", "logc4", "clog3")
"""The log curves among `RESPONSES`: S-Log3, V-Log, ARRI LogC3 (EI 800), ARRI LogC4, Canon Log 3."""


def measured_response(name: str, curve: np.ndarray) -> Response:
    """A response from its inverse: `curve` (N, 3) or (N,) holds the linear exposure of N evenly spaced codes 0..1.

    The curve is normalised to 0..1 and made monotonic; between samples it is linear. Takes numpy arrays of any shape:
    (..., 3) is R, G, B with a curve each, any other shape is codes without a colour and takes the mean of the three
    curves. Raises ValueError when the curve has fewer than two samples, is not finite or is flat.
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

    same = bool((table == table[:, :1]).all())

    def linearize(code: np.ndarray) -> np.ndarray:
        c = np.clip(code, 0.0, 1.0)
        if same or c.shape[-1:] != (3,):
            return np.asarray(np.interp(c, codes, table.mean(1)), np.float32)
        return np.stack([np.interp(c[..., k], codes, table[:, k]) for k in range(3)], -1).astype(np.float32)

    def encode(linear: np.ndarray) -> np.ndarray:
        v = np.clip(linear, 0.0, 1.0)
        if same or v.shape[-1:] != (3,):
            return np.asarray(np.interp(v, rising.mean(1), codes), np.float32)
        return np.stack([np.interp(v[..., k], rising[:, k], codes) for k in range(3)], -1).astype(np.float32)

    return Response(name, linearize, encode, curve=table)


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
