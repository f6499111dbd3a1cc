"""HDR-VDP-2.2, a visual metric of picture quality for all luminances, from the papers; no MATLAB.

Mantiuk, Kim, Rempel and Heidrich, HDR-VDP-2: A calibrated visual metric for visibility and quality predictions in all
luminance conditions, SIGGRAPH 2011; the quality Q is weighted as in Narwaria, Mantiuk, Perreira Da Silva and Le Callet,
HDR-VDP-2.2: A calibrated method for objective quality prediction of high dynamic range and standard images, Journal of
Electronic Imaging 24, 2015. The steps:

1. A display turns the picture into light, cd/m^2 by channel.
2. The eye's optics blur it; outside the picture it is dark (1e-5 cd/m^2).
3. The spectra of the display and the sensitivities of the cones and rods give what each kind of receptor absorbs.
4. Receptors answer in just noticeable differences: their sensitivity integrated over log luminance.
5. A steerable pyramid splits the sum of the answers into octave bands of 4 orientations, reflected at the border.
6. In every band, the difference over the contrast threshold: a neural contrast sensitivity of the adapting luminance,
   raised by masking from the band itself, the other orientations and the neighbouring bands.
7. Q = 100 - sum of w(f) log(1 + |D| / (1e-12 n)) over the bands, |D| the Euclidean norm of a band of n values.

Left out of the original: the maps and the probability of detection, their visualisation, other display models and
spectra, the options (the observer, the surround and every switch are its defaults).

Convention:
    picture     (H, W, 3) RGB in Rec. 709 primaries; which values, the display model tells. Negative ones count as 0.
    band        0 is the high-pass residual, then octaves from fine to coarse, the last one the low-pass residual.
    frequency   of band b is pixels_per_degree / 2^(b + 1), in cycles per degree.

Compare Q only among pictures of one size seen at one resolution. |D| / n falls with the root of n, so the same damage
scores 1.5 to 2.5 higher in a picture of twice the sides; and the weights of the bands hang on their frequencies.

Where the papers are silent this follows version 2.2.1 of the authors' program. One thing differs: that program takes
the spectra of a display that its authors measured, this module those of another LCD with a fluorescent backlight, which
are published. On 12 pairs of 384 x 256 pixels (noise, ghosts and blur, both display models) Q deviates by 0.20 at most,
in noise, and by 0.05 in the mean; half the pairs by less than 0.03. The spectra explain it: with red and green scaled
by 1.11 and 0.98 and the rods by 1.09, factors fitted to 6 of the pairs, all 12 agree within 0.02. They are not applied.
Single precision moves Q by less than 0.002, and by 0.012 in a picture of seven decades.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal, get_args

import cv2
import numpy as np
import scipy.fft
import scipy.sparse

from hdrvid.errors import InputError
from hdrvid.metrics.hdr_vqm import bicubic as bicubic_weights
from hdrvid.metrics.pu21 import checked_radiance

DisplayModel = Literal["srgb-display", "bt709"]
"""What the values of a picture are: codes of an sRGB display of 1 to 100 cd/m^2, or cd/m^2 of each channel."""


def angular_resolution(diagonal_inches: float, columns: int, rows: int, distance_m: float) -> float:
    """Pixels per degree of a screen looked at from `distance_m`: rows / (2 atan(height / (2 distance))) in degrees.

    >>> round(angular_resolution(24, 1920, 1080, 0.5), 8)
    32.45295195
    """
    height_m = diagonal_inches * 0.0254 * rows / math.hypot(columns, rows)
    return rows / (2 * math.degrees(math.atan(height_m / (2 * distance_m))))


PIXELS_PER_DEGREE = angular_resolution(24, 1920, 1080, 0.5)
"""Of the setting that papers on HDR video use: a 24 inch screen of 1920 x 1080 pixels, half a metre away."""
MIN_SIDE_PX = 17
"""Of a picture: the low-pass filter of the pyramid is so long."""

DISPLAY_CD_M2 = (1.0, 100.0)
"""Black and white of the sRGB display."""
SURROUND_CD_M2 = 1e-5
"""Light of every channel outside the picture."""
LUMINANCE_CD_M2 = (1e-5, 1e5)
"""Range of the model of the receptors."""
LEAST_DIFFERENCE = 0.001
"""Relative to the truth: where no channel differs by more, the difference does not count."""

# Values the authors fitted; the papers describe the functions they belong to.
OPTICS_WEIGHTS = (0.4248385963, 0.5724351039, 0.0001675762, 0.0025587235)
"""Of the four exponentials that make up the modulation transfer function of the eye; their sum is 1."""
OPTICS_DECAYS = (0.028, 0.37, 37.0, 360.0)
"""In degrees."""
PEAK_SENSITIVITY = 0.006894596 * 10**2.4
"""Factor on the sensitivity of the receptors, from the peak of the contrast sensitivity function."""
ALL_RECEPTORS = (30.162, 4.0627, 1.6596, 0.2712)
"""p1 to p4 of the sensitivity of cones and rods together, p1 ((p2 / Y)^p3 + 1)^-p4."""
RODS = (1.1732, 1.1478, 1.2167, 0.5547, 2.9899, 1.1414)
"""Peak luminance, width and exponent below it, width and exponent above it, log10 of the peak sensitivity."""
CONE_WEIGHTS = (0.6373, 0.3923)
"""Of the long and middle wavelength cones, which add up to luminance; the third kind has no part in it."""
CONTRAST_LUMINANCE_CD_M2 = (0.002, 0.02, 0.2, 2.0, 20.0, 150.0)
"""Adapting luminances of the rows of CONTRAST."""
CONTRAST = (
    (0.991265, 3.74038, 0.50722, 4.46044),
    (0.800889, 3.54104, 0.682505, 4.94958),
    (0.476505, 4.37453, 0.750315, 5.28678),
    (0.405782, 4.40602, 0.935314, 5.61425),
    (0.334278, 3.79542, 1.07327, 6.4635),
    (0.394533, 2.7755, 1.16577, 7.45665),
)
"""p1 to p4 of the neural contrast sensitivity."""
EXCITATION_EXPONENT = 10**0.544068
MASKING_EXPONENT = 10**0.49576
MASKING_SELF = 10**0.189065
"""Weight of masking by the band itself."""
MASKING_ORIENTATIONS = 10**0.449199
"""Weight of masking by the other orientations of a band."""
MASKING_BANDS = 10**1.52512
"""Weight of masking by the next finer and the next coarser band."""
POOLING_FREQUENCIES = (0.1172, 0.2344, 0.4688, 0.9375, 1.875, 3.75, 7.5, 15.0, 30.0, 60.0)
"""Cycles per degree of POOLING_WEIGHTS."""
POOLING_WEIGHTS = (0.0, 0.0, 0.0003, 0.0003, 0.0398, 0.2690, 0.2142, 0.2832, 0.2832, 0.0)
"""Weight of a band in Q by its frequency, of version 2.2; between the entries linear in the frequency."""
POOLING_FLOOR = 1e-12
"""A band whose difference is below it scores as if it did not differ."""


@dataclass(frozen=True)
class _Response:
    """What the eye makes of one picture."""

    light: np.ndarray = field(repr=False)
    """(3, H, W) float32, cd/m^2 of each channel."""
    luminance: np.ndarray = field(repr=False)
    """(H, W) float32, cd/m^2 the eye adapts to."""
    bands: tuple[np.ndarray, ...] = field(repr=False)
    """By band (1 or 4 orientations, h, w) float32, in just noticeable differences; the last one weighted by contrast
    sensitivity."""
    base_mean: float
    """Of the last band before it was weighted."""


class HdrVdp2:
    """HDR-VDP-2.2 against one truth. What hangs on the truth alone is computed once, for any number of estimates."""

    def __init__(
        self,
        truth: np.ndarray,
        *,
        pixels_per_degree: float = PIXELS_PER_DEGREE,
        display: DisplayModel = "srgb-display",
    ) -> None:
        """`truth` is (H, W, 3), values as `display` takes them; `pixels_per_degree` as they are looked at.

        Raises InputError for a picture that is not RGB, not finite or has a side shorter than 17 pixels, and for a
        resolution or display model that there is not.
        """
        if not (math.isfinite(pixels_per_degree) and pixels_per_degree > 0):
            raise InputError(f"pixels per degree are a positive number, not {pixels_per_degree}: try 30")
        if display not in get_args(DisplayModel):
            raise InputError(f"unknown display model '{display}': it is one of {', '.join(get_args(DisplayModel))}")
        self.pixels_per_degree = float(pixels_per_degree)
        self.display: DisplayModel = display
        self.shape = np.shape(truth)
        self._truth = _response(_shown(truth, display), self.pixels_per_degree)

    def quality(self, estimate: np.ndarray) -> float:
        """Q of `estimate`, of the shape of the truth: 100 for identical pictures, less for worse ones, without end.

        Raises InputError for a picture of another shape or one that is not finite.
        """
        if np.shape(estimate) != self.shape:
            raise InputError(
                f"a reconstruction of shape {np.shape(estimate)} cannot be compared with a ground truth of shape "
                f"{self.shape}: bring both to the same size first"
            )
        response = _response(_shown(estimate, self.display), self.pixels_per_degree, self._truth.base_mean)
        return _quality(response, self._truth, self.pixels_per_degree)


def hdr_vdp_2(
    estimate: np.ndarray,
    truth: np.ndarray,
    *,
    pixels_per_degree: float = PIXELS_PER_DEGREE,
    display: DisplayModel = "srgb-display",
) -> float:
    """Q of HDR-VDP-2.2, 100 for identical pictures and less for worse ones: for arguments and errors see `HdrVdp2`.

    >>> ramp = np.linspace(0.1, 0.9, 32 * 32 * 3).reshape(32, 32, 3)
    >>> hdr_vdp_2(ramp, ramp)
    100.0
    """
    return HdrVdp2(truth, pixels_per_degree=pixels_per_degree, display=display).quality(estimate)


def _shown(picture: np.ndarray, display: DisplayModel) -> np.ndarray:
    """(3, H, W) float32: the light of a picture (H, W, 3), cd/m^2."""
    values = np.maximum(checked_radiance(picture), 0.0).transpose(2, 0, 1)
    if min(values.shape[1:]) < MIN_SIDE_PX:
        raise InputError(
            f"a picture of {values.shape[2]} x {values.shape[1]} pixels is too small for HDR-VDP-2: "
            f"both sides need {MIN_SIDE_PX} pixels at least"
        )
    if display == "srgb-display":
        black, white = DISPLAY_CD_M2
        # the curve of IEC 61966-2-1; codes above 1 go on along it, as in the original
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        values = (white - black) * linear + black
    return np.ascontiguousarray(values, np.float32)


def _response(light: np.ndarray, pixels_per_degree: float, base_mean: float | None = None) -> _Response:
    """Optics, receptors and pyramid. `base_mean`: what lies outside the last band, where not its own mean."""
    transfer = optical_transfer(*light.shape[1:], pixels_per_degree)
    retina = np.stack([_filtered(channel, transfer, SURROUND_CD_M2) for channel in light])
    retina = np.maximum(retina, np.float32(LUMINANCE_CD_M2[0]))
    absorbed = np.tensordot(receptor_matrix().astype(np.float32), retina, 1)
    cones, rods = receptor_curves()
    answer = np.zeros(light.shape[1:], np.float32)
    for signal, curve in zip(np.log10(absorbed), (cones, cones, rods), strict=True):
        answer += look_up(signal, curve)
    luminance = absorbed[0] + absorbed[1]
    bands = steerable_pyramid(answer - np.float32(answer.mean(dtype=np.float64)))
    base = bands[-1][0]
    if base_mean is None:
        base_mean = float(base.mean(dtype=np.float64))
    # the root of 2, where one would expect 2, is the original's
    resolution = math.sqrt(2) * pixels_per_degree / 2 ** (len(bands) - 1)
    rows, columns = base.shape
    weights = contrast_sensitivity(
        _frequencies(rows, columns, resolution), float(luminance.mean(dtype=np.float64))
    ).astype(np.float32)
    bands[-1] = _filtered(base, weights, base_mean)[None]
    return _Response(light, luminance, tuple(bands), base_mean)


def _quality(estimate: _Response, truth: _Response, pixels_per_degree: float) -> float:
    """Steps 6 and 7."""
    differs = (np.abs(estimate.light - truth.light) > np.float32(LEAST_DIFFERENCE) * truth.light).any(0)
    adapted = np.log10(((estimate.luminance + truth.luminance) / 2).clip(*LUMINANCE_CD_M2))
    mutual = [_mutual(a, b) for a, b in zip(estimate.bands, truth.bands, strict=True)]
    lost = 0.0
    for index, (a, b) in enumerate(zip(estimate.bands, truth.bands, strict=True)):
        frequency = pixels_per_degree / 2 ** (index + 1)
        weight = float(np.interp(frequency, POOLING_FREQUENCIES, POOLING_WEIGHTS))
        orientations, *shape = a.shape
        if index < len(mutual) - 1:
            sensitivity = look_up(resized(adapted, shape), _sensitivity_curve(frequency))
        else:
            sensitivity = np.ones(shape, np.float32)  # the last band is weighted already
        gain = np.float32(2**index)
        scaled = sensitivity / gain
        counted = resized(differs.astype(np.float32), shape)
        near = 2 * _resized_planes(mutual[index - 1][:orientations], shape) if index else np.zeros_like(b[:1])
        if index < len(mutual) - 2:
            near = near + 0.5 * _resized_planes(mutual[index + 1][:orientations], shape)
        total = mutual[index].sum(0)
        for plane in range(orientations):
            contrast = mutual[index][plane]
            masked = (
                MASKING_SELF * _power(contrast * scaled, MASKING_EXPONENT)
                + MASKING_ORIENTATIONS * _power((total - contrast).clip(0) * scaled, MASKING_EXPONENT)
                + MASKING_BANDS * _power(near[min(plane, len(near) - 1)] * scaled, MASKING_EXPONENT)
            )
            masked *= gain * _power(sensitivity, EXCITATION_EXPONENT)
            visible = gain * _power(np.abs(a[plane] - b[plane]) * scaled, EXCITATION_EXPONENT)
            visible *= counted / np.sqrt(1 + masked * masked)
            norm = math.sqrt(float(np.square(visible, dtype=np.float64).sum()))
            lost += weight * math.log1p(norm / visible.size / POOLING_FLOOR)
    return 100.0 - lost


def contrast_sensitivity(frequency: np.ndarray | float, luminance_cd_m2: np.ndarray | float) -> np.ndarray:
    """Neural contrast sensitivity, without optics and receptors, of cycles per degree at an adapting luminance.

    p4 / sqrt((1 + (p1 f)^p2) / (1 - exp(-(f / 7)^2))^p3), Mantiuk et al. 2011; the parameters are interpolated in
    log luminance, which is held in 0.002..150. Arguments of shapes that broadcast; float64; 0 where `frequency` is 0.

    >>> [round(float(v), 3) for v in contrast_sensitivity(np.array([0.0, 2.0, 8.0, 16.0]), 100.0)]
    [0.0, 1.399, 1.124, 0.485]
    """
    parameters = np.array(CONTRAST).T
    log_luminance = np.log10(luminance_cd_m2)
    p1, p2, p3, p4 = (np.interp(log_luminance, np.log10(CONTRAST_LUMINANCE_CD_M2), p) for p in parameters)
    f = np.asarray(frequency, np.float64)
    return p4 * np.sqrt((1 - np.exp(-((f / 7) ** 2))) ** p3 / (1 + (p1 * f) ** p2))


def receptor_sensitivity(luminance_cd_m2: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Sensitivity of cones and rods together, and of the rods alone, to a relative change of luminance.

    Mantiuk et al. 2011; luminance of any shape, above 0.

    >>> [round(float(v), 3) for v in receptor_sensitivity(1.0)]
    [15.648, 13.387]
    """
    y = np.asarray(luminance_cd_m2, np.float64)
    p1, p2, p3, p4 = ALL_RECEPTORS
    peak, width_below, exponent_below, width_above, exponent_above, log_peak = RODS
    distance = np.abs(np.log10(y / peak))
    decay = np.where(y > peak, distance**exponent_above / width_above, distance**exponent_below / width_below)
    return p1 * ((p2 / y) ** p3 + 1) ** -p4, 10**log_peak * np.exp(-decay)


@cache
def receptor_curves() -> tuple[np.ndarray, np.ndarray]:
    """Answers of cones and of rods in just noticeable differences, for `look_up`."""
    y = np.geomspace(*LUMINANCE_CD_M2, 2048)
    together, rods = receptor_sensitivity(y)
    # the two kinds of cones have half of the luminance each, and half of the sensitivity that the rods leave
    cones = np.interp(np.minimum(2 * y, y[-1]), y, np.maximum(together - rods, 1e-3)) / 2
    step = math.log(y[-1] / y[0]) / (len(y) - 1)
    curves = (PEAK_SENSITIVITY * step * np.concatenate([[0.0], np.cumsum((s[1:] + s[:-1]) / 2)]) for s in (cones, rods))
    first, second = (curve.astype(np.float32) for curve in curves)
    return first, second


@lru_cache(maxsize=64)
def _sensitivity_curve(frequency: float) -> np.ndarray:
    """`contrast_sensitivity` of one frequency, for `look_up`."""
    return contrast_sensitivity(frequency, np.geomspace(*LUMINANCE_CD_M2, 256)).astype(np.float32)


def look_up(log_luminance: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """A curve, sampled evenly over the logarithm of LUMINANCE_CD_M2 and constant beyond, at log10 of luminances."""
    low, high = np.log10(LUMINANCE_CD_M2)
    position = (log_luminance - np.float32(low)) * np.float32((len(curve) - 1) / (high - low))
    np.clip(position, 0, len(curve) - 1, out=position)
    left = np.minimum(position.astype(np.int32), len(curve) - 2)
    position -= left
    value = curve[left]
    return value + position * (curve[left + 1] - value)


@cache
def receptor_matrix() -> np.ndarray:
    """(3, 3): what the long and middle wavelength cones and the rods absorb of red, green and blue light.

    Scaled so that the cones together absorb 1 of (1, 1, 1).
    """
    table = np.array(list(csv.reader(_lines("hdr_vdp_spectra.csv"))), np.float64)
    sensitivities, emission = table[:, 1:4] * (*CONE_WEIGHTS, 1.0), table[:, 4:]
    matrix = sensitivities.T @ emission
    return matrix / matrix[:2].sum()


def _lines(name: str) -> list[str]:
    """Lines of a table among the package's data, without comments."""
    text = files("hdrvid.metrics").joinpath("data", name).read_text(encoding="ascii")
    return [line for line in text.splitlines() if not line.startswith("#")]


def _frequencies(rows: int, columns: int, pixels_per_degree: float) -> np.ndarray:
    """(2 rows, columns + 1) cycles per degree of the real Fourier transform of a picture of twice the size."""
    y, x = scipy.fft.fftfreq(2 * rows), scipy.fft.rfftfreq(2 * columns)
    return pixels_per_degree * np.hypot(y[:, None], x)


@lru_cache(maxsize=4)
def optical_transfer(rows: int, columns: int, pixels_per_degree: float) -> np.ndarray:
    """(2 rows, columns + 1) float32: modulation transfer function of the eye."""
    frequency = _frequencies(rows, columns, pixels_per_degree)
    transfer = np.zeros_like(frequency)
    for weight, decay in zip(OPTICS_WEIGHTS, OPTICS_DECAYS, strict=True):
        transfer += weight * np.exp(-decay * frequency)
    return transfer.astype(np.float32)


def _filtered(image: np.ndarray, transfer: np.ndarray, outside: float) -> np.ndarray:
    """(H, W) float32 multiplied by a real, even transfer function (2 H, W + 1) after padding to twice its size.

    Convention: the padding, of the value `outside`, comes after the last row and column and, as the transform is
    periodic, before the first ones.
    """
    rows, columns = image.shape
    spectrum = scipy.fft.rfft(image - np.float32(outside), 2 * columns, axis=1, workers=1)
    spectrum = scipy.fft.fft(spectrum, 2 * rows, axis=0, workers=1)
    spectrum *= transfer
    spectrum = scipy.fft.ifft(spectrum, axis=0, overwrite_x=True, workers=1)[:rows]
    filtered = scipy.fft.irfft(spectrum, 2 * columns, axis=1, workers=1)[:, :columns]
    return filtered + np.float32(outside) * transfer[0, 0]


@cache
def subband_filters() -> dict[str, np.ndarray]:
    """Of the pyramid, float32: 'high' (15, 15), 'first_low' (9, 9), 'low' (17, 17), 'band0' to 'band3' (9, 9)."""
    rows: dict[str, list[list[str]]] = {}
    for name, *values in csv.reader(_lines("hdr_vdp_pyramid_filters.csv")):
        rows.setdefault(name, []).append(values)
    filters = {name: np.array(values, np.float32) for name, values in rows.items()}
    for name in ("high", "first_low", "low"):
        quarter = len(filters[name])
        filters[name] = np.pad(filters[name], (0, quarter - 1), "reflect")
    return filters | {"band2": np.rot90(filters["band0"]).copy(), "band3": np.rot90(filters["band1"]).copy()}


def steerable_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Bands of (H, W) float32, fine to coarse: (1, H, W), levels of (4, h, w), (1, h, w). Sizes halve, rounded up.

    Simoncelli and Freeman, The steerable pyramid, ICIP 1995. There are as many levels as the shorter side can be
    halved, rounded down, before it is shorter than the low-pass filter.
    """
    filters = subband_filters()
    bands = [_correlated(image, filters["high"])[None]]
    low = _correlated(image, filters["first_low"])
    shorter = min(image.shape)
    while shorter >= MIN_SIDE_PX:
        bands.append(np.stack([_correlated(low, filters[f"band{o}"]) for o in range(4)]))
        low = np.ascontiguousarray(_correlated(low, filters["low"])[::2, ::2])
        shorter //= 2
    return [*bands, low[None]]


def _correlated(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation with a kernel, the image mirrored about its outermost pixels."""
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def _mutual(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(K, h, w): what masks in a band, the smaller magnitude of the two pictures, averaged over 3 x 3; 0 outside."""
    smaller = np.minimum(np.abs(a), np.abs(b))
    return np.stack([cv2.blur(plane, (3, 3), borderType=cv2.BORDER_CONSTANT) for plane in smaller])


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    """float32 in, float32 out."""
    return np.power(base, np.float32(exponent))


def _resized_planes(planes: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(K, H, W) to (K, h, w), held above 0."""
    return np.stack([resized(plane, shape) for plane in planes]).clip(0)


def resized(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(H, W) to (h, w) by bicubic interpolation."""
    if image.shape == tuple(shape):
        return image
    tall = _axis_weights(image.shape[0], shape[0]) @ image
    return np.ascontiguousarray((_axis_weights(image.shape[1], shape[1]) @ tall.T).T)


@lru_cache(maxsize=128)
def _axis_weights(size: int, new_size: int) -> scipy.sparse.csr_array:
    """(new_size, size) float32: bicubic resizing of one axis, kept for all sizes of a pyramid."""
    return bicubic_weights(size, new_size).astype(np.float32)
