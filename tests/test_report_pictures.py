"""The first sections of `hdrvid report`: the clip in motion, the exposure slider, the contact sheet, the verdicts."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import zlib

import av
import cv2
import numpy as np
import OpenEXR
import pytest
from browser import Chromium, needs_browser
from test_reconstruct import scene_radiance, write_frames
from test_viewer import HOSTILE, NUM_FRAMES, Page, reconstructed, report_of

from hdrvid.color.radiance import luminance
from hdrvid.color.response import RESPONSES, measured_response
from hdrvid.html import motion as motion_module
from hdrvid.html import radiance_pictures, reconstruction_report
from hdrvid.html.areas import CLIPPED_COLOUR, DARK_COLOUR, Areas, areas_picture, find_areas
from hdrvid.html.clip_results import find_clips
from hdrvid.html.histogram import darkest_linear
from hdrvid.html.motion import motion_indices
from hdrvid.html.radiance_pictures import packed, rgbe, small_radiance
from hdrvid.html.reconstruction_report import MAX_PAGE_BYTES, write_report
from hdrvid.html.verdicts import BAD, FAIR, GOOD, UNKNOWN, percent, verdicts
from hdrvid.io.exr import read_exr
from hdrvid.io.hdr import read_hdr
from hdrvid.io.preview import PreviewWriter
from hdrvid.metrics.exposure_flicker import FrameBrightness
from hdrvid.options.report import ReportOptions

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ReportOptions(weights=False)


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    (clip,) = find_clips(finished)
    return write_report(clip, tmp_path_factory.mktemp("pictures") / "page.html", QUICK)


@pytest.fixture(scope="module")
def page(written):
    return Page(written.path.read_text(encoding="utf-8"))


def change_json(results, **values):
    path = next(results.glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def values_of(page, tag, name):
    return [v for t, k, v in page.attributes if (t, k) == (tag, name)]


# ---- motion ----------------------------------------------------------------------------------------------------------


def motion_of(page):
    """The facts that the script gets, and the panels of every frame, (frames, panels, H, W, 3) RGB."""
    (facts,) = values_of(page, "div", "data-motion")
    (video,) = values_of(page, "div", "data-video")
    facts = json.loads(facts)
    with av.open(io.BytesIO(base64.b64decode(video))) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(facts["rate"])
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    pitch, height, width = facts["pitch"], facts["height"], facts["width"]
    panels = [[f[y : y + height, :width] for y in range(0, f.shape[0], pitch)] for f in frames]
    return facts, np.array(panels)


def test_the_video_holds_result_and_input_of_the_same_frame(page, original):
    facts, panels = motion_of(page)
    assert panels.shape == (NUM_FRAMES, 3, 48, 64, 3)
    assert facts["rate"] == 24
    assert facts["labels"] == [f"frame {i}, {('short', 'long')[i % 2]}" for i in range(NUM_FRAMES)]
    for index, (result, shot, _) in enumerate(panels):
        stored = cv2.imread(str(original / f"f{index:06d}.png"))[..., ::-1]
        assert np.abs(shot.astype(int) - stored).mean() < 12, "nearly: it is compressed, with half of the colours"
        if index:
            moved = panels[index - 1, 0][1:, 2:].astype(int) - result[:-1, :-2]
            assert np.abs(moved).mean() < 12, "the scene moves by (2, 1) pixels, whatever the exposure"


def test_brightness_matched_frames_do_not_flash(page):
    _, panels = motion_of(page)
    result, shot, matched = panels.mean((2, 3, 4)).T
    steps = [np.abs(np.diff(brightness)).mean() for brightness in (result, shot, matched)]
    assert steps[1] > 30
    assert steps[2] < steps[1] / 3
    assert steps[0] < 3
    assert "As shot, the picture flashes" in page.text


def test_the_stills_are_the_first_frame(page):
    _, panels = motion_of(page)
    for number, name in enumerate(("result", "as shot", "brightness matched")):
        still = page.picture(f"first frame in motion, {name}").astype(int)
        assert np.abs(still - panels[0, number]).mean() < 8


def test_a_long_clip_shows_a_run_of_frames():
    assert motion_indices(range(5, 3000), None) == list(range(5, 77))
    assert motion_indices(range(0, 3000, 2), [101, 7]) == list(range(102, 246, 2))
    assert motion_indices([1], None) == [1]


def test_the_video_can_be_left_out(results, tmp_path):
    _, page = report_of(results, tmp_path, ReportOptions(weights=False, motion=False))
    assert not values_of(page, "div", "data-motion")
    assert values_of(page, "input", "data-rgbe")


def test_without_the_original_the_results_play_alone(results, tmp_path):
    change_json(results, source=str(tmp_path / "gone"))
    _, page = report_of(results, tmp_path, QUICK)
    _, panels = motion_of(page)
    assert panels.shape[1] == 1
    assert "select" not in [t for t, k, v in page.attributes if (k, v) == ("class", "panel")]
    assert "clipped as shot not known" in " ".join(page.uris)


def test_without_an_encoder_the_page_has_no_video(results, tmp_path, monkeypatch):
    monkeypatch.setattr(PreviewWriter, "_add_stream", lambda self, container: container.add_stream("no_such_codec"))
    written, page = report_of(results, tmp_path, QUICK)
    assert [n for n in written.notes if n.startswith("The clip in motion: ")]
    assert not values_of(page, "div", "data-motion")
    assert values_of(page, "input", "data-rgbe")


def test_keyframes_are_as_often_as_wanted(tmp_path):
    with PreviewWriter(tmp_path / "a.mp4", 32, 32, 24, keyframe_every=5) as writer:
        for i in range(22):
            writer.write(np.full((32, 32, 3), 5 * i, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys = sorted(p.pts for p in packets if p.is_keyframe)
    frame = (max(p.pts for p in packets) - keys[0]) / 21
    assert len(packets) == 22
    assert max(np.diff(keys)) <= 5.01 * frame


def test_one_result_does_not_move(results, tmp_path):
    for path in results.glob("*.exr"):
        if "000003" not in path.name:
            path.unlink()
    written, page = report_of(results, tmp_path, QUICK)
    assert written.shown == (3,)
    assert not values_of(page, "div", "data-motion")


def test_an_input_frame_that_is_gone_is_black(results, original, tmp_path):
    other = shutil.copytree(original, tmp_path / "other")
    (other / "f000004.png").write_bytes(b"x")
    _, page = report_of(results, tmp_path, ReportOptions(weights=False, frames="3", clip=str(other)))
    facts, panels = motion_of(page)
    assert facts["labels"][1] == "frame 4, short"
    assert panels[1, 1].max() < 12
    assert panels[1, 0].max() > 60
    assert panels[2, 1].max() > 60


# ---- radiance --------------------------------------------------------------------------------------------------------


def unpacked(text, width, height):
    """Radiance (H, W, 3) of what the page holds."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, height, width)
    planes = np.cumsum(planes, axis=2, dtype=np.uint8).astype(np.float64)
    return np.moveaxis(planes[:3] * np.exp2(planes[3] - 136), 0, -1)


def radiance_choices(page):
    names = ("data-rgbe", "data-width", "data-height")
    texts, widths, heights = (values_of(page, "input", name) for name in names)
    labels = [v for v in values_of(page, "input", "aria-label") if re.fullmatch(r"frame \d+, \w+", v)]
    return {
        label: unpacked(text, int(width), int(height))
        for label, text, width, height in zip(labels, texts, widths, heights, strict=True)
    }


def assert_within_rgbe(found, expected):
    """Each channel within 1/255 of the largest of its pixel."""
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= expected.max(-1, keepdims=True) / 255 + 1e-30).all()


@pytest.mark.parametrize("settings", [{}, {"white": "shortest"}, {"format": "hdr"}])
def test_the_slider_has_the_radiance_of_the_results(original, tmp_path, settings):
    out = reconstructed(original, tmp_path / "out", **settings)
    _, page = report_of(out, tmp_path, ReportOptions(weights=False, motion=False))
    choices = radiance_choices(page)
    assert len(choices) == 4
    assert next(iter(choices)) == "frame 0, short"
    gain = 8 if settings.get("white") == "shortest" else 1
    for label, radiance in choices.items():
        path = next(out.glob(f"shot.{int(label.split()[1].rstrip(',')):06d}.*"))
        values = read_hdr(path) if path.suffix == ".hdr" else read_exr(path)[0]
        assert_within_rgbe(radiance, gain * values)


def test_rgbe_of_any_radiance():
    rng = np.random.default_rng(5)
    light = np.exp2(rng.uniform(-40, 20, (30, 50, 1))) * rng.uniform(0, 1, (30, 50, 3))
    light[0, 0] = 0
    light[0, 1] = (255.9 / 256, 0.1, 0)
    light[0, 2] = 2.0**30
    coded = rgbe(light).astype(np.float64)
    assert_within_rgbe(coded[..., :3] * np.exp2(coded[..., 3:] - 136), light)
    odd = small_radiance(np.array([[[np.nan, -1.0, np.inf]]], np.float32))
    assert odd.tolist() == [[[0.0, 0.0, 2.0**30]]]
    assert small_radiance(np.ones((10, 2000, 3))).shape == (3, 640, 3)


def test_packed_radiance_keeps_to_its_bytes():
    noise = np.random.default_rng(2).uniform(0, 1, (90, 160, 3)).astype(np.float32)
    text, width, height = packed(noise, 10**9)
    assert (width, height) == (160, 90)
    assert_within_rgbe(unpacked(text, width, height), noise)
    text, width, height = packed(noise, 5000)
    assert len(base64.b64decode(text)) <= 5000
    assert unpacked(text, width, height).mean() == pytest.approx(noise.mean(), rel=0.02)
    assert width / height == pytest.approx(160 / 90, rel=0.05)


# ---- areas -----------------------------------------------------------------------------------------------------------


def test_areas_are_those_of_input_and_scene(written, page):
    labels = {alt: alt for alt in page.uris if "areas" in alt}
    for index in written.shown:
        light, exposure = scene_radiance(index, 64, 48), (1, 8)[index % 2]
        shares = {
            "clipped as shot": ((light * exposure) > 0.98**2.2).any(-1).mean(),
            "dark as shot": (luminance(np.minimum(light * exposure, 1)) < 0.05**2.2).mean(),
            "clipped in every exposure": (light > 0.98**2.2).any(-1).mean(),
            "dark in every exposure": (luminance(light * 8) < 0.05**2.2).mean(),
        }
        (alt,) = (a for a in labels if a.startswith(f"Frame {index}, areas"))
        for name, share in shares.items():
            text = re.search(name + r" (< )?([\d.]+) %", alt)[2]
            assert float(text) == pytest.approx(100 * share, abs=2.5), (index, name)


def test_areas_have_their_colours_and_patterns():
    masks = np.zeros((4, 20, 40), bool)
    for number in range(4):
        masks[number, :, 10 * number : 10 * number + 10] = True
    shown = areas_picture(np.full((20, 40, 3), 128, np.uint8), Areas(*masks, np.zeros((20, 40), bool))).astype(int)
    parts = [shown[:, 10 * k : 10 * k + 10].reshape(-1, 3) for k in range(4)]
    assert len(np.unique(parts[0], axis=0)) == 1, "as shot: plain"
    assert parts[0][0, 0] > parts[0][0, 2] + 60, "clipped is orange"
    assert parts[1][0, 2] > parts[1][0, 0] + 60, "dark is blue"
    for part, colour in ((parts[2], CLIPPED_COLOUR), (parts[3], DARK_COLOUR)):
        found = {tuple(c) for c in part.tolist()}
        assert found == {(255, 255, 255), colour}, "in every exposure: striped"
    none = np.zeros((20, 40), bool)
    mask = Areas(None, None, none, none, none, hidden_highlights=masks[1])
    assert mask.shares() == {
        "clipped_in_all": 0.0,
        "dark_in_all": 0.0,
        "not_finite": 0.0,
        "hidden_highlights": 0.25,
    }
    plain = areas_picture(np.full((20, 40, 3), 128, np.uint8), Areas(None, None, none, none, none))
    marked = areas_picture(np.full((20, 40, 3), 128, np.uint8), mask)
    changed = (plain != marked).any(-1)
    assert changed[:, 10:20].mean() == pytest.approx(0.5, abs=0.1)
    assert not changed[:, 20:].any()


def shot_of(codes):
    """An original clip of gamma 2.2 whose frames all have these codes."""

    class Shot:
        response = RESPONSES["gamma2.2"]
        frame = staticmethod(lambda index: codes)
        in_output_colours = staticmethod(lambda linear: linear)

    return Shot()


def test_large_frames_are_looked_at_on_a_grid_but_every_nan_is_seen(results):
    (clip,) = find_clips(results)
    codes = np.full((720, 2600, 3), 0.5, np.float32)
    codes[:, 1300:] = 1.0
    pixels = (codes**2.2 * 9).astype(np.float32)
    pixels[-1, 7, 1] = np.nan
    areas = find_areas(clip, shot_of(codes), FrameBrightness(1, 3.0, "long", 0.0), pixels)
    assert areas.clipped.size < codes.size / 3 / 8
    shares = areas.shares()
    assert shares["clipped"] == shares["clipped_in_all"] == pytest.approx(0.5, abs=0.01)
    assert shares["not_finite"] == pytest.approx(1 / (720 * 2600))
    shown = areas_picture(np.full((90, 325, 3), 128, np.uint8), areas)
    assert (shown == (255, 0, 0)).all(-1).sum() == 1


def test_what_clips_and_is_hidden_in_the_others_is_marked(results):
    (clip,) = find_clips(results)
    codes = np.full((40, 60, 3), 0.5, np.float32)
    codes[:, 20:] = 1.0
    radiance = codes**2.2 / 8
    radiance[:, 40:] = 0.4  # a shorter exposure shows more
    areas = find_areas(clip, shot_of(codes), FrameBrightness(1, 3.0, "long", 0.0), radiance * np.float32(clip.scale))
    expected = np.zeros((40, 60), bool)
    expected[:, 20:40] = True
    np.testing.assert_array_equal(areas.hidden_highlights, expected)


def test_noise_of_a_measured_linear_curve_is_that_of_linear_frames():
    codes = np.repeat(np.linspace(0, 1, 65)[:, None], 3, axis=1)
    measured = measured_response("linear@0.0156,1", np.clip((codes - 0.0156) / (1 - 0.0156), 0, 1))
    assert darkest_linear(measured) == darkest_linear(RESPONSES["linear"]) < 0.002


# ---- verdicts --------------------------------------------------------------------------------------------------------


def verdict(clip, title, flicker=0.0, shares=()):
    return next(v for v in verdicts(clip, flicker, 12, shares) if v.title == title)


def clip_with(results, **values):
    change_json(results, **values)
    (clip,) = find_clips(results)
    return clip


def test_verdicts_of_flicker(results):
    (clip,) = find_clips(results)
    for stops, kind, word in (
        (0.0, GOOD, "none"),
        (0.02, GOOD, "none"),
        (0.05, FAIR, "slight"),
        (0.11, BAD, "visible"),
    ):
        found = verdict(clip, "Flicker", stops)
        assert (found.kind, found.word, found.figure) == (kind, word, f"{stops:.3f} stops")
        assert "None up to 0.02 stops, visible above 0.1." in found.text
    assert (verdict(clip, "Flicker", None).kind, verdict(clip, "Flicker", None).word) == (UNKNOWN, "not measured")


def test_verdicts_of_exposures(results):
    for pairs, kind, figure in (
        ([3.02, -2.98, None, 3.02], GOOD, "0.020 stops apart"),
        ([3.2, -3.2, 3.2], FAIR, "0.200 stops apart"),
        ([2.0, -2.0, 2.0, -3.0], BAD, "1.000 stops apart"),
        ([3.0, None, None], UNKNOWN, ""),
        (None, UNKNOWN, ""),
    ):
        found = verdict(clip_with(results, pair_stops=pairs), "Exposures")
        assert (found.kind, found.figure) == (kind, figure)


def test_verdicts_of_order_curve_and_completeness(results):
    slips = [{"kind": "dropped", "index": 3, "text": "x"}, {"kind": "cut", "index": 5, "text": "y"}]
    found = verdict(clip_with(results, events=slips), "Order of the exposures")
    assert (found.kind, found.figure) == (FAIR, "at 1 place")
    assert "dropped 1" in found.text
    assert verdict(clip_with(results, events=slips[1:]), "Order of the exposures").kind == GOOD
    assert verdict(clip_with(results, events=None), "Order of the exposures").kind == UNKNOWN
    for origin, kind in (("assumed", FAIR), ("measured", GOOD), ("declared", GOOD), (None, UNKNOWN)):
        assert verdict(clip_with(results, response_from=origin), "Camera curve").kind == kind
    assert verdict(clip_with(results), "Results").kind == GOOD
    (results / "shot.000005.exr").unlink()
    assert verdict(clip_with(results), "Results").kind == BAD


def test_verdicts_of_areas(results):
    (clip,) = find_clips(results)

    def shares(value, **more):
        return [("short", {"clipped_in_all": value, "dark_in_all": 0.0, "not_finite": 0.0, "clipped": 0.3, **more})]

    for value, kind, word in ((0.0, GOOD, "none"), (0.01, GOOD, "little"), (0.05, FAIR, "much")):
        found = verdict(clip, "Clipped in every exposure", shares=shares(value))
        assert (found.kind, found.word, found.figure) == (kind, word, percent(value))
        assert "short 30.0 %" in found.text
    assert "as shot: not known" in verdict(clip, "Dark in every exposure", shares=shares(0.0)).text
    assert verdict(clip, "Clipped in every exposure").kind == UNKNOWN
    assert verdict(clip, "NaN and infinity", shares=shares(0.0, not_finite=0.1)).kind == BAD
    titles = [v.title for v in verdicts(clip, 0.0, 12, shares(0.0))]
    assert "Clipped and hidden" not in titles, "not known"
    found = verdict(clip, "Clipped and hidden", shares=shares(0.0, hidden_highlights=0.04))
    assert (found.kind, found.figure) == (FAIR, "4.0 %")


def test_verdicts_are_words_on_the_page(written, page):
    assert f"Flicker: none {written.flicker:.3f} stops" in " ".join(page.text.split())
    for text in ("Exposures: agree with the pixels", "Results: complete", "Camera curve: measured"):
        assert text in page.text
    marks = [t.strip() for t in page.texts if t.strip() in ("✓", "!", "✕", "?")]
    assert len(marks) == 9
    order = ["Before and after", "Exposure", "Contact sheet", "Verdicts", "Picture", "Exposure and brightness"]
    places = [page.texts.index(text) for text in order]
    assert places == sorted(places), "pictures first, then verdicts, then tables and charts"


# ---- odd results -----------------------------------------------------------------------------------------------------


def set_pixels(path, index, value):
    """Put a value into a frame, which no writer of hdrvid does."""
    pixels, header = read_exr(path)
    pixels = pixels.astype(np.float16)
    pixels[index] = value
    own = {k: v for k, v in header.items() if k.startswith("hdrvid:")}
    with OpenEXR.File({**own, "type": OpenEXR.scanlineimage}, {"RGB": pixels}) as file:
        file.write(str(path))


def test_results_with_nan_are_bad(results, tmp_path, recwarn):
    set_pixels(results / "shot.000000.exr", (slice(10, 14), slice(20, 26)), np.nan)
    set_pixels(results / "shot.000011.exr", (slice(0, 4), slice(0, 4)), np.inf)
    _, page = report_of(results, tmp_path, QUICK)
    assert "NaN and infinity: present in 2 frames" in " ".join(page.text.split())
    (alt,) = (a for a in page.uris if a.startswith("Frame 0, areas"))
    assert "NaN or infinity 0.78 %" in alt
    assert page.picture(alt)[12, 23].tolist() == [255, 0, 0]
    assert page.picture(alt)[12, 40].tolist() != [255, 0, 0]
    assert np.isfinite(radiance_choices(page)["frame 0, short"]).all()
    assert not [w for w in recwarn if w.category is RuntimeWarning]


def test_grey_results(tmp_path):
    clip = write_frames(tmp_path / "colour", num_frames=6)
    grey = tmp_path / "grey"
    grey.mkdir()
    for path in clip.iterdir():
        cv2.imwrite(str(grey / path.name), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    out = reconstructed(grey, tmp_path / "out")
    written, page = report_of(out, tmp_path)
    assert not written.notes
    radiance = radiance_choices(page)["frame 0, short"]
    assert (radiance == radiance[..., :1]).all()
    _, panels = motion_of(page)
    assert panels.shape[:2] == (6, 3)


@pytest.mark.parametrize(
    ("settings", "rate", "labels"),
    [({"only": "long"}, 12, ["frame 1, long", "frame 3, long"]), ({"every": "bracket"}, 12, None)],
)
def test_results_of_some_frames(original, tmp_path, settings, rate, labels):
    out = reconstructed(original, tmp_path / "out", **settings)
    _, page = report_of(out, tmp_path, QUICK)
    facts, panels = motion_of(page)
    assert len(panels) == 6
    assert facts["rate"] == rate, "a moment takes as long as it did"
    assert labels is None or facts["labels"][:2] == labels
    assert "Without results" not in page.text, "the run was to make no more"
    assert "Results: complete" in page.text
    assert re.search(r"Flicker: not measured\s+All results are of one exposure", page.text)
    assert "flashes" not in page.text


def test_a_gap_among_every_second_result_is_missing(original, tmp_path):
    out = reconstructed(original, tmp_path / "out", only="long")
    (out / "shot.000005.exr").unlink()
    _, page = report_of(out, tmp_path, QUICK)
    assert "Without results: frame 5." in page.text
    assert "Results: incomplete 1 frame missing" not in page.text, "lost and missing is one frame"
    assert "Results: incomplete" in page.text


def test_nine_exposures(tmp_path):
    stops = tuple(0.5 * k for k in range(9))
    clip = write_frames(tmp_path / "nine", stops=stops, num_frames=18)
    written, page = report_of(reconstructed(clip, tmp_path / "out", ",".join(map(str, stops))), tmp_path, QUICK)
    assert not written.problems
    facts, _ = motion_of(page)
    assert facts["labels"][8] == "frame 8, long"
    assert "exposures of 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4 stops" in page.text


def test_huge_pictures_are_shrunk_and_the_page_stays_small(results, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for index in range(NUM_FRAMES):
        path = results / f"shot.{index:06d}.exr"
        header = read_exr(path)[1]
        noise = np.exp2(rng.uniform(-8, 3, (300, 1200, 3))).astype(np.float16)
        own = {k: v for k, v in header.items() if k.startswith("hdrvid:")}
        with OpenEXR.File({**own, "type": OpenEXR.scanlineimage}, {"RGB": noise}) as file:
            file.write(str(path))
    change_json(results, source="gone", size=[1200, 300])
    monkeypatch.setattr(motion_module, "MOTION_BYTES", 300_000)
    monkeypatch.setattr(radiance_pictures, "RADIANCE_BYTES", 300_000)
    written, page = report_of(results, tmp_path, QUICK)
    facts, panels = motion_of(page)
    assert len(base64.b64decode(values_of(page, "div", "data-video")[0])) <= 300_000
    assert (facts["height"], facts["width"]) == panels.shape[2:4]
    assert facts["width"] <= 640
    assert facts["width"] / facts["height"] == pytest.approx(4, rel=0.03)
    assert written.num_bytes < MAX_PAGE_BYTES
    assert max(r.shape[1] for r in radiance_choices(page).values()) <= 640


def test_much_text_makes_the_pictures_smaller(results, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for index in range(0, NUM_FRAMES):
        set_pixels(results / f"shot.{index:06d}.exr", slice(None), rng.uniform(0, 1, (48, 64, 3)))
    plain, _ = report_of(results, tmp_path, ReportOptions(weights=False, motion=False))
    limit = plain.num_bytes + 60_000
    change_json(results, warnings=[f"warning {i} " + 60 * "x" for i in range(1000)])
    monkeypatch.setattr(reconstruction_report, "PICTURE_BYTES", 150_000)
    monkeypatch.setattr(reconstruction_report, "MAX_PAGE_BYTES", limit)
    small, page = report_of(results, tmp_path, ReportOptions(weights=False, motion=False))
    assert small.num_bytes < limit
    assert "warning 999" in page.text


def test_hostile_names_are_text(results, tmp_path):
    for path in list(results.iterdir()):
        path.rename(results / (HOSTILE + path.name.removeprefix("shot")))
    values = {"model": {"name": HOSTILE}, "response": HOSTILE, "response_from": "assumed"}
    change_json(results, events=[{"kind": HOSTILE, "text": HOSTILE}], pair_stops=[HOSTILE, True, 1e999], **values)
    _, page = report_of(results, tmp_path, QUICK)
    assert page.tags.count("script") == 1
    assert not [k for _, k, _ in page.attributes if k.startswith("on")]
    assert f"(model {HOSTILE})" in page.text
    assert HOSTILE in page.text.split("Camera curve: assumed")[1][:200]


# ---- in a browser ----------------------------------------------------------------------------------------------------


def srgb(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


CANVAS = """(() => {
  const from = document.querySelector(".radiance canvas"), to = document.createElement("canvas");
  [to.width, to.height] = [from.width, from.height];
  const context = to.getContext("2d");
  context.drawImage(from, 0, 0);
  return [to.width, to.height, [...context.getImageData(0, 0, to.width, to.height).data]];
})()"""
SET_STOPS = """(() => {
  const slider = document.querySelector(".stops");
  slider.value = %s;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  return new Promise((done) => setTimeout(done, 50));
})()"""


def drawn_radiance(browser):
    width, height, data = browser.run(CANVAS)
    return np.array(data).reshape(height, width, 4)[..., :3]


@needs_browser
@pytest.mark.parametrize(
    ("by", "flags"), [("WebGL", ["--enable-unsafe-swiftshader"]), ("2D canvas", ["--disable-3d-apis"])]
)
def test_the_exposure_slider_in_a_browser(written, page, by, flags):
    choices = radiance_choices(page)
    with Chromium(1000, 900, *flags) as browser:
        browser.open(written.path)
        browser.until("document.querySelector('.radiance').classList.contains('drawn')")
        if browser.run("document.querySelector('.radiance').dataset.by") != by:
            assert by == "WebGL"
            pytest.skip("this browser has no WebGL")
        for stops in (0, -3, 4):
            browser.run(SET_STOPS % stops)
            expected = srgb(choices["frame 0, short"] * 2.0**stops)
            assert np.abs(drawn_radiance(browser) - expected).max() < 1.6
        browser.run("document.querySelector('.reset').click()")
        browser.run("document.querySelector('.stops').focus()")
        browser.key("ArrowRight")
        assert browser.run("document.querySelector('.radiance output').textContent") == "+0.25 stops"
        browser.key("ArrowLeft")
        browser.key("ArrowLeft")
        assert browser.run("document.querySelector('.stops').getAttribute('aria-valuetext')") == "−0.25 stops"
        browser.run("document.querySelectorAll('.radiance input[type=radio]')[3].click()")
        label = list(choices)[3]
        browser.until(f"document.querySelector('.radiance canvas').getAttribute('aria-label').startsWith('{label}')")
        expected = srgb(choices[label] * 2.0**-0.25)
        assert np.abs(drawn_radiance(browser) - expected).max() < 1.6
        assert not browser.complaints()


FRAME = "Number(document.querySelector('.seek').value)"
STATUS = "document.querySelector('.player .status').textContent"
SEEK = """(() => {
  const slider = document.querySelector(".seek");
  slider.value = %d; // at once with its event: the video may move the slider in between
  slider.dispatchEvent(new Event("input"));
})()"""
PANELS = """[...document.querySelectorAll(".player canvas")].map((canvas) =>
  [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data])"""


def drawn_panels(browser):
    return [np.array(data).reshape(48, 64, 4)[..., :3] for data in browser.run(PANELS)]


@needs_browser
def test_the_clip_in_motion_in_a_browser(written, page):
    _, panels = motion_of(page)
    with Chromium(1000, 900) as browser:
        browser.open(written.path)
        browser.until(
            "document.querySelector('.player').classList.contains('drawn') || document.querySelector('.play').disabled"
        )
        if browser.run("document.querySelector('.play').disabled"):
            pytest.skip("this browser has no H.264")
        for frame in (1, 7, 6, 11):
            browser.run(SEEK % frame)
            browser.until(f"{STATUS} == 'frame {frame}, {('short', 'long')[frame % 2]}'")
            result, before = drawn_panels(browser)
            assert np.abs(result - panels[frame, 0].astype(int)).mean() < 6
            assert np.abs(before - panels[frame, 1].astype(int)).mean() < 6
        browser.run("document.querySelector('.wipe').focus()")
        browser.key(",")
        browser.until(f"{STATUS} == 'frame 10, short'")
        browser.key(".")
        browser.until(f"{STATUS} == 'frame 11, long'")
        browser.run("document.querySelector('.step').click()")
        browser.until(f"{STATUS} == 'frame 10, short'")
        browser.key("End")
        text = browser.run("document.querySelector('.wipe').getAttribute('aria-valuetext')")
        assert text == "100 % as shot"
        choose = "const s = document.querySelector('.panel'); s.value = '2'; s.dispatchEvent(new Event('change'))"
        browser.run(choose)
        assert browser.run("document.querySelector('.player .tag.left').textContent") == "brightness matched"
        assert np.abs(drawn_panels(browser)[1] - panels[10, 2].astype(int)).mean() < 6
        browser.run("document.querySelector('.wipe').focus()")
        browser.key(" ")
        browser.until("document.querySelector('.play').textContent.includes('Pause')")
        browser.until(f"{FRAME} < 10")
        browser.key(" ")
        browser.until("document.querySelector('.play').textContent.includes('Play')")
        result, matched = drawn_panels(browser)
        shown = browser.run(FRAME)
        assert np.abs(result - panels[shown, 0].astype(int)).mean() < 6, "the number is that of the picture"
        assert np.abs(matched - panels[shown, 2].astype(int)).mean() < 6, "and both are of one frame"
        assert not browser.complaints()


@needs_browser
def test_a_browser_without_h264_shows_the_first_frame(written, page, tmp_path):
    (video,) = values_of(page, "div", "data-video")
    broken = tmp_path / "page.html"
    broken.write_text(written.path.read_text("utf-8").replace(video, base64.b64encode(b"no video").decode()), "utf-8")
    with Chromium(1000, 900) as browser:
        browser.open(broken)
        browser.until("document.querySelector('.play').disabled")
        assert "does not play" in browser.run(STATUS)
        assert not browser.run("document.querySelector('.player').classList.contains('drawn')")
        visible = "[...document.querySelectorAll('.player img')].filter(i => i.clientWidth).length"
        assert browser.run(visible) == 2
        browser.run("document.querySelector('.wipe').focus()")
        browser.key("Home")
        assert browser.run("document.querySelector('.player .compare').style.getPropertyValue('--at')") == "0%"


@needs_browser
def test_reduced_motion_shows_no_flashes(written):
    with Chromium(1000, 900, "--force-prefers-reduced-motion") as browser:
        browser.open(written.path)
        assert browser.run("document.querySelector('.player .tag.left').textContent") == "brightness matched"
        assert browser.run("document.querySelector('.play').textContent.includes('Play')"), (
            "and nothing plays by itself"
        )


@needs_browser
def test_the_page_fits_a_phone_and_the_dark(written, tmp_path):
    with Chromium(400, 900) as browser:
        browser.open(written.path)
        assert browser.run("document.documentElement.scrollWidth - innerWidth") <= 0
        browser.call(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}], media=""
        )
        assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 23)"
        unnamed = """[...document.querySelectorAll("button, input, select")].filter((e) =>
          e.offsetParent && !(e.getAttribute("aria-label") || e.textContent.trim() || e.closest("label"))).length"""
        assert browser.run(unnamed) == 0, "every control has a name"
        small = """[...document.querySelectorAll(".controls button, .controls select")].filter((e) =>
          e.getBoundingClientRect().height < 30).length"""
        assert browser.run(small) == 0, "a finger finds them"
        browser.run("document.querySelector('.play').focus()")
        browser.key("Tab")
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@needs_browser
def test_without_scripts_the_stills_are_there(written):
    with Chromium(800, 900) as browser:
        browser.call("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(written.path)
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
        visible = "[...document.querySelectorAll('.player img')].filter(i => i.clientWidth).length"
        assert browser.run(visible) == 2
        assert browser.run("document.querySelector('.controls').clientHeight") == 0
        assert browser.run("document.querySelector('.radiance').clientHeight") == 0
        assert "switched off" in browser.run("document.querySelector('noscript').textContent")
