"""Networks in 8 bits on CPUs that multiply bytes (VNNI), by oneDNN through PyTorch; see `hdrvid.models.quantised`.

The bytes are made by `hdrvid.compiled.quantise`. Other machines compute in float: there is no emulation here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid import machine
from hdrvid.compiled import availability, bands
from hdrvid.errors import ModelError
from hdrvid.models.constants import ACTIVATED_ZERO, HIGHEST_BYTE, SIGNED_ZERO
from hdrvid.models.flow_net import FlowRefiner
from hdrvid.models.layers import LEAK
from hdrvid.models.merge_net import BlendNet
from hdrvid.models.quantised import (
    Convolution,
    Ranges,
    Sum,
    Values,
    flow_corrections,
    merge_corrections,
    ranges_of_zeros,
    tensor,
)

HIGHEST_WEIGHT = 127
SMALLEST_STEP = 1e-8


@dataclass(frozen=True)
class _Quantised:
    """The input of a convolution as bytes."""

    values: torch.Tensor
    """(1, C, H, W) uint8, channels last."""
    steps: torch.Tensor
    """(C,) what a byte stands for."""
    zero: int
    """The byte that stands for 0."""


@dataclass(frozen=True)
class _Packed:
    """A convolution as oneDNN takes it."""

    weight: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor
    bias: torch.Tensor | None


class Bytes:
    """Computes in 8 bits, one network, windows of any size."""

    def __init__(self, network: str, ranges: Ranges, between: torch.dtype = torch.float32) -> None:
        """`between`: in which convolutions give their results, float32 or bfloat16."""
        self.network = network
        self.between = between
        self._ranges = ranges
        self._steps: dict[str, torch.Tensor] = {}
        self._packed: dict[str, _Packed] = {}

    def steps(self, name: str, zero: int) -> torch.Tensor:
        """What a byte stands for, (C,), in every channel of what goes into a convolution."""
        if name not in self._steps:
            self._steps[name] = _steps(self._ranges[f"{self.network}.{name}"], zero)
        return self._steps[name]

    def look(
        self, name: str, x: Values, *, activate: bool = True, double: bool = False, again: bool = False
    ) -> _Quantised:
        zero, leak = (ACTIVATED_ZERO, LEAK) if activate else (SIGNED_ZERO, 1.0)
        steps = self.steps(name, zero)
        if isinstance(x, Sum) and x.plus is not None and not double:
            x.result = x.result.contiguous(memory_format=torch.channels_last)  # written to where it lies
            values = bands.quantised_sum(x.result, x.plus, steps, zero, leak, again)
            x.plus = None if again else x.plus
        else:
            x = tensor(x)
            values = x if x.dtype == torch.uint8 else bands.quantised(x, steps, zero, leak, double=double)
        return _Quantised(values, steps, zero)

    def given(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.between)

    def conv(self, seen: _Quantised, conv: Convolution) -> torch.Tensor:
        packed = self._packed.get(conv.name)
        if packed is None:
            packed = self._packed[conv.name] = _pack(conv, seen)
        place = _place(conv)
        given = seen.values, 1.0, seen.zero, packed.weight, packed.scales, packed.zeros, packed.bias
        return torch.ops.onednn.qconv2d_pointwise(*given, *place, 1.0, 0, self.between, "none", [], "")


def _place(conv: Convolution) -> tuple[list[int], list[int], list[int], int]:
    """Stride, padding, dilation and groups, as oneDNN's operators take them."""
    return [conv.stride] * 2, [conv.padding] * 2, [1, 1], 1


def _steps(low_high: torch.Tensor, zero: int) -> torch.Tensor:
    low, high = low_high
    return torch.maximum(high / (HIGHEST_BYTE - zero), -low / zero).clamp(min=SMALLEST_STEP)


def _pack(conv: Convolution, seen: _Quantised) -> _Packed:
    weight = conv.weight.float() * seen.steps[:, None, None]
    weight = F.pad(weight, (0, 0, 0, 0, 0, seen.values.shape[1] - weight.shape[1]))
    scales = (weight.abs().amax((1, 2, 3)) / HIGHEST_WEIGHT).clamp(min=SMALLEST_STEP)
    whole = torch.round(weight / scales[:, None, None, None]).to(torch.int8)
    packed = torch.ops.onednn.qconv_prepack(whole, scales, 1.0, seen.zero, *_place(conv), None)
    return _Packed(packed, scales, torch.zeros(len(scales), dtype=torch.int32), conv.bias)


class QuantisedNetworks:
    """The networks of model `name` in 8 bits. Raises ModelError where the ranges are not those of the networks."""

    def __init__(self, name: str, networks: nn.ModuleDict, ranges: Ranges) -> None:
        wanted = {name: low_high.shape for name, low_high in ranges_of_zeros(networks).items()}
        if wanted != {name: low_high.shape for name, low_high in ranges.items()}:
            raise ModelError(
                f"the weights '{name}' cannot be run in int8: they hold ranges of other networks: use --precision fp32"
            )
        self._networks = networks
        self.between = type_between()
        """In which their convolutions give their results."""
        self._executors = {name: Bytes(name, ranges, self.between) for name in networks}

    @property
    def input_steps(self) -> torch.Tensor:
        """What a byte stands for, (7 C + 6,), in every channel of what `merge` takes."""
        return self._executors["merge"].steps("stem", SIGNED_ZERO)

    def merge(self, x: torch.Tensor) -> torch.Tensor:
        """`BlendNet.network` of one window, in bytes of `input_steps` (`bands.merge_input`) or float32."""
        net = self._networks["merge"]
        assert isinstance(net, BlendNet)
        return merge_corrections(self._executors["merge"], net, x)

    def flow(self, fine: torch.Tensor, ratio: torch.Tensor, volume: torch.Tensor) -> torch.Tensor:
        """`FlowRefiner.network` of one neighbour."""
        net = self._networks["flow"]
        assert isinstance(net, FlowRefiner)
        return flow_corrections(self._executors["flow"], net, fine, ratio, volume)


def type_between() -> torch.dtype:
    """In which convolutions give their results here: bfloat16 is half of what memory has to move, but without AVX-512
    oneDNN takes 500 times as long for it."""
    return torch.bfloat16 if machine.has_avx512_vnni() else torch.float32


def lacking(device: torch.device) -> str | None:
    """What networks on this device need to be computed in 8 bits, as in 'needs Numba'; None where they can be."""
    if device.type != "cpu" or not available():
        return "needs a CPU that multiplies bytes (VNNI)"
    return None if availability.usable() else "needs Numba"


@cache
def available() -> bool:
    """Whether this machine multiplies bytes, and PyTorch does so as this module expects: its operators are those that
    torch.compile uses, and none that PyTorch promises to keep. Without VNNI the sums of large products are cut."""
    if not machine.has_vnni():
        return False
    values = (255 - torch.arange(2 * 5 * 6, dtype=torch.uint8)).reshape(1, 5, 6, 2).permute(0, 3, 1, 2)
    seen = _Quantised(values, torch.tensor([0.5, 0.25]), ACTIVATED_ZERO)
    weight = torch.ones(2, 2, 3, 3)
    weight[1, :, :, 1] = -2.0
    conv = Convolution("probe", weight, torch.tensor([3.0, -1.0]), 1, 1)
    try:
        results = [Bytes("", {}, between).conv(seen, conv).float() for between in {torch.float32, type_between()}]
    except (AttributeError, RuntimeError, TypeError, NotImplementedError):
        return False
    exact = F.conv2d((values.float() - ACTIVATED_ZERO) * seen.steps[:, None, None], weight, conv.bias, padding=1)
    return all(bool((result - exact).abs().max() < 0.02 * exact.abs().max()) for result in results)
