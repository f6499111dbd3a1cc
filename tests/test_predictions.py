"""Results of other programs: the inputs written for them, how their files are found, scaled, scored and refused."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import benchmark_layouts as layouts
import cv2
import numpy as np
import pytest

from hdrvid.cli.app import run
from hdrvid.color.gamuts import REC709, convert, find_gamut
from hdrvid.data.benchmarks import Benchmark, frame_names, open_benchmark
from hdrvid.errors import InputError, UsageError
from hdrvid.evaluate import EvalOptions, SyntheticOptions, evaluate, export_inputs
from hdrvid.evaluate.predictions import PredictionError, open_predictions
from hdrvid.io.exr import write_exr
from hdrvid.io.hdr import write_hdr
from hdrvid.options.evaluate import PredictionFolder, PredictionScale
from hdrvid.types import ExposureCycle

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, HEIGHT = 48, 32
SMALL = SyntheticOptions(ExposureCycle((0, 3)), num_scenes=2, num_frames=6, width=WIDTH, height=HEIGHT, inner=True)
SCENES = ("scene_90000", "scene_90001")
CLI = ["eval", "--scenes", "2", "--frames", "6", "--size", f"{WIDTH}x{HEIGHT}", "--inner"]
TINY = [*CLI, "--model", "reference", "--metrics", "psnr_t,psnr_l"]
SCORED = (2, 3)


@pytest.fixture(scope="module")
def truths():
    """Radiance of every frame, by scene."""
    bench = SMALL.benchmark()
    return {clip.name: [clip.truth(i) for i in range(clip.num_frames)] for clip in bench.clips}


def write_results(folder, truths, name="{scene}/{index:06d}.exr", frames=range(6), factor=1.0):
    """The truth as somebody's results; returns their files."""
    paths = []
    for scene, of_scene in truths.items():
        for order, index in enumerate(frames):
            path = folder / name.format(scene=scene, index=index, order=order)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".hdr":
                write_hdr(path, of_scene[index] * factor)
            else:
                write_exr(path, of_scene[index] * np.float32(factor), depth="float")
            paths.append(path)
    return paths


def scores(tmp_path, capsys, *options, code=0):
    """What `results.json` has of the results 'X' in `tmp_path / x`, and stderr."""
    out = tmp_path / "scores"
    assert run([*TINY, "--predictions", f"X={tmp_path / 'x'}", *options, "-o", str(out)]) == code
    err = capsys.readouterr().err
    return (json.loads((out / "results.json").read_text()) if code == 0 else None), err


# ---- what is written for other programs ------------------------------------------------------------------------------


def test_inputs_are_the_frames_in_a_layout_that_others_read(tmp_path, capsys):
    out = tmp_path / "inputs"
    assert run([*CLI, "--export-inputs", str(out), "--export-truth"]) == 0
    assert "2 scenes, 12 frames, 4 of them scored" in capsys.readouterr().out
    assert (out / "scenes_2expo.txt").read_text().split() == list(SCENES)
    bench, again = SMALL.benchmark(), open_benchmark("cinematic", out, 2)
    for clip, read in zip(bench.clips, again.clips, strict=True):
        folder = out / "Images" / clip.name
        names = (folder / "img_list.txt").read_text().split()
        assert names == [f"{clip.name}_{i:06d}" for i in range(6)] == list(frame_names(clip))
        assert (folder / "Exposures.txt").read_text().split() == ["0", "3"]
        rows = [line.split() for line in (folder / "input_exp.txt").read_text().splitlines()]
        assert rows == [[name, str(3 * (i % 2))] for i, name in enumerate(names)]
        assert read.scored == clip.scored == SCORED
        for i, name in enumerate(names):
            stored = cv2.imread(str(folder / f"{name}.tif"), cv2.IMREAD_UNCHANGED)
            assert stored.dtype == np.uint16
            assert np.array_equal(stored[..., ::-1] % 257, np.zeros_like(stored))  # 8 bits, exactly
            assert np.abs(read.ldr(i) - clip.ldr(i)).max() < 1e-6
            assert (folder / f"{name}.hdr").exists() == (i in SCORED)
        for i in SCORED:
            assert np.allclose(read.truth(i), clip.truth(i), rtol=0, atol=1 / 200)
    facts = json.loads((out / "inputs.json").read_text())
    assert facts["complete"]
    assert facts["scenes"]["scene_90001"]["scored"] == list(SCORED)
    assert str(tmp_path) not in (out / "inputs.json").read_text()


def test_inputs_of_a_published_set_keep_their_names(tmp_path):
    layouts.write_deephdrvideo(tmp_path / "set", "static", 3)
    bench = open_benchmark("deephdrvideo-static", tmp_path / "set", 3)
    export_inputs(bench, tmp_path / "inputs")
    folder = tmp_path / "inputs" / "Images" / "scene_000"
    assert (tmp_path / "inputs" / "scenes_3expo.txt").exists()
    assert {p.name for p in folder.iterdir()} >= {"img_000.tif", "img_008.tif", "img_list.txt"}
    assert not list(folder.glob("*.hdr"))
    original = cv2.imread(str(bench.root / "scene_000" / "img_003.tif"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(cv2.imread(str(folder / "img_003.tif"), cv2.IMREAD_UNCHANGED), original)


def test_an_export_replaces_itself_and_nothing_else(tmp_path, capsys):
    out = tmp_path / "inputs"
    command = [*CLI, "--export-inputs", str(out)]
    assert run(command) == run(command) == 0
    assert run([*command, "--exposures", "0,4"]) == 1
    assert "an export of other frames" in capsys.readouterr().err
    assert run([*command, "--export-truth"]) == 1
    assert "holds these frames without their truth" in capsys.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert run([*CLI, "--export-inputs", str(tmp_path / "mine")]) == 1
    assert "choose an empty folder" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_export_that_makes_no_sense(tmp_path, capsys):
    out = str(tmp_path / "inputs")
    layouts.write_kalantari(tmp_path / "set")
    kalantari = ["eval", "--dataset", "kalantari", "--root", str(tmp_path / "set"), "--export-inputs", out]
    for command, words in (
        ([*CLI, "--export-truth"], "--export-truth is for --export-inputs"),
        ([*CLI, "--export-inputs", out, "--predictions", "A=b"], "leave --predictions out"),
        ([*kalantari, "--align"], "leave --align out"),
        ([*kalantari, "--export-truth"], "no ground truth"),
    ):
        assert run(command) == 2
        assert words in " ".join(capsys.readouterr().err.split())
        assert not Path(out).exists()
    assert run(kalantari) == 0


def test_an_export_has_every_scene_and_names_without_spaces(tmp_path):
    clips = SMALL.benchmark().clips
    with pytest.raises(InputError, match="scene lost is not there"):
        export_inputs(Benchmark("cinematic", tmp_path, "", clips, ("scene lost is not there",)), tmp_path / "a")
    spaced = replace(clips[0], name="a b")
    export_inputs(Benchmark("synthetic", tmp_path, "", (spaced,)), tmp_path / "b")
    assert (tmp_path / "b" / "Images" / "a b" / "a_b_000000.tif").exists()
    folder = layouts.write_cinematic(tmp_path / "set", scenes=("poker",)) / "Images" / "poker_2expo"
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace("poker_", "poker ")))
    names = (folder / "img_list.txt").read_text().replace("poker_", "poker ")
    (folder / "img_list.txt").write_text(names)
    with pytest.raises(InputError, match="spaces in their names"):
        export_inputs(open_benchmark("cinematic", tmp_path / "set", 2), tmp_path / "c")
    assert not (tmp_path / "c").exists()


# ---- how results are found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "frames", "matched"),
    [
        ("{scene}/{index:06d}.exr", range(6), "by name"),
        ("{scene}/{index:06d}.hdr", SCORED, "by name"),
        ("{scene}/{scene}.{index:06d}.exr", range(6), "by name"),
        ("{scene}/out-{scene}_{index:06d}_pred.exr", SCORED, "by name"),
        ("{scene}_{index:06d}.exr", range(6), "by name"),
        ("{scene}-{index}.exr", range(6), "in order"),
        ("{scene}/{order}.exr", SCORED, "in order"),
        ("{scene}/pred_{order:02d}.exr", SCORED, "in order"),
    ],
)
def test_results_are_found_by_name_or_order(name, frames, matched, tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths, name, frames)
    (tmp_path / "x" / "notes.txt").write_text("what else lies there does not count")
    results, err = scores(tmp_path, capsys)
    found = results["baselines"]["X"]
    assert found["overall"]["psnr_t"] > 50
    assert found["provenance"] == {"folder": "x", "files": matched, "scale": "as stored"}
    assert [f["index"] for f in found["scenes"]["scene_90001"]["frames"]] == list(SCORED)
    assert "warning" not in err


def test_frames_numbered_from_one_are_in_order(tmp_path, truths, capsys):
    """Names 000001 to 000006 name frames 1 to 5 and one that is not there: all are meant one earlier."""
    write_results(tmp_path / "x", truths)
    for path in sorted((tmp_path / "x").rglob("*.exr"), reverse=True):
        path.rename(path.with_name(f"{int(path.stem) + 1:06d}.exr"))
    results, _ = scores(tmp_path, capsys)
    assert results["baselines"]["X"]["overall"]["psnr_t"] > 90
    assert results["baselines"]["X"]["provenance"]["files"] == "in order"


def test_one_scene_may_lie_in_the_folder_itself(tmp_path, truths, capsys):
    one = {SCENES[0]: truths[SCENES[0]]}
    write_results(tmp_path / "x", one, "frame{index}.exr")
    results, _ = scores(tmp_path, capsys, "--scenes", "1")
    assert results["baselines"]["X"]["overall"]["psnr_t"] > 90


def test_a_truth_a_scene_is_found_by_the_name_of_the_scene(tmp_path):
    """DeepHDRVideo's dynamic set: one frame of a scene is scored, and programs name it after the scene."""
    layouts.write_deephdrvideo(tmp_path / "set")
    bench = open_benchmark("deephdrvideo-dynamic", tmp_path / "set", 2)
    for clip in bench.clips:
        (tmp_path / "x").mkdir(exist_ok=True)
        write_hdr(tmp_path / "x" / f"{clip.name}.hdr", clip.truth(2))
    options = EvalOptions(
        "reference", metrics=("psnr_t",), device="cpu", predictions=(PredictionFolder("X", tmp_path / "x"),)
    )
    results = evaluate(bench, options)
    assert results["baselines"]["X"]["overall"]["psnr_t"] > 50


def test_files_of_scenes_with_names_that_begin_alike(tmp_path, truths):
    clips = [replace(clip, name=name) for clip, name in zip(SMALL.benchmark().clips, ("fire", "fire_2"), strict=True)]
    named = dict(zip(("fire", "fire_2"), truths.values(), strict=True))
    write_results(tmp_path / "x", named, "{scene}_{index:06d}.exr")
    options = EvalOptions(predictions=(PredictionFolder("X", tmp_path / "x"),))
    (found,) = open_predictions(options, Benchmark("synthetic", tmp_path, "", tuple(clips)), (), True)
    assert {p.name for p in found.scenes["fire"].files.values()} == {"fire_000002.exr", "fire_000003.exr"}
    assert {p.name for p in found.scenes["fire_2"].files.values()} == {"fire_2_000002.exr", "fire_2_000003.exr"}


# ---- several at once -------------------------------------------------------------------------------------------------


def test_several_programs_models_and_baselines_are_in_every_file(tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths)
    write_results(tmp_path / "y", truths, factor=1.05)
    out = tmp_path / "o"
    command = [*CLI, "--model", "classical,fast", "--baselines", "--metrics", "psnr_t,flicker", "-o", str(out)]
    command += ["--predictions", f"Perfect={tmp_path / 'x'}", "--predictions", f"5 % off={tmp_path / 'y'}"]
    assert run(command) == 0
    printed = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    names = ["classical", "fast", "reference", "Perfect", "5 % off"]
    assert [results["model"]["name"], *results["baselines"]] == names
    roles = {name: table["role"] for name, table in results["baselines"].items()}
    assert roles == {"fast": "model", "reference": "baseline", "Perfect": "predictions", "5 % off": "predictions"}
    assert results["baselines"]["Perfect"]["overall"]["psnr_t"] > 90
    assert results["baselines"]["Perfect"]["seconds"] is None
    assert results["baselines"]["fast"]["seconds"] > 0
    assert results["baselines"]["fast"]["provenance"]["sha256"]
    indices = {
        tuple(f["index"] for f in table["scenes"][scene]["frames"])
        for table in (results, *results["baselines"].values())
        for scene in SCENES
    }
    assert indices == {SCORED}
    assert "predictions Perfect as stored, 5 % off as stored; Rec. 709" in results["protocol"]
    texts = {p.name: p.read_text(encoding="utf-8") for p in out.iterdir() if p.suffix in (".csv", ".md", ".html")}
    for text in (printed, *texts.values()):
        assert all(name in text for name in names)
    assert r"5 \% off" in (out / "table.tex").read_text()
    assert "Without a time: Perfect, 5 % off." in texts["report.html"]


def test_the_means_of_models_do_not_depend_on_predictions(tmp_path, truths):
    write_results(tmp_path / "x", truths)
    options = EvalOptions("classical", metrics=("psnr_t", "flicker"), device="cpu")
    alone = evaluate(SMALL, options)
    beside = evaluate(SMALL, replace(options, predictions=(PredictionFolder("X", tmp_path / "x"),)))
    assert alone["overall"] == beside["overall"]
    assert beside["protocol"].startswith(alone["protocol"])


# ---- faults ----------------------------------------------------------------------------------------------------------


def no_folder(x):
    shutil.rmtree(x)


def no_scene(x):
    shutil.rmtree(x / SCENES[1])


def no_frame(x):
    (x / SCENES[1] / "000003.exr").unlink()


def wrong_count(x):
    for path in (x / SCENES[0]).iterdir():
        path.rename(path.with_name(f"r{path.stem[-1]}.exr"))
    (x / SCENES[0] / "r5.exr").unlink()


def twice(x):
    shutil.copy(x / SCENES[0] / "000003.exr", x / SCENES[0] / "pred_000003.exr")


def only_previews(x):
    for path in (x / SCENES[0]).iterdir():
        path.rename(path.with_suffix(".png"))


def another_size(x):
    write_exr(x / SCENES[0] / "000003.exr", np.ones((HEIGHT, WIDTH // 2, 3), np.float32))


def not_finite(x):
    pixels = np.ones((HEIGHT, WIDTH, 3), np.float32)
    write_exr(x / SCENES[0] / "000003.exr", pixels)
    pixels[3, 4] = np.nan
    import OpenEXR

    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"RGB": pixels}).write(str(x / SCENES[0] / "000003.exr"))


def grey(x):
    write_exr(x / SCENES[0] / "000003.exr", np.ones((HEIGHT, WIDTH, 3), np.float32), one_channel=True)


def cut(x):
    path = x / SCENES[1] / "000003.exr"
    path.write_bytes(path.read_bytes()[:400])


BEFORE_THE_WORK = [
    (no_folder, "x is no folder"),
    (no_scene, "predictions X lack scene scene_90001"),
    (no_frame, "predictions X lack frame 3 of scene scene_90001"),
    (
        wrong_count,
        "predictions X have 5 files for scene scene_90000, which has 6 frames, of which frames 2-3 are scored",
    ),
    (twice, "000003.exr and pred_000003.exr are the same frame of scene scene_90000"),
    (only_previews, "predictions X lack scene scene_90000"),
]
WHEN_SCORED = [
    (another_size, f"000003.exr is 24x32, but frame 3 of scene_90000 is {WIDTH}x{HEIGHT}"),
    (not_finite, "000003.exr has 1 pixel(s) that are NaN or infinite"),
    (grey, "000003.exr has one channel"),
    (cut, "000003.exr is incomplete"),
]


@pytest.mark.parametrize(("fault", "words"), BEFORE_THE_WORK + WHEN_SCORED, ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_is_one_sentence_and_no_score(fault, words, tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths)
    fault(tmp_path / "x")
    _, err = scores(tmp_path, capsys, code=1)
    assert words in " ".join(err.split())
    assert len([line for line in err.splitlines() if "error" in line]) == 1
    assert not (tmp_path / "scores" / "results.json").exists()
    assert (fault, words) in WHEN_SCORED or not (tmp_path / "scores").exists()


def test_a_name_that_no_folder_can_have(tmp_path, capsys):
    for folder in ("n" * 5000, "/dev/null"):
        assert run([*TINY, "--predictions", f"X={folder}", "-o", str(tmp_path / "o")]) == 1
        assert "is no folder: give NAME=FOLDER" in " ".join(capsys.readouterr().err.split())


def test_frames_at_the_ends_that_other_programs_lack(tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths, frames=SCORED)
    command = [word for word in TINY if word != "--inner"]
    assert run([*command, "--predictions", f"X={tmp_path / 'x'}", "-o", str(tmp_path / "o")]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "lack frames 0-1, 4-5 of scene scene_90000" in err
    assert "--inner leaves the first and last frames out" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--predictions", "results"), "takes NAME=FOLDER"),
        (("--predictions", "=results"), "takes NAME=FOLDER"),
        (("--predictions", "X=a", "--predictions", "X=b"), "the name of two results"),
        (("--predictions", "reference=a"), "the name of two results"),
        (("--predictions", "truth=a"), "name of other pictures"),
        (("--predictions", f"{'n' * 41}=a"), "at most 40 letters"),
        (("--predictions", "X=a", "--predictions-scale", "Y=2"), "names 'Y', but of --predictions there are X"),
        (("--predictions-scale", "2"), "is for --predictions NAME=FOLDER"),
        (("--predictions", "X=a", "--predictions-scale", "bright"), "takes shortest, longest, fit or a factor"),
        (("--predictions", "X=a", "--predictions-scale", "0"), "takes shortest, longest, fit or a factor"),
        (("--predictions", "X=a", "--predictions-scale", "nan"), "takes shortest, longest, fit or a factor"),
        (("--model", ","), "--model names no model"),
    ],
)
def test_options_without_meaning(options, words, tmp_path, capsys):
    assert run([*TINY, *options, "-o", str(tmp_path / "o")]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()


# ---- units -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "scale", "said"),
    [
        (8.0, "longest", "X over the longest exposure"),
        (8.0, "X=0.125", "X times 0.125"),
        (37.0, "fit", "X times one factor a scene, the median of truth over prediction"),
        (1.0, "shortest", "X as stored"),
    ],
)
def test_the_unit_can_be_said(factor, scale, said, tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths, factor=factor)
    results, err = scores(tmp_path, capsys, "--predictions-scale", scale)
    found = results["baselines"]["X"]
    assert found["overall"]["psnr_t"] > 80
    assert found["scenes"]["scene_90000"]["scale"] == pytest.approx(1 / factor, rel=1e-3)
    assert f"predictions {said}" in results["protocol"]
    assert "warning" not in err


def test_another_unit_is_a_warning(tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths, factor=8.0)
    results, err = scores(tmp_path, capsys)
    assert results["baselines"]["X"]["overall"]["psnr_t"] < 30
    assert len(results["warnings"]) == 2
    assert "predictions X are 8 times brighter than the truth in scene scene_90000" in results["warnings"][0]
    assert "warning: predictions X are 8 times brighter" in " ".join(err.split())
    assert "8 times brighter" in (tmp_path / "scores" / "report.html").read_text(encoding="utf-8")


def test_frames_of_hdrvid_say_their_unit(tmp_path, truths, capsys):
    """As `hdrvid reconstruct` writes them: 1 where the longest exposure clips, the scale in the header."""
    for scene, of_scene in truths.items():
        for index, truth in enumerate(of_scene):
            (tmp_path / "x" / scene).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "x" / scene / f"{scene}.{index:06d}"
            if scene == SCENES[0]:
                write_exr(path.with_suffix(f".{index:06d}.exr"), truth * 8, attributes={"hdrvid:scale": 8.0})
            else:
                write_hdr(path.with_suffix(f".{index:06d}.hdr"), truth * 8, attributes={"hdrvid:scale": 8.0})
    results, err = scores(tmp_path, capsys)
    assert results["baselines"]["X"]["overall"]["psnr_t"] > 50
    assert "predictions X over the scale in its headers" in results["protocol"]
    assert "warning" not in err


def test_each_may_have_its_own_unit():
    scales = (PredictionScale("B", "longest"), PredictionScale(None, 2.0))
    options = EvalOptions(predictions_scale=scales)
    assert (options.scale_of("A"), options.scale_of("B")) == (2.0, "longest")
    assert EvalOptions().scale_of("A") == "header"


def test_what_cannot_be_fitted(tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths, factor=0.0)
    _, err = scores(tmp_path, capsys, "--predictions-scale", "fit", code=1)
    assert "they are black where it is not" in " ".join(err.split())
    layouts.write_kalantari(tmp_path / "set")
    with pytest.raises(UsageError, match="fit needs ground truth"):
        evaluate(
            open_benchmark("kalantari", tmp_path / "set", 2),
            EvalOptions(
                "reference",
                predictions=(PredictionFolder("X", tmp_path / "x"),),
                predictions_scale=(PredictionScale(None, "fit"),),
            ),
        )


def test_primaries_are_converted_and_negative_values_black(tmp_path, truths, capsys):
    gamut = find_gamut("acescg")
    for scene, of_scene in truths.items():
        for index in SCORED:
            path = tmp_path / "x" / scene / f"{index:06d}.exr"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_exr(path, convert(of_scene[index], REC709, gamut).astype(np.float32), depth="float", gamut=gamut)
    results, _ = scores(tmp_path, capsys)
    assert results["baselines"]["X"]["overall"]["psnr_t"] > 60
    for path in (tmp_path / "x").rglob("*.exr"):
        write_exr(path, np.full((HEIGHT, WIDTH, 3), -5.0, np.float32))
    negative, _ = scores(tmp_path, capsys, "--overwrite")
    for path in (tmp_path / "x").rglob("*.exr"):
        write_exr(path, np.zeros((HEIGHT, WIDTH, 3), np.float32))
    black, _ = scores(tmp_path, capsys, "--overwrite")
    assert negative["baselines"]["X"]["overall"] == black["baselines"]["X"]["overall"]


def test_grey_results_of_grey_frames_are_fine(tmp_path, truths):
    class Grey:
        name, cycle, num_frames, scored, black = "grey", ExposureCycle((0, 3)), 3, (1,), 0.0

        def ldr(self, index):
            return np.repeat(truths[SCENES[0]][index].mean(-1, keepdims=True), 3, -1)

        truth = ldr

        def visible(self, index, others):
            return None

    (tmp_path / "x").mkdir()
    write_exr(tmp_path / "x" / "1.exr", Grey().truth(1), one_channel=True)
    options = EvalOptions(
        "reference", metrics=("psnr_t",), device="cpu", predictions=(PredictionFolder("X", tmp_path / "x"),)
    )
    results = evaluate(Benchmark("cinematic", tmp_path, "", (Grey(),)), options)
    assert results["baselines"]["X"]["overall"]["psnr_t"] > 50


# ---- going on --------------------------------------------------------------------------------------------------------


def test_a_file_that_changed_is_scored_again(tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths)
    before, _ = scores(tmp_path, capsys)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "scores" / "scenes").iterdir()}
    scores(tmp_path, capsys)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    path = tmp_path / "x" / SCENES[1] / "000002.exr"
    write_exr(path, truths[SCENES[1]][2] * np.float32(0.9), depth="float")
    os.utime(path, ns=(1, 1))
    after, _ = scores(tmp_path, capsys)
    changed = {p.name for p in kept if p.stat().st_mtime_ns != kept[p]}
    assert changed == {"0001.json"}
    x = [r["baselines"]["X"]["scenes"] for r in (before, after)]
    assert x[0][SCENES[0]] == x[1][SCENES[0]]
    assert x[0][SCENES[1]]["overall"]["psnr_t"] > x[1][SCENES[1]]["overall"]["psnr_t"] + 5


def test_another_scale_is_another_score(tmp_path, truths):
    """A run that was interrupted has no results.json: its scenes were scored in another unit all the same."""
    write_results(tmp_path / "x", truths, factor=8.0)
    options = EvalOptions(
        "reference", metrics=("psnr_t",), device="cpu", predictions=(PredictionFolder("X", tmp_path / "x"),)
    )
    first = evaluate(SMALL, options, out=tmp_path / "o")
    (tmp_path / "o" / "results.json").unlink()
    second = evaluate(
        SMALL, replace(options, predictions_scale=(PredictionScale(None, "longest"),)), out=tmp_path / "o"
    )
    psnr = [r["baselines"]["X"]["overall"]["psnr_t"] for r in (first, second)]
    assert psnr[0] < 30 < 80 < psnr[1]


def test_a_fault_keeps_the_scenes_before_it(tmp_path, truths, capsys):
    write_results(tmp_path / "x", truths)
    path = tmp_path / "x" / SCENES[1] / "000003.exr"
    whole = path.read_bytes()
    path.write_bytes(whole[:400])
    scores(tmp_path, capsys, code=1)
    first = tmp_path / "scores" / "scenes" / "0000.json"
    time = first.stat().st_mtime_ns
    path.write_bytes(whole)
    results, _ = scores(tmp_path, capsys)
    assert first.stat().st_mtime_ns == time
    assert set(results["baselines"]["X"]["scenes"]) == set(SCENES)


def test_a_file_that_went_away(tmp_path, truths):
    write_results(tmp_path / "x", truths)
    options = EvalOptions(predictions=(PredictionFolder("X", tmp_path / "x"),))
    (found,) = open_predictions(options, SMALL.benchmark(), (), True)
    shutil.rmtree(tmp_path / "x")
    with pytest.raises(PredictionError, match="cannot be read"):
        found.scenes[SCENES[0]].fingerprint()


# ---- the dataset -----------------------------------------------------------------------------------------------------


def test_inner_frames(capsys, tmp_path):
    assert SMALL.benchmark().clips[0].scored == SCORED
    assert "frames 2 to n-3 scored" in SMALL.description()
    assert "every frame scored" in replace(SMALL, inner=False).description()
    assert run(["eval", "--frames", "4", "--inner", "-o", str(tmp_path / "o")]) == 2
    assert "give --frames 5 or more" in capsys.readouterr().err
    assert run(["eval", "--dataset", "cinematic", "--inner", "-o", str(tmp_path / "o")]) == 2
    assert "--inner" in capsys.readouterr().err


def test_pictures_of_one_name_are_not_lost(tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_hdr(tmp_path / folder / "sunset.hdr", np.ones((32, 64, 3), np.float32))
    assert run(["eval", "--root", str(tmp_path), "-o", str(tmp_path / "o")]) == 1
    assert "two pictures of the name sunset" in capsys.readouterr().err
