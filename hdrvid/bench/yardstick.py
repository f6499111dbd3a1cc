"""What a network's time is compared with: a network of known cost, and what the machine can do at best."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hdrvid.predict.clock import synchronise
from hdrvid.predict.device import dtype_of, place

SIZE_MULTIPLE = 8
"""The yardstick halves the picture three times."""

BYTES_PER_PIXEL = 1100
"""What the yardstick takes on a CPU in float32, the most of all precisions (1061 measured)."""


class ConvolutionCounter(TorchDispatchMode):
    """Counts multiply-accumulates of ungrouped convolutions inside its context.

    A convolution has (values of its result) x (weights behind each of them), a transposed one (values that go in) x
    (weights that each of them meets). Grouped convolutions and those of one channel are filters of fixed kernels and
    not counted, nor are correlation volumes, warps and what OpenCV does.
    """

    # with gradients the first is called, in inference mode the others
    _ANY = torch.ops.aten.convolution.default
    _CONVOLUTIONS = (torch.ops.aten.conv2d.default, torch.ops.aten.conv2d.padding)
    _TRANSPOSED = torch.ops.aten.conv_transpose2d.input
    # what models.layers.conv_act and conv_plus call on a CPU, and predict.int8: where values and weights come among the
    # arguments
    _FUSED: ClassVar = {
        "mkldnn::_convolution_pointwise": (0, 1),
        "mkldnn::_convolution_pointwise_.binary": (1, 2),
        "onednn::qconv2d_pointwise": (0, 3),
    }

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in its context. PyTorch would load its compiler to be sure, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        transposed = func is self._TRANSPOSED or (func is self._ANY and args[6])
        fused = func.name() in self._FUSED
        if transposed or fused or func is self._ANY or func in self._CONVOLUTIONS:
            x, weight = (args[i] for i in self._FUSED.get(func.name(), (0, 1)))
            if x.shape[1] > 1 and weight.shape[0 if transposed else 1] == x.shape[1]:
                self.macs += (x if transposed else result).numel() * math.prod(weight.shape[1:])
        return result


def count_macs(call: Callable[[], object]) -> int:
    """Multiply-accumulates of all convolutions that `call` runs in this thread; see `ConvolutionCounter`."""
    with ConvolutionCounter() as counter:
        call()
    return counter.macs


def _conv(c_in: int, c_out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, stride, size // 2)


class Yardstick(nn.Module):
    """An untrained encoder-decoder with skips whose cost is that of HDRFlow (Xu et al. 2024): 94.3 kMAC a pixel.

    32, 64, 128 and 256 channels at 1/1, 1/2, 1/4 and 1/8 of the size. Every level has two 3x3 convolutions beside
    those with a stride of 2 that lead down and the 1x1 convolutions that lead up; 1.6 % of the cost is in the latter.
    Three RGB frames go in, nine channels come out. H and W multiples of SIZE_MULTIPLE.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (32, 64, 128, 256)
        self.stem = _conv(9, widths[0])
        self.down = nn.ModuleList(_conv(a, b, stride=2) for a, b in itertools.pairwise(widths))
        self.encoder = nn.ModuleList(_conv(w, w) for w in widths)
        self.decoder = nn.ModuleList(_conv(w, w) for w in widths)
        self.up = nn.ModuleList(_conv(b, a, 1) for a, b in itertools.pairwise(widths))
        self.head = _conv(widths[0], 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 9, H, W) -> (B, 9, H, W)."""
        skips = []
        x = F.relu(self.stem(x))
        for level, encode in enumerate(self.encoder):
            x = F.relu(encode(F.relu(self.down[level - 1](x)) if level else x))
            skips.append(x)
        x = F.relu(self.decoder[-1](skips.pop()))
        for level in reversed(range(len(skips))):
            x = F.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest") + skips[level]
            x = F.relu(self.decoder[level](x))
        return self.head(x)


def yardstick_call(size: tuple[int, int], device: torch.device, precision: str) -> Callable[[], None]:
    """A function that runs the yardstick once on a frame of width and height `size`, edges to multiples of 8.

    The input lies on the device already, channels last, and the result stays there: convolutions alone.
    """
    width, height = (n + -n % SIZE_MULTIPLE for n in size)
    network = place(nn.ModuleDict({"yardstick": Yardstick()}), device).eval().requires_grad_(False)["yardstick"]
    x = torch.rand((1, 9, height, width), device=device).contiguous(memory_format=torch.channels_last)
    mixed = precision != "fp32"

    def call() -> None:
        with torch.inference_mode(), torch.autocast(device.type, dtype_of(precision)) if mixed else nullcontext():
            network(x)

    return call


def peak_gflops(device: torch.device, precision: str, repeats: int = 4) -> float | None:
    """The machine's measured peak: most GFLOP/s of a few large products and convolutions, 2 FLOP a multiply-accumulate.

    None where the device does not compute in that precision. One that only emulates it is not asked for the largest.
    """
    dtype = dtype_of(precision)
    on_cpu = device.type == "cpu"
    best = 0.0

    def product(side: int) -> tuple[Callable[[], object], int]:
        a, b = (torch.rand((side, side), device=device).to(dtype) for _ in range(2))
        return lambda: a @ b, 2 * side**3

    def convolution(size: tuple[int, int]) -> tuple[Callable[[], object], int]:
        channels, side = size
        conv = _conv(channels, channels).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.rand((1, channels, side, side), device=device).to(dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        return lambda: conv(x), 2 * side * side * conv.weight.numel()

    try:
        with torch.inference_mode():
            kinds: tuple[tuple[Callable[[Any], tuple[Callable[[], object], int]], Sequence[Any]], ...] = (
                (product, (256, 512, 1024, 2048) if on_cpu else (4096, 8192)),
                (convolution, ((64, 64), (64, 128), (128, 64), (256, 64)) if on_cpu else ((256, 256), (512, 256))),
            )
            for make, sizes in kinds:
                for size in sizes:
                    call, flop = make(size)
                    seconds = _fastest(call, device, repeats)
                    best = max(best, flop / seconds / 1e9)
                    if seconds > _SLOW_SECONDS:
                        break
    except RuntimeError:
        return None
    return best


_SLOW_SECONDS = 0.2
"""A product that takes this long is measured no further, and no larger ones are."""


def _fastest(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls, after one that is not counted; of that one where it is slow."""
    seconds = float("inf")
    for repeat in range(repeats + 1):
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        taken = time.perf_counter() - started
        if repeat:
            seconds = min(seconds, taken)
        elif taken > _SLOW_SECONDS:
            return taken
    return seconds
