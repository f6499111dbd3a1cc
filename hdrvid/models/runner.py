"""From a window of frames to a radiance frame: device, precision, padding and tiles live here, not in the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hdrvid import cpu
from hdrvid.errors import ModelError, UsageError
from hdrvid.models.alignment import DenseInverseSearch
from hdrvid.models.blend import BlendNet
from hdrvid.models.clock import StageClock
from hdrvid.models.config import ModelConfig
from hdrvid.models.flow import FlowNet
from hdrvid.models.merge import MemoMerge
from hdrvid.models.prior import Candidates, alignment_confidence, blend, candidates_and_prior
from hdrvid.models.refine import ROW_HALO, FlowRefiner, evidence
from hdrvid.radiance import radiance_from_ldr
from hdrvid.types import Reconstruction, Window
from hdrvid.warp import warp

SIZE_MULTIPLE = 16
"""Both networks halve the picture four times."""
TILE_HALO_PX = 96
"""Overlap of tiles on every side. The difference between tiled and untiled frames is measured in the tests."""
AUTO_TILE_PX = 1024
AUTO_TILE_ABOVE_PIXELS = 2_400_000
"""`tile='auto'` cuts frames larger than this (1080p is not cut) into tiles of AUTO_TILE_PX."""

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def build(config: ModelConfig) -> nn.ModuleDict:
    """The networks of a config, untrained: 'merge', and 'flow' where the config has one."""
    if config.preset == "memo":
        return nn.ModuleDict(
            {
                "flow": FlowNet(config.num_exposures, config.flow_finest),
                "merge": MemoMerge(config.num_exposures, config.base_width),
            }
        )
    weight_channels = 1 if config.preset == "fast" else 3
    networks = nn.ModuleDict({"merge": BlendNet(config.num_neighbours + 1, config.width, weight_channels)})
    if config.refine_flow:
        networks["flow"] = FlowRefiner()
    return networks


def place(networks: nn.ModuleDict, device: torch.device) -> nn.ModuleDict:
    """Move the networks to a device, channels last: the layout in which convolutions are fastest, on CPU too."""
    moved: Any = networks
    return moved.to(device, memory_format=torch.channels_last)


def resolve_device(device: str) -> torch.device:
    """'auto' is CUDA, then MPS, then CPU. Raises UsageError for a device that is not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{device}' is not available here: use --device auto, cpu, cuda or mps") from error
    if resolved.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device '{device}' is not supported: use --device auto, cpu, cuda or mps")
    return resolved


def check_precision(precision: str) -> None:
    """Raise UsageError for a precision that does not exist."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision takes one of {', '.join(PRECISIONS)}, not '{precision}'")


def resolve_precision(precision: str, device: torch.device) -> str:
    """'auto' is fp16 on CUDA, bf16 on a CPU that computes with it, else fp32."""
    check_precision(precision)
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and cpu.has_bf16() else "fp32"


def resolve_tile(tile: str | int) -> str | int:
    """'auto', 'off' or a number of pixels (at least 64)."""
    if tile in ("auto", "off"):
        return tile
    try:
        pixels = int(tile)
    except ValueError as error:
        raise UsageError(f"--tile takes auto, off or a number of pixels from 64 on, not '{tile}'") from error
    if pixels < 64:
        raise UsageError(f"--tile takes auto, off or a number of pixels from 64 on, not '{pixels}'")
    return pixels


@dataclass(frozen=True)
class Tile:
    """A piece of a padded frame: what is read, and which part of the result is kept."""

    read: tuple[slice, slice]
    """Rows and columns given to the network, halo included."""
    keep: tuple[slice, slice]
    """Rows and columns of the frame that this tile decides."""
    inner: tuple[slice, slice]
    """`keep`, counted from the corner of `read`."""


def tiles(height: int, width: int, size: int, halo: int) -> Iterator[Tile]:
    """Cover a frame (height and width multiples of 16) with tiles of at most size x size kept pixels."""
    size = max(size // SIZE_MULTIPLE, 1) * SIZE_MULTIPLE
    halo = -(-halo // SIZE_MULTIPLE) * SIZE_MULTIPLE

    def axis(length: int) -> list[tuple[slice, slice, slice]]:
        count = -(-length // size)
        step = -(-length // count // SIZE_MULTIPLE) * SIZE_MULTIPLE
        spans = []
        for start in range(0, length, step):
            stop = min(start + step, length)
            lo, hi = max(start - halo, 0), min(stop + halo, length)
            spans.append((slice(lo, hi), slice(start, stop), slice(start - lo, stop - lo)))
        return spans

    for read_y, keep_y, inner_y in axis(height):
        for read_x, keep_x, inner_x in axis(width):
            yield Tile((read_y, read_x), (keep_y, keep_x), (inner_y, inner_x))


def pad_to_multiple(x: torch.Tensor, multiple: int = SIZE_MULTIPLE) -> torch.Tensor:
    """Edge-replicate (B, C, c, H, W) at the right and the bottom up to a multiple."""
    b, c, k, h, w = x.shape
    if h % multiple == 0 and w % multiple == 0:
        return x
    flat = F.pad(x.reshape(b, c * k, h, w), (0, -w % multiple, 0, -h % multiple), mode="replicate")
    return flat.reshape(b, c, k, *flat.shape[-2:])


class ReferenceOnly:
    """The reference frame's own radiance: the trivial baseline."""

    def __init__(self, num_exposures: int) -> None:
        self.name = "reference"
        self.num_exposures = num_exposures
        self.provenance: dict[str, str] = {}

    def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
        """Linearised reference frame divided by its exposure."""
        exposure = window.exposures[len(window.exposures) // 2]
        return Reconstruction(radiance_from_ldr(window.reference, exposure).astype(np.float32))


class ModelRunner:
    """Runs the classical merge, the default network or the memo's networks on windows of any size.

    `networks` None is the classical pipeline: the yardstick stays plain DIS. With networks, `align` gives the flow its
    other candidates (`hdrvid.models.alignment`).
    """

    def __init__(
        self,
        name: str,
        num_exposures: int,
        config: ModelConfig | None = None,
        networks: nn.ModuleDict | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: str | int = "auto",
        align: bool = True,
        provenance: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.num_exposures = num_exposures
        self.provenance = provenance or {}
        self.device = resolve_device(device)
        check_precision(precision)
        # bf16 is measured for the presets that correct the classical merge; without networks nothing is rounded
        exact = networks is None or (precision == "auto" and config is not None and not config.search)
        on_cpu = self.device.type == "cpu"
        self.precision = "fp32" if exact and (on_cpu or networks is None) else resolve_precision(precision, self.device)
        if on_cpu:
            cpu.keep_memory()
        self.clock: StageClock | None = None
        """Set to measure where the time goes."""
        self.tile = resolve_tile(tile)
        self.config = config
        self.networks = networks
        search = "medium" if config is None else config.search
        candidates = align and search == "medium" and networks is not None
        self._dis = DenseInverseSearch(4, candidates, search) if search else None
        if networks is not None:
            place(networks, self.device).eval().requires_grad_(False)

    def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
        """See `hdrvid.types.Reconstructor`. Raises ModelError when the window does not fit the model."""
        expected = 2 * self.num_exposures - 1
        if len(window.frames) != expected:
            raise ModelError(
                f"model '{self.name}' is for {self.num_exposures} exposures; it needs {expected} frames a window"
            )
        with torch.inference_mode():
            if self.config is not None and self.config.preset == "memo":
                return self._memo(window, diagnostics)
            return self._prior_based(window, diagnostics)

    def _stage(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.clock is None else self.clock.stage(name)

    def _tensors(self, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
        ldr = torch.from_numpy(np.stack(window.frames)).to(self.device).permute(0, 3, 1, 2)[None].contiguous()
        return ldr, torch.tensor([window.exposures], dtype=torch.float32, device=self.device)

    def _autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])

    def _tile_size(self, height: int, width: int) -> int | None:
        if self.tile == "off":
            return None
        if self.tile == "auto":
            return AUTO_TILE_PX if height * width > AUTO_TILE_ABOVE_PIXELS else None
        return int(self.tile)

    def _tiled(
        self, inputs: list[torch.Tensor], outputs: list[int], network: Callable[..., tuple[torch.Tensor, ...]]
    ) -> list[torch.Tensor]:
        """Run `network` over tiles of `inputs` (1, C, c, H, W); `outputs` are the channels of each result."""
        h, w = inputs[0].shape[-2:]
        padded = [pad_to_multiple(x) for x in inputs]
        height, width = padded[0].shape[-2:]
        size = self._tile_size(h, w) or max(height, width)
        results = [torch.empty((1, c, height, width), device=self.device) for c in outputs]
        for tile in tiles(height, width, size, TILE_HALO_PX):
            pieces = network(*(x[(..., *tile.read)] for x in padded))
            for result, piece in zip(results, pieces, strict=True):
                result[(..., *tile.keep)] = piece.reshape(1, -1, *piece.shape[-2:])[(..., *tile.inner)]
        return [r[..., :h, :w] for r in results]

    def _prior_based(self, window: Window, diagnostics: bool) -> Reconstruction:
        assert self._dis is not None
        with self._stage("flow"):
            forward, backward = self._dis.window(window.frames, window.exposures)
        with self._stage("prepare"):
            ldr, exposures = self._tensors(window)
            flows, flows_back = (
                torch.from_numpy(f).to(self.device).permute(0, 3, 1, 2)[None].contiguous() for f in (forward, backward)
            )
        confidence = None
        if self.networks is not None and "flow" in self.networks:
            with self._stage("refine"):
                flows, confidence = self._refined(ldr, exposures, flows, flows_back)
        with self._stage("warp"):
            (codes, radiance, prior), _ = candidates_and_prior(ldr, exposures, flows, flows_back, confidence)
        if self.networks is None:
            with self._stage("merge"):
                blended = blend(radiance, prior)
            weights = (prior / prior.sum(1, keepdim=True)).expand_as(codes) if diagnostics else None
            return self._result(blended, weights, forward if diagnostics else None)
        shown = flows[0].permute(0, 2, 3, 1).cpu().numpy() if diagnostics else None
        del flows, flows_back, ldr, confidence
        merge = self.networks["merge"]
        assert isinstance(merge, BlendNet)
        c = merge.num_weights

        def network(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with self._autocast():
                h, w, _ = merge(*inputs)
            return (h, w) if diagnostics else (h,)

        with self._stage("merge"):
            out = self._tiled([codes, radiance, prior], [3, 3 * c][: 1 + diagnostics], network)
        weights_out = out[1].reshape(1, c, 3, *out[1].shape[-2:]) if diagnostics else None
        return self._result(out[0], weights_out, shown)

    def _refined(
        self, ldr: torch.Tensor, exposures: torch.Tensor, flows: torch.Tensor, flows_back: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refined flows and confidence of one window."""
        assert self.networks is not None
        refiner = self.networks["flow"]
        assert isinstance(refiner, FlowRefiner)
        h, w = ldr.shape[-2:]
        ldr, flows, flows_back = (pad_to_multiple(x) for x in (ldr, flows, flows_back))
        height, width = ldr.shape[-2:]
        size = self._tile_size(h, w)
        rows = max(size * size // width, SIZE_MULTIPLE) if size else height
        refined, confidence = torch.empty_like(flows), torch.empty_like(flows[:, :, :1])
        for strip in tiles(height, SIZE_MULTIPLE, rows, TILE_HALO_PX + ROW_HALO):
            read, keep, inner = strip.read[0], strip.keep[0], strip.inner[0]
            seen = evidence(ldr, exposures, flows, flows_back, read)
            with self._autocast():
                delta, logits = refiner.correct(seen)
            refined[..., keep, :] = flows[..., keep, :] + delta[..., inner, :]
            confidence[..., keep, :] = torch.sigmoid(logits[..., inner, :])
        return refined[..., :h, :w], confidence[..., :h, :w]

    def _result(self, h: torch.Tensor, weights: torch.Tensor | None, flow: np.ndarray | None) -> Reconstruction:
        with self._stage("result"):
            radiance = torch.nan_to_num(h[0], nan=0.0, posinf=1.0, neginf=0.0).clamp(min=0.0)
            return Reconstruction(
                np.ascontiguousarray(radiance.permute(1, 2, 0).cpu().numpy()),
                flow_px=flow,
                weights=None if weights is None else weights[0].permute(0, 2, 3, 1).cpu().numpy(),
            )

    def _memo(self, window: Window, diagnostics: bool) -> Reconstruction:
        assert self.networks is not None
        with self._stage("prepare"):
            ldr, exposures = self._tensors(window)
        flow_net, merge = self.networks["flow"], self.networks["merge"]
        size = self._tile_size(*ldr.shape[-2:])
        flow_net.strip_pixels = size * size if size else None  # type: ignore[assignment]
        with self._stage("flow"), self._autocast():
            flows = flow_net(ldr, exposures).float()
        with self._stage("warp"):
            codes, order = memo_candidates(ldr, flows)
        scale = exposures[:, order]
        c = codes.shape[1]

        def network(tile_codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
            radiance = radiance_from_ldr(tile_codes, scale[:, :, None, None, None])
            with self._autocast():
                weights = merge(tile_codes, radiance).float()
            h = blend(radiance, weights)
            return (h, weights) if diagnostics else (h,)

        with self._stage("merge"):
            out = self._tiled([codes], [3, 3 * c][: 1 + diagnostics], network)
        weights_out = out[1].reshape(1, c, 3, *out[1].shape[-2:]) if diagnostics else None
        return self._result(out[0], weights_out, flows[0].permute(0, 2, 3, 1).cpu().numpy() if diagnostics else None)


@dataclass(frozen=True)
class Aligned:
    """A window whose neighbours were brought to the reference."""

    flows: torch.Tensor
    """(B, K, 2, H, W) pixels, backward."""
    confidence: torch.Tensor
    """(B, K, 1, H, W) in [0, 1]: how far each neighbour can be trusted."""
    candidates: Candidates | None = None
    """What the `default` network blends; None for the memo's networks."""
    logits: torch.Tensor | None = None
    """(B, K, 1, H, W) of the confidence, where a network has found it."""


def align(
    networks: nn.ModuleDict,
    ldr: torch.Tensor,
    exposures: torch.Tensor,
    dis: torch.Tensor | None,
    dis_back: torch.Tensor | None,
) -> Aligned:
    """Align windows (B, W, 3, H, W') with the networks' own flow, or from the classical flows of both directions."""
    if dis is not None and dis_back is not None:
        flows, logits, confidence = dis, None, None
        if "flow" in networks:
            flows, logits = networks["flow"](ldr, exposures, dis, dis_back)
            confidence = torch.sigmoid(logits)
        candidates, trust = candidates_and_prior(ldr, exposures, flows, dis_back, confidence)
        return Aligned(flows, trust, candidates, logits)
    flows = networks["flow"](ldr, exposures).float()
    middle = ldr.shape[1] // 2
    trusts = [
        alignment_confidence(
            ldr[:, middle], warp(ldr[:, i], flows[:, k]), exposures[:, middle], exposures[:, i], flows[:, k], None
        )
        for k, i in enumerate(i for i in range(ldr.shape[1]) if i != middle)
    ]
    return Aligned(flows, torch.stack(trusts, 1))


def memo_candidates(ldr: torch.Tensor, flows: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """The memo's candidates: ref, warped neighbours, original neighbours.

    `ldr` (B, W, 3, H, W'), `flows` (B, K, 2, H, W'). Returns codes (B, 2K + 1, 3, H, W') and each candidate's position
    in the window.
    """
    n = ldr.shape[1]
    middle = n // 2
    neighbours = [i for i in range(n) if i != middle]
    warped = [warp(ldr[:, i], flows[:, k]) for k, i in enumerate(neighbours)]
    codes = torch.stack([ldr[:, middle], *warped, *(ldr[:, i] for i in neighbours)], 1)
    return codes, [middle, *neighbours, *neighbours]
