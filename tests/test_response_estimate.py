"""The check of a camera response, and the response found, on small clips whose response is known."""

from __future__ import annotations

import json
from functools import lru_cache

import cv2
import numpy as np
import pytest

from hdrvid.cli.app import run
from hdrvid.color.response import LOG_RESPONSES, RESPONSES, Response
from hdrvid.detect.response import (
    DEFAULT_RESPONSE,
    RatioByLevel,
    ResponseEstimate,
    estimate_response,
    frame_levels,
    ratio_by_level,
)
from hdrvid.errors import ExposureError, InputError
from hdrvid.io.response_files import load_response
from hdrvid.pictures import PLOT_SIZE, ratio_plot

WIDTH, HEIGHT = 320, 180


@lru_cache(maxsize=4)
def scene(seed: int) -> np.ndarray:
    """A radiance picture of about 10 stops with soft structure; its brightest tenth is above 1."""
    rng = np.random.default_rng(seed)
    h, w = HEIGHT + 120, WIDTH + 240
    log = np.zeros((h, w, 3), np.float32)
    for cells, weight in ((5, 1.6), (17, 0.7), (40, 0.3)):
        grid = rng.standard_normal((max(2, cells * h // w), cells, 3)).astype(np.float32)
        grid = 1.4 * grid.mean(axis=2, keepdims=True) + 0.3 * grid
        log += weight * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
    picture = np.exp2(1.3 * log)
    return picture / np.percentile(picture, 90)


def clip(
    response: Response,
    stops: tuple[float, ...],
    num_frames: int = 9,
    seed: int = 0,
    pan: float = 4.0,
    noise: float = 0.0008,
    drift: float = 0.0,
    clips_at: float = 0.5,
) -> list[np.ndarray]:
    """Codes (8 bit) of a panning camera. `clips_at`: stops of the exposure in which a tenth of the scene clips."""
    rng = np.random.default_rng(seed + 1)
    world = scene(seed)
    frames = []
    for t in range(num_frames):
        shift = np.float32([[1, 0, -20 - pan * t], [0, 1, -20 - 0.3 * pan * t]])
        picture = cv2.warpAffine(world, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        linear = picture * 2.0 ** (stops[t % len(stops)] - clips_at * max(stops) + drift * t)
        linear = linear + noise * rng.standard_normal(linear.shape).astype(np.float32)
        frames.append((np.round(response.encode(np.clip(linear, 0, 1)) * 255) / 255).astype(np.float32))
    return frames


def ratio_error(found: Response, true: Response, stops: float, free_stops: bool = False) -> float:
    """Largest error, in stops, of the ratio of two exposures over codes of the shorter from 0.1 or black up.

    free_stops: apart from a constant, which other stops would explain.
    """
    darkest = max(0.1, float(true.encode(np.array(0.004))))
    low = np.linspace(darkest, 1, 500)
    low = low[true.linearize(low) * 2**stops < 0.7]
    high = true.encode(true.linearize(low) * 2**stops)
    ratio = np.log2(found.linearize(high)) - np.log2(found.linearize(low))
    return float(np.ptp(ratio) / 2 if free_stops else np.abs(ratio - stops).max())


def assumed() -> Response:
    return RESPONSES[DEFAULT_RESPONSE]


# declared stops


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("srgb", (0, 3)),
        ("srgb", (2, 0)),
        ("rec709", (0, 2, 4)),
        ("slog3", (0, 2, 4)),
        ("slog3", (2, 0)),
        ("gamma1.8", (0, 3)),
        ("gamma2.5", (2, 0)),
        ("sigmoid0.9,0.6", (0, 3)),
        ("linear", (0, 3)),
    ],
)
def test_declared_stops_tell_the_response(name, stops):
    true = load_response(name)
    estimate = estimate_response(clip(true, stops), stops)
    assert estimate.response is not None, estimate.reason
    family = name.rstrip("0123456789.,") if name not in RESPONSES or name.startswith("gamma") else name
    assert estimate.response.name.startswith(family), estimate.reason
    assert ratio_error(estimate.response, true, 2.0) < 0.12
    assert ratio_error(estimate.response, true, 2.0) < 0.5 * ratio_error(assumed(), true, 2.0)
    assert estimate.error_stops < 0.5 * estimate.default_error_stops
    assert estimate.confidence > 0.6
    lowest = min(stops)
    assert estimate.stops == pytest.approx(sorted(s - lowest for s in stops), abs=0.1)


@pytest.mark.parametrize("name", LOG_RESPONSES)
def test_every_log_curve_is_seen_to_be_one(name):
    true = RESPONSES[name]
    estimate = estimate_response(clip(true, (0, 3), noise=0.0001), (0, 3))
    assert estimate.response is not None, estimate.reason
    assert estimate.response.name in LOG_RESPONSES
    assert ratio_error(estimate.response, true, 3.0) < 0.2 < 1.0 < ratio_error(assumed(), true, 3.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_default_is_confirmed(seed):
    estimate = estimate_response(clip(assumed(), (0, 3), seed=seed), (0, 3))
    assert estimate.response is assumed()
    assert estimate.confidence > 0.8
    assert "agrees" in estimate.reason


def test_a_scene_that_brightens_and_moves_makes_no_difference():
    true = RESPONSES["rec709"]
    for trouble in ({"drift": 0.04}, {"pan": 12.0}, {"pan": 8.0, "drift": -0.03, "noise": 0.002}):
        estimate = estimate_response(clip(true, (0, 3), num_frames=12, **trouble), (0, 3))
        assert estimate.response is not None
        assert ratio_error(estimate.response, true, 3.0) < 0.25, (trouble, estimate.reason)


def test_frames_may_be_labelled_one_by_one():
    true = RESPONSES["srgb"]
    frames = clip(true, (0, 3), num_frames=10)
    frames[4] = np.clip(frames[4] * 1.7 + 0.2, 0, 1)  # a flash
    del frames[7]
    stops = [0.0, 3.0, 0.0, 3.0, float("nan"), 3.0, 0.0, 0.0, 3.0]
    estimate = estimate_response(frames, stops)
    assert estimate.response is true, estimate.reason
    assert estimate.stops == pytest.approx((0, 3), abs=0.05)


# measured stops


@pytest.mark.parametrize("name", ["srgb", "rec709", "sigmoid0.9,0.6"])
@pytest.mark.parametrize("stops", [(0, 3), (0, 2, 4)], ids=str)
def test_measured_stops_tell_the_shape(name, stops):
    true = load_response(name)
    wrong = [1.1 * s for s in stops]  # as measured under another response
    estimate = estimate_response(clip(true, stops), wrong, declared=False)
    assert estimate.response is not None, estimate.reason
    assert ratio_error(estimate.response, true, 2.0, free_stops=True) < 0.06
    assert ratio_error(assumed(), true, 2.0, free_stops=True) > 0.2
    assert estimate.response.name.startswith(name[:6])
    # cameras step in thirds
    third = round(estimate.stops[-1] * 3) / 3
    assert estimate.stops[-1] == pytest.approx(third, abs=0.08)


@pytest.mark.parametrize("gamma", ["gamma1.8", "gamma2.2", "gamma2.6"])
def test_measured_stops_tell_no_exponent(gamma):
    """A power of any exponent fits with stops to match: nothing is claimed."""
    true = load_response(gamma)
    stops = (0, 2, 4) if gamma == "gamma2.2" else (0, 3)
    estimate = estimate_response(clip(true, stops), stops, declared=False)
    assert estimate.response is None
    assert estimate.confidence == 0
    assert "exponent" in estimate.reason
    assert "gamma2.2 is assumed" in estimate.reason
    assert estimate.error_stops == estimate.default_error_stops < 0.08


def test_log_curves_are_recognised_with_measured_stops():
    true = RESPONSES["slog3"]
    estimate = estimate_response(clip(true, (0, 4), noise=0.0001), (0, 2.1), declared=False)
    assert estimate.response is not None, estimate.reason
    # which of them is told by the thirds of a stop alone
    assert estimate.response.name in LOG_RESPONSES
    assert estimate.stops[1] == pytest.approx(4, abs=0.3)


def test_a_log_curve_is_not_claimed_lightly():
    """One stop apart a log clip is nearly a power with half a stop: it is named as possible, and not assumed."""
    estimate = estimate_response(clip(RESPONSES["slog3"], (0, 1), noise=0.0001), (0, 0.5), declared=False)
    assert estimate.response is None or estimate.response.name in LOG_RESPONSES
    if estimate.response is None:
        assert "would fit" in estimate.reason


# never worse, never silent


@pytest.mark.parametrize("declared", [True, False])
def test_nothing_in_common(declared):
    bright = [np.full((90, 160, 3), level, np.float32) for level in (0.01, 1.0) * 4]
    estimate = estimate_response(bright, (0, 6), declared)
    assert estimate.response is None
    assert estimate.ratios == ()
    assert "too few levels" in estimate.reason
    assert np.isnan(estimate.error_stops)


def test_one_exposure_only():
    estimate = estimate_response(clip(assumed(), (0, 3))[::2], (1.0,))
    assert estimate.response is None
    assert "one exposure only" in estimate.reason
    assert estimate_response([], (0, 3)).response is None


def test_pictures_that_do_not_belong_together_are_not_explained():
    rng = np.random.default_rng(3)
    frames = [
        cv2.resize(rng.random((9, 16, 3), np.float32) ** (1 + 2 * rng.random()), (WIDTH, HEIGHT)) for _ in range(10)
    ]
    estimate = estimate_response([np.clip(f, 0, 1) for f in frames], (0, 3))
    assert estimate.response is None
    assert estimate.confidence == 0
    assert "is assumed" in estimate.reason


@pytest.mark.parametrize("frames", [[np.zeros((4, 4))], [np.zeros((4, 4, 4))], [np.zeros((0, 4, 3))]])
def test_frames_of_wrong_shape(frames):
    with pytest.raises(InputError, match="give RGB frames"):
        estimate_response(frames, (0,))


def test_stops_that_do_not_fit():
    frames = clip(assumed(), (0, 3), num_frames=3)
    for stops in ((), (0, 1, 2, 3)):
        with pytest.raises(ExposureError, match="give one cycle"):
            ratio_by_level(frames, stops, assumed())


def test_a_response_found_has_a_name_that_can_be_given():
    true = load_response("sigmoid0.95,0.5")
    for declared in (True, False):
        estimate = estimate_response(clip(true, (0, 3)), (0, 3), declared)
        assert estimate.response is not None
        again = load_response(estimate.response.name)
        codes = np.linspace(0, 1, 100)
        np.testing.assert_allclose(again.linearize(codes), estimate.response.linearize(codes), atol=1e-9)


def test_reduced_frames_are_as_good_as_frames():
    frames = clip(RESPONSES["rec709"], (0, 3))
    whole = estimate_response(iter(frames), (0, 3))
    reduced = estimate_response([frame_levels(frame) for frame in frames], (0, 3))
    assert isinstance(whole, ResponseEstimate)
    assert whole == reduced


def test_tiny_and_odd_frames():
    for shape in ((1, 1, 3), (1, 9, 3), (17, 13, 3)):
        frames = [np.random.default_rng(t).random(shape).astype(np.float32) for t in range(6)]
        assert ratio_by_level(frames, (0, 2), assumed()) == ()
        assert estimate_response(frames, (0, 2)).response is None
    bad = np.full((20, 20, 3), np.nan, np.float32)
    assert np.isfinite(frame_levels(bad).quantiles).all()


# the check


@pytest.mark.parametrize("name", ["gamma2.2", "srgb", "slog3"])
def test_the_right_response_gives_one_ratio_at_every_level(name):
    true = RESPONSES[name]
    (table,) = ratio_by_level(clip(true, (3, 0)), (3, 0), true)
    assert table.expected_stops == 3
    assert len(table.counts) >= 8
    assert table.deviation_stops < 0.12
    assert list(table.level_linear) == sorted(table.level_linear)
    np.testing.assert_allclose(true.linearize(np.array(table.level_code)), table.level_linear, rtol=1e-6)
    for lower, median, upper in zip(table.lower_stops, table.median_stops, table.upper_stops, strict=True):
        assert lower <= median <= upper


def test_a_wrong_response_slopes_and_wrong_stops_shift():
    frames = clip(RESPONSES["rec709"], (0, 3))
    (sloped,) = ratio_by_level(frames, (0, 3), assumed())
    assert sloped.deviation_stops > 0.5
    assert sloped.median_stops[0] - sloped.median_stops[-1] > 0.5
    (shifted,) = ratio_by_level(frames, (0, 2), RESPONSES["rec709"])
    np.testing.assert_allclose(shifted.median_stops, 3, atol=0.12)
    assert shifted.expected_stops == 2


def test_three_exposures_have_two_tables():
    tables = ratio_by_level(clip(RESPONSES["srgb"], (4, 0, 1)), (4, 0, 1), RESPONSES["srgb"])
    assert [table.expected_stops for table in tables] == [1, 3]
    assert all(table.deviation_stops < 0.15 for table in tables)


def test_tables_are_json():
    (table,) = ratio_by_level(clip(assumed(), (0, 2)), (0, 2), assumed())
    facts = json.loads(json.dumps(table.as_dict(), allow_nan=False))
    assert facts["expected_stops"] == 2
    assert len(facts["levels"]) == len(table.counts)
    assert facts["levels"][0]["median_stops"] == pytest.approx(table.median_stops[0], abs=1e-4)


# the plot


def table_of(medians: list[float], expected: float) -> RatioByLevel:
    count = len(medians)
    return RatioByLevel(
        expected_stops=expected,
        level_linear=tuple(2.0 ** np.linspace(-8, -3, count)),
        level_code=tuple(np.linspace(0.1, 0.4, count)),
        median_stops=tuple(medians),
        lower_stops=tuple(m - 0.1 for m in medians),
        upper_stops=tuple(m + 0.1 for m in medians),
        counts=(99,) * count,
    )


def blue_rows(picture: np.ndarray, column: slice) -> np.ndarray:
    """Rows below the headings with strong blue in the given columns."""
    area = picture[64:-64, column].astype(int)
    return 64 + np.flatnonzero((area[..., 2] - area[..., 0] > 120).any(axis=1))


def test_plot_shows_the_ratio_where_it_is():
    picture = ratio_plot([table_of([3.0, 3.0, 3.5], 3.0)], "clip: response gamma2.2")
    assert picture.shape == (PLOT_SIZE[1], PLOT_SIZE[0], 3)
    assert picture.dtype == np.uint8
    left, right = 80, PLOT_SIZE[0] - 24

    def column(stops_below: float) -> slice:
        x = round(left + (10 - stops_below) / 10 * (right - left))
        return slice(x - 2, x + 3)

    # the axis runs from 2 to 4 stops
    height = PLOT_SIZE[1] - 128
    at_three, at_three_and_a_half = 64 + height / 2, 64 + height / 4
    assert abs(blue_rows(picture, column(8)).mean() - at_three) < 3
    assert abs(blue_rows(picture, column(3)).min() - at_three_and_a_half) < 7
    beyond = ratio_plot([table_of([30.0, -9.0], 3.0)], "out of the scale")
    assert blue_rows(beyond, column(8)).min() <= 70


@pytest.mark.parametrize("count", [0, 3])
def test_plots_of_other_numbers_of_tables(count):
    with pytest.raises(ValueError, match="one or two"):
        ratio_plot([table_of([1.0], 1.0)] * count, "none")


# the command


def write_clip(folder, frames):
    folder.mkdir()
    for t, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{t:03d}.png"), np.round(frame[..., ::-1] * 255).astype(np.uint8))
    return str(folder)


def test_info_prints_and_draws_the_check(tmp_path, capfd):
    source = write_clip(tmp_path / "shot", clip(RESPONSES["rec709"], (0, 3), num_frames=8))
    plot = tmp_path / "ratio.png"
    assert run(["info", source, "--response", "rec709", "--plot", str(plot)]) == 0
    printed = capfd.readouterr().out
    assert "expected 3.00 stops at every level" in printed
    assert printed.count(" stops, code ") >= 6
    assert cv2.imread(str(plot)).shape == (PLOT_SIZE[1], PLOT_SIZE[0], 3)
    assert run(["info", source, "--response", "rec709", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    (table,) = facts["ratio_by_level"]
    assert table["expected_stops"] == 3
    assert all(abs(level["median_stops"] - 3) < 0.2 for level in table["levels"])


def test_info_of_a_clip_that_does_not_alternate(tmp_path, capfd):
    source = write_clip(tmp_path / "shot", clip(assumed(), (0, 0.0001), num_frames=6))
    plot = tmp_path / "ratio.png"
    assert run(["info", source, "--plot", str(plot)]) == 0
    printed = capfd.readouterr()
    assert "exposures: not found" in printed.out
    assert "was not written" in printed.err
    assert not plot.exists()
    assert run(["info", source, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["ratio_by_level"] == []


@pytest.mark.parametrize(
    ("arguments", "problem"), [(["x.mov", "--plot", "x.jpg"], ".png"), (["--plot", "x.png"], "name one")]
)
def test_plot_options_that_make_no_sense(arguments, problem, capfd):
    assert run(["info", *arguments]) == 2
    assert problem in capfd.readouterr().err
