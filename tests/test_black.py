"""Crushed blacks: a code of 0 may be anything up to the light at which the blacks end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hdrvid.color.radiance import common_floor, match_exposure
from hdrvid.color.response import RESPONSES, levelled_response
from hdrvid.data.camera import SynthesisOptions, assumed_response, expose
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synthesise
from hdrvid.metrics.fidelity import psnr_t
from hdrvid.models.classical import above_black, alignment_confidence, channel_exposedness
from hdrvid.models.constants import BLACK_RAMP, BLACK_WEIGHT, PARTLY_CLIPPED
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import ExposureCycle, Window

CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1e-3, full_well=15000.0, bits=8)


def test_black_is_above_0_where_blacks_are_crushed():
    for name in ("gamma2.2", "srgb", "slog3", "linear"):
        assert RESPONSES[name].black_code == 0
    assert levelled_response(RESPONSES["gamma2.2"], 0.05, 1.0).black_code == 0
    crushed = levelled_response(RESPONSES["gamma2.2"], -0.08 / 0.92, 1.0)
    assert crushed.black_code == pytest.approx(0.08, rel=1e-3)


@pytest.mark.parametrize("stops", [1.0, 3.0, 5.0])
def test_below_the_floor_the_shorter_exposure_shows_nothing(stops):
    black, gain = 0.08, 2.0**stops
    light = np.linspace(0.0, 1.0 / gain, 513)
    short = np.maximum(light ** (1 / 2.2), black)  # what is black is taken as this
    long = np.maximum((light * gain) ** (1 / 2.2), black)
    floor = common_floor(black, 1.0, gain)
    matched = match_exposure(short, 1.0, gain)
    assert matched.min() == pytest.approx(floor)
    np.testing.assert_allclose(np.maximum(matched, floor), np.maximum(long, floor), atol=1e-9)


def test_frames_that_are_black_agree_with_anything_up_to_black():
    short, long = torch.full((1, 3, 8, 8), 0.08), torch.full((1, 3, 8, 8), 0.2)  # at 5 stops black ends at code 0.39
    exposures, still = (torch.tensor([1.0]), torch.tensor([32.0])), torch.zeros(1, 2, 8, 8)
    pair = (short, long, *exposures, still, still)
    assert alignment_confidence(*pair).max() < 0.05
    assert alignment_confidence(*pair, black=torch.tensor([0.08])).min() > 0.99
    bright = (short, torch.full_like(long, 0.6), *exposures, still, still)
    assert alignment_confidence(*bright, black=torch.tensor([0.08])).max() < 0.05


def test_a_black_frame_loses_its_weight_to_longer_ones():
    codes = torch.linspace(0.08, 0.3, 32).expand(1, 3, 1, 32)
    black, longest = torch.tensor([0.08]), torch.tensor([8.0])
    weights = above_black(codes, torch.tensor([1.0]), longest, black)[0, 1, 0]
    assert weights[0] == pytest.approx(BLACK_WEIGHT)
    assert (weights[codes[0, 0, 0] >= 0.08 + BLACK_RAMP] == 1).all()
    assert (weights.diff() >= 0).all()
    assert (above_black(codes, longest, longest, black) == 1).all()
    assert (above_black(codes, torch.tensor([1.0]), longest, torch.tensor([0.0])) == 1).all()


@pytest.mark.parametrize("model", ["classical", "default"])
@pytest.mark.parametrize("stops", [(0.0, 5.0), (0.0, 2.5, 5.0)])
def test_short_frames_of_crushed_clips(model, stops):
    camera = replace(CAMERA, crushed=0.08)
    clip = synthesise(procedural_scene(9, 160, 96, 6, motion=1.0), ExposureCycle(stops), 6, 4, camera)
    black = assumed_response(clip.options).black_code
    runner = load_reconstructor(model, len(stops), device="cpu")
    index = next(i for i in (2, 3) if clip.cycle.class_at(i) == "short")
    indices = clip.cycle.window_indices(index, 6)
    window = Window(
        index, tuple(clip.ldr[i] for i in indices), tuple(clip.cycle.exposure_at(i) for i in indices), black=black
    )
    truth = np.clip(clip.truth[index], 0, 1)
    scores = {
        known: psnr_t(runner.reconstruct(replace(window, black=black if known else 0.0)).radiance, truth)
        for known in (True, False)
    }
    assert scores[True] > scores[False] + 1.0, scores


def test_compiled_and_pytorch_agree_on_black():
    camera = replace(CAMERA, crushed=0.08)
    clip = synthesise(procedural_scene(9, 96, 64, 6, motion=1.0), ExposureCycle((0.0, 2.5, 5.0)), 6, 4, camera)
    indices = clip.cycle.window_indices(3, 6)
    window = Window(
        3, tuple(clip.ldr[i] for i in indices), tuple(clip.cycle.exposure_at(i) for i in indices), black=0.08
    )
    for model in ("default", "fast"):
        runner = load_reconstructor(model, 3, device="cpu", precision="fp32")
        compiled = runner.reconstruct(window).radiance
        assert runner.in_bands
        runner.in_bands = False
        np.testing.assert_allclose(compiled, runner.reconstruct(window).radiance, atol=2e-4)


@pytest.mark.parametrize("model", ["default", "fast"])
@pytest.mark.parametrize("crushed", [0.0, 0.08])
@pytest.mark.parametrize("exposures", [(32.0, 1.0, 32.0), (1.0, 32.0, 1.0)])
def test_every_channel_of_a_coloured_light_comes_from_the_frame_that_knows_it(model, crushed, exposures):
    """The long frame clips its red and green, the short one has its blue in noise or in black."""
    y, x = np.mgrid[:64, :96].astype(np.float32)
    truth = np.float32([0.5, 0.3, 0.002]) * (0.75 + 0.25 * np.sin(x / 5) * np.cos(y / 7))[..., None]
    camera = replace(CAMERA, crushed=crushed)
    frames = tuple(expose(truth, e, np.random.default_rng(i), camera) for i, e in enumerate(exposures))
    runner = load_reconstructor(model, 2, device="cpu", precision="fp32")
    made = runner.reconstruct(Window(1, frames, exposures, black=crushed)).radiance
    error = np.abs(made / truth - 1)[8:-8, 8:-8].mean((0, 1))
    assert error.max() < 0.15, error


def test_a_channel_keeps_some_weight_beside_one_that_clips():
    frame = torch.tensor([1.0, 0.9, 0.3]).reshape(1, 3, 1, 1)
    long, short = torch.tensor([8.0]), torch.tensor([1.0])
    red, green, blue = channel_exposedness(frame, long).flatten().tolist()
    assert red == 0 < green < blue == PARTLY_CLIPPED
    assert (channel_exposedness(frame, short) == 1).all()
    dark = torch.full((1, 3, 1, 1), 0.3)
    assert (channel_exposedness(dark, long) == 1).all()
