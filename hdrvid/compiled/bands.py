"""The work around the networks on a CPU, in bands of rows: a band stays in the caches, and every core has its own.

What a window needs beside convolutions is a hundred simple steps on pictures of many channels. PyTorch makes each of
them for the whole picture, which moves every intermediate picture to the memory and back. Here the compiled functions
of hdrvid.compiled.kernels take a band of rows through all steps, into the very layout that the convolutions take. The
formulas are those of hdrvid.models.classical, .merge_net and .flow_net, which training, accelerators and CPUs without
Numba use; tests compare the two.

Convention:
    Frames (H, W, 3) float32 network codes in [0, 1]; flows (H, W, 2) float32 pixels, backward.
    A region is a pair of slices, rows and columns of the frame. Steps that reach beyond a region read the frame there,
    so that a tile is exact.
    Results do not depend on the bands, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hdrvid import threads
from hdrvid.color.radiance import code_gain, common_floor
from hdrvid.compiled.availability import loaded
from hdrvid.models import flow_net, reference_check
from hdrvid.models.constants import CHANNELS_PER_CANDIDATE, PARTLY_CLIPPED, WINDOW_RADIUS, WINDOW_SIGMA
from hdrvid.models.layers import gaussian_window
from hdrvid.models.merge_net import SMOOTHING, smoothing_radius

BAND_PIXELS = 80_000
"""About how many pixels a band has, at least: what it needs of the rows around it is computed twice."""
BANDS_PER_THREAD = 2
"""Where that makes larger bands."""

Region = tuple[slice, slice]
Mirrored = tuple[np.float32, np.ndarray]
"""Sign, and the flow that it turns round or leaves as it is."""


def _kernels() -> Any:
    functions = loaded()
    assert functions is not None
    return functions


def _bands(rows: slice, columns: slice, share: int = 1) -> list[tuple[int, int]]:
    """Rows cut into bands, first and last + 1; `share`: how many pixels of the frame one of theirs stands for."""
    width = columns.stop - columns.start
    height = -(-(rows.stop - rows.start) // (BANDS_PER_THREAD * torch.get_num_threads()))
    blocks = threads.row_blocks(rows, width, max(height * width, BAND_PIXELS // share), min_rows=8)
    return [(block.start, block.stop) for block in blocks]


def _bounds(region: Region) -> tuple[int, int, int, int]:
    rows, columns = region
    return rows.start, rows.stop, columns.start, columns.stop


def _shape(region: Region) -> tuple[int, int]:
    return region[0].stop - region[0].start, region[1].stop - region[1].start


def _empty_input(height: int, width: int, channels: int, dtype: torch.dtype) -> tuple[torch.Tensor, np.ndarray]:
    """What a convolution takes, (1, channels, height, width) and channels last, and the same memory as kernels fill it:
    (height, width, channels), float32 or the bits of bfloat16."""
    values = torch.empty((height, width, channels), dtype=dtype)
    return values.permute(2, 0, 1)[None], _bits(values)


def _bits(values: torch.Tensor) -> np.ndarray:
    return values.view(torch.uint16).numpy() if values.dtype == torch.bfloat16 else values.numpy()


def _channels_last(out: torch.Tensor) -> np.ndarray:
    """A result of a convolution (1, c, h, w) as (h, w, c), float32 or the bits of bfloat16."""
    if out.dtype not in (torch.float32, torch.bfloat16):
        out = out.float()
    return _bits(out[0].permute(1, 2, 0).contiguous())


def quantised(x: torch.Tensor, steps: torch.Tensor, zero: int, leak: float, *, double: bool = False) -> torch.Tensor:
    """Values (1, C, h, w), float32 or bfloat16, under a leaky ReLU of this slope as bytes, channels last: multiples of
    `steps` (C,), `zero` added; see `hdrvid.models.quantised`. `double`: every value four times, (1, C, 2 h, 2 w)."""
    function = _kernels().quantise_doubled if double else _kernels().quantise
    inverse = 1 / steps.numpy()
    inverse = inverse if double else np.tile(inverse, x.shape[3])
    given = _channels_last(x), inverse, np.float32(zero), np.float32(leak)
    return _bytes_by(function, given, x.shape, 2 if double else 1)


def quantised_sum(
    result: torch.Tensor, plus: torch.Tensor, steps: torch.Tensor, zero: int, leak: float, again: bool
) -> torch.Tensor:
    """`quantised` of `result` + `plus`; where it is wanted `again`, `result` becomes the sum."""
    inverse = np.tile(1 / steps.numpy(), result.shape[3])
    given = _channels_last(result), _channels_last(plus), inverse, np.float32(zero), np.float32(leak), again
    return _bytes_by(_kernels().quantise_sum, given, result.shape)


def _bytes_by(
    function: Callable[..., None], given: Sequence[Any], shape: Sequence[int], factor: int = 1
) -> torch.Tensor:
    """Bytes (1, C, factor h, factor w), channels last, that a function makes in bands of values of `shape`
    (1, C, h, w)."""
    c, h, w = shape[1:]
    out = torch.empty((factor * h, factor * w, c), dtype=torch.uint8)

    def band(rows: tuple[int, int]) -> None:
        function(*given, rows, out.numpy())

    threads.each(band, _bands(slice(0, h), slice(0, w), share=8))
    return out.permute(2, 0, 1)[None]


# ---- candidates, their prior, and what the merging network sees ------------------------------------------------------


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of a window and how they are aligned, in time order."""

    frames: Sequence[np.ndarray]
    """Each (H, W, 3)."""
    exposures: Sequence[float]
    """Of each."""
    flows: Sequence[np.ndarray]
    """Reference -> neighbour, each (H, W, 2)."""
    back: Sequence[np.ndarray] | None = None
    """Neighbour -> reference, each (H, W, 2); where there is no confidence."""
    confidence: np.ndarray | None = None
    """(K, H, W) in [0, 1], where a network has found it."""
    black: float = 0.0
    """Code at or below which frames are black."""

    def padded(self, size: tuple[int, int]) -> Neighbours:
        """Everything but the confidence at another height and width, edges replicated at the right and the bottom."""
        assert self.back is not None
        frames, flows, back = (
            [padded(picture, size) for picture in pictures] for pictures in (self.frames, self.flows, self.back)
        )
        return Neighbours(frames, self.exposures, flows, back, black=self.black)


def padded(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, c) of another height and width, edges replicated; itself where nothing changes."""
    down, right = size[0] - picture.shape[0], size[1] - picture.shape[1]
    if not down and not right:
        return picture
    import cv2

    return cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class MergeInput:
    """A region of a window as `blend.BlendNet.network` takes it, and what its result is applied to."""

    x: torch.Tensor
    """(1, 7 C + 6, h', w') float32, bfloat16 or bytes, channels last; h' and w' are h and w padded to a multiple of
    16."""
    radiance: np.ndarray
    """(C, 3, h, w) of the candidates: the reference, then the aligned neighbours."""
    log_prior: np.ndarray
    """(C, 3, h, w) of the channels."""
    smoothed: np.ndarray
    """(2, 3, h, w) smoothed versions of the classical merge, mu-law."""


def merge_input(
    reference: np.ndarray,
    exposure: float,
    neighbours: Neighbours,
    region: Region,
    multiple: int,
    dtype: torch.dtype = torch.float32,
    partly_clipped: float = PARTLY_CLIPPED,
    steps: torch.Tensor | None = None,
) -> MergeInput:
    """See `prior.candidates_and_prior` and `blend.BlendNet.features`. `dtype`: float32 or bfloat16, of `x`; with
    `steps` (7 C + 6,) `x` is bytes, multiples of these above SIGNED_ZERO, and has up to 3 more channels of zeros."""
    h, w = _shape(region)
    count = 1 + len(neighbours.frames)
    channels = CHANNELS_PER_CANDIDATE * count + 3 * len(SMOOTHING)
    size = h + -h % multiple, w + -w % multiple
    inverse_steps = np.empty(0, np.float32)
    if steps is None:
        x, values = _empty_input(*size, channels, dtype)
    else:
        x, values = _empty_input(*size, channels + -channels % 4, torch.uint8)
        values, inverse_steps = values.view(np.uint32), (1 / steps).numpy()
    radiance = np.empty((count, 3, h, w), np.float32)
    log_prior = np.empty((count, 3, h, w), np.float32)
    smoothed = np.empty((len(SMOOTHING), 3, h, w), np.float32)
    taps = tuple(gaussian_window(sigma, smoothing_radius(sigma)).numpy() for sigma in SMOOTHING)
    targets = [(max(exposure, e), e) for e in neighbours.exposures]
    black = neighbours.black
    floors = [common_floor(black, min(exposure, e), target) for target, e in targets]
    pairs = [(code_gain(exposure, target), code_gain(e, target)) for target, e in targets]
    gains = np.array([(*pair, floor) for pair, floor in zip(pairs, floors, strict=True)], np.float32)
    exposures = np.array((exposure, *neighbours.exposures), np.float32)
    confidence = np.empty((0, 0, 0), np.float32) if neighbours.confidence is None else neighbours.confidence
    flows = tuple(neighbours.flows)
    given = (
        reference, tuple(neighbours.frames), flows, tuple(neighbours.back or flows), confidence, exposures, gains,
        np.float32(black), np.float32(partly_clipped), taps, inverse_steps,
    )  # fmt: skip

    def band(rows: tuple[int, int]) -> None:
        _kernels().merge_input(*given, _bounds(region), rows, values, radiance, log_prior, smoothed)

    threads.each(band, _bands(*region))
    values[:h, w:] = values[:h, w - 1 : w]
    values[h:] = values[h - 1 : h]
    return MergeInput(x, radiance, log_prior, smoothed)


def merge_result(
    given: MergeInput,
    out: torch.Tensor,
    weight_channels: int,
    inner: Region,
    radiance: np.ndarray,
    corner: tuple[int, int],
    weights: np.ndarray | None = None,
) -> bool:
    """What `blend.BlendNet.result` makes of the network's result `out` (1, c, h' / 2, w' / 2).

    `inner`: the part of the region that is kept, from row and column `corner` on in `radiance` (H, W, 3), and its blend
    weights in `weights` (C + 2, 3, H, W) where they are wanted. Results that are not numbers become black, infinite
    ones 1; returns whether there were none of both.
    """
    rows, columns = inner
    network_output, across = _channels_last(out), (columns.start, columns.stop)
    shares = np.empty((0, 0, 0, 0), np.float32) if weights is None else weights

    def band(part: tuple[int, int]) -> bool:
        first = corner[0] + part[0] - rows.start, corner[1]
        inputs = network_output, given.radiance, given.log_prior, given.smoothed
        return _kernels().merge_result(*inputs, weight_channels, across, part, first, radiance, shares)

    return all(threads.each(band, _bands(rows, columns)))


def contradiction(
    radiance: np.ndarray, reference: np.ndarray, exposure: float, shortest: float = 1.0, black: float = 0.0
) -> np.ndarray:
    """See `reference_check.contradiction`."""
    if min(reference.shape[:2]) < 2:
        return reference_check.contradiction(radiance, reference, exposure, shortest, black)
    half = reference_check.half_size(reference)
    parts = _bands(slice(0, half[0]), slice(0, half[1]), share=4)
    means, found = np.empty((3, 3, *half), np.float32), np.empty((*half, 3), np.float32)
    given = radiance, reference, np.float32(exposure), np.float32(black)
    threads.each(lambda rows: _kernels().half_means(*given, rows, means), parts)
    means = reference_check.under_window(means)
    known = threads.each(lambda c: reference_check.drift_and_usual(means[0, c], means[1, c]), range(3))
    usual = np.zeros((3, 3, max(levels.shape[1] for _, levels in known)), np.float32)
    for channel, (_, levels) in zip(usual, known, strict=True):
        n = levels.shape[1]
        channel[:2, :n] = levels
        channel[0, n:] = levels[0, -1]
        channel[2, : n - 1] = np.diff(levels[1]) / np.diff(levels[0])
    to_shortest = np.float32(0 if exposure <= shortest else code_gain(exposure, shortest))
    drifts, seen = np.array([drift for drift, _ in known], np.float32), np.array(reference_check.SEEN_CODES, np.float32)
    threads.each(lambda rows: _kernels().contradicted(means, drifts, usual, to_shortest, seen, rows, found), parts)
    return reference_check.closed(found)


# ---- refinement of the flow ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """What the refining network sees of one neighbour in a region, and what its result is applied to."""

    fine: torch.Tensor
    """(1, EVIDENCE_CHANNELS - 1, h, w), channels last."""
    ratio: torch.Tensor
    """(1, 1, h / 2, w / 2) log2 of the exposure ratio."""
    reference: torch.Tensor
    """(1, 3, h, w) codes of the reference at the longer of the two exposures, channels last: one tensor for all
    neighbours of an exposure."""
    warped: torch.Tensor
    """The same of the warped neighbour."""
    offsets: np.ndarray
    """(4, h, w): Lucas-Kanade flow and mirrored flow, minus the flow."""


def evidence(
    reference: np.ndarray,
    exposure: float,
    neighbours: Neighbours,
    mirrored: Sequence[Mirrored],
    region: Region,
    dtype: torch.dtype = torch.float32,
) -> list[Evidence]:
    """See `flow_net.evidence`: for every neighbour. `mirrored` is `mirrored_flows`, the same for all regions. `dtype`:
    float32 or bfloat16, of `fine`."""
    assert neighbours.back is not None
    back = neighbours.back
    h, w = _shape(region)
    count = len(neighbours.frames)
    targets = [max(exposure, e) for e in neighbours.exposures]
    fine = [_empty_input(h, w, flow_net.EVIDENCE_CHANNELS - 1, dtype) for _ in range(count)]
    # neighbours of one exposure see the same reference
    keys = [(target, min(exposure, e)) for target, e in zip(targets, neighbours.exposures, strict=True)]
    matched = {key: _empty_input(h, w, 3, torch.float32) for key in keys}
    warped = [_empty_input(h, w, 3, torch.float32) for _ in range(count)]
    offsets = [np.empty((4, h, w), np.float32) for _ in range(count)]
    taps = gaussian_window(WINDOW_SIGMA, WINDOW_RADIUS).numpy()
    gains = []
    for k, (e, target) in enumerate(zip(neighbours.exposures, targets, strict=True)):
        other = neighbours.exposures[-1 - k]
        longer = max(e, other)
        pairs = ((exposure, target), (e, target), (e, longer), (other, longer))
        floors = [common_floor(neighbours.black, min(e, x), max(e, x)) for x in (exposure, other)]
        gains.append(np.array([*(code_gain(*pair) for pair in pairs), *floors], np.float32))

    def band(rows: tuple[int, int]) -> None:
        for (target, shorter), (_, picture) in matched.items():
            floor = np.float32(common_floor(neighbours.black, shorter, target))
            gain = np.float32(code_gain(exposure, target))
            _kernels().matched(reference, gain, floor, _bounds(region), rows, picture)
        for k, (frame, flow) in enumerate(zip(neighbours.frames, neighbours.flows, strict=True)):
            sign, turned = mirrored[k]
            _kernels().evidence(
                reference, frame, flow, back[k], turned, sign, neighbours.frames[-1 - k], neighbours.flows[-1 - k],
                gains[k], taps, _bounds(region), rows, fine[k][1], warped[k][1], offsets[k],
            )  # fmt: skip

    threads.each(band, _bands(*region))
    half = 1, 1, h // 2, w // 2
    return [
        Evidence(
            fine[k][0],
            torch.full(half, float(np.log2(neighbours.exposures[k] / exposure))),
            matched[keys[k]][0],
            warped[k][0],
            offsets[k],
        )
        for k in range(count)
    ]


def mirrored_flows(flows: Sequence[np.ndarray]) -> list[Mirrored]:
    """Sign and flow of each neighbour's other side; see `flow_net._mirrored`."""

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return np.array_equal(a[0], b[0]) and np.array_equal(a, b)

    return [(np.float32(1 if same(a, b) else -1), b) for a, b in zip(flows, reversed(flows), strict=True)]


def correlation(
    reference: torch.Tensor, warped: torch.Tensor, sharpness: float, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `flow_net.FlowRefiner.correlation` finds, of what its `embedding` makes of the pictures, (1, C, h, w): the
    volume (1, S, h, w), channels last, and the shift (1, 2, h, w). `dtype`: float32 or bfloat16, of the volume."""
    h, w = reference.shape[2:]
    x, volume = _empty_input(h, w, len(flow_net.SHIFTS), dtype)
    shift = torch.empty((1, 2, h, w))
    embeddings = _channels_last(reference), _channels_last(warped)

    def band(rows: tuple[int, int]) -> None:
        _kernels().correlation(*embeddings, np.float32(sharpness), rows, volume, shift[0].numpy())

    threads.each(band, _bands(slice(0, h), slice(0, w), share=16))
    return x, shift


def refine_flow(
    out: torch.Tensor,
    shift: torch.Tensor,
    views: Evidence,
    inner: Region,
    corner: tuple[int, int],
    flow: np.ndarray,
    confidence: np.ndarray,
) -> None:
    """What `flow_net.FlowRefiner.correct` makes of the network's result `out` (1, 24, h / 2, w / 2) and the expected
    shift (1, 2, h / 4, w / 4), of the part `inner` of the region: from row and column `corner` on added to `flow`
    (H, W, 2), with its `confidence` (H, W)."""
    channels, shifts = _channels_last(out), shift[0].contiguous().numpy()
    rows, columns = inner
    across = columns.start, columns.stop

    def band(part: tuple[int, int]) -> None:
        first = corner[0] + part[0] - rows.start, corner[1]
        _kernels().refine_flow(channels, shifts, views.offsets, across, part, first, flow, confidence)

    threads.each(band, _bands(rows, columns))
