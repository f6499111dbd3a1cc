"""A frame must give its reference again where that one shows something: nobody vanishes, nothing is invented."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrvid.color.radiance import inverse_mu_law, ldr_from_radiance, mu_law, radiance_from_ldr
from hdrvid.compiled import availability, bands
from hdrvid.data.camera import SynthesisOptions, clipping_level, expose
from hdrvid.data.scenes import procedural_scene
from hdrvid.metrics.fidelity import psnr_t
from hdrvid.models.constants import RESIDUAL_LIMIT, RESIDUAL_SCALE
from hdrvid.models.merge_net import BlendNet
from hdrvid.models.reference_check import contradiction, keep_reference
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import Window

CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8)
LIMIT = RESIDUAL_LIMIT * RESIDUAL_SCALE


def brought_back(radiance: np.ndarray, reference: np.ndarray, exposure: float) -> np.ndarray:
    """`keep_reference` of what `contradiction` finds."""
    return keep_reference(radiance, reference, exposure, contradiction(radiance, reference, exposure))


def window_with_a_stranger(seed: int, light: tuple[float, float, float], stops: float, reference_is_short: bool):
    """Window, truth and where a figure is that its middle frame alone shows."""
    scene = procedural_scene(seed, 160, 96, 6, motion=1.0)
    frames = [scene.render(t) for t in range(3)]
    level = np.float32(clipping_level(frames[1], 99.5))
    frames = [frame / level for frame in frames]
    mask = np.zeros((96, 160), np.float32)
    cv2.ellipse(mask, (75, 52), (14, 34), 0, 0, 360, 1.0, -1)
    texture = np.random.default_rng(0).uniform(0.8, 1.2, (96, 160, 1)).astype(np.float32)
    frames[1] = frames[1] * (1 - mask[..., None]) + np.float32(light) * mask[..., None] * texture
    long = 2.0**stops
    exposures = (long, 1.0, long) if reference_is_short else (1.0, long, 1.0)
    codes = [
        expose(frame, exposure, np.random.default_rng([seed, k]), CAMERA)
        for k, (frame, exposure) in enumerate(zip(frames, exposures, strict=True))
    ]
    return Window(1, tuple(codes), exposures), np.clip(frames[1], 0.0, 1.0), mask > 0.5


@pytest.mark.parametrize(("model", "seed", "gain_db"), [("default", 3, 3), ("default", 51, 4), ("fast", 3, 0)])
def test_a_person_in_one_short_frame_alone_stays(model, seed, gain_db, monkeypatch):
    window, truth, where = window_with_a_stranger(seed, (0.02, 0.015, 0.012), 2.0, True)
    runner = load_reconstructor(model, 2, device="cpu", precision="fp32")
    shown = runner.reconstruct(window).radiance
    monkeypatch.setattr("hdrvid.predict.runner.keep_reference", lambda *_: None)
    before = runner.reconstruct(window).radiance
    inside = [psnr_t(picture[where][None], truth[where][None]) for picture in (shown, before)]
    outside = [psnr_t(picture[~where][None], truth[~where][None]) for picture in (shown, before)]
    assert inside[0] >= inside[1] + gain_db
    assert inside[0] > 29.5
    assert outside[0] > outside[1] - 0.05


def test_a_clipped_stranger_is_at_least_as_bright_as_what_clips():
    window, _, where = window_with_a_stranger(21, (0.4, 0.3, 0.3), 5.0, False)
    shown = load_reconstructor("default", 2, device="cpu").reconstruct(window).radiance
    clipped = where & (window.reference.min(-1) >= 0.999)
    inner = cv2.erode(clipped.astype(np.uint8), np.ones((7, 7))) > 0
    assert inner.sum() > 500
    assert np.quantile(shown[inner].min(-1), 0.02) > 0.7 / 32


def flat(code: float, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.clip(code + rng.normal(0, noise, (48, 64, 3)), 0, 1).astype(np.float32)


def test_what_agrees_stays_as_it_is():
    for code, noise in ((0.02, 0.02), (0.3, 0.02), (0.9, 0.01), (1.0, 0.0)):
        reference = flat(code, noise)
        merged = radiance_from_ldr(flat(code), 4.0)
        before = merged.copy()
        assert not brought_back(merged, reference, 4.0).any()
        np.testing.assert_array_equal(merged, before)


def beside_agreement(patch: np.ndarray, code: float = 0.3, exposure: float = 4.0) -> np.ndarray:
    """A picture (48, 192, 3): a patch (48, 64, 3), and beside it codes that agree, or their radiance."""
    rest = np.full((48, 128, 3), code, np.float32)
    return np.concatenate([patch, rest if exposure == 0 else radiance_from_ldr(rest, exposure)], axis=1)


INNER = (slice(4, -4), slice(4, 56))
"""Of the patch, what is not near its edges."""


def test_a_clipped_code_is_anything_from_there_on():
    reference = beside_agreement(flat(1.0), exposure=0)
    brighter, darker = (beside_agreement(np.full((48, 64, 3), light, np.float32)) for light in (0.7, 0.1))
    assert not contradiction(brighter, reference, 4.0).any()
    assert (contradiction(darker, reference, 4.0)[:, :28] == 1).all()
    assert brought_back(darker, reference, 4.0)[INNER].all()
    np.testing.assert_allclose(darker[INNER], 0.25, rtol=1e-5)
    np.testing.assert_allclose(darker[:, 80:], brighter[:, 80:])


def test_a_channel_that_short_frames_have_in_their_noise_goes_over_alone():
    """A yellow light 6 stops above the short frames: red and green are theirs, blue was their noise."""

    def patch(colour: object) -> np.ndarray:
        return np.broadcast_to(np.float32(colour), (48, 64, 3))

    light = np.float32([0.5, 0.4, 0.0012])
    reference = beside_agreement(patch(ldr_from_radiance(light, 64.0)), exposure=0)
    merged = beside_agreement(patch(light * np.float32([1, 1, 2])), exposure=64.0)
    brought_back(merged, reference, 64.0)
    np.testing.assert_allclose(merged[INNER], patch(light)[INNER], rtol=1e-4)
    stranger = beside_agreement(patch([0.5, 0.4, 0.01]))  # at 2 stops blue is seen too
    brought_back(stranger, beside_agreement(patch([1, 1, 0.4]), exposure=0), 4.0)
    np.testing.assert_allclose(stranger[INNER][..., :2], 0.25, rtol=1e-4)


@pytest.mark.parametrize("code", [0.08, 0.3])
def test_what_a_codec_does_all_over_a_frame_contradicts_nothing(code):
    """Blotches of a low bit rate are no noise that a local mean takes away; a stranger is beyond them."""
    rng = np.random.default_rng(2)
    blotches = cv2.resize(rng.normal(0, 0.02, (12, 48, 3)).astype(np.float32), (192, 48), interpolation=cv2.INTER_CUBIC)
    reference = np.clip(code + blotches, 0, 1).astype(np.float32)
    merged = radiance_from_ldr(np.full_like(reference, code), 1.0)
    assert contradiction(merged, reference, 1.0, black=0.0).mean() < 0.002
    merged[:, 80:110] = radiance_from_ldr(np.float32(0.7), 1.0)
    assert brought_back(merged, reference, 1.0)[8:40, 86:104].all()


def test_a_black_code_is_anything_up_to_black():
    reference = beside_agreement(np.full((48, 64, 3), 0.08, np.float32), exposure=0)
    merged = beside_agreement(np.zeros((48, 64, 3), np.float32), exposure=1.0)
    assert not contradiction(merged, reference, 1.0, black=0.08).any()
    assert (contradiction(merged, reference, 1.0)[:, :28] > 0).all()


@pytest.mark.parametrize("stops", [-0.3, 0.3])
def test_exposures_a_little_wrong_contradict_nothing(stops):
    scene = procedural_scene(4, 160, 96, 3)
    radiance = scene.render(0)
    radiance = radiance / np.float32(clipping_level(radiance, 90.0))
    reference = ldr_from_radiance(radiance, 1.0)
    assert contradiction(radiance * np.float32(2.0**stops), reference, 1.0).mean() < 0.01


def test_the_change_to_the_reference_has_no_edge():
    reference = np.full((48, 192, 3), 0.5, np.float32)
    reference[:, 144:] -= np.linspace(0, 0.2, 48, dtype=np.float32)[:, None]  # a shadow that the merge has not seen
    merged = radiance_from_ldr(np.full_like(reference, 0.5), 1.0)
    brought_back(merged, reference, 1.0)
    across, alone = (mu_law(picture[24, :, 0]) for picture in (merged, radiance_from_ldr(reference, 1.0)))
    assert across[0] == alone[0]
    assert across[-1] == pytest.approx(alone[-1], rel=1e-5)
    assert np.abs(np.diff(across)).max() < 4 * np.abs(np.diff(alone)).max()


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), exposure=st.sampled_from([1.0, 4.0, 300.0]), seed=st.integers()
)
def test_pictures_of_any_size_stay_between_frame_and_reference(height, width, exposure, seed):
    rng = np.random.default_rng(abs(seed))
    merged = rng.random((height, width, 3), np.float32) ** 4
    reference = rng.random((height, width, 3), np.float32)
    alone = radiance_from_ldr(reference, exposure)
    low, high = np.minimum(merged, alone), np.maximum(merged, alone)
    kept = brought_back(merged, reference, exposure)
    assert kept.shape == (height, width)
    assert (merged >= low * (1 - 1e-4) - 1e-7).all()
    assert (merged <= high * (1 + 1e-4) + 1e-7).all()


def beyond(result: np.ndarray, candidates: np.ndarray) -> float:
    """How far a picture (3, H, W) is outside the range of its candidates (C, 3, H, W) somewhere, mu-law."""
    tone, of_each = mu_law(result), mu_law(candidates)
    return float(np.maximum(tone - of_each.max(0), of_each.min(0) - tone).max())


@pytest.mark.parametrize("weight_channels", [1, 3])
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_the_network_cannot_leave_the_range_of_its_candidates(weight_channels, size):
    rng = torch.Generator().manual_seed(int(size))
    network = BlendNet(3, 12, weight_channels)
    radiance = torch.rand(1, 3, 3, 32, 32, generator=rng) ** 4
    log_prior = torch.log_softmax(torch.randn(1, 3, 3, 32, 32, generator=rng), 1)
    smoothed = torch.rand(1, 2, 3, 32, 32, generator=rng)
    channels = 4 * (weight_channels * network.num_weights + 3)
    out = size * torch.randn(1, channels, 16, 16, generator=rng)
    result, _, blended = network.result(out, radiance, log_prior, smoothed)
    candidates = torch.cat([radiance, inverse_mu_law(smoothed)], 1)[0].numpy()
    assert beyond(blended[0].numpy(), candidates) < 1e-5
    assert beyond(result[0].numpy(), candidates) < LIMIT + 1e-5
    if availability.usable():
        given = bands.MergeInput(out, radiance[0].numpy(), log_prior[0].numpy(), smoothed[0].numpy())
        made = np.empty((32, 32, 3), np.float32)
        whole = slice(0, 32), slice(0, 32)
        assert bands.merge_result(given, out, weight_channels, whole, made, (0, 0))
        assert beyond(made.transpose(2, 0, 1), candidates) < LIMIT + 1e-4


def test_no_pixel_of_twenty_clips_leaves_the_range_of_its_candidates(monkeypatch):
    """Half of them with somebody who is in one frame alone. What `denoise_alone` does is an average of such pixels."""
    runner = load_reconstructor("default", 2, device="cpu", precision="fp32")
    runner.in_bands = False
    seen: list[np.ndarray] = []
    result = BlendNet.result

    def kept(self, out, radiance, log_prior, smoothed):
        seen.append(torch.cat([radiance, inverse_mu_law(smoothed)], 1)[0].numpy())
        return result(self, out, radiance, log_prior, smoothed)

    monkeypatch.setattr(BlendNet, "result", kept)
    monkeypatch.setattr("hdrvid.predict.runner.denoise_alone", lambda *_: None)
    for number in range(20):
        light = ((0.02, 0.015, 0.012), (0.3, 0.22, 0.2), (0.4, 0.02, 0.02))[number % 3] if number % 2 else (0, 0, 0)
        window, _, _ = window_with_a_stranger(200 + number, light, 2.0 + number % 4, number % 4 < 2)
        made = runner.reconstruct(window).radiance.transpose(2, 0, 1)
        assert beyond(made, seen.pop()[..., :96, :160]) < LIMIT + 1e-5, number
