"""`default` and `fast` with convolutions in 8 bits: static quantisation after training.

Basics:
    What goes into a convolution is a byte: q = round(x / step) + zero, cut to 0..255. Every channel has its own step,
    from the range that it had on training samples (`Ranges`, in the weights file): tiles and whole frames see one
    function. The steps are multiplied into the weights, which become whole numbers from -127 to 127 with one step for
    every output channel. Sums are exact; biases, leaky ReLUs and what residual blocks add up are float32.
    Source: Jacob et al. 2018, Krishnamoorthi 2018.
Executors:
    `merge_corrections` and `flow_corrections` are `BlendNet.network` and `FlowRefiner.network` once more, in the steps
    that an executor knows. `Ranging` computes in float32 and writes down the ranges; `hdrvid.predict.int8.Bytes`
    computes in 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from hdrvid.models.flow_net import EVIDENCE_CHANNELS, SHIFTS, FlowRefiner
from hdrvid.models.layers import (
    ResidualBlock,
    act,
    act_inplace,
    pixel_unshuffle_conv,
    strided_weight,
    upsample2x,
)
from hdrvid.models.merge_net import BlendNet

Ranges = Mapping[str, torch.Tensor]
"""Lowest and highest value (2, C) of every channel, by network and name of what goes into its convolutions, as in
'merge.stem'."""

Seen = TypeVar("Seen")
"""What an executor makes of the input of a convolution."""


@dataclass(frozen=True)
class Convolution:
    """One of a network's, or a part of one."""

    name: str
    """No other of the network has it."""
    weight: torch.Tensor
    """(O, C, k, k)."""
    bias: torch.Tensor | None
    """(O,)."""
    stride: int = 1
    padding: int = 0


def _whole(name: str, conv: nn.Conv2d) -> Convolution:
    assert isinstance(conv.padding[0], int)
    return Convolution(name, conv.weight, conv.bias, conv.stride[0], conv.padding[0])


def _unshuffled(name: str, conv: nn.Conv2d) -> Convolution:
    """`pixel_unshuffle_conv` by 2."""
    weight = strided_weight(conv.weight, conv.in_channels // 4, 2)
    return Convolution(name, weight, conv.bias, 2, conv.kernel_size[0] // 2 * 2)


class Executor(Protocol[Seen]):
    """How the steps of a network are computed."""

    def look(self, name: str, x: Values, *, activate: bool = True, double: bool = False, again: bool = False) -> Seen:
        """What convolutions take of values (1, C, H, W): under the leaky ReLU, unless that is not wanted, and twice as
        large, every value four times, where that is. `again`: the values are wanted once more."""

    def given(self, x: torch.Tensor) -> torch.Tensor:
        """Values of float convolutions in the type in which this executor's convolutions give theirs."""

    def conv(self, seen: Seen, conv: Convolution) -> torch.Tensor:
        """(1, O, H', W')."""


class Sum:
    """Two tensors of one size and type that are added up when somebody looks at them: one walk through the memory."""

    def __init__(self, result: torch.Tensor, plus: torch.Tensor) -> None:
        """The sum is written to `result`."""
        self.result = result
        self.plus: torch.Tensor | None = plus
        """None once it is there."""


Values = torch.Tensor | Sum


def tensor(x: Values) -> torch.Tensor:
    """Values that were added up."""
    if isinstance(x, torch.Tensor):
        return x
    if x.plus is not None:
        x.result.add_(x.plus)
        x.plus = None
    return x.result


def _blocks(run: Executor[Seen], name: str, blocks: nn.Module, x: Values) -> Values:
    for i, block in enumerate(blocks if isinstance(blocks, nn.Sequential) else [blocks]):
        assert isinstance(block, ResidualBlock)
        first, second = f"{name}.{i}.conv1", f"{name}.{i}.conv2"
        y = run.conv(run.look(first, x, again=True), _whole(first, block.conv1))
        x = Sum(run.conv(run.look(second, y), _whole(second, block.conv2)), tensor(x))
    return x


def _fused(run: Executor[Seen], name: str, conv: nn.Conv2d, small: torch.Tensor, large: Seen) -> Sum:
    """`conv_of_concat`, of values that are not yet under the leaky ReLU and others that are seen already."""
    c = small.shape[1]
    of_large = Convolution(f"{name}.large", conv.weight[:, c:], conv.bias, 1, 1)
    of_small = Convolution(f"{name}.small", conv.weight[:, :c], None, 1, 1)
    return Sum(run.conv(run.look(name, small, double=True), of_small), run.conv(large, of_large))


def merge_corrections(run: Executor[Seen], net: BlendNet, x: torch.Tensor) -> torch.Tensor:
    """`BlendNet.network` of one window."""
    seen = run.look("stem", x, activate=False)
    y0 = _blocks(run, "enc0", net.enc0, run.conv(seen, _unshuffled("stem", net.stem)))
    x0 = run.look("x0", y0)
    x1 = run.look("x1", _blocks(run, "enc1", net.enc1, run.conv(x0, _whole("down1", net.down1))))
    x2 = run.look("x2", _blocks(run, "enc2", net.enc2, run.conv(x1, _whole("down2", net.down2))))
    x3 = run.look("x3", _blocks(run, "enc3", net.enc3, run.conv(x2, _whole("down3", net.down3))))
    fused = _fused(run, "fuse2", net.fuse2, run.conv(x3, _whole("up2", net.up2)), x2)
    y2 = _blocks(run, "dec2", net.dec2, fused)
    fused = _fused(run, "fuse1", net.fuse1, run.conv(run.look("up1", y2), _whole("up1", net.up1)), x1)
    y1 = _blocks(run, "dec1", net.dec1, fused)
    fused = _fused(run, "fuse0", net.fuse0, run.conv(run.look("up0", y1), _whole("up0", net.up0)), x0)
    y0 = _blocks(run, "dec0", net.dec0, fused)
    return run.conv(run.look("head", y0), _whole("head", net.head))


def flow_corrections(
    run: Executor[Seen], net: FlowRefiner, fine: torch.Tensor, ratio: torch.Tensor, volume: torch.Tensor
) -> torch.Tensor:
    """`FlowRefiner.network` of one neighbour.

    What sees the evidence and what gives the flow is float32: in bytes it costs 0.1 dB, and saves nothing.
    """
    known = F.conv2d(ratio, net.stem.weight[:, -1:], padding=1)
    y0 = pixel_unshuffle_conv(fine, net.stem.weight[:, :-1], net.stem.bias, 2, plus=known)
    y1 = _blocks(run, "enc1", net.enc1, run.given(net.down1(act(y0)) + net.matches(volume)))
    y0 = run.given(y0)
    y2 = _blocks(run, "enc2", net.enc2, run.conv(run.look("down2", y1, again=True), _whole("down2", net.down2)))
    y3 = _blocks(run, "enc3", net.enc3, run.conv(run.look("down3", y2, again=True), _whole("down3", net.down3)))
    raised = run.conv(run.look("up2", y3), _whole("up2", net.up2))
    y2 = _blocks(run, "dec2", net.dec2, Sum(upsample2x(raised), tensor(y2)))
    raised = run.conv(run.look("up1", y2), _whole("up1", net.up1))
    y1 = _blocks(run, "dec1", net.dec1, Sum(upsample2x(raised), tensor(y1)))
    raised = run.conv(run.look("up0", y1), _whole("up0", net.up0))
    last = _blocks(run, "dec0", net.dec0, Sum(upsample2x(raised), y0))
    return net.head(act_inplace(tensor(last).float()))


class Ranging:
    """Computes in float32, and widens the ranges of every input by what it sees of it."""

    def __init__(self, network: str, ranges: dict[str, torch.Tensor]) -> None:
        self.network = network
        self.ranges = ranges

    def look(
        self, name: str, x: Values, *, activate: bool = True, double: bool = False, again: bool = False
    ) -> torch.Tensor:
        values = act(tensor(x)) if activate else tensor(x)
        name = f"{self.network}.{name}"
        found = torch.stack([values.amin((0, 2, 3)), values.amax((0, 2, 3))]).float().cpu()
        before = self.ranges.get(name, found)
        self.ranges[name] = torch.stack([torch.minimum(before[0], found[0]), torch.maximum(before[1], found[1])])
        return upsample2x(values) if double else values

    def given(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def conv(self, seen: torch.Tensor, conv: Convolution) -> torch.Tensor:
        return F.conv2d(seen, conv.weight, conv.bias, stride=conv.stride, padding=conv.padding)


@contextmanager
def measuring(networks: nn.ModuleDict) -> Iterator[dict[str, torch.Tensor]]:
    """The ranges of all that the networks see until the end of the block, where they compute in float32."""
    ranges: dict[str, torch.Tensor] = {}
    for name, net in networks.items():
        corrections: Any = merge_corrections if isinstance(net, BlendNet) else flow_corrections
        net.__dict__["network"] = partial(corrections, Ranging(name, ranges), net)
    try:
        yield ranges
    finally:
        for net in networks.values():
            del net.__dict__["network"]


def ranges_of_zeros(networks: nn.ModuleDict) -> Ranges:
    """What `measuring` finds of networks that see black: the names and sizes of their ranges."""
    merge, side = networks["merge"], 32
    assert isinstance(merge, BlendNet)
    with torch.inference_mode(), measuring(networks) as ranges:
        merge.network(torch.zeros(1, merge.stem.in_channels // 4, side, side))
        if "flow" in networks:
            flow = networks["flow"]
            assert isinstance(flow, FlowRefiner)
            fine = torch.zeros(1, EVIDENCE_CHANNELS - 1, side, side)
            volume = torch.zeros(1, len(SHIFTS), side // 4, side // 4)
            flow.network(fine, torch.zeros(1, 1, side // 2, side // 2), volume)
    return ranges
