"""`hdrvid bench`: figures that can be known beforehand, the form of the results, and what cannot be measured."""

from __future__ import annotations

import itertools
import json
import math
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hdrvid.bench import YARDSTICK, BenchOptions, BenchResult, bench, count_macs, run
from hdrvid.bench.clip import RESPONSE, make_clip
from hdrvid.bench.fresh import end_to_end, in_fresh_process, peak_resident_mib
from hdrvid.bench.yardstick import yardstick_call
from hdrvid.cli.app import run as hdrvid
from hdrvid.color.curves import gamma_encode
from hdrvid.errors import HdrvidError, InputError, ModelError
from hdrvid.io import open_clip
from hdrvid.io.exposure_files import parse_exposures
from hdrvid.models.layers import conv_act
from hdrvid.predict import int8
from hdrvid.predict.clock import STAGES
from hdrvid.predict.registry import load_reconstructor
from hdrvid.types import ExposureCycle

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SIZE = (128, 64)
KEYS = {f.name for f in fields(BenchResult)}
AROUND = ("decode", "linearise", "tonemap", "preview", "write")
END_TO_END = {k for k in KEYS if k.startswith("end_to_end")} | {"network_share"}


# ---- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_macs_are_those_counted_by_hand(mode):
    halved = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    same = nn.Conv2d(8, 4, 5, padding="same")
    x = torch.rand(2, 3, 16, 12)
    with mode():
        # 8x6 pixels of 8 channels from 3 channels of 9 pixels, then 4 channels from 8 of 25; a batch of two
        assert count_macs(lambda: same(halved(x))) == 2 * (8 * 6 * 8 * 27 + 8 * 6 * 4 * 200)
        assert count_macs(lambda: F.conv2d(x, halved.weight[:4], padding=1)) == 2 * 16 * 12 * 4 * 27


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_macs_of_a_transposed_convolution(mode):
    doubled = nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1)
    with mode():
        # every one of 16x12 pixels of 3 channels meets 8 channels of 16 weights
        assert count_macs(lambda: doubled(torch.rand(2, 3, 16, 12))) == 2 * 16 * 12 * 3 * 8 * 16


def test_filters_are_no_networks():
    x = torch.rand(1, 3, 8, 8)
    assert count_macs(lambda: F.conv2d(x, torch.rand(3, 1, 3, 3), groups=3)) == 0
    assert count_macs(lambda: x @ x) == 0


def test_macs_of_a_convolution_with_what_follows():
    x, weight, plus = torch.rand(1, 3, 16, 12), torch.rand(4, 3, 3, 3), torch.rand(1, 4, 16, 12)
    with torch.inference_mode():
        assert count_macs(lambda: conv_act(x, weight, None)) == 16 * 12 * 4 * 27
        assert count_macs(lambda: conv_act(x, weight, None, plus=plus)) == 16 * 12 * 4 * 27


def test_macs_do_not_depend_on_the_precision():
    call = yardstick_call((32, 32), CPU, "bf16")
    assert count_macs(call) == count_macs(yardstick_call((32, 32), CPU, "fp32"))


def test_the_yardstick_costs_94_kmac_a_pixel():
    kmac = count_macs(yardstick_call((64, 48), CPU, "fp32")) / (64 * 48) / 1e3
    assert abs(kmac - 94) < 0.94
    full, down, up = 9 * 32 * 32, 9 * 32 * 64 // 4, 64 * 32 // 4  # a convolution costs the same at every level
    assert kmac * 1e3 == 2 * 9 * 9 * 32 + 8 * full + 3 * down + 3 * up


def test_the_yardstick_takes_any_size():
    assert count_macs(yardstick_call((30, 18), CPU, "fp32")) == count_macs(yardstick_call((32, 24), CPU, "fp32"))


# ---- the clip --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stops", [(0, 3), (2, 0, 4)])
def test_windows_follow_each_other_as_in_a_clip(stops):
    cycle = ExposureCycle(stops)
    clip = make_clip((64, 48), cycle, 9)
    windows = list(clip.windows())
    radius = cycle.window_radius
    assert [w.index for w in windows] == list(range(radius, 9 - radius))
    for w in windows:
        assert w.exposures == tuple(cycle.exposure_at(w.index + k) for k in range(-radius, radius + 1))
        assert w.reference.shape == (48, 64, 3)
    for a, b in itertools.pairwise(windows):
        assert all(x is y for x, y in zip(a.frames[1:], b.frames, strict=False)), "a frame is one array"
    code = clip.codes[radius].astype(np.float32) / 255
    np.testing.assert_allclose(windows[0].reference, gamma_encode(RESPONSE.linearize(code)), atol=1e-6)


def test_a_large_clip_has_noise_of_its_own_and_the_same_every_time():
    cycle = ExposureCycle((0, 3))
    a, b = (make_clip((1000, 500), cycle, 2).codes for _ in range(2))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
    assert a[1].mean() > a[0].mean() + 20, "the longer exposure is brighter"
    differences = np.diff(a[0][..., 1].astype(float), axis=1)
    assert np.median(np.abs(differences)) >= 1, "enlarged pictures are smooth"


def test_the_clip_on_disk_is_the_clip(tmp_path):
    clip = make_clip(SIZE, ExposureCycle((0, 3)), 4)
    clip.write(tmp_path / "clip.mp4")
    with open_clip(tmp_path / "clip.mp4") as reader:
        frames = [f.pixels for f in reader.frames()]
    assert len(frames) == 4
    for frame, code in zip(frames, clip.codes, strict=True):
        assert np.abs(frame * 255 - code).mean() < 8


# ---- processes of their own ------------------------------------------------------------------------------------------


def test_memory_is_that_of_the_process_alone():
    ballast = np.ones(1 << 27)  # 1 GiB
    mine, fresh = peak_resident_mib(), in_fresh_process(peak_resident_mib)
    assert mine > ballast.nbytes >> 20
    assert 50 < fresh < 700


def test_errors_come_back_and_a_killed_process_is_one():
    with pytest.raises(InputError, match="neither a list of stops"):
        in_fresh_process(parse_exposures, "nonsense")
    with pytest.raises(HdrvidError, match="ended with code 7"):
        in_fresh_process(os._exit, 7)


def test_end_to_end_is_a_real_run(tmp_path):
    cycle = ExposureCycle((0, 3))
    make_clip(SIZE, cycle, 6).write(tmp_path / "clip.mp4")
    made = end_to_end(tmp_path / "clip.mp4", tmp_path / "out", "classical", cycle, "cpu", "fp32")
    assert made.num_frames == 6 == len(list((tmp_path / "out").glob("clip.*.exr")))
    assert (tmp_path / "out" / "clip.preview.mp4").is_file()
    report = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert report["stops"] == pytest.approx([0, 3], abs=0.1)
    assert report["response"] == RESPONSE.name
    assert made.frames_per_second == report["timings"]["frames_per_second"]
    assert 0 < made.network_share < 1
    whole = made.start_seconds + made.frame_ms * 5 / 1e3 + made.finish_seconds
    assert whole == pytest.approx(report["timings"]["total_seconds"], rel=0.1)


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory, one_thread):
    path = tmp_path_factory.mktemp("bench") / "not there yet" / "bench.json"
    options = ["--size", "128x64", "--runs", "2", "--no-end-to-end", "--precision", "bf16", "--json", str(path)]
    assert hdrvid(["bench", *options]) == 0
    return json.loads(path.read_text(encoding="utf-8"))


def test_what_is_measured_is_kept_when_the_rest_is_not(tmp_path, monkeypatch, one_thread):
    measured = run._Bench.results

    def stopped(self):
        if self.size == (96, 64):
            raise KeyboardInterrupt
        return measured(self)

    monkeypatch.setattr(run._Bench, "results", stopped)
    path = tmp_path / "bench.json"
    sizes = ["--size", "64x48", "--size", "96x64"]
    options = ["--model", "classical", "--runs", "1", "--no-end-to-end", "--precision", "fp32", "--json", str(path)]
    assert hdrvid(["bench", *sizes, *options]) != 0
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert [(r["model"], r["size"]) for r in rows] == [(YARDSTICK, [64, 48]), ("classical", [64, 48])]


def test_the_form_of_the_results(results):
    assert set(results) == {"machine", "options", "results"}
    assert results["options"] == {"cycle": [0.0, 3.0], "runs": 2}
    machine = results["machine"]
    assert machine["torch"] == torch.__version__
    assert machine["threads"] == 1
    assert set(machine["peak_gflops"]) == {"fp32", "bf16"}
    rows = results["results"]
    assert [(r["model"], r["precision"]) for r in rows] == [
        (YARDSTICK, "fp32"),
        (YARDSTICK, "bf16"),
        ("default", "bf16"),
    ]
    for row in rows:
        assert set(row) == KEYS
        assert row["size"] == [128, 64]
        assert row["device"] == "cpu"
        assert row["problem"] is None
        assert not [k for k in END_TO_END if row[k] is not None]
        low, high = row["network_ms_spread"]
        assert 0 < low <= row["network_ms"] <= high
        assert row["peak_memory_mib"] > 100


def test_ratios_are_to_the_yardsticks(results):
    exact, half, model = results["results"]
    assert exact["relative_to_yardstick"] == half["relative_to_yardstick"] == 1
    assert half["relative_to_fp32_yardstick"] == pytest.approx(half["network_ms"] / exact["network_ms"])
    assert model["relative_to_yardstick"] == pytest.approx(model["network_ms"] / model["yardstick_ms"])
    assert model["yardstick_ms"] > 0
    assert exact["yardstick_ms"] is None
    assert model["relative_to_fp32_yardstick"] == pytest.approx(model["network_ms"] / exact["network_ms"])
    for row in (exact, half):
        flop = 2e3 * row["kmac_per_pixel"] * math.prod(row["size"])
        assert row["gflops"] == pytest.approx(flop / row["network_ms"] / 1e6)
        assert row["peak_share"] == pytest.approx(row["gflops"] / results["machine"]["peak_gflops"][row["precision"]])


def test_stages_add_up(results):
    row = results["results"][-1]
    assert set(row["stage_ms"]) == {*AROUND, *STAGES}
    assert min(row["stage_ms"].values()) > 0
    # with two runs medians are means, which add up
    network = sum(row["stage_ms"][name] for name in STAGES)
    assert 0.5 * row["network_ms"] < network <= 1.001 * row["network_ms"]
    assert row["slowest_stage_ms"] >= row["network_ms"]
    convolutions = (row["stage_ms"]["refine"] + row["stage_ms"]["merge"]) / 1e3
    assert row["gflops"] == pytest.approx(2e-6 * row["kmac_per_pixel"] * math.prod(row["size"]) / convolutions)


def test_bf16_is_compared_with_fp32(results):
    row = results["results"][-1]
    assert 50 < row["psnr_t_to_fp32"] < 120
    assert 0 < row["max_difference_to_fp32"] < 1


def test_the_tables_fit_and_name_everything(results, capsys):
    from hdrvid.cli.bench import WIDTH, print_results

    rows = [{**row, "size": [3840, 2160]} for row in results["results"]]
    for row in rows:
        row |= {"network_ms": 12345.0, "network_ms_spread": [12222.0, 12444.0]}
    rows[-1]["stage_ms"] = dict.fromkeys(rows[-1]["stage_ms"], 12345.0)
    rows[-1] |= dict.fromkeys(END_TO_END, 1234.5)
    rows[0] |= {"problem": "too large"}
    print_results({**results, "results": rows})
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" not in text
    for word in ("3840x2160 yardstick fp32: too large", "3840x2160 default bf16", "94.3", "linearise", "refine"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "big"], "--size takes WIDTHxHEIGHT"),
        (["--size", "127x64"], "--size takes even numbers, not 127x64"),
        (["--precision", "fp64"], "--precision takes auto or a list of fp32, bf16, fp16, int8, not 'fp64'"),
        (["--device", "abacus"], "device 'abacus'"),
        (["--exposures", "auto"], "--exposures takes the stops of one cycle"),
        (["--model", "reference"], "has nothing to measure"),
        (["--model", "yardstick"], "is always measured"),
    ],
)
def test_bad_options_are_one_sentence(arguments, sentence, capsys):
    assert hdrvid(["bench", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1


def test_an_unknown_model_and_a_full_folder_are_found_before_anything_is_measured(capsys, tmp_path):
    assert hdrvid(["bench", "--model", "nobody"]) == 1
    (tmp_path / "file").touch()
    assert hdrvid(["bench", "--json", str(tmp_path / "file" / "bench.json")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "unknown model 'nobody'" in lines[0]
    assert "is not a folder" in lines[1]


# ---- what cannot be measured -----------------------------------------------------------------------------------------


@pytest.fixture
def no_processes(monkeypatch):
    monkeypatch.setattr(run, "in_fresh_process", lambda *args: 1.0)
    monkeypatch.setattr(run, "peak_gflops", lambda *args: 100.0)


OPTIONS = BenchOptions(sizes=((64, 48),), precisions=("fp32", "bf16"), runs=1, end_to_end=False)


def rows_of(options: BenchOptions) -> dict[tuple[str, str], dict]:
    return {(r["model"], r["precision"]): r for r in bench(options)["results"]}


@pytest.mark.usefixtures("no_processes")
def test_a_precision_that_the_device_lacks_is_a_row(monkeypatch, capsys):
    monkeypatch.setattr(run, "lacking", lambda precision, device: "cannot" if precision == "bf16" else None)
    rows = rows_of(OPTIONS)
    for model in (YARDSTICK, "default"):
        assert rows[model, "bf16"]["problem"] == "cannot"
        assert rows[model, "bf16"]["network_ms"] is None
        assert rows[model, "fp32"]["network_ms"] > 0


@pytest.mark.usefixtures("no_processes")
def test_a_model_without_networks_computes_in_fp32_only():
    rows = rows_of(BenchOptions(((64, 48),), ("classical",), ("fp32", "bf16"), runs=1, end_to_end=False))
    assert rows["classical", "bf16"]["problem"] == "classical computes in fp32 only"
    exact = rows["classical", "fp32"]
    assert exact["kmac_per_pixel"] == 0
    assert exact["gflops"] is None
    assert exact["stage_ms"]["warp"] > 0


@pytest.mark.usefixtures("no_processes")
def test_a_size_without_memory_is_a_row(monkeypatch):
    monkeypatch.setattr(run, "available_memory", lambda device: 1 << 20)
    rows = rows_of(OPTIONS)
    assert rows[YARDSTICK, "fp32"]["problem"] == "does not fit the memory that is free (1 MiB)"
    assert rows["default", "fp32"]["network_ms"] > 0
    assert rows["default", "fp32"]["relative_to_yardstick"] is None


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ModelError("frames do not fit"), "frames do not fit"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "can't allocate memory"),
    ],
)
def test_a_model_without_memory_is_a_row(monkeypatch, error, text):
    class Broken(type(load_reconstructor("classical", 2))):
        def reconstruct(self, window, diagnostics=False):
            raise error

    monkeypatch.setattr(run, "load_reconstructor", lambda name, n, **options: Broken(name, n, **options))
    rows = rows_of(BenchOptions(((64, 48),), ("classical",), ("fp32",), runs=1, end_to_end=False))
    assert text in rows["classical", "fp32"]["problem"]
    assert rows[YARDSTICK, "fp32"]["network_ms"] > 0


@pytest.mark.usefixtures("no_processes")
def test_a_fault_is_not_taken_for_missing_memory(monkeypatch):
    def faulty(*args, **options):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(run, "load_reconstructor", faulty)
    with pytest.raises(RuntimeError, match="shapes"):
        bench(OPTIONS)


def test_the_precision_of_the_end_to_end_run(monkeypatch, tmp_path):
    calls = []

    def fake(function, *args):
        if function is not end_to_end:
            return 1.0
        calls.append(args)
        raise HdrvidError("killed")

    monkeypatch.setattr(run, "in_fresh_process", fake)
    monkeypatch.setattr(run, "peak_gflops", lambda *args: 100.0)
    monkeypatch.setattr("hdrvid.machine.has_bf16", lambda: True)
    monkeypatch.setattr(int8, "available", lambda: False)
    for precisions, chosen in ((("fp32", "bf16"), "bf16"), (("fp32",), "fp32")):
        calls.clear()
        rows = rows_of(BenchOptions(((64, 48),), ("fast",), precisions, runs=1))
        assert [(Path(args[0]).name, args[2], args[-1]) for args in calls] == [("clip.mp4", "fast", chosen)]
        assert rows["fast", chosen]["problem"] == "end to end: killed"
        assert rows["fast", chosen]["network_ms"] > 0


@pytest.mark.skipif(not int8.available(), reason="needs a CPU with VNNI")
def test_bytes_are_compared_with_the_yardstick_in_fp32(monkeypatch):
    monkeypatch.setattr(run, "in_fresh_process", lambda *_, **__: 1.0)
    options = BenchOptions((SIZE,), ("fast", "memo"), precisions=("int8",), runs=1, end_to_end=False, compiled=True)
    results = bench(options)
    assert [(r["model"], r["precision"]) for r in results["results"]] == [
        (YARDSTICK, "fp32"),
        ("fast", "int8"),
        ("fast", "int8"),
        ("memo", "int8"),
        ("memo", "int8"),
    ]
    assert results["machine"]["peak_gflops"]["int8"] is None
    _, fast, compiled, memo, _ = results["results"]
    assert compiled["problem"] == "int8 cannot be compiled"
    assert fast["relative_to_yardstick"] is None
    assert fast["relative_to_fp32_yardstick"] == pytest.approx(fast["network_ms"] / fast["yardstick_ms"])
    assert 34 < fast["kmac_per_pixel"] < 60
    assert fast["psnr_t_to_fp32"] > 50
    assert "is for default and fast" in memo["problem"]


def test_compiled_networks_are_a_row_of_their_own(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: lambda *inputs: function(*inputs) * 1.001)
    options = BenchOptions(
        (SIZE,), ("fast", "classical"), precisions=("fp32",), runs=1, end_to_end=False, compiled=True
    )
    monkeypatch.setattr(run, "in_fresh_process", lambda *_, **__: 1.0)
    rows = bench(options)["results"]
    assert [(r["model"], r["compiled"]) for r in rows] == [
        (YARDSTICK, False),
        ("fast", False),
        ("fast", True),
        ("classical", False),
    ]
    compiled = next(r for r in rows if r["compiled"])
    assert compiled["problem"] is None
    assert compiled["psnr_t_to_fp32"] > 60, "of the same frames"
    assert compiled["kmac_per_pixel"] == rows[1]["kmac_per_pixel"]


def test_networks_that_cannot_be_compiled_are_a_row_that_says_so(monkeypatch):
    def refuse(*inputs: torch.Tensor) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **options: refuse)
    monkeypatch.setattr(run, "in_fresh_process", lambda *_, **__: 1.0)
    options = BenchOptions(
        sizes=(SIZE,), models=("fast",), runs=1, precisions=("fp32",), end_to_end=False, compiled=True
    )
    rows = bench(options)["results"]
    assert "cannot be compiled here (no compiler)" in next(r["problem"] for r in rows if r["compiled"])
