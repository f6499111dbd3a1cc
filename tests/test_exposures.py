"""Exposure cycles found in, and checked against, small synthetic clips."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from hdrvid.data.camera import SynthesisOptions, drawn_value, expose, film, normalise
from hdrvid.data.scenes import procedural_scene
from hdrvid.detect.cycle import MIN_CONFIDENCE, ROUGH_STOPS, are_rough, contradiction, estimate_cycle
from hdrvid.errors import InputError
from hdrvid.types import ExposureCycle

WIDTH, HEIGHT = 240, 136


def scene(seed: int = 0, size: tuple[int, int] = (HEIGHT + 80, WIDTH + 200)) -> np.ndarray:
    """A radiance picture with about 9 stops, soft and sharp structure, and lamps; the brightest tenth is above 1."""
    rng = np.random.default_rng(seed)
    h, w = size
    log = np.zeros((h, w, 3), np.float32)
    for cells, weight in ((5, 1.6), (17, 0.7), (60, 0.35)):
        grid = rng.standard_normal((max(2, cells * h // w), cells, 3)).astype(np.float32)
        grid = 0.8 * grid.mean(axis=2, keepdims=True) * 1.7 + 0.3 * grid
        log += weight * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
    picture = np.exp2(log)
    for _ in range(6):
        centre = int(rng.integers(w)), int(rng.integers(h))
        cv2.circle(picture, centre, 6, tuple(rng.uniform(10, 60, 3).tolist()), -1)
    return picture / np.percentile(picture, 90)


def clip(
    stops: tuple[float, ...],
    num_frames: int,
    *,
    seed: int = 0,
    pan: float = 0.0,
    noise: float = 0.0,
    drift: float = 0.0,
    blur: float = 0.0,
    bits: int | None = 8,
    with_object: bool = False,
) -> list[np.ndarray]:
    """Linear frames of a camera that pans by `pan` pixels a frame; the longest exposure clips a tenth of the scene."""
    rng = np.random.default_rng(seed + 1)
    world = scene(seed)
    frames = []
    for i in range(num_frames):
        shift = np.float32([[1, 0, -20 - pan * i], [0, 1, -20 - 0.3 * pan * i]])
        picture = cv2.warpAffine(world, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        if with_object:
            cv2.circle(picture, (30 + 9 * i % WIDTH, 70), 22, (0.6, 0.25, 0.1), -1)
        linear = picture * 2.0 ** (stops[i % len(stops)] - max(stops) + drift * i)
        linear = linear + noise * rng.standard_normal(linear.shape)
        code = np.clip(linear, 0, 1) ** (1 / 2.2)
        if blur:
            code = cv2.GaussianBlur(code, (0, 0), blur)
        if bits:
            top = 2**bits - 1
            code = np.round(code * top) / top
        frames.append((code**2.2).astype(np.float32))
    return frames


def relative(stops: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(s - min(stops) for s in stops)


@pytest.mark.parametrize(
    "stops",
    [(0, 1), (0, 2), (3, 0), (0, 3), (4, 0), (0, 5), (0, 1, 2), (0, 2, 4), (2, 0, 4), (4, 2, 0), (0, 4, 2)],
)
def test_static_clips_are_measured_exactly(stops):
    estimate = estimate_cycle(clip(stops, 9))
    assert estimate.cycle is not None, estimate.reason
    assert estimate.cycle.stops == pytest.approx(relative(stops), abs=1e-9)
    assert estimate.confidence >= 0.8
    assert len(estimate.pair_stops) == 8
    assert estimate.pair_stops[0] == pytest.approx(stops[1] - stops[0], abs=0.15)


@pytest.mark.parametrize("stops", [(0, 2), (3, 0), (0, 4), (0, 2, 4), (2, 0, 4)])
@pytest.mark.parametrize(
    "trouble",
    [
        {"pan": 6.0},
        {"noise": 0.003},
        {"blur": 1.2},
        {"drift": 0.03},
        {"with_object": True},
        {"pan": 4.0, "noise": 0.002, "blur": 0.8, "drift": -0.02, "with_object": True},
    ],
    ids=["pan", "noise", "blur", "brightening", "object", "all"],
)
def test_real_troubles(stops, trouble):
    estimate = estimate_cycle(clip(stops, 12, seed=3, **trouble))
    assert estimate.cycle is not None, estimate.reason
    assert len(estimate.cycle) == len(stops)
    assert estimate.cycle.stops == pytest.approx(relative(stops), abs=0.2)
    assert estimate.confidence >= 0.8


@pytest.mark.parametrize(("stops", "least"), [((0, 3), 3), ((3, 0), 3), ((0, 2, 4), 4), ((2, 0, 4), 4)])
def test_one_cycle_and_one_frame_are_enough_but_less_sure(stops, least):
    short = estimate_cycle(clip(stops, least))
    assert short.cycle is not None, short.reason
    assert short.cycle.stops == relative(stops)
    longer = estimate_cycle(clip(stops, 12))
    assert MIN_CONFIDENCE <= short.confidence < longer.confidence


@pytest.mark.parametrize(
    ("stops", "rough"),
    [((0, 3.1), False), ((0, 5), False), ((0, 5.81), True), ((1.5, 5.2, 0), True), ((0, 5.667, 2.333), False)],
)
def test_measured_stops_far_apart_and_off_the_thirds_are_rough(stops, rough):
    assert are_rough(ExposureCycle(stops)) == rough


def test_stops_snap_to_thirds_and_only_to_near_ones():
    third = estimate_cycle(clip((0, 5 / 3), 8)).cycle
    assert third is not None
    assert third.stops == pytest.approx((0, 5 / 3), abs=1e-12)
    other = estimate_cycle(clip((0, 2.5), 8)).cycle
    assert other is not None
    assert other.stops[1] == round(other.stops[1], 2) == pytest.approx(2.5, abs=0.06)


def test_the_first_frame_given_begins_the_cycle():
    frames = clip((0, 3), 10)
    assert estimate_cycle(frames[1:]).cycle == ExposureCycle((3, 0))


def test_frames_are_taken_one_at_a_time():
    assert estimate_cycle(iter(clip((0, 3), 6))).cycle == ExposureCycle((0, 3))


def test_a_level_below_code_one_counts_as_clipped():
    # video in limited range read as full: white is at 235 of 255
    frames = [(f ** (1 / 2.2) * 235 / 255) ** 2.2 for f in clip((0, 2), 8)]
    estimate = estimate_cycle(frames)
    assert estimate.cycle == ExposureCycle((0, 2))


def test_large_frames_are_cut_into_blocks():
    frames = [cv2.resize(f, (970, 543), interpolation=cv2.INTER_NEAREST) for f in clip((0, 3), 4, noise=0.002)]
    assert estimate_cycle(frames).cycle == ExposureCycle((0, 3))


@pytest.mark.parametrize("trouble", [{}, {"pan": 6.0, "noise": 0.003}, {"drift": 0.03}])
def test_a_clip_that_does_not_alternate(trouble):
    estimate = estimate_cycle(clip((0,), 10, **trouble))
    assert estimate.cycle is None
    assert estimate.confidence == 0
    assert "does not alternate" in estimate.reason
    assert max(abs(s) for s in estimate.pair_stops) < 0.1


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([], "too few"),
        (clip((0, 3), 2), "too few"),
        ([np.zeros((20, 30, 3), np.float32)] * 6, "no two frames"),
        ([np.ones((20, 30, 3), np.float32)] * 6, "no two frames"),
        ([np.zeros((20, 30, 3), np.float32), np.ones((20, 30, 3), np.float32)] * 3, "(short, long)"),
        (clip((0, 2, 4, 2), 7), "as if 4 exposures repeated, but not for sure"),
        (clip((0, 0, 3), 5), "not for sure"),
        (clip((0, 0.2), 9), "flicker"),
        (clip((0, 1.5, 0.2, 4, 2.7, 0.9, 3.3, 1.8, 0.4, 2.2), 10), "without a pattern of 2 to 9 exposures"),
        (clip((0,), 9, drift=-0.4), "without a pattern of 2 to 9 exposures"),
    ],
)
def test_no_cycle_and_why(frames, reason):
    estimate = estimate_cycle(frames)
    assert estimate.cycle is None
    assert estimate.confidence == 0
    assert reason in estimate.reason
    assert len(estimate.pair_stops) == max(len(frames) - 1, 0)


def test_close_exposures_are_a_guess():
    assert estimate_cycle(clip((0, 0.4), 10)).confidence < MIN_CONFIDENCE


def test_a_cut_does_not_hide_the_cycle():
    estimate = estimate_cycle(clip((0, 3), 8, seed=1) + clip((0, 3), 8, seed=2))
    assert estimate.cycle == ExposureCycle((0, 3))
    assert estimate.confidence >= 0.8


def test_broken_samples_do_not_matter():
    frames = clip((0, 3), 6)
    frames[2][5, 5] = np.nan
    frames[3][9, 9] = np.inf
    estimate = estimate_cycle(frames)
    assert estimate.cycle == ExposureCycle((0, 3))
    assert all(math.isfinite(s) for s in estimate.pair_stops)


def test_frames_must_have_one_shape():
    good = np.zeros((20, 30, 3), np.float32)
    with pytest.raises(InputError, match="frame 1 is 31x20 pixels but frame 0 is 30x20"):
        estimate_cycle([good, np.zeros((20, 31, 3), np.float32)])
    with pytest.raises(InputError, match="frame 0 has shape"):
        estimate_cycle([good[..., 0]])


# contradictions


def text_of(found):
    assert found is not None
    return found.text


@pytest.mark.parametrize("stops", [(0, 3), (3, 0), (0, 2, 4), (2, 0, 4)])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_right_declaration_is_not_contradicted(stops, first):
    frames = clip(stops, 10, pan=3.0, noise=0.002)
    assert contradiction(estimate_cycle(frames[first:]), ExposureCycle(stops), first) is None


def test_a_third_of_a_stop_off_is_not_contradicted():
    assert contradiction(estimate_cycle(clip((0, 3), 8)), ExposureCycle((0, 3.33))) is None


@pytest.mark.parametrize("num_frames", [2, 9])
@pytest.mark.parametrize("first", [0, 1])
def test_wrong_stops_are_told_with_both_figures(num_frames, first):
    frames = clip((0, 3), num_frames + first)
    warning = text_of(contradiction(estimate_cycle(frames[first:]), ExposureCycle((0, 2)), first))
    assert "0,2 are declared, but 0,3 were measured" in warning


def test_wrong_order_is_told():
    warning = text_of(contradiction(estimate_cycle(clip((0, 3), 7)[1:]), ExposureCycle((3, 0)), 1))
    assert "--exposures 3,0" in warning
    assert "order 0,3" in warning
    warning = text_of(contradiction(estimate_cycle(clip((2, 0, 4), 7)), ExposureCycle((0, 4, 2))))
    assert "order 2,0,4" in warning


def test_wrong_number_of_exposures_is_told():
    warning = text_of(contradiction(estimate_cycle(clip((2, 0, 4), 9)[1:]), ExposureCycle((0, 3)), 1))
    assert "2 exposures (0,3) are declared" in warning
    assert "repeat after 3 (2,0,4 stops)" in warning


def test_a_clip_that_does_not_alternate_contradicts_any_cycle():
    warning = text_of(contradiction(estimate_cycle(clip((0,), 8)), ExposureCycle((0, 3))))
    assert "3 stops apart are declared" in warning
    assert "0.00 stops apart" in warning


def test_a_contradiction_stops_a_run_only_where_the_measurement_is_sure():
    many = contradiction(estimate_cycle(clip((0, 3), 12, noise=0.002)), ExposureCycle((0, 7)))
    few = contradiction(estimate_cycle(clip((0, 2, 4), 3)), ExposureCycle((0, 2, 3)))
    still = contradiction(estimate_cycle(clip((0,), 8)), ExposureCycle((0, 3)))
    assert many is not None
    assert many.is_sure
    assert few is not None
    assert not few.is_sure
    assert still is not None
    assert still.is_sure


def test_exposures_too_far_apart_to_be_measured_are_not_contradicted():
    estimate = estimate_cycle(clip((0, 5), 12))
    assert contradiction(estimate, ExposureCycle((0, 6))) is None


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_no_contradiction_where_the_pixels_cannot_tell(level):
    assert contradiction(estimate_cycle([np.full((20, 30, 3), level, np.float32)] * 6), ExposureCycle((0, 3))) is None


def test_no_contradiction_without_frames():
    assert contradiction(estimate_cycle([]), ExposureCycle((0, 3))) is None


# the generator's moving, noisy, compressed clips

TWO = [(0.0, s) for s in (1, 1.5, 2, 3, 4, 5, 6, 7)]
THREE = [(0.0, s, 2 * s) for s in (1, 1.5, 2, 2.5, 3, 3.5)] + [(0.0, 1, 3), (0.0, 3, 4), (0.0, 2, 5)]


def filmed(
    stops: tuple[float, ...],
    seed: int,
    *,
    crf: float | None,
    motion: float,
    num_frames: int = 14,
    size: tuple[int, int] = (256, 160),
    gains: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Linear frames of one of the generator's scenes; `gains` is the light of every frame."""
    picture = procedural_scene(seed, *size, num_frames, motion=motion)
    options = SynthesisOptions(h264_crf=crf).drawn(np.random.default_rng(seed))
    truth, _ = normalise([picture.render(t) for t in range(num_frames)], drawn_value(options.clip_percentile))
    light = np.ones(num_frames) if gains is None else gains
    truth = [t * np.float32(g) for t, g in zip(truth, light, strict=True)]
    exposures = [2.0 ** stops[t % len(stops)] for t in range(num_frames)]
    rng = np.random.default_rng([seed, 1])
    if crf is None:
        codes = [expose(t, e, rng, options) for t, e in zip(truth, exposures, strict=True)]
    else:
        codes = list(film(np.stack(truth), exposures, rng, options))
    return [c**2.2 for c in codes]


def verdict(frames: list[np.ndarray], stops: tuple[float, ...]) -> str:
    estimate = estimate_cycle(frames)
    if estimate.cycle is None or estimate.confidence < MIN_CONFIDENCE:
        return "wrong" if "does not alternate" in estimate.reason else "not sure"
    found = estimate.cycle.stops
    errors = [abs(f - s) for f, s in zip(found, relative(stops), strict=len(found) == len(stops))]
    right = len(found) == len(stops) and max(errors) <= (ROUGH_STOPS if are_rough(estimate.cycle) else 0.15)
    return "right" if right else "wrong"


@pytest.mark.parametrize(
    ("stops", "seed", "crf", "motion"),
    [
        ((0, 1), 101, 28, 3),
        ((1.5, 0), 112, 23, 4),
        ((0, 3), 102, None, 2),
        ((4, 0), 103, 23, 1),
        ((2, 1, 0), 115, 28, 2),
        ((0, 4, 2), 104, 23, 3),
        ((0, 3, 4), 112, 18, 4),
    ],
)
def test_the_generators_clips(stops, seed, crf, motion):
    assert verdict(filmed(stops, seed, crf=crf, motion=motion), stops) == "right"


@pytest.mark.parametrize("stops", [(6, 0), (0, 7), (0, 3.5, 7)])
@pytest.mark.parametrize("seed", [100, 112])
def test_wide_brackets_are_right_or_not_sure(stops, seed):
    assert verdict(filmed(stops, seed, crf=23, motion=3), stops) in ("right", "not sure")


@pytest.mark.parametrize("stops", [(0, 3), (2, 0, 4)])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_fade_leaves_the_rest_of_the_clip(stops, backwards):
    gains = np.concatenate([np.linspace(0.08, 1, 7) ** 2.2, np.ones(11)])
    frames = filmed(stops, 100, crf=23, motion=1, num_frames=18, gains=gains[::-1] if backwards else gains)
    assert verdict(frames, stops) == "right"


@pytest.mark.parametrize("stops", [(0, 3), (3, 0), (0, 2, 4)])
def test_a_cycle_that_starts_anew_keeps_the_phase_of_the_first_frame(stops):
    estimate = estimate_cycle(clip(stops, 11, seed=1) + clip(stops, 13, seed=2))
    assert estimate.cycle is not None
    assert estimate.confidence >= MIN_CONFIDENCE
    assert estimate.cycle.stops == pytest.approx(stops, abs=0.1)
    assert "start anew" in estimate.reason


def test_another_cycle_after_a_cut_is_no_cycle():
    estimate = estimate_cycle(clip((0, 2), 12, seed=1) + clip((0, 4), 12, seed=2))
    assert estimate.cycle is None
    assert "another cycle after a while" in estimate.reason


def test_a_part_that_the_rest_contradicts_is_not_enough():
    """Two scenes, the first one further apart than the second one shows: whichever is right, it is not clear."""
    frames = clip((0, 3), 8, seed=1) + clip((0, 1), 8, seed=2)
    estimate = estimate_cycle(frames)
    assert estimate.confidence < MIN_CONFIDENCE


def test_exposures_too_far_apart_to_compare_are_told_in_order():
    dark = clip((0,), 10, seed=4)
    frames = [np.where(f > 0.5, 1.0, 0.97).astype(np.float32) if i % 2 else f * 0.004 for i, f in enumerate(dark)]
    estimate = estimate_cycle(frames)
    assert estimate.cycle is None
    assert "repeats after 2 frames (short, long)" in estimate.reason
    assert "give --exposures" in estimate.reason


@pytest.mark.slow
@pytest.mark.parametrize("crf", [None, 18, 23, 28])
def test_sweep_over_the_whole_range(crf):
    rng = np.random.default_rng(int(crf or 0))
    wrong, unsure = [], []
    for seed in range(300, 312):
        size = (256, 160) if seed % 3 else (448, 256)
        motion, num_frames = float(rng.integers(1, 5)), int(rng.integers(12, 25))
        for stops in TWO + THREE:
            order = tuple(float(s) for s in rng.permutation(stops))
            frames = filmed(order, seed, crf=crf, motion=motion, num_frames=num_frames, size=size)
            outcome = verdict(frames, order)
            if outcome != "right":
                (wrong if outcome == "wrong" else unsure).append((seed, order))
    # at CRF 28 the fine leaves of one scene take on the brightness of the frames around them
    assert len(wrong) <= 3, wrong
    assert {seed for seed, _ in wrong} <= {301}
    assert [(seed, stops) for seed, stops in unsure if max(stops) <= 4.5] == []
