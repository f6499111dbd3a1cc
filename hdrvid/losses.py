"""Training losses. One function, one term, each a scalar.

Convention: radiance (B, 3, H, W) in units of the shortest exposure's clipping; flows (B, K, 2, H, W) in pixels.
"""

from __future__ import annotations

import torch

from hdrvid.radiance import mu_law
from hdrvid.warp import warp


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


def alignment(flows: torch.Tensor, neighbours: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean mu-law L1 of the warped neighbours' truth against the reference's truth.

    `neighbours` (B, K, 3, H, W), `reference` (B, 3, H, W): radiance without noise or clipping.
    """
    target = mu_law(reference)
    terms = [(warp(mu_law(neighbours[:, k]), flows[:, k]) - target).abs().mean() for k in range(flows.shape[1])]
    return torch.stack(terms).mean()


def endpoint_error(flows: torch.Tensor, exact: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Mean endpoint error in pixels against exact flow, over the pixels `visible` (B, K, H, W) in both frames."""
    error = ((flows - exact).square().sum(2) + 1e-6).sqrt()
    return (error * visible).sum() / visible.sum().clamp(min=1.0)
