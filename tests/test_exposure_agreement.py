"""Channels of two frames make one colour only where both exposures tell of the same light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hdrvid.data.camera import SynthesisOptions, expose
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synthesise
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.models import exposure_agreement as module
from hdrvid.models.exposure_agreement import exposure_agreement
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import ExposureCycle, Window

CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8)
STILL = [np.zeros((128, 192, 2), np.float32)] * 2


def sky() -> np.ndarray:
    """Light (128, 192, 3) of a blue sky that the long frames clip in blue, above hills that none clips."""
    y, x = np.mgrid[:128, :192].astype(np.float32)
    light = np.float32([0.012, 0.02, 0.2]) * (1.2 - y / 160)[..., None]
    hills = y > 80 + 12 * np.sin(x / 17)
    light[hills] = np.float32([0.008, 0.012, 0.006]) * (1 + 0.3 * np.sin(x / 5))[hills][:, None]
    return light


def filmed(exposures: tuple[float, ...], errors: tuple[float, ...] = (1, 1, 1), camera: SynthesisOptions = CAMERA):
    return tuple(
        expose(sky(), e * error, np.random.default_rng(i), camera)
        for i, (e, error) in enumerate(zip(exposures, errors, strict=True))
    )


@pytest.mark.parametrize("exposures", [(32.0, 1.0, 32.0), (1.0, 32.0, 1.0)])
def test_wrong_exposures_and_colours_differ(exposures: tuple[float, ...]) -> None:
    assert exposure_agreement(filmed(exposures), exposures, STILL) == 1
    assert exposure_agreement(filmed(exposures, (1, 1.06, 1)), exposures, STILL) == 1
    assert exposure_agreement(filmed(exposures, (1, 1.3, 1)), exposures, STILL) == 0
    assert exposure_agreement(filmed(exposures, (1, 0.77, 1)), exposures, STILL) == 0


def test_blocks_are_kept_from_window_to_window_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = module._blocks
    monkeypatch.setattr(module, "_blocks", lambda frame, step: made.append(id(frame)) or make(frame, step))
    kept, exposures, turned = module.FrameBlocks(), (8.0, 1.0, 8.0), (1.0, 8.0, 1.0)
    first = filmed(exposures)
    second = first[1], *filmed((8.0, 1.0), (1, 1.3))
    alone = [exposure_agreement(first, exposures, STILL), exposure_agreement(second, turned, STILL)]
    made.clear()
    together = [exposure_agreement(first, exposures, STILL, blocks=kept)]
    together.append(exposure_agreement(second, turned, STILL, blocks=kept))
    assert together == alone == [1, 0]
    assert made == [id(frame) for frame in (*first, *second[1:])]


def test_nothing_to_compare_is_no_difference() -> None:
    exposures = (8.0, 1.0, 8.0)
    for code in (0.0, 1.0):
        frames = (np.full((128, 192, 3), code, np.float32),) * 3
        assert exposure_agreement(frames, exposures, STILL) == 1
    small = (np.full((3, 40, 3), 0.5, np.float32),) * 3
    assert exposure_agreement(small, exposures, [np.zeros((3, 40, 2), np.float32)] * 2) == 1
    equal = filmed((8.0, 8.0, 8.0), (1, 1.5, 1))
    assert exposure_agreement(equal, (8.0, 8.0, 8.0), STILL) == 1


@pytest.mark.parametrize("changes", [{}, {"crushed": 0.08}, {"h264_crf": (26.0, 26.0)}, {"contrast": 0.3}])
@pytest.mark.parametrize("stops", [3.0, 5.0])
def test_motion_noise_and_codecs_are_no_difference_and_curves_are(changes: dict[str, object], stops: float) -> None:
    camera = replace(CAMERA, **changes)  # type: ignore[arg-type]
    clip = synthesise(procedural_scene(3, 320, 192, 6, motion=2.0), ExposureCycle((0.0, stops)), 6, 1, camera)
    found = []
    for index in (2, 3):
        indices = clip.cycle.window_indices(index, 6)
        frames, exposures = [clip.ldr[i] for i in indices], [clip.cycle.exposure_at(i) for i in indices]
        black = 0.08 if "crushed" in changes else 0.0
        forward, _ = DenseInverseSearch(1, compiled=True).window(frames, exposures, None, black)
        found.append(exposure_agreement(frames, exposures, list(forward), black))
    assert (max(found) < 0.5) if "contrast" in changes else (min(found) == 1), found


@pytest.mark.parametrize("model", ["default", "fast"])
def test_a_wrong_exposure_does_not_change_the_hue(model: str) -> None:
    """Blue of one frame beside red and green of another, 1.3 times as bright, would turn the sky."""
    exposures = (1.0, 32.0, 1.0)
    runner = load_reconstructor(model, 2, device="cpu", precision="fp32")
    made = runner.reconstruct(Window(1, filmed(exposures, (1, 1.3, 1)), exposures)).radiance
    patch, truth = (picture[10:60, 20:170].mean((0, 1)) for picture in (made, sky()))
    assert np.abs(patch / patch.sum() - truth / truth.sum()).max() < 0.02
