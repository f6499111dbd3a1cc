"""Labels: nothing is found in an undisturbed clip, and what breaks the cycle is found where it is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdrvid.color.curves import gamma_linearize
from hdrvid.data.camera import SynthesisOptions
from hdrvid.data.scenes import procedural_scene
from hdrvid.data.synth import synthesise
from hdrvid.detect.cycle import MIN_CONFIDENCE, estimate_cycle
from hdrvid.detect.phases import Labeller
from hdrvid.types import ExposureCycle

FRAMES = 28


@lru_cache(maxsize=16)
def clip(seed: int, stops: tuple[float, ...], motion: float = 2.0, crf: int | None = None) -> tuple[np.ndarray, ...]:
    """Linear frames of a moving scene."""
    camera = SynthesisOptions(clip_percentile=99.5, read_noise=1.5e-3, full_well=8000.0, bits=8, h264_crf=crf)
    scene = procedural_scene(seed, 256, 144, FRAMES, motion=motion)
    return tuple(gamma_linearize(c) for c in synthesise(scene, ExposureCycle(stops), FRAMES, seed, camera).ldr)


def labelled(frames, stops) -> Labeller:
    labeller = Labeller(ExposureCycle(stops))
    for index, frame in enumerate(frames):
        if frame is not None:
            labeller.add(index, frame)
    labeller.finish()
    return labeller


def found(labeller: Labeller) -> list[tuple[str, int]]:
    return [(event.kind, event.index) for event in labeller.events]


@given(st.sampled_from([(0, 3), (3, 0), (0, 2, 4), (4, 0, 2)]), st.integers(3, 40))
@settings(max_examples=60, deadline=None)
def test_windows_of_an_undisturbed_clip_are_those_of_the_cycle(stops, length):
    cycle = ExposureCycle(stops)
    rng = np.random.default_rng(length)
    radiance = np.exp2(rng.uniform(-9, 0, (24, 32, 3))).astype(np.float32)
    labeller = labelled([np.clip(radiance * cycle.exposure_at(i), 0, 1) for i in range(length)], stops)
    assert labeller.events == []
    for index in range(length):
        assert labeller.window(index) == cycle.window_indices(index, length)
        assert labeller.label(index).stops == cycle.stops_at(index)


@pytest.mark.parametrize(
    ("stops", "motion", "crf"),
    [((0, 1), 2, None), ((0, 3), 6, 23), ((0, 7), 2, None), ((2, 0, 4), 3, 23), ((0, 3.5, 7), 2, None)],
)
@pytest.mark.parametrize("brightening", [0.0, 0.05])
def test_nothing_is_found_in_an_undisturbed_clip(stops, motion, crf, brightening):
    for seed in (11, 12):
        frames = clip(seed, stops, motion, crf)
        frames = [np.clip(f * 2 ** (brightening * (i - 12)), 0, 1) for i, f in enumerate(frames)]
        assert labelled(frames, stops).events == []


@pytest.mark.parametrize("stops", [(0, 3), (0, 2, 4)])
def test_doubled_and_dropped_frames(stops):
    n = len(stops)
    frames = clip(21, stops)
    doubled = labelled([*frames[:12], frames[11], *frames[12:27]], stops)
    assert found(doubled) == [("doubled", 12)]
    assert doubled.events[0].text == "frame 12 repeats frame 11"
    assert doubled.label(12).duplicate_of == 11
    dropped = labelled([*frames[:12], *frames[13:]], stops)
    assert found(dropped) == [("dropped", 12)]
    for index in range(FRAMES - 1):
        assert doubled.label(index).phase == (index if index < 12 else index - 1) % n
        assert dropped.label(index).phase == (index if index < 12 else index + 1) % n
        for labeller in (doubled, dropped):
            window = labeller.window(index)
            assert window is not None
            phases = [labeller.label(i).phase for i in window]
            middle = len(window) // 2
            assert phases == [(phases[middle] + k - middle) % n for k in range(len(window))]
            assert all(abs(i - index) <= Labeller.REACH for i in window)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("stops", [(0, 3), (0, 2, 4)])
def test_cuts_end_windows(stops, restart):
    before, after = clip(31, stops), clip(32, stops)
    labeller = labelled([*before[:13], *after[13 + restart :]], stops)
    assert found(labeller) == [("cut", 13)]
    assert ("restarts" in labeller.events[0].text) == restart
    assert [labeller.label(i).segment for i in (12, 13)] == [0, 1]
    for index in range(8, 20):
        window = labeller.window(index)
        assert window is not None
        assert all((i < 13) == (index < 13) for i in window)
        assert labeller.label(index).phase == (index if index < 13 else index + restart) % len(stops)


def test_a_flash_serves_no_other_frame():
    frames = list(clip(41, (0, 3)))
    frames[14] = np.clip(frames[14] * 2.5 + 0.15, 0, 1)
    labeller = labelled(frames, (0, 3))
    assert found(labeller) == [("flash", 14)]
    assert labeller.window(14) == (13, 14, 15)
    assert labeller.window(13) == (12, 13, 12)
    assert labeller.window(15) == (16, 15, 16)


def test_damaged_frames_keep_the_count():
    frames: list[np.ndarray | None] = list(clip(51, (0, 3)))
    frames[9] = frames[10] = None
    labeller = labelled(frames, (0, 3))
    assert found(labeller) == [("damaged", 9), ("damaged", 10)]
    assert labeller.window(9) is None
    assert labeller.window(8) == (7, 8, 7)
    assert labeller.window(11) == (12, 11, 12)
    assert labeller.label(20).phase == 0


def test_labels_are_final_and_memory_is_bounded():
    frames = clip(61, (0, 2, 4))
    whole = labelled(frames, (0, 2, 4))
    labeller = Labeller(ExposureCycle((0, 2, 4)))
    given_out = {}
    for index in range(400):
        labeller.add(index, frames[index % 27])
        for i in range(max(0, index - 12), index):
            if labeller.window_ready(i) and i not in given_out:
                given_out[i] = labeller.window(i)
        labeller.forget(index - 20)
    assert all(given_out[i] == whole.window(i) for i in range(20))
    assert len(labeller._labels) < 40
    assert len(labeller._summaries) < 40


def test_black_frames_change_nothing():
    frames = list(clip(71, (0, 3)))
    for i in range(10, 16):
        frames[i] = frames[i] * 1e-4
    assert labelled(frames, (0, 3)).events == []


def test_too_few_frames():
    labeller = labelled(clip(81, (0, 2, 4))[:2], (0, 2, 4))
    assert labeller.window(0) is None
    assert labelled(clip(81, (0, 3))[:1], (0, 3)).window(0) is None


# slips at the start of a clip: the order of the exposures belongs to frame 0

SLIPS = [("dropped", at) for at in range(1, 10)] + [("doubled", at) for at in range(1, 9)]


def slipped(frames, kind: str, at: int):
    """Frames without frame `at`, or with frame `at - 1` twice, and the frame of the clip that each one is."""
    order = list(range(len(frames)))
    order = order[:at] + order[at + 1 :] if kind == "dropped" else [*order[:at], at - 1, *order[at:]]
    return [frames[i] for i in order], order


@pytest.mark.parametrize("stops", [(0, 3), (3, 0), (0, 2, 4), (4, 0, 2)])
def test_a_slip_near_the_start_does_not_turn_the_order(stops):
    frames, cycle = clip(21, stops), ExposureCycle(stops)
    wrong, unsure = [], []
    for kind, at in SLIPS:
        given, order = slipped(frames, kind, at)
        estimate = estimate_cycle(given[:24])
        if estimate.cycle is None or estimate.confidence < MIN_CONFIDENCE:
            unsure.append((kind, at))  # which a run says
            continue
        labeller = labelled(given, estimate.cycle.stops)
        off = [
            index for index, true in enumerate(order) if abs(labeller.label(index).stops - cycle.stops_at(true)) > 0.2
        ]
        if off:
            wrong.append((kind, at, str(estimate.cycle), off))
    assert wrong == []
    assert len(unsure) <= 2


def test_a_clip_that_shows_every_frame_twice():
    frames = clip(21, (0, 3))[:12]
    for repeats, lead in (((2, 0), 0), ((2, 1), 1)):
        twice = [f for f in frames for _ in range(2)][lead:]
        labeller = Labeller(ExposureCycle((0, 3)), repeats)
        for index, frame in enumerate(twice):
            labeller.add(index, frame)
        labeller.finish()
        assert labeller.events == []
        for index in range(len(twice)):
            distinct = (index + lead) // 2
            first = max(0, 2 * distinct - lead)
            assert labeller.label(index).stops == 3.0 * (distinct % 2)
            window = labeller.window(index)
            assert window is not None
            assert window[1] == first
            assert all((i + lead) // 2 % 2 != distinct % 2 for i in (window[0], window[2]))
