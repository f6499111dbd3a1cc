"""Options of `hdrvid bench`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hdrvid.options.metadata import CYCLE_STOPS, DEVICE, option
from hdrvid.options.parse import parse_cycle, parse_precisions, parse_size

if TYPE_CHECKING:
    from hdrvid.types import ExposureCycle

SIZES = ((1280, 720), (1920, 1080), (3840, 2160))
"""Widths and heights that are measured where none are named."""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured."""

    sizes: tuple[tuple[int, int], ...] = field(
        default=SIZES,
        metadata=option(
            "Frame size, even; may be repeated.",
            flag="--size",
            metavar="WxH",
            repeated=True,
            parse=parse_size,
            default=", ".join(f"{width}x{height}" for width, height in SIZES),
        ),
    )
    """Width and height of each clip in pixels."""
    models: tuple[str, ...] = field(
        default=("default",),
        metadata=option(
            "Model; may be repeated.", flag="--model", metavar="NAME|FILE", repeated=True, default="default"
        ),
    )
    """The yardstick comes on its own."""
    precisions: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "Of fp32, bf16, fp16, int8; auto: what the device does well.",
            flag="--precision",
            metavar="auto|LIST",
            parse=parse_precisions,
            default="auto",
        ),
    )
    """Empty: fp32, bf16 and int8 where the device multiplies in them, fp16 on accelerators."""
    device: str = field(default="auto", metadata=DEVICE)
    exposures: str = field(default="0,3", metadata=CYCLE_STOPS)
    runs: int = field(default=3, metadata=option("Cycles that are timed.", metavar="N", minimum=1))
    end_to_end: bool = field(
        default=True,
        metadata=option("Run `hdrvid reconstruct` on a short clip too.", flag="--end-to-end/--no-end-to-end"),
    )
    compiled: bool = field(
        default=False,
        metadata=option("Measure the networks compiled (torch.compile) too.", flag="--compile/--no-compile"),
    )

    @property
    def cycle(self) -> ExposureCycle:
        """Exposures of the clips. Raises UsageError, ExposureError or InputError for exposures without meaning."""
        return parse_cycle(self.exposures)
