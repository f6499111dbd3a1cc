"""Alternating exposures: the camera's noise and code, clips in memory and on disk."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hdrvid.color.curves import gamma_linearize
from hdrvid.color.radiance import ldr_from_radiance, mu_law, radiance_from_ldr
from hdrvid.data.camera import SynthesisOptions, expose, normalise
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synth_to_folder, synthesise
from hdrvid.errors import InputError, OutputError, UsageError
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.options.synth import SynthOptions
from hdrvid.types import ExposureCycle

STOPS = "0,3"
CYCLE = ExposureCycle((0, 3))
CLEAN = SynthesisOptions(99.0, read_noise=0.0, full_well=None, bits=None)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _radiance(seed: int = 1) -> np.ndarray:
    return np.exp(_rng(seed).normal(-2, 1.5, (24, 32, 3))).astype(np.float32)


def test_perfect_camera_is_the_photometry_of_hdrvid() -> None:
    radiance = _radiance()
    for exposure in (1.0, 8.0):
        code = expose(radiance, exposure, _rng(), CLEAN)
        np.testing.assert_allclose(code, ldr_from_radiance(radiance, exposure), atol=1e-6)
        assert code.dtype == np.float32


@pytest.mark.parametrize("level", [0.02, 0.3])
def test_noise_has_the_variance_of_the_model(level: float) -> None:
    options = replace(CLEAN, read_noise=2e-3, full_well=5000.0)
    flat = np.full((200, 200, 3), level / 8, np.float32)
    linear = gamma_linearize(expose(flat, 8.0, _rng(), options).astype(np.float64))
    assert linear.mean() == pytest.approx(level, rel=2e-3)
    assert linear.var() == pytest.approx(2e-3**2 + level / 5000, rel=0.03)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_codes_are_quantised(bits: int) -> None:
    code = expose(_radiance(), 1.0, _rng(), replace(CLEAN, bits=bits)).astype(np.float64) * (2**bits - 1)
    np.testing.assert_allclose(code, np.round(code), atol=0.01)


def test_codec_damage_is_small_but_there() -> None:
    smooth = cv2.GaussianBlur(_radiance(), (0, 0), 3)
    clean = expose(smooth, 1.0, _rng(), replace(CLEAN, bits=8))
    low, high = (expose(smooth, 1.0, _rng(), replace(CLEAN, bits=8, jpeg_quality=q)) for q in (30, 95))
    assert 0 < np.abs(high - clean).mean() < np.abs(low - clean).mean() < 0.1


def test_gamma_jitter_bends_the_response() -> None:
    radiance = np.full((4, 4, 3), 0.25, np.float32)
    code = expose(radiance, 1.0, _rng(), replace(CLEAN, gamma_jitter=0.1))
    np.testing.assert_allclose(code, 0.25 ** (1 / 2.42), rtol=1e-5)


def test_ranges_are_drawn_once() -> None:
    camera = SynthesisOptions(jpeg_quality=(80, 90), gamma_jitter=(-0.1, 0.1)).drawn(_rng(4))
    assert camera == camera.drawn(_rng(5))
    assert 98.5 <= camera.clip_percentile <= 99.95
    assert 1e-3 <= camera.read_noise <= 3e-3
    assert 80 <= camera.jpeg_quality <= 90
    assert camera != SynthesisOptions(jpeg_quality=(80, 90), gamma_jitter=(-0.1, 0.1)).drawn(_rng(6))


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 9},
        {"read_noise": -1.0},
        {"read_noise": (3e-3, 1e-3)},
        {"full_well": 0.0},
        {"jpeg_quality": 101},
        {"clip_percentile": 120.0},
        {"gamma_jitter": float("nan")},
    ],
)
def test_impossible_cameras_are_refused(change: dict) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(change))}|8, 10, 12 or 16 bits"):
        SynthesisOptions(**change)


def test_normalise_puts_the_percentile_of_the_middle_frame_at_one() -> None:
    frames = [_radiance(k) * (k + 1) for k in range(3)]
    scaled, scale = normalise(frames, 97.0)
    assert np.percentile(scaled[1].max(-1), 97.0) == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(scaled[2] * scale, frames[2], rtol=1e-5)


def test_normalise_refuses_the_dark() -> None:
    with pytest.raises(InputError, match="black"):
        normalise([np.zeros((4, 4, 3), np.float32)], 99.0)
    with pytest.raises(InputError, match="no frames"):
        normalise([], 99.0)


def test_clip_alternates_and_is_seeded() -> None:
    scene = procedural_scene(3, 48, 32)
    clip = synthesise(scene, ExposureCycle((0, 2, 4)), 4, seed=5)
    again = synthesise(scene, ExposureCycle((0, 2, 4)), 4, seed=5)
    other = synthesise(scene, ExposureCycle((0, 2, 4)), 4, seed=6)
    assert len(clip.ldr) == len(clip.truth) == 4
    for a, b, c in zip(clip.ldr, again.ldr, other.ldr, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 0
    brightness = [frame.mean() for frame in clip.ldr]
    assert brightness[0] < brightness[1] < brightness[2] > brightness[3]
    for t, (ldr, truth) in enumerate(zip(clip.ldr, clip.truth, strict=True)):
        exposure = clip.cycle.exposure_at(t)
        good = (truth * exposure < 0.8) & (truth * exposure > 0.2)
        estimate = radiance_from_ldr(ldr, exposure)
        np.testing.assert_allclose(np.median(estimate[good] / truth[good]), 1.0, atol=0.03)
    with pytest.raises(UsageError, match="at least one frame"):
        synthesise(scene, CYCLE, 0, seed=1)


def _frames(folder: Path) -> list[np.ndarray]:
    files = sorted((folder / "frames").glob("*.png"))
    stored = [cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in files]
    assert all(s.dtype == np.uint16 for s in stored)
    return [s[..., ::-1].astype(np.float32) / 65535 for s in stored]


def _truth(folder: Path) -> list[np.ndarray]:
    return [read_exr(f)[0] for f in sorted((folder / "truth").glob("truth.*.exr"))]


def _check_agreement(frames: list[np.ndarray], truth: list[np.ndarray], cycle: ExposureCycle, atol: float) -> None:
    assert len(frames) == len(truth) > 0
    for t, (code, radiance) in enumerate(zip(frames, truth, strict=True)):
        assert code.shape == radiance.shape
        error = code - ldr_from_radiance(radiance, cycle.exposure_at(t))
        assert np.abs(error).mean() < atol


def test_folder_holds_clip_and_truth(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    facts = synth_to_folder(
        tmp_path / "a" / "b", SynthOptions(STOPS, 4, (63, 41), 2), progress=lambda i, n: calls.append((i, n))
    )
    out = tmp_path / "a" / "b"
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert sorted(p.name for p in out.iterdir()) == ["Exposures.txt", "frames", "synth.json", "truth"]
    assert [p.name for p in sorted((out / "frames").iterdir())] == [f"{t:06d}.png" for t in range(4)]
    assert [p.name for p in sorted((out / "truth").iterdir())] == [f"truth.{t:06d}.exr" for t in range(4)]
    assert (out / "Exposures.txt").read_text() == "0\n3\n"
    assert json.loads((out / "synth.json").read_text()) == facts
    assert facts["stops"] == [0.0, 3.0]
    assert facts["size"] == [63, 41]
    assert facts["scene"].startswith("procedural")
    frames, truth = _frames(out), _truth(out)
    _check_agreement(frames, truth, CYCLE, 0.03)
    # the shortest exposure clips a little, and only a little
    assert 0 < (truth[0].max(-1) > 1).mean() < 0.03
    assert read_exr(out / "truth" / "truth.000000.exr")[1]["hdrvid:white"] == "shortest"


def test_folder_is_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        synth_to_folder(tmp_path / name, SynthOptions(STOPS, 2, (40, 32), 9 if name == "c" else 8))
    first, second, other = (_frames(tmp_path / name) for name in "abc")
    np.testing.assert_array_equal(first, second)
    assert np.abs(np.array(first) - np.array(other)).max() > 0


def test_video_decodes_to_the_exposures(tmp_path: Path) -> None:
    import av

    facts = synth_to_folder(tmp_path, SynthOptions(STOPS, 4, (96, 64), 4, video=True))
    assert facts["clip"] == "clip.mp4"
    assert not (tmp_path / "frames").exists()
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 24
        frames = [f.to_ndarray(format="rgb24").astype(np.float32) / 255 for f in container.decode(video=0)]
    _check_agreement(frames, _truth(tmp_path), CYCLE, 0.05)
    with pytest.raises(UsageError, match="even"):
        synth_to_folder(tmp_path / "odd", SynthOptions(STOPS, 2, (97, 64), 4, video=True))
    assert not (tmp_path / "odd").exists()


@pytest.mark.parametrize(("shape", "kind"), [((48, 96, 3), "panorama"), ((50, 70, 3), "still")])
def test_picture_as_source(tmp_path: Path, shape: tuple[int, int, int], kind: str) -> None:
    picture = cv2.GaussianBlur(np.exp(_rng(2).normal(0, 1, shape)).astype(np.float32), (0, 0), 2)
    write_exr(tmp_path / "in.exr", picture)
    facts = synth_to_folder(tmp_path / "out", SynthOptions(STOPS, 2, (64, 48), 0), source=tmp_path / "in.exr")
    assert (facts["scene"], facts["source"]) == (kind, "in.exr")
    _check_agreement(_frames(tmp_path / "out"), _truth(tmp_path / "out"), CYCLE, 0.03)


def test_folder_of_frames_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    frames = [_radiance(k) for k in range(3)]
    for k, frame in enumerate(frames):
        write_exr(tmp_path / "in" / f"f{9 + k}.exr", frame)
    facts = synth_to_folder(tmp_path / "out", SynthOptions(STOPS, 3, (32, 24), 0), source=tmp_path / "in")
    assert facts["scene"] == "frames"
    for frame, truth in zip(frames, _truth(tmp_path / "out"), strict=True):
        np.testing.assert_allclose(mu_law(truth), mu_law(frame / facts["scene_units_of_white"]), atol=2e-3)
    synth_to_folder(tmp_path / "small", SynthOptions(STOPS, 3, (12, 12), 0), source=tmp_path / "in")
    assert _truth(tmp_path / "small")[0].shape == (12, 12, 3)
    with pytest.raises(InputError, match="--frames 3 or less"):
        synth_to_folder(tmp_path / "out", SynthOptions(STOPS, 4, (32, 24), 0), source=tmp_path / "in")


def test_sources_that_cannot_be_used(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    for source, text in (("missing.exr", "does not exist"), ("a.png", "not an HDR image"), (".", "not HDR")):
        with pytest.raises(InputError, match=text):
            synth_to_folder(tmp_path / "out", SynthOptions(STOPS, 2, (32, 24), 0), source=tmp_path / source)
    (tmp_path / "dark").mkdir()
    for k in range(2):
        write_exr(tmp_path / "dark" / f"{k}.exr", np.zeros((24, 48, 3), np.float32))
    with pytest.raises(InputError, match="black"):
        synth_to_folder(tmp_path / "out", SynthOptions(STOPS, 2, (32, 24), 0), source=tmp_path / "dark")
    assert not (tmp_path / "out").exists()


def test_output_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        synth_to_folder(tmp_path / "file", SynthOptions(STOPS, 2, (32, 24), 0))
    with pytest.raises(UsageError, match="at least one frame"):
        synth_to_folder(tmp_path / "out", SynthOptions(STOPS, 0, (32, 24), 0))


def test_frames_have_independent_noise() -> None:
    scene = procedural_scene(1, 40, 32)
    clean, noisy = (synthesise(scene, CYCLE, 4, 7, replace(CLEAN, read_noise=n)) for n in (0.0, 1e-2))
    noise = [a - b for a, b in zip(clean.ldr, noisy.ldr, strict=True)]
    assert min(float(np.std(n)) for n in noise) > 1e-3
    assert abs(np.corrcoef(noise[0].ravel(), noise[2].ravel())[0, 1]) < 0.2
