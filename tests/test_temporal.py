"""Flicker and the re-exposure error, on pictures whose motion and exposure are known."""

import numpy as np
import pytest
import torch

from hdrvid.color.radiance import ldr_from_radiance, mu_law
from hdrvid.metrics.temporal import flicker, reexposure_psnr, seen_in_both, tone_change, well_exposed
from hdrvid.picture_warp import warp_picture
from hdrvid.warp import warp

SHIFT = (3, -2)
"""Pixels right and down that everything moves in a frame."""


def moving_pair(seed=0):
    """Radiance of a frame and of the one before it, the flow between them and where both show the same."""
    world = np.random.default_rng(seed).uniform(0.01, 0.9, (64, 80, 3)).astype(np.float32)
    inner = (slice(8, -8), slice(8, -8))
    now, earlier = world[inner], np.roll(world, (SHIFT[1], SHIFT[0]), (0, 1))[inner]
    flow = np.broadcast_to(np.array(SHIFT, np.float32), (*now.shape[:2], 2)).copy()
    seen = seen_in_both(flow, -flow)
    return now, earlier, flow, seen


def test_warped_is_the_warp_of_the_networks():
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 1, (20, 30, 3)).astype(np.float32)
    flow = rng.integers(-160, 160, (20, 30, 2)).astype(np.float32) / 32  # what remap can hold exactly
    expected = warp(torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(flow).permute(2, 0, 1)[None])
    np.testing.assert_allclose(warp_picture(image, flow), expected[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_what_leaves_the_picture_is_not_seen():
    _, _, flow, seen = moving_pair()
    assert not seen[:, -3:].any()
    assert not seen[:2].any()
    assert seen[2:, :-3].all()
    assert not seen_in_both(flow, flow)[10:-10, 10:-10].any()  # back again is not where it started


def test_output_that_moves_like_the_truth_does_not_flicker():
    now, earlier, flow, seen = moving_pair()
    expected = tone_change(now, earlier, flow)
    assert np.abs(expected[seen]).max() < 1e-5
    assert flicker(expected, expected, seen) == 0


@pytest.mark.parametrize("gain", [1.02, 1.1, 0.8])
def test_a_brightness_ping_pong_is_measured(gain):
    now, earlier, flow, seen = moving_pair()
    truth = tone_change(now, earlier, flow)
    output = tone_change(now * np.float32(gain), earlier, flow)
    expected = np.abs(mu_law(now * gain) - mu_law(now))[seen].mean()
    assert flicker(output, truth, seen) == pytest.approx(expected, rel=1e-3)
    assert flicker(output, truth, seen) > 1e-3


def test_flicker_needs_something_seen():
    now, earlier, flow, seen = moving_pair()
    change = tone_change(now, earlier, flow)
    assert flicker(change, change, np.zeros_like(seen)) is None


def test_reexposure_of_the_truth_is_perfect_and_of_noise_is_not():
    now, earlier, flow, seen = moving_pair()
    exposures = (8.0, 1.0)
    codes = [warp_picture(ldr_from_radiance(earlier, 8.0), flow), ldr_from_radiance(now, 1.0)]
    views = (codes, exposures, [seen, np.ones_like(seen)])
    assert reexposure_psnr(now, *views) > 90
    noise = np.random.default_rng(2).normal(0, 0.02, now.shape).astype(np.float32)
    noisy = np.clip(now + noise, 0, None)
    squared, count = 0.0, 0
    for code, exposure, where in zip(*views, strict=True):
        counts = where & well_exposed(code)
        error = (ldr_from_radiance(noisy, exposure) - code)[counts]
        squared, count = squared + float((error.astype(np.float64) ** 2).sum()), count + error.size
    assert reexposure_psnr(noisy, *views) == pytest.approx(-10 * np.log10(squared / count), abs=1e-6)


def test_reexposure_counts_only_what_is_well_exposed():
    now, *_ = moving_pair()
    white, black = np.ones_like(now), np.zeros_like(now)
    everywhere = np.ones(now.shape[:2], bool)
    assert reexposure_psnr(now, [white, black], (8.0, 1.0), [everywhere, everywhere]) is None
    code = ldr_from_radiance(now, 1.0)
    wrong = now.copy()
    bright = ~well_exposed(code)
    wrong[bright] = 0.0
    assert reexposure_psnr(wrong, [code], (1.0,), [everywhere]) > 90
