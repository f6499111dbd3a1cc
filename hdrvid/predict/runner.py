"""From a window of frames to a radiance frame: device, precision, padding and tiles live here, not in the networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from hdrvid import machine
from hdrvid.color.radiance import radiance_from_ldr
from hdrvid.compiled import availability, bands
from hdrvid.compiled.calls import Calls
from hdrvid.errors import ModelError, UsageError
from hdrvid.flow.dense_inverse_search import DenseInverseSearch
from hdrvid.models import reference_check
from hdrvid.models.classical import Candidates, blend, candidates_and_prior
from hdrvid.models.config import ModelConfig
from hdrvid.models.constants import HALO_PX
from hdrvid.models.edges import denoise_alone
from hdrvid.models.exposure_agreement import FrameBlocks, partly_clipped_weight
from hdrvid.models.flow_net import FlowRefiner, evidence
from hdrvid.models.layers import in_half_precision
from hdrvid.models.memo.candidates import memo_candidates
from hdrvid.models.memo.merge_net import MemoMerge
from hdrvid.models.merge_net import BlendNet
from hdrvid.models.quantised import Ranges
from hdrvid.models.reference_check import keep_reference
from hdrvid.predict import int8
from hdrvid.predict.clock import StageClock
from hdrvid.predict.descriptor import describe
from hdrvid.predict.device import (
    HALF_PRECISIONS,
    available_memory,
    check_precision,
    dtype_of,
    place,
    ran_out_of_memory,
    resolve_device,
    resolve_precision,
)
from hdrvid.predict.graphs import compile_networks
from hdrvid.predict.int8 import QuantisedNetworks
from hdrvid.predict.tiling import SIZE_MULTIPLE, Canvas, Tile, pad_to_multiple, resolve_tile, tiles
from hdrvid.types import Reconstruction, Window

TILE_HALO_PX = 96
"""Overlap of tiles on every side. The difference between tiled and untiled frames is measured in the tests."""
AUTO_TILE_PX = 1024
AUTO_TILE_ABOVE_PIXELS = 2_400_000
"""`tile='auto'` cuts frames larger than this (1080p is not cut) into tiles of AUTO_TILE_PX on a CPU; elsewhere they are
cut only where they must."""
TILE_SIDES = (4096, 2048, 1024, 512, 256, 128)
"""Sides of tiles, in pixels, that are tried where memory is short."""
MEMORY_SHARE = 0.7
"""Of the free memory, what the frames and networks of a window may take."""
FRAME_BYTES_PER_PIXEL = 60
"""Measured on a CPU in float32: what one of the frames of a window takes."""

LOOK_AHEAD = 3
"""Windows after the present one whose flow is searched while an accelerator computes: the search takes longer than the
networks do there, and one of two pictures keeps one core busy."""


class _OverflowError(Exception):
    """Values that the networks' precision cannot hold."""


class ReferenceOnly:
    """The reference frame's own radiance: the trivial baseline."""

    def __init__(self, num_exposures: int) -> None:
        self.name = "reference"
        self.num_exposures = num_exposures
        self.provenance: dict[str, str] = {}
        self.notes: list[str] = []
        self.look_ahead = 0
        self.precision = "fp32"

    def expect(self, window: Window) -> None:
        """Nothing to begin with."""

    def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
        """Linearised reference frame divided by its exposure."""
        exposure = window.exposures[len(window.exposures) // 2]
        return Reconstruction(radiance_from_ldr(window.reference, exposure).astype(np.float32))


class ModelRunner:
    """Runs the classical merge, the default network or the memo's networks on windows of any size.

    `networks` None is the classical pipeline: the yardstick stays plain DIS. With networks, `align` gives the flow its
    other candidates (`hdrvid.flow`). `compiled`: the networks become compiled graphs. `look_ahead`: how many windows
    `expect` may announce before they are made; None: LOOK_AHEAD beside an accelerator, none on a CPU.
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
        compiled: bool = False,
        look_ahead: int | None = None,
        provenance: dict[str, str] | None = None,
        ranges: Ranges | None = None,
    ) -> None:
        self.name = name
        self.num_exposures = num_exposures
        self.provenance = provenance or {}
        self.device = resolve_device(device)
        check_precision(precision)
        self.config = config
        self.descriptor = what = describe(num_exposures, None if networks is None else config)
        on_cpu = self.device.type == "cpu"
        self.in_bands = on_cpu and what.compiled_loops and availability.usable()
        """Whether the work around the networks is done by compiled functions (`hdrvid.compiled.bands`)."""
        self.precision = "fp32"
        self._bytes: QuantisedNetworks | None = None
        """The networks in 8 bits."""
        if networks is not None:
            lacking = self._lacks_for_int8(ranges, compiled)
            if precision == "int8" and lacking:
                raise UsageError(f"--precision int8 {lacking}: use --precision auto")
            in_bytes = precision == "int8" or (precision == "auto" and not lacking)
            self.precision = "int8" if in_bytes else resolve_precision(precision, self.device)
        if precision == "auto" and self.precision == "fp16" and not what.fits_fp16:
            self.precision = "bf16"
        self.clock: StageClock | None = None
        """Set to measure where the time goes."""
        self.tile = resolve_tile(tile)
        self._chosen: dict[tuple[int, int], int | None] = {}
        self._blocks = FrameBlocks()
        self._features: dict[tuple[int, float], tuple[np.ndarray, torch.Tensor]] = {}
        self.notes: list[str] = []
        """What the user should know, in sentences; grows while frames are made."""
        threads = torch.get_num_threads()
        if look_ahead is None:  # the cores of a CPU have the networks to compute
            look_ahead = 0 if on_cpu else min(LOOK_AHEAD, threads // 2)
        self.look_ahead = look_ahead if what.search else 0
        workers = min(max(4, 2 * (1 + self.look_ahead)), threads)
        # the classical merge is the baseline that others know: OpenCV's search, without candidates
        self._dis = (
            DenseInverseSearch(workers, align and what.flow_candidates, what.search, what.has_networks)
            if what.search
            else None
        )
        self.compiles = what.compiled_loops and availability.usable()
        """Whether functions are compiled for the CPU, which the first run on a machine waits for."""
        self._expected: dict[int, tuple[Window, Future[tuple[np.ndarray, np.ndarray]]]] = {}
        self._ahead = ThreadPoolExecutor(1 + self.look_ahead, "hdrvid-ahead") if self.look_ahead else None
        self._exact, self._compiled = networks, compiled
        if networks is not None:
            place(networks, self.device).eval().requires_grad_(False)
            if self.precision == "int8":
                assert ranges is not None
                self._bytes = QuantisedNetworks(name, networks, ranges)
            # the memo's networks warp and compare between their convolutions: autocast knows what to round there
            if self.precision in HALF_PRECISIONS and what.search:
                networks = in_half_precision(networks, dtype_of(self.precision))
        self.networks = self._ready(networks)
        self._in_fp32 = self.networks if networks is self._exact else None
        """The networks unrounded, once they were needed."""
        self._note_problem()

    def _lacks_for_int8(self, ranges: Ranges | None, compiled: bool) -> str | None:
        """Why the networks cannot be computed in 8 bits, after 'int8'; None where they can."""
        if not self.descriptor.compiled_loops:
            return f"is for default and fast, not for '{self.name}'"
        if lacking := int8.lacking(self.device):
            return lacking
        if ranges is None:
            return f"needs ranges of values, which the weights '{self.name}' do not hold"
        return "cannot be compiled" if compiled else None

    def _ready(self, networks: nn.ModuleDict | None) -> nn.ModuleDict | None:
        """Compiled, where that was asked for."""
        if self._compiled and networks is not None:
            compile_networks(networks, self.notes.append)
        return networks

    @property
    def compiled_calls(self) -> Calls:
        """Which compiled functions it calls."""
        what, in_bands = self.descriptor, self.in_bands and self._exact is not None
        return Calls(
            search=self.compiles and self._dis is not None,
            candidates=self.compiles and self._dis is not None and self._dis.candidates,
            merge=in_bands,
            refine=in_bands and self._exact is not None and "flow" in self._exact,
            neighbours=what.window_frames - 1,
            half=self._input_dtype() == torch.bfloat16,
            quantised=self._bytes is not None,
            half_between=self._bytes is not None and self._bytes.between == torch.bfloat16,
        )

    @property
    def takes_any_window(self) -> bool:
        """Whether it takes windows that are not those of a plain cycle."""
        return self.descriptor.preset != "memo"

    @property
    def compiled_loops(self) -> bool:
        """Whether compiled functions do the work around the networks: in the last bits PyTorch's results differ."""
        return self.compiles and availability.usable()

    def _note_problem(self) -> None:
        problem = availability.problem() if self._dis is not None and self._exact is not None else None
        if problem is not None and problem not in self.notes:
            self.notes.append(problem)

    def expect(self, window: Window) -> None:
        """See `hdrvid.types.Reconstructor`: begins to search the flow, where there are cores for it."""
        if self._ahead is not None and self._dis is not None:
            # with the window, so that its id cannot be given to another one meanwhile
            self._expected[id(window)] = (
                window,
                self._ahead.submit(self._dis.window, window.frames, window.exposures, window.times, window.black),
            )

    def _classical_flow(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """See `DenseInverseSearch.window`."""
        assert self._dis is not None
        expected = self._expected.pop(id(window), None)
        if expected is not None:
            return expected[1].result()
        return self._dis.window(window.frames, window.exposures, window.times, window.black)

    def reconstruct(self, window: Window, diagnostics: bool = False) -> Reconstruction:
        """See `hdrvid.types.Reconstructor`. Raises ModelError when the window does not fit the model.

        The networks see exposures in units of the shortest one of the window.
        """
        expected = self.descriptor.window_frames
        if len(window.frames) != expected:
            raise ModelError(
                f"model '{self.name}' is for {self.num_exposures} exposures; it needs {expected} frames a window"
            )
        shortest = min(window.exposures)
        if shortest != 1.0:
            given, window = window, replace(window, exposures=tuple(e / shortest for e in window.exposures))
            if id(given) in self._expected:
                self._expected[id(window)] = window, self._expected.pop(id(given))[1]
            result = self._reconstruct(window, diagnostics)
            return replace(result, radiance=result.radiance / np.float32(shortest))
        return self._reconstruct(window, diagnostics)

    def _reconstruct(self, window: Window, diagnostics: bool) -> Reconstruction:
        run = self._run
        while True:
            try:
                with torch.inference_mode():
                    return run(window, diagnostics)
            except _OverflowError:
                run = self._run_in_fp32
                continue
            except availability.CompiledError:
                continue
            except RuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
                height, width = window.reference.shape[:2]
            # outside the handler: the error holds the frame of the call, and this its tensors
            if not self._use_smaller_tiles(height, width):
                raise ModelError(
                    f"frames of {width}x{height} do not fit the memory of {self.device}, in the smallest tiles either: "
                    "close other programs or use --device cpu"
                )

    def _run(self, window: Window, diagnostics: bool) -> Reconstruction:
        if self._bytes is not None and not availability.usable():
            self.precision, self._bytes = "fp32", None
        if self.descriptor.preset == "memo":
            result = self._memo(window, diagnostics)
        elif self.in_bands and availability.usable():
            result = self._in_bands(window, diagnostics)
        else:
            result = self._prior_based(window, diagnostics)
        self._note_problem()
        return result

    def _run_in_fp32(self, window: Window, diagnostics: bool) -> Reconstruction:
        """A window that overflows, in float32, and nothing else: no frame depends on those before it."""
        note = f"the networks go beyond what {self.precision} can hold in some frames: these are made in fp32"
        if note not in self.notes:
            self.notes.append(note)
        before = self.networks, self.precision, self._features
        if self._in_fp32 is None:
            self._in_fp32 = self._ready(self._exact)
        self.networks, self.precision, self._features = self._in_fp32, "fp32", {}
        try:
            return self._run(window, diagnostics)
        finally:
            self.networks, self.precision, self._features = before

    def _stage(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self.clock is None else self.clock.stage(name)

    def _partly_clipped(self, window: Window, flows: np.ndarray) -> float:
        """See `partly_clipped_weight`; `flows` (K, H, W, 2)."""
        return partly_clipped_weight(window.frames, window.exposures, list(flows), window.black, self._blocks)

    def _exposures(self, window: Window) -> torch.Tensor:
        return torch.tensor([window.exposures], dtype=torch.float32, device=self.device)

    def _planes(self, pictures: Iterable[np.ndarray]) -> torch.Tensor:
        """Pictures (H, W, c) on the device as (1, n, c, H', W'): edges replicated to multiples of SIZE_MULTIPLE."""
        pictures = list(pictures)
        h, w, c = pictures[0].shape
        planes = torch.empty((len(pictures), c, h + -h % SIZE_MULTIPLE, w + -w % SIZE_MULTIPLE), device=self.device)
        for plane, picture in zip(planes, pictures, strict=True):
            if self.device.type == "cpu":
                plane.numpy()[:, :h, :w] = picture.transpose(2, 0, 1)
            else:
                pixels = torch.from_numpy(np.ascontiguousarray(picture))
                if self.device.type == "cuda":  # the copy is asynchronous
                    pixels = pixels.pin_memory()
                plane[:, :h, :w] = pixels.to(self.device, non_blocking=True).permute(2, 0, 1)
        planes[..., :h, w:] = planes[..., :h, w - 1 : w]
        planes[..., h:, :] = planes[..., h - 1 : h, :]
        return planes[None]

    def _autocast(self) -> Any:
        if self.precision not in HALF_PRECISIONS:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=dtype_of(self.precision))

    def _tiles(self, height: int, width: int, halo: int) -> Iterator[Tile]:
        """The pieces of a frame, of its padded size."""
        size = self.tile_side(height, width)
        height, width = (n + -n % SIZE_MULTIPLE for n in (height, width))
        return tiles(height, width, size or max(height, width), halo)

    def tile_px(self, height: int, width: int) -> int | None:
        """Kept pixels on a side of the tiles that frames of this size are made in; None: whole. As large as there is
        memory for; what is chosen stays until the memory runs out."""
        side = self.tile_side(height, width)
        return None if side is None or side >= max(height, width) else side

    def use_tile_px(self, side: int | None) -> None:
        """Make frames in tiles of so many pixels; None: whole."""
        self.tile = "off" if side is None else side

    def tile_side(self, height: int, width: int) -> int | None:
        if self.tile == "off":
            return None
        if self.tile != "auto":
            return int(self.tile)
        key = height, width
        if key not in self._chosen:
            whole = self.device.type != "cpu" or height * width <= AUTO_TILE_ABOVE_PIXELS
            sides = [s for s in TILE_SIDES if s < max(key)]
            free = available_memory(self.device)
            wanted: int | None
            wanted, *smaller = [None, *sides] if whole else [s for s in sides if s <= AUTO_TILE_PX]
            chosen = wanted
            while free is not None and smaller and self._needed_bytes(height, width, chosen) > MEMORY_SHARE * free:
                chosen = smaller.pop(0)
            self._chosen[key] = chosen
            if chosen != wanted and self.device.type == "cpu":
                self.notes.append(f"little memory is free ({(free or 0) >> 20} MiB): tiles of {chosen} px, slower")
        return self._chosen[key]

    def _needed_bytes(self, height: int, width: int, side: int | None) -> int:
        """About what a frame of this size takes in tiles of this side."""
        frame = height * width
        tile = frame if side is None else min(frame, (side + 2 * TILE_HALO_PX) ** 2)
        per_frame = frame * FRAME_BYTES_PER_PIXEL + tile * self.descriptor.tile_bytes_per_pixel
        return per_frame * self.descriptor.window_frames

    def _use_smaller_tiles(self, height: int, width: int) -> bool:
        """Halve the tiles after the memory has run out; False where they are small already."""
        side = self.tile_side(height, width) or max(height, width)
        smaller = next((s for s in TILE_SIDES if s < side), None)
        if smaller is None:
            return False
        self.tile = smaller
        self.notes.append(f"the memory of {self.device} ran out: going on with tiles of {smaller} px")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return True

    def _prior_based(self, window: Window, diagnostics: bool) -> Reconstruction:
        h, w = size = window.reference.shape[:2]
        with self._stage("flow"):
            forward, backward = self._classical_flow(window)
            partly_clipped = 0.0 if self.networks is None else self._partly_clipped(window, forward)
        self._between_stages(h, w)
        with self._stage("prepare"):
            exposures = self._exposures(window)
            black = torch.tensor([window.black], device=self.device) if window.black else None
            ldr, flows = self._planes(window.frames), self._planes(forward)
            flows_back: torch.Tensor | None = self._planes(backward)
        del forward, backward
        self._between_stages(h, w)
        confidence = None
        if self.networks is not None and "flow" in self.networks:
            assert flows_back is not None
            with self._stage("refine"):
                flows, confidence = self._refined(ldr, exposures, flows, flows_back, size, black)
            flows_back = None
            self._between_stages(h, w)
        merge = None if self.networks is None else self.networks["merge"]
        assert merge is None or isinstance(merge, BlendNet)
        canvas = Canvas(size, len(window.frames) if merge is None else merge.num_weights, self.device, diagnostics)
        for tile in self._tiles(h, w, SIZE_MULTIPLE if merge is None else TILE_HALO_PX):
            with self._stage("warp"):
                candidates, _ = candidates_and_prior(
                    ldr, exposures, flows, flows_back, confidence, tile.inside(size), size, black, partly_clipped
                )
                candidates = Candidates(*(pad_to_multiple(x) for x in candidates))
            with self._stage("merge"):
                if merge is None:
                    prior = candidates.weights
                    h_tile, weights = blend(candidates.radiance, prior), prior / prior.sum(1, keepdim=True)
                else:
                    h_tile, weights, _ = merge(*candidates)
                canvas.put(tile, h_tile, weights)
            del candidates, h_tile, weights
        self._between_stages(h, w)
        return self._checked(self._result(canvas, flows, size), window, flows, merge is not None)

    def _checked(self, result: Reconstruction, window: Window, flows: torch.Tensor, corrected: bool) -> Reconstruction:
        """`_check` of a result that is on the CPU again, with flows (1, K, 2, H', W') of padded frames."""
        h, w = window.reference.shape[:2]
        short = window.exposures[len(window.frames) // 2] < max(window.exposures)
        moved = list(flows[0, ..., :h, :w].permute(0, 2, 3, 1).cpu().numpy()) if short else []
        self._check(result.radiance, window, moved, corrected)
        return result

    def _check(self, radiance: np.ndarray, window: Window, flows: list[np.ndarray], corrected: bool) -> None:
        """Bring a frame, in place, back to its reference where it contradicts it, if a network has merged it, and
        denoise what is from a short reference alone."""
        exposure = window.exposures[len(window.frames) // 2]
        with self._stage("result"):
            kept = None
            if corrected:
                shortest = min(window.exposures)
                compared = bands if self.in_bands and availability.usable() else reference_check
                found = compared.contradiction(radiance, window.reference, exposure, shortest, window.black)
                kept = keep_reference(radiance, window.reference, exposure, found)
            if exposure < max(window.exposures):
                denoise_alone(radiance, window.reference, flows, kept)

    def _in_bands(self, window: Window, diagnostics: bool) -> Reconstruction:
        """What `_prior_based` does, with all that is not convolution in bands of rows."""
        assert self.networks is not None
        h, w = size = window.reference.shape[:2]
        with self._stage("flow"):
            forward, backward = self._classical_flow(window)
            partly_clipped = self._partly_clipped(window, forward)
        self._between_stages(h, w)
        middle = len(window.frames) // 2
        others = [i for i in range(len(window.frames)) if i != middle]
        reference, exposure = window.reference, window.exposures[middle]
        with self._stage("prepare"):
            neighbours = bands.Neighbours(
                [window.frames[i] for i in others],
                [window.exposures[i] for i in others],
                list(forward),
                list(backward),
                black=window.black,
            )
        del forward, backward
        if "flow" in self.networks:
            with self._stage("refine"):
                neighbours = self._refined_in_bands(reference, exposure, neighbours)
            self._between_stages(h, w)
        merge: Any = self.networks["merge"]
        network = merge.network if self._bytes is None else self._bytes.merge
        radiance = np.empty((h, w, 3), np.float32)
        weights = np.empty((merge.num_weights, 3, h, w), np.float32) if diagnostics else None
        for tile in self._tiles(h, w, TILE_HALO_PX):
            keep, inner = tile.kept(size)
            with self._stage("warp"):
                given = bands.merge_input(
                    reference,
                    exposure,
                    neighbours,
                    tile.inside(size),
                    SIZE_MULTIPLE,
                    self._input_dtype(),
                    partly_clipped,
                    None if self._bytes is None else self._bytes.input_steps,
                )
            with self._stage("merge"):
                out = network(given.x)
                corner = keep[0].start, keep[1].start
                finite = bands.merge_result(given, out, merge.weight_channels, inner, radiance, corner, weights)
                if not finite and self.precision in HALF_PRECISIONS:
                    raise _OverflowError
            del given, out
        self._between_stages(h, w)
        self._check(radiance, window, list(neighbours.flows), True)
        with self._stage("result"):
            if weights is None:
                return Reconstruction(radiance)
            return Reconstruction(radiance, np.stack(neighbours.flows), weights.transpose(0, 2, 3, 1))

    def _refined_in_bands(
        self, reference: np.ndarray, exposure: float, neighbours: bands.Neighbours
    ) -> bands.Neighbours:
        """The neighbours with refined flows and confidence."""
        assert self.networks is not None
        refiner = self.networks["flow"]
        assert isinstance(refiner, FlowRefiner)
        network = refiner.network if self._bytes is None else self._bytes.flow
        h, w = reference.shape[:2]
        size = h + -h % SIZE_MULTIPLE, w + -w % SIZE_MULTIPLE
        given, reference = neighbours, bands.padded(reference, size)
        if size != (h, w):
            given = neighbours.padded(size)
        mirrored = bands.mirrored_flows(given.flows)
        tiles = list(self._tiles(h, w, TILE_HALO_PX + HALO_PX))
        # the next tile looks at what this one refines
        flows = list(given.flows) if len(tiles) == 1 else [flow.copy() for flow in given.flows]
        confidence = np.empty((len(flows), *size), np.float32)
        for tile in tiles:
            features: dict[int, torch.Tensor] = {}  # neighbours of one exposure see the same reference
            seen_of_each = bands.evidence(reference, exposure, given, mirrored, tile.read, self._input_dtype())
            for k, views in enumerate(seen_of_each):
                if views.reference.data_ptr() not in features:
                    features[views.reference.data_ptr()] = refiner.embedding(views.reference)
                reference_features, neighbour_features = (
                    features[views.reference.data_ptr()],
                    refiner.embedding(views.warped),
                )
                volume, shift = bands.correlation(
                    reference_features, neighbour_features, float(refiner.sharpness), self._input_dtype()
                )
                out = network(views.fine, views.ratio, volume)
                corner = tile.keep[0].start, tile.keep[1].start
                bands.refine_flow(out, shift, views, tile.inner, corner, flows[k], confidence[k])
        flows = [np.ascontiguousarray(flow[:h, :w]) for flow in flows]
        return replace(neighbours, flows=flows, back=None, confidence=np.ascontiguousarray(confidence[:, :h, :w]))

    def _input_dtype(self) -> torch.dtype:
        """In which the networks' input is written: what others would be rounded at once."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def _between_stages(self, height: int, width: int) -> None:
        """What one stage of a large frame has freed would be missing to others: kept memory comes in pieces."""
        if self.device.type == "cpu" and height * width > AUTO_TILE_ABOVE_PIXELS:
            machine.release_memory()

    def _refined(
        self,
        ldr: torch.Tensor,
        exposures: torch.Tensor,
        flows: torch.Tensor,
        flows_back: torch.Tensor,
        size: tuple[int, int],
        black: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refined flows and confidence of one window of padded frames; `size` is height and width without padding."""
        assert self.networks is not None
        refiner = self.networks["flow"]
        assert isinstance(refiner, FlowRefiner)
        refined, confidence = torch.empty_like(flows), torch.empty_like(flows[:, :, :1])
        # on a CPU one neighbour after the other: less memory and no slower
        together = 1 if self.device.type == "cpu" else flows.shape[1]
        for tile in self._tiles(*size, TILE_HALO_PX + HALO_PX):
            inputs = evidence(ldr, exposures, flows, flows_back, tile.read, black)
            for k in range(0, flows.shape[1], together):
                some = slice(k, k + together)
                delta, logits = refiner.correct(inputs[:, some])
                delta = torch.nan_to_num(delta, 0.0, 0.0, 0.0)  # positions become indices
                refined[(slice(None), some, slice(None), *tile.keep)] = (
                    flows[(slice(None), some, slice(None), *tile.keep)] + delta[(..., *tile.inner)]
                )
                confidence[(slice(None), some, slice(None), *tile.keep)] = torch.sigmoid(logits[(..., *tile.inner)])
        return refined, confidence

    def _result(self, canvas: Canvas, flows: torch.Tensor, size: tuple[int, int]) -> Reconstruction:
        with self._stage("result"):
            radiance = canvas.radiance.cpu().numpy()
            if self.precision in HALF_PRECISIONS and not bool(canvas.finite):
                raise _OverflowError
            if canvas.weights is None:
                return Reconstruction(radiance)
            h, w = size
            weights = canvas.weights.permute(0, 2, 3, 1).cpu().numpy()
            return Reconstruction(radiance, flows[0, ..., :h, :w].permute(0, 2, 3, 1).cpu().numpy(), weights)

    def _memo(self, window: Window, diagnostics: bool) -> Reconstruction:
        assert self.networks is not None
        h, w = size = window.reference.shape[:2]
        with self._stage("prepare"):
            ldr, exposures = self._planes(window.frames), self._exposures(window)
        flow_net, merge = self.networks["flow"], self.networks["merge"]
        assert isinstance(merge, MemoMerge)
        side = self.tile_side(h, w)
        flow_net.strip_pixels = side * side if side else None  # type: ignore[assignment]
        with self._stage("flow"), self._autocast():
            flows = torch.nan_to_num(flow_net(ldr, exposures).float(), 0.0, 0.0, 0.0)  # positions become indices
        canvas = Canvas(size, 2 * len(window.frames) - 1, self.device, diagnostics)
        for tile in self._tiles(h, w, TILE_HALO_PX):
            with self._stage("warp"):
                codes, order = memo_candidates(ldr, flows, tile.read)
                # a list as an index would be sent to the device, and waited for
                each = torch.stack([exposures[:, i] for i in order], 1)
                radiance = radiance_from_ldr(codes, each[..., None, None, None])
            with self._stage("merge"):
                with self._autocast():
                    weights = merge.weights(self._memo_features(merge, window, tile, codes, radiance)).float()
                canvas.put(tile, blend(radiance, weights), weights)
        return self._result(canvas, flows, size)

    def _memo_features(
        self, merge: MemoMerge, window: Window, tile: Tile, codes: torch.Tensor, radiance: torch.Tensor
    ) -> torch.Tensor:
        """Features of the memo's candidates. Those of the frames themselves are kept for the windows that share them,
        where frames are whole."""
        n = len(window.frames)
        others = [i for i in range(n) if i != n // 2]
        whole = tile.read == tile.keep
        kept = {
            key: entry for key, entry in self._features.items() if whole and any(entry[0] is f for f in window.frames)
        }
        warped = merge.features(codes[:, 1:n], radiance[:, 1:n])
        for slot, i in ((0, n // 2), *zip(range(n, 2 * n - 1), others, strict=True)):
            key = id(window.frames[i]), window.exposures[i]
            if key not in kept:
                alone = slice(slot, slot + 1)
                # with the frame, so that its id cannot be given to another array meanwhile
                kept[key] = window.frames[i], merge.features(codes[:, alone], radiance[:, alone])
        self._features = kept
        frame_features = [kept[id(window.frames[i]), window.exposures[i]][1] for i in (n // 2, *others)]
        return torch.cat([frame_features[0], warped, *frame_features[1:]], 1)
