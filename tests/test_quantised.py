"""Networks in 8 bits are those in float32, but for their rounding, and nobody gets them who cannot have them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_bands import model, neighbours_of, whole_of
from test_models import window
from test_reconstruct import write_frames

from hdrvid import machine
from hdrvid.cli.info import machine as info_of_the_machine
from hdrvid.compiled import availability, bands
from hdrvid.errors import ModelError, OutputError, UsageError
from hdrvid.metrics import psnr_t
from hdrvid.models.config import ModelConfig
from hdrvid.models.constants import SIGNED_ZERO
from hdrvid.models.flow_net import EVIDENCE_CHANNELS, SHIFTS, FlowRefiner
from hdrvid.models.forward import build
from hdrvid.models.merge_net import BlendNet
from hdrvid.models.quantised import Ranging, flow_corrections, measuring, merge_corrections
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip
from hdrvid.predict import int8
from hdrvid.predict.int8 import QuantisedNetworks
from hdrvid.predict.registry import find_weights, load_reconstructor, shipped_weights
from hdrvid.predict.runner import ModelRunner
from hdrvid.weights import read_ranges, read_weights, save_weights

in_bytes = pytest.mark.skipif(
    not (int8.available() and availability.usable()), reason="needs a CPU with VNNI, and Numba"
)
SHIPPED = [(name, count) for name, count, _ in shipped_weights() if name != "memo"]

NO_RANGES = (
    *("[]", "{", '{"a": 1}', '{"a": [[1.0, 2.0], [3.0]]}', '{"a": [["x"], [1.0]]}', '{"a": [[1.0], [1e999]]}'),
    *(
        '{"a": [[true], [true]]}',
        '{"a": [[1.0], [0.5]]}',
        '{"a": [[0.0, 0.0], [0.0, 0.0]]}',
        '{"a": [[-3e38], [3e38]]}',
    ),
)


def trained(preset: str = "default", num_exposures: int = 2) -> tuple[torch.nn.ModuleDict, ModelConfig]:
    """Networks whose results are far from zero."""
    runner = model(preset, num_exposures, precision="fp32")
    assert runner.networks is not None
    assert runner.config is not None
    return runner.networks, runner.config


def test_merge_in_an_executors_steps_is_the_network():
    net = trained()[0]["merge"]
    assert isinstance(net, BlendNet)
    x = torch.randn(2, net.stem.in_channels // 4, 64, 96)
    torch.testing.assert_close(merge_corrections(Ranging("merge", {}), net, x), net.network(x), atol=1e-4, rtol=1e-4)


def test_merge_with_a_small_first_convolution_is_the_network_too():
    torch.manual_seed(2)
    net = build(ModelConfig(preset="fast", width=24, stem_kernel=1))["merge"]
    assert isinstance(net, BlendNet)
    torch.nn.init.normal_(net.head.weight, std=0.05)
    x = torch.randn(2, net.stem.in_channels // 4, 64, 96)
    torch.testing.assert_close(merge_corrections(Ranging("merge", {}), net, x), net.network(x), atol=1e-4, rtol=1e-4)


def test_flow_in_an_executors_steps_is_the_network():
    net = trained()[0]["flow"]
    assert isinstance(net, FlowRefiner)
    given = (
        torch.randn(2, EVIDENCE_CHANNELS - 1, 64, 96),
        torch.randn(2, 1, 32, 48),
        torch.randn(2, len(SHIFTS), 16, 24),
    )
    expected = net.network(*given)
    torch.testing.assert_close(flow_corrections(Ranging("flow", {}), net, *given), expected, atol=1e-4, rtol=1e-4)


def test_ranges_are_the_lowest_and_highest_values_of_every_channel():
    networks = build(ModelConfig(preset="fast", width=24))
    merge = networks["merge"]
    assert isinstance(merge, BlendNet)
    x = torch.rand(1, merge.stem.in_channels // 4, 32, 32)
    with torch.inference_mode(), measuring(networks) as ranges:
        merge.network(x)
        merge.network(x * -3)
    torch.testing.assert_close(ranges["merge.stem"], torch.stack([x.amax((0, 2, 3)) * -3, x.amax((0, 2, 3))]))
    low, high = ranges["merge.head"]
    assert (low <= high).all()
    assert "network" not in merge.__dict__  # as before


@pytest.mark.parametrize(("name", "count"), SHIPPED)
def test_shipped_weights_hold_the_ranges_of_their_networks(name, count):
    path = find_weights(name, count)
    ranges = read_ranges(path)
    assert ranges is not None
    QuantisedNetworks("x", read_weights(path)[0], ranges)


@in_bytes
@pytest.mark.parametrize(("name", "count"), SHIPPED)
def test_frames_are_those_in_fp32(name, count):
    w, _ = window((192, 256), count)
    exact, rounded = (
        load_reconstructor(name, count, device="cpu", precision=precision) for precision in ("fp32", "int8")
    )
    assert rounded.precision == "int8"
    expected, got = exact.reconstruct(w).radiance, rounded.reconstruct(w).radiance
    assert not np.array_equal(expected, got)
    assert psnr_t(got, expected) > 55
    np.testing.assert_array_equal(rounded.reconstruct(w).radiance, got)


@in_bytes
def test_tiles_and_bands_are_the_frame(monkeypatch):
    w, _ = window((256, 448))
    whole = load_reconstructor("default", 2, device="cpu", precision="int8").reconstruct(w).radiance
    tiled = load_reconstructor("default", 2, device="cpu", precision="int8", tile=128).reconstruct(w).radiance
    assert psnr_t(tiled, whole) > 60
    monkeypatch.setattr(bands, "BAND_PIXELS", 500)
    monkeypatch.setattr(bands, "BANDS_PER_THREAD", 1000)
    bands_apart = load_reconstructor("default", 2, device="cpu", precision="int8").reconstruct(w).radiance
    np.testing.assert_array_equal(bands_apart, whole)


@pytest.mark.skipif(not availability.usable(), reason="needs Numba")
def test_what_is_beyond_a_byte_is_cut():
    values = torch.tensor([float("inf"), -float("inf"), 1e30, -1e30, float("nan"), 0.0]).reshape(1, 1, 1, 6)
    assert bands.quantised(values, torch.tensor([0.5]), 128, 1.0).flatten().tolist() == [255, 0, 255, 0, 0, 128]


@in_bytes
def test_a_clip_of_another_unit_and_black_frames_have_finite_results():
    w, _ = window((64, 96))
    runner = load_reconstructor("default", 2, device="cpu", precision="int8")
    for frame in (np.zeros_like(w.reference), np.ones_like(w.reference)):
        result = runner.reconstruct(type(w)(w.index, (frame,) * 3, w.exposures)).radiance
        assert np.isfinite(result).all()


@in_bytes
@pytest.mark.parametrize("count", [2, 3])
def test_input_in_bytes_is_that_in_float32_rounded(count: int):
    w, _ = window((61, 90), count)
    steps = load_reconstructor("fast", count, device="cpu", precision="int8")._bytes.input_steps
    given = w.reference, w.exposures[len(w.frames) // 2], neighbours_of(w), whole_of(w), 16
    rounded, exact = bands.merge_input(*given, steps=steps), bands.merge_input(*given)
    expected = bands.quantised(exact.x, steps, SIGNED_ZERO, 1.0)
    channels = expected.shape[1]
    assert rounded.x.shape[1] % 4 == 0
    assert not rounded.x[:, channels:].any()
    torch.testing.assert_close(rounded.x[:, :channels].int(), expected.int(), atol=1, rtol=0)
    assert (rounded.x[:, :channels] == expected).float().mean() > 0.999


@in_bytes
@pytest.mark.skipif(not machine.has_avx512_vnni(), reason="needs AVX-512")
@pytest.mark.parametrize("name", ["default", "fast"])
def test_without_avx512_what_is_between_is_float32(name: str, monkeypatch):
    w, _ = window((96, 128))
    assert int8.type_between() == torch.bfloat16
    half = load_reconstructor(name, 2, device="cpu", precision="int8").reconstruct(w).radiance
    monkeypatch.setattr(machine, "has_avx512_vnni", lambda: False)
    assert int8.type_between() == torch.float32
    full = load_reconstructor(name, 2, device="cpu", precision="int8").reconstruct(w).radiance
    assert psnr_t(half, full) > 58


def test_onednn_that_is_told_to_do_without_avx512(monkeypatch):
    monkeypatch.setattr(machine, "_cpuinfo", lambda: "flags : avx512_vnni avx_vnni")
    assert machine.has_avx512_vnni.__wrapped__()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2_VNNI")
    assert not machine.has_avx512_vnni.__wrapped__()


@in_bytes
def test_auto_takes_bytes_where_there_are_ranges():
    assert load_reconstructor("default", 2, device="cpu").precision == "int8"
    assert model("default", 2).precision != "int8"


def test_auto_takes_no_bytes_on_other_cpus(monkeypatch):
    monkeypatch.setattr(int8, "available", lambda: False)
    assert load_reconstructor("default", 2, device="cpu").precision in ("fp32", "bf16")
    with pytest.raises(UsageError, match=r"--precision int8 needs a CPU that multiplies bytes \(VNNI\): use"):
        load_reconstructor("default", 2, device="cpu", precision="int8")


@in_bytes
def test_what_cannot_be_computed_in_bytes_is_said():
    with pytest.raises(UsageError, match="is for default and fast, not for 'memo'"):
        load_reconstructor("memo", 2, device="cpu", precision="int8")
    with pytest.raises(UsageError, match="the weights 'x' do not hold"):
        model("default", 2, precision="int8")
    with pytest.raises(UsageError, match="cannot be compiled"):
        load_reconstructor("default", 2, device="cpu", precision="int8", compiled=True)
    assert load_reconstructor("default", 2, device="cpu", compiled=True).precision != "int8"


@in_bytes
def test_ranges_of_other_networks_are_refused():
    networks, config = trained()
    ranges = read_ranges(find_weights("fast", 2))
    with pytest.raises(ModelError, match="the weights 'x' cannot be run in int8: they hold ranges of other networks"):
        ModelRunner("x", 2, config, networks, device="cpu", precision="int8", ranges=ranges)


@in_bytes
def test_without_compiled_functions_frames_are_made_in_fp32(monkeypatch):
    w, _ = window((64, 96))
    runner = load_reconstructor("default", 2, device="cpu")
    monkeypatch.setattr(availability, "_failures", ["a reason"])
    result = runner.reconstruct(w)
    assert runner.precision == "fp32"
    assert np.isfinite(result.radiance).all()


@in_bytes
def test_without_numba_it_is_said(monkeypatch):
    monkeypatch.setattr(availability, "_failures", ["a reason"])
    with pytest.raises(UsageError, match="--precision int8 needs Numba"):
        load_reconstructor("default", 2, device="cpu", precision="int8")
    assert info_of_the_machine()["precision"] != "int8"


@in_bytes
def test_what_has_no_networks_says_so():
    for name in ("reference", "classical"):
        assert load_reconstructor(name, 2, device="cpu", precision="int8").precision == "fp32"


@in_bytes
def test_a_run_that_another_cpu_began_says_what_differs(tmp_path, monkeypatch):
    clip = write_frames(tmp_path / "clip", num_frames=4)
    options = ReconstructOptions(model="fast", exposures="0,3", response="gamma2.2", preview=False)
    report = reconstruct_clip([str(clip)], tmp_path / "out", options).as_dict()
    assert report["settings"]["precision"] == "int8"
    monkeypatch.setattr(int8, "available", lambda: False)
    monkeypatch.setattr(machine, "has_bf16", lambda: False)
    with pytest.raises(OutputError, match=r"\(precision int8, now fp32\): give the same --precision on every machine"):
        reconstruct_clip([str(clip)], tmp_path / "out", options)


def test_a_machine_without_vnni_is_not_asked(monkeypatch):
    monkeypatch.setattr(machine, "has_vnni", lambda: False)
    assert not int8.available.__wrapped__()


@pytest.mark.skipif(not machine.has_vnni(), reason="needs a CPU with VNNI")
def test_operators_that_compute_something_else_are_not_used(monkeypatch):
    assert int8.available.__wrapped__()
    monkeypatch.setattr(int8, "ACTIVATED_ZERO", 40.5)
    assert not int8.available.__wrapped__()


@in_bytes
@pytest.mark.parametrize(("instructions", "multiplied"), [("AVX2", False), ("AVX2_VNNI", True)])
def test_sums_that_would_be_cut_are_noticed(instructions, multiplied):
    code = "from hdrvid.predict import int8; print(int8.available())"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.strip() == str(multiplied)


class TestFile:
    def test_ranges_come_back(self, tmp_path: Path):
        networks, config = trained("fast")
        ranges = {"merge.stem": torch.tensor([[-1.23456, 0.0], [3e-9, 70000.0]])}
        path = tmp_path / "x.safetensors"
        save_weights(path, networks, config, {}, ranges=ranges)
        read = read_ranges(path)
        assert read is not None
        torch.testing.assert_close(read["merge.stem"], ranges["merge.stem"], rtol=1e-3, atol=0)

    def test_what_would_be_refused_is_not_written(self, tmp_path: Path):
        networks, config = trained("fast")
        path = tmp_path / "x.safetensors"
        for value in (float("nan"), float("inf"), 0.0):
            save_weights(path, networks, config, {}, ranges={"merge.stem": torch.full((2, 3), value)})
            assert read_ranges(path) is None

    def test_weights_may_have_none(self, tmp_path: Path):
        networks, config = trained("fast")
        path = tmp_path / "x.safetensors"
        save_weights(path, networks, config, {})
        assert read_ranges(path) is None

    @pytest.mark.parametrize("text", NO_RANGES)
    def test_damaged_ones_are_named(self, text: str, tmp_path: Path):
        source, path = find_weights("fast", 2), tmp_path / "x.safetensors"
        with safe_open(str(source), "pt") as file:
            metadata = file.metadata() | {"ranges": text}
        save_file(load_file(source), path, metadata)
        with pytest.raises(ModelError, match="holds ranges that can be none of its networks"):
            read_ranges(path)
        with pytest.raises(ModelError, match="holds ranges that can be none of its networks"):
            load_reconstructor(str(path), 2, device="cpu")
