"""Camera responses: a curve with a name, made from formulas or from measured samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hdrvid.color.curves import (
    NETWORK_GAMMA,
    clog3_decode,
    clog3_encode,
    gamma_encode,
    gamma_linearize,
    is_tensor,
    logc3_decode,
    logc3_encode,
    logc4_decode,
    logc4_encode,
    rec709_encode,
    rec709_linearize,
    slog3_decode,
    slog3_encode,
    srgb_encode,
    srgb_linearize,
    vlog_decode,
    vlog_encode,
)
from hdrvid.color.hdr_signals import PQ_PEAK_NITS, hlg_decode, hlg_encode, pq_decode, pq_encode

NETWORK_RESPONSE = f"gamma{NETWORK_GAMMA:g}"
"""Name of the response whose codes are network codes."""


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

    def network_code(self, codes: Any) -> Any:
        """Codes of the camera, any shape, as network codes: linearised and coded with gamma 2.2, in [0, 1]."""
        if self.name == NETWORK_RESPONSE:  # there and back would only add rounding
            return codes.clip(0.0, 1.0)
        return gamma_encode(self.linearize(codes))

    @cached_property
    def black_code(self) -> float:
        """Network code of code 0: above 0 where blacks are crushed, and code 0 is anything up to this."""
        return float(np.min(np.asarray(self.network_code(np.zeros(3)))))


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
        if is_tensor(values):
            import torch

            return torch.from_numpy(np.asarray(function(values.detach().cpu().numpy()))).to(values)
        return function(values)

    return either


_LOG_CURVES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "slog3": (slog3_decode, slog3_encode),
    "vlog": (vlog_decode, vlog_encode),
    "logc3": (logc3_decode, logc3_encode),
    "logc4": (logc4_decode, logc4_encode),
    "clog3": (clog3_decode, clog3_encode),
}

SCENE_OF_CODE_1 = {name: float(decode(np.array(1.0))) for name, (decode, _) in _LOG_CURVES.items()}
"""Scene reflectance that code 1 of a log curve stands for."""

RESPONSES: dict[str, Response] = {
    "gamma2.2": gamma_response(2.2),
    "srgb": Response("srgb", srgb_linearize, srgb_encode),
    "rec709": Response("rec709", rec709_linearize, rec709_encode),
    "linear": Response("linear", lambda c: c.clip(0.0, 1.0), lambda v: v.clip(0.0, 1.0)),
    **{name: log_response(name, decode, encode) for name, (decode, encode) in _LOG_CURVES.items()},
    "pq": Response(
        "pq",
        _with_numpy(lambda code: pq_decode(code.clip(0.0, 1.0)) / PQ_PEAK_NITS),
        _with_numpy(lambda linear: pq_encode(linear.clip(0.0, 1.0) * PQ_PEAK_NITS)),
    ),
    "hlg": Response("hlg", _with_numpy(hlg_decode), _with_numpy(hlg_encode)),
}
"""Responses by the name that `--response` takes."""

LOG_RESPONSES = tuple(_LOG_CURVES)
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
