"""What the convolutional networks share: leaky ReLUs, Gaussian windows, residual blocks, doubling, initial weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid import opencv_filters

LEAK = 0.1


def act(x: torch.Tensor) -> torch.Tensor:
    """Leaky ReLU: plain ones died in front of a zero head."""
    return F.leaky_relu(x, LEAK)


def act_inplace(x: torch.Tensor) -> torch.Tensor:
    """The same, in the memory of x where no gradient is wanted."""
    return act(x) if torch.is_grad_enabled() else F.leaky_relu_(x, LEAK)


def upsample2x(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, 2 H, 2 W), every value four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def upsample2x_plus(x: torch.Tensor, plus: torch.Tensor) -> torch.Tensor:
    """`upsample2x(x) + plus`."""
    return upsample2x(x) + plus if torch.is_grad_enabled() else upsample2x(x).add_(plus)


def gaussian_window(sigma: float, radius: int, device: torch.device | None = None) -> torch.Tensor:
    """A Gaussian of 2 radius + 1 pixels that adds up to 1."""
    t = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (t / sigma) ** 2)
    return kernel / kernel.sum()


def gaussian(x: torch.Tensor, sigma: float, radius: int) -> torch.Tensor:
    """(B, C, H, W) under a Gaussian window of 2 radius + 1 pixels, (B, C, H - 2 radius, W - 2 radius): pad before."""
    kernel = gaussian_window(sigma, radius, x.device).to(x.dtype).expand(x.shape[1], 1, 1, -1)
    rows = F.conv2d(x, kernel, groups=x.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=x.shape[1])


def smooth(x: torch.Tensor, sigma: float, radius: int) -> torch.Tensor:
    """(B, C, H, W) under the same window, edges replicated: (B, C, H, W)."""
    if opencv_filters.usable(x):
        return opencv_filters.separable(x, gaussian_window(sigma, radius, x.device))
    return gaussian(F.pad(x, (radius,) * 4, mode="replicate"), sigma, radius)


def in_half_precision(networks: nn.ModuleDict, dtype: torch.dtype) -> nn.ModuleDict:
    """A copy whose convolutions have their weights, and take and give their values, in a half precision.

    Everything else stays in float32; `pixel_unshuffle_conv`, the first layer of every network, rounds its
    input to the type of the weights.
    """
    networks = copy.deepcopy(networks)
    for module in networks.modules():
        if isinstance(module, nn.Conv2d):
            module.to(dtype)
    return networks


def pixel_unshuffle_conv(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    factor: int,
    *,
    plus: torch.Tensor | None = None,
) -> torch.Tensor:
    """`F.conv2d(F.pixel_unshuffle(x, factor), weight, bias, padding="same")` as one convolution with a stride: it moves
    less memory. x (B, C, H, W), weight (O, C * factor^2, k, k) with k odd; (B, O, H / factor, W / factor), of the
    weight's type. `plus`, of that size, is added; it may be overwritten."""
    padding = weight.shape[-1] // 2 * factor
    weight = strided_weight(weight, x.shape[1], factor)
    x = x.to(weight.dtype)
    if plus is None:
        return F.conv2d(x, weight, bias, stride=factor, padding=padding)
    return conv_plus(x, weight, bias, plus, padding, factor)


def strided_weight(weight: torch.Tensor, channels: int, factor: int) -> torch.Tensor:
    """The weights of `pixel_unshuffle_conv` as those of the convolution with a stride: (O, channels, k * factor, k *
    factor), channels last."""
    out, size = weight.shape[0], weight.shape[-1]
    weight = weight.reshape(out, channels, factor, factor, size, size).permute(0, 1, 4, 2, 5, 3)
    weight = weight.reshape(out, channels, size * factor, size * factor)
    return weight.contiguous(memory_format=torch.channels_last)


def conv_plus(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, plus: torch.Tensor, padding: int, stride: int
) -> torch.Tensor:
    """Convolution of x plus `plus`, which may be overwritten; in one step where that is possible."""
    operators = _pointwise_operators(x)
    if operators is None:
        result = F.conv2d(x, weight, bias, stride=stride, padding=padding)
        return result.add_(plus) if result.dtype == plus.dtype else result + plus
    steps = [padding] * 2, [stride] * 2, [1, 1], 1
    return operators._convolution_pointwise_(plus, x, weight, bias, *steps, "add", 1.0, None, [], None)


def _fuses(x: torch.Tensor) -> bool:
    """Whether convolutions of x run on a CPU, in a type that oneDNN computes in there, and no gradient is wanted."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    computes_in_bf16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and computes_in_bf16())


def _pointwise_operators(x: torch.Tensor) -> Any:
    """Where convolutions of x can be had together with what follows them."""
    operators = torch.ops.mkldnn
    fuses = _fuses(x) and hasattr(operators, "_convolution_pointwise_") and not torch.compiler.is_compiling()
    return operators if fuses else None


def conv_act(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, plus: torch.Tensor | None = None
) -> torch.Tensor:
    """3x3 or 1x1 convolution of x (B, C, H, W), edges zero, then `act`; or with `plus` (B, O, H, W), which may be
    overwritten, the sum of the two without `act`.

    On a CPU, where no gradient is wanted, in one step, which spares a walk through the memory: 5 % of the time of a
    residual block in float32, the same to the bit; in bfloat16 it spares a rounding too. By the operators that
    torch.compile makes of such pairs.
    """
    padding = weight.shape[-1] // 2
    if plus is not None:
        return conv_plus(x, weight, bias, plus, padding, 1)
    operators = _pointwise_operators(x)
    if operators is None:
        return F.leaky_relu_(F.conv2d(x, weight, bias, padding=padding), LEAK)
    ones = [1, 1]
    return operators._convolution_pointwise(x, weight, bias, [padding] * 2, ones, ones, 1, "leaky_relu", [LEAK], "")


def conv_of_concat(conv: nn.Conv2d, small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    """`conv(cat([upsample2x(small), large]))` of a 3x3 convolution with padding 1: (B, C, h, w), (B, D, 2 h, 2 w) to
    (B, O, 2 h, 2 w).

    On a CPU, where no gradient is wanted, without the concatenation, and what is doubled as a transposed convolution:
    four values of it behind every result are different, not nine. 8 % of the time of `default` in float32.
    """
    if not _fuses(small):
        return conv(torch.cat([upsample2x(small), large], 1))
    of_small, of_large = _split_weights(conv, small.shape[1])
    upsampled = F.conv_transpose2d(small, of_small, None, stride=2, padding=1)
    return conv_act(large, of_large, conv.bias, plus=upsampled)


def _split_weights(conv: nn.Conv2d, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights for `conv_of_concat`: of the transposed convolution of the first c channels, and of the others. Cached in
    the module until its weights change."""
    weight = conv.weight
    if torch.compiler.is_compiling() or weight.is_inference():
        return _compute_split(weight, c)
    key = weight.data_ptr(), weight._version, weight.dtype, c
    kept = conv.__dict__.get("_kept_parts")
    if kept is None or kept[0] != key:
        kept = conv.__dict__["_kept_parts"] = key, _compute_split(weight, c)
    return kept[1]


def _compute_split(weight: torch.Tensor, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    taps = weight[:, :c].flip(2, 3).transpose(0, 1)
    sums = F.conv2d(taps.reshape(-1, 1, 3, 3), taps.new_ones(1, 1, 2, 2), padding=1).reshape(*taps.shape[:2], 4, 4)
    of_small, of_large = (part.contiguous(memory_format=torch.channels_last) for part in (sums, weight[:, c:]))
    return of_small, of_large


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), 3x3 convolutions. x may be overwritten where no gradient is wanted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = conv_act(act(x), self.conv1.weight, self.conv1.bias)
        return conv_act(y, self.conv2.weight, self.conv2.bias, plus=x)


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
