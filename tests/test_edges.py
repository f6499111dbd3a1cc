"""Pixels that no neighbour sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdrvid.color.radiance import ldr_from_radiance
from hdrvid.models.classical import inside_picture
from hdrvid.models.edges import denoise_alone, unseen_pixels
from hdrvid.predict.registry import load_reconstructor
from hdrvid.predict.runner import ModelRunner
from hdrvid.types import Window

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("height", "width", "length"), [(17, 23, 4), (40, 61, 2), (61, 40, 1e-3), (3, 3, 1), (1, 9, 1)]
)
def test_unseen_is_outside_of_every_neighbour(height: int, width: int, length: float):
    flows = np.float32(length) * np.random.default_rng(0).normal(size=(3, height, width, 2)).astype(np.float32)
    flows[:, 0, :, 1] = -3
    inside = inside_picture(torch.from_numpy(flows.transpose(0, 3, 1, 2))).numpy()[:, 0]
    seen = np.ones((height, width), bool)
    seen[unseen_pixels(list(flows))] = False
    assert np.array_equal(seen, inside.any(0))
    assert not seen.all()


def test_flow_that_is_no_number_hides_nothing():
    flow = np.zeros((40, 60, 2), np.float32)
    flow[20, 30], flow[5, 0, 0] = np.nan, -3
    assert [place.tolist() for place in unseen_pixels([flow])] == [[5], [0]]


def panned(pan: int, stops: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Three frames of a smooth scene that moves `pan` pixels a frame to the right, the middle one `stops` darker and
    noisy; and the radiance of the middle one."""
    rng = np.random.default_rng(1)
    height, width = 64, 96
    y, x = np.mgrid[0:height, 0 : width + 2 * pan].astype(np.float32)
    scene = 0.02 + 0.015 * np.sin(x / 9)[..., None] * np.cos(y / 7)[..., None] * np.array([1.0, 0.8, 0.6])
    scene[height // 2 :, :, :] *= 3  # an edge that must stay
    scene = scene.astype(np.float32)
    shown = [scene[:, pan : pan + width], scene[:, 2 * pan : 2 * pan + width]]
    long = ldr_from_radiance(shown[0], 2.0**stops)
    noisy = shown[1] + rng.normal(0, 4e-3, shown[1].shape).astype(np.float32)
    dark = ldr_from_radiance(noisy.clip(0.0), 1.0)
    return [long, np.round(dark * 255).astype(np.float32) / 255, long], shown[1]


@pytest.mark.parametrize("model", ["classical", "fast", "default"])
def test_the_first_frame_of_a_panned_clip_has_no_speckled_edge(model, monkeypatch):
    """Both neighbours are the frame after it, which does not show the columns that the camera has left behind."""

    frames, truth = panned(6, 3.0)
    window = Window(0, tuple(frames), (8.0, 1.0, 8.0))

    def error() -> tuple[float, float]:
        reconstructor = load_reconstructor(model, 2, device="cpu", precision="fp32")
        assert isinstance(reconstructor, ModelRunner)
        relative = np.abs(np.log(reconstructor.reconstruct(window).radiance + 1e-3) - np.log(truth + 1e-3)).mean(-1)
        return float(relative[:, -4:].mean()), float(relative[:, 20:-20].mean())

    edge, middle = error()
    monkeypatch.setattr("hdrvid.predict.runner.denoise_alone", lambda *_: None)
    edge_before, middle_before = error()
    assert edge < 0.75 * edge_before
    assert middle == middle_before


def test_edges_of_the_picture_stay():
    frames, truth = panned(6, 3.0)
    flow = np.zeros((*truth.shape[:2], 2), np.float32)
    flow[..., 0] = 8
    made = truth.copy()
    made[:, -6:] = frames[1][:, -6:] ** 2.2
    before = made.copy()
    denoise_alone(made, frames[1], [flow, flow])
    assert np.array_equal(made[:, :-6], before[:, :-6])
    step = [made[y, -4:].mean() for y in (31, 32)]
    assert step[1] > 2 * step[0]
    noise = [np.abs(m[:, -6:] - truth[:, -6:]).mean() for m in (made, before)]
    assert noise[0] < 0.6 * noise[1]
