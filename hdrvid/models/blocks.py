"""What the convolutional networks share: leaky ReLUs, Gaussian windows, residual blocks, doubling, initial weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

LEAK = 0.1


def act(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU: plain ones died in front of a zero head."""
    return F.leaky_relu(x, LEAK)


def double(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W), every value four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def gaussian(x: torch.Tensor, sigma: float, radius: int) -> torch.Tensor:
    """(B, C, H, W) under a Gaussian window of 2 radius + 1 pixels, (B, C, H - 2 radius, W - 2 radius): pad before."""
    t = torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(x.dtype).expand(x.shape[1], 1, 1, -1)
    rows = F.conv2d(x, kernel, groups=x.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=x.shape[1])


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(act(self.conv1(act(x))))


def initialise(network: nn.Module, head: nn.Conv2d) -> None:
    """Kaiming weights, zero biases, residual blocks that begin as nearly the identity, and a head that is zero."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=LEAK)
            if name.endswith("conv2"):
                module.weight.data.mul_(0.1)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    nn.init.zeros_(head.weight)
