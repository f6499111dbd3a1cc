"""`hdrvid report`: figures, pictures and text of the page, damage, and the page in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Chromium, needs_browser
from test_reconstruct import scene_radiance, write_frames

from hdrvid import pictures
from hdrvid.cli import main
from hdrvid.color.radiance import luminance
from hdrvid.color.response import RESPONSES
from hdrvid.errors import InputError, ModelError, OutputError, UsageError
from hdrvid.html import reconstruction_report, report_options
from hdrvid.html.clip_results import find_clips
from hdrvid.html.histogram import HISTOGRAM_STEP, Histogram, darkest_linear
from hdrvid.html.reconstruction_report import MAX_PAGE_BYTES, write_report
from hdrvid.html.report_options import chosen_frames, measured_indices, parse_frames
from hdrvid.io.exr import read_exr, write_exr
from hdrvid.metrics.exposure_flicker import (
    FlickerMeter,
    FrameBrightness,
    brightness_by_exposure,
    flicker_stops,
    frame_levels,
    step_from_neighbours,
)
from hdrvid.options.report import ReportOptions
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import Window

pytestmark = pytest.mark.usefixtures("one_thread")

HOSTILE = "<script>alert(1)<|script> ' & \"><img src=x onerror='y'>@BODY@@TITLE@"
NUM_FRAMES = 12


def reconstructed(clip: Path, out: Path, stops: str = "0,3", **settings: object) -> Path:
    options = {"model": "classical", "device": "cpu", "exposures": stops, "preview": False, **settings}
    reconstruct_clip([str(clip)], out, ReconstructOptions(**options))  # type: ignore[arg-type]
    return out


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    (clip,) = find_clips(finished)
    return write_report(clip, tmp_path_factory.mktemp("viewer") / "page.html")


@pytest.fixture(scope="module")
def page(written):
    return Page(written.path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """Tags, attributes, text and pictures; unclosed and stray tags are errors."""

    VOID = frozenset({"meta", "img", "input"})

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.attributes, self.texts, self.uris, self.script = html, [], [], [], {}, ""
        self._open = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag == "img":
            self.uris.setdefault(dict(attrs)["alt"], []).append(dict(attrs)["src"])
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "script" in self._open:
            self.script += data
        elif "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(self.texts)

    @property
    def wipes(self):
        """Names of the sliders between two pictures."""
        return [v for t, k, v in self.attributes if t == "input" and k == "aria-label" and "result on the right" in v]

    def picture(self, alt, number=0):
        """RGB of an embedded picture."""
        head, _, data = self.uris[alt][number].partition(",")
        assert re.fullmatch("data:image/(png|jpeg);base64", head)
        return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def report_of(results, tmp_path, *options, **more):
    """The only clip of a folder: what was written, and the page."""
    (clip,) = find_clips(results)
    written = write_report(clip, tmp_path / "page.html", *options, **more)
    return written, Page(written.path.read_text(encoding="utf-8"))


def hdrvid(capfd, *arguments):
    with pytest.raises(SystemExit) as leaving:
        main([str(a) for a in arguments])
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    return int(leaving.value.code or 0), out, err


# ---- flicker ---------------------------------------------------------------------------------------------------------


def moving_levels(index, offset, fade=0.0):
    """Luminance of a noisy texture with a square that crosses it, brighter by `offset` + `fade` x index stops."""
    texture = cv2.GaussianBlur(np.random.default_rng(3).standard_normal((90, 160)), (0, 0), 5)
    stops = texture / texture.std() * 1.5 - 3 + np.random.default_rng(index).normal(0, 0.02, texture.shape)
    stops[30:60, 5 * index : 5 * index + 30] = 1.0
    return frame_levels(np.exp2(stops + offset + fade * index).astype(np.float32))


def brightness_of(offsets, cycle, num_frames=18, fade=0.0):
    classes = {2: ("short", "long"), 3: ("short", "middle", "long")}[cycle]
    levels = [moving_levels(i, offsets[i % cycle], fade) for i in range(num_frames)]
    return [
        FrameBrightness(
            i,
            float(i % cycle),
            classes[i % cycle],
            float(levels[i].mean()),
            step_from_neighbours(*levels[i - 1 : i + 2]) if 0 < i < num_frames - 1 else None,
        )
        for i in range(num_frames)
    ]


@pytest.mark.parametrize("fade", [0.0, 0.05])
def test_flicker_is_what_was_put_in(fade):
    for offsets in ((0.0, 0.0), (0.0, 0.08), (0.3, 0.0), (0.0, 0.01, -0.02), (0.0, 0.2, 0.1)):
        frames = brightness_of(offsets, len(offsets), fade=fade)
        found = brightness_by_exposure(frames, len(offsets))
        expected = np.array(offsets) - np.mean(offsets)
        assert list(found.values()) == pytest.approx(list(expected), abs=0.003)
        assert flicker_stops(frames, len(offsets)) == pytest.approx(max(offsets) - min(offsets), abs=0.004)


def test_flicker_of_cuts_motion_and_darkness_is_not_invented():
    rng = np.random.default_rng(0)
    wild = [rng.uniform(-7, 2, (40, 60)) for _ in range(3)]
    assert step_from_neighbours(*wild) is None
    dark = np.full((40, 60), -9.0)
    assert step_from_neighbours(dark, dark + 1, dark) is None
    one = [FrameBrightness(0, 0.0, "short", -3.0)]
    assert flicker_stops(one, 2) is None
    # a doubled frame has a neighbour of its own exposure, a missing one leaves a gap: neither counts
    frames = brightness_of((0.0, 0.1), 2)
    doubled = [FrameBrightness(f.index, 0.0, "short", f.mean_level, 9.0) if f.index == 7 else f for f in frames]
    gap = [f for f in frames if f.index != 7]
    for odd in (doubled, gap):
        assert flicker_stops(odd, 2) == pytest.approx(0.1, abs=0.004)


def test_levels_are_finite_whatever_the_file_holds():
    light = np.array([[0.0, -1.0, np.nan, np.inf, 1.0, 0.25]], np.float32)
    levels = frame_levels(light)
    assert levels.tolist() == [[-12.0, -12.0, -12.0, 16.0, 0.0, -2.0]]
    assert frame_levels(np.ones((300, 960), np.float32)).shape == (75, 240)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_meter_measures_what_the_levels_say(dtype):
    frame = (np.random.default_rng(0).random((180, 960, 3)) * 4).astype(dtype)
    frame[3, 5] = np.nan
    meter = FlickerMeter(2.0)
    meter.add(0, 0.0, "short", frame)
    light = luminance(np.nan_to_num(frame.astype(np.float32))) / 2
    assert meter.frames[0].mean_level == pytest.approx(float(frame_levels(light).mean()), abs=1e-4)


# ---- range of luminance ----------------------------------------------------------------------------------------------


def test_a_histogram_knows_its_range():
    histogram = Histogram()
    assert histogram.range_stops == 0
    light = np.exp2(np.linspace(-7, 3, 100_001))
    keep = light < 2.0
    histogram.add(light, keep)
    assert histogram.kept_share == pytest.approx(0.8, abs=1e-4)
    low, high = histogram.limits()
    assert (low, high) == pytest.approx((-7 + 0.008, 1 - 0.008), abs=1 / 32)
    shares = histogram.shares
    at = round((-3 - Histogram.LOW) / HISTOGRAM_STEP)
    assert shares[at] == pytest.approx(0.025, rel=0.01)
    assert shares.sum() == pytest.approx(histogram.kept_share)
    histogram.add(np.array([np.nan, np.inf, -1.0, 0.0]))
    assert histogram.total == 100_005


@pytest.mark.parametrize("name", RESPONSES)
def test_noise_begins_above_black(name):
    linear = darkest_linear(RESPONSES[name])
    assert 0 < linear < 0.02


def test_the_range_of_a_reconstruction(written, page, original):
    light = np.concatenate([luminance(scene_radiance(i, 64, 48)).ravel() for i in written.shown])

    def true_range(exposure, top):
        kept = light[(light * exposure > 0.05**2.2) & (light * exposure < top)]
        low, high = np.percentile(np.log2(kept), (0.1, 99.9))
        return high - low

    assert written.range_stops == pytest.approx(true_range(8, 8), abs=0.15)
    assert set(written.input_range_stops) == {"short", "long"}
    assert written.input_range_stops["short"] == pytest.approx(true_range(1, 1), abs=0.25)
    # a pixel is clipped where one channel is, which its luminance does not tell
    assert true_range(8, 1) - 0.6 < written.input_range_stops["long"] < true_range(8, 1)
    long_frames = [cv2.imread(str(original / f"f{i:06d}.png")) / 255 for i in written.shown if i % 2]
    usable = [(f.max(-1) <= 0.98) & (luminance(f[..., ::-1] ** 2.2) >= 0.05**2.2) for f in long_frames]
    share = re.search(r"long frames [\d.]+ stops, (\d+) % of their pixels", page.text)[1]
    assert float(share) == pytest.approx(100 * np.mean(usable), abs=1)
    gained = written.range_stops - max(written.input_range_stops.values())
    assert f"+{max(gained, 0):.1f}" in page.text


# ---- which frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cycle", [("short", "long"), ("long", "short"), ("short", "middle", "long")])
def test_chosen_frames_are_spread_over_clip_and_exposures(cycle):
    for count in (*range(1, 40), 100, 1001):
        exposures = {5 + i: cycle[i % len(cycle)] for i in range(count)}
        chosen = chosen_frames(exposures)
        assert chosen == sorted(set(chosen))
        assert {5, 4 + count} <= set(chosen) <= set(exposures)
        assert len(chosen) == min(count, 8) or (count < 20 and 6 <= len(chosen) <= 8)
        assert {exposures[i] for i in chosen} == set(exposures.values())
        assert all(b - a <= count / 7 + 6 for a, b in pairwise(chosen))


def test_frames_by_number():
    assert parse_frames("7, 2-4,3") == [2, 3, 4, 7]
    assert len(parse_frames("0-63")) == 64
    for bad in ("", "a", "3-1", "0-64", "0-99999999999", "1,,2"):
        with pytest.raises(UsageError):
            parse_frames(bad)


def test_long_clips_are_measured_in_runs():
    assert measured_indices(range(2000)) == list(range(2000))
    indices = measured_indices(range(3, 100_003))
    assert len(indices) == 2000
    assert (indices[0], indices[-1]) == (3, 100_002)
    assert sorted(set(indices)) == indices
    runs = np.split(np.array(indices), np.flatnonzero(np.diff(indices) > 1) + 1)
    assert min(map(len, runs)) == 20


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_done(written, page, original):
    assert written.num_bytes == written.path.stat().st_size < MAX_PAGE_BYTES
    assert written.shown == (0, 1, 3, 4, 6, 9, 10, 11) or len(written.shown) == 8
    assert not written.problems
    assert not written.notes
    for fact in (
        "64 × 48, 24 fps",
        "12 frames, 0 to 11",
        "gamma2.2 (measured)",
        "(declared)",
        "classical",
        str(original),
    ):
        assert fact in page.text
    assert f"{written.flicker:.3f}" in page.text
    for index in written.shown:
        assert f"Frame {index} · {('short', 'long')[index % 2]} · {3 * (index % 2)} stops" in page.text
    assert page.tags.count("svg") == 2 + len(written.shown), "two charts, and a histogram of every frame"
    titles = [t for t in page.texts if re.match(r"frame \d+, (short|long): ", t)]
    assert len(titles) == 2 * NUM_FRAMES + NUM_FRAMES - 2, "exposure and mean of every frame, step of all but the ends"
    numbers = re.findall(r' (?:d|cx|cy|x|y|y1)="([^"]*)"', page.html)
    assert numbers
    assert not [n for n in numbers if "nan" in n or "inf" in n]


def test_the_page_needs_nothing_else(page):
    for tag, name, value in page.attributes:
        assert name not in ("srcset", "action", "background", "style") or value.startswith(("--", "background:rgb("))
        if name in ("src", "href"):
            assert value.startswith("#" if tag == "a" else "data:image/"), (tag, value)
        assert not name.startswith("on")
    assert "http:" not in page.html
    assert "https:" not in page.html
    assert not re.search(r"url\(|@import", page.html)
    (policy,) = (v for t, k, v in page.attributes if k == "content" and v.startswith("default-src"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_before_is_the_frame_as_shot(written, page, original):
    for index in written.shown:
        shot = cv2.imread(str(original / f"f{index:06d}.png"))[..., ::-1]
        assert (page.picture(f"Frame {index} as shot") == shot).all()


def test_after_has_one_exposure_for_the_whole_clip(results, tmp_path):
    shutil.copy(results / "shot.000000.exr", results / "shot.000007.exr")
    write_exr(results / "shot.000006.exr", read_exr(results / "shot.000000.exr")[0] / 64)
    _, page = report_of(results, tmp_path, ReportOptions(frames="0,1,6,7", weights=False))
    first, second, copy = (page.picture(f"Frame {i}, result") for i in (0, 1, 7))
    assert (first == copy).all(), "a dark frame before it changes nothing"
    assert page.picture("Frame 6, result").mean() < first.mean() / 4, "dark stays dark"
    moved = first[1:, 2:].astype(int) - second[:-1, :-2]
    assert np.abs(moved).mean() < 4, "the scene moves by (2, 1) pixels and changes nothing else"
    values = read_exr(results / "shot.000000.exr")[0].mean(-1)
    order = np.argsort(values.ravel())
    assert first.mean(-1).ravel()[order[:300]].mean() + 40 < first.mean(-1).ravel()[order[-300:]].mean()


def test_weights_and_flow_are_those_of_the_model(written, page, original):
    model = load_reconstructor("classical", 2, device="cpu")
    index = written.shown[3]
    window = [i if i < NUM_FRAMES else NUM_FRAMES - 2 for i in (index - 1, index, index + 1)]
    frames = [cv2.imread(str(original / f"f{i:06d}.png"))[..., ::-1].astype(np.float32) / 255 for i in window]
    made = model.reconstruct(Window(index, tuple(frames), tuple((1.0, 8.0)[i % 2] for i in window)), diagnostics=True)
    assert (page.picture("blend weights", 3) == pictures.weights_picture(made.weights, 2)).all()
    assert (page.picture("flow to the frame before", 3) == pictures.flow_picture(made.flow_px[0])).all()
    assert (page.picture("flow to the frame after", 3) == pictures.flow_picture(made.flow_px[1])).all()


def test_weights_can_be_left_out(results, tmp_path):
    written, page = report_of(results, tmp_path, ReportOptions(weights=False))
    assert "blend weights" not in page.uris
    assert "Blend weights" not in page.text
    assert not written.notes


def test_the_model_must_be_the_one_of_the_results(results, tmp_path):
    values = json.loads((results / "shot.json").read_text())
    for name, said in (("reference", "the model has none"), ("my_own", "--model names its file")):
        (results / "shot.json").write_text(json.dumps({**values, "model": {"name": name, "sha256": None}}))
        written, page = report_of(results, tmp_path, ReportOptions(frames="1,3"))
        assert " ".join(written.notes).count(said) >= 1
        assert page.text.count(said) == 1
        assert "blend weights" not in page.uris
    (results / "shot.json").write_text(json.dumps({**values, "model": {"name": "classical", "sha256": "ab"}}))
    assert "another version" in " ".join(report_of(results, tmp_path, ReportOptions(frames="1"))[0].notes)
    with pytest.raises(ModelError):
        report_of(results, tmp_path, ReportOptions(frames="1", model="none.safetensors"))


def test_results_that_the_model_does_not_repeat_are_told(results, tmp_path):
    path = results / "shot.000001.exr"
    pixels, header = read_exr(path)
    write_exr(path, pixels * 1.2, attributes={k: v for k, v in header.items() if k.startswith("hdrvid:")})
    written, _ = report_of(results, tmp_path, ReportOptions(frames="0,1"))
    (note,) = written.notes
    assert re.search(r"frame 1: .* differs by 0\.2\d stops", note)


@pytest.mark.parametrize(
    ("text", "indices", "exposures"),
    [
        ("4:3 5:0 6:0", (4, 5, 6), (8.0, 1.0, 1.0)),
        ("2:0 3:3 2:0", (2, 3, 2), (1.0, 8.0, 1.0)),
        ("4 3 2", (4, 3, 2), (1.0, 8.0, 1.0)),
        ("junk", (2, 3, 4), (1.0, 8.0, 1.0)),
        ("1:2:3 4 5", (2, 3, 4), (1.0, 8.0, 1.0)),
        ("4:0 5:3", (2, 3, 4), (1.0, 8.0, 1.0)),
    ],
)
def test_the_window_is_that_of_the_header(results, original, tmp_path, text, indices, exposures):
    """A dropped or doubled frame makes other windows than the cycle does."""
    path = results / "shot.000003.exr"
    pixels, header = read_exr(path)
    own = {k: v for k, v in header.items() if k.startswith("hdrvid:")}
    write_exr(path, pixels, attributes={**own, "hdrvid:window": text})
    _, page = report_of(results, tmp_path, ReportOptions(frames="3"))
    frames = [cv2.imread(str(original / f"f{i:06d}.png"))[..., ::-1].astype(np.float32) / 255 for i in indices]
    model = load_reconstructor("classical", 2, device="cpu")
    made = model.reconstruct(Window(3, tuple(frames), exposures), diagnostics=True)
    assert (page.picture("blend weights") == pictures.weights_picture(made.weights, 2)).all()


def test_exposures_are_those_of_the_headers(results, tmp_path):
    path = results / "shot.000005.exr"
    pixels, header = read_exr(path)
    own = {k: v for k, v in header.items() if k.startswith("hdrvid:")}
    write_exr(path, pixels, attributes={**own, "hdrvid:exposure_stops": 0.0})
    _, page = report_of(results, tmp_path, ReportOptions(frames="5,7", weights=False))
    assert "Frame 5 · short · 0 stops" in page.text
    assert "Frame 7 · long · 3 stops" in page.text


# ---- all kinds of results --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"format": "hdr"}, {"white": "shortest"}, {"response": "srgb"}])
def test_settings_do_not_change_what_is_seen(original, page, written, tmp_path, settings):
    out = reconstructed(original, tmp_path / "out", **settings)
    found, own = report_of(out, tmp_path)
    assert not found.notes
    assert found.shown == written.shown
    if "response" not in settings:
        assert found.range_stops == pytest.approx(written.range_stops, abs=0.05)
        assert found.flicker == pytest.approx(written.flicker, abs=0.003)
        a, b = (p.picture("Frame 1, result").astype(int) for p in (page, own))
        assert np.abs(a - b).max() <= 3
    if settings.get("white") == "shortest":
        assert "1.0 is where the shortest exposure clips" in own.text


def test_three_exposures(tmp_path):
    clip = write_frames(tmp_path / "three", stops=(0, 2, 4), num_frames=7)
    written, page = report_of(reconstructed(clip, tmp_path / "out", "0,2,4"), tmp_path)
    assert set(written.input_range_stops) == {"short", "middle", "long"}
    assert "Frame 1 · middle · 2 stops" in page.text
    assert len(page.uris["blend weights"]) == 7
    assert not written.notes
    assert {"short clips", "middle clips", "long clips"} <= set(page.texts)


def test_small_odd_frames_and_a_single_result(tmp_path):
    clip = write_frames(tmp_path / "small", num_frames=3, width=17, height=13)
    out = reconstructed(clip, tmp_path / "out", frame_range=(1, 1))
    assert [c.stem for c in find_clips(out)] == ["small.000001-000001"]
    written, page = report_of(out, tmp_path)
    assert written.shown == (1,)
    assert written.flicker is None
    assert page.picture("Frame 1, result").shape == (13, 17, 3)
    assert page.picture("Frame 1 as shot").shape == (13, 17, 3)
    assert ("figure", "class", "frame tiny") in page.attributes
    assert "cannot be compared" in page.text


def test_linear_frames(tmp_path, original):
    clip = tmp_path / "linear"
    clip.mkdir()
    for path in sorted(original.iterdir())[:4]:
        code = cv2.imread(str(path))[..., ::-1].astype(np.float32) / 255
        write_exr(clip / f"{path.stem}.exr", np.ascontiguousarray(code**2.2))
    written, page = report_of(reconstructed(clip, tmp_path / "out"), tmp_path)
    assert not written.notes
    shot = cv2.imread(str(original / "f000001.png"))[..., ::-1].astype(int)
    shown = page.picture("Frame 1 as shot").astype(int)
    assert np.abs(shown - shot).max() < 12, "sRGB-coded, which is nearly gamma 2.2"


def test_other_programs_files_beside_the_results(results, tmp_path):
    (results / "notes.json").write_text('["not ours"]')
    (results / "broken.json").write_text('{"source": ')
    (results / "settings.json").write_text('{"source": 1, "other": 2}')
    (results / ".shot.000003.partial-12.exr").write_bytes(b"x")
    (results / "shot.7.exr").write_bytes(b"x")
    (results / "shot.000001.exr.bak").write_bytes(b"x")
    (clip,) = find_clips(results)
    assert list(clip.frames) == list(range(NUM_FRAMES))
    (same,) = find_clips(results / "shot.json")
    assert same == clip
    with pytest.raises(InputError, match="not written by hdrvid reconstruct"):
        find_clips(results / "notes.json")


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda out: shutil.rmtree(out), "does not exist"),
        (lambda out: [p.unlink() for p in out.iterdir()], "holds no results of hdrvid reconstruct"),
        (lambda out: (out / "shot.json").unlink(), "no shot.json"),
        (lambda out: [p.unlink() for p in out.glob("*.exr")], "none of its frames"),
        (lambda out: (out / "shot.json").write_text('{"source": "a", "stops": "b", "scale": 1}'), "damaged"),
        (lambda out: (out / "shot.json").write_text('{"source": "a", "stops": [0, 3], "scale": -1}'), "damaged"),
        (lambda out: (out / "shot.json").write_text('{"source": "a", "stops": [0, 99], "scale": 1}'), "damaged"),
    ],
)
def test_folders_without_results(results, prepare, said):
    prepare(results)
    with pytest.raises(InputError, match=said):
        find_clips(results)


def test_a_file_is_no_folder(original):
    with pytest.raises(InputError, match="neither a folder"):
        find_clips(original / "f000000.png")


# ---- damage ----------------------------------------------------------------------------------------------------------


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_results_are_listed_and_left_out(results, tmp_path, capfd):
    truncate(results / "shot.000004.exr")
    truncate(results / "shot.000000.exr")
    (results / "shot.000008.exr").unlink()
    code, out, err = hdrvid(capfd, "report", results, "-o", tmp_path / "page.html", "--json")
    assert code == 1
    errors = [line for line in err.splitlines() if line.startswith("hdrvid: error: ")]
    assert "1 frame(s) of shot are gone" in errors[0]
    assert [re.search(r"shot\.(\d+)\.exr", e)[1] for e in errors[1:]] == ["000000", "000004"]
    found = json.loads(out)
    assert len(found["problems"]) == 3
    assert not {0, 4, 8} & set(found["shown"])
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "3 problems" in page.text
    assert "Without results: frame 8." in page.text
    code, _, _ = hdrvid(capfd, "report", results, "--frames", "3,4", "-o", tmp_path / "page.html", "--no-weights")
    assert code == 1
    assert "Frame 3, result" in Page((tmp_path / "page.html").read_text(encoding="utf-8")).uris


def test_damage_in_a_frame_that_was_not_measured(results, tmp_path, monkeypatch):
    monkeypatch.setattr(report_options, "MEASURED_FRAMES", 6)
    monkeypatch.setattr(report_options, "MEASURED_RUN", 3)
    truncate(results / "shot.000005.exr")
    written, page = report_of(results, tmp_path, ReportOptions(frames="2,5,6", weights=False))
    assert written.shown == (2, 6)
    assert "shot.000005.exr" in written.problems[0]
    assert "Measured on 6 of 12 results." in page.text
    assert "Frame 6 · short · 0 stops" in page.text


def test_no_frame_left(results, tmp_path, capfd):
    for path in results.glob("*.exr"):
        truncate(path)
    code, out, err = hdrvid(capfd, "report", results)
    assert (code, out) == (1, "")
    assert "no frame of shot can be read" in err
    assert not list(results.glob("*.html"))


def test_without_the_original(results, original, tmp_path):
    moved = shutil.copytree(original, tmp_path / "elsewhere")
    values = json.loads((results / "shot.json").read_text())
    (results / "shot.json").write_text(json.dumps({**values, "source": str(tmp_path / "gone")}))
    written, page = report_of(results, tmp_path)
    (note,) = written.notes
    assert "gone" in note
    assert "--clip names it" in note
    assert note in page.text
    assert not page.wipes
    assert not [alt for alt in page.uris if alt.endswith("as shot") or "weights" in alt]
    assert f"{written.range_stops:.1f}" in page.text
    written, page = report_of(results, tmp_path, ReportOptions(clip=str(moved)))
    assert not written.notes
    assert len(page.wipes) == len(written.shown) + 1, "and the one in motion"
    with pytest.raises(InputError):
        report_of(results, tmp_path, ReportOptions(clip=str(tmp_path / "gone")))


def test_another_clip_is_not_taken_for_the_original(results, tmp_path):
    other = write_frames(tmp_path / "other", num_frames=NUM_FRAMES, width=32, height=24)
    with pytest.raises(InputError, match="32x24, but the results were made from 64x48"):
        report_of(results, tmp_path, ReportOptions(clip=str(other)))
    values = json.loads((results / "shot.json").read_text())
    (results / "shot.json").write_text(json.dumps({**values, "source": str(other)}))
    written, page = report_of(results, tmp_path)
    assert "32x24" in " ".join(written.notes)
    assert not page.wipes


def test_an_original_that_lost_frames(results, original, tmp_path):
    short = shutil.copytree(original, tmp_path / "short")
    (short / "f000011.png").unlink()
    truncate(short / "f000006.png")
    written, page = report_of(results, tmp_path, ReportOptions(clip=str(short), frames="0,6,8,11"))
    notes = " ".join(written.notes)
    assert "Frame 6 as shot" in notes
    assert "Frame 11 as shot" in notes
    assert {"Frame 0 as shot", "Frame 8 as shot", "Frame 6, result", "Frame 11, result"} <= set(page.uris)
    assert not {"Frame 6 as shot", "Frame 11 as shot"} & set(page.uris)
    assert len(page.uris["blend weights"]) == 2


@pytest.mark.parametrize("lost", [True, False])
def test_a_response_of_a_file_is_in_the_results(original, tmp_path, lost, monkeypatch):
    """Given by a relative path, and by a file that is not there any more when the page is made."""
    (tmp_path / "cameras").mkdir()
    codes = np.linspace(0, 1, 256)
    np.savetxt(tmp_path / "cameras" / "mine.csv", np.stack([codes, codes**2.1], 1), delimiter=",")
    monkeypatch.chdir(tmp_path)
    out = reconstructed(original, tmp_path / "out", response="cameras/mine.csv")
    monkeypatch.chdir(tmp_path / "out")
    if lost:
        (tmp_path / "cameras" / "mine.csv").unlink()
    written, page = report_of(out, tmp_path)
    assert not [note for note in written.notes if "weights" in note.lower()]
    assert page.uris["blend weights"]
    assert written.input_range_stops
    kept = json.loads((out / "shot.json").read_text())["response_curve"]
    assert len(kept) == 256
    assert float(kept[100].split(",")[1]) == pytest.approx(codes[100] ** 2.1, rel=1e-6)


def test_an_unknown_response_costs_the_weights_only(results, tmp_path):
    values = json.loads((results / "shot.json").read_text())
    (results / "shot.json").write_text(json.dumps({**values, "response": "lost.csv", "response_curve": ["x"]}))
    written, page = report_of(results, tmp_path)
    assert "lost.csv" in " ".join(written.notes)
    assert not written.input_range_stops
    assert "Frame 0 as shot" in page.uris
    assert "blend weights" not in page.uris


def test_the_page_is_complete_or_not_there(results, tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    (clip,) = find_clips(results)
    write_report(clip, target, ReportOptions(frames="0", weights=False))
    before = target.read_text()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(clip, target, ReportOptions(frames="0", weights=False))
    assert target.read_text() == before
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    monkeypatch.undo()
    target.write_text("not a report of hdrvid")
    with pytest.raises(OutputError, match="was not written by this command"):
        write_report(clip, target, ReportOptions(frames="0", weights=False))
    with pytest.raises(OutputError, match="folder"):
        write_report(clip, tmp_path / "none" / "page.html", ReportOptions(frames="0", weights=False))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_the_page_replaces_nothing_but_a_file(results, tmp_path, capfd):
    os.mkfifo(tmp_path / "page.html")
    code, out, err = hdrvid(capfd, "report", results, "--no-weights", "-o", tmp_path / "page.html")
    assert (code, out) == (1, "")
    assert "a pipe of that name is in the way" in err
    assert (tmp_path / "page.html").is_fifo()


def test_pictures_share_a_budget(results, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for index in range(NUM_FRAMES):
        path = results / f"shot.{index:06d}.exr"
        _, header = read_exr(path)
        noise = np.exp2(rng.uniform(-8, 3, (540, 1200, 3)).astype(np.float32))
        write_exr(path, noise, attributes={k: v for k, v in header.items() if k.startswith("hdrvid:")})
    values = json.loads((results / "shot.json").read_text())
    (results / "shot.json").write_text(json.dumps({**values, "source": "gone", "size": [1200, 540]}))
    monkeypatch.setattr(reconstruction_report, "PICTURE_BYTES", 400_000)
    written, page = report_of(results, tmp_path)
    data = {alt: len(uri) for alt, uris in page.uris.items() for uri in uris}
    assert len(data) == 3 * 8 + 1, "result and two pictures of the contact sheet a frame, and one of the video"
    results_only = [size for alt, size in data.items() if re.fullmatch(r"Frame \d+, result", alt)]
    assert max(results_only) < 4 / 3 * 400_000 / 8 / 3.3 + 100
    assert written.num_bytes < MAX_PAGE_BYTES, "noise is the worst there is"
    assert min(page.picture(f"Frame {i}, result").shape[1] for i in written.shown) >= 100
    monkeypatch.undo()
    written, page = report_of(results, tmp_path, ReportOptions(frames="0-1", motion=False))
    assert page.picture("Frame 0, result").shape == (432, 960, 3)


def test_hostile_names_are_text(results, tmp_path):
    for path in list(results.iterdir()):
        path.rename(results / (HOSTILE + path.name.removeprefix("shot")))
    report = results / f"{HOSTILE}.json"
    values = json.loads(report.read_text())
    for key in ("source", "response", "response_from", "version", "exposures_from", "frames_per_second"):
        values[key] = HOSTILE
    values.update(warnings=[HOSTILE, 7], problem=HOSTILE, events=[HOSTILE, {HOSTILE: HOSTILE}], size=[HOSTILE])
    values.update(model={"name": HOSTILE, "sha256": HOSTILE}, details={HOSTILE: HOSTILE}, timings=HOSTILE)
    report.write_text(json.dumps(values))
    truncate(results / f"{HOSTILE}.000002.exr")
    written, page = report_of(results, tmp_path)
    assert len(written.problems) == 1
    assert page.tags.count("script") == page.tags.count("style") == page.tags.count("main") == 1
    assert not [k for _, k, _ in page.attributes if k.startswith("on")]
    assert all(v.startswith("data:") for _, k, v in page.attributes if k == "src")
    assert page.text.count(HOSTILE) >= 10
    assert "2 events in the clip" in page.text


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, [None], {"a": {}}])
def test_other_values_in_the_json_do_no_harm(results, tmp_path, value):
    values = json.loads((results / "shot.json").read_text())
    kept = ("stops", "scale", "source")
    (results / "shot.json").write_text(json.dumps({k: v if k in kept else value for k, v in values.items()}))
    written, _ = report_of(results, tmp_path, ReportOptions(frames="0"))
    assert written.shown == (0,)


# ---- command line ----------------------------------------------------------------------------------------------------


def test_the_command(results, original, tmp_path, capfd):
    code, out, err = hdrvid(capfd, "report", results, "--no-weights")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("shot: 12 frame(s), flicker 0.0")
    assert lines[1] == f"{results}/shot.report.html"
    assert (results / "shot.report.html").is_file()
    assert {p.suffix for p in results.iterdir()} == {".exr", ".json", ".html"}
    code, out, _ = hdrvid(capfd, "report", results / "shot.json", "--frames", "2", "--json", "-o", tmp_path / "a.html")
    assert code == 0
    found = json.loads(out)
    assert found["shown"] == [2]
    assert found["report"] == str(tmp_path / "a.html")
    assert set(found) >= {"ping_pong_stops", "range_stops", "input_range_stops", "notes", "problems", "num_bytes"}


def test_usage(results, capfd):
    for arguments, code, said in (
        (("--frames", "x"), 2, "--frames takes"),
        (("--tonemap", "nice"), 2, "--tonemap takes one of neutral, reinhard"),
        (("--frames", "12"), 1, "frame 12 of shot is not in the results: they are of frames 0-11"),
        (("--clip", "/no/such.mov"), 1, "such.mov"),
    ):
        found, out, err = hdrvid(capfd, "report", results, *arguments)
        assert (found, out) == (code, "")
        assert said in err
    assert not list(results.glob("*.html"))


def test_several_clips_have_a_page_each(results, original, tmp_path, capfd):
    other = write_frames(tmp_path / "other", num_frames=3)
    reconstructed(other, results)
    code, out, _ = hdrvid(capfd, "report", results, "--no-weights", "--json")
    assert code == 0
    assert [r["clip"] for r in json.loads(out)] == ["other", "shot"]
    assert {p.name for p in results.glob("*.html")} == {"other.report.html", "shot.report.html"}
    code, _, err = hdrvid(capfd, "report", results, "-o", tmp_path / "page.html")
    assert code == 2
    assert "other.json" in err
    for path in results.glob("other.*.exr"):
        truncate(path)
    code, out, err = hdrvid(capfd, "report", results, "--no-weights")
    assert code == 1
    assert "shot.report.html" in out
    assert "other: no frame of other can be read" in err


# ---- in a browser ----------------------------------------------------------------------------------------------------


@needs_browser
def test_the_slider_in_a_browser(written):
    path = written.path.with_name("page ü #1.html")
    shutil.copy(written.path, path)
    with Chromium(1280, 900) as browser:
        browser.open(path)
        browser.run("document.querySelector('.frame .compare').scrollIntoView({block: 'center'})")
        box = browser.run(
            "(r => [r.x, r.y, r.width, r.height])(document.querySelector('.frame .compare').getBoundingClientRect())"
        )
        x, y, width, height = box

        def share():
            return float(
                browser.run("document.querySelector('.frame .compare').style.getPropertyValue('--at')").rstrip("%")
            )

        def column(at):
            """Mean colour of what is seen there, away from handle and captions."""
            part = browser.seen()[int(y + 0.1 * height) : int(y + 0.35 * height)]
            return part[:, int(x + at * width) - 3 : int(x + at * width) + 4].mean((0, 1))

        assert share() == 50
        browser.mouse("mousePressed", x + 0.2 * width, y + 0.3 * height)
        assert share() == pytest.approx(20, abs=1)
        result = column(0.6)
        browser.mouse("mouseMoved", x + 0.8 * width, y + 0.3 * height)
        browser.mouse("mouseReleased", x + 0.8 * width, y + 0.3 * height)
        assert share() == pytest.approx(80, abs=1)
        as_shot = column(0.6)
        assert result.mean() > as_shot.mean() + 30, "frame 0 is a short one: dark as shot, bright in the result"
        browser.key("Home")
        assert share() == 0
        assert column(0.6) == pytest.approx(result, abs=1)
        browser.key("End")
        assert share() == 100
        assert column(0.6) == pytest.approx(as_shot, abs=1)
        browser.key("ArrowLeft")
        assert share() == 98
        browser.key("ArrowLeft", modifiers=8)
        assert share() == 88
        browser.key("ArrowRight")
        assert share() == 90
        assert browser.run("document.activeElement.getAttribute('aria-valuetext')") == "90 % as shot"
        browser.key("Tab")
        focused = browser.run("document.activeElement.getAttribute('aria-label')")
        assert focused.startswith(f"Frame {written.shown[1]}:")
        images = browser.run("[...document.images].map(i => [i.complete, i.naturalWidth, i.hidden || i.clientWidth])")
        assert all(complete and natural and shown for complete, natural, shown in images)
        for size in ((1280, 900), (400, 900)):
            browser.resize(*size)
            assert browser.run("document.documentElement.scrollWidth - innerWidth") <= 0, "no scrolling sideways"
        assert len(np.unique(browser.seen().reshape(-1, 3), axis=0)) > 300
        requests = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
        assert [u for u in requests if not u.startswith(("data:", "blob:"))] == [path.resolve().as_uri()]
        assert not browser.complaints()
