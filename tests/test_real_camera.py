"""Cameras outside the laboratory: levels, curves, exposures and pictures that are not what hdrvid is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.data.camera import SynthesisOptions, assumed_response, expose, film, random_camera, real_camera
from hdrvid.data.lone_objects import add_lone_object
from hdrvid.errors import UsageError
from hdrvid.evaluate.synthetic import CAMERAS, SyntheticOptions
from hdrvid.options.evaluate import CAMERA_NAMES
from hdrvid.types import ExposureCycle

CLEAN = SynthesisOptions(clip_percentile=99.5, read_noise=0.0, full_well=None, bits=None)
RAMP = np.repeat(np.linspace(0.0, 1.0, 257, dtype=np.float32)[None, :, None], 3, axis=2)


def shown(camera: SynthesisOptions, exposure: float = 1.0) -> np.ndarray:
    """Radiance that the frames of a camera are taken to show, of RAMP."""
    rng = np.random.default_rng(1)
    return radiance_from_ldr(expose(RAMP, exposure, rng, camera.drawn(rng)), exposure)


def test_a_camera_without_faults_shows_what_there_is():
    np.testing.assert_allclose(shown(CLEAN), RAMP, atol=1e-6)


@pytest.mark.parametrize("levels", [{"crushed": 0.08}, {"pedestal": 0.05}, {"crushed": 0.02, "pedestal": 0.06}])
def test_known_levels_change_nothing_above_black(levels):
    radiance = shown(replace(CLEAN, **levels))
    dark = levels.get("crushed", 0.0) ** 2.2
    above = dark + 1e-3 < RAMP
    np.testing.assert_allclose(radiance[above], RAMP[above], atol=2e-4)
    if dark and not levels.get("pedestal"):  # what is black may be anything up to here
        assert radiance[dark >= RAMP].max() == pytest.approx(dark, rel=0.01)


def test_unknown_levels_are_believed():
    crushed = shown(replace(CLEAN, crushed=0.08, knows_levels=False))
    assert (crushed[RAMP < 0.08**2.2] == 0).all()
    raised = shown(replace(CLEAN, pedestal=0.05, knows_levels=False))
    assert raised.min() == pytest.approx(0.05**2.2, rel=1e-3)


def test_an_exposure_is_off_by_the_same_in_every_frame():
    camera = replace(CLEAN, exposure_error=0.1, colour_error=0.02).drawn(np.random.default_rng(5))
    frames = film(np.stack([RAMP * 0.5] * 4), [1.0, 8.0, 1.0, 8.0], np.random.default_rng(0), camera)
    np.testing.assert_array_equal(frames[0], frames[2])
    np.testing.assert_array_equal(frames[1], frames[3])
    ratio = camera.gains(1.0)
    assert np.ptp(np.log2(ratio)) > 0
    middle = radiance_from_ldr(frames[0], 1.0)[0, 128] / (RAMP[0, 128] * 0.5)
    np.testing.assert_allclose(middle, ratio, rtol=1e-4)
    assert camera.drawn(np.random.default_rng(9)) == camera


def test_sharpening_noise_reduction_and_contrast():
    edge = np.repeat(np.repeat(np.array([0.1, 0.5], np.float32), 32)[None, :, None], 64, axis=0).repeat(3, axis=2)
    rng = np.random.default_rng(0)
    sharp = expose(edge, 1.0, rng, replace(CLEAN, sharpening=1.0))
    assert sharp.max() > 0.5 ** (1 / 2.2) + 0.02
    noisy = replace(CLEAN, read_noise=0.01)
    plain, smooth = (expose(edge, 1.0, np.random.default_rng(0), c) for c in (noisy, replace(noisy, denoising=0.05)))
    assert smooth[:, :16].std() < 0.7 * plain[:, :16].std()
    bent = expose(RAMP, 1.0, rng, replace(CLEAN, contrast=0.4))
    code = RAMP ** (1 / 2.2)
    np.testing.assert_allclose(bent, 0.6 * code + 0.4 * code * code * (3 - 2 * code), atol=1e-5)


@pytest.mark.parametrize("field", ["crushed", "pedestal", "contrast", "exposure_error", "colour_error", "sharpening"])
def test_values_that_no_camera_has(field):
    with pytest.raises(UsageError, match=field):
        SynthesisOptions(**{field: -0.1})


def test_plain_cameras_draw_what_they_drew():
    before = np.random.default_rng(3)
    camera = random_camera(before)
    drawn = camera.drawn(before)
    assert (drawn.crushed, drawn.error_seed, drawn.has_errors) == (0.0, 0, False)
    assert assumed_response(drawn).name == camera.response


def test_real_cameras_vary():
    rng = np.random.default_rng(0)
    cameras = [real_camera(rng).drawn(rng) for _ in range(300)]
    assert 0.3 < np.mean([c.crushed > 0 for c in cameras]) < 0.6
    assert 0.35 < np.mean([c.h264_crf is not None for c in cameras]) < 0.65
    assert all(not (c.crushed and c.pedestal) for c in cameras)
    assert {bool(c.contrast) for c in cameras} == {c.knows_levels for c in cameras} == {True, False}
    assert [real_camera(np.random.default_rng(7)) for _ in range(2)] == [real_camera(np.random.default_rng(7))] * 2


@pytest.mark.parametrize("seed", range(6))
def test_a_lone_object_hides_what_is_behind_it(seed):
    rng = np.random.default_rng(seed)
    frames = rng.random((3, 3, 64, 64)).astype(np.float32) * 0.1 + 0.2
    blurred, flow = frames.copy(), np.zeros((2, 2, 64, 64), np.float32)
    flow[0, 0] = 3.0
    visible, before = np.ones((2, 64, 64), np.float32), frames.copy()
    index = add_lone_object([frames, blurred], 1, flow, visible, rng)
    changed = np.abs(frames - before).max(1) > 1e-6
    assert changed[index].any()
    assert not changed[[i for i in range(3) if i != index]].any()
    np.testing.assert_array_equal(frames[index], blurred[index])
    hidden = visible == 0
    if index == 1:
        assert (hidden[0] == hidden[1]).all()
        assert hidden.any()
    else:
        slot = index - (index > 1)
        assert not hidden[1 - slot].any()
        moved = changed[index][:, np.clip(np.arange(64) + 3 * (slot == 0), 0, 63)]
        assert (hidden[slot] & ~moved).sum() == 0  # nothing else is hidden


def test_the_names_of_the_cameras():
    assert tuple(CAMERAS) == CAMERA_NAMES
    for name, named in CAMERAS.items():
        for number, stops in named.stops.items():
            options = SyntheticOptions(ExposureCycle(stops), camera=named.camera, camera_name=name)
            assert len(stops) == number
            assert (f"camera {name}" in options.description()) is (name != "clean")
