"""Exposures of any pattern: cycles of 2 to 9 frames, exposures that occur several times, lists without a cycle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import test_slips as slips
from hypothesis import given
from hypothesis import strategies as st
from test_exposures import clip as panned_clip
from test_reconstruct import CLASSICAL, options, write_frames

import hdrvid
from hdrvid.data.camera import SynthesisOptions, clipping_level, expose
from hdrvid.data.scenes import procedural_scene
from hdrvid.detect.cycle import MIN_CONFIDENCE, contradiction, estimate_cycle
from hdrvid.detect.labels import FrameLabel
from hdrvid.detect.listed import ListLabeller
from hdrvid.detect.window_choice import WindowRule
from hdrvid.errors import ExposureError, InputError, ModelError, UsageError
from hdrvid.io.exposure_files import check_exposures, parse_exposures
from hdrvid.io.exr import read_exr
from hdrvid.metrics.fidelity import psnr_t
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.types import ExposureCycle, ExposureList, Exposures, plain_cycle

PING_PONG, RAMP = (0.0, 2.0, 4.0, 2.0), (0.0, 1.0, 2.0, 3.0, 4.0)
ODD_EIGHT = (0.0, 3.0, 0.0, 3.0, 3.0, 0.0, 3.0, 0.0)
NINE = tuple(0.5 * k for k in range(9))
DRIFT = tuple(round(3.0 * (i % 2) - 0.13 * i, 3) for i in range(16))
WILD = (1.5, 2.2, 3.0, 4.1, 0.0, 0.0, 3.0, 4.1, 0.7, 0.7, 4.1, 1.5, 0.7, 3.0, 0.7, 1.5)

stops_of_cycles = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=9).filter(lambda s: len(set(s)) > 1)


# ---- what exposures are ---------------------------------------------------------------------------------------------


@given(stops_of_cycles)
def test_a_cycle_is_the_shortest_that_repeats(stops):
    cycle = ExposureCycle(tuple(stops))
    assert [cycle.stops_at(i) + min(stops) for i in range(3 * len(stops))] == stops * 3
    assert cycle.period <= len(stops)
    assert all(
        cycle.stops[:n] * (cycle.period // n) != cycle.stops for n in range(1, cycle.period) if not cycle.period % n
    )
    assert ExposureCycle.from_stops(stops * 2) == cycle


@given(stops_of_cycles)
def test_the_ends_are_short_and_long(stops):
    cycle = ExposureCycle(tuple(stops))
    assert cycle.class_of(0.0) == "short"
    assert cycle.class_of(max(cycle.stops)) == "long"
    assert cycle.network_exposures == min(len(set(stops)), 3)


@pytest.mark.parametrize("stops", [(0.0, 0.0), (1.0,), tuple(float(k % 3) for k in range(10)), (0.0, 13.0)])
def test_what_no_cycle_is(stops):
    with pytest.raises(ExposureError):
        ExposureCycle(stops)


def test_a_light_that_drifts_makes_no_further_exposures():
    assert ExposureList(DRIFT).network_exposures == 2
    assert ExposureList(WILD).network_exposures == 3
    assert ExposureList((0.0, 3.0, 3.0, 0.0, 0.0, 3.0, 0.0, 3.0, 3.0, 3.0)).network_exposures == 2
    with pytest.raises(ExposureError, match="must differ"):
        ExposureList((0.0, 0.1, 0.2))


@pytest.mark.parametrize("exposures", [ExposureCycle(PING_PONG), ExposureCycle((0.0, 3.0, 3.0)), ExposureList(WILD)])
def test_what_trains_and_measures_takes_plain_cycles_alone(exposures):
    with pytest.raises(ExposureError, match="each once"):
        plain_cycle(exposures)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_a_list_that_does_not_repeat_is_kept_frame_by_frame(tmp_path):
    path = tmp_path / "stops.txt"
    path.write_text("\n".join(map(str, WILD)))
    exposures = parse_exposures(str(path))
    assert exposures == ExposureList(WILD)
    with pytest.raises(ExposureError, match="frame 16"):
        exposures.stops_at(16)


def test_times_that_jitter_are_a_cycle_and_kept(tmp_path):
    times = [0.998, 8.001, 1.02, 7.9, 1.0, 8.0]
    path = tmp_path / "log.csv"
    path.write_text("frame,exposure_ms\n" + "".join(f"{i},{t}\n" for i, t in enumerate(times)))
    exposures = parse_exposures(str(path))
    assert isinstance(exposures, ExposureCycle)
    assert exposures.period == 2
    recorded = [exposures.recorded_stops(i, exposures.stops_at(i)) for i in range(6)]
    expected = np.log2(np.array(times))
    np.testing.assert_allclose(np.diff(recorded), np.diff(expected), atol=3e-4)
    assert exposures.recorded_stops(99, 3.0) == 3.0


def test_times_without_a_whole_second_cycle_are_the_cycle():
    assert parse_exposures("1ms,8ms,8ms,1ms").stops == parse_exposures("0,3,3,0").stops == (0.0, 3.0, 3.0, 0.0)


def test_rows_belong_to_the_files_that_they_name(tmp_path):
    path = tmp_path / "log.csv"
    rows = [("b.png", 3), ("extra.png", 5), ("a.png", 0), ("c.png", 1.5)]
    path.write_text("file,stops\n" + "".join(f"raw/{name},{stops}\n" for name, stops in rows))
    assert parse_exposures(str(path), ["a.png", "b.png", "c.png"]).stops == (0.0, 3.0, 1.5)
    # without these frames the rows are in the order of their names
    assert parse_exposures(str(path)).stops == (0.0, 3.0, 1.5, 5.0)


LOG = "frame,exposure_ms\n" + "".join(f"{n},{(1, 8)[n % 2] * (1 + 0.3 * (n == 7))}\n" for n in range(16))


def test_rows_belong_to_the_numbers_of_the_files(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    trimmed = parse_exposures(str(path), [f"shot.{n:04d}.png" for n in range(3, 16)])
    np.testing.assert_allclose(np.diff(trimmed.stops)[:4], [-3, 3, -3, 3 + np.log2(1.3)], atol=1e-3)
    gap = [n for n in range(16) if n != 4]
    path.write_text("".join(line for line in LOG.splitlines(True) if not line.startswith("4,")))
    assert len(parse_exposures(str(path), [f"shot.{n:04d}.png" for n in gap])) == 15
    with pytest.raises(InputError, match="no row for frame 4"):
        parse_exposures(str(path), [f"shot.{n:04d}.png" for n in range(3, 16)])
    path.write_text(LOG)  # as many rows as files: the first row is that of the first file
    assert len(parse_exposures(str(path), [f"shot.{n:04d}.png" for n in range(1, 17)])) == 16


def test_a_table_of_other_files(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("file,stops\n" + "".join(f"x{n}.png,{3 * (n % 2)}\n" for n in range(4)))
    with pytest.raises(InputError, match=r"no row for file a0\.png"):
        parse_exposures(str(path), [f"a{n}.png" for n in range(4)])


def test_exposures_that_share_nothing_are_not_left_out():
    """0,3,0,6: the frame of 6 stops can be compared with no other one, and the rest repeats after 2 frames."""
    estimate = estimate_cycle(panned_clip((0.0, 3.0, 0.0, 6.5), 24, noise=0.004))
    assert estimate.cycle is None or len(estimate.cycle) == 4


def test_a_list_that_ends_before_the_clip(tmp_path):
    clip = write_frames(tmp_path / "shot", num_frames=14)
    path = tmp_path / "stops.txt"
    path.write_text("\n".join(map(str, WILD[:12])))
    with pytest.raises(ExposureError, match="has 14 frames, but the exposures of 12 are given"):
        hdrvid.inspect(clip, exposures=str(path))


# ---- windows --------------------------------------------------------------------------------------------------------


def lists_and_cycles() -> list[Exposures]:
    return [
        *(
            ExposureCycle(stops)
            for stops in (PING_PONG, RAMP, ODD_EIGHT, NINE, (0.0, 0.0, 3.0, 3.0), (2.0, 0.0, 4.0, 1.0, 3.0))
        ),
        ExposureList((*DRIFT, *DRIFT)),
        ExposureList(WILD * 2),
    ]


@pytest.mark.parametrize("exposures", lists_and_cycles(), ids=str)
@pytest.mark.parametrize("count", [11, 24])
def test_windows_of_any_pattern(exposures, count):
    rule = WindowRule(exposures)
    for index in range(count):
        window = rule.regular(index, count)
        middle = len(window) // 2
        assert len(window) == 2 * exposures.network_exposures - 1
        assert window[middle] == index
        others = [i for i in window if i != index]
        assert len(others) == len(window) - 1
        assert all(0 <= i < count and abs(i - index) <= rule.reach for i in others)
        stops = exposures.stops_at(index)
        assert all(abs(exposures.stops_at(i) - stops) >= 0.25 for i in others)
        near = [exposures.stops_at(i) for i in range(max(0, index - rule.reach), min(count, index + rule.reach + 1))]
        if exposures.network_exposures == 3:  # what the reference clips and what it shows as noise are both looked for
            assert (min(near) > stops - 0.5) or any(exposures.stops_at(i) < stops for i in others)
            assert (max(near) < stops + 0.5) or any(exposures.stops_at(i) > stops for i in others)


def test_pairs_around_the_reference_are_preferred():
    rule = WindowRule(ExposureCycle(PING_PONG))
    assert rule.regular(9, 24) == (6, 8, 9, 10, 12)  # 4, 0 | 2 | 4, 0
    assert rule.regular(8, 24) == (6, 7, 8, 10, 9)  # 4, 2 | 0 | 4, 2
    assert WindowRule(ExposureCycle(ODD_EIGHT)).regular(12, 24) == (10, 12, 13)
    ramp = WindowRule(ExposureCycle(RAMP))
    for index in range(8, 16):
        window = ramp.regular(index, 24)
        stops = [ramp.exposures.stops_at(i) for i in window]
        assert stops[:2] == stops[3:]


@pytest.mark.parametrize("stops", [(0.0, 3.0), (0.0, 2.0, 4.0), (2.0, 0.0, 4.0)])
def test_windows_of_plain_cycles_are_what_they_were(stops):
    cycle = ExposureCycle(stops)
    for index in range(9):
        assert WindowRule(cycle).regular(index, 9) == cycle.window_indices(index, 9)


@pytest.mark.parametrize("stops", [(0.0, 3.0), (0.0, 2.0, 4.0), PING_PONG, RAMP, NINE])
def test_a_bracket_is_made_of_its_own_frames(stops):
    cycle = ExposureCycle(stops)
    rule, n = WindowRule(cycle, bracket=True), len(stops)
    for index in range(n, 2 * n):
        window = rule.regular(index, 4 * n)
        assert all(n <= i < 2 * n for i in window)
        if cycle.num_levels <= 5 and len(set(stops)) == n:
            assert set(window) == set(range(n, 2 * n))  # all of them, where a window holds them


def test_scenes_flashes_and_repetitions_are_left_out():
    stops = [0.0, 3.0, 0.0, 3.0, 3.0, 0.0, 3.0, 0.0, 3.0]
    labels = [FrameLabel(i, 0, s, 1 if i < 2 else 2, i != 3, 3 if i == 4 else None) for i, s in enumerate(stops)]
    rule = WindowRule(ExposureList((*stops, 1.0, 0.0)))
    assert rule.chosen(labels[2], labels) == (6, 2, 6) or rule.num_neighbours == 4
    assert set(rule.chosen(labels[2], labels)) <= {2, 6, 8}
    assert rule.chosen(labels[0], labels[:1]) is None


# ---- detection ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stops", [PING_PONG, RAMP, ODD_EIGHT, (0.0, 0.0, 3.0), (0.0, 0.0, 3.0, 3.0), (2.0, 0.0, 4.0, 1.0, 3.0)]
)
@pytest.mark.parametrize("pan", [0.0, 3.0])
def test_long_cycles_are_measured(stops, pan):
    estimate = estimate_cycle(panned_clip(stops, 24, pan=pan, noise=0.002))
    assert estimate.cycle is not None, estimate.reason
    assert estimate.confidence >= MIN_CONFIDENCE
    np.testing.assert_allclose(estimate.cycle.stops, stops, atol=0.15)


@pytest.mark.parametrize("stops", [(0.0, 3.0), (0.0, 2.0, 4.0)])
def test_plain_cycles_stay_plain(stops):
    assert estimate_cycle(panned_clip(stops, 24, pan=2.0, noise=0.003)).cycle == ExposureCycle(stops)


@pytest.mark.parametrize("seed", range(4))
def test_what_does_not_repeat_is_no_cycle(seed):
    stops = tuple(float(s) for s in np.random.default_rng(seed).choice([0, 1, 2, 3, 4], 24))
    estimate = estimate_cycle(panned_clip(stops, 24, seed=seed))
    assert estimate.cycle is None
    assert "every frame" in estimate.reason


def test_nine_exposures_that_were_seen_once_are_not_eight():
    estimate = estimate_cycle(panned_clip(NINE, 16))
    assert estimate.cycle is None
    assert contradiction(estimate, ExposureCycle(NINE)) is None


def test_a_list_that_the_pixels_contradict():
    frames = panned_clip(WILD, 16)
    estimate = estimate_cycle(frames)
    assert contradiction(estimate, ExposureList(WILD)) is None
    wrong = contradiction(estimate, ExposureList(WILD[1:] + WILD[:1]))
    assert wrong is not None
    assert wrong.is_sure
    assert "but" in wrong.text


# ---- slips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [PING_PONG, ODD_EIGHT])
@pytest.mark.parametrize("kind", ["gap of 1", "gap of 2", "repeat", "triple", "misfire", "swap", "flash"])
def test_slips_of_long_cycles_are_mended(kind, stops):
    make, positions = slips.SLIPS[kind]
    for at in list(positions)[::9]:
        result = slips.verdict(make(stops, at), stops, 3, measured=False)
        assert result.word != "SILENT", (at, result)


@pytest.mark.parametrize("stops", [PING_PONG, RAMP, ODD_EIGHT])
@pytest.mark.parametrize("kind", ["still cycle", "noise", "brightening"])
def test_nothing_is_said_of_a_long_cycle_that_is_kept(kind, stops):
    result = slips.verdict(slips.CLEAN[kind](stops, 0), stops, 5, measured=False)
    assert (result.wrong, result.events) == ((), ())


def test_a_cut_within_a_list():
    stops = list(itertools.islice(itertools.cycle(WILD), slips.LENGTH))
    shots = [slips.Shot(t, s, scene=int(t >= 13)) for t, s in enumerate(stops)]
    labeller = ListLabeller(ExposureList(tuple(stops)))
    for index, shot in enumerate(shots):
        labeller.add(index, slips.frame(shot, 3, 2.0))
    labeller.finish()
    assert [(e.kind, e.index) for e in labeller.events] == [("cut", 13)]
    assert all((i < 13) == (index < 13) for index in range(6, slips.LENGTH) for i in labeller.window(index))


def test_a_wrong_row_of_a_list_is_named():
    stops = list(itertools.islice(itertools.cycle(WILD), slips.LENGTH))
    labeller = ListLabeller(ExposureList((*stops[:9], 0.0, *stops[10:])))
    for index, s in enumerate([*stops[:9], 3.0, *stops[10:]]):
        labeller.add(index, slips.frame(slips.Shot(index, s), 3, 2.0))
    labeller.finish()
    assert [(e.kind, e.index) for e in labeller.events] == [("unsure", 9)]


# ---- results --------------------------------------------------------------------------------------------------------

SIDE = (96, 160)
CAMERA = SynthesisOptions(clip_percentile=99.5, read_noise=1e-3, full_well=20000.0, bits=16)


@pytest.fixture(scope="module")
def truth() -> list[np.ndarray]:
    scene = procedural_scene(4, SIDE[1], SIDE[0], 20, motion=2.0)
    frames = [scene.render(t) for t in range(20)]
    level = clipping_level(frames[10], 99.5)
    return [f / np.float32(level) for f in frames]


def shoot(truth: Sequence[np.ndarray], stops: Sequence[float], folder: Path) -> Path:
    """Frames of a camera with these exposures, one number a frame, the shortest clipping at 1."""
    import cv2

    folder.mkdir()
    for i, s in enumerate(stops):
        linear = expose(truth[i], 2.0 ** (s - min(stops)), np.random.default_rng([3, i]), CAMERA)
        code = np.round(np.clip(linear, 0, 1) * 65535).astype(np.uint16)
        cv2.imwrite(str(folder / f"{i:06d}.png"), code[..., ::-1])
    return folder


@pytest.mark.parametrize("stops", [PING_PONG, RAMP, ODD_EIGHT, DRIFT, WILD], ids=str)
def test_any_pattern_is_reconstructed(stops, truth, tmp_path):
    of_frames = tuple(itertools.islice(itertools.cycle(stops), 16))
    clip = shoot(truth, of_frames, tmp_path / "shot")
    listed = tmp_path / "stops.txt"
    listed.write_text("\n".join(map(str, of_frames)))
    report = reconstruct_clip(
        [str(clip)], tmp_path / "out", options(exposures=str(listed), response="gamma2.2", preview=False)
    ).as_dict()
    assert report["frames"]["count"] == 16
    assert report["cycle"] == (None if stops in (DRIFT, WILD) else len(stops))
    for i, stops_of_frame in enumerate(of_frames):
        radiance = read_exr(tmp_path / "out" / f"shot.{i:06d}.exr")[0] / report["scale"]
        exposure = 2.0 ** (stops_of_frame - min(of_frames))
        alone = (np.clip(truth[i] * exposure, 0, 1) / exposure).astype(np.float32)
        score, score_alone = psnr_t(radiance, truth[i]), psnr_t(alone, truth[i])
        assert score > 27
        assert score > score_alone + 6 or score_alone > 25  # what a longer exposure clips comes from shorter ones


def test_a_measured_pattern_is_that_of_the_file(truth, tmp_path):
    of_frames = tuple(itertools.islice(itertools.cycle(PING_PONG), 20))
    clip = shoot(truth, of_frames, tmp_path / "shot")
    assert hdrvid.inspect(clip).cycle == ExposureCycle(PING_PONG)


def test_one_result_a_bracket(truth, tmp_path):
    of_frames = tuple(itertools.islice(itertools.cycle(RAMP), 20))
    clip = shoot(truth, of_frames, tmp_path / "shot")
    bracketed = options(exposures="0,1,2,3,4", every="bracket", preview=False)
    report = reconstruct_clip([str(clip)], tmp_path / "out", bracketed).as_dict()
    assert sorted(p.name for p in (tmp_path / "out").glob("*.exr")) == [f"shot.{i:06d}.exr" for i in (2, 7, 12, 17)]
    header = read_exr(tmp_path / "out" / "shot.000007.exr")[1]
    assert {int(word.split(":")[0]) for word in str(header["hdrvid:window"]).split()} == {5, 6, 7, 8, 9}
    assert report["frames"]["count"] == 4
    indices = [i for i, _ in hdrvid.frames(clip, exposures="0,1,2,3,4", every="bracket", only="1", model="classical")]
    assert indices == [0, 5, 10, 15]


def test_a_bracket_that_was_broken_off_is_no_error(truth, tmp_path):
    clip = shoot(truth, (RAMP * 4)[:16], tmp_path / "shot")
    report = reconstruct_clip(
        [str(clip)], tmp_path / "out", options(exposures="0,1,2,3,4", every="bracket", preview=False)
    ).as_dict()
    assert report["problem"] is None
    assert report["frames"]["count"] == 3


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"only": "4"}, "--only takes 1, the shortest, to 3"),
        ({"every": "second"}, "--every takes frame or bracket"),
        ({"every": "bracket", "only": "middle"}, "--every bracket makes one frame of a bracket"),
        ({"only": "x"}, "--only takes one of"),
    ],
)
def test_what_only_and_every_do_not_take(chosen, text, truth, tmp_path):
    clip = shoot(truth, (PING_PONG * 4)[:16], tmp_path / "shot")
    with pytest.raises(UsageError, match=text):
        reconstruct_clip([str(clip)], tmp_path / "out", options(exposures="0,2,4,2", preview=False, **chosen))


def test_there_are_no_brackets_in_a_list(truth, tmp_path):
    clip = shoot(truth, WILD, tmp_path / "shot")
    listed = tmp_path / "stops.txt"
    listed.write_text("\n".join(map(str, WILD)))
    with pytest.raises(UsageError, match="do not repeat, so there are no brackets"):
        reconstruct_clip([str(clip)], tmp_path / "out", options(exposures=str(listed), every="bracket"))


def test_the_memos_networks_take_plain_cycles_alone(truth, tmp_path):
    clip = shoot(truth, (PING_PONG * 4)[:16], tmp_path / "shot")
    with pytest.raises(ModelError, match="use --model default, fast or classical"):
        reconstruct_clip([str(clip)], tmp_path / "out", options(exposures="0,2,4,2", model="memo", preview=False))


def test_floats_that_are_no_codes_are_refused(truth):
    with pytest.raises(UsageError, match="scale them to"):
        hdrvid.merge([f * 255 for f in truth[:3]], (0, 3), model="classical")


def test_a_bracket_merged_from_python(truth):
    pictures = [np.clip(truth[10] * 2.0**s, 0, 1).astype(np.float32) for s in RAMP]
    radiance = hdrvid.merge(pictures, RAMP, response="linear", model="classical")
    assert psnr_t(radiance, truth[10]) > 45


def test_frames_of_a_whole_run_are_not_mixed_with_brackets(truth, tmp_path):
    clip = shoot(truth, (0.0, 3.0) * 6, tmp_path / "shot")
    reconstruct_clip([str(clip)], tmp_path / "out", CLASSICAL)
    with pytest.raises(hdrvid.errors.OutputError, match="every None, now bracket"):
        reconstruct_clip([str(clip)], tmp_path / "out", options(every="bracket", preview=False))


def test_a_folder_of_the_name_of_an_option_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("auto", "0,3"):
        (tmp_path / name).mkdir()
        check_exposures(name)
    assert parse_exposures("auto") is None
    assert parse_exposures("0,3").stops == (0.0, 3.0)
    (tmp_path / "stops.txt").mkdir()
    with pytest.raises(InputError, match="is no file"):
        check_exposures("stops.txt")
