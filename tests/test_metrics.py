"""PSNR and SSIM against scikit-image, and the cases a formula cannot be read off from."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hdrvid import metrics
from hdrvid.errors import InputError
from hdrvid.metrics import psnr, psnr_l, psnr_t, ssim, ssim_l, ssim_t


def pair(shape: tuple[int, ...] = (31, 45, 3), noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 1.4, shape[1]).reshape((1, -1) + (1,) * (len(shape) - 2))
    truth = np.abs(ramp + 0.2 * rng.standard_normal(shape))
    return np.abs(truth + noise * rng.standard_normal(shape)), truth


def skimage_ssim(a: np.ndarray, b: np.ndarray) -> float:
    return float(structural_similarity(a, b, data_range=1.0, channel_axis=-1 if a.ndim == 3 else None))


def mu_law_by_hand(h: np.ndarray) -> np.ndarray:
    return np.log(1 + 5000 * h) / np.log(5001)


def test_doctests():
    assert doctest.testmod(metrics).failed == 0


@pytest.mark.parametrize("shape", [(31, 45, 3), (7, 7, 3), (24, 17, 1), (20, 33)])
@pytest.mark.parametrize("noise", [0.001, 0.05, 1.0])
def test_agrees_with_scikit_image(shape: tuple[int, ...], noise: float):
    a, b = pair(shape, noise)
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), abs=1e-9)
    assert ssim(a, b) == pytest.approx(skimage_ssim(a, b), abs=1e-9)


def test_suffixes_name_the_domain():
    a, b = pair()
    ta, tb = mu_law_by_hand(a), mu_law_by_hand(b)
    assert psnr_l(a, b) == psnr(a, b)
    assert ssim_l(a, b) == ssim(a, b)
    assert psnr_t(a, b) == pytest.approx(peak_signal_noise_ratio(tb, ta, data_range=1.0), abs=1e-9)
    assert ssim_t(a, b) == pytest.approx(skimage_ssim(ta, tb), abs=1e-9)
    assert psnr_t(a, b) != pytest.approx(psnr_l(a, b), abs=0.1)


def test_float32_frames_are_measured_in_float64():
    a, b = (x.astype(np.float32) for x in pair())
    assert ssim(a, b) == pytest.approx(skimage_ssim(a.astype(np.float64), b.astype(np.float64)), abs=1e-9)
    assert psnr(a, b) == psnr(a.astype(np.float64), b.astype(np.float64))


def test_integer_frames_do_not_wrap_around():
    dark, bright = np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)
    assert psnr(dark, bright, peak=255) == pytest.approx(0)


def test_identical_frames():
    a, _ = pair()
    assert math.isinf(psnr(a, a))
    assert math.isinf(psnr_t(a, a))
    assert ssim(a, a) == pytest.approx(1)
    black = np.zeros((9, 9, 3), np.float32)
    assert math.isinf(psnr(black, black))
    assert ssim_t(black, black) == pytest.approx(1)


def test_peak_and_data_range_scale_out():
    a, b = pair()
    assert psnr(4 * a, 4 * b, peak=4) == pytest.approx(psnr(a, b))
    assert ssim(4 * a, 4 * b, data_range=4) == pytest.approx(ssim(a, b))


def test_radiance_above_one_is_not_clipped():
    truth = np.full((8, 8, 3), 1.0)
    assert psnr_l(truth + 1, truth) == pytest.approx(0)
    assert psnr_t(truth + 3, truth) < psnr_t(truth + 1, truth) < math.inf


def test_negative_radiance_counts_as_black_in_the_mu_law_only():
    black = np.zeros((8, 8, 3))
    assert math.isinf(psnr_t(black - 0.1, black))
    assert psnr_l(black - 0.1, black) == pytest.approx(20)


def test_a_broken_frame_never_looks_good():
    a, b = pair()
    a[3, 4, 1] = np.nan
    for measure in (psnr_t, psnr_l, ssim_t, ssim_l):
        assert math.isnan(measure(a, b))


def test_non_contiguous_views():
    a, b = pair((45, 31, 3))
    flipped = a.transpose(1, 0, 2)[::-1], b.transpose(1, 0, 2)[::-1]
    assert ssim(*flipped) == pytest.approx(ssim(*map(np.ascontiguousarray, flipped)), abs=1e-12)


@pytest.mark.parametrize("measure", [psnr, psnr_t, psnr_l, ssim, ssim_t, ssim_l])
def test_different_sizes_are_refused(measure):
    with pytest.raises(InputError, match="same size"):
        measure(np.zeros((8, 9, 3)), np.zeros((8, 8, 3)))


def test_what_is_no_frame_is_refused():
    with pytest.raises(InputError, match="shape"):
        psnr(np.zeros(8), np.zeros(8))
    with pytest.raises(InputError, match="shape"):
        psnr(np.zeros((0, 4, 3)), np.zeros((0, 4, 3)))
    with pytest.raises(InputError, match="at least 7x7"):
        ssim(np.zeros((6, 20, 3)), np.zeros((6, 20, 3)))
