"""PU21: anchors of the encoding, and a PSNR that can be reckoned by hand."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from hdrvid.errors import InputError
from hdrvid.metrics import pu21
from hdrvid.metrics.pu21 import DISPLAY_PEAK_CD_M2, pu21_encode, pu21_psnr


def truth_frame() -> np.ndarray:
    return np.random.default_rng(3).uniform(0.0, 1.0, (12, 17, 3)).astype(np.float32)


def test_doctests():
    assert doctest.testmod(pu21).failed == 0


@pytest.mark.parametrize(
    ("luminance_cd_m2", "code", "tolerance"),
    [(0.005, 0.0, 1e-6), (100.0, 256.0, 0.5), (10000.0, 595.4, 0.05)],
    ids=["darkest", "white of 100 cd/m^2 is 256", "brightest"],
)
def test_anchors(luminance_cd_m2: float, code: float, tolerance: float):
    assert float(pu21_encode(np.array(luminance_cd_m2))) == pytest.approx(code, abs=tolerance)


def test_encoding_rises_and_clips_at_both_ends():
    codes = pu21_encode(np.geomspace(0.005, 10000.0, 4001))
    assert (np.diff(codes) > 0).all()
    np.testing.assert_array_equal(pu21_encode(np.array([-1.0, 0.0, 1e6])), codes[[0, 0, -1]])


def test_one_code_apart_is_48_db():
    # peak 256: an error of one code everywhere is 20 log10(256) dB
    luminance = np.geomspace(0.1, 1000.0, 40)
    grid = np.geomspace(0.005, 10000.0, 400001)
    one_more = np.interp(pu21_encode(luminance) + 1.0, pu21_encode(grid), grid)
    truth, estimate = (np.repeat(v.reshape(5, 8, 1), 3, axis=2) / DISPLAY_PEAK_CD_M2 for v in (luminance, one_more))
    assert pu21_psnr(estimate, truth) == pytest.approx(20 * math.log10(256), abs=0.01)


def test_radiance_1_is_shown_at_the_peak_of_the_display():
    truth = truth_frame()
    estimate = truth * 0.9
    assert pu21_psnr(estimate, truth) == pytest.approx(pu21_psnr(estimate * 10, truth * 10, peak_cd_m2=100.0), abs=1e-4)
    assert abs(pu21_psnr(estimate, truth) - pu21_psnr(estimate, truth, peak_cd_m2=100.0)) > 1.0


def test_identical_frames_and_more_noise():
    truth = truth_frame()
    noise = np.random.default_rng(4).standard_normal(truth.shape)
    scores = [pu21_psnr(truth + sigma * noise, truth) for sigma in (0.0, 0.001, 0.01, 0.1)]
    assert scores[0] == math.inf
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 4


def test_the_same_step_counts_more_in_the_dark():
    dark, bright = np.full((8, 8, 3), 0.001), np.full((8, 8, 3), 0.5)
    assert pu21_psnr(dark + 0.001, dark) < pu21_psnr(bright + 0.001, bright) - 10


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (np.zeros((4, 4)), "RGB"),
        (np.zeros((4, 4, 4)), "RGB"),
        (np.zeros((0, 4, 3)), "RGB"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), np.inf), "inf"),
        (np.zeros((4, 5, 3)), "same size"),
    ],
    ids=["gray", "4 channels", "empty", "nan", "inf", "other size"],
)
def test_refuses(estimate: np.ndarray, text: str):
    with pytest.raises(InputError, match=text):
        pu21_psnr(estimate, np.zeros((4, 4, 3)))


@pytest.mark.parametrize("peak", [0.0, -1.0, math.nan, math.inf])
def test_refuses_a_peak_that_is_no_luminance(peak: float):
    with pytest.raises(InputError, match="peak"):
        pu21_psnr(truth_frame(), truth_frame(), peak_cd_m2=peak)
