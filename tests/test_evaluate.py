"""Scores: against an independent computation, protocols, tables per class, files, resuming, damage, comparison."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hdrvid.cli.app import run
from hdrvid.data.benchmarks import Benchmark
from hdrvid.errors import InputError, ModelError, UsageError
from hdrvid.evaluate import (
    MAX_DB,
    MEASURES,
    PROTOCOLS,
    EvalOptions,
    SyntheticOptions,
    checked_measures,
    compare,
    evaluate,
)
from hdrvid.evaluate.results import csv_text
from hdrvid.html.evaluation_page import report_html
from hdrvid.types import ExposureCycle

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = SyntheticOptions(ExposureCycle((0, 3)), num_scenes=2, num_frames=4, width=64, height=48)
QUICK = ("psnr_t", "psnr_l", "ssim_t", "ssim_l")


def tone(h):
    return np.log(1 + 5000 * h.astype(np.float64)) / np.log(5001)


@pytest.fixture(scope="module")
def scored():
    seen = []
    names = (*QUICK, "flicker", "reexposure")
    results = evaluate(
        SMALL, EvalOptions("classical", baselines=True, metrics=names, device="cpu"), on_frame=seen.append
    )
    return results, seen


def test_scores_agree_with_an_independent_computation(scored):
    _, seen = scored
    assert len(seen) == 2 * 4 * 2
    for frame in seen:
        a, b = tone(frame.estimate), tone(frame.truth)
        assert frame.scores["psnr_t"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), abs=0.01)
        ssim = structural_similarity(b, a, data_range=1.0, channel_axis=-1)
        assert frame.scores["ssim_t"] == pytest.approx(ssim, abs=5e-4)
        linear = peak_signal_noise_ratio(frame.truth, frame.estimate, data_range=1.0)
        assert frame.scores["psnr_l"] == pytest.approx(linear, abs=0.01)


def test_the_hdrflow_protocol_keeps_what_the_reference_saw_well():
    seen = []
    evaluate(SMALL, EvalOptions("classical", metrics=QUICK, protocol="hdrflow", device="cpu"), on_frame=seen.append)
    for frame in seen:
        luma = frame.ldr @ np.array([0.299, 0.587, 0.114])
        keep = luma >= 0.2 if frame.index % 2 == 0 else luma <= 0.8
        linear = frame.ldr.astype(np.float64) ** 2.2 / (1.0 if frame.index % 2 == 0 else 8.0)
        assert keep.any()
        np.testing.assert_allclose(frame.estimate[keep], linear[keep], rtol=1e-4, atol=1e-6)
        a, b = tone(frame.estimate), tone(frame.truth)
        assert frame.scores["psnr_t"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), abs=0.01)
        ssim = structural_similarity(b, a, data_range=b.max() - b.min(), channel_axis=-1)
        assert frame.scores["ssim_t"] == pytest.approx(ssim, abs=5e-4)


def test_a_middle_exposure_is_well_exposed_on_both_sides():
    rules = PROTOCOLS["hdrflow"]
    codes = np.linspace(0, 1, 11, dtype=np.float32)
    reference = np.broadcast_to(codes[:, None, None], (11, 1, 3))
    estimate = np.full((11, 1, 3), 9.0, np.float32)
    kept = {c: rules.scored_estimate(estimate, reference, 4.0, c)[:, 0, 0] != 9.0 for c in ("short", "middle", "long")}
    assert kept["short"].tolist() == [False] * 2 + [True] * 9
    assert kept["middle"].tolist() == [False] * 2 + [True] * 7 + [False] * 2
    assert kept["long"].tolist() == [True] * 9 + [False] * 2
    assert np.array_equal(PROTOCOLS["deephdrvideo"].scored_estimate(estimate, reference, 4.0, "short"), estimate)


def test_means_are_means_of_the_frames(scored):
    results, seen = scored
    assert results["dataset"] == "synthetic"
    assert set(results["baselines"]) == {"reference"}
    mine = [f for f in seen if f.model == "classical"]
    values = [f.scores["psnr_t"] for f in mine]
    assert results["overall"]["psnr_t"] == pytest.approx(np.mean(values))
    assert results["spread"]["psnr_t"] == pytest.approx(np.std(values))
    short = [f.scores["psnr_t"] for f in mine if f.index % 2 == 0]
    assert results["by_exposure"]["short"]["psnr_t"] == pytest.approx(np.mean(short))
    assert set(results["by_exposure"]) == {"short", "long"}
    first = results["scenes"]["scene_90000"]
    assert [f["exposure"] for f in first["frames"]] == ["short", "long", "short", "long"]
    assert [f["flicker"] is None for f in first["frames"]] == [True, False, False, False]  # nothing before the first
    assert results["overall"]["psnr_t"] > results["baselines"]["reference"]["overall"]["psnr_t"]
    # the linearised frames alternate between noise and clipping: nothing flickers more
    assert results["overall"]["flicker"] < results["baselines"]["reference"]["overall"]["flicker"]
    assert results["overall"]["reexposure"] > results["baselines"]["reference"]["overall"]["reexposure"]


def test_the_protocol_names_what_decides_a_score(scored):
    protocol = scored[0]["protocol"]
    for part in ("64x48", "stops 0,3", "motion 2", "mu = 5000", "full well", "8 bit", "protocol deephdrvideo"):
        assert part in protocol


def test_three_exposures_have_a_middle_class():
    options = SyntheticOptions(ExposureCycle((0, 2, 4)), num_scenes=1, num_frames=3, width=48, height=32)
    results = evaluate(options, EvalOptions("reference", metrics=("psnr_t",), device="cpu"))
    assert list(results["by_exposure"]) == ["short", "middle", "long"]
    assert list(results["overall"]) == ["psnr_t"]


def test_bad_requests():
    with pytest.raises(UsageError, match="psnr_t"):
        evaluate(SMALL, EvalOptions("classical", metrics=("beauty",)))
    with pytest.raises(ModelError, match="unknown model"):
        evaluate(SMALL, EvalOptions("best"))
    with pytest.raises(UsageError, match="deephdrvideo or hdrflow"):
        evaluate(SMALL, EvalOptions("classical", protocol="mine"))


def test_measures_that_fit_the_dataset():
    assert checked_measures(["all"]) == tuple(MEASURES)
    assert "cvvdp" not in checked_measures(None)
    assert checked_measures(None, has_truth=False) == ("flicker", "reexposure")
    assert checked_measures(["psnr_t", "psnr_t"]) == ("psnr_t",)
    with pytest.raises(UsageError, match="needs ground truth"):
        checked_measures(["psnr_t", "flicker"], has_truth=False)


# ---- every measure, files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    out = tmp_path_factory.mktemp("scores")
    options = replace(SMALL, num_scenes=1, width=96, height=64)
    return evaluate(options, EvalOptions("classical", baselines=True, device="cpu"), out=out, page=report_html), out


def test_all_measures_by_default_but_those_of_other_packages(everything):
    results, _ = everything
    assert tuple(results["overall"]) == checked_measures(None)
    for scores in (results["overall"], results["baselines"]["reference"]["overall"]):
        assert all(v is not None and np.isfinite(v) for v in scores.values())
    reference = results["baselines"]["reference"]["overall"]
    for name in ("psnr_t", "ssim_t", "pu21_psnr", "hdr_vdp_2", "hdr_vqm"):
        assert results["overall"][name] > reference[name], name
    assert results["by_exposure"]["short"]["hdr_vqm"] is None  # a measure of whole clips
    assert results["scenes"]["scene_90000"]["overall"]["hdr_vqm"] == results["overall"]["hdr_vqm"]


def test_files(everything):
    results, out = everything
    assert json.loads((out / "results.json").read_text(), parse_constant=pytest.fail) == results
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert len(rows) == 2 * (4 + 1)  # four frames and the clip as a whole
    assert {r["model"] for r in rows} == {"classical", "reference"}
    whole = next(r for r in rows if r["model"] == "classical" and r["frame"] == "")
    assert float(whole["hdr_vqm"]) == pytest.approx(results["overall"]["hdr_vqm"], abs=1e-6)
    html = (out / "report.html").read_text()
    assert html.count("data:image/png") >= 2 * 6  # worst and median frame: input, two results, truth, two errors, ...
    assert results["protocol"].split(";")[0] in html


def test_the_page_is_made_by_the_caller_after_every_run(tmp_path):
    pages = []

    def page(results, samples):
        pages.append((list(results["scenes"]), [s.scene for s in samples], len(results["failures"])))
        return f"page {len(pages)}"

    def scores(broken, overwrite=False, out=tmp_path, **callbacks):
        options = EvalOptions("reference", metrics=("psnr_t",), device="cpu", overwrite=overwrite)
        return evaluate(bench(Made("a"), Made("b", broken=broken)), options, out=out, **callbacks)

    scores(())
    assert not (tmp_path / "report.html").exists()
    scores((4,), page=page)  # resumed
    scores((4,), page=page, overwrite=True)
    assert (tmp_path / "report.html").read_text() == "page 2"
    complete, partial = pages
    assert complete == (["a", "b"], ["a", "a", "b", "b"], 0)
    assert partial == (["a", "b"], ["a", "a", "b", "b"], 2)
    scores((), page=page, out=None)
    assert len(pages) == 2, "without a folder there is no page"


def test_perfect_scores_are_finite():
    class Perfect(Made):
        def ldr(self, index):
            return np.full((32, 48, 3), 0.5, np.float32)

        def truth(self, index):
            from hdrvid.color.radiance import radiance_from_ldr

            return radiance_from_ldr(self.ldr(index), self.cycle.exposure_at(index))

    results = evaluate(
        bench(Perfect()), EvalOptions("reference", metrics=("psnr_t", "psnr_l", "flicker"), device="cpu")
    )
    assert results["overall"]["psnr_t"] == MAX_DB
    json.dumps(results, allow_nan=False)


# ---- interruption and damage -----------------------------------------------------------------------------------------


class Made:
    """A clip of noise whose frames can be told to be broken."""

    cycle = ExposureCycle((0, 3))
    num_frames = 6
    scored = (1, 2, 3, 4)
    black = 0.0

    def __init__(self, name="made", broken=()):
        self.name, self.broken, self.reads = name, broken, []

    def ldr(self, index):
        self.reads.append(index)
        if index in self.broken:
            raise InputError(f"frame_{index}.tif is damaged: get it again")
        return np.random.default_rng(index).uniform(0, 1, (32, 48, 3)).astype(np.float32)

    def truth(self, index):
        return np.random.default_rng(9).uniform(0, 1, (32, 48, 3)).astype(np.float32)

    def visible(self, index, others):
        return None


def bench(*clips, missing=()):
    return Benchmark("cinematic", Path("nowhere"), "made by a test", tuple(clips), missing)


def test_a_broken_frame_costs_only_the_frames_that_need_it():
    data = bench(Made("good"), Made("bad", broken=(4,)), missing=("scene lost is not there",))
    results = evaluate(data, EvalOptions("reference", metrics=("psnr_t", "hdr_vqm"), device="cpu"))
    assert [f["index"] for f in results["scenes"]["bad"]["frames"]] == [1, 2]
    assert [f["index"] for f in results["scenes"]["good"]["frames"]] == [1, 2, 3, 4]
    assert results["scenes"]["bad"]["overall"]["hdr_vqm"] is None
    assert results["scenes"]["good"]["overall"]["hdr_vqm"] is not None
    assert [(f["scene"], f["frame"]) for f in results["failures"]] == [(None, None), ("bad", 3), ("bad", 4)]
    assert "frame_4.tif" in results["failures"][1]["error"]


def test_nothing_scored_is_an_error():
    with pytest.raises(InputError, match="could be scored"):
        evaluate(
            bench(Made("bad", broken=tuple(range(6)))), EvalOptions("reference", metrics=("psnr_t",), device="cpu")
        )


def test_finished_scenes_are_kept_and_broken_ones_are_not(tmp_path):
    def again(broken, **options):
        clips = Made("a"), Made("b", broken=broken)
        arguments = {"metrics": ("psnr_t",), "device": "cpu"} | options
        return evaluate(bench(*clips), EvalOptions("reference", **arguments), out=tmp_path), clips

    first, _ = again(broken=(4,))
    assert len(first["failures"]) == 2
    second, (a, b) = again(broken=())
    assert not second["failures"]
    assert set(a.reads) <= {a.scored[0]}  # kept: nothing but a look at whether there is truth
    assert set(b.reads) == set(range(6))
    fresh = evaluate(bench(Made("a"), Made("b")), EvalOptions("reference", metrics=("psnr_t",), device="cpu"))
    for results in (second, fresh):
        for name in ("seconds", "date", "machine"):
            results.pop(name)
    assert second == fresh
    _, (a, _) = again(broken=(), overwrite=True)
    assert set(a.reads) == set(range(6))
    _, (a, _) = again(broken=(), metrics=("psnr_l",))  # other settings: nothing is taken over
    assert set(a.reads) == set(range(6))


def test_no_truth_is_said_and_not_invented():
    class Blind(Made):
        def truth(self, index):
            return None

    results = evaluate(bench(Blind()), EvalOptions("classical", baselines=True, device="cpu"))
    assert tuple(results["overall"]) == ("flicker", "reexposure")
    assert "NO GROUND TRUTH" in results["protocol"]
    with pytest.raises(UsageError, match="ground truth"):
        evaluate(bench(Blind()), EvalOptions("classical", metrics=("psnr_t",), device="cpu"))


# ---- comparison ------------------------------------------------------------------------------------------------------


def made_results(values, name="a"):
    """Results of scenes with the given PSNR-T of their frames."""
    scenes = {
        f"s{i}": {
            "overall": {},
            "frames": [{"index": k, "exposure": "short", "psnr_t": v} for k, v in enumerate(frames)],
        }
        for i, frames in enumerate(values)
    }
    return {"protocol": "p", "model": {"name": name}, "overall": {"psnr_t": 0.0}, "scenes": scenes}


def test_comparison_is_a_paired_test_over_scenes():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(3)
    a = rng.normal(40, 3, (6, 5))
    b = a + rng.normal(0.2, 0.3, (6, 5))
    (found,) = compare(made_results(a.tolist()), made_results(b.tolist(), "b"))
    expected = ttest_rel(b.mean(1), a.mean(1))
    assert (found.pairs, found.frames) == (6, 30)
    assert found.difference == pytest.approx((b - a).mean())
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_comparison_takes_what_both_have():
    a = made_results([[40.0, 41.0, 42.0], [30.0]])
    b = made_results([[41.0, None, 44.0]])
    (found,) = compare(a, b)
    assert (found.pairs, found.frames) == (1, 2)
    assert (found.mean_a, found.mean_b, found.difference) == (41.0, 42.5, 1.5)
    (same,) = compare(a, a)
    assert (same.pairs, same.difference, same.p_value) == (2, 0.0, 1.0)
    with pytest.raises(InputError, match="in common"):
        compare(a, made_results([]))


def test_frames_of_few_scenes_are_no_samples():
    """12 frames of two scenes, each a little better: two samples, whose difference may be chance."""
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(4)
    a = rng.normal(40, 3, (2, 6))
    b = a + np.array([[0.3], [0.6]]) + rng.normal(0, 0.01, (2, 6))
    (found,) = compare(made_results(a.tolist()), made_results(b.tolist(), "b"))
    assert (found.pairs, found.frames) == (2, 12)
    assert found.p_value == pytest.approx(ttest_rel(b.mean(1), a.mean(1)).pvalue)
    assert found.p_value > 0.1
    (one,) = compare(made_results(a[:1].tolist()), made_results(b[:1].tolist(), "b"))
    assert one.difference == pytest.approx((b - a)[0].mean())
    assert np.isnan([one.p_value, one.low, one.high]).all()


def test_compare_on_the_command_line(everything, tmp_path, capsys):
    results, out = everything
    other = tmp_path / "reference.json"
    other.write_text(json.dumps({**results, **results["baselines"]["reference"], "model": {"name": "reference"}}))
    assert run(["eval", "--compare", str(out / "results.json"), str(other)]) == 0
    text = capsys.readouterr().out
    difference = results["baselines"]["reference"]["overall"]["psnr_t"] - results["overall"]["psnr_t"]
    line = next(line for line in text.splitlines() if line.startswith("psnr_t"))
    assert f"{difference:+.2f}" in line
    assert run(["eval", "--compare", str(out / "results.json"), str(other), "--json"]) == 0
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert differences["psnr_t"]["difference"] == pytest.approx(difference)
    (tmp_path / "bad.json").write_text("[1, 2]")
    for bad in ("bad.json", "missing.json"):
        assert run(["eval", "--compare", str(tmp_path / bad), str(other)]) == 1
        assert bad in capsys.readouterr().err


def test_csv_of_results_without_baselines(scored):
    results = {**scored[0], "baselines": {}}
    assert len(csv_text(results).splitlines()) == 1 + 2 * 4


# ---- command line ----------------------------------------------------------------------------------------------------

TINY = ["eval", "--scenes", "1", "--frames", "3", "--size", "48x32", "--model", "reference", "--metrics", "psnr_t"]


def test_the_command_writes_a_report(tmp_path, capsys):
    assert run([*TINY, "--out", str(tmp_path / "o")]) == 0
    text = capsys.readouterr().out
    assert text.startswith("hdrvid ")
    assert "overall" in text
    assert {p.name for p in (tmp_path / "o").iterdir()} >= {"results.json", "results.csv", "report.html"}


def test_results_of_something_else_are_not_overwritten(tmp_path, capsys, monkeypatch):
    out = ["--out", str(tmp_path / "o")]
    assert run([*TINY, *out]) == 0
    before = (tmp_path / "o" / "results.json").read_bytes()
    for other in (["--model", "classical"], ["--protocol", "hdrflow"], ["--exposures", "0,4"]):
        capsys.readouterr()
        assert run([*TINY, *other, *out]) == 1
        assert "holds results of" in capsys.readouterr().err
        assert (tmp_path / "o" / "results.json").read_bytes() == before
    assert run([*TINY, *out]) == 0
    assert run([*TINY, "--model", "classical", *out, "--overwrite"]) == 0
    assert json.loads((tmp_path / "o" / "results.json").read_text())["model"]["name"] == "classical"
    monkeypatch.chdir(tmp_path)
    assert run(TINY) == run([*TINY, "--cycle", "3", "--frames", "5"]) == run([*TINY, "--model", "classical"]) == 0
    assert {p.name for p in (tmp_path / "runs" / "eval").iterdir()} == {
        "synthetic-2-deephdrvideo-reference",
        "synthetic-3-deephdrvideo-reference",
        "synthetic-2-deephdrvideo-classical",
    }


def test_options_of_synthetic_are_refused_elsewhere(tmp_path, capsys):
    assert run(["eval", "--dataset", "cinematic", "--frames", "4", "--out", str(tmp_path)]) == 2
    assert "--frames" in capsys.readouterr().err
    assert run(["eval", "--dataset", "imaginary", "--out", str(tmp_path)]) == 2
    assert "cinematic" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["none", "empty"])
def test_advice_names_the_option_that_was_given(root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(["eval", "--root", str(tmp_path / root), "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert "give --root a folder" in text
    assert "--data" not in text
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run([*TINY, "--out", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err
