"""What an evaluation gives to a paper: tables, a crop figure, quality against time, machine and date, comparisons."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from hdrvid import __version__
from hdrvid.cli.app import run
from hdrvid.errors import InputError, ModelError, UsageError
from hdrvid.evaluate import EvalOptions, SyntheticOptions, compare, evaluate, of_model, scoring_of, unpaired
from hdrvid.evaluate.figure import CROP_PX, GAP_PX, LABEL_PX, TILE_PX, crop_figure, figure_latex
from hdrvid.evaluate.samples import Sample
from hdrvid.evaluate.tables import latex_table, latex_text, markdown_table, ranks
from hdrvid.html.evaluation_page import report_html
from hdrvid.html.evaluation_tables import evaluated_models
from hdrvid.html.evaluation_times import times_plot, times_svg
from hdrvid.pictures import write_png
from hdrvid.types import ExposureCycle

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = SyntheticOptions(ExposureCycle((0, 3)), num_scenes=2, num_frames=4, width=64, height=48)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation")
    options = EvalOptions("classical", baselines=True, metrics=("psnr_t", "ssim_t", "flicker"), device="cpu")
    return evaluate(SMALL, options, out=out, page=report_html, plot=times_svg), out


def made_up(scores, seconds=None, by_exposure=None):
    """Results of models with these means of (PSNR-T, flicker)."""
    tables = {
        name: {
            "overall": {"psnr_t": psnr, "flicker": flicker},
            "by_exposure": by_exposure or {},
            "seconds": (seconds or {}).get(name),
            "scenes": {},
        }
        for name, (psnr, flicker) in scores.items()
    }
    first, *others = tables
    return {
        "protocol": "hdrvid 0 made up -- by a test",
        "dataset": "synthetic",
        "model": {"name": first},
        **tables[first],
        "baselines": {name: tables[name] for name in others},
    }


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_places_are_those_of_the_printed_figures():
    assert ranks([0.01, 0.03, 0.02, None], "flicker") == [1, 3, 2, None]
    assert ranks([40.001, 40.002, 39.0], "psnr_t") == [1, 1, 2]
    assert ranks([40.001, 40.002], "psnr_t") == [None, None]
    assert ranks([1.0, 2.0], "beauty") == [None, None]


def test_latex_marks_the_best_and_the_second():
    text = latex_table(made_up({"a_b": (40.0, 0.02), "50%": (41.0, None), "c": (39.0, 0.01)}, {"a_b": 0.0123}))
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "&" in line]
    assert rows == [
        r"Method & PSNR-T, dB $\uparrow$ & flicker $\downarrow$ & ms/frame \\",
        r"a\_b & \underline{40.00} & \underline{0.0200} & 12 \\",
        r"50\% & \textbf{41.00} & -- & -- \\",
        r"c & 39.00 & \textbf{0.0100} & -- \\",
    ]
    assert text.startswith("% hdrvid eval: hdrvid 0 made up")
    assert r"\begin{tabular}{lrrr}" in text
    assert all(text.count(word) == 1 for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"))


def test_markdown_marks_the_best_and_the_second():
    text = markdown_table(made_up({"a|b": (40.0, 0.02), "c": (39.0, 0.01)}, {"c": 0.0004}))
    assert r"| a\|b | **40.00** | <ins>0.0200</ins> | – |" in text
    assert "| c | <ins>39.00</ins> | **0.0100** | 0.4 |" in text
    comment = re.match("<!--(.*?)-->", text, re.DOTALL)
    assert comment is not None
    assert "--" not in comment[1], "two dashes end a comment"
    assert "made up" in comment[1]


def test_signs_of_latex_are_escaped():
    assert latex_text(r"50% of $x_1 & {#2} ~^\ ") == (
        r"50\% of \$x\_1 \& \{\#2\} \textasciitilde{}\textasciicircum{}\textbackslash{} "
    )


def test_tables_have_all_frames_and_those_of_each_exposure(evaluation):
    results, out = evaluation
    text = (out / "table.md").read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(.*)\*\*$", text, re.MULTILINE) == ["all frames", "short frames", "long frames"]
    wanted = f"{results['baselines']['reference']['by_exposure']['long']['psnr_t']:.2f}"
    assert wanted in text[text.index("long frames") :]
    assert results["protocol"] in text
    latex = (out / "table.tex").read_text(encoding="utf-8")
    assert latex.count(r"\midrule") == 3
    columns = latex.splitlines()[[r"\toprule" in line for line in latex.splitlines()].index(True) + 1].count("&")
    body = [line for line in latex.splitlines() if line.startswith(("classical", "reference"))]
    assert len(body) == 6
    assert {line.count("&") for line in body} == {columns} == {4}
    assert "INCOMPLETE" not in text + latex


def test_a_table_of_part_of_the_frames_says_so(evaluation):
    results = {**evaluation[0], "failures": [{"scene": "s", "frame": 3, "error": "damaged"}]}
    for text in (markdown_table(results), latex_table(results)):
        assert "INCOMPLETE: 1 failure(s)" in text


# ---- machine ---------------------------------------------------------------------------------------------------------


def test_results_say_when_and_where_they_were_made(evaluation):
    results, out = evaluation
    made = datetime.fromisoformat(results["date"])
    assert made.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - made).total_seconds()) < 3600
    assert set(results["versions"]) == {"hdrvid", "python", "torch", "numpy", "opencv"}
    assert results["versions"]["hdrvid"] == __version__
    assert results["versions"]["numpy"] == np.__version__
    assert results["machine"]["device"] == "cpu"
    assert results["machine"]["gpu"] is None
    assert results["machine"]["cores"] >= 1
    assert len(results["machine"]["cpu"]) > 2
    import platform

    assert platform.node() not in json.dumps(results["machine"]) or len(platform.node()) < 4
    page = (out / "report.html").read_text(encoding="utf-8")
    assert results["date"] in page
    assert f"numpy {np.__version__}" in page


# ---- the figure ------------------------------------------------------------------------------------------------------


def test_the_figure_shows_every_result_of_the_worst_frame(evaluation):
    results, out = evaluation
    picture = cv2.imread(str(out / "figure.png"))[..., ::-1]
    zoom = TILE_PX // 64
    assert picture.shape == (LABEL_PX + 2 * (zoom * 48 + GAP_PX), 4 * (zoom * 64 + GAP_PX) + GAP_PX, 3)
    frames = [(f["psnr_t"], s, f["index"]) for s, e in results["scenes"].items() for f in e["frames"]]
    _, scene, index = min(frames)
    folder = out / "pictures" / f"{list(results['scenes']).index(scene):04d}"
    titles = ["input", "reference", "classical", "truth", "error of reference", "error of classical"]
    places = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]  # row and column of each in the figure
    for number, (title, (row, column)) in enumerate(zip(titles, places, strict=True)):
        shown = cv2.imread(str(folder / f"{index:06d}.{number}.png"))[..., ::-1]
        top, left = LABEL_PX + row * (zoom * 48 + GAP_PX), GAP_PX + column * (zoom * 64 + GAP_PX)
        tile = picture[top : top + zoom * 48 : zoom, left : left + zoom * 64 : zoom]
        assert np.array_equal(tile, shown), title
    assert (picture[:LABEL_PX] < 100).any(), "labels"
    caption = (out / "figure.tex").read_text(encoding="utf-8")
    assert rf"\caption{{{latex_text(scene)}, frame {index}" in caption
    assert "PSNR-T in dB" in caption
    assert r"\includegraphics[width=\textwidth]{figure.png}" in caption


def sample(folder, images, name="s", score=40.0, index=0):
    paths = {}
    for title, picture in images.items():
        paths[title] = folder / f"{name}.{title}.png"
        write_png(paths[title], picture)
    return Sample(name, index, "short", "worst by PSNR-T", {"a": {"psnr_t": score}}, paths)


def test_the_figure_is_cut_around_the_worst_error(tmp_path):
    plain = np.full((300, 384, 3), 90, np.uint8)
    error = np.zeros_like(plain)
    error[240:280, 300:350] = 255
    shown = plain.copy()
    shown[240:280, 300:350, 0] = 200
    images = {"input": plain, "a": shown, "truth": plain, "error of a": error}
    figure = crop_figure(made_up({"a": (40.0, None)}), [sample(tmp_path, images)])
    assert figure is not None
    zoom = TILE_PX // CROP_PX
    tiles_start = LABEL_PX
    second = figure.picture[tiles_start : tiles_start + zoom * CROP_PX, 2 * GAP_PX + TILE_PX : 2 * (GAP_PX + TILE_PX)]
    assert (second[..., 0] == 200).sum() == zoom**2 * 40 * 50, "all of what is wrong is in it"
    assert f"{CROP_PX}x{CROP_PX} pixels" in figure.caption


def test_the_figure_of_a_set_without_truth(tmp_path):
    plain = np.full((40, 60, 3), 90, np.uint8)
    scored = sample(tmp_path, {"input": plain, "a": plain})
    blind = Sample("s", 0, "short", "worst by flicker", {"a": {"flicker": 0.1}}, scored.images)
    calm = Sample("calm", 0, "short", "worst by flicker", {"a": {"flicker": 0.01}}, scored.images)
    figure = crop_figure(made_up({"a": (None, 0.1)}), [calm, blind])
    assert figure is not None
    assert figure.caption.startswith("s, frame 0"), "more flicker is worse"
    assert "error" not in figure.caption
    assert "flicker of the whole frame" in figure.caption
    assert figure_latex(figure.caption).count("\n") == 6
    assert crop_figure(made_up({"a": (None, 0.1)}), []) is None


def test_the_worst_of_all_scenes_is_shown_and_a_lost_picture_is_an_error(tmp_path):
    plain = np.full((40, 60, 3), 90, np.uint8)
    samples = [sample(tmp_path, {"input": plain, "a": plain}, n, s) for n, s in (("x", 41), ("y", 33), ("z", 38))]
    figure = crop_figure(made_up({"a": (40.0, None)}), samples)
    assert figure is not None
    assert figure.caption.startswith("y, frame 0")
    samples[1].images["a"].unlink()
    with pytest.raises(InputError, match="run hdrvid eval again"):
        crop_figure(made_up({"a": (40.0, None)}), samples)


# ---- quality against time --------------------------------------------------------------------------------------------


def test_every_timed_model_is_a_marker(evaluation):
    results, out = evaluation
    svg = ElementTree.fromstring((out / "times.svg").read_text(encoding="utf-8"))
    name = "{http://www.w3.org/2000/svg}"
    tips = [c.findtext(f"{name}title") for c in svg.iter(f"{name}circle")]
    for model in (results, results["baselines"]["reference"]):
        label = "classical" if model is results else "reference"
        wanted = f"{label} {model['overall']['psnr_t']:.2f} dB in {1000 * model['seconds']:.1f} ms"
        assert wanted in tips
    assert len(tips) == 2
    assert {t.text for t in svg.iter(f"{name}text")} >= {"classical", "reference", "milliseconds a frame"}
    assert "PSNR-T, dB ↑ against time" in (out / "report.html").read_text(encoding="utf-8")


def test_a_tenfold_time_is_a_step_of_the_axis():
    seconds = {"a": 0.002, "b": 0.02, "c": 0.2}
    results = made_up({"a": (38.0, None), "b": (40.0, None), "c": (42.0, None), "untimed": (50.0, None)}, seconds)
    plot = times_plot("k", evaluated_models(results), results)
    assert plot is not None
    marks = [s for s in plot.chart.shapes if s.tag == "circle"]
    x, y = ([float(s.attributes[c]) for s in marks] for c in ("cx", "cy"))
    assert len(marks) == 3
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11)
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.11)
    assert y[0] > y[2], "better is higher"
    assert "untimed" not in plot.chart.description


@pytest.mark.parametrize("slowest", [0.25, 0.7, 40.0, 9000.0])
def test_the_axis_of_times_has_numbers(slowest):
    seconds = {"a": 0.2, "b": slowest}
    results = made_up({"a": (38.0, None), "b": (40.0, None)}, seconds)
    plot = times_plot("k", evaluated_models(results), results)
    assert plot is not None
    ticks = [float(s.text) for s in plot.chart.shapes if s.attributes.get("class") == "x"]
    assert 3 <= len(ticks) <= 10
    assert ticks == sorted(ticks)
    assert min(ticks) < 1000 * slowest


def test_names_of_models_alike_do_not_cover_each_other():
    seconds = {f"model{i}": 0.01 + 1e-5 * i for i in range(5)}
    results = made_up({name: (40.0 + 0.001 * i, None) for i, name in enumerate(seconds)}, seconds)
    plot = times_plot("k", evaluated_models(results), results)
    assert plot is not None
    places = sorted(float(s.attributes["y"]) for s in plot.chart.shapes if s.text.startswith("model"))
    assert len(places) == 5
    assert min(b - a for a, b in itertools.pairwise(places)) >= 13.9


def test_one_time_is_no_plot():
    results = made_up({"a": (38.0, None), "b": (40.0, None)}, {"a": 0.1})
    assert times_svg(results) is None


# ---- files -----------------------------------------------------------------------------------------------------------

TINY = ["eval", "--scenes", "1", "--frames", "3", "--size", "48x32", "--metrics", "psnr_t"]
WRITTEN = {"results.json", "results.csv", "table.md", "table.tex", "figure.png", "figure.tex", "report.html"}


def test_all_files_are_written_and_said(tmp_path, capsys):
    assert run([*TINY, "--model", "reference,classical", "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    files = {p.name for p in tmp_path.iterdir() if p.is_file()}
    assert files >= {*WRITTEN, "times.svg"}
    assert all(f"wrote {tmp_path / name}" in said for name in (*WRITTEN, "times.svg"))


def test_a_drawing_that_does_not_apply_any_more_goes(tmp_path, capsys):
    assert run([*TINY, "--model", "reference,classical", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "times.svg").exists()
    capsys.readouterr()
    assert run([*TINY, "--model", "reference", "-o", str(tmp_path)]) == 0
    assert not (tmp_path / "times.svg").exists()
    assert "times.svg" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["table.tex", "table.md", "times.svg", "figure.png", "figure.tex"])
def test_files_of_somebody_else_stay(name, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    assert run([*TINY, "--model", "reference", "-o", str(tmp_path)]) == 1
    assert f"{name} exists already" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "mine"


# ---- several models --------------------------------------------------------------------------------------------------


def test_models_of_one_name(tmp_path):
    with pytest.raises(ModelError, match="unknown model 'best'"):
        evaluate(SMALL, EvalOptions("reference,best", device="cpu"))
    weights = Path(__file__).resolve().parent.parent / "weights" / "fast-2exp.safetensors"
    paths = []
    for folder in ("a", "b", "c,d"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "mine.safetensors")
        paths[-1].symlink_to(weights)
    assert EvalOptions(str(paths[2])).models == (str(paths[2]),), "a comma in the path of a file"
    with pytest.raises(UsageError, match="both called mine"):
        evaluate(SMALL, EvalOptions(f"{paths[0]},{paths[1]}", device="cpu"))


# ---- comparison ------------------------------------------------------------------------------------------------------


def scenes_of(values, name="a", protocol="p"):
    """Results with the given PSNR-T of frames, by scene."""
    scenes = {
        scene: {"overall": {}, "frames": [{"index": i, "exposure": "short", "psnr_t": v} for i, v in frames.items()]}
        for scene, frames in values.items()
    }
    return {"protocol": protocol, "model": {"name": name}, "overall": {"psnr_t": 0.0}, "scenes": scenes}


A = scenes_of({"x": {0: 40.0, 1: 41.0, 2: 42.0}, "y": {0: 30.0}, "lost": {0: 1.0}})
B = scenes_of({"x": {0: 41.0, 2: 43.0, 3: 44.0}, "y": {0: 29.5}, "new": {0: 1.0}}, "b")


def test_what_one_of_two_results_lacks():
    alone = unpaired(A, B)
    assert (alone.only_a, alone.only_b, alone.frames) == (("lost",), ("new",), {"x": (1, 3)})
    (found,) = compare(A, B)
    assert (found.pairs, found.frames, found.better, found.worse) == (2, 3, 1, 1)
    assert found.difference == pytest.approx((1.0 - 0.5) / 2)


def test_smaller_flicker_is_better():
    a, b = (
        json.loads(json.dumps(scenes_of({"x": {0: v}, "y": {0: 0.5}})).replace("psnr_t", "flicker")) for v in (0.2, 0.1)
    )
    (found,) = compare(a, b)
    assert (found.better, found.worse) == (1, 0)


def test_comparison_says_what_it_left_out(tmp_path, capsys):
    for name, results in (("a", A), ("b", B)):
        (tmp_path / name).write_text(json.dumps(results))
    assert run(["eval", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    printed = capsys.readouterr()
    said = " ".join(printed.err.split())
    assert "left out, in A alone: scene lost" in said
    assert "left out, in B alone: scene new" in said
    assert "frames 1, 3 of scene x" in said
    assert re.search(r"2 scenes +1, 1$", printed.out, re.MULTILINE)
    assert run(["eval", "--compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unpaired"] == {"only_a": ["lost"], "only_b": ["new"], "frames": {"x": [1, 3]}}
    assert found["differences"]["psnr_t"]["better"] == 1


def test_models_of_one_file_are_compared(evaluation, capsys):
    results, out = evaluation
    path = str(out / "results.json")
    assert run(["eval", "--compare", path, f"{path}:reference", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    difference = results["baselines"]["reference"]["overall"]["psnr_t"] - results["overall"]["psnr_t"]
    assert (found["a"], found["b"]) == ("classical", "reference")
    assert found["differences"]["psnr_t"]["difference"] == pytest.approx(difference)
    assert run(["eval", "--compare", path, f"{path}:best"]) == 2
    assert "no model 'best': there are classical, reference" in capsys.readouterr().err
    assert of_model(results, "classical")["overall"] == results["overall"]


def test_predictions_beside_are_no_other_way_to_score(tmp_path, capsys):
    line = "hdrvid 0 synthetic: 8 frames; mean over frames"
    values = {"x": {0: 40.0}, "y": {0: 41.0}}
    results = {
        "a": scenes_of(values, protocol=line),
        "b": scenes_of(values, protocol=f"{line}; predictions X as stored; Rec. 709"),
        "c": scenes_of(values, protocol=f"{line}, twice"),
    }
    for name, result in results.items():
        (tmp_path / name).write_text(json.dumps(result))
    assert scoring_of(results["a"]) == scoring_of(results["b"]) == line
    assert run(["eval", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "warning" not in capsys.readouterr().err
    assert run(["eval", "--compare", str(tmp_path / "a"), str(tmp_path / "c")]) == 0
    assert "not scored in the same way" in capsys.readouterr().err
