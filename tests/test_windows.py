"""Windows on disk and the samples drawn from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training import batch_of, made_in_process, numbered, write_sequence

from hdrvid.color.radiance import mu_law
from hdrvid.data.layouts import training_sources, unlabelled_windows
from hdrvid.data.windows import (
    NUM_FRAMES,
    PATCH_GRID,
    CacheOptions,
    LdrCacheOptions,
    SampleOptions,
    TrainingWindows,
    UnlabelledWindows,
    build_cache,
    build_ldr_cache,
    find_hdr_images,
)
from hdrvid.errors import InputError, OutputError
from hdrvid.io.exr import write_exr
from hdrvid.models.classical import blend, candidates_and_prior
from hdrvid.models.config import ModelConfig
from hdrvid.models.constants import PARTLY_CLIPPED
from hdrvid.models.exposure_agreement import exposure_agreement
from hdrvid.models.forward import build
from hdrvid.options.train import TrainOptions
from hdrvid.train.objective import run
from hdrvid.warp import warp

pytestmark = pytest.mark.usefixtures("one_thread")
OWN = ("procedural",)
RENDERED = CacheOptions(6, 64, 3, OWN, 0.3)


@pytest.fixture(scope="module", autouse=True)
def _in_process():
    with made_in_process():
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "cache"
    build_cache(folder, RENDERED)
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """A sequence of 14 HDR frames: two windows of seven."""
    root = tmp_path_factory.mktemp("frames")
    write_sequence(root / "walk", numbered("walk.", 1, 14, 4))
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """7 frames of 8-bit code; every pixel tells its frame and its place."""
    folder = tmp_path_factory.mktemp("clips") / "shot"
    folder.mkdir()
    y, x = np.mgrid[0:70, 0:80]
    for i in range(7):
        code = np.stack([x, y, np.full_like(x, 20 * i + 10)], -1).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{i:03d}.png"), code)  # BGR: blue is x
    (folder / "Exposures.txt").write_text("3\n0\n")
    return folder


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {p.stem: np.load(p) for p in folder.glob("*.npy")}


class TestHdrCache:
    def test_rendered_rows(self, cache):
        stored = arrays(cache)
        assert stored["radiance"].shape == (6, NUM_FRAMES, 3, 64, 64)
        assert stored["flow"].shape == (6, NUM_FRAMES - 1, 2, 64, 64)
        assert stored["visible"].shape == (6, NUM_FRAMES - 1, 64, 64)
        assert len(stored["blurred"]) == 1  # of the first scene
        assert stored["done"].all()
        assert np.isfinite(stored["radiance"]).all()
        assert all(np.percentile(r[2].max(0), 99.9) == pytest.approx(16, rel=0.01) for r in stored["radiance"])
        assert np.ptp(stored["radiance"], axis=(1, 2, 3, 4)).min() > 1  # every row was written
        assert any(stored["visible"][i].mean() not in (0, 1) for i in range(6))

    def test_it_is_built_once(self, cache):
        told = []
        before = (cache / "radiance.npy").stat().st_mtime_ns
        build_cache(cache, RENDERED, progress=lambda *p: told.append(p))
        assert told == []
        assert (cache / "radiance.npy").stat().st_mtime_ns == before

    def test_other_options_build_it_anew(self, tmp_path, cache):
        build_cache(tmp_path, RENDERED)
        build_cache(tmp_path, CacheOptions(3, 64, 4, OWN, 0.3))
        a, b = arrays(cache), arrays(tmp_path)
        assert len(b["radiance"]) == 3
        assert not np.array_equal(a["radiance"][0], b["radiance"][0])

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("cache.json", b""),
            ("cache.json", b'{"count": 6, "si'),
            ("done.npy", b""),
            ("radiance.npy", b"\x93NUMPY"),
            ("radiance.npy", -1),
            ("visible.npy", 1000),
            ("flow.npy", np.zeros((6, 2), np.float32)),
            ("flow.npy", np.array([{}], object)),
            ("flow.npy", None),
        ],
    )
    def test_a_damaged_cache_is_built_anew(self, tmp_path, cache, name, content):
        build_cache(tmp_path, RENDERED)
        path = tmp_path / name
        if content is None:
            path.unlink()
        elif isinstance(content, np.ndarray):
            np.save(path, content, allow_pickle=True)
        else:
            path.write_bytes(path.read_bytes()[:content] if isinstance(content, int) else content)
        said = []
        build_cache(tmp_path, RENDERED, on_warning=said.append)
        assert len(said) == 1
        assert "is damaged and is built anew" in said[0]
        assert name in said[0]
        a, b = arrays(cache), arrays(tmp_path)
        assert all(np.array_equal(a[key], b[key]) for key in a)
        assert (tmp_path / "cache.json").read_text() == (cache / "cache.json").read_text()

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("cache.json", b'{"size": 7}'),
            ("cache.json", b"\xff\xfe"),
            ("flow.npy", b"flow of another program"),
            ("done.npy", b"done"),
        ],
    )
    def test_files_of_others_are_kept(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OutputError, match="was not written by this command: give --cache another folder"):
            build_cache(tmp_path, RENDERED)
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).read_bytes() == content

    def test_a_run_that_was_killed_before_the_first_window(self, tmp_path, cache):
        build_cache(tmp_path, RENDERED)
        for name in ("done.npy", "visible.npy"):
            (tmp_path / name).unlink()
        build_cache(tmp_path, RENDERED, on_warning=pytest.fail)
        assert all(np.array_equal(arrays(cache)[key], value) for key, value in arrays(tmp_path).items())

    def test_an_unfinished_cache_goes_on(self, tmp_path, cache):
        build_cache(tmp_path, RENDERED)
        done = np.load(tmp_path / "done.npy")
        done[[0, 2]] = 0
        np.save(tmp_path / "done.npy", done)
        for name in ("radiance", "blurred"):
            stored = np.lib.format.open_memmap(tmp_path / f"{name}.npy", mode="r+")
            stored[[0, 2] if name == "radiance" else 0] = 0
            stored.flush()
        told = []
        build_cache(tmp_path, RENDERED, progress=lambda *p: told.append(p))
        assert told == [(5, 6), (6, 6)]
        a, b = arrays(cache), arrays(tmp_path)
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[k], b[k]) for k in a)

    def test_processes_make_the_same(self, tmp_path, cache):
        with pytest.MonkeyPatch.context() as patch:
            import multiprocessing

            patch.setattr("hdrvid.data.windows.multiprocessing", multiprocessing)
            build_cache(tmp_path, RENDERED, workers=1)
        a, b = arrays(cache), arrays(tmp_path)
        assert all(np.array_equal(a[k], b[k]) for k in a)

    def test_patches_are_neighbours_cut_from_one_scene(self, tmp_path):
        rows, columns = PATCH_GRID
        assert rows * columns == 8
        options = CacheOptions(24, 32, 5, OWN, 0.3, blurred_every=2, patches=True)
        build_cache(tmp_path, options)
        stored = arrays(tmp_path)
        radiance = mu_law(stored["radiance"][:, 2].astype(np.float32) / 16).mean(1)
        scenes = radiance.reshape(3, rows, columns, 32, 32)
        for axis, first, second in (
            ("across", scenes[:, :, :-1, :, -1], scenes[:, :, 1:, :, 0]),
            ("down", scenes[:, :-1, :, -1, :], scenes[:, 1:, :, 0, :]),
        ):
            step = np.abs(first - second).mean()
            strange = np.abs(first - np.roll(second, 1, axis=0)).mean()  # the same seam of another scene
            assert step < strange / 3, axis
        # a seam is as smooth as the columns beside it
        inside = np.abs(np.diff(scenes, axis=-1)).mean()
        assert np.abs(scenes[:, :, :-1, :, -1] - scenes[:, :, 1:, :, 0]).mean() < 1.5 * inside
        # scenes 0 and 2 have open-shutter frames: near their sharp ones, far from those of other patches
        assert len(stored["blurred"]) == 16
        assert [options.blurred_row(r) for r in (0, 7, 8, 15, 16, 23)] == [0, 7, None, None, 8, 15]
        sharp = [r for r in range(24) if options.blurred_row(r) is not None]
        blurred = mu_law(stored["blurred"][:, 2].astype(np.float32) / 16).mean(1)
        distances = np.abs(blurred[:, None] - radiance[None, sharp]).mean((2, 3))
        assert np.array_equal(distances.argmin(1), np.arange(16))

    def test_files_follow_the_rendered_windows(self, tmp_path, frames):
        files = training_sources([frames]).windows
        assert len(files) == 2
        build_cache(tmp_path, CacheOptions(1, 64, 3, OWN, 0.3, files=files))
        stored = arrays(tmp_path)
        assert stored["radiance"].shape[0] == 3
        assert stored["visible"][0].any()
        assert not stored["visible"][1:].any()  # the exact flow of files is not known
        for row, window in ((1, files[0]), (2, files[1])):
            seven = window.read(64, np.random.default_rng([3, row])).transpose(0, 3, 1, 2)
            scale = stored["radiance"][row] / seven[1:6]  # the five in the middle
            assert np.ptp(scale) < 0.01 * scale.mean()

    def test_windows_of_files_alone_are_samples(self, tmp_path, frames):
        build_cache(tmp_path, CacheOptions(0, 64, 3, (), 0.0, files=training_sources([frames]).windows))
        data = TrainingWindows(tmp_path, SampleOptions(3, 48, seed=1), 8)
        for i in range(8):
            s = data[i]
            assert s["truth"].shape == (5, 3, 48, 48)
            assert not s["visible"].any()
            assert s["truth"].std() > 0.01

    def test_a_damaged_file_is_named(self, tmp_path):
        write_sequence(tmp_path / "shot", numbered("f.", 1, 7, 4))
        windows = training_sources([tmp_path]).windows
        (tmp_path / "shot" / "f.0003.exr").write_bytes(b"junk")
        with pytest.raises(InputError, match=r"f\.0003\.exr"):
            build_cache(tmp_path / "cache", CacheOptions(0, 64, 3, (), 0.0, files=windows))


class TestLdrCache:
    @pytest.mark.parametrize("num_exposures", [2, 3])
    def test_rendered_scenes_are_filmed_once(self, tmp_path, num_exposures):
        build_ldr_cache(tmp_path, LdrCacheOptions(4, 64, 7, num_exposures, OWN, 0.3))
        stored = arrays(tmp_path)
        w = 2 * num_exposures - 1
        assert stored["ldr"].shape == (4, w, 3, 64, 64)
        assert stored["ldr"].dtype == np.uint16
        assert stored["exposures"].shape == (4, w)
        for exposures in stored["exposures"]:
            assert min(exposures) == 1
            assert len(set(exposures.tolist())) == num_exposures
            assert np.array_equal(exposures[num_exposures:], exposures[:-num_exposures])
        for codes, exposures in zip(stored["ldr"].astype(float), stored["exposures"], strict=True):
            assert codes[exposures.argmax()].mean() > 1.1 * codes[exposures.argmin()].mean()
        assert {p.stem for p in tmp_path.glob("*.npy")} == {"ldr", "exposures", "done"}  # no truth is kept

    def test_files_keep_their_codes_and_exposures(self, tmp_path, clip):
        files = unlabelled_windows([clip])
        build_ldr_cache(tmp_path, LdrCacheOptions(1, 64, 7, 2, OWN, 0.3, files))
        stored = arrays(tmp_path)
        assert len(stored["ldr"]) == 2
        codes = np.rint(stored["ldr"][1] / 257.0)
        assert np.abs(codes * 257 - stored["ldr"][1]).max() == 0  # 8-bit codes, exactly
        assert codes[:, 0, 0, 0].tolist() == [50.0, 70.0, 90.0]  # frames 2 to 4 of the seven
        np.testing.assert_array_equal(np.diff(codes[:, 2], axis=2), 1)
        np.testing.assert_array_equal(np.diff(codes[:, 1], axis=1), 1)
        assert stored["exposures"][1].tolist() == [8, 1, 8]

    def test_a_clip_of_the_other_cycle_is_refused(self, tmp_path):
        short = tmp_path / "short"
        write_sequence(short, numbered("f.", 0, 3))
        (short / "Exposures.txt").write_text("0\n3\n")
        files = unlabelled_windows([short])
        with pytest.raises(InputError, match=r"has 3 frames and 5 are needed"):
            build_ldr_cache(tmp_path / "cache", LdrCacheOptions(0, 64, 7, 3, (), 0.0, files))


class TestSamples:
    @pytest.mark.parametrize("search", ["medium", "fast", ""])
    @pytest.mark.parametrize("num_exposures", [2, 3])
    def test_they_have_their_shapes_and_depend_on_the_index_alone(self, cache, num_exposures, search):
        options = SampleOptions(num_exposures, 48, seed=5, search=search)
        data, again = TrainingWindows(cache, options, 10), TrainingWindows(cache, options, 10)
        again[7]  # the order of drawing must not matter
        a, b = data[4], again[4]
        same = [k for k in a if k != "seconds"]
        assert all(torch.equal(a[k], b[k]) for k in same)
        assert not torch.equal(a["ldr"], data[5]["ldr"])
        assert not torch.equal(
            a["ldr"], TrainingWindows(cache, SampleOptions(num_exposures, 48, seed=6, search=search), 9)[4]["ldr"]
        )
        w = 2 * num_exposures - 1
        assert a["ldr"].shape == a["truth"].shape == (w, 3, 48, 48)
        assert a["flow"].shape == (w - 1, 2, 48, 48)
        assert a["visible"].shape == (w - 1, 48, 48)
        assert a["exposures"].shape == (w,)
        assert ("dis" in a) == ("dis_back" in a) == bool(search)
        if search:
            assert a["dis"].shape == a["dis_back"].shape == (w - 1, 2, 48, 48)
        assert all(torch.isfinite(v).all() for v in a.values())
        for i in range(10):
            s = data[i]
            assert s["ldr"].min() >= 0
            assert s["ldr"].max() <= 1
            assert 0 <= s["truth"].min() < s["truth"].max() <= 1
            assert s["exposures"].min() == 1
            assert len(set(s["exposures"].tolist())) == num_exposures

    @pytest.mark.parametrize("num_exposures", [2, 3])
    def test_pairs_are_one_moment_in_other_exposures(self, cache, num_exposures):
        options = SampleOptions(num_exposures, 48, seed=5, search="", real=0.5, pairs=True)
        data, middle, brighter = TrainingWindows(cache, options, 40), num_exposures - 1, 0
        for k in range(0, 40, 2):
            a, b = data[k], data[k + 1]
            assert torch.equal(a["visible"], b["visible"])
            assert torch.equal(a["black"], b["black"])
            assert a["exposures"][middle] != b["exposures"][middle]
            cycle = set(a["exposures"].tolist())
            assert cycle == set(b["exposures"].tolist())
            same = (a["truth"] == b["truth"]).float().mean()  # but for what an open shutter blurs in one of the two
            brighter += int(same == 1)
            ratio = b["exposures"][middle] / a["exposures"][middle]
            codes = [x["ldr"][middle] for x in (a, b)]
            shown = (codes[0] < 0.9) & (codes[1] < 0.9) & (codes[0] > 0.2) & (codes[1] > 0.2)
            if same == 1 and shown.sum() > 100 and 0.2 < ratio < 5:
                measured = float(((codes[1] / codes[0]) ** 2.2)[shown].median())
                assert measured == pytest.approx(float(ratio), rel=0.5)
        assert brighter > 10
        assert not torch.equal(data[0]["truth"], data[2]["truth"])

    def test_flow_and_truth_belong_together_after_flips(self, cache):
        data = TrainingWindows(cache, SampleOptions(2, 48, seed=9, search="", exact_flow=True), 40)
        right, wrong = [], []
        for i in range(16):
            s = data[i]
            assert s["visible"].any()
            tone = mu_law(s["truth"])
            for k, source in enumerate((0, 2)):
                seen = s["visible"][k] > 0
                for flow, errors in ((s["flow"][k], right), (-s["flow"][k], wrong)):
                    aligned = warp(tone[source][None], flow[None])[0]
                    errors.append(float((aligned - tone[1]).abs().mean(0)[seen].mean()))
        assert np.median(right) < 0.02
        assert np.median(right) < np.median(wrong) / 2

    @pytest.mark.parametrize("num_exposures", [2, 3])
    def test_the_end_of_a_clip_has_one_side_only(self, cache, num_exposures):
        data = TrainingWindows(cache, SampleOptions(num_exposures, 48, seed=2, search="", exact_flow=True), 60)
        ends = 0
        for i in range(60):
            s = data[i]
            if torch.equal(s["ldr"][0], s["ldr"][-1]) and s["ldr"][0].std() > 0.02:
                ends += 1
                assert torch.equal(s["exposures"], s["exposures"].flip(0))
                assert torch.equal(s["truth"], s["truth"].flip(0))
                assert torch.equal(s["flow"], s["flow"].flip(0))
        assert 1 <= ends <= 15

    def test_the_exact_flow_is_given_only_where_it_is_known(self, cache):
        anywhere = TrainingWindows(cache, SampleOptions(2, 48, seed=9, search=""), 40)
        known = [bool(anywhere[i]["visible"].any()) for i in range(24)]
        assert 0 < sum(known) < 24  # elsewhere nothing is called visible
        unknown = anywhere[known.index(False)]
        assert not unknown["flow"].any()

    def test_frames_tell_of_their_truth(self, cache):
        data = TrainingWindows(cache, SampleOptions(2, 64, augment=False, search=""), 6)
        for i in range(6):
            s = data[i]
            exposed = (s["truth"] * s["exposures"][:, None, None, None]).clamp(0, 1)
            code = exposed ** (1 / 2.2)
            inside = (code > 0.2) & (code < 0.9)
            assert float((s["ldr"] - code).abs()[inside].mean()) < 0.03
            assert sorted(set(s["exposures"].tolist())) == [1, 8]
        references = [float(data[i]["exposures"][1]) for i in range(4)]
        assert references == [8, 1, 8, 1]  # every class of the reference is validated

    def test_the_classical_merge_of_a_sample_is_near_its_truth(self, cache):
        batch = batch_of(cache, SampleOptions(2, 64, augment=False), 6)
        (_, radiance, prior, _), _ = candidates_and_prior(
            batch["ldr"], batch["exposures"], batch["dis"], batch["dis_back"]
        )
        assert (mu_law(blend(radiance, prior)) - mu_law(batch["truth"][:, 1])).abs().mean() < 0.05

    def test_perturbing_changes_the_reference_alone(self, cache):
        plain = TrainingWindows(cache, SampleOptions(2, 48, seed=5, search=""), 9)[3]
        perturbed = TrainingWindows(cache, SampleOptions(2, 48, seed=5, search="", perturb=True), 9)[3]
        changed = [not torch.equal(a, b) for a, b in zip(plain["ldr"], perturbed["ldr"], strict=True)]
        assert changed == [False, True, False]
        assert torch.equal(plain["truth"], perturbed["truth"])

    def test_a_share_of_the_samples_is_filmed_by_a_plain_camera(self, cache):
        def stops(plain: float) -> list[float]:
            data = TrainingWindows(cache, SampleOptions(2, 32, seed=5, search="", plain=plain), 60)
            exposures = [data[i]["exposures"] for i in range(60)]
            return [float((e.max() / e.min()).log2()) for e in exposures]

        assert all(1.99 < s < 4.01 for s in stops(1.0))
        assert any(not 1.99 < s < 4.01 for s in stops(0.5))
        assert sum(abs(s - 3) < 0.01 for s in stops(1.0)) > sum(abs(s - 3) < 0.01 for s in stops(0.0))

    def test_inexact_flow_leaves_the_sample_as_it_is(self, cache):
        options = SampleOptions(2, 48, seed=5, search="", exact_flow=True)
        without = TrainingWindows(cache, options, 9)[3]
        given = TrainingWindows(cache, replace(options, inexact_flow=True), 9)[3]
        assert set(given) - set(without) == {"inexact"}
        assert given["inexact"].shape == given["flow"].shape
        assert all(torch.equal(given[k], without[k]) for k in without if k != "seconds")

    def test_channels_are_mixed_where_a_run_would_mix_them(self, tmp_path):
        build_cache(tmp_path / "large", CacheOptions(2, 160, 3, OWN, 0.3))
        data = TrainingWindows(tmp_path / "large", SampleOptions(2, 160, seed=5, search="fast", real=1.0), 60)
        samples = [data[i] for i in range(60)]
        agreements = []
        for sample in samples:
            frames, flows = (list(sample[name].permute(0, 2, 3, 1).contiguous().numpy()) for name in ("ldr", "dis"))
            exposures, black = sample["exposures"].tolist(), float(sample["black"])
            agreements.append(exposure_agreement(frames, exposures, flows, black))
            assert float(sample["partly_clipped"]) == pytest.approx(PARTLY_CLIPPED * agreements[-1])
        assert min(agreements) < 0.5  # a curve that is not known
        assert max(agreements) == 1

        batch = {k: torch.stack([sample[k] for sample in samples]) for k in samples[0]}
        networks = build(ModelConfig(preset="fast", width=16))
        options = TrainOptions(preset="fast", refine_flow=False, crop=128, window_size=160)
        mixed = run(networks, batch, options.margin).radiance
        apart = run(networks, batch | {"partly_clipped": torch.zeros(60)}, options.margin).radiance
        changed = [not torch.equal(a, b) for a, b in zip(mixed, apart, strict=True)]
        assert any(changed)
        assert [c for c, agreement in zip(changed, agreements, strict=True) if agreement == 0].count(True) == 0

    def test_a_sample_is_no_larger_than_its_window(self, cache):
        assert TrainingWindows(cache, SampleOptions(2, 500, search=""), 9)[0]["ldr"].shape[-2:] == (64, 64)


class TestUnlabelledSamples:
    def test_they_carry_no_truth(self, tmp_path, clip):
        build_ldr_cache(tmp_path, LdrCacheOptions(2, 64, 7, 2, OWN, 0.3, unlabelled_windows([clip])))
        data = UnlabelledWindows(tmp_path, SampleOptions(2, 48, seed=2), 12)
        again = UnlabelledWindows(tmp_path, SampleOptions(2, 48, seed=2), 12)
        again[7]
        a, b = data[4], again[4]
        assert set(a) == {"ldr", "exposures", "black", "partly_clipped", "dis", "dis_back", "seconds"}
        assert all(torch.equal(a[k], b[k]) for k in a if k != "seconds")
        assert a["ldr"].shape == (3, 3, 48, 48)
        assert a["dis"].shape == (2, 2, 48, 48)
        assert len({float(data[i]["ldr"].sum()) for i in range(12)}) == 12

    def test_augmentation_keeps_frames_with_their_exposures(self, tmp_path, clip):
        files = unlabelled_windows([clip])
        build_ldr_cache(tmp_path, LdrCacheOptions(0, 64, 7, 2, (), 0.0, files))
        ways = set()
        for sample in map(
            UnlabelledWindows(tmp_path, SampleOptions(2, 32, seed=2, search=""), 30).__getitem__, range(30)
        ):
            codes = torch.round(sample["ldr"] * 255)
            constant = [c for c in range(3) if np.ptp(codes[0, c].numpy()) == 0]  # the channel that tells the frame
            (channel,) = constant
            times = codes[:, channel, 0, 0].tolist()
            assert times in ([50, 70, 90], [90, 70, 50])
            assert sample["exposures"].tolist() == [8, 1, 8]
            ways.add((channel, times[0]))
        assert len(ways) == 6


def test_pictures_are_found_and_held_out(tmp_path):
    for name in ("a", "b", "c"):
        write_exr(tmp_path / f"{name}.exr", np.ones((8, 16, 3), np.float32))
    assert [p[-5:] for p in find_hdr_images([tmp_path], ["b"])] == ["a.exr", "c.exr"]
    with pytest.raises(InputError, match="does not exist"):
        find_hdr_images([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        find_hdr_images([tmp_path / "empty"])


def test_what_a_cache_holds_is_written_beside_it(cache):
    assert json.loads((cache / "cache.json").read_text())["count"] == 6
