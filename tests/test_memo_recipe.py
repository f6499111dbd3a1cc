"""How the memo's networks begin to learn: starting weights, supervision of the levels, imitation, stages that stall."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training import TINY, batch_of, log_of, made_in_process

from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.data.windows import CacheOptions, SampleOptions, build_cache
from hdrvid.errors import ModelError
from hdrvid.models.config import ModelConfig
from hdrvid.models.forward import build
from hdrvid.models.memo.candidates import memo_candidates
from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.memo.spynet import FlowNet
from hdrvid.options.train import STALL_WINDOW, RunOptions
from hdrvid.train import TrainOptions, loop, losses, train
from hdrvid.train.initial import DATA_LEVEL, SCALES, conv_input, initial_flow, initial_merge, transfer_merge
from hdrvid.train.loop import CHECKPOINT, brings_flow, initial_networks
from hdrvid.train.memo import MemoObjective, divergence_share, flow_terms, memo_prior, merge_terms
from hdrvid.train.options import Stage, own_levels_start, shares_levels, stages
from hdrvid.warp import warp
from hdrvid.weights import read_weights, save_weights

pytestmark = pytest.mark.usefixtures("one_thread")
MEMO = replace(TINY, preset="memo", batch=1, steps_per_epoch=20)


@pytest.fixture(scope="module", autouse=True)
def _in_process():
    with made_in_process():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("windows") / "cache"
    build_cache(path, CacheOptions(6, 64, 1, ("procedural",), 1.0))
    return path


@pytest.fixture(scope="module", params=[2, 3])
def batch(request, folder):
    """Two samples of a plain camera with exact and inexact flow, for 2 and 3 exposures."""
    sample = SampleOptions(request.param, 64, seed=1, search="", exact_flow=True, plain=1.0, inexact_flow=True)
    return batch_of(folder, sample, 2)


def exposures_of(batch) -> int:
    return (batch["ldr"].shape[1] + 1) // 2


@pytest.fixture
def flow(batch) -> FlowNet:
    torch.manual_seed(0)
    net = FlowNet(exposures_of(batch), "half")
    initial_flow(net, batch["ldr"], batch["exposures"])
    return net


def small_networks(num_exposures: int) -> nn.ModuleDict:
    torch.manual_seed(0)
    networks = build(ModelConfig("memo", num_exposures, base_width=32))
    initial_merge(networks["merge"])
    return networks


def gradients(network: nn.Module) -> float:
    return sum(float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None)


def moving(shift_px: float, seed: int = 1) -> torch.Tensor:
    """(1, 3, 64, 64) codes of a smooth texture that moved to the left by a fraction of its 4 px detail."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 24, 24, generator=generator)
    fine = nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic", align_corners=False).clamp(0.05, 0.95)
    return warp(fine, torch.tensor([shift_px, 0.0])[None, :, None, None].expand(1, 2, 96, 96))[..., 16:80, 16:80]


def moving_batch(num_exposures: int) -> dict[str, torch.Tensor]:
    """Six windows at one exposure in which everything moves by up to 6 pixels a frame."""
    samples = []
    n = 2 * num_exposures - 1
    for i, speed in enumerate((-6.0, -4.0, -2.0, 2.0, 4.0, 6.0)):
        times = [t - n // 2 for t in range(n)]
        ldr = torch.cat([moving(speed * t, seed=i) for t in times])
        flow = torch.zeros(n - 1, 2, 64, 64)
        flow[:, 0] = torch.tensor([-speed * t for t in times if t])[:, None, None]
        samples.append({"ldr": ldr, "flow": flow, "visible": torch.ones(n - 1, 64, 64), "exposures": torch.ones(n)})
    return {k: torch.stack([s[k] for s in samples]) for k in samples[0]} | {"truth": torch.zeros(6, n, 3, 64, 64)}


class TestInitialFlow:
    def test_it_is_zero_flow(self, batch, flow):
        assert not flow(batch["ldr"], batch["exposures"]).any()

    def test_the_first_filters_add_up_to_zero(self, flow):
        for level in flow.levels:
            assert level[0].weight.sum((1, 2, 3)).abs().max() < 1e-4

    def test_layers_have_unit_variance_on_data(self, batch, flow):
        x = conv_input(*flow.pyramid(batch["ldr"], batch["exposures"])[DATA_LEVEL])
        for number, layer in enumerate(flow.levels[2]):
            x = layer(x)
            if isinstance(layer, nn.Conv2d) and number < 6:
                assert 0.3 < x.std((0, 2, 3)).median() < 1.7
                assert abs(float(x.detach().std((0, 2, 3)).mean()) - 1) < 0.3

    def test_products_measure_motion(self, flow):
        """Units of the second layer tell the direction in which a picture moved, for every triple."""
        triples = flow.num_exposures - 1
        units_of_triple = len(SCALES[triples]) * 8 + 4
        first, second = (layer for layer in list(flow.levels[0])[:3] if isinstance(layer, nn.Conv2d))
        for triple in range(triples):
            answers = []
            for shift in (-1, 1):
                frames = {t: [moving(0.0)] * 3 for t in range(triples)}
                frames[triple] = [moving(shift), moving(0.0), moving(0.0)]
                x = torch.cat([f for t in range(triples) for f in frames[t]], 1)
                with torch.no_grad():
                    answers.append(second(torch.relu(first(x)))[..., 8:-8, 8:-8].mean((0, 2, 3)))
            # the first two units are the sum of products of the x derivative, with either sign
            plus, minus = units_of_triple * triple, units_of_triple * triple + 1
            left, right = (float(answer[plus] - answer[minus]) for answer in answers)
            assert left * right < 0
            assert abs(left + right) < 0.3 * abs(left - right)

    def test_every_unit_is_alive(self, batch, flow):
        x = conv_input(*flow.pyramid(batch["ldr"], batch["exposures"])[DATA_LEVEL])
        with torch.no_grad():
            for layer in list(flow.levels[0])[:-1]:
                x = layer(x)
        assert (x.amax((0, 2, 3)) > 0).all()

    def test_all_levels_begin_alike(self, flow):
        for level in flow.levels:
            assert all(torch.equal(a, b) for a, b in zip(level.parameters(), flow.levels[0].parameters(), strict=True))


class TestInitialMerge:
    @pytest.mark.parametrize("num_exposures", [2, 3])
    def test_logits_are_small_and_in_order(self, num_exposures):
        torch.manual_seed(0)
        merge = MemoMerge(num_exposures)
        initial_merge(merge)
        codes = torch.rand(2, merge.num_candidates, 3, 64, 64)
        with torch.no_grad():
            logits = merge.logits(merge.features(codes, codes**2.2))
        means = logits.mean((0, 2, 3, 4))
        k = (merge.num_candidates - 1) // 2
        assert means[0] > means[1 : k + 1].max() > means[1 : k + 1].min() > means[k + 1 :].max()
        assert 0.02 < logits.std((0, 3, 4)).mean() < 1.0
        assert logits.abs().max() < 10

    def test_two_exposures_start_three(self):
        torch.manual_seed(0)
        source, target = MemoMerge(2, 64), MemoMerge(3, 64)
        initial_merge(source)
        with torch.no_grad():
            source.decoder[-1].weight.mul_(20)
        transfer_merge(source, target)
        codes = torch.rand(1, 5, 3, 32, 32)
        doubled = codes[:, [0, 1, 1, 2, 2, 3, 3, 4, 4]]
        with torch.no_grad():
            two = source(codes, codes**2.2)
            three = target(doubled, doubled**2.2)
        a = (two * codes).sum(1)
        b = (three * doubled).sum(1)
        assert (a - b).abs().mean() < 0.02
        assert two[:, 1:3].std() > 0.005

    def test_log_weights_are_the_weights(self):
        torch.manual_seed(0)
        merge = MemoMerge(2, 32)
        features = torch.randn(1, 5, 32, 8, 8)
        logits = merge.logits(features)
        torch.testing.assert_close(losses.log_weights(logits).exp(), merge.weights(features), rtol=1e-5, atol=1e-6)


class TestLosses:
    def test_level_error_of_exact_flow_is_zero(self, batch):
        for scale in (1, 4, 16):
            exact = torch.nn.functional.avg_pool2d(batch["flow"].flatten(1, 2), scale).unflatten(1, (-1, 2)) / scale
            error = losses.level_endpoint_error(exact, batch["flow"], batch["visible"])
            assert float(error) == pytest.approx(0.01, abs=1e-3)  # the root of the offset that keeps it smooth
            off = losses.level_endpoint_error(
                exact + torch.tensor([3.0, 4.0])[:, None, None], batch["flow"], batch["visible"]
            )
            assert float(off) == pytest.approx(5, abs=1e-3)

    def test_samples_without_flow_do_not_count(self):
        exact, visible = torch.ones(2, 2, 2, 16, 16), torch.ones(2, 2, 16, 16)
        visible[1] = 0
        both = losses.level_endpoint_error(torch.zeros(2, 2, 2, 8, 8), exact, visible)
        assert float(both) == pytest.approx(0.5**0.5 / 2, rel=1e-3)
        assert losses.is_known(visible).tolist() == [1, 0]

    def test_divergence(self):
        prior = torch.tensor([0.5, 0.25, 0.25])[None, :, None, None, None].expand(2, 3, 1, 4, 4)
        same = torch.log(prior).expand(2, 3, 3, 4, 4)
        assert float(losses.divergence(same, prior)) == pytest.approx(0, abs=1e-6)
        even = torch.full((2, 3, 3, 4, 4), 1 / 3).log()
        expected = 0.5 * torch.tensor(1.5).log() + 0.5 * torch.tensor(0.75).log()
        assert float(losses.divergence(even, prior)) == pytest.approx(float(expected), rel=1e-5)

    def test_positive_logits_alone_are_held(self):
        logits = torch.tensor([-50.0, -1.0, 2.0, 4.0], requires_grad=True)
        value = losses.positive_logits(logits)
        value.backward()
        assert float(value.detach()) == pytest.approx(5)
        assert logits.grad.tolist() == [0, 0, 1, 2]

    def test_the_divergence_matters_less_and_less(self):
        shares = [divergence_share(p) for p in (0, 0.25, 0.5, 1)]
        assert shares == pytest.approx([0.3, 0.165, 0.03, 0.03])


class TestObjective:
    def test_gradients_stay_inside_a_level(self, batch, flow):
        for level in flow.levels:
            nn.init.normal_(level[-1].weight, std=0.01)
        levels = flow.level_flows(batch["ldr"], batch["exposures"], detached=True)
        assert [f.shape[-1] for f in levels] == [4, 8, 16, 32]
        losses.level_endpoint_error(levels[2], batch["flow"], batch["visible"]).backward()
        assert [gradients(level) > 0 for level in flow.levels] == [False, False, True, False, False]

    def test_shared_levels_train_the_coarsest(self, batch, flow):
        levels = flow.level_flows(batch["ldr"], batch["exposures"], detached=True, shared=3)
        assert len(levels) == 3
        flow_terms(levels, batch)["loss"].backward()
        assert [gradients(level) > 0 for level in flow.levels] == [True, False, False, False, False]

    def test_zero_flow_is_the_first_loss(self, batch, flow):
        terms = flow_terms(flow.level_flows(batch["ldr"], batch["exposures"], detached=True), batch)
        assert float(terms["loss"].detach()) == pytest.approx(float(terms["loss_zero"]), rel=1e-5)
        assert float(terms["endpoint"]) == pytest.approx(float(terms["endpoint_zero"]), rel=1e-4)

    def test_flow_is_learnt_at_once(self, flow):
        batch = moving_batch(flow.num_exposures)
        initial_flow(flow, batch["ldr"], batch["exposures"])
        optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
        for _ in range(30):
            terms = flow_terms(flow.level_flows(batch["ldr"], batch["exposures"], detached=True, shared=3), batch)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
        assert float(terms["loss"].detach()) < 0.7 * float(terms["loss_zero"])
        assert float(terms["endpoint"]) < 0.7 * float(terms["endpoint_zero"])

    def test_windows_without_exact_flow_are_compared_by_the_picture(self, batch, flow):
        unknown = batch | {"visible": torch.zeros_like(batch["visible"]), "flow": torch.zeros_like(batch["flow"])}
        nn.init.normal_(flow.levels[0][-1].weight, std=0.01)
        terms = flow_terms(flow.level_flows(batch["ldr"], batch["exposures"], detached=True), unknown)
        terms["loss"].backward()
        assert terms["loss"] > 0
        assert gradients(flow.levels[0]) > 0

    @pytest.mark.parametrize("name", ["flow", "imitation", "merge", "joint"])
    def test_a_stage_trains_its_networks_alone(self, batch, name):
        networks = small_networks(exposures_of(batch))
        initial_flow(networks["flow"], batch["ldr"], batch["exposures"])
        stage = Stage(name, 0, 100, 1.0)
        options = replace(MEMO, num_exposures=exposures_of(batch))
        terms = MemoObjective(networks, options, stage)(batch, None, 0, 99)
        terms["loss"].backward()
        trained = {n for n, network in networks.items() if gradients(network) > 0}
        assert (
            trained == {"flow": {"flow"}, "imitation": {"merge"}, "merge": {"merge"}, "joint": {"flow", "merge"}}[name]
        )
        assert all(torch.isfinite(p.grad).all() for p in networks.parameters() if p.grad is not None)

    def test_gradients_of_pieces_add_up(self, batch):
        networks = small_networks(exposures_of(batch))
        flows = batch["inexact"]

        def gradient(*parts: slice) -> torch.Tensor:
            networks.zero_grad()
            for part in parts:
                piece = {k: v[part] for k, v in batch.items()}
                terms = merge_terms(networks["merge"], piece, flows[part])
                (sum(terms.values()) / len(parts)).backward()
            return torch.cat([p.grad.flatten() for p in networks["merge"].parameters()])

        whole, halves = gradient(slice(None)), gradient(slice(1), slice(1, 2))
        assert whole.norm() > 0
        assert (whole - halves).norm() < 1e-4 * whole.norm()

    def test_the_prior_of_the_candidates(self, batch):
        prior = memo_prior(batch["ldr"], batch["exposures"], batch["flow"])
        codes, _ = memo_candidates(batch["ldr"], batch["flow"])
        assert prior.shape[:2] == codes.shape[:2]
        torch.testing.assert_close(prior.sum(1), torch.ones_like(prior.sum(1)))
        k = batch["flow"].shape[1]
        assert prior[:, k + 1 :].mean() < 0.1 * prior[:, 1 : k + 1].mean()

    def test_the_imitation_learns(self, batch):
        networks = small_networks(exposures_of(batch))
        objective = MemoObjective(
            networks, replace(MEMO, num_exposures=exposures_of(batch)), Stage("imitation", 0, 99, 1)
        )
        optimizer = torch.optim.Adam(networks["merge"].parameters(), 2e-3)
        values = []
        for _ in range(12):
            terms = objective(batch, None, 0, 0)
            values.append({k: float(v.detach()) for k, v in terms.items()})
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
        first, last = values[0], values[-1]
        expected = first["log_l1"] + 0.3 * first["divergence"] + 0.01 * first["positive_logits"]
        assert first["loss"] == pytest.approx(expected, rel=1e-5)
        assert last["log_l1"] < first["log_l1"] - 0.1
        assert last["loss"] < first["loss"] - 0.1

    def test_the_divergence_leads_to_the_prior(self, batch):
        networks = small_networks(exposures_of(batch))
        optimizer = torch.optim.Adam(networks["merge"].parameters(), 2e-3)
        values = []
        for _ in range(12):
            divergence = merge_terms(networks["merge"], batch, batch["flow"])["divergence"]
            values.append(float(divergence.detach()))
            optimizer.zero_grad()
            divergence.backward()
            optimizer.step()
        assert values[-1] < 0.95 * values[0]

    def test_inexact_flow_is_exact_zero_or_near(self, folder):
        sample = SampleOptions(2, 64, seed=4, search="", exact_flow=True, plain=1.0, inexact_flow=True)
        many = batch_of(folder, sample, 60)
        error = (many["inexact"] - many["flow"]).abs().amax((1, 2, 3, 4))
        zero = many["inexact"].abs().amax((1, 2, 3, 4)) == 0
        exact = (error == 0) & ~zero
        assert 4 < int(zero.sum()) < 24
        assert 2 < int(exact.sum()) < 18
        assert (error[~zero & ~exact] > 0.1).all()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, TrainOptions]:
    """A run through all stages: its folder, with the cache in it, and its options."""
    out = tmp_path_factory.mktemp("run") / "run"
    train(out, MEMO, RunOptions(device="cpu", workers=0))
    return out, MEMO


class TestStages:
    def test_levels_are_shared_first(self):
        options = replace(MEMO, steps_per_epoch=100)
        flow, *others = stages(options)
        start = own_levels_start(flow)
        assert flow.start < start < flow.stop
        assert shares_levels(options, flow, start - 1)
        assert not shares_levels(options, flow, start)
        assert not shares_levels(replace(options, shared_levels=False), flow, 0)
        assert not any(shares_levels(options, s, s.start) for s in others)

    def test_all_stages_run_and_are_scored(self, run):
        out, options = run
        entries = log_of(out)
        scored = {e["stage"]: e for e in entries if "validation_psnr_t" in e}
        assert list(scored) == [s.name for s in stages(options)]
        for entry in scored.values():
            assert {"validation_psnr_t_0", "validation_psnr_t_1", "validation_endpoint_zero"} <= set(entry)
        assert {"endpoint", "loss_zero"} <= set(scored["flow"])
        assert {"log_l1", "divergence", "positive_logits"} <= set(scored["imitation"])
        assert "flow_loss" in scored["joint"]

    def test_levels_are_alike_until_they_are_their_own(self, tmp_path, run):
        out, options = run
        state = torch.load(out / CHECKPOINT, weights_only=True)["networks"]
        names = [n.removeprefix("flow.levels.0.") for n in state if n.startswith("flow.levels.0.")]
        assert any(not torch.equal(state[f"flow.levels.0.{n}"], state[f"flow.levels.3.{n}"]) for n in names)
        shared = replace(options, steps_per_epoch=1, stages=("flow",))
        train(tmp_path, shared, RunOptions(device="cpu", workers=0, cache=out / "cache"))
        for key in ("networks", "average"):
            state = torch.load(tmp_path / CHECKPOINT, weights_only=True)[key]
            assert all(
                torch.equal(state[f"flow.levels.0.{n}"], state[f"flow.levels.{i}.{n}"]) for n in names for i in range(5)
            )

    def test_a_next_leg_starts_from_the_weights(self, tmp_path, run):
        out, options = run
        model = str(out / "model.safetensors")
        leg = replace(options, init=model, stages=("joint",), shared_levels=False, learning_rate=0.0, steps_per_epoch=1)
        assert brings_flow(leg)
        result = train(tmp_path / "leg", leg, RunOptions(device="cpu", workers=0, cache=out / "cache"))
        a, b = (read_weights(p)[0].state_dict() for p in (out / "model.safetensors", result))
        assert all(torch.equal(a[k], b[k]) for k in a)

    def test_a_next_leg_draws_other_samples(self, tmp_path, run):
        out, options = run
        losses_of = []
        for leg in (0, 1):
            one = replace(options, stages=("imitation",), leg=leg, steps_per_epoch=1)
            train(tmp_path / str(leg), one, RunOptions(device="cpu", workers=0, cache=out / "cache"))
            losses_of.append(log_of(tmp_path / str(leg))[-1])
        assert losses_of[0]["log_l1"] != losses_of[1]["log_l1"]
        # the windows themselves are the same, and so are those that validate
        assert losses_of[0]["validation_endpoint_zero"] == losses_of[1]["validation_endpoint_zero"]

    def test_three_exposures_take_the_merge_alone(self, tmp_path, run):
        out, options = run
        three = replace(options, num_exposures=3, init=str(out / "model.safetensors"), steps_per_epoch=4)
        assert not brings_flow(three)
        networks, config = initial_networks(three)
        assert config.num_exposures == 3
        source = read_weights(out / "model.safetensors")[0]["merge"].state_dict()
        assert torch.equal(networks["merge"].state_dict()["encoder.2.weight"], source["encoder.2.weight"])
        train(tmp_path / "three", three, RunOptions(device="cpu", workers=0, cache=out / "cache"))
        assert read_weights(tmp_path / "three" / "model.safetensors")[1].num_exposures == 3

    def test_a_stage_that_does_not_learn_says_so_and_stops(self, tmp_path, run, monkeypatch):
        monkeypatch.setattr(loop, "STALL_WINDOW", 2)
        options = replace(run[1], steps_per_epoch=40, learning_rate=0.0)
        object.__setattr__(options, "stall_steps", 6)  # less than the options allow: it should take seconds
        with pytest.raises(ModelError, match=r"stage 'flow' has not improved on its start after 6 steps .*--stall 0"):
            train(tmp_path, options, RunOptions(device="cpu", workers=0, cache=run[0] / "cache"))
        assert read_weights(tmp_path / "model.safetensors")[2]["steps"] == "6"

    def test_a_stage_that_learns_goes_on(self, tmp_path, run, monkeypatch):
        monkeypatch.setattr(loop, "STALL_WINDOW", 4)
        options = replace(run[1], steps_per_epoch=20, stages=("imitation",), batch=2)
        object.__setattr__(options, "stall_steps", 16)
        train(tmp_path, options, RunOptions(device="cpu", workers=0, cache=run[0] / "cache"))
        assert log_of(tmp_path)[-1]["step"] == 20
        assert STALL_WINDOW > 4


def test_weights_without_a_flow_that_fits_bring_none(tmp_path):
    config = ModelConfig("memo", 2, base_width=32)
    save_weights(tmp_path / "memo.safetensors", build(config), config, {})
    assert brings_flow(replace(MEMO, init=str(tmp_path / "memo.safetensors")))
    assert not brings_flow(replace(MEMO, num_exposures=3, init=str(tmp_path / "memo.safetensors")))
    assert not brings_flow(MEMO)


def test_radiance_of_candidates_is_blended_by_the_log_weights():
    """The blend that is trained is the blend that is run."""
    networks = small_networks(2)
    torch.manual_seed(2)
    ldr, exposures = torch.rand(1, 3, 3, 32, 32), torch.tensor([[8.0, 1.0, 8.0]])
    flows = torch.zeros(1, 2, 2, 32, 32)
    codes, order = memo_candidates(ldr, flows)
    radiance = radiance_from_ldr(codes, exposures[:, order, None, None, None])
    merge = networks["merge"]
    blended = (radiance * merge(codes, radiance)).sum(1)
    truth = torch.zeros(1, 3, 3, 32, 32)
    truth[:, 1] = blended.detach()
    terms = merge_terms(merge, {"ldr": ldr, "exposures": exposures, "truth": truth}, flows)
    assert float(terms["log_l1"].detach()) < -9
