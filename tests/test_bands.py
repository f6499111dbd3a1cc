"""What is done in bands on a CPU is what PyTorch does for the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_models import window

from hdrvid.models import bands
from hdrvid.models.config import ModelConfig
from hdrvid.models.refine import FlowRefiner
from hdrvid.models.runner import ModelRunner, build
from hdrvid.types import Reconstruction, Window

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not bands.usable(), reason="bands need Numba"),
]


def model(preset: str, num_exposures: int, **options: object) -> ModelRunner:
    """Untrained networks, those of `default` with refined flow, whose results are far from zero."""
    torch.manual_seed(1)
    config = ModelConfig(preset=preset, num_exposures=num_exposures, width=24, refine_flow=preset == "default")
    networks = build(config)
    for network in networks.values():
        torch.nn.init.normal_(network.head.weight, std=0.05)
    return ModelRunner("x", num_exposures, config, networks, device="cpu", **options)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch):
    """Reconstruct without bands."""

    def run(runner: ModelRunner, w: Window) -> Reconstruction:
        with monkeypatch.context() as patched:
            patched.setattr(runner, "in_bands", False)
            return runner.reconstruct(w, diagnostics=True)

    return run


@pytest.mark.parametrize("num_exposures", [2, 3])
@pytest.mark.parametrize("preset", ["default", "fast"])
@pytest.mark.parametrize(("size", "tolerance"), [((96, 160), 1e-4), ((61, 90), 2e-3)])
def test_frames_are_those_of_pytorch(preset, num_exposures, size, tolerance, whole, monkeypatch):
    """Where a size is no multiple of 16 the smoothed pictures differ in what is padded, beyond the frame."""
    monkeypatch.setattr(bands, "BAND_PIXELS", 2000)
    w, _ = window(size, num_exposures)
    runner = model(preset, num_exposures, precision="fp32")
    got, expected = runner.reconstruct(w, diagnostics=True), whole(runner, w)
    assert got.radiance.shape == expected.radiance.shape
    assert got.weights.shape == expected.weights.shape
    assert np.abs(got.radiance - expected.radiance).max() < tolerance
    assert np.abs(got.flow_px - expected.flow_px).max() < 1e-3
    assert np.abs(got.weights - expected.weights).mean() < tolerance
    np.testing.assert_array_equal(runner.reconstruct(w).radiance, got.radiance)


def test_a_band_is_part_of_the_frame(monkeypatch):
    """Whatever the height of the bands."""
    w, _ = window((96, 160))
    runner = model("default", 2, precision="fp32")
    frames = []
    for pixels in (10, 3000, 10**6):
        monkeypatch.setattr(bands, "BAND_PIXELS", pixels)
        frames.append(runner.reconstruct(w).radiance)
    assert max(np.abs(frame - frames[0]).max() for frame in frames) < 1e-5


def test_bands_do_not_depend_on_the_number_of_threads():
    w, _ = window((96, 160))
    runner = model("default", 2, precision="fp32")
    one = runner.reconstruct(w).radiance
    torch.set_num_threads(3)
    np.testing.assert_allclose(runner.reconstruct(w).radiance, one, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(12, 20), (17, 33)])
def test_correlation_is_that_of_the_network(height, width):
    torch.manual_seed(0)
    net = FlowRefiner()
    with torch.inference_mode():
        reference, warped = (torch.rand(1, 3, 4 * height, 4 * width) for _ in range(2))
        volume, shift = net.correlation(reference, warped)
        got = bands.correlation(net.features(reference), net.features(warped), float(net.sharpness))
    assert torch.allclose(got[0], volume, atol=1e-5)
    assert torch.allclose(got[1], shift, atol=1e-4)


def test_frames_that_are_no_numbers_do_not_spread(monkeypatch):
    w, _ = window((48, 64))
    runner = model("fast", 2, precision="fp32")
    monkeypatch.setattr(runner.networks["merge"], "network", lambda x: torch.full((1, 32, 24, 32), torch.nan))
    assert not runner.reconstruct(w).radiance.any()
