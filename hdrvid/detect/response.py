"""Checks a camera response against the pixels of a clip, and finds one that agrees with them.

Frames of two exposures show the same scene, so their linearised codes must differ by 2^stops at every level. Which
codes belong together follows from their rank: the code below which a share p of the picture lies in one frame matches
the code of the same share in the other (histogram matching; Grossberg & Nayar, Determining the Camera Response from
Images: What Is Knowable?, IEEE TPAMI 2003). Motion does not matter to it. What enters and leaves the picture does, and
a scene that brightens: a frame is therefore compared with the two frames of the other exposure around it, interpolated
to its own time. The median over frames and channels is one curve of matched codes for every pair of exposures.

What can be known: codes a and b match where f(b) - f(a) = stops, f being log2 of the linear value. With declared stops
f is known but for what the family below leaves open. With measured stops f and stops can be multiplied by any number
together (a gamma): only the shape of f is known, whether it is a power or a log curve, sRGB, or an S. Exponents are
then taken from the curves that cameras have, and stops that are thirds, as cameras step, are preferred where two such
curves fit alike. A pure power says nothing at all about its exponent.

Convention:
    code        display-coded value in [0, 1], what a file stores.
    level       code of the shorter frame, or its linear value where a name says so.
    stops       log2 of a linear ratio of exposures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import cv2
import numpy as np

from hdrvid.color.response import (
    LOG_RESPONSES,
    RESPONSES,
    Response,
    contrast_response,
    gamma_response,
    levelled_response,
    measured_response,
    sigmoid_response,
)
from hdrvid.detect.cycle import finite_pixels, quantiles
from hdrvid.errors import ExposureError, InputError

DEFAULT_RESPONSE = "gamma2.2"
"""What is assumed where a clip cannot tell."""

SAMPLES_ACROSS = 480
"""Samples over the width of a frame, at least."""

MEDIAN_PX = 5
"""Side of the square whose median a sample is. A median commutes with every rising curve and with clipping: averaging
does not, and made the ratio next to clipping 0.25 stops too small (measured on five curves; with medians 0.015)."""

MIN_SAMPLES = 400
"""Frames of fewer samples have no histogram to speak of."""

LOWEST_CODE = 0.06
"""Codes below this are noise and rounding in all curves but the log ones, which have nothing there."""

WHITE_SHARE = 0.9
"""Codes above this share of the brightest one of the clip may be clipped."""

CODE_FLOOR = 1.0 / 255
"""Matched codes are never known better than this, whatever their scatter: rounding, codecs."""

# denser at both ends: in dark clips only the highlights of the short frame rise above the noise
_SHARES = 1 / (1 + np.exp(-np.linspace(-7.6, 7.6, 1024)))
_GRID = np.linspace(0.0, 1.0, 129)


@dataclass(frozen=True)
class FrameLevels:
    """One frame, reduced to its histograms. Made by `frame_levels`."""

    quantiles: np.ndarray = field(repr=False)
    """(3, P) code of R, G, B below which a share `_SHARES` of the samples lies."""
    peak: float
    """Code that only 0.5 % of the samples exceed in the brightest channel."""
    noise: float
    """Standard deviation of the code in the shadows."""
    num_samples: int
    """Samples that the quantiles are made of."""


@dataclass(frozen=True)
class RatioByLevel:
    """The ratio of linearised frames of two exposures against level. With the right response it is the same at all."""

    expected_stops: float
    """Declared or measured stops of the longer exposure over the shorter one."""
    level_linear: tuple[float, ...]
    """Linear value of the shorter frame in the middle of each bin."""
    level_code: tuple[float, ...]
    """Code of the shorter frame there."""
    median_stops: tuple[float, ...]
    """Measured ratio, log2, median over frames, channels and matched codes."""
    lower_stops: tuple[float, ...]
    """First quartile."""
    upper_stops: tuple[float, ...]
    """Third quartile."""
    counts: tuple[int, ...]
    """Matched pairs of codes in each bin."""

    @property
    def deviation_stops(self) -> float:
        """Largest distance of a median from the expected ratio, in stops."""
        return max(abs(m - self.expected_stops) for m in self.median_stops)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "expected_stops": round(self.expected_stops, 4),
            "levels": [
                {
                    "linear": float(f"{v:.4g}"),
                    "code": round(c, 4),
                    "median_stops": round(m, 4),
                    "quartiles_stops": [round(lo, 4), round(hi, 4)],
                    "count": n,
                }
                for v, c, m, lo, hi, n in zip(
                    self.level_linear,
                    self.level_code,
                    self.median_stops,
                    self.lower_stops,
                    self.upper_stops,
                    self.counts,
                    strict=True,
                )
            ],
        }


@dataclass(frozen=True)
class ResponseEstimate:
    """What the pixels say about the camera response."""

    response: Response | None
    """The curve found; None where the clip cannot tell: take the assumed one."""
    stops: tuple[float, ...]
    """Stops of the exposures present, rising from 0, under the curve found (the assumed one where None)."""
    error_stops: float
    """Misfit of the curve found, or of the assumed one where None: robust deviation of the ratio, in stops, over
    the levels. nan where nothing could be compared."""
    default_error_stops: float
    """The same of the assumed curve."""
    confidence: float
    """0..1: how sure `response` is, 0 where it is None."""
    reason: str
    """One sentence: what was found, or why nothing was."""
    ratios: tuple[RatioByLevel, ...]
    """The check for the curve found, or for the assumed one where None, for the plot."""


@dataclass(frozen=True)
class _Match:
    """The curve of matched codes of two exposures."""

    shorter: int
    """Index of the shorter exposure among the sorted ones."""
    longer: int
    pairs: np.ndarray
    """(N, 2, P) quantiles of the shorter and the longer frame, N = frames x channels; nan where not well exposed."""
    curves: np.ndarray
    """(T, K) difference of code where the mean of both codes is `_GRID`, a row a frame; nan where not measured."""
    limits: tuple[float, float]
    """Codes between which frames are well exposed."""


@dataclass(frozen=True)
class _Points:
    """Matched codes of all pairs of exposures, one point a level."""

    low: np.ndarray
    """(K,) code in the shorter frame."""
    high: np.ndarray
    """(K,) code in the longer frame."""
    sigma: np.ndarray
    """(K,) how well the difference of both is known, in code."""
    pair: np.ndarray
    """(K, 2) indices of the two exposures."""


def frame_levels(codes: np.ndarray) -> FrameLevels:
    """Reduce a frame (H, W, 3) of codes in [0, 1]; a clip of any length is then compared in little memory.

    Raises InputError for another shape.
    """
    if codes.ndim != 3 or codes.shape[2] != 3 or codes.size == 0:
        raise InputError(f"a frame has shape {codes.shape}, not (height, width, 3): give RGB frames")
    pixels = finite_pixels(codes)
    step = max(1, codes.shape[1] // SAMPLES_ACROSS)
    samples = cv2.medianBlur(np.ascontiguousarray(pixels), MEDIAN_PX)[::step, ::step].reshape(-1, 3)
    levels = quantiles(np.ascontiguousarray(samples.T), _SHARES)
    peak = float(np.quantile(np.ascontiguousarray(pixels.reshape(-1, 3).T), 0.995, axis=1).max())
    return FrameLevels(levels.astype(np.float64), peak, _shadow_noise(pixels[..., 1]), len(samples))


def darkest_code(levels: Sequence[FrameLevels]) -> float:
    """Lowest code of a clip, of any channel."""
    return min(float(level.quantiles[:, 0].min()) for level in levels)


def _shadow_noise(green: np.ndarray) -> float:
    """Standard deviation of the code between neighbouring samples just above black."""
    lines = green[:: max(1, green.shape[0] // 128)]
    left, right = lines[:, :-1], lines[:, 1:]
    if left.size == 0:
        return 0.0
    above = (left + right) / 2 - np.quantile(lines, 0.002)
    dark = (above > 0.02) & (above < 0.12)
    if np.count_nonzero(dark) < 16:
        return 0.0
    # the median difference of two Gaussian samples is 0.954 standard deviations
    return float(np.median(np.abs(left - right)[dark]) / 0.954)


# ---- matching --------------------------------------------------------------------------------------------------------


def _stops_of_frames(stops: Sequence[float], num_frames: int) -> np.ndarray:
    values = np.array([float(s) for s in stops])
    if len(values) < 1 or (len(values) > num_frames and num_frames):
        raise ExposureError(f"{len(values)} stops do not fit {num_frames} frames: give one cycle, or one a frame")
    return values[np.arange(num_frames) % len(values)]


def _reduced(frames: Iterable[np.ndarray | FrameLevels]) -> list[FrameLevels]:
    return [frame if isinstance(frame, FrameLevels) else frame_levels(frame) for frame in frames]


def _match_all(levels: Sequence[FrameLevels], stops: np.ndarray) -> tuple[np.ndarray, list[_Match]]:
    """The stops that occur, rising from 0, and the matched codes of every two of them."""
    known = np.unique(np.round(stops[np.isfinite(stops)], 4))
    if not levels or not len(known):
        return np.zeros(0), []
    if min(level.num_samples for level in levels) < MIN_SAMPLES:
        return known - known[0], []
    peak = max(level.peak for level in levels)
    darkest = darkest_code(levels)
    low = max(LOWEST_CODE, darkest + max(0.02, 2.5 * float(np.median([level.noise for level in levels]))))
    # a little more than is used in the end: cut at its own value, every row would end where it errs downwards
    valid = [
        np.where((level.quantiles > 0.8 * low) & (level.quantiles < 0.985 * peak), level.quantiles, np.nan)
        for level in levels
    ]
    of_class = [np.flatnonzero(np.abs(stops - s) < 1e-3) for s in known]
    matches = []
    for i, j in combinations(range(len(known)), 2):
        rows = [
            row for t in sorted((*of_class[i], *of_class[j])) if (row := _around(valid, t, of_class[i], of_class[j]))
        ]
        both_sides = [pair for pair, sides in rows if sides == 2]
        frames = both_sides or [pair for pair, _ in rows]
        match = _curve_of(i, j, frames, (low, WHITE_SHARE * peak)) if frames else None
        if match is not None:
            matches.append(match)
    return known - known[0], matches


def _around(
    valid: Sequence[np.ndarray], t: int, shorter: np.ndarray, longer: np.ndarray
) -> tuple[np.ndarray, int] | None:
    """(2, 3, P) matched codes at the time of frame t, and whether the other exposure was there on 1 or 2 sides."""
    is_short = t in shorter
    others = longer if is_short else shorter
    before, after = others[(others < t) & (others >= t - 3)], others[(others > t) & (others <= t + 3)]
    if len(before) and len(after):
        earlier, later = int(before[-1]), int(after[0])
        share = (t - earlier) / (later - earlier)
        other, sides = (1 - share) * valid[earlier] + share * valid[later], 2
    elif len(before) or len(after):
        other, sides = valid[int(before[-1]) if len(before) else int(after[0])], 1
    else:
        return None
    return np.stack([valid[t], other] if is_short else [other, valid[t]]), sides


def _curve_of(shorter: int, longer: int, frames: Sequence[np.ndarray], limits: tuple[float, float]) -> _Match | None:
    """The difference of matched codes over their mean, a row per frame (median of the channels)."""
    curves = np.full((len(frames), 3, len(_GRID)), np.nan)
    for t, (low, high) in enumerate(frames):
        for channel in range(3):
            a, b = low[channel], high[channel]
            good = np.isfinite(a) & np.isfinite(b)
            if np.count_nonzero(good) < 8:
                continue
            mean, difference, share = (a[good] + b[good]) / 2, (b - a)[good], _SHARES[good]
            rising = mean + 1e-9 * np.arange(len(mean))
            inside = (mean[0] <= _GRID) & (mean[-1] >= _GRID)
            # where hardly any sample has a code, the quantiles jump from one object to the next
            half = 0.5 / (len(_GRID) - 1)
            dense = np.interp(_GRID + half, rising, share) - np.interp(_GRID - half, rising, share) > 2e-4
            take = inside & dense
            curves[t, channel, take] = np.interp(_GRID[take], rising, difference)
    per_frame = _nanmedian(curves, 1)
    if not np.isfinite(per_frame).any():
        return None
    pairs = np.concatenate([frame.transpose(1, 0, 2) for frame in frames])
    return _Match(shorter, longer, pairs, per_frame, limits)


def _nanmedian(values: np.ndarray, axis: int) -> np.ndarray:
    """np.nanmedian without the warning where there is nothing but nan."""
    empty = ~np.isfinite(values).any(axis=axis, keepdims=True)
    return np.where(np.squeeze(empty, axis), np.nan, np.nanmedian(np.where(empty, 0.0, values), axis=axis))


def _points(matches: Sequence[_Match], frames: slice = slice(None)) -> _Points:
    """One matched pair of codes a level: the median over the frames."""
    low, high, sigma, pair = [], [], [], []
    for match in matches:
        curves = match.curves[frames]
        if not len(curves):
            continue
        count = np.isfinite(curves).sum(axis=0)
        middle = _nanmedian(curves, 0)
        scatter = 1.4826 * _nanmedian(np.abs(curves - middle), 0)
        use = (2 * count >= len(curves)) & np.isfinite(middle) & (middle > 0)
        a, b = _GRID - middle / 2, _GRID + middle / 2
        use &= (a > match.limits[0]) & (b < match.limits[1])
        low.append(a[use])
        high.append(b[use])
        # neighbouring frames share most of their content
        sigma.append(np.hypot(CODE_FLOOR, 1.25 * scatter[use] / np.sqrt(np.maximum(count[use] / 3, 1))))
        pair.append(np.tile([match.shorter, match.longer], (int(use.sum()), 1)))
    if not low:
        return _Points(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 2), int))
    return _Points(np.concatenate(low), np.concatenate(high), np.concatenate(sigma), np.concatenate(pair))


# ---- fitting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    """One candidate response, and how well it explains the matched codes."""

    response: Response
    stops: np.ndarray
    """Stops of the exposures, the first is 0."""
    cost: float
    """Misfit and distance from the declared stops; 1 is about one standard deviation."""
    error_stops: float
    """Robust deviation of the ratio over the levels, in stops: from the declared stops, or else from its own mean."""


GAMMA_RANGE = (1.6, 2.8)
"""Exponents that cameras have."""

SIGMOID_EXPONENTS = (0.5, 1.4)
SIGMOID_SIGMAS = (0.2, 3.0)
"""Parameters of `sigmoid_response` that cameras have: wide around the mean of measured curves, 0.9 and 0.6."""

CONTRAST_RANGE = (-0.4, 0.8)
"""Strengths of `contrast_response` that picture profiles have."""

BLACK_RANGE = (-0.15, 0.15)
"""Codes of black: below 0 where blacks are crushed, above 0 where they are raised."""

DISPLAY_RESPONSES = ("gamma2.2", "srgb", "rec709")
"""Named curves that cameras and editors write for displays."""

WRONG_RANGES = ((16 / 255, 235 / 255), (-16 / 219, 1 + 20 / 219))
"""Codes of black and white where limited range was read as full, and full range as limited."""

RANGE_TOLERANCE = 0.01
"""Codes of black and white that are this close to those of a wrong range speak for it."""

FLAT_STOPS = 0.1
"""A ratio that leaves less than this over the levels is flat."""

REFINEMENT_KNOTS, REFINEMENT_STOPS = 9, 0.06
"""Knots of the spline in `_refined`, and the standard deviation of its second differences, in stops."""

REFINED_CURVES = 2
"""Curves that a refinement starts from."""

REFINED_FROM_STOPS = 0.4
"""A curve that is further off than this is no start: a spline could explain any stops."""

GREY_RANGE = (0.5**3.2, 0.5**1.4)
"""Linear value that a camera's curve gives code 0.5, unless it is one of `RESPONSES`."""

PARAMETER_COST = 2.5
"""A free parameter has to lower the misfit by this, so that named curves are preferred to fitted ones."""

REFINEMENT_COST = 3 * PARAMETER_COST
"""A refined curve has to lower the misfit by this."""

REQUIRED_GAIN = 4.0
"""A curve has to be better than the assumed one by this to be believed."""

MAX_ERROR_STOPS = 0.25
"""A curve that leaves more than this is not the right one."""

BINS_PER_STOP = 2
MIN_BIN_COUNT = 24
"""Bins of the check, and the matched codes that one needs."""

LOG_CONTRAST_STOPS = 0.1
"""With measured stops a clip is taken for a log one only where `DEFAULT_RESPONSE` fits worse than this."""

MAX_STOPS_RESCALING = 0.7
"""Largest log2 of the factor by which a curve other than a log one may change measured stops."""

MIN_POINTS = 10
"""Levels that have to be compared."""

STEP_STOPS = 0.06
"""Stops this close to a whole or a third are likely to be it."""

EFFECTIVE_POINTS = 12
"""Levels of one pair of exposures that count as independent: neighbouring levels err alike."""

DECLARED_TOLERANCE_STOPS = 0.04
"""Standard deviation of a camera's exposures from what they are called."""


def _log2_linear(response: Response, code: np.ndarray) -> np.ndarray:
    """log2 of the linear value of codes without a colour, of any shape."""
    return np.log2(np.maximum(np.asarray(response.linearize(code[..., None]), np.float64)[..., 0], 1e-7))


def _ratio_sigma(response: Response, points: _Points) -> np.ndarray:
    """Standard deviation of the measured ratio, in stops: that of the code times the slope of log2 of the curve."""
    step = 1 / 512
    slopes = [
        _log2_linear(response, np.minimum(c + step, 1.0)) - _log2_linear(response, np.maximum(c - step, 0.0))
        for c in (points.low, points.high)
    ]
    return points.sigma * (slopes[0] + slopes[1]) / (4 * step) + 1e-3


def _shares(points: _Points) -> np.ndarray:
    """How much a point counts: EFFECTIVE_POINTS for every pair of exposures, over its points."""
    share = np.zeros(len(points.low))
    for pair in np.unique(points.pair, axis=0):
        members = (points.pair == pair).all(axis=1)
        share[members] = EFFECTIVE_POINTS / members.sum()
    return share


def _evaluate(response: Response, points: _Points, num_stops: int, declared: np.ndarray | None) -> _Fit:
    """The stops that suit a response best, and what is left unexplained.

    Near declared stops, where given, else free. A candidate is charged for the distance in code, see `_ratio_sigma`,
    which is the same for all.
    """
    ratio = _log2_linear(response, points.high) - _log2_linear(response, points.low)
    sigma, share = _ratio_sigma(response, points), _shares(points)
    free = num_stops - 1
    design = np.zeros((len(ratio), num_stops))
    rows = np.arange(len(ratio))
    design[rows, points.pair[:, 1]] += 1
    design[rows, points.pair[:, 0]] -= 1
    design = design[:, 1:]
    prior = np.zeros(free) if declared is None else np.full(free, DECLARED_TOLERANCE_STOPS**-2)
    target = np.zeros(free) if declared is None else declared[1:]
    start = np.median(ratio) * np.arange(1, num_stops) / max(free, 1) if declared is None else declared[1:]
    stops = start.astype(np.float64)
    for _ in range(8):
        residual = (ratio - design @ stops) / sigma
        weight = share / sigma**2 / np.sqrt(1 + residual**2)
        normal = design.T @ (design * weight[:, None]) + np.diag(prior + 1e-9)
        stops = np.linalg.solve(normal, design.T @ (weight * ratio) + prior * target)
    residual = ratio - design @ stops
    cost = float(
        np.sum(share * (np.sqrt(1 + (residual / sigma) ** 2) - 1)) + 0.5 * np.sum(prior * (stops - target) ** 2)
    )
    trust = share / (sigma**2 + 0.05**2)
    off = residual if declared is None else ratio - design @ target
    error = float(np.sqrt(np.sum(trust * off**2) / trust.sum()))
    return _Fit(response, np.concatenate([[0.0], stops]), cost, error)


def _black_code(response: Response) -> float:
    return float(response.encode(np.array(0.0)))


@dataclass(frozen=True)
class _CurveSearch:
    """The search for the curve that matched codes follow."""

    points: _Points
    """Matched codes."""
    num_stops: int
    """Exposures among them."""
    declared: np.ndarray | None
    """(num_stops,) where the stops are known."""
    darkest: float
    """Lowest code of the clip."""
    peak: float
    """Code that hardly any sample exceeds."""
    assumed: Response
    """The curve that another one has to beat; a linear one stands for a sensor, which may only have a black level."""

    @property
    def is_sensor(self) -> bool:
        return is_linear(self.assumed)

    @property
    def bases(self) -> list[Response]:
        """Curves that may have a black level or a wrong range."""
        return [RESPONSES["linear"]] if self.is_sensor else [RESPONSES[name] for name in DISPLAY_RESPONSES]

    @property
    def blacks(self) -> tuple[float, float]:
        """Lowest and highest code that black can have."""
        return BLACK_RANGE[0], min(BLACK_RANGE[1], self.darkest + 0.01)

    def fit(self, response: Response, num_parameters: float = 0) -> _Fit:
        """One curve, fitted. The cost includes that of its parameters and of odd stops."""
        if not (self.is_sensor or is_linear(response) or _plausible(response)):
            return _Fit(response, np.zeros(self.num_stops), np.inf, np.inf)
        fit = _evaluate(response, self.points, self.num_stops, self.declared)
        extra = PARAMETER_COST * num_parameters + (_oddness(fit.stops) if self.declared is None else 0.0)
        return replace(fit, cost=fit.cost + extra)

    def fit_raised(self, response: Response, black: float, num_parameters: int) -> _Fit:
        """A curve above a black level, fitted."""
        return self.fit(levelled_response(response, round(black, 4), 1.0), num_parameters)

    def all_fits(self) -> list[_Fit]:
        """Every plausible curve, fitted, the best one first."""
        fits = self.named()
        if self.declared is not None and not self.is_sensor:
            fits.append(_search(lambda gamma: self.fit(gamma_response(round(gamma, 2)), 1), GAMMA_RANGE))
        ends = (max(abs(self.darkest - b), abs(self.peak - w)) < RANGE_TOLERANCE for b, w in WRONG_RANGES)
        if min(fit.cost for fit in fits) < PARAMETER_COST and not any(ends):
            return sorted(fits, key=lambda fit: fit.cost)  # no curve with more parameters can be better
        if not self.is_sensor:
            fits += self.bent() if self.declared is None else self.bent_with_exponent()
        fits += self.raised_blacks()
        if self.declared is not None:
            fits += self.refined(fits, self.declared)
        if not self.is_sensor:
            fits += self.wrong_ranges()
        return sorted(fits, key=lambda fit: fit.cost)

    def named(self) -> list[_Fit]:
        """The assumed curve and the other named ones."""
        curves = [self.assumed, *(base for base in self.bases if base.name != self.assumed.name)]
        if not self.is_sensor:
            curves += [RESPONSES["linear"]] if self.declared is not None else []
            # what lies far below the black of a log curve is no light
            curves += [RESPONSES[n] for n in LOG_RESPONSES if self.darkest > 0.65 * _black_code(RESPONSES[n])]
        return [self.fit(curve) for curve in curves]

    def bent(self) -> list[_Fit]:
        """S and contrast curves under unknown stops. Their exponent cannot be measured, see `_with_usual_grey`."""

        def sigmoid(log_sigma: float) -> _Fit:
            sigma = round(float(np.exp(log_sigma)), 2)
            curve = _with_usual_grey(lambda n: sigmoid_response(round(n, 3), sigma), self.points, self.num_stops)
            return self.fit(curve, 1)

        def contrast(strength: float) -> _Fit:
            strength = round(strength, 2)
            curve = _with_usual_grey(
                lambda n: contrast_response(round(1 / n, 2), strength), self.points, self.num_stops
            )
            return self.fit(curve, 1)

        return [_search(sigmoid, _log_range(SIGMOID_SIGMAS)), _search(contrast, CONTRAST_RANGE)]

    def bent_with_exponent(self) -> list[_Fit]:
        """S and contrast curves, and powers above a black level, under known stops."""

        def sigmoid(exponent: float, log_sigma: float) -> _Fit:
            return self.fit(sigmoid_response(round(exponent, 2), round(float(np.exp(log_sigma)), 2)), 2)

        def contrast(gamma: float, strength: float) -> _Fit:
            return self.fit(contrast_response(round(gamma, 2), round(strength, 2)), 2)

        def power(gamma: float, black: float) -> _Fit:
            return self.fit_raised(gamma_response(round(gamma, 2)), black, 2)

        return [
            _search(sigmoid, SIGMOID_EXPONENTS, _log_range(SIGMOID_SIGMAS)),
            _search(contrast, GAMMA_RANGE, CONTRAST_RANGE),
            _search(power, GAMMA_RANGE, self.blacks),
        ]

    def raised_blacks(self) -> list[_Fit]:
        """Named curves above a black level."""
        fits = [_search(lambda black, base=base: self.fit_raised(base, black, 1), self.blacks) for base in self.bases]
        if self.declared is not None and not self.is_sensor and self.blacks[1] > 0:  # no sensor's black is below 0
            linear = RESPONSES["linear"]
            fits.append(_search(lambda black: self.fit_raised(linear, black, 1), (0.0, self.blacks[1])))
        return fits

    def refined(self, fits: Sequence[_Fit], declared: np.ndarray) -> list[_Fit]:
        """Smooth curves near the best ones, where none of them fits."""
        if min(fit.cost for fit in fits) <= REFINEMENT_COST:
            return []
        # a named curve that is flat under other stops says that the declared ones are wrong
        if any(_evaluate(b, self.points, self.num_stops, None).error_stops < FLAT_STOPS / 2 for b in self.bases):
            return []
        nearest = sorted((f for f in fits if f.error_stops < REFINED_FROM_STOPS), key=lambda f: f.cost)
        return [_refined(f.response, self.points, self.num_stops, declared) for f in nearest[:REFINED_CURVES]]

    def wrong_ranges(self) -> list[_Fit]:
        """Named curves whose limited range was read as full, or the reverse."""
        fits = []
        for black, white in WRONG_RANGES:
            if black <= self.darkest + 0.02 and self.peak <= white + 0.03:
                # where the darkest and the brightest codes are just those, it is likelier than full range
                ends_there = max(abs(self.darkest - black), abs(self.peak - white)) < RANGE_TOLERANCE
                cost = -1.0 if ends_there else 1.0
                fits += [self.fit(levelled_response(base, black, white), cost) for base in self.bases]
        return fits


def _refined(base: Response, points: _Points, num_stops: int, declared: np.ndarray) -> _Fit:
    """A curve near `base` with the shape that the matched codes ask for: log2 of `base` plus a spline of the code.

    Robust least squares with a penalty on the spline's curvature, as Debevec & Malik 1997 smooth their curve.
    """
    count = REFINEMENT_KNOTS + 2
    from scipy.interpolate import BSpline  # a quarter of a second, for few clips

    knots = np.concatenate([[0.0] * 3, np.linspace(0.0, 1.0, REFINEMENT_KNOTS), [1.0] * 3])

    def basis(code: np.ndarray) -> np.ndarray:
        return np.asarray(BSpline.design_matrix(np.clip(code, 0.0, 1.0 - 1e-9), knots, 3).toarray())

    def curve(coefficients: np.ndarray) -> Response:
        codes = np.linspace(0.0, 1.0, 1024)
        bend = basis(codes) @ coefficients
        # below the lowest code that was compared the base goes on
        bend = np.where(codes < points.low.min(), np.interp(points.low.min(), codes, bend), bend)
        table = np.asarray(base.linearize(codes[:, None]), np.float64)[:, 0] * 2.0**bend
        return measured_response("measured", table)

    curvature = np.diff(np.eye(count), 2, axis=0) / REFINEMENT_STOPS
    white = basis(np.array([1.0])) / 1e-3
    penalty = curvature.T @ curvature + white.T @ white + np.eye(count)
    design = basis(points.high) - basis(points.low)
    expected = declared[points.pair[:, 1]] - declared[points.pair[:, 0]]
    start = _log2_linear(base, points.high) - _log2_linear(base, points.low) - expected
    sigma, share = _ratio_sigma(base, points), _shares(points)
    coefficients = np.zeros(count)
    for _ in range(8):
        residual = (start + design @ coefficients) / sigma
        weight = share / sigma**2 / np.sqrt(1 + residual**2)
        coefficients = np.linalg.solve(design.T @ (design * weight[:, None]) + penalty, -design.T @ (weight * start))
    response = curve(coefficients)
    if not _plausible(response):
        return _Fit(response, np.zeros(num_stops), np.inf, np.inf)
    fit = _evaluate(response, points, num_stops, declared)
    return replace(fit, cost=fit.cost + REFINEMENT_COST)


def is_linear(response: Response) -> bool:
    """Whether a response is linear but for its levels, as that of a sensor is."""
    return base_name(response) == "linear"


def base_name(response: Response) -> str:
    """Name of a curve without its levels."""
    return response.name.split(":")[0].split("@")[0]


def _log_range(limits: tuple[float, float]) -> tuple[float, float]:
    return float(np.log(limits[0])), float(np.log(limits[1]))


def _plausible(response: Response) -> bool:
    return response.name in RESPONSES or GREY_RANGE[0] <= float(response.linearize(np.array(0.5))) <= GREY_RANGE[1]


def _search(fit_at: Callable[..., _Fit], *limits: tuple[float, float]) -> _Fit:
    """The least cost between the limits of each parameter: a grid, then thrice a finer one around its best point."""
    count = 13 if len(limits) == 1 else 7
    best, middle = None, tuple(low for low, _ in limits)
    spans = limits
    for _ in range(4):
        axes = [np.linspace(low, high, count) for low, high in spans]
        for place in product(*axes):
            fit = fit_at(*(float(x) for x in place))
            if best is None or fit.cost < best.cost:
                best, middle = fit, place
        steps = [(high - low) / (count - 1) for low, high in spans]
        spans = tuple(
            (max(low, x - step), min(high, x + step))
            for (low, high), x, step in zip(limits, middle, steps, strict=True)
        )
    assert best is not None
    return best


def _with_usual_grey(curve: Callable[[float], Response], points: _Points, num_stops: int) -> Response:
    """A curve for measured stops: its exponent is that of a mid-grey as `DEFAULT_RESPONSE` has it.

    `curve` makes a response from an exponent on the linear value. Exponent and stops are moved together to the nearest
    third of a stop where this takes no more than 6 %.
    """
    grey = float(np.log2(curve(1.0).linearize(np.array(0.5))))
    exponent = grey / float(np.log2(RESPONSES[DEFAULT_RESPONSE].linearize(np.array(0.5))))
    stops = float(_evaluate(curve(exponent), points, num_stops, None).stops.max())
    third = round(stops * 3) / 3
    if third > 0 and abs(third / stops - 1) <= 0.06:
        exponent *= stops / third
    return curve(exponent)


def _oddness(stops: np.ndarray) -> float:
    """Cost of stops that cameras do not have: 0 for whole ones, a little for thirds."""
    steps = np.diff(np.sort(stops))
    to_whole, to_third = np.abs(steps - np.round(steps)), np.abs(steps - np.round(steps * 3) / 3)
    cost = np.minimum(0.5 * (to_whole / STEP_STOPS) ** 2, 0.7 + 0.5 * (to_third / STEP_STOPS) ** 2)
    return float(np.minimum(cost, 2.0).mean())


def stops_by_rank(
    frames: Iterable[np.ndarray | FrameLevels], stops: Sequence[float], response: Response
) -> tuple[tuple[float, ...], float]:
    """(stops of the exposures present, rising from 0; deviation of the ratio over the levels, in stops).

    From codes matched by rank. `stops` only tells the frames apart. With the right response the deviation is 0 whatever
    the stops are. ((), nan) where nothing can be compared. Frames and errors as in `estimate_response`.
    """
    levels = _reduced(frames)
    known, matches = _match_all(levels, _stops_of_frames(stops, len(levels)))
    points = _points(matches)
    if len(known) < 2 or len(points.low) < MIN_POINTS or not _connected(points, len(known)):
        return (), float("nan")
    fit = _evaluate(response, points, len(known), None)
    return tuple(float(s) for s in fit.stops), fit.error_stops


def estimate_response(
    frames: Iterable[np.ndarray | FrameLevels],
    stops: Sequence[float],
    declared: bool = True,
    assumed: Response = RESPONSES[DEFAULT_RESPONSE],
) -> ResponseEstimate:
    """The camera response that makes the ratio of linearised frames the same at every level.

    `frames` are 6 to 24 consecutive frames of a clip: codes (H, W, 3) in [0, 1], or what `frame_levels` made of them.
    They are read one by one and not kept. `stops` is one cycle beginning with the first frame, or one number a frame,
    nan for a frame to leave out. `declared`: the stops are known, which fixes the exponent of a power curve; else they
    were measured under some response, only tell the frames apart, and are found again. `assumed` is the curve that is
    taken where the clip cannot tell, and that another one has to beat: the usual one, what a tag says, or a linear one
    for the codes of a sensor.
    Raises InputError for frames of a wrong shape and ExposureError for stops that do not fit them.
    """
    levels = _reduced(frames)
    of_frames = _stops_of_frames(stops, len(levels))
    known, matches = _match_all(levels, of_frames)
    points = _points(matches)
    if len(known) < 2:
        return _nothing("the frames given have one exposure only", known, assumed.name)
    if len(points.low) < MIN_POINTS or not _connected(points, len(known)):
        return _nothing("the exposures share too few levels that are well exposed in both", known, assumed.name)
    target = known if declared else None
    peak = max(level.peak for level in levels)
    fits = _CurveSearch(points, len(known), target, darkest_code(levels), peak, assumed).all_fits()
    plain = next(fit for fit in fits if fit.response.name == assumed.name)
    maybe_log = ""
    if not declared:
        if fits[0].response.name in LOG_RESPONSES and not _believable(fits[0], plain):
            maybe_log = f"{fits[0].response.name} would fit, but so would a power with far fewer stops"
        fits = [fit for fit in fits if _believable(fit, plain)]
    best = fits[0]
    # a systematic misfit that even the best curve has (codec, motion) is no evidence between curves
    scale = max(1.0, best.cost / (0.3 * EFFECTIVE_POINTS * len(matches)))
    gain = (plain.cost - best.cost) / scale

    def result(fit: _Fit, confidence: float, reason: str) -> ResponseEstimate:
        return ResponseEstimate(
            fit.response if confidence > 0 else None,
            tuple(float(s) for s in fit.stops),
            fit.error_stops,
            plain.error_stops,
            round(confidence, 3),
            reason,
            _ratios(matches, fit.response, known if declared else fit.stops),
        )

    if declared and gain < REQUIRED_GAIN and _fits(plain):
        return result(plain, _trust(plain), f"{assumed.name} agrees with the declared stops, and no curve does better")
    explains = _fits(best) or 4 * best.error_stops < plain.error_stops
    holds = gain >= REQUIRED_GAIN and explains and _holds_in_halves(best, plain, matches, len(known), target)
    if maybe_log or not holds:
        reason = maybe_log or _why_assumed(plain, declared)
        return result(plain, 0.0, f"{reason}: {assumed.name} is assumed")
    name = best.response.name
    rivals = [f.response.name for f in fits[1:] if f.cost - best.cost < 2 * scale]
    rivals = [rival for rival in rivals if rival not in (assumed.name, name)]
    confidence = gain / (gain + REQUIRED_GAIN) * _trust(best) * (0.85 if rivals else 1.0)
    also = f"; {' and '.join(rivals[:2])} would fit as well" if rivals else ""
    return result(
        best,
        confidence,
        f"{name} makes the ratio of the frames the same at every level within {best.error_stops:.2f} stops, "
        f"{assumed.name} within {plain.error_stops:.2f}{also}",
    )


def _holds_in_halves(
    best: _Fit, plain: _Fit, matches: Sequence[_Match], num_stops: int, declared: np.ndarray | None
) -> bool:
    """Whether a curve beats the assumed one on both halves of the matches, where these suffice."""
    for part in (slice(0, None, 2), slice(1, None, 2)):
        half = _points(matches, part)
        if len(half.low) < MIN_POINTS or not _connected(half, num_stops):
            continue
        costs = [_evaluate(fit.response, half, num_stops, declared).cost for fit in (best, plain)]
        if costs[0] >= costs[1]:
            return False
    return True


def _why_assumed(plain: _Fit, declared: bool) -> str:
    """Why no other curve than the assumed one is taken."""
    if not _fits(plain):
        return "no plausible camera curve makes the ratio of the frames the same at every level"
    if declared:
        return "the curve that fits best does not fit all of the clip"
    if is_linear(plain.response):
        return "no other black level fits clearly better"
    return "no curve is clearly better than a power, and measured stops do not tell its exponent"


def _fits(fit: _Fit) -> bool:
    return fit.error_stops <= MAX_ERROR_STOPS


def _believable(fit: _Fit, assumed: _Fit) -> bool:
    """Whether a curve found with measured stops leaves these about as they were, or must be a log curve.

    A log curve doubles the stops that a power sees: a mistake would cost more than it could gain.
    """
    if fit.response.name in LOG_RESPONSES:
        return assumed.error_stops >= max(LOG_CONTRAST_STOPS, 3 * fit.error_stops)
    return abs(np.log2(max(fit.stops.max(), 1e-3) / max(assumed.stops.max(), 1e-3))) <= MAX_STOPS_RESCALING


def _trust(fit: _Fit) -> float:
    """1 for a curve that explains all, less the more it leaves."""
    return float(np.clip(1.15 - 3 * fit.error_stops, 0.2, 1.0))


def _connected(points: _Points, num_stops: int) -> bool:
    """Whether the exposures are compared with one another without a gap."""
    reached = {0}
    for _ in range(num_stops):
        reached |= {int(b) for a, b in points.pair if a in reached} | {int(a) for a, b in points.pair if b in reached}
    return len(reached) == num_stops


def _nothing(reason: str, known: np.ndarray, assumed: str) -> ResponseEstimate:
    nan = float("nan")
    text = f"{reason}, so the response cannot be measured: {assumed} is assumed"
    return ResponseEstimate(None, tuple(float(s) for s in known), nan, nan, 0.0, text, ())


# ---- the check -------------------------------------------------------------------------------------------------------


def ratio_by_level(
    frames: Iterable[np.ndarray | FrameLevels], stops: Sequence[float], response: Response
) -> tuple[RatioByLevel, ...]:
    """The measured ratio of linearised frames against level, one table for every two neighbouring exposures.

    With the right response and stops the ratio is 2^stops at every level; a slope shows a wrong response, an offset
    wrong stops. Frames, stops and errors as in `estimate_response`. A pair without a comparable level is left out.
    """
    levels = _reduced(frames)
    known, matches = _match_all(levels, _stops_of_frames(stops, len(levels)))
    return _ratios(matches, response, known)


def _ratios(matches: Sequence[_Match], response: Response, stops: np.ndarray) -> tuple[RatioByLevel, ...]:
    tables = [
        _ratio(m, response, float(stops[m.longer] - stops[m.shorter])) for m in matches if m.longer == m.shorter + 1
    ]
    return tuple(table for table in tables if table.counts)


def _ratio(match: _Match, response: Response, expected: float) -> RatioByLevel:
    low, high = match.pairs[:, 0], match.pairs[:, 1]
    usable = (low > match.limits[0]) & (low < match.limits[1])
    low, high = low[usable], high[usable]
    level = _log2_linear(response, low)
    ratio = _log2_linear(response, high) - level
    bins = np.floor(level * BINS_PER_STOP).astype(int)
    rows = []
    for number in np.unique(bins):
        # where some of the longer frame is clipped, the rest of it is not typical
        inside = bins == number
        if np.count_nonzero(inside) < MIN_BIN_COUNT or not np.isfinite(ratio[inside]).mean() >= 0.95:
            continue
        inside &= np.isfinite(ratio)
        quartiles = np.quantile(ratio[inside], (0.25, 0.5, 0.75))
        rows.append((2.0 ** np.median(level[inside]), np.median(low[inside]), *quartiles, np.count_nonzero(inside)))
    columns = [tuple(float(v) for v in column) for column in zip(*rows, strict=True)] or [()] * 6
    linear, code, lower, median, upper, counts = columns
    return RatioByLevel(expected, linear, code, median, lower, upper, tuple(int(c) for c in counts))
