"""The preview's tone curves: finite, monotonic, steady over time, and true to hue."""

from __future__ import annotations

import numpy as np
import pytest

from hdrvid.color.tonemap import OPERATORS, HistogramCurve, Tonemapper, drago_curve, filmic_curve, reinhard_curve
from hdrvid.errors import InputError, UsageError

H, W = 180, 320


def picture(seed: int = 0) -> np.ndarray:
    """A smooth scene of about 8 stops around 0.2."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(-5, 2, W, dtype=np.float32)[None, :, None] + np.linspace(-0.5, 0.5, H)[:, None, None]
    return np.exp2(ramp + 0.3 * rng.standard_normal((1, 1, 3))).astype(np.float32)


each_operator = pytest.mark.parametrize("operator", OPERATORS)


@each_operator
def test_shape_and_type(operator):
    out = Tonemapper(operator)(picture())
    assert out.shape == (H, W, 3)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous


@each_operator
def test_shadows_and_highlights_are_both_visible(operator):
    out = Tonemapper(operator, max_value=8)(picture()).mean(axis=(0, 2))
    assert out[0] > 15
    assert out[-1] < 253
    assert 70 < np.median(out) < 190


@each_operator
def test_monotonic_in_luminance(operator):
    grey = np.concatenate([[0], np.geomspace(1e-5, 100, 2047)]).astype(np.float32)
    frame = np.repeat(grey[None, :, None], 3, axis=2)
    out = Tonemapper(operator, max_value=8)(frame).astype(int)[0]
    assert (np.diff(out, axis=0) >= 0).all()
    assert (np.ptp(out, axis=1) <= 1).all()
    assert out[0, 0] == 0
    assert out[-1, 0] == 255


@each_operator
def test_monotonic_in_a_saturated_colour(operator):
    level = np.geomspace(1e-4, 50, 1500, dtype=np.float32)
    frame = (level[:, None] * np.float32([1, 0.15, 0.05]))[None]
    out = Tonemapper(operator)(frame).astype(int)[0]
    luminance = np.array([0.2126, 0.7152, 0.0722]) @ ((out / 255.0) ** 2.2).T
    # 8-bit rounding of each channel may take back a little
    assert (np.diff(luminance) > -0.01).all()


@each_operator
@pytest.mark.parametrize("value", [0.0, 1e-8, 1.0, 8.0, 1e6, 3e38, np.inf, np.nan, -1.0])
def test_extremes_are_finite_pictures(operator, value):
    tonemap = Tonemapper(operator)
    frame = np.full((16, 16, 3), value, np.float32)
    for _ in range(3):
        out = tonemap(frame)
    assert np.ptp(out) <= 1
    if not value > 1e-6:
        assert out.max() == 0
    if value >= 1e6 and operator == "mulaw":
        assert out.min() == 255
    # and the state has survived them
    assert 20 < np.median(tonemap(picture())) < 250


@each_operator
def test_one_nan_stays_one_pixel(operator):
    clean, broken = picture(), picture()
    broken[10, 10] = np.nan
    a, b = Tonemapper(operator)(clean), Tonemapper(operator)(broken)
    differs = np.abs(a.astype(int) - b.astype(int)).max(axis=2) > 1
    assert differs.sum() <= 1
    assert (b[10, 10] == 0).all()


@each_operator
@pytest.mark.parametrize("level", [8.0, 1000.0])
def test_a_highlight_does_not_darken_the_rest(operator, level):
    tonemap = Tonemapper(operator, max_value=8)
    plain, lit = picture(), picture()
    lit[20:60, 30:70] = level
    before = tonemap(plain).astype(int)
    for _ in range(48):
        after = tonemap(lit).astype(int)
        rest = np.abs(after - before)
        rest[20:60, 30:70] = 0
        assert rest.max() <= 1
    assert after[40, 50].min() >= before[40, 50].max()


@each_operator
def test_a_static_scene_with_noise_keeps_its_brightness(operator):
    rng = np.random.default_rng(1)
    tonemap = Tonemapper(operator)
    clean = picture()
    means = []
    for i in range(30):
        # short frames are noisier than long ones
        noise = (0.02 if i % 2 else 0.004) * rng.standard_normal(clean.shape).astype(np.float32)
        means.append(tonemap(np.maximum(clean + noise, 0)).mean())
    assert np.ptp(means) < 1


@pytest.mark.parametrize("operator", ["neutral", "reinhard", "drago", "mantiuk", "filmic"])
def test_no_pumping_between_odd_and_even_frames(operator):
    tonemap = Tonemapper(operator)
    clean = picture()
    outs = [tonemap(clean * np.float32(1.1 if i % 2 else 1.0)) for i in range(20)]
    assert all(np.array_equal(o, outs[0]) for o in outs[2::2])
    assert all(np.array_equal(o, outs[1]) for o in outs[3::2])


@pytest.mark.parametrize("operator", ["neutral", "reinhard", "drago", "mantiuk", "filmic"])
def test_a_lamp_and_a_flickering_gain_do_not_pump(operator):
    """Every other frame is 4 % brighter, and a lamp comes on: the rest of the picture follows the gain and no more."""
    tonemap = Tonemapper(operator, max_value=8)
    outs = []
    for i in range(60):
        frame = picture() * np.float32(0.98 if i % 2 else 1.02)
        if i >= 20:
            frame[:60, :60] = 8.0  # 6 % of the picture
        outs.append(tonemap(frame)[60:].astype(int))
    for a, b in zip(outs, outs[2:], strict=False):
        assert np.abs(b - a).max() <= 1, "two frames of one gain differ by no more than a slow drift"
    for parity in (0, 1):
        drift = np.diff([o.mean() for o in outs[20 + parity :: 2]])
        assert drift.max() <= 0.01, "the eye adapts to a lamp in one direction"
    assert np.abs(outs[0].mean() - outs[-2].mean()) < 6
    assert np.abs(outs[-1] - outs[-2]).max() <= 4, "4 % of light, through the slope of the steepest curve"


def test_the_mantiuk_curve_follows_the_scene_in_about_a_second():
    """Half a picture of daylight, then a dark room: the curve moves all the time, the same way, and comes to rest."""
    tonemap = Tonemapper("mantiuk", max_value=8, frames_per_second=10)
    probe = np.full((1, 1, 3), 0.02, np.float32)
    bright, dark = picture() * 2, picture() / 16
    tonemap(bright)
    levels = []
    for _ in range(60):
        tonemap(dark)
        curve = tonemap._histogram_curve
        levels.append(float(curve(probe[..., 0].astype(float))[0, 0]))
    steps = np.diff(levels)
    assert (steps >= -1e-9).all(), "the dark room becomes clearer"
    assert levels[-1] > 1.3 * levels[0]
    done = (np.array(levels) - levels[0]) / (levels[-1] - levels[0])
    assert 0.3 < done[9] < 0.85
    assert done[30] > 0.9


def test_the_mantiuk_curve_solves_its_optimisation():
    """The slopes fill the display's range, and no exchange of slope between two bins lowers the loss of contrast."""
    rng = np.random.default_rng(3)
    curve = HistogramCurve(white=8.0, follow=0.1)
    logs = np.concatenate([rng.normal(-5, 0.7, 3000), rng.normal(0.5, 0.5, 1000)])
    curve.update(logs)
    slopes = curve.slopes
    assert slopes.sum() * curve.BIN_STOPS == pytest.approx(curve.DISPLAY_STOPS, rel=1e-6)
    assert slopes.min() >= curve.MIN_SLOPE
    assert slopes.max() <= 1
    weight = (1 - curve.PRIOR) * curve._histogram + curve.PRIOR * curve._prior + 1e-6

    def loss(s):
        return float((weight * (1 - s) ** 2).sum())

    best = loss(slopes)
    for i in range(len(slopes)):
        for j in range(len(slopes)):
            other = slopes.copy()
            other[i] += 1e-3
            other[j] -= 1e-3
            if i != j and other[i] <= 1 and other[j] >= curve.MIN_SLOPE:
                assert loss(other) >= best - 1e-9, (i, j)
    centres = np.arange(-5, -4, 0.5)
    crowd = np.interp(centres, curve._edges[:-1], slopes)
    empty = np.interp([-1.75, -13], curve._edges[:-1], slopes)
    assert crowd.min() > 1.4 * empty.max(), "contrast goes where the pixels are"
    assert curve(np.array([8.0, 100.0, 0.0])) == pytest.approx([1, 1, 0])


@pytest.mark.parametrize("operator", ["neutral", "reinhard", "drago", "filmic"])
def test_the_key_follows_the_scene_in_about_a_second(operator):
    tonemap = Tonemapper(operator, frames_per_second=10)
    frame = picture()
    tonemap(frame)
    start = tonemap.gain
    for _ in range(10):
        tonemap(frame / 8)
    after_one_second = np.log2(tonemap.gain / start)
    for _ in range(90):
        tonemap(frame / 8)
    settled = np.log2(tonemap.gain / start)
    assert 0 < settled < 3, "a dark scene is lifted, but stays darker"
    assert after_one_second == pytest.approx(settled * (1 - np.exp(-1)), rel=0.05)


@pytest.mark.parametrize("operator", ["neutral", "reinhard", "drago", "mantiuk", "filmic"])
def test_a_fade_to_black_does_not_move_the_key(operator):
    tonemap = Tonemapper(operator)
    first = tonemap(picture())
    for _ in range(100):
        assert tonemap(np.zeros((H, W, 3), np.float32)).max() == 0
    assert np.array_equal(tonemap(picture()), first)


@pytest.mark.parametrize("operator", ["neutral", "reinhard", "drago", "mantiuk", "filmic"])
def test_hue_is_kept_and_bright_colours_fade_to_white(operator):
    level = np.float32([0.05, 0.2, 1, 4, 30])
    orange = np.float32([1.0, 0.4, 0.1])
    frame = np.tile((level[:, None] * orange)[None], (8, 8, 1))
    out = Tonemapper(operator, max_value=8)(frame)[0, :5].astype(float) / 255
    linear = np.where(out <= 0.04045, out / 12.92, ((out + 0.055) / 1.055) ** 2.4)
    assert (np.diff(linear, axis=1) <= 0).all(), "red >= green >= blue throughout"
    hue = (linear[:3, 1] - linear[:3, 2]) / (linear[:3, 0] - linear[:3, 2])
    assert hue == pytest.approx((0.4 - 0.1) / (1 - 0.1), abs=0.06)
    saturation = 1 - linear.min(axis=1) / linear.max(axis=1)
    assert saturation[0] == pytest.approx(0.9, abs=0.06)
    # 30 is 4 times what the clip can hold; neutral has half of the colour left where that ends
    assert saturation[4] < (0.2 if operator == "neutral" else 0.1)
    assert (np.diff(saturation) < 0.02).all()


def test_mulaw_is_the_papers_formula():
    frame = picture()
    out = Tonemapper("mulaw", max_value=8)(frame)
    expected = 255 * np.log(1 + 5000 * np.clip(frame / 8, 0, 1)) / np.log(5001)
    assert np.abs(out - expected).max() < 0.75


def test_curves_against_hand_computed_values():
    assert reinhard_curve(np.array([0.0, 1.0, 4.0, 9.0]), 4.0) == pytest.approx([0, 1.0625 / 2, 1, 1])
    assert filmic_curve(np.array([0.0, 11.2, 20.0]), 11.2) == pytest.approx([0, 1, 1], abs=1e-12)
    # log10 of 1 + x and of 10, over the log10 of the base: 2 in the dark, 2 + 8 * 0.85 = 8.8 in the middle
    assert drago_curve(np.array([0.0, 4.5, 9.0, 99.0]), 9.0) == pytest.approx(
        [0, np.log10(5.5) / np.log10(2 + 8 * 0.85), 1, 1], rel=1e-6
    )
    f1 = (0.15 + 0.05 + 0.004) / (0.15 + 0.5 + 0.06) - 0.02 / 0.3
    f112 = (11.2 * (1.68 + 0.05) + 0.004) / (11.2 * (1.68 + 0.5) + 0.06) - 0.02 / 0.3
    assert filmic_curve(np.array([1.0]), 11.2) == pytest.approx([f1 / f112])


@each_operator
def test_deterministic(operator):
    frames = [picture(i) * np.float32(1 + 0.2 * i) for i in range(4)]
    a, b = Tonemapper(operator), Tonemapper(operator)
    assert all(np.array_equal(a(f), b(f)) for f in frames)


@each_operator
def test_views_and_half_floats_give_the_same_picture(operator):
    frame = picture().astype(np.float16)
    whole = Tonemapper(operator)(frame.astype(np.float32))
    assert np.array_equal(Tonemapper(operator)(frame), whole)
    mirrored = Tonemapper(operator)(frame.astype(np.float32)[:, ::-1])[:, ::-1]
    assert np.abs(mirrored.astype(int) - whole).max() <= 1


def test_input_is_not_changed():
    frame = picture()
    frame[0, 0] = np.nan
    copy = frame.copy()
    Tonemapper()(frame)
    assert np.array_equal(frame, copy, equal_nan=True)


def test_bad_arguments():
    with pytest.raises(UsageError, match="neutral, reinhard, drago, mantiuk, filmic, mulaw"):
        Tonemapper("durand")
    with pytest.raises(UsageError, match="max_value"):
        Tonemapper(max_value=0)
    with pytest.raises(UsageError, match="frames_per_second"):
        Tonemapper(frames_per_second=float("nan"))
    with pytest.raises(InputError, match="height, width, 3"):
        Tonemapper()(np.zeros((4, 4), np.float32))
