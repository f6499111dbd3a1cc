"""Training losses. One function, one term, each a scalar.

Convention: radiance (B, 3, H, W) in units of the shortest exposure's clipping; codes (B, 3, H, W) in [0, 1]; flows
(B, K, 2, H, W) in pixels. Every term is a mean over the samples of a batch of a number of each sample alone, so that
it does not matter how a batch is cut into pieces (accumulation, several processes).

Few-shot learning (the memo):
    L = L_sup + beta L_unsup,  L_sup = tone_l1 + ALPHA structure,  L_unsup = theta self_consistency + LAMBDA smoothness
    The memo gives the weights; its formulas of the terms were pictures and are lost. The terms are our reading: the
    one that fits the weights and the method's closest relatives.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from hdrvid.color.constants import WELL_EXPOSED_CODES
from hdrvid.color.curves import NETWORK_GAMMA
from hdrvid.color.radiance import mu_law
from hdrvid.models.layers import gaussian
from hdrvid.warp import warp

ALPHA = 0.01
"""Weight of the structure term (memo)."""
LAMBDA = 5e-6
"""Weight of the smoothness term (memo): small because the term is a sum over the picture."""
BETA_MAX = 0.05
BETA_EPOCHS = 30
EDGE_SCALE = 10.0
"""How fast an edge of the picture frees the flow to change: exp(-EDGE_SCALE |dI|), codes in [0, 1]."""
OCCLUDED_SHARE = 0.2
"""How much of a visible pixel a hidden one counts in `alignment_log`: its flow is a guess, but not any guess."""
HIDDEN_SHARE = 0.1
"""The same in `level_endpoint_error`, where the flow of hidden pixels is known."""
SAME = 0.005
"""Largest mu-law difference of two truths that are the same."""
FITS = 0.03
"""Largest mu-law difference at which a warped pixel shows what the reference does."""


def beta(epoch: int) -> float:
    """Weight of the unlabelled loss: 0.05 exp(-0.01 (30 - epoch)^2), held at 0.05 from epoch 30 on (memo)."""
    return BETA_MAX * math.exp(-0.01 * (BETA_EPOCHS - min(epoch, BETA_EPOCHS)) ** 2)


def theta(epoch: int) -> float:
    """Weight of the self term: 1, and 0.1 more every 10 epochs (memo)."""
    return 1.0 + 0.1 * (epoch // 10)


def tone_l1(estimate: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """mean |T(H^) - T(H)|, T the mu-law (Kalantari & Ramamoorthi 2017)."""
    return (mu_law(estimate) - mu_law(truth)).abs().mean()


def tone_log_l1(estimate: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean over the samples of log(mean |T(H^) - T(H)| of the sample): every sample counts by its RELATIVE error.

    Scores are means of decibels, so a clean sample's last percent is worth as much as a noisy one's; a plain mean is
    decided by the darkest, noisiest samples alone. The floor 1e-4 is a quarter of an 8-bit step at mid grey.
    """
    error = (mu_law(estimate) - mu_law(truth)).abs().mean((1, 2, 3))
    return torch.log(error + 1e-4).mean()


def agreement(estimates: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Mean over pairs of log(mean |T(H_a) - T(H_b)|): results of one moment from two exposures (ours).

    `estimates`, `truths` (2 B, 3, H, W), pairs side by side. Pixels whose truths differ, as those of a blurred exposure
    do, do not count.
    """
    a, b = mu_law(estimates[0::2]), mu_law(estimates[1::2])
    same = ((mu_law(truths[0::2]) - mu_law(truths[1::2])).abs().amax(1, keepdim=True) < SAME).to(a.dtype)
    mean = ((a - b).abs().mean(1, keepdim=True) * same).sum((1, 2, 3)) / same.sum((1, 2, 3)).clamp(min=1.0)
    return torch.log(mean + 1e-4).mean()


def structure(estimate: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - SSIM of the mu-law images, Gaussian window of sigma 1.5 over 11 pixels (Wang et al. 2004), peak 1."""
    a, b = mu_law(estimate), mu_law(truth)

    def mean(image: torch.Tensor) -> torch.Tensor:
        # autocast would leave nothing of the variances, which are differences of nearly equal means
        with torch.autocast(image.device.type, enabled=False):
            return gaussian(image, 1.5, 5)

    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a.square(), mean(b * b) - mean_b.square()
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return 1 - (luminance * (2 * covariance + c2) / (var_a + var_b + c2)).mean()


def self_consistency(
    estimate: torch.Tensor, codes: torch.Tensor, exposures: torch.Tensor, visible: torch.Tensor
) -> torch.Tensor:
    """The reconstruction, exposed again as every input frame was, against that frame where it is well exposed.

    `codes` (B, C, 3, H, W): the reference in place and the neighbours warped by the predicted flow; `exposures`
    (B, C); `visible` (B, C, 1, H, W) in [0, 1]: how far each can be trusted to show the reference's scene. L1 of codes,
    a mean over the pixels that count, then over frames and samples. `visible` and the mask get no gradient.
    """
    low, high = WELL_EXPOSED_CODES
    exposed = (estimate[:, None] * exposures[:, :, None, None, None]).clamp(1e-6, 1.0) ** (1 / NETWORK_GAMMA)
    inside = (codes.amax(2, keepdim=True) < high) & (codes.amin(2, keepdim=True) > low)
    mask = (visible * inside).detach()
    error = ((exposed - codes).abs().mean(2, keepdim=True) * mask).sum((2, 3, 4))
    return (error / mask.sum((2, 3, 4)).clamp(min=1.0)).mean()


def smoothness(flows: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Edge-aware total variation of the flows, SUMMED over neighbours and pixels, averaged over the samples.

    `reference` (B, 3, H, W) codes: where the picture has an edge the flow may have one (UnFlow, Meister et al. 2018).
    """
    total = flows.new_zeros(())
    for axis in (-1, -2):
        edge = torch.exp(-EDGE_SCALE * reference.diff(dim=axis).abs().mean(1))[:, None, None]
        total = total + (flows.diff(dim=axis).abs() * edge).sum()
    return total / len(flows)


def _misfits(flows: torch.Tensor, neighbours: torch.Tensor, reference: torch.Tensor) -> list[torch.Tensor]:
    """|T(warped truth) - T(truth)| of every neighbour, (B, 3, H, W) each."""
    target = mu_law(reference)
    return [(warp(mu_law(neighbours[:, k]), flows[:, k]) - target).abs() for k in range(flows.shape[1])]


def alignment(flows: torch.Tensor, neighbours: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean mu-law L1 of the warped neighbours' truth against the reference's truth.

    `neighbours` (B, K, 3, H, W), `reference` (B, 3, H, W): radiance without noise or clipping.
    """
    return torch.stack([misfit.mean() for misfit in _misfits(flows, neighbours, reference)]).mean()


def alignment_log(
    flows: torch.Tensor, neighbours: torch.Tensor, reference: torch.Tensor, visible: torch.Tensor
) -> torch.Tensor:
    """As `alignment`, the logarithm of every neighbour's mean, in which hidden pixels count OCCLUDED_SHARE."""
    share = visible + OCCLUDED_SHARE * (1 - visible)
    terms = []
    for k, misfit in enumerate(_misfits(flows, neighbours, reference)):
        mean = (misfit.mean(1) * share[:, k]).sum((1, 2)) / share[:, k].sum((1, 2))
        terms.append(torch.log(mean + 1e-3))
    return torch.stack(terms).mean()


def endpoint_error(
    flows: torch.Tensor, exact: torch.Tensor, visible: torch.Tensor, limit: float = math.inf
) -> torch.Tensor:
    """Mean endpoint error in pixels, each cut at `limit`, over the pixels `visible` (B, K, H, W) in both frames."""
    error = ((flows - exact).square().sum(2) + 1e-6).sqrt().clamp(max=limit) * visible
    return (error.sum((1, 2, 3)) / visible.sum((1, 2, 3)).clamp(min=1.0)).mean()


def level_endpoint_error(flows: torch.Tensor, exact: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Mean endpoint error of a pyramid level in ITS pixels against the exact flow averaged to its size.

    `flows` (B, K, 2, h, w); `exact` (B, K, 2, H, W) and `visible` (B, K, H, W) of the frames, H / h a whole number.
    Hidden pixels count HIDDEN_SHARE. A sample whose flow is not known (nothing visible) gives 0.
    """
    scale = exact.shape[-1] // flows.shape[-1]
    target = F.avg_pool2d(exact.flatten(1, 2), scale).view_as(flows) / scale
    share = F.avg_pool2d(HIDDEN_SHARE + (1 - HIDDEN_SHARE) * visible, scale) * is_known(visible)[:, None, None, None]
    error = ((flows - target).square().sum(2) + 1e-4).sqrt() * share
    return (error.sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(min=1e-6)).mean()


def is_known(visible: torch.Tensor) -> torch.Tensor:
    """(B,) 1 for samples with exact flow, else 0: `visible` (B, K, H, W) is 0 everywhere where nothing is known."""
    return (visible.amax((1, 2, 3)) > 0).to(visible.dtype)


def log_weights(logits: torch.Tensor) -> torch.Tensor:
    """Logarithm of sigmoid weights that are divided by their sum over the candidates: (B, C, 3, H, W) both.

    The same weights as `MemoMerge.weights`, with a gradient where the sigmoids themselves have none left.
    """
    log_sigmoid = F.logsigmoid(logits)
    return log_sigmoid - torch.logsumexp(log_sigmoid, 1, keepdim=True)


def divergence(log_weights: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence KL(prior || weights), a mean over pixels and colours.

    `log_weights` (B, C, 3, H, W); `prior` (B, C, 1, H, W) > 0, adding up to 1 over C.
    """
    return (prior * (torch.log(prior) - log_weights)).sum(1).mean()


def positive_logits(logits: torch.Tensor) -> torch.Tensor:
    """Mean square of the positive logits: it keeps the sigmoids where they have a slope."""
    return F.relu(logits).square().mean()


def confidence(
    logits: torch.Tensor,
    flows: torch.Tensor,
    neighbours: torch.Tensor,
    reference: torch.Tensor,
    visible: torch.Tensor,
) -> torch.Tensor:
    """Binary cross-entropy of the logits (B, K, 1, H, W) against: visible, and the warped truth fits within FITS.

    No gradient reaches the flows. Windows whose flow is not known (nothing visible) do not count.
    """
    terms = []
    with torch.no_grad():
        misfits = _misfits(flows, neighbours, reference)
        fits = [(misfit.amax(1) < FITS) * visible[:, k] for k, misfit in enumerate(misfits)]
        known = (visible.amax((2, 3)) > 0).float()
    for k, fit in enumerate(fits):
        entropy = F.binary_cross_entropy_with_logits(logits[:, k, 0], fit, reduction="none").mean((1, 2))
        terms.append((entropy * known[:, k]).mean())
    return torch.stack(terms).mean()
