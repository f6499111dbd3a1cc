"""Training on tiny scenes: data is a function of (seed, index), stages, resuming bit for bit, learning at all."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from hdrvid import losses
from hdrvid.data.windows import NUM_FRAMES, CacheOptions, SampleOptions, TrainingWindows, build_cache, find_hdr_images
from hdrvid.errors import InputError, ModelError, OutputError
from hdrvid.io.exr import write_exr
from hdrvid.models.config import ModelConfig
from hdrvid.models.prior import blend
from hdrvid.models.runner import build
from hdrvid.radiance import mu_law
from hdrvid.train import TrainOptions, learning_rate, published, stage_at, stages, train, transfer
from hdrvid.warp import warp
from hdrvid.weights import read_weights

TINY = TrainOptions(windows=6, window_size=64, crop=32, batch=2, epochs=1, steps_per_epoch=8, seed=3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "cache"
    build_cache(folder, CacheOptions(6, 64, 3, ("procedural",), 0.3), workers=1)
    return folder


class TestWindows:
    @pytest.mark.parametrize("prior", [True, False])
    @pytest.mark.parametrize("num_exposures", [2, 3])
    def test_samples_have_their_shapes_and_depend_on_the_index_alone(self, cache, num_exposures, prior):
        options = SampleOptions(num_exposures, 32, 16, seed=5, prior=prior)
        data = TrainingWindows(cache, options, 10)
        again = TrainingWindows(cache, options, 10)
        again[7]  # the order of drawing must not matter
        a, b = data[4], again[4]
        assert all(torch.equal(a[k], b[k]) for k in a)
        assert any(not torch.equal(a[k], data[5][k]) for k in a)
        w = 2 * num_exposures - 1
        if prior:
            assert a["codes"].shape == a["radiance"].shape == (w, 3, 32, 32)
            assert a["prior"].shape == (w, 1, 32, 32)
            assert a["prior"].min() > 0
        else:
            assert a["ldr"].shape == a["truth"].shape == (w, 3, 32, 32)
            assert a["flow"].shape == (w - 1, 2, 32, 32)
        assert all(torch.isfinite(v).all() for v in a.values())

    def test_flow_and_truth_belong_together_after_flips(self, cache):
        data = TrainingWindows(cache, SampleOptions(2, 48, seed=9, prior=False), 40)
        errors = []
        for i in range(12):
            s = data[i]
            tone = mu_law(s["truth"])
            for k, source in enumerate((0, 2)):
                aligned = warp(tone[source][None], s["flow"][k][None])[0]
                seen = s["visible"][k] > 0
                errors.append(float((aligned - tone[1]).abs().mean(0)[seen].mean()))
        assert np.median(errors) < 0.02

    def test_the_classical_merge_of_a_sample_is_near_its_truth(self, cache):
        data = TrainingWindows(cache, SampleOptions(2, 48, 16, augment=False), 6)
        error = [
            float((mu_law(blend(s["radiance"], s["prior"][None])[0]) - mu_law(s["truth"])).abs().mean())
            for s in ({k: v[None] if k == "radiance" else v for k, v in data[i].items()} for i in range(6))
        ]
        assert np.mean(error) < 0.05

    def test_an_unfinished_cache_goes_on(self, tmp_path, cache):
        folder = tmp_path / "cache"
        options = CacheOptions(6, 64, 3, ("procedural",), 0.3)
        build_cache(folder, options, workers=1)
        done = np.load(folder / "done.npy")
        done[2] = 0
        np.save(folder / "done.npy", done)
        radiance = np.lib.format.open_memmap(folder / "radiance.npy", mode="r+")
        radiance[2] = 0
        radiance.flush()
        build_cache(folder, options, workers=1)
        assert np.array_equal(np.load(folder / "radiance.npy"), np.load(cache / "radiance.npy"))
        assert np.load(folder / "radiance.npy").shape == (6, NUM_FRAMES, 3, 64, 64)

    def test_pictures_are_found_and_held_out(self, tmp_path):
        for name in ("a", "b", "c"):
            write_exr(tmp_path / f"{name}.exr", np.ones((8, 16, 3), np.float32))
        assert [p[-5:] for p in find_hdr_images([tmp_path], ["b"])] == ["a.exr", "c.exr"]
        with pytest.raises(InputError, match="does not exist"):
            find_hdr_images([tmp_path / "none"])
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="holds no"):
            find_hdr_images([tmp_path / "empty"])


class TestLosses:
    def test_tone_l1(self):
        a, b = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
        assert losses.tone_l1(a, a) == 0
        assert losses.tone_l1(a, b) == 1

    def test_alignment_is_least_at_the_true_flow(self):
        truth = torch.rand(1, 3, 24, 24)
        moved = torch.roll(truth, 2, dims=-1)
        flow = torch.zeros(1, 1, 2, 24, 24)
        still = losses.alignment(flow, moved[:, None], truth)
        flow[:, :, 0] = 2
        assert losses.alignment(flow, moved[:, None], truth) < still / 3

    def test_endpoint_error_counts_visible_pixels_only(self):
        flows = torch.zeros(1, 1, 2, 4, 4)
        exact = torch.zeros(1, 1, 2, 4, 4)
        exact[..., 0, :, :2] = 3
        exact[..., 1, :, :2] = 4
        visible = torch.ones(1, 1, 4, 4)
        assert losses.endpoint_error(flows, exact, visible) == pytest.approx(2.5, abs=1e-2)
        visible[..., :2] = 0
        assert losses.endpoint_error(flows, exact, visible) == pytest.approx(0, abs=1e-2)


def test_stages_cover_every_step():
    for preset in ("default", "memo"):
        options = replace(TINY, preset=preset, steps_per_epoch=100)
        parts = stages(options)
        assert parts[0].start == 0
        assert parts[-1].stop == options.total_steps
        assert all(a.stop == b.start for a, b in pairwise(parts))
    memo = replace(TINY, preset="memo", steps_per_epoch=100)
    assert [stage_at(memo, s).name for s in (0, 50, 99)] == ["flow", "merge", "joint"]


def test_learning_rate_warms_up_and_falls():
    options = replace(TINY, steps_per_epoch=1000)
    rates = [learning_rate(options, s) for s in range(1000)]
    assert rates[0] < options.learning_rate / 5
    assert max(rates) <= options.learning_rate
    assert rates[-1] < 0.03 * options.learning_rate
    assert max(range(1000), key=rates.__getitem__) < 50


@pytest.mark.parametrize("preset", ["default", "memo"])
def test_resuming_continues_bit_for_bit(tmp_path, cache, preset):
    options = replace(TINY, preset=preset)
    run = {"device": "cpu", "workers": 0, "cache": cache, "validate_every": 100}
    whole = train(tmp_path / "whole", options, **run)
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path / "cut", options, run)
    state = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)
    assert 0 < state["step"] < options.total_steps
    resumed = train(tmp_path / "cut", options, resume=True, **run)
    a, b = (read_weights(p)[0].state_dict() for p in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)


def _interrupted(out, options, run):
    """Ctrl-C after the third step."""

    def stop(progress):
        raise KeyboardInterrupt

    train(out, options, on_step=stop, **(run | {"validate_every": 3}))


def test_a_run_is_not_mixed_with_another(tmp_path, cache):
    run = {"device": "cpu", "workers": 0, "cache": cache}
    options = replace(TINY, steps_per_epoch=2)
    train(tmp_path / "run", options, **run)
    with pytest.raises(OutputError, match="--resume"):
        train(tmp_path / "run", options, **run)
    with pytest.raises(InputError, match="other options"):
        train(tmp_path / "run", replace(options, batch=1), resume=True, **run)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2


def test_weights_carry_no_path_of_the_machine():
    options = replace(TINY, data=("/some/where/pictures",), init="/else/where/model.safetensors")
    assert "where" not in json.dumps(published(options))
    assert published(options)["data"] == ["pictures"]


def test_training_learns(tmp_path, cache):
    options = replace(TINY, steps_per_epoch=60, learning_rate=2e-3, batch=4, ema=0.9)
    train(tmp_path / "run", options, device="cpu", workers=0, cache=cache)
    _, _, provenance = read_weights(tmp_path / "run" / "model.safetensors")
    before = _classical_score(cache)
    assert float(provenance["validation_psnr_t"]) > before + 0.3


def _classical_score(cache):
    folder = cache.with_name("cache-validation")
    data = TrainingWindows(folder, SampleOptions(2, 64, seed=3, augment=False), 24)
    values = []
    for i in range(24):
        s = data[i]
        error = (mu_law(blend(s["radiance"][None], s["prior"][None])) - mu_law(s["truth"])).square().mean()
        values.append(-10 * float(torch.log10(error)))
    return float(np.mean(values))


def test_two_exposure_weights_start_a_three_exposure_network():
    torch.manual_seed(0)
    source = build(ModelConfig("default", 2, width=24))
    torch.nn.init.normal_(source["merge"].head.weight, std=0.05)
    target = build(ModelConfig("default", 3, width=24))
    transfer(source, target)
    codes = torch.rand(1, 3, 3, 32, 32)
    radiance, prior = torch.rand(1, 3, 3, 32, 32), torch.rand(1, 3, 1, 32, 32) + 0.1
    doubled = [0, 1, 1, 2, 2]
    # every neighbour twice at half its weight is the same problem
    half = torch.tensor([1, 0.5, 0.5, 0.5, 0.5])[None, :, None, None, None]
    a = source["merge"](codes, radiance, prior)[0]
    b = target["merge"](codes[:, doubled], radiance[:, doubled], prior[:, doubled] * half)[0]
    assert (mu_law(a) - mu_law(b)).abs().mean() < 0.02
    with pytest.raises(ModelError):
        transfer(target, source)
