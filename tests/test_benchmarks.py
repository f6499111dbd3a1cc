"""The published sets, read as they lie on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import benchmark_layouts as layouts
import numpy as np
import pytest
from scipy.io import savemat

from hdrvid.cli import main
from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.data.benchmarks import (
    PUBLISHED,
    AlignedClip,
    default_root,
    frame_names,
    open_benchmark,
    published_folder,
)
from hdrvid.errors import InputError, UsageError

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
        inner = tuple(range(cycle, clip.num_frames - cycle))
        assert clip.scored == inner
        if dataset == "deephdrvideo-dynamic":
            assert inner == (clip.num_frames // 2,)
        for i in clip.scored:
            assert clip.ldr(i).dtype == np.float32
            seen = layouts.linear(i, cycle)
            if dataset == "kalantari":  # its channels clip below 1
                seen = np.minimum(seen, layouts.basler_curve()[-1] / layouts.basler_curve().max())
            assert np.abs(radiance_from_ldr(clip.ldr(i), 1.0) - seen).max() < 1e-4
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
    middle = (
        "the middle frame of each scene" if dataset == "deephdrvideo-dynamic" else f"frames {cycle} to n-{cycle + 1}"
    )
    assert f"{cycle} exposures, {middle}" in bench.description


def test_cinematic_scores_56_of_60_and_54_of_60(tmp_path: Path):
    layouts.write_cinematic(tmp_path, 2, 60, ("poker",))
    layouts.write_cinematic(tmp_path, 3, 60, ("carousel",))
    assert len(open_benchmark("cinematic", tmp_path, 2).clips[0].scored) == 56
    assert len(open_benchmark("cinematic", tmp_path, 3).clips[0].scored) == 54


def test_truth_below_one_is_not_scaled(tmp_path: Path):
    layouts.write_deephdrvideo(tmp_path, peak=0.5)
    clip = open_benchmark("deephdrvideo-dynamic", tmp_path, 2).clips[0]
    truth = clip.truth(2)
    assert truth is not None
    assert truth.max() == pytest.approx(0.5, rel=0.01)


def test_truth_of_a_dynamic_scene_is_of_its_middle_frame_alone(tmp_path: Path):
    layouts.write_deephdrvideo(tmp_path, num_frames=9)
    clip = open_benchmark("deephdrvideo-dynamic", tmp_path, 2).clips[0]
    assert clip.scored == (4,)
    assert [i for i in range(9) if clip.truth(i) is not None] == [4]


def test_results_of_others_are_no_truth(tmp_path: Path):
    folder = layouts.write_kalantari(tmp_path)
    for scene in (folder / "Fire-2Exp-3Stop", folder / "Bridge-2Exp-3Stop"):
        assert (scene / "HDR" / "Img_4.hdr").is_file()
    (folder / "Fire-2Exp-3Stop" / "img_list.txt").unlink()  # img_hdr_list.txt alone names them, too
    for clip in open_benchmark("kalantari", tmp_path, 2).clips:
        assert clip.num_frames == 9
        assert [clip.truth(i) for i in range(9)] == [None] * 9


@pytest.mark.parametrize("bits", [8, 16])
def test_basler_codes_are_looked_up(tmp_path: Path, bits: int):
    folder = layouts.write_kalantari(tmp_path)
    codes = np.random.default_rng(0).integers(0, 2**bits, (20, 30, 3))
    layouts.write_code(folder / "Fire-2Exp-3Stop" / "Img_4.tif", codes / (2**bits - 1), bits)
    curve = layouts.basler_curve() / layouts.basler_curve().max()
    rows = codes if bits == 16 else np.rint(codes * 257).astype(int)
    expected = np.stack([curve[rows[..., k], k] for k in range(3)], -1)
    found = radiance_from_ldr(open_benchmark("kalantari", tmp_path, 2).clips[0].ldr(4), 1.0)
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("cycle", [2, 3])
def test_neighbours_are_moved_onto_the_reference(tmp_path: Path, cycle: int):
    layouts.write_kalantari(tmp_path, cycle)
    bench = open_benchmark("kalantari", tmp_path, cycle, align=True)
    assert "Affine_Trans_Matrices" in bench.description
    clip = bench.clips[0]
    assert isinstance(clip, AlignedClip)
    reach = cycle - 1
    for step in (step for step in range(-reach, reach + 1) if step):
        frame = layouts.radiance(4 + step)
        moved = clip.aligned(frame, 4 + step, 4)
        inside = slice(2, -2)
        assert np.abs(moved - layouts.radiance(4))[:, inside].max() < 1e-4
        assert np.abs(frame - layouts.radiance(4))[:, inside].max() > 0.05
        outside = slice(0, -step) if step < 0 else slice(-step, None)
        assert np.array_equal(moved[:, outside], frame[:, outside])
    frame = layouts.radiance(4)
    assert clip.aligned(frame, 4, 4) is frame


@pytest.mark.parametrize(
    "text", ["", "1 0 0 0 1 0\n", "1 0 0 0 1 0\n1 0 x 0 1 0\n", "1 0 0 0 1 nan\n" * 2, "0 0 1 0 0 1\n" * 2]
)
def test_damaged_motion_is_an_error(tmp_path: Path, text: str):
    folder = layouts.write_kalantari(tmp_path)
    (folder / "Fire-2Exp-3Stop" / "Affine_Trans_Matrices" / "Img_3_match.txt").write_text(text)
    clip = open_benchmark("kalantari", tmp_path, 2, align=True).clips[0]
    assert isinstance(clip, AlignedClip)
    with pytest.raises(InputError, match="Img_3_match"):
        clip.aligned(layouts.radiance(3), 3, 4)


def test_motion_that_is_not_there(tmp_path: Path):
    folder = layouts.write_kalantari(tmp_path)
    shutil.rmtree(folder / "Fire-2Exp-3Stop" / "Affine_Trans_Matrices")
    bench = open_benchmark("kalantari", tmp_path, 2, align=True)
    assert [clip.name for clip in bench.clips] == ["Bridge-2Exp-3Stop"]
    assert "has no Affine_Trans_Matrices" in bench.missing[0]
    assert not isinstance(open_benchmark("kalantari", tmp_path, 2).clips[0], AlignedClip)
    with pytest.raises(UsageError, match="only kalantari"):
        open_benchmark("cinematic", tmp_path, 2, align=True)


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


@pytest.mark.parametrize("curve", [np.ones((9, 2)), np.zeros((9, 3)), -np.ones((9, 3)), np.full((9, 3), np.nan)])
def test_curve_of_no_camera(tmp_path: Path, curve: np.ndarray):
    folder = layouts.write_kalantari(tmp_path)
    savemat(folder / "BaslerCRF.mat", {"BaslerCRF": curve})
    with pytest.raises(InputError, match="holds no curve"):
        open_benchmark("kalantari", tmp_path, 2)


HOSTILE = ["../outside", "/etc", "a/../../b", "C:\\x", "\\\\host\\share", "gone", "a\x00b", "x" * 5000, "\x1b[31mred"]


@pytest.mark.parametrize("name", HOSTILE)
def test_scene_that_cannot_be_used_does_not_cost_the_others(tmp_path: Path, name: str):
    folder = layouts.write_cinematic(tmp_path, scenes=("poker",))
    (folder / "scenes_2expo.txt").write_text(f"{name}\npoker_2expo\n")
    bench = open_benchmark("cinematic", tmp_path, 2)
    assert [clip.name for clip in bench.clips] == ["poker_2expo"]
    assert len(bench.missing) == 1
    assert bench.missing[0].isprintable()


@pytest.mark.parametrize("name", HOSTILE)
def test_frame_that_cannot_be_used_does_not_cost_the_others(tmp_path: Path, name: str):
    folder = layouts.write_kalantari(tmp_path)
    (folder / "Fire-2Exp-3Stop" / "img_list.txt").write_text("\n".join([name, *(f"Img_{i}.tif" for i in range(1, 9))]))
    bench = open_benchmark("kalantari", tmp_path, 2)
    assert bench.clips[-1].name == "Bridge-2Exp-3Stop"
    assert len(bench.missing) == 1
    assert bench.missing[0].isprintable()
    if len(bench.clips) == 2:  # a name that a frame may have: the others are numbered as if it was there
        assert bench.clips[0].scored == tuple(range(2, 7))
        with pytest.raises(InputError):
            bench.clips[0].ldr(0)


def test_frame_names_stay_inside_their_scene(tmp_path: Path):
    folder = layouts.write_deephdrvideo(tmp_path, "static")
    (folder / "scene_001" / "img_hdr_list.txt").write_text("../scene_000/img_000.tif none\n" * 8)
    bench = open_benchmark("deephdrvideo-static", tmp_path, 2)
    assert [clip.name for clip in bench.clips] == ["scene_000"]
    assert "no name of a file below it" in bench.missing[0]


def test_scene_that_is_listed_twice_is_one(tmp_path: Path):
    folder = layouts.write_cinematic(tmp_path, scenes=("poker",))
    (folder / "scenes_2expo.txt").write_text("poker_2expo\n\npoker_2expo \n")
    assert [clip.name for clip in open_benchmark("cinematic", tmp_path, 2).clips] == ["poker_2expo"]


def test_frames_that_lack_something_are_said(tmp_path: Path):
    folder = layouts.write_deephdrvideo(tmp_path, "static", num_frames=9)
    (folder / "scene_000" / "img_003.hdr").unlink()
    (folder / "scene_000" / "img_004.tif").unlink()
    lists = folder / "scene_001" / "img_hdr_list.txt"
    lists.write_text(lists.read_text().replace("img_002.hdr", "None"))
    bench = open_benchmark("deephdrvideo-static", tmp_path, 2)
    first, second = bench.clips
    assert first.scored == (2, 5, 6)
    assert second.scored == (3, 4, 5, 6)
    assert bench.missing == (
        "scene scene_000: frames that are not there: img_004.tif",
        "scene scene_000: frames that are not scored, they have no truth: 3",
        "scene scene_001: frames that are not scored, they have no truth: 2",
    )
    assert first.truth(3) is None
    assert second.truth(2) is None


def test_many_missing_frames_are_one_sentence(tmp_path: Path):
    folder = layouts.write_kalantari(tmp_path, num_frames=20)
    for i in range(8, 20):
        (folder / "Fire-2Exp-3Stop" / f"Img_{i}.tif").unlink()
    bench = open_benchmark("kalantari", tmp_path, 2)
    assert bench.clips[0].scored == tuple(range(2, 8))
    assert [text.endswith("Img_12.tif and 7 more") for text in bench.missing] == [True]


def test_damaged_frames_are_an_error_when_they_are_read(tmp_path: Path):
    folder = layouts.write_cinematic(tmp_path)
    images = folder / "Images" / "poker_2expo"
    for name in ("poker_000004.tif", "poker_000005.hdr"):
        whole = (images / name).read_bytes()
        (images / name).write_bytes(whole[: len(whole) * 2 // 3])
    layouts.write_code(images / "poker_000006.tif", np.zeros((8, 8, 3)))
    (images / "poker_000007.hdr").write_bytes((images / "poker_000007.jpg").read_bytes())
    clip = open_benchmark("cinematic", tmp_path, 2).clips[0]
    with pytest.raises(InputError, match="poker_000004"):
        clip.ldr(4)
    for index in (5, 6, 7):
        with pytest.raises(InputError, match=f"poker_00000{index}"):
            clip.truth(index)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: (f / "Exposures.txt").write_text("0\n2\n4\n"), "cycle of 3, not of 2"),
        (lambda f: (f / "Exposures.txt").unlink(), "Exposures.txt"),
        (lambda f: (f / "img_list.txt").unlink(), "it has no img_list.txt"),
        (lambda f: (f / "img_list.txt").write_bytes(b"\xff\xfe\xff"), "cannot be read"),
        (lambda f: (f / "img_list.txt").write_text("a\nb\nc\n"), "none of its 3 frames"),
    ],
)
def test_no_usable_scene_is_an_error(tmp_path: Path, change, reason: str):
    folder = layouts.write_cinematic(tmp_path, scenes=("poker",))
    change(folder / "Images" / "poker_2expo")
    with pytest.raises(InputError, match=reason):
        open_benchmark("cinematic", tmp_path, 2)


@pytest.mark.parametrize("cycle", [2, 3])
@pytest.mark.parametrize("dataset", SETS)
def test_eval_of_every_set(tmp_path: Path, dataset: str, cycle: int, capsys: pytest.CaptureFixture[str]):
    WRITERS[dataset](tmp_path, cycle=cycle)
    arguments = ["eval", "--dataset", dataset, "--root", str(tmp_path), "--model", "classical", "--device", "cpu"]
    metrics = [] if dataset == "kalantari" else ["--metrics", "psnr_t,flicker,alignment"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--cycle", str(cycle), *metrics, "--out", str(tmp_path / "scores")])
    assert ended.value.code in (None, 0)
    shown = capsys.readouterr().out
    assert f"{cycle} exposures" in shown
    assert ("NO GROUND TRUTH" in shown) == (dataset == "kalantari")
    assert (tmp_path / "scores" / "report.html").is_file()
    assert ("psnr_t" in shown) == (dataset != "kalantari")


def test_eval_scores_what_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = layouts.write_deephdrvideo(tmp_path, "static", num_frames=8)
    (folder / "scene_all.txt").write_text("scene_000\ngone\nscene_001\n")
    (folder / "scene_001" / "img_004.hdr").write_bytes(b"#?RADIANCE\n")
    out = tmp_path / "scores"
    arguments = ["eval", "--dataset", "deephdrvideo-static", "--root", str(tmp_path), "--model", "reference"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--metrics", "psnr_t", "--out", str(out), "--device", "cpu"])
    assert ended.value.code == 1
    results = json.loads((out / "results.json").read_text())
    frames = {name: [frame["index"] for frame in scene["frames"]] for name, scene in results["scenes"].items()}
    assert frames == {"scene_000": [2, 3, 4, 5], "scene_001": [2, 3, 5]}
    assert results["failures"][0]["error"] == "scene gone: its folder is not there"
    assert "img_004.hdr" in capsys.readouterr().err


def test_eval_with_the_alignment_of_the_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    layouts.write_kalantari(tmp_path)
    arguments = ["eval", "--dataset", "kalantari", "--root", str(tmp_path), "--model", "classical", "--device", "cpu"]
    scores = []
    for extra in ([], ["--align"]):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *extra, "--metrics", "reexposure", "--json", "--out", str(tmp_path / f"s{len(extra)}")])
        assert ended.value.code in (None, 0)
        scores.append(json.loads(capsys.readouterr().out))
    assert scores[0]["protocol"] != scores[1]["protocol"]
    with pytest.raises(SystemExit) as ended:
        main(["eval", "--dataset", "synthetic", "--align", "--out", str(tmp_path / "s2")])
    assert ended.value.code == 2


def test_naming_frames_reads_nothing_of_a_clip():
    class Unread:
        name, num_frames = "a scene", 2

        @property
        def black(self) -> float:
            raise InputError("rendered")

    assert frame_names(Unread()) == ("a_scene_000000", "a_scene_000001")
