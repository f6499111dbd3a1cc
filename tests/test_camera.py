"""The camera: responses, noise, codecs, open shutters and what training draws."""

from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrvid.color.curves import gamma_linearize
from hdrvid.color.radiance import ldr_from_radiance
from hdrvid.data import camera as module
from hdrvid.data.camera import (
    H264_PRESETS,
    SynthesisOptions,
    camera_response,
    expose,
    film,
    open_shutter,
    perturb_tone,
    plain_camera,
    plain_stops,
    random_camera,
    random_stops,
    sensor_noise,
)
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synth_to_folder, synthesise
from hdrvid.errors import HdrvidError, InputError, UsageError
from hdrvid.io import video
from hdrvid.options.synth import SynthOptions
from hdrvid.types import ExposureCycle

CLEAN = SynthesisOptions(99.0, read_noise=0.0, full_well=None, bits=None)
NAMES = st.one_of(
    st.sampled_from(["gamma2.2", "srgb", "rec709", "linear"]),
    st.floats(1.8, 2.6).map(lambda g: f"gamma{g:.3f}"),
    st.tuples(st.floats(0.6, 1.2), st.floats(0.3, 0.9)).map(lambda v: f"sigmoid{v[0]:.3f},{v[1]:.3f}"),
)
SEEDS = st.integers(0, 2**32 - 1)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _window(num_frames: int = 3, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Smooth blobs that move by two pixels a frame, in radiance up to 1.5."""
    height, width = size
    picture = cv2.GaussianBlur(_rng(5).random((height, width + 16, 3)).astype(np.float32), (0, 0), 3)
    picture = 1.5 * ((picture - picture.min()) / np.ptp(picture)) ** 3
    return np.stack([picture[:, 2 * t : 2 * t + width] for t in range(num_frames)])


def _h264_camera(crf: float = 20.0, preset: str = "veryfast", bits: int = 8) -> SynthesisOptions:
    return replace(CLEAN, bits=bits, h264_crf=crf, h264_preset=preset)


# ---- responses -------------------------------------------------------------------------------------------------------


@given(NAMES)
def test_responses_rise_from_0_to_1_and_invert(name: str) -> None:
    response = camera_response(name)
    linear = np.linspace(0.0, 1.0, 2001)
    code = response.encode(linear)
    assert code[0] == 0
    assert code[-1] == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(code) > 0).all()
    np.testing.assert_allclose(response.linearize(code), linear, atol=1e-5)
    single = linear.astype(np.float32)
    assert response.encode(single).dtype == np.float32
    np.testing.assert_allclose(response.linearize(response.encode(single)), single, atol=1e-4)


def test_sigmoid_bends_both_ways_over_log_exposure() -> None:
    stops = np.linspace(-10, 0, 201)
    slope = np.diff(camera_response("sigmoid0.9,0.6").encode(2.0**stops))
    steepest = int(np.argmax(slope))
    assert 0 < steepest < len(slope) - 1
    assert (np.diff(slope[: steepest + 1]) > 0).all()
    assert (np.diff(slope[steepest:]) < 0).all()


@given(NAMES, st.floats(0.0, 4.0))
def test_perfect_camera_gives_the_network_code_in_every_response(name: str, stops: float) -> None:
    radiance = _rng(1).random((6, 6, 3)).astype(np.float32)
    code = expose(radiance, 2.0**stops, _rng(), replace(CLEAN, response=name))
    np.testing.assert_allclose(code, ldr_from_radiance(radiance, 2.0**stops), atol=2e-4)
    assert code.dtype == np.float32
    assert 0 <= code.min() <= code.max() <= 1


@given(NAMES, st.sampled_from([8, 10]))
def test_quantisation_steps_lie_in_the_camera_code(name: str, bits: int) -> None:
    radiance = np.linspace(0, 1, 192, dtype=np.float32).reshape(8, 8, 3)
    code = expose(radiance, 1.0, _rng(), replace(CLEAN, bits=bits, response=name))
    stored = camera_response(name).encode(gamma_linearize(code.astype(np.float64))) * (2**bits - 1)
    np.testing.assert_allclose(stored, np.round(stored), atol=0.02)
    wanted = camera_response(name).encode(radiance.astype(np.float64)) * (2**bits - 1)
    assert np.abs(stored - wanted).max() < 0.53


def test_jitter_leaves_a_tone_error_behind() -> None:
    radiance = np.full((4, 4, 3), 0.25, np.float32)
    for name in ("srgb", "sigmoid0.9,0.6"):
        response = camera_response(name)
        code = expose(radiance, 1.0, _rng(), replace(CLEAN, gamma_jitter=0.05, response=name))
        wrong = response.linearize(response.encode(radiance.astype(np.float64)) ** (1 / 1.05))
        np.testing.assert_allclose(gamma_linearize(code), wrong, rtol=1e-4)
        assert wrong[0, 0, 0] > 0.252


# ---- noise -----------------------------------------------------------------------------------------------------------


@given(st.floats(25, 6400), st.floats(2, 15))
def test_sensor_noise_is_constant_in_electrons(iso: float, electrons: float) -> None:
    read_noise, full_well = sensor_noise(iso, electrons)
    assert read_noise * full_well == pytest.approx(electrons)
    assert full_well * iso == pytest.approx(5_450_000)


@pytest.mark.parametrize("iso", [0.0, -100.0, float("nan"), float("inf")])
def test_impossible_isos_are_refused(iso: float) -> None:
    with pytest.raises(UsageError, match="ISO"):
        sensor_noise(iso)


@settings(max_examples=15)
@given(st.floats(100, 6400), st.floats(0.2, 0.7), NAMES)
def test_noise_has_the_variance_of_the_iso(iso: float, level: float, name: str) -> None:
    read_noise, full_well = sensor_noise(iso)
    camera = replace(CLEAN, read_noise=read_noise, full_well=full_well, response=name)
    flat = np.full((1, 100, 100, 3), level / 4, np.float32)
    linear = gamma_linearize(film(flat, [4.0], _rng(int(iso)), camera).astype(np.float64))
    variance = read_noise**2 + level / full_well
    # five standard errors of 30000 samples
    assert linear.mean() == pytest.approx(level, abs=5 * np.sqrt(variance / linear.size) + 1e-5)
    assert linear.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / linear.size) + 0.005)


# ---- film ------------------------------------------------------------------------------------------------------------


@given(NAMES, st.floats(0.5, 5.0), SEEDS)
def test_exposures_of_a_clean_film_differ_by_their_stops(name: str, stops: float, seed: int) -> None:
    still = np.repeat(_rng(seed).uniform(1e-3, 1.0, (1, 5, 7, 3)).astype(np.float32), 3, axis=0)
    exposures = [1.0, 2.0**stops, 1.0]
    codes = film(still, exposures, _rng(), replace(CLEAN, response=name))
    assert codes.shape == still.shape
    linear = gamma_linearize(codes.astype(np.float64))
    good = still[0] * 2.0**stops < 0.99
    np.testing.assert_allclose(np.log2(linear[1][good] / linear[0][good]), stops, atol=0.02)
    np.testing.assert_allclose(codes[1][still[0] * 2.0**stops > 1.001], 1.0, atol=1e-6)


@pytest.mark.parametrize("damage", [{}, {"jpeg_quality": (60, 90)}, {"h264_crf": (16.0, 30.0)}])
def test_film_is_the_same_for_the_same_seed(damage: dict) -> None:
    scene = _window()
    camera = replace(SynthesisOptions(), **damage)
    first, again, other = (film(scene, [1.0, 8.0, 1.0], _rng(seed), camera) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 0


def test_film_without_h264_is_frames_exposed_one_by_one() -> None:
    scene, camera, rng = _window(), replace(SynthesisOptions(), jpeg_quality=80).drawn(_rng(9)), _rng(2)
    codes = film(scene, [1.0, 4.0, 1.0], _rng(2), camera)
    for frame, exposure, code in zip(scene, [1.0, 4.0, 1.0], codes, strict=True):
        np.testing.assert_array_equal(code, expose(frame, exposure, rng, camera))


@given(st.sampled_from([(3, 64), (1, 10), (4, 3)]))
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, int]) -> None:
    frames, count = shape
    with pytest.raises(ValueError, match="exposures"):
        film(np.zeros((frames, 8, 8, 3), np.float32), [1.0] * count, _rng(), CLEAN)


def test_only_the_longest_exposure_blurs() -> None:
    sharp = _window(5)
    blurred = 0.5 * (sharp + np.roll(sharp, 3, axis=2))
    exposures = [4.0, 1.0, 2.0, 4.0, 1.0]
    seen = open_shutter(sharp, exposures, blurred)
    for t, exposure in enumerate(exposures):
        np.testing.assert_array_equal(seen[t], blurred[t] if exposure == 4.0 else sharp[t])
    with_blur = film(sharp, exposures, _rng(1), CLEAN, blurred=blurred)
    np.testing.assert_array_equal(with_blur, film(seen, exposures, _rng(1), CLEAN))
    np.testing.assert_array_equal(open_shutter(sharp, exposures, None), sharp)
    with pytest.raises(ValueError, match="blurred"):
        film(sharp, exposures, _rng(), CLEAN, blurred=blurred[:, 1:])


# ---- H.264 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(
    ("exposures", "size"), [([1.0, 8.0, 1.0], (48, 64)), ([16.0, 1.0, 4.0, 16.0, 1.0], (48, 64)), ([1.0], (33, 47))]
)
def test_h264_is_close_but_not_equal(exposures: list[float], size: tuple[int, int], bits: int) -> None:
    scene = _window(len(exposures), size)
    clean = film(scene, exposures, _rng(), replace(CLEAN, bits=bits))
    errors = []
    for crf in (4.0, 18.0, 34.0):
        coded = film(scene, exposures, _rng(), _h264_camera(crf, bits=bits))
        assert coded.shape == clean.shape
        assert coded.dtype == np.float32
        assert 0 <= coded.min() <= coded.max() <= 1
        errors.append(float(np.abs(coded - clean).mean()))
    assert 0 < errors[0] < errors[1] < errors[2] < 0.1
    assert errors[0] < 0.02


@pytest.mark.parametrize("bits", [8, 10])
def test_h264_keeps_flat_colours(bits: int) -> None:
    """The matrix, the range and the chroma planes are those of the decoder: a wrong one is off by several codes."""
    for colour in ([0.8, 0.2, 0.1], [0.1, 0.5, 0.9], [0.02, 0.02, 0.02], [1.0, 1.0, 1.0]):
        scene = np.broadcast_to(np.float32(colour), (3, 32, 32, 3))
        coded = film(scene, [1.0, 1.0, 1.0], _rng(), _h264_camera(1.0, bits=bits))
        np.testing.assert_allclose(coded, ldr_from_radiance(scene, 1.0), atol=1.6 / 255 if bits == 8 else 0.5 / 255)


@pytest.mark.parametrize("preset", H264_PRESETS)
def test_window_is_made_of_predicted_frames(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[int] = []
    decode = video.frame_codes
    monkeypatch.setattr(video, "frame_codes", lambda frame: kinds.append(frame.pict_type) or decode(frame))
    coded = film(_window(), [1.0, 8.0, 1.0], _rng(), _h264_camera(preset=preset))
    predicted = {int(av.video.frame.PictureType.P), int(av.video.frame.PictureType.B)}
    assert len(coded) == 3
    assert len(kinds) == 3
    assert set(kinds) <= predicted


def test_h264_noise_is_that_of_the_camera_without_it() -> None:
    noisy = replace(CLEAN, read_noise=3e-2, bits=8)
    scene = _window()
    plain, coded = (film(scene, [1.0] * 3, _rng(6), c) for c in (noisy, replace(noisy, h264_crf=4.0)))
    luma = np.float32([0.2126, 0.7152, 0.0722])
    noise, kept = ((codes - film(scene, [1.0] * 3, _rng(), CLEAN)) @ luma for codes in (plain, coded))
    assert np.corrcoef(noise.ravel(), kept.ravel())[0, 1] > 0.8


def test_h264_codes_frames_together_only() -> None:
    with pytest.raises(UsageError, match="together"):
        expose(_window()[0], 1.0, _rng(), _h264_camera())


def test_clip_in_memory_passes_h264_and_one_on_disk_does_not(tmp_path) -> None:
    scene = procedural_scene(3, 48, 32)
    cycle = ExposureCycle((0, 2))
    clean, coded, again = (synthesise(scene, cycle, 4, 1, c) for c in (CLEAN, _h264_camera(), _h264_camera()))
    for a, b, c in zip(clean.ldr, coded.ldr, again.ldr, strict=True):
        assert 0 < np.abs(a - b).mean() < 0.05
        np.testing.assert_array_equal(b, c)
    with pytest.raises(UsageError, match="video"):
        synth_to_folder(tmp_path / "out", SynthOptions(str(cycle), 2, (48, 32), 1), camera=_h264_camera())
    assert not (tmp_path / "out").exists()


def test_missing_encoder_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av, "CodecContext", type("Missing", (), {"create": staticmethod(create)}))
    with pytest.raises(UsageError, match="libx264"):
        film(_window(), [1.0, 2.0, 1.0], _rng(), _h264_camera())


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"h264_crf": 52.0}, UsageError, "h264_crf"),
        ({"h264_crf": (30.0, 16.0)}, UsageError, "h264_crf"),
        ({"h264_preset": "quick"}, UsageError, "veryfast"),
        ({"h264_crf": 20.0, "jpeg_quality": 80}, UsageError, "one codec"),
        ({"response": "log-c"}, InputError, "response"),
        ({"response": "sigmoid0,0.6"}, InputError, "above 0"),
        ({"response": "gamma9"}, InputError, "gamma"),
    ],
)
def test_impossible_cameras_are_refused(change: dict, error: type[HdrvidError], text: str) -> None:
    with pytest.raises(error, match=text):
        SynthesisOptions(**change)


def test_drawn_crf_is_in_its_range() -> None:
    camera = SynthesisOptions(h264_crf=(16.0, 30.0)).drawn(_rng(1))
    assert isinstance(camera.h264_crf, float)
    assert 16 <= camera.h264_crf <= 30
    assert camera == camera.drawn(_rng(2))
    with pytest.raises(ValueError, match="drawn"):
        module.drawn_value((16.0, 30.0))


# ---- what training draws ---------------------------------------------------------------------------------------------


def test_random_cameras_have_the_shares_they_promise() -> None:
    rng = _rng(11)
    cameras = [random_camera(rng) for _ in range(3000)]

    def share(values: list[bool]) -> float:
        return sum(values) / len(cameras)

    assert share([c.jpeg_quality is not None for c in cameras]) == pytest.approx(0.10, abs=0.02)
    assert share([c.h264_crf is not None for c in cameras]) == pytest.approx(0.25, abs=0.03)
    assert share([c.gamma_jitter != 0 for c in cameras]) == pytest.approx(0.10, abs=0.02)
    assert share([c.bits == 10 for c in cameras]) == pytest.approx(1 / 3, abs=0.03)
    assert share([c.response == "gamma2.2" for c in cameras]) == pytest.approx(0.45, abs=0.03)
    assert share([c.response.startswith("sigmoid") for c in cameras]) == pytest.approx(0.07, abs=0.02)
    assert {c.h264_preset for c in cameras} == {"ultrafast", "veryfast", "medium"}
    qualities = [c.jpeg_quality for c in cameras if c.jpeg_quality is not None]
    assert (min(qualities), max(qualities)) == (60, 97)
    wells = np.array([c.full_well for c in cameras], float)
    assert 850 <= wells.min() < 1000
    assert 200_000 < wells.max() <= 218_000
    assert np.median(wells) == pytest.approx(np.sqrt(851.6 * 218_000), rel=0.15)


@settings(max_examples=25)
@given(SEEDS)
def test_every_random_camera_films(seed: int) -> None:
    rng = _rng(seed)
    camera = random_camera(rng)
    assert camera == random_camera(_rng(seed))
    stops = random_stops(rng, 2)
    scene = _window(3, (32, 32))
    codes = film(scene, [1.0, 2.0 ** stops[1], 1.0], rng, camera)
    assert np.isfinite(codes).all()
    assert np.abs(codes[0] - ldr_from_radiance(scene[0], 1.0)).mean() < 0.15


@given(SEEDS)
def test_random_stops_make_cycles(seed: int) -> None:
    rng = _rng(seed)
    two, three = random_stops(rng, 2), random_stops(rng, 3)
    assert ExposureCycle(two).stops == two
    assert ExposureCycle(three).stops == three
    assert 1 <= two[1] <= 7
    assert all(1 <= step <= 3.5 for step in np.diff(three))


def test_random_stops_are_mostly_moderate_and_often_wide() -> None:
    rng = _rng(3)
    steps = np.array([random_stops(rng, 2)[1] for _ in range(3000)])
    assert (steps == 3).mean() == pytest.approx(0.3, abs=0.03)
    assert ((steps >= 2) & (steps <= 4)).mean() == pytest.approx(0.3 + 0.45 * 0.75, abs=0.03)
    assert (steps > 5).mean() == pytest.approx(0.25 * 2 / 3, abs=0.03)
    three = [random_stops(rng, 3) for _ in range(3000)]
    assert np.mean([s == (0, 2, 4) for s in three]) == pytest.approx(0.35, abs=0.03)
    assert np.mean([s[2] == 2 * s[1] for s in three]) == pytest.approx(0.6, abs=0.03)
    assert np.mean([s[2] > 5 for s in three]) == pytest.approx(0.15, abs=0.03)
    with pytest.raises(UsageError, match="2 or 3"):
        random_stops(rng, 4)


def test_plain_cameras_are_those_of_test_sets() -> None:
    rng = _rng(4)
    cameras = [plain_camera(rng) for _ in range(500)]
    assert all(c.h264_crf is None and c.jpeg_quality is None and not c.gamma_jitter for c in cameras)
    assert {c.response for c in cameras} == {"gamma2.2", "srgb", "rec709"}
    assert {c.bits for c in cameras} == {8, 10}
    steps = np.array([plain_stops(rng, 2)[1] for _ in range(1000)])
    assert (steps == 3).mean() == pytest.approx(0.6, abs=0.06)
    assert (steps >= 2).all()
    assert (steps <= 4).all()
    three = np.array([plain_stops(rng, 3) for _ in range(1000)])
    np.testing.assert_allclose(three[:, 2], 2 * three[:, 1])
    assert three[:, 1].min() >= 1.5
    assert three[:, 1].max() <= 2.5
    with pytest.raises(UsageError, match="2 or 3"):
        plain_stops(rng, 4)


@given(SEEDS, st.floats(0.01, 0.5))
def test_tone_perturbation_is_a_gamma_and_a_gain(seed: int, strength: float) -> None:
    code = np.linspace(0.05, 0.6, 90, dtype=np.float32).reshape(5, 6, 3)
    perturbed = perturb_tone(code, _rng(seed), strength)
    assert perturbed.dtype == np.float32
    for k in range(3):
        x, y = np.log(code[..., k].ravel()), np.log(perturbed[..., k].ravel())
        slope, offset = np.polyfit(x, y, 1)
        np.testing.assert_allclose(y, slope * x + offset, atol=1e-4)
        assert np.exp(-strength) - 1e-3 < slope < np.exp(strength) + 1e-3
        assert abs(offset) < strength / 2.2 + 1e-3
    np.testing.assert_array_equal(perturb_tone(code, _rng(seed), 0.0), code)
    assert perturb_tone(np.ones((2, 2, 3), np.float32), _rng(seed), strength).max() <= 1
