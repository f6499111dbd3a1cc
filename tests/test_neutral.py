"""The default display transform: grey stays grey, hue and saturation are the scene's, light fades to white smoothly."""

from __future__ import annotations

import numpy as np
import pytest

from hdrvid.color.gamuts import GAMUTS, REC709, conversion_matrix
from hdrvid.color.hdr_signals import pq_encode
from hdrvid.color.neutral import MIDDLE_GREY, MIN_WHITE_STOPS, fade, log_sigmoid, neutral, white_value
from hdrvid.color.oklab import oklab_to_rgb, rgb_to_oklab
from hdrvid.color.tonemap import Tonemapper
from hdrvid.options.reconstruct import ReconstructOptions
from hdrvid.options.report import ReportOptions

COLOURS = {
    "red": (1, 0.03, 0.02),
    "orange": (1, 0.3, 0.03),
    "amber": (1, 0.5, 0.04),
    "yellow": (1, 0.9, 0.05),
    "green": (0.06, 1, 0.08),
    "cyan": (0.05, 0.8, 1),
    "blue": (0.03, 0.06, 1),
    "violet": (0.3, 0.03, 1),
    "magenta": (1, 0.04, 0.8),
    "pink": (1, 0.12, 0.4),
}
"""Linear light of lamps and signs."""
STOPS = np.linspace(-6, 6, 97)
"""Exposures of a colour's largest channel from middle grey; 5.5 is white at three stops."""
each_white = pytest.mark.parametrize("max_value", [2.0**stops for stops in range(1, 8)])


def linear(codes: np.ndarray) -> np.ndarray:
    """Light of 8-bit sRGB codes."""
    value = codes / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def swept(colour, max_value: float = 8.0) -> np.ndarray:
    """(97, 3) codes of a colour over STOPS."""
    light = MIDDLE_GREY * 2.0 ** STOPS[:, None] * np.array(colour, float)
    return neutral(light[None].astype(np.float32), max_value=max_value)[0]


def saturation(codes: np.ndarray) -> np.ndarray:
    """1 - smallest code / largest code."""
    return 1 - codes.min(-1) / np.maximum(codes.max(-1), 1)


def chroma_ictcp(light: np.ndarray) -> np.ndarray:
    """Chroma of linear Rec. 709 as complex numbers in ICtCp (ITU-R BT.2100), 1.0 at 100 cd/m2."""
    rec2020 = light @ conversion_matrix(REC709, GAMUTS["rec2020"]).T
    lms = rec2020 @ np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]).T / 4096
    ct, cp = np.array([[6610, -13613, 7003], [17933, -17390, -543]]) / 4096 @ np.asarray(pq_encode(lms * 100)).T
    return ct + 1j * cp


def hue_errors(codes: np.ndarray, colour) -> tuple[float, float]:
    """Largest error of hue in degrees where there is colour: in Oklab, and in ICtCp at equal luminance."""
    shown = linear(codes)
    luminance = np.array([0.2126, 0.7152, 0.0722])
    same = np.outer(shown @ luminance / (np.array(colour) @ luminance), colour)
    lab, lab_same = rgb_to_oklab(shown), rgb_to_oklab(same)
    pairs = [
        (lab[:, 1] + 1j * lab[:, 2], lab_same[:, 1] + 1j * lab_same[:, 2], 0.05),
        (chroma_ictcp(shown), chroma_ictcp(same), 0.03),
    ]
    lit = shown.max(-1) > 0.02  # darker, 8 bits decide
    oklab, ictcp = (
        float(np.abs(np.degrees(np.angle(a * b.conj())))[lit & (np.abs(a) > least)].max()) for a, b, least in pairs
    )
    return oklab, ictcp


# ---- the curve -------------------------------------------------------------------------------------------------------


@each_white
def test_the_curve_rises_from_black_to_white_through_grey(max_value):
    white = white_value(max_value)
    x = np.concatenate([[0.0], np.geomspace(1e-6, 1000, 20001)])
    y = log_sigmoid(x, white)
    assert (np.diff(y) >= 0).all()
    assert log_sigmoid(np.array([0.0, MIDDLE_GREY * 2.0**-10, MIDDLE_GREY, white, 1e4]), white) == pytest.approx(
        [0, 0, MIDDLE_GREY, 1, 1], abs=1e-9
    )
    inside = (x > MIDDLE_GREY * 2.0**-6) & (x < 0.99 * white)
    slope = np.diff(np.log(y[inside])) / np.diff(np.log(x[inside]))
    assert np.abs(np.diff(slope)).max() < 0.02, "no kink"
    near_grey = np.abs(np.log2(x[inside][1:] / MIDDLE_GREY)) < 0.1
    assert slope[near_grey] == pytest.approx(1.03, abs=0.05), "the contrast of the camera"


def test_the_curve_against_a_hand_computed_value():
    """Two stops above middle grey, white 6.5 above: 1 / l^2 = 1 / (1 - y0)^2 - 1 / (6.5 x 2.4 / 16.5)^2."""
    grey = 0.18 ** (1 / 2.4)
    d, end = 2 * 2.4 / 16.5, 6.5 * 2.4 / 16.5
    expected = (grey + d / np.sqrt(1 + d * d * ((1 - grey) ** -2 - end**-2))) ** 2.4
    assert log_sigmoid(np.array([0.72]), 0.18 * 2**6.5) == pytest.approx([expected])


def test_a_white_without_a_shoulder_is_refused():
    with pytest.raises(ValueError, match="stops above"):
        log_sigmoid(np.array([0.1]), 0.9 * white_value(0.1))
    assert white_value(0.1) == pytest.approx(MIDDLE_GREY * 2**MIN_WHITE_STOPS)


@each_white
def test_the_largest_value_of_a_clip_is_white(max_value):
    shown = neutral(np.full((2, 2, 3), max_value, np.float32), max_value=max_value)
    assert shown.min() >= (250 if max_value < 2.2 else 255)


def test_the_fade_begins_at_nothing_and_ends_at_all():
    x = np.geomspace(1e-3, 1e6, 4001)
    share = fade(x, 8.0)
    assert (share[x <= 0.5] == 0).all()
    assert fade(np.array([8.0]), 8.0) == pytest.approx([0.5])
    assert (np.diff(share) >= 0).all()
    assert np.diff(share).max() < 0.01
    assert share[-1] > 0.999


# ---- what it does to colours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [0.3, 1.0, 1.72, 16.0])
@each_white
def test_grey_stays_grey_to_the_bit(gain, max_value):
    half = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    level = np.concatenate([half, np.random.default_rng(1).uniform(0, max_value, 60_000).astype(np.float32)])
    shown = neutral(np.repeat(level[None, :, None], 3, 2), max_value=max_value, gain=gain)[0]
    assert (np.ptp(shown, axis=1) == 0).all()
    order = np.argsort(level, kind="stable")
    assert (np.diff(shown[order, 0].astype(int)) >= 0).all()
    assert shown[0, 0] == 0


def test_grey_among_colours_stays_grey_to_the_bit():
    rng = np.random.default_rng(2)
    frame = rng.uniform(0, 8, (64, 64, 3)).astype(np.float32)
    frame[::2] = frame[::2, :, :1]
    assert (np.ptp(neutral(frame, max_value=8)[::2], axis=2) == 0).all()


@pytest.mark.parametrize("name", COLOURS)
def test_hue_is_kept_over_twelve_stops(name):
    oklab, ictcp = hue_errors(swept(COLOURS[name]), COLOURS[name])
    assert oklab < 2.5
    assert ictcp < 9


def test_the_bound_of_hue_tells_transforms_apart():
    """A fade in linear light turns blue to violet and orange to pink, which the bounds above would not pass."""
    for name in ("blue", "orange"):
        frame = (MIDDLE_GREY * 2.0 ** STOPS[:, None] * np.array(COLOURS[name])).astype(np.float32)[None]
        tonemap = Tonemapper("reinhard", max_value=8)
        assert hue_errors(tonemap(frame)[0], COLOURS[name])[0] > 10


@pytest.mark.parametrize("name", COLOURS)
def test_what_is_well_exposed_keeps_its_chromaticity(name):
    """Up to 1/16 of white: the ratios of the channels are those of the scene, to what 8 bits hold."""
    colour = np.array(COLOURS[name])
    shown = linear(swept(colour, 32.0))[(STOPS >= -1) & (STOPS <= 3)]
    assert shown / shown.max(-1, keepdims=True) == pytest.approx(np.tile(colour, (len(shown), 1)), abs=0.016)


@pytest.mark.parametrize("name", COLOURS)
def test_a_bright_sign_keeps_most_of_its_saturation(name):
    """At three stops a sign of saturation 0.8 that only the short frame shows is no pastel."""
    shown = saturation(swept(COLOURS[name]))
    source = 1 - (min(COLOURS[name]) / 1.0) ** (1 / 2.4)
    at = {stops: float(shown[np.argmin(np.abs(STOPS - stops))]) for stops in (0, 2, 3, 4, 5)}
    assert at[0] > 0.97 * source
    assert at[2] > 0.95 * source
    assert at[3] > 0.85 * source
    assert at[4] > 0.7 * source
    assert at[5] > 0.45 * source


def test_a_sign_of_saturation_088_stays_above_075():
    sign = linear(np.array([230.0, 27.6, 60.0]))
    shown = neutral((sign[None, None] * 2).astype(np.float32), max_value=8)[0, 0].astype(float)
    assert saturation(shown) > 0.75


@pytest.mark.parametrize("name", COLOURS)
@each_white
def test_colours_rise_to_white_without_an_edge(name, max_value):
    level = np.geomspace(1e-3, 1e4 * max_value, 3000)  # a 120th of a stop a step
    light = (level[:, None] * np.array(COLOURS[name])).astype(np.float32)
    shown = neutral(light[None], max_value=max_value)[0].astype(int)
    lightness = rgb_to_oklab(linear(shown))[:, 0]
    # a largest channel that has reached white gives way to the others: 8 bits may take back a little
    assert (np.diff(lightness) > -0.004).all()
    assert np.abs(np.diff(shown, axis=0)).max() <= 4
    bright = shown.max(-1) > 60
    assert (np.diff(saturation(shown)[bright]) < 0.02).all()
    assert shown[-1].min() > 245


def test_a_ramp_between_two_colours_has_no_edge():
    """From a red lamp to a blue one, through the point where another channel becomes the largest."""
    share = np.linspace(0, 1, 2000)[:, None]
    for level in (0.2, 2.0, 8.0):
        light = level * ((1 - share) * np.array(COLOURS["red"]) + share * np.array(COLOURS["blue"]))
        shown = neutral(light[None].astype(np.float32), max_value=8)[0].astype(int)
        assert np.abs(np.diff(shown, axis=0)).max() <= 4


def test_what_is_no_light_is_black_and_what_is_infinite_is_white():
    values = [0.0, -1.0, np.nan, -np.inf, np.inf, 3e38, 7e4]
    shown = neutral(np.repeat(np.float32(values)[None, :, None], 3, 2), max_value=8)[0, :, 0]
    assert shown.tolist() == [0, 0, 0, 0, 255, 255, 255]
    mixed = neutral(np.float32([[[np.nan, 0.18, -3.0]]]), max_value=8)[0, 0]
    assert (mixed[0], mixed[2]) == (0, 0)
    assert 110 < mixed[1] < 125
    # one channel without an end is a lamp of which nothing is known but that it is bright
    assert neutral(np.float32([[[np.inf, 0.1, 0.1]]]), max_value=8).min() > 245


# ---- its place -------------------------------------------------------------------------------------------------------


def test_it_is_the_default_everywhere():
    assert Tonemapper().operator == ReconstructOptions().tonemap == ReportOptions().tonemap == "neutral"


def test_the_key_multiplies_what_it_shows():
    frame = np.exp2(np.random.default_rng(3).uniform(-9, 0, (60, 80, 3))).astype(np.float32)
    tonemap = Tonemapper(max_value=8)
    shown = tonemap(frame)
    assert tonemap.gain > 1.1
    assert np.array_equal(shown, neutral(frame, max_value=8, gain=tonemap.gain))


def test_oklab_of_srgb_primaries():
    """The values of the publication, and there and back."""
    assert rgb_to_oklab(np.eye(3)) == pytest.approx(
        np.array([[0.628, 0.2249, 0.1258], [0.8664, -0.2339, 0.1795], [0.452, -0.0325, -0.3115]]), abs=5e-4
    )
    colours = np.random.default_rng(4).random((50, 3))
    assert oklab_to_rgb(rgb_to_oklab(colours)) == pytest.approx(colours, abs=1e-9)
