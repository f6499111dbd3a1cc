"""What is done in bands on a CPU is what PyTorch does for the whole picture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import window
from test_reconstruct import write_frames

from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.compiled import availability, bands, first_run
from hdrvid.compiled.calls import Calls
from hdrvid.compiled.first_run import FirstRun
from hdrvid.io.exr import read_exr
from hdrvid.models.config import ModelConfig
from hdrvid.models.flow_net import FlowRefiner
from hdrvid.models.forward import build
from hdrvid.predict.runner import ModelRunner
from hdrvid.types import Reconstruction, Window

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not availability.usable(), reason="bands need Numba"),
]


def model(preset: str, num_exposures: int, **options: object) -> ModelRunner:
    """Untrained networks, those of `default` with refined flow, whose results are far from zero."""
    torch.manual_seed(1)
    config = ModelConfig(preset=preset, num_exposures=num_exposures, width=24, refine_flow=preset == "default")
    networks = build(config)
    for network in networks.values():
        torch.nn.init.normal_(network.head.weight, std=0.05)
    return ModelRunner("x", num_exposures, config, networks, device="cpu", **options)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch):
    """Reconstruct without bands."""

    def run(runner: ModelRunner, w: Window) -> Reconstruction:
        with monkeypatch.context() as patched:
            patched.setattr(runner, "in_bands", False)
            return runner.reconstruct(w, diagnostics=True)

    return run


@pytest.mark.parametrize("num_exposures", [2, 3])
@pytest.mark.parametrize("preset", ["default", "fast"])
@pytest.mark.parametrize(("size", "tolerance"), [((96, 160), 1e-4), ((61, 90), 2e-3)])
def test_frames_are_those_of_pytorch(preset, num_exposures, size, tolerance, whole, monkeypatch):
    """Where a size is no multiple of 16 the smoothed pictures differ in what is padded, beyond the frame."""
    monkeypatch.setattr(bands, "BAND_PIXELS", 2000)
    w, _ = window(size, num_exposures)
    runner = model(preset, num_exposures, precision="fp32")
    got, expected = runner.reconstruct(w, diagnostics=True), whole(runner, w)
    assert got.radiance.shape == expected.radiance.shape
    assert got.weights.shape == expected.weights.shape
    assert np.abs(got.radiance - expected.radiance).max() < tolerance
    assert np.abs(got.flow_px - expected.flow_px).max() < 1e-3
    assert np.abs(got.weights - expected.weights).mean() < tolerance
    np.testing.assert_array_equal(runner.reconstruct(w).radiance, got.radiance)


def test_a_band_is_part_of_the_frame(monkeypatch):
    """Whatever the height of the bands."""
    w, _ = window((96, 160))
    runner = model("default", 2, precision="fp32")
    monkeypatch.setattr(bands, "BANDS_PER_THREAD", 1000)
    frames = []
    for pixels in (10, 3000, 10**6):
        monkeypatch.setattr(bands, "BAND_PIXELS", pixels)
        frames.append(runner.reconstruct(w).radiance)
    for frame in frames[1:]:
        np.testing.assert_array_equal(frame, frames[0])


def test_bands_do_not_depend_on_the_number_of_threads():
    w, _ = window((96, 160))
    runner = model("default", 2, precision="fp32")
    one = runner.reconstruct(w).radiance
    torch.set_num_threads(3)
    np.testing.assert_allclose(runner.reconstruct(w).radiance, one, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(12, 20), (17, 33)])
def test_correlation_is_that_of_the_network(height, width):
    torch.manual_seed(0)
    net = FlowRefiner()
    with torch.inference_mode():
        reference, warped = (torch.rand(1, 3, 4 * height, 4 * width) for _ in range(2))
        volume, shift = net.correlation(reference, warped)
        embeddings = net.embedding(reference), net.embedding(warped), float(net.sharpness)
        got = bands.correlation(*embeddings)
        half = bands.correlation(*embeddings, torch.bfloat16)
    assert torch.allclose(got[0], volume, atol=1e-5)
    assert torch.allclose(got[1], shift, atol=1e-4)
    assert torch.equal(got[0].bfloat16(), half[0])
    assert torch.equal(got[1], half[1])


def test_frames_that_are_no_numbers_do_not_spread(monkeypatch):
    w, _ = window((48, 64))
    runner = model("fast", 2, precision="fp32")
    monkeypatch.setattr(runner.networks["merge"], "network", lambda x: torch.full((1, 32, 24, 32), torch.nan))
    alone = radiance_from_ldr(w.reference, w.exposures[1])
    np.testing.assert_allclose(runner.reconstruct(w).radiance[8:-8, 8:-8], alone[8:-8, 8:-8], atol=0.06)


# ---- the compiled functions ------------------------------------------------------------------------------------------


def neighbours_of(w: Window, flow: float = 1.5) -> bands.Neighbours:
    middle = len(w.frames) // 2
    others = [i for i in range(len(w.frames)) if i != middle]
    shape = (*w.reference.shape[:2], 2)
    flows = [np.full(shape, flow * (i - middle), np.float32) for i in others]
    return bands.Neighbours(
        [w.frames[i] for i in others], [w.exposures[i] for i in others], flows, [-flow for flow in flows]
    )


def whole_of(w: Window) -> tuple[slice, slice]:
    return slice(0, w.reference.shape[0]), slice(0, w.reference.shape[1])


def test_exponentials_and_logarithms_are_those_of_numpy():
    from numba import njit

    from hdrvid.compiled import pixels

    exp, log = njit(lambda x: pixels.exp(x)), njit(lambda x: pixels.log(x))
    x = np.linspace(-86, 88, 20_001, dtype=np.float32)
    got = np.array([exp(v) for v in x], np.float64)
    np.testing.assert_allclose(got, np.exp(x.astype(np.float64)), rtol=3e-7)
    assert exp(np.float32(-1000.0)) < 1e-37
    assert np.isposinf(exp(np.float32(89.0)))
    assert np.isnan(exp(np.float32(np.nan)))
    with pytest.raises(TypeError):  # a part of others, which Python cannot call
        pixels.exp(np.float32(1.0))
    y = np.concatenate([np.geomspace(1e-30, 1e30, 20_001), 1 + np.linspace(-1e-3, 1e-3, 2001)]).astype(np.float32)
    got = np.array([log(v) for v in y], np.float64)
    np.testing.assert_allclose(got, np.log(y.astype(np.float64)), rtol=3e-7, atol=1e-9)


@pytest.mark.parametrize("num_exposures", [2, 3])
@pytest.mark.parametrize("size", [(64, 96), (37, 51)])
def test_inputs_in_bf16_are_those_in_fp32_rounded(num_exposures, size):
    """To the nearest even, as PyTorch rounds."""
    w, _ = window(size, num_exposures)
    middle = len(w.frames) // 2
    given = w.reference, w.exposures[middle], neighbours_of(w)
    full, half = (bands.merge_input(*given, whole_of(w), 16, dtype).x for dtype in (torch.float32, torch.bfloat16))
    assert full.shape == half.shape == (1, 7 * len(w.frames) + 6, *(n + -n % 16 for n in size))
    assert torch.equal(full.bfloat16(), half)
    mirrored = bands.mirrored_flows(given[2].flows)
    for a, b in zip(
        bands.evidence(*given, mirrored, whole_of(w)),
        bands.evidence(*given, mirrored, whole_of(w), torch.bfloat16),
        strict=True,
    ):
        assert torch.equal(a.fine.bfloat16(), b.fine)
        assert torch.equal(a.warped, b.warped)


@pytest.mark.parametrize("flow", [np.nan, np.inf, -1e9, 1e9])
def test_flow_to_nowhere_counts_for_nothing(flow):
    """It must not be read from memory that is not the frame's, either."""
    w, _ = window((32, 48))
    region = whole_of(w)
    lost = bands.merge_input(w.reference, w.exposures[1], neighbours_of(w, flow), region, 16)
    assert torch.isfinite(lost.x).all()
    assert np.isfinite(lost.radiance).all()
    assert lost.log_prior[0].min() > -1e-3
    assert lost.log_prior[1:].max() < -5


def test_a_tile_is_part_of_the_frame():
    w, _ = window((64, 96))
    given = w.reference, w.exposures[1], neighbours_of(w)
    mirrored = bands.mirrored_flows(given[2].flows)
    tile = slice(16, 48), slice(32, 80)
    whole, part = (bands.merge_input(*given, region, 16) for region in (whole_of(w), tile))
    assert torch.equal(whole.x[(..., *tile)], part.x)
    assert np.array_equal(whole.smoothed[(..., *tile)], part.smoothed)
    for a, b in zip(bands.evidence(*given, mirrored, whole_of(w)), bands.evidence(*given, mirrored, tile), strict=True):
        assert torch.equal(a.fine[(..., *tile)], b.fine)
        assert np.array_equal(a.offsets[(..., *tile)], b.offsets)


def test_compiled_code_is_found_by_the_constants_in_it():
    from hdrvid.compiled import kernels
    from hdrvid.compiled.jit import SOURCE, constants_key

    with FirstRun() as first_run:
        first_run.add(Calls(refine=True))
        first_run.finish()
    (signature,) = kernels.matched.signatures
    key = kernels.matched.py_func.__defaults__[-1]
    assert str(key) in str(signature)
    assert constants_key({"A": 1.5}) != constants_key({"A": 1.25})
    assert key != SOURCE


RUN = """
import sys
if sys.argv[1] == "without":
    sys.modules["numba"] = None
if sys.argv[1] == "broken":
    import numba
    numba.njit = None
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip
if sys.argv[1] in ("merge_input", "luma"):
    from hdrvid.compiled import kernels
    def fails(*arguments):
        raise TypeError("no such signature")
    setattr(kernels, sys.argv[1], fails)
said = []
options = ReconstructOptions(model="fast", exposures="0,3", device="cpu", precision="fp32", preview=False)
for _ in range(2):
    reconstruct_clip(
        [sys.argv[2]],
        sys.argv[3],
        options,
        message=said.append,
        phase=lambda name, result: said.append(name if result is None else ""),
    )
print(*(sum(words in text for text in said) for words in ("compiling", "PyTorch does, several times")))
"""


CALLS = """
import sys
from numba.core import event
compiled = []
class Listener(event.Listener):
    def on_start(self, occasion):
        compiled.append(occasion.data["dispatcher"].py_func.__name__)
    def on_end(self, occasion):
        pass
from hdrvid.compiled import first_run
from hdrvid.pipeline.options import ReconstructOptions
from hdrvid.pipeline.run import reconstruct_clip
model, precision, clip, out, exposures, helpers = sys.argv[1:]
first_run.MIN_THREADS = 1
if helpers == "no":
    first_run.MAX_HELPERS = 0
event.register("numba:compile", Listener())
phases, before = [], []
options = ReconstructOptions(model=model, exposures=exposures, device="cpu", precision=precision, preview=False)
def phase(name, result):
    phases.append((name, result is None))
    if (name, result is None) == ("compiling", False):
        before.extend(compiled)
def progress(done, total):
    assert compiled == before, set(compiled) - set(before)
reconstruct_clip([clip], out, options, phase=phase, progress=progress)
print(phases.count(("compiling", True)), phases.count(("compiling", False)), len(compiled), compiled.count("evidence"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("helpers", ["yes", "no"])
def test_all_that_a_run_calls_is_compiled_before_its_first_frame(helpers, tmp_path):
    """And nothing else, whoever compiles it; the next run compiles nothing."""
    folder = write_frames(tmp_path / "frames", num_frames=5, width=320, height=192)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def run(model: str, precision: str, out: str, exposures: str = "0,3") -> list[int]:
        arguments = [model, precision, str(folder), str(tmp_path / out), exposures, helpers]
        done = subprocess.run(
            [sys.executable, "-c", CALLS, *arguments], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return [int(word) for word in done.stdout.split()]

    begun, ended, here, evidence = run("fast", "fp32", "a")
    assert (begun, ended, evidence) == (1, 1, 0), "fast refines no flow"
    assert (here == 0) == (helpers == "yes")
    begun, ended, here, evidence = run("default", "bf16", "b")
    assert (begun, ended, evidence) == (1, 1, int(helpers == "no"))
    assert run("default", "bf16", "c") == run("fast", "fp32", "d") == [0, 0, 0, 0]
    kept = [path.name for path in (tmp_path / "kept").rglob("*.nbc")]
    assert len([name for name in kept if name.startswith("merge.merge_input")]) == 2, "one of each precision"


def test_helpers_compile_for_this_hdrvid_and_not_for_that_of_the_current_folder(tmp_path, monkeypatch):
    """As in a checkout, whose files are others than those that pip has installed."""
    (tmp_path / "hdrvid").mkdir()
    (tmp_path / "hdrvid" / "__init__.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    with FirstRun() as run:
        run._start(Calls(), [])
        assert run._processes[0].wait(60) == 0
    assert not (tmp_path / "imported").exists()


def test_helpers_end_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(first_run, "_python", lambda: "sleep")
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        first_run.subprocess, "Popen", lambda *a, **k: started.append(popen(["sleep", "60"])) or started[-1]
    )
    monkeypatch.setattr("hdrvid.compiled.signatures.Signature.is_present", property(lambda self: False))
    monkeypatch.setattr("hdrvid.compiled.signatures.Signature.is_kept", property(lambda self: False))
    monkeypatch.setattr("hdrvid.compiled.signatures.Signature.can_be_kept", property(lambda self: True))
    monkeypatch.setattr(first_run, "MIN_THREADS", 1)
    monkeypatch.setattr(first_run.threads, "num_threads", lambda: 3)
    monkeypatch.setattr(first_run.machine, "available_memory", lambda: None)
    with FirstRun() as run:
        run.add(Calls(search=True), alone=False)
        assert len(started) == 1
        run.add(Calls(search=True))
        assert len(started) == 1, "begun already"
        run.add(Calls(search=True, merge=True, refine=True))
        assert len(started) == 4
    with FirstRun() as run:
        monkeypatch.setattr(first_run.machine, "available_memory", lambda: first_run.HELPER_BYTES)
        run.add(Calls(search=True))
        assert len(started) == 4, "no memory for more"
    assert all(process.poll() is not None for process in started)


def test_shares_take_about_the_same_time():
    from hdrvid.compiled.signatures import signatures

    wanted = signatures(Calls(search=True, candidates=True, merge=True, refine=True))
    assert len({signature.name for signature in wanted}) == len(wanted) == 19
    parts = first_run.shares(wanted, 3)
    seconds = [sum(signature.seconds for signature in part) for part in parts]
    assert sum(map(len, parts)) == 19
    assert max(seconds) < 1.15 * min(seconds)
    assert first_run.shares(wanted, 0) == []


def copy_of_what_is_compiled(folder: Path, but_for: str) -> None:
    """Copy Numba's cache of `hdrvid.compiled` into the cache folder `folder`, without the files of one function."""
    from numba.core import caching

    from hdrvid.compiled import contradiction

    compiled = Path(contradiction.__file__)
    target = folder / caching._CacheLocator.get_suitable_cache_subpath(str(compiled))
    shutil.copytree(contradiction.contradicted._cache.cache_path, target)
    missing = [path for path in target.iterdir() if f".{but_for}-" in path.name]
    assert missing
    for path in missing:
        path.unlink()


def test_the_first_run_compiles_and_says_so_and_without_numba_frames_are_the_same(clip, tmp_path):
    kept = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def run(how: str, out: str, environment: dict[str, str] = kept) -> str:
        command = [sys.executable, "-c", RUN, how, str(clip), str(tmp_path / out)]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | environment
        ).stdout.strip()

    run("with", "prepared", {})  # compiles what the tests before have not
    copy_of_what_is_compiled(tmp_path / "kept", but_for="contradicted")
    assert run("with", "first") == "1 0"
    assert run("with", "second") == "0 0"
    hows = ("without", "broken", "merge_input", "luma")
    for how in hows:
        assert run(how, how) == "0 2", how  # once a run
    frames = sorted((tmp_path / "first").glob("*.exr"))
    assert len(frames) == 8
    for path in frames:
        first, second = (read_exr(tmp_path / out / path.name) for out in ("first", "second"))
        np.testing.assert_array_equal(first[0], second[0])
        assert first[1]["hdrvid:options"] == second[1]["hdrvid:options"]
        for how in hows:
            pixels, header = read_exr(tmp_path / how / path.name)
            np.testing.assert_allclose(first[0], pixels, rtol=3e-3, atol=1e-4, err_msg=how)
            assert json.loads(header["hdrvid:options"])["compiled_loops"] is False
            assert first[1]["hdrvid:options"] != header["hdrvid:options"]
