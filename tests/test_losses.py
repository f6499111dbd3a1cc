"""Every term of the losses against its formula, a known case, or another implementation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from hdrvid.color.curves import gamma_encode
from hdrvid.color.radiance import mu_law
from hdrvid.train import losses

EPOCHS = (0, 10, 20, 29, 30, 60)


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class TestWeights:
    @pytest.mark.parametrize("epoch", EPOCHS)
    def test_beta_is_the_formula_of_the_memo_and_is_held(self, epoch):
        reached = min(epoch, 30)
        expected = 0.05 * math.e ** (-0.01 * (30 - reached) * (30 - reached))
        assert losses.beta(epoch) == pytest.approx(expected, rel=1e-12)

    def test_beta_rises_from_almost_nothing(self):
        values = [losses.beta(e) for e in range(61)]
        assert values[0] < 1e-5
        assert all(a < b for a, b in pairwise(values[:31]))
        assert set(values[30:]) == {0.05}

    @pytest.mark.parametrize(("epoch", "value"), list(zip(EPOCHS, (1.0, 1.1, 1.2, 1.2, 1.3, 1.6), strict=True)))
    def test_theta_grows_every_ten_epochs(self, epoch, value):
        assert losses.theta(epoch) == pytest.approx(value, rel=1e-12)

    def test_constants(self):
        assert losses.ALPHA == 0.01
        assert losses.LAMBDA == 5e-6


class TestToneTerms:
    def test_agreement_compares_pairs_where_their_truths_are_the_same(self):
        truths = rand(4, 3, 8, 8, seed=1)
        truths[1::2] = truths[0::2]
        estimates = truths.clone()
        estimates[1] *= 1.2
        expected = (mu_law(estimates[0]) - mu_law(estimates[1])).abs().mean()
        found = losses.agreement(estimates, truths)
        assert found == pytest.approx((math.log(float(expected) + 1e-4) + math.log(1e-4)) / 2, rel=1e-5)
        truths[1] = truths[0] * 2  # blurred, say
        assert losses.agreement(estimates, truths) == pytest.approx(math.log(1e-4), rel=1e-5)

    def test_tone_l1(self):
        a, b = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
        assert losses.tone_l1(a, a) == 0
        assert losses.tone_l1(a, b) == 1

    def test_tone_log_l1_counts_relative_errors(self):
        truth = torch.full((2, 3, 4, 4), 0.2)
        both = losses.tone_log_l1(truth * torch.tensor([1.1, 1.5])[:, None, None, None], truth)
        one = losses.tone_log_l1(truth[:1] * 1.1, truth[:1])
        other = losses.tone_log_l1(truth[:1] * 1.5, truth[:1])
        assert both == pytest.approx(float(one + other) / 2, rel=1e-6)
        assert torch.isfinite(losses.tone_log_l1(truth, truth))


class TestStructure:
    @pytest.mark.parametrize("noise", [0.3, 1.5])
    def test_it_is_one_minus_ssim(self, noise):
        truth = rand(1, 3, 40, 48) ** 4
        estimate = (truth * (1 + noise * (rand(1, 3, 40, 48, seed=1) - 0.5))).clamp(0, 1)
        a, b = (mu_law(x)[0].permute(1, 2, 0).double().numpy() for x in (estimate, truth))
        _, full = structural_similarity(
            a,
            b,
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected = 1 - full[5:-5, 5:-5].mean()
        assert float(losses.structure(estimate, truth)) == pytest.approx(expected, abs=2e-5)
        assert expected > 1e-4

    def test_equal_pictures(self):
        truth = rand(2, 3, 16, 16)
        assert float(losses.structure(truth, truth)) == pytest.approx(0, abs=1e-5)

    def test_half_precision_arithmetic_around_it_does_not_spoil_it(self):
        # variances are differences of nearly equal numbers: in bfloat16 nothing would be left of them
        truth = rand(1, 3, 32, 32) * 0.02 + 0.4
        estimate = truth * (1 + 0.02 * (rand(1, 3, 32, 32, seed=1) - 0.5))
        exact = losses.structure(estimate, truth)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert float(losses.structure(estimate, truth)) == pytest.approx(float(exact), rel=1e-3)


class TestSelfConsistency:
    EXPOSURES = torch.tensor([[1.0, 8.0, 8.0]])

    def scene(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Radiance, what every frame shows of it, and full visibility; some pixels clip in the long frames."""
        radiance = rand(1, 3, 12, 14) * 0.3 + 0.01
        codes = gamma_encode(radiance[:, None] * self.EXPOSURES[:, :, None, None, None])
        return radiance, codes, torch.ones(1, 3, 1, 12, 14)

    def term(self, radiance, codes, visible):
        return losses.self_consistency(radiance, codes, self.EXPOSURES, visible)

    def test_a_clean_and_perfect_reconstruction_costs_nothing(self):
        radiance, codes, visible = self.scene()
        assert (codes == 1).any()
        assert float(self.term(radiance, codes, visible)) == pytest.approx(0, abs=1e-6)
        assert float(self.term(radiance * 1.3, codes, visible)) > 0.01

    def test_it_grows_with_the_disagreement_of_a_neighbour(self):
        radiance, codes, visible = self.scene()
        values = []
        for difference in (0.0, 0.02, 0.04):
            other = codes.clone()
            middling = (other[:, 1] > 0.2) & (other[:, 1] < 0.8)
            other[:, 1] += difference * middling
            values.append(float(self.term(radiance, other, visible)))
        assert values[0] < values[1] < values[2]
        assert values[2] == pytest.approx(2 * values[1], rel=1e-3)

    @pytest.mark.parametrize("code", [0.0, 0.03, 0.97, 1.0])
    def test_clipped_and_dark_pixels_do_not_count(self, code):
        radiance, codes, visible = self.scene()
        estimate = radiance * 1.1
        before = float(self.term(estimate, codes, torch.where(self.patch(), 0.0, visible)))
        codes[self.patch().expand_as(codes)] = code  # in any of them and far from what the estimate gives there
        assert float(self.term(estimate, codes, visible)) == pytest.approx(before, rel=1e-5)
        one = codes.clone()
        one[:, :, 1:] = torch.where(self.patch(), 0.5, one[:, :, 1:])  # a single channel is enough
        assert float(self.term(estimate, one, visible)) == pytest.approx(before, rel=1e-5)

    def test_invisible_pixels_do_not_count(self):
        radiance, codes, visible = self.scene()
        visible = torch.where(self.patch(), 0.0, visible)
        changed = torch.where(self.patch(), 0.5, codes)
        estimate = radiance * 1.1
        a, b = self.term(estimate, codes, visible), self.term(estimate, changed, visible)
        assert float(a) == pytest.approx(float(b), rel=1e-6)
        assert float(self.term(estimate, changed, torch.ones_like(visible))) != pytest.approx(float(b), rel=1e-3)
        assert self.term(estimate, codes, torch.zeros_like(visible)) == 0

    @staticmethod
    def patch() -> torch.Tensor:
        where = torch.zeros(1, 3, 1, 12, 14, dtype=torch.bool)
        where[..., 2:7, 3:9] = True
        return where

    @pytest.mark.parametrize("value", [0.0, 1e-7, 5.0])
    def test_gradients_are_finite_for_black_and_bright_pixels(self, value):
        _, codes, visible = self.scene()
        estimate = torch.full((1, 3, 12, 14), value, requires_grad=True)
        self.term(estimate, codes, visible).backward()
        assert torch.isfinite(estimate.grad).all()

    def test_visibility_gets_no_gradient_and_the_flow_gets_one(self):
        radiance, codes, visible = self.scene()
        codes.requires_grad_()
        visible.requires_grad_()
        self.term(radiance * 1.1, codes, visible).backward()
        assert visible.grad is None or not visible.grad.any()
        assert codes.grad.abs().sum() > 0  # through the warp


class TestSmoothness:
    def test_constant_flow_is_smooth(self):
        flows = torch.full((2, 2, 2, 8, 9), 7.5)
        assert losses.smoothness(flows, rand(2, 3, 8, 9)) == 0

    def test_it_is_a_sum_over_the_picture(self):
        flows = torch.zeros(1, 1, 2, 6, 8)
        flows[..., 4:] = 2.0  # 6 steps of 2 pixels in u and in v
        flat = torch.full((1, 3, 6, 8), 0.5)
        assert float(losses.smoothness(flows, flat)) == pytest.approx(24)
        twice, flat_twice = torch.cat([flows, flows], -2), torch.cat([flat, flat], -2)
        assert float(losses.smoothness(twice, flat_twice)) == pytest.approx(48)
        assert float(losses.smoothness(torch.cat([flows, flows], 1), flat)) == pytest.approx(48)

    @pytest.mark.parametrize("axis", [-1, -2])
    def test_edges_free_the_flow(self, axis):
        flows = torch.zeros(1, 1, 2, 8, 8).transpose(-1, axis)
        flows.narrow(axis, 4, 4).fill_(2.0)
        at, elsewhere = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
        at.narrow(axis, 4, 4).fill_(1.0)
        elsewhere.narrow(axis, 2, 6).fill_(1.0)
        free, bound = losses.smoothness(flows, at), losses.smoothness(flows, elsewhere)
        assert free < 1e-3 * bound


class TestAlignment:
    def test_it_is_least_at_the_true_flow(self):
        truth = rand(1, 3, 24, 24)
        moved = torch.roll(truth, 2, dims=-1)
        flow = torch.zeros(1, 1, 2, 24, 24)
        still = losses.alignment(flow, moved[:, None], truth)
        flow[:, :, 0] = 2
        assert losses.alignment(flow, moved[:, None], truth) < still / 3

    def test_hidden_pixels_count_less_in_the_logarithm(self):
        truth = rand(1, 3, 8, 8)
        neighbour = truth.clone()
        neighbour[..., :4] = 0
        visible = torch.ones(1, 1, 8, 8)
        flow = torch.zeros(1, 1, 2, 8, 8)
        seen = losses.alignment_log(flow, neighbour[:, None], truth, visible)
        visible[..., :4] = 0
        hidden = losses.alignment_log(flow, neighbour[:, None], truth, visible)
        perfect = losses.alignment_log(flow, truth[:, None], truth, visible)
        assert perfect < hidden < seen - 0.5

    def test_endpoint_error_counts_visible_pixels_only(self):
        flows = torch.zeros(1, 1, 2, 4, 4)
        exact = torch.zeros(1, 1, 2, 4, 4)
        exact[..., 0, :, :2] = 3
        exact[..., 1, :, :2] = 4
        visible = torch.ones(1, 1, 4, 4)
        assert losses.endpoint_error(flows, exact, visible) == pytest.approx(2.5, abs=1e-2)
        visible[..., :2] = 0
        assert losses.endpoint_error(flows, exact, visible) == pytest.approx(0, abs=1e-2)
        assert losses.endpoint_error(flows, exact, torch.zeros_like(visible)) == 0


def _terms():
    a, b = rand(4, 3, 16, 16), rand(4, 3, 16, 16, seed=1)
    flows, exact = 3 * rand(4, 2, 2, 16, 16, seed=2), 3 * rand(4, 2, 2, 16, 16, seed=3)
    frames = rand(4, 3, 3, 16, 16, seed=4)
    seen = (rand(4, 3, 1, 16, 16, seed=5) > torch.tensor([0.1, 0.5, 0.8, 0.99])[:, None, None, None, None]).float()
    exposures = torch.tensor([[1.0, 4, 4], [8, 1, 1], [1, 2, 2], [16, 1, 1]])
    return {
        "tone_l1": (losses.tone_l1, (a, b)),
        "tone_log_l1": (losses.tone_log_l1, (a, b)),
        "structure": (losses.structure, (a, b)),
        "self_consistency": (losses.self_consistency, (a, frames, exposures, seen)),
        "smoothness": (losses.smoothness, (flows, a)),
        "alignment": (losses.alignment, (flows, frames[:, :2], a)),
        "alignment_log": (losses.alignment_log, (flows, frames[:, :2], a, seen[:, :2, 0])),
        "confidence": (
            losses.confidence,
            (seen[:, :2] - frames[:, :2, :1], 0 * flows, a[:, None] + 0.05 * frames[:, :2], a, seen[:, :2, 0]),
        ),
        "endpoint_error": (losses.endpoint_error, (flows, exact, seen[:, :2, 0])),
    }


@pytest.mark.parametrize("name", _terms())
def test_a_batch_is_the_mean_of_its_pieces(name):
    """What accumulation and several processes rely on: samples as different as may be, any cut is the same."""
    term, arguments = _terms()[name]
    whole = float(term(*arguments))
    for size in (1, 2):
        pieces = [float(term(*parts)) for parts in zip(*(x.split(size) for x in arguments), strict=True)]
        assert np.mean(pieces) == pytest.approx(whole, rel=1e-5)
        assert np.std(pieces) > 1e-6
