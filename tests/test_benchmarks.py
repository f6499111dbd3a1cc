"""The published sets, read as they lie on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import benchmark_layouts as layouts
import numpy as np
import pytest

from hdrvid.cli import main
from hdrvid.data.benchmarks import PUBLISHED, default_root, open_benchmark, published_folder
from hdrvid.errors import InputError
from hdrvid.radiance import gamma_encode

WRITERS = {
    "kalantari": layouts.write_kalantari,
    "cinematic": layouts.write_cinematic,
    "deephdrvideo-dynamic": layouts.write_deephdrvideo,
    "deephdrvideo-static": lambda root, cycle=2: layouts.write_deephdrvideo(root, "static", cycle),
}
SETS = sorted(WRITERS)
WITH_TRUTH = [s for s in SETS if s != "kalantari"]


@pytest.mark.parametrize("cycle", [2, 3])
@pytest.mark.parametrize("dataset", SETS)
def test_frames_exposures_and_truth(tmp_path: Path, dataset: str, cycle: int):
    folder = WRITERS[dataset](tmp_path, cycle=cycle)
    bench = open_benchmark(dataset, tmp_path, cycle)
    assert bench.name == dataset
    assert bench.root == folder == tmp_path / published_folder(dataset, cycle)
    assert bench.missing == ()
    assert len(bench.clips) == 2
    for clip in bench.clips:
        assert clip.cycle.stops == layouts.STOPS[cycle]
        assert clip.scored == tuple(range(cycle, clip.num_frames - cycle))
        for i in clip.scored:
            assert clip.ldr(i).dtype == np.float32
            seen = layouts.linear(i, cycle)
            if dataset == "kalantari":  # its channels clip below 1
                seen = np.minimum(seen, layouts.basler_curve()[-1] / layouts.basler_curve().max())
            error = np.abs(clip.ldr(i) - gamma_encode(seen))
            assert np.percentile(error, 95) < (0.01 if dataset == "kalantari" else 1e-4)
            truth = clip.truth(i)
            if dataset == "kalantari":
                assert truth is None
            else:
                assert truth is not None
                expected = layouts.radiance(i)
                if dataset != "cinematic":  # written four times brighter than 1, and so divided by its maximum
                    expected = expected / expected.max()
                assert np.abs(truth - expected).max() < 0.01
            assert clip.visible(i, (i - 1, i + 1)) is None
    assert f"frames {cycle} to n-{cycle + 1}" in bench.description


def test_cinematic_scores_56_of_60_and_54_of_60(tmp_path: Path):
    layouts.write_cinematic(tmp_path, 2, 60, ("poker",))
    layouts.write_cinematic(tmp_path, 3, 60, ("carousel",))
    assert len(open_benchmark("cinematic", tmp_path, 2).clips[0].scored) == 56
    assert len(open_benchmark("cinematic", tmp_path, 3).clips[0].scored) == 54


def test_truth_below_one_is_not_scaled(tmp_path: Path):
    layouts.write_deephdrvideo(tmp_path, peak=0.5)
    clip = open_benchmark("deephdrvideo-dynamic", tmp_path, 2).clips[0]
    truth = clip.truth(3)
    assert truth is not None
    assert truth.max() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("dataset", SETS)
def test_root_may_be_the_folder_itself(tmp_path: Path, dataset: str):
    folder = WRITERS[dataset](tmp_path)
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    assert open_benchmark(dataset, moved, 2).root == moved


def test_root_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HDRVID_DATA", str(tmp_path))
    layouts.write_cinematic(default_root("cinematic"))
    assert default_root("cinematic") == tmp_path / "cinematic"
    assert len(open_benchmark("cinematic", None, 2).clips) == 2


@pytest.mark.parametrize("cycle", [2, 3])
def test_kalantari_as_plain_folders(tmp_path: Path, cycle: int):
    layouts.write_kalantari(tmp_path, 2, plain=True)
    layouts.write_kalantari(tmp_path, 3, plain=True)
    bench = open_benchmark("kalantari", tmp_path, cycle)
    assert [clip.name.split("-")[1] for clip in bench.clips] == [f"{cycle}Exp"] * 2
    assert bench.clips[0].num_frames == 9


@pytest.mark.parametrize("dataset", SETS)
def test_missing_set_says_where_to_get_it(tmp_path: Path, dataset: str):
    with pytest.raises(InputError) as caught:
        open_benchmark(dataset, tmp_path, 3)
    text = str(caught.value)
    assert "github.com/guanyingc/DeepHDRVideo-Dataset" in text
    assert published_folder(dataset, 3) in text
    assert "--root" in text
    assert "Exposures.txt" in PUBLISHED[dataset]


def test_kalantari_needs_its_curve(tmp_path: Path):
    folder = layouts.write_kalantari(tmp_path)
    (folder / "BaslerCRF.mat").unlink()
    with pytest.raises(InputError, match=r"BaslerCRF\.mat is not there"):
        open_benchmark("kalantari", tmp_path, 2)
    (folder / "BaslerCRF.mat").write_bytes(b"junk" * 100)
    with pytest.raises(InputError, match="BaslerCRF"):
        open_benchmark("kalantari", tmp_path, 2)


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/../../b", "C:\\x", "\\\\host\\share", "gone", "a\x00b"])
def test_scene_that_cannot_be_used_does_not_cost_the_others(tmp_path: Path, name: str):
    folder = layouts.write_cinematic(tmp_path, scenes=("poker",))
    (folder / "scenes_2expo.txt").write_text(f"{name}\npoker\n")
    bench = open_benchmark("cinematic", tmp_path, 2)
    assert [clip.name for clip in bench.clips] == ["poker"]
    assert len(bench.missing) == 1
    assert "\x00" not in bench.missing[0]


def test_frame_names_stay_inside_their_scene(tmp_path: Path):
    folder = layouts.write_deephdrvideo(tmp_path)
    (folder / "car" / "img_hdr_list.txt").write_text("../ball/000.tif none\n" * 8)
    bench = open_benchmark("deephdrvideo-dynamic", tmp_path, 2)
    assert [clip.name for clip in bench.clips] == ["ball"]
    assert "no name of a file below it" in bench.missing[0]


def test_frames_that_lack_something_are_said(tmp_path: Path):
    folder = layouts.write_deephdrvideo(tmp_path, num_frames=9)
    (folder / "ball" / "gt_003.hdr").unlink()
    (folder / "ball" / "004.tif").unlink()
    lists = folder / "car" / "img_hdr_list.txt"
    lists.write_text(lists.read_text().replace("gt_002.hdr", "None"))
    bench = open_benchmark("deephdrvideo-dynamic", tmp_path, 2)
    ball, car = bench.clips
    assert ball.scored == (2, 5, 6)
    assert car.scored == (3, 4, 5, 6)
    assert any("004.tif is not there" in text for text in bench.missing)
    assert any("not scored (3)" in text for text in bench.missing)
    assert any("not scored (2)" in text for text in bench.missing)
    assert ball.truth(3) is None
    assert car.truth(2) is None


def test_damaged_frames_are_an_error_when_they_are_read(tmp_path: Path):
    folder = layouts.write_cinematic(tmp_path)
    images = folder / "Images" / "poker"
    (images / "poker_0004.tif").write_bytes(b"II*\x00junk")
    (images / "poker_0005.hdr").write_bytes(b"#?RADIANCE\n")
    clip = open_benchmark("cinematic", tmp_path, 2).clips[0]
    with pytest.raises(InputError, match="poker_0004"):
        clip.ldr(4)
    with pytest.raises(InputError, match="poker_0005"):
        clip.truth(5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "Exposures.txt").write_text("0\n2\n4\n"), "cycle of 3, not of 2"),
        (lambda f: (f / "Exposures.txt").unlink(), "Exposures.txt"),
        (lambda f: (f / "img_list.txt").unlink(), "neither"),
        (lambda f: (f / "img_list.txt").write_text("a\nb\nc\n"), "none of its 3 frames"),
    ],
)
def test_no_usable_scene_is_an_error(tmp_path: Path, change, reason: str):
    folder = layouts.write_cinematic(tmp_path, scenes=("poker",))
    change(folder / "Images" / "poker")
    with pytest.raises(InputError, match=reason):
        open_benchmark("cinematic", tmp_path, 2)


@pytest.mark.parametrize("dataset", SETS)
def test_eval_of_every_set(tmp_path: Path, dataset: str, capsys: pytest.CaptureFixture[str]):
    WRITERS[dataset](tmp_path)
    arguments = ["eval", "--dataset", dataset, "--root", str(tmp_path), "--model", "classical", "--device", "cpu"]
    metrics = [] if dataset == "kalantari" else ["--metrics", "psnr_t,flicker"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *metrics, "--out", str(tmp_path / "scores")])
    assert ended.value.code in (None, 0)
    shown = capsys.readouterr().out
    assert "frames 2 to n-3" in shown
    assert ("NO GROUND TRUTH" in shown) == (dataset == "kalantari")
    assert (tmp_path / "scores" / "report.html").is_file()
    assert ("psnr_t" in shown) == (dataset != "kalantari")
