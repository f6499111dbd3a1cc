"""The memo's merging network: hybrid dilated convolution, attention, encoder-decoder, per-pixel blend weights.

Candidates:
    2 exposures  ref, warped prev, warped next, prev, next.
    3 exposures  ref, 4 warped neighbours, 4 original neighbours, both in time order.
    Each enters as 6 channels: network-coded LDR and radiance.
Readings of the memo that are ours:
    The three dilated convolutions are printed with pad=1, which gives three different sizes; padding = dilation is
    the reading that can be concatenated. Attention weights are one set per candidate role.
Sizes:
    Every convolution is written for any size; the runner pads to a multiple of 16.
"""

from __future__ import annotations

import torch
from torch import nn

ATTENTION_WIDTH = 32
SIZE_MULTIPLE = 16


class HybridDilatedConv(nn.Module):
    """Three parallel 3x3 convolutions 6->32, stride 2, dilation 1, 2, 3; concat (96); fusion 3x3 96->32."""

    def __init__(self, c_in: int = 6, width: int = ATTENTION_WIDTH) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(c_in, width, 3, stride=2, padding=d, dilation=d) for d in (1, 2, 3))
        self.fusion = nn.Conv2d(3 * width, width, 3, padding=1)
        self.act = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 6, H, W) -> (B, 32, H/2, W/2)."""
        return self.act(self.fusion(torch.cat([self.act(branch(x)) for branch in self.branches], 1)))


class Attention(nn.Module):
    """concat(feature, reference feature) = 64 -> 3x3 conv 64 -> 3x3 conv 32 -> sigmoid, multiplied onto the feature."""

    def __init__(self, width: int = ATTENTION_WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, feature: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Both (B, 32, h, w); returns the feature weighted."""
        return feature * self.layers(torch.cat([feature, reference], 1))


def _conv(c_in: int, c_out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1), nn.LeakyReLU(0.1, inplace=True)]


def _deconv(c_in: int, c_out: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1), nn.LeakyReLU(0.1, inplace=True)]


class MemoMerge(nn.Module):
    """Blend weights from candidates (Chen et al. 2021's weight network without its second layer, behind HDC)."""

    def __init__(self, num_exposures: int, base_width: int = 512) -> None:
        super().__init__()
        self.num_candidates = 5 if num_exposures == 2 else 9
        n, b = self.num_candidates, base_width
        self.hdc = HybridDilatedConv()
        self.attention = nn.ModuleList(Attention() for _ in range(n - 1))
        self.encoder = nn.Sequential(
            *_conv(ATTENTION_WIDTH * n, b // 4, 2),
            *_conv(b // 4, b // 2, 2),
            *_conv(b // 2, b // 2),
            *_conv(b // 2, b, 2),
            *_conv(b, b),
        )
        self.decoder = nn.Sequential(
            *_deconv(b, b // 2),
            *_conv(b // 2, b // 2),
            *_deconv(b // 2, b // 4),
            *_conv(b // 4, b // 4),
            *_deconv(b // 4, b // 8),
            *_deconv(b // 8, b // 16),
            nn.Conv2d(b // 16, 3 * n, 3, padding=1),
        )

    def features(self, ldr: torch.Tensor, radiance: torch.Tensor) -> torch.Tensor:
        """Of candidates (B, C, 3, H, W), each by itself: (B, C, 32, H / 2, W / 2)."""
        return self.hdc(torch.cat([ldr, radiance], 2).flatten(0, 1)).unflatten(0, ldr.shape[:2])

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, 3, H, W) of the sigmoid weights, from the features of all candidates."""
        ref = features[:, 0]
        attended = [ref] + [att(features[:, i + 1], ref) for i, att in enumerate(self.attention)]
        return self.decoder(self.encoder(torch.cat(attended, 1))).unflatten(1, (self.num_candidates, 3))

    def weights(self, features: torch.Tensor) -> torch.Tensor:
        """Weights (B, C, 3, H, W), summing to 1 over C, from the features of all candidates."""
        weights = torch.sigmoid(self.logits(features))
        return weights / (weights.sum(1, keepdim=True) + 1e-8)

    def forward(self, candidates_ldr: torch.Tensor, candidates_radiance: torch.Tensor) -> torch.Tensor:
        """Both (B, C, 3, H, W), H and W multiples of 16. Returns weights (B, C, 3, H, W), summing to 1 over C."""
        return self.weights(self.features(candidates_ldr, candidates_radiance))
