"""ColorVideoVDP: scores where the package is installed; what is said where it is not."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hdrvid.errors import InputError, UsageError
from hdrvid.metrics import color_video_vdp
from hdrvid.metrics.color_video_vdp import cvvdp_jod, require_cvvdp


def clip(num_frames: int = 4, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    wide = rng.uniform(0.0, 1.0, (size[0], size[1] + num_frames, 3)).astype(np.float32) ** 3
    return [wide[:, i : i + size[1]] for i in range(num_frames)]


def noisy(frames: list[np.ndarray], sigma: float) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    return [np.clip(f + sigma * rng.standard_normal(f.shape), 0.0, None) for f in frames]


@pytest.fixture
def installed() -> None:
    try:
        require_cvvdp()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("installed")
def test_identical_clips_and_more_noise():
    truth = clip()
    assert cvvdp_jod(truth, truth, 25.0, device="cpu") == pytest.approx(10.0, abs=1e-4)
    scores = [cvvdp_jod(noisy(truth, sigma), truth, 25.0, device="cpu") for sigma in (0.02, 0.1, 0.4)]
    assert 10.0 > scores[0] > scores[1] > scores[2]


@pytest.mark.usefixtures("installed")
def test_a_still_and_the_name_of_the_display():
    truth = clip(1)
    assert cvvdp_jod(noisy(truth, 0.1), truth, 25.0, device="cpu") < 10.0
    display = require_cvvdp().vvdp_display_photometry.load(color_video_vdp.DISPLAY, [])
    assert display.get_peak_luminance() == color_video_vdp.DISPLAY_PEAK_CD_M2
    assert not display.is_input_display_encoded()


@pytest.mark.parametrize("module", ["pycvvdp", "torchvision.transforms"])
def test_absent_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, module: str):
    for name in [n for n in sys.modules if n.split(".")[0] == "pycvvdp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises ImportError
    with pytest.raises(UsageError, match=r'pip install "hdrvid\[metrics\]"'):
        cvvdp_jod(clip(), clip(), 25.0)


@pytest.mark.parametrize("error", [RuntimeError("operator torchvision::nms does not exist"), OSError("libc10_cuda.so")])
def test_broken_package_says_what_is_broken(monkeypatch: pytest.MonkeyPatch, error: Exception):
    def broken(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(UsageError, match=str(error)) as caught:
        require_cvvdp()
    assert caught.value.__cause__ is error


def test_what_the_package_is_given(monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, Any] = {}

    class Metric:
        def __init__(self, **options: Any) -> None:
            seen.update(options)

        def predict(self, estimate: np.ndarray, truth: np.ndarray, **options: Any) -> tuple[torch.Tensor, dict]:
            seen.update(options, estimate=estimate, truth=truth)
            return torch.tensor(8.5), {}

    monkeypatch.setattr(color_video_vdp, "require_cvvdp", lambda: SimpleNamespace(cvvdp=Metric))
    estimate, truth = noisy(clip(3), 0.1), clip(3)
    assert cvvdp_jod(estimate, truth, 30, device="cpu") == 8.5
    assert seen["display_name"] == "standard_hdr_linear"
    assert seen["device"] == torch.device("cpu")
    assert (seen["dim_order"], seen["frames_per_second"]) == ("FHWC", 30.0)
    assert seen["truth"].shape == seen["estimate"].shape == (3, 64, 96, 3)
    assert seen["truth"].dtype == seen["estimate"].dtype == np.float32
    np.testing.assert_allclose(seen["truth"], np.stack(truth) * 1500.0, rtol=1e-6)
    np.testing.assert_allclose(seen["estimate"], np.stack(estimate) * 1500.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("estimate", "rate", "text"),
    [
        (clip(3), 25.0, "4: give the same frames"),
        ([f[:-1] for f in clip()], 25.0, "same size"),
        ([*clip(3), np.full((64, 96, 3), np.nan)], 25.0, "NaN"),
        (clip(), 0.0, "frame rate"),
        (clip(), float("nan"), "frame rate"),
    ],
    ids=["length", "size", "nan", "rate 0", "rate nan"],
)
def test_refuses_before_the_package_is_asked(
    monkeypatch: pytest.MonkeyPatch, estimate: list[np.ndarray], rate: float, text: str
):
    monkeypatch.setattr(color_video_vdp, "require_cvvdp", lambda: pytest.fail("was asked"))
    with pytest.raises(InputError, match=text):
        cvvdp_jod(estimate, clip(), rate)


@pytest.mark.parametrize(
    ("frames", "text"),
    [([], "one at least"), ([np.zeros((64, 96))], "RGB"), ([np.zeros((8, 96, 3))], "larger frames")],
    ids=["none", "gray", "small"],
)
def test_refuses_frames(frames: list[np.ndarray], text: str):
    with pytest.raises(InputError, match=text):
        cvvdp_jod(frames, frames, 25.0)
