"""The report: pictures, the page's text and figures, and the page in a real browser."""

import doctest
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from browser import dump_dom, needs_browser, screenshot

from hdrvid import pictures
from hdrvid.errors import InputError, OutputError
from hdrvid.evaluate import EvalOptions, SyntheticOptions, evaluate
from hdrvid.evaluate.samples import Sample
from hdrvid.html import page as html_page
from hdrvid.html import report_options
from hdrvid.html import svg as html_svg
from hdrvid.html.evaluation_page import MAX_LOSSLESS_BYTES, report_html
from hdrvid.html.page import page_environment
from hdrvid.html.svg import Axis, Chart, LegendItem, marker, nice_ticks, padded_range, polyline, tick_labels
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import ExposureCycle, Window

SMALL = SyntheticOptions(ExposureCycle((0, 3)), num_scenes=2, num_frames=4, width=64, height=48)
HOSTILE = """<script>alert("x")</script> ' & "><img src=http://a.b/c onerror='y'>"""


# ---- a small real evaluation -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results():
    names = ("psnr_t", "ssim_t", "psnr_l", "flicker")
    return evaluate(SMALL, EvalOptions("classical", baselines=True, device="cpu", metrics=names))


@pytest.fixture(scope="module")
def frame():
    """Window, what the classical pipeline makes of it, and truth of a long frame."""
    clip = SMALL.benchmark().clips[0]
    indices = SMALL.cycle.window_indices(1, SMALL.num_frames)
    window = Window(1, tuple(clip.ldr(i) for i in indices), tuple(SMALL.cycle.exposure_at(i) for i in indices))
    made = load_reconstructor("classical", 2, device="cpu").reconstruct(window, diagnostics=True)
    return window, made, clip.truth(1)


@pytest.fixture(scope="module")
def samples(results, frame, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    window, made, truth = frame
    shown = {
        "input": pictures.input_picture(window.reference),
        "classical": pictures.tonemapped(made.radiance, 8),
        "truth": pictures.tonemapped(truth, 8),
        "error of classical": pictures.error_picture(made.radiance, truth),
        "flow to frame -1": pictures.flow_picture(made.flow_px[0]),
        "blend weights": pictures.weights_picture(made.weights, 2),
    }
    images = {title: folder / f"{i}.png" for i, title in enumerate(shown)}
    for title, path in images.items():
        pictures.write_png(path, shown[title][:40])
    found = []
    for scene in results["scenes"]:
        tables = {"reference": results["baselines"]["reference"], "classical": results}
        scores = {
            m: {k: v for k, v in t["scenes"][scene]["frames"][1].items() if k not in ("index", "exposure")}
            for m, t in tables.items()
        }
        found.append(Sample(scene, 1, "long", "worst", scores, images))
    return found


@pytest.fixture(scope="module")
def page(results, samples):
    return report_html(results, samples)


class Page(HTMLParser):
    """Tags, attributes, text and the cells of tables; unclosed and stray tags are errors."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self.rows = [], [], [], []
        self._open = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v or "") for k, v in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.texts.append(data)
        if self.rows and {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(self.texts)


def frames_of(values, name="psnr_t", exposures=("short", "long")):
    return [{"index": i, "exposure": exposures[i % len(exposures)], name: v} for i, v in enumerate(values)]


def made_up(scenes, name="psnr_t", **more):
    """Results of one model with the given frames by scene."""
    means = {name: 1.0}
    table = {
        "overall": means,
        "by_exposure": {"short": means},
        "scenes": {s: {"overall": means, "frames": f} for s, f in scenes.items()},
    }
    return {"dataset": "d", "protocol": "p", "model": {"name": "m"}, **table, "baselines": {}, **more}


def plots(html):
    """Plots of scenes."""
    return [svg for svg in re.findall(r"<svg viewBox.*?</svg>", html, re.DOTALL) if "times-t" not in svg]


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_loads_nothing(page):
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert not {"link", "iframe", "object", "base"} & set(parsed.tags)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on")
        if name in ("src", "srcset", "href", "action", "data", "poster"):
            assert value.startswith("#" if tag == "a" else "data:image/png;base64,"), (tag, name, value[:40])
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http:" not in page
    assert "https:" not in page


def test_links_and_labels_lead_somewhere(page):
    parsed = Page(page)
    ids = [v for _, k, v in parsed.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    wanted = [v.lstrip("#") for _, k, v in parsed.attributes if k in ("for", "href")]
    wanted += [i for _, k, v in parsed.attributes if k == "aria-labelledby" for i in v.split()]
    assert len(wanted) > 10
    assert set(wanted) <= set(ids)


def shown_numbers(text):
    return [float(x) for x in re.findall(r"-?\d+\.\d+", text)]


def all_numbers(value):
    if isinstance(value, dict):
        return [x for v in value.values() for x in all_numbers(v)]
    if isinstance(value, list):
        return [x for v in value for x in all_numbers(v)]
    return [float(value)] if isinstance(value, int | float) else []


def test_every_number_of_the_tables_is_in_the_results(results, page):
    known = all_numbers(results)
    for table in (results, *results["baselines"].values()):
        known.append(1000 * table["seconds"])  # milliseconds
        for exposure in ("short", "long"):  # the results have no spread of one exposure: it is that of its frames
            rows = [f for s in table["scenes"].values() for f in s["frames"] if f["exposure"] == exposure]
            for name in results["overall"]:
                known.append(float(np.std([f[name] for f in rows if f[name] is not None])))
    cells = [c for row in Page(page).rows for c in row[1:] if re.search(r"\d\.\d", c)]
    assert len(cells) > 40
    for cell in cells:
        for number, text in zip(shown_numbers(cell), re.findall(r"\.(\d+)", cell), strict=True):
            assert any(abs(number - k) <= 0.5 * 10 ** -len(text) + 1e-9 for k in known), cell


def test_the_tables_say_what_was_measured(results, page):
    parsed = Page(page)
    mine, other = results["overall"]["psnr_t"], results["baselines"]["reference"]["overall"]["psnr_t"]
    first = next(row for row in parsed.rows if row[0].startswith("all"))
    assert first[:2] == ["all8 frames", "classical"]
    assert first[2].startswith(f"{mine:.2f} best±{results['spread']['psnr_t']:.2f}")
    assert first[3].startswith(f"{results['overall']['ssim_t']:.4f}")
    second = parsed.rows[parsed.rows.index(first) + 1]
    assert second[1].startswith(f"{other:.2f}±")
    assert "best" not in second[1]
    flicker = [float(row[-1].split("±")[0].removesuffix(" best")) for row in (first, second)]
    assert ("best" in first[-1]) == (flicker[0] < flicker[1]), "smaller flicker is better"
    head = next(row for row in parsed.rows if row[0] == "exposure")
    assert head[2:] == ["PSNR-TdB ↑", "SSIM-T↑", "PSNR-LdB ↑", "flicker↓"]
    assert results["protocol"] in parsed.text
    assert "failure" not in parsed.text


def test_spread_seconds_and_failures_may_be_missing(results):
    bare = {k: v for k, v in results.items() if k not in ("spread", "seconds", "failures")}
    bare["scenes"] = {n: {k: v for k, v in s.items() if k != "spread"} for n, s in results["scenes"].items()}
    rows = Page(report_html(bare, [])).rows
    first = next(row for row in rows if row[0].startswith("all"))
    assert f"±{results['spread']['psnr_t']:.2f}" in first[2], "the spread of the frames is what would have been given"
    assert next(row for row in rows if row[:2] == ["classical", "model"])[2] == "–"


def test_seconds_are_a_figure_or_a_mapping(results):
    for seconds in (0.25, {"classical": 0.25, "reference": 0.001}):
        rows = Page(report_html({**results, "seconds": seconds}, [])).rows
        assert next(row for row in rows if row[:2] == ["classical", "model"])[2] == "250"


def test_failures_come_first_and_all_of_them(results):
    failures = [{"scene": None, "frame": None, "error": "E all"}]
    failures += [{"scene": HOSTILE, "frame": i, "error": f"E{i}."} for i in range(30)]
    html = report_html({**results, "failures": failures}, [])
    text = Page(html).text
    assert "31 failures" in text
    assert HOSTILE in text
    for i in range(30):
        assert f"E{i}." in text
    assert html.index("31 failures") < html.index("<table")


def test_hostile_names_are_text(results, samples):
    scenes = {HOSTILE + name: entry for name, entry in results["scenes"].items()}
    renamed = {
        **results,
        "dataset": HOSTILE,
        "protocol": HOSTILE + "@BODY@ @TITLE@",
        "model": {"name": HOSTILE, HOSTILE: HOSTILE},
        "scenes": scenes,
        "baselines": {"@STYLE@" + HOSTILE: {**results["baselines"]["reference"], "scenes": scenes}},
    }
    own = [
        replace(s, scene=HOSTILE + s.scene, why=HOSTILE, note=HOSTILE, images={HOSTILE: next(iter(s.images.values()))})
        for s in samples
    ]
    html = report_html(renamed, own)
    parsed = Page(html)
    assert "script" not in parsed.tags
    assert parsed.tags.count("style") == 1
    assert all(v.startswith("data:") for _, k, v in parsed.attributes if k == "src")
    assert not [k for _, k, _ in parsed.attributes if k.startswith("on")]
    for scene in scenes:
        assert scene in parsed.text
    assert "@BODY@ @TITLE@" in parsed.text
    assert ("img", "alt", HOSTILE) in parsed.attributes


def test_values_that_are_no_numbers_are_shown_as_they_are():
    values = [math.inf, math.nan, None, 40.0, -math.inf, 41.0]
    results = made_up({"s": frames_of(values)})
    results["overall"] = {"psnr_t": math.inf}
    results["by_exposure"] = {"short": {"psnr_t": math.nan}, "long": {"psnr_t": None}}
    html = report_html(results, [])
    rows = Page(html).rows
    cells = {row[0].split("3")[0].split("6")[0]: row[2] for row in rows if row[0][:3] in ("all", "sho", "lon")}
    assert cells == {"all": "inf", "short": "nan", "long": "–"}
    (svg,) = plots(html)
    for number in re.findall(r'(?:d|points|cx|cy|x|y)="([^"]*)"', svg):
        assert "nan" not in number
        assert "inf" not in number
    titles = re.findall(r"<title>(.*?)</title>", svg)
    assert len(titles) == 4, "two finite and two infinite values have a marker, NaN and None have none"
    assert "m, frame 0, short: inf dB" in titles
    assert "m, frame 4, short: -inf dB" in titles


def test_unknown_measures_are_shown_without_a_verdict():
    results = made_up({"s": frames_of([1.0, 2.0], "beauty")}, "beauty")
    results["baselines"] = {"b": made_up({"s": frames_of([3.0, 4.0], "beauty")}, "beauty")}
    results["baselines"]["b"]["overall"] = {"beauty": 9.0}
    parsed = Page(report_html(results, []))
    assert next(row for row in parsed.rows if row[0] == "exposure")[2].strip() == "beauty"
    assert "best" not in next(row for row in parsed.rows if row[0].startswith("all"))[2]


def test_without_values_of_frames_there_is_no_plot():
    results = made_up({"s": frames_of([None, None], "hdr_vqm")}, "hdr_vqm")
    html = report_html(results, [])
    assert not plots(html)
    assert "No values of single frames" in html


# ---- plots -----------------------------------------------------------------------------------------------------------


def test_a_plot_has_a_dot_a_frame_and_a_line_a_model_and_exposure(results, page):
    svgs = plots(page)
    assert len(svgs) == 2
    values = results["scenes"]["scene_90000"]["frames"]
    titles = re.findall(r"<title>(.*?)</title>", svgs[0])
    assert len(titles) == 8
    for f in values:
        assert f"classical, frame {f['index']}, {f['exposure']}: {f['psnr_t']:.2f} dB" in titles
    assert len(re.findall(r'class="line (?:short|long) (?:model|baseline)"', svgs[0])) == 4
    heights = {}
    for y, index in re.findall(r'<circle[^>]*cy="([\d.]+)"[^>]*><title>classical, frame (\d+)', svgs[0]):
        heights[int(index)] = float(y)
    by_score = sorted(values, key=lambda f: -f["psnr_t"])
    assert [f["index"] for f in by_score] == sorted(heights, key=heights.get), "better is higher"
    assert f"{min(f['psnr_t'] for f in values):.2f}" in re.search(r"<desc.*?>(.*?)</desc>", svgs[0])[1]


def test_a_plot_of_one_frame():
    (svg,) = plots(report_html(made_up({"s": frames_of([40.0])}), []))
    assert svg.count("<circle") == 1
    assert 'cx="nan"' not in svg


def test_a_plot_of_1000_frames_is_lines_of_every_value():
    values = [40 + math.sin(i / 30) for i in range(1000)]
    values[500] = None
    html = report_html(made_up({"s": frames_of(values)}), [])
    (svg,) = plots(html)
    assert "<circle" not in svg
    paths = re.findall(r'class="line (\w+) model thin" d="([^"]*)"', svg)
    assert [p[0] for p in paths] == ["short", "long"]
    assert sum(len(re.findall(r"[ML]", p[1])) for p in paths) == 999
    assert paths[0][1].count("M") == 2, "a missing value opens the line"
    assert len(svg) < 40_000


def test_many_scenes_are_folded_and_can_be_reached(results):
    entry = next(iter(results["scenes"].values()))
    many = {**results, "scenes": {f"clip {i}": entry for i in range(40)}}
    html = report_html(many, [])
    assert len(plots(html)) == 40
    assert html.count('<details class="scene">') == 40
    assert html.count('href="#scene-') == 40
    assert html.count('<details class="scene" open>') == 0


@pytest.mark.parametrize(
    ("low", "high", "count", "whole", "expected"),
    [
        (30.2, 50.3, 5, False, [35, 40, 45, 50]),
        (0, 999, 10, True, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
        (0, 3, 10, True, [0, 1, 2, 3]),
        (0.9914, 0.9922, 5, False, [0.9914, 0.9916, 0.9918, 0.992, 0.9922]),
        (7, 7, 10, True, [7]),
    ],
)
def test_ticks_are_round(low, high, count, whole, expected):
    assert nice_ticks(low, high, count, whole=whole) == pytest.approx(expected)


def test_labels_of_ticks_tell_them_apart():
    assert tick_labels([35.0, 40.0]) == ["35", "40"]
    assert tick_labels(nice_ticks(0.9914, 0.9922, 5)) == ["0.9914", "0.9916", "0.9918", "0.9920", "0.9922"]
    assert tick_labels(nice_ticks(-0.1, 0.1, 4)) == ["−0.10", "−0.05", "0.00", "0.05", "0.10"]
    assert tick_labels([]) == []


def test_a_range_has_room_around_its_values():
    assert padded_range([0.0, 10.0, math.inf, math.nan], 0.1) == (-1.0, 11.0)
    assert padded_range([2.0, 2.0]) == pytest.approx((1.9, 2.1))
    assert padded_range([2.0], least=1.0) == (1.5, 2.5)
    assert padded_range([0.0]) == (-0.5, 0.5)
    assert padded_range([math.nan]) == (0.0, 1.0)


def test_an_axis_ends_at_its_limits():
    y = Axis(0.0, 10.0, 200.0, 100.0)
    assert [y(v) for v in (-math.inf, 0.0, 2.5, 10.0, 11.0)] == [200.0, 200.0, 175.0, 100.0, 100.0]


def test_a_line_is_open_where_a_point_is_missing():
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 4.0)]
    assert polyline(points) == "M0.0 1.0h0L1.0 2.0M3.0 4.0h0"
    assert polyline([]) == ""


def test_markers_and_texts_of_charts_are_escaped():
    chart = Chart(HOSTILE, 100, 50, 10, 5, HOSTILE, HOSTILE)
    chart.text(HOSTILE, 1, 2)
    chart.shapes += [marker("mark", shape, 3, 4, size=2, tooltip=HOSTILE) for shape in ("circle", "square", "down")]
    template = '{% from "svg.html.j2" import chart, legend %}{{ chart(c) }}{{ legend(items) }}'
    environment = page_environment()
    html = environment.from_string(template).render(c=chart, items=[LegendItem(HOSTILE, dot="short")])
    parsed = Page(html)
    assert not {"script", "img"} & set(parsed.tags)
    assert [t.strip() for t in parsed.texts if t.strip()] == [HOSTILE] * 7


@pytest.mark.parametrize("module", [html_page, html_svg, report_options])
def test_doctests(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


# ---- pictures of the page --------------------------------------------------------------------------------------------


def test_samples_show_every_picture_with_its_score(page, samples):
    parsed = Page(page)
    shown = [v for t, k, v in parsed.attributes if t == "img" and k == "alt"]
    assert [t for t in shown if t in samples[0].images] == [t for s in samples for t in s.images]
    best = samples[0].scores["classical"]["psnr_t"]
    assert f"<b>error of classical</b> {best:.2f} dB" in page
    assert "Frame 1 · long · worst" in parsed.text
    for word in ("mu = 5000", "64 px", "earlier frames", "T the mu-law"):
        assert word in parsed.text


def test_the_key_is_of_what_is_shown(results, samples):
    plain = [replace(s, images={"input": s.images["input"]}) for s in samples]
    text = Page(report_html(results, plain)).text
    assert "as the camera coded it" in text
    assert "earlier frames" not in text
    assert "64 px" not in text
    assert "T the mu-law" not in text
    assert "Key" not in Page(report_html(results, [])).text


def test_too_many_pictures_become_smaller_ones(results, samples, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    path = tmp_path / "noise.png"
    pictures.write_png(path, cv2.blur(noise, (5, 5)))
    count = MAX_LOSSLESS_BYTES // path.stat().st_size + 1
    one = replace(samples[0], images={f"p{i}": path for i in range(8)})
    assert "data:image/webp" not in report_html(results, [one])
    repeated = [one] + [replace(one, scene="none")] * (count // 8 + 1)
    html = report_html(results, repeated)
    data = html.split("data:image/webp;base64,")[1].split('"')[0]
    assert len(data) < path.stat().st_size / 3
    assert "compressed with loss" in html


def test_a_picture_that_cannot_be_read(results, samples, tmp_path):
    for name, content in (("gone.png", None), ("text.png", b"no picture"), ("cut.png", b"\x89PNG\r\n\x1a\n")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.*again"):
            report_html(results, [replace(samples[0], images={"input": tmp_path / name})])


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_have_the_size_of_the_frame(frame):
    window, made, truth = frame
    for picture in (
        pictures.input_picture(window.reference),
        pictures.tonemapped(truth, 8),
        pictures.error_picture(made.radiance, truth),
        pictures.flow_picture(made.flow_px[0]),
        pictures.weights_picture(made.weights, 2),
    ):
        assert picture.shape == (48, 64, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 0


def test_tone_curve_rises_from_black_to_white_and_shows_shadows():
    ramp = np.repeat(np.geomspace(1e-4, 1.0, 64), 3).reshape(1, 64, 3)
    shown = pictures.tonemapped(ramp, 8)[0, :, 0].astype(int)
    assert (np.diff(shown) >= 0).all()
    assert shown[-1] == 255
    # middle grey of the long frame, 0.18 / 8, and half of clipping are both apart from black and white
    grey, half = pictures.tonemapped(np.array([[[0.18 / 8] * 3, [0.5] * 3]]), 8)[0, :, 0]
    assert 80 < grey < 140
    assert 210 < half < 245
    odd = pictures.tonemapped(np.array([[[np.nan, -1.0, np.inf]]]), 8)
    assert odd.tolist() == [[[255, 255, 255]]]
    assert pictures.tonemapped(np.array([[[np.nan, -1.0, 0.01]]]), 8)[0, 0, :2].tolist() == [0, 0]


def test_error_is_the_mean_of_the_channels_after_the_mu_law():
    truth, estimate = np.full((2, 2, 3), 0.1), np.full((2, 2, 3), 0.1)
    estimate[0, 0, 1] = 0.2
    error = pictures.tone_error(estimate, truth)
    assert error[0, 0] == pytest.approx((math.log(1001) - math.log(501)) / math.log(5001) / 3)
    assert error[0, 1] == 0
    estimate[1, 1, 0], truth[1, 0, 0] = np.nan, np.inf
    shown = pictures.error_picture(estimate, truth)
    top = pictures.error_colours(np.array([[pictures.ERROR_MAX]]))[0, 0]
    assert (shown[1] == top).all()
    assert (shown[0, 1] == 0).all()


def test_error_colours_get_lighter_in_even_steps():
    error = np.linspace(0, 1, 256) ** 2 * pictures.ERROR_MAX
    colours = pictures.error_colours(error[None])
    lab = cv2.cvtColor((colours / 255).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    lightness = lab[::8, 0]
    assert (np.diff(lightness) > 0).all()
    assert lightness[0] == 0
    assert lightness[-1] > 85
    assert (pictures.error_legend(256, 3) == colours).all()
    assert (pictures.error_colours(np.array([[5.0, np.inf]])) == colours[0, -1]).all()


def test_flow_colours_follow_the_wheel():
    def colour(u, v):
        return pictures.flow_picture(np.array([[[u, v]]], np.float32))[0, 0].tolist()

    assert colour(0, 0) == [255, 255, 255]
    far = pictures.FLOW_MAX_PX
    assert colour(far, 0) == [255, 0, 0]
    assert colour(-far, 0) == [0, 255, 255]
    assert colour(0, far) == [128, 255, 0]
    assert colour(0, -far) == [128, 0, 255]
    assert colour(10 * far, 0) == [255, 0, 0]
    half = math.sqrt(1 + far) - 1
    assert colour(half, 0) == pytest.approx([255, 127.5, 127.5], abs=0.6)
    assert colour(np.nan, 0) == [255, 255, 255]
    wheel = pictures.flow_legend(129)
    assert wheel[64, 64].tolist() == [255, 255, 255]
    assert wheel[64, 128].tolist() == [255, 0, 0]
    assert wheel[128, 64].tolist() == [128, 255, 0]
    assert wheel[64, 96].tolist() == pytest.approx(colour(half, 0), abs=1)


@pytest.mark.parametrize(
    ("candidates", "neighbours", "earlier", "later"),
    [(3, 2, [1], [2]), (5, 4, [1, 2], [3, 4]), (5, 2, [1], [2]), (7, 4, [1, 2], [3, 4]), (9, 4, [1, 2], [3, 4])],
)
def test_weights_are_coloured_by_side(candidates, neighbours, earlier, later):
    def colour(*chosen):
        weights = np.zeros((candidates, 1, 1, 3))
        weights[list(chosen)] = 0.5  # need not add up to 1
        return pictures.weights_picture(weights, neighbours)[0, 0].tolist()

    assert colour(0) == [0, 0, 0]
    for i in earlier:
        assert colour(i) == list(pictures.EARLIER_COLOUR)
    for i in later:
        assert colour(i) == list(pictures.LATER_COLOUR)
    assert colour(earlier[0], later[0]) == [128, 128, 128]


def test_weights_of_no_window():
    with pytest.raises(ValueError, match="4 candidates"):
        pictures.weights_picture(np.ones((4, 2, 2, 3)), 4)


def test_crop_is_around_the_worst_region_and_inside_the_frame():
    error = np.zeros((300, 500))
    error[200:230, 400:430] = 0.1
    error[50, 50] = 1.0  # a speck
    rows, columns = pictures.crop_around_worst(error, 128)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (128, 128)
    assert rows.start <= 200 < 230 <= rows.stop
    assert columns.start <= 400 < 430 <= columns.stop
    corner = np.zeros((300, 500))
    corner[-1, -1] = np.inf
    assert pictures.crop_around_worst(corner, 128) == (slice(172, 300), slice(372, 500))
    assert pictures.crop_around_worst(error, 400) == (slice(0, 300), slice(100, 500))
    assert pictures.crop_around_worst(np.full((4, 6), np.nan), 128) == (slice(0, 4), slice(0, 6))


def test_png_files_are_complete_or_not_there(tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    pictures.write_png(tmp_path / "a.png", picture[:, ::-1])
    assert (cv2.imread(str(tmp_path / "a.png"))[..., ::-1] == picture[:, ::-1]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(OutputError, match="folder"):
        pictures.write_png(tmp_path / "none" / "a.png", picture)


# ---- in a browser ----------------------------------------------------------------------------------------------------

PROBE = """<script>
addEventListener("load", () => {
  const style = (e) => getComputedStyle(e);
  const sizes = () => [...document.images].map((i) => [i.alt, i.complete, i.naturalWidth, i.naturalHeight]);
  const picture = document.querySelector(".pick + label img"), before = picture.clientWidth;
  document.querySelector(".pick + label").click();
  const found = {
    pictures: sizes(), before, after: picture.clientWidth, rendering: style(picture).imageRendering,
    overflow: document.documentElement.scrollWidth - innerWidth, background: style(document.body).backgroundColor,
  };
  document.querySelector(".close").click();
  found.closed = picture.clientWidth;
  const out = document.body.appendChild(document.createElement("pre"));
  out.id = "found";
  out.textContent = JSON.stringify(found);
});
</script></body>"""


def probed(path, *flags):
    dom = dump_dom(path, *flags)
    text = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert text, "the page did not load"
    return json.loads(text[1])


@needs_browser
def test_pictures_load_and_grow_in_a_browser(page, samples, tmp_path):
    assert page.count("default-src 'none'") == 1
    # the probe may run; what else the page may load stays as it is
    watched = page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    path = tmp_path / "report ü.html"
    path.write_text(watched.replace("</body>", PROBE), encoding="utf-8")
    found = probed(path, "--window-size=1400,900")
    shown = [p for p in found["pictures"] if p[0] in samples[0].images]
    assert [p[0] for p in shown] == [t for s in samples for t in s.images]
    assert all(p[1:] == [True, 64, 40] for p in shown)
    assert all(complete and width > 0 for _, complete, width, _ in found["pictures"])
    assert found["after"] == 3 * 64
    assert found["before"] == found["closed"]
    assert found["rendering"] == "pixelated"
    assert found["overflow"] <= 0
    narrow = probed(path, "--window-size=400,900", "--blink-settings=preferredColorScheme=0")
    assert narrow["overflow"] <= 0, "a phone need not scroll sideways"
    assert narrow["background"] != found["background"], "dark where the reader wants it dark"


@needs_browser
def test_a_screenshot_shows_the_page(page, tmp_path):
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    screenshot(tmp_path / "report.html", tmp_path / "seen.png", 1000, 1600)
    seen = cv2.imread(str(tmp_path / "seen.png"))
    assert seen.shape == (1600, 1000, 3)
    assert (seen == 255).all(-1).mean() < 0.98
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 500
