"""Networks, prior and runner: shapes, MAC counts, sizes, tiling, precision, the classical merge."""

import copy

import numpy as np
import pytest
import torch

from hdrvid.bench import count_macs
from hdrvid.color.radiance import ldr_from_radiance
from hdrvid.errors import ModelError, UsageError
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.models.classical import (
    CONSISTENCY_FLOOR,
    alignment_confidence,
    blend,
    candidates_and_prior,
    well_exposedness,
)
from hdrvid.models.config import ModelConfig
from hdrvid.models.forward import build
from hdrvid.models.memo.candidates import memo_candidates
from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.memo.spynet import FlowNet
from hdrvid.models.merge_net import BlendNet
from hdrvid.predict.runner import ModelRunner, _OverflowError
from hdrvid.predict.tiling import tiles
from hdrvid.types import ExposureCycle, Window
from hdrvid.warp import resize_flow, warp


def kmac_per_pixel(module, *inputs, pixels):
    with torch.inference_mode():
        return count_macs(lambda: module(*inputs)) / pixels / 1e3


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def window(size, num_exposures=2, index=0, seed=0, shift=2):
    """A smooth random scene that moves `shift` pixels a frame, seen by an alternating camera without noise."""
    h, w = size
    cycle = ExposureCycle((0, 3) if num_exposures == 2 else (0, 2, 4))
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, h // 8 + 8, (w + 20 * shift) // 8 + 8), dtype=np.float32))
    scene = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic")[0].permute(1, 2, 0).numpy()
    scene = np.clip(scene, 0.001, 1) ** 3
    radius = cycle.window_radius
    frames, exposures, truth = [], [], []
    for i in range(index - radius, index + radius + 1):
        x = 8 * shift + i * shift
        view = np.ascontiguousarray(scene[:h, x : x + w])
        e = cycle.exposure_at(i % len(cycle) + len(cycle))
        truth.append(view)
        frames.append(ldr_from_radiance(view, e).astype(np.float32))
        exposures.append(e)
    return Window(index, tuple(frames), tuple(exposures)), truth[radius]


class TestWarp:
    def test_zero_flow_is_the_identity_to_the_bit(self):
        image = torch.rand(2, 3, 253, 517)
        assert torch.equal(warp(image, torch.zeros(2, 2, 253, 517)), image)

    def test_whole_pixel_flow_shifts(self):
        image = torch.rand(1, 1, 20, 30)
        flow = torch.zeros(1, 2, 20, 30)
        flow[:, 0], flow[:, 1] = 3, -2
        out = warp(image, flow)
        assert torch.equal(out[..., 2:, :27], image[..., :18, 3:])

    def test_positions_outside_take_the_border(self):
        image = torch.rand(1, 1, 8, 8)
        flow = torch.full((1, 2, 8, 8), 100.0)
        assert torch.equal(warp(image, flow), image[..., -1:, -1:].expand(1, 1, 8, 8))

    def test_half_pixel_is_the_mean(self):
        image = torch.tensor([[[[0.0, 1.0, 3.0]]]])
        flow = torch.zeros(1, 2, 1, 3)
        flow[:, 0] = 0.5
        assert warp(image, flow).flatten().tolist() == [0.5, 2.0, 3.0]

    def test_gradient(self):
        image = torch.rand(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
        flow = torch.rand(1, 2, 5, 6) * 0.6 + 0.2
        assert torch.autograd.gradcheck(lambda x: warp(x, flow), (image,))

    def test_wrong_shape(self):
        with pytest.raises(ValueError, match="flow must have shape"):
            warp(torch.rand(1, 3, 4, 5), torch.zeros(1, 2, 5, 4))

    def test_resized_flow_scales_its_values(self):
        flow = torch.ones(1, 2, 4, 6)
        up = resize_flow(flow, (8, 18))
        assert up.shape == (1, 2, 8, 18)
        assert torch.allclose(up[:, 0], torch.tensor(3.0))
        assert torch.allclose(up[:, 1], torch.tensor(2.0))


class TestMemo:
    def test_flow_size_is_the_published_one(self):
        flow = FlowNet(2, "full")
        assert parameters(flow) == 907_145
        ldr = torch.rand(1, 3, 3, 64, 64)
        full = kmac_per_pixel(flow, ldr, torch.ones(1, 3), pixels=64 * 64)
        assert full == pytest.approx(241.4, abs=0.1)
        half = kmac_per_pixel(FlowNet(2, "half"), ldr, torch.ones(1, 3), pixels=64 * 64)
        assert half == pytest.approx(60.2, abs=0.1)

    def test_merge_size(self):
        merge = MemoMerge(2)
        assert parameters(merge) == 8_391_951
        x = torch.rand(1, 5, 3, 64, 64)
        assert kmac_per_pixel(merge, x, x, pixels=64 * 64) == pytest.approx(191.0, abs=0.1)

    @pytest.mark.parametrize("num_exposures", [2, 3])
    @pytest.mark.parametrize("finest", ["full", "half"])
    def test_flow_shapes_at_odd_sizes(self, num_exposures, finest):
        frames = 2 * num_exposures - 1
        flows = FlowNet(num_exposures, finest)(torch.rand(2, frames, 3, 37, 51), torch.ones(2, frames))
        assert flows.shape == (2, 2 * (num_exposures - 1), 2, 37, 51)

    def test_flow_of_three_exposures_comes_in_time_order(self):
        # a network whose last layers answer with a constant a pair: (prev2, next, prev, next2) = 1, 2, 3, 4
        net = FlowNet(3, "full")
        for level in net.levels:
            torch.nn.init.zeros_(level[-1].weight)
            torch.nn.init.zeros_(level[-1].bias)
        with torch.no_grad():
            net.levels[-1][-1].bias.copy_(torch.tensor([1.0, 0, 2, 0, 3, 0, 4, 0]))
        flows = net(torch.rand(1, 5, 3, 32, 32), torch.ones(1, 5))
        assert flows[0, :, 0, 5, 5].tolist() == [1, 3, 2, 4]

    def test_strips_change_nothing(self):
        net = FlowNet(2, "full").eval()
        ldr = torch.rand(1, 3, 3, 160, 48)
        with torch.no_grad():
            whole = net(ldr, torch.tensor([[8.0, 1, 8]]))
            net.strip_pixels = 48 * 40
            strips = net(ldr, torch.tensor([[8.0, 1, 8]]))
        assert (whole - strips).abs().max() < 1e-4

    def test_candidate_order(self):
        ldr = torch.arange(3.0)[None, :, None, None, None].expand(1, 3, 3, 16, 16) / 4
        codes, order = memo_candidates(ldr, torch.zeros(1, 2, 2, 16, 16))
        assert order == [1, 0, 2, 0, 2]
        assert codes[0, :, 0, 0, 0].tolist() == [0.25, 0, 0.5, 0, 0.5]

    @pytest.mark.parametrize(("num_exposures", "candidates"), [(2, 5), (3, 9)])
    def test_weights_sum_to_one(self, num_exposures, candidates):
        x = torch.rand(1, candidates, 3, 32, 48)
        weights = MemoMerge(num_exposures, 64)(x, x)
        assert weights.shape == x.shape
        assert torch.allclose(weights.sum(1), torch.ones(1, 3, 32, 48), atol=1e-5)


class TestPrior:
    def test_the_shortest_exposure_keeps_its_weight_where_it_clips(self):
        white = torch.ones(2, 3, 4, 4)
        weights = well_exposedness(white, torch.tensor([1.0, 8.0]))
        assert weights[0].min() == 1
        assert weights[1].max() == 0

    def test_a_wrong_neighbour_is_not_trusted(self):
        image = torch.full((1, 3, 16, 16), 0.5)
        zero = torch.zeros(1, 2, 16, 16)
        one = torch.ones(1)
        assert alignment_confidence(image, image, one, one, zero, zero).min() == 1
        assert alignment_confidence(image, image + 0.3, one, one, zero, zero).max() < 1e-6
        assert alignment_confidence(image, image, one, one, zero, zero + 5).max() == pytest.approx(CONSISTENCY_FLOOR)
        assert alignment_confidence(image, image, one, one, zero + 100, zero - 100).max() == 0

    def test_a_static_scene_is_merged_exactly(self):
        w, truth = window((48, 64), shift=0)
        result = ModelRunner("classical", 2, device="cpu").reconstruct(w)
        assert np.abs(result.radiance - truth).max() < 2e-3

    def test_clipped_pixels_of_a_long_frame_come_from_the_short_neighbours(self):
        w, truth = window((64, 96), index=1)  # the reference is the long frame
        assert w.exposures == (1, 8, 1)
        clipped = truth.max(-1) > 0.2
        assert clipped.mean() > 0.1
        error = np.abs(ModelRunner("classical", 2, device="cpu").reconstruct(w).radiance - truth)
        assert np.median(error[clipped]) < 0.01
        assert (truth[clipped].max(-1) - 1 / 8).mean() > 10 * np.median(error[clipped])

    def test_flow_of_a_pair_is_computed_once(self):
        dis = DenseInverseSearch(candidates=False)
        rng = np.random.default_rng(0)
        a, b, c = (rng.random((40, 40, 3), dtype=np.float32) for _ in range(3))
        calls = []
        flow = dis.flow
        dis.flow = lambda *args: calls.append(1) or flow(*args)
        forward, backward = dis.window([a, b, c], [1, 8, 1])
        assert len(calls) == 4
        again, _ = dis.window([b, c, b], [8, 1, 8])  # (c, b) is (b, c) the other way round
        assert len(calls) == 4
        assert np.array_equal(again[0], backward[1])
        assert np.array_equal(again[1], backward[1])
        assert forward.shape == (2, 40, 40, 2)

    def test_blend_is_the_weighted_mean(self):
        radiance = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1, 1).expand(1, 2, 3, 2, 2)
        weights = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1, 1)
        assert torch.equal(blend(radiance, weights), torch.full((1, 3, 2, 2), 2.5))


class TestBlendNet:
    def test_step_zero_is_nearly_the_classical_merge(self):
        w, _ = window((48, 80))
        ldr = torch.from_numpy(np.stack(w.frames)).permute(0, 3, 1, 2)[None]
        flows = torch.zeros(1, 2, 2, 48, 80)
        candidates, _ = candidates_and_prior(ldr, torch.tensor([w.exposures]), flows, flows)
        h, weights, blended = BlendNet(3)(*candidates)
        classical = blend(candidates.radiance, candidates.channel_weights)
        assert torch.allclose(h, blended, rtol=1e-4, atol=1e-6)  # no residual yet
        assert torch.allclose(weights[:, :3].sum(1), torch.full((1, 3, 48, 80), 1 / 1.02), atol=1e-5)
        assert torch.allclose(weights.sum(1), torch.ones(1, 3, 48, 80), atol=1e-5)
        assert (h - classical).abs().max() < 0.02

    def test_smoothed_candidates_keep_the_mean_and_the_size(self):
        tone = torch.rand(2, 3, 40, 56)
        smooth = BlendNet.smoothed(tone)
        assert smooth.shape == (2, 2, 3, 40, 56)
        assert torch.allclose(BlendNet.smoothed(torch.full((1, 3, 16, 16), 0.3)), torch.tensor(0.3))
        spread = [tone.std(), smooth[:, 0].std(), smooth[:, 1].std()]
        assert spread[0] > spread[1] > spread[2]

    def test_cost(self):
        x = torch.rand(1, 3, 3, 64, 64)
        assert kmac_per_pixel(BlendNet(3), x, x, x[:, :, :1] + 0.1, x + 0.1, pixels=64 * 64) == pytest.approx(
            75.5, abs=0.1
        )


def busy_networks(preset, num_exposures):
    """Untrained networks whose outputs are far from zero, so that differences show."""
    torch.manual_seed(1)
    config = ModelConfig(preset=preset, num_exposures=num_exposures, base_width=64, width=24)
    networks = build(config)
    if preset == "default":
        torch.nn.init.normal_(networks["merge"].head.weight, std=0.05)
    return config, networks


@pytest.mark.parametrize("preset", ["default", "memo"])
class TestRunner:
    @pytest.mark.parametrize("num_exposures", [2, 3])
    @pytest.mark.parametrize("size", [(17, 13), (33, 130)])
    def test_any_size(self, preset, num_exposures, size):
        config, networks = busy_networks(preset, num_exposures)
        w, _ = window(size, num_exposures)
        result = ModelRunner("x", num_exposures, config, networks, device="cpu").reconstruct(w, diagnostics=True)
        assert result.radiance.shape == (*size, 3)
        assert np.isfinite(result.radiance).all()
        assert result.radiance.min() >= 0
        assert result.flow_px.shape == (2 * num_exposures - 2, *size, 2)
        assert np.allclose(result.weights.sum(0), 1, atol=1e-4)

    def test_tiles_leave_no_seam(self, preset):
        config, networks = busy_networks(preset, 2)
        w, _ = window((300, 420))
        whole = ModelRunner("x", 2, config, networks, device="cpu", tile="off").reconstruct(w).radiance
        tiled = ModelRunner("x", 2, config, networks, device="cpu", tile=128).reconstruct(w).radiance
        assert np.abs(whole - tiled).max() < 2e-3  # of a radiance of 1; stated in the README

    def test_an_overflow_changes_no_other_frame(self, preset, monkeypatch):
        config, networks = busy_networks(preset, 2)
        windows = [window((64, 64), seed=seed)[0] for seed in range(2)]

        def made(precision, overflows=None):
            runner = ModelRunner("x", 2, config, copy.deepcopy(networks), device="cpu", precision=precision)
            run = runner._run

            def checked(w, diagnostics):
                if w is overflows and runner.precision != "fp32":
                    raise _OverflowError
                return run(w, diagnostics)

            monkeypatch.setattr(runner, "_run", checked)
            return [runner.reconstruct(w).radiance for w in windows]

        exact, half = made("fp32"), made("bf16")
        assert not np.array_equal(exact[1], half[1])
        mixed = made("bf16", overflows=windows[0])
        assert np.array_equal(mixed[0], exact[0])
        assert np.array_equal(mixed[1], half[1])

    @pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 2e-2), ("fp16", 4e-3)])
    def test_half_precision(self, preset, precision, tolerance):
        config, networks = busy_networks(preset, 2)
        w, _ = window((64, 64))
        exact = ModelRunner("x", 2, config, networks, device="cpu", precision="fp32").reconstruct(w).radiance
        half = ModelRunner("x", 2, config, networks, device="cpu", precision=precision).reconstruct(w).radiance
        assert 0 < np.sqrt(np.mean((exact - half) ** 2)) < tolerance

    def test_beyond_half_precision_it_goes_on_in_full(self, preset):
        config, networks = busy_networks(preset, 2)
        merge = networks["merge"]
        first = merge.stem if preset == "default" else merge.hdc.fusion
        with torch.no_grad():
            first.weight.mul_(1e7)
        w, _ = window((64, 64))
        exact = ModelRunner("x", 2, config, networks, device="cpu", precision="fp32")
        half = ModelRunner("x", 2, config, networks, device="cpu", precision="fp16")
        assert np.array_equal(half.reconstruct(w).radiance, exact.reconstruct(w).radiance)
        note = "the networks go beyond what fp16 can hold in some frames: these are made in fp32"
        assert half.notes == [note]
        half.reconstruct(w)
        assert len(half.notes) == 1
        assert exact.notes == []

    def test_wrong_window(self, preset):
        config, networks = busy_networks(preset, 2)
        w, _ = window((32, 32), 3)
        with pytest.raises(ModelError, match="2 exposures"):
            ModelRunner("x", 2, config, networks, device="cpu").reconstruct(w)


@pytest.mark.parametrize("num_exposures", [2, 3])
@pytest.mark.parametrize("tile", ["off", 64])
def test_features_of_frames_are_made_once(num_exposures, tile):
    """Windows that follow each other share frames: with them the memo's features; results are those of each alone."""
    config, networks = busy_networks("memo", num_exposures)
    first, _ = window((96, 80), num_exposures)
    second, _ = window((96, 80), num_exposures, index=1)
    second = Window(1, (*first.frames[1:], second.frames[-1]), second.exposures)

    def runner():
        return ModelRunner("x", num_exposures, config, networks, device="cpu", precision="fp32", tile=tile)

    both, seen = runner(), []
    hdc = networks["merge"].hdc
    hdc.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    both.reconstruct(first)
    alone = sum(seen)
    result = both.reconstruct(second).radiance
    made = sum(seen) - alone
    np.testing.assert_array_equal(result, runner().reconstruct(second).radiance)
    # of the second window the warped neighbours and the frame that is new; in tiles everything again
    assert made == (len(first.frames) if tile == "off" else alone)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (256, 448), (1088, 1920), (48, 4000)])
def test_tiles_cover_every_pixel_once(height, width):
    seen = np.zeros((height, width), int)
    for tile in tiles(height, width, 200, 96):
        seen[tile.keep] += 1
        piece = np.zeros((height, width), int)[tile.read]
        assert piece[tile.inner].shape == seen[tile.keep].shape
        assert tile.read[0].start % 16 == 0
        assert tile.read[1].start % 16 == 0
    assert (seen == 1).all()


@pytest.mark.parametrize(
    "bad", [{"device": "nothing"}, {"precision": "fp8"}, {"tile": "huge"}, {"tile": 3}, {"device": "cuda:99"}]
)
def test_bad_settings_are_usage_errors(bad):
    with pytest.raises(UsageError):
        ModelRunner("classical", 2, **({"device": "cpu"} | bad))


def test_importing_the_models_needs_no_opencv():
    import subprocess
    import sys

    code = "import sys; sys.modules['cv2'] = None; import hdrvid.predict.runner, hdrvid.weights"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
