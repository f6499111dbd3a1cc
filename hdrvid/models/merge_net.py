"""The `default` network: learnt corrections to the classical merge.

Basics:
    The classical merge (alignment by dense inverse search, prior weights of hdrvid.models.classical) is the starting
    point. A U-Net sees the aligned candidates and the prior of a pixel, and adds to the logarithm of the priors of its
    channels. Two smoothed versions of the classical merge are candidates as well, with a prior of 1 % each: where
    everything is noisy the network chooses a smoothing kernel pixel by pixel. A last output is a small residual in the
    mu-law domain, for what no blend can do. The last layer starts at zero, so step 0 is the merge by the channels'
    priors but for those 2 %.

        H = T^-1( T( sum_i softmax(log prior + a)_i H_i ) + r ),   T the mu-law, |r| <= 0.02.

Architecture:
    pixel-unshuffle by 2, then a U-Net with skips at 1/2, 1/4, 1/8, 1/16 of the size and width 1, 4/3, 2, 8/3 times
    `width`, or fewer at 1/2 and 1/4; residual blocks of two 3x3 convolutions; pixel-shuffle back to full size. No
    normalisation layers: tiles and whole frames see the same function.
Color ranges:
    Codes in [0, 1]; radiance in units of the shortest exposure's clipping, so that T is in about [0, 1].
Sizes:
    H and W multiples of 16; the runner pads.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid.color.radiance import inverse_mu_law, mu_law
from hdrvid.models.classical import blend
from hdrvid.models.constants import (
    CHANNELS_PER_CANDIDATE,
    RESIDUAL_LIMIT,
    RESIDUAL_SCALE,
    SMOOTHED_PRIOR,
)
from hdrvid.models.layers import ResidualBlock, act_inplace, conv_of_concat, initialise, pixel_unshuffle_conv, smooth

SIZE_MULTIPLE = 16
SMOOTHING = (0.7, 1.6)
"""Standard deviations, in pixels, of the Gaussians whose results are candidates too: where all are noisy, a blend of
the sharp and the smoothed ones is a denoiser whose kernel the network chooses pixel by pixel."""


def smoothing_radius(sigma: float) -> int:
    """Reach of a Gaussian of SMOOTHING, in pixels."""
    return int(3 * sigma + 0.5)


class BlendNet(nn.Module):
    """Corrections to the prior weights, and a residual. `num_candidates` C = 3 (2 exposures) or 5 (3 exposures)."""

    def __init__(
        self,
        num_candidates: int,
        width: int = 48,
        weight_channels: int = 3,
        half_width: int = 0,
        quarter_width: int = 0,
        stem_kernel: int = 3,
    ) -> None:
        """`weight_channels` 3: a weight for every colour of a candidate; 1: the same for all of them. `half_width`,
        `quarter_width`: channels at a half and a quarter of the size; 0: `width` and 4/3 of it. `stem_kernel`: side of
        the first convolution, odd, in pixels of half the size."""
        super().__init__()
        self.num_candidates = num_candidates
        self.weight_channels = weight_channels
        self.num_weights = num_candidates + len(SMOOTHING)
        w = [half_width or width, quarter_width or width * 4 // 3, width * 2, width * 8 // 3]
        extra = len(SMOOTHING)
        input_channels = 4 * (CHANNELS_PER_CANDIDATE * num_candidates + 3 * extra)
        self.stem = nn.Conv2d(input_channels, w[0], stem_kernel, padding=stem_kernel // 2)
        self.enc0 = ResidualBlock(w[0])
        self.down1 = nn.Conv2d(w[0], w[1], 3, stride=2, padding=1)
        self.enc1 = ResidualBlock(w[1])
        self.down2 = nn.Conv2d(w[1], w[2], 3, stride=2, padding=1)
        self.enc2 = nn.Sequential(ResidualBlock(w[2]), ResidualBlock(w[2]))
        self.down3 = nn.Conv2d(w[2], w[3], 3, stride=2, padding=1)
        self.enc3 = nn.Sequential(ResidualBlock(w[3]), ResidualBlock(w[3]))
        self.up2 = nn.Conv2d(w[3], w[2], 1)
        self.fuse2 = nn.Conv2d(2 * w[2], w[2], 3, padding=1)
        self.dec2 = ResidualBlock(w[2])
        self.up1 = nn.Conv2d(w[2], w[1], 1)
        self.fuse1 = nn.Conv2d(2 * w[1], w[1], 3, padding=1)
        self.dec1 = ResidualBlock(w[1])
        self.up0 = nn.Conv2d(w[1], w[0], 1)
        self.fuse0 = nn.Conv2d(2 * w[0], w[0], 3, padding=1)
        self.dec0 = ResidualBlock(w[0])
        self.head = nn.Conv2d(w[0], 4 * (weight_channels * (num_candidates + extra) + 3), 3, padding=1)
        initialise(self, self.head)

    @staticmethod
    def smoothed(tone: torch.Tensor) -> torch.Tensor:
        """The mu-law image (B, 3, H, W) under each of SMOOTHING: (B, S, 3, H, W), edges replicated."""
        return torch.stack([smooth(tone, sigma, smoothing_radius(sigma)) for sigma in SMOOTHING], 1)

    def features(
        self, codes: torch.Tensor, radiance: torch.Tensor, prior: torch.Tensor, channel_prior: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the network sees (B, 7 C + 6, H, W), the log prior of the channels (B, C, 3, H, W) and the smoothed
        versions of the classical merge (B, 2, 3, H, W), mu-law."""
        seen = torch.log(prior / prior.sum(1, keepdim=True))
        smoothed = self.smoothed(mu_law(blend(radiance, channel_prior)))
        x = torch.cat([codes - 0.5, mu_law(radiance) - 0.5, seen * 0.2], 2).flatten(1, 2)
        log_prior = torch.log(channel_prior / channel_prior.sum(1, keepdim=True))
        return torch.cat([x, (smoothed - 0.5).flatten(1, 2)], 1), log_prior, smoothed

    def network(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, 7 C + 6, H, W) to corrections and residual, both of 4 sub-pixels: (B, 4 c, H / 2, W / 2)."""
        x0 = self.enc0(pixel_unshuffle_conv(x, self.stem.weight, self.stem.bias, 2))
        x0 = act_inplace(x0)
        x1 = act_inplace(self.enc1(self.down1(x0)))
        x2 = act_inplace(self.enc2(self.down2(x1)))
        x3 = act_inplace(self.enc3(self.down3(x2)))
        x2 = self.dec2(conv_of_concat(self.fuse2, act_inplace(self.up2(x3)), x2))
        x1 = self.dec1(conv_of_concat(self.fuse1, act_inplace(self.up1(act_inplace(x2))), x1))
        x0 = self.dec0(conv_of_concat(self.fuse0, act_inplace(self.up0(act_inplace(x1))), x0))
        return self.head(act_inplace(x0))

    def result(
        self, out: torch.Tensor, radiance: torch.Tensor, log_prior: torch.Tensor, smoothed: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `forward` returns, of the network's result and what `features` returns."""
        out = F.pixel_shuffle(out, 2).float()
        radiance = torch.cat([radiance, inverse_mu_law(smoothed)], 1).float()
        extra = torch.full_like(log_prior[:, : len(SMOOTHING)], math.log(SMOOTHED_PRIOR))
        correction = out[:, :-3].unflatten(1, (self.num_weights, self.weight_channels))
        weights = torch.softmax(torch.cat([log_prior, extra], 1).float() + correction, 1)
        blended = blend(radiance, weights)
        residual = RESIDUAL_SCALE * out[:, -3:].clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        result = inverse_mu_law(mu_law(blended) + residual)
        return result, weights, blended

    def forward(
        self, codes: torch.Tensor, radiance: torch.Tensor, prior: torch.Tensor, channel_prior: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """codes, radiance (B, C, 3, H, W); prior (B, C, 1, H, W) > 0 of the pixels, channel_prior (B, C, 3, H, W) > 0
        of their channels (`hdrvid.models.classical.Candidates`). C' = C + 2, the smoothed ones last.

        Returns (H (B, 3, H, W), blend weights (B, C', 3, H, W) summing to 1 over C', the blend alone (B, 3, H, W)).
        """
        x, log_prior, smoothed = self.features(codes, radiance, prior, channel_prior)
        return self.result(self.network(x), radiance, log_prior, smoothed)
