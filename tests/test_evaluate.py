"""Scores: against an independent computation, tables per class, files, the protocol line."""

import csv
import json

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hdrvid.errors import ModelError, UsageError
from hdrvid.evaluate import SyntheticOptions, evaluate, write_results
from hdrvid.types import ExposureCycle

SMALL = SyntheticOptions(ExposureCycle((0, 3)), num_scenes=2, num_frames=4, width=64, height=48)


def tone(h):
    return np.log(1 + 5000 * h.astype(np.float64)) / np.log(5001)


@pytest.fixture(scope="module")
def scored():
    seen = []
    results = evaluate(SMALL, "classical", baselines=True, device="cpu", on_frame=seen.append)
    return results, seen


def test_scores_agree_with_an_independent_computation(scored):
    _, seen = scored
    assert len(seen) == 2 * 4 * 2
    for frame in seen:
        a, b = tone(frame.estimate), tone(frame.truth)
        assert frame.scores["psnr_t"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1.0), abs=0.01)
        ssim = structural_similarity(b, a, data_range=1.0, channel_axis=-1)
        assert frame.scores["ssim_t"] == pytest.approx(ssim, abs=5e-4)


def test_means_are_means_of_the_frames(scored):
    results, seen = scored
    assert results["dataset"] == "synthetic"
    assert set(results["baselines"]) == {"reference"}
    mine = [f for f in seen if f.model == "classical"]
    assert results["overall"]["psnr_t"] == pytest.approx(np.mean([f.scores["psnr_t"] for f in mine]))
    short = [f.scores["psnr_t"] for f in mine if f.index % 2 == 0]
    assert results["by_exposure"]["short"]["psnr_t"] == pytest.approx(np.mean(short))
    assert set(results["by_exposure"]) == {"short", "long"}
    first = results["scenes"]["scene_90000"]
    assert [f["exposure"] for f in first["frames"]] == ["short", "long", "short", "long"]
    assert results["overall"]["psnr_t"] > results["baselines"]["reference"]["overall"]["psnr_t"]


def test_the_protocol_names_what_decides_a_score(scored):
    protocol = scored[0]["protocol"]
    for part in ("64x48", "stops 0,3", "motion 2", "mu = 5000", "full well", "8 bit"):
        assert part in protocol


def test_files(scored, tmp_path):
    results, seen = scored
    paths = write_results(tmp_path / "scores", results)
    assert json.loads(paths[0].read_text()) == results
    rows = list(csv.DictReader(paths[1].open()))
    assert len(rows) == len(seen)
    assert {r["model"] for r in rows} == {"classical", "reference"}


def test_three_exposures_have_a_middle_class():
    options = SyntheticOptions(ExposureCycle((0, 2, 4)), num_scenes=1, num_frames=3, width=48, height=32)
    results = evaluate(options, "reference", metric_names=("psnr_t",), device="cpu")
    assert list(results["by_exposure"]) == ["short", "middle", "long"]
    assert list(results["overall"]) == ["psnr_t"]


def test_bad_requests():
    with pytest.raises(UsageError, match="psnr_t"):
        evaluate(SMALL, "classical", metric_names=("beauty",))
    with pytest.raises(ModelError, match="unknown model"):
        evaluate(SMALL, "best")
