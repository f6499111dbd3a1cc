"""Stops that are a little off are measured from aligned pixels."""

from __future__ import annotations

import numpy as np
import pytest

from hdrvid.color.curves import gamma_linearize
from hdrvid.data.camera import SynthesisOptions
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synthesise
from hdrvid.detect.stops import MIN_CORRECTION, measure_stops
from hdrvid.types import ExposureCycle

CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8)


def film(true: tuple[float, ...], seed: int, camera: SynthesisOptions = CAMERA, frames: int = 10) -> list[np.ndarray]:
    scene = procedural_scene(seed, 320, 192, frames, motion=2.0)
    return [gamma_linearize(code) for code in synthesise(scene, ExposureCycle(true), frames, seed, camera).ldr]


@pytest.mark.parametrize(
    ("true", "given"),
    [
        ((0, 2.9), (0, 3)),
        ((3.15, 0), (3, 0)),
        ((0, 1.2), (0, 1)),
        ((0, 1.9, 4.2), (0, 2, 4)),
        ((4, 0, 2.2), (4, 0, 2)),
    ],
)
def test_stops_a_little_off_are_corrected(true, given):
    found = measure_stops(film(true, 31), ExposureCycle(given))
    assert found.corrected
    assert found.standard_error < 0.03
    assert found.cycle.stops == pytest.approx(true, abs=0.03)
    assert "not" in found.reason


@pytest.mark.parametrize("stops", [(0, 3), (0, 1), (0, 2, 4)])
@pytest.mark.parametrize("crf", [None, 23])
def test_right_stops_are_left_alone(stops, crf):
    camera = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8, h264_crf=crf)
    found = measure_stops(film(stops, 7, camera), ExposureCycle(stops))
    assert not found.corrected
    assert found.cycle == ExposureCycle(stops)


@pytest.mark.parametrize("stops", [(0, 3), (4, 0, 2), (0, 3, 4)])
@pytest.mark.parametrize("stops_a_frame", [-0.07, 0.07])
def test_a_scene_that_brightens_is_not_taken_for_the_exposures(stops, stops_a_frame):
    scene = procedural_scene(7, 320, 192, 12, motion=2.0)
    scene_frames = [scene.render(t) * np.float32(2 ** (stops_a_frame * t)) for t in range(12)]
    cycle, scale = ExposureCycle(stops), np.percentile(scene_frames, 99.5)
    frames = [np.clip(f / scale * cycle.exposure_at(t), 0, 1) for t, f in enumerate(scene_frames)]
    assert measure_stops(frames, cycle).cycle == cycle
    off = ExposureCycle(tuple(s + 0.15 * (s == max(stops)) for s in stops))
    found = measure_stops(frames, off)
    assert found.corrected
    assert found.cycle.stops == pytest.approx(stops, abs=0.04)


def test_nothing_is_corrected_without_common_pixels():
    dark, white = np.full((64, 96, 3), 1e-3, np.float32), np.ones((64, 96, 3), np.float32)
    found = measure_stops([dark, white] * 5, ExposureCycle((0, 3)))
    assert not found.corrected
    assert found.standard_error == float("inf")
    assert "too few" in found.reason


def test_wrong_stops_are_not_corrected():
    """Two stops off is a mistake for the user to correct, and the order of the exposures must stay."""
    found = measure_stops(film((0, 3), 12), ExposureCycle((0, 2)))
    assert not found.corrected
    assert abs(3 - 2) > MIN_CORRECTION
